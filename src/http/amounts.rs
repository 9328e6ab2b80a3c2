//! Amounts as callers write them: decimal strings, or integers of whole major units. A JSON
//! number with a fraction may have been rounded on its way and is refused.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Deserialize, Deserializer, Visitor};

use super::problem::{Code, FieldError, Problem};
use crate::types::Decimal;

/// An amount as it was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Amount {
    /// This number.
    Exact(Decimal),
    /// A JSON number with a fraction or an exponent.
    Inexact,
}

impl Amount {
    /// The number.
    ///
    /// # Errors
    /// [`Code::AmountNotExact`].
    pub(super) fn exact(self, pointer: &str) -> Result<Decimal, Problem> {
        match self {
            Self::Exact(number) => Ok(number),
            Self::Inexact => {
                let message = "a JSON number with a fraction is not exact; send a decimal string";
                let error = FieldError::new(pointer, "amount-not-exact", message);
                Err(Problem::new(Code::AmountNotExact, message).with_errors(vec![error]))
            }
        }
    }
}

impl<'de> Deserialize<'de> for Amount {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Reading)
    }
}

struct Reading;

impl Visitor<'_> for Reading {
    type Value = Amount;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a decimal string like \"12.50\" or an integer")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Amount, E> {
        text.parse().map(Amount::Exact).map_err(E::custom)
    }

    fn visit_i64<E>(self, whole: i64) -> Result<Amount, E> {
        Ok(Amount::Exact(Decimal::whole(whole)))
    }

    fn visit_u64<E: serde::de::Error>(self, whole: u64) -> Result<Amount, E> {
        match i64::try_from(whole) {
            Ok(whole) => self.visit_i64(whole),
            Err(_) => self.visit_str(&whole.to_string()),
        }
    }

    fn visit_f64<E>(self, _: f64) -> Result<Amount, E> {
        Ok(Amount::Inexact)
    }
}

impl JsonSchema for Amount {
    fn schema_name() -> Cow<'static, str> {
        "Amount".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A decimal string with at most the asset's digits after the point, or \
                            an integer of whole major units.",
            "anyOf": [
                { "type": "string", "pattern": "^(0|[1-9][0-9]{0,18})(\\.[0-9]{1,18})?$" },
                { "type": "integer", "minimum": 0, "maximum": i64::MAX },
            ],
        })
    }
}

/// A floor: an amount that may be below zero.
pub(super) fn floor(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "description": "The least that may be available: a decimal string or an integer; `null`: \
                        no limit.",
        "anyOf": [
            { "type": "string", "pattern": "^-?(0|[1-9][0-9]{0,18})(\\.[0-9]{1,18})?$" },
            { "type": "integer", "minimum": i64::MIN, "maximum": 0 },
            { "type": "null" },
        ],
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panic")]

    use serde::Deserialize;
    use serde_json::{Value, json};

    use super::Amount;
    use crate::http::problem::Code;
    use crate::http::strict_json;

    #[derive(Debug, Deserialize)]
    struct Body {
        amount: Amount,
    }

    fn read(amount: &Value) -> Result<String, Code> {
        let body: Body =
            strict_json::read(json!({ "amount": amount })).map_err(|problem| problem.code)?;
        let exact = body.amount.exact("/amount");
        exact.map(|number| number.to_string()).map_err(|problem| problem.code)
    }

    #[test]
    fn an_amount_is_a_decimal_string_or_an_integer() {
        for (amount, text) in [
            (json!("12.50"), "12.50"),
            (json!(12), "12"),
            (json!(-3), "-3"),
            (json!(1_u64 << 63), "9223372036854775808"),
        ] {
            assert_eq!(read(&amount).unwrap(), text);
        }
        for amount in [json!(12.5), json!(12.0), json!(1e30)] {
            assert_eq!(read(&amount).unwrap_err(), Code::AmountNotExact, "{amount}");
        }
        for amount in [json!("1e3"), json!("12,5"), json!(null), json!(true), json!([1])] {
            assert_eq!(read(&amount).unwrap_err(), Code::InvalidInput, "{amount}");
        }
    }
}
