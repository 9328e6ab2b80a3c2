//! Estimates of the memory that decoded records take.
//!
//! A record in the store is compact; decoded it may be a hundred times as large, above all JSON of
//! many small values. What is bounded in memory is counted by these estimates, which are rather too
//! high than too low.

use std::sync::Arc;

use serde_json::Value;

use crate::engine::{
    CallState, Challenge, HttpRequestSpec, LoadedRecord, OpenStep, Published, Record, Submission,
    Tx,
};

/// Bytes of a small record with its names, its key and its place in a map.
const SMALL_BYTES: usize = 512;

/// Bytes of an element of a list, without the texts that it holds: more than the largest has.
const ELEMENT_BYTES: usize = 256;

/// Bytes of the header that the allocator and an [`Arc`] add to a text.
const TEXT_BYTES: usize = 32;

/// Bytes of a node of a JSON object's tree: 11 keys and values, and 12 children.
const NODE_BYTES: usize = 720;

/// Keys of a node of a JSON object's tree at least, but for the root.
const NODE_KEYS: usize = 5;

/// Bytes of a compiled definition without what its source makes: validators of its schemas.
const COMPILED_BYTES: usize = 32 * 1024;

/// Compiled form of a definition in bytes, per byte of its source: expressions, schemas and
/// templates as trees.
const COMPILED_TIMES: usize = 24;

/// Estimates the bytes of a loaded record; of an absent one those of its key.
#[must_use]
pub fn loaded_bytes(loaded: &LoadedRecord) -> usize {
    SMALL_BYTES + loaded.as_ref().map_or(0, |(record, _)| record_bytes(record))
}

/// Estimates the bytes of a record beyond those of a small one.
fn record_bytes(record: &Record) -> usize {
    match record {
        Record::User(user) => {
            text(&user.attributes)
                + user.roles.len() * ELEMENT_BYTES
                + user.name.as_ref().map_or(0, text)
        }
        Record::Data(json) => text(json),
        Record::Sessions(sessions) => size_of_val(sessions.as_slice()),
        Record::Session(session) => text(&session.facts) + session.agent.as_ref().map_or(0, text),
        Record::Key(key) => (key.roles.len() + key.on_behalf.len()) * ELEMENT_BYTES,
        Record::Stored(stored) => text(&stored.data),
        Record::RoleChanges(changes) => {
            let runs = changes.0.iter().map(|change| 1 + change.runs.len());
            runs.sum::<usize>() * ELEMENT_BYTES
        }
        Record::Transfer(_) => ELEMENT_BYTES,
        Record::Tx(tx) => tx_bytes(tx),
        Record::Transactions(ids) => size_of_val(ids.as_slice()),
        Record::Definition(published) => definition_bytes(published),
        Record::Schedule(schedule) => {
            SMALL_BYTES
                + schedule.input.values().map(|value| NODE_BYTES + json_bytes(value)).sum::<usize>()
        }
        Record::Job(job) => SMALL_BYTES + job.failures.len() * ELEMENT_BYTES,
        Record::Webhook(webhook) => {
            let lists = webhook.types.len() + webhook.lags.len();
            SMALL_BYTES
                + webhook.url.len()
                + lists * ELEMENT_BYTES
                + size_of_val(webhook.dead.as_slice())
        }
        Record::DeadLetter(letter) => letter.body.len() + letter.error.len(),
        Record::Name(_)
        | Record::Opens(_)
        | Record::Count(_)
        | Record::Attempts(_)
        | Record::Asset(_)
        | Record::Account(_)
        | Record::Hold(_)
        | Record::Totals(_)
        | Record::Asked
        | Record::Reference(_)
        | Record::One(_)
        | Record::Workflow(_) => 0,
    }
}

/// Estimates the bytes of a version of a workflow, compiled.
fn definition_bytes(published: &Published) -> usize {
    COMPILED_BYTES + published.source.len() * (1 + COMPILED_TIMES)
}

/// Estimates the bytes of decoded JSON beyond those of the [`Value`] itself.
#[must_use]
pub fn json_bytes(value: &Value) -> usize {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => 0,
        Value::String(text) => TEXT_BYTES + text.len(),
        Value::Array(items) => {
            let inner: usize = items.iter().map(json_bytes).sum();
            TEXT_BYTES + items.capacity() * size_of::<Value>() + inner
        }
        Value::Object(members) => {
            let one = |(key, value): (&String, &Value)| TEXT_BYTES + key.len() + json_bytes(value);
            let inner: usize = members.iter().map(one).sum();
            members.len().div_ceil(NODE_KEYS) * NODE_BYTES + inner
        }
    }
}

fn tx_bytes(tx: &Tx) -> usize {
    let lists = tx.joins.len()
        + tx.holds.len() * 2
        + tx.taken.len()
        + tx.stuck_too.len()
        + tx.asked.len()
        + tx.heard.len()
        + tx.commits.len();
    let done = tx.done.iter().map(|done| {
        let undo = done.undo.len() * ELEMENT_BYTES;
        ELEMENT_BYTES + undo + done.calls.iter().map(request_bytes).sum::<usize>()
    });
    let calls = tx.calls.iter().map(|call| {
        let kept =
            if let CallState::AnswerHeld(answer) = &call.state { json_bytes(answer) } else { 0 };
        let answer = call.answer.as_ref().map_or(0, |answer| text(&answer.body));
        2 * ELEMENT_BYTES + request_bytes(&call.ask) + kept + answer
    });
    size_of::<Tx>()
        + json_bytes(&tx.data)
        + lists * ELEMENT_BYTES
        + tx.open.iter().map(open_bytes).sum::<usize>()
        + tx.challenges.iter().map(challenge_bytes).sum::<usize>()
        + done.sum::<usize>()
        + calls.sum::<usize>()
}

fn open_bytes(open: &OpenStep) -> usize {
    let submission = |one: &Submission| ELEMENT_BYTES + json_bytes(&one.input);
    size_of::<OpenStep>()
        + open.submissions.iter().map(submission).sum::<usize>()
        + (open.users.len() + open.roles.len()) * TEXT_BYTES * 2
}

fn challenge_bytes(challenge: &Challenge) -> usize {
    let send = challenge.send.as_ref().map_or(0, |send| ELEMENT_BYTES + request_bytes(&send.1));
    ELEMENT_BYTES + text(&challenge.binds) + send
}

fn request_bytes(ask: &HttpRequestSpec) -> usize {
    let headers = ask.headers.iter().map(|(name, value)| text(name) + text(value));
    size_of::<HttpRequestSpec>()
        + text(&ask.url)
        + ask.body.as_ref().map_or(0, text)
        + headers.sum::<usize>()
}

fn text(text: &Arc<str>) -> usize {
    TEXT_BYTES + text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes that a tree of values takes, counted node by node as the standard library has them.
    fn counted(value: &Value) -> usize {
        match value {
            Value::Array(items) => {
                size_of_val(items.as_slice()) + items.iter().map(counted).sum::<usize>()
            }
            // A tree has a node of 11 keys even for one key.
            Value::Object(members) if !members.is_empty() => {
                let node = 11 * (size_of::<String>() + size_of::<Value>());
                let of_keys = members.iter().map(|(key, value)| key.len() + counted(value));
                node.max(members.len() * node / 11) + of_keys.sum::<usize>()
            }
            Value::String(text) => text.len(),
            _ => 0,
        }
    }

    #[test]
    fn decoded_json_is_never_counted_too_low() {
        for text in
            ["[1,1,1,1,1,1,1,1]", "[{},{},[]]", "[{\"a\":1},{\"a\":{\"b\":\"cc\"}}]", "\"x\""]
        {
            let value: Value = serde_json::from_str(text).unwrap_or_default();
            assert!(json_bytes(&value) >= counted(&value), "{text}");
        }
        let many: Value =
            serde_json::from_str(&format!("[{}1]", "1,".repeat(32_000))).unwrap_or_default();
        assert!(json_bytes(&many) >= 32_000 * size_of::<Value>());
    }
}
