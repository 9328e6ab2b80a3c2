//! Memory in front of sled: what is durable in the journal and not yet in the index.
//!
//! Two tables. Commits go into the active one when they are durable. Now and then the applier
//! freezes it and merges the frozen one, in key order and with only the last value of each key,
//! into sled, then drops it. While sled is being changed, the frozen table hides exactly the keys
//! that change, so a reader that looks at active, frozen and sled in this order always sees one
//! revision, provided that no table is frozen while it reads: that is what the gate is for.

use std::ops::Bound;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use bytes::Bytes;

use super::super::{KeyRange, Write};
use super::note::Position;
use super::place::Spot;
use super::stage::Written;
use super::table::Table;
use crate::types::Revision;

/// The newest write of a key.
#[derive(Clone, Debug)]
pub(super) struct Slot {
    /// The commit that made it.
    pub(super) revision: Revision,
    /// `None`: deleted.
    pub(super) value: Option<Bytes>,
}

/// A durable write.
#[derive(Clone, Debug)]
pub(super) struct Kept {
    /// What was written.
    pub(super) slot: Slot,
    /// Where the value lies in the journal.
    pub(super) spot: Spot,
}

/// What a table entry takes beside its key and value: two `Bytes`, the key's beginning, the slot,
/// its spot, a share of a node.
const ENTRY_BYTES: usize = 184;

/// Both tables, and how far they reach.
#[derive(Debug)]
pub(super) struct Tables {
    active: Table,
    active_bytes: usize,
    frozen: Option<Frozen>,
    /// Everything up to here is durable.
    pub(super) position: Position,
}

/// A table that no longer changes.
#[derive(Clone, Debug)]
pub(super) struct Frozen {
    /// Its entries.
    pub(super) table: Arc<Table>,
    /// With it applied, sled stands here.
    pub(super) position: Position,
    bytes: usize,
}

/// The tables behind their locks.
#[derive(Debug)]
pub(super) struct Memory {
    tables: RwLock<Tables>,
    gate: RwLock<()>,
}

/// Keeps the tables from being frozen.
pub(super) struct Still<'a>(
    #[allow(dead_code, reason = "held for its drop")] RwLockReadGuard<'a, ()>,
);

impl Memory {
    /// Empty tables that begin at `position`.
    pub(super) fn new(position: Position) -> Self {
        let tables = Tables { active: Table::default(), active_bytes: 0, frozen: None, position };
        Self { tables: RwLock::new(tables), gate: RwLock::new(()) }
    }

    /// Until this is dropped no table is frozen. Taken before [`Memory::read`], never after.
    pub(super) fn still(&self) -> Still<'_> {
        Still(self.gate.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn read(&self) -> RwLockReadGuard<'_, Tables> {
        self.tables.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Tables> {
        self.tables.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Shows a durable group to readers, the frame at `frame`, behind which is `position`. Answers
    /// with the bytes of the active table, and with the values that were replaced: freeing them can
    /// wait until the receipts are resolved.
    pub(super) fn publish(
        &self,
        writes: Vec<Written>,
        frame: Spot,
        position: Position,
    ) -> (usize, Vec<Kept>) {
        let mut replaced = Vec::with_capacity(writes.len());
        let mut tables = self.write();
        for Written { revision, write: Write { key, value }, offset } in writes {
            let kept = Kept {
                slot: Slot { revision, value },
                spot: Spot { offset: frame.offset + offset as u64, ..frame },
            };
            replaced.extend(tables.put(key, kept));
        }
        tables.position = position;
        (tables.active_bytes, replaced)
    }

    /// Takes the active table away to be applied; readers go on to see it.
    pub(super) fn freeze(&self) -> Frozen {
        let gate = self.gate.write().unwrap_or_else(PoisonError::into_inner);
        let mut tables = self.write();
        let frozen = Frozen {
            table: Arc::new(std::mem::take(&mut tables.active)),
            position: tables.position,
            bytes: std::mem::take(&mut tables.active_bytes),
        };
        tables.frozen = Some(frozen.clone());
        drop(tables);
        drop(gate);
        frozen
    }

    /// Forgets the frozen table: sled has it.
    pub(super) fn applied(&self) {
        let frozen = self.write().frozen.take();
        // Freed behind the lock: it may hold hundreds of thousands of entries.
        drop(frozen);
    }
}

impl Tables {
    fn put(&mut self, key: Bytes, kept: Kept) -> Option<Kept> {
        let key_bytes = key.len();
        let value_bytes = |kept: &Kept| kept.slot.value.as_ref().map_or(0, Bytes::len);
        self.active_bytes += value_bytes(&kept);
        let replaced = self.active.insert(key, kept);
        match &replaced {
            None => self.active_bytes += key_bytes + ENTRY_BYTES,
            Some(old) => self.active_bytes = self.active_bytes.saturating_sub(value_bytes(old)),
        }
        replaced
    }

    /// The newest write of `key` here; `None`: sled knows.
    pub(super) fn find(&self, key: &[u8]) -> Option<Slot> {
        let frozen = || self.frozen.as_ref().and_then(|frozen| frozen.table.get(key));
        self.active.get(key).or_else(frozen).map(|kept| kept.slot.clone())
    }

    /// Bytes of both tables.
    pub(super) fn bytes(&self) -> usize {
        self.active_bytes + self.frozen.as_ref().map_or(0, |frozen| frozen.bytes)
    }

    /// The frozen table, if there is one.
    pub(super) fn frozen(&self) -> Option<Arc<Table>> {
        self.frozen.as_ref().map(|frozen| frozen.table.clone())
    }

    /// The active table's part of a range.
    pub(super) fn active_range(&self, range: &KeyRange) -> Vec<(Bytes, Slot)> {
        let found = self.active.range(range);
        found.map(|(key, kept)| (key.clone(), kept.slot.clone())).collect()
    }
}

/// A range as the standard library's maps take it.
pub(super) fn bounds(range: &KeyRange) -> (Bound<&Bytes>, Bound<&Bytes>) {
    (range.from.as_ref(), range.to.as_ref())
}
