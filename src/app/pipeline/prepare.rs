//! What a command needs before its turn: randomness, hashes, and the checking of passwords.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use crate::app::App;
use crate::app::api::ClientInfo;
use crate::app::random;
use crate::engine::{
    Actor, CheckedInput, Command, CommandInputs, DecisionContext, Digest, Holder, PasswordCheck,
    ReadSet, Record, RecordKey, Refusal, Rules, StoredKey, User, decide,
};
use crate::records::{Definitions, ReadError, read_fact};
use crate::store::{Store, View};
use crate::types::{KeyId, Password, SessionId, Time, Token, UserId, Username};

/// Random bytes for three ids, and the seed of the ids of what it creates.
const RANDOM_BYTES: usize = 3 * 10 + 16;

/// An input that takes more memory than this is checked before the command's turn: it may be
/// some hundred values, each of which a schema may look at many times.
const CHECKED_BEFORE_BYTES: usize = 16 * 1024;

impl App {
    /// The evidence for a command. Where it would be refused for another reason than a wrong
    /// password, no password is checked or hashed: that work is for those who may ask for it.
    ///
    /// # Errors
    /// [`Refusal::Busy`] when the line for hashing is full, [`Refusal::Stopping`].
    pub(in crate::app) async fn prepare(
        &self,
        command: &Command,
        actor: &Actor,
        client: &ClientInfo,
    ) -> Result<CommandInputs, Refusal> {
        let inputs = self.mint(command, actor, client)?;
        if command.hashes() {
            // Boxed: it is seldom, and its room would be made and moved for every command.
            return Box::pin(self.hash(command, actor, inputs)).await;
        }
        Ok(inputs)
    }

    async fn hash(
        &self,
        command: &Command,
        actor: &Actor,
        mut inputs: CommandInputs,
    ) -> Result<CommandInputs, Refusal> {
        match command {
            Command::Login { username, password, .. } => {
                let user = self.guard(self.user_by_name(username))?;
                let password_check =
                    self.prove(command, actor, &mut inputs, user.as_ref(), password).await?;
                // A disabled user's hash is checked like everybody's; the answer is no.
                self.rehash(&mut inputs, password_check, password).await?;
            }
            Command::Elevate { password } => {
                let user = self.guard(self.own_record(actor))?;
                let password_check =
                    self.prove(command, actor, &mut inputs, user.as_ref(), password).await?;
                self.rehash(&mut inputs, password_check, password).await?;
            }
            Command::ChangePassword { current, new } => {
                let user = self.guard(self.own_record(actor))?;
                inputs.hashed = Some("".into());
                let password_check =
                    self.prove(command, actor, &mut inputs, user.as_ref(), current).await?;
                inputs.hashed = None;
                if password_check.is_some_and(|(matched, _)| matched) {
                    inputs.hashed = Some(self.passwords.hash(new.clone()).await?);
                }
            }
            Command::Register { password, .. } | Command::UseLink { password, .. } => {
                inputs.hashed = Some("".into());
                let would_do = self.would_do(command, actor, &inputs)?;
                inputs.hashed = None;
                if would_do {
                    inputs.hashed = Some(self.passwords.hash(password.clone()).await?);
                }
            }
            _ => {}
        }
        Ok(inputs)
    }

    /// Checks a password, if the command would be done with the right one. Says whether it
    /// matched and whether its hash is weak; `None`: nothing was checked.
    async fn prove(
        &self,
        command: &Command,
        actor: &Actor,
        inputs: &mut CommandInputs,
        user: Option<&User>,
        password: &Password,
    ) -> Result<Option<(bool, bool)>, Refusal> {
        let password_check = |matched| PasswordCheck {
            user: user.map(|user| user.id),
            credential: user.map_or(0, |user| user.credential),
            matched,
        };
        inputs.verdict = Some(password_check(true));
        let would_do = self.would_do(command, actor, inputs)?;
        inputs.verdict = None;
        if !would_do {
            return Ok(None);
        }
        // No password is longer; what is longer need not be hashed to be wrong, and its work
        // would not be the same.
        let chars = password.reveal().chars().take(Rules::PASSWORD_CHARS_MAX + 1).count();
        let password = if chars > Rules::PASSWORD_CHARS_MAX {
            Password::new(String::new())
        } else {
            password.clone()
        };
        let phc = user.and_then(|user| user.password.clone());
        let checked = self.passwords.check(password, phc).await?;
        inputs.verdict = Some(password_check(checked.matched));
        Ok(Some((checked.matched, checked.is_weak)))
    }

    /// Hashes a password that was just proved again, if its hash is of less cost than today's.
    async fn rehash(
        &self,
        inputs: &mut CommandInputs,
        password_check: Option<(bool, bool)>,
        password: &Password,
    ) -> Result<(), Refusal> {
        if password_check == Some((true, true)) {
            inputs.hashed = Some(self.passwords.hash(password.clone()).await?);
        }
        Ok(())
    }

    /// Whether checking the input of a command takes longer than it should take its turn.
    pub(in crate::app) fn is_long_to_check(command: &Command) -> bool {
        matches!(command, Command::Start(_) | Command::Submit { .. })
            && super::admission::weight(command) > CHECKED_BEFORE_BYTES
    }

    /// Whether a command, decided on what is durable now, would be done, or be refused only for a
    /// wrong password.
    fn would_do(
        &self,
        command: &Command,
        actor: &Actor,
        inputs: &CommandInputs,
    ) -> Result<bool, Refusal> {
        let seed = inputs.seed;
        let revision = self.store.durable().next();
        let context = DecisionContext { now: self.clock.now(), revision, seed, split_factor: 1 };
        let mut facts = ReadSet::default();
        loop {
            match decide(&facts, &self.rules, context, actor, command, inputs) {
                Ok(decision) => {
                    return Ok(matches!(decision.result, Ok(_) | Err(Refusal::InvalidCredentials)));
                }
                Err(record_key) => {
                    let loaded = read_fact(&*self.store, View::Committed, &record_key);
                    facts.add(record_key, self.guard(loaded)?);
                }
            }
        }
    }

    fn user_by_name(&self, username: &Username) -> Result<Option<User>, ReadError> {
        let holder = read_fact(&*self.store, View::Committed, &RecordKey::Name(username.clone()))?;
        match holder.as_ref().map(|(record, _)| &**record) {
            Some(Record::Name(Holder::User(id))) => self.user_by_id(*id),
            _ => Ok(None),
        }
    }

    pub(in crate::app) fn user_by_id(&self, id: UserId) -> Result<Option<User>, ReadError> {
        let user = read_fact(&*self.store, View::Committed, &RecordKey::User(id))?;
        Ok(match user.as_ref().map(|(record, _)| &**record) {
            Some(Record::User(user)) => Some(user.clone()),
            _ => None,
        })
    }

    fn own_record(&self, actor: &Actor) -> Result<Option<User>, ReadError> {
        match actor.user() {
            Some(user) => self.user_by_id(user.id),
            None => Ok(None),
        }
    }

    pub(in crate::app) fn mint(
        &self,
        command: &Command,
        actor: &Actor,
        client: &ClientInfo,
    ) -> Result<CommandInputs, Refusal> {
        let failed = |error: getrandom::Error| {
            tracing::error!(%error, "the system gives no random bytes");
            Refusal::Stopping
        };
        let random: [u8; RANDOM_BYTES] = random::bytes().map_err(failed)?;
        let (seed, ids) = random.split_first_chunk::<16>().ok_or(Refusal::Stopping)?;
        // A secret is the system's own, and lies nowhere before it is needed.
        let token = match command.hands_out() {
            None => None,
            Some(kind) => {
                let mut secret = [0; 32];
                getrandom::fill(&mut secret).map_err(failed)?;
                Some(Token::new(kind, &secret))
            }
        };
        let (ids, _) = ids.as_chunks::<10>();
        let now = self.clock.now();
        let id = |number: usize| uuid_v7(now, ids.get(number).copied().unwrap_or_default());
        let (mut account, mut from) = (Digest::default(), None);
        // Nothing else counts failures.
        if command.hashes() {
            account = if let Command::Login { username, .. } = command {
                self.secret.digest("login failures of", &[username.as_str().as_bytes()])
            } else {
                let session = actor.session().map_or(0, SessionId::bits).to_be_bytes();
                self.secret.digest("password failures in", &[&session])
            };
        }
        let of_nobody = actor.session().is_some() && actor.user().is_none();
        if command.hashes() || (of_nobody && command.is_about_codes()) {
            from = client.address.as_deref().map(|address| {
                self.secret.digest("login failures from", &[origin(address).as_bytes()])
            });
        }
        let stored = match command {
            Command::PutStored { key, .. }
            | Command::TouchStored { key }
            | Command::DeleteStored { key } => self.stored_digest(actor, key),
            _ => Digest::default(),
        };
        Ok(CommandInputs {
            verdict: None,
            hashed: None,
            session: SessionId::new(id(0)),
            user: UserId::new(id(1)),
            key: KeyId::new(id(2)),
            seed: u128::from_be_bytes(*seed),
            token,
            account,
            origin: from,
            stored,
            address: client.address.clone(),
            agent: client.agent.as_deref().map(cut_agent),
            checked: None,
            preconditions: None,
        })
    }

    /// The keyed hash of another framework's key, apart for each API key.
    pub(in crate::app) fn stored_digest(&self, actor: &Actor, key: &StoredKey) -> Digest {
        let owner = match actor {
            Actor::Key(api_key) => api_key.key.id.bits().to_be_bytes(),
            _ => [0; 16],
        };
        self.secret.digest("stored key", &[&owner, key.reveal().as_bytes()])
    }
}

/// Checks the input of a command before its turn, by the version that is the right one now; in its
/// turn it is looked whether it still is. `None`: there is nothing to check it by.
pub(in crate::app) fn check(
    store: &dyn Store,
    definitions: &Definitions,
    command: &Command,
) -> Result<Option<CheckedInput>, ReadError> {
    let read = |record_key| {
        let loaded = read_fact(store, View::Committed, &record_key)?;
        Ok::<_, ReadError>(loaded.map(|(record, _)| record))
    };
    let (workflow, version) = match command {
        Command::Start(ask) => match read(RecordKey::Workflow(ask.workflow.clone()))?.as_deref() {
            Some(Record::Workflow(head)) => (ask.workflow.clone(), head.latest),
            _ => return Ok(None),
        },
        Command::Submit { tx, .. } => match read(RecordKey::Tx(*tx))?.as_deref() {
            Some(Record::Tx(tx)) => (tx.workflow.clone(), tx.version),
            _ => return Ok(None),
        },
        _ => return Ok(None),
    };
    let record_key = RecordKey::Definition(workflow, version);
    let loaded = definitions.read(store, View::Committed, &record_key)?;
    let definition = match loaded.as_ref().map(|(record, _)| &**record) {
        Some(Record::Definition(published)) => &published.definition,
        _ => return Ok(None),
    };
    Ok(match command {
        Command::Start(ask) => Some(CheckedInput::of_start(definition, version, &ask.input)),
        Command::Submit { step, input, .. } => {
            CheckedInput::of_step(definition, version, step, input)
        }
        _ => None,
    })
}

/// A `UUIDv7` (RFC 9562, section 5.7): 48 bits of milliseconds, 74 random ones.
fn uuid_v7(now: Time, random: [u8; 10]) -> u128 {
    let mut bits = 0_u128;
    for byte in random {
        bits = bits << 8 | u128::from(byte);
    }
    let (high, low) = (bits >> 62 & 0xfff, bits & ((1 << 62) - 1));
    u128::from(now.ms()) << 80 | 7 << 76 | high << 64 | 2 << 62 | low
}

/// The part of an address that counts as one origin: an IPv6 network of 64 bits is one customer's.
fn origin(address: &str) -> String {
    match address.parse() {
        Ok(IpAddr::V6(address)) => match address.to_ipv4_mapped() {
            Some(mapped) => mapped.to_string(),
            None => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).to_string(),
        },
        _ => address.to_owned(),
    }
}

/// A `User-Agent` without what could break a line, and of bounded length.
fn cut_agent(agent: &str) -> Arc<str> {
    let mut cut = String::new();
    for character in agent.chars().filter(|character| !character.is_control()) {
        if cut.len() + character.len_utf8() > Rules::AGENT_BYTES_MAX {
            break;
        }
        cut.push(character);
    }
    cut.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_version_7_and_ordered_by_time() {
        let id = uuid_v7(Time::from_ms(0x0123_4567_89ab), [0xff; 10]);
        assert_eq!(id, 0x0123_4567_89ab_7fff_bfff_ffff_ffff_ffff);
        assert!(uuid_v7(Time::from_ms(1), [0xff; 10]) < uuid_v7(Time::from_ms(2), [0; 10]));
    }

    #[test]
    fn an_ipv6_network_is_one_origin() {
        assert_eq!(origin("2001:db8:1:2:3:4:5:6"), origin("2001:db8:1:2::1"));
        assert_ne!(origin("2001:db8:1:2::1"), origin("2001:db8:1:3::1"));
        assert_eq!(origin("::ffff:192.0.2.1"), "192.0.2.1");
        assert_eq!(origin("192.0.2.1"), "192.0.2.1");
    }

    #[test]
    fn an_agent_is_one_bounded_line() {
        assert_eq!(&*cut_agent("a\r\nb\u{1b}c"), "abc");
        assert_eq!(cut_agent(&"\u{e9}".repeat(1000)).len(), Rules::AGENT_BYTES_MAX);
    }
}
