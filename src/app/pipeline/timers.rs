//! Due timers: fired before commands, in the order of their times, in commits of bounded size.

use std::ops::Bound;
use std::sync::Arc;

use tokio::sync::oneshot;

use super::commit::{CommitRejection, CommitResult, DecisionToCommit};
use super::executor::{Executor, Fatal, SPLIT_FACTOR_MAX};
use crate::engine::{Actor, Timer, decide_timers};
use crate::records::Key;
use crate::store::{KeyRange, Order, PAGE_ROWS_MAX, Receipt, Urgency, View};
use crate::types::{Span, Time};

/// Maximum number of timers in one commit: a page of the store, and few enough that a command
/// behind many of them does not wait long for its own commit.
const TIMERS_PER_COMMIT_MAX: usize = PAGE_ROWS_MAX;

/// Number of timers that are read first, since mostly few are due at once.
const TIMERS_AT_FIRST: usize = 8;

/// Delay of timers after a commit that the store rejected.
const RETRY_AFTER: Span = Span::from_seconds(1);

/// Time for which a timer is skipped whose commit is too large even alone.
const QUARANTINE_TIME: Span = Span::from_hours(1);

/// Maximum number of quarantined timers, so that a page of the store always has others too.
const QUARANTINED_MAX: usize = TIMERS_PER_COMMIT_MAX / 2;

/// Timers that are due.
struct DueTimers {
    /// In the order of their times.
    timers: Vec<Timer>,
    /// Time up to which these are all that are due.
    horizon: Time,
}

impl Executor {
    /// Fires everything that is due. Returns the time.
    pub(super) fn fire_due(&mut self) -> Result<Time, Fatal> {
        while self.is_behind() {
            self.fire_some()?;
        }
        Ok(self.now())
    }

    /// Returns whether a timer may be due that has not fired yet.
    pub(super) fn is_behind(&self) -> bool {
        self.now() >= self.next_due
    }

    /// Returns whether the timers that were due by this time have fired.
    pub(super) fn has_fired(&self, due: Time) -> bool {
        due < self.timers_from || !self.is_behind()
    }

    /// Fires the first of the due timers in one commit that takes no longer than a slice.
    pub(super) fn fire_some(&mut self) -> Result<(), Fatal> {
        let now = self.now();
        while now >= self.next_due {
            if let Some(due) = self.read_due(now)? {
                return self.fire(now, &due);
            }
        }
        Ok(())
    }

    /// Reads the timers that are due. If none is, notes when the next one is.
    fn read_due(&mut self, now: Time) -> Result<Option<DueTimers>, Fatal> {
        let (mut timers, mut is_all) = self.read_timers(TIMERS_AT_FIRST)?;
        if timers.last().is_some_and(|timer| timer.due <= now) {
            (timers, is_all) = self.read_timers(TIMERS_PER_COMMIT_MAX)?;
        }
        self.timers_from = timers.first().map_or(Time::MAX, |timer| timer.due);
        self.quarantined.retain(|_, until| now < *until);
        timers.retain(|timer| !self.quarantined.contains_key(timer));
        let due = timers.partition_point(|timer| timer.due <= now);
        if due == 0 {
            let next = timers.first().map(|timer| timer.due);
            let next = next.into_iter().chain(self.quarantined.values().copied()).min();
            self.set_next_due(next.unwrap_or(Time::MAX));
            return Ok(None);
        }
        let knows_all = due < timers.len() || is_all;
        timers.truncate(due);
        let horizon = match timers.last() {
            Some(last) if !knows_all => last.due,
            _ => now,
        };
        Ok(Some(DueTimers { timers, horizon }))
    }

    /// Reads the first timers of the index, and whether these are all.
    fn read_timers(&self, limit: usize) -> Result<(Vec<Timer>, bool), Fatal> {
        let mut range = KeyRange::prefix(Key::TIMERS);
        range.from = Bound::Included(Key::timers_from(self.timers_from).into());
        let page = self.store.scan(View::Staged, &range, Order::Ascending, limit)?;
        let timer = |key: &[u8]| match Key::decode(key) {
            Some(Key::Timer(timer)) => Ok(timer),
            _ => Err(Fatal("a timer's key cannot be read; run abide verify".to_owned())),
        };
        let timers = page.rows.iter().map(|row| timer(&row.key)).collect::<Result<_, _>>()?;
        Ok((timers, page.next.is_none()))
    }

    /// Fires these timers, or as many of the first as one commit takes. A timer whose commit is too
    /// large even alone is quarantined, so that it delays no other.
    fn fire(&mut self, now: Time, due: &DueTimers) -> Result<(), Fatal> {
        loop {
            match self.commit_timers(now, due)? {
                CommitResult::Staged(()) => {
                    self.split_factor = (self.split_factor / 2).max(1);
                    return Ok(());
                }
                CommitResult::Rejected(CommitRejection::TooLarge(_))
                    if self.split_factor < SPLIT_FACTOR_MAX =>
                {
                    self.split_factor *= 2;
                }
                CommitResult::Rejected(CommitRejection::TooLarge(what))
                    if self.quarantined.len() < QUARANTINED_MAX =>
                {
                    let first = due.timers.first();
                    tracing::error!(parent: None, what, timer = ?first, "commit of a timer is too large; quarantined");
                    let until = now.plus(QUARANTINE_TIME);
                    self.quarantined.extend(first.map(|timer| (timer.clone(), until)));
                    self.split_factor = 1;
                    return Ok(());
                }
                CommitResult::Rejected(error) => {
                    tracing::warn!(parent: None, %error, "timers are late; will retry");
                    self.set_next_due(now.plus(RETRY_AFTER));
                    return Ok(());
                }
            }
        }
    }

    /// Decides the first of these timers and commits the decision. The engine looks at the time
    /// itself, so nothing that has ended comes back to life.
    fn commit_timers(&mut self, now: Time, due: &DueTimers) -> Result<CommitResult<()>, Fatal> {
        let (store, definitions) = (Arc::clone(&self.store), Arc::clone(&self.definitions));
        let mut reader = self.reader(&store, &definitions);
        let context = self.context(now, seed()?, self.split_factor);
        let changes = loop {
            let DueTimers { timers, horizon } = due;
            match decide_timers(&reader.facts, &self.rules, context, timers, *horizon) {
                Ok(changes) => break changes,
                Err(missing) => missing.into_iter().try_for_each(|key| reader.load(key))?,
            }
        };
        #[cfg(test)]
        crate::engine::require_replay(&reader.facts, &self.rules, context, &changes);
        let decision = DecisionToCommit {
            now,
            actor: &Actor::System,
            request: "",
            urgency: Urgency::Reserved,
            changes,
            reader,
            answer: None,
        };
        Ok(match self.commit_decision(decision)? {
            CommitResult::Staged(_) => CommitResult::Staged(()),
            CommitResult::Rejected(rejection) => CommitResult::Rejected(rejection),
        })
    }

    fn set_next_due(&mut self, due: Time) {
        self.next_due = due;
        self.notifier.due.note(due, self.last);
    }

    /// Moves the clock by hand and fires what is due by then.
    pub(super) fn move_clock(
        &mut self,
        by: Span,
        reply: oneshot::Sender<Receipt>,
    ) -> Result<(), Fatal> {
        self.advance(by)?;
        self.write_clock()?;
        self.notifier.clock_moved(self.last);
        // The caller may be gone. The clock has moved all the same.
        drop(reply.send(self.store.durable_at(self.last)));
        Ok(())
    }

    /// Moves the clock from one due time to the next, so that a timer which a firing sets on the
    /// way fires at its own time.
    fn advance(&mut self, by: Span) -> Result<(), Fatal> {
        let target = self.now().plus(by);
        loop {
            let now = self.fire_due()?;
            if now >= target {
                return Ok(());
            }
            self.clock.advance(self.next_due.min(target).since(now).max(Span::from_ms(1)));
        }
    }
}

/// Returns random bits for the ids of what timers create.
fn seed() -> Result<u128, Fatal> {
    let mut bytes = [0; 16];
    match getrandom::fill(&mut bytes) {
        Ok(()) => Ok(u128::from_be_bytes(bytes)),
        Err(error) => Err(Fatal(format!("the system gives no random bytes: {error}"))),
    }
}
