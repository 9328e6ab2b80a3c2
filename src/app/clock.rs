//! The one place that reads the wall clock.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Instant, SystemTime};

use crate::types::{Span, Time};

/// Microseconds in a millisecond.
const MS: u64 = 1000;

/// The server's time: max(wall + what it was advanced by, high-water mark + monotonic time since).
/// While the wall clock is ahead, its time becomes the high-water mark. So the time never goes
/// back, not even over a restart after the wall clock was set back, and it never stops: from the
/// highest reading on it follows the monotonic clock until the wall clock has caught up.
pub(super) struct ServerClock {
    started: Instant,
    /// Server time at `started` according to the highest reading so far, in microseconds since the
    /// Unix epoch.
    origin_us: AtomicU64,
    advanced_ms: AtomicU64,
    /// True if the clock moves only when it is advanced.
    stands: bool,
}

/// Readings of the system's two clocks, in microseconds.
#[derive(Clone, Copy, Debug)]
struct Reading {
    /// The wall clock, since the Unix epoch.
    wall_us: u64,
    /// The monotonic clock, since this clock was created.
    elapsed_us: u64,
}

impl ServerClock {
    /// Returns a clock that stops at `at` and moves only when it is advanced.
    pub(super) fn standing(at: Time) -> Self {
        Self { stands: true, ..Self::from(at, Span::ZERO) }
    }

    /// Returns a clock that continues after `high` and was advanced by `advanced` before, and how
    /// far it jumped. A downtime looks the same as a wall clock that was set forward.
    pub(super) fn new(high: Time, advanced: Span) -> (Self, Span) {
        let clock = Self::from(high, advanced);
        let jump = if high == Time::ZERO { Span::ZERO } else { clock.now().since(high) };
        (clock, jump)
    }

    fn from(high: Time, advanced: Span) -> Self {
        Self {
            started: started(),
            origin_us: AtomicU64::new(high.ms().saturating_mul(MS)),
            advanced_ms: AtomicU64::new(advanced.ms()),
            stands: false,
        }
    }

    /// Returns the time.
    pub(super) fn now(&self) -> Time {
        if self.stands {
            return Time::from_ms(self.origin_us.load(Ordering::Acquire) / MS);
        }
        self.at(self.read())
    }

    /// Returns the time according to these readings and all before them.
    fn at(&self, reading: Reading) -> Time {
        let Reading { wall_us, elapsed_us } = reading;
        let advanced_us = self.advanced_ms.load(Ordering::Acquire).saturating_mul(MS);
        let origin_us = wall_us.saturating_add(advanced_us).saturating_sub(elapsed_us);
        // Neither of them goes back, so their sum does not.
        let origin_us = self.origin_us.fetch_max(origin_us, Ordering::AcqRel).max(origin_us);
        Time::from_ms(origin_us.saturating_add(elapsed_us) / MS)
    }

    /// Returns the wall clock's time, for comparison with other systems: signatures, and dates that
    /// they send. It may go back. A stopped clock is its own wall clock.
    pub(super) fn wall(&self) -> Time {
        if self.stands { self.now() } else { Time::from_ms(self.read().wall_us / MS) }
    }

    /// Returns how far the server's time is ahead of the wall clock, without manual advances.
    pub(super) fn ahead_of_wall(&self) -> Span {
        if self.stands {
            return Span::ZERO;
        }
        let reading = self.read();
        let now = self.at(reading);
        now.since(Time::from_ms(reading.wall_us / MS).plus(self.advanced()))
    }

    /// Returns the sum of all manual advances.
    pub(super) fn advanced(&self) -> Span {
        Span::from_ms(self.advanced_ms.load(Ordering::Acquire))
    }

    /// Moves the clock forward.
    pub(super) fn advance(&self, by: Span) {
        self.advanced_ms.fetch_add(by.ms(), Ordering::AcqRel);
        self.origin_us.fetch_add(by.ms().saturating_mul(MS), Ordering::AcqRel);
    }

    fn read(&self) -> Reading {
        // The monotonic clock first: the time between both readings must not count twice.
        let elapsed_us = self.started.elapsed().as_micros();
        Reading { wall_us: wall_us(), elapsed_us: u64::try_from(elapsed_us).unwrap_or(u64::MAX) }
    }
}

#[allow(clippy::disallowed_methods, reason = "the one place that reads the wall clock")]
fn wall_us() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}

fn started() -> Instant {
    Instant::now()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_goes_on_where_it_stood_even_if_the_wall_clock_is_behind() {
        let ahead = Time::from_ms(wall_us() / MS).plus(Span::from_hours(48));
        let (clock, jump) = ServerClock::new(ahead, Span::ZERO);
        assert!(clock.now() >= ahead);
        assert!(jump < Span::from_hours(1));
        let before = clock.now();
        clock.advance(Span::from_hours(72));
        assert!(clock.now() >= before.plus(Span::from_hours(72)));
        assert_eq!(clock.advanced(), Span::from_hours(72));
    }

    #[test]
    fn a_forward_jump_is_told_and_the_first_start_is_none() {
        let (_, first) = ServerClock::new(Time::ZERO, Span::ZERO);
        assert_eq!(first, Span::ZERO);
        let behind = Time::from_ms(wall_us() / MS - Span::from_hours(5).ms());
        let (_, jump) = ServerClock::new(behind, Span::ZERO);
        assert!(jump >= Span::from_hours(5));
    }

    #[test]
    fn a_standing_clock_moves_only_when_it_is_advanced() {
        let at = Time::from_ms(1_000_000);
        let clock = ServerClock::standing(at);
        assert_eq!(clock.now(), at);
        clock.advance(Span::from_minutes(31));
        assert_eq!(clock.now(), at.plus(Span::from_minutes(31)));
        assert_eq!(clock.advanced(), Span::from_minutes(31));
    }

    #[test]
    fn it_does_not_stand_still_when_it_is_ahead_of_the_wall() {
        let ahead = Time::from_ms(wall_us() / MS).plus(Span::from_hours(48));
        let (clock, _) = ServerClock::new(ahead, Span::ZERO);
        let before = clock.now();
        while clock.now() == before {
            std::hint::spin_loop();
        }
        assert!(clock.now() > before);
    }

    const SECOND: u64 = 1_000_000;
    const HOUR: u64 = 3600 * SECOND;
    /// A wall clock's time in 2026, in microseconds.
    const WALL: u64 = 1_790_000_000 * SECOND;

    /// A clock that begins long before its first reading, as after a day without a server.
    fn after_a_day_down() -> ServerClock {
        ServerClock::from(Time::from_ms((WALL - 24 * HOUR) / MS), Span::ZERO)
    }

    #[test]
    fn clock_goes_on_at_its_pace_when_the_wall_clock_is_set_back() {
        let clock = after_a_day_down();
        let at = |wall_us, elapsed_us| clock.at(Reading { wall_us, elapsed_us });
        let before = at(WALL + 10 * SECOND, 10 * SECOND);
        assert_eq!(before, Time::from_ms((WALL + 10 * SECOND) / MS));
        for passed in 1..=9 {
            let now = at(WALL - 2 * HOUR, (10 + passed) * SECOND);
            assert_eq!(now, before.plus(Span::from_seconds(passed)), "{passed} s later");
        }
        // The wall clock catches up: both agree again, and the later one counts.
        assert_eq!(at(WALL + HOUR, 20 * SECOND), Time::from_ms((WALL + HOUR) / MS));
    }

    proptest::proptest! {
        /// Whatever the wall clock does, the time is never behind it, never goes back, and moves
        /// on by at least what the monotonic clock does.
        #[test]
        fn clock_never_stands_still_and_never_goes_back(
            steps in proptest::collection::vec((0..3 * HOUR, -48 * 3600_i64..48 * 3600), 1..50)
        ) {
            let clock = after_a_day_down();
            let (mut elapsed_us, mut wall_us, mut last) = (0, WALL, None);
            for (passed, set_s) in steps {
                elapsed_us += passed;
                wall_us = wall_us.saturating_add(passed);
                wall_us = wall_us.saturating_add_signed(set_s * 1_000_000);
                let now = clock.at(Reading { wall_us, elapsed_us });
                proptest::prop_assert!(now >= Time::from_ms(wall_us / MS));
                if let Some(last) = last {
                    proptest::prop_assert!(now.since(last).ms() + 1 >= passed / MS, "{now} {last}");
                    proptest::prop_assert!(now >= last);
                }
                last = Some(now);
            }
        }
    }
}
