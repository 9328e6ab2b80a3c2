//! Keys keep their order, values their meaning.

#![allow(clippy::unwrap_used, reason = "tests")]
