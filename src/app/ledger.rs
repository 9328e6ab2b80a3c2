//! Queries of the ledger, as of what is durable.

use std::fmt;
use std::str::FromStr;

use super::application::App;
use super::{ListPage, PageRequest};
use crate::engine::{
    Account, Actor, Asset, Entry, Hold, Record, RecordKey, Refusal, Totals, Transfer, iso_asset,
    iso_assets,
};
use crate::records::{DecodeError, Key, ReadError, read_entry, value};
use crate::store::{KeyRange, Order, PAGE_ROWS_MAX, View};
use crate::types::{AccountId, AssetCode, HoldId, ParseError, Revision, Role, TransferId};

/// Number of attempts to read the totals between two commits.
const ROUNDS_MAX: usize = 16;

/// Position at the end of a page of a statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EntryMark {
    revision: Revision,
    number: u32,
}

impl fmt::Display for EntryMark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.revision, self.number)
    }
}

impl FromStr for EntryMark {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let read = || {
            let (revision, number) = text.split_once('-')?;
            let revision = Revision::new(revision.parse().ok()?);
            Some(Self { revision, number: number.parse().ok()? })
        };
        read().ok_or(ParseError::new("must be the `next_cursor` of a page before"))
    }
}

/// The totals of all assets and their revision.
type AllTotals = (Revision, Vec<(AssetCode, Totals)>);

/// Totals over all accounts, at one revision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LedgerCheck {
    /// The revision.
    pub revision: Revision,
    /// Assets that have accounts, by code.
    pub assets: Vec<(Asset, Totals)>,
}

impl App {
    /// Returns an account, for its owner, an administrator, an auditor or a service; a public one
    /// for any session too. The boolean says whether the actor sees it in full.
    ///
    /// # Errors
    /// [`Refusal::NotFound`], also for one that the actor may not see; [`Refusal::Stopping`].
    pub fn account(
        &self,
        actor: &Actor,
        id: &AccountId,
    ) -> Result<(Account, Revision, bool), Refusal> {
        let none = Refusal::NotFound("account");
        let (account, revision) = self.account_record(id)?.ok_or(none.clone())?;
        let in_full = account.is_visible_to(actor);
        let public = account.read_anyone && actor.session().is_some();
        if in_full || public { Ok((account, revision, in_full)) } else { Err(none) }
    }

    /// Returns the accounts whose ids begin with `prefix`, by id: all for an administrator, an
    /// auditor or a service, for a user its own.
    ///
    /// # Errors
    /// [`Refusal::Stopping`].
    pub fn accounts(
        &self,
        actor: &Actor,
        prefix: &str,
        page: &PageRequest<AccountId>,
    ) -> Result<ListPage<(Account, Revision), AccountId>, Refusal> {
        let all = matches!(actor, Actor::Key(_) | Actor::System) || actor.has(Role::AUDITOR);
        let (mut from, after) = match actor.user() {
            _ if all => (Key::ACCOUNTS.to_vec(), page.after.clone().map(Key::Account)),
            Some(user) => {
                let after = page.after.clone().map(|id| Key::Owned(user.id, id));
                (Key::owned_by(user.id), after)
            }
            None => return Ok(ListPage { items: Vec::new(), next: None }),
        };
        from.extend_from_slice(prefix.as_bytes());
        let mut range = KeyRange::prefix(&from);
        if let Some(after) = after.map(|key| key.encode()).filter(|after| *after >= from) {
            range = range.after(after.into());
        }
        let rows = self.guard(self.rows(range, Order::Ascending, page.limit + 1))?;
        let mut items = Vec::with_capacity(rows.len());
        for (key, value, revision) in rows {
            match key {
                Key::Account(id) => {
                    let record_key = RecordKey::Account(id);
                    let read = value::decode(&record_key, &value).map_err(ReadError::from);
                    if let Record::Account(account) = self.guard(read)? {
                        items.push((account, revision));
                    }
                }
                Key::Owned(_, id) => items.extend(self.account_record(&id)?),
                _ => {}
            }
        }
        let next = after_limit(&mut items, page.limit, |(account, _)| account.id.clone());
        Ok(ListPage { items, next })
    }

    /// Returns the statement of an account, newest first, for an actor that sees the account in
    /// full.
    ///
    /// # Errors
    /// As [`App::account`].
    pub fn entries(
        &self,
        actor: &Actor,
        id: &AccountId,
        page: PageRequest<EntryMark>,
    ) -> Result<ListPage<Entry, EntryMark>, Refusal> {
        let (_, _, in_full) = self.account(actor, id)?;
        if !in_full {
            return Err(Refusal::NotFound("account"));
        }
        let mut range = KeyRange::prefix(&Key::entries_of(id));
        if let Some(EntryMark { revision, number }) = page.after {
            range = range.before(Key::Entry(id.clone(), revision, number).encode().into());
        }
        let rows = self.guard(self.rows(range, Order::Descending, page.limit + 1))?;
        let mut items = Vec::with_capacity(rows.len());
        for (key, value, _) in rows {
            items.extend(self.guard(read_entry(&key, &value).map_err(ReadError::from))?);
        }
        let next = after_limit(&mut items, page.limit, |entry: &Entry| {
            let Entry { revision, number, .. } = *entry;
            EntryMark { revision, number }
        });
        Ok(ListPage { items, next })
    }

    /// Returns a transfer, for the owner of one of its accounts, an administrator, an auditor or a
    /// service.
    ///
    /// # Errors
    /// [`Refusal::NotFound`], also for one that the actor may not see; [`Refusal::Stopping`].
    pub fn transfer(
        &self,
        actor: &Actor,
        id: &TransferId,
    ) -> Result<(Transfer, Revision), Refusal> {
        let none = Refusal::NotFound("transfer");
        let Some((Record::Transfer(transfer), revision)) =
            self.read_record(&RecordKey::Transfer(id.clone()))?
        else {
            return Err(none);
        };
        let visible =
            self.is_visible(actor, &transfer.from)? || self.is_visible(actor, &transfer.to)?;
        if visible { Ok((transfer, revision)) } else { Err(none) }
    }

    /// Returns a hold outside of transactions, for the owner of its account, an administrator, an
    /// auditor or a service.
    ///
    /// # Errors
    /// [`Refusal::NotFound`], also for one that the actor may not see; [`Refusal::Stopping`].
    pub fn hold(&self, actor: &Actor, id: &HoldId) -> Result<(Hold, Revision), Refusal> {
        let none = Refusal::NotFound("hold");
        match self.read_record(&RecordKey::Hold(id.clone()))? {
            Some((Record::Hold(hold), revision)) if self.is_visible(actor, &hold.account)? => {
                Ok((hold, revision))
            }
            _ => Err(none),
        }
    }

    /// Returns an asset.
    ///
    /// # Errors
    /// [`Refusal::NotFound`], [`Refusal::Stopping`].
    pub fn asset(&self, code: &AssetCode) -> Result<Asset, Refusal> {
        if let Some(asset) = iso_asset(code) {
            return Ok(asset);
        }
        match self.read_record(&RecordKey::Asset(code.clone()))? {
            Some((Record::Asset(asset), _)) => Ok(asset),
            _ => Err(Refusal::NotFound("asset")),
        }
    }

    /// Returns all assets by code: those of ISO 4217 and those that were created.
    ///
    /// # Errors
    /// [`Refusal::Stopping`].
    pub fn assets(
        &self,
        page: &PageRequest<AssetCode>,
    ) -> Result<ListPage<Asset, AssetCode>, Refusal> {
        let mut range = KeyRange::prefix(Key::ASSETS);
        if let Some(after) = &page.after {
            range = range.after(Key::Asset(after.clone()).encode().into());
        }
        let rows = self.guard(self.rows(range, Order::Ascending, page.limit + 1))?;
        let after = page.after.as_ref();
        let mut items = iso_assets();
        items.retain(|asset| after.is_none_or(|after| asset.code > *after));
        for (key, value, _) in rows {
            let Key::Asset(code) = key else { continue };
            let read = value::decode(&RecordKey::Asset(code), &value).map_err(ReadError::from);
            if let Record::Asset(asset) = self.guard(read)? {
                items.push(asset);
            }
        }
        items.sort_unstable_by(|a, b| a.code.cmp(&b.code));
        let next = after_limit(&mut items, page.limit, |asset| asset.code.clone());
        Ok(ListPage { items, next })
    }

    /// Returns the totals over all accounts at one revision, for an administrator, an auditor or a
    /// service.
    ///
    /// # Errors
    /// [`Refusal::NotAllowed`], [`Refusal::Busy`] when commits come too fast to read one revision
    /// completely, [`Refusal::Stopping`].
    pub fn ledger_check(&self, actor: &Actor) -> Result<LedgerCheck, Refusal> {
        if !matches!(actor, Actor::Key(_)) {
            self.require_see_all(actor, "GET /v1/ledger/check")?;
        }
        for _ in 0..ROUNDS_MAX {
            let Some((revision, totals)) = self.guard(self.totals())? else { continue };
            let mut assets = Vec::with_capacity(totals.len());
            for (code, totals) in totals {
                assets.push((self.asset(&code)?, totals));
            }
            return Ok(LedgerCheck { revision, assets });
        }
        Err(Refusal::Busy { retry_after: crate::types::Span::from_seconds(1) })
    }

    /// Returns all totals at one revision, or `None` if a commit came in between.
    fn totals(&self) -> Result<Option<AllTotals>, ReadError> {
        let mut range = KeyRange::prefix(Key::TOTALS);
        let mut first = None;
        let mut totals = Vec::new();
        loop {
            let page = self.store.scan(View::Committed, &range, Order::Ascending, PAGE_ROWS_MAX)?;
            let revision = *first.get_or_insert(page.revision);
            for row in page.rows {
                // Rows of a later page that have not changed since are as of the first page's
                // revision.
                if row.revision > revision {
                    return Ok(None);
                }
                let Some(Key::Totals(code)) = Key::decode(&row.key) else { continue };
                if let Record::Totals(of) =
                    value::decode(&RecordKey::Totals(code.clone()), &row.value)?
                {
                    totals.push((code, of));
                }
            }
            match page.next {
                Some(next) => range = range.after(next),
                None => return Ok(Some((revision, totals))),
            }
        }
    }

    fn account_record(&self, id: &AccountId) -> Result<Option<(Account, Revision)>, Refusal> {
        Ok(match self.read_record(&RecordKey::Account(id.clone()))? {
            Some((Record::Account(account), revision)) => Some((account, revision)),
            _ => None,
        })
    }

    fn is_visible(&self, actor: &Actor, id: &AccountId) -> Result<bool, Refusal> {
        Ok(self.account_record(id)?.is_some_and(|(account, _)| account.is_visible_to(actor)))
    }

    /// Returns up to `limit` rows of a range.
    fn rows(
        &self,
        mut range: KeyRange,
        order: Order,
        limit: usize,
    ) -> Result<Vec<(Key, bytes::Bytes, Revision)>, ReadError> {
        let mut rows = Vec::new();
        // A page of the store may be short and still have a next one.
        while rows.len() < limit {
            let wanted = (limit - rows.len()).min(PAGE_ROWS_MAX);
            let page = self.store.scan(View::Committed, &range, order, wanted)?;
            for row in page.rows {
                let key = Key::decode(&row.key).ok_or_else(|| DecodeError {
                    key: format!("{:?}", row.key),
                    what: "no such key is written".to_owned(),
                })?;
                rows.push((key, row.value, row.revision));
            }
            match (page.next, order) {
                (Some(next), Order::Ascending) => range = range.after(next),
                (Some(next), Order::Descending) => range = range.before(next),
                (None, _) => break,
            }
        }
        Ok(rows)
    }
}

/// Cuts a page to its limit. Returns where the next one begins, if there is one.
fn after_limit<T, I>(items: &mut Vec<T>, limit: usize, name: impl Fn(&T) -> I) -> Option<I> {
    let more = items.len() > limit;
    items.truncate(limit);
    items.last().filter(|_| more).map(name)
}
