//! The rules, and nothing but the rules: no async, no IO, no clock, no randomness. The caller
//! passes in the time, the revision and the random seed, so the same command on the same records in
//! the same context always gives the same events.
//!
//! [`decide`] takes a command and the [`ReadSet`] it needs, checks its refusals in order, and then
//! emits [`Event`]s; `apply` changes the records for each event. A record that was not loaded is
//! fetched from the caller's [`RecordSource`] or, without one, requested with
//! [`DecideError::MissingRecord`]; it is never taken for absent.

mod api_key;
mod attempt;
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
    Actor, Changes, Command, CommandInputs, Data, DataChange, DecideError, Decision,
    DecisionContext, Digest, EMPTY, Event, Expected, FIRINGS_MAX, IfMatch, IndexEntry, InputError,
    KeyActor, KeyRef, LoadedRecord, Opens, Outcome, PasswordCheck, PasswordEvidence, Preconditions,
    Profile, ReadSet, Record, RecordKey, RecordLookup, RecordSource, Reference, Refusal, Rules,
    SessionActor, SliceLimit, TX_PAGE, Timer, TimerOf, UnitOfWork, UserRef, decide, decide_timers,
    precheck,
};
pub use api_key::{ApiKey, ApiKeyEvent, KeyView};
pub use attempt::{AttemptEvent, Attempts, Counted, Counter};
pub use bulk::{BulkAction, BulkAsk, BulkFailure, BulkFilter, Job};
pub use ledger::check as check_conserved;
pub use ledger::{
    ASSETS_MAX, Account, AccountChange, AppendedRow, Asset, BALANCE_MAX, Entry, Hold, HoldStatus,
    Imbalance, LedgerEvent, NOTE_BYTES_MAX, SCALE_MAX, TRANSFERS_MAX, Totals, Transfer,
    TransferAsk, iso_asset, iso_assets,
};
pub use schedule::{
    CatchUp, Cron, CronFault, Firing, Overlap, Schedule, ScheduleAsk, ScheduleOwner,
};
pub use session::{
    EndReason, OpenedBy, Session, SessionEvent, SessionView, Stored, StoredId, StoredKey,
    StoredView,
};
pub use transaction::{
    ActorId, ActorRef, CallAnswer, CallAttempt, CallPurpose, CallResult, CallState, Candidate,
    Challenge, ChallengeKey, ChallengeState, CheckedInput, Compensation, CompletedStep,
    DATA_BYTES_MAX, HttpRequestSpec, MaySubmit, MigrateAsk, OpenJoin, OpenStep, Owner, OwnerId,
    PlannedEnd, Published, QUEUE_CANDIDATES_MAX, QUEUE_CLAIMS_MAX, QueueAsk, REASON_BYTES_MAX,
    REDACTED, REFERENCE_BYTES_MAX, Repair, ServiceCall, StartAsk, StepClaim, StuckReason,
    Submission, Tx, TxEvent, TxHold, TxStatus, TxView, WorkflowHead, WorkflowReaders, WorkflowView,
    code as challenge_code, filled as filled_ask, free_step, hidden, may_ever_submit, may_see,
    may_submit, open_codes, owns, reference_fact, sees_all, sees_workflow,
};
pub use user::{
    ATTRIBUTES_BYTES_MAX, FIRST_ADMIN, Holder, Link, LinkMaker, RoleChange, RoleChanges, RoleRun,
    User, UserChange, UserEvent, UserView,
};
pub use value::{VALUE_BYTES_MAX, ValueEvent, ValueKey};
pub use webhook::{
    DeadLetter, GivenUp, Lag, OLD_KEY_LIFE, Replay, Webhook, WebhookAsk, WebhookNews,
};
