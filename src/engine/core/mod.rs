//! Foundation of every domain: commands, events, refusals, and the unit of work in which one
//! command is decided.

mod actor;
mod append_list;
mod apply;
pub mod catalogue;
mod command;
mod commands;
mod decide;
mod event;
pub(in crate::engine) mod inputs;
pub(in crate::engine) mod json;
pub(in crate::engine) mod json_change;
pub(in crate::engine) mod json_text;
mod outcome;
pub(in crate::engine) mod preconditions;
pub(in crate::engine) mod record;
mod refusal;
pub(in crate::engine) mod resolved_actor;
mod rules;
mod timers;
pub(in crate::engine) mod trail;
pub(in crate::engine) mod unit_of_work;

pub use actor::{Actor, KeyActor, KeyRef, SessionActor, UserRef};
pub use command::Command;
pub use decide::{Decision, FIRINGS_MAX, decide, decide_timers, precheck};
pub use event::Event;
pub use inputs::{CommandInputs, PasswordCheck, PasswordEvidence};
pub use json_change::{DataChange, EMPTY};
pub use outcome::{Data, Outcome};
pub use preconditions::{Expected, IfMatch, Preconditions};
pub use record::{
    Digest, IndexEntry, Opens, Record, RecordKey, Reference, TX_PAGE, Timer, TimerOf,
};
pub use refusal::{FieldError, Refusal};
pub use rules::{Profile, Rules};
#[cfg(test)]
pub use unit_of_work::require_replay;
pub use unit_of_work::{
    Changes, DecideError, DecisionContext, LoadedRecord, ReadSet, RecordLookup, RecordSource,
    SliceLimit, UnitOfWork,
};
