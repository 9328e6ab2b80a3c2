//! Bytes, durably: ordered keys and values, changed by atomic commits that nothing takes back.
//!
//! This layer knows no word of the domain. [`Store`] is the whole seam; there are two
//! implementations, held to one contract suite (`tests/store/contract.rs`):
//!
//! - [`memory::Memory`]: for tests of the layers above; promises nothing about disks;
//! - [`Durable`]: the real one, a journal in front of sled.
//!
//! What a `Store` promises:
//!
//! 1. A commit is atomic: all of its writes or none, at one [`Revision`], without gaps.
//! 2. Its [`Receipt`] resolves only after the commit is on stable storage.
//! 3. [`View::Committed`] never shows what a crash could take back. [`View::Staged`] shows
//!    the committing thread also the commits that are not on the disk yet; an answer that is made
//!    from it awaits [`Store::durable_at`] of the highest revision that it saw.
//! 4. A page of a scan, and the rows of one [`Store::get_many`], are of one revision.
//! 5. After a failed sync nothing is acknowledged any more ([`StoreError::Failed`]).

use std::ops::Bound;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;

use crate::types::Revision;

pub mod chain;
pub mod durable;
pub mod memory;
mod receipt;
mod sync;
#[cfg(test)]
pub(crate) mod tripping;

pub use self::chain::{ChainEntry, ChainLink};
pub use self::durable::Durable;
pub(crate) use self::receipt::Promise;
pub use self::receipt::Receipt;

/// Longest key, in bytes.
pub const KEY_BYTES_MAX: usize = 512;

/// Longest value, in bytes. Larger things are chunked by the layer above: a larger value would
/// make sled put its page into a file that it never syncs.
pub const VALUE_BYTES_MAX: usize = 64 * 1024;

/// Most writes in one batch.
pub const BATCH_WRITES_MAX: usize = 4096;

/// Most bytes in one batch: keys, values and entry together.
pub const BATCH_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Most rows in one page of a scan.
pub const PAGE_ROWS_MAX: usize = 200;

/// Which commits a read sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum View {
    /// Only what is durable.
    Committed,
    /// Also what is staged and not yet durable. For the one who commits.
    Staged,
}

/// A value and the revision of the commit that wrote it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Versioned {
    /// The commit that wrote it.
    pub revision: Revision,
    /// The value.
    pub value: Bytes,
}

/// A key with its value, as a scan finds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// The key.
    pub key: Bytes,
    /// The commit that wrote it.
    pub revision: Revision,
    /// The value.
    pub value: Bytes,
}

/// An interval of keys, in byte order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyRange {
    /// Where it begins.
    pub from: Bound<Bytes>,
    /// Where it ends.
    pub to: Bound<Bytes>,
}

impl KeyRange {
    /// Every key.
    #[must_use]
    pub const fn all() -> Self {
        Self { from: Bound::Unbounded, to: Bound::Unbounded }
    }

    /// Every key that begins with `prefix`.
    #[must_use]
    pub fn prefix(prefix: &[u8]) -> Self {
        let mut end = prefix.to_vec();
        while end.pop_if(|byte| *byte == u8::MAX).is_some() {}
        let to = match end.last_mut() {
            Some(byte) => {
                *byte += 1;
                Bound::Excluded(Bytes::from(end))
            }
            None => Bound::Unbounded,
        };
        Self { from: Bound::Included(Bytes::copy_from_slice(prefix)), to }
    }

    /// The same interval, but only what comes after `key`: the next page of a forward scan.
    #[must_use]
    pub fn after(self, key: Bytes) -> Self {
        Self { from: Bound::Excluded(key), ..self }
    }

    /// The same interval, but only what comes before `key`: the next page of a backward scan.
    #[must_use]
    pub fn before(self, key: Bytes) -> Self {
        Self { to: Bound::Excluded(key), ..self }
    }
}

/// The order of a scan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Smallest key first.
    Ascending,
    /// Largest key first.
    Descending,
}

/// One page of a scan, of one revision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// The revision that the page shows.
    pub revision: Revision,
    /// The rows in the order asked for.
    pub rows: Vec<Row>,
    /// Where to go on ([`KeyRange::after`] or [`KeyRange::before`] it); `None`: nothing is left.
    /// A page that has a `next` is full: nobody mistakes deleted rows for the end.
    pub next: Option<Bytes>,
}

/// Condition of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Precondition {
    /// The key has no value.
    Absent(Bytes),
    /// The key's value is the one that this commit wrote.
    Unchanged(Bytes, Revision),
}

impl Precondition {
    /// The key that it speaks of.
    #[must_use]
    pub const fn key(&self) -> &Bytes {
        match self {
            Self::Absent(key) | Self::Unchanged(key, _) => key,
        }
    }

    /// Whether it holds where the key is at `current` (`None`: it has no value).
    #[must_use]
    pub fn holds(&self, current: Option<Revision>) -> bool {
        match self {
            Self::Absent(_) => current.is_none(),
            Self::Unchanged(_, revision) => current == Some(*revision),
        }
    }
}

/// One write of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Write {
    /// The key.
    pub key: Bytes,
    /// Its new value; `None` deletes it.
    pub value: Option<Bytes>,
}

impl Write {
    /// Gives `key` this value.
    #[must_use]
    pub fn put(key: impl Into<Bytes>, value: impl Into<Bytes>) -> Self {
        Self { key: key.into(), value: Some(value.into()) }
    }

    /// Deletes `key`.
    #[must_use]
    pub fn delete(key: impl Into<Bytes>) -> Self {
        Self { key: key.into(), value: None }
    }
}

/// Whether a batch may use the room that is kept back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Urgency {
    /// Refused with [`StoreError::NoRoom`] once the disk runs short.
    #[default]
    Ordinary,
    /// Logout, cancel, timers: may use the reserve.
    Reserved,
}

/// Everything that one request changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    /// The time of the commit, in milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// Conditions; if one does not hold, nothing is committed ([`StoreError::Conflict`]).
    pub preconditions: Vec<Precondition>,
    /// Writes. A key at most once.
    pub writes: Vec<Write>,
    /// Entry of the log beside the writes: actor, request, events. May be empty.
    pub entry: Bytes,
    /// Whether it may use the reserve of room.
    pub urgency: Urgency,
}

/// One commit as the log has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogEntry {
    /// The commit's revision.
    pub revision: Revision,
    /// Its time, in milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// The batch's entry.
    pub entry: Bytes,
    /// The batch's writes.
    pub writes: Vec<Write>,
}

/// Why the store did not do what was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// A precondition did not hold; nothing changed.
    #[error("precondition {index} of the batch does not hold")]
    Conflict {
        /// Its index in [`Batch::preconditions`].
        index: usize,
    },
    /// A batch over one of its limits, or malformed; nothing changed.
    #[error("the batch is not valid: {0}")]
    Invalid(&'static str),
    /// More is waiting for the disk than the configuration allows; try again soon.
    #[error("too much is waiting for the disk")]
    Busy,
    /// The disk is nearly full and the batch was an ordinary one; nothing changed.
    #[error("no room: the disk of the data directory is nearly full")]
    NoSpace,
    /// The log no longer has what was asked for.
    #[error("the log begins after revision {oldest}")]
    Gone {
        /// The log can be read after this revision.
        oldest: Revision,
    },
    /// A write or a sync failed. Nothing is acknowledged any more; what was not acknowledged has
    /// an unknown outcome. The process must end; the restart decides.
    #[error("the store has stopped: {0}")]
    Failed(Arc<str>),
    /// Bytes on the disk are not what was written.
    #[error("{}: damaged at byte {offset}: {what}", file.display())]
    Damaged {
        /// The file.
        file: PathBuf,
        /// Where in it.
        offset: u64,
        /// Description of the damage.
        what: String,
    },
    /// Opening failed for a reason that is not damage.
    #[error("{}: {what}", path.display())]
    Open {
        /// The path that it is about.
        path: PathBuf,
        /// Description of the fault, and what to do.
        what: String,
    },
}

impl StoreError {
    pub(crate) fn stopped() -> Self {
        Self::Failed("it was closed".into())
    }
}

/// Ordered bytes under atomic, durable commits. See the module for what is promised.
///
/// Reads may wait for a disk for some ten microseconds; `commit` only stages and does not wait
/// for a sync.
pub trait Store: Send + Sync {
    /// The value of `key`.
    ///
    /// # Errors
    /// [`StoreError::Failed`] when the index cannot be read.
    fn get(&self, view: View, key: &[u8]) -> Result<Option<Versioned>, StoreError>;

    /// The values of several keys at one revision of [`View::Committed`].
    ///
    /// # Errors
    /// As [`Store::get`].
    fn get_many(&self, keys: &[&[u8]]) -> Result<(Revision, Vec<Option<Versioned>>), StoreError>;

    /// One page of `limit` rows (1 to [`PAGE_ROWS_MAX`]) of a range; of fewer only where nothing is
    /// left.
    ///
    /// # Errors
    /// As [`Store::get`].
    fn scan(
        &self,
        view: View,
        range: &KeyRange,
        order: Order,
        limit: usize,
    ) -> Result<Page, StoreError>;

    /// Announces that a commit may follow: threads that it needs are woken now, while it is being
    /// decided. A hint that may be left out and may prove wrong.
    fn anticipate(&self) {}

    /// Whether a batch that is neither large nor urgent would be staged now without waiting for
    /// room. Who alone commits can rely on it for its next commit.
    fn admits_at_once(&self) -> bool {
        true
    }

    /// Stages a batch: [`View::Staged`] shows it at once, [`View::Committed`] when it is durable.
    /// Batches become durable in the order in which they were staged.
    ///
    /// # Errors
    /// Nothing has changed after any error but [`StoreError::Failed`].
    fn commit(&self, batch: Batch) -> Result<Receipt, StoreError>;

    /// Resolves when everything up to `revision` is durable.
    fn durable_at(&self, revision: Revision) -> Receipt;

    /// The last durable revision.
    fn durable(&self) -> Revision;

    /// Up to `limit` durable commits after `after`, oldest first; empty: none yet.
    ///
    /// # Errors
    /// [`StoreError::Gone`] when the log was cut after `after`; [`StoreError::Damaged`].
    fn read_log(&self, after: Revision, limit: usize) -> Result<Vec<LogEntry>, StoreError>;

    /// Reads the same commits as the chain has them: each one's link before it, its salt and its
    /// body. Only for proofs; [`Store::read_log`] returns what a commit did.
    ///
    /// # Errors
    /// As [`Store::read_log`].
    fn read_chain(&self, after: Revision, limit: usize) -> Result<Vec<ChainEntry>, StoreError>;
}

impl Batch {
    /// Checks the limits of this module.
    ///
    /// # Errors
    /// [`StoreError::Invalid`] with the limit that is broken.
    pub fn validate(&self) -> Result<(), StoreError> {
        let keys = self.preconditions.iter().map(Precondition::key);
        let keys = keys.chain(self.writes.iter().map(|write| &write.key));
        let mut bytes = self.entry.len();
        for key in keys {
            if key.is_empty() || key.len() > KEY_BYTES_MAX {
                return Err(StoreError::Invalid("a key must have 1 to 512 bytes"));
            }
            bytes += key.len();
        }
        for value in self.writes.iter().filter_map(|write| write.value.as_ref()) {
            if value.len() > VALUE_BYTES_MAX {
                return Err(StoreError::Invalid("a value must have at most 64 KiB"));
            }
            bytes += value.len();
        }
        if self.writes.len() > BATCH_WRITES_MAX {
            return Err(StoreError::Invalid("a batch must have at most 4096 writes"));
        }
        if bytes > BATCH_BYTES_MAX {
            return Err(StoreError::Invalid("a batch must have at most 4 MiB"));
        }
        if self.has_double_write() {
            return Err(StoreError::Invalid("a batch must write a key at most once"));
        }
        Ok(())
    }

    fn has_double_write(&self) -> bool {
        const FEW: usize = 16;
        if self.writes.len() <= FEW {
            let mut rest = self.writes.as_slice();
            while let [first, others @ ..] = rest {
                if others.iter().any(|other| other.key == first.key) {
                    return true;
                }
                rest = others;
            }
            return false;
        }
        let mut keys: Vec<_> = self.writes.iter().map(|write| &write.key).collect();
        keys.sort_unstable();
        keys.windows(2).any(|pair| pair[0] == pair[1])
    }
}
