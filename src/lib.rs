//! Abide: a stateful API server in one binary. ARCHITECTURE.md is the map of this crate.
//!
//! A module may use only those above it in this list: `types`, `engine`, `store`, `records`,
//! `outbound`, `app`, `http`, `cli`. `tests/tidy` holds it.

pub mod app;
pub mod cli;
pub mod engine;
pub mod http;
pub mod outbound;
pub mod records;
pub mod store;
pub mod types;
