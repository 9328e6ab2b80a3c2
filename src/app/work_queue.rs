//! Work queues: the search, outside of the executor, for steps that a worker may claim.
//!
//! The search first decides whether the actor may submit the step at all: an actor that may not
//! costs nothing more, and one that may in its own transactions costs what these cost. Then it
//! reads the queue, as of what is durable, in the order in which steps became free, and hands a few
//! candidates to the executor. A search is bounded. If it found too few, the actor's next one
//! continues behind it, so that repeated requests reach steps far behind.

use super::application::App;
use super::read_budget::ReadBudget;
use super::search_cursors::SearchCursor;
use crate::engine::{
    Actor, Candidate, IndexEntry, MaySubmit, QUEUE_CANDIDATES_MAX, QUEUE_CLAIMS_MAX, QueueAsk,
    RecordKey, Refusal, free_step, may_ever_submit,
};
use crate::records::{Key, ReadError, value};
use crate::store::{KeyRange, Order, PAGE_ROWS_MAX, View};
use crate::types::{Time, TxId};

/// Number of latest versions of a workflow whose rules are examined, if they have open
/// transactions.
const VERSIONS_MAX: u32 = 100;

/// One search.
struct Search<'a> {
    app: &'a App,
    actor: &'a Actor,
    ask: &'a QueueAsk,
    now: Time,
    budget: ReadBudget,
    found: Vec<(Time, Candidate)>,
}

impl App {
    /// Returns candidates in which the actor may claim a step, those that are free longest first: a
    /// bounded number, and some more than requested, since others claim too.
    ///
    /// # Errors
    /// [`Refusal::Stopping`]
    pub fn claimable(&self, actor: &Actor, ask: &QueueAsk) -> Result<Vec<Candidate>, Refusal> {
        if ask.limit == 0 || ask.limit > QUEUE_CLAIMS_MAX {
            return Ok(Vec::new());
        }
        let of = (actor.owner_id(), ask.workflow.clone(), ask.step.clone());
        let place = self.search_cursors.take(&of);
        let (now, budget) = (self.now(), ReadBudget::of_page());
        let mut search = Search { app: self, actor, ask, now, budget, found: Vec::new() };
        let left_at = match self.may_submit_at_most(actor, ask)? {
            MaySubmit::None => return Ok(Vec::new()),
            MaySubmit::Own => search.own(place)?,
            MaySubmit::All => search.queue(place)?,
        };
        if let Some(left_at) = left_at.filter(|_| search.found.len() < ask.limit) {
            self.search_cursors.put(of, left_at);
        }
        search.found.sort_by_key(|(free_at, candidate)| (*free_at, candidate.tx));
        // A transaction may be in both lists.
        search.found.dedup_by_key(|(_, candidate)| candidate.tx);
        Ok(search.found.into_iter().map(|(_, candidate)| candidate).collect())
    }

    /// Returns the transactions in which the actor may submit the step at most, according to the
    /// versions in use.
    fn may_submit_at_most(&self, actor: &Actor, ask: &QueueAsk) -> Result<MaySubmit, Refusal> {
        let latest = match self.workflow(&ask.workflow, None) {
            Ok(view) => view.published.version,
            Err(Refusal::NotFound(_)) => return Ok(MaySubmit::None),
            Err(refusal) => return Err(refusal),
        };
        if latest > VERSIONS_MAX {
            return Ok(MaySubmit::All);
        }
        let mut most = MaySubmit::None;
        for (version, _) in self.open_by_version(&ask.workflow, latest)? {
            if let Some(published) = self.published(&ask.workflow, version)? {
                most = most.max(may_ever_submit(&published.definition, &ask.step, actor));
            }
        }
        Ok(most)
    }
}

impl Search<'_> {
    fn is_full(&self) -> bool {
        self.found.len() >= (self.ask.limit + QUEUE_CANDIDATES_MAX - QUEUE_CLAIMS_MAX)
    }

    /// Searches the queue from a cursor on, and then before it. Returns the position at which it
    /// stopped, unless that is the end.
    fn queue(&mut self, place: Option<SearchCursor>) -> Result<Option<SearchCursor>, Refusal> {
        let head = (Time::ZERO, TxId::new(0));
        let begins = match place {
            Some(SearchCursor::Queue(time, id)) => (time, id),
            _ => head,
        };
        if let Some(left_at) = self.queue_part(begins, None)? {
            return Ok(Some(left_at));
        }
        if begins == head || self.found.len() >= self.ask.limit {
            return Ok(None);
        }
        self.queue_part(head, Some(begins))
    }

    fn queue_part(
        &mut self,
        mut after: (Time, TxId),
        until: Option<(Time, TxId)>,
    ) -> Result<Option<SearchCursor>, Refusal> {
        let QueueAsk { workflow, step, .. } = self.ask;
        let key = |(time, id)| {
            Key::IndexEntry(IndexEntry::Queued(workflow.clone(), step.clone(), time, id)).encode()
        };
        let mut prefix = key(after);
        prefix.truncate(prefix.len() - size_of::<u64>() - size_of::<u128>());
        loop {
            let range = KeyRange::prefix(&prefix).after(key(after).into());
            let page =
                self.app.store.scan(View::Committed, &range, Order::Ascending, PAGE_ROWS_MAX);
            let page = self.app.guard(page.map_err(ReadError::from))?;
            for row in &page.rows {
                let Some(Key::IndexEntry(IndexEntry::Queued(_, _, time, id))) =
                    Key::decode(&row.key)
                else {
                    continue;
                };
                // From here on all are claimed or were examined.
                if time > self.now || until.is_some_and(|until| (time, id) > until) {
                    return Ok(None);
                }
                if self.is_full() || self.budget.is_spent() {
                    return Ok(Some(SearchCursor::Queue(after.0, after.1)));
                }
                after = (time, id);
                self.look(id)?;
            }
            if page.next.is_none() {
                return Ok(None);
            }
        }
    }

    /// Searches the actor's own transactions, and those that wait for the actor, from a cursor on
    /// and then before it. Returns the position at which it stopped, unless that is the end.
    fn own(&mut self, place: Option<SearchCursor>) -> Result<Option<SearchCursor>, Refusal> {
        let begins = match place {
            Some(SearchCursor::Own(list, id)) => (list, id),
            _ => (0, TxId::new(0)),
        };
        if let Some(left_at) = self.own_part(begins, None)? {
            return Ok(Some(left_at));
        }
        if place.is_none() || self.found.len() >= self.ask.limit {
            return Ok(None);
        }
        self.own_part((0, TxId::new(0)), Some(begins))
    }

    fn own_part(
        &mut self,
        begins: (usize, TxId),
        until: Option<(usize, TxId)>,
    ) -> Result<Option<SearchCursor>, Refusal> {
        let own = self.actor.owner_id();
        let user = self.actor.user();
        let lists: [Option<IndexEntry>; 2] = [
            own.map(|me| IndexEntry::OpenOf(me, TxId::new(0))),
            user.map(|user| IndexEntry::UserInbox(user.username.clone(), TxId::new(0))),
        ];
        let (first, mut after) = begins;
        for (list, mark) in lists.into_iter().enumerate().skip(first) {
            let Some(prefix) = mark.map(super::tx_list::prefix) else { continue };
            loop {
                let mut key = prefix.clone();
                key.extend_from_slice(&after.bits().to_be_bytes());
                let range = KeyRange::prefix(&prefix).after(key.into());
                let (store, order) = (&self.app.store, Order::Ascending);
                let page = store.scan(View::Committed, &range, order, PAGE_ROWS_MAX);
                let page = self.app.guard(page.map_err(ReadError::from))?;
                for row in &page.rows {
                    let Some(Key::IndexEntry(
                        IndexEntry::OpenOf(_, id) | IndexEntry::UserInbox(_, id),
                    )) = Key::decode(&row.key)
                    else {
                        continue;
                    };
                    if until.is_some_and(|until| (list, id) > until) {
                        return Ok(None);
                    }
                    if self.is_full() || self.budget.is_spent() {
                        return Ok(Some(SearchCursor::Own(list, after)));
                    }
                    after = id;
                    self.look(id)?;
                }
                if page.next.is_none() {
                    break;
                }
            }
            after = TxId::new(0);
        }
        Ok(None)
    }

    /// Examines the outline of a transaction.
    fn look(&mut self, id: TxId) -> Result<(), Refusal> {
        let Some(read) = self.app.guard(self.app.tx_bytes(id))? else {
            self.budget.spend(0);
            return Ok(());
        };
        let bytes = read.value.len();
        self.budget.spend(bytes);
        let outline =
            value::decode_outline(&RecordKey::Tx(id), &read.value).map_err(ReadError::from);
        let tx = self.app.guard(outline)?;
        if tx.workflow != self.ask.workflow {
            return Ok(());
        }
        let Some(published) = self.app.published(&tx.workflow, tx.version)? else { return Ok(()) };
        let (definition, step) = (&published.definition, &self.ask.step);
        if let Some(open) = free_step(&tx, definition, step, self.actor, self.now) {
            self.found.push((open.free_at(), Candidate { tx: id, bytes }));
        }
        Ok(())
    }
}
