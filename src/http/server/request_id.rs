//! The name of a request, in the answer, in problem documents and in every line of the log.

use std::fmt;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};

use http::HeaderValue;

/// Odd, so that multiplying by it maps the counter to 64 bits without collision; the ratio that
/// spreads neighbours widest (Knuth, The Art of Computer Programming 3, 6.4).
const SPREAD: u64 = 0x9E37_79B9_7F4A_7C15;

static PROCESS: LazyLock<(u32, u64)> = LazyLock::new(|| {
    // The names must differ between runs, not be secret: without the system's generator the
    // process id will do.
    let fallback = std::process::id();
    let process = getrandom::u32().unwrap_or(fallback);
    (process, getrandom::u64().unwrap_or(u64::from(fallback)))
});

static NEXT: AtomicU64 = AtomicU64::new(0);

/// Names one request: 24 hexadecimal digits, unique to this run of the server and, but for
/// chance, among runs. Says nothing about how many requests there were.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RequestId {
    process: u32,
    number: u64,
}

impl RequestId {
    /// A new name.
    #[must_use]
    pub fn next() -> Self {
        let (process, offset) = *PROCESS;
        let count = NEXT.fetch_add(1, Ordering::Relaxed);
        Self { process, number: count.wrapping_mul(SPREAD).wrapping_add(offset) }
    }

    /// For the header `X-Request-Id`.
    #[must_use]
    pub fn to_header(self) -> Option<HeaderValue> {
        HeaderValue::from_bytes(&self.digits()).ok()
    }

    fn digits(self) -> [u8; 24] {
        let mut digits = [b'0'; 24];
        let (process, number) = digits.split_at_mut(8);
        for (places, mut rest) in [(process, u64::from(self.process)), (number, self.number)] {
            for place in places.iter_mut().rev() {
                // The rest of a division by 16 is one digit.
                *place = b"0123456789abcdef"[(rest & 15) as usize];
                rest >>= 4;
            }
        }
        digits
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(std::str::from_utf8(&self.digits()).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_differ_and_have_24_digits() {
        let (one, two) = (RequestId::next(), RequestId::next());
        assert_ne!(one, two);
        assert_eq!(one.to_string().len(), 24);
        assert_eq!(one.to_header().map(|value| value.len()), Some(24));
    }
}
