//! From a decision to a batch.

use super::{Key, Reader, ledger, split, value};
use crate::engine::{Changes, Fact, Imbalance, check_conserved};
use crate::store::{Precondition, Write};

/// Why a decision cannot become a batch. None of it can come from what somebody sends.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// A record is larger than any record can be.
    #[error("a record is larger than all its parts")]
    TooLarge,
    /// It would make or lose money.
    #[error(transparent)]
    Imbalance(#[from] Imbalance),
}

/// What becomes of a decision.
#[derive(Clone, Debug, Default)]
pub struct Planned {
    /// What must still be as it was loaded.
    pub preconditions: Vec<Precondition>,
    /// What changes.
    pub writes: Vec<Write>,
    /// The records that lie in more than one part now.
    pub large: Vec<Fact>,
}

/// Turns what a decision changed into preconditions and writes: everything that it read must still
/// be as it was read, so every rule that it rests on holds at the commit. Rows that are only added
/// have keys of their own commit and need no precondition.
///
/// # Errors
/// [`PlanError`]: a fault of the program, after which nothing may be committed any more.
pub fn plan(changes: &Changes, reader: &Reader<'_>) -> Result<Planned, PlanError> {
    check_conserved(&reader.facts, changes)?;
    let mut preconditions = Vec::new();
    for (fact, loaded) in reader.facts.iter().filter(|(fact, _)| !fact.is_look()) {
        let key = Key::of(fact).encode().into();
        preconditions.push(match loaded {
            Some((_, revision)) => Precondition::Unchanged(key, *revision),
            None => Precondition::Absent(key),
        });
    }
    let (mut writes, mut large) = (Vec::new(), Vec::new());
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
            Some(bytes) => split(&bytes).ok_or(PlanError::TooLarge)?,
        };
        // Read before it is written or deleted, so the old number of parts is known.
        let was_there = matches!(reader.facts.get(fact), Some(Some(_)));
        let before = reader.parts.get(fact).copied().unwrap_or(u8::from(was_there));
        let mut number = 0;
        if parts.len() > 1 {
            large.push(fact.clone());
        }
        for part in parts {
            writes.push(Write::put(Key::part(fact, number).encode(), part));
            number += 1;
        }
        for stale in number..before {
            writes.push(Write::delete(Key::part(fact, stale).encode()));
        }
    }
    for (timer, armed) in &changes.timers {
        let key = Key::Timer(timer.clone()).encode();
        writes.push(if *armed { Write::put(key, Vec::new()) } else { Write::delete(key) });
    }
    for (mark, set) in &changes.marks {
        let key = Key::Mark(mark.clone()).encode();
        writes.push(if *set { Write::put(key, Vec::new()) } else { Write::delete(key) });
    }
    for row in &changes.rows {
        writes.push(Write::put(ledger::row_key(row).encode(), ledger::row_value(row)));
    }
    Ok(Planned { preconditions, writes, large })
}
