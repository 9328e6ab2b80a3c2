//! The keeper's thread: has the next segments ready before they are needed, and watches the disk.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use super::super::StoreError;
use super::segment::FIRST_FRAME;
use super::shared::Shared;

/// How many segments are kept ready.
const READY: usize = 2;
/// How often the room on the disk is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Runs until the store has ended.
pub(super) fn run(shared: &Shared) {
    while !shared.is_abandoned() {
        let prepared = turn(shared).unwrap_or_else(|error| {
            // Nothing acknowledged depends on this; if it lasts, commits are refused for room.
            tracing::warn!(%error, "could not prepare a segment of the journal");
            false
        });
        if prepared {
            continue;
        }
        let ready = shared.ready.lock().unwrap_or_else(PoisonError::into_inner);
        if !shared.is_abandoned() {
            drop(shared.ready_changed.wait_timeout(ready, LOOK_EVERY));
        }
    }
}

/// Looks at the room and prepares at most one segment; true if it did.
fn turn(shared: &Shared) -> Result<bool, StoreError> {
    shared.room.look()?;
    shared.room.restore_ballast()?;
    let next = {
        let ready = shared.ready.lock().unwrap_or_else(PoisonError::into_inner);
        if ready.len() >= READY {
            return Ok(false);
        }
        let last = ready.back().map(|segment| segment.sequence);
        last.or_else(|| shared.journal.segments().back().map(|segment| segment.sequence))
            .unwrap_or(0)
            + 1
    };
    if !shared.journal.has_spare() && !shared.room.allows(shared.options.segment_bytes)? {
        return Ok(false);
    }
    let segment = Arc::new(shared.journal.prepare(next)?);
    let writable = segment.capacity - FIRST_FRAME;
    let mut ready = shared.ready.lock().unwrap_or_else(PoisonError::into_inner);
    ready.push_back(segment);
    shared.writable.fetch_add(writable, Ordering::AcqRel);
    drop(ready);
    shared.ready_changed.notify_all();
    shared.admitted.notify_all();
    Ok(true)
}
