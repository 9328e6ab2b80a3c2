//! Watches the wall clock: timers after a jump of it, and a warning where the server's time differs.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::application::App;
use crate::types::{Span, Time};

/// Interval between two looks. A jump of the wall clock wakes nobody: timers that it made due are
/// this late at most.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Difference between the server's time and the wall clock that is worth a warning: half of what
/// receivers of signed messages tolerate.
const AHEAD_MAX: Span = Span::from_seconds(150);

impl App {
    /// The wall clock's time, for what other systems compare with theirs: signatures, and dates
    /// that they send. Unlike [`App::now`] it may go back.
    #[must_use]
    pub fn wall_now(&self) -> Time {
        self.clock.wall()
    }

    /// Sees each move of the clock by hand ([`App::advance_clock`]) from here on.
    #[must_use]
    pub fn clock_moves(&self) -> watch::Receiver<()> {
        self.notifier.moved.subscribe()
    }

    /// How far the server's time is ahead of the wall clock, without what it was advanced by.
    #[must_use]
    pub fn clock_ahead(&self) -> Span {
        self.clock.ahead_of_wall()
    }

    /// Wakes the executor when a jump of the wall clock made timers due, and warns when the
    /// server's time differs much from it; does not end.
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
