//! From a JSON value to a handler's type, with a JSON Pointer to the fault.
//!
//! The types are read strictly as `serde` derives it with `deny_unknown_fields`; this reader adds
//! the location and the kind of a fault, and never converts: `"1"` is no 1.

use std::fmt;

use serde::de::value::StrDeserializer;
use serde::de::{
    DeserializeOwned, DeserializeSeed, Deserializer, EnumAccess, Error as _, Expected, MapAccess,
    SeqAccess, Unexpected, VariantAccess, Visitor,
};
use serde::forward_to_deserialize_any;
use serde_json::{Map, Value};

use super::problem::{FieldError, Problem};

/// Reads `value` as a `T`.
///
/// # Errors
/// `invalid-input` with the location of the first fault.
pub fn read<T: DeserializeOwned>(value: Value) -> Result<T, Problem> {
    T::deserialize(Shape(value)).map_err(|fault| {
        Problem::fields(vec![FieldError::new(fault.pointer, fault.code, fault.message)])
    })
}

/// Reads the value of a field as a `T`.
///
/// # Errors
/// As [`read`], with the location in the whole body.
pub fn read_field<T: DeserializeOwned>(field: &str, value: Value) -> Result<T, Problem> {
    T::deserialize(Shape(value)).map_err(|fault| {
        let fault = fault.within(field);
        Problem::fields(vec![FieldError::new(fault.pointer, fault.code, fault.message)])
    })
}

/// A fault of the input and its location.
#[derive(Debug)]
struct Fault {
    pointer: String,
    code: &'static str,
    message: String,
}

impl Fault {
    fn new(code: &'static str, message: String) -> Self {
        Self { pointer: String::new(), code, message }
    }

    fn within(self, segment: &str) -> Self {
        Self { pointer: format!("/{}{}", escaped(segment), self.pointer), ..self }
    }
}

fn escaped(segment: &str) -> String {
    segment.replace('~', "~0").replace('/', "~1")
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Fault {}

impl serde::de::Error for Fault {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::new("invalid-value", message.to_string())
    }

    fn invalid_type(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::new("wrong-type", format!("expected {expected}, found {}", kind(found)))
    }

    fn invalid_value(_: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::new("invalid-value", format!("expected {expected}"))
    }

    fn unknown_variant(_: &str, expected: &'static [&'static str]) -> Self {
        Self::new("invalid-value", format!("expected one of: {}", expected.join(", ")))
    }

    fn unknown_field(field: &str, expected: &'static [&'static str]) -> Self {
        let known = expected.join(", ");
        Self::new("unknown-field", format!("there is no such field; known: {known}")).within(field)
    }

    fn missing_field(field: &'static str) -> Self {
        Self::new("missing-field", "the field is missing".to_owned()).within(field)
    }
}

/// The type alone: a wrong value may be a secret in the wrong place and is not repeated.
fn kind(found: Unexpected<'_>) -> &'static str {
    match found {
        Unexpected::Bool(_) => "a boolean",
        Unexpected::Unsigned(_) | Unexpected::Signed(_) => "an integer",
        Unexpected::Float(_) => "a number",
        Unexpected::Str(_) | Unexpected::Char(_) => "a string",
        Unexpected::Unit | Unexpected::Option => "null",
        Unexpected::Seq => "an array",
        Unexpected::Map => "an object",
        _ => "something else",
    }
}

struct Shape(Value);

impl<'de> Deserializer<'de> for Shape {
    type Error = Fault;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match self.0 {
            Value::Null => visitor.visit_unit(),
            Value::Bool(value) => visitor.visit_bool(value),
            Value::String(value) => visitor.visit_string(value),
            Value::Array(items) => visitor.visit_seq(Items { items: items.into_iter(), at: 0 }),
            Value::Object(map) => {
                visitor.visit_map(Entries { entries: map.into_iter(), current: None })
            }
            Value::Number(number) => {
                if let Some(value) = number.as_u64() {
                    visitor.visit_u64(value)
                } else if let Some(value) = number.as_i64() {
                    visitor.visit_i64(value)
                } else {
                    visitor.visit_f64(number.as_f64().unwrap_or_default())
                }
            }
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match self.0 {
            Value::Null => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Fault> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        match self.0 {
            Value::String(name) => visitor.visit_enum(Named(name)),
            other => Err(Fault::invalid_type(unexpected(&other), &"a string")),
        }
    }

    /// An array is no struct, though `serde` would read one as its fields in order.
    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        match self.0 {
            Value::Object(_) => self.deserialize_any(visitor),
            other => Err(Fault::invalid_type(unexpected(&other), &"an object")),
        }
    }

    /// Null is no empty map, though `serde_json` reads it as one.
    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match self.0 {
            Value::Object(_) => self.deserialize_any(visitor),
            other => Err(Fault::invalid_type(unexpected(&other), &"an object")),
        }
    }

    // Values that are free JSON (`serde_json::Value`, `Map`) ask for any; the rest is derived.
    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit
        unit_struct seq tuple tuple_struct identifier ignored_any
    }
}

fn unexpected(value: &Value) -> Unexpected<'_> {
    match value {
        Value::Null => Unexpected::Unit,
        Value::Bool(value) => Unexpected::Bool(*value),
        Value::Number(_) => Unexpected::Float(0.0),
        Value::String(text) => Unexpected::Str(text),
        Value::Array(_) => Unexpected::Seq,
        Value::Object(_) => Unexpected::Map,
    }
}

struct Items {
    items: std::vec::IntoIter<Value>,
    at: usize,
}

impl<'de> SeqAccess<'de> for Items {
    type Error = Fault;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Fault> {
        let Some(item) = self.items.next() else { return Ok(None) };
        let at = self.at;
        self.at += 1;
        seed.deserialize(Shape(item)).map(Some).map_err(|fault| fault.within(&at.to_string()))
    }
}

struct Entries {
    entries: <Map<String, Value> as IntoIterator>::IntoIter,
    current: Option<(String, Value)>,
}

impl<'de> MapAccess<'de> for Entries {
    type Error = Fault;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Fault> {
        let Some((key, value)) = self.entries.next() else { return Ok(None) };
        let read = seed.deserialize(StrDeserializer::new(&key))?;
        self.current = Some((key, value));
        Ok(Some(read))
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Fault> {
        let Some((key, value)) = self.current.take() else {
            return Err(Fault::custom("a value without a key"));
        };
        seed.deserialize(Shape(value)).map_err(|fault| fault.within(&key))
    }
}

struct Named(String);

impl<'de> EnumAccess<'de> for Named {
    type Error = Fault;
    type Variant = UnitOnly;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, UnitOnly), Fault> {
        Ok((seed.deserialize(StrDeserializer::<Fault>::new(&self.0))?, UnitOnly))
    }
}

/// Enums of the API are names.
struct UnitOnly;

impl<'de> VariantAccess<'de> for UnitOnly {
    type Error = Fault;

    fn unit_variant(self) -> Result<(), Fault> {
        Ok(())
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, _: T) -> Result<T::Value, Fault> {
        Err(Fault::custom("expected a name"))
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, _: V) -> Result<V::Value, Fault> {
        Err(Fault::custom("expected a name"))
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        _: &'static [&'static str],
        _: V,
    ) -> Result<V::Value, Fault> {
        Err(Fault::custom("expected a name"))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panic")]

    use serde::Deserialize;
    use serde_json::{Map, Value, json};

    use super::read;

    #[derive(Debug, Deserialize, PartialEq)]
    #[serde(deny_unknown_fields)]
    struct Inner {
        n: u32,
    }

    #[derive(Debug, Deserialize, PartialEq)]
    #[serde(rename_all = "snake_case")]
    enum Kind {
        One,
    }

    #[derive(Debug, Deserialize, PartialEq)]
    #[serde(deny_unknown_fields)]
    struct Outer {
        name: String,
        kind: Option<Kind>,
        #[serde(default)]
        list: Vec<Inner>,
        free: Option<Map<String, Value>>,
    }

    #[derive(Debug, Deserialize, PartialEq)]
    #[serde(deny_unknown_fields)]
    struct Kept {
        data: Map<String, Value>,
    }

    fn fault(value: Value) -> (String, String) {
        let problem = read::<Outer>(value).unwrap_err();
        let error = problem.errors.into_iter().next().unwrap();
        (error.pointer, error.code.into_owned())
    }

    fn at(pointer: &str, code: &str) -> (String, String) {
        (pointer.to_owned(), code.to_owned())
    }

    #[test]
    fn a_fitting_value_is_read_whole() {
        let value = json!({"name": "n", "kind": "one", "list": [{"n": 1}], "free": {"x": [1.5]}});
        let free = json!({"x": [1.5]}).as_object().cloned();
        let expected =
            Outer { name: "n".to_owned(), kind: Some(Kind::One), list: vec![Inner { n: 1 }], free };
        assert_eq!(read::<Outer>(value).unwrap(), expected);
    }

    #[test]
    fn each_fault_has_its_place_and_kind() {
        assert_eq!(fault(json!({})), at("/name", "missing-field"));
        assert_eq!(fault(json!({"name": 1})), at("/name", "wrong-type"));
        assert_eq!(fault(json!({"name": "n", "a/b~": 1})), at("/a~1b~0", "unknown-field"));
        assert_eq!(fault(json!({"name": "n", "kind": "two"})), at("/kind", "invalid-value"));
        assert_eq!(fault(json!({"name": "n", "kind": 2})), at("/kind", "wrong-type"));
        let list = |item: Value| json!({"name": "n", "list": [{"n": 1}, item]});
        assert_eq!(fault(list(json!({"n": "1"}))), at("/list/1/n", "wrong-type"));
        assert_eq!(fault(list(json!({"n": -1}))), at("/list/1/n", "invalid-value"));
        assert_eq!(fault(list(json!({"n": 1.5}))), at("/list/1/n", "wrong-type"));
        assert_eq!(fault(list(json!({"m": 1}))), at("/list/1/m", "unknown-field"));
        assert_eq!(fault(list(json!(null))), at("/list/1", "wrong-type"));
        assert_eq!(fault(json!([])), at("", "wrong-type"));
    }

    #[test]
    fn what_must_be_an_object_is_not_null() {
        for other in [json!(null), json!([]), json!(1), json!("{}")] {
            let problem = read::<Kept>(json!({ "data": other })).unwrap_err();
            assert_eq!(problem.errors[0].pointer, "/data", "{problem:?}");
            assert_eq!(problem.errors[0].code, "wrong-type", "{problem:?}");
        }
        assert_eq!(read::<Kept>(json!({"data": {}})).unwrap(), Kept { data: Map::new() });
    }

    #[test]
    fn a_wrong_value_is_not_repeated_in_the_message() {
        let problem = read::<Outer>(json!({"name": ["hunter2"], "kind": "hunter2"})).unwrap_err();
        assert!(!format!("{problem:?}").contains("hunter2"));
    }
}
