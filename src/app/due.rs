//! Readers wait for due timers, so that nothing which has expired is shown as live.
//!
//! Mostly a timer fires within a millisecond of its time. After a jump of the wall clock, or at a
//! start after a downtime, many are due at once, and reads must not show what they end.

use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::watch;

use crate::types::{Revision, Time};

/// Progress of timers, for readers.
#[derive(Debug)]
pub(super) struct DueTimers {
    /// No timer is due before this time, in milliseconds since the Unix epoch.
    next_ms: AtomicU64,
    /// Revision of the last commit of timers.
    fired: AtomicU64,
    /// Notified after each change of the other two.
    pub(super) changed: watch::Sender<()>,
}

impl DueTimers {
    pub(super) fn new() -> Self {
        // At the start readers wait until the executor has looked for due timers.
        let (next_ms, fired) = (AtomicU64::new(0), AtomicU64::new(0));
        Self { next_ms, fired, changed: watch::Sender::new(()) }
    }

    /// Notes that nothing is due before `next`, and that what was due before it is in commits up to
    /// `staged`.
    pub(super) fn note(&self, next: Time, staged: Revision) {
        // The commit first: a reader that sees the time waits for the commit.
        self.fired.store(staged.get(), Ordering::Release);
        if self.next_ms.swap(next.ms(), Ordering::AcqRel) != next.ms() {
            self.changed.send_replace(());
        }
    }

    /// Notes that a timer is due earlier than was known.
    pub(super) fn note_earlier(&self, due: Time) {
        self.next_ms.fetch_min(due.ms(), Ordering::AcqRel);
    }

    /// Returns the time before which no timer is due.
    pub(super) fn next(&self) -> Time {
        Time::from_ms(self.next_ms.load(Ordering::Acquire))
    }

    pub(super) fn fired(&self) -> Revision {
        Revision::new(self.fired.load(Ordering::Acquire))
    }
}
