//! Webhooks: subscriptions of other servers to events, and the events that could not be delivered.

mod commands;

pub(super) use commands::NOTED;
pub use commands::{
    DeadLetter, GivenUp, Lag, OLD_KEY_LIFE, Replay, Webhook, WebhookAsk, WebhookNews,
};
pub(super) use commands::{create, delete, note, replay, rotate};
