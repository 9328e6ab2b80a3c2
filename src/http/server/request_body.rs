//! A request's body, which must arrive in time.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use super::transfer_deadline::TransferDeadline;

/// Largest part of a body that is discarded after an early answer: bodies that are refused are
/// small, and a larger one is not worth the connection.
const DISCARDED_BYTES_MAX: usize = 16 * 1024;

/// Number of turns that the connection gets while the rest of a body is discarded: enough to read
/// what has arrived, without waiting for what has not.
const DISCARD_TURNS: usize = 4;

/// A request's body as it arrives.
#[derive(Debug)]
pub struct RequestBody {
    /// Present until this is dropped.
    incoming: Option<Incoming>,
    transfer: TransferDeadline,
    /// Receives the body if it was not read to its end; `None`: it makes no difference.
    rest: Option<Arc<UnreadBody>>,
}

/// A body that a service may not have read to its end.
#[derive(Debug, Default)]
pub(super) struct UnreadBody(Mutex<BodyState>);

#[derive(Debug, Default)]
enum BodyState {
    /// The service reads it.
    #[default]
    Reading,
    /// It was read to its end.
    Ended,
    /// The service has dropped it.
    Left(Incoming),
}

impl UnreadBody {
    fn state(&self) -> MutexGuard<'_, BodyState> {
        // The state is whole between any two statements.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns whether the service has read it to its end.
    pub(super) fn is_ended(&self) -> bool {
        matches!(*self.state(), BodyState::Ended)
    }

    /// Discards the bytes that have arrived of a small body. Returns whether that was all of it, so
    /// that the connection can go on with the next request. Does not wait for the client.
    pub(super) async fn discard(&self) -> bool {
        let mut incoming = match std::mem::take(&mut *self.state()) {
            BodyState::Ended => return true,
            BodyState::Reading => return false,
            BodyState::Left(incoming) => incoming,
        };
        let (mut bytes, mut turns) = (0, 0);
        poll_fn(|cx| {
            loop {
                match Pin::new(&mut incoming).poll_frame(cx) {
                    Poll::Ready(None) => return Poll::Ready(true),
                    Poll::Ready(Some(Err(_))) => return Poll::Ready(false),
                    Poll::Ready(Some(Ok(frame))) => {
                        bytes += frame.data_ref().map_or(0, Bytes::len);
                        if bytes > DISCARDED_BYTES_MAX {
                            return Poll::Ready(false);
                        }
                    }
                    Poll::Pending if turns == DISCARD_TURNS => return Poll::Ready(false),
                    Poll::Pending => {
                        turns += 1;
                        cx.waker().wake_by_ref();
                        return Poll::Pending;
                    }
                }
            }
        })
        .await
    }
}

/// Why a body did not arrive.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// The client took too long to send it.
    #[error("the body did not arrive in time")]
    Slow,
    /// The connection broke, or the bytes were no body.
    #[error("the body did not arrive: {0}")]
    Broken(#[from] hyper::Error),
}

impl RequestBody {
    pub(super) const fn new(
        incoming: Incoming,
        least: Duration,
        rest: Option<Arc<UnreadBody>>,
    ) -> Self {
        Self { incoming: Some(incoming), transfer: TransferDeadline::new(least), rest }
    }

    fn ended(&mut self) {
        if let Some(rest) = self.rest.take() {
            *rest.state() = BodyState::Ended;
        }
    }
}

impl Drop for RequestBody {
    fn drop(&mut self) {
        if let (Some(incoming), Some(rest)) = (self.incoming.take(), self.rest.take()) {
            *rest.state() = BodyState::Left(incoming);
        }
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        let Some(incoming) = &mut this.incoming else { return Poll::Ready(None) };
        let polled = Pin::new(&mut *incoming).poll_frame(cx);
        if polled.is_pending() && this.transfer.too_slow(cx) {
            return Poll::Ready(Some(Err(BodyError::Slow)));
        }
        let frame = ready!(polled);
        if frame.is_none() || incoming.is_end_stream() {
            this.ended();
        }
        let Some(frame) = frame else { return Poll::Ready(None) };
        if let Some(data) = frame.as_ref().ok().and_then(Frame::data_ref) {
            this.transfer.moved(data.len());
        }
        Poll::Ready(Some(frame.map_err(BodyError::Broken)))
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}
