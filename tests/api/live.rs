//! Live events: pages, streams and histories, as roles.

use std::io::{Read as _, Write as _};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::client::Role;
use crate::raw;
use crate::server::{Server, dev};
use crate::wait::PATIENCE;

/// Steps of some ten thousand bytes of events each.
const SLOW_STEPS: usize = 400;

/// No event comes later than this, on a machine that builds something else meanwhile.
pub(crate) const SOON: Duration = Duration::from_secs(30);

/// A stream of Server-Sent Events, read block by block.
pub(crate) struct Stream {
    response: reqwest::Response,
    text: String,
    pub(crate) last: String,
}

/// One block of a stream.
#[derive(Debug)]
pub(crate) struct Block {
    pub(crate) id: String,
    pub(crate) event: String,
    pub(crate) data: Option<Value>,
}

impl Stream {
    pub(crate) async fn open(
        server: &Server,
        role: &Role,
        path: &str,
        after: Option<&str>,
    ) -> Self {
        Self::attempt(&server.base(), role, path, after).await.unwrap()
    }

    /// The same, or nothing if the server does not answer.
    pub(crate) async fn attempt(
        base: &str,
        role: &Role,
        path: &str,
        after: Option<&str>,
    ) -> Option<Self> {
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        let mut request = http
            .get(format!("{base}{path}"))
            .header("accept", "text/event-stream")
            .bearer_auth(role.token());
        if let Some(after) = after {
            request = request.header("last-event-id", after);
        }
        let response = request.send().await.ok()?;
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        let last = after.unwrap_or_default().to_owned();
        Some(Self { response, text: String::new(), last })
    }

    /// The next block; `None`: the stream has ended.
    pub(crate) async fn block(&mut self) -> Option<Block> {
        loop {
            if let Some(end) = self.text.find("\n\n") {
                let block: String = self.text.drain(..end + 2).collect();
                let field = |name: &str| {
                    let line = block.lines().find_map(|line| line.strip_prefix(name));
                    line.map(|text| text.trim_start().to_owned())
                };
                let id = field("id:").unwrap_or_default();
                if !id.is_empty() {
                    self.last.clone_from(&id);
                }
                let event = field("event:").unwrap_or_default();
                let data = field("data:").map(|data| serde_json::from_str(&data).unwrap());
                return Some(Block { id, event, data });
            }
            let chunk = tokio::time::timeout(SOON, self.response.chunk()).await.unwrap();
            match chunk {
                Ok(Some(chunk)) => self.text.push_str(std::str::from_utf8(&chunk).unwrap()),
                Ok(None) | Err(_) => return None,
            }
        }
    }

    /// The next event; `None`: the stream has ended.
    pub(crate) async fn event(&mut self) -> Option<Value> {
        let deadline = Instant::now() + 2 * SOON;
        loop {
            // Comments come also where nothing happens.
            assert!(Instant::now() < deadline, "no event comes");
            let block = self.block().await?;
            if let Some(data) = block.data {
                assert_eq!(block.event, "", "{data}");
                assert_eq!(data["id"], json!(block.id));
                return Some(data);
            }
        }
    }

    /// The next event of this type.
    pub(crate) async fn of(&mut self, kind: &str) -> Value {
        loop {
            let event = self.event().await.unwrap_or_else(|| panic!("ended before {kind}"));
            if event["type"] == kind {
                return event;
            }
        }
    }
}

const SECRET: &str = r"
abide: 1
workflow: secret
data: { note: null, risk: high }
restricted: { risk: [role:officer] }
first: ask
steps:
  ask:
    by: [owner]
    input: { type: object, properties: { note: { type: string } }, required: [note] }
    do:
      - set: { note: =input.note }
      - emit: { type: secret.noted, data: { note: =input.note } }
    next: look
  look:
    by: [role:officer]
    do:
      - set: { risk: low }
    next: { end: done }
";

pub(crate) async fn publish(admin: &Role) {
    let publish = admin.call("PUT", "/v1/workflows/secret");
    publish.body("application/yaml", SECRET.to_owned()).await.is(201);
}

pub(crate) async fn start(role: &Role) -> String {
    let started = role.post_empty("/v1/workflows/secret/transactions").await.is(201).json();
    started["id"].as_str().unwrap().to_owned()
}

/// An account from which money comes, and one of alice.
pub(crate) async fn accounts(admin: &Role) {
    for account in [
        json!({"id": "world", "asset": "EUR", "floor": null}),
        json!({"id": "alice:main", "asset": "EUR", "owner": "alice"}),
    ] {
        admin.post("/v1/accounts", account).await.is(201);
    }
}

pub(crate) fn step(id: &str, step: &str) -> String {
    format!("/v1/transactions/{id}/steps/{step}")
}

async fn grant(admin: &Role, user: &str, roles: Value) {
    let roles = json!({ "roles": roles });
    admin.call("PATCH", &format!("/v1/users/{user}")).json(&roles).await.ok();
}

async fn page(role: &Role, after: &str) -> Value {
    let path = format!("/v1/events?limit=200&after={after}");
    role.get(&path).header("accept", "application/json").await.ok().json()
}

/// Every event that the role sees from the beginning on.
pub(crate) async fn all(role: &Role) -> Vec<Value> {
    let mut events = Vec::new();
    let mut after = "0".repeat(20);
    loop {
        let page = page(role, &after).await;
        events.extend(page["items"].as_array().unwrap().iter().cloned());
        page["next_after"].as_str().unwrap().clone_into(&mut after);
        if page["more"] == false {
            return events;
        }
    }
}

fn kinds(events: &[Value]) -> Vec<&str> {
    events.iter().map(|event| event["type"].as_str().unwrap()).collect()
}

/// The history lists in order all events and their actors, for each reader of the transaction,
/// without the data that is hidden from the reader; also after kill -9.
#[tokio::test]
async fn a_history_tells_all_that_one_may_know() {
    let mut server = dev();
    let admin = server.admin().await;
    let (alice, olga, mallory) =
        (server.user("alice").await, server.user("olga").await, server.user("mallory").await);
    publish(&admin).await;
    grant(&admin, "olga", json!(["officer"])).await;
    let id = start(&alice).await;
    alice.post(&step(&id, "ask"), json!({"note": "hello"})).await.ok();
    olga.post_empty(&step(&id, "look")).await.ok();
    server.crash_and_restart();
    let path = format!("/v1/transactions/{id}/history");
    let history = alice.get(&path).await.ok().json();
    assert_eq!(history["complete"], true);
    let items = history["items"].as_array().unwrap();
    let taken: Vec<_> = items.iter().filter(|event| event["type"] == "abide.step.taken").collect();
    assert_eq!(taken[0]["actor"]["name"], "alice");
    assert_eq!(taken[0]["step"], "ask");
    assert_eq!(taken[1]["actor"]["name"], "olga");
    assert_eq!(items.first().unwrap()["type"], "abide.transaction.started");
    assert_eq!(items.last().unwrap()["type"], "abide.transaction.ended");
    let ids: Vec<_> = items.iter().map(|event| event["id"].as_str().unwrap()).collect();
    assert!(ids.is_sorted());
    let text = history.to_string();
    assert!(!text.contains("risk"), "hidden from the owner: {text}");
    assert!(olga.get(&path).await.ok().text().contains("risk"));
    mallory.get(&path).await.problem(404, "not-found");
    // Page by page it is the same.
    let (mut paged, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = alice.get(&format!("{path}?limit=2{cursor}")).await.ok().json();
        paged.extend(page["items"].as_array().unwrap().iter().cloned());
        let Some(next) = page["next_cursor"].as_str() else { break };
        cursor = format!("&cursor={next}");
    }
    assert_eq!(&paged, items);
}

/// Each actor sees exactly what it may: own sessions and transactions, nobody else's, auditors all.
#[tokio::test]
async fn a_page_holds_what_the_actor_may_see() {
    let server = dev();
    let admin = server.admin().await;
    let (alice, mallory) = (server.user("alice").await, server.user("mallory").await);
    publish(&admin).await;
    let id = start(&alice).await;
    alice.post(&step(&id, "ask"), json!({"note": "hello"})).await.ok();
    alice.put_data(json!({"n": 1})).await.ok();
    let own = all(&alice).await;
    for kind in [
        "abide.user.created",
        "abide.session.opened",
        "abide.transaction.started",
        "secret.noted",
        "abide.session.data_written",
    ] {
        assert!(kinds(&own).contains(&kind), "{kind} is missing: {own:?}");
    }
    assert!(!own.iter().any(|event| event.to_string().contains("risk")), "{own:?}");
    for event in &own {
        assert_eq!(event["specversion"], "1.0");
        assert!(event["source"].is_string() && event["time"].is_string(), "{event}");
    }
    let others = all(&mallory).await;
    assert!(others.iter().all(|event| !event.to_string().contains("alice")), "{others:?}");
    assert!(!kinds(&others).iter().any(|kind| kind.contains("transaction")), "{others:?}");
    let everything = all(&admin).await;
    assert!(own.iter().all(|event| everything.iter().any(|other| other["id"] == event["id"])));
    alice.get("/v1/events?after=xyz").await.problem(400, "invalid-parameter");
}

/// A stream sends events as they happen, and resumes over kill -9 without gap or duplicate.
#[tokio::test]
async fn a_stream_resumes_without_a_gap_or_a_double() {
    let mut server = dev();
    let admin = server.admin().await;
    let alice = server.user("alice").await;
    publish(&admin).await;
    let mut stream = Stream::open(&server, &alice, "/v1/events", None).await;
    let greeting = stream.block().await.unwrap();
    assert!(greeting.data.is_none() && !greeting.id.is_empty());
    let mut seen = Vec::new();
    for round in 0..3 {
        let id = start(&alice).await;
        alice.post(&step(&id, "ask"), json!({"note": round.to_string()})).await.ok();
        loop {
            let event = stream.event().await.unwrap();
            let done = event["type"] == "secret.noted";
            seen.push(event);
            if done {
                break;
            }
        }
        server.kill_9();
        while let Some(event) = stream.event().await {
            seen.push(event);
        }
        server.start_again();
        // Events while no client is connected.
        let last = stream.last.clone();
        start(&alice).await;
        stream = Stream::open(&server, &alice, "/v1/events", Some(&last)).await;
    }
    let id = start(&alice).await;
    alice.post(&step(&id, "ask"), json!({"note": "last"})).await.ok();
    loop {
        let event = stream.event().await.unwrap();
        let done = event["data"]["data"]["note"] == "last";
        seen.push(event);
        if done {
            break;
        }
    }
    let mut logged = all(&alice).await;
    logged.retain(|event| event["id"].as_str() > Some(greeting.id.as_str()));
    logged.retain(|event| event["id"].as_str() <= seen.last().unwrap()["id"].as_str());
    assert_eq!(kinds(&seen), kinds(&logged));
    assert_eq!(seen, logged);
}

/// 4.4.2, API4: no actor can have so many streams open that others get none.
#[tokio::test]
async fn one_actor_has_a_bounded_number_of_streams() {
    let server = dev();
    let (alice, bob) = (server.user("alice").await, server.user("bob").await);
    let begins = |role: &Role| {
        let mut socket = raw::connect(&server.address());
        let token = role.token();
        let ask =
            format!("GET /v1/events HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\n");
        socket.write_all(format!("{ask}Accept: text/event-stream\r\n\r\n").as_bytes()).unwrap();
        let mut head = [0; 12];
        socket.read_exact(&mut head).unwrap();
        (raw::status(std::str::from_utf8(&head).unwrap()), socket)
    };
    let mut open = Vec::new();
    let refused = loop {
        let (status, socket) = begins(&alice);
        if status != 200 {
            break status;
        }
        open.push(socket);
        assert!(open.len() <= 1024, "there is no end");
    };
    assert_eq!((refused, open.len()), (429, 1024));
    assert_eq!(begins(&bob).0, 200, "others have theirs");
    open.clear();
    let start = Instant::now();
    while begins(&alice).0 != 200 {
        assert!(start.elapsed() < SOON, "a place is never free again");
        tokio::task::yield_now().await;
    }
}

/// A role that is granted or taken away counts from the next event on; the end of the session ends
/// the stream.
#[tokio::test]
async fn a_role_taken_away_and_the_end_of_a_session_count_at_once() {
    let server = dev();
    let admin = server.admin().await;
    let (alice, olga) = (server.user("alice").await, server.user("olga").await);
    publish(&admin).await;
    let mut stream = Stream::open(&server, &olga, "/v1/events", None).await;
    start(&alice).await;
    grant(&admin, "olga", json!(["officer"])).await;
    assert_eq!(stream.event().await.unwrap()["type"], "abide.user.changed");
    let seen = start(&alice).await;
    assert_eq!(stream.of("abide.transaction.started").await["transaction"], json!(seen));
    grant(&admin, "olga", json!([])).await;
    start(&alice).await;
    olga.put_data(json!({"n": 1})).await.ok();
    stream.of("abide.user.changed").await;
    let next = stream.event().await.unwrap();
    assert_eq!(next["type"], "abide.session.data_written", "nothing of a transaction: {next}");
    olga.logout().await.ok();
    // A reader whose end goes unnoticed would get comments for ever.
    let rest = async { while stream.block().await.is_some() {} };
    tokio::time::timeout(SOON, rest).await.expect("the stream outlives its session");
    // A stream of a session that has ended is not opened.
    olga.get("/v1/events").await.problem(401, "unauthenticated");
}

/// A reader that does not take its events is dropped at a bounded buffer, and continues from its
/// position without a gap or a duplicate.
#[tokio::test]
async fn a_slow_reader_is_dropped_and_resumes() {
    let server = dev();
    let admin = server.admin().await;
    let alice = server.user("alice").await;
    let phone = server.again("alice").await;
    publish(&admin).await;
    let mut stream = Stream::open(&server, &alice, "/v1/events", None).await;
    let greeting = stream.block().await.unwrap();
    // This one reads late, but not too late.
    let mut late = Stream::open(&server, &alice, "/v1/events", Some(&greeting.id)).await;
    // More than all buffers on the path hold, and nobody reads.
    let mut id = String::new();
    for _ in 0..SLOW_STEPS {
        id = start(&phone).await;
        phone.post(&step(&id, "ask"), json!({"note": "x".repeat(15_000)})).await.ok();
    }
    let mut seen = Vec::new();
    while seen.last().is_none_or(|event: &Value| {
        (&event["type"], &event["transaction"]) != (&json!("secret.noted"), &json!(id))
    }) {
        seen.push(late.event().await.unwrap());
    }
    let mut logged = all(&alice).await;
    logged.retain(|event| event["id"].as_str() > Some(greeting.id.as_str()));
    logged.truncate(seen.len());
    assert!(seen == logged, "a late reader missed something, or was told twice");
    drop(late);
    let own = alice.session().await.ok().json()["id"].clone();
    let deadline = Instant::now() + PATIENCE;
    loop {
        let sessions = phone.get("/v1/sessions").await.ok().json();
        let items = sessions["items"].as_array().unwrap();
        let session = items.iter().find(|session| session["id"] == own).unwrap();
        if session["connections"] == 0 {
            break;
        }
        assert!(Instant::now() < deadline, "it is never dropped: {session}");
        let path = format!("/v1/transactions/{id}");
        let etag = phone.get(&path).await.ok().etag();
        phone.get(&path).header("prefer", "wait=1").header("if-none-match", etag).await.is(304);
    }
    let mut seen = Vec::new();
    while let Some(event) = stream.event().await {
        seen.push(event);
    }
    let before = seen.len();
    alice.put_data(json!({"the": "end"})).await.ok();
    let last = stream.last.clone();
    let mut stream = Stream::open(&server, &alice, "/v1/events", Some(&last)).await;
    while seen.last().is_none_or(|event| event["type"] != "abide.session.data_written") {
        seen.push(stream.event().await.unwrap());
    }
    let mut logged = all(&alice).await;
    logged.retain(|event| event["id"].as_str() > Some(greeting.id.as_str()));
    assert_eq!(seen.len(), logged.len());
    assert_eq!(seen, logged);
    assert!(before < seen.len() - 1, "it was sent all: {before} of {}", seen.len());
}

/// One transaction's stream begins with its first event and continues with the live ones.
#[tokio::test]
async fn a_transactions_stream_is_its_history_and_goes_on() {
    let server = dev();
    let admin = server.admin().await;
    let alice = server.user("alice").await;
    publish(&admin).await;
    let (id, other) = (start(&alice).await, start(&alice).await);
    let path = format!("/v1/transactions/{id}/events");
    let mut stream = Stream::open(&server, &alice, &path, None).await;
    assert_eq!(stream.event().await.unwrap()["type"], "abide.transaction.started");
    alice.post(&step(&other, "ask"), json!({"note": "other"})).await.ok();
    alice.post(&step(&id, "ask"), json!({"note": "mine"})).await.ok();
    assert_eq!(stream.of("secret.noted").await["data"]["data"]["note"], "mine");
    let page = alice.get(&path).header("accept", "application/json").await.ok().json();
    assert_eq!(page["items"][0]["type"], "abide.transaction.started");
}

/// A server that stops ends its streams and does not wait for them.
#[tokio::test]
async fn a_stop_ends_the_streams() {
    let mut server = dev();
    let alice = server.user("alice").await;
    let mut stream = Stream::open(&server, &alice, "/v1/events", None).await;
    stream.block().await.unwrap();
    assert!(server.terminate().success());
    while stream.block().await.is_some() {}
}

/// A transaction, an account and the sums as they were at a revision, also after kill -9.
#[tokio::test]
async fn what_was_can_be_read_as_of_a_revision() {
    let mut server = dev();
    let admin = server.admin().await;
    let alice = server.user("alice").await;
    publish(&admin).await;
    accounts(&admin).await;
    let pay = json!({"from": "world", "to": "alice:main", "amount": "10.00"});
    admin.post("/v1/transfers", pay.clone()).await.is(201);
    let id = start(&alice).await;
    let then = alice.get(&format!("/v1/transactions/{id}")).await.ok().json();
    let at = then["revision"].as_u64().unwrap();
    let check = admin.get("/v1/ledger/check").await.ok().json();
    let account = alice.get("/v1/accounts/alice:main").await.ok().json();
    alice.post(&step(&id, "ask"), json!({"note": "hello"})).await.ok();
    admin.post("/v1/transfers", pay).await.is(201);
    server.crash_and_restart();
    let was = |path: &str, at: u64| format!("{path}?as_of={at}");
    let path = format!("/v1/transactions/{id}");
    assert_eq!(alice.get(&was(&path, at)).await.ok().json()["data"], then["data"]);
    assert_eq!(alice.get(&path).await.ok().json()["data"]["note"], "hello");
    let then = alice.get(&was("/v1/accounts/alice:main", at)).await.ok().json();
    assert_eq!(then, account);
    assert_eq!(then["posted"], "10.00");
    assert_eq!(alice.get("/v1/accounts/alice:main").await.ok().json()["posted"], "20.00");
    let sums = admin.get(&was("/v1/ledger/check", at)).await.ok().json();
    assert_eq!(sums["assets"], check["assets"]);
    alice.get(&was(&path, at - 1)).await.problem(404, "not-found");
    alice.get(&was(&path, u64::from(u32::MAX))).await.problem(400, "invalid-parameter");
    server.user("mallory").await.get(&was(&path, at)).await.problem(404, "not-found");
}
