//! Idempotency-Key: one effect, one answer.

use std::sync::Arc;

use serde_json::json;

use super::*;
use crate::engine::DataChange;

/// Renders answers like an HTTP layer.
fn render() -> Render {
    Box::new(|result, revision| {
        let body = match result {
            Ok(outcome) => format!("{revision}: {outcome:?}"),
            Err(refusal) => format!("{revision}: {}", refusal.code()),
        };
        let status = if result.is_ok() { 200 } else { 400 };
        let headers = vec![("etag".to_owned(), format!("\"{revision}\""))];
        Answer { status, headers, body: Bytes::from(body) }
    })
}

fn envelope(house: &TestApp, actor: &Actor, key: Option<&str>, body: &str) -> Envelope {
    Envelope {
        actor: actor.clone(),
        client: ClientInfo::default(),
        request: "req".into(),
        route: "",
        idempotency: key.map(|key| Idempotency {
            key: key.to_owned(),
            fingerprint: house.app.fingerprint("PATCH", "/v1/x", "", body.as_bytes()),
        }),
        preconditions: None,
        render: render(),
    }
}

fn add(key: &str) -> Command {
    let change = DataChange::Merge(json!({ key: 1 }));
    Command::ChangeSessionData { change, if_match: None }
}

#[tokio::test]
async fn the_same_request_gets_the_first_answer_byte_for_byte_and_takes_effect_once() {
    let house = TestApp::new().await;
    let seat = house.join("alice").await;
    let actor = house.actor(&seat.token).await.unwrap();
    let first = house.app.execute(add("a"), envelope(&house, &actor, Some("k"), "a")).await;
    assert!(!first.replayed && first.answer.status == 200);
    house.app.execute(add("b"), envelope(&house, &actor, None, "b")).await;
    let before = house.store.durable();
    let again = house.app.execute(add("a"), envelope(&house, &actor, Some("k"), "a")).await;
    assert!(again.replayed);
    assert_eq!(again.answer, first.answer);
    assert_eq!(house.store.durable(), before);
    // Over a restart too.
    house.app.close().await;
    let house = TestApp::on(Arc::clone(&house.store), rules()).await;
    let again = house.app.execute(add("a"), envelope(&house, &actor, Some("k"), "a")).await;
    assert!(again.replayed);
    assert_eq!(again.answer, first.answer);
}

#[tokio::test]
async fn another_request_under_the_same_key_is_refused() {
    let house = TestApp::new().await;
    let seat = house.join("alice").await;
    let actor = house.actor(&seat.token).await.unwrap();
    house.app.execute(add("a"), envelope(&house, &actor, Some("k"), "a")).await;
    let other = house.app.execute(add("b"), envelope(&house, &actor, Some("k"), "b")).await;
    assert!(String::from_utf8_lossy(&other.answer.body).ends_with("idempotency-key-reused"));
}

#[tokio::test]
async fn a_key_is_its_users_in_every_session_and_nobody_elses() {
    let house = TestApp::new().await;
    let (first, second) = (house.join("alice").await, house.login("alice").await);
    let mallory = house.join("mallory").await;
    let phone = house.actor(&first.token).await.unwrap();
    let desk = house.actor(&second.token).await.unwrap();
    let mallory = house.actor(&mallory.token).await.unwrap();
    house.app.execute(add("a"), envelope(&house, &phone, Some("k"), "a")).await;
    assert!(house.app.execute(add("a"), envelope(&house, &desk, Some("k"), "a")).await.replayed);
    assert!(
        !house.app.execute(add("a"), envelope(&house, &mallory, Some("k"), "a")).await.replayed
    );
}

/// An anonymous session with a stored answer, and that answer.
async fn cart(house: &TestApp, key: &str) -> (Actor, CommandAnswer) {
    let open = Command::OpenAnonymous { profile: None };
    let cart = LoggedIn::of(house.run(&Actor::Nobody, open).await.unwrap());
    let actor = house.actor(&cart.token).await.unwrap();
    let first = house.app.execute(add("a"), envelope(house, &actor, Some(key), "a")).await;
    (actor, first)
}

/// The keys move to the user: all its sessions find the answers, over a restart too.
#[tokio::test]
async fn keys_of_an_anonymous_session_are_the_users_after_its_upgrade() {
    let house = TestApp::new().await;
    house.register("alice").await;
    let phone = house.actor(&house.login("alice").await.token).await.unwrap();
    let mallory = house.actor(&house.join("mallory").await.token).await.unwrap();
    let own = house.app.execute(add("u"), envelope(&house, &phone, Some("u"), "u")).await;
    let both = house.app.execute(add("b"), envelope(&house, &phone, Some("k"), "b")).await;
    let (anonymous, first) = cart(&house, "k").await;
    assert!(house.login_as(&anonymous, "alice", "a wrong password").await.is_err());
    let seat = house.login_as(&anonymous, "alice", PASSWORD).await.unwrap();
    let upgraded = house.actor(&seat.token).await.unwrap();
    let sees_all = async |house: &TestApp, actor: &Actor| {
        // The request distinguishes a key that both have used.
        for (what, key, answer) in [("a", "k", &first), ("b", "k", &both), ("u", "u", &own)] {
            let again = house.app.execute(add(what), envelope(house, actor, Some(key), what)).await;
            assert!(again.replayed, "{what} {key}");
            assert_eq!(again.answer, answer.answer);
        }
        let other = house.app.execute(add("c"), envelope(house, actor, Some("k"), "c")).await;
        assert!(String::from_utf8_lossy(&other.answer.body).ends_with("idempotency-key-reused"));
    };
    sees_all(&house, &upgraded).await;
    sees_all(&house, &phone).await;
    let again = house.app.execute(add("a"), envelope(&house, &mallory, Some("k"), "a")).await;
    assert!(!again.replayed);
    // A session without a key of its own leaves nothing to be looked up.
    let open = Command::OpenAnonymous { profile: None };
    let idle = LoggedIn::of(house.run(&Actor::Nobody, open).await.unwrap());
    let idle = house.actor(&idle.token).await.unwrap();
    house.login_as(&idle, "alice", PASSWORD).await.unwrap();
    house.app.close().await;
    let house = TestApp::on(Arc::clone(&house.store), rules()).await;
    sees_all(&house, &phone).await;
    sees_all(&house, &upgraded).await;
    let row = house.store.get(View::Committed, &Key::AnswerCount(scope(&phone)).encode());
    let counts = row.unwrap().unwrap().value;
    let key = Key::AnswerCount(scope(&phone));
    let counts = crate::records::answer::AnswerCountV2::read(&key, &counts, 0).unwrap();
    assert_eq!(counts.adopted.len(), 1);
    assert_eq!(counts.hours.iter().map(|(_, keys, _)| keys).sum::<u32>(), 3);
    // After a day they are forgotten with the session's keys.
    house.advance(Span::from_hours(25)).await;
    let late = house.actor(&house.login("alice").await.token).await.unwrap();
    assert!(!house.app.execute(add("a"), envelope(&house, &late, Some("k"), "a")).await.replayed);
}

/// An earlier build noted no session at the user's count: the keys stayed the session's own, and
/// are found through it.
#[tokio::test]
async fn keys_of_a_session_that_an_earlier_build_upgraded_are_found_through_it() {
    let house = TestApp::new().await;
    house.register("alice").await;
    let (anonymous, first) = cart(&house, "k").await;
    let of_session = Key::AnswerCount(scope(&anonymous)).encode();
    let count = house.store.get(View::Committed, &of_session).unwrap().unwrap().value;
    let seat = house.login_as(&anonymous, "alice", PASSWORD).await.unwrap();
    let upgraded = house.actor(&seat.token).await.unwrap();
    house.app.close().await;
    let of_user = Key::AnswerCount(scope(&upgraded)).encode();
    let writes = vec![Write::put(of_session, count), Write::delete(of_user)];
    drop(house.store.commit(Batch { writes, ..Batch::default() }).unwrap());
    let house = TestApp::on(Arc::clone(&house.store), rules()).await;
    let again = house.app.execute(add("a"), envelope(&house, &upgraded, Some("k"), "a")).await;
    assert!(again.replayed);
    assert_eq!(again.answer, first.answer);
    house.app.close().await;
}

fn scope(actor: &Actor) -> crate::records::Scope {
    crate::records::Scope::of(actor).unwrap()
}

/// Returns the number of stored answers of an actor.
fn kept(house: &TestApp) -> usize {
    let (mut range, mut count) = (KeyRange::prefix(Key::ANSWERS), 0);
    loop {
        let page = house.store.scan(View::Committed, &range, Order::Ascending, 200).unwrap();
        count += page.rows.len();
        match page.next {
            Some(next) => range = range.after(next),
            None => return count,
        }
    }
}

/// Beyond its limits, in keys or in bytes, an actor is not refused: its oldest keys are forgotten.
#[tokio::test]
async fn the_oldest_keys_are_shed_beyond_the_limit() {
    const LIVE: usize = 400;
    for limited in [
        Rules { idempotency_keys_max: LIVE as u64, ..rules() },
        Rules { idempotency_bytes_max: 400 * LIVE as u64, ..rules() },
    ] {
        let house = TestApp::with(limited).await;
        let busy = house.actor(&house.join("alice").await.token).await.unwrap();
        let quiet = house.actor(&house.join("bob").await.token).await.unwrap();
        house.app.execute(add("a"), envelope(&house, &quiet, Some("k0"), "a")).await;
        for number in 0..4 * LIVE {
            let key = format!("k{number}");
            let answered =
                house.app.execute(add("a"), envelope(&house, &busy, Some(&key), "a")).await;
            assert!(answered.answer.status == 200 && !answered.replayed, "{answered:?}");
        }
        // The executor's own thread drops them. Two blocks stay beyond the limit: one that is not
        // full, and one that is dropped next.
        house.advance_until(|| kept(&house) <= LIVE + 200).await;
        assert!(kept(&house) >= LIVE / 3, "{}", kept(&house));
        assert!(usize::try_from(house.app.keys_shed()).unwrap() >= 2 * LIVE);
        let replays = async |actor: &Actor, number: usize| {
            let key = format!("k{number}");
            let envelope = envelope(&house, actor, Some(&key), "a");
            house.app.execute(add("a"), envelope).await.replayed
        };
        assert!(!replays(&busy, 0).await, "the oldest is forgotten");
        assert!(replays(&busy, 4 * LIVE - 1).await);
        assert!(replays(&busy, 4 * LIVE - LIVE / 4).await);
        assert!(replays(&quiet, 0).await, "nobody else's key is shed");
    }
}

#[tokio::test]
async fn fifty_duplicates_at_once_have_one_effect_and_one_answer() {
    let house = TestApp::new().await;
    let seat = house.join("alice").await;
    let actor = house.actor(&seat.token).await.unwrap();
    house.store.hold();
    let before = house.store.durable();
    let requests: Vec<_> = (0..50)
        .map(|_| {
            let app = Arc::clone(&house.app);
            let envelope = envelope(&house, &actor, Some("k"), "a");
            tokio::spawn(async move { app.execute(add("a"), envelope).await })
        })
        .collect();
    while house
        .store
        .get(View::Staged, &Key::SessionData(seat.session.id, 0).encode())
        .unwrap()
        .is_none()
    {
        tokio::task::yield_now().await;
    }
    // A duplicate waits for the first one's sync.
    house.quiet().await;
    assert!(requests.iter().all(|request| !request.is_finished()));
    house.store.release();
    let mut answers = Vec::new();
    for request in requests {
        answers.push(request.await.unwrap());
    }
    assert!(answers.iter().all(|answered| answered.answer == answers[0].answer));
    assert_eq!(answers.iter().filter(|answered| !answered.replayed).count(), 1);
    // One for all of them, and the one by which the test knew that they had finished.
    assert_eq!(house.store.durable(), before.next().next());
}

#[tokio::test]
async fn a_refusal_by_the_state_is_kept_and_one_by_the_input_is_not() {
    let house = TestApp::new().await;
    let admin = house.admin().await;
    let register = |with: &str| Command::Register {
        username: name("bob"),
        password: password(with),
        name: None,
        roles: None,
    };
    let short = house.app.execute(register("short"), envelope(&house, &admin, Some("k"), "")).await;
    assert!(!short.replayed);
    let made = house.app.execute(register(PASSWORD), envelope(&house, &admin, Some("k"), "")).await;
    assert!(!made.replayed && made.answer.status == 200);
    let taken =
        house.app.execute(register(PASSWORD), envelope(&house, &admin, Some("l"), "")).await;
    assert!(String::from_utf8_lossy(&taken.answer.body).ends_with("username-taken"));
    let again =
        house.app.execute(register(PASSWORD), envelope(&house, &admin, Some("l"), "")).await;
    assert!(again.replayed);
    assert_eq!(again.answer, taken.answer);
}

#[tokio::test]
async fn calls_with_a_secret_or_without_an_actor_take_no_key() {
    let house = TestApp::new().await;
    let seat = house.join("alice").await;
    let actor = house.actor(&seat.token).await.unwrap();
    let refused = |answered: CommandAnswer| {
        String::from_utf8_lossy(&answered.answer.body).ends_with("idempotency-key-not-supported")
    };
    let rotate = envelope(&house, &actor, Some("k"), "");
    assert!(refused(house.app.execute(Command::Rotate, rotate).await));
    assert!(!house.is_dead(&seat.token).await);
    let register = Command::Register {
        username: name("bob"),
        password: password(PASSWORD),
        name: None,
        roles: None,
    };
    let nobody = envelope(&house, &Actor::Nobody, Some("k"), "");
    assert!(refused(house.app.execute(register, nobody).await));
}

#[tokio::test]
async fn an_answer_is_forgotten_after_a_day_and_swept() {
    const COUNT: usize = 300;
    let house = TestApp::new().await;
    let seat = house.join("alice").await;
    let actor = house.actor(&seat.token).await.unwrap();
    // The first of them by blocks, the last by a scan of everything.
    for number in 0..COUNT {
        let key = format!("k{number}");
        house.app.execute(add("a"), envelope(&house, &actor, Some(&key), "a")).await;
    }
    let day = house.store.durable();
    let old_answers = |house: &TestApp| {
        let (mut range, mut count) = (KeyRange::prefix(Key::ANSWERS), 0);
        loop {
            let page = house.store.scan(View::Committed, &range, Order::Ascending, 200).unwrap();
            count += page.rows.iter().filter(|row| row.revision <= day).count();
            match page.next {
                Some(next) => range = range.after(next),
                None => return count,
            }
        }
    };
    assert_eq!(old_answers(&house), COUNT);
    house.advance(Span::from_hours(25)).await;
    let actor = house.actor(&house.login("alice").await.token).await.unwrap();
    let late = house.app.execute(add("a"), envelope(&house, &actor, Some("k0"), "a")).await;
    assert!(!late.replayed);
    // The sweep keeps pace with what is added: it ends its round before twice as much is there.
    for number in 0..4 * COUNT {
        let key = format!("n{number}");
        house.app.execute(add("a"), envelope(&house, &actor, Some(&key), "a")).await;
    }
    assert_eq!(old_answers(&house), 0);
}

/// An answer with `Retry-After` answers no other request: under the same key the later state
/// counts, and its answer is stored.
#[tokio::test]
async fn an_answer_that_says_when_to_ask_again_is_not_kept() {
    let house = TestApp::new().await;
    let seat = house.join("alice").await;
    let actor = house.actor(&seat.token).await.unwrap();
    let early = || {
        let rendered = render();
        let mut envelope = envelope(&house, &actor, Some("k"), "a");
        envelope.render = Box::new(move |result, revision| {
            let mut answer = rendered(result, revision);
            if result.is_err() {
                answer.headers.push(("retry-after".to_owned(), "5".to_owned()));
            }
            answer
        });
        envelope
    };
    // A patch of a missing field is refused because of the present state.
    let patch = json!([{"op": "remove", "path": "/a"}]);
    let patch = || {
        let change = DataChange::Patch(serde_json::from_value(patch.clone()).unwrap());
        Command::ChangeSessionData { change, if_match: None }
    };
    for _ in 0..2 {
        let refused = house.app.execute(patch(), early()).await;
        assert!(refused.answer.status == 400 && !refused.replayed, "{refused:?}");
    }
    house.app.execute(add("a"), envelope(&house, &actor, None, "")).await;
    let taken = house.app.execute(patch(), early()).await;
    assert!(taken.answer.status == 200 && !taken.replayed, "{taken:?}");
    let again = house.app.execute(patch(), early()).await;
    assert!(again.replayed && again.answer == taken.answer);
}
