//! Users, passwords and roles.

use std::sync::Arc;

use serde_json::json;

use super::*;
use crate::engine::{DataChange, IfMatch, UserChange};

fn change(who: &str, change: UserChange) -> Command {
    Command::ChangeUser { username: name(who), change, if_match: None }
}

fn disable(who: &str, disabled: bool) -> Command {
    change(who, UserChange { disabled: Some(disabled), ..UserChange::default() })
}

fn register(who: &str, with: &str, roles: Option<Vec<Role>>) -> Command {
    Command::Register { username: name(who), password: password(with), name: None, roles }
}

#[tokio::test]
async fn registration_is_open_or_an_administrators_and_only_that_one_gives_roles() {
    let open = TestApp::new().await;
    let seat = open.join("alice").await;
    let alice = open.actor(&seat.token).await.unwrap();
    for actor in [&Actor::Nobody, &alice] {
        let with_roles = register("bob", PASSWORD, Some(Vec::new()));
        assert_eq!(open.run(actor, with_roles).await.unwrap_err().code(), "not-allowed");
    }
    let taken = open.run(&Actor::Nobody, register("alice", PASSWORD, None)).await.unwrap_err();
    assert_eq!(taken, Refusal::UsernameTaken);
    let closed = TestApp::with(Rules { registration_open: false, ..rules() }).await;
    let refused = closed.run(&Actor::Nobody, register("bob", PASSWORD, None)).await.unwrap_err();
    assert_eq!(refused.code(), "not-allowed");
    assert_eq!(closed.count("abide.denied"), 1);
    let admin = closed.admin().await;
    let with_roles = register("bob", PASSWORD, Some(roles(&["teller"])));
    closed.run(&admin, with_roles).await.unwrap();
    let bob = closed.actor(&closed.login("bob").await.token).await.unwrap();
    assert!(bob.has("teller") && !bob.has("abide:admin"));
}

#[tokio::test]
async fn a_new_password_is_neither_short_nor_common_nor_cut() {
    let house = TestApp::new().await;
    for (with, code) in [("too short", "too-short"), ("qwertyuiop[]", "too-common")] {
        let refused = house.run(&Actor::Nobody, register("alice", with, None)).await.unwrap_err();
        let Refusal::InvalidInput(errors) = refused else { panic!("{refused:?}") };
        assert_eq!((errors[0].code, &*errors[0].pointer), (code, "/password"));
    }
    let long = "x".repeat(99);
    let with = format!("{long}a");
    house.run(&Actor::Nobody, register("alice", &with, None)).await.unwrap();
    house.login_as(&Actor::Nobody, "alice", &with).await.ok().unwrap();
    let other = house.login_as(&Actor::Nobody, "alice", &format!("{long}b")).await;
    assert_eq!(other.err(), Some(Refusal::InvalidCredentials));
    let longer = house.login_as(&Actor::Nobody, "alice", &"x".repeat(100_000)).await;
    assert_eq!(longer.err(), Some(Refusal::InvalidCredentials));
}

#[tokio::test]
async fn unknown_wrong_and_disabled_are_one_answer() {
    let house = TestApp::new().await;
    house.register("alice").await;
    house.register("bob").await;
    house.run(&house.admin().await, disable("bob", true)).await.unwrap();
    for (who, with) in [("nobody", PASSWORD), ("alice", "wrong password"), ("bob", PASSWORD)] {
        let refused = house.login_as(&Actor::Nobody, who, with).await;
        assert_eq!(refused.err(), Some(Refusal::InvalidCredentials), "{who}");
    }
    assert_eq!(house.count("abide.login.failed"), 3);
    house.run(&house.admin().await, disable("bob", false)).await.unwrap();
    house.login("bob").await;
}

#[tokio::test]
async fn failures_make_an_account_wait_known_or_not_and_never_a_live_session() {
    let house = TestApp::new().await;
    let seat = house.join("alice").await;
    for who in ["alice", "nobody"] {
        for _ in 0..5 {
            let refused = house.login_as(&Actor::Nobody, who, "wrong password").await;
            assert_eq!(refused.err(), Some(Refusal::InvalidCredentials));
        }
        // Right or wrong: nobody finds out while it waits.
        let waits = house.login_as(&Actor::Nobody, who, PASSWORD).await.err().unwrap();
        assert_eq!(waits.code(), "too-many-attempts");
        assert_eq!(waits.retry_after().unwrap().seconds_up(), 1);
    }
    let live = house.app.authenticate(Some(&seat.token)).await.unwrap();
    house.run(&live.actor, Command::Touch).await.unwrap();
    // It is kept over a restart.
    house.app.close().await;
    let house = TestApp::on(Arc::clone(&house.store), rules()).await;
    let waits = house.login_as(&Actor::Nobody, "alice", "wrong password").await.err().unwrap();
    assert_eq!(waits.code(), "too-many-attempts");
    house.advance(Span::from_seconds(1)).await;
    let refused = house.login_as(&Actor::Nobody, "alice", "wrong password").await;
    assert_eq!(refused.err(), Some(Refusal::InvalidCredentials));
    let waits = house.login_as(&Actor::Nobody, "alice", PASSWORD).await.err().unwrap();
    assert_eq!(waits.retry_after().unwrap().seconds_up(), 2);
    house.advance(Span::from_seconds(2)).await;
    house.login("alice").await;
    // A success forgets them.
    for _ in 0..4 {
        house.login_as(&Actor::Nobody, "alice", "wrong password").await.err().unwrap();
    }
    house.login("alice").await;
}

#[tokio::test]
async fn parallel_guesses_get_no_more_tries_than_one_after_the_other() {
    let house = TestApp::new().await;
    house.register("alice").await;
    let guesses: Vec<_> = (0..40)
        .map(|number| {
            let app = Arc::clone(&house.app);
            tokio::spawn(async move {
                let password = password(&format!("guess number {number}"));
                let login = Command::Login { username: name("alice"), password, profile: None };
                app.call(login, Actor::Nobody).await.map(drop)
            })
        })
        .collect();
    let mut counted = 0;
    for guess in guesses {
        counted += usize::from(guess.await.unwrap() == Err(Refusal::InvalidCredentials));
    }
    assert!(counted <= 6, "{counted}");
}

#[tokio::test]
async fn a_new_password_ends_all_other_sessions_and_renews_this_one() {
    let house = TestApp::new().await;
    let (first, second) = (house.join("alice").await, house.login("alice").await);
    let actor = house.actor(&first.token).await.unwrap();
    let to_set = |current: &str, new: &str| Command::ChangePassword {
        current: password(current),
        new: password(new),
    };
    let wrong = house.run(&actor, to_set("wrong password", "another horse battery")).await;
    assert_eq!(wrong.unwrap_err(), Refusal::InvalidCredentials);
    let short = house.run(&actor, to_set(PASSWORD, "short")).await.unwrap_err();
    assert_eq!(short.code(), "invalid-input");
    let renewed = house.run(&actor, to_set(PASSWORD, "another horse battery")).await.unwrap();
    let renewed = LoggedIn::of(renewed);
    assert!(house.is_dead(&first.token).await && house.is_dead(&second.token).await);
    assert_eq!(renewed.session.id, first.session.id);
    assert!(renewed.session.elevated_until.is_some());
    assert!(!house.is_dead(&renewed.token).await);
    assert!(house.login_as(&Actor::Nobody, "alice", PASSWORD).await.is_err());
    house.login_as(&Actor::Nobody, "alice", "another horse battery").await.ok().unwrap();
}

#[tokio::test]
async fn a_role_taken_away_is_gone_at_the_next_request() {
    let house = TestApp::new().await;
    let seat = house.join("alice").await;
    let admin = house.admin().await;
    let to_set = |names: &[&str]| {
        change("alice", UserChange { roles: Some(roles(names)), ..UserChange::default() })
    };
    house.run(&admin, to_set(&["abide:admin"])).await.unwrap();
    let alice = house.actor(&seat.token).await.unwrap();
    assert!(alice.is_admin());
    house.run(&admin, to_set(&[])).await.unwrap();
    assert!(!house.actor(&seat.token).await.unwrap().is_admin());
    // And for a command under way with the former roles.
    let late = house.run(&alice, disable("admin", true)).await.unwrap_err();
    assert_eq!(late.code(), "not-allowed");
}

#[tokio::test]
async fn disabling_and_deleting_end_the_sessions_in_the_same_commit() {
    let house = TestApp::new().await;
    let (alice, bob) = (house.join("alice").await, house.join("bob").await);
    let admin = house.admin().await;
    for (command, seat) in [
        (disable("alice", true), &alice),
        (Command::DeleteUser { username: name("bob"), if_match: None }, &bob),
    ] {
        assert!(!house.is_dead(&seat.token).await);
        let before = house.store.durable();
        house.run(&admin, command).await.unwrap();
        assert_eq!(house.store.durable(), before.next());
        assert!(house.is_dead(&seat.token).await);
    }
    // The name is never given out again.
    let again = house.run(&Actor::Nobody, register("bob", PASSWORD, None)).await.unwrap_err();
    assert_eq!(again, Refusal::UsernameTaken);
    assert_eq!(house.app.user(&admin, &name("bob")).unwrap_err(), Refusal::NotFound("user"));
    let deleted = house.login_as(&Actor::Nobody, "bob", PASSWORD).await;
    assert_eq!(deleted.err(), Some(Refusal::InvalidCredentials));
}

#[tokio::test]
async fn administration_is_for_administrators() {
    let house = TestApp::new().await;
    let seat = house.join("alice").await;
    let alice = house.actor(&seat.token).await.unwrap();
    let key = Command::CreateKey { name: "k".into(), roles: Vec::new(), on_behalf: Vec::new() };
    let delete = Command::DeleteUser { username: name("admin"), if_match: None };
    let link = Command::MakeResetLink { username: name("admin") };
    for actor in [&Actor::Nobody, &alice] {
        for command in [disable("alice", true), delete.clone(), key.clone(), link.clone()] {
            let refused = house.run(actor, command).await.unwrap_err();
            assert_eq!(refused.code(), "not-allowed");
        }
    }
    assert_eq!(house.count("abide.denied"), 8);
    let page = PageRequest { limit: 50, after: None };
    assert_eq!(house.app.users(&alice, page).unwrap_err().code(), "not-allowed");
    while house.count("abide.denied") < 9 {
        tokio::task::yield_now().await;
    }
    let set_up = house.run(&house.admin().await, Command::MakeSetUpLink).await.unwrap_err();
    assert_eq!(set_up.code(), "not-allowed");
}

#[tokio::test]
async fn a_user_is_changed_at_the_revision_that_was_seen() {
    let house = TestApp::new().await;
    house.register("alice").await;
    let admin = house.admin().await;
    let seen = house.app.user(&admin, &name("alice")).unwrap();
    let at = |revision| Command::ChangeUser {
        username: name("alice"),
        change: UserChange {
            attributes: Some(json!({"vip": true}).as_object().unwrap().clone()),
            ..UserChange::default()
        },
        if_match: Some(IfMatch(vec![revision])),
    };
    let Outcome::UserChanged(changed) = house.run(&admin, at(seen.revision)).await.unwrap() else {
        panic!("a user was changed")
    };
    assert_eq!(&*changed.attributes, r#"{"vip":true}"#);
    assert_eq!(house.app.user(&admin, &name("alice")).unwrap(), changed);
    let stale = house.run(&admin, at(seen.revision)).await.unwrap_err();
    assert_eq!(stale, Refusal::RevisionMismatch { current: changed.revision });
}

#[tokio::test]
async fn user_data_belongs_to_the_user_and_not_to_the_device() {
    let house = TestApp::new().await;
    let (first, second) = (house.join("alice").await, house.login("alice").await);
    let (phone, desk) =
        (house.actor(&first.token).await.unwrap(), house.actor(&second.token).await.unwrap());
    let change = DataChange::Merge(json!({"theme": "dark"}));
    house.run(&phone, Command::ChangeUserData { change, if_match: None }).await.unwrap();
    assert_eq!(&*house.app.user_data(&desk).unwrap().json, r#"{"theme":"dark"}"#);
    let revision = house.app.own_user(&desk).unwrap().revision;
    assert!(revision < house.app.user_data(&desk).unwrap().revision);
}

#[tokio::test]
async fn a_reset_link_sets_a_password_once_and_ends_the_sessions() {
    let house = TestApp::new().await;
    let seat = house.join("alice").await;
    let admin = house.admin().await;
    let make = Command::MakeResetLink { username: name("alice") };
    let link = |outcome| match outcome {
        Outcome::LinkMade { link, .. } => link,
        other => panic!("{other:?}"),
    };
    let first = link(house.run(&admin, make.clone()).await.unwrap());
    let second = link(house.run(&admin, make.clone()).await.unwrap());
    let to_set =
        |link: &Token, to: &str| Command::UseLink { link: link.clone(), password: password(to) };
    let void =
        house.run(&Actor::Nobody, to_set(&first, "another horse battery")).await.unwrap_err();
    assert_eq!(void, Refusal::LinkNotValid);
    let short = house.run(&Actor::Nobody, to_set(&second, "short")).await.unwrap_err();
    assert_eq!(short.code(), "invalid-input");
    house.run(&Actor::Nobody, to_set(&second, "another horse battery")).await.unwrap();
    assert!(house.is_dead(&seat.token).await);
    let again =
        house.run(&Actor::Nobody, to_set(&second, "third horse battery")).await.unwrap_err();
    assert_eq!(again, Refusal::LinkNotValid);
    house.login_as(&Actor::Nobody, "alice", "another horse battery").await.ok().unwrap();
    // A link is no session, and a session is no link.
    let third = link(house.run(&admin, make).await.unwrap());
    assert!(house.is_dead(&third).await);
    let wrong = house.run(&Actor::Nobody, to_set(&seat.token, "third horse battery")).await;
    assert_eq!(wrong.unwrap_err(), Refusal::LinkNotValid);
    house.advance(Span::from_hours(24)).await;
    let late = house.run(&Actor::Nobody, to_set(&third, "third horse battery")).await.unwrap_err();
    assert_eq!(late, Refusal::LinkNotValid);
}

#[tokio::test]
async fn a_service_makes_reset_links_only_for_those_it_may_act_for() {
    let house = TestApp::new().await;
    house.register("bob@shop").await;
    house.register("alice").await;
    let (_, shop) = house.key(&["*@shop", "admin"]).await;
    let make = |who: &str| Command::MakeResetLink { username: name(who) };
    house.run(&shop, make("bob@shop")).await.unwrap();
    for who in ["alice", "admin"] {
        assert_eq!(house.run(&shop, make(who)).await.unwrap_err().code(), "not-allowed");
    }
}

#[tokio::test]
async fn the_first_start_makes_a_link_until_there_is_an_administrator() {
    let store = Arc::new(crate::store::memory::Memory::new());
    let settings = || AppSettings { password_cost: CHEAP, ..AppSettings::default() };
    let open = |settings| {
        let store: Arc<dyn crate::store::Store> = store.clone();
        App::open(store, Secret::new([9; 32]), settings)
    };
    let lost = open(settings()).await.unwrap();
    assert!(lost.set_up.is_some());
    lost.app.close().await;
    let weak = AppSettings { admin_password: Some(password("short")), ..settings() };
    let Err(error) = open(weak).await else { panic!("a weak password") };
    assert!(error.to_string().starts_with("ABIDE_ADMIN_PASSWORD must have"), "{error}");
    let opened = open(settings()).await.unwrap();
    let link = opened.set_up.unwrap();
    let to_set = |link| Command::UseLink { link, password: password(PASSWORD) };
    opened.app.call(to_set(link), Actor::Nobody).await.unwrap();
    let late = opened.app.call(to_set(lost.set_up.unwrap()), Actor::Nobody).await.unwrap_err();
    assert_eq!(late, Refusal::LinkNotValid);
    opened.app.close().await;
    let again = open(settings()).await.unwrap();
    assert!(again.set_up.is_none());
    let login =
        Command::Login { username: name("admin"), password: password(PASSWORD), profile: None };
    let seat = LoggedIn::of(again.app.call(login, Actor::Nobody).await.unwrap());
    let access = again.app.authenticate(Some(&seat.token)).await.unwrap();
    assert!(access.actor.is_admin());
}

#[tokio::test]
async fn a_hash_of_less_cost_is_made_anew_at_login() {
    let house = TestApp::new().await;
    house.register("alice").await;
    house.app.close().await;
    let dearer = Cost { passes: 2, ..CHEAP };
    let settings = AppSettings { password_cost: dearer, rules: rules(), ..AppSettings::default() };
    let store: Arc<dyn Store> = house.store.clone();
    let opened = App::open(store, Secret::new([9; 32]), settings).await.unwrap();
    let house = TestApp { app: opened.app, store: Arc::clone(&house.store) };
    let seat = house.login("alice").await;
    assert_eq!(house.count("abide.user.password_rehashed"), 1);
    house.login("alice").await;
    assert_eq!(house.count("abide.user.password_rehashed"), 1);
    assert!(!house.is_dead(&seat.token).await);
}

#[tokio::test]
async fn a_revoked_key_is_dead_at_once_and_lists_show_no_secret() {
    let house = TestApp::new().await;
    let (token, shop) = house.key(&["*"]).await;
    let admin = house.admin().await;
    let keys = house.app.keys(&admin, PageRequest { limit: 50, after: None }).unwrap();
    assert_eq!(keys.items.len(), 1);
    assert!(!format!("{keys:?}").contains(token.reveal()));
    let revoke = Command::RevokeKey { key: keys.items[0].id, keep_sessions: false };
    assert_eq!(house.run(&shop, revoke.clone()).await.unwrap_err().code(), "not-allowed");
    house.run(&admin, revoke.clone()).await.unwrap();
    assert!(house.is_dead(&token).await);
    assert_eq!(house.run(&admin, revoke).await.unwrap_err().code(), "not-found");
    assert_eq!(house.run(&shop, Command::Touch).await.unwrap_err(), Refusal::Unauthenticated);
}

#[tokio::test]
async fn lists_go_on_where_they_stopped_newest_first() {
    let house = TestApp::new().await;
    for number in 0..7 {
        house.register(&format!("user{number}")).await;
    }
    let admin = house.admin().await;
    let (mut seen, mut after) = (Vec::new(), None);
    loop {
        let page = house.app.users(&admin, PageRequest { limit: 3, after }).unwrap();
        assert!(page.items.len() <= 3);
        seen.extend(page.items.iter().map(|user| user.id));
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(seen.len(), 8);
    assert!(seen.is_sorted_by(|newer, older| newer > older));
}

/// Commands that take a user's power away, in every way.
fn ways_down(who: &str) -> [Command; 4] {
    let roles = Some(roles(&["teller", "abide:auditor"]));
    [
        disable(who, true),
        change(who, UserChange { roles: roles.clone(), ..UserChange::default() }),
        change(who, UserChange { roles, disabled: Some(true), ..UserChange::default() }),
        Command::DeleteUser { username: name(who), if_match: None },
    ]
}

#[tokio::test]
async fn the_last_administrator_stays() {
    let house = TestApp::new().await;
    let admin = house.admin().await;
    for actor in [&admin, &Actor::System] {
        for way in ways_down("admin") {
            let refused = house.run(actor, way.clone()).await.err();
            assert_eq!(refused, Some(Refusal::LastAdministrator), "{way:?}");
        }
    }
    // A command that takes no power away is executed.
    let renamed = UserChange { name: Some(Some("Root".to_owned())), ..UserChange::default() };
    house.run(&admin, change("admin", renamed)).await.unwrap();
    let more = UserChange { roles: Some(roles(&["x", "abide:admin"])), ..UserChange::default() };
    house.run(&admin, change("admin", more.clone())).await.unwrap();

    // A user who is disabled, or who has no password, cannot take over.
    house.register("bob").await;
    house.run(&admin, change("bob", more.clone())).await.unwrap();
    house.run(&admin, disable("bob", true)).await.unwrap();
    let (_, key) = house.key(&["*"]).await;
    let carol = Command::OpenOnBehalf { username: name("carol"), create: true, profile: None };
    house.run(&key, carol).await.unwrap();
    house.run(&admin, change("carol", more)).await.unwrap();
    for way in ways_down("admin") {
        assert_eq!(house.run(&admin, way).await.err(), Some(Refusal::LastAdministrator));
    }

    // An administrator who can log in can take over.
    house.run(&admin, disable("bob", false)).await.unwrap();
    house.run(&admin, disable("admin", true)).await.unwrap();
    let bob = house.login("bob").await;
    let bob = house.actor(&bob.token).await.unwrap();
    for way in ways_down("bob") {
        assert_eq!(house.run(&bob, way).await.err(), Some(Refusal::LastAdministrator));
    }
}

#[tokio::test]
async fn a_store_without_counts_gets_them_when_it_is_opened() {
    let house = TestApp::new().await;
    let seats = [house.join("alice").await, house.login("alice").await];
    house.app.close().await;
    let counts = [Key::AdministratorCount, Key::SessionCount];
    let writes = counts.iter().map(|key| Write::delete(key.encode())).collect();
    drop(house.store.commit(Batch { writes, ..Batch::default() }).unwrap());

    let house = TestApp::on(house.store, rules()).await;
    let admin = house.admin().await;
    assert_eq!(house.app.live_sessions(), 3);
    for way in ways_down("admin") {
        assert_eq!(house.run(&admin, way).await.err(), Some(Refusal::LastAdministrator));
    }
    let alice = house.actor(&seats[0].token).await.unwrap();
    house.run(&alice, Command::Logout).await.unwrap();
    assert_eq!(house.app.live_sessions(), 2);
    house.advance(Span::from_hours(24)).await;
    assert_eq!(house.app.live_sessions(), 0);
}
