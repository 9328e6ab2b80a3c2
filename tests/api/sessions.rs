//! Login, the session itself, rotation, elevation, listing, ending.

use std::collections::HashSet;

use serde_json::json;

use crate::client::{Role, password_of};
use crate::server::{Options, dev};

/// `POST /v1/sessions` answers with the members, their formats, no more and no fewer.
#[tokio::test]
async fn a_login_answers_with_the_session_and_its_token() {
    let server = dev();
    server.user("alice").await;
    let answer = server
        .nobody()
        .post("/v1/sessions", json!({"username": "alice", "password": password_of("alice")}))
        .await
        .is(201);
    assert_eq!(answer.header("cache-control"), "no-store");
    assert!(answer.set_cookies().is_empty(), "a cookie that nobody asked for: {answer}");
    let session = answer.json();
    for member in ["id", "token", "user", "roles", "created_at", "idle_expires_at", "expires_at"] {
        assert!(!session[member].is_null(), "{member} is missing: {answer}");
    }
    let id = session["id"].as_str().unwrap();
    assert_eq!((id.len(), &id[..4]), (30, "ses_"), "{id}");
    assert_eq!(session["user"], "alice");
    assert_eq!(session["roles"], json!([]));
    for time in ["created_at", "idle_expires_at", "expires_at"] {
        let text = session[time].as_str().unwrap();
        assert_eq!((text.len(), &text[19..20], &text[23..]), (24, ".", "Z"), "{time}: {text}");
    }
}

/// 7.2.1, 7.2.3, 11.5.1: opaque, 256 bits, `abs_` and base62, never the same twice.
#[tokio::test]
async fn tokens_are_opaque_and_carry_256_bits() {
    let server = dev();
    let alice = server.user("alice").await;
    let mut tokens = HashSet::from([alice.token().to_owned()]);
    for _ in 0..19 {
        tokens.insert(server.anonymous().await.token().to_owned());
    }
    assert_eq!(tokens.len(), 20);
    for token in tokens {
        let secret = token.strip_prefix("abs_").unwrap();
        assert!(secret.bytes().all(|byte| byte.is_ascii_alphanumeric()), "{token}");
        // 43 base62 digits are 256.03 bits.
        assert!(secret.len() >= 43, "{} digits are fewer than 256 bits", secret.len());
    }
}

/// 7.2.1: a token is compared whole.
#[tokio::test]
async fn a_token_with_one_character_changed_is_nobody() {
    let server = dev();
    let alice = server.user("alice").await;
    let token = alice.token().to_owned();
    for at in [4, 5, token.len() / 2, token.len() - 1] {
        let mut bytes = token.clone().into_bytes();
        bytes[at] = if bytes[at] == b'a' { b'b' } else { b'a' };
        server.bearer(std::str::from_utf8(&bytes).unwrap()).is_dead().await;
    }
    for other in [
        &token[..token.len() - 1],
        &format!("{token}a"),
        &token[4..],
        &token.to_uppercase(),
        &token.replace("abs_", "abk_"),
        "abs_",
        "x",
    ] {
        server.bearer(other).is_dead().await;
    }
    assert!(alice.is_alive().await);
}

/// 7.2.1: anything but one `Bearer TOKEN` authenticates nobody.
#[tokio::test]
async fn other_forms_of_the_authorization_header_are_refused() {
    let server = dev();
    let alice = server.user("alice").await;
    let token = alice.token();
    for value in [
        token.to_owned(),
        format!("Basic {token}"),
        format!("Bearer  {token} x"),
        format!("Bearer {token}, Bearer {token}"),
        "Bearer".to_owned(),
        "Bearer ".to_owned(),
    ] {
        let answer = server.nobody().session().header("authorization", &value).await;
        assert!([400, 401].contains(&answer.status), "{value:?}: {answer}");
    }
    // RFC 9110: the scheme's name does not depend on case.
    server.nobody().session().header("authorization", format!("bearer {token}")).await.ok();
    let answer = alice.session().header("authorization", format!("Bearer {token}")).await;
    assert_eq!(answer.status, 400, "two Authorization headers: {answer}");
}

/// 14.2.1: a token in a query string is never read.
#[tokio::test]
async fn a_token_in_the_query_string_is_not_read() {
    let server = dev();
    let alice = server.user("alice").await;
    for name in ["token", "access_token", "authorization", "abide"] {
        let path = format!("/v1/sessions/current?{name}={}", alice.token());
        let answer = server.nobody().get(&path).await;
        assert!([400, 401, 422].contains(&answer.status), "{answer}");
    }
    assert!(!server.log().contains(alice.token()), "and it is not logged either");
}

/// `GET /v1/sessions/current` shows the session, without its token.
#[tokio::test]
async fn the_current_session_is_shown_without_secrets() {
    let server = dev();
    let alice = server.user("alice").await;
    let answer = alice.session().await.is(200);
    let session = answer.json();
    for member in ["id", "user", "roles", "created_at", "idle_expires_at", "expires_at"] {
        assert!(!session[member].is_null(), "{member} is missing: {answer}");
    }
    assert_eq!(answer.header("cache-control"), "no-store");
    assert!(session.get("token").is_none(), "{answer}");
    assert!(session.get("data").is_none(), "{answer}");
    assert!(!answer.text().contains(alice.token()));

    alice.put_data(json!({"cart": [1, 2]})).await.ok();
    let with = alice.get("/v1/sessions/current?include=data").await.is(200).json();
    assert_eq!(with["data"], json!({"cart": [1, 2]}));
    alice.get("/v1/sessions/current?include=secrets").await.is(400);
}

/// 7.4.1: after the 204 the bearer token is dead, and the answer does not reveal that it lived.
#[tokio::test]
async fn a_logout_ends_the_session_at_once() {
    let server = dev();
    let alice = server.user("alice").await;
    let other = server.again("alice").await;
    alice.logout().await.is(204);
    alice.is_dead().await;
    alice.logout().await.problem(401, "unauthenticated");
    alice.data().await.problem(401, "unauthenticated");
    assert!(other.is_alive().await, "a logout ends one session");

    // A dead token and one that never was: the same answer but for the request id.
    let dead = alice.session().await;
    let never = server.bearer(&format!("abs_{}", "7".repeat(43))).session().await;
    let shape = |answer: &crate::client::Answer| {
        let mut problem = answer.json();
        problem["instance"] = json!("");
        (answer.status, problem, answer.header("www-authenticate"))
    };
    assert_eq!(shape(&dead), shape(&never));
}

/// 14.3.1: a logout tells the browser to forget.
#[tokio::test]
async fn a_logout_sends_clear_site_data() {
    let server = dev();
    let answer = server.user("alice").await.logout().await.is(204);
    assert!(answer.header("clear-site-data").contains("\"cookies\""), "{answer}");
}

/// RFC 6750 section 3: a 401 names the scheme.
#[tokio::test]
async fn a_401_names_the_scheme_that_would_do() {
    let server = dev();
    let answer = server.nobody().session().await.problem(401, "unauthenticated");
    assert!(answer.header("www-authenticate").starts_with("Bearer"), "{answer}");
}

/// 7.2.4: rotation gives a new token; the old one is dead at once; nothing else changes.
#[tokio::test]
async fn rotation_replaces_the_token_and_keeps_the_session() {
    let server = dev();
    let alice = server.user("alice").await;
    alice.put_data(json!({"kept": true})).await.ok();
    let before = alice.session().await.json();
    let answer = alice.post_empty("/v1/sessions/current/rotate").await.ok();
    let token = answer.json()["token"].as_str().unwrap().to_owned();
    assert_ne!(token, alice.token());
    assert_eq!(answer.header("cache-control"), "no-store");
    alice.is_dead().await;
    let rotated = alice.with_token(&token);
    let after = rotated.session().await.is(200).json();
    for member in ["id", "user", "created_at", "expires_at"] {
        assert_eq!(after[member], before[member], "{member}");
    }
    assert_eq!(rotated.data().await.json(), json!({"kept": true}));
}

/// 7.2.4: of racing rotations one wins, and exactly one token lives afterwards.
#[tokio::test]
async fn racing_rotations_leave_one_living_token() {
    let server = dev();
    let alice = server.user("alice").await;
    let calls: Vec<_> = (0..16)
        .map(|_| {
            let call = alice.post_empty("/v1/sessions/current/rotate");
            tokio::spawn(call.into_future())
        })
        .collect();
    let mut living = 0;
    for call in calls {
        let answer = call.await.unwrap();
        if answer.status == 401 {
            continue;
        }
        let token = answer.ok().json()["token"].as_str().unwrap().to_owned();
        living += u32::from(alice.with_token(&token).is_alive().await);
    }
    assert_eq!(living, 1);
    alice.is_dead().await;
}

/// 7.5.1, 7.2.4: elevation needs the password and gives a new token and a time.
#[tokio::test]
async fn elevation_needs_the_password_and_renews_the_token() {
    let server = dev();
    let alice = server.user("alice").await;
    let path = "/v1/sessions/current/elevate";
    let wrong = json!({"password": "not the password"});
    alice.post(path, wrong).await.problem(401, "invalid-credentials");
    assert!(alice.is_alive().await, "a failed elevation ends nothing");
    assert!(alice.session().await.json()["elevated_until"].is_null());

    let answer = alice.post(path, json!({"password": password_of("alice")})).await.ok().json();
    let until = answer["elevated_until"].as_str().unwrap().to_owned();
    let elevated = alice.with_token(answer["token"].as_str().unwrap());
    alice.is_dead().await;
    assert_eq!(elevated.session().await.json()["elevated_until"], json!(until));
}

/// Own sessions with device, address, last seen, current; nobody else's.
#[tokio::test]
async fn own_sessions_are_listed_and_nobody_elses() {
    let server = dev();
    let alice = server.user("alice").await;
    let laptop = server
        .nobody()
        .post("/v1/sessions", json!({"username": "alice", "password": password_of("alice")}))
        .header("user-agent", "a laptop")
        .await
        .is(201)
        .json();
    server.user("mallory").await;
    let list = alice.get("/v1/sessions").await.is(200).json();
    let items = list["items"].as_array().unwrap();
    assert_eq!(items.len(), 2, "{list}");
    // Newest first.
    assert_eq!(items[0]["id"], laptop["id"]);
    assert!(items[0].to_string().contains("a laptop"), "the device is shown: {list}");
    assert!(items[0].to_string().contains("127.0.0.1"), "the address is shown: {list}");
    assert_eq!((&items[0]["current"], &items[1]["current"]), (&json!(false), &json!(true)));
    assert!(!list.to_string().contains("abs_"), "{list}");
    alice.get("/v1/sessions?user=mallory").await.problem(403, "not-allowed");
    let admins = server.admin().await.get("/v1/sessions?user=mallory").await.is(200).json();
    assert_eq!(admins["items"].as_array().unwrap().len(), 1, "{admins}");
    assert_eq!(admins["items"][0]["user"], "mallory");
}

/// Limits, pages, and stability while sessions come and go.
#[tokio::test]
async fn the_list_of_sessions_pages_without_gap_or_double() {
    let server = dev();
    let alice = server.user("alice").await;
    for _ in 0..6 {
        server.again("alice").await;
    }
    let mut seen = Vec::new();
    let mut path = "/v1/sessions?limit=3".to_owned();
    loop {
        let page = alice.get(&path).await.is(200).json();
        let items = page["items"].as_array().unwrap();
        assert!(items.len() <= 3);
        seen.extend(items.iter().map(|item| item["id"].as_str().unwrap().to_owned()));
        if seen.len() == 3 {
            // A newer session must neither shift nor repeat what follows.
            server.again("alice").await;
        }
        let Some(cursor) = page["next_cursor"].as_str() else { break };
        path = format!("/v1/sessions?limit=3&cursor={cursor}");
    }
    assert_eq!(seen.len(), 7, "{seen:?}");
    assert_eq!(seen.iter().collect::<HashSet<_>>().len(), 7);
    let mut sorted = seen.clone();
    sorted.sort_by(|a, b| b.cmp(a));
    assert_eq!(seen, sorted, "newest first");
    for bad in ["0", "201", "-1", "x", "1.5", "99999999999999999999"] {
        alice.get(&format!("/v1/sessions?limit={bad}")).await.is(422);
    }
    alice.get("/v1/sessions?cursor=made-up").await.problem(422, "invalid-input");
}

/// A cursor belongs to the list that gave it: garbage, an id, and a cursor of another list, or of
/// the same list of another thing, are refused alike.
#[tokio::test]
async fn cursors_belong_to_their_list() {
    let server = dev();
    let (admin, alice) = (server.admin().await, server.user("alice").await);
    for session in 0..3 {
        let again = server.again("alice").await;
        again.put_data(json!({ "n": session })).await.ok();
    }
    for account in ["a:one", "a:two", "b:one"] {
        admin
            .post("/v1/accounts", json!({"id": account, "asset": "EUR", "floor": null}))
            .await
            .is(201);
    }
    for amount in ["1", "2", "3"] {
        let transfer = json!({"from": "a:one", "to": "a:two", "amount": amount});
        admin.post("/v1/transfers", transfer).await.is(201);
    }
    let cursor = async |role: &Role, path: &str| {
        let page = role.get(&format!("{path}?limit=1")).await.ok().json();
        page["next_cursor"].as_str().unwrap_or_else(|| panic!("{path}: {page}")).to_owned()
    };
    let (one, two) = ("/v1/accounts/a:one/entries", "/v1/accounts/a:two/entries");
    let sessions = "/v1/sessions";
    let of_sessions = cursor(&alice, sessions).await;
    alice.get(&format!("{sessions}?limit=2&cursor={of_sessions}")).await.ok();
    let of_users = cursor(&admin, "/v1/users").await;
    let of_one = cursor(&admin, one).await;
    let of_accounts = cursor(&admin, "/v1/accounts").await;
    let next = admin.get(&format!("{one}?limit=1&cursor={of_one}")).await.ok().json();
    assert_eq!(next["items"][0]["amount"], "-2.00", "{next}");
    let session = alice.session().await.ok().json()["id"].as_str().unwrap().to_owned();
    for (role, path, foreign) in [
        (&admin, two, &of_one),
        (&admin, one, &of_accounts),
        (&admin, "/v1/accounts", &of_one),
        (&admin, "/v1/users", &of_accounts),
        (&admin, "/v1/workflows", &of_users),
        (&admin, "/v1/assets", &of_accounts),
        (&admin, "/v1/api-keys", &of_users),
        (&admin, "/v1/schedules", &of_users),
        (&alice, "/v1/transactions", &of_sessions),
        (&alice, sessions, &session),
        (&alice, sessions, &String::new()),
        (&alice, sessions, &"x".repeat(100)),
        (&alice, sessions, &of_sessions[1..].to_owned()),
    ] {
        let answer = role.get(&format!("{path}?cursor={foreign}")).await;
        answer.problem(422, "invalid-input").points_at("/cursor");
    }
}

/// 7.4.5: a user ends one of their sessions, or all others; not those of somebody else.
#[tokio::test]
async fn sessions_are_ended_by_their_owner_and_by_an_admin_only() {
    let server = dev();
    let alice = server.user("alice").await;
    let id = alice.session().await.json()["id"].as_str().unwrap().to_owned();
    let mallory = server.user("mallory").await;

    // API 1: exactly as an unknown id.
    let foreign = mallory.delete(&format!("/v1/sessions/{id}")).await;
    let unknown = mallory.delete("/v1/sessions/ses_01jd0000000000000000000000").await;
    assert_eq!((foreign.status, foreign.code()), (unknown.status, unknown.code()));
    foreign.problem(404, "not-found");
    assert!(alice.is_alive().await);

    let phone = server.again("alice").await;
    phone.delete(&format!("/v1/sessions/{id}")).await.is(204);
    alice.is_dead().await;
    assert!(phone.is_alive().await);

    let others = [server.again("alice").await, server.again("alice").await];
    phone.delete("/v1/sessions?except=current").await.ok();
    assert!(phone.is_alive().await);
    for other in &others {
        other.is_dead().await;
    }
    assert!(mallory.is_alive().await);

    let id = mallory.session().await.json()["id"].as_str().unwrap().to_owned();
    server.admin().await.delete(&format!("/v1/sessions/{id}")).await.is(204);
    mallory.is_dead().await;
}

/// Without `except` all of the user's sessions end, the asking one too.
#[tokio::test]
async fn a_user_can_end_every_session_at_once() {
    let server = dev();
    let alice = server.user("alice").await;
    let phone = server.again("alice").await;
    let mallory = server.user("mallory").await;
    let answer = alice.delete("/v1/sessions?except=none").await;
    assert!([400, 422].contains(&answer.status), "{answer}");
    assert!(phone.is_alive().await);
    alice.delete("/v1/sessions").await.ok();
    alice.is_dead().await;
    phone.is_dead().await;
    assert!(mallory.is_alive().await);
}

/// 7.1.2: the 21st session ends the oldest.
#[tokio::test]
async fn the_session_beyond_the_cap_ends_the_oldest() {
    let server = dev();
    let mut sessions = vec![server.user("alice").await];
    for _ in 0..20 {
        sessions.push(server.again("alice").await);
    }
    sessions[0].is_dead().await;
    for session in &sessions[1..] {
        assert!(session.is_alive().await);
    }
}

/// 7.1.2: also when logins race.
#[tokio::test]
async fn racing_logins_never_exceed_the_cap() {
    let server = dev();
    server.user("alice").await;
    let logins: Vec<_> = (0..40)
        .map(|_| {
            let body = json!({"username": "alice", "password": password_of("alice")});
            tokio::spawn(server.nobody().post("/v1/sessions", body).into_future())
        })
        .collect();
    let mut tokens = Vec::new();
    for login in logins {
        let answer = login.await.unwrap();
        if answer.status == 201 {
            tokens.push(answer.json()["token"].as_str().unwrap().to_owned());
        } else {
            assert!([429, 503].contains(&answer.status), "{answer}");
        }
    }
    assert!(tokens.len() > 20, "only {} logins were served", tokens.len());
    let mut living = 0;
    for token in tokens {
        living += u32::from(server.bearer(&token).is_alive().await);
    }
    assert_eq!(living, 20);
}

/// 7.2.4: a token that a client makes up is never adopted (fixation), as bearer or as cookie.
#[tokio::test]
async fn a_made_up_token_is_never_adopted() {
    let server = dev();
    server.user("alice").await;
    let made_up = format!("abs_{}", "Z".repeat(43));
    let body = json!({"username": "alice", "password": password_of("alice"), "cookie": true});
    let answer = server
        .nobody()
        .post("/v1/sessions", body)
        .header("sec-fetch-site", "same-origin")
        .cookie(&format!("abide={made_up}"))
        .await
        .is(201);
    assert!(!answer.set_cookies().join("\n").contains(&made_up));
    server.bearer(&made_up).is_dead().await;
}

/// 15.3.3, API 3: a field that a client may not set is refused, not ignored.
#[tokio::test]
async fn a_login_refuses_fields_that_it_does_not_know() {
    let server = dev();
    server.user("alice").await;
    for field in ["roles", "id", "expires_at", "token", "user_id", "facts", "elevated_until"] {
        let mut body = json!({"username": "alice", "password": password_of("alice")});
        body[field] = json!("x");
        server.nobody().post("/v1/sessions", body).await.is(422).points_at(&format!("/{field}"));
    }
    for body in [
        json!({"username": "alice"}),
        json!({"password": "x"}),
        json!({"username": 1, "password": "x"}),
        json!({"username": "alice", "password": null}),
        json!([]),
        json!("alice"),
    ] {
        let answer = server.nobody().post("/v1/sessions", body).await;
        assert!([400, 422].contains(&answer.status), "{answer}");
    }
    server.nobody().post("/v1/sessions", json!({"profile": "no-such-profile"})).await.is(422);
}

/// In a deployment without anonymous sessions `{}` is refused, and so is registration.
#[tokio::test]
async fn without_dev_nobody_registers_or_gets_an_anonymous_session() {
    let server = Options::production().start();
    let nobody = server.nobody();
    nobody.post("/v1/sessions", json!({})).await.is(403);
    let body = json!({"username": "mallory", "password": password_of("mallory")});
    nobody.post("/v1/users", body).await.is(403);
}

/// `ABIDE_ADMIN_PASSWORD` makes the user `admin`, whose power is `abide:admin`.
#[tokio::test]
async fn the_roles_of_the_first_administrator_are_shown() {
    let server = dev();
    let session = server.admin().await.session().await.json();
    assert_eq!(session["roles"], json!(["abide:admin"]));
}
