//! Events of sessions, in the past tense.

use std::sync::Arc;

use super::record::{Session, Stored, StoredId};
use crate::engine::UserRef;
use crate::engine::core::json_text::{ObjectText, object_text};
use crate::types::{ProfileName, SessionId, Span, Time, TokenHash};

/// Reason of a session's end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndReason {
    /// Its bearer logged out.
    Logout,
    /// It was ended by its user from another session, or by an administrator.
    Revoked,
    /// It was not used for too long.
    Idle,
    /// It reached its absolute end.
    Expired,
    /// Its user opened more sessions than the limit allows.
    TooMany,
    /// The password was changed.
    PasswordChanged,
    /// The user was disabled.
    UserDisabled,
    /// The user was deleted.
    UserDeleted,
    /// The API key that opened it was revoked.
    KeyRevoked,
}

impl EndReason {
    /// Returns the name in the log.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Logout => "logout",
            Self::Revoked => "revoked",
            Self::Idle => "idle",
            Self::Expired => "expired",
            Self::TooMany => "too-many",
            Self::PasswordChanged => "password-changed",
            Self::UserDisabled => "user-disabled",
            Self::UserDeleted => "user-deleted",
            Self::KeyRevoked => "key-revoked",
        }
    }
}

/// Origin of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenedBy {
    /// A login with a password.
    Login,
    /// A visitor without a user.
    Anonymous,
    /// A service, on behalf of a user.
    OnBehalf,
}

/// Something that happened to a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SessionEvent {
    /// A session was opened.
    Opened {
        /// The session.
        session: Box<Session>,
        /// Origin of the session.
        by: OpenedBy,
    },
    /// An anonymous session became a user's, under a new token.
    Upgraded {
        /// The session.
        session: SessionId,
        /// Its user now.
        user: UserRef,
        /// Its new token.
        token: TokenHash,
        /// Its time-outs now.
        profile: Option<ProfileName>,
        /// Its idle time-out now.
        idle: Span,
        /// Time of its absolute end now.
        expires_at: Time,
    },
    /// The engine recorded that a session is in use.
    Touched {
        /// The session.
        session: SessionId,
    },
    /// A session has a new token.
    TokenReplaced {
        /// The session.
        session: SessionId,
        /// Its new token.
        token: TokenHash,
    },
    /// A user proved the password again.
    Elevated {
        /// The session.
        session: SessionId,
        /// Time until which the proof counts.
        until: Time,
    },
    /// A session's timer fired before the session's end, because the session was in use.
    Rescheduled {
        /// The session.
        session: SessionId,
        /// Time when its timer fires now.
        due: Time,
    },
    /// A session ended.
    Ended {
        /// The session.
        session: SessionId,
        /// Reason of its end.
        reason: EndReason,
    },
    /// A session's data was written.
    DataWritten {
        /// The session.
        session: SessionId,
        /// All of it now.
        json: Arc<str>,
    },
    /// A service or an effect changed the facts of a session.
    FactsWritten {
        /// The session.
        session: SessionId,
        /// All of it now.
        json: Arc<str>,
    },
    /// Another framework's session was stored.
    ExternalWritten {
        /// Its id.
        id: StoredId,
        /// The session.
        stored: Box<Stored>,
    },
    /// The engine recorded that another framework's session is in use.
    ExternalTouched {
        /// Its id.
        id: StoredId,
    },
    /// The timer of another framework's session fired before the session's end, because the session
    /// was in use.
    ExternalRescheduled {
        /// Its id.
        id: StoredId,
        /// Time when its timer fires now.
        due: Time,
    },
    /// Another framework's session ended.
    ExternalEnded {
        /// Its id.
        id: StoredId,
    },
}

impl SessionEvent {
    /// Returns its type in the log and the feed.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Opened { .. } => "abide.session.opened",
            Self::Upgraded { .. } => "abide.session.upgraded",
            Self::Touched { .. } => "abide.session.touched",
            Self::TokenReplaced { .. } => "abide.session.token_replaced",
            Self::Elevated { .. } => "abide.session.elevated",
            Self::Rescheduled { .. } => "abide.session.rescheduled",
            Self::Ended { .. } => "abide.session.ended",
            Self::DataWritten { .. } => "abide.session.data_written",
            Self::FactsWritten { .. } => "abide.session.facts_written",
            Self::ExternalWritten { .. } => "abide.stored.written",
            Self::ExternalTouched { .. } => "abide.stored.touched",
            Self::ExternalRescheduled { .. } => "abide.stored.rescheduled",
            Self::ExternalEnded { .. } => "abide.stored.ended",
        }
    }

    /// Returns its data for the log.
    pub(in crate::engine) fn log_data(&self) -> ObjectText {
        match self {
            Self::Opened { session, by } => object_text!({
                "session": session.id,
                "user": session.user.as_ref().map(|user| &user.username),
                "by": match by {
                    OpenedBy::Login => "login",
                    OpenedBy::Anonymous => "anonymous",
                    OpenedBy::OnBehalf => "on-behalf",
                },
                "via": session.via.as_ref().map(|key| key.id),
                "address": session.address.as_deref(),
                "expires_at": session.expires_at,
            }),
            Self::Upgraded { session, user, expires_at, .. } => object_text!({
                "session": session, "user": user.username, "expires_at": expires_at,
            }),
            Self::Touched { session }
            | Self::TokenReplaced { session, .. }
            | Self::DataWritten { session, .. }
            | Self::FactsWritten { session, .. } => object_text!({ "session": session }),
            Self::Elevated { session, until } => {
                object_text!({ "session": session, "until": until })
            }
            Self::Rescheduled { session, due } => object_text!({ "session": session, "due": due }),
            Self::Ended { session, reason } => {
                object_text!({ "session": session, "reason": reason.as_str() })
            }
            Self::ExternalWritten { id, stored } => object_text!({
                "key": id.key, "user": stored.user.as_ref().map(|(user, _)| &user.username),
            }),
            Self::ExternalTouched { id }
            | Self::ExternalRescheduled { id, .. }
            | Self::ExternalEnded { id } => object_text!({ "key": id.key }),
        }
    }
}
