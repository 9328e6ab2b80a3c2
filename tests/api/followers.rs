//! Many subscribers, over kill -9 under load: each sees the events that it may see, once, in order.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};
use tokio::sync::watch;

use crate::client::Role;
use crate::live::{Stream, all, publish, start, step};
use crate::server::dev;

/// Users, each with this many streams; one more user may see everything.
const USERS: usize = 9;
const STREAMS_EACH: usize = 5;
const KILLS: usize = 3;

/// Follows from `after` on until the event with this note has come.
async fn follow(
    mut base: watch::Receiver<String>,
    role: Role,
    after: String,
    last_note: String,
) -> Vec<Value> {
    let mut seen = Vec::new();
    let mut after = after;
    loop {
        let address = base.borrow_and_update().clone();
        let opened = Stream::attempt(&address, &role, "/v1/events", Some(&after)).await;
        let Some(mut stream) = opened else {
            base.changed().await.unwrap();
            continue;
        };
        while let Some(event) = stream.event().await {
            let is_last = event["data"]["data"]["note"] == json!(last_note);
            seen.push(event);
            if is_last {
                return seen;
            }
        }
        after = stream.last;
    }
}

/// Starts transactions and takes steps until `stop` is set; requests that a kill cuts off do not
/// matter.
async fn load(role: Role, stop: Arc<AtomicBool>, done: watch::Sender<usize>) {
    while !stop.load(Ordering::Acquire) {
        let started = role.post_empty("/v1/workflows/secret/transactions").attempt().await;
        let started = started.filter(|answer| answer.status == 201);
        let Some(started) = started else {
            tokio::task::yield_now().await;
            continue;
        };
        let id = started.json()["id"].as_str().unwrap().to_owned();
        drop(role.post(&step(&id, "ask"), json!({"note": "load"})).attempt().await);
        done.send_modify(|done| *done += 1);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_streams_miss_nothing_over_kill_9_under_load() {
    let mut server = dev();
    let admin = server.admin().await;
    publish(&admin).await;
    let mut roles = Vec::new();
    for number in 0..USERS {
        roles.push(server.user(&format!("user{number}")).await);
    }
    let began = admin.get("/v1/events?limit=1").header("accept", "application/json").await;
    let began = began.ok().json()["next_after"].as_str().unwrap().to_owned();
    let (address, base) = watch::channel(server.base());
    let mut followers = Vec::new();
    for (number, role) in roles.iter().enumerate() {
        for _ in 0..STREAMS_EACH {
            let note = format!("last of {number}");
            let task = follow(base.clone(), role.clone(), began.clone(), note);
            followers.push((role.clone(), tokio::spawn(task)));
        }
    }
    for _ in 0..STREAMS_EACH {
        let note = format!("last of {}", USERS - 1);
        let task = follow(base.clone(), admin.clone(), began.clone(), note);
        followers.push((admin.clone(), tokio::spawn(task)));
    }
    let stop = Arc::<AtomicBool>::default();
    let (done, mut counted) = watch::channel(0);
    let work: Vec<_> = roles
        .iter()
        .map(|role| tokio::spawn(load(role.clone(), Arc::clone(&stop), done.clone())))
        .collect();
    for kill in 1..=KILLS {
        counted.wait_for(|done| *done >= kill * 40).await.unwrap();
        server.crash_and_restart();
        address.send_replace(server.base());
    }
    counted.wait_for(|done| *done >= (KILLS + 1) * 40).await.unwrap();
    stop.store(true, Ordering::Release);
    for task in work {
        task.await.unwrap();
    }
    for (number, role) in roles.iter().enumerate() {
        let id = start(role).await;
        let note = json!({"note": format!("last of {number}")});
        role.post(&step(&id, "ask"), note).await.ok();
    }
    for (role, task) in followers {
        let seen = task.await.unwrap();
        let mut logged = all(&role).await;
        let last = seen.last().unwrap()["id"].as_str().unwrap().to_owned();
        let within = |event: &Value| {
            let id = event["id"].as_str().unwrap();
            id > began.as_str() && id <= last.as_str()
        };
        logged.retain(within);
        assert_eq!(seen.len(), logged.len());
        assert_eq!(seen, logged);
    }
}
