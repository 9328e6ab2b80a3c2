//! Transactions, workflows and reference values, as who asks may see them.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::app::App;
use super::{PageAsk, PageOf};
use crate::engine::workflow::Definition;
use crate::engine::{
    Actor, Command, Fact, Mark, Outcome, Owner, OwnerId, Published, Record, Refusal, Status, Tx,
    TxView, ValueKey, WorkflowView, may_see, may_submit, open_codes, reference_fact, sees_workflow,
};
use crate::records::{DecodeError, Key, ReadError, read_fact};
use crate::store::{KeyRange, Order, PAGE_ROWS_MAX, View};
use crate::types::{Revision, Role, StepName, TxId, Username, ValueName, WorkflowName};

/// Most transactions that are looked at for one page: a page that finds little of what it is asked
/// for ends early and says where to go on.
const EXAMINED_MAX: usize = 1000;

/// A reference value's key, and the value as JSON text.
pub(super) type NamedValue = (ValueName, Arc<str>);

/// Which transactions are asked for; what is `None` does not matter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TxFilter {
    /// Of this workflow.
    pub workflow: Option<WorkflowName>,
    /// With this status.
    pub status: Option<Status>,
    /// Of this user.
    pub owner: Option<Username>,
    /// With this reference.
    pub reference: Option<String>,
    /// In which this step is open.
    pub step: Option<StepName>,
    /// That wait for the one who asks.
    pub inbox: bool,
}

impl App {
    /// A transaction.
    ///
    /// # Errors
    /// [`Refusal::NotFound`] also for who may not see it, [`Refusal::Stopping`].
    pub fn transaction(&self, actor: &Actor, id: TxId) -> Result<TxView, Refusal> {
        self.tx_view(actor, id)?.ok_or(Refusal::NotFound("transaction"))
    }

    /// The transactions that the actor may see, newest first. A page may hold fewer than asked for
    /// and still have a next one.
    ///
    /// # Errors
    /// [`Refusal::Stopping`]
    pub fn transactions(
        &self,
        actor: &Actor,
        filter: &TxFilter,
        page: PageAsk<TxId>,
    ) -> Result<PageOf<TxView, TxId>, Refusal> {
        if let (Some(workflow), Some(reference)) = (&filter.workflow, &filter.reference) {
            return self.by_reference(actor, filter, workflow, reference);
        }
        let sources = self.sources(actor, filter)?;
        let mut after = page.after;
        let (mut items, mut examined) = (Vec::new(), 0);
        loop {
            let (ids, more) = self.guard(self.merged(&sources, after))?;
            for id in ids {
                if items.len() == page.limit || examined == EXAMINED_MAX {
                    return Ok(PageOf { items, next: after });
                }
                examined += 1;
                after = Some(id);
                if let Some(view) = self.tx_view(actor, id)?
                    && fits(&view, filter, actor)
                {
                    items.push(view);
                }
            }
            if !more {
                return Ok(PageOf { items, next: None });
            }
        }
    }

    /// Publishes a workflow for the server itself; its version, and whether it is a new one.
    ///
    /// # Errors
    /// [`Refusal::LimitReached`], [`Refusal::Busy`], [`Refusal::NoRoom`], [`Refusal::Stopping`].
    pub async fn publish(
        &self,
        source: String,
        definition: Definition,
    ) -> Result<(u32, bool), Refusal> {
        let definition = Arc::new(definition);
        let command = Command::Publish { source: source.into(), definition };
        match self.call(command, Actor::System).await? {
            Outcome::Workflow { view, created } => Ok((view.published.version, created)),
            _ => Err(Refusal::Stopping),
        }
    }

    /// The one-time codes that a transaction waits for, in `--dev` and for an administrator.
    ///
    /// # Errors
    /// [`Refusal::NotFound`], [`Refusal::NotAllowed`], [`Refusal::Stopping`].
    pub fn codes(&self, actor: &Actor, id: TxId) -> Result<Vec<(Arc<str>, String)>, Refusal> {
        if !actor.is_admin() {
            return Err(Refusal::NotAllowed("this needs the role abide:admin"));
        }
        let view = self.transaction(actor, id)?;
        Ok(open_codes(&self.rules.challenge_key, &view.tx))
    }

    /// The latest version of a workflow, or another one.
    ///
    /// # Errors
    /// [`Refusal::NotFound`], [`Refusal::Stopping`].
    pub fn workflow(
        &self,
        name: &WorkflowName,
        version: Option<u32>,
    ) -> Result<WorkflowView, Refusal> {
        let none = || Refusal::NotFound("workflow");
        let head = self.fact(&Fact::Workflow(name.clone()))?;
        let Some((Record::Workflow(head), revision)) = head else { return Err(none()) };
        let version = version.unwrap_or(head.latest);
        let published = self.published(name, version)?.ok_or_else(none)?;
        Ok(WorkflowView { published: (*published).clone(), head, revision })
    }

    /// The open transactions of each version of a workflow that has any, oldest version first.
    ///
    /// # Errors
    /// [`Refusal::Stopping`]
    pub fn open_by_version(
        &self,
        name: &WorkflowName,
        latest: u32,
    ) -> Result<Vec<(u32, u64)>, Refusal> {
        let mut open = Vec::new();
        // Those before the last hundred are seldom any more; a count of all would read them all.
        for version in latest.saturating_sub(99).max(1)..=latest {
            if let Some((Record::Count(count @ 1..), _)) =
                self.fact(&Fact::OpenCount(name.clone(), version))?
            {
                open.push((version, count));
            }
        }
        Ok(open)
    }

    /// The latest versions of all workflows, by name, and what comes after the page.
    ///
    /// # Errors
    /// [`Refusal::Stopping`]
    pub fn workflows(
        &self,
        limit: usize,
        after: Option<&WorkflowName>,
    ) -> Result<(Vec<WorkflowView>, Option<WorkflowName>), Refusal> {
        let mut range = KeyRange::prefix(Key::WORKFLOWS);
        if let Some(after) = after {
            range = range.after(Key::Workflow(after.clone()).encode().into());
        }
        let page = self.store.scan(View::Committed, &range, Order::Ascending, limit);
        let page = self.guard(page.map_err(ReadError::from))?;
        let mut views = Vec::new();
        for row in &page.rows {
            if let Some(Key::Workflow(name)) = Key::decode(&row.key) {
                views.push(self.workflow(&name, None)?);
            }
        }
        let last = views.last().map(|view| view.published.name.clone());
        Ok((views, last.filter(|_| page.next.is_some())))
    }

    /// A reference value as JSON text, and its revision.
    ///
    /// # Errors
    /// [`Refusal::NotAllowed`], [`Refusal::NotFound`], [`Refusal::Stopping`].
    pub fn value(&self, actor: &Actor, id: &ValueKey) -> Result<(Arc<str>, Revision), Refusal> {
        must_read_values(actor)?;
        match self.fact(&Fact::Value(id.clone()))? {
            Some((Record::Data(json), revision)) => Ok((json, revision)),
            _ => Err(Refusal::NotFound("value")),
        }
    }

    /// A page of a set of reference values, by key, and what comes after it.
    ///
    /// # Errors
    /// [`Refusal::NotAllowed`], [`Refusal::Stopping`].
    pub fn values(
        &self,
        actor: &Actor,
        set: &ValueName,
        limit: usize,
        after: Option<ValueName>,
    ) -> Result<(Vec<NamedValue>, Option<ValueName>), Refusal> {
        must_read_values(actor)?;
        let mut range = KeyRange::prefix(&Key::values_of(set));
        if let Some(key) = after {
            let id = ValueKey { set: set.clone(), key };
            range = range.after(Key::Value(id).encode().into());
        }
        let page = self.store.scan(View::Committed, &range, Order::Ascending, limit);
        let page = self.guard(page.map_err(ReadError::from))?;
        let mut values = Vec::new();
        for row in &page.rows {
            if let Some(Key::Value(id)) = Key::decode(&row.key)
                && let Some((Record::Data(json), _)) = self.fact(&Fact::Value(id.clone()))?
            {
                values.push((id.key, json));
            }
        }
        let last = values.last().map(|(key, _)| key.clone());
        Ok((values, last.filter(|_| page.next.is_some())))
    }

    fn published(
        &self,
        name: &WorkflowName,
        version: u32,
    ) -> Result<Option<Arc<Published>>, Refusal> {
        let fact = Fact::Definition(name.clone(), version);
        let loaded = self.definitions.read(&*self.store, View::Committed, &fact);
        Ok(match self.guard(loaded)?.as_ref().map(|(record, _)| &**record) {
            Some(Record::Definition(published)) => Some(Arc::clone(published)),
            _ => None,
        })
    }

    /// A transaction as the actor may see it; `None`: there is none, or it may not be seen.
    fn tx_view(&self, actor: &Actor, id: TxId) -> Result<Option<TxView>, Refusal> {
        let loaded = self.guard(read_fact(&*self.store, View::Committed, &Fact::Tx(id)))?;
        let Some((record, revision)) = loaded else { return Ok(None) };
        let Record::Tx(tx) = Arc::unwrap_or_clone(record) else { return Ok(None) };
        let Some(published) = self.published(&tx.workflow, tx.version)? else { return Ok(None) };
        let definition = &published.definition;
        let sees = may_see(&tx, definition, actor, false) || self.was_asked(actor, id)?;
        Ok(sees.then(|| {
            TxView::new(tx, revision, Arc::clone(definition), actor, &self.rules, self.now())
        }))
    }

    fn was_asked(&self, actor: &Actor, id: TxId) -> Result<bool, Refusal> {
        match actor.user() {
            Some(user) => Ok(self.fact(&Fact::Asked(user.username.clone(), id))?.is_some()),
            None => Ok(false),
        }
    }

    fn by_reference(
        &self,
        actor: &Actor,
        filter: &TxFilter,
        workflow: &WorkflowName,
        reference: &str,
    ) -> Result<PageOf<TxView, TxId>, Refusal> {
        let found = self.fact(&reference_fact(workflow, reference))?;
        let view = match found {
            Some((Record::Reference(reference), _)) => self.tx_view(actor, reference.tx)?,
            _ => None,
        };
        let items = view.into_iter().filter(|view| fits(view, filter, actor)).collect();
        Ok(PageOf { items, next: None })
    }

    /// The prefixes of the keys under which what may be seen is found.
    fn sources(&self, actor: &Actor, filter: &TxFilter) -> Result<Vec<Vec<u8>>, Refusal> {
        let first = TxId::new(0);
        let prefix = |mark: Mark| {
            let mut key = Key::Mark(mark).encode();
            key.truncate(key.len() - size_of::<u128>());
            key
        };
        let me = match actor {
            Actor::Session(session) => Some(match &session.user {
                Some(user) => OwnerId::User(user.id),
                None => OwnerId::Session(session.session),
            }),
            Actor::Key(key) => Some(OwnerId::Key(key.key.id)),
            Actor::Nobody | Actor::Hook(_) | Actor::Workflow(..) | Actor::System => None,
        };
        let asked = actor.user().map(|user| Mark::UserInbox(user.username.clone(), first));
        if filter.inbox {
            let roles = actor.roles().iter().map(|role| Mark::RoleInbox(role.clone(), first));
            let own = me.map(|me| Mark::OpenOf(me, first));
            return Ok(roles.chain(own).chain(asked).map(prefix).collect());
        }
        if filter.status == Some(Status::Stuck) {
            return Ok(vec![prefix(Mark::Stuck(first))]);
        }
        if let Some(owner) = &filter.owner {
            return Ok(match self.fact(&Fact::Name(owner.clone()))? {
                Some((Record::Name(crate::engine::Holder::User(id)), _)) => {
                    vec![prefix(Mark::TxOf(OwnerId::User(id), first))]
                }
                _ => Vec::new(),
            });
        }
        if self.sees_some_workflow(actor)? {
            return Ok(vec![Key::TXS.to_vec()]);
        }
        Ok(me.map(|me| Mark::TxOf(me, first)).into_iter().chain(asked).map(prefix).collect())
    }

    /// Whether there is a workflow all of whose transactions the actor may see.
    fn sees_some_workflow(&self, actor: &Actor) -> Result<bool, Refusal> {
        if *actor == Actor::System || actor.has(Role::OPERATOR) || actor.has(Role::AUDITOR) {
            return Ok(true);
        }
        let mut after = None;
        loop {
            let (views, next) = self.workflows(PAGE_ROWS_MAX, after.as_ref())?;
            if views.iter().any(|view| sees_workflow(&view.published.definition, actor)) {
                return Ok(true);
            }
            match next {
                Some(next) => after = Some(next),
                None => return Ok(false),
            }
        }
    }

    /// The next ids of all sources together, newest first, each once, and whether there are more.
    fn merged(
        &self,
        sources: &[Vec<u8>],
        before: Option<TxId>,
    ) -> Result<(Vec<TxId>, bool), ReadError> {
        let mut ids = BTreeSet::new();
        // Below this, some source has more than it has shown.
        let mut floor = None;
        for source in sources {
            let mut range = KeyRange::prefix(source);
            if let Some(before) = before {
                let mut key = source.clone();
                key.extend_from_slice(&before.bits().to_be_bytes());
                range = range.before(key.into());
            }
            let page =
                self.store.scan(View::Committed, &range, Order::Descending, PAGE_ROWS_MAX)?;
            let mut last = None;
            for row in &page.rows {
                let bits = row.key.get(source.len()..source.len() + size_of::<u128>());
                let bits = bits.and_then(|bits| bits.try_into().ok()).map(u128::from_be_bytes);
                let id = bits.map(TxId::new).ok_or_else(|| DecodeError {
                    key: format!("{:?}", row.key),
                    what: "no such key is written".to_owned(),
                })?;
                last = Some(id);
                ids.insert(id);
            }
            if page.next.is_some() {
                floor = floor.max(last.or(before));
            }
        }
        // The parts of one record have one id; the one that a page ended with comes again.
        let ids = ids.into_iter().rev().filter(|id| floor.is_none_or(|floor| *id >= floor));
        Ok((ids.collect(), floor.is_some()))
    }
}

fn must_read_values(actor: &Actor) -> Result<(), Refusal> {
    if matches!(actor, Actor::Key(_))
        || actor.has(Role::PUBLISHER)
        || actor.has(Role::AUDITOR)
        || *actor == Actor::System
    {
        Ok(())
    } else {
        Err(Refusal::NotAllowed("this needs the role abide:publisher or an API key"))
    }
}

/// Whether it is one of those that are asked for.
fn fits(view: &TxView, filter: &TxFilter, actor: &Actor) -> bool {
    let TxFilter { workflow, status, owner, reference, step, inbox } = filter;
    let tx: &Tx = &view.tx;
    let waits = |open: &crate::engine::Open| {
        open.is_client && may_submit(tx, &view.definition, open, actor)
    };
    let owned = |name: &Username| matches!(&tx.owner, Owner::User(user) if user.username == *name);
    workflow.as_ref().is_none_or(|workflow| tx.workflow == *workflow)
        && status.is_none_or(|status| tx.status == status)
        && owner.as_ref().is_none_or(owned)
        && reference.as_ref().is_none_or(|wanted| tx.reference.as_deref() == Some(wanted))
        && step.as_ref().is_none_or(|step| tx.open.iter().any(|open| open.step == *step))
        && (!inbox || tx.open.iter().any(waits))
}
