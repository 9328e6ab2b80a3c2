//! Transactions, as roles: a transfer with its code, its approval, its refusals and its ways out.

use std::future::IntoFuture as _;

use serde_json::{Value, json};

use crate::client::Role;
use crate::server::{Server, dev};

/// A bank: a world account, fees, and alice with a thousand.
async fn bank(server: &Server) -> (Role, Role) {
    let admin = server.admin().await;
    let alice = server.user("alice").await;
    server.user("bob").await;
    let roles = json!({"roles": ["customer"]});
    admin.call("PATCH", "/v1/users/alice").json(&roles).await.ok();
    for account in [
        json!({"id": "world", "asset": "EUR", "floor": null}),
        json!({"id": "bank:fees", "asset": "EUR"}),
        json!({"id": "alice:main", "asset": "EUR", "owner": "alice"}),
        json!({"id": "bob:main", "asset": "EUR", "owner": "bob"}),
    ] {
        admin.post("/v1/accounts", account).await.is(201);
    }
    let funds = json!({"from": "world", "to": "alice:main", "amount": "100000.00"});
    admin.post("/v1/transfers", funds).await.is(201);
    let document = include_str!("../../data/workflows/transfer.yaml");
    let publish = admin.call("PUT", "/v1/workflows/transfer");
    publish.body("application/yaml", document.to_owned()).await.is(201);
    (admin, alice)
}

async fn start(role: &Role) -> String {
    let started = role.post_empty("/v1/workflows/transfer/transactions").await.is(201).json();
    started["id"].as_str().unwrap().to_owned()
}

fn step(id: &str, step: &str) -> String {
    format!("/v1/transactions/{id}/steps/{step}")
}

fn details(amount: &str) -> Value {
    json!({"from": "alice:main", "to": "bob:main", "amount": amount})
}

async fn code(admin: &Role, id: &str) -> Value {
    let codes = admin.get(&format!("/v1/dev/challenges/{id}")).await.ok().json();
    json!({"code": codes["otp"]})
}

async fn balance(admin: &Role, account: &str) -> (String, String) {
    let account = admin.get(&format!("/v1/accounts/{account}")).await.ok().json();
    let text = |name: &str| account[name].as_str().unwrap().to_owned();
    (text("posted"), text("held"))
}

/// Contract 1, 2, 5: a transfer continues after kill -9 between any two of its steps, and adds up.
#[tokio::test]
async fn a_transfer_goes_on_after_kill_9_at_every_step() {
    let mut server = dev();
    let (admin, alice) = bank(&server).await;
    let id = start(&alice).await;
    server.crash_and_restart();
    let held = alice.post(&step(&id, "details"), details("250.00")).await.ok().json();
    assert_eq!(held["holds"][0]["amount"], "251.25");
    server.crash_and_restart();
    assert_eq!(balance(&admin, "alice:main").await, ("100000.00".into(), "251.25".into()));
    let code = code(&admin, &id).await;
    let done = alice.post(&step(&id, "confirm"), code).await.ok().json();
    assert_eq!((&done["status"], &done["outcome"]), (&json!("completed"), &json!("settled")));
    server.crash_and_restart();
    assert_eq!(balance(&admin, "alice:main").await, ("99748.75".into(), "0.00".into()));
    assert_eq!(balance(&admin, "bob:main").await.0, "250.00");
    assert_eq!(balance(&admin, "bank:fees").await.0, "1.25");
    let check = admin.get("/v1/ledger/check").await.ok().json();
    assert_eq!(check["assets"][0]["posted"], "0.00");
}

/// 2.3.1: steps skipped, repeated and reordered are refused, and the refusal names the open ones.
#[tokio::test]
async fn a_step_that_is_not_open_is_refused_and_changes_nothing() {
    let server = dev();
    let (_, alice) = bank(&server).await;
    let id = start(&alice).await;
    let path = format!("/v1/transactions/{id}");
    let before = alice.get(&path).await.ok();
    for early in ["confirm", "approve", "settle", "nothing"] {
        let answer = alice.post(&step(&id, early), json!({"code": "123456"})).await;
        let problem = answer.problem(409, "step-not-open");
        assert_eq!(problem.json()["open_steps"], json!(["details"]));
    }
    let after = alice.get(&path).await.ok();
    assert_eq!(before.etag(), after.etag());
    assert_eq!(before.json(), after.json());
}

/// 2.3.2: amounts that are none, and accounts of others.
#[tokio::test]
async fn what_a_guard_or_an_effect_refuses_changes_nothing() {
    let server = dev();
    let (admin, alice) = bank(&server).await;
    let id = start(&alice).await;
    for (input, code) in [
        (json!({"from": "alice:main", "to": "alice:main", "amount": "1.00"}), "same-account"),
        (json!({"from": "bob:main", "to": "alice:main", "amount": "1.00"}), "not-your-account"),
        (details("1000000.00"), "insufficient-funds"),
        (details("1.001"), "amount-not-exact"),
        (json!({"from": "alice:main", "to": "nobody:x", "amount": "1.00"}), "unknown-payee"),
        (json!({"from": "alice:main"}), "invalid-input"),
        (json!({"from": "alice:main", "to": "bob:main", "amount": 1.5}), "invalid-input"),
        (
            json!({"from": "alice:main", "to": "bob:main", "amount": "1.00", "owner": "bob"}),
            "invalid-input",
        ),
    ] {
        let answer = alice.post(&step(&id, "details"), input.clone()).await;
        assert!((400..500).contains(&answer.status), "{input}: {answer}");
        assert_eq!(answer.json()["code"], code, "{input}");
    }
    assert_eq!(balance(&admin, "alice:main").await, ("100000.00".into(), "0.00".into()));
}

/// 7.5.1, 7.5.3: a code is bound to its transaction, its attempts are counted over a restart, and
/// three wrong ones release the hold.
#[tokio::test]
async fn three_wrong_codes_release_the_hold_also_over_a_restart() {
    let mut server = dev();
    let (admin, alice) = bank(&server).await;
    let (id, other) = (start(&alice).await, start(&alice).await);
    alice.post(&step(&id, "details"), details("250.00")).await.ok();
    alice.post(&step(&other, "details"), details("250.00")).await.ok();
    let others = code(&admin, &other).await;
    assert_ne!(others, code(&admin, &id).await);
    alice.post(&step(&id, "confirm"), others).await.problem(422, "wrong-code");
    server.crash_and_restart();
    alice.post(&step(&id, "confirm"), json!({"code": "000000"})).await.problem(422, "wrong-code");
    alice.post(&step(&id, "confirm"), json!({"code": "000001"})).await.problem(422, "wrong-code");
    let ended = alice.get(&format!("/v1/transactions/{id}")).await.ok().json();
    assert_eq!(
        (&ended["status"], &ended["outcome"]),
        (&json!("cancelled"), &json!("code-exhausted"))
    );
    assert_eq!(balance(&admin, "alice:main").await.1, "251.25", "only the other's is held");
}

/// 2.3.5: the maker is not the checker; above 50 000.00 there are two of them.
#[tokio::test]
async fn large_transfers_need_two_managers_who_are_not_the_owner() {
    let server = dev();
    let (admin, alice) = bank(&server).await;
    let mut managers = Vec::new();
    for name in ["mia", "max"] {
        managers.push(server.user(name).await);
        let path = format!("/v1/users/{name}");
        admin.call("PATCH", &path).json(&json!({"roles": ["manager"]})).await.ok();
    }
    let both = json!({"roles": ["customer", "manager"]});
    admin.call("PATCH", "/v1/users/alice").json(&both).await.ok();
    let id = start(&alice).await;
    alice.post(&step(&id, "details"), details("60000.00")).await.ok();
    let code = code(&admin, &id).await;
    alice.post(&step(&id, "confirm"), code).await.ok();
    let approve = step(&id, "approve");
    assert_eq!(alice.post_empty(&approve).await.json()["code"], "four-eyes");
    let inbox = managers[0].get("/v1/transactions?inbox=true").await.ok().json();
    assert_eq!(inbox["items"][0]["id"], id.as_str());
    assert_eq!(managers[0].post_empty(&approve).await.ok().json()["status"], "waiting");
    managers[0].post_empty(&approve).await.problem(409, "already-counted");
    assert_eq!(managers[1].post_empty(&approve).await.ok().json()["status"], "completed");
    assert_eq!(balance(&admin, "bob:main").await.0, "60000.00");
}

/// Contract 6: timers that fell due while the server was down fire first, and a late command loses.
#[tokio::test]
async fn a_deadline_releases_the_hold_and_a_late_code_loses() {
    let server = dev();
    let (admin, alice) = bank(&server).await;
    let id = start(&alice).await;
    alice.post(&step(&id, "details"), details("250.00")).await.ok();
    let code = code(&admin, &id).await;
    server.advance("15m").await;
    let late = alice.post(&step(&id, "confirm"), code).await;
    late.problem(409, "step-not-open");
    let ended = alice.get(&format!("/v1/transactions/{id}")).await.ok().json();
    assert_eq!(ended["outcome"], "not-confirmed");
    assert_eq!(balance(&admin, "alice:main").await, ("100000.00".into(), "0.00".into()));
}

/// Contract 4: one effect and one answer for fifty requests with one key.
#[tokio::test]
async fn fifty_identical_requests_have_one_effect_and_one_answer() {
    let server = dev();
    let (admin, alice) = bank(&server).await;
    let id = start(&alice).await;
    let mut tasks = Vec::new();
    for _ in 0..50 {
        let call = alice.call("POST", &step(&id, "details")).json(&details("250.00"));
        tasks.push(tokio::spawn(call.key("one").into_future()));
    }
    let mut bodies = Vec::new();
    for task in tasks {
        bodies.push(task.await.unwrap().ok().text());
    }
    bodies.dedup();
    assert_eq!(bodies.len(), 1);
    assert_eq!(balance(&admin, "alice:main").await.1, "251.25");
}

/// 2.3.3, 15.4.2: fifty parallel holds on one balance never exceed it.
#[tokio::test]
async fn parallel_holds_never_exceed_the_balance() {
    let server = dev();
    let (admin, alice) = bank(&server).await;
    let mut ids = Vec::new();
    for _ in 0..20 {
        ids.push(start(&alice).await);
    }
    let calls = ids.iter().map(|id| {
        let call = alice.call("POST", &step(id, "details")).json(&details("9950.00"));
        tokio::spawn(call.into_future())
    });
    let tasks: Vec<_> = calls.collect();
    let mut done = 0;
    for task in tasks {
        let answer = task.await.unwrap();
        match answer.status {
            200 => done += 1,
            _ => drop(answer.problem(422, "insufficient-funds")),
        }
    }
    assert_eq!(done, 10);
    assert_eq!(balance(&admin, "alice:main").await, ("100000.00".into(), "99997.50".into()));
}

/// A cancel gives everything back; a second one is refused; a stranger knows of nothing.
#[tokio::test]
async fn a_cancel_undoes_and_strangers_know_of_nothing() {
    let server = dev();
    let (admin, alice) = bank(&server).await;
    let mallory = server.user("mallory").await;
    let id = start(&alice).await;
    alice.post(&step(&id, "details"), details("250.00")).await.ok();
    let path = format!("/v1/transactions/{id}");
    for call in [mallory.get(&path), mallory.post_empty(&format!("{path}/cancel"))] {
        call.await.problem(404, "not-found");
    }
    let body = json!({"reason": "ordered twice"});
    let ended = alice.post(&format!("{path}/cancel"), body).await.ok().json();
    assert_eq!((&ended["status"], &ended["outcome"]), (&json!("cancelled"), &json!("cancelled")));
    alice.post_empty(&format!("{path}/cancel")).await.problem(409, "already-ended");
    assert_eq!(balance(&admin, "alice:main").await, ("100000.00".into(), "0.00".into()));
}

/// A reference is one transaction, and stays so.
#[tokio::test]
async fn a_reference_finds_what_was_started_with_it() {
    let server = dev();
    let (_, alice) = bank(&server).await;
    let path = "/v1/workflows/transfer/transactions";
    let first = alice.post(path, json!({"reference": "r1"})).await.is(201).json();
    let again = alice.post(path, json!({"reference": "r1"})).await.is(200).json();
    assert_eq!(first["id"], again["id"]);
    let listed = alice.get("/v1/transactions?workflow=transfer&reference=r1").await.ok().json();
    assert_eq!(listed["items"][0]["id"], first["id"]);
}
