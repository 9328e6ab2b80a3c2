//! Telling other services of events: those of a transaction in the order in which they happened, those
//! of some transactions at once, each until it was taken or given up.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER};
use http::{HeaderMap, Method};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::live::cloud_event;
use crate::app::signature::sign_standard;
use crate::app::{App, EventId, Followed, Scope};
use crate::engine::{Actor, Command, DeadLetter, Refusal, Webhook, WebhookNews};
use crate::outbound::{Client, Request};
use crate::types::{TxId, WebhookId};

/// What the types of events about subscriptions begin with: they are told to none.
const OWN: &str = "abide.webhook.";

/// How long a receiver may take.
const TIMEOUT: Duration = Duration::from_secs(15);

/// Most attempts for one event: about half an hour.
const ATTEMPTS_MAX: u32 = 14;

/// Most attempts where the receiver says that it will never take it.
const REFUSALS_MAX: u32 = 3;

/// The longest wait after the first attempt; it doubles each time.
const BACK_OFF: Duration = Duration::from_millis(500);

/// The longest wait at all.
const BACK_OFF_MAX: Duration = Duration::from_mins(5);

/// After so many events that nobody wants, where a subscription stands is noted all the same.
const PASSED_MAX: usize = 1000;

/// Dead letters that are looked at for one that is to be told again.
const LETTERS: usize = 200;

/// Most events of one subscription that are on their way at once, each of another transaction: one
/// that the receiver does not take holds up its own transaction's and no other's.
const LANES_MAX: usize = 8;

/// Most events of one subscription that are read and not over.
const READ_MAX: usize = 500;

/// How an event ended.
enum End {
    Taken,
    GivenUp(String),
    Gone,
}

/// What is told one after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Lane {
    /// A dead letter that is told again.
    Letter(u64),
    /// The events of a transaction, or those of none.
    Of(Option<TxId>),
}

/// An event on its way.
struct Message {
    lane: Lane,
    /// What it is called.
    id: EventId,
    body: String,
}

/// What is read and not over.
#[derive(Default)]
struct Desk {
    waiting: BTreeMap<Lane, VecDeque<Message>>,
    /// The lanes in which one is on its way.
    busy: BTreeSet<Lane>,
    /// The events that are not over, without those that are told again.
    open: BTreeSet<EventId>,
    /// The events that were read, in order, from the first that is not over.
    read: VecDeque<EventId>,
    /// Up to here everything is over.
    over_to: Option<EventId>,
    /// The last event that was read, wanted or not.
    read_to: Option<EventId>,
}

impl Desk {
    fn take(&mut self, message: Message) {
        if matches!(message.lane, Lane::Of(_)) {
            self.open.insert(message.id);
            self.read.push_back(message.id);
        }
        self.waiting.entry(message.lane).or_default().push_back(message);
    }

    /// One whose turn it is, if there is room for it.
    fn next(&mut self) -> Option<Message> {
        if self.busy.len() >= LANES_MAX {
            return None;
        }
        let free = self.waiting.iter().find(|(lane, _)| !self.busy.contains(lane));
        let lane = *free?.0;
        let messages = self.waiting.get_mut(&lane)?;
        let message = messages.pop_front()?;
        if messages.is_empty() {
            self.waiting.remove(&lane);
        }
        self.busy.insert(lane);
        Some(message)
    }

    fn over(&mut self, message: &Message) {
        self.busy.remove(&message.lane);
        if matches!(message.lane, Lane::Of(_)) {
            self.open.remove(&message.id);
        }
        while let Some(first) = self.read.front().filter(|first| !self.open.contains(first)) {
            self.over_to = Some(*first);
            self.read.pop_front();
        }
    }

    /// Where it goes on after a restart.
    fn after(&self) -> Option<EventId> {
        if self.read.is_empty() { self.read_to } else { self.over_to }
    }
}

/// Tells all subscriptions, until the server stops.
pub async fn tell_webhooks(app: Arc<App>, client: Client) {
    let mut told = JoinSet::new();
    let mut watch = app.webhook_watch();
    // Nothing may hold the application when it is closed.
    while let Ok(webhooks) = app.webhooks_seen(&mut watch).await {
        for webhook in webhooks {
            let teller = Teller { app: Arc::clone(&app), client: client.clone(), id: webhook.id };
            told.spawn(teller.run());
        }
        watch.changed().await;
        // What is told to each is in the store, so all of them may begin anew when one changes.
        told.shutdown().await;
    }
}

/// Tells one subscription.
struct Teller {
    app: Arc<App>,
    client: Client,
    id: WebhookId,
}

impl Teller {
    async fn run(self) {
        let teller = Arc::new(self);
        if let Err(refusal) = teller.tell().await
            && !matches!(refusal, Refusal::Stopping | Refusal::NotFound(_))
        {
            tracing::warn!(webhook = %teller.id, %refusal, "a webhook is told nothing more");
        }
    }

    async fn tell(self: &Arc<Self>) -> Result<(), Refusal> {
        let webhook = Arc::new(self.app.webhook(self.id)?);
        if webhook.stopped {
            return Ok(());
        }
        let mut desk = Desk::default();
        self.letters(&mut desk)?;
        let after = App::webhook_after(&webhook);
        let mut follower = self.app.follow(Actor::System, Scope::All, Some(after));
        let mut sent = JoinSet::new();
        let mut passed = 0;
        loop {
            while let Some(message) = desk.next() {
                let (teller, webhook) = (Arc::clone(self), Arc::clone(&webhook));
                sent.spawn(async move {
                    let id = message.id.to_string();
                    let end = teller.deliver(&webhook, &id, &message.body).await;
                    (message, end)
                });
            }
            tokio::select! {
                Some(over) = sent.join_next() => {
                    let mut news = News::default();
                    let mut next = Some(over);
                    while let Some(over) = next {
                        // A panic is in the log; the event is told again at the next start.
                        let Ok((message, end)) = over else { return Err(Refusal::Stopping) };
                        if self.ended(&mut desk, &mut news, message, end?).await? {
                            return Ok(());
                        }
                        next = sent.try_join_next();
                    }
                    news.after = desk.after();
                    self.note(news).await?;
                }
                next = follower.next(), if desk.open.len() < READ_MAX => {
                    passed += self.read(&mut desk, &webhook, next?).await?;
                    if passed >= PASSED_MAX {
                        passed = 0;
                        self.note(News { after: desk.after(), ..News::default() }).await?;
                    }
                }
            }
        }
    }

    /// Takes what is to be told of what happened; how many events that was.
    async fn read(
        &self,
        desk: &mut Desk,
        webhook: &Webhook,
        followed: Followed,
    ) -> Result<usize, Refusal> {
        let events = match followed {
            Followed::Events(events) => events,
            Followed::Resync(after) => {
                tracing::warn!(webhook = %self.id, "events are missed: the log begins later");
                desk.read_to = Some(after);
                self.note(News { after: desk.after(), ..News::default() }).await?;
                return Ok(0);
            }
        };
        let count = events.len();
        for event in events {
            desk.read_to = Some(event.id);
            if !event.kind.starts_with(OWN) && webhook.wants(&event.kind) {
                let (lane, id) = (Lane::Of(event.transaction), event.id);
                let body = cloud_event(&self.app.public_event(event)?);
                desk.take(Message { lane, id, body });
            }
        }
        Ok(count)
    }

    /// One is over; whether that was the last one.
    async fn ended(
        &self,
        desk: &mut Desk,
        news: &mut News,
        message: Message,
        end: End,
    ) -> Result<bool, Refusal> {
        desk.over(&message);
        match (end, message.lane) {
            (End::Taken, Lane::Of(_)) => news.told += 1,
            (End::Taken, Lane::Letter(number)) => {
                let replayed = Some((number, true));
                self.note(News { told: 1, replayed, ..News::default() }).await?;
            }
            (End::GivenUp(error), Lane::Letter(number)) => {
                let (error, replayed) = (Some(error), Some((number, false)));
                self.note(News { error, replayed, ..News::default() }).await?;
            }
            (End::GivenUp(error), Lane::Of(_)) => {
                let dead = Some((message.id.to_string(), message.body));
                let told = std::mem::take(&mut news.told);
                let (after, error) = (desk.after(), Some(error));
                let gave_up = News { after, told, error, dead, ..News::default() };
                return Ok(self.note(gave_up).await?.stopped);
            }
            (End::Gone, _) => {
                let error = Some("the receiver answers 410: it is gone".to_owned());
                let told = std::mem::take(&mut news.told);
                self.note(News { told, error, gone: true, ..News::default() }).await?;
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The dead letters that somebody wants to be told again.
    fn letters(&self, desk: &mut Desk) -> Result<(), Refusal> {
        let mut after = 0;
        loop {
            let (letters, more) = self.app.dead_letters(self.id, LETTERS, after)?;
            for DeadLetter { number, event, body, replay, .. } in letters {
                after = number;
                if let Some(id) = event.parse().ok().filter(|_| replay) {
                    desk.take(Message { lane: Lane::Letter(number), id, body });
                }
            }
            if !more {
                return Ok(());
            }
        }
    }

    /// Sends an event until it is taken, or given up.
    async fn deliver(&self, webhook: &Webhook, id: &str, body: &str) -> Result<End, Refusal> {
        let (mut refused, mut error) = (0, String::new());
        for attempt in 0..ATTEMPTS_MAX {
            let mut wait = None;
            match self.attempt(webhook, id, body).await {
                Ok(Ok(())) => return Ok(End::Taken),
                Ok(Err((410, _))) => return Ok(End::Gone),
                Ok(Err((status, retry_after))) => {
                    error = format!("the receiver answers {status}");
                    wait = retry_after;
                    let never = (300..500).contains(&status) && !matches!(status, 408 | 425 | 429);
                    refused += u32::from(never);
                    if refused >= REFUSALS_MAX {
                        break;
                    }
                }
                Err(failure) => error = failure,
            }
            if attempt == 0 {
                self.note(News { error: Some(error.clone()), ..News::default() }).await?;
            }
            if attempt + 1 < ATTEMPTS_MAX {
                let back_off = BACK_OFF.saturating_mul(1 << attempt.min(16)).min(BACK_OFF_MAX);
                let wait = wait.unwrap_or_else(|| jittered(back_off));
                tokio::time::sleep_until(Instant::now() + wait).await;
            }
        }
        Ok(End::GivenUp(error))
    }

    /// One attempt: taken, or the status and how long to wait; the outer error: no answer.
    async fn attempt(
        &self,
        webhook: &Webhook,
        id: &str,
        body: &str,
    ) -> Result<Result<(), (u16, Option<Duration>)>, String> {
        let uri = webhook.url.parse().map_err(|_| "the address is none".to_owned())?;
        let seconds = self.app.now().ms() / 1000;
        let keys = self.app.webhook_keys(webhook);
        let signature = sign_standard(&keys, id, seconds, body.as_bytes());
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
        let body = Bytes::copy_from_slice(body.as_bytes());
        let request = Request { method: Method::POST, uri, headers, body, timeout: TIMEOUT };
        let reply = self.client.send(request).await.map_err(|failure| failure.to_string())?;
        if (200..300).contains(&reply.status) {
            return Ok(Ok(()));
        }
        let wait = reply.headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok());
        let wait = wait.and_then(|text| text.parse().ok()).map(Duration::from_secs);
        Ok(Err((reply.status, wait.map(|wait| wait.min(BACK_OFF_MAX)))))
    }

    async fn note(&self, news: News) -> Result<Webhook, Refusal> {
        let News { after, told, error, dead, replayed, gone } = news;
        let after = after.map(|after| after.to_string());
        let news = WebhookNews { id: self.id, after, told, error, dead, replayed, gone };
        self.app.call(Command::NoteWebhook(Box::new(news)), Actor::System).await?;
        self.app.webhook(self.id)
    }
}

/// How a subscription went on.
#[derive(Default)]
struct News {
    after: Option<EventId>,
    told: u64,
    error: Option<String>,
    dead: Option<(String, String)>,
    replayed: Option<(u64, bool)>,
    gone: bool,
}

/// Any time up to this one: those who failed together do not come back together.
fn jittered(most: Duration) -> Duration {
    let mut bytes = [0; 4];
    if getrandom::fill(&mut bytes).is_err() {
        return most;
    }
    most.mul_f64(f64::from(u32::from_be_bytes(bytes)) / f64::from(u32::MAX))
}
