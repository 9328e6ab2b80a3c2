//! `session`: merges into the session that started the transaction.

use super::WorkflowEffect;
use super::syntax::{self, EffectKey, EffectSyntax, ValueSyntax};
use crate::engine::core::unit_of_work::DecideError;
use crate::engine::session::{merge_data, merge_facts};
use crate::engine::transaction::eval_context::Bindings;
use crate::engine::transaction::eval_context::parsing_steps;
use crate::engine::transaction::interpreter::Interpreter;
use crate::engine::transaction::record::Compensation;
use crate::engine::workflow::Template;
use crate::engine::workflow::document::{DefinitionReader, EffectNode};

/// Merges into the session that started the transaction, if it is alive.
#[derive(Debug)]
pub struct SessionEffect {
    /// Facts, which only the server writes.
    pub facts: Option<Template>,
    /// Data, which the client may write too.
    pub data: Option<Template>,
}

impl WorkflowEffect for SessionEffect {
    const SYNTAX: EffectSyntax = EffectSyntax {
        name: "session",
        value: ValueSyntax::Keys(&[
            EffectKey::optional("facts", syntax::object),
            EffectKey::optional("data", syntax::object),
        ]),
        description: "Merges into the session that started the transaction, if it lives.",
        does: "merges into the session that started the transaction, if it lives",
        undone_by: "-",
    };

    fn read(reader: &mut DefinitionReader, node: &EffectNode<'_, '_>) -> Option<Self> {
        let fields = node.fields(reader, &Self::SYNTAX)?;
        let facts = fields.object(reader, "facts", "keys to set");
        let data = fields.object(reader, "data", "keys to set");
        if facts.is_none() && data.is_none() {
            let message = "`session` has `facts`, `data` or both";
            reader.fault(fields.pointer(), "missing-key", message);
        }
        Some(Self { facts, data })
    }

    fn execute(
        &self,
        interpreter: &mut Interpreter<'_, '_>,
        bindings: &Bindings,
        _: &mut Vec<Compensation>,
    ) -> Result<(), DecideError> {
        let object = |template: &Option<Template>| {
            template.as_ref().map(|made| interpreter.object(made, bindings, "session")).transpose()
        };
        let (facts, data) = (object(&self.facts)?, object(&self.data)?);
        let Some(id) = interpreter.tx()?.session else { return Ok(()) };
        let now = interpreter.unit.context.now;
        if interpreter.unit.session(id)?.is_none_or(|session| !session.is_alive(now)) {
            return Ok(());
        }
        if let Some(facts) = facts {
            merge_facts(interpreter.unit, id, &facts)?;
        }
        if let Some(data) = data {
            // The whole session data is read and written.
            let bytes = interpreter.unit.session_data(id)?.map_or(0, |data| data.len());
            interpreter.spend(parsing_steps(bytes))?;
            merge_data(interpreter.unit, id, &data)?;
        }
        Ok(())
    }
}
