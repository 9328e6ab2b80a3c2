//! Tests of the heads: which pass, and how the others are answered.
#![allow(clippy::panic, reason = "a test fails by panicking")]

use super::*;

const LIMITS: HeadLimits = HeadLimits { head_bytes: 1024, target_bytes: 256 };

fn rejection(head: &str) -> Option<Rejection> {
    match check(head.as_bytes(), 0, &LIMITS) {
        HeadCheck::Refused(rejection) => Some(rejection),
        HeadCheck::Good { bytes, .. } => {
            assert_eq!(bytes, head.len());
            None
        }
        HeadCheck::Incomplete => panic!("incomplete: {head}"),
    }
}

fn body(lines: &str) -> Result<BodyFraming, Rejection> {
    let head = format!("POST / HTTP/1.1\r\nHost: a\r\n{lines}\r\n");
    match check(head.as_bytes(), 0, &LIMITS) {
        HeadCheck::Good { body, .. } => Ok(body),
        HeadCheck::Refused(rejection) => Err(rejection),
        HeadCheck::Incomplete => panic!("incomplete: {head}"),
    }
}

#[test]
fn framing_that_two_readers_may_read_differently_is_refused() {
    assert_eq!(body(""), Ok(BodyFraming::Length(0)));
    assert_eq!(body("Content-Length: 5\r\n"), Ok(BodyFraming::Length(5)));
    assert_eq!(body("Content-Length: 5\r\nContent-Length: 05\r\n"), Ok(BodyFraming::Length(5)));
    assert_eq!(body("Transfer-Encoding: chunked\r\n"), Ok(BodyFraming::Chunked));
    assert_eq!(body("transfer-encoding: CHUNKED\r\n"), Ok(BodyFraming::Chunked));
    assert_eq!(body("Connection: Upgrade\r\nUpgrade: websocket\r\n"), Ok(BodyFraming::Upgrade));
    for length in ["5\r\nContent-Length: 6", "+5", "-1", "5, 5", "0x5", "", "5 5", "1e3"] {
        let lines = format!("Content-Length: {length}\r\n");
        assert_eq!(body(&lines), Err(Rejection::BadLength), "{length}");
    }
    for length in [u64::MAX.to_string(), "18446744073709551616".into()] {
        assert_eq!(body(&format!("Content-Length: {length}\r\n")), Err(Rejection::BadLength));
    }
    for coding in [
        "gzip",
        "gzip, chunked",
        "chunked, chunked",
        "chunked;a",
        "xchunked",
        "",
        "chunked\r\nTransfer-Encoding: chunked",
        "\x0bchunked",
    ] {
        let lines = format!("Transfer-Encoding: {coding}\r\n");
        assert!(
            matches!(body(&lines), Err(Rejection::BadEncoding | Rejection::Malformed)),
            "{coding}"
        );
    }
    let both = "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n";
    assert_eq!(body(both), Err(Rejection::LengthAndEncoding));
    let old = "POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    assert_eq!(rejection(old), Some(Rejection::BadEncoding));
    for line in [
        "Content-Length : 5",
        " Content-Length: 5",
        "X: a\r\n b",
        "X: a\nContent-Length: 5",
        "X: a\0b",
        "X\r\n",
    ] {
        assert_eq!(
            body(&format!("{line}\r\n")),
            Err(Rejection::Malformed),
            "{}",
            line.escape_debug()
        );
    }
}

#[test]
fn there_is_one_host_and_it_is_a_host() {
    let with = |host: &str| rejection(&format!("GET / HTTP/1.1\r\n{host}\r\n"));
    assert_eq!(with(""), Some(Rejection::NoHost));
    assert_eq!(rejection("GET / HTTP/1.0\r\n\r\n"), Some(Rejection::NoHost));
    assert_eq!(with("Host: a\r\nHost: a\r\n"), Some(Rejection::TwoHosts));
    for good in ["a", "a.example:8080", "127.0.0.1:1", "[::1]", "[::1]:8080", "a_b-c.d%20", "xn--a"]
    {
        assert_eq!(with(&format!("Host: {good}\r\n")), None, "{good}");
    }
    for bad in [
        "",
        "a b",
        "a/b",
        "a@b",
        "a:",
        "a:b",
        "a:99999",
        "a:80:80",
        "[::1",
        "[::1]x",
        "[::1]:",
        "[1.2.3.4]",
        "::1",
        "a%2",
        "a\\b",
        "ü",
        ":80",
        "a,b@c",
        "http://a",
    ] {
        assert_eq!(with(&format!("Host: {bad}\r\n")), Some(Rejection::BadHost), "{bad}");
    }
}

#[test]
fn methods_and_targets_are_those_that_are_served() {
    let line = |line: &str| rejection(&format!("{line}\r\nHost: a\r\n\r\n"));
    for method in ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"] {
        assert_eq!(line(&format!("{method} / HTTP/1.1")), None, "{method}");
    }
    for method in ["TRACE", "CONNECT"] {
        assert_eq!(line(&format!("{method} / HTTP/1.1")), Some(Rejection::MethodNotAllowed));
    }
    for method in ["get", "BREW", "PROPFIND", "G.T"] {
        assert_eq!(
            line(&format!("{method} / HTTP/1.1")),
            Some(Rejection::MethodUnknown),
            "{method}"
        );
    }
    for good in
        ["/", "/a/b?c=d&e=%20", "/a|b", "http://a/b", "HTTP://A/b?c", "http://a", "https://a?x"]
    {
        assert_eq!(line(&format!("GET {good} HTTP/1.1")), None, "{good}");
    }
    assert_eq!(line("OPTIONS * HTTP/1.1"), None);
    for bad in ["a", "a:80", "*", "/a#b", "ftp://a/", "?a", "http:/a"] {
        let line = line(&format!("GET {bad} HTTP/1.1"));
        assert!(matches!(line, Some(Rejection::Malformed | Rejection::BadHost)), "{bad}: {line:?}");
    }
    for bad in ["http://b/", "http://a:80/", "http://x@a/"] {
        assert_eq!(line(&format!("GET {bad} HTTP/1.1")), Some(Rejection::BadHost), "{bad}");
    }
    for bad in [
        "GET / HTTP/1.2",
        "GET / HTTP/2.0",
        "GET /",
        "GET  / HTTP/1.1",
        "GET / a HTTP/1.1",
        "GET / http/1.1",
        " GET / HTTP/1.1",
    ] {
        assert_eq!(line(bad), Some(Rejection::Malformed), "{bad}");
    }
}

#[test]
fn a_head_is_refused_as_soon_as_it_is_too_large() {
    let long = "a".repeat(LIMITS.target_bytes);
    assert_eq!(
        check(format!("GET /{long}").as_bytes(), 0, &LIMITS),
        HeadCheck::Refused(Rejection::TargetTooLong)
    );
    assert_eq!(
        rejection(&format!("GET /{long} HTTP/1.1\r\nHost: a\r\n\r\n")),
        Some(Rejection::TargetTooLong)
    );
    let short = "a".repeat(LIMITS.target_bytes - 1);
    assert_eq!(rejection(&format!("GET /{short} HTTP/1.1\r\nHost: a\r\n\r\n")), None);
    let wide = "a".repeat(LIMITS.head_bytes);
    let head = format!("GET / HTTP/1.1\r\nHost: a\r\nX: {wide}");
    assert_eq!(check(head.as_bytes(), 0, &LIMITS), HeadCheck::Refused(Rejection::HeadTooLarge));
    assert_eq!(rejection(&format!("{head}\r\n\r\n")), Some(Rejection::HeadTooLarge));
    let many = "X: y\r\n".repeat(HEADER_FIELDS + 1);
    assert_eq!(rejection(&format!("GET / HTTP/1.1\r\n{many}\r\n")), Some(Rejection::HeadTooLarge));
    let lines = "\r\n".repeat(LIMITS.head_bytes);
    assert_eq!(check(lines.as_bytes(), 0, &LIMITS), HeadCheck::Refused(Rejection::HeadTooLarge));
}
