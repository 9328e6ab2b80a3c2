//! Large answers under Idempotency-Keys: stored as references to the records that they show, and
//! rendered again on replay.
//!
//! Most requests that change nothing still answer with a whole transaction, and most changes answer
//! with the record that they have just written. Storing such an answer would store the record a
//! second time. So an answer over [`WHOLE_ANSWER_BYTES_MAX`] is stored as a reference: the records
//! that it shows, their commits, and what its reader could see of them. A hash of the answer is
//! stored with it; a rendered answer is sent only if it is the same, byte for byte.
//!
//! The answers of some commands are always stored whole: publishing a workflow (its warnings are
//! not in any record), schedules, bulk jobs and refusals. They repeat their own request or contain
//! short texts, so none is much larger than the request.

use std::sync::Arc;

use crate::app::App;
use crate::app::api::{Answer, Render};
use crate::engine::{
    Actor, Command, CommandInputs, Data, Outcome, Record, RecordKey, Refusal, StoredId, TxView,
    ValueKey,
};
use crate::records::answer::{AnswerV2, ShownTxV1, ShownV1};
use crate::records::read_written;
use crate::types::{KeyId, Revision, SessionId, Time, TxId, UserId};

/// Maximum size of an answer's body, in bytes, that is stored whole. The usual transaction is
/// smaller, so replaying its steps needs no history; a reference takes some 100 bytes.
pub(super) const WHOLE_ANSWER_BYTES_MAX: usize = 2 * 1024;

/// Returns the hash of an answer, which a replayed answer must have too.
pub(in crate::app) fn hash_of(answer: &Answer) -> [u8; 16] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&answer.status.to_be_bytes());
    for (name, value) in &answer.headers {
        for text in [name, value] {
            hasher.update(&(text.len() as u64).to_be_bytes());
            hasher.update(text.as_bytes());
        }
    }
    hasher.update(&answer.body);
    let mut hash = [0; 16];
    hash.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
    hash
}

/// Returns a reference to the records that an outcome shows, or `None` if its answer must be stored
/// whole. `written` returns the commit that last wrote a record, the command's own included.
pub(in crate::app) fn shown(
    command: &Command,
    actor: &Actor,
    inputs: &CommandInputs,
    outcome: &Outcome,
    written: impl Fn(&RecordKey) -> Option<Revision>,
) -> Option<ShownV1> {
    let written = |record_key: RecordKey| written(&record_key).map(Revision::get);
    Some(match (outcome, command) {
        (Outcome::Transaction { view, created }, _) => {
            ShownV1::Transaction(shown_tx(view), *created)
        }
        (Outcome::Claimed { views }, _) => ShownV1::Claimed(views.iter().map(shown_tx).collect()),
        (Outcome::Data(_), Command::ChangeSessionData { .. }) => {
            let session = actor.session()?;
            ShownV1::SessionData(session.bits(), written(RecordKey::SessionData(session))?)
        }
        (Outcome::Data(_), Command::ChangeUserData { .. }) => {
            let user = actor.user()?.id;
            ShownV1::UserData(user.bits(), written(RecordKey::UserData(user))?)
        }
        (Outcome::Data(_), Command::ChangeFacts { session, .. }) => {
            ShownV1::SessionFacts(session.bits(), written(RecordKey::Session(*session))?)
        }
        (Outcome::UserCreated(user) | Outcome::UserChanged(user), _) => {
            let created = matches!(outcome, Outcome::UserCreated(_));
            ShownV1::User(user.id.bits(), written(RecordKey::User(user.id))?, created)
        }
        (Outcome::Stored { created, .. }, _) => {
            let Actor::Key(key) = actor else { return None };
            let id = StoredId { key: key.key.id, digest: inputs.stored };
            ShownV1::Stored(id.key.bits(), id.digest, written(RecordKey::Stored(id))?, *created)
        }
        (Outcome::Value { created, .. }, Command::PutValue { id, .. }) => {
            let revision = written(RecordKey::Value(id.clone()))?;
            ShownV1::Value(id.set.to_string(), id.key.to_string(), revision, *created)
        }
        (Outcome::Transfers { transfers, revision, created }, _) => {
            let of = |id: &crate::types::TransferId| {
                Some((id.to_string(), written(RecordKey::Transfer(id.clone()))?))
            };
            let all = transfers.iter().map(|transfer| of(&transfer.id));
            ShownV1::Transfers(all.collect::<Option<_>>()?, revision.get(), *created)
        }
        _ => return None,
    })
}

fn shown_tx(view: &TxView) -> ShownTxV1 {
    ShownTxV1 {
        tx: view.tx.id.bits(),
        revision: view.revision.get(),
        at_ms: view.at.ms(),
        hidden: view.hidden.clone(),
        sees_all: view.sees_all,
        allowed: view.allowed.clone(),
    }
}

impl App {
    /// Renders a stored answer again from the records that it shows.
    ///
    /// # Errors
    /// [`Refusal::AnswerGone`] if a record was retired, or this version or configuration renders
    /// the answer differently; [`Refusal::Stopping`].
    pub(in crate::app) fn render_again(
        &self,
        stored: &AnswerV2,
        render: &Render,
    ) -> Result<Answer, Refusal> {
        let outcome = self.outcome_of(&stored.shown)?.ok_or(Refusal::AnswerGone)?;
        let answer = (render)(Ok(&outcome), Revision::new(stored.revision));
        if hash_of(&answer) == stored.hash { Ok(answer) } else { Err(Refusal::AnswerGone) }
    }

    /// Returns the outcome that an answer shows, or `None` if a record was retired.
    fn outcome_of(&self, shown: &ShownV1) -> Result<Option<Outcome>, Refusal> {
        Ok(match shown {
            ShownV1::Transaction(tx, created) => self
                .tx_view_again(tx)?
                .map(|view| Outcome::Transaction { view: Box::new(view), created: *created }),
            ShownV1::Claimed(list) => {
                let views: Result<Option<Vec<_>>, _> =
                    list.iter().map(|tx| self.tx_view_again(tx)).collect();
                views?.map(|views| Outcome::Claimed { views })
            }
            ShownV1::SessionData(id, revision) => {
                self.data_again(&RecordKey::SessionData(SessionId::new(*id)), *revision)?
            }
            ShownV1::UserData(id, revision) => {
                self.data_again(&RecordKey::UserData(UserId::new(*id)), *revision)?
            }
            ShownV1::SessionFacts(id, revision) => {
                self.data_again(&RecordKey::Session(SessionId::new(*id)), *revision)?
            }
            ShownV1::User(id, revision, created) => {
                match self.written(&RecordKey::User(UserId::new(*id)), *revision)? {
                    Some(Record::User(user)) => {
                        let view = user.view(Revision::new(*revision));
                        let made =
                            if *created { Outcome::UserCreated } else { Outcome::UserChanged };
                        Some(made(view))
                    }
                    _ => None,
                }
            }
            ShownV1::Stored(key, digest, revision, created) => {
                let id = StoredId { key: KeyId::new(*key), digest: *digest };
                match self.written(&RecordKey::Stored(id), *revision)? {
                    Some(Record::Stored(stored)) => {
                        let stored = stored.view(Revision::new(*revision));
                        Some(Outcome::Stored { stored, created: *created })
                    }
                    _ => None,
                }
            }
            ShownV1::Value(set, key, revision, created) => {
                let Some(id) = ValueKey::new(set, key) else { return Ok(None) };
                match self.written(&RecordKey::Value(id), *revision)? {
                    Some(Record::Data(json)) => {
                        let revision = Revision::new(*revision);
                        Some(Outcome::Value { json, revision, created: *created })
                    }
                    _ => None,
                }
            }
            ShownV1::Transfers(list, revision, created) => {
                let mut transfers = Vec::with_capacity(list.len());
                for (id, revision) in list {
                    let Ok(id) = id.parse() else { return Ok(None) };
                    match self.written(&RecordKey::Transfer(id), *revision)? {
                        Some(Record::Transfer(transfer)) => transfers.push(transfer),
                        _ => return Ok(None),
                    }
                }
                let revision = Revision::new(*revision);
                Some(Outcome::Transfers { transfers, revision, created: *created })
            }
        })
    }

    fn data_again(
        &self,
        record_key: &RecordKey,
        revision: u64,
    ) -> Result<Option<Outcome>, Refusal> {
        let json = match self.written(record_key, revision)? {
            Some(Record::Data(json)) => json,
            Some(Record::Session(session)) => session.facts,
            _ => return Ok(None),
        };
        Ok(Some(Outcome::Data(Data { json, revision: Revision::new(revision) })))
    }

    fn tx_view_again(&self, shown: &ShownTxV1) -> Result<Option<TxView>, Refusal> {
        let record_key = RecordKey::Tx(TxId::new(shown.tx));
        let Some(Record::Tx(tx)) = self.written(&record_key, shown.revision)? else {
            return Ok(None);
        };
        let Some(published) = self.published(&tx.workflow, tx.version)? else { return Ok(None) };
        let view = TxView {
            tx,
            revision: Revision::new(shown.revision),
            at: Time::from_ms(shown.at_ms),
            definition: Arc::clone(&published.definition),
            hidden: shown.hidden.clone(),
            sees_all: shown.sees_all,
            allowed: shown.allowed.clone(),
            codes: Vec::new(),
        };
        Ok(Some(view.with_codes(&self.rules)))
    }

    fn written(&self, record_key: &RecordKey, revision: u64) -> Result<Option<Record>, Refusal> {
        self.guard(read_written(&*self.store, record_key, Revision::new(revision)))
    }
}
