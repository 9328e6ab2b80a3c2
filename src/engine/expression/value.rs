//! Values of expressions, which borrow the data they come from, and their operators.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::ops::Deref;
use std::sync::Arc;

use serde_json::{Map, Number, Value};

use super::time;
use super::{EvalStop, ResolvedValue, TemplateOutput};
use crate::engine::RecordKey;
use crate::types::{Decimal, Time};

/// Reason that evaluation stopped; boxed, because it is rare and results pass through every node.
#[derive(Debug)]
pub(super) struct EvalHalt(Box<EvalStop>);

impl EvalHalt {
    /// Returns the reason that this record must be loaded first.
    pub(super) fn need(fact: RecordKey) -> Self {
        Self(Box::new(EvalStop::Need(fact)))
    }

    /// Returns whether a record must be loaded first.
    pub(super) fn is_need(&self) -> bool {
        matches!(*self.0, EvalStop::Need(_))
    }

    /// Returns the failure's message; `None`: a record is missing.
    pub(super) fn message(&self) -> Option<&str> {
        match &*self.0 {
            EvalStop::Need(_) => None,
            EvalStop::Failed(message) => Some(message),
        }
    }

    /// Converts it to the public type.
    pub(super) fn into_stop(self) -> EvalStop {
        *self.0
    }
}

/// Maximum size of an expression's result, in bytes of JSON: the maximum of a transaction's data.
pub(super) const RESULT_BYTES_MAX: usize = 64 * 1024;

/// Returns a failure with this message.
pub(super) fn failed(message: impl Into<String>) -> EvalHalt {
    EvalHalt(Box::new(EvalStop::Failed(message.into())))
}

/// Text, borrowed or owned.
#[derive(Clone, Debug)]
pub(super) enum TextValue<'v> {
    /// Borrowed from the data.
    Seen(&'v str),
    /// Created by the evaluation.
    TemplateOutput(Arc<str>),
}

impl Deref for TextValue<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        match self {
            Self::Seen(text) => text,
            Self::TemplateOutput(text) => text,
        }
    }
}

/// A value. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) enum ExprValue<'v> {
    Null,
    Bool(bool),
    Int(i64),
    Double(f64),
    Text(TextValue<'v>),
    Amount(Decimal),
    /// Milliseconds since the Unix epoch, from year 1 to 9999.
    Time(i64),
    /// Milliseconds.
    Span(i64),
    /// A list or an object of the data, not converted yet.
    Json(&'v Value),
    List(Arc<Vec<ExprValue<'v>>>),
    Map(Arc<BTreeMap<Arc<str>, ExprValue<'v>>>),
}

impl<'v> ExprValue<'v> {
    /// Returns an owned text.
    pub(super) fn text(text: impl Into<Arc<str>>) -> Self {
        Self::Text(TextValue::TemplateOutput(text.into()))
    }

    /// Converts a value of the data, borrowing from it.
    pub(super) fn seen(value: &'v Value) -> Result<Self, EvalHalt> {
        Ok(match value {
            Value::Null => Self::Null,
            Value::Bool(truth) => Self::Bool(*truth),
            Value::Number(number) => Self::number(number)?,
            Value::String(text) => Self::Text(TextValue::Seen(text)),
            Value::Array(_) | Value::Object(_) => Self::Json(value),
        })
    }

    /// Converts the result of a resolver.
    pub(super) fn of(seen: ResolvedValue<'v>, fuel: &mut Fuel) -> Result<Self, EvalHalt> {
        match seen {
            ResolvedValue::Json(value) => Self::seen(value),
            ResolvedValue::TemplateOutput(value) => Self::made(value, fuel),
            ResolvedValue::Time(time) => Ok(Self::Time(time.ms().cast_signed())),
        }
    }

    /// Converts an owned value.
    pub(super) fn made(value: Value, fuel: &mut Fuel) -> Result<Self, EvalHalt> {
        fuel.burn(1)?;
        Ok(match value {
            Value::Null => Self::Null,
            Value::Bool(truth) => Self::Bool(truth),
            Value::Number(number) => Self::number(&number)?,
            Value::String(text) => {
                fuel.burn_bytes(text.len())?;
                Self::text(text)
            }
            Value::Array(elements) => {
                let elements: Result<_, _> =
                    elements.into_iter().map(|value| Self::made(value, fuel)).collect();
                Self::List(Arc::new(elements?))
            }
            Value::Object(entries) => {
                let entries: Result<_, EvalHalt> = entries
                    .into_iter()
                    .map(|(key, value)| Ok((key.into(), Self::made(value, fuel)?)))
                    .collect();
                Self::Map(Arc::new(entries?))
            }
        })
    }

    fn number(number: &Number) -> Result<Self, EvalHalt> {
        if let Some(int) = number.as_i64() {
            return Ok(Self::Int(int));
        }
        if number.is_u64() {
            return Err(failed(format!(
                "{number} is too large for a whole number, which goes up to 9223372036854775807"
            )));
        }
        number.as_f64().map(Self::Double).ok_or_else(|| failed(format!("{number} is too large")))
    }

    /// Returns the name of its kind, for messages.
    pub(super) fn what(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "a truth value",
            Self::Int(_) => "a whole number",
            Self::Double(_) => "a number with a fraction",
            Self::Text(_) => "a text",
            Self::Amount(_) => "an amount",
            Self::Time(_) => "a time",
            Self::Span(_) => "a duration",
            Self::Json(Value::Array(_)) | Self::List(_) => "a list",
            Self::Json(_) | Self::Map(_) => "an object",
        }
    }

    /// Returns the number of elements; `None`: it has none.
    pub(super) fn len(&self) -> Option<usize> {
        match self {
            Self::Json(Value::Array(elements)) => Some(elements.len()),
            Self::Json(Value::Object(entries)) => Some(entries.len()),
            Self::List(elements) => Some(elements.len()),
            Self::Map(entries) => Some(entries.len()),
            _ => None,
        }
    }

    /// Returns an element of a list; `None`: there is no such element.
    pub(super) fn at(&self, index: usize) -> Result<Option<Self>, EvalHalt> {
        match self {
            Self::Json(Value::Array(elements)) => {
                elements.get(index).map(ExprValue::seen).transpose()
            }
            Self::List(elements) => Ok(elements.get(index).cloned()),
            _ => Ok(None),
        }
    }

    /// Returns the value of a key; `None`: there is no such key.
    pub(super) fn key(&self, key: &str) -> Result<Option<Self>, EvalHalt> {
        match self {
            Self::Json(Value::Object(entries)) => entries.get(key).map(ExprValue::seen).transpose(),
            Self::Map(entries) => Ok(entries.get(key).cloned()),
            _ => Ok(None),
        }
    }

    /// Returns whether it has keys.
    pub(super) fn is_object(&self) -> bool {
        matches!(self, Self::Json(Value::Object(_)) | Self::Map(_))
    }

    /// Returns whether it has elements.
    pub(super) fn is_list(&self) -> bool {
        matches!(self, Self::Json(Value::Array(_)) | Self::List(_))
    }

    /// Returns the items of a loop: the elements of a list, the keys of an object.
    pub(super) fn parts(&self) -> Result<Vec<Self>, EvalHalt> {
        match self {
            Self::Json(Value::Array(elements)) => elements.iter().map(ExprValue::seen).collect(),
            Self::Json(Value::Object(entries)) => {
                Ok(entries.keys().map(|key| ExprValue::Text(TextValue::Seen(key))).collect())
            }
            Self::List(elements) => Ok(elements.as_ref().clone()),
            Self::Map(entries) => {
                Ok(entries.keys().map(|key| ExprValue::text(Arc::clone(key))).collect())
            }
            other => Err(failed(format!("a list was expected, this is {}", other.what()))),
        }
    }

    /// Returns whether both values are equal. Numbers are compared by value; comparing an amount or
    /// a time with another kind is an error.
    pub(super) fn same(&self, other: &Self, fuel: &mut Fuel) -> Result<bool, EvalHalt> {
        fuel.burn(1)?;
        Ok(match (self, other) {
            (Self::Null, Self::Null) => true,
            (Self::Bool(left), Self::Bool(right)) => left == right,
            (Self::Int(left), Self::Int(right))
            | (Self::Time(left), Self::Time(right))
            | (Self::Span(left), Self::Span(right)) => left == right,
            (Self::Int(_) | Self::Double(_), Self::Int(_) | Self::Double(_)) => {
                self.order(other, fuel).is_ok_and(|order| order == Ordering::Equal)
            }
            (Self::Text(left), Self::Text(right)) => {
                fuel.burn_bytes(left.len().min(right.len()))?;
                **left == **right
            }
            (Self::Amount(left), Self::Amount(right)) => left == right,
            (Self::Amount(_) | Self::Time(_) | Self::Span(_), other) if other.is_scalar() => {
                return Err(unlike(self, other));
            }
            (this, Self::Amount(_) | Self::Time(_) | Self::Span(_)) if this.is_scalar() => {
                return Err(unlike(self, other));
            }
            (left, right) if left.is_list() && right.is_list() => {
                if left.len() != right.len() {
                    return Ok(false);
                }
                fuel.burn_elements(left.len().unwrap_or(0))?;
                for (left, right) in left.parts()?.iter().zip(&right.parts()?) {
                    if !left.same(right, fuel)? {
                        return Ok(false);
                    }
                }
                true
            }
            (left, right) if left.is_object() && right.is_object() => {
                if left.len() != right.len() {
                    return Ok(false);
                }
                fuel.burn_elements(left.len().unwrap_or(0))?;
                for key in left.parts()? {
                    let Self::Text(key) = key else { return Ok(false) };
                    fuel.burn(1)?;
                    match (left.key(&key)?, right.key(&key)?) {
                        (Some(left), Some(right)) if left.same(&right, fuel)? => {}
                        _ => return Ok(false),
                    }
                }
                true
            }
            _ => false,
        })
    }

    fn is_scalar(&self) -> bool {
        !matches!(self, Self::Null | Self::Json(_) | Self::List(_) | Self::Map(_))
    }

    /// Returns the order of two values.
    pub(super) fn order(&self, other: &Self, fuel: &mut Fuel) -> Result<Ordering, EvalHalt> {
        Ok(match (self, other) {
            (Self::Bool(left), Self::Bool(right)) => left.cmp(right),
            (Self::Int(left), Self::Int(right))
            | (Self::Time(left), Self::Time(right))
            | (Self::Span(left), Self::Span(right)) => left.cmp(right),
            (Self::Double(left), Self::Double(right)) => {
                left.partial_cmp(right).ok_or_else(|| unlike(self, other))?
            }
            (Self::Int(left), Self::Double(right)) => {
                int_double(*left, *right).ok_or_else(|| unlike(self, other))?
            }
            (Self::Double(left), Self::Int(right)) => {
                int_double(*right, *left).ok_or_else(|| unlike(self, other))?.reverse()
            }
            (Self::Text(left), Self::Text(right)) => {
                fuel.burn_bytes(left.len().min(right.len()))?;
                (**left).cmp(&**right)
            }
            (Self::Amount(left), Self::Amount(right)) => left.cmp(right),
            _ => return Err(unlike(self, other)),
        })
    }

    /// Converts the value to JSON: times and durations as text, amounts as they are written without
    /// an asset.
    pub(super) fn into_json(self, left: &mut SizeBudget) -> Result<Value, EvalHalt> {
        Ok(match self {
            Self::Null => Value::Null,
            Self::Bool(truth) => Value::Bool(truth),
            Self::Int(int) => int.into(),
            Self::Double(double) => Number::from_f64(double)
                .map(Value::Number)
                .ok_or_else(|| failed("the result is not a finite number"))?,
            Self::Text(text) => {
                take(left, text.len())?;
                Value::String((*text).to_owned())
            }
            Self::Amount(amount) => Value::String(amount.settled().to_string()),
            Self::Time(ms) => Value::String(time::time_text(ms)),
            Self::Span(ms) => Value::String(time::span_text(ms)),
            Self::Json(value) => copied(value, left)?,
            Self::List(elements) => {
                let mut made = Vec::with_capacity(elements.len().min(left.bytes));
                left.enter()?;
                for element in elements.iter() {
                    take(left, ELEMENT_BYTES)?;
                    made.push(element.clone().into_json(left)?);
                }
                left.leave();
                Value::Array(made)
            }
            Self::Map(entries) => {
                let mut made = Map::new();
                left.enter()?;
                for (key, value) in entries.iter() {
                    take(left, ELEMENT_BYTES + key.len())?;
                    made.insert(key.to_string(), value.clone().into_json(left)?);
                }
                left.leave();
                Value::Object(made)
            }
        })
    }

    /// Converts it to the output of an expression.
    pub(super) fn into_made(self, room: &mut SizeBudget) -> Result<TemplateOutput, EvalHalt> {
        Ok(match self {
            Self::Amount(amount) => TemplateOutput::Amount(amount),
            Self::Time(ms) if ms >= 0 => TemplateOutput::Time(Time::from_ms(ms.cast_unsigned())),
            other => TemplateOutput::Json(other.into_json(room)?),
        })
    }
}

/// Bytes that a list element or an object entry counts, beside its text.
const ELEMENT_BYTES: usize = 4;

/// Maximum nesting of a result, equal to that of a request's body. Stored JSON is read back only up
/// to 128 levels, and each level takes stack where it is written, read and dropped.
const DEPTH_MAX: usize = 64;

/// Remaining size of a result, current depth, and number of values copied into it.
#[derive(Debug)]
pub(super) struct SizeBudget {
    bytes: usize,
    depth: usize,
    values: usize,
}

impl SizeBudget {
    /// Returns the budget of one result.
    pub(super) const fn full() -> Self {
        Self { bytes: RESULT_BYTES_MAX, depth: 0, values: 0 }
    }

    /// Enters a list or an object; [`SizeBudget::leave`] leaves it.
    pub(super) fn enter(&mut self) -> Result<(), EvalHalt> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(failed("the result is nested deeper than 64 levels; make it flatter"));
        }
        Ok(())
    }

    pub(super) const fn leave(&mut self) {
        self.depth -= 1;
    }

    /// Returns the steps that filling the result took: each value is allocated, and its bytes are
    /// copied.
    pub(super) fn steps(&self) -> u32 {
        let steps = self.values + (RESULT_BYTES_MAX - self.bytes) / BYTES_A_STEP;
        u32::try_from(steps).unwrap_or(u32::MAX)
    }
}

fn take(left: &mut SizeBudget, bytes: usize) -> Result<(), EvalHalt> {
    left.bytes = left
        .bytes
        .checked_sub(bytes)
        .ok_or_else(|| failed("the result is larger than 64 KiB; make less of it at once"))?;
    left.values += 1;
    Ok(())
}

/// Copies a value and stops when it is too large.
fn copied(value: &Value, left: &mut SizeBudget) -> Result<Value, EvalHalt> {
    left.values += 1;
    Ok(match value {
        Value::String(text) => {
            take(left, text.len())?;
            value.clone()
        }
        Value::Array(elements) => {
            take(left, elements.len() * ELEMENT_BYTES)?;
            left.enter()?;
            let made =
                elements.iter().map(|value| copied(value, left)).collect::<Result<_, _>>()?;
            left.leave();
            Value::Array(made)
        }
        Value::Object(entries) => {
            let mut made = Map::new();
            left.enter()?;
            for (key, value) in entries {
                take(left, ELEMENT_BYTES + key.len())?;
                made.insert(key.clone(), copied(value, left)?);
            }
            left.leave();
            Value::Object(made)
        }
        other => other.clone(),
    })
}

fn unlike(left: &ExprValue<'_>, right: &ExprValue<'_>) -> EvalHalt {
    let hint = match (left, right) {
        (ExprValue::Amount(_), ExprValue::Text(_) | ExprValue::Int(_) | ExprValue::Double(_))
        | (ExprValue::Text(_) | ExprValue::Int(_) | ExprValue::Double(_), ExprValue::Amount(_)) => {
            "; make an amount of it with amount(...)"
        }
        (ExprValue::Time(_), ExprValue::Text(_)) | (ExprValue::Text(_), ExprValue::Time(_)) => {
            "; make a time of it with timestamp(...)"
        }
        (ExprValue::Span(_), ExprValue::Text(_)) | (ExprValue::Text(_), ExprValue::Span(_)) => {
            "; make a duration of it with duration(...)"
        }
        _ => "",
    };
    failed(format!("{} and {} cannot be compared{hint}", left.what(), right.what()))
}

/// Compares an integer to a double, exactly; `None`: the double is not a number.
fn int_double(int: i64, double: f64) -> Option<Ordering> {
    /// 2^63: the first double that no `i64` reaches.
    const BEYOND: f64 = 9_223_372_036_854_775_808.0;
    if double.is_nan() {
        return None;
    }
    if double >= BEYOND {
        return Some(Ordering::Less);
    }
    if double < -BEYOND {
        return Some(Ordering::Greater);
    }
    #[allow(clippy::cast_possible_truncation, reason = "within the range of i64")]
    let whole = double.trunc() as i64;
    Some(int.cmp(&whole).then_with(|| 0.0_f64.total_cmp(&(double.fract() + 0.0))))
}

/// Remaining steps of an evaluation. A step is about as much work as one node.
#[derive(Debug)]
pub(super) struct Fuel(u32);

/// Steps of one evaluation: some milliseconds.
pub(super) const STEPS_MAX: u32 = 100_000;

/// Number of bytes that are read or copied for one step.
const BYTES_A_STEP: usize = 64;

impl Fuel {
    /// Returns a full budget.
    pub(super) const fn full() -> Self {
        Self(STEPS_MAX)
    }

    /// Takes steps from the budget.
    pub(super) fn burn(&mut self, steps: u32) -> Result<(), EvalHalt> {
        let left = self.0.checked_sub(steps);
        // An empty budget stays empty, so that code which swallows errors gets no further.
        self.0 = left.unwrap_or(0);
        if left.is_some() {
            return Ok(());
        }
        Err(failed(format!("it takes more than {STEPS_MAX} steps; look at fewer elements at once")))
    }

    /// Takes the steps of work on this number of bytes.
    pub(super) fn burn_bytes(&mut self, bytes: usize) -> Result<(), EvalHalt> {
        self.burn(u32::try_from(bytes / BYTES_A_STEP).unwrap_or(u32::MAX))
    }

    /// Takes the steps of work on this number of elements.
    pub(super) fn burn_elements(&mut self, elements: usize) -> Result<(), EvalHalt> {
        self.burn(u32::try_from(elements).unwrap_or(u32::MAX))
    }

    /// Returns the remaining steps.
    pub(super) const fn left(&self) -> u32 {
        self.0
    }
}
