//! Interpreter: executes a definition within one commit.

use std::sync::Arc;

use serde_json::{Value, json};

use super::effects::weight;
use super::eval_context::{Bindings, EvalActor, EvalContext};
use super::event::TxEvent;
use super::record::{
    CompletedStep, OpenJoin, OpenStep, PlannedEnd, StepClaim, Submission, Tx, TxStatus,
};
use crate::engine::core::trail::Savepoint;
use crate::engine::core::unit_of_work::{DecideError, UNDO_MAX, UnitOfWork};
use crate::engine::workflow::{
    AllowedActor, Definition, Quorum, StepDefinition, StepGuard, StepKind, StepTarget, Template,
    WaitCondition,
};
use crate::engine::{Event, Refusal};
use crate::types::{Role, Span, StepName, Time, TxId, Username};

/// Maximum number of automatic steps in one commit: a definition whose automatic steps loop for
/// ever must not block the executor.
const CHAIN_MAX: u32 = 64;

/// Maximum number of steps that are opened in the life of one transaction.
const ROUNDS_MAX: u32 = 1000;

/// Maximum number of steps that the expressions and effects of one request take, including all
/// transactions that it reaches: some 15 ms, in which the executor does nothing else. Three nested
/// lists are soon a million effects.
const STEPS_MAX: u32 = 300_000;

/// Steps that an effect counts in addition to its expressions.
pub(super) const EFFECT_STEPS: u32 = 100;

/// Maximum wait: anything that is due later is a mistake.
const WAIT_MAX: Span = Span::from_hours(24 * 366 * 10);

/// Cause of an execution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trigger {
    /// A request: a refusal in its execution refuses the request.
    Request,
    /// A timer: it commits, and a refusal in its execution ends the transaction.
    Time,
}

/// Execution of one transaction.
pub(super) struct Interpreter<'a, 'd> {
    pub(super) unit: &'a mut UnitOfWork<'d>,
    pub(super) id: TxId,
    pub(super) definition: Arc<Definition>,
    pub(super) asker: EvalActor,
    pub(super) trigger: Trigger,
    /// The step whose effects are executed.
    pub(super) at: StepName,
    chain: u32,
}

impl<'a, 'd> Interpreter<'a, 'd> {
    pub(super) fn new(
        unit: &'a mut UnitOfWork<'d>,
        id: TxId,
        definition: Arc<Definition>,
        asker: EvalActor,
        trigger: Trigger,
    ) -> Self {
        let at = definition.first.clone();
        Self { unit, id, definition, asker, trigger, at, chain: 0 }
    }

    /// Returns the record as it is now.
    pub(super) fn tx(&self) -> Result<&Tx, DecideError> {
        self.unit.tx(self.id)?.ok_or(DecideError::Refused(Refusal::NotFound("transaction")))
    }

    pub(super) fn emit(&mut self, event: TxEvent) -> Result<(), DecideError> {
        self.unit.emit(Event::Tx { tx: self.id, event: Box::new(event) })
    }

    /// Returns the number of a step in the definition.
    pub(super) fn step(definition: &Definition, name: &StepName) -> Result<usize, DecideError> {
        // A checked definition names no step that it does not have.
        let number = definition.index.get(name).copied();
        number.ok_or_else(|| Refusal::StepNotOpen { open_steps: Vec::new() }.into())
    }

    /// Evaluates expressions in the context of the transaction and counts their steps.
    pub(super) fn look<T>(
        &self,
        bindings: &Bindings,
        look: impl FnOnce(&EvalContext<'_, 'd>) -> Result<T, DecideError>,
    ) -> Result<T, DecideError> {
        let context = EvalContext::new(self.unit, self.tx()?, &self.asker, bindings);
        let seen = look(&context);
        // A failed evaluation counts as well.
        self.spend(context.steps())?;
        seen
    }

    /// Counts work and refuses it beyond `STEPS_MAX`.
    pub(super) fn spend(&self, steps: u32) -> Result<(), DecideError> {
        if self.unit.work(steps) > STEPS_MAX {
            return Err(super::eval_context::failed(format!(
                "effects and expressions take more than {STEPS_MAX} steps, of which an effect \
                 counts {EFFECT_STEPS}; look at fewer elements at once"
            )));
        }
        Ok(())
    }

    /// Rolls back to a savepoint, to take another path, which may take as much work as the first.
    pub(super) fn turn_back(&mut self, before: Savepoint) {
        self.unit.back_to(before);
        self.chain = 0;
        self.unit.forget_work();
    }

    /// Goes to a target. `from`: the open step from which it is reached; `join`: the branch that
    /// contains it.
    pub(super) fn go(
        &mut self,
        target: &StepTarget,
        from: Option<&OpenStep>,
        join: Option<u32>,
        bindings: &Bindings,
    ) -> Result<(), DecideError> {
        match target {
            StepTarget::Step(step) => self.open_group(std::slice::from_ref(step), join),
            StepTarget::Any(steps) => self.open_group(steps, join),
            StepTarget::All(number) => self.fork(*number, join),
            StepTarget::Stay => match from {
                Some(open) => self.open(&open.step, open.group, open.join, open.claim.clone()),
                None => Ok(()),
            },
            StepTarget::End(outcome) => self.end(TxStatus::Completed, outcome.clone()),
            StepTarget::Cancel(code) => self.compensate(TxStatus::Cancelled, code.clone()),
            StepTarget::When(_) => match self.chosen(target, bindings)? {
                Some(target) => self.go(target, from, join, bindings),
                None => Ok(()),
            },
        }
    }

    /// Resolves the conditions of a target.
    pub(super) fn chosen<'t>(
        &self,
        target: &'t StepTarget,
        bindings: &Bindings,
    ) -> Result<Option<&'t StepTarget>, DecideError> {
        let mut target = Some(target);
        while let Some(StepTarget::When(cases)) = target {
            target = None;
            for (when, next) in cases {
                let holds = match when {
                    Some(when) => self.look(bindings, |context| context.holds(when))?,
                    None => true,
                };
                if holds {
                    target = Some(next);
                    break;
                }
            }
        }
        Ok(target)
    }

    /// Goes on after a step was taken: to its target, or to the join of its branch.
    pub(super) fn proceed(
        &mut self,
        next: Option<&StepTarget>,
        from: Option<&OpenStep>,
        join: Option<u32>,
        bindings: &Bindings,
    ) -> Result<(), DecideError> {
        match (next, join) {
            (Some(target), join) => self.go(target, from, join, bindings),
            (None, Some(join)) => self.join(join, bindings),
            // A checked definition has no such step; ending is the safe choice.
            (None, None) => self.end(TxStatus::Completed, "done".into()),
        }
    }

    fn fork(&mut self, number: usize, parent: Option<u32>) -> Result<(), DecideError> {
        let definition = Arc::clone(&self.definition);
        let Some(all) = definition.alls.get(number) else { return Ok(()) };
        let id = self.tx()?.next_place;
        let left = u32::try_from(all.branches.len()).unwrap_or(u32::MAX);
        let all_number = u32::try_from(number).unwrap_or(u32::MAX);
        self.emit(TxEvent::Forked(OpenJoin { id, all: all_number, parent, left }))?;
        for branch in &all.branches {
            // A branch that cancels ends the others before they begin.
            if self.tx()?.ending.is_some() || self.tx()?.status.is_ended() {
                return Ok(());
            }
            self.open_group(std::slice::from_ref(branch), Some(id))?;
        }
        Ok(())
    }

    fn join(&mut self, id: u32, bindings: &Bindings) -> Result<(), DecideError> {
        let Some(join) = self.tx()?.joins.iter().find(|join| join.id == id).cloned() else {
            return Ok(());
        };
        self.emit(TxEvent::Joined { join: id })?;
        if join.left > 1 {
            return Ok(());
        }
        let definition = Arc::clone(&self.definition);
        let number = usize::try_from(join.all).unwrap_or(usize::MAX);
        let next = definition.alls.get(number).and_then(|all| all.next.as_ref());
        self.proceed(next, None, join.parent, bindings)
    }

    fn open_group(&mut self, steps: &[StepName], join: Option<u32>) -> Result<(), DecideError> {
        let group = self.tx()?.next_place;
        for step in steps {
            self.open(step, group, join, None)?;
        }
        Ok(())
    }

    /// Opens a step; an automatic one is taken at once. A claim covers a step and its siblings, so
    /// a step that opens again beside them stays claimed.
    fn open(
        &mut self,
        name: &StepName,
        group: u32,
        join: Option<u32>,
        claim: Option<StepClaim>,
    ) -> Result<(), DecideError> {
        if self.tx()?.rounds >= ROUNDS_MAX {
            return Err(Refusal::TooManyRounds { max: ROUNDS_MAX }.into());
        }
        let definition = Arc::clone(&self.definition);
        let step = &definition.steps[Self::step(&definition, name)?];
        let (by, due) = match &step.kind {
            StepKind::Automatic => return self.take_automatic(step, join),
            StepKind::Client { by, .. } => {
                let after = match &step.timeout {
                    Some(timeout) => Some(self.after(&timeout.after)?),
                    None => None,
                };
                (by.as_slice(), after)
            }
            StepKind::Call(_) => (&[][..], None),
            StepKind::Wait(WaitCondition::For(span)) => (&[][..], Some(self.after(span)?)),
            StepKind::Wait(WaitCondition::Until(time)) => (&[][..], Some(self.until(time)?)),
        };
        let is_client = matches!(step.kind, StepKind::Client { .. });
        let place = self.tx()?.next_place.max(group + 1);
        let open = OpenStep {
            place,
            step: name.clone(),
            group,
            join,
            opened_at: self.unit.context.now,
            due,
            reminded: 0,
            is_client,
            quorum: self.quorum(step)?,
            submissions: Vec::new(),
            claim: claim.filter(|claim| self.unit.context.now < claim.until),
            users: self.users(by)?,
            roles: inbox_roles(by),
            queued: is_client && step.claim.is_some(),
        };
        let before = self.unit.savepoint();
        self.emit(TxEvent::StepOpened(Box::new(open)))?;
        if let StepKind::Call(request) = &step.kind {
            match self.open_call(step, request, place) {
                Err(DecideError::Refused(refusal)) if self.trigger == Trigger::Time => {
                    self.unit.back_to(before);
                    return self.give_up(&step.name, join, &refusal);
                }
                made => return made,
            }
        }
        Ok(())
    }

    fn quorum(&self, step: &StepDefinition) -> Result<u32, DecideError> {
        match &step.quorum {
            None => Ok(1),
            Some(Quorum::Fixed(number)) => Ok(*number),
            Some(Quorum::Expr(expr)) => {
                let made = self.look(&Bindings::default(), |context| context.eval(expr))?;
                match made.to_int().ok().and_then(|number| u32::try_from(number).ok()) {
                    Some(number @ 1..=100) => Ok(number),
                    _ => Err(super::eval_context::failed(format!(
                        "the quorum of `{}` must be a whole number from 1 to 100",
                        step.name
                    ))),
                }
            }
        }
    }

    pub(super) fn users(&self, by: &[AllowedActor]) -> Result<Vec<Username>, DecideError> {
        let mut users = Vec::new();
        for by in by {
            if let AllowedActor::Named(expr) = by {
                let made = self.look(&Bindings::default(), |context| context.eval(expr))?;
                // A value that is no username names nobody; that is no reason to fail.
                users.extend(made.to_text().ok().and_then(|name| name.parse().ok()));
            }
        }
        Ok(users)
    }

    /// Returns the time after the span that a template returns.
    pub(super) fn after(&self, span: &Template) -> Result<Time, DecideError> {
        let made = self.look(&Bindings::default(), |context| context.make(span))?;
        let span = made.to_text().ok().and_then(|text| text.parse::<Span>().ok());
        match span {
            Some(span) if span <= WAIT_MAX => Ok(self.unit.context.now.plus(span)),
            _ => Err(super::eval_context::failed(format!(
                "a span of time must be like 30m and at most {WAIT_MAX}"
            ))),
        }
    }

    fn until(&self, time: &Template) -> Result<Time, DecideError> {
        let made = self.look(&Bindings::default(), |context| context.make(time))?;
        let latest = self.unit.context.now.plus(WAIT_MAX);
        match made.to_time() {
            Ok(time) if time <= latest => Ok(time),
            _ => Err(super::eval_context::failed(format!(
                "a time must be like 2026-11-24T10:35:00.000Z and not after {latest}"
            ))),
        }
    }

    /// Returns the time that a template returns: a point in time, or a span from now.
    pub(super) fn when(
        &self,
        template: &Template,
        bindings: &Bindings,
    ) -> Result<Time, DecideError> {
        let made = self.look(bindings, |context| context.make(template))?;
        let now = self.unit.context.now;
        let span = made.to_text().ok().and_then(|text| text.parse::<Span>().ok());
        let at = span.map(|span| now.plus(span)).or_else(|| made.to_time().ok());
        match at {
            Some(at) if at <= now.plus(WAIT_MAX) => Ok(at),
            _ => Err(super::eval_context::failed(
                "it must be a span like 30m or a time like 2026-11-24T10:35:00.000Z".to_owned(),
            )),
        }
    }

    /// Takes an automatic step. If it is refused, its changes are rolled back.
    fn take_automatic(
        &mut self,
        step: &StepDefinition,
        join: Option<u32>,
    ) -> Result<(), DecideError> {
        self.chain += 1;
        if self.chain > CHAIN_MAX {
            return Err(Refusal::TooManySteps { max: CHAIN_MAX }.into());
        }
        let before = self.unit.savepoint();
        let bindings = Bindings::default();
        match self.attempt(step, None, &bindings, None) {
            Ok(()) => {}
            Err(DecideError::Refused(refusal)) => {
                return match (&step.refused, self.trigger) {
                    (Some(target), _) => {
                        self.unit.back_to(before);
                        self.go(target, None, join, &bindings)
                    }
                    (None, Trigger::Request) => Err(refusal.into()),
                    (None, Trigger::Time) => {
                        self.unit.back_to(before);
                        self.give_up(&step.name, join, &refusal)
                    }
                };
            }
            Err(need) => return Err(need),
        }
        self.proceed(step.next.as_ref(), None, join, &bindings)
    }

    /// Takes a wait step whose time has come.
    pub(super) fn take_by_time(
        &mut self,
        open: &OpenStep,
        step: &StepDefinition,
    ) -> Result<(), DecideError> {
        let bindings = Bindings::default();
        let before = self.unit.savepoint();
        match self.attempt(step, Some(open), &bindings, None) {
            Ok(()) => {
                self.close_siblings(open)?;
                self.proceed(step.next.as_ref(), Some(open), open.join, &bindings)
            }
            Err(DecideError::Refused(refusal)) => {
                self.unit.back_to(before);
                self.give_up(&step.name, open.join, &refusal)
            }
            Err(need) => Err(need),
        }
    }

    /// Checks the guards of a step, executes its effects and records that it was taken.
    pub(super) fn attempt(
        &mut self,
        step: &StepDefinition,
        open: Option<&OpenStep>,
        bindings: &Bindings,
        stored_input: Option<Arc<Value>>,
    ) -> Result<(), DecideError> {
        if open.is_none_or(|open| !open.is_client) {
            // The guards of a client step were checked before.
            self.require_hold(step, bindings)?;
        }
        self.at = step.name.clone();
        let mut undo = Vec::new();
        self.run_effects(&step.effects, bindings, &mut undo)?;
        super::bounds::require_take_undo(self.tx()?, undo.len())?;
        // After the pivot nothing is undone any more.
        let is_final = step.pivot || self.tx()?.pivot;
        let calls = if is_final { Vec::new() } else { self.undoing(step, bindings)? };
        let tx = self.tx()?;
        let key = match &bindings.key {
            Some(key) => key.clone(),
            // Nothing will be sent under it.
            None if calls.is_empty() => "".into(),
            None => format!("{}/{}/{}", tx.id, step.name, tx.rounds).into(),
        };
        let done =
            CompletedStep { step: step.name.clone(), undo, calls, undone: 0, left: false, key };
        self.taken(step, open, stored_input, done)
    }

    fn taken(
        &mut self,
        step: &StepDefinition,
        open: Option<&OpenStep>,
        input: Option<Arc<Value>>,
        done: CompletedStep,
    ) -> Result<(), DecideError> {
        let place = open.map(|open| open.place);
        let counts = open.is_some_and(|open| open.is_client);
        self.emit(TxEvent::StepTaken { place, done, input, counts })?;
        if step.pivot && !self.tx()?.pivot {
            self.emit(TxEvent::PivotPassed)?;
        }
        Ok(())
    }

    /// Refuses the step if a guard does not hold.
    pub(super) fn require_hold(
        &mut self,
        step: &StepDefinition,
        bindings: &Bindings,
    ) -> Result<(), DecideError> {
        for guard in &step.guard {
            match guard {
                StepGuard::That { that, code, message } => {
                    if !self.look(bindings, |context| context.holds(that))? {
                        let (code, message) = (code.clone(), message.clone());
                        return Err(Refusal::Guard { code, message }.into());
                    }
                }
                StepGuard::Challenge { id, with } => {
                    let made = self.look(bindings, |context| context.make(with))?;
                    let given = made.to_text().unwrap_or_default();
                    super::challenge::check(self, id, given)?;
                }
            }
        }
        Ok(())
    }

    /// Closes the open siblings of a step that was taken.
    pub(super) fn close_siblings(&mut self, open: &OpenStep) -> Result<(), DecideError> {
        let siblings: Vec<_> = self
            .tx()?
            .open
            .iter()
            .filter(|other| other.group == open.group && other.place != open.place)
            .map(|other| (other.place, other.step.clone()))
            .collect();
        for (place, step) in siblings {
            self.emit(TxEvent::StepClosed { place, step })?;
            self.leave_calls(Some(place))?;
        }
        Ok(())
    }

    /// Closes the open steps in the branch of this step, so that the branch may go on elsewhere,
    /// and returns its join. A branch that had ended is open again. If its branches were joined
    /// already, the steps after the join are closed, and this branch alone is executed once more.
    pub(super) fn return_to_branch(&mut self, step: &StepName) -> Result<Option<u32>, DecideError> {
        let definition = Arc::clone(&self.definition);
        let around = definition.around();
        let none = Vec::new();
        let path = around.get(step.as_str()).unwrap_or(&none);
        let number = |join: &OpenJoin| usize::try_from(join.all).unwrap_or(usize::MAX);
        let tx = self.tx()?;
        let mut joins = Vec::with_capacity(path.len());
        for (all, _) in path {
            let parent = joins.last().copied();
            let is_it = |join: &&OpenJoin| join.parent == parent && number(join) == *all;
            let Some(join) = tx.joins.iter().find(is_it) else { break };
            joins.push(join.id);
        }
        let (inside, joined) = path.split_at(joins.len());
        let is_inside = |name: &StepName| {
            around.get(name.as_str()).is_some_and(|path| path.starts_with(inside))
        };
        let open = tx.open.iter().filter(|open| is_inside(&open.step));
        let open: Vec<_> = open.map(|open| (open.place, open.step.clone())).collect();
        let inner = tx.joins.iter().filter(|join| {
            let branch = definition.alls.get(number(join)).and_then(|all| all.branches.first());
            branch.is_some_and(is_inside) && !joins.contains(&join.id)
        });
        let inner: Vec<_> = inner.map(|join| join.id).collect();
        if let (true, true, Some(join)) = (open.is_empty(), inner.is_empty(), joins.last()) {
            self.emit(TxEvent::BranchReopened { join: *join })?;
        }
        for (place, step) in open {
            self.emit(TxEvent::StepClosed { place, step })?;
            self.leave_calls(Some(place))?;
        }
        if !inner.is_empty() {
            self.emit(TxEvent::BranchesClosed { joins: inner })?;
        }
        for (all, _) in joined {
            let id = self.tx()?.next_place;
            let all = u32::try_from(*all).unwrap_or(u32::MAX);
            let parent = joins.last().copied();
            self.emit(TxEvent::Forked(OpenJoin { id, all, parent, left: 1 }))?;
            joins.push(id);
        }
        Ok(joins.last().copied())
    }

    /// Gives up a step that a timer reached and that was refused: cancels the transaction, or
    /// leaves it stuck after the pivot.
    pub(super) fn give_up(
        &mut self,
        step: &StepName,
        join: Option<u32>,
        refusal: &Refusal,
    ) -> Result<(), DecideError> {
        let code: Arc<str> = refusal.name().into();
        if self.tx()?.pivot {
            return self.stick(step, join, refusal);
        }
        self.compensate(TxStatus::Cancelled, code)
    }

    /// Leaves a step, and the branch that contains it, to an operator.
    pub(super) fn stick(
        &mut self,
        step: &StepName,
        join: Option<u32>,
        refusal: &Refusal,
    ) -> Result<(), DecideError> {
        self.emit(TxEvent::Stuck(super::record::StuckReason {
            step: step.clone(),
            join,
            code: refusal.name().into(),
            message: refusal.to_string().into(),
        }))
    }

    /// Ends the transaction with success and releases its holds. A call whose step was closed
    /// before it was answered is no part of this end: its answer is waited for, and the call is
    /// undone.
    fn end(&mut self, status: TxStatus, outcome: Arc<str>) -> Result<(), DecideError> {
        let done = self.tx()?.done.clone();
        self.keep_roles(&done)?;
        if self.tx()?.done.iter().any(|done| done.left) || self.waits_for_call()? {
            self.emit(TxEvent::CompensationBegan(PlannedEnd { status, outcome }))?;
            return self.undo_all();
        }
        self.release_holds()?;
        self.emit(TxEvent::Ended { status, outcome })
    }

    /// Undoes the completed steps, last first, and ends the transaction. Begins once, even if it is
    /// requested again.
    pub(super) fn compensate(
        &mut self,
        status: TxStatus,
        outcome: Arc<str>,
    ) -> Result<(), DecideError> {
        let tx = self.tx()?;
        if tx.status.is_ended() || tx.ending.is_some() {
            return Ok(());
        }
        if tx.pivot {
            return Err(Refusal::PastPivot.into());
        }
        self.emit(TxEvent::CompensationBegan(PlannedEnd { status, outcome }))?;
        self.leave_calls(None)?;
        self.undo_all()
    }

    /// Continues undoing until nothing is left, something cannot be undone, or the limit of one
    /// commit is reached: then the timer continues it ([`super::timers`]).
    pub(super) fn undo_all(&mut self) -> Result<(), DecideError> {
        if self.waits_for_call()? {
            return Ok(());
        }
        while let Some(done) = self.tx()?.done.last().cloned() {
            let Some(left) = self.undo_portion(&done) else { return Ok(()) };
            self.foresee(&done.undo[left..])?;
            let before = self.unit.savepoint();
            let undone = done.undo[left..].iter().rev().try_for_each(|undo| self.undo(undo));
            match undone {
                Ok(()) => match done.calls.first() {
                    None if left == 0 => {
                        self.emit(TxEvent::StepUndone { step: done.step.clone() })?;
                    }
                    ask => {
                        if !done.undo.is_empty() {
                            let step = done.step.clone();
                            self.emit(TxEvent::EffectsUndone { step, left })?;
                        }
                        match ask.filter(|_| left == 0) {
                            Some(ask) => return self.undo_by_call(&done, ask),
                            None => return Ok(()),
                        }
                    }
                },
                // The other transaction is being executed in this commit: the request is refused
                // and may be repeated.
                Err(DecideError::Refused(refusal @ Refusal::LinkDepthExceeded { .. }))
                    if self.trigger == Trigger::Request =>
                {
                    return Err(refusal.into());
                }
                Err(DecideError::Refused(refusal)) => {
                    self.unit.back_to(before);
                    return self.stick(&done.step, None, &refusal);
                }
                Err(need) => return Err(need),
            }
        }
        let ending = self.tx()?.ending.clone();
        let Some(PlannedEnd { status, outcome }) = ending else { return Ok(()) };
        self.release_holds()?;
        self.emit(TxEvent::Ended { status, outcome })
    }

    /// Counts the effects of a step that are undone now and returns how many of them are left;
    /// `None`: none is undone in this commit. The effects of one step are undone together if one
    /// commit can take them.
    fn undo_portion(&mut self, done: &CompletedStep) -> Option<usize> {
        // A step without effects in this store is work too.
        let all: usize = done.undo.iter().map(weight).sum::<usize>().max(1);
        let most = (UNDO_MAX / self.unit.context.split_factor).max(1);
        let room = self.unit.undo_left();
        if all <= room {
            self.unit.count_undone(all);
            return Some(0);
        }
        if room < most {
            return None;
        }
        let mut taken = 0;
        let mut left = done.undo.len();
        for undo in done.undo.iter().rev() {
            if taken > 0 && taken + weight(undo) > room {
                break;
            }
            taken += weight(undo);
            left -= 1;
        }
        self.unit.count_undone(room);
        Some(left)
    }

    /// Refuses a transaction that has grown too large. Undoing is never refused: its own records
    /// have limits, and are soon removed.
    pub(super) fn require_fit(&self) -> Result<(), DecideError> {
        let tx = self.tx()?;
        if tx.ending.is_none() {
            super::bounds::require_fit(tx)?;
        }
        Ok(())
    }

    /// Records the status and the next timer of the transaction at the end of a commit.
    pub(super) fn settle(&mut self) -> Result<(), DecideError> {
        self.require_fit()?;
        let tx = self.tx()?;
        let status = match tx.status {
            TxStatus::Waiting | TxStatus::Running => tx.moving_status(),
            status => status,
        };
        let timer_at = super::timers::next_due(tx, &self.definition);
        if status == tx.status && timer_at == tx.timer_at {
            return Ok(());
        }
        self.emit(TxEvent::Settled { status, timer_at })
    }
}

/// Returns the roles whose inbox contains the step.
pub(super) fn inbox_roles(by: &[AllowedActor]) -> Vec<Role> {
    by.iter().filter_map(AllowedActor::role).cloned().collect()
}

/// Returns the submissions of a quorum as expressions see them.
pub(super) fn submissions(before: &[Submission], last: &Submission) -> Value {
    let of = |submission: &Submission| {
        json!({
            "actor": &*submission.by.name, "input": *submission.input, "at": submission.at,
        })
    };
    Value::Array(before.iter().chain([last]).map(of).collect())
}
