//! Transactions that wait for an operator.

use super::*;
use crate::app::stuck::StuckWatch;
use crate::engine::IndexEntry;
use crate::types::TxId;

/// Each is reported once while it is stuck, and the number is the present one.
#[tokio::test]
async fn what_is_stuck_is_told_once_and_counted() {
    let house = TestApp::new().await;
    let mark = |number| Key::IndexEntry(IndexEntry::Stuck(TxId::new(number))).encode();
    let commit = |writes| {
        house.store.commit(Batch { writes, ..Batch::default() }).unwrap();
    };
    let mut watch = StuckWatch::default();
    assert!(watch.look(&house.app).unwrap().is_empty());
    // More than a page of the store.
    commit((1..=250).map(|number| Write::put(mark(number), vec![])).collect());
    assert_eq!((watch.look(&house.app).unwrap().len(), house.app.stuck()), (250, 250));
    commit(vec![Write::put(mark(251), vec![]), Write::delete(mark(1))]);
    assert_eq!(watch.look(&house.app).unwrap(), [TxId::new(251)]);
    assert_eq!(house.app.stuck(), 250);
    commit((2..=251).map(|number| Write::delete(mark(number))).collect());
    assert!(watch.look(&house.app).unwrap().is_empty());
    assert_eq!(house.app.stuck(), 0);
}
