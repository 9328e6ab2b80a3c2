//! The preallocator's thread: has the next segments ready before they are needed, and watches the disk.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use super::super::StoreError;
use super::segment::FIRST_FRAME;
use super::shared::Shared;

/// Number of segments that are kept ready.
const READY: usize = 2;
/// Pause between two checks of the disk space.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Runs until the store has ended.
pub(super) fn run(shared: &Shared) {
    // Counted here and read nowhere else: the committer may be between taking a segment and saying
    // so, and a number that is given out twice is a segment that is overwritten.
    let mut next = {
        let ready = shared.ready.lock().unwrap_or_else(PoisonError::into_inner);
        let last = ready.back().map(|segment| segment.sequence);
        let written = || shared.journal.segments().back().map(|segment| segment.sequence);
        last.or_else(written).unwrap_or(0) + 1
    };
    while !shared.is_abandoned() {
        let prepared = turn(shared, next).unwrap_or_else(|error| {
            // Nothing acknowledged depends on this; if it lasts, commits are refused for room.
            tracing::warn!(%error, "could not prepare a segment of the journal");
            false
        });
        if prepared {
            next += 1;
            continue;
        }
        let ready = shared.ready.lock().unwrap_or_else(PoisonError::into_inner);
        if !shared.is_abandoned() {
            drop(shared.ready_changed.wait_timeout(ready, LOOK_EVERY));
        }
    }
}

/// Looks at the room and prepares at most one segment, the one with the sequence `next`; true if
/// it did.
fn turn(shared: &Shared, next: u64) -> Result<bool, StoreError> {
    shared.disk_space.look()?;
    shared.disk_space.restore_ballast()?;
    if shared.ready.lock().unwrap_or_else(PoisonError::into_inner).len() >= READY {
        return Ok(false);
    }
    if !shared.journal.has_spare() && !shared.disk_space.allows(shared.options.segment_bytes)? {
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
