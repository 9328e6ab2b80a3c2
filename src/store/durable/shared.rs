//! State that the callers and the three threads of an open store share.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

use super::super::StoreError;
use super::disk_space::DiskSpace;
use super::index::Index;
use super::journal::Journal;
use super::memtables::SharedMemtables;
use super::options::Options;
use super::pending_commits::PendingCommits;
use super::segment::Segment;
use super::stats::StoreCounters;
use super::values::ValueFiles;
use crate::types::Revision;

/// An open store, without its threads.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) options: Options,
    pub(super) journal: Arc<Journal>,
    pub(super) memory: SharedMemtables,
    pub(super) values: Arc<ValueFiles>,
    pub(super) index: Index,
    pub(super) disk_space: DiskSpace,
    pub(super) counters: StoreCounters,
    pub(super) pending: Mutex<PendingCommits>,
    /// Wakes the committer: something is staged or soon will be, or memory got lighter.
    pub(super) work: Condvar,
    /// The committer sleeps and must be woken. Written with the pending commits locked.
    pub(super) committer_sleeps: AtomicBool,
    /// Wakes those who wait in `commit` for room among the pending commits.
    pub(super) admitted: Condvar,
    /// Segments ready to be written, oldest first.
    pub(super) ready: Mutex<VecDeque<Arc<Segment>>>,
    /// Wakes the committer (one is ready) and the preallocator (one was taken).
    pub(super) ready_changed: Condvar,
    /// Wakes the compactor: memory is full enough, or the store closes.
    pub(super) apply: Mutex<bool>,
    pub(super) compaction_wanted: Condvar,
    /// Bytes of journal that can be written without a new segment.
    pub(super) writable: AtomicU64,
    pub(super) durable: AtomicU64,
    /// No commits are taken any more; the committer ends when its work is done.
    pub(super) closing: AtomicBool,
    /// The committer has ended; the compactor ends when its work is done.
    pub(super) drained: AtomicBool,
    /// Threads end at once.
    pub(super) abandoned: AtomicBool,
    failure: watch::Sender<Option<StoreError>>,
}

/// Everything that [`Shared::new`] puts together.
pub(super) struct SharedParts {
    pub(super) options: Options,
    pub(super) journal: Arc<Journal>,
    pub(super) memory: SharedMemtables,
    pub(super) values: Arc<ValueFiles>,
    pub(super) index: Index,
    pub(super) disk_space: DiskSpace,
    pub(super) pending: PendingCommits,
    pub(super) writable: u64,
    pub(super) ready: VecDeque<Arc<Segment>>,
}

impl Shared {
    pub(super) fn new(parts: SharedParts) -> Self {
        let durable = parts.memory.read().position.revision.get();
        Self {
            options: parts.options,
            journal: parts.journal,
            memory: parts.memory,
            values: parts.values,
            index: parts.index,
            disk_space: parts.disk_space,
            counters: StoreCounters::default(),
            pending: Mutex::new(parts.pending),
            work: Condvar::new(),
            committer_sleeps: AtomicBool::new(false),
            admitted: Condvar::new(),
            ready: Mutex::new(parts.ready),
            ready_changed: Condvar::new(),
            apply: Mutex::new(false),
            compaction_wanted: Condvar::new(),
            writable: AtomicU64::new(parts.writable),
            durable: AtomicU64::new(durable),
            closing: AtomicBool::new(false),
            drained: AtomicBool::new(false),
            abandoned: AtomicBool::new(false),
            failure: watch::Sender::new(None),
        }
    }

    pub(super) fn pending(&self) -> MutexGuard<'_, PendingCommits> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn durable(&self) -> Revision {
        Revision::new(self.durable.load(Ordering::Acquire))
    }

    pub(super) fn is_closing(&self) -> bool {
        self.closing.load(Ordering::Acquire)
    }

    pub(super) fn is_drained(&self) -> bool {
        self.drained.load(Ordering::Acquire)
    }

    pub(super) fn is_abandoned(&self) -> bool {
        self.abandoned.load(Ordering::Acquire)
    }

    /// Resolves with the reason when the store fails.
    pub(super) fn failure(&self) -> watch::Receiver<Option<StoreError>> {
        self.failure.subscribe()
    }

    /// Fail stop: from here on nothing is acknowledged.
    pub(super) fn fail(&self, error: &StoreError) {
        let error = match error {
            StoreError::Failed(_) => error.clone(),
            other => StoreError::Failed(other.to_string().into()),
        };
        tracing::error!(parent: None, %error, "the store stops");
        self.stop(&error);
        self.failure.send_if_modified(|failure| {
            let first = failure.is_none();
            failure.get_or_insert(error);
            first
        });
    }

    /// Tells everybody who waits, and every thread, that this is the end.
    pub(super) fn stop(&self, why: &StoreError) {
        self.abandoned.store(true, Ordering::Release);
        let waiters = self.pending().stop(why);
        for waiter in waiters {
            // A receipt that nobody awaits any more is no failure.
            waiter.tell(Err(why.clone()));
        }
        self.wake_all();
    }

    /// Wakes every thread to see a flag that was set before. Each lock is taken once: a thread that
    /// read the flag too early is waiting by then.
    pub(super) fn wake_all(&self) {
        drop(self.pending());
        self.work.notify_all();
        self.admitted.notify_all();
        drop(self.ready.lock());
        self.ready_changed.notify_all();
        drop(self.apply.lock());
        self.compaction_wanted.notify_all();
    }

    /// Tells the compactor that there is enough to do.
    pub(super) fn want_compaction(&self) {
        let mut wanted = self.apply.lock().unwrap_or_else(PoisonError::into_inner);
        if !*wanted {
            *wanted = true;
            self.compaction_wanted.notify_one();
        }
    }

    /// Waits until [`Shared::want_compaction`], the end, or this long.
    pub(super) fn await_compaction(&self, at_most: Duration) {
        let wanted = self.apply.lock().unwrap_or_else(PoisonError::into_inner);
        let idle = |wanted: &mut bool| !*wanted && !self.is_drained() && !self.is_abandoned();
        let woken = self.compaction_wanted.wait_timeout_while(wanted, at_most, idle);
        let (mut wanted, _) = woken.unwrap_or_else(PoisonError::into_inner);
        *wanted = false;
    }
}
