//! `/v1/api-keys`: the credentials of services.

use http::StatusCode;
use http::header;
use schemars::{JsonSchema, SchemaGenerator};
use serde::{Deserialize, Serialize};

use super::operation::{Operation, Parameter};
use super::pagination;
use super::problem::{Code, Problem};
use super::reply::Reply;
use super::request_context::{RequestContext, unexpected};
use crate::engine::{Command, KeyView, Outcome, Refusal};
use crate::types::{KeyId, Role, Time, UserPattern};

/// A new API key.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct CreateApiKeyRequest {
    /// A name for people; not unique.
    #[schemars(length(min = 1, max = 256))]
    name: String,
    /// Roles of the service.
    #[serde(default)]
    #[schemars(length(max = 64))]
    roles: Vec<Role>,
    /// Users for whom it may open sessions; empty: none.
    #[serde(default)]
    #[schemars(length(max = 64))]
    on_behalf: Vec<UserPattern>,
}

/// An API key.
#[derive(Serialize, JsonSchema)]
pub(super) struct ApiKeyResponse<'a> {
    /// Id of the key; no secret.
    id: KeyId,
    /// The name that its maker gave it.
    name: &'a str,
    /// Roles of the service.
    roles: &'a [Role],
    /// Users for whom it may open sessions.
    on_behalf: &'a [UserPattern],
    /// When it was created.
    created_at: Time,
    /// The secret; only in the answer that creates the key.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", default)]
    key: Option<&'a str>,
}

/// A page of API keys.
#[derive(Serialize, JsonSchema)]
pub(super) struct ApiKeyPage<'a> {
    /// Newest first.
    items: Vec<ApiKeyResponse<'a>>,
    /// The `cursor` of the next page; `null`: nothing is left.
    next_cursor: Option<String>,
}

impl<'a> ApiKeyResponse<'a> {
    fn new(key: &'a KeyView, secret: Option<&'a str>) -> Self {
        Self {
            id: key.id,
            name: &key.name,
            roles: &key.roles,
            on_behalf: &key.on_behalf,
            created_at: key.created_at,
            key: secret,
        }
    }
}

pub(super) const CREATE: Operation = Operation::new("createApiKey", "api-keys", "Creates an API key; the secret is shown once")
    .body::<CreateApiKeyRequest>(r#"{"name":"shop","roles":["clerk"],"on_behalf":["*@shop.example"]}"#)
    .json::<ApiKeyResponse<'_>>(201, "The key, with its secret in `key`.", r#"{"id":"key_01jd9x2k7m8n4p5q6r7s8t9v0w","name":"shop","roles":["clerk"],"on_behalf":["*@shop.example"],"created_at":"2026-11-24T10:00:00.000Z","key":"abk_7hXq0Zc5r2mVJ8nYtB4wKdE1sLpG6uFaQ9xTi3RoNvM"}"#)
    .etag()
    .with(&["Location"])
    .links(&[("revokeApiKey", "id", "$response.body#/id")])
    .problems(&[Code::LimitReached]);

pub(super) async fn create(request: RequestContext) -> Result<Reply, Problem> {
    let CreateApiKeyRequest { name, roles, on_behalf } = request.json()?;
    if name.is_empty() {
        return Err(Problem::field("/name", "too-short", "a key has a name for people"));
    }
    let write = |outcome: &Outcome, _| match outcome {
        Outcome::KeyCreated { key, token } => {
            Ok(Reply::json(&ApiKeyResponse::new(key, Some(token.reveal())))?
                .status(StatusCode::CREATED)
                .at(key.revision)
                .with_text(header::LOCATION, &format!("/v1/api-keys/{}", key.id)))
        }
        other => Err(unexpected(other)),
    };
    Ok(request.execute(Command::CreateKey { name, roles, on_behalf }, write).await)
}

pub(super) const LIST: Operation =
    Operation::new("listApiKeys", "api-keys", "All API keys, newest first, without their secrets")
        .query(pagination::PARAMETERS)
        .json::<ApiKeyPage<'_>>(200, "A page of keys.", "")
        .problems(&[Code::InvalidInput]);

pub(super) fn list(request: &RequestContext) -> Result<Reply, Problem> {
    let page = request.api.app.keys(request.actor(), pagination::ask(request)?)?;
    let (after, shown) = (|key: &KeyView| key.id, |key| ApiKeyResponse::new(key, None));
    let (items, next_cursor) = pagination::bounded(request, &page.items, page.next, after, shown);
    Reply::json(&ApiKeyPage { items, next_cursor })
}

pub(super) const REVOKE: Operation = Operation::new("revokeApiKey", "api-keys", "Revokes an API key: it is void at once")
    .text("So are the sessions that it opened on behalf of users and the password links that it \
           made. With `keep_sessions=true` these sessions live on, for a service that is replaced in \
           an orderly way; its links are void all the same.")
    .query(&[Parameter {
        name: "keep_sessions",
        text: "Whether the sessions that the key opened live on; default false.",
        schema: SchemaGenerator::subschema_for::<bool>,
    }])
    .if_match()
    .idempotent()
    .empty(204, "The key is dead.")
    .problems(&[Code::NotFound, Code::InvalidInput]);

pub(super) async fn revoke(request: RequestContext) -> Result<Reply, Problem> {
    let id = request.parameters.at(0).parse();
    let key = id.map_err(|_| Problem::from(Refusal::NotFound("API key")))?;
    let keep_sessions = request.query.flag("keep_sessions")?.unwrap_or(false);
    Ok(request.execute_quietly(Command::RevokeKey { key, keep_sessions }).await)
}
