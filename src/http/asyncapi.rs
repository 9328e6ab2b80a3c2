//! The `AsyncAPI` 3.0 document of what is live.

use serde_json::{Value, json};

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
                "$ref": "#/components/schemas/CloudEvent",
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
        "payload": { "$ref": "#/components/schemas/CloudEvent" },
    }, "resync": {
        "summary": "An event named `resync`: those up to its id are kept no more, read anew what you \
            know",
        "contentType": "application/json",
        "payload": { "type": "object", "properties": { "reason": { "type": "string" } } },
    } });
    let streamed = |channel| ["event", "resync"].map(|name| reference(channel, name));
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
                "description": "Closes with 4401 when the session ends, 4408 when its reader is \
                    too slow, 1001 when the server stops.",
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
        "components": { "schemas": { "CloudEvent": cloud_event() } },
    })
}

/// What may be asked.
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
    json!({ "type": "object", "required": required, "properties": properties })
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
