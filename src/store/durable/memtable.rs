//! A sorted table of keys with their newest writes.
//!
//! Its keys lie in the memory of the commits that wrote them, which is cold when the next key is
//! put in: so each has its beginning beside it in the tree, and few comparisons look at the rest.

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::ops::Bound;

use bytes::Bytes;

use super::super::{KeyRange, Order};
use super::memtables::{KeyVersion, MemtableEntry};

/// Bytes of a key's beginning: a tag, an id with its kind, and enough behind them to tell apart
/// what belongs to one thing.
const HEAD_BYTES: usize = 24;

/// The beginning of a key, padded with zeros: where two differ, they are ordered as their keys are.
type Head = [u64; HEAD_BYTES / 8];

fn head(key: &[u8]) -> Head {
    let mut padded = [0; HEAD_BYTES];
    let bytes = key.len().min(HEAD_BYTES);
    padded[..bytes].copy_from_slice(&key[..bytes]);
    let (words, _) = padded.as_chunks::<8>();
    let mut head = Head::default();
    for (word, bytes) in head.iter_mut().zip(words) {
        *word = u64::from_be_bytes(*bytes);
    }
    head
}

/// A key or a look-up of one.
trait Headed {
    fn head(&self) -> &Head;
    fn key(&self) -> &[u8];
}

impl Ord for dyn Headed + '_ {
    fn cmp(&self, other: &Self) -> Ordering {
        self.head().cmp(other.head()).then_with(|| self.key().cmp(other.key()))
    }
}

impl PartialOrd for dyn Headed + '_ {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for dyn Headed + '_ {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl Eq for dyn Headed + '_ {}

#[derive(Clone, Debug)]
struct MemtableKey {
    head: Head,
    bytes: Bytes,
}

impl MemtableKey {
    fn new(bytes: Bytes) -> Self {
        Self { head: head(&bytes), bytes }
    }
}

impl Headed for MemtableKey {
    fn head(&self) -> &Head {
        &self.head
    }

    fn key(&self) -> &[u8] {
        &self.bytes
    }
}

impl<'a> Borrow<dyn Headed + 'a> for MemtableKey {
    fn borrow(&self) -> &(dyn Headed + 'a) {
        self
    }
}

impl Ord for MemtableKey {
    fn cmp(&self, other: &Self) -> Ordering {
        self.head.cmp(&other.head).then_with(|| self.bytes.cmp(&other.bytes))
    }
}

impl PartialOrd for MemtableKey {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for MemtableKey {
    fn eq(&self, other: &Self) -> bool {
        self.bytes == other.bytes
    }
}

impl Eq for MemtableKey {}

struct Probe<'a> {
    head: Head,
    key: &'a [u8],
}

impl Headed for Probe<'_> {
    fn head(&self) -> &Head {
        &self.head
    }

    fn key(&self) -> &[u8] {
        self.key
    }
}

/// Keys in order, each with its newest write.
#[derive(Debug, Default)]
pub(super) struct Memtable(BTreeMap<MemtableKey, MemtableEntry>);

impl Memtable {
    /// Returns the number of keys.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Puts a write in; answers with the one that it replaces.
    pub(super) fn insert(&mut self, key: Bytes, entry: MemtableEntry) -> Option<MemtableEntry> {
        self.0.insert(MemtableKey::new(key), entry)
    }

    /// The newest write of a key.
    pub(super) fn get(&self, key: &[u8]) -> Option<&MemtableEntry> {
        let probe = Probe { head: head(key), key };
        self.0.get::<dyn Headed + '_>(&probe)
    }

    /// All of it in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&Bytes, &MemtableEntry)> {
        self.0.iter().map(|(key, entry)| (&key.bytes, entry))
    }

    /// The part of it in a range that is not empty, in order.
    pub(super) fn range<'a>(
        &'a self,
        range: &KeyRange,
    ) -> impl DoubleEndedIterator<Item = (&'a Bytes, &'a MemtableEntry)> + use<'a> {
        let bound = |bound: &Bound<Bytes>| bound.as_ref().map(|key| MemtableKey::new(key.clone()));
        let found = self.0.range((bound(&range.from), bound(&range.to)));
        found.map(|(key, entry)| (&key.bytes, entry))
    }

    /// The same in the order of a scan, without places.
    pub(super) fn ordered<'a>(
        &'a self,
        range: &KeyRange,
        order: Order,
    ) -> Box<dyn Iterator<Item = (&'a Bytes, &'a KeyVersion)> + 'a> {
        let found = self.range(range).map(|(key, entry)| (key, &entry.slot));
        match order {
            Order::Ascending => Box::new(found),
            Order::Descending => Box::new(found.rev()),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::{btree_set, vec};
    use proptest::prelude::*;

    use super::super::value_location::{ValueFile, ValueStart};
    use super::*;
    use crate::types::Revision;

    fn entry(number: usize) -> MemtableEntry {
        let slot = KeyVersion { revision: Revision::new(number as u64), value: None };
        MemtableEntry { slot, start: ValueStart { file: ValueFile::Journal(1), offset: 0 } }
    }

    /// Few letters, zeros among them, and lengths around a head's: beginnings that are equal, that
    /// are padded, and that differ in their last byte only.
    fn key() -> impl Strategy<Value = Vec<u8>> {
        let letters = || prop_oneof![Just(0_u8), Just(1), Just(255)];
        prop_oneof![
            vec(letters(), 0..4),
            (0..HEAD_BYTES + 3, vec(letters(), 0..3)).prop_map(|(same, tail)| {
                let mut key = vec![7; same];
                key.extend(tail);
                key
            }),
        ]
    }

    proptest! {
        #[test]
        fn keys_are_ordered_and_found_as_their_bytes_are(
            keys in btree_set(key(), 0..40),
            missing in key(),
            from in key(),
            to in key(),
        ) {
            let mut memtable = Memtable::default();
            for (number, key) in keys.iter().enumerate().rev() {
                prop_assert!(memtable.insert(key.clone().into(), entry(number)).is_none());
            }
            let all: Vec<_> = memtable.iter().map(|(key, _)| key.to_vec()).collect();
            prop_assert_eq!(&all, &keys.iter().cloned().collect::<Vec<_>>());
            for (number, key) in keys.iter().enumerate() {
                let found = memtable.get(key).map(|entry| entry.slot.revision);
                prop_assert_eq!(found, Some(Revision::new(number as u64)));
            }
            prop_assert_eq!(memtable.get(&missing).is_some(), keys.contains(&missing));
            prop_assume!(from < to);
            let bounds = (Bound::Excluded(from.clone()), Bound::Included(to.clone()));
            let range = KeyRange {
                from: Bound::Excluded(from.into()),
                to: Bound::Included(to.into()),
            };
            let found: Vec<_> = memtable.range(&range).map(|(key, _)| key.to_vec()).collect();
            let expected: Vec<_> = keys.range::<Vec<u8>, _>(bounds).cloned().collect();
            prop_assert_eq!(found, expected);
        }
    }
}
