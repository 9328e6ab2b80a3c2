//! Records of webhooks.

use serde::{Deserialize, Serialize};

use crate::types::{Span, Time, TxId, WebhookId};

/// How long the key before the last one still signs.
pub const OLD_KEY_LIFE: Span = Span::from_hours(24);

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebhookAsk {
    /// Where to.
    pub url: String,
    /// The types of events: whole, or with `*` at the end.
    pub types: Vec<String>,
}

/// A subscription.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Webhook {
    /// Its id.
    pub id: WebhookId,
    /// Where to.
    pub url: String,
    /// The types of events: whole, or with `*` at the end.
    pub types: Vec<String>,
    /// Which key signs; each change counts.
    pub generation: u32,
    /// Until when the key before signs too.
    pub old_key_until: Option<Time>,
    /// The last event that was told, or passed over; all before it are over, but for what lags.
    pub after: String,
    /// The transactions of which one was not taken.
    pub lags: Vec<Lag>,
    /// How many events were told.
    pub told: u64,
    /// What the last attempt met; `None`: it was right.
    pub error: Option<String>,
    /// The numbers of the events that could not be delivered and are kept, as they were given up.
    pub dead: Vec<u64>,
    /// What was given up until then is to be told again.
    #[serde(default)]
    pub replay_to: Option<Time>,
    /// Whether it has stopped: too many could not be delivered, or the receiver is gone.
    pub stopped: bool,
    /// When it was made.
    pub created_at: Time,
}

/// A transaction whose events wait, since one of them was not taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lag {
    /// The transaction; `None`: what is of none.
    pub transaction: Option<TxId>,
    /// Up to this event all of it is over.
    pub after: String,
    /// How often the next one was tried in vain.
    #[serde(default)]
    pub tried: u32,
    /// When it is tried again.
    #[serde(default)]
    pub again_at: Option<Time>,
}

/// An event that could not be delivered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeadLetter {
    /// Its number in the subscription: made of the event's id, so an event is one letter however
    /// often it is given up.
    pub number: u64,
    /// The event's id.
    pub event: String,
    /// The body: the event as it would have been told.
    pub body: String,
    /// What the last attempt met.
    pub error: String,
    /// When it was given up.
    pub at: Time,
    /// Whether it is to be told again.
    pub replay: bool,
}

/// What of a subscription is told again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replay {
    /// One dead letter.
    Letter(u64),
    /// All that are there now.
    Letters,
    /// None: it only goes on.
    Nothing,
}

/// An event that is given up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GivenUp {
    /// Its number, made of its id.
    pub number: u64,
    /// Its id.
    pub event: String,
    /// Its body.
    pub body: String,
}

/// How a subscription went on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebhookNews {
    /// Which.
    pub id: WebhookId,
    /// The last event that was told, or passed over; `None`: as before.
    pub after: Option<String>,
    /// What lags behind that.
    pub lags: Vec<Lag>,
    /// How many more were told.
    pub told: u64,
    /// What the last attempt met.
    pub error: Option<String>,
    /// The event that is given up.
    pub dead: Option<GivenUp>,
    /// The dead letter that was told again, and whether it was taken now.
    pub replayed: Option<(u64, bool)>,
    /// Whether the receiver wants nothing more.
    pub gone: bool,
}

impl Webhook {
    /// Whether a dead letter of it is to be told again. One that is given up once more meanwhile is
    /// not: it is newer than what was asked for.
    #[must_use]
    pub fn replays(&self, letter: &DeadLetter) -> bool {
        letter.replay || self.replay_to.is_some_and(|to| letter.at <= to)
    }

    /// Whether an event of this type is to be told.
    #[must_use]
    pub fn wants(&self, kind: &str) -> bool {
        self.types.iter().any(|pattern| match pattern.strip_suffix('*') {
            Some(start) => kind.starts_with(start),
            None => kind == pattern,
        })
    }
}

/// How a subscription goes on is told to nobody: telling it would go on for ever.
pub(in crate::engine) const NOTED: &str = "abide.webhook.noted";
