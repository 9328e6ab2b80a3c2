//! The path of a command.

pub(super) mod admission;
pub(super) mod answers;
pub(super) mod executor;
pub(super) mod idempotency;
pub(super) mod job;
mod lanes;
pub(super) mod live_keys;
pub(super) mod prepare;
pub(super) mod queue;
mod replay;
mod sweep;
mod upkeep;
pub(super) mod waiters;
pub(super) mod watchdog;
