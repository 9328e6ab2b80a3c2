//! `/v1/hooks`: signed messages of other services.

use http::StatusCode;
use http::header::HeaderMap;
use schemars::SchemaGenerator;
use serde_json::{Map, Value};

use super::call::{Call, unexpected};
use super::input::Media;
use super::problem::{Code, Problem};
use super::reply::Reply;
use super::route::{AnswerDoc, Body, Doc};
use crate::app::{Delivery, Idempotency, Message};
use crate::engine::{Actor, Command, Outcome};

pub(super) const DELIVER: Doc = Doc {
    id: "deliverMessage",
    tag: "hooks",
    summary: "Takes a signed message of another service",
    text: "The message submits the open step that lets this hook in. Its id counts once: a \
           repetition is answered as the first one was for a day. After that, one that bears a \
           time is too old, and one that bears none changes nothing.",
    body: Some(Body { content: &[(Media::Json, any)], example: r#"{"order":"4711","paid":true}"# }),
    answers: &[AnswerDoc::empty(204, "It was taken, now or before.")],
    problems: &[
        Code::NotFound,
        Code::InvalidSignature,
        Code::InvalidInput,
        Code::StepNotOpen,
        Code::RefusedByGuard,
        Code::ExpressionFailed,
        Code::IdempotencyKeyReused,
    ],
    ..Doc::PLAIN
};

fn any(_: &mut SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!(true)
}

/// The headers that were sent once and are text; of the others nothing can be made.
fn single(headers: &HeaderMap) -> Value {
    let mut found = Map::new();
    for name in headers.keys() {
        let mut values = headers.get_all(name).iter();
        if let (Some(value), None) = (values.next(), values.next())
            && let Ok(text) = value.to_str()
        {
            found.insert(name.as_str().to_owned(), Value::from(text));
        }
    }
    Value::Object(found)
}

pub(super) async fn deliver(mut call: Call) -> Result<Reply, Problem> {
    let app = std::sync::Arc::clone(&call.api.app);
    let hook = app.hook(call.parameters.at(0))?;
    let bytes = call.body.as_ref().map_or_else(bytes::Bytes::new, |(_, bytes)| bytes.clone());
    let headers = single(&call.headers);
    // Of whom it is comes first: what nobody has signed is not even read.
    let nothing = Value::Null;
    app.verify(hook, &Message { headers: &headers, bytes: &bytes, body: &nothing })?;
    let body = call.json_value()?;
    let message = Message { headers: &headers, bytes: &bytes, body: &body };
    let Delivery { id, tx, input, undated } = app.delivery(hook, &message)?;
    let fingerprint = app.fingerprint("POST", call.route.pattern, hook.name.as_str(), &bytes);
    call.idempotency = Some(Idempotency { key: id, fingerprint });
    call.access.actor = Actor::Hook(hook.name.clone());
    let write = |outcome: &Outcome, _| match outcome {
        Outcome::Transaction { .. } => Ok(Reply::empty(StatusCode::NO_CONTENT)),
        other => Err(unexpected(other)),
    };
    Ok(call.execute(Command::Deliver { tx, input, undated }, write).await)
}
