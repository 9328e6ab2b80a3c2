//! Contents of the store: which key holds what, and how it is written.
//!
//! - [`Key`] is every key there is, each kind declared once;
//! - [`value`] writes records as a version byte and the bincode of a form (`form`) that is frozen
//!   with its version: of users and sessions (`identity`), the ledger (`ledger`), transactions
//!   (`tx`, `calls`), schedules, bulk actions and webhooks (`tasks`);
//! - [`Reader`] loads the records that a decision reads, [`plan`] turns its changes into one batch;
//! - [`entry`] is what the log keeps of a commit beside its writes;
//! - [`RecordCache`] keeps decoded records within a number of bytes;
//! - [`audit`] computes the ledger anew from all records.

pub mod answer;
pub mod audit;
mod cache;
mod calls;
mod definitions;
pub mod entry;
mod form;
mod identity;
mod key;
mod key_field;
mod ledger;
mod pack;
mod parts;
mod plan;
pub mod proof;
mod read;
mod size;
mod tasks;
mod tx;
pub mod value;

#[cfg(test)]
mod golden;
#[cfg(test)]
mod tests;

pub use cache::RecordCache;
pub use definitions::Definitions;
pub use key::{Key, Scope};
pub use ledger::{read_commits, read_entry, row_key};
pub use pack::Pack;
pub use parts::{PART_BYTES, PARTS_MAX, join, read_parts, split};
pub use plan::{PlanError, Planned, plan};
pub use read::{ReadError, Reader, read_record, read_written};
pub use size::{json_bytes, loaded_bytes};

/// Bytes in the store that no version of this program has written: the data is damaged, or of a
/// newer version.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the record of {key} cannot be read: {what}; run abide verify")]
pub struct DecodeError {
    /// The record's key.
    pub key: String,
    /// Description of the fault.
    pub what: String,
}
