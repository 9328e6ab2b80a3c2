//! Bulk operations: one action on many transactions, in slices over many commits.

mod commands;
mod record;

pub(super) use commands::{begin, fire};
pub use record::{BulkAction, BulkAsk, BulkFailure, BulkFilter, Job};
