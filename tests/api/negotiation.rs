//! Headers as RFC 9110 and RFC 7240 write them: lists over several lines, quotes, weights, case.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::live::{publish, start};
use crate::server::dev;

/// `Prefer`: quotes hide commas, the first of two counts, unknown preferences are ignored.
#[tokio::test]
async fn preferences_are_read_as_lists() {
    let server = dev();
    let (admin, alice) = (server.admin().await, server.user("alice").await);
    publish(&admin).await;
    let path = format!("/v1/transactions/{}", start(&alice).await);
    let etag = alice.get(&path).await.ok().etag();
    let began = Instant::now();
    for (lines, applied) in [
        (&[r#"foo="a, wait=30", wait=0"#][..], "wait=0"),
        (&["respond-async", "WAIT = \"0\"; x=\"wait=30\""], "wait=0"),
        (&["wait=0, wait=30"], "wait=0"),
        (&["wait=+30"], ""),
        (&["wait=30s"], ""),
        (&[r#"x="wait=30"#], ""),
    ] {
        let call = alice.get(&path).header("if-none-match", &etag);
        let call = lines.iter().fold(call, |call, line| call.header("prefer", line));
        let answer = call.await.is(304);
        assert_eq!(answer.header("preference-applied"), applied, "{lines:?}");
    }
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
}

/// `Accept`: over two lines, with weights, in any case.
#[tokio::test]
async fn media_types_are_chosen_by_weight() {
    let server = dev();
    let admin = server.admin().await;
    publish(&admin).await;
    let (json, yaml, stream) = ("application/json", "application/yaml", "text/event-stream");
    for (path, lines, expected) in [
        ("/v1/events", &["text/html", "application/json"][..], json),
        ("/v1/events", &["Application/JSON"], json),
        ("/v1/events", &["text/event-stream;q=0, */*"], json),
        ("/v1/events", &["application/json;q=0.5, text/event-stream;q=0.4"], json),
        ("/v1/events", &["application/json;q=0, text/event-stream"], stream),
        ("/v1/events", &["application/json;q=0.1, text/*"], stream),
        ("/v1/workflows/secret", &["*/*"], json),
        ("/v1/workflows/secret", &["text/html", "application/YAML"], yaml),
        ("/v1/workflows/secret", &["application/yaml;q=0"], json),
        ("/v1/workflows/secret", &["application/yaml;q=0.2, application/json;q=0.3"], json),
        ("/v1/workflows/secret/versions/1", &["application/yaml, */*;q=0.1"], yaml),
        (
            "/v1/workflows/secret/diagram",
            &["text/vnd.mermaid;q=0.5", "image/*;q=0.1"],
            "text/vnd.mermaid",
        ),
        ("/v1/workflows/secret/diagram", &["text/vnd.mermaid;q=0"], "image/svg+xml"),
    ] {
        let call = lines.iter().fold(admin.get(path), |call, line| call.header("accept", line));
        let found = call.content_type().await;
        assert_eq!(found, expected, "{path} {lines:?}");
    }
}

/// RFC 9110, 12.5.5: a cache must not give one media type to a client that wants the other.
#[tokio::test]
async fn negotiated_answers_vary_by_accept() {
    let server = dev();
    let admin = server.admin().await;
    publish(&admin).await;
    for (path, media) in [
        ("/v1/events?limit=1", "application/json"),
        ("/v1/workflows/secret", "application/json"),
        ("/v1/workflows/secret", "application/yaml"),
        ("/v1/workflows/secret/versions/1", "application/yaml"),
        ("/v1/workflows/secret/diagram", "image/svg+xml"),
        ("/v1/workflows/secret/diagram", "text/vnd.mermaid"),
    ] {
        let answer = admin.get(path).header("accept", media).await.ok();
        assert_eq!(answer.header("vary").to_ascii_lowercase(), "accept", "{path} {media}");
        if !path.starts_with("/v1/events") && !path.ends_with("diagram") {
            let again = admin.get(path).header("accept", media);
            let again = again.header("if-none-match", answer.etag()).await.is(304);
            assert_eq!(again.header("vary").to_ascii_lowercase(), "accept", "{path} {media}");
        }
    }
}

/// Conditions: over two lines, weak and strong, and texts that are no tag.
#[tokio::test]
async fn conditions_are_read_as_lists() {
    let server = dev();
    let alice = server.user("alice").await;
    let etag = alice.put_data(json!({"n": 1})).await.ok().etag();
    let get = |lines: &[&str]| {
        lines.iter().fold(alice.data(), |call, line| call.header("if-none-match", line))
    };
    get(&["\"0\"", &etag]).await.is(304);
    get(&[&etag, "W/\"x,y\", \"z\""]).await.is(304);
    get(&[&format!("W/{etag}")]).await.is(304);
    get(&["*"]).await.is(304);
    get(&["\"0\", \"x,\\\"", "W/\"1\""]).await.is(200);
    get(&["*", &etag]).await.problem(400, "bad-request");
    get(&["nonsense"]).await.problem(400, "bad-request");
    let put = |lines: &[&str]| {
        let call = alice.put_data(json!({"n": 2}));
        lines.iter().fold(call, |call, line| call.header("if-match", line))
    };
    put(&[&format!("W/{etag}")]).await.problem(412, "revision-mismatch");
    put(&["\"0\"", "\"1\""]).await.problem(412, "revision-mismatch");
    put(&["\"0\"", &etag]).await.ok();
}

/// Media types of bodies: quotes and case, and a charset in quotes that is another's.
#[tokio::test]
async fn media_types_of_bodies_are_read_with_their_quotes() {
    let server = dev();
    let alice = server.user("alice").await;
    let put = |media: &str| alice.call("PUT", "/v1/sessions/current/data").body(media, "{}");
    for good in [
        "application/json;profile=\"a;charset=latin1\"",
        "Application/Json ; CHARSET = \"utf-8\" ;",
    ] {
        put(good).await.ok();
    }
    for bad in [
        "application/json;charset=\"latin1\"",
        "application/json;charset=utf-8;charset=latin1",
        "application/json;profile=\"a",
        "application/json;charset",
    ] {
        put(bad).await.problem(415, "unsupported-media-type");
    }
    let coded = |coding: &str| put("application/json").header("content-encoding", coding);
    coded("Identity").await.ok();
    coded("identity, gzip").await.problem(415, "unsupported-media-type");
}
