//! Operator commands beside repair: pause, resume, and migrate to another version of the workflow.

use std::collections::{BTreeMap, BTreeSet};
use std::mem::discriminant;
use std::sync::Arc;

use serde_json::{Map, Value};

use super::access::is_operator;
use super::eval_context::{Bindings, failed};
use super::event::TxEvent;
use super::interpreter::{Interpreter, Trigger, inbox_roles};
use super::record::{CallPurpose, OpenJoin, OpenStep, StuckReason, Tx};
use super::submit::{asker, load_visible};
use super::view::view;
use crate::engine::core::resolved_actor::ResolvedActor;
use crate::engine::core::unit_of_work::{DecideError, UnitOfWork};
use crate::engine::workflow::{Definition, ParallelBranches, StepDefinition, StepKind};
use crate::engine::{Digest, InputError, Outcome, Refusal};
use crate::types::{StepName, Time, TxId};

/// Request to migrate a transaction to another version.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MigrateAsk {
    /// The version; `None`: the latest.
    pub version: Option<u32>,
    /// New names of steps, by their current names.
    pub steps: BTreeMap<StepName, StepName>,
    /// True if the migration is only checked.
    pub dry_run: bool,
}

pub(super) fn require_operate(resolved: &ResolvedActor) -> Result<(), Refusal> {
    if is_operator(&resolved.actor) {
        Ok(())
    } else {
        Err(Refusal::NotAllowed("this needs the role abide:operator"))
    }
}

/// Pauses a transaction, or resumes it. While it is paused, nobody takes a step of it, and no timer
/// or call of it is due. Whatever became due meanwhile happens when it resumes; the answer to an
/// attempt in flight is processed when it arrives.
pub(in crate::engine) fn pause(
    unit: &mut UnitOfWork<'_>,
    resolved: &ResolvedActor,
    id: TxId,
    pause: bool,
) -> Result<Outcome, DecideError> {
    let (tx, definition) = load_visible(unit, resolved, id, None)?;
    require_operate(resolved)?;
    if tx.status.is_ended() {
        return Err(Refusal::AlreadyEnded.into());
    }
    if tx.ending.is_some() && pause {
        return Err(Refusal::AlreadyCancelled.into());
    }
    if tx.paused != pause {
        let mut interpreter =
            Interpreter::new(unit, id, definition, asker(resolved), Trigger::Time);
        interpreter.emit(if pause { TxEvent::Paused } else { TxEvent::Resumed })?;
        interpreter.settle()?;
    }
    let view = view(unit, &resolved.actor, id)?;
    Ok(Outcome::Transaction { view, created: false })
}

/// Moves a transaction to another version of its workflow, with its open steps.
pub(in crate::engine) fn migrate(
    unit: &mut UnitOfWork<'_>,
    resolved: &ResolvedActor,
    id: TxId,
    ask: &MigrateAsk,
) -> Result<Outcome, DecideError> {
    let (tx, old) = load_visible(unit, resolved, id, None)?;
    require_operate(resolved)?;
    if tx.status.is_ended() {
        return Err(Refusal::AlreadyEnded.into());
    }
    if tx.ending.is_some() {
        return Err(Refusal::AlreadyCancelled.into());
    }
    let none = || Refusal::NotFound("version");
    let latest = unit.workflow(tx.workflow.clone())?.ok_or_else(none)?.latest;
    let version = ask.version.unwrap_or(latest);
    if version == 0 || version > latest {
        return Err(none().into());
    }
    if let Some(unknown) = ask.steps.keys().find(|step| old.step(step).is_none()) {
        let message = format!("the version {} has no such step", tx.version);
        let error = InputError::new(&format!("/steps/{unknown}"), "unknown-step", message);
        return Err(Refusal::InvalidInput(vec![error]).into());
    }
    let before = unit.savepoint();
    if version != tx.version {
        let new = unit.definition(tx.workflow.clone(), version)?;
        let mut interpreter =
            Interpreter::new(unit, id, Arc::clone(&new), asker(resolved), Trigger::Time);
        let migration = Migration { tx: &tx, old: &old, new: &new, version, ask };
        let event = migration.event(&interpreter)?;
        interpreter.emit(event)?;
        interpreter.settle()?;
    }
    let view = view(unit, &resolved.actor, id)?;
    if ask.dry_run {
        unit.back_to(before);
    }
    Ok(Outcome::Transaction { view, created: false })
}

/// Migration of a transaction to another version.
struct Migration<'m> {
    tx: &'m Tx,
    old: &'m Definition,
    new: &'m Definition,
    version: u32,
    ask: &'m MigrateAsk,
}

fn cannot(what: String) -> DecideError {
    DecideError::Refused(Refusal::CannotMigrate(what))
}

impl Migration<'_> {
    /// Returns the name of a step in the new version.
    fn name(&self, step: &StepName) -> StepName {
        self.ask.steps.get(step).unwrap_or(step).clone()
    }

    /// Returns the step of the new version that a step becomes.
    fn there(&self, step: &StepName) -> Result<&StepDefinition, DecideError> {
        let (step, version) = (self.name(step), self.version);
        let found = self.new.step(&step);
        found.ok_or_else(|| cannot(format!("the version {version} has no step {step}; map it")))
    }

    /// Returns the event with the migrated transaction. Parts are matched by their names or due
    /// times, never by their place in a list: another version may have more entries before them.
    fn event(&self, interpreter: &Interpreter<'_, '_>) -> Result<TxEvent, DecideError> {
        let tx = self.tx;
        let joins = self.joins()?;
        let open = tx.open.iter().map(|open| self.open(interpreter, open, &joins));
        let open = open.collect::<Result<_, _>>()?;
        // The requests that undo a call are evaluated from its step when it is answered.
        for call in &tx.calls {
            if matches!(call.purpose, CallPurpose::Do { .. }) && !call.state.is_over() {
                self.there(&call.step)?;
            }
        }
        let held = |stuck: &StuckReason| -> Result<StuckReason, DecideError> {
            Ok(StuckReason { step: self.there(&stuck.step)?.name.clone(), ..stuck.clone() })
        };
        let added = added(interpreter, tx, self.new)?;
        Ok(TxEvent::Migrated {
            version: self.version,
            steps: self.ask.steps.clone(),
            open,
            joins,
            taken: taken(tx, self.old, |step| self.name(step)),
            stuck: tx.stuck.as_ref().map(held).transpose()?,
            stuck_too: tx.stuck_too.iter().map(held).collect::<Result<_, _>>()?,
            deadline: self.deadline(interpreter.unit.context.now),
            unique: self.unique(interpreter, &added)?,
            added: Arc::new(added),
        })
    }

    /// Returns an open step as it is in the new version.
    fn open(
        &self,
        interpreter: &Interpreter<'_, '_>,
        open: &OpenStep,
        joins: &[OpenJoin],
    ) -> Result<OpenStep, DecideError> {
        let step = self.there(&open.step)?;
        let old = self.old.step(&open.step);
        if old.map(|step| discriminant(&step.kind)) != Some(discriminant(&step.kind)) {
            let (from, to) = (&open.step, &step.name);
            return Err(cannot(format!("{from} and {to} do not wait for the same kind of thing")));
        }
        if self.around(&step.name) != chain(joins, open.join) {
            let (name, version) = (&step.name, self.version);
            return Err(cannot(format!("{name} lies in other branches in the version {version}")));
        }
        let by = match &step.kind {
            StepKind::Client { by, .. } => by.as_slice(),
            StepKind::Call(_) | StepKind::Wait(_) | StepKind::Automatic => &[],
        };
        let due = match (&step.kind, &step.timeout, open.due) {
            (StepKind::Wait(_), _, due) => due,
            (_, None, _) => None,
            // It keeps its due time, or gets the whole time from now on.
            (_, Some(_), Some(due)) => Some(due),
            (_, Some(timeout), None) => Some(interpreter.after(&timeout.after)?),
        };
        let now = interpreter.unit.context.now;
        let reminded = old.map_or(0, |old| super::timers::reminded(open, old, step, now));
        Ok(OpenStep {
            step: step.name.clone(),
            users: interpreter.users(by)?,
            roles: inbox_roles(by),
            queued: open.is_client && step.claim.is_some(),
            due,
            reminded,
            ..open.clone()
        })
    }

    /// Returns the branches around a step in the new version, the outermost first.
    fn around(&self, step: &StepName) -> Vec<usize> {
        let around = self.new.around();
        let around = around.get(step.as_str()).map(Vec::as_slice).unwrap_or_default();
        around.iter().map(|(all, _)| *all).collect()
    }

    /// Returns the open joins, with their branches in the new version.
    fn joins(&self) -> Result<Vec<OpenJoin>, DecideError> {
        let others = || {
            let version = self.version;
            cannot(format!("its open branches are others in the version {version}"))
        };
        let mut joins = Vec::with_capacity(self.tx.joins.len());
        for join in &self.tx.joins {
            let number = usize::try_from(join.all).unwrap_or(usize::MAX);
            let was = self.old.alls.get(number).ok_or_else(others)?;
            let was: BTreeSet<_> = was.branches.iter().map(|step| self.name(step)).collect();
            // A step is in one place only, so no two joins wait for the same branches.
            let is_it = |all: &ParallelBranches| {
                all.branches.iter().cloned().collect::<BTreeSet<_>>() == was
            };
            let all = self.new.alls.iter().position(is_it).ok_or_else(others)?;
            joins.push(OpenJoin { all: u32::try_from(all).unwrap_or(u32::MAX), ..join.clone() });
        }
        for join in &joins {
            let number = usize::try_from(join.all).unwrap_or(usize::MAX);
            let branch = self.new.alls.get(number).and_then(|all| all.branches.first());
            let around = branch.map(|branch| self.around(branch)).unwrap_or_default();
            if around != chain(&joins, Some(join.id)) {
                return Err(others());
            }
        }
        Ok(joins)
    }

    /// Returns the deadline in the new version: the current one, or the new span from now on.
    fn deadline(&self, now: Time) -> Option<Time> {
        match (self.old.deadline, self.new.deadline) {
            (_, None) => None,
            (Some(_), Some(_)) => self.tx.deadline,
            // After the pivot a deadline would only emit an event.
            (None, Some(_)) if self.tx.pivot => None,
            (None, Some(span)) => Some(now.plus(span)),
        }
    }

    /// Returns the digest that keeps out others with the same value: the current one if both
    /// versions have the same expression, or else one of the current data.
    fn unique(
        &self,
        interpreter: &Interpreter<'_, '_>,
        added: &Map<String, Value>,
    ) -> Result<Option<Digest>, DecideError> {
        let source = |definition: &Definition| {
            definition.unique.as_ref().map(|expr| expr.source().to_owned())
        };
        if source(self.old) == source(self.new) {
            return Ok(self.tx.unique);
        }
        let mut data = (*self.tx.data).clone();
        if let Value::Object(data) = &mut data {
            data.extend(added.clone());
        }
        let tx = Tx { version: self.version, data: Arc::new(data), ..self.tx.clone() };
        super::start::unique(interpreter.unit, self.new, &tx, &interpreter.asker)
    }
}

/// Returns the numbers of the branches around a join, the outermost first, and its own.
fn chain(joins: &[OpenJoin], join: Option<u32>) -> Vec<usize> {
    let mut chain = Vec::new();
    let mut next = join;
    while let Some(join) = next.and_then(|id| joins.iter().find(|join| join.id == id)) {
        chain.push(usize::try_from(join.all).unwrap_or(usize::MAX));
        next = join.parent;
    }
    chain.reverse();
    chain
}

/// Returns how often each step was taken, by its name in the new version. The counts of steps that
/// get the same name are added.
///
/// The key of a call consists of a step's name and its count: where a call is renamed, the count
/// stays under its old name too, so that another step with that name never repeats a key.
fn taken(
    tx: &Tx,
    old: &Definition,
    name: impl Fn(&StepName) -> StepName,
) -> BTreeMap<StepName, u32> {
    let mut taken = BTreeMap::new();
    for (step, count) in &tx.taken {
        let there = name(step);
        let is_call = old.step(step).is_none_or(|step| matches!(step.kind, StepKind::Call { .. }));
        if there != *step && is_call {
            *taken.entry(step.clone()).or_default() += count;
        }
        *taken.entry(there).or_default() += count;
    }
    taken
}

/// Returns the keys that the new version adds to the data at the start and that the data lacks.
fn added(
    interpreter: &Interpreter<'_, '_>,
    tx: &Tx,
    new: &Definition,
) -> Result<Map<String, Value>, DecideError> {
    let bindings = Bindings { input: Some(Arc::clone(&tx.data)), ..Bindings::default() };
    let made = interpreter.look(&bindings, |context| context.make(&new.data))?;
    let Value::Object(mut data) = made.into_json() else {
        return Err(failed("the data at the start must be an object".to_owned()));
    };
    data.retain(|key, _| tx.data.get(key).is_none());
    Ok(data)
}
