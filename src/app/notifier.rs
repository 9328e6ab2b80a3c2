//! Notifications of readers, calls and webhooks after a commit, and the counters of calls.

use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::watch;

use super::due::DueTimers;
use super::traces::Traces;
use crate::types::{Revision, Time};

/// Measurements of calls.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CallFigures {
    /// Attempts under way.
    pub in_flight: u64,
    /// Due calls that wait in memory.
    pub waiting: u64,
    /// Destinations with a circuit breaker that is not closed.
    pub breakers_open: u64,
    /// Attempts that were answered with success.
    pub succeeded: u64,
    /// Attempts that were answered otherwise.
    pub refused: u64,
    /// Refused attempts with 401 or 403: the service rejected the credentials.
    pub denied: u64,
    /// Attempts without an answer.
    pub lost: u64,
}

/// Counters of calls and of the executor.
#[derive(Debug, Default)]
pub(super) struct AppCounters {
    pub(super) in_flight: AtomicU64,
    pub(super) waiting: AtomicU64,
    pub(super) breakers_open: AtomicU64,
    pub(super) succeeded: AtomicU64,
    pub(super) refused: AtomicU64,
    pub(super) denied: AtomicU64,
    pub(super) lost: AtomicU64,
    /// Idempotency-Keys that were dropped before their time, since their actor had too many.
    pub(super) keys_shed: AtomicU64,
    /// Stuck transactions at the last scan.
    pub(super) stuck: AtomicU64,
    /// Estimated bytes of the record cache.
    pub(super) record_cache_bytes: AtomicU64,
}

/// Notifies readers, calls and webhooks after a commit.
#[derive(Debug)]
pub(super) struct Notifier {
    /// Earliest due time that was staged since calls were last read, in milliseconds since the Unix
    /// epoch.
    pub(super) from: AtomicU64,
    /// Revision of the last commit that made a call due.
    pub(super) staged: watch::Sender<Revision>,
    /// Revision of the last commit that changed a webhook; `None`: deliveries end.
    pub(super) webhooks: watch::Sender<Option<Revision>>,
    /// Notified when the clock was moved by hand.
    pub(super) moved: watch::Sender<()>,
    /// Progress of timers.
    pub(super) due: DueTimers,
    pub(super) counters: AppCounters,
    /// Traces that calls continue.
    pub(super) traces: Traces,
}

impl Notifier {
    pub(super) fn new() -> Self {
        let staged = watch::Sender::new(Revision::ZERO);
        let webhooks = watch::Sender::new(Some(Revision::ZERO));
        let (from, due) = (AtomicU64::new(u64::MAX), DueTimers::new());
        let moved = watch::Sender::new(());
        let (counters, traces) = (AppCounters::default(), Traces::default());
        Self { from, staged, webhooks, moved, due, counters, traces }
    }

    /// Notifies calls of a commit that made one due.
    pub(super) fn notify_calls(&self, due: Time, revision: Revision) {
        // A reader that takes the time knows of the commit, or sees that there is a newer one and
        // keeps the time; one that came in between is woken once more.
        self.staged.send_replace(revision);
        self.from.fetch_min(due.ms(), Ordering::AcqRel);
        self.staged.send_replace(revision);
    }

    /// Notifies calls and webhooks that the clock was moved by hand.
    pub(super) fn clock_moved(&self, last: Revision) {
        self.notify_calls(Time::MAX, last);
        self.moved.send_replace(());
    }

    pub(super) fn figures(&self) -> CallFigures {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let counters = &self.counters;
        CallFigures {
            in_flight: read(&counters.in_flight),
            waiting: read(&counters.waiting),
            breakers_open: read(&counters.breakers_open),
            succeeded: read(&counters.succeeded),
            refused: read(&counters.refused),
            denied: read(&counters.denied),
            lost: read(&counters.lost),
        }
    }
}
