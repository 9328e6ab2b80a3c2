//! Large answers under an Idempotency-Key: kept small, replayed byte for byte.

use abide::store::durable::{Durable, Options};
use abide::store::{KeyRange, Order, Store as _, View};
use serde_json::{Value, json};

use crate::client::{Answer, Call, Role};
use crate::server::{Server, dev};

/// Largest row that may stay of one answer, in bytes: far less than these answers show.
const ROW_BYTES_MAX: usize = 4 * 1024;

/// Prefix of all rows of answers.
const ANSWERS: &[u8] = &[0x60];

const LARGE: &str = r"
abide: 1
workflow: large
input:
  type: object
  properties: { text: { type: string, maxLength: 60000 }, secret: { type: string, maxLength: 9000 } }
  required: [text, secret]
data: { text: =input.text, secret: =input.secret, n: 0 }
restricted: { secret: [role:officer] }
cancel: { by: [owner] }
first: work
steps:
  work:
    by: [owner, role:officer]
    claim: 1h
    max_submissions: 50
    do:
      - set: { n: =data.n + 1 }
    next:
      - { when: data.n > 40, next: { end: done } }
      - { next: work }
";

fn text() -> String {
    "x".repeat(20_000)
}

/// Requests for each kind of large answer.
struct Calls {
    calls: Vec<(&'static str, Call)>,
}

impl Calls {
    fn add(&mut self, name: &'static str, call: Call) {
        self.calls.push((name, call.key(&name.replace(' ', "-"))));
    }
}

async fn prepare(server: &Server) -> (Role, Role, Role, Role, String) {
    let admin = server.admin().await;
    let publish = admin.call("PUT", "/v1/workflows/large");
    publish.body("application/yaml", LARGE.to_owned()).await.is(201);
    let alice = server.user("alice").await;
    server.user("olga").await;
    let roles = json!({"roles": ["officer", "abide:operator"]});
    admin.patch("/v1/users/olga", roles).await.ok();
    let olga = server.again("olga").await;
    let gateway = server.gateway().await;
    for account in [
        json!({"id": "world", "asset": "EUR", "floor": null}),
        json!({"id": "alice:main", "asset": "EUR", "owner": "alice"}),
    ] {
        admin.post("/v1/accounts", account).await.is(201);
    }
    let body = json!({"input": {"text": text(), "secret": "s".repeat(8000)}, "reference": "first"});
    let started = alice.post("/v1/workflows/large/transactions", body).await.is(201).json();
    let id = started["id"].as_str().unwrap().to_owned();
    (admin, alice, olga, gateway, id)
}

/// One call for each kind of answer over the threshold.
fn large_calls(
    (admin, alice, olga, gateway, id): &(Role, Role, Role, Role, String),
) -> Vec<(&'static str, Call)> {
    let mut all = Calls { calls: Vec::new() };
    let start = |reference: &str| {
        let input = json!({"text": text(), "secret": "s".repeat(8000)});
        let body = json!({"input": input, "reference": reference});
        alice.post("/v1/workflows/large/transactions", body)
    };
    let tx = format!("/v1/transactions/{id}");
    all.add("a start", start("second"));
    all.add("a repeated start", start("first"));
    all.add("a claim", olga.post_empty(&format!("{tx}/steps/work/claim")));
    all.add("the same claim again", olga.post_empty(&format!("{tx}/steps/work/claim")));
    all.add("a release", olga.delete(&format!("{tx}/steps/work/claim")));
    all.add("a step", alice.post_empty(&format!("{tx}/steps/work")));
    all.add("a step of one who sees all", olga.post_empty(&format!("{tx}/steps/work")));
    all.add("a pause", olga.post_empty(&format!("{tx}/pause")));
    all.add("a resumption", olga.post_empty(&format!("{tx}/resume")));
    all.add("a migration", olga.post(&format!("{tx}/migrate"), json!({"dry_run": true})));
    let claim = json!({"workflow": "large", "step": "work", "limit": 10, "for": "1m"});
    all.add("work from the queue", olga.post("/v1/inbox/claim", claim));
    all.add("session data", alice.put_data(json!({"text": text()})));
    all.add("patched session data", alice.patch_data(json!({"more": 1})));
    all.add("the same session data", alice.patch_data(json!({"more": 1})));
    all.add("user data", alice.put("/v1/users/me/data", json!({"text": text()})));
    let attributes = json!({"attributes": {"a": "y".repeat(3000)}});
    all.add("a user", admin.patch("/v1/users/alice", attributes.clone()));
    all.add("the same user", admin.patch("/v1/users/alice", attributes));
    let stored = json!({"data": {"text": text()}, "idle": "1h"});
    all.add("a stored session", gateway.put("/v1/sessions/by-key/k", stored));
    let value = json!({"text": "v".repeat(9000)});
    all.add("a value", admin.put("/v1/values/texts/long", value.clone()));
    all.add("the same value", admin.put("/v1/values/texts/long", value));
    let transfer = |n: u32| {
        let note = format!("{n} {}", "n".repeat(400));
        json!({"id": format!("t{n}"), "from": "world", "to": "alice:main", "amount": "1.00", "note": note})
    };
    let transfers = json!({"transfers": (0..20).map(transfer).collect::<Vec<_>>()});
    all.add("transfers", admin.post("/v1/transfers", transfers.clone()));
    all.add("the same transfers", admin.post("/v1/transfers", transfers));
    all.calls
}

/// Changes everything that the answers show.
async fn change_it_all((admin, alice, olga, gateway, id): &(Role, Role, Role, Role, String)) {
    let step = format!("/v1/transactions/{id}/steps/work");
    alice.put_data(json!({"n": 1})).await.ok();
    alice.put("/v1/users/me/data", json!({"n": 1})).await.ok();
    admin.patch("/v1/users/alice", json!({"attributes": {"a": null}})).await.ok();
    gateway.delete("/v1/sessions/by-key/k").await.is(204);
    admin.put("/v1/values/texts/long", json!(1)).await.ok();
    admin.post_empty("/v1/transfers/t3/reverse").await.is(201);
    // The actor that could read all can no more, and the other way round.
    olga.post_empty(&step).await.ok();
    admin.patch("/v1/users/olga", json!({"roles": ["abide:operator"]})).await.ok();
    admin.patch("/v1/users/alice", json!({"roles": ["officer"]})).await.ok();
}

#[track_caller]
fn replays(name: &str, again: &Answer, first: &Answer) {
    assert_eq!(again.header("idempotency-replayed"), "true", "{name}: {again}");
    assert_eq!(again.first_answer(), first.first_answer(), "{name}");
}

/// The bytes of each row that is kept of an answer.
fn rows(server: &Server) -> Vec<usize> {
    let store = Durable::open(Options::new(server.data_dir())).unwrap();
    let (mut range, mut sizes) = (KeyRange::prefix(ANSWERS), Vec::new());
    loop {
        let page = store.scan(View::Committed, &range, Order::Ascending, 200).unwrap();
        sizes.extend(page.rows.iter().map(|row| row.value.len()));
        match page.next {
            Some(next) => range = range.after(next),
            None => break,
        }
    }
    store.close().unwrap();
    sizes
}

/// Every kind of answer over the threshold is the first one byte for byte, whatever happened to the
/// records that it shows and to the rights of its reader, also after kill -9; and little of it is
/// stored.
#[tokio::test]
async fn large_answers_are_kept_small_and_replayed_byte_for_byte() {
    let mut server = dev();
    let roles = prepare(&server).await;
    let calls = large_calls(&roles);
    let mut firsts = Vec::new();
    for (name, call) in &calls {
        let first = call.clone().await.ok();
        assert!(first.body.len() > ROW_BYTES_MAX / 2, "{name} is not large: {first}");
        assert_eq!(first.header("idempotency-replayed"), "", "{name}");
        firsts.push(first);
    }
    for ((name, call), first) in calls.iter().zip(&firsts) {
        replays(name, &call.clone().await, first);
    }
    change_it_all(&roles).await;
    for ((name, call), first) in calls.iter().zip(&firsts) {
        replays(name, &call.clone().await, first);
    }
    server.crash_and_restart();
    for ((name, call), first) in calls.iter().zip(&firsts) {
        replays(name, &call.clone().await, first);
    }
    server.kill_9();
    let rows = rows(&server);
    assert!(rows.len() >= calls.len(), "{rows:?}");
    assert!(rows.iter().all(|bytes| *bytes <= ROW_BYTES_MAX), "{rows:?}");
    server.start_again();
    replays(calls[1].0, &calls[1].1.clone().await, &firsts[1]);
}

/// A request that changes nothing, sent again and again under new keys, leaves a few hundred bytes
/// each time, however much it shows.
#[tokio::test]
async fn a_request_that_changes_nothing_leaves_little() {
    let mut server = dev();
    let (_, alice, ..) = prepare(&server).await;
    let input: Value = json!({"text": text(), "secret": "s".repeat(8000)});
    let body = json!({"input": input, "reference": "first"});
    for n in 0..20 {
        let again = alice.post("/v1/workflows/large/transactions", body.clone());
        again.key(&format!("again {n}").replace(' ', "-")).await.is(200);
        // A refusal is kept too.
        let refused = alice.post_empty("/v1/transactions/tx_00000000000000000000000000/cancel");
        refused.key(&format!("refused-{n}")).await.is(404);
    }
    server.kill_9();
    let rows = rows(&server);
    assert_eq!(rows.len(), 20);
    assert!(rows.iter().all(|bytes| *bytes < 512), "{rows:?}");
    server.start_again();
}

/// A large answer whose history was retired is gone, and nothing is executed again.
#[tokio::test]
async fn a_large_answer_whose_history_was_retired_is_gone() {
    let mut server = dev();
    let alice = server.user("alice").await;
    let put = |n: u32| alice.put_data(json!({"n": n, "text": text()}));
    let first = put(1).key("first").await.ok();
    let at: u64 = first.etag().trim_matches('"').parse().unwrap();
    let last = put(2).key("last").await.ok();
    assert!(server.terminate().success());
    crate::retention::cut(&server, abide::types::Revision::new(at + 1));
    server.start_again();
    put(1).key("first").await.problem(410, "answer-gone");
    assert_eq!(alice.data().await.json()["n"], 2);
    put(3).key("first").await.problem(422, "idempotency-key-reused");
    // An unchanged record needs no history.
    replays("last", &put(2).key("last").await, &last);
}
