//! `/v1/users`: registration, the own user, and what administrators do with users.

use http::StatusCode;
use http::header;
use schemars::{JsonSchema, SchemaGenerator};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

use super::call::{Call, unexpected};
use super::input::Media;
use super::lists;
use super::problem::{Code, Problem};
use super::reply::Reply;
use super::route::{AnswerDoc, Body, Condition, Doc, Limit, Parameter};
use super::schemas::{JsonText, limit};
use super::sessions::Renewed;
use crate::engine::{Command, Outcome, Refusal, UserChange, UserView};
use crate::types::{Password, Role, Time, UserId, Username};

/// The name that `/v1/users/me` takes from the users.
const RESERVED: &str = "me";

/// A new user.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewUser {
    /// The name to log in with.
    username: Username,
    /// The password.
    #[schemars(length(max = 128), extend("x-abide-new-password" = true))]
    password: String,
    /// The name to show.
    #[serde(default)]
    #[schemars(length(max = 256))]
    name: Option<String>,
    /// The roles; only an administrator may give any.
    #[serde(default)]
    #[schemars(length(max = 64))]
    roles: Option<Vec<Role>>,
}

/// What is to be changed of a user; what is absent stays.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ChangedUser {
    /// The name to show; `null` removes it.
    #[serde(default, deserialize_with = "given")]
    #[schemars(with = "Option<String>", length(max = 256))]
    #[expect(clippy::option_option, reason = "absent, null and a name are three things")]
    name: Option<Option<String>>,
    /// All roles that the user has from now on.
    #[serde(default)]
    #[schemars(length(max = 64))]
    roles: Option<Vec<Role>>,
    /// A merge patch (RFC 7396) of what administrators note about the user.
    #[serde(default)]
    attributes: Option<Map<String, Value>>,
    /// Whether the user may not log in; `true` ends the sessions in the same commit.
    #[serde(default)]
    disabled: Option<bool>,
}

/// Tells a `null` from an absent field.
#[expect(clippy::option_option, reason = "absent, null and a name are three things")]
fn given<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Option<String>>, D::Error> {
    Option::<String>::deserialize(deserializer).map(Some)
}

/// The old and the new password.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewPassword {
    /// The proof.
    #[schemars(length(max = 1024))]
    current: String,
    /// The new one.
    #[schemars(length(max = 128), extend("x-abide-new-password" = true))]
    new: String,
}

/// A user.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "User")]
pub(super) struct Shown<'a> {
    /// The name for machines, for ever.
    id: UserId,
    /// The name to log in with.
    username: &'a Username,
    /// The name to show.
    name: Option<&'a str>,
    /// What the user may do.
    roles: &'a [Role],
    /// What administrators note about the user.
    attributes: JsonText,
    /// Whether the user may not log in.
    disabled: bool,
    /// When it was created.
    created_at: Time,
}

/// A page of users.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Users")]
pub(super) struct Page<'a> {
    /// Newest first.
    items: Vec<Shown<'a>>,
    /// The `cursor` of the next page; `null`: nothing is left.
    next_cursor: Option<String>,
}

/// A single-use link.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Link")]
pub(super) struct Link {
    /// The page for a person, relative to this server; the part after `#` is the secret and is
    /// never sent in an address.
    link: String,
    /// Until when it can be used.
    expires_at: Time,
}

impl<'a> Shown<'a> {
    fn new(user: &'a UserView) -> Self {
        Self {
            id: user.id,
            username: &user.username,
            name: user.name.as_deref(),
            roles: &user.roles,
            attributes: JsonText(user.attributes.clone()),
            disabled: user.disabled,
            created_at: user.created_at,
        }
    }
}

const EXAMPLE: &str = r#"{"id":"usr_01jd9x2k7m8n4p5q6r7s8t9v0w","username":"alice","name":"Alice","roles":["teller"],"attributes":{},"disabled":false,"created_at":"2026-11-24T10:00:00.000Z"}"#;

const SHOWN: AnswerDoc =
    AnswerDoc::json(200, "The user.", SchemaGenerator::subschema_for::<Shown<'_>>, EXAMPLE)
        .with(&["ETag"]);

const READ: &[AnswerDoc] =
    &[SHOWN, AnswerDoc::empty(304, "The caller has it already.").with(&["ETag"])];

fn shown(user: &UserView) -> Result<Reply, Problem> {
    Ok(Reply::json(&Shown::new(user))?.at(user.revision))
}

fn answer(call: &Call, user: &UserView) -> Result<Reply, Problem> {
    match call.not_modified(user.revision)? {
        Some(reply) => Ok(reply),
        None => shown(user),
    }
}

/// The user that the path names; what is no user name names nobody.
fn named(call: &Call) -> Result<Username, Problem> {
    call.parameters.at(0).parse().map_err(|_| Refusal::NotFound("user").into())
}

pub(super) const REGISTER: Doc = Doc {
    id: "registerUser",
    tag: "users",
    summary: "Creates a user",
    text: "Open to everybody where the configuration allows registration, else for \
           administrators, who alone may give `roles`.",
    limit: Limit::Logins,
    idempotency: true,
    body: Some(Body {
        content: &[(Media::Json, SchemaGenerator::subschema_for::<NewUser>)],
        example: r#"{"username":"alice","password":"correct horse battery","name":"Alice"}"#,
    }),
    answers: &[AnswerDoc { status: 201, text: "The user. `Location` names it.", ..SHOWN }
        .with(&["ETag", "Location"])
        .then(&[
            ("getUser", "username", "$response.body#/username"),
            ("changeUser", "username", "$response.body#/username"),
            ("makePasswordReset", "username", "$response.body#/username"),
            ("deleteUser", "username", "$response.body#/username"),
        ])],
    problems: &[Code::NotAllowed, Code::UsernameTaken, Code::CrossSite],
    ..Doc::PLAIN
};

pub(super) async fn register(call: Call) -> Result<Reply, Problem> {
    call.guard_login()?;
    let NewUser { username, password, name, roles } = call.json()?;
    if username.as_str() == RESERVED {
        return Err(Problem::field("/username", "reserved", "this name is kept by the API"));
    }
    let command = Command::Register { username, password: Password::new(password), name, roles };
    let write = |outcome: &Outcome, _| match outcome {
        Outcome::UserCreated(user) => {
            let location = format!("/v1/users/{}", user.username);
            Ok(shown(user)?.status(StatusCode::CREATED).with_text(header::LOCATION, &location))
        }
        other => Err(unexpected(other)),
    };
    Ok(call.execute(command, write).await)
}

pub(super) const ME: Doc = Doc {
    id: "getMe",
    tag: "users",
    summary: "The user of the session",
    condition: Condition::IfNoneMatch,
    answers: READ,
    ..Doc::PLAIN
};

pub(super) fn me(call: &Call) -> Result<Reply, Problem> {
    let user = call.api.app.own_user(call.actor())?;
    answer(call, &user)
}

pub(super) const PASSWORD: Doc = Doc {
    id: "putMyPassword",
    tag: "users",
    summary: "Sets a new password; all other sessions end in the same commit",
    text: "The session that asks goes on under a new token.",
    condition: Condition::IfMatch,
    limit: Limit::Passwords,
    body: Some(Body {
        content: &[(Media::Json, SchemaGenerator::subschema_for::<NewPassword>)],
        example: r#"{"current":"correct horse battery","new":"a much better phrase"}"#,
    }),
    answers: Renewed::ANSWERS,
    problems: &[Code::InvalidCredentials, Code::TooManyAttempts],
    ..Doc::PLAIN
};

pub(super) async fn password(call: Call) -> Result<Reply, Problem> {
    let NewPassword { current, new } = call.json()?;
    let command =
        Command::ChangePassword { current: Password::new(current), new: Password::new(new) };
    Ok(Renewed::issue(call, command).await)
}

pub(super) const LIST: Doc = Doc {
    id: "listUsers",
    tag: "users",
    summary: "All users, newest first",
    query: &[
        Parameter { name: "limit", text: "Maximum number of items on the page.", schema: limit },
        lists::CURSOR,
    ],
    answers: &[AnswerDoc::json(
        200,
        "A page of users.",
        SchemaGenerator::subschema_for::<Page<'_>>,
        "",
    )],
    problems: &[Code::InvalidInput],
    ..Doc::PLAIN
};

pub(super) fn list(call: &Call) -> Result<Reply, Problem> {
    let page = call.api.app.users(call.actor(), lists::ask(call)?)?;
    let after = |user: &UserView| user.id;
    let (items, next_cursor) = lists::bounded(call, &page.items, page.next, after, Shown::new);
    Reply::json(&Page { items, next_cursor })
}

pub(super) const SHOW: Doc = Doc {
    id: "getUser",
    tag: "users",
    summary: "A user",
    condition: Condition::IfNoneMatch,
    answers: READ,
    problems: &[Code::NotFound],
    ..Doc::PLAIN
};

pub(super) fn show(call: &Call) -> Result<Reply, Problem> {
    let user = call.api.app.user(call.actor(), &named(call)?)?;
    answer(call, &user)
}

pub(super) const CHANGE: Doc = Doc {
    id: "changeUser",
    tag: "users",
    summary: "Changes a user: name, roles, attributes, whether it may log in",
    condition: Condition::IfMatch,
    idempotency: true,
    body: Some(Body {
        content: &[
            (Media::MergePatch, SchemaGenerator::subschema_for::<ChangedUser>),
            (Media::Json, SchemaGenerator::subschema_for::<ChangedUser>),
        ],
        example: r#"{"roles":["teller","auditor"],"attributes":{"branch":"north"}}"#,
    }),
    answers: &[SHOWN],
    problems: &[Code::NotFound, Code::TooLarge, Code::LastAdministrator],
    ..Doc::PLAIN
};

pub(super) async fn change(call: Call) -> Result<Reply, Problem> {
    let (username, if_match) = (named(&call)?, call.if_match()?);
    let ChangedUser { name, roles, attributes, disabled } = call.json()?;
    let change = UserChange { name, roles, attributes, disabled };
    let write = |outcome: &Outcome, _| match outcome {
        Outcome::UserChanged(user) => shown(user),
        other => Err(unexpected(other)),
    };
    Ok(call.execute(Command::ChangeUser { username, change, if_match }, write).await)
}

pub(super) const DELETE: Doc = Doc {
    id: "deleteUser",
    tag: "users",
    summary: "Deletes a user and ends its sessions; the name is never given out again",
    condition: Condition::IfMatch,
    idempotency: true,
    answers: &[AnswerDoc::empty(204, "The user is gone.")],
    problems: &[Code::NotFound, Code::LastAdministrator],
    ..Doc::PLAIN
};

pub(super) async fn delete(call: Call) -> Result<Reply, Problem> {
    let (username, if_match) = (named(&call)?, call.if_match()?);
    Ok(call.execute_quietly(Command::DeleteUser { username, if_match }).await)
}

pub(super) const RESET: Doc = Doc {
    id: "makePasswordReset",
    tag: "users",
    summary: "Makes a single-use link by which a user sets a new password",
    text: "An older link of the user is void.",
    condition: Condition::IfMatch,
    answers: &[AnswerDoc::json(
        201,
        "The link; shown once.",
        SchemaGenerator::subschema_for::<Link>,
        r#"{"link":"/set-password#abl_7hXq0Zc5r2mVJ8nYtB4wKdE1sLpG6uFaQ9xTi3RoNvM","expires_at":"2026-11-25T10:00:00.000Z"}"#,
    )],
    problems: &[Code::NotFound],
    ..Doc::PLAIN
};

pub(super) async fn reset(call: Call) -> Result<Reply, Problem> {
    let username = named(&call)?;
    let write = |outcome: &Outcome, _| match outcome {
        Outcome::LinkMade { link, expires_at } => {
            let link = super::links::address(link);
            Ok(Reply::json(&Link { link, expires_at: *expires_at })?.status(StatusCode::CREATED))
        }
        other => Err(unexpected(other)),
    };
    Ok(call.execute(Command::MakeResetLink { username }, write).await)
}
