//! Expected contents of a store, by a model too simple to be wrong.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Mutex, PoisonError};

use abide::store::{Batch, KeyRange, LogEntry, Order, PAGE_ROWS_MAX, Row, Store, StoreError};
use abide::store::{Versioned, View};
use abide::types::Revision;
use bytes::Bytes;

/// All batches that a store accepted, by revision.
#[derive(Debug, Default)]
pub(crate) struct History(Mutex<BTreeMap<u64, Batch>>);

impl History {
    /// Notes an accepted batch.
    pub(crate) fn note(&self, revision: Revision, batch: Batch) {
        let before = self.lock().insert(revision.get(), batch);
        assert!(before.is_none(), "revision {revision} was given twice");
    }

    pub(crate) fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<u64, Batch>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A history that shares nothing with this one and ends at `revision`.
    pub(crate) fn up_to(&self, revision: u64) -> Self {
        let batches = self.lock();
        let batches = batches.range(..=revision).map(|(at, batch)| (*at, batch.clone()));
        Self(Mutex::new(batches.collect()))
    }
}

/// The rows at one revision of a history.
#[derive(Clone, Debug, Default)]
pub(crate) struct Model {
    at: u64,
    pub(crate) rows: BTreeMap<Bytes, Versioned>,
}

impl Model {
    /// Goes to `revision`, forward or from the beginning.
    pub(crate) fn go_to(&mut self, history: &History, revision: u64) -> Result<(), String> {
        if revision < self.at {
            *self = Self::default();
        }
        let batches = history.lock();
        while self.at < revision {
            let next = self.at + 1;
            let batch = batches.get(&next).ok_or(format!("revision {next} was never written"))?;
            self.apply(Revision::new(next), batch);
        }
        Ok(())
    }

    pub(crate) fn apply(&mut self, revision: Revision, batch: &Batch) {
        self.at = revision.get();
        for write in &batch.writes {
            match &write.value {
                Some(value) => {
                    let row = Versioned { revision, value: value.clone() };
                    self.rows.insert(write.key.clone(), row);
                }
                None => {
                    self.rows.remove(&write.key);
                }
            }
        }
    }

    /// All rows of a range in an order.
    pub(crate) fn range(&self, range: &KeyRange, order: Order) -> Vec<Row> {
        let inside = |key: &Bytes| {
            let from = match &range.from {
                Bound::Unbounded => true,
                Bound::Included(from) => key >= from,
                Bound::Excluded(from) => key > from,
            };
            let to = match &range.to {
                Bound::Unbounded => true,
                Bound::Included(to) => key <= to,
                Bound::Excluded(to) => key < to,
            };
            from && to
        };
        let mut rows: Vec<Row> = (self.rows.iter())
            .filter(|(key, _)| inside(key))
            .map(|(key, row)| Row {
                key: key.clone(),
                revision: row.revision,
                value: row.value.clone(),
            })
            .collect();
        if order == Order::Descending {
            rows.reverse();
        }
        rows
    }
}

/// All rows of a range, page by page, and how many pages there were. Every page must be of
/// `revision` when one is given.
pub(crate) fn scan_all(
    store: &dyn Store,
    view: View,
    range: &KeyRange,
    order: Order,
    limit: usize,
) -> Result<Vec<Row>, StoreError> {
    let mut range = range.clone();
    let mut rows = Vec::new();
    loop {
        let page = store.scan(view, &range, order, limit)?;
        assert!(page.rows.len() <= limit.clamp(1, PAGE_ROWS_MAX), "a page with too many rows");
        rows.extend(page.rows);
        let Some(next) = page.next else { return Ok(rows) };
        range = match order {
            Order::Ascending => range.after(next),
            Order::Descending => range.before(next),
        };
    }
}

/// Checks an open, quiet store against its history: nothing promised is lost, nothing is torn,
/// nothing is there that was never written, and the log tells the same without a gap. Answers
/// with the store's revision.
pub(crate) fn check(
    store: &dyn Store,
    history: &History,
    model: &mut Model,
    promised: u64,
) -> Result<u64, String> {
    let durable = store.durable().get();
    if durable < promised {
        return Err(format!("lost: it ends at {durable}, promised was {promised}"));
    }
    model.go_to(history, durable)?;
    let failed = |error: StoreError| format!("a read failed: {error}");
    let (all, order) = (KeyRange::all(), Order::Ascending);
    let found = scan_all(store, View::Committed, &all, order, PAGE_ROWS_MAX).map_err(failed)?;
    same_rows(&found, &model.range(&all, order), durable)?;
    let staged = scan_all(store, View::Staged, &all, Order::Descending, 77).map_err(failed)?;
    same_rows(&staged, &model.range(&all, Order::Descending), durable)?;
    for (key, row) in model.rows.iter().step_by(7) {
        let found = store.get(View::Committed, key).map_err(failed)?;
        if found.as_ref() != Some(row) {
            return Err(format!(
                "get of {key:?} at {durable}: {:?}",
                found.map(|row| row.revision)
            ));
        }
    }
    check_log(store, history, durable)?;
    Ok(durable)
}

fn same_rows(found: &[Row], expected: &[Row], at: u64) -> Result<(), String> {
    if found == expected {
        return Ok(());
    }
    let differs = found.iter().zip(expected).find(|(found, expected)| found != expected);
    Err(match differs {
        Some((found, expected)) => format!(
            "wrong rows at {at}: {:?} of revision {} where {:?} of revision {} belongs, same value: {}",
            found.key,
            found.revision,
            expected.key,
            expected.revision,
            found.value == expected.value
        ),
        None => format!("wrong rows at {at}: {} where {} belong", found.len(), expected.len()),
    })
}

/// Checks the log, from where it begins, against the history. It must end at `durable`.
pub(crate) fn check_log(store: &dyn Store, history: &History, durable: u64) -> Result<(), String> {
    let mut after = Revision::ZERO;
    let batches = history.lock();
    loop {
        let entries = match store.read_log(after, 50) {
            Ok(entries) => entries,
            // Old segments may retire while this reads.
            Err(StoreError::Gone { oldest }) if oldest > after => {
                after = oldest;
                continue;
            }
            Err(error) => return Err(format!("the log cannot be read after {after}: {error}")),
        };
        if entries.is_empty() {
            break;
        }
        for LogEntry { revision, at_ms, entry, writes } in entries {
            if revision != after.next() {
                return Err(format!("a gap in the log: {revision} follows {after}"));
            }
            let batch = batches.get(&revision.get());
            let batch = batch.ok_or(format!("the log has {revision}, never written"))?;
            if batch.at_ms != at_ms || batch.entry != entry || batch.writes != writes {
                return Err(format!("the log tells something else of {revision}"));
            }
            after = revision;
        }
    }
    if after.get() == durable {
        Ok(())
    } else {
        Err(format!("the log ends at {after}, the store at {durable}"))
    }
}
