//! The engine of all deliveries.

use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::engine::Refusal;

/// One kind of delivery: where its messages come from, how an attempt is made, and what becomes of
/// the result.
pub(super) trait Delivery: Send + 'static {
    /// A message of which an attempt is made.
    type Message: Send + 'static;
    /// Response to an attempt.
    type Response: Send + 'static;
    /// Something that happened outside of the worker.
    type Signal: Send;

    /// Reads what is due and returns what to attempt now, while `in_flight` attempts are under way.
    fn next_turn(
        &mut self,
        in_flight: usize,
    ) -> impl Future<Output = Result<Turn<Self::Message>, Refusal>> + Send;

    /// Makes one attempt.
    fn attempt(&self, message: &Self::Message) -> Attempt<Self::Response>;

    /// Waits for a signal. Nothing is lost if this is not awaited to its end.
    fn signal(&mut self) -> impl Future<Output = Result<Self::Signal, Refusal>> + Send;

    /// Handles a signal. Breaks if the worker is to end.
    fn on_signal(
        &mut self,
        signal: Self::Signal,
    ) -> impl Future<Output = Result<ControlFlow<()>, Refusal>> + Send;

    /// Handles the results of all attempts that have ended. Breaks if the worker is to end.
    fn on_results(
        &mut self,
        results: Vec<AttemptResult<Self>>,
    ) -> impl Future<Output = Result<ControlFlow<()>, Refusal>> + Send;
}

/// An attempt under way.
pub(super) type Attempt<R> = Pin<Box<dyn Future<Output = R> + Send>>;

/// Next actions of a worker.
pub(super) struct Turn<M> {
    /// Messages to attempt now.
    pub(super) messages: Vec<M>,
    /// Time at which to look again if nothing happens before.
    pub(super) wakes_at: Option<Instant>,
    /// True if there is more to read at once.
    pub(super) has_more: bool,
}

/// Result of an attempt.
pub(super) struct AttemptResult<D: Delivery + ?Sized> {
    pub(super) message: D::Message,
    /// `None`: the attempt panicked.
    pub(super) response: Option<D::Response>,
}

/// Runs a worker until its delivery ends or is refused. When this is dropped, attempts under way
/// are aborted.
pub(super) async fn run<D: Delivery>(mut delivery: D) -> Result<(), Refusal> {
    let mut attempts = JoinSet::new();
    loop {
        let Turn { messages, wakes_at, has_more } = delivery.next_turn(attempts.len()).await?;
        for message in messages {
            let attempt = delivery.attempt(&message);
            attempts.spawn(async move {
                let response = catch_panic(attempt).await;
                AttemptResult { message, response }
            });
        }
        let sleep = tokio::time::sleep_until(wakes_at.unwrap_or_else(Instant::now));
        let flow = tokio::select! {
            signal = delivery.signal() => delivery.on_signal(signal?).await?,
            Some(first) = attempts.join_next() => {
                // An attempt catches its panics, so it fails only when the runtime shuts down.
                let mut results = vec![first.map_err(|_| Refusal::Stopping)?];
                while let Some(next) = attempts.try_join_next() {
                    results.push(next.map_err(|_| Refusal::Stopping)?);
                }
                delivery.on_results(results).await?
            }
            () = tokio::task::yield_now(), if has_more => ControlFlow::Continue(()),
            () = sleep, if wakes_at.is_some() => ControlFlow::Continue(()),
        };
        if flow.is_break() {
            return Ok(());
        }
    }
}

/// Runs a worker again after a panic or an error, until it ends or the server stops. What is due
/// and what is under way lies in the store, so a new worker finds it there.
pub(super) async fn supervise<F>(worker: &str, restart_delay: Duration, mut run: impl FnMut() -> F)
where
    F: Future<Output = Result<(), Refusal>>,
{
    loop {
        match catch_panic(run()).await {
            Some(Ok(()) | Err(Refusal::Stopping | Refusal::NotFound(_))) => return,
            Some(Err(refusal)) => {
                tracing::error!(worker, %refusal, "delivery worker failed; will restart");
            }
            None => tracing::error!(worker, "delivery worker panicked; will restart"),
        }
        tokio::time::sleep_until(Instant::now() + restart_delay).await;
    }
}

/// Awaits a future. Returns `None` if it panicked; the panic hook has logged the panic.
pub(super) async fn catch_panic<T>(future: impl Future<Output = T>) -> Option<T> {
    let mut future = std::pin::pin!(future);
    // The state of the future is dropped with it, so nothing sees it half changed.
    std::future::poll_fn(|context| {
        let polled = catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(context)));
        polled.map_or(Poll::Ready(None), |polled| polled.map(Some))
    })
    .await
}
