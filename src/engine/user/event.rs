//! Events of users, in the past tense.

use std::sync::Arc;

use super::record::{Link, User, UserChange};
use super::role_changes::RoleChanges;
use crate::engine::UserRef;
use crate::engine::core::json_text::{ObjectText, object_text};
use crate::types::{TokenHash, UserId};

/// Something that happened to a user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UserEvent {
    /// A user was created.
    Created {
        /// The user.
        user: Box<User>,
    },
    /// An administrator changed a user.
    Changed {
        /// The user.
        user: UserId,
        /// The change; it contains all attributes after the change.
        change: Box<UserChange>,
    },
    /// The recorded changes of a user's roles by transactions are different now.
    RoleChangesNoted {
        /// The user.
        user: UserId,
        /// All recorded changes that are not undone.
        changes: Box<RoleChanges>,
    },
    /// A user has a new password.
    PasswordSet {
        /// The user.
        user: UserId,
        /// Its hash.
        hash: Arc<str>,
    },
    /// A user's password is hashed with stronger parameters now.
    PasswordRehashed {
        /// The user.
        user: UserId,
        /// Its hash.
        hash: Arc<str>,
    },
    /// All sessions of a user ended, those of other frameworks too.
    SessionsVoided {
        /// The user.
        user: UserId,
    },
    /// A user's data was written.
    DataWritten {
        /// The user.
        user: UserId,
        /// All of it now.
        json: Arc<str>,
    },
    /// A user was deleted.
    Deleted {
        /// The user.
        user: UserRef,
    },
    /// A single-use link was made.
    LinkMade {
        /// Its hash.
        hash: TokenHash,
        /// The link.
        link: Link,
    },
    /// A single-use link was used, replaced, or expired.
    LinkEnded {
        /// Its hash.
        hash: TokenHash,
    },
}

impl UserEvent {
    /// Returns its type in the log and the feed.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Created { .. } => "abide.user.created",
            Self::Changed { .. } => "abide.user.changed",
            Self::RoleChangesNoted { .. } => "abide.user.role_changes_noted",
            Self::PasswordSet { .. } => "abide.user.password_set",
            Self::PasswordRehashed { .. } => "abide.user.password_rehashed",
            Self::SessionsVoided { .. } => "abide.user.sessions_voided",
            Self::DataWritten { .. } => "abide.user.data_written",
            Self::Deleted { .. } => "abide.user.deleted",
            Self::LinkMade { .. } => "abide.link.made",
            Self::LinkEnded { .. } => "abide.link.ended",
        }
    }

    /// Returns whether the log keeps it.
    #[must_use]
    pub const fn is_published(&self) -> bool {
        !matches!(self, Self::RoleChangesNoted { .. })
    }

    /// Returns its data for the log.
    pub(in crate::engine) fn log_data(&self) -> ObjectText {
        match self {
            Self::Created { user } => object_text!({
                "user": user.id, "username": user.username, "roles": &*user.roles,
            }),
            Self::Changed { user, change } => object_text!({
                "user": user,
                "roles": change.roles,
                "disabled": change.disabled,
                "name_changed": change.name.is_some(),
                "attributes_changed": change.attributes.is_some(),
            }),
            Self::RoleChangesNoted { user, .. }
            | Self::PasswordSet { user, .. }
            | Self::PasswordRehashed { user, .. }
            | Self::SessionsVoided { user }
            | Self::DataWritten { user, .. } => object_text!({ "user": user }),
            Self::Deleted { user } => object_text!({ "user": user.id, "username": user.username }),
            Self::LinkMade { link, .. } => {
                object_text!({ "user": link.user, "expires_at": link.expires_at })
            }
            Self::LinkEnded { .. } => object_text!({}),
        }
    }
}
