//! `start`: starts another transaction in the same commit.

use serde_json::{Map, Value};

use super::syntax::{self, EffectKey, EffectSyntax, ValueSyntax};
use super::{EffectReferences, WorkflowEffect};
use crate::engine::Refusal;
use crate::engine::core::unit_of_work::DecideError;
use crate::engine::transaction::eval_context::Bindings;
use crate::engine::transaction::eval_context::{EvalActor, failed};
use crate::engine::transaction::event::TxEvent;
use crate::engine::transaction::interpreter::Interpreter;
use crate::engine::transaction::interpreter::Trigger;
use crate::engine::transaction::links;
use crate::engine::transaction::record::Compensation;
use crate::engine::transaction::record::{Owner, TxStatus};
use crate::engine::workflow::Template;
use crate::engine::workflow::document::{DefinitionReader, EffectNode};
use crate::types::{TxId, WorkflowName};

/// Starts another transaction.
#[derive(Debug)]
pub struct StartEffect {
    /// Workflow.
    pub workflow: Template,
    /// Key under which it is started once.
    pub reference: Template,
    /// Input of its start; `None`: none.
    pub input: Option<Template>,
    /// Name of its owner; `None` or null: the owner of this transaction.
    pub owner: Option<Template>,
}

impl WorkflowEffect for StartEffect {
    const SYNTAX: EffectSyntax = EffectSyntax {
        name: "start",
        value: ValueSyntax::Keys(&[
            EffectKey::required("workflow", syntax::template),
            EffectKey::required("reference", syntax::template),
            EffectKey::optional("input", syntax::object),
            EffectKey::optional("owner", syntax::template),
        ]),
        description: "Starts another transaction, in this commit; it is cancelled when this one is undone.",
        does: "starts another transaction in this commit",
        undone_by: "its cancellation, before its pivot",
    };

    fn read(reader: &mut DefinitionReader, node: &EffectNode<'_, '_>) -> Option<Self> {
        let fields = node.fields(reader, &Self::SYNTAX)?;
        let workflow = fields.checked_text::<WorkflowName>(reader, "workflow", "a workflow");
        fields.require(reader, "reference");
        let reference = fields.text(reader, "reference", "a reference");
        let input = fields.object(reader, "input", "the input");
        let owner = fields.template(reader, "owner");
        Some(Self { workflow: workflow?, reference: reference?, input, owner })
    }

    fn references<'e>(&'e self, found: &mut EffectReferences<'e>) {
        found.workflows.push(&self.workflow);
    }

    fn execute(
        &self,
        interpreter: &mut Interpreter<'_, '_>,
        bindings: &Bindings,
        compensations: &mut Vec<Compensation>,
    ) -> Result<(), DecideError> {
        let workflow = interpreter.text(&self.workflow, bindings, "the name of a workflow")?;
        let workflow: WorkflowName =
            workflow.parse().map_err(|_| DecideError::Refused(Refusal::NotFound("workflow")))?;
        let reference = interpreter.text(&self.reference, bindings, "a reference")?;
        let input = match &self.input {
            Some(input) => interpreter.object(input, bindings, "start")?,
            None => Map::new(),
        };
        let owner = match &self.owner {
            None => interpreter.tx()?.owner.clone(),
            Some(owner) => match interpreter.made(owner, bindings)?.into_json() {
                Value::Null => interpreter.tx()?.owner.clone(),
                Value::String(name) => Owner::User(interpreter.user(&name)?),
                _ => return Err(failed("the owner must be a user's name".to_owned())),
            },
        };
        let session = interpreter.tx()?.session;
        let started = interpreter.lead(|unit, resolved| {
            links::begin(unit, resolved, (workflow, &reference), &input, owner, session)
        })?;
        compensations.extend(started.map(Compensation::Cancel));
        Ok(())
    }
}

/// Cancels a transaction that this one started. After its pivot it goes on.
pub(super) fn cancel(interpreter: &mut Interpreter<'_, '_>, id: TxId) -> Result<(), DecideError> {
    let Some(tx) = interpreter.unit.tx(id)? else { return Ok(()) };
    if tx.status.is_ended() || tx.ending.is_some() || tx.pivot {
        return Ok(());
    }
    interpreter.require_rest(id)?;
    let (workflow, version) = (tx.workflow.clone(), tx.version);
    interpreter.lead(|unit, _| {
        let definition = unit.definition(workflow, version)?;
        let mut other = Interpreter::new(unit, id, definition, EvalActor::system(), Trigger::Time);
        let reason = Some("the transaction that started it was undone".into());
        other.emit(TxEvent::CancelAsked { reason })?;
        other.compensate(TxStatus::Cancelled, "cancelled".into())?;
        other.settle()
    })
}
