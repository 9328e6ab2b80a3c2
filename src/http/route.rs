//! Definition of a route: everything about it as data, from which the dispatch, the OpenAPI
//! document, the authorization matrix and the metrics' route names are made.

use std::future::Future;
use std::pin::Pin;

use super::input::Query;
use super::operation::Operation;
use super::problem::{Code, Problem};
use super::reply::Reply;
use super::request_context::{PreparedCommand, RequestContext};
use crate::app::AuthContext;
use crate::engine::Actor;
use crate::types::Role;
use http::Method;

/// A handler's future.
pub type HandlerFuture = Pin<Box<dyn Future<Output = Result<Reply, Problem>> + Send>>;

/// Handler of a route.
#[derive(Clone, Copy, Debug)]
pub enum Handler {
    /// Answers at once and never refuses.
    Static(fn(&RequestContext) -> Reply),
    /// Answers at once.
    Sync(fn(&RequestContext) -> Result<Reply, Problem>),
    /// Reads for up to milliseconds: on the threads for reads, in the actor's turn.
    Read(fn(&RequestContext) -> Result<Reply, Problem>),
    /// Turns the request into a command whose outcome is the answer.
    Command(fn(&RequestContext) -> Result<PreparedCommand, Problem>),
    /// Awaits a commit or something else.
    Async(fn(RequestContext) -> HandlerFuture),
}

/// A route. There is none without its row of who may call it.
#[derive(Clone, Copy, Debug)]
pub struct Route {
    /// The method.
    pub method: Verb,
    /// The path; a segment in braces is a parameter.
    pub pattern: &'static str,
    /// Method and path, for the records.
    pub label: &'static str,
    /// Access rule.
    pub access: Access,
    /// Handler.
    pub handler: Handler,
    /// Description: parameters, body, responses.
    pub operation: &'static Operation,
}

/// Name of the caller's own session, in paths and in queries.
pub const CURRENT: &str = "current";

impl Route {
    /// Returns whether the meaning of a request depends on the session that sends it: its path or
    /// its query says [`CURRENT`].
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
    /// Creates something or executes an action.
    Post,
    /// Creates or replaces.
    Put,
    /// Changes a part.
    Patch,
    /// Deletes.
    Delete,
}

impl Verb {
    /// All values.
    pub const ALL: [Self; 5] = [Self::Get, Self::Post, Self::Put, Self::Patch, Self::Delete];

    /// Returns the route's method that answers a request's method; `None`: no route has it.
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

    /// Returns its name.
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

    /// Returns whether the method changes nothing.
    #[must_use]
    pub const fn is_safe(self) -> bool {
        matches!(self, Self::Get)
    }
}

/// Callers that a route admits. This is checked before the handler runs; conditions that depend on
/// the named thing (an own session, another user's) are checked where the thing is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Access {
    /// Everybody; the token is not looked up.
    Anyone,
    /// Everybody; the effect depends on the caller.
    Caller,
    /// Every actor with a live session or an API key.
    Actor,
    /// The bearer of a session, an anonymous one too.
    Session,
    /// A user, by a session.
    User,
    /// A service, by its API key.
    Service,
    /// Users with `abide:admin`.
    Admin,
    /// Services, and users with `abide:admin`.
    AdminOrService,
    /// Users with `abide:auditor` or `abide:admin`.
    Auditor,
    /// Services, and users with `abide:auditor` or `abide:admin`.
    AuditorOrService,
    /// Users with `abide:publisher` or `abide:admin`.
    Publisher,
    /// Services, and users with `abide:publisher` or `abide:admin`.
    PublisherOrService,
    /// Users with `abide:operator` or `abide:admin`.
    Operator,
}

impl Access {
    /// All values.
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

    /// Returns a sentence for people.
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

    /// Returns whether a token is looked up at all.
    #[must_use]
    pub const fn reads_token(self) -> bool {
        !matches!(self, Self::Anyone)
    }

    /// Returns whether the route needs no identity.
    #[must_use]
    pub const fn is_open(self) -> bool {
        matches!(self, Self::Anyone | Self::Caller)
    }

    /// Checks an actor against the rule.
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
