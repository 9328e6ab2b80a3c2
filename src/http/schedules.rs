//! `/v1/schedules`: transactions that the calendar starts.

use http::{StatusCode, header};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::operation::Operation;
use super::pagination;
use super::problem::{Code, Problem};
use super::reply::Reply;
use super::request_context::{RequestContext, unexpected};
use crate::engine::{
    CatchUp, Command, Firing, Outcome, Overlap, RecordKey, Refusal, Schedule, ScheduleAsk,
    ScheduleOwner,
};
use crate::types::{ScheduleId, Time, TxId, Username, WorkflowName};

/// A schedule to make.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct CreateScheduleRequest {
    /// The workflow that is started.
    workflow: WorkflowName,
    /// When: minute, hour, day of month, month, day of week, as the description says.
    #[schemars(length(max = 256))]
    cron: String,
    /// By the calendar of this time zone; `null`: UTC.
    #[serde(default)]
    #[schemars(length(max = 64))]
    zone: Option<String>,
    /// The input of each start.
    #[serde(default)]
    #[schemars(with = "Option<Map<String, Value>>")]
    input: Option<Map<String, Value>>,
    /// The owner of the transactions; `null`: the caller.
    #[serde(default)]
    owner: Option<Username>,
    /// Behaviour when the last transaction is still open: `skip` (default), `queue` or `allow`.
    #[serde(default)]
    #[schemars(with = "Option<String>", extend("enum" = ["skip", "queue", "allow", null]))]
    overlap: Option<Overlap>,
    /// Handling of times that passed while the server was down: `none`, `one` (default: a single
    /// start for all of them) or `all` (one start for each that is not older than a day).
    #[serde(default)]
    #[schemars(with = "Option<String>", extend("enum" = ["none", "one", "all", null]))]
    catch_up: Option<CatchUp>,
}

/// Result of the last time.
#[derive(Serialize, JsonSchema)]
struct ScheduleFiring<'a> {
    /// Time of the run.
    at: Time,
    /// The transaction that was started.
    transaction: Option<TxId>,
    /// `skipped`, `queued`, `missed`, `invalid-cron` (it is from a version that knew more of it),
    /// or the code of the refusal; `null`: it was started.
    reason: Option<&'a str>,
}

/// A schedule.
#[derive(Serialize, JsonSchema)]
pub(super) struct ScheduleResponse<'a> {
    /// Its id.
    id: ScheduleId,
    /// The workflow that is started.
    workflow: &'a WorkflowName,
    /// Its times, as a cron expression.
    cron: &'a str,
    /// By the calendar of this time zone.
    zone: &'a str,
    /// The input of each start.
    input: &'a Map<String, Value>,
    /// The owner of the transactions.
    owner: String,
    /// Behaviour when the last transaction is still open.
    #[schemars(with = "String")]
    overlap: Overlap,
    /// Behaviour for times that passed while the server was down.
    #[schemars(with = "String")]
    catch_up: CatchUp,
    /// The next time.
    next_at: Option<Time>,
    /// Result of the last time.
    last: Option<ScheduleFiring<'a>>,
    /// Number of starts that wait for the end of the last transaction.
    queued: u32,
    /// When it was made.
    created_at: Time,
}

/// A page of schedules.
#[derive(Serialize, JsonSchema)]
pub(super) struct SchedulePage<'a> {
    /// Newest first.
    items: Vec<ScheduleResponse<'a>>,
    /// The `cursor` of the next page; `null`: nothing is left.
    next_cursor: Option<String>,
}

impl<'a> ScheduleResponse<'a> {
    fn new(schedule: &'a Schedule) -> Self {
        let firing = |firing: &'a Firing| ScheduleFiring {
            at: firing.at,
            transaction: firing.started,
            reason: firing.why_not.as_deref(),
        };
        Self {
            id: schedule.id,
            workflow: &schedule.workflow,
            cron: &schedule.cron,
            zone: &schedule.zone,
            input: &schedule.input,
            owner: match &schedule.owner {
                ScheduleOwner::User(name) => name.to_string(),
                ScheduleOwner::Key(id) => id.to_string(),
            },
            overlap: schedule.overlap,
            catch_up: schedule.catch_up,
            next_at: schedule.next_at,
            last: schedule.last.as_ref().map(firing),
            queued: schedule.queued,
            created_at: schedule.created_at,
        }
    }
}

const CREATE_TEXT: &str = "Each time counts once, over restarts too. `cron` has five fields: \
    minute (0-59), hour (0-23), day of month (1-31, or `L`, the last), month (1-12 or JAN-DEC), day \
    of week (0-7 or SUN-SAT; 0 and 7 are Sunday; `5L` the last Friday of the month, `FRI#2` the \
    second). Each field is `*`, a number, a range `1-5`, any of these with a step (`*/15`, `1-10/3`, \
    `5/10`: from 5 on), or a list of them with commas. Where neither day field begins with `*`, a \
    day counts that matches one of them; otherwise both must match. Anything else is refused, with \
    the name of the field. In nights in which the clocks change, the rules are those of Vixie \
    cron. An expression whose minute or hour begins with `*` follows the wall clock: a \
    skipped time does not run, and an hour that comes twice runs twice. Otherwise the expression \
    names fixed times, each of which runs once: a time skipped by daylight saving runs right after \
    the change (several of them a millisecond apart), and of an hour that comes twice the first \
    counts.";

pub(super) const CREATE: Operation = Operation::new(
    "createSchedule",
    "schedules",
    "Starts transactions of a workflow by the calendar",
)
.text(CREATE_TEXT)
.idempotent()
.body::<CreateScheduleRequest>(
    r#"{"workflow":"report","cron":"0 6 * * MON","zone":"Europe/Berlin","overlap":"skip"}"#,
)
.json::<ScheduleResponse<'_>>(201, "The schedule.", "")
.with(&["Location"])
.problems(&[Code::NotFound, Code::InvalidInput, Code::WorkflowRetired, Code::LimitReached]);

pub(super) async fn create(request: RequestContext) -> Result<Reply, Problem> {
    let CreateScheduleRequest { workflow, cron, zone, input, owner, overlap, catch_up } =
        request.json()?;
    let ask = ScheduleAsk {
        workflow,
        cron,
        zone: zone.unwrap_or_else(|| "UTC".to_owned()),
        input: input.unwrap_or_default(),
        owner,
        overlap: overlap.unwrap_or_default(),
        catch_up: catch_up.unwrap_or_default(),
    };
    let write = |outcome: &Outcome, _| match outcome {
        Outcome::Schedule(schedule) => {
            let location = format!("/v1/schedules/{}", schedule.id);
            let reply = Reply::json(&ScheduleResponse::new(schedule))?.status(StatusCode::CREATED);
            Ok(reply.with_text(header::LOCATION, &location))
        }
        other => Err(unexpected(other)),
    };
    Ok(request.execute(Command::CreateSchedule(Box::new(ask)), write).await)
}

fn id(request: &RequestContext) -> Result<ScheduleId, Problem> {
    let id = request.parameters.at(0).parse();
    id.map_err(|_| Problem::from(Refusal::NotFound("schedule")))
}

pub(super) const SHOW: Operation = Operation::new("getSchedule", "schedules", "A schedule")
    .if_none_match()
    .json::<ScheduleResponse<'_>>(200, "The schedule.", "")
    .problems(&[Code::NotFound]);

pub(super) fn show(request: &RequestContext) -> Result<Reply, Problem> {
    let id = id(request)?;
    let revision = request.api.app.revision_of(&RecordKey::Schedule(id));
    let reply = Reply::json(&ScheduleResponse::new(&request.api.app.schedule(id)?))?;
    request.shown_at(revision?, reply)
}

pub(super) const LIST: Operation =
    Operation::new("listSchedules", "schedules", "The schedules, newest first")
        .query(pagination::PARAMETERS)
        .json::<SchedulePage<'_>>(200, "A page of schedules.", "")
        .problems(&[Code::InvalidInput]);

pub(super) fn list(request: &RequestContext) -> Result<Reply, Problem> {
    let page = request.api.app.schedules(pagination::ask(request)?)?;
    let after = |schedule: &Schedule| schedule.id;
    let (items, next_cursor) =
        pagination::bounded(request, &page.items, page.next, after, ScheduleResponse::new);
    Reply::json(&SchedulePage { items, next_cursor })
}

pub(super) const DELETE: Operation = Operation::new(
    "deleteSchedule",
    "schedules",
    "Deletes a schedule; transactions that it has started go on",
)
.if_match()
.idempotent()
.empty(204, "It starts nothing more.")
.problems(&[Code::NotFound]);

pub(super) async fn delete(request: RequestContext) -> Result<Reply, Problem> {
    let id = id(&request)?;
    Ok(request.execute_quietly(Command::DeleteSchedule { id }).await)
}
