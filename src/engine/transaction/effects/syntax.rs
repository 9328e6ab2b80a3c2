//! Syntax of an effect: its keys, their schemas, and its row of the documentation.

use serde_json::{Map, Value, json};

/// Name, keys and documentation of an effect.
#[derive(Clone, Copy)]
pub(in crate::engine) struct EffectSyntax {
    /// Key that names the effect in a document.
    pub(in crate::engine) name: &'static str,
    /// Form of the value of that key.
    pub(in crate::engine) value: ValueSyntax,
    /// Description in the JSON Schema of the language.
    pub(in crate::engine) description: &'static str,
    /// Cell of the documentation: the change that the effect makes.
    pub(in crate::engine) does: &'static str,
    /// Cell of the documentation: the change that undoes it.
    pub(in crate::engine) undone_by: &'static str,
}

/// Form of the value that follows the name of an effect.
#[derive(Clone, Copy)]
pub(in crate::engine) enum ValueSyntax {
    /// A mapping with these keys.
    Keys(&'static [EffectKey]),
    /// Anything else.
    Other {
        /// Form of the effect in the documentation.
        form: &'static str,
        /// JSON Schema of the value, with this description.
        schema: fn(&str) -> Value,
    },
}

/// One key of an effect whose value is a mapping.
#[derive(Clone, Copy)]
pub(in crate::engine) struct EffectKey {
    name: &'static str,
    is_required: bool,
    schema: fn() -> Value,
}

impl EffectKey {
    /// Returns a key that must be present.
    pub(super) const fn required(name: &'static str, schema: fn() -> Value) -> Self {
        Self { name, is_required: true, schema }
    }

    /// Returns a key that may be absent.
    pub(super) const fn optional(name: &'static str, schema: fn() -> Value) -> Self {
        Self { name, is_required: false, schema }
    }
}

impl EffectSyntax {
    /// Returns the names of the keys; none where the value is no mapping of keys.
    pub(in crate::engine) fn keys(&self) -> Vec<&'static str> {
        match self.value {
            ValueSyntax::Keys(keys) => keys.iter().map(|key| key.name).collect(),
            ValueSyntax::Other { .. } => Vec::new(),
        }
    }

    /// Returns the JSON Schema of the value.
    pub(in crate::engine) fn schema(&self) -> Value {
        let keys = match self.value {
            ValueSyntax::Keys(keys) => keys,
            ValueSyntax::Other { schema, .. } => return schema(self.description),
        };
        let required: Vec<_> =
            keys.iter().filter(|key| key.is_required).map(|key| key.name).collect();
        let properties: Map<String, Value> =
            keys.iter().map(|key| (key.name.to_owned(), (key.schema)())).collect();
        json!({
            "type": "object",
            "additionalProperties": false,
            "required": required,
            "properties": properties,
            "description": self.description,
        })
    }

    /// Returns the effect's row of the table in `LANGUAGE.md`.
    pub(super) fn documentation(&self) -> String {
        let form = match self.value {
            ValueSyntax::Keys(keys) => {
                let mark = |key: &EffectKey| if key.is_required { "" } else { "?" };
                let keys: Vec<_> =
                    keys.iter().map(|key| format!("{}{}", key.name, mark(key))).collect();
                format!("{}: {{ {} }}", self.name, keys.join(", "))
            }
            ValueSyntax::Other { form, .. } => form.to_owned(),
        };
        format!("| `{form}` | {} | {} |", self.does, self.undone_by)
    }
}

fn definition(name: &str) -> Value {
    json!({ "$ref": format!("#/$defs/{name}") })
}

/// Returns a reference to a schema of the language, with its own description.
pub(super) fn described(name: &str, description: &str) -> Value {
    json!({ "$ref": format!("#/$defs/{name}"), "description": description })
}

pub(super) fn code() -> Value {
    definition("code")
}

pub(super) fn template() -> Value {
    definition("template")
}

pub(super) fn account() -> Value {
    definition("account")
}

pub(super) fn amount() -> Value {
    definition("amount")
}

pub(super) fn object() -> Value {
    definition("object")
}

pub(super) fn role() -> Value {
    definition("role")
}

pub(super) fn authority() -> Value {
    json!({ "const": "workflow", "description": "Accounts of others may be touched." })
}
