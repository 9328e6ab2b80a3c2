//! Undoing: in as many parts as it takes, and only of effects that are still in force.

use std::fmt::Write as _;
use std::sync::Arc;

use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::*;
use crate::engine::{Record, RecordKey, StartAsk, TransferAsk, Tx, TxStatus, workflow};
use crate::types::{AccountId, TransferId, TxId};

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

async fn accounts(house: &TestApp, names: &[&str]) {
    for name in names {
        let open = Command::OpenAccount {
            id: name.parse().unwrap(),
            asset: "EUR".parse().unwrap(),
            owner: None,
            floor: None,
            read_anyone: false,
        };
        house.run(&Actor::System, open).await.unwrap();
    }
}

fn cancel(tx: TxId) -> Command {
    Command::Cancel { tx, reason: None, if_match: None }
}

fn shown(house: &TestApp, id: TxId) -> Arc<Tx> {
    house.app.transaction(&Actor::System, id).unwrap().tx
}

fn posted(house: &TestApp, account: &str) -> i128 {
    let fact = RecordKey::Account(account.parse::<AccountId>().unwrap());
    let row = house.store.get(View::Staged, &Key::of(&fact).encode()).unwrap().unwrap();
    match value::decode(&fact, &row.value).unwrap() {
        Record::Account(account) => account.posted,
        other => panic!("{other:?}"),
    }
}

async fn alice(house: &TestApp) -> Actor {
    let seat = house.join("alice").await;
    house.actor(&seat.token).await.unwrap()
}

/// The application on a store, its clock stopped: nothing is due before it is moved.
async fn standing(store: Arc<Memory>) -> TestApp {
    let at = Time::from_ms(1_800_000_000_000);
    let opened = opened(store.clone(), rules(), Some(at)).await;
    TestApp { app: opened.app, store }
}

/// A workflow that posts `hundreds` times 100 transfers in steps one after the other, after the
/// first thousand of which it waits once, and then waits.
fn many(hundreds: usize, top: &str) -> String {
    let mut text = format!(
        "abide: 1
workflow: many
{top}
data: {{ list: [{}] }}
first: s0
steps:
  wait: {{ by: [owner], next: {{ end: done }} }}
",
        vec!["1"; 100].join(", ")
    );
    if hundreds > 10 {
        text += "  half: { by: [owner], next: s10 }\n";
    }
    for step in 0..hundreds {
        let next = match step + 1 {
            next if next == hundreds => "wait".to_owned(),
            10 => "half".to_owned(),
            next => format!("s{next}"),
        };
        let post = "{ transfer: { from: world, to: shop, amount: \"1.00\", authority: workflow } }";
        writeln!(
            text,
            "  s{step}: {{ do: [ {{ each: =data.list, as: line, do: [ {post} ] }} ], next: {next} }}"
        )
        .unwrap();
    }
    text
}

/// The event that a part of a step's effects is undone.
const PART_UNDONE: &str = "abide.step.effects_undone";

/// Lets time pass until a transaction has ended.
async fn ended(house: &TestApp, id: TxId) -> Arc<Tx> {
    house.advance_until(|| shown(house, id).status.is_ended()).await;
    shown(house, id)
}

/// For every trigger, a large undo goes on in parts that are visible, over a restart too, and
/// leaves nothing behind.
#[tokio::test]
async fn undoing_much_goes_on_in_parts_over_a_restart() {
    let store = Arc::new(Memory::new());
    let house = standing(Arc::clone(&store)).await;
    accounts(&house, &["world", "shop"]).await;
    publish(&house, &many(3, "")).await;
    let alice = alice(&house).await;
    let id = start(&house, &alice, "many").await;
    assert_eq!(posted(&house, "shop"), 30_000);
    let Outcome::Transaction { view, .. } = house.run(&alice, cancel(id)).await.unwrap() else {
        panic!("it is shown")
    };
    assert_eq!(view.tx.status, TxStatus::Compensating);
    let first = posted(&house, "shop");
    assert!((20_000..30_000).contains(&first), "{first} after the first part");
    assert_eq!(house.run(&alice, cancel(id)).await.unwrap_err(), Refusal::AlreadyCancelled);
    house.app.close().await;

    let house = standing(store).await;
    let end = ended(&house, id).await;
    assert_eq!((end.status, end.outcome.as_deref()), (TxStatus::Cancelled, Some("cancelled")));
    assert_eq!(posted(&house, "shop"), 0);
    assert!(end.timer_at.is_none());
    house.app.close().await;
}

#[tokio::test]
async fn deadline_undoes_much_in_parts() {
    let house = TestApp::new().await;
    accounts(&house, &["world", "shop"]).await;
    publish(&house, &many(2, "deadline: 1h")).await;
    let alice = alice(&house).await;
    let id = start(&house, &alice, "many").await;
    house.advance(Span::from_hours(1)).await;
    assert_eq!(ended(&house, id).await.status, TxStatus::Expired);
    assert_eq!(posted(&house, "shop"), 0);
    assert!(house.count(PART_UNDONE) > 1);
    house.app.close().await;
}

/// A session's end, a time-out and an operator's bulk cancel undo like a request.
#[tokio::test]
async fn whatever_has_it_begin_much_is_undone_in_parts() {
    for trigger in ["session", "timeout", "bulk"] {
        let house = TestApp::new().await;
        accounts(&house, &["world", "shop"]).await;
        let late = "wait: { by: [owner], timeout: { after: 1h, next: { cancel: late } },";
        let document = many(2, "session_end: cancel").replace("wait: { by: [owner],", late);
        publish(&house, &document).await;
        let seat = house.join("alice").await;
        let alice = house.actor(&seat.token).await.unwrap();
        let id = start(&house, &alice, "many").await;
        match trigger {
            "session" => drop(house.run(&alice, Command::Logout).await.unwrap()),
            "timeout" => house.advance(Span::from_hours(1)).await,
            _ => {
                let ask = crate::engine::BulkAsk {
                    filter: crate::engine::BulkFilter::default(),
                    action: crate::engine::BulkAction::Cancel { reason: None },
                    dry_run: false,
                };
                house.run(&Actor::System, Command::Bulk(Box::new(ask))).await.unwrap();
            }
        }
        assert_eq!(ended(&house, id).await.status, TxStatus::Cancelled, "{trigger}");
        assert_eq!(posted(&house, "shop"), 0, "{trigger}");
        assert!(house.count(PART_UNDONE) > 1, "{trigger}");
        house.app.close().await;
    }
}

/// Two at once: neither delays the other, or anybody else.
#[tokio::test]
async fn several_that_undo_much_take_turns() {
    let house = TestApp::new().await;
    accounts(&house, &["world", "shop"]).await;
    publish(&house, &many(2, "deadline: 1h")).await;
    let alice = alice(&house).await;
    let ids = [start(&house, &alice, "many").await, start(&house, &alice, "many").await];
    for id in ids {
        house.run(&alice, cancel(id)).await.unwrap();
    }
    for id in ids {
        assert_eq!(ended(&house, id).await.status, TxStatus::Cancelled);
    }
    assert_eq!(posted(&house, "shop"), 0);
    assert!(house.count(PART_UNDONE) > 3);
    house.app.close().await;
}

/// The maximum number of effects to undo: the time for it grows with their number and no faster.
#[tokio::test]
async fn undoing_as_much_as_there_may_be_is_linear() {
    let house = standing(Arc::new(Memory::new())).await;
    accounts(&house, &["world", "shop"]).await;
    publish(&house, &many(20, "")).await;
    let alice = alice(&house).await;
    let id = start(&house, &alice, "many").await;
    let (step, input) = ("half".into(), json!({}));
    house.run(&alice, Command::Submit { tx: id, step, input, if_match: None }).await.unwrap();
    assert_eq!(posted(&house, "shop"), 200_000);
    house.run(&alice, cancel(id)).await.unwrap();
    let mut parts = 0;
    while !shown(&house, id).status.is_ended() {
        let before = posted(&house, "shop");
        house.advance(Span::from_ms(1)).await;
        assert!(posted(&house, "shop") < before, "nothing was undone");
        parts += 1;
        assert!(parts <= 40, "it takes too many parts");
    }
    assert!(parts >= 20, "{parts} parts are too few: each keeps the executor too long");
    assert_eq!((shown(&house, id).status, posted(&house, "shop")), (TxStatus::Cancelled, 0));
    house.app.close().await;
}

const TRADE: &str = "abide: 1
workflow: trade
first: pay
steps:
  pay:
    do:
      - transfer: { from: world, to: shop, amount: \"1.00\", authority: workflow }
      - hold: { id: funds, from: world, amount: \"30.00\", authority: workflow }
      - capture: { hold: funds, to: shop, amount: \"2.00\", keep: rest }
      - capture: { hold: funds, to: shop, amount: \"4.00\", keep: rest }
      - capture: { hold: funds, to: shop, amount: \"8.00\" }
    next: wait
  wait: { by: [owner], next: { end: done } }
";

/// The transfers of a transaction, in the order in which they were posted.
fn transfers_of(house: &TestApp) -> Vec<TransferId> {
    let entries = house.store.read_log(Revision::ZERO, usize::MAX).unwrap();
    let events = entries.iter().flat_map(|entry| events_of(entry).events);
    let posted = events.filter(|event| event.kind == "abide.transfer.posted");
    let named = posted.map(|event| {
        let data: Value = serde_json::from_str(&event.data).unwrap();
        data["transfer"].as_str().unwrap().parse().unwrap()
    });
    named.collect()
}

async fn reverse(house: &TestApp, id: &TransferId) -> Result<TransferId, Refusal> {
    match house.run(&Actor::System, Command::ReverseTransfer { id: id.clone() }).await? {
        Outcome::Transfers { transfers, .. } => Ok(transfers[0].id.clone()),
        other => panic!("{other:?}"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    /// Whatever transfers of a transaction operators reverse, and reverse again: when it is undone
    /// all of its money is back, and none more.
    #[test]
    fn undoing_takes_back_the_net_effect(reversals in proptest::collection::vec(0..8_usize, 0..12)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let house = TestApp::new().await;
            accounts(&house, &["world", "shop"]).await;
            publish(&house, TRADE).await;
            let alice = alice(&house).await;
            let id = start(&house, &alice, "trade").await;
            let mut transfers = transfers_of(&house);
            assert_eq!((transfers.len(), posted(&house, "shop")), (4, 1_500));
            for which in reversals {
                let which = which % transfers.len();
                let reversed = transfers[which].clone();
                match reverse(&house, &reversed).await {
                    Ok(opposite) => transfers.push(opposite),
                    Err(refusal) => assert!(matches!(refusal, Refusal::AlreadyReversed { .. })),
                }
            }
            house.run(&alice, cancel(id)).await.unwrap();
            let end = shown(&house, id);
            assert_eq!((end.status, posted(&house, "shop")), (TxStatus::Cancelled, 0));
            house.app.close().await;
        });
    }
}

/// A transfer, its reversal and the reversal's reversal: the money moved, so it moves back.
#[tokio::test]
async fn reversal_of_a_reversal_is_undone_too() {
    let house = TestApp::new().await;
    accounts(&house, &["world", "shop"]).await;
    publish(&house, TRADE).await;
    let alice = alice(&house).await;
    let id = start(&house, &alice, "trade").await;
    for transfer in transfers_of(&house) {
        let reversal = reverse(&house, &transfer).await.unwrap();
        reverse(&house, &reversal).await.unwrap();
    }
    assert_eq!(posted(&house, "shop"), 1_500);
    house.run(&alice, cancel(id)).await.unwrap();
    assert_eq!((shown(&house, id).status, posted(&house, "shop")), (TxStatus::Cancelled, 0));
    house.app.close().await;
}

const VIP: &str = "abide: 1
workflow: vip
first: give
steps:
  give: { do: [ { grant: { user: =tx.owner, role: vip } } ], next: wait }
  wait: { by: [owner], next: { end: done } }
";

async fn roles_of(house: &TestApp, who: &str) -> Vec<String> {
    let users = house.app.user(&house.admin().await, &name(who)).unwrap();
    users.roles.iter().map(ToString::to_string).collect()
}

/// A role that two transactions granted stays until both are undone, or for good once one of them
/// has ended well.
#[tokio::test]
async fn role_stays_while_another_grant_of_it_stands() {
    let house = TestApp::new().await;
    publish(&house, VIP).await;
    let alice = alice(&house).await;
    let first = start(&house, &alice, "vip").await;
    let second = start(&house, &alice, "vip").await;
    house.run(&alice, cancel(first)).await.unwrap();
    assert_eq!(roles_of(&house, "alice").await, ["vip"]);
    house.run(&alice, cancel(second)).await.unwrap();
    assert!(roles_of(&house, "alice").await.is_empty());

    let kept = start(&house, &alice, "vip").await;
    let undone = start(&house, &alice, "vip").await;
    let submit =
        Command::Submit { tx: kept, step: "wait".into(), input: json!({}), if_match: None };
    house.run(&alice, submit).await.unwrap();
    house.run(&alice, cancel(undone)).await.unwrap();
    assert_eq!(roles_of(&house, "alice").await, ["vip"]);
    house.app.close().await;
}

/// An administrator's decision on a role after a transaction granted it is not undone.
#[tokio::test]
async fn role_that_an_administrator_gave_stays() {
    let house = TestApp::new().await;
    publish(&house, VIP).await;
    let alice = alice(&house).await;
    let id = start(&house, &alice, "vip").await;
    let admin = house.admin().await;
    for given in [&[][..], &["vip"]] {
        let change = crate::engine::UserChange {
            roles: Some(roles(given)),
            ..crate::engine::UserChange::default()
        };
        let change = Command::ChangeUser { username: name("alice"), change, if_match: None };
        house.run(&admin, change).await.unwrap();
    }
    house.run(&alice, cancel(id)).await.unwrap();
    assert_eq!(roles_of(&house, "alice").await, ["vip"]);
    house.app.close().await;
}

/// Missing money is not taken: a transfer that cannot be undone waits, and the effects that were
/// undone before it stay undone.
#[tokio::test]
async fn undoing_in_parts_that_sticks_goes_on_where_it_was() {
    let house = TestApp::new().await;
    accounts(&house, &["world"]).await;
    let open = Command::OpenAccount {
        id: "shop".parse().unwrap(),
        asset: "EUR".parse().unwrap(),
        owner: None,
        floor: Some(crate::types::Decimal::ZERO),
        read_anyone: false,
    };
    house.run(&Actor::System, open).await.unwrap();
    publish(&house, &many(2, "")).await;
    let alice = alice(&house).await;
    let id = start(&house, &alice, "many").await;
    let pay = |from: &str, to: &str| Command::PostTransfers {
        transfers: vec![TransferAsk {
            id: None,
            from: from.parse().unwrap(),
            to: to.parse().unwrap(),
            amount: "50.00".parse().unwrap(),
            note: None,
        }],
    };
    house.run(&Actor::System, pay("shop", "world")).await.unwrap();
    house.run(&alice, cancel(id)).await.unwrap();
    house.advance_until(|| shown(&house, id).status == TxStatus::Stuck).await;
    let stuck = shown(&house, id);
    assert_eq!(stuck.status, TxStatus::Stuck);
    assert_eq!(stuck.stuck.as_ref().map(|stuck| &*stuck.code), Some("insufficient-funds"));
    assert!(posted(&house, "shop") < 10_000);
    house.run(&Actor::System, pay("world", "shop")).await.unwrap();
    let repair = Command::Repair { tx: id, repair: crate::engine::Repair::Retry };
    house.run(&Actor::System, repair).await.unwrap();
    assert_eq!(ended(&house, id).await.status, TxStatus::Cancelled);
    assert_eq!(posted(&house, "shop"), 0);
    house.app.close().await;
}
