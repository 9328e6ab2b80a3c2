//! Transactions that lead to others, as roles.

use serde_json::{Value, json};

use crate::client::Role;
use crate::server::{Server, dev};

pub(crate) async fn publish(admin: &Role, document: &str) -> Value {
    let name = document.split("workflow: ").nth(1).unwrap().lines().next().unwrap();
    let publish = admin.call("PUT", &format!("/v1/workflows/{name}"));
    publish.body("application/yaml", document.to_owned()).await.is(201).json()
}

async fn shop(server: &Server) -> (Role, Role) {
    let (admin, alice) = (server.admin().await, server.user("alice").await);
    for account in [
        json!({"id": "world", "asset": "EUR", "floor": null}),
        json!({"id": "shop:income", "asset": "EUR"}),
        json!({"id": "alice:main", "asset": "EUR", "owner": "alice"}),
    ] {
        admin.post("/v1/accounts", account).await.is(201);
    }
    let funds = json!({"from": "world", "to": "alice:main", "amount": "100.00"});
    admin.post("/v1/transfers", funds).await.is(201);
    admin.put("/v1/values/prices/basic", json!("10.00")).await;
    publish(&admin, include_str!("../../data/workflows/subscription.yaml")).await;
    (admin, alice)
}

/// A monthly transaction renews itself, exactly once, also when the server is killed meanwhile.
#[tokio::test]
async fn a_subscription_is_renewed_once_a_month_over_crashes() {
    let mut server = dev();
    let (_, alice) = shop(&server).await;
    let input = json!({"input": {"plan": "basic", "account": "alice:main"}});
    alice.post("/v1/workflows/subscription/transactions", input).await.is(201);
    for _ in 0..3 {
        server.admin().await.post("/v1/dev/clock", json!({"advance": "31d"})).await.ok();
        server.crash_and_restart();
    }
    // The sessions of a month ago have ended.
    let (admin, alice) = (server.admin().await, server.again("alice").await);
    let list = alice.get("/v1/transactions?workflow=subscription").await.ok().json();
    let months = list["items"].as_array().unwrap();
    assert_eq!(months.len(), 4, "{list}");
    assert_eq!(months.iter().filter(|month| month["status"] == "waiting").count(), 1);
    assert!(months.iter().all(|month| month["owner"] == "alice"));
    let account = admin.get("/v1/accounts/alice:main").await.ok().json();
    assert_eq!(account["posted"], "60.00");
}

/// The publication of a definition warns of names that do not exist yet, and does not refuse them.
#[tokio::test]
async fn what_is_not_there_yet_is_a_warning() {
    let server = dev();
    let admin = server.admin().await;
    let document = "abide: 1\nworkflow: hopeful\nstart: { by: [role:hoper] }\nfirst: pay\nsteps:\n  \
        pay:\n    by: [role:payer, role:abide:operator]\n    do:\n      \
        - transfer: { from: \"hope:chest\", to: =tx.owner, amount: 1 }\n      \
        - start: { workflow: later, reference: =tx.id }\n    next: { end: paid }\n";
    let codes = |answer: &Value| -> Vec<String> {
        let warnings = answer["warnings"].as_array().cloned().unwrap_or_default();
        let mut codes: Vec<_> = warnings
            .iter()
            .filter(|warning| warning["code"].as_str().unwrap().starts_with("unknown-"))
            .map(|warning| warning["message"].as_str().unwrap().to_owned())
            .map(|message| message.split('`').nth(1).unwrap().to_owned())
            .collect();
        codes.sort();
        codes
    };
    let check = admin.call("POST", "/v1/workflows/check");
    let checked = check.body("application/yaml", document.to_owned()).await.ok().json();
    assert_eq!(codes(&checked), ["hope:chest", "hoper", "later", "payer"]);
    assert_eq!(codes(&publish(&admin, document).await), ["hope:chest", "hoper", "later", "payer"]);
    server.user("pia").await;
    admin.patch("/v1/users/pia", json!({"roles": ["payer"]})).await.ok();
    admin.post("/v1/api-keys", json!({"name": "hopes", "roles": ["hoper"]})).await.is(201);
    admin.post("/v1/accounts", json!({"id": "hope:chest", "asset": "EUR"})).await.is(201);
    let check = admin.call("POST", "/v1/workflows/check");
    let checked = check.body("application/yaml", document.to_owned()).await.ok().json();
    assert_eq!(codes(&checked), ["later"]);
}
