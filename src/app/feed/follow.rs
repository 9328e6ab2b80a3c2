//! A subscriber of the feed.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;
use tokio::time::sleep_until;

use super::commit::{EventBatch, EventId, FeedCommit, FeedEvent, FeedScope};
use super::log_read::LogRead;
use super::tail::{Inbox, SubscriberLimit, SubscriptionKind};
use crate::app::{App, FeedEnd, ReadRejection};
use crate::engine::{Actor, Refusal};
use crate::records::entry::About;
use crate::types::Revision;

/// Maximum number of commits that are read at once while catching up.
const READ_MAX: usize = 64;

/// Maximum time of one part of catching up, in which others wait for the thread.
const PART_TIME: Duration = Duration::from_millis(5);

/// Maximum number of bytes of events that are returned at once, which a slow reader holds in
/// memory; but at least one event.
const EVENTS_BYTES_MAX: usize = 16 * 1024;

/// Maximum number of events that are returned at once.
const EVENTS_MAX: usize = 256;

/// Delay of catching up while too many reads wait.
const FULL_WAIT: Duration = Duration::from_millis(200);

/// Next item of a subscription.
#[derive(Debug)]
pub enum FeedItem {
    /// Events, in order.
    Events(Vec<FeedEvent>),
    /// Events up to here are missing: the log was cut, or the id to continue from is unknown. The
    /// subscriber must read its state again.
    Resync(EventId),
}

/// A subscription to the feed, from a position of the log on, while the actor's session lasts. It
/// ends when it is dropped.
pub struct FeedSubscriber {
    app: Arc<App>,
    actor: Actor,
    scope: FeedScope,
    seat: u64,
    inbox: Arc<Inbox>,
    /// Everything up to here was returned.
    after: EventId,
    /// Up to here events come from the log; later ones are in the inbox.
    read_to: Revision,
    /// True if the id to continue from is unknown.
    is_lost: bool,
    /// A part of the log that is being read.
    reading: Option<oneshot::Receiver<Result<LogPart, Refusal>>>,
}

/// Result of reading a part of the log.
struct LogPart {
    actor: Actor,
    after: EventId,
    item: Option<FeedItem>,
}

impl FeedSubscriber {
    pub(super) fn new(
        app: Arc<App>,
        actor: Actor,
        scope: FeedScope,
        after: Option<EventId>,
        seating: SubscriptionKind,
    ) -> Result<Self, SubscriberLimit> {
        let (seat, inbox, read_to) = app.feed.subscribe(&actor, scope, app.now(), seating)?;
        // If the store cannot be read, the server stops.
        let is_lost = after.is_some_and(|id| !app.is_known_id(&actor, id).unwrap_or(true));
        let after = after.filter(|_| !is_lost).unwrap_or(EventId::end_of(read_to));
        Ok(Self { app, actor, scope, seat, inbox, after, read_to, is_lost, reading: None })
    }

    /// Begins another subscription in place of this one.
    ///
    /// # Errors
    /// [`SubscriberLimit`] when there are too many subscriptions in all.
    pub fn instead(
        &self,
        scope: FeedScope,
        after: Option<EventId>,
    ) -> Result<Self, SubscriberLimit> {
        let (app, actor) = (Arc::clone(&self.app), self.actor.clone());
        Self::new(app, actor, scope, after, SubscriptionKind::Instead)
    }

    /// Returns the actor, with its roles at the last read.
    #[must_use]
    pub const fn actor(&self) -> &Actor {
        &self.actor
    }

    /// Returns the reason for the end of the subscription with this refusal.
    #[must_use]
    pub fn end(&self, refusal: &Refusal) -> FeedEnd {
        self.app.end_of(&self.actor, refusal)
    }

    /// Returns the position at which the subscription began: later events are returned, earlier
    /// ones had happened.
    #[must_use]
    pub const fn begins(&self) -> EventId {
        EventId::end_of(self.read_to)
    }

    /// Returns the position up to which everything was returned; it advances also if nothing was
    /// visible.
    pub fn seen(&mut self) -> EventId {
        if let Some(delivered_to) = self.app.feed.delivered_to(&self.inbox)
            && self.after >= EventId::end_of(self.read_to)
        {
            self.after = self.after.max(EventId::end_of(delivered_to));
        }
        self.after = self.app.marked(self.after).unwrap_or(self.after);
        self.after
    }

    /// Returns the next item. Nothing is lost when this is not awaited to its end.
    ///
    /// # Errors
    /// [`Refusal::Unauthenticated`] when the session has ended, [`Refusal::Stopping`].
    pub async fn next(&mut self) -> Result<FeedItem, Refusal> {
        if std::mem::take(&mut self.is_lost) {
            return Ok(FeedItem::Resync(self.seen()));
        }
        loop {
            if self.after < EventId::end_of(self.read_to) {
                if let Some(item) = self.catch_up().await? {
                    return Ok(item);
                }
                continue;
            }
            self.inbox.filled().await;
            let events = self.take()?;
            if !events.is_empty() {
                return Ok(FeedItem::Events(events));
            }
        }
    }

    /// Waits until something happened that may concern the subscription.
    ///
    /// # Errors
    /// As [`FeedSubscriber::next`].
    pub(super) async fn changed(&mut self) -> Result<(), Refusal> {
        self.inbox.filled().await;
        // Only its existence matters.
        self.take().map(drop)
    }

    /// Reads a part of the log before the inbox. Returns `None` if nothing in it was visible. It
    /// runs on the threads for reads, in the actor's turn: however many subscribers catch up,
    /// others are served, and a commit that several of them read is decoded once.
    async fn catch_up(&mut self) -> Result<Option<FeedItem>, Refusal> {
        if self.inbox.lock().closed {
            return Err(Refusal::Stopping);
        }
        if self.reading.is_none() {
            let (app, actor, scope) = (Arc::clone(&self.app), self.actor.clone(), self.scope);
            let (after, read_to) = (self.after, self.read_to);
            let read = move || LogPart::read(&app, &actor, scope, after, read_to);
            match self.app.reads.begin(&self.actor, read) {
                Ok(reading) => self.reading = Some(reading),
                Err(ReadRejection::Stopping) => return Err(Refusal::Stopping),
                Err(ReadRejection::Actor | ReadRejection::All) => {
                    sleep_until(tokio::time::Instant::now() + FULL_WAIT).await;
                    return Ok(None);
                }
            }
        }
        let Some(reading) = &mut self.reading else { return Ok(None) };
        // Nothing is lost if this is not awaited to its end: it is awaited again.
        let read = reading.await;
        self.reading = None;
        let LogPart { actor, after, item } = read.map_err(|_| Refusal::Stopping)??;
        (self.actor, self.after) = (actor, after);
        Ok(item)
    }

    /// Takes events from the inbox, as the actor may see them now.
    fn take(&mut self) -> Result<Vec<FeedEvent>, Refusal> {
        self.actor = self.app.current(&self.actor)?;
        let mut chosen = EventBatch::new(EVENTS_MAX, EVENTS_BYTES_MAX);
        while !chosen.is_full() {
            let (first, missed) = {
                let waiting = self.inbox.lock();
                if waiting.closed {
                    return Err(Refusal::Stopping);
                }
                (waiting.commits.front().copied(), waiting.missed)
            };
            let Some(revision) = first.filter(|_| !missed) else {
                if missed {
                    self.read_anew();
                }
                break;
            };
            // A subscriber that is too slow for the cache reads the log.
            let commit = self.app.feed.log.get(revision);
            let Some(commit) = commit.filter(|commit| !self.changes_me(commit)) else {
                // Earlier commits that are not in the inbox did not concern the actor as it was
                // then.
                let before = Revision::new(revision.get().saturating_sub(1));
                self.after = self.after.max(EventId::end_of(before));
                self.read_anew();
                break;
            };
            let (app, actor) = (&self.app, &self.actor);
            let owns_now = |tx| app.owns_now(actor, tx);
            let seen = commit.for_actor(actor, &owns_now, self.scope, self.after, &mut chosen);
            self.after = self.after.max(seen);
            if seen < EventId::end_of(revision) {
                break;
            }
            self.inbox.lock().done(revision);
        }
        Ok(chosen.events)
    }

    /// Returns whether a commit may have changed what the actor may see.
    fn changes_me(&self, commit: &FeedCommit) -> bool {
        let own = self.actor.user().map(|user| user.id);
        let is_own = |about: &About| matches!(about, About::User(id) if own == Some(*id));
        commit.events.iter().any(|event| is_own(&event.about))
    }

    /// Drops the inbox: its commits are read from the log.
    fn read_anew(&mut self) {
        self.read_to = self.app.feed.resubscribe(self.seat, &self.actor, self.scope);
    }
}

impl LogPart {
    fn read(
        app: &App,
        actor: &Actor,
        scope: FeedScope,
        mut after: EventId,
        read_to: Revision,
    ) -> Result<Self, Refusal> {
        let actor = app.current(actor)?;
        let since = Instant::now();
        let mut chosen = EventBatch::new(EVENTS_MAX, EVENTS_BYTES_MAX);
        while after < EventId::end_of(read_to) && !chosen.is_full() && since.elapsed() < PART_TIME {
            let read = match app.commits_after(after.read_after(), READ_MAX)? {
                LogRead::Read(read) => read,
                LogRead::Cut { oldest } => {
                    if !chosen.events.is_empty() {
                        break;
                    }
                    after = EventId::end_of(oldest);
                    return Ok(Self { actor, after, item: Some(FeedItem::Resync(after)) });
                }
            };
            if read.is_empty() {
                // Beyond the end of the log.
                after = EventId::end_of(read_to);
            }
            for commit in read {
                if commit.revision > read_to {
                    after = after.max(EventId::end_of(read_to));
                    break;
                }
                let owns_now = |tx| app.owns_now(&actor, tx);
                let seen = commit.for_actor(&actor, &owns_now, scope, after, &mut chosen);
                after = after.max(seen);
                if seen < EventId::end_of(commit.revision) {
                    break;
                }
            }
        }
        let events = chosen.events;
        let item = (!events.is_empty()).then_some(FeedItem::Events(events));
        Ok(Self { actor, after, item })
    }
}

impl Drop for FeedSubscriber {
    fn drop(&mut self) {
        self.app.feed.leave(self.seat);
    }
}
