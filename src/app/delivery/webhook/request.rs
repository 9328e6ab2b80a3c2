//! One attempt to deliver an event: the signed request, and what the response means.

use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use http::{HeaderMap, Method};

use crate::app::App;
use crate::app::delivery::backoff::Backoff;
use crate::app::feed::EventId;
use crate::app::signature::sign_standard;
use crate::engine::Webhook;
use crate::outbound::{HttpClient, HttpRequest, HttpResponse};

/// Delays between the attempts for one event.
pub(super) const BACKOFF: Backoff =
    Backoff { first: Duration::from_millis(500), max: Duration::from_hours(4) };

/// Longest time of an attempt.
const TIMEOUT: Duration = Duration::from_secs(15);

/// Result of an attempt.
pub(super) enum DeliveryResult {
    Accepted,
    /// The receiver answers 410: it does not exist any more.
    Gone,
    Failed {
        error: String,
        /// Shortest delay that the receiver asks for.
        retry_after: Duration,
    },
}

/// Sends an event.
pub(super) async fn deliver(
    app: &App,
    client: &HttpClient,
    webhook: &Webhook,
    id: EventId,
    body: Bytes,
) -> DeliveryResult {
    let reply = match send(app, client, webhook, &id.to_string(), body).await {
        Ok(reply) => reply,
        Err(error) => return DeliveryResult::Failed { error, retry_after: Duration::ZERO },
    };
    match reply.status {
        200..=299 => DeliveryResult::Accepted,
        410 => DeliveryResult::Gone,
        status => DeliveryResult::Failed {
            error: format!("the receiver answers {status}"),
            retry_after: reply
                .retry_after(app.wall_now())
                .map_or(Duration::ZERO, |wait| Duration::from_millis(wait.ms()).min(BACKOFF.max)),
        },
    }
}

async fn send(
    app: &App,
    client: &HttpClient,
    webhook: &Webhook,
    id: &str,
    body: Bytes,
) -> Result<HttpResponse, String> {
    let uri = webhook.url.parse().map_err(|_| "the address is none".to_owned())?;
    // Receivers compare it with their own wall clock.
    let seconds = app.wall_now().ms() / 1000;
    let keys = app.webhook_keys(webhook);
    let signature = sign_standard(&keys, id, seconds, &body);
    let mut headers = HeaderMap::new();
    for (name, value) in [
        (CONTENT_TYPE, "application/cloudevents+json".to_owned()),
        (HeaderName::from_static("webhook-id"), id.to_owned()),
        (HeaderName::from_static("webhook-timestamp"), seconds.to_string()),
        (HeaderName::from_static("webhook-signature"), signature),
    ] {
        let value = HeaderValue::from_str(&value).map_err(|error| error.to_string())?;
        headers.insert(name, value);
    }
    let request = HttpRequest { method: Method::POST, uri, headers, body, timeout: TIMEOUT };
    client.send(request).await.map_err(|failure| failure.to_string())
}
