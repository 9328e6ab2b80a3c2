//! The ledger computed anew from all that lies in the store: do the records agree?

use std::collections::BTreeMap;

use bytes::Bytes;

use super::{DecodeError, Key, join, read_entry, value};
use crate::engine::{Account, Entry, Hold, HoldStatus, Record, RecordKey, Totals};
use crate::types::{AccountId, AssetCode};

/// Figures of a ledger that adds up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Audited {
    /// Number of accounts.
    pub accounts: u64,
    /// Number of assets with accounts.
    pub assets: u64,
    /// Number of transfers.
    pub transfers: u64,
    /// Number of open holds.
    pub holds: u64,
}

/// Two records that do not agree, or one that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AuditError {
    /// One cannot be read.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// Two do not agree.
    #[error("the ledger does not add up: {0}")]
    Disagree(String),
}

/// An account and the sums of its rows.
struct Known {
    account: Account,
    /// Sum and number of its open holds so far.
    held: i128,
    holds: u32,
    /// The balance of the last line of its statement.
    balance: i128,
}

/// Takes all rows of a store in the order of their keys, and then says whether they agree.
#[derive(Default)]
pub struct Audit {
    accounts: BTreeMap<AccountId, Known>,
    totals: BTreeMap<AssetCode, Totals>,
    transfers: BTreeMap<AssetCode, u64>,
    audited: Audited,
    /// The parts so far of a transaction's record.
    parts: Vec<Bytes>,
}

impl Audit {
    /// Takes a row.
    ///
    /// # Errors
    /// [`AuditError`]
    pub fn row(&mut self, key: &[u8], bytes: &[u8]) -> Result<(), AuditError> {
        let Some(key) = Key::decode(key) else {
            let (key, what) = (key.escape_ascii().to_string(), "no such key is written".to_owned());
            return Err(DecodeError { key, what }.into());
        };
        let fact = match key {
            Key::Totals(code) => RecordKey::Totals(code),
            Key::Account(id) => RecordKey::Account(id),
            Key::Hold(id) => RecordKey::Hold(id),
            Key::Transfer(id) => RecordKey::Transfer(id),
            Key::Entry(..) => {
                return read_entry(&key, bytes)?.map_or(Ok(()), |entry| self.entry(&entry));
            }
            Key::Tx(id, part) => return self.part(&RecordKey::Tx(id), part, bytes),
            _ => return Ok(()),
        };
        match (&fact, value::decode(&fact, bytes)?) {
            (RecordKey::Totals(code), Record::Totals(totals)) => {
                self.totals.insert(code.clone(), totals);
                Ok(())
            }
            (_, Record::Account(account)) => self.account(account),
            (_, Record::Hold(hold)) => self.hold(&hold),
            (_, Record::Transfer(transfer)) => {
                *self.transfers.entry(transfer.asset).or_default() += 1;
                self.audited.transfers += 1;
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// A part of a transaction's record, in which its holds lie.
    fn part(&mut self, fact: &RecordKey, number: u8, bytes: &[u8]) -> Result<(), AuditError> {
        if number == 0 {
            self.parts.clear();
        }
        self.parts.push(Bytes::copy_from_slice(bytes));
        let Some(whole) = join(&self.parts) else { return Ok(()) };
        if let Record::Tx(tx) = value::decode(fact, &whole)? {
            for held in &tx.holds {
                self.hold(&held.hold)?;
            }
        }
        Ok(())
    }

    fn account(&mut self, account: Account) -> Result<(), AuditError> {
        let Account { id, floor, .. } = &account;
        if floor.is_some_and(|floor| account.available() < floor) {
            return disagree(format!("the account {id} lies below its floor"));
        }
        if account.closed && (account.posted, account.held, account.holds) != (0, 0, 0) {
            return disagree(format!("something is on the closed account {id}"));
        }
        self.audited.accounts += 1;
        let known = Known { account, held: 0, holds: 0, balance: 0 };
        self.accounts.insert(known.account.id.clone(), known);
        Ok(())
    }

    /// A line of a statement; those of an account come oldest first.
    fn entry(&mut self, entry: &Entry) -> Result<(), AuditError> {
        let Entry { account: id, revision, .. } = entry;
        let Some(known) = self.accounts.get_mut(id) else {
            return disagree(format!("there is a statement and no account {id}"));
        };
        if known.balance.checked_add(entry.amount) != Some(entry.balance) {
            return disagree(format!(
                "the statement of {id} goes from {} to {} by {} in revision {revision}, in minor \
                 units",
                known.balance, entry.balance, entry.amount
            ));
        }
        known.balance = entry.balance;
        Ok(())
    }

    /// A hold, wherever it lies.
    fn hold(&mut self, hold: &Hold) -> Result<(), AuditError> {
        if hold.status != HoldStatus::Held {
            return Ok(());
        }
        self.audited.holds += 1;
        let Some(known) = self.accounts.get_mut(&hold.account) else {
            return disagree(format!("the hold {} is on no account", hold.id));
        };
        known.held = known.held.saturating_add(hold.left);
        known.holds = known.holds.saturating_add(1);
        Ok(())
    }

    /// Says what adds up, after the last row.
    ///
    /// # Errors
    /// [`AuditError`] for the first that does not.
    pub fn finish(mut self) -> Result<Audited, AuditError> {
        let mut sums = BTreeMap::<AssetCode, Totals>::new();
        for (id, Known { account, held, holds, balance }) in &self.accounts {
            if account.posted != *balance {
                return disagree(format!(
                    "{} is posted on {id}, its statement ends with {balance}, in minor units",
                    account.posted
                ));
            }
            if (account.held, account.holds) != (*held, *holds) {
                return disagree(format!(
                    "{} is held on {id} by {} holds, its open holds are {holds} and reserve \
                     {held}, in minor units",
                    account.held, account.holds
                ));
            }
            let sum = sums.entry(account.asset.clone()).or_default();
            sum.posted = sum.posted.saturating_add(account.posted);
            sum.held = sum.held.saturating_add(account.held);
            sum.accounts += 1;
        }
        for (asset, count) in self.transfers {
            sums.entry(asset).or_default().transfers = count;
        }
        for (asset, sum) in &sums {
            let totals = self.totals.remove(asset).unwrap_or_default();
            if sum.posted != 0 {
                return disagree(format!(
                    "what is posted in {asset} adds up to {} minor units",
                    sum.posted
                ));
            }
            if *sum != totals {
                return disagree(format!(
                    "the totals of {asset} are {totals:?}, its records add up to {sum:?}"
                ));
            }
        }
        match self.totals.into_keys().next() {
            Some(asset) => disagree(format!("there are totals and no accounts in {asset}")),
            None => Ok(Audited { assets: sums.len() as u64, ..self.audited }),
        }
    }
}

fn disagree<T>(what: String) -> Result<T, AuditError> {
    Err(AuditError::Disagree(what))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;
    use crate::engine::AppendedRow;
    use crate::records::{ledger, row_key};
    use crate::types::{Revision, Time};

    /// Two accounts, a transfer between them, and what is left of a hold.
    struct Rows {
        from: Account,
        to: Account,
        hold: Hold,
        totals: Totals,
        lines: [Entry; 2],
    }

    fn rows() -> Rows {
        let account = |id: &str, posted, held, holds| Account {
            id: id.parse().unwrap(),
            asset: "EUR".parse().unwrap(),
            scale: 2,
            owner: None,
            floor: (posted >= 0).then_some(0),
            read_anyone: false,
            frozen: false,
            closed: false,
            posted,
            held,
            holds,
            created_at: Time::ZERO,
        };
        let line = |id: &str, counter: &str, amount| Entry {
            account: id.parse().unwrap(),
            revision: Revision::new(5),
            number: 0,
            transfer: "t".parse().unwrap(),
            counter: counter.parse().unwrap(),
            amount,
            balance: amount,
            scale: 2,
            note: None,
            tx: None,
            at: Time::ZERO,
        };
        Rows {
            from: account("a", -500, 0, 0),
            to: account("b", 500, 200, 1),
            hold: Hold {
                id: "h".parse().unwrap(),
                tx: None,
                account: "b".parse().unwrap(),
                asset: "EUR".parse().unwrap(),
                scale: 2,
                amount: 300,
                captured: 0,
                left: 200,
                status: HoldStatus::Held,
                expires_at: None,
                created_at: Time::ZERO,
            },
            totals: Totals { posted: 0, held: 200, accounts: 2, transfers: 0 },
            lines: [line("a", "b", -500), line("b", "a", 500)],
        }
    }

    fn audit(rows: &Rows) -> Result<Audited, AuditError> {
        let fact =
            |fact: RecordKey, record: Record| (Key::of(&fact).encode(), value::encode(&record));
        let account = |account: &Account| {
            fact(RecordKey::Account(account.id.clone()), Record::Account(account.clone()))
        };
        let mut all = vec![
            fact(RecordKey::Totals("EUR".parse().unwrap()), Record::Totals(rows.totals)),
            account(&rows.from),
            account(&rows.to),
            fact(RecordKey::Hold(rows.hold.id.clone()), Record::Hold(rows.hold.clone())),
        ];
        for line in &rows.lines {
            let row = AppendedRow::Entry(Box::new(line.clone()));
            let mut value = Vec::new();
            ledger::write_row(&mut value, &row);
            all.push((row_key(&row).encode(), value));
        }
        all.sort();
        let mut audit = Audit::default();
        for (key, bytes) in all {
            audit.row(&key, &bytes)?;
        }
        audit.finish()
    }

    #[test]
    fn a_ledger_in_order_is_in_order() {
        let found = Audited { accounts: 2, assets: 1, transfers: 0, holds: 1 };
        assert_eq!(audit(&rows()), Ok(found));
        assert_eq!(Audit::default().finish(), Ok(Audited::default()));
    }

    #[test]
    fn each_thing_that_does_not_agree_is_found() {
        type Damage = fn(&mut Rows);
        let faults: [(&str, Damage); 9] = [
            ("posted", |rows| rows.to.posted += 1),
            ("held", |rows| rows.to.held += 1),
            ("holds", |rows| rows.to.holds = 2),
            ("floor", |rows| rows.from.floor = Some(-1)),
            ("closed", |rows| rows.to.closed = true),
            ("hold", |rows| rows.hold.left -= 1),
            ("totals", |rows| rows.totals.held = 0),
            ("transfers", |rows| rows.totals.transfers = 1),
            ("line", |rows| rows.lines[1].amount = 499),
        ];
        for (what, fault) in faults {
            let mut rows = rows();
            fault(&mut rows);
            let error = audit(&rows).unwrap_err();
            assert!(matches!(error, AuditError::Disagree(_)), "{what}: {error}");
        }
        let mut both = rows();
        both.to.posted += 1;
        both.lines[1].amount += 1;
        both.lines[1].balance += 1;
        assert!(audit(&both).unwrap_err().to_string().contains("adds up to 1"));
    }

    #[test]
    fn what_cannot_be_read_is_said() {
        let error = Audit::default().row(&[0xff], b"").unwrap_err();
        assert!(matches!(error, AuditError::Decode(_)));
        let key = Key::Account("a".parse().unwrap()).encode();
        assert!(Audit::default().row(&key, b"\x01").is_err());
    }
}
