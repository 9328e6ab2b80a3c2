//! Wrapper around the service at every request: request id, limits, panics, metrics.

use std::any::Any;
use std::convert::Infallible;
use std::future::Future;
use std::marker::PhantomData;
use std::net::{IpAddr, SocketAddr};
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_LENGTH, EXPECT, HOST, HeaderValue, UPGRADE};
use http::{HeaderName, Method, Request, Response, StatusCode, Version};
use http_body::{Body, Frame, SizeHint};
use http_body_util::Full;
use hyper::body::Incoming;
use pin_project_lite::pin_project;
use tokio::time::Instant;
use tracing::{Instrument as _, field};

use super::super::input::trace_context;
use super::connection_state::{ActiveRequest, AnswerProgress, ConnectionState};
use super::head_guard::head::is_host;
use super::proxies::ForwardedClient;
use super::rejection::Rejection;
use super::request_body::UnreadBody;
use super::{
    Arrival, HttpService, NO_ROUTE, RequestBody, RequestId, ResponseBody, RoutePattern, Scheme,
    ServeOptions,
};

const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The service of one connection, as hyper calls it.
pub(super) struct ConnectionService<S, B> {
    service: S,
    peer: SocketAddr,
    options: Arc<ServeOptions>,
    watch: Arc<ConnectionState>,
    answers: PhantomData<fn() -> B>,
}

/// Facts about a request that are kept until its answer is sent.
struct RequestInfo {
    id: RequestId,
    method: &'static str,
    client: IpAddr,
    scheme: Scheme,
    start: Instant,
    upgrade: bool,
    http2: bool,
    active: ActiveRequest,
    options: Arc<ServeOptions>,
}

impl<S, B> ConnectionService<S, B> {
    pub(super) const fn new(
        service: S,
        peer: SocketAddr,
        options: Arc<ServeOptions>,
        watch: Arc<ConnectionState>,
    ) -> Self {
        Self { service, peer, options, watch, answers: PhantomData }
    }

    /// Checks an HTTP/2 request, which no head guard has seen.
    fn check(&self, request: &Request<Incoming>) -> Option<Rejection> {
        if request.version() != Version::HTTP_2 {
            return None;
        }
        let uri = request.uri();
        let headers = request.headers();
        let target = uri.path_and_query().map_or(0, |target| target.as_str().len());
        if target > self.options.limits.target_bytes {
            return Some(Rejection::TargetTooLong);
        }
        match method_name(request.method()) {
            "other" => return Some(Rejection::MethodUnknown),
            "TRACE" | "CONNECT" => return Some(Rejection::MethodNotAllowed),
            _ => {}
        }
        let mut lengths = headers.get_all(CONTENT_LENGTH).iter();
        if lengths.next().is_some_and(|first| lengths.any(|other| other != first)) {
            return Some(Rejection::BadLength);
        }
        let mut hosts = headers.get_all(HOST).iter();
        let authority = uri.authority().map(http::uri::Authority::as_str);
        let host = match (authority, hosts.next(), hosts.next()) {
            (None, None, _) => return Some(Rejection::NoHost),
            (_, _, Some(_)) => return Some(Rejection::TwoHosts),
            (Some(authority), Some(host), None)
                if !host.as_bytes().eq_ignore_ascii_case(authority.as_bytes()) =>
            {
                return Some(Rejection::BadHost);
            }
            (Some(authority), _, None) => authority.as_bytes(),
            (None, Some(host), None) => host.as_bytes(),
        };
        (!is_host(host)).then_some(Rejection::BadHost)
    }

    /// Returns the request as the service reads it: `Host` is the one that the client named, also
    /// where HTTP/2 writes `:authority` (RFC 9113, 8.3.1) or a trusted proxy has it.
    fn normalized(request: &mut Request<RequestBody>, host: Option<HeaderValue>) {
        let authority = request.uri().authority().filter(|_| request.version() == Version::HTTP_2);
        let named = host.or_else(|| HeaderValue::from_str(authority?.as_str()).ok());
        if let Some(host) = named {
            request.headers_mut().insert(HOST, host);
        }
    }
}

impl<S, B> hyper::service::Service<Request<Incoming>> for ConnectionService<S, B>
where
    S: HttpService<B>,
    B: ResponseBody,
{
    type Response = Response<Tracked<B>>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let (active, refused) = self.watch.begin();
        let scheme = if self.options.tls.is_some() { Scheme::Https } else { Scheme::Http };
        let proxies = &self.options.proxies;
        let ForwardedClient { address: client, scheme, host } =
            proxies.client(self.peer.ip(), scheme, request.headers());
        let http2 = request.version() == Version::HTTP_2;
        let rest = (!http2 && !request.body().is_end_stream()).then(Arc::<UnreadBody>::default);
        // A read of a body that the client holds back until 100 (Continue) would request it.
        let discards = !request.headers().contains_key(EXPECT);
        let info = RequestInfo {
            id: RequestId::next(),
            method: method_name(request.method()),
            client,
            scheme,
            start: Instant::now(),
            upgrade: request.headers().contains_key(UPGRADE),
            http2,
            active,
            options: Arc::clone(&self.options),
        };
        let span = tracing::info_span!("request", id = %info.id, trace_id = field::Empty);
        if let Some(trace) = trace_context(request.headers()) {
            span.record("trace_id", field::display(trace.trace_id()));
        }
        if let Some(rejection) = refused.or_else(|| self.check(&request)) {
            let answer = span.in_scope(|| {
                tracing::debug!(client = %info.client, ?rejection, "refused");
                let answer = rejection.answer(info.id, info.scheme);
                info.finish(answer.map(|body| Content::Own { body }), true)
            });
            return Box::pin(std::future::ready(Ok(answer)));
        }
        let least = self.options.limits.transfer_time;
        let left = rest.clone();
        let mut request = request.map(|incoming| RequestBody::new(incoming, least, left));
        Self::normalized(&mut request, host);
        let arrival = Arrival { peer: self.peer, client, scheme, id: info.id };
        request.extensions_mut().insert(arrival);
        let mut service = self.service.clone();
        // Boxed at once: the future around it stays small, and is moved more than once.
        let call = AssertUnwindSafe(|| Box::pin(service.call(request)));
        let called = span.in_scope(|| std::panic::catch_unwind(call));
        let answer = async move {
            let served = match called {
                Ok(future) => CatchPanic(future).await,
                Err(panic) => Err(panic),
            };
            let answer = match served {
                Ok(Ok(answer)) => answer.map(|body| Content::Service { body }),
                // The log has the panic itself already, with its location.
                Err(_) => {
                    tracing::error!("the handler panicked");
                    let answer = Rejection::Panicked.answer(info.id, info.scheme);
                    answer.map(|body| Content::Own { body })
                }
            };
            let is_whole = match rest {
                None => true,
                Some(rest) if discards => rest.discard().await,
                Some(rest) => rest.is_ended(),
            };
            Ok(info.finish(answer, is_whole))
        };
        Box::pin(answer.instrument(span))
    }
}

impl RequestInfo {
    /// Returns the answer as it is sent. After a request that was not read to its end the
    /// connection ends, and the answer says so: a next request on it would be lost.
    fn finish<B: ResponseBody>(
        self,
        answer: Response<Content<B>>,
        is_whole: bool,
    ) -> Response<Tracked<B>> {
        if self.upgrade {
            self.active.upgrade_answered(answer.status() == StatusCode::SWITCHING_PROTOCOLS);
        }
        let route = answer.extensions().get::<RoutePattern>().copied().unwrap_or(NO_ROUTE);
        let (took, status) = (self.start.elapsed(), answer.status().as_u16());
        if let Some(metrics) = &self.options.metrics {
            metrics.answered(self.method, route, status, took);
        }
        let ms = took.as_secs_f64() * 1e3;
        tracing::debug!(
            target: "abide::access",
            method = self.method,
            route = route.0,
            status,
            ms,
            client = %self.client,
            "answered"
        );
        let Self { id, method, http2, active, .. } = self;
        let progress = http2.then(|| active.follow());
        let mut answer = if method == "HEAD" { without_content(answer) } else { answer }
            .map(|content| Tracked { content, progress, active });
        if !is_whole {
            answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        if let Some(value) = id.to_header() {
            answer.headers_mut().insert(X_REQUEST_ID, value);
        }
        answer
    }
}

/// Returns the answer to HEAD: the headers of the answer to GET, and nothing after them (RFC 9110,
/// 9.3.2). hyper leaves content out by itself only in HTTP/1.
fn without_content<B: ResponseBody>(mut answer: Response<Content<B>>) -> Response<Content<B>> {
    let length = answer.body().size_hint().exact().filter(|length| *length > 0);
    if let Some(length) = length {
        answer.headers_mut().entry(CONTENT_LENGTH).or_insert_with(|| length.into());
    }
    answer.map(|_| Content::Own { body: Full::default() })
}

/// Returns a method by its name, or "other": a method that a client made up is no label.
fn method_name(method: &Method) -> &'static str {
    const KNOWN: [&str; 10] =
        ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "QUERY", "TRACE", "CONNECT"];
    KNOWN.into_iter().find(|known| *known == method.as_str()).unwrap_or("other")
}

/// A future whose panic is an outcome.
struct CatchPanic<F>(Pin<Box<F>>);

impl<F: Future> Future for CatchPanic<F> {
    type Output = Result<F::Output, Box<dyn Any + Send>>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let future = self.0.as_mut();
        match std::panic::catch_unwind(AssertUnwindSafe(|| future.poll(cx))) {
            Ok(polled) => polled.map(Ok),
            Err(panic) => Poll::Ready(Err(panic)),
        }
    }
}

pin_project! {
    /// An answer's body, under way until it is dropped.
    pub(super) struct Tracked<B> {
        #[pin]
        content: Content<B>,
        progress: Option<Arc<AnswerProgress>>,
        active: ActiveRequest,
    }
}

pin_project! {
    /// Body of the service's answer, or of the one in its place.
    #[project = ContentProjection]
    enum Content<B> {
        Service { #[pin] body: B },
        Own { #[pin] body: Full<Bytes> },
    }
}

impl<B: ResponseBody> Body for Tracked<B> {
    type Data = Bytes;
    type Error = Box<dyn std::error::Error + Send + Sync>;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let this = self.project();
        let polled = match this.content.project() {
            ContentProjection::Service { body } => body.poll_frame(cx).map_err(Into::into),
            ContentProjection::Own { body } => body.poll_frame(cx).map_err(Into::into),
        };
        if let Some(progress) = this.progress {
            this.active.taken(progress, matches!(polled, Poll::Ready(Some(_))));
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        match &self.content {
            Content::Service { body } => body.is_end_stream(),
            Content::Own { body } => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        self.content.size_hint()
    }
}

impl<B: ResponseBody> Content<B> {
    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Service { body } => body.size_hint(),
            Self::Own { body } => body.size_hint(),
        }
    }
}
