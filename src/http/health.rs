//! Liveness, readiness and metrics of the server.

use std::borrow::Cow;
use std::fmt;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use http::Method;
use tokio::sync::watch;
use warp::Filter;
use warp::filters::BoxedFilter;
use warp::path::FullPath;
use warp::reply::Response;

use super::browser;
use super::metrics::Metrics;
use super::problem::{Code, Problem};
use super::reply::Reply;
use super::server::{Arrival, Limits, RoutePattern, Scheme};

/// Connections to the operations port: a handful of scrapers and probes.
const OPERATIONS_CONNECTIONS: usize = 64;

/// The media type of the metrics.
pub const METRICS_MEDIA_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Readiness to serve requests, or the reason against it.
#[derive(Clone, Debug)]
pub struct Readiness(Arc<State>);

/// Function that returns why a part of the server has stopped; `None`: it has not.
type Stuck = Box<dyn Fn() -> Option<String> + Send + Sync>;

struct State {
    reason: watch::Sender<Option<&'static str>>,
    /// Called at each check: a part that has stopped cannot report it.
    stuck: OnceLock<Stuck>,
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("State").field("reason", &*self.reason.borrow()).finish_non_exhaustive()
    }
}

impl Readiness {
    /// Returns a readiness that is negative for this reason.
    #[must_use]
    pub fn new(reason: &'static str) -> Self {
        let reason = watch::Sender::new(Some(reason));
        Self(Arc::new(State { reason, stuck: OnceLock::new() }))
    }

    /// Notes that requests can be served.
    pub fn ready(&self) {
        self.0.reason.send_replace(None);
    }

    /// Notes that requests cannot be served any more.
    pub fn not_ready(&self, reason: &'static str) {
        self.0.reason.send_replace(Some(reason));
    }

    /// Adds a check whether a part of the server has stopped. Called once.
    pub fn watch(&self, stuck: impl Fn() -> Option<String> + Send + Sync + 'static) {
        self.0.stuck.get_or_init(|| Box::new(stuck));
    }

    /// Returns why requests cannot be served; `None`: they can.
    #[must_use]
    pub fn reason(&self) -> Option<Cow<'static, str>> {
        let reason = *self.0.reason.borrow();
        let stuck = || self.0.stuck.get().and_then(|stuck| stuck()).map(Cow::Owned);
        reason.map(Cow::Borrowed).or_else(stuck)
    }
}

/// The limits of the operations port: its own caps, so that it answers when the API is full.
#[must_use]
pub fn limits(of_the_api: &Limits) -> Limits {
    Limits {
        connections: OPERATIONS_CONNECTIONS,
        connections_per_address: OPERATIONS_CONNECTIONS,
        ..of_the_api.clone()
    }
}

/// Routes of the operations port, without a login: `GET /livez`, `/readyz` and `/metrics`.
#[must_use]
pub fn routes(readiness: Readiness, metrics: Metrics) -> BoxedFilter<(Response,)> {
    warp::method()
        .and(warp::path::full())
        .and(warp::ext::get::<Arrival>())
        .map(move |method: Method, path: FullPath, Arrival { id, .. }| {
            let get = method == Method::GET || method == Method::HEAD;
            let (route, reply) = match path.as_str() {
                "/livez" if get => ("/livez", Ok(Reply::json_bytes(&br#"{"status":"ok"}"#[..]))),
                "/readyz" if get => ("/readyz", ready(&readiness)),
                "/metrics" if get => {
                    ("/metrics", Ok(Reply::text(METRICS_MEDIA_TYPE, metrics.text())))
                }
                _ => ("none", Err(Problem::plain(Code::NotFound))),
            };
            let mut reply =
                reply.unwrap_or_else(|problem| Reply::problem(&problem, &id.to_string()));
            browser::harden(&mut reply.headers, Scheme::Http);
            let mut response = http::Response::<Bytes>::from(reply).map(Into::into);
            response.extensions_mut().insert(RoutePattern(route));
            response
        })
        .boxed()
}

fn ready(readiness: &Readiness) -> Result<Reply, Problem> {
    match readiness.reason() {
        None => Ok(Reply::json_bytes(&br#"{"status":"ready"}"#[..])),
        Some(reason) => Err(Problem::new(Code::NotReady, reason)),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    #[test]
    fn server_whose_executor_stands_still_is_not_ready() {
        let readiness = Readiness::new("it is opening the store");
        assert_eq!(readiness.reason().as_deref(), Some("it is opening the store"));
        let stands = Arc::new(AtomicBool::new(false));
        let watched = Arc::clone(&stands);
        readiness.watch(move || watched.load(Ordering::Relaxed).then(|| "it stands".to_owned()));
        readiness.ready();
        assert!(readiness.reason().is_none() && ready(&readiness).is_ok());
        stands.store(true, Ordering::Relaxed);
        assert_eq!(ready(&readiness).map_err(|problem| problem.code).err(), Some(Code::NotReady));
        assert_eq!(readiness.clone().reason().as_deref(), Some("it stands"));
    }
}
