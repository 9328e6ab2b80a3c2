//! The server's time and its timers, for readers; and a watch on the wall clock.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, timeout};

use super::application::App;
use crate::engine::Refusal;
use crate::types::{Span, Time};

/// Interval between two checks. A jump of the wall clock wakes no thread, so timers that it made
/// due are at most this late.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Difference between the server's time and the wall clock that is logged: half of what receivers
/// of signed messages tolerate.
const AHEAD_MAX: Span = Span::from_seconds(150);

/// Longest wait of a reader for due timers. If more are due than fire in this time, views leave out
/// the steps whose time has come.
const READER_WAIT: Duration = Duration::from_secs(2);

impl App {
    /// Waits until everything that is due by now has fired and is durable, for two seconds at most.
    ///
    /// # Errors
    /// [`Refusal::Stopping`]
    pub async fn wait_for_due_timers(&self) -> Result<(), Refusal> {
        let (now, due) = (self.now(), &self.notifier.due);
        if due.next() <= now {
            let mut changed = due.changed.subscribe();
            self.queue.wake();
            let fired = async { while due.next() <= now && changed.changed().await.is_ok() {} };
            if timeout(READER_WAIT, fired).await.is_err() {
                tracing::debug!("timers are late; a reader did not wait for them");
            }
        }
        let fired = due.fired();
        if self.store.durable() < fired {
            self.store.durable_at(fired).await.map_err(|_| Refusal::Stopping)?;
        }
        Ok(())
    }

    /// Returns the wall clock's time, for comparison with other systems: signatures, and dates that
    /// they send. Unlike [`App::now`] it may go back.
    #[must_use]
    pub fn wall_now(&self) -> Time {
        self.clock.wall()
    }

    /// Returns a receiver of manual moves of the clock ([`App::advance_clock`]).
    #[must_use]
    pub fn clock_moves(&self) -> watch::Receiver<()> {
        self.notifier.moved.subscribe()
    }

    /// Returns how far the server's time is ahead of the wall clock, without manual advances.
    #[must_use]
    pub fn clock_ahead(&self) -> Span {
        self.clock.ahead_of_wall()
    }

    /// Wakes the executor when a jump of the wall clock made timers due, and warns when the
    /// server's time differs much from it; never ends.
    pub async fn watch_clock(self: Arc<Self>) {
        let mut warned = false;
        loop {
            if self.notifier.due.next() <= self.now() {
                self.queue.wake();
            }
            let ahead = self.clock_ahead();
            if ahead > AHEAD_MAX && !warned {
                tracing::warn!(
                    ahead_s = ahead.ms() / 1000,
                    now = %self.now(),
                    wall = %self.wall_now(),
                    "the wall clock is behind the server's time, which never goes back: it was set \
                     back, or was ahead before; signatures use the wall clock, timers do not"
                );
            } else if ahead <= AHEAD_MAX && warned {
                tracing::info!("the wall clock has caught up with the server's time");
            }
            warned = ahead > AHEAD_MAX;
            tokio::time::sleep_until(Instant::now() + LOOK_EVERY).await;
        }
    }
}
