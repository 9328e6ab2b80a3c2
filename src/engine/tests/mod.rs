//! The rules, decided and replayed.

#![allow(clippy::unwrap_used, reason = "tests")]
