//! Records of webhooks.

use serde::{Deserialize, Serialize};

use crate::types::{Span, Time, TxId, WebhookId};

/// Time for which the previous key still signs after a rotation.
pub const OLD_KEY_LIFE: Span = Span::from_hours(24);

/// A request to create a webhook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebhookAsk {
    /// Address of the receiver.
    pub url: String,
    /// Types of events: whole, or with `*` at the end.
    pub types: Vec<String>,
}

/// A webhook: a subscription to events.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Webhook {
    /// Its id.
    pub id: WebhookId,
    /// Address of the receiver.
    pub url: String,
    /// Types of events: whole, or with `*` at the end.
    pub types: Vec<String>,
    /// Number of the signing key; each rotation increments it.
    pub generation: u32,
    /// Time until which the previous key signs too.
    pub old_key_until: Option<Time>,
    /// Id of the last event that was delivered or skipped; all before it are done, except those of
    /// `lags`.
    pub after: String,
    /// Transactions whose events wait because the receiver did not accept one of them.
    pub lags: Vec<Lag>,
    /// Number of delivered events.
    pub told: u64,
    /// Error of the last attempt; `None`: it succeeded.
    pub error: Option<String>,
    /// Numbers of the dead letters that are kept, in the order in which the events were given up.
    pub dead: Vec<u64>,
    /// Dead letters up to this time are to be delivered again.
    #[serde(default)]
    pub replay_to: Option<Time>,
    /// True if it has stopped: it has too many dead letters, or the receiver is gone.
    pub stopped: bool,
    /// Time when it was created.
    pub created_at: Time,
}

/// A transaction whose events wait because the receiver did not accept one of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lag {
    /// The transaction; `None`: events that belong to no transaction.
    pub transaction: Option<TxId>,
    /// Id of the last event of the transaction that is done.
    pub after: String,
    /// Number of failed attempts to deliver the next event.
    #[serde(default)]
    pub tried: u32,
    /// Time of the next attempt.
    #[serde(default)]
    pub again_at: Option<Time>,
}

/// A dead letter: an event that could not be delivered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeadLetter {
    /// Its number in the webhook. It is made of the event's id, so an event is one letter however
    /// often it is given up.
    pub number: u64,
    /// The event's id.
    pub event: String,
    /// Body of the request: the event as it would have been delivered.
    pub body: String,
    /// Error of the last attempt.
    pub error: String,
    /// Time when it was given up.
    pub at: Time,
    /// True if it is to be delivered again.
    pub replay: bool,
}

/// Part of a webhook's dead letters that is to be delivered again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replay {
    /// One dead letter.
    Letter(u64),
    /// All present dead letters.
    Letters,
    /// None: the webhook only resumes.
    Nothing,
}

/// An event that is given up after failed deliveries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GivenUp {
    /// Its number, made of its id.
    pub number: u64,
    /// Its id.
    pub event: String,
    /// Its body.
    pub body: String,
}

/// Progress of a webhook's delivery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebhookNews {
    /// The webhook.
    pub id: WebhookId,
    /// Id of the last event that was delivered or skipped; `None`: no change.
    pub after: Option<String>,
    /// Transactions with waiting events before that one.
    pub lags: Vec<Lag>,
    /// Number of newly delivered events.
    pub told: u64,
    /// Error of the last attempt.
    pub error: Option<String>,
    /// The event that is given up.
    pub dead: Option<GivenUp>,
    /// Dead letter that was sent again, and whether the receiver accepted it.
    pub replayed: Option<(u64, bool)>,
    /// True if the receiver wants no further events.
    pub gone: bool,
}

impl Webhook {
    /// Returns whether a dead letter of it is to be delivered again. A letter that is given up once
    /// more meanwhile is not: it is newer than the request.
    #[must_use]
    pub fn replays(&self, letter: &DeadLetter) -> bool {
        letter.replay || self.replay_to.is_some_and(|to| letter.at <= to)
    }

    /// Returns whether the webhook subscribes to this type of event.
    #[must_use]
    pub fn wants(&self, kind: &str) -> bool {
        self.types.iter().any(|pattern| match pattern.strip_suffix('*') {
            Some(start) => kind.starts_with(start),
            None => kind == pattern,
        })
    }
}

/// Type of the event that records the progress of a delivery. No webhook receives it: each delivery
/// would cause another one for ever.
pub(in crate::engine) const NOTED: &str = "abide.webhook.noted";
