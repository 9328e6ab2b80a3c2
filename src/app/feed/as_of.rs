//! Records as of a past revision, from the log.

use bytes::Bytes;

use crate::app::{App, LedgerCheck};
use crate::engine::{Account, Actor, Record, RecordKey, Refusal, Tx, TxView};
use crate::records::{Key, ReadError, read_commits, read_written, value};
use crate::store::{KeyRange, LogEntry, Order, StoreError, Versioned, View};
use crate::types::{AccountId, Revision, TxId};

/// Maximum number of commits that are examined for a past record: some tenths of a second of
/// reading. A record that was last written before them is not found.
const EXAMINED_MAX: u64 = 20_000;

/// Number of index rows that are examined for the one that names a commit: it is the nearest, apart
/// from a few others.
const ROWS_LOOKED_AT: usize = 8;

/// Maximum number of bytes of the examined commits.
const EXAMINED_BYTES_MAX: usize = 256 * 1024 * 1024;

/// Number of commits of one part of the log, which is read forwards.
const PART: u64 = 512;

/// Maximum number of commits that are in memory at once.
const READ_MAX: usize = 64;

impl App {
    /// Returns the revision of the last durable commit.
    #[must_use]
    pub fn revision(&self) -> Revision {
        self.store.durable()
    }

    /// Returns a transaction as of a revision, or `None` if the log does not reach back so far.
    ///
    /// # Errors
    /// [`Refusal::NotFound`], also if the actor may not see it now, and if it did not exist yet;
    /// [`Refusal::Stopping`].
    pub fn transaction_at(
        &self,
        actor: &Actor,
        id: TxId,
        at: Revision,
    ) -> Result<Option<TxView>, Refusal> {
        let now = self.transaction(actor, id)?;
        if now.revision <= at {
            return Ok(Some(now));
        }
        let none = Refusal::NotFound("transaction at that revision");
        let revision = self.guard(self.changed_last(&now.tx, at))?.ok_or(none)?;
        let read = read_written(&*self.store, &RecordKey::Tx(id), revision);
        let Some(Record::Tx(tx)) = self.guard(read)? else { return Ok(None) };
        let definition = now.definition;
        let then = tx.updated_at;
        Ok(Some(TxView::new(tx, revision, definition, actor, self.rules(), then)))
    }

    /// Returns the last commit up to `at` that changed a transaction.
    fn changed_last(&self, tx: &Tx, at: Revision) -> Result<Option<Revision>, ReadError> {
        let mut found = tx.commits.clone();
        // The key of a row is the last commit that it names, so commits up to `at` may be in the
        // next row.
        let (all, key) = (KeyRange::prefix(&Key::log_of(tx.id)), Key::TxLog(tx.id, at).encode());
        for (range, order) in [
            (all.clone().after(key.clone().into()), Order::Ascending),
            (all.before(Key::TxLog(tx.id, at.next()).encode().into()), Order::Descending),
        ] {
            let page = self.store.scan(View::Committed, &range, order, ROWS_LOOKED_AT)?;
            // A row without a value names a commit that did not change the transaction.
            for row in page.rows.iter().filter(|row| !row.value.is_empty()) {
                if let Some(key) = Key::decode(&row.key) {
                    found.extend(read_commits(&key, &row.value)?.unwrap_or_default());
                }
            }
        }
        Ok(found.into_iter().filter(|commit| *commit <= at).max())
    }

    /// Returns an account as of a revision, and whether the actor sees it in full; `None` if the
    /// log does not reach back so far.
    ///
    /// # Errors
    /// As [`App::account`]; [`Refusal::NotFound`] also if it did not exist yet.
    pub fn account_at(
        &self,
        actor: &Actor,
        id: &AccountId,
        at: Revision,
    ) -> Result<Option<(Account, Revision, bool)>, Refusal> {
        let (_, _, in_full) = self.account(actor, id)?;
        let record_key = RecordKey::Account(id.clone());
        let Some(mut found) = self.values_at(&[Key::of(&record_key).encode()], at)? else {
            return Ok(None);
        };
        let Some(row) = found.pop().flatten() else {
            return Err(Refusal::NotFound("account at that revision"));
        };
        let read = value::decode(&record_key, &row.value).map_err(ReadError::from);
        match self.guard(read)? {
            Record::Account(account) => Ok(Some((account, row.revision, in_full))),
            _ => Ok(None),
        }
    }

    /// Returns the totals over all accounts as of a revision, or `None` if the log does not reach
    /// back so far.
    ///
    /// # Errors
    /// As [`App::ledger_check`].
    pub fn ledger_check_at(
        &self,
        actor: &Actor,
        at: Revision,
    ) -> Result<Option<LedgerCheck>, Refusal> {
        let now = self.ledger_check(actor)?;
        if now.revision <= at {
            return Ok(Some(now));
        }
        let facts: Vec<_> =
            now.assets.iter().map(|(asset, _)| RecordKey::Totals(asset.code.clone())).collect();
        let keys: Vec<_> = facts.iter().map(|record_key| Key::of(record_key).encode()).collect();
        let Some(found) = self.values_at(&keys, at)? else { return Ok(None) };
        let mut assets = Vec::new();
        for ((record_key, row), (asset, _)) in facts.iter().zip(found).zip(now.assets) {
            // The asset had no account yet.
            let Some(row) = row else { continue };
            let read = value::decode(record_key, &row.value).map_err(ReadError::from);
            if let Record::Totals(totals) = self.guard(read)? {
                assets.push((asset, totals));
            }
        }
        Ok(Some(LedgerCheck { revision: at, assets }))
    }

    /// Returns the values of these keys as of a revision. A value that has not changed since is
    /// read from the store, the others from the log, backwards.
    fn values_at(
        &self,
        keys: &[Vec<u8>],
        at: Revision,
    ) -> Result<Option<Vec<Option<Versioned>>>, Refusal> {
        let asked: Vec<&[u8]> = keys.iter().map(Vec::as_slice).collect();
        let rows = self.store.get_many(&asked).map_err(ReadError::from);
        let (_, rows) = self.guard(rows)?;
        let is_old = |row: Option<Versioned>| row.filter(|row| row.revision <= at).map(Some);
        let mut found: Vec<Option<Option<Versioned>>> = rows.into_iter().map(is_old).collect();
        let mut to = at.get();
        let mut bytes = 0;
        while to > 0 && found.iter().any(Option::is_none) {
            let from = to.saturating_sub(PART);
            if at.get() - from > EXAMINED_MAX || bytes > EXAMINED_BYTES_MAX {
                return Ok(None);
            }
            // Each part is read forwards, so that the last write in it wins.
            let mut newest: Vec<Option<Option<Versioned>>> = vec![None; keys.len()];
            let mut after = from;
            while after < to {
                let limit = usize::try_from(to - after).unwrap_or(usize::MAX).min(READ_MAX);
                let Some(read) = self.log_after(Revision::new(after), limit)? else {
                    return Ok(None);
                };
                let Some(last) = read.last() else { return Ok(None) };
                after = last.revision.get();
                for entry in &read {
                    for write in &entry.writes {
                        bytes += write.key.len() + write.value.as_ref().map_or(0, Bytes::len);
                        let asked = keys.iter().position(|key| write.key == key.as_slice());
                        if let Some(newest) = asked.and_then(|asked| newest.get_mut(asked)) {
                            let row = |value| Versioned { revision: entry.revision, value };
                            *newest = Some(write.value.clone().map(row));
                        }
                    }
                }
                self.reads.give_way();
            }
            for (found, newest) in found.iter_mut().zip(newest) {
                *found = found.take().or(newest);
            }
            to = from;
        }
        // A key that no commit had written did not exist.
        Ok(Some(found.into_iter().map(Option::flatten).collect()))
    }

    /// Reads commits of the log, or returns `None` if it does not reach back so far.
    fn log_after(&self, after: Revision, limit: usize) -> Result<Option<Vec<LogEntry>>, Refusal> {
        match self.store.read_log(after, limit) {
            Ok(entries) => Ok(Some(entries)),
            Err(StoreError::Gone { .. }) => Ok(None),
            Err(error) => self.guard(Err(error.into())),
        }
    }
}
