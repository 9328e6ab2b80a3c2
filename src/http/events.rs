//! Live events: `/v1/events` and the events of one transaction, as pages and as Server-Sent Events;
//! and a transaction's history.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use http::header::{self, HeaderName, HeaderValue};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::body_stream::BodyStream;
use super::input::{parameter, preferred};
use super::json_text::RawJson;
use super::operation::{Operation, Parameter};
use super::pagination;
use super::problem::{Code, Problem};
use super::read_reply;
use super::reply::Reply;
use super::request_context::RequestContext;
use super::schemas::{event_id, last_event_id};
use super::send_budget::ActorSendBudget;
use crate::app::{
    App, EventId, EventPage, FeedEnd, FeedEvent, FeedItem, FeedScope, FeedSubscriber, HistoryPage,
    SubscriberLimit,
};
use crate::engine::Refusal;
use crate::types::{Time, TxId};

/// Length of a silence, after which a comment is sent: less than proxies cut silent connections
/// after.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// Time limit for a reader to take a piece; then the stream ends and the client can resume.
const SLOW_TIME: Duration = Duration::from_secs(20);

/// Maximum number of pieces of about [`PIECE_BYTES`] that wait for a reader.
const PIECES_MAX: usize = 2;

/// Bytes after which a piece goes out.
const PIECE_BYTES: usize = 16 * 1024;

/// Delay, in seconds, after which a retry is worthwhile: streams end when somebody closes a page.
const FULL_RETRY_S: u32 = 10;

impl From<SubscriberLimit> for Problem {
    fn from(full: SubscriberLimit) -> Self {
        match full {
            SubscriberLimit::Actor(most) => {
                let what = format!("at most {most} streams, sockets and waits at a time");
                Self::new(Code::RateLimited, what).retry_after(FULL_RETRY_S)
            }
            SubscriberLimit::All => Self::plain(Code::Busy).retry_after(FULL_RETRY_S),
        }
    }
}

const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

const EVENT_STREAM: &str = "text/event-stream";

/// A page of events.
#[derive(Serialize, JsonSchema)]
struct CloudEventPage<'a> {
    /// `CloudEvents` 1.0, oldest first.
    #[schemars(with = "Vec<Map<String, Value>>")]
    items: Vec<RawJson<'a>>,
    /// Value of `after` for the next page. A page examines a bounded part of the log, so it may be
    /// empty and still advance.
    #[schemars(with = "String")]
    next_after: String,
    /// True if there are more events already.
    more: bool,
    /// True if events after the requested one are no longer in the log: the client must read its
    /// state again.
    resync: bool,
}

/// An event of a transaction's history.
#[derive(Serialize, JsonSchema)]
struct HistoryEvent<'a> {
    /// Its id.
    id: String,
    /// When it happened.
    time: Time,
    /// Actor of the event.
    actor: HistoryActor<'a>,
    /// Its type.
    #[serde(rename = "type")]
    kind: &'a str,
    /// The step that it is about.
    step: Option<String>,
    /// Its data.
    #[schemars(with = "Map<String, Value>")]
    data: RawJson<'a>,
}

/// Field of an event's data that the history repeats beside it.
#[derive(Deserialize)]
struct StepField {
    step: Option<String>,
}

/// Actor of an event.
#[derive(Serialize, JsonSchema)]
struct HistoryActor<'a> {
    /// `user`, `anonymous`, `key`, `hook`, `workflow`, `system` or `nobody`.
    kind: &'a str,
    /// The user name, the key's id, the hook's or the workflow's name.
    name: Option<&'a str>,
    /// The API key that acted on the user's behalf.
    via: Option<&'a str>,
}

/// A page of a transaction's history.
#[derive(Serialize, JsonSchema)]
struct TransactionHistoryPage<'a> {
    /// Events of the transaction, oldest first.
    items: Vec<HistoryEvent<'a>>,
    /// `cursor` of the next page; `null`: there is none.
    next_cursor: Option<String>,
    /// True if the history is complete; `false`: events before this page's are no longer kept.
    complete: bool,
}

const AFTER: Parameter = Parameter {
    name: "after",
    text: "Only what comes after this event; without it a page begins with the oldest event that \
           is kept, and a stream with the next one that happens.",
    schema: event_id,
};

const RESUME_AFTER: Parameter = Parameter {
    name: "Last-Event-ID",
    text: "The id of the last event that was received; a stream goes on after it. Counts before \
           `after`.",
    schema: last_event_id,
};

const PAGE_EXAMPLE: &str = r#"{"items":[{"specversion":"1.0","id":"00000000000004120001a91c7d40","source":"/v1/transactions/tx_01jd9x2k7m8n4p5q6r7s8t9v0w","type":"abide.step.opened","subject":"tx_01jd9x2k7m8n4p5q6r7s8t9v0w","time":"2026-11-24T10:05:00.000Z","datacontenttype":"application/json","actor":"alice","actorkind":"user","transaction":"tx_01jd9x2k7m8n4p5q6r7s8t9v0w","data":{"step":"confirm","due":null,"transaction":"tx_01jd9x2k7m8n4p5q6r7s8t9v0w"}}],"next_after":"00000000000004120001a91c7d40","more":false,"resync":false}"#;

pub(super) const EVENTS: Operation = Operation::new("listEvents", "live", "What happens, as far as the actor may see it").negotiated()
    .text("Server-Sent Events, or with `Accept: application/json` a page. A stream resumes after \
           `Last-Event-ID` (or `after`) without a gap or a double, also over restarts; an event \
           named `resync` says that events in between are kept no more, or that this server never \
           gave out the id (it is of another store, or from before this one was restored): read anew \
           what you know. It ends with the session, when that has a new token, and when its reader is \
           too slow; where it can, with an event named `end` whose `reason` is `session-ended`, \
           `token-replaced` (connect again with the new one) or `stopping`.")
    .query(&[pagination::LIMIT, AFTER])
    .request_headers(&[RESUME_AFTER])
    .json::<CloudEventPage<'_>>(200, "A page of events, or a stream of them.", PAGE_EXAMPLE)
    .media(200, "A stream.", EVENT_STREAM)
    .problems(&[Code::InvalidParameter, Code::InvalidInput]);

pub(super) async fn events(request: RequestContext) -> Result<Reply, Problem> {
    let after = after(&request)?;
    if !wants_page(&request) {
        if request.is_head {
            return Ok(stream_head());
        }
        let events = request.api.events.of(request.actor());
        let follower = request.api.app.follow(request.identity.actor, FeedScope::All, after)?;
        return Ok(stream(follower, events));
    }
    let (after, limit) = (after.unwrap_or(EventId::START), request.query.limit()?);
    let actor = request.actor().clone();
    let read = move |app: &Arc<App>| {
        let page = app.events(&actor, after, limit)?;
        let EventPage { items, next_after, resync, more } = page;
        shown_page(&items, next_after, resync, more)
    };
    read_reply::read(&request.api, request.actor(), read).await
}

fn shown_page(
    items: &[FeedEvent],
    next_after: EventId,
    resync: bool,
    more: bool,
) -> Result<Reply, Problem> {
    let items: Vec<String> = items.iter().map(FeedEvent::to_cloud_event).collect();
    Reply::json(&CloudEventPage {
        items: items.iter().map(|event| RawJson(event)).collect(),
        next_after: next_after.to_string(),
        more,
        resync,
    })
}

pub(super) const OF_TRANSACTION: Operation = EVENTS
    .named("listTransactionEvents", "What happens in a transaction, from its start on")
    .text("As `/v1/events`, but only of this transaction, and from its first event on.")
    .problems(&[Code::NotFound, Code::InvalidParameter, Code::InvalidInput]);

pub(super) async fn of_transaction(request: RequestContext) -> Result<Reply, Problem> {
    let tx = transaction(&request)?;
    let after = after(&request)?.unwrap_or(EventId::START);
    let limit = request.query.limit()?;
    let actor = request.actor().clone();
    if wants_page(&request) {
        let read = move |app: &Arc<App>| {
            let page = app.history(&actor, tx, after, limit)?;
            let last = page.items.last().map_or(after, |event| event.id);
            let last = page.next.unwrap_or(last);
            shown_page(&page.items, last, page.retired, page.next.is_some())
        };
        return read_reply::read(&request.api, request.actor(), read).await;
    }
    request.api.app.transaction(request.actor(), tx)?;
    if request.is_head {
        return Ok(stream_head());
    }
    let events = request.api.events.of(request.actor());
    // Subscribe first, so that no event falls between the read and the stream.
    let follower = request.api.app.follow(actor, FeedScope::Transaction(tx), None)?;
    let (sender, bits) = mpsc::channel(PIECES_MAX);
    let out = StreamSender { sender, events };
    tokio::spawn(run_from_start(Arc::clone(&request.api.app), tx, after, follower, out));
    Ok(flowing(bits))
}

/// Sends the past events of a transaction after `after`, and then the live ones.
async fn run_from_start(
    app: Arc<App>,
    tx: TxId,
    mut after: EventId,
    follower: FeedSubscriber,
    out: StreamSender,
) {
    let up_to = follower.begins();
    loop {
        let (reader, actor) = (Arc::clone(&app), follower.actor().clone());
        let read = move || reader.history(&actor, tx, after, HISTORY_PAGE);
        let Ok(Ok(page)) = app.reads().run(follower.actor(), read).await else { return };
        let HistoryPage { items, next, retired } = page;
        let mut text = String::new();
        if retired {
            put_resync(&mut text, after);
        }
        for event in items.iter().filter(|event| event.id <= up_to) {
            put_event(&mut text, event);
            if text.len() >= PIECE_BYTES && out.send(std::mem::take(&mut text)).await.is_err() {
                return;
            }
        }
        if !text.is_empty() && out.send(text).await.is_err() {
            return;
        }
        match next {
            Some(next) if next < up_to => after = next,
            _ => break,
        }
    }
    run(follower, out).await;
}

/// Number of events of a transaction that are read at once for a stream.
const HISTORY_PAGE: usize = 20;

pub(super) const HISTORY: Operation = Operation::new(
    "getTransactionHistory",
    "transactions",
    "What happened in a transaction, oldest first",
)
.query(pagination::PARAMETERS)
.json::<TransactionHistoryPage<'_>>(200, "A page of its history.", "")
.problems(&[Code::NotFound, Code::InvalidParameter, Code::InvalidInput]);

pub(super) fn history(request: &RequestContext) -> Result<Reply, Problem> {
    let tx = transaction(request)?;
    let after = pagination::after(request)?.unwrap_or(EventId::START);
    let page = request.api.app.history(request.actor(), tx, after, request.query.limit()?)?;
    Reply::json(&TransactionHistoryPage {
        items: page.items.iter().map(shown_event).collect(),
        next_cursor: pagination::cursor(request, page.next),
        complete: !page.retired,
    })
}

fn shown_event(event: &FeedEvent) -> HistoryEvent<'_> {
    let FeedEvent { id, at, kind, actor, data, .. } = event;
    HistoryEvent {
        id: id.to_string(),
        time: *at,
        actor: HistoryActor {
            kind: &actor.kind,
            name: actor.name.as_deref(),
            via: actor.via.as_deref(),
        },
        kind,
        step: serde_json::from_str::<StepField>(data).ok().and_then(|of| of.step),
        data: RawJson(data),
    }
}

fn transaction(request: &RequestContext) -> Result<TxId, Problem> {
    let id = request.parameters.at(0).parse();
    id.map_err(|_| Problem::from(Refusal::NotFound("transaction")))
}

fn read_id(text: Option<&str>, name: &'static str) -> Result<Option<EventId>, Problem> {
    let read = text.map(|text| text.parse().map_err(|_| parameter(name, "is no event's id")));
    read.transpose()
}

/// Returns the event after which the caller wants to read. The last event that a client has seen
/// takes precedence over the start in its address.
fn after(request: &RequestContext) -> Result<Option<EventId>, Problem> {
    let header = super::input::single(&request.headers, &LAST_EVENT_ID)?;
    let after = read_id(request.query.get("after"), "after")?;
    match header.filter(|id| !id.is_empty()) {
        Some(id) => read_id(Some(id), "Last-Event-ID"),
        None => Ok(after),
    }
}

/// Returns whether the client prefers a page of JSON to a stream.
fn wants_page(request: &RequestContext) -> bool {
    preferred(&request.headers, &[EVENT_STREAM, "application/json"]) != EVENT_STREAM
}

fn flowing(bits: mpsc::Receiver<Bytes>) -> Reply {
    Reply { stream: Some(BodyStream::new(bits)), ..stream_head() }
}

/// The status and headers of a stream.
fn stream_head() -> Reply {
    Reply::empty(StatusCode::OK)
        .with(header::CONTENT_TYPE, HeaderValue::from_static(EVENT_STREAM))
        .with(header::CACHE_CONTROL, HeaderValue::from_static("no-store"))
        // For nginx, which would keep what it is sent.
        .with(HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"))
}

fn stream(follower: FeedSubscriber, events: ActorSendBudget) -> Reply {
    let (sender, bits) = mpsc::channel(PIECES_MAX);
    tokio::spawn(run(follower, StreamSender { sender, events }));
    flowing(bits)
}

/// The reader is gone or too slow.
struct ReaderGone;

/// Sender of a stream's pieces, which are counted until the reader has received them.
struct StreamSender {
    sender: mpsc::Sender<Bytes>,
    events: ActorSendBudget,
}

impl StreamSender {
    async fn send(&self, text: String) -> Result<(), ReaderGone> {
        let piece = self.events.count(text.into(), SLOW_TIME).await.map_err(|_| ReaderGone)?;
        match timeout(SLOW_TIME, self.sender.send(piece)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(ReaderGone),
        }
    }
}

/// Sends the events of a subscription, until the reader leaves or the session ends.
async fn run(mut follower: FeedSubscriber, out: StreamSender) {
    // The position from which a client resumes that has not seen any event yet.
    let mut text = format!("retry: 1000\nid: {}\n\n", follower.seen());
    loop {
        if !text.is_empty() && out.send(std::mem::take(&mut text)).await.is_err() {
            return;
        }
        let next = tokio::select! {
            () = out.sender.closed() => return,
            next = timeout(KEEP_ALIVE, follower.next()) => next,
        };
        match next {
            Ok(Ok(FeedItem::Events(events))) => {
                for event in &events {
                    put_event(&mut text, event);
                    if text.len() >= PIECE_BYTES
                        && out.send(std::mem::take(&mut text)).await.is_err()
                    {
                        return;
                    }
                }
            }
            Ok(Ok(FeedItem::Resync(id))) => put_resync(&mut text, id),
            Ok(Err(refusal)) => {
                let end = follower.end(&refusal);
                // The last event of the stream; a reader that does not take it notices the end
                // anyway.
                drop(out.send(end_event(end)).await);
                return;
            }
            Err(_) => text = format!(": still here\nid: {}\n\n", follower.seen()),
        }
    }
}

/// The last event of a stream, which says why it ends.
fn end_event(end: FeedEnd) -> String {
    let reason = match end {
        FeedEnd::SessionEnded => "session-ended",
        FeedEnd::TokenReplaced => "token-replaced",
        FeedEnd::Stopping => "stopping",
    };
    format!("event: end\ndata: {{\"reason\":\"{reason}\"}}\n\n")
}

fn put_event(text: &mut String, event: &FeedEvent) {
    // One line: JSON text has no line breaks but escaped ones.
    let written = write!(text, "id: {}\ndata: {}\n\n", event.id, event.to_cloud_event());
    debug_assert!(written.is_ok(), "a String takes everything");
}

fn put_resync(text: &mut String, id: EventId) {
    let data = "{\"reason\":\"events up to this one are kept no more; read anew what you know\"}";
    let written = write!(text, "event: resync\nid: {id}\ndata: {data}\n\n");
    debug_assert!(written.is_ok(), "a String takes everything");
}
