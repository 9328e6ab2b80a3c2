//! API keys and their uses: sessions on behalf, introspection, forward authentication.

use serde_json::json;

use crate::client::password_of;
use crate::server::dev;

/// An admin makes API keys; the secret is shown once.
#[tokio::test]
async fn an_api_keys_secret_is_shown_once() {
    let server = dev();
    let admin = server.admin().await;
    let body = json!({"name": "gateway", "roles": ["reader"], "on_behalf": ["a*"]});
    let answer = admin.post("/v1/api-keys", body).await.is(201);
    assert_eq!(answer.header("cache-control"), "no-store");
    let key = answer.json();
    let secret = key["key"].as_str().unwrap().to_owned();
    assert!(secret.starts_with("abk_") && secret.len() >= 47, "{}", secret.len());
    assert_eq!(key["id"].as_str().unwrap()[..4], *"key_");
    let list = admin.get("/v1/api-keys").await.is(200);
    assert!(!list.text().contains(&secret), "{list}");
    let item = &list.json()["items"][0];
    assert_eq!((&item["name"], &item["roles"]), (&json!("gateway"), &json!(["reader"])));
    assert_eq!(item["on_behalf"], json!(["a*"]));

    let service = server.bearer(&secret);
    service.get("/v1/sessions/by-key/k").await.is(404);
    let id = key["id"].as_str().unwrap();
    admin.delete(&format!("/v1/api-keys/{id}")).await.is(204);
    service.get("/v1/sessions/by-key/k").await.problem(401, "unauthenticated");
    admin.delete(&format!("/v1/api-keys/{id}")).await.problem(404, "not-found");
}

/// API 5: API keys are the administrator's, not a user's and not another key's.
#[tokio::test]
async fn api_keys_are_made_by_an_admin_only() {
    let server = dev();
    let alice = server.user("alice").await;
    let gateway = server.gateway().await;
    for role in [&alice, &gateway] {
        role.post("/v1/api-keys", json!({"name": "x"})).await.is(403);
        role.get("/v1/api-keys").await.is(403);
        role.delete("/v1/api-keys/key_01jd0000000000000000000000").await.is(403);
    }
    let admin = server.admin().await;
    for bad in [
        json!({}),
        json!({"name": ""}),
        json!({"name": "x", "roles": ["abide:root"]}),
        json!({"name": "x", "roles": "reader"}),
        json!({"name": "x", "on_behalf": ["a b"]}),
        json!({"name": "x", "token": "abk_mine"}),
    ] {
        admin.post("/v1/api-keys", bad).await.is(422);
    }
}

/// 7.2.2, API 2: an API key cannot do what needs a user's session.
#[tokio::test]
async fn an_api_key_is_no_users_session() {
    let server = dev();
    let service =
        server.service("boss", json!({"roles": ["abide:admin"], "on_behalf": ["*"]})).await;
    let password = json!({"current": "x", "new": "a new long password"});
    for call in [
        service.get("/v1/users/me"),
        service.get("/v1/users/me/data"),
        service.put("/v1/users/me/password", password),
        service.session(),
        service.data(),
        service.put_data(json!({})),
        service.post_empty("/v1/sessions/current/rotate"),
        service.post("/v1/sessions/current/elevate", json!({"password": "x"})),
        service.logout(),
        service.delete("/v1/sessions?except=current"),
    ] {
        call.await.is(403);
    }
}

/// A service makes a session for a user that it has authenticated; `actor.via` names it.
#[tokio::test]
async fn a_service_makes_a_session_on_behalf_of_a_user() {
    let server = dev();
    server.user("alice").await;
    let gateway = server.service("gateway", json!({"on_behalf": ["al*"]})).await;
    let body = json!({"user": "alice", "on_behalf": true});
    let answer = gateway.post("/v1/sessions", body).await.is(201);
    assert_eq!(answer.header("cache-control"), "no-store");
    let session = answer.json();
    assert_eq!(session["user"], "alice");
    let alice = server.bearer(session["token"].as_str().unwrap());
    assert_eq!(alice.get("/v1/users/me").await.is(200).json()["username"], "alice");
    // Operations that need the password still need it.
    let elevate = json!({"password": "the service does not know it"});
    alice.post("/v1/sessions/current/elevate", elevate).await.problem(401, "invalid-credentials");
    alice.logout().await.is(204);
}

/// The key decides for which users it may; an unknown user is made only with `create`.
#[tokio::test]
async fn a_service_acts_only_for_whom_its_key_says() {
    let server = dev();
    for name in ["alice", "bob", "xalice"] {
        server.user(name).await;
    }
    let gateway = server.service("gateway", json!({"on_behalf": ["al*"]})).await;
    let on_behalf =
        |user: &str| gateway.post("/v1/sessions", json!({"user": user, "on_behalf": true}));
    on_behalf("alice").await.is(201);
    for other in ["bob", "xalice", "admin"] {
        on_behalf(other).await.problem(403, "not-allowed");
    }
    let unknown = on_behalf("alfred").await;
    assert!([403, 404].contains(&unknown.status), "{unknown}");
    let create = |user: &str| {
        gateway.post("/v1/sessions", json!({"user": user, "on_behalf": true, "create": true}))
    };
    let made = create("alfred").await.is(201).json();
    assert_eq!((&made["user"], &made["roles"]), (&json!("alfred"), &json!([])));
    create("alfred").await.is(201);
    create("bert").await.problem(403, "not-allowed");
    // A user made so has no password, and no password is theirs.
    for password in ["", "alfred", "a wrong password"] {
        let body = json!({"username": "alfred", "password": password});
        let answer = server.nobody().post("/v1/sessions", body).await;
        assert!([401, 422].contains(&answer.status), "{answer}");
    }
    let nothing = server.service("nothing", json!({})).await;
    let body = json!({"user": "alice", "on_behalf": true});
    nothing.post("/v1/sessions", body.clone()).await.problem(403, "not-allowed");
    // A user's session is no service.
    for role in [server.again("alice").await, server.admin().await] {
        role.post("/v1/sessions", body.clone()).await.is(403);
    }
    let answer = server.nobody().post("/v1/sessions", body).await;
    assert!([401, 403].contains(&answer.status), "{answer}");
}

/// `abide:*` is never reached on behalf, whatever the key's patterns are, nor a disabled user.
#[tokio::test]
async fn powers_are_never_reached_on_behalf() {
    let server = dev();
    server.user("alice").await;
    server.user("operator").await;
    let admin = server.admin().await;
    let all = server.service("all", json!({"on_behalf": ["*"], "roles": ["abide:admin"]})).await;
    let on_behalf = |user: &str| all.post("/v1/sessions", json!({"user": user, "on_behalf": true}));
    on_behalf("admin").await.is(403);
    for role in ["abide:operator", "abide:publisher", "abide:auditor"] {
        admin.patch("/v1/users/operator", json!({"roles": [role]})).await.ok();
        on_behalf("operator").await.is(403);
    }
    // A role given afterwards does not reach into a session that was made on behalf.
    let session = on_behalf("alice").await.is(201).json();
    admin.patch("/v1/users/alice", json!({"roles": ["abide:admin", "clerk"]})).await.ok();
    let alice = server.bearer(session["token"].as_str().unwrap());
    let answer = alice.get("/v1/users").await;
    assert!([401, 403].contains(&answer.status), "{answer}");
    admin.patch("/v1/users/alice", json!({"roles": [], "disabled": true})).await.ok();
    let answer = on_behalf("alice").await;
    assert!([403, 404].contains(&answer.status), "{answer}");
}

fn form(token: &str) -> String {
    format!("token={token}&token_type_hint=access_token")
}

/// RFC 7662 section 2: a living token's state, for a service.
#[tokio::test]
async fn introspection_tells_about_a_living_token() {
    let server = dev();
    let alice = server.user("alice").await;
    let admin = server.admin().await;
    admin.patch("/v1/users/alice", json!({"roles": ["clerk", "teller"]})).await.ok();
    let gateway = server.gateway().await;
    let ask = |token: &str| {
        let body = form(token);
        gateway.call("POST", "/v1/introspect").body("application/x-www-form-urlencoded", body)
    };
    let answer = ask(alice.token()).await.is(200);
    assert_eq!(answer.header("cache-control"), "no-store");
    assert_eq!(answer.header("content-type"), "application/json");
    let state = answer.json();
    assert_eq!((&state["active"], &state["sub"]), (&json!(true), &json!("alice")));
    let mut scope: Vec<_> = state["scope"].as_str().unwrap().split(' ').collect();
    scope.sort_unstable();
    assert_eq!(scope, ["clerk", "teller"]);
    assert!(state["exp"].is_u64(), "{state}");
    assert!(state["iat"].is_u64() || state.get("iat").is_none(), "{state}");
    alice.logout().await.is(204);
    assert_eq!(ask(alice.token()).await.is(200).json(), json!({"active": false}));
}

/// RFC 7662 section 2.2: an answer about a dead token says only that.
#[tokio::test]
async fn introspection_tells_nothing_of_dead_tokens() {
    let server = dev();
    let gateway = server.gateway().await;
    let never = format!("abs_{}", "7".repeat(43));
    for token in ["x", "%20", never.as_str(), "abs_", "%00"] {
        let answer = gateway
            .call("POST", "/v1/introspect")
            .body("application/x-www-form-urlencoded", form(token))
            .await
            .is(200);
        assert_eq!(answer.json(), json!({"active": false}), "{token}");
    }
    for (media_type, body) in [
        ("application/x-www-form-urlencoded", "token=a&token=b"),
        ("application/x-www-form-urlencoded", "other=a"),
        ("application/x-www-form-urlencoded", "token=%ff"),
        ("text/plain", "token=a"),
    ] {
        let answer = gateway.call("POST", "/v1/introspect").body(media_type, body).await;
        assert!([400, 415, 422].contains(&answer.status), "{answer}");
    }
}

/// Introspection is no activity: a gateway's check must not keep a session alive for ever, and
/// it is for services only.
#[tokio::test]
async fn introspection_is_for_services_only() {
    let server = dev();
    let alice = server.user("alice").await;
    let mallory = server.user("mallory").await;
    for (role, status) in
        [(&mallory, 403), (&server.nobody(), 401), (&server.anonymous().await, 403)]
    {
        role.call("POST", "/v1/introspect")
            .body("application/x-www-form-urlencoded", form(alice.token()))
            .await
            .is(status);
    }
}

/// RFC 7662 section 2.1: the service may show its key as HTTP Basic, as other introspection
/// clients do.
#[tokio::test]
async fn introspection_takes_basic_authentication() {
    let server = dev();
    let alice = server.user("alice").await;
    let (id, secret) = server.api_key("gateway", json!({})).await;
    let basic =
        |user: &str, password: &str| format!("Basic {}", base64(format!("{user}:{password}")));
    let ask = |authorization: String| {
        server
            .nobody()
            .call("POST", "/v1/introspect")
            .header("authorization", authorization)
            .body("application/x-www-form-urlencoded", form(alice.token()))
    };
    assert_eq!(ask(basic(&id, &secret)).await.is(200).json()["active"], json!(true));
    ask(basic(&id, "abk_wrong")).await.is(401);
    ask(basic("alice", &password_of("alice"))).await.is(401);
    ask("Basic !!!".into()).await.is(401);
}

fn base64(text: impl AsRef<[u8]>) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::new();
    for chunk in text.as_ref().chunks(3) {
        let bits = chunk.iter().fold(0, |bits, byte| bits << 8 | usize::from(*byte))
            << (8 * (3 - chunk.len()));
        for at in 0..4 {
            let digit = DIGITS[bits >> (18 - 6 * at) & 63];
            out.push(if at <= chunk.len() { char::from(digit) } else { '=' });
        }
    }
    out
}

/// Forward authentication for gateways: 204 with the user and the roles, else 401.
#[tokio::test]
async fn forward_authentication_names_the_user_and_the_roles() {
    let server = dev();
    let alice = server.user("alice").await;
    server.admin().await.patch("/v1/users/alice", json!({"roles": ["clerk", "teller"]})).await.ok();
    let answer = alice.get("/v1/auth/verify").await.is(204);
    assert_eq!(answer.header("x-abide-user"), "alice");
    let roles = answer.header("x-abide-roles");
    let mut roles: Vec<_> = roles.split([',', ' ']).filter(|role| !role.is_empty()).collect();
    roles.sort_unstable();
    assert_eq!(roles, ["clerk", "teller"]);
    // By cookie as well: that is what browsers send to the gateway.
    let by_cookie =
        server.nobody().get("/v1/auth/verify").cookie(&format!("abide={}", alice.token()));
    assert_eq!(by_cookie.await.is(204).header("x-abide-user"), "alice");
    // Headers of the client do not reach the gateway as facts.
    let lie = server.nobody().get("/v1/auth/verify").header("x-abide-user", "admin").await;
    assert_eq!(lie.problem(401, "unauthenticated").header("x-abide-user"), "");
    alice.logout().await.is(204);
    alice.get("/v1/auth/verify").await.problem(401, "unauthenticated");
}

/// 8.2.1: a token that is no user's passes no gateway, living as it is.
#[tokio::test]
async fn forward_authentication_lets_in_users_only() {
    let server = dev();
    let service = server.service("shop", json!({"on_behalf": ["*"]})).await;
    for role in [server.anonymous().await, service] {
        let answer = role.get("/v1/auth/verify").await.problem(401, "unauthenticated");
        assert_eq!(answer.header("x-abide-user") + &answer.header("x-abide-roles"), "");
    }
}

/// Only effects and services write facts; a session's bearer reads them.
#[tokio::test]
async fn a_service_notes_facts_that_the_bearer_can_only_read() {
    let server = dev();
    let alice = server.user("alice").await;
    let id = alice.session().await.json()["id"].as_str().unwrap().to_owned();
    let path = format!("/v1/sessions/{id}/facts");
    let service = server.service("kyc", json!({"on_behalf": ["a*"]})).await;
    service.patch(&path, json!({"kyc": "passed", "score": {"n": 3}})).await.is(200);
    let answer = service.patch(&path, json!({"score": null, "level": 2})).await.is(200);
    let facts = json!({"kyc": "passed", "level": 2});
    assert_eq!(answer.json(), facts);
    assert_eq!(alice.get("/v1/sessions/current/facts").await.ok().json(), facts);
    assert_eq!(alice.session().await.json()["facts"], facts);

    // Not the bearer, not an administrator, not by way of the data.
    alice.patch(&path, json!({"kyc": "mine"})).await.problem(403, "not-allowed");
    server.admin().await.patch(&path, json!({"kyc": "x"})).await.problem(403, "not-allowed");
    alice.put_data(json!({"facts": {"kyc": "mine"}})).await.ok();
    // Nor a service that may not act for her, or for somebody with one of Abide's powers.
    let other = server.service("other", json!({"on_behalf": ["b*"]})).await;
    other.patch(&path, json!({"kyc": "x"})).await.problem(404, "not-found");
    let admin = server.admin().await;
    let admins = admin.session().await.json()["id"].as_str().unwrap().to_owned();
    let admins = format!("/v1/sessions/{admins}/facts");
    service.patch(&admins, json!({"kyc": "x"})).await.problem(404, "not-found");
    for bad in [json!([]), json!(null), json!("x")] {
        service.patch(&path, bad).await.problem(422, "invalid-input");
    }
    let large = json!({"kyc": "x".repeat(4096)});
    service.patch(&path, large).await.problem(413, "too-large");
    assert_eq!(alice.get("/v1/sessions/current/facts").await.ok().json(), facts);

    // A session that has ended takes no facts.
    alice.logout().await.is(204);
    service.patch(&path, json!({"kyc": "x"})).await.problem(404, "not-found");
}
