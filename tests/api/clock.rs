//! The server's clock while somebody sets the wall clock, which libfaketime simulates.

use std::path::{Path, PathBuf};

use abide::app::signature::{SigningKey, sign_standard};
use abide::types::{Span, Time};
use serde_json::{Value, json};

use crate::client::{Answer, Role};
use crate::server::{Options, Server};
use crate::wait::{PATIENCE, until};

const SECRET: &str = "whsec_bm90IG15IHJlYWwgc2VjcmV0IQ==";

const HOOKS: &str = r#"
[hooks.payments]
scheme = "standard"
secret = "PAYMENTS"
transaction = "=body.tx"
"#;

const WORKFLOW: &str = "abide: 1
workflow: order
start: { by: [service] }
first: pay
steps:
  pay: { by: ['hook:payments'], input: { type: object, properties: { tx: { type: string } } }, timeout: { after: 1h, next: slow }, next: slow }
  slow: { by: [service], timeout: { after: 1s, next: { cancel: too-slow } }, next: { end: done } }
";

/// A server whose wall clock can be set, and a service that calls it.
struct Set {
    server: Server,
    service: Role,
    wall: PathBuf,
    _dir: tempfile::TempDir,
}

impl Set {
    /// `None`: there is no libfaketime on this machine.
    async fn new() -> Option<Self> {
        let places = ["x86_64-linux-gnu", "aarch64-linux-gnu"];
        let library = places.iter().find_map(|place| {
            let path = format!("/usr/lib/{place}/faketime/libfaketimeMT.so.1");
            Path::new(&path).exists().then_some(path)
        });
        let Some(library) = library else {
            println!("skipped: there is no libfaketime here (Debian package faketime)");
            return None;
        };
        let dir = tempfile::tempdir().unwrap();
        let wall = dir.path().join("wall");
        std::fs::write(&wall, "+0").unwrap();
        let server = Options::dev()
            .env("LD_PRELOAD", &library)
            .env("FAKETIME_TIMESTAMP_FILE", wall.to_str().unwrap())
            .env("FAKETIME_NO_CACHE", "1")
            .env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
            .env("DONT_FAKE_MONOTONIC", "1")
            .env("ABIDE_SECRET_PAYMENTS", SECRET)
            .config(HOOKS)
            .start();
        let admin = server.admin().await;
        let publish = admin.call("PUT", "/v1/workflows/order");
        publish.body("application/yaml", WORKFLOW.to_owned()).await.is(201);
        // An API key does not run out.
        let service = server.service("shop", json!({"roles": ["abide:auditor"]})).await;
        Some(Self { server, service, wall, _dir: dir })
    }

    fn set_wall(&self, offset: &str) {
        std::fs::write(&self.wall, offset).unwrap();
    }

    async fn order(&self) -> String {
        let started = self.service.post_empty("/v1/workflows/order/transactions").await.is(201);
        started.json()["id"].as_str().unwrap().to_owned()
    }

    async fn show(&self, id: &str) -> Value {
        self.service.get(&format!("/v1/transactions/{id}")).await.ok().json()
    }

    /// A message that is signed at this time of the wall clock.
    async fn pay(&self, tx: &str, at: u64) -> Answer {
        let key = SigningKey::standard(SECRET).unwrap();
        let bytes = json!({ "tx": tx }).to_string();
        let id = format!("msg_{tx}");
        self.server
            .nobody()
            .call("POST", "/v1/hooks/payments")
            .header("webhook-id", &id)
            .header("webhook-timestamp", at.to_string())
            .header("webhook-signature", sign_standard(&[key], &id, at, bytes.as_bytes()))
            .body("application/json", bytes)
            .await
    }
}

#[allow(clippy::disallowed_methods, reason = "a signature is of the wall clock's time")]
fn seconds() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs()
}

/// Set back while the server runs, the wall clock stops nothing: time goes on, timers fire, and
/// signatures are of the wall clock's time.
#[tokio::test]
async fn clock_goes_on_while_the_wall_clock_is_set_back() {
    let Some(set) = Set::new().await else { return };
    let id = set.order().await;
    let before: Time = set.show(&id).await["started_at"].as_str().unwrap().parse().unwrap();
    set.set_wall("-48h");
    let back = seconds() - 48 * 3600;
    set.pay(&id, seconds()).await.problem(401, "invalid-signature");
    set.pay(&id, back).await.is(204);
    let slow = set.order().await;
    set.set_wall("-49h");
    // Its timer of an hour is moved on by hand, that of a second comes by itself.
    set.server.advance("1h").await;
    let ended = until(&set.service, &slow, |shown| shown["status"] == "cancelled").await;
    assert_eq!(ended["outcome"], "too-slow");
    let after: Time = ended["updated_at"].as_str().unwrap().parse().unwrap();
    let passed = after.since(before);
    assert!(passed >= Span::from_hours(1).max(Span::from_ms(3_601_000)), "{passed}");
    assert!(passed < Span::from_hours(2), "{passed}");
    let metrics = set.server.admin().await.get("/metrics").await.ok().text();
    let ahead = metrics.lines().find_map(|line| line.strip_prefix("abide_clock_ahead_ms "));
    let ahead: u64 = ahead.unwrap().parse().unwrap();
    assert!(ahead > Span::from_hours(47).ms(), "{ahead}");
    let deadline = std::time::Instant::now() + PATIENCE;
    while !set.server.log().contains("the wall clock is behind the server's time") {
        assert!(std::time::Instant::now() < deadline, "no warning");
        tokio::task::yield_now().await;
    }
}

/// Set forward, it makes things due; none of them is shown as live from then on.
#[tokio::test]
async fn nothing_overdue_is_shown_as_live_after_a_jump_forward() {
    let Some(set) = Set::new().await else { return };
    let admin = set.server.admin().await;
    for account in [
        json!({"id": "world", "asset": "EUR", "floor": null}),
        json!({"id": "shop", "asset": "EUR"}),
    ] {
        admin.post("/v1/accounts", account).await.is(201);
    }
    let hold = json!({"from": "world", "amount": "5.00", "expires": "1h"});
    let hold = admin.post("/v1/holds", hold).await.is(201).json();
    let hold = format!("/v1/holds/{}", hold["id"].as_str().unwrap());
    let mut orders = Vec::new();
    for _ in 0..50 {
        orders.push(set.order().await);
    }
    set.set_wall("+3h");
    for id in orders.iter().rev() {
        let shown = set.show(id).await;
        assert_ne!(shown["open_steps"][0]["step"], "pay", "{shown}");
    }
    let list = set.service.get("/v1/transactions?step=pay").await.ok().json();
    assert_eq!(list["items"], json!([]));
    assert_eq!(set.service.get(&hold).await.ok().json()["status"], "expired");
    assert_eq!(set.service.get("/v1/accounts/world").await.ok().json()["held"], "0.00");
    admin.get("/v1/sessions/current").await.problem(401, "unauthenticated");
}
