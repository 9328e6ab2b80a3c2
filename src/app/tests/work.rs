//! A search finds work far behind in a queue for each actor that may have it.

use std::sync::Arc;

use serde_json::Map;

use super::*;
use crate::engine::{Candidate, QueueAsk, StartAsk, workflow};
use crate::types::TxId;

/// Returns the workflow in which this role packs.
fn packed_by(role: &str) -> String {
    format!(
        "abide: 1
workflow: order
input: {{ type: object, properties: {{ text: {{ type: string }} }} }}
first: pack
steps:
  pack: {{ by: [role:{role}], claim: 10m, next: {{ end: done }} }}
"
    )
}

async fn publish(house: &TestApp, document: &str) {
    let definition = Arc::new(workflow::read(document).unwrap().definition);
    let source = Arc::from(document);
    house.run(&Actor::System, Command::Publish { source, definition }).await.unwrap();
}

async fn start(house: &TestApp, actor: &Actor, text: &str) -> TxId {
    let input = Map::from_iter([("text".to_owned(), text.into())]);
    let ask = StartAsk { workflow: "order".parse().unwrap(), input, reference: None };
    let started = house.run(actor, Command::Start(Box::new(ask))).await.unwrap();
    let Outcome::Transaction { view, .. } = started else { panic!("one was started") };
    view.tx.id
}

async fn with_role(house: &TestApp, who: &str, role: &str) -> Actor {
    let command = Command::Register {
        username: name(who),
        password: password(PASSWORD),
        name: None,
        roles: Some(roles(&[role])),
    };
    house.run(&house.admin().await, command).await.unwrap();
    let seat = house.login(who).await;
    house.actor(&seat.token).await.unwrap()
}

fn ask() -> QueueAsk {
    let (workflow, step) = ("order".parse().unwrap(), "pack".parse().unwrap());
    QueueAsk { workflow, step, limit: 1, span: None, candidates: Vec::new() }
}

/// Before it lie more steps than one search reads, all of a version that lets in another role.
#[tokio::test]
async fn work_behind_what_one_look_reads_is_found_by_the_next() {
    let house = TestApp::new().await;
    publish(&house, &packed_by("old")).await;
    let seat = house.join("alice").await;
    let alice = house.actor(&seat.token).await.unwrap();
    let text = "x".repeat(58_000);
    for _ in 0..150 {
        start(&house, &alice, &text).await;
    }
    publish(&house, &packed_by("new")).await;
    let wanted = start(&house, &alice, "").await;
    let bob = with_role(&house, "bob", "new").await;
    let found = |actor: &Actor| -> Vec<TxId> {
        let found: Vec<Candidate> = house.app.claimable(actor, &ask()).unwrap();
        found.into_iter().map(|candidate| candidate.tx).collect()
    };
    assert_eq!(found(&bob), Vec::new(), "one look has an end");
    assert_eq!(found(&bob), [wanted], "the next goes on behind it");
    // From the head again, and on: enough searches always find it.
    assert_eq!((found(&bob), found(&bob)), (Vec::new(), vec![wanted]));
    // Actors of the old role find theirs at once, and nobody else examines anything.
    let carl = with_role(&house, "carl", "old").await;
    assert_eq!(found(&carl).len(), 65);
    assert_eq!(found(&alice), Vec::new());
    // A candidate that was claimed meanwhile is passed over.
    let candidates = vec![Candidate { tx: wanted, bytes: 100 }];
    let claim = || Command::ClaimQueued(QueueAsk { candidates: candidates.clone(), ..ask() });
    for claimed in [1, 0] {
        let outcome = house.run(&bob, claim()).await.unwrap();
        let Outcome::Claimed { views } = outcome else { panic!("it was claimed") };
        assert_eq!(views.len(), claimed);
    }
    house.app.close().await;
}
