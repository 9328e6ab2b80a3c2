//! `/v1/inbox`: work that is claimed from a queue.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::operation::Operation;
use super::problem::{Code, Problem};
use super::reply::Reply;
use super::request_context::{RequestContext, unexpected};
use super::schemas::some_span;
use super::transactions::TransactionResponse;
use crate::engine::{Command, Outcome, QueueAsk};
use crate::types::{Span, StepName, WorkflowName};

/// Claim of work from a queue.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ClaimWorkRequest {
    /// The workflow.
    workflow: WorkflowName,
    /// Its step.
    step: StepName,
    /// Maximum number of transactions; default 1.
    #[serde(default)]
    #[schemars(range(min = 1, max = 50))]
    limit: Option<usize>,
    /// Duration of the claim; default and maximum: the step's `claim`.
    #[serde(default)]
    #[schemars(schema_with = "some_span")]
    r#for: Option<Span>,
}

/// Claimed transactions.
#[derive(Serialize, JsonSchema)]
pub(super) struct ClaimedWorkResponse<'a> {
    /// Those that waited longest come first; none: nothing waits.
    items: Vec<TransactionResponse<'a>>,
}

pub(super) const CLAIM: Operation = Operation::new(
    "claimWork",
    "transactions",
    "Claims transactions in which a step waits, the oldest first",
)
.text(
    "A work queue: each waiting step goes to one worker. A claim expires by itself; then \
           the step can be claimed again. One call examines a bounded number of transactions and \
           returns a bounded number of bytes, so it may return fewer than `limit`, even none, \
           while more wait; the next call continues where it stopped.",
)
.idempotent()
.body::<ClaimWorkRequest>(r#"{"workflow":"order","step":"pack","limit":10,"for":"5m"}"#)
.json::<ClaimedWorkResponse<'_>>(200, "What was claimed.", "")
.problems(&[Code::NotFound, Code::InvalidInput, Code::NotClaimable, Code::TooLarge]);

pub(super) async fn claim(request: RequestContext) -> Result<Reply, Problem> {
    let ClaimWorkRequest { workflow, step, limit, r#for } = request.json()?;
    let (limit, candidates) = (limit.unwrap_or(1), Vec::new());
    let mut ask = QueueAsk { workflow, step, limit, span: r#for, candidates };
    // The search for candidates runs here, so that the executor examines only the few found.
    let (app, actor, asked) = (Arc::clone(&request.api.app), request.actor().clone(), ask.clone());
    let look = move || app.claimable(&actor, &asked);
    ask.candidates = request.api.app.reads().run(request.actor(), look).await??;
    let write = |outcome: &Outcome, _| match outcome {
        Outcome::Claimed { views } => Reply::json(&ClaimedWorkResponse {
            items: views.iter().map(TransactionResponse::new).collect(),
        }),
        other => Err(unexpected(other)),
    };
    Ok(request.execute(Command::ClaimQueued(ask), write).await)
}
