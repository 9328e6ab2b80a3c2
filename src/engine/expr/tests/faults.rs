//! What is refused when a definition is published.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]
