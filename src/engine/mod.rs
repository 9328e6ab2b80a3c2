//! The rules, and nothing but the rules: no async, no IO, no clock, no randomness. What they need
//! of those comes in as an argument, so the same command on the same facts at the same moment
//! always gives the same events.
//!
//! [`decide`] takes a command and the [`ReadSet`] it needs, climbs a ladder of refusals, and then
//! lets [`Event`]s happen; `apply` says what each event makes of the records. A record that was
//! not loaded is fetched from the caller's [`RecordSource`] or, where there is none, asked for
//! ([`DecideError::MissingRecord`]), and never taken for absent.

mod actor;
mod apply;
mod attempts;
pub mod catalogue;
mod command;
mod cron;
mod data;
mod decide;
mod event;
pub mod expression;
mod json;
mod keys;
mod ledger;
mod outcome;
mod password;
mod preconditions;
mod refusal;
mod role_changes;
mod rules;
mod sessions;
mod shelf;
mod state;
mod stored;
mod tasks;
mod timers;
mod told;
mod trail;
mod transaction;
mod unit_of_work;
mod users;
pub mod workflow;

#[cfg(test)]
mod tests;

pub use actor::{Actor, KeyActor, KeyRef, SessionActor, UserRef};
pub use attempts::{Attempts, Counted, Counter};
pub use command::{Command, DataChange, IfMatch, StoredKey, TransferAsk, UserChange};
pub use cron::{Cron, CronFault};
pub use data::EMPTY;
pub use decide::{CommandInputs, Decision, FIRINGS_MAX, PasswordCheck, decide, decide_timers};
pub use event::{EndReason, Event, OpenedBy};
pub use ledger::check as check_conserved;
pub use ledger::{
    ASSETS_MAX, Account, AccountChange, Asset, BALANCE_MAX, Entry, Hold, HoldStatus, Imbalance,
    NOTE_BYTES_MAX, Row, SCALE_MAX, TRANSFERS_MAX, Totals, Transfer, iso_asset, iso_assets,
};
pub use outcome::{Data, KeyView, Outcome, SessionView, StoredView, UserView};
pub use preconditions::{Expected, Preconditions};
pub use refusal::{FieldError, Refusal};
pub use role_changes::{RoleChange, RoleChanges, RoleRun};
pub use rules::{Profile, Rules};
pub use state::{
    ApiKey, Digest, Holder, IndexEntry, Link, LinkMaker, Opens, Record, RecordKey, Reference,
    Session, Stored, StoredId, TX_PAGE, Timer, TimerOf, User, ValueKey,
};
pub use tasks::{
    BulkAction, BulkAsk, BulkFailure, BulkFilter, CatchUp, DeadLetter, Firing, GivenUp, Job, Lag,
    OLD_KEY_LIFE, Overlap, Replay, Schedule, ScheduleAsk, ScheduleOwner, Webhook, WebhookAsk,
    WebhookNews,
};
pub use transaction::{
    Call, CallAnswer, CallAttempt, CallResult, CallState, Candidate, Challenge, ChallengeKey,
    ChallengeState, CheckedInput, Claim, DATA_BYTES_MAX, Done, Ending, HttpRequestSpec, Join,
    MaySubmit, MigrateAsk, Open, Owner, OwnerId, Published, Purpose, QUEUE_CANDIDATES_MAX,
    QUEUE_CLAIMS_MAX, QueueAsk, REASON_BYTES_MAX, REFERENCE_BYTES_MAX, Repair, StartAsk, Status,
    Stuck, Submission, Tx, TxEvent, TxHold, TxView, UNTOLD, Undo, VALUE_BYTES_MAX, Who, WhoId,
    WorkflowHead, WorkflowReaders, WorkflowView, code as challenge_code, filled as filled_ask,
    free_step, hidden, may_ever_submit, may_see, may_submit, open_codes, owns, reference_fact,
    sees_all, sees_workflow,
};
#[cfg(test)]
pub use unit_of_work::require_replay;
pub use unit_of_work::{
    Changes, DecideError, DecisionContext, LoadedRecord, ReadSet, RecordLookup, RecordSource,
    SliceLimit, UnitOfWork,
};
pub use users::{ATTRIBUTES_BYTES_MAX, FIRST_ADMIN};
