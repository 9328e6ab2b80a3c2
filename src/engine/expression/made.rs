//! Conversions of expression results for the engine.

use serde_json::Value;

use super::TemplateOutput;
use super::functions::decimal;
use super::time::{quoted, time_of};
use super::value::ExprValue;
use crate::types::{Decimal, Time};

impl TemplateOutput {
    /// Returns the value as a boolean.
    ///
    /// # Errors
    /// A message with the kind of the value, if it is no boolean.
    pub fn as_bool(&self) -> Result<bool, String> {
        match self {
            Self::Json(Value::Bool(truth)) => Ok(*truth),
            other => Err(format!("true or false was expected, this is {}", other.what())),
        }
    }

    /// Converts the value to JSON: times as RFC 3339, amounts as they are written without an asset.
    #[must_use]
    pub fn into_json(self) -> Value {
        match self {
            Self::Json(value) => value,
            Self::Amount(amount) => Value::String(amount.settled().to_string()),
            Self::Time(time) => Value::String(time.to_string()),
        }
    }

    /// Returns the value, its text or its whole number as an amount.
    ///
    /// # Errors
    /// A message with the kind of the value, if it is no amount.
    pub fn to_decimal(&self) -> Result<Decimal, String> {
        let not_exact = || {
            "a number with a fraction is not exact; write the amount as a text like \"12.50\""
                .to_owned()
        };
        match self {
            Self::Amount(amount) => Ok(*amount),
            Self::Json(Value::String(text)) => decimal(&ExprValue::text(text.as_str()))
                .map_err(|_| format!("{} is not an amount like \"12.50\"", quoted(text))),
            Self::Json(Value::Number(number)) => {
                number.as_i64().map(Decimal::whole).ok_or_else(not_exact)
            }
            other => Err(format!("an amount was expected, this is {}", other.what())),
        }
    }

    /// Returns the value as a text.
    ///
    /// # Errors
    /// A message with the kind of the value, if it is no text.
    pub fn to_text(&self) -> Result<&str, String> {
        match self {
            Self::Json(Value::String(text)) => Ok(text),
            other => Err(format!("a text was expected, this is {}", other.what())),
        }
    }

    /// Returns the value as a whole number.
    ///
    /// # Errors
    /// A message with the kind of the value, if it is no whole number.
    pub fn to_int(&self) -> Result<i64, String> {
        match self {
            Self::Json(Value::Number(number)) if number.is_i64() => {
                number.as_i64().ok_or_else(|| "the number is too large".to_owned())
            }
            other => Err(format!("a whole number was expected, this is {}", other.what())),
        }
    }

    /// Returns the value, or its text, as a time.
    ///
    /// # Errors
    /// A message with the kind of the value, if it is no time.
    pub fn to_time(&self) -> Result<Time, String> {
        let early = || "the time lies before 1970".to_owned();
        match self {
            Self::Time(time) => Ok(*time),
            Self::Json(Value::String(text)) => {
                let ms = time_of(text).map_err(|_| {
                    format!("{} is not a time like 2026-11-24T10:35:00Z", quoted(text))
                })?;
                u64::try_from(ms).map(Time::from_ms).map_err(|_| early())
            }
            other => Err(format!("a time was expected, this is {}", other.what())),
        }
    }

    /// Returns whether it is null.
    #[must_use]
    pub const fn is_null(&self) -> bool {
        matches!(self, Self::Json(Value::Null))
    }

    const fn what(&self) -> &'static str {
        match self {
            Self::Amount(_) => "an amount",
            Self::Time(_) => "a time",
            Self::Json(Value::Null) => "null",
            Self::Json(Value::Bool(_)) => "a truth value",
            Self::Json(Value::Number(_)) => "a number",
            Self::Json(Value::String(_)) => "a text",
            Self::Json(Value::Array(_)) => "a list",
            Self::Json(Value::Object(_)) => "an object",
        }
    }
}
