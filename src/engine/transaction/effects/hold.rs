//! `hold`: reserves an amount.

use std::sync::Arc;

use super::syntax::{self, EffectKey, EffectSyntax, ValueSyntax, described};
use super::{EffectReferences, FlowChange, WorkflowEffect};
use crate::engine::Refusal;
use crate::engine::core::unit_of_work::DecideError;
use crate::engine::ledger::{self, HoldStatus};
use crate::engine::transaction::apply::find_hold;
use crate::engine::transaction::bounds::require_take_hold;
use crate::engine::transaction::eval_context::Bindings;
use crate::engine::transaction::eval_context::failed;
use crate::engine::transaction::event::TxEvent;
use crate::engine::transaction::interpreter::Interpreter;
use crate::engine::transaction::record::Compensation;
use crate::engine::transaction::record::{Owner, TxHold};
use crate::engine::workflow::document::{DefinitionReader, EffectNode};
use crate::engine::workflow::{StepTarget, Template};
use crate::types::{AccountId, HoldId};

/// Maximum number of holds of one transaction that are open at the same time.
const OPEN_HOLDS_MAX: usize = 100;

/// Maximum length of the key of a hold in its group, in bytes.
const KEY_BYTES_MAX: usize = 128;

/// Reserves an amount.
#[derive(Debug)]
pub struct HoldEffect {
    /// Group that the hold belongs to, unique by `key` in the transaction.
    pub id: Arc<str>,
    /// Key in the group.
    pub key: Option<Template>,
    /// Account.
    pub from: Template,
    /// Amount.
    pub amount: Template,
    /// Time of its release: a span from now, or a point in time.
    pub expires: Option<Template>,
    /// Target of the transaction at that time.
    pub on_expiry: Option<StepTarget>,
    /// True if accounts of others may be touched (`authority: workflow`).
    pub authority: bool,
}

impl WorkflowEffect for HoldEffect {
    const SYNTAX: EffectSyntax = EffectSyntax {
        name: "hold",
        value: ValueSyntax::Keys(&[
            EffectKey::required("id", syntax::code),
            EffectKey::optional("key", syntax::template),
            EffectKey::required("from", syntax::account),
            EffectKey::required("amount", syntax::amount),
            EffectKey::optional("expires", syntax::template),
            EffectKey::optional("on_expiry", || {
                described(
                    "target",
                    "Where it goes then. In a branch of `all`, this branch alone, also one that \
                     had ended.",
                )
            }),
            EffectKey::optional("authority", syntax::authority),
        ]),
        description: "Reserves an amount.",
        does: "reserves an amount; `key` makes a group under one id. When several holds with one \
               id expire together, `on_expiry` runs once",
        undone_by: "a release",
    };

    fn read(reader: &mut DefinitionReader, node: &EffectNode<'_, '_>) -> Option<Self> {
        let fields = node.fields(reader, &Self::SYNTAX)?;
        let id = fields.code(reader, "id", "the name of a hold");
        let key = fields.template(reader, "key");
        let from = fields.account(reader, "from");
        fields.require(reader, "amount");
        let amount = fields.amount(reader, "amount");
        let expires = fields.expires(reader, "expires");
        let on_expiry = fields.target(reader, "on_expiry");
        if let (Some(spot), None) = (fields.get("on_expiry"), &expires) {
            let message = "`on_expiry` needs `expires`: this hold never expires";
            reader.fault(&spot.pointer, "missing-key", message);
        }
        let authority = fields.authority(reader);
        Some(Self { id: id?, key, from: from?, amount: amount?, expires, on_expiry, authority })
    }

    fn references<'e>(&'e self, found: &mut EffectReferences<'e>) {
        found.accounts.push(&self.from);
    }

    fn flow_change(&self) -> FlowChange<'_> {
        FlowChange::PlacesHold { hold: &self.id, on_expiry: self.on_expiry.as_ref() }
    }

    fn execute(
        &self,
        interpreter: &mut Interpreter<'_, '_>,
        bindings: &Bindings,
        compensations: &mut Vec<Compensation>,
    ) -> Result<(), DecideError> {
        let key = group_key(interpreter, self.key.as_ref(), bindings)?;
        if !open_in_group(interpreter, &self.id, key.as_deref())?.is_empty() {
            let id = &self.id;
            return Err(failed(format!("the hold `{id}` is open already; give each one a key")));
        }
        require_take_hold(interpreter.tx()?)?;
        if interpreter.tx()?.holds.iter().filter(|held| is_open(held)).count() >= OPEN_HOLDS_MAX {
            let what = "open holds of a transaction";
            return Err(Refusal::LimitReached { what, max: OPEN_HOLDS_MAX }.into());
        }
        let from = interpreter.account(&self.from, bindings)?;
        require_own_account(interpreter, &from, self.authority)?;
        let expires_at = match &self.expires {
            Some(expires) => Some(interpreter.when(expires, bindings)?),
            None => None,
        };
        let place = ledger::Place {
            id: interpreter.unit.mint_hold(),
            tx: Some(interpreter.id),
            from,
            amount: interpreter.amount(&self.amount, bindings)?,
            expires_at,
        };
        let hold = ledger::place(interpreter.unit, &place)?;
        let name = self.id.clone();
        debug_assert!(self.on_expiry.is_none() || expires_at.is_some(), "checked at publish");
        let step = interpreter.at.clone();
        interpreter.emit(TxEvent::HoldNamed { hold: hold.id.clone(), name, key, step })?;
        compensations.push(Compensation::Void(hold.id));
        Ok(())
    }
}

fn is_open(held: &TxHold) -> bool {
    held.hold.status == HoldStatus::Held
}

/// Evaluates the key of a hold in its group.
pub(super) fn group_key(
    interpreter: &Interpreter<'_, '_>,
    key: Option<&Template>,
    bindings: &Bindings,
) -> Result<Option<Arc<str>>, DecideError> {
    let Some(key) = key else { return Ok(None) };
    let made = interpreter.made(key, bindings)?;
    let text = made.to_text().map(str::to_owned);
    let text = text.or_else(|_| made.to_int().map(|number| number.to_string()));
    match text {
        Ok(text) if text.len() <= KEY_BYTES_MAX => Ok(Some(text.into())),
        _ => Err(failed(format!(
            "the key of a hold must be a text of at most {KEY_BYTES_MAX} bytes, or a number"
        ))),
    }
}

/// Returns the holds of a group that still reserve something.
pub(super) fn open_in_group(
    interpreter: &Interpreter<'_, '_>,
    name: &str,
    key: Option<&str>,
) -> Result<Vec<HoldId>, DecideError> {
    let group = interpreter.tx()?.group(name, key);
    Ok(group.filter(|held| is_open(held)).map(|held| held.hold.id.clone()).collect())
}

/// Refuses to take money from an account of another owner, unless the effect has
/// `authority: workflow`.
pub(super) fn require_own_account(
    interpreter: &Interpreter<'_, '_>,
    account: &AccountId,
    authority: bool,
) -> Result<(), DecideError> {
    if authority {
        return Ok(());
    }
    let owner = match &interpreter.tx()?.owner {
        Owner::User(user) => Some(user.clone()),
        Owner::Anonymous(_) | Owner::Key(_) => None,
    };
    ledger::require_belong_to(interpreter.unit, account, owner.as_ref())
}

/// Releases a hold, if it is open.
pub(super) fn void(interpreter: &mut Interpreter<'_, '_>, id: &HoldId) -> Result<(), DecideError> {
    if let Some(hold) = find_hold(interpreter.unit, interpreter.id, id)?
        && hold.status == HoldStatus::Held
    {
        ledger::void(interpreter.unit, &hold)?;
    }
    Ok(())
}

impl Interpreter<'_, '_> {
    /// Releases all open holds.
    pub(in crate::engine::transaction) fn release_holds(&mut self) -> Result<(), DecideError> {
        let open = self.tx()?.holds.iter().filter(|held| is_open(held));
        let ids: Vec<_> = open.map(|held| held.hold.id.clone()).collect();
        ids.iter().try_for_each(|id| void(self, id))
    }
}
