//! The guard and hyper read the same: a request that the guard lets through, hyper serves with the
//! same method, target, headers and body, request by request. Where two readers differ, one's body
//! is the other's request.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::super::super::connection::plain_builder;
use super::super::super::limits::Limits;
use super::super::REFUSED;
use super::*;

const LIMITS: HeadLimits = HeadLimits { head_bytes: 4096, target_bytes: 1024 };

/// One request, as one reader understood it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Read {
    method: String,
    /// The authority of an absolute target, in lower case, and the path with its query.
    target: (Option<String>, String),
    headers: Vec<(String, Vec<u8>)>,
    /// `None`: it did not arrive whole, or is malformed.
    body: Option<Vec<u8>>,
}

/// Result of the guard on a connection's bytes.
struct Guarded {
    /// All bytes that passed.
    passed: Vec<u8>,
    /// The heads that passed, each with the bytes that passed behind it, and whether these are a
    /// whole body.
    messages: Vec<(Vec<u8>, Vec<u8>, bool)>,
    /// True if a next head may follow the bytes that passed.
    at_head: bool,
}

fn guarded(bytes: &[u8]) -> Guarded {
    let mut framing = Framing::new(LIMITS);
    let (mut held, mut passed, mut broken) = (Vec::new(), Vec::new(), false);
    let mut messages: Vec<(Vec<u8>, Vec<u8>, bool)> = Vec::new();
    for byte in bytes {
        held.push(*byte);
        let heads = framing.heads();
        let (count, halt) = framing.advance(&held);
        let now: Vec<u8> = held.drain(..count).collect();
        passed.extend(&now);
        if framing.heads() > heads {
            messages.push((now, Vec::new(), false));
        } else if let Some((_, body, _)) = messages.last_mut() {
            body.extend(now);
        }
        if framing.is_undecided() {
            framing.decided(false);
        }
        broken |= matches!(halt, Some(FramingHalt::BrokenBody));
        if let Some((_, _, whole)) = messages.last_mut() {
            *whole = !broken && !framing.inside_message();
        }
        if matches!(halt, Some(FramingHalt::Refused(_) | FramingHalt::BrokenBody)) {
            break;
        }
    }
    let at_head = !broken && !framing.inside_message();
    Guarded { passed, messages, at_head }
}

/// Parses a head that is written exactly as in RFC 9112; `None`: it is not.
fn strictly(head: &[u8], body: &[u8], whole: bool) -> Option<Read> {
    let text: String = head.iter().map(|byte| char::from(*byte)).collect();
    let text = text.trim_start_matches("\r\n").strip_suffix("\r\n\r\n")?;
    let mut lines = text.split("\r\n");
    let line: Vec<&str> = lines.next()?.split(' ').collect();
    let [method, target, "HTTP/1.1" | "HTTP/1.0"] = line[..] else { return None };
    let mut headers = Vec::new();
    for line in lines {
        let (name, value) = line.split_once(':')?;
        let token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
        let value = value.trim_matches([' ', '\t']);
        if name.is_empty() || !name.chars().all(token) {
            return None;
        }
        if value.chars().any(|c| c != '\t' && c.is_ascii_control()) {
            return None;
        }
        headers.push((name.to_ascii_lowercase(), value.chars().map(|c| c as u8).collect()));
    }
    let target = match target.split_once("://") {
        Some((_, rest)) if !target.starts_with('/') => {
            let at = rest.find(['/', '?']).unwrap_or(rest.len());
            let (authority, path) = rest.split_at(at);
            let slash = if path.starts_with('/') { "" } else { "/" };
            (Some(authority.to_ascii_lowercase()), format!("{slash}{path}"))
        }
        _ => (None, target.to_owned()),
    };
    let chunked = headers.iter().any(|(name, _)| name == "transfer-encoding");
    let body = match (whole, chunked) {
        (false, _) => None,
        (true, false) => Some(body.to_vec()),
        (true, true) => Some(without_chunks(body)?),
    };
    Some(Read { method: method.to_owned(), target, headers, body })
}

fn without_chunks(mut rest: &[u8]) -> Option<Vec<u8>> {
    let mut whole = Vec::new();
    loop {
        let end = rest.windows(2).position(|pair| pair == b"\r\n")?;
        let line = String::from_utf8_lossy(&rest[..end]);
        let size = line.split([';', ' ', '\t']).next()?;
        let size = usize::from_str_radix(size, 16).ok()?;
        rest = &rest[end + 2..];
        if size == 0 {
            return Some(whole);
        }
        whole.extend(rest.get(..size)?);
        rest = rest[size..].strip_prefix(b"\r\n")?;
    }
}

/// Long enough for any connection here; a longer wait is for bytes that never come.
const LONG: Duration = Duration::from_secs(10);

/// Returns the requests that hyper, configured as for connections, reads from these bytes. The
/// bytes come `step` at a time, and then the end if `is_end`.
async fn by_hyper(bytes: &[u8], step: usize, is_end: bool) -> Vec<Read> {
    let seen: Arc<Mutex<Vec<Read>>> = Arc::default();
    let noted = Arc::clone(&seen);
    let service = service_fn(move |request: Request<Incoming>| {
        let noted = Arc::clone(&noted);
        async move {
            let (parts, body) = request.into_parts();
            let headers = parts.headers.iter();
            let headers = headers.map(|(name, value)| (name.to_string(), value.as_bytes().into()));
            let uri = &parts.uri;
            let query = uri.query().map(|query| format!("?{query}"));
            let path = format!("{}{}", uri.path(), query.unwrap_or_default());
            let path = path.bytes().map(char::from).collect();
            let authority = uri.authority().map(|it| it.as_str().to_ascii_lowercase());
            let body = body.collect().await.ok().map(|body| body.to_bytes().to_vec());
            let read = Read {
                method: parts.method.to_string(),
                target: (authority, path),
                headers: headers.collect(),
                body,
            };
            noted.lock().unwrap().push(read);
            Ok::<_, Infallible>(Response::new(Full::new(Bytes::new())))
        }
    });
    let (server, client) = tokio::io::duplex(step);
    let (mut answers, mut requests) = tokio::io::split(client);
    let serving = async move {
        let builder = plain_builder(&Limits::default());
        // The served requests show how it ends.
        builder.serve_connection(TokioIo::new(server), service).await.ok();
    };
    let sending = async move {
        // It may close before it was sent all.
        requests.write_all(bytes).await.ok();
        if is_end {
            requests.shutdown().await.ok();
        }
    };
    let reading = async move {
        let mut all = Vec::new();
        answers.read_to_end(&mut all).await.ok();
    };
    let all = async { tokio::join!(serving, sending, reading) };
    tokio::time::timeout(LONG, all).await.ok();
    seen.lock().unwrap().clone()
}

/// Names in no order: hyper keeps the values of one name together, and of lengths that say the
/// same the first.
fn sorted(mut read: Read) -> Read {
    let mut lengths = 0;
    read.headers.retain(|(name, _)| {
        lengths += usize::from(name == "content-length");
        name != "content-length" || lengths == 1
    });
    read.headers.sort_by(|a, b| a.0.cmp(&b.0));
    read
}

/// After these, a connection ends.
fn is_last(head: &[u8]) -> bool {
    let text = head.to_ascii_lowercase();
    let has = |part: &[u8]| text.windows(part.len()).any(|window| window == part);
    has(b"http/1.0") || has(b"connection:")
}

const LINES: [&str; 30] = [
    "Content-Length: 3",
    "Content-Length: 03",
    "Content-Length: 3, 3",
    "Content-Length: +3",
    "Content-Length:3",
    "Content-Length : 3",
    "content-length:\t3 ",
    "Content-Length: 0",
    "Content-Length: 18446744073709551615",
    "Content_Length: 3",
    "Transfer-Encoding: chunked",
    "Transfer-Encoding: Chunked\t",
    "Transfer-Encoding: gzip, chunked",
    "Transfer-Encoding: identity",
    "Transfer-Encoding:\x0bchunked",
    "Transfer-Encoding: chunked\r\n , identity",
    "Host: b",
    "Host: a:80",
    "Host : a",
    "Host: a b",
    "Expect: 100-continue",
    "Upgrade: h2c",
    "Connection: upgrade",
    "X: a\x7f",
    "X: \u{fc}",
    "X:",
    ": x",
    " folded",
    "X: a\rContent-Length: 3",
    "X: a\nContent-Length: 3",
];

const STARTS: [&str; 12] = [
    "GET / HTTP/1.1",
    "POST /v1/sessions?a=b HTTP/1.1",
    "PUT /%2e%2e/a;b?c&d= HTTP/1.1",
    "HEAD /a? HTTP/1.1",
    "QUERY /|! HTTP/1.1",
    "OPTIONS * HTTP/1.1",
    "DELETE http://a/x HTTP/1.1",
    "PATCH HTTPS://A?x HTTP/1.1",
    "GET //a/b HTTP/1.1",
    "GET /\u{fc} HTTP/1.1",
    "GET / HTTP/1.0",
    "\r\nGET /\\ HTTP/1.1",
];

const FRAMINGS: [&str; 3] = ["", "Content-Length: 3\r\n", "Transfer-Encoding: chunked\r\n"];

const BODIES: [&[u8]; 9] = [
    b"",
    b"abc",
    b"0\r\n\r\n",
    b"3\r\nabc\r\n0\r\n\r\n",
    b"3;x=\"\r\"\r\nabc\r\n0\r\nHost: b\r\n\r\n",
    b"3;x=\"\n\"\r\nabc\r\n0\r\n\r\n",
    b"03 \r\nabc\r\n000\r\n\r\n",
    b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n",
    b"1\r\na\r\n0\r\n\n",
];

fn request() -> impl Strategy<Value = Vec<u8>> {
    let lines = prop::collection::vec(select(&LINES[..]), 0..3);
    let kinds = (select(&STARTS[..]), select(&FRAMINGS[..]), select(&BODIES[..]));
    (kinds, prop::bool::weighted(0.9), lines).prop_map(|((start, framing, body), host, lines)| {
        let mut text = format!("{start}\r\n{framing}");
        text.push_str(if host { "Host: a\r\n" } else { "" });
        text.extend(lines.iter().flat_map(|line| [line, "\r\n"]));
        text.push_str("\r\n");
        [text.as_bytes(), body].concat()
    })
}

/// A byte that is inserted or replaces another, or (as `None`) one that is removed.
fn slip() -> impl Strategy<Value = (Index, Option<u8>, bool)> {
    let byte = select(b"\r\n\t :,;/?#@[]%0aAHT\0\x0b\x7f\x80\xff\"\\".to_vec());
    (any::<Index>(), prop::option::of(prop_oneof![4 => byte, 1 => any::<u8>()]), any::<bool>())
}

fn slipped(mut bytes: Vec<u8>, slips: &[(Index, Option<u8>, bool)]) -> Vec<u8> {
    for (at, byte, replaces) in slips {
        let at = at.index(bytes.len());
        match byte {
            None => drop(bytes.remove(at)),
            Some(byte) if *replaces => bytes[at] = *byte,
            Some(byte) => bytes.insert(at, *byte),
        }
    }
    bytes
}

fn both_read_the_same(bytes: &[u8], step: usize) -> Result<usize, TestCaseError> {
    let Guarded { mut passed, messages, at_head } = guarded(bytes);
    let count = messages.len();
    if at_head {
        // The replacement of a refused head must be the next request.
        passed.extend_from_slice(REFUSED);
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut by_hyper = runtime.block_on(by_hyper(&passed, step, !at_head)).into_iter();
    for (head, body, whole) in &messages {
        let strict = strictly(head, body, *whole);
        let shown = head.escape_ascii();
        prop_assert!(strict.is_some(), "the guard is not strict: {shown}");
        let read = by_hyper.next().map(sorted);
        if *whole && read.as_ref().is_some_and(|read| read.body.is_none()) {
            // The guard does not look into trailers; where they are none, hyper serves no more.
            prop_assert!(!body.ends_with(b"\r\n0\r\n\r\n"), "{}", shown);
            prop_assert_eq!(by_hyper.next(), None, "{}", shown);
            return Ok(count);
        }
        prop_assert_eq!(strict.map(sorted), read, "{}", shown);
        if is_last(head) {
            return Ok(count);
        }
    }
    let next = by_hyper.next().map(|read| read.target.1);
    prop_assert_eq!(next.as_deref(), at_head.then_some("/refused"));
    Ok(count)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, ..ProptestConfig::default() })]

    #[test]
    fn hyper_reads_what_the_guard_lets_through_as_the_guard_does(
        requests in prop::collection::vec(request(), 1..4),
        slips in prop::collection::vec(slip(), 0..4),
        step in 1_usize..200,
    ) {
        both_read_the_same(&slipped(requests.concat(), &slips), step)?;
    }
}

/// The property says nothing if little passes.
#[test]
fn the_property_sees_requests_of_every_kind() {
    let host = "\r\nHost: a\r\n";
    for start in STARTS {
        let head = format!("{start}{host}\r\n");
        let passes = both_read_the_same(head.as_bytes(), 7);
        assert_eq!(passes.map_err(|error| error.to_string()), Ok(1), "{start}");
    }
    for (line, body) in [("Content-Length: 3", 1), ("Transfer-Encoding: chunked", 3)] {
        let head = format!("POST / HTTP/1.1{host}{line}\r\n\r\n");
        let bytes = [head.as_bytes(), BODIES[body], head.as_bytes(), BODIES[body]].concat();
        assert_eq!(both_read_the_same(&bytes, 5).unwrap(), 2, "{line}");
    }
}
