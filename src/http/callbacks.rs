//! `/v1/callbacks`: where a called service answers later.

use schemars::{JsonSchema, SchemaGenerator};

use super::call::Call;
use super::input::Media;
use super::problem::{Code, Problem};
use super::reply::Reply;
use super::route::{AnswerDoc, Body, Doc};
use crate::engine::Command;

/// A late answer: any JSON; the workflow sees it as `response.body`.
#[derive(JsonSchema)]
#[expect(dead_code, reason = "only its schema is used")]
pub(super) struct LateAnswer(serde_json::Value);

pub(super) const ANSWER: Doc = Doc {
    id: "answerCallback",
    tag: "transactions",
    summary: "Delivers the late answer to a call",
    text: "For a service that answered a call with 202: the address is the `callback.url` that \
           the call carried, and its last part is the proof. The body is the answer; the same one \
           again is answered as it was at first, another one is late.",
    body: Some(Body {
        content: &[(Media::Json, SchemaGenerator::subschema_for::<LateAnswer>)],
        example: r#"{"result":"clear"}"#,
    }),
    body_optional: true,
    answers: &[AnswerDoc::empty(204, "The transaction goes on with it.")],
    problems: &[Code::NotFound, Code::CallbackLate],
    ..Doc::PLAIN
};

pub(super) async fn answer(call: Call) -> Result<Reply, Problem> {
    let token = call.parameters.at(0).into();
    let body = call.json_value()?;
    Ok(call.execute_quietly(Command::CallBack { token, body }).await)
}
