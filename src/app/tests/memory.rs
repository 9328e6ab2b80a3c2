//! Decoded data in memory stays within its part of the budget.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::*;
use crate::engine::{Record, StartAsk, workflow};
use crate::records::loaded_bytes;

/// Large documents of many small values: each takes a hundred times more decoded than stored.
#[tokio::test]
async fn record_cache_stays_within_its_share_however_large_transactions_are() {
    let store = Arc::new(Memory::new());
    let memory = MemoryBudget::new(MemoryBudget::MIN);
    let settings =
        AppSettings { rules: rules(), password_cost: CHEAP, memory, ..AppSettings::default() };
    let opened = App::open(store.clone(), Secret::new([9; 32]), settings).await.unwrap();
    let house = TestApp { app: opened.app, store };
    let document = "abide: 1
workflow: rows
input: { type: object, properties: { rows: { type: array } } }
first: look
steps: { look: { by: [owner], next: { end: done } } }
";
    let definition = Arc::new(workflow::read(document).unwrap().definition);
    let publish = Command::Publish { source: document.into(), definition };
    house.run(&Actor::System, publish).await.unwrap();
    let seat = house.join("alice").await;
    let alice = house.actor(&seat.token).await.unwrap();
    let rows: Vec<Value> = vec![json!({ "a": 1 }); 6000];
    let share = memory.record_cache_bytes() as u64;
    let (mut most, mut all) = (0, 0);
    for _ in 0..12 {
        let input = Map::from_iter([("rows".to_owned(), rows.clone().into())]);
        let ask = StartAsk { workflow: "rows".parse().unwrap(), input, reference: None };
        let started = house.run(&alice, Command::Start(Box::new(ask))).await.unwrap();
        let Outcome::Transaction { view, .. } = started else { panic!("one was started") };
        all += loaded_bytes(&Some((Arc::new(Record::Tx(view.tx)), Revision::ZERO))) as u64;
        let cached = house.app.record_cache_bytes();
        assert!(cached <= share, "{cached} bytes of {share}");
        most = most.max(cached);
    }
    assert!(all > 2 * share, "{all} bytes are too few to fill {share}");
    assert!(most > share / 2, "only {most} bytes of {share} were used");
    house.app.close().await;
}
