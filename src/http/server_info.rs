//! Operations about the server itself: probes, metrics, capabilities, status, clock.

use std::borrow::Cow;
use std::collections::BTreeMap;

use schemars::{JsonSchema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use super::input;
use super::operation::Operation;
use super::problem::{Code, Problem};
use super::reply::Reply;
use super::request_context::RequestContext;
use super::schemas::object;
use crate::engine::Rules;
use crate::types::{Span, Time};

/// The answer of a probe.
#[derive(Serialize, JsonSchema)]
pub(super) struct HealthResponse {
    /// `ok` or `ready`.
    status: &'static str,
}

pub(super) const LIVE: Operation = Operation::new(
    "livez",
    "operations",
    "Whether the process answers",
)
.json::<HealthResponse>(200, "It does.", r#"{"status":"ok"}"#);

pub(super) fn live(_: &RequestContext) -> Reply {
    Reply::json_bytes(&br#"{"status":"ok"}"#[..])
}

pub(super) const READY: Operation =
    Operation::new("readyz", "operations", "Whether the server takes requests, else why not")
        .json::<HealthResponse>(200, "It does.", r#"{"status":"ready"}"#)
        .problems(&[Code::NotReady]);

pub(super) fn ready(request: &RequestContext) -> Result<Reply, Problem> {
    match request.api.readiness.reason() {
        None => Ok(Reply::json_bytes(&br#"{"status":"ready"}"#[..])),
        Some(reason) => Err(Problem::new(Code::NotReady, reason)),
    }
}

pub(super) const METRICS: Operation = Operation::new(
    "metrics",
    "operations",
    "Measurements in the text format of Prometheus",
)
.media(200, "The measurements.", "application/openmetrics-text");

pub(super) fn metrics(request: &RequestContext) -> Reply {
    let text = (request.api.metrics)();
    Reply::text("application/openmetrics-text; version=1.0.0; charset=utf-8", text)
}

pub(super) const OPENAPI: Operation = Operation::new(
    "openapi",
    "pages",
    "This document: OpenAPI 3.1",
)
.json_of(200, "The document.", object, "");

pub(super) fn openapi(request: &RequestContext) -> Reply {
    Reply::json_bytes(request.api.openapi.clone())
}

pub(super) const ASYNCAPI: Operation =
    OPENAPI.named("asyncapi", "The events and streams: AsyncAPI 3.0");

pub(super) fn asyncapi(request: &RequestContext) -> Reply {
    Reply::json_bytes(request.api.asyncapi.clone())
}

/// Capabilities of this server.
#[derive(Serialize, JsonSchema)]
pub(super) struct CapabilitiesResponse<'a> {
    /// The version of the API.
    api: u32,
    /// True if everybody may register.
    registration_open: bool,
    /// True if anonymous sessions can be opened.
    anonymous_open: bool,
    /// True if the server runs for development: the clock can be moved, nothing is rate-limited.
    dev: bool,
    /// Limits of passwords.
    password: PasswordLimits,
    /// The time-outs of a session that names no profile.
    session: SessionTimeouts,
    /// The time-outs that a login can name.
    profiles: BTreeMap<&'a str, SessionTimeouts>,
    /// Sizes.
    limits: SizeLimits,
}

/// Limits of passwords.
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
    /// Maximum size of a body, in bytes.
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

pub(super) const CAPABILITIES: Operation =
    Operation::new("capabilities", "operations", "What this server allows and its limits")
        .json::<CapabilitiesResponse<'_>>(200, "The capabilities.", "");

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
    /// True if the server takes requests; else `reason` says why not.
    ready: bool,
    /// Reason for which it takes none.
    reason: Option<Cow<'static, str>>,
    /// Commands that wait for the executor.
    queue_depth: usize,
    /// True if the server runs for development.
    dev: bool,
}

pub(super) const STATUS: Operation = Operation::new("status", "operations", "Status of the server")
    .json::<ServerStatusResponse>(200, "The status.", "");

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

/// Time span by which the clock is to be moved.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct MoveClockRequest {
    /// Time span to move the clock forward by.
    #[schemars(schema_with = "advance_schema")]
    advance: Span,
}

/// Small steps only, so that an experiment does not leave the calendar.
fn advance_schema(_: &mut SchemaGenerator) -> schemars::Schema {
    json_schema!({ "type": "string", "pattern": "^[1-9][0-9]{0,2}(ms|s|m|h|d)$" })
}

/// The clock.
#[derive(Serialize, JsonSchema)]
pub(super) struct ClockResponse {
    /// The server's time.
    now: Time,
}

pub(super) const CLOCK: Operation = Operation::new(
    "moveClock",
    "operations",
    "Moves the server's clock forward; only with --dev",
)
.text(
    "Answers when all timers that are due by then have fired. Sessions go by this clock too: idle \
           sessions end.",
)
.body::<MoveClockRequest>(r#"{"advance":"72h"}"#)
.json::<ClockResponse>(200, "The new time.", r#"{"now":"2026-11-27T10:00:00.000Z"}"#)
.problems(&[Code::NotFound]);

pub(super) async fn clock(request: RequestContext) -> Result<Reply, Problem> {
    let MoveClockRequest { advance } = request.json()?;
    Reply::json(&ClockResponse {
        now: request.api.app.advance_clock(request.actor(), advance).await?,
    })
}
