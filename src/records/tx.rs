//! Transactions, workflows and values as bytes: structs that are frozen with their version.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::DecodeError;
use super::calls::{AskV1, CallAnswerV1, CallV1};
use super::ledger::HoldV1;
use super::value::word;
use crate::engine::{
    CallAnswer, Challenge, ChallengeState, Claim, Done, Ending, Join, KeyRef, Open, Owner,
    Published, RecordKey, Status, Stuck, Submission, Tx, TxHold, Undo, UserRef, Who, WhoId,
    workflow,
};
use crate::types::{KeyId, Revision, ScheduleId, SessionId, Time, TxId, UserId, WorkflowName};

#[derive(Serialize, Deserialize)]
enum OwnerV1<'a> {
    User(u128, Cow<'a, str>),
    Anonymous(u128),
    Key(u128, Cow<'a, str>),
}

#[derive(Serialize, Deserialize)]
enum WhoIdV1 {
    User(u128),
    Session(u128),
    Key(u128),
    System,
    Hook(u128),
    Workflow(u128),
}

#[derive(Serialize, Deserialize)]
struct WhoV1 {
    id: WhoIdV1,
    name: String,
}

#[derive(Serialize, Deserialize)]
struct SubmissionV1 {
    by: WhoV1,
    input: String,
    at: u64,
}

#[derive(Serialize, Deserialize)]
struct ClaimV1 {
    by: WhoV1,
    until: u64,
}

#[derive(Serialize, Deserialize)]
struct OpenV1<'a> {
    place: u32,
    step: Cow<'a, str>,
    group: u32,
    join: Option<u32>,
    opened_at: u64,
    due: Option<u64>,
    reminded: u32,
    is_client: bool,
    quorum: u32,
    submissions: Vec<SubmissionV1>,
    claim: Option<ClaimV1>,
    users: Vec<String>,
    roles: Vec<String>,
    queued: bool,
}

#[derive(Serialize, Deserialize)]
struct JoinV1 {
    id: u32,
    all: u32,
    parent: Option<u32>,
    left: u32,
}

#[derive(Serialize, Deserialize)]
struct TxHoldV1 {
    name: String,
    key: Option<String>,
    step: Option<String>,
    hold: HoldV1,
}

#[derive(Serialize, Deserialize)]
enum ChallengeStateV1 {
    Issued,
    Passed,
    Withdrawn,
}

#[derive(Serialize, Deserialize)]
struct ChallengeV1 {
    id: String,
    round: u32,
    digits: u8,
    binds: String,
    expires_at: u64,
    life_ms: u64,
    attempts_left: u32,
    resends_left: u32,
    state: ChallengeStateV1,
    send: Option<(String, AskV1)>,
}

#[derive(Serialize, Deserialize)]
enum UndoV1 {
    Void(String),
    Reverse(String),
    Withdraw(String),
    Close(String),
    Revoke(u128, String),
    Grant(u128, String),
    Cancel(u128),
    Role(u128, String, u64),
}

#[derive(Serialize, Deserialize)]
struct DoneV1 {
    step: String,
    undo: Vec<UndoV1>,
    calls: Vec<AskV1>,
    undone: u32,
    left: bool,
    key: String,
}

/// Written by its place in this list, for ever.
#[derive(Clone, Copy, Serialize, Deserialize)]
enum StatusV1 {
    Waiting,
    Running,
    Compensating,
    Stuck,
    Completed,
    Cancelled,
    Expired,
    Failed,
}

#[derive(Serialize, Deserialize)]
struct StuckV1 {
    step: String,
    join: Option<u32>,
    code: String,
    message: String,
}

impl From<&Stuck> for StuckV1 {
    fn from(stuck: &Stuck) -> Self {
        let Stuck { step, join, code, message } = stuck;
        let (step, code, message) = (step.to_string(), code.to_string(), message.to_string());
        Self { step, join: *join, code, message }
    }
}

impl StuckV1 {
    fn back(self, fact: &RecordKey) -> Result<Stuck, DecodeError> {
        let Self { step, join, code, message } = self;
        let (code, message) = (code.into(), message.into());
        Ok(Stuck { step: word(fact, &step)?, join, code, message })
    }
}

#[derive(Serialize, Deserialize)]
pub(super) struct TxV1<'a> {
    id: u128,
    workflow: Cow<'a, str>,
    version: u32,
    reference: Option<Cow<'a, str>>,
    owner: OwnerV1<'a>,
    session: Option<u128>,
    ends_with_session: bool,
    status: StatusV1,
    outcome: Option<Cow<'a, str>>,
    data: String,
    open: Vec<OpenV1<'a>>,
    joins: Vec<JoinV1>,
    holds: Vec<TxHoldV1>,
    challenges: Vec<ChallengeV1>,
    done: Vec<DoneV1>,
    taken: Vec<(Cow<'a, str>, u32)>,
    rounds: u32,
    pivot: bool,
    one: Option<[u8; 32]>,
    started_at: u64,
    updated_at: u64,
    deadline: Option<u64>,
    timer_at: Option<u64>,
    next_place: u32,
    ending: Option<(StatusV1, String)>,
    stuck: Option<StuckV1>,
    stuck_too: Vec<StuckV1>,
    asked: Vec<String>,
    calls: Vec<CallV1>,
    next_call: u32,
    paused: bool,
    schedule: Option<u128>,
    heard: Vec<u128>,
    commits: Vec<u64>,
}

/// A transaction with the answers to its calls.
#[derive(Serialize, Deserialize)]
pub(super) struct TxV2<'a> {
    tx: TxV1<'a>,
    answers: Vec<CallAnswerV1>,
}

impl<'a> From<&'a Tx> for TxV2<'a> {
    fn from(tx: &'a Tx) -> Self {
        let answers = tx.calls.iter().filter_map(|call| {
            let answer = call.answer.as_ref()?;
            let (number, status, body) = (call.number, answer.status, answer.body.to_string());
            Some(CallAnswerV1 { number, status, body })
        });
        Self { tx: tx.into(), answers: answers.collect() }
    }
}

impl<'a> TxV2<'a> {
    /// The same without what may be large, as [`TxV1::outline`].
    pub(super) fn outline(self) -> TxV1<'a> {
        self.tx.outline()
    }

    pub(super) fn thaw(self, fact: &RecordKey) -> Result<Tx, DecodeError> {
        let mut tx = self.tx.thaw(fact)?;
        for CallAnswerV1 { number, status, body } in self.answers {
            if let Some(call) = tx.calls.iter_mut().find(|call| call.number == number) {
                call.answer = Some(CallAnswer { status, body: body.into() });
            }
        }
        Ok(tx)
    }
}

#[derive(Serialize, Deserialize)]
pub(super) struct DefinitionV1 {
    source: String,
    published_at: u64,
    published_by: String,
}

impl From<Status> for StatusV1 {
    fn from(status: Status) -> Self {
        match status {
            Status::Waiting => Self::Waiting,
            Status::Running => Self::Running,
            Status::Compensating => Self::Compensating,
            Status::Stuck => Self::Stuck,
            Status::Completed => Self::Completed,
            Status::Cancelled => Self::Cancelled,
            Status::Expired => Self::Expired,
            Status::Failed => Self::Failed,
        }
    }
}

impl From<StatusV1> for Status {
    fn from(status: StatusV1) -> Self {
        match status {
            StatusV1::Waiting => Self::Waiting,
            StatusV1::Running => Self::Running,
            StatusV1::Compensating => Self::Compensating,
            StatusV1::Stuck => Self::Stuck,
            StatusV1::Completed => Self::Completed,
            StatusV1::Cancelled => Self::Cancelled,
            StatusV1::Expired => Self::Expired,
            StatusV1::Failed => Self::Failed,
        }
    }
}

impl From<&Who> for WhoV1 {
    fn from(who: &Who) -> Self {
        let id = match who.id {
            WhoId::User(id) => WhoIdV1::User(id.bits()),
            WhoId::Session(id) => WhoIdV1::Session(id.bits()),
            WhoId::Key(id) => WhoIdV1::Key(id.bits()),
            WhoId::Hook(id) => WhoIdV1::Hook(id),
            WhoId::Workflow(id) => WhoIdV1::Workflow(id.bits()),
            WhoId::System => WhoIdV1::System,
        };
        Self { id, name: who.name.to_string() }
    }
}

impl From<WhoV1> for Who {
    fn from(who: WhoV1) -> Self {
        let id = match who.id {
            WhoIdV1::User(id) => WhoId::User(UserId::new(id)),
            WhoIdV1::Session(id) => WhoId::Session(SessionId::new(id)),
            WhoIdV1::Key(id) => WhoId::Key(KeyId::new(id)),
            WhoIdV1::Hook(id) => WhoId::Hook(id),
            WhoIdV1::Workflow(id) => WhoId::Workflow(TxId::new(id)),
            WhoIdV1::System => WhoId::System,
        };
        Self { id, name: who.name.into() }
    }
}

impl<'a> From<&'a Open> for OpenV1<'a> {
    fn from(open: &'a Open) -> Self {
        let submission = |submission: &Submission| SubmissionV1 {
            by: (&submission.by).into(),
            input: submission.input.to_string(),
            at: submission.at.ms(),
        };
        Self {
            place: open.place,
            step: open.step.as_str().into(),
            group: open.group,
            join: open.join,
            opened_at: open.opened_at.ms(),
            due: open.due.map(Time::ms),
            reminded: open.reminded,
            is_client: open.is_client,
            quorum: open.quorum,
            submissions: open.submissions.iter().map(submission).collect(),
            claim: open
                .claim
                .as_ref()
                .map(|claim| ClaimV1 { by: (&claim.by).into(), until: claim.until.ms() }),
            users: open.users.iter().map(ToString::to_string).collect(),
            roles: open.roles.iter().map(ToString::to_string).collect(),
            queued: open.queued,
        }
    }
}

impl OpenV1<'_> {
    fn thaw(self, fact: &RecordKey) -> Result<Open, DecodeError> {
        let mut submissions = Vec::with_capacity(self.submissions.len());
        for submission in self.submissions {
            submissions.push(Submission {
                by: submission.by.into(),
                input: json(fact, &submission.input)?,
                at: Time::from_ms(submission.at),
            });
        }
        Ok(Open {
            place: self.place,
            step: word(fact, &self.step)?,
            group: self.group,
            join: self.join,
            opened_at: Time::from_ms(self.opened_at),
            due: self.due.map(Time::from_ms),
            reminded: self.reminded,
            is_client: self.is_client,
            quorum: self.quorum,
            submissions,
            claim: self
                .claim
                .map(|claim| Claim { by: claim.by.into(), until: Time::from_ms(claim.until) }),
            users: self.users.iter().map(|name| word(fact, name)).collect::<Result<_, _>>()?,
            roles: self.roles.iter().map(|role| word(fact, role)).collect::<Result<_, _>>()?,
            queued: self.queued,
        })
    }
}

impl From<&Challenge> for ChallengeV1 {
    fn from(challenge: &Challenge) -> Self {
        Self {
            id: challenge.id.to_string(),
            round: challenge.round,
            digits: challenge.digits,
            binds: challenge.binds.to_string(),
            expires_at: challenge.expires_at.ms(),
            life_ms: challenge.life_ms,
            attempts_left: challenge.attempts_left,
            resends_left: challenge.resends_left,
            state: match challenge.state {
                ChallengeState::Issued => ChallengeStateV1::Issued,
                ChallengeState::Passed => ChallengeStateV1::Passed,
                ChallengeState::Withdrawn => ChallengeStateV1::Withdrawn,
            },
            send: challenge.send.as_ref().map(|send| (send.0.to_string(), (&send.1).into())),
        }
    }
}

impl ChallengeV1 {
    fn thaw(self, fact: &RecordKey) -> Result<Challenge, DecodeError> {
        let challenge = self;
        let send = match challenge.send {
            Some((step, ask)) => Some(Box::new((word(fact, &step)?, ask.into()))),
            None => None,
        };
        Ok(Challenge {
            send,
            id: challenge.id.into(),
            round: challenge.round,
            digits: challenge.digits,
            binds: challenge.binds.into(),
            expires_at: Time::from_ms(challenge.expires_at),
            life_ms: challenge.life_ms,
            attempts_left: challenge.attempts_left,
            resends_left: challenge.resends_left,
            state: match challenge.state {
                ChallengeStateV1::Issued => ChallengeState::Issued,
                ChallengeStateV1::Passed => ChallengeState::Passed,
                ChallengeStateV1::Withdrawn => ChallengeState::Withdrawn,
            },
        })
    }
}

impl From<&Undo> for UndoV1 {
    fn from(undo: &Undo) -> Self {
        match undo {
            Undo::Void(id) => Self::Void(id.to_string()),
            Undo::Reverse(id) => Self::Reverse(id.to_string()),
            Undo::Withdraw(id) => Self::Withdraw(id.to_string()),
            Undo::Close(id) => Self::Close(id.to_string()),
            Undo::Revoke(user, role) => Self::Revoke(user.bits(), role.to_string()),
            Undo::Grant(user, role) => Self::Grant(user.bits(), role.to_string()),
            Undo::Cancel(id) => Self::Cancel(id.bits()),
            Undo::Role(user, role, number) => Self::Role(user.bits(), role.to_string(), *number),
        }
    }
}

impl UndoV1 {
    fn thaw(self, fact: &RecordKey) -> Result<Undo, DecodeError> {
        Ok(match self {
            Self::Void(id) => Undo::Void(word(fact, &id)?),
            Self::Reverse(id) => Undo::Reverse(word(fact, &id)?),
            Self::Withdraw(id) => Undo::Withdraw(id.into()),
            Self::Close(id) => Undo::Close(word(fact, &id)?),
            Self::Revoke(user, role) => Undo::Revoke(UserId::new(user), word(fact, &role)?),
            Self::Grant(user, role) => Undo::Grant(UserId::new(user), word(fact, &role)?),
            Self::Cancel(id) => Undo::Cancel(TxId::new(id)),
            Self::Role(user, role, number) => {
                Undo::Role(UserId::new(user), word(fact, &role)?, number)
            }
        })
    }
}

impl<'a> From<&'a Tx> for TxV1<'a> {
    fn from(tx: &'a Tx) -> Self {
        let hold = |held: &TxHold| TxHoldV1 {
            name: held.name.to_string(),
            key: held.key.as_deref().map(str::to_owned),
            step: held.step.as_ref().map(ToString::to_string),
            hold: (&held.hold).into(),
        };
        let done = |done: &Done| DoneV1 {
            step: done.step.to_string(),
            undo: done.undo.iter().map(Into::into).collect(),
            calls: done.calls.iter().map(Into::into).collect(),
            undone: done.undone,
            left: done.left,
            key: done.key.to_string(),
        };
        let join = |join: &Join| JoinV1 {
            id: join.id,
            all: join.all,
            parent: join.parent,
            left: join.left,
        };
        Self {
            id: tx.id.bits(),
            workflow: tx.workflow.as_str().into(),
            version: tx.version,
            reference: tx.reference.as_deref().map(Into::into),
            owner: match &tx.owner {
                Owner::User(user) => OwnerV1::User(user.id.bits(), user.username.as_str().into()),
                Owner::Anonymous(session) => OwnerV1::Anonymous(session.bits()),
                Owner::Key(key) => OwnerV1::Key(key.id.bits(), (&*key.name).into()),
            },
            session: tx.session.map(SessionId::bits),
            ends_with_session: tx.ends_with_session,
            status: tx.status.into(),
            outcome: tx.outcome.as_deref().map(Into::into),
            // Quicker than `to_string`, and as sure: whatever JSON is, it can be written.
            data: serde_json::to_string(&*tx.data).unwrap_or_default(),
            open: tx.open.iter().map(Into::into).collect(),
            joins: tx.joins.iter().map(join).collect(),
            holds: tx.holds.iter().map(hold).collect(),
            challenges: tx.challenges.iter().map(Into::into).collect(),
            done: tx.done.iter().map(|step| done(step)).collect(),
            taken: tx.taken.iter().map(|(step, count)| (step.as_str().into(), *count)).collect(),
            rounds: tx.rounds,
            pivot: tx.pivot,
            one: tx.unique,
            started_at: tx.started_at.ms(),
            updated_at: tx.updated_at.ms(),
            deadline: tx.deadline.map(Time::ms),
            timer_at: tx.timer_at.map(Time::ms),
            next_place: tx.next_place,
            ending: tx
                .ending
                .as_ref()
                .map(|ending| (ending.status.into(), ending.outcome.to_string())),
            stuck: tx.stuck.as_ref().map(Into::into),
            stuck_too: tx.stuck_too.iter().map(Into::into).collect(),
            asked: tx.asked.iter().map(ToString::to_string).collect(),
            calls: tx.calls.iter().map(Into::into).collect(),
            next_call: tx.next_call,
            paused: tx.paused,
            schedule: tx.schedule.map(ScheduleId::bits),
            heard: tx.heard.clone(),
            commits: tx.commits.iter().map(|commit| commit.get()).collect(),
        }
    }
}

impl TxV1<'_> {
    /// The same without what may be large and decides nothing about who may see it.
    pub(super) fn outline(self) -> Self {
        const NOTHING: &str = "null";
        let open = self.open.into_iter().map(|mut open| {
            open.submissions.iter_mut().for_each(|one| NOTHING.clone_into(&mut one.input));
            open
        });
        Self {
            data: NOTHING.to_owned(),
            open: open.collect(),
            holds: Vec::new(),
            challenges: Vec::new(),
            done: Vec::new(),
            calls: Vec::new(),
            ..self
        }
    }

    pub(super) fn thaw(self, fact: &RecordKey) -> Result<Tx, DecodeError> {
        let mut holds = Vec::with_capacity(self.holds.len());
        for held in self.holds {
            holds.push(TxHold {
                name: held.name.into(),
                key: held.key.map(Into::into),
                step: held.step.map(|step| word(fact, &step)).transpose()?,
                hold: held.hold.thaw(fact)?,
            });
        }
        let mut done = Vec::with_capacity(self.done.len());
        for step in self.done {
            let undo = step.undo.into_iter().map(|undo| undo.thaw(fact));
            let undo = undo.collect::<Result<_, _>>()?;
            done.push(Arc::new(Done {
                step: word(fact, &step.step)?,
                undo,
                calls: step.calls.into_iter().map(Into::into).collect(),
                undone: step.undone,
                left: step.left,
                key: step.key.into(),
            }));
        }
        let mut taken = BTreeMap::new();
        for (step, count) in self.taken {
            taken.insert(word(fact, &step)?, count);
        }
        let join = |join: JoinV1| Join {
            id: join.id,
            all: join.all,
            parent: join.parent,
            left: join.left,
        };
        Ok(Tx {
            id: TxId::new(self.id),
            workflow: word(fact, &self.workflow)?,
            version: self.version,
            reference: self.reference.map(Into::into),
            owner: match self.owner {
                OwnerV1::User(id, name) => {
                    Owner::User(UserRef { id: UserId::new(id), username: word(fact, &name)? })
                }
                OwnerV1::Anonymous(session) => Owner::Anonymous(SessionId::new(session)),
                OwnerV1::Key(id, name) => {
                    Owner::Key(KeyRef { id: KeyId::new(id), name: name.into() })
                }
            },
            session: self.session.map(SessionId::new),
            ends_with_session: self.ends_with_session,
            status: self.status.into(),
            outcome: self.outcome.map(Into::into),
            data: json(fact, &self.data)?,
            open: self.open.into_iter().map(|open| open.thaw(fact)).collect::<Result<_, _>>()?,
            joins: self.joins.into_iter().map(join).collect(),
            holds,
            challenges: self
                .challenges
                .into_iter()
                .map(|challenge| challenge.thaw(fact))
                .collect::<Result<_, _>>()?,
            calls: self.calls.into_iter().map(|call| call.thaw(fact)).collect::<Result<_, _>>()?,
            next_call: self.next_call,
            done,
            taken,
            rounds: self.rounds,
            pivot: self.pivot,
            unique: self.one,
            started_at: Time::from_ms(self.started_at),
            updated_at: Time::from_ms(self.updated_at),
            deadline: self.deadline.map(Time::from_ms),
            timer_at: self.timer_at.map(Time::from_ms),
            next_place: self.next_place,
            ending: self
                .ending
                .map(|(status, outcome)| Ending { status: status.into(), outcome: outcome.into() }),
            stuck: self.stuck.map(|stuck| stuck.back(fact)).transpose()?,
            stuck_too: self
                .stuck_too
                .into_iter()
                .map(|stuck| stuck.back(fact))
                .collect::<Result<_, _>>()?,
            asked: self.asked.iter().map(|name| word(fact, name)).collect::<Result<_, _>>()?,
            paused: self.paused,
            schedule: self.schedule.map(ScheduleId::new),
            heard: self.heard,
            commits: self.commits.into_iter().map(Revision::new).collect(),
        })
    }
}

impl From<&Published> for DefinitionV1 {
    fn from(published: &Published) -> Self {
        Self {
            source: published.source.to_string(),
            published_at: published.published_at.ms(),
            published_by: published.published_by.to_string(),
        }
    }
}

impl DefinitionV1 {
    /// Reads the document again: what was published once is read by every later version of the
    /// program.
    pub(super) fn thaw(
        self,
        fact: &RecordKey,
        name: &WorkflowName,
        version: u32,
        language: fn(&str) -> Result<workflow::Read, Vec<workflow::DefinitionFault>>,
    ) -> Result<Published, DecodeError> {
        let read = language(&self.source).map_err(|faults| {
            let first = faults.first();
            let what = first.map_or_else(String::new, |fault| fault.message.clone());
            DecodeError {
                key: format!("{fact:?}"),
                what: format!("this program no longer reads the definition: {what}"),
            }
        })?;
        Ok(Published {
            name: name.clone(),
            version,
            source: self.source.into(),
            definition: Arc::new(read.definition),
            published_at: Time::from_ms(self.published_at),
            published_by: self.published_by.into(),
        })
    }
}

pub(super) fn json(fact: &RecordKey, text: &str) -> Result<Arc<Value>, DecodeError> {
    serde_json::from_str(text).map(Arc::new).map_err(|_| DecodeError {
        key: format!("{fact:?}"),
        what: "it holds data that is no JSON".to_owned(),
    })
}
