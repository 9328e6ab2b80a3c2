//! Delays between attempts.

use std::time::Duration;

/// Delays that double with each attempt.
#[derive(Clone, Copy, Debug)]
pub(super) struct Backoff {
    /// Longest delay after the first attempt.
    pub(super) first: Duration,
    /// Longest delay at all.
    pub(super) max: Duration,
}

impl Backoff {
    /// Returns the longest delay after so many attempts.
    pub(super) fn longest(self, attempts: u32) -> Duration {
        let doublings = attempts.saturating_sub(1).min(16);
        self.first.saturating_mul(1 << doublings).min(self.max)
    }

    /// Returns a random delay up to the longest one, so that attempts which failed together are not
    /// repeated together; but at least the receiver's `Retry-After`.
    pub(super) fn jittered(self, attempts: u32, least: Duration) -> Duration {
        let longest = self.longest(attempts);
        let mut bytes = [0; 4];
        if getrandom::fill(&mut bytes).is_err() {
            return longest.max(least);
        }
        let part = f64::from(u32::from_be_bytes(bytes)) / f64::from(u32::MAX);
        longest.mul_f64(part).max(least)
    }
}
