//! Checks the keywords of a schema and closes its objects.

use jsonschema::Draft;
use serde_json::{Map, Value};

use super::{AMOUNT, SchemaFault, options, within};
use crate::engine::expression::nearest;

/// Maximum depth of a schema.
const DEPTH_MAX: usize = 16;

/// Maximum number of schemas in one, counting referenced schemas at each reference: this limits the
/// schemas that check one value of an input.
pub(super) const SCHEMAS_MAX: usize = 500;

/// Maximum number of reported faults.
const FAULTS_MAX: usize = 50;

/// Kind of a keyword's value.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Holds {
    /// A value without schemas.
    Plain,
    /// A schema for the same value.
    Here,
    /// Schemas for the same value.
    HereList,
    /// Schemas for the same value, by key.
    HereMap,
    /// A schema that is only a condition: nothing in it is closed.
    Asks,
    /// A schema for a part.
    Part,
    /// Schemas for parts.
    PartList,
    /// Schemas for parts, by key.
    PartMap,
    /// A schema for values that other keywords do not cover.
    Unseen,
    /// Schemas for parts, by pattern.
    UnseenMap,
    /// Schemas that references name.
    Definitions,
}

/// Keywords of the dialect.
const KEYWORDS: &[(&str, Holds)] = &[
    ("$schema", Holds::Plain),
    ("$ref", Holds::Plain),
    ("$defs", Holds::Definitions),
    ("$comment", Holds::Plain),
    ("type", Holds::Plain),
    ("enum", Holds::Plain),
    ("const", Holds::Plain),
    ("multipleOf", Holds::Plain),
    ("maximum", Holds::Plain),
    ("exclusiveMaximum", Holds::Plain),
    ("minimum", Holds::Plain),
    ("exclusiveMinimum", Holds::Plain),
    ("maxLength", Holds::Plain),
    ("minLength", Holds::Plain),
    ("pattern", Holds::Plain),
    ("items", Holds::Part),
    ("prefixItems", Holds::PartList),
    ("contains", Holds::Asks),
    ("maxContains", Holds::Plain),
    ("minContains", Holds::Plain),
    ("maxItems", Holds::Plain),
    ("minItems", Holds::Plain),
    ("uniqueItems", Holds::Plain),
    ("properties", Holds::PartMap),
    ("patternProperties", Holds::UnseenMap),
    ("additionalProperties", Holds::Part),
    ("propertyNames", Holds::Asks),
    ("required", Holds::Plain),
    ("maxProperties", Holds::Plain),
    ("minProperties", Holds::Plain),
    ("dependentRequired", Holds::Plain),
    ("dependentSchemas", Holds::HereMap),
    ("allOf", Holds::HereList),
    ("anyOf", Holds::HereList),
    ("oneOf", Holds::HereList),
    ("not", Holds::Asks),
    ("if", Holds::Asks),
    ("then", Holds::Here),
    ("else", Holds::Here),
    ("unevaluatedItems", Holds::Unseen),
    ("unevaluatedProperties", Holds::Unseen),
    ("format", Holds::Plain),
    ("contentEncoding", Holds::Plain),
    ("contentMediaType", Holds::Plain),
    ("title", Holds::Plain),
    ("description", Holds::Plain),
    ("default", Holds::Plain),
    ("deprecated", Holds::Plain),
    ("readOnly", Holds::Plain),
    ("writeOnly", Holds::Plain),
    ("examples", Holds::Plain),
];

/// Context of a schema.
#[derive(Clone, Copy)]
struct Place {
    depth: usize,
    /// True if it closes its own object: it is for a value of its own.
    closes: bool,
    /// True if it is only a condition: nothing in it is closed.
    asks: bool,
}

/// Returns the schema with its objects closed.
pub(super) fn closed(schema: &Value) -> Result<Value, Vec<SchemaFault>> {
    let mut walk = Walk { faults: Vec::new(), schemas: 0 };
    let root = Place { depth: 0, closes: true, asks: false };
    let closed = walk.schema(schema, "", root);
    if walk.faults.is_empty() {
        let mut routes = Routes { root: &closed, within: Vec::new(), schemas: 0, fault: None };
        routes.follow(&closed, "", true);
        walk.faults.extend(routes.fault);
    }
    if walk.faults.is_empty() { Ok(closed) } else { Err(walk.faults) }
}

/// Follows references, counts the schemas that they lead to, and refuses loops.
struct Routes<'s> {
    root: &'s Value,
    /// Chain of references that led here.
    within: Vec<&'s str>,
    schemas: usize,
    fault: Option<SchemaFault>,
}

impl<'s> Routes<'s> {
    /// Follows the references of a schema. `stored`: whether [`super::shape`] reads it, so that
    /// `writeOnly` is obeyed.
    fn follow(&mut self, schema: &'s Value, pointer: &str, stored: bool) {
        self.schemas += 1;
        let Value::Object(entries) = schema else { return };
        if self.schemas > SCHEMAS_MAX {
            let message = format!("with its references it has more than {SCHEMAS_MAX} schemas");
            self.fault.get_or_insert((String::new(), message));
        }
        if self.fault.is_some() {
            return;
        }
        if !stored && entries.get("writeOnly") == Some(&Value::Bool(true)) {
            let message = "`writeOnly` belongs to a property or to the elements of a list";
            self.fault = Some((pointer.to_owned(), message.to_owned()));
        }
        if let Some(Value::String(target)) = entries.get("$ref") {
            let at = within(pointer, "$ref");
            let found = target.strip_prefix('#').and_then(|to| self.root.pointer(to));
            match found {
                None => self.fault = Some((at, format!("there is no {target}"))),
                Some(_) if self.within.contains(&target.as_str()) => {
                    self.fault = Some((at, format!("{target} leads back to itself")));
                }
                Some(found) => {
                    self.within.push(target);
                    self.follow(found, &at, stored);
                    self.within.pop();
                }
            }
        }
        for (keyword, value) in entries {
            let holds = KEYWORDS.iter().find(|(known, _)| known == keyword);
            let holds = holds.map_or(Holds::Plain, |(_, holds)| *holds);
            let at = within(pointer, keyword);
            let seen = !matches!(holds, Holds::Asks | Holds::Unseen | Holds::UnseenMap);
            match (holds, value) {
                (Holds::Plain | Holds::Definitions, _) => {}
                (_, Value::Array(parts)) => {
                    for (place, part) in parts.iter().enumerate() {
                        self.follow(part, &format!("{at}/{place}"), stored && seen);
                    }
                }
                (Holds::HereMap | Holds::PartMap | Holds::UnseenMap, Value::Object(parts)) => {
                    for (key, part) in parts {
                        self.follow(part, &within(&at, key), stored && seen);
                    }
                }
                (_, part) => self.follow(part, &at, stored && seen),
            }
        }
    }
}

struct Walk {
    faults: Vec<SchemaFault>,
    schemas: usize,
}

impl Walk {
    fn fault(&mut self, pointer: &str, message: impl Into<String>) {
        if self.faults.len() < FAULTS_MAX {
            self.faults.push((pointer.to_owned(), message.into()));
        }
    }

    fn schema(&mut self, schema: &Value, pointer: &str, place: Place) -> Value {
        self.schemas += 1;
        if self.schemas > SCHEMAS_MAX || place.depth > DEPTH_MAX {
            let message = format!(
                "a schema has at most {SCHEMAS_MAX} schemas in it, nested {DEPTH_MAX} deep"
            );
            if self.faults.iter().all(|(_, told)| *told != message) {
                self.fault(pointer, message);
            }
            return Value::Bool(true);
        }
        let entries = match schema {
            Value::Object(entries) => entries,
            Value::Bool(_) => return schema.clone(),
            _ => {
                self.fault(pointer, "a schema is an object, or true or false");
                return Value::Bool(true);
            }
        };
        let mut made = Map::new();
        for (keyword, value) in entries {
            let at = within(pointer, keyword);
            let holds =
                KEYWORDS.iter().find(|(known, _)| known == keyword).map(|(_, holds)| *holds);
            let value = match holds {
                Some(holds) => self.keyword(holds, value, &at, place),
                None if keyword.starts_with("x-") => value.clone(),
                None => {
                    self.unknown(keyword, &at);
                    continue;
                }
            };
            made.insert(keyword.clone(), value);
        }
        self.plain(entries, pointer, place);
        if place.closes && !place.asks {
            close(&mut made);
        }
        Value::Object(made)
    }

    fn unknown(&mut self, keyword: &str, pointer: &str) {
        let hint = match keyword {
            "definitions" => "; it is called `$defs`".to_owned(),
            "dependencies" => "; there are `dependentRequired` and `dependentSchemas`".to_owned(),
            "additionalItems" => "; there are `prefixItems` and `items`".to_owned(),
            "nullable" => "; write type: [string, \"null\"]".to_owned(),
            "$id" | "$anchor" | "$dynamicRef" | "$dynamicAnchor" => {
                "; references go to #/$defs/NAME".to_owned()
            }
            _ => nearest(keyword, KEYWORDS.iter().map(|(known, _)| *known))
                .map_or_else(String::new, |near| format!("; did you mean `{near}`?")),
        };
        let message =
            format!("`{keyword}` is no keyword here{hint} (keywords of your own begin with `x-`)");
        self.fault(pointer, message);
    }

    fn keyword(&mut self, holds: Holds, value: &Value, pointer: &str, place: Place) -> Value {
        let deeper = Place { depth: place.depth + 1, ..place };
        let here = Place { closes: false, ..deeper };
        let asks = Place { closes: false, asks: true, ..deeper };
        let part = Place { closes: true, ..deeper };
        match holds {
            Holds::Plain => value.clone(),
            Holds::Here => self.schema(value, pointer, here),
            Holds::Asks => self.schema(value, pointer, asks),
            Holds::Part | Holds::Unseen => self.schema(value, pointer, part),
            Holds::HereList => self.list(value, pointer, here),
            Holds::PartList => self.list(value, pointer, part),
            Holds::PartMap | Holds::UnseenMap => self.map(value, pointer, part),
            // The schema that references a definition closes it: it may be one of several parts of
            // an object.
            Holds::HereMap | Holds::Definitions => self.map(value, pointer, here),
        }
    }

    fn list(&mut self, value: &Value, pointer: &str, place: Place) -> Value {
        let Value::Array(elements) = value else {
            self.fault(pointer, "this is a list of schemas");
            return value.clone();
        };
        let each = elements.iter().enumerate();
        each.map(|(at, schema)| self.schema(schema, &format!("{pointer}/{at}"), place)).collect()
    }

    fn map(&mut self, value: &Value, pointer: &str, place: Place) -> Value {
        let Value::Object(entries) = value else {
            self.fault(pointer, "this is an object with schemas as its values");
            return value.clone();
        };
        let each = entries.iter();
        let made: Map<_, _> = each
            .map(|(key, schema)| (key.clone(), self.schema(schema, &within(pointer, key), place)))
            .collect();
        Value::Object(made)
    }

    /// Checks rules that the meta-schema does not have.
    fn plain(&mut self, entries: &Map<String, Value>, pointer: &str, place: Place) {
        if let Some(Value::String(format)) = entries.get("format")
            && !options().is_known_format(Draft::Draft202012, format)
        {
            let hint = nearest(format, FORMATS.iter().copied())
                .map_or_else(String::new, |near| format!("; did you mean `{near}`?"));
            let message = format!("`{format}` is no format{hint}");
            self.fault(&within(pointer, "format"), message);
        }
        if let Some(dialect) = entries.get("$schema")
            && dialect.as_str().map(|uri| uri.trim_end_matches('#')) != Some(DIALECT)
        {
            self.fault(&within(pointer, "$schema"), format!("the dialect is {DIALECT}"));
        }
        if entries.get("writeOnly") == Some(&Value::Bool(true)) && place.depth == 0 {
            let message = "`writeOnly` belongs to a property or to the elements of a list";
            self.fault(&within(pointer, "writeOnly"), message);
        }
        if let Some(target) = entries.get("$ref")
            && !target.as_str().is_some_and(|target| target.starts_with("#/$defs/"))
        {
            self.fault(&within(pointer, "$ref"), "references go to #/$defs/NAME");
        }
        if entries.contains_key("$defs") && place.depth > 0 {
            self.fault(&within(pointer, "$defs"), "`$defs` belongs to the top of the schema");
        }
        self.required(entries, pointer, place);
    }

    /// Reports a required property that a closed object does not declare: it could never be given.
    fn required(&mut self, entries: &Map<String, Value>, pointer: &str, place: Place) {
        let (Some(Value::Array(required)), Some(Value::Object(properties))) =
            (entries.get("required"), entries.get("properties"))
        else {
            return;
        };
        let elsewhere = |keyword: &&str| entries.contains_key(*keyword);
        if !place.closes || place.asks || COMPOSES.iter().chain(&OPENS).any(elsewhere) {
            return;
        }
        for (at, name) in required.iter().enumerate() {
            if let Some(name) = name.as_str().filter(|name| !properties.contains_key(*name)) {
                let hint = nearest(name, properties.keys().map(String::as_str))
                    .map_or_else(String::new, |near| format!("; did you mean `{near}`?"));
                let message = format!("`{name}` is required and is none of the properties{hint}");
                self.fault(&format!("{}/{at}", within(pointer, "required")), message);
            }
        }
    }
}

const DIALECT: &str = "https://json-schema.org/draft/2020-12/schema";

/// Keywords by which other schemas apply to the same object.
const COMPOSES: [&str; 7] = ["$ref", "allOf", "anyOf", "oneOf", "then", "else", "dependentSchemas"];

/// Keywords by which a schema itself allows other properties.
const OPENS: [&str; 3] = ["additionalProperties", "unevaluatedProperties", "patternProperties"];

/// Common formats, for "did you mean".
const FORMATS: [&str; 12] = [
    AMOUNT,
    "date",
    "time",
    "date-time",
    "duration",
    "email",
    "uuid",
    "uri",
    "hostname",
    "ipv4",
    "ipv6",
    "regex",
];

/// Closes an object, unless it says itself which other properties it allows.
fn close(schema: &mut Map<String, Value>) {
    if OPENS[..2].iter().any(|keyword| schema.contains_key(*keyword)) || !is_object(schema) {
        return;
    }
    let composed = COMPOSES.iter().any(|keyword| schema.contains_key(*keyword));
    // Several schemas are composed: their properties are known only after all of them were applied.
    let keyword = if composed { "unevaluatedProperties" } else { "additionalProperties" };
    schema.insert(keyword.to_owned(), Value::Bool(false));
}

/// Returns whether a schema may be for objects. A schema with a reference counts as one.
fn is_object(schema: &Map<String, Value>) -> bool {
    let says = |value: &Value| match value {
        Value::String(kind) => kind == "object",
        Value::Array(kinds) => kinds.iter().any(|kind| kind == "object"),
        _ => false,
    };
    schema.get("type").is_some_and(says)
        || ["properties", "patternProperties", "$ref", "dependentSchemas"]
            .iter()
            .any(|keyword| schema.contains_key(*keyword))
        || ["allOf", "anyOf", "oneOf", "then", "else"].iter().any(|keyword| {
            match schema.get(*keyword) {
                Some(Value::Array(parts)) => {
                    parts.iter().any(|part| part.as_object().is_some_and(is_object))
                }
                Some(Value::Object(part)) => is_object(part),
                _ => false,
            }
        })
}
