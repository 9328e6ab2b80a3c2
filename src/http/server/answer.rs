//! What surrounds the service at every request: its name, its limits, its panics.

use std::any::Any;
use std::convert::Infallible;
use std::future::Future;
use std::marker::PhantomData;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::UPGRADE;
use http::{HeaderName, Request, Response, StatusCode};
use http_body::{Body, Frame, SizeHint};
use http_body_util::Full;
use hyper::body::Incoming;
use pin_project_lite::pin_project;

use super::refusal::Refusal;
use super::watch::{UnderWay, Watch};
use super::{
    AnswerBody, ClientAddress, Entrance, HttpService, Peer, RequestBody, RequestId, Scheme,
};

const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The service of one connection, as hyper calls it.
pub(super) struct Answering<S, B> {
    service: S,
    peer: Peer,
    entrance: Arc<Entrance>,
    watch: Arc<Watch>,
    answers: PhantomData<fn() -> B>,
}

impl<S, B> Answering<S, B> {
    pub(super) const fn new(
        service: S,
        peer: Peer,
        entrance: Arc<Entrance>,
        watch: Arc<Watch>,
    ) -> Self {
        Self { service, peer, entrance, watch, answers: PhantomData }
    }

    /// What may be wrong with a request that hyper has parsed.
    fn check(&self, request: &Request<Incoming>) -> Option<Refusal> {
        let uri = request.uri();
        let target = uri.path_and_query().map_or(0, |target| target.as_str().len());
        (target > self.entrance.limits.target_bytes).then_some(Refusal::TargetTooLong)
    }
}

impl<S, B> hyper::service::Service<Request<Incoming>> for Answering<S, B>
where
    S: HttpService<B>,
    B: AnswerBody,
{
    type Response = Response<Tracked<B>>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let (under_way, refused) = self.watch.begin();
        let asks_upgrade = request.headers().contains_key(UPGRADE);
        let id = RequestId::next();
        if let Some(refusal) = refused.or_else(|| self.check(&request)) {
            if asks_upgrade {
                under_way.upgrade_answered(false);
            }
            let answer = refusal.answer(id).map(|body| Content::Own { body });
            let answer = finish(answer, id, under_way);
            return Box::pin(std::future::ready(Ok(answer)));
        }
        let least = self.entrance.limits.transfer_time;
        let mut request = request.map(|incoming| RequestBody::new(incoming, least));
        let proxies = &self.entrance.proxies;
        let (client, scheme) = proxies.client(self.peer.0.ip(), Scheme::Http, request.headers());
        let extensions = request.extensions_mut();
        extensions.insert(self.peer);
        extensions.insert(ClientAddress(client));
        extensions.insert(scheme);
        extensions.insert(id);
        let mut service = self.service.clone();
        Box::pin(async move {
            let served = std::panic::catch_unwind(AssertUnwindSafe(|| service.call(request)));
            let served = match served {
                Ok(future) => CatchPanic { future }.await,
                Err(panic) => Err(panic),
            };
            let answer = match served {
                Ok(Ok(answer)) => answer.map(|body| Content::Service { body }),
                Err(panic) => {
                    tracing::error!(request = %id, panic = panic_text(&*panic), "panic in a handler");
                    Refusal::Panicked.answer(id).map(|body| Content::Own { body })
                }
            };
            if asks_upgrade {
                under_way.upgrade_answered(answer.status() == StatusCode::SWITCHING_PROTOCOLS);
            }
            Ok(finish(answer, id, under_way))
        })
    }
}

fn finish<B>(
    answer: Response<Content<B>>,
    id: RequestId,
    under_way: UnderWay,
) -> Response<Tracked<B>>
where
    B: AnswerBody,
{
    let mut answer = answer.map(|content| Tracked { content, _under_way: under_way });
    if let Some(value) = id.to_header() {
        answer.headers_mut().insert(X_REQUEST_ID, value);
    }
    answer
}

/// The message of a panic, for the log only.
fn panic_text(panic: &(dyn Any + Send)) -> &str {
    panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&'static str>().copied())
        .unwrap_or("without a message")
}

pin_project! {
    /// A future whose panic is an outcome.
    struct CatchPanic<F> {
        #[pin]
        future: F,
    }
}

impl<F: Future> Future for CatchPanic<F> {
    type Output = Result<F::Output, Box<dyn Any + Send>>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let future = self.project().future;
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
        _under_way: UnderWay,
    }
}

pin_project! {
    /// What the service answers, or what is answered in its place.
    #[project = ContentProjection]
    enum Content<B> {
        Service { #[pin] body: B },
        Own { #[pin] body: Full<Bytes> },
    }
}

impl<B: AnswerBody> Body for Tracked<B> {
    type Data = Bytes;
    type Error = Box<dyn std::error::Error + Send + Sync>;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        match self.project().content.project() {
            ContentProjection::Service { body } => body.poll_frame(cx).map_err(Into::into),
            ContentProjection::Own { body } => body.poll_frame(cx).map_err(Into::into),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.content {
            Content::Service { body } => body.is_end_stream(),
            Content::Own { body } => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.content {
            Content::Service { body } => body.size_hint(),
            Content::Own { body } => body.size_hint(),
        }
    }
}
