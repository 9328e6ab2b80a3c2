//! Deliveries to other servers: calls of workflows and webhooks.

pub(super) mod call;
mod destination;
mod excerpt;
mod panic;
pub(super) mod subscriptions;
pub(super) mod webhook;
