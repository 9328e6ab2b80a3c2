//! Checks of a token for gateways and other services: introspection (RFC 7662) and forward
//! authentication.

use http::{HeaderName, StatusCode};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Serialize;

use super::input::{Media, form_decoded};
use super::operation::Operation;
use super::problem::{Code, FieldError, Problem};
use super::reply::Reply;
use super::request_context::RequestContext;
use crate::app::AuthContext;
use crate::engine::{Actor, Refusal};
use crate::types::{KeyId, SessionId, Token, Username};

/// Header with the user's name, for the service behind a gateway.
const USER: HeaderName = HeaderName::from_static("x-abide-user");

/// The user's roles, separated by commas.
const ROLES: HeaderName = HeaderName::from_static("x-abide-roles");

/// State of a token (RFC 7662, section 2.2).
#[derive(Default, Serialize, JsonSchema)]
pub(super) struct IntrospectionResponse {
    /// True if the token is valid. If not, no other field is present.
    active: bool,
    /// Bearer of the token: a user's name, or the id of an anonymous session or an API key.
    #[serde(skip_serializing_if = "Option::is_none")]
    sub: Option<String>,
    /// The user's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    username: Option<Username>,
    /// The roles, separated by spaces.
    #[serde(skip_serializing_if = "Option::is_none")]
    scope: Option<String>,
    /// When it ends if it is not used, and at the latest: seconds since the Unix epoch.
    #[serde(skip_serializing_if = "Option::is_none")]
    exp: Option<u64>,
    /// When it was opened: seconds since the Unix epoch.
    #[serde(skip_serializing_if = "Option::is_none")]
    iat: Option<u64>,
    /// Always `Bearer`.
    #[serde(skip_serializing_if = "Option::is_none")]
    token_type: Option<&'static str>,
    /// The session.
    #[serde(skip_serializing_if = "Option::is_none")]
    session: Option<SessionId>,
    /// The API key: the token's own, or that which opened the session on the user's behalf.
    #[serde(skip_serializing_if = "Option::is_none")]
    client_id: Option<KeyId>,
}

impl IntrospectionResponse {
    fn of(access: &AuthContext) -> Self {
        let roles: Vec<_> = access.actor.roles().iter().map(ToString::to_string).collect();
        let common = Self {
            active: true,
            scope: Some(roles.join(" ")),
            token_type: Some("Bearer"),
            ..Self::default()
        };
        match (&access.actor, access.session.as_deref()) {
            (Actor::Session(actor), Some(session)) => {
                let username = actor.user.as_ref().map(|user| user.username.clone());
                let sub = username.as_ref().map_or(session.id.to_string(), ToString::to_string);
                let expires_at = session.expires_at.min(session.idle_expires_at);
                Self {
                    sub: Some(sub),
                    username,
                    exp: Some(expires_at.seconds()),
                    iat: Some(session.created_at.seconds()),
                    session: Some(session.id),
                    client_id: session.via.as_ref().map(|key| key.id),
                    ..common
                }
            }
            (Actor::Key(actor), _) => {
                let id = actor.key.id;
                Self { sub: Some(id.to_string()), client_id: Some(id), ..common }
            }
            _ => Self::default(),
        }
    }
}

fn asked(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "properties": {
            "token": { "type": "string", "description": "The token to look up." },
            "token_type_hint": { "type": "string", "description": "Read and ignored." },
        },
        "required": ["token"],
    })
}

pub(super) const INTROSPECT: Operation = Operation::new("introspectToken", "gateways", "The state of a token (RFC 7662)")
    .text("Does not count as activity. The API key may also come as the password of Basic \
           authentication.")
    .basic()
    .body_of(Media::Form, asked, r#"{"token":"abs_..."}"#)
    .json::<IntrospectionResponse>(200, "What it opens; `{\"active\": false}` for one that opens nothing.", r#"{"active":true,"sub":"alice","username":"alice","scope":"teller","exp":1795514400,"iat":1795512600,"token_type":"Bearer","session":"ses_01jd9x2k7m8n4p5q6r7s8t9v0w"}"#);

pub(super) fn introspect(request: &RequestContext) -> Result<Reply, Problem> {
    let token = form_field(request.body.as_ref().map_or(&[], |(_, bytes)| bytes), "token")?;
    let found = token.parse::<Token>().map(|token| request.api.app.inspect(&token));
    let answer = match found {
        Ok(Ok(access)) => IntrospectionResponse::of(&access),
        Ok(Err(Refusal::Unauthenticated)) | Err(_) => IntrospectionResponse::default(),
        Ok(Err(refusal)) => return Err(refusal.into()),
    };
    Reply::json(&answer)
}

/// Returns a field of a form. Unknown fields are ignored, as RFC 7662 wants; one given twice is
/// refused.
fn form_field(body: &[u8], name: &str) -> Result<String, Problem> {
    let missing = || Problem::field(&format!("/{name}"), "missing-field", "the field is missing");
    let malformed = || {
        let error = FieldError::new("", "invalid-form", "the form is badly encoded");
        Problem::new(Code::InvalidInput, "the form is badly encoded").with_errors(vec![error])
    };
    let text = std::str::from_utf8(body).map_err(|_| malformed())?;
    let mut value = None;
    for pair in text.split('&') {
        let (key, raw) = pair.split_once('=').unwrap_or((pair, ""));
        if form_decoded(key).ok_or_else(malformed)? != name {
            continue;
        }
        let raw = form_decoded(raw).ok_or_else(malformed)?;
        if value.replace(raw).is_some() {
            return Err(Problem::field(&format!("/{name}"), "given-twice", "given twice"));
        }
    }
    value.ok_or_else(missing)
}

pub(super) const VERIFY: Operation =
    Operation::new("verifyUser", "gateways", "Forward authentication: who is the user?")
        .text(
            "For gateways that ask before they pass a request on. Counts as activity. Anonymous \
           sessions and API keys are no users: 401.",
        )
        .empty(204, "A user, whom the headers name.")
        .with(&["X-Abide-User", "X-Abide-Roles"]);

pub(super) fn verify(request: &RequestContext) -> Result<Reply, Problem> {
    let Some(user) = request.actor().user() else { return Err(Code::Unauthenticated.into()) };
    let roles: Vec<_> = request.actor().roles().iter().map(ToString::to_string).collect();
    Ok(Reply::empty(StatusCode::NO_CONTENT)
        .with_text(USER, user.username.as_str())
        .with_text(ROLES, &roles.join(",")))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panic")]

    use super::form_field;

    #[test]
    fn a_form_gives_its_field_once() {
        assert_eq!(form_field(b"token=a%20b&x=1", "token").unwrap(), "a b");
        assert_eq!(form_field(b"token_type_hint=access&token=", "token").unwrap(), "");
        for bad in [&b""[..], b"x=1", b"token=a&token=a", b"token=%", b"token=%ff", b"\xff"] {
            assert!(form_field(bad, "token").is_err(), "{bad:?}");
        }
    }
}
