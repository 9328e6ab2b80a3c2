//! Idempotency-Keys in the executor: lookup before a decision, and bookkeeping in its commit.

use super::answers::{self, AnswerLookup, IdempotentRequest, StoredSize};
use super::executor::{Executor, Fatal};
use super::job::{CommandContext, CommandJob, JobResult};
use super::live_keys::{KeyAdoption, KeyReservation};
use super::replay;
use crate::app::api::Answer;
use crate::engine::{Command, Event, Outcome, RecordKey, Refusal, SessionEvent};
use crate::records::answer::ShownV1;
use crate::records::{Pack, Scope};
use crate::store::{Receipt, View};
use crate::types::{Revision, SessionId, Time, UserId};

/// State of a command's Idempotency-Key before the command is decided.
pub(super) enum KeyState {
    /// The key is new, or the command has none.
    New {
        /// Parts of an expired answer that lie where the new one will.
        stale_parts: u8,
        /// `None`: the command has no key.
        reservation: Option<KeyReservation>,
    },
    /// The request was answered before.
    Answered(JobResult, Receipt),
    /// The key was used for another request.
    Reused,
}

impl Executor {
    /// Looks up a command's Idempotency-Key. A key under a transaction that started since the start
    /// of the server is mostly known to be new without a read.
    pub(super) fn key_state(&mut self, now: Time, job: &CommandJob) -> Result<KeyState, Fatal> {
        let Some(key) = &job.key else {
            return Ok(KeyState::New { stale_parts: 0, reservation: None });
        };
        let mut stale_parts = 0;
        let tx = job.command.transaction();
        if !tx.is_some_and(|tx| self.used_keys.is_new(tx, &key.digest)) {
            let mut adopted = self.live_keys.adopted(&*self.store, key.scope, now)?;
            if let (Scope::User(_), Some(session)) = (key.scope, job.actor.session())
                && let own = Scope::Session(session)
                && !adopted.contains(&own)
                && self.live_keys.has_live(&*self.store, own, now)?
            {
                adopted.push(own);
            }
            match answers::find_answer(&*self.store, View::Staged, key, adopted, now)? {
                AnswerLookup::Reused => return Ok(KeyState::Reused),
                AnswerLookup::Found(answer, revision) => {
                    let receipt = self.store.durable_at(revision);
                    return Ok(KeyState::Answered(JobResult::Replayed(answer), receipt));
                }
                AnswerLookup::New { stale_parts: parts } => stale_parts = parts,
            }
        }
        let reservation = Some(self.live_keys.reserve(&*self.store, key.scope, now)?);
        Ok(KeyState::New { stale_parts, reservation })
    }

    /// Writes into a commit that the keys of an anonymous session become a user's, if it upgrades
    /// one.
    pub(super) fn put_adoption(
        &mut self,
        events: &[Event],
        revision: Revision,
        now: Time,
        pack: &mut Pack,
    ) -> Result<Option<KeyAdoption>, Fatal> {
        let Some(upgraded) = upgraded(events) else { return Ok(None) };
        let adoption = self.live_keys.adopt(&*self.store, upgraded, now)?;
        if let Some(adoption) = &adoption {
            adoption.put(revision, pack);
        }
        Ok(adoption)
    }

    /// Notes that a key's answer is staged. An answer without parts was not stored.
    pub(super) fn note_key(
        &mut self,
        command: &Command,
        key: &IdempotentRequest,
        reservation: KeyReservation,
        revision: Revision,
        size: StoredSize,
    ) {
        if size.parts == 0 {
            return;
        }
        self.sweep.count(self.live_keys.commit(reservation, (key.digest, revision), size));
        if let Some(tx) = command.transaction() {
            self.used_keys.note(tx, &key.digest);
        }
    }
}

/// Returns the anonymous session that these events upgrade, and the user.
fn upgraded(events: &[Event]) -> Option<(SessionId, UserId)> {
    events.iter().find_map(|event| match event {
        Event::Session(SessionEvent::Upgraded { session, user, .. }) => Some((*session, user.id)),
        _ => None,
    })
}

/// Returns a reference to the records that a large answer shows, if it can be rendered again from
/// them ([`replay`]).
pub(super) fn shown(
    CommandContext { command, actor, inputs }: CommandContext<'_>,
    result: &Result<Outcome, Refusal>,
    answer: &Answer,
    written: impl Fn(&RecordKey) -> Option<Revision>,
) -> Option<ShownV1> {
    let outcome = result.as_ref().ok().filter(|_| answers::is_large(answer))?;
    replay::shown(command, actor, inputs, outcome, written)
}
