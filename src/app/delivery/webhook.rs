//! Telling other services of events: those of a transaction in the order in which they happened, those
//! of some transactions at once, each until it was taken or given up.

mod queue;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use http::{HeaderMap, Method};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::Instant;

use self::queue::{
    DeliveryCheckpoint, DeliveryQueue, LaggingTransaction, Message, OrderingKey, QueueLimits, Turn,
};
use super::panic::catch_panic;
use crate::app::signature::sign_standard;
use crate::app::{App, EventId, FeedEvent, FeedItem, FeedScope};
use crate::engine::{Actor, Command, DeadLetter, GivenUp, Lag, Refusal, Webhook, WebhookNews};
use crate::outbound::{HttpClient, HttpRequest, HttpResponse};
use crate::types::{Span, Time, TxId, WebhookId};

/// What the types of events about subscriptions begin with: they are told to none.
const OWN: &str = "abide.webhook.";

/// How long a receiver may take.
const TIMEOUT: Duration = Duration::from_secs(15);

/// Most attempts for one event: about a day in the mean, so that a receiver may be away over a
/// night. Quick at first and hours apart at last, as the schedule that Standard Webhooks proposes.
const ATTEMPTS_MAX: u32 = 27;

/// The longest wait after the first attempt; it doubles each time.
const BACK_OFF: Duration = Duration::from_millis(500);

/// The longest wait at all.
const BACK_OFF_MAX: Duration = Duration::from_hours(4);

/// When a subscription is told anew after a panic.
const ANEW_AFTER: Duration = Duration::from_mins(5);

/// After so many events that nobody wants, where a subscription stands is noted all the same.
const PASSED_MAX: usize = 1000;

/// The longest sleep while something rests: the server's time may be ahead of what passes here.
const SLEEP_MAX: Duration = Duration::from_secs(1);

/// Failed attempts are noted this often at most: a restart forgets no more than the last second's.
const NOTED_EVERY: Span = Span::from_seconds(1);

/// Dead letters that are looked at for one that is to be told again.
const LETTERS: usize = 200;

/// What an attempt came to.
enum DeliveryResult {
    Taken,
    Gone,
    /// Why not; how long the receiver wants to be left alone.
    Not {
        error: String,
        wait: Duration,
    },
}

/// How an event ended.
enum DeliveryEnd {
    Taken,
    GivenUp(String),
    Gone,
}

/// Tells all subscriptions, until the server stops.
pub async fn deliver_webhooks(app: Arc<App>, client: HttpClient) {
    deliver_with(app, client, Terms::default()).await;
}

/// What is told holds at most so much, and begins anew after a panic when so much time has passed.
#[derive(Clone, Copy)]
struct Terms {
    room: QueueLimits,
    anew: Duration,
}

impl Default for Terms {
    fn default() -> Self {
        Self { room: QueueLimits::default(), anew: ANEW_AFTER }
    }
}

async fn deliver_with(app: Arc<App>, client: HttpClient, terms: Terms) {
    let mut tasks = JoinSet::new();
    // Whoever is told now, by subscription. Each sees changes of its own itself, so that no other's
    // change cuts an attempt on its way or shortens a rest.
    let mut told: HashMap<WebhookId, AbortHandle> = HashMap::new();
    let mut watch = app.webhook_watch();
    // Nothing may hold the application when it is closed.
    while let Ok(webhooks) = app.webhooks_seen(&mut watch).await {
        told.retain(|id, task| {
            let is_there = webhooks.iter().any(|webhook| webhook.id == *id);
            if !is_there {
                task.abort();
            }
            is_there && !task.is_finished()
        });
        for webhook in webhooks.iter().filter(|webhook| !webhook.stopped) {
            told.entry(webhook.id).or_insert_with(|| {
                let (app, client, id) = (Arc::clone(&app), client.clone(), webhook.id);
                tasks.spawn(Arc::new(WebhookWorker { app, client, terms, id }).run())
            });
        }
        tokio::select! {
            () = watch.changed() => {}
            // One that stopped may have been resumed before it ended.
            Some(_) = tasks.join_next() => {}
        }
    }
    tasks.shutdown().await;
}

/// Tells one subscription.
struct WebhookWorker {
    app: Arc<App>,
    client: HttpClient,
    terms: Terms,
    id: WebhookId,
}

impl WebhookWorker {
    async fn run(self: Arc<Self>) {
        loop {
            match catch_panic(self.tell()).await {
                Some(Err(refusal))
                    if !matches!(refusal, Refusal::Stopping | Refusal::NotFound(_)) =>
                {
                    tracing::error!(webhook = %self.id, %refusal, "a webhook is told anew");
                }
                Some(_) => return,
                None => tracing::error!(webhook = %self.id, "a webhook is told anew after a panic"),
            }
            tokio::time::sleep_until(Instant::now() + self.terms.anew).await;
        }
    }

    async fn tell(self: &Arc<Self>) -> Result<(), Refusal> {
        let mut changes = self.app.webhook_watch();
        changes.seen();
        let mut webhook = Arc::new(self.app.webhook(self.id)?);
        if webhook.stopped {
            return Ok(());
        }
        let after = App::webhook_after(&webhook);
        let mut queue = DeliveryQueue::new(self.terms.room, after, &lagging(&webhook));
        let mut letters_after = Some(0);
        let mut clock = self.app.clock_moves();
        // When failed attempts were noted last, and what the last one met that was not.
        let (mut noted_at, mut behind) = (self.app.now(), None);
        let follower = self.app.follow(Actor::System, FeedScope::All, Some(after));
        // The server itself always finds room.
        let mut follower = follower.map_err(|_| Refusal::Stopping)?;
        let mut sent = JoinSet::new();
        let mut passed = 0;
        loop {
            if let Some(after) = letters_after.take_if(|_| !queue.has_letters()) {
                letters_after = self.letters(&mut queue, &webhook, after)?;
            }
            let now = self.app.now();
            if now.since(noted_at) >= NOTED_EVERY
                && let Some(error) = behind.take()
            {
                noted_at = now;
                self.note(ProgressUpdate { error: Some(error), ..ProgressUpdate::of(&queue) })
                    .await?;
            }
            let rereads = self.begin(&mut queue, &webhook, &mut sent, now).await?;
            let noted_to = behind.is_some().then(|| noted_at.plus(NOTED_EVERY));
            let rests_to = queue.wakes_at().into_iter().chain(noted_to).min();
            let rests = rests_to
                .map_or(SLEEP_MAX, |at| Duration::from_millis(at.since(now).ms()).min(SLEEP_MAX));
            tokio::select! {
                () = changes.changed() => {
                    self.app.webhooks_seen(&mut changes).await?;
                    webhook = Arc::new(self.app.webhook(self.id)?);
                    if webhook.stopped {
                        return Ok(());
                    }
                    // Some may be to be told again.
                    letters_after = Some(0);
                }
                moved = clock.changed() => moved.map_err(|_| Refusal::Stopping)?,
                Some(came) = sent.join_next() => {
                    let mut news = ProgressUpdate::default();
                    let mut next = Some(came);
                    while let Some(came) = next {
                        // Nothing of it is outside what is caught.
                        let Ok((message, came)) = came else { return Err(Refusal::Stopping) };
                        if self.came(&mut queue, &mut news, message, came).await? {
                            return Ok(());
                        }
                        next = sent.try_join_next();
                    }
                    if news.told > 0 || news.is_first {
                        (noted_at, behind) = (now, None);
                        news.stands = Some(queue.stands());
                        self.note(news).await?;
                    } else {
                        behind = news.error.or(behind);
                    }
                }
                next = follower.next(), if queue.has_room() => {
                    passed += self.read(&mut queue, &webhook, next?).await?;
                    if passed >= PASSED_MAX {
                        passed = 0;
                        self.note(ProgressUpdate::of(&queue)).await?;
                    }
                }
                () = tokio::task::yield_now(), if rereads => {}
                () = tokio::time::sleep_until(Instant::now() + rests), if rests_to.is_some() => {}
            }
        }
    }

    /// Begins what can be sent now, and reads a page where one is to be read first; whether it did.
    async fn begin(
        self: &Arc<Self>,
        queue: &mut DeliveryQueue,
        webhook: &Arc<Webhook>,
        sent: &mut JoinSet<(Message, Option<DeliveryResult>)>,
        now: Time,
    ) -> Result<bool, Refusal> {
        while let Some(turn) = queue.next(now) {
            let message = match turn {
                Turn::Send(message) => message,
                Turn::Read { tx, after, most } => {
                    if self.reread(queue, webhook, (tx, after), most)? {
                        self.note(ProgressUpdate::of(queue)).await?;
                    }
                    // What came meanwhile has its turn between two pages.
                    return Ok(true);
                }
            };
            let (teller, webhook) = (Arc::clone(self), Arc::clone(webhook));
            sent.spawn(async move {
                let came = teller.attempt(&webhook, message.id, message.body.clone());
                let came = catch_panic(came).await;
                (message, came)
            });
        }
        Ok(false)
    }

    /// Takes what is to be told of what happened; how many events that was.
    async fn read(
        &self,
        queue: &mut DeliveryQueue,
        webhook: &Webhook,
        followed: FeedItem,
    ) -> Result<usize, Refusal> {
        let events = match followed {
            FeedItem::Events(events) => events,
            FeedItem::Resync(after) => {
                tracing::warn!(webhook = %self.id, "events are missed: the log begins later");
                queue.read(after);
                self.note(ProgressUpdate::of(queue)).await?;
                return Ok(0);
            }
        };
        let count = events.len();
        for event in events {
            queue.read(event.id);
            if is_wanted(webhook, &event) {
                queue.take(self.message(event)?);
            }
        }
        Ok(count)
    }

    fn message(&self, event: FeedEvent) -> Result<Message, Refusal> {
        let (lane, id) = (OrderingKey::Of(event.transaction), event.id);
        let body = self.app.public_event(event)?.to_cloud_event().into();
        Ok(Message { lane, id, body })
    }

    /// Reads again what a transaction, or none, has after an event: one page. Whether there was
    /// nothing.
    fn reread(
        &self,
        queue: &mut DeliveryQueue,
        webhook: &Webhook,
        (tx, after): (Option<TxId>, EventId),
        most: usize,
    ) -> Result<bool, Refusal> {
        let (mut events, more) = match tx {
            None => {
                let page = self.app.events(&Actor::System, after, most)?;
                (page.items, page.more.then_some(page.next_after))
            }
            Some(tx) => match self.app.history(&Actor::System, tx, after, most) {
                Ok(page) => {
                    if page.retired {
                        tracing::warn!(webhook = %self.id, %tx, "events are missed: they are in the log no more");
                    }
                    (page.items, page.next)
                }
                Err(Refusal::NotFound(_)) => (Vec::new(), None),
                Err(refusal) => return Err(refusal),
            },
        };
        // What comes later is read when its time comes.
        let to = queue.read_to();
        events
            .retain(|event| event.transaction == tx && event.id <= to && is_wanted(webhook, event));
        let found =
            events.into_iter().map(|event| self.message(event)).collect::<Result<_, _>>()?;
        Ok(queue.reread(OrderingKey::Of(tx), found, more.filter(|more| *more < to)))
    }

    /// What came of an attempt; whether it was the last one.
    async fn came(
        &self,
        queue: &mut DeliveryQueue,
        news: &mut ProgressUpdate,
        message: Message,
        came: Option<DeliveryResult>,
    ) -> Result<bool, Refusal> {
        let (error, wait) = match came {
            Some(DeliveryResult::Taken) => {
                return self.ended(queue, news, message, DeliveryEnd::Taken).await;
            }
            Some(DeliveryResult::Gone) => {
                return self.ended(queue, news, message, DeliveryEnd::Gone).await;
            }
            Some(DeliveryResult::Not { error, wait }) => (error, wait),
            None => ("the attempt ended in an error of the server".to_owned(), Duration::ZERO),
        };
        let now = self.app.now();
        let attempts = queue.failed(message.lane, now);
        if attempts >= ATTEMPTS_MAX {
            return self.ended(queue, news, message, DeliveryEnd::GivenUp(error)).await;
        }
        news.is_first |= attempts == 1;
        news.error = Some(error);
        let rest = rest(attempts, wait).as_millis();
        queue.again(message, now.plus(Span::from_ms(u64::try_from(rest).unwrap_or(u64::MAX))));
        Ok(false)
    }

    /// One is over; whether that was the last one.
    async fn ended(
        &self,
        queue: &mut DeliveryQueue,
        news: &mut ProgressUpdate,
        message: Message,
        end: DeliveryEnd,
    ) -> Result<bool, Refusal> {
        queue.over(&message);
        if matches!(end, DeliveryEnd::Taken) {
            queue.taken(self.app.now());
        }
        match (end, message.lane) {
            (DeliveryEnd::Taken, OrderingKey::Of(_)) => news.told += 1,
            (DeliveryEnd::Taken, OrderingKey::DeadLetter(number)) => {
                let replayed = Some((number, true));
                self.note(ProgressUpdate { told: 1, replayed, ..ProgressUpdate::default() })
                    .await?;
            }
            (DeliveryEnd::GivenUp(error), OrderingKey::DeadLetter(number)) => {
                let (error, replayed) = (Some(error), Some((number, false)));
                self.note(ProgressUpdate { error, replayed, ..ProgressUpdate::default() }).await?;
            }
            (DeliveryEnd::GivenUp(error), OrderingKey::Of(_)) => {
                let (number, event) = (message.id.number(), message.id.to_string());
                let body = String::from_utf8_lossy(&message.body).into_owned();
                let dead = Some(GivenUp { number, event, body });
                let told = std::mem::take(&mut news.told);
                let gave_up =
                    ProgressUpdate { told, error: Some(error), dead, ..ProgressUpdate::of(queue) };
                return Ok(self.note(gave_up).await?.stopped);
            }
            (DeliveryEnd::Gone, _) => {
                let error = Some("the receiver answers 410: it is gone".to_owned());
                let told = std::mem::take(&mut news.told);
                self.note(ProgressUpdate { told, error, gone: true, ..ProgressUpdate::default() })
                    .await?;
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Takes the dead letters behind this one that somebody wants to be told again, as many as there
    /// is room for; behind which one there are more, which come when these are over.
    fn letters(
        &self,
        queue: &mut DeliveryQueue,
        webhook: &Webhook,
        mut after: u64,
    ) -> Result<Option<u64>, Refusal> {
        let mut bytes = 0;
        loop {
            let (letters, more) = self.app.dead_letters(self.id, LETTERS, after)?;
            for letter in letters {
                after = letter.number;
                let replays = webhook.replays(&letter);
                let DeadLetter { number, event, body, .. } = letter;
                if let Some(id) = event.parse().ok().filter(|_| replays) {
                    bytes += body.len();
                    queue.take(Message {
                        lane: OrderingKey::DeadLetter(number),
                        id,
                        body: body.into(),
                    });
                }
                if bytes >= self.terms.room.bytes {
                    return Ok(Some(after));
                }
            }
            if !more {
                return Ok(None);
            }
        }
    }

    async fn attempt(&self, webhook: &Webhook, id: EventId, body: Bytes) -> DeliveryResult {
        let reply = match self.send(webhook, &id.to_string(), body).await {
            Ok(reply) => reply,
            Err(error) => return DeliveryResult::Not { error, wait: Duration::ZERO },
        };
        match reply.status {
            200..=299 => DeliveryResult::Taken,
            410 => DeliveryResult::Gone,
            status => DeliveryResult::Not {
                error: format!("the receiver answers {status}"),
                wait: reply.retry_after(self.app.wall_now()).map_or(Duration::ZERO, |wait| {
                    Duration::from_millis(wait.ms()).min(BACK_OFF_MAX)
                }),
            },
        }
    }

    /// Sends an event.
    async fn send(&self, webhook: &Webhook, id: &str, body: Bytes) -> Result<HttpResponse, String> {
        let uri = webhook.url.parse().map_err(|_| "the address is none".to_owned())?;
        // Receivers compare it with their own wall clock.
        let seconds = self.app.wall_now().ms() / 1000;
        let keys = self.app.webhook_keys(webhook);
        let signature = sign_standard(&keys, id, seconds, &body);
        let mut headers = HeaderMap::new();
        for (name, value) in [
            (CONTENT_TYPE, "application/cloudevents+json".to_owned()),
            (HeaderName::from_static("webhook-id"), id.to_owned()),
            (HeaderName::from_static("webhook-timestamp"), seconds.to_string()),
            (HeaderName::from_static("webhook-signature"), signature),
        ] {
            let value = HeaderValue::from_str(&value).map_err(|error| error.to_string())?;
            headers.insert(name, value);
        }
        let request = HttpRequest { method: Method::POST, uri, headers, body, timeout: TIMEOUT };
        self.client.send(request).await.map_err(|failure| failure.to_string())
    }

    async fn note(&self, news: ProgressUpdate) -> Result<Webhook, Refusal> {
        let ProgressUpdate { stands, told, error, dead, replayed, gone, is_first: _ } = news;
        let lags = stands.iter().flat_map(|stands| &stands.lags);
        let lag = |lagging: &LaggingTransaction| {
            let LaggingTransaction { tx, after, tried, again_at } = *lagging;
            Lag { transaction: tx, after: after.to_string(), tried, again_at }
        };
        let lags = lags.map(lag).collect();
        let after = stands.map(|stands| stands.after.to_string());
        let news = WebhookNews { id: self.id, after, lags, told, error, dead, replayed, gone };
        self.app.call_until_accepted(Command::NoteWebhook(Box::new(news))).await?;
        self.app.webhook(self.id)
    }
}

/// How a subscription went on.
#[derive(Default)]
struct ProgressUpdate {
    stands: Option<DeliveryCheckpoint>,
    told: u64,
    error: Option<String>,
    /// Whether something was not taken that had not been tried before.
    is_first: bool,
    dead: Option<GivenUp>,
    replayed: Option<(u64, bool)>,
    gone: bool,
}

impl ProgressUpdate {
    fn of(queue: &DeliveryQueue) -> Self {
        Self { stands: Some(queue.stands()), ..Self::default() }
    }
}

/// What lags behind where a subscription stands, as it was noted.
fn lagging(webhook: &Webhook) -> Vec<LaggingTransaction> {
    let lagging = |lag: &Lag| {
        let (tx, tried, again_at) = (lag.transaction, lag.tried, lag.again_at);
        Some(LaggingTransaction { tx, after: App::lag_after(lag)?, tried, again_at })
    };
    webhook.lags.iter().filter_map(lagging).collect()
}

/// Whether an event is to be told. One that was given up before a restart is not tried again by
/// itself.
fn is_wanted(webhook: &Webhook, event: &FeedEvent) -> bool {
    let given_up = || webhook.dead.contains(&event.id.number());
    !event.kind.starts_with(OWN) && webhook.wants(&event.kind) && !given_up()
}

/// How long to wait after an attempt, where the receiver wants to be left alone for at least so
/// long.
fn rest(attempts: u32, least: Duration) -> Duration {
    jittered(longest(attempts)).max(least)
}

/// The longest wait after so many attempts.
fn longest(attempts: u32) -> Duration {
    let doublings = attempts.saturating_sub(1).min(16);
    BACK_OFF.saturating_mul(1 << doublings).min(BACK_OFF_MAX)
}

/// Any time up to this one: those who failed together do not come back together.
fn jittered(most: Duration) -> Duration {
    let mut bytes = [0; 4];
    if getrandom::fill(&mut bytes).is_err() {
        return most;
    }
    most.mul_f64(f64::from(u32::from_be_bytes(bytes)) / f64::from(u32::MAX))
}
