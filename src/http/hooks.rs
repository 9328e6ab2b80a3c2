//! `/v1/hooks`: signed messages of other services.

use std::sync::Arc;

use http::StatusCode;
use http::header::{HeaderMap, HeaderName};
use schemars::SchemaGenerator;
use serde_json::Value;

use super::headers::joined;
use super::input::Media;
use super::operation::Operation;
use super::problem::{Code, Problem};
use super::reply::Reply;
use super::request_context::{RequestContext, unexpected};
use crate::app::{ClientInfo, Envelope, HookMessage, Idempotency, VerifiedMessage};
use crate::engine::{Actor, Command, Outcome, Refusal};

/// Delay, in seconds, after which a sender should repeat a message that came too early.
const AGAIN_S: u32 = 5;

pub(super) const DELIVER: Operation =
    Operation::new("deliverMessage", "hooks", "Takes a signed message of another service")
        .text(
            "The message submits the open step that lets this hook in. Its id counts once: a \
           repetition is answered as the first one was for a day. After that, one that bears a \
           time is too old, and one that bears none changes nothing. A message that comes before \
           its step is open, while the step is claimed or the transaction is paused is answered \
           409 with `Retry-After`, and counts when it is sent again and can be taken.",
        )
        .body_of(Media::Json, any, r#"{"order":"4711","paid":true}"#)
        .empty(204, "It was taken, now or before.")
        .problems(&[
            Code::NotFound,
            Code::InvalidSignature,
            Code::InvalidInput,
            Code::StepNotOpen,
            Code::RefusedByGuard,
            Code::ExpressionFailed,
            Code::IdempotencyKeyReused,
        ]);

fn any(_: &mut SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!(true)
}

/// Returns the headers that are text; the lines of one are joined, as RFC 9110 defines.
fn texts(headers: &HeaderMap) -> Value {
    let text = |name: &HeaderName| Some((name.as_str().to_owned(), joined(headers, name)?.into()));
    Value::Object(headers.keys().filter_map(text).collect())
}

pub(super) async fn deliver(request: RequestContext) -> Result<Reply, Problem> {
    let app = Arc::clone(&request.api.app);
    let hook = app.hook(request.parameters.at(0))?;
    let bytes = request.body.as_ref().map_or_else(bytes::Bytes::new, |(_, bytes)| bytes.clone());
    let headers = texts(&request.headers);
    // The signature is checked first: the body of an unsigned message is not even parsed.
    let nothing = Value::Null;
    app.verify(hook, &HookMessage { headers: &headers, bytes: &bytes, body: &nothing })?;
    let body = request.json_value()?;
    let message = HookMessage { headers: &headers, bytes: &bytes, body: &body };
    let VerifiedMessage { id, tx, input, name } = app.delivery(hook, &message)?;
    let fingerprint = app.fingerprint("POST", request.route.pattern, hook.name.as_str(), &bytes);
    let request_id: Arc<str> = request.id.to_string().into();
    request.note_trace(&request_id);
    let instance = Arc::clone(&request_id);
    let render = move |done: Result<&Outcome, &Refusal>, _| written(done, &instance).into();
    let envelope = Envelope {
        actor: Actor::Hook(hook.name.clone()),
        client: ClientInfo::default(),
        request: request_id,
        route: request.route.pattern,
        idempotency: Some(Idempotency { key: id, fingerprint }),
        preconditions: None,
        render: Box::new(render),
    };
    Ok(app.execute(Command::Deliver { tx, input, undated: name }, envelope).await.into())
}

fn written(done: Result<&Outcome, &Refusal>, request: &str) -> Reply {
    let problem = match done {
        Ok(Outcome::Transaction { .. }) => return Reply::empty(StatusCode::NO_CONTENT),
        Ok(other) => unexpected(other),
        // The sender of a message knows nothing of steps, and sends the same one again: the answer
        // to a message that came too early must not be replayed to it for a day.
        Err(
            refusal @ (Refusal::StepNotOpen { .. } | Refusal::Claimed { .. } | Refusal::Paused),
        ) => Problem::from(refusal).retry_after(AGAIN_S),
        Err(refusal) => refusal.into(),
    };
    Reply::problem(&problem, request)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A header on several lines is one list, of which no line is lost.
    #[test]
    fn lines_of_a_header_are_joined() {
        let mut headers = HeaderMap::new();
        for (name, value) in [("x-signature", "t=1"), ("x-other", "a"), ("x-signature", "v1=2")] {
            headers.append(name, http::HeaderValue::from_static(value));
        }
        let expected = serde_json::json!({ "x-signature": "t=1, v1=2", "x-other": "a" });
        assert_eq!(texts(&headers), expected);
    }

    /// A refusal that may be different a moment later carries `Retry-After` and is not stored; a
    /// final refusal does not carry it.
    #[test]
    fn only_a_message_that_comes_too_early_is_asked_for_again() {
        let early = |refusal: &Refusal| {
            let reply = written(Err(refusal), "");
            reply.headers.contains_key(http::header::RETRY_AFTER)
        };
        assert!(early(&Refusal::StepNotOpen { open_steps: Vec::new() }));
        assert!(early(&Refusal::Paused));
        assert!(!early(&Refusal::AlreadyEnded) && !early(&Refusal::NotFound("transaction")));
    }
}
