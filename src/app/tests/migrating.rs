//! Migration of transactions to another version: their timers and steps follow its definition.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::*;
use crate::engine::{
    BulkAction, BulkAsk, BulkFilter, MigrateAsk, Record, RecordKey, StartAsk, Timer, TimerOf, Tx,
    TxStatus, workflow,
};
use crate::types::TxId;

async fn publish(house: &TestApp, document: &str) {
    let definition = Arc::new(workflow::read(document).unwrap().definition);
    let source = Arc::from(document);
    house.run(&Actor::System, Command::Publish { source, definition }).await.unwrap();
}

async fn start(house: &TestApp, actor: &Actor, input: Value) -> Result<TxId, Refusal> {
    let Value::Object(input) = input else { panic!("an object") };
    let ask = StartAsk { workflow: "cart".parse().unwrap(), input, reference: None };
    match house.run(actor, Command::Start(Box::new(ask))).await? {
        Outcome::Transaction { view, .. } => Ok(view.tx.id),
        other => panic!("one was started: {other:?}"),
    }
}

async fn alice(house: &TestApp) -> Actor {
    let seat = house.join("alice").await;
    house.actor(&seat.token).await.unwrap()
}

async fn migrate(house: &TestApp, tx: TxId) -> Result<(), Refusal> {
    let command = Command::Migrate { tx, ask: MigrateAsk::default() };
    house.run(&Actor::System, command).await.map(drop)
}

fn shown(house: &TestApp, id: TxId) -> Arc<Tx> {
    house.app.transaction(&Actor::System, id).unwrap().tx
}

/// A workflow of one step that waits for its owner, with further lines for the workflow and the
/// step.
fn cart(top: &str, step: &str) -> String {
    format!(
        "abide: 1
workflow: cart
input: {{ type: object, properties: {{ n: {{ type: number }} }} }}
{top}
first: pay
steps:
  pay: {{ by: [owner], next: {{ end: paid }}{step} }}
"
    )
}

const TIMEOUT: &str = ", timeout: { after: 30m, next: { cancel: timed-out } }";

/// A step without a time limit in the other version waits without one, and nothing else waits for
/// it.
#[tokio::test]
async fn migrated_step_without_a_timeout_has_no_time_any_more() {
    let house = TestApp::new().await;
    publish(&house, &cart("deadline: 2h", TIMEOUT)).await;
    let alice = alice(&house).await;
    let tx = start(&house, &alice, json!({})).await.unwrap();
    assert!(shown(&house, tx).timer_at.is_some());
    publish(&house, &cart("", "")).await;
    migrate(&house, tx).await.unwrap();
    let moved = shown(&house, tx);
    assert_eq!((moved.open[0].due, moved.deadline, moved.timer_at), (None, None, None));
    house.advance(Span::from_hours(3)).await;
    assert_eq!(shown(&house, tx).status, TxStatus::Waiting);
    house.join("bob").await;
    house.app.close().await;
}

/// A time that is in both versions stays; a new one begins at the migration.
#[tokio::test]
async fn migrated_step_keeps_its_time_or_begins_it() {
    let house = TestApp::new().await;
    publish(&house, &cart("deadline: 2h", TIMEOUT)).await;
    let alice = alice(&house).await;
    let kept = start(&house, &alice, json!({})).await.unwrap();
    let before = shown(&house, kept);
    house.advance(Span::from_minutes(10)).await;
    publish(&house, &cart("deadline: 9h", &TIMEOUT.replace("30m", "8h"))).await;
    migrate(&house, kept).await.unwrap();
    let after = shown(&house, kept);
    assert_eq!((after.open[0].due, after.deadline), (before.open[0].due, before.deadline));
    house.advance(Span::from_minutes(20)).await;
    assert_eq!(shown(&house, kept).outcome.as_deref(), Some("timed-out"));

    publish(&house, &cart("", "")).await;
    let alice = house.actor(&house.login("alice").await.token).await.unwrap();
    let begun = start(&house, &alice, json!({})).await.unwrap();
    assert_eq!(shown(&house, begun).timer_at, None);
    house.advance(Span::from_hours(1)).await;
    publish(&house, &cart("deadline: 2h", TIMEOUT)).await;
    migrate(&house, begun).await.unwrap();
    house.advance(Span::from_minutes(29)).await;
    assert_eq!(shown(&house, begun).status, TxStatus::Waiting);
    house.advance(Span::from_minutes(1)).await;
    assert_eq!(shown(&house, begun).outcome.as_deref(), Some("timed-out"));
    house.app.close().await;
}

/// A data directory in which a step has a time at which nothing happens, as an earlier version left
/// them: the timer fires once and is gone, after a restart too.
#[tokio::test]
async fn timer_that_leads_nowhere_is_disarmed_at_the_start() {
    let store = Arc::new(Memory::new());
    let house = TestApp::on(Arc::clone(&store), rules()).await;
    publish(&house, &cart("", "")).await;
    let alice = alice(&house).await;
    let id = start(&house, &alice, json!({})).await.unwrap();
    let mut tx = (*shown(&house, id)).clone();
    house.app.close().await;

    let due = tx.started_at.plus(Span::from_ms(1));
    tx.open[0].due = Some(due);
    tx.timer_at = Some(due);
    let timer = Key::Timer(Timer { due, what: TimerOf::Tx(id) });
    // A record of one part.
    let row = [vec![1], value::encode(&Record::Tx(Arc::new(tx)))].concat();
    let batch = Batch {
        writes: vec![
            Write::put(Key::of(&RecordKey::Tx(id)).encode(), row),
            Write::put(timer.encode(), Vec::new()),
        ],
        ..Batch::default()
    };
    store.commit(batch).unwrap();

    let house = TestApp::on(Arc::clone(&store), rules()).await;
    house.advance(Span::from_ms(2)).await;
    assert_eq!(shown(&house, id).timer_at, None);
    assert_eq!(store.get(View::Staged, &timer.encode()).unwrap(), None);
    house.join("bob").await;
    house.app.close().await;
}

fn remind(after: &str) -> String {
    format!(", remind: [ {{ after: [{after}], do: [ {{ emit: {{ type: cart.waits }} }} ] }} ]")
}

/// Reminders that were sent are not sent again, the others are, and a new one is sent if its time
/// is still to come: by their times, at any position in the list.
#[tokio::test]
async fn migrated_reminders_are_neither_sent_again_nor_lost() {
    for (old, moved_at, new, later) in [
        // Sent before: 4h. Still to be sent: 24h.
        ("4h, 24h", 5, "1h, 4h, 24h", vec![24]),
        ("4h, 24h", 5, "24h", vec![24]),
        ("4h, 24h", 5, "4h, 6h, 24h", vec![6, 24]),
        ("4h, 24h", 5, "1h, 2h", vec![]),
        ("4h, 24h", 25, "4h, 24h, 30h", vec![30]),
        ("4h, 24h", 1, "2h, 4h, 24h", vec![2, 4, 24]),
        ("30h", 5, "4h, 6h", vec![6]),
    ] {
        let house = TestApp::new().await;
        publish(&house, &cart("", &remind(old))).await;
        let alice = alice(&house).await;
        let tx = start(&house, &alice, json!({})).await.unwrap();
        house.advance(Span::from_hours(moved_at)).await;
        publish(&house, &cart("", &remind(new))).await;
        let before = house.count("cart.waits");
        migrate(&house, tx).await.unwrap();
        let mut sent = Vec::new();
        for hour in moved_at..40 {
            let known = house.count("cart.waits");
            // At first nothing but the timers that are due at once.
            house.advance(Span::from_hours(u64::from(hour > moved_at))).await;
            sent.extend((known..house.count("cart.waits")).map(|_| hour));
        }
        assert_eq!(sent, later, "{old} at {moved_at} to {new}, {before} sent");
        house.app.close().await;
    }
}

/// A reminder that is due while its transaction is paused is sent on resumption, migrated or not.
#[tokio::test]
async fn migrated_reminder_of_a_paused_transaction_is_not_lost() {
    let house = TestApp::new().await;
    publish(&house, &cart("", &remind("4h"))).await;
    let alice = alice(&house).await;
    let tx = start(&house, &alice, json!({})).await.unwrap();
    let pause = |pause| Command::Pause { tx, pause };
    house.run(&Actor::System, pause(true)).await.unwrap();
    house.advance(Span::from_hours(5)).await;
    publish(&house, &cart("", &remind("1h, 4h, 9h"))).await;
    migrate(&house, tx).await.unwrap();
    assert_eq!(house.count("cart.waits"), 0);
    house.run(&Actor::System, pause(false)).await.unwrap();
    house.advance(Span::ZERO).await;
    assert_eq!(house.count("cart.waits"), 1);
    house.advance(Span::from_hours(5)).await;
    assert_eq!(house.count("cart.waits"), 2);
    house.app.close().await;
}

/// The `unique` of the other version holds from the migration on: for the transaction that is
/// migrated and for later ones; a second one is refused, also among many.
#[tokio::test]
async fn migration_checks_unique() {
    let house = TestApp::new().await;
    publish(&house, &cart("", "")).await;
    let alice = alice(&house).await;
    let first = start(&house, &alice, json!({ "n": 1 })).await.unwrap();
    let second = start(&house, &alice, json!({ "n": 1.0 })).await.unwrap();
    let third = start(&house, &alice, json!({ "n": 2 })).await.unwrap();
    publish(&house, &cart("unique: =data.n", "")).await;
    migrate(&house, first).await.unwrap();
    assert_eq!(migrate(&house, second).await, Err(Refusal::AlreadyOpen));
    assert_eq!(shown(&house, second).version, 1);
    assert_eq!(start(&house, &alice, json!({ "n": 1e0 })).await, Err(Refusal::AlreadyOpen));
    let olga = house.operator().await;
    let ask = BulkAsk {
        filter: BulkFilter { version: Some(1), ..BulkFilter::default() },
        action: BulkAction::Migrate { version: None, steps: std::collections::BTreeMap::new() },
        dry_run: false,
    };
    let Outcome::Job(job) = house.run(&olga, Command::Bulk(Box::new(ask))).await.unwrap() else {
        panic!("a job was begun")
    };
    let state = || house.app.job(&olga, job.id).unwrap();
    house.advance_until(|| state().ended_at.is_some()).await;
    let job = state();
    assert_eq!((job.done, job.failed), (1, 1));
    let failure = &job.failures[0];
    assert_eq!((failure.transaction, failure.code.as_str()), (second, "already-open"));
    assert_eq!(shown(&house, third).version, 2);

    // Without it the value is free again.
    publish(&house, &cart("", "")).await;
    migrate(&house, first).await.unwrap();
    migrate(&house, second).await.unwrap();
    // The same as before is as it was at the start.
    publish(&house, &cart("unique: =data.n", "")).await;
    let fourth = start(&house, &alice, json!({ "n": 7 })).await.unwrap();
    publish(&house, &cart("unique: =data.n\ntitle: Others", "")).await;
    migrate(&house, fourth).await.unwrap();
    assert_eq!(start(&house, &alice, json!({ "n": 7 })).await, Err(Refusal::AlreadyOpen));
    house.app.close().await;
}

/// The same reference with the same input is the same start, however its numbers are written.
#[tokio::test]
async fn reference_compares_numbers_by_value() {
    let house = TestApp::new().await;
    publish(&house, &cart("", "")).await;
    let alice = alice(&house).await;
    let refer = async |n: Value| {
        let input = Map::from_iter([("n".to_owned(), n)]);
        let reference = Some("order-1".to_owned());
        let ask = StartAsk { workflow: "cart".parse().unwrap(), input, reference };
        match house.run(&alice, Command::Start(Box::new(ask))).await? {
            Outcome::Transaction { view, created } => Ok((view.tx.id, created)),
            other => panic!("one was started: {other:?}"),
        }
    };
    let (id, created) = refer(json!(1)).await.unwrap();
    assert!(created);
    assert_eq!(refer(json!(1.0)).await, Ok((id, false)));
    assert_eq!(refer(json!(1.5)).await, Err(Refusal::ReferenceTaken));
    house.app.close().await;
}

const BRANCHES: &str = "abide: 1
workflow: cart
input: { type: object, properties: { n: { type: number } } }
first: begin
steps:
  begin: { next: BEGIN }
  left: { by: [owner] }
  right: { by: [owner] }
  done: { by: [owner], next: { end: done } }
";

/// Branches are found by the steps that they begin with, at any position among others.
#[tokio::test]
async fn migrated_branches_are_found_by_their_steps() {
    let house = TestApp::new().await;
    let both = "{ all: [left, right], next: done }";
    publish(&house, &BRANCHES.replace("BEGIN", both)).await;
    let alice = alice(&house).await;
    let tx = start(&house, &alice, json!({})).await.unwrap();
    let more = "{ all: [up, down], next: second }";
    let steps = "  up: { by: [owner] }
  down: { by: [owner] }
  second: { next: { all: [right, left], next: done } }
";
    publish(&house, &(BRANCHES.replace("BEGIN", more) + steps)).await;
    migrate(&house, tx).await.unwrap();
    let submit =
        |step: &str| Command::Submit { tx, step: step.into(), input: json!({}), if_match: None };
    house.run(&alice, submit("left")).await.unwrap();
    house.run(&alice, submit("right")).await.unwrap();
    let joined = shown(&house, tx);
    assert_eq!((joined.open.len(), joined.open[0].step.as_str()), (1, "done"));
    house.app.close().await;
}

/// A step that lies in no branch there, or in others, is not migrated.
#[tokio::test]
async fn migration_out_of_a_branch_is_refused() {
    let house = TestApp::new().await;
    let both = "{ all: [left, right], next: done }";
    publish(&house, &BRANCHES.replace("BEGIN", both)).await;
    let alice = alice(&house).await;
    let tx = start(&house, &alice, json!({})).await.unwrap();
    let steps = "  deep: { next: { all: [left, right] } }
  other: { by: [owner] }
";
    let nested = "{ all: [deep, other], next: done }";
    publish(&house, &(BRANCHES.replace("BEGIN", nested) + steps)).await;
    assert!(matches!(migrate(&house, tx).await, Err(Refusal::CannotMigrate(_))));
    assert_eq!(shown(&house, tx).version, 1);
    house.app.close().await;
}
