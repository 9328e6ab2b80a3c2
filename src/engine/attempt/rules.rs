//! Rules for the next attempt at a secret.

use super::record::Counter;
use crate::engine::Refusal;
use crate::engine::core::unit_of_work::{DecideError, UnitOfWork};
use crate::types::Span;

/// Refuses the attempt while one of the counters imposes a delay.
pub(in crate::engine) fn require_not_wait(
    unit: &UnitOfWork<'_>,
    counters: &[Counter],
) -> Result<(), DecideError> {
    let now = unit.context.now;
    let mut longest = None;
    for Counter { digest, counted } in counters {
        let attempts = unit.attempts(*digest)?;
        let wait = attempts.map_or(Span::ZERO, |attempts| attempts.wait(counted.free(), now));
        if wait > longest.map_or(Span::ZERO, |(wait, _)| wait) {
            longest = Some((wait, *counted));
        }
    }
    match longest {
        None => Ok(()),
        Some((retry_after, counted)) => {
            Err(Refusal::TooManyAttempts { retry_after, counted }.into())
        }
    }
}

/// Returns whether a success has failures to forget.
pub(in crate::engine) fn has_failures(
    unit: &UnitOfWork<'_>,
    counters: &[Counter],
) -> Result<bool, DecideError> {
    for counter in counters.iter().filter(|counter| !counter.counted.is_shared()) {
        if unit.attempts(counter.digest)?.is_some() {
            return Ok(true);
        }
    }
    Ok(false)
}
