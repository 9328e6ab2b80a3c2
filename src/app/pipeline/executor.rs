//! The single ordered path of everything that changes something.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::sync::oneshot;

use super::answers::{self, AnswerToStore, UsedKeys};
use super::idempotency::{ANSWER_TOO_LARGE, KeyState, shown};
use super::job::{CompletedJob, Job, JobResult};
use super::live_keys::{self, LiveKeys};
use super::sweep::Sweep;
use crate::app::access::TokenCaches;
use crate::app::clock::Clock;
use crate::app::notifier::Notifier;
use crate::app::slice::SliceTime;
use crate::app::traces::changed;
use crate::engine::{
    Actor, Changes, Command, CommandInputs, Decision, DecisionContext, Event, FIRINGS_MAX,
    IndexEntry, LoadedRecord, Outcome, Record, RecordKey, Refusal, Rules, Timer, TxEvent, decide,
    decide_timers,
};
use crate::records::entry::EntryToWrite;
use crate::records::value::{self, ClockV1};
use crate::records::{Definitions, Key, PlanError, Planned, ReadError, Reader, RecordCache, plan};
use crate::store::{
    Batch, KeyRange, Order, PAGE_ROWS_MAX, Precondition, Receipt, Store, StoreError, Urgency, View,
    Write,
};
use crate::types::{Revision, Span, Time, TxId};

/// Most timers of one commit: a page of the store, and few enough that a command behind a great
/// many of them is not kept from its own commit for long.
const TIMERS_PER_COMMIT_MAX: usize = PAGE_ROWS_MAX;

/// So many timers are looked at first: mostly few are due at once.
const TIMERS_AT_FIRST: usize = 8;

/// The clock's high-water mark is written at least so often: it bounds how far a clock that was
/// set back while the server was down can make time repeat, beyond what the last commit says.
const CLOCK_NOTED_EVERY: Span = Span::from_minutes(1);

/// After a write that found no room, timers and sweeps wait so long.
const RETRY_AFTER: Span = Span::from_seconds(1);

/// So far is what is done in one commit divided where it comes out too large: to one timer.
const PORTION_MAX: usize = FIRINGS_MAX.next_power_of_two();

/// A timer whose commit is too large, whatever else is left out of it, is tried again so late.
const ASIDE_FOR: Span = Span::from_hours(1);

/// Most timers that are set aside: a page of the store always has others too.
const ASIDE_MAX: usize = TIMERS_PER_COMMIT_MAX / 2;

/// A conflict needs another writer, and there is none: more than one is a fault.
const CONFLICTS_MAX: usize = 3;

/// Why the executor cannot go on.
pub(in crate::app) struct Fatal(pub(in crate::app) String);

impl From<ReadError> for Fatal {
    fn from(error: ReadError) -> Self {
        Self(error.to_string())
    }
}

impl From<PlanError> for Fatal {
    fn from(error: PlanError) -> Self {
        Self(error.to_string())
    }
}

impl From<StoreError> for Fatal {
    fn from(error: StoreError) -> Self {
        Self(error.to_string())
    }
}

/// The executor: it alone commits.
pub(in crate::app) struct Executor {
    pub(in crate::app) store: Arc<dyn Store>,
    pub(in crate::app) definitions: Arc<Definitions>,
    pub(in crate::app) rules: Arc<Rules>,
    pub(in crate::app) clock: Arc<Clock>,
    pub(in crate::app) caches: Arc<TokenCaches>,
    pub(in crate::app) notifier: Arc<Notifier>,
    /// The last commit that was staged.
    last: Revision,
    /// No timer is due before this.
    next_due: Time,
    /// No timer is due before. What lies before in the store was set off and is on its way out of
    /// its index: whoever looks from here on does not pass it again and again.
    timers_from: Time,
    /// Timers whose commits are too large, and until when nobody tries them.
    aside: BTreeMap<Timer, Time>,
    /// The split factor of what is due that last fitted into a commit.
    split_factor: usize,
    clock_noted_at: Time,
    pub(super) sweep: Sweep,
    /// Records as they are now.
    record_cache: Arc<RecordCache>,
    /// Live Idempotency-Keys.
    pub(super) keys: LiveKeys,
    /// Idempotency-Keys that were used under transactions.
    pub(super) used: UsedKeys,
}

/// What one commit is made of, beside the time.
#[derive(Default)]
pub(super) struct CommitInputs {
    pub(super) batch: Batch,
    /// What the caches must forget.
    pub(super) records: BTreeMap<RecordKey, Option<Record>>,
    /// What was loaded for it.
    pub(super) loaded: Vec<(RecordKey, LoadedRecord)>,
    /// What is too large to have at hand.
    pub(super) large: Vec<RecordKey>,
    /// The transactions that it starts.
    pub(super) started_transactions: Vec<TxId>,
    /// The earliest timer that it sets.
    pub(super) armed: Option<Time>,
    /// The earliest call that it sets due.
    pub(super) calling: Option<Time>,
    /// Whether it changes whom else is told of what.
    pub(super) webhooks: bool,
}

impl Executor {
    pub(in crate::app) fn new(
        store: Arc<dyn Store>,
        definitions: Arc<Definitions>,
        rules: Arc<Rules>,
        clock: Arc<Clock>,
        caches: Arc<TokenCaches>,
        notifier: Arc<Notifier>,
        cache: RecordCache,
    ) -> Self {
        let last = store.durable();
        let keys = LiveKeys::new(Arc::clone(&rules), Arc::clone(&notifier));
        Self {
            store,
            definitions,
            rules,
            clock,
            caches,
            notifier,
            last,
            next_due: Time::ZERO,
            timers_from: Time::ZERO,
            aside: BTreeMap::new(),
            split_factor: 1,
            clock_noted_at: Time::ZERO,
            sweep: Sweep::default(),
            record_cache: Arc::new(cache),
            keys,
            used: UsedKeys::default(),
        }
    }

    /// No timer is due before this.
    pub(in crate::app) const fn next_due(&self) -> Time {
        self.next_due
    }

    fn set_next_due(&mut self, due: Time) {
        self.next_due = due;
        self.notifier.due.note(due, self.last);
    }

    /// The time now.
    pub(in crate::app) fn now(&self) -> Time {
        self.clock.now()
    }

    /// The time now, if this command is mostly done in some tens of microseconds from here on and
    /// waits for nothing: no timer comes before it, it is small work, and the store takes its
    /// commit without waiting for room.
    pub(in crate::app) fn at_once(&self, command: &Command) -> Option<Time> {
        let now = self.now();
        let is_first = now < self.next_due;
        (is_first && !command.is_long() && self.store.admits_at_once()).then_some(now)
    }

    /// Whether it is time to forget some of what has become too old.
    pub(in crate::app) const fn sweep_is_due(&self) -> bool {
        self.sweep.is_due()
    }

    /// Moves the clock by hand and lets happen what is due by then.
    pub(in crate::app) fn move_clock(
        &mut self,
        by: Span,
        reply: oneshot::Sender<Receipt>,
    ) -> Result<(), Fatal> {
        self.advance(by)?;
        self.note_clock()?;
        self.notifier.clock_moved(self.last);
        // Whoever asked may be gone; the clock has moved all the same.
        drop(reply.send(self.store.durable_at(self.last)));
        Ok(())
    }

    /// Moves the clock from one due time to the next, so that what a firing sets anew and is due
    /// on the way happens at its time, as it would have.
    fn advance(&mut self, by: Span) -> Result<(), Fatal> {
        let target = self.clock.now().plus(by);
        loop {
            let now = self.fire_due()?;
            if now >= target {
                return Ok(());
            }
            self.clock.advance(self.next_due.min(target).since(now).max(Span::from_ms(1)));
        }
    }

    /// Lets everything fire that is due, and says what time it is now.
    pub(in crate::app) fn fire_due(&mut self) -> Result<Time, Fatal> {
        while self.is_behind() {
            self.fire_some()?;
        }
        Ok(self.clock.now())
    }

    /// Whether something may be due that has not happened yet.
    pub(in crate::app) fn is_behind(&self) -> bool {
        self.clock.now() >= self.next_due
    }

    /// Whether what was due up to this time has happened.
    pub(in crate::app) fn has_fired(&self, due: Time) -> bool {
        due < self.timers_from || !self.is_behind()
    }

    /// Lets the first of what is due fire, in one commit that takes no longer than one slice.
    pub(in crate::app) fn fire_some(&mut self) -> Result<(), Fatal> {
        loop {
            let now = self.clock.now();
            if now < self.next_due {
                return Ok(());
            }
            let mut range = KeyRange::prefix(Key::TIMERS);
            range.from = Bound::Included(Key::timers_from(self.timers_from).into());
            let mut page =
                self.store.scan(View::Staged, &range, Order::Ascending, TIMERS_AT_FIRST)?;
            let last = page.rows.last().and_then(|row| Key::decode(&row.key));
            if matches!(last, Some(Key::Timer(timer)) if timer.due <= now) {
                page = self.store.scan(
                    View::Staged,
                    &range,
                    Order::Ascending,
                    TIMERS_PER_COMMIT_MAX,
                )?;
            }
            let timers: Vec<Timer> = page
                .rows
                .iter()
                .map(|row| match Key::decode(&row.key) {
                    Some(Key::Timer(timer)) => Ok(timer),
                    _ => Err(Fatal("a timer's key cannot be read; run abide verify".to_owned())),
                })
                .collect::<Result<_, _>>()?;
            self.timers_from = timers.first().map_or(Time::MAX, |timer| timer.due);
            self.aside.retain(|_, until| now < *until);
            let timers: Vec<Timer> =
                timers.into_iter().filter(|timer| !self.aside.contains_key(timer)).collect();
            let due: Vec<Timer> =
                timers.iter().take_while(|timer| timer.due <= now).cloned().collect();
            if due.is_empty() {
                let next = timers.first().map(|timer| timer.due);
                let next = next.into_iter().chain(self.aside.values().copied()).min();
                self.set_next_due(next.unwrap_or(Time::MAX));
                continue;
            }
            let knows_all = due.len() < timers.len() || page.next.is_none();
            let horizon = match due.last() {
                Some(last) if !knows_all => last.due,
                _ => now,
            };
            if !self.fire(now, &due, horizon)? {
                self.set_next_due(now.plus(RETRY_AFTER));
            }
            return Ok(());
        }
    }

    /// Lets these timers fire, the first of them or as many as one commit takes; `false`: there is no
    /// room for it now. One whose commit is too large even alone keeps no other from firing.
    fn fire(&mut self, now: Time, due: &[Timer], horizon: Time) -> Result<bool, Fatal> {
        loop {
            match self.fire_portion(now, due, horizon)? {
                Ok(()) => {
                    self.split_factor = (self.split_factor / 2).max(1);
                    return Ok(true);
                }
                Err(StoreError::Invalid(_)) if self.split_factor < PORTION_MAX => {
                    self.split_factor *= 2;
                }
                Err(StoreError::Invalid(what)) if self.aside.len() < ASIDE_MAX => {
                    tracing::error!(parent: None, what, timer = ?due.first(), "a timer's commit is too large");
                    let until = now.plus(ASIDE_FOR);
                    self.aside.extend(due.first().map(|timer| (timer.clone(), until)));
                    self.split_factor = 1;
                    return Ok(true);
                }
                Err(error) => {
                    tracing::warn!(parent: None, %error, "timers are late");
                    return Ok(false);
                }
            }
        }
    }

    /// Lets the first of these timers fire in one commit; the inner error is one after which nothing
    /// has changed. Whatever is decided looks at the time itself, so nothing that has ended comes
    /// back to life meanwhile.
    fn fire_portion(
        &mut self,
        now: Time,
        due: &[Timer],
        horizon: Time,
    ) -> Result<Result<(), StoreError>, Fatal> {
        let (store, definitions) = (Arc::clone(&self.store), Arc::clone(&self.definitions));
        let mut reader = Reader::new(&*store, View::Staged, &definitions)
            .with(Arc::clone(&self.record_cache))
            .fetching(Arc::clone(&store), Arc::clone(&definitions))
            .limited(Arc::new(SliceTime::begin()));
        let context = self.context(now, seed()?, self.split_factor);
        let changes = loop {
            match decide_timers(&reader.facts, &self.rules, context, due, horizon) {
                Ok(changes) => break changes,
                Err(needs) => {
                    needs.into_iter().try_for_each(|record_key| reader.load(record_key))?;
                }
            }
        };
        #[cfg(test)]
        crate::engine::require_replay(&reader.facts, &self.rules, context, &changes);
        let Some(planned) = planned(&changes, &reader)? else { return Ok(Err(RECORD_TOO_LARGE)) };
        let Planned { preconditions, mut pack, large } = planned;
        let entry = EntryToWrite::new(&Actor::System, "", &changes, &reader.facts);
        entry.put_rows(&changes, context.revision, &mut pack);
        let entry = entry.encode();
        let loaded: Vec<_> = reader
            .small()
            .filter(|(record_key, _)| is_cacheable(record_key))
            .map(kept_fact)
            .collect();
        drop(reader);
        let pieces = CommitInputs {
            batch: Batch {
                preconditions,
                writes: pack.into_writes(),
                entry: entry.into(),
                urgency: Urgency::Reserved,
                ..Batch::default()
            },
            armed: changes.timers.iter().find(|(_, armed)| **armed).map(|(timer, _)| timer.due),
            calling: calling(&changes.marks),
            webhooks: changes.events.iter().any(Event::changes_webhooks),
            started_transactions: started_transactions(&changes.events),
            records: changes.records,
            loaded,
            large,
        };
        Ok(self.commit(now, pieces)?.map(drop))
    }

    fn context(&self, now: Time, seed: u128, split_factor: usize) -> DecisionContext {
        DecisionContext { now, revision: self.last.next(), seed, split_factor }
    }

    /// Does a command in its turn. Other things may be due ([`Executor::is_behind`]); where
    /// something is due in what the command touches, it must happen first: the command comes back,
    /// with the time up to which it has to wait.
    pub(in crate::app) fn execute(
        &mut self,
        now: Time,
        mut job: Box<Job>,
    ) -> Result<Option<Box<Job>>, Fatal> {
        self.store.anticipate();
        let (end, receipt) = match self.attempt(now, &job)? {
            Ok(Attempt::Ended(end, receipt)) => (end, receipt),
            Ok(Attempt::Waits(due)) => {
                job.waited_for = Some(due);
                return Ok(Some(job));
            }
            // A refusal rests on what was read, which may be on its way to the disk still.
            Err(refusal) => (
                JobResult::Decided(Box::new(Err(refusal)), self.last),
                self.store.durable_at(self.last),
            ),
        };
        // What is over waits no more: the next one of its actor may come with the answer.
        drop(job.permit.take());
        let Job { render, reply, .. } = *job;
        // FeedCommit when it is durable. Whoever asked may be gone: what was taken happens all the same.
        receipt.then(move |durable| drop(reply.send(CompletedJob { end, durable, render })));
        Ok(None)
    }

    /// One command; the inner error is a refusal that changes nothing and is kept nowhere.
    #[expect(clippy::too_many_lines, reason = "one path, read from top to bottom")]
    fn attempt(&mut self, now: Time, job: &Job) -> Result<Result<Attempt, Refusal>, Fatal> {
        let Job { command, actor, inputs, request, keyed, render: renderer, .. } = job;
        let asked = &CommandContext { command, actor, inputs };
        let (stale_parts, mut one_more) = match self.before(now, job)? {
            Ok(KeyState::New { stale_parts, one_more }) => (stale_parts, one_more),
            Ok(KeyState::CommandAnswer(end, receipt)) => {
                return Ok(Ok(Attempt::Ended(end, receipt)));
            }
            Err(refusal) => return Ok(Err(refusal)),
        };
        let (mut conflicts, mut split_factor) = (0, 1);
        while conflicts < CONFLICTS_MAX {
            let (store, definitions) = (Arc::clone(&self.store), Arc::clone(&self.definitions));
            let mut facts = Reader::new(&*store, View::Staged, &definitions)
                .with(Arc::clone(&self.record_cache))
                .fetching(Arc::clone(&store), Arc::clone(&definitions))
                .limited(Arc::new(SliceTime::begin()));
            let decision = self.decide(now, asked, split_factor, &mut facts)?;
            let Decision { changes, result } = decision;
            if let Some(due) = changes.overdue
                && job.waited_for.is_none_or(|waited_for| waited_for < due)
                && self.is_behind()
            {
                return Ok(Ok(Attempt::Waits(due)));
            }
            #[cfg(test)]
            crate::engine::require_replay(
                &facts.facts,
                &self.rules,
                self.context(now, 0, 1),
                &changes,
            );
            let is_kept = result.as_ref().err().is_none_or(Refusal::is_stored);
            let kept = keyed.as_ref().zip(renderer.as_ref()).filter(|_| is_kept);
            if changes.events.is_empty() && kept.is_none() {
                let end = JobResult::Decided(Box::new(result), self.last);
                return Ok(Ok(Attempt::Ended(end, self.store.durable_at(self.last))));
            }
            let revision = self.last.next();
            let is_sliced = changes.is_sliced && split_factor < PORTION_MAX;
            let Some(planned) = planned(&changes, &facts)? else {
                return Ok(Err(without_commit(&RECORD_TOO_LARGE, result)));
            };
            let Planned { preconditions, mut pack, large } = planned;
            let entry = EntryToWrite::new(asked.actor, request, &changes, &facts.facts);
            entry.put_rows(&changes, revision, &mut pack);
            let entry = entry.encode();
            let loaded: Vec<_> = facts
                .small()
                .filter(|(record_key, _)| is_cacheable(record_key))
                .map(kept_fact)
                .collect();
            let adoption = self.adoption(&changes.events, revision, now, &mut pack)?;
            let mut answer = None;
            let mut size = (0, 0);
            if let Some((keyed, renderer)) = kept {
                let words = renderer(result.as_ref(), revision);
                let shown = shown(asked, &result, &words, |record_key| {
                    let loaded = facts.facts.get(record_key).and_then(Option::as_ref);
                    let is_changed = changes.records.contains_key(record_key);
                    if is_changed { Some(revision) } else { loaded.map(|(_, revision)| *revision) }
                });
                let to_keep = AnswerToStore { answer: &words, revision, shown };
                let Some(kept) = answers::store_answer(&mut pack, keyed, to_keep, now, stale_parts)
                else {
                    return Ok(Err(ANSWER_TOO_LARGE));
                };
                size = kept;
                if let Some(one_more) = one_more.as_ref().filter(|_| size.1 > 0) {
                    one_more.put(revision, &mut pack);
                }
                answer = Some(words);
            }
            drop(facts);
            let urgency =
                if asked.command.is_reserved() { Urgency::Reserved } else { Urgency::Ordinary };
            let pieces = CommitInputs {
                batch: Batch {
                    preconditions,
                    writes: pack.into_writes(),
                    entry: entry.into(),
                    urgency,
                    ..Batch::default()
                },
                armed: changes.timers.iter().find(|(_, armed)| **armed).map(|(timer, _)| timer.due),
                calling: calling(&changes.marks),
                webhooks: changes.events.iter().any(Event::changes_webhooks),
                started_transactions: started_transactions(&changes.events),
                records: changes.records,
                loaded,
                large,
            };
            self.notifier.traces.attach(request, || changed(asked.command, result.as_ref()));
            match self.commit(now, pieces)? {
                Ok(receipt) => {
                    if let Some(adoption) = adoption {
                        self.keys.adopted_now(adoption);
                    }
                    if let (Some(keyed), Some(one_more)) = (keyed, one_more.take()) {
                        self.note_key(asked.command, keyed, one_more, revision, size);
                    }
                    let end = answer.map_or_else(
                        || JobResult::Decided(Box::new(result), revision),
                        JobResult::Stored,
                    );
                    return Ok(Ok(Attempt::Ended(end, receipt)));
                }
                Err(StoreError::Conflict { .. }) => conflicts += 1,
                Err(StoreError::Invalid(_)) if is_sliced => split_factor *= 2,
                Err(error) => return Ok(Err(without_commit(&error, result))),
            }
        }
        Err(Fatal("somebody else writes to this store".to_owned()))
    }

    fn decide(
        &self,
        now: Time,
        asked: &CommandContext<'_>,
        split_factor: usize,
        reader: &mut Reader<'_>,
    ) -> Result<Decision, Fatal> {
        let context = self.context(now, asked.inputs.seed, split_factor);
        loop {
            let CommandContext { command, actor, inputs } = asked;
            match decide(&reader.facts, &self.rules, context, actor, command, inputs) {
                Ok(decision) => return Ok(decision),
                Err(record_key) => reader.load(record_key)?,
            }
        }
    }

    /// Stages a commit; the inner error is one after which nothing has changed.
    pub(super) fn commit(
        &mut self,
        now: Time,
        pieces: CommitInputs,
    ) -> Result<Result<Receipt, StoreError>, Fatal> {
        let CommitInputs {
            mut batch,
            records,
            loaded,
            large,
            started_transactions,
            armed,
            calling,
            webhooks,
        } = pieces;
        let revision = self.last.next();
        batch.at_ms = now.ms();
        let notes_clock = now.since(self.clock_noted_at) >= CLOCK_NOTED_EVERY;
        if notes_clock {
            batch.writes.push(self.clock_row(now));
        }
        self.caches.forget(&records, revision);
        match self.store.commit(batch) {
            Ok(receipt) if receipt.revision() == revision => {
                self.last = revision;
                if notes_clock {
                    self.clock_noted_at = now;
                }
                if let Some(due) = armed {
                    self.next_due = self.next_due.min(due);
                    self.notifier.due.note_earlier(self.next_due);
                    self.timers_from = self.timers_from.min(due);
                }
                if let Some(due) = calling {
                    self.notifier.notify_calls(due, revision);
                }
                if webhooks {
                    self.notifier.webhooks.send_replace(Some(revision));
                }
                for tx in started_transactions {
                    self.used.begin(tx);
                }
                self.update_cache(loaded, records, &large, revision);
                Ok(Ok(receipt))
            }
            Ok(receipt) => Err(Fatal(format!(
                "the commit was to be {revision} and is {}: somebody else writes to this store",
                receipt.revision()
            ))),
            Err(
                error @ (StoreError::Conflict { .. }
                | StoreError::Busy
                | StoreError::NoSpace
                | StoreError::Invalid(_)),
            ) => Ok(Err(error)),
            Err(error) => Err(error.into()),
        }
    }

    /// Remembers what a commit read and what it made of it.
    fn update_cache(
        &mut self,
        loaded: Vec<(RecordKey, LoadedRecord)>,
        records: BTreeMap<RecordKey, Option<Record>>,
        large: &[RecordKey],
        revision: Revision,
    ) {
        if Arc::get_mut(&mut self.record_cache).is_none() {
            // A reader has kept it: what it holds is of before this commit.
            self.record_cache = Arc::new(self.record_cache.emptied());
        }
        let Some(record_cache) = Arc::get_mut(&mut self.record_cache) else { return };
        for (record_key, loaded) in loaded {
            record_cache.put(record_key, loaded);
        }
        for (record_key, record) in records {
            match record {
                Some(_) if large.contains(&record_key) || !is_cacheable(&record_key) => {
                    record_cache.forget(&record_key);
                }
                Some(Record::Tx(tx)) if tx.status.is_ended() => {
                    record_cache.forget(&record_key);
                    self.used.end(tx.id);
                }
                Some(record) => record_cache.put(record_key, Some((Arc::new(record), revision))),
                None => record_cache.put(record_key, None),
            }
        }
        self.notifier
            .counters
            .record_cache_bytes
            .store(record_cache.bytes() as u64, Ordering::Relaxed);
    }

    fn clock_row(&self, now: Time) -> Write {
        let marks = ClockV1 { high_ms: now.ms(), advanced_ms: self.clock.advanced().ms() };
        Write::put(Key::Clock.encode(), value::write(1, &marks))
    }

    /// Writes the clock's marks at once, after it was moved by hand.
    fn note_clock(&mut self) -> Result<(), Fatal> {
        self.clock_noted_at = Time::ZERO;
        let now = self.clock.now();
        let batch = Batch { urgency: Urgency::Reserved, ..Batch::default() };
        if let Err(error) = self.commit(now, CommitInputs { batch, ..CommitInputs::default() })? {
            tracing::warn!(parent: None, %error, "that the clock was moved is not written down");
        }
        Ok(())
    }

    /// Forgets some of what has become too old.
    pub(in crate::app) fn sweep(&mut self) -> Result<(), Fatal> {
        let now = self.clock.now();
        if self.sweep.blocks_are_due() {
            self.sweep.looked_at_blocks();
            let writes = match self.keys.shed(&*self.store, now)? {
                Some(writes) => Some(writes),
                None => live_keys::forget_block(&*self.store, now)?,
            };
            return self.commit_sweep(now, Vec::new(), writes.unwrap_or_default());
        }
        let (preconditions, writes) = self.sweep.page(&*self.store, now)?;
        self.commit_sweep(now, preconditions, writes)
    }

    fn commit_sweep(
        &mut self,
        now: Time,
        preconditions: Vec<Precondition>,
        writes: Vec<Write>,
    ) -> Result<(), Fatal> {
        if writes.is_empty() {
            return Ok(());
        }
        let urgency = Urgency::Reserved;
        let batch = Batch { preconditions, writes, urgency, ..Batch::default() };
        if let Err(error) = self.commit(now, CommitInputs { batch, ..CommitInputs::default() })? {
            tracing::warn!(parent: None, %error, "what is too old stays for now");
        }
        Ok(())
    }
}

/// The transactions that these events start.
fn started_transactions(events: &[Event]) -> Vec<TxId> {
    let started_transactions = events.iter().filter_map(|event| match event {
        Event::Tx { tx, event } if matches!(**event, TxEvent::Started(_)) => Some(*tx),
        _ => None,
    });
    started_transactions.collect()
}

/// The earliest call that is due by these marks.
fn calling(marks: &BTreeMap<IndexEntry, bool>) -> Option<Time> {
    let due = marks.iter().filter_map(|(mark, is_set)| match mark {
        IndexEntry::CallDue(due, ..) if *is_set => Some(*due),
        _ => None,
    });
    due.min()
}

/// Random bits for the ids of what timers create.
fn seed() -> Result<u128, Fatal> {
    let mut bytes = [0; 16];
    match getrandom::fill(&mut bytes) {
        Ok(()) => Ok(u128::from_be_bytes(bytes)),
        Err(error) => Err(Fatal(format!("the system gives no random bytes: {error}"))),
    }
}

/// Whether a record may be at hand: nothing but commits of decisions changes it. The sweep
/// forgets failed logins, and what large things people keep is not for memory.
const fn is_cacheable(record_key: &RecordKey) -> bool {
    !matches!(
        record_key,
        RecordKey::Attempts(_)
            | RecordKey::UserData(_)
            | RecordKey::SessionData(_)
            | RecordKey::Stored(_)
            | RecordKey::Transfer(_)
    ) && !record_key.is_look()
}

fn kept_fact((record_key, loaded): (&RecordKey, &LoadedRecord)) -> (RecordKey, LoadedRecord) {
    (record_key.clone(), loaded.clone())
}

/// What became of an attempt at a command.
enum Attempt {
    /// It is over.
    Ended(JobResult, Receipt),
    /// What is due up to this time must happen first.
    Waits(Time),
}

/// Who asks for what, with what.
pub(super) struct CommandContext<'a> {
    pub(super) command: &'a Command,
    pub(super) actor: &'a Actor,
    pub(super) inputs: &'a CommandInputs,
}

/// What a decision becomes; `None`: one of its records is too large.
fn planned(changes: &Changes, reader: &Reader<'_>) -> Result<Option<Planned>, Fatal> {
    match plan(changes, reader) {
        Err(PlanError::TooLarge) => Ok(None),
        planned => Ok(Some(planned?)),
    }
}

/// A record that does not fit into a commit.
const RECORD_TOO_LARGE: StoreError = StoreError::Invalid("a record is larger than all its parts");

/// What to answer when a commit was not taken. Where it was only to note a refusal, the refusal
/// stands; but a failed login that cannot be counted says nothing about the password.
fn without_commit(error: &StoreError, result: Result<Outcome, Refusal>) -> Refusal {
    match result {
        Err(refusal) if refusal != Refusal::InvalidCredentials => return refusal,
        _ => {}
    }
    match error {
        StoreError::NoSpace => Refusal::NoRoom,
        StoreError::Invalid(what) => {
            tracing::error!(parent: None, what, "a commit was not valid");
            Refusal::TooLarge { what: "a commit", bytes_max: crate::store::BATCH_BYTES_MAX }
        }
        _ => Refusal::Busy { retry_after: Span::from_seconds(1) },
    }
}
