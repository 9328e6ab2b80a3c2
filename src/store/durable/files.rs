//! Small operations on files, with errors that name the file.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::super::StoreError;

/// Gives an IO error the path that it is about.
pub(super) trait Io<T> {
    fn io(self, path: &Path) -> Result<T, StoreError>;
}

impl<T> Io<T> for io::Result<T> {
    fn io(self, path: &Path) -> Result<T, StoreError> {
        self.map_err(|error| StoreError::Open { path: path.to_path_buf(), what: error.to_string() })
    }
}

/// The error for bytes that are not what was written.
pub(super) fn damaged(path: &Path, offset: u64, what: impl Into<String>) -> StoreError {
    StoreError::Damaged { file: path.to_path_buf(), offset, what: what.into() }
}

pub(super) fn open_rw(path: &Path) -> Result<File, StoreError> {
    OpenOptions::new().read(true).write(true).open(path).io(path)
}

/// Makes the names in `dir` durable.
pub(super) fn sync_dir(dir: &Path) -> Result<(), StoreError> {
    File::open(dir).and_then(|dir| dir.sync_all()).io(dir)
}

/// Removes a file that may be absent.
pub(super) fn remove(path: &Path) -> Result<(), StoreError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error).io(path),
        _ => Ok(()),
    }
}

/// Removes a directory that may be absent, with what is in it.
pub(super) fn remove_dir(path: &Path) -> Result<(), StoreError> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error).io(path),
        _ => Ok(()),
    }
}

/// Writes a small file so that after a crash it is there whole or not at all.
pub(super) fn write_whole(path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
    let fresh = path.with_extension("tmp");
    let file = File::create(&fresh).io(&fresh)?;
    file.write_all_at(bytes, 0).io(&fresh)?;
    file.sync_all().io(&fresh)?;
    fs::rename(&fresh, path).io(path)?;
    path.parent().map_or(Ok(()), sync_dir)
}

/// The names in a directory, sorted.
pub(super) fn names(dir: &Path) -> Result<Vec<String>, StoreError> {
    let mut names = Vec::new();
    for entry in fs::read_dir(dir).io(dir)? {
        names.push(entry.io(dir)?.file_name().to_string_lossy().into_owned());
    }
    names.sort_unstable();
    Ok(names)
}
