//! `challenge`: issues a one-time code.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::syntax::{self, EffectKey, EffectSyntax, ValueSyntax, described};
use super::{EffectReferences, FlowChange, WorkflowEffect};
use crate::engine::Refusal;
use crate::engine::core::unit_of_work::DecideError;
use crate::engine::expression::Type;
use crate::engine::transaction::challenge::{self, ChallengeTerms};
use crate::engine::transaction::eval_context::Bindings;
use crate::engine::transaction::interpreter::Interpreter;
use crate::engine::transaction::record::Compensation;
use crate::engine::workflow::document::{DefinitionReader, EffectNode};
use crate::engine::workflow::document::{RequestUse, request};
use crate::engine::workflow::{RequestTemplate, Template, send_schema};
use crate::types::Span;

pub(super) use crate::engine::transaction::challenge::withdraw;

/// Minimum and maximum number of digits of a one-time code; the engine derives them from a hash.
const DIGITS: (u32, u32) = (4, 10);
/// Maximum number of wrong codes, and of new codes, of one challenge.
const TRIES_MAX: u32 = 20;
/// Default number of digits of a one-time code.
const DEFAULT_DIGITS: u32 = 6;
/// Default lifetime of a one-time code.
const DEFAULT_LIFETIME: Span = Span::from_minutes(5);
/// Default number of wrong codes that a challenge allows.
const DEFAULT_ATTEMPTS: u32 = 3;
/// Default number of new codes that a challenge allows.
const DEFAULT_RESENDS: u32 = 3;
/// Maximum number of one-time codes of one transaction.
const CHALLENGES_MAX: usize = 20;

/// Issues a one-time code.
#[derive(Debug)]
pub struct ChallengeEffect {
    /// Name.
    pub id: Arc<str>,
    /// Number of digits: 4 to 10.
    pub digits: u8,
    /// Lifetime of a code.
    pub expires: Span,
    /// Number of wrong codes that are allowed, over all its rounds.
    pub attempts: u32,
    /// Number of new codes that are allowed.
    pub resend: u32,
    /// Values that the code is bound to.
    pub binds: Template,
    /// Request that delivers the code; `None`: the client fetches it otherwise.
    pub send: Option<RequestTemplate>,
}

impl WorkflowEffect for ChallengeEffect {
    const SYNTAX: EffectSyntax = EffectSyntax {
        name: "challenge",
        value: ValueSyntax::Keys(&[
            EffectKey::required("id", syntax::code),
            EffectKey::optional(
                "digits",
                || json!({ "type": "integer", "minimum": 4, "maximum": 10, "description": "Default 6." }),
            ),
            EffectKey::optional("expires", || described("span", "Default 5m.")),
            EffectKey::optional(
                "attempts",
                || json!({ "type": "integer", "minimum": 1, "maximum": 20, "description": "Wrong codes until it is void; default 3." }),
            ),
            EffectKey::optional(
                "resend",
                || json!({ "type": "integer", "minimum": 0, "maximum": 20, "description": "How often a new code may be requested; default 3." }),
            ),
            EffectKey::optional("binds", syntax::object),
            EffectKey::optional("send", || {
                send_schema("How the code gets there; in scope as `code`.")
            }),
        ]),
        description: "Issues a one-time code.",
        does: "issues a one-time code for the values of `binds`; never stored. Defaults: 6 digits, \
               5m, 3 attempts, 3 resends, no bindings. Wrong codes count for the user (or the API \
               key that owns the transaction) over all transactions, and for the values of \
               `binds`: after some of them the next attempt, and a resend, must wait (429 \
               `too-many-attempts`). For the user and the key time alone forgets them, one each 15 \
               minutes; for the values a right code does too",
        undone_by: "a withdrawal",
    };

    fn read(reader: &mut DefinitionReader, node: &EffectNode<'_, '_>) -> Option<Self> {
        let fields = node.fields(reader, &Self::SYNTAX)?;
        let id = fields.code(reader, "id", "a challenge's name");
        let mut whole = |key: &str, least, most, default| match fields.get(key) {
            Some(spot) => reader.whole(spot, least, most),
            None => Some(default),
        };
        let digits = whole("digits", DIGITS.0, DIGITS.1, DEFAULT_DIGITS)
            .and_then(|digits| u8::try_from(digits).ok());
        let attempts = whole("attempts", 1, TRIES_MAX, DEFAULT_ATTEMPTS);
        let resend = whole("resend", 0, TRIES_MAX, DEFAULT_RESENDS);
        let expires = match fields.get("expires") {
            Some(spot) => reader.span(spot),
            None => Some(DEFAULT_LIFETIME),
        };
        let binds = fields
            .object(reader, "binds", "what the code is bound to")
            .unwrap_or_else(|| Template::Literal(Value::Object(Map::new())));
        let send = fields.get("send").and_then(|spot| {
            let mut scope = fields.scope().clone();
            scope.names.insert("code".into(), Type::Text);
            request(reader, spot, &scope, RequestUse::Send)
        });
        let (digits, expires) = (digits?, expires?);
        Some(Self { id: id?, digits, expires, attempts: attempts?, resend: resend?, binds, send })
    }

    fn references<'e>(&'e self, found: &mut EffectReferences<'e>) {
        found.requests.extend(&self.send);
    }

    fn flow_change(&self) -> FlowChange<'_> {
        FlowChange::IssuesChallenge { challenge: &self.id }
    }

    fn execute(
        &self,
        interpreter: &mut Interpreter<'_, '_>,
        bindings: &Bindings,
        compensations: &mut Vec<Compensation>,
    ) -> Result<(), DecideError> {
        let binds = interpreter.made(&self.binds, bindings)?.into_json().to_string();
        let tx = interpreter.tx()?;
        if tx.challenge(&self.id).is_none() && tx.challenges.len() >= CHALLENGES_MAX {
            let what = "one-time codes of a transaction";
            return Err(Refusal::LimitReached { what, max: CHALLENGES_MAX }.into());
        }
        let terms = ChallengeTerms {
            digits: self.digits,
            life: self.expires,
            attempts: self.attempts,
            resends: self.resend,
        };
        let send = match &self.send {
            Some(request) => {
                let bindings = Bindings { code: Some(self.id.clone()), ..bindings.clone() };
                Some((interpreter.at.clone(), interpreter.ask(request, &bindings)?))
            }
            None => None,
        };
        challenge::issue(interpreter, &self.id, &terms, binds.into(), send)?;
        compensations.push(Compensation::Withdraw(self.id.clone()));
        Ok(())
    }
}
