//! Decoded records in memory, bounded by the bytes that they take.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};

use ahash::RandomState;

use super::size::loaded_bytes;
use crate::engine::{LoadedRecord, RecordKey, RecordLookup};

/// Maximum number of records, whatever they take: the index of so many has its memory from the
/// start, so that it never grows, and nobody waits for that, while the executor works.
const RECORDS_MAX: usize = 1 << 16;

/// Bytes that a record takes at least, by the estimate: bounds the number of records of a small
/// cache.
const RECORD_BYTES_MIN: usize = 512;

/// Default limit in bytes, where nothing was configured.
const BYTES_MAX: usize = 64 * 1024 * 1024;

/// A cache of decoded records. When it is full, records that were not used for a while make room,
/// one after the other, each after a second chance.
#[derive(Debug)]
pub struct RecordCache {
    bytes_max: usize,
    records_max: usize,
    bytes: usize,
    /// Where each record lies.
    index: HashMap<RecordKey, usize, RandomState>,
    slots: Vec<Option<Slot>>,
    /// Slots without a record.
    free: Vec<usize>,
    /// The slot that is looked at next for room.
    hand: usize,
}

#[derive(Debug)]
struct Slot {
    fact: RecordKey,
    record: LoadedRecord,
    bytes: usize,
    /// Whether it was used since the hand passed.
    is_used: AtomicBool,
}

impl Default for RecordCache {
    fn default() -> Self {
        Self::new(BYTES_MAX)
    }
}

impl RecordCache {
    /// An empty cache of at most so many bytes.
    #[must_use]
    pub fn new(bytes_max: usize) -> Self {
        let records_max = (bytes_max / RECORD_BYTES_MIN).clamp(1, RECORDS_MAX);
        Self {
            bytes_max,
            records_max,
            bytes: 0,
            index: HashMap::with_capacity_and_hasher(records_max, RandomState::default()),
            slots: Vec::with_capacity(records_max),
            free: Vec::new(),
            hand: 0,
        }
    }

    /// An empty cache with the same limit.
    #[must_use]
    pub fn emptied(&self) -> Self {
        Self::new(self.bytes_max)
    }

    /// Puts in a record as it is from now on; `None`: there is none.
    pub fn put(&mut self, fact: RecordKey, record: LoadedRecord) {
        let bytes = loaded_bytes(&record);
        if bytes > self.bytes_max {
            self.forget(&fact);
            return;
        }
        let known = self.index.get(&fact).copied();
        let place = if let Some(place) = known {
            if let Some(Some(slot)) = self.slots.get_mut(place) {
                self.bytes = self.bytes + bytes - slot.bytes;
                (slot.record, slot.bytes) = (record, bytes);
                slot.is_used.store(true, Ordering::Relaxed);
            }
            place
        } else {
            self.bytes += bytes;
            let is_used = AtomicBool::new(true);
            let slot = Some(Slot { fact: fact.clone(), record, bytes, is_used });
            let place = if let Some(place) = self.free.pop() {
                self.slots[place] = slot;
                place
            } else {
                self.slots.push(slot);
                self.slots.len() - 1
            };
            self.index.insert(fact, place);
            place
        };
        while self.bytes > self.bytes_max || self.index.len() > self.records_max {
            self.make_room();
        }
        // What nobody asks for again makes room before what is in use.
        if let (None, Some(Some(slot))) = (known, self.slots.get(place)) {
            slot.is_used.store(false, Ordering::Relaxed);
        }
    }

    /// Forgets a record: it is loaded when it is needed again.
    pub fn forget(&mut self, fact: &RecordKey) {
        if let Some(place) = self.index.remove(fact) {
            self.empty(place);
        }
    }

    /// Number of records.
    #[must_use]
    pub fn len(&self) -> usize {
        self.index.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.index.is_empty()
    }

    /// Estimated bytes of all records.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Moves the hand on by one slot, and takes away what it finds there and nobody used since it
    /// passed before. Called while there is a record.
    fn make_room(&mut self) {
        let place = self.hand;
        self.hand = if place + 1 < self.slots.len() { place + 1 } else { 0 };
        let Some(Some(slot)) = self.slots.get(place) else { return };
        if slot.is_used.swap(false, Ordering::Relaxed) {
            return;
        }
        let fact = slot.fact.clone();
        self.index.remove(&fact);
        self.empty(place);
    }

    fn empty(&mut self, place: usize) {
        if let Some(slot) = self.slots.get_mut(place).and_then(Option::take) {
            self.bytes -= slot.bytes;
            self.free.push(place);
        }
    }
}

impl RecordLookup for RecordCache {
    fn record(&self, fact: &RecordKey) -> Option<&LoadedRecord> {
        let slot = self.slots.get(*self.index.get(fact)?)?.as_ref()?;
        slot.is_used.store(true, Ordering::Relaxed);
        Some(&slot.record)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::engine::Record;
    use crate::types::{Revision, UserId};

    fn fact(number: usize) -> RecordKey {
        RecordKey::UserData(UserId::new(number as u128))
    }

    fn put(cache: &mut RecordCache, number: usize, bytes: usize) {
        let text = Record::Data("x".repeat(bytes).into());
        cache.put(fact(number), Some((Arc::new(text), Revision::new(1))));
    }

    #[test]
    fn cache_keeps_its_bytes_below_the_limit_whatever_is_put_in() {
        let mut cache = RecordCache::new(100_000);
        for number in 0..1000 {
            put(&mut cache, number, number * 37 % 5000);
            assert!(cache.bytes() <= 100_000, "{}", cache.bytes());
        }
        assert!(cache.len() > 20, "{}", cache.len());
        let counted: usize =
            (0..1000).filter_map(|number| cache.record(&fact(number))).map(loaded_bytes).sum();
        assert_eq!(counted, cache.bytes());
        // The same record, larger, smaller, and gone.
        for bytes in [4000, 10, 90_000, 200_000] {
            put(&mut cache, 1, bytes);
            assert!(cache.bytes() <= 100_000, "{}", cache.bytes());
        }
        assert!(cache.record(&fact(1)).is_none(), "larger than the cache");
        (0..1000).for_each(|number| cache.forget(&fact(number)));
        assert_eq!((cache.bytes(), cache.len(), cache.is_empty()), (0, 0, true));
    }

    #[test]
    fn records_in_use_stay_while_others_make_room() {
        let mut cache = RecordCache::new(64 * 1024);
        put(&mut cache, 0, 100);
        for number in 1..1000 {
            put(&mut cache, number, 1000);
            assert!(cache.record(&fact(0)).is_some(), "gone after {number}");
        }
        assert!(cache.record(&fact(1)).is_none() && cache.record(&fact(999)).is_some());
    }

    #[test]
    fn absent_records_count_too() {
        let mut cache = RecordCache::new(RECORD_BYTES_MIN * 10);
        (0..100).for_each(|number| cache.put(fact(number), None));
        assert!(cache.len() <= 10, "{}", cache.len());
    }
}
