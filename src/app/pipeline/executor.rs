//! The executor: the only component that commits. Its stages are in `execute`, `timers`, `commit`
//! and `upkeep`.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::answers::UsedKeys;
use super::live_keys::LiveKeys;
use super::slice::SliceTime;
use super::sweep::Sweep;
use crate::app::clock::ServerClock;
use crate::app::notifier::Notifier;
use crate::app::token_caches::TokenCaches;
use crate::engine::{Command, DecisionContext, FIRINGS_MAX, Rules, Timer};
use crate::records::{Definitions, PlanError, ReadError, Reader, RecordCache};
use crate::store::{Store, StoreError, View};
use crate::types::{Revision, Time};

/// Largest split factor of work that may be spread over several commits: one timer in each.
pub(super) const SPLIT_FACTOR_MAX: usize = FIRINGS_MAX.next_power_of_two();

/// Reason for which the executor stops and the process must end.
pub(super) struct Fatal(pub(super) String);

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

/// State of the executor between two commits.
pub(in crate::app) struct Executor {
    pub(super) store: Arc<dyn Store>,
    pub(super) definitions: Arc<Definitions>,
    pub(super) rules: Arc<Rules>,
    pub(super) clock: Arc<ServerClock>,
    pub(super) caches: Arc<TokenCaches>,
    pub(super) notifier: Arc<Notifier>,
    /// Revision of the last staged commit.
    pub(super) last: Revision,
    /// No timer is due before this time.
    pub(super) next_due: Time,
    /// No timer of the index is due before this time. Timers that have fired lie before it until
    /// their deletion is merged, so a scan that begins here does not pass them again and again.
    pub(super) timers_from: Time,
    /// Timers whose commits are too large, and until when each is skipped.
    pub(super) quarantined: BTreeMap<Timer, Time>,
    /// Split factor of the last timers that fitted into a commit.
    pub(super) split_factor: usize,
    /// Time of the last write of the clock's marks.
    pub(super) clock_written_at: Time,
    pub(super) sweep: Sweep,
    /// Decoded records as of the last staged commit.
    pub(super) record_cache: Arc<RecordCache>,
    pub(super) live_keys: LiveKeys,
    /// Idempotency-Keys that were used under transactions.
    pub(super) used_keys: UsedKeys,
}

impl Executor {
    pub(in crate::app) fn new(
        store: Arc<dyn Store>,
        definitions: Arc<Definitions>,
        rules: Arc<Rules>,
        clock: Arc<ServerClock>,
        caches: Arc<TokenCaches>,
        notifier: Arc<Notifier>,
        record_cache: RecordCache,
    ) -> Self {
        let last = store.durable();
        let live_keys = LiveKeys::new(Arc::clone(&rules), Arc::clone(&notifier));
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
            quarantined: BTreeMap::new(),
            split_factor: 1,
            clock_written_at: Time::ZERO,
            sweep: Sweep::default(),
            record_cache: Arc::new(record_cache),
            live_keys,
            used_keys: UsedKeys::default(),
        }
    }

    /// Returns the time before which no timer is due.
    pub(super) const fn next_due(&self) -> Time {
        self.next_due
    }

    /// Returns the server's time.
    pub(super) fn now(&self) -> Time {
        self.clock.now()
    }

    /// Returns the time if the command can be executed by a caller's thread: no timer is due
    /// before it, it is no long work, and the store accepts its commit without waiting for space.
    pub(super) fn accepts_at_once(&self, command: &Command) -> Option<Time> {
        let now = self.now();
        let is_first = now < self.next_due;
        (is_first && !command.is_long() && self.store.admits_at_once()).then_some(now)
    }

    /// Returns whether a sweep of expired rows is due.
    pub(super) const fn is_sweep_due(&self) -> bool {
        self.sweep.is_due()
    }

    /// Returns the context of the next decision.
    pub(super) fn context(&self, now: Time, seed: u128, split_factor: usize) -> DecisionContext {
        DecisionContext { now, revision: self.last.next(), seed, split_factor }
    }

    /// Returns a reader of the staged state, with the record cache and the limit of one slice. The
    /// records that a decision misses are fetched while it is made.
    pub(super) fn reader<'a>(
        &self,
        store: &'a Arc<dyn Store>,
        definitions: &'a Arc<Definitions>,
    ) -> Reader<'a> {
        Reader::new(&**store, View::Staged, definitions)
            .with(Arc::clone(&self.record_cache))
            .fetching(Arc::clone(store), Arc::clone(definitions))
            .limited(Arc::new(SliceTime::begin()))
    }
}
