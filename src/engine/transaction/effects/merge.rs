//! `merge`: merges into the data.

use serde_json::{Map, Value};

use super::WorkflowEffect;
use super::set::change_data;
use super::syntax::{EffectSyntax, ValueSyntax, described};
use super::values::steps_of;
use crate::engine::core::unit_of_work::DecideError;
use crate::engine::transaction::eval_context::Bindings;
use crate::engine::transaction::interpreter::Interpreter;
use crate::engine::transaction::record::Compensation;
use crate::engine::workflow::Template;
use crate::engine::workflow::document::{DefinitionReader, EffectNode};

/// Merges an object into the data (RFC 7396).
#[derive(Debug)]
pub struct MergeEffect {
    /// Template of the object that is merged.
    pub patch: Template,
}

impl WorkflowEffect for MergeEffect {
    const SYNTAX: EffectSyntax = EffectSyntax {
        name: "merge",
        value: ValueSyntax::Other {
            form: "merge: { KEY: VALUE }",
            schema: |description| described("object", description),
        },
        description: "Merges into the data (RFC 7396).",
        does: "merges into `data` (RFC 7396)",
        undone_by: "-",
    };

    fn read(reader: &mut DefinitionReader, node: &EffectNode<'_, '_>) -> Option<Self> {
        let patch = node.object(reader, "the keys to set");
        reader.declare_merged(&patch);
        Some(Self { patch })
    }

    fn execute(
        &self,
        interpreter: &mut Interpreter<'_, '_>,
        bindings: &Bindings,
        _: &mut Vec<Compensation>,
    ) -> Result<(), DecideError> {
        let patch = interpreter.object(&self.patch, bindings, "merge")?;
        let data = &*interpreter.tx()?.data;
        // Only the keys of the patch are copied and counted: there may be many merges.
        let (mut set, mut removed) = (Map::new(), Vec::new());
        for (key, patch) in patch {
            if patch.is_null() {
                removed.push(key);
                continue;
            }
            let mut value = data.get(&key).cloned().unwrap_or(Value::Null);
            interpreter.spend(copy_steps(&value))?;
            json_patch::merge(&mut value, &patch);
            set.insert(key, value);
        }
        change_data(interpreter, set, removed)
    }
}

/// Returns the steps that copying a value counts.
fn copy_steps(value: &Value) -> u32 {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => 1,
        Value::String(text) => steps_of(text.len()),
        Value::Array(list) => list.iter().map(copy_steps).fold(1, u32::saturating_add),
        Value::Object(object) => {
            let entries = object.iter();
            let entries = entries.map(|(key, value)| steps_of(key.len()) + copy_steps(value));
            entries.fold(1, u32::saturating_add)
        }
    }
}
