//! Context of one request in a handler: its checked parts, and the actions of a handler.

use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::StatusCode;
use http::header::{self, HeaderMap};
use serde::de::DeserializeOwned;

use super::Api;
use super::browser;
use super::etag::VersionTag;
use super::headers;
use super::input::{self, Media, Query};
use super::json;
use super::problem::{Code, Problem};
use super::reply::Reply;
use super::route::Route;
use super::router::Parameters;
use super::server::{RequestId, Scheme};
use super::strict_json;
use crate::app::{AuthContext, ClientInfo, Envelope, Idempotency};
use crate::engine::{Actor, Command, IfMatch, Outcome, Preconditions, SessionView};
use crate::types::Revision;

/// A command and the renderer of its outcome: the result of most handlers of changes.
pub struct PreparedCommand {
    /// The command.
    pub command: Command,
    /// Renders the answer to its outcome.
    pub write: fn(&Outcome, Revision) -> Result<Reply, Problem>,
}

/// A request that its route has admitted.
#[derive(Debug)]
pub struct RequestContext {
    /// The server.
    pub api: Arc<Api>,
    /// Its route.
    pub route: &'static Route,
    /// True for a HEAD request, whose answer has no content: no stream begins for it.
    pub is_head: bool,
    /// Its id.
    pub id: RequestId,
    /// The client's address.
    pub address: IpAddr,
    /// Scheme of the connection.
    pub scheme: Scheme,
    /// The headers.
    pub headers: HeaderMap,
    /// The path's parameters.
    pub parameters: Parameters,
    /// The query's parameters.
    pub query: Query,
    /// Actor and session of the caller.
    pub identity: AuthContext,
    /// True if the token came in the cookie.
    pub by_cookie: bool,
    /// The Idempotency-Key with the request's fingerprint.
    pub idempotency: Option<Idempotency>,
    /// The conditions of a change.
    pub preconditions: Option<Box<Preconditions>>,
    /// The body and its media type; `None`: the route takes none.
    pub body: Option<(Media, Bytes)>,
    /// The connection, if the caller requested another protocol.
    pub upgrade: Option<hyper::upgrade::OnUpgrade>,
}

impl RequestContext {
    /// Reads the body as a value.
    ///
    /// # Errors
    /// [`Code::InvalidJson`], [`Code::InvalidInput`].
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, Problem> {
        strict_json::read(self.json_value()?)
    }

    /// Reads the body as JSON of any shape.
    ///
    /// # Errors
    /// [`Code::InvalidJson`].
    pub fn json_value(&self) -> Result<serde_json::Value, Problem> {
        // A body that may be left out, and was, is an empty object.
        json::parse(self.body.as_ref().map_or(b"{}", |(_, bytes)| bytes))
    }

    /// Returns the condition of a change. `*` is none: everything that it can be sent for exists.
    ///
    /// # Errors
    /// [`Code::BadRequest`].
    pub fn if_match(&self) -> Result<Option<IfMatch>, Problem> {
        Ok(input::if_match(&self.headers)?.and_then(|tags| tags.revisions()).map(IfMatch))
    }

    /// Returns 304 if the caller has the representation with this tag already.
    ///
    /// # Errors
    /// [`Code::BadRequest`].
    pub fn not_modified(&self, tag: impl Into<VersionTag>) -> Result<Option<Reply>, Problem> {
        let tag = tag.into();
        let tags = input::if_none_match(&self.headers)?;
        let known = tags.is_some_and(|tags| tags.match_weakly(&tag.opaque()));
        Ok(known.then(|| Reply::empty(StatusCode::NOT_MODIFIED).at(tag)))
    }

    /// Returns an answer that shows more of a thing than its revision identifies: under a tag with
    /// a digest of it, or 304 if the caller has it already.
    ///
    /// # Errors
    /// [`Code::BadRequest`].
    pub fn shown_at(&self, revision: Revision, reply: Reply) -> Result<Reply, Problem> {
        let tag = VersionTag::of(revision, &reply.body);
        Ok(self.not_modified(tag)?.unwrap_or_else(|| reply.at(tag)))
    }

    /// Returns the requested revision of the past (`as_of`).
    ///
    /// # Errors
    /// [`Code::InvalidParameter`], also for a revision that does not exist yet.
    pub fn as_of(&self) -> Result<Option<Revision>, Problem> {
        let Some(text) = self.query.get("as_of") else { return Ok(None) };
        let revision = text.parse().map(Revision::new);
        match revision {
            Ok(revision) if revision <= self.api.app.revision() => Ok(Some(revision)),
            _ => Err(input::parameter("as_of", "is no revision that is there")),
        }
    }

    /// Returns the session of the token. Only for routes that require a session.
    ///
    /// # Errors
    /// [`Code::Unauthenticated`].
    pub fn session(&self) -> Result<&SessionView, Problem> {
        self.identity.session.as_deref().ok_or_else(|| Code::Unauthenticated.into())
    }

    /// Actor and session of the caller.
    #[must_use]
    pub const fn actor(&self) -> &Actor {
        &self.identity.actor
    }

    /// Returns the address and the `User-Agent` of the client, for the records.
    fn client(&self) -> ClientInfo {
        let agent = headers::joined(&self.headers, &header::USER_AGENT);
        ClientInfo { address: Some(self.address.to_string().into()), agent: agent.map(Into::into) }
    }

    /// Executes the command, exactly once for its Idempotency-Key. `write` makes the answer to its
    /// outcome; refusals become problems. The request is consumed at once: nothing of it is kept
    /// during the wait.
    pub fn execute<W>(
        self,
        command: Command,
        write: W,
    ) -> impl Future<Output = Reply> + Send + use<W>
    where
        W: Fn(&Outcome, Revision) -> Result<Reply, Problem> + Send + Sync + 'static,
    {
        // Only a command that opens a session or checks a password records the client.
        let of_nobody = self.identity.actor.user().is_none();
        let noted = command.hashes()
            || command.hands_out().is_some()
            || (of_nobody && command.is_about_codes());
        let client = if noted { self.client() } else { ClientInfo::default() };
        let request: Arc<str> = self.id.to_string().into();
        self.note_trace(&request);
        let told = command.is_audited().then(|| {
            let (actor, address) = (named(&self.identity.actor), self.address);
            Box::new(Told { request: Arc::clone(&request), act: command.name(), actor, address })
        });
        let instance = Arc::clone(&request);
        let render = move |done: Result<&Outcome, &crate::engine::Refusal>, revision| {
            let written = done.map_err(Problem::from).and_then(|outcome| write(outcome, revision));
            written.unwrap_or_else(|problem| Reply::problem(&problem, &instance)).into()
        };
        let Self { api, route, identity, idempotency, preconditions, .. } = self;
        let envelope = Envelope {
            actor: identity.actor,
            client,
            request,
            route: route.pattern,
            idempotency,
            preconditions,
            render: Box::new(render),
        };
        let begun = api.app.admit(command, envelope);
        async move {
            let reply = Reply::from(api.app.respond(begun).await);
            if let Some(told) = told {
                let Told { request, act, actor, address } = *told;
                let status = reply.status.as_u16();
                tracing::info!(%request, act, actor, %address, status, "security");
            }
            reply
        }
    }

    /// Notes the caller's trace, if it names one, for the effects of the request.
    pub(super) fn note_trace(&self, request: &Arc<str>) {
        if let Some(trace) = input::trace_context(&self.headers) {
            self.api.app.note_trace(request, trace);
        }
    }

    /// Executes a command whose outcome is of no interest: 204.
    pub fn execute_quietly(self, command: Command) -> impl Future<Output = Reply> + Send + use<> {
        self.execute(command, |_, _| Ok(Reply::empty(StatusCode::NO_CONTENT)))
    }

    /// Refuses a login that does not come from the same origin.
    ///
    /// # Errors
    /// [`Code::CrossSite`].
    pub fn guard_login(&self) -> Result<(), Problem> {
        let allowed = self.api.origins.allowed(&self.headers).is_some();
        browser::guard_login(self.api.origins.source(&self.headers, self.scheme), allowed)
    }
}

/// Fields of the security log line of a command.
struct Told {
    request: Arc<str>,
    act: &'static str,
    actor: String,
    address: IpAddr,
}

/// The actor as the log names it: names of a narrow alphabet and ids, never what a client wrote.
fn named(actor: &Actor) -> String {
    match actor {
        Actor::Nobody => "nobody".to_owned(),
        Actor::System => "system".to_owned(),
        Actor::Hook(name) => format!("hook:{name}"),
        Actor::Workflow(name, _) => format!("workflow:{name}"),
        Actor::Key(key) => key.key.id.to_string(),
        Actor::Session(session) => match &session.user {
            Some(user) => user.username.to_string(),
            None => session.session.to_string(),
        },
    }
}

/// An outcome that the command cannot have: a fault of ours.
#[must_use]
pub(super) fn unexpected(outcome: &Outcome) -> Problem {
    tracing::error!(?outcome, "a command had another outcome than its handler expects");
    Code::Internal.into()
}
