//! Bulk operations: one action on many transactions, in slices over many commits.

mod commands;

pub use commands::{BulkAction, BulkAsk, BulkFailure, BulkFilter, Job};
pub(super) use commands::{begin, fire};
