//! Record of a transaction, with everything that is open in it.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;

use crate::engine::ledger::Hold;
use crate::engine::{Actor, Digest, KeyActor, KeyRef, SessionActor, UserRef};
use crate::types::{
    AccountId, KeyId, Revision, Role, ScheduleId, SessionId, Span, StepName, Time, TokenHash,
    TransferId, TxId, UserId, Username, WorkflowName,
};

/// A transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tx {
    /// Its id.
    pub id: TxId,
    /// Workflow.
    pub workflow: WorkflowName,
    /// Version of the workflow; it changes only by migration.
    pub version: u32,
    /// The caller's own key for it.
    pub reference: Option<Arc<str>>,
    /// Owner.
    pub owner: Owner,
    /// The session that started it.
    pub session: Option<SessionId>,
    /// True if it is cancelled when that session ends, before the pivot.
    pub ends_with_session: bool,
    /// Status.
    pub status: TxStatus,
    /// Name of its end, code of its cancellation, or `deadline`; `None` while it is open.
    pub outcome: Option<Arc<str>>,
    /// Its data: a JSON object.
    pub data: Arc<Value>,
    /// The steps that wait, in the order in which they opened.
    pub open: Vec<OpenStep>,
    /// The joins that wait for branches.
    pub joins: Vec<OpenJoin>,
    /// Its holds, including resolved ones while it is open.
    pub holds: Vec<TxHold>,
    /// Its one-time codes.
    pub challenges: Vec<Challenge>,
    /// The steps that were taken and can be undone, in order.
    pub done: Vec<Arc<CompletedStep>>,
    /// Number of times that each step was submitted.
    pub taken: BTreeMap<StepName, u32>,
    /// Number of times that any step was opened.
    pub rounds: u32,
    /// True if its pivot has passed.
    pub pivot: bool,
    /// Digest that keeps out others with the same `unique`.
    pub unique: Option<Digest>,
    /// Time of its start.
    pub started_at: Time,
    /// Time of its last change.
    pub updated_at: Time,
    /// Time at which it expires.
    pub deadline: Option<Time>,
    /// Time at which its timer fires.
    pub timer_at: Option<Time>,
    /// The next number for an open step, a group or a join.
    pub next_place: u32,
    /// Status and outcome that it gets when it is undone.
    pub ending: Option<PlannedEnd>,
    /// Reason that it cannot go on.
    pub stuck: Option<StuckReason>,
    /// Other branches that cannot go on either: each becomes `stuck` when the one before goes on.
    pub stuck_too: Vec<StuckReason>,
    /// The users to whom a step was ever fixed, each once: they may know of the transaction for
    /// ever.
    pub asked: Vec<Username>,
    /// True if an operator has stopped it.
    pub paused: bool,
    /// The schedule that started it.
    pub schedule: Option<ScheduleId>,
    /// Its calls to other services, in the order in which they were made; only the latest of those
    /// that are over.
    pub calls: Vec<ServiceCall>,
    /// The number of its next call.
    pub next_call: u32,
    /// Messages of other services that were taken and bear no time: hashes of their hooks and ids.
    pub heard: Vec<u128>,
    /// The last commits that changed it, oldest first; earlier ones have records of their own.
    pub commits: Vec<Revision>,
}

/// HTTP request to another service: evaluated, with markers in place of secrets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpRequestSpec {
    /// The method.
    pub method: Arc<str>,
    /// URL.
    pub url: Arc<str>,
    /// The headers, names in lower case.
    pub headers: Vec<(Arc<str>, Arc<str>)>,
    /// The body as JSON text; `None`: none.
    pub body: Option<Arc<str>>,
    /// Time that an attempt may take.
    pub timeout: Span,
    /// Maximum number of attempts.
    pub attempts: u32,
    /// Maximum wait after the first attempt.
    pub first: Span,
    /// Factor by which the wait grows after each further attempt.
    pub factor: u32,
    /// Maximum wait after any attempt.
    pub max: Span,
    /// Statuses that are a final refusal.
    pub refused: Vec<u16>,
    /// Time that the service may take to answer at the callback.
    pub callback: Option<Span>,
}

/// Purpose of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallPurpose {
    /// Work of a step, which waits for it.
    Do {
        /// Place of the open step.
        place: u32,
    },
    /// Undoing of a step.
    Undo,
    /// Background request that no step waits for.
    Send,
}

impl CallPurpose {
    /// Returns its name in headers and answers.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Do { .. } => "do",
            Self::Undo => "undo",
            Self::Send => "send",
        }
    }
}

/// A call to another service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceCall {
    /// Its number in the transaction.
    pub number: u32,
    /// The step that it belongs to.
    pub step: StepName,
    /// Its idempotency key for the service, the same for every attempt.
    pub key: Arc<str>,
    /// Purpose.
    pub purpose: CallPurpose,
    /// The one-time code that it carries.
    pub challenge: Option<Arc<str>>,
    /// Request; empty when the call is over.
    pub ask: HttpRequestSpec,
    /// Number of attempts that were begun.
    pub attempts: u32,
    /// True if an attempt may have been done without a known result.
    pub unknown: bool,
    /// State.
    pub state: CallState,
    /// Result of the last attempt.
    pub last: Option<Arc<str>>,
    /// The last answer, if it was no success.
    pub answer: Option<CallAnswer>,
}

/// Answer of a service to a call, kept for operators.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallAnswer {
    /// The status.
    pub status: u16,
    /// The beginning of the body, without secrets.
    pub body: Arc<str>,
}

/// State of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CallState {
    /// The next attempt is due at this time.
    Due(Time),
    /// An attempt is in flight since this time.
    InFlight(Time),
    /// The service answers later, by this time.
    AwaitingCallback(Time),
    /// It was answered, and the steps that follow were refused: the answer is kept for an operator.
    AnswerHeld(Arc<Value>),
    /// It was done.
    Done,
    /// It was refused.
    Refused,
    /// It is unknown whether it was done.
    Unknown,
    /// It is no longer needed, and was never sent.
    Dropped,
}

impl CallState {
    /// Returns its name in answers.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Due(_) => "due",
            Self::InFlight(_) => "in-flight",
            Self::AwaitingCallback(_) => "awaiting-callback",
            Self::AnswerHeld(_) => "answered",
            Self::Done => "done",
            Self::Refused => "refused",
            Self::Unknown => "unknown",
            Self::Dropped => "dropped",
        }
    }

    /// Returns whether nothing more can happen to it.
    #[must_use]
    pub const fn is_over(&self) -> bool {
        matches!(self, Self::Done | Self::Refused | Self::Unknown | Self::Dropped)
    }
}

/// Owner of a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Owner {
    /// A user.
    User(UserRef),
    /// An anonymous session.
    Anonymous(SessionId),
    /// A service.
    Key(KeyRef),
}

impl Owner {
    /// Returns the owner as an actor without roles.
    #[must_use]
    pub fn actor(&self) -> Actor {
        let session = |session, user| {
            let token = TokenHash::new([0; 32]);
            let roles = [].into();
            Actor::Session(SessionActor { session, token, user, roles, via: None })
        };
        match self {
            Self::User(user) => session(SessionId::new(0), Some(user.clone())),
            Self::Anonymous(id) => session(*id, None),
            Self::Key(key) => {
                Actor::Key(KeyActor { key: key.clone(), roles: [].into(), on_behalf: [].into() })
            }
        }
    }

    /// Returns its name in expressions and answers.
    #[must_use]
    pub fn name(&self) -> String {
        match self {
            Self::User(user) => user.username.to_string(),
            Self::Anonymous(session) => session.to_string(),
            Self::Key(key) => key.id.to_string(),
        }
    }

    /// Returns the user, if the owner is one.
    #[must_use]
    pub const fn user(&self) -> Option<&UserRef> {
        match self {
            Self::User(user) => Some(user),
            Self::Anonymous(_) | Self::Key(_) => None,
        }
    }
}

/// Status of a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TxStatus {
    /// A client step is open.
    Waiting,
    /// Only calls or timers are due.
    Running,
    /// It is being undone.
    Compensating,
    /// It cannot go on and needs an operator.
    Stuck,
    /// It was completed.
    Completed,
    /// It was cancelled and undone.
    Cancelled,
    /// Its deadline passed and it was undone.
    Expired,
    /// A call failed and it was undone.
    Failed,
}

impl TxStatus {
    /// All statuses.
    pub const ALL: [Self; 8] = [
        Self::Waiting,
        Self::Running,
        Self::Compensating,
        Self::Stuck,
        Self::Completed,
        Self::Cancelled,
        Self::Expired,
        Self::Failed,
    ];

    /// Returns its name in answers.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Running => "running",
            Self::Compensating => "compensating",
            Self::Stuck => "stuck",
            Self::Completed => "completed",
            Self::Cancelled => "cancelled",
            Self::Expired => "expired",
            Self::Failed => "failed",
        }
    }

    /// Returns the status with this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.as_str() == name)
    }

    /// Returns whether nothing more can happen to it.
    #[must_use]
    pub const fn is_ended(self) -> bool {
        matches!(self, Self::Completed | Self::Cancelled | Self::Expired | Self::Failed)
    }
}

/// Status and outcome of a transaction once it is undone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlannedEnd {
    /// Its status then.
    pub status: TxStatus,
    /// Its outcome then.
    pub outcome: Arc<str>,
}

/// Reason that a transaction cannot go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StuckReason {
    /// The step that could not be undone, or done after the pivot.
    pub step: StepName,
    /// The join of its branch.
    pub join: Option<u32>,
    /// The refusal's code.
    pub code: Arc<str>,
    /// The refusal in words.
    pub message: Arc<str>,
}

/// A step that waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenStep {
    /// Its number in the transaction.
    pub place: u32,
    /// The step.
    pub step: StepName,
    /// Steps of one group close each other.
    pub group: u32,
    /// The join that its branch belongs to.
    pub join: Option<u32>,
    /// Time at which it opened.
    pub opened_at: Time,
    /// Time until which it waits: its time-out, or the end of a wait.
    pub due: Option<Time>,
    /// Number of its reminders that have fired.
    pub reminded: u32,
    /// True if it waits for a client.
    pub is_client: bool,
    /// Number of submissions that it needs.
    pub quorum: u32,
    /// The submissions before the last.
    pub submissions: Vec<Submission>,
    /// Claim on the step.
    pub claim: Option<StepClaim>,
    /// The users that it was fixed to when it opened.
    pub users: Vec<Username>,
    /// The roles that find it in their inbox.
    pub roles: Vec<Role>,
    /// True if it is in the queue of its workflow, from which workers claim.
    pub queued: bool,
}

impl OpenStep {
    /// Returns the time from which a worker may claim it from the queue.
    #[must_use]
    pub fn free_at(&self) -> Time {
        self.claim.as_ref().map_or(self.opened_at, |claim| claim.until)
    }
}

/// One of several submissions of a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Submission {
    /// Submitter.
    pub by: ActorRef,
    /// Input, without the fields that must not be stored.
    pub input: Arc<Value>,
    /// Time of the submission.
    pub at: Time,
}

/// A claim on a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StepClaim {
    /// Claimant.
    pub by: ActorRef,
    /// Time at which it lapses.
    pub until: Time,
}

/// Actor in a record: compared by id, shown by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ActorRef {
    /// Id.
    pub id: ActorId,
    /// Name in expressions and answers.
    pub name: Arc<str>,
}

/// Id of an actor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ActorId {
    /// A user.
    User(UserId),
    /// An anonymous session.
    Session(SessionId),
    /// A service.
    Key(KeyId),
    /// A hook, by a hash of its name.
    Hook(u128),
    /// A transaction.
    Workflow(TxId),
    /// The server itself.
    System,
}

impl ActorId {
    /// Returns whether this is the actor's id. An anonymous session that became a user's keeps
    /// matching.
    #[must_use]
    pub fn is(self, actor: &Actor) -> bool {
        let was = matches!(self, Self::Session(session) if actor.session() == Some(session));
        was || self == ActorRef::of(actor).id
    }
}

impl ActorRef {
    /// Returns the id and name of an actor.
    #[must_use]
    pub fn of(actor: &Actor) -> Self {
        match actor {
            Actor::Session(session) => {
                if let Some(user) = &session.user {
                    return Self {
                        id: ActorId::User(user.id),
                        name: user.username.as_str().into(),
                    };
                }
                let name = session.session.to_string().into();
                Self { id: ActorId::Session(session.session), name }
            }
            Actor::Key(key) => {
                Self { id: ActorId::Key(key.key.id), name: key.key.id.to_string().into() }
            }
            Actor::Hook(hook) => {
                let hash = blake3::hash(hook.as_str().as_bytes());
                let (id, _) = hash.as_bytes().split_first_chunk().unwrap_or((&[0; 16], &[]));
                let id = ActorId::Hook(u128::from_be_bytes(*id));
                Self { id, name: format!("hook:{hook}").into() }
            }
            Actor::Workflow(workflow, tx) => {
                Self { id: ActorId::Workflow(*tx), name: format!("workflow:{workflow}").into() }
            }
            Actor::Nobody | Actor::System => Self { id: ActorId::System, name: "system".into() },
        }
    }
}

/// Branches that wait for each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenJoin {
    /// Its number in the transaction.
    pub id: u32,
    /// Index of its branches in the definition's list.
    pub all: u32,
    /// The join that its own branch belongs to.
    pub parent: Option<u32>,
    /// Number of branches that have not ended.
    pub left: u32,
}

/// A hold of a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TxHold {
    /// The group's name in the definition.
    pub name: Arc<str>,
    /// Its key in the group.
    pub key: Option<Arc<str>>,
    /// The step that placed it.
    pub step: Option<StepName>,
    /// The hold.
    pub hold: Hold,
}

/// A one-time code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Challenge {
    /// Its name in the definition.
    pub id: Arc<str>,
    /// Number of the code: each issue and each resend increments it.
    pub round: u32,
    /// Number of digits.
    pub digits: u8,
    /// Values that it is bound to, as compact JSON.
    pub binds: Arc<str>,
    /// Time from which it is void.
    pub expires_at: Time,
    /// Lifetime of a resent code, in milliseconds.
    pub life_ms: u64,
    /// Number of wrong codes that may still be given.
    pub attempts_left: u32,
    /// Number of new codes that may still be requested.
    pub resends_left: u32,
    /// State.
    pub state: ChallengeState,
    /// Request that delivers each of its codes, and the step that issued it.
    pub send: Option<Box<(StepName, HttpRequestSpec)>>,
}

/// State of a one-time code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChallengeState {
    /// It was issued and is open.
    Issued,
    /// The right code was given.
    Passed,
    /// It was withdrawn.
    Withdrawn,
}

/// A step that was taken, with its compensations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CompletedStep {
    /// The step.
    pub step: StepName,
    /// Compensations in this store, in the order of the effects.
    pub undo: Vec<Compensation>,
    /// Requests to other services that undo it, in order.
    pub calls: Vec<HttpRequestSpec>,
    /// Number of these requests that were made and done already.
    pub undone: u32,
    /// True if no step waited for it any more when it was done, or may have been: it is no part of
    /// the path, and is undone even when the transaction completes.
    pub left: bool,
    /// Key of the step's own call, from which the keys of these calls derive.
    pub key: Arc<str>,
}

/// Action that undoes an effect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Compensation {
    /// Releases the rest of this hold.
    Void(crate::types::HoldId),
    /// Reverses the transfer.
    Reverse(TransferId),
    /// Withdraws the code.
    Withdraw(Arc<str>),
    /// Closes the account if it is empty.
    Close(AccountId),
    /// Takes the role again; older versions of this program stored no number.
    Revoke(UserId, Role),
    /// Gives the role again; older versions of this program stored no number.
    Grant(UserId, Role),
    /// Cancels the transaction that was started, if its pivot has not passed.
    Cancel(TxId),
    /// Undoes the change of a user's role that has this number
    /// ([`RoleChanges`](crate::engine::RoleChanges)).
    Role(UserId, Role, u64),
}

impl Tx {
    /// Returns the open step with this name; of several the one that opened first.
    #[must_use]
    pub fn open_step(&self, step: &StepName) -> Option<&OpenStep> {
        self.open.iter().find(|open| open.step == *step)
    }

    /// Returns the open step at this place.
    #[must_use]
    pub fn at(&self, place: u32) -> Option<&OpenStep> {
        self.open.iter().find(|open| open.place == place)
    }

    /// Returns the holds of a group, or only the one with this key.
    pub fn group<'a>(
        &'a self,
        name: &'a str,
        key: Option<&'a str>,
    ) -> impl Iterator<Item = &'a TxHold> {
        self.holds
            .iter()
            .filter(move |held| *held.name == *name)
            .filter(move |held| key.is_none() || held.key.as_deref() == key)
    }

    /// Returns a call by its number.
    #[must_use]
    pub fn call(&self, number: u32) -> Option<&ServiceCall> {
        self.calls.iter().find(|call| call.number == number)
    }

    /// Returns a one-time code by its name.
    #[must_use]
    pub fn challenge(&self, id: &str) -> Option<&Challenge> {
        self.challenges.iter().find(|challenge| *challenge.id == *id)
    }

    /// Returns the status that follows from its open steps.
    #[must_use]
    pub fn moving_status(&self) -> TxStatus {
        if self.open.iter().any(|open| open.is_client) {
            TxStatus::Waiting
        } else {
            TxStatus::Running
        }
    }
}

/// Id of an owner: lists of transactions are keyed by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum OwnerId {
    /// A user.
    User(UserId),
    /// An anonymous session.
    Session(SessionId),
    /// A service.
    Key(KeyId),
}

impl From<&Owner> for OwnerId {
    fn from(owner: &Owner) -> Self {
        match owner {
            Owner::User(user) => Self::User(user.id),
            Owner::Anonymous(session) => Self::Session(*session),
            Owner::Key(key) => Self::Key(key.id),
        }
    }
}
