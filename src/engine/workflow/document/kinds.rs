//! Types of the names in scope of expressions.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;

use crate::engine::expression::{Type, TypeScope};
use crate::engine::workflow::definition::Template;

/// Returns the type of an object with these keys and no others.
fn closed<const N: usize>(keys: [(&str, Type); N]) -> Type {
    Type::Object {
        keys: keys.into_iter().map(|(key, kind)| (Arc::from(key), kind)).collect(),
        open: false,
    }
}

/// Returns the type of an object with unknown keys.
pub(super) const fn open() -> Type {
    Type::Object { keys: BTreeMap::new(), open: true }
}

/// Returns the names in scope of every expression.
fn everywhere() -> [(&'static str, Type); 5] {
    [
        (
            "tx",
            closed([
                ("id", Type::Text),
                ("workflow", Type::Text),
                ("version", Type::Int),
                ("owner", Type::Any),
                ("status", Type::Text),
                ("started", Type::Time),
                ("reference", Type::Any),
            ]),
        ),
        ("actor", actor()),
        (
            "session",
            closed([
                ("id", Type::Any),
                ("elevated", Type::Bool),
                ("anonymous", Type::Bool),
                ("data", open()),
                ("facts", open()),
            ]),
        ),
        ("user", closed([("data", open()), ("attributes", open())])),
        ("now", Type::Time),
    ]
}

fn actor() -> Type {
    closed([
        ("user", Type::Text),
        ("roles", Type::List(Box::new(Type::Text))),
        ("kind", Type::Text),
        ("via", Type::Any),
    ])
}

/// Returns the scope of the initial data: the input of the start, if there is one.
pub(super) fn at_start(input: Option<&Type>) -> TypeScope {
    scope(input.map(|kind| ("input", kind.clone())))
}

/// Returns the scope of expressions without an input.
pub(super) fn with_data(data: &Type) -> TypeScope {
    scope([("data", data.clone())])
}

/// Returns the scope of a submission of a step.
pub(super) fn submitted(data: &Type, input: Option<&Type>, counted: bool) -> TypeScope {
    let mut scope = with_data(data);
    if let Some(input) = input {
        scope.names.insert("input".into(), input.clone());
    }
    if counted {
        let one = closed([
            ("actor", actor()),
            ("input", input.cloned().unwrap_or(Type::Any)),
            ("at", Type::Any),
        ]);
        scope.names.insert("submissions".into(), Type::List(Box::new(one)));
    }
    scope
}

/// Returns the scope of the answer to a call.
pub(super) fn answered(data: &Type) -> TypeScope {
    let mut scope = with_data(data);
    let response = closed([
        ("status", Type::Int),
        ("headers", open()),
        ("body", Type::Any),
        ("truncated", Type::Bool),
    ]);
    scope.names.insert("response".into(), response);
    scope
}

/// Returns the type of `callback`, the address for a later answer.
pub(super) fn callback() -> Type {
    closed([("url", Type::Text)])
}

fn scope<'a>(more: impl IntoIterator<Item = (&'a str, Type)>) -> TypeScope {
    TypeScope {
        names: everywhere()
            .into_iter()
            .chain(more)
            .map(|(name, kind)| (Arc::from(name), kind))
            .collect(),
    }
}

/// Names that an element of `each` may not hide.
pub(in crate::engine) const RESERVED_NAMES: [&str; 11] = [
    "input",
    "data",
    "submissions",
    "tx",
    "actor",
    "session",
    "user",
    "now",
    "response",
    "callback",
    "code",
];

/// Returns the type of a template's output. Objects inside are open: what a later effect merges
/// into them is not tracked.
pub(super) fn of_template(template: &Template) -> Type {
    match template {
        Template::Literal(value) => of_value(value),
        Template::Expr(expr) => stored(expr.kind()),
        Template::Object(entries) => Type::Object {
            keys: entries.iter().map(|(key, value)| (key.clone(), of_template(value))).collect(),
            open: true,
        },
        Template::List(items) => {
            Type::List(Box::new(joined(items.iter().map(of_template)).unwrap_or(Type::Any)))
        }
    }
}

fn of_value(value: &Value) -> Type {
    match value {
        Value::Null => Type::Null,
        Value::Bool(_) => Type::Bool,
        Value::Number(number) if number.is_f64() => Type::Number,
        Value::Number(_) => Type::Int,
        Value::String(_) => Type::Text,
        Value::Array(items) => {
            Type::List(Box::new(joined(items.iter().map(of_value)).unwrap_or(Type::Any)))
        }
        Value::Object(entries) => Type::Object {
            keys: entries
                .iter()
                .map(|(key, value)| (Arc::from(key.as_str()), of_value(value)))
                .collect(),
            open: true,
        },
    }
}

/// Returns the type of a value once it is stored in the data, which is JSON: amounts and times are
/// text there.
fn stored(kind: &Type) -> Type {
    match kind {
        Type::Amount => Type::AmountText,
        Type::Time | Type::Duration => Type::Text,
        Type::List(element) => Type::List(Box::new(stored(element))),
        Type::Object { keys, open } => Type::Object {
            keys: keys.iter().map(|(key, kind)| (key.clone(), stored(kind))).collect(),
            open: *open,
        },
        other => other.clone(),
    }
}

fn joined(kinds: impl IntoIterator<Item = Type>) -> Option<Type> {
    kinds.into_iter().reduce(|one, other| join(&one, &other))
}

/// Joins the types of two alternatives.
pub(super) fn join(one: &Type, other: &Type) -> Type {
    match (one, other) {
        (one, other) if one == other => one.clone(),
        (Type::Int | Type::Number, Type::Int | Type::Number) => Type::Number,
        (Type::Text | Type::AmountText, Type::Text | Type::AmountText) => Type::Text,
        (Type::List(one), Type::List(other)) => Type::List(Box::new(join(one, other))),
        (Type::Object { keys, open }, Type::Object { keys: more, open: also }) => {
            let mut keys = keys.clone();
            for (key, kind) in more {
                let kind = keys.get(key).map_or_else(|| kind.clone(), |known| join(known, kind));
                keys.insert(key.clone(), kind);
            }
            Type::Object { keys, open: *open || *also }
        }
        _ => Type::Any,
    }
}
