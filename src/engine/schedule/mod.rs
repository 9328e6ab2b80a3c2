//! Schedules: transactions that the calendar starts.

mod commands;
mod cron;
mod record;

pub(super) use commands::{create, delete, fire};
pub use cron::{Cron, CronFault};
pub use record::{CatchUp, Firing, Overlap, Schedule, ScheduleAsk, ScheduleOwner};
