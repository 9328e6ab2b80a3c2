//! Schedules, as their administrator: on time, once, and with the last transaction still open.

use serde_json::{Value, json};

use crate::client::Role;
use crate::server::{Server, dev};

const REPORT: &str = "abide: 1
workflow: report
start: { by: [role:reporter] }
first: write
input: { type: object, properties: { about: { type: string } } }
steps:
  write:
    by: [owner]
    next: { end: written }
";

async fn reports(server: &Server) -> Role {
    let admin = server.admin().await;
    let publish = admin.call("PUT", "/v1/workflows/report");
    publish.body("application/yaml", REPORT.to_owned()).await.is(201);
    server.user("rita").await;
    admin.patch("/v1/users/rita", json!({"roles": ["reporter"]})).await.ok();
    admin
}

async fn schedule(admin: &Role, more: Value) -> String {
    let mut ask = json!({"workflow": "report", "cron": "0 * * * *", "owner": "rita", "input": {"about": "x"}});
    ask.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let made = admin.post("/v1/schedules", ask).await.is(201);
    let id = made.json()["id"].as_str().unwrap().to_owned();
    format!("/v1/schedules/{id}")
}

async fn of(server: &Server, status: &str) -> Vec<Value> {
    let path = format!("/v1/transactions?workflow=report&status={status}&limit=200");
    let list = server.admin().await.get(&path).await.ok().json();
    list["items"].as_array().unwrap().clone()
}

async fn write_all(server: &Server) {
    let rita = server.again("rita").await;
    for report in of(server, "waiting").await {
        let id = report["id"].as_str().unwrap();
        rita.post_empty(&format!("/v1/transactions/{id}/steps/write")).await.ok();
    }
}

/// One start each hour, with the right owner and input, over crashes.
#[tokio::test]
async fn each_time_starts_one() {
    let mut server = dev();
    let admin = reports(&server).await;
    schedule(&admin, json!({"overlap": "allow"})).await;
    for _ in 0..3 {
        server.advance("1h").await;
        server.crash_and_restart();
    }
    let reports = of(&server, "waiting").await;
    assert_eq!(reports.len(), 3);
    assert!(reports.iter().all(|report| report["owner"] == "rita"));
    assert_eq!(reports[0]["data"]["about"], "x");
    let reference = reports[0]["reference"].as_str().unwrap();
    assert!(reference.starts_with("sch_") && reference.ends_with(":00:00.000Z"), "{reference}");
}

/// While a transaction is still open, the next one is skipped, or waits.
#[tokio::test]
async fn what_is_still_open_has_the_next_one_skipped_or_wait() {
    let server = dev();
    let admin = reports(&server).await;
    let skips = schedule(&admin, json!({"overlap": "skip"})).await;
    server.advance("3h").await;
    assert_eq!(of(&server, "waiting").await.len(), 1);
    let shown = server.admin().await.get(&skips).await.ok().json();
    assert_eq!(shown["last"]["reason"], "skipped");
    write_all(&server).await;
    server.advance("1h").await;
    assert_eq!(of(&server, "waiting").await.len(), 1);
    server.admin().await.delete(&skips).await.is(204);
    server.admin().await.get(&skips).await.problem(404, "not-found");
    write_all(&server).await;
    let queues = schedule(&server.admin().await, json!({"overlap": "queue"})).await;
    server.advance("3h").await;
    assert_eq!(server.admin().await.get(&queues).await.ok().json()["queued"], 2);
    for left in [1, 0] {
        assert_eq!(of(&server, "waiting").await.len(), 1);
        write_all(&server).await;
        server.advance("1ms").await;
        assert_eq!(server.admin().await.get(&queues).await.ok().json()["queued"], left);
    }
    assert_eq!(of(&server, "waiting").await.len(), 1);
}

/// A refused start is reported, and the next time is another.
#[tokio::test]
async fn a_refused_start_is_told() {
    let server = dev();
    let admin = reports(&server).await;
    let path = schedule(&admin, json!({"overlap": "allow"})).await;
    admin.patch("/v1/users/rita", json!({"roles": []})).await.ok();
    server.advance("1h").await;
    assert_eq!(server.admin().await.get(&path).await.ok().json()["last"]["reason"], "not-allowed");
    server.admin().await.patch("/v1/users/rita", json!({"roles": ["reporter"]})).await.ok();
    server.advance("1h").await;
    assert_eq!(of(&server, "waiting").await.len(), 1);
}

/// An invalid schedule is refused with the location of the fault.
#[tokio::test]
async fn what_is_no_schedule_is_refused() {
    let server = dev();
    let admin = reports(&server).await;
    for (more, pointer) in [
        (json!({"cron": "every day"}), "/cron"),
        (json!({"cron": "0 0 30 2 *"}), "/cron"),
        (json!({"zone": "Moon/Crater"}), "/zone"),
    ] {
        let mut ask = json!({"workflow": "report", "cron": "0 * * * *"});
        ask.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let answer = admin.post("/v1/schedules", ask).await;
        let problem = answer.problem(422, "invalid-input").json();
        assert_eq!(problem["errors"][0]["pointer"], pointer);
    }
    let ask = json!({"workflow": "nothing", "cron": "0 * * * *"});
    admin.post("/v1/schedules", ask).await.problem(404, "not-found");
    let ask = json!({"workflow": "report", "cron": "0 * * * *", "owner": "nobody-at-all"});
    admin.post("/v1/schedules", ask).await.problem(404, "not-found");
}

/// An input that no start would take is refused when the schedule is made.
#[tokio::test]
async fn schedule_is_refused_with_an_input_that_its_workflow_does_not_take() {
    let server = dev();
    let admin = reports(&server).await;
    let ask =
        json!({"workflow": "report", "cron": "0 * * * *", "owner": "rita", "input": {"about": 7}});
    let problem = admin.post("/v1/schedules", ask).await.problem(422, "invalid-input").json();
    assert_eq!(problem["errors"][0]["pointer"], "/input/about", "{problem}");
}
