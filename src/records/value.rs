//! Records as bytes: a version byte, then the bincode of a struct that is frozen with its version.
//!
//! A new field means a new struct and a new version; the old one stays, with what it becomes.
//! Texts and lists are plain here, ids their 128 bits: nothing of how the words are spelled
//! outside can change what lies in the store.

use std::str::FromStr;
use std::sync::Arc;

use bincode::Options as _;
use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::DecodeError;
use super::ledger::{AccountV1, AssetV1, HoldV1, TotalsV1, TransferV1};
use super::tx::{DefinitionV1, TxV1, TxV2};
use crate::engine::workflow;
use crate::engine::{
    ApiKey, Attempts, Holder, KeyRef, Link, LinkMaker, Opens, Record, RecordKey, Reference,
    RoleChange, RoleChanges, RoleRun, Session, Stored, Tx, User, UserRef, WorkflowHead,
};
use crate::store::VALUE_BYTES_MAX;
use crate::types::{KeyId, Revision, SessionId, Span, Time, TokenHash, TxId, UserId};

/// Largest record that is read, in bytes: all parts together.
const RECORD_BYTES_MAX: u64 = (super::PART_BYTES * super::PARTS_MAX) as u64;

/// Whether a fact's record may be larger than one value and lies in parts.
#[must_use]
pub const fn is_in_parts(fact: &RecordKey) -> bool {
    matches!(
        fact,
        RecordKey::UserData(_)
            | RecordKey::SessionData(_)
            | RecordKey::Stored(_)
            | RecordKey::Tx(_)
            | RecordKey::Definition(..)
            | RecordKey::Schedule(_)
            | RecordKey::Job(_)
            | RecordKey::Webhook(_)
            | RecordKey::DeadLetter(_)
    )
}

#[derive(Serialize, Deserialize)]
struct UserV1 {
    id: u128,
    username: String,
    name: Option<String>,
    password: Option<String>,
    credential: u64,
    epoch: u64,
    roles: Vec<String>,
    attributes: String,
    disabled: bool,
    created_at: u64,
    created_revision: u64,
    link: Option<[u8; 32]>,
}

#[derive(Serialize, Deserialize)]
struct RoleChangeV1 {
    role: String,
    base: bool,
    next: u64,
    runs: Vec<(bool, u64, u64)>,
}

fn role_changes(changes: &RoleChanges) -> Vec<RoleChangeV1> {
    let change = |change: &RoleChange| RoleChangeV1 {
        role: change.role.to_string(),
        base: change.base,
        next: change.next,
        runs: change.runs.iter().map(|run| (run.gives, run.first, run.count)).collect(),
    };
    changes.0.iter().map(change).collect()
}

impl RoleChangeV1 {
    fn thaw(self, fact: &RecordKey) -> Result<RoleChange, DecodeError> {
        let run = |(gives, first, count)| RoleRun { gives, first, count };
        Ok(RoleChange {
            role: word(fact, &self.role)?,
            base: self.base,
            next: self.next,
            runs: self.runs.into_iter().map(run).collect(),
        })
    }
}

#[derive(Serialize, Deserialize)]
struct SessionV1 {
    id: u128,
    token: [u8; 32],
    user: Option<(u128, String)>,
    began_anonymous: bool,
    via: Option<(u128, String)>,
    profile: Option<String>,
    idle: u64,
    created_at: u64,
    created_revision: u64,
    last_seen_at: u64,
    expires_at: u64,
    elevated_until: Option<u64>,
    timer_at: u64,
    has_data: bool,
    address: Option<String>,
    agent: Option<String>,
    facts: String,
}

#[derive(Serialize, Deserialize)]
struct ApiKeyV1 {
    id: u128,
    token: [u8; 32],
    name: String,
    roles: Vec<String>,
    on_behalf: Vec<String>,
    created_at: u64,
}

#[derive(Serialize, Deserialize)]
struct StoredV1 {
    data: String,
    idle: u64,
    user: Option<(u128, String, u64)>,
    last_seen_at: u64,
    timer_at: u64,
}

#[derive(Serialize, Deserialize)]
enum HolderV1 {
    User(u128),
    Gone,
}

#[derive(Serialize, Deserialize)]
enum OpensV1 {
    Session(u128),
    Key(u128),
    /// Of older builds; [`LinkV2`] came after it.
    Link {
        user: Option<u128>,
        expires_at: u64,
    },
}

/// What a token opens that is a link's, under version 2.
#[derive(Serialize, Deserialize)]
struct LinkV2 {
    user: Option<u128>,
    expires_at: u64,
    maker: LinkMakerV2,
}

#[derive(Serialize, Deserialize)]
enum LinkMakerV2 {
    Administrator,
    Key { id: u128, is_admin: bool },
    Unknown,
}

/// A number of failures that were all forgotten at once.
#[derive(Serialize, Deserialize)]
struct AttemptsV1 {
    failures: u32,
    last_at: u64,
}

#[derive(Serialize, Deserialize)]
struct AttemptsV2 {
    level: u64,
    last_at: u64,
}

/// The clock's marks: no later commit has an earlier time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClockV1 {
    /// The latest time that was noted, in milliseconds since the Unix epoch.
    pub high_ms: u64,
    /// How far the clock was moved forward by hand, in milliseconds.
    pub advanced_ms: u64,
}

/// The answer to an Idempotency-Key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AnswerV1 {
    /// The keyed hash of the request.
    pub fingerprint: [u8; 32],
    /// From when on it is forgotten.
    pub expires_at_ms: u64,
    /// The HTTP status.
    pub status: u16,
    /// The headers.
    pub headers: Vec<(String, String)>,
    /// The body.
    #[serde(with = "raw")]
    pub body: Bytes,
}

/// An [`AnswerV1`] that is written from where its parts lie.
#[derive(Debug, Serialize)]
pub struct AnswerToWrite<'a> {
    /// The keyed hash of the request.
    pub fingerprint: &'a [u8; 32],
    /// From when on it is forgotten.
    pub expires_at_ms: u64,
    /// The HTTP status.
    pub status: u16,
    /// The headers.
    pub headers: &'a [(String, String)],
    /// The body.
    #[serde(serialize_with = "raw::serialize")]
    pub body: &'a Bytes,
}

/// Bytes as they are, in one piece: what a list of numbers would be too, but not one by one.
mod raw {
    use bytes::Bytes;
    use serde::{Deserializer, Serializer, de};

    pub(super) fn serialize<S: Serializer>(bytes: &Bytes, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_bytes(bytes)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Bytes, D::Error> {
        struct Whole;
        impl de::Visitor<'_> for Whole {
            type Value = Bytes;

            fn expecting(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                to.write_str("bytes")
            }

            fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<Bytes, E> {
                Ok(Bytes::copy_from_slice(bytes))
            }

            fn visit_byte_buf<E: de::Error>(self, bytes: Vec<u8>) -> Result<Bytes, E> {
                Ok(bytes.into())
            }
        }
        from.deserialize_byte_buf(Whole)
    }
}

/// Live Idempotency-Keys by the hour in which they began: hours since the Unix epoch.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AnswerCountV1 {
    /// The hours, oldest first, and how many keys began in each.
    pub hours: Vec<(u32, u32)>,
}

fn options() -> impl bincode::Options {
    bincode::DefaultOptions::new().with_limit(RECORD_BYTES_MAX)
}

/// Writes a value under its version.
pub fn write<T: Serialize + ?Sized>(version: u8, value: &T) -> Vec<u8> {
    let mut bytes = Vec::new();
    write_into(&mut bytes, version, value);
    bytes
}

/// The same behind other bytes.
pub fn write_into<T: Serialize + ?Sized>(out: &mut Vec<u8>, version: u8, value: &T) {
    out.push(version);
    let begun = out.len();
    // Writing into memory fails for values over the limit only, and then nothing is committed:
    // whoever reads less than what was written refuses it.
    if options().with_no_limit().serialize_into(&mut *out, value).is_err() {
        out.truncate(begun);
    }
}

/// Reads a value of one version.
///
/// # Errors
/// [`DecodeError`] for another version, for bytes that are no such value, and for more than
/// `bytes_max`.
pub fn read<T: DeserializeOwned>(
    key: &dyn std::fmt::Debug,
    version: u8,
    bytes: &[u8],
    bytes_max: u64,
) -> Result<T, DecodeError> {
    let fail = |what: String| DecodeError { key: format!("{key:?}"), what };
    match bytes.split_first() {
        Some((found, rest)) if *found == version => options()
            .with_limit(bytes_max)
            .deserialize(rest)
            .map_err(|error| fail(error.to_string())),
        Some((found, _)) => Err(fail(format!("version {found} is not known"))),
        None => Err(fail("it is empty".to_owned())),
    }
}

/// Reads one of the values that are no facts.
///
/// # Errors
/// As [`read`].
pub fn read_plain<T: DeserializeOwned>(key: &super::Key, bytes: &[u8]) -> Result<T, DecodeError> {
    read(key, 1, bytes, RECORD_BYTES_MAX)
}

/// Reads one of the values that are no facts, of a later version.
///
/// # Errors
/// As [`read`].
pub fn read_version<T: DeserializeOwned>(
    key: &super::Key,
    version: u8,
    bytes: &[u8],
) -> Result<T, DecodeError> {
    read(key, version, bytes, RECORD_BYTES_MAX)
}

/// Writes a record.
#[must_use]
pub fn encode(record: &Record) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode_into(&mut bytes, record);
    bytes
}

/// The same behind other bytes.
pub fn encode_into(out: &mut Vec<u8>, record: &Record) {
    match record {
        Record::User(user) => write_into(out, 1, &UserV1::from(user)),
        Record::Name(Holder::User(id)) => write_into(out, 1, &HolderV1::User(id.bits())),
        Record::Name(Holder::Gone) => write_into(out, 1, &HolderV1::Gone),
        Record::Data(json) => write_into(out, 1, &**json),
        Record::Sessions(list) => {
            write_into(out, 1, &list.iter().map(|id| id.bits()).collect::<Vec<u128>>());
        }
        Record::RoleChanges(changes) => write_into(out, 1, &role_changes(changes)),
        Record::Session(session) => write_into(out, 1, &SessionV1::from(session)),
        Record::Opens(Opens::Session(id)) => write_into(out, 1, &OpensV1::Session(id.bits())),
        Record::Opens(Opens::Key(id)) => write_into(out, 1, &OpensV1::Key(id.bits())),
        Record::Opens(Opens::Link(link)) => write_into(out, 2, &LinkV2::from(link)),
        Record::Key(key) => write_into(out, 1, &ApiKeyV1::from(key)),
        Record::Count(count) => write_into(out, 1, count),
        Record::Stored(stored) => write_into(out, 1, &StoredV1::from(stored)),
        Record::Attempts(attempts) => write_into(
            out,
            2,
            &AttemptsV2 { level: attempts.level.ms(), last_at: attempts.last_at.ms() },
        ),
        Record::Asset(asset) => write_into(out, 1, &AssetV1::from(asset)),
        Record::Account(account) => write_into(out, 1, &AccountV1::from(account)),
        Record::Hold(hold) => write_into(out, 1, &HoldV1::from(hold)),
        Record::Transfer(transfer) => write_into(out, 1, &TransferV1::from(transfer)),
        Record::Totals(totals) => write_into(out, 1, &TotalsV1::from(totals)),
        // Most have none of what the second version adds.
        Record::Tx(tx) if tx.calls.iter().all(|call| call.answer.is_none()) => {
            write_into(out, 1, &TxV1::from(&**tx));
        }
        Record::Tx(tx) => write_into(out, 2, &TxV2::from(&**tx)),
        // Neither is ever written: one is a look into a list, the other a mark.
        Record::Transactions(_) | Record::Asked => {}
        Record::Reference(reference) => write_into(out, 1, &(reference.tx.bits(), reference.input)),
        Record::One(id) => write_into(out, 1, &id.bits()),
        Record::Workflow(head) => write_into(out, 1, &(head.latest, head.retired)),
        Record::Schedule(schedule) => write_into(out, 1, &json(schedule)),
        Record::Job(job) => write_into(out, 1, &json(job)),
        Record::Webhook(webhook) => write_into(out, 1, &json(webhook)),
        Record::DeadLetter(letter) => write_into(out, 1, &json(letter)),
        Record::Definition(published) => write_into(out, 2, &DefinitionV1::from(&**published)),
    }
}

/// Reads a transaction without its data and all else that may be large: what lists and rights look
/// at, for a small part of what reading it whole costs.
///
/// # Errors
/// [`DecodeError`]
pub fn decode_outline(fact: &RecordKey, bytes: &[u8]) -> Result<Tx, DecodeError> {
    let tx = match bytes.first() {
        Some(2) => read::<TxV2>(fact, 2, bytes, RECORD_BYTES_MAX)?.outline(),
        _ => read::<TxV1>(fact, 1, bytes, RECORD_BYTES_MAX)?.outline(),
    };
    tx.thaw(fact)
}

/// Reads the record of a fact.
///
/// # Errors
/// [`DecodeError`]
#[expect(clippy::too_many_lines, reason = "one arm for each kind of record")]
pub fn decode(fact: &RecordKey, bytes: &[u8]) -> Result<Record, DecodeError> {
    fn v1<T: DeserializeOwned>(fact: &RecordKey, bytes: &[u8], max: u64) -> Result<T, DecodeError> {
        read(fact, 1, bytes, max)
    }
    const SMALL: u64 = VALUE_BYTES_MAX as u64;
    const LARGE: u64 = RECORD_BYTES_MAX;
    Ok(match fact {
        RecordKey::User(_) => Record::User(v1::<UserV1>(fact, bytes, SMALL)?.thaw(fact)?),
        RecordKey::Name(_) => Record::Name(match v1(fact, bytes, SMALL)? {
            HolderV1::User(id) => Holder::User(UserId::new(id)),
            HolderV1::Gone => Holder::Gone,
        }),
        RecordKey::UserData(_) | RecordKey::SessionData(_) => {
            Record::Data(v1::<String>(fact, bytes, LARGE)?.into())
        }
        RecordKey::SessionsVia(..) => Record::Sessions(Vec::new()),
        RecordKey::UserSessions(_) => {
            let list: Vec<u128> = v1(fact, bytes, SMALL)?;
            Record::Sessions(list.into_iter().map(SessionId::new).collect())
        }
        RecordKey::RoleChanges(_) => {
            let changes: Vec<RoleChangeV1> = v1(fact, bytes, SMALL)?;
            let changes = changes.into_iter().map(|change| change.thaw(fact));
            Record::RoleChanges(RoleChanges(changes.collect::<Result<_, _>>()?))
        }
        RecordKey::Session(_) => Record::Session(v1::<SessionV1>(fact, bytes, SMALL)?.thaw(fact)?),
        RecordKey::Token(_) if bytes.first() == Some(&2) => {
            Record::Opens(Opens::Link(read::<LinkV2>(fact, 2, bytes, SMALL)?.into()))
        }
        RecordKey::Token(_) => Record::Opens(match v1(fact, bytes, SMALL)? {
            OpensV1::Session(id) => Opens::Session(SessionId::new(id)),
            OpensV1::Key(id) => Opens::Key(KeyId::new(id)),
            OpensV1::Link { user, expires_at } => Opens::Link(Link {
                user: user.map(UserId::new),
                expires_at: Time::from_ms(expires_at),
                maker: LinkMaker::Unknown,
            }),
        }),
        RecordKey::Key(_) => Record::Key(v1::<ApiKeyV1>(fact, bytes, SMALL)?.thaw(fact)?),
        RecordKey::KeyCount
        | RecordKey::AssetCount
        | RecordKey::AdministratorCount
        | RecordKey::SessionCount
        | RecordKey::KeptSessions(_)
        | RecordKey::OpenCount(..)
        | RecordKey::WorkflowCount
        | RecordKey::ScheduleCount
        | RecordKey::WebhookCount => Record::Count(v1(fact, bytes, SMALL)?),
        RecordKey::Stored(_) => Record::Stored(v1::<StoredV1>(fact, bytes, LARGE)?.thaw(fact)?),
        RecordKey::Attempts(_) => Record::Attempts(if bytes.first() == Some(&1) {
            let AttemptsV1 { failures, last_at } = v1(fact, bytes, SMALL)?;
            Attempts::of_failures(failures, Time::from_ms(last_at))
        } else {
            let AttemptsV2 { level, last_at } = read(fact, 2, bytes, SMALL)?;
            Attempts { level: Span::from_ms(level), last_at: Time::from_ms(last_at) }
        }),
        RecordKey::Asset(_) => Record::Asset(v1::<AssetV1>(fact, bytes, SMALL)?.thaw(fact)?),
        RecordKey::Account(_) => Record::Account(v1::<AccountV1>(fact, bytes, SMALL)?.thaw(fact)?),
        RecordKey::Hold(_) => Record::Hold(v1::<HoldV1>(fact, bytes, SMALL)?.thaw(fact)?),
        RecordKey::Transfer(_) => {
            Record::Transfer(v1::<TransferV1>(fact, bytes, SMALL)?.thaw(fact)?)
        }
        RecordKey::Tx(_) if bytes.first() == Some(&2) => {
            Record::Tx(Arc::new(read::<TxV2>(fact, 2, bytes, LARGE)?.thaw(fact)?))
        }
        RecordKey::Tx(_) => Record::Tx(Arc::new(v1::<TxV1>(fact, bytes, LARGE)?.thaw(fact)?)),
        RecordKey::OpenOf(..)
        | RecordKey::TxsOf(..)
        | RecordKey::EndWith(..)
        | RecordKey::ActedIn(..)
        | RecordKey::Txs(_) => Record::Transactions(Vec::new()),
        RecordKey::Schedule(_) => {
            Record::Schedule(of_json(fact, &v1::<String>(fact, bytes, LARGE)?)?)
        }
        RecordKey::Job(_) => Record::Job(of_json(fact, &v1::<String>(fact, bytes, LARGE)?)?),
        RecordKey::Webhook(_) => {
            Record::Webhook(of_json(fact, &v1::<String>(fact, bytes, LARGE)?)?)
        }
        RecordKey::DeadLetter(_) => {
            Record::DeadLetter(of_json(fact, &v1::<String>(fact, bytes, LARGE)?)?)
        }
        RecordKey::Asked(..) => Record::Asked,
        RecordKey::Reference(..) => {
            let (tx, input) = v1(fact, bytes, SMALL)?;
            Record::Reference(Reference { tx: TxId::new(tx), input })
        }
        RecordKey::One(..) => Record::One(TxId::new(v1(fact, bytes, SMALL)?)),
        RecordKey::Workflow(_) => {
            let (latest, retired) = v1(fact, bytes, SMALL)?;
            Record::Workflow(WorkflowHead { latest, retired })
        }
        RecordKey::Definition(name, version) => {
            // Version 1 is the same struct with a document in the language's earlier words.
            let in_earlier_words = bytes.first() == Some(&1);
            let record_version = if in_earlier_words { 1 } else { 2 };
            let definition = read::<DefinitionV1>(fact, record_version, bytes, LARGE)?;
            let language = if in_earlier_words { workflow::read_v1 } else { workflow::read };
            Record::Definition(Arc::new(definition.thaw(fact, name, *version, language)?))
        }
        RecordKey::Value(_) | RecordKey::ValueSet(_) => {
            Record::Data(v1::<String>(fact, bytes, SMALL)?.into())
        }
        RecordKey::Totals(_) => Record::Totals(v1::<TotalsV1>(fact, bytes, SMALL)?.into()),
    })
}

/// What is seldom written and never large, as JSON: a field that is added has a default there.
fn json<T: Serialize>(record: &T) -> String {
    // Texts, numbers and lists of them are always JSON.
    serde_json::to_string(record).unwrap_or_default()
}

fn of_json<T: DeserializeOwned>(fact: &RecordKey, text: &str) -> Result<T, DecodeError> {
    serde_json::from_str(text).map_err(|_| DecodeError {
        key: format!("{fact:?}"),
        what: "it holds JSON of another shape".to_owned(),
    })
}

/// A word that was valid when it was written.
pub(super) fn word<T: FromStr>(fact: &dyn std::fmt::Debug, text: &str) -> Result<T, DecodeError> {
    text.parse().map_err(|_| DecodeError {
        key: format!("{fact:?}"),
        what: "it holds a name that is not valid".to_owned(),
    })
}

fn words<T: FromStr>(fact: &RecordKey, texts: &[String]) -> Result<Arc<[T]>, DecodeError> {
    texts.iter().map(|text| word(fact, text)).collect::<Result<Vec<_>, _>>().map(Into::into)
}

fn texts<T: ToString>(words: &[T]) -> Vec<String> {
    words.iter().map(ToString::to_string).collect()
}

impl From<&User> for UserV1 {
    fn from(user: &User) -> Self {
        Self {
            id: user.id.bits(),
            username: user.username.to_string(),
            name: user.name.as_deref().map(str::to_owned),
            password: user.password.as_deref().map(str::to_owned),
            credential: user.credential,
            epoch: user.epoch,
            roles: texts(&user.roles),
            attributes: user.attributes.to_string(),
            disabled: user.disabled,
            created_at: user.created_at.ms(),
            created_revision: user.created_revision.get(),
            link: user.link.map(|hash| *hash.bytes()),
        }
    }
}

impl UserV1 {
    fn thaw(self, fact: &RecordKey) -> Result<User, DecodeError> {
        Ok(User {
            id: UserId::new(self.id),
            username: word(fact, &self.username)?,
            name: self.name.map(Into::into),
            password: self.password.map(Into::into),
            credential: self.credential,
            epoch: self.epoch,
            roles: words(fact, &self.roles)?,
            attributes: self.attributes.into(),
            disabled: self.disabled,
            created_at: Time::from_ms(self.created_at),
            created_revision: Revision::new(self.created_revision),
            link: self.link.map(TokenHash::new),
        })
    }
}

impl From<&Session> for SessionV1 {
    fn from(session: &Session) -> Self {
        Self {
            id: session.id.bits(),
            token: *session.token.bytes(),
            user: session.user.as_ref().map(|user| (user.id.bits(), user.username.to_string())),
            began_anonymous: session.began_anonymous,
            via: session.via.as_ref().map(|key| (key.id.bits(), key.name.to_string())),
            profile: session.profile.as_ref().map(ToString::to_string),
            idle: session.idle.ms(),
            created_at: session.created_at.ms(),
            created_revision: session.created_revision.get(),
            last_seen_at: session.last_seen_at.ms(),
            expires_at: session.expires_at.ms(),
            elevated_until: session.elevated_until.map(Time::ms),
            timer_at: session.timer_at.ms(),
            has_data: session.has_data,
            address: session.address.as_deref().map(str::to_owned),
            agent: session.agent.as_deref().map(str::to_owned),
            facts: session.facts.to_string(),
        }
    }
}

impl SessionV1 {
    fn thaw(self, fact: &RecordKey) -> Result<Session, DecodeError> {
        let user = match self.user {
            Some((id, name)) => Some(UserRef { id: UserId::new(id), username: word(fact, &name)? }),
            None => None,
        };
        let via = self.via.map(|(id, name)| KeyRef { id: KeyId::new(id), name: name.into() });
        Ok(Session {
            id: SessionId::new(self.id),
            token: TokenHash::new(self.token),
            user,
            began_anonymous: self.began_anonymous,
            via,
            profile: self.profile.map(|name| word(fact, &name)).transpose()?,
            idle: Span::from_ms(self.idle),
            created_at: Time::from_ms(self.created_at),
            created_revision: Revision::new(self.created_revision),
            last_seen_at: Time::from_ms(self.last_seen_at),
            expires_at: Time::from_ms(self.expires_at),
            elevated_until: self.elevated_until.map(Time::from_ms),
            timer_at: Time::from_ms(self.timer_at),
            has_data: self.has_data,
            address: self.address.map(Into::into),
            agent: self.agent.map(Into::into),
            facts: self.facts.into(),
        })
    }
}

impl From<&Link> for LinkV2 {
    fn from(link: &Link) -> Self {
        Self {
            user: link.user.map(UserId::bits),
            expires_at: link.expires_at.ms(),
            maker: match link.maker {
                LinkMaker::Administrator => LinkMakerV2::Administrator,
                LinkMaker::Key { id, is_admin } => LinkMakerV2::Key { id: id.bits(), is_admin },
                LinkMaker::Unknown => LinkMakerV2::Unknown,
            },
        }
    }
}

impl From<LinkV2> for Link {
    fn from(link: LinkV2) -> Self {
        Self {
            user: link.user.map(UserId::new),
            expires_at: Time::from_ms(link.expires_at),
            maker: match link.maker {
                LinkMakerV2::Administrator => LinkMaker::Administrator,
                LinkMakerV2::Key { id, is_admin } => {
                    LinkMaker::Key { id: KeyId::new(id), is_admin }
                }
                LinkMakerV2::Unknown => LinkMaker::Unknown,
            },
        }
    }
}

impl From<&ApiKey> for ApiKeyV1 {
    fn from(key: &ApiKey) -> Self {
        Self {
            id: key.id.bits(),
            token: *key.token.bytes(),
            name: key.name.to_string(),
            roles: texts(&key.roles),
            on_behalf: texts(&key.on_behalf),
            created_at: key.created_at.ms(),
        }
    }
}

impl ApiKeyV1 {
    fn thaw(self, fact: &RecordKey) -> Result<ApiKey, DecodeError> {
        Ok(ApiKey {
            id: KeyId::new(self.id),
            token: TokenHash::new(self.token),
            name: self.name.into(),
            roles: words(fact, &self.roles)?,
            on_behalf: words(fact, &self.on_behalf)?,
            created_at: Time::from_ms(self.created_at),
        })
    }
}

impl From<&Stored> for StoredV1 {
    fn from(stored: &Stored) -> Self {
        Self {
            data: stored.data.to_string(),
            idle: stored.idle.ms(),
            user: stored
                .user
                .as_ref()
                .map(|(user, epoch)| (user.id.bits(), user.username.to_string(), *epoch)),
            last_seen_at: stored.last_seen_at.ms(),
            timer_at: stored.timer_at.ms(),
        }
    }
}

impl StoredV1 {
    fn thaw(self, fact: &RecordKey) -> Result<Stored, DecodeError> {
        let user = match self.user {
            Some((id, name, epoch)) => {
                let user = UserRef { id: UserId::new(id), username: word(fact, &name)? };
                Some((user, epoch))
            }
            None => None,
        };
        Ok(Stored {
            data: self.data.into(),
            idle: Span::from_ms(self.idle),
            user,
            last_seen_at: Time::from_ms(self.last_seen_at),
            timer_at: Time::from_ms(self.timer_at),
        })
    }
}
