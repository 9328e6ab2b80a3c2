//! The files that values are read from: the journal's segments and the snapshots.

use std::sync::{Arc, PoisonError, RwLock};

use bytes::Bytes;

use super::super::StoreError;
use super::files;
use super::journal::Journal;
use super::snapshot::Snapshot;
use super::value_location::{ValueFile, ValueLocation};

/// Reads values at the places that the index names.
#[derive(Debug)]
pub(super) struct ValueFiles {
    journal: Arc<Journal>,
    snapshots: RwLock<Vec<Snapshot>>,
}

impl ValueFiles {
    /// Reads from a journal and from snapshots.
    pub(super) fn new(journal: Arc<Journal>, snapshots: Vec<Snapshot>) -> Self {
        Self { journal, snapshots: RwLock::new(snapshots) }
    }

    /// From now on this snapshot is read from too.
    pub(super) fn add(&self, snapshot: Snapshot) {
        self.snapshots.write().unwrap_or_else(PoisonError::into_inner).push(snapshot);
    }

    /// From now on no other snapshot than the one with this number is read from.
    pub(super) fn keep_only(&self, number: u64) {
        let mut snapshots = self.snapshots.write().unwrap_or_else(PoisonError::into_inner);
        snapshots.retain(|snapshot| snapshot.number == number);
    }

    fn snapshot(&self, number: u64) -> Option<Snapshot> {
        let snapshots = self.snapshots.read().unwrap_or_else(PoisonError::into_inner);
        snapshots.iter().find(|snapshot| snapshot.number == number).cloned()
    }

    /// The value at `place`; `None`: its file is no longer one of ours, so the index has another
    /// place by now.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] when other bytes than the index knows lie there.
    pub(super) fn read(&self, location: &ValueLocation) -> Result<Option<Bytes>, StoreError> {
        let mut value = vec![0; location.bytes];
        let offset = location.start.offset;
        let (path, read) = match location.start.file {
            ValueFile::Journal(sequence) => {
                let Some(segment) = self.journal.segment(sequence) else { return Ok(None) };
                let read = segment.read(&mut value, offset);
                // A segment that was retired meanwhile is written anew.
                if self.journal.segment(sequence).is_none() {
                    return Ok(None);
                }
                (segment.path.clone(), read)
            }
            ValueFile::Snapshot(number) => {
                let Some(snapshot) = self.snapshot(number) else { return Ok(None) };
                let read = snapshot.read_at(&mut value, offset);
                (snapshot.path, read)
            }
        };
        read.map_err(|error| files::damaged(&path, offset, format!("a value: {error}")))?;
        if crc32c::crc32c(&value) != location.checksum {
            return Err(files::damaged(&path, offset, "a value is not what the index knows of it"));
        }
        Ok(Some(Bytes::from(value)))
    }
}
