//! HTTP/2: the same limits, by the frames of RFC 9113.

use std::time::Duration;

use abide::http::server::Limits;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::support::{LONG, Server};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A frame: type, flags, stream, payload.
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut frame = length[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// A header without indexing and without Huffman (RFC 7541, 6.2.2).
fn field(name: &str, value: &str) -> Vec<u8> {
    assert!(name.len() < 127 && value.len() < 127);
    let mut field = vec![0, u8::try_from(name.len()).unwrap()];
    field.extend(name.as_bytes());
    field.push(u8::try_from(value.len()).unwrap());
    field.extend(value.as_bytes());
    field
}

fn get(stream: u32, fields: &[(&str, &str)]) -> Vec<u8> {
    let block: Vec<u8> = fields.iter().flat_map(|(name, value)| field(name, value)).collect();
    frame(1, 0x5, stream, &block)
}

/// Returns whether the connection ends in time, whatever comes until then.
async fn ends(socket: &mut TcpStream) -> bool {
    let mut bytes = Vec::new();
    timeout(LONG, socket.read_to_end(&mut bytes)).await.is_ok()
}

/// Returns the part of the answer to the only request that can be read without HPACK: the bytes of
/// the frame with the body.
async fn body(fields: &[(&str, &str)]) -> String {
    let server = Server::start(Limits::default()).await;
    let mut socket = server.connect().await;
    let bytes = [PREFACE, &frame(4, 0, 0, &[]), &get(1, fields)].concat();
    socket.write_all(&bytes).await.unwrap();
    loop {
        let mut head = [0; 9];
        timeout(LONG, socket.read_exact(&mut head)).await.unwrap().unwrap();
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; usize::try_from(length).unwrap()];
        socket.read_exact(&mut payload).await.unwrap();
        if head[3] == 0 {
            return String::from_utf8(payload).unwrap();
        }
        assert_ne!(head[3], 3, "the stream was reset");
    }
}

#[tokio::test]
async fn requests_are_served_and_checked() {
    let get = [(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "a")];
    assert_eq!(body(&get).await, "ok");
    for (change, code) in [
        ((":method", "BREW"), "method-not-implemented"),
        ((":method", "TRACE"), "method-not-allowed"),
    ] {
        let fields = get.map(|field| if field.0 == change.0 { change } else { field });
        assert!(body(&fields).await.contains(code), "{change:?}");
    }
    let two = [&get[..], &[("host", "b")]].concat();
    assert!(body(&two).await.contains("bad-request"), "another host");
    assert!(body(&get[..3]).await.contains("bad-request"), "no host");
}

/// A client that opens no window for its answer is cut off, though its connection lives.
#[tokio::test]
async fn a_stalled_stream_is_given_up() {
    let transfer_time = Duration::from_millis(300);
    let server = Server::start(Limits { transfer_time, ..Limits::default() }).await;
    let mut socket = server.connect().await;
    // SETTINGS_INITIAL_WINDOW_SIZE = 0
    let settings = frame(4, 0, 0, &[0, 4, 0, 0, 0, 0]);
    let fields =
        [(":method", "GET"), (":scheme", "http"), (":path", "/flood"), (":authority", "a")];
    let bytes = [PREFACE, &settings, &get(1, &fields)].concat();
    socket.write_all(&bytes).await.unwrap();
    assert!(ends(&mut socket).await);
    assert!(server.serves().await);
}

#[tokio::test]
async fn an_idle_connection_is_closed() {
    let idle_time = Duration::from_millis(300);
    let server = Server::start(Limits { idle_time, ..Limits::default() }).await;
    let mut socket = server.connect().await;
    socket.write_all(&[PREFACE, &frame(4, 0, 0, &[])].concat()).await.unwrap();
    assert!(ends(&mut socket).await);
}

/// A stop lets the requests of a connection finish.
#[tokio::test]
async fn a_stop_waits_for_streams() {
    let server = Server::start(Limits::default()).await;
    let mut socket = server.connect().await;
    let fields = [(":method", "GET"), (":scheme", "http"), (":path", "/gate"), (":authority", "a")];
    let bytes = [PREFACE, &frame(4, 0, 0, &[]), &get(1, &fields)].concat();
    socket.write_all(&bytes).await.unwrap();
    assert!(server.serves().await);
    server.begin_stop();
    server.service.gate.add_permits(1);
    let mut bytes = Vec::new();
    while !bytes.windows(4).any(|window| window == b"open") {
        assert!(timeout(LONG, socket.read_buf(&mut bytes)).await.unwrap().unwrap() > 0, "cut");
    }
    drop(socket);
    assert_eq!(server.stop().await.cut, 0);
}
