//! Telling other services of events: those of a transaction in the order in which they happened, those
//! of some transactions at once, each until it was taken or given up.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use http::{HeaderMap, Method};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::live::cloud_event;
use crate::app::signature::sign_standard;
use crate::app::{App, EventId, Followed, Scope, unless_it_panics};
use crate::engine::{Actor, Command, DeadLetter, GivenUp, Refusal, Webhook, WebhookNews};
use crate::outbound::{Client, Reply, Request};
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

/// Most events of one subscription that are read and not over, and most bytes of them: behind those
/// that are not taken, those of others must still have room.
const READ_MAX: usize = 5000;
const READ_BYTES_MAX: usize = 8 * 1024 * 1024;

/// What an attempt came to.
enum Came {
    Taken,
    Gone,
    /// Why not; whether it will never be taken; how long the receiver wants to be left alone.
    Not {
        error: String,
        never: bool,
        wait: Duration,
    },
}

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
    body: Bytes,
    attempts: u32,
    /// How often the receiver said that it will never take it.
    refused: u32,
}

impl Message {
    fn new(lane: Lane, id: EventId, body: String) -> Self {
        Self { lane, id, body: body.into(), attempts: 0, refused: 0 }
    }
}

/// What is read and not over. A lane has a place only while an attempt is on its way: what failed
/// rests in its lane, and others are sent meanwhile.
#[derive(Default)]
struct Desk {
    /// What waits; of each lane the first is sent next.
    waiting: BTreeMap<Lane, VecDeque<Message>>,
    /// The lanes whose first may be sent, in the order in which that came to be.
    ready: VecDeque<Lane>,
    /// The lanes whose first failed, by when it is sent again.
    resting: BTreeSet<(Instant, Lane)>,
    /// The lanes in which one is on its way.
    busy: BTreeSet<Lane>,
    /// The events that are not over, without those that are told again.
    open: BTreeSet<EventId>,
    /// The bytes of them.
    bytes: usize,
    /// The events that were read, in order, from the first that is not over.
    read: VecDeque<EventId>,
    /// Up to here everything is over.
    over_to: Option<EventId>,
    /// The last event that was read, wanted or not.
    read_to: Option<EventId>,
}

impl Desk {
    fn take(&mut self, message: Message) {
        let lane = message.lane;
        if matches!(lane, Lane::Of(_)) {
            self.open.insert(message.id);
            self.read.push_back(message.id);
            self.bytes += message.body.len();
        }
        if !self.busy.contains(&lane) && !self.waiting.contains_key(&lane) {
            self.ready.push_back(lane);
        }
        self.waiting.entry(lane).or_default().push_back(message);
    }

    /// Whether more may be read.
    fn has_room(&self) -> bool {
        self.open.len() < READ_MAX && self.bytes < READ_BYTES_MAX
    }

    /// One whose turn it is, if there is room for it.
    fn next(&mut self, now: Instant) -> Option<Message> {
        while let Some((at, lane)) = self.resting.first().copied().filter(|(at, _)| *at <= now) {
            self.resting.remove(&(at, lane));
            self.ready.push_back(lane);
        }
        if self.busy.len() >= LANES_MAX {
            return None;
        }
        let lane = self.ready.pop_front()?;
        let messages = self.waiting.get_mut(&lane)?;
        let message = messages.pop_front()?;
        if messages.is_empty() {
            self.waiting.remove(&lane);
        }
        self.busy.insert(lane);
        Some(message)
    }

    /// When the first of those that rest is sent again.
    fn wakes_at(&self) -> Option<Instant> {
        self.resting.first().map(|(at, _)| *at)
    }

    /// It was not taken and is sent again then.
    fn again(&mut self, message: Message, at: Instant) {
        let lane = message.lane;
        self.busy.remove(&lane);
        self.resting.insert((at, lane));
        self.waiting.entry(lane).or_default().push_front(message);
    }

    fn over(&mut self, message: &Message) {
        let lane = message.lane;
        self.busy.remove(&lane);
        if self.waiting.contains_key(&lane) {
            self.ready.push_back(lane);
        }
        if matches!(lane, Lane::Of(_)) {
            self.open.remove(&message.id);
            self.bytes = self.bytes.saturating_sub(message.body.len());
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
            told.spawn(Arc::new(teller).run());
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
    async fn run(self: Arc<Self>) {
        loop {
            match unless_it_panics(self.tell()).await {
                Some(Err(refusal))
                    if !matches!(refusal, Refusal::Stopping | Refusal::NotFound(_)) =>
                {
                    tracing::error!(webhook = %self.id, %refusal, "a webhook is told anew");
                }
                Some(_) => return,
                None => tracing::error!(webhook = %self.id, "a webhook is told anew after a panic"),
            }
            tokio::time::sleep_until(Instant::now() + BACK_OFF_MAX).await;
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
            let now = Instant::now();
            while let Some(message) = desk.next(now) {
                let (teller, webhook) = (Arc::clone(self), Arc::clone(&webhook));
                sent.spawn(async move {
                    let came = teller.attempt(&webhook, message.id, message.body.clone());
                    let came = unless_it_panics(came).await;
                    (message, came)
                });
            }
            let rests_to = desk.wakes_at();
            tokio::select! {
                Some(came) = sent.join_next() => {
                    let mut news = News::default();
                    let mut next = Some(came);
                    while let Some(came) = next {
                        // Nothing of it is outside what is caught.
                        let Ok((message, came)) = came else { return Err(Refusal::Stopping) };
                        if self.came(&mut desk, &mut news, message, came).await? {
                            return Ok(());
                        }
                        next = sent.try_join_next();
                    }
                    if news.told > 0 || news.error.is_some() {
                        news.after = desk.after();
                        self.note(news).await?;
                    }
                }
                next = follower.next(), if desk.has_room() => {
                    passed += self.read(&mut desk, &webhook, next?).await?;
                    if passed >= PASSED_MAX {
                        passed = 0;
                        self.note(News { after: desk.after(), ..News::default() }).await?;
                    }
                }
                () = tokio::time::sleep_until(rests_to.unwrap_or(now)), if rests_to.is_some() => {}
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
            // One that was given up before a restart is not tried again by itself.
            let given_up = || webhook.dead.contains(&event.id.number());
            if !event.kind.starts_with(OWN) && webhook.wants(&event.kind) && !given_up() {
                let (lane, id) = (Lane::Of(event.transaction), event.id);
                let body = cloud_event(&self.app.public_event(event)?);
                desk.take(Message::new(lane, id, body));
            }
        }
        Ok(count)
    }

    /// What came of an attempt; whether it was the last one.
    async fn came(
        &self,
        desk: &mut Desk,
        news: &mut News,
        mut message: Message,
        came: Option<Came>,
    ) -> Result<bool, Refusal> {
        let (error, never, wait) = match came {
            Some(Came::Taken) => return self.ended(desk, news, message, End::Taken).await,
            Some(Came::Gone) => return self.ended(desk, news, message, End::Gone).await,
            Some(Came::Not { error, never, wait }) => (error, never, wait),
            None => {
                ("the attempt ended in an error of the server".to_owned(), false, Duration::ZERO)
            }
        };
        message.attempts += 1;
        message.refused += u32::from(never);
        if message.attempts >= ATTEMPTS_MAX || message.refused >= REFUSALS_MAX {
            return self.ended(desk, news, message, End::GivenUp(error)).await;
        }
        if message.attempts == 1 {
            news.error = Some(error);
        }
        let at = Instant::now() + rest(message.attempts, wait);
        desk.again(message, at);
        Ok(false)
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
                let (number, event) = (message.id.number(), message.id.to_string());
                let body = String::from_utf8_lossy(&message.body).into_owned();
                let dead = Some(GivenUp { number, event, body });
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
                    desk.take(Message::new(Lane::Letter(number), id, body));
                }
            }
            if !more {
                return Ok(());
            }
        }
    }

    async fn attempt(&self, webhook: &Webhook, id: EventId, body: Bytes) -> Came {
        let reply = match self.send(webhook, &id.to_string(), body).await {
            Ok(reply) => reply,
            Err(error) => return Came::Not { error, never: false, wait: Duration::ZERO },
        };
        match reply.status {
            200..=299 => Came::Taken,
            410 => Came::Gone,
            status => Came::Not {
                error: format!("the receiver answers {status}"),
                never: (300..500).contains(&status) && !matches!(status, 408 | 425 | 429),
                wait: reply.retry_after(self.app.now()).map_or(Duration::ZERO, |wait| {
                    Duration::from_millis(wait.ms()).min(BACK_OFF_MAX)
                }),
            },
        }
    }

    async fn send(&self, webhook: &Webhook, id: &str, body: Bytes) -> Result<Reply, String> {
        let uri = webhook.url.parse().map_err(|_| "the address is none".to_owned())?;
        let seconds = self.app.now().ms() / 1000;
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
        let request = Request { method: Method::POST, uri, headers, body, timeout: TIMEOUT };
        self.client.send(request).await.map_err(|failure| failure.to_string())
    }

    async fn note(&self, news: News) -> Result<Webhook, Refusal> {
        let News { after, told, error, dead, replayed, gone } = news;
        let after = after.map(|after| after.to_string());
        let news = WebhookNews { id: self.id, after, told, error, dead, replayed, gone };
        self.app.insist(Command::NoteWebhook(Box::new(news))).await?;
        self.app.webhook(self.id)
    }
}

/// How a subscription went on.
#[derive(Default)]
struct News {
    after: Option<EventId>,
    told: u64,
    error: Option<String>,
    dead: Option<GivenUp>,
    replayed: Option<(u64, bool)>,
    gone: bool,
}

/// How long to wait after an attempt, where the receiver wants to be left alone for at least so
/// long.
fn rest(attempts: u32, least: Duration) -> Duration {
    let doublings = attempts.saturating_sub(1).min(16);
    let most = BACK_OFF.saturating_mul(1 << doublings).min(BACK_OFF_MAX);
    jittered(most).max(least)
}

/// Any time up to this one: those who failed together do not come back together.
fn jittered(most: Duration) -> Duration {
    let mut bytes = [0; 4];
    if getrandom::fill(&mut bytes).is_err() {
        return most;
    }
    most.mul_f64(f64::from(u32::from_be_bytes(bytes)) / f64::from(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The shortest and the longest of many waits.
    fn rests(attempts: u32, least: Duration) -> (Duration, Duration) {
        let waits: Vec<Duration> = (0..2000).map(|_| rest(attempts, least)).collect();
        (
            waits.iter().min().copied().unwrap_or_default(),
            waits.into_iter().max().unwrap_or_default(),
        )
    }

    /// Full jitter up to twice as much as before and never more than the most; a receiver that
    /// wants to be left alone is.
    #[test]
    fn a_rest_is_any_up_to_twice_the_last_and_as_long_as_the_receiver_wants() {
        for (attempts, most) in
            [(1, BACK_OFF), (2, BACK_OFF * 2), (5, BACK_OFF * 16), (99, BACK_OFF_MAX)]
        {
            let (least, longest) = rests(attempts, Duration::ZERO);
            assert!(least < most / 20, "{attempts}: {least:?}");
            assert!(longest > most.mul_f64(0.95) && longest <= most, "{attempts}: {longest:?}");
        }
        let wants = BACK_OFF * 2;
        assert_eq!(rests(1, wants), (wants, wants));
        assert!(rests(5, wants).0 >= wants && rests(5, wants).1 > wants);
    }
}
