//! `/v1/socket`: JSON-RPC 2.0 over a WebSocket, subprotocol `abide.v1`.
//!
//! A method is a request of the HTTP API in other words: it goes the same way (rates, the session
//! as it is now, Idempotency-Key, the executor) and is refused with the same problem.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use futures_util::{SinkExt as _, StreamExt as _};
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, StatusCode};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use serde::de::DeserializeOwned;
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
use super::browser;
use super::call::Call;
use super::dispatch::{self, Inner, Named};
use super::headers::{has_token, list};
use super::input::single;
use super::problem::{Code, Problem};
use super::rates::Standing;
use super::reply::Reply;
use super::route::{AnswerDoc, Doc};
use super::server::{RequestId, Scheme};
use super::shares::Share;
use crate::app::{EventId, FeedEnd, FeedItem, FeedScope, FeedSubscriber};
use crate::engine::{Actor, Refusal};
use crate::types::Token;

/// The subprotocol.
const PROTOCOL: &str = "abide.v1";

/// How long one may be silent about who one is.
const AUTHENTICATE_TIME: Duration = Duration::from_secs(10);

/// When it is worth trying again after too many sockets of strangers.
const STRANGERS_RETRY_S: u32 = 10;

/// A ping is sent after so long a silence; after a second one the other side is gone.
const PING_EVERY: Duration = Duration::from_secs(30);

/// How long a reader may leave what it is sent; then it is closed and can resume.
const SLOW_TIME: Duration = Duration::from_secs(20);

/// How long a closed socket is kept for the other side to notice.
const LINGER_TIME: Duration = Duration::from_secs(1);

/// Maximum number of requests in one batch: they are done one after the other.
const BATCH_MAX: usize = 64;

/// Maximum size of the answers to one batch, in bytes. What is left of the batch then is not done.
const BATCH_ANSWER_BYTES: usize = 1024 * 1024;

/// Maximum size of a message from the client, in bytes: what a step or the session's data may have.
const MESSAGE_BYTES_MAX: usize = 64 * 1024;

/// Maximum size of what waits to be sent on one socket, in bytes: the answers to a batch, and the
/// largest event beside them. The library has no limit of its own.
const WRITE_BYTES_MAX: usize = 4 * BATCH_ANSWER_BYTES;

/// Maximum number of bytes that are read and dropped after a socket was closed.
const LINGER_BYTES: usize = 1024 * 1024;

/// Closes a socket whose session has ended.
const CLOSE_ENDED: u16 = 4401;

/// Closes a socket whose reader is too slow.
const CLOSE_SLOW: u16 = 4408;

/// Closes a socket whose session lives on under a new token: whoever had the old one must not keep
/// a socket by it.
const CLOSE_TOKEN_REPLACED: u16 = 4410;

/// The errors of JSON-RPC 2.0, and the one that carries a problem.
mod error {
    pub(super) const PARSE: i32 = -32700;
    pub(super) const INVALID_REQUEST: i32 = -32600;
    pub(super) const NO_METHOD: i32 = -32601;
    pub(super) const INVALID_PARAMS: i32 = -32602;
    pub(super) const PROBLEM: i32 = -32000;
}

pub(super) const OPEN: Doc = Doc {
    id: "openSocket",
    tag: "live",
    summary: "A WebSocket: JSON-RPC 2.0, subprotocol `abide.v1`",
    text: "By cookie (then the page must be of this origin) or bearer token, or without either and \
           with `authenticate` as the first call, within 10 s. The methods are in \
           `/asyncapi.json`. Closes with 4401 when the session ends, 4410 when it has a new token \
           (connect again with that), 4408 when its reader is too slow, 1008 after too many pings \
           or malformed messages, 1009 after a message over 64 KiB.",
    answers: &[AnswerDoc::empty(101, "The connection is a WebSocket from here on.")],
    problems: &[Code::BadRequest, Code::CrossSite],
    ..Doc::PLAIN
};

pub(super) async fn open(mut call: Call) -> Result<Reply, Problem> {
    if call.by_cookie {
        let source = call.api.origins.source(&call.headers, call.scheme);
        browser::guard_cookie_change(source)?;
    }
    let wrong = |what: &str| {
        Problem::new(Code::BadRequest, format!("this is for WebSockets (RFC 6455): {what}"))
    };
    let has = |name: HeaderName, token: &str| has_token(&call.headers, &name, token);
    if !has(header::UPGRADE, "websocket") || !has(header::CONNECTION, "upgrade") {
        return Err(wrong("send `Connection: Upgrade` and `Upgrade: websocket` over HTTP/1.1"));
    }
    if single(&call.headers, &header::SEC_WEBSOCKET_VERSION)? != Some("13") {
        // RFC 6455, 4.4: the answer names the versions that are spoken.
        let reply = Reply::problem(&wrong("its version is 13"), &call.id.to_string());
        return Ok(reply.with(header::SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13")));
    }
    let key = single(&call.headers, &header::SEC_WEBSOCKET_KEY)?.filter(|key| is_nonce(key));
    let accept = key.map(|key| derive_accept_key(key.as_bytes()));
    let accept = accept.ok_or_else(|| wrong("Sec-WebSocket-Key is 16 bytes in base64"))?;
    let mut offered = list(&call.headers, &header::SEC_WEBSOCKET_PROTOCOL).peekable();
    let offers = offered.peek().is_some();
    let known = offered.any(|name| name == PROTOCOL.as_bytes());
    if offers && !known {
        return Err(wrong("its subprotocol is abide.v1"));
    }
    let stranger = if *call.actor() == Actor::Nobody {
        let mut stranger = call.api.strangers.of(call.address);
        if !stranger.grow_to(1) {
            let what = "too many sockets of this address have not said who they are";
            return Err(Problem::new(Code::RateLimited, what).retry_after(STRANGERS_RETRY_S));
        }
        Some(stranger)
    } else {
        None
    };
    let upgrade = call.upgrade.take().ok_or_else(|| wrong("the connection cannot be upgraded"))?;
    let headers = credentials(&call);
    let Call { api, address, scheme, access, .. } = call;
    let follower = api.app.follow(access.actor, FeedScope::Nothing, None)?;
    let talk = Talk { follower, api, address, scheme, headers, faults: Faults::new(), stranger };
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
        talk.run(socket.await).await;
    });
    let reply = Reply::empty(StatusCode::SWITCHING_PROTOCOLS)
        .with(header::UPGRADE, HeaderValue::from_static("websocket"))
        .with(header::CONNECTION, HeaderValue::from_static("upgrade"))
        .with_text(header::SEC_WEBSOCKET_ACCEPT, &accept);
    let protocol = HeaderValue::from_static(PROTOCOL);
    Ok(if known { reply.with(header::SEC_WEBSOCKET_PROTOCOL, protocol) } else { reply })
}

/// Whether it is a nonce of 16 bytes in base64 (RFC 6455, 4.1).
fn is_nonce(key: &str) -> bool {
    let decoded = base64::engine::general_purpose::STANDARD.decode(key);
    decoded.is_ok_and(|bytes| bytes.len() == 16)
}

/// Returns what goes along with each request of the socket: who it is, and from which page it
/// comes. Cookies only where they said so at the handshake, which was checked to be of this origin.
fn credentials(call: &Call) -> HeaderMap {
    let mut headers = HeaderMap::new();
    let cookie = call.by_cookie.then_some(header::COOKIE);
    let others = [header::AUTHORIZATION, header::ORIGIN, header::USER_AGENT, header::HOST];
    for name in others.into_iter().chain(cookie) {
        for value in call.headers.get_all(&name) {
            headers.append(&name, value.clone());
        }
    }
    headers
}

/// Bytes that are read at once: requests are small, and idle sockets are many.
const READ_BYTES: usize = 4 * 1024;

type Socket = WebSocketStream<TokioIo<hyper::upgrade::Upgraded>>;

/// One socket.
struct Talk {
    /// The seat in the feed: by it the end of the session and of the server is heard.
    follower: FeedSubscriber,
    api: Arc<Api>,
    address: IpAddr,
    scheme: Scheme,
    /// Who it is, as a request would say it.
    headers: HeaderMap,
    /// What came that is no request.
    faults: Faults,
    /// Held until it is known who it is.
    stranger: Option<Share>,
}

/// Why a socket is closed.
enum End {
    /// The other side is gone.
    Gone,
    /// By us, with this code and reason.
    Close(u16, &'static str),
}

/// A budget for what a client sends that is no request: pings, pongs, malformed messages. It is
/// one for each socket, besides the rates of its address and actor.
struct Faults {
    left: u32,
    since: Instant,
}

impl Faults {
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

/// A request of JSON-RPC 2.0.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Request {
    jsonrpc: String,
    method: String,
    #[serde(default)]
    params: Option<Value>,
    #[serde(default, deserialize_with = "present")]
    id: Option<Value>,
}

/// A member that is there, also where it is `null`.
fn present<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(from).map(Some)
}

/// What a method is refused with.
struct Fault {
    code: i32,
    message: String,
    data: Option<Value>,
    /// Whether it never was a request to the API, whose rates have not counted it then.
    is_malformed: bool,
}

impl Fault {
    fn new(code: i32, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), data: None, is_malformed: true }
    }

    fn problem(body: &[u8]) -> Self {
        let data: Value = serde_json::from_slice(body).unwrap_or_default();
        let message = data["title"].as_str().unwrap_or("refused").to_owned();
        Self { code: error::PROBLEM, message, data: Some(data), is_malformed: false }
    }
}

impl Talk {
    async fn run(mut self, mut socket: Socket) {
        if let End::Close(code, reason) = self.talk(&mut socket).await {
            close(socket, code, reason).await;
        }
    }

    async fn talk(&mut self, socket: &mut Socket) -> End {
        let known_until = Instant::now() + AUTHENTICATE_TIME;
        let (mut ping_at, mut pinged) = (Instant::now() + PING_EVERY, false);
        loop {
            let unknown = *self.follower.actor() == Actor::Nobody;
            if unknown && Instant::now() >= known_until {
                return End::Close(CloseCode::Policy.into(), "authenticate within 10 s");
            }
            let step = tokio::select! {
                message = socket.next() => {
                    (ping_at, pinged) = (Instant::now() + PING_EVERY, false);
                    self.heard(socket, message).await
                }
                next = self.follower.next() => match next {
                    Ok(followed) => notify(socket, followed).await,
                    Err(refusal) => Err(self.ended(&refusal)),
                },
                () = sleep_until(ping_at) => {
                    let silent = std::mem::replace(&mut pinged, true);
                    ping_at = Instant::now() + PING_EVERY;
                    if silent {
                        Err(End::Gone)
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

    /// Why nothing more is followed.
    fn ended(&self, refusal: &Refusal) -> End {
        match self.follower.end(refusal) {
            FeedEnd::Stopping => End::Close(CloseCode::Away.into(), "the server stops"),
            FeedEnd::TokenReplaced => {
                End::Close(CLOSE_TOKEN_REPLACED, "the session has a new token: connect with it")
            }
            FeedEnd::SessionEnded => End::Close(CLOSE_ENDED, "the session has ended"),
        }
    }

    /// Counts something that is no request, for the socket, its address and its actor.
    fn count_fault(&mut self) -> Result<(), End> {
        let is_over = |standing: Standing| standing.problem().is_some();
        let over = self.api.rates.as_ref().is_some_and(|rates| {
            let actor = Named::of(self.follower.actor());
            is_over(rates.address(self.address))
                || actor.is_some_and(|actor| is_over(rates.actor(&actor)))
        });
        if self.faults.take() && !over {
            return Ok(());
        }
        Err(End::Close(CloseCode::Policy.into(), "too many pings or malformed messages"))
    }

    async fn heard(
        &mut self,
        socket: &mut Socket,
        message: Option<Result<Message, Error>>,
    ) -> Result<(), End> {
        let text = match message {
            Some(Ok(Message::Text(text))) => text,
            Some(Ok(Message::Binary(_))) => {
                return Err(End::Close(CloseCode::Unsupported.into(), "text is spoken here"));
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
            None => return Err(End::Gone),
        };
        let answer = match super::json::parse(text.as_bytes()) {
            Err(problem) => {
                self.count_fault()?;
                let fault = Fault::new(error::PARSE, problem.detail.into_owned());
                Some(failed(&Value::Null, fault).to_string())
            }
            Ok(Value::Array(batch)) if batch.is_empty() || batch.len() > BATCH_MAX => {
                self.count_fault()?;
                let message = format!("a batch has 1 to {BATCH_MAX} requests");
                let fault = Fault::new(error::INVALID_REQUEST, message);
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
    async fn answer_batch(&mut self, batch: Vec<Value>) -> Result<Option<String>, End> {
        let mut text = String::new();
        for request in batch {
            let answer = if text.len() <= BATCH_ANSWER_BYTES {
                self.answer(request).await?
            } else {
                let message = "not done: the answers before it fill this batch; ask for it again";
                let fault = Fault::new(error::INVALID_REQUEST, message);
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
    async fn answer(&mut self, request: Value) -> Result<Option<Value>, End> {
        let id = request.get("id").cloned().unwrap_or_default();
        let is_id = matches!(id, Value::Null | Value::String(_) | Value::Number(_));
        let request = match serde_json::from_value::<Request>(request) {
            Ok(request) if request.jsonrpc == "2.0" && is_id => request,
            Ok(_) => {
                self.count_fault()?;
                let message = "jsonrpc is \"2.0\", and an id a string or a number";
                let fault = Fault::new(error::INVALID_REQUEST, message);
                return Ok(Some(failed(&Value::Null, fault)));
            }
            Err(error) => {
                self.count_fault()?;
                let id = if is_id { id } else { Value::Null };
                let fault = Fault::new(error::INVALID_REQUEST, error.to_string());
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

    async fn call(&mut self, method: &str, params: Value) -> Result<Value, Fault> {
        match method {
            "authenticate" => self.authenticate(read(params)?).await,
            "sessions.current" => {
                let Nothing {} = read(params)?;
                self.ask(Method::GET, "/v1/sessions/current", Keyed::default(), None).await
            }
            "sessions.patch_data" => {
                let PatchData { patch, idempotency_key, if_match } = read(params)?;
                let keyed = Keyed { idempotency_key, if_match };
                let media =
                    if patch.is_array() { "application/json-patch+json" } else { MERGE_PATCH };
                let path = "/v1/sessions/current/data";
                self.ask(Method::PATCH, path, keyed, Some((media, patch))).await
            }
            "transactions.start" => {
                let StartParams { workflow, input, reference, idempotency_key, if_match } =
                    read(params)?;
                let keyed = Keyed { idempotency_key, if_match };
                let mut body = Map::new();
                body.extend(input.map(|input| ("input".to_owned(), Value::Object(input))));
                body.extend(reference.map(|reference| ("reference".to_owned(), json!(reference))));
                let path = format!("/v1/workflows/{}/transactions", segment(&workflow)?);
                self.ask(Method::POST, &path, keyed, Some((JSON, Value::Object(body)))).await
            }
            "transactions.get" => {
                let TransactionParams { id } = read(params)?;
                let path = format!("/v1/transactions/{}", segment(&id)?);
                self.ask(Method::GET, &path, Keyed::default(), None).await
            }
            "transactions.submit" => {
                let SubmitParams { id, step, input, idempotency_key, if_match } = read(params)?;
                let keyed = Keyed { idempotency_key, if_match };
                let path = format!("/v1/transactions/{}/steps/{}", segment(&id)?, segment(&step)?);
                let body = input.map(|input| (JSON, input));
                self.ask(Method::POST, &path, keyed, body).await
            }
            "transactions.cancel" => {
                let CancelParams { id, reason, idempotency_key, if_match } = read(params)?;
                let keyed = Keyed { idempotency_key, if_match };
                let path = format!("/v1/transactions/{}/cancel", segment(&id)?);
                let body = reason.map(|reason| (JSON, json!({ "reason": reason })));
                self.ask(Method::POST, &path, keyed, body).await
            }
            "events.subscribe" => self.subscribe(&read(params)?),
            _ => Err(Fault::new(error::NO_METHOD, "no such method; see /asyncapi.json")),
        }
    }

    async fn authenticate(&mut self, params: Authenticate) -> Result<Value, Fault> {
        let refused = |problem: &Problem| Fault {
            is_malformed: true,
            ..Fault::problem(&problem.document(&RequestId::next().to_string()))
        };
        let token: Result<Token, _> = params.token.parse();
        let token = token.map_err(|_| refused(&Code::Unauthenticated.into()))?;
        let access = self.api.app.authenticate(Some(&token)).await;
        let access = access.map_err(|refusal| refused(&Problem::from(refusal)))?;
        let bearer = HeaderValue::from_str(&format!("Bearer {}", params.token));
        let bearer = bearer.map_err(|_| refused(&Code::Unauthenticated.into()))?;
        self.headers.remove(header::COOKIE);
        self.headers.insert(header::AUTHORIZATION, bearer);
        let session = access.session.as_ref().map(|session| session.id);
        let user = access.actor.user().map(|user| user.username.clone());
        let follower = self.api.app.follow(access.actor, FeedScope::Nothing, None);
        self.follower = follower.map_err(|full| refused(&full.into()))?;
        self.stranger = None;
        Ok(json!({ "session": session, "user": user }))
    }

    fn subscribe(&mut self, params: &Subscribe) -> Result<Value, Fault> {
        let after = params.after.as_deref().map(str::parse::<EventId>).transpose();
        let after =
            after.map_err(|_| Fault::new(error::INVALID_PARAMS, "`after` is no event's id"))?;
        if *self.follower.actor() == Actor::Nobody {
            let problem = Problem::plain(Code::Unauthenticated);
            return Err(Fault::problem(&problem.document(&RequestId::next().to_string())));
        }
        let follower = self.follower.instead(FeedScope::All, after).map_err(Problem::from);
        let mut follower = follower
            .map_err(|problem| Fault::problem(&problem.document(&RequestId::next().to_string())))?;
        let after = follower.seen();
        self.follower = follower;
        Ok(json!({ "after": after.to_string() }))
    }

    /// Asks as a request would.
    async fn ask(
        &self,
        method: Method,
        path: &str,
        keyed: Keyed,
        body: Option<(&'static str, Value)>,
    ) -> Result<Value, Fault> {
        let mut headers = self.headers.clone();
        let mut put = |name: HeaderName, value: &str| match HeaderValue::from_str(value) {
            Ok(value) => {
                headers.insert(name, value);
                Ok(())
            }
            Err(_) => Err(Fault::new(error::INVALID_PARAMS, "a key has visible ASCII only")),
        };
        if let Some(key) = &keyed.idempotency_key {
            put(super::input::IDEMPOTENCY_KEY, key)?;
        }
        if let Some(revision) = keyed.if_match {
            put(header::IF_MATCH, &format!("\"{revision}\""))?;
        }
        let mut bytes = Vec::new();
        if let Some((media, body)) = body {
            bytes = body.to_string().into_bytes();
            put(header::CONTENT_TYPE, media)?;
            put(header::CONTENT_LENGTH, &bytes.len().to_string())?;
        }
        let Self { api, address, scheme, .. } = self;
        let inner = Inner {
            method,
            path: path.to_owned(),
            headers,
            address: *address,
            scheme: *scheme,
            body: bytes.into(),
        };
        let reply = dispatch::inner(Arc::clone(api), inner).await;
        if reply.status.is_client_error() || reply.status.is_server_error() {
            return Err(Fault::problem(&reply.body));
        }
        Ok(serde_json::from_slice(&reply.body).unwrap_or_default())
    }
}

const JSON: &str = "application/json";
const MERGE_PATCH: &str = "application/merge-patch+json";

/// What may come with a change. Each method names these members itself: flattened, they would let
/// unknown ones pass.
#[derive(Default)]
struct Keyed {
    idempotency_key: Option<String>,
    if_match: Option<u64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Nothing {}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Authenticate {
    token: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PatchData {
    patch: Value,
    #[serde(default)]
    idempotency_key: Option<String>,
    #[serde(default)]
    if_match: Option<u64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct StartParams {
    workflow: String,
    #[serde(default)]
    input: Option<Map<String, Value>>,
    #[serde(default)]
    reference: Option<String>,
    #[serde(default)]
    idempotency_key: Option<String>,
    #[serde(default)]
    if_match: Option<u64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TransactionParams {
    id: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SubmitParams {
    id: String,
    step: String,
    #[serde(default)]
    input: Option<Value>,
    #[serde(default)]
    idempotency_key: Option<String>,
    #[serde(default)]
    if_match: Option<u64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CancelParams {
    id: String,
    #[serde(default)]
    reason: Option<String>,
    #[serde(default)]
    idempotency_key: Option<String>,
    #[serde(default)]
    if_match: Option<u64>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Subscribe {
    #[serde(default)]
    after: Option<String>,
}

/// The parameters of a method, by name.
fn read<T: DeserializeOwned>(params: Value) -> Result<T, Fault> {
    let params = if params.is_null() { json!({}) } else { params };
    if !params.is_object() {
        return Err(Fault::new(error::INVALID_PARAMS, "parameters are given by name"));
    }
    serde_json::from_value(params)
        .map_err(|error| Fault::new(error::INVALID_PARAMS, error.to_string()))
}

/// A name as a segment of a path; what could be more than that names nothing.
fn segment(name: &str) -> Result<&str, Fault> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:".contains(&byte);
    if !name.is_empty() && name.len() <= 128 && name.bytes().all(plain) {
        return Ok(name);
    }
    Err(Fault::new(error::INVALID_PARAMS, "a name has letters, digits, `-`, `_`, `.` and `:`"))
}

fn failed(id: &Value, fault: Fault) -> Value {
    let mut error = json!({ "code": fault.code, "message": fault.message });
    if let Some(data) = fault.data {
        error["data"] = data;
    }
    json!({ "jsonrpc": "2.0", "id": id, "error": error })
}

async fn send(socket: &mut Socket, message: Message) -> Result<(), End> {
    taken(&timeout(SLOW_TIME, socket.send(message)).await)
}

async fn flush(socket: &mut Socket) -> Result<(), End> {
    taken(&timeout(SLOW_TIME, socket.flush()).await)
}

/// Whether the client has taken what it was sent.
fn taken(sent: &Result<Result<(), Error>, Elapsed>) -> Result<(), End> {
    let slow = || End::Close(CLOSE_SLOW, "too slow: resume after the last event");
    match sent {
        Ok(Ok(())) => Ok(()),
        Ok(Err(Error::WriteBufferFull(_))) | Err(_) => Err(slow()),
        Ok(Err(_)) => Err(End::Gone),
    }
}

/// Returns how a socket ends on which no message could be read (RFC 6455, 7.4.1).
fn failure(error: &Error) -> End {
    match error {
        Error::Capacity(_) => {
            End::Close(CloseCode::Size.into(), "a message has at most 65536 bytes")
        }
        Error::Utf8(_) => End::Close(CloseCode::Invalid.into(), "the text is not UTF-8"),
        Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) => End::Gone,
        Error::Protocol(_) => {
            End::Close(CloseCode::Protocol.into(), "the frame is none that RFC 6455 defines")
        }
        _ => End::Gone,
    }
}

/// Closes the socket with a code. The other side gets some time to read it: closing with something
/// unread would reset the connection before that.
async fn close(mut socket: Socket, code: u16, reason: &'static str) {
    let frame = CloseFrame { code: code.into(), reason: reason.into() };
    // Whoever does not take it is gone in any case.
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

async fn notify(socket: &mut Socket, followed: FeedItem) -> Result<(), End> {
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
