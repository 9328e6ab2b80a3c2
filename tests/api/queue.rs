//! The work queue, as roles: workers that claim, submit, release, and die.

use serde_json::{Value, json};

use crate::client::Role;
use crate::server::{Server, dev};

const WORKFLOW: &str = "abide: 1
workflow: parcel
start: { by: [service] }
first: pack
steps:
  pack:
    by: [role:packer]
    claim: 10m
    next: send
  send:
    by: [role:packer]
    next: { end: sent }
";

async fn packer(server: &Server, name: &str) -> Role {
    let role = server.user(name).await;
    let roles = json!({"roles": ["packer"]});
    server.admin().await.patch(&format!("/v1/users/{name}"), roles).await.ok();
    role
}

/// Returns the ids of this many parcels, in the order of their starts.
async fn parcels(server: &Server, count: usize) -> Vec<String> {
    let admin = server.admin().await;
    let publish = admin.call("PUT", "/v1/workflows/parcel");
    publish.body("application/yaml", WORKFLOW.to_owned()).await.is(201);
    let service = server.bearer(&server.api_key("shop", json!({})).await.1);
    let mut ids = Vec::new();
    for _ in 0..count {
        let started = service.post_empty("/v1/workflows/parcel/transactions").await.is(201);
        ids.push(started.json()["id"].as_str().unwrap().to_owned());
        // Two in the same millisecond have no defined order.
        admin.post("/v1/dev/clock", json!({"advance": "1ms"})).await.ok();
    }
    ids
}

async fn claim(role: &Role, limit: u32) -> Vec<String> {
    let ask = json!({"workflow": "parcel", "step": "pack", "limit": limit, "for": "1m"});
    let claimed = role.post("/v1/inbox/claim", ask).await.ok().json();
    let id = |item: &Value| item["id"].as_str().unwrap().to_owned();
    claimed["items"].as_array().unwrap().iter().map(id).collect()
}

async fn wait(server: &Server, span: &str) {
    server.admin().await.post("/v1/dev/clock", json!({"advance": span})).await.ok();
}

/// Two workers never get the same transaction, oldest first; a claim lapses by itself, also over a
/// crash.
#[tokio::test]
async fn nobody_gets_what_another_has_claimed_until_the_claim_lapses() {
    let mut server = dev();
    let (ann, ben) = (packer(&server, "ann").await, packer(&server, "ben").await);
    let ids = parcels(&server, 5).await;
    assert_eq!(claim(&ann, 2).await, ids[..2]);
    assert_eq!(claim(&ben, 2).await, ids[2..4]);
    assert_eq!(claim(&ann, 50).await, ids[4..]);
    assert!(claim(&ben, 50).await.is_empty());
    let step = format!("/v1/transactions/{}/steps/pack", ids[0]);
    ben.post_empty(&step).await.problem(409, "claimed");
    ann.post_empty(&step).await.ok();
    server.crash_and_restart();
    assert!(claim(&ben, 50).await.is_empty());
    wait(&server, "1m").await;
    assert_eq!(claim(&ben, 50).await, ids[1..]);
    // A released step is free at once.
    let given_up = format!("/v1/transactions/{}/steps/pack/claim", ids[3]);
    ben.delete(&given_up).await.ok();
    assert_eq!(claim(&ann, 50).await, ids[3..4]);
}

/// A claim of one parcel by its path takes it out of the queue too, and so does its end.
#[tokio::test]
async fn what_is_claimed_or_cancelled_otherwise_is_not_in_the_queue() {
    let server = dev();
    let ann = packer(&server, "ann").await;
    let ids = parcels(&server, 3).await;
    let path = format!("/v1/transactions/{}", ids[0]);
    ann.post_empty(&format!("{path}/steps/pack/claim")).await.ok();
    let admin = server.admin().await;
    admin.post_empty(&format!("/v1/transactions/{}/cancel", ids[1])).await.ok();
    assert_eq!(claim(&ann, 50).await, ids[2..]);
    // The longer claim of the step itself lasts longer.
    wait(&server, "2m").await;
    assert_eq!(claim(&ann, 50).await, ids[2..]);
    wait(&server, "8m").await;
    assert_eq!(claim(&ann, 50).await, [ids[2].clone(), ids[0].clone()]);
}

/// An actor that may not submit gets nothing; a step that is no queue is refused with that reason.
#[tokio::test]
async fn the_queue_is_for_those_who_may_submit() {
    let server = dev();
    parcels(&server, 1).await;
    let (ann, mallory) = (packer(&server, "ann").await, server.user("mallory").await);
    assert!(claim(&mallory, 1).await.is_empty());
    let ask = |step: &str, limit: u32| json!({"workflow": "parcel", "step": step, "limit": limit});
    for (body, status, code) in [
        (ask("send", 1), 409, "not-claimable"),
        (ask("nothing", 1), 404, "not-found"),
        (ask("pack", 0), 422, "invalid-input"),
        (ask("pack", 51), 422, "invalid-input"),
        (json!({"workflow": "no", "step": "pack"}), 404, "not-found"),
    ] {
        ann.post("/v1/inbox/claim", body).await.problem(status, code);
    }
    assert_eq!(claim(&ann, 1).await.len(), 1);
}

/// A repeated request claims nothing more.
#[tokio::test]
async fn a_repeated_claim_answers_with_the_same() {
    let server = dev();
    let ids = parcels(&server, 2).await;
    let ann = packer(&server, "ann").await;
    let ask = json!({"workflow": "parcel", "step": "pack", "limit": 1});
    for _ in 0..2 {
        let call = ann.call("POST", "/v1/inbox/claim").json(&ask);
        let answer = call.header("idempotency-key", "first").await.ok().json();
        assert_eq!(answer["items"][0]["id"], json!(ids[0]));
    }
}
