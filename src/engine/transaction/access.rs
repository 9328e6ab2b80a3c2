//! Access: who may start, read, submit and cancel.

use serde_json::Value;

use super::record::{OpenStep, Owner, OwnerId, Tx};
use crate::engine::core::unit_of_work::{DecideError, UnitOfWork};
use crate::engine::workflow::{AllowedActor, Definition, StepDefinition, StepKind};
use crate::engine::{Actor, Command, Refusal};
use crate::types::{AccountId, Role, StepName, Username};

/// Returns whether the transaction is the actor's own.
pub(in crate::engine) fn is_owner(tx: &Tx, actor: &Actor) -> bool {
    match (&tx.owner, actor) {
        (Owner::User(owner), _) => actor.user().is_some_and(|user| user.id == owner.id),
        // A session keeps its id when it becomes a user's.
        (Owner::Anonymous(session), _) => actor.session() == Some(*session),
        (Owner::Key(key), Actor::Key(actor)) => actor.key.id == key.id,
        (Owner::Key(_), _) => false,
    }
}

/// Returns whether an entry of the list lets the actor in. `users`: the users that `user:=`
/// evaluated to when the step opened.
pub(in crate::engine) fn lets_in(
    by: &[AllowedActor],
    actor: &Actor,
    tx: Option<&Tx>,
    users: &[Username],
) -> bool {
    by.iter().any(|by| match by {
        AllowedActor::Owner => tx.is_some_and(|tx| is_owner(tx, actor)),
        AllowedActor::Anyone => matches!(actor, Actor::Session(_)),
        AllowedActor::User => actor.user().is_some(),
        AllowedActor::Role(role) => actor.has(role.as_str()),
        AllowedActor::Named(_) => actor.user().is_some_and(|user| users.contains(&user.username)),
        AllowedActor::ApiKey => matches!(actor, Actor::Key(_)),
        AllowedActor::Hook(hook) => matches!(actor, Actor::Hook(name) if name == hook),
        AllowedActor::Workflow(workflow) => {
            matches!(actor, Actor::Workflow(name, _) if name == workflow)
        }
    })
}

/// Returns whether the actor reads every transaction.
#[must_use]
pub fn sees_all(actor: &Actor) -> bool {
    *actor == Actor::System || actor.has(Role::OPERATOR) || actor.has(Role::AUDITOR)
}

/// Returns whether the actor may know that the transaction exists: its owner, `readers`, everyone
/// who may ever submit one of its steps, operators and auditors. `was_asked`: whether a step was
/// ever fixed to this user.
#[must_use]
pub fn may_see(tx: &Tx, definition: &Definition, actor: &Actor, was_asked: bool) -> bool {
    sees_all(actor)
        || is_owner(tx, actor)
        || was_asked
        || names_now(tx, actor)
        || lets_in(&definition.readers, actor, Some(tx), &[])
        || definition.steps.iter().any(|step| lets_in(step.submitters(), actor, Some(tx), &[]))
}

/// Returns whether the actor may see every transaction of a workflow, regardless of its owner.
#[must_use]
pub fn sees_workflow(definition: &Definition, actor: &Actor) -> bool {
    sees_all(actor)
        || lets_in(&definition.readers, actor, None, &[])
        || definition.steps.iter().any(|step| lets_in(step.submitters(), actor, None, &[]))
}

/// Actors who see every transaction of a workflow: small enough to keep in memory for each
/// workflow.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WorkflowReaders {
    sessions: bool,
    users: bool,
    services: bool,
    roles: Vec<Role>,
}

impl WorkflowReaders {
    /// Returns the readers that a definition names.
    #[must_use]
    pub fn of(definition: &Definition) -> Self {
        let mut readers = Self::default();
        let steps = definition.steps.iter().map(StepDefinition::submitters);
        for by in std::iter::once(definition.readers.as_slice()).chain(steps).flatten() {
            match by {
                AllowedActor::Anyone => readers.sessions = true,
                AllowedActor::User => readers.users = true,
                AllowedActor::ApiKey => readers.services = true,
                AllowedActor::Role(role) if !readers.roles.contains(role) => {
                    readers.roles.push(role.clone());
                }
                AllowedActor::Owner
                | AllowedActor::Named(_)
                | AllowedActor::Role(_)
                | AllowedActor::Hook(_)
                | AllowedActor::Workflow(_) => {}
            }
        }
        readers
    }

    /// Returns whether the actor is one of the readers; the same answer as [`sees_workflow`].
    #[must_use]
    pub fn include(&self, actor: &Actor) -> bool {
        sees_all(actor)
            || (self.sessions && matches!(actor, Actor::Session(_)))
            || (self.users && actor.user().is_some())
            || (self.services && matches!(actor, Actor::Key(_)))
            || self.roles.iter().any(|role| actor.has(role.as_str()))
    }
}

fn names_now(tx: &Tx, actor: &Actor) -> bool {
    actor.user().is_some_and(|user| tx.open.iter().any(|open| open.users.contains(&user.username)))
}

/// Returns whether the actor may submit an open step. Guards and claims are not checked here.
#[must_use]
pub fn may_submit(tx: &Tx, definition: &Definition, open: &OpenStep, actor: &Actor) -> bool {
    let is_person = matches!(actor, Actor::Session(_));
    is_let_in(tx, definition, open, actor) && (is_person || !counts_people(definition, open))
}

/// Returns whether a step counts how many people submit it. API keys, hooks and other workflows are
/// not people and do not count.
pub(super) fn counts_people(definition: &Definition, open: &OpenStep) -> bool {
    definition.step(&open.step).is_some_and(|step| step.quorum.is_some())
}

/// Returns whether the step's `by` lets the actor in.
pub(super) fn is_let_in(tx: &Tx, definition: &Definition, open: &OpenStep, actor: &Actor) -> bool {
    let by = definition.step(&open.step).map_or(&[][..], StepDefinition::submitters);
    lets_in(by, actor, Some(tx), &open.users)
}

/// Transactions whose steps an actor may submit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum MaySubmit {
    /// None.
    None,
    /// At most of the actor's own, and of those in which the step was fixed to the actor.
    Own,
    /// All.
    All,
}

/// Returns the transactions of a version in which the actor may submit a step, judged by the
/// definition alone.
#[must_use]
pub fn may_ever_submit(definition: &Definition, step: &StepName, actor: &Actor) -> MaySubmit {
    let Some(StepKind::Client { by, .. }) = definition.step(step).map(|step| &step.kind) else {
        return MaySubmit::None;
    };
    let named = |by: &AllowedActor| matches!(by, AllowedActor::Named(_)) && actor.user().is_some();
    if lets_in(by, actor, None, &[]) {
        MaySubmit::All
    } else if by.iter().any(|by| matches!(by, AllowedActor::Owner) || named(by)) {
        MaySubmit::Own
    } else {
        MaySubmit::None
    }
}

/// Returns the top-level keys of the data that the actor may not read.
pub(super) fn hidden_keys<'a>(
    tx: &Tx,
    definition: &'a Definition,
    actor: &'a Actor,
) -> impl Iterator<Item = &'a str> {
    hidden(definition, actor, is_owner(tx, actor))
}

/// Returns the top-level keys of the data that the actor may not read; `owns`: whether the
/// transaction is the actor's own.
pub fn hidden<'d>(
    definition: &'d Definition,
    actor: &Actor,
    owns: bool,
) -> impl Iterator<Item = &'d str> {
    let is_let_in = move |by: &[AllowedActor]| {
        lets_in(by, actor, None, &[])
            || (owns && by.iter().any(|by| matches!(by, AllowedActor::Owner)))
    };
    definition
        .restricted
        .iter()
        .filter(move |(_, by)| !sees_all(actor) && !is_let_in(by))
        .map(|(key, _)| &**key)
}

/// Text in place of the reason that an expression failed, which may contain data.
pub const REDACTED: &str = "the reason is told to those who may read all of the data";

/// Replaces the reason that an expression failed with [`REDACTED`], unless the actor may read all
/// of the data.
pub(super) fn redact_expression_error<T>(
    made: Result<T, DecideError>,
    definition: &Definition,
    actor: &Actor,
    owns: bool,
) -> Result<T, DecideError> {
    match made {
        Err(DecideError::Refused(Refusal::ExpressionFailed(_)))
            if hidden(definition, actor, owns).next().is_some() =>
        {
            Err(Refusal::ExpressionFailed(REDACTED.to_owned()).into())
        }
        made => made,
    }
}

/// Returns whether the actor is this owner.
#[must_use]
pub fn owns(owner: OwnerId, actor: &Actor) -> bool {
    match owner {
        OwnerId::User(id) => actor.user().is_some_and(|user| user.id == id),
        OwnerId::Session(id) => actor.session() == Some(id),
        OwnerId::Key(id) => matches!(actor, Actor::Key(key) if key.key.id == id),
    }
}

/// Returns whether the actor is an operator of transactions.
pub(in crate::engine) fn is_operator(actor: &Actor) -> bool {
    *actor == Actor::System || actor.has(Role::OPERATOR)
}

/// Returns the refusal as the caller may see it. The refusal names its account only to callers who
/// already know the account: they may read it, sent it in the input, or read it in the
/// transaction's data.
pub(in crate::engine) fn disclosed(
    unit: &UnitOfWork<'_>,
    actor: &Actor,
    command: &Command,
    refusal: Refusal,
) -> Refusal {
    match refusal.account() {
        Some(account) if !knows(unit, actor, command, account) => {
            Refusal::Undisclosed(Box::new(refusal))
        }
        _ => refusal,
    }
}

fn knows(unit: &UnitOfWork<'_>, actor: &Actor, command: &Command, account: &str) -> bool {
    let reads = || {
        let id: AccountId = account.parse().ok()?;
        let account = unit.account(id).ok()??;
        Some(account.read_anyone || account.is_visible_to(actor))
    };
    let sent = || match command {
        Command::Start(ask) => ask.input.values().any(|value| names(value, account)),
        Command::Submit { input, .. } | Command::Deliver { input, .. } => names(input, account),
        _ => false,
    };
    let shown = || {
        let tx = unit.tx(command.transaction()?).ok()??;
        let definition = unit.definition(tx.workflow.clone(), tx.version).ok()?;
        let hidden: Vec<_> = hidden_keys(tx, &definition, actor).collect();
        let data = tx.data.as_object()?.iter();
        let mut data = data.filter(|(key, _)| !hidden.contains(&key.as_str()));
        Some(data.any(|(_, value)| names(value, account)))
    };
    matches!(actor, Actor::Key(_))
        || sees_all(actor)
        || actor.is_admin()
        || reads().unwrap_or(false)
        || sent()
        || shown().unwrap_or(false)
}

/// Returns whether the text occurs as a value in this JSON value.
fn names(value: &Value, text: &str) -> bool {
    match value {
        Value::String(value) => value == text,
        Value::Array(list) => list.iter().any(|value| names(value, text)),
        Value::Object(object) => object.values().any(|value| names(value, text)),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}
