//! Records that a command reads: loaded before the decision, found in the record cache, or fetched
//! during the decision.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;

use super::append_list::Shelf;
use super::record::{Record, RecordKey};
use crate::types::Revision;

/// A loaded record; `None`: it does not exist.
pub type LoadedRecord = Option<(Arc<Record>, Revision)>;

/// Lookup in the record cache of the executor. Its records are current and need no check at the
/// commit, since only the executor commits.
pub trait RecordLookup: std::fmt::Debug + Send + Sync {
    /// Returns a record if the cache has it.
    fn record(&self, fact: &RecordKey) -> Option<&LoadedRecord>;
}

/// Fetches records during a decision. A decision that discovers late what it reads continues in
/// place: each record is read once, and no work is repeated.
pub trait RecordSource: std::fmt::Debug + Send + Sync {
    /// Reads a record; `None`: it cannot be read now, and the decision stops with
    /// [`DecideError::MissingRecord`].
    fn fetch(&self, fact: &RecordKey) -> Option<LoadedRecord>;
}

/// Time limit for work that may be spread over several commits.
pub trait SliceLimit: std::fmt::Debug + Send + Sync {
    /// Returns whether the rest should be left to later commits. Callers ask after each piece of
    /// work.
    fn is_over(&self) -> bool;
}

/// The records that were loaded for a command.
#[derive(Clone, Debug, Default)]
pub struct ReadSet {
    loaded: BTreeMap<RecordKey, LoadedRecord>,
    at_hand: Option<Arc<dyn RecordLookup>>,
    source: Option<Arc<dyn RecordSource>>,
    pub(super) limit: Option<Arc<dyn SliceLimit>>,
    /// Records that were fetched during the decision.
    fetched: Shelf<(RecordKey, LoadedRecord)>,
    places: RefCell<BTreeMap<RecordKey, usize>>,
}

impl ReadSet {
    /// Creates a read set without loaded records that looks records up in the cache.
    #[must_use]
    pub fn with(at_hand: Arc<dyn RecordLookup>) -> Self {
        Self { at_hand: Some(at_hand), ..Self::default() }
    }

    /// Returns the read set with a source for missing records.
    #[must_use]
    pub fn fetching(self, source: Arc<dyn RecordSource>) -> Self {
        Self { source: Some(source), ..self }
    }

    /// Returns the read set with a limit for work that may be spread over several commits.
    #[must_use]
    pub fn limited(self, limit: Arc<dyn SliceLimit>) -> Self {
        Self { limit: Some(limit), ..self }
    }

    /// Adds a record.
    pub fn add(&mut self, fact: RecordKey, record: LoadedRecord) {
        self.loaded.insert(fact, record);
    }

    /// Returns all records that were loaded or fetched for this command.
    pub fn iter(&self) -> impl Iterator<Item = (&RecordKey, &LoadedRecord)> {
        self.loaded.iter().chain(self.fetched.iter().map(|(fact, loaded)| (fact, loaded)))
    }

    /// Returns a record if it was loaded or fetched, or if the cache has it.
    #[must_use]
    pub fn get(&self, fact: &RecordKey) -> Option<&LoadedRecord> {
        let at_hand = || self.at_hand.as_ref().and_then(|at_hand| at_hand.record(fact));
        self.loaded.get(fact).or_else(|| self.was_fetched(fact)).or_else(at_hand)
    }

    fn was_fetched(&self, fact: &RecordKey) -> Option<&LoadedRecord> {
        let place = *self.places.borrow().get(fact)?;
        self.fetched.get(place).map(|(_, loaded)| loaded)
    }

    /// Fetches a record that [`ReadSet::get`] does not have.
    pub(super) fn fetch(&self, fact: &RecordKey) -> Option<&LoadedRecord> {
        let loaded = self.source.as_ref()?.fetch(fact)?;
        self.places.borrow_mut().insert(fact.clone(), self.fetched.len());
        Some(&self.fetched.push((fact.clone(), loaded)).1)
    }
}
