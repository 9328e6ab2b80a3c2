//! What sled certainly does not have, without asking it.
//!
//! A blocked Bloom filter over all keys of the index. Every request with a new Idempotency-Key asks
//! for a row that is not there, at a random place: in sled that is a walk down the tree and, where
//! the index is larger than its cache, a read of the disk. The applier makes the filter in the
//! background after each start, a slice of keys between two merges, and once more with twice the
//! room when it has grown too full. It is in memory only: nothing on the disk can be wrong with it.

use std::hash::{BuildHasher, RandomState};
use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;

use super::super::StoreError;
use super::index::Index;
use super::tables::Table;

/// A block is a line of the processor's cache: a look costs one miss.
const WORDS: usize = 8;
/// Bits that are set in a block for a key. With at least [`BITS_PER_KEY`] bits for each key about one
/// absent key in a hundred is asked for all the same.
const PROBES: u32 = 6;
const BITS_PER_KEY: usize = 12;
/// Keys of sled that are taken in between two merges.
const SLICE: usize = 20_000;

/// Knows of keys that they were never put in.
pub(super) struct Filter {
    state: RandomState,
    blocks: Box<[[AtomicU64; WORDS]]>,
    keys: AtomicU64,
}

impl std::fmt::Debug for Filter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Filter").field("blocks", &self.blocks.len()).finish_non_exhaustive()
    }
}

impl Filter {
    /// An empty filter of about so many bytes.
    pub(super) fn new(bytes: usize) -> Self {
        let blocks = (bytes / (WORDS * 8)).max(1);
        Self {
            state: RandomState::new(),
            blocks: std::iter::repeat_with(<[AtomicU64; WORDS]>::default).take(blocks).collect(),
            keys: AtomicU64::new(0),
        }
    }

    fn bytes(&self) -> usize {
        self.blocks.len() * WORDS * 8
    }

    /// Whether so many keys were put in that it no longer tells much.
    fn is_full(&self) -> bool {
        let keys = usize::try_from(self.keys.load(Ordering::Relaxed)).unwrap_or(usize::MAX);
        keys.saturating_mul(BITS_PER_KEY) > self.bytes() * 8
    }

    /// The block of a key, and the masks of the words in it.
    fn place(&self, key: &[u8]) -> (&[AtomicU64; WORDS], [u64; WORDS]) {
        let hash = self.state.hash_one(key);
        // The high half says which block, the low half which bits: nine of it for each.
        let block = ((hash >> 32) * self.blocks.len() as u64) >> 32;
        let mut masks = [0; WORDS];
        let mut bits = hash.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        for _ in 0..PROBES {
            let bit = bits & 511;
            masks[usize::try_from(bit / 64).unwrap_or_default()] |= 1 << (bit % 64);
            bits >>= 9;
        }
        (&self.blocks[usize::try_from(block).unwrap_or_default()], masks)
    }

    /// Puts a key in.
    pub(super) fn add(&self, key: &[u8]) {
        let (block, masks) = self.place(key);
        let mut is_new = false;
        for (word, mask) in block.iter().zip(masks) {
            if mask != 0 {
                is_new |= word.fetch_or(mask, Ordering::Relaxed) & mask != mask;
            }
        }
        if is_new {
            self.keys.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// `false`: the key was never put in. The lock under which tables change orders this behind
    /// [`Filter::add`] for whoever does not find the key in them any more.
    pub(super) fn may_hold(&self, key: &[u8]) -> bool {
        let (block, masks) = self.place(key);
        block.iter().zip(masks).all(|(word, mask)| word.load(Ordering::Relaxed) & mask == mask)
    }
}

/// Makes the index's filter, slice by slice. Only the applier's thread changes the index, so what
/// was walked over and what was merged since is all there is.
#[derive(Debug)]
pub(super) struct FilterMaker {
    bytes_max: usize,
    making: Option<(Arc<Filter>, Bound<Bytes>)>,
    /// It would have to be larger than is allowed.
    is_too_large: bool,
}

impl FilterMaker {
    /// Begins with a filter for some hundred thousand keys; none is larger than `bytes_max`.
    pub(super) fn new(bytes_max: usize) -> Self {
        const FIRST_BYTES: usize = 1024 * 1024;
        let first = Arc::new(Filter::new(FIRST_BYTES.min(bytes_max)));
        let making = (bytes_max > 0).then_some((first, Bound::Unbounded));
        Self { bytes_max, making, is_too_large: bytes_max == 0 }
    }

    /// Whether there is another slice to do.
    pub(super) const fn is_busy(&self) -> bool {
        self.making.is_some()
    }

    /// Knows what is about to be merged.
    pub(super) fn amend(&self, table: &Table) {
        if let Some((filter, _)) = &self.making {
            for key in table.keys() {
                filter.add(key);
            }
        }
    }

    /// Goes on by a slice; gives the filter to the index when all keys are in it.
    pub(super) fn go_on(&mut self, index: &Index) -> Result<(), StoreError> {
        if let Some((filter, mut from)) = self.making.take() {
            let mut is_through = true;
            for (number, key) in index.keys(from.clone()).enumerate() {
                let key = key?;
                filter.add(&key);
                if number + 1 >= SLICE {
                    from = Bound::Excluded(key);
                    is_through = false;
                    break;
                }
            }
            if filter.is_full() {
                self.making = self.larger(filter.bytes());
            } else if is_through {
                index.filter_by(filter);
            } else {
                self.making = Some((filter, from));
            }
            return Ok(());
        }
        if !self.is_too_large
            && let Some(filter) = index.filter()
            && filter.is_full()
        {
            self.making = self.larger(filter.bytes());
        }
        Ok(())
    }

    /// The beginning of one with twice the room.
    fn larger(&mut self, bytes: usize) -> Option<(Arc<Filter>, Bound<Bytes>)> {
        self.is_too_large = bytes.saturating_mul(2) > self.bytes_max;
        (!self.is_too_large).then(|| (Arc::new(Filter::new(bytes * 2)), Bound::Unbounded))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::cast_precision_loss, reason = "a share")]

    use super::*;

    #[test]
    fn what_was_put_in_is_never_said_to_be_absent_and_little_else_is_said_to_be_there() {
        let filter = Filter::new(64 * 1024);
        let mut keys = 0_u32;
        while !filter.is_full() {
            filter.add(&keys.to_be_bytes());
            keys += 1;
        }
        assert!((0..keys).all(|key| filter.may_hold(&key.to_be_bytes())));
        let others = keys..keys + 100_000;
        let wrong = others.filter(|key| filter.may_hold(&key.to_be_bytes())).count();
        assert!(wrong < 3_000, "{wrong} of 100 000 absent keys are said to be there");
        assert!(keys > 40_000, "{keys} keys fill it");
    }
}
