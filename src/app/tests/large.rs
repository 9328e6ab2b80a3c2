//! A record or commit that is too large stops nothing but itself.

use std::fmt::Write as _;
use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::*;
use crate::engine::{
    BulkAction, BulkAsk, BulkFilter, CallPurpose, CallResult, CallState, Repair, StartAsk, Tx,
    TxStatus, workflow,
};
use crate::types::TxId;

async fn publish(house: &TestApp, document: &str) {
    let definition = Arc::new(workflow::read(document).unwrap().definition);
    let source = Arc::from(document);
    house.run(&Actor::System, Command::Publish { source, definition }).await.unwrap();
}

async fn start(house: &TestApp, actor: &Actor, workflow: &str, text: &str) -> TxId {
    let input = Map::from_iter([("text".to_owned(), text.into())]);
    let ask = StartAsk { workflow: workflow.parse().unwrap(), input, reference: None };
    let started = house.run(actor, Command::Start(Box::new(ask))).await.unwrap();
    let Outcome::Transaction { view, .. } = started else { panic!("one was started") };
    view.tx.id
}

fn shown(house: &TestApp, id: TxId) -> Arc<Tx> {
    house.app.transaction(&Actor::System, id).unwrap().tx
}

/// Makes a call and answers it. Returns the end of its callback's address.
async fn answer(house: &TestApp, tx: TxId, number: u32, status: u16, body: Value) -> Arc<str> {
    let begun = house.run(&Actor::System, Command::BeginCall { tx, number }).await.unwrap();
    let Outcome::CallBegun(order) = begun else { panic!("it began") };
    let (headers, attempt) = (json!({}), order.attempt);
    let result = Box::new(CallResult::Answered {
        status,
        headers,
        body,
        truncated: false,
        retry_after: None,
        excerpt: "".into(),
    });
    house.run(&Actor::System, Command::EndCall { tx, number, attempt, result }).await.unwrap();
    order.callback.into()
}

/// Undoes everything that can be undone. Returns the number of calls that this took. The rest is
/// left out.
async fn undone(house: &TestApp, tx: TxId) -> usize {
    let mut made = 0;
    loop {
        let now = shown(house, tx);
        if now.status == TxStatus::Stuck {
            let repair = Repair::Skip { reason: "its request was too large to keep".to_owned() };
            house.run(&Actor::System, Command::Repair { tx, repair }).await.unwrap();
            continue;
        }
        let undo = |call: &&crate::engine::ServiceCall| {
            call.purpose == CallPurpose::Undo && !call.state.is_over()
        };
        let Some(call) = now.calls.iter().find(undo) else { return made };
        if call.ask.url.is_empty() {
            let due = Command::BeginCall { tx, number: call.number };
            let begun = house.run(&Actor::System, due).await.unwrap();
            let Outcome::CallBegun(order) = begun else { panic!("it began") };
            let result = Box::new(CallResult::NotSent { what: "no address".to_owned() });
            let (number, attempt) = (call.number, order.attempt);
            let end = Command::EndCall { tx, number, attempt, result };
            house.run(&Actor::System, end).await.unwrap();
        } else {
            answer(house, tx, call.number, 200, Value::Null).await;
            made += 1;
        }
    }
}

async fn alice(house: &TestApp) -> Actor {
    let seat = house.join("alice").await;
    house.actor(&seat.token).await.unwrap()
}

/// Returns a workflow of eight branches, each undone by a request with all of the data.
fn trip() -> String {
    let undo = "{ call: { method: DELETE, url: \"http://127.0.0.1:9/\", body: =data.text } }";
    let mut text = "abide: 1
workflow: trip
input: { type: object, properties: { text: { type: string } } }
first: begin
steps:
  begin: { next: { all: [a, b, c, d, e, f, g, h], next: done } }
  done: { by: [owner], next: { end: done } }
"
    .to_owned();
    for step in ["a", "b", "c", "d", "e", "f", "g", "h"] {
        writeln!(
            text,
            "  {step}: {{ call: {{ method: PUT, url: \"http://127.0.0.1:9/\", callback: 1h }}, compensate: [ {undo} ] }}"
        )
        .unwrap();
    }
    text
}

/// Returns a workflow with one call, undone by this many requests with all of the data.
fn one(undoing: usize) -> String {
    let undo = "{ call: { method: DELETE, url: \"http://127.0.0.1:9/\", body: =data.text } }";
    format!(
        "abide: 1
workflow: trip
start: {{ by: [anyone] }}
input: {{ type: object, properties: {{ text: {{ type: string }} }} }}
first: ask
steps:
  ask: {{ call: {{ method: PUT, url: \"http://127.0.0.1:9/\" }}, compensate: [ {} ], next: done }}
  done: {{ by: [owner], next: {{ end: done }} }}
",
        vec![undo; undoing].join(", ")
    )
}

/// Requests that undo branches which wait for a callback are kept while there is space, and the
/// rest is left to an operator.
#[tokio::test]
async fn what_undoes_many_branches_is_kept_as_far_as_there_is_room() {
    let house = TestApp::new().await;
    publish(&house, &trip()).await;
    let alice = alice(&house).await;
    let tx = start(&house, &alice, "trip", &"x".repeat(60_000)).await;
    for number in 0..8 {
        answer(&house, tx, number, 202, Value::Null).await;
    }
    let cancel = Command::Cancel { tx, reason: None, if_match: None };
    house.run(&alice, cancel).await.unwrap();
    assert!((1..8).contains(&undone(&house, tx).await));
    assert_eq!(shown(&house, tx).status, TxStatus::Cancelled);
    house.app.close().await;
}

/// One step with more to undo than there is space for is undone as much as possible.
#[tokio::test]
async fn what_undoes_one_step_is_kept_as_far_as_there_is_room() {
    let house = TestApp::new().await;
    publish(&house, &one(8)).await;
    let alice = alice(&house).await;
    let tx = start(&house, &alice, "trip", &"x".repeat(60_000)).await;
    answer(&house, tx, 0, 200, Value::Null).await;
    assert!((1..8).contains(&undone(&house, tx).await));
    let ended = shown(&house, tx);
    assert_eq!((ended.status, ended.outcome.as_deref()), (TxStatus::Cancelled, Some("too-large")));
    house.app.close().await;
}

const KEPT: &str = "abide: 1
workflow: trip
input: { type: object, properties: { text: { type: string } } }
data: { one: null, two: null, three: null }
first: begin
steps:
  begin: { pivot: true, next: { all: [a, b, c], next: done } }
  a: { call: { url: \"http://127.0.0.1:9/\", callback: 1h }, do: [ { set: { one: =response.body } } ], failed: by-hand-a }
  b: { call: { url: \"http://127.0.0.1:9/\", callback: 1h }, do: [ { set: { two: =response.body } } ], failed: by-hand-b }
  c: { call: { url: \"http://127.0.0.1:9/\", callback: 1h }, do: [ { set: { three: =response.body } } ], failed: by-hand-c }
  by-hand-a: { by: [owner] }
  by-hand-b: { by: [owner] }
  by-hand-c: { by: [owner] }
  done: { by: [owner], next: { end: done } }
";

/// Answers that are kept for an operator are kept whole while there is space, and in any case the
/// fact that they were given: no call is made again.
#[tokio::test]
async fn answers_that_are_kept_are_never_too_much() {
    let house = TestApp::new().await;
    publish(&house, KEPT).await;
    let alice = alice(&house).await;
    let tx = start(&house, &alice, "trip", "").await;
    for number in 0..3 {
        let token = answer(&house, tx, number, 202, Value::Null).await;
        let body = Value::from("x".repeat(250_000));
        house.run(&Actor::Nobody, Command::CallBack { token, body }).await.unwrap();
    }
    let stuck = shown(&house, tx);
    assert_eq!((stuck.status, stuck.stuck_too.len()), (TxStatus::Stuck, 2));
    let kept = |call: &crate::engine::ServiceCall| match &call.state {
        CallState::AnswerHeld(response) => response["status"].as_u64(),
        _ => None,
    };
    assert!(stuck.calls.iter().all(|call| kept(call) == Some(200)), "{:?}", stuck.calls);
    for _ in 0..3 {
        // One that is kept without its body is not taken for an empty one.
        let repair = Repair::Retry;
        house.run(&Actor::System, Command::Repair { tx, repair }).await.unwrap();
        assert_eq!(shown(&house, tx).status, TxStatus::Stuck);
        let repair = Repair::Skip { reason: "too large".to_owned() };
        house.run(&Actor::System, Command::Repair { tx, repair }).await.unwrap();
    }
    let done = shown(&house, tx);
    assert_eq!((done.status, done.open.len(), done.next_call), (TxStatus::Waiting, 1, 3));
    house.app.close().await;
}

/// Data that an answer makes too large: results after the pivot are kept, and their calls are not
/// made again.
#[tokio::test]
async fn an_answer_that_makes_the_data_too_large_is_not_asked_for_again() {
    let house = TestApp::new().await;
    publish(&house, KEPT).await;
    let alice = alice(&house).await;
    let tx = start(&house, &alice, "trip", "").await;
    answer(&house, tx, 0, 200, "x".repeat(65_536).into()).await;
    let stuck = shown(&house, tx);
    assert_eq!((stuck.status, stuck.calls[0].state.as_str()), (TxStatus::Stuck, "answered"));
    let repair = Repair::Retry;
    house.run(&Actor::System, Command::Repair { tx, repair }).await.unwrap();
    let again = shown(&house, tx);
    assert_eq!((again.status, again.next_call), (TxStatus::Stuck, 3));
    house.app.close().await;
}

/// Transactions that together are far too much for one commit.
async fn heavy(house: &TestApp, actor: &Actor, count: usize) -> Vec<TxId> {
    publish(house, &one(2)).await;
    let mut all = Vec::new();
    for _ in 0..count {
        let tx = start(house, actor, "trip", &"x".repeat(60_000)).await;
        answer(house, tx, 0, 200, Value::Null).await;
        all.push(tx);
    }
    all
}

/// The transactions of a deleted user are cancelled in commits that are small enough.
#[tokio::test]
async fn large_transactions_of_a_user_who_is_gone_are_cancelled() {
    let house = TestApp::new().await;
    let alice = alice(&house).await;
    let all = heavy(&house, &alice, 50).await;
    let admin = house.admin().await;
    let delete = Command::DeleteUser { username: name("alice"), if_match: None };
    house.run(&admin, delete).await.unwrap();
    let cancelled = |id: &TxId| shown(&house, *id).status == TxStatus::Compensating;
    house.advance_until(|| all.iter().all(cancelled)).await;
    house.app.close().await;
}

/// The transactions of an anonymous session move to its user in commits that are small enough.
#[tokio::test]
async fn large_transactions_of_a_session_go_to_its_user() {
    let house = TestApp::new().await;
    house.register("alice").await;
    let open = Command::OpenAnonymous { profile: None };
    let seat = LoggedIn::of(house.run(&Actor::Nobody, open).await.unwrap());
    let guest = house.actor(&seat.token).await.unwrap();
    let all = heavy(&house, &guest, 50).await;
    let seat = house.login_as(&guest, "alice", PASSWORD).await.unwrap();
    let alice = house.actor(&seat.token).await.unwrap();
    let adopted = |id: &TxId| shown(&house, *id).owner.user() == alice.user();
    house.advance_until(|| all.iter().all(adopted)).await;
    house.app.close().await;
}

/// A slice of a bulk job is as small as a commit needs, from the first one on.
#[tokio::test]
async fn many_large_transactions_are_cancelled() {
    let house = TestApp::new().await;
    let olga = house.operator().await;
    let alice = alice(&house).await;
    let all = heavy(&house, &alice, 50).await;
    let filter = BulkFilter { workflow: Some("trip".parse().unwrap()), ..BulkFilter::default() };
    let ask = BulkAsk { filter, action: BulkAction::Cancel { reason: None }, dry_run: false };
    let begun = house.run(&olga, Command::Bulk(Box::new(ask))).await.unwrap();
    let Outcome::Job(begun) = begun else { panic!("it began") };
    let job = || house.app.job(&olga, begun.id).unwrap();
    house.advance_until(|| job().ended_at.is_some()).await;
    assert_eq!((job().done, job().ended_at.is_some()), (50, true));
    assert!(all.iter().all(|id| shown(&house, *id).status == TxStatus::Compensating));
    house.app.close().await;
}

const ORDER: &str = "abide: 1
workflow: order
deadline: 30m
input: { type: object, properties: { text: { type: string } } }
first: begin
steps:
  begin: { next: { any: [more, done] } }
  more:
    by: [owner]
    input: { type: object, required: [round], properties: { round: { type: integer } } }
    do:
      - each: '=[1, 2, 3, 4, 5, 6, 7, 8, 9, 10]'
        as: n
        do: [ { start: { workflow: part, reference: '=tx.id + \"/\" + string(input.round) + \"/\" + string(n)', input: { text: =data.text } } } ]
    next: stay
  done: { by: [owner], next: { end: done } }
";

const PART: &str = "abide: 1
workflow: part
start: { by: [workflow:order] }
input: { type: object, properties: { text: { type: string } } }
first: make
steps:
  make:
    compensate:
      - call: { method: DELETE, url: \"http://127.0.0.1:9/\", body: =data.text }
      - call: { method: DELETE, url: \"http://127.0.0.1:9/\", body: =data.text }
    next: wait
  wait: { by: [owner], next: { end: done } }
";

const LATER: &str = "abide: 1
workflow: later
input: { type: object, properties: { text: { type: string } } }
first: wait
steps:
  wait: { wait: { for: 31m }, next: { end: done } }
";

/// A deadline may undo far more than one commit takes, here 30 other transactions: it goes on in
/// parts, and delays nothing else.
#[tokio::test]
async fn deadline_that_cancels_many_others_goes_on_in_parts() {
    let house = TestApp::new().await;
    for document in [PART, ORDER, LATER] {
        publish(&house, document).await;
    }
    let alice = alice(&house).await;
    let order = start(&house, &alice, "order", &"x".repeat(60_000)).await;
    for round in 0..3 {
        let (step, input) = ("more".into(), json!({ "round": round }));
        let submit = Command::Submit { tx: order, step, input, if_match: None };
        house.run(&alice, submit).await.unwrap();
    }
    let later = start(&house, &alice, "later", "").await;
    house.advance(Span::from_minutes(40)).await;
    assert_eq!(shown(&house, order).status, TxStatus::Expired);
    assert_eq!(shown(&house, later).status, TxStatus::Completed);
    house.app.close().await;
}

/// A step that runs by itself after half an hour and posts 20 times as much as a value says.
fn heavy_later() -> String {
    let mut text = "abide: 1
workflow: heavy
first: wait
steps:
  wait: { wait: { for: 30m }, next: s0 }
"
    .to_owned();
    let post = "{ transfer: { from: world, to: shop, amount: \"1.00\", authority: workflow } }";
    for step in 0..20 {
        let next = if step == 19 { "{ end: done }".to_owned() } else { format!("s{}", step + 1) };
        writeln!(
            text,
            "  s{step}: {{ do: [ {{ each: '=value(\"limits\", \"lines\")', as: line, do: [ {post} ] }} ], next: {next} }}"
        )
        .unwrap();
    }
    text
}

/// A timer whose commit is too large even alone prevents no other from firing, and is tried again.
#[tokio::test]
async fn a_timer_that_is_too_much_alone_is_set_aside() {
    let house = TestApp::new().await;
    for account in ["world", "shop"] {
        let open = Command::OpenAccount {
            id: account.parse().unwrap(),
            asset: "EUR".parse().unwrap(),
            owner: None,
            floor: None,
            read_anyone: false,
        };
        house.run(&Actor::System, open).await.unwrap();
    }
    let lines = async |count: usize| {
        let id = crate::engine::ValueKey::new("limits", "lines").unwrap();
        let value = json!(vec![1; count]);
        let put = Command::PutValue { id, value, if_match: None };
        house.run(&Actor::System, put).await.unwrap();
    };
    lines(100).await;
    publish(&house, &heavy_later()).await;
    publish(&house, LATER).await;
    let alice = alice(&house).await;
    let ask = StartAsk { workflow: "heavy".parse().unwrap(), input: Map::new(), reference: None };
    let started = house.run(&alice, Command::Start(Box::new(ask))).await.unwrap();
    let Outcome::Transaction { view, .. } = started else { panic!("one was started") };
    let heavy = view.tx.id;
    let later = start(&house, &alice, "later", "").await;
    house.advance(Span::from_minutes(40)).await;
    assert_eq!(shown(&house, heavy).status, TxStatus::Running);
    assert_eq!(shown(&house, later).status, TxStatus::Completed);
    // With less to do it finds space.
    lines(1).await;
    house.advance(Span::from_hours(1)).await;
    assert_eq!(shown(&house, heavy).status, TxStatus::Completed);
    house.app.close().await;
}
