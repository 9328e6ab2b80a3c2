//! Trace context (W3C Trace Context, level 1): the trace of the caller that a request belongs to.

use std::str::FromStr;
use std::sync::Arc;

use super::ParseError;

/// Maximum size of a `tracestate` that is passed on, in bytes: the minimum that the standard
/// requires.
const STATE_BYTES_MAX: usize = 512;

/// The trace that a caller's request belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceContext {
    trace: u128,
    flags: u8,
    /// Data that tracing systems pass to each other (`tracestate`).
    state: Option<Arc<str>>,
}

impl TraceContext {
    /// Returns the context with a `tracestate`, unless that is too long.
    #[must_use]
    pub fn with_state(self, state: Option<String>) -> Self {
        let state = state.filter(|state| !state.is_empty() && state.len() <= STATE_BYTES_MAX);
        Self { state: state.map(Into::into), ..self }
    }

    /// Returns the trace's id in text form: 32 hexadecimal digits.
    #[must_use]
    pub fn trace_id(&self) -> String {
        format!("{:032x}", self.trace)
    }

    /// Returns the `traceparent` of a request that this server makes as part of the trace. Zero is
    /// not a valid id of a span.
    #[must_use]
    pub fn parent_of(&self, span: u64) -> String {
        format!("00-{:032x}-{:016x}-{:02x}", self.trace, span.max(1), self.flags)
    }

    /// Returns the `tracestate` to pass on.
    #[must_use]
    pub fn state(&self) -> Option<&str> {
        self.state.as_deref()
    }
}

/// Parses a `traceparent`. Of a later version of the standard it reads the part that is the same as
/// in the first.
impl FromStr for TraceContext {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        read(text).ok_or(ParseError::new("a traceparent is VERSION-TRACE-SPAN-FLAGS"))
    }
}

fn read(text: &str) -> Option<TraceContext> {
    let mut parts = text.split('-');
    let version = number(parts.next()?, 2)?;
    let (trace, span) = (number(parts.next()?, 32)?, number(parts.next()?, 16)?);
    let flags = number(parts.next()?, 2)?;
    let is_version = match version {
        0 => parts.next().is_none(),
        0xff => false,
        _ => true,
    };
    (is_version && trace > 0 && span > 0).then_some(TraceContext {
        trace,
        // `sampled` is the only known flag.
        flags: u8::try_from(flags & 1).ok()?,
        state: None,
    })
}

/// Parses this many hexadecimal digits in lower case.
fn number(text: &str, digits: usize) -> Option<u128> {
    let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    if text.len() != digits || !text.bytes().all(is_digit) {
        return None;
    }
    u128::from_str_radix(text, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn traceparent_is_read_as_the_standard_writes_it() {
        let read = |text: &str| text.parse::<TraceContext>().ok();
        let parent = |text: &str| read(text).map(|context| context.parent_of(7));
        let expected = "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000007-01";
        assert_eq!(parent(GOOD).as_deref(), Some(expected));
        let later = GOOD.replacen("00", "cc", 1) + "-what-comes-later";
        assert_eq!(parent(&later).as_deref(), Some(expected));
        assert_eq!(parent(&GOOD.replace("-01", "-ff")).as_deref(), Some(expected));
        assert!(parent(&GOOD.replace("-01", "-02")).is_some_and(|text| text.ends_with("-00")));
        for bad in [
            "",
            "00",
            &GOOD.to_uppercase(),
            &GOOD.replacen("00", "ff", 1),
            &GOOD.replacen("00", "0", 1),
            &format!("{GOOD}-more"),
            &format!("{GOOD} "),
            &GOOD.replace("4bf92f3577b34da6a3ce929d0e0e4736", &"0".repeat(32)),
            &GOOD.replace("00f067aa0ba902b7", &"0".repeat(16)),
            &GOOD.replace("4bf9", "4bg9"),
            &GOOD.replace("4bf9", "+bf9"),
        ] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }
}
