//! An answer that is sent piece by piece.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_core::Stream;
use tokio::sync::mpsc;
use warp::Reply as _;

/// The body of an answer that is made while it is sent.
#[derive(Clone, Debug)]
pub struct BodyStream(Arc<Mutex<Option<mpsc::Receiver<Bytes>>>>);

impl BodyStream {
    /// A body of the bytes that are sent here; it ends when the sender is dropped.
    #[must_use]
    pub fn new(bits: mpsc::Receiver<Bytes>) -> Self {
        Self(Arc::new(Mutex::new(Some(bits))))
    }

    /// The body, once.
    pub(super) fn body(&self) -> warp::reply::Response {
        let bits = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        match bits {
            Some(bits) => warp::reply::stream(Bits(bits)).into_response(),
            None => warp::reply().into_response(),
        }
    }
}

struct Bits(mpsc::Receiver<Bytes>);

impl Stream for Bits {
    type Item = Result<Bytes, std::convert::Infallible>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.poll_recv(cx).map(|bit| bit.map(Ok))
    }
}
