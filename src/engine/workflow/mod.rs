//! Workflows: from a document to a definition that can be executed.

mod check;
mod definition;
mod diagram;
pub(super) mod document;
mod language;
mod schema;

pub use crate::engine::transaction::effects::{Effect, EffectKind, effects_documentation};
pub use definition::{
    AllowedActor, Definition, ParallelBranches, Quorum, Reminder, RequestTemplate, SessionEnd,
    StepDefinition, StepGuard, StepKind, StepTarget, StepTimeout, Template, WaitCondition,
};
pub use diagram::{mermaid, svg};
pub use document::{CheckedDefinition, DOCUMENT_BYTES_MAX, DefinitionFault, read, read_v1};
pub use language::language_schema;
pub(super) use language::send_schema;
pub use schema::InputSchema;
