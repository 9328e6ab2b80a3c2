//! Contract 10: tokens and passwords are stored only as hashes, and none of them is found in a
//! log, a metric, a document or an error.

use serde_json::json;

use crate::client::password_of;
use crate::server::{ADMIN_PASSWORD, Options};

/// Returns the secret in a single-use link: the text behind the `#`, which no browser sends.
fn secret_of(link: &serde_json::Value) -> String {
    let (page, secret) = link["link"].as_str().unwrap().split_once('#').unwrap();
    assert!(page.ends_with("/set-password"), "{link}");
    secret.to_owned()
}

/// 11.5.1, 16.2.5: every kind of secret that went through the server, searched in the data
/// directory, the log (at its most talkative) and the metrics: 0 hits.
#[tokio::test]
async fn no_secret_is_found_in_data_log_or_metrics() {
    let mut server = Options::dev().env("ABIDE_LOG", "trace").env("RUST_LOG", "trace").start();
    let mut secrets = vec![ADMIN_PASSWORD.to_owned(), password_of("alice")];

    let alice = server.user("alice").await;
    secrets.push(alice.token().to_owned());
    let rotated = alice.post_empty("/v1/sessions/current/rotate").await.ok().json();
    secrets.push(rotated["token"].as_str().unwrap().to_owned());
    let alice = server.bearer(secrets.last().unwrap());
    let elevate = json!({"password": password_of("alice")});
    let elevated = alice.post("/v1/sessions/current/elevate", elevate).await.ok().json();
    secrets.push(elevated["token"].as_str().unwrap().to_owned());
    let alice = server.bearer(secrets.last().unwrap());

    // Passwords and tokens in places where a careless program logs them.
    for wrong in ["canary-wrong-password-51d8", "canary-new-password-77aa"] {
        secrets.push(wrong.to_owned());
    }
    let body = json!({"username": "alice", "password": "canary-wrong-password-51d8"});
    server.nobody().post("/v1/sessions", body).await.is(401);
    let change =
        json!({"current": "canary-wrong-password-51d8", "new": "canary-new-password-77aa"});
    alice.put("/v1/users/me/password", change).await.is(401);
    let body = json!({"username": "canary", "password": "canary-wrong-password-51d8", "x": 1});
    server.nobody().post("/v1/users", body).await.is(422);
    server
        .nobody()
        .call("POST", "/v1/sessions")
        .body("application/json", r#"{"username":"alice","password":"canary-wrong-password-51d8"#)
        .await
        .is(400);
    let path = format!("/v1/sessions/current?token={}", alice.token());
    server.nobody().get(&path).await;
    server.nobody().get(&format!("/{}", alice.token())).await;
    let cookie = json!({"username": "alice", "password": password_of("alice"), "cookie": true});
    let answer = server
        .nobody()
        .post("/v1/sessions", cookie)
        .header("sec-fetch-site", "same-origin")
        .await
        .ok();
    let line = answer.set_cookies().remove(0);
    secrets.push(line.split(['=', ';']).nth(1).unwrap().to_owned());

    let gateway = server.gateway().await;
    secrets.push(gateway.token().to_owned());
    let session = json!({"user": "alice", "on_behalf": true});
    let on_behalf = gateway.post("/v1/sessions", session).await.ok().json();
    secrets.push(on_behalf["token"].as_str().unwrap().to_owned());
    let form = format!("token={}", alice.token());
    gateway
        .call("POST", "/v1/introspect")
        .body("application/x-www-form-urlencoded", form)
        .await
        .ok();
    let reset = server.admin().await.post_empty("/v1/users/alice/password-reset").await.ok().json();
    secrets.push(secret_of(&reset));
    // A key of a retry belongs to the client, and is not to be found in a store either.
    alice.put_data(json!({"a": 1})).key("canary-idempotency-key-3c1f").await.ok();

    let admin = server.admin().await;
    let metrics = admin.get("/metrics").await.ok().text();
    let status = admin.get("/v1/admin/status").await.ok().text();
    server.terminate();
    let log = server.log();
    for secret in &secrets {
        assert!(secret.len() > 16, "{secret} may be found by chance");
        for (place, text) in [("log", &log), ("metrics", &metrics), ("status", &status)] {
            assert!(!text.contains(secret.as_str()), "{secret} is in the {place}");
        }
        let files = server.files_with(secret.as_bytes());
        assert!(files.is_empty(), "{secret} is in {files:?}");
        // Nor without its prefix.
        if let Some((_, digits)) = secret.split_once('_') {
            assert!(server.files_with(digits.as_bytes()).is_empty(), "{secret} without its prefix");
        }
    }
    // The search does find things.
    assert!(!server.files_with(b"alice").is_empty());
}

/// The key for HMACs is a file of its own that only its owner reads.
#[tokio::test]
async fn the_servers_own_key_is_private_and_outside_the_store() {
    use std::os::unix::fs::PermissionsExt as _;
    let mut server = Options::dev().start();
    server.user("alice").await;
    server.terminate();
    let path = server.data_dir().join("secret");
    let mode = std::fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let key = std::fs::read(&path).unwrap();
    assert!(key.len() >= 32);
    assert_eq!(server.files_with(&key), [path]);
}

fn modes(path: &std::path::Path, found: &mut Vec<(std::path::PathBuf, u32)>) {
    use std::os::unix::fs::PermissionsExt as _;
    let metadata = std::fs::metadata(path).unwrap();
    found.push((path.to_owned(), metadata.permissions().mode() & 0o777));
    if metadata.is_dir() {
        for entry in std::fs::read_dir(path).unwrap() {
            modes(&entry.unwrap().path(), found);
        }
    }
}

/// Every file of the data directory is its owner's alone, from its first moment on, and one that an
/// older build or a copy left open to others is closed to them at the next start.
#[tokio::test]
async fn the_data_directory_is_readable_for_its_owner_alone() {
    use std::os::unix::fs::PermissionsExt as _;
    let mut server = Options::dev().start();
    let private = |server: &crate::server::Server| {
        let mut found = Vec::new();
        modes(&server.data_dir(), &mut found);
        assert!(found.iter().any(|(path, _)| path.ends_with("sled/db")), "{found:?}");
        for (path, mode) in found {
            let wanted = if path.is_dir() { 0o700 } else { 0o600 };
            assert_eq!(mode, wanted, "{}: {mode:o}", path.display());
        }
    };
    server.user("alice").await;
    private(&server);
    server.terminate();
    let mut found = Vec::new();
    modes(&server.data_dir(), &mut found);
    for (path, mode) in found.into_iter().filter(|(path, _)| !path.ends_with("secret")) {
        let open =
            std::fs::Permissions::from_mode(mode | if path.is_dir() { 0o055 } else { 0o044 });
        std::fs::set_permissions(&path, open).unwrap();
    }
    server.start_again();
    server.again("alice").await;
    private(&server);
}

/// An ignored password for the administrator is reported in the log, without the password.
#[tokio::test]
async fn an_administrators_password_that_is_not_used_is_said() {
    let mut server = Options::production().start();
    assert!(!server.log().contains("ABIDE_ADMIN_PASSWORD is ignored"));
    server.terminate();
    let other = "quite-another-administrator";
    server.start_again_with(Options::production().env("ABIDE_ADMIN_PASSWORD", other));
    server.admin().await;
    server.terminate();
    let log = server.log();
    assert!(log.contains("ABIDE_ADMIN_PASSWORD is ignored"), "{log}");
    assert!(!log.contains(other));
}

/// 16.3.1, 16.3.2: each login attempt, denial and administrative act is an event in the store, and
/// a line of the log has its request's id.
#[tokio::test]
async fn attempts_denials_and_administrative_acts_are_kept() {
    let mut server = Options::production().arg("--log").arg("debug").start();
    let admin = server.admin().await;
    let body = json!({"username": "bob", "password": password_of("bob")});
    let made = admin.post("/v1/users", body).await.is(201).header("x-request-id");
    let body = json!({"username": "bob", "password": "a wrong password"});
    let failed = server.nobody().post("/v1/sessions", body).await.is(401).header("x-request-id");
    let bob = server.again("bob").await;
    let denied = bob.get("/v1/users").await.is(403).header("x-request-id");
    let change = json!({"disabled": true});
    let changed = admin.patch("/v1/users/bob", change).await.ok().header("x-request-id");
    server.terminate();
    let log = server.log();
    let acts = [
        ("abide.user.created", made),
        ("abide.login.failed", failed),
        ("abide.denied", denied),
        ("abide.user.changed", changed),
    ];
    for (event, id) in acts {
        assert!(!server.files_with(event.as_bytes()).is_empty(), "no {event}");
        assert!(!server.files_with(id.as_bytes()).is_empty(), "no event names {id} ({event})");
        assert!(log.lines().any(|line| line.contains(&id)), "{event}: {id} is not in\n{log}");
    }
    // Not on a terminal: each line is a JSON document.
    for line in log.lines().filter(|line| !line.is_empty()) {
        assert!(serde_json::from_str::<serde_json::Value>(line).is_ok(), "no JSON: {line}");
    }
}
