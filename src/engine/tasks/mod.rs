//! What goes on by itself over many commits: starts by the calendar, and what is done to many
//! transactions.

mod bulk;
mod schedule;
mod webhook;

pub use bulk::{BulkAction, BulkAsk, BulkFailure, BulkFilter, Job};
pub(super) use bulk::{begin as begin_bulk, fire as fire_job};
pub use schedule::{CatchUp, Firing, Overlap, Schedule, ScheduleAsk, ScheduleOwner};
pub(super) use schedule::{
    create as create_schedule, delete as delete_schedule, fire as fire_schedule,
};
pub(super) use webhook::NOTED;
pub use webhook::{
    DeadLetter, GivenUp, Lag, OLD_KEY_LIFE, Replay, Webhook, WebhookAsk, WebhookNews,
};
pub(super) use webhook::{
    create as create_webhook, delete as delete_webhook, note as note_webhook,
    replay as replay_webhook, rotate as rotate_webhook,
};
