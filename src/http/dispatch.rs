//! The way of one request from warp's filter to its handler and back.
//!
//! 1. The path finds its route ([`super::trie`]): 404, 405, OPTIONS are answered here.
//! 2. The address's rate; the query against the route's parameters.
//! 3. The token gives the actor; a change by cookie must be same-origin; the actor's rate.
//! 4. The route's row of who may call it.
//! 5. The Idempotency-Key, the conditions of a change, the media type, the body within its limit.
//! 6. The handler. Refusals of all these are [`Problem`]s and become answers in one place.

use std::convert::Infallible;
use std::error::Error as _;
use std::future::poll_fn;
use std::net::IpAddr;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use bytes::{Buf, Bytes, BytesMut};
use futures_core::Stream;
use http::header::{self, HeaderMap};
use http::{Method, Request, Response, StatusCode};
use hyper::upgrade::OnUpgrade;
use serde::Deserialize;
use warp::path::FullPath;
use warp::{Filter, Rejection};

use super::Api;
use super::browser;
use super::call::{Act, Call};
use super::flow::Flow;
use super::input::{self, Media, Query};
use super::json;
use super::problem::{Code, Problem};
use super::rates::Standing;
use super::reading;
use super::reply::Reply;
use super::route::{Condition, Describe, Handler, Limit, Route, Verb};
use super::schemas::object;
use super::server::{Arrival, BodyError, RequestBody, RequestId, RoutePattern, Scheme};
use super::shape;
use super::shares::Share;
use super::trie::Parameters;
use crate::app::{AuthContext, Idempotency};
use crate::engine::{Actor, Command, Preconditions};
use crate::types::{SessionId, Token, UserId};

/// The parameter that asks for a revision of the past.
const AS_OF: &str = "as_of";

/// The name of what no route answers, in the metrics.
const NO_ROUTE: RoutePattern = RoutePattern("none");

/// Beginnings of the paths whose reads wait for timers that are due. Sessions are looked at by the
/// time itself, so checking one waits for nothing.
const TIMED: [&str; 5] =
    ["/v1/transactions", "/v1/holds", "/v1/accounts", "/v1/ledger", "/v1/schedules"];

/// What warp's filter has taken from a request.
struct Head {
    method: Method,
    path: String,
    query: String,
    headers: HeaderMap,
    address: IpAddr,
    scheme: Scheme,
    id: RequestId,
    upgrade: Option<OnUpgrade>,
}

/// A request that came in another way than over HTTP.
pub(super) struct Inner {
    /// Its method.
    pub(super) method: Method,
    /// Its path.
    pub(super) path: String,
    /// Its headers.
    pub(super) headers: HeaderMap,
    /// From where it comes.
    pub(super) address: IpAddr,
    /// How it comes.
    pub(super) scheme: Scheme,
    /// Its body.
    pub(super) body: Bytes,
}

/// Answers it as if it had come over HTTP.
pub(super) async fn inner(api: Arc<Api>, inner: Inner) -> Reply {
    let Inner { method, path, headers, address, scheme, body } = inner;
    let (query, id, upgrade) = (String::new(), RequestId::next(), None);
    let head = Head { method, path, query, headers, address, scheme, id, upgrade };
    let mut seen = Seen { pattern: NO_ROUTE, standing: None };
    let body = futures_util::stream::iter([Ok::<_, warp::Error>(body)]);
    // Boxed: a socket's handler waits for another one.
    let reply = Box::pin(respond(api, head, body, &mut seen)).await;
    reply.unwrap_or_else(|problem| Reply::problem(&problem, &id.to_string()))
}

/// The service that stands behind the accept loop: one warp filter that takes the request apart,
/// the dispatch, and one `recover` at the end for what warp itself refuses.
pub fn service(
    api: Arc<Api>,
) -> impl tower_service::Service<
    Request<RequestBody>,
    Response = warp::reply::Response,
    Error = Infallible,
    Future: Send + 'static,
> + Clone
+ Send
+ 'static {
    let query = warp::query::raw().or(warp::any().map(String::new)).unify();
    let routes = warp::method()
        .and(warp::path::full())
        .and(query)
        .and(warp::header::headers_cloned())
        .and(warp::ext::get::<Arrival>())
        .and(warp::ext::optional::<OnUpgrade>())
        .and(warp::body::stream())
        .then(move |method, path: FullPath, query, headers, arrival, upgrade, body| {
            let api = Arc::clone(&api);
            let Arrival { client: address, scheme, id, .. } = arrival;
            let path = path.as_str().to_owned();
            // RFC 6455, 4.1: only a GET opens a socket.
            let upgrade = Option::filter(upgrade, |_| method != Method::HEAD);
            let head = Head { method, path, query, headers, address, scheme, id, upgrade };
            async move { on_wire(answer(api, head, body).await) }
        })
        .recover(recovered);
    warp::service(routes)
}

/// Only a request that did not come through our accept loop lacks its extensions.
async fn recovered(rejection: Rejection) -> Result<warp::reply::Response, Infallible> {
    tracing::error!(?rejection, "a request came without what the accept loop gives it");
    let reply = Reply::problem(&Code::Internal.into(), &RequestId::next().to_string());
    Ok(on_wire(reply.into()))
}

fn on_wire(answer: Response<Bytes>) -> warp::reply::Response {
    match answer.extensions().get::<Flow>().cloned() {
        None => answer.map(Into::into),
        Some(flow) => {
            let body = flow.body().into_body();
            answer.map(|_| body)
        }
    }
}

async fn answer<S, B>(api: Arc<Api>, head: Head, body: S) -> Response<Bytes>
where
    S: Stream<Item = Result<B, warp::Error>> + Send,
    B: Buf,
{
    let (id, scheme) = (head.id, head.scheme);
    let origin = api.origins.allowed(&head.headers).cloned();
    let mut seen = Seen { pattern: NO_ROUTE, standing: None };
    let reply = respond(Arc::clone(&api), head, body, &mut seen).await;
    let mut reply = reply.unwrap_or_else(|problem| Reply::problem(&problem, &id.to_string()));
    if let Some(standing) = seen.standing {
        standing.annotate(&mut reply.headers);
    }
    api.origins.annotate(origin.as_ref(), &mut reply.headers);
    browser::harden(&mut reply.headers, scheme);
    let mut response = Response::from(reply);
    response.extensions_mut().insert(seen.pattern);
    response
}

/// What the answer must tell even if it is a refusal.
struct Seen {
    pattern: RoutePattern,
    standing: Option<Standing>,
}

impl Seen {
    /// Notes where the client stands; refuses it when it is over the limit.
    fn count(&mut self, standing: Option<Standing>) -> Result<(), Problem> {
        self.standing = standing.or(self.standing);
        standing.and_then(|standing| standing.problem()).map_or(Ok(()), Err)
    }
}

async fn respond<S, B>(
    api: Arc<Api>,
    head: Head,
    body: S,
    seen: &mut Seen,
) -> Result<Reply, Problem>
where
    S: Stream<Item = Result<B, warp::Error>> + Send,
    B: Buf,
{
    let rates = api.rates.as_ref();
    seen.count(rates.map(|rates| rates.address(head.address)))?;
    let (route, parameters) = match find(&api, &head, seen)? {
        Target::Route(route, parameters) => (route, parameters),
        Target::Answered(reply) => return Ok(reply),
    };
    let Head { method, path, query: raw_query, headers, address, scheme, id, upgrade } = head;
    let doc = route.doc;
    if doc.limit == Limit::Logins {
        seen.count(rates.map(|rates| rates.login(address)))?;
    }
    let query = Query::parse(&raw_query, &doc.query.iter().map(|parameter| parameter.name))?;

    let (access, by_cookie) = authenticate(&api, route, &headers, scheme).await?;
    let same_origin = if by_cookie && !route.method.is_safe() {
        browser::guard_cookie_change(api.origins.source(&headers, scheme))
    } else {
        Ok(())
    };
    if !route.method.is_safe() && access.actor != Actor::Nobody {
        api.app.anticipate();
    }
    if let Some(who) = Named::of(&access.actor) {
        seen.count(rates.map(|rates| rates.actor(&who)))?;
        if doc.limit == Limit::Passwords {
            seen.count(rates.map(|rates| rates.password(&who)))?;
        }
    }
    let admitted = same_origin.and_then(|()| route.who.admit(&access));

    let key = if route.method.is_safe() { None } else { input::idempotency_key(&headers)? };
    let mut call = Call {
        api,
        route,
        is_head: method == Method::HEAD,
        id,
        address,
        scheme,
        headers,
        parameters,
        query,
        access,
        by_cookie,
        idempotency: None,
        preconditions: None,
        body: None,
        upgrade,
    };
    if let Err(problem) = admitted {
        return Err(Box::pin(note_denial(call, problem)).await);
    }
    if key.is_some() && (!doc.idempotency || call.access.actor == Actor::Nobody) {
        return Err(Code::IdempotencyKeyNotSupported.into());
    }
    if !route.method.is_safe() {
        call.preconditions = preconditions(route, &call.headers)?;
        call.api.answers.must_have_room(call.actor())?;
    }
    call.body = take_body(&call, body).await?;
    if doc.limit == Limit::Sessions {
        let api = Arc::clone(&call.api);
        seen.count(api.rates.as_ref().and_then(|rates| super::sessions::count(&call, rates)))?;
    }
    if let Some(key) = key {
        let bytes = call.body.as_ref().map_or(&[][..], |(_, bytes)| bytes);
        let (method, app) = (route.method.as_str(), &call.api.app);
        let session = call.actor().session().filter(|_| route.names_session(&call.query));
        let fingerprint = match session {
            None => app.fingerprint(method, &path, &raw_query, bytes),
            Some(session) => app.fingerprint_in(session, (method, &path, &raw_query, bytes)),
        };
        call.idempotency = Some(Idempotency { key, fingerprint });
    }
    wait_for_timers(&call).await?;
    match route.handler {
        Handler::Page(answer) => Ok(answer(&call)),
        // What was is looked for in the log.
        Handler::Now(answer) if call.query.get(AS_OF).is_some() => {
            Box::pin(read(call, answer)).await
        }
        Handler::Now(answer) => match answer(&call) {
            Err(problem) if problem.code == Code::NotAllowed => {
                Err(Box::pin(note_denial(call, problem)).await)
            }
            Err(problem) => Err(problem),
            Ok(reply) => Box::pin(reading::counted(&call.api, call.actor(), reply)).await,
        },
        // Boxed: its room would be made and moved for every request.
        Handler::Read(answer) => Box::pin(read(call, answer)).await,
        Handler::Act(act) => {
            let Act { command, write } = act(&call)?;
            let (api, owner) = (Arc::clone(&call.api), call.actor().owner_id());
            let reply = call.execute(command, write).await;
            Ok(reading::counted_now(&api, owner, reply))
        }
        Handler::Later(answer) if route.method.is_safe() => answer(call).await,
        Handler::Later(answer) => {
            let (api, owner) = (Arc::clone(&call.api), call.actor().owner_id());
            let reply = answer(call).await?;
            Ok(reading::counted_now(&api, owner, reply))
        }
    }
}

/// Answers on the threads for reads, in the actor's turn, and counts the answer until it is sent.
async fn read(call: Call, answer: fn(&Call) -> Result<Reply, Problem>) -> Result<Reply, Problem> {
    let api = Arc::clone(&call.api);
    let actor = call.actor().clone();
    let done = api.app.reads().run(&actor, move || {
        let answered = answer(&call);
        (call, answered)
    });
    let (call, answered) = done.await?;
    match answered {
        Err(problem) if problem.code == Code::NotAllowed => Err(note_denial(call, problem).await),
        Err(problem) => Err(problem),
        Ok(reply) => reading::counted(&api, &actor, reply).await,
    }
}

/// The conditions of a change. What a route changes that has no revision takes none: a condition that
/// is not looked at must not be taken for one that holds.
fn preconditions(
    route: &Route,
    headers: &HeaderMap,
) -> Result<Option<Box<Preconditions>>, Problem> {
    match (input::preconditions(headers)?, route.doc.condition) {
        (None, _) => Ok(None),
        (Some(conditions), Condition::IfMatch) => Ok(Some(Box::new(conditions))),
        (Some(_), Condition::None | Condition::IfNoneMatch) => {
            Err(Code::ConditionNotSupported.into())
        }
    }
}

/// Waits until what is due by now has happened, where the route reads something that it may end.
async fn wait_for_timers(call: &Call) -> Result<(), Problem> {
    let Route { method, pattern, .. } = call.route;
    if method.is_safe() && TIMED.iter().any(|start| pattern.starts_with(start)) {
        call.api.app.fire_due_timers().await?;
    }
    Ok(())
}

enum Target {
    Route(&'static Route, Parameters),
    Answered(Reply),
}

fn find(api: &Api, head: &Head, seen: &mut Seen) -> Result<Target, Problem> {
    let Some(found) = api.trie.find(&head.path)? else {
        return Err(Problem::new(Code::NotFound, "no route has this path; see /openapi.json"));
    };
    if head.method == Method::OPTIONS {
        let allow = found.allow();
        let mut reply = Reply::empty(StatusCode::NO_CONTENT).with_text(header::ALLOW, &allow);
        let origin = api.origins.allowed(&head.headers);
        if origin.is_some() && browser::is_preflight(&head.method, &head.headers) {
            browser::annotate_preflight(&allow, &mut reply.headers);
        }
        return Ok(Target::Answered(reply));
    }
    let route = Verb::of(&head.method).and_then(|verb| found.route(verb));
    let Some(route) = route else {
        let problem = Problem::plain(Code::MethodNotAllowed);
        return Err(Problem { allow: Some(found.allow()), ..problem });
    };
    seen.pattern = RoutePattern(route.pattern);
    Ok(Target::Route(route, found.parameters))
}

/// Who asks, and whether the cookie said so. A token in `Authorization` goes before the cookie;
/// one in the query is never read.
async fn authenticate(
    api: &Api,
    route: &Route,
    headers: &HeaderMap,
    scheme: Scheme,
) -> Result<(AuthContext, bool), Problem> {
    let nobody = || AuthContext { actor: Actor::Nobody, session: None };
    if !route.who.reads_token() {
        return Ok((nobody(), false));
    }
    if let Some(value) = input::single(headers, &header::AUTHORIZATION)? {
        let token = bearer(value).or_else(|| route.doc.basic.then(|| basic(value)).flatten());
        let token: Token = token
            .and_then(|token| token.parse().ok())
            .ok_or_else(|| Problem::plain(Code::Unauthenticated))?;
        return Ok((api.app.authenticate(Some(&token)).await?, false));
    }
    let Some(token) = browser::cookie(headers, scheme) else { return Ok((nobody(), false)) };
    let access = match token.parse::<Token>() {
        Ok(token) => api.app.authenticate(Some(&token)).await.map_err(Problem::from),
        Err(_) => Err(Code::Unauthenticated.into()),
    };
    match access {
        Ok(access) => Ok((access, true)),
        // A browser sends its dead cookie along when it logs in anew.
        Err(problem) if problem.code == Code::Unauthenticated && route.who.is_open() => {
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

/// Whose requests are counted together.
#[derive(Hash)]
pub(super) enum Named {
    User(u128),
    Session(u128),
    Key(u128),
}

impl Named {
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

/// A known actor that was refused is an event of the audit log (ASVS 5.0, 16.3.2). Boxed where it
/// is awaited: it is seldom, and its room would be made and moved for every request.
async fn note_denial(call: Call, problem: Problem) -> Problem {
    if *call.actor() == Actor::Nobody {
        return problem;
    }
    let what = call.route.label;
    // The answer is the refusal, whatever becomes of the note: a full disk makes no difference.
    let noted = call.execute_quietly(Command::NoteDenial { what }).await;
    if !noted.status.is_success() {
        tracing::warn!(what, status = noted.status.as_u16(), "a denial could not be recorded");
    }
    problem
}

/// What the body of a call may be that takes none: many clients send `{}` along.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Empty {}

const NO_FIELDS: &[(Media, Describe)] = &[(Media::Json, object)];

/// When it is worth trying again after too many bodies came at once.
const BUSY_RETRY_S: u32 = 2;

/// Largest part of a body for which room is made before it has arrived.
const BODY_ROOM_BYTES: usize = 16 * 1024;

/// Reads the body as far as the route takes one. Whether there is one is known by its bytes:
/// HTTP/2 needs no `Content-Length`, and a chunked body may be empty. Reads have none; what comes
/// with one (a gateway passes on the headers of another request) is left alone.
async fn take_body<S, B>(call: &Call, body: S) -> Result<Option<(Media, Bytes)>, Problem>
where
    S: Stream<Item = Result<B, warp::Error>> + Send,
    B: Buf,
{
    let doc = call.route.doc;
    if call.route.method.is_safe() {
        return Ok(None);
    }
    let taken = doc.body.map_or(NO_FIELDS, |body| body.content);
    let media = || input::media(&call.headers, &taken.iter().map(|(media, _)| *media));
    let announced = input::content_length(&call.headers).unwrap_or_default();
    let bytes_max = call.api.settings.body_bytes_max;
    if announced > bytes_max {
        return Err(too_large(bytes_max));
    }
    let mut known = if announced > 0 { Some(media()?) } else { None };
    let mut whole = BytesMut::with_capacity(announced.min(BODY_ROOM_BYTES));
    let mut body = pin!(body);
    // What has to be waited for is counted: whoever sends a body slowly holds what has arrived.
    let mut waiting: Option<Share> = None;
    loop {
        let arrived = poll_fn(|cx| Poll::Ready(body.as_mut().poll_next(cx))).await;
        let chunk = match arrived {
            Poll::Ready(chunk) => chunk,
            Poll::Pending => {
                let share = waiting.get_or_insert_with(|| call.api.bodies.of(call.address));
                if !share.grow_to(whole.len()) {
                    return Err(Problem::plain(Code::Busy).retry_after(BUSY_RETRY_S));
                }
                poll_fn(|cx| body.as_mut().poll_next(cx)).await
            }
        };
        let Some(chunk) = chunk else { break };
        let mut chunk = chunk.map_err(|error| broken(&error))?;
        if known.is_none() && chunk.has_remaining() {
            known = Some(media()?);
        }
        if whole.len() + chunk.remaining() > bytes_max {
            return Err(too_large(bytes_max));
        }
        while chunk.has_remaining() {
            let part = chunk.chunk();
            whole.extend_from_slice(part);
            let read = part.len();
            chunk.advance(read);
        }
    }
    let whole = whole.freeze();
    match (known, doc.body) {
        (Some(media), Some(_)) => Ok(Some((media, whole))),
        (Some(media), None) => {
            let Empty {} = shape::read(json::parse(&whole)?)?;
            Ok(Some((media, whole)))
        }
        (None, None) => Ok(None),
        (None, Some(_)) if doc.body_optional => Ok(None),
        // What an empty body lacks is said by its reader, unless its media type is wrong already.
        (None, Some(body)) => {
            let is_typed = call.headers.contains_key(header::CONTENT_TYPE);
            let first = body.content.first().map_or(Media::Json, |(media, _)| *media);
            Ok(Some((if is_typed { media()? } else { first }, whole)))
        }
    }
}

fn too_large(bytes_max: usize) -> Problem {
    Problem::new(Code::BodyTooLarge, format!("a body may have at most {bytes_max} bytes"))
}

fn broken(error: &warp::Error) -> Problem {
    let cause = error.source().and_then(|source| source.downcast_ref::<BodyError>());
    if let Some(BodyError::Slow) = cause {
        return Problem::new(Code::RequestTimeout, "the body did not arrive in time");
    }
    Problem::new(Code::BadRequest, "the body broke off or is badly framed")
}
