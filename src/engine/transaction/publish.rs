//! Publishing workflows.

use std::sync::Arc;

use crate::engine::core::record::RecordKey;
use crate::engine::core::resolved_actor::ResolvedActor;
use crate::engine::core::unit_of_work::{DecideError, UnitOfWork};
use crate::engine::workflow::Definition;
use crate::engine::{Actor, Event, InputError, Outcome, Refusal};
use crate::types::{Revision, Role, Time, WorkflowName};

/// Maximum number of workflows.
const WORKFLOWS_MAX: u64 = 1000;

/// Published version of a workflow.
#[derive(Clone, Debug)]
pub struct Published {
    /// Its name.
    pub name: WorkflowName,
    /// Its version, from 1.
    pub version: u32,
    /// The document, as the publisher sent it.
    pub source: Arc<str>,
    /// Definition.
    pub definition: Arc<Definition>,
    /// Time of its publication.
    pub published_at: Time,
    /// Publisher.
    pub published_by: Arc<str>,
}

impl PartialEq for Published {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name && self.version == other.version && self.source == other.source
    }
}

impl Eq for Published {}

/// Latest version of a workflow, and whether it is retired.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WorkflowHead {
    /// The latest version.
    pub latest: u32,
    /// True if it takes no new starts.
    pub retired: bool,
}

/// A version of a workflow, as publishers may see it.
#[derive(Clone, Debug)]
pub struct WorkflowView {
    /// The version.
    pub published: Published,
    /// Latest version, and whether the workflow is retired.
    pub head: WorkflowHead,
    /// The commit that last changed it.
    pub revision: Revision,
}

/// Publishes a version; a document equal to the latest version changes nothing.
pub(in crate::engine) fn publish(
    unit: &mut UnitOfWork<'_>,
    resolved: &ResolvedActor,
    source: &Arc<str>,
    definition: &Arc<Definition>,
) -> Result<Outcome, DecideError> {
    require_publish(&resolved.actor)?;
    require_hand_out(definition, &resolved.actor)?;
    let name = definition.name.clone();
    let head = unit.workflow(name.clone())?.copied();
    if let Some(head) = head {
        let latest = unit.published(name.clone(), head.latest)?;
        if latest.source == *source && !head.retired {
            let fact = RecordKey::Workflow(name);
            let revision = unit.revision(&fact)?.unwrap_or(unit.context.revision);
            let view = WorkflowView { published: (*latest).clone(), head, revision };
            return Ok(Outcome::Workflow { view: Box::new(view), created: false });
        }
    } else if unit.count(&RecordKey::WorkflowCount)? >= WORKFLOWS_MAX {
        let max = usize::try_from(WORKFLOWS_MAX).unwrap_or(usize::MAX);
        return Err(Refusal::LimitReached { what: "workflows", max }.into());
    }
    if head.is_none() && name.is_reserved() {
        let message = "is reserved; choose another name";
        let error = InputError::new("/workflow", "reserved", message);
        return Err(Refusal::InvalidInput(vec![error]).into());
    }
    let version = head.map_or(1, |head| head.latest + 1);
    let published = Published {
        name,
        version,
        source: source.clone(),
        definition: Arc::clone(definition),
        published_at: unit.context.now,
        published_by: super::record::ActorRef::of(&resolved.actor).name,
    };
    unit.emit(Event::WorkflowPublished { published: Box::new(published.clone()) })?;
    let head = WorkflowHead { latest: version, retired: false };
    let view = WorkflowView { published, head, revision: unit.context.revision };
    Ok(Outcome::Workflow { view: Box::new(view), created: true })
}

/// Retires a workflow: it takes no new starts; open transactions go on.
pub(in crate::engine) fn retire(
    unit: &mut UnitOfWork<'_>,
    resolved: &ResolvedActor,
    name: &WorkflowName,
) -> Result<Outcome, DecideError> {
    require_publish(&resolved.actor)?;
    let none = || DecideError::Refused(Refusal::NotFound("workflow"));
    let head = unit.workflow(name.clone())?.copied().ok_or_else(none)?;
    if !head.retired {
        unit.emit(Event::WorkflowRetired { name: name.clone() })?;
    }
    Ok(Outcome::Done)
}

pub(in crate::engine) fn require_publish(actor: &Actor) -> Result<(), Refusal> {
    if *actor == Actor::System || actor.has(Role::PUBLISHER) {
        Ok(())
    } else {
        Err(Refusal::NotAllowed("this needs the role abide:publisher"))
    }
}

/// Refuses a workflow that grants a role which its publisher could not grant: administrators grant
/// every role but Abide's own, others only the roles that they have.
fn require_hand_out(definition: &Definition, actor: &Actor) -> Result<(), Refusal> {
    let roles = definition.granted_roles();
    if actor.is_admin() || roles.iter().all(|role| actor.has(role.as_str())) {
        Ok(())
    } else {
        Err(Refusal::NotAllowed(
            "the workflow gives or takes a role that its publisher does not have",
        ))
    }
}
