//! Foundation of every domain: commands, events, refusals, and the unit of work in which one
//! command is decided.

mod actor;
mod append_list;
mod apply;
pub mod catalogue;
mod changes;
mod command;
mod commands;
mod decide;
mod digest;
mod event;
pub(in crate::engine) mod inputs;
pub(in crate::engine) mod json;
pub(in crate::engine) mod json_change;
pub(in crate::engine) mod json_text;
mod outcome;
pub(in crate::engine) mod preconditions;
mod read_set;
pub(in crate::engine) mod record;
mod refusal;
pub(in crate::engine) mod resolved_actor;
mod rules;
mod target;
mod timers;
pub(in crate::engine) mod trail;
pub(in crate::engine) mod unit_of_work;

pub use actor::{Actor, KeyActor, KeyRef, SessionActor, UserRef};
pub use changes::Changes;
pub use command::Command;
pub use decide::{Decision, FIRINGS_MAX, decide, decide_timers, precheck};
pub use digest::Digest;
pub use event::Event;
pub use inputs::{CommandInputs, PasswordCheck, PasswordEvidence};
pub use json_change::{Data, DataChange, EMPTY};
pub use outcome::Outcome;
pub use preconditions::{Expected, IfMatch, Preconditions};
pub use read_set::{LoadedRecord, ReadSet, RecordLookup, RecordSource, SliceLimit};
pub use record::{IndexEntry, Opens, Record, RecordKey, Reference, TX_PAGE, Timer, TimerOf};
pub use refusal::{InputError, Refusal};
pub use rules::{Profile, Rules};
#[cfg(test)]
pub use unit_of_work::require_replay;
pub use unit_of_work::{DecideError, DecisionContext, UnitOfWork};
