//! What a route is: everything about it as data, from which the dispatch, the OpenAPI document,
//! the authorization matrix and the metrics' route names are made.

use std::future::Future;
use std::pin::Pin;

use http::Method;
use schemars::{Schema, SchemaGenerator};

use super::input::{Media, Query};
use super::problem::{Code, Problem};
use super::reply::Reply;
use super::request_context::{PreparedCommand, RequestContext};
use crate::app::AuthContext;
use crate::engine::Actor;
use crate::types::Role;

/// A handler's future.
pub type HandlerFuture = Pin<Box<dyn Future<Output = Result<Reply, Problem>> + Send>>;

/// What a route does.
#[derive(Clone, Copy, Debug)]
pub enum Handler {
    /// Answers at once and never refuses.
    Static(fn(&RequestContext) -> Reply),
    /// Answers at once.
    Sync(fn(&RequestContext) -> Result<Reply, Problem>),
    /// Reads what may take milliseconds: on the threads for that, in the actor's turn.
    Read(fn(&RequestContext) -> Result<Reply, Problem>),
    /// Has a command done, whose outcome is the answer.
    Command(fn(&RequestContext) -> Result<PreparedCommand, Problem>),
    /// Waits for a commit, or for something else.
    Async(fn(RequestContext) -> HandlerFuture),
}

/// How a type is described.
pub type SchemaFn = fn(&mut SchemaGenerator) -> Schema;

/// A route. There is none without its row of who may call it.
#[derive(Clone, Copy, Debug)]
pub struct Route {
    /// The method.
    pub method: Verb,
    /// The path; a segment in braces is a parameter.
    pub pattern: &'static str,
    /// Method and path, for the records.
    pub label: &'static str,
    /// Who may call it.
    pub access: Access,
    /// What it does.
    pub handler: Handler,
    /// What it takes and answers, in words and types.
    pub operation: &'static Operation,
}

/// What stands for the session that asks, in paths and in queries.
pub const CURRENT: &str = "current";

impl Route {
    /// Whether what a request means depends on the session that sends it: its path or its query
    /// says [`CURRENT`].
    #[must_use]
    pub fn names_session(&self, query: &Query) -> bool {
        self.pattern.split('/').any(|segment| segment == CURRENT)
            || query.values().any(|value| value == CURRENT)
    }
}

/// The methods of routes. HEAD is answered wherever GET is, OPTIONS everywhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verb {
    /// Reads; changes nothing.
    Get,
    /// Makes or does.
    Post,
    /// Puts in place.
    Put,
    /// Changes a part.
    Patch,
    /// Takes away.
    Delete,
}

impl Verb {
    /// Every one.
    pub const ALL: [Self; 5] = [Self::Get, Self::Post, Self::Put, Self::Patch, Self::Delete];

    /// The route's method that answers a request's; `None`: no route has it.
    #[must_use]
    pub fn of(method: &Method) -> Option<Self> {
        match *method {
            Method::GET | Method::HEAD => Some(Self::Get),
            Method::POST => Some(Self::Post),
            Method::PUT => Some(Self::Put),
            Method::PATCH => Some(Self::Patch),
            Method::DELETE => Some(Self::Delete),
            _ => None,
        }
    }

    /// Its name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Patch => "PATCH",
            Self::Delete => "DELETE",
        }
    }

    /// Whether it changes nothing.
    #[must_use]
    pub const fn is_safe(self) -> bool {
        matches!(self, Self::Get)
    }
}

/// Who may call a route. It is checked before the handler runs; what depends on the thing that
/// is named (an own session, somebody else's) is decided where the thing is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Access {
    /// Everybody; a token is not even looked at.
    Anyone,
    /// Everybody; what it does depends on who asks.
    Caller,
    /// Whoever has a live session or an API key.
    Actor,
    /// The bearer of a session, an anonymous one too.
    Session,
    /// A user, by a session.
    User,
    /// A service, by its API key.
    Service,
    /// Whoever has `abide:admin`.
    Admin,
    /// A service, or whoever has `abide:admin`.
    AdminOrService,
    /// Whoever has `abide:auditor` or `abide:admin`.
    Auditor,
    /// A service, or whoever has `abide:auditor` or `abide:admin`.
    AuditorOrService,
    /// Whoever has `abide:publisher` or `abide:admin`.
    Publisher,
    /// A service, or whoever has `abide:publisher` or `abide:admin`.
    PublisherOrService,
    /// Whoever has `abide:operator` or `abide:admin`.
    Operator,
}

impl Access {
    /// Every one.
    pub const ALL: [Self; 13] = [
        Self::Anyone,
        Self::Caller,
        Self::Actor,
        Self::Session,
        Self::User,
        Self::Service,
        Self::Admin,
        Self::AdminOrService,
        Self::Auditor,
        Self::AuditorOrService,
        Self::Publisher,
        Self::PublisherOrService,
        Self::Operator,
    ];

    /// Its name, as `x-abide-who` of the OpenAPI document.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Anyone => "anyone",
            Self::Caller => "caller",
            Self::Actor => "actor",
            Self::Session => "session",
            Self::User => "user",
            Self::Service => "service",
            Self::Admin => "admin",
            Self::AdminOrService => "admin-or-service",
            Self::Auditor => "auditor",
            Self::AuditorOrService => "auditor-or-service",
            Self::Publisher => "publisher",
            Self::PublisherOrService => "publisher-or-service",
            Self::Operator => "operator",
        }
    }

    /// In words.
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::Anyone => "Open to everybody.",
            Self::Caller => "Open to everybody; what it does depends on who calls.",
            Self::Actor => "For every actor with a live session or an API key.",
            Self::Session => "For the bearer of a session, an anonymous one too.",
            Self::User => "For a user who is logged in.",
            Self::Service => "For a service, by its API key.",
            Self::Admin => "For users with the role abide:admin.",
            Self::AdminOrService => {
                "For a service, by its API key, and for users with the role abide:admin."
            }
            Self::Auditor => "For users with the role abide:auditor or abide:admin.",
            Self::AuditorOrService => {
                "For a service, by its API key, and for users with the role abide:auditor or \
                 abide:admin."
            }
            Self::Publisher => "For users with the role abide:publisher or abide:admin.",
            Self::PublisherOrService => {
                "For a service, by its API key, and for users with the role abide:publisher or \
                 abide:admin."
            }
            Self::Operator => "For users with the role abide:operator or abide:admin.",
        }
    }

    /// Whether a token is looked up at all.
    #[must_use]
    pub const fn reads_token(self) -> bool {
        !matches!(self, Self::Anyone)
    }

    /// Whether nobody in particular may call it.
    #[must_use]
    pub const fn is_open(self) -> bool {
        matches!(self, Self::Anyone | Self::Caller)
    }

    /// Lets the actor in or not.
    ///
    /// # Errors
    /// [`Code::Unauthenticated`] for nobody, [`Code::NotAllowed`] for somebody else.
    pub fn admit(self, identity: &AuthContext) -> Result<(), Problem> {
        if self.is_open() {
            return Ok(());
        }
        let actor = &identity.actor;
        let (session, key) = match actor {
            Actor::Nobody => return Err(Code::Unauthenticated.into()),
            Actor::Session(_) => (true, false),
            Actor::Key(_) => (false, true),
            Actor::Hook(_) | Actor::Workflow(..) | Actor::System => (false, false),
        };
        let may = match self {
            Self::Anyone | Self::Caller | Self::Actor => true,
            Self::Session => session,
            Self::User => actor.user().is_some(),
            Self::Service => key,
            Self::Admin => actor.is_admin(),
            Self::AdminOrService => key || actor.is_admin(),
            Self::Auditor => actor.has(Role::AUDITOR),
            Self::AuditorOrService => key || actor.has(Role::AUDITOR),
            Self::Publisher => actor.has(Role::PUBLISHER),
            Self::PublisherOrService => key || actor.has(Role::PUBLISHER),
            Self::Operator => actor.has(Role::OPERATOR),
        };
        if may { Ok(()) } else { Err(Problem::new(Code::NotAllowed, self.words())) }
    }
}

/// What a route takes and answers, in words and types.
#[derive(Clone, Copy, Debug)]
pub struct Operation {
    /// The operation's id, unique.
    pub id: &'static str,
    /// The group that it is shown in.
    pub tag: &'static str,
    /// One line.
    pub summary: &'static str,
    /// What a caller needs to know beyond that; may be empty.
    pub text: &'static str,
    /// The query parameters; no other is accepted.
    pub query: &'static [Parameter],
    /// Request headers of its own, beside those that follow from the rest.
    pub headers: &'static [Parameter],
    /// Further examples of the first media type's body: what each shows, and its JSON.
    pub examples: &'static [(&'static str, &'static str)],
    /// The conditions on revisions that it takes.
    pub condition: Condition,
    /// Whether it takes an Idempotency-Key.
    pub idempotency: bool,
    /// The rate that it counts against, beside those of addresses and actors.
    pub limit: Limit,
    /// Whether an API key may also come as the password of Basic authentication.
    pub basic: bool,
    /// The body; `None`: it takes none.
    pub body: Option<Body>,
    /// Whether the body may be left out, which is the same as `{}`.
    pub body_optional: bool,
    /// Its answers.
    pub answers: &'static [ResponseSpec],
    /// The problems that do not follow from the rest.
    pub problems: &'static [Code],
}

impl Operation {
    /// What most routes have nothing to say about.
    pub const PLAIN: Self = Self {
        id: "",
        tag: "",
        summary: "",
        text: "",
        query: &[],
        headers: &[],
        examples: &[],
        condition: Condition::None,
        idempotency: false,
        limit: Limit::None,
        basic: false,
        body: None,
        body_optional: false,
        answers: &[],
        problems: &[],
    };
}

/// The rate that a route counts against, beside those of addresses and actors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// None.
    None,
    /// That of calls that hash a password, for each address.
    Logins,
    /// That of passwords that are proved in a session, for each user: whoever tries to log in from
    /// the same address keeps nobody from it.
    Passwords,
    /// That of logins or that of anonymous sessions, by what the body asks for.
    Sessions,
}

/// Conditions on revisions (RFC 9110, section 13).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    /// None.
    None,
    /// `If-Match` and `If-None-Match`, on a change of something that has a revision. A change without
    /// this refuses both.
    IfMatch,
    /// `If-None-Match`, on a read.
    IfNoneMatch,
}

/// A query or path parameter.
#[derive(Clone, Copy, Debug)]
pub struct Parameter {
    /// Its name.
    pub name: &'static str,
    /// What it is.
    pub text: &'static str,
    /// Its type.
    pub schema: SchemaFn,
}

/// A request's body.
#[derive(Clone, Copy, Debug)]
pub struct Body {
    /// Its types, one for each media type that is taken.
    pub content: &'static [(Media, SchemaFn)],
    /// An example for the first of them, as JSON.
    pub example: &'static str,
}

/// An answer that is no problem.
#[derive(Clone, Copy, Debug)]
pub struct ResponseSpec {
    /// The status.
    pub status: u16,
    /// What it means.
    pub text: &'static str,
    /// The body: media type, type, an example as JSON (empty: none).
    pub body: Option<(&'static str, SchemaFn, &'static str)>,
    /// The headers that belong to it.
    pub headers: &'static [&'static str],
    /// What can be called next: an operation, its parameter, and the runtime expression (OpenAPI
    /// 3.1, section 4.8.20.3) of its value.
    pub links: &'static [(&'static str, &'static str, &'static str)],
}

impl ResponseSpec {
    /// An answer with JSON.
    #[must_use]
    pub const fn json(
        status: u16,
        text: &'static str,
        schema: SchemaFn,
        example: &'static str,
    ) -> Self {
        Self {
            status,
            text,
            body: Some(("application/json", schema, example)),
            headers: &[],
            links: &[],
        }
    }

    /// An answer without a body.
    #[must_use]
    pub const fn empty(status: u16, text: &'static str) -> Self {
        Self { status, text, body: None, headers: &[], links: &[] }
    }

    /// The same, with headers.
    #[must_use]
    pub const fn with(self, headers: &'static [&'static str]) -> Self {
        Self { headers, ..self }
    }

    /// The same, with what can be called next.
    #[must_use]
    pub const fn then(self, links: &'static [(&'static str, &'static str, &'static str)]) -> Self {
        Self { links, ..self }
    }
}
