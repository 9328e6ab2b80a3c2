//! Single-use links: a page on which a person sets a password, and the call behind it.
//!
//! The secret is behind the `#` of the address, which browsers never send; the page's script
//! puts it into the body of the call.

use schemars::JsonSchema;
use serde::Deserialize;

use super::operation::{Limit, Operation};
use super::pages;
use super::problem::{Code, Problem};
use super::reply::Reply;
use super::request_context::RequestContext;
use crate::engine::{Command, Rules};
use crate::types::{Password, Token};

/// The page of single-use links.
const PAGE: &str = "/set-password";

/// The address that a person opens, relative to the server's own.
#[must_use]
pub fn address(link: &Token) -> String {
    format!("{PAGE}#{}", link.reveal())
}

/// A link's secret and the password that it is to set.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct SetPasswordRequest {
    /// The secret: the text behind the `#` of the link.
    link: String,
    /// The new password.
    #[schemars(length(max = 128), extend("x-abide-new-password" = true))]
    password: String,
}

pub(super) const USE: Operation = Operation::new("useLink", "users", "Sets the password that a single-use link is for")
    .text("A user's reset link, or the set-up link that the first start prints.")
    .limit(Limit::Logins)
    .body::<SetPasswordRequest>(r#"{"link":"abl_7hXq0Zc5r2mVJ8nYtB4wKdE1sLpG6uFaQ9xTi3RoNvM","password":"a much better phrase"}"#)
    .empty(204, "The password is set; log in with it.")
    .problems(&[Code::LinkNotValid, Code::CrossSite, Code::TooManyAttempts]);

pub(super) async fn use_link(request: RequestContext) -> Result<Reply, Problem> {
    request.guard_login()?;
    let SetPasswordRequest { link, password } = request.json()?;
    // Checked before the link: a password that is not allowed uses up no link.
    let (chars, chars_min) = (password.chars().count(), request.api.app.rules().password_chars_min);
    if chars < chars_min || chars > Rules::PASSWORD_CHARS_MAX {
        let message = format!("must have {chars_min} to {} characters", Rules::PASSWORD_CHARS_MAX);
        return Err(Problem::field("/password", "out-of-range", message));
    }
    let link: Token = link.parse().map_err(|_| Problem::plain(Code::LinkNotValid))?;
    let command = Command::UseLink { link, password: Password::new(password) };
    Ok(request.execute_quietly(command).await)
}

pub(super) const SHOW: Operation = Operation::new(
    "setPasswordPage",
    "pages",
    "The page of single-use links",
)
.media(200, "The page.", "text/html");

pub(super) fn show(_: &RequestContext) -> Reply {
    pages::html(include_str!("assets/set-password.html"))
}

pub(super) const SCRIPT: Operation =
    Operation::new("setPasswordScript", "pages", "The script of the page of single-use links")
        .media(200, "The page.", "text/javascript");

pub(super) fn script(_: &RequestContext) -> Reply {
    Reply::text("text/javascript; charset=utf-8", include_str!("assets/set-password.js"))
}
