//! Workflows: from a document to a definition that can be run.

mod check;
mod definition;
mod diagram;
mod document;
mod language;
mod schema;

pub use definition::{
    All, By, Definition, Effect, EffectKind, Guard, Quorum, Remind, Request, SessionEnd, Step,
    StepKind, Target, Template, Timeout, Wait,
};
pub use diagram::{mermaid, svg};
pub use document::{DOCUMENT_BYTES_MAX, DefinitionFault, Read, read, read_v1};
pub use language::language_schema;
pub use schema::InputSchema;
