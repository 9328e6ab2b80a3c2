//! Users, their roles, attributes, disabling and deletion.

use serde_json::json;

use crate::client::password_of;
use crate::server::{Options, dev};

/// `POST /v1/users` creates a user.
#[tokio::test]
async fn registration_makes_a_user_without_roles() {
    let server = dev();
    let body = json!({"username": "alice", "password": password_of("alice"), "name": "Alice A."});
    let answer = server.nobody().post("/v1/users", body.clone()).await.is(201);
    assert!(!answer.text().contains("argon2") && !answer.text().contains(&password_of("alice")));
    assert_eq!(answer.json()["username"], "alice");
    assert_eq!(answer.json()["name"], "Alice A.");
    assert_eq!(answer.json()["roles"], json!([]));
    server.nobody().post("/v1/users", body).await.problem(409, "username-taken");
    let alice = server.again("alice").await;
    let me = alice.get("/v1/users/me").await.is(200);
    assert_eq!(me.json()["name"], "Alice A.");
    assert_eq!(me.header("cache-control"), "no-store");
    assert!(!me.text().contains("argon2") && !me.text().contains("password"), "{me}");
}

/// 8.2.3, 15.3.3, API 3: nobody gives themselves a role, or any other field of the server's.
#[tokio::test]
async fn registration_refuses_roles_and_unknown_fields() {
    let server = dev();
    let with = |field: &str| {
        let mut body = json!({"username": "mallory", "password": password_of("mallory")});
        body[field] = json!(["abide:admin"]);
        body
    };
    server.nobody().post("/v1/users", with("roles")).await.is(403);
    let alice = server.user("alice").await;
    alice.post("/v1/users", with("roles")).await.is(403);
    for field in ["role", "id", "disabled", "attributes", "admin", "created_at", "password_hash"] {
        let answer = server.nobody().post("/v1/users", with(field)).await;
        assert!([403, 422].contains(&answer.status), "{answer}");
    }
    for path in ["/v1/users/alice", "/v1/users/me"] {
        let answer = alice.patch(path, json!({"roles": ["abide:admin"]})).await;
        assert!([403, 405].contains(&answer.status), "{answer}");
    }
    assert_eq!(alice.session().await.json()["roles"], json!([]));
    server
        .nobody()
        .post("/v1/users", json!({"username": "mallory", "password": password_of("mallory")}))
        .await
        .is(201);
}

/// User names are one thing to a person: no case, no look of another, nothing invisible.
#[tokio::test]
async fn user_names_are_plain() {
    let server = dev();
    server.user("alice").await;
    let bad = [
        "",
        " ",
        "Alice",
        "ALICE",
        "al ice",
        "alice ",
        "alice\n",
        "\u{0430}lice",
        "alice\u{200b}",
        "a/b",
        "../alice",
        "alice\0",
        "me/data",
        "<img src=x onerror=alert(1)>",
        "a'--",
        "-alice",
        &"a".repeat(65),
    ];
    for name in bad {
        let body = json!({"username": name, "password": "a long enough one"});
        server.nobody().post("/v1/users", body).await.is(422).points_at("/username");
    }
    for name in
        ["bob", "bob.b", "bob_b", "bob-b", "bob@example.com", "bob+tag", "0bob", &"b".repeat(64)]
    {
        server
            .nobody()
            .post("/v1/users", json!({"username": name, "password": "a long enough one"}))
            .await
            .is(201);
    }
    // `me` is a path of its own and can be nobody's name.
    let body = json!({"username": "me", "password": "a long enough one"});
    server.nobody().post("/v1/users", body).await.is(422);
}

/// Exactly one of several racing registrations of one name wins, and its password is the one that
/// works.
#[tokio::test]
async fn a_name_is_given_out_once_also_in_a_race() {
    let server = dev();
    let calls: Vec<_> = (0..12)
        .map(|n| {
            let body = json!({"username": "alice", "password": format!("the password number {n}")});
            tokio::spawn(server.nobody().post("/v1/users", body).into_future())
        })
        .collect();
    let mut winners = Vec::new();
    for (n, call) in calls.into_iter().enumerate() {
        let answer = call.await.unwrap();
        if answer.status == 201 {
            winners.push(n);
        } else {
            assert!([409, 503].contains(&answer.status), "{answer}");
        }
    }
    assert_eq!(winners.len(), 1);
    server.login("alice", &format!("the password number {}", winners[0])).await;
}

/// The administrator lists users, page by page.
#[tokio::test]
async fn users_are_listed_by_an_admin_only() {
    let server = dev();
    for name in ["alice", "bob", "carol"] {
        server.user(name).await;
    }
    let admin = server.admin().await;
    let mut names = Vec::new();
    let mut path = "/v1/users?limit=2".to_owned();
    loop {
        let page = admin.get(&path).await.is(200);
        assert!(!page.text().contains("argon2"), "{page}");
        let page = page.json();
        for item in page["items"].as_array().unwrap() {
            names.push(item["username"].as_str().unwrap().to_owned());
        }
        let Some(cursor) = page["next_cursor"].as_str() else { break };
        path = format!("/v1/users?limit=2&cursor={cursor}");
    }
    names.sort();
    assert_eq!(names, ["admin", "alice", "bob", "carol"]);
    server.again("alice").await.get("/v1/users").await.problem(403, "not-allowed");
    server.nobody().get("/v1/users").await.problem(401, "unauthenticated");
}

/// 8.3.2: a role given is there, and one taken away is gone, at the next request.
#[tokio::test]
async fn a_role_taken_away_is_gone_at_the_next_request() {
    let server = dev();
    let alice = server.user("alice").await;
    let admin = server.admin().await;
    alice.get("/v1/users").await.problem(403, "not-allowed");
    admin.patch("/v1/users/alice", json!({"roles": ["abide:admin", "clerk"]})).await.ok();
    alice.get("/v1/users").await.ok();
    let mut roles = alice.session().await.json()["roles"].clone();
    roles.as_array_mut().unwrap().sort_by_key(ToString::to_string);
    assert_eq!(roles, json!(["abide:admin", "clerk"]));
    admin.patch("/v1/users/alice", json!({"roles": ["clerk"]})).await.ok();
    alice.get("/v1/users").await.problem(403, "not-allowed");
    assert_eq!(alice.session().await.json()["roles"], json!(["clerk"]));
    for bad in [json!(["abide:root"]), json!([""]), json!("clerk"), json!([1]), json!(["a b"])] {
        admin.patch("/v1/users/alice", json!({"roles": bad})).await.is(422);
    }
}

/// Attributes belong to the administrator; the user's own data are another thing.
#[tokio::test]
async fn attributes_are_written_by_an_admin() {
    let server = dev();
    let alice = server.user("alice").await;
    let admin = server.admin().await;
    let answer =
        admin.patch("/v1/users/alice", json!({"attributes": {"branch": "north"}})).await.ok();
    assert_eq!(answer.json()["attributes"], json!({"branch": "north"}));
    assert_eq!(admin.get("/v1/users/alice").await.json()["attributes"], json!({"branch": "north"}));
    alice.put("/v1/users/me/data", json!({"branch": "south"})).await.ok();
    assert_eq!(admin.get("/v1/users/alice").await.json()["attributes"], json!({"branch": "north"}));
    admin.patch("/v1/users/alice", json!({"username": "bob"})).await.is(422).points_at("/username");
    admin.patch("/v1/users/alice", json!({"password": "a new long password"})).await.is(422);
}

/// 7.4.2: disabling a user ends all sessions in the same commit, and logins are refused; enabled
/// again, the old sessions stay dead.
#[tokio::test]
async fn disabling_a_user_ends_every_session() {
    let server = dev();
    let alice = server.user("alice").await;
    let phone = server.again("alice").await;
    let admin = server.admin().await;
    admin.patch("/v1/users/alice", json!({"disabled": true})).await.ok();
    alice.is_dead().await;
    phone.is_dead().await;
    let body = json!({"username": "alice", "password": password_of("alice")});
    server.nobody().post("/v1/sessions", body).await.problem(401, "invalid-credentials");
    assert_eq!(admin.get("/v1/users/alice").await.json()["disabled"], json!(true));
    admin.patch("/v1/users/alice", json!({"disabled": false})).await.ok();
    alice.is_dead().await;
    server.again("alice").await;
}

/// 7.4.2: logins that race the disabling leave no living session behind.
#[tokio::test]
async fn a_login_that_races_the_disabling_leaves_no_session() {
    let server = dev();
    server.user("alice").await;
    let admin = server.admin().await;
    for _ in 0..5 {
        let logins: Vec<_> = (0..6)
            .map(|_| {
                let body = json!({"username": "alice", "password": password_of("alice")});
                tokio::spawn(server.nobody().post("/v1/sessions", body).into_future())
            })
            .collect();
        admin.patch("/v1/users/alice", json!({"disabled": true})).await.ok();
        for login in logins {
            let answer = login.await.unwrap();
            if answer.status == 201 {
                server.bearer(answer.json()["token"].as_str().unwrap()).is_dead().await;
            }
        }
        let list = admin.get("/v1/sessions?user=alice").await.json();
        assert_eq!(list["items"].as_array().unwrap().len(), 0, "{list}");
        admin.patch("/v1/users/alice", json!({"disabled": false})).await.ok();
    }
}

/// A deleted user is gone with all sessions and data, and the name is never given out again.
#[tokio::test]
async fn a_deleted_user_is_gone_and_the_name_is_not_given_out_again() {
    let server = dev();
    let alice = server.user("alice").await;
    alice.put("/v1/users/me/data", json!({"n": 1})).await.ok();
    let admin = server.admin().await;
    admin.delete("/v1/users/alice").await.is(204);
    alice.is_dead().await;
    admin.get("/v1/users/alice").await.problem(404, "not-found");
    admin.delete("/v1/users/alice").await.problem(404, "not-found");
    let body = json!({"username": "alice", "password": password_of("alice")});
    server.nobody().post("/v1/sessions", body.clone()).await.problem(401, "invalid-credentials");
    server.nobody().post("/v1/users", body.clone()).await.problem(409, "username-taken");
    admin.post("/v1/users", body).await.problem(409, "username-taken");
    let list = admin.get("/v1/users").await.text();
    assert!(!list.contains("alice"), "{list}");
}

/// If-Match guards an administrator's change of a user as well.
#[tokio::test]
async fn a_user_has_an_etag() {
    let server = dev();
    server.user("alice").await;
    let admin = server.admin().await;
    let etag = admin.get("/v1/users/alice").await.etag();
    admin.get("/v1/users/alice").header("if-none-match", &etag).await.is(304);
    admin.patch("/v1/users/alice", json!({"roles": ["a"]})).if_match(&etag).await.ok();
    admin
        .patch("/v1/users/alice", json!({"roles": ["b"]}))
        .if_match(&etag)
        .await
        .problem(412, "revision-mismatch");
    assert_eq!(admin.get("/v1/users/alice").await.json()["roles"], json!(["a"]));
}

/// A deployment with closed registration: the administrator makes users, with roles.
#[tokio::test]
async fn an_admin_makes_users_where_registration_is_closed() {
    let server = Options::production().start();
    let admin = server.admin().await;
    let body = json!({"username": "bob", "password": password_of("bob"), "roles": ["clerk"]});
    assert_eq!(admin.post("/v1/users", body).await.is(201).json()["roles"], json!(["clerk"]));
    let bob = server.again("bob").await;
    assert_eq!(bob.session().await.json()["roles"], json!(["clerk"]));
    let body = json!({"username": "carol", "password": password_of("carol")});
    bob.post("/v1/users", body).await.is(403);
}

/// Nobody can lock everybody out, not even by mistake: the last administrator stays one.
#[tokio::test]
async fn the_last_administrator_stays_one() {
    let server = dev();
    let (admin, path) = (server.admin().await, "/v1/users/admin");
    for change in [json!({"roles": []}), json!({"disabled": true})] {
        admin.patch(path, change).await.problem(409, "last-administrator");
    }
    admin.delete(path).await.problem(409, "last-administrator");
    assert!(admin.is_alive().await);
    // With another one it is not the last any more.
    server.user("alice").await;
    admin.patch("/v1/users/alice", json!({"roles": ["abide:admin"]})).await.ok();
    admin.patch(path, json!({"roles": []})).await.ok();
}

/// A password reset is a single-use link, made by an admin or a service.
#[tokio::test]
async fn a_password_reset_link_works_once_and_ends_all_sessions() {
    let server = dev();
    let alice = server.user("alice").await;
    alice.post_empty("/v1/users/alice/password-reset").await.is(403);
    let admin = server.admin().await;
    admin.post_empty("/v1/users/nobody/password-reset").await.problem(404, "not-found");
    let answer = admin.post_empty("/v1/users/alice/password-reset").await.ok();
    assert_eq!(answer.header("cache-control"), "no-store");
    assert!(alice.is_alive().await, "the link alone ends nothing");
    let link = answer.json()["link"].as_str().unwrap().to_owned();
    let (page, secret) = link.split_once('#').unwrap();
    server.nobody().get(page).await.is(200);

    // Not with a password that the rules refuse, and that does not use it up.
    let use_link = |link: &str, password: &str| {
        server.nobody().post("/v1/set-password", json!({"link": link, "password": password}))
    };
    use_link(secret, "short").await.is(422);
    use_link(secret, "chosen by alice herself").await.is(204);
    alice.is_dead().await;
    server.login("alice", "chosen by alice herself").await;
    let body = json!({"username": "alice", "password": password_of("alice")});
    server.nobody().post("/v1/sessions", body).await.problem(401, "invalid-credentials");
    use_link(secret, "chosen by somebody else").await.problem(410, "link-not-valid");
    use_link("abl_made_up", "chosen by somebody else").await.problem(410, "link-not-valid");

    // A newer link makes the older one void, and time makes each void.
    let make = || async {
        let link = admin.post_empty("/v1/users/alice/password-reset").await.ok().json();
        link["link"].as_str().unwrap().split_once('#').unwrap().1.to_owned()
    };
    let (older, newer) = (make().await, make().await);
    use_link(&older, "chosen with the older").await.problem(410, "link-not-valid");
    server.advance("25h").await;
    use_link(&newer, "chosen with the newer").await.problem(410, "link-not-valid");
    server.login("alice", "chosen by alice herself").await;
}

/// Exactly one of several racing uses of one link sets the password.
#[tokio::test]
async fn a_link_is_used_once_also_in_a_race() {
    let server = dev();
    server.user("alice").await;
    let answer =
        server.admin().await.post_empty("/v1/users/alice/password-reset").await.ok().json();
    let secret = answer["link"].as_str().unwrap().split_once('#').unwrap().1.to_owned();
    let uses: Vec<_> = (0..8)
        .map(|n| {
            let body = json!({"link": secret, "password": format!("the chosen one of {n}")});
            tokio::spawn(server.nobody().post("/v1/set-password", body).into_future())
        })
        .collect();
    let mut winners = Vec::new();
    for (n, used) in uses.into_iter().enumerate() {
        let answer = used.await.unwrap();
        if answer.status == 204 {
            winners.push(n);
        } else {
            answer.problem(410, "link-not-valid");
        }
    }
    assert_eq!(winners.len(), 1, "{winners:?}");
    server.login("alice", &format!("the chosen one of {}", winners[0])).await;
}

/// A service makes links only for users for whom its key may act, and never for powers.
#[tokio::test]
async fn a_service_resets_passwords_only_of_those_for_whom_it_may_act() {
    let server = dev();
    server.user("alice").await;
    server.user("bob").await;
    let service = server.service("desk", json!({"on_behalf": ["al*", "admin"]})).await;
    let reset = |name: &str| service.post_empty(&format!("/v1/users/{name}/password-reset"));
    reset("alice").await.is(201);
    reset("bob").await.problem(403, "not-allowed");
    reset("admin").await.problem(403, "not-allowed");
}
