//! The queue of commands, the executor behind it, and who works it off.
//!
//! Whoever puts a command into the queue works the queue off, if nobody else does: mostly a command
//! is decided at once on the thread that it came on, so that no other thread is woken for it and
//! what it needs is in that core's caches. Who finds the executor taken goes on with something
//! else: whoever has it sees the command before he leaves. What may take long or must wait (timers
//! that are due, long commands, a store without room), and what is left after a moment, is for the
//! executor's own thread, which may wait. The order is the queue's, whoever works it off.
//!
//! A caller's thread has others to serve, and no command can be known to be quick: a record may be
//! cold, a definition not compiled, a workflow long. So where a caller was kept for too long, all
//! callers are spared for many times as long: meanwhile the executor's thread does everything.

use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicBool, AtomicIsize, Ordering, fence};
use std::sync::mpsc::{self, Receiver, SyncSender, TrySendError};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::executor::{Executor, Fatal};
use super::job::Work;
use crate::engine::Refusal;
use crate::types::{Span, Time};

/// Most commands that wait for the executor: at some ten microseconds each, the last one waits
/// for some hundredths of a second. Beyond it a caller is told to come back.
const QUEUE_MAX: usize = 4096;

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
pub(super) struct Queue {
    shared: Arc<Shared>,
    /// Set once: no more commands are taken.
    closing: AtomicBool,
    sender: SyncSender<Work>,
    own: Mutex<Option<JoinHandle<()>>>,
    /// The same thread, to be woken.
    thread: thread::Thread,
}

struct Shared {
    /// How much was put into the queue and not taken from it. Below zero for a moment, since it is
    /// counted behind the put; whoever comes then may be seen only by the one who counts next, who
    /// is on his way to the desk.
    depth: AtomicIsize,
    /// `None`: the executor has ended.
    desk: Mutex<Option<Desk>>,
    /// Nobody can put anything into the queue any more.
    abandoned: AtomicBool,
    stop: watch::Sender<Option<String>>,
}

/// Where commands are done, by one at a time.
struct Desk {
    executor: Executor,
    work: Receiver<Work>,
    /// What the one before left to the executor's thread. It comes first.
    left: Option<Work>,
    /// The executor's thread sleeps until then if it is not woken.
    sleeps_until: Time,
    /// Until then callers do nothing here.
    spared_until: Option<Instant>,
}

/// How a caller leaves the desk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Leaves {
    /// There was nothing more to do.
    Nothing,
    /// There is something that the executor's thread must see.
    Something,
}

impl Queue {
    /// Starts the executor's thread. Whatever ends the executor, but for a close, is told to `stop`.
    pub(super) fn start(
        executor: Executor,
        stop: watch::Sender<Option<String>>,
    ) -> std::io::Result<Self> {
        let (sender, work) = mpsc::sync_channel(QUEUE_MAX);
        let sleeps_until = Time::ZERO;
        let desk = Desk { executor, work, left: None, sleeps_until, spared_until: None };
        let shared = Arc::new(Shared {
            depth: AtomicIsize::new(0),
            desk: Mutex::new(Some(desk)),
            abandoned: AtomicBool::new(false),
            stop,
        });
        let runs = Arc::clone(&shared);
        let own = thread::Builder::new().name("executor".to_owned()).spawn(move || runs.run())?;
        let thread = own.thread().clone();
        let own = Mutex::new(Some(own));
        Ok(Self { shared, closing: AtomicBool::new(false), sender, own, thread })
    }

    /// How many commands wait.
    pub(super) fn depth(&self) -> usize {
        self.shared.depth.load(Ordering::Acquire).try_into().unwrap_or(0)
    }

    /// Puts something into the queue, and works it off if nobody else does.
    pub(super) fn put(&self, work: Work) -> Result<(), (Work, Refusal)> {
        if self.closing.load(Ordering::Acquire) {
            return Err((work, Refusal::Stopping));
        }
        self.sender.try_send(work).map_err(|error| match error {
            TrySendError::Full(work) => (work, BUSY),
            TrySendError::Disconnected(work) => (work, Refusal::Stopping),
        })?;
        self.shared.depth.fetch_add(1, Ordering::AcqRel);
        if self.shared.call() == Leaves::Something {
            self.thread.unpark();
        }
        Ok(())
    }

    /// Takes no more commands, finishes those that were taken, and ends the executor.
    pub(super) async fn close(&self) {
        self.closing.store(true, Ordering::Release);
        while let Err(TrySendError::Full(_)) = self.sender.try_send(Work::Close) {
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
        if self.at(self.wait(), |desk| desk.executor.count_what_was_never_counted()).is_none() {
            return;
        }
        while let Some(Some(sleep)) = self.at(self.wait(), |desk| desk.work_off(self)) {
            // As in `call`; but whoever comes from here on wakes this thread if he must.
            fence(Ordering::SeqCst);
            if self.depth.load(Ordering::Acquire) <= 0 && !self.abandoned.load(Ordering::Acquire) {
                thread::park_timeout(sleep);
            }
        }
        *self.wait() = None;
    }

    /// A caller comes with something that he has put into the queue.
    fn call(&self) -> Leaves {
        let since = Instant::now();
        loop {
            // Whoever counted something before he finds the desk taken has it seen below by the
            // one who has the desk: one of both is later, in the one order of these fences.
            fence(Ordering::SeqCst);
            let desk = match self.desk.try_lock() {
                Ok(desk) => desk,
                Err(TryLockError::Poisoned(desk)) => desk.into_inner(),
                Err(TryLockError::WouldBlock) => return Leaves::Nothing,
            };
            match self.at(desk, |desk| desk.help(&self.depth, since)) {
                Some(Leaves::Nothing) => {}
                Some(Leaves::Something) => return Leaves::Something,
                None => return Leaves::Nothing,
            }
            fence(Ordering::SeqCst);
            if self.depth.load(Ordering::Acquire) <= 0 {
                return Leaves::Nothing;
            }
        }
    }

    fn wait(&self) -> MutexGuard<'_, Option<Desk>> {
        self.desk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does something at the desk; `None`: the executor has ended, now or before. Whatever ends it
    /// otherwise than by closing ends the process.
    fn at<T>(
        &self,
        mut desk: MutexGuard<'_, Option<Desk>>,
        act: impl FnOnce(&mut Desk) -> Result<T, Fatal>,
    ) -> Option<T> {
        let open = desk.as_mut()?;
        let reason = match std::panic::catch_unwind(AssertUnwindSafe(|| act(open))) {
            Ok(Ok(done)) => return Some(done),
            Ok(Err(Fatal(reason))) => reason,
            Err(_) => "the executor panicked; see the log above".to_owned(),
        };
        // What waits is told that nothing comes of it, since its replies are dropped.
        *desk = None;
        self.depth.store(0, Ordering::Release);
        // Not in the name of the request that happens to be here.
        tracing::error!(parent: None, reason, "nothing can be changed any more: the server stops");
        self.stop.send_replace(Some(reason));
        None
    }
}

impl Desk {
    fn next(&mut self, depth: &AtomicIsize) -> Option<Work> {
        self.left.take().or_else(|| {
            let next = self.work.try_recv().ok()?;
            depth.fetch_sub(1, Ordering::AcqRel);
            Some(next)
        })
    }

    /// What a caller does who has been at it `since` then.
    fn help(&mut self, depth: &AtomicIsize, since: Instant) -> Result<Leaves, Fatal> {
        if self.spared_until.is_some_and(|until| Instant::now() < until) {
            return Ok(Leaves::Something);
        }
        while since.elapsed() < CALLER_TIME {
            match self.next(depth) {
                Some(Work::Command(job)) => {
                    let Some(now) = self.executor.at_once(&job.command) else {
                        self.left = Some(Work::Command(job));
                        return Ok(Leaves::Something);
                    };
                    self.executor.execute(now, *job)?;
                }
                Some(other) => {
                    self.left = Some(other);
                    return Ok(Leaves::Something);
                }
                None => {
                    #[cfg(test)]
                    worst_moment();
                    return Ok(if self.wakes() { Leaves::Something } else { Leaves::Nothing });
                }
            }
        }
        let kept = since.elapsed();
        if kept > CALLER_TIME_MAX {
            self.spared_until = Some(Instant::now() + (kept * SPARED_TIMES).min(SPARED_MAX));
        }
        Ok(Leaves::Something)
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
        while let Some(work) = self.next(&shared.depth) {
            match work {
                Work::Command(job) => {
                    let now = self.executor.fire_due()?;
                    self.executor.execute(now, *job)?;
                    // Here too: under load the queue is never empty.
                    if self.executor.sweep_is_due() {
                        self.executor.sweep()?;
                    }
                }
                Work::Advance { by, reply } => self.executor.move_clock(by, reply)?,
                Work::Close => return Ok(None),
            }
        }
        if abandoned {
            return Ok(None);
        }
        #[cfg(test)]
        worst_moment();
        let now = self.executor.fire_due()?;
        if now >= self.sleeps_until || self.executor.sweep_is_due() {
            self.executor.sweep()?;
        }
        // Anew: to sweep may take a while, and a timer must not be late for it.
        let now = self.executor.now();
        let sleep = self.executor.next_due().since(now).min(LOOK_EVERY);
        self.sleeps_until = now.plus(sleep);
        Ok(Some(Duration::from_millis(sleep.ms())))
    }
}

/// Tests make room for whoever comes at the worst moment: nothing more is looked for, and the desk
/// is taken still.
#[cfg(test)]
fn worst_moment() {
    (0..10).for_each(|_| thread::yield_now());
}
