//! Telling other services of events: one subscription after the other event, in the order in which
//! they happened, each until it was taken or given up.

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
use crate::types::WebhookId;

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

/// How an event ended.
enum End {
    Taken,
    GivenUp(String),
    Gone,
}

/// Tells all subscriptions, until the server stops.
pub async fn tell_webhooks(app: Arc<App>, client: Client) {
    let mut told = JoinSet::new();
    let mut follower = app.follow(Actor::System, Scope::All, None);
    loop {
        told.shutdown().await;
        let Ok(webhooks) = app.webhooks() else { return };
        for webhook in webhooks {
            let teller = Teller { app: Arc::clone(&app), client: client.clone(), id: webhook.id };
            told.spawn(teller.run());
        }
        // What is told to each is in the store, so all of them may begin anew when one changes.
        loop {
            match follower.next().await {
                Ok(Followed::Events(events)) => {
                    if events.iter().any(|event| event.kind.starts_with(OWN)) {
                        break;
                    }
                }
                Ok(Followed::Resync(_)) => break,
                // Nothing may hold the application when it is closed.
                Err(_) => return told.shutdown().await,
            }
        }
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
        if let Err(refusal) = self.tell().await
            && !matches!(refusal, Refusal::Stopping | Refusal::NotFound(_))
        {
            tracing::warn!(webhook = %self.id, %refusal, "a webhook is told nothing more");
        }
    }

    async fn tell(&self) -> Result<(), Refusal> {
        let webhook = self.app.webhook(self.id)?;
        if webhook.stopped {
            return Ok(());
        }
        self.replay(&webhook).await?;
        let after = App::webhook_after(&webhook);
        let mut follower = self.app.follow(Actor::System, Scope::All, Some(after));
        let mut passed = 0;
        loop {
            let events = match follower.next().await? {
                Followed::Events(events) => events,
                Followed::Resync(after) => {
                    tracing::warn!(webhook = %self.id, "events are missed: the log begins later");
                    self.note(News { after: Some(after), ..News::default() }).await?;
                    continue;
                }
            };
            let (mut news, mut wanted) = (News::default(), false);
            for event in events {
                news.after = Some(event.id);
                passed += 1;
                if event.kind.starts_with(OWN) || !webhook.wants(&event.kind) {
                    continue;
                }
                wanted = true;
                let id = event.id;
                let body = cloud_event(&self.app.public_event(event)?);
                match self.deliver(&webhook, &id.to_string(), &body).await? {
                    End::Taken => news.told += 1,
                    End::GivenUp(error) => {
                        let dead = Some((id.to_string(), body));
                        let told = std::mem::take(&mut news.told);
                        let gave_up = News {
                            after: Some(id),
                            told,
                            error: Some(error),
                            dead,
                            ..News::default()
                        };
                        if self.note(gave_up).await?.stopped {
                            return Ok(());
                        }
                    }
                    End::Gone => {
                        let error = Some("the receiver answers 410: it is gone".to_owned());
                        let gone = News { error, gone: true, ..News::default() };
                        return self.note(gone).await.map(drop);
                    }
                }
            }
            if wanted || passed >= PASSED_MAX {
                passed = 0;
                self.note(news).await?;
            }
        }
    }

    /// Tells the dead letters again that somebody wants to be told again.
    async fn replay(&self, webhook: &Webhook) -> Result<(), Refusal> {
        let mut after = 0;
        loop {
            let (letters, more) = self.app.dead_letters(self.id, LETTERS, after)?;
            for DeadLetter { number, event, body, replay, .. } in letters {
                after = number;
                if !replay {
                    continue;
                }
                match self.deliver(webhook, &event, &body).await? {
                    End::Taken => {
                        let news = News { told: 1, replayed: Some(number), ..News::default() };
                        self.note(news).await?;
                    }
                    End::GivenUp(error) => {
                        self.note(News { error: Some(error), ..News::default() }).await?;
                    }
                    End::Gone => return Ok(()),
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
    replayed: Option<u64>,
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
