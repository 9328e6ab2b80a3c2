//! `each`: runs effects for each element of a list.

use std::sync::Arc;

use serde_json::Value;

use super::syntax::{EffectSyntax, ValueSyntax, described};
use super::{Effect, EffectReferences, WorkflowEffect};
use crate::engine::Refusal;
use crate::engine::core::unit_of_work::DecideError;
use crate::engine::expression::{Expr, Type, TypeScope};
use crate::engine::transaction::eval_context::Bindings;
use crate::engine::transaction::eval_context::failed;
use crate::engine::transaction::interpreter::Interpreter;
use crate::engine::transaction::record::Compensation;
use crate::engine::workflow::document::{DefinitionReader, EffectNode};
use crate::engine::workflow::document::{DocumentNode, RESERVED_NAMES, nested_effects, shortened};

/// Maximum number of elements of the list.
const ELEMENTS_MAX: usize = 100;

/// Maximum depth of nesting.
const DEPTH_MAX: usize = 3;

/// Runs effects for each element of a list.
#[derive(Debug)]
pub struct EachEffect {
    /// List, of at most 100 elements.
    pub list: Expr,
    /// Name of an element in expressions.
    pub name: Arc<str>,
    /// Effects.
    pub effects: Vec<Effect>,
}

impl WorkflowEffect for EachEffect {
    const SYNTAX: EffectSyntax = EffectSyntax {
        name: "each",
        value: ValueSyntax::Other {
            form: "each: =LIST, as: NAME, do: [...]",
            schema: |description| described("expression", description),
        },
        description: "A list of up to 100: `do` is done for each of its elements, which is called \
                      what `as` says.",
        does: "runs effects for each of up to 100 elements",
        undone_by: "each of them",
    };

    fn read(reader: &mut DefinitionReader, node: &EffectNode<'_, '_>) -> Option<Self> {
        let (at, scope) = (node.value, node.scope);
        if node.depth >= DEPTH_MAX {
            let message = format!("`each` is nested at most {DEPTH_MAX} deep");
            reader.fault(&at.pointer, "too-deep", message);
            return None;
        }
        let list = reader.expression(at, scope, "a list");
        let name = reader.required(node.beside, "as", "`each`").cloned();
        let name = name.and_then(|spot| element_name(reader, &spot, scope));
        let effects = reader.required(node.beside, "do", "`each`").cloned();
        let element = match list.as_ref().map(Expr::kind) {
            Some(Type::List(element)) => (**element).clone(),
            Some(other) => {
                reader.expect(&at.pointer, other, &[Type::List(Box::new(Type::Any))], "a list");
                Type::Any
            }
            None => Type::Any,
        };
        let mut inner = scope.clone();
        if let Some(name) = &name {
            inner.names.insert(name.clone(), element);
        }
        let effects = nested_effects(reader, effects.as_ref(), &inner, node.depth + 1);
        Some(Self { list: list?, name: name?, effects })
    }

    fn references<'e>(&'e self, found: &mut EffectReferences<'e>) {
        self.effects.iter().for_each(|effect| effect.kind.references(found));
    }

    fn nested(&self) -> &[Effect] {
        &self.effects
    }

    fn execute(
        &self,
        interpreter: &mut Interpreter<'_, '_>,
        bindings: &Bindings,
        compensations: &mut Vec<Compensation>,
    ) -> Result<(), DecideError> {
        let list = interpreter.look(bindings, |context| context.eval(&self.list))?;
        let Value::Array(elements) = list.into_json() else {
            return Err(failed(format!("`{}` is no list", self.list.source())));
        };
        if elements.len() > ELEMENTS_MAX {
            let what = "elements of an `each`";
            return Err(Refusal::LimitReached { what, max: ELEMENTS_MAX }.into());
        }
        let mut inner = bindings.clone();
        for element in elements {
            inner.lines.push((self.name.clone(), element.into()));
            interpreter.run_effects(&self.effects, &inner, compensations)?;
            inner.lines.pop();
        }
        Ok(())
    }
}

fn element_name(
    reader: &mut DefinitionReader,
    node: &DocumentNode<'_>,
    scope: &TypeScope,
) -> Option<Arc<str>> {
    let text = reader.text(node, "a name")?;
    let plain = text.len() <= 64
        && text.starts_with(|first: char| first.is_ascii_lowercase())
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
    let taken = RESERVED_NAMES.contains(&text) || scope.names.contains_key(text);
    if plain && !taken {
        return Some(text.into());
    }
    let message = if taken {
        format!("`{text}` stands for something else already")
    } else {
        format!("`{}` is no name: 1 to 64 characters of a-z, 0-9 and _", shortened(text))
    };
    reader.fault(&node.pointer, "invalid-name", message);
    None
}
