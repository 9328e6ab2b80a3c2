//! Panics of deliveries: they end one attempt or one worker, not the server.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::task::Poll;

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
