//! Whether the server lives, whether it is ready, and what it measures.

use std::sync::Arc;

use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, StatusCode};
use tokio::sync::watch;
use warp::Filter;
use warp::filters::BoxedFilter;
use warp::reply::Response;

use super::server::{Limits, RoutePattern};

/// Connections to the operations port: a handful of scrapers and probes.
const OPERATIONS_CONNECTIONS: usize = 64;

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

/// `GET /livez` and `GET /readyz`.
#[must_use]
pub fn routes(readiness: Readiness) -> BoxedFilter<(Response,)> {
    let livez = warp::path!("livez").and(warp::get()).map(|| {
        answer("/livez", StatusCode::OK, "application/json", r#"{"status":"ok"}"#.to_owned())
    });
    let readyz = warp::path!("readyz").and(warp::get()).map(move || match readiness.reason() {
        None => answer(
            "/readyz",
            StatusCode::OK,
            "application/json",
            r#"{"status":"ready"}"#.to_owned(),
        ),
        Some(reason) => {
            let problem = serde_json::json!({
                "type": "/problems/not-ready",
                "title": "Not ready",
                "status": 503,
                "code": "not-ready",
                "detail": format!("The server is not ready: {reason}."),
            });
            let status = StatusCode::SERVICE_UNAVAILABLE;
            answer("/readyz", status, "application/problem+json", problem.to_string())
        }
    });
    livez.or(readyz).unify().boxed()
}

fn answer(route: &'static str, status: StatusCode, kind: &'static str, body: String) -> Response {
    let mut answer = Response::new(body.into());
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    answer.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer.extensions_mut().insert(RoutePattern(route));
    answer
}
