//! Sessions from login to logout.

use serde_json::{Value, json};

use super::*;
use crate::engine::{DataChange, IfMatch, Profile, StoredKey, UserChange};

fn merge(patch: Value) -> Command {
    Command::ChangeSessionData { change: DataChange::Merge(patch), if_match: None }
}

#[tokio::test]
async fn a_login_opens_a_session_and_a_logout_ends_it_at_once() {
    let house = TestApp::new().await;
    let seat = house.join("alice").await;
    let actor = house.actor(&seat.token).await.unwrap();
    assert_eq!(actor.user().unwrap().username, name("alice"));
    // Cached by now, and dead all the same.
    house.run(&actor, Command::Logout).await.unwrap();
    assert!(house.is_dead(&seat.token).await);
    assert_eq!(house.run(&actor, Command::Logout).await.unwrap_err(), Refusal::Unauthenticated);
}

#[tokio::test]
async fn a_token_of_another_kind_or_one_character_off_opens_nothing() {
    let house = TestApp::new().await;
    let seat = house.join("alice").await;
    let text = seat.token.reveal();
    let last = if text.ends_with('0') { "1" } else { "0" };
    let other: Token = format!("{}{last}", &text[..46]).parse().unwrap();
    assert!(house.is_dead(&other).await);
    let key: Token = text.replace("abs_", "abk_").parse().unwrap();
    assert!(house.is_dead(&key).await);
}

#[tokio::test]
async fn rotation_and_elevation_give_a_new_token_and_end_the_old() {
    let house = TestApp::new().await;
    let first = house.join("alice").await;
    let actor = house.actor(&first.token).await.unwrap();
    let second = LoggedIn::of(house.run(&actor, Command::Rotate).await.unwrap());
    assert!(house.is_dead(&first.token).await);
    assert_eq!(second.session.id, first.session.id);
    let actor = house.actor(&second.token).await.unwrap();
    let wrong = Command::Elevate { password: password("something else") };
    assert_eq!(house.run(&actor, wrong).await.unwrap_err(), Refusal::InvalidCredentials);
    let right = Command::Elevate { password: password(PASSWORD) };
    let third = LoggedIn::of(house.run(&actor, right).await.unwrap());
    assert!(house.is_dead(&second.token).await);
    let until = third.session.elevated_until.unwrap();
    assert!(until > house.app.now());
    // An actor that was looked up under the old token is nobody any more.
    assert_eq!(house.run(&actor, Command::Rotate).await.unwrap_err(), Refusal::Unauthenticated);
}

#[tokio::test]
async fn a_session_ends_without_use_and_with_use_at_its_absolute_end() {
    let house = TestApp::new().await;
    let (idle, busy) = (house.join("alice").await, house.join("bob").await);
    for _ in 0..24 {
        assert!(!house.is_dead(&busy.token).await);
        house.advance(Span::from_minutes(29)).await;
    }
    assert!(house.is_dead(&idle.token).await);
    house.app.authenticate(Some(&busy.token)).await.unwrap();
    house.advance(Span::from_minutes(29)).await;
    assert!(house.is_dead(&busy.token).await);
    assert_eq!(house.count("abide.session.ended"), 2);
}

#[tokio::test]
async fn looking_without_touching_extends_nothing() {
    let house = TestApp::new().await;
    let seat = house.join("alice").await;
    house.advance(Span::from_minutes(20)).await;
    assert!(house.app.inspect(&seat.token).is_ok());
    house.advance(Span::from_minutes(11)).await;
    assert_eq!(house.app.inspect(&seat.token), Err(Refusal::Unauthenticated));
}

#[tokio::test]
async fn activity_is_written_at_most_once_in_a_twentieth_of_the_time_out() {
    let house = TestApp::new().await;
    let seat = house.join("alice").await;
    for _ in 0..50 {
        house.app.authenticate(Some(&seat.token)).await.unwrap();
    }
    assert_eq!(house.count("abide.session.touched"), 0);
    house.advance(Span::from_seconds(91)).await;
    let requests = (0..50).map(|_| house.app.authenticate(Some(&seat.token)));
    for request in requests.collect::<Vec<_>>() {
        request.await.unwrap();
    }
    assert_eq!(house.count("abide.session.touched"), 1);
    let access = house.app.authenticate(Some(&seat.token)).await.unwrap();
    assert!(access.session.unwrap().idle_expires_at > seat.session.idle_expires_at);
}

#[tokio::test]
async fn a_profile_has_its_own_time_outs_and_an_unknown_one_is_refused() {
    let cart = Profile { idle: Span::from_hours(720), absolute: Span::from_hours(720) };
    let profiles = [("cart".parse().unwrap(), cart)].into();
    let house = TestApp::with(Rules { profiles, ..rules() }).await;
    let open = |profile: &str| Command::OpenAnonymous { profile: Some(profile.parse().unwrap()) };
    let seat = LoggedIn::of(house.run(&Actor::Nobody, open("cart")).await.unwrap());
    house.advance(Span::from_hours(700)).await;
    assert!(!house.is_dead(&seat.token).await);
    let refused = house.run(&Actor::Nobody, open("other")).await.unwrap_err();
    assert_eq!(refused.code(), "invalid-input");
}

#[tokio::test]
async fn an_anonymous_session_becomes_its_users_with_its_data_under_a_new_token() {
    let house = TestApp::new().await;
    house.register("alice").await;
    let open = Command::OpenAnonymous { profile: None };
    let cart = LoggedIn::of(house.run(&Actor::Nobody, open).await.unwrap());
    let actor = house.actor(&cart.token).await.unwrap();
    house.run(&actor, merge(json!({"cart": [1, 2]}))).await.unwrap();
    let seat = house.login_as(&actor, "alice", PASSWORD).await.unwrap();
    assert!(house.is_dead(&cart.token).await);
    assert_eq!(seat.session.id, cart.session.id);
    let actor = house.actor(&seat.token).await.unwrap();
    assert_eq!(&*house.app.session_data(&actor).unwrap().json, r#"{"cart":[1,2]}"#);
    assert_eq!(house.app.sessions(&actor, None).unwrap().len(), 1);
    // A user's session stays what it is; another login opens one beside it.
    let second = house.login_as(&actor, "alice", PASSWORD).await.unwrap();
    assert_ne!(second.session.id, seat.session.id);
    assert!(!house.is_dead(&seat.token).await);
}

#[tokio::test]
async fn anonymous_sessions_are_opened_only_where_they_are_allowed() {
    let house = TestApp::with(Rules { anonymous_open: false, ..rules() }).await;
    let open = Command::OpenAnonymous { profile: None };
    let refused = house.run(&Actor::Nobody, open).await.unwrap_err();
    assert_eq!(refused.code(), "not-allowed");
}

#[tokio::test]
async fn one_session_too_many_ends_the_oldest_also_when_logins_race() {
    let house = TestApp::with(Rules { sessions_per_user_max: 3, ..rules() }).await;
    house.register("alice").await;
    let mut seats = Vec::new();
    for _ in 0..4 {
        seats.push(house.login("alice").await);
    }
    assert!(house.is_dead(&seats[0].token).await);
    assert!(!house.is_dead(&seats[1].token).await);
    let racing: Vec<_> = (0..16)
        .map(|_| {
            let app = std::sync::Arc::clone(&house.app);
            tokio::spawn(async move {
                let (username, password) = (name("alice"), password(PASSWORD));
                let login = Command::Login { username, password, profile: None };
                LoggedIn::of(app.call(login, Actor::Nobody).await.unwrap())
            })
        })
        .collect();
    let mut raced = Vec::new();
    for seat in racing {
        raced.push(seat.await.unwrap());
    }
    // Only now: a later login may end what an earlier one opened.
    let mut alive = 0;
    for seat in &raced {
        alive += usize::from(!house.is_dead(&seat.token).await);
    }
    assert_eq!(alive, 3);
    let actor = house.actor(&house.login("alice").await.token).await.unwrap();
    assert_eq!(house.app.sessions(&actor, None).unwrap().len(), 3);
}

#[tokio::test]
async fn sessions_are_ended_one_all_or_all_others_and_never_a_strangers() {
    let house = TestApp::new().await;
    let (first, second) = (house.join("alice").await, house.login("alice").await);
    let (third, mallory) = (house.login("alice").await, house.join("mallory").await);
    let (alice, mallory) =
        (house.actor(&first.token).await.unwrap(), house.actor(&mallory.token).await.unwrap());
    let one = Command::EndSession { session: second.session.id };
    let foreign = house.run(&mallory, one.clone()).await.unwrap_err();
    assert_eq!(foreign, Refusal::NotFound("session"));
    assert_eq!(house.app.session(&mallory, second.session.id), Err(Refusal::NotFound("session")));
    house.run(&alice, one.clone()).await.unwrap();
    assert!(house.is_dead(&second.token).await);
    assert_eq!(house.run(&alice, one).await.unwrap_err(), foreign);
    let others = Command::EndSessions { username: None, except_current: true };
    let ended = house.run(&alice, others).await.unwrap();
    assert!(matches!(ended, Outcome::Ended { count: 1 }));
    assert!(house.is_dead(&third.token).await);
    assert!(!house.is_dead(&first.token).await);
    let users = Command::EndSessions { username: Some(name("alice")), except_current: false };
    assert_eq!(house.run(&mallory, users.clone()).await.unwrap_err().code(), "not-allowed");
    house.run(&house.admin().await, users).await.unwrap();
    assert!(house.is_dead(&first.token).await);
}

#[tokio::test]
async fn two_writers_of_different_keys_both_win() {
    let house = TestApp::new().await;
    let seat = house.join("alice").await;
    let actor = house.actor(&seat.token).await.unwrap();
    let writers: Vec<_> = (0..20)
        .map(|number| {
            let (app, actor) = (std::sync::Arc::clone(&house.app), actor.clone());
            let patch = merge(json!({ format!("k{number:02}"): number }));
            tokio::spawn(async move { app.call(patch, actor).await.map(drop) })
        })
        .collect();
    for writer in writers {
        writer.await.unwrap().unwrap();
    }
    let data = house.app.session_data(&actor).unwrap();
    let object: serde_json::Map<String, Value> = serde_json::from_str(&data.json).unwrap();
    assert_eq!(object.len(), 20);
}

#[tokio::test]
async fn data_has_a_revision_of_its_own_that_activity_does_not_move() {
    let house = TestApp::new().await;
    let seat = house.join("alice").await;
    let actor = house.actor(&seat.token).await.unwrap();
    let empty = house.app.session_data(&actor).unwrap();
    assert_eq!((&*empty.json, empty.revision), ("{}", seat.session.revision));
    let with = |revision: Revision, patch| Command::ChangeSessionData {
        change: DataChange::Merge(patch),
        if_match: Some(IfMatch(vec![revision])),
    };
    let Outcome::Data(written) =
        house.run(&actor, with(empty.revision, json!({"a": 1}))).await.unwrap()
    else {
        panic!("data was written")
    };
    house.advance(Span::from_minutes(5)).await;
    house.app.authenticate(Some(&seat.token)).await.unwrap();
    assert_eq!(house.app.session_data(&actor).unwrap(), written);
    let stale = house.run(&actor, with(empty.revision, json!({"a": 2}))).await.unwrap_err();
    assert_eq!(stale, Refusal::RevisionMismatch { current: written.revision });
    // Nothing new is no change.
    let Outcome::Data(same) = house.run(&actor, merge(json!({"a": 1}))).await.unwrap() else {
        panic!("data was answered")
    };
    assert_eq!(same, written);
}

#[tokio::test]
async fn data_up_to_the_limit_is_kept_and_goes_with_its_session() {
    let house = TestApp::new().await;
    let seat = house.join("alice").await;
    let actor = house.actor(&seat.token).await.unwrap();
    let rows = house.store.scan(View::Committed, &KeyRange::all(), Order::Ascending, 200).unwrap();
    let of = |length: usize| merge(json!({ "a": "x".repeat(length) }));
    house.run(&actor, of(65_528)).await.unwrap();
    assert_eq!(house.app.session_data(&actor).unwrap().json.len(), 64 * 1024);
    let refused = house.run(&actor, of(65_529)).await.unwrap_err();
    assert_eq!(refused.code(), "too-large");
    let more = house.store.scan(View::Committed, &KeyRange::all(), Order::Ascending, 200).unwrap();
    assert_eq!(more.rows.len(), rows.rows.len() + 2);
    house.run(&actor, of(1)).await.unwrap();
    house.run(&actor, of(65_528)).await.unwrap();
    house.run(&actor, Command::Logout).await.unwrap();
    let left = house.store.scan(View::Committed, &KeyRange::all(), Order::Ascending, 200).unwrap();
    assert!(left.rows.len() < rows.rows.len());
    // The rest of it: the user, the name, the administrator's, the counts and the clock.
    assert!(left.rows.iter().all(|row| matches!(
        Key::decode(&row.key),
        Some(
            Key::User(_) | Key::Name(_) | Key::AdministratorCount | Key::SessionCount | Key::Clock
        )
    )));
}

#[tokio::test]
async fn a_write_that_was_overtaken_by_a_logout_brings_nothing_back() {
    let house = TestApp::new().await;
    let seat = house.join("alice").await;
    let actor = house.actor(&seat.token).await.unwrap();
    house.run(&actor, merge(json!({"a": 1}))).await.unwrap();
    let logout = house.app.call(Command::Logout, actor.clone());
    let write = house.app.call(merge(json!({"b": 1})), actor.clone());
    let touch = house.app.call(Command::Touch, actor.clone());
    let (logout, write, touch) = tokio::join!(logout, write, touch);
    logout.unwrap();
    assert_eq!(write.unwrap_err(), Refusal::Unauthenticated);
    assert_eq!(touch.unwrap_err(), Refusal::Unauthenticated);
    assert!(house.is_dead(&seat.token).await);
    assert_eq!(house.app.session_data(&actor), Err(Refusal::Unauthenticated));
}

#[tokio::test]
async fn what_is_not_durable_yet_is_seen_by_nobody() {
    let house = TestApp::new().await;
    let seat = house.join("alice").await;
    let actor = house.actor(&seat.token).await.unwrap();
    house.store.hold();
    let app = std::sync::Arc::clone(&house.app);
    let logout = tokio::spawn({
        let (app, actor) = (std::sync::Arc::clone(&app), actor.clone());
        async move { app.call(Command::Logout, actor).await.map(drop) }
    });
    // The next command is decided on the staged state, and waits for that commit.
    while house.store.get(View::Staged, &Key::Session(seat.session.id).encode()).unwrap().is_some()
    {
        tokio::task::yield_now().await;
    }
    let refused = tokio::spawn(async move { app.call(Command::Rotate, actor).await.map(drop) });
    house.quiet().await;
    assert!(house.app.inspect(&seat.token).is_ok());
    assert!(!logout.is_finished() && !refused.is_finished());
    house.store.release();
    logout.await.unwrap().unwrap();
    assert_eq!(refused.await.unwrap().unwrap_err(), Refusal::Unauthenticated);
    assert!(house.is_dead(&seat.token).await);
}

#[tokio::test]
async fn a_service_opens_sessions_for_those_it_may_act_for_alone() {
    let house = TestApp::new().await;
    house.register("bob@shop").await;
    let (_, shop) = house.key(&["*@shop", "admin", "boss@shop"]).await;
    let on_behalf =
        |who: &str, create| Command::OpenOnBehalf { username: name(who), create, profile: None };
    let seat = LoggedIn::of(house.run(&shop, on_behalf("bob@shop", false)).await.unwrap());
    let actor = house.actor(&seat.token).await.unwrap();
    let Actor::Session(bob) = &actor else { panic!("a session") };
    assert_eq!(&*bob.via.as_ref().unwrap().name, "shop");
    let refused = |who: &'static str, create| {
        let command = on_behalf(who, create);
        let (house, shop) = (&house, &shop);
        async move { house.run(shop, command).await.unwrap_err().code() }
    };
    assert_eq!(refused("alice", true).await, "not-allowed");
    assert_eq!(refused("new@shop", false).await, "not-found");
    assert_eq!(refused("admin", false).await, "not-allowed");
    LoggedIn::of(house.run(&shop, on_behalf("new@shop", true)).await.unwrap());
    assert_eq!(
        house.run(&actor, on_behalf("bob@shop", false)).await.unwrap_err().code(),
        "not-allowed"
    );
    // A user that was created so has no password.
    let login = house.login_as(&Actor::Nobody, "new@shop", "").await;
    assert_eq!(login.err(), Some(Refusal::InvalidCredentials));
    // A power that is gained later is out of reach too.
    let change = UserChange { roles: Some(roles(&["abide:auditor"])), ..UserChange::default() };
    let change = Command::ChangeUser { username: name("bob@shop"), change, if_match: None };
    house.run(&house.admin().await, change).await.unwrap();
    assert_eq!(refused("bob@shop", false).await, "not-allowed");
}

#[tokio::test]
async fn another_frameworks_sessions_are_apart_for_each_key_and_end_in_time() {
    let house = TestApp::new().await;
    let (_, shop) = house.key(&["*"]).await;
    let (_, other) = house.key(&["*"]).await;
    let key = StoredKey::new("sid:abc").unwrap();
    let put = |value: i32, user: Option<&str>| Command::PutStored {
        key: key.clone(),
        data: json!({ "value": value }).as_object().unwrap().clone(),
        idle: Some(Span::from_minutes(10)),
        user: user.map(name),
    };
    let first = house.run(&shop, put(1, None)).await.unwrap();
    assert!(matches!(first, Outcome::Stored { created: true, .. }));
    let again = house.run(&shop, put(2, None)).await.unwrap();
    assert!(matches!(again, Outcome::Stored { created: false, .. }));
    let read = house.app.stored(&shop, &key, true).await.unwrap();
    assert_eq!(&*read.data.json, r#"{"value":2}"#);
    assert_eq!(house.app.stored(&other, &key, true).await.unwrap_err().code(), "not-found");
    for _ in 0..3 {
        house.advance(Span::from_minutes(9)).await;
        house.app.stored(&shop, &key, true).await.unwrap();
    }
    house.advance(Span::from_minutes(9)).await;
    house.app.stored(&shop, &key, false).await.unwrap();
    house.advance(Span::from_minutes(2)).await;
    assert_eq!(house.app.stored(&shop, &key, true).await.unwrap_err().code(), "not-found");
    assert_eq!(house.count("abide.stored.ended"), 1);
    let delete = Command::DeleteStored { key: key.clone() };
    house.run(&shop, delete.clone()).await.unwrap();
    // With a user it dies as the user's own sessions do.
    house.register("bob").await;
    house.run(&shop, put(3, Some("bob"))).await.unwrap();
    house.app.stored(&shop, &key, true).await.unwrap();
    let end = Command::EndSessions { username: Some(name("bob")), except_current: false };
    house.run(&house.admin().await, end).await.unwrap();
    assert_eq!(house.app.stored(&shop, &key, true).await.unwrap_err().code(), "not-found");
    let refused = house.run(&shop, put(3, Some("admin"))).await.unwrap_err();
    assert_eq!(refused.code(), "not-allowed");
}

#[tokio::test]
async fn what_the_store_holds_shows_no_secret() {
    let house = TestApp::new().await;
    let seat = house.join("alice").await;
    let (token, shop) = house.key(&["*"]).await;
    let key = StoredKey::new("framework-session-key").unwrap();
    let put = Command::PutStored { key, data: serde_json::Map::new(), idle: None, user: None };
    house.run(&shop, put).await.unwrap();
    house.login_as(&Actor::Nobody, "alice", "a-wrong-password-1").await.err().unwrap();
    let log = house.store.read_log(Revision::ZERO, usize::MAX).unwrap();
    let bytes = format!("{log:?}");
    let raw: Vec<u8> = log
        .iter()
        .flat_map(|entry| {
            let writes = entry.writes.iter().flat_map(|write| {
                [write.key.to_vec(), write.value.clone().unwrap_or_default().to_vec()].concat()
            });
            entry.entry.iter().copied().chain(writes).collect::<Vec<_>>()
        })
        .collect();
    for secret in [
        seat.token.reveal(),
        token.reveal(),
        PASSWORD,
        "framework-session-key",
        "a-wrong-password-1",
    ] {
        assert!(!bytes.contains(secret), "{secret}");
        assert!(!raw.windows(secret.len()).any(|window| window == secret.as_bytes()), "{secret}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_at_once_write_their_activity_once() {
    let house = TestApp::new().await;
    let seat = house.join("alice").await;
    house.advance(Span::from_seconds(91)).await;
    let requests: Vec<_> = (0..50)
        .map(|_| {
            let (app, token) = (std::sync::Arc::clone(&house.app), seat.token.clone());
            tokio::spawn(async move { app.authenticate(Some(&token)).await.map(drop) })
        })
        .collect();
    for request in requests {
        request.await.unwrap().unwrap();
    }
    assert_eq!(house.count("abide.session.touched"), 1);
}
