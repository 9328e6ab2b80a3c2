//! The promise that a commit will be durable, and who keeps it.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use super::StoreError;
use crate::types::Revision;

type Outcome = Result<(), StoreError>;

/// State of a receipt.
enum State {
    /// Nobody waits yet, or a thread does.
    Open,
    /// A task waits.
    Task(Waker),
    /// This is done then, where the outcome becomes known.
    Then(Box<dyn FnOnce(Outcome) + Send>),
    /// The outcome.
    Known(Outcome),
    /// It was told.
    Told,
}

struct Slot {
    state: Mutex<State>,
    known: Condvar,
}

impl Slot {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The promise that a commit will be durable. Awaiting it answers with the commit's revision once
/// it is on stable storage, or with [`StoreError::Failed`]: then the outcome is unknown.
pub struct Receipt {
    revision: Revision,
    /// `None`: durable already.
    slot: Option<Arc<Slot>>,
}

/// Keeps the promise. Dropped without a word, it says that the store was closed.
pub(crate) struct Promise(Option<Arc<Slot>>);

impl Promise {
    /// Tells the outcome.
    pub(crate) fn tell(mut self, outcome: Outcome) {
        self.settle(outcome);
    }

    fn settle(&mut self, outcome: Outcome) {
        let Some(slot) = self.0.take() else { return };
        let mut state = slot.state();
        match std::mem::replace(&mut *state, State::Told) {
            State::Then(then) => {
                drop(state);
                then(outcome);
            }
            State::Task(waker) => {
                *state = State::Known(outcome);
                drop(state);
                waker.wake();
                // A task may have looked, and a thread waits now.
                slot.known.notify_all();
            }
            _ => {
                *state = State::Known(outcome);
                drop(state);
                slot.known.notify_all();
            }
        }
    }
}

impl Drop for Promise {
    fn drop(&mut self) {
        self.settle(Err(StoreError::stopped()));
    }
}

impl Receipt {
    /// A receipt for what is durable already.
    #[must_use]
    pub const fn ready(revision: Revision) -> Self {
        Self { revision, slot: None }
    }

    /// A receipt and what resolves it.
    pub(crate) fn pending(revision: Revision) -> (Promise, Self) {
        let slot = Arc::new(Slot { state: Mutex::new(State::Open), known: Condvar::new() });
        (Promise(Some(Arc::clone(&slot))), Self { revision, slot: Some(slot) })
    }

    /// The revision that the commit has, or will have once it is durable.
    #[must_use]
    pub const fn revision(&self) -> Revision {
        self.revision
    }

    /// Waits on this thread; for threads that run no async code.
    ///
    /// # Errors
    /// [`StoreError::Failed`] when the store stopped before the commit was known to be durable.
    pub fn wait(self) -> Result<Revision, StoreError> {
        let Some(slot) = self.slot else { return Ok(self.revision) };
        let mut state = slot.state();
        loop {
            if let State::Known(outcome) = &*state {
                return outcome.clone().map(|()| self.revision);
            }
            state = slot.known.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Calls a function when the outcome is known: at once if it is, else on the thread that makes
    /// commits durable. The function must not wait. A caller that waits for an answer is thus woken
    /// once, not once for the decision and once for the disk.
    pub fn then(self, then: impl FnOnce(Result<Revision, StoreError>) + Send + 'static) {
        let revision = self.revision;
        let Some(slot) = self.slot else { return then(Ok(revision)) };
        let mut state = slot.state();
        if let State::Known(outcome) = &*state {
            let outcome = outcome.clone();
            drop(state);
            return then(outcome.map(|()| revision));
        }
        *state = State::Then(Box::new(move |outcome| then(outcome.map(|()| revision))));
    }
}

impl Future for Receipt {
    type Output = Result<Revision, StoreError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let revision = self.revision;
        let Some(slot) = &self.slot else { return Poll::Ready(Ok(revision)) };
        let mut state = slot.state();
        if let State::Known(outcome) = &*state {
            return Poll::Ready(outcome.clone().map(|()| revision));
        }
        *state = State::Task(cx.waker().clone());
        Poll::Pending
    }
}

impl fmt::Debug for Promise {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Promise")
    }
}

impl fmt::Debug for Receipt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receipt").field("revision", &self.revision).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use std::sync::mpsc;

    use super::*;

    #[test]
    fn whoever_waits_is_told_once_however_they_wait() {
        let at = Revision::new(7);
        let (promise, receipt) = Receipt::pending(at);
        let waiting = std::thread::spawn(|| receipt.wait());
        promise.tell(Ok(()));
        assert_eq!(waiting.join().unwrap(), Ok(at));

        let (promise, mut receipt) = Receipt::pending(at);
        let mut cx = Context::from_waker(Waker::noop());
        assert!(Pin::new(&mut receipt).poll(&mut cx).is_pending());
        let waiting = std::thread::spawn(|| receipt.wait());
        promise.tell(Ok(()));
        assert_eq!(waiting.join().unwrap(), Ok(at));

        let (told, heard) = mpsc::sync_channel(2);
        let (promise, receipt) = Receipt::pending(at);
        let early = told.clone();
        receipt.then(move |outcome| early.send(outcome).unwrap());
        assert!(heard.try_recv().is_err());
        promise.tell(Ok(()));
        assert_eq!(heard.recv().unwrap(), Ok(at));

        let (promise, receipt) = Receipt::pending(at);
        promise.tell(Ok(()));
        receipt.then(move |outcome| told.send(outcome).unwrap());
        assert_eq!(heard.recv().unwrap(), Ok(at));
        assert!(heard.recv().is_err());
    }

    #[test]
    fn a_promise_that_is_dropped_is_an_error() {
        let (promise, receipt) = Receipt::pending(Revision::new(7));
        drop(promise);
        assert!(matches!(receipt.wait(), Err(StoreError::Failed(_))));
    }
}
