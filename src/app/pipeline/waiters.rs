//! Callers that wait for the result of a command.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;
use tokio::sync::oneshot::error::TryRecvError;

use super::job::CompletedJob;

/// Time for which a single waiter polls for its answer before it sleeps: about two syncs of a quick
/// disk. A thread whose core has gone to sleep wakes some 40 µs late on a virtual machine; while
/// one command is all there is to do, no other thread needs the core. Between two polls the thread
/// serves other tasks.
const POLL_TIME: Duration = Duration::from_micros(250);

/// Number of callers that wait for a result.
#[derive(Debug, Default)]
pub(in crate::app) struct Waiters(AtomicUsize);

/// One waiter, until it is dropped.
struct Waiter<'a>(&'a AtomicUsize);

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Waiters {
    /// Waits for the result of a command. Returns `None` if the executor has ended.
    pub(super) async fn wait(
        &self,
        mut result: oneshot::Receiver<CompletedJob>,
    ) -> Option<CompletedJob> {
        self.0.fetch_add(1, Ordering::Relaxed);
        let _waiter = Waiter(&self.0);
        let since = Instant::now();
        while self.0.load(Ordering::Relaxed) == 1 && since.elapsed() < POLL_TIME {
            match result.try_recv() {
                Ok(completed) => return Some(completed),
                Err(TryRecvError::Closed) => return None,
                Err(TryRecvError::Empty) => tokio::task::yield_now().await,
            }
        }
        result.await.ok()
    }
}
