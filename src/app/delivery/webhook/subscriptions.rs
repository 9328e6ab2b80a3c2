//! Queries of webhooks and their dead letters, and the keys that sign deliveries.

use std::ops::Bound;

use tokio::sync::watch;

use crate::app::App;
use crate::app::read_budget::PAGE_BYTES_MAX;
use crate::app::signature::SigningKey;
use crate::app::{EventId, FeedEvent};
use crate::engine::{Actor, DeadLetter, Lag, Record, RecordKey, Refusal, Webhook};
use crate::records::{Key, ReadError};
use crate::store::{KeyRange, Order, PAGE_ROWS_MAX, View};
use crate::types::{Revision, WebhookId};

/// Number of dead letters that are read at once: each may hold an event of some 60 KiB.
const LETTERS_AT_ONCE: usize = 16;

/// Receiver of changes of webhooks: created, changed by an administrator, deleted. It is not the
/// feed: while there is no webhook, nothing reads the log.
pub struct WebhookWatch(watch::Receiver<Option<Revision>>);

impl WebhookWatch {
    /// Waits for the next change, or until the server stops.
    pub async fn changed(&mut self) {
        // The sender lives as long as the application. An error would mean the end, like `None`.
        drop(self.0.changed().await);
    }

    /// Marks all changes so far as seen.
    pub fn seen(&mut self) {
        self.0.borrow_and_update();
    }
}

impl App {
    /// Returns a webhook.
    ///
    /// # Errors
    /// [`Refusal::NotFound`], [`Refusal::Stopping`].
    pub fn webhook(&self, id: WebhookId) -> Result<Webhook, Refusal> {
        match self.read_record(&RecordKey::Webhook(id))? {
            Some((Record::Webhook(webhook), _)) => Ok(*webhook),
            _ => Err(Refusal::NotFound("webhook")),
        }
    }

    /// Returns all webhooks, oldest first. There are few.
    ///
    /// # Errors
    /// [`Refusal::Stopping`]
    pub fn webhooks(&self) -> Result<Vec<Webhook>, Refusal> {
        let range = KeyRange::prefix(Key::WEBHOOKS);
        let page = self.store.scan(View::Committed, &range, Order::Ascending, PAGE_ROWS_MAX);
        let page = self.guard(page.map_err(ReadError::from))?;
        let mut found = Vec::new();
        for row in &page.rows {
            if let Some(Key::Webhook(id)) = Key::decode(&row.key) {
                found.push(self.webhook(id)?);
            }
        }
        Ok(found)
    }

    /// Returns a receiver of changes of webhooks.
    #[must_use]
    pub fn webhook_watch(&self) -> WebhookWatch {
        WebhookWatch(self.notifier.webhooks.subscribe())
    }

    /// Returns all webhooks, with all changes up to now, when these are durable.
    ///
    /// # Errors
    /// [`Refusal::Stopping`]
    pub async fn webhooks_seen(&self, watch: &mut WebhookWatch) -> Result<Vec<Webhook>, Refusal> {
        let Some(staged) = *watch.0.borrow_and_update() else { return Err(Refusal::Stopping) };
        self.store.durable_at(staged).await.map_err(|_| Refusal::Stopping)?;
        self.webhooks()
    }

    /// Returns the dead letters after a number, oldest first, and whether there are more.
    ///
    /// # Errors
    /// [`Refusal::NotFound`], [`Refusal::Stopping`].
    pub fn dead_letters(
        &self,
        id: WebhookId,
        limit: usize,
        after: u64,
    ) -> Result<(Vec<DeadLetter>, bool), Refusal> {
        self.webhook(id)?;
        let mut range = KeyRange::prefix(&Key::dead_letters_of(id));
        range.from = Bound::Excluded(Key::DeadLetter(id, after).encode().into());
        let (mut found, mut bytes) = (Vec::<DeadLetter>::new(), 0);
        loop {
            let wanted = (limit - found.len()).min(LETTERS_AT_ONCE);
            let page = self.store.scan(View::Committed, &range, Order::Ascending, wanted);
            let page = self.guard(page.map_err(ReadError::from))?;
            for row in &page.rows {
                if let Some(Key::DeadLetter(id, number)) = Key::decode(&row.key)
                    && let Some((Record::DeadLetter(letter), _)) =
                        self.read_record(&RecordKey::DeadLetter((id, number)))?
                {
                    bytes += letter.body.len() + letter.error.len();
                    found.push(letter);
                }
            }
            match page.next {
                Some(next) if found.len() < limit && bytes < PAGE_BYTES_MAX => {
                    range.from = Bound::Excluded(next);
                }
                next => return Ok((found, next.is_some())),
            }
        }
    }

    /// Returns the keys that sign a webhook's deliveries now, newest first. They are derived from
    /// the secret beside the store, so a copy of the store cannot sign.
    #[must_use]
    pub fn webhook_keys(&self, webhook: &Webhook) -> Vec<SigningKey> {
        let newest = self.webhook_key(webhook.id, webhook.generation);
        let old = webhook.old_key_until.filter(|until| self.now() < *until);
        let old = old.and_then(|_| webhook.generation.checked_sub(1));
        let old = old.map(|generation| self.webhook_key(webhook.id, generation));
        std::iter::once(newest).chain(old).collect()
    }

    /// Returns one of a webhook's keys.
    #[must_use]
    pub fn webhook_key(&self, id: WebhookId, generation: u32) -> SigningKey {
        let parts: [&[u8]; 2] = [&id.bits().to_be_bytes(), &generation.to_be_bytes()];
        SigningKey::new(&self.secret.digest("webhook key", &parts))
    }

    /// Returns an event without restricted data, as webhooks get it.
    ///
    /// # Errors
    /// [`Refusal::Stopping`]
    pub fn public_event(&self, event: FeedEvent) -> Result<FeedEvent, Refusal> {
        let Some(tx) = event.transaction else { return Ok(event) };
        let view = match self.transaction(&Actor::System, tx) {
            Ok(view) => view,
            Err(Refusal::NotFound(_)) => return Ok(event),
            Err(refusal) => return Err(refusal),
        };
        let hidden: Vec<&str> = view.definition.restricted.keys().map(|key| &**key).collect();
        Ok(event.without(&hidden))
    }

    /// Returns the position at which the delivery continues.
    #[must_use]
    pub fn webhook_after(webhook: &Webhook) -> EventId {
        webhook.after.parse().unwrap_or(EventId::START)
    }

    /// Returns the position at which a lagging transaction continues.
    #[must_use]
    pub fn lag_after(lag: &Lag) -> Option<EventId> {
        lag.after.parse().ok()
    }
}
