//! Signed messages of other services, as those services.

use std::time::{SystemTime, UNIX_EPOCH};

use abide::app::signature::{SigningKey, sign_hex, sign_standard};
use serde_json::{Value, json};

use crate::client::{Answer, Role};
use crate::server::{Options, Server};
use crate::wait::until;

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const OLD: &str = "whsec_c29tZSBvbGRlciBzZWNyZXQ=";
const PLAIN: &str = "a shared secret";

const CONFIG: &str = r#"
[hooks.payments]
scheme = "standard"
secret = "PAYMENTS"
workflow = "invoice"
transaction = "=body.invoice"

[hooks.couriers]
scheme = "sha256"
secret = "couriers"
header = "X-Courier-Signature"
transaction = "=body.parcel.tx"
id = "=body.id"
input = "={'state': body.parcel.state}"
"#;

const WORKFLOW: &str = "abide: 1
workflow: invoice
first: send
data: { paid: null }
steps:
  send: { next: { any: [paid, delivered] } }
  paid:
    by: [hook:payments]
    input: { type: object, required: [amount], properties: { amount: { type: string, format: amount }, invoice: { type: string } } }
    guard: [ { that: 'amount(input.amount) > amount(\"0\")', code: nothing-paid, message: Nothing was paid. } ]
    do:
      - set: { paid: =input.amount, who: =actor.user, kind: =actor.kind }
      - emit: { type: invoice.paid }
    next: { end: paid }
  delivered:
    by: [hook:couriers]
    max_submissions: 3
    input: { type: object, required: [state], properties: { state: { type: string } } }
    next: stay
";

fn options() -> Options {
    Options::dev()
        .env("ABIDE_SECRET_PAYMENTS", &format!("{SECRET}\n{OLD}"))
        .env("ABIDE_SECRET_COURIERS", PLAIN)
        .config(CONFIG)
}

async fn invoice(server: &Server, reference: &str) -> (Role, String) {
    let admin = server.admin().await;
    let publish = admin.call("PUT", "/v1/workflows/invoice");
    publish.body("application/yaml", WORKFLOW.to_owned()).await;
    let path = "/v1/workflows/invoice/transactions";
    let started = admin.post(path, json!({"reference": reference})).await.is(201).json();
    (admin, started["id"].as_str().unwrap().to_owned())
}

#[allow(clippy::disallowed_methods, reason = "a signature is of the wall clock's time")]
fn seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

async fn pay(server: &Server, secret: &str, id: &str, at: u64, body: &Value) -> Answer {
    let key = SigningKey::standard(secret).unwrap();
    let bytes = body.to_string();
    server
        .nobody()
        .call("POST", "/v1/hooks/payments")
        .header("webhook-id", id)
        .header("webhook-timestamp", at.to_string())
        .header("webhook-signature", sign_standard(&[key], id, at, bytes.as_bytes()))
        .body("application/json", bytes)
        .await
}

/// A message counts once under its id, also after a crash; both secrets are good.
#[tokio::test]
async fn a_signed_message_takes_a_step_and_counts_once() {
    let mut server = options().start();
    let (admin, id) = invoice(&server, "4711").await;
    let body = json!({"invoice": "4711", "amount": "12.50"});
    pay(&server, OLD, "msg_1", seconds(), &body).await.is(204);
    let path = format!("/v1/transactions/{id}");
    let paid = admin.get(&path).await.ok().json();
    assert_eq!((&paid["status"], &paid["data"]["paid"]), (&json!("completed"), &json!("12.50")));
    assert_eq!(paid["data"]["who"], "hook:payments");
    assert_eq!(paid["data"]["kind"], "hook");
    server.kill_9();
    server.start_again_with(options());
    // Sent again, at a later time, it is answered as before; another message gets the present
    // answer.
    let again = pay(&server, SECRET, "msg_1", seconds(), &body).await.is(204);
    assert_eq!(again.headers["idempotency-replayed"], "true");
    pay(&server, SECRET, "msg_2", seconds(), &body).await.problem(409, "step-not-open");
    let other = json!({"invoice": "4711", "amount": "1.00"});
    pay(&server, SECRET, "msg_1", seconds(), &other).await.problem(422, "idempotency-key-reused");
    assert_eq!(admin.get(&path).await.ok().json()["revision"], paid["revision"]);
}

/// A message that somebody has kept is a repetition even after its answer has expired: the
/// transaction knows it, also one whose time is right by the wall clock since the server's is ahead
/// of it.
#[tokio::test]
async fn a_message_that_is_sent_again_after_more_than_a_day_counts_no_second_time() {
    let server = options().start();
    let (_, id) = invoice(&server, "4711").await;
    let sent = seconds();
    let body = json!({"invoice": "4711", "amount": "12.50"});
    let parcel = json!({"id": "c1", "parcel": {"tx": id, "state": "on its way"}});
    courier(&server, PLAIN, &parcel).await.is(204);
    pay(&server, SECRET, "msg_1", sent, &body).await.is(204);
    server.advance("25h").await;
    // Signatures go by the wall clock, which nobody has moved.
    pay(&server, SECRET, "msg_1", sent, &body).await.is(204);
    pay(&server, SECRET, "msg_1", seconds(), &body).await.is(204);
    courier(&server, PLAIN, &parcel).await.is(204);
    let admin = server.admin().await;
    let history = admin.get(&format!("/v1/transactions/{id}/history")).await.ok().json();
    let items = history["items"].as_array().unwrap();
    let taken = items.iter().filter(|event| event["type"] == "abide.step.taken");
    let taken: Vec<_> = taken.map(|event| event["data"]["step"].clone()).collect();
    assert_eq!(taken, ["send", "delivered", "paid"], "{history}");
}

/// A message that comes too early counts when the same one is sent again: its sender knows nothing
/// of steps, and repeats it until it is accepted.
#[tokio::test]
async fn a_message_that_comes_too_early_counts_when_it_is_sent_again() {
    let server = options().start();
    let (admin, id) = invoice(&server, "4711").await;
    let body = json!({"invoice": "4711", "amount": "12.50"});
    let path = format!("/v1/transactions/{id}");
    admin.post(&format!("{path}/pause"), json!({})).await.ok();
    let early = pay(&server, SECRET, "msg_1", seconds(), &body).await.problem(409, "paused");
    assert_eq!(early.headers["retry-after"], "5");
    admin.post(&format!("{path}/resume"), json!({})).await.ok();
    let taken = pay(&server, SECRET, "msg_1", seconds(), &body).await.is(204);
    assert!(!taken.headers.contains_key("idempotency-replayed"));
    let again = pay(&server, SECRET, "msg_1", seconds(), &body).await.is(204);
    assert_eq!(again.headers["idempotency-replayed"], "true");
}

async fn courier(server: &Server, secret: &str, body: &Value) -> Answer {
    let bytes = body.to_string();
    let signature = sign_hex(&SigningKey::new(secret.as_bytes()), bytes.as_bytes());
    let call = server.nobody().call("POST", "/v1/hooks/couriers");
    call.header("x-courier-signature", signature).body("application/json", bytes).await
}

/// A message without a signature, with an old one, or with one for another body, changes nothing.
#[tokio::test]
async fn what_is_not_signed_changes_nothing() {
    let server = options().start();
    let (admin, id) = invoice(&server, "4711").await;
    let body = json!({"invoice": "4711", "amount": "12.50"});
    for (secret, at) in [
        ("whsec_c29tZWJvZHkgZWxzZQ==", seconds()),
        (SECRET, seconds() - 400),
        (SECRET, seconds() + 400),
    ] {
        pay(&server, secret, "msg_1", at, &body).await.problem(401, "invalid-signature");
    }
    let plain = server.nobody().post("/v1/hooks/payments", body.clone()).await;
    plain.problem(401, "invalid-signature");
    admin.post("/v1/hooks/payments", body.clone()).await.problem(401, "invalid-signature");
    admin.post("/v1/hooks/nothing", body.clone()).await.problem(404, "not-found");
    // Not even an administrator submits the step of a hook.
    let step = format!("/v1/transactions/{id}/steps/paid");
    admin.post(&step, json!({"amount": "1.00"})).await.problem(403, "not-allowed");
    pay(&server, SECRET, "msg_1", seconds(), &json!({"invoice": "no"}))
        .await
        .problem(404, "not-found");
    pay(&server, SECRET, "msg_1", seconds(), &json!({})).await.problem(422, "expression-failed");
    let nothing = json!({"invoice": "4711", "amount": "0.00"});
    let refused = pay(&server, SECRET, "msg_3", seconds(), &nothing).await;
    assert_eq!((refused.status, &refused.json()["code"]), (422, &json!("nothing-paid")));
    pay(&server, SECRET, "msg_4", seconds(), &body).await.is(204);
}

/// The header with `sha256=`: the id and the input are made of the body.
#[tokio::test]
async fn the_plain_header_is_taken_where_the_hook_says_so() {
    let server = options().start();
    let (admin, id) = invoice(&server, "4711").await;
    let send = async |number: u32, secret: &str| {
        let body = json!({"id": format!("c{number}"), "parcel": {"tx": id, "state": "on its way"}});
        courier(&server, secret, &body).await
    };
    send(1, PLAIN).await.is(204);
    send(1, PLAIN).await.is(204);
    send(2, PLAIN).await.is(204);
    send(3, "another secret").await.problem(401, "invalid-signature");
    send(3, PLAIN).await.is(204);
    send(4, PLAIN).await.problem(409, "step-used-up");
    let status = admin.get(&format!("/v1/transactions/{id}")).await.ok().json();
    assert_eq!(status["status"], "waiting");
    // No secret is in any file or in the log.
    for secret in [&SECRET[6..], PLAIN] {
        assert!(server.files_with(secret.as_bytes()).is_empty());
        assert!(!server.log().contains(secret));
    }
}

/// A publisher of definitions cannot have a hook's secret sent anywhere: its holder signs the
/// hook's messages.
#[tokio::test]
async fn a_hooks_secret_is_no_secret_of_definitions() {
    let server = options().env("ABIDE_SECRET_OTHER", "another").start();
    let admin = server.admin().await;
    // Nobody listens there: an allowed call fails, and a forbidden one has another outcome.
    for (secret, outcome) in [
        ("OTHER", "call-failed"),
        ("PAYMENTS", "call-not-allowed"),
        ("COURIERS", "call-not-allowed"),
    ] {
        let document = format!(
            "abide: 1\nworkflow: thief\nfirst: steal\nsteps:\n  steal:\n    call: {{ url: \
             'http://127.0.0.1:9/', headers: {{ x-stolen: '=secret(\"{secret}\")' }}, retry: {{ \
             attempts: 1 }} }}\n    next: {{ end: stolen }}\n"
        );
        let publish = admin.call("PUT", "/v1/workflows/thief");
        publish.body("application/yaml", document).await.is(201);
        let started = admin.post_empty("/v1/workflows/thief/transactions").await.is(201).json();
        let id = started["id"].as_str().unwrap();
        let ended = until(&admin, id, |shown| shown["status"] == "failed").await;
        assert_eq!(ended["outcome"], outcome, "{secret}");
    }
}

/// README: the table `[secrets]` is as good for hooks and calls as a variable is, and a definition
/// that names an unknown secret or hook is published with a warning.
#[tokio::test]
async fn a_hooks_secret_may_be_in_the_file_and_a_missing_one_is_a_warning() {
    let config = format!(
        "{CONFIG}\n[secrets]\npayments = \"{SECRET}\"\ncouriers = \"{PLAIN}\"\nmail = \"m\"\n"
    );
    let server = Options::dev().config(&config).start();
    let (admin, id) = invoice(&server, "4711").await;
    let body = json!({"invoice": "4711", "amount": "12.50"});
    pay(&server, SECRET, "msg_1", seconds(), &body).await.is(204);
    let paid = admin.get(&format!("/v1/transactions/{id}")).await.ok().json();
    assert_eq!(paid["status"], "completed");

    let document = "abide: 1\nworkflow: names\nfirst: a\nsteps:\n  a:\n    call: { url: \
        'http://127.0.0.1:9/', headers: { a: '=secret(\"mail\")', b: '=\"Bearer \" + secret(\"Other-Key\")' } }\n    \
        compensate: [ { call: { url: 'http://127.0.0.1:9/', headers: { a: '=secret(\"PAYMENTS\")' } } } ]\n    \
        next: b\n  b: { by: [hook:payments, hook:nobody], next: { end: done } }\n";
    let check = admin.call("POST", "/v1/workflows/check").body("application/yaml", document);
    let publish = admin.call("PUT", "/v1/workflows/names").body("application/yaml", document);
    for answer in [check.await.ok().json(), publish.await.is(201).json()] {
        let warnings = answer["warnings"].as_array().unwrap().iter();
        let found: Vec<_> = warnings
            .filter(|warning| warning["code"].as_str().unwrap().starts_with("unknown-"))
            .map(|warning| {
                let name = warning["message"].as_str().unwrap().split('`').nth(1).unwrap();
                (warning["code"].as_str().unwrap().to_owned(), name.to_owned())
            })
            .collect();
        let expected = [
            ("unknown-secret", "OTHER_KEY"),
            ("unknown-secret", "PAYMENTS"),
            ("unknown-hook", "nobody"),
        ];
        assert_eq!(found, expected.map(|(code, name)| (code.to_owned(), name.to_owned())));
    }
    // The same where definitions are published at the start.
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("names.yaml"), document).unwrap();
    let at_start = Options::dev().config(&config).arg("--workflows");
    let mut server = at_start.arg(dir.path().to_str().unwrap()).start();
    server.terminate();
    let log = server.log();
    assert!(log.contains("there is no secret `OTHER_KEY`"), "{log}");
    assert!(log.contains("there is no hook `nobody`"), "{log}");
}
