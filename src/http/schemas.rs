//! JSON Schema of the API's words, and JSON that is kept as text.

use std::borrow::Cow;
use std::sync::Arc;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Serialize, Serializer};

use crate::engine::TxStatus;
use crate::types::{
    AccountId, AssetCode, Decimal, HoldId, HookName, JobId, KeyId, ProfileName, Revision, Role,
    ScheduleId, SessionId, Span, StepName, Time, TransferId, TxId, UserId, UserPattern, Username,
    ValueName, WebhookId, WorkflowName,
};

macro_rules! described {
    ($($name:ident $schema:tt)*) => {$(
        impl JsonSchema for $name {
            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!($schema)
            }
        }
    )*};
}

described! {
    Username {
        "type": "string",
        "pattern": "^[a-z0-9][a-z0-9._@+-]{0,63}$",
        "description": "What a person logs in with. Never given out again.",
        "examples": ["alice"],
    }
    Role {
        "type": "string",
        "pattern": "^(?!abide:)[A-Za-z0-9][A-Za-z0-9._:/-]{0,63}$|^abide:(admin|operator|publisher|auditor)$",
        "description": "What an actor may do: an application's own names, and `abide:*`.",
        "examples": ["teller"],
    }
    ProfileName {
        "type": "string",
        "pattern": "^[a-z0-9][a-z0-9_-]{0,63}$",
        "description": "A set of session time-outs in the configuration.",
        "examples": ["kiosk"],
    }
    UserPattern {
        "type": "string",
        "pattern": "^[a-z0-9._@+*-]{1,64}$",
        "description": "A user name in which `*` stands for any characters.",
        "examples": ["shop-*"],
    }
    WorkflowName {
        "type": "string",
        "pattern": "^[a-z][a-z0-9-]{0,63}$",
        "description": "Names a workflow.",
        "examples": ["transfer"],
    }
    StepName {
        "type": "string",
        "pattern": "^[a-z][a-z0-9_-]{0,63}$",
        "description": "Names a step of a workflow.",
        "examples": ["confirm"],
    }
    SessionId {
        "type": "string",
        "pattern": "^ses_[0-7][0-9a-hjkmnp-tv-z]{25}$",
        "description": "Names a session.",
        "examples": ["ses_01jd9x2k7m8n4p5q6r7s8t9v0w"],
    }
    UserId {
        "type": "string",
        "pattern": "^usr_[0-7][0-9a-hjkmnp-tv-z]{25}$",
        "description": "Names a user, for ever.",
        "examples": ["usr_01jd9x2k7m8n4p5q6r7s8t9v0w"],
    }
    KeyId {
        "type": "string",
        "pattern": "^key_[0-7][0-9a-hjkmnp-tv-z]{25}$",
        "description": "Names an API key.",
        "examples": ["key_01jd9x2k7m8n4p5q6r7s8t9v0w"],
    }
    TxId {
        "type": "string",
        "pattern": "^tx_[0-7][0-9a-hjkmnp-tv-z]{25}$",
        "description": "Names a transaction.",
        "examples": ["tx_01jd9x2k7m8n4p5q6r7s8t9v0w"],
    }
    JobId {
        "type": "string",
        "pattern": "^job_[0-7][0-9a-hjkmnp-tv-z]{25}$",
        "description": "Names what is done to many transactions.",
        "examples": ["job_01jd9x2k7m8n4p5q6r7s8t9v0w"],
    }
    ScheduleId {
        "type": "string",
        "pattern": "^sch_[0-7][0-9a-hjkmnp-tv-z]{25}$",
        "description": "Names a schedule.",
        "examples": ["sch_01jd9x2k7m8n4p5q6r7s8t9v0w"],
    }
    WebhookId {
        "type": "string",
        "pattern": "^whk_[0-7][0-9a-hjkmnp-tv-z]{25}$",
        "description": "Names a subscription to events.",
        "examples": ["whk_01jd9x2k7m8n4p5q6r7s8t9v0w"],
    }
    HookName {
        "type": "string",
        "pattern": "^[a-z][a-z0-9-]{0,63}$",
        "description": "Names a hook.",
        "examples": ["payments"],
    }
    AccountId {
        "type": "string",
        "pattern": "^[A-Za-z0-9][A-Za-z0-9:._-]{0,63}$",
        "description": "Names an account. Never given out again.",
        "examples": ["alice:main"],
    }
    AssetCode {
        "type": "string",
        "pattern": "^[A-Z][A-Z0-9._-]{0,31}$",
        "description": "Names an asset: a code of ISO 4217, or one that was put.",
        "examples": ["EUR"],
    }
    HoldId {
        "type": "string",
        "pattern": "^[A-Za-z0-9][A-Za-z0-9:._-]{0,63}$",
        "description": "Names a hold.",
        "examples": ["hold-17"],
    }
    TransferId {
        "type": "string",
        "pattern": "^[A-Za-z0-9][A-Za-z0-9:._-]{0,63}$",
        "description": "Names a transfer.",
        "examples": ["transfer-17"],
    }
    ValueName {
        "type": "string",
        "pattern": "^[A-Za-z0-9][A-Za-z0-9:._-]{0,63}$",
        "description": "Names a set of reference values, or one in it.",
        "examples": ["prices"],
    }
    Decimal {
        "type": "string",
        "pattern": "^-?[0-9]+(\\.[0-9]+)?$",
        "description": "An amount, with the digits of its asset.",
        "examples": ["12.50"],
    }
    Time {
        "type": "string",
        "format": "date-time",
        "description": "RFC 3339, UTC, milliseconds.",
        "examples": ["2026-11-24T10:00:00.000Z"],
    }
    Span {
        "type": "string",
        "pattern": "^([1-9][0-9]{0,4}(ms|s|m|h)|[1-9][0-9]{0,3}d|0s)$",
        "description": "A whole number and a unit of ms, s, m, h or d; at most 36500d.",
        "examples": ["30m"],
    }
    Revision {
        "type": "integer",
        "minimum": 0,
        "description": "Names the commit that last changed the thing; a later one is larger.",
        "examples": [1042],
    }
}

/// A JSON object that is kept as compact text.
#[derive(Clone, Debug)]
pub(super) struct JsonText(pub Arc<str>);

impl Serialize for JsonText {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        super::json_text::RawJson(&self.0).serialize(serializer)
    }
}

impl JsonSchema for JsonText {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Object".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "object" })
    }
}

/// Any JSON object.
pub(super) fn object(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "object" })
}

/// Any text.
pub(super) fn text(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string" })
}

/// `true` or `false` in a query.
pub(super) fn flag(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "enum": ["true", "false"] })
}

/// A JSON Patch (RFC 6902). What replaces the whole is an object, as all data are.
pub(super) fn json_patch(_: &mut SchemaGenerator) -> Schema {
    let pointer = json_schema!({ "type": "string", "pattern": "^(/([^~/]|~[01])*)*$" });
    let within = json_schema!({ "type": "string", "pattern": "^(/([^~/]|~[01])*)+$" });
    json_schema!({
        "type": "array",
        "examples": [[{ "op": "add", "path": "/cart/0", "value": "SKU-42" }]],
        "items": { "oneOf": [
            {
                "type": "object",
                "properties": { "op": { "enum": ["add", "replace"] }, "path": within, "value": {} },
                "required": ["op", "path", "value"],
            },
            {
                "type": "object",
                "properties": { "op": { "enum": ["add", "replace"] }, "path": { "const": "" }, "value": { "type": "object" } },
                "required": ["op", "path", "value"],
            },
            {
                "type": "object",
                "properties": { "op": { "const": "test" }, "path": pointer, "value": {} },
                "required": ["op", "path", "value"],
            },
            {
                "type": "object",
                "properties": { "op": { "const": "remove" }, "path": pointer },
                "required": ["op", "path"],
            },
            {
                "type": "object",
                "properties": { "op": { "enum": ["move", "copy"] }, "path": pointer, "from": pointer },
                "required": ["op", "path", "from"],
            },
        ] },
    })
}

/// An event's id.
pub(super) fn event_id(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "string",
        "pattern": "^[0-9a-f]{20}([0-9a-f]{8})?$",
        "examples": ["00000000000004120001a91c7d40"],
    })
}

/// The same as the header `Last-Event-ID`: empty where a client has seen no event yet.
pub(super) fn last_event_id(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "string",
        "pattern": "^([0-9a-f]{20}([0-9a-f]{8})?)?$",
        "examples": ["00000000000004120001a91c7d40"],
    })
}

/// A time span that is longer than nothing.
pub(super) fn some_span(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": ["string", "null"], "pattern": "^([1-9][0-9]{0,4}(ms|s|m|h)|[1-9][0-9]{0,3}d)$" })
}

/// The status of a transaction, or none.
pub(super) fn maybe_status(_: &mut SchemaGenerator) -> Schema {
    let names = TxStatus::ALL.map(|status| Some(status.as_str()));
    let names: Vec<_> = names.into_iter().chain([None]).collect();
    json_schema!({ "enum": names })
}

/// The `limit` of a list.
pub(super) fn limit(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "integer",
        "minimum": 1,
        "maximum": super::input::PAGE_MAX,
        "default": super::input::PAGE_DEFAULT,
    })
}
