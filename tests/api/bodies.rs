//! Detection of bodies, and the connection after a request that was not read to its end. By raw
//! sockets.

use std::io::Write as _;
use std::net::TcpStream;
use std::time::Instant;

use serde_json::json;

use crate::client::Role;
use crate::live::{publish, start, step};
use crate::raw::{answer, connect, exchange, status};
use crate::server::{Options, Server, dev};
use crate::wait::PATIENCE;

/// A request's head up to its framing.
fn head(server: &Server, role: Option<&Role>, method: &str, path: &str) -> String {
    let bearer = role.map(|role| format!("Authorization: Bearer {}\r\n", role.token()));
    let bearer = bearer.unwrap_or_default();
    format!("{method} {path} HTTP/1.1\r\nHost: {}\r\n{bearer}", server.address())
}

const CHUNKED: &str = "Transfer-Encoding: chunked\r\nConnection: close\r\n";

/// An empty chunked body is none; one with bytes is one, for any headers.
#[tokio::test]
async fn whether_there_is_a_body_is_known_by_its_bytes() {
    let server = dev();
    let (admin, alice) = (server.admin().await, server.user("alice").await);
    publish(&admin).await;
    let id = start(&alice).await;
    let send = |method: &str, path: &str, more: &str| {
        let head = head(&server, Some(&alice), method, path);
        exchange(&server.address(), format!("{head}{CHUNKED}{more}").as_bytes())
    };
    let json = "Content-Type: application/json\r\n\r\n";
    let starts = "/v1/workflows/secret/transactions";
    assert_eq!(status(&send("POST", starts, "\r\n0\r\n\r\n")), 201);
    assert_eq!(status(&send("POST", starts, "\r\n2\r\n{}\r\n0\r\n\r\n")), 415);
    let submit = step(&id, "ask");
    let done =
        send("POST", &submit, &format!("{json}c\r\n{{\"note\":\"hi\"\r\n1\r\n}}\r\n0\r\n\r\n"));
    assert_eq!(status(&done), 200, "{done}");
    assert!(done.contains("\"note\":\"hi\""), "{done}");
    let cancel = format!("/v1/transactions/{id}/cancel");
    let odd = send("POST", &cancel, &format!("{json}7\r\n{{\"a\":1}}\r\n0\r\n\r\n"));
    assert_eq!(status(&odd), 422, "{odd}");
    assert_eq!(status(&send("POST", &cancel, "\r\n0\r\n\r\n")), 200);
    let rotate = "/v1/sessions/current/rotate";
    let odd = send("POST", rotate, &format!("{json}7\r\n{{\"a\":1}}\r\n0\r\n\r\n"));
    assert_eq!(status(&odd), 422, "{odd}");
    let empty = send("PUT", "/v1/sessions/current/data", "\r\n0\r\n\r\n");
    assert_eq!(status(&empty), 400, "{empty}");
    assert_eq!(status(&send("POST", rotate, "\r\n0\r\n\r\n")), 200);
}

/// A refusal that comes before a small body either reads the body or says that the connection ends;
/// requests that were sent after it are never silently lost.
#[tokio::test]
async fn an_early_refusal_keeps_the_connection_or_says_that_it_ends() {
    let server = dev();
    let alice = server.user("alice").await;
    let address = server.address();
    let next = format!("GET /livez HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    let data = "/v1/sessions/current/data";
    let nobody = head(&server, None, "PUT", data);
    let known = head(&server, Some(&alice), "PUT", data);
    let missing = head(&server, Some(&alice), "POST", "/v1/no/such/route");
    for (expected, head) in [
        (401, format!("{nobody}Content-Type: application/json\r\n")),
        (404, missing),
        (415, format!("{known}Content-Type: text/plain\r\n")),
        (405, head(&server, None, "POST", "/livez")),
    ] {
        for framing in ["Content-Length: 7\r\n\r\n", "Transfer-Encoding: chunked\r\n\r\n"] {
            let body =
                if framing.starts_with('C') { "{\"a\":1}" } else { "7\r\n{\"a\":1}\r\n0\r\n\r\n" };
            // The body is there already: the connection lives on.
            let both = exchange(&address, format!("{head}{framing}{body}{next}").as_bytes());
            assert_eq!(status(&both), expected, "{both}");
            assert_eq!(both.matches("HTTP/1.1 200").count(), 1, "{both}");
            // The body is still under way: the server does not wait for its end. Only with a length
            // it is known that there will be one.
            if expected == 415 && !framing.starts_with('C') {
                continue;
            }
            let mut socket = connect(&address);
            socket.write_all(format!("{head}{framing}").as_bytes()).unwrap();
            let refused = answer(&mut socket);
            assert_eq!(status(&refused), expected, "{refused}");
            assert!(refused.contains("\r\nconnection: close\r\n"), "{refused}");
        }
    }
}

/// A gateway's check before it passes a request on bears the headers of that request and not its
/// body. A read waits for no body, whatever length is announced.
#[tokio::test]
async fn a_read_waits_for_no_body() {
    let server = dev();
    let alice = server.user("alice").await;
    for path in ["/v1/auth/verify", "/v1/sessions/current", "/livez", "/v1/transactions"] {
        for framing in [
            "Content-Type: text/plain\r\nContent-Length: 1000000000\r\n",
            "Content-Type: multipart/form-data; boundary=x\r\nTransfer-Encoding: chunked\r\n",
            "Content-Type: application/json\r\nContent-Encoding: gzip\r\nContent-Length: 12\r\n",
        ] {
            let head = head(&server, Some(&alice), "GET", path);
            let mut socket = connect(&server.address());
            socket.write_all(format!("{head}{framing}\r\n").as_bytes()).unwrap();
            let answered = answer(&mut socket);
            let expected = if path.ends_with("verify") { 204 } else { 200 };
            assert_eq!(status(&answered), expected, "{path} {framing}: {answered}");
            assert!(answered.contains("\r\nconnection: close\r\n"), "{answered}");
        }
        // Without a body the media type alone says nothing.
        let answered = alice.get(path).header("content-type", "text/plain").await.ok();
        assert_eq!(answered.header("connection"), "");
    }
    alice.put_data(json!({})).await.ok();
}

/// Bodies that arrive in part and stay unfinished hold a bounded amount of memory: one address gets
/// no more than its part, learns when to try again, and has it back when they are gone.
#[tokio::test]
async fn bodies_that_do_not_end_hold_a_bounded_amount() {
    let server = Options::dev().arg("--memory-max").arg("128MiB").start();
    let alice = server.user("alice").await;
    let head = head(&server, Some(&alice), "PUT", "/v1/sessions/current/data");
    let begin = || {
        let mut socket = connect(&server.address());
        let head =
            format!("{head}Content-Type: application/json\r\nContent-Length: 262144\r\n\r\n");
        socket.write_all(head.as_bytes()).unwrap();
        socket.write_all(&b" ".repeat(200 * 1024)).unwrap();
        socket
    };
    // 8 MB, of which one address may hold 3.
    let sockets: Vec<_> = (0..40).map(|_| begin()).collect();
    let is_answered = |socket: &TcpStream| {
        socket.set_nonblocking(true).unwrap();
        let answered = socket.peek(&mut [0]).is_ok();
        socket.set_nonblocking(false).unwrap();
        answered
    };
    let deadline = Instant::now() + PATIENCE;
    while sockets.iter().filter(|socket| is_answered(socket)).count() < 20 {
        assert!(Instant::now() < deadline, "all bodies are held");
        tokio::task::yield_now().await;
    }
    let mut refused = sockets.into_iter().filter(is_answered).collect::<Vec<_>>();
    let answered = answer(&mut refused[0]);
    assert_eq!(status(&answered), 503, "{answered}");
    assert!(answered.contains("\r\nretry-after: "), "{answered}");
    drop(refused);
    alice.put_data(json!({"a": 1})).await.ok();
    // The memory is free again: such a body is waited for and read to its end.
    loop {
        let mut socket = begin();
        socket.write_all(&b" ".repeat(262_144 - 200 * 1024 - 2)).unwrap();
        socket.write_all(b"{}").unwrap();
        if status(&answer(&mut socket)) == 200 {
            break;
        }
        assert!(Instant::now() < deadline, "nothing is free");
    }
}
