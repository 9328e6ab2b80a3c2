//! The WebSocket: JSON-RPC 2.0, as roles.

use std::future::IntoFuture as _;
use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, client_async};

use crate::client::Role;
use crate::live::{publish, start, step};
use crate::server::{Server, dev};

const SOON: Duration = Duration::from_secs(30);

/// One end of a socket.
pub(crate) struct Socket {
    stream: WebSocketStream<TcpStream>,
    number: u64,
    /// Notifications that came before an answer.
    notes: Vec<Value>,
}

pub(crate) async fn dial(server: &Server, headers: &[(&str, String)]) -> Result<Socket, Error> {
    let mut request = format!("ws://{}/v1/socket", server.address()).into_client_request()?;
    for (name, value) in headers {
        let name: http::HeaderName = name.parse().unwrap();
        request.headers_mut().append(name, value.parse().unwrap());
    }
    let protocol = "sec-websocket-protocol";
    request.headers_mut().entry(protocol).or_insert("abide.v1".parse().unwrap());
    let stream = TcpStream::connect(server.address()).await.unwrap();
    let (stream, answer) = client_async(request, stream).await?;
    assert_eq!(answer.headers()[protocol], "abide.v1");
    Ok(Socket { stream, number: 0, notes: Vec::new() })
}

impl Socket {
    pub(crate) async fn open(server: &Server, role: &Role) -> Self {
        let bearer = format!("Bearer {}", role.token());
        dial(server, &[("authorization", bearer)]).await.unwrap()
    }

    async fn send(&mut self, message: &Value) {
        self.stream.send(Message::text(message.to_string())).await.unwrap();
    }

    /// Returns the next message, or the code with which the socket was closed.
    async fn next(&mut self) -> Result<Value, u16> {
        loop {
            let message = tokio::time::timeout(SOON, self.stream.next()).await.unwrap();
            match message {
                Some(Ok(Message::Text(text))) => return Ok(serde_json::from_str(&text).unwrap()),
                Some(Ok(Message::Close(frame))) => {
                    return Err(frame.map_or(1005, |frame| frame.code.into()));
                }
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return Err(1006),
            }
        }
    }

    pub(crate) async fn ask(&mut self, method: &str, params: Value) -> Value {
        self.number += 1;
        let id = self.number;
        let request = json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params});
        self.send(&request).await;
        loop {
            let answer = self.next().await.unwrap();
            if answer["id"] == json!(id) {
                assert_eq!(answer["jsonrpc"], "2.0");
                return answer;
            }
            self.notes.push(answer);
        }
    }

    /// The answers to a batch.
    pub(crate) async fn batch(&mut self, requests: Vec<Value>) -> Value {
        self.send(&Value::Array(requests)).await;
        self.next().await.unwrap()
    }

    /// The next notification.
    pub(crate) async fn note(&mut self) -> Value {
        if self.notes.is_empty() { self.next().await.unwrap() } else { self.notes.remove(0) }
    }

    /// The next event.
    pub(crate) async fn event(&mut self) -> Value {
        let note = self.note().await;
        assert_eq!(note["method"], "event", "{note}");
        note["params"].clone()
    }

    pub(crate) async fn closed_with(&mut self) -> u16 {
        loop {
            if let Err(code) = self.next().await {
                return code;
            }
        }
    }
}

/// A whole transaction over the socket, with its events, by the same rules as over HTTP.
#[tokio::test]
async fn a_transaction_is_started_and_submitted_and_its_events_come() {
    let server = dev();
    let admin = server.admin().await;
    let alice = server.user("alice").await;
    publish(&admin).await;
    let mut socket = Socket::open(&server, &alice).await;
    let session = socket.ask("sessions.current", json!({})).await;
    assert_eq!(session["result"]["user"], "alice");
    assert_eq!(session["result"]["connections"], 1);
    let after = socket.ask("events.subscribe", json!({})).await["result"]["after"].clone();
    let started = socket.ask("transactions.start", json!({"workflow": "secret"})).await;
    let id = started["result"]["id"].as_str().unwrap().to_owned();
    let refused = socket.ask("transactions.submit", json!({"id": id, "step": "look"})).await;
    assert_eq!(refused["error"]["code"], -32000, "{refused}");
    assert_eq!(refused["error"]["data"]["code"], "step-not-open");
    let submit =
        json!({"id": id, "step": "ask", "input": {"note": "hello"}, "idempotency_key": "k1"});
    let done = socket.ask("transactions.submit", submit.clone()).await;
    assert_eq!(done["result"]["data"]["note"], "hello");
    let again = socket.ask("transactions.submit", submit).await;
    assert_eq!(again["result"], done["result"], "the first answer again");
    let shown = socket.ask("transactions.get", json!({"id": id})).await;
    assert_eq!(shown["result"]["revision"], done["result"]["revision"]);
    loop {
        let event = socket.event().await;
        assert!(event["id"].as_str() > after.as_str());
        if event["type"] == "secret.noted" {
            assert_eq!(event["data"]["data"]["note"], "hello");
            break;
        }
    }
    let cancelled = socket.ask("transactions.cancel", json!({"id": id, "reason": "enough"})).await;
    assert_eq!(cancelled["result"]["status"], "cancelled");
    // An event from another device of the user arrives here.
    let phone = server.again("alice").await;
    phone.put_data(json!({"n": 1})).await.ok();
    while socket.event().await["type"] != "abide.session.data_written" {}
    let patched = socket.ask("sessions.patch_data", json!({"patch": {"a": 1}})).await;
    assert_eq!(patched["result"]["a"], 1);
    // A second one continues behind an event.
    let mut second = Socket::open(&server, &alice).await;
    second.ask("events.subscribe", json!({"after": after})).await;
    assert_eq!(second.event().await["type"], "abide.transaction.started");
}

/// 8.3.2 A role that is taken away counts on an open socket from the next event and call on.
#[tokio::test]
async fn a_role_taken_away_counts_on_an_open_socket() {
    let server = dev();
    let admin = server.admin().await;
    let (alice, olga) = (server.user("alice").await, server.user("olga").await);
    publish(&admin).await;
    let mut socket = Socket::open(&server, &olga).await;
    socket.ask("events.subscribe", json!({})).await;
    let roles = async |roles: Value| {
        admin.patch("/v1/users/olga", json!({ "roles": roles })).await.ok();
    };
    roles(json!(["officer"])).await;
    assert_eq!(socket.event().await["type"], "abide.user.changed");
    let id = start(&alice).await;
    let started = socket.event().await;
    assert_eq!(started["type"], "abide.transaction.started");
    assert_eq!(started["transaction"], json!(id));
    let shown = socket.ask("transactions.get", json!({"id": id})).await;
    assert_eq!(shown["result"]["id"], json!(id));
    roles(json!([])).await;
    let hidden = socket.ask("transactions.get", json!({"id": id})).await;
    assert_eq!(hidden["error"]["data"]["code"], "not-found");
    start(&alice).await;
    olga.put_data(json!({"n": 1})).await.ok();
    while socket.event().await["type"] != "abide.user.changed" {}
    let next = socket.event().await;
    assert_eq!(next["type"], "abide.session.data_written", "nothing of a transaction: {next}");
}

/// JSON-RPC 2.0: batches, notifications, and its errors.
#[tokio::test]
async fn the_protocol_is_json_rpc_2() {
    let server = dev();
    let alice = server.user("alice").await;
    let mut socket = Socket::open(&server, &alice).await;
    socket
        .send(&json!([
            {"jsonrpc": "2.0", "id": "a", "method": "sessions.current"},
            {"jsonrpc": "2.0", "method": "sessions.current"},
            {"jsonrpc": "2.0", "id": 2, "method": "no.such"},
            {"jsonrpc": "1.0", "id": 3, "method": "sessions.current"},
            {"jsonrpc": "2.0", "id": 4, "method": "transactions.get", "params": {"what": 1}},
            7
        ]))
        .await;
    let answers = socket.next().await.unwrap();
    let answers = answers.as_array().unwrap();
    assert_eq!(answers.len(), 5, "{answers:?}");
    assert_eq!((&answers[0]["id"], &answers[0]["result"]["user"]), (&json!("a"), &json!("alice")));
    assert_eq!(answers[1]["error"]["code"], -32601);
    assert_eq!(answers[2]["error"]["code"], -32600);
    assert_eq!(answers[3]["error"]["code"], -32602);
    assert_eq!((&answers[4]["id"], &answers[4]["error"]["code"]), (&json!(null), &json!(-32600)));
    for (sent, code) in [("{", -32700), ("[]", -32600), ("\"x\"", -32600)] {
        socket.stream.send(Message::text(sent)).await.unwrap();
        assert_eq!(socket.next().await.unwrap()["error"]["code"], code, "{sent}");
    }
    // A path that is more than a name names nothing.
    let odd = socket.ask("transactions.get", json!({"id": "../users/me"})).await;
    assert_eq!(odd["error"]["code"], -32602);
    socket.stream.send(Message::Ping(b"hi"[..].into())).await.unwrap();
    let pong = tokio::time::timeout(SOON, socket.stream.next()).await.unwrap();
    assert_eq!(pong.unwrap().unwrap(), Message::Pong(b"hi"[..].into()));
    socket.stream.send(Message::Binary(b"x"[..].into())).await.unwrap();
    assert_eq!(socket.closed_with().await, 1003);
}

/// The `AsyncAPI` document lists exactly the methods that there are.
#[tokio::test]
async fn the_document_of_what_is_live_is_true() {
    let server = dev();
    let alice = server.user("alice").await;
    let document = alice.get("/asyncapi.json").await.ok().json();
    let openapi = alice.get("/openapi.json").await.ok().json();
    let messages = document["channels"]["socket"]["messages"].as_object().unwrap();
    let mut socket = Socket::open(&server, &alice).await;
    let mut methods = 0;
    for name in messages.keys().filter(|name| !["answer", "event", "resync"].contains(&&***name)) {
        let answer = socket.ask(name, json!({"no such": "parameter"})).await;
        assert_eq!(answer["error"]["code"], -32602, "{name}: {answer}");
        methods += 1;
    }
    assert_eq!(methods, 8);
    for (name, channel) in document["channels"].as_object().unwrap() {
        let address = channel["address"].as_str().unwrap();
        assert!(openapi["paths"][address]["get"].is_object(), "{name}: {address} is no route");
    }
    for (name, operation) in document["operations"].as_object().unwrap() {
        for reference in operation["messages"].as_array().unwrap() {
            let pointer = reference["$ref"].as_str().unwrap().trim_start_matches('#');
            assert!(document.pointer(pointer).is_some(), "{name}: {pointer} leads nowhere");
        }
    }
}

/// Without a session a socket reveals nothing; its end closes the socket; a page of elsewhere gets
/// none.
#[tokio::test]
async fn a_socket_lives_as_long_as_its_session() {
    let mut server = dev();
    let alice = server.user("alice").await;
    let mut nobody = dial(&server, &[]).await.unwrap();
    let refused = nobody.ask("sessions.current", json!({})).await;
    assert_eq!(refused["error"]["data"]["code"], "unauthenticated");
    let refused = nobody.ask("events.subscribe", json!({})).await;
    assert_eq!(refused["error"]["data"]["code"], "unauthenticated");
    let refused = nobody.ask("authenticate", json!({"token": "abs_x"})).await;
    assert_eq!(refused["error"]["data"]["code"], "unauthenticated");
    let known = nobody.ask("authenticate", json!({"token": alice.token()})).await;
    assert_eq!(known["result"]["user"], "alice");
    assert_eq!(nobody.ask("sessions.current", json!({})).await["result"]["user"], "alice");
    let mut idle = Socket::open(&server, &alice).await;
    alice.logout().await.ok();
    assert_eq!(nobody.closed_with().await, 4401);
    assert_eq!(idle.closed_with().await, 4401);
    let dead = dial(&server, &[("authorization", format!("Bearer {}", alice.token()))]).await;
    assert!(matches!(dead, Err(Error::Http(answer)) if answer.status() == 401));
    let odd = dial(&server, &[("sec-websocket-protocol", "chat".to_owned())]).await;
    assert!(matches!(odd, Err(Error::Http(answer)) if answer.status() == 400));
    // By cookie only from a page of this origin.
    let alice = server.again("alice").await;
    let cookie = format!("abide={}", alice.token());
    let page = |origin: &str| [("cookie", cookie.clone()), ("origin", origin.to_owned())];
    let foreign = dial(&server, &page("http://evil.example")).await;
    assert!(matches!(foreign, Err(Error::Http(answer)) if answer.status() == 403));
    let mut own = dial(&server, &page(&server.base())).await.unwrap();
    let patched = own.ask("sessions.patch_data", json!({"patch": {"a": 1}})).await;
    assert_eq!(patched["result"]["a"], 1);
    assert!(server.terminate().success());
    assert_eq!(own.closed_with().await, 1001);
}

/// A request with a wait for a newer revision is answered when that is there.
#[tokio::test]
async fn a_wait_ends_with_the_next_revision() {
    let server = dev();
    let admin = server.admin().await;
    let alice = server.user("alice").await;
    publish(&admin).await;
    let id = start(&alice).await;
    let path = format!("/v1/transactions/{id}");
    let etag = alice.get(&path).await.ok().etag();
    let wait = |seconds: u32| {
        let call = alice.get(&path).header("if-none-match", &etag);
        call.header("prefer", format!("wait={seconds}"))
    };
    let still = wait(1).await.is(304);
    assert_eq!(still.header("preference-applied"), "wait=1");
    let waiting = tokio::spawn(wait(60).into_future());
    alice.post(&step(&id, "ask"), json!({"note": "hello"})).await.ok();
    assert_eq!(waiting.await.unwrap().ok().json()["data"]["note"], "hello");
}
