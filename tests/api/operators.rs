//! Commands of operators, as roles: stuck transactions repaired, stopped ones, other versions, many
//! at once.

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

use crate::client::Role;
use crate::server::{Server, dev};
use crate::wait::until;

const FIRST: &str = "abide: 1
workflow: rent
first: begin
input: { type: object, properties: { to: { type: string } } }
steps:
  begin: { pivot: true, next: lease }
  lease:
    wait: { for: 10m }
    next: pay
  pay:
    do: [ { transfer: { from: \"world\", to: =data.to, amount: 5, authority: workflow } } ]
    next: hand-over
  hand-over:
    by: [owner]
    timeout: { after: 1d, next: { end: forgotten } }
    next: { end: handed-over }
";

async fn put(admin: &Role, document: &str) -> Value {
    let publish = admin.call("PUT", "/v1/workflows/rent");
    publish.body("application/yaml", document.to_owned()).await.is(201).json()
}

async fn rent(server: &Server) -> (Role, Role, Role) {
    let (admin, alice) = (server.admin().await, server.user("alice").await);
    for account in [
        json!({"id": "world", "asset": "EUR", "floor": null}),
        json!({"id": "landlord", "asset": "EUR"}),
    ] {
        admin.post("/v1/accounts", account).await.is(201);
    }
    put(&admin, FIRST).await;
    let olga = server.user("olga").await;
    admin.patch("/v1/users/olga", json!({"roles": ["abide:operator"]})).await.ok();
    (admin, alice, olga)
}

async fn start(role: &Role, to: &str) -> String {
    let input = json!({"input": {"to": to}});
    let started = role.post("/v1/workflows/rent/transactions", input).await.is(201).json();
    format!("/v1/transactions/{}", started["id"].as_str().unwrap())
}

/// A stuck transaction is found, its data replaced, and it goes on to its end.
#[tokio::test]
async fn a_stuck_transaction_is_repaired_with_other_data() {
    let server = dev();
    let (_, alice, olga) = rent(&server).await;
    let tx = start(&alice, "landlady").await;
    server.advance("10m").await;
    let list = olga.get("/v1/transactions?status=stuck").await.ok().json();
    assert_eq!(list["items"][0]["stuck"]["code"], "unknown-account");
    let data = json!({"data": {"to": "landlord"}});
    alice.post(&format!("{tx}/replace"), data.clone()).await.problem(403, "not-allowed");
    let repaired = olga.post(&format!("{tx}/replace"), data.clone()).await.ok().json();
    assert_eq!(repaired["status"], "waiting");
    assert_eq!(repaired["data"], data["data"]);
    olga.post(&format!("{tx}/replace"), data).await.problem(409, "not-stuck");
    let landlord = server.admin().await.get("/v1/accounts/landlord").await.ok().json();
    assert_eq!(landlord["posted"], "5.00");
}

/// While it is paused nothing happens in it; due timers fire when it is resumed.
#[tokio::test]
async fn a_paused_transaction_waits_for_its_operator() {
    let mut server = dev();
    let (admin, alice, olga) = rent(&server).await;
    let tx = start(&alice, "landlord").await;
    alice.post_empty(&format!("{tx}/pause")).await.problem(403, "not-allowed");
    assert_eq!(olga.post_empty(&format!("{tx}/pause")).await.ok().json()["paused"], true);
    server.advance("10m").await;
    server.crash_and_restart();
    assert_eq!(alice.get(&tx).await.ok().json()["status"], "running");
    assert_eq!(admin.get("/v1/accounts/landlord").await.ok().json()["posted"], "0.00");
    olga.post_empty(&format!("{tx}/resume")).await.ok();
    server.advance("1ms").await;
    let on = alice.get(&tx).await.ok().json();
    assert_eq!((&on["status"], &on["paused"]), (&json!("waiting"), &Value::Null));
    olga.post_empty(&format!("{tx}/pause")).await.ok();
    let step = format!("{tx}/steps/hand-over");
    alice.post_empty(&step).await.problem(409, "paused");
    olga.post_empty(&format!("{tx}/resume")).await.ok();
    alice.post_empty(&step).await.ok();
    olga.post_empty(&format!("{tx}/pause")).await.problem(409, "already-ended");
}

/// No call is made for a paused transaction, not even after a restart; it is when it goes on.
#[tokio::test]
async fn a_paused_transaction_calls_nobody() {
    let mut server = dev();
    let (admin, alice, olga) = rent(&server).await;
    // Nobody listens there: the first attempt fails at once, the second is due within 20 minutes.
    let calling = "abide: 1
workflow: calling
first: ask
steps:
  ask:
    call: { url: 'http://127.0.0.1:9/', retry: { attempts: 2, first: 20m, max: 20m } }
    next: { end: asked }
";
    let publish = admin.call("PUT", "/v1/workflows/calling");
    publish.body("application/yaml", calling).await.is(201);
    let mut ids = Vec::new();
    for _ in 0..2 {
        let started = alice.post_empty("/v1/workflows/calling/transactions").await.is(201).json();
        ids.push(started["id"].as_str().unwrap().to_owned());
    }
    let waits_again = |shown: &Value| {
        let call = &shown["calls"][0];
        call["status"] == "due" && call["attempts"] == 1
    };
    for id in &ids {
        until(&alice, id, waits_again).await;
    }
    let [paused, other] = &ids[..] else { unreachable!("two") };
    let path = format!("/v1/transactions/{paused}");
    olga.post_empty(&format!("{path}/pause")).await.ok();
    server.advance("20m").await;
    until(&alice, other, |shown| shown["status"] == "failed").await;
    server.crash_and_restart();
    assert!(waits_again(&alice.get(&path).await.ok().json()));
    olga.post_empty(&format!("{path}/resume")).await.ok();
    until(&alice, paused, |shown| shown["status"] == "failed").await;
}

/// A transaction is moved to another version, with its steps under other names, or not at all.
#[tokio::test]
async fn a_transaction_moves_to_another_version() {
    let server = dev();
    let (admin, alice, olga) = rent(&server).await;
    let tx = start(&alice, "landlord").await;
    server.advance("10m").await;
    let due = alice.get(&tx).await.ok().json()["open_steps"][0]["expires_at"].clone();
    let second = FIRST
        .replace("hand-over", "give-back")
        .replace("first: begin", "data: { keys: 2 }\nfirst: begin")
        .replace("give-back:\n    by: [owner]", "give-back:\n    by: [owner, role:agent]");
    assert_eq!(put(&admin, &second).await["open"], json!([{"version": 1, "transactions": 1}]));
    let migrate = format!("{tx}/migrate");
    alice.post_empty(&migrate).await.problem(403, "not-allowed");
    olga.post(&migrate, json!({})).await.problem(409, "cannot-migrate");
    olga.post(&migrate, json!({"version": 3})).await.problem(404, "not-found");
    let wrong = json!({"steps": {"nothing": "give-back"}});
    olga.post(&migrate, wrong).await.problem(422, "invalid-input");
    let wrong = json!({"steps": {"hand-over": "lease"}});
    olga.post(&migrate, wrong).await.problem(409, "cannot-migrate");
    let mapped = |dry_run: bool| json!({"steps": {"hand-over": "give-back"}, "dry_run": dry_run});
    let before = alice.get(&tx).await.ok().json();
    let dry = olga.post(&migrate, mapped(true)).await.ok().json();
    assert_eq!(alice.get(&tx).await.ok().json(), before);
    let moved = olga.post(&migrate, mapped(false)).await.ok().json();
    assert_eq!(dry["open_steps"], moved["open_steps"]);
    assert_eq!((&moved["version"], &moved["data"]["keys"]), (&json!(2), &json!(2)));
    assert_eq!(moved["open_steps"][0]["expires_at"], due);
    let agent = server.user("agent").await;
    admin.patch("/v1/users/agent", json!({"roles": ["agent"]})).await.ok();
    let inbox = agent.get("/v1/transactions?inbox=true").await.ok().json();
    assert_eq!(inbox["items"][0]["id"], moved["id"]);
    let open = admin.get("/v1/workflows/rent").await.ok().json()["open"].clone();
    assert_eq!(open, json!([{"version": 2, "transactions": 1}]));
    let given = agent.post_empty(&format!("{tx}/steps/give-back")).await.ok().json();
    assert_eq!(given["status"], "completed");
}

async fn ended(server: &Server, role: &Role, job: &Value) -> Value {
    let path = format!("/v1/transactions/bulk/{}", job["id"].as_str().unwrap());
    for _ in 0..100 {
        server.advance("1ms").await;
        let job = role.get(&path).await.ok().json();
        if job["status"] == "done" {
            return job;
        }
    }
    panic!("the job does not end");
}

/// Many stuck ones try again once the account is there: first in a dry run, in slices, over a
/// crash.
#[tokio::test]
async fn many_transactions_are_repaired_at_once() {
    let mut server = dev();
    let (admin, alice, olga) = rent(&server).await;
    for n in 0..45 {
        start(&alice, if n % 3 == 0 { "landlord" } else { "landlady" }).await;
    }
    server.advance("10m").await;
    let ask = |action: Value, dry_run: bool| json!({"filter": {"workflow": "rent", "status": "stuck"}, "action": action, "dry_run": dry_run});
    let path = "/v1/transactions/bulk";
    alice.post(path, ask(json!("retry"), false)).await.problem(403, "not-allowed");
    for wrong in [json!("explode"), json!({"type": "retry", "reason": "no"}), json!(3)] {
        olga.post(path, ask(wrong, false)).await.problem(422, "invalid-input");
    }
    let dry = olga.post(path, ask(json!("retry"), true)).await.is(202).json();
    let dry = ended(&server, &olga, &dry).await;
    assert_eq!((&dry["matched"], &dry["done"]), (&json!(30), &json!(30)));
    admin.post("/v1/accounts", json!({"id": "landlady", "asset": "EUR"})).await.is(201);
    let job = olga.post(path, ask(json!("retry"), false)).await.is(202).json();
    assert_eq!((&job["status"], &job["examined"]), (&json!("running"), &json!(20)));
    server.crash_and_restart();
    let job = ended(&server, &olga, &job).await;
    assert_eq!(
        (&job["matched"], &job["done"], &job["failed"]),
        (&json!(30), &json!(30), &json!(0))
    );
    assert_eq!(admin.get("/v1/accounts/landlady").await.ok().json()["posted"], "150.00");
    assert!(
        olga.get("/v1/transactions?status=stuck").await.ok().json()["items"]
            .as_array()
            .unwrap()
            .is_empty()
    );
    // The job reports the transactions that it cannot change, and changes the others.
    let cancel =
        json!({"filter": {"workflow": "rent"}, "action": {"type": "cancel", "reason": "x"}});
    let job = olga.post(path, cancel).await.is(202).json();
    let job = ended(&server, &olga, &job).await;
    assert_eq!((&job["matched"], &job["failed"]), (&json!(45), &json!(45)));
    assert_eq!(job["failures"][0]["code"], "past-pivot");
    // Those that have ended meanwhile are no failures: they need no cancel.
    server.advance("1d").await;
    let olga = server.again("olga").await;
    for action in [json!("cancel"), json!("retry"), json!("pause"), json!("migrate")] {
        for dry_run in [true, false] {
            let job = olga.post(path, ask_all(&action, dry_run)).await.is(202).json();
            let job = ended(&server, &olga, &job).await;
            let counts = ["matched", "skipped", "done", "failed"].map(|name| &job[name]);
            assert_eq!(counts, [&json!(45), &json!(45), &json!(0), &json!(0)], "{action}");
            assert_eq!(job["failures"], json!([]));
        }
    }
}

fn ask_all(action: &Value, dry_run: bool) -> Value {
    json!({"filter": {"workflow": "rent"}, "action": action, "dry_run": dry_run})
}

/// A service whose answers the test sends by hand.
async fn held() -> (String, mpsc::Receiver<TcpStream>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let (tell, asked) = mpsc::channel(10);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tell.send(stream).await.unwrap();
        }
    });
    (address, asked)
}

async fn answer(mut stream: TcpStream) {
    let mut bytes = Vec::new();
    while !bytes.windows(4).any(|four| four == b"\r\n\r\n") {
        assert_ne!(stream.read_buf(&mut bytes).await.unwrap(), 0);
    }
    let answer = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
    stream.write_all(answer.as_bytes()).await.unwrap();
}

async fn calling(server: &Server, address: &str) -> (Role, Role, Role, String) {
    let (admin, alice, olga) = rent(server).await;
    let document = format!(
        "abide: 1\nworkflow: calling\nfirst: ask\nsteps:\n  ask:\n    call: {{ url: \
         'http://{address}/', timeout: 60s }}\n    next: more\n  more:\n    call: {{ url: \
         'http://{address}/more', timeout: 60s }}\n    next: {{ end: asked }}\n"
    );
    let publish = admin.call("PUT", "/v1/workflows/calling");
    publish.body("application/yaml", document.clone()).await.is(201);
    let renamed = document.replace("ask:", "beg:").replace("first: ask", "first: beg");
    let renamed = renamed.replace("asked", "begged").replace("more:", "again:");
    let renamed = renamed.replace("next: more", "next: again");
    (admin, alice, olga, renamed)
}

/// While it is paused the answer to a call under way is accepted, and no call is made.
#[tokio::test]
async fn a_pause_takes_the_answer_that_was_on_its_way() {
    let server = dev();
    let (address, mut asked) = held().await;
    let (_, alice, olga, _) = calling(&server, &address).await;
    let started = alice.post_empty("/v1/workflows/calling/transactions").await.is(201).json();
    let id = started["id"].as_str().unwrap();
    let stream = asked.recv().await.unwrap();
    let path = format!("/v1/transactions/{id}");
    olga.post_empty(&format!("{path}/pause")).await.ok();
    answer(stream).await;
    let shown = until(&alice, id, |shown| shown["calls"][0]["status"] == "done").await;
    assert_eq!((&shown["calls"][1]["status"], &shown["paused"]), (&json!("due"), &json!(true)));
    server.advance("20m").await;
    assert!(asked.try_recv().is_err());
    olga.post_empty(&format!("{path}/resume")).await.ok();
    answer(asked.recv().await.unwrap()).await;
    until(&alice, id, |shown| shown["status"] == "completed").await;
}

/// A call under way moves with its step to another version: its answer is accepted there.
#[tokio::test]
async fn a_transaction_moves_with_a_call_on_its_way() {
    let server = dev();
    let (address, mut asked) = held().await;
    let (admin, alice, olga, renamed) = calling(&server, &address).await;
    let started = alice.post_empty("/v1/workflows/calling/transactions").await.is(201).json();
    let id = started["id"].as_str().unwrap();
    let path = format!("/v1/transactions/{id}");
    let stream = asked.recv().await.unwrap();
    let publish = admin.call("PUT", "/v1/workflows/calling");
    publish.body("application/yaml", renamed).await.is(201);
    let before = alice.get(&path).await.ok().json();
    let migrate = format!("{path}/migrate");
    olga.post(&migrate, json!({})).await.problem(409, "cannot-migrate");
    let mapped = |dry_run: bool| json!({"steps": {"ask": "beg"}, "dry_run": dry_run});
    olga.post(&migrate, mapped(true)).await.ok();
    assert_eq!(alice.get(&path).await.ok().json(), before);
    let moved = olga.post(&migrate, mapped(false)).await.ok().json();
    assert_eq!((&moved["version"], &moved["calls"][0]["step"]), (&json!(2), &json!("beg")));
    answer(stream).await;
    answer(asked.recv().await.unwrap()).await;
    let ended = until(&alice, id, |shown| shown["status"] == "completed").await;
    assert_eq!(ended["outcome"], "begged");
}
