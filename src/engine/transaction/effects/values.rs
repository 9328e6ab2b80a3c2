//! Evaluates the templates of effects.

use std::sync::Arc;

use serde_json::{Map, Value};

use crate::engine::core::unit_of_work::DecideError;
use crate::engine::expression::TemplateOutput;
use crate::engine::transaction::eval_context::{Bindings, failed};
use crate::engine::transaction::interpreter::Interpreter;
use crate::engine::workflow::Template;
use crate::engine::{Refusal, UserRef, ledger};
use crate::types::{AccountId, Decimal, Username};

/// Bytes of copied text that count as one step: the copies of one request stay far below the size
/// limit of a commit.
const BYTES_PER_STEP: usize = 16;

/// Returns the steps that copying this number of bytes counts.
pub(super) fn steps_of(bytes: usize) -> u32 {
    u32::try_from(bytes / BYTES_PER_STEP).unwrap_or(u32::MAX).saturating_add(1)
}

/// Converts the output of a template to an amount.
pub(in crate::engine::transaction) fn amount_of(
    output: &TemplateOutput,
) -> Result<Decimal, Refusal> {
    output.to_decimal().map_err(|what| match output {
        TemplateOutput::Json(Value::Number(_)) => Refusal::AmountNotExact,
        _ => Refusal::ExpressionFailed(what),
    })
}

impl Interpreter<'_, '_> {
    /// Evaluates a template.
    pub(in crate::engine::transaction) fn made(
        &self,
        template: &Template,
        bindings: &Bindings,
    ) -> Result<TemplateOutput, DecideError> {
        self.look(bindings, |context| context.make(template))
    }

    /// Evaluates a template that returns a text.
    pub(in crate::engine::transaction) fn text(
        &self,
        template: &Template,
        bindings: &Bindings,
        what: &str,
    ) -> Result<String, DecideError> {
        let made = self.made(template, bindings)?;
        made.to_text().map(str::to_owned).map_err(|error| failed(format!("{what}: {error}")))
    }

    /// Evaluates a template that returns an object.
    pub(in crate::engine::transaction) fn object(
        &self,
        template: &Template,
        bindings: &Bindings,
        what: &str,
    ) -> Result<Map<String, Value>, DecideError> {
        match self.made(template, bindings)?.into_json() {
            Value::Object(object) => Ok(object),
            _ => Err(failed(format!("what `{what}` writes must be an object"))),
        }
    }

    /// Evaluates a template that returns an amount.
    pub(super) fn amount(
        &self,
        template: &Template,
        bindings: &Bindings,
    ) -> Result<Decimal, DecideError> {
        Ok(amount_of(&self.made(template, bindings)?)?)
    }

    /// Evaluates a template that returns the id of an account. An invalid id names no account.
    pub(super) fn account(
        &self,
        template: &Template,
        bindings: &Bindings,
    ) -> Result<AccountId, DecideError> {
        let text = self.text(template, bindings, "the name of an account")?;
        text.parse().map_err(|_| Refusal::NoSuchAccount(text.chars().take(64).collect()).into())
    }

    /// Evaluates a note for a statement, cut to its maximum length.
    pub(super) fn note(
        &self,
        note: Option<&Template>,
        bindings: &Bindings,
    ) -> Result<Option<Arc<str>>, DecideError> {
        let Some(note) = note else { return Ok(None) };
        let made = self.made(note, bindings)?;
        let text = made.to_text().ok().filter(|text| !text.is_empty());
        Ok(text.map(|text| {
            let mut end = text.len().min(ledger::NOTE_BYTES_MAX);
            while !text.is_char_boundary(end) {
                end -= 1;
            }
            text[..end].into()
        }))
    }

    /// Returns the user with this name.
    pub(in crate::engine::transaction) fn user(&self, name: &str) -> Result<UserRef, DecideError> {
        let unknown = || DecideError::Refused(Refusal::NotFound("user"));
        let name: Username = name.parse().map_err(|_| unknown())?;
        self.unit.user_named(&name)?.map(crate::engine::User::names).ok_or_else(unknown)
    }
}
