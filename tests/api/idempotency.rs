//! `Idempotency-Key`: a retried request takes effect once and gets the first answer again.

use serde_json::{Value, json};

use crate::client::{Answer, Role, password_of};
use crate::server::{Options, dev};

/// An append: done twice, it shows.
fn append(role: &Role, item: impl Into<Value>) -> crate::client::Call {
    let patch = json!([{"op": "add", "path": "/list/-", "value": item.into()}]);
    role.call("PATCH", "/v1/users/me/data").json_patch(&patch)
}

async fn list_of(role: &Role) -> Vec<Value> {
    role.get("/v1/users/me/data").await.json()["list"].as_array().unwrap().clone()
}

async fn with_empty_list(role: &Role) {
    role.put("/v1/users/me/data", json!({"list": []})).await.ok();
}

#[track_caller]
fn replays(again: &Answer, first: &Answer) {
    assert_eq!(again.header("idempotency-replayed"), "true", "{again}");
    assert_eq!(again.first_answer(), first.first_answer(), "{again}\nfirst: {first}");
}

#[track_caller]
fn is_first(answer: &Answer) {
    assert_eq!(answer.header("idempotency-replayed"), "", "{answer}");
}

/// Contract 4: the first answer again, byte for byte, with Location and ETag.
#[tokio::test]
async fn a_retry_gets_the_first_answer_byte_for_byte() {
    let server = dev();
    let alice = server.user("alice").await;
    with_empty_list(&alice).await;
    let first = append(&alice, 1).key("k-1").await.ok();
    is_first(&first);
    // Something else happens in between, so an answer rendered anew would differ.
    append(&alice, 2).await.ok();
    let again = append(&alice, 1).key("k-1").await;
    replays(&again, &first);
    assert_eq!(list_of(&alice).await, [1, 2]);

    let admin = server.admin().await;
    let body = json!({"username": "bob", "password": password_of("bob"), "roles": ["clerk"]});
    let created = admin.post("/v1/users", body.clone()).key("create-bob").await.is(201);
    admin.patch("/v1/users/bob", json!({"roles": []})).await.ok();
    let again = admin.post("/v1/users", body).key("create-bob").await;
    replays(&again, &created);
}

/// The quotes of the structured field are not part of the key.
#[tokio::test]
async fn a_key_is_the_same_quoted_or_bare() {
    let server = dev();
    let alice = server.user("alice").await;
    with_empty_list(&alice).await;
    let first = append(&alice, 1).key("\"a-key\"").await.ok();
    replays(&append(&alice, 1).key("a-key").await, &first);
}

/// 1-255 visible ASCII characters; else 400, and nothing is done.
#[tokio::test]
async fn a_malformed_key_is_refused_and_nothing_is_done() {
    let server = dev();
    let alice = server.user("alice").await;
    with_empty_list(&alice).await;
    let long = "k".repeat(256);
    for bad in ["", "\"\"", "\"open", long.as_str(), "caf\u{e9}", "tab\tin"] {
        append(&alice, 1).key(bad).await.is(400);
    }
    append(&alice, 1).key("one").key("two").await.is(400);
    assert!(list_of(&alice).await.is_empty());
    append(&alice, 1).key(&"k".repeat(255)).await.ok();
    append(&alice, 2).key("!#$%&'*+-.^_`|~09AZaz").await.ok();
}

/// Contract 4: the same key with another request is refused, whichever part differs.
#[tokio::test]
async fn a_key_used_for_another_request_is_refused() {
    let server = dev();
    let alice = server.user("alice").await;
    with_empty_list(&alice).await;
    append(&alice, 1).key("k").await.ok();
    append(&alice, 2).key("k").await.problem(422, "idempotency-key-reused");
    alice
        .put("/v1/users/me/data", json!({"list": []}))
        .key("k")
        .await
        .problem(422, "idempotency-key-reused");
    alice.put_data(json!({})).key("k").await.problem(422, "idempotency-key-reused");
    alice
        .delete("/v1/sessions?except=current")
        .key("k")
        .await
        .problem(422, "idempotency-key-reused");
    assert_eq!(list_of(&alice).await, [1]);
}

/// Contract 4: fifty at once are one effect and fifty equal answers.
#[tokio::test]
async fn fifty_parallel_duplicates_are_one_effect_and_fifty_equal_answers() {
    let server = dev();
    let alice = server.user("alice").await;
    with_empty_list(&alice).await;
    for round in 0..4 {
        let key = format!("round-{round}");
        let calls: Vec<_> =
            (0..50).map(|_| tokio::spawn(append(&alice, round).key(&key).into_future())).collect();
        let mut answers = Vec::new();
        for call in calls {
            answers.push(call.await.unwrap().ok());
        }
        for answer in &answers {
            assert_eq!(answer.first_answer(), answers[0].first_answer());
        }
        let firsts = answers.iter().filter(|a| a.header("idempotency-replayed").is_empty());
        assert_eq!(firsts.count(), 1);
    }
    assert_eq!(list_of(&alice).await, [0, 1, 2, 3]);
}

/// Contract 4, over a crash: kill -9 after the answer, and the retry replays it.
#[tokio::test]
async fn a_retry_after_kill_9_replays_the_answer() {
    let mut server = dev();
    let alice = server.user("alice").await;
    with_empty_list(&alice).await;
    let first = append(&alice, 1).key("before-the-crash").await.ok();
    server.crash_and_restart();
    replays(&append(&alice, 1).key("before-the-crash").await, &first);
    assert_eq!(list_of(&alice).await, [1]);
    append(&alice, 2).key("before-the-crash").await.problem(422, "idempotency-key-reused");
}

/// Contract 1 and 4: kill -9 under load; the client's retries, after known and unknown results,
/// make every change exactly once, and those acknowledged are replayed.
#[tokio::test]
async fn retries_over_kill_9_under_load_take_effect_exactly_once() {
    let mut server = dev();
    let alice = server.user("alice").await;
    with_empty_list(&alice).await;
    for round in 0..3 {
        let (answered, mut some_answered) = tokio::sync::mpsc::channel(200);
        let calls: Vec<_> = (0..100)
            .map(|n| {
                let item = round * 100 + n;
                let call = append(&alice, item).key(&format!("item-{item}"));
                let answered = answered.clone();
                tokio::spawn(async move {
                    let answer = call.attempt().await;
                    answered.send(()).await.ok();
                    answer
                })
            })
            .collect();
        for _ in 0..30 {
            some_answered.recv().await.unwrap();
        }
        server.crash_and_restart();
        let mut before = Vec::new();
        for call in calls {
            before.push(call.await.unwrap());
        }
        for (n, before) in (0..).zip(before) {
            let item = round * 100 + n;
            let again = append(&alice, item).key(&format!("item-{item}")).await.ok();
            if let Some(before) = before.filter(|before| before.status < 500) {
                replays(&again, &before.ok());
            }
        }
    }
    let mut items: Vec<_> =
        list_of(&alice).await.iter().map(|item| item.as_i64().unwrap()).collect();
    items.sort_unstable();
    assert_eq!(items, (0..300).collect::<Vec<_>>());
}

/// 8.4.1: a key belongs to its actor; another's use of it is a request of its own.
#[tokio::test]
async fn b_using_as_key_gets_nothing_of_as() {
    let server = dev();
    let alice = server.user("alice").await;
    let mallory = server.user("mallory").await;
    for role in [&alice, &mallory] {
        with_empty_list(role).await;
    }
    append(&alice, "alice's").key("shared").await.ok();
    let other = append(&mallory, "alice's").key("shared").await.ok();
    is_first(&other);
    // The answer does not reveal either whether the key was used: another body is no conflict.
    append(&alice, 1).key("only-alice").await.ok();
    is_first(&append(&mallory, 2).key("only-alice").await.ok());
    assert_eq!(list_of(&alice).await, [json!("alice's"), json!(1)]);
    assert_eq!(list_of(&mallory).await, [json!("alice's"), json!(2)]);
    // A service is an actor of its own as well.
    let gateway = server.gateway().await;
    is_first(
        &gateway
            .put("/v1/sessions/by-key/k", json!({"data": {}, "idle": "1h"}))
            .key("shared")
            .await
            .ok(),
    );
}

/// The scope is the user: another session of the same user replays.
#[tokio::test]
async fn a_retry_from_another_session_of_the_user_replays() {
    let server = dev();
    let alice = server.user("alice").await;
    with_empty_list(&alice).await;
    let first = append(&alice, 1).key("k").await.ok();
    alice.logout().await.is(204);
    let alice = server.again("alice").await;
    replays(&append(&alice, 1).key("k").await, &first);
    assert_eq!(list_of(&alice).await, [1]);
}

/// The scope moves with the upgrade of an anonymous session.
#[tokio::test]
async fn keys_of_an_anonymous_session_go_on_after_its_upgrade() {
    let server = dev();
    server.user("alice").await;
    let visitor = server.anonymous().await;
    visitor.put_data(json!({"list": []})).await.ok();
    let add = json!([{"op": "add", "path": "/list/-", "value": 1}]);
    let first = visitor.json_patch_data(add.clone()).key("cart-1").await.ok();
    let body = json!({"username": "alice", "password": password_of("alice")});
    let upgraded = visitor.post("/v1/sessions", body).await.is(201).json();
    let alice = visitor.with_token(upgraded["token"].as_str().unwrap());
    replays(&alice.json_patch_data(add).key("cart-1").await, &first);
    assert_eq!(alice.data().await.json(), json!({"list": [1]}));
}

/// The keys are the user's then: a second device finds the answer too, also after kill -9.
#[tokio::test]
async fn keys_of_an_anonymous_session_are_found_by_all_of_its_users_devices() {
    let mut server = dev();
    let admin = server.admin().await;
    let order = "abide: 1\nworkflow: order\nstart: { by: [anyone] }\nfirst: pay\nsteps:\n  pay:\n    \
                 by: [owner]\n    next: { end: done }\n";
    admin.call("PUT", "/v1/workflows/order").body("application/yaml", order).await.is(201);
    let other = server.user("alice").await;
    let visitor = server.anonymous().await;
    let path = "/v1/workflows/order/transactions";
    let first = visitor.post(path, json!({"reference": "o-1"})).key("order-1").await.is(201);
    let body = json!({"username": "alice", "password": password_of("alice")});
    let upgraded = visitor.post("/v1/sessions", body).await.is(201).json();
    let alice = visitor.with_token(upgraded["token"].as_str().unwrap());
    for role in [&alice, &other] {
        replays(&role.post(path, json!({"reference": "o-1"})).key("order-1").await, &first);
        let reused = role.post(path, json!({"reference": "o-2"})).key("order-1").await;
        reused.problem(422, "idempotency-key-reused");
    }
    server.crash_and_restart();
    replays(&other.post(path, json!({"reference": "o-1"})).key("order-1").await, &first);
}

/// The meaning of `current` is part of the request: from another session it is another one.
#[tokio::test]
async fn what_current_means_is_part_of_the_request() {
    let server = dev();
    let phone = server.user("alice").await;
    let desk = server.again("alice").await;
    let first = phone.put_data(json!({"n": 1})).key("data").await.ok();
    desk.put_data(json!({"n": 1})).key("data").await.problem(422, "idempotency-key-reused");
    assert_eq!(desk.data().await.json(), json!({}));
    replays(&phone.put_data(json!({"n": 1})).key("data").await, &first);
    let patch = json!([{"op": "add", "path": "/m", "value": 1}]);
    phone.json_patch_data(patch.clone()).key("patch").await.ok();
    desk.json_patch_data(patch).key("patch").await.problem(422, "idempotency-key-reused");

    // The others end, but not the caller's.
    let third = server.again("alice").await;
    let except = "/v1/sessions?except=current";
    third.delete(except).key("except").await.ok();
    phone.is_dead().await;
    let (phone, desk) = (server.again("alice").await, server.again("alice").await);
    desk.delete(except).key("except").await.problem(422, "idempotency-key-reused");
    assert!(phone.is_alive().await && desk.is_alive().await);

    phone.logout().key("bye").await.is(204);
    desk.logout().key("bye").await.problem(422, "idempotency-key-reused");
    assert!(desk.is_alive().await, "what is told to be ended has ended");
    desk.logout().key("bye-2").await.is(204);
    desk.is_dead().await;
}

/// A refusal by the state is stored: the late duplicate cannot succeed after its caller got the
/// refusal.
#[tokio::test]
async fn a_refusal_by_the_state_is_the_answer_for_good() {
    let server = dev();
    let alice = server.user("alice").await;
    let add = json!([{"op": "test", "path": "/open", "value": true}, {"op": "add", "path": "/n", "value": 1}]);
    let refused = alice.json_patch_data(add.clone()).key("k").await;
    assert_eq!(refused.status, 409, "{refused}");
    alice.put_data(json!({"open": true})).await.ok();
    let again = alice.json_patch_data(add.clone()).key("k").await;
    assert_eq!(again.header("idempotency-replayed"), "true", "{again}");
    assert_eq!((again.status, again.body), (refused.status, refused.body));
    assert_eq!(alice.data().await.json(), json!({"open": true}));
    alice.json_patch_data(add).key("a-new-attempt").await.ok();

    let admin = server.admin().await;
    let body = json!({"username": "alice", "password": password_of("alice")});
    let refused = admin.post("/v1/users", body.clone()).key("taken").await;
    let refused = refused.problem(409, "username-taken");
    let again = admin.post("/v1/users", body).key("taken").await;
    assert_eq!(again.header("idempotency-replayed"), "true", "{again}");
    assert_eq!(again.body, refused.body);
}

/// Not stored: 400, 401, 403, 404, 412, 413, 415, invalid input. The corrected request may use
/// the same key.
#[tokio::test]
async fn what_was_no_decision_is_not_stored() {
    let server = dev();
    let alice = server.user("alice").await;
    let path = "/v1/sessions/current/data";
    let put = |body: &'static str| alice.call("PUT", path).body("application/json", body);
    put("{").key("400").await.is(400);
    put("{}").key("400").await.ok();
    put("[]").key("422").await.is(422);
    put("{}").key("422").await.ok();
    alice.call("PUT", path).body("text/plain", "{}").key("415").await.is(415);
    put("{}").key("415").await.ok();
    let large = alice.put_data(json!({"a": "x".repeat(300 * 1024)})).key("413").await;
    large.problem(413, "body-too-large");
    put("{}").key("413").await.ok();

    put(r#"{"n":1}"#).key("412").if_match("\"0\"").await.problem(412, "revision-mismatch");
    let etag = alice.data().await.etag();
    let answer = put(r#"{"n":1}"#).key("412").if_match(&etag).await.ok();
    is_first(&answer);

    alice.patch("/v1/users/alice", json!({"roles": ["x"]})).key("403").await.is(403);
    put("{}").key("403").await.ok();
    alice.delete("/v1/sessions/ses_01jd0000000000000000000000").key("404").await.is(404);
    put("{}").key("404").await.ok();

    server.nobody().call("PUT", path).body("application/json", "{}").key("401").await.is(401);
    put("{}").key("401").await.ok();
}

/// Calls whose answer carries a secret refuse the header, and so do calls without an actor;
/// nothing is done.
#[tokio::test]
async fn calls_whose_answer_carries_a_secret_refuse_a_key() {
    let server = dev();
    let alice = server.user("alice").await;
    let admin = server.admin().await;
    let password = password_of("alice");
    let calls = [
        server.nobody().post("/v1/sessions", json!({"username": "alice", "password": password})),
        server.nobody().post("/v1/sessions", json!({})),
        server.nobody().post("/v1/users", json!({"username": "carol", "password": password})),
        alice.post("/v1/sessions", json!({"username": "alice", "password": password})),
        alice.post_empty("/v1/sessions/current/rotate"),
        alice.post("/v1/sessions/current/elevate", json!({"password": password})),
        alice.put("/v1/users/me/password", json!({"current": password, "new": "another long one"})),
        admin.post("/v1/api-keys", json!({"name": "k"})),
        admin.post_empty("/v1/users/alice/password-reset"),
    ];
    for call in calls {
        call.key("k").await.problem(400, "idempotency-key-not-supported");
    }
    assert!(alice.is_alive().await);
    server.login("alice", &password).await;
    let keys = admin.get("/v1/api-keys").await.json();
    assert_eq!(keys["items"].as_array().unwrap().len(), 0, "{keys}");
    let answer = server
        .nobody()
        .post("/v1/sessions", json!({"username": "carol", "password": password}))
        .await;
    answer.problem(401, "invalid-credentials");
}

/// Kept for 24 hours, no matter how often it was used meanwhile; after that it is a new request.
#[tokio::test]
async fn a_key_is_kept_for_a_day() {
    let server = dev();
    let alice = server.user("alice").await;
    with_empty_list(&alice).await;
    let first = append(&alice, 1).key("k").await.ok();
    server.advance("23h").await;
    let alice = server.again("alice").await;
    replays(&append(&alice, 1).key("k").await, &first);
    server.advance("2h").await;
    let alice = server.again("alice").await;
    is_first(&append(&alice, 1).key("k").await.ok());
    assert_eq!(list_of(&alice).await, [1, 1]);
}

/// The answer of a dead session is not replayed to a holder of its token: authentication comes
/// first.
#[tokio::test]
async fn a_dead_token_gets_no_replay() {
    let server = dev();
    let alice = server.user("alice").await;
    with_empty_list(&alice).await;
    append(&alice, 1).key("k").await.ok();
    alice.logout().await.is(204);
    append(&alice, 1).key("k").await.problem(401, "unauthenticated");
}

/// A key on a call that changes nothing is no error and stores nothing.
#[tokio::test]
async fn a_key_on_a_read_has_no_effect() {
    let server = dev();
    let alice = server.user("alice").await;
    let first = alice.data().key("read").await.ok();
    alice.put_data(json!({"n": 1})).await.ok();
    let second = alice.data().key("read").await.ok();
    assert_ne!(first.body, second.body);
    is_first(&second);
}

/// As deployments run it as well.
#[tokio::test]
async fn replay_does_not_depend_on_dev() {
    let mut server = Options::production().start();
    let admin = server.admin().await;
    with_empty_list(&admin).await;
    let first = append(&admin, 1).key("k").await.ok();
    server.crash_and_restart();
    replays(&append(&admin, 1).key("k").await, &first);
    assert_eq!(list_of(&admin).await, [1]);
}
