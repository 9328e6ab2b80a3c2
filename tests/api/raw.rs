//! Bytes on a socket, for requests that no well-behaved client sends.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// A server that keeps silent this long has not answered.
const SILENCE_MAX: Duration = Duration::from_secs(20);

/// Sends the bytes on a new connection and reads until the server closes it.
pub(crate) fn exchange(address: &str, request: &[u8]) -> String {
    let mut socket = connect(address);
    // The server may refuse, and close, before all of it is written.
    socket.write_all(request).ok();
    read_to_close(&mut socket)
}

pub(crate) fn connect(address: &str) -> TcpStream {
    let socket = TcpStream::connect(address).unwrap();
    socket.set_read_timeout(Some(SILENCE_MAX)).unwrap();
    socket.set_write_timeout(Some(SILENCE_MAX)).unwrap();
    socket
}

/// All bytes until the server closes; a connection left open fails the test.
pub(crate) fn read_to_close(socket: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        match socket.read(&mut chunk) {
            Ok(0) => break,
            Ok(n) => bytes.extend_from_slice(&chunk[..n]),
            Err(error) if error.kind() == ErrorKind::ConnectionReset => break,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => panic!(
                "the server did not close ({error}); it sent: {}",
                String::from_utf8_lossy(&bytes)
            ),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The status of an answer's text.
#[track_caller]
pub(crate) fn status(answer: &str) -> u16 {
    let status = answer.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)?.parse().ok());
    status.unwrap_or_else(|| panic!("no status line in {answer:?}"))
}

/// One answer with a known length, on a connection that may stay open.
pub(crate) fn answer(socket: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
            if body.len() >= length.map_or(0, |length| length.parse().unwrap()) {
                return text;
            }
        }
        let mut chunk = [0; 4096];
        let count = socket.read(&mut chunk).unwrap_or_else(|error| panic!("{error}: {text:?}"));
        assert!(count > 0, "closed; until then: {text:?}");
        bytes.extend_from_slice(&chunk[..count]);
    }
}
