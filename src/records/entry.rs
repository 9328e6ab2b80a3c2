//! What the log keeps of a commit beside its writes: who asked, and what happened.

use serde::{Deserialize, Serialize};

use super::{DecodeError, value};
use crate::engine::{Actor, Event};

/// Largest entry that is read, in bytes: the store's limit for a batch.
const ENTRY_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// Who asked and what happened, in a form that outlives the program: names and JSON text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EntryV1 {
    /// `nobody`, `user`, `anonymous`, `key`, `hook`, `workflow` or `system`.
    pub actor: String,
    /// The user name, the key's id, the hook's or the workflow's name; empty for the others.
    pub who: String,
    /// The session, if it came with one.
    pub session: Option<String>,
    /// The API key that opened that session on the user's behalf.
    pub via: Option<String>,
    /// The `X-Request-Id`; empty for what no request asked for.
    pub request: String,
    /// The events: type, and data as JSON text.
    pub events: Vec<(String, String)>,
}

impl EntryV1 {
    /// What the log keeps of a commit.
    #[must_use]
    pub fn new(actor: &Actor, request: &str, events: &[Event]) -> Self {
        let (kind, who) = match actor {
            Actor::Nobody => ("nobody", String::new()),
            Actor::System => ("system", String::new()),
            Actor::Hook(name) => ("hook", name.to_string()),
            Actor::Workflow(name, _) => ("workflow", name.to_string()),
            Actor::Key(key) => ("key", key.key.id.to_string()),
            Actor::Session(session) => match &session.user {
                Some(user) => ("user", user.username.to_string()),
                None => ("anonymous", String::new()),
            },
        };
        let via = match actor {
            Actor::Session(session) => session.via.as_ref().map(|key| key.id.to_string()),
            _ => None,
        };
        Self {
            actor: kind.to_owned(),
            who,
            session: actor.session().map(|session| session.to_string()),
            via,
            request: request.to_owned(),
            events: events
                .iter()
                .filter(|event| event.is_told())
                .map(|event| (event.kind().to_owned(), event.log_data().to_string()))
                .collect(),
        }
    }

    /// Its bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        value::write(1, self)
    }

    /// Reads its bytes.
    ///
    /// # Errors
    /// [`DecodeError`]
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        value::read(&"a log entry", 1, bytes, ENTRY_BYTES_MAX)
    }
}
