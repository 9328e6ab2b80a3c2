//! Keyed hashes.

/// A keyed hash of something that the store must not show.
pub type Digest = [u8; 32];
