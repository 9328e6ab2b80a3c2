//! Disk space: watched, so that nothing meets its end.
//!
//! Two marks. Below the first, ordinary commits are refused; what logout, cancel and timers need
//! goes on in what is left. Below the second nothing is merged into sled any more, which after a
//! single failed write for want of room would refuse every later one. The ballast is a file that
//! is given up when even opening needs room that is not there.

use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::super::StoreError;
use super::files::{self, Io};

/// Disk space that is kept free.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DiskSpaceOptions {
    /// Ordinary commits are refused while less than this is free, in bytes.
    pub ordinary_bytes: u64,
    /// Nothing is merged into sled while less than this is free, in bytes.
    pub index_bytes: u64,
    /// Size of the ballast, in bytes.
    pub ballast_bytes: u64,
}

/// The watch over the disk of one directory.
#[derive(Debug)]
pub(super) struct DiskSpace {
    dir: PathBuf,
    ballast: PathBuf,
    options: DiskSpaceOptions,
    free: AtomicU64,
    short: AtomicBool,
}

impl DiskSpace {
    /// Looks at the disk; gives up the ballast at once where room is short.
    pub(super) fn open(
        dir: &Path,
        ballast: PathBuf,
        options: DiskSpaceOptions,
    ) -> Result<Self, StoreError> {
        let (free, short) = (AtomicU64::new(0), AtomicBool::new(false));
        let disk_space = Self { dir: dir.to_path_buf(), ballast, options, free, short };
        if disk_space.look()? < options.index_bytes {
            files::remove(&disk_space.ballast)?;
            files::sync_dir(&disk_space.dir)?;
        }
        disk_space.look()?;
        Ok(disk_space)
    }

    /// Bytes free now. Also decides whether ordinary commits are refused; they are let in again
    /// only with an eighth more than the mark, so that the answer does not flicker.
    pub(super) fn look(&self) -> Result<u64, StoreError> {
        let found = rustix::fs::statvfs(&self.dir);
        let found = found.map_err(std::io::Error::from).io(&self.dir)?;
        let free = found.f_bavail.saturating_mul(found.f_frsize);
        self.free.store(free, Ordering::Relaxed);
        let mark = self.options.ordinary_bytes;
        if free < mark {
            self.short.store(true, Ordering::Relaxed);
        } else if free >= mark + mark / 8 {
            self.short.store(false, Ordering::Relaxed);
        }
        Ok(free)
    }

    /// Whether ordinary commits are refused.
    pub(super) fn is_short(&self) -> bool {
        self.short.load(Ordering::Relaxed)
    }

    /// Bytes free at the last look.
    pub(super) fn free(&self) -> u64 {
        self.free.load(Ordering::Relaxed)
    }

    /// Whether there is room to merge into sled, with a fresh look.
    pub(super) fn allows_index(&self) -> Result<bool, StoreError> {
        Ok(self.look()? >= self.options.index_bytes)
    }

    /// Whether `bytes` may be taken and the room for the index stays.
    pub(super) fn allows(&self, bytes: u64) -> Result<bool, StoreError> {
        Ok(self.look()? >= self.options.index_bytes.saturating_add(bytes))
    }

    /// Lays the ballast in again once there is ample room.
    pub(super) fn restore_ballast(&self) -> Result<(), StoreError> {
        let bytes = self.options.ballast_bytes;
        let ample = self.options.ordinary_bytes.saturating_mul(2).saturating_add(bytes);
        if bytes == 0 || self.ballast.exists() || self.free() < ample {
            return Ok(());
        }
        let zeros = vec![0; usize::try_from(bytes).unwrap_or(usize::MAX)];
        let made = files::create(&self.ballast);
        if made.is_err() || made.is_ok_and(|file| file.write_all_at(&zeros, 0).is_err()) {
            // Somebody else took the room meanwhile; there will be another time.
            files::remove(&self.ballast)?;
        }
        Ok(())
    }
}
