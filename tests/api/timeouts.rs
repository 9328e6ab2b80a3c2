//! Idle and absolute timeouts, with the clock moved.

use serde_json::json;

use crate::client::password_of;
use crate::server::dev;

/// 7.3.1: 30 minutes without a request end a session.
#[tokio::test]
async fn an_idle_session_ends() {
    let server = dev();
    let alice = server.user("alice").await;
    server.advance("29m").await;
    assert!(alice.is_alive().await);
    server.advance("29m").await;
    assert!(alice.is_alive().await, "the request 29 minutes ago was activity");
    server.advance("31m").await;
    alice.is_dead().await;
    alice.data().await.problem(401, "unauthenticated");
    alice.post_empty("/v1/sessions/current/rotate").await.problem(401, "unauthenticated");
    let list = server.admin().await.get("/v1/sessions?user=alice").await.json();
    assert_eq!(list["items"].as_array().unwrap().len(), 0, "{list}");
}

/// 7.3.1: the due time itself is too late (contract 6).
#[tokio::test]
async fn at_the_very_moment_it_is_due_the_session_is_over() {
    let server = dev();
    let alice = server.user("alice").await;
    server.advance("30m").await;
    alice.is_dead().await;
}

/// 7.3.1: any authenticated request is activity, a refused one too; strangers' requests and health
/// checks are not.
#[tokio::test]
async fn only_the_sessions_own_requests_extend_it() {
    let server = dev();
    let busy = server.user("alice").await;
    let quiet = server.again("alice").await;
    server.user("mallory").await;
    server.advance("20m").await;
    busy.get("/v1/users/me").await.ok();
    for path in ["/livez", "/readyz", "/v1/capabilities", "/openapi.json"] {
        server.nobody().get(path).await.ok();
    }
    busy.get("/v1/sessions").await.ok();
    server.admin().await.get("/v1/sessions?user=alice").await.ok();
    server.advance("11m").await;
    assert!(busy.is_alive().await);
    quiet.is_dead().await;
}

/// 7.3.2: nothing extends the absolute timeout of 12 hours.
#[tokio::test]
async fn activity_does_not_extend_the_absolute_timeout() {
    let server = dev();
    let alice = server.user("alice").await;
    let expires = alice.session().await.json()["expires_at"].clone();
    let mut token = alice.token().to_owned();
    for step in 0..28 {
        server.advance("25m").await;
        let alice = server.bearer(&token);
        alice.session().await.ok();
        // Nor do rotation and elevation.
        if step % 9 == 4 {
            let answer = alice.post_empty("/v1/sessions/current/rotate").await.ok().json();
            token = answer["token"].as_str().unwrap().into();
        }
        if step % 9 == 8 {
            let body = json!({"password": password_of("alice")});
            let answer = alice.post("/v1/sessions/current/elevate", body).await.ok().json();
            token = answer["token"].as_str().unwrap().into();
        }
    }
    let alice = server.bearer(&token);
    let session = alice.session().await.json();
    assert_eq!(session["expires_at"], expires);
    assert!(
        session["idle_expires_at"].as_str() <= expires.as_str(),
        "idle does not reach beyond the absolute timeout: {session}"
    );
    server.advance("20m").await;
    alice.is_dead().await;
}

/// The idle time in the answer holds: alive before it, dead at it, although activity is written at
/// most once per twentieth of it.
#[tokio::test]
async fn the_shown_idle_time_is_the_truth() {
    let server = dev();
    let alice = server.user("alice").await;
    server.advance("1m").await;
    alice.session().await.ok();
    server.advance("3m").await;
    let shown = alice.session().await.json()["idle_expires_at"].as_str().unwrap().to_owned();
    server.advance("28m").await;
    let again = alice.session().await.is(200).json();
    assert!(again["idle_expires_at"].as_str().unwrap() > shown.as_str());
}

/// Contract 6: a session that expired while the server was down is over when it is back, and the
/// moved clock does not go back.
#[tokio::test]
async fn timeouts_hold_over_kill_9() {
    let mut server = dev();
    let alice = server.user("alice").await;
    server.advance("20m").await;
    let bob = server.user("bob").await;
    server.crash_and_restart();
    assert!(bob.is_alive().await);
    server.advance("11m").await;
    alice.is_dead().await;
    server.crash_and_restart();
    alice.is_dead().await;
    assert!(bob.is_alive().await);
}

/// Recorded activity survives a crash: it is recorded to within a twentieth of the idle time.
#[tokio::test]
async fn activity_survives_kill_9() {
    let mut server = dev();
    let alice = server.user("alice").await;
    server.advance("20m").await;
    alice.session().await.ok();
    server.crash_and_restart();
    server.advance("20m").await;
    assert!(alice.is_alive().await);
}

/// 7.5.1: an elevation runs out by itself.
#[tokio::test]
async fn an_elevation_runs_out() {
    let server = dev();
    let alice = server.user("alice").await;
    let body = json!({"password": password_of("alice")});
    let answer = alice.post("/v1/sessions/current/elevate", body).await.ok().json();
    let alice = server.bearer(answer["token"].as_str().unwrap());
    assert!(alice.session().await.json()["elevated_until"].is_string());
    server.advance("29m").await;
    assert!(alice.is_alive().await);
    server.advance("29m").await;
    let session = alice.session().await.is(200).json();
    let now = server.admin().await.get("/v1/admin/status").await.json()["now"].clone();
    assert!(session["elevated_until"].as_str() < now.as_str(), "{session} at {now}");
}

/// The development clock is the administrator's, only goes forward, and is there only with
/// `--dev`.
#[tokio::test]
async fn the_clock_is_moved_by_an_admin_forward_and_in_dev_only() {
    let server = dev();
    let alice = server.user("alice").await;
    alice.post("/v1/dev/clock", json!({"advance": "1h"})).await.problem(403, "not-allowed");
    server
        .nobody()
        .post("/v1/dev/clock", json!({"advance": "1h"}))
        .await
        .problem(401, "unauthenticated");
    let admin = server.admin().await;
    for bad in ["-1h", "", "1", "h", "one hour", "1h1", "99999999999999999999d", "1.5.5h"] {
        admin.post("/v1/dev/clock", json!({"advance": bad})).await.is(422).points_at("/advance");
    }
    admin.post("/v1/dev/clock", json!({})).await.is(422);
    admin.post("/v1/dev/clock", json!({"advance": "10s"})).await.ok();

    let production = crate::server::Options::production().start();
    let admin = production.admin().await;
    let answer = admin.post("/v1/dev/clock", json!({"advance": "1h"})).await;
    answer.problem(404, "not-found");
}

/// The configuration holds: time-outs, named profiles, the cap, registration.
#[tokio::test]
async fn configured_times_and_caps_hold() {
    let config = "session_idle = \"10m\"\nsession_absolute = \"1h\"\nsessions_per_user_max = 3\n\
                  profiles = \"cart=20d/30d\"\n";
    let server = crate::server::Options::dev().config(config).start();
    let alice = server.user("alice").await;
    let cart =
        server.nobody().post("/v1/sessions", json!({"profile": "cart"})).await.is(201).json();
    let cart = server.bearer(cart["token"].as_str().unwrap());
    server
        .nobody()
        .post("/v1/sessions", json!({"profile": "other"}))
        .await
        .is(422)
        .points_at("/profile");
    server.advance("10m").await;
    alice.is_dead().await;
    let mut sessions = Vec::new();
    for _ in 0..4 {
        sessions.push(server.again("alice").await);
    }
    sessions[0].is_dead().await;
    for session in &sessions[1..] {
        assert!(session.is_alive().await);
    }
    for _ in 0..7 {
        server.advance("9m").await;
        sessions[3].session().await;
    }
    sessions[3].is_dead().await;
    server.advance("19d").await;
    assert!(cart.is_alive().await);
    server.advance("12d").await;
    cart.is_dead().await;
}
