//! API4: a slow client is closed, while others are served.

use std::time::{Duration, Instant};

use abide::http::server::Limits;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::timeout;

use crate::support::{LONG, Server, answer, rest, status};

/// Long enough to tell from none, short enough to wait for.
const SHORT: Duration = Duration::from_millis(300);

#[tokio::test]
async fn a_slow_head_is_told_so_and_closed() {
    let server = Server::start(Limits { head_time: SHORT, ..Limits::default() }).await;
    let mut socket = server.connect().await;
    socket.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    assert_eq!(status(&answer(&mut socket).await), 200);
    let start = Instant::now();
    socket.write_all(b"GET / HTTP/1.1\r\nX").await.unwrap();
    let text = rest(&mut socket).await;
    assert_eq!(status(&text), 408, "{text}");
    assert!(start.elapsed() >= SHORT && start.elapsed() < LONG / 2, "{:?}", start.elapsed());
    assert!(server.serves().await);
}

/// A head that drips has no more time than one that stops.
#[tokio::test]
async fn a_dripping_head_gains_no_time() {
    let server = Server::start(Limits { head_time: SHORT, ..Limits::default() }).await;
    let (mut read, mut write) = server.connect().await.into_split();
    let dripping = tokio::spawn(async move {
        let mut tick = tokio::time::interval(SHORT / 10);
        write.write_all(b"GET / HTTP/1.1\r\nX: ").await.unwrap();
        while write.write_all(b"x").await.is_ok() {
            tick.tick().await;
        }
    });
    let mut text = String::new();
    let read = timeout(LONG, read.read_to_string(&mut text)).await.expect("it gained time");
    assert!(read.is_err() || status(&text) == 408, "{text}");
    dripping.abort();
}

#[tokio::test]
async fn a_connection_without_a_request_is_closed() {
    let server = Server::start(Limits { idle_time: SHORT, ..Limits::default() }).await;
    let mut fresh = server.connect().await;
    assert_eq!(rest(&mut fresh).await, "");
    let mut used = server.connect().await;
    used.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    assert_eq!(status(&answer(&mut used).await), 200);
    let start = Instant::now();
    assert_eq!(rest(&mut used).await, "");
    assert!(start.elapsed() >= SHORT / 2, "{:?}", start.elapsed());
}

/// A request that takes long is not an idle connection.
#[tokio::test]
async fn waiting_for_an_answer_is_not_idling() {
    let server = Server::start(Limits { idle_time: SHORT, ..Limits::default() }).await;
    let mut waiting = server.connect().await;
    waiting.write_all(b"GET /gate HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    let mut idle = server.connect().await;
    // The other one is closed as idle, so the time is over.
    assert_eq!(rest(&mut idle).await, "");
    server.service.gate.add_permits(1);
    assert!(answer(&mut waiting).await.ends_with("open"));
}

#[tokio::test]
async fn a_slow_body_is_given_up() {
    let server = Server::start(Limits { transfer_time: SHORT, ..Limits::default() }).await;
    for framing in
        ["Content-Length: 100\r\n\r\nhello", "Transfer-Encoding: chunked\r\n\r\n5\r\nhel"]
    {
        let request = format!("POST /echo HTTP/1.1\r\nHost: a\r\n{framing}");
        let text = server.exchange(request.as_bytes()).await;
        assert_eq!((status(&text), text.ends_with("slow")), (408, true), "{text}");
    }
    assert!(server.serves().await);
}

/// A client that does not read its answer is closed, and 64 MiB are not kept for it.
#[tokio::test]
async fn a_slow_reader_is_given_up() {
    let server = Server::start(Limits { transfer_time: SHORT, ..Limits::default() }).await;
    let mut socket = server.connect().await;
    socket.write_all(b"GET /flood HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    socket.readable().await.unwrap();
    assert!(server.serves().await);
    // The stop waits for every connection: it ends because this one was given up.
    assert_eq!(server.stop().await.cut, 0);
    let mut taken = Vec::new();
    drop(socket.read_to_end(&mut taken).await);
    assert!(taken.len() < 32 << 20, "all of it was sent: {}", taken.len());
}

/// A client that reads slowly but steadily keeps its connection.
#[tokio::test]
async fn a_steady_reader_is_served_to_the_end() {
    let server = Server::start(Limits { transfer_time: SHORT, ..Limits::default() }).await;
    let mut socket = server.connect().await;
    let request = b"GET /flood HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    socket.write_all(request).await.unwrap();
    let mut tick = tokio::time::interval(SHORT / 100);
    let (mut total, mut space) = (0, vec![0; 1 << 19]);
    loop {
        tick.tick().await;
        match socket.read(&mut space).await.unwrap() {
            0 => break,
            count => total += count,
        }
    }
    assert!(total > 64 << 20, "{total}");
}
