//! Events: what a commit did, in the past tense.

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

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A session, also one of another framework.
    Session(SessionEvent),
    /// A user.
    User(UserEvent),
    /// An API key.
    ApiKey(ApiKeyEvent),
    /// Reference values.
    Value(ValueEvent),
    /// Failed attempts at a secret.
    Attempt(AttemptEvent),
    /// The ledger.
    Ledger(LedgerEvent),
    /// Something happened in a transaction.
    Tx {
        /// In which.
        tx: TxId,
        /// What.
        event: Box<TxEvent>,
    },
    /// A version of a workflow was published.
    WorkflowPublished {
        /// It.
        published: Box<Published>,
    },
    /// A workflow takes no new starts.
    WorkflowRetired {
        /// Which.
        name: WorkflowName,
    },
    /// Something that is published and changes no record by itself.
    Notice {
        /// Its type.
        kind: &'static str,
        /// What the log keeps of it.
        data: Value,
    },
    /// Somebody was refused what they may not do.
    Denied {
        /// What.
        what: Arc<str>,
        /// The refusal's code.
        code: &'static str,
        /// The user that it was about, if it was a login.
        user: Option<Username>,
    },
}

/// Wraps the events of each domain.
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
    /// Returns its type, as the log and the feed have it.
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

    /// Whether the log keeps it, and so feeds and webhooks deliver it.
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

    /// Whether webhooks want other events from here on, or sign with other keys.
    #[must_use]
    pub fn changes_webhooks(&self) -> bool {
        matches!(self, Self::Notice { kind, .. } if kind.starts_with("abide.webhook."))
            && self.is_published()
    }

    /// Returns what the log keeps of it, as JSON text: never a secret, a hash of one, or what people
    /// keep as data.
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
