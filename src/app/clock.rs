//! The one place that reads the wall clock.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Instant, SystemTime};

use crate::types::{Span, Time};

/// The server's time: max(wall + what it was advanced by, high-water mark + monotonic time since
/// the start). So it never goes back, not even over a restart with a wall clock that was set back,
/// and it never stands still.
pub(super) struct Clock {
    started: Instant,
    /// The high-water mark at the start, moved by what the clock was advanced by since.
    base_ms: AtomicU64,
    advanced_ms: AtomicU64,
    latest_ms: AtomicU64,
    /// Whether it moves only when it is advanced.
    stands: bool,
}

impl Clock {
    /// A clock that stands at `at` and moves only when it is advanced.
    pub(super) fn standing(at: Time) -> Self {
        Self {
            started: started(),
            base_ms: AtomicU64::new(at.ms()),
            advanced_ms: AtomicU64::new(0),
            latest_ms: AtomicU64::new(at.ms()),
            stands: true,
        }
    }

    /// A clock that goes on after `high` and was advanced by `advanced` before. Also says how far
    /// it jumped: time that passed while the server was down looks the same as a wall clock that
    /// was set forward.
    pub(super) fn new(high: Time, advanced: Span) -> (Self, Span) {
        let clock = Self {
            started: started(),
            base_ms: AtomicU64::new(high.ms()),
            advanced_ms: AtomicU64::new(advanced.ms()),
            latest_ms: AtomicU64::new(high.ms()),
            stands: false,
        };
        let jump = if high == Time::ZERO { Span::ZERO } else { clock.now().since(high) };
        (clock, jump)
    }

    /// The time now.
    pub(super) fn now(&self) -> Time {
        if self.stands {
            return Time::from_ms(self.base_ms.load(Ordering::Acquire));
        }
        let wall = wall_ms().saturating_add(self.advanced_ms.load(Ordering::Acquire));
        let elapsed = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        let steady = self.base_ms.load(Ordering::Acquire).saturating_add(elapsed);
        let now = wall.max(steady);
        Time::from_ms(self.latest_ms.fetch_max(now, Ordering::AcqRel).max(now))
    }

    /// By how much it was advanced in all.
    pub(super) fn advanced(&self) -> Span {
        Span::from_ms(self.advanced_ms.load(Ordering::Acquire))
    }

    /// Moves it forward.
    pub(super) fn advance(&self, by: Span) {
        self.advanced_ms.fetch_add(by.ms(), Ordering::AcqRel);
        self.base_ms.fetch_add(by.ms(), Ordering::AcqRel);
    }
}

#[allow(clippy::disallowed_methods, reason = "the one place that reads the wall clock")]
fn wall_ms() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

fn started() -> Instant {
    Instant::now()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_goes_on_where_it_stood_even_if_the_wall_clock_is_behind() {
        let ahead = Time::from_ms(wall_ms()).plus(Span::from_hours(48));
        let (clock, jump) = Clock::new(ahead, Span::ZERO);
        assert!(clock.now() >= ahead);
        assert!(jump < Span::from_hours(1));
        let before = clock.now();
        clock.advance(Span::from_hours(72));
        assert!(clock.now() >= before.plus(Span::from_hours(72)));
        assert_eq!(clock.advanced(), Span::from_hours(72));
    }

    #[test]
    fn a_forward_jump_is_told_and_the_first_start_is_none() {
        let (_, first) = Clock::new(Time::ZERO, Span::ZERO);
        assert_eq!(first, Span::ZERO);
        let behind = Time::from_ms(wall_ms() - Span::from_hours(5).ms());
        let (_, jump) = Clock::new(behind, Span::ZERO);
        assert!(jump >= Span::from_hours(5));
    }

    #[test]
    fn a_standing_clock_moves_only_when_it_is_advanced() {
        let at = Time::from_ms(1_000_000);
        let clock = Clock::standing(at);
        assert_eq!(clock.now(), at);
        clock.advance(Span::from_minutes(31));
        assert_eq!(clock.now(), at.plus(Span::from_minutes(31)));
        assert_eq!(clock.advanced(), Span::from_minutes(31));
    }

    #[test]
    fn it_does_not_stand_still_when_it_is_ahead_of_the_wall() {
        let ahead = Time::from_ms(wall_ms()).plus(Span::from_hours(48));
        let (clock, _) = Clock::new(ahead, Span::ZERO);
        let before = clock.now();
        while clock.now() == before {
            std::hint::spin_loop();
        }
        assert!(clock.now() > before);
    }
}
