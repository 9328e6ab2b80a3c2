//! Identities: API keys and the sessions that they opened, anonymous sessions that become a user's,
//! names.

use std::sync::Arc;

use serde_json::{Map, json};

use super::*;
use crate::engine::IndexEntry;
use crate::engine::{ActorRef, StartAsk, UserChange, workflow};
use crate::types::TxId;

fn revoke(house: &TestApp, admin: &Actor, keep_sessions: bool) -> Command {
    let keys = house.app.keys(admin, PageRequest { limit: 50, after: None }).unwrap();
    Command::RevokeKey { key: keys.items[0].id, keep_sessions }
}

async fn on_behalf(house: &TestApp, shop: &Actor, who: &str) -> LoggedIn {
    let command = Command::OpenOnBehalf { username: name(who), create: true, profile: None };
    LoggedIn::of(house.run(shop, command).await.unwrap())
}

/// Sessions that a key opened end with it at once, also those that one commit does not end, also
/// for a request under way and after a restart; those of others live.
#[tokio::test]
async fn a_revoked_key_takes_the_sessions_that_it_opened_along() {
    let house = TestApp::new().await;
    let (_, shop) = house.key(&["*"]).await;
    let admin = house.admin().await;
    let own = house.join("alice").await;
    let mut opened = Vec::new();
    for number in 0..30 {
        opened.push(on_behalf(&house, &shop, &format!("customer{number}")).await);
    }
    opened.push(on_behalf(&house, &shop, "alice").await);
    let actor = house.actor(&opened[29].token).await.unwrap();
    let before = house.store.durable();
    house.run(&admin, revoke(&house, &admin, false)).await.unwrap();
    for seat in &opened {
        assert!(house.is_dead(&seat.token).await);
    }
    assert_eq!(house.run(&actor, Command::Rotate).await.unwrap_err(), Refusal::Unauthenticated);
    assert!(!house.is_dead(&own.token).await);
    let ended = |entry: &LogEntry| {
        events_of(entry).events.iter().filter(|event| event.kind == "abide.session.ended").count()
    };
    let first = house.store.read_log(before, 1).unwrap();
    assert!(ended(&first[0]) > 0, "in the same commit");
    house.advance(Span::from_seconds(1)).await;
    assert_eq!(house.count("abide.session.ended"), opened.len());
    house.app.close().await;
}

/// The revocation of a key may keep its sessions.
#[tokio::test]
async fn a_revoked_key_leaves_its_sessions_where_that_is_asked_for() {
    let house = TestApp::new().await;
    let (token, shop) = house.key(&["*"]).await;
    let admin = house.admin().await;
    let opened = on_behalf(&house, &shop, "alice").await;
    house.run(&admin, revoke(&house, &admin, true)).await.unwrap();
    assert!(house.is_dead(&token).await && !house.is_dead(&opened.token).await);
    house.app.close().await;
    let house = TestApp::on(Arc::clone(&house.store), rules()).await;
    let actor = house.actor(&opened.token).await.unwrap();
    house.run(&actor, Command::Logout).await.unwrap();
    house.app.close().await;
}

async fn link(house: &TestApp, actor: &Actor, who: &str) -> Token {
    let made = house.run(actor, Command::MakeResetLink { username: name(who) }).await.unwrap();
    let Outcome::LinkMade { link, .. } = made else { panic!("a link was made") };
    link
}

async fn use_link(house: &TestApp, link: Token) -> Result<(), Refusal> {
    let command = Command::UseLink { link, password: password("quite another horse") };
    house.run(&Actor::Nobody, command).await.map(drop)
}

async fn set_roles(house: &TestApp, who: &str, names: &[&str]) {
    let change = UserChange { roles: Some(roles(names)), ..UserChange::default() };
    let command = Command::ChangeUser { username: name(who), change, if_match: None };
    house.run(&house.admin().await, command).await.unwrap();
}

/// A link that a service made is void when its key is revoked, and when the user gets one of
/// Abide's powers, also if it is taken again; an administrator's is good for such a user too.
#[tokio::test]
async fn a_reset_link_is_void_with_its_key_and_when_its_user_gains_power() {
    let house = TestApp::new().await;
    let (_, shop) = house.key(&["*"]).await;
    for who in ["alice", "bob", "carol"] {
        house.register(who).await;
    }
    let (alices, bobs) = (link(&house, &shop, "alice").await, link(&house, &shop, "bob").await);
    set_roles(&house, "alice", &["abide:auditor"]).await;
    assert_eq!(use_link(&house, alices.clone()).await, Err(Refusal::LinkNotValid));
    set_roles(&house, "alice", &[]).await;
    assert_eq!(use_link(&house, alices).await, Err(Refusal::LinkNotValid));
    let admin = house.admin().await;
    let carols = link(&house, &admin, "carol").await;
    set_roles(&house, "carol", &["abide:operator"]).await;
    use_link(&house, carols).await.unwrap();
    house.run(&admin, revoke(&house, &admin, true)).await.unwrap();
    assert_eq!(use_link(&house, bobs).await, Err(Refusal::LinkNotValid));
    house.app.close().await;
}

const VOTE: &str = "abide: 1
workflow: vote
start: { by: [anyone] }
first: vote
steps:
  vote: { by: [anyone, service], claim: 1h, quorum: 2, next: { end: decided } }
";

const OWN: &str = "abide: 1
workflow: own
start: { by: [anyone] }
first: rest
steps:
  rest: { by: [owner], next: { end: done } }
";

async fn publish(house: &TestApp, text: &str) {
    let definition = Arc::new(workflow::read(text).unwrap().definition);
    let source = Arc::from(text);
    house.run(&Actor::System, Command::Publish { source, definition }).await.unwrap();
}

async fn voting() -> (TestApp, TxId) {
    let house = TestApp::new().await;
    publish(&house, VOTE).await;
    let owner = house.actor(&house.join("owner").await.token).await.unwrap();
    let tx = start(&house, &owner, "vote").await;
    (house, tx)
}

async fn start(house: &TestApp, actor: &Actor, workflow: &str) -> TxId {
    let ask = StartAsk { workflow: workflow.parse().unwrap(), input: Map::new(), reference: None };
    let started = house.run(actor, Command::Start(Box::new(ask))).await.unwrap();
    let Outcome::Transaction { view, .. } = started else { panic!("one was started") };
    view.tx.id
}

async fn vote(house: &TestApp, actor: &Actor, tx: TxId) -> Result<(), Refusal> {
    let command = Command::Submit { tx, step: "vote".into(), input: json!({}), if_match: None };
    house.run(actor, command).await.map(drop)
}

async fn visitor(house: &TestApp) -> Actor {
    let open = Command::OpenAnonymous { profile: None };
    let seat = LoggedIn::of(house.run(&Actor::Nobody, open).await.unwrap());
    house.actor(&seat.token).await.unwrap()
}

/// An anonymous session that has voted and logs in is one person, in every session.
#[tokio::test]
async fn a_vote_moves_to_the_user_that_its_anonymous_session_becomes() {
    let (house, tx) = voting().await;
    let elsewhere = house.actor(&house.join("alice").await.token).await.unwrap();
    let guest = visitor(&house).await;
    vote(&house, &guest, tx).await.unwrap();
    let seat = house.login_as(&guest, "alice", PASSWORD).await.ok().unwrap();
    let alice = house.actor(&seat.token).await.unwrap();
    for actor in [&alice, &elsewhere] {
        assert_eq!(vote(&house, actor, tx).await, Err(Refusal::AlreadyCounted));
    }
    let counted = &house.app.transaction(&Actor::System, tx).unwrap().tx.open[0].submissions;
    assert_eq!((counted.len(), &counted[0].by), (1, &ActorRef::of(&alice)));
    // Somebody else is another person.
    let bob = house.actor(&house.join("bob").await.token).await.unwrap();
    vote(&house, &bob, tx).await.unwrap();
    assert!(house.app.transaction(&Actor::System, tx).unwrap().tx.status.is_ended());
    house.app.close().await;
}

/// An earlier build left no index entry by which a vote is found at the upgrade: the recorded
/// session is compared instead.
#[tokio::test]
async fn a_vote_without_an_index_entry_counts_for_the_user_too() {
    let (house, tx) = voting().await;
    let guest = visitor(&house).await;
    vote(&house, &guest, tx).await.unwrap();
    house.app.close().await;
    let mark = IndexEntry::ActedIn(guest.session().unwrap(), tx);
    let writes = vec![Write::delete(Key::IndexEntry(mark).encode())];
    drop(house.store.commit(Batch { writes, ..Batch::default() }).unwrap());
    let house = TestApp::on(Arc::clone(&house.store), rules()).await;
    let elsewhere = house.actor(&house.join("alice").await.token).await.unwrap();
    let seat = house.login_as(&guest, "alice", PASSWORD).await.ok().unwrap();
    let alice = house.actor(&seat.token).await.unwrap();
    for actor in [&alice, &elsewhere] {
        assert_eq!(vote(&house, actor, tx).await, Err(Refusal::AlreadyCounted));
    }
    house.app.close().await;
}

/// The same is true of claims, also of more than one commit moves.
#[tokio::test]
async fn claims_move_to_the_user_that_their_anonymous_session_becomes() {
    let (house, first) = voting().await;
    let elsewhere = house.actor(&house.join("alice").await.token).await.unwrap();
    let guest = visitor(&house).await;
    let mut claimed = vec![first];
    for _ in 0..60 {
        claimed.push(start(&house, &elsewhere, "vote").await);
    }
    for tx in &claimed {
        let command = Command::Claim { tx: *tx, step: "vote".into() };
        house.run(&guest, command).await.unwrap();
    }
    house.login_as(&guest, "alice", PASSWORD).await.ok().unwrap();
    house.advance(Span::from_seconds(1)).await;
    for tx in claimed {
        let claim = house.app.transaction(&Actor::System, tx).unwrap().tx.open[0].claim.clone();
        assert_eq!(claim.unwrap().by, ActorRef::of(&elsewhere));
        vote(&house, &elsewhere, tx).await.unwrap();
    }
    house.app.close().await;
}

/// An API key is no person, whatever may submit the step.
#[tokio::test]
async fn a_quorum_counts_people_and_no_api_key() {
    let (house, tx) = voting().await;
    let (_, shop) = house.key(&["*"]).await;
    assert_eq!(vote(&house, &shop, tx).await, Err(Refusal::PeopleOnly));
    let claim = Command::Claim { tx, step: "vote".into() };
    assert_eq!(house.run(&shop, claim).await.unwrap_err(), Refusal::PeopleOnly);
    let alice = house.actor(&on_behalf(&house, &shop, "alice").await.token).await.unwrap();
    vote(&house, &alice, tx).await.unwrap();
    assert_eq!(vote(&house, &shop, tx).await, Err(Refusal::PeopleOnly));
    house.app.close().await;
}

/// No command makes a user with a reserved name, nor takes the first administrator's name before
/// the set-up link is used.
#[tokio::test]
async fn reserved_names_are_given_to_nobody() {
    let settings = AppSettings { rules: rules(), password_cost: CHEAP, ..AppSettings::default() };
    let store = Arc::new(Memory::new());
    let opened = App::open(store.clone(), Secret::new([9; 32]), settings).await.unwrap();
    let set_up = opened.set_up.unwrap();
    let house = TestApp { app: opened.app, store };
    let register = |who: &str| Command::Register {
        username: name(who),
        password: password(PASSWORD),
        name: None,
        roles: None,
    };
    let ids = ["ses_01jd9x2k7m8n4p5q6r7s8t9v0w", "key_1", "usr_", "system"];
    for who in ["me", "current", "admin"].into_iter().chain(ids) {
        let refused = house.run(&Actor::Nobody, register(who)).await.unwrap_err();
        let Refusal::InvalidInput(errors) = refused else { panic!("{refused:?}") };
        assert_eq!((errors[0].code, &*errors[0].pointer), ("reserved", "/username"));
    }
    let link = Command::UseLink { link: set_up, password: password(PASSWORD) };
    house.run(&Actor::Nobody, link).await.unwrap();
    let (_, shop) = house.key(&["*"]).await;
    for who in ["me", "current"].into_iter().chain(ids) {
        let command = Command::OpenOnBehalf { username: name(who), create: true, profile: None };
        let refused = house.run(&shop, command).await.unwrap_err();
        let Refusal::InvalidInput(errors) = refused else { panic!("{refused:?}") };
        assert_eq!((errors[0].code, &*errors[0].pointer), ("reserved", "/user"));
    }
    let source = VOTE.replace("workflow: vote", "workflow: check");
    let definition = Arc::new(workflow::read(&source).unwrap().definition);
    let publish = Command::Publish { source: source.into(), definition };
    assert_eq!(house.run(&Actor::System, publish).await.unwrap_err().code(), "invalid-input");
    house.app.close().await;
}

/// The user of a transaction since a login sees all of its history, in each session.
#[tokio::test]
async fn the_history_before_an_upgrade_is_the_users_in_every_session() {
    let house = TestApp::new().await;
    publish(&house, OWN).await;
    let elsewhere = house.actor(&house.join("alice").await.token).await.unwrap();
    let guest = visitor(&house).await;
    let tx = start(&house, &guest, "own").await;
    let seat = house.login_as(&guest, "alice", PASSWORD).await.ok().unwrap();
    let alice = house.actor(&seat.token).await.unwrap();
    let other = house.actor(&house.join("bob").await.token).await.unwrap();
    let kinds = |actor: &Actor| -> Result<Vec<String>, Refusal> {
        let history = house.app.history(actor, tx, EventId::START, 100)?;
        Ok(history.items.iter().map(|event| event.kind.to_string()).collect())
    };
    let all = kinds(&alice).unwrap();
    assert_eq!(all[0], "abide.transaction.started");
    assert_eq!(kinds(&elsewhere).as_ref(), Ok(&all));
    let mut page = house.app.events(&elsewhere, EventId::START, 1000).unwrap();
    page.items.retain(|event| event.transaction == Some(tx));
    assert_eq!(page.items.len(), all.len());
    assert_eq!(kinds(&other), Err(Refusal::NotFound("transaction")));
    let page = house.app.events(&other, EventId::START, 1000).unwrap();
    assert!(page.items.iter().all(|event| event.transaction.is_none()));
    house.app.close().await;
}
