//! Check of a request's head (RFC 9112, 2 to 6; RFC 9110, 7.2).

use std::net::Ipv6Addr;

use super::super::limits::HEADER_FIELDS;
use super::super::rejection::Rejection;

/// Size limits of a head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) struct HeadLimits {
    /// Bytes of the whole head.
    pub(in super::super) head_bytes: usize,
    /// Bytes of the target.
    pub(in super::super) target_bytes: usize,
}

/// Check result of the beginning of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HeadCheck {
    /// A head that is not whole yet.
    Incomplete,
    /// A whole head that may pass.
    Good {
        /// Its length.
        bytes: usize,
        /// Body after the head.
        body: BodyFraming,
    },
    /// It may not pass.
    Refused(Rejection),
}

/// Body after a head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BodyFraming {
    /// A body of this many bytes.
    Length(u64),
    /// A chunked body.
    Chunked,
    /// The head asks for another protocol; the answer decides what follows.
    Upgrade,
}

/// Checks the head at the beginning of `bytes`, whose first `searched` bytes are known to hold no
/// end of a head.
pub(super) fn check(bytes: &[u8], searched: usize, limits: &HeadLimits) -> HeadCheck {
    if searched > 0 && !may_have_ended(bytes, searched) {
        return incomplete(bytes, limits);
    }
    let mut fields = [httparse::EMPTY_HEADER; HEADER_FIELDS];
    let mut request = httparse::Request::new(&mut fields);
    match request.parse(bytes) {
        Ok(httparse::Status::Partial) => incomplete(bytes, limits),
        Ok(httparse::Status::Complete(length)) => match whole(&request, &bytes[..length], limits) {
            Ok(body) => HeadCheck::Good { bytes: length, body },
            Err(rejection) => HeadCheck::Refused(rejection),
        },
        Err(httparse::Error::TooManyHeaders) => HeadCheck::Refused(Rejection::HeadTooLarge),
        Err(_) => HeadCheck::Refused(Rejection::Malformed),
    }
}

/// Returns whether a head can have ended behind `searched`: it ends with an empty line.
fn may_have_ended(bytes: &[u8], searched: usize) -> bool {
    // The end may lie across the border, but for its last byte.
    let from = searched.saturating_sub(3);
    bytes[from..].windows(2).any(|pair| pair == b"\n\n" || pair == b"\n\r")
}

/// Checks whether a head that is not whole is too large already.
fn incomplete(bytes: &[u8], limits: &HeadLimits) -> HeadCheck {
    if bytes.len() <= limits.target_bytes {
        return HeadCheck::Incomplete;
    }
    // A target over its own limit gets the error for targets, even if the target has no end yet.
    let line = bytes.split(|byte| *byte == b'\n').find(|line| line.len() > 1).unwrap_or(bytes);
    let target = line.split(|byte| *byte == b' ').nth(1).map_or(0, <[u8]>::len);
    if target > limits.target_bytes {
        HeadCheck::Refused(Rejection::TargetTooLong)
    } else if bytes.len() > limits.head_bytes {
        HeadCheck::Refused(Rejection::HeadTooLarge)
    } else {
        HeadCheck::Incomplete
    }
}

/// Checks a complete head. Returns the framing of the body that follows it.
fn whole(
    request: &httparse::Request<'_, '_>,
    head: &[u8],
    limits: &HeadLimits,
) -> Result<BodyFraming, Rejection> {
    let (Some(method), Some(target), Some(version)) =
        (request.method, request.path, request.version)
    else {
        return Err(Rejection::Malformed);
    };
    if target.len() > limits.target_bytes {
        return Err(Rejection::TargetTooLong);
    }
    if head.len() > limits.head_bytes {
        return Err(Rejection::HeadTooLarge);
    }
    if has_bare_line_feed(head) {
        return Err(Rejection::Malformed);
    }
    match method {
        "GET" | "HEAD" | "POST" | "PUT" | "PATCH" | "DELETE" | "OPTIONS" | "QUERY" => {}
        "TRACE" | "CONNECT" => return Err(Rejection::MethodNotAllowed),
        _ => return Err(Rejection::MethodUnknown),
    }
    let fields = Fields::read(request.headers)?;
    let host = fields.host.ok_or(Rejection::NoHost)?;
    if !is_host(host) {
        return Err(Rejection::BadHost);
    }
    check_target(method, target, host)?;
    match (fields.chunked, fields.length) {
        (true, Some(_)) => Err(Rejection::LengthAndEncoding),
        // HTTP/1.0 has no Transfer-Encoding: the sender may pass it on to a reader that ignores it.
        (true, None) if version == 0 => Err(Rejection::BadEncoding),
        (true, None) => Ok(BodyFraming::Chunked),
        (false, None | Some(0)) if fields.upgrade && version == 1 => Ok(BodyFraming::Upgrade),
        (false, length) => Ok(BodyFraming::Length(length.unwrap_or(0))),
    }
}

/// Header fields that decide the framing.
#[derive(Default)]
struct Fields<'a> {
    host: Option<&'a [u8]>,
    length: Option<u64>,
    chunked: bool,
    upgrade: bool,
}

impl<'a> Fields<'a> {
    fn read(headers: &[httparse::Header<'a>]) -> Result<Self, Rejection> {
        let mut fields = Self::default();
        for header in headers {
            // The length alone tells most headers apart from these.
            match header.name.len() {
                4 if header.name.eq_ignore_ascii_case("host") => {
                    fields.take_host(header.value)?;
                }
                7 if header.name.eq_ignore_ascii_case("upgrade") => fields.upgrade = true,
                14 if header.name.eq_ignore_ascii_case("content-length") => {
                    let length = number(header.value).ok_or(Rejection::BadLength)?;
                    if fields.length.is_some_and(|other| other != length) {
                        return Err(Rejection::BadLength);
                    }
                    fields.length = Some(length);
                }
                17 if header.name.eq_ignore_ascii_case("transfer-encoding") => {
                    if fields.chunked || !header.value.eq_ignore_ascii_case(b"chunked") {
                        return Err(Rejection::BadEncoding);
                    }
                    fields.chunked = true;
                }
                _ => {}
            }
        }
        Ok(fields)
    }

    fn take_host(&mut self, host: &'a [u8]) -> Result<(), Rejection> {
        match self.host.replace(host) {
            None => Ok(()),
            Some(_) => Err(Rejection::TwoHosts),
        }
    }
}

/// Returns whether a line of a head ends with a lone LF instead of CR LF: another reader may take
/// it for something else.
fn has_bare_line_feed(head: &[u8]) -> bool {
    let mut before = b'\n';
    let mut bare = false;
    for byte in head {
        bare |= *byte == b'\n' && before != b'\r';
        before = *byte;
    }
    bare
}

/// Parses a decimal number, of digits only. The largest two are hyper's own marks.
fn number(text: &[u8]) -> Option<u64> {
    const LARGEST: u64 = u64::MAX - 2;
    if text.is_empty() || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(text).ok()?.parse().ok().filter(|number| *number <= LARGEST)
}

/// Returns whether `host` is `uri-host [":" port]` (RFC 9110, 7.2; RFC 3986, 3.2.2).
pub(in super::super::super) fn is_host(host: &[u8]) -> bool {
    if let Some(literal) = host.strip_prefix(b"[") {
        let Some(end) = literal.iter().position(|byte| *byte == b']') else { return false };
        let (address, rest) = literal.split_at(end);
        let address = std::str::from_utf8(address).ok().and_then(|text| text.parse().ok());
        return address.is_some_and(|_: Ipv6Addr| true)
            && matches!(rest, [_] | [_, b':', ..])
            && rest.get(2..).is_none_or(is_port);
    }
    let (name, port) = match host.iter().position(|byte| *byte == b':') {
        Some(colon) => (&host[..colon], Some(&host[colon + 1..])),
        None => (host, None),
    };
    is_name(name) && port.is_none_or(is_port)
}

/// A registered name: unreserved characters, sub-delimiters and escapes.
fn is_name(name: &[u8]) -> bool {
    let mut rest = name;
    while let Some((first, more)) = rest.split_first() {
        rest = match first {
            b'%' => match more {
                [a, b, after @ ..] if a.is_ascii_hexdigit() && b.is_ascii_hexdigit() => after,
                _ => return false,
            },
            b'-' | b'.' | b'_' | b'~' | b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+'
            | b',' | b';' | b'=' => more,
            byte if byte.is_ascii_alphanumeric() => more,
            _ => return false,
        };
    }
    !name.is_empty()
}

fn is_port(port: &[u8]) -> bool {
    number(port).is_some_and(|port| u16::try_from(port).is_ok()) && port.len() <= 5
}

/// Checks that the target is one that this server serves: a path, `*` of OPTIONS, or an absolute
/// `http` URI of the same host.
fn check_target(method: &str, target: &str, host: &[u8]) -> Result<(), Rejection> {
    // hyper would silently drop a fragment.
    if target.contains('#') {
        return Err(Rejection::Malformed);
    }
    if !target.starts_with('/') {
        if target == "*" {
            return if method == "OPTIONS" { Ok(()) } else { Err(Rejection::Malformed) };
        }
        let rest = strip_scheme(target).ok_or(Rejection::Malformed)?;
        let authority = rest.split(['/', '?']).next().unwrap_or(rest);
        if !authority.as_bytes().eq_ignore_ascii_case(host) {
            return Err(Rejection::BadHost);
        }
    }
    // A target of plain characters needs no second parser.
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/-._~?=&%:@!$'()*+,;".contains(&byte);
    if target.starts_with('/') && target.bytes().all(plain) {
        return Ok(());
    }
    // hyper itself answers a target that it cannot read, without a problem document.
    http::Uri::try_from(target).map(drop).map_err(|_| Rejection::Malformed)
}

fn strip_scheme(target: &str) -> Option<&str> {
    let (scheme, rest) = target.split_once("://")?;
    let known = scheme.eq_ignore_ascii_case("http") || scheme.eq_ignore_ascii_case("https");
    known.then_some(rest)
}

#[cfg(test)]
#[path = "head_tests.rs"]
mod tests;
