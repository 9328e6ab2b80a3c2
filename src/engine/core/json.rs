//! Comparison of JSON values by meaning: numbers are equal if their values are, in any notation
//! (RFC 6902, section 4.6).

use serde_json::{Number, Value};

/// Returns whether two values are equal in meaning.
pub(in crate::engine) fn is_same(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Number(one), Value::Number(other)) => normal(one) == normal(other),
        (Value::Array(one), Value::Array(other)) => {
            one.len() == other.len()
                && one.iter().zip(other).all(|(one, other)| is_same(one, other))
        }
        (Value::Object(one), Value::Object(other)) => {
            let is_in = |(key, one): (&String, &Value)| {
                other.get(key).is_some_and(|other| is_same(one, other))
            };
            one.len() == other.len() && one.iter().all(is_in)
        }
        _ => one == other,
    }
}

/// Returns the compact text of a value; equal values have the same text.
pub(in crate::engine) fn canonical(value: &Value) -> String {
    fn normalized(value: &Value) -> Value {
        match value {
            Value::Number(number) => Value::Number(normal(number)),
            Value::Array(list) => list.iter().map(normalized).collect(),
            Value::Object(object) => {
                let members = object.iter().map(|(key, value)| (key.clone(), normalized(value)));
                Value::Object(members.collect())
            }
            Value::Null | Value::Bool(_) | Value::String(_) => value.clone(),
        }
    }
    normalized(value).to_string()
}

/// Returns a number as an integer, if it is integral and fits into 64 bits.
fn normal(number: &Number) -> Number {
    // The first number above `u64::MAX`, and `i64::MIN`; both are exact as `f64`.
    const BEYOND: f64 = 18_446_744_073_709_551_616.0;
    const LEAST: f64 = -9_223_372_036_854_775_808.0;
    let whole = number.as_f64().filter(|float| number.is_f64() && float.fract() == 0.0);
    match whole {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a whole number within the range"
        )]
        Some(float) if (0.0..BEYOND).contains(&float) => Number::from(float as u64),
        #[expect(clippy::cast_possible_truncation, reason = "a whole number within the range")]
        Some(float) if (LEAST..0.0).contains(&float) => Number::from(float as i64),
        _ => number.clone(),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn read(text: &str) -> Value {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn numbers_are_the_same_by_value_however_they_are_written() {
        for (one, other, same) in [
            ("1", "1.0", true),
            ("1", "1e0", true),
            ("100", "1E2", true),
            ("0", "-0.0", true),
            ("-3", "-3.0", true),
            ("1.5", "15e-1", true),
            ("9007199254740993", "9007199254740992.0", false),
            ("18446744073709551615", "18446744073709551616.0", false),
            ("18446744073709551616", "1.8446744073709551616e19", true),
            ("1", "2", false),
            ("1", "1.5", false),
            ("1", "\"1\"", false),
            ("1", "true", false),
            ("[1, {\"a\": 2}]", "[1.0, {\"a\": 2e0}]", true),
            ("[1, 2]", "[1]", false),
            ("{\"a\": 1}", "{\"a\": 1, \"b\": null}", false),
            ("{\"a\": 1, \"b\": 2}", "{\"b\": 2.0, \"a\": 1.0}", true),
        ] {
            let (one, other) = (read(one), read(other));
            assert_eq!(is_same(&one, &other), same, "{one} and {other}");
            assert_eq!(is_same(&other, &one), same, "{other} and {one}");
            assert_eq!(canonical(&one) == canonical(&other), same, "{one} and {other}");
        }
    }

    /// Texts written before the canonical form existed stay valid, except for whole numbers that
    /// were written with a fraction.
    #[test]
    fn canonical_text_is_the_plain_one_but_for_numbers() {
        let value = read(r#"{"z":"ä\n","a":[1,-2,1.5,null,true,{}],"big":18446744073709551615}"#);
        assert_eq!(canonical(&value), value.to_string());
        assert_eq!(canonical(&read("[1.0]")), "[1]");
    }
}
