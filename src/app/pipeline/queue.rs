//! The queue of commands, the executor behind it, and who works it off.
//!
//! Whoever puts a command into the queue works the queue off, if nobody else does: mostly a command
//! is decided at once on the thread that it came on, so that no other thread is woken for it and
//! what it needs is in that core's caches. Who finds the executor taken goes on with something
//! else: whoever has it sees the command before he leaves. What may take long or must wait (timers
//! that are due, long commands, a store without room), and what is left after a moment, is for the
//! executor's own thread, which may wait. The order is the queue's, whoever works it off; only where
//! commands have waited for long, actors take turns (`lanes`).
//!
//! A caller's thread has others to serve, and no command can be known to be quick: a record may be
//! cold, a definition not compiled, a workflow long. So where a caller was kept for too long, all
//! callers are spared for many times as long: meanwhile the executor's thread does everything.

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicBool, AtomicIsize, Ordering, fence};
use std::sync::mpsc::{self, Receiver, SyncSender, TrySendError};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::admission::{Admission, Permit};
use super::executor::{Executor, Fatal};
use super::job::{Job, QueueItem};
use super::lanes::{Lanes, is_late};
use super::watchdog::{ExecutorFigures, Watchdog, WorkPiece};
use crate::engine::{Actor, Command, Refusal};
use crate::types::{Span, Time};

/// Most commands that wait for the executor: at some ten microseconds each, the last one waits
/// for some hundredths of a second. Beyond it a caller is told to come back.
pub(in crate::app) const QUEUE_MAX: usize = 4096;

/// How long a caller who found the queue full should wait.
const BUSY: Refusal = Refusal::Busy { retry_after: Span::from_seconds(1) };

/// After so long a caller begins no more commands.
const CALLER_TIME: Duration = Duration::from_millis(1);

/// A caller who was kept for longer was kept for too long: by one command, or because his thread
/// waited for a core meanwhile.
const CALLER_TIME_MAX: Duration = Duration::from_millis(5);

/// For so many times as long as a caller was kept too long, callers are spared; but no longer than
/// this, since a machine that stood still says nothing of what comes.
const SPARED_TIMES: u32 = 50;
const SPARED_MAX: Duration = Duration::from_secs(10);

/// How long the executor's thread sleeps at most before it looks around.
const LOOK_EVERY: Span = Span::from_seconds(10);

/// The queue, its executor and the executor's thread, which ends with it.
pub(in crate::app) struct Queue {
    shared: Arc<Shared>,
    /// Set once: no more commands are taken.
    closing: AtomicBool,
    sender: SyncSender<QueueItem>,
    admission: Arc<Admission>,
    watchdog: Arc<Watchdog>,
    own: Mutex<Option<JoinHandle<()>>>,
    /// The same thread, to be woken.
    thread: thread::Thread,
}

struct Shared {
    /// How much was enqueue into the queue and not taken from it. Below zero for a moment, since it is
    /// counted behind the enqueue; whoever comes then may be seen only by the one who counts next, who
    /// is on his way to the state.
    depth: AtomicIsize,
    /// `None`: the executor has ended.
    state: Mutex<Option<ExecutorState>>,
    /// Nobody can enqueue anything into the queue any more.
    abandoned: AtomicBool,
    stop: watch::Sender<Option<String>>,
}

/// Where commands are done, by one at a time.
struct ExecutorState {
    executor: Executor,
    work: Receiver<QueueItem>,
    /// Commands of the queue that take turns, since the executor is behind.
    lanes: Lanes,
    /// What came behind them and is no command.
    barrier: Option<QueueItem>,
    /// What the one before left to the executor's thread. It comes first.
    left: Option<QueueItem>,
    /// Commands that wait until what is due in what they touch has happened: by that time, and in
    /// the order in which they came. Their permits bound them.
    waiting: BTreeMap<(Time, u64), Box<Job>>,
    /// How many have waited.
    waited: u64,
    /// Until then timers that are late leave the executor to commands.
    timers_rest_until: Instant,
    watchdog: Arc<Watchdog>,
    /// The executor's thread sleeps until then if it is not woken.
    sleeps_until: Time,
    /// Until then callers do nothing here.
    spared_until: Option<Instant>,
}

/// How a caller leaves the state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum DrainResult {
    /// There was nothing more to do.
    Nothing,
    /// There is something that the executor's thread must see.
    Something,
}

impl Queue {
    /// Starts the executor's thread, with commands of at most so many bytes waiting. Whatever ends the executor, but for a close, is told to `stop`.
    pub(in crate::app) fn start(
        executor: Executor,
        bytes_max: usize,
        stop: watch::Sender<Option<String>>,
    ) -> std::io::Result<Self> {
        let (sender, work) = mpsc::sync_channel(QUEUE_MAX);
        let sleeps_until = Time::ZERO;
        let watchdog = Arc::new(Watchdog::new());
        let state = ExecutorState {
            executor,
            work,
            lanes: Lanes::default(),
            barrier: None,
            left: None,
            waiting: BTreeMap::new(),
            waited: 0,
            timers_rest_until: Instant::now(),
            watchdog: Arc::clone(&watchdog),
            sleeps_until,
            spared_until: None,
        };
        let shared = Arc::new(Shared {
            depth: AtomicIsize::new(0),
            state: Mutex::new(Some(state)),
            abandoned: AtomicBool::new(false),
            stop,
        });
        let runs = Arc::clone(&shared);
        let own = thread::Builder::new()
            .name("executor".to_owned())
            .stack_size(crate::app::STACK_BYTES)
            .spawn(move || runs.run())?;
        let thread = own.thread().clone();
        let own = Mutex::new(Some(own));
        let (closing, admission) = (AtomicBool::new(false), Arc::new(Admission::new(bytes_max)));
        Ok(Self { shared, closing, sender, admission, watchdog, own, thread })
    }

    /// How many commands wait.
    pub(in crate::app) fn depth(&self) -> usize {
        self.shared.depth.load(Ordering::Acquire).try_into().unwrap_or(0)
    }

    /// Why the executor does not move, although it should.
    pub(in crate::app) fn stuck(&self, now: Instant) -> Option<String> {
        self.watchdog.stuck(self.depth(), now)
    }

    /// What is measured of the executor.
    pub(in crate::app) fn figures(&self) -> ExecutorFigures {
        self.watchdog.figures()
    }

    /// Memory of what waits, in bytes.
    pub(in crate::app) fn bytes(&self) -> usize {
        self.admission.bytes()
    }

    /// Gives a command its place among what waits.
    ///
    /// # Errors
    /// [`Refusal::Busy`]: all that waits, or what waits of its actor, is too much.
    pub(in crate::app) fn admit(
        &self,
        actor: &Actor,
        address: Option<&str>,
        command: &Command,
    ) -> Result<Permit, Refusal> {
        self.admission.admit(actor, address, command).ok_or(BUSY)
    }

    /// Wakes the executor's thread: what is due fires.
    pub(in crate::app) fn wake(&self) {
        self.thread.unpark();
    }

    /// Puts something into the queue, and works it off if nobody else does.
    pub(in crate::app) fn enqueue(&self, work: QueueItem) -> Result<(), (QueueItem, Refusal)> {
        if self.closing.load(Ordering::Acquire) {
            return Err((work, Refusal::Stopping));
        }
        self.sender.try_send(work).map_err(|error| match error {
            TrySendError::Full(work) => (work, BUSY),
            TrySendError::Disconnected(work) => (work, Refusal::Stopping),
        })?;
        if self.shared.depth.fetch_add(1, Ordering::AcqRel) <= 0 {
            self.watchdog.note_move(Instant::now());
        }
        if self.shared.call() == DrainResult::Something {
            self.thread.unpark();
        }
        Ok(())
    }

    /// Whether no thread has the executor now.
    #[cfg(test)]
    pub(in crate::app) fn is_free(&self) -> bool {
        self.shared.state.try_lock().is_ok()
    }

    /// Takes no more commands, finishes those that were taken, and ends the executor.
    pub(in crate::app) async fn close(&self) {
        self.closing.store(true, Ordering::Release);
        while let Err(TrySendError::Full(_)) = self.sender.try_send(QueueItem::Close) {
            tokio::task::yield_now().await;
        }
        self.shared.depth.fetch_add(1, Ordering::AcqRel);
        self.thread.unpark();
        let own = self.own.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(own) = own
            && tokio::task::spawn_blocking(move || own.join()).await.is_err()
        {
            tracing::error!("the executor could not be waited for");
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
    /// The executor's thread.
    fn run(&self) {
        // Until it has been here no command is done by a caller: a timer might be due.
        if self.at(self.wait(), |state| state.executor.backfill_counts()).is_none() {
            return;
        }
        while let Some(Some(sleep)) = self.at(self.wait(), |state| state.work_off(self)) {
            // As in `call`; but whoever comes from here on wakes this thread if he must.
            fence(Ordering::SeqCst);
            if self.depth.load(Ordering::Acquire) <= 0 && !self.abandoned.load(Ordering::Acquire) {
                thread::park_timeout(sleep);
            }
        }
        *self.wait() = None;
    }

    /// A caller comes with something that he has enqueue into the queue.
    fn call(&self) -> DrainResult {
        let since = Instant::now();
        loop {
            // Whoever counted something before he finds the state taken has it seen below by the
            // one who has the state: one of both is later, in the one order of these fences.
            fence(Ordering::SeqCst);
            let state = match self.state.try_lock() {
                Ok(state) => state,
                Err(TryLockError::Poisoned(state)) => state.into_inner(),
                Err(TryLockError::WouldBlock) => return DrainResult::Nothing,
            };
            match self.at(state, |state| state.try_drain(&self.depth, since)) {
                Some(DrainResult::Nothing) => {}
                Some(DrainResult::Something) => return DrainResult::Something,
                None => return DrainResult::Nothing,
            }
            fence(Ordering::SeqCst);
            if self.depth.load(Ordering::Acquire) <= 0 {
                return DrainResult::Nothing;
            }
        }
    }

    fn wait(&self) -> MutexGuard<'_, Option<ExecutorState>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does something at the state; `None`: the executor has ended, now or before. Whatever ends it
    /// otherwise than by closing ends the process.
    fn at<T>(
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
        // What waits is told that nothing comes of it, since its replies are dropped.
        *state = None;
        self.depth.store(0, Ordering::Release);
        // Not in the name of the request that happens to be here.
        tracing::error!(parent: None, reason, "nothing can be changed any more: the server stops");
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

    /// The next of the queue: in its order, or, where commands wait for long, by whose turn it is.
    fn next_of_queue(&mut self) -> Option<QueueItem> {
        if self.lanes.is_empty() {
            let next = self.barrier.take().or_else(|| self.work.try_recv().ok())?;
            match next {
                QueueItem::Command(job) if is_late(&job, Instant::now()) => self.lanes.push(job),
                next => return Some(next),
            }
        }
        while self.barrier.is_none()
            && let Ok(work) = self.work.try_recv()
        {
            match work {
                QueueItem::Command(job) => self.lanes.push(job),
                other => self.barrier = Some(other),
            }
        }
        self.lanes.pop(Instant::now()).map(QueueItem::Command)
    }

    /// A command for which what was due has happened.
    fn next_unblocked(&mut self) -> Option<Box<Job>> {
        let first = self.waiting.first_entry()?;
        let (due, _) = *first.key();
        self.executor.has_fired(due).then(|| first.remove())
    }

    /// Does a command, or has it wait for what is due in what it touches.
    fn execute(&mut self, now: Time, job: Box<Job>) -> Result<(), Fatal> {
        let piece = WorkPiece { kind: job.command.name(), route: job.route };
        let request = Arc::clone(&job.request);
        let (payer, began) = (job.payer(), Instant::now());
        let waits = self.watched(piece, &request, |state| state.executor.execute(now, job))?;
        if !self.lanes.is_empty() {
            self.lanes.took(payer, began.elapsed());
        }
        if let Some(job) = waits {
            let due = job.waited_for.unwrap_or(now);
            self.waiting.insert((due, self.waited), job);
            self.waited += 1;
        }
        Ok(())
    }

    /// Does a piece of work, and measures it.
    fn watched<T>(
        &mut self,
        piece: WorkPiece,
        request: &str,
        work: impl FnOnce(&mut Self) -> Result<T, Fatal>,
    ) -> Result<T, Fatal> {
        let began = Instant::now();
        self.watchdog.begin(piece, began);
        let done = work(self);
        let ended = Instant::now();
        self.watchdog.end(piece, request, ended, ended - began);
        done
    }

    /// Lets some of what is due fire. What is late then waits for as long as that has taken, so
    /// that commands get as much of the time as timers.
    fn fire_some(&mut self) -> Result<(), Fatal> {
        let began = Instant::now();
        self.watched(TIMERS, "", |state| state.executor.fire_some())?;
        let ended = Instant::now();
        self.timers_rest_until = ended + (ended - began);
        Ok(())
    }

    fn sweep(&mut self) -> Result<(), Fatal> {
        self.watched(SWEEP, "", |state| state.executor.sweep())
    }

    /// Does what waits still, after all that is due: nothing else comes.
    fn finish(&mut self) -> Result<(), Fatal> {
        while !self.waiting.is_empty() {
            let now = self.executor.fire_due()?;
            if let Some((_, job)) = self.waiting.pop_first() {
                self.execute(now, job)?;
            }
        }
        Ok(())
    }

    /// What a caller does who has been at it `since` then.
    fn try_drain(&mut self, depth: &AtomicIsize, since: Instant) -> Result<DrainResult, Fatal> {
        if self.spared_until.is_some_and(|until| Instant::now() < until) {
            return Ok(DrainResult::Something);
        }
        while since.elapsed() < CALLER_TIME {
            match self.next(depth) {
                Some(QueueItem::Command(job)) => {
                    let Some(now) = self.executor.at_once(&job.command) else {
                        self.left = Some(QueueItem::Command(job));
                        return Ok(DrainResult::Something);
                    };
                    self.execute(now, job)?;
                }
                Some(other) => {
                    self.left = Some(other);
                    return Ok(DrainResult::Something);
                }
                None => {
                    #[cfg(test)]
                    worst_moment();
                    return Ok(if self.wakes() {
                        DrainResult::Something
                    } else {
                        DrainResult::Nothing
                    });
                }
            }
        }
        let kept = since.elapsed();
        if kept > CALLER_TIME_MAX {
            self.spared_until = Some(Instant::now() + (kept * SPARED_TIMES).min(SPARED_MAX));
        }
        Ok(DrainResult::Something)
    }

    /// Whether the executor's thread has something to do before it would look.
    fn wakes(&self) -> bool {
        self.executor.next_due() < self.sleeps_until
            || self.executor.now() >= self.sleeps_until
            || self.executor.sweep_is_due()
    }

    /// What the executor's thread does, and how long it can sleep then; `None`: it ends.
    fn work_off(&mut self, shared: &Shared) -> Result<Option<Duration>, Fatal> {
        let abandoned = shared.abandoned.load(Ordering::Acquire);
        loop {
            if self.executor.is_behind() && Instant::now() >= self.timers_rest_until {
                self.fire_some()?;
            }
            match self.next(&shared.depth) {
                Some(QueueItem::Command(job)) => {
                    let now = self.executor.now();
                    self.execute(now, job)?;
                    // Here too: under load the queue is never empty.
                    if self.executor.sweep_is_due() {
                        self.sweep()?;
                    }
                }
                Some(QueueItem::Advance { by, reply }) => {
                    self.watched(MOVE_CLOCK, "", |state| state.executor.move_clock(by, reply))?;
                }
                Some(QueueItem::Close) => {
                    self.finish()?;
                    return Ok(None);
                }
                // Nobody waits for anything else.
                None if self.executor.is_behind() => self.fire_some()?,
                None => break,
            }
        }
        if abandoned {
            return Ok(None);
        }
        #[cfg(test)]
        worst_moment();
        if self.executor.now() >= self.sleeps_until || self.executor.sweep_is_due() {
            self.sweep()?;
        }
        // Anew: to sweep may take a while, and a timer must not be late for it.
        let now = self.executor.now();
        let sleep = self.executor.next_due().since(now).min(LOOK_EVERY);
        self.sleeps_until = now.plus(sleep);
        Ok(Some(Duration::from_millis(sleep.ms())))
    }
}

/// Work of the executor that is no command.
const TIMERS: WorkPiece = WorkPiece { kind: "timers", route: "" };
const SWEEP: WorkPiece = WorkPiece { kind: "sweep", route: "" };
const MOVE_CLOCK: WorkPiece = WorkPiece { kind: "move-clock", route: "" };

/// Tests make room for whoever comes at the worst moment: nothing more is looked for, and the state
/// is taken still.
#[cfg(test)]
fn worst_moment() {
    (0..10).for_each(|_| thread::yield_now());
}
