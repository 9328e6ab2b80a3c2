//! Events of sessions, in the past tense.

use std::sync::Arc;

use super::record::{Session, Stored, StoredId};
use crate::engine::UserRef;
use crate::engine::core::json_text::{ObjectText, object_text};
use crate::types::{ProfileName, SessionId, Span, Time, TokenHash};

/// Why a session ended.
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
    /// Its user opened more sessions than may be.
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
    /// For the log.
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

/// How a session came to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenedBy {
    /// A password.
    Login,
    /// Nobody.
    Anonymous,
    /// A service.
    OnBehalf,
}

/// Something that happened to a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SessionEvent {
    /// A session was opened.
    Opened {
        /// It.
        session: Box<Session>,
        /// How.
        by: OpenedBy,
    },
    /// An anonymous session became a user's, under a new token.
    Upgraded {
        /// Which.
        session: SessionId,
        /// Whose it is now.
        user: UserRef,
        /// Its new token.
        token: TokenHash,
        /// Its time-outs now.
        profile: Option<ProfileName>,
        /// How long it lives without use now.
        idle: Span,
        /// When it ends now.
        expires_at: Time,
    },
    /// A session was noted to be in use.
    Touched {
        /// Which.
        session: SessionId,
    },
    /// A session has a new token.
    TokenReplaced {
        /// Which.
        session: SessionId,
        /// Its new token.
        token: TokenHash,
    },
    /// The password was proved again.
    Elevated {
        /// In which session.
        session: SessionId,
        /// Until when that counts.
        until: Time,
    },
    /// A session's timer fired before its end, since it was in use.
    Rescheduled {
        /// Which.
        session: SessionId,
        /// When its timer fires now.
        due: Time,
    },
    /// A session ended.
    Ended {
        /// Which.
        session: SessionId,
        /// Why.
        reason: EndReason,
    },
    /// A session's data was written.
    DataWritten {
        /// Whose.
        session: SessionId,
        /// All of it now.
        json: Arc<str>,
    },
    /// What services and effects note about a session was changed.
    FactsWritten {
        /// Of which.
        session: SessionId,
        /// All of it now.
        json: Arc<str>,
    },
    /// Another framework's session was stored.
    ExternalWritten {
        /// Which.
        id: StoredId,
        /// It.
        stored: Box<Stored>,
    },
    /// Another framework's session was noted to be in use.
    ExternalTouched {
        /// Which.
        id: StoredId,
    },
    /// The timer of another framework's session fired before its end, since it was in use.
    ExternalRescheduled {
        /// Which.
        id: StoredId,
        /// When its timer fires now.
        due: Time,
    },
    /// Another framework's session ended.
    ExternalEnded {
        /// Which.
        id: StoredId,
    },
}

impl SessionEvent {
    /// Returns its type, as the log and the feed have it.
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

    /// Returns what the log keeps of it.
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
