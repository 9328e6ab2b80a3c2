//! Events of failed attempts, in the past tense.

use std::sync::Arc;

use super::record::Counter;
use crate::engine::UserRef;
use crate::engine::core::json_text::{ObjectText, object_text};

/// A failed attempt at a secret, or what became of earlier ones.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AttemptEvent {
    /// Somebody did not prove a password.
    LoginFailed {
        /// The user that was meant, if there is one.
        user: Option<UserRef>,
        /// The counters that count it.
        counters: Vec<Counter>,
        /// The address.
        address: Option<Arc<str>>,
    },
    /// A wrong one-time code was given. Its transaction says so too.
    CodeFailed {
        /// The counters that count it.
        counters: Vec<Counter>,
    },
    /// Failures of an anonymous session are those of the user that it became.
    FailuresMoved {
        /// The session's counter.
        from: Counter,
        /// The user's.
        to: Counter,
    },
    /// A success after failures, which no longer count.
    FailuresForgotten {
        /// The counters that forget them.
        counters: Vec<Counter>,
    },
}

impl AttemptEvent {
    /// Returns its type, as the log and the feed have it.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::LoginFailed { .. } => "abide.login.failed",
            Self::CodeFailed { .. } => "abide.code.failed",
            Self::FailuresMoved { .. } => "abide.code.failures_moved",
            Self::FailuresForgotten { .. } => "abide.login.failures_forgotten",
        }
    }

    /// Whether the log keeps it. The transaction publishes wrong codes.
    #[must_use]
    pub const fn is_published(&self) -> bool {
        !matches!(self, Self::CodeFailed { .. } | Self::FailuresMoved { .. })
    }

    /// Returns what the log keeps of it.
    pub(in crate::engine) fn log_data(&self) -> ObjectText {
        match self {
            Self::LoginFailed { user, address, .. } => object_text!({
                "user": user.as_ref().map(|user| &user.username), "address": address.as_deref(),
            }),
            Self::CodeFailed { .. }
            | Self::FailuresMoved { .. }
            | Self::FailuresForgotten { .. } => object_text!({}),
        }
    }
}
