//! `/v1/users`: registration, the own user, and what administrators do with users.

use http::StatusCode;
use http::header;
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

use super::operation::{Limit, Operation};
use super::pagination;
use super::problem::{Code, Problem};
use super::reply::Reply;
use super::request_context::{RequestContext, unexpected};
use super::schemas::JsonText;
use super::sessions::{renew, renewal_operation};
use crate::engine::{Command, Outcome, Refusal, UserChange, UserView};
use crate::types::{Password, Role, Time, UserId, Username};

/// The name that `/v1/users/me` takes from the users.
const RESERVED: &str = "me";

/// A new user.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RegisterRequest {
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

/// Change of a user; absent fields stay.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ChangeUserRequest {
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
    /// True if the user may not log in; `true` ends the sessions in the same commit.
    #[serde(default)]
    disabled: Option<bool>,
}

/// Distinguishes `null` from an absent field.
#[expect(clippy::option_option, reason = "absent, null and a name are three things")]
fn given<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Option<String>>, D::Error> {
    Option::<String>::deserialize(deserializer).map(Some)
}

/// The old and the new password.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ChangePasswordRequest {
    /// Password of the user.
    #[schemars(length(max = 1024))]
    current: String,
    /// The new one.
    #[schemars(length(max = 128), extend("x-abide-new-password" = true))]
    new: String,
}

/// A user.
#[derive(Serialize, JsonSchema)]
pub(super) struct UserResponse<'a> {
    /// The name for machines; it never changes.
    id: UserId,
    /// The name to log in with.
    username: &'a Username,
    /// The name to show.
    name: Option<&'a str>,
    /// Roles of the user.
    roles: &'a [Role],
    /// Notes of administrators about the user.
    attributes: JsonText,
    /// True if the user may not log in.
    disabled: bool,
    /// When it was created.
    created_at: Time,
}

/// A page of users.
#[derive(Serialize, JsonSchema)]
pub(super) struct UserPage<'a> {
    /// Newest first.
    items: Vec<UserResponse<'a>>,
    /// The `cursor` of the next page; `null`: nothing is left.
    next_cursor: Option<String>,
}

/// A single-use link.
#[derive(Serialize, JsonSchema)]
pub(super) struct PasswordLinkResponse {
    /// The page for a person, relative to this server; the part after `#` is the secret and is
    /// never sent in an address.
    link: String,
    /// Time until which it can be used.
    expires_at: Time,
}

impl<'a> UserResponse<'a> {
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

fn shown(user: &UserView) -> Result<Reply, Problem> {
    Ok(Reply::json(&UserResponse::new(user))?.at(user.revision))
}

fn answer(request: &RequestContext, user: &UserView) -> Result<Reply, Problem> {
    match request.not_modified(user.revision)? {
        Some(reply) => Ok(reply),
        None => shown(user),
    }
}

/// Returns the user that the path names; a text that is no user name names nobody.
fn named(request: &RequestContext) -> Result<Username, Problem> {
    request.parameters.at(0).parse().map_err(|_| Refusal::NotFound("user").into())
}

pub(super) const REGISTER: Operation = Operation::new("registerUser", "users", "Creates a user")
    .text(
        "Open to everybody where the configuration allows registration, else for \
           administrators, who alone may give `roles`.",
    )
    .limit(Limit::Logins)
    .idempotent()
    .body::<RegisterRequest>(
        r#"{"username":"alice","password":"correct horse battery","name":"Alice"}"#,
    )
    .json::<UserResponse<'_>>(201, "The user. `Location` names it.", EXAMPLE)
    .etag()
    .with(&["Location"])
    .links(&[
        ("getUser", "username", "$response.body#/username"),
        ("changeUser", "username", "$response.body#/username"),
        ("makePasswordReset", "username", "$response.body#/username"),
        ("deleteUser", "username", "$response.body#/username"),
    ])
    .problems(&[Code::NotAllowed, Code::UsernameTaken, Code::CrossSite]);

pub(super) async fn register(request: RequestContext) -> Result<Reply, Problem> {
    request.guard_login()?;
    let RegisterRequest { username, password, name, roles } = request.json()?;
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
    Ok(request.execute(command, write).await)
}

pub(super) const ME: Operation = Operation::new("getMe", "users", "The user of the session")
    .if_none_match()
    .json::<UserResponse<'_>>(200, "The user.", EXAMPLE);

pub(super) fn me(request: &RequestContext) -> Result<Reply, Problem> {
    let user = request.api.app.own_user(request.actor())?;
    answer(request, &user)
}

pub(super) const PASSWORD: Operation = renewal_operation(
    "putMyPassword",
    "users",
    "Sets a new password; all other sessions end in the same commit",
)
.text("The session that asks goes on under a new token.")
.limit(Limit::Passwords)
.body::<ChangePasswordRequest>(
    r#"{"current":"correct horse battery","new":"a much better phrase"}"#,
)
.problems(&[Code::InvalidCredentials, Code::TooManyAttempts]);

pub(super) async fn password(request: RequestContext) -> Result<Reply, Problem> {
    let ChangePasswordRequest { current, new } = request.json()?;
    let command =
        Command::ChangePassword { current: Password::new(current), new: Password::new(new) };
    Ok(renew(request, command).await)
}

pub(super) const LIST: Operation = Operation::new("listUsers", "users", "All users, newest first")
    .query(pagination::PARAMETERS)
    .json::<UserPage<'_>>(200, "A page of users.", "")
    .problems(&[Code::InvalidInput]);

pub(super) fn list(request: &RequestContext) -> Result<Reply, Problem> {
    let page = request.api.app.users(request.actor(), pagination::ask(request)?)?;
    let after = |user: &UserView| user.id;
    let (items, next_cursor) =
        pagination::bounded(request, &page.items, page.next, after, UserResponse::new);
    Reply::json(&UserPage { items, next_cursor })
}

pub(super) const SHOW: Operation = Operation::new("getUser", "users", "A user")
    .if_none_match()
    .json::<UserResponse<'_>>(200, "The user.", EXAMPLE)
    .problems(&[Code::NotFound]);

pub(super) fn show(request: &RequestContext) -> Result<Reply, Problem> {
    let user = request.api.app.user(request.actor(), &named(request)?)?;
    answer(request, &user)
}

pub(super) const CHANGE: Operation = Operation::new(
    "changeUser",
    "users",
    "Changes a user: name, roles, attributes, whether it may log in",
)
.if_match()
.idempotent()
.merge_patch::<ChangeUserRequest>(
    r#"{"roles":["teller","auditor"],"attributes":{"branch":"north"}}"#,
)
.json::<UserResponse<'_>>(200, "The user.", EXAMPLE)
.etag()
.problems(&[Code::NotFound, Code::TooLarge, Code::LastAdministrator]);

pub(super) async fn change(request: RequestContext) -> Result<Reply, Problem> {
    let (username, if_match) = (named(&request)?, request.if_match()?);
    let ChangeUserRequest { name, roles, attributes, disabled } = request.json()?;
    let change = UserChange { name, roles, attributes, disabled };
    let write = |outcome: &Outcome, _| match outcome {
        Outcome::UserChanged(user) => shown(user),
        other => Err(unexpected(other)),
    };
    Ok(request.execute(Command::ChangeUser { username, change, if_match }, write).await)
}

pub(super) const DELETE: Operation = Operation::new(
    "deleteUser",
    "users",
    "Deletes a user and ends its sessions; the name is never given out again",
)
.if_match()
.idempotent()
.empty(204, "The user is gone.")
.problems(&[Code::NotFound, Code::LastAdministrator]);

pub(super) async fn delete(request: RequestContext) -> Result<Reply, Problem> {
    let (username, if_match) = (named(&request)?, request.if_match()?);
    Ok(request.execute_quietly(Command::DeleteUser { username, if_match }).await)
}

pub(super) const RESET: Operation = Operation::new("makePasswordReset", "users", "Makes a single-use link by which a user sets a new password")
    .text("An older link of the user is void.")
    .if_match()
    .json::<PasswordLinkResponse>(201, "The link; shown once.", r#"{"link":"/set-password#abl_7hXq0Zc5r2mVJ8nYtB4wKdE1sLpG6uFaQ9xTi3RoNvM","expires_at":"2026-11-25T10:00:00.000Z"}"#)
    .problems(&[Code::NotFound]);

pub(super) async fn reset(request: RequestContext) -> Result<Reply, Problem> {
    let username = named(&request)?;
    let write = |outcome: &Outcome, _| match outcome {
        Outcome::LinkMade { link, expires_at } => {
            let link = super::password_links::address(link);
            Ok(Reply::json(&PasswordLinkResponse { link, expires_at: *expires_at })?
                .status(StatusCode::CREATED))
        }
        other => Err(unexpected(other)),
    };
    Ok(request.execute(Command::MakeResetLink { username }, write).await)
}
