//! What operators do to transactions beside having them go on: stop them, and move them to another
//! version of their workflow.

use std::collections::BTreeMap;
use std::mem::discriminant;
use std::sync::Arc;

use serde_json::{Map, Value};

use super::access::is_operator;
use super::event::TxEvent;
use super::record::{Open, Purpose, Stuck, Tx};
use super::scene::{Frame, failed};
use super::submit::{asker, seen};
use super::view::view;
use super::walk::{Trigger, Walk, inbox_roles};
use crate::engine::decide::Acting;
use crate::engine::draft::{Draft, Stop};
use crate::engine::workflow::{Definition, StepKind};
use crate::engine::{FieldError, Outcome, Refusal};
use crate::types::{StepName, TxId};

/// To where a transaction is moved.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MigrateAsk {
    /// The version; `None`: the latest.
    pub version: Option<u32>,
    /// Steps that are called otherwise there, by what they are called now.
    pub steps: BTreeMap<StepName, StepName>,
    /// Whether only to look whether it could be.
    pub dry_run: bool,
}

pub(super) fn must_operate(acting: &Acting) -> Result<(), Refusal> {
    if is_operator(&acting.actor) {
        Ok(())
    } else {
        Err(Refusal::NotAllowed("this needs the role abide:operator"))
    }
}

/// Stops a transaction, or has it go on: while it is paused nobody takes a step of it and no time
/// is due in it, no call either. What has become due meanwhile happens when it goes on; the answer
/// to an attempt that was on its way is taken as it comes.
pub(in crate::engine) fn pause(
    draft: &mut Draft<'_>,
    acting: &Acting,
    id: TxId,
    pause: bool,
) -> Result<Outcome, Stop> {
    let (tx, definition) = seen(draft, acting, id, None)?;
    must_operate(acting)?;
    if tx.status.is_ended() {
        return Err(Refusal::AlreadyEnded.into());
    }
    if tx.ending.is_some() && pause {
        return Err(Refusal::AlreadyCancelled.into());
    }
    if tx.paused != pause {
        let mut walk = Walk::new(draft, id, definition, asker(acting), Trigger::Time);
        walk.emit(if pause { TxEvent::Paused } else { TxEvent::Resumed })?;
        walk.settle()?;
    }
    let view = view(draft, &acting.actor, id)?;
    Ok(Outcome::Transaction { view, created: false })
}

/// Moves a transaction to another version of its workflow, with the steps that wait in it.
pub(in crate::engine) fn migrate(
    draft: &mut Draft<'_>,
    acting: &Acting,
    id: TxId,
    ask: &MigrateAsk,
) -> Result<Outcome, Stop> {
    let (tx, old) = seen(draft, acting, id, None)?;
    must_operate(acting)?;
    if tx.status.is_ended() {
        return Err(Refusal::AlreadyEnded.into());
    }
    if tx.ending.is_some() {
        return Err(Refusal::AlreadyCancelled.into());
    }
    let none = || Refusal::NotFound("version");
    let latest = draft.workflow(tx.workflow.clone())?.ok_or_else(none)?.latest;
    let version = ask.version.unwrap_or(latest);
    if version == 0 || version > latest {
        return Err(none().into());
    }
    if let Some(unknown) = ask.steps.keys().find(|step| old.step(step).is_none()) {
        let message = format!("the version {} has no such step", tx.version);
        let error = FieldError::new(&format!("/steps/{unknown}"), "unknown-step", message);
        return Err(Refusal::InvalidInput(vec![error]).into());
    }
    let before = draft.savepoint();
    if version != tx.version {
        let new = draft.definition(tx.workflow.clone(), version)?;
        let mut walk = Walk::new(draft, id, Arc::clone(&new), asker(acting), Trigger::Time);
        let event = moved(&walk, &tx, (&old, &new), version, ask)?;
        walk.emit(event)?;
        walk.settle()?;
    }
    let view = view(draft, &acting.actor, id)?;
    if ask.dry_run {
        draft.back_to(before);
    }
    Ok(Outcome::Transaction { view, created: false })
}

/// What a transaction becomes in another version.
fn moved(
    walk: &Walk<'_, '_>,
    tx: &Tx,
    (old, new): (&Definition, &Definition),
    version: u32,
    ask: &MigrateAsk,
) -> Result<TxEvent, Stop> {
    let cannot = |what: String| Stop::Refused(Refusal::CannotMigrate(what));
    let name = |step: &StepName| ask.steps.get(step).unwrap_or(step).clone();
    let there = |step: &StepName| {
        let step = name(step);
        let found = new.step(&step);
        found.ok_or_else(|| cannot(format!("the version {version} has no step {step}; map it")))
    };
    let mut opened = Vec::with_capacity(tx.open.len());
    for open in &tx.open {
        let step = there(&open.step)?;
        let was = old.step(&open.step).map(|step| discriminant(&step.kind));
        if was != Some(discriminant(&step.kind)) {
            let (from, to) = (&open.step, &step.name);
            return Err(cannot(format!("{from} and {to} do not wait for the same kind of thing")));
        }
        let by = match &step.kind {
            StepKind::Client { by, .. } => by.as_slice(),
            _ => &[],
        };
        opened.push(Open {
            step: step.name.clone(),
            users: walk.users(by)?,
            roles: inbox_roles(by),
            queued: open.is_client && step.claim.is_some(),
            ..open.clone()
        });
    }
    for join in &tx.joins {
        let number = usize::try_from(join.all).unwrap_or(usize::MAX);
        let (was, is) = (old.alls.get(number), new.alls.get(number));
        let same = was.zip(is).is_some_and(|(was, is)| {
            was.branches.len() == is.branches.len()
                && was.branches.iter().zip(&is.branches).all(|(was, is)| name(was) == *is)
        });
        if !same {
            return Err(cannot(format!("its open branches are others in the version {version}")));
        }
    }
    // What undoes a call is made of its step when it is answered.
    for call in &tx.calls {
        if matches!(call.purpose, Purpose::Do { .. }) && !call.state.is_over() {
            there(&call.step)?;
        }
    }
    let held = |stuck: &Stuck| -> Result<Stuck, Stop> {
        Ok(Stuck { step: there(&stuck.step)?.name.clone(), ..stuck.clone() })
    };
    let stuck = tx.stuck.as_ref().map(held).transpose()?;
    let stuck_too = tx.stuck_too.iter().map(held).collect::<Result<_, _>>()?;
    let taken = taken(tx, old, name);
    Ok(TxEvent::Migrated {
        version,
        steps: ask.steps.clone(),
        open: opened,
        taken,
        stuck,
        stuck_too,
        added: Arc::new(added(walk, tx, new)?),
    })
}

/// How often each step was taken, as they are called there. Of several that are one there all count.
/// Keys for services are made of a step's name and how often it was asked: where a call is called
/// otherwise, the count stays under its name too, so that another step with it makes none again.
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

/// The keys that the data has at the start in the new version and not yet here.
fn added(walk: &Walk<'_, '_>, tx: &Tx, new: &Definition) -> Result<Map<String, Value>, Stop> {
    let frame = Frame { input: Some((*tx.data).clone()), ..Frame::default() };
    let made = walk.look(&frame, |scene| scene.make(&new.data))?;
    let Value::Object(mut data) = made.into_json() else {
        return Err(failed("the data at the start must be an object".to_owned()));
    };
    data.retain(|key, _| tx.data.get(key).is_none());
    Ok(data)
}
