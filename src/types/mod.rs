//! The words that every layer shares: newtypes with checked arithmetic, nothing that acts.

mod revision;

pub use revision::Revision;
