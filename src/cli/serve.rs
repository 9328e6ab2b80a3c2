//! `abide serve`: the parts put together, run, and taken apart in the right order.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock, Weak};
use std::time::Instant;

use tokio::net::{TcpListener, TcpSocket};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::JoinHandle;

use crate::app::{self, App, RunningApp, STACK_BYTES, StopSignal, deliver_webhooks};
use crate::http::health::{self, Readiness};
use crate::http::metrics::{Figures, Metrics};
use crate::http::server::{
    DrainOutcome, ServeOptions, ShutdownSignal, ShutdownTrigger, Tls, serve,
};
use crate::http::{self, Api, password_links};
use crate::outbound::HttpClient;
use crate::store::{Durable, Store};

use super::config::{Config, TlsFiles};
use super::{CliError, data, log, print, workflows};

/// Connections that wait to be accepted; Linux cuts it to `net.core.somaxconn`.
const BACKLOG: u32 = 4096;

/// Serves until a signal says stop.
///
/// # Errors
/// What could not be opened or bound, or what ended the server.
pub(super) fn run(config: &Config) -> Result<(), CliError> {
    let _log = log::start(&config.log).map_err(CliError::Failed)?;
    raise_descriptors();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_stack_size(STACK_BYTES)
        .build()
        .map_err(|error| CliError::Failed(format!("the runtime cannot be started: {error}")))?;
    runtime.block_on(start(config))
}

/// Sources of the metrics that are no requests, once they exist.
#[derive(Clone, Default)]
struct Sources(Arc<OnceLock<(Weak<Durable>, Weak<App>)>>);

impl Sources {
    fn figures(&self) -> Figures {
        let open = self.0.get().and_then(|(store, app)| store.upgrade().zip(app.upgrade()));
        open.map(|(store, app)| Figures {
            store: store.stats(),
            queue_depth: app.queue_depth(),
            record_cache_bytes: app.record_cache_bytes(),
            sessions: app.live_sessions(),
            keys_shed: app.keys_shed(),
            stuck: app.stuck(),
            clock_ahead: app.clock_ahead(),
            calls: app.call_figures(),
            queue_bytes: app.queue_bytes(),
            executor: app.executor_figures(),
        })
        .unwrap_or_default()
    }
}

/// Binds, so that a port that is taken is known before anything is opened, then serves.
async fn start(config: &Config) -> Result<(), CliError> {
    let no_signals = |error| CliError::Failed(format!("signals cannot be caught: {error}"));
    let signals = Signals::new().map_err(no_signals)?;
    let reload = signal(SignalKind::hangup()).map_err(no_signals)?;
    let tls = config.tls.as_ref().map(|TlsFiles { cert, key }| Tls::load(cert, key));
    let tls = tls.transpose().map_err(|error| CliError::Failed(error.to_string()))?;
    let (listener, address) = bind(config.listen)?;
    let sources = Sources::default();
    let figures = sources.clone();
    let front = Front {
        readiness: Readiness::new("it is opening the store"),
        metrics: Metrics::new(move || figures.figures()),
        tls,
        signals,
        reload,
    };
    let (ops_stopper, ops_stop) = ShutdownSignal::new();
    let ops = match config.ops_listen {
        None => None,
        Some(address) => Some(front.serve_operations(config, address, ops_stop)?),
    };
    let served = front.serve(config, listener, address, &sources).await;
    ops_stopper.stop();
    if let Some(ops) = ops {
        joined(ops).await?;
    }
    served
}

/// Parts that exist before the store is open.
struct Front {
    readiness: Readiness,
    metrics: Metrics,
    tls: Option<Tls>,
    signals: Signals,
    /// SIGHUP.
    reload: Signal,
}

impl Front {
    fn serve_operations(
        &self,
        config: &Config,
        address: SocketAddr,
        stop: ShutdownSignal,
    ) -> Result<JoinHandle<DrainOutcome>, CliError> {
        let (listener, address) = bind(address)?;
        let routes = health::routes(self.readiness.clone(), self.metrics.clone());
        let limits = health::limits(&config.limits);
        let entrance = ServeOptions { limits, ..ServeOptions::default() };
        tracing::info!(%address, "operations are served");
        Ok(tokio::spawn(serve(listener, warp::service(routes), entrance, stop)))
    }

    /// Opens everything, serves it until the end, and closes it.
    async fn serve(
        mut self,
        config: &Config,
        listener: TcpListener,
        address: SocketAddr,
        sources: &Sources,
    ) -> Result<(), CliError> {
        let store = data::open(config).await?;
        let RunningApp { app, set_up, stopped } = open_app(config, store.clone()).await?;
        sources.0.get_or_init(|| (Arc::downgrade(&store), Arc::downgrade(&app)));
        let published = match &config.workflows {
            Some(dir) => Some(workflows::publish(&app, dir).await?),
            None => None,
        };
        let metrics = self.metrics.clone();
        let text = Box::new(move || metrics.text());
        let api = Api::new(Arc::clone(&app), config.http.clone(), self.readiness.clone(), text);
        let entrance = ServeOptions {
            limits: config.limits.clone(),
            proxies: config.proxies.clone(),
            tls: self.tls.clone(),
            metrics: Some(self.metrics.clone()),
        };
        let (stopper, stop) = ShutdownSignal::new();
        let serving = tokio::spawn(serve(listener, http::service(api), entrance, stop));
        let watched = Arc::downgrade(&app);
        self.readiness.watch(move || watched.upgrade()?.executor_stuck(Instant::now()));
        self.readiness.ready();
        self.announce(address, set_up.as_ref().map(password_links::address).as_deref());
        tracing::info!(%address, data = %config.data.display(), dev = config.dev, "serving");

        let client = HttpClient::new(config.egress.clone()).map_err(CliError::Failed)?;
        let mut calls = config.calls.clone();
        if config.listen.port() == 0 {
            // Where it listens is known only now.
            calls.public_url =
                calls.public_url.replace(&config.listen.to_string(), &address.to_string());
        }
        let webhooks = tokio::spawn(deliver_webhooks(Arc::clone(&app), client.clone()));
        let calls = app.start_calls(client, calls);
        let stuck = tokio::spawn(Arc::clone(&app).watch_stuck());
        let clock = tokio::spawn(Arc::clone(&app).watch_clock());
        let watching = match (&config.workflows, published) {
            (Some(dir), Some(published)) if config.dev => {
                Some(tokio::spawn(workflows::watch(Arc::clone(&app), dir.clone(), published)))
            }
            _ => None,
        };
        let ended = self.until_the_end(&store, stopped).await;
        if let Some(watching) = watching {
            watching.abort();
        }
        stuck.abort();
        clock.abort();
        self.readiness.not_ready("it is stopping");
        match &ended {
            Ok(signal) => tracing::info!(signal, "stopping"),
            Err(failure) => tracing::error!(%failure, "stopping"),
        }
        // Streams have no end of their own.
        app.end_feed();
        joined(webhooks).await?;
        self.drain(serving, &stopper).await?;
        calls.stop().await;
        app.close().await;
        drop(app);
        let closed = data::close(store).await;
        ended?;
        closed?;
        tracing::info!("stopped");
        Ok(())
    }

    /// Tells that the server is ready; the first line is what scripts wait for.
    fn announce(&self, address: SocketAddr, set_up: Option<&str>) {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        let base = format!("{scheme}://{address}");
        let set_up = set_up
            .map(|path| format!("abide: choose the password of the user admin at {base}{path}\n"));
        let text = format!("abide listening on {base}\n{}", set_up.unwrap_or_default());
        // The server serves although nobody reads its output.
        if let Err(failure) = print(&text) {
            tracing::warn!(%failure, "nobody was told that the server is ready");
        }
    }

    /// The signal that ends the server, or what went wrong. Meanwhile SIGHUP reads the
    /// certificate again.
    async fn until_the_end(
        &mut self,
        store: &Durable,
        mut stopped: StopSignal,
    ) -> Result<&'static str, CliError> {
        let mut store_failed = std::pin::pin!(store.failed());
        loop {
            tokio::select! {
                signal = self.signals.stop() => return Ok(signal),
                reason = &mut stopped => return Err(CliError::Failed(reason)),
                reason = &mut store_failed => return Err(CliError::Failed(reason.to_string())),
                _ = self.reload.recv() => match self.tls.as_ref().map(Tls::reload) {
                    None => tracing::info!("SIGHUP: there is no certificate to read again"),
                    Some(Ok(())) => tracing::info!("the certificate was read again"),
                    Some(Err(error)) => tracing::error!(%error, "the certificate stays as it was"),
                },
            }
        }
    }

    /// Stops the server and waits for its end; a second signal does not wait.
    async fn drain(
        &mut self,
        mut serving: JoinHandle<DrainOutcome>,
        stopper: &ShutdownTrigger,
    ) -> Result<(), CliError> {
        stopper.stop();
        let drained = tokio::select! {
            drained = &mut serving => drained,
            signal = self.signals.stop() => {
                tracing::warn!(signal, "stopping at once");
                serving.abort();
                serving.await
            }
        };
        match drained {
            Ok(DrainOutcome { cut: 0 }) => Ok(()),
            Ok(DrainOutcome { cut }) => {
                tracing::warn!(connections = cut, "cut, since they did not end in time");
                Ok(())
            }
            Err(error) if error.is_cancelled() => Ok(()),
            Err(error) => Err(CliError::Failed(format!("the server ended: {error}"))),
        }
    }
}

async fn joined<T>(task: JoinHandle<T>) -> Result<T, CliError> {
    task.await.map_err(|error| CliError::Failed(format!("a task ended: {error}")))
}

async fn open_app(config: &Config, store: Arc<dyn Store>) -> Result<RunningApp, CliError> {
    let settings = app::AppSettings {
        rules: config.rules.clone(),
        dev: config.dev,
        admin_password: config.admin_password.clone(),
        hooks: config.hooks.clone(),
        memory: config.memory,
        secret_names: Some(config.calls.secrets.keys().cloned().collect()),
        ..app::AppSettings::default()
    };
    let opened = match app::Secret::load_or_create(&config.data) {
        Ok(secret) => App::open(store, secret, settings).await,
        Err(error) => Err(error),
    };
    opened.map_err(|error| CliError::Failed(error.to_string()))
}

fn bind(address: SocketAddr) -> Result<(TcpListener, SocketAddr), CliError> {
    let bound = || -> io::Result<_> {
        let socket = match address {
            SocketAddr::V4(_) => TcpSocket::new_v4()?,
            SocketAddr::V6(_) => TcpSocket::new_v6()?,
        };
        // A restart must not wait for the last run's connections to be forgotten.
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        let listener = socket.listen(BACKLOG)?;
        let address = listener.local_addr()?;
        Ok((listener, address))
    };
    bound().map_err(|error| CliError::Failed(cannot_listen(address, &error)))
}

/// Says why an address cannot be served on, and what to do about it.
pub(super) fn cannot_listen(address: SocketAddr, error: &io::Error) -> String {
    format!("cannot listen on {address}: {error}; choose another with --listen or --ops-listen")
}

/// Raises the number of files that may be open to what the system allows: each connection is one,
/// and the usual 1024 is less than the limit of connections.
pub(super) fn raise_descriptors() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        tracing::warn!(%error, "the limit on open files could not be raised");
    }
}

/// The signals that end a server.
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
    async fn stop(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}
