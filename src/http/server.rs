//! The accept loop: from a bound listener to a request with everything bounded.
//!
//! warp's own `serve` sets no timer and no cap, so this loop is the server's own, and warp's
//! filters are only the service behind it. Every service behind [`serve`] may rely on this:
//!
//! - each request carries the extension [`Arrival`];
//! - its target and its headers are within [`Limits`], its body fails with [`BodyError::Slow`]
//!   when it does not arrive in time;
//! - a panic answers 500 to its own request and to nobody else;
//! - its `Host` is the one that the client named, also over HTTP/2 and through a trusted proxy;
//! - a response extension [`RoutePattern`] names the route in the access log and in the metrics.
//!
//! `warp::addr::remote()` is always `None` behind this loop: read [`Arrival::peer`].

use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};

mod connection;
mod connection_limits;
mod connection_service;
mod connection_state;
mod head_guard;
pub mod limits;
mod proxies;
mod rejection;
mod request_body;
mod request_id;
mod shutdown;
mod stream;
mod tls;
mod transfer_deadline;

pub(super) use connection_limits::network;
pub(super) use head_guard::head::is_host;
pub use limits::Limits;
pub use proxies::Proxies;
pub(super) use rejection::METHODS;
pub use request_body::{BodyError, RequestBody};
pub use request_id::RequestId;
pub use shutdown::{ShutdownSignal, ShutdownTrigger};
pub use tls::{Tls, TlsError};

use connection_limits::ConnectionLimits;

use super::metrics::Metrics;

/// Delay of the accept loop after the system refused to accept (no file descriptors left): long
/// enough not to spin, short enough that clients do not notice.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Request extension: origin of the request. It is one, since each extension costs an allocation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// The socket address at the other end of the connection: of a client, or of a proxy before it.
    pub peer: SocketAddr,
    /// The address of the client: the peer's, or what a configured proxy says it is.
    pub client: IpAddr,
    /// Scheme between the client and this server, or the configured proxy before it.
    pub scheme: Scheme,
    /// The request's name.
    pub id: RequestId,
}

/// Scheme between the client and this server, or the configured proxy before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// Without TLS.
    Http,
    /// With TLS.
    Https,
}

/// Name in the log and the metrics for requests that no route answers.
const NO_ROUTE: RoutePattern = RoutePattern("none");

/// Response extension: the route that answered, as written in the route table
/// (`/v1/sessions/{id}`). Never the path of the request, which may hold private data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RoutePattern(pub &'static str);

/// Service behind the loop: `warp::service(filter)`, or any tower service that never fails.
pub trait HttpService<B>:
    tower_service::Service<
        Request<RequestBody>,
        Response = Response<B>,
        Error = Infallible,
        Future: Send + 'static,
    > + Clone
    + Send
    + 'static
{
}

impl<S, B> HttpService<B> for S where
    S: tower_service::Service<
            Request<RequestBody>,
            Response = Response<B>,
            Error = Infallible,
            Future: Send + 'static,
        > + Clone
        + Send
        + 'static
{
}

/// A body that a service may answer with.
pub trait ResponseBody:
    http_body::Body<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>>
    + Send
    + 'static
{
}

impl<B> ResponseBody for B where
    B: http_body::Body<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>>
        + Send
        + 'static
{
}

/// Options of a listener.
#[derive(Clone, Debug, Default)]
pub struct ServeOptions {
    /// Limits of connections and requests.
    pub limits: Limits,
    /// Proxies whose `X-Forwarded-*` headers are trusted.
    pub proxies: Proxies,
    /// Speak https.
    pub tls: Option<Tls>,
    /// Measure requests and connections.
    pub metrics: Option<Metrics>,
}

/// Result of a drain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DrainOutcome {
    /// Connections that were cut when [`Limits::drain`] was over. Zero: all ended by themselves.
    pub cut: usize,
}

/// Serves `service` on `listener` until `stop`; then accepts nothing more, lets the requests under
/// way finish for at most [`Limits::drain`], and returns when every task of it has ended.
pub async fn serve<S, B>(
    listener: TcpListener,
    service: S,
    options: ServeOptions,
    stop: ShutdownSignal,
) -> DrainOutcome
where
    S: HttpService<B>,
    B: ResponseBody,
{
    let options = Arc::new(options);
    let limits = &options.limits;
    let connection_limits =
        ConnectionLimits::new(limits.connections, limits.connections_per_address);
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            biased;
            () = stop.wait() => break,
            accepted = accept(&listener, &connection_limits) => accepted,
            Some(_) = connections.join_next(), if !connections.is_empty() => continue,
        };
        let Some((stream, peer, permit)) = accepted else { continue };
        connections.spawn(connection::run(
            stream,
            peer,
            permit,
            service.clone(),
            Arc::clone(&options),
            stop.clone(),
        ));
    }
    drop(listener);
    drain(connections, limits.drain).await
}

/// The next connection that is within the limits. Over the cap in all, clients wait in the system's
/// backlog; over the cap of their address, they are closed at once.
async fn accept(
    listener: &TcpListener,
    connection_limits: &ConnectionLimits,
) -> Option<(TcpStream, SocketAddr, connection_limits::ConnectionPermit)> {
    let slot = connection_limits.slot().await?;
    match listener.accept().await {
        Ok((stream, peer)) => {
            let Some(permit) = connection_limits.admit(slot, peer.ip()) else {
                tracing::debug!(%peer, "connection refused: too many from this address");
                return None;
            };
            if let Err(error) = stream.set_nodelay(true) {
                // The client has gone already; the read will report it.
                tracing::debug!(%peer, %error, "TCP_NODELAY could not be set");
            }
            Some((stream, peer, permit))
        }
        Err(error) => {
            // A connection that was reset in the backlog is the client's fault; any other error (no
            // descriptors, no memory) is local, and passes when connections end.
            if error.kind() != std::io::ErrorKind::ConnectionAborted {
                tracing::warn!(%error, "could not accept a connection");
                tokio::time::sleep_until(Instant::now() + ACCEPT_PAUSE).await;
            }
            None
        }
    }
}

async fn drain(mut connections: JoinSet<()>, cap: Duration) -> DrainOutcome {
    let end = Instant::now() + cap;
    while !connections.is_empty() {
        if timeout_at(end, connections.join_next()).await.is_err() {
            break;
        }
    }
    let cut = connections.len();
    connections.shutdown().await;
    DrainOutcome { cut }
}
