//! Schemas: closing, refusals, messages and secrets.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]
#![allow(clippy::needless_pass_by_value, clippy::too_many_lines, reason = "tables of cases")]

use proptest::prelude::*;
use serde_json::json;

use super::*;

fn schema(value: Value) -> InputSchema {
    InputSchema::compile(&value).unwrap_or_else(|faults| panic!("{value}: {faults:?}"))
}

fn faults(value: Value) -> Vec<SchemaFault> {
    InputSchema::compile(&value).err().unwrap_or_default()
}

/// Returns pointers and codes of the faults of an input.
fn wrong(schema: &InputSchema, input: Value) -> Vec<(String, &'static str)> {
    let errors = schema.check(&input).err().unwrap_or_default();
    errors.into_iter().map(|error| (error.pointer, error.code)).collect()
}

fn at(pointer: &str, code: &'static str) -> (String, &'static str) {
    (pointer.to_owned(), code)
}

fn transfer() -> InputSchema {
    schema(json!({
        "type": "object",
        "required": ["from", "amount"],
        "properties": {
            "from": { "type": "string", "minLength": 2, "maxLength": 5, "pattern": "^[a-z]+$" },
            "amount": { "type": "string", "format": "amount" },
            "pieces": { "type": "integer", "minimum": 1, "maximum": 9 },
            "kind": { "enum": ["now", "later"] },
            "code": { "type": "string", "writeOnly": true },
            "at": { "type": "string", "format": "date-time" },
            "lines": {
                "type": "array", "maxItems": 2,
                "items": {
                    "type": "object",
                    "properties": { "note": { "type": "string" }, "pin": { "type": "string", "writeOnly": true } },
                },
            },
        },
    }))
}

#[test]
fn what_is_wrong_has_a_pointer_a_code_and_no_value() {
    let schema = transfer();
    assert_eq!(schema.check(&json!({ "from": "abc", "amount": "1.50" })), Ok(()));
    for (input, expected) in [
        (json!({ "from": "abc" }), vec![at("/amount", "missing-field")]),
        (
            json!({ "from": "abc", "amount": "1", "amonut": "1" }),
            vec![at("/amonut", "unknown-field")],
        ),
        (
            json!({ "from": 1, "amount": 1.5 }),
            vec![at("/amount", "wrong-type"), at("/from", "wrong-type")],
        ),
        (
            json!({ "from": "a", "amount": "1e3" }),
            vec![at("/amount", "invalid-value"), at("/from", "too-short")],
        ),
        (json!({ "from": "abcdef", "amount": "-1.00" }), vec![at("/from", "too-long")]),
        (json!({ "from": "ABC", "amount": "0" }), vec![at("/from", "invalid-value")]),
        (
            json!({ "from": "abc", "amount": "0", "pieces": 10 }),
            vec![at("/pieces", "out-of-range")],
        ),
        (json!({ "from": "abc", "amount": "0", "pieces": 1.5 }), vec![at("/pieces", "wrong-type")]),
        (
            json!({ "from": "abc", "amount": "0", "kind": "never" }),
            vec![at("/kind", "invalid-value")],
        ),
        (json!({ "from": "abc", "amount": "0", "at": "today" }), vec![at("/at", "invalid-value")]),
        (
            json!({ "from": "abc", "amount": "0", "lines": [{}, {}, {}] }),
            vec![at("/lines", "too-many")],
        ),
        (
            json!({ "from": "abc", "amount": "0", "lines": [{ "x": 1 }, 2] }),
            vec![at("/lines/0/x", "unknown-field"), at("/lines/1", "wrong-type")],
        ),
        (json!("abc"), vec![at("", "wrong-type")]),
        (json!(null), vec![at("", "wrong-type")]),
    ] {
        let mut found = wrong(&schema, input.clone());
        found.sort();
        assert_eq!(found, expected, "{input}");
    }
    let secret = "geheim-geheim-geheim";
    for input in [
        json!({ "from": secret, "amount": secret, "code": [secret], "kind": secret, "at": secret, "pieces": secret }),
        json!({ "from": [secret], "amount": { "a": secret }, "lines": [secret], "code": 1 }),
        json!(secret),
    ] {
        for error in schema.check(&input).unwrap_err() {
            assert!(!error.message.contains(secret), "{error:?}");
        }
    }
    let errors = schema.check(&json!({ "from": "abc", "amonut": "1" })).unwrap_err();
    let unknown = errors.iter().find(|error| error.code == "unknown-field").unwrap();
    assert_eq!(unknown.message, "there is no such field; did you mean `amount`?");
}

/// A field of another form is not suggested.
#[test]
fn a_field_of_another_form_has_no_hint() {
    let schema = json!({
        "type": "object",
        "oneOf": [
            { "properties": { "card": { "type": "string" } }, "required": ["card"] },
            { "properties": { "iban": { "type": "string" } }, "required": ["iban"] },
        ],
    });
    let schema = InputSchema::compile(&schema).unwrap();
    let errors = schema.check(&json!({ "card": "x", "iban": "y" })).unwrap_err();
    let told: Vec<_> = errors.iter().map(|error| error.message.as_str()).collect();
    assert!(!told.is_empty() && told.iter().all(|told| !told.contains("did you mean")), "{told:?}");
}

#[test]
fn objects_are_closed_at_every_depth_unless_they_say_otherwise() {
    let open = json!({ "type": "object", "properties": {
        "a": { "properties": { "b": { "type": "string" } } },
        "free": { "type": "object", "additionalProperties": true },
        "numbers": { "type": "object", "additionalProperties": { "type": "integer" } },
        "list": { "type": "array", "items": { "type": "object", "properties": { "c": true } } },
        "ref": { "$ref": "#/$defs/part" },
        "both": { "allOf": [{ "$ref": "#/$defs/part" }, { "properties": { "q": true } }] },
        "one": { "oneOf": [
            { "type": "object", "required": ["x"], "properties": { "x": { "type": "string" } } },
            { "type": "object", "required": ["y"], "properties": { "y": { "type": "object", "properties": {} } } },
        ] },
    }, "$defs": { "part": { "type": "object", "properties": { "p": { "type": "string" } } } } });
    let schema = schema(open);
    for input in [
        json!({ "a": { "b": "x" }, "free": { "z": 1 }, "numbers": { "z": 1 }, "list": [{ "c": 1 }] }),
        json!({ "ref": { "p": "x" }, "both": { "p": "x", "q": 1 }, "one": { "x": "1" } }),
        json!({ "one": { "y": {} } }),
    ] {
        assert_eq!(schema.check(&input), Ok(()), "{input}");
    }
    for (input, pointer) in [
        (json!({ "z": 1 }), "/z"),
        (json!({ "a": { "z": 1 } }), "/a/z"),
        (json!({ "list": [{ "z": 1 }] }), "/list/0/z"),
        (json!({ "ref": { "z": 1 } }), "/ref/z"),
        (json!({ "both": { "z": 1 } }), "/both/z"),
        (json!({ "one": { "x": "1", "z": 1 } }), "/one/z"),
    ] {
        assert_eq!(wrong(&schema, input.clone()), [at(pointer, "unknown-field")], "{input}");
    }
    assert_ne!(wrong(&schema, json!({ "one": { "y": { "z": 1 } } })), []);
    assert_eq!(schema.shown()["additionalProperties"], json!(false));
    assert_eq!(schema.shown()["properties"]["a"]["additionalProperties"], json!(false));
}

#[test]
fn what_only_asks_is_not_closed() {
    let schema = schema(json!({
        "type": "object",
        "properties": { "kind": { "type": "string" }, "more": { "type": "object", "properties": { "a": true, "b": true } }, "list": { "type": "array", "contains": { "type": "object", "properties": { "a": { "const": 1 } }, "required": ["a"] } } },
        "if": { "properties": { "more": { "type": "object", "properties": { "a": { "const": 1 } }, "required": ["a"] } }, "required": ["more"] },
        "then": { "required": ["kind"] },
    }));
    assert_eq!(
        wrong(&schema, json!({ "more": { "a": 1, "b": 2 } })),
        [at("/kind", "missing-field")]
    );
    assert_eq!(wrong(&schema, json!({ "more": { "a": 2, "b": 2 } })), []);
    assert_eq!(wrong(&schema, json!({ "list": [{ "a": 1, "z": 1 }] })), []);
}

#[test]
fn absent_properties_become_null_and_secrets_are_not_stored() {
    let schema = transfer();
    let input = json!({ "from": "abc", "amount": "1", "pieces": 2.0, "code": "123", "lines": [{ "pin": "9", "note": "n" }, {}] });
    assert_eq!(schema.check(&input), Ok(()));
    assert_eq!(
        schema.completed(&input),
        json!({ "from": "abc", "amount": "1", "pieces": 2, "kind": null, "code": "123", "at": null,
            "lines": [{ "pin": "9", "note": "n" }, { "pin": null, "note": null }] })
    );
    assert_eq!(
        schema.storable(&input),
        json!({ "from": "abc", "amount": "1", "pieces": 2.0, "lines": [{ "note": "n" }, {}] })
    );
}

#[test]
fn secrets_are_found_wherever_they_are_declared() {
    let secret = || json!({ "type": "string", "writeOnly": true });
    let schema = schema(json!({
        "type": "object",
        "properties": {
            "a": { "$ref": "#/$defs/secret" },
            "b": { "type": "array", "items": { "$ref": "#/$defs/secret" } },
            "c": { "anyOf": [{ "type": "integer" }, secret()] },
            "d": { "type": "object", "additionalProperties": secret() },
            "e": { "type": "array", "prefixItems": [true, secret()] },
            "kept": { "type": "string" },
        },
        "allOf": [{ "properties": { "f": secret() } }],
        "oneOf": [{ "properties": { "g": secret() }, "required": ["g"] }, { "properties": { "g": { "type": "integer" } } }],
        "if": { "required": ["h"] }, "then": { "properties": { "h": secret() } }, "else": { "properties": { "i": secret() } },
        "dependentSchemas": { "a": { "properties": { "j": secret() } } },
        "$defs": { "secret": secret() },
    }));
    let input = json!({ "a": "S", "b": ["S"], "c": "S", "d": { "x": "S" }, "e": [1, "S"], "f": "S", "g": "S",
        "h": "S", "j": "S", "kept": "k" });
    assert_eq!(schema.check(&input), Ok(()));
    let stored = schema.storable(&input);
    assert_eq!(stored, json!({ "b": [], "d": {}, "e": [1], "kept": "k" }));
}

#[test]
fn types_are_known_as_far_as_the_schema_tells() {
    let schema = schema(json!({
        "type": "object",
        "properties": {
            "text": { "type": "string" }, "amount": { "type": "string", "format": "amount" },
            "at": { "type": "string", "format": "date-time" }, "int": { "type": "integer" },
            "number": { "type": "number" }, "maybe": { "type": ["string", "null"] },
            "either": { "type": ["string", "integer"] }, "flag": { "type": "boolean" },
            "pick": { "enum": ["a", "b"] }, "mixed": { "enum": ["a", 1] }, "any": true,
            "list": { "type": "array", "items": { "$ref": "#/$defs/line" } },
            "free": { "type": "object", "additionalProperties": true },
        },
        "anyOf": [{ "properties": { "x": { "type": "integer" } } }, { "properties": { "x": { "type": "number" } } }],
        "$defs": { "line": { "type": "object", "properties": { "n": { "type": "integer" } } } },
    }));
    let Type::Object { keys, open } = schema.kind() else { panic!("{:?}", schema.kind()) };
    assert!(!open);
    let object = |keys: &[(&str, Type)], open| Type::Object {
        keys: keys.iter().map(|(key, kind)| ((*key).into(), kind.clone())).collect(),
        open,
    };
    for (key, kind) in [
        ("text", Type::Text),
        ("amount", Type::AmountText),
        ("at", Type::Text),
        ("int", Type::Int),
        ("number", Type::Number),
        ("maybe", Type::Text),
        ("either", Type::Any),
        ("flag", Type::Bool),
        ("pick", Type::Text),
        ("mixed", Type::Any),
        ("any", Type::Any),
        ("list", Type::List(Box::new(object(&[("n", Type::Int)], false)))),
        ("free", object(&[], true)),
        ("x", Type::Number),
    ] {
        assert_eq!(keys[key], kind, "{key}");
    }
}

#[test]
fn what_a_schema_must_not_say_is_told_all_at_once() {
    let deep = (0..20)
        .fold(json!({ "type": "string" }), |inner, _| json!({ "type": "array", "items": inner }));
    let many: Value = (0..600).map(|_| json!({ "type": "string" })).collect();
    for (value, pointer, part) in [
        (json!({ "type": "object", "require": ["a"] }), "/require", "did you mean `required`?"),
        (
            json!({ "type": "object", "properties": { "a/b": { "maxLenght": 1 } } }),
            "/properties/a~1b/maxLenght",
            "did you mean `maxLength`?",
        ),
        (json!({ "type": "object", "definitions": {} }), "/definitions", "`$defs`"),
        (
            json!({ "type": "object", "properties": { "a": { "type": "string", "format": "amout" } } }),
            "/properties/a/format",
            "did you mean `amount`?",
        ),
        (
            json!({ "type": "object", "properties": { "a": { "type": "strin" } } }),
            "/properties/a/type",
            "",
        ),
        (
            json!({ "type": "object", "properties": { "a": { "minLength": -1 } } }),
            "/properties/a/minLength",
            "",
        ),
        (
            json!({ "type": "object", "properties": { "a": { "pattern": "(?=x)" } } }),
            "/properties/a/pattern",
            "no pattern",
        ),
        (
            json!({ "type": "object", "properties": { "a": { "pattern": "((a{1,99}){1,99}){1,99}" } } }),
            "/properties/a/pattern",
            "too large",
        ),
        (
            json!({ "type": "object", "properties": { "a": { "$ref": "http://127.0.0.1/x" } } }),
            "/properties/a/$ref",
            "#/$defs/NAME",
        ),
        (
            json!({ "type": "object", "properties": { "a": { "$ref": "file:///etc/passwd" } } }),
            "/properties/a/$ref",
            "#/$defs/NAME",
        ),
        (
            json!({ "type": "object", "properties": { "a": { "$ref": "#/$defs/no" } } }),
            "/properties/a/$ref",
            "there is no",
        ),
        (
            json!({ "type": "object", "properties": { "a": { "$ref": "#/$defs/a" } }, "$defs": { "a": { "$ref": "#/$defs/a" } } }),
            "",
            "back to itself",
        ),
        (
            json!({ "type": "object", "properties": { "a": { "$ref": "#/$defs/a" } }, "$defs": { "a": { "type": "array", "items": { "$ref": "#/$defs/a" } } } }),
            "",
            "back to itself",
        ),
        (json!({ "$id": "http://x/", "type": "object" }), "/$id", ""),
        (
            json!({ "$schema": "http://json-schema.org/draft-07/schema#", "type": "object" }),
            "/$schema",
            "2020-12",
        ),
        (
            json!({ "type": "object", "required": ["amonut"], "properties": { "amount": true } }),
            "/required/0",
            "did you mean `amount`?",
        ),
        (json!({ "type": "string" }), "", "type: object"),
        (json!({}), "", "type: object"),
        (json!(true), "", "type: object"),
        (json!([]), "", "a schema is an object"),
        (
            json!({ "type": "object", "properties": { "a": 1 } }),
            "/properties/a",
            "a schema is an object",
        ),
        (json!({ "type": "object", "writeOnly": true }), "/writeOnly", "belongs to a property"),
        (
            json!({ "type": "object", "patternProperties": { "^c": { "writeOnly": true } } }),
            "",
            "belongs to a property",
        ),
        (
            json!({ "type": "object", "patternProperties": { "^c": { "$ref": "#/$defs/s" } }, "$defs": { "s": { "writeOnly": true } } }),
            "",
            "belongs to a property",
        ),
        (json!({ "type": "object", "properties": { "a": deep } }), "", "nested 16 deep"),
        (json!({ "type": "object", "properties": { "a": { "anyOf": many } } }), "", "at most 500"),
    ] {
        let found = faults(value.clone());
        let fits = |(at, message): &SchemaFault| {
            (pointer.is_empty() || at == pointer) && message.contains(part)
        };
        assert!(found.iter().any(fits), "{value}: {found:?}");
    }
    let two = faults(json!({ "type": "object", "require": [], "propertys": {} }));
    assert_eq!(two.len(), 2, "{two:?}");
}

#[test]
fn references_that_multiply_are_counted() {
    let mut defs = Map::new();
    for at in 0..12 {
        let next = json!({ "$ref": format!("#/$defs/d{}", at + 1) });
        defs.insert(format!("d{at}"), json!({ "allOf": [next.clone(), next] }));
    }
    defs.insert("d12".to_owned(), json!({ "type": "object" }));
    let found = faults(
        json!({ "type": "object", "properties": { "a": { "$ref": "#/$defs/d0" } }, "$defs": defs }),
    );
    assert!(found[0].1.contains("with its references"), "{found:?}");
}

#[test]
fn a_long_wrong_input_is_told_of_once_and_grows_within_bounds() {
    let properties: Map<String, Value> =
        (0..200).map(|at| (format!("p{at}"), json!({ "type": "string" }))).collect();
    let item = json!({ "type": "object", "properties": properties });
    let schema = schema(
        json!({ "type": "object", "properties": { "list": { "type": "array", "items": item } } }),
    );
    let wide: Value = (0..10_000).map(|_| json!({})).collect();
    let completed = schema.completed(&json!({ "list": wide }));
    assert!(parts(&completed) < 25_000, "{}", parts(&completed));
    let wrong: Value = (0..10_000).map(|_| json!({ "p0": 1 })).collect();
    assert_eq!(schema.check(&json!({ "list": wrong })).unwrap_err().len(), 1);
    let few: Value = (0..100).map(|_| json!({ "p0": 1 })).collect();
    assert_eq!(schema.check(&json!({ "list": few })).unwrap_err().len(), 50);
}

/// Returns arbitrary JSON, with keywords of schemas and other words.
fn any_json() -> impl Strategy<Value = Value> {
    let word = prop_oneof![
        Just("type"),
        Just("properties"),
        Just("items"),
        Just("$ref"),
        Just("anyOf"),
        Just("allOf"),
        Just("required"),
        Just("object"),
        Just("string"),
        Just("integer"),
        Just("#/$defs/a"),
        Just("$defs"),
        Just("a"),
        Just("pattern"),
        Just("writeOnly"),
        Just("format"),
        Just("amount"),
        Just("additionalProperties"),
        Just("if"),
        Just("then"),
        Just("not"),
        Just("enum"),
        Just("prefixItems"),
        Just("patternProperties"),
        Just("maxLength"),
        Just("array"),
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        (-3_i64..99).prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        word.clone().prop_map(Value::from),
        ".{0,4}".prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 40, 6, move |inner| {
        let map = prop::collection::btree_map(word.clone(), inner.clone(), 0..6);
        prop_oneof![
            prop::collection::vec(inner, 0..5).prop_map(Value::from),
            map.prop_map(|map| map
                .into_iter()
                .map(|(key, value)| (key.to_owned(), value))
                .collect()),
        ]
    })
}

proptest! {
    #[test]
    fn no_schema_and_no_input_is_a_panic(mut schema in any_json(), input in any_json()) {
        if let Value::Object(entries) = &mut schema {
            entries.insert("type".to_owned(), json!("object"));
        }
        if let Ok(schema) = InputSchema::compile(&schema) {
            let checked = schema.check(&input);
            prop_assert_eq!(checked.is_err(), checked.is_err_and(|errors| !errors.is_empty()));
            let stored = schema.storable(&schema.completed(&input));
            prop_assert!(stored.is_object() || !input.is_object());
            // The shown schema compiles as well as the given one.
            prop_assert!(InputSchema::compile(schema.shown()).is_ok());
        }
    }
}
