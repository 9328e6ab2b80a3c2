//! Deadline of a transfer, by its minimum speed.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

use super::limits::TRANSFER_BYTES_PER_SECOND;

/// The deadline of a transfer, which moves with the bytes that came through. Costs nothing until
/// the transfer has to wait.
#[derive(Debug)]
pub(super) struct TransferDeadline {
    least: Duration,
    since: Option<Instant>,
    moved: u64,
    timer: Option<Pin<Box<Sleep>>>,
}

impl TransferDeadline {
    /// A transfer that may take `least`, and a second more for each
    /// [`TRANSFER_BYTES_PER_SECOND`].
    pub(super) const fn new(least: Duration) -> Self {
        Self { least, since: None, moved: 0, timer: None }
    }

    /// Notes that bytes came through.
    pub(super) const fn moved(&mut self, bytes: usize) {
        if self.since.is_some() {
            self.moved = self.moved.saturating_add(bytes as u64);
        }
    }

    /// Notes that the transfer is complete; a next one starts anew.
    pub(super) fn complete(&mut self) {
        if self.since.is_some() {
            *self = Self::new(self.least);
        }
    }

    /// Notes that the transfer has to wait. Returns whether it has been too slow. If not, `cx` is
    /// woken when it is.
    pub(super) fn too_slow(&mut self, cx: &mut Context<'_>) -> bool {
        let since = *self.since.get_or_insert_with(Instant::now);
        let earned = self.moved / u64::from(TRANSFER_BYTES_PER_SECOND);
        let deadline = since + self.least + Duration::from_secs(earned);
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(deadline)));
        if timer.deadline() != deadline {
            timer.as_mut().reset(deadline);
        }
        timer.as_mut().poll(cx) == Poll::Ready(())
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    /// Waits until the transfer is too slow. Returns how long that took.
    async fn until_too_slow(transfer: &mut TransferDeadline) -> Duration {
        let start = Instant::now();
        poll_fn(|cx| if transfer.too_slow(cx) { Poll::Ready(()) } else { Poll::Pending }).await;
        start.elapsed()
    }

    #[tokio::test]
    async fn bytes_earn_time_and_completion_starts_anew() {
        let least = Duration::from_millis(20);
        let mut transfer = TransferDeadline::new(least);
        transfer.moved(1 << 30);
        let waited = until_too_slow(&mut transfer).await;
        assert!(waited >= least && waited.as_secs() < 5, "what went before counts not: {waited:?}");
        transfer.complete();
        assert!(!poll_fn(|cx| Poll::Ready(transfer.too_slow(cx))).await);
        transfer.moved(4096);
        assert!(until_too_slow(&mut transfer).await.as_millis() > 900, "a second earned");
    }
}
