//! `/v1/transactions`: the running instances of workflows, their open steps, and the commands on
//! them.

use std::sync::Arc;

use http::{StatusCode, header};
use schemars::{JsonSchema, SchemaGenerator};
use serde::{Deserialize, Serialize, Serializer};
use serde_json::{Map, Value, json};

use super::etag::VersionTag;
use super::input::{self, Media, parameter};
use super::operation::{Operation, Parameter};
use super::pagination;
use super::problem::{Code, Problem};
use super::read_reply;
use super::reply::Reply;
use super::request_context::{PreparedCommand, RequestContext, unexpected};
use super::schemas::{flag, object, text};
use crate::app::{App, TxFilter};
use crate::engine::{
    CallState, Command, HoldStatus, OpenStep, Outcome, REDACTED, Refusal, Repair, StartAsk,
    TxStatus, TxView,
};
use crate::types::{Decimal, HoldId, StepName, Time, TxId, Username, WorkflowName};

/// Start of a transaction.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct StartRequest {
    /// The input that the workflow takes at its start.
    #[serde(default)]
    #[schemars(with = "Option<Map<String, Value>>")]
    input: Option<Map<String, Value>>,
    /// The caller's own key for it, unique in the workflow.
    #[serde(default)]
    #[schemars(length(min = 1, max = 256))]
    reference: Option<String>,
}

/// Cancellation of a transaction.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct CancelRequest {
    /// For the history.
    #[serde(default)]
    #[schemars(length(max = 1024))]
    reason: Option<String>,
}

/// Reason for which a step is left out.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct SkipStepRequest {
    /// For the history.
    #[schemars(length(min = 1, max = 1024))]
    reason: String,
}

/// A step that waits for a client.
#[derive(Serialize, JsonSchema)]
struct TransactionStep<'a> {
    /// Its name.
    step: &'a StepName,
    /// One line for people.
    title: Option<&'a str>,
    /// The JSON Schema of its input; `null`: it takes none.
    #[schemars(with = "Option<Map<String, Value>>")]
    input: Option<&'a Value>,
    /// True if the caller may submit the step.
    allowed: bool,
    /// Name of the actor that has claimed the step.
    claimed_by: Option<&'a str>,
    /// Number of submissions that the step needs.
    quorum: u32,
    /// Number of submissions so far.
    submitted: usize,
    /// When it ends by itself.
    expires_at: Option<Time>,
    /// Path to which the step is submitted.
    submit: String,
}

/// A hold of a transaction.
#[derive(Serialize, JsonSchema)]
struct TransactionHold<'a> {
    /// Its id.
    #[schemars(with = "String")]
    id: &'a HoldId,
    /// Its name in the workflow.
    name: &'a str,
    /// Its place among those with this name.
    key: Option<&'a str>,
    /// The account.
    #[schemars(with = "String")]
    account: String,
    /// Reserved amount; of a resolved hold the amount that it reserved.
    #[schemars(with = "String")]
    amount: Decimal,
    /// Amount that was posted so far.
    #[schemars(with = "String")]
    captured: Decimal,
    /// `held`, `captured`, `voided` or `expired`.
    status: &'a str,
    /// When it is released by itself.
    expires_at: Option<Time>,
}

/// A one-time code that the transaction waits for.
#[derive(Serialize, JsonSchema)]
struct TransactionChallenge<'a> {
    /// Its name in the workflow.
    id: &'a str,
    /// Number of digits of the code.
    digits: u8,
    /// Time at which it becomes void.
    expires_at: Time,
    /// True if the code is void by now: only a new one can be used.
    expired: bool,
    /// Number of wrong codes that are still allowed.
    attempts_left: u32,
    /// Number of new codes that may still be sent.
    resends_left: u32,
    /// The code itself; only with `--dev`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(default)]
    code: Option<&'a str>,
}

/// Reason for which a transaction cannot go on.
#[derive(Serialize, JsonSchema)]
struct StuckTransaction<'a> {
    /// The step that could not be done or undone.
    step: &'a StepName,
    /// The refusal's code.
    code: &'a str,
    /// The refusal in words.
    message: &'a str,
}

/// Answer of a service to a call that did not succeed.
#[derive(Serialize, JsonSchema)]
struct TransactionCallAnswer<'a> {
    /// The status.
    status: u16,
    /// The first 2 KB of the body as text, in which secrets of the configuration, one-time codes
    /// and the callback's address are replaced by `[redacted]`.
    body: &'a str,
}

/// A call to another service.
#[derive(Serialize, JsonSchema)]
struct TransactionCall<'a> {
    /// Its number in the transaction.
    number: u32,
    /// The step that it belongs to.
    step: &'a StepName,
    /// `do`: a step waits for it; `undo`: it undoes a step; `send`: no step waits for it.
    op: &'a str,
    /// `due`, `in-flight`, `awaiting-callback`, `answered`, `done`, `refused`, `unknown`,
    /// `dropped`.
    status: &'a str,
    /// The `Idempotency-Key` of every attempt.
    key: &'a str,
    /// Number of attempts that were begun.
    attempts: u32,
    /// Result of the last attempt: a status, or the failure.
    last: Option<&'a str>,
    /// The last answer that was no success; for operators and auditors.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(default)]
    answer: Option<TransactionCallAnswer<'a>>,
    /// When the next attempt is due, or the callback at the latest.
    due_at: Option<Time>,
}

impl<'a> TransactionCall<'a> {
    fn new(call: &'a crate::engine::ServiceCall, sees_answers: bool) -> Self {
        let answer = call.answer.as_ref().filter(|_| sees_answers);
        Self {
            number: call.number,
            step: &call.step,
            op: call.purpose.as_str(),
            status: call.state.as_str(),
            key: &call.key,
            attempts: call.attempts,
            last: call.last.as_deref(),
            answer: answer
                .map(|answer| TransactionCallAnswer { status: answer.status, body: &answer.body }),
            due_at: match call.state {
                CallState::Due(at) | CallState::AwaitingCallback(at) => Some(at),
                _ => None,
            },
        }
    }
}

/// A transaction.
#[derive(Serialize, JsonSchema)]
pub(super) struct TransactionResponse<'a> {
    /// Its id.
    id: TxId,
    /// The workflow that it runs.
    workflow: &'a WorkflowName,
    /// The version of it.
    version: u32,
    /// The caller's own key for it.
    reference: Option<&'a str>,
    /// `waiting`, `running`, `compensating`, `stuck`, `completed`, `cancelled`, `expired` or
    /// `failed`.
    status: &'a str,
    /// The end's name, the cancel's code, `deadline`; `null` as long as it is open.
    outcome: Option<&'a str>,
    /// The commit that last changed it.
    revision: u64,
    /// The owner: a user's name, or the id of an anonymous session or an API key.
    owner: String,
    /// Its data, without the parts that are hidden from the caller.
    #[schemars(with = "Map<String, Value>")]
    data: VisibleData<'a>,
    /// The steps that wait for a client.
    open_steps: Vec<TransactionStep<'a>>,
    /// Its holds.
    holds: Vec<TransactionHold<'a>>,
    /// The one-time codes that it waits for.
    challenges: Vec<TransactionChallenge<'a>>,
    /// Calls to other services.
    calls: Vec<TransactionCall<'a>>,
    /// Why it cannot go on.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(default)]
    stuck: Option<StuckTransaction<'a>>,
    /// True if an operator has paused it: no step can be submitted and no timer fires until it is
    /// resumed.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    #[schemars(default)]
    paused: bool,
    /// When it was started.
    started_at: Time,
    /// When it was last changed.
    updated_at: Time,
    /// When it expires.
    deadline: Option<Time>,
}

/// The data of a transaction, without what is hidden.
struct VisibleData<'a> {
    data: &'a Value,
    hidden: &'a [String],
}

impl Serialize for VisibleData<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self.data {
            Value::Object(data) => {
                to.collect_map(data.iter().filter(|(key, _)| !self.hidden.contains(key)))
            }
            other => other.serialize(to),
        }
    }
}

/// A page of transactions.
#[derive(Serialize, JsonSchema)]
pub(super) struct TransactionPage<'a> {
    /// Newest first.
    items: Vec<TransactionResponse<'a>>,
    /// The `cursor` of the next page; `null`: nothing is left.
    next_cursor: Option<String>,
}

impl<'a> TransactionResponse<'a> {
    /// Renders it as the caller may see it.
    pub(super) fn new(view: &'a TxView) -> Self {
        let tx = &view.tx;
        // If timers are late, nothing whose time has come is shown as open.
        let is_over = |at: Option<Time>| view.is_overdue() && at.is_some_and(|at| at <= view.at);
        let steps = tx.open.iter().zip(&view.allowed);
        let steps = steps.filter(|(open, _)| open.is_client && !is_over(open.due));
        let holds = tx.holds.iter().map(|held| {
            let hold = &held.hold;
            let units = if hold.status == HoldStatus::Held { hold.left } else { hold.amount };
            TransactionHold {
                id: &hold.id,
                name: &held.name,
                key: held.key.as_deref(),
                account: hold.account.to_string(),
                amount: Decimal::from_minor(units, hold.scale),
                captured: Decimal::from_minor(hold.captured, hold.scale),
                status: if hold.status == HoldStatus::Held && !tx.pivot && is_over(hold.expires_at)
                {
                    HoldStatus::Expired.as_str()
                } else {
                    hold.status.as_str()
                },
                expires_at: hold.expires_at,
            }
        });
        let waited_for = tx
            .challenges
            .iter()
            .filter(|challenge| challenge.state == crate::engine::ChallengeState::Issued);
        Self {
            id: tx.id,
            workflow: &tx.workflow,
            version: tx.version,
            reference: tx.reference.as_deref(),
            status: tx.status.as_str(),
            outcome: tx.outcome.as_deref(),
            revision: view.revision.get(),
            owner: tx.owner.name(),
            data: VisibleData { data: &tx.data, hidden: &view.hidden },
            open_steps: steps.map(|(open, allowed)| shown_step(view, open, *allowed)).collect(),
            holds: holds.collect(),
            challenges: waited_for
                .filter(|_| !tx.status.is_ended())
                .map(|challenge| TransactionChallenge {
                    id: &challenge.id,
                    digits: challenge.digits,
                    expires_at: challenge.expires_at,
                    expired: challenge.expires_at <= view.at,
                    attempts_left: challenge.attempts_left,
                    resends_left: challenge.resends_left,
                    code: view
                        .codes
                        .iter()
                        .find(|(id, _)| *id == challenge.id)
                        .map(|(_, code)| code.as_str()),
                })
                .collect(),
            calls: tx.calls.iter().map(|call| TransactionCall::new(call, view.sees_all)).collect(),
            stuck: tx.stuck.as_ref().map(|stuck| StuckTransaction {
                step: &stuck.step,
                code: &stuck.code,
                message: if view.hidden.is_empty() { &stuck.message } else { REDACTED },
            }),
            paused: tx.paused,
            started_at: tx.started_at,
            updated_at: tx.updated_at,
            deadline: tx.deadline,
        }
    }
}

fn shown_step<'a>(view: &'a TxView, open: &'a OpenStep, allowed: bool) -> TransactionStep<'a> {
    let step = view.definition.step(&open.step);
    let input = step.and_then(|step| match &step.kind {
        crate::engine::workflow::StepKind::Client { input, .. } => input.as_ref(),
        _ => None,
    });
    let claim = open.claim.as_ref().filter(|claim| view.at < claim.until);
    TransactionStep {
        step: &open.step,
        title: step.and_then(|step| step.title.as_deref()),
        input: input.map(crate::engine::workflow::InputSchema::shown),
        allowed,
        claimed_by: claim.map(|claim| &*claim.by.name),
        quorum: open.quorum,
        submitted: open.submissions.len(),
        expires_at: open.due,
        submit: format!("/v1/transactions/{}/steps/{}", view.tx.id, open.step),
    }
}

pub(super) const EXAMPLE: &str = r#"{"id":"tx_01jd9x2k7m8n4p5q6r7s8t9v0w","workflow":"transfer","version":3,"reference":null,"status":"waiting","outcome":null,"revision":1042,"owner":"alice","data":{"from":"alice:main","to":"bob:main","amount":"250.00"},"open_steps":[{"step":"confirm","title":"Confirm with the code","input":{"type":"object"},"allowed":true,"claimed_by":null,"quorum":1,"submitted":0,"expires_at":"2026-11-24T10:35:00.000Z","submit":"/v1/transactions/tx_01jd9x2k7m8n4p5q6r7s8t9v0w/steps/confirm"}],"holds":[{"id":"hold_01jd9x2k7m8n4p5q6r7s8t9v0w","name":"funds","key":null,"account":"alice:main","amount":"251.25","captured":"0.00","status":"held","expires_at":null}],"challenges":[],"calls":[],"started_at":"2026-11-24T10:00:00.000Z","updated_at":"2026-11-24T10:05:00.000Z","deadline":"2026-11-27T10:00:00.000Z"}"#;

/// The tag of a transaction as this view shows it.
fn tag(view: &TxView) -> VersionTag {
    match view.variant() {
        variant if variant.is_empty() => view.revision.into(),
        variant => VersionTag::of(view.revision, &variant),
    }
}

fn written(view: &TxView, created: bool) -> Result<Reply, Problem> {
    let reply = Reply::json(&TransactionResponse::new(view))?.at(tag(view));
    if created {
        let location = format!("/v1/transactions/{}", view.tx.id);
        return Ok(reply.status(StatusCode::CREATED).with_text(header::LOCATION, &location));
    }
    Ok(reply)
}

/// A command whose outcome is the transaction.
pub(super) fn act(command: Command) -> PreparedCommand {
    let write = |outcome: &Outcome, _| match outcome {
        Outcome::Transaction { view, created } => written(view, *created),
        other => Err(unexpected(other)),
    };
    PreparedCommand { command, write }
}

/// Returns the transaction that the path names; a text that is no id names none.
pub(super) fn id(request: &RequestContext) -> Result<TxId, Problem> {
    let id = request.parameters.at(0).parse();
    id.map_err(|_| Problem::from(Refusal::NotFound("transaction")))
}

pub(super) const START: Operation =
    Operation::new("startTransaction", "transactions", "Starts a transaction")
        .text(
            "With a `reference` that was used before for the same input, the answer is the \
           transaction that was started then.",
        )
        .idempotent()
        .body::<StartRequest>(r#"{"reference":"order-4711"}"#)
        .body_optional()
        .json::<TransactionResponse<'_>>(201, "The transaction.", EXAMPLE)
        .etag()
        .with(&["Location"])
        .links(&[("getTransaction", "id", "$response.body#/id")])
        .json::<TransactionResponse<'_>>(200, "The transaction as it is now.", EXAMPLE)
        .etag()
        .problems(REFUSALS);

/// Problems that a workflow's rules, effects and expressions can cause.
const REFUSALS: &[Code] = &[
    Code::NotFound,
    Code::NotAllowed,
    Code::InvalidInput,
    Code::TooLarge,
    Code::LimitReached,
    Code::StepNotOpen,
    Code::Paused,
    Code::Claimed,
    Code::StepUsedUp,
    Code::AlreadyCounted,
    Code::PeopleOnly,
    Code::AlreadyOpen,
    Code::ReferenceTaken,
    Code::WorkflowRetired,
    Code::RefusedByGuard,
    Code::ExpressionFailed,
    Code::WrongCode,
    Code::CodeExpired,
    Code::TooManyAttempts,
    Code::ChallengeNotOpen,
    Code::PastPivot,
    Code::TooManySteps,
    Code::TooManyRounds,
    Code::LinkDepthExceeded,
    Code::InsufficientFunds,
    Code::UnknownAccount,
    Code::UnknownAsset,
    Code::AssetMismatch,
    Code::AccountClosed,
    Code::AccountFrozen,
    Code::AccountExists,
    Code::NotYourAccount,
    Code::SameAccount,
    Code::HoldNotOpen,
    Code::ExceedsHold,
    Code::AmountNotExact,
    Code::AmountOutOfRange,
];

pub(super) fn start(request: &RequestContext) -> Result<PreparedCommand, Problem> {
    let StartRequest { input, reference } = request.json()?;
    let workflow = request.parameters.at(0).parse();
    let workflow = workflow.map_err(|_| Problem::from(Refusal::NotFound("workflow")))?;
    let ask = StartAsk { workflow, input: input.unwrap_or_default(), reference };
    Ok(act(Command::Start(Box::new(ask))))
}

/// A revision of the past.
pub(super) const AS_OF: Parameter = Parameter {
    name: "as_of",
    text: "As it was at this revision, as far as the log reaches back.",
    schema: SchemaGenerator::subschema_for::<u64>,
};

const PREFER: Parameter = Parameter {
    name: "Prefer",
    text: "`wait=SECONDS`: how long to wait for a newer revision than that of `If-None-Match`.",
    schema: text,
};

pub(super) const SHOW: Operation = Operation::new("getTransaction", "transactions", "A transaction")
    .text("With `If-None-Match` and `Prefer: wait=SECONDS` (at most 60) the answer comes when there \
           is something newer to show, else 304 when the time is up; at once, without \
           `Preference-Applied`, where the actor has too many streams, sockets and waits. With `as_of` as it was then.")
    .query(&[AS_OF])
    .request_headers(&[PREFER])
    .if_none_match()
    .json::<TransactionResponse<'_>>(200, "The transaction as it is now.", EXAMPLE)
    .problems(&[Code::NotFound, Code::Gone, Code::InvalidParameter]);

pub(super) async fn show(request: RequestContext) -> Result<Reply, Problem> {
    if let Some(at) = request.as_of()? {
        let (actor, tx) = (request.actor().clone(), id(&request)?);
        let read = move |app: &Arc<App>| {
            written(&app.transaction_at(&actor, tx, at)?.ok_or(Code::Gone)?, false)
        };
        return read_reply::read(&request.api, request.actor(), read).await;
    }
    let (tx, tags) = (id(&request)?, input::if_none_match(&request.headers)?);
    let wait = input::prefer_wait(&request.headers).filter(|_| tags.is_some());
    let is_news =
        |view: &TxView| tags.as_ref().is_none_or(|tags| !tags.match_weakly(&tag(view).opaque()));
    let app = &request.api.app;
    let (view, wait) = match wait {
        None => (app.read_transaction(request.actor(), tx).await?, None),
        Some(wait) => {
            let (view, waited) = app.transaction_when(request.actor(), tx, wait, is_news).await?;
            (view, Some(wait).filter(|_| waited))
        }
    };
    let reply = match request.not_modified(tag(&view))? {
        Some(reply) => reply,
        None => written(&view, false)?,
    };
    let reply = match wait {
        None => reply,
        Some(wait) => {
            let applied = format!("wait={}", wait.as_secs());
            reply.with_text(input::PREFERENCE_APPLIED, &applied)
        }
    };
    read_reply::count(&request.api, request.actor(), reply).await
}

pub(super) const LIST: Operation = Operation::new(
    "listTransactions",
    "transactions",
    "The transactions that the actor may see, newest first",
)
.text(
    "A page looks at a bounded number of transactions and holds about a megabyte at most: it \
           may hold fewer than `limit`, even none, and still have a `next_cursor`. A filter on an \
           owner of whom the actor may see nothing finds nothing, as one on nobody does.",
)
.query(&[
    pagination::LIMIT,
    pagination::CURSOR,
    Parameter {
        name: "workflow",
        text: "Only of this workflow.",
        schema: SchemaGenerator::subschema_for::<WorkflowName>,
    },
    Parameter { name: "status", text: "Only with this status.", schema: status_schema },
    Parameter {
        name: "owner",
        text: "Only of this user.",
        schema: SchemaGenerator::subschema_for::<Username>,
    },
    Parameter {
        name: "reference",
        text: "Only with this reference.",
        schema: SchemaGenerator::subschema_for::<String>,
    },
    Parameter {
        name: "step",
        text: "Only those in which this step is open.",
        schema: SchemaGenerator::subschema_for::<StepName>,
    },
    Parameter { name: "inbox", text: "Only what waits for the actor.", schema: flag },
])
.json::<TransactionPage<'_>>(200, "A page of transactions.", "")
.problems(&[Code::InvalidInput]);

/// Message for a status that does not exist.
pub(super) fn statuses() -> String {
    format!("must be one of {}", TxStatus::ALL.map(TxStatus::as_str).join(", "))
}

fn status_schema(_: &mut SchemaGenerator) -> schemars::Schema {
    let names = TxStatus::ALL.map(TxStatus::as_str);
    schemars::json_schema!({ "type": "string", "enum": names })
}

pub(super) fn list(request: &RequestContext) -> Result<Reply, Problem> {
    fn read<T: std::str::FromStr>(
        request: &RequestContext,
        name: &'static str,
    ) -> Result<Option<T>, Problem> {
        let read = request.query.get(name).map(str::parse::<T>);
        read.transpose().map_err(|_| parameter(name, "is no such name"))
    }
    let status = request.query.get("status").map(|name| {
        let status = TxStatus::named(name);
        status.ok_or_else(|| parameter("status", &statuses()))
    });
    let filter = TxFilter {
        workflow: read(request, "workflow")?,
        status: status.transpose()?,
        owner: read(request, "owner")?,
        reference: request.query.get("reference").map(str::to_owned),
        step: read(request, "step")?,
        inbox: request.query.flag("inbox")?.unwrap_or(false),
    };
    let page = pagination::ask(request)?;
    let app = &request.api.app;
    let page = app.transactions(request.actor(), &filter, page)?;
    let after = |view: &TxView| app.tx_cursor(view.tx.id);
    let (items, next_cursor) =
        pagination::bounded(request, &page.items, page.next, after, TransactionResponse::new);
    Reply::json(&TransactionPage { items, next_cursor })
}

pub(super) const SUBMIT: Operation =
    Operation::new("submitStep", "transactions", "Submits an open step")
        .text(
            "The body is the step's input, by the schema in `open_steps`. What is refused changes \
           nothing, but for a wrong one-time code, whose attempt counts.",
        )
        .if_match()
        .idempotent()
        .body_of(Media::Json, any, r#"{"from":"alice:main","to":"bob:main","amount":"250.00"}"#)
        .body_optional()
        .json::<TransactionResponse<'_>>(200, "The transaction as it is now.", EXAMPLE)
        .etag()
        .problems(REFUSALS);

fn any(_: &mut SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!(true)
}

pub(super) fn submit(request: &RequestContext) -> Result<PreparedCommand, Problem> {
    let (tx, if_match) = (id(request)?, request.if_match()?);
    let step = request.parameters.at(1).into();
    let input = request.json_value()?;
    Ok(act(Command::Submit { tx, step, input, if_match }))
}

/// Describes a command on a transaction, which answers with the transaction after it.
pub(super) const fn command_operation(id: &'static str, summary: &'static str) -> Operation {
    Operation::new(id, "transactions", summary)
        .if_match()
        .idempotent()
        .json::<TransactionResponse<'_>>(200, "The transaction as it is now.", EXAMPLE)
        .etag()
}

pub(super) const CLAIM: Operation =
    command_operation("claimStep", "Claims an open step and its siblings for a time").problems(&[
        Code::NotFound,
        Code::NotAllowed,
        Code::StepNotOpen,
        Code::Claimed,
        Code::AlreadyCounted,
        Code::NotClaimable,
    ]);

pub(super) fn claim(request: &RequestContext) -> Result<PreparedCommand, Problem> {
    let (tx, step) = (id(request)?, request.parameters.at(1).into());
    Ok(act(Command::Claim { tx, step }))
}

pub(super) const RELEASE: Operation = command_operation("releaseStep", "Gives a claim up")
    .problems(&[Code::NotFound, Code::NotAllowed, Code::StepNotOpen, Code::Claimed]);

pub(super) fn release(request: &RequestContext) -> Result<PreparedCommand, Problem> {
    let (tx, step) = (id(request)?, request.parameters.at(1).into());
    Ok(act(Command::Release { tx, step }))
}

pub(super) const RESEND: Operation =
    command_operation("resendCode", "Sends a new one-time code; the one before is void").problems(
        &[
            Code::NotFound,
            Code::NotAllowed,
            Code::ChallengeNotOpen,
            Code::NoResendsLeft,
            Code::TooManyAttempts,
        ],
    );

pub(super) fn resend(request: &RequestContext) -> Result<PreparedCommand, Problem> {
    let (tx, challenge) = (id(request)?, request.parameters.at(1).into());
    Ok(act(Command::Resend { tx, challenge }))
}

pub(super) const CANCEL: Operation = Operation::new(
    "cancelTransaction",
    "transactions",
    "Cancels a transaction: what was done is undone, last first",
)
.text(
    "The answer is `cancelled` when all is undone, or `compensating` while more is left: more than \
           64 effects are undone in several commits, and calls to other services are waited for.",
)
.if_match()
.idempotent()
.body::<CancelRequest>(r#"{"reason":"ordered twice"}"#)
.body_optional()
.json::<TransactionResponse<'_>>(200, "The transaction as it is now.", EXAMPLE)
.etag()
.problems(&[
    Code::NotFound,
    Code::NotAllowed,
    Code::AlreadyEnded,
    Code::AlreadyCancelled,
    Code::PastPivot,
    Code::InvalidInput,
]);

pub(super) fn cancel(request: &RequestContext) -> Result<PreparedCommand, Problem> {
    let (tx, if_match) = (id(request)?, request.if_match()?);
    let CancelRequest { reason } = request.json()?;
    Ok(act(Command::Cancel { tx, reason, if_match }))
}

pub(super) const RETRY: Operation =
    command_operation("retryTransaction", "Retries the step of a stuck transaction").problems(&[
        Code::NotFound,
        Code::NotAllowed,
        Code::NotStuck,
    ]);

pub(super) fn retry(request: &RequestContext) -> Result<PreparedCommand, Problem> {
    let tx = id(request)?;
    Ok(act(Command::Repair { tx, repair: Repair::Retry }))
}

pub(super) const SKIP: Operation = command_operation(
    "skipStep",
    "Skips the step of a stuck transaction",
)
.text(
    "While the transaction is undone this leaves out all that is left of the step: the rest \
           of its `compensate` calls and effects is not undone either.",
)
.body::<SkipStepRequest>(r#"{"reason":"refunded by hand"}"#)
.problems(&[Code::NotFound, Code::NotAllowed, Code::NotStuck, Code::InvalidInput]);

pub(super) fn skip(request: &RequestContext) -> Result<PreparedCommand, Problem> {
    let tx = id(request)?;
    let SkipStepRequest { reason } = request.json()?;
    if reason.is_empty() || reason.len() > crate::engine::REASON_BYTES_MAX {
        let message = format!("must have 1 to {} bytes", crate::engine::REASON_BYTES_MAX);
        return Err(Problem::field("/reason", "out-of-range", message));
    }
    Ok(act(Command::Repair { tx, repair: Repair::Skip { reason } }))
}

pub(super) const CODES: Operation =
    Operation::new("getCodes", "development", "The one-time codes that a transaction waits for")
        .text("Only with `--dev`.")
        .json_of(200, "By the challenge's name.", object, r#"{"otp":"123456"}"#)
        .problems(&[Code::NotFound]);

pub(super) fn codes(request: &RequestContext) -> Result<Reply, Problem> {
    let codes = request.api.app.codes(request.actor(), id(request)?)?;
    let codes: Map<String, Value> =
        codes.into_iter().map(|(id, code)| (id.to_string(), json!(code))).collect();
    Reply::json(&codes)
}
