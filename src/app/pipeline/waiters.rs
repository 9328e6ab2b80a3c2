//! Waiting for what the executor and the disk have to say.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;
use tokio::sync::oneshot::error::TryRecvError;

use super::job::CompletedJob;

/// How long somebody who waits alone looks for his answer himself before he sleeps: about two syncs
/// of a quick disk. A thread whose core has gone to sleep is woken late, by some 40 µs on a virtual
/// machine; while one command is all there is to do, nobody else needs the core. Between two looks
/// the thread serves whoever else is there.
const LOOK: Duration = Duration::from_micros(250);

/// Those who wait for an answer.
#[derive(Debug, Default)]
pub(in crate::app) struct Waiters(AtomicUsize);

/// One of them, until it is dropped.
struct Waiter<'a>(&'a AtomicUsize);

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Waiters {
    /// What became of a command; `None`: the executor has ended.
    pub(in crate::app) async fn wait(
        &self,
        mut done: oneshot::Receiver<CompletedJob>,
    ) -> Option<CompletedJob> {
        self.0.fetch_add(1, Ordering::Relaxed);
        let _waiter = Waiter(&self.0);
        let since = Instant::now();
        while self.0.load(Ordering::Relaxed) == 1 && since.elapsed() < LOOK {
            match done.try_recv() {
                Ok(done) => return Some(done),
                Err(TryRecvError::Closed) => return None,
                Err(TryRecvError::Empty) => tokio::task::yield_now().await,
            }
        }
        done.await.ok()
    }
}
