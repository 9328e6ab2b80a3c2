//! Lists of transactions: which are looked at, and which of these the actor may see.
//!
//! What decides whether a transaction belongs to a list is read without its data, which may be
//! large; the data is read of those that are listed. What an actor may not see leaves no trace: a
//! filter on somebody whose transactions the actor could not see reads only what is the actor's
//! own, and a cursor names no transaction.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ahash::RandomState;

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

/// Rows of records that are read at once: each may have some 60 KiB.
const RECORDS_AT_ONCE: usize = 32;

/// So many times the bytes of a page may its transactions take decoded.
const DECODED_TIMES: usize = 8;

/// A record of more bytes is decoded on the threads for reads.
const SMALL_BYTES: usize = 8 * 1024;

/// Rounds of the permutation that hides ids in cursors: with four, nobody who does not know the
/// key tells it from a random one (Luby and Rackoff, 1988).
const ROUNDS: u8 = 4;

/// Workflows whose readers are kept, at some hundred bytes each: more than there may be.
const READERS_KEPT: usize = 2000;

/// Who sees all transactions of which workflow, by the version of which that is so. Definitions are
/// large, and a list would have to read all of them.
#[derive(Default)]
pub(super) struct ReadersCache(Mutex<HashMap<WorkflowName, KeptReaders, RandomState>>);

type KeptReaders = (u32, Arc<WorkflowReaders>);

impl ReadersCache {
    fn lock(&self) -> MutexGuard<'_, HashMap<WorkflowName, KeptReaders, RandomState>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Which transactions are asked for; what is `None` does not matter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TxFilter {
    /// Of this workflow.
    pub workflow: Option<WorkflowName>,
    /// With this status.
    pub status: Option<TxStatus>,
    /// Of this user.
    pub owner: Option<Username>,
    /// With this reference.
    pub reference: Option<String>,
    /// In which this step is open.
    pub step: Option<StepName>,
    /// That wait for the one who asks.
    pub inbox: bool,
}

/// The ids that come next in a list, newest first, with the record where it was read along.
type Found = Vec<(TxId, Option<Versioned>)>;

impl App {
    /// The transactions that the actor may see, newest first. A page may hold fewer than asked for
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
                    // Small values take many times as much decoded.
                    bytes += read.value.len().max(json_bytes(&view.tx.data) / DECODED_TIMES);
                    items.push(view);
                }
            }
            if !more {
                return Ok(ListPage { items, next: None });
            }
        }
    }

    /// The cursor after a transaction: like an id to look at, but nobody outside can tell which
    /// one it stands for.
    #[must_use]
    pub fn tx_cursor(&self, id: TxId) -> TxId {
        let (mut left, mut right) = halves(id.bits());
        for round in 0..ROUNDS {
            (left, right) = (right, left ^ self.cursor_bits(round, right));
        }
        TxId::new(u128::from(left) << 64 | u128::from(right))
    }

    /// The transaction that a cursor stands for.
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

    /// The bytes of a transaction's record.
    pub(super) fn tx_bytes(&self, id: TxId) -> Result<Option<Versioned>, ReadError> {
        let found = read_parts(&*self.store, View::Committed, |part| Key::Tx(id, part))?;
        Ok(found.map(|(read, _)| read))
    }

    /// Whether a transaction is so large that reading it takes a while.
    ///
    /// # Errors
    /// [`Refusal::Stopping`]
    pub fn is_large(&self, id: TxId) -> Result<bool, Refusal> {
        let first = self.store.get(View::Committed, &Key::Tx(id, 0).encode());
        let first = self.guard(first.map_err(ReadError::from))?;
        Ok(first.is_some_and(|first| first.value.len() > SMALL_BYTES))
    }

    /// A transaction as the actor may see it; `None`: there is none, or it may not be seen.
    pub(super) fn tx_view(&self, actor: &Actor, id: TxId) -> Result<Option<TxView>, Refusal> {
        match self.guard(self.tx_bytes(id))? {
            Some(read) => self.view_if(actor, id, &read, |_, _| true),
            None => Ok(None),
        }
    }

    /// The same of a record that was read, if it is wanted. Whether it is, and whether the actor
    /// may see it, is found out before its data is looked at.
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
                Ok(self.record_key(&RecordKey::Asked(user.username.clone(), id))?.is_some())
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
        let found = self.record_key(&reference_fact(workflow, reference))?;
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

    /// The prefixes of the keys under which what may be seen is found.
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
            // Of somebody else such an actor sees only what asked for the actor.
            let own = own().filter(|_| filter.owner.is_none());
            return Ok(own.into_iter().chain(asked).map(prefix).collect());
        }
        if filter.status == Some(TxStatus::Stuck) {
            return Ok(vec![prefix(IndexEntry::Stuck(first))]);
        }
        if let Some(owner) = &filter.owner {
            return Ok(match self.record_key(&RecordKey::Name(owner.clone()))? {
                Some((Record::Name(Holder::User(id)), _)) => {
                    vec![prefix(IndexEntry::TxOf(OwnerId::User(id), first))]
                }
                _ => Vec::new(),
            });
        }
        Ok(vec![Key::TXS.to_vec()])
    }

    /// Whether there is a workflow all of whose transactions the actor may see.
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

    /// Who sees all transactions of a workflow, by its latest version.
    fn readers_of(
        &self,
        name: &WorkflowName,
        latest: u32,
    ) -> Result<Arc<WorkflowReaders>, Refusal> {
        if let Some((version, readers)) = self.readers.lock().get(name)
            && *version == latest
        {
            return Ok(Arc::clone(readers));
        }
        let published = self.published(name, latest)?;
        let readers = published.map(|published| WorkflowReaders::of(&published.definition));
        let readers = Arc::new(readers.unwrap_or_default());
        let mut kept = self.readers.lock();
        if kept.len() >= READERS_KEPT {
            kept.clear();
        }
        kept.insert(name.clone(), (latest, Arc::clone(&readers)));
        Ok(readers)
    }

    /// The next ids of all sources together, newest first, each once, and whether there are more.
    fn merged(
        &self,
        sources: &[Vec<u8>],
        before: Option<TxId>,
    ) -> Result<(Found, bool), ReadError> {
        let mut found = BTreeMap::new();
        // Below this, some source has more than it has shown.
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
                // A record that lies in one part was read with its row.
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
        // The parts of one record have one id; the one that a page ended with comes again.
        let found =
            found.into_iter().rev().filter(|(id, _)| floor.is_none_or(|floor| *id >= floor));
        Ok((found.collect(), floor.is_some()))
    }
}

/// What the keys of a mark's kind begin with, before a transaction's id.
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

/// Whether it is one of those that are asked for.
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
