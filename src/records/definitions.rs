//! Versions of workflows, compiled once.

use std::sync::{Mutex, MutexGuard, PoisonError};

use super::{ReadError, RecordCache, read_record};
use crate::engine::{LoadedRecord, RecordKey, RecordLookup as _};
use crate::store::{Store, View};

/// Default limit in bytes, where nothing was configured.
const BYTES_MAX: usize = 32 * 1024 * 1024;

/// Cache of versions of workflows: they never change, and reading one compiles it.
#[derive(Debug)]
pub struct Definitions(Mutex<RecordCache>);

impl Default for Definitions {
    fn default() -> Self {
        Self::new(BYTES_MAX)
    }
}

impl Definitions {
    /// An empty cache of at most so many bytes.
    #[must_use]
    pub fn new(bytes_max: usize) -> Self {
        Self(Mutex::new(RecordCache::new(bytes_max)))
    }

    /// The version, as it was read before or as it is read now.
    ///
    /// # Errors
    /// [`ReadError`]
    pub fn read(
        &self,
        store: &dyn Store,
        view: View,
        fact: &RecordKey,
    ) -> Result<LoadedRecord, ReadError> {
        if let Some(found) = self.kept().record(fact) {
            return Ok(found.clone());
        }
        let loaded = read_record(store, view, fact)?;
        if loaded.is_some() {
            self.kept().put(fact.clone(), loaded.clone());
        }
        Ok(loaded)
    }

    fn kept(&self) -> MutexGuard<'_, RecordCache> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
