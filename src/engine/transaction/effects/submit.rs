//! `submit`: submits a step of another transaction in the same commit.

use serde_json::{Map, Value};

use super::WorkflowEffect;
use super::syntax::{self, EffectKey, EffectSyntax, ValueSyntax};
use crate::engine::Refusal;
use crate::engine::core::unit_of_work::DecideError;
use crate::engine::transaction::eval_context::Bindings;
use crate::engine::transaction::interpreter::Interpreter;
use crate::engine::transaction::record::Compensation;
use crate::engine::transaction::submit::submit;
use crate::engine::workflow::document::{DefinitionReader, EffectNode};
use crate::engine::workflow::{StepGuard, Template};
use crate::types::{StepName, TxId};

/// Submits a step of another transaction.
#[derive(Debug)]
pub struct SubmitEffect {
    /// Id of the transaction.
    pub transaction: Template,
    /// Step.
    pub step: Template,
    /// Input; `None`: none.
    pub input: Option<Template>,
}

impl WorkflowEffect for SubmitEffect {
    const SYNTAX: EffectSyntax = EffectSyntax {
        name: "submit",
        value: ValueSyntax::Keys(&[
            EffectKey::required("transaction", syntax::template),
            EffectKey::required("step", syntax::template),
            EffectKey::optional("input", syntax::object),
        ]),
        description: "Submits a step of another transaction that lets this workflow in.",
        does: "submits a step of another transaction in this commit",
        undone_by: "-",
    };

    fn read(reader: &mut DefinitionReader, node: &EffectNode<'_, '_>) -> Option<Self> {
        let fields = node.fields(reader, &Self::SYNTAX)?;
        let transaction = fields.checked_text::<TxId>(reader, "transaction", "a transaction's id");
        let step = fields.checked_text::<StepName>(reader, "step", "a step");
        let input = fields.object(reader, "input", "the input");
        Some(Self { transaction: transaction?, step: step?, input })
    }

    fn execute(
        &self,
        interpreter: &mut Interpreter<'_, '_>,
        bindings: &Bindings,
        _: &mut Vec<Compensation>,
    ) -> Result<(), DecideError> {
        let none = || DecideError::Refused(Refusal::NotFound("transaction"));
        let id = interpreter.text(&self.transaction, bindings, "the id of a transaction")?;
        let id: TxId = id.parse().map_err(|_| none())?;
        let step = interpreter.text(&self.step, bindings, "the name of a step")?;
        let input = match &self.input {
            Some(input) => interpreter.object(input, bindings, "submit")?,
            None => Map::new(),
        };
        let input = Value::Object(input);
        interpreter.require_rest(id)?;
        let tx = interpreter.unit.tx(id)?.ok_or_else(none)?;
        let definition = interpreter.unit.definition(tx.workflow.clone(), tx.version)?;
        let submitted = definition.steps.iter().find(|one| one.name.as_str() == step);
        let code = |guard: &StepGuard| matches!(guard, StepGuard::Challenge { .. });
        if submitted.is_some_and(|step| step.guard.iter().any(code)) {
            // Code attempts are counted only where a person makes them.
            return Err(Refusal::NotAllowed("a step with a one-time code is a person's").into());
        }
        interpreter
            .lead(|unit, resolved| submit(unit, resolved, id, &step, &input, None, None))
            .map(drop)
    }
}
