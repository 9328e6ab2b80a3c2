//! One-time codes: derived when they are needed, never stored.
//!
//! A code is a keyed hash of the transaction, the challenge's name, its round and the values it is
//! bound to. The key lies outside of the store, so nobody can compute codes from a backup; another
//! amount or payee gives another code.

use std::fmt;
use std::sync::Arc;

use subtle::ConstantTimeEq as _;

use super::event::TxEvent;
use super::interpreter::Interpreter;
use super::record::{ActorId, ActorRef, Challenge, ChallengeState, HttpRequestSpec, Owner, Tx};
use crate::engine::attempt::{has_failures, require_not_wait};
use crate::engine::core::unit_of_work::{DecideError, UnitOfWork};
use crate::engine::{Actor, AttemptEvent, Counted, Counter, Refusal};
use crate::types::{SessionId, Span, StepName, Time, TxId, UserId};

/// Key from which codes are derived. `Debug` does not print it.
#[derive(Clone, PartialEq, Eq)]
pub struct ChallengeKey([u8; 32]);

impl ChallengeKey {
    /// Returns the key with these bytes.
    #[must_use]
    pub const fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    pub(super) const fn bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for ChallengeKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ChallengeKey")
    }
}

/// Terms of a challenge, from its definition.
pub(super) struct ChallengeTerms {
    pub(super) digits: u8,
    pub(super) life: Span,
    pub(super) attempts: u32,
    pub(super) resends: u32,
}

/// Returns the current code of a challenge.
#[must_use]
pub fn code(key: &ChallengeKey, tx: TxId, challenge: &Challenge) -> String {
    let parts: [&[u8]; 4] = [
        &tx.bits().to_be_bytes(),
        challenge.id.as_bytes(),
        &challenge.round.to_be_bytes(),
        challenge.binds.as_bytes(),
    ];
    let hasher = hasher(key, b"abide one-time code 1", &parts);
    let mut wide = [0; 16];
    hasher.finalize_xof().fill(&mut wide);
    let digits = usize::from(challenge.digits);
    // 128 bits for at most 10^10 codes: no code is noticeably likelier than another.
    let number = u128::from_be_bytes(wide) % 10_u128.pow(u32::from(challenge.digits));
    format!("{number:0digits$}")
}

/// Returns the counters of wrong codes: for the actor who enters them, over all transactions; for
/// an anonymous session also its address; and for the values that the code is bound to, over all
/// actors. Codes from a service or a hook count for the transaction's owner: a service has many
/// customers, and one of them must not lock out the others.
pub(super) fn counters(
    interpreter: &Interpreter<'_, '_>,
    challenge: &Challenge,
) -> Result<Vec<Counter>, DecideError> {
    let tx = interpreter.tx()?;
    let key = &interpreter.unit.rules.challenge_key;
    let mut counters = Vec::with_capacity(3);
    let by = match &interpreter.asker.actor {
        Actor::Session(_) => ActorRef::of(&interpreter.asker.actor).id,
        _ => match &tx.owner {
            Owner::User(user) => ActorId::User(user.id),
            Owner::Anonymous(session) => ActorId::Session(*session),
            Owner::Key(key) => ActorId::Key(key.id),
        },
    };
    match by {
        ActorId::User(id) => {
            counters.push(counter(key, Counted::Codes, &[b"user", &id.bits().to_be_bytes()]));
        }
        ActorId::Session(id) => {
            counters.push(counter(key, Counted::Codes, &[b"session", &id.bits().to_be_bytes()]));
            let from = interpreter.unit.origin;
            counters.extend(from.map(|from| counter(key, Counted::CodesFrom, &[b"from", &from])));
        }
        ActorId::Key(id) => {
            counters.push(counter(key, Counted::CodesOfKey, &[b"key", &id.bits().to_be_bytes()]));
        }
        ActorId::Hook(_) | ActorId::Workflow(_) | ActorId::System => {}
    }
    if !matches!(&*challenge.binds, "" | "{}" | "null") {
        let parts: [&[u8]; 3] =
            [b"binds", tx.workflow.as_str().as_bytes(), challenge.binds.as_bytes()];
        counters.push(counter(key, Counted::CodesFor, &parts));
    }
    Ok(counters)
}

fn counter(key: &ChallengeKey, counted: Counted, parts: &[&[u8]]) -> Counter {
    let digest = *hasher(key, b"abide wrong codes 1", parts).finalize().as_bytes();
    Counter { digest, counted }
}

/// Adds the wrong codes of an anonymous session to the user that it becomes: a login does not reset
/// the counter.
pub(in crate::engine) fn move_wrong_codes(
    unit: &mut UnitOfWork<'_>,
    session: SessionId,
    user: UserId,
) -> Result<(), DecideError> {
    let key = &unit.rules.challenge_key;
    let from = counter(key, Counted::Codes, &[b"session", &session.bits().to_be_bytes()]);
    let to = counter(key, Counted::Codes, &[b"user", &user.bits().to_be_bytes()]);
    if unit.attempts(from.digest)?.is_some() {
        unit.emit(AttemptEvent::FailuresMoved { from, to })?;
    }
    Ok(())
}

/// Returns a keyed hash of the parts, each with its length, so that no two lists of parts are the
/// same bytes.
fn hasher(key: &ChallengeKey, purpose: &[u8], parts: &[&[u8]]) -> blake3::Hasher {
    let mut hasher = blake3::Hasher::new_keyed(&key.0);
    hasher.update(purpose);
    for part in parts {
        hasher.update(&(part.len() as u64).to_be_bytes());
        hasher.update(part);
    }
    hasher
}

/// Issues a code and voids one of the same name that is still valid.
pub(super) fn issue(
    interpreter: &mut Interpreter<'_, '_>,
    id: &Arc<str>,
    terms: &ChallengeTerms,
    binds: Arc<str>,
    send: Option<(StepName, HttpRequestSpec)>,
) -> Result<(), DecideError> {
    let round = interpreter.tx()?.challenge(id).map_or(0, |old| old.round + 1);
    let challenge = Challenge {
        id: id.clone(),
        round,
        digits: terms.digits,
        binds,
        expires_at: interpreter.unit.context.now.plus(terms.life),
        life_ms: terms.life.ms(),
        attempts_left: terms.attempts,
        resends_left: terms.resends,
        state: ChallengeState::Issued,
        send: send.map(Box::new),
    };
    issued(interpreter, challenge)
}

/// Issues a new code in place of the last one; wrong codes entered so far still count.
pub(super) fn resend(interpreter: &mut Interpreter<'_, '_>, id: &str) -> Result<(), DecideError> {
    let tx = interpreter.tx()?;
    let challenge = tx.challenge(id).ok_or(Refusal::NotFound("challenge"))?.clone();
    if challenge.state != ChallengeState::Issued || tx.status.is_ended() || tx.ending.is_some() {
        return Err(Refusal::ChallengeNotOpen.into());
    }
    if challenge.resends_left == 0 {
        return Err(Refusal::NoResendsLeft.into());
    }
    require_not_wait(interpreter.unit, &counters(interpreter, &challenge)?)?;
    let expires_at = interpreter.unit.context.now.plus(Span::from_ms(challenge.life_ms));
    let (round, resends_left) = (challenge.round + 1, challenge.resends_left - 1);
    issued(interpreter, Challenge { round, expires_at, resends_left, ..challenge })
}

/// Records a new code and sends it. An older code that was not sent yet is dropped.
fn issued(interpreter: &mut Interpreter<'_, '_>, challenge: Challenge) -> Result<(), DecideError> {
    let (id, send) = (challenge.id.clone(), challenge.send.clone());
    interpreter.drop_codes(&id)?;
    interpreter.emit(TxEvent::ChallengeIssued(challenge))?;
    match send {
        Some(send) => interpreter.send(&send.0, Some(id), send.1),
        None => Ok(()),
    }
}

/// Withdraws a code that was not used.
pub(super) fn withdraw(
    interpreter: &mut Interpreter<'_, '_>,
    id: &Arc<str>,
) -> Result<(), DecideError> {
    let state = interpreter.tx()?.challenge(id).map(|challenge| challenge.state);
    if state == Some(ChallengeState::Issued) {
        return interpreter.emit(TxEvent::ChallengeWithdrawn { id: id.clone() });
    }
    Ok(())
}

/// Checks a code: a right one is used up; a wrong or expired one counts as an attempt.
pub(super) fn check(
    interpreter: &mut Interpreter<'_, '_>,
    id: &Arc<str>,
    given: &str,
) -> Result<(), DecideError> {
    let tx = interpreter.tx()?;
    let open = tx.challenge(id).filter(|found| found.state == ChallengeState::Issued);
    let challenge = open.ok_or(Refusal::ChallengeNotOpen)?;
    let attempts_left = challenge.attempts_left.saturating_sub(1);
    // Checked for right and wrong codes alike: during a wait an answer would be a hint.
    let counters = counters(interpreter, challenge)?;
    require_not_wait(interpreter.unit, &counters)?;
    if interpreter.unit.context.now >= challenge.expires_at {
        return Err(Refusal::CodeExpired { challenge: id.clone(), attempts_left }.into());
    }
    let right = code(&interpreter.unit.rules.challenge_key, tx.id, challenge);
    if !bool::from(right.as_bytes().ct_eq(given.as_bytes())) {
        return Err(Refusal::WrongCode { challenge: id.clone(), attempts_left }.into());
    }
    // A right code for one's own transaction does not show that the wrong codes of others were
    // typing errors: the failures of the user, the key or the address expire by time alone.
    let mut counters = counters;
    counters.retain(|counter| counter.counted == Counted::CodesFor);
    if has_failures(interpreter.unit, &counters)? {
        interpreter.unit.emit(AttemptEvent::FailuresForgotten { counters })?;
    }
    interpreter.emit(TxEvent::ChallengePassed { id: id.clone() })
}

/// Returns the codes that a transaction waits for, for developers.
#[must_use]
pub fn open_codes(key: &ChallengeKey, tx: &Tx, now: Time) -> Vec<(Arc<str>, String)> {
    tx.challenges
        .iter()
        .filter(|challenge| challenge.state == ChallengeState::Issued)
        .filter(|challenge| now < challenge.expires_at)
        .map(|challenge| (challenge.id.clone(), code(key, tx.id, challenge)))
        .collect()
}
