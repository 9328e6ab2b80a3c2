//! Parts of a value according to all composed schemas together: its properties, their types, and
//! which of them are never stored.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Map, Number, Value};

use super::{AMOUNT, SchemaFault};
use crate::engine::expression::Type;

/// Maximum number of nulls that completing an input adds: a short list of empty objects must not
/// grow a hundredfold. Properties beyond this stay absent.
const NULLS_MAX: usize = 10_000;

/// Maximum depth of nested schemas, including references.
const DEPTH_MAX: usize = 48;

/// Known properties of a value.
#[derive(Clone, Debug)]
pub(super) struct Shape {
    /// Its type; for lists and objects without their parts.
    kind: Type,
    properties: BTreeMap<Arc<str>, Shape>,
    /// True if there may be properties that are not declared.
    open: bool,
    /// Shape of properties that are not declared.
    others: Option<Box<Shape>>,
    /// Shape of elements after those of `prefix`.
    items: Option<Box<Shape>>,
    prefix: Vec<Shape>,
    /// True if it is never stored.
    secret: bool,
}

impl Shape {
    /// Returns the shape of an unknown value.
    const fn any() -> Self {
        Self {
            kind: Type::Any,
            properties: BTreeMap::new(),
            open: true,
            others: None,
            items: None,
            prefix: Vec::new(),
            secret: false,
        }
    }

    /// Returns the shape of a closed schema.
    pub(super) fn of(schema: &Value) -> Result<Self, Vec<SchemaFault>> {
        let shape = Layout { root: schema }.of(schema, false, 0);
        if !matches!(shape.kind, Type::Object { .. }) {
            let message = "an input is an object: write `type: object`".to_owned();
            return Err(vec![(String::new(), message)]);
        }
        Ok(shape)
    }

    /// Returns its type, with all its parts.
    pub(super) fn kind(&self) -> Type {
        match &self.kind {
            Type::Object { .. } => Type::Object {
                keys: self
                    .properties
                    .iter()
                    .map(|(key, of)| (Arc::clone(key), of.kind()))
                    .collect(),
                open: self.open,
            },
            Type::List(_) => {
                let rest = self.items.as_ref().map_or(Type::Any, |items| items.kind());
                let prefix = self.prefix.iter().map(Self::kind);
                Type::List(Box::new(prefix.fold(rest, |left, right| left.or(&right))))
            }
            kind => kind.clone(),
        }
    }

    /// Returns the names of its properties.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.properties.keys().map(|name| &**name)
    }

    /// Returns the shape of a part, by its key or index.
    pub(super) fn part(&self, key: &str) -> Option<&Self> {
        let at = || key.parse().ok().and_then(|at: usize| self.element(at));
        self.properties.get(key).or(self.others.as_deref()).or_else(at)
    }

    fn element(&self, at: usize) -> Option<&Self> {
        self.prefix.get(at).or(self.items.as_deref())
    }

    /// Returns the value with null for each declared property that is absent, at every depth.
    pub(super) fn completed(&self, value: &Value) -> Value {
        self.complete(value, &mut NULLS_MAX.clone())
    }

    fn complete(&self, value: &Value, nulls: &mut usize) -> Value {
        match value {
            Value::Object(entries) => {
                let mut made = Map::new();
                for (key, value) in entries {
                    let shape = self.properties.get(key.as_str()).or(self.others.as_deref());
                    let value = shape.map_or_else(|| value.clone(), |of| of.complete(value, nulls));
                    made.insert(key.clone(), value);
                }
                for key in self.properties.keys().filter(|key| !entries.contains_key(&***key)) {
                    let Some(left) = nulls.checked_sub(1) else { break };
                    *nulls = left;
                    made.insert(key.to_string(), Value::Null);
                }
                Value::Object(made)
            }
            Value::Array(elements) => elements
                .iter()
                .enumerate()
                .map(|(at, value)| match self.element(at) {
                    Some(of) => of.complete(value, nulls),
                    None => value.clone(),
                })
                .collect(),
            Value::Number(number) if self.kind == Type::Int => {
                whole(number).map_or_else(|| value.clone(), Value::from)
            }
            other => other.clone(),
        }
    }

    /// Returns the value without secret parts; `None`: all of it is secret.
    pub(super) fn storable(&self, value: &Value) -> Option<Value> {
        if self.secret {
            return None;
        }
        Some(match value {
            Value::Object(entries) => {
                let mut made = Map::new();
                for (key, value) in entries {
                    let shape = self.properties.get(key.as_str()).or(self.others.as_deref());
                    let stored = shape.map_or_else(|| Some(value.clone()), |of| of.storable(value));
                    if let Some(stored) = stored {
                        made.insert(key.clone(), stored);
                    }
                }
                Value::Object(made)
            }
            Value::Array(elements) => elements
                .iter()
                .enumerate()
                .filter_map(|(at, value)| match self.element(at) {
                    Some(of) => of.storable(value),
                    None => Some(value.clone()),
                })
                .collect(),
            other => other.clone(),
        })
    }

    /// Returns the shape of a value to which both apply.
    fn and(self, other: Self) -> Self {
        Self {
            kind: met(self.kind, other.kind),
            properties: merged(self.properties, other.properties, Self::and),
            open: self.open && other.open,
            others: both(self.others, other.others, Self::and),
            items: both(self.items, other.items, Self::and),
            prefix: zipped(self.prefix, other.prefix, Self::and),
            secret: self.secret || other.secret,
        }
    }

    /// Returns the shape of a value to which one of them applies. A part that is secret in one is
    /// secret.
    fn or(self, other: Self) -> Self {
        Self {
            kind: self.kind.or(&other.kind),
            properties: merged(self.properties, other.properties, Self::or),
            open: self.open || other.open,
            others: both(self.others, other.others, Self::or),
            items: both(self.items, other.items, Self::or),
            prefix: zipped(self.prefix, other.prefix, Self::or),
            secret: self.secret || other.secret,
        }
    }

    /// Returns the same properties with unknown types: other schemas may apply to them too.
    fn doubtful(mut self) -> Self {
        for of in self.properties.values_mut() {
            of.kind = Type::Any;
        }
        self
    }
}

struct Layout<'s> {
    root: &'s Value,
}

impl Layout<'_> {
    /// Returns the shape of a schema. `closed`: whether an enclosing schema for the same value
    /// closes it.
    fn of(&self, schema: &Value, closed: bool, depth: usize) -> Shape {
        let Value::Object(entries) = schema else { return Shape::any() };
        if depth > DEPTH_MAX {
            return Shape::any();
        }
        let rest = ["additionalProperties", "unevaluatedProperties"];
        let own_closed = rest.iter().any(|word| entries.get(*word) == Some(&Value::Bool(false)));
        let closed = closed || own_closed;
        let mut shape = self.own(entries, own_closed, depth);
        let here = |schema: &Value| self.of(schema, closed, depth + 1);
        if let Some(Value::String(target)) = entries.get("$ref")
            && let Some(target) = target.strip_prefix('#').and_then(|to| self.root.pointer(to))
        {
            shape = shape.and(here(target));
        }
        if let Some(Value::Array(parts)) = entries.get("allOf") {
            shape = parts.iter().map(here).fold(shape, Shape::and);
        }
        let certain = |choice: Shape| if closed { choice } else { choice.doubtful() };
        for keyword in ["anyOf", "oneOf"] {
            if let Some(Value::Array(parts)) = entries.get(keyword)
                && let Some(choice) = parts.iter().map(here).reduce(Shape::or)
            {
                shape = shape.and(certain(choice));
            }
        }
        if entries.contains_key("then") || entries.contains_key("else") {
            let branch = |keyword| entries.get(keyword).map_or_else(Shape::any, here);
            shape = shape.and(certain(branch("then").or(branch("else"))));
        }
        if let Some(Value::Object(parts)) = entries.get("dependentSchemas") {
            let choice = parts.values().map(here).fold(Shape::any(), Shape::or);
            shape = shape.and(certain(choice));
        }
        shape
    }

    /// Returns the shape of a schema's own keywords, without composed schemas.
    fn own(&self, entries: &Map<String, Value>, closed: bool, depth: usize) -> Shape {
        let part = |schema: &Value| self.of(schema, false, depth + 1);
        let mut shape = Shape { kind: kind(entries), open: !closed, ..Shape::any() };
        shape.secret = entries.get("writeOnly") == Some(&Value::Bool(true));
        if let Some(Value::Object(properties)) = entries.get("properties") {
            shape.properties =
                properties.iter().map(|(key, of)| (key.as_str().into(), part(of))).collect();
        }
        if let Some(others @ Value::Object(_)) = entries.get("additionalProperties") {
            shape.others = Some(Box::new(part(others)));
        }
        if entries.contains_key("patternProperties") {
            shape.open = true;
        }
        if let Some(items) = entries.get("items") {
            shape.items = Some(Box::new(part(items)));
        }
        if let Some(Value::Array(prefix)) = entries.get("prefixItems") {
            shape.prefix = prefix.iter().map(part).collect();
        }
        shape
    }
}

/// Returns the type that a schema itself declares; for lists and objects without their parts.
fn kind(entries: &Map<String, Value>) -> Type {
    let object = || Type::Object { keys: BTreeMap::new(), open: true };
    let list = || Type::List(Box::new(Type::Any));
    let named = |name: &Value| match name.as_str() {
        Some("string") if entries.get("format").is_some_and(|format| format == AMOUNT) => {
            Type::AmountText
        }
        Some("string") => Type::Text,
        Some("integer") => Type::Int,
        Some("number") => Type::Number,
        Some("boolean") => Type::Bool,
        Some("null") => Type::Null,
        Some("object") => object(),
        Some("array") => list(),
        _ => Type::Any,
    };
    let flat = |kind: Type| match kind {
        Type::Object { .. } => object(),
        Type::List(_) => list(),
        other => other,
    };
    match (entries.get("type"), entries.get("enum"), entries.get("const")) {
        (Some(Value::Array(several)), _, _) => {
            several.iter().map(named).reduce(|left, right| left.or(&right)).unwrap_or(Type::Any)
        }
        (Some(name), _, _) => named(name),
        (None, Some(Value::Array(values)), _) => {
            let kinds = values.iter().map(|value| flat(Type::of(value)));
            kinds.reduce(|left, right| left.or(&right)).unwrap_or(Type::Any)
        }
        (None, None, Some(value)) => flat(Type::of(value)),
        _ if entries.contains_key("properties") => object(),
        _ => Type::Any,
    }
}

/// Returns the type of a value that has both types.
fn met(left: Type, right: Type) -> Type {
    match (left, right) {
        (left, right) if left == right => left,
        (Type::Any, other) | (other, Type::Any) => other,
        (Type::AmountText, Type::Text) | (Type::Text, Type::AmountText) => Type::AmountText,
        (Type::Int, Type::Number) | (Type::Number, Type::Int) => Type::Int,
        _ => Type::Any,
    }
}

fn merged(
    mut left: BTreeMap<Arc<str>, Shape>,
    right: BTreeMap<Arc<str>, Shape>,
    merge: fn(Shape, Shape) -> Shape,
) -> BTreeMap<Arc<str>, Shape> {
    for (key, shape) in right {
        let shape = match left.remove(&key) {
            Some(own) => merge(own, shape),
            None => shape,
        };
        left.insert(key, shape);
    }
    left
}

fn both(
    left: Option<Box<Shape>>,
    right: Option<Box<Shape>>,
    merge: fn(Shape, Shape) -> Shape,
) -> Option<Box<Shape>> {
    match (left, right) {
        (Some(left), Some(right)) => Some(Box::new(merge(*left, *right))),
        (one, other) => one.or(other),
    }
}

fn zipped(left: Vec<Shape>, right: Vec<Shape>, merge: fn(Shape, Shape) -> Shape) -> Vec<Shape> {
    let (mut left, mut right) = (left.into_iter(), right.into_iter());
    let mut made = Vec::new();
    loop {
        made.push(match (left.next(), right.next()) {
            (Some(left), Some(right)) => merge(left, right),
            (Some(one), None) | (None, Some(one)) => one,
            (None, None) => return made,
        });
    }
}

/// Returns the integer equal to a number with a fraction of zero.
fn whole(number: &Number) -> Option<i64> {
    /// Maximum integer up to which a double holds every integer: 2^53.
    const EXACT_MAX: f64 = 9_007_199_254_740_992.0;
    let double = number.as_f64().filter(|_| number.is_f64())?;
    if double.fract() != 0.0 || double.abs() > EXACT_MAX {
        return None;
    }
    #[allow(clippy::cast_possible_truncation, reason = "a whole number below 2^53")]
    let whole = double as i64;
    Some(whole)
}
