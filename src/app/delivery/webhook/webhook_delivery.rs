//! The delivery of events to one webhook: reads the feed, and records the progress.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::queue::{
    DeliveryCheckpoint, DeliveryQueue, EventMessage, LaggingTransaction, NextStep, OrderingKey,
    QueueLimits,
};
use super::request::{BACKOFF, DeliveryResult, deliver};
use super::subscriptions::WebhookWatch;
use crate::app::App;
use crate::app::delivery::worker::{Attempt, AttemptResult, Delivery, Turn};
use crate::app::feed::{EventId, FeedEvent, FeedItem, FeedScope, FeedSubscriber};
use crate::engine::{Actor, Command, DeadLetter, GivenUp, Lag, Refusal, Webhook, WebhookNews};
use crate::outbound::HttpClient;
use crate::types::{Span, Time, TxId, WebhookId};

/// First part of the types of events about webhooks, which are delivered to none: each delivery
/// would cause another one.
const OWN_EVENTS: &str = "abide.webhook.";

/// Maximum number of attempts for one event: about a day in the mean, so that a receiver may be
/// away over a night. Quick at first and hours apart at last, as Standard Webhooks proposes.
pub(super) const ATTEMPTS_MAX: u32 = 27;

/// Number of events that the webhook does not want after which its checkpoint is recorded all the
/// same.
const SKIPPED_MAX: usize = 1000;

/// Longest sleep while a retry is due later: the server's time may be ahead of the time that passes
/// here.
const SLEEP_MAX: Duration = Duration::from_secs(1);

/// Shortest time between two records of failed attempts: a restart forgets at most the last
/// second's.
const RECORDED_EVERY: Span = Span::from_seconds(1);

/// Number of dead letters that are read at once to find those to replay.
const DEAD_LETTERS_READ: usize = 200;

/// Progress of a webhook that is recorded in one commit.
#[derive(Default)]
struct Progress {
    checkpoint: Option<DeliveryCheckpoint>,
    /// Number of events that were accepted.
    delivered: u64,
    error: Option<String>,
    /// True if an event failed that had not been attempted before.
    is_first_failure: bool,
    dead_letter: Option<GivenUp>,
    /// A dead letter that was replayed, and whether it was accepted.
    replayed: Option<(u64, bool)>,
    gone: bool,
}

impl Progress {
    fn checkpoint(queue: &DeliveryQueue) -> Self {
        Self { checkpoint: Some(queue.checkpoint()), ..Self::default() }
    }
}

/// End of the delivery of an event.
enum DeliveryEnd {
    Accepted,
    GivenUp(String),
    Gone,
}

/// Something that happened outside of the worker.
pub(super) enum Signal {
    WebhooksChanged,
    ClockMoved,
    Feed(FeedItem),
}

/// The delivery of events to one webhook.
pub(super) struct WebhookDelivery {
    app: Arc<App>,
    client: HttpClient,
    limits: QueueLimits,
    id: WebhookId,
    webhook: Arc<Webhook>,
    queue: DeliveryQueue,
    changes: WebhookWatch,
    clock: watch::Receiver<()>,
    feed: FeedSubscriber,
    /// Number of the dead letter after which the next ones to replay are read; `None`: there are no
    /// more.
    dead_letters_after: Option<u64>,
    recorded_at: Time,
    /// Error of the last failed attempt that is not recorded yet.
    unrecorded: Option<String>,
    /// Number of events that were read since the last record of the checkpoint.
    skipped: usize,
}

impl Delivery for WebhookDelivery {
    type Message = EventMessage;
    type Response = DeliveryResult;
    type Signal = Signal;

    async fn next_turn(&mut self, _: usize) -> Result<Turn<EventMessage>, Refusal> {
        if !self.queue.has_dead_letters()
            && let Some(after) = self.dead_letters_after.take()
        {
            self.dead_letters_after = self.read_dead_letters(after)?;
        }
        let now = self.app.now();
        if now.since(self.recorded_at) >= RECORDED_EVERY
            && let Some(error) = self.unrecorded.take()
        {
            self.recorded_at = now;
            let failed = Progress { error: Some(error), ..Progress::checkpoint(&self.queue) };
            self.record(failed).await?;
        }
        let (messages, has_more) = self.take_messages(now).await?;
        let record_at = self.unrecorded.is_some().then(|| self.recorded_at.plus(RECORDED_EVERY));
        let wakes_at = self.queue.wakes_at().into_iter().chain(record_at).min().map(|at| {
            let sleep = Duration::from_millis(at.since(now).ms()).min(SLEEP_MAX);
            Instant::now() + sleep
        });
        Ok(Turn { messages, wakes_at, has_more })
    }

    fn attempt(&self, message: &EventMessage) -> Attempt<DeliveryResult> {
        let (app, client) = (Arc::clone(&self.app), self.client.clone());
        let (webhook, id, body) = (Arc::clone(&self.webhook), message.id, message.body.clone());
        Box::pin(async move { deliver(&app, &client, &webhook, id, body).await })
    }

    async fn signal(&mut self) -> Result<Signal, Refusal> {
        tokio::select! {
            () = self.changes.changed() => Ok(Signal::WebhooksChanged),
            moved = self.clock.changed() => {
                moved.map(|()| Signal::ClockMoved).map_err(|_| Refusal::Stopping)
            }
            next = self.feed.next(), if self.queue.has_room() => next.map(Signal::Feed),
        }
    }

    async fn on_signal(&mut self, signal: Signal) -> Result<ControlFlow<()>, Refusal> {
        match signal {
            Signal::ClockMoved => {}
            Signal::Feed(item) => self.read_feed(item).await?,
            Signal::WebhooksChanged => {
                self.app.webhooks_seen(&mut self.changes).await?;
                self.webhook = Arc::new(self.app.webhook(self.id)?);
                if self.webhook.stopped {
                    return Ok(ControlFlow::Break(()));
                }
                // Some dead letters may have to be replayed.
                self.dead_letters_after = Some(0);
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    async fn on_results(
        &mut self,
        results: Vec<AttemptResult<Self>>,
    ) -> Result<ControlFlow<()>, Refusal> {
        let now = self.app.now();
        let mut progress = Progress::default();
        for AttemptResult { message, response } in results {
            if self.handle(&mut progress, message, response).await?.is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        if progress.delivered > 0 || progress.is_first_failure {
            (self.recorded_at, self.unrecorded) = (now, None);
            progress.checkpoint = Some(self.queue.checkpoint());
            self.record(progress).await?;
        } else {
            self.unrecorded = progress.error.or(self.unrecorded.take());
        }
        Ok(ControlFlow::Continue(()))
    }
}

impl WebhookDelivery {
    /// Continues at the webhook's checkpoint. Returns `None` if the webhook is stopped.
    pub(super) fn open(
        app: Arc<App>,
        client: HttpClient,
        limits: QueueLimits,
        id: WebhookId,
    ) -> Result<Option<Self>, Refusal> {
        let mut changes = app.webhook_watch();
        changes.seen();
        let webhook = Arc::new(app.webhook(id)?);
        if webhook.stopped {
            return Ok(None);
        }
        let after = App::webhook_after(&webhook);
        let queue = DeliveryQueue::new(limits, after, &lagging_transactions(&webhook));
        let (clock, recorded_at) = (app.clock_moves(), app.now());
        // The limit of subscribers does not apply to the server itself.
        let feed = app.follow(Actor::System, FeedScope::All, Some(after));
        let feed = feed.map_err(|_| Refusal::Stopping)?;
        Ok(Some(Self {
            app,
            client,
            limits,
            id,
            webhook,
            queue,
            changes,
            clock,
            feed,
            dead_letters_after: Some(0),
            recorded_at,
            unrecorded: None,
            skipped: 0,
        }))
    }

    /// Takes the messages that may be attempted now. Returns whether a page was read for one: other
    /// signals are handled before the next page.
    async fn take_messages(&mut self, now: Time) -> Result<(Vec<EventMessage>, bool), Refusal> {
        let mut messages = Vec::new();
        while let Some(step) = self.queue.next(now) {
            match step {
                NextStep::Attempt(message) => messages.push(message),
                NextStep::Read { tx, after, most } => {
                    if self.read_again(tx, after, most)? {
                        self.record(Progress::checkpoint(&self.queue)).await?;
                    }
                    return Ok((messages, true));
                }
            }
        }
        Ok((messages, false))
    }

    /// Queues the events of the feed that the webhook wants.
    async fn read_feed(&mut self, item: FeedItem) -> Result<(), Refusal> {
        let events = match item {
            FeedItem::Events(events) => events,
            FeedItem::Resync(after) => {
                tracing::warn!(webhook = %self.id, "events missed; the log begins later");
                self.queue.note_read(after);
                return self.record(Progress::checkpoint(&self.queue)).await.map(drop);
            }
        };
        self.skipped += events.len();
        for event in events {
            self.queue.note_read(event.id);
            if is_wanted(&self.webhook, &event) {
                let message = self.message(event)?;
                self.queue.push(message);
            }
        }
        if self.skipped >= SKIPPED_MAX {
            self.skipped = 0;
            self.record(Progress::checkpoint(&self.queue)).await?;
        }
        Ok(())
    }

    fn message(&self, event: FeedEvent) -> Result<EventMessage, Refusal> {
        let (key, id) = (OrderingKey::Transaction(event.transaction), event.id);
        let body = self.app.public_event(event)?.to_cloud_event().into();
        Ok(EventMessage { key, id, body })
    }

    /// Reads one page of the events of a transaction, or of none, after an event. Returns whether
    /// there was nothing.
    fn read_again(
        &mut self,
        tx: Option<TxId>,
        after: EventId,
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
                        tracing::warn!(webhook = %self.id, %tx, "events missed; the log begins later");
                    }
                    (page.items, page.next)
                }
                Err(Refusal::NotFound(_)) => (Vec::new(), None),
                Err(refusal) => return Err(refusal),
            },
        };
        // Later events come from the feed.
        let to = self.queue.read_to();
        events.retain(|event| {
            event.transaction == tx && event.id <= to && is_wanted(&self.webhook, event)
        });
        let found =
            events.into_iter().map(|event| self.message(event)).collect::<Result<_, _>>()?;
        let key = OrderingKey::Transaction(tx);
        Ok(self.queue.refill(key, found, more.filter(|more| *more < to)))
    }

    /// Handles the result of an attempt. Breaks if the webhook has stopped.
    async fn handle(
        &mut self,
        progress: &mut Progress,
        message: EventMessage,
        result: Option<DeliveryResult>,
    ) -> Result<ControlFlow<()>, Refusal> {
        let (error, retry_after) = match result {
            Some(DeliveryResult::Accepted) => {
                return self.end(progress, message, DeliveryEnd::Accepted).await;
            }
            Some(DeliveryResult::Gone) => {
                return self.end(progress, message, DeliveryEnd::Gone).await;
            }
            Some(DeliveryResult::Failed { error, retry_after }) => (error, retry_after),
            None => ("the attempt ended in an error of the server".to_owned(), Duration::ZERO),
        };
        let now = self.app.now();
        let attempts = self.queue.count_failure(message.key, now);
        if attempts >= ATTEMPTS_MAX {
            return self.end(progress, message, DeliveryEnd::GivenUp(error)).await;
        }
        progress.is_first_failure |= attempts == 1;
        progress.error = Some(error);
        let delay = BACKOFF.jittered(attempts, retry_after).as_millis();
        let delay = Span::from_ms(u64::try_from(delay).unwrap_or(u64::MAX));
        self.queue.delay_until(message, now.plus(delay));
        Ok(ControlFlow::Continue(()))
    }

    /// Ends the delivery of an event. Breaks if the webhook has stopped.
    async fn end(
        &mut self,
        progress: &mut Progress,
        message: EventMessage,
        end: DeliveryEnd,
    ) -> Result<ControlFlow<()>, Refusal> {
        self.queue.complete(&message);
        if matches!(end, DeliveryEnd::Accepted) {
            self.queue.note_success(self.app.now());
        }
        match (end, message.key) {
            (DeliveryEnd::Accepted, OrderingKey::Transaction(_)) => progress.delivered += 1,
            (DeliveryEnd::Accepted, OrderingKey::DeadLetter(number)) => {
                let replayed = Some((number, true));
                self.record(Progress { delivered: 1, replayed, ..Progress::default() }).await?;
            }
            (DeliveryEnd::GivenUp(error), OrderingKey::DeadLetter(number)) => {
                let (error, replayed) = (Some(error), Some((number, false)));
                self.record(Progress { error, replayed, ..Progress::default() }).await?;
            }
            (DeliveryEnd::GivenUp(error), OrderingKey::Transaction(_)) => {
                let (number, event) = (message.id.number(), message.id.to_string());
                let body = String::from_utf8_lossy(&message.body).into_owned();
                let given_up = Progress {
                    delivered: std::mem::take(&mut progress.delivered),
                    error: Some(error),
                    dead_letter: Some(GivenUp { number, event, body }),
                    ..Progress::checkpoint(&self.queue)
                };
                if self.record(given_up).await?.stopped {
                    return Ok(ControlFlow::Break(()));
                }
            }
            (DeliveryEnd::Gone, _) => {
                let error = Some("the receiver answers 410: it is gone".to_owned());
                let delivered = std::mem::take(&mut progress.delivered);
                let gone = Progress { delivered, error, gone: true, ..Progress::default() };
                self.record(gone).await?;
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    /// Queues the dead letters after this number that are to be replayed, while memory allows.
    /// Returns the number after which there are more; they are read when these are delivered.
    fn read_dead_letters(&mut self, mut after: u64) -> Result<Option<u64>, Refusal> {
        let mut bytes = 0;
        loop {
            let (letters, more) = self.app.dead_letters(self.id, DEAD_LETTERS_READ, after)?;
            for letter in letters {
                after = letter.number;
                let replays = self.webhook.replays(&letter);
                let DeadLetter { number, event, body, .. } = letter;
                if let Some(id) = event.parse().ok().filter(|_| replays) {
                    bytes += body.len();
                    let key = OrderingKey::DeadLetter(number);
                    self.queue.push(EventMessage { key, id, body: body.into() });
                }
                if bytes >= self.limits.bytes {
                    return Ok(Some(after));
                }
            }
            if !more {
                return Ok(None);
            }
        }
    }

    /// Records progress durably. Returns the webhook as it is then.
    async fn record(&self, progress: Progress) -> Result<Webhook, Refusal> {
        let Progress { checkpoint, delivered, error, dead_letter, replayed, gone, .. } = progress;
        let lags = checkpoint.iter().flat_map(|checkpoint| &checkpoint.lagging);
        let lag = |lagging: &LaggingTransaction| {
            let LaggingTransaction { tx, after, attempts, retry_at } = *lagging;
            Lag { transaction: tx, after: after.to_string(), tried: attempts, again_at: retry_at }
        };
        let lags = lags.map(lag).collect();
        let after = checkpoint.map(|checkpoint| checkpoint.after.to_string());
        let (id, told, dead) = (self.id, delivered, dead_letter);
        let news = WebhookNews { id, after, lags, told, error, dead, replayed, gone };
        self.app.call_until_accepted(Command::NoteWebhook(Box::new(news))).await?;
        self.app.webhook(self.id)
    }
}

/// Returns the transactions that lag behind the webhook's checkpoint.
fn lagging_transactions(webhook: &Webhook) -> Vec<LaggingTransaction> {
    let lagging = |lag: &Lag| {
        let (tx, attempts, retry_at) = (lag.transaction, lag.tried, lag.again_at);
        Some(LaggingTransaction { tx, after: App::lag_after(lag)?, attempts, retry_at })
    };
    webhook.lags.iter().filter_map(lagging).collect()
}

/// Returns whether an event is to be delivered. A dead letter is not delivered again by itself.
fn is_wanted(webhook: &Webhook, event: &FeedEvent) -> bool {
    let is_dead_letter = || webhook.dead.contains(&event.id.number());
    !event.kind.starts_with(OWN_EVENTS) && webhook.wants(&event.kind) && !is_dead_letter()
}
