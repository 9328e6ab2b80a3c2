//! A history is complete, however many commits changed its transaction.

use serde_json::{Map, json};

use super::*;
use crate::app::EventId;
use crate::engine::{StartAsk, workflow};

const COUNTING: &str = "abide: 1
workflow: counting
first: more
data: { count: 0 }
steps:
  more:
    by: [owner]
    do: [ { set: { count: '=data.count + 1' } } ]
    next: [ { when: 'data.count > 1000', next: { end: done } }, { next: stay } ]
";

/// More than a transaction's record names by itself, twice over.
const TIMES: u64 = 100;

#[tokio::test]
async fn each_commit_of_a_long_transaction_is_found_and_shown_as_it_was() {
    let house = TestApp::new().await;
    let definition = Arc::new(workflow::read(COUNTING).unwrap().definition);
    let publish = Command::Publish { source: COUNTING.into(), definition };
    house.run(&Actor::System, publish).await.unwrap();
    house.join("bob").await;
    let seat = house.join("alice").await;
    let alice = house.actor(&seat.token).await.unwrap();
    let workflow = "counting".parse().unwrap();
    let ask = StartAsk { workflow, input: Map::new(), reference: None };
    let started = house.run(&alice, Command::Start(Box::new(ask))).await.unwrap();
    let Outcome::Transaction { view, .. } = started else { panic!("one was started") };
    let (id, mut revisions) = (view.tx.id, vec![view.revision]);
    for _ in 0..TIMES {
        // Commits of others lie between them.
        house.login("bob").await;
        let step =
            Command::Submit { tx: id, step: "more".into(), input: json!({}), if_match: None };
        let Outcome::Transaction { view, .. } = house.run(&alice, step).await.unwrap() else {
            panic!("it was taken")
        };
        revisions.push(view.revision);
    }
    let (mut after, mut found) = (EventId::START, Vec::new());
    loop {
        let page = house.app.history(&alice, id, after, 7).unwrap();
        found.extend(page.items.iter().map(|event| event.id));
        let Some(next) = page.next else { break };
        after = next;
    }
    assert!(found.is_sorted_by(|one, other| one < other));
    let mut told: Vec<_> = found.iter().map(|id| Revision::new(id.number() >> 16)).collect();
    told.dedup();
    assert_eq!(told, revisions);
    for (count, revision) in (0_u64..).zip(&revisions) {
        // Nothing changed it until the next one.
        let next = revisions.get(usize::try_from(count).unwrap() + 1).copied();
        let until = next.map_or(*revision, |next| Revision::new(next.get() - 1));
        for at in [*revision, until] {
            let was = house.app.transaction_at(&alice, id, at).unwrap().unwrap();
            assert_eq!((&was.tx.data["count"], was.revision), (&json!(count), *revision), "{at}");
        }
    }
    let before = Revision::new(revisions[0].get() - 1);
    assert!(house.app.transaction_at(&alice, id, before).is_err());
    house.app.close().await;
}
