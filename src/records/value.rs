//! Records as bytes: a version byte, then the bincode of a form that is frozen with its version.
//!
//! A new field means a new form and a new version; the old form stays and is still read. Names are
//! stored as texts and ids as their 128 bits, so a change of how they are spelled outside changes
//! nothing that is stored.

use std::sync::Arc;

use bincode::Options as _;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::DecodeError;
use super::form::{Form, InvalidForm, Text};
use super::identity::{
    ApiKeyV1, AttemptsV1, AttemptsV2, HolderV1, LinkV2, OpensV1, RoleChangeV1, SessionV1, StoredV1,
    UserV1,
};
use super::key::is_in_parts;
use super::ledger::{AccountV1, AssetV1, HoldV1, TotalsV1, TransferV1};
use super::tasks::{DeadLetterV1, JobV1, ScheduleV1, WebhookV1};
use super::tx::{DefinitionV1, ReferenceV1, TxV1, TxV2, WorkflowHeadV1};
use crate::engine::{Opens, Record, RecordKey, RoleChanges, Tx, workflow};
use crate::store::VALUE_BYTES_MAX;

/// Largest record that is read, in bytes: all parts together.
const RECORD_BYTES_MAX: u64 = (super::PART_BYTES * super::PARTS_MAX) as u64;

/// The clock's marks: no later commit has an earlier time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClockV1 {
    /// The latest time that was noted, in milliseconds since the Unix epoch.
    pub high_ms: u64,
    /// Time by which the clock was advanced by hand, in milliseconds.
    pub advanced_ms: u64,
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
    // Writing into memory fails only for values over the limit, and then nothing is committed:
    // reading refuses a value that is cut short.
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

/// Writes a domain value in a form.
fn put<F: Form<D> + Serialize, D>(out: &mut Vec<u8>, version: u8, value: &D) {
    write_into(out, version, &F::from_domain(value));
}

/// Writes a domain value as the text of a JSON object. These records are written seldom and are
/// never large.
fn put_json<F: Form<D> + Serialize, D>(out: &mut Vec<u8>, value: &D) {
    // Texts, numbers and lists of them are always JSON.
    write_into(out, 1, &serde_json::to_string(&F::from_domain(value)).unwrap_or_default());
}

/// Writes a record behind other bytes.
pub fn encode_into(out: &mut Vec<u8>, record: &Record) {
    match record {
        Record::User(user) => put::<UserV1, _>(out, 1, user),
        Record::Name(holder) => put::<HolderV1, _>(out, 1, holder),
        Record::Data(json) => put::<Text, _>(out, 1, json),
        Record::Sessions(sessions) => put::<Vec<u128>, _>(out, 1, sessions),
        Record::RoleChanges(changes) => put::<Vec<RoleChangeV1>, _>(out, 1, &changes.0),
        Record::Session(session) => put::<SessionV1, _>(out, 1, session),
        Record::Opens(Opens::Session(id)) => write_into(out, 1, &OpensV1::Session(id.bits())),
        Record::Opens(Opens::Key(id)) => write_into(out, 1, &OpensV1::Key(id.bits())),
        Record::Opens(Opens::Link(link)) => put::<LinkV2, _>(out, 2, link),
        Record::Key(key) => put::<ApiKeyV1, _>(out, 1, key),
        Record::Count(count) => write_into(out, 1, count),
        Record::Stored(stored) => put::<StoredV1, _>(out, 1, stored),
        Record::Attempts(attempts) => put::<AttemptsV2, _>(out, 2, attempts),
        Record::Asset(asset) => put::<AssetV1, _>(out, 1, asset),
        Record::Account(account) => put::<AccountV1, _>(out, 1, account),
        Record::Hold(hold) => put::<HoldV1, _>(out, 1, hold),
        Record::Transfer(transfer) => put::<TransferV1, _>(out, 1, transfer),
        Record::Totals(totals) => put::<TotalsV1, _>(out, 1, totals),
        // Most transactions have none of what the second version adds.
        Record::Tx(tx) if tx.calls.iter().all(|call| call.answer.is_none()) => {
            put::<TxV1, _>(out, 1, tx);
        }
        Record::Tx(tx) => put::<TxV2, _>(out, 2, tx),
        // Neither is ever written: one is a page of a list, the other an index entry.
        Record::Transactions(_) | Record::Asked => {}
        Record::Reference(reference) => put::<ReferenceV1, _>(out, 1, reference),
        Record::One(id) => put::<u128, _>(out, 1, id),
        Record::Workflow(head) => put::<WorkflowHeadV1, _>(out, 1, head),
        Record::Schedule(schedule) => put_json::<ScheduleV1, _>(out, schedule),
        Record::Job(job) => put_json::<JobV1, _>(out, job),
        Record::Webhook(webhook) => put_json::<WebhookV1, _>(out, webhook),
        Record::DeadLetter(letter) => put_json::<DeadLetterV1, _>(out, letter),
        Record::Definition(published) => write_into(out, 2, &DefinitionV1::from(&**published)),
    }
}

/// Reports a value that has the bytes of its version and no meaning.
pub(super) fn invalid(key: &dyn std::fmt::Debug, error: &InvalidForm) -> DecodeError {
    DecodeError { key: format!("{key:?}"), what: error.0.to_owned() }
}

/// Bytes of a record and its key.
struct Stored<'a> {
    key: &'a RecordKey,
    bytes: &'a [u8],
}

impl Stored<'_> {
    fn is_version(&self, version: u8) -> bool {
        self.bytes.first() == Some(&version)
    }

    fn form<F: DeserializeOwned>(&self, version: u8) -> Result<F, DecodeError> {
        let is_large = is_in_parts(self.key);
        let bytes_max = if is_large { RECORD_BYTES_MAX } else { VALUE_BYTES_MAX as u64 };
        read(self.key, version, self.bytes, bytes_max)
    }

    fn domain<D>(&self, value: Result<D, InvalidForm>) -> Result<D, DecodeError> {
        value.map_err(|error| invalid(self.key, &error))
    }

    /// Reads a domain value in a form.
    fn get<F: Form<D> + DeserializeOwned, D>(&self, version: u8) -> Result<D, DecodeError> {
        self.domain(self.form::<F>(version)?.into_domain())
    }

    /// Reads what [`put_json`] wrote.
    fn get_json<F: Form<D> + DeserializeOwned, D>(&self) -> Result<D, DecodeError> {
        let json: String = self.form(1)?;
        let form = serde_json::from_str::<F>(&json);
        self.domain(form.map_err(|_| InvalidForm("it holds JSON of another shape")))
            .and_then(|form| self.domain(form.into_domain()))
    }
}

/// Reads a transaction without its data and all else that may be large: lists and checks of rights
/// need only this, and it costs a small part of reading the whole.
///
/// # Errors
/// [`DecodeError`]
pub fn decode_outline(key: &RecordKey, bytes: &[u8]) -> Result<Tx, DecodeError> {
    let stored = Stored { key, bytes };
    let outline = if stored.is_version(2) {
        stored.form::<TxV2>(2)?.outline()
    } else {
        stored.form::<TxV1>(1)?.outline()
    };
    stored.domain(outline.into_domain())
}

/// Reads a record.
///
/// # Errors
/// [`DecodeError`]
pub fn decode(key: &RecordKey, bytes: &[u8]) -> Result<Record, DecodeError> {
    let stored = Stored { key, bytes };
    Ok(match key {
        RecordKey::User(_) => Record::User(stored.get::<UserV1, _>(1)?),
        RecordKey::Name(_) => Record::Name(stored.get::<HolderV1, _>(1)?),
        RecordKey::UserData(_)
        | RecordKey::SessionData(_)
        | RecordKey::Value(_)
        | RecordKey::ValueSet(_) => Record::Data(stored.get::<Text, _>(1)?),
        RecordKey::SessionsVia(..) => Record::Sessions(Vec::new()),
        RecordKey::UserSessions(_) => Record::Sessions(stored.get::<Vec<u128>, _>(1)?),
        RecordKey::RoleChanges(_) => {
            Record::RoleChanges(RoleChanges(stored.get::<Vec<RoleChangeV1>, _>(1)?))
        }
        RecordKey::Session(_) => Record::Session(stored.get::<SessionV1, _>(1)?),
        RecordKey::Token(_) => Record::Opens(if stored.is_version(2) {
            Opens::Link(stored.get::<LinkV2, _>(2)?)
        } else {
            stored.domain(stored.form::<OpensV1>(1)?.into_domain())?
        }),
        RecordKey::Key(_) => Record::Key(stored.get::<ApiKeyV1, _>(1)?),
        RecordKey::KeyCount
        | RecordKey::AssetCount
        | RecordKey::AdministratorCount
        | RecordKey::SessionCount
        | RecordKey::KeptSessions(_)
        | RecordKey::OpenCount(..)
        | RecordKey::WorkflowCount
        | RecordKey::ScheduleCount
        | RecordKey::WebhookCount => Record::Count(stored.form(1)?),
        RecordKey::Stored(_) => Record::Stored(stored.get::<StoredV1, _>(1)?),
        RecordKey::Attempts(_) => Record::Attempts(if stored.is_version(1) {
            stored.domain(stored.form::<AttemptsV1>(1)?.into_domain())?
        } else {
            stored.get::<AttemptsV2, _>(2)?
        }),
        RecordKey::Asset(_) => Record::Asset(stored.get::<AssetV1, _>(1)?),
        RecordKey::Account(_) => Record::Account(stored.get::<AccountV1, _>(1)?),
        RecordKey::Hold(_) => Record::Hold(stored.get::<HoldV1, _>(1)?),
        RecordKey::Transfer(_) => Record::Transfer(stored.get::<TransferV1, _>(1)?),
        RecordKey::Totals(_) => Record::Totals(stored.get::<TotalsV1, _>(1)?),
        RecordKey::Tx(_) => Record::Tx(if stored.is_version(2) {
            stored.get::<TxV2, _>(2)?
        } else {
            stored.get::<TxV1, _>(1)?
        }),
        RecordKey::OpenOf(..)
        | RecordKey::TxsOf(..)
        | RecordKey::EndWith(..)
        | RecordKey::ActedIn(..)
        | RecordKey::Txs(_) => Record::Transactions(Vec::new()),
        RecordKey::Schedule(_) => Record::Schedule(stored.get_json::<ScheduleV1, _>()?),
        RecordKey::Job(_) => Record::Job(stored.get_json::<JobV1, _>()?),
        RecordKey::Webhook(_) => Record::Webhook(stored.get_json::<WebhookV1, _>()?),
        RecordKey::DeadLetter(_) => Record::DeadLetter(stored.get_json::<DeadLetterV1, _>()?),
        RecordKey::Asked(..) => Record::Asked,
        RecordKey::Reference(..) => Record::Reference(stored.get::<ReferenceV1, _>(1)?),
        RecordKey::One(..) => Record::One(stored.get::<u128, _>(1)?),
        RecordKey::Workflow(_) => Record::Workflow(stored.get::<WorkflowHeadV1, _>(1)?),
        RecordKey::Definition(name, version) => {
            // Version 1 is the same form with a document in the language's earlier words.
            let (form, language): (_, fn(&str) -> _) =
                if stored.is_version(1) { (1, workflow::read_v1) } else { (2, workflow::read) };
            let definition = stored.form::<DefinitionV1>(form)?;
            Record::Definition(Arc::new(definition.into_domain(key, (name, *version), language)?))
        }
    })
}
