//! Telling other services of events: those of a transaction in the order in which they happened, those
//! of some transactions at once, each until it was taken or given up.

mod desk;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use http::{HeaderMap, Method};
use tokio::task::JoinSet;
use tokio::time::Instant;

use self::desk::{Desk, Lane, Message, Room, Stands, Turn};
use super::live::cloud_event;
use crate::app::signature::sign_standard;
use crate::app::{App, EventId, FeedEvent, Followed, Scope, unless_it_panics};
use crate::engine::{Actor, Command, DeadLetter, GivenUp, Lag, Refusal, Webhook, WebhookNews};
use crate::outbound::{Client, Failure, Reply, Request};
use crate::types::{TxId, WebhookId};

/// What the types of events about subscriptions begin with: they are told to none.
const OWN: &str = "abide.webhook.";

/// How long a receiver may take.
const TIMEOUT: Duration = Duration::from_secs(15);

/// Most attempts for one event: about a day in the mean, so that a receiver may be away over a
/// night. Quick at first and hours apart at last, as the schedule that Standard Webhooks proposes.
const ATTEMPTS_MAX: u32 = 27;

/// Most attempts where the receiver says that it will never take it.
const REFUSALS_MAX: u32 = 3;

/// The longest wait after the first attempt; it doubles each time.
const BACK_OFF: Duration = Duration::from_millis(500);

/// The longest wait at all.
const BACK_OFF_MAX: Duration = Duration::from_hours(4);

/// When a subscription is told anew after a panic.
const ANEW_AFTER: Duration = Duration::from_mins(5);

/// After so many events that nobody wants, where a subscription stands is noted all the same.
const PASSED_MAX: usize = 1000;

/// Dead letters that are looked at for one that is to be told again.
const LETTERS: usize = 200;

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

/// Tells all subscriptions, until the server stops.
pub async fn tell_webhooks(app: Arc<App>, client: Client) {
    tell_with(app, client, Terms::default()).await;
}

/// What is told holds at most so much, and begins anew after a panic when so much time has passed.
#[derive(Clone, Copy)]
struct Terms {
    room: Room,
    anew: Duration,
}

impl Default for Terms {
    fn default() -> Self {
        Self { room: Room::default(), anew: ANEW_AFTER }
    }
}

async fn tell_with(app: Arc<App>, client: Client, terms: Terms) {
    let mut told = JoinSet::new();
    let mut watch = app.webhook_watch();
    // Nothing may hold the application when it is closed.
    while let Ok(webhooks) = app.webhooks_seen(&mut watch).await {
        for webhook in webhooks {
            let (app, client, id) = (Arc::clone(&app), client.clone(), webhook.id);
            told.spawn(Arc::new(Teller { app, client, terms, id }).run());
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
    terms: Terms,
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
            tokio::time::sleep_until(Instant::now() + self.terms.anew).await;
        }
    }

    async fn tell(self: &Arc<Self>) -> Result<(), Refusal> {
        let webhook = Arc::new(self.app.webhook(self.id)?);
        if webhook.stopped {
            return Ok(());
        }
        let after = App::webhook_after(&webhook);
        let mut desk = Desk::new(self.terms.room, after, &App::webhook_lags(&webhook));
        let mut letters_after = Some(0);
        let follower = self.app.follow(Actor::System, Scope::All, Some(after));
        // The server itself always finds room.
        let mut follower = follower.map_err(|_| Refusal::Stopping)?;
        let mut sent = JoinSet::new();
        let mut passed = 0;
        loop {
            if let Some(after) = letters_after.take_if(|_| !desk.has_letters()) {
                letters_after = self.letters(&mut desk, &webhook, after)?;
            }
            let now = Instant::now();
            let mut rereads = false;
            while let Some(turn) = desk.next(now) {
                let message = match turn {
                    Turn::Send(message) => message,
                    Turn::Read { tx, after, most } => {
                        if self.reread(&mut desk, &webhook, (tx, after), most)? {
                            self.note(News::of(&desk)).await?;
                        }
                        // What came meanwhile has its turn between two pages.
                        rereads = true;
                        break;
                    }
                };
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
                        news.stands = Some(desk.stands());
                        self.note(news).await?;
                    }
                }
                next = follower.next(), if desk.has_room() => {
                    passed += self.read(&mut desk, &webhook, next?).await?;
                    if passed >= PASSED_MAX {
                        passed = 0;
                        self.note(News::of(&desk)).await?;
                    }
                }
                () = tokio::task::yield_now(), if rereads => {}
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
                desk.read(after);
                self.note(News::of(desk)).await?;
                return Ok(0);
            }
        };
        let count = events.len();
        for event in events {
            desk.read(event.id);
            if is_wanted(webhook, &event) {
                desk.take(self.message(event)?);
            }
        }
        Ok(count)
    }

    fn message(&self, event: FeedEvent) -> Result<Message, Refusal> {
        let (lane, id) = (Lane::Of(event.transaction), event.id);
        let body = cloud_event(&self.app.public_event(event)?).into();
        Ok(Message { lane, id, body })
    }

    /// Reads again what a transaction, or none, has after an event: one page. Whether there was
    /// nothing.
    fn reread(
        &self,
        desk: &mut Desk,
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
        let to = desk.read_to();
        events
            .retain(|event| event.transaction == tx && event.id <= to && is_wanted(webhook, event));
        let found =
            events.into_iter().map(|event| self.message(event)).collect::<Result<_, _>>()?;
        Ok(desk.reread(Lane::Of(tx), found, more.filter(|more| *more < to)))
    }

    /// What came of an attempt; whether it was the last one.
    async fn came(
        &self,
        desk: &mut Desk,
        news: &mut News,
        message: Message,
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
        let (attempts, refused) = desk.failed(message.lane, never, Instant::now());
        if attempts >= ATTEMPTS_MAX || refused >= REFUSALS_MAX {
            return self.ended(desk, news, message, End::GivenUp(error)).await;
        }
        if attempts == 1 {
            news.error = Some(error);
        }
        let at = Instant::now() + rest(attempts, wait);
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
        if matches!(end, End::Taken) {
            desk.taken(Instant::now());
        }
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
                let gave_up = News { told, error: Some(error), dead, ..News::of(desk) };
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

    /// Takes the dead letters behind this one that somebody wants to be told again, as many as there
    /// is room for; behind which one there are more, which come when these are over.
    fn letters(
        &self,
        desk: &mut Desk,
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
                    desk.take(Message { lane: Lane::Letter(number), id, body: body.into() });
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

    async fn attempt(&self, webhook: &Webhook, id: EventId, body: Bytes) -> Came {
        let reply = match self.send(webhook, &id.to_string(), body).await {
            Ok(Some(reply)) => reply,
            // What a receiver says beside that is read by nobody.
            Ok(None) => return Came::Taken,
            Err(error) => return Came::Not { error, never: false, wait: Duration::ZERO },
        };
        match reply.status {
            200..=299 => Came::Taken,
            410 => Came::Gone,
            status => Came::Not {
                error: format!("the receiver answers {status}"),
                never: (300..500).contains(&status) && !matches!(status, 408 | 425 | 429),
                wait: reply.retry_after(self.app.wall_now()).map_or(Duration::ZERO, |wait| {
                    Duration::from_millis(wait.ms()).min(BACK_OFF_MAX)
                }),
            },
        }
    }

    /// Sends an event; `None`: the answer tells of success and is too large to be read.
    async fn send(
        &self,
        webhook: &Webhook,
        id: &str,
        body: Bytes,
    ) -> Result<Option<Reply>, String> {
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
        let request = Request { method: Method::POST, uri, headers, body, timeout: TIMEOUT };
        match self.client.send(request).await {
            Ok(reply) => Ok(Some(reply)),
            Err(Failure::TooLarge) => Ok(None),
            Err(failure) => Err(failure.to_string()),
        }
    }

    async fn note(&self, news: News) -> Result<Webhook, Refusal> {
        let News { stands, told, error, dead, replayed, gone } = news;
        let lags = stands.iter().flat_map(|stands| &stands.lags);
        let lag = |(tx, after): &(_, EventId)| Lag { transaction: *tx, after: after.to_string() };
        let lags = lags.map(lag).collect();
        let after = stands.map(|stands| stands.after.to_string());
        let news = WebhookNews { id: self.id, after, lags, told, error, dead, replayed, gone };
        self.app.insist(Command::NoteWebhook(Box::new(news))).await?;
        self.app.webhook(self.id)
    }
}

/// How a subscription went on.
#[derive(Default)]
struct News {
    stands: Option<Stands>,
    told: u64,
    error: Option<String>,
    dead: Option<GivenUp>,
    replayed: Option<(u64, bool)>,
    gone: bool,
}

impl News {
    fn of(desk: &Desk) -> Self {
        Self { stands: Some(desk.stands()), ..Self::default() }
    }
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
