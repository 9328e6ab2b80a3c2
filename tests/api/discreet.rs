//! Data that answers must not reveal: hidden data by way of errors, of stuck transactions and of a
//! migration, claims that have lapsed, secrets by way of a reference.

use serde_json::{Value, json};

use crate::client::Role;
use crate::server::{Server, dev};

const RATED: &str = r#"abide: 1
workflow: rated
start: { by: [role:customer] }
restricted: { risk: [role:officer] }
data: { risk: null }
input: { type: object, properties: { pin: { type: string, writeOnly: true } } }
first: rate
steps:
  rate:
    by: [role:officer]
    claim: 10m
    input: { type: object, required: [risk], properties: { risk: { type: string } } }
    do: [ { set: { risk: =input.risk } } ]
    next: ask
  ask:
    by: [owner, role:officer]
    guard: [ { that: 'amount(data.risk) > amount("0")', code: no-risk, message: There is none. } ]
    next: { end: done }
"#;

async fn with_role(server: &Server, name: &str, role: &str) -> Role {
    let user = server.user(name).await;
    let roles = json!({"roles": [role]});
    server.admin().await.patch(&format!("/v1/users/{name}"), roles).await.ok();
    user
}

async fn publish(admin: &Role, name: &str, document: &str) {
    let publish = admin.call("PUT", &format!("/v1/workflows/{name}"));
    publish.body("application/yaml", document.to_owned()).await.is(201);
}

async fn started(role: &Role, workflow: &str, body: Value) -> String {
    let path = format!("/v1/workflows/{workflow}/transactions");
    let id = role.post(&path, body).await.is(201).json()["id"].as_str().unwrap().to_owned();
    format!("/v1/transactions/{id}")
}

/// The reason of a failed expression may quote values that it read: only readers from whom nothing
/// is hidden get it.
#[tokio::test]
async fn an_expression_that_fails_quotes_nothing_that_is_hidden() {
    let server = dev();
    let admin = server.admin().await;
    publish(&admin, "rated", RATED).await;
    let alice = with_role(&server, "alice", "customer").await;
    let olga = with_role(&server, "olga", "officer").await;
    let tx = started(&alice, "rated", json!({})).await;
    olga.post(&format!("{tx}/steps/rate"), json!({"risk": "VERY-HIGH"})).await.ok();
    let ask = format!("{tx}/steps/ask");
    let told = alice.post_empty(&ask).await.problem(422, "expression-failed").json();
    assert!(!told.to_string().contains("VERY-HIGH"), "{told}");
    let told = olga.post_empty(&ask).await.problem(422, "expression-failed").json();
    assert!(told["detail"].as_str().unwrap().contains("VERY-HIGH"), "{told}");
}

/// A transaction that is stuck after the pivot shows the reason to operators, and to others only
/// that it is stuck.
#[tokio::test]
async fn what_is_stuck_quotes_nothing_that_is_hidden() {
    let server = dev();
    let admin = server.admin().await;
    let document = r"abide: 1
workflow: late
start: { by: [role:customer] }
restricted: { risk: [role:officer] }
data: { risk: VERY-HIGH }
first: point
steps:
  point: { pivot: true, next: rest }
  rest: { wait: { for: 1h }, do: [ { set: { fee: '=amount(data.risk)' } } ], next: { end: done } }
";
    publish(&admin, "late", document).await;
    let alice = with_role(&server, "alice", "customer").await;
    // Longer than a session lives without being used.
    let tx = started(&alice, "late", json!({})).await;
    for _ in 0..4 {
        admin.post("/v1/dev/clock", json!({"advance": "15m"})).await.ok();
        alice.get("/v1/sessions/current").await.ok();
    }
    let seen = alice.get(&tx).await.ok().json();
    assert_eq!(
        (&seen["status"], &seen["stuck"]["code"]),
        (&json!("stuck"), &json!("expression-failed"))
    );
    let history = alice.get(&format!("{tx}/history")).await.ok().json();
    assert!(history.to_string().contains("abide.transaction.stuck"), "{history}");
    for told in [seen, history] {
        assert!(!told.to_string().contains("VERY-HIGH"), "{told}");
    }
    let seen = admin.get(&tx).await.ok().json();
    assert!(seen["stuck"]["message"].as_str().unwrap().contains("VERY-HIGH"), "{seen}");
}

/// Data that a new version adds is as hidden in the answer and the events of the migration.
#[tokio::test]
async fn a_migration_tells_no_default_that_is_hidden() {
    let server = dev();
    let admin = server.admin().await;
    let steps = "first: rest\nsteps: { rest: { by: [owner], next: { end: done } } }\n";
    let head = "abide: 1\nworkflow: moved\nstart: { by: [role:customer] }\n";
    publish(&admin, "moved", &format!("{head}{steps}")).await;
    let alice = with_role(&server, "alice", "customer").await;
    let tx = started(&alice, "moved", json!({})).await;
    let more = "restricted: { risk: [role:officer] }\ndata: { note: SEEN, risk: VERY-HIGH }\n";
    publish(&admin, "moved", &format!("{head}{more}{steps}")).await;
    admin.post(&format!("{tx}/migrate"), json!({})).await.ok();
    let history = format!("{tx}/history");
    let told = alice.get(&history).await.ok().json().to_string();
    assert!(told.contains("SEEN") && !told.contains("VERY-HIGH"), "{told}");
    let told = admin.get(&history).await.ok().json().to_string();
    assert!(told.contains("VERY-HIGH"), "{told}");
}

/// A claim lapses by itself, for readers too.
#[tokio::test]
async fn a_claim_that_has_lapsed_is_shown_as_none() {
    let server = dev();
    let admin = server.admin().await;
    publish(&admin, "rated", RATED).await;
    let alice = with_role(&server, "alice", "customer").await;
    let olga = with_role(&server, "olga", "officer").await;
    let tx = started(&alice, "rated", json!({})).await;
    olga.post_empty(&format!("{tx}/steps/rate/claim")).await.ok();
    let by = |shown: Value| shown["open_steps"][0]["claimed_by"].clone();
    assert_eq!(by(alice.get(&tx).await.ok().json()), "olga");
    admin.post("/v1/dev/clock", json!({"advance": "10m"})).await.ok();
    assert_eq!(by(alice.get(&tx).await.ok().json()), Value::Null);
}

/// The server keeps not even a hash of a secret in a start's input to recognise the start again.
#[tokio::test]
async fn a_reference_does_not_remember_secrets() {
    let server = dev();
    let admin = server.admin().await;
    publish(&admin, "rated", RATED).await;
    let alice = with_role(&server, "alice", "customer").await;
    let body = |pin: &str| json!({"input": {"pin": pin}, "reference": "once"});
    let tx = started(&alice, "rated", body("1234")).await;
    let again = alice.post("/v1/workflows/rated/transactions", body("4321")).await.ok().json();
    assert_eq!(format!("/v1/transactions/{}", again["id"].as_str().unwrap()), tx);
}

/// A transfer that somebody has reversed is not given back twice, and does not block a cancel.
#[tokio::test]
async fn what_was_reversed_by_hand_is_undone_already() {
    let server = dev();
    let admin = server.admin().await;
    let alice = with_role(&server, "alice", "customer").await;
    for account in [
        json!({"id": "world", "asset": "EUR", "floor": null}),
        json!({"id": "shop", "asset": "EUR"}),
        json!({"id": "alice:main", "asset": "EUR", "owner": "alice"}),
    ] {
        admin.post("/v1/accounts", account).await.is(201);
    }
    let funds = json!({"from": "world", "to": "alice:main", "amount": "10.00"});
    admin.post("/v1/transfers", funds).await.is(201);
    let document = r#"abide: 1
workflow: bought
start: { by: [role:customer] }
first: pay
steps:
  pay:
    do:
      - transfer: { from: "alice:main", to: shop, amount: "1.00" }
      - transfer: { from: "alice:main", to: shop, amount: "2.00" }
    next: wait
  wait: { by: [owner], next: { end: done } }
"#;
    publish(&admin, "bought", document).await;
    let tx = started(&alice, "bought", json!({})).await;
    let entries = admin.get("/v1/accounts/shop/entries").await.ok().json();
    let last = entries["items"][0]["transfer"].as_str().unwrap().to_owned();
    admin.post_empty(&format!("/v1/transfers/{last}/reverse")).await.is(201);
    let over = alice.post_empty(&format!("{tx}/cancel")).await.ok().json();
    assert_eq!(over["status"], "cancelled", "{over}");
    let account = admin.get("/v1/accounts/alice:main").await.ok().json();
    assert_eq!((&account["posted"], &account["held"]), (&json!("10.00"), &json!("0.00")));
}

/// Hidden data of another transaction is in no refusal of the one that leads to it.
#[tokio::test]
async fn a_start_that_fails_quotes_nothing_that_is_hidden_there() {
    let server = dev();
    let admin = server.admin().await;
    let child = r"abide: 1
workflow: child
start: { by: [workflow:parent] }
restricted: { risk: [role:officer] }
data: { risk: VERY-HIGH }
first: rate
steps:
  rate: { do: [ { set: { fee: '=amount(data.risk)' } } ], next: { end: done } }
";
    let parent = r"abide: 1
workflow: parent
start: { by: [role:customer] }
first: ask
steps:
  ask: { by: [owner], do: [ { start: { workflow: child, reference: =tx.id } } ], next: { end: done } }
";
    publish(&admin, "child", child).await;
    publish(&admin, "parent", parent).await;
    let alice = with_role(&server, "alice", "customer").await;
    let tx = started(&alice, "parent", json!({})).await;
    let told = alice.post_empty(&format!("{tx}/steps/ask")).await;
    let told = told.problem(422, "expression-failed").json();
    assert!(!told.to_string().contains("VERY-HIGH"), "{told}");
}
