//! The HTTP layer: bytes on a socket become commands, and outcomes become responses.
//!
//! `routes` is the route table, `dispatch` the path of one request, `problem` the only place
//! that maps errors to statuses; each resource has one file.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

mod accounts;
mod address_quota;
mod amounts;
mod api_keys;
mod assets;
mod asyncapi;
mod authentication;
mod body_reader;
mod body_stream;
pub mod browser;
mod bulk;
mod callbacks;
mod chain;
mod data;
mod dispatch;
mod docs;
mod etag;
mod events;
mod external_sessions;
pub mod headers;
pub mod health;
mod holds;
mod hooks;
mod inbox;
pub mod input;
mod introspection;
pub mod json;
mod json_text;
pub mod metrics;
mod openapi;
pub mod operation;
mod operators;
mod pages;
mod pagination;
pub mod password_links;
pub mod problem;
pub mod rates;
mod read_reply;
pub mod reply;
pub mod request_context;
pub mod route;
pub mod router;
mod routes;
mod schedules;
mod schemas;
mod send_budget;
pub mod server;
mod server_info;
mod sessions;
pub mod strict_json;
mod transactions;
mod transfers;
mod users;
mod values;
mod webhooks;
mod websocket;
mod workflows;

pub use dispatch::service;

use address_quota::AddressQuota;
use browser::Origins;
use health::Readiness;
use rates::{RateSettings, Rates};
use router::Router;
use send_budget::SendBudget;

use crate::app::App;
use crate::outbound::EgressPolicy;

/// Default limit of a body, in bytes: four times the largest session data.
pub const BODY_BYTES_MAX: usize = 256 * 1024;

/// Part of all request bodies under way that one address may hold.
const BODIES_PART: usize = 2;

/// Maximum number of sockets that have not authenticated yet, in all and of one address: each has
/// 10 s for it.
const ANONYMOUS_SOCKETS_MAX: usize = 512;
const ANONYMOUS_SOCKETS_PER_ADDRESS_MAX: usize = 64;

/// Settings of the HTTP layer.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Maximum size of a body, in bytes.
    pub body_bytes_max: usize,
    /// The origins whose pages may call with a bearer token: `https://app.example`, or
    /// `https://*.example.com` for all below a domain.
    pub cors_origins: Vec<String>,
    /// Configured URL at which clients reach this server: an origin of its own pages.
    pub public_url: Option<String>,
    /// Rate limits for addresses and actors; `None`: there are none.
    pub rates: Option<RateSettings>,
    /// Servers that webhooks may be delivered to.
    pub egress: EgressPolicy,
    /// True if the server has the routes for development.
    pub dev: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            body_bytes_max: BODY_BYTES_MAX,
            cors_origins: Vec::new(),
            public_url: None,
            rates: Some(RateSettings::default()),
            egress: EgressPolicy::default(),
            dev: false,
        }
    }
}

/// Writes the measurements in the text format of Prometheus.
pub type MetricsText = Box<dyn Fn() -> String + Send + Sync>;

/// State that all requests share.
pub struct Api {
    app: Arc<App>,
    settings: Settings,
    readiness: Readiness,
    metrics: MetricsText,
    rates: Option<Rates>,
    origins: Origins,
    router: Router,
    /// Answers that are not sent yet.
    answers: SendBudget,
    /// Events that wait for readers of streams.
    events: SendBudget,
    /// Bytes of request bodies of which a part has arrived.
    bodies: Arc<AddressQuota>,
    /// Quota of sockets that have not authenticated yet.
    anonymous_sockets: Arc<AddressQuota>,
    openapi: Bytes,
    asyncapi: Bytes,
    docs: docs::Docs,
}

impl Api {
    /// The API of this application.
    #[must_use]
    pub fn new(
        app: Arc<App>,
        settings: Settings,
        readiness: Readiness,
        metrics: MetricsText,
    ) -> Arc<Self> {
        let dev: &[_] = if settings.dev { routes::DEV_ROUTES } else { &[] };
        let document = openapi::document(routes::ROUTES.iter().chain(dev), app.rules());
        // One body of the largest size fits in any case.
        let body_bytes = app.memory().request_body_bytes().max(2 * settings.body_bytes_max);
        Arc::new(Self {
            router: Router::new(routes::ROUTES.iter().chain(dev)),
            rates: settings.rates.map(Rates::new),
            origins: Origins::new(&settings.cors_origins, settings.public_url.as_deref()),
            answers: SendBudget::new(app.memory().answer_bytes()),
            events: SendBudget::new(app.memory().stream_bytes()),
            docs: docs::Docs::new(&document),
            bodies: AddressQuota::new(body_bytes, body_bytes / BODIES_PART),
            anonymous_sockets: AddressQuota::new(
                ANONYMOUS_SOCKETS_MAX,
                ANONYMOUS_SOCKETS_PER_ADDRESS_MAX,
            ),
            openapi: document.to_string().into(),
            asyncapi: asyncapi::document().to_string().into(),
            app,
            settings,
            readiness,
            metrics,
        })
    }
}

impl fmt::Debug for Api {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Api").field("settings", &self.settings).finish_non_exhaustive()
    }
}
