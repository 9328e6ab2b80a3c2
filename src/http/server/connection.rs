//! One connection, from its acceptance to its end.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};

use hyper::rt::Executor;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_rustls::TlsAcceptor;

use super::super::metrics::Metrics;
use super::connection_limits::ConnectionPermit;
use super::connection_service::ConnectionService;
use super::connection_state::ConnectionState;
use super::head_guard::HeadGuard;
use super::head_guard::head::HeadLimits;
use super::limits::{
    BUFFER_BYTES, CONNECTION_RECEIVE_BYTES, ERROR_RESET_STREAMS, HEADER_FIELDS,
    KEEP_ALIVE_INTERVAL, KEEP_ALIVE_TIMEOUT, RESET_STREAMS, STREAM_RECEIVE_BYTES,
    STREAM_SEND_BYTES, STREAMS,
};
use super::stream::{Socket, Stream};
use super::transfer_deadline::TransferDeadline;
use super::{HttpService, Limits, ResponseBody, ServeOptions, ShutdownSignal};

/// Serves one connection until it ends, is idle for too long, or the server shuts down.
pub(super) async fn run<S, B>(
    socket: TcpStream,
    peer: SocketAddr,
    permit: ConnectionPermit,
    service: S,
    options: Arc<ServeOptions>,
    stop: ShutdownSignal,
) where
    S: HttpService<B>,
    B: ResponseBody,
{
    let limits = &options.limits;
    let socket = match &options.tls {
        None => Socket::Plain(socket),
        Some(tls) => {
            let handshake = TlsAcceptor::from(tls.current()).accept(socket);
            match timeout(limits.handshake_time, handshake).await {
                Ok(Ok(secure)) => Socket::Secure(Box::new(secure)),
                Ok(Err(error)) => return tracing::debug!(%peer, %error, "no TLS handshake"),
                Err(_) => return tracing::debug!(%peer, "the TLS handshake took too long"),
            }
        }
    };
    let _connected = options.metrics.as_ref().map(Metrics::connected);
    let streams = Streams::default();
    let watch = ConnectionState::new();
    let head_limits =
        HeadLimits { head_bytes: limits.head_bytes, target_bytes: limits.target_bytes };
    let guard = HeadGuard::new(head_limits, limits.head_time, Arc::clone(&watch));
    let transfer = TransferDeadline::new(limits.transfer_time);
    let io = TokioIo::new(Stream::new(socket, guard, transfer, permit));
    let answering = ConnectionService::new(service, peer, Arc::clone(&options), Arc::clone(&watch));
    let builder = builder(limits, streams.clone());
    let mut serving = pin!(builder.serve_connection_with_upgrades(io, answering));
    let mut stopping = false;
    loop {
        let now = Instant::now();
        let idle_until = watch.idle_until(limits.idle_time);
        // A request may begin meanwhile, and its answer stall.
        let soon = now + limits.transfer_time;
        let look_again = idle_until.map_or(soon, |idle_until| idle_until.min(soon));
        tokio::select! {
            biased;
            ended = serving.as_mut() => {
                if let Err(error) = ended {
                    tracing::debug!(%peer, error, "connection ended");
                }
                break;
            }
            () = stop.wait(), if !stopping => {
                stopping = true;
                serving.as_mut().graceful_shutdown();
            }
            () = sleep_until(look_again) => {
                let idle = watch.idle_until(limits.idle_time).is_some_and(|at| at <= Instant::now());
                if idle && stopping {
                    // It was asked to end and did not: the client does not close its side.
                    break;
                }
                if watch.has_stalled(limits.transfer_time) {
                    tracing::debug!(%peer, "the client takes its answers too slowly");
                    break;
                }
                if idle {
                    stopping = true;
                    serving.as_mut().graceful_shutdown();
                }
            }
        }
    }
    streams.end();
}

fn builder(limits: &Limits, streams: Streams) -> auto::Builder<Streams> {
    let mut builder = auto::Builder::new(streams);
    builder
        .http1()
        .timer(TokioTimer::new())
        .max_headers(HEADER_FIELDS)
        .max_buf_size(BUFFER_BYTES)
        // The guard gives a head whole or not at all, and has the timer.
        .header_read_timeout(None)
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS)
        .initial_stream_window_size(STREAM_RECEIVE_BYTES)
        .initial_connection_window_size(CONNECTION_RECEIVE_BYTES)
        .max_pending_accept_reset_streams(RESET_STREAMS)
        .max_local_error_reset_streams(ERROR_RESET_STREAMS)
        .keep_alive_interval(KEEP_ALIVE_INTERVAL)
        .keep_alive_timeout(KEEP_ALIVE_TIMEOUT)
        .max_send_buf_size(STREAM_SEND_BYTES)
        .max_header_list_size(u32::try_from(limits.head_bytes).unwrap_or(u32::MAX));
    builder
}

/// hyper as it serves every connection, for tests of how it reads.
#[cfg(test)]
pub(super) fn plain_builder(limits: &Limits) -> auto::Builder<Streams> {
    builder(limits, Streams::default())
}

/// Runs the tasks that HTTP/2 needs beside the connection's own; all of them end with the
/// connection.
#[derive(Clone, Debug, Default)]
pub(super) struct Streams(Arc<Mutex<JoinSet<()>>>);

impl<F> Executor<F> for Streams
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, stream: F) {
        let mut tasks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        while tasks.try_join_next().is_some() {}
        tasks.spawn(stream);
    }
}

impl Streams {
    fn end(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).abort_all();
    }
}
