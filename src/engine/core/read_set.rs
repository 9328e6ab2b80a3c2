//! Records that a command reads: loaded before the decision, found in the record cache, or fetched
//! while it is made.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;

use super::append_list::Shelf;
use super::record::{Record, RecordKey};
use crate::types::Revision;

/// A record as it was loaded; `None`: there is none.
pub type LoadedRecord = Option<(Arc<Record>, Revision)>;

/// Records that the only one who commits has at hand, as they are now: what is found here needs
/// not be loaded, nor be said to be unchanged at the commit, since nobody else could change it.
pub trait RecordLookup: std::fmt::Debug + Send + Sync {
    /// A record, if it is at hand.
    fn record(&self, fact: &RecordKey) -> Option<&LoadedRecord>;
}

/// Fetches records while a command is decided, so that a decision which finds out late what it
/// reads goes on where it is: each record is read once, and nothing is done twice.
pub trait RecordSource: std::fmt::Debug + Send + Sync {
    /// Reads a record; `None`: it cannot be read now, so the decision stops with [`DecideError::MissingRecord`].
    fn fetch(&self, fact: &RecordKey) -> Option<LoadedRecord>;
}

/// Says when work that may be spread over several commits has taken long enough in this one.
pub trait SliceLimit: std::fmt::Debug + Send + Sync {
    /// Whether what is left should be done in later commits. Asked behind each piece of the work.
    fn is_over(&self) -> bool;
}

/// The records that were loaded for a command.
#[derive(Clone, Debug, Default)]
pub struct ReadSet {
    loaded: BTreeMap<RecordKey, LoadedRecord>,
    at_hand: Option<Arc<dyn RecordLookup>>,
    source: Option<Arc<dyn RecordSource>>,
    pub(super) limit: Option<Arc<dyn SliceLimit>>,
    /// Records that were fetched while deciding, and where each lies.
    fetched: Shelf<(RecordKey, LoadedRecord)>,
    places: RefCell<BTreeMap<RecordKey, usize>>,
}

impl ReadSet {
    /// Nothing loaded, but what is at hand.
    #[must_use]
    pub fn with(at_hand: Arc<dyn RecordLookup>) -> Self {
        Self { at_hand: Some(at_hand), ..Self::default() }
    }

    /// The same, but what is missing is fetched from there.
    #[must_use]
    pub fn fetching(self, source: Arc<dyn RecordSource>) -> Self {
        Self { source: Some(source), ..self }
    }

    /// The same, but what may be spread over several commits ends by this limit.
    #[must_use]
    pub fn limited(self, limit: Arc<dyn SliceLimit>) -> Self {
        Self { limit: Some(limit), ..self }
    }

    /// Adds a record.
    pub fn add(&mut self, fact: RecordKey, record: LoadedRecord) {
        self.loaded.insert(fact, record);
    }

    /// Everything that was loaded for this command.
    pub fn iter(&self) -> impl Iterator<Item = (&RecordKey, &LoadedRecord)> {
        self.loaded.iter().chain(self.fetched.iter().map(|(fact, loaded)| (fact, loaded)))
    }

    /// A record, if it was loaded or is at hand.
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
