//! The rules, and nothing but the rules: no async, no IO, no clock, no randomness. What they need
//! of those comes in as an argument, so the same command on the same facts at the same moment
//! always gives the same events.
//!
//! [`decide`] takes a command and the [`ReadSet`] it needs, climbs a ladder of refusals, and then
//! lets [`Event`]s happen; `apply` says what each event makes of the records. A record that was
//! not loaded is fetched from the caller's [`RecordSource`] or, where there is none, asked for
//! ([`DecideError::MissingRecord`]), and never taken for absent.

mod api_key;
mod bulk;
mod core;
pub mod expression;
mod ledger;
mod schedule;
mod session;
mod transaction;
mod user;
mod value;
mod webhook;
pub mod workflow;

#[cfg(test)]
mod tests;

pub use self::core::catalogue;
#[cfg(test)]
pub use self::core::require_replay;
pub use self::core::{
    Actor, ApiKey, Attempts, Changes, Command, CommandInputs, Counted, Counter, Data, DataChange,
    DecideError, Decision, DecisionContext, Digest, EMPTY, EndReason, Event, Expected, FIRINGS_MAX,
    FieldError, Holder, IfMatch, IndexEntry, KeyActor, KeyRef, KeyView, Link, LinkMaker,
    LoadedRecord, OpenedBy, Opens, Outcome, PasswordCheck, Preconditions, Profile, ReadSet, Record,
    RecordKey, RecordLookup, RecordSource, Reference, Refusal, Rules, Session, SessionActor,
    SessionView, SliceLimit, Stored, StoredId, StoredKey, StoredView, TX_PAGE, Timer, TimerOf,
    TransferAsk, UnitOfWork, User, UserChange, UserRef, UserView, ValueKey, decide, decide_timers,
};
pub use bulk::{BulkAction, BulkAsk, BulkFailure, BulkFilter, Job};
pub use ledger::check as check_conserved;
pub use ledger::{
    ASSETS_MAX, Account, AccountChange, Asset, BALANCE_MAX, Entry, Hold, HoldStatus, Imbalance,
    NOTE_BYTES_MAX, Row, SCALE_MAX, TRANSFERS_MAX, Totals, Transfer, iso_asset, iso_assets,
};
pub use schedule::{
    CatchUp, Cron, CronFault, Firing, Overlap, Schedule, ScheduleAsk, ScheduleOwner,
};
pub use transaction::{
    ActorId, ActorRef, CallAnswer, CallAttempt, CallPurpose, CallResult, CallState, Candidate,
    Challenge, ChallengeKey, ChallengeState, CheckedInput, Compensation, CompletedStep,
    DATA_BYTES_MAX, HttpRequestSpec, MaySubmit, MigrateAsk, OpenJoin, OpenStep, Owner, OwnerId,
    PlannedEnd, Published, QUEUE_CANDIDATES_MAX, QUEUE_CLAIMS_MAX, QueueAsk, REASON_BYTES_MAX,
    REFERENCE_BYTES_MAX, Repair, ServiceCall, StartAsk, StepClaim, StuckReason, Submission, Tx,
    TxEvent, TxHold, TxStatus, TxView, UNTOLD, WorkflowHead, WorkflowReaders, WorkflowView,
    code as challenge_code, filled as filled_ask, free_step, hidden, may_ever_submit, may_see,
    may_submit, open_codes, owns, reference_fact, sees_all, sees_workflow,
};
pub use user::{ATTRIBUTES_BYTES_MAX, FIRST_ADMIN, RoleChange, RoleChanges, RoleRun};
pub use value::VALUE_BYTES_MAX;
pub use webhook::{
    DeadLetter, GivenUp, Lag, OLD_KEY_LIFE, Replay, Webhook, WebhookAsk, WebhookNews,
};
