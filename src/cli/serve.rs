//! `abide serve`: the parts put together, run, and taken apart in the right order.

use std::io;
use std::net::SocketAddr;

use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::http::operations::{self, Readiness};
use crate::http::server::{Drained, Entrance, Stop, Stopper, serve};

use super::config::Config;
use super::{Failure, data, log, print};

/// Connections that wait to be accepted; Linux cuts it to `net.core.somaxconn`.
const BACKLOG: u32 = 4096;

/// Serves until a signal says stop.
///
/// # Errors
/// What could not be opened or bound, or what ended the server.
pub(super) fn run(config: &Config) -> Result<(), Failure> {
    let _log = log::start(&config.log).map_err(Failure::Failed)?;
    raise_descriptors();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::Failed(format!("the runtime cannot be started: {error}")))?;
    runtime.block_on(run_server(config))
}

async fn run_server(config: &Config) -> Result<(), Failure> {
    let mut signals = Signals::new()
        .map_err(|error| Failure::Failed(format!("signals cannot be caught: {error}")))?;
    let (stopper, stop) = Stop::new();
    let (ops_stopper, ops_stop) = Stop::new();
    let readiness = Readiness::new("opening the store");
    let (listener, address) = bind(config.listen)?;
    let ops = match config.ops_listen {
        None => None,
        Some(address) => {
            let (listener, address) = bind(address)?;
            tracing::info!(%address, "operations are served");
            let service = warp::service(operations::routes(readiness.clone()));
            let entrance =
                Entrance { limits: operations::limits(&config.limits), ..Entrance::default() };
            Some(tokio::spawn(serve(listener, service, entrance, ops_stop)))
        }
    };
    let store = data::open(config).await?;
    let failed = store.failed();
    readiness.ready();
    let service = warp::service(operations::routes(readiness.clone()));
    let entrance = Entrance { limits: config.limits.clone(), proxies: config.proxies.clone() };
    let serving = tokio::spawn(serve(listener, service, entrance, stop));
    print(&format!("abide listening on http://{address}\n"))?;
    tracing::info!(%address, data = %config.data.display(), "serving");

    tokio::select! {
        signal = signals.wait() => tracing::info!(signal, "stopping"),
        // Fail stop: nothing is acknowledged any more, and the restart decides.
        error = failed => return Err(Failure::Failed(error.to_string())),
    }
    readiness.not_ready("stopping");
    let drained = drain(serving, &stopper, &mut signals).await?;
    if drained.cut > 0 {
        tracing::warn!(connections = drained.cut, "cut, since they did not end in time");
    }
    data::close(store).await?;
    ops_stopper.stop();
    if let Some(ops) = ops {
        joined(ops.await)?;
    }
    tracing::info!("stopped");
    Ok(())
}

/// Stops the server and waits for its end; a second signal does not wait.
async fn drain(
    mut serving: tokio::task::JoinHandle<Drained>,
    stopper: &Stopper,
    signals: &mut Signals,
) -> Result<Drained, Failure> {
    stopper.stop();
    tokio::select! {
        drained = &mut serving => joined(drained),
        signal = signals.wait() => {
            tracing::warn!(signal, "stopping at once");
            serving.abort();
            match serving.await {
                Err(error) if error.is_cancelled() => Ok(Drained { cut: 0 }),
                ended => joined(ended),
            }
        }
    }
}

fn joined<T>(ended: Result<T, tokio::task::JoinError>) -> Result<T, Failure> {
    ended.map_err(|error| Failure::Failed(format!("the server ended: {error}")))
}

fn bind(address: SocketAddr) -> Result<(TcpListener, SocketAddr), Failure> {
    let bound = || -> io::Result<_> {
        let socket = match address {
            SocketAddr::V4(_) => tokio::net::TcpSocket::new_v4()?,
            SocketAddr::V6(_) => tokio::net::TcpSocket::new_v6()?,
        };
        // A restart must not wait for the last run's connections to be forgotten.
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        let listener = socket.listen(BACKLOG)?;
        let address = listener.local_addr()?;
        Ok((listener, address))
    };
    bound().map_err(|error| Failure::Failed(format!("cannot listen on {address}: {error}")))
}

/// Raises the number of files that may be open as far as the system lets us: each connection is
/// one, and the usual 1024 is less than the cap on connections.
fn raise_descriptors() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        tracing::warn!(%error, "the limit on open files could not be raised");
    }
}

/// The signals that a server listens to.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// The name of the next signal to stop.
    async fn wait(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}
