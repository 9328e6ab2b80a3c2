//! sled: the index that serves what the journal and the snapshot know.
//!
//! One tree: for each key an [`Entry`](super::place::Entry), which says where the value lies. The
//! values themselves stay where they were written, in the journal and then in a snapshot, but for small
//! ones. Three keys of the index's own begin with a zero byte, which the layer above may use too:
//! they are apart because its keys all get one byte in front.

use std::fs::{self, File};
use std::panic::{self, AssertUnwindSafe};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use sled::IVec;

use super::super::{KeyRange, Order, Row, StoreError, Versioned, sync};
use super::checkpoint::IndexId;
use super::files::{self, Io};
use super::memtables::{MemtableEntry, bounds};
use super::options::Options;
use super::value_location::{self, IndexedContent, IndexedValue, ValueStart};
use super::values::ValueFiles;
use crate::types::Revision;

/// In front of every key of the layer above.
const USER: u8 = 1;
const KEY_ID: &[u8] = b"\0id";
const KEY_APPLIED: &[u8] = b"\0applied";
const KEY_ADOPTED: &[u8] = b"\0adopted";

/// An open sled database.
#[derive(Debug)]
pub(super) struct Index {
    db: sled::Db,
    path: PathBuf,
    id: IndexId,
    values: Arc<ValueFiles>,
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
        options: &Options,
        values: Arc<ValueFiles>,
        fill: impl FnOnce(&Self) -> Result<Revision, StoreError>,
    ) -> Result<Self, StoreError> {
        let mut id = IndexId::default();
        getrandom::fill(&mut id).map_err(|error| StoreError::Open {
            path: path.to_path_buf(),
            what: format!("the system's random generator failed: {error}"),
        })?;
        let fresh = path.with_extension("new");
        files::remove_dir(&fresh)?;
        files::make_dir(&fresh)?;
        let db = open_sled(&fresh, options.sled_cache_bytes, options.sled_segment_bytes)?;
        db.insert(KEY_ID, &id).map_err(|error| broken(&fresh, &error))?;
        let index = Self::new(db, fresh.clone(), id, values.clone());
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
        Self::open(path, options.sled_cache_bytes, values)
    }

    /// Opens a database that [`Index::create`] made.
    pub(super) fn open(
        path: &Path,
        cache_bytes: u64,
        values: Arc<ValueFiles>,
    ) -> Result<Self, StoreError> {
        if !path.join("db").is_file() {
            return Err(StoreError::Open {
                path: path.to_path_buf(),
                what: "no index here".into(),
            });
        }
        let db = open_sled(path, cache_bytes, segment_bytes(path)?)?;
        let id = guarded(path, || db.get(KEY_ID))?
            .and_then(|id| IndexId::try_from(id.as_ref()).ok())
            .ok_or_else(|| files::damaged(path, 0, "the index has lost its id"))?;
        Ok(Self::new(db, path.to_path_buf(), id, values))
    }

    fn new(db: sled::Db, path: PathBuf, id: IndexId, values: Arc<ValueFiles>) -> Self {
        let last = LastHandle(Some(db.clone()));
        Self { db, path, id, values, _last: last }
    }

    /// Names this database.
    pub(super) const fn id(&self) -> IndexId {
        self.id
    }

    /// The revision up to which everything was applied.
    pub(super) fn applied(&self) -> Result<Revision, StoreError> {
        self.own(KEY_APPLIED)?
            .map(Revision::new)
            .ok_or_else(|| files::damaged(&self.path, 0, "the index does not say how far it is"))
    }

    /// The number of the snapshot that everything at or before its revision was moved to; older values
    /// lie nowhere else. `None`: all lie in the journal.
    pub(super) fn adopted(&self) -> Result<Option<u64>, StoreError> {
        self.own(KEY_ADOPTED)
    }

    fn own(&self, key: &[u8]) -> Result<Option<u64>, StoreError> {
        let found = guarded(&self.path, || self.db.get(key))?;
        let number = |bytes: IVec| <[u8; 8]>::try_from(bytes.as_ref()).ok().map(u64::from_be_bytes);
        let what = "one of the index's own entries is no number";
        found
            .map(|found| number(found).ok_or_else(|| files::damaged(&self.path, 0, what)))
            .transpose()
    }

    /// The value of `key`.
    pub(super) fn get(&self, key: &[u8]) -> Result<Option<Versioned>, StoreError> {
        let Some(entry) = self.entry(key)? else { return Ok(None) };
        self.resolve(&stored_key(key), entry)
    }

    /// The revision of `key`'s value, which is not read.
    pub(super) fn revision(&self, key: &[u8]) -> Result<Option<Revision>, StoreError> {
        Ok(self.entry(key)?.map(|entry| entry.revision))
    }

    fn entry(&self, key: &[u8]) -> Result<Option<IndexedValue>, StoreError> {
        let found = self.db.get(stored_key(key)).map_err(|error| broken(&self.path, &error))?;
        found.map(|stored| self.decode(&stored)).transpose()
    }

    fn decode(&self, stored: &[u8]) -> Result<IndexedValue, StoreError> {
        value_location::decode(stored)
            .ok_or_else(|| files::damaged(&self.path, 0, "an entry of the index cannot be read"))
    }

    /// Reads the value of an entry. Where its file is gone, the value was moved meanwhile: then the
    /// index has a newer entry, or none if the key is deleted.
    fn resolve(
        &self,
        stored_key: &[u8],
        entry: IndexedValue,
    ) -> Result<Option<Versioned>, StoreError> {
        let mut entry = entry;
        loop {
            let IndexedValue { revision, content } = entry;
            let location = match content {
                IndexedContent::Small(value) => return Ok(Some(Versioned { revision, value })),
                IndexedContent::Located(location) => location,
            };
            if let Some(value) = self.values.read(&location)? {
                return Ok(Some(Versioned { revision, value }));
            }
            let found = self.db.get(stored_key).map_err(|error| broken(&self.path, &error))?;
            let Some(found) = found else { return Ok(None) };
            entry = self.decode(&found)?;
            if entry.content == IndexedContent::Located(location) {
                let what = format!(
                    "a value lies in {:?}, which is gone; remove this directory, the next start \
                     makes the index anew",
                    location.start.file
                );
                return Err(files::damaged(&self.path, 0, what));
            }
        }
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
            let (key, stored) = item.map_err(|error| broken(&self.path, &error))?;
            let found = self.resolve(&key, self.decode(&stored)?)?;
            Ok(found.map(|Versioned { revision, value }| Row {
                key: Bytes::copy_from_slice(key.get(1..).unwrap_or_default()),
                revision,
                value,
            }))
        };
        match order {
            Order::Ascending => Box::new(found.map(row).filter_map(Result::transpose)),
            Order::Descending => Box::new(found.rev().map(row).filter_map(Result::transpose)),
        }
    }

    /// Brings one key to its newest write. Not synced.
    pub(super) fn apply(&self, key: &[u8], entry: &MemtableEntry) -> Result<(), StoreError> {
        match &entry.slot.value {
            None => self.remove(key),
            Some(value) => self.put(key, entry.slot.revision, value, entry.start),
        }
    }

    /// Lets a key have a value that lies at `spot`. Not synced.
    pub(super) fn put(
        &self,
        key: &[u8],
        revision: Revision,
        value: &[u8],
        start: ValueStart,
    ) -> Result<(), StoreError> {
        let stored = value_location::encode(revision, value, start)?;
        self.done(self.db.insert(stored_key(key), stored.as_ref()))
    }

    /// Lets a key have no value. Not synced.
    pub(super) fn remove(&self, key: &[u8]) -> Result<(), StoreError> {
        self.done(self.db.remove(stored_key(key)))
    }

    /// Lets a key's value lie in a snapshot, if it is still the one of `revision`. Not synced.
    pub(super) fn adopt(
        &self,
        key: &[u8],
        revision: Revision,
        value: &[u8],
        start: ValueStart,
    ) -> Result<(), StoreError> {
        if value_location::is_small(value.len()) {
            return Ok(());
        }
        match self.entry(key)? {
            Some(entry) if entry.revision == revision => self.put(key, revision, value, start),
            _ => Ok(()),
        }
    }

    /// Says that everything at or before the revision of snapshot `number` was moved to it. Not synced.
    pub(super) fn set_adopted(&self, number: u64) -> Result<(), StoreError> {
        self.set_own(KEY_ADOPTED, number)
    }

    /// Says that everything up to `revision` was applied. Not synced.
    pub(super) fn set_applied(&self, revision: Revision) -> Result<(), StoreError> {
        self.set_own(KEY_APPLIED, revision.get())
    }

    fn set_own(&self, key: &[u8], number: u64) -> Result<(), StoreError> {
        self.done(self.db.insert(key, &number.to_be_bytes()))
    }

    fn done(&self, outcome: sled::Result<Option<IVec>>) -> Result<(), StoreError> {
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

/// Maximum time to wait for sled to release a database that this process has just closed.
pub(super) const LOCK_WAIT: Duration = Duration::from_secs(10);
/// A pause between two tries.
pub(super) const LOCK_PAUSE: Duration = Duration::from_millis(2);

/// The size of segments that a database was made with: sled opens it with no other.
fn segment_bytes(path: &Path) -> Result<usize, StoreError> {
    let conf = path.join("conf");
    let bytes = fs::read(&conf).io(&conf)?;
    String::from_utf8_lossy(&bytes)
        .lines()
        .find_map(|line| line.strip_prefix("segment_size: ")?.trim().parse().ok())
        .ok_or_else(|| files::damaged(&conf, 0, "it does not say how large sled's segments are"))
}

/// Opens sled. Its threads may hold a database's lock for a moment after its last handle is gone;
/// the data directory's own lock says that nobody else can hold it.
fn open_sled(path: &Path, cache_bytes: u64, segment_bytes: usize) -> Result<sled::Db, StoreError> {
    let config = sled::Config::new()
        .path(path)
        .cache_capacity(cache_bytes)
        .segment_size(segment_bytes)
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
