//! Whether the server lives, whether it is ready, and what it measures.

use std::sync::Arc;

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

/// Whether requests can be served, and why not.
#[derive(Clone, Debug)]
pub struct Readiness(Arc<watch::Sender<Option<&'static str>>>);

impl Readiness {
    /// Not ready, for this reason.
    #[must_use]
    pub fn new(reason: &'static str) -> Self {
        Self(Arc::new(watch::Sender::new(Some(reason))))
    }

    /// Requests can be served.
    pub fn ready(&self) {
        self.0.send_replace(None);
    }

    /// Requests cannot be served any more.
    pub fn not_ready(&self, reason: &'static str) {
        self.0.send_replace(Some(reason));
    }

    /// Why requests cannot be served; `None`: they can.
    #[must_use]
    pub fn reason(&self) -> Option<&'static str> {
        *self.0.borrow()
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

/// What the operations port serves, without a login: `GET /livez`, `/readyz` and `/metrics`.
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
