//! Effects of a document. The table of effects lists them; each reads itself.

use std::fmt::Display;
use std::str::FromStr;
use std::sync::Arc;

use serde_json::Value;

use super::kinds;
use super::reader::{DefinitionReader, DocumentNode, MappingFields, listed, source_of};
use super::step::{kind_of, list, target};
use super::words;
use crate::engine::expression::{Type, TypeScope};
use crate::engine::transaction::effects::{EFFECTS, Effect, EffectSyntax};
use crate::engine::workflow::definition::{StepTarget, Template};
use crate::types::{AccountId, Decimal, Role, Span, Time};

/// Maximum number of effects of a step, those of its reminders and of `each` included.
const EFFECTS_MAX: usize = 64;

/// Reads a list of effects.
pub(super) fn effects(
    reader: &mut DefinitionReader,
    node: Option<&DocumentNode<'_>>,
    scope: &TypeScope,
) -> Vec<Effect> {
    nested_effects(reader, node, scope, 0)
}

/// Reads a list of effects at a depth of nesting.
pub(in crate::engine) fn nested_effects(
    reader: &mut DefinitionReader,
    node: Option<&DocumentNode<'_>>,
    scope: &TypeScope,
    depth: usize,
) -> Vec<Effect> {
    let items = list(reader, node, "a list of effects", EFFECTS_MAX);
    reader.effects += items.len();
    if let Some(node) = node
        && reader.effects > EFFECTS_MAX
    {
        let message = format!("a step has at most {EFFECTS_MAX} effects");
        reader.fault(&node.pointer, "too-many-effects", message);
        return Vec::new();
    }
    items.iter().filter_map(|item| effect(reader, item, scope, depth)).collect()
}

fn effect(
    reader: &mut DefinitionReader,
    node: &DocumentNode<'_>,
    scope: &TypeScope,
    depth: usize,
) -> Option<Effect> {
    let names = || EFFECTS.iter().map(|effect| effect.syntax.name);
    let known: Vec<&str> = names().chain(words::BESIDE).collect();
    let faults_before = reader.faults.len();
    let fields = reader.fields(node, "an effect", &known, &[])?;
    let has_faults = reader.faults.len() > faults_before;
    let present: Vec<_> = EFFECTS
        .iter()
        .filter_map(|effect| fields.get(effect.syntax.name).map(|value| (effect, value)))
        .collect();
    let when = fields.get("when").and_then(|node| reader.condition(node, scope));
    let [(entry, value)] = present.as_slice() else {
        if present.len() > 1 {
            let several: Vec<_> = present.iter().map(|(effect, _)| effect.syntax.name).collect();
            let message = format!(
                "an effect does one thing, and this names {}; make them elements of the list",
                listed(&several)
            );
            reader.fault(&node.pointer, "several-effects", message);
        } else if !has_faults {
            let all = listed(&names().collect::<Vec<_>>());
            let message = format!("an effect names what it does: one of {all}");
            reader.fault(&node.pointer, "no-effect", message);
        }
        return None;
    };
    if entry.syntax.name != "each" {
        for key in ["as", "do"] {
            if let Some(extra) = fields.get(key) {
                let message = format!("`{key}` stands beside `each` only");
                reader.fault(&extra.pointer, "misplaced-key", message);
            }
        }
    }
    let node = EffectNode { value, beside: &fields, scope, depth };
    let kind = (entry.read)(reader, &node)?;
    Some(Effect { when, kind })
}

/// An effect of a document, named but not yet read.
pub(in crate::engine) struct EffectNode<'s, 't> {
    /// Value of the key that names the effect.
    pub(in crate::engine) value: &'s DocumentNode<'t>,
    /// Keys beside that one.
    pub(in crate::engine) beside: &'s MappingFields<'t>,
    /// Names that expressions may use.
    pub(in crate::engine) scope: &'s TypeScope,
    /// Number of `each` around it.
    pub(in crate::engine) depth: usize,
}

impl<'s, 't> EffectNode<'s, 't> {
    /// Reads the value as a mapping with the keys of an effect.
    pub(in crate::engine) fn fields(
        &self,
        reader: &mut DefinitionReader,
        syntax: &EffectSyntax,
    ) -> Option<EffectFields<'s, 't>> {
        let what = format!("`{}`", syntax.name);
        let fields = reader.fields(self.value, &what, &syntax.keys(), &[])?;
        Some(EffectFields { fields, scope: self.scope, what })
    }

    /// Reads the value as a mapping, or an expression that returns one.
    pub(in crate::engine) fn object(&self, reader: &mut DefinitionReader, what: &str) -> Template {
        object(reader, self.value, self.scope, what)
    }
}

/// Keys of an effect whose value is a mapping.
pub(in crate::engine) struct EffectFields<'s, 't> {
    fields: MappingFields<'t>,
    scope: &'s TypeScope,
    what: String,
}

impl<'s, 't> EffectFields<'s, 't> {
    /// Returns the names that expressions may use.
    pub(in crate::engine) const fn scope(&self) -> &'s TypeScope {
        self.scope
    }

    /// Returns the pointer to the mapping.
    pub(in crate::engine) fn pointer(&self) -> &str {
        &self.fields.spot.pointer
    }

    /// Returns the value of a key, if it is present.
    pub(in crate::engine) fn get(&self, key: &str) -> Option<&DocumentNode<'t>> {
        self.fields.get(key)
    }

    /// Returns the value of a key, and reports its absence.
    pub(in crate::engine) fn require(
        &self,
        reader: &mut DefinitionReader,
        key: &str,
    ) -> Option<DocumentNode<'t>> {
        reader.required(&self.fields, key, &self.what).cloned()
    }

    /// Reads any JSON with expressions.
    pub(in crate::engine) fn template(
        &self,
        reader: &mut DefinitionReader,
        key: &str,
    ) -> Option<Template> {
        self.get(key).map(|node| reader.template(node, self.scope))
    }

    /// Reads a name that the document defines, such as that of a hold.
    pub(in crate::engine) fn code(
        &self,
        reader: &mut DefinitionReader,
        key: &str,
        what: &str,
    ) -> Option<Arc<str>> {
        let node = self.require(reader, key)?;
        reader.code(&node, what)
    }

    /// Reads a text that must be present: a literal is checked, an expression must return a text.
    pub(in crate::engine) fn checked_text<T: FromStr<Err: Display>>(
        &self,
        reader: &mut DefinitionReader,
        key: &str,
        what: &str,
    ) -> Option<Template> {
        let node = self.require(reader, key)?;
        if node.text().is_some_and(|text| source_of(text).is_some()) {
            return self.text(reader, key, what);
        }
        reader.word::<T>(&node, what).map(|_| Template::Literal(node.tree.json()))
    }

    /// Reads the id of an account.
    pub(in crate::engine) fn account(
        &self,
        reader: &mut DefinitionReader,
        key: &str,
    ) -> Option<Template> {
        self.checked_text::<AccountId>(reader, key, "an account")
    }

    /// Reads a template that must make a text.
    pub(in crate::engine) fn text(
        &self,
        reader: &mut DefinitionReader,
        key: &str,
        what: &str,
    ) -> Option<Template> {
        let node = self.get(key)?;
        let made = reader.template(node, self.scope);
        let fits = [Type::Text, Type::AmountText];
        reader.expect(&node.pointer, &kind_of(&made), &fits, what);
        Some(made)
    }

    /// Reads the note of a transfer.
    pub(in crate::engine) fn note(&self, reader: &mut DefinitionReader) -> Option<Template> {
        let node = self.get("note")?;
        let made = reader.template(node, self.scope);
        let fits = [Type::Text, Type::AmountText, Type::Null];
        reader.expect(&node.pointer, &kind_of(&made), &fits, "a text");
        Some(made)
    }

    /// Reads a mapping, or an expression that returns one.
    pub(in crate::engine) fn object(
        &self,
        reader: &mut DefinitionReader,
        key: &str,
        what: &str,
    ) -> Option<Template> {
        self.get(key).map(|node| object(reader, node, self.scope, what))
    }

    /// Reads a key that has one literal value; false where it is absent or wrong.
    pub(in crate::engine) fn literal(
        &self,
        reader: &mut DefinitionReader,
        key: &str,
        value: &str,
    ) -> bool {
        let Some(node) = self.get(key) else { return false };
        if node.text() == Some(value) {
            return true;
        }
        reader.fault(&node.pointer, "invalid-value", format!("this must be `{value}`"));
        false
    }

    /// Reads `authority: workflow`.
    pub(in crate::engine) fn authority(&self, reader: &mut DefinitionReader) -> bool {
        self.literal(reader, "authority", "workflow")
    }

    /// Reads a role that a workflow may grant.
    pub(in crate::engine) fn role(&self, reader: &mut DefinitionReader, key: &str) -> Option<Role> {
        let node = self.require(reader, key)?;
        if node.text().is_some_and(|text| text.starts_with('=')) {
            let message = "a role is written out: what a workflow may hand out is known when it \
                           is published";
            reader.fault(&node.pointer, "invalid-value", message);
            return None;
        }
        let role = reader.word::<Role>(&node, "a role")?;
        if role.is_power() {
            let message = "roles that begin with `abide:` are never handed out by a workflow";
            reader.fault(&node.pointer, "invalid-value", message);
            return None;
        }
        Some(role)
    }

    /// Reads an amount: `"12.50"`, `12`, or an expression that returns one.
    pub(in crate::engine) fn amount(
        &self,
        reader: &mut DefinitionReader,
        key: &str,
    ) -> Option<Template> {
        let node = self.get(key)?;
        let made = reader.template(node, self.scope);
        match &made {
            Template::Expr(expr) => {
                let fits = [Type::Amount, Type::AmountText, Type::Text, Type::Int];
                reader.expect(&node.pointer, expr.kind(), &fits, "an amount");
            }
            Template::Literal(Value::String(text)) if text.parse::<Decimal>().is_ok() => {}
            Template::Literal(Value::Number(number)) if !number.is_f64() => {}
            Template::Literal(Value::Number(_)) => {
                let message =
                    "an amount with a fraction is a text, `\"12.50\"`: a number is not exact";
                reader.fault(&node.pointer, "amount-not-exact", message);
                return None;
            }
            Template::Literal(_) | Template::Object(_) | Template::List(_) => {
                reader.wrong_type(node, "an amount like `\"12.50\"`");
                return None;
            }
        }
        Some(made)
    }

    /// Reads the end of a hold: a length of time, a time, or an expression that returns one.
    pub(in crate::engine) fn expires(
        &self,
        reader: &mut DefinitionReader,
        key: &str,
    ) -> Option<Template> {
        let node = self.get(key)?;
        let made = reader.template(node, self.scope);
        match &made {
            Template::Expr(expr) => {
                let fits = [Type::Text, Type::Time, Type::Duration];
                reader.expect(&node.pointer, expr.kind(), &fits, "a time or a length of time");
            }
            Template::Literal(Value::String(text))
                if text.parse::<Time>().is_ok()
                    || text.parse::<Span>().is_ok_and(|span| span != Span::ZERO) => {}
            Template::Literal(_) | Template::Object(_) | Template::List(_) => {
                let message = "this must be a length of time like `15m`, or a time";
                reader.fault(&node.pointer, "invalid-value", message);
            }
        }
        Some(made)
    }

    /// Reads a target that a timer reaches: no input is in scope there.
    pub(in crate::engine) fn target(
        &self,
        reader: &mut DefinitionReader,
        key: &str,
    ) -> Option<StepTarget> {
        let node = self.get(key)?;
        let scope = kinds::with_data(&reader.data);
        Some(target(reader, node, &scope))
    }
}

fn object(
    reader: &mut DefinitionReader,
    node: &DocumentNode<'_>,
    scope: &TypeScope,
    what: &str,
) -> Template {
    let is_expression = node.text().is_some_and(|text| source_of(text).is_some());
    if !node.is_map() && !is_expression {
        reader.wrong_type(node, &format!("{what}: a mapping, or an expression that makes one"));
        return Template::Literal(Value::Object(serde_json::Map::new()));
    }
    let made = reader.template(node, scope);
    if let Template::Expr(expr) = &made {
        reader.expect(&node.pointer, expr.kind(), &[kinds::open()], "an object");
    }
    made
}

impl DefinitionReader {
    /// Records the types that a merge writes into the data: deeper values are unknown afterwards.
    pub(in crate::engine) fn declare_merged(&mut self, template: &Template) {
        match kinds::of_template(template) {
            Type::Object { keys, open } => {
                self.opened |= open && matches!(template, Template::Expr(_));
                self.made.extend(keys.into_iter().map(|(key, kind)| match kind {
                    Type::Object { .. } => (key, Type::Any),
                    kind => (key, kind),
                }));
            }
            _ => self.opened = true,
        }
    }
}
