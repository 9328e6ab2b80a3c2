//! `ETag`, `If-Match` and `If-None-Match`: a tag covers the representation, and a condition counts
//! on every change.

use serde_json::{Value, json};

use crate::client::{Answer, Role};
use crate::live::{accounts, publish, start};
use crate::server::{Server, dev};

const CLAIMED: &str = r"
abide: 1
workflow: claimed
cancel: { by: [owner, role:officer] }
first: work
steps:
  work:
    by: [role:officer]
    claim: 1h
    next: { end: done }
";

async fn officer(server: &Server, name: &str) -> Role {
    server.user(name).await;
    roles(server, name, json!(["officer"])).await;
    server.again(name).await
}

async fn roles(server: &Server, name: &str, roles: Value) {
    let admin = server.admin().await;
    admin.patch(&format!("/v1/users/{name}"), json!({ "roles": roles })).await.ok();
}

async fn known(role: &Role, path: &str, etag: &str) -> Answer {
    role.get(path).header("if-none-match", etag).await
}

/// A claim that lapses changes the representation, without a commit: the tag is another one, and a
/// change that names the older one is still about the same revision.
#[tokio::test]
async fn a_lapsed_claim_changes_the_tag_and_not_the_revision() {
    let server = dev();
    let admin = server.admin().await;
    let publish = admin.call("PUT", "/v1/workflows/claimed");
    publish.body("application/yaml", CLAIMED.to_owned()).await.is(201);
    let (olga, alice) = (officer(&server, "olga").await, server.user("alice").await);
    let started = alice.post_empty("/v1/workflows/claimed/transactions").await.is(201);
    let path = started.header("location");
    let before = alice.get(&path).await.ok();
    assert_eq!(before.etag(), format!("\"{}\"", before.json()["revision"]), "the owner's view");
    assert_eq!(started.etag(), before.etag());
    olga.post_empty(&format!("{path}/steps/work/claim")).await.ok();
    let claimed = alice.get(&path).await.ok();
    assert_ne!(claimed.etag(), before.etag());
    known(&alice, &path, &claimed.etag()).await.is(304);
    server.advance("2h").await;
    let alice = server.again("alice").await;
    let lapsed = known(&alice, &path, &claimed.etag()).await.is(200);
    assert_eq!(lapsed.json()["revision"], claimed.json()["revision"]);
    assert_eq!(lapsed.json()["open_steps"][0]["claimed_by"], Value::Null);
    assert_ne!(lapsed.etag(), claimed.etag());
    known(&alice, &path, &lapsed.etag()).await.is(304);
    let cancel = || alice.post_empty(&format!("{path}/cancel"));
    cancel().if_match(&before.etag()).await.problem(412, "revision-mismatch");
    cancel().if_match(&claimed.etag()).await.ok();
}

/// A reader who may see or do something else has another tag; readers who see the same have the
/// same. Each reader's tag is good for a change while the revision is the same.
#[tokio::test]
async fn a_tag_covers_what_its_reader_sees() {
    let server = dev();
    let admin = server.admin().await;
    publish(&admin).await;
    let alice = server.user("alice").await;
    accounts(&admin).await;
    let olga = officer(&server, "olga").await;
    let id = start(&alice).await;
    let path = format!("/v1/transactions/{id}");
    let mut seen: Vec<(String, Vec<u8>)> = Vec::new();
    for role in [&alice, &admin, &olga] {
        let shown = role.get(&path).await.ok();
        seen.push((shown.etag(), shown.body.clone()));
    }
    for (tag, body) in &seen {
        for (other_tag, other) in &seen {
            assert_eq!(tag == other_tag, body == other, "{tag} {other_tag}");
        }
    }
    assert!(seen.iter().any(|(tag, _)| *tag != seen[0].0), "they see the same");
    // Roles that change the representation change the tag, at the same revision.
    let (mine, _) = &seen[0];
    known(&alice, &path, mine).await.is(304);
    roles(&server, "alice", json!(["officer"])).await;
    let more = known(&alice, &path, mine).await.is(200);
    assert_eq!(more.json()["data"]["risk"], "high");
    roles(&server, "alice", json!([])).await;
    known(&alice, &path, &more.etag()).await.is(200);
    known(&alice, &path, mine).await.is(304);

    // An account that anyone may read: the balance alone is another representation.
    let public = json!({"read": ["anyone"]});
    admin.patch("/v1/accounts/alice:main", public).await.ok();
    let account = "/v1/accounts/alice:main";
    let (all, some) = (alice.get(account).await.ok(), olga.get(account).await.ok());
    assert_ne!(all.body, some.body);
    assert_ne!(all.etag(), some.etag());
    known(&olga, account, &all.etag()).await.is(200);
    known(&olga, account, &some.etag()).await.is(304);
    admin.post_empty(&format!("{account}/close")).if_match(&some.etag()).await.ok();
}

/// `If-None-Match: *` on a request that creates or replaces: only if there is nothing yet.
/// `If-Match: *`: only if there is something.
#[tokio::test]
async fn only_if_absent_and_only_if_present() {
    let server = dev();
    let admin = server.admin().await;
    let gateway = server.gateway().await;
    let hello = r#"{"abide":1,"workflow":"hello","first":"a","steps":{"a":{"by":["owner"],"next":{"end":"b"}}}}"#;
    let other = hello.replace("\"b\"", "\"c\"");
    let put =
        |role: &Role, path: &str, body: &str| role.call("PUT", path).body("application/json", body);
    let cases = [
        (&admin, "/v1/values/prices/a", "1", "2"),
        (&gateway, "/v1/sessions/by-key/k", r#"{"data":{}}"#, r#"{"data":{"a":1}}"#),
        (&admin, "/v1/assets/SKU-1", r#"{"scale":0}"#, r#"{"scale":0,"name":"a"}"#),
        (&admin, "/v1/workflows/hello", hello, other.as_str()),
    ];
    for (role, path, first, second) in cases {
        put(role, path, first).if_match("*").await.problem(412, "revision-mismatch");
        put(role, path, first).if_match("\"0\"").await.problem(412, "revision-mismatch");
        put(role, path, first).header("if-none-match", "*").await.is(201);
        let refused = put(role, path, second).header("if-none-match", "*").await;
        let revision = refused.problem(412, "revision-mismatch").json()["revision"].clone();
        let shown = role.get(path).await.ok();
        assert!(shown.etag().starts_with(&format!("\"{revision}")), "{shown}");
        put(role, path, second).if_match("*").await.ok();
        let stale = put(role, path, first).if_match(&shown.etag()).await;
        stale.problem(412, "revision-mismatch");
        let fresh = role.get(path).await.ok().etag();
        put(role, path, first).if_match(&fresh).await.ok();
    }
    // A thing that exists without having been put.
    put(&admin, "/v1/assets/EUR", r#"{"scale":2}"#)
        .header("if-none-match", "*")
        .await
        .problem(412, "revision-mismatch");
    admin.delete("/v1/values/prices/a").if_match("\"1\"").await.problem(412, "revision-mismatch");
    let etag = admin.get("/v1/values/prices/a").await.etag();
    admin.delete("/v1/values/prices/a").if_match(&etag).await.is(204);
}

/// A refused condition is no final answer: the same key serves the corrected request. A condition
/// counts before the state of things, and a wrong code under it costs no attempt.
#[tokio::test]
async fn a_condition_that_does_not_hold_decides_nothing() {
    let server = dev();
    let admin = server.admin().await;
    server.user("alice").await;
    accounts(&admin).await;
    let pay = json!({"from": "world", "to": "alice:main", "amount": "10.00"});
    admin.post("/v1/transfers", pay).await.is(201);
    let hold =
        admin.post("/v1/holds", json!({"from": "alice:main", "amount": "4.00"})).await.is(201);
    let path = hold.header("location");
    let capture = || admin.post(&format!("{path}/capture"), json!({"to": "world"}));
    capture().key("c").if_match("\"1\"").await.problem(412, "revision-mismatch");
    assert_eq!(admin.get(&path).await.json()["status"], "held");
    let etag = admin.get(&path).await.etag();
    capture().key("c").if_match(&etag).await.ok();
    // Now the state refuses it too; the condition is checked first.
    capture().if_match(&etag).await.problem(412, "revision-mismatch");
    capture().await.problem(409, "hold-not-open");
    // An actor that may not know of it learns nothing about its revision.
    let mallory = server.user("mallory").await;
    mallory.post_empty(&format!("{path}/void")).if_match("\"1\"").await.is(403);
}

/// A set that anyone may read is read without a login; only publishers and services write it.
#[tokio::test]
async fn a_set_of_values_can_be_public() {
    let mut server = dev();
    let admin = server.admin().await;
    let (nobody, alice) = (server.nobody(), server.user("alice").await);
    admin.put("/v1/values/prices/SKU-1", json!("19.90")).await.is(201);
    admin.put("/v1/values/limits/day", json!("1000.00")).await.is(201);
    let (set, value) = ("/v1/values/prices", "/v1/values/prices/SKU-1");
    for path in [set, value] {
        nobody.get(path).await.problem(401, "unauthenticated");
        alice.get(path).await.problem(403, "not-allowed");
    }
    let open = || json!({"read": ["anyone"]});
    alice.put(set, open()).await.problem(403, "not-allowed");
    nobody.put(set, open()).await.problem(401, "unauthenticated");
    for read in [json!(["everybody"]), json!(["anyone", "anyone"])] {
        let account = json!({"id": "twice", "asset": "EUR", "read": read});
        admin.post("/v1/accounts", account).await.problem(422, "invalid-input");
        admin.put(set, json!({"read": read})).await.problem(422, "invalid-input");
        let change = admin.patch("/v1/accounts/world", json!({"read": read}));
        change.await.problem(422, "invalid-input");
    }
    assert_eq!(admin.put(set, open()).await.ok().json(), open());
    server.crash_and_restart();
    for role in [&nobody, &alice] {
        let shown = role.get(value).await.ok();
        assert_eq!(shown.json(), "19.90");
        known(role, value, &shown.etag()).await.is(304);
        let page = role.get(set).await.ok().json();
        assert_eq!(
            (&page["read"], &page["items"][0]["key"]),
            (&json!(["anyone"]), &json!("SKU-1"))
        );
        role.get("/v1/values/prices/none").await.problem(404, "not-found");
        assert!([401, 403].contains(&role.get("/v1/values/limits/day").await.status));
        assert!([401, 403].contains(&role.put(value, json!("0.01")).await.status));
        assert!([401, 403].contains(&role.delete(value).await.status));
    }
    admin.put(set, json!({"read": []})).await.ok();
    nobody.get(value).await.problem(401, "unauthenticated");
    assert_eq!(admin.get(set).await.ok().json()["read"], json!([]));
}
