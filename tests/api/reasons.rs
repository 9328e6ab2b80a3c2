//! Reasons of refusals and stuck transactions, shown to readers that may know them.

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use crate::client::Role;
use crate::server::{Options, Server};
use crate::wait::until;

/// Starts a service that answers every request with this status and its own body, in which it
/// repeats the `authorization` header. Returns the address.
async fn service(status: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut head = Vec::new();
                let mut byte = [0];
                while !head.ends_with(b"\r\n\r\n") && stream.read_exact(&mut byte).await.is_ok() {
                    head.push(byte[0]);
                }
                let head = String::from_utf8_lossy(&head).into_owned();
                let token = head.lines().find_map(|line| line.strip_prefix("authorization: "));
                let body = format!("{{\"error\":\"no account for {}\"}}", token.unwrap_or(""));
                let length = body.len();
                let answer = format!(
                    "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: \
                     {length}\r\nconnection: close\r\n\r\n{body}"
                );
                // The server may have been stopped meanwhile.
                drop(stream.write_all(answer.as_bytes()).await);
            });
        }
    });
    address
}

async fn publish(server: &Server, name: &str, document: &str) {
    let admin = server.admin().await;
    let call = admin.call("PUT", &format!("/v1/workflows/{name}"));
    call.body("application/yaml", document.to_owned()).await.ok();
}

async fn start(role: &Role, workflow: &str, input: Value) -> String {
    let path = format!("/v1/workflows/{workflow}/transactions");
    let started = role.post(&path, json!({ "input": input })).await.is(201).json();
    started["id"].as_str().unwrap().to_owned()
}

/// After the pivot, so that any failure of a call leaves it stuck.
fn calling(address: &str) -> String {
    format!(
        "abide: 1
workflow: calling
first: begin
steps:
  begin: {{ pivot: true, next: ask }}
  ask:
    call:
      method: POST
      url: \"http://{address}/\"
      headers: {{ authorization: '=secret(\"PEER\")' }}
      retry: {{ attempts: 2, first: 1ms, max: 1ms }}
    failed: failed
    next: {{ end: done }}
  failed: {{ guard: [ {{ that: 'false', code: by-hand, message: Look at it. }} ], next: {{ end: gone }} }}
"
    )
}

async fn shown(role: &Role, id: &str) -> Value {
    role.get(&format!("/v1/transactions/{id}")).await.ok().json()
}

/// The service's answer is kept for operators, without the secret that it repeats; the owner sees
/// the status and nothing of it.
#[tokio::test]
async fn operators_see_what_a_service_answered() {
    let server = Options::dev().env("ABIDE_SECRET_PEER", "s3cret-peer-token").start();
    let alice = server.user("alice").await;
    let admin = server.admin().await;
    for (status, state) in [("422 Unprocessable", "refused"), ("503 Unavailable", "unknown")] {
        let address = service(status).await;
        publish(&server, "calling", &calling(&address)).await;
        let tx = start(&alice, "calling", json!({})).await;
        let stuck = until(&admin, &tx, |tx| tx["calls"][0]["status"] == state).await;
        let call = &stuck["calls"][0];
        let number: u16 = status[..3].parse().unwrap();
        let body = "{\"error\":\"no account for [redacted]\"}";
        assert_eq!(call["answer"], json!({ "status": number, "body": body }), "{call}");
        let call = &shown(&alice, &tx).await["calls"][0];
        assert_eq!((&call["last"], call.get("answer")), (&json!(status[..3]), None));
        // Lists read it too.
        let list = admin.get("/v1/transactions?status=stuck").await.ok().json();
        assert_eq!(list["items"][0]["id"], json!(tx));
    }
}

const PAY: &str = "abide: 1
workflow: pay
input: { type: object, required: [from], properties: { from: { type: string } } }
data: { fees: \"bank:fees\" }
restricted: { fees: [role:clerk] }
first: ask
steps:
  ask:
    by: [owner]
    input: { type: object, required: [of], properties: { of: { type: string } } }
    do:
      - when: 'input.of == \"own\"'
        transfer: { from: =data.from, to: till, amount: \"5.00\", authority: workflow }
      - when: 'input.of == \"fees\"'
        transfer: { from: =data.fees, to: till, amount: \"5.00\", authority: workflow }
    next: wait
  wait: { by: [owner], next: { end: done } }
";

/// A refusal for money names its account to an actor that knows the account: by the data that it
/// reads, or since it may read the account; to others nothing names it.
#[tokio::test]
async fn refusal_for_money_names_the_account_to_those_who_know_it() {
    let server = Options::dev().start();
    let alice = server.user("alice").await;
    let admin = server.admin().await;
    for id in ["alice:main", "bank:fees", "till"] {
        let owner = if id == "alice:main" { json!("alice") } else { Value::Null };
        let account = json!({ "id": id, "asset": "EUR", "owner": owner });
        admin.post("/v1/accounts", account).await.is(201);
    }
    publish(&server, "pay", PAY).await;
    let tx = start(&alice, "pay", json!({ "from": "alice:main" })).await;
    let ask = format!("/v1/transactions/{tx}/steps/ask");
    let own = alice.post(&ask, json!({ "of": "own" })).await;
    assert_eq!(own.json()["account"], "alice:main");
    own.problem(422, "insufficient-funds");
    let fees = alice.post(&ask, json!({ "of": "fees" })).await;
    assert!(!fees.text().contains("bank:fees"), "{fees}");
    assert_eq!(fees.json().get("account"), None);
    fees.problem(422, "insufficient-funds");
    let keeper = server.service("shop", json!({})).await;
    let transfer = json!({ "from": "bank:fees", "to": "till", "amount": "1.00" });
    let refused = keeper.post("/v1/transfers", transfer).await;
    assert_eq!(refused.json()["account"], "bank:fees");
    refused.problem(422, "insufficient-funds");
}

const PART: &str = "abide: 1
workflow: part
first: begin
steps:
  begin:
    do:
      - hold: { id: funds, from: world, amount: \"10.00\", authority: workflow }
      - capture: { hold: funds, to: till, amount: \"4.00\", keep: rest }
    next: wait
  wait: { by: [owner], next: { end: done } }
";

/// The captured part of a hold is shown in its transaction, and in the hold itself.
#[tokio::test]
async fn partly_captured_hold_shows_how_much_was_captured() {
    let server = Options::dev().start();
    let alice = server.user("alice").await;
    let admin = server.admin().await;
    for account in [
        json!({ "id": "world", "asset": "EUR", "floor": null }),
        json!({ "id": "till", "asset": "EUR" }),
    ] {
        admin.post("/v1/accounts", account).await.is(201);
    }
    publish(&server, "part", PART).await;
    let tx = start(&alice, "part", json!({})).await;
    let hold = shown(&alice, &tx).await["holds"][0].clone();
    assert_eq!(
        (&hold["status"], &hold["amount"], &hold["captured"]),
        (&json!("held"), &json!("6.00"), &json!("4.00")),
    );
    let place = json!({ "id": "h1", "from": "world", "amount": "10.00" });
    let placed = admin.post("/v1/holds", place).await.is(201).json();
    assert_eq!(placed["captured"], "0.00");
    let capture = json!({ "to": "till", "amount": "4.00", "keep": "rest" });
    let hold = admin.post("/v1/holds/h1/capture", capture).await.ok().json();
    assert_eq!((&hold["captured"], &hold["left"]), (&json!("4.00"), &json!("6.00")));
}
