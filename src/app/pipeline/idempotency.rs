//! What a commit does with Idempotency-Keys.

use super::answers::{self, AnswerLookup, IdempotentRequest};
use super::executor::{CommandContext, Executor, Fatal};
use super::job::{Job, JobResult};
use super::live_keys::{Adoption, KeyReservation};
use super::replay;
use crate::app::api::Answer;
use crate::engine::{Command, Event, Outcome, RecordKey, Refusal, SessionEvent};
use crate::records::answer::ShownV1;
use crate::records::{Pack, Scope};
use crate::store::{Receipt, View};
use crate::types::{Revision, SessionId, Time, UserId};

/// An answer that is kept, and is no record that it could be rendered from again.
pub(in crate::app) const ANSWER_TOO_LARGE: Refusal =
    Refusal::TooLarge { what: "an answer that is kept", bytes_max: 400 * 1024 };

/// What a command's Idempotency-Key says of it before it is decided.
pub(in crate::app) enum KeyState {
    /// Nothing: it is new. So many parts of a forgotten answer lie where its answer will.
    New { stale_parts: u8, one_more: Option<KeyReservation> },
    /// It was answered before.
    CommandAnswer(JobResult, Receipt),
}

impl Executor {
    /// What a command's Idempotency-Key says of it before it is decided. A key under a transaction that
    /// began here is mostly known to be new without a look into the store.
    pub(in crate::app) fn before(
        &mut self,
        now: Time,
        job: &Job,
    ) -> Result<Result<KeyState, Refusal>, Fatal> {
        let Some(keyed) = &job.keyed else {
            return Ok(Ok(KeyState::New { stale_parts: 0, one_more: None }));
        };
        let mut stale_parts = 0;
        let under = job.command.transaction();
        if !under.is_some_and(|tx| self.used.is_new(tx, &keyed.digest)) {
            let mut adopted = self.keys.adopted(&*self.store, keyed.scope, now)?;
            if let (Scope::User(_), Some(session)) = (keyed.scope, job.actor.session())
                && let own = Scope::Session(session)
                && !adopted.contains(&own)
                && self.keys.has_live(&*self.store, own, now)?
            {
                adopted.push(own);
            }
            match answers::find_answer(&*self.store, View::Staged, keyed, adopted, now)? {
                Err(refusal) => return Ok(Err(refusal)),
                Ok(AnswerLookup::CommandAnswer(answer, revision)) => {
                    let receipt = self.store.durable_at(revision);
                    return Ok(Ok(KeyState::CommandAnswer(JobResult::Replayed(answer), receipt)));
                }
                Ok(AnswerLookup::New { stale_parts: parts }) => stale_parts = parts,
            }
        }
        let one_more = Some(self.keys.next(&*self.store, keyed.scope, now)?);
        Ok(Ok(KeyState::New { stale_parts, one_more }))
    }

    /// The keys that a commit makes a user's, written into it.
    pub(in crate::app) fn adoption(
        &mut self,
        events: &[Event],
        revision: Revision,
        now: Time,
        pack: &mut Pack,
    ) -> Result<Option<Adoption>, Fatal> {
        let Some(upgraded) = upgraded(events) else { return Ok(None) };
        let adoption = self.keys.adopt(&*self.store, upgraded, now)?;
        if let Some(adoption) = &adoption {
            adoption.put(revision, pack);
        }
        Ok(adoption)
    }

    /// A key's answer of this size (bytes, parts) was committed; without parts it was not kept.
    pub(in crate::app) fn note_key(
        &mut self,
        command: &Command,
        keyed: &IdempotentRequest,
        one_more: KeyReservation,
        revision: Revision,
        size: (u64, u8),
    ) {
        if size.1 == 0 {
            return;
        }
        self.sweep.count(self.keys.took(one_more, (keyed.digest, revision), size));
        if let Some(tx) = command.transaction() {
            self.used.note(tx, &keyed.digest);
        }
    }
}

/// The anonymous session that these events make a user's.
fn upgraded(events: &[Event]) -> Option<(SessionId, UserId)> {
    events.iter().find_map(|event| match event {
        Event::Session(SessionEvent::Upgraded { session, user, .. }) => Some((*session, user.id)),
        _ => None,
    })
}

/// What a large answer shows, where it can be rendered again from that ([`replay`]).
pub(super) fn shown(
    asked: &CommandContext<'_>,
    result: &Result<Outcome, Refusal>,
    answer: &Answer,
    written: impl Fn(&RecordKey) -> Option<Revision>,
) -> Option<ShownV1> {
    let outcome = result.as_ref().ok().filter(|_| answers::is_large(answer))?;
    replay::shown(asked.command, asked.actor, asked.inputs, outcome, written)
}
