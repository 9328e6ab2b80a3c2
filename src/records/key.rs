//! Keys: one enum for everything that lies in the store, with prefixes that keep order.

use crate::engine::{Actor, Digest, Fact, StoredId, Timer, TimerOf};
use crate::types::{KeyId, SessionId, Time, TokenHash, UserId, Username};

/// Whose an Idempotency-Key is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scope {
    /// A user's, in whatever session.
    User(UserId),
    /// An API key's.
    Key(KeyId),
    /// An anonymous session's.
    Session(SessionId),
}

impl Scope {
    /// Whose a key is that this actor sends; `None`: nobody's.
    #[must_use]
    pub fn of(actor: &Actor) -> Option<Self> {
        match actor {
            Actor::Session(session) => Some(match &session.user {
                Some(user) => Self::User(user.id),
                None => Self::Session(session.session),
            }),
            Actor::Key(key) => Some(Self::Key(key.key.id)),
            Actor::Nobody | Actor::System => None,
        }
    }
}

/// Every key of the store. Keys are ordered as their bytes are; what belongs together has a prefix
/// in common, and no key is a prefix of another kind's.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Key {
    /// The clock's marks.
    Clock,
    /// [`Fact::User`].
    User(UserId),
    /// [`Fact::Name`].
    Name(Username),
    /// A part of [`Fact::UserData`].
    UserData(UserId, u8),
    /// [`Fact::UserSessions`].
    UserSessions(UserId),
    /// [`Fact::Session`].
    Session(SessionId),
    /// A part of [`Fact::SessionData`].
    SessionData(SessionId, u8),
    /// [`Fact::Token`].
    Token(TokenHash),
    /// [`Fact::Key`].
    ApiKey(KeyId),
    /// [`Fact::KeyCount`].
    KeyCount,
    /// A part of [`Fact::Stored`].
    Stored(StoredId, u8),
    /// [`Fact::Attempts`].
    Attempts(Digest),
    /// A timer, ordered by its due time.
    Timer(Timer),
    /// A part of the answer to an Idempotency-Key: whose, and a keyed hash of the key.
    Answer(Scope, Digest, u8),
    /// How many live Idempotency-Keys somebody has, by the hour.
    AnswerCount(Scope),
}

/// The first byte of each kind: what is written once never changes its meaning.
mod tag {
    pub(super) const CLOCK: u8 = 0x02;
    pub(super) const USER: u8 = 0x10;
    pub(super) const NAME: u8 = 0x11;
    pub(super) const USER_DATA: u8 = 0x12;
    pub(super) const USER_SESSIONS: u8 = 0x13;
    pub(super) const SESSION: u8 = 0x20;
    pub(super) const SESSION_DATA: u8 = 0x21;
    pub(super) const TOKEN: u8 = 0x22;
    pub(super) const API_KEY: u8 = 0x30;
    pub(super) const KEY_COUNT: u8 = 0x31;
    pub(super) const STORED: u8 = 0x38;
    pub(super) const ATTEMPTS: u8 = 0x40;
    pub(super) const TIMER: u8 = 0x50;
    pub(super) const ANSWER: u8 = 0x60;
    pub(super) const ANSWER_COUNT: u8 = 0x61;
}

impl Key {
    /// What all users' keys begin with.
    pub const USERS: &'static [u8] = &[tag::USER];
    /// What all sessions' keys begin with.
    pub const SESSIONS: &'static [u8] = &[tag::SESSION];
    /// What all API keys' keys begin with.
    pub const API_KEYS: &'static [u8] = &[tag::API_KEY];
    /// What all timers' keys begin with; in their order they fire.
    pub const TIMERS: &'static [u8] = &[tag::TIMER];
    /// What all answers' keys begin with.
    pub const ANSWERS: &'static [u8] = &[tag::ANSWER];
    /// What all answer counts' keys begin with.
    pub const ANSWER_COUNTS: &'static [u8] = &[tag::ANSWER_COUNT];
    /// What all failed logins' keys begin with.
    pub const ATTEMPTS: &'static [u8] = &[tag::ATTEMPTS];

    /// The key of a fact; of one in parts, the first part's.
    #[must_use]
    pub fn of(fact: &Fact) -> Self {
        Self::part(fact, 0)
    }

    /// The key of one part of a fact.
    #[must_use]
    pub(super) fn part(fact: &Fact, part: u8) -> Self {
        match fact {
            Fact::User(id) => Self::User(*id),
            Fact::Name(name) => Self::Name(name.clone()),
            Fact::UserData(id) => Self::UserData(*id, part),
            Fact::UserSessions(id) => Self::UserSessions(*id),
            Fact::Session(id) => Self::Session(*id),
            Fact::SessionData(id) => Self::SessionData(*id, part),
            Fact::Token(hash) => Self::Token(*hash),
            Fact::Key(id) => Self::ApiKey(*id),
            Fact::KeyCount => Self::KeyCount,
            Fact::Stored(id) => Self::Stored(*id, part),
            Fact::Attempts(digest) => Self::Attempts(*digest),
        }
    }

    /// The key's bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(64);
        match self {
            Self::Clock => out.push(tag::CLOCK),
            Self::User(id) => put_id(&mut out, tag::USER, id.bits()),
            Self::Name(name) => {
                out.push(tag::NAME);
                out.extend_from_slice(name.as_str().as_bytes());
            }
            Self::UserData(id, part) => {
                put_id(&mut out, tag::USER_DATA, id.bits());
                out.push(*part);
            }
            Self::UserSessions(id) => put_id(&mut out, tag::USER_SESSIONS, id.bits()),
            Self::Session(id) => put_id(&mut out, tag::SESSION, id.bits()),
            Self::SessionData(id, part) => {
                put_id(&mut out, tag::SESSION_DATA, id.bits());
                out.push(*part);
            }
            Self::Token(hash) => {
                out.push(tag::TOKEN);
                out.extend_from_slice(hash.bytes());
            }
            Self::ApiKey(id) => put_id(&mut out, tag::API_KEY, id.bits()),
            Self::KeyCount => out.push(tag::KEY_COUNT),
            Self::Stored(id, part) => {
                out.push(tag::STORED);
                put_stored(&mut out, id);
                out.push(*part);
            }
            Self::Attempts(digest) => {
                out.push(tag::ATTEMPTS);
                out.extend_from_slice(digest);
            }
            Self::Timer(timer) => put_timer(&mut out, timer),
            Self::Answer(scope, digest, part) => {
                out.push(tag::ANSWER);
                put_scope(&mut out, scope);
                out.extend_from_slice(digest);
                out.push(*part);
            }
            Self::AnswerCount(scope) => {
                out.push(tag::ANSWER_COUNT);
                put_scope(&mut out, scope);
            }
        }
        out
    }

    /// Reads a key's bytes; `None`: no key is written so.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (tag, rest) = bytes.split_first()?;
        let mut rest = Bytes(rest);
        let key = match *tag {
            tag::CLOCK => Self::Clock,
            tag::USER => Self::User(UserId::new(rest.id()?)),
            tag::NAME => {
                let name = std::str::from_utf8(std::mem::take(&mut rest.0)).ok()?;
                Self::Name(name.parse().ok()?)
            }
            tag::USER_DATA => Self::UserData(UserId::new(rest.id()?), rest.byte()?),
            tag::USER_SESSIONS => Self::UserSessions(UserId::new(rest.id()?)),
            tag::SESSION => Self::Session(SessionId::new(rest.id()?)),
            tag::SESSION_DATA => Self::SessionData(SessionId::new(rest.id()?), rest.byte()?),
            tag::TOKEN => Self::Token(TokenHash::new(rest.array()?)),
            tag::API_KEY => Self::ApiKey(KeyId::new(rest.id()?)),
            tag::KEY_COUNT => Self::KeyCount,
            tag::STORED => Self::Stored(rest.stored()?, rest.byte()?),
            tag::ATTEMPTS => Self::Attempts(rest.array()?),
            tag::TIMER => Self::Timer(rest.timer()?),
            tag::ANSWER => Self::Answer(rest.scope()?, rest.array()?, rest.byte()?),
            tag::ANSWER_COUNT => Self::AnswerCount(rest.scope()?),
            _ => return None,
        };
        rest.0.is_empty().then_some(key)
    }
}

fn put_id(out: &mut Vec<u8>, tag: u8, bits: u128) {
    out.push(tag);
    out.extend_from_slice(&bits.to_be_bytes());
}

fn put_stored(out: &mut Vec<u8>, id: &StoredId) {
    out.extend_from_slice(&id.key.bits().to_be_bytes());
    out.extend_from_slice(&id.digest);
}

fn put_scope(out: &mut Vec<u8>, scope: &Scope) {
    match scope {
        Scope::User(id) => put_id(out, 1, id.bits()),
        Scope::Key(id) => put_id(out, 2, id.bits()),
        Scope::Session(id) => put_id(out, 3, id.bits()),
    }
}

fn put_timer(out: &mut Vec<u8>, timer: &Timer) {
    out.push(tag::TIMER);
    out.extend_from_slice(&timer.due.ms().to_be_bytes());
    match &timer.what {
        TimerOf::Session(id) => put_id(out, 1, id.bits()),
        TimerOf::Stored(id) => {
            out.push(2);
            put_stored(out, id);
        }
        TimerOf::Link(hash) => {
            out.push(3);
            out.extend_from_slice(hash.bytes());
        }
    }
}

/// What is left of a key's bytes.
struct Bytes<'a>(&'a [u8]);

impl Bytes<'_> {
    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (array, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*array)
    }

    fn byte(&mut self) -> Option<u8> {
        self.array().map(|[byte]| byte)
    }

    fn id(&mut self) -> Option<u128> {
        self.array().map(u128::from_be_bytes)
    }

    fn stored(&mut self) -> Option<StoredId> {
        Some(StoredId { key: KeyId::new(self.id()?), digest: self.array()? })
    }

    fn scope(&mut self) -> Option<Scope> {
        Some(match self.byte()? {
            1 => Scope::User(UserId::new(self.id()?)),
            2 => Scope::Key(KeyId::new(self.id()?)),
            3 => Scope::Session(SessionId::new(self.id()?)),
            _ => return None,
        })
    }

    fn timer(&mut self) -> Option<Timer> {
        let due = Time::from_ms(u64::from_be_bytes(self.array()?));
        let what = match self.byte()? {
            1 => TimerOf::Session(SessionId::new(self.id()?)),
            2 => TimerOf::Stored(self.stored()?),
            3 => TimerOf::Link(TokenHash::new(self.array()?)),
            _ => return None,
        };
        Some(Timer { due, what })
    }
}
