//! The application on a store in memory, with a clock that the tests move.

#![allow(clippy::unwrap_used, clippy::panic, clippy::expect_used, reason = "tests")]

mod bounded;
mod calls;
mod codes;
mod downtime;
mod faults;
mod guests;
mod history;
mod idempotency;
mod large;
mod many;
mod memory;
mod migrating;
mod operators;
mod order;
mod people;
mod sessions;
mod stuck;
mod turns;
mod undoing;
mod users;
mod webhooks;
mod work;

use std::sync::Arc;

use bytes::Bytes;

use super::*;
use crate::engine::{Actor, Command, Outcome, Refusal, Rules, SessionView};
use crate::records::entry::EntryV1;
use crate::records::{Key, value};
use crate::store::memory::Memory;
use crate::store::{Batch, KeyRange, LogEntry, Order, Store, View, Write};
use crate::types::{Password, Revision, Role, Span, Time, Token, Username};

/// An application on a store in memory, and the tools of its callers.
struct TestApp {
    app: Arc<App>,
    store: Arc<Memory>,
}

const PASSWORD: &str = "correct horse battery";
const CHEAP: Cost = Cost { memory_kib: 8, passes: 1, lanes: 1 };

fn rules() -> Rules {
    Rules { registration_open: true, anonymous_open: true, ..Rules::default() }
}

fn password(text: &str) -> Password {
    Password::new(text.to_owned())
}

fn name(text: &str) -> Username {
    text.parse().unwrap()
}

/// The application on a store, with the machine's clock or one that is stopped at a time.
async fn opened(store: Arc<dyn Store>, rules: Rules, stands_at: Option<Time>) -> RunningApp {
    let settings = AppSettings {
        rules,
        dev: true,
        password_cost: CHEAP,
        admin_password: Some(password(PASSWORD)),
        stands_at,
        ..AppSettings::default()
    };
    App::open(store, Secret::new([9; 32]), settings).await.unwrap()
}

impl TestApp {
    async fn new() -> Self {
        Self::with(rules()).await
    }

    async fn with(rules: Rules) -> Self {
        Self::on(Arc::new(Memory::new()), rules).await
    }

    async fn on(store: Arc<Memory>, rules: Rules) -> Self {
        let opened = opened(store.clone(), rules, None).await;
        assert!(opened.set_up.is_none());
        Self { app: opened.app, store }
    }

    /// One whose clock is stopped at a time.
    async fn on_time(store: Arc<Memory>, at: Time) -> Self {
        let opened = opened(store.clone(), rules(), Some(at)).await;
        Self { app: opened.app, store }
    }

    async fn run(&self, actor: &Actor, command: Command) -> Result<Outcome, Refusal> {
        self.app.call(command, actor.clone()).await
    }

    async fn register(&self, who: &str) {
        let command = Command::Register {
            username: name(who),
            password: password(PASSWORD),
            name: None,
            roles: None,
        };
        self.run(&Actor::Nobody, command).await.unwrap();
    }

    async fn login_as(&self, actor: &Actor, who: &str, with: &str) -> Result<LoggedIn, Refusal> {
        let command =
            Command::Login { username: name(who), password: password(with), profile: None };
        Ok(LoggedIn::of(self.run(actor, command).await?))
    }

    async fn login(&self, who: &str) -> LoggedIn {
        self.login_as(&Actor::Nobody, who, PASSWORD).await.unwrap()
    }

    async fn join(&self, who: &str) -> LoggedIn {
        self.register(who).await;
        self.login(who).await
    }

    async fn actor(&self, token: &Token) -> Result<Actor, Refusal> {
        self.app.authenticate(Some(token)).await.map(|access| access.actor)
    }

    async fn is_dead(&self, token: &Token) -> bool {
        self.app.authenticate(Some(token)).await == Err(Refusal::Unauthenticated)
    }

    async fn admin(&self) -> Actor {
        let seat = self.login("admin").await;
        self.actor(&seat.token).await.unwrap()
    }

    async fn operator(&self) -> Actor {
        let command = Command::Register {
            username: name("olga"),
            password: password(PASSWORD),
            name: None,
            roles: Some(roles(&["abide:operator"])),
        };
        self.run(&self.admin().await, command).await.unwrap();
        let seat = self.login("olga").await;
        self.actor(&seat.token).await.unwrap()
    }

    async fn key(&self, on_behalf: &[&str]) -> (Token, Actor) {
        let admin = self.admin().await;
        let command = Command::CreateKey {
            name: "shop".to_owned(),
            roles: Vec::new(),
            on_behalf: on_behalf.iter().map(|pattern| pattern.parse().unwrap()).collect(),
        };
        let Outcome::KeyCreated { token, .. } = self.run(&admin, command).await.unwrap() else {
            panic!("a key was created")
        };
        let actor = self.actor(&token).await.unwrap();
        (token, actor)
    }

    async fn advance(&self, by: Span) {
        self.app.advance_clock(&Actor::System, by).await.unwrap();
    }

    /// Lets time pass, a millisecond at a time, until a condition holds: the amount of work in one
    /// slice depends on the machine.
    async fn advance_until(&self, holds: impl Fn() -> bool) {
        for _ in 0..1000 {
            if holds() {
                return;
            }
            self.advance(Span::from_ms(1)).await;
        }
        panic!("the condition does not come to hold");
    }

    /// Waits until the executor has done everything that it was sent, and each caller that can has
    /// gone on: a commit after all of it is staged, and every task has had its turn many times.
    async fn quiet(&self) {
        let before = self.newest_session();
        let (app, open) = (Arc::clone(&self.app), Command::OpenAnonymous { profile: None });
        let last = tokio::spawn(async move { app.call(open, Actor::Nobody).await.map(drop) });
        while self.newest_session() == before {
            tokio::task::yield_now().await;
        }
        for _ in 0..1000 {
            tokio::task::yield_now().await;
        }
        drop(last);
    }

    /// The newest session, durable or not.
    fn newest_session(&self) -> Option<Bytes> {
        let range = KeyRange::prefix(Key::SESSIONS);
        let page = self.store.scan(View::Staged, &range, Order::Descending, 200).unwrap();
        page.rows.iter().max_by_key(|row| row.revision).map(|row| row.key.clone())
    }

    /// The types of all events so far.
    fn events(&self) -> Vec<String> {
        let entries = self.store.read_log(Revision::ZERO, usize::MAX).unwrap();
        entries.iter().flat_map(|entry| events_of(entry).events).map(|event| event.kind).collect()
    }

    fn count(&self, kind: &str) -> usize {
        self.events().iter().filter(|event| *event == kind).count()
    }
}

fn events_of(entry: &LogEntry) -> EntryV1 {
    EntryV1::decode(&entry.entry).unwrap_or_default()
}

/// A session and the token to it.
struct LoggedIn {
    session: SessionView,
    token: Token,
}

impl LoggedIn {
    fn of(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Session { session, token, .. } => Self { session, token },
            other => panic!("no session: {other:?}"),
        }
    }
}

fn roles(names: &[&str]) -> Vec<Role> {
    names.iter().map(|name| name.parse().unwrap()).collect()
}
