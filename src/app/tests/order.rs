//! Commands, timers and the clock, in the right order.

use std::sync::Arc;

use super::*;

#[tokio::test]
async fn a_command_at_the_due_time_loses_to_the_timer() {
    let house = TestApp::new().await;
    let seat = house.join("alice").await;
    let actor = house.actor(&seat.token).await.unwrap();
    let left = seat.session.idle_expires_at.since(house.app.now());
    house.advance(left).await;
    assert_eq!(house.run(&actor, Command::Touch).await.unwrap_err(), Refusal::Unauthenticated);
    assert_eq!(house.count("abide.session.ended"), 1);
}

#[tokio::test]
async fn what_became_due_while_it_was_down_happens_at_the_next_start() {
    let house = TestApp::new().await;
    let seats = [house.join("alice").await, house.join("bob").await];
    house.advance(Span::from_minutes(1)).await;
    house.app.close().await;
    // The next start finds a clock that was moved on by a day.
    let store = Arc::clone(&house.store);
    let marks = value::ClockV1 {
        high_ms: house.app.now().plus(Span::from_hours(24)).ms(),
        advanced_ms: Span::from_minutes(1).ms(),
    };
    let write = Write::put(Key::Clock.encode(), value::write(1, &marks));
    drop(store.commit(Batch { writes: vec![write], ..Batch::default() }).unwrap());
    let house = TestApp::on(store, rules()).await;
    for seat in &seats {
        assert!(house.is_dead(&seat.token).await);
    }
    house.advance(Span::ZERO).await;
    house.register("carol").await;
    let events = house.events();
    let created = events.iter().rposition(|event| event == "abide.user.created").unwrap();
    let ended = events.iter().position(|event| event == "abide.session.ended").unwrap();
    assert!(ended < created);
    assert_eq!(house.count("abide.session.ended"), 2);
}

#[tokio::test]
async fn thousands_of_timers_fire_in_bounded_commits_in_order() {
    let house = TestApp::new().await;
    for _ in 0..450 {
        let open = Command::OpenAnonymous { profile: None };
        house.run(&Actor::Nobody, open).await.unwrap();
    }
    let before = house.store.durable();
    house.advance(Span::from_hours(1)).await;
    assert_eq!(house.count("abide.session.ended"), 450);
    let commits = house.store.read_log(before, usize::MAX).unwrap();
    let ended: Vec<usize> = commits
        .iter()
        .map(|entry| events_of(entry).events.len())
        .filter(|events| *events > 0)
        .collect();
    assert!(ended.iter().all(|events| *events <= 200), "{ended:?}");
    assert_eq!(ended.iter().sum::<usize>(), 450);
    let timers =
        house.store.scan(View::Committed, &KeyRange::prefix(Key::TIMERS), Order::Ascending, 200);
    assert!(timers.unwrap().rows.is_empty());
}

#[tokio::test]
async fn time_never_goes_back_over_a_restart() {
    let house = TestApp::new().await;
    house.advance(Span::from_hours(72)).await;
    house.register("alice").await;
    let before = house.app.now();
    house.app.close().await;
    let house = TestApp::on(Arc::clone(&house.store), rules()).await;
    assert!(house.app.now() >= before);
}

#[tokio::test]
async fn the_clock_is_moved_in_dev_by_an_administrator_only() {
    let house = TestApp::new().await;
    let seat = house.join("alice").await;
    let alice = house.actor(&seat.token).await.unwrap();
    let hour = Span::from_hours(1);
    assert_eq!(house.app.advance_clock(&alice, hour).await.unwrap_err().code(), "not-allowed");
    house.app.advance_clock(&house.admin().await, hour).await.unwrap();
    let store: Arc<dyn Store> = Arc::new(Memory::new());
    let settings = AppSettings { password_cost: CHEAP, ..AppSettings::default() };
    let opened = App::open(store, Secret::new([1; 32]), settings).await.unwrap();
    let refused = opened.app.advance_clock(&Actor::System, hour).await.unwrap_err();
    assert_eq!(refused.code(), "not-found");
}

#[tokio::test]
async fn a_closed_application_refuses_and_finishes_what_it_took() {
    let house = TestApp::new().await;
    let seat = house.join("alice").await;
    let actor = house.actor(&seat.token).await.unwrap();
    house.app.close().await;
    assert_eq!(house.run(&actor, Command::Logout).await.unwrap_err(), Refusal::Stopping);
    house.app.close().await;
}

#[tokio::test]
async fn a_panic_on_the_executor_stops_the_process() {
    let store: Arc<dyn Store> = Arc::new(Memory::new());
    let settings = AppSettings { password_cost: CHEAP, rules: rules(), ..AppSettings::default() };
    let opened = App::open(store, Secret::new([1; 32]), settings).await.unwrap();
    let open = Command::OpenAnonymous { profile: None };
    let seat = LoggedIn::of(opened.app.call(open, Actor::Nobody).await.unwrap());
    let actor = opened.app.authenticate(Some(&seat.token)).await.unwrap().actor;
    let change = crate::engine::DataChange::Merge(serde_json::json!({"a": 1}));
    let command = Command::ChangeSessionData { change, if_match: None };
    let envelope = Envelope {
        actor,
        client: ClientInfo::default(),
        request: "req".into(),
        route: "",
        idempotency: Some(Idempotency { key: "k".into(), fingerprint: Fingerprint([0; 32]) }),
        preconditions: None,
        render: Box::new(|_, _| panic!("a fault in an answer")),
    };
    let answered = opened.app.execute(command, envelope).await;
    assert_eq!(answered.answer.status, 503);
    assert!(opened.stopped.await.contains("panicked"));
}

#[tokio::test]
async fn what_is_due_fires_before_the_next_command_however_late_the_timers_are() {
    let house = TestApp::new().await;
    house.join("alice").await;
    // The clock moves under the executor, which waits for its next command.
    house.app.clock.advance(Span::from_hours(1));
    house.register("bob").await;
    let events = house.events();
    let ended = events.iter().position(|event| event == "abide.session.ended").unwrap();
    assert!(ended < events.iter().rposition(|event| event == "abide.user.created").unwrap());
}
