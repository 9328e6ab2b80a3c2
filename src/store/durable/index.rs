//! sled: the index that serves what the journal and the base know.
//!
//! One tree. A value lies behind the revision of its commit, 8 bytes big-endian. Two keys of the
//! index's own begin with a zero byte, which the layer above may use too: they are apart because
//! its keys all get one byte in front.

use std::fs::{self, File};
use std::panic::{self, AssertUnwindSafe};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use bytes::{BufMut, Bytes, BytesMut};
use sled::IVec;

use super::super::{KeyRange, Order, Row, StoreError, Versioned, sync};
use super::files::{self, Io};
use super::note::IndexId;
use super::tables::{Slot, bounds};
use crate::types::Revision;

/// Large enough that a leaf, which splits above 16 entries of at most 64 KiB, never exceeds a
/// quarter of it: such a page would go to a file that sled never syncs.
const SLED_SEGMENT_BYTES: usize = 8 * 1024 * 1024;
/// In front of every key of the layer above.
const USER: u8 = 1;
const KEY_ID: &[u8] = b"\0id";
const KEY_APPLIED: &[u8] = b"\0applied";

/// An open sled database.
#[derive(Debug)]
pub(super) struct Index {
    db: sled::Db,
    path: PathBuf,
    id: IndexId,
    /// Behind `db`, so that it is dropped after it.
    _last: LastHandle,
}

/// One more handle of a database, which outlives the others. sled syncs when its last handle is
/// dropped and panics when it cannot: an error that was told long before.
#[derive(Debug)]
struct LastHandle(Option<sled::Db>);

impl Drop for LastHandle {
    fn drop(&mut self) {
        let last = self.0.take();
        if panic::catch_unwind(AssertUnwindSafe(|| drop(last))).is_err() {
            tracing::warn!("sled could not sync when it was closed");
        }
    }
}

fn stored_key(key: &[u8]) -> Vec<u8> {
    let mut stored = Vec::with_capacity(key.len() + 1);
    stored.push(USER);
    stored.extend_from_slice(key);
    stored
}

impl Index {
    /// Makes a database at `path` that holds what `fill` puts into it; complete and synced before
    /// it takes the place of what is there. `fill` answers with the revision that it reaches.
    pub(super) fn create(
        path: &Path,
        cache_bytes: u64,
        fill: impl FnOnce(&Self) -> Result<Revision, StoreError>,
    ) -> Result<Self, StoreError> {
        let mut id = IndexId::default();
        getrandom::fill(&mut id).map_err(|error| StoreError::Open {
            path: path.to_path_buf(),
            what: format!("the system's random generator failed: {error}"),
        })?;
        let fresh = path.with_extension("new");
        files::remove_dir(&fresh)?;
        let db = open_sled(&fresh, cache_bytes)?;
        db.insert(KEY_ID, &id).map_err(|error| broken(&fresh, &error))?;
        let index = Self::new(db, fresh.clone(), id);
        let revision = fill(&index)?;
        index.set_applied(revision)?;
        let calls = sync::calls();
        index.sync()?;
        if sync::calls() == calls {
            return Err(StoreError::Open {
                path: path.to_path_buf(),
                what: "this build does not sync sled's file (sync_file_range is not replaced)"
                    .into(),
            });
        }
        drop(index);
        for name in files::names(&fresh)? {
            let part = fresh.join(name);
            File::open(&part).and_then(|part| part.sync_all()).io(&part)?;
        }
        files::sync_dir(&fresh)?;
        files::remove_dir(path)?;
        fs::rename(&fresh, path).io(path)?;
        path.parent().map_or(Ok(()), files::sync_dir)?;
        Self::open(path, cache_bytes)
    }

    /// Opens a database that [`Index::create`] made.
    pub(super) fn open(path: &Path, cache_bytes: u64) -> Result<Self, StoreError> {
        if !path.join("db").is_file() {
            return Err(StoreError::Open {
                path: path.to_path_buf(),
                what: "no index here".into(),
            });
        }
        let db = open_sled(path, cache_bytes)?;
        let id = guarded(path, || db.get(KEY_ID))?
            .and_then(|id| IndexId::try_from(id.as_ref()).ok())
            .ok_or_else(|| files::damaged(path, 0, "the index has lost its id"))?;
        Ok(Self::new(db, path.to_path_buf(), id))
    }

    fn new(db: sled::Db, path: PathBuf, id: IndexId) -> Self {
        let last = LastHandle(Some(db.clone()));
        Self { db, path, id, _last: last }
    }

    /// Names this database.
    pub(super) const fn id(&self) -> IndexId {
        self.id
    }

    /// The revision up to which everything was applied.
    pub(super) fn applied(&self) -> Result<Revision, StoreError> {
        guarded(&self.path, || self.db.get(KEY_APPLIED))?
            .and_then(|bytes| <[u8; 8]>::try_from(bytes.as_ref()).ok())
            .map(|bytes| Revision::new(u64::from_be_bytes(bytes)))
            .ok_or_else(|| files::damaged(&self.path, 0, "the index does not say how far it is"))
    }

    /// The value of `key`.
    pub(super) fn get(&self, key: &[u8]) -> Result<Option<Versioned>, StoreError> {
        let found = self.db.get(stored_key(key)).map_err(|error| broken(&self.path, &error))?;
        found.map(|value| self.versioned(&value)).transpose()
    }

    fn versioned(&self, stored: &[u8]) -> Result<Versioned, StoreError> {
        let (revision, value) = stored
            .split_first_chunk()
            .ok_or_else(|| files::damaged(&self.path, 0, "a value without its revision"))?;
        let revision = Revision::new(u64::from_be_bytes(*revision));
        Ok(Versioned { revision, value: Bytes::copy_from_slice(value) })
    }

    /// The rows of a range, lazily.
    pub(super) fn rows<'a>(
        &'a self,
        range: &KeyRange,
        order: Order,
    ) -> Box<dyn Iterator<Item = Result<Row, StoreError>> + 'a> {
        use std::ops::Bound::{Excluded, Included, Unbounded};
        let (from, to) = bounds(range);
        let from = match from {
            Unbounded => Included(vec![USER]),
            Included(key) => Included(stored_key(key)),
            Excluded(key) => Excluded(stored_key(key)),
        };
        let to = match to {
            Unbounded => Excluded(vec![USER + 1]),
            Included(key) => Included(stored_key(key)),
            Excluded(key) => Excluded(stored_key(key)),
        };
        let found = self.db.range::<Vec<u8>, _>((from, to));
        let row = |item: sled::Result<(IVec, IVec)>| {
            let (key, value) = item.map_err(|error| broken(&self.path, &error))?;
            let Versioned { revision, value } = self.versioned(&value)?;
            Ok(Row {
                key: Bytes::copy_from_slice(key.get(1..).unwrap_or_default()),
                revision,
                value,
            })
        };
        match order {
            Order::Ascending => Box::new(found.map(row)),
            Order::Descending => Box::new(found.rev().map(row)),
        }
    }

    /// Brings one key to its newest write. Not synced.
    pub(super) fn apply(&self, key: &[u8], slot: &Slot) -> Result<(), StoreError> {
        let stored = stored_key(key);
        let outcome = match &slot.value {
            None => self.db.remove(stored),
            Some(value) => {
                let mut bytes = BytesMut::with_capacity(8 + value.len());
                bytes.put_u64(slot.revision.get());
                bytes.put_slice(value);
                self.db.insert(stored, bytes.as_ref())
            }
        };
        outcome.map(drop).map_err(|error| broken(&self.path, &error))
    }

    /// Says that everything up to `revision` was applied. Not synced.
    pub(super) fn set_applied(&self, revision: Revision) -> Result<(), StoreError> {
        let number = revision.get().to_be_bytes();
        let outcome = self.db.insert(KEY_APPLIED, &number);
        outcome.map(drop).map_err(|error| broken(&self.path, &error))
    }

    /// Puts everything that was applied on stable storage.
    pub(super) fn sync(&self) -> Result<(), StoreError> {
        self.db.flush().map_err(|error| broken(&self.path, &error))?;
        // Pages over a quarter of a segment land here. Values are bounded so that there are none;
        // if there ever are, they are made durable all the same.
        let blobs = self.path.join("blobs");
        if blobs.is_dir() {
            for name in files::names(&blobs)? {
                let file = blobs.join(name);
                File::open(&file).and_then(|file| file.sync_all()).io(&file)?;
            }
            files::sync_dir(&blobs)?;
        }
        files::sync_dir(&self.path)
    }

    /// Bytes that the database takes on the disk.
    pub(super) fn disk_bytes(&self) -> Result<u64, StoreError> {
        self.db.size_on_disk().map_err(|error| broken(&self.path, &error))
    }
}

fn broken(path: &Path, error: &sled::Error) -> StoreError {
    StoreError::Open { path: path.to_path_buf(), what: format!("sled: {error}") }
}

/// How long to wait for sled to let go of a database that this process has just closed.
const LOCK_WAIT: Duration = Duration::from_secs(10);
/// A pause between two tries.
const LOCK_PAUSE: Duration = Duration::from_millis(2);

/// Opens sled. Its threads may hold a database's lock for a moment after its last handle is gone;
/// the data directory's own lock says that nobody else can hold it.
fn open_sled(path: &Path, cache_bytes: u64) -> Result<sled::Db, StoreError> {
    let config = sled::Config::new()
        .path(path)
        .cache_capacity(cache_bytes)
        .segment_size(SLED_SEGMENT_BYTES)
        .flush_every_ms(None)
        .use_compression(false);
    let since = Instant::now();
    loop {
        let locked = |error: &sled::Error| match error {
            sled::Error::Io(error) => error.to_string().contains("could not acquire lock"),
            _ => false,
        };
        match guarded(path, || Ok(config.open()))? {
            Err(error) if locked(&error) && since.elapsed() < LOCK_WAIT => {
                thread::park_timeout(LOCK_PAUSE);
            }
            opened => return opened.map_err(|error| broken(path, &error)),
        }
    }
}

/// sled's recovery may panic on what a crash left: that is an error like any other here.
fn guarded<T>(path: &Path, f: impl FnOnce() -> sled::Result<T>) -> Result<T, StoreError> {
    match panic::catch_unwind(AssertUnwindSafe(f)) {
        Ok(outcome) => outcome.map_err(|error| broken(path, &error)),
        Err(_) => Err(StoreError::Open { path: path.to_path_buf(), what: "sled panicked".into() }),
    }
}
