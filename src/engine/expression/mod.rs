//! Expressions: CEL, with amounts that are exact, checked when a definition is published.
//!
//! [`Expr::compile`] parses and checks against a [`TypeScope`]; [`Expr::eval`] reads what it needs
//! through [`Resolver`] and nothing else: no clock, no randomness, no IO. The parser and its macros
//! are those of the crate `cel`; the tree that it makes is checked and evaluated here, because
//! amounts, missing records and bounds reach into every node. What is standard CEL makes what the
//! crate's own evaluator makes (a test holds them together), but for this:
//!
//! - `has(x.key)` is false for null too: an input that was not given is null;
//! - an amount, a time or a duration compared with another kind of value is an error, not `false`;
//! - durations are written as the definitions write them (`90m`), times have milliseconds;
//! - there are no bytes, unsigned numbers, optional values and type values; the pattern of
//!   `matches` is a literal, in the dialect of JSON Schema.
//!
//! Bounds: 4 KiB of text, 1000 nodes, 64 deep, two loops inside one another; an evaluation spends
//! at most 100 000 steps and makes at most 64 KiB. A comparison of two amounts takes 0.3 us, the
//! worst that a hostile expression was seen to take 8 ms.

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

/// Type of a value, as far as it is known before evaluation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Type {
    /// Nothing is known.
    Any,
    /// `null`.
    Null,
    /// A truth value.
    Bool,
    /// A whole number.
    Int,
    /// Any number.
    Number,
    /// A text.
    Text,
    /// A text that is an amount (`format: amount`).
    AmountText,
    /// An amount: what the function `amount` makes.
    Amount,
    /// A point in time.
    Time,
    /// A length of time.
    Duration,
    /// A list of such elements.
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

/// The name that a scope has in which secrets may be used; no expression can spell it.
pub(crate) const SECRETS: &str = "(secrets)";

/// The names that an expression may use, and what is known of them.
#[derive(Clone, Debug, Default)]
pub struct TypeScope {
    /// By name: `input`, `data`, `tx`.
    pub names: BTreeMap<Arc<str>, Type>,
}

/// Fault of an expression.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExprFault {
    /// Stable, for programs: `unknown-name`.
    pub code: &'static str,
    /// For people.
    pub message: String,
}

/// An expression that was parsed and checked.
#[derive(Clone, Debug)]
pub struct Expr {
    source: Arc<str>,
    kind: Type,
    node: Arc<node::ExprNode>,
}

/// Output of an expression.
#[derive(Clone, Debug, PartialEq)]
pub enum TemplateOutput {
    /// Anything that JSON has.
    Json(Value),
    /// An amount.
    Amount(Decimal),
    /// A point in time.
    Time(Time),
}

/// Why an expression could not be evaluated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EvalStop {
    /// This record must be loaded first.
    Need(RecordKey),
    /// It failed: a division by zero, a missing key, a wrong type. Never true.
    Failed(String),
}

/// A value that a name stands for.
#[derive(Clone, Debug)]
pub enum ResolvedValue<'a> {
    /// Something that lies in memory already.
    Json(&'a Value),
    /// Something that was made for this look.
    TemplateOutput(Value),
    /// A point in time.
    Time(Time),
}

/// Account as expressions see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountSeen {
    /// The owner's name; `None`: nobody's.
    pub owner: Option<Arc<str>>,
    /// The asset's code; empty: there is no such account.
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
    /// True if there is such an account.
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

/// Through what an expression sees the world.
pub trait Resolver {
    /// Returns the value of a name; `None`: there is no such name.
    fn name(&self, name: &str) -> Option<ResolvedValue<'_>>;
    /// An account.
    ///
    /// # Errors
    /// The record that must be loaded first.
    fn account(&self, id: &str) -> Result<AccountSeen, RecordKey>;
    /// A hold of this transaction: `{amount, status, account, exists}` as JSON, amounts as text.
    ///
    /// # Errors
    /// The record that must be loaded first.
    fn hold(&self, id: &str) -> Result<Value, RecordKey>;
    /// A reference value; `None`: there is none.
    ///
    /// # Errors
    /// The record that must be loaded first.
    fn value(&self, set: &str, key: &str) -> Result<Option<ResolvedValue<'_>>, RecordKey>;
    /// The scale of an asset; `None`: there is no such asset.
    ///
    /// # Errors
    /// The record that must be loaded first.
    fn scale(&self, asset: &str) -> Result<Option<u8>, RecordKey>;
    /// One entry of what a name stands for, without making the others; `None`: ask for the name.
    fn entry(&self, name: &str, key: &str) -> Option<ResolvedValue<'_>> {
        let _ = (name, key);
        None
    }
    /// Takes the steps that reading records and parsing what lies in them cost since the last call.
    fn take_cost(&self) -> u32 {
        0
    }
    /// Returns the marker of a secret; `None`: secrets are not allowed here.
    fn secret(&self, name: &str) -> Option<String> {
        let _ = name;
        None
    }
    /// Told how many steps an evaluation took.
    fn spent(&self, steps: u32) {
        let _ = steps;
    }
}

impl Expr {
    /// Parses and checks an expression.
    ///
    /// # Errors
    /// All that is wrong with it.
    pub fn compile(source: &str, scope: &TypeScope) -> Result<Self, Vec<ExprFault>> {
        let (node, kind) = check::check(source, scope)?;
        Ok(Self { source: source.into(), kind, node: Arc::new(node) })
    }

    /// As it was written, without the `=` before it.
    #[must_use]
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Returns the type of its result.
    #[must_use]
    pub const fn kind(&self) -> &Type {
        &self.kind
    }

    /// Names that `secret("NAME")` has as literals.
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

    /// What it makes, as JSON that fits into the room; takes what it needs of that.
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
