//! Stage `prepare`: what a command needs before its turn. New ids and tokens, the check and the
//! hash of passwords, and the check of large inputs.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use crate::app::App;
use crate::app::api::ClientInfo;
use crate::app::random;
use crate::engine::{
    Actor, CheckedInput, Command, CommandInputs, DecisionContext, Digest, Holder, PasswordCheck,
    PasswordEvidence, ReadSet, Record, RecordKey, Refusal, Rules, StoredKey, User, precheck,
};
use crate::records::{Definitions, ReadError, read_record};
use crate::store::{Store, View};
use crate::types::{KeyId, Password, SessionId, Time, Token, UserId, Username};

/// Random bytes of one command: three ids, and the seed of further ones.
const RANDOM_BYTES: usize = 3 * 10 + 16;

/// Size of an input in memory, in bytes, above which it is checked before the command's turn: it
/// may have some hundred values, and a schema may look at each many times.
const CHECKED_BEFORE_BYTES: usize = 16 * 1024;

/// Result of the check of a password.
#[derive(Clone, Copy, PartialEq, Eq)]
enum PasswordResult {
    /// The command would be refused for another reason, so nothing was checked.
    NotChecked,
    Wrong,
    Right,
    /// The password is right, and its hash was made with less than today's cost.
    RightWithWeakHash,
}

impl App {
    /// Gathers the inputs of a command. A password is checked or hashed only if the command would
    /// not be refused for another reason.
    ///
    /// # Errors
    /// [`Refusal::Busy`] when too many commands wait for a hash, [`Refusal::Stopping`].
    pub(super) async fn prepare(
        &self,
        command: &Command,
        actor: &Actor,
        client: &ClientInfo,
    ) -> Result<CommandInputs, Refusal> {
        let inputs = self.new_inputs(command, actor, client)?;
        if command.hashes() {
            // Boxed, since it is rare and its state would be moved for every command.
            return Box::pin(self.hash(command, actor, inputs)).await;
        }
        Ok(inputs)
    }

    /// Checks and hashes the passwords of a command.
    async fn hash(
        &self,
        command: &Command,
        actor: &Actor,
        mut inputs: CommandInputs,
    ) -> Result<CommandInputs, Refusal> {
        let result = self.check_password(command, actor, &mut inputs).await?;
        let to_hash = match command {
            // A hash of less than today's cost is replaced. A disabled user's is too: the login of
            // a disabled user takes the same time and is refused.
            Command::Login { password, .. } | Command::Elevate { password } => {
                (result == PasswordResult::RightWithWeakHash).then_some(password)
            }
            Command::ChangePassword { new, .. } => {
                let is_right =
                    matches!(result, PasswordResult::Right | PasswordResult::RightWithWeakHash);
                is_right.then_some(new)
            }
            Command::Register { password, .. } | Command::UseLink { password, .. } => {
                self.is_acceptable(command, actor, &inputs)?.then_some(password)
            }
            _ => None,
        };
        if let Some(password) = to_hash {
            inputs.password_hash = Some(self.passwords.hash(password.clone()).await?);
        }
        Ok(inputs)
    }

    /// Checks the password that a command proves, if it proves one.
    async fn check_password(
        &self,
        command: &Command,
        actor: &Actor,
        inputs: &mut CommandInputs,
    ) -> Result<PasswordResult, Refusal> {
        let (user, password) = match command {
            Command::Login { username, password, .. } => (self.user_by_name(username), password),
            Command::Elevate { password } | Command::ChangePassword { current: password, .. } => {
                (self.own_record(actor), password)
            }
            _ => return Ok(PasswordResult::NotChecked),
        };
        let user = self.guard(user)?;
        if !self.is_acceptable(command, actor, inputs)? {
            return Ok(PasswordResult::NotChecked);
        }
        // No password is longer. A longer one is wrong without a hash, but must take the same time.
        let chars = password.reveal().chars().take(Rules::PASSWORD_CHARS_MAX + 1).count();
        let password = if chars > Rules::PASSWORD_CHARS_MAX {
            Password::new(String::new())
        } else {
            password.clone()
        };
        let phc = user.as_ref().and_then(|user| user.password.clone());
        let checked = self.passwords.check(password, phc).await?;
        inputs.password = PasswordEvidence::Checked(PasswordCheck {
            user: user.as_ref().map(|user| user.id),
            credential: user.as_ref().map_or(0, |user| user.credential),
            matched: checked.matched,
        });
        Ok(match (checked.matched, checked.is_weak) {
            (false, _) => PasswordResult::Wrong,
            (true, false) => PasswordResult::Right,
            (true, true) => PasswordResult::RightWithWeakHash,
        })
    }

    /// Returns whether a command would be accepted with the right password, as of what is durable
    /// now.
    fn is_acceptable(
        &self,
        command: &Command,
        actor: &Actor,
        inputs: &CommandInputs,
    ) -> Result<bool, Refusal> {
        let (seed, revision) = (inputs.seed, self.store.durable().next());
        let context = DecisionContext { now: self.clock.now(), revision, seed, split_factor: 1 };
        let mut read_set = ReadSet::default();
        loop {
            match precheck(&read_set, &self.rules, context, actor, command, inputs) {
                Ok(is_acceptable) => return Ok(is_acceptable),
                Err(missing) => {
                    let loaded = read_record(&*self.store, View::Committed, &missing);
                    read_set.add(missing, self.guard(loaded)?);
                }
            }
        }
    }

    /// Returns whether the check of a command's input takes too long for its turn.
    pub(in crate::app) fn is_long_to_check(command: &Command) -> bool {
        matches!(command, Command::Start(_) | Command::Submit { .. })
            && super::admission::weight(command) > CHECKED_BEFORE_BYTES
    }

    /// Checks a large input on a blocking thread, so that it delays neither the executor nor the
    /// threads that serve connections. One at a time, since a machine has few cores.
    pub(super) async fn check_input(
        &self,
        command: Command,
    ) -> (Command, Option<Arc<CheckedInput>>) {
        if !Self::is_long_to_check(&command) {
            return (command, None);
        }
        // The semaphore is never closed.
        let turn = self.checks.acquire().await;
        let (store, definitions) = (Arc::clone(&self.store), Arc::clone(&self.definitions));
        let command = Arc::new(command);
        let checks = Arc::clone(&command);
        let checking = tokio::task::spawn_blocking(move || {
            // The executor meets a read error again and reports it.
            let checked = check(&*store, &definitions, &checks).ok().flatten();
            checked.map(Arc::new)
        });
        let checked = checking.await.ok().flatten();
        drop(turn);
        (Arc::unwrap_or_clone(command), checked)
    }

    fn user_by_name(&self, username: &Username) -> Result<Option<User>, ReadError> {
        let holder =
            read_record(&*self.store, View::Committed, &RecordKey::Name(username.clone()))?;
        match holder.as_ref().map(|(record, _)| &**record) {
            Some(Record::Name(Holder::User(id))) => self.user_by_id(*id),
            _ => Ok(None),
        }
    }

    pub(in crate::app) fn user_by_id(&self, id: UserId) -> Result<Option<User>, ReadError> {
        let user = read_record(&*self.store, View::Committed, &RecordKey::User(id))?;
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

    /// Returns the inputs of a command without its passwords: new ids, a new token, and the origin
    /// of the request.
    pub(super) fn new_inputs(
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
        // A secret comes from the system directly and is stored nowhere before it is needed.
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
        let (account, origin) = self.failure_counters(command, actor, client);
        let stored = match command {
            Command::PutStored { key, .. }
            | Command::TouchStored { key }
            | Command::DeleteStored { key } => self.stored_digest(actor, key),
            _ => Digest::default(),
        };
        Ok(CommandInputs {
            password: PasswordEvidence::Unchecked,
            password_hash: None,
            session: SessionId::new(id(0)),
            user: UserId::new(id(1)),
            key: KeyId::new(id(2)),
            seed: u128::from_be_bytes(*seed),
            token,
            account,
            origin,
            stored,
            address: client.address.clone(),
            agent: client.agent.as_deref().map(cut_agent),
            checked: None,
            preconditions: None,
        })
    }

    /// Returns the keys of the counters of failures: of the account (or the session), and of the
    /// network from which the command comes.
    fn failure_counters(
        &self,
        command: &Command,
        actor: &Actor,
        client: &ClientInfo,
    ) -> (Digest, Option<Digest>) {
        let account = match command {
            Command::Login { username, .. } => {
                self.secret.digest("login failures of", &[username.as_str().as_bytes()])
            }
            command if command.hashes() => {
                let session = actor.session().map_or(0, SessionId::bits).to_be_bytes();
                self.secret.digest("password failures in", &[&session])
            }
            // Other commands count no failures of passwords.
            _ => Digest::default(),
        };
        let is_anonymous = actor.session().is_some() && actor.user().is_none();
        let counts_origin = command.hashes() || (is_anonymous && command.is_about_codes());
        let origin = client.address.as_deref().filter(|_| counts_origin).map(|address| {
            self.secret.digest("login failures from", &[origin(address).as_bytes()])
        });
        (account, origin)
    }

    /// Returns the keyed hash of the key of an external session, which differs for each API key.
    pub(in crate::app) fn stored_digest(&self, actor: &Actor, key: &StoredKey) -> Digest {
        let owner = match actor {
            Actor::Key(api_key) => api_key.key.id.bits().to_be_bytes(),
            _ => [0; 16],
        };
        self.secret.digest("stored key", &[&owner, key.reveal().as_bytes()])
    }
}

/// Checks the input of a command against the version that applies now; the executor compares the
/// version later. Returns `None` if there is nothing to check it against.
fn check(
    store: &dyn Store,
    definitions: &Definitions,
    command: &Command,
) -> Result<Option<CheckedInput>, ReadError> {
    let read = |key| {
        let loaded = read_record(store, View::Committed, &key)?;
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
    let key = RecordKey::Definition(workflow, version);
    let loaded = definitions.read(store, View::Committed, &key)?;
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

/// Returns a `UUIDv7` (RFC 9562, section 5.7): 48 bits of milliseconds, 74 random ones.
fn uuid_v7(now: Time, random: [u8; 10]) -> u128 {
    let mut bits = 0_u128;
    for byte in random {
        bits = bits << 8 | u128::from(byte);
    }
    let (high, low) = (bits >> 62 & 0xfff, bits & ((1 << 62) - 1));
    u128::from(now.ms()) << 80 | 7 << 76 | high << 64 | 2 << 62 | low
}

/// Returns the part of an address that counts as one origin: an IPv6 network of 64 bits belongs to
/// one customer.
fn origin(address: &str) -> String {
    match address.parse() {
        Ok(IpAddr::V6(address)) => match address.to_ipv4_mapped() {
            Some(mapped) => mapped.to_string(),
            None => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).to_string(),
        },
        _ => address.to_owned(),
    }
}

/// Returns a `User-Agent` without control characters and of bounded length.
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
