//! Actor of a request.

use std::sync::Arc;

use crate::engine::transaction::OwnerId;
use crate::types::{
    HookName, KeyId, Role, SessionId, TokenHash, TxId, UserId, UserPattern, Username, WorkflowName,
};

/// A user, by id and by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserRef {
    /// Id, for programs.
    pub id: UserId,
    /// Username, for people.
    pub username: Username,
}

/// An API key, by id and by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyRef {
    /// Id, for programs.
    pub id: KeyId,
    /// The name that its creator gave it.
    pub name: Arc<str>,
}

/// The party that makes a request. Its roles are those at the time of the token lookup; the
/// decision of a command looks them up again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Actor {
    /// A request without a token.
    Nobody,
    /// The bearer of a session token.
    Session(SessionActor),
    /// A service with an API key.
    Key(KeyActor),
    /// Another service, by a message whose signature was checked.
    Hook(HookName),
    /// A transaction, by an effect of a step.
    Workflow(WorkflowName, TxId),
    /// The server itself: timers, the command line.
    System,
}

/// The bearer of a session token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionActor {
    /// The session.
    pub session: SessionId,
    /// Token that the request presented. After a rotation the old token opens nothing.
    pub token: TokenHash,
    /// Owner of the session; `None`: the session is anonymous.
    pub user: Option<UserRef>,
    /// The user's roles; empty for an anonymous session.
    pub roles: Arc<[Role]>,
    /// The API key that opened the session on the user's behalf.
    pub via: Option<KeyRef>,
}

/// A service with an API key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyActor {
    /// The key.
    pub key: KeyRef,
    /// Roles of the key.
    pub roles: Arc<[Role]>,
    /// Users for whom it may open sessions.
    pub on_behalf: Arc<[UserPattern]>,
}

impl Actor {
    /// Returns the roles that the actor acts with. [`Actor::System`] has none and needs none.
    #[must_use]
    pub fn roles(&self) -> &[Role] {
        match self {
            Self::Nobody | Self::Hook(_) | Self::Workflow(..) | Self::System => &[],
            Self::Session(session) => &session.roles,
            Self::Key(key) => &key.roles,
        }
    }

    /// Returns whether the actor has the role. An administrator has all roles of Abide's own.
    #[must_use]
    pub fn has(&self, role: &str) -> bool {
        let has = |wanted: &str| self.roles().iter().any(|role| role.as_str() == wanted);
        has(role) || (role.starts_with("abide:") && has(Role::ADMIN))
    }

    /// Returns whether the actor may do everything.
    #[must_use]
    pub fn is_admin(&self) -> bool {
        matches!(self, Self::System) || self.has(Role::ADMIN)
    }

    /// Returns the actor's user, if it is one.
    #[must_use]
    pub const fn user(&self) -> Option<&UserRef> {
        match self {
            Self::Session(session) => session.user.as_ref(),
            Self::Nobody | Self::Key(_) | Self::Hook(_) | Self::Workflow(..) | Self::System => None,
        }
    }

    /// Returns the owner id under which lists and limits count the actor: all sessions of a user
    /// count as that user.
    #[must_use]
    pub fn owner_id(&self) -> Option<OwnerId> {
        match self {
            Self::Session(session) => Some(match &session.user {
                Some(user) => OwnerId::User(user.id),
                None => OwnerId::Session(session.session),
            }),
            Self::Key(key) => Some(OwnerId::Key(key.key.id)),
            Self::Nobody | Self::Hook(_) | Self::Workflow(..) | Self::System => None,
        }
    }

    /// Returns the session of the request.
    #[must_use]
    pub const fn session(&self) -> Option<SessionId> {
        match self {
            Self::Session(session) => Some(session.session),
            Self::Nobody | Self::Key(_) | Self::Hook(_) | Self::Workflow(..) | Self::System => None,
        }
    }
}
