//! The clean-shutdown marker: what sled's files were when the store was closed.
//!
//! sled takes a damaged place in its log for the end of a segment, goes on with the next one, and
//! serves what the pages were before. It cannot tell that from what a crash leaves behind. After a
//! clean end nothing may be missing, so a hash of its files is kept from then on to the next start:
//! an index that is not what was closed is made anew. After a crash there is no clean-shutdown marker.

use std::fs::{self, File};
use std::io::{ErrorKind, Read};
use std::path::Path;
use std::thread;
use std::time::Instant;

use super::super::StoreError;
use super::files::{self, Io};
use super::index::{LOCK_PAUSE, LOCK_WAIT};
use super::layout::Layout;

const MAGIC: &str = "abide seal 1\n";
const CHUNK: usize = 1024 * 1024;

/// State of the clean-shutdown marker at a start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ShutdownMarker {
    /// There is none: the store was not closed.
    None,
    /// The files are what was closed.
    Whole,
    /// They are not.
    Broken,
}

/// Breaks the clean-shutdown marker, since sled is about to be opened, and says how it was.
pub(super) fn take(layout: &Layout) -> Result<ShutdownMarker, StoreError> {
    let path = layout.shutdown_marker();
    let sealed = match fs::read(&path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(ShutdownMarker::None),
        read => read.io(&path)?,
    };
    let is_whole = sealed == hash(&layout.sled())?;
    files::remove(&path)?;
    files::sync_dir(layout.dir())?;
    Ok(if is_whole { ShutdownMarker::Whole } else { ShutdownMarker::Broken })
}

/// Seals the index, which nobody in this process has open any more.
pub(super) fn put(layout: &Layout) -> Result<(), StoreError> {
    let sled = layout.sled();
    let db = sled.join("db");
    // sled's threads may hold it for a moment after its last handle is gone.
    let held = files::open_rw(&db)?;
    let since = Instant::now();
    while held.try_lock().is_err() {
        if since.elapsed() > LOCK_WAIT {
            let what = "sled does not let go of its file".into();
            return Err(StoreError::Open { path: db, what });
        }
        thread::park_timeout(LOCK_PAUSE);
    }
    files::write_whole(&layout.shutdown_marker(), &hash(&sled)?)
}

/// Computes the marker of the files as they are now.
fn hash(sled: &Path) -> Result<Vec<u8>, StoreError> {
    let mut hasher = blake3::Hasher::new();
    let mut chunk = vec![0; CHUNK];
    for name in files::names(sled)? {
        let path = sled.join(&name);
        if !path.is_file() {
            continue;
        }
        let mut file = File::open(&path).io(&path)?;
        hasher.update(name.as_bytes()).update(&[0]);
        hasher.update(&file.metadata().io(&path)?.len().to_le_bytes());
        loop {
            match file.read(&mut chunk).io(&path)? {
                0 => break,
                bytes => hasher.update(&chunk[..bytes]),
            };
        }
    }
    Ok(format!("{MAGIC}{}\n", hasher.finalize().to_hex()).into_bytes())
}
