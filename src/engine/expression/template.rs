//! Templates: JSON with expressions in some places.

use std::sync::Arc;

use serde_json::{Map, Value};

use super::value::{EvalHalt, SizeBudget};
use super::{EvalStop, Expr, Resolver, TemplateOutput, Type, TypeScope};
use crate::engine::workflow::{DefinitionFault, Template};

impl Template {
    /// Reads a template: strings that begin with `=` are expressions, `==x` is the literal `=x`.
    /// Faults are added to `faults`, with pointers below `pointer`.
    #[must_use]
    pub fn read(
        value: &Value,
        scope: &TypeScope,
        pointer: &str,
        faults: &mut Vec<DefinitionFault>,
    ) -> Self {
        match value {
            Value::String(text) => match text.strip_prefix('=') {
                Some(literal) if literal.starts_with('=') => {
                    Self::Literal(Value::String(literal.to_owned()))
                }
                Some(source) => match Expr::compile(source, scope) {
                    Ok(expr) => Self::Expr(expr),
                    Err(found) => {
                        faults.extend(found.into_iter().map(|fault| DefinitionFault {
                            pointer: pointer.to_owned(),
                            code: fault.code,
                            message: fault.message,
                            at: None,
                        }));
                        Self::Literal(Value::Null)
                    }
                },
                None => Self::Literal(value.clone()),
            },
            Value::Array(elements) => {
                let elements: Vec<_> = elements
                    .iter()
                    .enumerate()
                    .map(|(at, element)| {
                        Self::read(element, scope, &format!("{pointer}/{at}"), faults)
                    })
                    .collect();
                literal_or(elements, Self::List)
            }
            Value::Object(entries) => Self::Object(
                entries
                    .iter()
                    .map(|(key, value)| {
                        let escaped = key.replace('~', "~0").replace('/', "~1");
                        let pointer = format!("{pointer}/{escaped}");
                        (Arc::from(key.as_str()), Self::read(value, scope, &pointer, faults))
                    })
                    .collect(),
            ),
            other => Self::Literal(other.clone()),
        }
    }

    /// Evaluates the template: a single expression may give an amount or a time, everything else
    /// gives JSON.
    ///
    /// # Errors
    /// [`EvalStop`]
    pub fn make(&self, sight: &dyn Resolver) -> Result<TemplateOutput, EvalStop> {
        match self {
            Self::Expr(expr) => expr.eval(sight),
            Self::Literal(value) => Ok(TemplateOutput::Json(value.clone())),
            Self::Object(_) | Self::List(_) => {
                let mut room = SizeBudget::full();
                let made = self.json(sight, &mut room).map(TemplateOutput::Json);
                sight.spent(room.steps());
                made
            }
        }
    }

    /// Returns the type of its result.
    #[must_use]
    pub fn kind(&self) -> Type {
        match self {
            Self::Expr(expr) => expr.kind().clone(),
            Self::Literal(value) => Type::of(value),
            Self::List(elements) => {
                let kinds = elements.iter().map(Self::kind);
                let of = kinds.reduce(|left, right| super::types::joined(&left, &right));
                Type::List(Box::new(of.unwrap_or(Type::Any)))
            }
            Self::Object(entries) => Type::Object {
                keys: entries.iter().map(|(key, of)| (Arc::clone(key), of.kind())).collect(),
                open: false,
            },
        }
    }

    fn json(&self, sight: &dyn Resolver, left: &mut SizeBudget) -> Result<Value, EvalStop> {
        match self {
            Self::Literal(value) => Ok(value.clone()),
            Self::Expr(expr) => expr.json(sight, left),
            Self::List(elements) => {
                left.enter().map_err(EvalHalt::into_stop)?;
                let made: Vec<_> = elements
                    .iter()
                    .map(|element| element.json(sight, left))
                    .collect::<Result<_, _>>()?;
                left.leave();
                Ok(Value::Array(made))
            }
            Self::Object(entries) => {
                left.enter().map_err(EvalHalt::into_stop)?;
                let mut made = Map::new();
                for (key, value) in entries {
                    made.insert(key.to_string(), value.json(sight, left)?);
                }
                left.leave();
                Ok(Value::Object(made))
            }
        }
    }
}

/// Returns a list or object, or a literal if all its parts are literals.
fn literal_or(elements: Vec<Template>, list: fn(Vec<Template>) -> Template) -> Template {
    let literals: Option<Vec<Value>> = elements
        .iter()
        .map(|element| match element {
            Template::Literal(value) => Some(value.clone()),
            _ => None,
        })
        .collect();
    match literals {
        Some(literals) => Template::Literal(Value::Array(literals)),
        None => list(elements),
    }
}
