//! Keyed hashes.

/// Keyed hash of a value that the store must not reveal.
pub type Digest = [u8; 32];
