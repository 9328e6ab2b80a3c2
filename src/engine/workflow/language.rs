//! The language of definitions as a JSON Schema (2020-12), for editors.
//!
//! It describes the form of a document; the reader checks the rest, such as that a step exists and
//! that every path ends. A test ensures that the schema has exactly the keys that the reader knows.

use serde_json::{Value, json};

use super::document::words;
use crate::engine::transaction::effects::EFFECTS;

/// Returns the JSON Schema of the language.
#[expect(clippy::too_many_lines, reason = "one document, and the table is the point")]
#[must_use]
pub fn language_schema() -> Value {
    let mut effects: serde_json::Map<String, Value> = EFFECTS
        .iter()
        .map(|effect| (effect.syntax.name.to_owned(), effect.syntax.schema()))
        .collect();
    let names: Vec<Value> =
        EFFECTS.iter().map(|effect| json!({ "required": [effect.syntax.name] })).collect();
    for (name, of) in [
        ("when", json!({ "$ref": "#/$defs/condition", "description": "Only then." })),
        (
            "as",
            json!({ "type": "string", "pattern": "^[a-z][a-z0-9_]{0,63}$", "description": "Beside `each`: what an element is called." }),
        ),
        (
            "do",
            json!({ "$ref": "#/$defs/effects", "description": "Beside `each`: what is done for each element." }),
        ),
    ] {
        effects.insert(name.to_owned(), of);
    }
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "/schemas/workflow.json",
        "title": "A workflow of Abide",
        "type": "object",
        "additionalProperties": false,
        "required": ["abide", "workflow", "first", "steps"],
        "properties": top(),
        "$defs": {
            "text": { "type": "string", "maxLength": 4096 },
            "code": { "type": "string", "pattern": "^[a-z][a-z0-9-]{0,63}$" },
            "step-name": {
                "type": "string",
                "pattern": "^[a-z][a-z0-9_-]{0,63}$",
                "not": { "enum": ["stay", "end", "cancel"] },
            },
            "expression": {
                "type": "string",
                "pattern": "^=[^=]",
                "description": "`=EXPR` in CEL. Quote it where it has more than names, dots and ==.",
            },
            "condition": {
                "type": ["string", "boolean"],
                "description": "A CEL expression without `=` before it.",
            },
            "span": {
                "type": "string",
                "pattern": "^[0-9]+(ms|s|m|h|d)$",
                "description": "A whole number and a unit: 500ms, 30s, 15m, 12h, 3d.",
            },
            "length": { "anyOf": [{ "$ref": "#/$defs/span" }, { "$ref": "#/$defs/expression" }] },
            "moment": {
                "anyOf": [
                    { "$ref": "#/$defs/expression" },
                    { "type": "string", "pattern": "^[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ]" },
                ],
                "description": "A time like 2026-11-24T10:35:00.000Z, or `=EXPR`.",
            },
            "template": {
                "description": "Any JSON; texts that begin with `=` are expressions, `==x` is the \
                                text `=x`.",
            },
            "object": {
                "anyOf": [{ "type": "object" }, { "$ref": "#/$defs/expression" }],
                "description": "Keys and their values, each of which may be `=EXPR`; or one \
                                expression that makes an object.",
            },
            "account": {
                "anyOf": [
                    { "$ref": "#/$defs/expression" },
                    { "type": "string", "pattern": "^[A-Za-z0-9][A-Za-z0-9:._-]{0,63}$" },
                ],
            },
            "amount": {
                "anyOf": [
                    { "$ref": "#/$defs/expression" },
                    { "type": "string", "pattern": "^-?[0-9]+([.][0-9]+)?$" },
                    { "type": "integer" },
                ],
                "description": "\"12.50\", a whole number, or `=EXPR`. Never a number with a \
                                fraction.",
            },
            "role": { "type": "string", "pattern": "^[A-Za-z0-9][A-Za-z0-9._:/-]{0,63}$" },
            "input": {
                "type": "object",
                "description": "JSON Schema 2020-12. Object schemas are closed unless they say \
                                otherwise. `format: amount` is an amount; what is `writeOnly` is \
                                stored nowhere.",
            },
            "who": {
                "type": "array",
                "minItems": 1,
                "maxItems": 32,
                "items": {
                    "anyOf": [
                        { "enum": ["owner", "anyone", "service"] },
                        { "type": "string", "pattern": "^role:." },
                        { "type": "string", "pattern": "^user:=." },
                        { "type": "string", "pattern": "^(hook|workflow):[a-z][a-z0-9-]{0,63}$" },
                    ],
                },
            },
            "target": target(),
            "call": request(
                "A request to another service, made until it is answered.",
                &["method", "url", "headers", "body", "timeout", "retry", "refused", "callback"],
            ),
            "undo": {
                "type": "object",
                "additionalProperties": false,
                "required": ["call"],
                "properties": {
                    "call": request(
                        "The request that undoes it; 404 and 410 count as done.",
                        &["method", "url", "headers", "body", "timeout", "retry", "refused"],
                    ),
                },
            },
            "guard": guard(),
            "step": step(),
            "effects": { "type": "array", "maxItems": 64, "items": { "$ref": "#/$defs/effect" } },
            "effect": {
                "type": "object",
                "additionalProperties": false,
                "oneOf": names,
                "properties": effects,
            },
        },
    })
}

fn top() -> Value {
    json!({
        "abide": { "const": 1, "description": "The version of the language." },
        "workflow": { "type": "string", "pattern": "^[a-z][a-z0-9-]{0,63}$", "description": "The name; the same as in the URL." },
        "title": { "$ref": "#/$defs/text" },
        "description": { "$ref": "#/$defs/text" },
        "start": { "type": "object", "additionalProperties": false, "required": ["by"], "properties": { "by": { "$ref": "#/$defs/who" } }, "description": "Who may start it; default any user who is signed in." },
        "readers": { "$ref": "#/$defs/who", "description": "Who may read it, besides all who may ever submit one of its steps; default [owner]." },
        "restricted": { "type": "object", "additionalProperties": { "$ref": "#/$defs/who" }, "description": "Keys of the data that only these may read." },
        "cancel": { "type": "object", "additionalProperties": false, "required": ["by"], "properties": { "by": { "$ref": "#/$defs/who" } }, "description": "Who may cancel it, besides operators; default [owner]." },
        "deadline": { "$ref": "#/$defs/span", "description": "Of the whole transaction, before the pivot." },
        "unique": { "$ref": "#/$defs/expression", "description": "At most one open transaction with this value." },
        "session_end": { "enum": ["continue", "cancel"], "description": "What the end of the session that started it does." },
        "input": { "$ref": "#/$defs/input", "description": "Of the start request; becomes part of `data`." },
        "data": { "type": "object", "description": "Initial values." },
        "first": { "$ref": "#/$defs/step-name" },
        "steps": { "type": "object", "minProperties": 1, "maxProperties": 200, "propertyNames": { "$ref": "#/$defs/step-name" }, "additionalProperties": { "$ref": "#/$defs/step" } },
    })
}

fn step() -> Value {
    let reminder = json!({
        "type": "object",
        "additionalProperties": false,
        "required": ["after", "do"],
        "properties": {
            "after": { "type": "array", "items": { "$ref": "#/$defs/span" } },
            "do": { "$ref": "#/$defs/effects" },
        },
    });
    json!({
        "type": "object",
        "additionalProperties": false,
        "not": { "anyOf": [
            { "required": ["by", "wait"] },
            { "required": ["by", "call"] },
            { "required": ["wait", "call"] },
        ] },
        "properties": {
            "title": { "$ref": "#/$defs/text" },
            "description": { "$ref": "#/$defs/text" },
            "by": { "$ref": "#/$defs/who", "description": "Whom it lets in; this makes it a client step." },
            "wait": {
                "type": "object",
                "additionalProperties": false,
                "minProperties": 1,
                "maxProperties": 1,
                "properties": { "for": { "$ref": "#/$defs/length" }, "until": { "$ref": "#/$defs/moment" } },
                "description": "What it waits for; this makes it a wait step.",
            },
            "call": { "$ref": "#/$defs/call" },
            "input": { "$ref": "#/$defs/input" },
            "guard": { "type": "array", "maxItems": 32, "items": { "$ref": "#/$defs/guard" }, "description": "What must hold." },
            "do": { "$ref": "#/$defs/effects", "description": "What it does, in order, all or nothing." },
            "next": { "$ref": "#/$defs/target", "description": "Where it goes. Only the last step of a branch of `all` has none." },
            "timeout": {
                "type": "object",
                "additionalProperties": false,
                "required": ["after", "next"],
                "properties": { "after": { "$ref": "#/$defs/length" }, "next": { "$ref": "#/$defs/target" } },
                "description": "Where it goes by itself after a time.",
            },
            "remind": { "type": "array", "maxItems": 16, "items": reminder, "description": "Effects at these times after it opened, interrupting nothing." },
            "pivot": { "type": "boolean", "description": "After it the transaction only goes forward." },
            "quorum": { "anyOf": [{ "type": "integer", "minimum": 1, "maximum": 100 }, { "$ref": "#/$defs/expression" }], "description": "So many submissions by different users." },
            "claim": { "$ref": "#/$defs/span", "description": "How long a submitter keeps it, and its siblings, from others." },
            "max_submissions": { "type": "integer", "minimum": 1, "maximum": 1000, "description": "How often it may be submitted in one transaction." },
            "refused": { "$ref": "#/$defs/target", "description": "Of an automatic step: where it goes when a guard or an effect is refused." },
            "compensate": { "type": "array", "maxItems": 8, "items": { "$ref": "#/$defs/undo" }, "description": "What undoes it at other services, in order." },
            "failed": { "$ref": "#/$defs/target", "description": "Where a call leads that was refused or has no attempts left; without it the transaction is undone and has failed." },
            "exhausted": { "$ref": "#/$defs/target", "description": "Where too many wrong codes lead; default { cancel: code-exhausted }." },
        },
    })
}

/// Returns the schema of a request to another service, with these keys.
fn request(description: &str, keys: &[&str]) -> Value {
    let mut properties = json!({
        "method": { "enum": ["GET", "POST", "PUT", "PATCH", "DELETE"], "description": "Default POST." },
        "url": { "type": "string", "pattern": "^(https?://|=)", "description": "Allowed by the configuration (egress)." },
        "headers": { "type": "object", "maxProperties": 32, "additionalProperties": { "type": "string" }, "description": "`=secret(\"NAME\")` is a secret of the configuration." },
        "body": { "$ref": "#/$defs/template" },
        "timeout": { "$ref": "#/$defs/span", "description": "Of an attempt; default 10s." },
        "retry": {
            "type": "object",
            "additionalProperties": false,
            "properties": {
                "attempts": { "type": "integer", "minimum": 1, "maximum": 100 },
                "first": { "$ref": "#/$defs/span" },
                "factor": { "type": "integer", "minimum": 1, "maximum": 10 },
                "max": { "$ref": "#/$defs/span" },
            },
            "description": "Waits are drawn up to `first`, times `factor` after each attempt, at most `max`.",
        },
        "refused": { "type": "array", "items": { "type": "integer", "minimum": 300, "maximum": 599 }, "description": "Statuses that are a definite no; default [400, 404, 409, 410, 422]." },
        "callback": { "$ref": "#/$defs/span", "description": "How long the service may take to answer at `callback.url`, once it has said 202." },
    });
    if let Some(properties) = properties.as_object_mut() {
        properties.retain(|key, _| keys.contains(&key.as_str()));
    }
    mapping(description, &["url"], &properties)
}

fn guard() -> Value {
    json!({
        "type": "object",
        "additionalProperties": false,
        "oneOf": [
            { "required": ["that", "code"], "not": { "anyOf": [{ "required": ["challenge"] }, { "required": ["with"] }] } },
            { "required": ["challenge", "with"], "not": { "anyOf": [{ "required": ["that"] }, { "required": ["code"] }, { "required": ["message"] }] } },
        ],
        "properties": {
            "that": { "$ref": "#/$defs/condition" },
            "code": { "$ref": "#/$defs/code", "description": "The refusal's code." },
            "message": { "$ref": "#/$defs/text", "description": "The refusal, for people; default: the code." },
            "challenge": { "$ref": "#/$defs/code", "description": "The one-time code that is asked for." },
            "with": { "$ref": "#/$defs/template", "description": "The code that was given, like `=input.code`." },
        },
    })
}

fn target() -> Value {
    let several = json!({
        "type": "array",
        "minItems": 2,
        "maxItems": 32,
        "uniqueItems": true,
        "items": { "$ref": "#/$defs/step-name" },
    });
    json!({
        "description": "A step, `stay`, { any: [...] }, { all: [...], next }, { end: NAME }, { cancel: CODE }, or a list of { when, next }.",
        "anyOf": [
            { "$ref": "#/$defs/step-name" },
            { "const": "stay" },
            {
                "type": "object",
                "additionalProperties": false,
                "oneOf": [{ "required": ["any"] }, { "required": ["all"] }, { "required": ["end"] }, { "required": ["cancel"] }],
                "dependentRequired": { "next": ["all"] },
                "properties": {
                    "any": several,
                    "all": several,
                    "next": { "$ref": "#/$defs/target" },
                    "end": { "$ref": "#/$defs/code" },
                    "cancel": { "$ref": "#/$defs/code" },
                },
            },
            {
                "type": "array",
                "minItems": 1,
                "maxItems": 32,
                "items": {
                    "type": "object",
                    "additionalProperties": false,
                    "required": ["next"],
                    "properties": {
                        "when": { "$ref": "#/$defs/condition" },
                        "next": { "$ref": "#/$defs/target" },
                    },
                },
            },
        ],
    })
}

/// Returns the schema of an effect that is a mapping with these keys.
fn mapping(description: &str, required: &[&str], properties: &Value) -> Value {
    json!({
        "type": "object",
        "additionalProperties": false,
        "required": required,
        "properties": properties,
        "description": description,
    })
}

/// Returns the schema of a request that is sent in the background.
pub(in crate::engine) fn send_schema(description: &str) -> Value {
    request(description, &words::SEND)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

    use std::collections::BTreeSet;

    use super::*;

    fn keys(schema: &Value, pointer: &str) -> BTreeSet<String> {
        let at = schema.pointer(pointer).and_then(Value::as_object);
        at.unwrap_or_else(|| panic!("nothing at {pointer}")).keys().cloned().collect()
    }

    fn known<'w>(words: impl IntoIterator<Item = &'w str>) -> BTreeSet<String> {
        words.into_iter().map(str::to_owned).collect()
    }

    #[test]
    fn it_has_the_keys_that_the_reader_knows_and_no_others() {
        let schema = language_schema();
        let same = |pointer: &str, words: &[&str]| {
            assert_eq!(keys(&schema, pointer), known(words.iter().copied()), "{pointer}");
        };
        same("/properties", &words::TOP);
        same("/properties/start/properties", &words::WHO);
        same("/properties/cancel/properties", &words::WHO);
        let step = "/$defs/step/properties";
        same(step, &words::STEP);
        same(&format!("{step}/timeout/properties"), &words::TIMEOUT);
        same(&format!("{step}/remind/items/properties"), &words::REMIND);
        same(&format!("{step}/wait/properties"), &words::WAIT);
        same("/$defs/guard/properties", &words::GUARD);
        same("/$defs/call/properties", &words::CALL);
        same("/$defs/call/properties/retry/properties", &words::RETRY);
        same("/$defs/undo/properties", &words::UNDO);
        same("/$defs/undo/properties/call/properties", &words::UNDO_CALL);
        same("/$defs/target/anyOf/2/properties", &words::TARGET);
        same("/$defs/target/anyOf/3/items/properties", &words::CHOICE);
        let names = || EFFECTS.iter().map(|effect| effect.syntax.name);
        assert_eq!(keys(&schema, "/$defs/effect/properties"), known(names().chain(words::BESIDE)));
        same("/$defs/effect/properties/send/properties", &words::SEND);
    }
}
