//! Forms of the ledger's records, and the rows that are only added.

use super::form::{Form, InvalidForm, Text, record_enums, record_structs};
use super::value::{self, read};
use super::{DecodeError, Key};
use crate::engine::{Account, AppendedRow, Asset, Entry, Hold, HoldStatus, Totals, Transfer};
use crate::store::VALUE_BYTES_MAX;
use crate::types::Revision;

record_structs! {
    struct AssetV1: Asset {
        code: Text,
        scale: u8,
        name: Option<Text>,
    }

    struct AccountV1: Account {
        id: Text,
        asset: Text,
        scale: u8,
        owner: Option<(u128, Text)>,
        floor: Option<i128>,
        read_anyone: bool,
        frozen: bool,
        closed: bool,
        posted: i128,
        held: i128,
        holds: u32,
        created_at: u64,
    }

    /// A hold, also inside the record of its transaction.
    struct HoldV1: Hold {
        id: Text,
        tx: Option<u128>,
        account: Text,
        asset: Text,
        scale: u8,
        amount: i128,
        captured: i128,
        left: i128,
        status: HoldStatusV1,
        expires_at: Option<u64>,
        created_at: u64,
    }

    struct TransferV1: Transfer {
        id: Text,
        from: Text,
        to: Text,
        asset: Text,
        scale: u8,
        amount: i128,
        note: Option<Text>,
        tx: Option<u128>,
        hold: Option<Text>,
        reverses: Option<Text>,
        reversed_by: Option<Text>,
        at: u64,
        revision: u64,
    }

    struct TotalsV1: Totals {
        posted: i128,
        held: i128,
        accounts: u64,
        transfers: u64,
    }
}

record_enums! {
    enum HoldStatusV1: HoldStatus {
        Held,
        Captured,
        Voided,
        Expired,
    }
}

/// A line of a statement without the fields that are in its key.
#[derive(serde::Serialize, serde::Deserialize)]
struct EntryV1 {
    transfer: Text,
    counter: Text,
    amount: i128,
    balance: i128,
    scale: u8,
    note: Option<Text>,
    tx: Option<u128>,
    at: u64,
}

/// Returns the key of a row.
#[must_use]
pub fn row_key(row: &AppendedRow) -> Key {
    match row {
        AppendedRow::Entry(entry) => {
            Key::Entry(entry.account.clone(), entry.revision, entry.number)
        }
        AppendedRow::Owned(user, account) => Key::Owned(*user, account.clone()),
        AppendedRow::Commits(tx, commits) => {
            Key::TxLog(*tx, commits.last().copied().unwrap_or(Revision::ZERO))
        }
    }
}

/// Writes the value of a row.
pub(super) fn write_row(out: &mut Vec<u8>, row: &AppendedRow) {
    match row {
        AppendedRow::Owned(..) => {}
        AppendedRow::Commits(_, commits) => {
            let before: Vec<u64> =
                commits.iter().rev().skip(1).map(|commit| commit.get()).collect();
            value::write_into(out, 1, &before);
        }
        AppendedRow::Entry(entry) => {
            let Entry { amount, balance, scale, .. } = **entry;
            let line = EntryV1 {
                transfer: Form::from_domain(&entry.transfer),
                counter: Form::from_domain(&entry.counter),
                amount,
                balance,
                scale,
                note: Form::from_domain(&entry.note),
                tx: Form::from_domain(&entry.tx),
                at: entry.at.ms(),
            };
            value::write_into(out, 1, &line);
        }
    }
}

/// Reads the commits that changed a transaction, oldest first; `None`: the key is not that of such
/// a row. A row without a value is one commit.
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
    let line: EntryV1 = read(key, 1, bytes, VALUE_BYTES_MAX as u64)?;
    let entry = || -> Result<Entry, InvalidForm> {
        Ok(Entry {
            account: account.clone(),
            revision: *revision,
            number: *number,
            transfer: line.transfer.into_domain()?,
            counter: line.counter.into_domain()?,
            amount: line.amount,
            balance: line.balance,
            scale: line.scale,
            note: line.note.into_domain()?,
            tx: line.tx.into_domain()?,
            at: line.at.into_domain()?,
        })
    };
    entry().map(Some).map_err(|error| value::invalid(key, &error))
}
