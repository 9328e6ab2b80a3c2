//! Values that grow by nesting: the value of an expression is as flat as a request's body, so that
//! a stored one can be read again.

use serde_json::json;

use crate::server::dev;

const GROWS: &str = "abide: 1
workflow: grows
data: { log: null }
first: more
steps:
  more:
    by: [owner]
    input: { type: object, properties: { v: { type: integer } } }
    do:
      - set: { log: '=[input.v, data.log]' }
      - emit: { type: log.grew, data: { log: =data.log } }
    next: [ { when: 'false', next: { end: e } }, { next: stay } ]
";

const BRACKETS: &str = "abide: 1
workflow: brackets
data: { k: 1 }
first: more
steps:
  more:
    by: [owner]
    do: [ { set: { k: '=[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[data.k]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]' } } ]
    next: [ { when: 'false', next: { end: e } }, { next: stay } ]
";

#[tokio::test]
async fn nesting_is_bounded_and_what_was_written_is_read_after_a_restart() {
    let mut server = dev();
    let admin = server.admin().await;
    for (name, text) in [("grows", GROWS), ("brackets", BRACKETS)] {
        let publish = admin.call("PUT", &format!("/v1/workflows/{name}"));
        publish.body("application/yaml", text).await.is(201);
    }
    let alice = server.user("alice").await;
    let mut ids = Vec::new();
    for (name, input) in [("grows", json!({"v": 1})), ("brackets", json!({}))] {
        let started = alice.post_empty(&format!("/v1/workflows/{name}/transactions")).await.is(201);
        let id = started.json()["id"].as_str().unwrap().to_owned();
        let submit = format!("/v1/transactions/{id}/steps/more");
        let mut refused = 0;
        for _ in 0..80 {
            let answer = if name == "grows" {
                alice.post(&submit, input.clone()).await
            } else {
                alice.post_empty(&submit).await
            };
            if answer.status != 200 {
                refused += 1;
                answer.problem(422, "expression-failed");
            }
        }
        assert!((10..80).contains(&refused), "{name}: {refused} refused");
        ids.push(id);
    }
    server.crash_and_restart();
    for id in &ids {
        alice.get(&format!("/v1/transactions/{id}")).await.ok();
    }
    alice.get("/v1/transactions").await.ok();
    alice.get("/v1/events?limit=200").header("accept", "application/json").await.ok();
}

/// A document as deep as it may be is read, or refused with its faults; it never ends the server.
#[tokio::test]
async fn deep_documents_are_read_on_a_stack_that_is_large_enough() {
    let server = dev();
    let admin = server.admin().await;
    for (open, close) in [("[", "]"), ("{\"a\": ", "}"), ("{\"properties\": {\"a\": ", "}}")] {
        for levels in [20, 40, 58, 70, 5000] {
            let deep = format!("{}1{}", open.repeat(levels), close.repeat(levels));
            let text = format!(
                "abide: 1\nworkflow: deep\ndata: {{ \"k\": {deep} }}\nfirst: ask\nsteps:\n  ask:\n    by: [owner]\n    next: {{ end: e }}\n"
            );
            let check = admin.call("POST", "/v1/workflows/check");
            let answer = check.body("application/yaml", text).await;
            assert!([200, 422].contains(&answer.status), "{levels} {open}: {answer}");
        }
    }
}
