//! Requests to other services: `call`, `compensate`, `send`.

use std::sync::Arc;

use super::kinds;
use super::reader::{DefinitionReader, DocumentNode};
use super::step::{kind_of, list};
use super::tree::TreeNode;
use super::words;
use crate::engine::expression::{Type, TypeScope};
use crate::engine::workflow::definition::{RequestTemplate, Template};
use crate::types::Span;

/// Maximum number of attempts at one request.
const ATTEMPTS_MAX: u32 = 100;
/// Maximum time-out of an attempt.
const TIMEOUT_MAX: Span = Span::from_minutes(10);
/// Maximum number of headers of a request.
const HEADERS_MAX: usize = 32;
/// Maximum number of requests that undo one step.
const UNDO_MAX: usize = 8;
/// Maximum factor by which each wait grows.
const FACTOR_MAX: u32 = 10;

/// Headers that the server writes itself.
const OWN_HEADERS: [&str; 9] = [
    "host",
    "content-length",
    "transfer-encoding",
    "connection",
    "upgrade",
    "te",
    "idempotency-key",
    "abide-op",
    "traceparent",
];

/// Use of a request.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(in crate::engine) enum RequestUse {
    Call,
    Undo,
    Send,
}

/// Reads a request.
pub(in crate::engine) fn request(
    reader: &mut DefinitionReader,
    spot: &DocumentNode<'_>,
    scope: &TypeScope,
    purpose: RequestUse,
) -> Option<RequestTemplate> {
    let (what, keys): (_, &[&str]) = match purpose {
        RequestUse::Call => ("`call`", &words::CALL),
        RequestUse::Undo => ("`call`", &words::UNDO_CALL),
        RequestUse::Send => ("`send`", &words::SEND),
    };
    let fields = reader.fields(spot, what, keys, &[])?;
    let mut scope = scope.clone();
    if purpose == RequestUse::Call && fields.get("callback").is_some() {
        scope.names.insert("callback".into(), kinds::callback());
    }
    let url = reader.required(&fields, "url", what).cloned();
    let url = url.map(|spot| {
        let made = reader.template(&spot, &scope);
        reader.expect(&spot.pointer, &kind_of(&made), &[Type::Text], "an address");
        if let Template::Literal(serde_json::Value::String(text)) = &made
            && !text.starts_with("http://")
            && !text.starts_with("https://")
        {
            let message = "an address begins with `https://` or `http://`";
            reader.fault(&spot.pointer, "invalid-value", message);
        }
        made
    });
    let method = fields.get("method").map_or(Some("POST".into()), |spot| method(reader, spot));
    let headers =
        fields.get("headers").map(|spot| headers(reader, spot, &scope)).unwrap_or_default();
    let body = fields.get("body").map(|spot| reader.template(spot, &scope));
    let timeout = fields.get("timeout").map_or(Some(RequestTemplate::TIMEOUT), |spot| {
        let span = reader.span(spot)?;
        if span > TIMEOUT_MAX {
            let message = format!("an attempt takes at most {TIMEOUT_MAX}");
            reader.fault(&spot.pointer, "invalid-value", message);
        }
        Some(span)
    });
    let (attempts, first, max) = if purpose == RequestUse::Send {
        (RequestTemplate::SEND_ATTEMPTS, RequestTemplate::SEND_FIRST, RequestTemplate::SEND_MAX)
    } else {
        (RequestTemplate::ATTEMPTS, RequestTemplate::FIRST, RequestTemplate::MAX)
    };
    let mut request = RequestTemplate {
        method: method?,
        url: url?,
        headers,
        body,
        timeout: timeout?,
        attempts,
        first,
        factor: RequestTemplate::FACTOR,
        max,
        refused: RequestTemplate::REFUSED.to_vec(),
        callback: fields.get("callback").and_then(|spot| reader.span(spot)),
    };
    if let Some(spot) = fields.get("retry") {
        retry(reader, spot, &mut request);
    }
    if let Some(spot) = fields.get("refused") {
        request.refused = statuses(reader, spot);
    }
    Some(request)
}

fn method(reader: &mut DefinitionReader, spot: &DocumentNode<'_>) -> Option<Arc<str>> {
    const METHODS: [&str; 5] = ["GET", "POST", "PUT", "PATCH", "DELETE"];
    let text = reader.text(spot, "a method")?;
    if METHODS.contains(&text) {
        return Some(text.into());
    }
    let message = "a method is GET, POST, PUT, PATCH or DELETE";
    reader.fault(&spot.pointer, "invalid-value", message);
    None
}

fn headers(
    reader: &mut DefinitionReader,
    spot: &DocumentNode<'_>,
    scope: &TypeScope,
) -> Vec<(Arc<str>, Template)> {
    let entries = reader.entries(spot, "a mapping of headers").unwrap_or_default();
    if entries.len() > HEADERS_MAX {
        let message = format!("at most {HEADERS_MAX} headers may stand here");
        reader.fault(&spot.pointer, "too-many", message);
        return Vec::new();
    }
    let mut scope = scope.clone();
    // This name lets an expression use secrets: only in headers.
    scope.names.insert(crate::engine::expression::SECRETS.into(), Type::Null);
    let mut headers = Vec::new();
    for (name, spot) in entries {
        let lower = name.to_ascii_lowercase();
        let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
        if lower.is_empty() || lower.len() > 128 || !lower.bytes().all(token) {
            reader.fault(&spot.pointer, "invalid-name", "this is no name of a header");
            continue;
        }
        if OWN_HEADERS.contains(&lower.as_str()) {
            let message = format!("the server writes `{lower}` itself");
            reader.fault(&spot.pointer, "invalid-name", message);
            continue;
        }
        let made = reader.template(&spot, &scope);
        reader.expect(&spot.pointer, &kind_of(&made), &[Type::Text], "the text of a header");
        headers.push((lower.into(), made));
    }
    headers
}

fn retry(reader: &mut DefinitionReader, spot: &DocumentNode<'_>, request: &mut RequestTemplate) {
    let Some(fields) = reader.fields(spot, "`retry`", &words::RETRY, &[]) else { return };
    let number = |reader: &mut DefinitionReader, key: &str, most| {
        fields.get(key).and_then(|spot| reader.whole(spot, 1, most))
    };
    request.attempts = number(reader, "attempts", ATTEMPTS_MAX).unwrap_or(request.attempts);
    request.factor = number(reader, "factor", FACTOR_MAX).unwrap_or(request.factor);
    let span = |reader: &mut DefinitionReader, key: &str| {
        fields.get(key).and_then(|spot| reader.span(spot))
    };
    request.first = span(reader, "first").unwrap_or(request.first);
    request.max = span(reader, "max").unwrap_or(request.max);
}

fn statuses(reader: &mut DefinitionReader, spot: &DocumentNode<'_>) -> Vec<u16> {
    let items = list(reader, Some(spot), "a list of statuses like [400, 404]", 64);
    let mut found = Vec::new();
    for item in &items {
        let status = reader.whole(item, 300, 599);
        found.extend(status.and_then(|status| u16::try_from(status).ok()));
    }
    found
}

/// Reads `compensate`.
pub(super) fn compensate(
    reader: &mut DefinitionReader,
    spot: Option<&DocumentNode<'_>>,
    scope: &TypeScope,
) -> Vec<RequestTemplate> {
    let items = list(reader, spot, "a list of calls", UNDO_MAX);
    let mut found = Vec::new();
    for item in &items {
        if matches!(item.tree.node, TreeNode::Map(_)) {
            let Some(fields) = reader.fields(item, "what undoes a step", &words::UNDO, &[]) else {
                continue;
            };
            let call = reader.required(&fields, "call", "what undoes a step").cloned();
            found.extend(call.and_then(|spot| request(reader, &spot, scope, RequestUse::Undo)));
        } else {
            reader.wrong_type(item, "`{ call: {...} }`");
        }
    }
    found
}
