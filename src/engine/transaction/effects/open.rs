//! `open`: opens an account.

use serde_json::{Value, json};

use super::WorkflowEffect;
use super::syntax::{self, EffectKey, EffectSyntax, ValueSyntax};
use super::values::amount_of;
use crate::engine::core::unit_of_work::DecideError;
use crate::engine::expression::TemplateOutput;
use crate::engine::transaction::eval_context::Bindings;
use crate::engine::transaction::eval_context::failed;
use crate::engine::transaction::interpreter::Interpreter;
use crate::engine::transaction::record::Compensation;
use crate::engine::workflow::Template;
use crate::engine::workflow::document::{DefinitionReader, EffectNode};
use crate::engine::{Refusal, ledger};
use crate::types::{AccountId, AssetCode, Decimal};

/// Opens an account.
#[derive(Debug)]
pub struct OpenEffect {
    /// Id.
    pub account: Template,
    /// Asset.
    pub asset: Template,
    /// Name of the owner; null: none.
    pub owner: Template,
    /// Minimum of posted minus held; `None`: "0"; null: unlimited.
    pub floor: Option<Template>,
}

impl WorkflowEffect for OpenEffect {
    const SYNTAX: EffectSyntax = EffectSyntax {
        name: "open",
        value: ValueSyntax::Keys(&[
            EffectKey::required("account", syntax::account),
            EffectKey::required("asset", || json!({ "type": "string" })),
            EffectKey::required("owner", syntax::template),
            EffectKey::optional(
                "floor",
                || json!({ "anyOf": [{ "$ref": "#/$defs/amount" }, { "type": "null" }] }),
            ),
        ]),
        description: "Opens an account.",
        does: "opens an account",
        undone_by: "closing it, if empty",
    };

    fn read(reader: &mut DefinitionReader, node: &EffectNode<'_, '_>) -> Option<Self> {
        let fields = node.fields(reader, &Self::SYNTAX)?;
        let account = fields.account(reader, "account");
        let asset = fields.checked_text::<AssetCode>(reader, "asset", "an asset");
        fields.require(reader, "owner");
        let owner = fields.template(reader, "owner");
        // Null: the account has no floor.
        let floor = match fields.get("floor").map(|spot| spot.tree.json()) {
            Some(Value::Null) => Some(Template::Literal(Value::Null)),
            Some(_) => fields.amount(reader, "floor"),
            None => None,
        };
        Some(Self { account: account?, asset: asset?, owner: owner?, floor })
    }

    fn execute(
        &self,
        interpreter: &mut Interpreter<'_, '_>,
        bindings: &Bindings,
        compensations: &mut Vec<Compensation>,
    ) -> Result<(), DecideError> {
        let owner = match interpreter.made(&self.owner, bindings)?.into_json() {
            Value::Null => None,
            Value::String(name) => Some(interpreter.user(&name)?),
            _ => return Err(failed("the owner of an account must be a user's name".to_owned())),
        };
        let floor = match &self.floor {
            None => Some(Decimal::ZERO),
            Some(floor) => match interpreter.made(floor, bindings)? {
                TemplateOutput::Json(Value::Null) => None,
                made => Some(amount_of(&made)?),
            },
        };
        let asset = interpreter.text(&self.asset, bindings, "an asset")?;
        let open = ledger::Open {
            id: interpreter.account(&self.account, bindings)?,
            asset: asset.parse().map_err(|_| DecideError::Refused(Refusal::NotFound("asset")))?,
            owner,
            floor,
            read_anyone: false,
        };
        let account = ledger::open_account(interpreter.unit, &open)?;
        compensations.push(Compensation::Close(account.id));
        Ok(())
    }
}

/// Closes the account, if it is empty.
pub(super) fn close(
    interpreter: &mut Interpreter<'_, '_>,
    id: &AccountId,
) -> Result<(), DecideError> {
    ledger::close_account(interpreter.unit, id)
}
