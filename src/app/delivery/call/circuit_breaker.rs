//! Circuit breaker of a destination: closed while attempts succeed; open, and no attempt is made,
//! after several failures in a row; half-open when one attempt may find out whether the destination
//! has recovered.

use std::time::Duration;

use tokio::time::Instant;

use crate::app::delivery::backoff::Backoff;

/// Number of failures in a row that open the breaker.
pub(super) const FAILURES_MAX: u32 = 5;

/// Time for which the breaker is open before each probe.
pub(super) const OPEN: Backoff =
    Backoff { first: Duration::from_millis(500), max: Duration::from_secs(30) };

/// Evidence of an attempt about its destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::app::delivery) enum Health {
    /// The destination answers.
    Healthy,
    /// The destination does not answer, or answers that it cannot.
    Unhealthy,
    /// Nothing was sent.
    Unknown,
}

/// State of a breaker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BreakerState {
    Closed,
    /// No attempt is made until then.
    Open(Instant),
    /// One attempt at a time is made, as a probe.
    HalfOpen,
}

/// Change of a breaker's state, for the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BreakerChange {
    Opened,
    Closed,
}

#[derive(Debug, Default)]
pub(super) struct CircuitBreaker {
    /// Failures in a row.
    failures: u32,
    /// Failed probes since the breaker opened.
    probes: u32,
    open_until: Option<Instant>,
}

impl CircuitBreaker {
    /// Returns the state.
    pub(super) fn state(&self, now: Instant) -> BreakerState {
        match self.open_until {
            Some(until) if now < until => BreakerState::Open(until),
            _ if self.is_tripped() => BreakerState::HalfOpen,
            _ => BreakerState::Closed,
        }
    }

    /// Returns whether the breaker is open or half-open.
    pub(super) const fn is_tripped(&self) -> bool {
        self.failures >= FAILURES_MAX
    }

    /// Returns whether an attempt has failed since the last success.
    pub(super) const fn has_failures(&self) -> bool {
        self.failures > 0
    }

    /// Records the result of an attempt. `is_probe`: it was made while the breaker was half-open.
    pub(super) fn record(
        &mut self,
        health: Health,
        is_probe: bool,
        now: Instant,
    ) -> Option<BreakerChange> {
        match health {
            Health::Healthy => {
                let was_tripped = self.is_tripped();
                *self = Self::default();
                was_tripped.then_some(BreakerChange::Closed)
            }
            // Attempts that were under way when the breaker opened say nothing new.
            Health::Unhealthy if self.is_tripped() && !is_probe => None,
            Health::Unhealthy => {
                self.failures = self.failures.saturating_add(1);
                if !self.is_tripped() {
                    return None;
                }
                self.probes = self.probes.saturating_add(1);
                self.open_until = Some(now + OPEN.longest(self.probes));
                (self.failures == FAILURES_MAX).then_some(BreakerChange::Opened)
            }
            Health::Unknown => None,
        }
    }
}
