//! The result of reading the log.

use crate::types::Revision;

/// Result of reading the log at a position.
pub(super) enum LogRead<T> {
    Read(T),
    /// The log was cut: it begins after this revision.
    Cut {
        oldest: Revision,
    },
}
