//! Cost of one reader: pages are bounded in bytes, a filter on somebody unseen reads nothing,
//! claims are searched only for actors that may have them, and waits leave slots for streams.

use std::collections::BTreeSet;
use std::future::IntoFuture as _;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::client::Role;
use crate::server::{Server, dev};

/// No page is larger than this, by much.
const PAGE_BYTES: usize = 1024 * 1024;

/// Transactions of a user that somebody else filters by: more than a page examines with
/// `ABIDE_FOREIGN=1100`.
fn foreign() -> usize {
    std::env::var("ABIDE_FOREIGN").map_or(150, |count| count.parse().unwrap())
}

async fn publish(server: &Server, name: &str, document: &str) {
    let admin = server.admin().await;
    let put = admin.call("PUT", &format!("/v1/workflows/{name}"));
    put.body("application/yaml", document).await.is(201);
}

/// Own transactions with a text of any length.
const NOTE: &str = "abide: 1
workflow: note
input: { type: object, properties: { text: { type: string } } }
first: keep
steps:
  keep: { by: [owner], next: { end: done } }
";

async fn note(role: &Role, text: &str, reference: Option<&str>) -> String {
    let body = json!({ "input": { "text": text }, "reference": reference });
    let started = role.post("/v1/workflows/note/transactions", body).await.is(201);
    started.json()["id"].as_str().unwrap().to_owned()
}

/// All items of a list, by its cursors, and how large its largest page was.
async fn all(role: &Role, path: &str) -> (Vec<Value>, usize) {
    let (mut items, mut largest, mut cursor) = (Vec::new(), 0, String::new());
    loop {
        let page = role.get(&format!("{path}{cursor}")).await.is(200);
        largest = largest.max(page.body.len());
        let page = page.json();
        items.extend(page["items"].as_array().unwrap().clone());
        let Some(next) = page["next_cursor"].as_str() else { return (items, largest) };
        cursor = format!("&cursor={next}");
    }
}

#[tokio::test]
async fn pages_of_large_transactions_are_bounded_in_bytes_and_complete() {
    let server = dev();
    publish(&server, "note", NOTE).await;
    let alice = server.user("alice").await;
    let text = "x".repeat(55_000);
    let mut ids = BTreeSet::new();
    for _ in 0..30 {
        ids.insert(note(&alice, &text, None).await);
    }
    let (items, largest) = all(&alice, "/v1/transactions?limit=200").await;
    let found: BTreeSet<_> = items.iter().map(|item| item["id"].as_str().unwrap().into()).collect();
    assert_eq!((items.len(), found), (30, ids.clone()));
    assert!(largest < PAGE_BYTES + 100_000, "a page of {largest} bytes");

    // Its events hold the same texts.
    let (mut after, mut pages, mut started) = (String::new(), 0, 0);
    loop {
        let page = alice.get(&format!("/v1/events?limit=200{after}"));
        let page = page.header("accept", "application/json").await.is(200);
        assert!(page.body.len() < PAGE_BYTES + 200_000, "{} bytes", page.body.len());
        let page = page.json();
        let items = page["items"].as_array().unwrap();
        started +=
            items.iter().filter(|event| event["type"] == "abide.transaction.started").count();
        pages += 1;
        if page["more"] == false {
            break;
        }
        after = format!("&after={}", page["next_after"].as_str().unwrap());
    }
    assert!(started == 30 && pages > 1, "{started} starts on {pages} pages");
}

#[tokio::test]
async fn references_are_found_among_large_transactions_without_their_data() {
    let server = dev();
    publish(&server, "note", NOTE).await;
    let alice = server.user("alice").await;
    let rows: Vec<u8> = vec![1; 25_000];
    let text = serde_json::to_string(&rows).unwrap();
    for number in 0..40 {
        note(&alice, &text, Some(&format!("order-{number}"))).await;
    }
    let (items, _) = all(&alice, "/v1/transactions?reference=order-7").await;
    assert_eq!(items.len(), 1);
    let (items, _) = all(&alice, "/v1/transactions?reference=nope").await;
    assert!(items.is_empty());
    let (items, _) = all(&alice, "/v1/transactions?workflow=note&reference=order-7").await;
    assert_eq!(items[0]["reference"], "order-7");
}

#[tokio::test]
async fn owner_filter_on_somebody_unseen_answers_as_for_nobody() {
    let server = dev();
    publish(&server, "note", NOTE).await;
    let (alice, mallory) = (server.user("alice").await, server.user("mallory").await);
    let mut ids = Vec::new();
    for _ in 0..foreign() {
        ids.push(note(&alice, "", None).await);
    }
    note(&mallory, "", None).await;
    let ask = |owner: &str| mallory.get(&format!("/v1/transactions?limit=200&owner={owner}"));
    let (of_alice, of_nobody) = (ask("alice").await.is(200), ask("nobody").await.is(200));
    assert_eq!(of_alice.json(), of_nobody.json());
    assert_eq!(of_alice.json(), json!({ "items": [], "next_cursor": null }));
    let stuck = mallory.get("/v1/transactions?owner=alice&status=stuck").await.is(200);
    assert_eq!(stuck.json(), of_nobody.json());

    // An actor that may see some of them learns of no other, whatever the page examined.
    let helper = "abide: 1\nworkflow: help\nfirst: ask\nsteps:\n  ask: { by: [role:helper], next: { end: done } }\n";
    publish(&server, "help", helper).await;
    let admin = server.admin().await;
    admin.patch("/v1/users/mallory", json!({ "roles": ["helper"] })).await.is(200);
    let asked = alice.post("/v1/workflows/help/transactions", json!({})).await.is(201).json();
    for path in ["/v1/transactions?owner=alice&limit=1", "/v1/transactions?limit=1"] {
        let mut cursor = String::new();
        let mut seen = Vec::new();
        loop {
            let page = mallory.get(&format!("{path}{cursor}")).await.is(200).json();
            seen.extend(page["items"].as_array().unwrap().clone());
            let Some(next) = page["next_cursor"].as_str() else { break };
            assert!(!ids.iter().any(|id| id == next), "{next} is a transaction of alice");
            cursor = format!("&cursor={next}");
        }
        assert!(seen.iter().any(|item| item["id"] == asked["id"]), "{path}: {seen:?}");
    }
    // Her own list goes on as before, page by page, in order and each once.
    let (items, _) = all(&alice, "/v1/transactions?owner=alice&limit=7").await;
    let mut listed: Vec<_> = items.iter().map(|item| item["id"].as_str().unwrap()).collect();
    assert_eq!(listed.len(), foreign() + 1);
    assert!(listed.is_sorted_by(|a, b| a > b));
    listed.dedup();
    assert_eq!(listed.len(), foreign() + 1);
}

/// A queue in which each actor works on its own transactions, and packers on everything.
const ORDER: &str = "abide: 1
workflow: order
input: { type: object, properties: { text: { type: string } } }
first: pack
steps:
  pack: { by: [role:packer], claim: 10m, next: check }
  check: { by: [owner], claim: 10m, next: { end: done } }
";

#[tokio::test]
async fn claims_are_looked_for_by_those_who_may_and_found_however_far_behind() {
    let server = dev();
    publish(&server, "order", ORDER).await;
    let admin = server.admin().await;
    let (alice, bob, mallory) =
        (server.user("alice").await, server.user("bob").await, server.user("mallory").await);
    let text = "x".repeat(50_000);
    let mut ids = Vec::new();
    for _ in 0..40 {
        let body = json!({ "input": { "text": text } });
        let started = alice.post("/v1/workflows/order/transactions", body).await.is(201);
        ids.push(started.json()["id"].as_str().unwrap().to_owned());
    }
    let claim = |role: &Role, step: &str, limit: usize| {
        role.post("/v1/inbox/claim", json!({ "workflow": "order", "step": step, "limit": limit }))
    };
    // Only packers get any; a refusal reads no record.
    let none = claim(&mallory, "pack", 50).await.is(200).json();
    assert_eq!(none, json!({ "items": [] }));
    claim(&mallory, "nothing", 1).await.problem(404, "not-found");
    claim(&mallory, "pack", 51).await.problem(422, "invalid-input");
    // The result of one claim is bounded in bytes too: claims until there is none take all.
    admin.patch("/v1/users/bob", json!({ "roles": ["packer"] })).await.is(200);
    let mut packed = BTreeSet::new();
    loop {
        let claimed = claim(&bob, "pack", 50).await.is(200);
        assert!(claimed.body.len() < 512 * 1024, "{} bytes", claimed.body.len());
        let items = claimed.json()["items"].as_array().unwrap().clone();
        if items.is_empty() {
            break;
        }
        for item in items {
            let id = item["id"].as_str().unwrap().to_owned();
            assert!(packed.insert(id.clone()), "{id} was claimed twice");
        }
    }
    assert_eq!(packed, ids.iter().cloned().collect());
    // Her own are found, whatever lies before them in the queue.
    for id in &ids[..3] {
        bob.post_empty(&format!("/v1/transactions/{id}/steps/pack")).await.is(200);
    }
    assert_eq!(claim(&mallory, "check", 9).await.is(200).json(), json!({ "items": [] }));
    let own = claim(&alice, "check", 2).await.is(200).json();
    let own: Vec<_> =
        own["items"].as_array().unwrap().iter().map(|item| item["id"].clone()).collect();
    assert_eq!(own.len(), 2);
    let rest = claim(&alice, "check", 2).await.is(200).json();
    assert_eq!(rest["items"].as_array().unwrap().len(), 1, "{rest}");
    assert!(!own.contains(&rest["items"][0]["id"]));
}

#[tokio::test]
async fn waits_beyond_their_room_are_answered_at_once_and_streams_have_room() {
    let server = dev();
    publish(&server, "note", NOTE).await;
    let alice = server.user("alice").await;
    let id = note(&alice, "", None).await;
    let etag = alice.get(&format!("/v1/transactions/{id}")).await.is(200).etag();
    let wait = || {
        let call = alice.get(&format!("/v1/transactions/{id}"));
        call.header("if-none-match", &etag).header("prefer", "wait=50")
    };
    let began = Instant::now();
    let mut waits = JoinSet::new();
    (0..520).for_each(|_| drop(waits.spawn(wait().into_future())));
    // The others are answered at once, as if the request had no preference.
    waits.join_next().await.unwrap().unwrap().is(304);
    wait().await.is(304);
    assert!(began.elapsed() < Duration::from_secs(45), "it waited for {:?}", began.elapsed());
    // A stream of the same user has a slot all the same.
    drop(raw_stream(&server, &alice));
    waits.abort_all();
}

/// Opens `/v1/events` and reads up to its first line.
fn raw_stream(server: &Server, role: &Role) -> TcpStream {
    let mut stream = TcpStream::connect(server.address()).unwrap();
    let head = format!(
        "GET /v1/events HTTP/1.1\r\nhost: a\r\naccept: text/event-stream\r\nauthorization: Bearer {}\r\n\r\n",
        role.token()
    );
    stream.write_all(head.as_bytes()).unwrap();
    let mut read = [0; 12];
    stream.read_exact(&mut read).unwrap();
    assert_eq!(&read, b"HTTP/1.1 200");
    stream
}

/// Resident memory of the server, in MiB.
fn resident_mib(server: &Server) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.process_id())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() / 1024
}

#[tokio::test]
async fn answers_and_streams_that_nobody_reads_take_bounded_memory() {
    let server = dev();
    publish(&server, "note", NOTE).await;
    let alice = server.user("alice").await;
    let text = "x".repeat(55_000);
    for _ in 0..90 {
        note(&alice, &text, None).await;
    }
    let before = resident_mib(&server);
    // Each requests everything, in pages of a megabyte and as a stream from the start on.
    let mut unread = Vec::new();
    for number in 0..100 {
        let mut stream = TcpStream::connect(server.address()).unwrap();
        let (path, accept) = match number % 2 {
            0 => ("/v1/transactions?limit=200", "application/json"),
            _ => ("/v1/events?after=0000000000000000ffff", "text/event-stream"),
        };
        let head = format!(
            "GET {path} HTTP/1.1\r\nhost: a\r\naccept: {accept}\r\nauthorization: Bearer {}\r\n\r\n",
            alice.token()
        );
        stream.write_all(head.as_bytes()).unwrap();
        unread.push(stream);
    }
    // Each gets an answer, or a refusal because too much is unread; the test reads no more of it.
    for stream in &mut unread {
        let mut status = [0; 9];
        stream.read_exact(&mut status).unwrap();
        assert_eq!(&status, b"HTTP/1.1 ");
    }
    let bob = server.user("bob").await;
    for _ in 0..20 {
        bob.get("/v1/transactions").await.is(200);
    }
    let after = resident_mib(&server);
    assert!(after < before + 120, "{before} MiB before, {after} MiB after");
    drop(unread);
}
