//! The `AsyncAPI` 3.0 document of the live interfaces.

use serde_json::{Map, Value, json};

use crate::engine::catalogue::{
    DataField, EVENT_TYPES, EventType, FieldType, TRANSACTION, is_of_transaction,
};

/// The document, as the server serves it at `/asyncapi.json`.
pub(super) fn document() -> Value {
    let mut messages = asked_messages();
    let asked: Vec<_> = messages.keys().map(|name| reference("socket", name)).collect();
    messages.insert(
        "answer".to_owned(),
        json!({
            "summary": "The answer to a request; a refusal's `error.data` is its problem document",
            "contentType": "application/json",
            "payload": {
                "type": "object", "required": ["jsonrpc", "id"],
                "properties": {
                    "jsonrpc": { "const": "2.0" }, "id": true, "result": true,
                    "error": { "type": "object", "required": ["code", "message"], "properties": {
                        "code": { "type": "integer" }, "message": { "type": "string" },
                        "data": { "type": "object" },
                    } },
                },
            },
        }),
    );
    messages.insert(
        "event".to_owned(),
        notification(
            "event",
            "Something happened",
            &json!({
                "$ref": "#/components/schemas/Event",
            }),
        ),
    );
    messages.insert(
        "resync".to_owned(),
        notification(
            "resync",
            "Events up to this one are kept \
        no more: read anew what you know",
            &json!({
                "type": "object", "properties": { "after": { "type": "string" } },
            }),
        ),
    );
    let told = ["answer", "event", "resync"].map(|name| reference("socket", name));
    let stream = json!({ "event": {
        "summary": "One Server-Sent Event: its `id` is the event's, its `data` a CloudEvent",
        "contentType": "application/json",
        "payload": { "$ref": "#/components/schemas/Event" },
    }, "resync": {
        "summary": "An event named `resync`: those up to its id are kept no more, read anew what you \
            know",
        "contentType": "application/json",
        "payload": { "type": "object", "properties": { "reason": { "type": "string" } } },
    }, "end": {
        "summary": "The last one of a stream, named `end`: the session has ended, it has a new token \
            (connect again with that), or the server stops",
        "contentType": "application/json",
        "payload": { "type": "object", "properties": { "reason": {
            "enum": ["session-ended", "token-replaced", "stopping"],
        } } },
    } });
    let streamed = |channel| ["event", "resync", "end"].map(|name| reference(channel, name));
    json!({
        "asyncapi": "3.0.0",
        "info": {
            "title": "Abide, live", "version": env!("CARGO_PKG_VERSION"),
            "description": "What happens, as far as the one who listens may know of it. An event's \
                id is opaque and ordered; whoever names the last one it has seen goes on behind \
                it, without a gap or a double, also over restarts.",
        },
        "channels": {
            "socket": {
                "address": "/v1/socket",
                "title": "A WebSocket, subprotocol `abide.v1`: JSON-RPC 2.0, also in batches",
                "description": SOCKET,
                "messages": messages,
                "bindings": { "ws": { "method": "GET" } },
            },
            "events": {
                "address": "/v1/events", "title": "Server-Sent Events", "messages": stream,
                "bindings": { "http": {} },
            },
            "transactionEvents": {
                "address": "/v1/transactions/{id}/events",
                "title": "Server-Sent Events of one transaction, from its start on",
                "parameters": { "id": { "description": "The transaction's id." } },
                "messages": stream,
            },
        },
        "operations": {
            "call": { "action": "receive", "channel": { "$ref": "#/channels/socket" },
                "messages": asked },
            "tell": { "action": "send", "channel": { "$ref": "#/channels/socket" },
                "messages": told },
            "stream": { "action": "send", "channel": { "$ref": "#/channels/events" },
                "messages": streamed("events") },
            "streamTransaction": { "action": "send",
                "channel": { "$ref": "#/channels/transactionEvents" },
                "messages": streamed("transactionEvents") },
        },
        "components": { "schemas": schemas() },
    })
}

/// Description of the socket: its use and its close codes.
const SOCKET: &str = "A message has at most 64 KiB. Unknown parameters are refused. Who comes \
    without a token says who it is with `authenticate` within 10 s.\n\nClose codes: 4401 the \
    session has ended; 4410 the session lives on under a new token (rotated, elevated, or an \
    anonymous one that was upgraded): connect again with that; 4408 the reader is too slow: connect \
    again and go on after the last event; 1001 the server stops: connect again; 1002, 1003, 1007, \
    1009 a frame that RFC 6455 does not define, one that is no text, text that is not UTF-8, a \
    message that is too large; 1008 nobody said who it is, or too many pings or malformed messages.";

/// Messages of the requests that a client may send.
fn asked_messages() -> serde_json::Map<String, Value> {
    let mut messages = serde_json::Map::new();
    for (method, summary, params) in methods() {
        let message = json!({
            "name": method, "summary": summary, "contentType": "application/json",
            "payload": {
                "type": "object", "required": ["jsonrpc", "method"],
                "additionalProperties": false,
                "properties": {
                    "jsonrpc": { "const": "2.0" }, "method": { "const": method },
                    "id": { "type": ["string", "number", "null"] }, "params": params,
                },
            },
        });
        messages.insert(method.to_owned(), message);
    }
    messages
}

/// The methods of the socket: name, what it does, parameters.
fn methods() -> [(&'static str, &'static str, Value); 8] {
    [
        (
            "authenticate",
            "Says who it is, where the handshake did not",
            json!({
                "type": "object", "required": ["token"], "additionalProperties": false,
                "properties": { "token": { "type": "string" } },
            }),
        ),
        (
            "sessions.current",
            "The session",
            json!({
                "type": "object", "additionalProperties": false,
            }),
        ),
        (
            "sessions.patch_data",
            "Changes the session's data: a merge patch (an object) or a JSON \
          patch (an array)",
            with_keys(
                &["patch"],
                json!({
                    "patch": { "type": ["object", "array"] },
                }),
            ),
        ),
        (
            "transactions.start",
            "Starts a transaction",
            with_keys(
                &["workflow"],
                json!({
                    "workflow": { "type": "string" }, "input": { "type": "object" },
                    "reference": { "type": "string", "minLength": 1, "maxLength": 256 },
                }),
            ),
        ),
        (
            "transactions.get",
            "A transaction",
            json!({
                "type": "object", "required": ["id"], "additionalProperties": false,
                "properties": { "id": { "type": "string" } },
            }),
        ),
        (
            "transactions.submit",
            "Submits an open step",
            with_keys(
                &["id", "step"],
                json!({
                    "id": { "type": "string" }, "step": { "type": "string" }, "input": true,
                }),
            ),
        ),
        (
            "transactions.cancel",
            "Cancels a transaction",
            with_keys(
                &["id"],
                json!({
                    "id": { "type": "string" }, "reason": { "type": "string", "maxLength": 1024 },
                }),
            ),
        ),
        (
            "events.subscribe",
            "Events from now on, or after one that was seen, as notifications \
          `event`",
            json!({
                "type": "object", "additionalProperties": false,
                "properties": { "after": { "type": "string" } },
            }),
        ),
    ]
}

/// Parameters of a change: with an Idempotency-Key and the revision that it rests on.
fn with_keys(required: &[&str], mut properties: Value) -> Value {
    properties["idempotency_key"] = json!({ "type": "string", "minLength": 1, "maxLength": 255 });
    properties["if_match"] = json!({ "type": "integer", "minimum": 0 });
    json!({
        "type": "object", "required": required, "additionalProperties": false,
        "properties": properties,
    })
}

fn reference(channel: &str, message: &str) -> Value {
    json!({ "$ref": format!("#/channels/{channel}/messages/{message}") })
}

fn notification(method: &str, summary: &str, params: &Value) -> Value {
    json!({
        "name": method, "summary": summary, "contentType": "application/json",
        "payload": { "type": "object", "properties": {
            "jsonrpc": { "const": "2.0" }, "method": { "const": method }, "params": params,
        } },
    })
}

/// Schema of an event: one of the server's types, or one that an application emits.
fn schemas() -> Value {
    let mut schemas = Map::new();
    let mut alternatives = Vec::new();
    for event in EVENT_TYPES {
        alternatives.push(json!({ "$ref": format!("#/components/schemas/{}", event.kind) }));
        schemas.insert(event.kind.to_owned(), event_schema(event));
    }
    let of_application = json!({
        "description": "A type of the application: what an effect `emit` says.",
        "allOf": [{ "$ref": "#/components/schemas/CloudEvent" }],
        "properties": {
            "type": { "type": "string", "not": { "pattern": "^abide[.]" } },
            "data": {
                "type": "object", "required": ["data", "transaction"],
                "properties": { "data": true, "transaction": { "type": "string" } },
            },
        },
    });
    alternatives.push(json!({ "$ref": "#/components/schemas/application" }));
    schemas.insert("application".to_owned(), of_application);
    schemas.insert("Event".to_owned(), json!({ "oneOf": alternatives }));
    schemas.insert("CloudEvent".to_owned(), cloud_event());
    Value::Object(schemas)
}

fn event_schema(event: &EventType) -> Value {
    let transaction = is_of_transaction(event.kind).then_some(&TRANSACTION);
    let fields = || event.data.iter().chain(transaction);
    let required = fields().filter(|field| !field.may_be_absent).map(|field| field.name);
    let properties = fields().map(|field| (field.name.to_owned(), field_schema(field)));
    json!({
        "description": event.summary,
        "allOf": [{ "$ref": "#/components/schemas/CloudEvent" }],
        "properties": {
            "type": { "const": event.kind },
            "data": {
                "type": "object",
                "required": required.collect::<Vec<_>>(),
                "properties": Value::Object(properties.collect()),
            },
        },
    })
}

fn field_schema(field: &DataField) -> Value {
    let (kind, format) = match field.of {
        FieldType::Any => return json!(true),
        FieldType::Id | FieldType::Text | FieldType::Amount => ("string", None),
        FieldType::Time => ("string", Some("date-time")),
        FieldType::Integer => ("integer", None),
        FieldType::Boolean => ("boolean", None),
        FieldType::Texts => ("array", None),
        FieldType::Object => ("object", None),
    };
    let mut schema = json!({ "type": kind });
    if field.may_be_null {
        schema["type"] = json!([kind, "null"]);
    }
    if let Some(format) = format {
        schema["format"] = json!(format);
    }
    if field.of == FieldType::Texts {
        schema["items"] = json!({ "type": "string" });
    }
    schema
}

fn cloud_event() -> Value {
    let text = json!({ "type": "string" });
    json!({
        "type": "object", "description": "CloudEvents 1.0, JSON format.",
        "required": ["specversion", "id", "source", "type", "time", "actorkind", "data"],
        "properties": {
            "specversion": { "const": "1.0" }, "id": text, "source": text, "type": text,
            "subject": text, "time": { "type": "string", "format": "date-time" },
            "datacontenttype": { "const": "application/json" },
            "actor": { "type": "string", "description": "A user name or a key's id." },
            "actorkind": { "enum": [
                "user", "anonymous", "key", "hook", "workflow", "system", "nobody",
            ] },
            "actorvia": { "type": "string", "description": "The key that acted for the user." },
            "transaction": text, "data": true,
        },
    })
}
