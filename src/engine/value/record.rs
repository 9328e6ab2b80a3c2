//! Names of reference values.

use crate::types::ValueName;

/// Key of a reference value, which a publisher writes for expressions to read.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ValueKey {
    /// The set: `prices`.
    pub set: ValueName,
    /// The key in it: `SKU-42`.
    pub key: ValueName,
}

impl ValueKey {
    /// Returns the key with these names; `None`: a name is invalid.
    #[must_use]
    pub fn new(set: &str, key: &str) -> Option<Self> {
        Some(Self { set: set.parse().ok()?, key: key.parse().ok()? })
    }
}
