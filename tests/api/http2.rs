//! HTTP/2 with prior knowledge: bodies without a length, `:authority` without a `Host`.

use std::convert::Infallible;

use bytes::Bytes;
use futures_util::stream;
use http::{HeaderMap, Request};
use http_body::{Body as _, Frame};
use http_body_util::{BodyExt as _, StreamBody};
use hyper::client::conn::http2::{SendRequest, handshake};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::{Value, json};
use tokio::net::TcpStream;

use crate::client::Role;
use crate::live::{publish, start, step};
use crate::server::{Options, Server, dev};

type Frames = StreamBody<stream::Iter<std::vec::IntoIter<Result<Frame<Bytes>, Infallible>>>>;

/// A connection.
struct Http2 {
    sender: SendRequest<Frames>,
    authority: String,
    bearer: Option<String>,
}

/// An answer of the server.
#[derive(Debug)]
struct Answer {
    status: u16,
    headers: HeaderMap,
    body: Value,
}

impl Http2 {
    async fn open(server: &Server, role: Option<&Role>) -> Self {
        let stream = TcpStream::connect(server.address()).await.unwrap();
        let (sender, connection) =
            handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        let bearer = role.map(|role| format!("Bearer {}", role.token()));
        Self { sender, authority: server.address(), bearer }
    }

    /// Sends a request whose body has these frames and no announced length.
    async fn ask(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        frames: &[&str],
    ) -> Answer {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("http://{}{path}", self.authority))
            .version(http::Version::HTTP_2);
        if let Some(bearer) = &self.bearer {
            request = request.header("authorization", bearer);
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let frames: Vec<_> = frames
            .iter()
            .map(|frame| Ok(Frame::data(Bytes::copy_from_slice(frame.as_bytes()))))
            .collect();
        let request = request.body(StreamBody::new(stream::iter(frames))).unwrap();
        assert!(!request.headers().contains_key("content-length"));
        let answer = self.sender.send_request(request).await.unwrap();
        let (head, body) = answer.into_parts();
        if method == "HEAD" {
            assert!(body.is_end_stream(), "content after the headers of {path}: {head:?}");
        }
        let bytes = body.collect().await.unwrap().to_bytes();
        let body = serde_json::from_slice(&bytes).unwrap_or_default();
        Answer { status: head.status.as_u16(), headers: head.headers, body }
    }
}

const JSON: (&str, &str) = ("content-type", "application/json");

/// A body without a length is a body: a step's input, its media type, its fingerprint.
#[tokio::test]
async fn a_body_without_a_length_is_read() {
    let server = dev();
    let (admin, alice) = (server.admin().await, server.user("alice").await);
    publish(&admin).await;
    let mut http2 = Http2::open(&server, Some(&alice)).await;
    let path = step(&start(&alice).await, "ask");
    let untyped = http2.ask("POST", &path, &[], &["{\"note\":\"hello\"}"]).await;
    assert_eq!(untyped.status, 415, "{untyped:?}");
    let key = ("idempotency-key", "one");
    let done = http2.ask("POST", &path, &[JSON, key], &["{\"note\":", "\"hello\"}"]).await;
    assert_eq!((done.status, &done.body["data"]["note"]), (200, &json!("hello")), "{done:?}");
    let again = http2.ask("POST", &path, &[JSON, key], &["", "{\"note\":\"hello\"}"]).await;
    assert_eq!((again.status, &again.body), (200, &done.body), "{again:?}");
    let other = http2.ask("POST", &path, &[JSON, key], &["{\"note\":\"other\"}"]).await;
    assert_eq!(other.body["code"], "idempotency-key-reused", "{other:?}");
    let none = http2.ask("POST", &path, &[key], &[]).await;
    assert_eq!(none.body["code"], "idempotency-key-reused", "{none:?}");
    let reason = json!({ "reason": "enough", "unknown": 1 }).to_string();
    let cancel = format!("{}/cancel", path.split_once("/steps").unwrap().0);
    let odd = http2.ask("POST", &cancel, &[JSON], &[&reason]).await;
    assert_eq!(odd.status, 422, "{odd:?}");
    let large = "x".repeat(64 * 1024);
    let large = vec![large.as_str(); 5];
    let large = http2.ask("POST", &cancel, &[JSON], &large).await;
    assert_eq!(large.status, 413, "{large:?}");
    let ended = http2.ask("POST", &cancel, &[], &[""]).await;
    assert_eq!((ended.status, &ended.body["status"]), (200, &json!("cancelled")), "{ended:?}");
}

/// A start and a route without a body: a body is read, and refused where none is allowed.
#[tokio::test]
async fn a_route_without_a_body_takes_none() {
    let server = dev();
    let (admin, alice) = (server.admin().await, server.user("alice").await);
    publish(&admin).await;
    let mut http2 = Http2::open(&server, Some(&alice)).await;
    let starts = "/v1/workflows/secret/transactions";
    let started = http2.ask("POST", starts, &[JSON], &[r#"{"reference":"r"}"#]).await;
    assert_eq!((started.status, &started.body["reference"]), (201, &json!("r")), "{started:?}");
    let rotate = "/v1/sessions/current/rotate";
    for (headers, frames, status) in [
        (&[][..], &["anything"][..], 415),
        (&[JSON], &["[1]"], 422),
        (&[JSON], &[r#"{"a":1}"#], 422),
    ] {
        let refused = http2.ask("POST", rotate, headers, frames).await;
        assert_eq!(refused.status, status, "{frames:?}: {refused:?}");
    }
    assert!(alice.is_alive().await);
    let rotated = http2.ask("POST", rotate, &[JSON], &["{", "}"]).await;
    assert_eq!(rotated.status, 200, "{rotated:?}");
}

/// RFC 9110, 9.3.2: the answer to HEAD ends with its headers, which are those of GET, whatever its
/// status, also where GET begins a stream.
#[tokio::test]
async fn an_answer_to_head_has_no_content() {
    let server = dev();
    let (admin, alice) = (server.admin().await, server.user("alice").await);
    publish(&admin).await;
    let mut http2 = Http2::open(&server, Some(&alice)).await;
    let transaction = format!("/v1/transactions/{}", start(&alice).await);
    let events = format!("{transaction}/events");
    for (path, status) in [
        (&*transaction, 200),
        ("/openapi.json", 200),
        ("/v1/transactions/tx_none", 404),
        ("/no/such/path", 404),
        ("/v1/socket", 400),
    ] {
        let get = http2.ask("GET", path, &[], &[]).await;
        let head = http2.ask("HEAD", path, &[], &[]).await;
        assert_eq!((get.status, head.status), (status, status), "{path}: {head:?}");
        for name in ["content-type", "content-length", "etag"] {
            assert_eq!(head.headers.get(name), get.headers.get(name), "{name} of {path}");
        }
        assert!(head.headers.contains_key("content-length"), "{path}: {head:?}");
    }
    let stream = ("accept", "text/event-stream");
    for path in ["/v1/events", &events] {
        let head = http2.ask("HEAD", path, &[stream], &[]).await;
        assert_eq!(head.status, 200, "{path}: {head:?}");
        assert_eq!(head.headers["content-type"], "text/event-stream");
        assert!(!head.headers.contains_key("content-length"), "{path}: {head:?}");
    }
}

/// A change by cookie is of the same origin if `:authority` says so.
#[tokio::test]
async fn the_authority_is_the_host() {
    let server = dev();
    let alice = server.user("alice").await;
    let mut http2 = Http2::open(&server, None).await;
    let cookie = format!("abide={}", alice.token());
    let data = "/v1/sessions/current/data";
    let base = server.base();
    let own = [("cookie", &*cookie), ("origin", &*base), JSON];
    let changed = http2.ask("PUT", data, &own, &["{\"a\":1}"]).await;
    assert_eq!(changed.status, 200, "{changed:?}");
    assert!(changed.headers.contains_key("etag"));
    let foreign = [("cookie", &*cookie), ("origin", "http://evil.example"), JSON];
    let refused = http2.ask("PUT", data, &foreign, &["{\"a\":2}"]).await;
    assert_eq!(refused.body["code"], "cross-site", "{refused:?}");
    // HTTP/2 may split cookies over several lines.
    let split = [("cookie", "theme=dark"), ("cookie", &*cookie), ("origin", &*base), JSON];
    let changed = http2.ask("PUT", data, &split, &["{\"a\":3}"]).await;
    assert_eq!(changed.status, 200, "{changed:?}");
}

/// Behind a proxy that ends TLS the origin is the one that the client sees: by the headers of a
/// trusted proxy, and by the configured address.
#[tokio::test]
async fn the_origin_of_a_page_is_known_behind_a_proxy() {
    let server = Options::dev().arg("--proxies").arg("127.0.0.1").start();
    let alice = server.user("alice").await;
    let put = |cookie: &str, origin: &str, headers: &[(&str, &str)]| {
        let call = server.nobody().put("/v1/sessions/current/data", json!({"a": 1}));
        let call = call.cookie(&format!("{cookie}={}", alice.token())).header("origin", origin);
        headers.iter().fold(call, |call, (name, value)| call.header(name, value))
    };
    let x = |host| [("x-forwarded-proto", "https"), ("x-forwarded-host", host)];
    let forwarded = ("forwarded", "for=192.0.2.7;proto=https;host=shop.example");
    let origin = "https://shop.example";
    put("__Host-abide", origin, &x("shop.example")).await.ok();
    put("__Host-abide", origin, &[forwarded]).await.ok();
    put("__Host-abide", origin, &x("other.example")).await.problem(403, "cross-site");
    put("__Host-abide", "http://shop.example", &x("shop.example")).await.problem(403, "cross-site");

    let server = Options::dev().arg("--public-url").arg(origin).start();
    let alice = server.user("alice").await;
    let put = |origin: &str| {
        let call = server.nobody().put("/v1/sessions/current/data", json!({"a": 1}));
        call.cookie(&format!("abide={}", alice.token())).header("origin", origin)
    };
    put(origin).await.ok();
    put(&server.base()).await.ok();
    put("https://evil.example").await.problem(403, "cross-site");
}
