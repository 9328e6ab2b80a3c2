//! JSON objects that clients keep with the server: a session's data and a user's data. Both are
//! read and written alike, with a revision of their own.

use http::StatusCode;
use serde_json::{Map, Value};

use super::input::Media;
use super::operation::Operation;
use super::problem::{Code, Problem};
use super::reply::Reply;
use super::request_context::{RequestContext, unexpected};
use super::route::Verb;
use super::schemas::{json_patch, object};
use super::strict_json;
use crate::engine::{Command, Data, DataChange, Outcome};

const EXAMPLE: &str = r#"{"theme":"dark","cart":["SKU-42"]}"#;

/// Describes the read of a data object.
const fn read_operation(id: &'static str, tag: &'static str, summary: &'static str) -> Operation {
    Operation::new(id, tag, summary).if_none_match().json_of(200, "The data.", object, EXAMPLE)
}

/// Describes a change of a data object, which answers with the data after it.
const fn change_operation(id: &'static str, tag: &'static str, summary: &'static str) -> Operation {
    Operation::new(id, tag, summary)
        .if_match()
        .idempotent()
        .json_of(200, "The data as it is now.", object, EXAMPLE)
        .etag()
}

const fn replace_operation(
    id: &'static str,
    tag: &'static str,
    summary: &'static str,
) -> Operation {
    change_operation(id, tag, summary)
        .text(
            "An object in the place of what was there. With `If-Match` only if it is still at that \
             revision.",
        )
        .body_of(Media::Json, object, EXAMPLE)
        .problems(&[Code::TooLarge])
}

const fn patch_operation(id: &'static str, tag: &'static str, summary: &'static str) -> Operation {
    change_operation(id, tag, summary)
        .text(PATCH_TEXT)
        .body_of(Media::MergePatch, object, r#"{"theme":"light","cart":null}"#)
        .or_body_of(Media::JsonPatch, json_patch)
        .or_body_of(Media::Json, object)
        .problems(&[Code::TooLarge, Code::PatchFailed])
}

const PATCH_TEXT: &str = "A merge patch (RFC 7396; `application/json` is read as one) or a JSON \
    Patch (RFC 6902), applied to what is there at its turn: two writers of different keys both win. \
    A JSON Patch has at most 1000 operations, which copy and move no more than 16 times the limit \
    of what is kept.";

pub(super) const GET_SESSION_DATA: Operation =
    read_operation("getCurrentSessionData", "sessions", "The session's data");

pub(super) const PUT_SESSION_DATA: Operation =
    replace_operation("putCurrentSessionData", "sessions", "Replaces the session's data");

pub(super) const PATCH_SESSION_DATA: Operation =
    patch_operation("patchCurrentSessionData", "sessions", "Changes a part of the session's data");

pub(super) const GET_USER_DATA: Operation = read_operation(
    "getMyData",
    "users",
    "The user's own data: what belongs to the person, not to the device",
);

pub(super) const PUT_USER_DATA: Operation =
    replace_operation("putMyData", "users", "Replaces the user's own data");

pub(super) const PATCH_USER_DATA: Operation =
    patch_operation("patchMyData", "users", "Changes a part of the user's own data");

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

/// Reads the change of the data from the body, by its media type.
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

/// Data is an object, so a replacement, and a merge patch that leaves one, is an object.
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
        // Whatever the data is now, this would leave no object.
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
