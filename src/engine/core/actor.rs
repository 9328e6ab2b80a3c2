//! Who asks.

use std::sync::Arc;

use crate::engine::transaction::OwnerId;
use crate::types::{
    HookName, KeyId, Role, SessionId, TokenHash, TxId, UserId, UserPattern, Username, WorkflowName,
};

/// A user, by both names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserRef {
    /// The name for machines.
    pub id: UserId,
    /// The name for people.
    pub username: Username,
}

/// An API key, by both names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyRef {
    /// The name for machines.
    pub id: KeyId,
    /// The name that its maker gave it.
    pub name: Arc<str>,
}

/// Who asks. What it says of roles is what was true when the token was looked up; a command is
/// decided on what is true at its turn.
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
    /// The token that it was reached with: after a rotation the old one reaches nothing.
    pub token: TokenHash,
    /// Whose session it is; `None`: an anonymous one.
    pub user: Option<UserRef>,
    /// The user's roles; none for an anonymous session.
    pub roles: Arc<[Role]>,
    /// The API key that opened the session on the user's behalf.
    pub via: Option<KeyRef>,
}

/// A service with an API key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyActor {
    /// The key.
    pub key: KeyRef,
    /// What it may do.
    pub roles: Arc<[Role]>,
    /// For whom it may open sessions.
    pub on_behalf: Arc<[UserPattern]>,
}

impl Actor {
    /// The roles it acts with. [`Actor::System`] has none and needs none.
    #[must_use]
    pub fn roles(&self) -> &[Role] {
        match self {
            Self::Nobody | Self::Hook(_) | Self::Workflow(..) | Self::System => &[],
            Self::Session(session) => &session.roles,
            Self::Key(key) => &key.roles,
        }
    }

    /// Whether it has the role; an administrator has each of Abide's powers.
    #[must_use]
    pub fn has(&self, role: &str) -> bool {
        let has = |wanted: &str| self.roles().iter().any(|role| role.as_str() == wanted);
        has(role) || (role.starts_with("abide:") && has(Role::ADMIN))
    }

    /// Whether it may do everything.
    #[must_use]
    pub fn is_admin(&self) -> bool {
        matches!(self, Self::System) || self.has(Role::ADMIN)
    }

    /// The user that it is.
    #[must_use]
    pub const fn user(&self) -> Option<&UserRef> {
        match self {
            Self::Session(session) => session.user.as_ref(),
            Self::Nobody | Self::Key(_) | Self::Hook(_) | Self::Workflow(..) | Self::System => None,
        }
    }

    /// The id by which lists and limits know it: of a user that of all sessions together.
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

    /// The session that it came with.
    #[must_use]
    pub const fn session(&self) -> Option<SessionId> {
        match self {
            Self::Session(session) => Some(session.session),
            Self::Nobody | Self::Key(_) | Self::Hook(_) | Self::Workflow(..) | Self::System => None,
        }
    }
}
