//! SECURITY: bytes that two readers may read differently are refused, and the connection closed.

use abide::http::server::Limits;
use tokio::io::AsyncWriteExt as _;

use crate::support::{Server, answer, rest, status};

async fn server() -> Server {
    Server::start(Limits::default()).await
}

/// ASVS 4.2.1, 4.1.4: the strictness table, on real sockets; each answer is a problem document
/// with the request's id, and after it the connection is closed.
#[tokio::test]
async fn the_strictness_table() {
    let server = server().await;
    let table: [(&str, u16); 22] = [
        ("GET / HTTP/1.1\r\n\r\n", 400),
        ("GET / HTTP/1.0\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a b\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost:\r\n\r\n", 400),
        ("GET http://b/ HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (
            "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            400,
        ),
        (
            "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
            400,
        ),
        (
            "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
            400,
        ),
        ("POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: identity\r\n\r\n", 400),
        ("POST /echo HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        (
            "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
            400,
        ),
        ("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: +5\r\n\r\nhello", 400),
        ("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length : 5\r\n\r\nhello", 400),
        ("GET / HTTP/1.1\nHost: a\n\n", 400),
        ("GET / HTTP/1.1\r\nHost: a\r\nX: b\r\n c\r\n\r\n", 400),
        ("nonsense\r\n\r\n", 400),
        ("TRACE / HTTP/1.1\r\nHost: a\r\n\r\n", 405),
        ("CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n", 405),
        ("BREW / HTTP/1.1\r\nHost: a\r\n\r\n", 501),
        ("get / HTTP/1.1\r\nHost: a\r\n\r\n", 501),
    ];
    for (request, expected) in table {
        // The bytes behind the refused head must not be served, whatever they are.
        let smuggled = "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n";
        let text = server.exchange(format!("{request}{smuggled}").as_bytes()).await;
        assert_eq!(status(&text), expected, "{request:?}: {text}");
        assert_eq!(text.matches("x-request-id: ").count(), 1, "{request:?}: {text}");
        assert!(text.contains("content-type: application/problem+json\r\n"), "{text}");
        assert!(text.contains("connection: close\r\n"), "{text}");
        let id = text.split_once("x-request-id: ").unwrap().1.split_once("\r\n").unwrap().0;
        assert!(text.contains(&format!("\"instance\":\"{id}\"")), "{text}");
        assert_eq!(text.contains("allow: "), expected == 405, "{text}");
    }
    assert!(server.serves().await);
}

/// A refused HEAD request gets no body, since its client expects none.
#[tokio::test]
async fn a_refused_head_request_has_no_body() {
    let text = server().await.exchange(b"HEAD / HTTP/1.1\r\n\r\n").await;
    assert_eq!(status(&text), 400);
    assert!(text.ends_with("\r\n\r\n"), "{text}");
}

/// The answers to the requests before a refused one come before its refusal.
#[tokio::test]
async fn a_refusal_waits_for_its_turn() {
    let server = server().await;
    let mut socket = server.connect().await;
    let good = "GET /gate HTTP/1.1\r\nHost: a\r\n\r\nPOST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n";
    socket.write_all(format!("{good}GET / HTTP/1.1\r\n\r\n").as_bytes()).await.unwrap();
    assert!(server.serves().await);
    server.service.gate.add_permits(1);
    let text = rest(&mut socket).await;
    let parts: Vec<_> = text.split("HTTP/1.1 ").skip(1).collect();
    assert_eq!(parts.len(), 3, "{text}");
    assert!(parts[0].starts_with("200") && parts[0].ends_with("open"), "{text}");
    assert!(parts[1].starts_with("200") && parts[1].ends_with("hello"), "{text}");
    assert!(parts[2].starts_with("400"), "{text}");
}

/// Bodies of all kinds, one byte at a time and pipelined, on one connection.
#[tokio::test]
async fn a_connection_serves_one_request_after_the_other() {
    let server = server().await;
    let mut socket = server.connect().await;
    for body in ["", "hello", "GET / HTTP/1.1\r\n\r\n"] {
        let length = body.len();
        let plain =
            format!("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n{body}");
        let chunk =
            if body.is_empty() { String::new() } else { format!("{length:x}\r\n{body}\r\n") };
        let chunked = format!(
            "\r\nPOST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{chunk}0\r\nX: y\r\n\r\n"
        );
        for request in [plain, chunked] {
            for byte in request.as_bytes() {
                socket.write_all(&[*byte]).await.unwrap();
            }
            let text = answer(&mut socket).await;
            assert_eq!(
                (status(&text), text.ends_with(&format!("\r\n\r\n{body}"))),
                (200, true),
                "{text}"
            );
        }
    }
}

/// A chunk that is none is a body that did not arrive.
#[tokio::test]
async fn a_malformed_chunk_is_a_broken_body() {
    let head = "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    for body in ["x\r\n", "5\r\nhelloX", "-5\r\nhello\r\n", "5\nhello\r\n0\r\n\r\n"] {
        let text = server().await.exchange(format!("{head}{body}").as_bytes()).await;
        assert_eq!((status(&text), text.ends_with("broken")), (400, true), "{body:?}: {text}");
        assert_eq!(text.matches("HTTP/1.1 ").count(), 1, "{text}");
    }
}

/// API4: a head over its limit 431, a target over its limit 414, also when they never end.
#[tokio::test]
async fn large_heads_and_targets_are_refused() {
    let server = server().await;
    let limits = Limits::default();
    let wide = "a".repeat(limits.head_bytes);
    let long = "a".repeat(limits.target_bytes);
    let fields = "x: y\r\n".repeat(101);
    for (request, expected) in [
        (format!("GET / HTTP/1.1\r\nHost: a\r\nX: {wide}\r\n\r\n"), 431),
        (format!("GET / HTTP/1.1\r\nHost: a\r\nX: {wide}"), 431),
        (format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n"), 431),
        (format!("GET /{long} HTTP/1.1\r\nHost: a\r\n\r\n"), 414),
        (format!("GET /{long}{wide}"), 414),
    ] {
        let text = server.exchange(request.as_bytes()).await;
        assert_eq!(status(&text), expected, "{}", &text[..text.len().min(300)]);
    }
    let fits = "a".repeat(limits.target_bytes - 1);
    let request = format!("GET /{fits} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    assert_eq!(status(&server.exchange(request.as_bytes()).await), 200);
}

/// An answer that was given before the body was read arrives, though the client is still sending.
#[tokio::test]
async fn an_early_answer_arrives_while_the_client_still_sends() {
    let server = server().await;
    let mut socket = server.connect().await;
    let head = "POST /early HTTP/1.1\r\nHost: a\r\nContent-Length: 3000000\r\n\r\n";
    socket.write_all(head.as_bytes()).await.unwrap();
    socket.write_all(&vec![b'x'; 3_000_000]).await.unwrap();
    let text = rest(&mut socket).await;
    assert_eq!((status(&text), text.ends_with("early")), (413, true), "{text}");
}

/// After an upgrade the bytes are the other protocol's, however much they look like a bad head.
#[tokio::test]
async fn an_upgraded_connection_is_left_alone() {
    let server = server().await;
    let mut socket = server.connect().await;
    let head = "GET /upgrade HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n";
    // The next bytes come with the head, before it is known whether they will be HTTP.
    socket.write_all(format!("{head}nonsense\r\n\r\n").as_bytes()).await.unwrap();
    let mut text = answer(&mut socket).await;
    assert_eq!(status(&text), 101);
    socket.shutdown().await.unwrap();
    text.push_str(&rest(&mut socket).await);
    assert!(text.ends_with("nonsense\r\n\r\n"), "{text}");
    // If it is not granted, HTTP goes on.
    let head = head.replace("/upgrade", "/");
    let more = "POST /echo HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 5\r\n\r\n";
    let text = server.exchange(format!("{head}{more}hello").as_bytes()).await;
    assert_eq!((status(&text), text.matches("HTTP/1.1 200").count()), (200, 2), "{text}");
    assert!(text.ends_with("hello"), "{text}");
}

/// ASVS 4.1.3: `X-Forwarded-*` counts only from a configured proxy.
#[tokio::test]
async fn forwarded_headers_count_only_from_a_proxy() {
    use abide::http::server::{Proxies, ServeOptions};
    let request = b"GET /who HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 6.6.6.6, 203.0.113.9\r\nX-Forwarded-Proto: https\r\nConnection: close\r\n\r\n";
    let text = server().await.exchange(request).await;
    assert!(text.ends_with("127.0.0.1 Http"), "{text}");
    let proxies = Proxies::parse("127.0.0.0/8").unwrap();
    let behind = Server::start_with(ServeOptions { proxies, ..ServeOptions::default() }).await;
    let text = behind.exchange(request).await;
    assert!(text.ends_with("203.0.113.9 Https"), "{text}");
}

/// ASVS 16.5.3: a panic answers 500 to its own request, and the server lives.
#[tokio::test]
async fn a_panic_is_one_answer() {
    let server = server().await;
    let request = b"GET /panic HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    let text = server.exchange(request).await;
    assert_eq!(status(&text), 500, "{text}");
    assert!(text.contains("\"code\":\"internal\"") && !text.contains("on purpose"), "{text}");
    assert!(server.serves().await);
}
