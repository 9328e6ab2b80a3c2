//! Transactions of an anonymous session after its end.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::*;
use crate::engine::{CallResult, StartAsk, Tx, TxStatus, workflow};
use crate::types::TxId;

const PAY: &str = "abide: 1
workflow: payment
start: { by: [anyone] }
first: pay
steps:
  pay:
    call: { method: PUT, url: \"http://127.0.0.1:9/\", callback: 15m, retry: { attempts: 3, first: 10m, max: 10m } }
    compensate: [ { call: { method: DELETE, url: \"http://127.0.0.1:9/\" } } ]
    next: show
  show: { by: [owner], next: { end: paid } }
";

async fn guest(house: &TestApp) -> (Actor, TxId) {
    let definition = Arc::new(workflow::read(PAY).unwrap().definition);
    let source = Arc::from(PAY);
    house.run(&Actor::System, Command::Publish { source, definition }).await.unwrap();
    let open = Command::OpenAnonymous { profile: None };
    let seat = LoggedIn::of(house.run(&Actor::Nobody, open).await.unwrap());
    let guest = house.actor(&seat.token).await.unwrap();
    let (workflow, input) = ("payment".parse().unwrap(), Map::new());
    let ask = StartAsk { workflow, input, reference: None };
    let started = house.run(&guest, Command::Start(Box::new(ask))).await.unwrap();
    let Outcome::Transaction { view, .. } = started else { panic!("one was started") };
    (guest, view.tx.id)
}

fn shown(house: &TestApp, id: TxId) -> Arc<Tx> {
    house.app.transaction(&Actor::System, id).unwrap().tx
}

/// Begins the call, and answers it if there is a status. Returns the end of its callback's address.
async fn call(house: &TestApp, tx: TxId, status: Option<u16>) -> Arc<str> {
    let begin = Command::BeginCall { tx, number: 0 };
    let Outcome::CallBegun(order) = house.run(&Actor::System, begin).await.unwrap() else {
        panic!("it began")
    };
    if let Some(status) = status {
        end(house, tx, order.attempt, status).await;
    }
    order.callback.into()
}

async fn end(house: &TestApp, tx: TxId, attempt: u32, status: u16) {
    let (headers, body) = (json!({}), Value::Null);
    let result = Box::new(CallResult::Answered {
        status,
        headers,
        body,
        truncated: false,
        retry_after: None,
        excerpt: "".into(),
    });
    house.run(&Actor::System, Command::EndCall { tx, number: 0, attempt, result }).await.unwrap();
}

/// While a call of it is under way, waits for its callback or is to be tried again, the transaction
/// of an ended anonymous session stays open, and is cancelled soon after.
#[tokio::test]
async fn what_a_guest_leaves_is_not_cancelled_while_a_call_is_out() {
    for status in [None, Some(202), Some(503)] {
        let house = TestApp::new().await;
        let (guest, tx) = guest(&house).await;
        let callback = call(&house, tx, status).await;
        house.run(&guest, Command::Logout).await.unwrap();
        house.advance(Span::from_minutes(2)).await;
        assert_eq!(shown(&house, tx).status, TxStatus::Running, "{status:?}");
        let answer = Command::CallBack { token: callback, body: json!("paid") };
        house.run(&Actor::Nobody, answer).await.unwrap();
        assert_eq!(shown(&house, tx).status, TxStatus::Waiting, "{status:?}");
        house.advance(Span::from_minutes(2)).await;
        let left = shown(&house, tx);
        assert_eq!((left.status, left.open.len()), (TxStatus::Compensating, 0), "{status:?}");
        assert_eq!(left.ending.as_ref().unwrap().outcome.as_ref(), "session-ended");
        house.app.close().await;
    }
}

/// A call that was never sent keeps no transaction open.
#[tokio::test]
async fn what_a_guest_leaves_before_it_is_sent_is_cancelled_at_once() {
    let house = TestApp::new().await;
    let (guest, tx) = guest(&house).await;
    house.run(&guest, Command::Logout).await.unwrap();
    house.advance(Span::ZERO).await;
    let left = shown(&house, tx);
    assert_eq!((left.status, left.calls[0].state.as_str()), (TxStatus::Cancelled, "dropped"));
    house.app.close().await;
}
