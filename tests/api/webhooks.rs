//! Webhooks, as their receiver sees them: signed, in order, at least once, also when it was away.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use abide::app::signature::{SigningKey, is_standard};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::client::Role;
use crate::dice::Dice;
use crate::server::{Server, dev};
use crate::wait::PATIENCE;

const WORKFLOW: &str = "abide: 1
workflow: parcel
restricted: { weight: [role:packer] }
first: pack
input: { type: object, properties: { weight: { type: integer } } }
steps:
  pack: { by: [owner], do: [ { emit: { type: parcel.packed } } ], next: send }
  send: { by: [owner], do: [ { emit: { type: parcel.sent } } ], next: { end: sent } }
";

/// A message as received.
struct Told {
    headers: BTreeMap<String, String>,
    body: String,
    /// True if it was answered with success.
    taken: bool,
}

impl Told {
    fn event(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }

    fn is_signed_with(&self, secret: &str) -> bool {
        let key = SigningKey::standard(secret).unwrap();
        let header = |name: &str| self.headers[name].as_str();
        let (id, at) = (header("webhook-id"), header("webhook-timestamp"));
        is_standard(&key, id, at, self.body.as_bytes(), header("webhook-signature"))
    }
}

/// The service: it answers with a status, and reports the messages that it received.
struct Receiver {
    url: String,
    status: Arc<AtomicU16>,
    /// It answers 503 to events of these transactions.
    not_of: Arc<Mutex<BTreeSet<String>>>,
    /// One in five of the messages that it accepts gets no answer: the answer is lost.
    loses: Arc<AtomicBool>,
    told: mpsc::Receiver<Told>,
    task: JoinHandle<()>,
}

impl Receiver {
    async fn new(at: &str) -> Self {
        let listener = TcpListener::bind(at).await.unwrap();
        let url = format!("http://{}/events", listener.local_addr().unwrap());
        let status = Arc::new(AtomicU16::new(204));
        let (sender, told) = mpsc::channel(1000);
        let answers = Arc::clone(&status);
        let not_of: Arc<Mutex<BTreeSet<String>>> = Arc::default();
        let never = Arc::clone(&not_of);
        let loses = Arc::<AtomicBool>::default();
        let (forgets, dice) = (Arc::clone(&loses), Dice::new());
        let task = tokio::spawn(async move {
            'accepting: loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let (mut bytes, mut buffer) = (Vec::new(), [0; 4096]);
                let (head, body) = loop {
                    let read = stream.read(&mut buffer).await.unwrap_or(0);
                    if read == 0 {
                        // The sender was killed.
                        continue 'accepting;
                    }
                    bytes.extend_from_slice(&buffer[..read]);
                    let text = String::from_utf8_lossy(&bytes).into_owned();
                    let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
                    let length = head.lines().find_map(|line| {
                        line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok()
                    });
                    if body.len() >= length.unwrap_or(0) {
                        break (head.to_owned(), body.to_owned());
                    }
                };
                let headers = head.lines().skip(1).filter_map(|line| line.split_once(": "));
                let headers = headers
                    .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
                    .collect();
                let is_of = |id: &String| body.contains(id.as_str());
                let refuses = never.lock().unwrap().iter().any(is_of);
                let status = if refuses { 503 } else { answers.load(Ordering::SeqCst) };
                let answer = format!("HTTP/1.1 {status} X\r\ncontent-length: 0\r\n\r\n");
                let taken = status < 300;
                let lost = taken
                    && forgets.load(Ordering::SeqCst)
                    && dice.hash_one(bytes.as_slice()).is_multiple_of(5);
                if !lost {
                    // The server may have been killed meanwhile.
                    drop(stream.write_all(answer.as_bytes()).await);
                }
                drop(sender.send(Told { headers, body, taken }).await);
            }
        });
        Self { url, status, not_of, loses, told, task }
    }

    async fn next(&mut self) -> Told {
        self.told.recv().await.unwrap()
    }

    /// Until all events of these transactions were taken, in order; of those that are not taken
    /// only the first is tried, again and again.
    async fn takes_all_of(&mut self, ids: &[String]) {
        let mut kinds: BTreeMap<String, Vec<String>> = BTreeMap::new();
        while ids.iter().any(|id| kinds.get(id).is_none_or(|kinds| kinds.len() < KINDS.len())) {
            let told = timeout(PATIENCE, self.next()).await.expect("it is told");
            let event = told.event();
            let text = |name: &str| event[name].as_str().unwrap().to_owned();
            if told.taken {
                kinds.entry(text("transaction")).or_default().push(text("type"));
            } else {
                assert_eq!(text("type"), KINDS[0]);
            }
        }
        for id in ids {
            assert_eq!(kinds[id], KINDS, "{id}");
        }
    }
}

async fn subscribe(admin: &Role, url: &str) -> (String, String) {
    let ask = json!({"url": url, "types": ["parcel.*", "abide.transaction.started"]});
    let made = admin.post("/v1/webhooks", ask).await.is(201).json();
    let text = |name: &str| made[name].as_str().unwrap().to_owned();
    (format!("/v1/webhooks/{}", text("id")), text("secret"))
}

async fn shop(server: &Server) -> (Role, Role) {
    let admin = server.admin().await;
    let publish = admin.call("PUT", "/v1/workflows/parcel");
    publish.body("application/yaml", WORKFLOW.to_owned()).await.is(201);
    (admin, server.user("alice").await)
}

async fn parcel(role: &Role) -> String {
    let id = begin(role).await;
    for step in ["pack", "send"] {
        role.post_empty(&format!("/v1/transactions/{id}/steps/{step}")).await.ok();
    }
    id
}

const KINDS: [&str; 3] = ["abide.transaction.started", "parcel.packed", "parcel.sent"];

/// Events are delivered in order, signed, as a `CloudEvent`, and without the data that only some
/// may read.
#[tokio::test]
async fn events_are_told_in_order_and_signed() {
    let server = dev();
    let (admin, alice) = shop(&server).await;
    let mut receiver = Receiver::new("127.0.0.1:0").await;
    parcel(&alice).await;
    let (path, secret) = subscribe(&admin, &receiver.url).await;
    let id = parcel(&alice).await;
    for kind in KINDS {
        let told = receiver.next().await;
        assert!(told.is_signed_with(&secret));
        let event = told.event();
        assert_eq!((&event["type"], &event["transaction"]), (&json!(kind), &json!(id)));
        assert_eq!(
            (&event["specversion"], &event["id"]),
            (&json!("1.0"), &json!(told.headers["webhook-id"]))
        );
        assert_eq!(told.headers["content-type"], "application/cloudevents+json");
        assert!(!told.body.contains("4711"), "{}", told.body);
    }
    // Another key: for a day both sign.
    let rotated = admin.post_empty(&format!("{path}/rotate")).await.ok().json();
    let new = rotated["secret"].as_str().unwrap().to_owned();
    assert_ne!(new, secret);
    parcel(&alice).await;
    let told = receiver.next().await;
    assert!(told.is_signed_with(&secret) && told.is_signed_with(&new));
    assert!(admin.get(&path).await.ok().json()["secret"].is_null());
    assert!(server.files_with(&secret.as_bytes()[6..]).is_empty());
}

/// A receiver that was away, and a server that was killed: every event once by its id, in order.
#[tokio::test]
async fn nothing_is_lost_while_the_receiver_or_the_server_is_away() {
    let mut server = dev();
    let (admin, alice) = shop(&server).await;
    let receiver = Receiver::new("127.0.0.1:0").await;
    let (url, at) = (receiver.url.clone(), receiver.url.clone());
    subscribe(&admin, &url).await;
    receiver.task.abort();
    assert!(receiver.task.await.is_err());
    let first = parcel(&alice).await;
    server.crash_and_restart();
    let second = parcel(&alice).await;
    let at = at.trim_start_matches("http://").trim_end_matches("/events");
    let mut receiver = Receiver::new(at).await;
    let mut seen = BTreeSet::new();
    let mut kinds: BTreeMap<String, Vec<String>> = BTreeMap::new();
    while seen.len() < 6 {
        let told = receiver.next().await;
        let event = told.event();
        if seen.insert(told.headers["webhook-id"].clone()) {
            let of = kinds.entry(event["transaction"].as_str().unwrap().to_owned()).or_default();
            of.push(event["type"].as_str().unwrap().to_owned());
        }
    }
    assert_eq!(kinds[&first], KINDS);
    assert_eq!(kinds[&second], KINDS);
}

/// Receiver and server are killed again and again, at random, and answers are lost: by its id each
/// event comes once, and those of one transaction in order.
#[tokio::test]
async fn nothing_is_lost_or_out_of_order_while_both_sides_are_killed() {
    const PARCELS: usize = 60;
    let mut server = dev();
    let (admin, alice) = shop(&server).await;
    let mut receiver = Receiver::new("127.0.0.1:0").await;
    receiver.loses.store(true, Ordering::SeqCst);
    let url = receiver.url.clone();
    let at = url.trim_start_matches("http://").trim_end_matches("/events");
    subscribe(&admin, &url).await;
    let dice = Dice::new();
    let falls = |what: (&str, usize), sides: u64| dice.hash_one(what).is_multiple_of(sides);
    let (mut seen, mut came) = (BTreeSet::new(), 0);
    let mut kinds: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut note = |told: &Told| {
        came += 1;
        let event = told.event();
        let text = |name: &str| event[name].as_str().unwrap().to_owned();
        if seen.insert(told.headers["webhook-id"].clone()) {
            kinds.entry(text("transaction")).or_default().push(text("type"));
        }
        seen.len()
    };
    let mut ids = Vec::new();
    for n in 0..PARCELS {
        ids.push(parcel(&alice).await);
        if n == 5 || falls(("receiver", n), 10) {
            receiver.task.abort();
            assert!((&mut receiver.task).await.is_err());
            while let Ok(told) = receiver.told.try_recv() {
                note(&told);
            }
            receiver = Receiver::new(at).await;
            receiver.loses.store(true, Ordering::SeqCst);
        }
        if n == 10 || falls(("server", n), 12) {
            server.crash_and_restart();
        }
    }
    receiver.loses.store(false, Ordering::SeqCst);
    loop {
        let told = timeout(PATIENCE, receiver.next()).await.expect("it is told");
        if note(&told) == PARCELS * KINDS.len() {
            break;
        }
    }
    for id in &ids {
        assert_eq!(kinds[id], KINDS, "{id}");
    }
    assert!(came > PARCELS * KINDS.len(), "an answer that was lost brings an event twice");
}

/// Returns the next attempt, after any delay.
async fn next_attempt(server: &Server, receiver: &mut Receiver) -> Told {
    loop {
        // The answered delivery may not be delayed yet when the clock is moved.
        server.advance("4h").await;
        if let Ok(told) = timeout(Duration::from_millis(300), receiver.next()).await {
            return told;
        }
    }
}

/// A receiver that is being set up refuses for a while: the refused events are no dead letters, and
/// come in order.
#[tokio::test]
async fn webhook_refusals_of_a_moment_lose_nothing() {
    let server = dev();
    let (admin, alice) = shop(&server).await;
    let mut receiver = Receiver::new("127.0.0.1:0").await;
    let (path, _) = subscribe(&admin, &receiver.url).await;
    receiver.status.store(401, Ordering::SeqCst);
    parcel(&alice).await;
    assert_eq!(receiver.next().await.event()["type"], KINDS[0]);
    for status in [404, 409, 400, 302, 401] {
        receiver.status.store(status, Ordering::SeqCst);
        let told = next_attempt(&server, &mut receiver).await;
        assert_eq!(told.event()["type"], KINDS[0], "nothing overtakes it");
    }
    receiver.status.store(204, Ordering::SeqCst);
    let mut taken = Vec::new();
    while taken.len() < KINDS.len() {
        let told = next_attempt(&server, &mut receiver).await;
        let kind = told.event()["type"].clone();
        if told.taken {
            taken.push(kind);
        } else {
            // It was under way before.
            assert_eq!(kind, KINDS[0]);
        }
    }
    assert_eq!(taken, KINDS.map(|kind| json!(kind)));
    let admin = server.admin().await;
    let letters = admin.get(&format!("{path}/dead-letters")).await.ok().json();
    assert_eq!(letters["items"], json!([]));
}

/// An event that the receiver refuses for about a day is a dead letter, and can be replayed.
#[tokio::test]
async fn what_is_not_taken_for_a_day_is_a_dead_letter_and_can_be_told_again() {
    let server = dev();
    let (admin, alice) = shop(&server).await;
    let mut receiver = Receiver::new("127.0.0.1:0").await;
    let (path, _) = subscribe(&admin, &receiver.url).await;
    receiver.status.store(400, Ordering::SeqCst);
    parcel(&alice).await;
    assert_eq!(receiver.next().await.event()["type"], KINDS[0]);
    for attempt in 1..27 {
        let told = next_attempt(&server, &mut receiver).await;
        assert_eq!(told.event()["type"], KINDS[0], "attempt {attempt}");
    }
    // The next event comes: the first one is given up.
    assert_eq!(receiver.next().await.event()["type"], KINDS[1]);
    receiver.status.store(204, Ordering::SeqCst);
    while next_attempt(&server, &mut receiver).await.event()["type"] != KINDS[2] {}
    let admin = server.admin().await;
    let letters = admin.get(&format!("{path}/dead-letters")).await.ok().json();
    assert_eq!(letters["items"][0]["event"]["type"], KINDS[0]);
    assert_eq!(letters["items"][0]["error"], "the receiver answers 400");
    let number = letters["items"][0]["number"].as_u64().unwrap();
    let replay = format!("{path}/dead-letters/{number}/replay");
    admin.post_empty(&replay).await.is(204);
    assert_eq!(receiver.next().await.event()["type"], KINDS[0]);
    admin.post_empty(&format!("{path}/dead-letters/99/replay")).await.problem(404, "not-found");
}

async fn begin(role: &Role) -> String {
    let input = json!({"input": {"weight": 4711}});
    let started = role.post("/v1/workflows/parcel/transactions", input).await.is(201).json();
    started["id"].as_str().unwrap().to_owned()
}

/// An event that the receiver refuses delays its own transaction's events and no other's, however
/// many refused ones there are.
#[tokio::test]
async fn the_trouble_of_some_transactions_holds_up_no_other() {
    let server = dev();
    let (admin, alice) = shop(&server).await;
    let mut receiver = Receiver::new("127.0.0.1:0").await;
    let (path, _) = subscribe(&admin, &receiver.url).await;
    receiver.status.store(503, Ordering::SeqCst);
    let mut bad = Vec::new();
    for _ in 0..20 {
        bad.push(begin(&alice).await);
    }
    // All of them have been tried once and more often before others come.
    let mut tried: BTreeMap<String, u32> = BTreeMap::new();
    let all_are = async {
        while tried.len() < bad.len() || tried.values().all(|count| *count < 3) {
            let event = receiver.next().await.event();
            *tried.entry(event["transaction"].as_str().unwrap().to_owned()).or_default() += 1;
        }
    };
    timeout(Duration::from_secs(20), all_are).await.expect("each has its turn");
    receiver.not_of.lock().unwrap().extend(bad.iter().cloned());
    receiver.status.store(204, Ordering::SeqCst);
    for id in &bad {
        for step in ["pack", "send"] {
            alice.post_empty(&format!("/v1/transactions/{id}/steps/{step}")).await.ok();
        }
    }
    let mut others = Vec::new();
    for _ in 0..3 {
        others.push(parcel(&alice).await);
    }
    let all = timeout(Duration::from_secs(10), receiver.takes_all_of(&others));
    all.await.expect("others are told at once");
    let stands = admin.get(&path).await.ok().json();
    assert_eq!(stands["dead"], 0, "{stands}");
    receiver.not_of.lock().unwrap().clear();
    receiver.takes_all_of(&bad).await;
}

/// An invalid subscription is refused; only an administrator can make one.
#[tokio::test]
async fn what_is_no_subscription_is_refused() {
    let server = dev();
    let (admin, alice) = shop(&server).await;
    for (ask, pointer) in [
        (json!({"url": "ftp://x", "types": ["a"]}), "/url"),
        (json!({"url": "http://[", "types": ["a"]}), "/url"),
        (json!({"url": "http://", "types": ["a"]}), "/url"),
        (json!({"url": "http://127.0.0.1:9", "types": []}), "/types"),
        (json!({"url": "http://127.0.0.1:9", "types": ["a*b"]}), "/types/0"),
    ] {
        let problem = admin.post("/v1/webhooks", ask).await.problem(422, "invalid-input").json();
        assert_eq!(problem["errors"][0]["pointer"], pointer);
    }
    let ask = json!({"url": "http://127.0.0.1:9", "types": ["*"]});
    alice.post("/v1/webhooks", ask).await.problem(403, "not-allowed");
}

/// A subscription whose every delivery would be refused is not made.
#[tokio::test]
async fn webhook_outside_the_egress_policy_is_refused() {
    let server = dev();
    let (admin, _) = shop(&server).await;
    for url in ["https://shop.example/events", "http://169.254.169.254/latest", "http://10.0.0.1/"]
    {
        let ask = json!({"url": url, "types": ["*"]});
        let problem = admin.post("/v1/webhooks", ask).await.problem(422, "invalid-input").json();
        assert_eq!(problem["errors"][0]["pointer"], "/url", "{problem}");
        assert_eq!(problem["errors"][0]["code"], "not-allowed", "{problem}");
        assert!(problem["detail"].as_str().unwrap().contains("egress"), "{problem}");
    }
}
