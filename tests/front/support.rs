//! A server of the library with limits of the test's choice, and the real binary.

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use abide::http::server::{
    Arrival, BodyError, DrainOutcome, Limits, RequestBody, ServeOptions, ShutdownSignal,
    ShutdownTrigger, serve,
};
use bytes::Bytes;
use http::header::{CONNECTION, UPGRADE};
use http::{HeaderValue, Request, Response, StatusCode};
use http_body::{Body, Frame};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// Nothing here takes this long, unless it hangs.
pub(crate) const LONG: Duration = Duration::from_secs(30);

/// A server in this process.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pub(crate) service: Paths,
    stopper: ShutdownTrigger,
    running: JoinHandle<DrainOutcome>,
}

impl Server {
    pub(crate) async fn start(limits: Limits) -> Self {
        Self::start_with(ServeOptions { limits, ..ServeOptions::default() }).await
    }

    pub(crate) async fn start_with(entrance: ServeOptions) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stopper, stop) = ShutdownSignal::new();
        let service = Paths { gate: Arc::new(Semaphore::new(0)) };
        let running = tokio::spawn(serve(listener, service.clone(), entrance, stop));
        Self { address, service, stopper, running }
    }

    /// Gives the signal and does not wait.
    pub(crate) fn begin_stop(&self) {
        self.stopper.stop();
    }

    pub(crate) async fn stop(self) -> DrainOutcome {
        self.stopper.stop();
        timeout(LONG, self.running).await.unwrap().unwrap()
    }

    pub(crate) async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// Returns the answer to these bytes until the server closes.
    pub(crate) async fn exchange(&self, bytes: &[u8]) -> String {
        let mut socket = self.connect().await;
        socket.write_all(bytes).await.unwrap();
        rest(&mut socket).await
    }

    /// Returns whether an ordinary client is served.
    pub(crate) async fn serves(&self) -> bool {
        let asked = self.exchange(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
        timeout(LONG, asked).await.is_ok_and(|answer| answer.ends_with("\r\n\r\nok"))
    }
}

/// Everything until the other side closes.
pub(crate) async fn rest(socket: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    match timeout(LONG, socket.read_to_end(&mut bytes)).await {
        Err(elapsed) => panic!("not closed, {elapsed}; until then: {}", bytes.escape_ascii()),
        Ok(Err(error)) => panic!("{error}; until then: {}", bytes.escape_ascii()),
        Ok(Ok(_)) => String::from_utf8_lossy(&bytes).into_owned(),
    }
}

/// One answer with a `Content-Length`, on a connection that stays open.
pub(crate) async fn answer(socket: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
            if body.len() >= length.map_or(0, |length| length.parse().unwrap()) {
                return text;
            }
        }
        let mut more = [0; 4096];
        let count = timeout(LONG, socket.read(&mut more)).await.unwrap().unwrap();
        assert!(count > 0, "closed; until then: {text}");
        bytes.extend_from_slice(&more[..count]);
    }
}

pub(crate) fn status(answer: &str) -> u16 {
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok());
    status.unwrap_or_else(|| panic!("no answer: {answer:?}"))
}

/// Answers by path: `/echo` the body, `/early` before it has read it, `/gate` when the gate lets
/// one through, `/flood` more than any buffer holds, `/panic` not at all, `/who` the client's
/// address, `/upgrade` with an echo of another protocol; all else with `ok`.
#[derive(Clone)]
pub(crate) struct Paths {
    pub(crate) gate: Arc<Semaphore>,
}

type Answer = Response<UnsyncBoxBody<Bytes, Infallible>>;

impl tower_service::Service<Request<RequestBody>> for Paths {
    type Response = Answer;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Answer, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<RequestBody>) -> Self::Future {
        let gate = Arc::clone(&self.gate);
        Box::pin(async move { Ok(respond(request, gate).await) })
    }
}

async fn respond(request: Request<RequestBody>, gate: Arc<Semaphore>) -> Answer {
    assert!(request.extensions().get::<Arrival>().is_some());
    match request.uri().path() {
        "/echo" => match request.into_body().collect().await {
            Ok(body) => whole(StatusCode::OK, body.to_bytes()),
            Err(BodyError::Slow) => whole(StatusCode::REQUEST_TIMEOUT, "slow"),
            Err(BodyError::Broken(_)) => whole(StatusCode::BAD_REQUEST, "broken"),
        },
        "/early" => whole(StatusCode::PAYLOAD_TOO_LARGE, "early"),
        "/gate" => {
            gate.acquire().await.unwrap().forget();
            whole(StatusCode::OK, "open")
        }
        "/flood" => Response::new(Flood { frames: 1024 }.boxed_unsync()),
        "/panic" => panic!("on purpose"),
        "/who" => {
            let Arrival { client, scheme, .. } = request.extensions().get::<Arrival>().unwrap();
            whole(StatusCode::OK, format!("{client} {scheme:?}"))
        }
        "/upgrade" => {
            tokio::spawn(echo_upgraded(request));
            let mut answer = whole(StatusCode::SWITCHING_PROTOCOLS, "");
            answer.headers_mut().insert(UPGRADE, HeaderValue::from_static("echo"));
            answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("upgrade"));
            answer
        }
        _ => whole(StatusCode::OK, "ok"),
    }
}

async fn echo_upgraded(request: Request<RequestBody>) {
    let Ok(upgraded) = hyper::upgrade::on(request).await else { return };
    let (mut read, mut write) = tokio::io::split(TokioIo::new(upgraded));
    tokio::io::copy(&mut read, &mut write).await.unwrap();
}

fn whole(status: StatusCode, body: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(Full::new(body.into()).boxed_unsync());
    *answer.status_mut() = status;
    answer
}

/// A body of this many frames of 64 KiB.
struct Flood {
    frames: usize,
}

impl Body for Flood {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let Some(frames) = self.frames.checked_sub(1) else { return Poll::Ready(None) };
        self.frames = frames;
        Poll::Ready(Some(Ok(Frame::data(Bytes::from(vec![b'x'; 1 << 16])))))
    }
}
