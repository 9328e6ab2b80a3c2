//! The front door from outside: real sockets, and for the process itself the real binary.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test may stop at the first surprise"
)]

mod caps;
mod heads;
mod http2;
mod logs;
mod process;
mod slow;
mod support;
mod tls;
