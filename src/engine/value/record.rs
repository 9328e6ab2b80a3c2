//! Names of reference values.

use crate::types::ValueName;

/// Names a reference value: what a publisher writes for expressions to read.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ValueKey {
    /// The set: `prices`.
    pub set: ValueName,
    /// The key in it: `SKU-42`.
    pub key: ValueName,
}

impl ValueKey {
    /// The value with these names; `None`: no value has such a name.
    #[must_use]
    pub fn new(set: &str, key: &str) -> Option<Self> {
        Some(Self { set: set.parse().ok()?, key: key.parse().ok()? })
    }
}
