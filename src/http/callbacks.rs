//! `/v1/callbacks`: late answers of called services.

use schemars::JsonSchema;

use super::operation::Operation;
use super::problem::{Code, Problem};
use super::reply::Reply;
use super::request_context::RequestContext;
use crate::engine::Command;

/// A late answer: any JSON; the workflow sees it as `response.body`.
#[derive(JsonSchema)]
#[expect(dead_code, reason = "only its schema is used")]
pub(super) struct CallbackRequest(serde_json::Value);

pub(super) const ANSWER: Operation =
    Operation::new("answerCallback", "transactions", "Delivers the late answer to a call")
        .text(
            "For a service that answered a call with 202: the address is the `callback.url` that \
           the call carried, and its last part is the proof. The body is the answer; the same one \
           again is answered as it was at first, another one is late.",
        )
        .body::<CallbackRequest>(r#"{"result":"clear"}"#)
        .body_optional()
        .empty(204, "The transaction goes on with it.")
        .problems(&[Code::NotFound, Code::CallbackLate]);

pub(super) async fn answer(request: RequestContext) -> Result<Reply, Problem> {
    let token = request.parameters.at(0).into();
    let body = request.json_value()?;
    Ok(request.execute_quietly(Command::CallBack { token, body }).await)
}
