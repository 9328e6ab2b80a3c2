//! Queries of transactions, workflows and reference values.

use std::sync::Arc;

use super::application::App;
use super::read_budget::ReadBudget;
use crate::engine::workflow::Definition;
use crate::engine::{
    Actor, Command, Outcome, Published, Record, RecordKey, Refusal, TxView, ValueKey, WorkflowView,
    open_codes,
};
use crate::records::{Key, ReadError};
use crate::store::{KeyRange, Order, View};
use crate::types::{Revision, Role, TxId, ValueName, WorkflowName};

/// Key of a reference value, and the value as JSON text.
pub(super) type NamedValue = (ValueName, Arc<str>);

impl App {
    /// Returns a transaction.
    ///
    /// # Errors
    /// [`Refusal::NotFound`] also if the actor may not see it, [`Refusal::Stopping`].
    pub fn transaction(&self, actor: &Actor, id: TxId) -> Result<TxView, Refusal> {
        self.tx_view(actor, id)?.ok_or(Refusal::NotFound("transaction"))
    }

    /// Publishes a workflow for the server itself. Returns its version and whether that is new.
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

    /// Returns the one-time codes that a transaction waits for, in `--dev` and for an
    /// administrator.
    ///
    /// # Errors
    /// [`Refusal::NotFound`], [`Refusal::NotAllowed`], [`Refusal::Stopping`].
    pub fn codes(&self, actor: &Actor, id: TxId) -> Result<Vec<(Arc<str>, String)>, Refusal> {
        if !actor.is_admin() {
            return Err(Refusal::NotAllowed("this needs the role abide:admin"));
        }
        let view = self.transaction(actor, id)?;
        Ok(open_codes(&self.rules.challenge_key, &view.tx, view.at))
    }

    /// Returns the latest version of a workflow, or another one.
    ///
    /// # Errors
    /// [`Refusal::NotFound`], [`Refusal::Stopping`].
    pub fn workflow(
        &self,
        name: &WorkflowName,
        version: Option<u32>,
    ) -> Result<WorkflowView, Refusal> {
        let none = || Refusal::NotFound("workflow");
        let head = self.read_record(&RecordKey::Workflow(name.clone()))?;
        let Some((Record::Workflow(head), revision)) = head else { return Err(none()) };
        let version = version.unwrap_or(head.latest);
        let published = self.published(name, version)?.ok_or_else(none)?;
        Ok(WorkflowView { published: (*published).clone(), head, revision })
    }

    /// Returns the number of open transactions of each version that has any, oldest version first.
    ///
    /// # Errors
    /// [`Refusal::Stopping`]
    pub fn open_by_version(
        &self,
        name: &WorkflowName,
        latest: u32,
    ) -> Result<Vec<(u32, u64)>, Refusal> {
        let mut open = Vec::new();
        // Older versions than the last hundred seldom have any, and a count of all would read them
        // all.
        for version in latest.saturating_sub(99).max(1)..=latest {
            if let Some((Record::Count(count @ 1..), _)) =
                self.read_record(&RecordKey::OpenCount(name.clone(), version))?
            {
                open.push((version, count));
            }
        }
        Ok(open)
    }

    /// Returns a page of the latest versions of all workflows, by name, and the start of the next
    /// one.
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
        let mut views: Vec<WorkflowView> = Vec::new();
        // A definition that is not in memory is compiled.
        let (mut budget, mut more) = (ReadBudget::of_page(), page.next.is_some());
        for row in &page.rows {
            if budget.is_spent() {
                more = true;
                break;
            }
            if let Some(Key::Workflow(name)) = Key::decode(&row.key) {
                let view = self.workflow(&name, None)?;
                budget.spend(view.published.source.len());
                views.push(view);
            }
        }
        let last = views.last().map(|view| view.published.name.clone());
        Ok((views, last.filter(|_| more)))
    }

    /// Returns a reference value as JSON text, and its revision.
    ///
    /// # Errors
    /// [`Refusal::NotAllowed`], [`Refusal::NotFound`], [`Refusal::Stopping`].
    pub fn value(&self, actor: &Actor, id: &ValueKey) -> Result<(Arc<str>, Revision), Refusal> {
        self.require_read_values(actor, &id.set)?;
        match self.read_record(&RecordKey::Value(id.clone()))? {
            Some((Record::Data(json), revision)) => Ok((json, revision)),
            _ => Err(Refusal::NotFound("value")),
        }
    }

    /// Returns whether a set of reference values is public.
    ///
    /// # Errors
    /// [`Refusal::Stopping`]
    pub fn anyone_reads_values(&self, set: &ValueName) -> Result<bool, Refusal> {
        Ok(self.read_record(&RecordKey::ValueSet(set.clone()))?.is_some())
    }

    fn require_read_values(&self, actor: &Actor, set: &ValueName) -> Result<(), Refusal> {
        if matches!(actor, Actor::Key(_))
            || actor.has(Role::PUBLISHER)
            || actor.has(Role::AUDITOR)
            || *actor == Actor::System
            || self.anyone_reads_values(set)?
        {
            return Ok(());
        }
        Err(match actor {
            Actor::Nobody => Refusal::Unauthenticated,
            _ => Refusal::NotAllowed("this needs the role abide:publisher or an API key"),
        })
    }

    /// Returns a page of a set of reference values, by key, and the start of the next one.
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
        self.require_read_values(actor, set)?;
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
                && let Some((Record::Data(json), _)) =
                    self.read_record(&RecordKey::Value(id.clone()))?
            {
                values.push((id.key, json));
            }
        }
        let last = values.last().map(|(key, _)| key.clone());
        Ok((values, last.filter(|_| page.next.is_some())))
    }

    pub(super) fn published(
        &self,
        name: &WorkflowName,
        version: u32,
    ) -> Result<Option<Arc<Published>>, Refusal> {
        let record_key = RecordKey::Definition(name.clone(), version);
        let loaded = self.definitions.read(&*self.store, View::Committed, &record_key);
        Ok(match self.guard(loaded)?.as_ref().map(|(record, _)| &**record) {
            Some(Record::Definition(published)) => Some(Arc::clone(published)),
            _ => None,
        })
    }
}
