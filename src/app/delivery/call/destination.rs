//! A destination of calls: its queue, and when it may be called.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use super::circuit_breaker::{BreakerChange, BreakerState, CircuitBreaker, Health};
use crate::types::TxId;

/// A destination and what waits for it.
#[derive(Default)]
pub(super) struct Destination {
    pub(super) queue: VecDeque<(TxId, u32)>,
    /// Number of attempts under way.
    pub(super) in_flight: usize,
    /// Key of the store from which on more calls for this destination are due.
    pub(super) more_from: Option<Bytes>,
    breaker: CircuitBreaker,
    /// Time from which its rate allows the next attempt.
    next_at: Option<Instant>,
}

impl Destination {
    /// Returns whether its circuit breaker is open or half-open.
    pub(super) const fn is_tripped(&self) -> bool {
        self.breaker.is_tripped()
    }

    /// Returns the time before which no attempt may be made, if that is in the future.
    pub(super) fn not_before(&self, now: Instant) -> Option<Instant> {
        let open_until = match self.breaker.state(now) {
            BreakerState::Open(until) => Some(until),
            BreakerState::Closed | BreakerState::HalfOpen => None,
        };
        open_until.max(self.next_at).filter(|at| now < *at)
    }

    /// Notes that an attempt begins. The next one may follow after `pause`.
    pub(super) fn begin(&mut self, now: Instant, pause: Option<Duration>) {
        self.in_flight += 1;
        if let Some(pause) = pause {
            self.next_at = Some(now + pause);
        }
    }

    /// Notes that an attempt has ended. `is_probe`: it was made while the breaker was half-open.
    pub(super) fn end(&mut self, name: &str, health: Health, is_probe: bool, now: Instant) {
        self.in_flight = self.in_flight.saturating_sub(1);
        match self.breaker.record(health, is_probe, now) {
            Some(BreakerChange::Closed) => {
                tracing::info!(destination = name, "circuit breaker closed");
            }
            Some(BreakerChange::Opened) => {
                tracing::warn!(
                    destination = name,
                    "circuit breaker opened after repeated failures"
                );
            }
            None => {}
        }
    }

    /// Returns whether something waits for it or is under way, or its rate delays the next attempt:
    /// without this state that attempt would be made at once.
    pub(super) fn is_needed(&self, now: Instant) -> bool {
        let waits = !self.queue.is_empty() || self.in_flight > 0 || self.more_from.is_some();
        waits || self.next_at.is_some_and(|at| now < at)
    }

    /// Returns whether its state can be dropped.
    pub(super) fn is_idle(&self, now: Instant) -> bool {
        !self.breaker.has_failures() && !self.is_needed(now)
    }
}

#[cfg(test)]
mod tests {
    use super::super::circuit_breaker::{FAILURES_MAX, OPEN};
    use super::*;

    const PAUSE: Duration = Duration::from_secs(1);

    #[test]
    fn destination_is_remembered_while_its_rate_delays_the_next_attempt() {
        let (mut at, now) = (Destination::default(), Instant::now());
        at.begin(now, Some(PAUSE));
        at.end("", Health::Healthy, false, now);
        assert!(!at.is_idle(now) && at.not_before(now) == Some(now + PAUSE));
        assert!(at.is_idle(now + PAUSE) && at.not_before(now + PAUSE).is_none());
    }

    #[test]
    fn circuit_breaker_closes_with_any_answer_also_of_an_earlier_attempt() {
        let (mut at, now) = (Destination::default(), Instant::now());
        (0..=FAILURES_MAX).for_each(|_| at.begin(now, None));
        (0..FAILURES_MAX).for_each(|_| at.end("", Health::Unhealthy, false, now));
        assert!(at.is_tripped() && at.not_before(now) == Some(now + OPEN.first));
        at.end("", Health::Healthy, false, now);
        assert!(!at.is_tripped() && at.not_before(now).is_none());
    }
}
