//! Events of reference values, in the past tense.

use std::sync::Arc;

use super::record::ValueKey;
use crate::engine::core::json_text::{ObjectText, object_text};
use crate::types::ValueName;

/// Something that happened to reference values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ValueEvent {
    /// A reference value was written.
    Put {
        /// Which.
        id: ValueKey,
        /// The value, as JSON text.
        json: Arc<str>,
    },
    /// It was said who else may read a set of reference values.
    SetChanged {
        /// Which.
        set: ValueName,
        /// Whether anybody may.
        read_anyone: bool,
    },
    /// A reference value was forgotten.
    Deleted {
        /// Which.
        id: ValueKey,
    },
}

impl ValueEvent {
    /// Returns its type, as the log and the feed have it.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Put { .. } => "abide.value.put",
            Self::SetChanged { .. } => "abide.value.set_changed",
            Self::Deleted { .. } => "abide.value.deleted",
        }
    }

    /// Returns what the log keeps of it.
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
