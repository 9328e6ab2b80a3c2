//! Events of a transaction, in the past tense.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Map, Value};

use super::record::{
    ActorRef, CallAnswer, CallState, Challenge, CompletedStep, OpenJoin, OpenStep, Owner,
    PlannedEnd, ServiceCall, StepClaim, StuckReason, Submission, Tx, TxStatus,
};
use crate::engine::Digest;
use crate::engine::core::json_text::{ObjectText, object_text};
use crate::types::{HoldId, SessionId, StepName, Time};

/// Event of a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TxEvent {
    /// It was started.
    Started(Box<Tx>),
    /// Keys of its data were set; `removed` names those that were removed.
    DataSet {
        /// The new values.
        set: Arc<Map<String, Value>>,
        /// The removed keys.
        removed: Vec<String>,
    },
    /// A step opened.
    StepOpened(Box<OpenStep>),
    /// A step closed, because another one was taken or its time was up.
    StepClosed {
        /// Its place.
        place: u32,
        /// The step.
        step: StepName,
    },
    /// A step closed because its time was up.
    StepTimedOut {
        /// Its place.
        place: u32,
        /// The step.
        step: StepName,
    },
    /// A step was submitted and needs more submissions.
    StepCounted {
        /// Its place.
        place: u32,
        /// The step.
        step: StepName,
        /// The submission.
        submission: Submission,
    },
    /// A step was taken.
    StepTaken {
        /// Place at which it was open; `None`: an automatic step.
        place: Option<u32>,
        /// The completed step, with its compensations.
        done: CompletedStep,
        /// Input, without the fields that must not be stored.
        input: Option<Arc<Value>>,
        /// True if it counts as a submission.
        counts: bool,
    },
    /// A reminder fired.
    Reminded {
        /// The open step's place.
        place: u32,
        /// The step.
        step: StepName,
        /// The completed effects, if they can be undone.
        done: Option<Box<CompletedStep>>,
    },
    /// A step was claimed.
    Claimed {
        /// The group of the steps.
        group: u32,
        /// The claim.
        claim: StepClaim,
    },
    /// A claim was released.
    Released {
        /// The group of the steps.
        group: u32,
    },
    /// Branches began.
    Forked(OpenJoin),
    /// A branch ended.
    Joined {
        /// The join.
        join: u32,
    },
    /// A branch that had ended goes on.
    BranchReopened {
        /// The join, which waits for it again.
        join: u32,
    },
    /// Branches were closed, with the steps that were open in them.
    BranchesClosed {
        /// Their joins.
        joins: Vec<u32>,
    },
    /// The pivot has passed.
    PivotPassed,
    /// A message of another service was taken that must not be taken twice.
    Heard {
        /// A hash of its hook and id.
        message: u128,
    },
    /// A hold was given its name.
    HoldNamed {
        /// The hold.
        hold: HoldId,
        /// The group's name.
        name: Arc<str>,
        /// Its key in the group.
        key: Option<Arc<str>>,
        /// The step that placed it.
        step: StepName,
    },
    /// A one-time code was issued, or a new one.
    ChallengeIssued(Challenge),
    /// A wrong or expired code was given.
    ChallengeFailed {
        /// The code's name.
        id: Arc<str>,
    },
    /// The right code was given.
    ChallengePassed {
        /// The code's name.
        id: Arc<str>,
    },
    /// A code was withdrawn.
    ChallengeWithdrawn {
        /// The code's name.
        id: Arc<str>,
    },
    /// An application event.
    Emitted {
        /// Its type.
        kind: Arc<str>,
        /// Its data.
        data: Arc<Value>,
    },
    /// A call to another service was created.
    CallMade(Box<ServiceCall>),
    /// An attempt at a call began.
    CallBegan {
        /// The call.
        number: u32,
    },
    /// An attempt failed; another one follows.
    CallRetried {
        /// The call.
        number: u32,
        /// Time of the next attempt.
        due: Time,
        /// Result of the last attempt.
        last: Arc<str>,
    },
    /// The service accepted the call and answers later.
    CallAccepted {
        /// The call.
        number: u32,
        /// Time until which the callback may come.
        until: Time,
    },
    /// An attempt was answered without success.
    CallAnswered {
        /// The call.
        number: u32,
        /// The answer.
        answer: CallAnswer,
    },
    /// A call was answered, and the steps that follow were refused.
    CallKept {
        /// The call.
        number: u32,
        /// The answer.
        response: Arc<Value>,
    },
    /// A call is over.
    CallEnded {
        /// The call.
        number: u32,
        /// State at the end.
        state: CallState,
        /// Result of the last attempt.
        last: Option<Arc<str>>,
        /// Compensation of the call, if it was done or may have been.
        undo: Option<CompletedStep>,
    },
    /// A step's call failed.
    StepFailed {
        /// Its place.
        place: u32,
        /// The step.
        step: StepName,
        /// Code of the failure.
        code: Arc<str>,
    },
    /// Some effects of the last step were undone in this store, last first; others are left.
    EffectsUndone {
        /// The step.
        step: StepName,
        /// Number of its effects in this store that are left to undo.
        left: usize,
    },
    /// One of the calls that undo the last step is done.
    CallUndone {
        /// The step.
        step: StepName,
    },
    /// Compensation began.
    CompensationBegan(PlannedEnd),
    /// The last step that was done is undone.
    StepUndone {
        /// The step.
        step: StepName,
    },
    /// It is stuck.
    Stuck(StuckReason),
    /// Its deadline passed after the pivot; nothing else happens.
    DeadlinePassed,
    /// An actor requested its cancellation.
    CancelAsked {
        /// Reason.
        reason: Option<Arc<str>>,
    },
    /// An operator paused it.
    Paused,
    /// An operator resumed it.
    Resumed,
    /// An operator moved it to another version of its workflow.
    Migrated {
        /// The version.
        version: u32,
        /// New names of steps, by their old names.
        steps: BTreeMap<StepName, StepName>,
        /// The open steps, with their new names.
        open: Vec<OpenStep>,
        /// The open joins, by the branches of the new version.
        joins: Vec<OpenJoin>,
        /// Time at which it expires in the new version.
        deadline: Option<Time>,
        /// Digest that keeps out others with the same value of `unique`, in the new version.
        unique: Option<Digest>,
        /// Number of submissions of each step.
        taken: BTreeMap<StepName, u32>,
        /// Reason that it cannot go on.
        stuck: Option<StuckReason>,
        /// Reasons that other branches cannot go on.
        stuck_too: Vec<StuckReason>,
        /// Keys that the new version adds to the data.
        added: Arc<Map<String, Value>>,
    },
    /// An operator repaired it.
    Retried {
        /// The step that was skipped, and why; `None`: it was tried again.
        skipped: Option<(StepName, Arc<str>)>,
    },
    /// It has another owner.
    OwnerChanged(Owner),
    /// An anonymous session that was counted in an open step, or claimed one, became a user's.
    PersonKnown {
        /// The session.
        session: SessionId,
        /// The user.
        user: ActorRef,
    },
    /// It ended.
    Ended {
        /// Its status.
        status: TxStatus,
        /// Its outcome.
        outcome: Arc<str>,
    },
    /// Status and timer of the transaction at the end of a commit.
    Settled {
        /// The status.
        status: TxStatus,
        /// Time at which its timer fires.
        timer_at: Option<Time>,
    },
}

impl TxEvent {
    /// Returns the number of the call that the event changes.
    pub(super) fn call(&self) -> Option<u32> {
        match self {
            Self::CallMade(call) => Some(call.number),
            Self::CallBegan { number }
            | Self::CallRetried { number, .. }
            | Self::CallAccepted { number, .. }
            | Self::CallAnswered { number, .. }
            | Self::CallKept { number, .. }
            | Self::CallEnded { number, .. } => Some(*number),
            _ => None,
        }
    }

    /// Returns its type, as the log and the feed name it.
    #[must_use]
    pub fn kind(&self) -> &str {
        match self {
            Self::Started(_) => "abide.transaction.started",
            Self::DataSet { .. } => "abide.transaction.data_set",
            Self::StepOpened(_) => "abide.step.opened",
            Self::StepClosed { .. } => "abide.step.closed",
            Self::StepTimedOut { .. } => "abide.step.timed_out",
            Self::StepCounted { .. } => "abide.step.counted",
            Self::StepTaken { .. } => "abide.step.taken",
            Self::Reminded { .. } => "abide.step.reminded",
            Self::Claimed { .. } => "abide.step.claimed",
            Self::Released { .. } => "abide.step.released",
            Self::Forked(_) => "abide.transaction.forked",
            Self::Joined { .. } => "abide.transaction.joined",
            Self::BranchReopened { .. } => "abide.transaction.branch_reopened",
            Self::BranchesClosed { .. } => "abide.transaction.branches_closed",
            Self::PivotPassed => "abide.transaction.pivot_passed",
            Self::Heard { .. } => "abide.transaction.heard",
            Self::HoldNamed { .. } => "abide.hold.named",
            Self::ChallengeIssued(_) => "abide.challenge.issued",
            Self::ChallengeFailed { .. } => "abide.challenge.failed",
            Self::ChallengePassed { .. } => "abide.challenge.passed",
            Self::ChallengeWithdrawn { .. } => "abide.challenge.withdrawn",
            Self::Emitted { kind, .. } => kind,
            Self::CallMade(_) => "abide.call.made",
            Self::CallBegan { .. } => "abide.call.began",
            Self::CallRetried { .. } => "abide.call.retried",
            Self::CallAccepted { .. } => "abide.call.accepted",
            Self::CallAnswered { .. } => "abide.call.answered",
            Self::CallKept { .. } => "abide.call.kept",
            Self::CallEnded { .. } => "abide.call.ended",
            Self::StepFailed { .. } => "abide.step.failed",
            Self::EffectsUndone { .. } => "abide.step.effects_undone",
            Self::CallUndone { .. } => "abide.step.call_undone",
            Self::CompensationBegan(_) => "abide.transaction.compensation_began",
            Self::StepUndone { .. } => "abide.step.undone",
            Self::Stuck(_) => "abide.transaction.stuck",
            Self::DeadlinePassed => "abide.transaction.deadline_passed",
            Self::CancelAsked { .. } => "abide.transaction.cancel_asked",
            Self::Paused => "abide.transaction.paused",
            Self::Resumed => "abide.transaction.resumed",
            Self::Migrated { .. } => "abide.transaction.migrated",
            Self::Retried { .. } => "abide.transaction.retried",
            Self::OwnerChanged(_) => "abide.transaction.owner_changed",
            Self::PersonKnown { .. } => "abide.transaction.person_known",
            Self::Ended { .. } => "abide.transaction.ended",
            Self::Settled { .. } => "abide.transaction.settled",
        }
    }

    /// Returns whether the log keeps the event. Events that readers cannot use, such as a moved
    /// timer, are left out.
    #[must_use]
    pub const fn is_published(&self) -> bool {
        !matches!(
            self,
            Self::Settled { .. }
                | Self::Heard { .. }
                | Self::CallAnswered { .. }
                | Self::HoldNamed { .. }
                | Self::BranchReopened { .. }
                | Self::BranchesClosed { .. }
        )
    }

    /// Returns the data that the log keeps of the event.
    pub(in crate::engine) fn log_data(&self) -> ObjectText {
        match self {
            Self::Started(tx) => object_text!({
                "workflow": tx.workflow, "version": tx.version, "owner": tx.owner.name(),
                "reference": tx.reference.as_deref(), "data": *tx.data,
            }),
            Self::DataSet { set, removed } => object_text!({ "set": **set, "removed": removed }),
            Self::StepOpened(open) => object_text!({ "step": open.step, "due": open.due }),
            Self::StepClosed { step, .. }
            | Self::StepTimedOut { step, .. }
            | Self::Reminded { step, .. }
            | Self::CallUndone { step }
            | Self::StepUndone { step } => object_text!({ "step": step }),
            Self::EffectsUndone { step, left } => object_text!({ "step": step, "left": left }),
            Self::StepCounted { step, submission, .. } => object_text!({
                "step": step, "by": &*submission.by.name, "input": *submission.input,
            }),
            Self::StepTaken { done, input, .. } => {
                object_text!({ "step": done.step, "input": input.as_deref() })
            }
            Self::Claimed { claim, .. } => {
                object_text!({ "by": &*claim.by.name, "until": claim.until })
            }
            Self::HoldNamed { hold, name, key, .. } => {
                object_text!({ "hold": hold, "name": &**name, "key": key.as_deref() })
            }
            Self::ChallengeIssued(challenge) => object_text!({
                "challenge": &*challenge.id, "round": challenge.round,
                "expires_at": challenge.expires_at,
            }),
            Self::ChallengeFailed { id }
            | Self::ChallengePassed { id }
            | Self::ChallengeWithdrawn { id } => object_text!({ "challenge": &**id }),
            // The application chooses the form of the data, so it has a key of its own.
            Self::Emitted { data, .. } => object_text!({ "data": **data }),
            Self::CallMade(call) => object_text!({
                "call": call.number, "step": call.step, "op": call.purpose.as_str(),
            }),
            Self::CallBegan { number }
            | Self::CallAnswered { number, .. }
            | Self::CallKept { number, .. } => object_text!({ "call": number }),
            Self::CallRetried { number, due, last } => {
                object_text!({ "call": number, "due": due, "last": &**last })
            }
            Self::CallAccepted { number, until } => {
                object_text!({ "call": number, "until": until })
            }
            Self::CallEnded { number, state, last, .. } => {
                object_text!({ "call": number, "state": state.as_str(), "last": last.as_deref() })
            }
            Self::StepFailed { step, code, .. } => object_text!({ "step": step, "code": &**code }),
            Self::CompensationBegan(ending) => {
                object_text!({ "status": ending.status.as_str(), "outcome": &*ending.outcome })
            }
            Self::Stuck(stuck) => {
                object_text!({ "step": stuck.step, "code": &*stuck.code, "message": &*stuck.message })
            }
            Self::CancelAsked { reason } => object_text!({ "reason": reason.as_deref() }),
            Self::Retried { skipped } => object_text!({
                "skipped": skipped.as_ref().map(|(step, _)| step),
                "reason": skipped.as_ref().map(|(_, reason)| &**reason),
            }),
            Self::Migrated { version, open, added, .. } => object_text!({
                "version": version, "open": open.iter().map(|open| &open.step).collect::<Vec<_>>(),
                "added": **added,
            }),
            Self::OwnerChanged(owner) => object_text!({ "owner": owner.name() }),
            Self::PersonKnown { session, user } => {
                object_text!({ "session": session, "user": &*user.name })
            }
            Self::Ended { status, outcome } => {
                object_text!({ "status": status.as_str(), "outcome": &**outcome })
            }
            Self::Released { .. }
            | Self::Heard { .. }
            | Self::Forked(_)
            | Self::Joined { .. }
            | Self::BranchReopened { .. }
            | Self::BranchesClosed { .. }
            | Self::PivotPassed
            | Self::Paused
            | Self::Resumed
            | Self::DeadlinePassed
            | Self::Settled { .. } => object_text!({}),
        }
    }
}
