//! Checks inputs against the schemas of a workflow. They can be checked before the command's turn,
//! since a version of a workflow never changes.

use std::sync::Arc;

use serde_json::{Map, Value};

use super::bounds::{DATA_BYTES_MAX, size};
use super::start::{below, digest};
use super::submit::checked;
use crate::engine::core::json;
use crate::engine::workflow::{Definition, StepDefinition};
use crate::engine::{Digest, InputError, Refusal};
use crate::types::{StepName, WorkflowName};

/// Input with the result of its schema.
#[derive(Clone, Debug, PartialEq)]
pub struct CheckedInput {
    workflow: WorkflowName,
    version: u32,
    checked: Checked,
}

#[derive(Clone, Debug, PartialEq)]
enum Checked {
    Start(StartInput),
    Step(StepName, Result<StepInput, Refusal>),
}

/// Checked input of a start.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct StartInput {
    /// Digest that a repeated reference is compared by; it covers no secret, not even as a hash.
    pub(super) digest: Digest,
    /// The same digest as earlier versions wrote it, before numbers were compared by value.
    pub(super) written: Digest,
    /// Object with null for each declared property that is absent, without the fields that are
    /// never stored.
    pub(super) stored: Result<Arc<Value>, Refusal>,
}

/// Checked input of a step.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct StepInput {
    /// For expressions: complete.
    pub(super) whole: Arc<Value>,
    /// For the record: without secrets.
    pub(super) stored: Arc<Value>,
}

impl CheckedInput {
    /// Checks the input of a start with this version of the workflow.
    #[must_use]
    pub fn of_start(definition: &Definition, version: u32, input: &Map<String, Value>) -> Self {
        let checked = Checked::Start(StartInput::of(definition, input));
        Self { workflow: definition.name.clone(), version, checked }
    }

    /// Checks the input of a step in this version of the workflow; `None`: it has no such step.
    #[must_use]
    pub fn of_step(
        definition: &Definition,
        version: u32,
        step: &str,
        input: &Value,
    ) -> Option<Self> {
        let step = definition.steps.iter().find(|one| one.name.as_str() == step)?;
        let checked = Checked::Step(step.name.clone(), StepInput::of(step, input));
        Some(Self { workflow: definition.name.clone(), version, checked })
    }

    /// Returns the checked input of a start, if it was checked against this version.
    pub(super) fn start(&self, workflow: &WorkflowName, version: u32) -> Option<&StartInput> {
        match &self.checked {
            Checked::Start(input) if self.workflow == *workflow && self.version == version => {
                Some(input)
            }
            _ => None,
        }
    }

    /// Returns the checked input of a step, if it was checked against this version.
    pub(super) fn step(
        &self,
        workflow: &WorkflowName,
        version: u32,
        step: &StepName,
    ) -> Option<&Result<StepInput, Refusal>> {
        match &self.checked {
            Checked::Step(name, input)
                if self.workflow == *workflow && self.version == version && name == step =>
            {
                Some(input)
            }
            _ => None,
        }
    }
}

impl StartInput {
    /// Checks the input of a start.
    pub(super) fn of(definition: &Definition, input: &Map<String, Value>) -> Self {
        let input = Value::Object(input.clone());
        let storable = definition.input.as_ref().map(|schema| schema.storable(&input));
        let stored = storable.as_ref().unwrap_or(&input);
        let written = digest(&[&stored.to_string()]);
        let digest = digest(&[&json::canonical(stored)]);
        // The size is checked first: a large input may take long to validate.
        if size(stored) > DATA_BYTES_MAX {
            let what = "the data of a transaction";
            let refusal = Refusal::TooLarge { what, bytes_max: DATA_BYTES_MAX };
            return Self { digest, written, stored: Err(refusal) };
        }
        Self { digest, written, stored: fitting(definition, input) }
    }
}

/// Checks an input against the schema of a workflow's start, without a start.
///
/// # Errors
/// [`Refusal::InvalidInput`], [`Refusal::TooLarge`]
pub(in crate::engine) fn check_start_input(
    definition: &Definition,
    input: &Map<String, Value>,
) -> Result<(), Refusal> {
    StartInput::of(definition, input).stored.map(drop)
}

fn fitting(definition: &Definition, input: Value) -> Result<Arc<Value>, Refusal> {
    if let Some(schema) = &definition.input {
        schema.check(&input).map_err(|errors| Refusal::InvalidInput(below("/input", errors)))?;
        // Input that becomes data: a declared property that is absent is null, not an error to
        // read.
        return Ok(Arc::new(schema.storable(&schema.completed(&input))));
    }
    if input.as_object().is_some_and(Map::is_empty) {
        return Ok(Arc::new(input));
    }
    let message = "this workflow takes no input at its start";
    Err(Refusal::InvalidInput(vec![InputError::new("/input", "unknown-field", message)]))
}

impl StepInput {
    /// Checks the input of a step.
    pub(super) fn of(step: &StepDefinition, input: &Value) -> Result<Self, Refusal> {
        let (whole, stored) = checked(step, input)?;
        Ok(Self { whole: Arc::new(whole), stored })
    }
}
