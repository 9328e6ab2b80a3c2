//! Reference values: what publishers write for expressions of workflows to read.

mod commands;

pub use commands::VALUE_BYTES_MAX;
pub(super) use commands::{change_set, delete, put};
