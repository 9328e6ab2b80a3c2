//! From the text of a document to a checked [`Definition`], or to all that is wrong with it.

use super::Definition;

/// One thing that is wrong with a document, or worth a warning.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DefinitionFault {
    /// Where: a JSON Pointer (RFC 6901).
    pub pointer: String,
    /// Stable, for programs: `unknown-key`.
    pub code: &'static str,
    /// For people: what is wrong and what is expected.
    pub message: String,
    /// Line and column in the document, from 1.
    pub at: Option<(u32, u32)>,
}

/// A document that was read.
#[derive(Debug)]
pub struct Read {
    /// What it says.
    pub definition: Definition,
    /// What may be meant otherwise.
    pub warnings: Vec<DefinitionFault>,
}

/// Reads a document in YAML or JSON (which is YAML too), of at most 256 KiB.
///
/// # Errors
/// All that is wrong with it.
pub fn read(_text: &str) -> Result<Read, Vec<DefinitionFault>> {
    Err(Vec::new())
}
