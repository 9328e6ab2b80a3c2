//! Events of failed attempts, in the past tense.

use std::sync::Arc;

use super::record::Counter;
use crate::engine::UserRef;
use crate::engine::core::json_text::{ObjectText, object_text};

/// A failed attempt at a secret, or a change of the counters of earlier ones.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AttemptEvent {
    /// Somebody did not prove a password.
    LoginFailed {
        /// User whom the login named, if there is one.
        user: Option<UserRef>,
        /// The counters that count it.
        counters: Vec<Counter>,
        /// Address that the attempt came from.
        address: Option<Arc<str>>,
    },
    /// Somebody gave a wrong one-time code. The event of its transaction says so too.
    CodeFailed {
        /// The counters that count it.
        counters: Vec<Counter>,
    },
    /// The failures of an anonymous session now count for the user that it became.
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
    /// Returns its type in the log and the feed.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::LoginFailed { .. } => "abide.login.failed",
            Self::CodeFailed { .. } => "abide.code.failed",
            Self::FailuresMoved { .. } => "abide.code.failures_moved",
            Self::FailuresForgotten { .. } => "abide.login.failures_forgotten",
        }
    }

    /// Returns whether the log keeps it. The transaction publishes wrong codes.
    #[must_use]
    pub const fn is_published(&self) -> bool {
        !matches!(self, Self::CodeFailed { .. } | Self::FailuresMoved { .. })
    }

    /// Returns its data for the log.
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
