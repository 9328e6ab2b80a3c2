//! What a commit does with Idempotency-Keys.

use super::super::answers::{Keyed, Known};
use super::super::job::{End, Job};
use super::super::live_keys::{Adoption, OneMore};
use super::super::{Answer, answers, replay};
use super::{Asked, Executor, Fatal};
use crate::engine::{Command, Event, Outcome, RecordKey, Refusal};
use crate::records::answer::ShownV1;
use crate::records::{Pack, Scope};
use crate::store::{Receipt, View};
use crate::types::{Revision, SessionId, Time, UserId};

/// An answer that is kept, and is no record that it could be rendered from again.
pub(super) const ANSWER_TOO_LARGE: Refusal =
    Refusal::TooLarge { what: "an answer that is kept", bytes_max: 400 * 1024 };

/// What a command's Idempotency-Key says of it before it is decided.
pub(super) enum Before {
    /// Nothing: it is new. So many parts of a forgotten answer lie where its answer will.
    New { stale_parts: u8, one_more: Option<OneMore> },
    /// It was answered before.
    Answered(End, Receipt),
}

impl Executor {
    /// What a command's Idempotency-Key says of it before it is decided. A key under a transaction that
    /// began here is mostly known to be new without a look into the store.
    pub(super) fn before(
        &mut self,
        now: Time,
        job: &Job,
    ) -> Result<Result<Before, Refusal>, Fatal> {
        let Some(keyed) = &job.keyed else {
            return Ok(Ok(Before::New { stale_parts: 0, one_more: None }));
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
            match answers::look_up(&*self.store, View::Staged, keyed, adopted, now)? {
                Err(refusal) => return Ok(Err(refusal)),
                Ok(Known::Answered(answer, revision)) => {
                    let receipt = self.store.durable_at(revision);
                    return Ok(Ok(Before::Answered(End::Replayed(answer), receipt)));
                }
                Ok(Known::New { stale_parts: parts }) => stale_parts = parts,
            }
        }
        let one_more = Some(self.keys.next(&*self.store, keyed.scope, now)?);
        Ok(Ok(Before::New { stale_parts, one_more }))
    }

    /// The keys that a commit makes a user's, written into it.
    pub(super) fn adoption(
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
    pub(super) fn note_key(
        &mut self,
        command: &Command,
        keyed: &Keyed,
        one_more: OneMore,
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
        Event::SessionUpgraded { session, user, .. } => Some((*session, user.id)),
        _ => None,
    })
}

/// What a large answer shows, where it can be rendered again from that ([`replay`]).
pub(super) fn shown(
    asked: &Asked<'_>,
    result: &Result<Outcome, Refusal>,
    answer: &Answer,
    written: impl Fn(&RecordKey) -> Option<Revision>,
) -> Option<ShownV1> {
    let outcome = result.as_ref().ok().filter(|_| answers::is_large(answer))?;
    replay::shown(asked.command, asked.actor, asked.inputs, outcome, written)
}
