//! Unit of work of one command's decision: the records that were read, and the changes so far.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::{Map, Value};

use super::append_list::Shelf;
use super::digest::Digest;
use super::record::{IndexEntry, Opens, Record, RecordKey, Reference, Timer};
use super::trail::{Savepoint, Trail};
use crate::engine::api_key::ApiKey;
use crate::engine::attempt::Attempts;
use crate::engine::bulk::Job;
use crate::engine::ledger::{Account, AppendedRow, Asset, Hold, HoldStatus, Totals, Transfer};
use crate::engine::schedule::Schedule;
use crate::engine::session::{Session, Stored, StoredId};
use crate::engine::transaction::{Published, Tx, WorkflowHead};
use crate::engine::user::RoleChanges;
use crate::engine::user::{Holder, User};
use crate::engine::value::ValueKey;
use crate::engine::webhook::{DeadLetter, Webhook};
use crate::engine::workflow::Definition;
use crate::engine::{Changes, Event, ReadSet, Refusal, Rules};
use crate::types::{
    AccountId, AssetCode, HoldId, JobId, KeyId, Revision, ScheduleId, SessionId, Time, TokenHash,
    TransferId, TxId, UserId, Username, ValueName, WebhookId, WorkflowName,
};

/// Maximum number of commits that a transaction's record names: a row for each commit would cost
/// more than its entry here, and few transactions have more.
const COMMITS_MAX: usize = 32;

/// Maximum number of effects that are undone in one commit, over all transactions; the rest follows
/// in further commits. Each writes some seven records and costs 20 to 40 µs with its share of the
/// commit, so this occupies the executor for 2 to 3 ms.
pub(in crate::engine) const UNDO_MAX: usize = 64;

/// Time, revision and random seed of a decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DecisionContext {
    /// Time of the decision.
    pub now: Time,
    /// Revision that the commit will have.
    pub revision: Revision,
    /// 128 random bits, from which [`UnitOfWork::mint`] generates ids.
    pub seed: u128,
    /// Divisor for work that may be split over several commits: 1 does all of it, 2 half. The
    /// executor doubles it until the commit is small enough.
    pub split_factor: usize,
}

/// Reason for which a decision stopped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DecideError {
    /// The caller must load this record and then repeat the decision from the start.
    MissingRecord(RecordKey),
    /// The command is refused.
    Refused(Refusal),
}

impl From<Refusal> for DecideError {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

/// The changes of the command that is being decided, over the records that it reads. A read of a
/// record that was not loaded fetches it, or stops with [`DecideError::MissingRecord`]: no rule can
/// forget to name a record that it reads, or take "not loaded" for "does not exist".
pub struct UnitOfWork<'a> {
    facts: &'a ReadSet,
    /// Settings of the server.
    pub rules: &'a Rules,
    /// Time, revision and seed of the decision.
    pub context: DecisionContext,
    /// Network from which the command comes, as a keyed hash.
    pub(in crate::engine) origin: Option<Digest>,
    changes: Changes,
    trail: Trail,
    minted: u64,
    /// Keys with an id that was generated here: their records cannot exist, so they are not looked
    /// up.
    fresh: BTreeSet<RecordKey>,
    /// Number of effects that may still be undone in this commit.
    undo_left: usize,
    /// Transactions that led to the current one in this commit, the outermost first.
    linked: Vec<TxId>,
    /// Number of transactions that others have started or submitted so far.
    links: u32,
    /// Steps of expressions and effects so far, over all linked transactions.
    work: Cell<u32>,
    /// Records that expressions have read.
    looked_at: RefCell<BTreeSet<RecordKey>>,
    /// For [`Changes::overdue`].
    overdue: Cell<Option<Time>>,
    /// Parsed JSON texts of records. The list keeps the texts, so that no address is reused.
    parsed: Shelf<(Arc<str>, Value)>,
    /// Indexes of the parsed texts, by the address of the text.
    parsed_at: RefCell<BTreeMap<usize, usize>>,
}

/// Generates a typed getter for each kind of record.
macro_rules! readers {
    ($($(#[$doc:meta])* $name:ident($argument:ident: $kind:ty) $fact:ident, $record:ident -> $value:ty;)*) => {$(
        $(#[$doc])*
        ///
        /// # Errors
        /// [`DecideError::MissingRecord`] when it was not loaded.
        pub fn $name(&self, $argument: $kind) -> Result<Option<&$value>, DecideError> {
            Ok(match self.read(&RecordKey::$fact($argument))? {
                Some(Record::$record(value)) => Some(value),
                _ => None,
            })
        }
    )*};
}

impl<'a> UnitOfWork<'a> {
    /// Creates an empty unit of work.
    #[must_use]
    pub fn new(facts: &'a ReadSet, rules: &'a Rules, context: DecisionContext) -> Self {
        Self {
            facts,
            rules,
            context,
            origin: None,
            changes: Changes::default(),
            trail: Trail::default(),
            minted: 0,
            fresh: BTreeSet::new(),
            undo_left: (UNDO_MAX / context.split_factor).max(1),
            linked: Vec::new(),
            links: 0,
            work: Cell::new(0),
            looked_at: RefCell::default(),
            overdue: Cell::new(None),
            parsed: Shelf::default(),
            parsed_at: RefCell::default(),
        }
    }

    /// Counts steps of work; returns the number so far.
    pub(in crate::engine) fn work(&self, steps: u32) -> u32 {
        self.work.set(self.work.get().saturating_add(steps));
        self.work.get()
    }

    /// Resets the count of work: the interpreter takes another path, which may cost as much again.
    pub(in crate::engine) fn forget_work(&self) {
        self.work.set(0);
    }

    /// Returns whether no expression has read the record before.
    pub(in crate::engine) fn is_first_look(&self, fact: RecordKey) -> bool {
        self.looked_at.borrow_mut().insert(fact)
    }

    /// Returns the parsed JSON text of a record, and whether this call parsed it.
    pub(in crate::engine) fn parsed(&self, json: &Arc<str>) -> (&Value, bool) {
        let address = json.as_ptr().addr();
        let place = self.parsed_at.borrow().get(&address).copied();
        if let Some((_, value)) = place.and_then(|place| self.parsed.get(place)) {
            return (value, false);
        }
        self.parsed_at.borrow_mut().insert(address, self.parsed.len());
        // The stored text was JSON when it was written.
        let value = serde_json::from_str(json).unwrap_or_else(|_| Value::Object(Map::new()));
        (&self.parsed.push((Arc::clone(json), value)).1, true)
    }

    /// Generates the bits of an id: a `UUIDv7` of the current time (RFC 9562, section 5.7), larger
    /// than the earlier ones of the same commit.
    pub fn mint(&mut self) -> u128 {
        // The random part starts in the lowest quarter of its range, so that counting never
        // overflows.
        let random = (self.context.seed >> 2 & ((1 << 72) - 1)) + u128::from(self.minted);
        self.minted += 1;
        let (high, low) = (random >> 62 & 0xfff, random & ((1 << 62) - 1));
        u128::from(self.context.now.ms()) << 80 | 7 << 76 | high << 64 | 2 << 62 | low
    }

    /// Generates the id of a transfer.
    pub(in crate::engine) fn mint_transfer(&mut self) -> TransferId {
        let id = TransferId::made(self.mint());
        self.fresh.insert(RecordKey::Transfer(id.clone()));
        id
    }

    /// Generates the id of a hold.
    pub(in crate::engine) fn mint_hold(&mut self) -> HoldId {
        let id = HoldId::made(self.mint());
        self.fresh.insert(RecordKey::Hold(id.clone()));
        id
    }

    /// Returns the changes.
    #[must_use]
    pub fn into_changes(self) -> Changes {
        Changes { overdue: self.overdue.get(), ..self.changes }
    }

    /// Notes the due time of a record in which a timer is due already.
    fn note_overdue(&self, record: &Record) {
        let due = match record {
            Record::Tx(tx) => tx.timer_at,
            Record::Hold(hold) if hold.status == HoldStatus::Held => hold.expires_at,
            _ => None,
        };
        if due.is_some_and(|due| due <= self.context.now) {
            self.overdue.set(self.overdue.get().max(due));
        }
    }

    /// Returns whether the rest of sliced work should be left to later commits.
    pub(in crate::engine) fn is_slice_over(&self) -> bool {
        self.facts.limit.as_ref().is_some_and(|limit| limit.is_over())
    }

    /// Adds an event that was applied.
    pub(super) fn note(&mut self, event: Event) {
        self.changes.events.push(event);
    }

    fn read(&self, fact: &RecordKey) -> Result<Option<&Record>, DecideError> {
        if let Some(changed) = self.changes.records.get(fact) {
            return Ok(changed.as_ref());
        }
        let loaded = match self.facts.get(fact) {
            None if self.fresh.contains(fact) => return Ok(None),
            known => known.or_else(|| self.facts.fetch(fact)),
        };
        match loaded {
            Some(Some((record, _))) => {
                self.note_overdue(record);
                Ok(Some(record))
            }
            Some(None) => Ok(None),
            None => Err(DecideError::MissingRecord(fact.clone())),
        }
    }

    /// Returns the commit that last changed a record.
    ///
    /// # Errors
    /// [`DecideError::MissingRecord`] when it was not loaded.
    pub fn revision(&self, fact: &RecordKey) -> Result<Option<Revision>, DecideError> {
        if let Some(changed) = self.changes.records.get(fact) {
            return Ok(changed.as_ref().map(|_| self.context.revision));
        }
        match self.facts.get(fact).or_else(|| self.facts.fetch(fact)) {
            Some(loaded) => Ok(loaded.as_ref().map(|(_, revision)| *revision)),
            None => Err(DecideError::MissingRecord(fact.clone())),
        }
    }

    readers! {
        /// Returns a user.
        user(id: UserId) User, User -> User;
        /// Returns the holder of a username, now or formerly.
        holder(name: Username) Name, Name -> Holder;
        /// Returns a user's data.
        user_data(id: UserId) UserData, Data -> Arc<str>;
        /// Returns the changes of a user's roles that may still be undone.
        role_changes(id: UserId) RoleChanges, RoleChanges -> RoleChanges;
        /// Returns a user's live sessions, oldest first.
        user_sessions(id: UserId) UserSessions, Sessions -> Vec<SessionId>;
        /// Returns a session, alive or not.
        session(id: SessionId) Session, Session -> Session;
        /// Returns a session's data.
        session_data(id: SessionId) SessionData, Data -> Arc<str>;
        /// Returns the thing that a token opens.
        opens(hash: TokenHash) Token, Opens -> Opens;
        /// Returns an API key.
        key(id: KeyId) Key, Key -> ApiKey;
        /// Returns an external session, alive or not.
        stored(id: StoredId) Stored, Stored -> Stored;
        /// Returns the failed attempts at a secret.
        attempts(digest: Digest) Attempts, Attempts -> Attempts;
        /// Returns an asset that is not built in.
        asset(code: AssetCode) Asset, Asset -> Asset;
        /// Returns an account, closed or not.
        account(id: AccountId) Account, Account -> Account;
        /// Returns a hold outside of transactions, resolved or not.
        hold(id: HoldId) Hold, Hold -> Hold;
        /// Returns a transfer.
        transfer(id: TransferId) Transfer, Transfer -> Transfer;
        /// Returns the totals over all accounts of an asset.
        totals(code: AssetCode) Totals, Totals -> Totals;
        /// Returns the latest version and state of a workflow.
        workflow(name: WorkflowName) Workflow, Workflow -> WorkflowHead;
        /// Returns a schedule.
        schedule(id: ScheduleId) Schedule, Schedule -> Box<Schedule>;
        /// Returns a webhook.
        webhook(id: WebhookId) Webhook, Webhook -> Box<Webhook>;
        /// Returns a dead letter.
        dead_letter(id: (WebhookId, u64)) DeadLetter, DeadLetter -> DeadLetter;
        /// Returns a job.
        job(id: JobId) Job, Job -> Box<Job>;
        /// Returns a reference value, as JSON text.
        value(id: ValueKey) Value, Data -> Arc<str>;
        /// Returns the readers of a set of reference values.
        value_set(set: ValueName) ValueSet, Data -> Arc<str>;
    }

    /// Returns the sessions that an API key opened, after one.
    ///
    /// # Errors
    /// [`DecideError::MissingRecord`] when it was not loaded.
    pub fn sessions_via(&self, key: KeyId, after: SessionId) -> Result<&[SessionId], DecideError> {
        Ok(match self.read(&RecordKey::SessionsVia(key, after))? {
            Some(Record::Sessions(list)) => list,
            _ => &[],
        })
    }

    /// Returns whether the sessions that an API key opened are valid: the key exists, or it was
    /// revoked without them.
    ///
    /// # Errors
    /// [`DecideError::MissingRecord`] when it was not loaded.
    pub fn keeps_sessions(&self, key: KeyId) -> Result<bool, DecideError> {
        Ok(self.key(key)?.is_some() || self.count(&RecordKey::KeptSessions(key))? > 0)
    }

    /// Returns the number of API keys.
    ///
    /// # Errors
    /// [`DecideError::MissingRecord`] when it was not loaded.
    pub fn key_count(&self) -> Result<u64, DecideError> {
        self.count(&RecordKey::KeyCount)
    }

    /// Returns the number of administrators.
    ///
    /// # Errors
    /// [`DecideError::MissingRecord`] when it was not loaded.
    pub fn administrator_count(&self) -> Result<u64, DecideError> {
        self.count(&RecordKey::AdministratorCount)
    }

    /// Returns the value of a counter.
    pub(in crate::engine) fn count(&self, fact: &RecordKey) -> Result<u64, DecideError> {
        Ok(match self.read(fact)? {
            Some(Record::Count(count)) => *count,
            _ => 0,
        })
    }

    /// Adds one to a counter, or subtracts one.
    pub(in crate::engine) fn recount(
        &mut self,
        fact: RecordKey,
        is_more: bool,
    ) -> Result<(), DecideError> {
        let count = self.count(&fact)?;
        let count = if is_more { count.saturating_add(1) } else { count.saturating_sub(1) };
        self.put(fact, Record::Count(count));
        Ok(())
    }

    /// Returns the user with a name.
    ///
    /// # Errors
    /// [`DecideError::MissingRecord`] when it was not loaded.
    pub fn user_named(&self, name: &Username) -> Result<Option<&User>, DecideError> {
        match self.holder(name.clone())? {
            Some(Holder::User(id)) => self.user(*id),
            Some(Holder::Gone) | None => Ok(None),
        }
    }

    pub(in crate::engine) fn put(&mut self, fact: RecordKey, record: Record) {
        self.trail.put(&mut self.changes, fact, Some(record));
    }

    pub(in crate::engine) fn delete(&mut self, fact: RecordKey) {
        self.trail.put(&mut self.changes, fact, None);
    }

    pub(in crate::engine) fn arm(&mut self, timer: Timer) {
        self.trail.set_timer(&mut self.changes, timer, true);
    }

    /// Returns a transaction.
    ///
    /// # Errors
    /// [`DecideError::MissingRecord`] when it was not loaded.
    pub fn tx(&self, id: TxId) -> Result<Option<&Tx>, DecideError> {
        Ok(match self.read(&RecordKey::Tx(id))? {
            Some(Record::Tx(tx)) => Some(tx),
            _ => None,
        })
    }

    /// Returns a shared transaction, which stays as it is while the unit changes it.
    ///
    /// # Errors
    /// [`DecideError::MissingRecord`] when it was not loaded.
    pub(in crate::engine) fn shared_tx(&self, id: TxId) -> Result<Option<Arc<Tx>>, DecideError> {
        Ok(match self.read(&RecordKey::Tx(id))? {
            Some(Record::Tx(tx)) => Some(Arc::clone(tx)),
            _ => None,
        })
    }

    /// Changes a transaction's record in place.
    pub(in crate::engine) fn change_tx(
        &mut self,
        id: TxId,
        change: impl FnOnce(&mut Tx),
    ) -> Result<(), DecideError> {
        let fact = RecordKey::Tx(id);
        if !self.changes.records.contains_key(&fact) && self.read(&fact)?.is_none() {
            return Ok(());
        }
        self.trail.keep_tx(&self.changes, id);
        if !self.changes.records.contains_key(&fact) {
            let record = self.read(&fact)?.cloned();
            self.changes.records.insert(fact.clone(), record);
        }
        let revision = self.context.revision;
        if let Some(Some(Record::Tx(tx))) = self.changes.records.get_mut(&fact) {
            let tx = Arc::make_mut(tx);
            if tx.commits.last() != Some(&revision) {
                if tx.commits.len() >= COMMITS_MAX {
                    let earlier = std::mem::take(&mut tx.commits);
                    self.changes.rows.push(AppendedRow::Commits(id, earlier));
                }
                tx.commits.push(revision);
            }
            change(tx);
        }
        Ok(())
    }

    /// Returns a version of a workflow. It exists: transactions name no other.
    ///
    /// # Errors
    /// [`DecideError::MissingRecord`] when it was not loaded.
    pub fn published(
        &self,
        name: WorkflowName,
        version: u32,
    ) -> Result<Arc<Published>, DecideError> {
        match self.read(&RecordKey::Definition(name, version))? {
            Some(Record::Definition(published)) => Ok(Arc::clone(published)),
            _ => Err(Refusal::NotFound("workflow").into()),
        }
    }

    /// Returns the definition of a version of a workflow.
    ///
    /// # Errors
    /// As [`UnitOfWork::published`].
    pub fn definition(
        &self,
        name: WorkflowName,
        version: u32,
    ) -> Result<Arc<Definition>, DecideError> {
        Ok(Arc::clone(&self.published(name, version)?.definition))
    }

    /// Returns the transaction with a reference.
    ///
    /// # Errors
    /// [`DecideError::MissingRecord`] when it was not loaded.
    pub fn reference(&self, fact: &RecordKey) -> Result<Option<Reference>, DecideError> {
        Ok(match self.read(fact)? {
            Some(Record::Reference(reference)) => Some(*reference),
            _ => None,
        })
    }

    /// Returns the open transaction with a value of `unique`.
    ///
    /// # Errors
    /// [`DecideError::MissingRecord`] when it was not loaded.
    pub fn one(&self, name: WorkflowName, digest: Digest) -> Result<Option<TxId>, DecideError> {
        Ok(match self.read(&RecordKey::One(name, digest))? {
            Some(Record::One(id)) => Some(*id),
            _ => None,
        })
    }

    /// Returns whether a step of a transaction was ever assigned to this user by name.
    ///
    /// # Errors
    /// [`DecideError::MissingRecord`] when it was not loaded.
    pub fn was_asked(&self, name: Username, id: TxId) -> Result<bool, DecideError> {
        Ok(self.read(&RecordKey::Asked(name, id))?.is_some())
    }

    /// Returns the result of an index scan over transactions.
    ///
    /// # Errors
    /// [`DecideError::MissingRecord`] when it was not loaded.
    pub fn transactions(&self, look: &RecordKey) -> Result<&[TxId], DecideError> {
        Ok(match self.read(look)? {
            Some(Record::Transactions(list)) => list,
            _ => &[],
        })
    }

    /// Truncates a list to this commit's part; returns whether there may be more.
    pub(in crate::engine) fn slice<T>(&mut self, list: &mut Vec<T>, most: usize) -> bool {
        self.changes.is_sliced = true;
        let split_factor = (most / self.context.split_factor).max(1);
        let is_more = list.len() >= split_factor;
        list.truncate(split_factor);
        is_more
    }

    /// Returns the transactions that led to the current one, the outermost first.
    pub(in crate::engine) fn linked(&self) -> &[TxId] {
        &self.linked
    }

    /// Enters another transaction; returns the number of such links so far.
    pub(in crate::engine) fn link(&mut self, from: TxId) -> u32 {
        self.linked.push(from);
        self.links += 1;
        self.links
    }

    /// Leaves the last linked transaction.
    pub(in crate::engine) fn unlink(&mut self) {
        self.linked.pop();
    }

    /// Starts work that no earlier work led to.
    pub(in crate::engine) fn begin_links(&mut self) {
        self.linked.clear();
        self.links = 0;
        self.forget_work();
    }

    /// Creates a savepoint of the changes so far.
    pub(in crate::engine) fn savepoint(&mut self) -> Savepoint {
        self.trail.savepoint(&self.changes)
    }

    /// Restores a savepoint.
    pub(in crate::engine) fn back_to(&mut self, savepoint: Savepoint) {
        self.trail.back_to(savepoint, &mut self.changes);
    }

    /// Returns the number of effects that may still be undone in this commit; the rest follows in
    /// the next.
    pub(in crate::engine) const fn undo_left(&self) -> usize {
        self.undo_left
    }

    /// Counts effects that are undone in this commit. A commit that comes out too large is repeated
    /// with fewer.
    pub(in crate::engine) const fn count_undone(&mut self, effects: usize) {
        self.changes.is_sliced = true;
        self.undo_left = self.undo_left.saturating_sub(effects);
    }

    /// Returns the number of events so far.
    pub(in crate::engine) const fn events(&self) -> usize {
        self.changes.events.len()
    }

    /// Returns the timers that were set so far and not removed.
    pub(in crate::engine) fn armed(&self) -> impl Iterator<Item = &Timer> {
        self.changes.timers.iter().filter(|(_, armed)| **armed).map(|(timer, _)| timer)
    }

    /// Adds an index entry.
    pub(in crate::engine) fn mark(&mut self, mark: IndexEntry) {
        self.trail.set_mark(&mut self.changes, mark, true);
    }

    /// Removes an index entry.
    pub(in crate::engine) fn unmark(&mut self, mark: IndexEntry) {
        self.trail.set_mark(&mut self.changes, mark, false);
    }

    /// Adds a row, which no decision reads.
    pub(in crate::engine) fn row(&mut self, row: AppendedRow) {
        self.changes.rows.push(row);
    }

    /// Returns the number of the next row.
    pub(in crate::engine) fn next_row(&self) -> u32 {
        u32::try_from(self.changes.rows.len()).unwrap_or(u32::MAX)
    }

    pub(in crate::engine) fn disarm(&mut self, timer: Timer) {
        self.trail.set_timer(&mut self.changes, timer, false);
    }
}

/// Checks that a commit's events alone reproduce its changes of transactions and of the ledger.
///
/// # Panics
/// If they do not. For tests only.
#[cfg(test)]
pub fn require_replay(facts: &ReadSet, rules: &Rules, context: DecisionContext, changes: &Changes) {
    let mut unit = UnitOfWork::new(facts, rules, context);
    for event in &changes.events {
        let again = unit.emit(event.clone());
        assert!(again.is_ok(), "an event cannot happen again: {again:?}, {event:?}");
    }
    let again = unit.into_changes();
    let told = |fact: &RecordKey| {
        matches!(
            fact,
            RecordKey::Tx(_)
                | RecordKey::Account(_)
                | RecordKey::Hold(_)
                | RecordKey::Totals(_)
                | RecordKey::One(..)
                | RecordKey::OpenCount(..)
        )
    };
    for (fact, record) in changes.records.iter().filter(|(fact, _)| told(fact)) {
        assert_eq!(again.records.get(fact), Some(record), "{fact:?} by {:?}", changes.events);
    }
    assert_eq!(again.marks, changes.marks, "by {:?}", changes.events);
    assert_eq!(again.rows, changes.rows, "by {:?}", changes.events);
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::engine::{LoadedRecord, RecordSource};

    /// Source in which no account exists, and which counts the fetches.
    #[derive(Debug, Default)]
    struct Counting(AtomicUsize);

    impl RecordSource for Counting {
        fn fetch(&self, fact: &RecordKey) -> Option<LoadedRecord> {
            self.0.fetch_add(1, Ordering::Relaxed);
            matches!(fact, RecordKey::Account(_)).then_some(None)
        }
    }

    /// A missing record is fetched once, during the decision; an unavailable one stops it.
    #[test]
    fn missing_records_are_fetched_once_and_the_decision_goes_on() {
        let source = Arc::new(Counting::default());
        let facts = ReadSet::default().fetching(source.clone());
        let rules = Rules::default();
        let (now, revision) = (Time::from_ms(1), Revision::new(1));
        let unit = UnitOfWork::new(
            &facts,
            &rules,
            DecisionContext { now, revision, seed: 0, split_factor: 1 },
        );
        for round in 0..2 {
            for number in 0..1000 {
                let id: AccountId = format!("nobody:{number}").parse().unwrap();
                assert_eq!(unit.account(id), Ok(None), "round {round}");
            }
        }
        assert_eq!(source.0.load(Ordering::Relaxed), 1000);
        assert_eq!(facts.iter().count(), 1000);
        assert_eq!(unit.key_count(), Err(DecideError::MissingRecord(RecordKey::KeyCount)));
    }

    /// A text is parsed once, no matter how many expressions read it.
    #[test]
    fn json_text_of_a_record_is_parsed_once_for_a_decision() {
        let (facts, rules) = (ReadSet::default(), Rules::default());
        let (now, revision) = (Time::from_ms(1), Revision::new(1));
        let unit = UnitOfWork::new(
            &facts,
            &rules,
            DecisionContext { now, revision, seed: 0, split_factor: 1 },
        );
        let (one, other): (Arc<str>, Arc<str>) = (r#"{"a":1}"#.into(), r#"{"a":1}"#.into());
        let (first, is_new) = unit.parsed(&one);
        assert!(is_new && first["a"] == 1);
        let (again, is_new) = unit.parsed(&Arc::clone(&one));
        assert!(!is_new && std::ptr::eq(first, again));
        assert!(unit.parsed(&other).1);
    }
}
