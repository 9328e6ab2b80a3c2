//! Forms of transactions and of versions of workflows.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::DecodeError;
use super::calls::{CallAnswerV1, CallV1, HttpRequestSpecV1};
use super::form::{Form, InvalidForm, Json, Text, record_enums, record_structs};
use super::ledger::HoldV1;
use crate::engine::{
    ActorId, ActorRef, CallAnswer, Challenge, ChallengeState, Compensation, CompletedStep,
    OpenJoin, OpenStep, Owner, PlannedEnd, Published, RecordKey, Reference, StepClaim, StuckReason,
    Submission, Tx, TxHold, TxStatus, WorkflowHead, workflow,
};
use crate::types::{Time, WorkflowName};

record_enums! {
    enum OwnerV1: Owner {
        User(user: (u128, Text)),
        Anonymous(session: u128),
        Key(key: (u128, Text)),
    }

    enum WhoIdV1: ActorId {
        User(id: u128),
        Session(id: u128),
        Key(id: u128),
        System,
        Hook(id: u128),
        Workflow(id: u128),
    }

    enum ChallengeStateV1: ChallengeState {
        Issued,
        Passed,
        Withdrawn,
    }

    enum UndoV1: Compensation {
        Void(id: Text),
        Reverse(id: Text),
        Withdraw(id: Text),
        Close(id: Text),
        Revoke(user: u128, role: Text),
        Grant(user: u128, role: Text),
        Cancel(id: u128),
        Role(user: u128, role: Text, number: u64),
    }

    enum StatusV1: TxStatus {
        Waiting,
        Running,
        Compensating,
        Stuck,
        Completed,
        Cancelled,
        Expired,
        Failed,
    }
}

record_structs! {
    struct WhoV1: ActorRef {
        id: WhoIdV1,
        name: Text,
    }

    struct SubmissionV1: Submission {
        by: WhoV1,
        input: Json,
        at: u64,
    }

    struct ClaimV1: StepClaim {
        by: WhoV1,
        until: u64,
    }

    struct OpenV1: OpenStep {
        place: u32,
        step: Text,
        group: u32,
        join: Option<u32>,
        opened_at: u64,
        due: Option<u64>,
        reminded: u32,
        is_client: bool,
        quorum: u32,
        submissions: Vec<SubmissionV1>,
        claim: Option<ClaimV1>,
        users: Vec<Text>,
        roles: Vec<Text>,
        queued: bool,
    }

    struct JoinV1: OpenJoin {
        id: u32,
        all: u32,
        parent: Option<u32>,
        left: u32,
    }

    struct TxHoldV1: TxHold {
        name: Text,
        key: Option<Text>,
        step: Option<Text>,
        hold: HoldV1,
    }

    struct ChallengeV1: Challenge {
        id: Text,
        round: u32,
        digits: u8,
        binds: Text,
        expires_at: u64,
        life_ms: u64,
        attempts_left: u32,
        resends_left: u32,
        state: ChallengeStateV1,
        send: Option<(Text, HttpRequestSpecV1)>,
    }

    struct DoneV1: CompletedStep {
        step: Text,
        undo: Vec<UndoV1>,
        calls: Vec<HttpRequestSpecV1>,
        undone: u32,
        left: bool,
        key: Text,
    }

    struct StuckV1: StuckReason {
        step: Text,
        join: Option<u32>,
        code: Text,
        message: Text,
    }

    struct EndingV1: PlannedEnd {
        status: StatusV1,
        outcome: Text,
    }

    struct TxV1: Tx {
        id: u128,
        workflow: Text,
        version: u32,
        reference: Option<Text>,
        owner: OwnerV1,
        session: Option<u128>,
        ends_with_session: bool,
        status: StatusV1,
        outcome: Option<Text>,
        data: Json,
        open: Vec<OpenV1>,
        joins: Vec<JoinV1>,
        holds: Vec<TxHoldV1>,
        challenges: Vec<ChallengeV1>,
        done: Vec<DoneV1>,
        taken: Vec<(Text, u32)>,
        rounds: u32,
        pivot: bool,
        unique: Option<[u8; 32]>,
        started_at: u64,
        updated_at: u64,
        deadline: Option<u64>,
        timer_at: Option<u64>,
        next_place: u32,
        ending: Option<EndingV1>,
        stuck: Option<StuckV1>,
        stuck_too: Vec<StuckV1>,
        asked: Vec<Text>,
        calls: Vec<CallV1>,
        next_call: u32,
        paused: bool,
        schedule: Option<u128>,
        heard: Vec<u128>,
        commits: Vec<u64>,
    }

    struct ReferenceV1: Reference {
        tx: u128,
        input: [u8; 32],
    }

    struct WorkflowHeadV1: WorkflowHead {
        latest: u32,
        retired: bool,
    }
}

/// A transaction with the answers to its calls.
#[derive(Serialize, Deserialize)]
pub(super) struct TxV2 {
    tx: TxV1,
    answers: Vec<CallAnswerV1>,
}

impl Form<Tx> for TxV2 {
    fn from_domain(tx: &Tx) -> Self {
        let answers = tx.calls.iter().filter_map(|call| {
            let CallAnswer { status, body } = call.answer.as_ref()?;
            Some(CallAnswerV1 {
                number: call.number,
                status: *status,
                body: Form::from_domain(body),
            })
        });
        Self { tx: Form::from_domain(tx), answers: answers.collect() }
    }

    fn into_domain(self) -> Result<Tx, InvalidForm> {
        let mut tx: Tx = self.tx.into_domain()?;
        for CallAnswerV1 { number, status, body } in self.answers {
            if let Some(call) = tx.calls.iter_mut().find(|call| call.number == number) {
                call.answer = Some(CallAnswer { status, body: body.into_domain()? });
            }
        }
        Ok(tx)
    }
}

impl TxV2 {
    /// Drops the parts that [`TxV1::outline`] drops, and the answers.
    pub(super) fn outline(self) -> TxV1 {
        self.tx.outline()
    }
}

impl TxV1 {
    /// Drops the parts that may be large and decide nothing about who may see the transaction.
    pub(super) fn outline(self) -> Self {
        let null = || Json("null".to_owned());
        let open = self.open.into_iter().map(|mut open| {
            open.submissions.iter_mut().for_each(|one| one.input = null());
            open
        });
        Self {
            data: null(),
            open: open.collect(),
            holds: Vec::new(),
            challenges: Vec::new(),
            done: Vec::new(),
            calls: Vec::new(),
            ..self
        }
    }
}

/// A version of a workflow: its name and number are in the key, and its source is compiled again.
#[derive(Serialize, Deserialize)]
pub(super) struct DefinitionV1 {
    source: Text,
    published_at: u64,
    published_by: Text,
}

impl From<&Published> for DefinitionV1 {
    fn from(published: &Published) -> Self {
        Self {
            source: Form::from_domain(&published.source),
            published_at: published.published_at.ms(),
            published_by: Form::from_domain(&published.published_by),
        }
    }
}

impl DefinitionV1 {
    /// Compiles the source: every later version of the program reads what was published once.
    pub(super) fn into_domain(
        self,
        key: &RecordKey,
        (name, version): (&WorkflowName, u32),
        language: fn(&str) -> Result<workflow::CheckedDefinition, Vec<workflow::DefinitionFault>>,
    ) -> Result<Published, DecodeError> {
        let invalid = |what: &str| DecodeError { key: format!("{key:?}"), what: what.to_owned() };
        let source: Arc<str> = self.source.into_domain().map_err(|error| invalid(error.0))?;
        let read = language(&source).map_err(|faults| {
            let first = faults.first().map_or("", |fault| &fault.message);
            invalid(&format!("this program no longer reads the definition: {first}"))
        })?;
        Ok(Published {
            name: name.clone(),
            version,
            source,
            definition: Arc::new(read.definition),
            published_at: Time::from_ms(self.published_at),
            published_by: self.published_by.into_domain().map_err(|error| invalid(error.0))?,
        })
    }
}
