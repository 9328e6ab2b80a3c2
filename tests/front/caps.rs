//! API4: connections are capped, in all and from one address, and idle ones cost others nothing.

use abide::http::server::Limits;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use crate::support::{Server, answer, rest, status};

async fn ask(socket: &mut TcpStream) -> u16 {
    socket.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    status(&answer(socket).await)
}

#[tokio::test]
async fn two_thousand_idle_connections_and_a_normal_client() {
    let server = Server::start(Limits::default()).await;
    let mut idle = Vec::new();
    for _ in 0..2000 {
        idle.push(server.connect().await);
    }
    // Some are idle from the start, some in the middle of a head, some after a request.
    for socket in idle.iter_mut().step_by(3) {
        socket.write_all(b"GET / HTTP/1.1\r\nHo").await.unwrap();
    }
    assert_eq!(ask(&mut idle[1]).await, 200);
    for _ in 0..100 {
        assert!(server.serves().await);
    }
    assert_eq!(server.stop().await.cut, 0);
}

#[tokio::test]
async fn one_address_has_its_own_cap() {
    let limits = Limits { connections_per_address: 3, ..Limits::default() };
    let server = Server::start(limits).await;
    let mut held = Vec::new();
    for _ in 0..3 {
        let mut socket = server.connect().await;
        assert_eq!(ask(&mut socket).await, 200);
        held.push(socket);
    }
    let mut fourth = server.connect().await;
    assert_eq!(rest(&mut fourth).await, "", "closed at once");
    held.pop();
    // The slot is free as soon as the server has seen the end.
    while !one_more(&server).await {
        tokio::task::yield_now().await;
    }
}

/// Returns whether one more connection is served; one over the cap is closed, perhaps with a reset.
async fn one_more(server: &Server) -> bool {
    use tokio::io::AsyncReadExt as _;
    let mut socket = server.connect().await;
    drop(socket.write_all(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await);
    let mut bytes = Vec::new();
    drop(socket.read_to_end(&mut bytes).await);
    bytes.starts_with(b"HTTP/1.1 200")
}

#[tokio::test]
async fn over_the_cap_in_all_clients_wait_for_their_turn() {
    let server = Server::start(Limits { connections: 2, ..Limits::default() }).await;
    let (mut one, mut two) = (server.connect().await, server.connect().await);
    assert_eq!((ask(&mut one).await, ask(&mut two).await), (200, 200));
    let mut third = server.connect().await;
    third.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    assert_eq!(ask(&mut two).await, 200);
    let mut nothing = [0; 1];
    assert!(third.try_read(&mut nothing).is_err(), "it is not served yet");
    drop(one);
    assert_eq!(status(&answer(&mut third).await), 200);
}

/// The stop: active requests are finished, no new ones are accepted, idle connections end at once.
#[tokio::test]
async fn a_stop_lets_requests_finish_and_cuts_what_does_not_end() {
    let server = Server::start(Limits::default()).await;
    let (mut busy, mut idle) = (server.connect().await, server.connect().await);
    assert_eq!(ask(&mut idle).await, 200);
    busy.write_all(b"GET /gate HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    assert!(server.serves().await);
    server.begin_stop();
    assert_eq!(rest(&mut idle).await, "");
    while TcpStream::connect(server.address).await.is_ok() {
        tokio::task::yield_now().await;
    }
    server.service.gate.add_permits(1);
    assert!(rest(&mut busy).await.ends_with("open"));
    assert_eq!(server.stop().await.cut, 0);

    let limits = Limits { drain: std::time::Duration::from_millis(200), ..Limits::default() };
    let server = Server::start(limits).await;
    let mut stuck = server.connect().await;
    stuck.write_all(b"GET /gate HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    assert!(server.serves().await);
    assert_eq!(server.stop().await.cut, 1);
}
