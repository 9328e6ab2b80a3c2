//! Operational endpoints, documents, metrics, and how the program starts and refuses to start.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::client::password_of;
use crate::server::{Options, dev, program};

/// Open endpoints are open to everybody.
#[tokio::test]
async fn open_endpoints_need_no_login() {
    let server = dev();
    for path in
        ["/livez", "/readyz", "/openapi.json", "/docs", "/problems/not-found", "/v1/capabilities"]
    {
        server.nobody().get(path).await.is(200);
        // A dead token does not close them.
        server.bearer("abs_dead").get(path).await.is(200);
    }
    assert!(
        server.nobody().get("/openapi.json").await.json()["openapi"]
            .as_str()
            .unwrap()
            .starts_with("3.1")
    );
}

/// Every code in the document has a page, and every code that an answer of these tests carries is
/// in the document.
#[tokio::test]
async fn every_problem_code_has_a_page() {
    let server = dev();
    let spec = server.nobody().get("/openapi.json").await.ok().json();
    let mut codes = BTreeSet::new();
    collect_codes(&spec, &mut codes);
    assert!(codes.len() > 20, "{codes:?}");
    for code in [
        "unauthenticated",
        "not-found",
        "idempotency-key-reused",
        "revision-mismatch",
        "invalid-input",
        "cross-site",
    ] {
        assert!(codes.contains(code), "{code} is not in the document");
    }
    for code in &codes {
        let page = server.nobody().get(&format!("/problems/{code}")).await.is(200);
        assert!(page.text().contains(code.as_str()), "{code}");
    }
    server.nobody().get("/problems/no-such-code").await.problem(404, "not-found");
}

/// Every `enum` or `const` of a member called `code`, and every example's of a problem (an asset
/// has a `code` too).
fn collect_codes(value: &Value, codes: &mut BTreeSet<String>) {
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                if name == "code" {
                    let listed = member["enum"].as_array().cloned().unwrap_or_default();
                    let is_asset = members.contains_key("scale");
                    let example = (!is_asset).then_some(member);
                    for code in listed.iter().chain([&member["const"]]).chain(example) {
                        if let Some(code) = code.as_str() {
                            codes.insert(code.to_owned());
                        }
                    }
                }
                collect_codes(member, codes);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| collect_codes(item, codes)),
        _ => {}
    }
}

/// `/metrics` is for auditors (and the operations port); users and strangers are refused.
#[tokio::test]
async fn metrics_are_for_auditors() {
    let server = dev();
    let alice = server.user("alice").await;
    server.nobody().get("/metrics").await.problem(401, "unauthenticated");
    alice.get("/metrics").await.problem(403, "not-allowed");
    let admin = server.admin().await;
    admin.patch("/v1/users/alice", json!({"roles": ["abide:auditor"]})).await.ok();
    let metrics = alice.get("/metrics").await.is(200);
    assert!(
        metrics.header("content-type").starts_with("application/openmetrics-text")
            || metrics.header("content-type").starts_with("text/plain"),
        "{metrics}"
    );
    let text = metrics.text();
    for family in ["http", "commit", "session", "queue", "sync", "journal"] {
        assert!(text.contains(family), "nothing about {family} in:\n{text}");
    }
    // Labels have few values: routes, not paths.
    for _ in 0..3 {
        alice.get("/v1/nothing/to/be/found").await.is(404);
    }
    assert!(!alice.get("/metrics").await.text().contains("nothing/to"));
}

/// `--ops-listen`: everything operational without a login, and nothing else.
#[tokio::test]
async fn the_operations_port_serves_operations_only() {
    let port = {
        let probe = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        probe.local_addr().unwrap().port()
    };
    let address = format!("127.0.0.1:{port}");
    let server = Options::dev().arg("--ops-listen").arg(&address).start();
    server.user("alice").await;
    let get = |path: &str| {
        let request =
            format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
        crate::raw::exchange(&address, request.as_bytes())
    };
    for path in ["/livez", "/readyz", "/metrics"] {
        let answer = get(path);
        assert_eq!(crate::raw::status(&answer), 200, "{answer}");
    }
    for path in ["/v1/sessions/current", "/v1/users", "/v1/dev/clock"] {
        let answer = get(path);
        assert_eq!(crate::raw::status(&answer), 404, "{answer}");
    }
}

/// 13.4.6: strangers learn no version, by no header and no page they can read.
#[tokio::test]
async fn strangers_are_told_no_version() {
    let server = dev();
    for path in ["/livez", "/nothing", "/v1/sessions/current"] {
        let answer = server.nobody().get(path).await;
        assert_eq!(answer.header("server"), "", "{answer}");
        assert!(!answer.text().contains(env!("CARGO_PKG_VERSION")), "{answer}");
    }
}

/// The administrator's status shows the facts that an operator needs first; others are refused.
#[tokio::test]
async fn the_status_is_for_admins() {
    let server = dev();
    server.admin().await.get("/v1/admin/status").await.is(200);
    server.user("alice").await.get("/v1/admin/status").await.problem(403, "not-allowed");
    server.nobody().get("/v1/admin/status").await.problem(401, "unauthenticated");
}

/// `--dev` is for one's own machine: not on an address that others reach.
#[test]
fn dev_is_refused_off_loopback() {
    let data = tempfile::tempdir().unwrap();
    let output = program(["serve", "--dev", "--listen", "0.0.0.0:0", "--data"])
        .arg(data.path().join("db"))
        .output()
        .unwrap();
    assert_ne!(output.status.code(), Some(0));
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(error.contains("dev is for this machine only"), "{error}");
    assert!(output.stdout.is_empty());
}

/// A data directory used with `--dev` opens only with it, and the other way round stays safe.
#[tokio::test]
async fn a_dev_directory_is_not_served_without_dev() {
    let mut server = dev();
    server.terminate();
    let output = program(["serve", "--listen", "127.0.0.1:0", "--data"])
        .arg(server.data_dir())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(error.contains("--dev"), "{error}");
    server.start_again();
    server.admin().await;
}

/// One directory, one server.
#[tokio::test]
async fn a_second_server_on_the_same_directory_is_refused() {
    let server = dev();
    let output = program(["serve", "--dev", "--listen", "127.0.0.1:0", "--data"])
        .arg(server.data_dir())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(error.trim().lines().count() <= 2, "one clear line: {error}");
    assert!(server.admin().await.is_alive().await);
}

/// Exit codes: usage is 2, a failure 1; one clear line, no panic.
#[test]
fn wrong_arguments_end_with_2_and_failures_with_1() {
    let data = tempfile::tempdir().unwrap();
    let file = data.path().join("file");
    std::fs::write(&file, "x").unwrap();
    let file = file.to_str().unwrap();
    let db = data.path().join("db");
    let db = db.to_str().unwrap();
    let table: [(&[&str], i32); 6] = [
        (&["serve", "--no-such-flag"], 2),
        (&["no-such-command"], 2),
        (&["serve", "--data", db, "--listen", "nonsense"], 2),
        (&["serve", "--data", file, "--listen", "127.0.0.1:0"], 1),
        (&["serve", "--data", db, "--listen", "192.0.2.1:80"], 1),
        (
            &[
                "serve",
                "--data",
                db,
                "--listen",
                "127.0.0.1:0",
                "--config",
                "/nonexistent/abide.toml",
            ],
            2,
        ),
    ];
    for (args, code) in table {
        let output = program(args).output().unwrap();
        let error = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{args:?}: {error}");
        assert!(!error.contains("panicked"), "{args:?}: {error}");
        assert!(!error.is_empty());
    }
    let help = program(["--help"]).output().unwrap();
    assert_eq!(help.status.code(), Some(0));
    assert!(String::from_utf8_lossy(&help.stdout).contains("serve"));
}

/// A password in the environment that the rules refuse: reported at the start, not at the login.
#[test]
fn a_weak_administrators_password_is_refused_at_the_start() {
    let data = tempfile::tempdir().unwrap();
    let output = program(["serve", "--listen", "127.0.0.1:0", "--data"])
        .arg(data.path().join("db"))
        .env("ABIDE_ADMIN_PASSWORD", "short")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(error.contains("ABIDE_ADMIN_PASSWORD"), "{error}");
    assert!(!error.contains("short\""), "{error}");
}

/// Only the first start takes `ABIDE_ADMIN_PASSWORD`: a restart with another one changes nothing.
#[tokio::test]
async fn the_administrators_password_is_taken_at_the_first_start_only() {
    let mut server = dev();
    server.admin().await;
    server.terminate();
    server.start_again_with(Options::dev().env("ABIDE_ADMIN_PASSWORD", "quite another password"));
    server.admin().await;
    let body = json!({"username": "admin", "password": "quite another password"});
    server.nobody().post("/v1/sessions", body).await.problem(401, "invalid-credentials");
}

/// The rate limits of a deployment are shown in headers, and end in a 429 with a time.
#[tokio::test]
async fn rate_limits_tell_their_state() {
    let server = Options::production().start();
    let admin = server.admin().await;
    let answer = admin.session().await.ok();
    assert!(!answer.header("ratelimit-policy").is_empty(), "{answer}");
    assert!(!answer.header("ratelimit").is_empty(), "{answer}");
    // Logins are the strict ones.
    let mut limited = None;
    for n in 0..200 {
        let body = json!({"username": format!("guess{n}"), "password": password_of("x")});
        let answer = server.nobody().post("/v1/sessions", body).await;
        if answer.status == 429 {
            limited = Some(answer);
            break;
        }
    }
    let limited = limited.expect("200 logins in a row and no limit");
    assert!(limited.header("retry-after").parse::<u64>().unwrap() >= 1, "{limited}");
    assert!(admin.is_alive().await, "6.1.1: sessions go on");
}

/// API4: calls that cost a hash are few from one address, also if none fails and so nothing has to
/// wait after failures.
#[tokio::test]
async fn calls_that_hash_are_limited_by_address() {
    let server = Options::production().start();
    let body = json!({"link": "abl_made_up", "password": "a password of length"});
    for _ in 0..200 {
        let answer = server.nobody().post("/v1/set-password", body.clone()).await;
        if answer.status == 429 {
            answer.problem(429, "rate-limited");
            return;
        }
        answer.problem(410, "link-not-valid");
    }
    panic!("200 calls in a row and no limit");
}

/// Anonymous sessions are counted apart from logins, and passwords in sessions that are open by
/// user: a client that tries to log in from an address takes neither from others there. A 429 says
/// what it counts.
#[tokio::test]
async fn rates_are_apart_and_a_refusal_says_what_is_counted() {
    let config = "rate_login = \"2/1h\"\nrate_anonymous = \"3/1h\"\nanonymous_open = true\n";
    let server = Options::production().config(config).start();
    let admin = server.admin().await;
    let login = json!({"username": "admin", "password": "a wrong password"});
    server.nobody().post("/v1/sessions", login.clone()).await.problem(401, "invalid-credentials");
    let counted = |answer: crate::client::Answer, what: &str| {
        let answer = answer.problem(429, "rate-limited");
        let detail = answer.json()["detail"].as_str().unwrap().to_owned();
        assert!(detail.contains(what), "{detail}");
        assert!(!answer.header("retry-after").is_empty());
    };
    counted(server.nobody().post("/v1/sessions", login).await, "logins");
    for _ in 0..3 {
        server.anonymous().await;
    }
    let answer = server.nobody().post("/v1/sessions", json!({})).await;
    counted(answer, "anonymous sessions opened from this address");
    let password = json!({"password": crate::server::ADMIN_PASSWORD});
    let path = "/v1/sessions/current/elevate";
    let token = admin.post(path, password.clone()).await.ok().json()["token"].clone();
    let admin = server.bearer(token.as_str().unwrap());
    let wrong = json!({"password": "a wrong password"});
    admin.post(path, wrong).await.problem(401, "invalid-credentials");
    counted(admin.post(path, password).await, "passwords proved in sessions of this user");
}
