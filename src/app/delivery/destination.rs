//! A destination of calls: what waits for it, and when it may be asked.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use crate::types::TxId;

/// So many failures one after the other open a destination's breaker.
const FAILURES_MAX: u32 = 5;

/// How long a breaker stays open at first, and at most.
const OPEN_FIRST: Duration = Duration::from_millis(500);
const OPEN_MAX: Duration = Duration::from_secs(30);

/// What an attempt says of its destination.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(in crate::app) enum AttemptHealth {
    /// It answers.
    Healthy,
    /// It does not, or says that it cannot.
    Unhealthy,
    /// Nothing was sent.
    Nothing,
}

/// A destination and what waits for it.
#[derive(Default)]
pub(in crate::app) struct Destination {
    pub(in crate::app) queue: VecDeque<(TxId, u32)>,
    pub(in crate::app) out: usize,
    /// From here on there is more for it in the store.
    pub(in crate::app) more_from: Option<Bytes>,
    failures: u32,
    /// How often it was tried in vain since it is left alone.
    tried: u32,
    /// It is left alone until then.
    alone_until: Option<Instant>,
    /// Its rate lets the next one be sent from then on.
    next_at: Option<Instant>,
}

impl Destination {
    /// Whether its breaker is open.
    pub(in crate::app) const fn is_left_alone(&self) -> bool {
        self.failures >= FAILURES_MAX
    }

    /// Before this nothing is sent; `None`: it may be at once.
    pub(in crate::app) fn not_before(&self, now: Instant) -> Option<Instant> {
        self.alone_until.max(self.next_at).filter(|at| now < *at)
    }

    /// One is sent: the next one is so much later.
    pub(in crate::app) fn sends(&mut self, now: Instant, pause: Option<Duration>) {
        self.out += 1;
        if let Some(pause) = pause {
            self.next_at = Some(now + pause);
        }
    }

    /// One came back. `tries`: it was to find out if the destination answers again.
    pub(in crate::app) fn came(
        &mut self,
        name: &str,
        verdict: AttemptHealth,
        tries: bool,
        now: Instant,
    ) {
        self.out = self.out.saturating_sub(1);
        match verdict {
            AttemptHealth::Healthy => {
                if self.is_left_alone() {
                    tracing::info!(destination = name, "it answers again");
                }
                (self.failures, self.tried, self.alone_until) = (0, 0, None);
            }
            // Those that were on their way when it was found to fail say nothing new.
            AttemptHealth::Unhealthy if self.is_left_alone() && !tries => {}
            AttemptHealth::Unhealthy => {
                self.failures = self.failures.saturating_add(1);
                if self.is_left_alone() {
                    let pause = OPEN_FIRST.saturating_mul(1 << self.tried.min(10));
                    self.alone_until = Some(now + pause.min(OPEN_MAX));
                    self.tried = self.tried.saturating_add(1);
                    if self.failures == FAILURES_MAX {
                        tracing::warn!(
                            destination = name,
                            "it fails time after time: it is left alone for a while"
                        );
                    }
                }
            }
            AttemptHealth::Nothing => {}
        }
    }

    /// Whether something waits for it or is on its way, or its rate does not let the next one be
    /// sent yet: who forgot that would send it at once.
    pub(in crate::app) fn is_needed(&self, now: Instant) -> bool {
        let waits = !self.queue.is_empty() || self.out > 0 || self.more_from.is_some();
        waits || self.next_at.is_some_and(|at| now < at)
    }

    /// Whether nothing is to be remembered of it.
    pub(in crate::app) fn is_idle(&self, now: Instant) -> bool {
        self.failures == 0 && !self.is_needed(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAUSE: Duration = Duration::from_secs(1);

    /// A rate is kept by who has nothing more to send for now, too.
    #[test]
    fn a_destination_is_remembered_while_its_rate_holds() {
        let (mut at, now) = (Destination::default(), Instant::now());
        at.sends(now, Some(PAUSE));
        at.came("", AttemptHealth::Healthy, false, now);
        assert!(!at.is_idle(now) && at.not_before(now) == Some(now + PAUSE));
        assert!(at.is_idle(now + PAUSE) && at.not_before(now + PAUSE).is_none());
    }

    /// Whoever answers is asked at once, also when the answer was long on its way.
    #[test]
    fn an_answer_ends_the_time_in_which_it_is_left_alone() {
        let (mut at, now) = (Destination::default(), Instant::now());
        (0..=FAILURES_MAX).for_each(|_| at.sends(now, None));
        (0..FAILURES_MAX).for_each(|_| at.came("", AttemptHealth::Unhealthy, false, now));
        assert!(at.is_left_alone() && at.not_before(now) == Some(now + OPEN_FIRST));
        at.came("", AttemptHealth::Healthy, false, now);
        assert!(!at.is_left_alone() && at.not_before(now).is_none());
    }
}
