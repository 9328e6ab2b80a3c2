//! The log as a feed: the events that an actor may see, in order.
//!
//! - `commit`: a decoded commit of the log, and the part of it that an actor may see;
//! - `log_cache`: decoded commits, shared by all readers;
//! - `tail`: the reader of the log's end, and the inboxes that it fills;
//! - `as_of`: records as of a past revision;
//! - `proof`: the proof of a history against a head of the chain that was recorded elsewhere;
//! - `cloud_event`: the JSON of an event;
//! - `follow`: a subscriber, from any position of the log on, without gaps or duplicates.
//!
//! An event's id consists of its commit, its position in the commit and a mark of the commit. A
//! reader that knows the last id it saw continues behind it, also after a restart; an id of another
//! log, or of this one before it was restored, is recognised.

mod as_of;
mod cloud_event;
mod commit;
mod follow;
mod log_cache;
mod log_read;
mod proof;
mod tail;

pub use commit::{EventActor, EventId, FeedEvent, FeedScope};
pub use follow::{FeedItem, FeedSubscriber};
pub use proof::{ChainHead, ProofReader};
pub(super) use tail::Feed;
pub use tail::SubscriberLimit;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use super::application::App;
use super::read_budget::{PAGE_BYTES_MAX, ReadBudget};
use super::read_pool::ReadRejection;
use crate::engine::{Actor, IndexEntry, OwnerId, Record, RecordKey, Refusal, TxView};
use crate::records::{DecodeError, Key, ReadError, read_commits, read_record};
use crate::store::{KeyRange, LogEntry, Order, PAGE_ROWS_MAX, StoreError, View};
use crate::types::{Revision, SessionId, Span, Time, TxId};
use commit::{EventBatch, FeedCommit};
use log_read::LogRead;
use tail::SubscriptionKind;

/// Maximum number of commits that are read at once, so that a page which is full early has not read
/// many more.
const READ_MAX: usize = 64;

/// A page of events, oldest first.
#[derive(Clone, Debug)]
pub struct EventPage {
    /// The events.
    pub items: Vec<FeedEvent>,
    /// Id after which the next page begins, also if nothing was found.
    pub next_after: EventId,
    /// True if events before the page's are missing since the log was cut.
    pub resync: bool,
    /// True if there are more events already.
    pub more: bool,
}

/// A page of a transaction's history, oldest first.
#[derive(Clone, Debug)]
pub struct HistoryPage {
    /// The events.
    pub items: Vec<FeedEvent>,
    /// Id after which the next page begins; `None`: nothing is left.
    pub next: Option<EventId>,
    /// True if events before the page's are missing since the log was cut.
    pub retired: bool,
}

impl App {
    /// Returns at most `limit` events after `after` that the actor may see. A page examines a
    /// bounded part of the log. For an unknown id the page is empty, says `resync` and continues
    /// with the next event that happens.
    ///
    /// # Errors
    /// [`Refusal::Stopping`]
    pub fn events(
        &self,
        actor: &Actor,
        after: EventId,
        limit: usize,
    ) -> Result<EventPage, Refusal> {
        let mut page =
            EventPage { items: Vec::new(), next_after: after, resync: false, more: true };
        if !self.is_known_id(actor, after)? {
            let next_after = self.marked(EventId::end_of(self.store.durable()))?;
            return Ok(EventPage { next_after, resync: true, more: false, ..page });
        }
        let mut chosen = EventBatch::new(limit, PAGE_BYTES_MAX);
        let mut budget = ReadBudget::of_page();
        'page: while !budget.is_spent() {
            let read = match self.commits_after(page.next_after.read_after(), READ_MAX)? {
                LogRead::Read(read) => read,
                LogRead::Cut { oldest } => {
                    page.resync = true;
                    page.next_after = EventId::end_of(oldest);
                    continue;
                }
            };
            if read.is_empty() {
                page.more = false;
                break;
            }
            for commit in read {
                budget.spend(commit.bytes);
                let (owns_now, after) = (|tx| self.owns_now(actor, tx), page.next_after);
                let seen = commit.for_actor(actor, &owns_now, FeedScope::All, after, &mut chosen);
                page.next_after = page.next_after.max(seen);
                if seen < EventId::end_of(commit.revision) || budget.is_spent() {
                    break 'page;
                }
            }
        }
        page.next_after = self.marked(page.next_after)?;
        page.items = chosen.events;
        Ok(page)
    }

    /// Returns at most `limit` events of a transaction after `after`; for an unknown id from its
    /// beginning.
    ///
    /// # Errors
    /// [`Refusal::NotFound`], also if the actor may not see it, [`Refusal::Stopping`].
    pub fn history(
        &self,
        actor: &Actor,
        tx: TxId,
        after: EventId,
        limit: usize,
    ) -> Result<HistoryPage, Refusal> {
        self.transaction(actor, tx)?;
        let mut page = HistoryPage { items: Vec::new(), next: None, retired: false };
        let after = if self.is_known_id(actor, after)? {
            after
        } else {
            page.retired = true;
            EventId::START
        };
        let mut chosen = EventBatch::new(limit, PAGE_BYTES_MAX);
        let mut budget = ReadBudget::of_page();
        let mut from = after.read_after();
        'page: loop {
            let (revisions, more) = self.guard(self.commits_of(tx, from))?;
            for revision in revisions {
                if budget.is_spent() {
                    page.next = Some(EventId::end_of(from));
                    break 'page;
                }
                from = revision;
                let before = Revision::new(revision.get().saturating_sub(1));
                let LogRead::Read(read) = self.commits_after(before, 1)? else {
                    page.retired = true;
                    budget.spend(0);
                    continue;
                };
                for commit in read {
                    budget.spend(commit.bytes);
                    let (scope, owns_now) =
                        (FeedScope::Transaction(tx), |tx| self.owns_now(actor, tx));
                    let seen = commit.for_actor(actor, &owns_now, scope, after, &mut chosen);
                    if seen < EventId::end_of(commit.revision) {
                        page.next = Some(seen);
                        break 'page;
                    }
                }
            }
            if !more {
                break;
            }
        }
        page.next = page.next.map(|next| self.marked(next)).transpose()?;
        page.items = chosen.events;
        Ok(page)
    }

    /// Subscribes to the events after `after`, or from now on. Subscribe before you read what the
    /// events shall keep up to date.
    ///
    /// # Errors
    /// [`SubscriberLimit`] when the actor has too many subscriptions, or all actors together have.
    pub fn follow(
        self: &Arc<Self>,
        actor: Actor,
        scope: FeedScope,
        after: Option<EventId>,
    ) -> Result<FeedSubscriber, SubscriberLimit> {
        FeedSubscriber::new(Arc::clone(self), actor, scope, after, SubscriptionKind::Stream)
    }

    /// Returns a transaction as soon as `is_news` accepts it, or when the time is up. The boolean
    /// is `false` if too many callers wait already: then it returns at once.
    ///
    /// # Errors
    /// [`Refusal::NotFound`], also if the actor may not see it, [`Refusal::Unauthenticated`] when
    /// the session ends meanwhile, [`Refusal::Stopping`].
    pub async fn transaction_when(
        self: &Arc<Self>,
        actor: &Actor,
        tx: TxId,
        wait: Duration,
        is_news: impl Fn(&TxView) -> bool + Send,
    ) -> Result<(TxView, bool), Refusal> {
        let until = Instant::now() + wait;
        let view = self.read_transaction(actor, tx).await?;
        if is_news(&view) {
            return Ok((view, true));
        }
        let scope = FeedScope::Transaction(tx);
        let seat = FeedSubscriber::new(
            Arc::clone(self),
            actor.clone(),
            scope,
            None,
            SubscriptionKind::Wait,
        );
        let Ok(mut follower) = seat else { return Ok((view, false)) };
        loop {
            // Read after the subscription began, so that no earlier commit is missed.
            let view = self.read_transaction(follower.actor(), tx).await?;
            if is_news(&view) {
                return Ok((view, true));
            }
            match timeout_at(until, follower.changed()).await {
                Ok(changed) => changed?,
                Err(_) => return Ok((view, true)),
            }
        }
    }

    /// Returns a transaction. A large one is read on the threads for reads.
    ///
    /// # Errors
    /// [`Refusal::NotFound`], also if the actor may not see it, [`Refusal::Busy`],
    /// [`Refusal::Stopping`].
    pub async fn read_transaction(
        self: &Arc<Self>,
        actor: &Actor,
        tx: TxId,
    ) -> Result<TxView, Refusal> {
        if !self.is_large(tx)? {
            return self.transaction(actor, tx);
        }
        let (app, reader) = (Arc::clone(self), actor.clone());
        let read = self.reads.run(actor, move || app.transaction(&reader, tx)).await;
        read.map_err(|reason| match reason {
            ReadRejection::Stopping => Refusal::Stopping,
            ReadRejection::Actor | ReadRejection::All => {
                Refusal::Busy { retry_after: Span::from_seconds(1) }
            }
        })?
    }

    /// Ends all subscriptions, before the server stops.
    pub fn end_feed(&self) {
        self.feed.close();
        self.notifier.webhooks.send_replace(None);
    }

    /// Returns the number of subscriptions of a session, and when the oldest began.
    #[must_use]
    pub fn connections(&self, session: SessionId) -> (usize, Option<Time>) {
        self.feed.of_session(session)
    }

    /// Returns whether a transaction is a user's now: by the index, so that no record is read.
    fn owns_now(&self, actor: &Actor, tx: TxId) -> bool {
        let Some(user) = actor.user() else { return false };
        let key = Key::IndexEntry(IndexEntry::TxOf(OwnerId::User(user.id), tx)).encode();
        let found = self.store.get(View::Committed, &key).map_err(ReadError::from);
        self.guard(found).is_ok_and(|found| found.is_some())
    }

    /// Returns whether an id is of this log: not of another store, nor of this one before it was
    /// restored, nor of the future. An id of a retired commit cannot be checked; its reader gets
    /// `resync`. Ids that the server itself has recorded are trusted.
    pub(super) fn is_known_id(&self, actor: &Actor, id: EventId) -> Result<bool, Refusal> {
        // There is no commit zero: such an id means the beginning.
        if id.revision == Revision::ZERO || *actor == Actor::System {
            return Ok(true);
        }
        Ok(match self.entry_of(id)? {
            LogRead::Read(entry) => entry.is_some_and(|entry| id.is_of(&entry)),
            LogRead::Cut { .. } => true,
        })
    }

    /// Returns an id with the mark of its commit, if the log still has the commit.
    pub(super) fn marked(&self, id: EventId) -> Result<EventId, Refusal> {
        if id.is_marked() {
            return Ok(id);
        }
        let LogRead::Read(entry) = self.entry_of(id)? else { return Ok(id) };
        let entry = entry.filter(|entry| entry.revision == id.revision);
        Ok(entry.map_or(id, |entry| id.with_mark(commit::mark_of(&entry))))
    }

    /// Reads the commit of an id.
    fn entry_of(&self, id: EventId) -> Result<LogRead<Option<LogEntry>>, Refusal> {
        let before = Revision::new(id.revision.get().saturating_sub(1));
        match self.store.read_log(before, 1) {
            Ok(entries) => Ok(LogRead::Read(entries.into_iter().next())),
            Err(StoreError::Gone { oldest }) => Ok(LogRead::Cut { oldest }),
            Err(error) => self.guard(Err(error.into())),
        }
    }

    /// Reads commits of the log.
    fn commits_after(
        &self,
        after: Revision,
        limit: usize,
    ) -> Result<LogRead<Vec<Arc<FeedCommit>>>, Refusal> {
        let known = self.feed.log.run_after(after, limit);
        if !known.is_empty() {
            return Ok(LogRead::Read(known));
        }
        let entries = match self.store.read_log(after, limit) {
            Ok(entries) => entries,
            Err(StoreError::Gone { oldest }) => return Ok(LogRead::Cut { oldest }),
            Err(error) => return self.guard(Err(error.into())),
        };
        let commit = |entry| FeedCommit::read(&*self.store, &self.definitions, entry).map(Arc::new);
        let commit: Vec<_> = self.guard(entries.iter().map(commit).collect())?;
        self.feed.log.put(&commit);
        Ok(LogRead::Read(commit))
    }

    /// Returns the next commits after `from` that concern a transaction, and whether there are
    /// more.
    fn commits_of(&self, tx: TxId, from: Revision) -> Result<(Vec<Revision>, bool), ReadError> {
        // The record first: a commit that moves from it into rows meanwhile is found in both.
        let record = read_record(&*self.store, View::Committed, &RecordKey::Tx(tx))?;
        let range = KeyRange::prefix(&Key::log_of(tx));
        let range = range.after(Key::TxLog(tx, from).encode().into());
        let page = self.store.scan(View::Committed, &range, Order::Ascending, PAGE_ROWS_MAX)?;
        let mut found = BTreeSet::new();
        for row in &page.rows {
            let key = Key::decode(&row.key);
            let commits = key.as_ref().map(|key| read_commits(key, &row.value)).transpose()?;
            found.extend(commits.flatten().ok_or_else(|| DecodeError {
                key: format!("{:?}", row.key),
                what: "no such key is written".to_owned(),
            })?);
        }
        let more = page.next.is_some();
        // The commits that the record names come after all rows.
        if !more && let Some(Record::Tx(tx)) = record.as_ref().map(|(record, _)| &**record) {
            found.extend(&tx.commits);
        }
        found.retain(|commit| *commit > from);
        Ok((found.into_iter().collect(), more))
    }
}
