//! Stage `queue`: the bounded queue of commands, and the thread that executes the next one.
//!
//! The caller that enqueues a command drains the queue if the executor is free. So mostly a command
//! is executed on the thread that brought it: no other thread is woken, and the data stays in the
//! caches of one core. A caller that finds the executor taken returns at once, and the holder sees
//! the command before it returns. The executor's own thread executes what may take long or block
//! (due timers, long commands, a store without free space), and what is left after a moment. The
//! order is the queue's, whichever thread executes; only after a long wait do actors take turns
//! (`lanes`).
//!
//! A caller's thread serves other connections, and the cost of a command is not known in advance: a
//! record may not be cached, a definition not compiled, a workflow long. So after a caller was held
//! too long, the executor's thread executes everything for many times as long.

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicBool, AtomicIsize, Ordering, fence};
use std::sync::mpsc::{self, Receiver, SyncSender, TrySendError};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::admission::{AdmissionControl, Permit, QUEUE_MAX};
use super::executor::{Executor, Fatal};
use super::job::{CommandJob, QueueItem};
use super::lanes::{Lanes, is_late};
use super::watchdog::{ExecutorFigures, Watchdog, WorkItem};
use crate::app::STACK_BYTES;
use crate::engine::{Actor, Command, Refusal};
use crate::types::{Span, Time};

/// Refusal of a command that finds the queue full.
const BUSY: Refusal = Refusal::Busy { retry_after: Span::from_seconds(1) };

/// A caller stops taking commands from the queue after this time.
const CALLER_TIME: Duration = Duration::from_millis(1);

/// Longest time that a caller may be held: by one command, or because its thread had to wait for a
/// core. After it, callers are spared.
const CALLER_TIME_MAX: Duration = Duration::from_millis(5);

/// Time for which callers are spared, as a multiple of the time that one was held too long. So
/// callers lose at most 2 % of their time.
const SPARED_FACTOR: u32 = 50;

/// Longest time for which callers are spared: a machine that stood still for long says nothing
/// about what comes.
const SPARED_MAX: Duration = Duration::from_secs(10);

/// Longest sleep of the executor's thread.
const SLEEP_MAX: Span = Span::from_seconds(10);

/// The queue and the executor, whose thread ends when the queue is dropped.
pub(in crate::app) struct Queue {
    shared: Arc<Shared>,
    /// Set once, when no more commands are accepted.
    closing: AtomicBool,
    sender: SyncSender<QueueItem>,
    admission: Arc<AdmissionControl>,
    watchdog: Arc<Watchdog>,
    executor: Mutex<Option<JoinHandle<()>>>,
    /// Handle of the executor's thread, to wake it.
    thread: thread::Thread,
}

struct Shared {
    /// Number of items in the queue. It is negative for a moment, since an item is counted after it
    /// was sent; a caller that comes in that moment relies on the one that counts next, which is
    /// about to lock the state.
    depth: AtomicIsize,
    /// `None`: the executor has ended.
    state: Mutex<Option<ExecutorState>>,
    /// Set when no item can be sent any more.
    abandoned: AtomicBool,
    stop: watch::Sender<Option<String>>,
}

/// The executor and what it executes next; one thread at a time has it.
struct ExecutorState {
    executor: Executor,
    items: Receiver<QueueItem>,
    /// Commands that take turns by actor while the executor is behind.
    lanes: Lanes,
    /// An item behind the commands of the lanes that is no command.
    barrier: Option<QueueItem>,
    /// An item that a caller left to the executor's thread. It comes first.
    left: Option<QueueItem>,
    /// Commands that wait for a due timer, by its time and in the order of their arrival. Their
    /// permits bound them.
    waiting: BTreeMap<(Time, u64), Box<CommandJob>>,
    /// Number of commands that have waited, for the keys of `waiting`.
    waited: u64,
    /// Until then due timers leave the executor to commands.
    timers_rest_until: Instant,
    watchdog: Arc<Watchdog>,
    /// Time at which the executor's thread wakes by itself.
    sleeps_until: Time,
    /// Until then callers execute nothing.
    spared_until: Option<Instant>,
}

/// Reason for which a thread stops draining the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum DrainResult {
    /// Nothing is left.
    Empty,
    /// Something is left for the executor's thread.
    NeedsThread,
}

impl Queue {
    /// Starts the executor's thread. At most `bytes_max` of commands wait. `stop` receives the
    /// reason when the executor ends for another reason than a close.
    pub(in crate::app) fn start(
        executor: Executor,
        bytes_max: usize,
        stop: watch::Sender<Option<String>>,
    ) -> std::io::Result<Self> {
        let (sender, items) = mpsc::sync_channel(QUEUE_MAX);
        let watchdog = Arc::new(Watchdog::new());
        let state = ExecutorState {
            executor,
            items,
            lanes: Lanes::default(),
            barrier: None,
            left: None,
            waiting: BTreeMap::new(),
            waited: 0,
            timers_rest_until: Instant::now(),
            watchdog: Arc::clone(&watchdog),
            sleeps_until: Time::ZERO,
            spared_until: None,
        };
        let shared = Arc::new(Shared {
            depth: AtomicIsize::new(0),
            state: Mutex::new(Some(state)),
            abandoned: AtomicBool::new(false),
            stop,
        });
        let runs = Arc::clone(&shared);
        let executor = thread::Builder::new()
            .name("executor".to_owned())
            .stack_size(STACK_BYTES)
            .spawn(move || runs.run())?;
        let thread = executor.thread().clone();
        let executor = Mutex::new(Some(executor));
        let (closing, admission) =
            (AtomicBool::new(false), Arc::new(AdmissionControl::new(bytes_max)));
        Ok(Self { shared, closing, sender, admission, watchdog, executor, thread })
    }

    /// Returns the number of items in the queue.
    pub(in crate::app) fn depth(&self) -> usize {
        self.shared.depth.load(Ordering::Acquire).try_into().unwrap_or(0)
    }

    /// Returns why the executor does not move although it has something to do.
    pub(in crate::app) fn stuck(&self, now: Instant) -> Option<String> {
        self.watchdog.stuck(self.depth(), now)
    }

    /// Returns the measurements of the executor.
    pub(in crate::app) fn figures(&self) -> ExecutorFigures {
        self.watchdog.figures()
    }

    /// Returns the memory of the commands that wait, in bytes.
    pub(in crate::app) fn bytes(&self) -> usize {
        self.admission.bytes()
    }

    /// Reserves a command's share of the queue.
    ///
    /// # Errors
    /// [`Refusal::Busy`] if too much waits, in all or of this actor.
    pub(super) fn reserve(
        &self,
        actor: &Actor,
        address: Option<&str>,
        command: &Command,
    ) -> Result<Permit, Refusal> {
        self.admission.admit(actor, address, command).ok_or(BUSY)
    }

    /// Wakes the executor's thread, which fires due timers.
    pub(in crate::app) fn wake(&self) {
        self.thread.unpark();
    }

    /// Puts an item into the queue and drains the queue if the executor is free.
    pub(in crate::app) fn enqueue(&self, item: QueueItem) -> Result<(), (QueueItem, Refusal)> {
        if self.closing.load(Ordering::Acquire) {
            return Err((item, Refusal::Stopping));
        }
        self.sender.try_send(item).map_err(|error| match error {
            TrySendError::Full(item) => (item, BUSY),
            TrySendError::Disconnected(item) => (item, Refusal::Stopping),
        })?;
        if self.shared.depth.fetch_add(1, Ordering::AcqRel) <= 0 {
            self.watchdog.note_move(Instant::now());
        }
        if self.shared.drain_as_caller() == DrainResult::NeedsThread {
            self.thread.unpark();
        }
        Ok(())
    }

    /// Returns whether no thread has the executor now.
    #[cfg(test)]
    pub(in crate::app) fn is_free(&self) -> bool {
        self.shared.state.try_lock().is_ok()
    }

    /// Accepts no more commands, executes the accepted ones, and ends the executor.
    pub(in crate::app) async fn close(&self) {
        self.closing.store(true, Ordering::Release);
        while let Err(TrySendError::Full(_)) = self.sender.try_send(QueueItem::Close) {
            tokio::task::yield_now().await;
        }
        self.shared.depth.fetch_add(1, Ordering::AcqRel);
        self.thread.unpark();
        let executor = self.executor.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(executor) = executor
            && tokio::task::spawn_blocking(move || executor.join()).await.is_err()
        {
            tracing::error!("the executor's thread could not be joined");
        }
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        self.shared.abandoned.store(true, Ordering::Release);
        self.thread.unpark();
    }
}

impl Shared {
    /// Runs the executor's thread.
    fn run(&self) {
        // No caller executes a command before this thread has looked for due timers once.
        let backfilled = self.with(self.lock(), |state| state.executor.backfill_counts());
        if backfilled.is_none() {
            return;
        }
        while let Some(Some(sleep)) = self.with(self.lock(), |state| state.drain(self)) {
            // As in `drain_as_caller`; but a caller that comes from here on wakes this thread.
            fence(Ordering::SeqCst);
            if self.depth.load(Ordering::Acquire) <= 0 && !self.abandoned.load(Ordering::Acquire) {
                thread::park_timeout(sleep);
            }
        }
        *self.lock() = None;
    }

    /// Drains the queue on the thread of a caller that has just enqueued an item.
    fn drain_as_caller(&self) -> DrainResult {
        let since = Instant::now();
        loop {
            // A caller that counts an item and then finds the state locked relies on the holder,
            // which looks at the count after it has unlocked the state: one of both comes later in
            // the single order of these fences.
            fence(Ordering::SeqCst);
            let state = match self.state.try_lock() {
                Ok(state) => state,
                Err(TryLockError::Poisoned(state)) => state.into_inner(),
                Err(TryLockError::WouldBlock) => return DrainResult::Empty,
            };
            match self.with(state, |state| state.try_drain(&self.depth, since)) {
                Some(DrainResult::Empty) => {}
                Some(DrainResult::NeedsThread) => return DrainResult::NeedsThread,
                None => return DrainResult::Empty,
            }
            fence(Ordering::SeqCst);
            if self.depth.load(Ordering::Acquire) <= 0 {
                return DrainResult::Empty;
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<ExecutorState>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs an action on the state. Returns `None` if the executor has ended, by this action or
    /// before. An end for another reason than a close ends the process.
    fn with<T>(
        &self,
        mut state: MutexGuard<'_, Option<ExecutorState>>,
        act: impl FnOnce(&mut ExecutorState) -> Result<T, Fatal>,
    ) -> Option<T> {
        let open = state.as_mut()?;
        let reason = match std::panic::catch_unwind(AssertUnwindSafe(|| act(open))) {
            Ok(Ok(done)) => return Some(done),
            Ok(Err(Fatal(reason))) => reason,
            Err(_) => "the executor panicked; see the log above".to_owned(),
        };
        // Drops the replies of all commands that wait, which tells their callers.
        *state = None;
        self.depth.store(0, Ordering::Release);
        // `parent: None`: the reason is not the request that happens to run here.
        tracing::error!(parent: None, reason, "the executor has ended; the server stops");
        self.stop.send_replace(Some(reason));
        None
    }
}

impl ExecutorState {
    fn next(&mut self, depth: &AtomicIsize) -> Option<QueueItem> {
        let first = self.left.take().or_else(|| self.next_unblocked().map(QueueItem::Command));
        first.or_else(|| {
            let next = self.next_of_queue()?;
            depth.fetch_sub(1, Ordering::AcqRel);
            Some(next)
        })
    }

    /// Returns the next item: in the order of the queue, or, while commands wait for long, of the
    /// actor whose turn it is.
    fn next_of_queue(&mut self) -> Option<QueueItem> {
        if self.lanes.is_empty() {
            let next = self.barrier.take().or_else(|| self.items.try_recv().ok())?;
            match next {
                QueueItem::Command(job) if is_late(&job, Instant::now()) => self.lanes.push(job),
                next => return Some(next),
            }
        }
        while self.barrier.is_none()
            && let Ok(item) = self.items.try_recv()
        {
            match item {
                QueueItem::Command(job) => self.lanes.push(job),
                other => self.barrier = Some(other),
            }
        }
        self.lanes.pop(Instant::now()).map(QueueItem::Command)
    }

    /// Returns a command that has waited for a timer which has fired.
    fn next_unblocked(&mut self) -> Option<Box<CommandJob>> {
        let first = self.waiting.first_entry()?;
        let (due, _) = *first.key();
        self.executor.has_fired(due).then(|| first.remove())
    }

    /// Executes a command, or lets it wait for a due timer of what it touches.
    fn execute(&mut self, now: Time, job: Box<CommandJob>) -> Result<(), Fatal> {
        let item = WorkItem { kind: job.command.name(), route: job.route };
        let request = Arc::clone(&job.request);
        let (quota_owner, began) = (job.quota_owner(), Instant::now());
        let waits = self.measured(item, &request, |state| state.executor.execute(now, job))?;
        if !self.lanes.is_empty() {
            self.lanes.charge(quota_owner, began.elapsed());
        }
        if let Some(job) = waits {
            let due = job.waited_for.unwrap_or(now);
            self.waiting.insert((due, self.waited), job);
            self.waited += 1;
        }
        Ok(())
    }

    /// Runs some work and measures it.
    fn measured<T>(
        &mut self,
        item: WorkItem,
        request: &str,
        work: impl FnOnce(&mut Self) -> Result<T, Fatal>,
    ) -> Result<T, Fatal> {
        let began = Instant::now();
        self.watchdog.begin(item, began);
        let done = work(self);
        let ended = Instant::now();
        self.watchdog.end(item, request, ended, ended - began);
        done
    }

    /// Fires some of the due timers. Further ones wait for as long as these took, so that commands
    /// get as much time as timers.
    fn fire_some(&mut self) -> Result<(), Fatal> {
        let began = Instant::now();
        self.measured(TIMERS, "", |state| state.executor.fire_some())?;
        let ended = Instant::now();
        self.timers_rest_until = ended + (ended - began);
        Ok(())
    }

    fn sweep(&mut self) -> Result<(), Fatal> {
        self.measured(SWEEP, "", |state| state.executor.sweep())
    }

    /// Executes the commands that still wait, after the timers that they wait for.
    fn finish(&mut self) -> Result<(), Fatal> {
        while !self.waiting.is_empty() {
            let now = self.executor.fire_due()?;
            if let Some((_, job)) = self.waiting.pop_first() {
                self.execute(now, job)?;
            }
        }
        Ok(())
    }

    /// Drains the queue on a caller's thread, which has been doing this `since` then.
    fn try_drain(&mut self, depth: &AtomicIsize, since: Instant) -> Result<DrainResult, Fatal> {
        if self.spared_until.is_some_and(|until| Instant::now() < until) {
            return Ok(DrainResult::NeedsThread);
        }
        while since.elapsed() < CALLER_TIME {
            match self.next(depth) {
                Some(QueueItem::Command(job)) => {
                    let Some(now) = self.executor.accepts_at_once(&job.command) else {
                        self.left = Some(QueueItem::Command(job));
                        return Ok(DrainResult::NeedsThread);
                    };
                    self.execute(now, job)?;
                }
                Some(other) => {
                    self.left = Some(other);
                    return Ok(DrainResult::NeedsThread);
                }
                None => {
                    #[cfg(test)]
                    yield_to_other_threads();
                    let needs_thread = self.needs_thread();
                    return Ok(if needs_thread {
                        DrainResult::NeedsThread
                    } else {
                        DrainResult::Empty
                    });
                }
            }
        }
        let held = since.elapsed();
        if held > CALLER_TIME_MAX {
            self.spared_until = Some(Instant::now() + (held * SPARED_FACTOR).min(SPARED_MAX));
        }
        Ok(DrainResult::NeedsThread)
    }

    /// Returns whether the executor's thread has something to do before it would wake by itself.
    fn needs_thread(&self) -> bool {
        self.executor.next_due() < self.sleeps_until
            || self.executor.now() >= self.sleeps_until
            || self.executor.is_sweep_due()
    }

    /// Drains the queue on the executor's thread. Returns how long the thread can sleep, or `None`
    /// if it ends.
    fn drain(&mut self, shared: &Shared) -> Result<Option<Duration>, Fatal> {
        let abandoned = shared.abandoned.load(Ordering::Acquire);
        loop {
            if self.executor.is_behind() && Instant::now() >= self.timers_rest_until {
                self.fire_some()?;
            }
            match self.next(&shared.depth) {
                Some(QueueItem::Command(job)) => {
                    let now = self.executor.now();
                    self.execute(now, job)?;
                    // Here too, since under load the queue is never empty.
                    if self.executor.is_sweep_due() {
                        self.sweep()?;
                    }
                }
                Some(QueueItem::MoveClock { by, reply }) => {
                    self.measured(MOVE_CLOCK, "", |state| state.executor.move_clock(by, reply))?;
                }
                Some(QueueItem::Close) => {
                    self.finish()?;
                    return Ok(None);
                }
                // No command waits, so timers need not rest.
                None if self.executor.is_behind() => self.fire_some()?,
                None => break,
            }
        }
        if abandoned {
            return Ok(None);
        }
        #[cfg(test)]
        yield_to_other_threads();
        if self.executor.now() >= self.sleeps_until || self.executor.is_sweep_due() {
            self.sweep()?;
        }
        // The sweep may have taken a while, and a timer must not be late for it.
        let now = self.executor.now();
        let sleep = self.executor.next_due().since(now).min(SLEEP_MAX);
        self.sleeps_until = now.plus(sleep);
        Ok(Some(Duration::from_millis(sleep.ms())))
    }
}

/// Work of the executor that is no command.
const TIMERS: WorkItem = WorkItem { kind: "timers", route: "" };
const SWEEP: WorkItem = WorkItem { kind: "sweep", route: "" };
const MOVE_CLOCK: WorkItem = WorkItem { kind: "move-clock", route: "" };

/// Lets other threads enqueue at the worst moment: the queue was found empty, and the state is
/// still locked.
#[cfg(test)]
fn yield_to_other_threads() {
    (0..10).for_each(|_| thread::yield_now());
}
