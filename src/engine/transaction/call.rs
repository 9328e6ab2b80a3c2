//! Calls to other services: intents stored in the transaction's record, and the consequences of
//! their answers.
//!
//! A call is due, then in flight, then due again, awaiting a callback, or over. The start of an
//! attempt is committed before anything is sent, so compensation knows which requests may have
//! reached a service; an attempt without a result counts as unknown.

use std::sync::Arc;

use serde_json::{Value, json};

use super::eval_context::{Bindings, EvalActor, failed};
use super::event::TxEvent;
use super::interpreter::{Interpreter, Trigger};
use super::marker::{callback_token, called_back, called_back_with};
use super::record::{
    CallAnswer, CallPurpose, CallState, ChallengeState, CompletedStep, HttpRequestSpec, OpenStep,
    ServiceCall, Tx, TxStatus,
};
use crate::engine::core::unit_of_work::{DecideError, UnitOfWork};
use crate::engine::workflow::{RequestTemplate, StepDefinition, Template};
use crate::engine::{Outcome, Refusal};
use crate::types::{Span, StepName, Time, TxId};

/// Maximum number of calls of one transaction that are not over.
const CALLS_MAX: usize = 100;

/// Maximum size of a request's body, in bytes.
const BODY_BYTES_MAX: usize = 64 * 1024;

/// Maximum size of a URL, and of a header, in bytes.
const TEXT_BYTES_MAX: usize = 4096;

/// Maximum `Retry-After` that a service may ask for.
const RETRY_AFTER_MAX: Span = Span::from_hours(24);

/// Ending of the key of a step's call. The calls that undo it end with `/undo/1` and so on, so a
/// service sees which keys belong to one round and recognises a late attempt of the first call
/// after it has seen an undo.
const DO: &str = "/do";

/// Maximum length of the note about an attempt's result, in characters.
const NOTE_MAX: usize = 200;

/// Result of an attempt.
#[derive(Clone, Debug, PartialEq)]
pub enum CallResult {
    /// The service answered.
    Answered {
        /// Status.
        status: u16,
        /// Headers as expressions see them: an object of texts.
        headers: Value,
        /// Body: JSON, or else the text, or null.
        body: Value,
        /// True if the body is the beginning of a longer one.
        truncated: bool,
        /// Wait that the service asks for.
        retry_after: Option<Span>,
        /// The beginning of the body as text, without secrets.
        excerpt: Arc<str>,
    },
    /// The service did not answer: whether it did the work is unknown.
    Lost {
        /// Reason.
        what: String,
    },
    /// The request may not be sent, and no further attempt would change that.
    NotSent {
        /// Reason.
        what: String,
    },
}

/// Attempt that was begun, with the request to send.
#[derive(Clone, Debug)]
pub struct CallAttempt {
    /// The transaction.
    pub tx: TxId,
    /// The call's number.
    pub number: u32,
    /// Number of the attempt, from 1.
    pub attempt: u32,
    /// Purpose.
    pub purpose: CallPurpose,
    /// The key for the service.
    pub key: Arc<str>,
    /// Request.
    pub ask: HttpRequestSpec,
    /// The one-time code that it carries.
    pub code: Option<String>,
    /// Last part of the callback's address.
    pub callback: String,
}

/// Returns an answer as expressions see it.
fn response(status: u16, headers: &Value, body: &Value, truncated: bool) -> Value {
    json!({ "status": status, "headers": headers, "body": body, "truncated": truncated })
}

fn noted(text: &str) -> Arc<str> {
    text.chars().filter(|c| !c.is_control()).take(NOTE_MAX).collect::<String>().into()
}

impl HttpRequestSpec {
    /// Returns the request without headers and body, for a call that is over.
    pub(super) fn emptied(&self) -> Self {
        Self { headers: Vec::new(), body: None, ..self.clone() }
    }

    /// Returns its size in a record, in bytes.
    pub(super) fn bytes(&self) -> usize {
        let headers: usize = self.headers.iter().map(|(n, v)| n.len() + v.len()).sum();
        self.url.len() + headers + self.body.as_ref().map_or(0, |body| body.len())
    }
}

impl Interpreter<'_, '_> {
    /// Evaluates a request.
    pub(super) fn ask(
        &self,
        request: &RequestTemplate,
        bindings: &Bindings,
    ) -> Result<HttpRequestSpec, DecideError> {
        let bindings = Bindings { sends: true, ..bindings.clone() };
        let text = |template: &Template, what: &str| -> Result<Arc<str>, DecideError> {
            let made = self.look(&bindings, |context| context.make(template))?;
            let text = made.to_text().map_err(|error| failed(format!("{what}: {error}")))?;
            if text.len() > TEXT_BYTES_MAX {
                return Err(failed(format!("{what} has more than {TEXT_BYTES_MAX} bytes")));
            }
            Ok(text.into())
        };
        let url = text(&request.url, "the address of a call")?;
        let mut headers = Vec::with_capacity(request.headers.len());
        for (name, value) in &request.headers {
            headers.push((name.clone(), text(value, "a header of a call")?));
        }
        let body = match &request.body {
            Some(body) => {
                let made = self.look(&bindings, |context| context.make(body))?;
                let body = made.into_json().to_string();
                if body.len() > BODY_BYTES_MAX {
                    let what = "the body of a call";
                    return Err(Refusal::TooLarge { what, bytes_max: BODY_BYTES_MAX }.into());
                }
                Some(body.into())
            }
            None => None,
        };
        Ok(HttpRequestSpec { url, headers, body, ..Self::bare(request) })
    }

    /// Creates a call: an intent that is due at once.
    pub(super) fn make_call(
        &mut self,
        step: &StepName,
        key: Arc<str>,
        purpose: CallPurpose,
        challenge: Option<Arc<str>>,
        ask: HttpRequestSpec,
    ) -> Result<(), DecideError> {
        let tx = self.tx()?;
        let open = tx.calls.iter().filter(|call| !call.state.is_over()).count();
        // Undoing creates one call at a time, even while other calls are in flight.
        if open >= CALLS_MAX && purpose != CallPurpose::Undo {
            let what = "calls of a transaction that are not over";
            return Err(Refusal::LimitReached { what, max: CALLS_MAX }.into());
        }
        let call = ServiceCall {
            number: tx.next_call,
            step: step.clone(),
            key,
            purpose,
            challenge,
            ask,
            attempts: 0,
            unknown: false,
            state: CallState::Due(self.unit.context.now),
            last: None,
            answer: None,
        };
        self.emit(TxEvent::CallMade(Box::new(call)))
    }

    /// Creates the call of a step that waits for it at this place.
    pub(super) fn open_call(
        &mut self,
        step: &StepDefinition,
        request: &RequestTemplate,
        place: u32,
    ) -> Result<(), DecideError> {
        let bindings = Bindings::default();
        let ask = self.ask(request, &bindings)?;
        let tx = self.tx()?;
        let round = tx.taken.get(&step.name).copied().unwrap_or(0) + 1;
        let key = format!("{}/{}/{round}{DO}", tx.id, step.name).into();
        self.make_call(&step.name, key, CallPurpose::Do { place }, None, ask)
    }

    /// Creates a call that no step waits for.
    pub(super) fn send(
        &mut self,
        step: &StepName,
        challenge: Option<Arc<str>>,
        ask: HttpRequestSpec,
    ) -> Result<(), DecideError> {
        let tx = self.tx()?;
        let key = format!("{}/{step}/{}/send-{}", tx.id, tx.rounds, tx.next_call).into();
        self.make_call(step, key, CallPurpose::Send, challenge, ask)
    }

    /// Drops the codes of a challenge that were not sent yet.
    pub(super) fn drop_codes(&mut self, challenge: &str) -> Result<(), DecideError> {
        let calls = self.tx()?.calls.iter();
        let waiting = calls.filter(|call| {
            call.challenge.as_deref() == Some(challenge) && matches!(call.state, CallState::Due(_))
        });
        let numbers: Vec<_> = waiting.map(|call| call.number).collect();
        numbers
            .into_iter()
            .try_for_each(|number| self.end_call(number, CallState::Dropped, None, None))
    }

    fn end_call(
        &mut self,
        number: u32,
        state: CallState,
        last: Option<Arc<str>>,
        undo: Option<CompletedStep>,
    ) -> Result<(), DecideError> {
        self.emit(TxEvent::CallEnded { number, state, last, undo })
    }

    /// Evaluates the requests that undo a step at other services.
    pub(super) fn undoing(
        &self,
        step: &StepDefinition,
        bindings: &Bindings,
    ) -> Result<Vec<HttpRequestSpec>, DecideError> {
        step.compensate.iter().map(|request| self.ask(request, bindings)).collect()
    }

    /// Returns the compensation of a call that was done or may have been. After the pivot only
    /// calls that were left behind are undone.
    fn undo_of(
        &self,
        call: &ServiceCall,
        response: Value,
    ) -> Result<Option<CompletedStep>, DecideError> {
        let Some(step) = self.definition.step(&call.step) else { return Ok(None) };
        let tx = self.tx()?;
        let left = match call.purpose {
            CallPurpose::Do { place } => tx.at(place).is_none(),
            CallPurpose::Undo | CallPurpose::Send => false,
        };
        if tx.pivot && !left {
            return Ok(None);
        }
        let bindings = Bindings { response: Some(response.into()), ..Bindings::default() };
        let mut room = super::bounds::undoing_left(tx);
        let mut calls = Vec::with_capacity(step.compensate.len());
        for request in &step.compensate {
            let ask = match self.ask(request, &bindings) {
                Ok(ask) if ask.bytes() <= room => ask,
                // Without an answer the request cannot be evaluated, and stored requests have a
                // size limit. The empty request is kept: its attempt fails where an operator sees
                // it.
                Ok(_) | Err(DecideError::Refused(_)) => Self::bare(request),
                Err(need) => return Err(need),
            };
            room -= ask.bytes();
            calls.push(ask);
        }
        if calls.is_empty() {
            return Ok(None);
        }
        let (step, key) = (step.name.clone(), call.key.clone());
        Ok(Some(CompletedStep { step, undo: Vec::new(), calls, undone: 0, left, key }))
    }

    /// Returns the request without its evaluated parts: URL, headers and body.
    fn bare(request: &RequestTemplate) -> HttpRequestSpec {
        HttpRequestSpec {
            method: request.method.clone(),
            url: "".into(),
            headers: Vec::new(),
            body: None,
            timeout: request.timeout,
            attempts: request.attempts,
            first: request.first,
            factor: request.factor,
            max: request.max,
            refused: request.refused.clone(),
            callback: request.callback,
        }
    }

    /// Leaves the calls that steps no longer wait for, as undoing begins or the steps are closed.
    /// Calls never sent are dropped, calls that may have been done are undone, and calls in flight
    /// are waited for.
    pub(super) fn leave_calls(&mut self, of: Option<u32>) -> Result<(), DecideError> {
        let calls: Vec<ServiceCall> = self.tx()?.calls.clone();
        for call in calls.iter().filter(|call| !call.state.is_over()) {
            let CallPurpose::Do { place } = call.purpose else { continue };
            if of.is_some_and(|of| of != place) {
                continue;
            }
            match &call.state {
                CallState::InFlight(_) => {}
                CallState::Due(_) if !call.unknown => {
                    self.end_call(call.number, CallState::Dropped, None, None)?;
                }
                CallState::AnswerHeld(response) => {
                    let undo = self.undo_of(call, (**response).clone())?;
                    self.end_call(call.number, CallState::Done, None, undo)?;
                }
                _ => {
                    let undo = self.undo_of(call, Value::Null)?;
                    self.end_call(call.number, CallState::Unknown, None, undo)?;
                }
            }
        }
        Ok(())
    }

    /// Returns whether undoing must wait for a call.
    pub(super) fn waits_for_call(&self) -> Result<bool, DecideError> {
        Ok(waits_for_call(self.tx()?))
    }

    /// Creates the call that undoes the next part of a step.
    pub(super) fn undo_by_call(
        &mut self,
        done: &CompletedStep,
        ask: &HttpRequestSpec,
    ) -> Result<(), DecideError> {
        // Calls begun by earlier versions of this program have no ending.
        let round = done.key.strip_suffix(DO).unwrap_or(&done.key);
        let key = format!("{round}/undo/{}", done.undone + 1).into();
        self.make_call(&done.step, key, CallPurpose::Undo, None, ask.clone())
    }

    /// Ends a call that the service answered with success. The consequences of the answer, up to
    /// the next steps that wait, are applied as a whole. If they are refused, the answer is kept:
    /// the call is neither repeated nor undone.
    fn succeed(&mut self, call: &ServiceCall, response: Value) -> Result<(), DecideError> {
        let note = response["status"].as_u64().map(|status| Arc::from(status.to_string()));
        let note = note.or_else(|| call.last.clone());
        let CallPurpose::Do { place } = call.purpose else {
            self.end_call(call.number, CallState::Done, note, None)?;
            if call.purpose == CallPurpose::Undo {
                self.emit(TxEvent::CallUndone { step: call.step.clone() })?;
                return self.undo_all();
            }
            return Ok(());
        };
        let definition = Arc::clone(&self.definition);
        let open = self.tx()?.at(place).cloned();
        let (Some(open), Some(step)) = (open, definition.step(&call.step)) else {
            // No step waits for it any more.
            let undo = self.undo_of(call, response)?;
            self.end_call(call.number, CallState::Done, note, undo)?;
            return self.go_on_undoing();
        };
        let bindings = Bindings {
            response: Some(Arc::new(response.clone())),
            key: Some(call.key.clone()),
            ..Bindings::default()
        };
        let before = self.unit.savepoint();
        self.end_call(call.number, CallState::Done, note.clone(), None)?;
        let led = self
            .attempt(step, Some(&open), &bindings, None)
            .and_then(|()| self.proceed(step.next.as_ref(), Some(&open), open.join, &bindings))
            .and_then(|()| self.require_fit());
        match led {
            Ok(()) => Ok(()),
            Err(DecideError::Refused(refusal)) => {
                self.turn_back(before);
                if self.tx()?.pivot {
                    let response = Arc::new(self.kept(call, response)?);
                    self.emit(TxEvent::CallKept { number: call.number, response })?;
                    return self.stick(&step.name, open.join, &refusal);
                }
                let undo = self.undo_of(call, response)?;
                self.end_call(call.number, CallState::Done, note, undo)?;
                self.give_up(&step.name, open.join, &refusal)
            }
            Err(need) => Err(need),
        }
    }

    /// Returns the part of an answer to keep: all of it if it fits, or else its status only. An
    /// expression that reads the missing body is refused, so that nothing goes on as if the body
    /// had been empty.
    fn kept(&self, call: &ServiceCall, response: Value) -> Result<Value, DecideError> {
        if super::bounds::may_keep(self.tx()?, call.number, &response) {
            return Ok(response);
        }
        Ok(json!({ "status": response["status"] }))
    }

    fn go_on_undoing(&mut self) -> Result<(), DecideError> {
        if self.tx()?.ending.is_some() { self.undo_all() } else { Ok(()) }
    }

    /// Ends a call that was not done, or whose result is unknown.
    fn fail(
        &mut self,
        call: &ServiceCall,
        code: &'static str,
        refused: Option<Value>,
    ) -> Result<(), DecideError> {
        let unknown = refused.is_none() || call.unknown && code != REFUSED;
        let state = if unknown { CallState::Unknown } else { CallState::Refused };
        let last = call.last.clone();
        let refusal = Refusal::Guard { code: code.into(), message: reason(call, code).into() };
        match call.purpose {
            CallPurpose::Send => self.end_call(call.number, state, last, None),
            CallPurpose::Undo => {
                self.end_call(call.number, state, last, None)?;
                self.stick(&call.step, None, &refusal)
            }
            CallPurpose::Do { place } => {
                let undo = if unknown { self.undo_of(call, Value::Null)? } else { None };
                self.end_call(call.number, state, last, undo)?;
                let definition = Arc::clone(&self.definition);
                let open = self.tx()?.at(place).cloned();
                let (Some(open), Some(step)) = (open, definition.step(&call.step)) else {
                    return self.go_on_undoing();
                };
                self.step_failed(step, &open, code, refused, &refusal)
            }
        }
    }

    fn step_failed(
        &mut self,
        step: &StepDefinition,
        open: &OpenStep,
        code: &'static str,
        response: Option<Value>,
        refusal: &Refusal,
    ) -> Result<(), DecideError> {
        let event =
            TxEvent::StepFailed { place: open.place, step: step.name.clone(), code: code.into() };
        self.emit(event)?;
        let response = Arc::new(response.unwrap_or(Value::Null));
        let bindings = Bindings { response: Some(response), ..Bindings::default() };
        match &step.failed {
            Some(target) => {
                let before = self.unit.savepoint();
                let led = self.go(target, Some(open), open.join, &bindings);
                match led.and_then(|()| self.require_fit()) {
                    // The result of the call and the end of its step are kept.
                    Err(DecideError::Refused(refusal)) => {
                        self.turn_back(before);
                        self.give_up(&step.name, open.join, &refusal)
                    }
                    led => led,
                }
            }
            None if self.tx()?.pivot => self.stick(&step.name, open.join, refusal),
            None => self.compensate(TxStatus::Failed, code.into()),
        }
    }

    fn answered(&mut self, call: &ServiceCall, result: &CallResult) -> Result<(), DecideError> {
        let now = self.unit.context.now;
        let (note, retry_after) = match result {
            CallResult::Answered { status, headers, body, truncated, retry_after, excerpt } => {
                if !(200..=299).contains(status) {
                    let answer = CallAnswer { status: *status, body: excerpt.clone() };
                    self.emit(TxEvent::CallAnswered { number: call.number, answer })?;
                }
                let response = || response(*status, headers, body, *truncated);
                let is_send = call.purpose == CallPurpose::Send;
                let gone = call.purpose == CallPurpose::Undo && matches!(status, 404 | 410);
                let call = &ServiceCall { last: Some(status.to_string().into()), ..call.clone() };
                match (status, call.ask.callback, call.purpose) {
                    // Whether the work will be done is unknown, and no step waits for the callback.
                    (202, Some(_), CallPurpose::Do { place }) if self.tx()?.at(place).is_none() => {
                        return self.fail(call, FAILED, None);
                    }
                    (202, Some(within), CallPurpose::Do { .. }) => {
                        let until = now.plus(within);
                        return self.emit(TxEvent::CallAccepted { number: call.number, until });
                    }
                    (200..=299, ..) => return self.succeed(call, response()),
                    _ if gone => return self.succeed(call, response()),
                    // A receiver that is being set up says 404; only 410 is final.
                    (status, ..)
                        if call.ask.refused.contains(status) && (!is_send || *status == 410) =>
                    {
                        return self.fail(call, REFUSED, Some(response()));
                    }
                    _ => (noted(&status.to_string()), *retry_after),
                }
            }
            CallResult::Lost { what } => (noted(what), None),
            CallResult::NotSent { what } => {
                let call = ServiceCall { last: Some(noted(what)), ..call.clone() };
                return self.fail(&call, NOT_SENT, Some(Value::Null));
            }
        };
        // A call that no step waits for is not retried, but undone.
        let is_waited_for = match call.purpose {
            CallPurpose::Do { place } => self.tx()?.at(place).is_some(),
            CallPurpose::Undo | CallPurpose::Send => true,
        };
        if is_waited_for && call.attempts < call.ask.attempts {
            let wait = wait(&call.ask, call.attempts, self.unit.context.seed);
            let wait = wait.max(retry_after.unwrap_or(Span::ZERO).min(RETRY_AFTER_MAX));
            let due = now.plus(wait);
            return self.emit(TxEvent::CallRetried { number: call.number, due, last: note });
        }
        self.fail(&ServiceCall { last: Some(note), ..call.clone() }, FAILED, None)
    }
}

/// Code of a call that was refused.
const REFUSED: &str = "call-refused";
/// Code of a call that has no attempts left, or whose callback did not come.
const FAILED: &str = "call-failed";
/// Code of a call that may not be sent.
const NOT_SENT: &str = "call-not-allowed";

/// Returns why a call failed: the service refused it, could not do it, or did not answer.
fn reason(call: &ServiceCall, code: &str) -> String {
    let step = &call.step;
    let last = call.last.as_deref().unwrap_or("nothing was heard");
    match (code, last.parse::<u16>()) {
        (NOT_SENT, _) => format!("the call of the step {step} was not sent: {last}"),
        (REFUSED, Ok(status)) => {
            format!("the service refused the call of the step {step} with the status {status}")
        }
        (_, Ok(status)) => format!(
            "the call of the step {step} was not done: the last of {} attempts was answered with \
             the status {status}",
            call.attempts
        ),
        (_, Err(_)) => format!("there was no answer to the call of the step {step}: {last}"),
    }
}

/// Returns the wait after an attempt: full jitter, and never zero.
fn wait(ask: &HttpRequestSpec, attempts: u32, seed: u128) -> Span {
    let factor = u64::from(ask.factor).saturating_pow(attempts.saturating_sub(1));
    let most = ask.first.ms().saturating_mul(factor).min(ask.max.ms());
    // The ids that a commit generates take other bits of the seed.
    let random = u64::try_from(seed >> 64).unwrap_or(0) ^ u64::from(attempts).rotate_left(40);
    let random = random.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 16;
    Span::from_ms(random % most.max(1) + 1)
}

/// Returns the call as it is now, if it exists.
fn call_of(
    unit: &UnitOfWork<'_>,
    id: TxId,
    number: u32,
) -> Result<Option<ServiceCall>, DecideError> {
    Ok(unit.tx(id)?.and_then(|tx| tx.call(number)).cloned())
}

fn interpreter_of<'a, 'd>(
    unit: &'a mut UnitOfWork<'d>,
    id: TxId,
) -> Result<Interpreter<'a, 'd>, DecideError> {
    let none = || DecideError::Refused(Refusal::NotFound("transaction"));
    let tx = unit.tx(id)?.ok_or_else(none)?;
    let (workflow, version) = (tx.workflow.clone(), tx.version);
    let definition = unit.definition(workflow, version)?;
    Ok(Interpreter::new(unit, id, definition, EvalActor::system(), Trigger::Time))
}

/// Begins an attempt at a call that is due.
pub(in crate::engine) fn begin(
    unit: &mut UnitOfWork<'_>,
    id: TxId,
    number: u32,
) -> Result<Outcome, DecideError> {
    let Some(call) = call_of(unit, id, number)? else { return Ok(Outcome::Done) };
    let now = unit.context.now;
    // The transaction may have been paused after this attempt was taken up.
    let paused = unit.tx(id)?.is_some_and(|tx| tx.paused);
    if paused || !matches!(call.state, CallState::Due(at) if at <= now) {
        return Ok(Outcome::Done);
    }
    let mut interpreter = interpreter_of(unit, id)?;
    let mut code = None;
    if let Some(challenge) = &call.challenge {
        let tx = interpreter.tx()?;
        let issued = tx.challenge(challenge).filter(|found| found.state == ChallengeState::Issued);
        let key = &interpreter.unit.rules.challenge_key;
        code = issued.map(|found| super::challenge::code(key, tx.id, found));
        if code.is_none() {
            interpreter.end_call(number, CallState::Dropped, None, None)?;
            interpreter.settle()?;
            return Ok(Outcome::Done);
        }
    }
    interpreter.emit(TxEvent::CallBegan { number })?;
    let callback = callback_token(&interpreter.unit.rules.challenge_key, id, number);
    Ok(Outcome::CallBegun(Box::new(CallAttempt {
        tx: id,
        number,
        attempt: call.attempts + 1,
        purpose: call.purpose,
        key: call.key,
        ask: call.ask,
        code,
        callback,
    })))
}

/// Applies the result of an attempt. The result of an attempt that is no longer in flight changes
/// nothing.
pub(in crate::engine) fn end(
    unit: &mut UnitOfWork<'_>,
    id: TxId,
    number: u32,
    attempt: u32,
    result: &CallResult,
) -> Result<Outcome, DecideError> {
    let Some(call) = call_of(unit, id, number)? else { return Ok(Outcome::Done) };
    if !matches!(call.state, CallState::InFlight(_)) || call.attempts != attempt {
        return Ok(Outcome::Done);
    }
    let mut interpreter = interpreter_of(unit, id)?;
    settled(&mut interpreter, &call, |interpreter| interpreter.answered(&call, result))?;
    Ok(Outcome::Done)
}

/// Applies the callback of a service.
pub(in crate::engine) fn call_back(
    unit: &mut UnitOfWork<'_>,
    token: &str,
    body: &Value,
) -> Result<Outcome, DecideError> {
    let none = || DecideError::Refused(Refusal::NotFound("callback"));
    let (id, number) = called_back(&unit.rules.challenge_key, token).ok_or_else(none)?;
    // A service that did not receive the first response sends the same again.
    let message = called_back_with(&unit.rules.challenge_key, token, body);
    if unit.tx(id)?.is_some_and(|tx| tx.heard.contains(&message)) {
        return Ok(Outcome::Done);
    }
    let Some(call) = call_of(unit, id, number)? else {
        return Err(if unit.tx(id)?.is_some() { Refusal::CallbackLate.into() } else { none() });
    };
    // A quick service calls back before its 202 is committed; a service whose 202 was lost calls
    // back while the next attempt is due.
    let waits = match call.state {
        CallState::AwaitingCallback(until) => unit.context.now < until,
        CallState::InFlight(_) => call.ask.callback.is_some(),
        CallState::Due(_) => call.ask.callback.is_some() && call.attempts > 0,
        CallState::AnswerHeld(_)
        | CallState::Done
        | CallState::Refused
        | CallState::Unknown
        | CallState::Dropped => false,
    };
    if !waits {
        return Err(Refusal::CallbackLate.into());
    }
    let mut interpreter = interpreter_of(unit, id)?;
    let response = response(200, &json!({}), body, false);
    interpreter.emit(TxEvent::Heard { message })?;
    settled(&mut interpreter, &call, |interpreter| interpreter.succeed(&call, response))?;
    Ok(Outcome::Done)
}

/// Fails a call whose callback did not come in time.
pub(super) fn callback_late(
    interpreter: &mut Interpreter<'_, '_>,
    number: u32,
) -> Result<(), DecideError> {
    let Some(mut call) = interpreter.tx()?.call(number).cloned() else { return Ok(()) };
    call.last = Some("no callback in time".into());
    interpreter.fail(&call, FAILED, None)
}

/// Resumes a step whose call was answered and whose effects were refused, for an operator. Returns
/// whether there was such a call.
pub(super) fn retake(
    interpreter: &mut Interpreter<'_, '_>,
    step: &StepName,
    skips: bool,
) -> Result<bool, DecideError> {
    let kept = interpreter.tx()?.calls.iter().find_map(|call| match &call.state {
        CallState::AnswerHeld(response) if call.step == *step => {
            Some((call.clone(), Arc::clone(response)))
        }
        _ => None,
    });
    let Some((call, response)) = kept else { return Ok(false) };
    if !skips {
        interpreter.succeed(&call, (*response).clone())?;
        return Ok(true);
    }
    interpreter.end_call(call.number, CallState::Done, call.last.clone(), None)?;
    let definition = Arc::clone(&interpreter.definition);
    let CallPurpose::Do { place } = call.purpose else { return Ok(true) };
    if let (Some(open), Some(step)) = (interpreter.tx()?.at(place).cloned(), definition.step(step))
    {
        interpreter.emit(TxEvent::StepClosed { place, step: step.name.clone() })?;
        let bindings = Bindings { response: Some(Arc::clone(&response)), ..Bindings::default() };
        interpreter.proceed(step.next.as_ref(), Some(&open), open.join, &bindings)?;
    }
    Ok(true)
}

/// Applies a change of a call and settles the transaction. Refusals on the path that follows are
/// handled there, with the answer known. If anything else is refused, the call ends and waits for
/// an operator, so that it is not repeated for ever.
fn settled(
    interpreter: &mut Interpreter<'_, '_>,
    call: &ServiceCall,
    happen: impl FnOnce(&mut Interpreter<'_, '_>) -> Result<(), DecideError>,
) -> Result<(), DecideError> {
    let before = interpreter.unit.savepoint();
    match happen(interpreter).and_then(|()| interpreter.settle()) {
        Err(DecideError::Refused(refusal)) => {
            interpreter.turn_back(before);
            interpreter.end_call(call.number, CallState::Unknown, call.last.clone(), None)?;
            let join = match call.purpose {
                CallPurpose::Do { place } => interpreter.tx()?.at(place).and_then(|open| open.join),
                CallPurpose::Undo | CallPurpose::Send => None,
            };
            interpreter.stick(&call.step, join, &refusal)?;
            interpreter.emit(TxEvent::Settled { status: TxStatus::Stuck, timer_at: None })
        }
        happened => happened,
    }
}

/// Returns whether undoing a transaction must wait for a call.
pub(super) fn waits_for_call(tx: &Tx) -> bool {
    tx.calls.iter().any(|call| match call.purpose {
        CallPurpose::Do { .. } => matches!(call.state, CallState::InFlight(_)),
        CallPurpose::Undo => !call.state.is_over(),
        CallPurpose::Send => false,
    })
}

/// Returns the calls that await a callback, each with the time until which it may come.
pub(super) fn callbacks_due(tx: &Tx) -> impl Iterator<Item = (Time, u32)> {
    tx.calls.iter().filter_map(|call| match call.state {
        CallState::AwaitingCallback(until) => Some((until, call.number)),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the shortest and the longest wait after an attempt, over many seeds.
    fn waits(attempts: u32) -> (u64, u64) {
        let ask = HttpRequestSpec {
            method: "GET".into(),
            url: "".into(),
            headers: Vec::new(),
            body: None,
            timeout: Span::from_seconds(1),
            attempts: 100,
            first: Span::from_seconds(1),
            factor: 2,
            max: Span::from_seconds(60),
            refused: Vec::new(),
            callback: None,
        };
        let seeds =
            (1..=2000_u128).map(|n| n.wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835));
        let waits = seeds.map(|seed| wait(&ask, attempts, seed).ms());
        waits.fold((u64::MAX, 0), |(least, most), wait| (least.min(wait), most.max(wait)))
    }

    /// Full jitter: any wait from nearly nothing to twice the one before, up to the maximum.
    #[test]
    fn a_wait_is_any_up_to_twice_the_last_and_never_more_than_the_most() {
        for (attempts, most) in
            [(1, 1000), (2, 2000), (3, 4000), (6, 32_000), (7, 60_000), (99, 60_000)]
        {
            let (least, longest) = waits(attempts);
            assert!((1..most / 20).contains(&least), "{attempts}: {least}");
            assert!((most - most / 20..=most).contains(&longest), "{attempts}: {longest}");
        }
    }
}
