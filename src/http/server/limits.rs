//! Limits of a connection and a request.

use std::time::Duration;

/// Connections in all. Each costs about 20 KiB while it is idle and one file descriptor.
pub const CONNECTIONS: usize = 8192;

/// Connections from one address (IPv6: one /64, what one client is given). High enough for a
/// proxy or a load generator beside the server, low enough that one address never has them all.
pub const CONNECTIONS_PER_ADDRESS: usize = 4096;

/// Bytes of a head: request line and all headers.
pub const HEAD_BYTES: usize = 16 * 1024;

/// Bytes of a request's target (path and query).
pub const TARGET_BYTES: usize = 8 * 1024;

/// Fields in a head; a browser sends about 20.
pub const HEADER_FIELDS: usize = 100;

/// From the first byte of a head to its last. A head fits in a dozen packets.
pub const HEAD_TIME: Duration = Duration::from_secs(10);

/// Time after which a connection without a request is closed. Longer than the 60 s that proxies
/// keep theirs, so that the proxy closes first and no request meets a closing connection.
pub const IDLE_TIME: Duration = Duration::from_secs(75);

/// A transfer may take this long, however small it is ...
pub const TRANSFER_TIME: Duration = Duration::from_secs(20);

/// ... and one second more for each of these bytes: a body of 256 KiB gets 84 seconds. Slower than
/// any modem, so only an attacker meets it.
pub const TRANSFER_BYTES_PER_SECOND: u32 = 4 * 1024;

/// The TLS handshake.
pub const HANDSHAKE_TIME: Duration = Duration::from_secs(10);

/// Requests at a time on one HTTP/2 connection. Browsers and load generators use up to 100.
pub const STREAMS: u32 = 128;

/// Maximum number of bytes that wait to be sent on one HTTP/2 stream.
pub const STREAM_SEND_BYTES: usize = 64 * 1024;

/// Maximum number of bytes of a connection's buffers: bytes that are read ahead, and the part of a
/// stream that waits for a slow reader. Several times the largest head.
pub const BUFFER_BYTES: usize = 64 * 1024;

/// Maximum number of bytes that have arrived on one HTTP/2 stream and were not read: a usual body.
pub const STREAM_RECEIVE_BYTES: u32 = 64 * 1024;

/// Maximum number of bytes that have arrived on one HTTP/2 connection and were not read: a body of
/// the largest size. hyper's own limit is 1 MiB.
pub const CONNECTION_RECEIVE_BYTES: u32 = 256 * 1024;

/// Maximum number of HTTP/2 streams that a client has reset before they were begun
/// (CVE-2023-44487); with one more the connection ends.
pub const RESET_STREAMS: usize = 20;

/// Maximum number of HTTP/2 streams that were reset for errors of the client; with one more the
/// connection ends. No client of today makes any.
pub const ERROR_RESET_STREAMS: usize = 128;

/// Time of silence after which an HTTP/2 connection gets a ping, so that one whose other side has
/// silently gone does not hold its streams.
pub const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(30);

/// Time for the answer to that ping; then the connection is closed.
pub const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(20);

/// Maximum time that a shutdown waits for active requests.
pub const DRAIN_TIME: Duration = Duration::from_secs(10);

/// Limits of a connection and a request; [`Limits::default`] suits most servers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Connections in all ([`CONNECTIONS`]); more wait in the system's backlog.
    pub connections: usize,
    /// Connections from one address ([`CONNECTIONS_PER_ADDRESS`]); more are closed.
    pub connections_per_address: usize,
    /// Bytes of a head ([`HEAD_BYTES`]); more is answered with 431.
    pub head_bytes: usize,
    /// Bytes of a target ([`TARGET_BYTES`]); more is answered with 414.
    pub target_bytes: usize,
    /// From the first byte of a head to its last ([`HEAD_TIME`]); then 408.
    pub head_time: Duration,
    /// Without a request ([`IDLE_TIME`]); then closed.
    pub idle_time: Duration,
    /// The least time that a body, or an answer that its client takes slowly, is given
    /// ([`TRANSFER_TIME`], and a second more for each [`TRANSFER_BYTES_PER_SECOND`]).
    pub transfer_time: Duration,
    /// The TLS handshake ([`HANDSHAKE_TIME`]); then closed.
    pub handshake_time: Duration,
    /// Maximum time that a shutdown waits for active requests ([`DRAIN_TIME`]); then it cuts them.
    pub drain: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: CONNECTIONS,
            connections_per_address: CONNECTIONS_PER_ADDRESS,
            head_bytes: HEAD_BYTES,
            target_bytes: TARGET_BYTES,
            head_time: HEAD_TIME,
            idle_time: IDLE_TIME,
            transfer_time: TRANSFER_TIME,
            handshake_time: HANDSHAKE_TIME,
            drain: DRAIN_TIME,
        }
    }
}
