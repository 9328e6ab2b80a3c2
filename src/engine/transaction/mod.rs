//! Transactions: running instances of workflows.
//!
//! [`interpreter`] executes a definition within one commit; [`effects`] has one file for each
//! effect of the language; [`eval_context`] has the values that expressions see. `submit`, `start`,
//! `timers` and `orphans` are the entry points that change a transaction.

mod access;
mod apply;
mod bounds;
mod call;
mod challenge;
mod checked;
pub(in crate::engine) mod effects;
mod eval_context;
mod event;
mod interpreter;
mod links;
mod marker;
mod operate;
mod orphans;
mod publish;
mod queue;
mod record;
mod start;
mod submit;
mod timers;
mod view;

pub(super) use access::disclosed;
pub use access::{
    MaySubmit, REDACTED, WorkflowReaders, hidden, may_ever_submit, may_see, may_submit, owns,
    sees_all, sees_workflow,
};
pub(super) use apply::{apply, find_hold, put_hold};
pub use bounds::DATA_BYTES_MAX;
pub use call::{CallAttempt, CallResult};
pub(super) use call::{begin as begin_call, call_back, end as end_call};
pub(super) use challenge::move_wrong_codes;
pub use challenge::{ChallengeKey, code, open_codes};
pub use checked::CheckedInput;
pub(super) use checked::check_start_input;
pub use event::TxEvent;
pub(super) use links::begin_scheduled;
pub use marker::filled;
pub use operate::MigrateAsk;
pub(super) use operate::{migrate, pause};
pub(super) use orphans::{adopt, adopt_more, cancel_orphans, orphan};
pub use publish::{Published, WorkflowHead, WorkflowView};
pub(super) use publish::{publish, require_publish, retire};
pub(super) use queue::claim_queued;
pub use queue::{Candidate, QUEUE_CANDIDATES_MAX, QUEUE_CLAIMS_MAX, QueueAsk, free_step};
pub use record::{
    ActorId, ActorRef, CallAnswer, CallPurpose, CallState, Challenge, ChallengeState, Compensation,
    CompletedStep, HttpRequestSpec, OpenJoin, OpenStep, Owner, OwnerId, PlannedEnd, ServiceCall,
    StepClaim, StuckReason, Submission, Tx, TxHold, TxStatus,
};
pub(super) use start::start;
pub use start::{REFERENCE_BYTES_MAX, StartAsk, reference_fact};
pub use submit::{REASON_BYTES_MAX, Repair};
pub(super) use submit::{cancel, claim, deliver, note_wrong_code, release, repair, resend, submit};
pub(super) use timers::fire;
pub use view::TxView;
