//! A store in memory that panics on request and counts lookups, for tests of restarts and of reads
//! that must not happen twice.

use std::ops::Bound;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::memory::Memory;
use super::{
    Batch, ChainEntry, KeyRange, LogEntry, Order, Page, Receipt, Store, StoreError, Versioned, View,
};
use crate::types::Revision;

/// A store that panics so many times when keys are scanned that begin so.
pub(crate) struct Tripping {
    inner: Memory,
    prefix: Vec<u8>,
    left: AtomicUsize,
    gets: AtomicUsize,
}

impl Tripping {
    pub(crate) fn new(prefix: &[u8], times: usize) -> Self {
        let (left, gets) = (AtomicUsize::new(times), AtomicUsize::new(0));
        Self { inner: Memory::new(), prefix: prefix.to_vec(), left, gets }
    }

    /// Number of lookups of committed keys.
    pub(crate) fn gets(&self) -> usize {
        self.gets.load(Ordering::SeqCst)
    }

    /// Number of panics that are left.
    pub(crate) fn left(&self) -> usize {
        self.left.load(Ordering::SeqCst)
    }
}

impl Store for Tripping {
    fn get(&self, view: View, key: &[u8]) -> Result<Option<Versioned>, StoreError> {
        if view == View::Committed {
            self.gets.fetch_add(1, Ordering::SeqCst);
        }
        self.inner.get(view, key)
    }

    fn get_many(&self, keys: &[&[u8]]) -> Result<(Revision, Vec<Option<Versioned>>), StoreError> {
        self.inner.get_many(keys)
    }

    fn scan(
        &self,
        view: View,
        range: &KeyRange,
        order: Order,
        limit: usize,
    ) -> Result<Page, StoreError> {
        let trips = match &range.from {
            Bound::Included(key) | Bound::Excluded(key) => key.starts_with(&self.prefix),
            Bound::Unbounded => false,
        };
        let less = |left: usize| left.checked_sub(1);
        if trips {
            let left = self.left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, less);
            assert!(left.is_err(), "a fault in a scan");
        }
        self.inner.scan(view, range, order, limit)
    }

    fn commit(&self, batch: Batch) -> Result<Receipt, StoreError> {
        self.inner.commit(batch)
    }

    fn durable_at(&self, revision: Revision) -> Receipt {
        self.inner.durable_at(revision)
    }

    fn durable(&self) -> Revision {
        self.inner.durable()
    }

    fn read_log(&self, after: Revision, limit: usize) -> Result<Vec<LogEntry>, StoreError> {
        self.inner.read_log(after, limit)
    }

    fn read_chain(&self, after: Revision, limit: usize) -> Result<Vec<ChainEntry>, StoreError> {
        self.inner.read_chain(after, limit)
    }
}
