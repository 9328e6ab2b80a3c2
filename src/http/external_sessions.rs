//! `/v1/sessions/by-key/{key}`: a session store for another framework, which makes the keys itself.
//! Each API key has a key space of its own.

use http::StatusCode;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::operation::{Operation, Parameter};
use super::problem::{Code, Problem};
use super::reply::Reply;
use super::request_context::{RequestContext, unexpected};
use super::schemas::{JsonText, flag};
use crate::engine::{Command, Outcome, StoredKey, StoredView};
use crate::types::{Span, Time, Username};

/// A session of another framework.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct PutExternalSessionRequest {
    /// The session as the framework has it.
    data: Map<String, Value>,
    /// Lifetime without use, 1s to 400d; absent: as the configuration says.
    #[serde(default)]
    #[schemars(schema_with = "idle")]
    idle: Option<Span>,
    /// The user: the session ends with the user's other sessions.
    #[serde(default)]
    user: Option<Username>,
}

fn idle(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": ["string", "null"],
        "pattern": "^([1-9][0-9]{0,2}[smh]|[1-9][0-9]?d)$",
        "description": "How long it lives without use, 1s to 400d.",
    })
}

/// A session of another framework, as it is stored.
#[derive(Serialize, JsonSchema)]
pub(super) struct ExternalSessionResponse<'a> {
    /// The session as the framework has it.
    data: JsonText,
    /// The user.
    user: Option<&'a Username>,
    /// When it ends if it is not used.
    idle_expires_at: Time,
}

const EXAMPLE: &str =
    r#"{"data":{"views":3},"user":"alice","idle_expires_at":"2026-11-24T10:30:00.000Z"}"#;

fn shown(stored: &StoredView) -> Result<Reply, Problem> {
    let shown = ExternalSessionResponse {
        data: JsonText(stored.data.json.clone()),
        user: stored.user.as_ref().map(|user| &user.username),
        idle_expires_at: stored.idle_expires_at,
    };
    Ok(Reply::json(&shown)?.at(stored.data.revision))
}

fn key(request: &RequestContext) -> Result<StoredKey, Problem> {
    StoredKey::new(request.parameters.at(0)).ok_or_else(|| {
        let message = format!("a key has 1 to {} bytes", StoredKey::BYTES_MAX);
        Problem::field("/key", "too-long", message)
    })
}

pub(super) const PUT: Operation = Operation::new(
    "putStoredSession",
    "by-key",
    "Stores another framework's session under the framework's own key",
)
.if_match()
.idempotent()
.body::<PutExternalSessionRequest>(r#"{"data":{"views":3},"idle":"30m","user":"alice"}"#)
.json::<ExternalSessionResponse<'_>>(200, "The session.", EXAMPLE)
.etag()
.json::<ExternalSessionResponse<'_>>(201, "There was none under this key.", EXAMPLE)
.etag()
.links(&[
    ("getStoredSession", "key", "$request.path.key"),
    ("deleteStoredSession", "key", "$request.path.key"),
])
.problems(&[Code::TooLarge, Code::NotFound]);

pub(super) async fn put(request: RequestContext) -> Result<Reply, Problem> {
    let key = key(&request)?;
    let PutExternalSessionRequest { data, idle, user } = request.json()?;
    let write = |outcome: &Outcome, _| match outcome {
        Outcome::Stored { stored, created } => {
            let status = if *created { StatusCode::CREATED } else { StatusCode::OK };
            Ok(shown(stored)?.status(status))
        }
        other => Err(unexpected(other)),
    };
    Ok(request.execute(Command::PutStored { key, data, idle, user }, write).await)
}

pub(super) const GET: Operation = Operation::new(
    "getStoredSession",
    "by-key",
    "Another framework's session; reading it counts as activity",
)
.query(&[Parameter {
    name: "touch",
    text: "`false`: reading it does not count as activity.",
    schema: flag,
}])
.if_none_match()
.json::<ExternalSessionResponse<'_>>(200, "The session.", EXAMPLE)
.problems(&[Code::NotFound, Code::InvalidInput]);

pub(super) async fn get(request: RequestContext) -> Result<Reply, Problem> {
    let touch = request.query.flag("touch")?.unwrap_or(true);
    let stored = request.api.app.stored(request.actor(), &key(&request)?, touch).await?;
    match request.not_modified(stored.data.revision)? {
        Some(reply) => Ok(reply),
        None => shown(&stored),
    }
}

pub(super) const DELETE: Operation = Operation::new(
    "deleteStoredSession",
    "by-key",
    "Deletes another framework's session; succeeds if there is none",
)
.if_match()
.idempotent()
.empty(204, "There is none under this key.")
.problems(&[Code::InvalidInput]);

pub(super) async fn delete(request: RequestContext) -> Result<Reply, Problem> {
    let key = key(&request)?;
    Ok(request.execute_quietly(Command::DeleteStored { key }).await)
}
