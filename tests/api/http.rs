//! Strictness: ambiguous requests are refused. Framing by raw sockets.

use serde_json::json;

use crate::raw::{exchange, status};
use crate::server::dev;

const DATA: &str = "/v1/sessions/current/data";

/// 4.2.1: framing that two parsers may read differently: 400 and close.
#[tokio::test]
async fn ambiguous_framing_is_refused_and_the_connection_closed() {
    let server = dev();
    let address = server.address();
    let host = format!("Host: {address}\r\n");
    let table = [
        ("no Host", "GET /livez HTTP/1.1\r\n\r\n".to_owned()),
        ("two Hosts", format!("GET /livez HTTP/1.1\r\n{host}{host}\r\n")),
        ("a bad Host", "GET /livez HTTP/1.1\r\nHost: a b\r\n\r\n".into()),
        ("a Host with a path", "GET /livez HTTP/1.1\r\nHost: a/b\r\n\r\n".into()),
        (
            "a length beside chunks",
            format!(
                "POST /v1/sessions HTTP/1.1\r\n{host}Content-Type: application/json\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{{}}\r\n0\r\n\r\n"
            ),
        ),
        (
            "chunks beside a length",
            format!(
                "POST /v1/sessions HTTP/1.1\r\n{host}Content-Type: application/json\r\nTransfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n2\r\n{{}}\r\n0\r\n\r\n"
            ),
        ),
        (
            "two different lengths",
            format!(
                "POST /v1/sessions HTTP/1.1\r\n{host}Content-Type: application/json\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{{}} "
            ),
        ),
        (
            "a list of lengths",
            format!(
                "POST /v1/sessions HTTP/1.1\r\n{host}Content-Type: application/json\r\nContent-Length: 2, 3\r\n\r\n{{}} "
            ),
        ),
        (
            "a length with a sign",
            format!(
                "POST /v1/sessions HTTP/1.1\r\n{host}Content-Type: application/json\r\nContent-Length: +2\r\n\r\n{{}}"
            ),
        ),
        (
            "an unknown coding",
            format!(
                "POST /v1/sessions HTTP/1.1\r\n{host}Content-Type: application/json\r\nTransfer-Encoding: gzip, chunked\r\n\r\n2\r\n{{}}\r\n0\r\n\r\n"
            ),
        ),
        (
            "chunked twice",
            format!(
                "POST /v1/sessions HTTP/1.1\r\n{host}Content-Type: application/json\r\nTransfer-Encoding: chunked, chunked\r\n\r\n2\r\n{{}}\r\n0\r\n\r\n"
            ),
        ),
        (
            "a coding that only looks like chunked",
            format!(
                "POST /v1/sessions HTTP/1.1\r\n{host}Content-Type: application/json\r\nTransfer-Encoding: xchunked\r\n\r\n2\r\n{{}}\r\n0\r\n\r\n"
            ),
        ),
        ("a space before the colon", format!("GET /livez HTTP/1.1\r\n{host}X-A : b\r\n\r\n")),
        ("a folded header", format!("GET /livez HTTP/1.1\r\n{host}X-A: b\r\n c\r\n\r\n")),
        ("a NUL in a header", format!("GET /livez HTTP/1.1\r\n{host}X-A: b\0c\r\n\r\n")),
        ("no HTTP", "hello\r\n\r\n".into()),
    ];
    let mut wrong = Vec::new();
    for (what, request) in table {
        let answer = exchange(&address, request.as_bytes());
        if status(&answer) != 400 || answer.matches("HTTP/1.1 4").count() != 1 {
            wrong.push(format!("{what}: {answer}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(server.admin().await.is_alive().await);
}

/// 4.1.4: methods that no route has.
#[tokio::test]
async fn unknown_methods_are_refused() {
    let server = dev();
    let address = server.address();
    for method in ["TRACE", "CONNECT", "BREW", "get", "PROPFIND"] {
        let target = if method == "CONNECT" { "127.0.0.1:1" } else { "/v1/sessions/current" };
        let request =
            format!("{method} {target} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
        let answer = exchange(&address, request.as_bytes());
        assert!([400, 405, 501].contains(&status(&answer)), "{method}: {answer}");
    }
    let answer = server.nobody().call("POST", "/livez").await.problem(405, "method-not-allowed");
    let allow = answer.header("allow");
    assert!(allow.contains("GET") && !allow.contains("POST"), "{answer}");
    let answer = server.nobody().call("DELETE", DATA).await;
    assert!([401, 405].contains(&answer.status), "{answer}");
}

/// An override header changes no method.
#[tokio::test]
async fn method_override_headers_are_ignored() {
    let server = dev();
    let alice = server.user("alice").await;
    alice.session().header("x-http-method-override", "DELETE").await.ok();
    assert!(alice.is_alive().await);
}

/// RFC 9110: HEAD is GET without the body; OPTIONS tells the methods.
#[tokio::test]
async fn head_and_options_do_what_the_standard_says() {
    let server = dev();
    let alice = server.user("alice").await;
    let head = alice.call("HEAD", "/v1/sessions/current").await;
    if head.status != 405 {
        assert!(head.is(200).body.is_empty());
    }
    let options = server.nobody().call("OPTIONS", DATA).await;
    if options.status < 300 {
        for method in ["GET", "PUT", "PATCH"] {
            assert!(options.header("allow").contains(method), "{options}");
        }
    }
}

/// 3.5.2, 4.1.1: a body needs a JSON media type.
#[tokio::test]
async fn a_body_needs_a_json_media_type() {
    let server = dev();
    let alice = server.user("alice").await;
    for media_type in [
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "text/json",
        "application/jsonx",
        "*/*",
        "",
        "application/json, text/plain",
    ] {
        let answer = alice.call("PUT", DATA).body(media_type, "{}").await;
        answer.problem(415, "unsupported-media-type");
    }
    alice.call("PUT", DATA).body_without_type("{}").await.problem(415, "unsupported-media-type");
    for media_type in [
        "application/json",
        "application/json; charset=utf-8",
        "APPLICATION/JSON;charset=\"UTF-8\"",
    ] {
        alice.call("PUT", DATA).body(media_type, "{}").await.ok();
    }
    let answer = alice.call("PUT", DATA).body("application/json; charset=utf-16", "{}").await;
    assert!([400, 415].contains(&answer.status), "{answer}");
    let answer = alice
        .call("PUT", DATA)
        .body("application/json", "{}")
        .header("content-encoding", "gzip")
        .await;
    assert!([400, 415].contains(&answer.status), "{answer}");
}

/// 1.5.3: JSON that parsers disagree about.
#[tokio::test]
async fn json_that_parsers_disagree_about_is_refused() {
    let server = dev();
    let alice = server.user("alice").await;
    let put = |body: Vec<u8>| alice.call("PUT", DATA).body("application/json", body);
    let nested = |depth: usize| {
        // The data object is the first level.
        let inner = depth - 1;
        format!("{{\"a\":{}{}}}", "[".repeat(inner), "]".repeat(inner)).into_bytes()
    };
    let table: Vec<(&str, Vec<u8>)> = vec![
        ("a key twice", br#"{"a":1,"a":2}"#.to_vec()),
        ("a key twice by escape", br#"{"a":1,"\u0061":2}"#.to_vec()),
        ("a key twice deeper", br#"{"x":{"a":1,"b":[{"c":1,"c":1}]}}"#.to_vec()),
        ("a lone high surrogate", br#"{"a":"\ud800"}"#.to_vec()),
        ("a lone low surrogate", br#"{"a":"\udc00x"}"#.to_vec()),
        ("a lone surrogate in a key", br#"{"\ud800":1}"#.to_vec()),
        ("NaN", br#"{"a":NaN}"#.to_vec()),
        ("Infinity", br#"{"a":-Infinity}"#.to_vec()),
        ("a comment", br#"{"a":1}/* */"#.to_vec()),
        ("a trailing comma", br#"{"a":1,}"#.to_vec()),
        ("a second value", br"{}{}".to_vec()),
        ("single quotes", br"{'a':1}".to_vec()),
        ("a leading zero", br#"{"a":01}"#.to_vec()),
        ("a hexadecimal", br#"{"a":0x1}"#.to_vec()),
        ("a raw control character", b"{\"a\":\"\x01\"}".to_vec()),
        ("a byte order mark", b"\xef\xbb\xbf{}".to_vec()),
        ("bytes that are no UTF-8", b"{\"a\":\"\xff\xfe\"}".to_vec()),
        ("overlong UTF-8", b"{\"a\":\"\xc0\xaf\"}".to_vec()),
        ("UTF-16", b"\xff\xfe{\0}\0".to_vec()),
        ("nothing", Vec::new()),
        ("white space", b"  ".to_vec()),
        ("depth 65", nested(65)),
        ("depth 100000", nested(100_000)),
    ];
    for (what, body) in table {
        let answer = put(body).await;
        assert!([400, 422].contains(&answer.status), "{what}: {answer}");
    }
    assert_eq!(alice.data().await.json(), json!({}));
    put(nested(64)).await.ok();
    put(br#"{"a":"\ud83d\ude00","b":"\u0000"}"#.to_vec()).await.ok();
    assert_eq!(alice.data().await.json(), json!({"a": "\u{1F600}", "b": "\0"}));
}

/// 15.3.7: a parameter given twice, or one that no route knows.
#[tokio::test]
async fn query_parameters_are_known_and_given_once() {
    let server = dev();
    let alice = server.user("alice").await;
    for path in [
        "/v1/sessions?limit=1&limit=2",
        "/v1/sessions?limit=1&limit=1",
        "/v1/sessions?lim%69t=1&limit=1",
        "/v1/sessions?unknown=1",
        "/v1/sessions/current?include=data&include=data",
        "/v1/sessions?limit=%ff",
    ] {
        let answer = alice.get(path).await;
        assert!([400, 422].contains(&answer.status), "{answer}");
    }
    alice.get("/v1/sessions?limit=1&limit=2").await.is(400);
}

/// 15.3.5: a string is no number and a number is no string.
#[tokio::test]
async fn types_are_not_guessed() {
    let server = dev();
    let admin = server.admin().await;
    server.user("alice").await;
    for body in [
        json!({"disabled": "true"}),
        json!({"disabled": 1}),
        json!({"roles": "a"}),
        json!({"roles": {"0": "a"}}),
        json!({"attributes": "{}"}),
        json!({"attributes": []}),
    ] {
        admin.patch("/v1/users/alice", body).await.is(422);
    }
    let nobody = server.nobody();
    for body in [
        json!({"username": ["alice"], "password": "x"}),
        json!({"username": {"$gt": ""}, "password": {"$gt": ""}}),
        json!({"username": "alice", "password": 12_345_678}),
        json!({"cookie": "true"}),
        json!({"cookie": 1}),
    ] {
        nobody.post("/v1/sessions", body).await.is(422);
    }
}

/// API 4: a body over its limit is refused by its length, and by its chunks, before it is read.
#[tokio::test]
async fn large_bodies_are_refused_by_length_and_by_chunk() {
    let server = dev();
    let alice = server.user("alice").await;
    let address = server.address();
    let head = format!(
        "PUT {DATA} HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {}\r\nContent-Type: application/json\r\n",
        alice.token()
    );
    let answer =
        exchange(&address, format!("{head}Content-Length: 1000000000\r\n\r\n{{").as_bytes());
    assert_eq!(status(&answer), 413, "{answer}");
    assert!(answer.to_ascii_lowercase().contains("\r\nconnection: close\r\n"), "{answer}");
    let mut chunked = format!("{head}Transfer-Encoding: chunked\r\n\r\n").into_bytes();
    for _ in 0..8 {
        chunked.extend_from_slice(b"10000\r\n");
        chunked.extend(std::iter::repeat_n(b' ', 0x10000));
        chunked.extend_from_slice(b"\r\n");
    }
    let answer = exchange(&address, &chunked);
    assert_eq!(status(&answer), 413, "{answer}");
    assert!(answer.to_ascii_lowercase().contains("\r\nconnection: close\r\n"), "{answer}");
    assert!(alice.is_alive().await);
}

/// API 4: headers over 16 KiB 431, long targets 414, and neither hurts the next request.
#[tokio::test]
async fn long_heads_are_refused() {
    let server = dev();
    let alice = server.user("alice").await;
    let answer = alice.session().header("x-long", "x".repeat(20 * 1024)).attempt().await.unwrap();
    assert_eq!(answer.status, 431, "{answer}");
    let mut many = alice.session();
    for n in 0..300 {
        many = many.header(&format!("x-{n}"), "y");
    }
    let answer = many.attempt().await.unwrap();
    assert!([400, 431].contains(&answer.status), "{answer}");
    let answer = alice.get(&format!("/v1/sessions?cursor={}", "x".repeat(12 * 1024))).await;
    assert!([414, 431].contains(&answer.status), "{answer}");
    assert!(alice.is_alive().await);
}

/// Paths are compared as they are: no dot segments, no doubled or trailing slashes, no case.
#[tokio::test]
async fn paths_that_only_resemble_a_route_are_not_it() {
    let server = dev();
    let admin = server.admin().await;
    for path in [
        "/v1/sessions/",
        "/v1//sessions",
        "//v1/sessions",
        "/V1/sessions",
        "/v1/Sessions",
        "/v1/sessions/current/",
        "/v1/users/%2e%2e/sessions",
        "/v1/sessions%2Fcurrent",
        "/v1/sessions;x=1",
        "/v1/users/admin%00",
        "/v1/users/%ff",
        "/",
        "/v2/sessions",
        "/.git/config",
        "/v1/users/..%2f..%2fetc%2fpasswd",
    ] {
        let address = server.address();
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {}\r\nConnection: close\r\n\r\n",
            admin.token()
        );
        let answer = exchange(&address, request.as_bytes());
        assert!([400, 404].contains(&status(&answer)), "{path}: {answer}");
    }
}

/// 4.1.3: `X-Forwarded-For` from a client that is no configured proxy counts for nothing: neither
/// as the shown address, nor to escape the back-off.
#[tokio::test]
async fn forwarded_headers_of_strangers_count_for_nothing() {
    let server = dev();
    let alice = server.user("alice").await;
    let body = json!({"username": "alice", "password": crate::client::password_of("alice")});
    for (name, value) in [
        ("x-forwarded-for", "203.0.113.9"),
        ("forwarded", "for=203.0.113.9"),
        ("x-real-ip", "203.0.113.9"),
    ] {
        server.nobody().post("/v1/sessions", body.clone()).header(name, value).await.is(201);
    }
    let list = alice.get("/v1/sessions").await.ok().text();
    assert!(!list.contains("203.0.113.9"), "{list}");
}

/// 16.5.1: a request id that the client sends is not let into the log unchecked.
#[tokio::test]
async fn a_clients_request_id_cannot_forge_the_log() {
    let server = dev();
    for id in ["<script>alert(1)</script>", "a b", "\u{2028}x", &"x".repeat(5000)] {
        let answer = server.nobody().get("/livez").header("x-request-id", id).await;
        assert_ne!(answer.header("x-request-id"), id);
        assert!(answer.header("x-request-id").len() < 200);
    }
    let ids: std::collections::HashSet<_> = {
        let mut ids = std::collections::HashSet::new();
        for _ in 0..50 {
            ids.insert(server.nobody().get("/livez").await.header("x-request-id"));
        }
        ids
    };
    assert_eq!(ids.len(), 50);
}

/// 16.4.1: CR, LF, ESC and U+2028 in a name or an agent are still one line of the log.
#[tokio::test]
async fn control_characters_do_not_break_the_log() {
    let mut server = dev();
    let nobody = server.nobody();
    for name in [
        "forged\r\nlevel=INFO forged-line",
        "esc\u{1b}[31m",
        "sep\u{2028}forged-line",
        "sep\u{85}x",
    ] {
        let body = json!({"username": name, "password": "a wrong password"});
        nobody.post("/v1/sessions", body).header("user-agent", "agent\u{2028}forged-line").await;
        nobody.get(&format!("/{}", name.replace(['\r', '\n', '\u{1b}', ' '], "%0d%0a"))).await;
    }
    server.terminate();
    let log = server.log();
    assert!(!log.lines().any(|line| line.trim_start().starts_with("level=INFO forged")), "{log}");
    for hostile in ['\u{2028}', '\u{85}'] {
        assert!(!log.contains(hostile), "{log}");
    }
    assert!(!log.contains("\u{1b}[31m"), "{log}");
}

/// A browser at the root is redirected to the guide; a program gets 404.
#[tokio::test]
async fn root_leads_browsers_to_the_guide() {
    let server = dev();
    let page =
        server.nobody().get("/").header("accept", "text/html,application/xhtml+xml,*/*;q=0.8");
    let answer = page.await.is(303);
    assert_eq!(answer.header("location"), "/docs");
    assert_eq!(answer.header("vary").to_ascii_lowercase(), "accept");
    server.nobody().get("/").header("accept", "application/json").await.problem(404, "not-found");
    server.nobody().get("/").await.problem(404, "not-found");
    server.nobody().call("HEAD", "/").header("accept", "text/html").await.is(303);
}

/// RFC 9110, 9.3.7: `*` asks for the server as a whole.
#[tokio::test]
async fn options_of_the_server_lists_all_methods() {
    let server = dev();
    let request =
        format!("OPTIONS * HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n\r\n", server.address());
    let answer = crate::raw::exchange(&server.address(), request.as_bytes());
    assert!(answer.starts_with("HTTP/1.1 204 "), "{answer}");
    assert!(answer.contains("allow: GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS\r\n"), "{answer}");
}
