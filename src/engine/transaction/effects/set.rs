//! `set`: replaces keys of the data.

use std::sync::Arc;

use serde_json::{Map, Value};

use super::WorkflowEffect;
use super::syntax::{EffectSyntax, ValueSyntax, described};
use crate::engine::core::unit_of_work::DecideError;
use crate::engine::transaction::eval_context::Bindings;
use crate::engine::transaction::event::TxEvent;
use crate::engine::transaction::interpreter::Interpreter;
use crate::engine::transaction::record::Compensation;
use crate::engine::workflow::Template;
use crate::engine::workflow::document::{DefinitionReader, EffectNode};

/// Replaces top-level keys of the data.
#[derive(Debug)]
pub struct SetEffect {
    /// Template of the object with the keys.
    pub data: Template,
}

impl WorkflowEffect for SetEffect {
    const SYNTAX: EffectSyntax = EffectSyntax {
        name: "set",
        value: ValueSyntax::Other {
            form: "set: { KEY: VALUE }",
            schema: |description| described("object", description),
        },
        description: "Replaces these keys of the data.",
        does: "replaces these keys of `data`",
        undone_by: "-",
    };

    fn read(reader: &mut DefinitionReader, node: &EffectNode<'_, '_>) -> Option<Self> {
        let data = node.object(reader, "the keys to set");
        reader.declare(&data);
        Some(Self { data })
    }

    fn execute(
        &self,
        interpreter: &mut Interpreter<'_, '_>,
        bindings: &Bindings,
        _: &mut Vec<Compensation>,
    ) -> Result<(), DecideError> {
        let set = interpreter.object(&self.data, bindings, "set")?;
        change_data(interpreter, set, Vec::new())
    }
}

/// Replaces and removes keys of the data.
pub(super) fn change_data(
    interpreter: &mut Interpreter<'_, '_>,
    set: Map<String, Value>,
    removed: Vec<String>,
) -> Result<(), DecideError> {
    if set.is_empty() && removed.is_empty() {
        return Ok(());
    }
    interpreter.emit(TxEvent::DataSet { set: Arc::new(set), removed })
}
