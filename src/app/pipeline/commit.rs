//! Stage `commit`: a decision becomes one batch. Commands and timers share this path, and nothing
//! else writes to the store but `upkeep`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::answers::{AnswerToStore, IdempotentRequest, StoredSize, store_answer};
use super::executor::{Executor, Fatal};
use super::idempotency::shown;
use super::job::CommandContext;
use super::live_keys::KeyReservation;
use crate::app::api::{Answer, Render};
use crate::engine::{
    Actor, Changes, Event, IndexEntry, LoadedRecord, Outcome, Record, RecordKey, Refusal, TxEvent,
};
use crate::records::entry::EntryToWrite;
use crate::records::value::{self, ClockV1};
use crate::records::{Key, Pack, PlanError, Planned, Reader, plan};
use crate::store::{Batch, Receipt, StoreError, Urgency, Write};
use crate::types::{Revision, Span, Time, TxId};

/// Longest time between two writes of the clock's high-water mark. It bounds the time that can
/// repeat if the wall clock is set back while the server is down and the log was cut.
const CLOCK_WRITTEN_EVERY: Span = Span::from_minutes(1);

/// A decision and what its commit needs beside it.
pub(super) struct DecisionToCommit<'a> {
    pub(super) now: Time,
    /// Author of the log entry.
    pub(super) actor: &'a Actor,
    /// Request id of the log entry; empty for timers.
    pub(super) request: &'a str,
    pub(super) urgency: Urgency,
    pub(super) changes: Changes,
    pub(super) reader: Reader<'a>,
    /// `None`: no answer is stored.
    pub(super) answer: Option<AnswerToCommit<'a>>,
}

/// An answer that is stored under an Idempotency-Key in the commit that it answers.
pub(super) struct AnswerToCommit<'a> {
    pub(super) context: CommandContext<'a>,
    pub(super) result: &'a Result<Outcome, Refusal>,
    pub(super) key: &'a IdempotentRequest,
    pub(super) render: &'a Render,
    /// Parts of an expired answer that lie where this one will.
    pub(super) stale_parts: u8,
    /// Taken when the commit is staged.
    pub(super) reservation: &'a mut Option<KeyReservation>,
}

/// Result of an attempt to commit.
pub(super) enum CommitResult<T> {
    /// The commit is staged: the executor sees it, and readers do when it is durable.
    Staged(T),
    /// Nothing has changed.
    Rejected(CommitRejection),
}

/// A staged decision.
pub(super) struct StagedDecision {
    pub(super) revision: Revision,
    pub(super) receipt: Receipt,
    /// The rendered answer, if one was to be stored.
    pub(super) answer: Option<Answer>,
}

/// Reason for which the store or the plan rejects a commit.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum CommitRejection {
    /// Another commit changed a record that this one has read.
    #[error("a record was changed by another writer")]
    Conflict,
    #[error("{0}")]
    TooLarge(&'static str),
    #[error("the answer is too large to be stored")]
    AnswerTooLarge,
    #[error("the disk has no space left")]
    NoSpace,
    #[error("too many commits wait for the disk")]
    Busy,
}

/// A batch and what the executor remembers when it is staged.
#[derive(Default)]
pub(super) struct PendingCommit {
    batch: Batch,
    /// Records as the commit leaves them.
    records: BTreeMap<RecordKey, Option<Record>>,
    /// Cacheable records that the decision has read.
    loaded: Vec<(RecordKey, LoadedRecord)>,
    /// Records that are too large for the cache.
    large: Vec<RecordKey>,
    started_transactions: Vec<TxId>,
    /// Earliest timer that the commit sets.
    earliest_timer: Option<Time>,
    /// Earliest call that the commit makes due.
    earliest_call: Option<Time>,
    /// True if the commit changes webhooks.
    changes_webhooks: bool,
}

impl PendingCommit {
    /// Returns a commit of rows that no decision wrote.
    pub(super) fn of(batch: Batch) -> Self {
        Self { batch, ..Self::default() }
    }
}

impl Executor {
    /// Commits a decision: records, index entries, log entry, timers, outbound calls and the stored
    /// answer as one batch.
    pub(super) fn commit_decision(
        &mut self,
        decision: DecisionToCommit<'_>,
    ) -> Result<CommitResult<StagedDecision>, Fatal> {
        let DecisionToCommit { now, actor, request, urgency, changes, reader, mut answer } =
            decision;
        let revision = self.last.next();
        let Planned { preconditions, mut pack, large } = match plan(&changes, &reader) {
            Err(PlanError::TooLarge) => {
                let what = "a record is larger than all its parts";
                return Ok(CommitResult::Rejected(CommitRejection::TooLarge(what)));
            }
            planned => planned?,
        };
        let entry = EntryToWrite::new(actor, request, &changes, &reader.facts);
        entry.put_rows(&changes, revision, &mut pack);
        let entry = entry.encode();
        let adoption = self.put_adoption(&changes.events, revision, now, &mut pack)?;
        let stored = match &answer {
            None => None,
            Some(answer) => match answer.put(revision, now, &changes, &reader, &mut pack) {
                None => return Ok(CommitResult::Rejected(CommitRejection::AnswerTooLarge)),
                stored => stored,
            },
        };
        let loaded = reader.small().filter(|(key, _)| is_cacheable(key));
        let loaded = loaded.map(|(key, loaded)| (key.clone(), loaded.clone())).collect();
        drop(reader);
        let writes = pack.into_writes();
        let pending = PendingCommit {
            batch: Batch {
                preconditions,
                writes,
                entry: entry.into(),
                urgency,
                ..Batch::default()
            },
            started_transactions: started_transactions(&changes.events),
            earliest_timer: changes.timers.iter().find(|(_, armed)| **armed).map(|(t, _)| t.due),
            earliest_call: earliest_call(&changes.marks),
            changes_webhooks: changes.events.iter().any(Event::changes_webhooks),
            records: changes.records,
            loaded,
            large,
        };
        let receipt = match self.stage(now, pending)? {
            CommitResult::Staged(receipt) => receipt,
            CommitResult::Rejected(rejection) => return Ok(CommitResult::Rejected(rejection)),
        };
        if let Some(adoption) = adoption {
            self.live_keys.finish_adoption(adoption);
        }
        if let (Some((_, size)), Some(answer)) = (&stored, &mut answer)
            && let Some(reservation) = answer.reservation.take()
        {
            self.note_key(answer.context.command, answer.key, reservation, revision, *size);
        }
        let answer = stored.map(|(answer, _)| answer);
        Ok(CommitResult::Staged(StagedDecision { revision, receipt, answer }))
    }

    /// Stages a batch and notifies those who wait for what is in it.
    pub(super) fn stage(
        &mut self,
        now: Time,
        pending: PendingCommit,
    ) -> Result<CommitResult<Receipt>, Fatal> {
        let mut pending = pending;
        let mut batch = std::mem::take(&mut pending.batch);
        let revision = self.last.next();
        batch.at_ms = now.ms();
        let writes_clock = now.since(self.clock_written_at) >= CLOCK_WRITTEN_EVERY;
        if writes_clock {
            batch.writes.push(self.clock_row(now));
        }
        self.caches.invalidate(&pending.records, revision);
        let receipt = match self.store.commit(batch) {
            Ok(receipt) => receipt,
            Err(error) => return CommitRejection::of(error).map(CommitResult::Rejected),
        };
        if receipt.revision() != revision {
            return Err(Fatal(format!(
                "the commit was to be {revision} and is {}: another process writes to this store",
                receipt.revision()
            )));
        }
        self.last = revision;
        if writes_clock {
            self.clock_written_at = now;
        }
        self.notify(&pending, revision);
        for tx in &pending.started_transactions {
            self.used_keys.begin(*tx);
        }
        self.update_cache(pending, revision);
        Ok(CommitResult::Staged(receipt))
    }

    fn notify(&mut self, pending: &PendingCommit, revision: Revision) {
        if let Some(due) = pending.earliest_timer {
            self.next_due = self.next_due.min(due);
            self.notifier.due.note_earlier(self.next_due);
            self.timers_from = self.timers_from.min(due);
        }
        if let Some(due) = pending.earliest_call {
            self.notifier.notify_calls(due, revision);
        }
        if pending.changes_webhooks {
            self.notifier.webhooks.send_replace(Some(revision));
        }
    }

    /// Puts what a commit has read and written into the record cache.
    fn update_cache(&mut self, pending: PendingCommit, revision: Revision) {
        if Arc::get_mut(&mut self.record_cache).is_none() {
            // A reader still holds the cache, so it cannot be changed: a new one takes its place.
            self.record_cache = Arc::new(self.record_cache.emptied());
        }
        let Some(cache) = Arc::get_mut(&mut self.record_cache) else { return };
        for (key, loaded) in pending.loaded {
            cache.put(key, loaded);
        }
        for (key, record) in pending.records {
            match record {
                Some(_) if pending.large.contains(&key) || !is_cacheable(&key) => {
                    cache.forget(&key);
                }
                Some(Record::Tx(tx)) if tx.status.is_ended() => {
                    cache.forget(&key);
                    self.used_keys.end(tx.id);
                }
                Some(record) => cache.put(key, Some((Arc::new(record), revision))),
                None => cache.put(key, None),
            }
        }
        self.notifier.counters.record_cache_bytes.store(cache.bytes() as u64, Ordering::Relaxed);
    }

    fn clock_row(&self, now: Time) -> Write {
        let marks = ClockV1 { high_ms: now.ms(), advanced_ms: self.clock.advanced().ms() };
        Write::put(Key::Clock.encode(), value::write(1, &marks))
    }
}

impl AnswerToCommit<'_> {
    /// Renders the answer and writes it into the batch. Returns `None` if it is too large.
    fn put(
        &self,
        revision: Revision,
        now: Time,
        changes: &Changes,
        reader: &Reader<'_>,
        pack: &mut Pack,
    ) -> Option<(Answer, StoredSize)> {
        let answer = (self.render)(self.result.as_ref(), revision);
        let shown = shown(self.context, self.result, &answer, |key| {
            let loaded = reader.facts.get(key).and_then(Option::as_ref);
            let is_changed = changes.records.contains_key(key);
            if is_changed { Some(revision) } else { loaded.map(|(_, revision)| *revision) }
        });
        let to_store = AnswerToStore { answer: &answer, revision, shown };
        let size = store_answer(pack, self.key, to_store, now, self.stale_parts)?;
        if let Some(reservation) = self.reservation.as_ref().filter(|_| size.parts > 0) {
            reservation.put(revision, pack);
        }
        Some((answer, size))
    }
}

impl CommitRejection {
    /// Returns the rejection for an error after which nothing has changed; any other is fatal.
    fn of(error: StoreError) -> Result<Self, Fatal> {
        match error {
            StoreError::Conflict { .. } => Ok(Self::Conflict),
            StoreError::Invalid(what) => Ok(Self::TooLarge(what)),
            StoreError::NoSpace => Ok(Self::NoSpace),
            StoreError::Busy => Ok(Self::Busy),
            error => Err(error.into()),
        }
    }
}

/// Returns the transactions that these events start.
fn started_transactions(events: &[Event]) -> Vec<TxId> {
    let started = events.iter().filter_map(|event| match event {
        Event::Tx { tx, event } if matches!(**event, TxEvent::Started(_)) => Some(*tx),
        _ => None,
    });
    started.collect()
}

/// Returns the time of the earliest call that these index entries make due.
fn earliest_call(entries: &BTreeMap<IndexEntry, bool>) -> Option<Time> {
    let due = entries.iter().filter_map(|(entry, is_set)| match entry {
        IndexEntry::CallDue(due, ..) if *is_set => Some(*due),
        _ => None,
    });
    due.min()
}

/// Returns whether a record may be cached: only commits of decisions change it. The sweep deletes
/// failed logins, and the data of users and sessions may be large.
const fn is_cacheable(key: &RecordKey) -> bool {
    !matches!(
        key,
        RecordKey::Attempts(_)
            | RecordKey::UserData(_)
            | RecordKey::SessionData(_)
            | RecordKey::Stored(_)
            | RecordKey::Transfer(_)
    ) && !key.is_range_read()
}
