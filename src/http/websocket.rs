//! `/v1/socket`: JSON-RPC 2.0 over a WebSocket, subprotocol `abide.v1`.
//!
//! A method is a request of the HTTP API in another form: it takes the same path (rates, the
//! session as it is now, Idempotency-Key, the executor) and is refused with the same problem.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use futures_util::{SinkExt as _, StreamExt as _};
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::{Map, Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::error::Elapsed;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::error::ProtocolError;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message};

use super::Api;
use super::address_quota::QuotaShare;
use super::authentication::RateKey;
use super::browser;
use super::dispatch::{self, InternalRequest};
use super::headers::{has_token, list};
use super::input::single;
use super::operation::Operation;
use super::problem::{Code, Problem};
use super::rates::RateStatus;
use super::reply::Reply;
use super::request_context::RequestContext;
use super::server::{RequestId, Scheme};
use crate::app::{EventId, FeedEnd, FeedItem, FeedScope, FeedSubscriber};
use crate::engine::{Actor, Refusal};
use crate::types::Token;

mod rpc;

use rpc::{
    AuthenticateParams, CancelParams, ChangeConditions, JSON, MERGE_PATCH, NoParams,
    PatchDataParams, RpcError, RpcRequest, StartParams, SubmitParams, SubscribeParams,
    TransactionParams, error, failed, read, segment,
};

/// The subprotocol.
const PROTOCOL: &str = "abide.v1";

/// Time limit for a socket to authenticate.
const AUTHENTICATE_TIME: Duration = Duration::from_secs(10);

/// Delay, in seconds, after which a retry is worthwhile when too many sockets have not
/// authenticated.
const ANONYMOUS_SOCKETS_RETRY_S: u32 = 10;

/// Length of a silence, after which a ping is sent; after a second one the other side is gone.
const PING_EVERY: Duration = Duration::from_secs(30);

/// Time limit for a reader to take a message; then the socket is closed and the client can resume.
const SLOW_TIME: Duration = Duration::from_secs(20);

/// Time that a closed socket is kept so that the other side reads the close.
const LINGER_TIME: Duration = Duration::from_secs(1);

/// Maximum number of requests in one batch: they are executed one after the other.
const BATCH_MAX: usize = 64;

/// Maximum size of the answers to one batch, in bytes. The rest of the batch is then not executed.
const BATCH_ANSWER_BYTES: usize = 1024 * 1024;

/// Maximum size of a message from the client, in bytes: that of a step's input or a session's data.
const MESSAGE_BYTES_MAX: usize = 64 * 1024;

/// Maximum number of bytes that wait to be sent on one socket: the answers to a batch, and the
/// largest event beside them. The library has no limit of its own.
const WRITE_BYTES_MAX: usize = 4 * BATCH_ANSWER_BYTES;

/// Maximum number of bytes that are read and dropped after a socket was closed.
const LINGER_BYTES: usize = 1024 * 1024;

/// Closes a socket whose session has ended.
const CLOSE_ENDED: u16 = 4401;

/// Closes a socket whose reader is too slow.
const CLOSE_SLOW: u16 = 4408;

/// Closes a socket whose session continues under a new token: a holder of the old token must not
/// keep a socket by it.
const CLOSE_TOKEN_REPLACED: u16 = 4410;

pub(super) const OPEN: Operation = Operation::new(
    "openSocket",
    "live",
    "A WebSocket: JSON-RPC 2.0, subprotocol `abide.v1`",
)
.text(
    "By cookie (then the page must be of this origin) or bearer token, or without either and \
           with `authenticate` as the first call, within 10 s. The methods are in \
           `/asyncapi.json`. Closes with 4401 when the session ends, 4410 when it has a new token \
           (connect again with that), 4408 when its reader is too slow, 1008 after too many pings \
           or malformed messages, 1009 after a message over 64 KiB.",
)
.empty(101, "The connection is a WebSocket from here on.")
.problems(&[Code::BadRequest, Code::CrossSite, Code::UpgradeRequired]);

pub(super) async fn open(mut request: RequestContext) -> Result<Reply, Problem> {
    if request.by_cookie {
        let source = request.api.origins.handshake_source(&request.headers, request.scheme);
        browser::guard_cookie_change(source)?;
    }
    let wrong = |what: &str| {
        Problem::new(Code::BadRequest, format!("this is for WebSockets (RFC 6455): {what}"))
    };
    let has = |name: HeaderName, token: &str| has_token(&request.headers, &name, token);
    if !has(header::UPGRADE, "websocket") || !has(header::CONNECTION, "upgrade") {
        return Err(wrong("send `Connection: Upgrade` and `Upgrade: websocket` over HTTP/1.1"));
    }
    if single(&request.headers, &header::SEC_WEBSOCKET_VERSION)? != Some("13") {
        // RFC 6455, 4.4, and RFC 9110, 15.5.22: the answer names the protocol and its version.
        let problem = Problem::new(Code::UpgradeRequired, "the version of WebSockets here is 13");
        return Ok(Reply::problem(&problem, &request.id.to_string())
            .with(header::SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"))
            .with(header::UPGRADE, HeaderValue::from_static("websocket"))
            .with(header::CONNECTION, HeaderValue::from_static("upgrade")));
    }
    let key = single(&request.headers, &header::SEC_WEBSOCKET_KEY)?.filter(|key| is_nonce(key));
    let accept = key.map(|key| derive_accept_key(key.as_bytes()));
    let accept = accept.ok_or_else(|| wrong("Sec-WebSocket-Key is 16 bytes in base64"))?;
    let mut offered = list(&request.headers, &header::SEC_WEBSOCKET_PROTOCOL).peekable();
    let offers = offered.peek().is_some();
    let known = offered.any(|name| name == PROTOCOL.as_bytes());
    if offers && !known {
        return Err(wrong("its subprotocol is abide.v1"));
    }
    let anonymous_slot = if *request.actor() == Actor::Nobody {
        let mut anonymous_slot = request.api.anonymous_sockets.of(request.address);
        if !anonymous_slot.grow_to(1) {
            let what = "too many sockets of this address have not said who they are";
            return Err(
                Problem::new(Code::RateLimited, what).retry_after(ANONYMOUS_SOCKETS_RETRY_S)
            );
        }
        Some(anonymous_slot)
    } else {
        None
    };
    let upgrade =
        request.upgrade.take().ok_or_else(|| wrong("the connection cannot be upgraded"))?;
    let headers = credentials(&request);
    let RequestContext { api, address, scheme, identity, .. } = request;
    let follower = api.app.follow(identity.actor, FeedScope::Nothing, None)?;
    let session = SocketSession {
        follower,
        api,
        address,
        scheme,
        headers,
        faults: FaultBudget::new(),
        anonymous_slot,
    };
    tokio::spawn(async move {
        let Ok(upgraded) = upgrade.await else { return };
        let config = WebSocketConfig::default()
            .max_message_size(Some(MESSAGE_BYTES_MAX))
            .max_frame_size(Some(MESSAGE_BYTES_MAX))
            .read_buffer_size(READ_BYTES)
            .write_buffer_size(0)
            .max_write_buffer_size(WRITE_BYTES_MAX);
        let socket =
            WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Server, Some(config));
        session.run(socket.await).await;
    });
    let reply = Reply::empty(StatusCode::SWITCHING_PROTOCOLS)
        .with(header::UPGRADE, HeaderValue::from_static("websocket"))
        .with(header::CONNECTION, HeaderValue::from_static("upgrade"))
        .with_text(header::SEC_WEBSOCKET_ACCEPT, &accept);
    let protocol = HeaderValue::from_static(PROTOCOL);
    Ok(if known { reply.with(header::SEC_WEBSOCKET_PROTOCOL, protocol) } else { reply })
}

/// Returns whether it is a nonce of 16 bytes in base64 (RFC 6455, 4.1).
fn is_nonce(key: &str) -> bool {
    let decoded = base64::engine::general_purpose::STANDARD.decode(key);
    decoded.is_ok_and(|bytes| bytes.len() == 16)
}

/// Returns the headers that accompany each request of the socket: the credentials, and the page's
/// origin. Cookies only if the handshake used them, which was checked to be of this origin.
fn credentials(request: &RequestContext) -> HeaderMap {
    let mut headers = HeaderMap::new();
    let cookie = request.by_cookie.then_some(header::COOKIE);
    let others = [header::AUTHORIZATION, header::ORIGIN, header::USER_AGENT, header::HOST];
    for name in others.into_iter().chain(cookie) {
        for value in request.headers.get_all(&name) {
            headers.append(&name, value.clone());
        }
    }
    headers
}

/// Number of bytes that are read at once: requests are small, and idle sockets are many.
const READ_BYTES: usize = 4 * 1024;

type Socket = WebSocketStream<TokioIo<hyper::upgrade::Upgraded>>;

/// One socket.
struct SocketSession {
    /// Subscription to the feed: it reports the end of the session and of the server.
    follower: FeedSubscriber,
    api: Arc<Api>,
    address: IpAddr,
    scheme: Scheme,
    /// Headers with the credentials of each request of the socket.
    headers: HeaderMap,
    /// Budget for messages that are no request.
    faults: FaultBudget,
    /// Held until the socket has authenticated.
    anonymous_slot: Option<QuotaShare>,
}

/// Reason for which a socket is closed.
enum SocketEnd {
    /// The other side is gone.
    Gone,
    /// This server closes it, with this code and reason.
    Close(u16, &'static str),
}

/// A budget for what a client sends that is no request: pings, pongs, malformed messages. It is
/// one for each socket, besides the rates of its address and actor.
struct FaultBudget {
    left: u32,
    since: Instant,
}

impl FaultBudget {
    /// Maximum number at once: more than any client needs, and some milliseconds of work.
    const BURST: u32 = 100;

    /// Number that is earned again in each second.
    const PER_SECOND: u32 = 10;

    fn new() -> Self {
        Self { left: Self::BURST, since: Instant::now() }
    }

    /// Counts one; `false`: the budget is spent.
    fn take(&mut self) -> bool {
        let seconds = self.since.elapsed().as_secs();
        if seconds > 0 {
            let earned =
                u32::try_from(seconds).unwrap_or(u32::MAX).saturating_mul(Self::PER_SECOND);
            self.left = self.left.saturating_add(earned).min(Self::BURST);
            self.since += Duration::from_secs(seconds);
        }
        let has_one = self.left > 0;
        self.left = self.left.saturating_sub(1);
        has_one
    }
}

impl SocketSession {
    async fn run(mut self, mut socket: Socket) {
        if let SocketEnd::Close(code, reason) = self.session(&mut socket).await {
            close(socket, code, reason).await;
        }
    }

    async fn session(&mut self, socket: &mut Socket) -> SocketEnd {
        let known_until = Instant::now() + AUTHENTICATE_TIME;
        let (mut ping_at, mut pinged) = (Instant::now() + PING_EVERY, false);
        loop {
            let unknown = *self.follower.actor() == Actor::Nobody;
            if unknown && Instant::now() >= known_until {
                return SocketEnd::Close(CloseCode::Policy.into(), "authenticate within 10 s");
            }
            let step = tokio::select! {
                message = socket.next() => {
                    (ping_at, pinged) = (Instant::now() + PING_EVERY, false);
                    self.handle_message(socket, message).await
                }
                next = self.follower.next() => match next {
                    Ok(followed) => notify(socket, followed).await,
                    Err(refusal) => Err(self.ended(&refusal)),
                },
                () = sleep_until(ping_at) => {
                    let silent = std::mem::replace(&mut pinged, true);
                    ping_at = Instant::now() + PING_EVERY;
                    if silent {
                        Err(SocketEnd::Gone)
                    } else {
                        send(socket, Message::Ping(bytes::Bytes::new())).await
                    }
                }
                () = sleep_until(known_until), if unknown => Ok(()),
            };
            if let Err(end) = step {
                return end;
            }
        }
    }

    /// Reason for which a subscription ends.
    fn ended(&self, refusal: &Refusal) -> SocketEnd {
        match self.follower.end(refusal) {
            FeedEnd::Stopping => SocketEnd::Close(CloseCode::Away.into(), "the server stops"),
            FeedEnd::TokenReplaced => SocketEnd::Close(
                CLOSE_TOKEN_REPLACED,
                "the session has a new token: connect with it",
            ),
            FeedEnd::SessionEnded => SocketEnd::Close(CLOSE_ENDED, "the session has ended"),
        }
    }

    /// Counts something that is no request, for the socket, its address and its actor.
    fn count_fault(&mut self) -> Result<(), SocketEnd> {
        let is_over = |standing: RateStatus| standing.problem().is_some();
        let over = self.api.rates.as_ref().is_some_and(|rates| {
            let actor = RateKey::of(self.follower.actor());
            is_over(rates.address(self.address))
                || actor.is_some_and(|actor| is_over(rates.actor(&actor)))
        });
        if self.faults.take() && !over {
            return Ok(());
        }
        Err(SocketEnd::Close(CloseCode::Policy.into(), "too many pings or malformed messages"))
    }

    async fn handle_message(
        &mut self,
        socket: &mut Socket,
        message: Option<Result<Message, Error>>,
    ) -> Result<(), SocketEnd> {
        let text = match message {
            Some(Ok(Message::Text(text))) => text,
            Some(Ok(Message::Binary(_))) => {
                return Err(SocketEnd::Close(CloseCode::Unsupported.into(), "text is spoken here"));
            }
            // The library has answered it. Nothing more is read before that has gone out, so that
            // no answers pile up for a client that does not take them.
            Some(Ok(Message::Ping(_))) => {
                self.count_fault()?;
                return flush(socket).await;
            }
            Some(Ok(Message::Pong(_))) => return self.count_fault(),
            // The library answers a close by itself.
            Some(Ok(Message::Frame(_) | Message::Close(_))) => return Ok(()),
            Some(Err(error)) => return Err(failure(&error)),
            None => return Err(SocketEnd::Gone),
        };
        let answer = match super::json::parse(text.as_bytes()) {
            Err(problem) => {
                self.count_fault()?;
                let fault = RpcError::new(error::PARSE, problem.detail.into_owned());
                Some(failed(&Value::Null, fault).to_string())
            }
            Ok(Value::Array(batch)) if batch.is_empty() || batch.len() > BATCH_MAX => {
                self.count_fault()?;
                let message = format!("a batch has 1 to {BATCH_MAX} requests");
                let fault = RpcError::new(error::INVALID_REQUEST, message);
                Some(failed(&Value::Null, fault).to_string())
            }
            Ok(Value::Array(batch)) => self.answer_batch(batch).await?,
            Ok(request) => self.answer(request).await?.map(|answer| answer.to_string()),
        };
        match answer {
            Some(answer) => send(socket, Message::text(answer)).await,
            None => Ok(()),
        }
    }

    /// Returns the answers to a batch as one text; `None`: there are none.
    async fn answer_batch(&mut self, batch: Vec<Value>) -> Result<Option<String>, SocketEnd> {
        let mut text = String::new();
        for request in batch {
            let answer = if text.len() <= BATCH_ANSWER_BYTES {
                self.answer(request).await?
            } else {
                let message = "not done: the answers before it fill this batch; ask for it again";
                let fault = RpcError::new(error::INVALID_REQUEST, message);
                request.get("id").map(|id| failed(id, fault))
            };
            if let Some(answer) = answer {
                text.push(if text.is_empty() { '[' } else { ',' });
                text.push_str(&answer.to_string());
            }
        }
        if text.is_empty() {
            return Ok(None);
        }
        text.push(']');
        Ok(Some(text))
    }

    /// The answer to one request; a notification gets none.
    async fn answer(&mut self, request: Value) -> Result<Option<Value>, SocketEnd> {
        let id = request.get("id").cloned().unwrap_or_default();
        let is_id = matches!(id, Value::Null | Value::String(_) | Value::Number(_));
        let request = match serde_json::from_value::<RpcRequest>(request) {
            Ok(request) if request.jsonrpc == "2.0" && is_id => request,
            Ok(_) => {
                self.count_fault()?;
                let message = "jsonrpc is \"2.0\", and an id a string or a number";
                let fault = RpcError::new(error::INVALID_REQUEST, message);
                return Ok(Some(failed(&Value::Null, fault)));
            }
            Err(error) => {
                self.count_fault()?;
                let id = if is_id { id } else { Value::Null };
                let fault = RpcError::new(error::INVALID_REQUEST, error.to_string());
                return Ok(Some(failed(&id, fault)));
            }
        };
        let done = self.call(&request.method, request.params.unwrap_or_default()).await;
        if done.as_ref().is_err_and(|fault| fault.is_malformed || fault.code != error::PROBLEM) {
            self.count_fault()?;
        }
        let Some(id) = request.id else { return Ok(None) };
        Ok(Some(match done {
            Ok(result) => json!({ "jsonrpc": "2.0", "id": id, "result": result }),
            Err(fault) => failed(&id, fault),
        }))
    }

    async fn call(&mut self, method: &str, params: Value) -> Result<Value, RpcError> {
        match method {
            "authenticate" => self.authenticate(read(params)?).await,
            "sessions.current" => {
                let NoParams {} = read(params)?;
                self.ask(Method::GET, "/v1/sessions/current", ChangeConditions::default(), None)
                    .await
            }
            "sessions.patch_data" => {
                let PatchDataParams { patch, idempotency_key, if_match } = read(params)?;
                let conditions = ChangeConditions { idempotency_key, if_match };
                let media =
                    if patch.is_array() { "application/json-patch+json" } else { MERGE_PATCH };
                let path = "/v1/sessions/current/data";
                self.ask(Method::PATCH, path, conditions, Some((media, patch))).await
            }
            "transactions.start" => {
                let StartParams { workflow, input, reference, idempotency_key, if_match } =
                    read(params)?;
                let conditions = ChangeConditions { idempotency_key, if_match };
                let mut body = Map::new();
                body.extend(input.map(|input| ("input".to_owned(), Value::Object(input))));
                body.extend(reference.map(|reference| ("reference".to_owned(), json!(reference))));
                let path = format!("/v1/workflows/{}/transactions", segment(&workflow)?);
                self.ask(Method::POST, &path, conditions, Some((JSON, Value::Object(body)))).await
            }
            "transactions.get" => {
                let TransactionParams { id } = read(params)?;
                let path = format!("/v1/transactions/{}", segment(&id)?);
                self.ask(Method::GET, &path, ChangeConditions::default(), None).await
            }
            "transactions.submit" => {
                let SubmitParams { id, step, input, idempotency_key, if_match } = read(params)?;
                let conditions = ChangeConditions { idempotency_key, if_match };
                let path = format!("/v1/transactions/{}/steps/{}", segment(&id)?, segment(&step)?);
                let body = input.map(|input| (JSON, input));
                self.ask(Method::POST, &path, conditions, body).await
            }
            "transactions.cancel" => {
                let CancelParams { id, reason, idempotency_key, if_match } = read(params)?;
                let conditions = ChangeConditions { idempotency_key, if_match };
                let path = format!("/v1/transactions/{}/cancel", segment(&id)?);
                let body = reason.map(|reason| (JSON, json!({ "reason": reason })));
                self.ask(Method::POST, &path, conditions, body).await
            }
            "events.subscribe" => self.subscribe(&read(params)?),
            _ => Err(RpcError::new(error::NO_METHOD, "no such method; see /asyncapi.json")),
        }
    }

    async fn authenticate(&mut self, params: AuthenticateParams) -> Result<Value, RpcError> {
        let refused = |problem: &Problem| RpcError {
            is_malformed: true,
            ..RpcError::problem(&problem.document(&RequestId::next().to_string()))
        };
        let token: Result<Token, _> = params.token.parse();
        let token = token.map_err(|_| refused(&Code::Unauthenticated.into()))?;
        let identity = self.api.app.authenticate(Some(&token)).await;
        let identity = identity.map_err(|refusal| refused(&Problem::from(refusal)))?;
        let bearer = HeaderValue::from_str(&format!("Bearer {}", params.token));
        let bearer = bearer.map_err(|_| refused(&Code::Unauthenticated.into()))?;
        self.headers.remove(header::COOKIE);
        self.headers.insert(header::AUTHORIZATION, bearer);
        let session = identity.session.as_ref().map(|session| session.id);
        let user = identity.actor.user().map(|user| user.username.clone());
        let follower = self.api.app.follow(identity.actor, FeedScope::Nothing, None);
        self.follower = follower.map_err(|full| refused(&full.into()))?;
        self.anonymous_slot = None;
        Ok(json!({ "session": session, "user": user }))
    }

    fn subscribe(&mut self, params: &SubscribeParams) -> Result<Value, RpcError> {
        let after = params.after.as_deref().map(str::parse::<EventId>).transpose();
        let after =
            after.map_err(|_| RpcError::new(error::INVALID_PARAMS, "`after` is no event's id"))?;
        if *self.follower.actor() == Actor::Nobody {
            let problem = Problem::plain(Code::Unauthenticated);
            return Err(RpcError::problem(&problem.document(&RequestId::next().to_string())));
        }
        let follower = self.follower.instead(FeedScope::All, after).map_err(Problem::from);
        let mut follower = follower.map_err(|problem| {
            RpcError::problem(&problem.document(&RequestId::next().to_string()))
        })?;
        let after = follower.seen();
        self.follower = follower;
        Ok(json!({ "after": after.to_string() }))
    }

    /// Executes a request of the API.
    async fn ask(
        &self,
        method: Method,
        path: &str,
        conditions: ChangeConditions,
        body: Option<(&'static str, Value)>,
    ) -> Result<Value, RpcError> {
        let mut headers = self.headers.clone();
        let mut put = |name: HeaderName, value: &str| match HeaderValue::from_str(value) {
            Ok(value) => {
                headers.insert(name, value);
                Ok(())
            }
            Err(_) => Err(RpcError::new(error::INVALID_PARAMS, "a key has visible ASCII only")),
        };
        if let Some(key) = &conditions.idempotency_key {
            put(super::input::IDEMPOTENCY_KEY, key)?;
        }
        if let Some(revision) = conditions.if_match {
            put(header::IF_MATCH, &format!("\"{revision}\""))?;
        }
        let mut bytes = Vec::new();
        if let Some((media, body)) = body {
            bytes = body.to_string().into_bytes();
            put(header::CONTENT_TYPE, media)?;
            put(header::CONTENT_LENGTH, &bytes.len().to_string())?;
        }
        let Self { api, address, scheme, .. } = self;
        let internal = InternalRequest {
            method,
            path: path.to_owned(),
            headers,
            address: *address,
            scheme: *scheme,
            body: bytes.into(),
        };
        let reply = dispatch::internal(Arc::clone(api), internal).await;
        if reply.status.is_client_error() || reply.status.is_server_error() {
            return Err(RpcError::problem(&reply.body));
        }
        Ok(serde_json::from_slice(&reply.body).unwrap_or_default())
    }
}

async fn send(socket: &mut Socket, message: Message) -> Result<(), SocketEnd> {
    taken(&timeout(SLOW_TIME, socket.send(message)).await)
}

async fn flush(socket: &mut Socket) -> Result<(), SocketEnd> {
    taken(&timeout(SLOW_TIME, socket.flush()).await)
}

/// Checks that the client has taken what it was sent.
fn taken(sent: &Result<Result<(), Error>, Elapsed>) -> Result<(), SocketEnd> {
    let slow = || SocketEnd::Close(CLOSE_SLOW, "too slow: resume after the last event");
    match sent {
        Ok(Ok(())) => Ok(()),
        Ok(Err(Error::WriteBufferFull(_))) | Err(_) => Err(slow()),
        Ok(Err(_)) => Err(SocketEnd::Gone),
    }
}

/// Returns how a socket ends on which no message could be read (RFC 6455, 7.4.1).
fn failure(error: &Error) -> SocketEnd {
    match error {
        Error::Capacity(_) => {
            SocketEnd::Close(CloseCode::Size.into(), "a message has at most 65536 bytes")
        }
        Error::Utf8(_) => SocketEnd::Close(CloseCode::Invalid.into(), "the text is not UTF-8"),
        Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) => SocketEnd::Gone,
        Error::Protocol(_) => {
            SocketEnd::Close(CloseCode::Protocol.into(), "the frame is none that RFC 6455 defines")
        }
        _ => SocketEnd::Gone,
    }
}

/// Closes the socket with a code. The other side gets some time to read it: closing with something
/// unread would reset the connection before that.
async fn close(mut socket: Socket, code: u16, reason: &'static str) {
    let frame = CloseFrame { code: code.into(), reason: reason.into() };
    // A client that does not take it is gone in any case.
    drop(timeout(SLOW_TIME, socket.close(Some(frame))).await);
    let connection = socket.get_mut();
    let left = async {
        let mut space = [0; READ_BYTES];
        let mut left = LINGER_BYTES;
        connection.shutdown().await?;
        while left > 0 {
            match connection.read(&mut space).await? {
                0 => break,
                count => left = left.saturating_sub(count),
            }
        }
        std::io::Result::Ok(())
    };
    drop(timeout(LINGER_TIME, left).await);
}

async fn notify(socket: &mut Socket, followed: FeedItem) -> Result<(), SocketEnd> {
    match followed {
        FeedItem::Events(events) => {
            for event in &events {
                let event = event.to_cloud_event();
                let text = format!(r#"{{"jsonrpc":"2.0","method":"event","params":{event}}}"#);
                send(socket, Message::text(text)).await?;
            }
            Ok(())
        }
        FeedItem::Resync(id) => {
            let params = json!({ "after": id.to_string() });
            let resync = json!({ "jsonrpc": "2.0", "method": "resync", "params": params });
            send(socket, Message::text(resync.to_string())).await
        }
    }
}
