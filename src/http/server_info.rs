//! What operators and clients ask about the server itself.

use std::borrow::Cow;
use std::collections::BTreeMap;

use schemars::{JsonSchema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use super::input::{self, Media};
use super::problem::{Code, Problem};
use super::reply::Reply;
use super::request_context::RequestContext;
use super::route::{Body, Operation, ResponseSpec};
use super::schemas::{object, text};
use crate::engine::Rules;
use crate::types::{Span, Time};

/// The answer of a probe.
#[derive(Serialize, JsonSchema)]
pub(super) struct HealthResponse {
    /// `ok` or `ready`.
    status: &'static str,
}

pub(super) const LIVE: Operation = Operation {
    id: "livez",
    tag: "operations",
    summary: "Whether the process answers",
    answers: &[ResponseSpec::json(
        200,
        "It does.",
        SchemaGenerator::subschema_for::<HealthResponse>,
        r#"{"status":"ok"}"#,
    )],
    ..Operation::PLAIN
};

pub(super) fn live(_: &RequestContext) -> Reply {
    Reply::json_bytes(&br#"{"status":"ok"}"#[..])
}

pub(super) const READY: Operation = Operation {
    id: "readyz",
    tag: "operations",
    summary: "Whether the server takes requests, else why not",
    answers: &[ResponseSpec::json(
        200,
        "It does.",
        SchemaGenerator::subschema_for::<HealthResponse>,
        r#"{"status":"ready"}"#,
    )],
    problems: &[Code::NotReady],
    ..Operation::PLAIN
};

pub(super) fn ready(request: &RequestContext) -> Result<Reply, Problem> {
    match request.api.readiness.reason() {
        None => Ok(Reply::json_bytes(&br#"{"status":"ready"}"#[..])),
        Some(reason) => Err(Problem::new(Code::NotReady, reason)),
    }
}

pub(super) const METRICS: Operation = Operation {
    id: "metrics",
    tag: "operations",
    summary: "Measurements in the text format of Prometheus",
    answers: &[ResponseSpec {
        body: Some(("application/openmetrics-text", text, "")),
        ..ResponseSpec::empty(200, "The measurements.")
    }],
    ..Operation::PLAIN
};

pub(super) fn metrics(request: &RequestContext) -> Reply {
    let text = (request.api.metrics)();
    Reply::text("application/openmetrics-text; version=1.0.0; charset=utf-8", text)
}

pub(super) const OPENAPI: Operation = Operation {
    id: "openapi",
    tag: "pages",
    summary: "This document: OpenAPI 3.1",
    answers: &[ResponseSpec::json(200, "The document.", object, "")],
    ..Operation::PLAIN
};

pub(super) fn openapi(request: &RequestContext) -> Reply {
    Reply::json_bytes(request.api.openapi.clone())
}

pub(super) const ASYNCAPI: Operation =
    Operation { id: "asyncapi", summary: "The events and streams: AsyncAPI 3.0", ..OPENAPI };

pub(super) fn asyncapi(request: &RequestContext) -> Reply {
    Reply::json_bytes(request.api.asyncapi.clone())
}

/// What this server allows.
#[derive(Serialize, JsonSchema)]
pub(super) struct CapabilitiesResponse<'a> {
    /// The version of the API.
    api: u32,
    /// Whether everybody may register.
    registration_open: bool,
    /// Whether anonymous sessions can be opened.
    anonymous_open: bool,
    /// Whether it runs for development: the clock can be moved, nothing is rate-limited.
    dev: bool,
    /// What passwords must be.
    password: PasswordLimits,
    /// The time-outs of a session that names no profile.
    session: SessionTimeouts,
    /// The time-outs that a login can name.
    profiles: BTreeMap<&'a str, SessionTimeouts>,
    /// Sizes.
    limits: SizeLimits,
}

/// What passwords must be.
#[derive(Serialize, JsonSchema)]
pub(super) struct PasswordLimits {
    /// Least characters.
    chars_min: usize,
    /// Most characters.
    chars_max: usize,
}

/// The time-outs of a session.
#[derive(Serialize, JsonSchema)]
pub(super) struct SessionTimeouts {
    /// Maximum time without a request.
    idle: Span,
    /// Maximum lifetime.
    absolute: Span,
}

/// Sizes.
#[derive(Serialize, JsonSchema)]
pub(super) struct SizeLimits {
    /// Most bytes of a body.
    body_bytes: usize,
    /// Most bytes of a session's or a user's data, as compact JSON.
    data_bytes: usize,
    /// Deepest nesting of JSON.
    json_depth: usize,
    /// Most rows of a page.
    page_rows: usize,
    /// Most live sessions of a user; the next one ends the oldest.
    sessions_per_user: usize,
}

pub(super) const CAPABILITIES: Operation = Operation {
    id: "capabilities",
    tag: "operations",
    summary: "What this server allows and its limits",
    answers: &[ResponseSpec::json(
        200,
        "The capabilities.",
        SchemaGenerator::subschema_for::<CapabilitiesResponse<'_>>,
        "",
    )],
    ..Operation::PLAIN
};

pub(super) fn capabilities(request: &RequestContext) -> Result<Reply, Problem> {
    let (rules, settings) = (request.api.app.rules(), &request.api.settings);
    let timeouts = |profile: &crate::engine::Profile| SessionTimeouts {
        idle: profile.idle,
        absolute: profile.absolute,
    };
    let profiles = rules.profiles.iter();
    Reply::json(&CapabilitiesResponse {
        api: 1,
        registration_open: rules.registration_open,
        anonymous_open: rules.anonymous_open,
        dev: settings.dev,
        password: PasswordLimits {
            chars_min: rules.password_chars_min,
            chars_max: Rules::PASSWORD_CHARS_MAX,
        },
        session: timeouts(&rules.profile),
        profiles: profiles.map(|(name, profile)| (name.as_str(), timeouts(profile))).collect(),
        limits: SizeLimits {
            body_bytes: settings.body_bytes_max,
            data_bytes: rules.data_bytes_max,
            json_depth: super::json::DEPTH_MAX,
            page_rows: input::PAGE_MAX,
            sessions_per_user: rules.sessions_per_user_max,
        },
    })
}

/// Status of the server.
#[derive(Serialize, JsonSchema)]
pub(super) struct ServerStatusResponse {
    /// The server's time.
    now: Time,
    /// Whether it takes requests; else `reason` says why not.
    ready: bool,
    /// Why it takes none.
    reason: Option<Cow<'static, str>>,
    /// Commands that wait for the executor.
    queue_depth: usize,
    /// Whether it runs for development.
    dev: bool,
}

pub(super) const STATUS: Operation = Operation {
    id: "status",
    tag: "operations",
    summary: "Status of the server",
    answers: &[ResponseSpec::json(
        200,
        "The status.",
        SchemaGenerator::subschema_for::<ServerStatusResponse>,
        "",
    )],
    ..Operation::PLAIN
};

pub(super) fn status(request: &RequestContext) -> Result<Reply, Problem> {
    let reason = request.api.readiness.reason();
    Reply::json(&ServerStatusResponse {
        now: request.api.app.now(),
        ready: reason.is_none(),
        reason,
        queue_depth: request.api.app.queue_depth(),
        dev: request.api.settings.dev,
    })
}

/// By how much the clock is to be moved.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct MoveClockRequest {
    /// How far to move it forward.
    #[schemars(schema_with = "advance_schema")]
    advance: Span,
}

/// Small steps, so that whoever tries things out does not leave the calendar.
fn advance_schema(_: &mut SchemaGenerator) -> schemars::Schema {
    json_schema!({ "type": "string", "pattern": "^[1-9][0-9]{0,2}(ms|s|m|h|d)$" })
}

/// The clock.
#[derive(Serialize, JsonSchema)]
pub(super) struct ClockResponse {
    /// The server's time.
    now: Time,
}

pub(super) const CLOCK: Operation = Operation {
    id: "moveClock",
    tag: "operations",
    summary: "Moves the server's clock forward; only with --dev",
    text: "Answers when all timers that are due by then have fired. Sessions go by this clock too: idle \
           sessions end.",
    body: Some(Body {
        content: &[(Media::Json, SchemaGenerator::subschema_for::<MoveClockRequest>)],
        example: r#"{"advance":"72h"}"#,
    }),
    answers: &[ResponseSpec::json(
        200,
        "The new time.",
        SchemaGenerator::subschema_for::<ClockResponse>,
        r#"{"now":"2026-11-27T10:00:00.000Z"}"#,
    )],
    problems: &[Code::NotFound],
    ..Operation::PLAIN
};

pub(super) async fn clock(request: RequestContext) -> Result<Reply, Problem> {
    let MoveClockRequest { advance } = request.json()?;
    Reply::json(&ClockResponse {
        now: request.api.app.advance_clock(request.actor(), advance).await?,
    })
}
