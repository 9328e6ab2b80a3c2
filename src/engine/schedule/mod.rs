//! Schedules: transactions that the calendar starts.

mod commands;
mod cron;

pub use commands::{CatchUp, Firing, Overlap, Schedule, ScheduleAsk, ScheduleOwner};
pub(super) use commands::{create, delete, fire};
pub use cron::{Cron, CronFault};
