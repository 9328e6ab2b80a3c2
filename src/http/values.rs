//! `/v1/values`: reference values that expressions read: prices, fees, limits.

use std::sync::Arc;

use http::StatusCode;
use schemars::{JsonSchema, SchemaGenerator};
use serde::{Deserialize, Serialize};

use super::accounts::Reader;
use super::call::{Call, unexpected};
use super::input::Media;
use super::lists;
use super::problem::{Code, Problem};
use super::reply::Reply;
use super::route::{AnswerDoc, Body, Condition, Doc};
use super::schemas::JsonText;
use super::users;
use crate::engine::{Command, Outcome, Refusal, ValueKey};
use crate::types::ValueName;

/// A reference value in its set.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "ReferenceValue")]
struct Shown {
    /// Its key.
    #[schemars(with = "String")]
    key: String,
    /// The value: any JSON.
    #[schemars(with = "serde_json::Value")]
    value: JsonText,
}

/// A page of a set of reference values.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "ReferenceValues")]
pub(super) struct Page {
    /// Who else may read the set.
    read: &'static [Reader],
    /// By key.
    items: Vec<Shown>,
    /// The `cursor` of the next page; `null`: nothing is left.
    next_cursor: Option<String>,
}

fn any(_: &mut SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!(true)
}

const VALUE: AnswerDoc =
    AnswerDoc::json(200, "The value.", any, r#"{"price":"19.90"}"#).with(&["ETag"]);

fn id(call: &Call) -> Result<ValueKey, Problem> {
    let id = ValueKey::new(call.parameters.at(0), call.parameters.at(1));
    id.ok_or_else(|| Problem::from(Refusal::NotFound("value")))
}

pub(super) const PUT: Doc = Doc {
    id: "putValue",
    tag: "values",
    summary: "Writes a reference value",
    condition: Condition::IfMatch,
    idempotency: true,
    body: Some(Body { content: &[(Media::Json, any)], example: r#"{"price":"19.90"}"# }),
    answers: &[AnswerDoc::json(201, "There was none.", any, "").with(&["ETag"]), VALUE],
    problems: &[Code::TooLarge, Code::InvalidInput],
    ..Doc::PLAIN
};

pub(super) async fn put(call: Call) -> Result<Reply, Problem> {
    let id = ValueKey::new(call.parameters.at(0), call.parameters.at(1)).ok_or_else(|| {
        let message = "a set and a key are 1 to 64 characters of A-Z, a-z, 0-9 and : . _ -";
        Problem::field("/key", "invalid-value", message)
    })?;
    let (value, if_match) = (call.json_value()?, call.if_match()?);
    let write = |outcome: &Outcome, _| match outcome {
        Outcome::Value { json, revision, created } => {
            let status = if *created { StatusCode::CREATED } else { StatusCode::OK };
            Ok(Reply::json_bytes(json.as_bytes().to_vec()).status(status).at(*revision))
        }
        other => Err(unexpected(other)),
    };
    Ok(call.execute(Command::PutValue { id, value, if_match }, write).await)
}

pub(super) const GET: Doc = Doc {
    id: "getValue",
    tag: "values",
    summary: "A reference value",
    text: "For publishers, auditors and services; in a set with `read: [\"anyone\"]` for \
           everybody.",
    condition: Condition::IfNoneMatch,
    answers: &[VALUE, AnswerDoc::empty(304, "The caller has it already.").with(&["ETag"])],
    problems: &[Code::NotFound, Code::NotAllowed],
    ..Doc::PLAIN
};

pub(super) fn get(call: &Call) -> Result<Reply, Problem> {
    let (json, revision) = call.api.app.value(call.actor(), &id(call)?)?;
    match call.not_modified(revision)? {
        Some(reply) => Ok(reply),
        None => Ok(Reply::json_bytes(json.as_bytes().to_vec()).at(revision)),
    }
}

pub(super) const LIST: Doc = Doc {
    id: "listValues",
    tag: "values",
    summary: "A set of reference values, by key",
    text: "For publishers, auditors and services; a set with `read: [\"anyone\"]` is for \
           everybody.",
    query: &[users::LIST.query[0], lists::CURSOR],
    answers: &[AnswerDoc::json(
        200,
        "A page of values.",
        SchemaGenerator::subschema_for::<Page>,
        "",
    )],
    problems: &[Code::NotFound, Code::NotAllowed, Code::InvalidInput],
    ..Doc::PLAIN
};

pub(super) fn list(call: &Call) -> Result<Reply, Problem> {
    let set = call.parameters.at(0).parse::<ValueName>();
    let set = set.map_err(|_| Problem::from(Refusal::NotFound("value")))?;
    let after = lists::after(call)?;
    let limit = call.query.limit()?;
    let (values, next) = call.api.app.values(call.actor(), &set, limit, after)?;
    let (items, next_cursor) = lists::bounded(
        call,
        &values,
        next,
        |(key, _)| key.clone(),
        |(key, json)| Shown { key: key.to_string(), value: JsonText(Arc::clone(json)) },
    );
    let read = readers(call.api.app.anyone_reads_values(&set)?);
    Reply::json(&Page { read, items, next_cursor })
}

/// Who else may read a set of reference values.
#[derive(Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "ValueSet")]
pub(super) struct SetBody {
    /// `anyone`: everybody, without a login too. Empty: publishers, auditors and services alone.
    #[schemars(length(max = 1))]
    read: Vec<Reader>,
}

const fn readers(read_anyone: bool) -> &'static [Reader] {
    if read_anyone { &[Reader::Anyone] } else { &[] }
}

pub(super) const CHANGE_SET: Doc = Doc {
    id: "putValueSet",
    tag: "values",
    summary: "Sets who else may read a set of reference values",
    text: "Its values stay as they are; it may be said before there is any.",
    idempotency: true,
    body: Some(Body {
        content: &[(Media::Json, SchemaGenerator::subschema_for::<SetBody>)],
        example: r#"{"read":["anyone"]}"#,
    }),
    answers: &[AnswerDoc::json(
        200,
        "Who else may read it now.",
        SchemaGenerator::subschema_for::<SetBody>,
        r#"{"read":["anyone"]}"#,
    )],
    problems: &[Code::InvalidInput],
    ..Doc::PLAIN
};

pub(super) async fn change_set(call: Call) -> Result<Reply, Problem> {
    let set = call.parameters.at(0).parse::<ValueName>().map_err(|_| {
        let message = "a set is 1 to 64 characters of A-Z, a-z, 0-9 and : . _ -";
        Problem::field("/set", "invalid-value", message)
    })?;
    let SetBody { read } = call.json()?;
    if read.len() > 1 {
        return Err(Problem::field("/read", "too-long", "holds `anyone` once, or nothing"));
    }
    let read_anyone = !read.is_empty();
    let write = move |_: &Outcome, _| Reply::json(&SetBody { read: readers(read_anyone).to_vec() });
    Ok(call.execute(Command::ChangeValueSet { set, read_anyone }, write).await)
}

pub(super) const DELETE: Doc = Doc {
    id: "deleteValue",
    tag: "values",
    summary: "Deletes a reference value",
    condition: Condition::IfMatch,
    idempotency: true,
    answers: &[AnswerDoc::empty(204, "It is gone.")],
    problems: &[Code::NotFound],
    ..Doc::PLAIN
};

pub(super) async fn delete(call: Call) -> Result<Reply, Problem> {
    let id = id(&call)?;
    Ok(call.execute_quietly(Command::DeleteValue { id }).await)
}
