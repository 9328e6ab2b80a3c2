//! Events of API keys, in the past tense.

use super::record::ApiKey;
use crate::engine::core::json_text::{ObjectText, object_text};

/// Something that happened to an API key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ApiKeyEvent {
    /// An API key was created.
    Created {
        /// It.
        key: Box<ApiKey>,
    },
    /// An API key was revoked.
    Revoked {
        /// It.
        key: Box<ApiKey>,
        /// Whether the sessions that it opened live on.
        keep_sessions: bool,
    },
}

impl ApiKeyEvent {
    /// Returns its type, as the log and the feed have it.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Created { .. } => "abide.key.created",
            Self::Revoked { .. } => "abide.key.revoked",
        }
    }

    /// Returns what the log keeps of it.
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
