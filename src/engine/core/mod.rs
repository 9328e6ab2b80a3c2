//! Foundation of every domain: commands, events, refusals, and the unit of work in which one
//! command is decided.

mod actor;
mod append_list;
mod apply;
pub(in crate::engine) mod attempts;
pub mod catalogue;
mod command;
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
pub use attempts::{Attempts, Counted, Counter};
pub use command::{Command, DataChange, IfMatch, StoredKey, TransferAsk, UserChange};
pub use decide::{Decision, FIRINGS_MAX, decide, decide_timers};
pub use event::{EndReason, Event, OpenedBy};
pub use inputs::{CommandInputs, PasswordCheck};
pub use json_change::EMPTY;
pub use outcome::{Data, KeyView, Outcome, SessionView, StoredView, UserView};
pub use preconditions::{Expected, Preconditions};
pub use record::{
    ApiKey, Digest, Holder, IndexEntry, Link, LinkMaker, Opens, Record, RecordKey, Reference,
    Session, Stored, StoredId, TX_PAGE, Timer, TimerOf, User, ValueKey,
};
pub use refusal::{FieldError, Refusal};
pub use rules::{Profile, Rules};
#[cfg(test)]
pub use unit_of_work::require_replay;
pub use unit_of_work::{
    Changes, DecideError, DecisionContext, LoadedRecord, ReadSet, RecordLookup, RecordSource,
    SliceLimit, UnitOfWork,
};
