//! Random lives of random people: whatever they do, the records are consistent, and the events
//! alone reproduce them.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::types::{
    KeyId, Password, Revision, Role, SessionId, Span, Time, Token, TokenHash, UserId, Username,
};

/// Number of users, and so of names, that take part.
const PEOPLE: u8 = 3;
/// Maximum number of sessions of one user: small, so that tests reach it.
const SESSIONS_MAX: usize = 3;

/// A random action; numbers choose among what exists.
#[derive(Clone, Debug)]
enum Deed {
    Register(u8),
    Login { who: u8, with: Option<u8>, right: bool },
    Anonymous,
    OnBehalf { key: u8, who: u8, create: bool },
    Touch(u8),
    Logout(u8),
    Rotate(u8),
    Elevate { session: u8, right: bool },
    EndOne { session: u8, other: u8 },
    EndAll { session: u8, except: bool },
    Data { session: u8, value: u8, users: bool },
    ChangePassword(u8),
    Disable { who: u8, disabled: bool },
    Empower { who: u8, admin: bool },
    Facts { key: u8, session: u8, value: u8 },
    Delete(u8),
    Link(u8),
    UseLink(u8),
    CreateKey,
    RevokeKey(u8),
    Put { key: u8, name: u8, user: Option<u8> },
    TouchStored { key: u8, name: u8 },
    DeleteStored { key: u8, name: u8 },
    Wait(u32),
}

fn deed() -> impl Strategy<Value = Deed> {
    let n = any::<u8>;
    let who = || 0..PEOPLE;
    prop_oneof![
        3 => who().prop_map(Deed::Register),
        6 => (who(), proptest::option::of(n()), proptest::bool::weighted(0.8))
            .prop_map(|(who, with, right)| Deed::Login { who, with, right }),
        2 => Just(Deed::Anonymous),
        2 => (n(), who(), any::<bool>())
            .prop_map(|(key, who, create)| Deed::OnBehalf { key, who, create }),
        2 => n().prop_map(Deed::Touch),
        1 => n().prop_map(Deed::Logout),
        2 => n().prop_map(Deed::Rotate),
        1 => (n(), any::<bool>()).prop_map(|(session, right)| Deed::Elevate { session, right }),
        1 => (n(), n()).prop_map(|(session, other)| Deed::EndOne { session, other }),
        1 => (n(), any::<bool>()).prop_map(|(session, except)| Deed::EndAll { session, except }),
        3 => (n(), n(), any::<bool>())
            .prop_map(|(session, value, users)| Deed::Data { session, value, users }),
        1 => n().prop_map(Deed::ChangePassword),
        1 => (who(), any::<bool>()).prop_map(|(who, disabled)| Deed::Disable { who, disabled }),
        2 => (who(), proptest::bool::weighted(0.6))
            .prop_map(|(who, admin)| Deed::Empower { who, admin }),
        1 => (n(), n(), n())
            .prop_map(|(key, session, value)| Deed::Facts { key, session, value }),
        1 => who().prop_map(Deed::Delete),
        1 => who().prop_map(Deed::Link),
        1 => n().prop_map(Deed::UseLink),
        1 => Just(Deed::CreateKey),
        1 => n().prop_map(Deed::RevokeKey),
        2 => (n(), 0..3_u8, proptest::option::of(who()))
            .prop_map(|(key, name, user)| Deed::Put { key, name, user }),
        1 => (n(), 0..3_u8).prop_map(|(key, name)| Deed::TouchStored { key, name }),
        1 => (n(), 0..3_u8).prop_map(|(key, name)| Deed::DeleteStored { key, name }),
        4 => (0..3_600_000_u32).prop_map(Deed::Wait),
    ]
}

/// All records and timers.
#[derive(Clone, Default, PartialEq, Debug)]
struct World {
    records: BTreeMap<RecordKey, (Arc<Record>, Revision)>,
    timers: BTreeSet<Timer>,
}

impl World {
    fn load(&self, facts: &mut ReadSet, fact: RecordKey) {
        let record = self.records.get(&fact).cloned();
        facts.add(fact, record);
    }

    fn take(&mut self, changes: &Changes, revision: Revision) {
        for (fact, record) in &changes.records {
            match record {
                Some(record) => {
                    self.records.insert(fact.clone(), (Arc::new(record.clone()), revision));
                }
                None => {
                    self.records.remove(fact);
                }
            }
        }
        for (timer, armed) in &changes.timers {
            if *armed {
                self.timers.insert(timer.clone());
            } else {
                self.timers.remove(timer);
            }
        }
    }

    /// Applies the events alone.
    fn replay(&mut self, events: &[Event], rules: &Rules, context: DecisionContext) {
        let mut facts = ReadSet::default();
        let changes = loop {
            let mut unit = UnitOfWork::new(&facts, rules, context);
            match events.iter().try_for_each(|event| unit.emit(event.clone())) {
                Ok(()) => break unit.into_changes(),
                Err(DecideError::MissingRecord(fact)) => self.load(&mut facts, fact),
                Err(DecideError::Refused(refusal)) => panic!("an event was refused: {refusal}"),
            }
        };
        self.take(&changes, context.revision);
    }

    fn sessions(&self) -> Vec<Session> {
        let sessions = self.records.values().filter_map(|(record, _)| match &**record {
            Record::Session(session) => Some(session.clone()),
            _ => None,
        });
        sessions.collect()
    }

    fn administrators(&self) -> usize {
        let users = self.records.values();
        users
            .filter(|(record, _)| matches!(&**record, Record::User(u) if u.is_administrator()))
            .count()
    }

    fn get(&self, fact: &RecordKey) -> Option<&Record> {
        self.records.get(fact).map(|(record, _)| &**record)
    }

    /// Checks the invariants of every revision.
    fn check(&self) {
        let mut expected = BTreeSet::new();
        let (mut keys, mut administrators, mut sessions) = (0, 0, 0);
        for (fact, (record, _)) in &self.records {
            match (fact, &**record) {
                (RecordKey::Session(id), Record::Session(session)) => {
                    sessions += 1;
                    let opens = self.get(&RecordKey::Token(session.token));
                    assert_eq!(opens, Some(&Record::Opens(Opens::Session(*id))));
                    expected.insert(Timer { due: session.timer_at, what: TimerOf::Session(*id) });
                    assert!(session.timer_at <= session.idle_expires_at(), "a timer too late");
                    if let Some(user) = &session.user {
                        let Some(Record::User(user)) = self.get(&RecordKey::User(user.id)) else {
                            panic!("a session of nobody")
                        };
                        assert!(!user.disabled, "a session of a disabled user");
                        let Some(Record::Sessions(list)) =
                            self.get(&RecordKey::UserSessions(user.id))
                        else {
                            panic!("a session that its user does not know")
                        };
                        assert_eq!(list.iter().filter(|other| *other == id).count(), 1);
                    }
                }
                (RecordKey::UserSessions(user), Record::Sessions(list)) => {
                    assert!((1..=SESSIONS_MAX).contains(&list.len()), "{} sessions", list.len());
                    for id in list {
                        let Some(Record::Session(session)) = self.get(&RecordKey::Session(*id))
                        else {
                            panic!("a list with a session that has ended")
                        };
                        assert_eq!(session.user.as_ref().map(|user| user.id), Some(*user));
                    }
                }
                (RecordKey::SessionData(id), _) => {
                    let Some(Record::Session(session)) = self.get(&RecordKey::Session(*id)) else {
                        panic!("data of a session that has ended")
                    };
                    assert!(session.has_data);
                }
                (RecordKey::UserData(id), _) => assert!(self.get(&RecordKey::User(*id)).is_some()),
                (RecordKey::Token(hash), Record::Opens(Opens::Session(id))) => {
                    let session = self.get(&RecordKey::Session(*id));
                    assert!(matches!(session, Some(Record::Session(s)) if s.token == *hash));
                }
                (RecordKey::Token(hash), Record::Opens(Opens::Key(id))) => {
                    let key = self.get(&RecordKey::Key(*id));
                    assert!(matches!(key, Some(Record::Key(key)) if key.token == *hash));
                }
                (RecordKey::Token(hash), Record::Opens(Opens::Link(link))) => {
                    expected.insert(Timer { due: link.expires_at, what: TimerOf::Link(*hash) });
                    let user = link.user.and_then(|user| self.get(&RecordKey::User(user)));
                    assert!(matches!(user, Some(Record::User(user)) if user.link == Some(*hash)));
                }
                (RecordKey::User(id), Record::User(user)) => {
                    administrators += u64::from(user.is_administrator());
                    let holder = self.get(&RecordKey::Name(user.username.clone()));
                    assert_eq!(holder, Some(&Record::Name(Holder::User(*id))));
                }
                (RecordKey::Name(_), Record::Name(Holder::User(id))) => {
                    assert!(self.get(&RecordKey::User(*id)).is_some());
                }
                (RecordKey::Key(_), _) => keys += 1,
                (RecordKey::Stored(id), Record::Stored(stored)) => {
                    expected.insert(Timer { due: stored.timer_at, what: TimerOf::Stored(*id) });
                    assert!(stored.timer_at <= stored.idle_expires_at());
                }
                _ => {}
            }
        }
        assert_eq!(self.timers, expected, "timers of what is there, and no others");
        for (fact, found) in [
            (RecordKey::KeyCount, keys),
            (RecordKey::AdministratorCount, administrators),
            (RecordKey::SessionCount, sessions),
        ] {
            let count = match self.get(&fact) {
                Some(Record::Count(count)) => *count,
                _ => 0,
            };
            assert_eq!(count, found, "{fact:?}");
        }
    }
}

/// A world in which time passes and people act.
struct Life {
    world: World,
    replayed: World,
    rules: Rules,
    now: Time,
    revision: Revision,
    minted: u128,
    /// Links that were handed out.
    links: Vec<Token>,
    /// Tokens that were replaced or whose session ended: none may come back.
    dead: BTreeSet<TokenHash>,
}

impl Life {
    fn new() -> Self {
        let rules = Rules {
            registration_open: true,
            anonymous_open: true,
            sessions_per_user_max: SESSIONS_MAX,
            ..Rules::default()
        };
        Self {
            world: World::default(),
            replayed: World::default(),
            rules,
            now: Time::from_ms(1_700_000_000_000),
            revision: Revision::ZERO,
            minted: 0,
            links: Vec::new(),
            dead: BTreeSet::new(),
        }
    }

    fn context(&self) -> DecisionContext {
        DecisionContext { now: self.now, revision: self.revision.next(), seed: 7, split_factor: 1 }
    }

    fn take(&mut self, changes: &Changes) {
        if changes.events.is_empty() {
            assert!(changes.records.is_empty(), "a change without an event");
            return;
        }
        let context = self.context();
        for (fact, record) in &changes.records {
            if let RecordKey::Token(hash) = fact {
                assert!(record.is_none() || !self.dead.contains(hash), "a token came back");
                if record.is_none() {
                    self.dead.insert(*hash);
                }
            }
        }
        self.world.take(changes, context.revision);
        self.replayed.replay(&changes.events, &self.rules, context);
        self.revision = context.revision;
    }

    fn wait(&mut self, by: Span) {
        self.now = self.now.plus(by);
        loop {
            let due: Vec<Timer> = self
                .world
                .timers
                .iter()
                .take_while(|t| t.due <= self.now)
                .take(2)
                .cloned()
                .collect();
            if due.is_empty() {
                return;
            }
            let mut facts = ReadSet::default();
            let changes = loop {
                match decide_timers(&facts, &self.rules, self.context(), &due, self.now) {
                    Ok(changes) => break changes,
                    Err(needs) => {
                        for fact in needs {
                            self.world.load(&mut facts, fact);
                        }
                    }
                }
            };
            self.take(&changes);
        }
    }

    fn inputs(&mut self, command: &Command, stored: Digest) -> CommandInputs {
        self.minted += 1;
        let mut random = [0; 32];
        random[..16].copy_from_slice(&self.minted.to_be_bytes());
        let account = match command {
            Command::Login { username, .. } => u8::try_from(username.as_str().len()).unwrap(),
            _ => 0,
        };
        CommandInputs {
            password: PasswordEvidence::Unchecked,
            password_hash: Some("hash".into()),
            session: SessionId::new(self.minted),
            user: UserId::new(self.minted),
            key: KeyId::new(self.minted),
            seed: 7,
            token: command.hands_out().map(|kind| Token::new(kind, &random)),
            account: [account; 32],
            origin: None,
            stored,
            address: None,
            agent: None,
            checked: None,
            preconditions: None,
        }
    }

    fn run(&mut self, actor: &Actor, command: &Command, right: bool, stored: u8) {
        let mut inputs = self.inputs(command, [stored; 32]);
        let user = match command {
            Command::Login { username, .. } => {
                match self.world.get(&RecordKey::Name(username.clone())) {
                    Some(Record::Name(Holder::User(id))) => Some(*id),
                    _ => None,
                }
            }
            _ => actor.user().map(|user| user.id),
        };
        if let Some(Record::User(user)) = user.and_then(|id| self.world.get(&RecordKey::User(id))) {
            let matched = right && user.password.is_some();
            let (user, credential) = (Some(user.id), user.credential);
            inputs.password =
                PasswordEvidence::Checked(PasswordCheck { user, credential, matched });
            if !matches!(command, Command::ChangePassword { .. }) {
                inputs.password_hash = None;
            }
        }
        let mut facts = ReadSet::default();
        let decision = loop {
            match decide(&facts, &self.rules, self.context(), actor, command, &inputs) {
                Ok(decision) => break decision,
                Err(fact) => self.world.load(&mut facts, fact),
            }
        };
        match &decision.result {
            Ok(Outcome::LinkMade { link, .. }) => self.links.push(link.clone()),
            Ok(_) => {}
            Err(_) => {
                let only_audit = |event: &Event| {
                    matches!(
                        event,
                        Event::Attempt(AttemptEvent::LoginFailed { .. }) | Event::Denied { .. }
                    )
                };
                assert!(decision.changes.events.iter().all(only_audit), "a refusal that changes");
            }
        }
        self.take(&decision.changes);
    }

    fn bearer(&self, number: u8) -> Actor {
        let sessions = self.world.sessions();
        match sessions.get(usize::from(number) % sessions.len().max(1)) {
            Some(session) => session.actor([].into()),
            None => Actor::Nobody,
        }
    }

    fn service(&self, number: u8) -> Actor {
        let keys: Vec<_> = self
            .world
            .records
            .values()
            .filter_map(|(record, _)| match &**record {
                Record::Key(key) => Some(key.actor()),
                _ => None,
            })
            .collect();
        keys.get(usize::from(number) % keys.len().max(1)).cloned().unwrap_or(Actor::Nobody)
    }

    fn do_it(&mut self, deed: &Deed) {
        let password = || Password::new("correct horse battery".to_owned());
        let (mut right, mut stored) = (true, 0);
        let (actor, command) = match *deed {
            Deed::Wait(ms) => return self.wait(Span::from_ms(ms.into())),
            Deed::Register(who) => {
                let (username, roles) = (person(who), None);
                let password = password();
                (Actor::Nobody, Command::Register { username, password, name: None, roles })
            }
            Deed::Login { who, with, right: proves } => {
                right = proves;
                let actor = with.map_or(Actor::Nobody, |number| self.bearer(number));
                let (username, password) = (person(who), password());
                (actor, Command::Login { username, password, profile: None })
            }
            Deed::Anonymous => (Actor::Nobody, Command::OpenAnonymous { profile: None }),
            Deed::OnBehalf { key, who, create } => {
                let command =
                    Command::OpenOnBehalf { username: person(who), create, profile: None };
                (self.service(key), command)
            }
            Deed::Touch(session) => (self.bearer(session), Command::Touch),
            Deed::Logout(session) => (self.bearer(session), Command::Logout),
            Deed::Rotate(session) => (self.bearer(session), Command::Rotate),
            Deed::Elevate { session, right: proves } => {
                right = proves;
                (self.bearer(session), Command::Elevate { password: password() })
            }
            Deed::EndOne { session, other } => {
                let other = self.bearer(other).session().unwrap_or(SessionId::new(0));
                (self.bearer(session), Command::EndSession { session: other })
            }
            Deed::EndAll { session, except } => {
                let command = Command::EndSessions { username: None, except_current: except };
                (self.bearer(session), command)
            }
            Deed::Data { session, value, users } => {
                let change = DataChange::Merge(json!({ "value": value }));
                let command = if users {
                    Command::ChangeUserData { change, if_match: None }
                } else {
                    Command::ChangeSessionData { change, if_match: None }
                };
                (self.bearer(session), command)
            }
            Deed::ChangePassword(session) => {
                let command = Command::ChangePassword { current: password(), new: password() };
                (self.bearer(session), command)
            }
            Deed::Disable { who, disabled } => {
                let change = UserChange { disabled: Some(disabled), ..UserChange::default() };
                let username = person(who);
                (Actor::System, Command::ChangeUser { username, change, if_match: None })
            }
            Deed::Empower { who, admin } => {
                let role = if admin { Role::ADMIN } else { "teller" };
                let roles = Some(vec![role.parse::<Role>().unwrap()]);
                let change = UserChange { roles, ..UserChange::default() };
                let username = person(who);
                (Actor::System, Command::ChangeUser { username, change, if_match: None })
            }
            Deed::Facts { key, session, value } => {
                let Some(session) = self.bearer(session).session() else { return };
                let patch = json!({ "value": value }).as_object().cloned().unwrap_or_default();
                (self.service(key), Command::ChangeFacts { session, patch })
            }
            Deed::Delete(who) => {
                (Actor::System, Command::DeleteUser { username: person(who), if_match: None })
            }
            Deed::Link(who) => (Actor::System, Command::MakeResetLink { username: person(who) }),
            Deed::UseLink(number) => {
                let index = usize::from(number) % self.links.len().max(1);
                let Some(link) = self.links.get(index).cloned() else { return };
                (Actor::Nobody, Command::UseLink { link, password: password() })
            }
            Deed::CreateKey => {
                let on_behalf = vec!["*".parse().unwrap()];
                let (name, roles) = ("key".to_owned(), Vec::new());
                (Actor::System, Command::CreateKey { name, roles, on_behalf })
            }
            Deed::RevokeKey(number) => {
                let Actor::Key(key) = self.service(number) else { return };
                (Actor::System, Command::RevokeKey { key: key.key.id, keep_sessions: number < 128 })
            }
            Deed::Put { key, name, user } => {
                stored = name;
                let data = serde_json::Map::new();
                let (user, idle) = (user.map(person), None);
                (self.service(key), Command::PutStored { key: framework_key(), data, idle, user })
            }
            Deed::TouchStored { key, name } => {
                stored = name;
                (self.service(key), Command::TouchStored { key: framework_key() })
            }
            Deed::DeleteStored { key, name } => {
                stored = name;
                (self.service(key), Command::DeleteStored { key: framework_key() })
            }
        };
        self.run(&actor, &command, right, stored);
    }
}

fn person(number: u8) -> Username {
    "x".repeat(usize::from(number) + 1).parse().unwrap()
}

fn framework_key() -> StoredKey {
    StoredKey::new("key").unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn records_fit_together_and_events_tell_how_they_came_to_be(
        deeds in proptest::collection::vec(deed(), 1..120),
    ) {
        let mut life = Life::new();
        let mut was_administrated = false;
        for deed in &deeds {
            life.do_it(deed);
            life.world.check();
            let is_administrated = life.world.administrators() > 0;
            prop_assert!(is_administrated || !was_administrated, "the last one went");
            was_administrated = is_administrated;
        }
        prop_assert_eq!(&life.replayed, &life.world);
        // After this time everything that ends by itself has ended.
        life.wait(Span::from_hours(24 * 400));
        life.world.check();
        prop_assert!(life.world.timers.is_empty());
        prop_assert!(life.world.sessions().is_empty());
        prop_assert_eq!(&life.replayed, &life.world);
    }
}
