//! Lists of transactions: which are examined, and which of these the actor may see.
//!
//! A list is filtered on an outline of each record without its data, which may be large; only the
//! data of listed transactions is read. A transaction that the actor may not see leaves no trace: a
//! filter on another user reads only the actor's own transactions, and a cursor names no
//! transaction.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::application::App;
use super::read_budget::{PAGE_BYTES_MAX, ReadBudget};
use super::{ListPage, PageRequest};
use crate::engine::workflow::Definition;
use crate::engine::{
    Actor, Holder, IndexEntry, Owner, OwnerId, Record, RecordKey, Refusal, Tx, TxStatus, TxView,
    WorkflowReaders, may_see, may_submit, reference_fact,
};
use crate::records::{DecodeError, Key, ReadError, join, json_bytes, read_parts, value};
use crate::store::{KeyRange, Order, PAGE_ROWS_MAX, Versioned, View};
use crate::types::{Role, StepName, TxId, Username, WorkflowName};

/// Number of records that are read at once: each may have some 60 KiB.
const RECORDS_AT_ONCE: usize = 32;

/// Decoded size of a page's transactions, as a multiple of the page's bytes.
const DECODED_TIMES: usize = 8;

/// Size of a record, in bytes, above which it is decoded on the threads for reads.
const SMALL_BYTES: usize = 8 * 1024;

/// Rounds of the permutation that hides ids in cursors. With four it cannot be distinguished from a
/// random one without the key (Luby and Rackoff, 1988).
const ROUNDS: u8 = 4;

/// Filter of a list of transactions. `None` matches everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TxFilter {
    /// Workflow of the transaction.
    pub workflow: Option<WorkflowName>,
    /// Status of the transaction.
    pub status: Option<TxStatus>,
    /// Owner of the transaction.
    pub owner: Option<Username>,
    /// Reference of the transaction.
    pub reference: Option<String>,
    /// Step that is open.
    pub step: Option<StepName>,
    /// True if the transaction waits for the actor.
    pub inbox: bool,
}

/// The next ids of a list, newest first, with the record if it was read with the id.
type Found = Vec<(TxId, Option<Versioned>)>;

impl App {
    /// Returns a page of the transactions that the actor may see, newest first. A page may be short
    /// and still have a next one.
    ///
    /// # Errors
    /// [`Refusal::Stopping`]
    pub fn transactions(
        &self,
        actor: &Actor,
        filter: &TxFilter,
        page: PageRequest<TxId>,
    ) -> Result<ListPage<TxView, TxId>, Refusal> {
        if let (Some(workflow), Some(reference)) = (&filter.workflow, &filter.reference) {
            return self.by_reference(actor, filter, workflow, reference);
        }
        let sources = self.sources(actor, filter)?;
        let mut after = page.after.map(|cursor| self.tx_of_cursor(cursor));
        let mut budget = ReadBudget::of_page();
        let (mut items, mut bytes) = (Vec::new(), 0);
        loop {
            let (found, more) = self.guard(self.merged(&sources, after))?;
            for (id, read) in found {
                if items.len() == page.limit || bytes >= PAGE_BYTES_MAX || budget.is_spent() {
                    return Ok(ListPage { items, next: after.map(|id| self.tx_cursor(id)) });
                }
                after = Some(id);
                let read = match read {
                    Some(read) => Some(read),
                    None => self.guard(self.tx_bytes(id))?,
                };
                let Some(read) = read else {
                    budget.spend(0);
                    continue;
                };
                budget.spend(read.value.len());
                if let Some(view) = self.view_if(actor, id, &read, |tx, definition| {
                    fits(tx, definition, filter, actor)
                })? {
                    // Small values take many times their size when decoded.
                    bytes += read.value.len().max(json_bytes(&view.tx.data) / DECODED_TIMES);
                    items.push(view);
                }
            }
            if !more {
                return Ok(ListPage { items, next: None });
            }
        }
    }

    /// Returns the cursor after a transaction. It looks like an id, but does not reveal which one.
    #[must_use]
    pub fn tx_cursor(&self, id: TxId) -> TxId {
        let (mut left, mut right) = halves(id.bits());
        for round in 0..ROUNDS {
            (left, right) = (right, left ^ self.cursor_bits(round, right));
        }
        TxId::new(u128::from(left) << 64 | u128::from(right))
    }

    /// Returns the transaction of a cursor.
    fn tx_of_cursor(&self, cursor: TxId) -> TxId {
        let (mut left, mut right) = halves(cursor.bits());
        for round in (0..ROUNDS).rev() {
            (left, right) = (right ^ self.cursor_bits(round, left), left);
        }
        TxId::new(u128::from(left) << 64 | u128::from(right))
    }

    fn cursor_bits(&self, round: u8, half: u64) -> u64 {
        let digest = self.secret.digest("cursor", &[&[round], &half.to_le_bytes()]);
        digest.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes))
    }

    /// Reads the bytes of a transaction's record.
    pub(super) fn tx_bytes(&self, id: TxId) -> Result<Option<Versioned>, ReadError> {
        let found = read_parts(&*self.store, View::Committed, |part| Key::Tx(id, part))?;
        Ok(found.map(|(read, _)| read))
    }

    /// Returns whether a transaction is so large that reading it takes long.
    ///
    /// # Errors
    /// [`Refusal::Stopping`]
    pub fn is_large(&self, id: TxId) -> Result<bool, Refusal> {
        let first = self.store.get(View::Committed, &Key::Tx(id, 0).encode());
        let first = self.guard(first.map_err(ReadError::from))?;
        Ok(first.is_some_and(|first| first.value.len() > SMALL_BYTES))
    }

    /// Returns a transaction as the actor may see it, or `None` if it does not exist or is
    /// invisible.
    pub(super) fn tx_view(&self, actor: &Actor, id: TxId) -> Result<Option<TxView>, Refusal> {
        match self.guard(self.tx_bytes(id))? {
            Some(read) => self.view_if(actor, id, &read, |_, _| true),
            None => Ok(None),
        }
    }

    /// Returns the view of a record that was read, if the filter matches and the actor may see it.
    /// Both are decided before its data is decoded.
    fn view_if(
        &self,
        actor: &Actor,
        id: TxId,
        read: &Versioned,
        is_wanted: impl Fn(&Tx, &Definition) -> bool,
    ) -> Result<Option<TxView>, Refusal> {
        let record_key = RecordKey::Tx(id);
        let outline = value::decode_outline(&record_key, &read.value).map_err(ReadError::from);
        let outline = self.guard(outline)?;
        let published = self.published(&outline.workflow, outline.version)?;
        let Some(published) = published else { return Ok(None) };
        let definition = &published.definition;
        if !is_wanted(&outline, definition)
            || !(may_see(&outline, definition, actor, false) || self.was_asked(actor, id)?)
        {
            return Ok(None);
        }
        let record = value::decode(&record_key, &read.value).map_err(ReadError::from);
        let Record::Tx(tx) = self.guard(record)? else { return Ok(None) };
        let definition = Arc::clone(definition);
        let view = TxView::new(tx, read.revision, definition, actor, &self.rules, self.now());
        Ok(Some(view))
    }

    fn was_asked(&self, actor: &Actor, id: TxId) -> Result<bool, Refusal> {
        match actor.user() {
            Some(user) => {
                Ok(self.read_record(&RecordKey::Asked(user.username.clone(), id))?.is_some())
            }
            None => Ok(false),
        }
    }

    fn by_reference(
        &self,
        actor: &Actor,
        filter: &TxFilter,
        workflow: &WorkflowName,
        reference: &str,
    ) -> Result<ListPage<TxView, TxId>, Refusal> {
        let found = self.read_record(&reference_fact(workflow, reference))?;
        let Some((Record::Reference(reference), _)) = found else {
            return Ok(ListPage { items: Vec::new(), next: None });
        };
        let read = self.guard(self.tx_bytes(reference.tx))?;
        let view = match read {
            Some(read) => self.view_if(actor, reference.tx, &read, |tx, definition| {
                fits(tx, definition, filter, actor)
            })?,
            None => None,
        };
        Ok(ListPage { items: view.into_iter().collect(), next: None })
    }

    /// Returns the prefixes of the index entries of visible transactions.
    fn sources(&self, actor: &Actor, filter: &TxFilter) -> Result<Vec<Vec<u8>>, Refusal> {
        let first = TxId::new(0);
        let me = actor.owner_id();
        let user = actor.user();
        let asked = user.map(|user| IndexEntry::UserInbox(user.username.clone(), first));
        if filter.inbox {
            let roles = actor.roles().iter().map(|role| IndexEntry::RoleInbox(role.clone(), first));
            let own = me.map(|me| IndexEntry::OpenOf(me, first));
            return Ok(roles.chain(own).chain(asked).map(prefix).collect());
        }
        let own = || me.map(|me| IndexEntry::TxOf(me, first));
        if let Some(owner) = &filter.owner
            && user.is_some_and(|user| user.username == *owner)
        {
            return Ok(own().map(prefix).into_iter().collect());
        }
        if !self.sees_some_workflow(actor)? {
            // Such an actor sees only those transactions of another user that wait for it.
            let own = own().filter(|_| filter.owner.is_none());
            return Ok(own.into_iter().chain(asked).map(prefix).collect());
        }
        if filter.status == Some(TxStatus::Stuck) {
            return Ok(vec![prefix(IndexEntry::Stuck(first))]);
        }
        if let Some(owner) = &filter.owner {
            return Ok(match self.read_record(&RecordKey::Name(owner.clone()))? {
                Some((Record::Name(Holder::User(id)), _)) => {
                    vec![prefix(IndexEntry::TxOf(OwnerId::User(id), first))]
                }
                _ => Vec::new(),
            });
        }
        Ok(vec![Key::TXS.to_vec()])
    }

    /// Returns whether the actor may see all transactions of some workflow.
    fn sees_some_workflow(&self, actor: &Actor) -> Result<bool, Refusal> {
        if *actor == Actor::System || actor.has(Role::OPERATOR) || actor.has(Role::AUDITOR) {
            return Ok(true);
        }
        let mut range = KeyRange::prefix(Key::WORKFLOWS);
        loop {
            let page = self.store.scan(View::Committed, &range, Order::Ascending, PAGE_ROWS_MAX);
            let page = self.guard(page.map_err(ReadError::from))?;
            for row in &page.rows {
                let Some(Key::Workflow(name)) = Key::decode(&row.key) else { continue };
                let head = value::decode(&RecordKey::Workflow(name.clone()), &row.value);
                if let Record::Workflow(head) = self.guard(head.map_err(ReadError::from))?
                    && self.readers_of(&name, head.latest)?.include(actor)
                {
                    return Ok(true);
                }
            }
            match page.next {
                Some(next) => range = range.after(next),
                None => return Ok(false),
            }
        }
    }

    /// Returns the readers of a workflow, according to its latest version.
    fn readers_of(
        &self,
        name: &WorkflowName,
        latest: u32,
    ) -> Result<Arc<WorkflowReaders>, Refusal> {
        if let Some(readers) = self.readers.get(name, latest) {
            return Ok(readers);
        }
        let published = self.published(name, latest)?;
        let readers = published.map(|published| WorkflowReaders::of(&published.definition));
        let readers = Arc::new(readers.unwrap_or_default());
        self.readers.insert(name.clone(), latest, Arc::clone(&readers));
        Ok(readers)
    }

    /// Returns the next ids of all sources together, newest first, each once, and whether there are
    /// more.
    fn merged(
        &self,
        sources: &[Vec<u8>],
        before: Option<TxId>,
    ) -> Result<(Found, bool), ReadError> {
        let mut found = BTreeMap::new();
        // Below this id some source may have further ids.
        let mut floor = None;
        for source in sources {
            let are_records = *source == Key::TXS;
            let mut range = KeyRange::prefix(source);
            if let Some(before) = before {
                let mut key = source.clone();
                key.extend_from_slice(&before.bits().to_be_bytes());
                range = range.before(key.into());
            }
            let rows = if are_records { RECORDS_AT_ONCE } else { PAGE_ROWS_MAX };
            let page = self.store.scan(View::Committed, &range, Order::Descending, rows)?;
            let mut last = None;
            for row in &page.rows {
                let bits = row.key.get(source.len()..source.len() + size_of::<u128>());
                let bits = bits.and_then(|bits| bits.try_into().ok()).map(u128::from_be_bytes);
                let id = bits.map(TxId::new).ok_or_else(|| DecodeError {
                    key: format!("{:?}", row.key),
                    what: "no such key is written".to_owned(),
                })?;
                last = Some(id);
                let known = found.entry(id).or_insert(None);
                // A record in one part was read with its row.
                if are_records
                    && matches!(Key::decode(&row.key), Some(Key::Tx(_, 0)))
                    && let Some(value) = join(std::slice::from_ref(&row.value))
                {
                    *known = Some(Versioned { revision: row.revision, value });
                }
            }
            if page.next.is_some() {
                floor = floor.max(last.or(before));
            }
        }
        // The parts of a record have one id, and the last id of a page comes again.
        let found =
            found.into_iter().rev().filter(|(id, _)| floor.is_none_or(|floor| *id >= floor));
        Ok((found.collect(), floor.is_some()))
    }
}

/// Returns the prefix of an index entry's key, up to the transaction's id.
pub(super) fn prefix(mark: IndexEntry) -> Vec<u8> {
    let mut key = Key::IndexEntry(mark).encode();
    key.truncate(key.len() - size_of::<u128>());
    key
}

fn halves(bits: u128) -> (u64, u64) {
    let bytes = bits.to_be_bytes();
    let half = |bytes: &[u8]| bytes.iter().fold(0, |half, byte| half << 8 | u64::from(*byte));
    (half(&bytes[..8]), half(&bytes[8..]))
}

/// Returns whether the filter matches an outline.
fn fits(tx: &Tx, definition: &Definition, filter: &TxFilter, actor: &Actor) -> bool {
    let TxFilter { workflow, status, owner, reference, step, inbox } = filter;
    let waits =
        |open: &crate::engine::OpenStep| open.is_client && may_submit(tx, definition, open, actor);
    let owned = |name: &Username| matches!(&tx.owner, Owner::User(user) if user.username == *name);
    workflow.as_ref().is_none_or(|workflow| tx.workflow == *workflow)
        && status.is_none_or(|status| tx.status == status)
        && owner.as_ref().is_none_or(owned)
        && reference.as_ref().is_none_or(|wanted| tx.reference.as_deref() == Some(wanted))
        && step.as_ref().is_none_or(|step| tx.open.iter().any(|open| open.step == *step))
        && (!inbox || tx.open.iter().any(waits))
}
