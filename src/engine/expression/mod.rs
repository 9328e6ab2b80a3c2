//! Expressions: CEL, with exact amounts, checked when a definition is published.
//!
//! [`Expr::compile`] parses an expression and checks it against a [`TypeScope`]; [`Expr::eval`]
//! reads through [`Resolver`] and nothing else: no clock, no randomness, no IO. The parser and its
//! macros are those of the crate `cel`; its tree is checked and evaluated here, because amounts,
//! missing records and limits concern every node. Standard CEL gives the same results as the
//! crate's own evaluator (a test compares them), with these exceptions:
//!
//! - `has(x.key)` is false for null too: an input that was not given is null;
//! - an amount, a time or a duration compared with another kind of value is an error, not `false`;
//! - durations are written as in definitions (`90m`), times have milliseconds;
//! - there are no bytes, unsigned numbers, optional values and type values; the pattern of
//!   `matches` is a literal, in the dialect of JSON Schema.
//!
//! Limits: 4 KiB of text, 1000 nodes, a depth of 64, two nested loops; an evaluation takes at most
//! 100 000 steps and its result has at most 64 KiB. A comparison of two amounts takes 0.3 us; the
//! worst hostile expression found took 8 ms.

mod check;
mod eval;
mod functions;
mod made;
mod near;
mod node;
mod template;
mod time;
pub(in crate::engine) use time::zone_named;
mod types;
mod value;

#[cfg(test)]
mod tests;

pub(crate) use near::nearest;
pub(crate) use node::PATTERN_BYTES_MAX;

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;

use super::RecordKey;
use crate::types::{Decimal, Time};

/// Type of a value before evaluation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Type {
    /// Any type.
    Any,
    /// `null`.
    Null,
    /// A boolean.
    Bool,
    /// A whole number.
    Int,
    /// Any number.
    Number,
    /// A text.
    Text,
    /// A text that is an amount (`format: amount`).
    AmountText,
    /// An amount, as the function `amount` returns it.
    Amount,
    /// A point in time.
    Time,
    /// A length of time.
    Duration,
    /// A list with elements of this type.
    List(Box<Type>),
    /// An object with these keys; others only if `open`.
    Object {
        /// Types of its values.
        keys: BTreeMap<Arc<str>, Type>,
        /// True if it may have other keys.
        open: bool,
    },
}

impl Type {
    /// Returns the type of a value.
    #[must_use]
    pub fn of(value: &Value) -> Self {
        match value {
            Value::Null => Self::Null,
            Value::Bool(_) => Self::Bool,
            Value::Number(number) if number.is_f64() => Self::Number,
            Value::Number(_) => Self::Int,
            Value::String(_) => Self::Text,
            Value::Array(elements) => {
                let kinds = elements.iter().map(Self::of);
                let of = kinds.reduce(|left, right| types::joined(&left, &right));
                Self::List(Box::new(of.unwrap_or(Self::Any)))
            }
            Value::Object(entries) => Self::Object {
                keys: entries.iter().map(|(key, of)| (key.as_str().into(), Self::of(of))).collect(),
                open: false,
            },
        }
    }

    /// Joins the types of two alternatives.
    #[must_use]
    pub fn or(&self, other: &Self) -> Self {
        types::joined(self, other)
    }
}

/// Name in a scope that allows secrets; no expression can spell it.
pub(crate) const SECRETS: &str = "(secrets)";

/// Names that an expression may use, with their types.
#[derive(Clone, Debug, Default)]
pub struct TypeScope {
    /// Types by name: `input`, `data`, `tx`.
    pub names: BTreeMap<Arc<str>, Type>,
}

/// Fault of an expression.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExprFault {
    /// Stable code, for programs: `unknown-name`.
    pub code: &'static str,
    /// Message, for people.
    pub message: String,
}

/// Parsed and checked expression.
#[derive(Clone, Debug)]
pub struct Expr {
    source: Arc<str>,
    kind: Type,
    node: Arc<node::ExprNode>,
}

/// Output of an expression.
#[derive(Clone, Debug, PartialEq)]
pub enum TemplateOutput {
    /// Any JSON value.
    Json(Value),
    /// An amount.
    Amount(Decimal),
    /// A point in time.
    Time(Time),
}

/// Reason that an evaluation stopped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EvalStop {
    /// This record must be loaded first.
    Need(RecordKey),
    /// It failed: a division by zero, a missing key, a wrong type. A failure never counts as true.
    Failed(String),
}

/// Value of a name.
#[derive(Clone, Debug)]
pub enum ResolvedValue<'a> {
    /// Borrowed from memory.
    Json(&'a Value),
    /// Created for this evaluation.
    TemplateOutput(Value),
    /// A point in time.
    Time(Time),
}

/// Account as expressions see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountSeen {
    /// The owner's name; `None`: it has no owner.
    pub owner: Option<Arc<str>>,
    /// The asset's code; empty: the account does not exist.
    pub asset: Arc<str>,
    /// Posted balance.
    pub posted: Decimal,
    /// Held amount.
    pub held: Decimal,
    /// Available amount: posted - held.
    pub available: Decimal,
    /// True if nothing may leave it.
    pub frozen: bool,
    /// True if it is closed.
    pub closed: bool,
    /// True if the account exists.
    pub exists: bool,
}

impl AccountSeen {
    /// Returns the view of an account that does not exist.
    #[must_use]
    pub fn none() -> Self {
        Self {
            owner: None,
            asset: "".into(),
            posted: Decimal::ZERO,
            held: Decimal::ZERO,
            available: Decimal::ZERO,
            frozen: false,
            closed: false,
            exists: false,
        }
    }
}

/// Source of the values that an expression reads.
pub trait Resolver {
    /// Returns the value of a name; `None`: the name is unknown.
    fn name(&self, name: &str) -> Option<ResolvedValue<'_>>;
    /// Returns an account.
    ///
    /// # Errors
    /// The record that must be loaded first.
    fn account(&self, id: &str) -> Result<AccountSeen, RecordKey>;
    /// Returns a hold of this transaction: `{amount, status, account, exists}` as JSON, amounts as
    /// text.
    ///
    /// # Errors
    /// The record that must be loaded first.
    fn hold(&self, id: &str) -> Result<Value, RecordKey>;
    /// Returns a reference value; `None`: there is none.
    ///
    /// # Errors
    /// The record that must be loaded first.
    fn value(&self, set: &str, key: &str) -> Result<Option<ResolvedValue<'_>>, RecordKey>;
    /// Returns the scale of an asset; `None`: there is no such asset.
    ///
    /// # Errors
    /// The record that must be loaded first.
    fn scale(&self, asset: &str) -> Result<Option<u8>, RecordKey>;
    /// Returns one entry of a name's value, without creating the others; `None`: use
    /// [`Resolver::name`].
    fn entry(&self, name: &str, key: &str) -> Option<ResolvedValue<'_>> {
        let _ = (name, key);
        None
    }
    /// Returns the steps spent on reading and parsing records since the last call.
    fn take_cost(&self) -> u32 {
        0
    }
    /// Returns the marker of a secret; `None`: secrets are not allowed here.
    fn secret(&self, name: &str) -> Option<String> {
        let _ = name;
        None
    }
    /// Receives the number of steps that an evaluation took.
    fn spent(&self, steps: u32) {
        let _ = steps;
    }
}

impl Expr {
    /// Parses and checks an expression.
    ///
    /// # Errors
    /// All faults of the expression.
    pub fn compile(source: &str, scope: &TypeScope) -> Result<Self, Vec<ExprFault>> {
        let (node, kind) = check::check(source, scope)?;
        Ok(Self { source: source.into(), kind, node: Arc::new(node) })
    }

    /// Returns the source, without the leading `=`.
    #[must_use]
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Returns the type of its result.
    #[must_use]
    pub const fn kind(&self) -> &Type {
        &self.kind
    }

    /// Returns the names of secrets that `secret("NAME")` has as literals.
    #[must_use]
    pub fn secrets(&self) -> Vec<Arc<str>> {
        let mut found = Vec::new();
        self.node.secrets(&mut found);
        found
    }

    /// Evaluates the expression.
    ///
    /// # Errors
    /// [`EvalStop`]
    pub fn eval(&self, sight: &dyn Resolver) -> Result<TemplateOutput, EvalStop> {
        let mut room = value::SizeBudget::full();
        let made = self.value(sight).and_then(|value| value.into_made(&mut room));
        sight.spent(room.steps());
        made.map_err(value::EvalHalt::into_stop)
    }

    /// Evaluates the expression to JSON that fits into the size budget, and charges the budget.
    fn json(&self, sight: &dyn Resolver, room: &mut value::SizeBudget) -> Result<Value, EvalStop> {
        let value = self.value(sight);
        value.and_then(|value| value.into_json(room)).map_err(value::EvalHalt::into_stop)
    }

    fn value<'v>(
        &'v self,
        sight: &'v dyn Resolver,
    ) -> Result<value::ExprValue<'v>, value::EvalHalt> {
        let mut evaluation = eval::Evaluation::new(sight);
        let value = evaluation.value(&self.node);
        sight.spent(value::STEPS_MAX - evaluation.left());
        value
    }
}
