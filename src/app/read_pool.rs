//! Threads for reads that may take a while: pages of lists, searches in the log, catching up with
//! the feed.
//!
//! Such a read takes milliseconds of a core, so it must not run on a thread of the runtime, which
//! serves all requests. There are few of these threads, and actors take turns: an actor with many
//! reads waits behind its own.

use std::cell::Cell;
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use crate::engine::{Actor, OwnerId};

/// Maximum number of reads of one actor that wait. A page may hold 200 items, and a browser
/// requests some pages at a time.
const WAITING_PER_ACTOR_MAX: usize = 256;

/// Maximum number of reads that wait, of all actors.
const WAITING_MAX: usize = 8192;

/// Maximum number of threads: more would take the cores from the executor and the runtime.
const THREADS_MAX: usize = 4;

/// Time for which a long read runs others' reads, each time it yields.
const GIVE_WAY_TIME: Duration = Duration::from_millis(10);

thread_local! {
    /// True if this thread runs others' reads within one. Those do not yield, so that the stack is
    /// bounded.
    static IS_GIVING_WAY: Cell<bool> = const { Cell::new(false) };
}

/// Reason for the rejection of a read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadRejection {
    /// Too many reads of this actor wait.
    Actor,
    /// Too many reads wait in all.
    All,
    /// The threads have ended.
    Stopping,
}

type Work = Box<dyn FnOnce() + Send>;

#[derive(Default)]
struct Waiting {
    /// Reads of each actor that has some.
    of: HashMap<Option<OwnerId>, VecDeque<Work>>,
    /// Actors with reads, in the order of their turns.
    turns: VecDeque<Option<OwnerId>>,
    count: usize,
    is_closed: bool,
}

#[derive(Default)]
struct Shared {
    waiting: Mutex<Waiting>,
    came: Condvar,
}

/// The threads and the reads that wait for them.
pub struct ReadPool {
    shared: Arc<Shared>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl ReadPool {
    /// Starts the threads: half as many as cores.
    pub(super) fn start() -> std::io::Result<Self> {
        let cores = thread::available_parallelism().map_or(1, usize::from);
        let shared = Arc::new(Shared::default());
        let mut threads = Vec::new();
        for number in 0..(cores / 2).clamp(1, THREADS_MAX) {
            let runs = Arc::clone(&shared);
            let name = format!("abide-reads-{number}");
            threads.push(
                thread::Builder::new()
                    .name(name)
                    .stack_size(super::STACK_BYTES)
                    .spawn(move || runs.run())?,
            );
        }
        Ok(Self { shared, threads: Mutex::new(threads) })
    }

    /// Runs a read in the actor's turn. It should end within milliseconds; a longer one is split.
    ///
    /// # Errors
    /// [`ReadRejection`]
    pub async fn run<T: Send + 'static>(
        &self,
        actor: &Actor,
        read: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, ReadRejection> {
        self.begin(actor, read)?.await.map_err(|_| ReadRejection::Stopping)
    }

    /// Queues a read for the actor's turn. Returns the receiver of its result.
    ///
    /// # Errors
    /// [`ReadRejection`]
    pub(super) fn begin<T: Send + 'static>(
        &self,
        actor: &Actor,
        read: impl FnOnce() -> T + Send + 'static,
    ) -> Result<oneshot::Receiver<T>, ReadRejection> {
        let (reply, done) = oneshot::channel();
        let work: Work = Box::new(move || {
            // The caller is gone, so the result is not needed.
            if !reply.is_closed() {
                drop(reply.send(read()));
            }
        });
        self.shared.put(actor.owner_id(), work)?;
        Ok(done)
    }

    /// Yields for a moment within a long read: runs waiting reads of others on this thread.
    pub(super) fn give_way(&self) {
        let is_nested = IS_GIVING_WAY.replace(true);
        let since = Instant::now();
        while !is_nested
            && since.elapsed() < GIVE_WAY_TIME
            && let Some(work) = self.shared.lock().take()
        {
            run(work);
        }
        IS_GIVING_WAY.set(is_nested);
    }

    /// Ends the threads after the reads under way; those that wait are dropped.
    pub(super) fn close(&self) {
        {
            let mut waiting = self.shared.lock();
            *waiting = Waiting { is_closed: true, ..Waiting::default() };
        }
        self.shared.came.notify_all();
        let threads =
            std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
        for thread in threads {
            // The last handle of the application may be dropped by one of these threads.
            if thread.thread().id() != thread::current().id() && thread.join().is_err() {
                tracing::error!("a thread for reads could not be waited for");
            }
        }
    }
}

impl Drop for ReadPool {
    fn drop(&mut self) {
        self.close();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn put(&self, of: Option<OwnerId>, work: Work) -> Result<(), ReadRejection> {
        let mut waiting = self.lock();
        if waiting.is_closed {
            return Err(ReadRejection::Stopping);
        }
        if waiting.count >= WAITING_MAX {
            return Err(ReadRejection::All);
        }
        let own = waiting.of.entry(of).or_default();
        if own.len() >= WAITING_PER_ACTOR_MAX {
            return Err(ReadRejection::Actor);
        }
        let is_first = own.is_empty();
        own.push_back(work);
        waiting.count += 1;
        if is_first {
            waiting.turns.push_back(of);
        }
        drop(waiting);
        self.came.notify_one();
        Ok(())
    }

    fn run(&self) {
        while let Some(work) = self.next() {
            run(work);
        }
    }

    /// Returns the next read, of the actor whose turn it is, or `None` if the threads end.
    fn next(&self) -> Option<Work> {
        let mut waiting = self.lock();
        loop {
            if waiting.is_closed {
                return None;
            }
            if let Some(work) = waiting.take() {
                return Some(work);
            }
            waiting = self.came.wait(waiting).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// Runs a read. If it panics, its caller gets no result, and the thread goes on.
fn run(work: Work) {
    if std::panic::catch_unwind(std::panic::AssertUnwindSafe(work)).is_err() {
        tracing::error!("a read panicked; see the log above");
    }
}

impl Waiting {
    fn take(&mut self) -> Option<Work> {
        let of = self.turns.pop_front()?;
        let own = self.of.get_mut(&of)?;
        let work = own.pop_front();
        if own.is_empty() {
            self.of.remove(&of);
        } else {
            self.turns.push_back(of);
        }
        self.count -= usize::from(work.is_some());
        work
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;
    use crate::types::UserId;

    const fn user(number: u128) -> OwnerId {
        OwnerId::User(UserId::new(number))
    }

    #[test]
    fn reads_take_turns_among_actors_and_are_bounded() {
        let shared = Shared::default();
        let done = Arc::new(Mutex::new(Vec::new()));
        let work = |name: &'static str| -> Work {
            let done = Arc::clone(&done);
            Box::new(move || done.lock().unwrap().push(name))
        };
        for _ in 0..WAITING_PER_ACTOR_MAX {
            shared.put(Some(user(1)), work("greedy")).unwrap();
        }
        assert_eq!(shared.put(Some(user(1)), work("greedy")), Err(ReadRejection::Actor));
        shared.put(Some(user(2)), work("modest")).unwrap();
        for _ in 0..3 {
            shared.next().unwrap()();
        }
        assert_eq!(*done.lock().unwrap(), ["greedy", "modest", "greedy"]);
        let mut others = 10;
        let full = loop {
            others += 1;
            if let Err(full) = shared.put(Some(user(others)), work("other")) {
                break full;
            }
        };
        assert_eq!((full, shared.lock().count), (ReadRejection::All, WAITING_MAX));
    }

    #[tokio::test]
    async fn reads_come_back_and_one_that_panics_hurts_nobody() {
        let pool = ReadPool::start().unwrap();
        let broken =
            pool.run(&Actor::System, || std::panic::resume_unwind(Box::new("on purpose"))).await;
        assert_eq!(broken.unwrap_err(), ReadRejection::Stopping);
        assert_eq!(pool.run(&Actor::System, || 7).await, Ok(7));
        pool.close();
        assert_eq!(pool.run(&Actor::System, || 7).await, Err(ReadRejection::Stopping));
    }
}
