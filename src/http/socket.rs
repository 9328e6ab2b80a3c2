//! `/v1/socket`: JSON-RPC 2.0 over a WebSocket, subprotocol `abide.v1`.
//!
//! A method is a request of the HTTP API in other words: it goes the same way (rates, the session
//! as it is now, Idempotency-Key, the executor) and is refused with the same problem.

use std::future::pending;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, StatusCode};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message};

use super::Api;
use super::browser;
use super::call::Call;
use super::dispatch::{self, Inner};
use super::input::single;
use super::live::cloud_event;
use super::problem::{Code, Problem};
use super::reply::Reply;
use super::route::{AnswerDoc, Doc};
use super::server::{RequestId, Scheme};
use crate::app::{EventId, Followed, Follower, Scope};
use crate::engine::{Actor, Refusal};
use crate::types::Token;

/// The subprotocol.
const PROTOCOL: &str = "abide.v1";

/// How long one may be silent about who one is.
const AUTHENTICATE_TIME: Duration = Duration::from_secs(10);

/// A ping is sent after so long a silence; after a second one the other side is gone.
const PING_EVERY: Duration = Duration::from_secs(30);

/// How long a reader may leave what it is sent; then it is closed and can resume.
const SLOW_TIME: Duration = Duration::from_secs(20);

/// How long a closed socket is kept for the other side to notice.
const LINGER_TIME: Duration = Duration::from_secs(1);

/// Most requests of one batch: they are done one after the other.
const BATCH_MAX: usize = 64;

/// Closes a socket whose session has ended or that never had one.
const CLOSE_UNAUTHENTICATED: u16 = 4401;

/// Closes a socket whose reader is too slow.
const CLOSE_SLOW: u16 = 4408;

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
           with `authenticate` as the first call. The methods are in `/asyncapi.json`. Closes with \
           4401 when the session ends, 4408 when its reader is too slow.",
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
    let is = |name: HeaderName, wanted: &str| {
        let value = call.headers.get(&name).and_then(|value| value.to_str().ok());
        value.is_some_and(|value| value.trim().eq_ignore_ascii_case(wanted))
    };
    if !is(header::UPGRADE, "websocket") {
        return Err(wrong("send `Upgrade: websocket` over HTTP/1.1"));
    }
    if !is(header::SEC_WEBSOCKET_VERSION, "13") {
        return Err(wrong("its version is 13"));
    }
    let key = single(&call.headers, &header::SEC_WEBSOCKET_KEY)?;
    let accept = key.map(|key| derive_accept_key(key.trim().as_bytes()));
    let accept = accept.ok_or_else(|| wrong("there is no Sec-WebSocket-Key"))?;
    let mut offered = call.headers.get_all(header::SEC_WEBSOCKET_PROTOCOL).iter().peekable();
    let offers = offered.peek().is_some();
    let known = offered
        .filter_map(|value| value.to_str().ok())
        .any(|list| list.split(',').any(|name| name.trim() == PROTOCOL));
    if offers && !known {
        return Err(wrong("its subprotocol is abide.v1"));
    }
    let upgrade = call.upgrade.take().ok_or_else(|| wrong("the connection cannot be upgraded"))?;
    let mut headers = HeaderMap::new();
    // What says who it is and from which page it comes goes along with each method.
    for name in [header::AUTHORIZATION, header::COOKIE, header::ORIGIN, header::USER_AGENT] {
        if let Some(value) = call.headers.get(&name) {
            headers.insert(name, value.clone());
        }
    }
    if let Some(host) = call.headers.get(header::HOST) {
        headers.insert(header::HOST, host.clone());
    }
    let Call { api, address, scheme, access, .. } = call;
    let bytes_max = api.settings.body_bytes_max;
    let follower = api.app.follow(access.actor, Scope::Nothing, None)?;
    let talk = Talk { follower, api, address, scheme, headers };
    tokio::spawn(async move {
        let Ok(upgraded) = upgrade.await else { return };
        let config = WebSocketConfig::default()
            .max_message_size(Some(bytes_max))
            .max_frame_size(Some(bytes_max))
            .read_buffer_size(READ_BYTES)
            .write_buffer_size(0);
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

/// Bytes that are read at once: requests are small, and idle sockets are many.
const READ_BYTES: usize = 4 * 1024;

type Socket = WebSocketStream<TokioIo<hyper::upgrade::Upgraded>>;

/// One socket.
struct Talk {
    /// The seat in the feed: by it the end of the session and of the server is heard.
    follower: Follower,
    api: Arc<Api>,
    address: IpAddr,
    scheme: Scheme,
    /// Who it is, as a request would say it.
    headers: HeaderMap,
}

/// Why a socket is closed.
enum End {
    /// The other side is gone.
    Gone,
    /// By us, with this code and reason.
    Close(u16, &'static str),
}

impl From<Refusal> for End {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Stopping => Self::Close(CloseCode::Away.into(), "the server stops"),
            _ => Self::Close(CLOSE_UNAUTHENTICATED, "the session has ended"),
        }
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
}

impl Fault {
    fn new(code: i32, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), data: None }
    }

    fn problem(body: &[u8]) -> Self {
        let data: Value = serde_json::from_slice(body).unwrap_or_default();
        let message = data["title"].as_str().unwrap_or("refused").to_owned();
        Self { code: error::PROBLEM, message, data: Some(data) }
    }
}

impl Talk {
    async fn run(mut self, mut socket: Socket) {
        let end = self.talk(&mut socket).await;
        if let End::Close(code, reason) = end {
            let frame = CloseFrame { code: code.into(), reason: reason.into() };
            // Whoever does not take it is gone in any case.
            drop(timeout(SLOW_TIME, socket.close(Some(frame))).await);
            // Closing with something unread would reset the connection before that is read.
            let left = async { while let Some(Ok(_)) = socket.next().await {} };
            drop(timeout(LINGER_TIME, left).await);
        }
    }

    async fn talk(&mut self, socket: &mut Socket) -> End {
        let known_until = Instant::now() + AUTHENTICATE_TIME;
        let (mut ping_at, mut pinged) = (Instant::now() + PING_EVERY, false);
        loop {
            let unknown = *self.follower.actor() == Actor::Nobody;
            let step = tokio::select! {
                message = socket.next() => {
                    (ping_at, pinged) = (Instant::now() + PING_EVERY, false);
                    self.heard(socket, message).await
                }
                next = self.follower.next() => match next {
                    Ok(followed) => notify(socket, followed).await,
                    Err(refusal) => Err(refusal.into()),
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
                () = async {
                    if unknown { sleep_until(known_until).await } else { pending().await }
                } => Err(End::Close(CLOSE_UNAUTHENTICATED, "nobody said who it is")),
            };
            if let Err(end) = step {
                return end;
            }
        }
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
            // The library answers pings and closes by itself.
            Some(Ok(
                Message::Ping(_) | Message::Pong(_) | Message::Frame(_) | Message::Close(_),
            )) => return Ok(()),
            Some(Err(Error::Capacity(_))) => {
                return Err(End::Close(CloseCode::Size.into(), "the message is too large"));
            }
            Some(Err(_)) | None => return Err(End::Gone),
        };
        let answer = match super::json::parse(text.as_bytes()) {
            Err(problem) => {
                Some(failed(&Value::Null, Fault::new(error::PARSE, problem.detail.into_owned())))
            }
            Ok(Value::Array(batch)) if batch.is_empty() || batch.len() > BATCH_MAX => {
                let message = format!("a batch has 1 to {BATCH_MAX} requests");
                Some(failed(&Value::Null, Fault::new(error::INVALID_REQUEST, message)))
            }
            Ok(Value::Array(batch)) => {
                let mut answers = Vec::new();
                for request in batch {
                    answers.extend(self.answer(request).await);
                }
                (!answers.is_empty()).then_some(Value::Array(answers))
            }
            Ok(request) => self.answer(request).await,
        };
        match answer {
            Some(answer) => send(socket, Message::text(answer.to_string())).await,
            None => Ok(()),
        }
    }

    /// The answer to one request; a notification gets none.
    async fn answer(&mut self, request: Value) -> Option<Value> {
        let id = request.get("id").cloned().unwrap_or_default();
        let is_id = matches!(id, Value::Null | Value::String(_) | Value::Number(_));
        let request = match serde_json::from_value::<Request>(request) {
            Ok(request) if request.jsonrpc == "2.0" && is_id => request,
            Ok(_) => {
                let message = "jsonrpc is \"2.0\", and an id a string or a number";
                return Some(failed(&Value::Null, Fault::new(error::INVALID_REQUEST, message)));
            }
            Err(error) => {
                let id = if is_id { id } else { Value::Null };
                return Some(failed(&id, Fault::new(error::INVALID_REQUEST, error.to_string())));
            }
        };
        let done = self.call(&request.method, request.params.unwrap_or_default()).await;
        let id = request.id?;
        Some(match done {
            Ok(result) => json!({ "jsonrpc": "2.0", "id": id, "result": result }),
            Err(fault) => failed(&id, fault),
        })
    }

    async fn call(&mut self, method: &str, params: Value) -> Result<Value, Fault> {
        match method {
            "authenticate" => self.authenticate(read(params)?).await,
            "sessions.current" => {
                let Nothing {} = read(params)?;
                self.ask(Method::GET, "/v1/sessions/current", Keyed::default(), None).await
            }
            "sessions.patch_data" => {
                let PatchData { patch, keyed } = read(params)?;
                let media =
                    if patch.is_array() { "application/json-patch+json" } else { MERGE_PATCH };
                let path = "/v1/sessions/current/data";
                self.ask(Method::PATCH, path, keyed, Some((media, patch))).await
            }
            "transactions.start" => {
                let StartParams { workflow, input, reference, keyed } = read(params)?;
                let mut body = Map::new();
                body.extend(input.map(|input| ("input".to_owned(), Value::Object(input))));
                body.extend(reference.map(|reference| ("reference".to_owned(), json!(reference))));
                let path = format!("/v1/workflows/{}/transactions", segment(&workflow)?);
                self.ask(Method::POST, &path, keyed, Some((JSON, Value::Object(body)))).await
            }
            "transactions.get" => {
                let Named { id } = read(params)?;
                let path = format!("/v1/transactions/{}", segment(&id)?);
                self.ask(Method::GET, &path, Keyed::default(), None).await
            }
            "transactions.submit" => {
                let SubmitParams { id, step, input, keyed } = read(params)?;
                let path = format!("/v1/transactions/{}/steps/{}", segment(&id)?, segment(&step)?);
                let body = input.map(|input| (JSON, input));
                self.ask(Method::POST, &path, keyed, body).await
            }
            "transactions.cancel" => {
                let CancelParams { id, reason, keyed } = read(params)?;
                let path = format!("/v1/transactions/{}/cancel", segment(&id)?);
                let body = reason.map(|reason| (JSON, json!({ "reason": reason })));
                self.ask(Method::POST, &path, keyed, body).await
            }
            "events.subscribe" => self.subscribe(&read(params)?),
            _ => Err(Fault::new(error::NO_METHOD, "no such method; see /asyncapi.json")),
        }
    }

    async fn authenticate(&mut self, params: Authenticate) -> Result<Value, Fault> {
        let refused =
            |problem: &Problem| Fault::problem(&problem.document(&RequestId::next().to_string()));
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
        let follower = self.api.app.follow(access.actor, Scope::Nothing, None);
        self.follower = follower.map_err(|full| refused(&full.into()))?;
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
        let follower = self.follower.instead(Scope::All, after).map_err(Problem::from);
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

/// What may come with a change.
#[derive(Default, Deserialize)]
struct Keyed {
    #[serde(default)]
    idempotency_key: Option<String>,
    #[serde(default)]
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
struct PatchData {
    patch: Value,
    #[serde(flatten)]
    keyed: Keyed,
}

#[derive(Deserialize)]
struct StartParams {
    workflow: String,
    #[serde(default)]
    input: Option<Map<String, Value>>,
    #[serde(default)]
    reference: Option<String>,
    #[serde(flatten)]
    keyed: Keyed,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Named {
    id: String,
}

#[derive(Deserialize)]
struct SubmitParams {
    id: String,
    step: String,
    #[serde(default)]
    input: Option<Value>,
    #[serde(flatten)]
    keyed: Keyed,
}

#[derive(Deserialize)]
struct CancelParams {
    id: String,
    #[serde(default)]
    reason: Option<String>,
    #[serde(flatten)]
    keyed: Keyed,
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
    match timeout(SLOW_TIME, socket.send(message)).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(_)) => Err(End::Gone),
        Err(_) => Err(End::Close(CLOSE_SLOW, "too slow: resume after the last event")),
    }
}

async fn notify(socket: &mut Socket, followed: Followed) -> Result<(), End> {
    match followed {
        Followed::Events(events) => {
            for event in &events {
                let event = cloud_event(event);
                let text = format!(r#"{{"jsonrpc":"2.0","method":"event","params":{event}}}"#);
                send(socket, Message::text(text)).await?;
            }
            Ok(())
        }
        Followed::Resync(id) => {
            let params = json!({ "after": id.to_string() });
            let resync = json!({ "jsonrpc": "2.0", "method": "resync", "params": params });
            send(socket, Message::text(resync.to_string())).await
        }
    }
}
