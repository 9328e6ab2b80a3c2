//! Events of API keys, in the past tense.

use super::record::ApiKey;
use crate::engine::core::json_text::{ObjectText, object_text};

/// Event of an API key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ApiKeyEvent {
    /// An API key was created.
    Created {
        /// The key.
        key: Box<ApiKey>,
    },
    /// An API key was revoked.
    Revoked {
        /// The key.
        key: Box<ApiKey>,
        /// True if the sessions that it opened stay alive.
        keep_sessions: bool,
    },
}

impl ApiKeyEvent {
    /// Returns its type, as the log and the feed name it.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Created { .. } => "abide.key.created",
            Self::Revoked { .. } => "abide.key.revoked",
        }
    }

    /// Returns the data that the log keeps of the event.
    pub(in crate::engine) fn log_data(&self) -> ObjectText {
        match self {
            Self::Created { key } => object_text!({
                "key": key.id, "name": &*key.name, "roles": &*key.roles,
                "on_behalf": &*key.on_behalf,
            }),
            Self::Revoked { key, keep_sessions } => object_text!({
                "key": key.id, "name": &*key.name, "roles": &*key.roles,
                "on_behalf": &*key.on_behalf, "keep_sessions": keep_sessions,
            }),
        }
    }
}
