//! `/v1/sessions`: creating, reading, renewing and ending sessions.

use http::StatusCode;
use http::header;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::browser;
use super::input::Media;
use super::operation::{Limit, Operation, Parameter};
use super::pagination;
use super::problem::{Code, Problem};
use super::rates::{RateStatus, Rates};
use super::reply::Reply;
use super::request_context::{RequestContext, unexpected};
use super::schemas::JsonText;
use super::server::Scheme;
use super::strict_json;
use crate::app::App;
use crate::engine::{Command, Outcome, SessionView};
use crate::types::{Password, ProfileName, Revision, Role, SessionId, Time, Token, Username};

/// A login with a password.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct LoginRequest {
    /// Username that the client claims.
    username: Username,
    /// Password of the user.
    #[schemars(length(max = 1024))]
    password: String,
    /// The session's time-outs, if not the default ones.
    #[serde(default)]
    profile: Option<ProfileName>,
    /// True if the token comes as a cookie and only so.
    #[serde(default)]
    cookie: bool,
}

/// An anonymous session.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct AnonymousSessionRequest {
    /// The session's time-outs, if not the default ones.
    #[serde(default)]
    profile: Option<ProfileName>,
    /// True if the token comes as a cookie and only so.
    #[serde(default)]
    cookie: bool,
}

/// A session for a user whom the calling service has authenticated.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct OnBehalfSessionRequest {
    /// User of the session.
    user: Username,
    /// Confirmation that this is intended: `true`.
    #[schemars(extend("const" = true))]
    on_behalf: bool,
    /// True to create the user if there is none.
    #[serde(default)]
    create: bool,
    /// The session's time-outs, if not the default ones.
    #[serde(default)]
    profile: Option<ProfileName>,
    /// True if the token comes as a cookie and only so.
    #[serde(default)]
    cookie: bool,
}

/// The password, to confirm the user's identity.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ElevateRequest {
    /// Password of the user.
    #[schemars(length(max = 1024))]
    password: String,
}

/// A session that was opened or renewed.
#[derive(Serialize, JsonSchema)]
pub(super) struct IssuedSessionResponse<'a> {
    /// Id of the session; no secret.
    id: SessionId,
    /// The secret that opens it; shown once. Absent when it went into the cookie.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", default)]
    token: Option<&'a str>,
    /// The user; `null`: anonymous.
    user: Option<&'a Username>,
    /// The user's roles.
    roles: &'a [Role],
    /// When it was opened.
    created_at: Time,
    /// When it ends if it is not used.
    idle_expires_at: Time,
    /// When it ends, whether it is used or not.
    expires_at: Time,
    /// Time until which the password counts as freshly confirmed.
    elevated_until: Option<Time>,
}

/// A session, without its secret.
#[derive(Serialize, JsonSchema)]
pub(super) struct SessionResponse<'a> {
    /// Id of the session; no secret.
    id: SessionId,
    /// The user; `null`: anonymous.
    user: Option<&'a Username>,
    /// The user's roles.
    roles: &'a [Role],
    /// When it was opened.
    created_at: Time,
    /// When it was last used, to a twentieth of the idle time-out.
    last_seen_at: Time,
    /// When it ends if it is not used.
    idle_expires_at: Time,
    /// When it ends, whether it is used or not.
    expires_at: Time,
    /// Time until which the password counts as freshly confirmed.
    elevated_until: Option<Time>,
    /// Its time-outs, if not the default ones.
    profile: Option<&'a ProfileName>,
    /// The service that opened it on the user's behalf: its API key's name.
    via: Option<&'a str>,
    /// The `User-Agent` that it was opened with.
    device: Option<&'a str>,
    /// The address that it was opened from.
    address: Option<&'a str>,
    /// True if it is the session of the caller.
    current: bool,
    /// Number of open streams and sockets of the session.
    connections: usize,
    /// Time since which one is open; `null`: none is.
    connected_since: Option<Time>,
    /// Facts that services have noted about the session.
    facts: JsonText,
    /// The session's data, with `?include=data`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(default)]
    data: Option<JsonText>,
}

/// A page of a user's live sessions.
#[derive(Serialize, JsonSchema)]
pub(super) struct SessionPage<'a> {
    /// Newest first.
    items: Vec<SessionResponse<'a>>,
    /// The `cursor` of the next page; `null`: nothing is left.
    next_cursor: Option<String>,
}

impl<'a> IssuedSessionResponse<'a> {
    fn new(session: &'a SessionView, token: Option<&'a str>, now: Time) -> Self {
        Self {
            id: session.id,
            token,
            user: session.user.as_ref().map(|user| &user.username),
            roles: &session.roles,
            created_at: session.created_at,
            idle_expires_at: session.idle_expires_at,
            expires_at: session.expires_at,
            elevated_until: session.elevated_until.filter(|until| *until > now),
        }
    }
}

impl<'a> SessionResponse<'a> {
    fn new(session: &'a SessionView, current: Option<SessionId>, app: &App) -> Self {
        let now = app.now();
        let (connections, connected_since) = app.connections(session.id);
        Self {
            id: session.id,
            user: session.user.as_ref().map(|user| &user.username),
            roles: &session.roles,
            created_at: session.created_at,
            last_seen_at: session.last_seen_at,
            idle_expires_at: session.idle_expires_at,
            expires_at: session.expires_at,
            elevated_until: session.elevated_until.filter(|until| *until > now),
            profile: session.profile.as_ref(),
            via: session.via.as_ref().map(|key| &*key.name),
            device: session.agent.as_deref(),
            address: session.address.as_deref(),
            current: current == Some(session.id),
            connections,
            connected_since,
            facts: JsonText(session.facts.clone()),
            data: None,
        }
    }
}

const SESSION_EXAMPLE: &str = r#"{"id":"ses_01jd9x2k7m8n4p5q6r7s8t9v0w","user":"alice","roles":["teller"],"created_at":"2026-11-24T10:00:00.000Z","last_seen_at":"2026-11-24T10:04:30.000Z","idle_expires_at":"2026-11-24T10:34:30.000Z","expires_at":"2026-11-24T22:00:00.000Z","elevated_until":null,"profile":null,"via":null,"device":"curl/8.5.0","address":"192.0.2.7","current":true,"connections":0,"connected_since":null,"facts":{}}"#;
const ISSUED_EXAMPLE: &str = r#"{"id":"ses_01jd9x2k7m8n4p5q6r7s8t9v0w","token":"abs_7hXq0Zc5r2mVJ8nYtB4wKdE1sLpG6uFaQ9xTi3RoNvM","user":"alice","roles":["teller"],"created_at":"2026-11-24T10:00:00.000Z","idle_expires_at":"2026-11-24T10:30:00.000Z","expires_at":"2026-11-24T22:00:00.000Z","elevated_until":null}"#;

fn opening(generator: &mut SchemaGenerator) -> Schema {
    let login = generator.subschema_for::<LoginRequest>();
    let on_behalf = generator.subschema_for::<OnBehalfSessionRequest>();
    let anonymous = generator.subschema_for::<AnonymousSessionRequest>();
    json_schema!({ "oneOf": [login, on_behalf, anonymous] })
}

pub(super) const OPEN: Operation = Operation::new("openSession", "sessions", "Logs in, or opens an anonymous session, or one on behalf of a user")
    .text("With `username` and `password`: a login. With the token of an anonymous session it \
           becomes the user's, under a new token, and keeps its data. With `{}`: an anonymous \
           session, where the configuration allows it. With `user` and `on_behalf`: a session for \
           a user whom the calling service has authenticated; `on_behalf` of the API key lists these users.")
    .limit(Limit::Sessions)
    .body_of(Media::Json, opening, r#"{"username":"alice","password":"correct horse battery"}"#)
    .examples(&[
        (
            "A login; the answer has the token",
            r#"{"username":"alice","password":"correct horse battery"}"#,
        ),
        (
            "A login from a browser: the token comes as a cookie that no script can read",
            r#"{"username":"alice","password":"correct horse battery","cookie":true}"#,
        ),
        ("An anonymous session, where the configuration allows it", "{}"),
        ("An anonymous session by cookie", r#"{"cookie":true}"#),
        (
            "By an API key, for a user whom the calling service has authenticated",
            r#"{"user":"alice","on_behalf":true}"#,
        ),
        (
            "The same, creating the user at the first time",
            r#"{"user":"alice","on_behalf":true,"create":true}"#,
        ),
    ])
    .json::<IssuedSessionResponse<'_>>(201, "The session, with its token. `Location` names it.", ISSUED_EXAMPLE)
    .with(&["Location", "Set-Cookie"])
    .links(&[
        ("getSession", "id", "$response.body#/id"),
        ("endSession", "id", "$response.body#/id"),
    ])
    .problems(&[
        Code::InvalidCredentials,
        Code::TooManyAttempts,
        Code::NotAllowed,
        Code::NotFound,
        Code::CrossSite,
    ]);

pub(super) async fn open(request: RequestContext) -> Result<Reply, Problem> {
    request.guard_login()?;
    let body = request.json_value()?;
    let has = |field: &str| matches!(&body, Value::Object(fields) if fields.contains_key(field));
    let (command, cookie) = if has("username") || has("password") {
        let LoginRequest { username, password, profile, cookie } = strict_json::read(body)?;
        (Command::Login { username, password: Password::new(password), profile }, cookie)
    } else if has("user") || has("on_behalf") || has("create") {
        let OnBehalfSessionRequest { user: username, on_behalf, create, profile, cookie } =
            strict_json::read(body)?;
        if !on_behalf {
            return Err(Problem::field("/on_behalf", "invalid-value", "must be true"));
        }
        (Command::OpenOnBehalf { username, create, profile }, cookie)
    } else {
        let AnonymousSessionRequest { profile, cookie } = strict_json::read(body)?;
        (Command::OpenAnonymous { profile }, cookie)
    };
    // A client that upgrades a session in the cookie gets the new token there too.
    let cookie = cookie || request.by_cookie;
    Ok(issue(request, command, cookie).await)
}

/// Counts a request by its body: a login, or an anonymous session. One on behalf of a user is
/// counted for the service like any request of it, and a body that cannot be read does no work.
pub(super) fn count(request: &RequestContext, rates: &Rates) -> Option<RateStatus> {
    let Ok(Value::Object(fields)) = request.json_value() else { return None };
    let has = |field: &str| fields.contains_key(field);
    if has("username") || has("password") {
        Some(rates.login(request.address))
    } else if has("user") || has("on_behalf") || has("create") {
        None
    } else {
        Some(rates.anonymous(request.address))
    }
}

/// Opens or renews a session and hands its token out.
async fn issue(request: RequestContext, command: Command, cookie: bool) -> Reply {
    let (scheme, app) = (request.scheme, std::sync::Arc::clone(&request.api.app));
    request
        .execute(command, move |outcome, _| match outcome {
            Outcome::Session { session, token, created } => {
                issued(session, token, *created, app.now(), cookie.then_some(scheme))
            }
            other => Err(unexpected(other)),
        })
        .await
}

fn issued(
    session: &SessionView,
    token: &Token,
    created: bool,
    now: Time,
    cookie: Option<Scheme>,
) -> Result<Reply, Problem> {
    let mut reply = match cookie {
        None => Reply::json(&IssuedSessionResponse::new(session, Some(token.reveal()), now))?,
        Some(scheme) => {
            let seconds = session.expires_at.since(now).seconds_up();
            let cookie = browser::set_cookie(token.reveal(), seconds, scheme);
            Reply::json(&IssuedSessionResponse::new(session, None, now))?
                .with_text(header::SET_COOKIE, &cookie)
        }
    };
    if created {
        reply = reply
            .status(StatusCode::CREATED)
            .with_text(header::LOCATION, &format!("/v1/sessions/{}", session.id));
    }
    Ok(reply)
}

pub(super) const CURRENT: Operation =
    Operation::new("getCurrentSession", "sessions", "The session that the token names")
        .text("Counts as activity.")
        .query(&[Parameter {
            name: "include",
            text: "`data`: with the session's data.",
            schema: |_| json_schema!({ "type": "string", "enum": ["data"] }),
        }])
        .if_none_match()
        .json::<SessionResponse<'_>>(200, "The session.", SESSION_EXAMPLE);

pub(super) fn current(request: &RequestContext) -> Result<Reply, Problem> {
    let session = request.session()?;
    let mut shown = SessionResponse::new(session, Some(session.id), &request.api.app);
    if request.query.only("include", "data")? {
        shown.data = Some(JsonText(request.api.app.session_data(request.actor())?.json));
    }
    request.shown_at(session.revision, Reply::json(&shown)?)
}

pub(super) const LOGOUT: Operation =
    Operation::new("endCurrentSession", "sessions", "Logs out: the token is void at once")
        .if_match()
        .idempotent()
        .empty(204, "The session has ended.")
        .with(&["Set-Cookie", "Clear-Site-Data"]);

pub(super) async fn logout(request: RequestContext) -> Result<Reply, Problem> {
    let scheme = request.scheme;
    let write = move |_: &Outcome, _| {
        let mut reply = Reply::empty(StatusCode::NO_CONTENT);
        browser::clear_site(&mut reply.headers, scheme);
        Ok(reply)
    };
    Ok(request.execute(Command::Logout, write).await)
}

/// Describes an operation that gives the current session a new token.
pub(super) const fn renewal_operation(
    id: &'static str,
    tag: &'static str,
    summary: &'static str,
) -> Operation {
    Operation::new(id, tag, summary)
        .if_match()
        .json::<IssuedSessionResponse<'_>>(
            200,
            "The session with its new token; the old one is dead.",
            ISSUED_EXAMPLE,
        )
        .with(&["Set-Cookie"])
}

/// Executes a command that renews the current session. A token that came in the cookie is renewed
/// there.
pub(super) async fn renew(request: RequestContext, command: Command) -> Reply {
    let cookie = request.by_cookie;
    issue(request, command, cookie).await
}

pub(super) const ROTATE: Operation =
    Operation::new("rotateCurrentSession", "sessions", "Gives the session a new token")
        .if_match()
        .json::<IssuedSessionResponse<'_>>(
            200,
            "The session with its new token; the old one is dead.",
            ISSUED_EXAMPLE,
        )
        .with(&["Set-Cookie"]);

pub(super) async fn rotate(request: RequestContext) -> Result<Reply, Problem> {
    Ok(renew(request, Command::Rotate).await)
}

pub(super) const ELEVATE: Operation = Operation::new(
    "elevateCurrentSession",
    "sessions",
    "Confirms the password again, for calls that require it",
)
.limit(Limit::Passwords)
.if_match()
.body::<ElevateRequest>(r#"{"password":"correct horse battery"}"#)
.json::<IssuedSessionResponse<'_>>(
    200,
    "The session with its new token; the old one is dead.",
    ISSUED_EXAMPLE,
)
.with(&["Set-Cookie"])
.problems(&[Code::InvalidCredentials, Code::TooManyAttempts]);

pub(super) async fn elevate(request: RequestContext) -> Result<Reply, Problem> {
    let ElevateRequest { password } = request.json()?;
    Ok(renew(request, Command::Elevate { password: Password::new(password) }).await)
}

const USER: Parameter = Parameter {
    name: "user",
    text: "The user whose sessions these are; for administrators.",
    schema: SchemaGenerator::subschema_for::<Username>,
};

pub(super) const LIST: Operation = Operation::new(
    "listSessions",
    "sessions",
    "The live sessions of a user: one's own, or for an administrator anybody's",
)
.query(&[USER, pagination::LIMIT, pagination::CURSOR])
.json::<SessionPage<'_>>(200, "The sessions.", "")
.problems(&[Code::InvalidInput, Code::NotFound]);

pub(super) fn list(request: &RequestContext) -> Result<Reply, Problem> {
    let user =
        request.query.get("user").map(|text| parsed::<Username>("user", text)).transpose()?;
    let current = request.actor().session();
    let page = pagination::ask::<SessionId>(request)?;
    let mut sessions = request.api.app.sessions(request.actor(), user.as_ref())?;
    // A user's sessions are so few that a page is cut from all of them.
    sessions.retain(|session| page.after.is_none_or(|after| session.id < after));
    let more = sessions.len() > page.limit;
    sessions.truncate(page.limit);
    let next = sessions.last().filter(|_| more).map(|session| session.id);
    let app = &request.api.app;
    let (items, next_cursor) = pagination::bounded(
        request,
        &sessions,
        next,
        |session| session.id,
        |session| SessionResponse::new(session, current, app),
    );
    Reply::json(&SessionPage { items, next_cursor })
}

/// Reads a parameter as one of the API's words.
///
/// # Errors
/// [`Code::InvalidInput`] with what the word must be.
pub(super) fn parsed<T>(name: &str, text: &str) -> Result<T, Problem>
where
    T: std::str::FromStr<Err: std::fmt::Display>,
{
    text.parse().map_err(|error: T::Err| {
        Problem::field(&format!("/{name}"), "invalid-value", error.to_string())
    })
}

pub(super) const SHOW: Operation = Operation::new(
    "getSession",
    "sessions",
    "One live session: one's own, or for an administrator any",
)
.if_none_match()
.json::<SessionResponse<'_>>(200, "The session.", SESSION_EXAMPLE)
.problems(&[Code::NotFound]);

pub(super) fn show(request: &RequestContext) -> Result<Reply, Problem> {
    let session = request.api.app.session(request.actor(), named(request)?)?;
    let shown = SessionResponse::new(&session, request.actor().session(), &request.api.app);
    request.shown_at(session.revision, Reply::json(&shown)?)
}

/// A text that is no id names nothing.
fn named(request: &RequestContext) -> Result<SessionId, Problem> {
    request.parameters.at(0).parse().map_err(|_| missing())
}

fn missing() -> Problem {
    crate::engine::Refusal::NotFound("session").into()
}

pub(super) const END: Operation = Operation::new(
    "endSession",
    "sessions",
    "Ends one session: one's own, or for an administrator any",
)
.if_match()
.idempotent()
.empty(204, "The session has ended.")
.problems(&[Code::NotFound]);

pub(super) async fn end(request: RequestContext) -> Result<Reply, Problem> {
    let session = named(&request)?;
    Ok(request.execute_quietly(Command::EndSession { session }).await)
}

pub(super) const END_ALL: Operation = Operation::new(
    "endSessions",
    "sessions",
    "Ends one's own sessions, or for an administrator those of a user",
)
.query(&[
    Parameter {
        name: "except",
        text: "`current`: the session of the request stays.",
        schema: |_| json_schema!({ "type": "string", "enum": ["current"] }),
    },
    USER,
])
.idempotent()
.json::<EndedSessionsResponse>(200, "How many have ended.", r#"{"ended":2}"#)
.problems(&[Code::InvalidInput, Code::NotFound]);

/// Result of ending sessions.
#[derive(Serialize, JsonSchema)]
pub(super) struct EndedSessionsResponse {
    /// Number of sessions that have ended.
    ended: u32,
}

pub(super) async fn end_all(request: RequestContext) -> Result<Reply, Problem> {
    let except_current = request.query.only("except", "current")?;
    let username = request.query.get("user").map(|text| parsed("user", text)).transpose()?;
    let command = Command::EndSessions { username, except_current };
    let write = |outcome: &Outcome, _: Revision| match outcome {
        Outcome::Ended { count } => Reply::json(&EndedSessionsResponse { ended: *count }),
        other => Err(unexpected(other)),
    };
    Ok(request.execute(command, write).await)
}

pub(super) const FACTS: Operation = Operation::new(
    "getCurrentSessionFacts",
    "sessions",
    "The facts of the session, which services write and clients cannot",
)
.json_of(200, "The facts.", super::schemas::object, "{}");

pub(super) fn facts(request: &RequestContext) -> Result<Reply, Problem> {
    Ok(Reply::json_bytes(request.session()?.facts.as_bytes().to_vec()))
}

pub(super) const CHANGE_FACTS: Operation = Operation::new(
    "changeSessionFacts",
    "sessions",
    "Changes the facts of a session, which its client can read but not write",
)
.text(
    "For a service, about a session of a user for whom its API key may act, or an anonymous \
           one. A merge patch (RFC 7396); at most 4096 bytes together.",
)
.if_match()
.idempotent()
.body_of(Media::MergePatch, super::schemas::object, r#"{"kyc":"passed"}"#)
.or_body_of(Media::Json, super::schemas::object)
.json_of(200, "All facts now.", super::schemas::object, r#"{"kyc":"passed"}"#)
.problems(&[Code::NotFound, Code::TooLarge]);

pub(super) async fn change_facts(request: RequestContext) -> Result<Reply, Problem> {
    let (session, patch) = (named(&request)?, request.json()?);
    let write = |outcome: &Outcome, _| match outcome {
        Outcome::Data(data) => Ok(Reply::json_bytes(data.json.as_bytes().to_vec())),
        other => Err(unexpected(other)),
    };
    Ok(request.execute(Command::ChangeFacts { session, patch }, write).await)
}
