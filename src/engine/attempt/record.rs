//! Failed attempts at secrets that can be guessed: passwords and one-time codes. Each failure
//! counts in every counter that it may be charged to, and too many of them delay the next attempt.
//!
//! A counter is a leaky bucket. It forgets one failure per [`FORGET_EVERY`], so occasional failures
//! never add up. A right password forgets the wrong ones. A right one-time code forgets only wrong
//! codes for the same values: each transaction has a code of its own, so a right code does not
//! prove that earlier wrong ones were mistyped.

use crate::engine::Digest;
use crate::types::{Span, Time};

/// Time in which a counter forgets one failure. It equals the longest wait: an attacker who keeps
/// guessing gets about a hundred attempts a day, and people who share an address may mistype as
/// often.
pub(super) const FORGET_EVERY: Span = Span::from_minutes(15);

/// Maximum delay: a user whose account is under attack waits at most this long for a login, and in
/// sessions that are already open not at all.
const WAIT_MAX: Span = Span::from_minutes(15);

/// Failures of one account, session or user that cause no delay.
const OWN_FAILURES_FREE: u32 = 5;

/// Failed codes for the same bound values, or in the transactions of one API key, that cause no
/// delay: several people may pay the same amount, or use the same service.
const BINDING_FAILURES_FREE: u32 = 10;

/// Failures from one address that cause no delay: many people may share one.
const ADDRESS_FAILURES_FREE: u32 = 50;

/// Failed attempts in a counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attempts {
    /// Time from the last failure on until the counter has forgotten all of them.
    pub level: Span,
    /// Time of the last failure.
    pub last_at: Time,
}

/// Kind of failure that a counter counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counted {
    /// Failed logins of an account, whether it exists or not.
    Logins,
    /// Failed logins from an address.
    LoginsFrom,
    /// Wrong passwords in a session that is open, to elevate it or to change the password.
    InSession,
    /// Wrong one-time codes of a user or an anonymous session, over all transactions.
    Codes,
    /// Wrong one-time codes of anonymous sessions from an address.
    CodesFrom,
    /// Wrong one-time codes in the transactions of an API key, which many people may share.
    CodesOfKey,
    /// Wrong one-time codes that are bound to the same values, by anybody.
    CodesFor,
}

/// A counter of failed attempts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counter {
    /// Key of its record.
    pub digest: Digest,
    /// Kind of failure that it counts.
    pub counted: Counted,
}

impl Attempts {
    /// Converts a counter of an older store, which kept a number of failures.
    #[must_use]
    pub fn of_failures(failures: u32, last_at: Time) -> Self {
        let level = FORGET_EVERY.ms().saturating_mul(u64::from(failures));
        Self { level: Span::from_ms(level), last_at }
    }

    /// Returns the time from `now` on until all failures are forgotten.
    pub(super) fn level_at(&self, now: Time) -> Span {
        Span::from_ms(self.level.ms().saturating_sub(now.since(self.last_at).ms()))
    }

    /// Returns the number of failures that count at this time.
    fn failures(&self, now: Time) -> u32 {
        let failures = self.level_at(now).ms().div_ceil(FORGET_EVERY.ms());
        u32::try_from(failures).unwrap_or(u32::MAX)
    }

    /// Returns whether the record counts no failure any more and may be deleted.
    #[must_use]
    pub fn is_forgotten(&self, now: Time) -> bool {
        self.failures(now) == 0
    }

    /// Returns the delay before the next attempt: a second after the last free failure, and twice
    /// as long after each further one.
    pub(super) fn wait(&self, free: u32, now: Time) -> Span {
        let failures = self.failures(now);
        if failures < free {
            return Span::ZERO;
        }
        let penalty = Span::from_seconds(1 << (failures - free).min(20)).min(WAIT_MAX);
        self.last_at.plus(penalty).since(now)
    }
}

impl Counted {
    /// Returns the number of failures that cause no delay.
    pub(super) const fn free(self) -> u32 {
        match self {
            Self::Logins | Self::InSession | Self::Codes => OWN_FAILURES_FREE,
            Self::CodesOfKey | Self::CodesFor => BINDING_FAILURES_FREE,
            Self::LoginsFrom | Self::CodesFrom => ADDRESS_FAILURES_FREE,
        }
    }

    /// Returns whether others share the counter. A success forgets there only the failures of its
    /// own counter: otherwise anybody with a secret of their own could guess the secrets of others
    /// for ever.
    pub(super) const fn is_shared(self) -> bool {
        matches!(self, Self::LoginsFrom | Self::CodesFrom)
    }

    /// Returns a description of the failures for people.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Logins => "failed logins of this account",
            Self::LoginsFrom => "failed logins from this address",
            Self::InSession => "wrong passwords in this session",
            Self::Codes => "wrong one-time codes of this user, over all transactions",
            Self::CodesFrom => "wrong one-time codes of anonymous sessions from this address",
            Self::CodesOfKey => "wrong one-time codes in the transactions of this API key",
            Self::CodesFor => "wrong one-time codes for the same values",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after_failures(times: impl IntoIterator<Item = u64>) -> Attempts {
        let mut attempts = Attempts { level: Span::ZERO, last_at: Time::ZERO };
        for at in times {
            let now = Time::from_ms(at);
            let level = attempts.level_at(now).ms() + FORGET_EVERY.ms();
            attempts = Attempts { level: Span::from_ms(level), last_at: now };
        }
        attempts
    }

    #[test]
    fn attempts_wait_twice_as_long_after_each_failure_and_never_longer_than_the_longest() {
        let second = Span::from_seconds(1);
        for (failures, wait) in [(4, Span::ZERO), (5, second), (6, Span::from_seconds(2))] {
            let attempts = after_failures((0..failures).map(|n| 1000 + n));
            assert_eq!(attempts.wait(5, attempts.last_at), wait, "{failures}");
        }
        let attempts = after_failures((0..100).map(|n| 1000 + n));
        assert_eq!(attempts.wait(5, attempts.last_at), WAIT_MAX);
        assert_eq!(attempts.wait(5, attempts.last_at.plus(WAIT_MAX)), Span::ZERO);
    }

    #[test]
    fn attempts_are_forgotten_one_after_the_other_however_often_one_comes() {
        let day = Span::from_hours(24).ms();
        let attempts = after_failures((0..61).map(|n| n * day / 2));
        assert_eq!(attempts.failures(attempts.last_at), 1);
        let attempts = after_failures((0..10).map(|n| 1000 + n));
        let later = |minutes| attempts.failures(attempts.last_at.plus(Span::from_minutes(minutes)));
        assert_eq!([later(0), later(15), later(30), later(149), later(150)], [10, 9, 8, 1, 0]);
    }
}
