//! State that the parts of a connection share.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::time::Instant;

use super::rejection::Rejection;

/// Shared by the socket, the service and the task of one connection.
#[derive(Debug)]
pub(super) struct ConnectionState {
    start: Instant,
    /// Requests that were not answered to the last byte.
    active: AtomicUsize,
    /// Time of the end of the last request, in milliseconds after `start`.
    quiet_since_ms: AtomicU64,
    /// Requests that the service was called with.
    calls: AtomicU64,
    /// The refused head: the number of its call, and the reason.
    refused: OnceLock<(u64, Rejection)>,
    /// The answers under way, of HTTP/2.
    answers: Mutex<Vec<Weak<AnswerProgress>>>,
    /// The answer to the last request for another protocol.
    upgrade: Mutex<Upgrade>,
}

/// Time since which an answer waits for its client to take more of it; `NOT_WAITING`: it does not.
#[derive(Debug)]
pub(super) struct AnswerProgress(AtomicU64);

const NOT_WAITING: u64 = u64::MAX;

#[derive(Debug, Default)]
struct Upgrade {
    /// The number of its call, and whether it was granted.
    answered: Option<(u64, bool)>,
    /// Task that waits for the next answer.
    waker: Option<Waker>,
}

/// A request under way; it ends when this is dropped.
#[derive(Debug)]
pub(super) struct ActiveRequest {
    watch: Arc<ConnectionState>,
    call: u64,
}

impl ConnectionState {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self {
            start: Instant::now(),
            active: AtomicUsize::new(0),
            quiet_since_ms: AtomicU64::new(0),
            calls: AtomicU64::new(0),
            refused: OnceLock::new(),
            answers: Mutex::default(),
            upgrade: Mutex::default(),
        })
    }

    /// Notes that a request begins. Returns why it is refused, if its head was.
    pub(super) fn begin(self: &Arc<Self>) -> (ActiveRequest, Option<Rejection>) {
        self.active.fetch_add(1, Ordering::Relaxed);
        let call = self.calls.fetch_add(1, Ordering::Relaxed);
        let refused = self.refused.get().filter(|(refused, _)| *refused == call);
        (ActiveRequest { watch: Arc::clone(self), call }, refused.map(|(_, rejection)| *rejection))
    }

    /// Notes that the head after `passed` good ones was refused.
    pub(super) fn refuse(&self, passed: u64, rejection: Rejection) {
        // A connection ends with its first rejection, so there is no second one to lose.
        self.refused.get_or_init(|| (passed, rejection));
    }

    /// Returns whether an answer has waited for its client for `limit`. HTTP/1 does not need this:
    /// its socket stalls when its client does, while one stream of HTTP/2 can stall alone.
    pub(super) fn has_stalled(&self, limit: Duration) -> bool {
        let limit_ms = u64::try_from(limit.as_millis()).unwrap_or(u64::MAX);
        let latest = self.now_ms().saturating_sub(limit_ms);
        let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        answers.retain(|answer| answer.strong_count() > 0);
        let since =
            |answer: &Weak<AnswerProgress>| Some(answer.upgrade()?.0.load(Ordering::Relaxed));
        answers.iter().filter_map(since).any(|since| since < latest)
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_millis()).unwrap_or(NOT_WAITING - 1)
    }

    /// Waits for the answer to a request for another protocol. Returns whether it was granted.
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

    /// Returns the time at which the connection will have been idle for `idle_time`; `None` while a
    /// request is under way.
    pub(super) fn idle_until(&self, idle_time: Duration) -> Option<Instant> {
        (self.active.load(Ordering::Acquire) == 0).then(|| {
            let quiet_since_ms = self.quiet_since_ms.load(Ordering::Relaxed);
            self.start + Duration::from_millis(quiet_since_ms) + idle_time
        })
    }
}

impl ActiveRequest {
    /// Tracks how the client takes the answer.
    pub(super) fn follow(&self) -> Arc<AnswerProgress> {
        let progress = Arc::new(AnswerProgress(AtomicU64::new(self.watch.now_ms())));
        let mut answers = self.watch.answers.lock().unwrap_or_else(PoisonError::into_inner);
        // Answers that have ended are removed when the next one comes.
        answers.retain(|answer| answer.strong_count() > 0);
        answers.push(Arc::downgrade(&progress));
        progress
    }

    /// Notes that the connection asked the answer for more: the answer waits for its client only if
    /// it had some.
    pub(super) fn taken(&self, progress: &AnswerProgress, had_more: bool) {
        let since = if had_more { self.watch.now_ms() } else { NOT_WAITING };
        progress.0.store(since, Ordering::Relaxed);
    }

    /// Notes the answer to a request for another protocol.
    pub(super) fn upgrade_answered(&self, granted: bool) {
        let mut upgrade = self.watch.upgrade.lock().unwrap_or_else(PoisonError::into_inner);
        upgrade.answered = Some((self.call, granted));
        if let Some(waker) = upgrade.waker.take() {
            waker.wake();
        }
    }
}

impl Drop for ActiveRequest {
    fn drop(&mut self) {
        self.watch.quiet_since_ms.store(self.watch.now_ms(), Ordering::Relaxed);
        self.watch.active.fetch_sub(1, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_is_idle_only_between_requests() {
        let watch = ConnectionState::new();
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
        let watch = ConnectionState::new();
        watch.refuse(1, Rejection::NoHost);
        assert_eq!(watch.begin().1, None);
        assert_eq!(watch.begin().1, Some(Rejection::NoHost));
        assert_eq!(watch.begin().1, None);
    }
}
