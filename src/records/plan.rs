//! From a decision to a batch.

use super::key::is_in_parts;
use super::{Key, Pack, Reader, ledger, value};
use crate::engine::{Changes, Imbalance, RecordKey, check_conserved};
use crate::store::Precondition;

/// Why a decision cannot become a batch.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// A record is larger than any record can be. The bounds of what is decided leave room for all
    /// that somebody may send; where they did not, it is refused like any other that is too large.
    #[error("a record is larger than all its parts")]
    TooLarge,
    /// It would make or lose money.
    #[error(transparent)]
    Imbalance(#[from] Imbalance),
}

/// Preconditions and writes of a decision.
#[derive(Debug)]
pub struct Planned {
    /// Records that must still be as they were loaded.
    pub preconditions: Vec<Precondition>,
    /// The writes.
    pub pack: Pack,
    /// The records that lie in more than one part now.
    pub large: Vec<RecordKey>,
}

/// Turns the changes of a decision into preconditions and writes. Every record that it loaded from
/// the store must be unchanged at the commit; one from the record cache needs no precondition, since
/// only the executor commits. Rows that are only added have keys of their own commit and need none.
///
/// # Errors
/// [`PlanError`]: nothing of it may be committed; and after an imbalance, which is a fault of the
/// program, nothing else any more.
pub fn plan(changes: &Changes, reader: &Reader<'_>) -> Result<Planned, PlanError> {
    check_conserved(&reader.facts, changes)?;
    let mut preconditions = Vec::new();
    for (fact, loaded) in reader.facts.iter().filter(|(fact, _)| !fact.is_range_read()) {
        let key = Key::of(fact).encode().into();
        preconditions.push(match loaded {
            Some((_, revision)) => Precondition::Unchanged(key, *revision),
            None => Precondition::Absent(key),
        });
    }
    let (mut pack, mut large) = (Pack::default(), Vec::new());
    for (fact, record) in &changes.records {
        if !is_in_parts(fact) {
            let key = Key::of(fact);
            match record {
                Some(record) => pack.put(&key, |out| value::encode_into(out, record)),
                None => pack.delete(&key),
            }
            continue;
        }
        // Read before it is written or deleted, so the old number of parts is known.
        let was_there = matches!(reader.facts.get(fact), Some(Some(_)));
        let before = reader.parts_of(fact).unwrap_or(u8::from(was_there));
        let key = |part| Key::part(fact, part);
        match record {
            None => pack.delete_parts(key, 0..before),
            Some(record) => {
                let write = |out: &mut Vec<u8>| value::encode_into(out, record);
                let parts = pack.put_parts(key, before, write).ok_or(PlanError::TooLarge)?;
                if parts > 1 {
                    large.push(fact.clone());
                }
            }
        }
    }
    let mut flag = |key: Key, is_set: bool| {
        if is_set {
            pack.put(&key, |_| {});
        } else {
            pack.delete(&key);
        }
    };
    for (timer, armed) in &changes.timers {
        flag(Key::Timer(timer.clone()), *armed);
    }
    for (mark, set) in &changes.marks {
        flag(Key::IndexEntry(mark.clone()), *set);
    }
    for row in &changes.rows {
        pack.put(&ledger::row_key(row), |out| ledger::write_row(out, row));
    }
    Ok(Planned { preconditions, pack, large })
}
