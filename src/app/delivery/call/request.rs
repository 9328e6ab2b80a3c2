//! The HTTP request of a call, and its answer as the engine takes it.

use std::cell::Cell;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri};
use serde_json::{Value, json};

use super::settings::CallSettings;
use crate::engine::{CallAttempt, CallResult, ChallengeKey, filled_ask};
use crate::outbound::{HttpRequest, HttpResponse};
use crate::types::{Time, TraceContext, secret_name};

/// Maximum nesting of a service's JSON, as of a request's body.
const BODY_DEPTH_MAX: usize = 64;

/// Builds the request of an attempt. Replaces the markers of what is not stored: secrets, one-time
/// codes, addresses of callbacks.
pub(super) fn build(
    attempt: &CallAttempt,
    settings: &CallSettings,
    key: &ChallengeKey,
    trace: Option<TraceContext>,
) -> Result<HttpRequest, String> {
    let unset = Cell::new(None);
    let known = |what: &str| match what.split_once(':') {
        Some(("secret", name)) => {
            let name = secret_name(name);
            let found = settings.secrets.get(&name).cloned();
            if found.is_none() {
                unset.set(Some(name));
            }
            found
        }
        Some(("code", _)) => attempt.code.clone(),
        None if what == "callback" => {
            Some(format!("{}/v1/callbacks/{}", settings.public_url, attempt.callback))
        }
        _ => None,
    };
    let fill = |text: &str| {
        let missing = || {
            let name = unset.take().unwrap_or_else(|| "NAME".to_owned());
            format!("the secret {name} is not set (ABIDE_SECRET_{name}), or is a hook's")
        };
        filled_ask(key, attempt.tx, text, &known).ok_or_else(missing)
    };
    let ask = &attempt.ask;
    let uri: Uri = fill(&ask.url)?.parse().map_err(|_| "its address is none".to_owned())?;
    let method: Method = ask.method.parse().map_err(|_| "its method is none".to_owned())?;
    let mut headers = HeaderMap::new();
    for (name, value) in &ask.headers {
        let name = HeaderName::try_from(&**name).map_err(|_| format!("no header: {name}"))?;
        let mut value = HeaderValue::try_from(fill(value)?)
            .map_err(|_| format!("the header {name} has characters that none may have"))?;
        value.set_sensitive(true);
        headers.insert(name, value);
    }
    put_own_headers(&mut headers, attempt, trace)?;
    let body = match &ask.body {
        None => Bytes::new(),
        Some(text) => {
            let body = serde_json::from_str(text).map_err(|error| error.to_string())?;
            if !headers.contains_key(http::header::CONTENT_TYPE) {
                let json = HeaderValue::from_static("application/json");
                headers.insert(http::header::CONTENT_TYPE, json);
            }
            filled_body(body, &fill)?.to_string().into()
        }
    };
    let timeout = Duration::from_millis(ask.timeout.ms());
    Ok(HttpRequest { method, uri, headers, body, timeout })
}

/// Writes the headers of the server itself: the idempotency key, the operation, the trace.
fn put_own_headers(
    headers: &mut HeaderMap,
    attempt: &CallAttempt,
    trace: Option<TraceContext>,
) -> Result<(), String> {
    let mut own = |name: &'static str, text: &str| -> Result<(), String> {
        let value = HeaderValue::try_from(text).map_err(|_| format!("no header: {name}"))?;
        headers.insert(name, value);
        Ok(())
    };
    own("idempotency-key", &attempt.key)?;
    own("abide-op", if attempt.purpose.as_str() == "undo" { "undo" } else { "do" })?;
    let span = u64::from(attempt.number) << 32 | u64::from(attempt.attempt);
    match trace {
        None => own("traceparent", &format!("00-{:032x}-{span:016x}-01", attempt.tx.bits())),
        Some(trace) => {
            own("traceparent", &trace.parent_of(span))?;
            trace.state().map_or(Ok(()), |state| own("tracestate", state))
        }
    }
}

/// Replaces the markers in a body. It was a valid body before, so its nesting is bounded.
fn filled_body(
    body: Value,
    fill: &impl Fn(&str) -> Result<String, String>,
) -> Result<Value, String> {
    Ok(match body {
        Value::String(text) => Value::String(fill(&text)?),
        Value::Array(items) => Value::Array(
            items.into_iter().map(|item| filled_body(item, fill)).collect::<Result<_, _>>()?,
        ),
        Value::Object(entries) => Value::Object(
            entries
                .into_iter()
                .map(|(key, value)| Ok((key, filled_body(value, fill)?)))
                .collect::<Result<_, String>>()?,
        ),
        other => other,
    })
}

/// Returns the answer of a service as the engine takes it.
pub(super) fn answered(reply: HttpResponse, now: Time, excerpt: Arc<str>) -> CallResult {
    let retry_after = reply.retry_after(now);
    let HttpResponse { status, headers, body, truncated } = reply;
    let texts = headers
        .iter()
        .filter_map(|(name, value)| Some((name.as_str().to_owned(), json!(value.to_str().ok()?))));
    let headers = Value::Object(texts.collect());
    let body = match serde_json::from_slice(&body) {
        // The beginning of something longer is no JSON, even if it parses; and JSON that is nested
        // deeper than a request's may be is kept as text.
        Ok(body) if !truncated && is_within(&body, BODY_DEPTH_MAX) => body,
        _ => match readable(&body, truncated) {
            "" => Value::Null,
            text => json!(text),
        },
    };
    CallResult::Answered { status, headers, body, truncated, retry_after, excerpt }
}

/// Returns whether JSON has at most so many levels.
fn is_within(value: &Value, levels: usize) -> bool {
    match value {
        Value::Array(items) => levels > 0 && items.iter().all(|item| is_within(item, levels - 1)),
        Value::Object(entries) => {
            levels > 0 && entries.values().all(|entry| is_within(entry, levels - 1))
        }
        _ => true,
    }
}

/// Returns the text of a body; of a truncated one, without the character that is cut in two.
fn readable(body: &[u8], truncated: bool) -> &str {
    match std::str::from_utf8(body) {
        Ok(text) => text,
        Err(error) if truncated && error.error_len().is_none() => {
            std::str::from_utf8(&body[..error.valid_up_to()]).unwrap_or_default()
        }
        Err(_) => "",
    }
}
