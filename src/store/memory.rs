//! A store in memory, for tests of the layers above. It forgets everything when it is dropped.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::{
    Batch, ChainEntry, ChainLink, KeyRange, LogEntry, Order, Page, Promise, Receipt, Row, Store,
    StoreError, Versioned, View, chain,
};
use crate::types::Revision;
use bytes::Bytes;

type Rows = BTreeMap<Bytes, Versioned>;
type Waiting = (Revision, Promise);

/// The store in memory. Commits are "durable" at once, or, between [`Memory::hold`] and
/// [`Memory::release`], when they are let go.
#[derive(Debug, Default)]
pub struct Memory {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    staged: Rows,
    committed: Rows,
    log: Vec<LogEntry>,
    durable: Revision,
    held: bool,
    waiting: Vec<Waiting>,
}

impl Memory {
    /// An empty store.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// From now on commits are staged and do not become durable.
    pub fn hold(&self) {
        self.lock().held = true;
    }

    /// Makes everything that is staged durable and ends [`Memory::hold`].
    pub fn release(&self) {
        let mut state = self.lock();
        state.held = false;
        state.settle();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn rows(&self, view: View) -> &Rows {
        match view {
            View::Committed => &self.committed,
            View::Staged => &self.staged,
        }
    }

    fn staged_revision(&self) -> Revision {
        self.log.last().map_or(Revision::ZERO, |entry| entry.revision)
    }

    fn settle(&mut self) {
        self.durable = self.staged_revision();
        self.committed = self.staged.clone();
        self.tell();
    }

    /// Tells those who wait for what is durable by now.
    fn tell(&mut self) {
        let durable = self.durable;
        for (_, sender) in self.waiting.extract_if(.., |(at, _)| *at <= durable) {
            // A receipt that nobody awaits any more is no failure.
            sender.tell(Ok(()));
        }
    }
}

impl Store for Memory {
    fn get(&self, view: View, key: &[u8]) -> Result<Option<Versioned>, StoreError> {
        Ok(self.lock().rows(view).get(key).cloned())
    }

    fn get_many(&self, keys: &[&[u8]]) -> Result<(Revision, Vec<Option<Versioned>>), StoreError> {
        let state = self.lock();
        let values = keys.iter().map(|key| state.committed.get(*key).cloned()).collect();
        Ok((state.durable, values))
    }

    fn scan(
        &self,
        view: View,
        range: &KeyRange,
        order: Order,
        limit: usize,
    ) -> Result<Page, StoreError> {
        let limit = limit.clamp(1, super::PAGE_ROWS_MAX);
        let state = self.lock();
        let revision = match view {
            View::Committed => state.durable,
            View::Staged => state.staged_revision(),
        };
        let mut page = Page { revision, rows: Vec::new(), next: None };
        if is_empty(range) {
            return Ok(page);
        }
        let found = state.rows(view).range((range.from.clone(), range.to.clone()));
        let row = |(key, row): (&Bytes, &Versioned)| Row {
            key: key.clone(),
            revision: row.revision,
            value: row.value.clone(),
        };
        page.rows = match order {
            Order::Ascending => found.map(row).take(limit + 1).collect(),
            Order::Descending => found.rev().map(row).take(limit + 1).collect(),
        };
        if page.rows.len() > limit {
            page.rows.truncate(limit);
            page.next = page.rows.last().map(|row| row.key.clone());
        }
        Ok(page)
    }

    fn commit(&self, batch: Batch) -> Result<Receipt, StoreError> {
        batch.validate()?;
        let mut state = self.lock();
        for (index, precondition) in batch.preconditions.iter().enumerate() {
            let current = state.staged.get(precondition.key()).map(|row| row.revision);
            if !precondition.holds(current) {
                return Err(StoreError::Conflict { index });
            }
        }
        let revision = state.staged_revision().next();
        for write in &batch.writes {
            match &write.value {
                Some(value) => {
                    let row = Versioned { revision, value: value.clone() };
                    state.staged.insert(write.key.clone(), row);
                }
                None => {
                    state.staged.remove(&write.key);
                }
            }
        }
        let Batch { at_ms, writes, entry, .. } = batch;
        state.log.push(LogEntry { revision, at_ms, entry, writes: writes.clone() });
        if state.held {
            let (sender, receipt) = Receipt::pending(revision);
            state.waiting.push((revision, sender));
            return Ok(receipt);
        }
        state.durable = revision;
        for write in writes {
            match state.staged.get(&write.key).cloned() {
                Some(row) => state.committed.insert(write.key, row),
                None => state.committed.remove(&write.key),
            };
        }
        state.tell();
        Ok(Receipt::ready(revision))
    }

    fn durable_at(&self, revision: Revision) -> Receipt {
        let mut state = self.lock();
        if revision <= state.durable {
            return Receipt::ready(revision);
        }
        let (sender, receipt) = Receipt::pending(revision);
        state.waiting.push((revision, sender));
        receipt
    }

    fn durable(&self) -> Revision {
        self.lock().durable
    }

    fn read_log(&self, after: Revision, limit: usize) -> Result<Vec<LogEntry>, StoreError> {
        let state = self.lock();
        let durable = state.log.iter().take_while(|entry| entry.revision <= state.durable);
        Ok(durable.skip_while(|entry| entry.revision <= after).take(limit).cloned().collect())
    }

    /// Made anew each time from the first commit on, with salts that are no secret: for tests.
    fn read_chain(&self, after: Revision, limit: usize) -> Result<Vec<ChainEntry>, StoreError> {
        let entries = self.read_log(Revision::ZERO, usize::MAX)?;
        let mut before = ChainLink::START;
        let chained = entries.into_iter().map(|entry| {
            let LogEntry { revision, at_ms, entry, writes } = entry;
            let mut body = Vec::new();
            chain::put_body(&mut body, &entry, &writes);
            let mut salt = [0; 16];
            salt[..8].copy_from_slice(&revision.get().to_le_bytes());
            let entry = ChainEntry { before, revision, at_ms, salt, body: body.into() };
            before = entry.link();
            entry
        });
        Ok(chained.skip_while(|entry| entry.revision <= after).take(limit).collect())
    }
}

/// Whether no key can lie in the range; the standard library's maps panic on such ranges.
pub(super) fn is_empty(range: &KeyRange) -> bool {
    match (&range.from, &range.to) {
        (Bound::Included(from), Bound::Included(to)) => from > to,
        (Bound::Included(from) | Bound::Excluded(from), Bound::Excluded(to))
        | (Bound::Excluded(from), Bound::Included(to)) => from >= to,
        (Bound::Unbounded, _) | (_, Bound::Unbounded) => false,
    }
}
