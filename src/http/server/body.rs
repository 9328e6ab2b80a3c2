//! A request's body, which must arrive in time.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use super::pace::Pace;

/// A request's body as it arrives.
#[derive(Debug)]
pub struct RequestBody {
    incoming: Incoming,
    pace: Pace,
    /// Set when it was read to its end; `None`: nobody asks.
    read: Option<Arc<AtomicBool>>,
}

/// Why a body did not arrive.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// The client took too long to send it.
    #[error("the body did not arrive in time")]
    Slow,
    /// The connection broke, or what came was no body.
    #[error("the body did not arrive: {0}")]
    Broken(#[from] hyper::Error),
}

impl RequestBody {
    pub(super) const fn new(incoming: Incoming, least: Duration) -> Self {
        Self { incoming, pace: Pace::new(least), read: None }
    }

    /// The same, telling when it was read to its end.
    pub(super) fn telling(self, read: Option<Arc<AtomicBool>>) -> Self {
        Self { read, ..self }
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
        let polled = Pin::new(&mut this.incoming).poll_frame(cx);
        if polled.is_pending() && this.pace.too_slow(cx) {
            return Poll::Ready(Some(Err(BodyError::Slow)));
        }
        let frame = ready!(polled);
        if (frame.is_none() || this.incoming.is_end_stream())
            && let Some(read) = &this.read
        {
            read.store(true, Ordering::Release);
        }
        let Some(frame) = frame else { return Poll::Ready(None) };
        if let Some(data) = frame.as_ref().ok().and_then(Frame::data_ref) {
            this.pace.moved(data.len());
        }
        Poll::Ready(Some(frame.map_err(BodyError::Broken)))
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}
