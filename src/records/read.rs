//! Reads the records of a decision from the store.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use ahash::RandomState;

use super::key::is_in_parts;
use super::{DecodeError, Definitions, Key, RecordCache, join, read_parts, value};
use crate::engine::{
    IndexEntry, LoadedRecord, ReadSet, Record, RecordKey, RecordSource, SliceLimit, TX_PAGE,
};
use crate::store::{KeyRange, Order, Store, StoreError, View};
use crate::types::Revision;

/// Why a record could not be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// The store could not.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The bytes are not a valid record.
    #[error(transparent)]
    Decode(#[from] DecodeError),
}

/// In how many parts records lie, of those that have more than one.
type Parts = HashMap<RecordKey, u8, RandomState>;

/// Reads from a store what a decision finds out that it needs.
struct StoreSource {
    store: Arc<dyn Store>,
    view: View,
    definitions: Arc<Definitions>,
    parts: Arc<Mutex<Parts>>,
}

impl std::fmt::Debug for StoreSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("StoreSource")
    }
}

impl RecordSource for StoreSource {
    /// A read that fails gives nothing: the decision stops there, and [`Reader::load`] reads again
    /// and returns the error.
    fn fetch(&self, fact: &RecordKey) -> Option<LoadedRecord> {
        let (loaded, parts) = load(&*self.store, self.view, &self.definitions, fact).ok()?;
        if parts > 1 {
            self.parts.lock().unwrap_or_else(PoisonError::into_inner).insert(fact.clone(), parts);
        }
        Some(loaded)
    }
}

/// Loads facts for one decision, and remembers in how many parts they lie.
pub struct Reader<'a> {
    store: &'a dyn Store,
    view: View,
    definitions: &'a Definitions,
    /// The loaded records.
    pub facts: ReadSet,
    parts: Arc<Mutex<Parts>>,
}

impl<'a> Reader<'a> {
    /// Nothing loaded yet.
    #[must_use]
    pub fn new(store: &'a dyn Store, view: View, definitions: &'a Definitions) -> Self {
        Self { store, view, definitions, facts: ReadSet::default(), parts: Arc::default() }
    }

    /// The same, but what a decision misses is read while it is made.
    #[must_use]
    pub fn fetching(self, store: Arc<dyn Store>, definitions: Arc<Definitions>) -> Self {
        let (view, parts) = (self.view, Arc::clone(&self.parts));
        let source = Arc::new(StoreSource { store, view, definitions, parts });
        Self { facts: self.facts.fetching(source), ..self }
    }

    /// Uses records that are cached.
    #[must_use]
    pub fn with(self, at_hand: Arc<RecordCache>) -> Self {
        Self { facts: ReadSet::with(at_hand), ..self }
    }

    /// The same, with a limit for what may be spread over several commits.
    #[must_use]
    pub fn limited(self, limit: Arc<dyn SliceLimit>) -> Self {
        Self { facts: self.facts.limited(limit), ..self }
    }

    /// In how many parts a record lies; `None`: not in more than one.
    pub(super) fn parts_of(&self, fact: &RecordKey) -> Option<u8> {
        self.parts.lock().unwrap_or_else(PoisonError::into_inner).get(fact).copied()
    }

    /// Returns the loaded records that have one part and may be cached.
    pub fn small(&self) -> impl Iterator<Item = (&RecordKey, &LoadedRecord)> {
        let is_small = |fact: &RecordKey| !fact.is_range_read() && self.parts_of(fact).is_none();
        self.facts.iter().filter(move |(fact, _)| is_small(fact))
    }

    /// Loads a fact.
    ///
    /// # Errors
    /// [`ReadError`]
    pub fn load(&mut self, fact: RecordKey) -> Result<(), ReadError> {
        let (loaded, parts) = load(self.store, self.view, self.definitions, &fact)?;
        if parts > 1 {
            self.parts.lock().unwrap_or_else(PoisonError::into_inner).insert(fact.clone(), parts);
        }
        self.facts.add(fact, loaded);
        Ok(())
    }
}

/// Reads a record, and says in how many parts it lies.
fn load(
    store: &dyn Store,
    view: View,
    definitions: &Definitions,
    fact: &RecordKey,
) -> Result<(LoadedRecord, u8), ReadError> {
    if let RecordKey::Definition(..) = fact {
        return Ok((definitions.read(store, view, fact)?, 1));
    }
    read(store, view, fact)
}

/// Reads one fact.
///
/// # Errors
/// [`ReadError`]
pub fn read_record(
    store: &dyn Store,
    view: View,
    fact: &RecordKey,
) -> Result<LoadedRecord, ReadError> {
    Ok(read(store, view, fact)?.0)
}

/// Reads a record as the commit of `revision` wrote it: as it is now, or from the log. `None`: that
/// commit did not write it, or the log does not reach back so far.
///
/// # Errors
/// [`ReadError`]
pub fn read_written(
    store: &dyn Store,
    fact: &RecordKey,
    revision: Revision,
) -> Result<Option<Record>, ReadError> {
    if let Some((record, now)) = read_record(store, View::Committed, fact)?
        && now == revision
    {
        return Ok(Some(Arc::unwrap_or_clone(record)));
    }
    let before = Revision::new(revision.get().saturating_sub(1));
    let entries = match store.read_log(before, 1) {
        Ok(entries) => entries,
        Err(StoreError::Gone { .. }) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let Some(entry) = entries.first().filter(|entry| entry.revision == revision) else {
        return Ok(None);
    };
    let written = |part| {
        let key = Key::part(fact, part).encode();
        let write = entry.writes.iter().find(|write| write.key == key);
        write.and_then(|write| write.value.clone())
    };
    let bytes = if is_in_parts(fact) {
        join(&(0..=u8::MAX).map_while(written).collect::<Vec<_>>())
    } else {
        written(0)
    };
    Ok(bytes.map(|bytes| value::decode(fact, &bytes)).transpose()?)
}

fn read(store: &dyn Store, view: View, fact: &RecordKey) -> Result<(LoadedRecord, u8), ReadError> {
    if fact.is_range_read() {
        return Ok((Some((Arc::new(look(store, view, fact)?), Revision::ZERO)), 0));
    }
    let (found, parts) = if is_in_parts(fact) {
        match read_parts(store, view, |part| Key::part(fact, part))? {
            Some((found, parts)) => (Some(found), parts),
            None => (None, 0),
        }
    } else {
        (store.get(view, &Key::of(fact).encode())?, 1)
    };
    let Some(found) = found else { return Ok((None, 0)) };
    let record = value::decode(fact, &found.value)?;
    Ok((Some((Arc::new(record), found.revision)), parts))
}

/// The next transactions of a list.
fn look(store: &dyn Store, view: View, fact: &RecordKey) -> Result<Record, ReadError> {
    let after = Key::of(fact).encode();
    if let RecordKey::Txs(_) = fact {
        let range = KeyRange::prefix(Key::TXS).after(after.into());
        let page = store.scan(view, &range, Order::Ascending, TX_PAGE)?;
        let first = |row: &crate::store::Row| match Key::decode(&row.key) {
            Some(Key::Tx(id, 0)) => Some(id),
            _ => None,
        };
        return Ok(Record::Transactions(page.rows.iter().filter_map(first).collect()));
    }
    if let RecordKey::SessionsVia(key, _) = fact {
        let range = KeyRange::prefix(&Key::sessions_via(*key)).after(after.into());
        let page = store.scan(view, &range, Order::Ascending, TX_PAGE)?;
        let sessions = page.rows.iter().filter_map(|row| match Key::decode(&row.key) {
            Some(Key::IndexEntry(IndexEntry::SessionVia(_, session))) => Some(session),
            _ => None,
        });
        return Ok(Record::Sessions(sessions.collect()));
    }
    // The id comes last.
    let prefix = &after[..after.len() - size_of::<u128>()];
    let range = KeyRange::prefix(prefix).after(after.clone().into());
    let page = store.scan(view, &range, Order::Ascending, TX_PAGE)?;
    let ids = page.rows.iter().map(|row| match Key::decode(&row.key) {
        Some(Key::IndexEntry(
            IndexEntry::OpenOf(_, id)
            | IndexEntry::TxOf(_, id)
            | IndexEntry::EndWith(_, id)
            | IndexEntry::ActedIn(_, id),
        )) => Ok(id),
        _ => Err(DecodeError {
            key: format!("{:?}", row.key),
            what: "no such key is written".to_owned(),
        }),
    });
    Ok(Record::Transactions(ids.collect::<Result<_, _>>()?))
}
