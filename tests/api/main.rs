//! Black-box tests: the real binary, driven over sockets by roles (`alice`, `mallory`, `admin`,
//! `gateway`), against what the documentation promises. Ids such as 7.4.1 are requirements of
//! OWASP ASVS 5.0; `API n` is the OWASP API Security Top 10 of 2023.
//!
//! Time is moved with `POST /v1/dev/clock`; nothing here sleeps.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on has failed, and says where"
)]
#![allow(clippy::needless_pass_by_value, reason = "`json!` is written where it is passed")]

mod anonymous;
mod authorization;
mod browser;
mod by_key;
mod chain;
mod client;
mod crash;
mod followers;
mod hooks;
mod http;
mod idempotency;
mod ledger;
mod linear;
mod links;
mod live;
mod operations;
mod operators;
mod passwords;
mod queue;
mod raw;
mod retention;
mod sagas;
mod schedules;
mod secrets;
mod server;
mod services;
mod session_data;
mod sessions;
mod socket;
mod tail;
mod timeouts;
mod tls;
mod transactions;
mod users;
mod wait;
mod webhooks;
