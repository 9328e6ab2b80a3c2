//! Requests over real sockets, allowed and refused.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::net::IpAddr;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::{
    EgressError, EgressPolicy, HttpClient, HttpRequest, HttpResponse, SendError, ServerAddress,
};
use crate::types::{Span, Time};

fn request(uri: &str) -> HttpRequest {
    HttpRequest {
        method: Method::POST,
        uri: uri.parse().unwrap(),
        headers: HeaderMap::new(),
        body: Bytes::from_static(b"{}"),
        timeout: Duration::from_secs(10),
    }
}

fn allows(rules: &str, uri: &str) -> bool {
    let egress = EgressPolicy::parse(rules).unwrap();
    ServerAddress::of(&uri.parse().unwrap()).and_then(|target| egress.must_allow(&target)).is_ok()
}

/// 1.3.6, 15.3.2, API7.
#[test]
fn only_what_a_rule_names_is_let_out() {
    for (rules, uri, fine) in [
        ("", "https://api.example.com/", false),
        ("api.example.com", "https://api.example.com/x", true),
        ("api.example.com", "http://API.example.com.:8080/x", true),
        ("api.example.com", "https://api.example.com.evil.test/", false),
        ("api.example.com", "https://evil-api.example.com/", false),
        ("https://api.example.com", "http://api.example.com/", false),
        ("https://api.example.com", "https://api.example.com:8443/", false),
        ("https://api.example.com:8443", "https://api.example.com:8443/", true),
        ("*.example.com", "https://a.b.example.com/", true),
        ("*.example.com", "https://example.com/", false),
        ("*.example.com", "https://badexample.com/", false),
        ("api.example.com", "https://user@api.example.com/", false),
        ("api.example.com", "ftp://api.example.com/", false),
        ("8.8.8.8", "https://8.8.8.8/", true),
        ("8.8.8.8", "https://8.8.4.4/", false),
        ("10.1.0.0/16", "http://10.1.2.3/", true),
        ("10.1.0.0/16", "http://10.2.2.3/", false),
        ("10.1.0.0/16", "http://[::ffff:10.1.2.3]/", true),
        ("http://10.0.0.5:8080", "http://10.0.0.5:8080/", true),
        ("http://10.0.0.5:8080", "http://10.0.0.5/", false),
        ("http://10.0.0.5:8080", "https://10.0.0.5:8080/", false),
        ("http://10.0.0.5:8080", "http://10.0.0.6:8080/", false),
        ("10.0.0.5:8080", "https://10.0.0.5:8080/", true),
        ("https://[fd00::1]", "https://[fd00::1]/", true),
        ("*.0.0.5", "http://10.0.0.5/", false),
        ("http://169.254.169.254", "http://169.254.169.254/", false),
    ] {
        assert_eq!(allows(rules, uri), fine, "{rules}: {uri}");
    }
}

/// A rule that names an address allows nothing else there: no name that leads to it.
#[test]
fn an_inner_address_is_named_by_itself() {
    let egress = EgressPolicy::parse("http://10.0.0.5,api.example.com").unwrap();
    let target = ServerAddress::of(&"http://api.example.com".parse().unwrap()).unwrap();
    assert!(egress.must_allow_address(&target, "10.0.0.5".parse().unwrap(), false).is_err());
}

/// 1.3.6, 15.3.2, API7: the table of addresses that a public name must not lead to.
#[test]
fn a_name_leads_to_no_inner_address() {
    let egress = EgressPolicy::parse("api.example.com").unwrap();
    let target = ServerAddress::of(&"https://api.example.com".parse().unwrap()).unwrap();
    for address in [
        "0.0.0.0",
        "0.1.2.3",
        "10.0.0.1",
        "100.64.0.1",
        "127.0.0.1",
        "127.1.2.3",
        "169.254.169.254",
        "169.254.0.1",
        "172.16.0.1",
        "172.31.255.255",
        "192.0.0.1",
        "192.0.2.1",
        "192.168.1.1",
        "198.18.0.1",
        "198.51.100.1",
        "203.0.113.1",
        "224.0.0.1",
        "240.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "::ffff:127.0.0.1",
        "::ffff:10.0.0.1",
        "::ffff:169.254.169.254",
        "::7f00:1",
        "64:ff9b::7f00:1",
        "64:ff9b::a9fe:a9fe",
        "2002:7f00:1::",
        "2001::1",
        "2001:db8::1",
        "fc00::1",
        "fd00::1",
        "fd00:ec2::254",
        "fe80::1",
        "fec0::1",
        "ff02::1",
        "100::1",
        "5f00::1",
    ] {
        let checked = egress.must_allow_address(&target, address.parse().unwrap(), false);
        assert!(matches!(checked, Err(EgressError::Address { .. })), "{address}");
    }
    for address in ["8.8.8.8", "172.32.0.1", "100.128.0.1", "2606:4700::1111", "2a00::1"] {
        let checked = egress.must_allow_address(&target, address.parse().unwrap(), false);
        assert_eq!(checked, Ok(()), "{address}");
    }
    // Not even a rule allows the address where a cloud keeps its credentials.
    let wide = EgressPolicy::parse("0.0.0.0/0,::/0").unwrap();
    for address in ["169.254.169.254", "::ffff:169.254.169.254", "fd00:ec2::254", "0.0.0.0"] {
        let checked = wide.must_allow_address(&target, address.parse().unwrap(), false);
        assert!(checked.is_err(), "{address}");
    }
}

/// A name that a rule allows and that leads to this machine: refused when it is resolved.
#[tokio::test]
async fn the_address_is_looked_at_when_it_is_known() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let client = HttpClient::new(EgressPolicy::parse("localhost").unwrap()).unwrap();
    let failure = client.send(request(&format!("http://localhost:{port}/"))).await.unwrap_err();
    assert!(matches!(failure, SendError::Egress(EgressError::Address { .. })), "{failure}");
    assert!(failure.is_unsent());
    // Other spellings of the same address are names, and no rule has them.
    for host in ["2130706433", "0x7f.1", "127.1", "017700000001"] {
        let failure = client.send(request(&format!("http://{host}:{port}/"))).await.unwrap_err();
        assert!(matches!(failure, SendError::Egress(_)), "{host}: {failure}");
    }
}

/// Answers one request with these bytes and returns the request.
async fn answering(answer: Vec<u8>) -> (u16, tokio::task::JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let served = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut asked = Vec::new();
        while !asked.ends_with(b"{}") {
            let mut bytes = [0; 1024];
            let count = stream.read(&mut bytes).await.unwrap();
            assert!(count > 0, "the request ended early");
            asked.extend_from_slice(&bytes[..count]);
        }
        // The caller may have seen enough.
        drop(stream.write_all(&answer).await);
        String::from_utf8(asked).unwrap()
    });
    (port, served)
}

fn local() -> HttpClient {
    HttpClient::new(EgressPolicy::default().and_loopback()).unwrap()
}

#[tokio::test]
async fn a_request_is_sent_and_answered() {
    let answer = b"HTTP/1.1 201 Created\r\nretry-after: 7\r\ncontent-length: 2\r\n\r\nok".to_vec();
    let (port, served) = answering(answer).await;
    let mut asked = request(&format!("http://127.0.0.1:{port}/a?b=c"));
    asked.headers.insert("idempotency-key", "k".parse().unwrap());
    let reply = local().send(asked).await.unwrap();
    assert_eq!((reply.status, &reply.body[..]), (201, &b"ok"[..]));
    assert_eq!(reply.headers["retry-after"], "7");
    let seen = served.await.unwrap().to_ascii_lowercase();
    assert!(seen.starts_with("post /a?b=c http/1.1\r\n"), "{seen}");
    assert!(seen.contains(&format!("host: 127.0.0.1:{port}\r\n")), "{seen}");
    assert!(seen.contains("idempotency-key: k\r\n"), "{seen}");
}

#[tokio::test]
async fn a_redirect_is_an_answer_and_not_followed() {
    let answer =
        b"HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n";
    let (port, _) = answering(answer.to_vec()).await;
    let reply = local().send(request(&format!("http://127.0.0.1:{port}/"))).await.unwrap();
    assert_eq!(reply.status, 302);
}

/// The beginning of a body that is too large is kept, whatever the status.
#[tokio::test]
async fn an_answer_is_bounded() {
    let page = |status: &str| {
        let mut answer = format!("HTTP/1.1 {status}\r\nx: y\r\ncontent-length: 70000\r\n\r\n");
        answer.extend(std::iter::repeat_n('x', 70_000));
        answer.into_bytes()
    };
    for status in [200, 201, 302, 404, 503] {
        let (port, _) = answering(page(&format!("{status} So"))).await;
        let reply = local().send(request(&format!("http://127.0.0.1:{port}/"))).await.unwrap();
        assert_eq!((reply.status, reply.body.len()), (status, 64 * 1024));
        assert!(reply.truncated);
        assert_eq!(reply.headers["x"], "y");
    }
    let mut exact = b"HTTP/1.1 200 OK\r\ncontent-length: 65536\r\n\r\n".to_vec();
    exact.resize(exact.len() + 64 * 1024, b'x');
    let (port, _) = answering(exact).await;
    let reply = local().send(request(&format!("http://127.0.0.1:{port}/"))).await.unwrap();
    assert_eq!((reply.body.len(), reply.truncated), (64 * 1024, false));
    let mut answer = b"HTTP/1.1 200 OK\r\nx: ".to_vec();
    answer.resize(answer.len() + 70_000, b'x');
    let (port, _) = answering(answer).await;
    let failure = local().send(request(&format!("http://127.0.0.1:{port}/"))).await.unwrap_err();
    assert!(matches!(failure, SendError::Broken { .. }), "{failure}");
}

/// A name has an allowed address and a forbidden one: the allowed one does not answer now but may
/// later, whichever of them comes first.
#[tokio::test]
async fn an_address_that_may_not_be_asked_says_nothing_of_the_others() {
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = gone.local_addr().unwrap().port();
    drop(gone);
    let (open, inner): (IpAddr, IpAddr) =
        ("127.0.0.1".parse().unwrap(), "10.0.0.1".parse().unwrap());
    let failure_at = |addresses: Vec<IpAddr>| async move {
        let client = HttpClient::new(EgressPolicy::parse("api.test,127.0.0.0/8").unwrap()).unwrap();
        let client = client.with_names(move |_| addresses.clone());
        client.send(request(&format!("http://api.test:{port}/"))).await.unwrap_err()
    };
    for addresses in [vec![open, inner], vec![inner, open], vec![inner, inner, inner, inner, open]]
    {
        let failure = failure_at(addresses.clone()).await;
        assert!(matches!(failure, SendError::Unreachable { .. }), "{addresses:?}: {failure}");
    }
    let failure = failure_at(vec![inner]).await;
    assert!(matches!(failure, SendError::Egress(EgressError::Address { .. })), "{failure}");
}

#[tokio::test]
async fn who_does_not_answer_is_waited_for_so_long() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let mut asked = request(&format!("http://127.0.0.1:{port}/"));
    asked.timeout = Duration::from_millis(50);
    let failure = local().send(asked).await.unwrap_err();
    assert!(matches!(failure, SendError::TimedOut(_)) && !failure.is_unsent(), "{failure}");
    drop(listener);
    let failure = local().send(request(&format!("http://127.0.0.1:{port}/"))).await.unwrap_err();
    assert!(failure.is_unsent(), "{failure}");
}

#[tokio::test]
async fn a_connection_that_breaks_leaves_it_unknown() {
    let (port, _) = answering(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf".to_vec()).await;
    let failure = local().send(request(&format!("http://127.0.0.1:{port}/"))).await.unwrap_err();
    assert!(matches!(failure, SendError::Broken { .. }) && !failure.is_unsent(), "{failure}");
}

/// RFC 9110, 10.2.3 and 5.6.7: seconds, or one of three forms of dates; any other value is ignored.
#[test]
fn retry_after_takes_all_three_dates_any_number_and_no_garbage() {
    // Sun, 06 Nov 1994 08:49:37 GMT, one minute before.
    let wall = Time::from_ms(784_111_777_000 - 60_000);
    let asked = |values: &[&str]| {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(http::header::RETRY_AFTER, HeaderValue::from_str(value).unwrap());
        }
        HttpResponse { status: 503, headers, body: Bytes::new(), truncated: false }
            .retry_after(wall)
    };
    for (text, seconds) in [
        ("120", Some(120)),
        ("0", Some(0)),
        ("Sun, 06 Nov 1994 08:49:37 GMT", Some(60)),
        ("Sunday, 06-Nov-94 08:49:37 GMT", Some(60)),
        ("Sun Nov  6 08:49:37 1994", Some(60)),
        ("Sun, 06 Nov 1994 08:40:00 GMT", Some(0)),
        ("-1", None),
        ("+5", None),
        ("1.5", None),
        ("", None),
        ("soon", None),
        ("Mon, 06 Nov 1994 08:49:37 GMT", None),
        ("Sun, 31 Feb 1994 08:49:37 GMT", None),
        ("Sun, 06 Nov 1994 08:49:37 +0100", None),
    ] {
        assert_eq!(asked(&[text]), seconds.map(Span::from_seconds), "{text}");
    }
    let huge = "9".repeat(40);
    assert!(asked(&[&huge]) > Some(Span::from_hours(1_000_000)));
    assert!(asked(&["Fri, 31 Dec 9999 23:59:59 GMT"]) > Some(Span::from_hours(1_000_000)));
    assert_eq!(asked(&["soon", "3"]), Some(Span::from_seconds(3)));
}
