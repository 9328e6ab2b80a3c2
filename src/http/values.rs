//! `/v1/values`: reference values that expressions read: prices, fees, limits.

use std::sync::Arc;

use http::StatusCode;
use schemars::{JsonSchema, SchemaGenerator};
use serde::{Deserialize, Serialize};

use super::accounts::{PublicReader, is_public};
use super::input::Media;
use super::operation::Operation;
use super::pagination;
use super::problem::{Code, Problem};
use super::reply::Reply;
use super::request_context::{RequestContext, unexpected};
use super::schemas::JsonText;
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
    /// Further readers of the set.
    read: &'static [PublicReader],
    /// By key.
    items: Vec<ReferenceValue>,
    /// The `cursor` of the next page; `null`: nothing is left.
    next_cursor: Option<String>,
}

fn any(_: &mut SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!(true)
}

fn id(request: &RequestContext) -> Result<ValueKey, Problem> {
    let id = ValueKey::new(request.parameters.at(0), request.parameters.at(1));
    id.ok_or_else(|| Problem::from(Refusal::NotFound("value")))
}

pub(super) const PUT: Operation = Operation::new("putValue", "values", "Writes a reference value")
    .if_match()
    .idempotent()
    .body_of(Media::Json, any, r#"{"price":"19.90"}"#)
    .json_of(201, "There was none.", any, "")
    .etag()
    .json_of(200, "The value.", any, r#"{"price":"19.90"}"#)
    .etag()
    .problems(&[Code::TooLarge, Code::InvalidInput]);

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

pub(super) const GET: Operation = Operation::new("getValue", "values", "A reference value")
    .text(
        "For publishers, auditors and services; in a set with `read: [\"anyone\"]` for \
           everybody.",
    )
    .if_none_match()
    .json_of(200, "The value.", any, r#"{"price":"19.90"}"#)
    .problems(&[Code::NotFound, Code::NotAllowed]);

pub(super) fn get(request: &RequestContext) -> Result<Reply, Problem> {
    let (json, revision) = request.api.app.value(request.actor(), &id(request)?)?;
    match request.not_modified(revision)? {
        Some(reply) => Ok(reply),
        None => Ok(Reply::json_bytes(json.as_bytes().to_vec()).at(revision)),
    }
}

pub(super) const LIST: Operation =
    Operation::new("listValues", "values", "A set of reference values, by key")
        .text(
            "For publishers, auditors and services; a set with `read: [\"anyone\"]` is for \
           everybody.",
        )
        .query(pagination::PARAMETERS)
        .json::<ReferenceValuePage>(200, "A page of values.", "")
        .problems(&[Code::NotFound, Code::NotAllowed, Code::InvalidInput]);

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

/// Further readers of a set of reference values.
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

pub(super) const CHANGE_SET: Operation =
    Operation::new("putValueSet", "values", "Sets who else may read a set of reference values")
        .text("Its values stay as they are; it may be said before there is any.")
        .idempotent()
        .body::<ValueSetAccess>(r#"{"read":["anyone"]}"#)
        .json::<ValueSetAccess>(200, "Who else may read it now.", r#"{"read":["anyone"]}"#)
        .problems(&[Code::InvalidInput]);

pub(super) async fn change_set(request: RequestContext) -> Result<Reply, Problem> {
    let set = request.parameters.at(0).parse::<ValueName>().map_err(|_| {
        let message = "a set is 1 to 64 characters of A-Z, a-z, 0-9 and : . _ -";
        Problem::field("/set", "invalid-value", message)
    })?;
    let ValueSetAccess { read } = request.json()?;
    let read_anyone = is_public(&read)?;
    let write =
        move |_: &Outcome, _| Reply::json(&ValueSetAccess { read: readers(read_anyone).to_vec() });
    Ok(request.execute(Command::ChangeValueSet { set, read_anyone }, write).await)
}

pub(super) const DELETE: Operation =
    Operation::new("deleteValue", "values", "Deletes a reference value")
        .if_match()
        .idempotent()
        .empty(204, "It is gone.")
        .problems(&[Code::NotFound]);

pub(super) async fn delete(request: RequestContext) -> Result<Reply, Problem> {
    let id = id(&request)?;
    Ok(request.execute_quietly(Command::DeleteValue { id }).await)
}
