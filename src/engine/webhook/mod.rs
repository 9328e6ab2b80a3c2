//! Webhooks: subscriptions of other servers to events, and the events that could not be delivered.

mod commands;
mod record;

pub(super) use commands::{create, delete, note, replay, rotate};
pub(super) use record::NOTED;
pub use record::{
    DeadLetter, GivenUp, Lag, OLD_KEY_LIFE, Replay, Webhook, WebhookAsk, WebhookNews,
};
