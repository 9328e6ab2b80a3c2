//! `/v1/values`: reference values that expressions read: prices, fees, limits.

use std::sync::Arc;

use http::StatusCode;
use schemars::{JsonSchema, SchemaGenerator};
use serde::{Deserialize, Serialize};

use super::accounts::PublicReader;
use super::input::Media;
use super::pagination;
use super::problem::{Code, Problem};
use super::reply::Reply;
use super::request_context::{RequestContext, unexpected};
use super::route::{Body, Condition, Operation, ResponseSpec};
use super::schemas::JsonText;
use super::users;
use crate::engine::{Command, Outcome, Refusal, ValueKey};
use crate::types::ValueName;

/// A reference value in its set.
#[derive(Serialize, JsonSchema)]
struct ReferenceValue {
    /// Its key.
    #[schemars(with = "String")]
    key: String,
    /// The value: any JSON.
    #[schemars(with = "serde_json::Value")]
    value: JsonText,
}

/// A page of a set of reference values.
#[derive(Serialize, JsonSchema)]
pub(super) struct ReferenceValuePage {
    /// Who else may read the set.
    read: &'static [PublicReader],
    /// By key.
    items: Vec<ReferenceValue>,
    /// The `cursor` of the next page; `null`: nothing is left.
    next_cursor: Option<String>,
}

fn any(_: &mut SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!(true)
}

const VALUE: ResponseSpec =
    ResponseSpec::json(200, "The value.", any, r#"{"price":"19.90"}"#).with(&["ETag"]);

fn id(request: &RequestContext) -> Result<ValueKey, Problem> {
    let id = ValueKey::new(request.parameters.at(0), request.parameters.at(1));
    id.ok_or_else(|| Problem::from(Refusal::NotFound("value")))
}

pub(super) const PUT: Operation = Operation {
    id: "putValue",
    tag: "values",
    summary: "Writes a reference value",
    condition: Condition::IfMatch,
    idempotency: true,
    body: Some(Body { content: &[(Media::Json, any)], example: r#"{"price":"19.90"}"# }),
    answers: &[ResponseSpec::json(201, "There was none.", any, "").with(&["ETag"]), VALUE],
    problems: &[Code::TooLarge, Code::InvalidInput],
    ..Operation::PLAIN
};

pub(super) async fn put(request: RequestContext) -> Result<Reply, Problem> {
    let id =
        ValueKey::new(request.parameters.at(0), request.parameters.at(1)).ok_or_else(|| {
            let message = "a set and a key are 1 to 64 characters of A-Z, a-z, 0-9 and : . _ -";
            Problem::field("/key", "invalid-value", message)
        })?;
    let (value, if_match) = (request.json_value()?, request.if_match()?);
    let write = |outcome: &Outcome, _| match outcome {
        Outcome::Value { json, revision, created } => {
            let status = if *created { StatusCode::CREATED } else { StatusCode::OK };
            Ok(Reply::json_bytes(json.as_bytes().to_vec()).status(status).at(*revision))
        }
        other => Err(unexpected(other)),
    };
    Ok(request.execute(Command::PutValue { id, value, if_match }, write).await)
}

pub(super) const GET: Operation = Operation {
    id: "getValue",
    tag: "values",
    summary: "A reference value",
    text: "For publishers, auditors and services; in a set with `read: [\"anyone\"]` for \
           everybody.",
    condition: Condition::IfNoneMatch,
    answers: &[VALUE, ResponseSpec::empty(304, "The caller has it already.").with(&["ETag"])],
    problems: &[Code::NotFound, Code::NotAllowed],
    ..Operation::PLAIN
};

pub(super) fn get(request: &RequestContext) -> Result<Reply, Problem> {
    let (json, revision) = request.api.app.value(request.actor(), &id(request)?)?;
    match request.not_modified(revision)? {
        Some(reply) => Ok(reply),
        None => Ok(Reply::json_bytes(json.as_bytes().to_vec()).at(revision)),
    }
}

pub(super) const LIST: Operation = Operation {
    id: "listValues",
    tag: "values",
    summary: "A set of reference values, by key",
    text: "For publishers, auditors and services; a set with `read: [\"anyone\"]` is for \
           everybody.",
    query: &[users::LIST.query[0], pagination::CURSOR],
    answers: &[ResponseSpec::json(
        200,
        "A page of values.",
        SchemaGenerator::subschema_for::<ReferenceValuePage>,
        "",
    )],
    problems: &[Code::NotFound, Code::NotAllowed, Code::InvalidInput],
    ..Operation::PLAIN
};

pub(super) fn list(request: &RequestContext) -> Result<Reply, Problem> {
    let set = request.parameters.at(0).parse::<ValueName>();
    let set = set.map_err(|_| Problem::from(Refusal::NotFound("value")))?;
    let after = pagination::after(request)?;
    let limit = request.query.limit()?;
    let (values, next) = request.api.app.values(request.actor(), &set, limit, after)?;
    let (items, next_cursor) = pagination::bounded(
        request,
        &values,
        next,
        |(key, _)| key.clone(),
        |(key, json)| ReferenceValue { key: key.to_string(), value: JsonText(Arc::clone(json)) },
    );
    let read = readers(request.api.app.anyone_reads_values(&set)?);
    Reply::json(&ReferenceValuePage { read, items, next_cursor })
}

/// Who else may read a set of reference values.
#[derive(Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ValueSetAccess {
    /// `anyone`: everybody, without a login too. Empty: publishers, auditors and services alone.
    #[schemars(length(max = 1))]
    read: Vec<PublicReader>,
}

const fn readers(read_anyone: bool) -> &'static [PublicReader] {
    if read_anyone { &[PublicReader::Anyone] } else { &[] }
}

pub(super) const CHANGE_SET: Operation = Operation {
    id: "putValueSet",
    tag: "values",
    summary: "Sets who else may read a set of reference values",
    text: "Its values stay as they are; it may be said before there is any.",
    idempotency: true,
    body: Some(Body {
        content: &[(Media::Json, SchemaGenerator::subschema_for::<ValueSetAccess>)],
        example: r#"{"read":["anyone"]}"#,
    }),
    answers: &[ResponseSpec::json(
        200,
        "Who else may read it now.",
        SchemaGenerator::subschema_for::<ValueSetAccess>,
        r#"{"read":["anyone"]}"#,
    )],
    problems: &[Code::InvalidInput],
    ..Operation::PLAIN
};

pub(super) async fn change_set(request: RequestContext) -> Result<Reply, Problem> {
    let set = request.parameters.at(0).parse::<ValueName>().map_err(|_| {
        let message = "a set is 1 to 64 characters of A-Z, a-z, 0-9 and : . _ -";
        Problem::field("/set", "invalid-value", message)
    })?;
    let ValueSetAccess { read } = request.json()?;
    if read.len() > 1 {
        return Err(Problem::field("/read", "too-long", "holds `anyone` once, or nothing"));
    }
    let read_anyone = !read.is_empty();
    let write =
        move |_: &Outcome, _| Reply::json(&ValueSetAccess { read: readers(read_anyone).to_vec() });
    Ok(request.execute(Command::ChangeValueSet { set, read_anyone }, write).await)
}

pub(super) const DELETE: Operation = Operation {
    id: "deleteValue",
    tag: "values",
    summary: "Deletes a reference value",
    condition: Condition::IfMatch,
    idempotency: true,
    answers: &[ResponseSpec::empty(204, "It is gone.")],
    problems: &[Code::NotFound],
    ..Operation::PLAIN
};

pub(super) async fn delete(request: RequestContext) -> Result<Reply, Problem> {
    let id = id(&request)?;
    Ok(request.execute_quietly(Command::DeleteValue { id }).await)
}
