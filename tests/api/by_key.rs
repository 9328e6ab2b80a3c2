//! The session store for other frameworks: `/v1/sessions/by-key/{key}`.

use serde_json::json;

use crate::server::dev;

/// Put, get, delete; delete of an absent record is 204 too.
#[tokio::test]
async fn a_record_is_put_read_replaced_and_deleted() {
    let server = dev();
    let app = server.gateway().await;
    let path = "/v1/sessions/by-key/Zm9v-bar_baz.0";
    app.get(path).await.problem(404, "not-found");
    app.delete(path).await.is(204);
    let put = app.put(path, json!({"data": {"cart": [1]}, "idle": "1h"})).await.ok();
    assert!([200, 201, 204].contains(&put.status));
    assert_eq!(app.get(path).await.is(200).json()["data"], json!({"cart": [1]}));
    app.put(path, json!({"data": {"n": 2}, "idle": "1h"})).await.ok();
    assert_eq!(app.get(path).await.json()["data"], json!({"n": 2}));
    app.delete(path).await.is(204);
    app.get(path).await.problem(404, "not-found");
    app.delete(path).await.is(204);
}

/// Keys that a framework makes may be any text; each is its own.
#[tokio::test]
async fn any_key_that_a_path_can_carry_is_a_key() {
    let server = dev();
    let app = server.gateway().await;
    let keys = ["a", "A", "a%20b", "a%2Fb", "%C3%A9", "sess%3Aabc", "..%2f..%2fetc", "a+b", "%00"];
    for (n, key) in keys.iter().enumerate() {
        let path = format!("/v1/sessions/by-key/{key}");
        app.put(&path, json!({"data": {"n": n}, "idle": "1h"})).await.ok();
    }
    for (n, key) in keys.iter().enumerate() {
        let path = format!("/v1/sessions/by-key/{key}");
        assert_eq!(app.get(&path).await.is(200).json()["data"], json!({"n": n}), "{key}");
    }
}

/// Idle: GET is activity, `?touch=false` is not; an expired record is absent.
#[tokio::test]
async fn a_record_lives_as_long_as_it_is_read() {
    let server = dev();
    let app = server.gateway().await;
    let body = json!({"data": {}, "idle": "1h"});
    for key in ["read", "peeked", "left"] {
        app.put(&format!("/v1/sessions/by-key/{key}"), body.clone()).await.ok();
    }
    server.advance("40m").await;
    app.get("/v1/sessions/by-key/read").await.is(200);
    app.get("/v1/sessions/by-key/peeked?touch=false").await.is(200);
    server.advance("25m").await;
    app.get("/v1/sessions/by-key/read").await.is(200);
    app.get("/v1/sessions/by-key/peeked").await.problem(404, "not-found");
    app.get("/v1/sessions/by-key/left").await.problem(404, "not-found");
    // An expired key can be used again.
    app.put("/v1/sessions/by-key/left", body).await.ok();
    app.get("/v1/sessions/by-key/left").await.is(200);
}

/// Apart per API key: one service neither reads, nor overwrites, nor deletes another's.
#[tokio::test]
async fn records_of_one_service_are_not_seen_by_another() {
    let server = dev();
    let shop = server.service("shop", json!({})).await;
    let blog = server.service("blog", json!({})).await;
    let path = "/v1/sessions/by-key/shared";
    shop.put(path, json!({"data": {"of": "shop"}, "idle": "1h"})).await.ok();
    blog.get(path).await.problem(404, "not-found");
    blog.delete(path).await.is(204);
    assert_eq!(shop.get(path).await.is(200).json()["data"], json!({"of": "shop"}));
    blog.put(path, json!({"data": {"of": "blog"}, "idle": "1h"})).await.ok();
    assert_eq!(shop.get(path).await.json()["data"], json!({"of": "shop"}));
    assert_eq!(blog.get(path).await.json()["data"], json!({"of": "blog"}));
}

/// It is for services: users, administrators in a session and nobody are refused.
#[tokio::test]
async fn only_services_use_the_store_by_key() {
    let server = dev();
    let path = "/v1/sessions/by-key/k";
    let body = json!({"data": {}, "idle": "1h"});
    for role in [server.user("alice").await, server.admin().await, server.anonymous().await] {
        role.get(path).await.is(403);
        role.put(path, body.clone()).await.is(403);
        role.delete(path).await.is(403);
    }
    server.nobody().put(path, body).await.problem(401, "unauthenticated");
}

/// Keys are secrets of their framework's users: stored only hashed, never logged.
#[tokio::test]
async fn keys_are_stored_only_hashed_and_never_logged() {
    let mut server = dev();
    let app = server.gateway().await;
    let key = "s3cret-canary-key-0f9e8d7c6b5a";
    let path = format!("/v1/sessions/by-key/{key}");
    app.put(&path, json!({"data": {"x": 1}, "idle": "1h"})).await.ok();
    app.get(&path).await.is(200);
    app.delete(&path).await.is(204);
    app.get(&path).await.is(404);
    let metrics = server.admin().await.get("/metrics").await.ok().text();
    assert!(!metrics.contains(key));
    server.terminate();
    assert!(server.files_with(key.as_bytes()).is_empty());
    assert!(!server.log().contains(key), "{}", server.log());
}

/// Bounds and fields are checked as everywhere.
#[tokio::test]
async fn malformed_records_are_refused() {
    let server = dev();
    let app = server.gateway().await;
    let path = "/v1/sessions/by-key/k";
    for body in [
        json!({"idle": "1h"}),
        json!({"data": [], "idle": "1h"}),
        json!({"data": {}, "idle": "x"}),
        json!({"data": {}, "idle": 3600}),
        json!({"data": {}, "idle": "0s"}),
        json!({"data": {}, "idle": "1h", "owner": "me"}),
    ] {
        app.put(path, body).await.is(422);
    }
    let large = json!({"data": {"a": "x".repeat(66 * 1024)}, "idle": "1h"});
    app.put(path, large).await.problem(413, "too-large");
    let long = format!("/v1/sessions/by-key/{}", "k".repeat(2000));
    let answer = app.put(&long, json!({"data": {}, "idle": "1h"})).await;
    assert!([414, 422].contains(&answer.status), "{answer}");
    app.get(path).await.problem(404, "not-found");
    app.get("/v1/sessions/by-key/k?touch=maybe").await.is(400);
}

/// A write after the delete is a new record: nothing of the old one comes back, and a crash does
/// not bring it back either.
#[tokio::test]
async fn a_deleted_record_stays_deleted_over_kill_9() {
    let mut server = dev();
    let app = server.gateway().await;
    let path = "/v1/sessions/by-key/k";
    app.put(path, json!({"data": {"n": 1}, "idle": "1h"})).await.ok();
    server.crash_and_restart();
    assert_eq!(app.get(path).await.is(200).json()["data"], json!({"n": 1}));
    app.delete(path).await.is(204);
    server.crash_and_restart();
    app.get(path).await.problem(404, "not-found");
}

/// A record may name its user: disabling the user ends it in the same commit.
#[tokio::test]
async fn a_record_of_a_user_ends_with_the_users_sessions() {
    let server = dev();
    server.user("alice").await;
    let app = server.gateway().await;
    let path = "/v1/sessions/by-key/of-alice";
    app.put(path, json!({"data": {}, "idle": "1h", "user": "alice"})).await.ok();
    assert_eq!(app.get(path).await.json()["user"], "alice");
    server.admin().await.patch("/v1/users/alice", json!({"disabled": true})).await.ok();
    app.get(path).await.problem(404, "not-found");
}
