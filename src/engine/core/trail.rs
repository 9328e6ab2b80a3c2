//! Undo log for savepoints: the values that were replaced since. A savepoint itself costs nothing,
//! and undoing costs as much as the undone changes.

use super::changes::Changes;
use super::record::{IndexEntry, Record, RecordKey, Timer};
use crate::types::TxId;

/// A savepoint: a state of the changes of one decision that can be restored.
#[derive(Clone, Copy, Debug)]
pub(in crate::engine) struct Savepoint {
    replaced: usize,
    events: usize,
    rows: usize,
    is_sliced: bool,
}

/// A replaced value; the outer `None`: there was none.
#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    clippy::option_option,
    reason = "most are records, which would cost an allocation each; unchanged, deleted, changed"
)]
enum Replaced {
    Record(RecordKey, Option<Option<Record>>),
    Timer(Timer, Option<bool>),
    IndexEntry(IndexEntry, Option<bool>),
}

/// Undo log: the values that were replaced since the first savepoint, oldest first.
#[derive(Debug, Default)]
pub(in crate::engine) struct Trail {
    replaced: Vec<Replaced>,
    /// True after the first savepoint.
    is_on: bool,
    /// Transactions whose record at the last savepoint is already in the list.
    saved: Vec<TxId>,
}

impl Trail {
    /// Creates a savepoint.
    pub(in crate::engine) fn savepoint(&mut self, changes: &Changes) -> Savepoint {
        self.is_on = true;
        self.saved.clear();
        Savepoint {
            replaced: self.replaced.len(),
            events: changes.events.len(),
            rows: changes.rows.len(),
            is_sliced: changes.is_sliced,
        }
    }

    /// Undoes all changes since a savepoint.
    pub(in crate::engine) fn back_to(&mut self, to: Savepoint, changes: &mut Changes) {
        fn restore<K: Ord, V>(map: &mut std::collections::BTreeMap<K, V>, key: K, old: Option<V>) {
            match old {
                Some(old) => drop(map.insert(key, old)),
                None => drop(map.remove(&key)),
            }
        }
        for replaced in self.replaced.drain(to.replaced..).rev() {
            match replaced {
                Replaced::Record(fact, old) => restore(&mut changes.records, fact, old),
                Replaced::Timer(timer, old) => restore(&mut changes.timers, timer, old),
                Replaced::IndexEntry(mark, old) => restore(&mut changes.marks, mark, old),
            }
        }
        self.saved.clear();
        changes.events.truncate(to.events);
        changes.rows.truncate(to.rows);
        changes.is_sliced = to.is_sliced;
    }

    /// Writes a record, or deletes it with `None`.
    pub(in crate::engine) fn put(
        &mut self,
        changes: &mut Changes,
        fact: RecordKey,
        record: Option<Record>,
    ) {
        if self.is_on {
            let old = changes.records.insert(fact.clone(), record);
            self.replaced.push(Replaced::Record(fact, old));
        } else {
            changes.records.insert(fact, record);
        }
    }

    /// Saves a transaction's record before it is changed in place.
    pub(in crate::engine) fn keep_tx(&mut self, changes: &Changes, id: TxId) {
        if !self.is_on || self.saved.contains(&id) {
            return;
        }
        self.saved.push(id);
        let fact = RecordKey::Tx(id);
        let old = changes.records.get(&fact).cloned();
        self.replaced.push(Replaced::Record(fact, old));
    }

    /// Sets or removes a timer.
    pub(in crate::engine) fn set_timer(
        &mut self,
        changes: &mut Changes,
        timer: Timer,
        is_armed: bool,
    ) {
        if self.is_on {
            let old = changes.timers.insert(timer.clone(), is_armed);
            self.replaced.push(Replaced::Timer(timer, old));
        } else {
            changes.timers.insert(timer, is_armed);
        }
    }

    /// Adds or removes an index entry.
    pub(in crate::engine) fn set_mark(
        &mut self,
        changes: &mut Changes,
        mark: IndexEntry,
        is_set: bool,
    ) {
        if self.is_on {
            let old = changes.marks.insert(mark.clone(), is_set);
            self.replaced.push(Replaced::IndexEntry(mark, old));
        } else {
            changes.marks.insert(mark, is_set);
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::types::Time;

    /// An operation on the changes.
    #[derive(Clone, Debug)]
    enum Deed {
        Put(u8, Option<u64>),
        Timer(u64, bool),
        IndexEntry(u128, bool),
        Savepoint,
        /// Returns to the savepoint this many before the last.
        Back(usize),
    }

    fn deed() -> impl Strategy<Value = Deed> {
        prop_oneof![
            4 => (0..4_u8, proptest::option::of(any::<u64>())).prop_map(|(n, to)| Deed::Put(n, to)),
            2 => (0..3_u64, any::<bool>()).prop_map(|(due, is)| Deed::Timer(due, is)),
            2 => (0..3_u128, any::<bool>()).prop_map(|(id, is)| Deed::IndexEntry(id, is)),
            2 => Just(Deed::Savepoint),
            1 => (0..3_usize).prop_map(Deed::Back),
        ]
    }

    proptest! {
        /// Restoring a savepoint restores exactly its state, also repeatedly and across later
        /// savepoints.
        #[test]
        fn savepoint_is_what_was_there_then(deeds in proptest::collection::vec(deed(), 0..60)) {
            let facts = [RecordKey::KeyCount, RecordKey::AssetCount, RecordKey::SessionCount, RecordKey::WebhookCount];
            let (mut trail, mut changes) = (Trail::default(), Changes::default());
            let mut points = Vec::new();
            for deed in deeds {
                match deed {
                    Deed::Put(n, to) => {
                        let fact = facts[usize::from(n)].clone();
                        trail.put(&mut changes, fact, to.map(Record::Count));
                    }
                    Deed::Timer(due, is_armed) => {
                        let what = crate::engine::TimerOf::Tx(TxId::new(1));
                        let timer = Timer { due: Time::from_ms(due), what };
                        trail.set_timer(&mut changes, timer, is_armed);
                    }
                    Deed::IndexEntry(id, is_set) => {
                        trail.set_mark(&mut changes, IndexEntry::Stuck(TxId::new(id)), is_set);
                    }
                    Deed::Savepoint => {
                        points.push((trail.savepoint(&changes), changes.clone()));
                    }
                    Deed::Back(before) => {
                        let Some(at) = points.len().checked_sub(before + 1) else { continue };
                        points.truncate(at + 1);
                        let (point, then) = points.last().unwrap();
                        trail.back_to(*point, &mut changes);
                        prop_assert_eq!(&changes, then);
                    }
                }
            }
        }
    }
}
