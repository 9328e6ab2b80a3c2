//! Behaviour that a browser relies on: cookies, same-origin changes, CORS, headers.

use serde_json::json;

use crate::client::{Call, Role, password_of};
use crate::server::{Options, Server, dev, program};

async fn cookie_login(server: &Server) -> (String, crate::client::Answer) {
    let body = json!({"username": "alice", "password": password_of("alice"), "cookie": true});
    let answer = server
        .nobody()
        .post("/v1/sessions", body)
        .header("sec-fetch-site", "same-origin")
        .await
        .is(201);
    let line = answer.set_cookies().into_iter().find(|line| line.starts_with("abide=")).unwrap();
    let value = line.split(';').next().unwrap().trim_start_matches("abide=").to_owned();
    (value, answer)
}

fn by_cookie(nobody: &Role, cookie: &str, call: impl Fn(&Role) -> Call) -> Call {
    call(nobody).cookie(&format!("abide={cookie}"))
}

/// 3.3.1, 3.3.2, 3.3.4: the cookie and its attributes; the token is in the cookie only.
#[tokio::test]
async fn a_cookie_login_gives_the_token_only_as_a_cookie() {
    let server = dev();
    server.user("alice").await;
    let (value, answer) = cookie_login(&server).await;
    assert!(value.starts_with("abs_"));
    assert!(!answer.text().contains(&value), "{answer}");
    assert!(answer.json()["token"].is_null(), "{answer}");
    assert_eq!(answer.set_cookies().len(), 1);
    let line = answer.set_cookies().remove(0);
    let attributes: Vec<_> = line.split("; ").skip(1).map(str::to_ascii_lowercase).collect();
    for attribute in ["httponly", "path=/", "samesite=lax"] {
        assert!(attributes.iter().any(|given| given == attribute), "{attribute} in {line}");
    }
    assert!(!attributes.iter().any(|given| given.starts_with("domain")), "{line}");
    // Plain http on loopback: a Secure cookie would never come back.
    assert!(!attributes.iter().any(|given| given == "secure"), "{line}");
    let session = by_cookie(&server.nobody(), &value, Role::session).await.is(200);
    assert_eq!(session.json()["user"], "alice");
}

/// 3.5.1: a change by cookie must come from the same origin; `Sec-Fetch-Site` says, else `Origin`.
#[tokio::test]
async fn cross_site_changes_by_cookie_are_refused() {
    let server = dev();
    server.user("alice").await;
    let (cookie, _) = cookie_login(&server).await;
    let nobody = server.nobody();
    let write = || by_cookie(&nobody, &cookie, |role| role.put_data(json!({"n": 1})));
    for site in ["cross-site", "same-site", "none", "x", ""] {
        write().header("sec-fetch-site", site).await.problem(403, "cross-site");
    }
    let port = server.address().rsplit(':').next().unwrap().to_owned();
    for origin in [
        "https://evil.example",
        "null",
        "",
        "http://127.0.0.1",
        "http://127.0.0.1.evil.example",
        &format!("http://localhost:{port}"),
        &format!("https://127.0.0.1:{port}"),
        &format!("http://127.0.0.1:{port}.evil.example"),
    ] {
        write().header("origin", origin).await.problem(403, "cross-site");
    }
    // Neither header: not a browser that certainly asked its user.
    write().await.problem(403, "cross-site");
    // Fetch metadata goes before a fitting Origin.
    write()
        .header("origin", server.base())
        .header("sec-fetch-site", "cross-site")
        .await
        .problem(403, "cross-site");
    let data = || by_cookie(&nobody, &cookie, Role::data);
    assert_eq!(data().await.json(), json!({}));
    write().header("sec-fetch-site", "same-origin").await.ok();
    write().header("origin", server.base()).await.ok();
    assert_eq!(data().await.json(), json!({"n": 1}));
    // Each changing call, not only that one.
    for call in [
        Role::logout as fn(&Role) -> Call,
        |role| role.post_empty("/v1/sessions/current/rotate"),
        |role| role.delete("/v1/sessions?except=current"),
        |role| role.patch_data(json!({})),
        |role| role.put("/v1/users/me/data", json!({})),
    ] {
        let call = by_cookie(&nobody, &cookie, call);
        call.header("sec-fetch-site", "cross-site").await.problem(403, "cross-site");
    }
    // A bearer token is not sent by browsers on their own, so it needs no origin.
    let bearer = server.bearer(&cookie);
    bearer.put_data(json!({})).header("origin", "https://evil.example").await.ok();
}

/// 3.5.1: a login that sets a cookie is a change too (login CSRF).
#[tokio::test]
async fn a_cross_site_login_by_cookie_is_refused() {
    let server = dev();
    server.user("alice").await;
    let body = json!({"username": "alice", "password": password_of("alice"), "cookie": true});
    for (name, value) in [("sec-fetch-site", "cross-site"), ("origin", "https://evil.example")] {
        let answer = server.nobody().post("/v1/sessions", body.clone()).header(name, value).await;
        assert!(answer.set_cookies().is_empty());
        answer.problem(403, "cross-site");
    }
}

/// 3.5.3: no GET changes anything: neither the data nor the session, by no path.
#[tokio::test]
async fn get_and_head_change_nothing() {
    let server = dev();
    server.user("alice").await;
    let (cookie, _) = cookie_login(&server).await;
    let nobody = server.nobody();
    let spec = nobody.get("/openapi.json").await.ok().json();
    for (path, _) in spec["paths"].as_object().unwrap() {
        // A socket takes commands, so its Origin is checked.
        if path == "/v1/socket" {
            continue;
        }
        let path = path.replace(['{', '}'], "");
        for method in ["GET", "HEAD"] {
            let mut call = nobody.call(method, &path).cookie(&format!("abide={cookie}"));
            if path.ends_with("/events") {
                // A page: a stream has no end.
                call = call.header("accept", "application/json");
            }
            let answer = call.header("sec-fetch-site", "cross-site").await;
            assert_ne!(answer.code(), "cross-site", "{answer}");
        }
    }
    assert_eq!(by_cookie(&nobody, &cookie, Role::session).await.is(200).json()["user"], "alice");
    assert_eq!(by_cookie(&nobody, &cookie, Role::data).await.json(), json!({}));
}

/// 7.4.1, 14.3.1: a logout by cookie kills the token and has the browser forget the cookie.
#[tokio::test]
async fn a_logout_by_cookie_takes_the_cookie_back() {
    let server = dev();
    server.user("alice").await;
    let (cookie, _) = cookie_login(&server).await;
    let nobody = server.nobody();
    let answer =
        by_cookie(&nobody, &cookie, Role::logout).header("sec-fetch-site", "same-origin").await;
    let answer = answer.is(204);
    let lines = answer.set_cookies().join("\n");
    assert!(lines.starts_with("abide=;") && lines.contains("Max-Age=0"), "{answer}");
    by_cookie(&nobody, &cookie, Role::session).await.problem(401, "unauthenticated");
    server.bearer(&cookie).is_dead().await;
}

/// 7.2.4: rotation in a cookie session sets the new cookie, and shows the token nowhere else.
#[tokio::test]
async fn rotation_by_cookie_sets_the_new_cookie() {
    let server = dev();
    server.user("alice").await;
    let (cookie, _) = cookie_login(&server).await;
    let nobody = server.nobody();
    let answer = by_cookie(&nobody, &cookie, |role| role.post_empty("/v1/sessions/current/rotate"))
        .header("sec-fetch-site", "same-origin")
        .await
        .ok();
    let line = answer.set_cookies().remove(0);
    assert!(line.starts_with("abide=abs_") && line.contains("HttpOnly"), "{line}");
    assert!(!answer.text().contains("abs_"), "{answer}");
    by_cookie(&nobody, &cookie, Role::session).await.problem(401, "unauthenticated");
    let new = line.split(';').next().unwrap().trim_start_matches("abide=");
    by_cookie(&nobody, new, Role::session).await.is(200);
}

/// Two credentials in one request, or two cookies of the name: nobody is guessed.
#[tokio::test]
async fn doubled_credentials_are_refused() {
    let server = dev();
    let alice = server.user("alice").await;
    let mallory = server.user("mallory").await;
    let (a, m) = (alice.token(), mallory.token());
    let answer = server.nobody().session().cookie(&format!("abide={a}; abide={m}")).await;
    assert!([400, 401].contains(&answer.status), "{answer}");
    let answer = alice.session().cookie(&format!("abide={m}")).await;
    if answer.status == 200 {
        assert_eq!(answer.json()["user"], "alice", "the explicit header counts");
    } else {
        assert_eq!(answer.status, 400, "{answer}");
    }
}

/// 3.4.2: without configuration there is no CORS: no origin gets its headers.
#[tokio::test]
async fn cors_is_closed_by_default() {
    let server = dev();
    let alice = server.user("alice").await;
    for origin in ["https://evil.example", "null", "http://localhost:3000"] {
        for answer in [
            alice.session().header("origin", origin).await,
            server
                .nobody()
                .call("OPTIONS", "/v1/sessions/current")
                .header("origin", origin)
                .header("access-control-request-method", "DELETE")
                .await,
        ] {
            assert_eq!(answer.header("access-control-allow-origin"), "", "{answer}");
            assert_eq!(answer.header("access-control-allow-credentials"), "", "{answer}");
        }
    }
}

/// A page may send every header that the API documents, and read every one of its answers; a
/// pattern allows all origins below a domain.
#[tokio::test]
async fn pages_may_send_and_read_what_the_api_documents() {
    let server =
        Options::dev().arg("--cors-origins").arg("https://*.example.com,https://a.example").start();
    let alice = server.user("alice").await;
    let document = alice.get("/openapi.json").await.ok().json();
    let origin = "https://app.eu.example.com";
    let preflight = server.nobody().call("OPTIONS", "/v1/sessions/current/data");
    let preflight = preflight.header("access-control-request-method", "PATCH");
    let preflight = preflight.header("origin", origin).await.ok();
    assert_eq!(preflight.header("access-control-allow-origin"), origin);
    let list = |text: String| -> Vec<String> {
        text.split(',').map(|name| name.trim().to_ascii_lowercase()).collect()
    };
    let allowed = list(preflight.header("access-control-allow-headers"));
    let components = &document["components"];
    let sent = components["parameters"].as_object().unwrap().values();
    let sent = sent.filter(|parameter| parameter["in"] == "header");
    let sent = sent.map(|parameter| parameter["name"].as_str().unwrap().to_ascii_lowercase());
    let always = ["authorization", "content-type", "prefer", "last-event-id", "traceparent"];
    for name in sent.chain(always.map(str::to_owned)) {
        assert!(allowed.contains(&name), "{name}: {preflight}");
    }
    let answer = alice.session().header("origin", origin).await.ok();
    assert_eq!(answer.header("access-control-allow-origin"), origin);
    let exposed = list(answer.header("access-control-expose-headers"));
    let told = components["headers"].as_object().unwrap().keys();
    // Cookies are the browser's own.
    let told = told.filter(|name| !["Set-Cookie", "Clear-Site-Data"].contains(&name.as_str()));
    for name in told.map(|name| name.to_ascii_lowercase()).chain(["preference-applied".to_owned()])
    {
        assert!(exposed.contains(&name), "{name}: {answer}");
    }
    for other in ["https://example.com", "https://evil-example.com", "https://x.a.example"] {
        let answer = alice.session().header("origin", other).await.ok();
        assert_eq!(answer.header("access-control-allow-origin"), "", "{other}");
    }
    for bad in ["https://*.com", "*", "https://a.*.example", "https://a.example/path"] {
        let checked = program(["config", "check", "--cors-origins", bad]).output().unwrap();
        let said = String::from_utf8_lossy(&checked.stderr).into_owned();
        assert!(!checked.status.success() && said.contains("cors-origins"), "{bad}: {said}");
    }
}

/// 3.4.2: configured origins get their own name, never `*`, and `Vary` informs caches.
#[tokio::test]
async fn cors_answers_configured_origins_only() {
    let app = "https://app.example";
    let server = Options::dev().arg("--cors-origin").arg(app).start();
    let alice = server.user("alice").await;
    let answer = alice.session().header("origin", app).await.ok();
    assert_eq!(answer.header("access-control-allow-origin"), app);
    assert!(answer.header("vary").to_ascii_lowercase().contains("origin"), "{answer}");
    let preflight = server
        .nobody()
        .call("OPTIONS", "/v1/sessions/current/data")
        .header("origin", app)
        .header("access-control-request-method", "PATCH")
        .header(
            "access-control-request-headers",
            "authorization, content-type, if-match, idempotency-key",
        )
        .await
        .ok();
    assert_eq!(preflight.header("access-control-allow-origin"), app);
    assert!(preflight.header("access-control-allow-methods").contains("PATCH"), "{preflight}");
    let allowed = preflight.header("access-control-allow-headers").to_ascii_lowercase();
    for header in ["authorization", "content-type", "if-match", "idempotency-key"] {
        assert!(allowed.contains(header), "{header} in {preflight}");
    }
    for other in [
        "https://evil.example",
        "https://app.example.evil.example",
        "http://app.example",
        "https://APP.example:443",
    ] {
        let answer = alice.session().header("origin", other).await;
        assert_ne!(answer.header("access-control-allow-origin"), other, "{answer}");
        assert_ne!(answer.header("access-control-allow-origin"), "*", "{answer}");
        assert!(answer.header("vary").to_ascii_lowercase().contains("origin"), "{answer}");
    }
}

/// 3.4.x: protective headers on every page and on every status.
#[tokio::test]
async fn pages_carry_protective_headers_on_every_status() {
    let server = dev();
    let nobody = server.nobody();
    for path in
        ["/docs", "/problems/not-found", "/problems/nothing", "/nothing", "/v1/nothing", "/livez"]
    {
        let answer = nobody.get(path).await;
        let policy = answer.header("content-security-policy");
        assert!(policy.contains("default-src 'none'"), "{answer}");
        assert!(policy.contains("frame-ancestors 'none'"), "{answer}");
        assert!(!policy.contains("unsafe-inline") && !policy.contains("unsafe-eval"), "{answer}");
        assert_eq!(answer.header("x-content-type-options"), "nosniff", "{answer}");
        assert_eq!(answer.header("referrer-policy"), "no-referrer", "{answer}");
    }
    // Pages need no network and no inline script.
    for path in ["/docs", "/problems/not-found"] {
        let page = nobody.get(path).await.ok();
        assert!(page.header("content-type").starts_with("text/html"), "{page}");
        let text = page.text();
        for outside in [
            "src=\"http",
            "src='http",
            "href=\"http",
            "url(http",
            "@import",
            "<script>",
            " onerror=",
            " onclick=",
        ] {
            assert!(!text.contains(outside), "{outside} in {path}");
        }
    }
}

/// Personal data and secrets are kept in no cache.
#[tokio::test]
async fn answers_about_persons_are_not_cached() {
    let server = dev();
    let alice = server.user("alice").await;
    for path in [
        "/v1/sessions/current",
        "/v1/sessions/current/data",
        "/v1/sessions",
        "/v1/users/me",
        "/v1/users/me/data",
        "/v1/auth/verify",
    ] {
        let answer = alice.get(path).await.ok();
        assert!(answer.header("cache-control").contains("no-store"), "{answer}");
    }
}
