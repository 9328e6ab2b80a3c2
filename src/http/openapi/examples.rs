//! Examples of bodies: those that the route table writes down, and for the others one made from
//! the type, with the written ones for the types inside it.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

/// Types inside types that an example shows; below it stays empty.
const DEPTH_MAX: usize = 16;

/// The example of a text about which nothing more is known.
const PLAIN: &str = "text";

/// Texts for fields of these names, where the type says nothing but that it is a text.
const TEXTS: [(&str, &str); 15] = [
    ("action", "retry"),
    ("code", "past-pivot"),
    ("cron", "0 9 * * 1-5"),
    ("description", "Money out, with a one-time code."),
    ("detail", "the account does not have this amount"),
    ("error", "the receiver answered 503"),
    ("message", "must have at least 12 characters"),
    ("name", "Alice"),
    ("note", "Rent for March"),
    ("overlap", "start"),
    ("reason", "asked for by phone"),
    ("reference", "order-4711"),
    ("title", "Bank transfer"),
    ("url", "https://shop.example/events"),
    ("zone", "Europe/Berlin"),
];

/// Gives every JSON body of an OpenAPI document that has none an example.
pub(super) fn complete(document: &mut Value) {
    let schemas = document["components"]["schemas"].clone();
    let mut maker = Maker { schemas: &schemas, known: BTreeMap::new() };
    for_each_content(document, &mut |media, content| {
        let example = content.get("example").or_else(|| content["examples"]["1"].get("value"));
        if let (true, Some(name), Some(example)) =
            (is_json(media), named(&content["schema"]), example)
        {
            maker.known.entry(name.to_owned()).or_insert_with(|| example.clone());
        }
    });
    let mut made = Vec::new();
    for_each_content(document, &mut |media, content| {
        let has_one = content.get("example").or_else(|| content.get("examples")).is_some();
        made.push((!has_one && is_json(media)).then(|| maker.example(&content["schema"], 0)));
    });
    let mut made = made.into_iter();
    for_each_content(document, &mut |_, content| {
        if let Some(Some(example)) = made.next() {
            content["example"] = example;
        }
    });
}

fn is_json(media: &str) -> bool {
    media == "application/json" || media.ends_with("+json")
}

/// Visits the content of every body and every answer that is no problem, in one order.
fn for_each_content(document: &mut Value, visit: &mut dyn FnMut(&str, &mut Value)) {
    let paths = document["paths"].as_object_mut().into_iter().flat_map(Map::values_mut);
    for operation in
        paths.flat_map(|path| path.as_object_mut().into_iter().flat_map(Map::values_mut))
    {
        if let Some(content) = operation.pointer_mut("/requestBody/content") {
            for (media, content) in content.as_object_mut().into_iter().flatten() {
                visit(media, content);
            }
        }
        let answers = operation["responses"].as_object_mut().into_iter().flatten();
        for (_, answer) in answers.filter(|(status, _)| status.starts_with('2')) {
            let content = answer.get_mut("content").and_then(Value::as_object_mut);
            for (media, content) in content.into_iter().flatten() {
                visit(media, content);
            }
        }
    }
}

/// The name of the type that a schema refers to.
fn named(schema: &Value) -> Option<&str> {
    schema["$ref"].as_str()?.strip_prefix("#/components/schemas/")
}

struct Maker<'d> {
    schemas: &'d Value,
    /// Written examples, by the names of their types.
    known: BTreeMap<String, Value>,
}

impl Maker<'_> {
    fn example(&self, schema: &Value, depth: usize) -> Value {
        if depth > DEPTH_MAX {
            return Value::Null;
        }
        if let Some(name) = named(schema) {
            let known = self.known.get(name).cloned();
            return known.unwrap_or_else(|| self.example(&self.schemas[name], depth + 1));
        }
        let written = schema.get("const").or_else(|| schema["examples"].get(0));
        if let Some(written) = written.or_else(|| schema["enum"].get(0)) {
            return written.clone();
        }
        for key in ["oneOf", "anyOf"] {
            let mut alternatives = schema[key].as_array().into_iter().flatten();
            if let Some(first) = alternatives.find(|one| one["type"] != "null") {
                return self.example(first, depth + 1);
            }
        }
        if let Some(parts) = schema["allOf"].as_array() {
            let parts = parts.iter().map(|part| self.example(part, depth + 1));
            let objects = parts.filter_map(|part| part.as_object().cloned());
            return Value::Object(objects.flatten().collect());
        }
        let kind = schema["type"].as_array().map_or(&schema["type"], |kinds| {
            kinds.iter().find(|kind| *kind != "null").unwrap_or(&Value::Null)
        });
        match kind.as_str() {
            Some("object") => self.object(schema, depth),
            Some("array") => match schema.get("items") {
                Some(items) => json!([self.example(items, depth + 1)]),
                None => json!([]),
            },
            Some("string") if schema["format"] == "date-time" => json!("2026-11-24T10:00:00.000Z"),
            Some("string") => json!(PLAIN),
            Some("integer" | "number") => schema.get("minimum").cloned().unwrap_or(json!(1)),
            Some("boolean") => json!(false),
            _ => Value::Null,
        }
    }

    fn object(&self, schema: &Value, depth: usize) -> Value {
        let properties = schema["properties"].as_object().into_iter().flatten();
        let made = properties.map(|(name, of)| {
            let example = self.example(of, depth + 1);
            let text = TEXTS.iter().find(|(known, _)| known == name).map(|(_, text)| *text);
            let example = match (name.as_str(), text) {
                ("next_cursor", _) => Value::Null,
                (_, Some(text)) if example == PLAIN => json!(text),
                _ => example,
            };
            (name.clone(), example)
        });
        Value::Object(made.collect())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panic")]

    use super::*;
    use crate::engine::Rules;
    use crate::http::openapi::document;
    use crate::http::routes::{DEV_ROUTES, ROUTES};

    /// Every JSON body has an example, and each example is of its type.
    #[test]
    fn every_example_is_of_its_type() {
        let mut document = document(ROUTES.iter().chain(DEV_ROUTES), &Rules::default());
        let components = document["components"].clone();
        let (mut wrong, mut count) = (Vec::new(), 0);
        for_each_content(&mut document, &mut |media, content| {
            let several = content["examples"].as_object().into_iter().flatten();
            let mut examples: Vec<Value> = several.map(|(_, one)| one["value"].clone()).collect();
            examples.extend(content.get("example").cloned());
            if is_json(media) && examples.is_empty() {
                wrong.push(format!("{} has no example", content["schema"]));
            }
            let schema = json!({ "allOf": [content["schema"]], "components": components });
            let validator = jsonschema::draft202012::options().build(&schema).unwrap();
            for example in examples.iter().filter(|_| media.contains("json")) {
                count += 1;
                for error in validator.iter_errors(example) {
                    let at = error.instance_path();
                    wrong.push(format!("{}: {example}: {at} {error}", content["schema"]));
                }
            }
        });
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
        assert!(count > 100, "{count} examples");
    }
}
