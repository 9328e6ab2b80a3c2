//! Changes of the counters by events.

use super::event::AttemptEvent;
use super::record::{Attempts, Counter, FORGET_EVERY};
use crate::engine::core::record::{Record, RecordKey};
use crate::engine::core::unit_of_work::{DecideError, UnitOfWork};
use crate::types::Span;

/// Applies an event.
pub(in crate::engine) fn apply(
    unit: &mut UnitOfWork<'_>,
    event: &AttemptEvent,
) -> Result<(), DecideError> {
    match event {
        AttemptEvent::LoginFailed { counters, .. } | AttemptEvent::CodeFailed { counters } => {
            count(unit, counters)
        }
        AttemptEvent::FailuresMoved { from, to } => move_failures(unit, from, to),
        AttemptEvent::FailuresForgotten { counters } => forget(unit, counters),
    }
}

/// Counts a failure.
fn count(unit: &mut UnitOfWork<'_>, counters: &[Counter]) -> Result<(), DecideError> {
    let now = unit.context.now;
    for Counter { digest, .. } in counters {
        let before = unit.attempts(*digest)?.map_or(Span::ZERO, |attempts| attempts.level_at(now));
        let level = Span::from_ms(before.ms().saturating_add(FORGET_EVERY.ms()));
        let attempts = Attempts { level, last_at: now };
        unit.put(RecordKey::Attempts(*digest), Record::Attempts(attempts));
    }
    Ok(())
}

/// Adds the failures of one counter to those of another.
fn move_failures(
    unit: &mut UnitOfWork<'_>,
    from: &Counter,
    to: &Counter,
) -> Result<(), DecideError> {
    let now = unit.context.now;
    let Some(moved) = unit.attempts(from.digest)?.copied() else { return Ok(()) };
    let before = unit.attempts(to.digest)?.copied();
    let level = before.map_or(Span::ZERO, |attempts| attempts.level_at(now)).ms();
    // The level is counted from the last failure on.
    let last_at = before.map_or(moved.last_at, |attempts| attempts.last_at.max(moved.last_at));
    let left = level.saturating_add(moved.level_at(now).ms());
    let level = Span::from_ms(left.saturating_add(now.since(last_at).ms()));
    unit.delete(RecordKey::Attempts(from.digest));
    unit.put(RecordKey::Attempts(to.digest), Record::Attempts(Attempts { level, last_at }));
    Ok(())
}

/// Forgets failures after a success.
fn forget(unit: &mut UnitOfWork<'_>, counters: &[Counter]) -> Result<(), DecideError> {
    let now = unit.context.now;
    let mut own = Span::ZERO;
    for Counter { digest, .. } in counters.iter().filter(|counter| !counter.counted.is_shared()) {
        if let Some(attempts) = unit.attempts(*digest)? {
            own = own.max(attempts.level_at(now));
            unit.delete(RecordKey::Attempts(*digest));
        }
    }
    for Counter { digest, .. } in counters.iter().filter(|counter| counter.counted.is_shared()) {
        let Some(attempts) = unit.attempts(*digest)?.copied() else { continue };
        let level = Span::from_ms(attempts.level.ms().saturating_sub(own.ms()));
        unit.put(RecordKey::Attempts(*digest), Record::Attempts(Attempts { level, ..attempts }));
    }
    Ok(())
}
