//! The real store: a commit journal in front of sled.
//!
//! ```text
//! commit -> stage -> journal (one write, one fdatasync for all that wait) -> memtables -> sled
//!                       |                                              (in the background)
//!                       +-- snapshot: now and then all records at one revision; old segments may go
//! ```
//!
//! The journal and the snapshot are the truth; sled is the index that serves it and can be made anew
//! from them at any time ([`recovery`]). Three threads: [`committer`] writes the journal,
//! [`compactor`] merges into sled, [`preallocator`] prepares segments and watches the disk space.

mod chain_roots;
mod checkpoint;
mod committer;
mod compactor;
mod disk_space;
mod files;
mod frame;
mod index;
mod journal;
mod layout;
mod memtable;
mod memtables;
mod options;
mod pending_commits;
mod preallocator;
mod recovery;
mod scan;
mod segment;
mod shared;
mod shutdown_marker;
mod snapshot;
mod stats;
#[cfg(test)]
#[allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::match_bool,
    reason = "a test ends where it finds something wrong"
)]
mod tests;
mod value_location;
mod values;
mod verify;

use std::future::Future;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

pub use self::disk_space::DiskSpaceOptions;
pub use self::files::no_directory_above;
pub use self::options::Options;
pub use self::recovery::{OnProgress, OpenProgress};
pub use self::stats::{SYNC_BOUNDS_US, Stats};
pub use self::verify::{VerifyReport, verify, verify_rows};

use self::committer::Committer;
use self::compactor::Compactor;
use self::disk_space::DiskSpace;
use self::layout::Layout;
use self::pending_commits::PendingCommits;
use self::recovery::RecoveredStore;
use self::segment::FIRST_FRAME;
use self::shared::{Shared, SharedParts};
use super::{
    BATCH_BYTES_MAX, Batch, ChainEntry, ChainLink, KeyRange, LogEntry, Order, PAGE_ROWS_MAX, Page,
    Precondition, Receipt, Store, StoreError, Urgency, Versioned, View,
};
use crate::types::Revision;

/// Checks whether a directory could be opened as a store, and changes nothing in it. Returns whether
/// another process has it open.
///
/// # Errors
/// [`StoreError::Open`]
pub fn examine(dir: &std::path::Path) -> Result<bool, StoreError> {
    layout::Layout::examine(dir)
}

/// Maximum time that `commit` waits for space among the pending commits before it answers
/// [`StoreError::Busy`].
const COMMIT_WAIT: Duration = Duration::from_secs(1);

/// An open store on a data directory that is this process's alone.
#[derive(Debug)]
pub struct Durable {
    shared: Arc<Shared>,
    committer: Option<JoinHandle<()>>,
    compactor: Option<JoinHandle<()>>,
    preallocator: Option<JoinHandle<()>>,
    /// Locked until the store is dropped.
    layout: Arc<Layout>,
}

impl Durable {
    /// Opens the store, makes it where there is none, and recovers what a crash left.
    ///
    /// # Errors
    /// [`StoreError::Open`] when the directory is not ours to open, [`StoreError::Damaged`] when
    /// acknowledged commits cannot be told with certainty. Nothing was lost by trying.
    pub fn open(options: Options) -> Result<Self, StoreError> {
        Self::open_with(options, &mut |_| {})
    }

    /// As [`Durable::open`], and tells of its progress.
    ///
    /// # Errors
    /// As [`Durable::open`].
    pub fn open_with(options: Options, progress: OnProgress<'_>) -> Result<Self, StoreError> {
        options.validate()?;
        let layout = Layout::open_or_create(&options.dir)?;
        layout.make_private();
        let disk_space = DiskSpace::open(layout.dir(), layout.ballast(), options.disk_space)?;
        let recovered = recovery::recover(&layout, &options, progress)?;
        if layout.is_new() {
            layout.complete()?;
        }
        let mut salt_key = [0; 32];
        getrandom::fill(&mut salt_key).map_err(|error| StoreError::Open {
            path: options.dir.clone(),
            what: format!("the system's random generator failed: {error}"),
        })?;
        let RecoveredStore {
            journal,
            values,
            index,
            memory,
            checkpoint,
            checkpointed,
            snapshots,
            end,
            segment,
            prepared,
        } = recovered;
        let prepared_bytes: u64 = prepared.iter().map(|next| next.capacity - FIRST_FRAME).sum();
        let shared = Arc::new(Shared::new(SharedParts {
            pending: PendingCommits::new(end, salt_key, options.group_bytes_max()),
            writable: segment.capacity.saturating_sub(end.offset) + prepared_bytes,
            ready: prepared.into(),
            options,
            journal,
            memory,
            values,
            index,
            disk_space,
        }));
        let committer = Committer::new(shared.clone(), segment, end);
        let compactor = Compactor::new(shared.clone(), checkpoint, checkpointed, snapshots)?;
        let entry = shared.clone();
        let mut store = Self {
            shared,
            committer: None,
            compactor: None,
            preallocator: None,
            layout: Arc::new(layout),
        };
        store.committer = Some(store.spawn("abide-journal", || committer.run())?);
        store.compactor = Some(store.spawn("abide-compactor", || compactor.run())?);
        store.preallocator =
            Some(store.spawn("abide-prealloc", move || preallocator::run(&entry))?);
        Ok(store)
    }

    fn spawn(
        &self,
        name: &str,
        run: impl FnOnce() + Send + 'static,
    ) -> Result<JoinHandle<()>, StoreError> {
        let guard = StopOnPanic(self.shared.clone());
        let run = move || {
            run();
            drop(guard);
        };
        thread::Builder::new().name(name.into()).spawn(run).map_err(|error| StoreError::Open {
            path: self.shared.options.dir.clone(),
            what: format!("a thread could not be started: {error}"),
        })
    }

    /// Makes everything that is staged durable, merges it into sled, and ends.
    ///
    /// # Errors
    /// [`StoreError::Failed`] when the store failed, now or before.
    pub fn close(mut self) -> Result<(), StoreError> {
        self.shared.closing.store(true, Ordering::Release);
        self.shared.wake_all();
        join(self.committer.take());
        self.shared.drained.store(true, Ordering::Release);
        self.shared.wake_all();
        join(self.compactor.take());
        let failure = self.shared.failure().borrow().clone();
        let layout = self.layout.clone();
        drop(self);
        failure.map_or(Ok(()), Err)?;
        // A store that cannot be sealed is one that was not closed: its next start recovers it.
        shutdown_marker::put(&layout)
            .unwrap_or_else(|error| tracing::warn!(%error, "could not seal the index"));
        Ok(())
    }

    /// Resolves with the reason when the store has failed. The process must end then.
    pub fn failed(&self) -> impl Future<Output = StoreError> + Send + use<> {
        let mut failure = self.shared.failure();
        async move {
            let failed = failure.wait_for(Option::is_some).await.ok().and_then(|why| why.clone());
            match failed {
                Some(why) => why,
                // The store was closed: there is nothing left that could fail.
                None => std::future::pending().await,
            }
        }
    }

    /// Figures of this store.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let shared = &self.shared;
        let mut stats = Stats {
            durable: shared.durable(),
            staged_bytes: shared.pending().bytes() as u64,
            overlay_bytes: shared.memory.read().bytes() as u64,
            journal_bytes: shared.journal.bytes(),
            free_bytes: shared.disk_space.free(),
            short_of_space: shared.disk_space.is_short(),
            ..Stats::default()
        };
        shared.counters.fill(&mut stats);
        stats
    }

    /// The durable revision and the chain's link there: worth noting elsewhere.
    #[must_use]
    pub fn head(&self) -> (Revision, ChainLink) {
        let position = self.shared.memory.read().position;
        (position.revision, position.link)
    }

    /// An index that cannot be read is the end: commits must not go on while reads fail.
    fn or_stop<T>(&self, read: Result<T, StoreError>) -> Result<T, StoreError> {
        read.map_err(|error| {
            self.shared.fail(&error);
            match error {
                StoreError::Failed(_) => error,
                other => StoreError::Failed(other.to_string().into()),
            }
        })
    }

    /// The revision of the newest commit of `key` that readers may see.
    fn committed(&self, key: &[u8]) -> Result<Option<Versioned>, StoreError> {
        let found = self.shared.memory.read().find(key);
        match found {
            Some(slot) => Ok(slot.value.map(|value| Versioned { revision: slot.revision, value })),
            None => self.shared.index.get(key),
        }
    }

    fn committed_revision(&self, key: &[u8]) -> Result<Option<Revision>, StoreError> {
        let found = self.shared.memory.read().find(key);
        match found {
            Some(slot) => Ok(slot.value.map(|_| slot.revision)),
            None => self.shared.index.revision(key),
        }
    }

    fn check(
        &self,
        pending: &PendingCommits,
        preconditions: &[Precondition],
    ) -> Result<(), StoreError> {
        for (index, precondition) in preconditions.iter().enumerate() {
            let current = match pending.find(precondition.key()) {
                Some(slot) => slot.value.as_ref().map(|_| slot.revision),
                None => self.committed_revision(precondition.key())?,
            };
            if !precondition.holds(current) {
                return Err(StoreError::Conflict { index });
            }
        }
        Ok(())
    }

    /// Whether the pending commits and the journal have room for so many bytes more.
    fn admits(&self, pending: &PendingCommits, bytes: usize, urgency: Urgency) -> bool {
        let options = &self.shared.options;
        // What may be left unused at the end of a segment, and what is kept back.
        let margin = options.batch_bytes_max() as u64
            + match urgency {
                Urgency::Ordinary => options.segment_bytes / 4,
                Urgency::Reserved => 0,
            };
        let needed = (pending.bytes() + bytes) as u64 + margin;
        let staged = pending.bytes() == 0 || pending.bytes() + bytes <= options.staged_bytes_max;
        staged && needed <= self.shared.writable.load(Ordering::Acquire)
    }
}

impl Store for Durable {
    fn get(&self, view: View, key: &[u8]) -> Result<Option<Versioned>, StoreError> {
        if view == View::Staged {
            let pending = self.shared.pending();
            if let Some(slot) = pending.find(key) {
                let revision = slot.revision;
                return Ok(slot.value.clone().map(|value| Versioned { revision, value }));
            }
        }
        self.or_stop(self.committed(key))
    }

    fn get_many(&self, keys: &[&[u8]]) -> Result<(Revision, Vec<Option<Versioned>>), StoreError> {
        let shared = &self.shared;
        // No table is frozen while this is held, so sled keeps still behind what was found here.
        let _still = shared.memory.still();
        let (revision, found) = {
            let memtables = shared.memory.read();
            let found: Vec<_> = keys.iter().map(|key| memtables.find(key)).collect();
            (memtables.position.revision, found)
        };
        let resolve = |(key, slot): (&&[u8], Option<memtables::KeyVersion>)| match slot {
            Some(slot) => Ok(slot.value.map(|value| Versioned { revision: slot.revision, value })),
            None => shared.index.get(key),
        };
        let values = keys.iter().zip(found).map(resolve).collect::<Result<_, _>>();
        Ok((revision, self.or_stop(values)?))
    }

    fn scan(
        &self,
        view: View,
        range: &KeyRange,
        order: Order,
        limit: usize,
    ) -> Result<Page, StoreError> {
        self.or_stop(scan::scan(&self.shared, view, range, order, limit.clamp(1, PAGE_ROWS_MAX)))
    }

    fn anticipate(&self) {
        if self.shared.committer_sleeps.load(Ordering::Relaxed) {
            self.shared.work.notify_one();
        }
    }

    fn admits_at_once(&self) -> bool {
        let bytes = BATCH_BYTES_MAX.min(self.shared.options.batch_bytes_max());
        self.admits(&self.shared.pending(), bytes, Urgency::Ordinary)
    }

    fn commit(&self, batch: Batch) -> Result<Receipt, StoreError> {
        batch.validate()?;
        let shared = &self.shared;
        let bytes = frame::encoded_bytes(&batch);
        if bytes > shared.options.batch_bytes_max() {
            return Err(StoreError::Invalid("the batch is larger than a quarter of a segment"));
        }
        let mut pending = shared.pending();
        let since = Instant::now();
        loop {
            if let Some(stopped) = &pending.stopped {
                return Err(stopped.clone());
            }
            if shared.is_closing() {
                return Err(StoreError::stopped());
            }
            if batch.urgency == Urgency::Ordinary && shared.disk_space.is_short() {
                return Err(StoreError::NoSpace);
            }
            if self.admits(&pending, bytes, batch.urgency) {
                break;
            }
            let left = COMMIT_WAIT.saturating_sub(since.elapsed());
            if left.is_zero() {
                return Err(if shared.disk_space.is_short() {
                    StoreError::NoSpace
                } else {
                    StoreError::Busy
                });
            }
            let waited = shared.admitted.wait_timeout(pending, left);
            pending = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        if let Err(error) = self.check(&pending, &batch.preconditions) {
            drop(pending);
            return match error {
                StoreError::Conflict { .. } => Err(error),
                unreadable => self.or_stop(Err(unreadable)),
            };
        }
        let receipt = pending.push(batch);
        let wake = shared.committer_sleeps.load(Ordering::Relaxed);
        drop(pending);
        if wake {
            shared.work.notify_one();
        }
        Ok(receipt)
    }

    fn durable_at(&self, revision: Revision) -> Receipt {
        let mut pending = self.shared.pending();
        if revision <= self.shared.durable() {
            return Receipt::ready(revision);
        }
        match pending.stopped.clone() {
            None => pending.wait_for(revision),
            Some(stopped) => {
                let (sender, receipt) = Receipt::pending(revision);
                // The receipt is right here to receive it.
                sender.tell(Err(stopped));
                receipt
            }
        }
    }

    fn durable(&self) -> Revision {
        self.shared.durable()
    }

    fn read_log(&self, after: Revision, limit: usize) -> Result<Vec<LogEntry>, StoreError> {
        self.shared.journal.read(after, limit, self.shared.durable())
    }

    fn read_chain(&self, after: Revision, limit: usize) -> Result<Vec<ChainEntry>, StoreError> {
        self.shared.journal.read_chain(after, limit, self.shared.durable())
    }
}

impl Drop for Durable {
    /// Ends the threads without finishing anything: as a kill would.
    fn drop(&mut self) {
        self.shared.stop(&StoreError::stopped());
        for thread in [self.committer.take(), self.compactor.take(), self.preallocator.take()] {
            join(thread);
        }
    }
}

/// A thread of the store that panics stops the store.
struct StopOnPanic(Arc<Shared>);

impl Drop for StopOnPanic {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.fail(&StoreError::Failed("a thread of the store panicked".into()));
        }
    }
}

fn join(thread: Option<JoinHandle<()>>) {
    if let Some(Err(_)) = thread.map(JoinHandle::join) {
        // Told by StopOnPanic already.
        tracing::error!("a thread of the store panicked");
    }
}
