//! `emit`: records an event of the application.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::WorkflowEffect;
use super::syntax::{self, EffectKey, EffectSyntax, ValueSyntax};
use super::values::steps_of;
use crate::engine::Refusal;
use crate::engine::core::unit_of_work::DecideError;
use crate::engine::transaction::eval_context::Bindings;
use crate::engine::transaction::event::TxEvent;
use crate::engine::transaction::interpreter::Interpreter;
use crate::engine::transaction::record::Compensation;
use crate::engine::workflow::Template;
use crate::engine::workflow::document::{DefinitionReader, EffectNode};
use crate::engine::workflow::document::{DocumentNode, shortened};

/// Maximum size of the data of an application event, in bytes of compact JSON.
const EMIT_BYTES_MAX: usize = 16 * 1024;

/// Records an event of the application.
#[derive(Debug)]
pub struct EmitEffect {
    /// Type; never begins with `abide.`.
    pub kind: Arc<str>,
    /// Data.
    pub data: Option<Template>,
}

impl WorkflowEffect for EmitEffect {
    const SYNTAX: EffectSyntax = EffectSyntax {
        name: "emit",
        value: ValueSyntax::Keys(&[
            EffectKey::required(
                "type",
                || json!({ "type": "string", "pattern": "^[A-Za-z][A-Za-z0-9._-]{0,127}$", "not": { "pattern": "^abide[.]" } }),
            ),
            EffectKey::optional("data", syntax::template),
        ]),
        description: "An event of the application.",
        does: "an event of the application",
        undone_by: "-",
    };

    fn read(reader: &mut DefinitionReader, node: &EffectNode<'_, '_>) -> Option<Self> {
        let fields = node.fields(reader, &Self::SYNTAX)?;
        let kind = fields.require(reader, "type").and_then(|spot| event_type(reader, &spot));
        Some(Self { kind: kind?, data: fields.template(reader, "data") })
    }

    fn execute(
        &self,
        interpreter: &mut Interpreter<'_, '_>,
        bindings: &Bindings,
        _: &mut Vec<Compensation>,
    ) -> Result<(), DecideError> {
        let data = match &self.data {
            Some(data) => interpreter.made(data, bindings)?.into_json(),
            None => Value::Object(Map::new()),
        };
        let bytes = data.to_string().len();
        if bytes > EMIT_BYTES_MAX {
            let what = "the data of an event";
            return Err(Refusal::TooLarge { what, bytes_max: EMIT_BYTES_MAX }.into());
        }
        interpreter.spend(steps_of(bytes))?;
        interpreter.emit(TxEvent::Emitted { kind: self.kind.clone(), data: data.into() })
    }
}

fn event_type(reader: &mut DefinitionReader, node: &DocumentNode<'_>) -> Option<Arc<str>> {
    let text = reader.text(node, "the type of an event")?;
    let good = (1..=128).contains(&text.len())
        && text.starts_with(|first: char| first.is_ascii_alphabetic())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'));
    let message = if text.starts_with("abide.") {
        "types that begin with `abide.` are the server's own".to_owned()
    } else if good {
        return Some(text.into());
    } else {
        format!(
            "`{}` is no type of an event: 1 to 128 characters of A-Z, a-z, 0-9 and . _ -, the \
             first one a letter",
            shortened(text)
        )
    };
    reader.fault(&node.pointer, "invalid-name", message);
    None
}
