//! The session's data: a JSON object with a revision of its own.

use serde_json::{Value, json};

use crate::server::dev;

/// An empty object at first; PUT replaces; GET returns the same object.
#[tokio::test]
async fn data_begin_empty_and_are_replaced_whole() {
    let server = dev();
    let alice = server.user("alice").await;
    assert_eq!(alice.data().await.is(200).json(), json!({}));
    alice.put_data(json!({"a": {"b": [1, 2.5, null, "é"]}, "c": true})).await.ok();
    assert_eq!(alice.data().await.json(), json!({"a": {"b": [1, 2.5, null, "é"]}, "c": true}));
    alice.put_data(json!({"d": 1})).await.ok();
    assert_eq!(alice.data().await.json(), json!({"d": 1}));
    for not_an_object in [json!([]), json!("x"), json!(1), json!(null), json!(true)] {
        alice.put_data(not_an_object).await.is(422);
    }
    assert_eq!(alice.data().await.json(), json!({"d": 1}));
}

/// RFC 7396, appendix A: every example whose result is an object, verbatim.
#[tokio::test]
async fn merge_patch_does_what_the_examples_of_rfc_7396_say() {
    let server = dev();
    let alice = server.user("alice").await;
    let examples = [
        (r#"{"a":"b"}"#, r#"{"a":"c"}"#, r#"{"a":"c"}"#),
        (r#"{"a":"b"}"#, r#"{"b":"c"}"#, r#"{"a":"b","b":"c"}"#),
        (r#"{"a":"b"}"#, r#"{"a":null}"#, "{}"),
        (r#"{"a":"b","b":"c"}"#, r#"{"a":null}"#, r#"{"b":"c"}"#),
        (r#"{"a":["b"]}"#, r#"{"a":"c"}"#, r#"{"a":"c"}"#),
        (r#"{"a":"c"}"#, r#"{"a":["b"]}"#, r#"{"a":["b"]}"#),
        (r#"{"a":{"b":"c"}}"#, r#"{"a":{"b":"d","c":null}}"#, r#"{"a":{"b":"d"}}"#),
        (r#"{"a":[{"b":"c"}]}"#, r#"{"a":[1]}"#, r#"{"a":[1]}"#),
        (r#"{"e":null}"#, r#"{"a":1}"#, r#"{"e":null,"a":1}"#),
        ("{}", r#"{"a":{"bb":{"ccc":null}}}"#, r#"{"a":{"bb":{}}}"#),
    ];
    for (original, patch, result) in examples {
        alice.put_data(serde_json::from_str(original).unwrap()).await.ok();
        alice.patch_data(serde_json::from_str(patch).unwrap()).await.ok();
        let result: Value = serde_json::from_str(result).unwrap();
        assert_eq!(alice.data().await.json(), result, "{original} with {patch}");
    }
    // The examples whose result is no object cannot be a session's data.
    alice.put_data(json!({"a": "foo"})).await.ok();
    for patch in [json!(["c"]), json!(null), json!("bar")] {
        alice.patch_data(patch).await.is(422);
    }
    assert_eq!(alice.data().await.json(), json!({"a": "foo"}));
}

/// RFC 6902: all or nothing; `test` guards; a patch that cannot be applied changes nothing.
#[tokio::test]
async fn json_patch_is_all_or_nothing() {
    let server = dev();
    let alice = server.user("alice").await;
    alice.put_data(json!({"list": [1], "n": 1})).await.ok();
    alice
        .json_patch_data(json!([
            {"op": "test", "path": "/n", "value": 1},
            {"op": "add", "path": "/list/-", "value": 2},
            {"op": "move", "from": "/n", "path": "/m"},
        ]))
        .await
        .ok();
    assert_eq!(alice.data().await.json(), json!({"list": [1, 2], "m": 1}));
    for patch in [
        json!([{"op": "add", "path": "/x", "value": 1}, {"op": "test", "path": "/m", "value": 9}]),
        json!([{"op": "add", "path": "/x", "value": 1}, {"op": "remove", "path": "/nothing"}]),
    ] {
        let answer = alice.json_patch_data(patch).await;
        answer.problem(409, "patch-failed");
        assert_eq!(alice.data().await.json(), json!({"list": [1, 2], "m": 1}));
    }
    for patch in [
        json!({"op": "add"}),
        json!([{"op": "fly", "path": "/x"}]),
        json!([{"op": "add", "path": "no slash", "value": 1}]),
        json!([{"op": "add", "path": "/x"}]),
        json!([1]),
    ] {
        let answer = alice.json_patch_data(patch).await;
        assert!([400, 422].contains(&answer.status), "{answer}");
    }
    let no_object = json!([{"op": "replace", "path": "", "value": [1]}]);
    alice.json_patch_data(no_object).await.problem(422, "invalid-input");
    assert_eq!(alice.data().await.json(), json!({"list": [1, 2], "m": 1}));
}

/// 3.5.2: the media type says which patch it is; a bare JSON document is a merge patch, here as
/// everywhere.
#[tokio::test]
async fn a_patch_must_say_of_which_kind_it_is() {
    let server = dev();
    let alice = server.user("alice").await;
    let path = "/v1/sessions/current/data";
    for media_type in ["text/plain", "application/xml", "application/json-seq"] {
        alice
            .call("PATCH", path)
            .body(media_type, r#"{"a":1}"#)
            .await
            .problem(415, "unsupported-media-type");
    }
    assert_eq!(alice.data().await.json(), json!({}));
    for path in [path, "/v1/users/me/data"] {
        alice.put(path, json!({"a": 1, "b": {"c": 1, "d": 2}})).await.ok();
        let merge = json!({"a": null, "b": {"c": 3}});
        let shown = alice.patch(path, merge).await.ok().json();
        assert_eq!(shown, json!({"b": {"c": 3, "d": 2}}), "{path}");
        alice.patch(path, json!([{"op": "remove", "path": "/b"}])).await.is(422);
    }
}

/// ETag, `If-None-Match` 304, `If-Match` 412 with the current revision.
#[tokio::test]
async fn data_have_a_revision_that_guards_against_lost_updates() {
    let server = dev();
    let alice = server.user("alice").await;
    let first = alice.put_data(json!({"n": 1})).await.ok();
    let etag = alice.data().await.etag();
    if first.headers.contains_key("etag") {
        assert_eq!(first.etag(), etag);
    }
    let unchanged = alice.data().header("if-none-match", &etag).await.is(304);
    assert!(unchanged.body.is_empty());
    assert_eq!(unchanged.etag(), etag);
    alice.data().header("if-none-match", format!("\"0\", {etag}")).await.is(304);
    alice.data().header("if-none-match", format!("W/{etag}")).await.is(304);
    alice.data().header("if-none-match", "\"0\"").await.is(200);

    alice.put_data(json!({"n": 2})).if_match(&etag).await.ok();
    let newer = alice.data().await.etag();
    assert_ne!(newer, etag);
    let refused = alice.put_data(json!({"n": 3})).if_match(&etag).await;
    let refused = refused.problem(412, "revision-mismatch").json();
    assert_eq!(format!("\"{}\"", refused["revision"]), newer, "{refused}");
    alice.patch_data(json!({"n": 3})).if_match(&etag).await.problem(412, "revision-mismatch");
    alice.patch_data(json!({"n": 4})).if_match(&newer).await.ok();
    assert_eq!(alice.data().await.json(), json!({"n": 4}));
    alice.put_data(json!({"n": 5})).if_match("*").await.ok();
    let answer = alice.put_data(json!({"n": 6})).if_match("not an etag").await;
    assert!([400, 412].contains(&answer.status), "{answer}");
    assert_eq!(alice.data().await.json(), json!({"n": 5}));
}

/// The data's revision is unmoved by activity, rotation and elevation.
#[tokio::test]
async fn activity_does_not_move_the_revision_of_the_data() {
    let server = dev();
    let alice = server.user("alice").await;
    alice.put_data(json!({"n": 1})).await.ok();
    let etag = alice.data().await.etag();
    server.advance("10m").await;
    alice.session().await.ok();
    let rotated = alice.post_empty("/v1/sessions/current/rotate").await.ok().json();
    let alice = alice.with_token(rotated["token"].as_str().unwrap());
    assert_eq!(alice.data().await.etag(), etag);
}

/// Two writers of different keys both win.
#[tokio::test]
async fn writers_of_different_keys_all_win() {
    let server = dev();
    let alice = server.user("alice").await;
    let writes: Vec<_> = (0..40)
        .map(|n| {
            let call = if n % 2 == 0 {
                alice.patch_data(json!({ format!("k{n}"): n }))
            } else {
                alice.json_patch_data(json!([{"op": "add", "path": format!("/k{n}"), "value": n}]))
            };
            tokio::spawn(call.into_future())
        })
        .collect();
    for write in writes {
        write.await.unwrap().ok();
    }
    let data = alice.data().await.json();
    for n in 0..40 {
        assert_eq!(data[format!("k{n}")], n, "{data}");
    }
}

/// A lost update is impossible: of writers with one `If-Match` exactly one wins.
#[tokio::test]
async fn of_racing_writers_with_one_etag_exactly_one_wins() {
    let server = dev();
    let alice = server.user("alice").await;
    alice.put_data(json!({"n": 0})).await.ok();
    let etag = alice.data().await.etag();
    let writes: Vec<_> = (1..=30)
        .map(|n| tokio::spawn(alice.put_data(json!({"n": n})).if_match(&etag).into_future()))
        .collect();
    let mut winners = Vec::new();
    for (n, write) in (1..).zip(writes) {
        match write.await.unwrap() {
            answer if answer.status == 412 => {}
            answer => {
                answer.ok();
                winners.push(n);
            }
        }
    }
    assert_eq!(winners.len(), 1, "{winners:?}");
    assert_eq!(alice.data().await.json(), json!({"n": winners[0]}));
}

/// A write to the data never brings back a session that was ended at the same time.
#[tokio::test]
async fn a_write_that_races_a_logout_never_revives_the_session() {
    let server = dev();
    server.user("alice").await;
    for round in 0..15 {
        let alice = server.again("alice").await;
        let mut writes = Vec::new();
        for n in 0..8 {
            writes
                .push(tokio::spawn(alice.patch_data(json!({ format!("k{n}"): n })).into_future()));
        }
        let logout = tokio::spawn(alice.logout().into_future());
        for n in 8..16 {
            writes.push(tokio::spawn(alice.put_data(json!({ format!("k{n}"): n })).into_future()));
        }
        logout.await.unwrap().is(204);
        alice.is_dead().await;
        for write in writes {
            let answer = write.await.unwrap();
            assert!(answer.status == 401 || (200..300).contains(&answer.status), "{answer}");
        }
        alice.is_dead().await;
        alice.data().await.problem(401, "unauthenticated");
        let listed = server.admin().await.get("/v1/sessions?user=alice").await.json();
        let living = listed["items"].as_array().unwrap().len();
        // The session of `user()` lives; none of the rounds' sessions does.
        assert_eq!(living, 1, "round {round}: {listed}");
    }
}

/// 64 KiB of session data, refused whole; the old data stays.
#[tokio::test]
async fn data_over_their_limit_are_refused_and_change_nothing() {
    let server = dev();
    let alice = server.user("alice").await;
    alice.put_data(json!({"a": "x".repeat(60 * 1024)})).await.ok();
    let answer = alice.put_data(json!({"a": "x".repeat(66 * 1024)})).await;
    answer.problem(413, "too-large");
    // Also when each write is small and only the sum is too large.
    let answer = alice.patch_data(json!({"b": "x".repeat(6 * 1024)})).await;
    answer.problem(413, "too-large");
    let copies = (0..20)
        .map(|n| json!({"op": "copy", "from": "/a", "path": format!("/c{n}")}))
        .collect::<Vec<_>>();
    alice.json_patch_data(json!(copies)).await.problem(413, "too-large");
    assert_eq!(alice.data().await.json(), json!({"a": "x".repeat(60 * 1024)}));
}

/// JSON numbers keep their value; integers beyond 2^53 are not silently rounded.
#[tokio::test]
async fn numbers_come_back_as_they_went() {
    let server = dev();
    let alice = server.user("alice").await;
    for number in
        ["9007199254740993", "-9223372036854775808", "18446744073709551615", "0.1", "1e300"]
    {
        let body = format!(r#"{{"n":{number}}}"#);
        alice.call("PUT", "/v1/sessions/current/data").body("application/json", body).await.ok();
        let expected: Value = serde_json::from_str(number).unwrap();
        assert_eq!(alice.data().await.json()["n"], expected, "{number}");
    }
    let answer = alice
        .call("PUT", "/v1/sessions/current/data")
        .body("application/json", r#"{"n":1e999}"#)
        .await;
    assert!([400, 422].contains(&answer.status), "{answer}");
}

/// User data belong to the user, not to the device; session data to the session.
#[tokio::test]
async fn user_data_are_shared_by_sessions_and_session_data_are_not() {
    let server = dev();
    let phone = server.user("alice").await;
    let laptop = server.again("alice").await;
    phone.put_data(json!({"here": "phone"})).await.ok();
    assert_eq!(laptop.data().await.json(), json!({}));

    let path = "/v1/users/me/data";
    assert_eq!(phone.get(path).await.is(200).json(), json!({}));
    phone.put(path, json!({"theme": "dark"})).await.ok();
    let seen = laptop.get(path).await.is(200);
    assert_eq!(seen.json(), json!({"theme": "dark"}));
    laptop
        .call("PATCH", path)
        .merge_patch(&json!({"language": "de"}))
        .if_match(&seen.etag())
        .await
        .ok();
    assert_eq!(phone.get(path).await.json(), json!({"theme": "dark", "language": "de"}));
    phone.put(path, json!({})).if_match(&seen.etag()).await.problem(412, "revision-mismatch");
    phone.put(path, json!([])).await.is(422);

    let mallory = server.user("mallory").await;
    assert_eq!(mallory.get(path).await.json(), json!({}));
    server.anonymous().await.get(path).await.is(403);
}

/// Only effects and services write `facts`: a client's write cannot.
#[tokio::test]
async fn facts_are_not_the_clients_to_write() {
    let server = dev();
    let alice = server.user("alice").await;
    alice.put_data(json!({"facts": {"verified": true}})).await.ok();
    let session = alice.session().await.json();
    assert!(!session["facts"].to_string().contains("verified"), "{session}");
    let path = "/v1/sessions/current/facts";
    for method in ["PUT", "PATCH", "POST", "DELETE"] {
        let answer = alice.call(method, path).json(&json!({"verified": true})).await;
        assert!([403, 404, 405].contains(&answer.status), "{answer}");
    }
}
