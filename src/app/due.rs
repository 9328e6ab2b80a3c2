//! Readers wait for timers that are due: nothing that has run out by now is shown as live.
//!
//! Mostly a timer fires within a millisecond of its time. After the wall clock jumped forward, or at
//! a start after a day without a server, many are due at once, and what is read meanwhile must not
//! show what they end.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::timeout;

use super::application::App;
use crate::engine::Refusal;
use crate::types::{Revision, Time};

/// Longest wait of a reader for timers that are due. After a jump over more of them than fire in
/// this time, views leave out the steps whose time has come.
const READER_WAIT: Duration = Duration::from_secs(2);

/// How far timers have fired, as readers need to know it.
#[derive(Debug)]
pub(super) struct DueTimers {
    /// No timer is due before this time, in milliseconds since the Unix epoch.
    next_ms: AtomicU64,
    /// The last commit of the timers that have fired.
    fired: AtomicU64,
    /// Notified after each change of the other two.
    changed: watch::Sender<()>,
}

impl DueTimers {
    pub(super) fn new() -> Self {
        // At the start nobody knows what is due: readers wait until it was looked for.
        let (next_ms, fired) = (AtomicU64::new(0), AtomicU64::new(0));
        Self { next_ms, fired, changed: watch::Sender::new(()) }
    }

    /// Notes that nothing is due before `next`, and that what was due before it is in commits up to
    /// `staged`.
    pub(super) fn note(&self, next: Time, staged: Revision) {
        // The commit first: whoever sees the time waits for the commit.
        self.fired.store(staged.get(), Ordering::Release);
        if self.next_ms.swap(next.ms(), Ordering::AcqRel) != next.ms() {
            self.changed.send_replace(());
        }
    }

    /// Notes that something is due earlier than was known.
    pub(super) fn note_earlier(&self, due: Time) {
        self.next_ms.fetch_min(due.ms(), Ordering::AcqRel);
    }

    /// No timer is due before this time.
    pub(super) fn next(&self) -> Time {
        Time::from_ms(self.next_ms.load(Ordering::Acquire))
    }

    fn fired(&self) -> Revision {
        Revision::new(self.fired.load(Ordering::Acquire))
    }
}

impl App {
    /// Waits until everything that is due by now has fired and is durable, for two seconds at most.
    ///
    /// # Errors
    /// [`Refusal::Stopping`]
    pub async fn fire_due_timers(&self) -> Result<(), Refusal> {
        let (now, due) = (self.now(), &self.notifier.due);
        if due.next() <= now {
            let mut changed = due.changed.subscribe();
            self.queue.wake();
            let fired = async { while due.next() <= now && changed.changed().await.is_ok() {} };
            if timeout(READER_WAIT, fired).await.is_err() {
                tracing::debug!("a reader did not wait longer for the timers that are due");
            }
        }
        let fired = due.fired();
        if self.store.durable() < fired {
            self.store.durable_at(fired).await.map_err(|_| Refusal::Stopping)?;
        }
        Ok(())
    }
}
