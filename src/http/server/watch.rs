//! What a connection's parts know of each other.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::time::Instant;

use super::refusal::Refusal;

/// Shared by the socket, the service and the task of one connection.
#[derive(Debug)]
pub(super) struct Watch {
    start: Instant,
    /// Requests that were not answered to the last byte.
    under_way: AtomicUsize,
    /// When the last request ended, in milliseconds after `start`.
    quiet_since_ms: AtomicU64,
    /// Requests that the service was called with.
    calls: AtomicU64,
    /// The head that was refused: the number of its call, and why.
    refused: OnceLock<(u64, Refusal)>,
    /// The answer to the last request that asked for another protocol.
    upgrade: Mutex<Upgrade>,
}

#[derive(Debug, Default)]
struct Upgrade {
    /// The number of its call, and whether it was granted.
    answered: Option<(u64, bool)>,
    /// Who waits for the next answer.
    waker: Option<Waker>,
}

/// A request under way; it ends when this is dropped.
#[derive(Debug)]
pub(super) struct UnderWay {
    watch: Arc<Watch>,
    call: u64,
}

impl Watch {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self {
            start: Instant::now(),
            under_way: AtomicUsize::new(0),
            quiet_since_ms: AtomicU64::new(0),
            calls: AtomicU64::new(0),
            refused: OnceLock::new(),
            upgrade: Mutex::default(),
        })
    }

    /// A request begins. Answers with why it is refused, if its head was.
    pub(super) fn begin(self: &Arc<Self>) -> (UnderWay, Option<Refusal>) {
        self.under_way.fetch_add(1, Ordering::Relaxed);
        let call = self.calls.fetch_add(1, Ordering::Relaxed);
        let refused = self.refused.get().filter(|(refused, _)| *refused == call);
        (UnderWay { watch: Arc::clone(self), call }, refused.map(|(_, refusal)| *refusal))
    }

    /// The head after `passed` good ones was refused.
    pub(super) fn refuse(&self, passed: u64, refusal: Refusal) {
        // A connection ends with its first refusal, so there is no second one to lose.
        self.refused.get_or_init(|| (passed, refusal));
    }

    /// Waits for the answer to a request that asked for another protocol: whether it was granted.
    pub(super) fn poll_upgraded(&self, call: u64, cx: &Context<'_>) -> Poll<bool> {
        let mut upgrade = self.upgrade.lock().unwrap_or_else(PoisonError::into_inner);
        match upgrade.answered {
            Some((answered, granted)) if answered == call => Poll::Ready(granted),
            _ => {
                upgrade.waker = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }

    /// When the connection will have been idle for `idle_time`; `None` while a request is under
    /// way.
    pub(super) fn idle_until(&self, idle_time: Duration) -> Option<Instant> {
        (self.under_way.load(Ordering::Acquire) == 0).then(|| {
            let quiet_since_ms = self.quiet_since_ms.load(Ordering::Relaxed);
            self.start + Duration::from_millis(quiet_since_ms) + idle_time
        })
    }
}

impl UnderWay {
    /// The request asked for another protocol, and has its answer.
    pub(super) fn upgrade_answered(&self, granted: bool) {
        let mut upgrade = self.watch.upgrade.lock().unwrap_or_else(PoisonError::into_inner);
        upgrade.answered = Some((self.call, granted));
        if let Some(waker) = upgrade.waker.take() {
            waker.wake();
        }
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        let ms = u64::try_from(self.watch.start.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.watch.quiet_since_ms.store(ms, Ordering::Relaxed);
        self.watch.under_way.fetch_sub(1, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_is_idle_only_between_requests() {
        let watch = Watch::new();
        let time = Duration::from_secs(1);
        assert_eq!(watch.idle_until(time), Some(watch.start + time));
        let (first, _) = watch.begin();
        let (second, _) = watch.begin();
        assert_eq!(watch.idle_until(time), None);
        drop(first);
        assert_eq!(watch.idle_until(time), None);
        drop(second);
        assert!(watch.idle_until(time).is_some());
    }

    #[test]
    fn only_the_refused_head_is_refused() {
        let watch = Watch::new();
        watch.refuse(1, Refusal::NoHost);
        assert_eq!(watch.begin().1, None);
        assert_eq!(watch.begin().1, Some(Refusal::NoHost));
        assert_eq!(watch.begin().1, None);
    }
}
