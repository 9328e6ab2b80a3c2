//! Commands of operators on transactions with calls or holds under way.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::*;
use crate::engine::{
    CallAttempt, CallResult, CallState, MigrateAsk, StartAsk, Tx, TxStatus, workflow,
};
use crate::types::TxId;

async fn publish(house: &TestApp, document: &str) {
    let definition = Arc::new(workflow::read(document).unwrap().definition);
    let source = Arc::from(document);
    house.run(&Actor::System, Command::Publish { source, definition }).await.unwrap();
}

async fn start(house: &TestApp, workflow: &str) -> TxId {
    let seat = house.join("alice").await;
    let alice = house.actor(&seat.token).await.unwrap();
    let ask = StartAsk { workflow: workflow.parse().unwrap(), input: Map::new(), reference: None };
    let started = house.run(&alice, Command::Start(Box::new(ask))).await.unwrap();
    let Outcome::Transaction { view, .. } = started else { panic!("one was started") };
    view.tx.id
}

fn shown(house: &TestApp, id: TxId) -> Arc<Tx> {
    house.app.transaction(&Actor::System, id).unwrap().tx
}

const BRANCHES: &str = "abide: 1
workflow: cart
first: begin
steps:
  begin:
    do: [ { hold: { id: seat, from: shop, amount: \"5.00\", expires: 1h, authority: workflow, on_expiry: after } } ]
    next: { all: [left, right], next: done }
  left: { by: [owner] }
  right: { by: [owner] }
  done: { by: [owner], next: { end: done } }
  after: { by: [owner], next: { end: late } }
";

const STRAIGHT: &str = "abide: 1
workflow: cart
first: begin
steps:
  begin: { next: after }
  after: { by: [owner], next: { end: late } }
";

/// Branches that the end of a hold has closed block nothing: not even a migration to a version
/// without them.
#[tokio::test]
async fn branches_that_a_hold_closed_hinder_no_move() {
    let house = TestApp::new().await;
    let open = Command::OpenAccount {
        id: "shop".parse().unwrap(),
        asset: "EUR".parse().unwrap(),
        owner: None,
        floor: None,
        read_anyone: false,
    };
    house.run(&Actor::System, open).await.unwrap();
    publish(&house, BRANCHES).await;
    let id = start(&house, "cart").await;
    assert_eq!(shown(&house, id).joins.len(), 1);
    house.advance(Span::from_hours(1)).await;
    let after = shown(&house, id);
    assert_eq!((after.open.len(), after.open[0].step.as_str()), (1, "after"));
    assert!(after.joins.is_empty(), "{:?}", after.joins);
    publish(&house, STRAIGHT).await;
    let migrate = Command::Migrate { tx: id, ask: MigrateAsk::default() };
    house.run(&Actor::System, migrate).await.unwrap();
    assert_eq!(shown(&house, id).version, 2);
    house.app.close().await;
}

const SCREEN: &str = "abide: 1
workflow: screening
first: screen
steps:
  screen:
    call: { url: \"http://127.0.0.1:9/\", body: { to: =callback.url }, callback: 15m }
    do: [ { set: { risk: =response.body } } ]
    next: { end: screened }
";

/// Answers the call of a transaction with 202. Returns the end of its callback's address.
async fn promised(house: &TestApp, id: TxId) -> Arc<str> {
    let due = Command::BeginCall { tx: id, number: 0 };
    let begun = house.run(&Actor::System, due).await.unwrap();
    let Outcome::CallBegun(order) = begun else { panic!("it began") };
    let CallAttempt { tx, number, attempt, callback, .. } = *order;
    let (headers, body) = (json!({}), Value::Null);
    let result = Box::new(CallResult::Answered {
        status: 202,
        headers,
        body,
        truncated: false,
        retry_after: None,
        excerpt: "".into(),
    });
    house.run(&Actor::System, Command::EndCall { tx, number, attempt, result }).await.unwrap();
    assert!(matches!(shown(house, id).calls[0].state, CallState::AwaitingCallback(_)));
    callback.into()
}

/// Due timers fire when a paused transaction is resumed, and an answer after its time is late all
/// the same; one in time is accepted as it comes.
#[tokio::test]
async fn a_callback_after_its_time_is_late_while_a_transaction_is_paused_too() {
    for late in [true, false] {
        let house = TestApp::new().await;
        publish(&house, SCREEN).await;
        let id = start(&house, "screening").await;
        let token = promised(&house, id).await;
        let pause = |pause| Command::Pause { tx: id, pause };
        house.run(&Actor::System, pause(true)).await.unwrap();
        house.advance(Span::from_minutes(if late { 15 } else { 14 })).await;
        assert!(matches!(shown(&house, id).calls[0].state, CallState::AwaitingCallback(_)));
        let call_back = Command::CallBack { token, body: json!("low") };
        let answered = house.run(&Actor::Nobody, call_back).await;
        if late {
            assert_eq!(answered.unwrap_err(), Refusal::CallbackLate);
            assert_eq!(shown(&house, id).status, TxStatus::Running);
            house.run(&Actor::System, pause(false)).await.unwrap();
            house.advance(Span::ZERO).await;
            let ended = shown(&house, id);
            assert_eq!(
                (ended.status, &ended.calls[0].state),
                (TxStatus::Failed, &CallState::Unknown)
            );
            assert_eq!(ended.outcome.as_deref(), Some("call-failed"));
        } else {
            answered.unwrap();
            let ended = shown(&house, id);
            assert_eq!((ended.status, &ended.data["risk"]), (TxStatus::Completed, &json!("low")));
        }
        house.app.close().await;
    }
}

const SCREEN_AFTER_PIVOT: &str = "abide: 1
workflow: screening
first: begin
steps:
  begin: { pivot: true, next: screen }
  screen: { call: { url: \"http://127.0.0.1:9/\" }, failed: again, next: { end: screened } }
  again: { guard: [ { that: 'false', code: no, message: No. } ], next: { end: never } }
";

/// A service's answer is kept, over a restart too.
#[tokio::test]
async fn answer_of_a_service_is_kept_over_a_restart() {
    let house = TestApp::new().await;
    publish(&house, SCREEN_AFTER_PIVOT).await;
    let id = start(&house, "screening").await;
    let begun = house.run(&Actor::System, Command::BeginCall { tx: id, number: 0 }).await.unwrap();
    let Outcome::CallBegun(order) = begun else { panic!("it began") };
    let CallAttempt { tx, number, attempt, .. } = *order;
    let (headers, body) = (json!({}), Value::Null);
    let result = Box::new(CallResult::Answered {
        status: 422,
        headers,
        body,
        truncated: false,
        retry_after: None,
        excerpt: "no such name".into(),
    });
    house.run(&Actor::System, Command::EndCall { tx, number, attempt, result }).await.unwrap();
    let stuck = shown(&house, id);
    assert_eq!(stuck.status, TxStatus::Stuck);
    house.app.close().await;
    let house = TestApp::on(Arc::clone(&house.store), rules()).await;
    let again = shown(&house, id);
    let answer = again.calls[0].answer.as_ref().unwrap();
    assert_eq!((answer.status, &*answer.body), (422, "no such name"));
    assert_eq!(again.calls, stuck.calls);
    house.app.close().await;
}

const BOOK: &str = "abide: 1
workflow: trip
input: { type: object, properties: { text: { type: string } } }
first: one
steps:
  one:
    call: { method: PUT, url: \"http://127.0.0.1:9/one\" }
    compensate: [ { call: { method: DELETE, url: \"http://127.0.0.1:9/one\", body: =data.text } } ]
    next: two
  two:
    call: { method: PUT, url: \"http://127.0.0.1:9/two\" }
    compensate: [ { call: { method: DELETE, url: \"http://127.0.0.1:9/two\", body: =data.text } } ]
    next: tell
  tell: { by: [owner], do: [ { each: '=[LIST]', as: n, do: [ { send: { url: \"http://127.0.0.1:9/\" } } ] } ], next: wait }
  wait: { by: [owner], next: { end: done } }
";

async fn answered(house: &TestApp, tx: TxId, number: u32) {
    let begun = house.run(&Actor::System, Command::BeginCall { tx, number }).await.unwrap();
    let Outcome::CallBegun(order) = begun else { panic!("it began") };
    let (headers, body, attempt) = (json!({}), Value::Null, order.attempt);
    let result = Box::new(CallResult::Answered {
        status: 200,
        headers,
        body,
        truncated: false,
        retry_after: None,
        excerpt: "".into(),
    });
    house.run(&Actor::System, Command::EndCall { tx, number, attempt, result }).await.unwrap();
}

/// The requests that undo a transaction are never too large: neither beside those that are kept of
/// it already nor beside those that are sent meanwhile.
#[tokio::test]
async fn undoing_is_never_too_much() {
    let list: Vec<_> = (0..100).map(|n| n.to_string()).collect();
    for (text, tells) in [("x".repeat(60_000), false), (String::new(), true)] {
        let house = TestApp::new().await;
        publish(&house, &BOOK.replace("LIST", &list.join(","))).await;
        let seat = house.join("alice").await;
        let alice = house.actor(&seat.token).await.unwrap();
        let input = Map::from_iter([("text".to_owned(), text.into())]);
        let ask = StartAsk { workflow: "trip".parse().unwrap(), input, reference: None };
        let started = house.run(&alice, Command::Start(Box::new(ask))).await.unwrap();
        let Outcome::Transaction { view, .. } = started else { panic!("one was started") };
        let tx = view.tx.id;
        for number in 0..2 {
            answered(&house, tx, number).await;
        }
        if tells {
            let input = Value::Null;
            let tell = Command::Submit { tx, step: "tell".into(), input, if_match: None };
            house.run(&alice, tell).await.unwrap();
        }
        let cancel = Command::Cancel { tx, reason: None, if_match: None };
        house.run(&alice, cancel).await.unwrap();
        for _ in 0..2 {
            let calls = shown(&house, tx).calls.clone();
            let undo = calls.iter().find(|call| {
                call.purpose == crate::engine::CallPurpose::Undo && !call.state.is_over()
            });
            answered(&house, tx, undo.unwrap().number).await;
        }
        assert_eq!(shown(&house, tx).status, TxStatus::Cancelled);
        house.app.close().await;
    }
}

const ASK: &str = "abide: 1
workflow: asked
first: ask
steps:
  ask: { call: { method: PUT, url: \"http://127.0.0.1:9/ask\" }, next: wait }
  wait: { by: [owner], next: { end: done } }
";

const BEG: &str = "abide: 1
workflow: asked
first: beg
steps:
  beg: { call: { method: PUT, url: \"http://127.0.0.1:9/ask\" }, next: wait }
  wait: { by: [owner], next: ask }
  ask: { call: { method: PUT, url: \"http://127.0.0.1:9/other\" }, next: { end: done } }
";

/// A service never gets one key for two operations: not when a step is renamed and another one has
/// its name.
#[tokio::test]
async fn no_key_is_made_twice_by_a_move() {
    let house = TestApp::new().await;
    publish(&house, ASK).await;
    let seat = house.join("alice").await;
    let alice = house.actor(&seat.token).await.unwrap();
    let input = Map::new();
    let ask = StartAsk { workflow: "asked".parse().unwrap(), input, reference: None };
    let started = house.run(&alice, Command::Start(Box::new(ask))).await.unwrap();
    let Outcome::Transaction { view, .. } = started else { panic!("one was started") };
    let tx = view.tx.id;
    answered(&house, tx, 0).await;
    publish(&house, BEG).await;
    let steps = [("ask".parse().unwrap(), "beg".parse().unwrap())].into();
    let ask = MigrateAsk { version: None, steps, dry_run: false };
    house.run(&Actor::System, Command::Migrate { tx, ask }).await.unwrap();
    let submit = Command::Submit { tx, step: "wait".into(), input: Value::Null, if_match: None };
    house.run(&alice, submit).await.unwrap();
    let keys: Vec<_> = shown(&house, tx).calls.iter().map(|call| call.key.to_string()).collect();
    assert_eq!(keys, [format!("{tx}/ask/1/do"), format!("{tx}/ask/2/do")]);
    house.app.close().await;
}

/// If two steps become one, the times that both were entered count.
#[tokio::test]
async fn what_becomes_one_step_counts_as_both() {
    let house = TestApp::new().await;
    let two = "abide: 1
workflow: asked
first: one
steps:
  one: { by: [owner], next: [ { when: tx.version == 9, next: { end: done } }, { next: two } ] }
  two: { by: [owner], next: wait }
  wait: { by: [owner], next: one }
";
    publish(&house, two).await;
    let seat = house.join("alice").await;
    let alice = house.actor(&seat.token).await.unwrap();
    let ask = StartAsk { workflow: "asked".parse().unwrap(), input: Map::new(), reference: None };
    let started = house.run(&alice, Command::Start(Box::new(ask))).await.unwrap();
    let Outcome::Transaction { view, .. } = started else { panic!("one was started") };
    let tx = view.tx.id;
    for step in ["one", "two", "wait", "one", "two"] {
        let (step, input) = (step.into(), Value::Null);
        let submit = Command::Submit { tx, step, input, if_match: None };
        house.run(&alice, submit).await.unwrap();
    }
    let single = "abide: 1
workflow: asked
first: both
steps:
  both: { by: [owner], max_submissions: 9, next: [ { when: tx.version == 9, next: { end: done } }, { next: wait } ] }
  wait: { by: [owner], next: both }
";
    publish(&house, single).await;
    let both: crate::types::StepName = "both".parse().unwrap();
    let steps = ["one", "two"].map(|step| (step.parse().unwrap(), both.clone())).into();
    let ask = MigrateAsk { version: None, steps, dry_run: false };
    house.run(&Actor::System, Command::Migrate { tx, ask }).await.unwrap();
    assert_eq!(shown(&house, tx).taken[&both], 4);
    house.app.close().await;
}
