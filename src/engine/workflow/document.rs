//! From the text of a document to a checked [`Definition`], or to all that is wrong with it.
//!
//! 1. `tree`: the text becomes a tree in which every node knows its line and column.
//! 2. `top`, `step`, `effect`: the tree is walked by hand into a [`Definition`]. It is walked
//!    twice: the first walk finds what the steps put into the data, and only then the expressions
//!    that read them can be checked.
//! 3. `check` looks at the whole: does every way lead to an end, is what is captured ever held?

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

/// Longest text of a document; a body of a request is not longer either.
pub const DOCUMENT_BYTES_MAX: usize = 256 * 1024;

/// Most faults that are told at once; nobody reads on.
const FAULTS_MAX: usize = 200;

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
pub struct CheckedDefinition {
    /// Definition.
    pub definition: Definition,
    /// Warnings.
    pub warnings: Vec<DefinitionFault>,
}

/// Reads a document in YAML or JSON (which is YAML too), of at most 256 KiB.
///
/// # Errors
/// All that is wrong with it, in the order of the document.
pub fn read(text: &str) -> Result<CheckedDefinition, Vec<DefinitionFault>> {
    if text.len() > DOCUMENT_BYTES_MAX {
        let message =
            format!("the document has {} bytes; at most {DOCUMENT_BYTES_MAX} are read", text.len());
        return Err(vec![alone("document-too-large", message, (1, 1))]);
    }
    walk(&parse(text)?)
}

/// Reads a document that a build stored whose keys had other names ([`words::RENAMED`]).
///
/// # Errors
/// All that is wrong with it, in the order of the document.
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

/// The faults in the order of the document, each with its place, and none of them twice.
fn placed(tree: &Tree, mut faults: Vec<DefinitionFault>) -> Vec<DefinitionFault> {
    for fault in &mut faults {
        fault.at = fault.at.or_else(|| Some(tree.locate(&fault.pointer)));
    }
    faults.sort_by(|one, other| (one.at, &one.pointer).cmp(&(other.at, &other.pointer)));
    faults.dedup();
    faults.truncate(FAULTS_MAX);
    faults
}
