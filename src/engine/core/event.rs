//! Events: records of what a commit did, in the past tense.

use std::sync::Arc;

use serde_json::Value;

use super::json_text::object_text;
use crate::engine::api_key::ApiKeyEvent;
use crate::engine::attempt::AttemptEvent;
use crate::engine::ledger::LedgerEvent;
use crate::engine::session::SessionEvent;
use crate::engine::transaction::{Published, TxEvent};
use crate::engine::user::UserEvent;
use crate::engine::value::ValueEvent;
use crate::types::{TxId, Username, WorkflowName};

/// One thing that a commit did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A change of a session, also of an external one.
    Session(SessionEvent),
    /// A change of a user.
    User(UserEvent),
    /// A change of an API key.
    ApiKey(ApiKeyEvent),
    /// A change of reference values.
    Value(ValueEvent),
    /// A failed attempt at a secret, or the reset of such attempts.
    Attempt(AttemptEvent),
    /// A change in the ledger.
    Ledger(LedgerEvent),
    /// A change in a transaction.
    Tx {
        /// The transaction.
        tx: TxId,
        /// Its event.
        event: Box<TxEvent>,
    },
    /// A version of a workflow was published.
    WorkflowPublished {
        /// The version.
        published: Box<Published>,
    },
    /// A workflow takes no new starts.
    WorkflowRetired {
        /// The workflow.
        name: WorkflowName,
    },
    /// An event that the log publishes and that changes no record by itself.
    Notice {
        /// Its type.
        kind: &'static str,
        /// Its data in the log.
        data: Value,
    },
    /// The server denied the actor a command or a read.
    Denied {
        /// Name of the command, or the method and path of the read.
        what: Arc<str>,
        /// The refusal's code.
        code: &'static str,
        /// The user that a login or password check names.
        user: Option<Username>,
    },
}

/// Implements the conversion from the events of each domain.
macro_rules! from_domains {
    ($($event:ident => $variant:ident,)*) => {$(
        impl From<$event> for Event {
            fn from(event: $event) -> Self {
                Self::$variant(event)
            }
        }
    )*};
}

from_domains! {
    SessionEvent => Session,
    UserEvent => User,
    ApiKeyEvent => ApiKey,
    ValueEvent => Value,
    AttemptEvent => Attempt,
    LedgerEvent => Ledger,
}

impl Event {
    /// Returns the event's type, as the log and the feed show it.
    #[must_use]
    pub fn kind(&self) -> &str {
        match self {
            Self::Session(event) => event.kind(),
            Self::User(event) => event.kind(),
            Self::ApiKey(event) => event.kind(),
            Self::Value(event) => event.kind(),
            Self::Attempt(event) => event.kind(),
            Self::Ledger(event) => event.kind(),
            Self::Tx { event, .. } => event.kind(),
            Self::WorkflowPublished { .. } => "abide.workflow.published",
            Self::WorkflowRetired { .. } => "abide.workflow.retired",
            Self::Notice { kind, .. } => kind,
            Self::Denied { .. } => "abide.denied",
        }
    }

    /// Returns whether the log keeps the event, so that feeds and webhooks deliver it.
    #[must_use]
    pub fn is_published(&self) -> bool {
        match self {
            Self::User(event) => event.is_published(),
            Self::Attempt(event) => event.is_published(),
            Self::Tx { event, .. } => event.is_published(),
            Self::Notice { kind, .. } => *kind != crate::engine::webhook::NOTED,
            Self::Session(_)
            | Self::ApiKey(_)
            | Self::Value(_)
            | Self::Ledger(_)
            | Self::WorkflowPublished { .. }
            | Self::WorkflowRetired { .. }
            | Self::Denied { .. } => true,
        }
    }

    /// Returns whether the event changes the subscriptions of webhooks or their signing keys.
    #[must_use]
    pub fn changes_webhooks(&self) -> bool {
        matches!(self, Self::Notice { kind, .. } if kind.starts_with("abide.webhook."))
            && self.is_published()
    }

    /// Returns the event's data in the log, as JSON text. It never contains a secret, the hash of a
    /// secret, or data that clients store.
    #[must_use]
    pub fn log_data(&self) -> String {
        match self {
            Self::Session(event) => event.log_data(),
            Self::User(event) => event.log_data(),
            Self::ApiKey(event) => event.log_data(),
            Self::Value(event) => event.log_data(),
            Self::Attempt(event) => event.log_data(),
            Self::Ledger(event) => event.log_data(),
            Self::Tx { tx, event } => {
                let mut data = event.log_data();
                data.put("transaction", tx);
                data
            }
            Self::WorkflowPublished { published } => object_text!({
                "workflow": published.name, "version": published.version,
            }),
            Self::WorkflowRetired { name } => object_text!({ "workflow": name }),
            Self::Notice { data, .. } => return data.to_string(),
            Self::Denied { what, code, user } => {
                object_text!({ "what": &**what, "code": code, "user": user })
            }
        }
        .into_text()
    }
}
