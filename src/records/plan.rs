//! From a decision to a batch.

use super::{Key, Reader, split, value};
use crate::engine::Changes;
use crate::store::{Precondition, StoreError, Write};

/// Turns what a decision changed into preconditions and writes: everything that it read must still
/// be as it was read, so every rule that it rests on holds at the commit.
///
/// # Errors
/// [`StoreError::Invalid`] when a record is larger than any record can be.
pub fn plan(
    changes: &Changes,
    reader: &Reader<'_>,
) -> Result<(Vec<Precondition>, Vec<Write>), StoreError> {
    let mut preconditions = Vec::new();
    for (fact, loaded) in reader.facts.iter() {
        let key = Key::of(fact).encode().into();
        preconditions.push(match loaded {
            Some((_, revision)) => Precondition::Unchanged(key, *revision),
            None => Precondition::Absent(key),
        });
    }
    let mut writes = Vec::new();
    for (fact, record) in &changes.records {
        let bytes = record.as_ref().map(value::encode);
        if !value::is_in_parts(fact) {
            let key = Key::of(fact).encode();
            writes.push(match bytes {
                Some(bytes) => Write::put(key, bytes),
                None => Write::delete(key),
            });
            continue;
        }
        let parts = match bytes {
            None => Vec::new(),
            Some(bytes) => {
                split(&bytes).ok_or(StoreError::Invalid("a record is larger than all its parts"))?
            }
        };
        // Read before it is written or deleted, so the old number of parts is known.
        let was_there = matches!(reader.facts.get(fact), Some(Some(_)));
        let before = reader.parts.get(fact).copied().unwrap_or(u8::from(was_there));
        let mut number = 0;
        for part in parts {
            writes.push(Write::put(Key::part(fact, number).encode(), part));
            number += 1;
        }
        for stale in number..before {
            writes.push(Write::delete(Key::part(fact, stale).encode()));
        }
    }
    for (timer, armed) in &changes.timers {
        let key = Key::Timer(*timer).encode();
        writes.push(if *armed { Write::put(key, Vec::new()) } else { Write::delete(key) });
    }
    Ok((preconditions, writes))
}
