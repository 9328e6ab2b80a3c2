//! Request dispatch: from the warp filter to the handler and back.
//!
//! 1. The path finds its route ([`super::router`]): 404, 405, OPTIONS are answered here.
//! 2. The address's rate; the query against the route's parameters.
//! 3. The token gives the actor; a change by cookie must be same-origin; the actor's rate.
//! 4. The route's row of who may call it.
//! 5. The Idempotency-Key, the conditions of a change, the media type, the body within its limit.
//! 6. The handler. Refusals of all these are [`Problem`]s and become answers in one place.

use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::Arc;

use bytes::{Buf, Bytes};
use futures_core::Stream;
use http::header::{self, HeaderMap, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use hyper::upgrade::OnUpgrade;
use warp::path::FullPath;
use warp::{Filter, Rejection};

use super::Api;
use super::authentication::{RateKey, authenticate};
use super::body_reader::read_body;
use super::body_stream::BodyStream;
use super::browser;
use super::input::{self, Query};
use super::operation::{Condition, Limit};
use super::problem::{self, Code, Problem};
use super::rates::RateStatus;
use super::read_reply;
use super::reply::Reply;
use super::request_context::{PreparedCommand, RequestContext};
use super::route::{Handler, Route, Verb};
use super::router::Parameters;
use super::server::{Arrival, METHODS, RequestBody, RequestId, RoutePattern, Scheme};
use crate::app::{AuthContext, Idempotency};
use crate::engine::{Actor, Command, Preconditions};

/// Query parameter for a past revision.
const AS_OF: &str = "as_of";

/// Name in the metrics for requests that no route answers.
const NO_ROUTE: RoutePattern = RoutePattern("none");

/// Media type of pages for people.
const HTML: &str = "text/html";

/// Beginnings of the paths whose reads wait for due timers. A session's end is checked against the
/// time itself, so its reads wait for nothing.
const TIMED: [&str; 5] =
    ["/v1/transactions", "/v1/holds", "/v1/accounts", "/v1/ledger", "/v1/schedules"];

/// Parts of a request that warp's filter has extracted.
struct RequestHead {
    method: Method,
    path: String,
    query: String,
    headers: HeaderMap,
    address: IpAddr,
    scheme: Scheme,
    id: RequestId,
    upgrade: Option<OnUpgrade>,
}

/// A request that did not come over HTTP.
pub(super) struct InternalRequest {
    /// Its method.
    pub(super) method: Method,
    /// Its path.
    pub(super) path: String,
    /// Its headers.
    pub(super) headers: HeaderMap,
    /// Address of the client.
    pub(super) address: IpAddr,
    /// Scheme of the connection.
    pub(super) scheme: Scheme,
    /// Its body.
    pub(super) body: Bytes,
}

/// Answers the request as if it had come over HTTP.
pub(super) async fn internal(api: Arc<Api>, internal: InternalRequest) -> Reply {
    let InternalRequest { method, path, headers, address, scheme, body } = internal;
    let (query, id, upgrade) = (String::new(), RequestId::next(), None);
    let head = RequestHead { method, path, query, headers, address, scheme, id, upgrade };
    let mut notes = ResponseNotes::default();
    let body = futures_util::stream::iter([Ok::<_, warp::Error>(body)]);
    // Boxed: a socket's handler waits for another one.
    let reply = Box::pin(respond(api, head, body, &mut notes)).await;
    reply.unwrap_or_else(|problem| Reply::problem(&problem, &id.to_string()))
}

/// The service behind the accept loop: one warp filter that takes the request apart,
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
            let head = RequestHead { method, path, query, headers, address, scheme, id, upgrade };
            async move { into_warp_response(answer(api, head, body).await) }
        })
        .recover(recovered);
    warp::service(routes)
}

/// Only a request that did not come through our accept loop lacks its extensions.
async fn recovered(rejection: Rejection) -> Result<warp::reply::Response, Infallible> {
    tracing::error!(?rejection, "a request came without what the accept loop gives it");
    let reply = Reply::problem(&Code::Internal.into(), &RequestId::next().to_string());
    Ok(into_warp_response(reply.into()))
}

fn into_warp_response(answer: Response<Bytes>) -> warp::reply::Response {
    match answer.extensions().get::<BodyStream>().cloned() {
        None => answer.map(Into::into),
        Some(flow) => {
            let body = flow.body().into_body();
            answer.map(|_| body)
        }
    }
}

async fn answer<S, B>(api: Arc<Api>, head: RequestHead, body: S) -> Response<Bytes>
where
    S: Stream<Item = Result<B, warp::Error>> + Send,
    B: Buf,
{
    let (id, scheme) = (head.id, head.scheme);
    let origin = api.origins.allowed(&head.headers).cloned();
    let mut notes = ResponseNotes::default();
    let reply = respond(Arc::clone(&api), head, body, &mut notes).await;
    let mut reply = reply.unwrap_or_else(|problem| Reply::problem(&problem, &id.to_string()));
    if let Some(rate_status) = notes.rate_status {
        rate_status.annotate(&mut reply.headers);
    }
    if notes.is_negotiated {
        reply.headers.append(header::VARY, HeaderValue::from_static("Accept"));
    }
    api.origins.annotate(origin.as_ref(), &mut reply.headers);
    browser::harden(&mut reply.headers, scheme);
    let mut response = Response::from(reply);
    response.extensions_mut().insert(notes.pattern);
    response
}

/// Facts about a request that its answer states, whether it succeeds or is refused.
struct ResponseNotes {
    pattern: RoutePattern,
    rate_status: Option<RateStatus>,
    /// True if the answer depends on `Accept`.
    is_negotiated: bool,
}

impl Default for ResponseNotes {
    fn default() -> Self {
        Self { pattern: NO_ROUTE, rate_status: None, is_negotiated: false }
    }
}

impl ResponseNotes {
    /// Notes the state of the client's rate limit; refuses a request that exceeds it.
    fn count(&mut self, rate_status: Option<RateStatus>) -> Result<(), Problem> {
        self.rate_status = rate_status.or(self.rate_status);
        rate_status.and_then(|rate_status| rate_status.problem()).map_or(Ok(()), Err)
    }
}

async fn respond<S, B>(
    api: Arc<Api>,
    head: RequestHead,
    body: S,
    notes: &mut ResponseNotes,
) -> Result<Reply, Problem>
where
    S: Stream<Item = Result<B, warp::Error>> + Send,
    B: Buf,
{
    let rates = api.rates.as_ref();
    notes.count(rates.map(|rates| rates.address(head.address)))?;
    let (route, parameters) = match find(&api, &head, notes)? {
        Target::Route(route, parameters) => (route, parameters),
        Target::Answered(reply) => return Ok(reply),
    };
    let RequestHead { method, path, query: raw_query, headers, address, scheme, id, upgrade } =
        head;
    let operation = route.operation;
    if operation.limit == Limit::Logins {
        notes.count(rates.map(|rates| rates.login(address)))?;
    }
    let query = Query::parse(&raw_query, &operation.query.iter().map(|parameter| parameter.name))?;
    let (identity, by_cookie) = authenticate(&api, route, &headers, scheme).await?;
    let admitted = admit(&api, route, &headers, scheme, (&identity, by_cookie), notes)?;
    let key = if route.method.is_safe() { None } else { input::idempotency_key(&headers)? };
    let mut request = RequestContext {
        api,
        route,
        is_head: method == Method::HEAD,
        id,
        address,
        scheme,
        headers,
        parameters,
        query,
        identity,
        by_cookie,
        idempotency: None,
        preconditions: None,
        body: None,
        upgrade,
    };
    if let Admission::Denied(problem) = admitted {
        return Err(Box::pin(note_denial(request, problem)).await);
    }
    check_change(&mut request, key.is_some())?;
    request.body = read_body(&request, body).await?;
    if operation.limit == Limit::Sessions {
        let rates = request.api.rates.as_ref();
        notes.count(rates.and_then(|rates| super::sessions::count(&request, rates)))?;
    }
    request.idempotency = key.map(|key| idempotency(&request, key, &path, &raw_query));
    wait_for_timers(&request).await?;
    run_handler(request).await
}

/// Decision on a request before its body is read.
enum Admission {
    Admitted,
    /// The denial is recorded in the audit log before it is answered.
    Denied(Problem),
}

/// Counts a request for its actor and checks its origin and the access rule of its route.
///
/// # Errors
/// [`Code::RateLimited`]
fn admit(
    api: &Api,
    route: &Route,
    headers: &HeaderMap,
    scheme: Scheme,
    (identity, by_cookie): (&AuthContext, bool),
    notes: &mut ResponseNotes,
) -> Result<Admission, Problem> {
    let changes = !route.method.is_safe();
    let same_origin = if by_cookie && changes {
        browser::guard_cookie_change(api.origins.source(headers, scheme))
    } else {
        Ok(())
    };
    if changes && identity.actor != Actor::Nobody {
        api.app.anticipate();
    }
    if let Some(key) = RateKey::of(&identity.actor) {
        let rates = api.rates.as_ref();
        notes.count(rates.map(|rates| rates.actor(&key)))?;
        if route.operation.limit == Limit::Passwords {
            notes.count(rates.map(|rates| rates.password(&key)))?;
        }
    }
    match same_origin.and_then(|()| route.access.admit(identity)) {
        Ok(()) => Ok(Admission::Admitted),
        Err(problem) => Ok(Admission::Denied(problem)),
    }
}

/// Checks what only a change may have: an Idempotency-Key, conditions, and memory for its answer.
fn check_change(request: &mut RequestContext, has_key: bool) -> Result<(), Problem> {
    let takes_key = request.route.operation.idempotency && *request.actor() != Actor::Nobody;
    if has_key && !takes_key {
        return Err(Code::IdempotencyKeyNotSupported.into());
    }
    if !request.route.method.is_safe() {
        request.preconditions = preconditions(request.route, &request.headers)?;
        request.api.answers.must_have_room(request.actor())?;
    }
    Ok(())
}

/// Returns the Idempotency-Key with the fingerprint of the request. A request whose meaning depends
/// on its session has a fingerprint of that session.
fn idempotency(request: &RequestContext, key: String, path: &str, query: &str) -> Idempotency {
    let bytes = request.body.as_ref().map_or(&[][..], |(_, bytes)| bytes);
    let (method, app) = (request.route.method.as_str(), &request.api.app);
    let names_session = request.route.names_session(&request.query);
    let fingerprint = match request.actor().session().filter(|_| names_session) {
        None => app.fingerprint(method, path, query, bytes),
        Some(session) => app.fingerprint_in(session, (method, path, query, bytes)),
    };
    Idempotency { key, fingerprint }
}

async fn run_handler(request: RequestContext) -> Result<Reply, Problem> {
    match request.route.handler {
        Handler::Static(handler) => Ok(handler(&request)),
        // A past revision is read from the log, which may take milliseconds.
        Handler::Sync(handler) if request.query.get(AS_OF).is_some() => {
            Box::pin(read(request, handler)).await
        }
        Handler::Sync(handler) => match handler(&request) {
            Err(problem) if problem.code == Code::NotAllowed => {
                Err(Box::pin(note_denial(request, problem)).await)
            }
            Err(problem) => Err(problem),
            Ok(reply) => Box::pin(read_reply::count(&request.api, request.actor(), reply)).await,
        },
        // Boxed, so that other requests do not allocate and move its space.
        Handler::Read(handler) => Box::pin(read(request, handler)).await,
        Handler::Command(handler) => {
            let PreparedCommand { command, write } = handler(&request)?;
            let (api, owner) = (Arc::clone(&request.api), request.actor().owner_id());
            let reply = request.execute(command, write).await;
            Ok(read_reply::count_now(&api, owner, reply))
        }
        Handler::Async(handler) if request.route.method.is_safe() => handler(request).await,
        Handler::Async(handler) => {
            let (api, owner) = (Arc::clone(&request.api), request.actor().owner_id());
            let reply = handler(request).await?;
            Ok(read_reply::count_now(&api, owner, reply))
        }
    }
}

/// Answers on the threads for reads, in the actor's turn, and counts the answer until it is sent.
async fn read(
    request: RequestContext,
    answer: fn(&RequestContext) -> Result<Reply, Problem>,
) -> Result<Reply, Problem> {
    let api = Arc::clone(&request.api);
    let actor = request.actor().clone();
    let done = api.app.reads().run(&actor, move || {
        let answered = answer(&request);
        (request, answered)
    });
    let (request, answered) = done.await?;
    match answered {
        Err(problem) if problem.code == Code::NotAllowed => {
            Err(note_denial(request, problem).await)
        }
        Err(problem) => Err(problem),
        Ok(reply) => read_reply::count(&api, &actor, reply).await,
    }
}

/// Returns the conditions of a change. A route that changes something without a revision takes
/// none: a condition that is not checked must not be taken for one that holds.
fn preconditions(
    route: &Route,
    headers: &HeaderMap,
) -> Result<Option<Box<Preconditions>>, Problem> {
    match (input::preconditions(headers)?, route.operation.condition) {
        (None, _) => Ok(None),
        (Some(conditions), Condition::IfMatch) => Ok(Some(Box::new(conditions))),
        (Some(_), Condition::None | Condition::IfNoneMatch) => {
            Err(Code::ConditionNotSupported.into())
        }
    }
}

/// Waits until all due timers have fired, if the route reads something that a timer may end.
async fn wait_for_timers(request: &RequestContext) -> Result<(), Problem> {
    let Route { method, pattern, .. } = request.route;
    if method.is_safe() && TIMED.iter().any(|start| pattern.starts_with(start)) {
        request.api.app.wait_for_due_timers().await?;
    }
    Ok(())
}

enum Target {
    Route(&'static Route, Parameters),
    Answered(Reply),
}

fn find(api: &Api, head: &RequestHead, notes: &mut ResponseNotes) -> Result<Target, Problem> {
    if head.method == Method::OPTIONS && head.path == "*" {
        let reply = Reply::empty(StatusCode::NO_CONTENT).with_text(header::ALLOW, METHODS);
        return Ok(Target::Answered(reply));
    }
    let Some(found) = api.router.find(&head.path)? else {
        let is_root = head.path == "/" && matches!(head.method, Method::GET | Method::HEAD);
        notes.is_negotiated = is_root;
        if is_root && input::preferred(&head.headers, &[problem::MEDIA_TYPE, HTML]) == HTML {
            let guide = HeaderValue::from_static("/docs");
            let reply = Reply::empty(StatusCode::SEE_OTHER).with(header::LOCATION, guide);
            return Ok(Target::Answered(reply));
        }
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
    notes.pattern = RoutePattern(route.pattern);
    notes.is_negotiated = route.operation.negotiated;
    Ok(Target::Route(route, found.parameters))
}

/// Records the refusal of a known actor as an event of the audit log (ASVS 5.0, 16.3.2). Boxed
/// where it is awaited: it is rare, and its space would be made and moved for every request.
async fn note_denial(request: RequestContext, problem: Problem) -> Problem {
    if *request.actor() == Actor::Nobody {
        return problem;
    }
    let what = request.route.label;
    // The answer is the refusal, even if the event cannot be recorded, for example on a full disk.
    let noted = request.execute_quietly(Command::NoteDenial { what }).await;
    if !noted.status.is_success() {
        tracing::warn!(what, status = noted.status.as_u16(), "a denial could not be recorded");
    }
    problem
}
