//! What the callers and the three threads of an open store share.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

use super::super::StoreError;
use super::index::Index;
use super::journal::Journal;
use super::options::Options;
use super::room::Room;
use super::segment::Segment;
use super::stage::Stage;
use super::stats::Counters;
use super::tables::Memory;
use super::values::Values;
use crate::types::Revision;

/// An open store, without its threads.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) options: Options,
    pub(super) journal: Arc<Journal>,
    pub(super) memory: Memory,
    pub(super) values: Arc<Values>,
    pub(super) index: Index,
    pub(super) room: Room,
    pub(super) counters: Counters,
    pub(super) stage: Mutex<Stage>,
    /// Wakes the committer: something is staged or soon will be, or memory got lighter.
    pub(super) work: Condvar,
    /// The committer sleeps and must be woken. Written with the stage locked.
    pub(super) committer_sleeps: AtomicBool,
    /// Wakes those who wait in `commit` for room on the stage.
    pub(super) admitted: Condvar,
    /// Segments ready to be written, oldest first.
    pub(super) ready: Mutex<VecDeque<Arc<Segment>>>,
    /// Wakes the committer (one is ready) and the keeper (one was taken).
    pub(super) ready_changed: Condvar,
    /// Wakes the applier: memory is full enough, or the store closes.
    pub(super) apply: Mutex<bool>,
    pub(super) apply_wanted: Condvar,
    /// Bytes of journal that can be written without a new segment.
    pub(super) writable: AtomicU64,
    pub(super) durable: AtomicU64,
    /// No commits are taken any more; the committer ends when its work is done.
    pub(super) closing: AtomicBool,
    /// The committer has ended; the applier ends when its work is done.
    pub(super) drained: AtomicBool,
    /// Threads end at once.
    pub(super) abandoned: AtomicBool,
    failure: watch::Sender<Option<StoreError>>,
}

/// Everything that [`Shared::new`] puts together.
pub(super) struct Parts {
    pub(super) options: Options,
    pub(super) journal: Arc<Journal>,
    pub(super) memory: Memory,
    pub(super) values: Arc<Values>,
    pub(super) index: Index,
    pub(super) room: Room,
    pub(super) stage: Stage,
    pub(super) writable: u64,
    pub(super) ready: VecDeque<Arc<Segment>>,
}

impl Shared {
    pub(super) fn new(parts: Parts) -> Self {
        let durable = parts.memory.read().position.revision.get();
        Self {
            options: parts.options,
            journal: parts.journal,
            memory: parts.memory,
            values: parts.values,
            index: parts.index,
            room: parts.room,
            counters: Counters::default(),
            stage: Mutex::new(parts.stage),
            work: Condvar::new(),
            committer_sleeps: AtomicBool::new(false),
            admitted: Condvar::new(),
            ready: Mutex::new(parts.ready),
            ready_changed: Condvar::new(),
            apply: Mutex::new(false),
            apply_wanted: Condvar::new(),
            writable: AtomicU64::new(parts.writable),
            durable: AtomicU64::new(durable),
            closing: AtomicBool::new(false),
            drained: AtomicBool::new(false),
            abandoned: AtomicBool::new(false),
            failure: watch::Sender::new(None),
        }
    }

    pub(super) fn stage(&self) -> MutexGuard<'_, Stage> {
        self.stage.lock().unwrap_or_else(PoisonError::into_inner)
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
        let waiters = self.stage().stop(why);
        for waiter in waiters {
            // A receipt that nobody awaits any more is no failure.
            waiter.tell(Err(why.clone()));
        }
        self.wake_all();
    }

    /// Wakes every thread, to see a flag that was set before. Each lock is taken once: whoever
    /// looked at the flag too early is waiting by then.
    pub(super) fn wake_all(&self) {
        drop(self.stage());
        self.work.notify_all();
        self.admitted.notify_all();
        drop(self.ready.lock());
        self.ready_changed.notify_all();
        drop(self.apply.lock());
        self.apply_wanted.notify_all();
    }

    /// Tells the applier that there is enough to do.
    pub(super) fn want_apply(&self) {
        let mut wanted = self.apply.lock().unwrap_or_else(PoisonError::into_inner);
        if !*wanted {
            *wanted = true;
            self.apply_wanted.notify_one();
        }
    }

    /// Waits until [`Shared::want_apply`], the end, or this long.
    pub(super) fn await_apply(&self, at_most: Duration) {
        let wanted = self.apply.lock().unwrap_or_else(PoisonError::into_inner);
        let idle = |wanted: &mut bool| !*wanted && !self.is_drained() && !self.is_abandoned();
        let woken = self.apply_wanted.wait_timeout_while(wanted, at_most, idle);
        let (mut wanted, _) = woken.unwrap_or_else(PoisonError::into_inner);
        *wanted = false;
    }
}
