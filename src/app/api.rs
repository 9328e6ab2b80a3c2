//! What the HTTP layer asks of this one, and what it is answered.

use std::collections::BTreeSet;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;

use super::{App, Cost, Hook, MemoryBudget};
use crate::engine::{Actor, Outcome, Preconditions, Refusal, Rules, SessionView};
use crate::records::ReadError;
use crate::store::StoreError;
use crate::types::{Password, Revision, Time, Token};

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

/// How the HTTP layer writes what became of a command, and the revision of its commit. A pure
/// function: with an Idempotency-Key the executor calls it before the commit, which keeps the
/// answer byte for byte; one with `Retry-After` is kept by nothing. The revision is that of the
/// commit, or for a refusal the last one.
pub type Render = Box<dyn Fn(Result<&Outcome, &Refusal>, Revision) -> Answer + Send + Sync>;

/// What an execution answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandAnswer {
    /// The answer, durable by now if anything was changed.
    pub answer: Answer,
    /// Whether it is the stored answer to an earlier request (`Idempotency-Replayed: true`).
    pub replayed: bool,
}

/// A keyed hash of a request: the same for the same request only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fingerprint(pub(crate) [u8; 32]);

/// An Idempotency-Key and the request that it came with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Idempotency {
    /// The key: 1 to 255 visible ASCII characters, without quotes.
    pub key: String,
    /// The request ([`App::fingerprint`]).
    pub fingerprint: Fingerprint,
}

/// From where a request came.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientInfo {
    /// The address, as text; of the client, not of a configured proxy.
    pub address: Option<Arc<str>>,
    /// The `User-Agent`.
    pub agent: Option<Arc<str>>,
}

/// What comes with a command.
pub struct Envelope {
    /// Who asks.
    pub actor: Actor,
    /// From where.
    pub client: ClientInfo,
    /// The `X-Request-Id` of the answer.
    pub request: Arc<str>,
    /// The route of the request, for the log; empty: there is none.
    pub route: &'static str,
    /// The Idempotency-Key, if there is one.
    pub idempotency: Option<Idempotency>,
    /// On which conditions the command is done.
    pub preconditions: Option<Box<Preconditions>>,
    /// How to write the answer.
    pub render: Render,
}

/// What a token opens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthContext {
    /// Who its bearer is.
    pub actor: Actor,
    /// The session, if it is a session's token.
    pub session: Option<Arc<SessionView>>,
}

/// What part of a list is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageRequest<I> {
    /// At most so many: 1 to 200.
    pub limit: usize,
    /// Only what comes after this one; `None`: from the first.
    pub after: Option<I>,
}

/// A part of a list, newest first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListPage<T, I> {
    /// The things.
    pub items: Vec<T>,
    /// Where to go on; `None`: nothing is left.
    pub next: Option<I>,
}

/// How the application is set up.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// The rules for sessions and users.
    pub rules: Rules,
    /// Whether the clock may be moved.
    pub dev: bool,
    /// What the hash of a password costs.
    pub password_cost: Cost,
    /// The password of the user `admin`, created at the first start.
    pub admin_password: Option<Password>,
    /// Where messages of other services come in.
    pub hooks: Vec<Hook>,
    /// The memory that all of it may take.
    pub memory: MemoryBudget,
    /// Names of the secrets that definitions may name, as [`crate::types::secret_name`] writes
    /// them; `None`: nothing is known of them, and nobody is warned.
    pub secret_names: Option<BTreeSet<String>>,
    /// The clock stands at this time and moves only when it is advanced: for scenarios of
    /// workflows, in which a minute is a minute however busy the machine is.
    pub stands_at: Option<Time>,
}

/// Why the application could not be opened.
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
        /// What the system said.
        source: std::io::Error,
    },
    /// Something about the configuration or the machine does not allow it.
    #[error("{0}")]
    Refused(String),
}

/// An application that was opened.
pub struct RunningApp {
    /// It.
    pub app: Arc<App>,
    /// At the first start without [`Settings::admin_password`]: the single-use secret by which
    /// the user `admin` gets a password ([`Command::UseLink`]). Print it, keep it nowhere.
    pub set_up: Option<Token>,
    /// Resolves when the process must end.
    pub stopped: StopSignal,
}

/// Resolves, with the reason, when nothing can be changed any more and the process must end with
/// an error: the store failed, or the executor did.
pub struct StopSignal(pub(super) Pin<Box<dyn Future<Output = String> + Send>>);

impl Future for StopSignal {
    type Output = String;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<String> {
        self.0.as_mut().poll(cx)
    }
}
