//! What tells those who speak with other services that there is something new for them, and what is
//! counted of them.

use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::watch;

use super::due::DueTimers;
use super::traces::Traces;
use crate::types::{Revision, Time};

/// What is measured of calls.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CallFigures {
    /// Attempts on their way.
    pub in_flight: u64,
    /// Calls that are due and wait for their turn.
    pub waiting: u64,
    /// Destinations that are left alone for now.
    pub breakers_open: u64,
    /// Attempts that were answered with success.
    pub succeeded: u64,
    /// Attempts that were answered otherwise.
    pub refused: u64,
    /// Of these, 401 and 403: the service does not let the server in.
    pub denied: u64,
    /// Attempts without an answer.
    pub lost: u64,
}

/// What the dispatcher counts, and what waits for an operator.
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) in_flight: AtomicU64,
    pub(super) waiting: AtomicU64,
    pub(super) breakers_open: AtomicU64,
    pub(super) succeeded: AtomicU64,
    pub(super) refused: AtomicU64,
    pub(super) denied: AtomicU64,
    pub(super) lost: AtomicU64,
    /// Idempotency-Keys that were forgotten before their time, since their actor had too many.
    pub(super) keys_shed: AtomicU64,
    /// Transactions that were stuck when it was looked for them last.
    pub(super) stuck: AtomicU64,
    /// Estimated bytes of the executor's decoded records.
    pub(super) record_cache_bytes: AtomicU64,
}

/// Tells those who speak with other services that there is something new for them, and counts
/// what the dispatcher does.
#[derive(Debug)]
pub(super) struct Notifier {
    /// The earliest due time that was staged since the dispatcher last looked.
    pub(super) from: AtomicU64,
    /// The commit that staged the last of them.
    pub(super) staged: watch::Sender<Revision>,
    /// The last commit that changed whom else is told of what; `None`: nobody any more.
    pub(super) webhooks: watch::Sender<Option<Revision>>,
    /// Notified when the clock was moved by hand.
    pub(super) moved: watch::Sender<()>,
    /// How far timers have fired.
    pub(super) due: DueTimers,
    pub(super) counters: Counters,
    /// Which traces calls go on with.
    pub(super) traces: Traces,
}

impl Notifier {
    pub(super) fn new() -> Self {
        let staged = watch::Sender::new(Revision::ZERO);
        let webhooks = watch::Sender::new(Some(Revision::ZERO));
        let (from, due) = (AtomicU64::new(u64::MAX), DueTimers::new());
        let moved = watch::Sender::new(());
        let (counters, traces) = (Counters::default(), Traces::default());
        Self { from, staged, webhooks, moved, due, counters, traces }
    }

    /// A commit set a call due.
    pub(super) fn notify_calls(&self, due: Time, revision: Revision) {
        // Whoever takes the time knows of the commit, or sees that there is a newer one than it
        // knows of and keeps the time; whoever came in between is woken once more.
        self.staged.send_replace(revision);
        self.from.fetch_min(due.ms(), Ordering::AcqRel);
        self.staged.send_replace(revision);
    }

    /// The clock was moved by hand: what became due meanwhile is looked for.
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
