//! Converts the text of a document to a checked [`Definition`], or to a list of its faults.
//!
//! 1. `tree`: parses the text into a tree in which every node knows its line and column.
//! 2. `top`, `step`, `effect`: convert the tree to a [`Definition`], in two passes: the first finds
//!    the keys that the steps write into the data, and the second can then check the expressions
//!    that read them.
//! 3. `check`: checks the definition as a whole: that every path leads to an end, and that every
//!    captured hold was placed.

mod call;
mod effect;
mod kinds;
mod reader;
mod step;
mod top;
mod tree;
pub(super) mod words;

use super::Definition;
pub(in crate::engine) use call::{RequestUse, request};
pub(in crate::engine) use effect::{EffectNode, nested_effects};
pub(in crate::engine) use kinds::RESERVED_NAMES;
pub(in crate::engine) use reader::{DefinitionReader, DocumentNode, shortened};
use tree::Tree;

/// Maximum size of a document's text, in bytes; a request body has the same limit.
pub const DOCUMENT_BYTES_MAX: usize = 256 * 1024;

/// Maximum number of reported faults; nobody reads more.
const FAULTS_MAX: usize = 200;

/// Fault of a document, or a warning.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DefinitionFault {
    /// Location: a JSON Pointer (RFC 6901).
    pub pointer: String,
    /// Stable code, for programs: `unknown-key`.
    pub code: &'static str,
    /// Message, for people: what is wrong and what is expected.
    pub message: String,
    /// Line and column in the document, from 1.
    pub at: Option<(u32, u32)>,
}

/// Document that was read.
#[derive(Debug)]
pub struct CheckedDefinition {
    /// Definition.
    pub definition: Definition,
    /// Warnings.
    pub warnings: Vec<DefinitionFault>,
}

/// Reads a document in YAML or JSON (which is YAML too), of at most 256 KiB.
///
/// # Errors
/// All faults, in the order of the document.
pub fn read(text: &str) -> Result<CheckedDefinition, Vec<DefinitionFault>> {
    if text.len() > DOCUMENT_BYTES_MAX {
        let message =
            format!("the document has {} bytes; at most {DOCUMENT_BYTES_MAX} are read", text.len());
        return Err(vec![alone("document-too-large", message, (1, 1))]);
    }
    walk(&parse(text)?)
}

/// Reads a stored document of an earlier build, whose keys had other names ([`words::RENAMED`]).
///
/// # Errors
/// All faults, in the order of the document.
pub fn read_v1(text: &str) -> Result<CheckedDefinition, Vec<DefinitionFault>> {
    let mut tree = parse(text)?;
    tree.rename_keys(&words::RENAMED);
    for (key, steps) in tree.entries_mut() {
        if key.text == "steps" {
            for (_, step) in steps.entries_mut() {
                step.rename_keys(&words::RENAMED);
            }
        }
    }
    walk(&tree)
}

fn parse(text: &str) -> Result<Tree, Vec<DefinitionFault>> {
    tree::read(text).map_err(|error| vec![alone("not-readable", error.message, error.at)])
}

fn walk(tree: &Tree) -> Result<CheckedDefinition, Vec<DefinitionFault>> {
    let root = DocumentNode::root(tree);

    let mut first = DefinitionReader::new(kinds::open());
    let _: Option<Definition> = top::definition(&mut first, &root);
    let mut reader = DefinitionReader::new(top::data_kind(first.made, first.opened));
    let definition = top::definition(&mut reader, &root);

    let mut faults = reader.faults;
    let mut warnings = Vec::new();
    if let Some(definition) = &definition {
        let found = super::check::check(definition, reader.holes, reader.lost);
        faults.extend(found.faults);
        warnings = found.warnings;
    }
    let warnings = placed(tree, warnings);
    let faults = placed(tree, faults);
    match definition {
        Some(definition) if faults.is_empty() => Ok(CheckedDefinition { definition, warnings }),
        _ => Err(faults),
    }
}

fn alone(code: &'static str, message: String, at: (u32, u32)) -> DefinitionFault {
    DefinitionFault { pointer: String::new(), code, message, at: Some(at) }
}

/// Returns the faults without duplicates, in the order of the document, each with its line and
/// column.
fn placed(tree: &Tree, mut faults: Vec<DefinitionFault>) -> Vec<DefinitionFault> {
    for fault in &mut faults {
        fault.at = fault.at.or_else(|| Some(tree.locate(&fault.pointer)));
    }
    faults.sort_by(|one, other| (one.at, &one.pointer).cmp(&(other.at, &other.pointer)));
    faults.dedup();
    faults.truncate(FAULTS_MAX);
    faults
}
