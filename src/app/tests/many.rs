//! Bulk jobs, and searches among many transactions.

use std::sync::Arc;

use serde_json::Map;

use super::*;
use crate::engine::{
    BulkAction, BulkAsk, BulkFilter, Job, MigrateAsk, QueueAsk, StartAsk, Tx, TxStatus, workflow,
};
use crate::types::TxId;

async fn publish(house: &TestApp, document: &str) {
    let definition = Arc::new(workflow::read(document).unwrap().definition);
    let source = Arc::from(document);
    house.run(&Actor::System, Command::Publish { source, definition }).await.unwrap();
}

async fn start(house: &TestApp, actor: &Actor, workflow: &str) -> TxId {
    let ask = StartAsk { workflow: workflow.parse().unwrap(), input: Map::new(), reference: None };
    let started = house.run(actor, Command::Start(Box::new(ask))).await.unwrap();
    let Outcome::Transaction { view, .. } = started else { panic!("one was started") };
    view.tx.id
}

fn shown(house: &TestApp, id: TxId) -> Arc<Tx> {
    house.app.transaction(&Actor::System, id).unwrap().tx
}

/// Runs a bulk job on all transactions of a workflow. Returns its result.
async fn job(
    house: &TestApp,
    operator: &Actor,
    workflow: &str,
    action: BulkAction,
    dry_run: bool,
) -> Job {
    let filter = BulkFilter { workflow: Some(workflow.parse().unwrap()), ..BulkFilter::default() };
    let ask = BulkAsk { filter, action, dry_run };
    let begun = house.run(operator, Command::Bulk(Box::new(ask))).await.unwrap();
    let Outcome::Job(begun) = begun else { panic!("it began") };
    loop {
        let job = house.app.job(operator, begun.id).unwrap();
        if job.ended_at.is_some() {
            return job;
        }
        house.advance(Span::from_ms(1)).await;
    }
}

fn came_to(job: &Job) -> (u64, u64, u64) {
    (job.matched, job.done, job.failed)
}

const REVIEW: &str = "abide: 1
workflow: review
first: look
steps:
  look: { by: [owner], claim: 10m, next: { end: looked-at } }
";

async fn claimed(house: &TestApp, actor: &Actor, limit: usize) -> Vec<TxId> {
    let (workflow, step) = ("review".parse().unwrap(), "look".parse().unwrap());
    let mut ask = QueueAsk { workflow, step, limit, span: None, candidates: Vec::new() };
    ask.candidates = house.app.claimable(actor, &ask).unwrap();
    let outcome = house.run(actor, Command::ClaimQueued(ask)).await.unwrap();
    let Outcome::Claimed { views } = outcome else { panic!("some were claimed") };
    views.iter().map(|view| view.tx.id).collect()
}

/// However many are paused, those behind them are found, and paused ones have their position again
/// when they are resumed: they wait since they opened.
#[tokio::test]
async fn paused_transactions_are_in_no_queue() {
    let house = TestApp::new().await;
    let olga = house.operator().await;
    publish(&house, REVIEW).await;
    let seat = house.join("alice").await;
    let alice = house.actor(&seat.token).await.unwrap();
    let mut paused = Vec::new();
    for _ in 0..501 {
        paused.push(start(&house, &alice, "review").await);
    }
    // Those of one millisecond wait in the order of their ids.
    paused.sort();
    let held = claimed(&house, &alice, 1).await;
    let stopped = job(&house, &olga, "review", BulkAction::Pause, false).await;
    assert_eq!(came_to(&stopped), (501, 501, 0));
    assert!(claimed(&house, &alice, 50).await.is_empty());
    house.advance(Span::from_ms(1)).await;
    let behind = start(&house, &alice, "review").await;
    assert_eq!(claimed(&house, &alice, 50).await, [behind]);
    let resumed = job(&house, &olga, "review", BulkAction::Resume, false).await;
    assert_eq!(came_to(&resumed), (502, 502, 0));
    // The one that was claimed before still is.
    assert!(held.iter().all(|held| paused[0] == *held));
    assert_eq!(claimed(&house, &alice, 50).await, paused[1..51]);
    house.advance(Span::from_minutes(10)).await;
    assert_eq!(claimed(&house, &alice, 50).await, paused[51..101]);
    house.app.close().await;
}

const ORDER: &str = "abide: 1
workflow: order
first: begin
steps:
  begin:
    do:
      - start: { workflow: parcel, reference: '=tx.id + \"/1\"' }
      - start: { workflow: parcel, reference: '=tx.id + \"/2\"' }
    next: wait
  wait: { by: [owner], next: { end: done } }
";

const PARCEL: &str = "abide: 1
workflow: parcel
start: { by: [workflow:order] }
first: wait
steps:
  wait: { by: [owner], next: { end: sent } }
";

/// Orders with two parcels each.
async fn orders(house: &TestApp, count: usize) -> Vec<TxId> {
    publish(house, PARCEL).await;
    publish(house, ORDER).await;
    let seat = house.join("alice").await;
    let alice = house.actor(&seat.token).await.unwrap();
    let mut orders = Vec::new();
    for _ in 0..count {
        orders.push(start(house, &alice, "order").await);
    }
    orders
}

/// Each may start as many others as if it were alone.
#[tokio::test]
async fn a_bulk_cancel_takes_what_was_started_with_it() {
    let house = TestApp::new().await;
    let olga = house.operator().await;
    let orders = orders(&house, 20).await;
    let cancel = || BulkAction::Cancel { reason: None };
    let looked = job(&house, &olga, "order", cancel(), true).await;
    assert_eq!(came_to(&looked), (20, 20, 0));
    let cancelled = job(&house, &olga, "order", cancel(), false).await;
    assert_eq!(came_to(&cancelled), (20, 20, 0));
    assert!(orders.iter().all(|order| shown(&house, *order).status == TxStatus::Cancelled));
    assert_eq!(house.count("abide.transaction.ended"), 60);
    house.app.close().await;
}

/// The transactions of a deleted user are cancelled as if each were alone.
#[tokio::test]
async fn what_a_user_leaves_is_cancelled_with_what_it_started() {
    let house = TestApp::new().await;
    let orders = orders(&house, 20).await;
    let delete = Command::DeleteUser { username: name("alice"), if_match: None };
    let admin = house.admin().await;
    house.run(&admin, delete).await.unwrap();
    let ended = |order: &TxId| shown(&house, *order).status.is_ended();
    house.advance_until(|| orders.iter().all(ended)).await;
    for order in orders {
        let order = shown(&house, order);
        assert_eq!((order.status, &order.stuck), (TxStatus::Cancelled, &None));
    }
    house.app.close().await;
}

/// A migration of many to the next version does to each the same as a migration of one.
#[tokio::test]
async fn many_are_moved() {
    let house = TestApp::new().await;
    let olga = house.operator().await;
    publish(&house, REVIEW).await;
    let seat = house.join("alice").await;
    let alice = house.actor(&seat.token).await.unwrap();
    let mut all = Vec::new();
    for _ in 0..45 {
        all.push(start(&house, &alice, "review").await);
    }
    all.sort();
    publish(&house, &REVIEW.replace("looked-at", "seen")).await;
    let alone = Command::Migrate { tx: all[0], ask: MigrateAsk::default() };
    house.run(&Actor::System, alone).await.unwrap();
    let moved = job(
        &house,
        &olga,
        "review",
        BulkAction::Migrate { version: None, steps: [].into() },
        false,
    )
    .await;
    assert_eq!(came_to(&moved), (45, 45, 0));
    assert!(all.iter().all(|id| shown(&house, *id).version == 2));
    assert_eq!(claimed(&house, &alice, 50).await, all);
    house.app.close().await;
}
