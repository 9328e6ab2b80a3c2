//! Small operations on files, with errors that name the file.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt, PermissionsExt};
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

/// Options for a file that is read and written, and made where there is none, for its owner alone.
pub(super) fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).mode(0o600);
    options
}

/// Makes an empty file, for its owner alone, in place of one that may be there.
pub(super) fn create(path: &Path) -> Result<File, StoreError> {
    private().truncate(true).open(path).io(path)
}

/// Says that the directory in which `path` is to be made does not exist, and how to create it.
#[must_use]
pub fn no_directory_above(path: &Path) -> String {
    let above = path.parent().unwrap_or(path).display();
    format!("the directory above it does not exist; create it with `mkdir -p {above}`")
}

/// Makes a directory for its owner alone.
pub(super) fn make_dir(path: &Path) -> Result<(), StoreError> {
    let made = DirBuilder::new().mode(0o700).create(path);
    made.map_err(|error| StoreError::Open {
        path: path.to_path_buf(),
        what: match error.kind() {
            io::ErrorKind::NotFound => no_directory_above(path),
            _ => format!("cannot be made: {error}"),
        },
    })
}

/// Takes the rights of others to a file or a directory, and to all that is in it, away: a file may
/// have been made under another umask, or be a copy. What belongs to another user is left as it is,
/// with a warning.
pub(super) fn make_private(path: &Path) {
    let changed = || -> io::Result<bool> {
        let metadata = fs::symlink_metadata(path)?;
        let mode = metadata.permissions().mode();
        if !metadata.is_symlink() && mode & 0o077 != 0 {
            fs::set_permissions(path, Permissions::from_mode(mode & 0o7700))?;
        }
        Ok(metadata.is_dir())
    };
    match changed() {
        Ok(true) => {
            for name in names(path).unwrap_or_default() {
                make_private(&path.join(name));
            }
        }
        Ok(false) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => {
            tracing::warn!(%error, path = %path.display(), "others may be able to read this");
        }
    }
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
    let file = create(&fresh)?;
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
