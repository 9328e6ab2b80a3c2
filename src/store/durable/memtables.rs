//! Memory in front of sled: what is durable in the journal and not yet in the index.
//!
//! Two memtables. Commits go into the active one when they are durable. Now and then the compactor
//! freezes it and merges the frozen one, in key order and with only the last value of each key,
//! into sled, then drops it. While sled is being changed, the frozen table hides exactly the keys
//! that change, so a reader that looks at active, frozen and sled in this order always sees one
//! revision, provided that no table is frozen while it reads: that is what the gate is for.

use std::ops::Bound;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use bytes::Bytes;

use super::super::{KeyRange, Write};
use super::checkpoint::Position;
use super::memtable::Memtable;
use super::pending_commits::FramedWrite;
use super::value_location::ValueStart;
use crate::types::Revision;

/// Newest write of a key.
#[derive(Clone, Debug)]
pub(super) struct KeyVersion {
    /// The commit that made it.
    pub(super) revision: Revision,
    /// `None`: deleted.
    pub(super) value: Option<Bytes>,
}

/// A durable write.
#[derive(Clone, Debug)]
pub(super) struct MemtableEntry {
    /// The write.
    pub(super) slot: KeyVersion,
    /// Location of the value in the journal.
    pub(super) start: ValueStart,
}

/// Bytes of an entry beside its key and value: two `Bytes`, the key's beginning, the version, its
/// location, a share of a node.
const ENTRY_BYTES: usize = 184;

/// Both memtables, and how far they reach.
#[derive(Debug)]
pub(super) struct Memtables {
    active: Memtable,
    active_bytes: usize,
    frozen: Option<FrozenMemtable>,
    /// Everything up to here is durable.
    pub(super) position: Position,
}

/// A table that no longer changes.
#[derive(Clone, Debug)]
pub(super) struct FrozenMemtable {
    /// Its entries.
    pub(super) memtable: Arc<Memtable>,
    /// Position of sled once the memtable is merged.
    pub(super) position: Position,
    bytes: usize,
}

/// The memtables behind their locks.
#[derive(Debug)]
pub(super) struct SharedMemtables {
    memtables: RwLock<Memtables>,
    gate: RwLock<()>,
}

/// Keeps the memtables from being frozen.
pub(super) struct FreezeGuard<'a>(
    #[allow(dead_code, reason = "held for its drop")] RwLockReadGuard<'a, ()>,
);

impl SharedMemtables {
    /// Empty memtables that begin at `position`.
    pub(super) fn new(position: Position) -> Self {
        let memtables =
            Memtables { active: Memtable::default(), active_bytes: 0, frozen: None, position };
        Self { memtables: RwLock::new(memtables), gate: RwLock::new(()) }
    }

    /// Until this is dropped no table is frozen. Taken before [`Memory::read`], never after.
    pub(super) fn still(&self) -> FreezeGuard<'_> {
        FreezeGuard(self.gate.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn read(&self) -> RwLockReadGuard<'_, Memtables> {
        self.memtables.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Memtables> {
        self.memtables.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Shows a durable group to readers, the frame at `frame`, behind which is `position`. Answers
    /// with the bytes of the active table, and with the values that were replaced: freeing them can
    /// wait until the receipts are resolved.
    pub(super) fn publish(
        &self,
        writes: Vec<FramedWrite>,
        frame: ValueStart,
        position: Position,
    ) -> (usize, Vec<MemtableEntry>) {
        let mut replaced = Vec::with_capacity(writes.len());
        let mut memtables = self.write();
        for FramedWrite { revision, write: Write { key, value }, offset } in writes {
            let entry = MemtableEntry {
                slot: KeyVersion { revision, value },
                start: ValueStart { offset: frame.offset + offset as u64, ..frame },
            };
            replaced.extend(memtables.put(key, entry));
        }
        memtables.position = position;
        (memtables.active_bytes, replaced)
    }

    /// Takes the active table away to be applied; readers go on to see it.
    pub(super) fn freeze(&self) -> FrozenMemtable {
        let gate = self.gate.write().unwrap_or_else(PoisonError::into_inner);
        let mut memtables = self.write();
        let frozen = FrozenMemtable {
            memtable: Arc::new(std::mem::take(&mut memtables.active)),
            position: memtables.position,
            bytes: std::mem::take(&mut memtables.active_bytes),
        };
        memtables.frozen = Some(frozen.clone());
        drop(memtables);
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

impl Memtables {
    fn put(&mut self, key: Bytes, entry: MemtableEntry) -> Option<MemtableEntry> {
        let key_bytes = key.len();
        let value_bytes = |entry: &MemtableEntry| entry.slot.value.as_ref().map_or(0, Bytes::len);
        self.active_bytes += value_bytes(&entry);
        let replaced = self.active.insert(key, entry);
        match &replaced {
            None => self.active_bytes += key_bytes + ENTRY_BYTES,
            Some(old) => self.active_bytes = self.active_bytes.saturating_sub(value_bytes(old)),
        }
        replaced
    }

    /// The newest write of `key` here; `None`: sled knows.
    pub(super) fn find(&self, key: &[u8]) -> Option<KeyVersion> {
        let frozen = || self.frozen.as_ref().and_then(|frozen| frozen.memtable.get(key));
        self.active.get(key).or_else(frozen).map(|entry| entry.slot.clone())
    }

    /// Bytes of both memtables.
    pub(super) fn bytes(&self) -> usize {
        self.active_bytes + self.frozen.as_ref().map_or(0, |frozen| frozen.bytes)
    }

    /// The frozen table, if there is one.
    pub(super) fn frozen(&self) -> Option<Arc<Memtable>> {
        self.frozen.as_ref().map(|frozen| frozen.memtable.clone())
    }

    /// The active table's part of a range.
    pub(super) fn active_range(&self, range: &KeyRange) -> Vec<(Bytes, KeyVersion)> {
        let found = self.active.range(range);
        found.map(|(key, entry)| (key.clone(), entry.slot.clone())).collect()
    }
}

/// A range as the standard library's maps take it.
pub(super) fn bounds(range: &KeyRange) -> (Bound<&Bytes>, Bound<&Bytes>) {
    (range.from.as_ref(), range.to.as_ref())
}
