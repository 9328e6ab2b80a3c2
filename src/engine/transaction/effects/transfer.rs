//! `transfer`: transfers an amount at once.

use super::hold::require_own_account;
use super::syntax::{self, EffectKey, EffectSyntax, ValueSyntax};
use super::{EffectReferences, WorkflowEffect};
use crate::engine::core::unit_of_work::DecideError;
use crate::engine::ledger;
use crate::engine::transaction::eval_context::Bindings;
use crate::engine::transaction::interpreter::Interpreter;
use crate::engine::transaction::record::Compensation;
use crate::engine::workflow::Template;
use crate::engine::workflow::document::{DefinitionReader, EffectNode};
use crate::types::TransferId;

/// Transfers an amount at once.
#[derive(Debug)]
pub struct TransferEffect {
    /// Account that pays.
    pub from: Template,
    /// Account that receives.
    pub to: Template,
    /// Amount.
    pub amount: Template,
    /// Note for the statement.
    pub note: Option<Template>,
    /// True if accounts of others may be touched (`authority: workflow`).
    pub authority: bool,
}

impl WorkflowEffect for TransferEffect {
    const SYNTAX: EffectSyntax = EffectSyntax {
        name: "transfer",
        value: ValueSyntax::Keys(&[
            EffectKey::required("from", syntax::account),
            EffectKey::required("to", syntax::account),
            EffectKey::required("amount", syntax::amount),
            EffectKey::optional("note", syntax::template),
            EffectKey::optional("authority", syntax::authority),
        ]),
        description: "Posts at once.",
        does: "transfers at once",
        undone_by: "a reversal",
    };

    fn read(reader: &mut DefinitionReader, effect: &EffectNode<'_, '_>) -> Option<Self> {
        let fields = effect.fields(reader, &Self::SYNTAX)?;
        let from = fields.account(reader, "from");
        let to = fields.account(reader, "to");
        fields.require(reader, "amount");
        let amount = fields.amount(reader, "amount");
        let (note, authority) = (fields.note(reader), fields.authority(reader));
        Some(Self { from: from?, to: to?, amount: amount?, note, authority })
    }

    fn references<'e>(&'e self, found: &mut EffectReferences<'e>) {
        found.accounts.extend([&self.from, &self.to]);
    }

    fn execute(
        &self,
        interpreter: &mut Interpreter<'_, '_>,
        bindings: &Bindings,
        compensations: &mut Vec<Compensation>,
    ) -> Result<(), DecideError> {
        let from = interpreter.account(&self.from, bindings)?;
        require_own_account(interpreter, &from, self.authority)?;
        let post = ledger::Post {
            id: interpreter.unit.mint_transfer(),
            from,
            to: interpreter.account(&self.to, bindings)?,
            amount: interpreter.amount(&self.amount, bindings)?,
            note: interpreter.note(self.note.as_ref(), bindings)?,
            tx: Some(interpreter.id),
        };
        let transfer = ledger::post(interpreter.unit, &post)?;
        compensations.push(Compensation::Reverse(transfer.id));
        Ok(())
    }
}

/// Reverses a transfer. Where it was corrected already, nothing is left to reverse; where the
/// correction was taken back, the transfer that took it back is reversed.
pub(super) fn reverse(
    interpreter: &mut Interpreter<'_, '_>,
    id: &TransferId,
) -> Result<(), DecideError> {
    let Some(transfer) = ledger::standing(interpreter.unit, id)? else { return Ok(()) };
    let opposite = interpreter.unit.mint_transfer();
    ledger::reverse(interpreter.unit, &transfer, opposite).map(|_| ())
}

/// Reads the records that a reversal reads.
pub(super) fn foresee_reverse(
    interpreter: &Interpreter<'_, '_>,
    id: &TransferId,
) -> Result<(), DecideError> {
    if let Some(transfer) = ledger::standing(interpreter.unit, id)? {
        interpreter.unit.account(transfer.from)?;
        interpreter.unit.account(transfer.to)?;
    }
    Ok(())
}
