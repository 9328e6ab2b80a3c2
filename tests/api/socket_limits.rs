//! Limits of a WebSocket, and its ends: frames as bytes on a socket.

use std::io::Write as _;
use std::net::TcpStream;

use serde_json::{Value, json};

use crate::client::{Role, password_of};
use crate::live::{publish, start};
use crate::raw::{answer, connect, read_to_close, status};
use crate::server::{Server, dev};
use crate::socket::{Socket, dial};

const TEXT: u8 = 0x81;
const CLOSE: u8 = 0x88;
const PING: u8 = 0x89;

/// A masked frame; the mask is zero, so the payload stays readable.
fn frame(head: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![head];
    match u16::try_from(payload.len()) {
        Ok(length @ 0..126) => frame.push(0x80 | u8::try_from(length).unwrap()),
        Ok(length) => {
            frame.push(0xFE);
            frame.extend(length.to_be_bytes());
        }
        Err(_) => {
            frame.push(0xFF);
            frame.extend((payload.len() as u64).to_be_bytes());
        }
    }
    frame.extend([0; 4]);
    frame.extend(payload);
    frame
}

/// A socket after its handshake.
fn open(server: &Server, role: Option<&Role>) -> TcpStream {
    open_with(server, role, "Connection: Upgrade\r\nUpgrade: websocket\r\n")
}

fn open_with(server: &Server, role: Option<&Role>, upgrade: &str) -> TcpStream {
    let bearer = role.map(|role| format!("Authorization: Bearer {}\r\n", role.token()));
    let head = format!(
        "GET /v1/socket HTTP/1.1\r\nHost: {}\r\n{}{upgrade}Sec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        server.address(),
        bearer.unwrap_or_default(),
    );
    let mut socket = connect(&server.address());
    socket.write_all(head.as_bytes()).unwrap();
    let answered = answer(&mut socket);
    assert_eq!(status(&answered), 101, "{answered}");
    assert!(answered.contains("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="), "{answered}");
    socket
}

/// The code of the close frame with which the server ends.
fn closed_with(socket: &mut TcpStream) -> u16 {
    let bytes = read_bytes_to_close(socket);
    let mut rest = &bytes[..];
    while let [head, length, after @ ..] = rest {
        let (length, after) = match length {
            126 => (usize::from(u16::from_be_bytes([after[0], after[1]])), &after[2..]),
            length => (usize::from(*length), after),
        };
        if *head == CLOSE {
            return u16::from_be_bytes([after[0], after[1]]);
        }
        rest = &after[length..];
    }
    panic!("it ended without a code: {}", bytes.escape_ascii());
}

fn read_bytes_to_close(socket: &mut TcpStream) -> Vec<u8> {
    use std::io::Read as _;
    let mut bytes = Vec::new();
    let read = socket.read_to_end(&mut bytes);
    assert!(read.is_ok(), "{read:?}: {}", bytes.escape_ascii());
    bytes
}

/// RFC 6455, 7.4.1: bytes that are no frame, no UTF-8 or too large end with their code, and not in
/// a bare end.
#[tokio::test]
async fn a_broken_frame_ends_with_its_code() {
    let server = dev();
    let alice = server.user("alice").await;
    let large = vec![b' '; 40 * 1024];
    let announced = [&[TEXT, 0x80 | 127][..], &65_537_u64.to_be_bytes(), &[0; 4]].concat();
    let table: Vec<(&str, Vec<u8>, u16)> = vec![
        ("no mask", vec![TEXT, 2, b'{', b'}'], 1002),
        ("a reserved bit", frame(TEXT | 0x40, b"{}"), 1002),
        ("an unknown kind", frame(0x83, b""), 1002),
        ("an unknown control", frame(0x8b, b""), 1002),
        ("a continuation of nothing", frame(0x80, b"{}"), 1002),
        ("a message within another", [frame(0x01, b"{"), frame(TEXT, b"{}")].concat(), 1002),
        ("a long ping", frame(PING, &[b'x'; 126]), 1002),
        ("a ping in parts", frame(0x09, b""), 1002),
        ("half a code", frame(CLOSE, &[3]), 1002),
        ("a code that none may send", frame(CLOSE, &1005_u16.to_be_bytes()), 1002),
        ("no UTF-8", frame(TEXT, b"\"\xff\""), 1007),
        ("no UTF-8 in parts", [frame(0x01, b"\"\xc3"), frame(0x80, b"(\"")].concat(), 1007),
        ("a reason that is no UTF-8", frame(CLOSE, b"\x03\xe8\xff"), 1007),
        ("a message that is announced too large", announced, 1009),
        ("parts that are too large", [frame(0x01, &large), frame(0x80, &large)].concat(), 1009),
        ("a message of bytes", frame(0x82, b"{}"), 1003),
        ("a close", frame(CLOSE, b"\x03\xe8bye"), 1000),
    ];
    for (what, bytes, code) in table {
        let mut socket = open(&server, Some(&alice));
        socket.write_all(&bytes).unwrap();
        assert_eq!(closed_with(&mut socket), code, "{what}");
    }
    // A message of the maximum size is accepted, after a handshake with lists.
    let mut largest = br#"{"jsonrpc":"2.0","id":1,"method":"sessions.current"}"#.to_vec();
    largest.resize(64 * 1024, b' ');
    let lists = "Connection: keep-alive, upgrade\r\nUpgrade: h2c\r\nUpgrade: x/1, WebSocket\r\n";
    let mut socket = open_with(&server, Some(&alice), lists);
    socket.write_all(&[frame(TEXT, &largest), frame(CLOSE, b"\x03\xe8")].concat()).unwrap();
    let text = String::from_utf8_lossy(&read_bytes_to_close(&mut socket)).into_owned();
    assert!(text.contains("\"user\":\"alice\""), "{text}");
}

/// Resident memory of the server, in KiB.
fn resident_kib(server: &Server) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.process_id())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").trim().parse().unwrap()
}

/// A client that sends pings and reads no pongs costs no memory, with and without a token; it is
/// closed. So is one that sends messages that are no request.
#[tokio::test]
async fn floods_are_bounded_and_closed() {
    let server = dev();
    let alice = server.user("alice").await;
    let pings = frame(PING, &[b'x'; 125]).repeat(512);
    let before = resident_kib(&server);
    for role in [None, Some(&alice)] {
        let mut socket = open(&server, role);
        let mut sent = 0;
        while sent < 64 << 20 && socket.write_all(&pings).is_ok() {
            sent += pings.len();
        }
        assert!(sent < 64 << 20, "all pings were taken");
    }
    let grown = resident_kib(&server).saturating_sub(before);
    assert!(grown < 16 * 1024, "{grown} KiB");
    for (what, message) in [
        ("no JSON", frame(TEXT, b"{")),
        ("no request", frame(TEXT, b"{}")),
        ("no method", frame(TEXT, br#"{"jsonrpc":"2.0","method":"no.such"}"#)),
        ("pongs", frame(0x8a, b"")),
        (
            "no token",
            frame(TEXT, br#"{"jsonrpc":"2.0","method":"authenticate","params":{"token":"x"}}"#),
        ),
    ] {
        let mut socket = open(&server, Some(&alice));
        // Few enough to fit into the system's buffers, so that all is sent before it is closed.
        socket.write_all(&message.repeat(200)).unwrap();
        assert_eq!(closed_with(&mut socket), 1008, "{what}");
    }
    assert!(alice.is_alive().await);
}

/// A socket that does not authenticate in time is closed, however much it sends.
#[tokio::test]
async fn a_socket_without_a_session_has_a_time_limit() {
    let server = dev();
    let mut socket = open(&server, None);
    assert_eq!(closed_with(&mut socket), 1008);
}

/// The answers to a batch are bounded; requests that are not executed get an error.
#[tokio::test]
async fn the_answers_to_a_batch_are_bounded() {
    let server = dev();
    let alice = server.user("alice").await;
    alice.put_data(json!({ "text": "x".repeat(60 * 1024) })).await.ok();
    let mut socket = Socket::open(&server, &alice).await;
    let request = |id| json!({"jsonrpc": "2.0", "id": id, "method": "sessions.patch_data", "params": {"patch": {"id": id}}});
    let answers = socket.batch((0..64).map(request).collect()).await;
    let answers = answers.as_array().unwrap();
    assert_eq!(answers.len(), 64);
    let done = answers.iter().take_while(|answer| answer["result"].is_object()).count();
    assert!((10..30).contains(&done), "{done}");
    assert!(answers[done..].iter().all(|answer| answer["error"]["code"] == -32600));
    assert_eq!(alice.data().await.json()["id"], json!(done - 1));
}

/// A misspelt parameter is refused, so that no key and no condition is silently lost.
#[tokio::test]
async fn unknown_parameters_are_refused() {
    let server = dev();
    let (admin, alice) = (server.admin().await, server.user("alice").await);
    publish(&admin).await;
    let id = start(&alice).await;
    let before = alice.get(&format!("/v1/transactions/{id}")).await.ok().etag();
    let mut socket = Socket::open(&server, &alice).await;
    for (method, params) in [
        (
            "transactions.submit",
            json!({"id": id, "step": "ask", "input": {"note": "x"}, "idempotencyKey": "k"}),
        ),
        (
            "transactions.submit",
            json!({"id": id, "step": "ask", "input": {"note": "x"}, "ifMatch": 1}),
        ),
        ("transactions.submit", json!([id, "ask", {"note": "x"}])),
        ("transactions.start", json!({"workflow": "secret", "idempotencyKey": "k"})),
        ("transactions.start", json!({"workflow": "secret", "inputs": {}})),
        ("transactions.cancel", json!({"id": id, "reasons": "x"})),
        ("sessions.patch_data", json!({"patch": {"a": 1}, "if-match": 1})),
        ("sessions.current", json!({"include": "data"})),
        ("events.subscribe", json!({"from": "x"})),
    ] {
        let answer = socket.ask(method, params.clone()).await;
        assert_eq!(answer["error"]["code"], -32602, "{method} {params}: {answer}");
    }
    assert_eq!(alice.get(&format!("/v1/transactions/{id}")).await.ok().etag(), before);
    let list = alice.get("/v1/transactions").await.ok().json();
    assert_eq!(list["items"].as_array().unwrap().len(), 1, "{list}");
}

/// 4401 says that the session has ended, and only that; under a new token it lives on, and its
/// sockets and streams say so.
#[tokio::test]
async fn a_new_token_ends_sockets_and_streams_with_their_own_reason() {
    let server = dev();
    let alice = server.user("alice").await;
    let stream = |role: &Role| {
        let mut socket = connect(&server.address());
        let head = format!(
            "GET /v1/events HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {}\r\n\
             Connection: close\r\n\r\n",
            server.address(),
            role.token(),
        );
        socket.write_all(head.as_bytes()).unwrap();
        assert_eq!(status(&answer(&mut socket)), 200);
        socket
    };
    let renewed = |answer: Value| alice.with_token(answer["token"].as_str().unwrap());
    let (mut socket, mut events) = (Socket::open(&server, &alice).await, stream(&alice));
    let rotated = renewed(alice.post_empty("/v1/sessions/current/rotate").await.ok().json());
    assert_eq!(socket.closed_with().await, 4410);
    let text = read_to_close(&mut events);
    assert!(text.contains("event: end\ndata: {\"reason\":\"token-replaced\"}\n"), "{text}");

    let (mut socket, mut events) = (Socket::open(&server, &rotated).await, stream(&rotated));
    let password = json!({ "password": password_of("alice") });
    let elevated = rotated.post("/v1/sessions/current/elevate", password).await.ok().json();
    let elevated = renewed(elevated);
    assert_eq!(socket.closed_with().await, 4410);
    assert!(read_to_close(&mut events).contains("token-replaced"));

    let (mut socket, mut events) = (Socket::open(&server, &elevated).await, stream(&elevated));
    elevated.logout().await.ok();
    assert_eq!(socket.closed_with().await, 4401);
    assert!(read_to_close(&mut events).contains("{\"reason\":\"session-ended\"}"));
}

/// Cookies on several lines all count: by them a page of elsewhere gets no socket, and two that
/// differ authenticate nobody.
#[tokio::test]
async fn cookies_on_two_lines_open_no_socket_for_a_foreign_page() {
    let server = dev();
    let (alice, mallory) = (server.user("alice").await, server.user("mallory").await);
    let cookie = |role: &Role| ("cookie", format!("abide={}", role.token()));
    let origin = ("origin", "http://evil.example".to_owned());
    for cookies in [
        vec![("cookie", "theme=dark".to_owned()), cookie(&alice)],
        vec![cookie(&alice), ("cookie", "theme=dark".to_owned())],
        vec![cookie(&alice), cookie(&alice)],
    ] {
        let headers = [cookies, vec![origin.clone()]].concat();
        let refused = dial(&server, &headers).await;
        assert!(refused.is_err(), "{headers:?}");
    }
    let doubled = [cookie(&alice), cookie(&mallory), origin];
    if let Ok(mut socket) = dial(&server, &doubled).await {
        let answer = socket.ask("sessions.current", json!({})).await;
        assert_eq!(answer["error"]["data"]["code"], "unauthenticated", "{answer}");
    }
}

/// The answer to a handshake with these further header lines.
fn handshake(server: &Server, lines: &str) -> String {
    let head = format!(
        "GET /v1/socket HTTP/1.1\r\nHost: {}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n{lines}\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        server.address(),
    );
    let mut socket = connect(&server.address());
    socket.write_all(head.as_bytes()).unwrap();
    answer(&mut socket)
}

/// RFC 6455, 4.4: the answer to another version names the supported one.
#[tokio::test]
async fn handshake_of_another_version_gets_426() {
    let server = dev();
    for lines in ["Sec-WebSocket-Version: 8\r\n", ""] {
        let answered = handshake(&server, lines);
        assert_eq!(status(&answered), 426, "{answered}");
        let answered = answered.to_ascii_lowercase();
        assert!(answered.contains("sec-websocket-version: 13\r\n"), "{answered}");
        assert!(answered.contains("upgrade: websocket\r\n"), "{answered}");
    }
}

/// A page of another origin opens no socket by cookie, for any other headers of the handshake.
#[tokio::test]
async fn handshake_by_cookie_of_a_foreign_origin_is_refused() {
    let server = dev();
    let alice = server.user("alice").await;
    let lines = |origin: &str| {
        format!(
            "Sec-WebSocket-Version: 13\r\nCookie: abide={}\r\nSec-Fetch-Site: same-origin\r\n\
             Origin: {origin}\r\n",
            alice.token()
        )
    };
    let foreign = handshake(&server, &lines("https://evil.example"));
    assert_eq!(status(&foreign), 403, "{foreign}");
    let own = handshake(&server, &lines(&format!("http://{}", server.address())));
    assert_eq!(status(&own), 101, "{own}");
}
