//! What goes on by itself over many commits: starts by the calendar, and what is done to many
//! transactions.

mod bulk;
mod schedule;

pub use bulk::{BulkAction, BulkAsk, BulkFailure, BulkFilter, Job};
pub(super) use bulk::{begin as begin_bulk, fire as fire_job};
pub use schedule::{CatchUp, Firing, Overlap, Schedule, ScheduleAsk, ScheduleOwner};
pub(super) use schedule::{
    create as create_schedule, delete as delete_schedule, fire as fire_schedule,
};
