//! Authentication of a request: the actor of its token, and the key under which its requests are
//! counted.

use http::header::{self, HeaderMap};

use super::Api;
use super::browser;
use super::input;
use super::problem::{Code, Problem};
use super::route::Route;
use super::server::Scheme;
use crate::app::AuthContext;
use crate::engine::Actor;
use crate::types::{SessionId, Token, UserId};

/// Returns the caller of a request, and whether the token came in the cookie. A token in
/// `Authorization` takes precedence over the cookie; one in the query is never read.
pub(super) async fn authenticate(
    api: &Api,
    route: &Route,
    headers: &HeaderMap,
    scheme: Scheme,
) -> Result<(AuthContext, bool), Problem> {
    let nobody = || AuthContext { actor: Actor::Nobody, session: None };
    if !route.access.reads_token() {
        return Ok((nobody(), false));
    }
    if let Some(value) = input::single(headers, &header::AUTHORIZATION)? {
        let token = bearer(value).or_else(|| route.operation.basic.then(|| basic(value)).flatten());
        let token: Token = token
            .and_then(|token| token.parse().ok())
            .ok_or_else(|| Problem::plain(Code::Unauthenticated))?;
        return Ok((api.app.authenticate(Some(&token)).await?, false));
    }
    let Some(token) = browser::cookie(headers, scheme) else { return Ok((nobody(), false)) };
    let identity = match token.parse::<Token>() {
        Ok(token) => api.app.authenticate(Some(&token)).await.map_err(Problem::from),
        Err(_) => Err(Code::Unauthenticated.into()),
    };
    match identity {
        Ok(identity) => Ok((identity, true)),
        // A browser sends its dead cookie along when it logs in anew.
        Err(problem) if problem.code == Code::Unauthenticated && route.access.is_open() => {
            Ok((nobody(), false))
        }
        Err(problem) => Err(problem),
    }
}

/// RFC 6750: the scheme in any case, one token.
fn bearer(value: &str) -> Option<String> {
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim().to_owned())
}

/// RFC 7617, for clients of introspection that know no other (RFC 6749, section 2.3.1): the API
/// key is the password, whatever the name.
fn basic(value: &str) -> Option<String> {
    use base64::Engine as _;
    let (scheme, encoded) = value.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = base64::engine::general_purpose::STANDARD.decode(encoded.trim()).ok()?;
    let text = String::from_utf8(decoded).ok()?;
    text.split_once(':').map(|(_, password)| password.to_owned())
}

/// Key under which the requests of an actor are counted.
#[derive(Hash)]
pub(super) enum RateKey {
    User(u128),
    Session(u128),
    Key(u128),
}

impl RateKey {
    pub(super) fn of(actor: &Actor) -> Option<Self> {
        match actor {
            Actor::Nobody | Actor::Hook(_) | Actor::Workflow(..) | Actor::System => None,
            Actor::Key(key) => Some(Self::Key(key.key.id.bits())),
            Actor::Session(session) => Some(match session.user.as_ref().map(|user| user.id) {
                Some(user) => Self::User(UserId::bits(user)),
                None => Self::Session(SessionId::bits(session.session)),
            }),
        }
    }
}
