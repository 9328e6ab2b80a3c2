//! Revisions: the order of commits, the same for everybody.

use std::fmt;

/// Names the commit that last changed a thing.
///
/// A later commit has a larger revision, and revisions have no gaps. Clients must not read anything
/// else into the number. [`Revision::ZERO`] is the empty store, before any commit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
pub struct Revision(u64);

impl Revision {
    /// The empty store.
    pub const ZERO: Self = Self(0);

    /// Returns the revision with this number.
    #[must_use]
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// Returns the number, counted from 1 for the first commit.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }

    /// Returns the revision of the next commit. At a million commits a second the numbers last for
    /// half a million years, so the end of `u64` saturates and is not an error.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
