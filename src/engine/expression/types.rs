//! Types of values before evaluation.

use super::Type;
use super::functions::{Function, kinds};
use super::node::{ExprNode, shown};
use super::value::ExprValue;

/// Returns the kinds that a value of a type may have.
fn of_type(kind: &Type) -> u16 {
    match kind {
        Type::Any => kinds::ANY,
        Type::Null => kinds::NULL,
        Type::Bool => kinds::BOOL,
        Type::Int => kinds::INT,
        Type::Number => kinds::INT | kinds::DOUBLE,
        Type::Text | Type::AmountText => kinds::TEXT,
        Type::Amount => kinds::AMOUNT,
        Type::Time => kinds::TIME,
        Type::Duration => kinds::SPAN,
        Type::List(_) => kinds::LIST,
        Type::Object { .. } => kinds::OBJECT,
    }
}

/// Returns the kinds that the result of a node may have.
pub(super) fn mask(node: &ExprNode, kind: &Type) -> u16 {
    match node {
        ExprNode::Const(ExprValue::Double(_), _) | ExprNode::Call(Function::Double, _) => {
            kinds::DOUBLE
        }
        _ => of_type(kind),
    }
}

/// Joins the types of two alternatives.
pub(super) fn joined(left: &Type, right: &Type) -> Type {
    match (left, right) {
        (left, right) if left == right => left.clone(),
        // A value of any type may be null, such as an input that was not given.
        (Type::Null, other) | (other, Type::Null) => other.clone(),
        (Type::Text | Type::AmountText, Type::Text | Type::AmountText) => Type::Text,
        (Type::Int | Type::Number, Type::Int | Type::Number) => Type::Number,
        (Type::List(left), Type::List(right)) => Type::List(Box::new(joined(left, right))),
        _ => Type::Any,
    }
}

/// Returns the name of a type, for messages.
pub(super) const fn described(kind: &Type) -> &'static str {
    match kind {
        Type::Any => "anything",
        Type::Null => "null",
        Type::Bool => "a truth value",
        Type::Int => "a whole number",
        Type::Number => "a number",
        Type::Text => "a text",
        Type::AmountText => "a text (of an amount)",
        Type::Amount => "an amount",
        Type::Time => "a time",
        Type::Duration => "a duration",
        Type::List(_) => "a list",
        Type::Object { .. } => "an object",
    }
}

/// Returns a node and its type, for messages.
pub(super) fn named(node: &ExprNode, kind: &Type) -> String {
    format!("`{}`, which is {}", shown(node), described(kind))
}
