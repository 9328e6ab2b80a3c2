//! The data directory: what lies where, and that it is ours alone.
//!
//! ```text
//! FORMAT      the marker; a directory without it is no store
//! lock        locked while the store is open
//! journal/    segments, spare files, chain roots
//! snapshot/       the newest snapshot
//! sled/       the index
//! checkpoint        up to where the index is known to be on the disk
//! clean-shutdown marker        what the index was when the store was closed
//! ballast     room that is given up to open on a full disk
//! ```

use std::fs::{self, File, TryLockError};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::super::StoreError;
use super::files::{self, Io};

const FORMAT: &str = "abide data 3\n";
/// In the directory from the first moment of its creation until `FORMAT` is there.
const CREATING: &str = "creating";

/// The paths of a data directory, locked.
#[derive(Debug)]
pub(super) struct Layout {
    dir: PathBuf,
    /// Held for its lock.
    _lock: File,
}

impl Layout {
    /// Locks a data directory, makes it first where there is none or an empty one.
    pub(super) fn open_or_create(dir: &Path) -> Result<Self, StoreError> {
        let error = |what: String| StoreError::Open { path: dir.to_path_buf(), what };
        match fs::metadata(dir) {
            Ok(found) if !found.is_dir() => return Err(error("a file is in the way".into())),
            Ok(_) => {}
            Err(missing) if missing.kind() == ErrorKind::NotFound => {
                files::make_dir(dir)?;
                dir.parent().filter(|parent| parent.is_dir()).map_or(Ok(()), files::sync_dir)?;
            }
            Err(other) => return Err(error(other.to_string())),
        }
        if dir.join("FORMAT").exists() {
            return Self::open(dir);
        }
        Self::must_be_empty(dir)?;
        let creating = dir.join(CREATING);
        files::create(&creating)?.sync_all().io(&creating)?;
        files::sync_dir(dir)?;
        let layout = Self { dir: dir.to_path_buf(), _lock: lock(dir)? };
        for name in ["journal", "base", "sled", "sled.new"] {
            files::remove_dir(&dir.join(name))?;
        }
        files::remove(&layout.checkpoint())?;
        files::remove(&layout.shutdown_marker())?;
        for name in ["journal", "base"] {
            files::make_dir(&dir.join(name))?;
        }
        Ok(layout)
    }

    /// Checks whether a directory could be opened, and changes nothing in it. Returns whether
    /// another process has it open.
    pub(super) fn examine(dir: &Path) -> Result<bool, StoreError> {
        let error = |what: String| StoreError::Open { path: dir.to_path_buf(), what };
        if !fs::metadata(dir).io(dir)?.is_dir() {
            return Err(error("a file is in the way".into()));
        }
        if dir.join("FORMAT").exists() {
            Self::must_read_format(dir)?;
        } else {
            Self::must_be_empty(dir)?;
        }
        let path = dir.join("lock");
        match File::open(&path) {
            // The lock goes with the file at the end of this function.
            Ok(file) => Ok(matches!(file.try_lock(), Err(TryLockError::WouldBlock))),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error).io(&path),
        }
    }

    fn must_be_empty(dir: &Path) -> Result<(), StoreError> {
        let names = files::names(dir)?;
        if names.is_empty() || dir.join(CREATING).exists() {
            return Ok(());
        }
        Err(StoreError::Open {
            path: dir.to_path_buf(),
            what: format!(
                "not a data directory of Abide: it holds {:?} and no FORMAT; choose an empty one",
                names.first().map_or("", String::as_str)
            ),
        })
    }

    /// Locks a data directory that is there.
    pub(super) fn open(dir: &Path) -> Result<Self, StoreError> {
        Self::must_read_format(dir)?;
        Ok(Self { dir: dir.to_path_buf(), _lock: lock(dir)? })
    }

    fn must_read_format(dir: &Path) -> Result<(), StoreError> {
        let marker = dir.join("FORMAT");
        let format = match fs::read_to_string(&marker) {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                let what = "not a data directory of Abide: there is no FORMAT in it";
                return Err(StoreError::Open { path: dir.to_path_buf(), what: what.into() });
            }
            read => read.io(&marker)?,
        };
        if format != FORMAT {
            let found = format.lines().next().unwrap_or_default();
            let what = format!(
                "this build reads {:?}, the directory is {found:?}; use the build that wrote it",
                FORMAT.trim_end()
            );
            return Err(StoreError::Open { path: marker, what });
        }
        Ok(())
    }

    /// Takes the rights of others to everything that lies here away.
    pub(super) fn make_private(&self) {
        files::make_private(&self.dir);
    }

    /// Whether the directory is only being made.
    pub(super) fn is_new(&self) -> bool {
        !self.dir.join("FORMAT").exists()
    }

    /// The directory is complete: from now on it counts.
    pub(super) fn complete(&self) -> Result<(), StoreError> {
        files::sync_dir(&self.dir)?;
        files::write_whole(&self.dir.join("FORMAT"), FORMAT.as_bytes())?;
        files::remove(&self.dir.join(CREATING))
    }

    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    pub(super) fn journal(&self) -> PathBuf {
        self.dir.join("journal")
    }

    pub(super) fn snapshot(&self) -> PathBuf {
        self.dir.join("base")
    }

    pub(super) fn sled(&self) -> PathBuf {
        self.dir.join("sled")
    }

    pub(super) fn checkpoint(&self) -> PathBuf {
        self.dir.join("note")
    }

    pub(super) fn shutdown_marker(&self) -> PathBuf {
        self.dir.join("seal")
    }

    pub(super) fn ballast(&self) -> PathBuf {
        self.dir.join("ballast")
    }
}

fn lock(dir: &Path) -> Result<File, StoreError> {
    let path = dir.join("lock");
    let file = files::private().truncate(false).open(&path).io(&path)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(StoreError::Open {
            path: dir.to_path_buf(),
            what: "in use by another process; stop it first".into(),
        }),
        Err(TryLockError::Error(error)) => Err(error).io(&path),
    }
}
