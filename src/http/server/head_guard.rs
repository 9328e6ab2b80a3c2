//! Each raw HTTP/1 head is checked before hyper sees it.
//!
//! hyper is lenient where two readers of the same bytes may disagree on where a request ends: it
//! drops a `Content-Length` beside a `Transfer-Encoding`, and takes a request without a `Host`. So
//! the guard follows the bytes on their way in: [`Framing`] knows where each message begins and
//! ends, [`head::check`] says whether a head may pass. A head is passed on only when it is whole
//! and good; a refused one is replaced by a request of our own, which the service answers with the
//! reason, in its order behind the requests before it.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf as _, BytesMut};
use tokio::io::{AsyncRead, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

use super::connection_state::ConnectionState;
use super::rejection::Rejection;

mod chunked;
mod framing;
pub(super) mod head;

use framing::{Framing, FramingHalt};
use head::HeadLimits;

/// Request that hyper reads in place of a refused head. A HEAD request gets no body with its
/// answer.
const REFUSED: &[u8] = b"GET /refused HTTP/1.1\r\nhost: refused\r\nconnection: close\r\n\r\n";
const REFUSED_HEAD: &[u8] = b"HEAD /refused HTTP/1.1\r\nhost: refused\r\nconnection: close\r\n\r\n";

/// The read side of a connection.
#[derive(Debug)]
pub(super) struct HeadGuard {
    framing: Framing,
    head_time: Duration,
    watch: Arc<ConnectionState>,
    /// Beginning of a head that is not whole yet, or the bytes after an undecided upgrade.
    held: BytesMut,
    /// Bytes that may pass and did not fit in the reader's buffer.
    passing: BytesMut,
    /// Runs while `held` is the beginning of a head.
    head_timer: Option<Pin<Box<Sleep>>>,
    /// Nothing more is read: a head was refused, or a body is malformed.
    closed: bool,
    ended: bool,
}

impl HeadGuard {
    pub(super) fn new(
        limits: HeadLimits,
        head_time: Duration,
        watch: Arc<ConnectionState>,
    ) -> Self {
        Self {
            framing: Framing::new(limits),
            head_time,
            watch,
            held: BytesMut::new(),
            passing: BytesMut::new(),
            head_timer: None,
            closed: false,
            ended: false,
        }
    }

    /// Returns whether the client may still be sending bytes that nobody reads: then closing at
    /// once would reset the connection, and with it the answer that is under way.
    pub(super) fn unread(&self) -> bool {
        !self.ended && (self.closed || self.framing.inside_message() || !self.held.is_empty())
    }

    /// Reads from `socket` into `buf` the bytes that hyper may see.
    pub(super) fn poll_read<R: AsyncRead + Unpin>(
        &mut self,
        socket: &mut R,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            if !self.passing.is_empty() {
                let room = buf.remaining().min(self.passing.len());
                buf.put_slice(&self.passing[..room]);
                self.passing.advance(room);
                if self.passing.is_empty() {
                    self.passing = BytesMut::new();
                }
                return Poll::Ready(Ok(()));
            }
            if self.closed {
                // The answer closes the connection; an end of the stream would cancel it.
                return Poll::Pending;
            }
            if self.framing.is_undecided() {
                let call = self.framing.heads() - 1;
                let granted = ready!(self.watch.poll_upgraded(call, cx));
                self.framing.decided(granted);
                let held = std::mem::take(&mut self.held);
                self.pass(held);
                continue;
            }
            let before = buf.filled().len();
            let polled = Pin::new(&mut *socket).poll_read(cx, buf);
            if polled.is_pending() && self.head_is_too_slow(cx) {
                self.refuse(Rejection::HeadTooSlow);
                continue;
            }
            ready!(polled)?;
            let arrived = buf.filled().len() - before;
            if arrived == 0 {
                self.ended = true;
                return Poll::Ready(Ok(()));
            }
            if self.held.is_empty() {
                // The usual case: whole heads, and bodies, pass where they lie.
                let (passed, halt) = self.framing.advance(&buf.filled()[before..]);
                if passed < arrived {
                    self.held.extend_from_slice(&buf.filled()[before + passed..]);
                    buf.set_filled(before + passed);
                }
                self.halt(halt);
                if passed > 0 {
                    return Poll::Ready(Ok(()));
                }
            } else {
                let mut held = std::mem::take(&mut self.held);
                held.extend_from_slice(&buf.filled()[before..]);
                buf.set_filled(before);
                self.pass(held);
            }
        }
    }

    /// Passes the part of `bytes` that may pass and holds the rest.
    fn pass(&mut self, mut bytes: BytesMut) {
        let (passed, halt) = self.framing.advance(&bytes);
        let rest = bytes.split_off(passed);
        self.passing = bytes;
        self.held = rest;
        self.halt(halt);
    }

    /// Reacts to the reason why not all bytes could pass.
    fn halt(&mut self, halt: Option<FramingHalt>) {
        self.head_timer = match (halt, self.head_timer.take()) {
            (Some(FramingHalt::Incomplete), None) => {
                Some(Box::pin(sleep_until(Instant::now() + self.head_time)))
            }
            // More of the same head has the same deadline, unless one before it was completed.
            (Some(FramingHalt::Incomplete), timer) if self.passing.is_empty() => timer,
            (Some(FramingHalt::Incomplete), Some(mut timer)) => {
                timer.as_mut().reset(Instant::now() + self.head_time);
                Some(timer)
            }
            _ => None,
        };
        match halt {
            Some(FramingHalt::Refused(rejection)) => self.refuse(rejection),
            // hyper stumbles over the same byte, and the service reads a body that did not arrive.
            Some(FramingHalt::BrokenBody) => {
                self.closed = true;
                self.held = BytesMut::new();
            }
            Some(FramingHalt::Incomplete | FramingHalt::Undecided) | None => {}
        }
    }

    fn refuse(&mut self, rejection: Rejection) {
        let head = self.held.starts_with(b"HEAD ");
        self.passing.extend_from_slice(if head { REFUSED_HEAD } else { REFUSED });
        self.watch.refuse(self.framing.heads(), rejection);
        self.closed = true;
        self.held = BytesMut::new();
        self.head_timer = None;
    }

    fn head_is_too_slow(&mut self, cx: &mut Context<'_>) -> bool {
        self.head_timer.as_mut().is_some_and(|timer| timer.as_mut().poll(cx).is_ready())
    }
}
