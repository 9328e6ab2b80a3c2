//! The commands of one actor take no more of the executor than its share, however many they are.

use std::sync::Arc;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};

use super::*;
use crate::engine::{StartAsk, Tx, TxStatus, workflow};
use crate::types::{Time, TxId};

/// Transactions whose data is as large as it may be, so that each takes its time.
const LARGE: &str = "abide: 1
workflow: large
start: { by: [anyone] }
session_end: cancel
deadline: 1h
input: { type: object, properties: { list: { type: array, items: { type: string } } } }
first: ask
steps:
  ask:
    by: [owner]
    input: { type: object, properties: { list: { type: array, items: { type: string } } } }
    guard: [ { that: \"input.list.all(a, !account(a).exists)\", code: known, message: known } ]
    next: { end: asked }
";

async fn publish(house: &TestApp) {
    let definition = Arc::new(workflow::read(LARGE).unwrap().definition);
    let source = Arc::from(LARGE);
    house.run(&Actor::System, Command::Publish { source, definition }).await.unwrap();
}

async fn try_start(house: &TestApp, actor: &Actor, list: Value) -> Result<TxId, Refusal> {
    let input = Map::from_iter([("list".to_owned(), list)]);
    let ask = StartAsk { workflow: "large".parse().unwrap(), input, reference: None };
    match house.run(actor, Command::Start(Box::new(ask))).await? {
        Outcome::Transaction { view, .. } => Ok(view.tx.id),
        other => panic!("no transaction: {other:?}"),
    }
}

async fn start(house: &TestApp, actor: &Actor, strings: usize) -> TxId {
    try_start(house, actor, json!(vec!["x"; strings])).await.unwrap()
}

async fn submit(
    house: &TestApp,
    actor: &Actor,
    tx: TxId,
    list: Vec<String>,
) -> Result<Outcome, Refusal> {
    let (step, input) = ("ask".into(), json!({ "list": list }));
    house.run(actor, Command::Submit { tx, step, input, if_match: None }).await
}

async fn guest(house: &TestApp) -> Actor {
    let open = Command::OpenAnonymous { profile: None };
    let seat = LoggedIn::of(house.run(&Actor::Nobody, open).await.unwrap());
    house.actor(&seat.token).await.unwrap()
}

fn shown(house: &TestApp, id: TxId) -> Arc<Tx> {
    house.app.transaction(&Actor::System, id).unwrap().tx
}

/// Returns the kinds of the events of each commit since then, without commits that have none.
fn commits(house: &TestApp, since: Revision) -> Vec<Vec<String>> {
    let entries = house.store.read_log(since, usize::MAX).unwrap();
    let kinds = entries.iter().map(|entry| {
        events_of(entry).events.into_iter().map(|event| event.kind).collect::<Vec<_>>()
    });
    kinds.filter(|kinds| !kinds.is_empty()).collect()
}

fn has(commit: &[String], kind: &str) -> bool {
    commit.iter().any(|one| one == kind)
}

const OPENED: &str = "abide.session.opened";
const ENDED: &str = "abide.transaction.ended";

/// Each record is read once, and reading it counts as work.
#[tokio::test]
async fn guard_that_looks_at_thousands_of_records_is_refused_and_at_hundreds_is_not() {
    let house = TestApp::new().await;
    publish(&house).await;
    let ann = guest(&house).await;
    let tx = start(&house, &ann, 1).await;
    let names = |count: usize| (0..count).map(|number| format!("nobody:{number}")).collect();
    let refused = submit(&house, &ann, tx, names(4000)).await.unwrap_err();
    assert_eq!(refused.code(), "expression-failed");
    assert!(refused.to_string().contains("steps"), "{refused}");
    let done = submit(&house, &ann, tx, names(400)).await;
    assert!(done.is_ok(), "{done:?}");
    house.app.close().await;
}

/// The end of an anonymous session that leaves many transactions delays nobody.
#[tokio::test]
async fn logout_that_leaves_many_large_transactions_lets_others_in_between() {
    const MANY: usize = 24;
    let house = TestApp::new().await;
    publish(&house).await;
    let ann = guest(&house).await;
    for _ in 0..MANY {
        start(&house, &ann, 15_000).await;
    }
    let before = house.store.durable();
    house.run(&ann, Command::Logout).await.unwrap();
    guest(&house).await;
    house.advance(Span::ZERO).await;
    while house.count(ENDED) < MANY {
        house.advance(Span::from_ms(1)).await;
    }
    let commits = commits(&house, before);
    let ends: Vec<usize> = commits
        .iter()
        .enumerate()
        .filter(|(_, kinds)| has(kinds, ENDED))
        .map(|(at, _)| at)
        .collect();
    let opened = commits.iter().position(|kinds| has(kinds, OPENED)).unwrap();
    assert!(ends.len() > 2, "{MANY} of them are more than a slice: {}", ends.len());
    assert!(opened < *ends.last().unwrap(), "somebody else came {opened}, they went {ends:?}");
    house.app.close().await;
}

/// An application that starts when all these transactions are overdue, behind one another.
async fn late(house: TestApp) -> TestApp {
    house.app.close().await;
    let store = Arc::clone(&house.store);
    let later = house.app.now().plus(Span::from_hours(2));
    let opened = opened(store.clone(), rules(), Some(later)).await;
    TestApp { app: opened.app, store }
}

/// While much is overdue others are served, but no client sees its own overdue transactions as
/// live.
#[tokio::test]
async fn command_waits_for_what_is_due_in_what_it_touches_and_for_nothing_else() {
    const MANY: usize = 24;
    let house = TestApp::on_time(Arc::new(Memory::new()), Time::from_ms(1_900_000_000_000)).await;
    publish(&house).await;
    let ann = house.join("ann").await;
    let (ann, token) = (house.actor(&ann.token).await.unwrap(), ann.token);
    for _ in 0..MANY {
        start(&house, &ann, 15_000).await;
    }
    house.advance(Span::from_ms(5)).await;
    let last = start(&house, &ann, 1).await;
    let house = late(house).await;
    let before = house.store.durable();
    assert!(house.is_dead(&token).await);
    let cancel = Command::Cancel { tx: last, reason: None, if_match: None };
    let (late, other) = tokio::join!(house.run(&Actor::System, cancel), guest(&house));
    assert_eq!(late.unwrap_err(), Refusal::AlreadyEnded);
    assert_eq!(shown(&house, last).status, TxStatus::Expired);
    drop(other);
    let commits = commits(&house, before);
    let opened = commits.iter().position(|kinds| has(kinds, OPENED)).unwrap();
    let ended = commits.iter().rposition(|kinds| has(kinds, ENDED)).unwrap();
    assert!(opened < ended, "somebody else came {opened}, the last one ended {ended}");
    house.app.close().await;
}

/// An input that is too large is refused for its size, even if it has other faults that take long
/// to describe.
#[tokio::test]
async fn start_that_is_too_large_is_refused_before_it_is_checked() {
    let house = TestApp::new().await;
    publish(&house).await;
    let ann = guest(&house).await;
    let wrong = |count: usize| try_start(&house, &ann, json!(vec![7; count]));
    assert_eq!(wrong(100_000).await.unwrap_err().code(), "too-large");
    assert_eq!(wrong(20_000).await.unwrap_err().code(), "invalid-input");
    house.app.close().await;
}

fn envelope(actor: &Actor, key: Option<&str>, render: Render) -> Envelope {
    let fingerprint = Fingerprint([0; 32]);
    Envelope {
        actor: actor.clone(),
        client: ClientInfo::default(),
        request: "req".into(),
        route: "/v1/somewhere",
        idempotency: key.map(|key| Idempotency { key: key.to_owned(), fingerprint }),
        preconditions: None,
        render,
    }
}

/// An input that is checked before its command's turn gets the same answer as one that is checked
/// in it.
#[tokio::test]
async fn large_input_is_checked_before_its_turn_and_comes_to_the_same() {
    let house = TestApp::new().await;
    publish(&house).await;
    let ann = guest(&house).await;
    let say = |done: Result<&Outcome, &Refusal>, _| {
        let said = match done {
            Ok(Outcome::Transaction { view, .. }) => format!("{}", view.tx.data["list"]),
            Ok(_) => String::new(),
            Err(Refusal::InvalidInput(errors)) => {
                format!("{} {}", errors[0].pointer, errors[0].code)
            }
            Err(refusal) => refusal.code().to_owned(),
        };
        Answer { status: 200, headers: Vec::new(), body: said.into() }
    };
    let ask = |key: &str, value: Value| {
        let input = Map::from_iter([(key.to_owned(), value)]);
        let ask = StartAsk { workflow: "large".parse().unwrap(), input, reference: None };
        let command = Command::Start(Box::new(ask));
        assert!(App::is_long_to_check(&command));
        house.app.execute(command, envelope(&ann, None, Box::new(say)))
    };
    let list = json!(vec!["x"; 15_000]);
    assert_eq!(ask("list", list.clone()).await.answer.body, list.to_string());
    let unknown = ask("other", json!("x".repeat(40_000))).await;
    assert_eq!(unknown.answer.body, "/input/other unknown-field");
    assert_eq!(ask("list", json!(vec![7; 20_000])).await.answer.body, "/input/list/0 wrong-type");
    assert_eq!(ask("list", json!(vec![7; 100_000])).await.answer.body, "too-large");
    house.app.close().await;
}

/// The watchdog distinguishes an executor that hangs while something waits from one that is idle.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn executor_that_stands_still_is_found_and_said_on_what() {
    let house = TestApp::new().await;
    let ann = guest(&house).await;
    let later = || Instant::now() + Duration::from_secs(6);
    let moves = async || {
        while house.app.executor_stuck(later()).is_some() {
            tokio::task::yield_now().await;
        }
    };
    moves().await;
    let (begun, begins) = mpsc::sync_channel(1);
    let (release, released) = mpsc::sync_channel::<()>(1);
    let released = std::sync::Mutex::new(released);
    let render = move |_: Result<&Outcome, &Refusal>, _| {
        begun.send(()).unwrap();
        released.lock().unwrap().recv().unwrap();
        Answer { status: 204, headers: Vec::new(), body: Bytes::new() }
    };
    let change = crate::engine::DataChange::Merge(json!({ "a": 1 }));
    let command = Command::ChangeSessionData { change, if_match: None };
    let (app, envelope) = (Arc::clone(&house.app), envelope(&ann, Some("k"), Box::new(render)));
    let done = tokio::spawn(async move { app.execute(command, envelope).await });
    tokio::task::spawn_blocking(move || begins.recv().unwrap()).await.unwrap();
    assert_eq!(house.app.executor_stuck(Instant::now()), None);
    let reason = house.app.executor_stuck(later()).unwrap();
    assert!(reason.contains("on `change-session-data` (/v1/somewhere)"), "{reason}");
    release.send(()).unwrap();
    assert_eq!(done.await.unwrap().answer.status, 204);
    moves().await;
    let figures = house.app.executor_figures();
    assert_eq!(figures.times["change-session-data"].count, 1);
    house.app.close().await;
}
