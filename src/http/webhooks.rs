//! `/v1/webhooks`: other services that receive events.

use http::{StatusCode, header};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::json_text::RawJson;
use super::operation::Operation;
use super::pagination;
use super::problem::{Code, Problem};
use super::reply::Reply;
use super::request_context::{RequestContext, unexpected};
use crate::engine::{Command, Outcome, RecordKey, Refusal, Replay, Webhook, WebhookAsk};
use crate::outbound::{EgressPolicy, ServerAddress};
use crate::types::{Time, WebhookId};

/// A subscription to make.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct CreateWebhookRequest {
    /// The URL that events are posted to; the setting `egress` must allow it.
    #[schemars(length(max = 2048), regex(pattern = "^https?://"))]
    url: String,
    /// The types of events: whole like `order.paid`, or with `*` at the end.
    #[schemars(length(min = 1, max = 32))]
    #[schemars(inner(length(min = 1, max = 128), regex(pattern = r"^[A-Za-z0-9._-]*\*?$")))]
    types: Vec<String>,
}

/// A subscription.
#[derive(Serialize, JsonSchema)]
pub(super) struct WebhookResponse<'a> {
    /// Its id.
    id: WebhookId,
    /// The URL that events are posted to.
    url: &'a str,
    /// The types of events.
    types: &'a [String],
    /// `active`, `failing` or `stopped`: the receiver answered 410, or too many events could not
    /// be delivered.
    status: &'static str,
    /// Failure of the last attempt.
    error: Option<&'a str>,
    /// The last event that was delivered or passed over.
    after: &'a str,
    /// Number of transactions with undelivered events.
    lagging_transactions: usize,
    /// Number of delivered events.
    delivered: u64,
    /// Number of events that could not be delivered and are kept.
    dead: usize,
    /// Time until which the key before the last one signs too.
    old_key_until: Option<Time>,
    /// When it was made.
    created_at: Time,
    /// The key that signs, for this answer alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(default)]
    secret: Option<String>,
}

/// The subscriptions.
#[derive(Serialize, JsonSchema)]
pub(super) struct WebhookPage<'a> {
    /// Oldest first.
    items: Vec<WebhookResponse<'a>>,
    /// There are few: all are on this page.
    next_cursor: Option<String>,
}

/// An event that could not be delivered.
#[derive(Serialize, JsonSchema)]
struct DeadLetterEntry<'a> {
    /// Its number.
    number: u64,
    /// The event.
    #[schemars(with = "Value")]
    event: RawJson<'a>,
    /// Failure of the last attempt.
    error: &'a str,
    /// When it was given up.
    at: Time,
    /// True if it is to be sent again.
    replay: bool,
}

/// A page of events that could not be delivered.
#[derive(Serialize, JsonSchema)]
pub(super) struct DeadLetterPage<'a> {
    /// Oldest first.
    items: Vec<DeadLetterEntry<'a>>,
    /// The `cursor` of the next page; `null`: nothing is left.
    next_cursor: Option<String>,
}

impl<'a> WebhookResponse<'a> {
    fn new(webhook: &'a Webhook, secret: Option<String>) -> Self {
        Self {
            id: webhook.id,
            url: &webhook.url,
            types: &webhook.types,
            status: match (webhook.stopped, &webhook.error) {
                (true, _) => "stopped",
                (false, Some(_)) => "failing",
                (false, None) => "active",
            },
            error: webhook.error.as_deref(),
            after: &webhook.after,
            lagging_transactions: webhook.lags.len(),
            delivered: webhook.told,
            dead: webhook.dead.len(),
            old_key_until: webhook.old_key_until,
            created_at: webhook.created_at,
            secret,
        }
    }
}

pub(super) const CREATE: Operation = Operation::new(
    "createWebhook",
    "webhooks",
    "Subscribes a URL to events",
)
.text(
    "Each event that happens from now on is one POST of a CloudEvent (1.0), signed as \
           Standard Webhooks 1.0 says. Events of one transaction arrive in order, and so do those \
           that belong to none; those of different transactions are delivered in parallel. An \
           event may arrive more than once, with the same `webhook-id`. An event that is not \
           answered with a 2xx is sent again with growing waits for about a day; then it becomes \
           a dead letter. A receiver that answers 410 gets no more events.",
)
.body::<CreateWebhookRequest>(
    r#"{"url":"https://shop.example/events","types":["order.*","abide.transaction.ended"]}"#,
)
.json::<WebhookResponse<'_>>(201, "The subscription with its key, which is shown this once.", "")
.with(&["Location"])
.problems(&[Code::InvalidInput, Code::LimitReached]);

async fn with_secret(request: RequestContext, command: Command, status: StatusCode) -> Reply {
    let app = std::sync::Arc::clone(&request.api.app);
    let write = move |outcome: &Outcome, _| match outcome {
        Outcome::Webhook(webhook) => {
            let key = app.webhook_key(webhook.id, webhook.generation);
            let reply = Reply::json(&WebhookResponse::new(webhook, Some(key.to_standard())))?
                .status(status);
            let location = format!("/v1/webhooks/{}", webhook.id);
            Ok(reply.with_text(header::LOCATION, &location))
        }
        other => Err(unexpected(other)),
    };
    request.execute(command, write).await
}

pub(super) async fn create(request: RequestContext) -> Result<Reply, Problem> {
    let CreateWebhookRequest { url, types } = request.json()?;
    check_url(&url, &request.api.settings.egress)?;
    let command = Command::CreateWebhook(WebhookAsk { url, types });
    Ok(with_secret(request, command, StatusCode::CREATED).await)
}

/// Refuses a URL to which no event could ever be delivered.
fn check_url(url: &str, egress: &EgressPolicy) -> Result<(), Problem> {
    let address = url.parse::<http::Uri>().ok().and_then(|uri| ServerAddress::of(&uri).ok());
    let Some(address) = address else {
        return Err(Problem::field(
            "/url",
            "invalid-value",
            "must be an address with http or https",
        ));
    };
    egress.must_allow(&address).map_err(|error| {
        let message =
            format!("{error}; have an administrator add the server to the setting `egress`");
        Problem::field("/url", "not-allowed", message)
    })
}

fn id(request: &RequestContext) -> Result<WebhookId, Problem> {
    let id = request.parameters.at(0).parse();
    id.map_err(|_| Problem::from(Refusal::NotFound("webhook")))
}

pub(super) const SHOW: Operation =
    Operation::new("getWebhook", "webhooks", "A subscription and its state")
        .if_none_match()
        .json::<WebhookResponse<'_>>(200, "The subscription.", "")
        .problems(&[Code::NotFound]);

pub(super) fn show(request: &RequestContext) -> Result<Reply, Problem> {
    let id = id(request)?;
    let revision = request.api.app.revision_of(&RecordKey::Webhook(id));
    let reply = Reply::json(&WebhookResponse::new(&request.api.app.webhook(id)?, None))?;
    request.shown_at(revision?, reply)
}

pub(super) const LIST: Operation = Operation::new("listWebhooks", "webhooks", "All subscriptions")
    .json::<WebhookPage<'_>>(200, "The subscriptions.", "");

pub(super) fn list(request: &RequestContext) -> Result<Reply, Problem> {
    let webhooks = request.api.app.webhooks()?;
    let items = webhooks.iter().map(|webhook| WebhookResponse::new(webhook, None)).collect();
    Reply::json(&WebhookPage { items, next_cursor: None })
}

pub(super) const ROTATE: Operation = Operation::new(
    "rotateWebhookKey",
    "webhooks",
    "Gives a subscription a new key; for a day the old one signs too",
)
.if_match()
.json::<WebhookResponse<'_>>(200, "The subscription with its key, which is shown this once.", "")
.problems(&[Code::NotFound]);

pub(super) async fn rotate(request: RequestContext) -> Result<Reply, Problem> {
    let id = id(&request)?;
    Ok(with_secret(request, Command::RotateWebhook { id }, StatusCode::OK).await)
}

pub(super) const DELETE: Operation =
    Operation::new("deleteWebhook", "webhooks", "Deletes a subscription")
        .if_match()
        .idempotent()
        .empty(204, "No more events are sent.")
        .problems(&[Code::NotFound]);

pub(super) async fn delete(request: RequestContext) -> Result<Reply, Problem> {
    let id = id(&request)?;
    Ok(request.execute_quietly(Command::DeleteWebhook { id }).await)
}

pub(super) const LETTERS: Operation = Operation::new(
    "listDeadLetters",
    "webhooks",
    "The events that could not be delivered to a subscription, oldest first",
)
.query(pagination::PARAMETERS)
.json::<DeadLetterPage<'_>>(200, "A page of them.", "")
.problems(&[Code::NotFound, Code::InvalidInput]);

pub(super) fn letters(request: &RequestContext) -> Result<Reply, Problem> {
    let after = pagination::after(request)?;
    let limit = request.query.limit()?;
    let webhook = request.api.app.webhook(id(request)?)?;
    let (letters, more) = request.api.app.dead_letters(webhook.id, limit, after.unwrap_or(0))?;
    let next = letters.last().filter(|_| more).map(|letter| letter.number);
    let (items, next_cursor) = pagination::bounded(
        request,
        &letters,
        next,
        |letter| letter.number,
        |letter| DeadLetterEntry {
            number: letter.number,
            event: RawJson(&letter.body),
            error: &letter.error,
            at: letter.at,
            replay: webhook.replays(letter),
        },
    );
    Reply::json(&DeadLetterPage { items, next_cursor })
}

/// Describes a command that restarts a subscription.
const fn restart_operation(id: &'static str, summary: &'static str) -> Operation {
    Operation::new(id, "webhooks", summary).if_match().idempotent().problems(&[Code::NotFound])
}

pub(super) const REPLAY: Operation = restart_operation(
    "replayDeadLetter",
    "Sends an event again, and restarts a subscription that has stopped",
)
.empty(204, "It is sent again.");

pub(super) async fn replay(request: RequestContext) -> Result<Reply, Problem> {
    let id = id(&request)?;
    let number = request.parameters.at(1).parse();
    let number = number.map_err(|_| Problem::from(Refusal::NotFound("dead letter")))?;
    let what = Replay::Letter(number);
    Ok(request.execute_quietly(Command::ReplayDeadLetter { id, what }).await)
}

pub(super) const REPLAY_ALL: Operation = restart_operation(
    "replayDeadLetters",
    "Sends all dead letters again, and restarts a subscription that has stopped",
)
.text(
    "Meant are those that are there now. One that is given up once more is a dead letter as \
           before.",
)
.empty(204, "They are sent again.");

pub(super) async fn replay_all(request: RequestContext) -> Result<Reply, Problem> {
    let (id, what) = (id(&request)?, Replay::Letters);
    Ok(request.execute_quietly(Command::ReplayDeadLetter { id, what }).await)
}

pub(super) const RESUME: Operation =
    restart_operation("resumeWebhook", "Restarts a subscription that has stopped, where it was")
        .text(
            "What could not be delivered stays a dead letter, and too many of them stop it again.",
        )
        .empty(204, "It goes on.");

pub(super) async fn resume(request: RequestContext) -> Result<Reply, Problem> {
    let (id, what) = (id(&request)?, Replay::Nothing);
    Ok(request.execute_quietly(Command::ReplayDeadLetter { id, what }).await)
}
