//! Types between the HTTP layer and the application.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;

use super::hooks::Hook;
use super::memory::MemoryBudget;
use super::passwords::Cost;
use crate::engine::{Actor, Outcome, Preconditions, Refusal, Rules, SessionView};
use crate::records::ReadError;
use crate::store::StoreError;
use crate::types::{Password, Revision, Time};

/// An answer as the HTTP layer sends it, and as it is stored under an Idempotency-Key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The headers that belong to this answer: content type, Location, `ETag`, cookies. Those of
    /// the transport (date, request id, rates) are added each time it is sent.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Bytes,
}

/// Function with which the HTTP layer renders the result of a command and the revision of its
/// commit (of a refusal: the last revision). It is pure: with an Idempotency-Key the executor calls
/// it before the commit, which stores the answer byte for byte. An answer with `Retry-After` is not
/// stored.
pub type Render = Box<dyn Fn(Result<&Outcome, &Refusal>, Revision) -> Answer + Send + Sync>;

/// Answer to a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandAnswer {
    /// The answer. What it rests on is durable.
    pub answer: Answer,
    /// True if it is the stored answer to an earlier request (`Idempotency-Replayed: true`).
    pub replayed: bool,
}

/// Keyed hash of a request: equal for equal requests only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fingerprint(pub(crate) [u8; 32]);

/// An Idempotency-Key and the request that it came with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Idempotency {
    /// The key: 1 to 255 visible ASCII characters, without quotes.
    pub key: String,
    /// Fingerprint of the request ([`App::fingerprint`](super::App::fingerprint)).
    pub fingerprint: Fingerprint,
}

/// Origin of a request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientInfo {
    /// Address of the client, not of a configured proxy.
    pub address: Option<Arc<str>>,
    /// The `User-Agent`.
    pub agent: Option<Arc<str>>,
}

/// Everything that accompanies a command.
pub struct Envelope {
    /// Actor of the request.
    pub actor: Actor,
    /// Origin of the request.
    pub client: ClientInfo,
    /// The `X-Request-Id` of the answer.
    pub request: Arc<str>,
    /// Route of the request, for the log; empty if there is none.
    pub route: &'static str,
    /// The Idempotency-Key, if there is one.
    pub idempotency: Option<Idempotency>,
    /// Conditions of the request (`If-Match`, `If-None-Match`).
    pub preconditions: Option<Box<Preconditions>>,
    /// Renderer of the answer.
    pub render: Render,
}

/// Identity of a request, by its token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthContext {
    /// Actor of the token.
    pub actor: Actor,
    /// The session, if the token is a session's.
    pub session: Option<Arc<SessionView>>,
}

/// Request of a page of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageRequest<I> {
    /// Maximum number of items: 1 to 200.
    pub limit: usize,
    /// Item after which the page begins; `None`: the page is the first.
    pub after: Option<I>,
}

/// A page of a list, newest first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListPage<T, I> {
    /// The items.
    pub items: Vec<T>,
    /// Item after which the next page begins; `None`: nothing is left.
    pub next: Option<I>,
}

/// Settings of the application.
#[derive(Clone, Debug, Default)]
pub struct AppSettings {
    /// The rules for sessions and users.
    pub rules: Rules,
    /// True if the clock can be moved.
    pub dev: bool,
    /// Cost of the hash of a password.
    pub password_cost: Cost,
    /// Password of the user `admin`, who is created at the first start.
    pub admin_password: Option<Password>,
    /// Inbound webhooks.
    pub hooks: Vec<Hook>,
    /// Memory budget.
    pub memory: MemoryBudget,
    /// Names of the secrets that definitions may name, as [`crate::types::secret_name`] writes
    /// them; `None`: they are not known, and there are no warnings.
    pub secret_names: Option<BTreeSet<String>>,
    /// Time at which the clock stops; it moves only when it is advanced. For scenarios of
    /// workflows, whose minutes do not depend on the machine.
    pub stands_at: Option<Time>,
}

/// Reason for which the application could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The store could not be read or written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A record could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// A file could not be read or written.
    #[error("{path}: {source}")]
    File {
        /// The file.
        path: String,
        /// Error of the operating system.
        source: std::io::Error,
    },
    /// The configuration or the machine does not allow it.
    #[error("{0}")]
    Refused(String),
}
