//! `/v1/transactions/bulk`: jobs that apply one action to many transactions, and their progress.

use std::collections::BTreeMap;

use http::{StatusCode, header};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::operation::Operation;
use super::problem::{Code, Problem};
use super::reply::Reply;
use super::request_context::{RequestContext, unexpected};
use super::schemas::maybe_status;
use super::strict_json;
use super::transactions::statuses;
use crate::engine::{
    BulkAction, BulkAsk, BulkFilter, Command, Job, Outcome, REASON_BYTES_MAX, Refusal, TxStatus,
};
use crate::types::{JobId, StepName, Time, TxId, Username, WorkflowName};

/// Actions of a bulk job.
const ACTIONS: [&str; 5] = ["retry", "cancel", "pause", "resume", "migrate"];

fn action_schema(generator: &mut SchemaGenerator) -> Schema {
    let with = |names: &[&str], more: Value| {
        let mut properties = Map::from_iter([("type".to_owned(), json!({ "enum": names }))]);
        properties.extend(more.as_object().cloned().unwrap_or_default());
        json!({ "type": "object", "properties": properties, "required": ["type"], "additionalProperties": false })
    };
    let version = generator.subschema_for::<Option<u32>>();
    let steps = generator.subschema_for::<BTreeMap<StepName, StepName>>();
    json_schema!({ "oneOf": [
        { "enum": ACTIONS },
        with(&["retry", "pause", "resume"], Value::Null),
        with(&["cancel"], json!({ "reason": { "type": ["string", "null"], "maxLength": REASON_BYTES_MAX } })),
        with(&["migrate"], json!({ "version": version, "steps": steps })),
    ] })
}

/// Transactions that the job applies to; an absent field matches all.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct BulkRequestFilter {
    /// Transactions of this workflow.
    #[serde(default)]
    workflow: Option<WorkflowName>,
    /// In this version of it.
    #[serde(default)]
    version: Option<u32>,
    /// With this status.
    #[serde(default)]
    #[schemars(schema_with = "maybe_status")]
    status: Option<String>,
    /// Transactions of this user.
    #[serde(default)]
    owner: Option<Username>,
    /// In which this step is open.
    #[serde(default)]
    step: Option<StepName>,
}

/// Action of a bulk job, with its parameters.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BulkRequestAction {
    /// `retry`, `cancel`, `pause`, `resume` or `migrate`.
    r#type: String,
    /// For `cancel`: the reason.
    #[serde(default)]
    reason: Option<String>,
    /// For `migrate`: the target version; `null`: the latest.
    #[serde(default)]
    version: Option<u32>,
    /// For `migrate`: new names of steps, by their present names.
    #[serde(default)]
    steps: BTreeMap<StepName, StepName>,
}

/// Start of a bulk job.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct BulkRequest {
    /// Transactions that the job applies to.
    filter: BulkRequestFilter,
    /// Action of the job: a word, or an object with the word as its `type`.
    #[schemars(schema_with = "action_schema")]
    action: Value,
    /// True if the job only counts.
    #[serde(default)]
    dry_run: bool,
}

/// A transaction to which the action could not be applied.
#[derive(Serialize, JsonSchema)]
struct BulkJobFailure<'a> {
    /// Id of the transaction.
    transaction: TxId,
    /// The refusal's code.
    code: &'a str,
    /// The refusal in words.
    message: &'a str,
}

/// A bulk job.
#[derive(Serialize, JsonSchema)]
pub(super) struct BulkJobResponse<'a> {
    /// Its id.
    id: JobId,
    /// `running` or `done`.
    status: &'static str,
    /// True if the job only counts and changes nothing.
    dry_run: bool,
    /// Action of the job.
    #[schemars(with = "Map<String, Value>")]
    action: &'a BulkAction,
    /// Transactions that the job applies to.
    #[schemars(with = "Map<String, Value>")]
    filter: &'a BulkFilter,
    /// Actor that started the job.
    by: &'a str,
    /// Number of transactions that were examined.
    examined: u64,
    /// Number of examined transactions that match the filter.
    matched: u64,
    /// Number of matching transactions that were skipped since they had ended; no failure.
    skipped: u64,
    /// Number of transactions to which the action was applied, or could be in a dry run.
    done: u64,
    /// Number of transactions to which the action could not be applied.
    failed: u64,
    /// The first of those transactions.
    failures: Vec<BulkJobFailure<'a>>,
    /// When it began.
    started_at: Time,
    /// When it ended.
    ended_at: Option<Time>,
}

impl<'a> BulkJobResponse<'a> {
    fn new(job: &'a Job) -> Self {
        let failures = job.failures.iter().map(|failure| BulkJobFailure {
            transaction: failure.transaction,
            code: &failure.code,
            message: &failure.message,
        });
        Self {
            id: job.id,
            status: if job.ended_at.is_some() { "done" } else { "running" },
            dry_run: job.dry_run,
            action: &job.action,
            filter: &job.filter,
            by: &job.by,
            examined: job.examined,
            matched: job.matched,
            skipped: job.skipped,
            done: job.done,
            failed: job.failed,
            failures: failures.collect(),
            started_at: job.started_at,
            ended_at: job.ended_at,
        }
    }
}

pub(super) const BEGIN: Operation = Operation::new(
    "bulkTransactions",
    "bulk",
    "Runs an action on all transactions that match a filter",
)
.text(
    "It goes on by itself, in slices, and over restarts; GET tells how far it is. \
           Transactions that are started later are left alone; those that have ended are counted \
           as `skipped`. With `dry_run` it is tried on each, \
           and nothing is changed.",
)
.idempotent()
.body::<BulkRequest>(
    r#"{"filter":{"workflow":"order","status":"stuck"},"action":"retry","dry_run":true}"#,
)
.json::<BulkJobResponse<'_>>(202, "It has begun.", "")
.with(&["Location"])
.problems(&[Code::InvalidInput]);

fn action(value: Value) -> Result<BulkAction, Problem> {
    let act: BulkRequestAction = match value {
        Value::String(name) => {
            BulkRequestAction { r#type: name, reason: None, version: None, steps: BTreeMap::new() }
        }
        other @ Value::Object(_) => strict_json::read_field("action", other)?,
        _ => {
            let message = "must be a word, or an object with it as its `type`";
            return Err(Problem::field("/action", "wrong-type", message));
        }
    };
    let BulkRequestAction { r#type, reason, version, steps } = act;
    let migrates = version.is_some() || !steps.is_empty();
    match r#type.as_str() {
        "cancel" | "migrate" => {}
        _ if reason.is_some() || migrates => {
            let message = "this action takes nothing beside its `type`";
            return Err(Problem::field("/action", "unknown-field", message));
        }
        _ => {}
    }
    Ok(match r#type.as_str() {
        "retry" => BulkAction::Retry,
        "cancel" if !migrates => {
            if reason.as_ref().is_some_and(|reason| reason.len() > REASON_BYTES_MAX) {
                let message = format!("must have at most {REASON_BYTES_MAX} bytes");
                return Err(Problem::field("/action/reason", "too-long", message));
            }
            BulkAction::Cancel { reason }
        }
        "pause" => BulkAction::Pause,
        "resume" => BulkAction::Resume,
        "migrate" if reason.is_none() => BulkAction::Migrate { version, steps },
        "cancel" | "migrate" => {
            let message = "`reason` belongs to cancel, `version` and `steps` to migrate";
            return Err(Problem::field("/action", "unknown-field", message));
        }
        _ => {
            let message = "must be retry, cancel, pause, resume or migrate";
            return Err(Problem::field("/action", "invalid-value", message));
        }
    })
}

pub(super) async fn begin(request: RequestContext) -> Result<Reply, Problem> {
    let BulkRequest { filter, action: act, dry_run } = request.json()?;
    let BulkRequestFilter { workflow, version, status, owner, step } = filter;
    if status.as_deref().is_some_and(|status| TxStatus::named(status).is_none()) {
        return Err(Problem::field("/filter/status", "invalid-value", statuses()));
    }
    let filter = BulkFilter { workflow, version, status, owner, step };
    let ask = BulkAsk { filter, action: action(act)?, dry_run };
    let write = |outcome: &Outcome, _| match outcome {
        Outcome::Job(job) => {
            let location = format!("/v1/transactions/bulk/{}", job.id);
            let reply = Reply::json(&BulkJobResponse::new(job))?.status(StatusCode::ACCEPTED);
            Ok(reply.with_text(header::LOCATION, &location))
        }
        other => Err(unexpected(other)),
    };
    Ok(request.execute(Command::Bulk(Box::new(ask)), write).await)
}

pub(super) const SHOW: Operation =
    Operation::new("getBulkJob", "bulk", "Progress of an action on many transactions")
        .json::<BulkJobResponse<'_>>(200, "It as it is now; for a week after its end.", "")
        .problems(&[Code::NotFound]);

pub(super) fn show(request: &RequestContext) -> Result<Reply, Problem> {
    let id = request.parameters.at(0).parse();
    let id = id.map_err(|_| Problem::from(Refusal::NotFound("job")))?;
    Reply::json(&BulkJobResponse::new(&request.api.app.job(request.actor(), id)?))
}
