//! Options of a durable store.

use std::path::PathBuf;
use std::time::Duration;

use super::super::{BATCH_BYTES_MAX, StoreError};
use super::disk_space::DiskSpaceOptions;

const KIB: u64 = 1024;
const MIB: u64 = 1024 * KIB;

/// Settings of a durable store. [`Options::new`] gives those for production.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// The data directory.
    pub dir: PathBuf,
    /// Size of a segment file of the journal, in bytes; at least 256 KiB. A batch may take at most
    /// a quarter of it.
    pub segment_bytes: u64,
    /// Most bytes on their way to the disk; above, `commit` waits a moment, then answers `Busy`.
    pub staged_bytes_max: usize,
    /// Most bytes of durable commits kept in memory until sled has them; above, commits wait.
    pub overlay_bytes_max: usize,
    /// sled's cache, in bytes.
    pub sled_cache_bytes: u64,
    /// Size of a segment of sled's file, in bytes: a power of two, for one that is made from now on.
    /// A page over a quarter of it goes to a file that sled does not sync; the largest has 256 keys.
    pub sled_segment_bytes: usize,
    /// Memory is merged into sled at least this often while there is something to merge...
    pub apply_interval: Duration,
    /// ... and as soon as it holds so many bytes.
    pub apply_after_bytes: usize,
    /// sled is synced and the checkpoint written after so many bytes of journal.
    pub checkpoint_after_bytes: u64,
    /// A new snapshot is written after so many bytes of journal behind the last one, or after as many
    /// as the last snapshot has, whichever is more.
    pub base_after_bytes: u64,
    /// Bytes of journal that are kept although opening no longer needs them.
    pub journal_retain_bytes: u64,
    /// Disk space that is kept free.
    pub disk_space: DiskSpaceOptions,
}

impl Options {
    /// Settings for production.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self {
            dir: dir.into(),
            segment_bytes: 32 * MIB,
            staged_bytes_max: 16 * 1024 * 1024,
            overlay_bytes_max: 128 * 1024 * 1024,
            sled_cache_bytes: 128 * MIB,
            sled_segment_bytes: 1024 * 1024,
            apply_interval: Duration::from_secs(2),
            apply_after_bytes: 48 * 1024 * 1024,
            checkpoint_after_bytes: 64 * MIB,
            base_after_bytes: 256 * MIB,
            journal_retain_bytes: 256 * MIB,
            disk_space: DiskSpaceOptions {
                ordinary_bytes: 256 * MIB,
                index_bytes: 64 * MIB,
                ballast_bytes: 32 * MIB,
            },
        }
    }

    /// Most bytes of a group of commits.
    pub(super) fn group_bytes_max(&self) -> usize {
        usize::try_from(self.segment_bytes / 8).unwrap_or(usize::MAX).min(4 * 1024 * 1024)
    }

    /// Most bytes of one batch as it lies in the journal.
    pub(super) fn batch_bytes_max(&self) -> usize {
        let quarter = usize::try_from(self.segment_bytes / 4).unwrap_or(usize::MAX);
        quarter.min(BATCH_BYTES_MAX * 2)
    }

    pub(super) fn validate(&self) -> Result<(), StoreError> {
        let error =
            |what: &str| Err(StoreError::Open { path: self.dir.clone(), what: what.into() });
        if self.segment_bytes < 256 * KIB || !self.segment_bytes.is_multiple_of(4 * KIB) {
            return error("segments must have at least 256 KiB and whole pages of 4 KiB");
        }
        if self.sled_segment_bytes < 64 * 1024 || !self.sled_segment_bytes.is_power_of_two() {
            return error("segments of sled must have a power of two of bytes, at least 64 KiB");
        }
        if self.disk_space.index_bytes < 24 * MIB {
            // Far more than sled writes between two looks at the disk, with two of its segments.
            return error("the room for the index must be at least 24 MiB");
        }
        if self.disk_space.index_bytes > self.disk_space.ordinary_bytes {
            return error("the room for the index must not exceed that for ordinary commits");
        }
        Ok(())
    }
}
