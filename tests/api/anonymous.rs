//! Anonymous sessions and their upgrade at login.

use serde_json::json;

use crate::client::password_of;
use crate::server::dev;

/// `{}` is an anonymous session, with data like any other and no user's rights.
#[tokio::test]
async fn an_anonymous_session_has_data_and_no_user() {
    let server = dev();
    let visitor = server.anonymous().await;
    let session = visitor.session().await.is(200).json();
    assert!(session["user"].is_null(), "{session}");
    assert_eq!(session["roles"], json!([]));
    visitor.put_data(json!({"cart": ["book"]})).await.ok();
    assert_eq!(visitor.data().await.json(), json!({"cart": ["book"]}));
    visitor.get("/v1/users/me").await.is(403);
    visitor.get("/v1/users").await.is(403);
    visitor
        .put("/v1/users/me/password", json!({"current": "x", "new": "a long new password"}))
        .await
        .is(403);
    visitor.logout().await.is(204);
    visitor.is_dead().await;
}

/// A login with an anonymous bearer upgrades the session: a new token, the data
/// kept, the old token dead at once.
#[tokio::test]
async fn a_login_upgrades_the_anonymous_session() {
    let server = dev();
    server.user("alice").await;
    let visitor = server.anonymous().await;
    visitor.put_data(json!({"cart": ["book"]})).await.ok();
    let etag = visitor.data().await.etag();
    let before = visitor.session().await.json();
    let body = json!({"username": "alice", "password": password_of("alice")});
    let answer = visitor.post("/v1/sessions", body).await.is(201).json();
    assert_eq!(answer["user"], "alice");
    assert_eq!(answer["id"], before["id"], "it is the same session");
    visitor.is_dead().await;
    let alice = visitor.with_token(answer["token"].as_str().unwrap());
    let data = alice.data().await;
    assert_eq!(data.json(), json!({"cart": ["book"]}));
    assert_eq!(data.etag(), etag);
    assert_eq!(alice.get("/v1/users/me").await.ok().json()["username"], "alice");
}

/// A failed login leaves the anonymous session as it was.
#[tokio::test]
async fn a_failed_login_leaves_the_anonymous_session_alone() {
    let server = dev();
    server.user("alice").await;
    let visitor = server.anonymous().await;
    visitor.put_data(json!({"cart": 1})).await.ok();
    let body = json!({"username": "alice", "password": "wrong wrong wrong"});
    visitor.post("/v1/sessions", body).await.problem(401, "invalid-credentials");
    assert_eq!(visitor.data().await.json(), json!({"cart": 1}));
}

/// A user's session is never turned into another user's: the login makes a session of its own.
#[tokio::test]
async fn a_login_with_a_users_bearer_does_not_take_that_session_over() {
    let server = dev();
    let alice = server.user("alice").await;
    alice.put_data(json!({"secret": 1})).await.ok();
    server.user("mallory").await;
    let body = json!({"username": "mallory", "password": password_of("mallory")});
    let answer = alice.post("/v1/sessions", body).await;
    if answer.status == 201 {
        let mallory = server.bearer(answer.json()["token"].as_str().unwrap());
        assert_eq!(mallory.data().await.json(), json!({}));
    }
    assert!(alice.is_alive().await);
    assert_eq!(alice.session().await.json()["user"], "alice");
}

/// Only one of several racing upgrades takes a visitor's session.
#[tokio::test]
async fn an_anonymous_session_is_upgraded_once() {
    let server = dev();
    server.user("alice").await;
    server.user("bob").await;
    let visitor = server.anonymous().await;
    visitor.put_data(json!({"cart": "visitor"})).await.ok();
    let logins: Vec<_> = (0..8)
        .map(|n| {
            let name = if n % 2 == 0 { "alice" } else { "bob" };
            let body = json!({"username": name, "password": password_of(name)});
            tokio::spawn(visitor.post("/v1/sessions", body).into_future())
        })
        .collect();
    let mut with_cart = 0;
    for login in logins {
        let answer = login.await.unwrap();
        if answer.status != 201 {
            answer.problem(401, "unauthenticated");
            continue;
        }
        let role = server.bearer(answer.json()["token"].as_str().unwrap());
        with_cart += u32::from(role.data().await.json() == json!({"cart": "visitor"}));
    }
    assert_eq!(with_cart, 1);
    visitor.is_dead().await;
}

/// An anonymous session is no user's: only itself sees or ends it.
#[tokio::test]
async fn anonymous_sessions_do_not_see_each_other() {
    let server = dev();
    let one = server.anonymous().await;
    let two = server.anonymous().await;
    let id = two.session().await.json()["id"].as_str().unwrap().to_owned();
    let listed = one.get("/v1/sessions").await;
    if listed.status == 200 {
        assert!(!listed.text().contains(&id), "{listed}");
    }
    let answer = one.delete(&format!("/v1/sessions/{id}")).await;
    assert!([403, 404].contains(&answer.status), "{answer}");
    assert!(two.is_alive().await);
}
