//! JSON objects that clients keep with the server: a session's data and a user's data. Both are
//! read and written alike, with a revision of their own.

use http::StatusCode;
use serde_json::{Map, Value};

use super::input::Media;
use super::problem::{Code, Problem};
use super::reply::Reply;
use super::request_context::{RequestContext, unexpected};
use super::route::{Body, Condition, Operation, ResponseSpec, Verb};
use super::schemas::{json_patch, object};
use super::strict_json;
use crate::engine::{Command, Data, DataChange, Outcome};

const EXAMPLE: &str = r#"{"theme":"dark","cart":["SKU-42"]}"#;

const READ: Operation = Operation {
    condition: Condition::IfNoneMatch,
    answers: &[
        ResponseSpec::json(200, "The data.", object, EXAMPLE).with(&["ETag"]),
        ResponseSpec::empty(304, "The caller has it already.").with(&["ETag"]),
    ],
    ..Operation::PLAIN
};

const REPLACE: Operation = Operation {
    text: "An object in the place of what was there. With `If-Match` only if it is still at that \
           revision.",
    condition: Condition::IfMatch,
    idempotency: true,
    body: Some(Body { content: &[(Media::Json, object)], example: EXAMPLE }),
    answers: &[ResponseSpec::json(200, "The data as it is now.", object, EXAMPLE).with(&["ETag"])],
    problems: &[Code::TooLarge],
    ..Operation::PLAIN
};

const CHANGE: Operation = Operation {
    text: "A merge patch (RFC 7396; `application/json` is read as one) or a JSON Patch (RFC 6902), applied to what is there at its \
           turn: two writers of different keys both win. A JSON Patch has at most 1000 operations, \
           which copy and move no more than 16 times the limit of what is kept.",
    body: Some(Body {
        content: &[
            (Media::MergePatch, object),
            (Media::JsonPatch, json_patch),
            (Media::Json, object),
        ],
        example: r#"{"theme":"light","cart":null}"#,
    }),
    problems: &[Code::TooLarge, Code::PatchFailed],
    ..REPLACE
};

pub(super) const GET_SESSION_DATA: Operation = Operation {
    id: "getCurrentSessionData",
    tag: "sessions",
    summary: "The session's data",
    ..READ
};

pub(super) const PUT_SESSION_DATA: Operation = Operation {
    id: "putCurrentSessionData",
    tag: "sessions",
    summary: "Replaces the session's data",
    ..REPLACE
};

pub(super) const PATCH_SESSION_DATA: Operation = Operation {
    id: "patchCurrentSessionData",
    tag: "sessions",
    summary: "Changes a part of the session's data",
    ..CHANGE
};

pub(super) const GET_USER_DATA: Operation = Operation {
    id: "getMyData",
    tag: "users",
    summary: "The user's own data: what belongs to the person, not to the device",
    ..READ
};

pub(super) const PUT_USER_DATA: Operation =
    Operation { id: "putMyData", tag: "users", summary: "Replaces the user's own data", ..REPLACE };

pub(super) const PATCH_USER_DATA: Operation = Operation {
    id: "patchMyData",
    tag: "users",
    summary: "Changes a part of the user's own data",
    ..CHANGE
};

pub(super) fn session_data(request: &RequestContext) -> Result<Reply, Problem> {
    let data = request.api.app.session_data(request.actor())?;
    shown(request, &data)
}

pub(super) fn user_data(request: &RequestContext) -> Result<Reply, Problem> {
    let data = request.api.app.user_data(request.actor())?;
    shown(request, &data)
}

fn shown(request: &RequestContext, data: &Data) -> Result<Reply, Problem> {
    match request.not_modified(data.revision)? {
        Some(reply) => Ok(reply),
        None => Ok(written(data)),
    }
}

fn written(data: &Data) -> Reply {
    Reply::json_bytes(data.json.as_bytes().to_vec()).at(data.revision)
}

pub(super) async fn change_session_data(request: RequestContext) -> Result<Reply, Problem> {
    let (change, if_match) = (change(&request)?, request.if_match()?);
    Ok(execute(request, Command::ChangeSessionData { change, if_match }).await)
}

pub(super) async fn change_user_data(request: RequestContext) -> Result<Reply, Problem> {
    let (change, if_match) = (change(&request)?, request.if_match()?);
    Ok(execute(request, Command::ChangeUserData { change, if_match }).await)
}

async fn execute(request: RequestContext, command: Command) -> Reply {
    request
        .execute(command, |outcome, _| match outcome {
            Outcome::Data(data) => Ok(written(data).status(StatusCode::OK)),
            other => Err(unexpected(other)),
        })
        .await
}

/// What the body says is to be changed; its media type says how.
fn change(request: &RequestContext) -> Result<DataChange, Problem> {
    let value = request.json_value()?;
    match request.body.as_ref().map(|(media, _)| *media) {
        Some(Media::Json) if request.route.method == Verb::Patch => {
            Ok(DataChange::Merge(Value::Object(fields(value)?)))
        }
        Some(Media::MergePatch) => Ok(DataChange::Merge(Value::Object(fields(value)?))),
        Some(Media::JsonPatch) => patch(value).map(DataChange::Patch),
        _ => Ok(DataChange::Replace(fields(value)?)),
    }
}

/// Data is an object, so what replaces it, and a merge patch that leaves one, is an object.
fn fields(value: Value) -> Result<Map<String, Value>, Problem> {
    match value {
        Value::Object(fields) => Ok(fields),
        _ => Err(Problem::field("", "wrong-type", "the data is a JSON object")),
    }
}

fn patch(value: Value) -> Result<json_patch::Patch, Problem> {
    let operations: Vec<Value> = strict_json::read(value)?;
    let operations = operations.into_iter().enumerate().map(|(at, operation)| {
        let refused = |place: &str, message: &str| {
            Problem::field(&format!("/{at}{place}"), "invalid-value", message)
        };
        // Whatever the data are now, this would leave no object.
        let is_whole =
            operation["path"] == "" && matches!(operation["op"].as_str(), Some("add" | "replace"));
        if is_whole && !operation["value"].is_object() {
            return Err(refused("/value", "the data is a JSON object"));
        }
        serde_json::from_value(operation)
            .map_err(|_| refused("", "no operation of RFC 6902: check op, path, from and value"))
    });
    Ok(json_patch::Patch(operations.collect::<Result<_, Problem>>()?))
}
