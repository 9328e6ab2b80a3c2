//! The files that values are read from: the journal's segments and the bases.

use std::sync::{Arc, PoisonError, RwLock};

use bytes::Bytes;

use super::super::StoreError;
use super::base::Base;
use super::files;
use super::journal::Journal;
use super::place::{Home, Place};

/// Reads values at the places that the index names.
#[derive(Debug)]
pub(super) struct Values {
    journal: Arc<Journal>,
    bases: RwLock<Vec<Base>>,
}

impl Values {
    /// Reads from a journal and from bases.
    pub(super) fn new(journal: Arc<Journal>, bases: Vec<Base>) -> Self {
        Self { journal, bases: RwLock::new(bases) }
    }

    /// From now on this base is read from too.
    pub(super) fn add(&self, base: Base) {
        self.bases.write().unwrap_or_else(PoisonError::into_inner).push(base);
    }

    /// From now on no other base than the one with this number is read from.
    pub(super) fn keep_only(&self, number: u64) {
        let mut bases = self.bases.write().unwrap_or_else(PoisonError::into_inner);
        bases.retain(|base| base.number == number);
    }

    fn base(&self, number: u64) -> Option<Base> {
        let bases = self.bases.read().unwrap_or_else(PoisonError::into_inner);
        bases.iter().find(|base| base.number == number).cloned()
    }

    /// The value at `place`; `None`: its file is no longer one of ours, so the index has another
    /// place by now.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] when other bytes than the index knows lie there.
    pub(super) fn read(&self, place: &Place) -> Result<Option<Bytes>, StoreError> {
        let mut value = vec![0; place.bytes];
        let offset = place.spot.offset;
        let (path, read) = match place.spot.home {
            Home::Journal(sequence) => {
                let Some(segment) = self.journal.segment(sequence) else { return Ok(None) };
                let read = segment.read(&mut value, offset);
                // A segment that was retired meanwhile is written anew.
                if self.journal.segment(sequence).is_none() {
                    return Ok(None);
                }
                (segment.path.clone(), read)
            }
            Home::Base(number) => {
                let Some(base) = self.base(number) else { return Ok(None) };
                let read = base.read_at(&mut value, offset);
                (base.path, read)
            }
        };
        read.map_err(|error| files::damaged(&path, offset, format!("a value: {error}")))?;
        if crc32c::crc32c(&value) != place.checksum {
            return Err(files::damaged(&path, offset, "a value is not what the index knows of it"));
        }
        Ok(Some(Bytes::from(value)))
    }
}
