//! Evaluation context: the values that expressions of a transaction see.

use std::cell::{Cell, RefCell};
use std::sync::Arc;

use serde_json::{Value, json};

use super::record::{ActorId, ActorRef, Tx};
use crate::engine::core::record::RecordKey;
use crate::engine::core::unit_of_work::{DecideError, UnitOfWork};
use crate::engine::expression::{
    AccountSeen, EvalStop, Expr, ResolvedValue, Resolver, TemplateOutput,
};
use crate::engine::value::ValueKey;
use crate::engine::workflow::Template;
use crate::engine::{Actor, Refusal};
use crate::types::{AccountId, AssetCode, Decimal, Time};

/// Actor of a step, as expressions see it.
#[derive(Clone, Debug)]
pub(super) struct EvalActor {
    /// The actor, as it is now.
    pub(super) actor: Actor,
    /// Time until which its session counts as elevated.
    pub(super) elevated_until: Option<Time>,
    /// Facts of its session.
    pub(super) facts: Arc<str>,
}

impl EvalActor {
    /// Returns the actor of timers: the server itself.
    pub(super) fn system() -> Self {
        Self { actor: Actor::System, elevated_until: None, facts: "{}".into() }
    }
}

/// Values in scope beside the transaction.
#[derive(Clone, Debug, Default)]
pub(super) struct Bindings {
    /// The input of the step, absent properties null.
    pub(super) input: Option<Arc<Value>>,
    /// The submissions of a quorum.
    pub(super) submissions: Option<Arc<Value>>,
    /// Answer to a call.
    pub(super) response: Option<Arc<Value>>,
    /// The key of the call that was answered.
    pub(super) key: Option<Arc<str>>,
    /// True while a request is evaluated: markers for secrets may be named.
    pub(super) sends: bool,
    /// The challenge whose code may be named.
    pub(super) code: Option<Arc<str>>,
    /// The elements of each enclosing `each`, the innermost last.
    pub(super) lines: Vec<(Arc<str>, Arc<Value>)>,
}

/// Context of one evaluation.
pub(super) struct EvalContext<'s, 'd> {
    pub(super) unit: &'s UnitOfWork<'d>,
    pub(super) tx: &'s Tx,
    pub(super) asker: &'s EvalActor,
    pub(super) bindings: &'s Bindings,
    /// Record that a name needs and that is not loaded.
    need: RefCell<Option<RecordKey>>,
    /// Number of steps that evaluations took.
    spent: Cell<u32>,
    /// Number of steps that reading records took since [`Resolver::take_cost`].
    cost: Cell<u32>,
}

/// Steps that the first read of a record costs a request: it may have to be read from the disk,
/// which takes as long as evaluating some hundred nodes.
const RECORD_STEPS: u32 = 200;

/// Bytes of JSON text that are parsed in the time of one step.
const PARSED_BYTES_A_STEP: usize = 4;

impl<'s, 'd> EvalContext<'s, 'd> {
    pub(super) const fn new(
        unit: &'s UnitOfWork<'d>,
        tx: &'s Tx,
        asker: &'s EvalActor,
        bindings: &'s Bindings,
    ) -> Self {
        let (spent, cost) = (Cell::new(0), Cell::new(0));
        Self { unit, tx, asker, bindings, need: RefCell::new(None), spent, cost }
    }

    /// Returns the number of steps that the evaluations took.
    pub(super) fn steps(&self) -> u32 {
        self.spent.get()
    }

    /// Evaluates an expression.
    pub(super) fn eval(&self, expr: &Expr) -> Result<TemplateOutput, DecideError> {
        self.settle(expr.eval(self))
    }

    /// Evaluates a template.
    pub(super) fn make(&self, template: &Template) -> Result<TemplateOutput, DecideError> {
        self.settle(template.make(self))
    }

    /// Returns whether a condition holds. A value that is no boolean is a refusal, never true.
    pub(super) fn holds(&self, expr: &Expr) -> Result<bool, DecideError> {
        let made = self.eval(expr)?;
        made.as_bool().map_err(|what| failed(format!("`{}`: {what}", expr.source())))
    }

    fn settle(
        &self,
        made: Result<TemplateOutput, EvalStop>,
    ) -> Result<TemplateOutput, DecideError> {
        if let Some(fact) = self.need.borrow_mut().take() {
            return Err(DecideError::MissingRecord(fact));
        }
        made.map_err(|stop| match stop {
            EvalStop::Need(fact) => DecideError::MissingRecord(fact),
            EvalStop::Failed(message) => failed(message),
        })
    }

    /// Returns the value that was read, or notes the record that is missing.
    fn noted<T>(&self, read: Result<T, DecideError>) -> Option<T> {
        match read {
            Ok(value) => Some(value),
            Err(DecideError::MissingRecord(fact)) => {
                self.need.borrow_mut().get_or_insert(fact);
                None
            }
            Err(DecideError::Refused(_)) => None,
        }
    }

    /// Parses the JSON text of a record, once for each decision.
    fn parsed(&self, json: &Arc<str>) -> &'s Value {
        let (value, is_new) = self.unit.parsed(json);
        if is_new {
            self.charge(parsing_steps(json.len()));
        }
        value
    }

    /// Charges the first read of a record.
    fn look_at(&self, fact: RecordKey) {
        if self.unit.is_first_look(fact) {
            self.charge(RECORD_STEPS);
        }
    }

    fn charge(&self, steps: u32) {
        self.cost.set(self.cost.get().saturating_add(steps));
    }

    /// Returns an entry of `session`.
    fn of_session(&self, key: &str) -> Option<ResolvedValue<'_>> {
        let actor = &self.asker.actor;
        let now = self.unit.context.now;
        Some(match key {
            "id" => {
                let id = actor.session().map_or_else(String::new, |id| id.to_string());
                ResolvedValue::TemplateOutput(Value::String(id))
            }
            "elevated" => {
                let is_elevated = self.asker.elevated_until.is_some_and(|until| now < until);
                ResolvedValue::TemplateOutput(Value::Bool(is_elevated))
            }
            "anonymous" => {
                let is_anonymous = actor.session().is_some() && actor.user().is_none();
                ResolvedValue::TemplateOutput(Value::Bool(is_anonymous))
            }
            "data" => {
                let data = actor.session().and_then(|id| {
                    self.look_at(RecordKey::SessionData(id));
                    self.noted(self.unit.session_data(id)).flatten()
                });
                data.map_or_else(
                    || ResolvedValue::TemplateOutput(json!({})),
                    |data| ResolvedValue::Json(self.parsed(data)),
                )
            }
            "facts" => ResolvedValue::Json(self.parsed(&self.asker.facts)),
            _ => return None,
        })
    }

    /// Returns an entry of `user`: the owner of the transaction.
    fn of_owner(&self, key: &str) -> Option<ResolvedValue<'_>> {
        let id = self.tx.owner.user().map(|owner| owner.id);
        let json = match key {
            "data" => id.and_then(|id| {
                self.look_at(RecordKey::UserData(id));
                self.noted(self.unit.user_data(id)).flatten()
            }),
            "attributes" => id.and_then(|id| {
                self.look_at(RecordKey::User(id));
                self.noted(self.unit.user(id)).flatten().map(|user| &user.attributes)
            }),
            _ => return None,
        };
        Some(json.map_or_else(
            || ResolvedValue::TemplateOutput(json!({})),
            |json| ResolvedValue::Json(self.parsed(json)),
        ))
    }
}

/// Returns an object with all entries of a name.
fn whole<'e>(keys: &[&str], entry: impl Fn(&str) -> Option<ResolvedValue<'e>>) -> Value {
    let entries = keys.iter().filter_map(|key| {
        let value = match entry(key)? {
            ResolvedValue::Json(value) => value.clone(),
            ResolvedValue::TemplateOutput(value) => value,
            ResolvedValue::Time(time) => json!(time),
        };
        Some(((*key).to_owned(), value))
    });
    Value::Object(entries.collect())
}

/// The entries of `session`.
const OF_SESSION: [&str; 5] = ["id", "elevated", "anonymous", "data", "facts"];

/// The entries of `user`.
const OF_OWNER: [&str; 2] = ["data", "attributes"];

/// Returns the steps that parsing this number of bytes of JSON text counts.
pub(super) fn parsing_steps(bytes: usize) -> u32 {
    u32::try_from(bytes / PARSED_BYTES_A_STEP).unwrap_or(u32::MAX)
}

/// Returns the refusal for an expression that failed.
pub(super) fn failed(message: String) -> DecideError {
    DecideError::Refused(Refusal::ExpressionFailed(message))
}

/// Returns an actor as expressions see it.
fn actor(actor: &Actor) -> Value {
    let who = ActorRef::of(actor);
    let kind = match who.id {
        ActorId::User(_) => "user",
        ActorId::Session(_) => "anonymous",
        ActorId::Key(_) => "key",
        ActorId::Hook(_) => "hook",
        // A workflow acts as the system, for the step that says so.
        ActorId::Workflow(_) | ActorId::System => "system",
    };
    let via = match actor {
        Actor::Session(session) => session.via.as_ref().map(|key| key.id),
        _ => None,
    };
    json!({ "user": &*who.name, "roles": actor.roles(), "kind": kind, "via": via })
}

impl EvalContext<'_, '_> {
    /// Returns the marker in a stored request for a value that is known only when it is sent.
    fn stands_for(&self, what: &str) -> String {
        super::marker::marker(&self.unit.rules.challenge_key, self.tx.id, what)
    }
}

impl Resolver for EvalContext<'_, '_> {
    fn spent(&self, steps: u32) {
        self.spent.set(self.spent.get().saturating_add(steps));
    }

    fn entry(&self, name: &str, key: &str) -> Option<ResolvedValue<'_>> {
        match name {
            "session" => self.of_session(key),
            "user" => self.of_owner(key),
            _ => None,
        }
    }

    fn take_cost(&self) -> u32 {
        self.cost.take()
    }

    fn secret(&self, name: &str) -> Option<String> {
        self.bindings.sends.then(|| self.stands_for(&format!("secret:{name}")))
    }

    fn name(&self, name: &str) -> Option<ResolvedValue<'_>> {
        let null = || ResolvedValue::TemplateOutput(Value::Null);
        Some(match name {
            "data" => ResolvedValue::Json(&self.tx.data),
            "input" => self.bindings.input.as_deref().map_or_else(null, ResolvedValue::Json),
            "response" => self.bindings.response.as_deref().map_or_else(null, ResolvedValue::Json),
            "callback" if self.bindings.sends => {
                ResolvedValue::TemplateOutput(json!({ "url": self.stands_for("callback") }))
            }
            "code" if self.bindings.code.is_some() => {
                let id = self.bindings.code.as_deref().unwrap_or_default();
                ResolvedValue::TemplateOutput(Value::String(self.stands_for(&format!("code:{id}"))))
            }
            "submissions" => {
                self.bindings.submissions.as_deref().map_or_else(null, ResolvedValue::Json)
            }
            "now" => ResolvedValue::Time(self.unit.context.now),
            "tx.started" => ResolvedValue::Time(self.tx.started_at),
            "tx" => ResolvedValue::TemplateOutput(json!({
                "id": self.tx.id, "workflow": self.tx.workflow, "version": self.tx.version,
                "owner": self.tx.owner.name(), "status": self.tx.status.as_str(),
                "started": self.tx.started_at, "reference": self.tx.reference.as_deref(),
            })),
            "actor" => ResolvedValue::TemplateOutput(actor(&self.asker.actor)),
            "session" => {
                ResolvedValue::TemplateOutput(whole(&OF_SESSION, |key| self.of_session(key)))
            }
            "user" => ResolvedValue::TemplateOutput(whole(&OF_OWNER, |key| self.of_owner(key))),
            name => {
                let line = self.bindings.lines.iter().rev().find(|(line, _)| **line == *name);
                return line.map(|(_, value)| ResolvedValue::Json(value));
            }
        })
    }

    fn account(&self, id: &str) -> Result<AccountSeen, RecordKey> {
        let Ok(id) = id.parse::<AccountId>() else { return Ok(AccountSeen::none()) };
        self.look_at(RecordKey::Account(id.clone()));
        let account = match self.unit.account(id) {
            Ok(Some(account)) => account,
            Ok(None) | Err(DecideError::Refused(_)) => return Ok(AccountSeen::none()),
            Err(DecideError::MissingRecord(fact)) => return Err(fact),
        };
        let amount = |units| Decimal::from_minor(units, account.scale);
        Ok(AccountSeen {
            owner: account.owner.as_ref().map(|owner| owner.username.as_str().into()),
            asset: account.asset.as_str().into(),
            posted: amount(account.posted),
            held: amount(account.held),
            available: amount(account.posted - account.held),
            frozen: account.frozen,
            closed: account.closed,
            exists: true,
        })
    }

    fn hold(&self, id: &str) -> Result<Value, RecordKey> {
        let mut left = Decimal::ZERO;
        let mut seen = None;
        for held in self.tx.group(id, None) {
            let hold = &held.hold;
            left = left.plus(Decimal::from_minor(hold.left, hold.scale)).unwrap_or(left);
            seen = Some(hold);
        }
        Ok(match seen {
            None => json!({ "exists": false, "amount": "0", "status": null, "account": null }),
            Some(hold) => json!({
                "exists": true, "amount": left, "status": hold.status.as_str(),
                "account": hold.account,
            }),
        })
    }

    fn value(&self, set: &str, key: &str) -> Result<Option<ResolvedValue<'_>>, RecordKey> {
        let Some(id) = ValueKey::new(set, key) else { return Ok(None) };
        self.look_at(RecordKey::Value(id.clone()));
        match self.unit.value(id) {
            Ok(value) => Ok(value.map(|json| ResolvedValue::Json(self.parsed(json)))),
            Err(DecideError::MissingRecord(fact)) => Err(fact),
            Err(DecideError::Refused(_)) => Ok(None),
        }
    }

    fn scale(&self, asset: &str) -> Result<Option<u8>, RecordKey> {
        let Ok(code) = asset.parse::<AssetCode>() else { return Ok(None) };
        self.look_at(RecordKey::Asset(code.clone()));
        match crate::engine::ledger::scale(self.unit, &code) {
            Ok(scale) => Ok(Some(scale)),
            Err(DecideError::MissingRecord(fact)) => Err(fact),
            Err(DecideError::Refused(_)) => Ok(None),
        }
    }
}
