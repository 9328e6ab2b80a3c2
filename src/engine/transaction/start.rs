//! Starting a transaction.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Map, Value};

use super::access::{lets_in, may_see, redact_expression_error};
use super::checked::{CheckedInput, StartInput};
use super::eval_context::{Bindings, EvalContext, failed};
use super::event::TxEvent;
use super::interpreter::{Interpreter, Trigger};
use super::record::{Owner, Tx, TxStatus};
use super::view::view;
use crate::engine::core::json;
use crate::engine::core::record::{Record, RecordKey, Reference};
use crate::engine::core::resolved_actor::ResolvedActor;
use crate::engine::core::unit_of_work::{DecideError, UnitOfWork};
use crate::engine::expression::TemplateOutput;
use crate::engine::workflow::{Definition, SessionEnd, StepTarget};
use crate::engine::{Actor, Digest, InputError, Outcome, Refusal};
use crate::types::{ScheduleId, SessionId, TxId, WorkflowName};

/// Maximum length of a reference, in bytes.
pub const REFERENCE_BYTES_MAX: usize = 256;

/// Request to start a transaction.
#[derive(Clone, Debug, PartialEq)]
pub struct StartAsk {
    /// The workflow.
    pub workflow: WorkflowName,
    /// The input; absent and `{}` are the same.
    pub input: Map<String, Value>,
    /// The caller's own key for the transaction.
    pub reference: Option<String>,
}

pub(in crate::engine) fn start(
    unit: &mut UnitOfWork<'_>,
    resolved: &ResolvedActor,
    ask: &StartAsk,
    checked: Option<&CheckedInput>,
) -> Result<Outcome, DecideError> {
    let none = || Refusal::NotFound("workflow");
    let head = unit.workflow(ask.workflow.clone())?.ok_or_else(none)?;
    let (version, retired) = (head.latest, head.retired);
    let definition = unit.definition(ask.workflow.clone(), version)?;
    let owner = owner(&resolved.actor)?;
    if !lets_in(&definition.start, &resolved.actor, None, &[]) {
        return Err(Refusal::NotAllowed("this workflow lets others start it").into());
    }
    let own;
    let input = if let Some(input) = checked.and_then(|one| one.start(&ask.workflow, version)) {
        input
    } else {
        own = StartInput::of(&definition, &ask.input);
        &own
    };
    let reference = match &ask.reference {
        Some(reference) => match referred(unit, &definition, reference, input)? {
            Referred::Known(id) => {
                let tx = unit.tx(id)?.ok_or(Refusal::ReferenceTaken)?;
                let definition = unit.definition(tx.workflow.clone(), tx.version)?;
                if !may_see(tx, &definition, &resolved.actor, false) {
                    return Err(Refusal::ReferenceTaken.into());
                }
                let view = view(unit, &resolved.actor, id)?;
                return Ok(Outcome::Transaction { view, created: false });
            }
            Referred::New(fact, record) => Some((fact, record)),
        },
        None => None,
    };
    if retired {
        return Err(Refusal::WorkflowRetired.into());
    }
    let begin = Begin {
        workflow: ask.workflow.clone(),
        version,
        definition,
        reference: ask.reference.as_deref().map(Into::into),
        owner,
        session: resolved.session.as_ref().map(|session| session.id),
        asker: super::submit::asker(resolved),
        schedule: None,
    };
    let definition = Arc::clone(&begin.definition);
    let made = begin.begin(unit, input.stored.clone(), reference);
    let id = redact_expression_error(made, &definition, &resolved.actor, true)?;
    let view = view(unit, &resolved.actor, id)?;
    Ok(Outcome::Transaction { view, created: true })
}

/// Start of a transaction.
pub(super) struct Begin {
    pub(super) workflow: WorkflowName,
    pub(super) version: u32,
    pub(super) definition: Arc<Definition>,
    pub(super) reference: Option<Arc<str>>,
    pub(super) owner: Owner,
    pub(super) session: Option<SessionId>,
    pub(super) asker: super::eval_context::EvalActor,
    pub(super) schedule: Option<ScheduleId>,
}

impl Begin {
    /// Starts the transaction and executes it until it waits or ends.
    pub(super) fn begin(
        self,
        unit: &mut UnitOfWork<'_>,
        input: Result<Arc<Value>, Refusal>,
        reference: Option<(RecordKey, Reference)>,
    ) -> Result<TxId, DecideError> {
        let Self {
            workflow,
            version,
            definition,
            reference: text,
            owner,
            session,
            asker,
            schedule,
        } = self;
        let input = input?;
        let id = TxId::new(unit.mint());
        let now = unit.context.now;
        let mut tx = Tx {
            id,
            workflow,
            version,
            reference: text,
            owner,
            session,
            ends_with_session: definition.session_end == SessionEnd::Cancel,
            status: TxStatus::Running,
            outcome: None,
            data: Arc::new(Value::Object(Map::new())),
            open: Vec::new(),
            joins: Vec::new(),
            holds: Vec::new(),
            challenges: Vec::new(),
            done: Vec::new(),
            taken: BTreeMap::new(),
            rounds: 0,
            pivot: false,
            unique: None,
            started_at: now,
            updated_at: now,
            deadline: definition.deadline.map(|span| now.plus(span)),
            timer_at: None,
            next_place: 0,
            asked: Vec::new(),
            ending: None,
            stuck: None,
            stuck_too: Vec::new(),
            calls: Vec::new(),
            next_call: 0,
            heard: Vec::new(),
            commits: vec![unit.context.revision],
            paused: false,
            schedule,
        };
        tx.data = first_data(unit, &definition, &tx, &asker, input)?;
        tx.unique = unique(unit, &definition, &tx, &asker)?;
        unit.emit(crate::engine::Event::Tx {
            tx: id,
            event: Box::new(TxEvent::Started(Box::new(tx))),
        })?;
        if let Some((fact, record)) = reference {
            unit.put(fact, Record::Reference(Reference { tx: id, ..record }));
        }
        let mut interpreter =
            Interpreter::new(unit, id, Arc::clone(&definition), asker, Trigger::Request);
        let first = StepTarget::Step(definition.first.clone());
        interpreter.go(&first, None, None, &Bindings::default())?;
        interpreter.settle()?;
        Ok(id)
    }
}

fn owner(actor: &Actor) -> Result<Owner, Refusal> {
    match actor {
        Actor::Session(session) => Ok(match &session.user {
            Some(user) => Owner::User(user.clone()),
            None => Owner::Anonymous(session.session),
        }),
        Actor::Key(key) => Ok(Owner::Key(key.key.clone())),
        Actor::Nobody | Actor::Hook(_) | Actor::Workflow(..) | Actor::System => {
            Err(Refusal::Unauthenticated)
        }
    }
}

pub(super) enum Referred {
    /// The reference belongs to this transaction, which was started with the same input.
    Known(TxId),
    New(RecordKey, Reference),
}

/// Looks a reference up. Its record is kept for ever: a reference is never used again.
pub(super) fn referred(
    unit: &UnitOfWork<'_>,
    definition: &Definition,
    reference: &str,
    input: &StartInput,
) -> Result<Referred, DecideError> {
    if reference.is_empty() || reference.len() > REFERENCE_BYTES_MAX {
        let message = format!("must have 1 to {REFERENCE_BYTES_MAX} bytes");
        let error = InputError::new("/reference", "out-of-range", message);
        return Err(Refusal::InvalidInput(vec![error]).into());
    }
    let fact = reference_fact(&definition.name, reference);
    let (input, written) = (input.digest, input.written);
    match unit.reference(&fact)? {
        None => Ok(Referred::New(fact, Reference { tx: TxId::new(0), input })),
        Some(known) if known.input == input || known.input == written => {
            Ok(Referred::Known(known.tx))
        }
        Some(_) => Err(Refusal::ReferenceTaken.into()),
    }
}

/// Returns the key of the record that keeps a reference.
#[must_use]
pub fn reference_fact(workflow: &WorkflowName, reference: &str) -> RecordKey {
    RecordKey::Reference(workflow.clone(), digest(&[reference]))
}

/// Moves the pointers of the errors below another pointer.
pub(super) fn below(pointer: &str, errors: Vec<InputError>) -> Vec<InputError> {
    let moved =
        |error: InputError| InputError { pointer: format!("{pointer}{}", error.pointer), ..error };
    errors.into_iter().map(moved).collect()
}

/// Evaluates the data of the definition and puts the input over it.
fn first_data(
    unit: &UnitOfWork<'_>,
    definition: &Definition,
    tx: &Tx,
    asker: &super::eval_context::EvalActor,
    input: Arc<Value>,
) -> Result<Arc<Value>, DecideError> {
    let bindings = Bindings { input: Some(Arc::clone(&input)), ..Bindings::default() };
    let made = EvalContext::new(unit, tx, asker, &bindings).make(&definition.data)?;
    let (Value::Object(mut data), Value::Object(entries)) = (made.into_json(), &*input) else {
        return Err(failed("the data at the start must be an object".to_owned()));
    };
    if data.is_empty() {
        return Ok(input);
    }
    data.extend(entries.iter().map(|(key, value)| (key.clone(), value.clone())));
    Ok(Arc::new(Value::Object(data)))
}

/// Returns the digest of `unique` that keeps out others with the same value. Numbers are compared
/// by value.
pub(super) fn unique(
    unit: &UnitOfWork<'_>,
    definition: &Definition,
    tx: &Tx,
    asker: &super::eval_context::EvalActor,
) -> Result<Option<Digest>, DecideError> {
    let Some(expr) = &definition.unique else { return Ok(None) };
    let bindings = Bindings::default();
    let value = match EvalContext::new(unit, tx, asker, &bindings).eval(expr)? {
        TemplateOutput::Json(Value::Null) => return Ok(None),
        made => json::canonical(&made.into_json()),
    };
    let digest = digest(&[&value]);
    if unit.one(tx.workflow.clone(), digest)?.is_some_and(|other| other != tx.id) {
        return Err(Refusal::AlreadyOpen.into());
    }
    Ok(Some(digest))
}

/// Returns a hash of texts of any length.
pub(super) fn digest(parts: &[&str]) -> Digest {
    let mut hasher = blake3::Hasher::new();
    for part in parts {
        hasher.update(&(part.len() as u64).to_be_bytes());
        hasher.update(part.as_bytes());
    }
    *hasher.finalize().as_bytes()
}
