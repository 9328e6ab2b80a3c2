//! Acknowledged changes survive kill -9; ended sessions stay ended.

use serde_json::json;

use crate::client::password_of;
use crate::server::dev;

/// 7.4.1: kill -9 right after the logout's 204; the token is dead.
#[tokio::test]
async fn a_logout_survives_kill_9_right_after_its_204() {
    let mut server = dev();
    server.user("alice").await;
    for _ in 0..5 {
        let alice = server.again("alice").await;
        let cookie = alice.token().to_owned();
        alice.logout().await.is(204);
        server.crash_and_restart();
        alice.is_dead().await;
        let answer = server.nobody().session().cookie(&format!("abide={cookie}")).await;
        answer.problem(401, "unauthenticated");
    }
}

/// Contract 1: a session, its data and its user are there after kill -9.
#[tokio::test]
async fn what_was_acknowledged_is_there_after_kill_9() {
    let mut server = dev();
    let alice = server.user("alice").await;
    for n in 0..10 {
        alice.patch_data(json!({"n": n})).await.ok();
        let etag = alice.data().await.etag();
        server.crash_and_restart();
        let data = alice.data().await.is(200);
        assert_eq!(data.json(), json!({"n": n}));
        assert_eq!(data.etag(), etag, "a revision is not given out anew");
    }
}

/// 7.2.4, 7.4.2, 7.4.3, 7.4.5: each way of ending a session survives kill -9 right after its
/// answer.
#[tokio::test]
async fn every_end_of_a_session_survives_kill_9() {
    let mut server = dev();
    let alice = server.user("alice").await;
    let rotated = alice.post_empty("/v1/sessions/current/rotate").await.ok().json();
    server.crash_and_restart();
    alice.is_dead().await;

    let current = server.bearer(rotated["token"].as_str().unwrap());
    let other = server.again("alice").await;
    let change = json!({"current": password_of("alice"), "new": "quite another password"});
    current.put("/v1/users/me/password", change).await.ok();
    server.crash_and_restart();
    other.is_dead().await;
    current.is_dead().await;
    let login = json!({"username": "alice", "password": password_of("alice")});
    server.nobody().post("/v1/sessions", login).await.problem(401, "invalid-credentials");

    let alice = server.login("alice", "quite another password").await;
    let admin = server.admin().await;
    admin.patch("/v1/users/alice", json!({"disabled": true})).await.ok();
    server.crash_and_restart();
    alice.is_dead().await;
    let login = json!({"username": "alice", "password": "quite another password"});
    server.nobody().post("/v1/sessions", login).await.problem(401, "invalid-credentials");

    let (id, secret) = server.api_key("robot", json!({})).await;
    let robot = server.bearer(&secret);
    robot.get("/v1/sessions/by-key/k").await.is(404);
    admin.delete(&format!("/v1/api-keys/{id}")).await.is(204);
    server.crash_and_restart();
    robot.get("/v1/sessions/by-key/k").await.problem(401, "unauthenticated");
}

/// SIGTERM: a clean end, exit code 0, and everything is there afterwards.
#[tokio::test]
async fn sigterm_ends_cleanly_and_loses_nothing() {
    let mut server = dev();
    let alice = server.user("alice").await;
    alice.put_data(json!({"n": 1})).await.ok();
    assert_eq!(server.terminate().code(), Some(0), "{}", server.log());
    server.start_again();
    assert_eq!(alice.data().await.json(), json!({"n": 1}));
}

/// SIGTERM under load: the effect of every successful answer is there.
#[tokio::test]
async fn sigterm_under_load_loses_nothing_that_was_answered() {
    let mut server = dev();
    let alice = server.user("alice").await;
    let (answered, mut some_answered) = tokio::sync::mpsc::channel(300);
    let calls: Vec<_> = (0..200)
        .map(|n| {
            let call = alice.patch_data(json!({ format!("k{n}"): n }));
            let answered = answered.clone();
            tokio::spawn(async move {
                let answer = call.attempt().await;
                answered.send(()).await.ok();
                answer
            })
        })
        .collect();
    for _ in 0..50 {
        some_answered.recv().await.unwrap();
    }
    assert_eq!(server.terminate().code(), Some(0), "{}", server.log());
    server.start_again();
    let data = alice.data().await.json();
    for (n, call) in (0..).zip(calls) {
        if call.await.unwrap().is_some_and(|answer| answer.status < 300) {
            assert_eq!(data[format!("k{n}")], n);
        }
    }
}
