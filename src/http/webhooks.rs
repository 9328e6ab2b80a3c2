//! `/v1/webhooks`: other services that are told of events.

use http::{StatusCode, header};
use schemars::{JsonSchema, SchemaGenerator};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::call::{Call, unexpected};
use super::input::Media;
use super::lists;
use super::problem::{Code, Problem};
use super::reply::Reply;
use super::route::{AnswerDoc, Body, Condition, Doc};
use super::transcode::Text;
use super::users;
use crate::engine::{Command, Outcome, RecordKey, Refusal, Replay, Webhook, WebhookAsk};
use crate::types::{Time, WebhookId};

/// A subscription to make.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Create {
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
#[schemars(rename = "Webhook")]
pub(super) struct Shown<'a> {
    /// Its id.
    id: WebhookId,
    /// The URL that events are posted to.
    url: &'a str,
    /// The types of events.
    types: &'a [String],
    /// `active`, `failing` or `stopped`: the receiver answered 410, or too many events could not
    /// be delivered.
    status: &'static str,
    /// Why the last attempt failed.
    error: Option<&'a str>,
    /// The last event that was delivered or passed over.
    after: &'a str,
    /// Number of transactions with undelivered events.
    lagging: usize,
    /// Number of delivered events.
    told: u64,
    /// Number of events that could not be delivered and are kept.
    dead: usize,
    /// Until when the key before the last one signs too.
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
#[schemars(rename = "Webhooks")]
pub(super) struct Page<'a> {
    /// Oldest first.
    items: Vec<Shown<'a>>,
    /// There are few: all are on this page.
    next_cursor: Option<String>,
}

/// An event that could not be delivered.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "DeadLetter")]
struct ShownLetter<'a> {
    /// Its number.
    number: u64,
    /// The event.
    #[schemars(with = "Value")]
    event: Text<'a>,
    /// What the last attempt met.
    error: &'a str,
    /// When it was given up.
    at: Time,
    /// Whether it is to be sent again.
    replay: bool,
}

/// A page of events that could not be delivered.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "DeadLetters")]
pub(super) struct Letters<'a> {
    /// Oldest first.
    items: Vec<ShownLetter<'a>>,
    /// The `cursor` of the next page; `null`: nothing is left.
    next_cursor: Option<String>,
}

impl<'a> Shown<'a> {
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
            lagging: webhook.lags.len(),
            told: webhook.told,
            dead: webhook.dead.len(),
            old_key_until: webhook.old_key_until,
            created_at: webhook.created_at,
            secret,
        }
    }
}

const WITH_SECRET: AnswerDoc = AnswerDoc::json(
    201,
    "The subscription with its key, which is shown this once.",
    SchemaGenerator::subschema_for::<Shown<'_>>,
    "",
);

const WITHOUT: AnswerDoc =
    AnswerDoc::json(200, "The subscription.", SchemaGenerator::subschema_for::<Shown<'_>>, "");

pub(super) const CREATE: Doc = Doc {
    id: "createWebhook",
    tag: "webhooks",
    summary: "Subscribes a URL to events",
    text: "Each event that happens from now on is one POST of a CloudEvent (1.0), signed as \
           Standard Webhooks 1.0 says. Events of one transaction arrive in order, and so do those \
           that belong to none; those of different transactions are delivered in parallel. An \
           event may arrive more than once, with the same `webhook-id`. An event that is not \
           answered with a 2xx is sent again with growing waits for about a day; then it becomes \
           a dead letter. A receiver that answers 410 gets no more events.",
    body: Some(Body {
        content: &[(Media::Json, SchemaGenerator::subschema_for::<Create>)],
        example: r#"{"url":"https://shop.example/events","types":["order.*","abide.transaction.ended"]}"#,
    }),
    answers: &[WITH_SECRET.with(&["Location"])],
    problems: &[Code::InvalidInput, Code::LimitReached],
    ..Doc::PLAIN
};

async fn with_secret(call: Call, command: Command, status: StatusCode) -> Reply {
    let app = std::sync::Arc::clone(&call.api.app);
    let write = move |outcome: &Outcome, _| match outcome {
        Outcome::Webhook(webhook) => {
            let key = app.webhook_key(webhook.id, webhook.generation);
            let reply = Reply::json(&Shown::new(webhook, Some(key.to_standard())))?.status(status);
            let location = format!("/v1/webhooks/{}", webhook.id);
            Ok(reply.with_text(header::LOCATION, &location))
        }
        other => Err(unexpected(other)),
    };
    call.execute(command, write).await
}

pub(super) async fn create(call: Call) -> Result<Reply, Problem> {
    let Create { url, types } = call.json()?;
    // What cannot be asked would be a subscription that fails for ever.
    let address = url.parse::<http::Uri>();
    if !address.is_ok_and(|address| address.host().is_some_and(|host| !host.is_empty())) {
        return Err(Problem::field(
            "/url",
            "invalid-value",
            "must be an address with http or https",
        ));
    }
    let command = Command::CreateWebhook(WebhookAsk { url, types });
    Ok(with_secret(call, command, StatusCode::CREATED).await)
}

fn id(call: &Call) -> Result<WebhookId, Problem> {
    let id = call.parameters.at(0).parse();
    id.map_err(|_| Problem::from(Refusal::NotFound("webhook")))
}

pub(super) const SHOW: Doc = Doc {
    id: "getWebhook",
    tag: "webhooks",
    summary: "A subscription and its state",
    condition: Condition::IfNoneMatch,
    answers: &[
        WITHOUT.with(&["ETag"]),
        AnswerDoc::empty(304, "The caller has it already.").with(&["ETag"]),
    ],
    problems: &[Code::NotFound],
    ..Doc::PLAIN
};

pub(super) fn show(call: &Call) -> Result<Reply, Problem> {
    let id = id(call)?;
    let revision = call.api.app.revision_of(&RecordKey::Webhook(id));
    let reply = Reply::json(&Shown::new(&call.api.app.webhook(id)?, None))?;
    call.shown_at(revision?, reply)
}

pub(super) const LIST: Doc = Doc {
    id: "listWebhooks",
    tag: "webhooks",
    summary: "All subscriptions",
    answers: &[AnswerDoc::json(
        200,
        "The subscriptions.",
        SchemaGenerator::subschema_for::<Page<'_>>,
        "",
    )],
    ..Doc::PLAIN
};

pub(super) fn list(call: &Call) -> Result<Reply, Problem> {
    let webhooks = call.api.app.webhooks()?;
    let items = webhooks.iter().map(|webhook| Shown::new(webhook, None)).collect();
    Reply::json(&Page { items, next_cursor: None })
}

pub(super) const ROTATE: Doc = Doc {
    id: "rotateWebhookKey",
    tag: "webhooks",
    summary: "Gives a subscription a new key; for a day the old one signs too",
    condition: Condition::IfMatch,
    answers: &[AnswerDoc { status: 200, ..WITH_SECRET }],
    problems: &[Code::NotFound],
    ..Doc::PLAIN
};

pub(super) async fn rotate(call: Call) -> Result<Reply, Problem> {
    let id = id(&call)?;
    Ok(with_secret(call, Command::RotateWebhook { id }, StatusCode::OK).await)
}

pub(super) const DELETE: Doc = Doc {
    id: "deleteWebhook",
    tag: "webhooks",
    summary: "Deletes a subscription",
    condition: Condition::IfMatch,
    idempotency: true,
    answers: &[AnswerDoc::empty(204, "No more events are sent.")],
    problems: &[Code::NotFound],
    ..Doc::PLAIN
};

pub(super) async fn delete(call: Call) -> Result<Reply, Problem> {
    let id = id(&call)?;
    Ok(call.execute_quietly(Command::DeleteWebhook { id }).await)
}

pub(super) const LETTERS: Doc = Doc {
    id: "listDeadLetters",
    tag: "webhooks",
    summary: "The events that could not be delivered to a subscription, oldest first",
    query: &[users::LIST.query[0], lists::CURSOR],
    answers: &[AnswerDoc::json(
        200,
        "A page of them.",
        SchemaGenerator::subschema_for::<Letters<'_>>,
        "",
    )],
    problems: &[Code::NotFound, Code::InvalidInput],
    ..Doc::PLAIN
};

pub(super) fn letters(call: &Call) -> Result<Reply, Problem> {
    let after = lists::after(call)?;
    let limit = call.query.limit()?;
    let webhook = call.api.app.webhook(id(call)?)?;
    let (letters, more) = call.api.app.dead_letters(webhook.id, limit, after.unwrap_or(0))?;
    let next = letters.last().filter(|_| more).map(|letter| letter.number);
    let (items, next_cursor) = lists::bounded(
        call,
        &letters,
        next,
        |letter| letter.number,
        |letter| ShownLetter {
            number: letter.number,
            event: Text(&letter.body),
            error: &letter.error,
            at: letter.at,
            replay: webhook.replays(letter),
        },
    );
    Reply::json(&Letters { items, next_cursor })
}

pub(super) const REPLAY: Doc = Doc {
    id: "replayDeadLetter",
    tag: "webhooks",
    summary: "Sends an event again, and restarts a subscription that has stopped",
    condition: Condition::IfMatch,
    idempotency: true,
    answers: &[AnswerDoc::empty(204, "It is sent again.")],
    problems: &[Code::NotFound],
    ..Doc::PLAIN
};

pub(super) async fn replay(call: Call) -> Result<Reply, Problem> {
    let id = id(&call)?;
    let number = call.parameters.at(1).parse();
    let number = number.map_err(|_| Problem::from(Refusal::NotFound("dead letter")))?;
    let what = Replay::Letter(number);
    Ok(call.execute_quietly(Command::ReplayDeadLetter { id, what }).await)
}

pub(super) const REPLAY_ALL: Doc = Doc {
    id: "replayDeadLetters",
    summary: "Sends all dead letters again, and restarts a subscription that has stopped",
    text: "Meant are those that are there now. One that is given up once more is a dead letter as \
           before.",
    answers: &[AnswerDoc::empty(204, "They are sent again.")],
    ..REPLAY
};

pub(super) async fn replay_all(call: Call) -> Result<Reply, Problem> {
    let (id, what) = (id(&call)?, Replay::Letters);
    Ok(call.execute_quietly(Command::ReplayDeadLetter { id, what }).await)
}

pub(super) const RESUME: Doc = Doc {
    id: "resumeWebhook",
    summary: "Restarts a subscription that has stopped, where it was",
    text: "What could not be delivered stays a dead letter, and too many of them stop it again.",
    answers: &[AnswerDoc::empty(204, "It goes on.")],
    ..REPLAY
};

pub(super) async fn resume(call: Call) -> Result<Reply, Problem> {
    let (id, what) = (id(&call)?, Replay::Nothing);
    Ok(call.execute_quietly(Command::ReplayDeadLetter { id, what }).await)
}
