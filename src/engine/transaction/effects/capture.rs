//! `capture`: posts a hold.

use std::sync::Arc;

use super::hold::{group_key, open_in_group};
use super::syntax::{self, EffectKey, EffectSyntax, ValueSyntax};
use super::{EffectReferences, FlowChange, WorkflowEffect};
use crate::engine::core::unit_of_work::DecideError;
use crate::engine::transaction::apply::find_hold;
use crate::engine::transaction::eval_context::Bindings;
use crate::engine::transaction::eval_context::failed;
use crate::engine::transaction::interpreter::Interpreter;
use crate::engine::transaction::record::Compensation;
use crate::engine::workflow::Template;
use crate::engine::workflow::document::{DefinitionReader, EffectNode};
use crate::engine::{Refusal, ledger};
use crate::types::TransferId;

/// Posts a hold.
#[derive(Debug)]
pub struct CaptureEffect {
    /// Group of holds.
    pub hold: Arc<str>,
    /// Key in the group; `None`: all of the group.
    pub key: Option<Template>,
    /// Account that receives the amount.
    pub to: Template,
    /// Amount; `None`: all that is left.
    pub amount: Option<Template>,
    /// True if the rest stays held.
    pub keep_rest: bool,
    /// Note for the statement.
    pub note: Option<Template>,
}

impl WorkflowEffect for CaptureEffect {
    const SYNTAX: EffectSyntax = EffectSyntax {
        name: "capture",
        value: ValueSyntax::Keys(&[
            EffectKey::required("hold", syntax::code),
            EffectKey::optional("key", syntax::template),
            EffectKey::required("to", syntax::account),
            EffectKey::optional("amount", syntax::amount),
            EffectKey::optional("keep", || serde_json::json!({ "const": "rest" })),
            EffectKey::optional("note", syntax::template),
        ]),
        description: "Posts what is held.",
        does: "transfers all of it, or `amount`; the rest is released, or with `keep: rest` held on",
        undone_by: "a reversal",
    };

    fn read(reader: &mut DefinitionReader, node: &EffectNode<'_, '_>) -> Option<Self> {
        let fields = node.fields(reader, &Self::SYNTAX)?;
        let hold = fields.code(reader, "hold", "the name of a hold");
        let key = fields.template(reader, "key");
        let to = fields.account(reader, "to");
        let amount = fields.amount(reader, "amount");
        let keep_rest = fields.literal(reader, "keep", "rest");
        if let (true, Some(spot), None) = (keep_rest, fields.get("keep"), fields.get("amount")) {
            let message = "`keep: rest` needs `amount`: without it all is captured";
            reader.fault(&spot.pointer, "missing-key", message);
        }
        Some(Self { hold: hold?, key, to: to?, amount, keep_rest, note: fields.note(reader) })
    }

    fn references<'e>(&'e self, found: &mut EffectReferences<'e>) {
        found.accounts.push(&self.to);
    }

    fn flow_change(&self) -> FlowChange<'_> {
        FlowChange::UsesHold { hold: &self.hold, closes: !self.keep_rest }
    }

    fn execute(
        &self,
        interpreter: &mut Interpreter<'_, '_>,
        bindings: &Bindings,
        compensations: &mut Vec<Compensation>,
    ) -> Result<(), DecideError> {
        let amount = match &self.amount {
            Some(amount) => Some(interpreter.amount(amount, bindings)?),
            None => None,
        };
        let capture = ledger::Capture {
            to: interpreter.account(&self.to, bindings)?,
            amount,
            keep_rest: self.keep_rest,
            note: interpreter.note(self.note.as_ref(), bindings)?,
            transfer: TransferId::made(0),
        };
        let (name, key) = (&*self.hold, group_key(interpreter, self.key.as_ref(), bindings)?);
        let ids = open_in_group(interpreter, name, key.as_deref())?;
        let Some(first) = ids.first() else {
            return Err(Refusal::NoSuchHold(name.into()).into());
        };
        if capture.amount.is_some() && ids.len() > 1 {
            let count = ids.len();
            return Err(failed(format!(
                "`{name}` has {count} holds: an amount needs the key of one of them"
            )));
        }
        // An amount names a part of one hold; without it each hold of the group is posted.
        let ids = if capture.amount.is_some() { vec![first.clone()] } else { ids };
        for id in ids {
            let Some(hold) = find_hold(interpreter.unit, interpreter.id, &id)? else { continue };
            let transfer = interpreter.unit.mint_transfer();
            let capture = ledger::Capture { transfer, ..capture.clone() };
            let transfer = ledger::capture(interpreter.unit, &hold, &capture)?;
            compensations.push(Compensation::Reverse(transfer.id));
        }
        Ok(())
    }
}
