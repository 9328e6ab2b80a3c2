//! The caller of a command drains the queue: no caller is left in it, and the order is the queue's.

use std::future::Future;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use tokio::time::timeout;

use super::*;
use crate::engine::Profile;
use crate::engine::workflow;

/// Far less than the executor's thread sleeps if nobody wakes it.
const SOON: Duration = Duration::from_secs(5);

/// Within this the second of two tasks has begun, mostly.
const MOMENT: Duration = Duration::from_micros(200);

async fn soon<T>(what: impl Future<Output = T>) -> T {
    timeout(SOON, what).await.expect("somebody was left waiting")
}

/// A command that is not executed on the caller's thread.
fn publish(version: usize) -> Command {
    let text = format!(
        "abide: 1\nworkflow: one\ntitle: Version {version}\nfirst: go\n\
         steps: {{ go: {{ by: [owner], next: {{ end: gone }} }} }}\n"
    );
    let definition = Arc::new(workflow::read(&text).unwrap().definition);
    Command::Publish { source: Arc::from(text), definition }
}

const OPEN: Command = Command::OpenAnonymous { profile: None };

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn whoever_finds_the_executor_taken_is_not_left_in_the_queue() {
    let house = Arc::new(TestApp::new().await);
    let seat = house.join("alice").await;
    let actor = house.actor(&seat.token).await.unwrap();
    for round in 0..3_000 {
        // Two at the same moment, then no caller that would find a command that the first one left.
        let ready = Arc::new(AtomicUsize::new(0));
        let both = [false, true].map(|second| {
            let (house, actor) = (Arc::clone(&house), actor.clone());
            let is_long = second && round % 64 == 0;
            let command = if is_long { publish(1) } else { Command::Touch };
            let actor = if is_long { Actor::System } else { actor };
            let ready = Arc::clone(&ready);
            tokio::spawn(async move {
                ready.fetch_add(1, Ordering::AcqRel);
                let since = Instant::now();
                while ready.load(Ordering::Acquire) < 2 && since.elapsed() < MOMENT {
                    std::hint::spin_loop();
                }
                house.run(&actor, command).await.map(drop)
            })
        });
        for one in soon(join_all(both)).await {
            one.unwrap().unwrap();
        }
    }
    assert_eq!(house.app.queue_depth(), 0);
}

#[tokio::test]
async fn commands_are_done_in_the_order_in_which_they_came_whoever_does_them() {
    let house = TestApp::new().await;
    for round in 0..100 {
        let before = house.store.durable();
        // The long one is left to the executor's thread, and the commands behind it wait for it.
        let commands = [OPEN, OPEN, publish(round), OPEN, OPEN];
        // All of one actor: those of others take turns with it if they have to wait.
        let done = commands.into_iter().map(|command| house.app.call(command, Actor::System));
        assert!(soon(join_all(done)).await.iter().all(Result::is_ok));
        let entries = house.store.read_log(before, usize::MAX).unwrap();
        let events = entries.iter().flat_map(|entry| events_of(entry).events);
        let (opened, published) = ("abide.session.opened", "abide.workflow.published");
        let kinds: Vec<_> = events.map(|event| event.kind).collect();
        assert_eq!(kinds, [opened, opened, published, opened, opened]);
    }
}

#[tokio::test]
async fn a_timer_that_a_caller_sets_fires_in_time_with_nobody_else_there() {
    let idle = Span::from_ms(300);
    let profile = Profile { idle, absolute: Span::from_hours(1) };
    let house = TestApp::with(Rules { profile, ..rules() }).await;
    house.run(&Actor::Nobody, OPEN).await.unwrap();
    let next = house.store.durable().next();
    soon(house.store.durable_at(next)).await.unwrap();
    assert_eq!(house.count("abide.session.ended"), 1);
}
