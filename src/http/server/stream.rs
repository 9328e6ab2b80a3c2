//! A connection's bytes, read and written.

use std::future::Future;
use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, sleep_until};
use tokio_rustls::server::TlsStream;

use super::connection_limits::ConnectionPermit;
use super::head_guard::HeadGuard;
use super::transfer_deadline::TransferDeadline;

/// The connection itself.
#[derive(Debug)]
pub(super) enum Socket {
    Plain(TcpStream),
    Secure(Box<TlsStream<TcpStream>>),
}

/// Does the same to either kind of socket.
macro_rules! either {
    ($socket:expr, $pin:ident => $done:expr) => {
        match &mut *$socket {
            Socket::Plain(socket) => {
                let $pin = Pin::new(socket);
                $done
            }
            Socket::Secure(socket) => {
                let $pin = Pin::new(socket);
                $done
            }
        }
    };
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        either!(self, socket => socket.poll_read(cx, buf))
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        either!(self, socket => socket.poll_write(cx, buf))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        either!(self, socket => socket.poll_write_vectored(cx, bufs))
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(socket) => socket.is_write_vectored(),
            Self::Secure(socket) => socket.is_write_vectored(),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self, socket => socket.poll_flush(cx))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self, socket => socket.poll_shutdown(cx))
    }
}

/// Time for which a connection stays open for a client that still sends a refused request, so that
/// the client finds its answer and not a reset.
const LINGER_TIME: Duration = Duration::from_secs(2);

/// Maximum number of bytes read meanwhile: an upload refused by its size need not come in whole.
const LINGER_BYTES: usize = 4 * 1024 * 1024;

/// The socket as hyper sees it: a client that takes its answers too slowly breaks it. Holds the
/// connection's permit, since an upgraded connection outlives its task.
#[derive(Debug)]
pub(super) struct Stream {
    socket: Socket,
    guard: HeadGuard,
    transfer: TransferDeadline,
    lingering: Option<Linger>,
    _admission: ConnectionPermit,
}

impl Stream {
    pub(super) const fn new(
        socket: Socket,
        guard: HeadGuard,
        transfer: TransferDeadline,
        permit: ConnectionPermit,
    ) -> Self {
        Self { socket, guard, transfer, lingering: None, _admission: permit }
    }

    fn paced(
        &mut self,
        cx: &mut Context<'_>,
        polled: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        match &polled {
            Poll::Ready(Ok(bytes)) => self.transfer.moved(*bytes),
            Poll::Pending if self.transfer.too_slow(cx) => {
                let what = "the client takes its answers too slowly";
                return Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, what)));
            }
            _ => {}
        }
        polled
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        this.guard.poll_read(&mut this.socket, cx, buf)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.socket).poll_write(cx, buf);
        self.paced(cx, polled)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.socket).poll_write_vectored(cx, bufs);
        self.paced(cx, polled)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.socket).poll_flush(cx);
        if polled.is_ready() {
            self.transfer.complete();
        }
        polled
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if let Some(linger) = &mut this.lingering {
            return linger.poll(&mut this.socket, cx).map(Ok);
        }
        ready!(Pin::new(&mut this.socket).poll_shutdown(cx))?;
        if !this.guard.unread() {
            return Poll::Ready(Ok(()));
        }
        this.lingering.insert(Linger::new()).poll(&mut this.socket, cx).map(Ok)
    }
}

/// Reads and discards, after our side was closed.
#[derive(Debug)]
struct Linger {
    timer: Pin<Box<Sleep>>,
    left: usize,
}

impl Linger {
    fn new() -> Self {
        Self { timer: Box::pin(sleep_until(Instant::now() + LINGER_TIME)), left: LINGER_BYTES }
    }

    /// Ready when the client has closed its side too, or has sent for long enough or enough bytes.
    fn poll(&mut self, socket: &mut Socket, cx: &mut Context<'_>) -> Poll<()> {
        let mut space = [MaybeUninit::uninit(); 4096];
        while self.left > 0 && self.timer.as_mut().poll(cx).is_pending() {
            let mut buf = ReadBuf::uninit(&mut space);
            match ready!(Pin::new(&mut *socket).poll_read(cx, &mut buf)) {
                Ok(()) if !buf.filled().is_empty() => {
                    self.left = self.left.saturating_sub(buf.filled().len());
                }
                _ => break,
            }
        }
        Poll::Ready(())
    }
}
