//! The ledger's records as bytes: structs that are frozen with their version.

use serde::{Deserialize, Serialize};

use super::value::{read, word};
use super::{DecodeError, Key};
use crate::engine::{
    Account, Asset, Entry, Hold, HoldStatus, RecordKey, Row, Totals, Transfer, UserRef,
};
use crate::store::VALUE_BYTES_MAX;
use crate::types::{Revision, Time, TxId, UserId};

#[derive(Serialize, Deserialize)]
pub(super) struct AssetV1 {
    code: String,
    scale: u8,
    name: Option<String>,
}

#[derive(Serialize, Deserialize)]
pub(super) struct AccountV1 {
    id: String,
    asset: String,
    scale: u8,
    owner: Option<(u128, String)>,
    floor: Option<i128>,
    read_anyone: bool,
    frozen: bool,
    closed: bool,
    posted: i128,
    held: i128,
    holds: u32,
    created_at: u64,
}

#[derive(Serialize, Deserialize)]
enum HoldStatusV1 {
    Held,
    Captured,
    Voided,
    Expired,
}

/// A hold, also where it lies in the record of its transaction.
#[derive(Serialize, Deserialize)]
pub(super) struct HoldV1 {
    id: String,
    tx: Option<u128>,
    account: String,
    asset: String,
    scale: u8,
    amount: i128,
    captured: i128,
    left: i128,
    status: HoldStatusV1,
    expires_at: Option<u64>,
    created_at: u64,
}

#[derive(Serialize, Deserialize)]
pub(super) struct TransferV1 {
    id: String,
    from: String,
    to: String,
    asset: String,
    scale: u8,
    amount: i128,
    note: Option<String>,
    tx: Option<u128>,
    hold: Option<String>,
    reverses: Option<String>,
    reversed_by: Option<String>,
    at: u64,
    revision: u64,
}

#[derive(Serialize, Deserialize)]
pub(super) struct TotalsV1 {
    posted: i128,
    held: i128,
    accounts: u64,
    transfers: u64,
}

/// What of a statement's line is not in its key.
#[derive(Serialize, Deserialize)]
struct EntryV1 {
    transfer: String,
    counter: String,
    amount: i128,
    balance: i128,
    scale: u8,
    note: Option<String>,
    tx: Option<u128>,
    at: u64,
}

impl From<&Asset> for AssetV1 {
    fn from(asset: &Asset) -> Self {
        Self {
            code: asset.code.to_string(),
            scale: asset.scale,
            name: asset.name.as_deref().map(str::to_owned),
        }
    }
}

impl AssetV1 {
    pub(super) fn thaw(self, fact: &RecordKey) -> Result<Asset, DecodeError> {
        Ok(Asset {
            code: word(fact, &self.code)?,
            scale: self.scale,
            name: self.name.map(Into::into),
        })
    }
}

impl From<&Account> for AccountV1 {
    fn from(account: &Account) -> Self {
        Self {
            id: account.id.to_string(),
            asset: account.asset.to_string(),
            scale: account.scale,
            owner: account.owner.as_ref().map(|user| (user.id.bits(), user.username.to_string())),
            floor: account.floor,
            read_anyone: account.read_anyone,
            frozen: account.frozen,
            closed: account.closed,
            posted: account.posted,
            held: account.held,
            holds: account.holds,
            created_at: account.created_at.ms(),
        }
    }
}

impl AccountV1 {
    pub(super) fn thaw(self, fact: &RecordKey) -> Result<Account, DecodeError> {
        let owner = match self.owner {
            Some((id, name)) => Some(UserRef { id: UserId::new(id), username: word(fact, &name)? }),
            None => None,
        };
        Ok(Account {
            id: word(fact, &self.id)?,
            asset: word(fact, &self.asset)?,
            scale: self.scale,
            owner,
            floor: self.floor,
            read_anyone: self.read_anyone,
            frozen: self.frozen,
            closed: self.closed,
            posted: self.posted,
            held: self.held,
            holds: self.holds,
            created_at: Time::from_ms(self.created_at),
        })
    }
}

impl From<&Hold> for HoldV1 {
    fn from(hold: &Hold) -> Self {
        Self {
            id: hold.id.to_string(),
            tx: hold.tx.map(TxId::bits),
            account: hold.account.to_string(),
            asset: hold.asset.to_string(),
            scale: hold.scale,
            amount: hold.amount,
            captured: hold.captured,
            left: hold.left,
            status: match hold.status {
                HoldStatus::Held => HoldStatusV1::Held,
                HoldStatus::Captured => HoldStatusV1::Captured,
                HoldStatus::Voided => HoldStatusV1::Voided,
                HoldStatus::Expired => HoldStatusV1::Expired,
            },
            expires_at: hold.expires_at.map(Time::ms),
            created_at: hold.created_at.ms(),
        }
    }
}

impl HoldV1 {
    pub(super) fn thaw(self, fact: &RecordKey) -> Result<Hold, DecodeError> {
        Ok(Hold {
            id: word(fact, &self.id)?,
            tx: self.tx.map(TxId::new),
            account: word(fact, &self.account)?,
            asset: word(fact, &self.asset)?,
            scale: self.scale,
            amount: self.amount,
            captured: self.captured,
            left: self.left,
            status: match self.status {
                HoldStatusV1::Held => HoldStatus::Held,
                HoldStatusV1::Captured => HoldStatus::Captured,
                HoldStatusV1::Voided => HoldStatus::Voided,
                HoldStatusV1::Expired => HoldStatus::Expired,
            },
            expires_at: self.expires_at.map(Time::from_ms),
            created_at: Time::from_ms(self.created_at),
        })
    }
}

impl From<&Transfer> for TransferV1 {
    fn from(transfer: &Transfer) -> Self {
        Self {
            id: transfer.id.to_string(),
            from: transfer.from.to_string(),
            to: transfer.to.to_string(),
            asset: transfer.asset.to_string(),
            scale: transfer.scale,
            amount: transfer.amount,
            note: transfer.note.as_deref().map(str::to_owned),
            tx: transfer.tx.map(TxId::bits),
            hold: transfer.hold.as_ref().map(ToString::to_string),
            reverses: transfer.reverses.as_ref().map(ToString::to_string),
            reversed_by: transfer.reversed_by.as_ref().map(ToString::to_string),
            at: transfer.at.ms(),
            revision: transfer.revision.get(),
        }
    }
}

impl TransferV1 {
    pub(super) fn thaw(self, fact: &RecordKey) -> Result<Transfer, DecodeError> {
        Ok(Transfer {
            id: word(fact, &self.id)?,
            from: word(fact, &self.from)?,
            to: word(fact, &self.to)?,
            asset: word(fact, &self.asset)?,
            scale: self.scale,
            amount: self.amount,
            note: self.note.map(Into::into),
            tx: self.tx.map(TxId::new),
            hold: self.hold.map(|id| word(fact, &id)).transpose()?,
            reverses: self.reverses.map(|id| word(fact, &id)).transpose()?,
            reversed_by: self.reversed_by.map(|id| word(fact, &id)).transpose()?,
            at: Time::from_ms(self.at),
            revision: Revision::new(self.revision),
        })
    }
}

impl From<&Totals> for TotalsV1 {
    fn from(totals: &Totals) -> Self {
        let Totals { posted, held, accounts, transfers } = *totals;
        Self { posted, held, accounts, transfers }
    }
}

impl From<TotalsV1> for Totals {
    fn from(totals: TotalsV1) -> Self {
        let TotalsV1 { posted, held, accounts, transfers } = totals;
        Self { posted, held, accounts, transfers }
    }
}

/// The key of a row that no decision reads.
#[must_use]
pub fn row_key(row: &Row) -> Key {
    match row {
        Row::Entry(entry) => Key::Entry(entry.account.clone(), entry.revision, entry.number),
        Row::Owned(user, account) => Key::Owned(*user, account.clone()),
        Row::Commits(tx, commits) => {
            Key::TxLog(*tx, commits.last().copied().unwrap_or(Revision::ZERO))
        }
    }
}

/// Writes a row that no decision reads.
pub(super) fn write_row(out: &mut Vec<u8>, row: &Row) {
    match row {
        Row::Owned(..) => {}
        Row::Commits(_, commits) => {
            let before: Vec<u64> =
                commits.iter().rev().skip(1).map(|commit| commit.get()).collect();
            super::value::write_into(out, 1, &before);
        }
        Row::Entry(entry) => super::value::write_into(
            out,
            1,
            &EntryV1 {
                transfer: entry.transfer.to_string(),
                counter: entry.counter.to_string(),
                amount: entry.amount,
                balance: entry.balance,
                scale: entry.scale,
                note: entry.note.as_deref().map(str::to_owned),
                tx: entry.tx.map(TxId::bits),
                at: entry.at.ms(),
            },
        ),
    }
}

/// Reads which commits changed a transaction, oldest first; `None`: the key is not that of such a
/// row. A row without a value tells of one commit.
///
/// # Errors
/// [`DecodeError`]
pub fn read_commits(key: &Key, bytes: &[u8]) -> Result<Option<Vec<Revision>>, DecodeError> {
    let Key::TxLog(_, last) = key else { return Ok(None) };
    let before: Vec<u64> = match bytes {
        [] => Vec::new(),
        bytes => read(key, 1, bytes, VALUE_BYTES_MAX as u64)?,
    };
    Ok(Some(before.into_iter().rev().map(Revision::new).chain([*last]).collect()))
}

/// Reads a line of a statement; `None`: the key is not that of one.
///
/// # Errors
/// [`DecodeError`]
pub fn read_entry(key: &Key, bytes: &[u8]) -> Result<Option<Entry>, DecodeError> {
    let Key::Entry(account, revision, number) = key else { return Ok(None) };
    let row: EntryV1 = read(key, 1, bytes, VALUE_BYTES_MAX as u64)?;
    Ok(Some(Entry {
        account: account.clone(),
        revision: *revision,
        number: *number,
        transfer: word(key, &row.transfer)?,
        counter: word(key, &row.counter)?,
        amount: row.amount,
        balance: row.balance,
        scale: row.scale,
        note: row.note.map(Into::into),
        tx: row.tx.map(TxId::new),
        at: Time::from_ms(row.at),
    }))
}
