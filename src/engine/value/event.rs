//! Events of reference values, in the past tense.

use std::sync::Arc;

use super::record::ValueKey;
use crate::engine::core::json_text::{ObjectText, object_text};
use crate::types::ValueName;

/// Event of reference values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ValueEvent {
    /// A reference value was written.
    Put {
        /// Set and key of the value.
        id: ValueKey,
        /// The value, as JSON text.
        json: Arc<str>,
    },
    /// The read permission of a set of reference values was changed.
    SetChanged {
        /// The set.
        set: ValueName,
        /// True if everybody may read it.
        read_anyone: bool,
    },
    /// A reference value was deleted.
    Deleted {
        /// Set and key of the value.
        id: ValueKey,
    },
}

impl ValueEvent {
    /// Returns its type, as the log and the feed name it.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Put { .. } => "abide.value.put",
            Self::SetChanged { .. } => "abide.value.set_changed",
            Self::Deleted { .. } => "abide.value.deleted",
        }
    }

    /// Returns the data that the log keeps of the event.
    pub(in crate::engine) fn log_data(&self) -> ObjectText {
        match self {
            Self::SetChanged { set, read_anyone } => {
                object_text!({ "set": set, "read_anyone": read_anyone })
            }
            Self::Put { id, .. } | Self::Deleted { id } => {
                object_text!({ "set": id.set, "key": id.key })
            }
        }
    }
}
