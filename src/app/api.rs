//! What the HTTP layer asks of this one, and what it is answered.

use std::future::Future;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;

use crate::engine::{
    Actor, Command, Data, KeyView, Outcome, Refusal, Rules, SessionView, StoredKey, StoredView,
    UserView,
};
use crate::store::{Store, StoreError};
use crate::types::{KeyId, Password, Revision, SessionId, Span, Time, Token, UserId, Username};

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
/// answer byte for byte. The revision is that of the commit, or for a refusal the last one.
pub type Render = Box<dyn Fn(Result<&Outcome, &Refusal>, Revision) -> Answer + Send + Sync>;

/// What an execution answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answered {
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
pub struct Client {
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
    pub client: Client,
    /// The `X-Request-Id` of the answer.
    pub request: Arc<str>,
    /// The Idempotency-Key, if there is one.
    pub idempotency: Option<Idempotency>,
    /// How to write the answer.
    pub render: Render,
}

/// What a token opens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Access {
    /// Who its bearer is.
    pub actor: Actor,
    /// The session, if it is a session's token.
    pub session: Option<Arc<SessionView>>,
}

/// What part of a list is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageAsk<I> {
    /// At most so many: 1 to 200.
    pub limit: usize,
    /// Only what comes after this one; `None`: from the first.
    pub after: Option<I>,
}

/// A part of a list, newest first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PageOf<T, I> {
    /// The things.
    pub items: Vec<T>,
    /// Where to go on; `None`: nothing is left.
    pub next: Option<I>,
}

/// The 32 bytes that every keyed hash of this server is made with. They are in no journal.
#[derive(Clone)]
pub struct Secret([u8; 32]);

/// How the application is set up.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// The rules for sessions and users.
    pub rules: Rules,
    /// Whether the clock may be moved.
    pub dev: bool,
    /// The password of the user `admin`, created at the first start.
    pub admin_password: Option<Password>,
}

/// Why the application could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The store could not be read or written.
    #[error(transparent)]
    Store(#[from] StoreError),
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
pub struct Opened {
    /// It.
    pub app: Arc<App>,
    /// At the first start without [`Settings::admin_password`]: the single-use secret by which
    /// the user `admin` gets a password ([`Command::UseLink`]). Print it, keep it nowhere.
    pub set_up: Option<Token>,
    /// Resolves when the process must end.
    pub stopped: Stopped,
}

/// Resolves, with the reason, when nothing can be changed any more and the process must end with
/// an error: the store failed, or the executor did.
pub struct Stopped(Pin<Box<dyn Future<Output = String> + Send>>);

/// The application: everything that the HTTP layer and the command line can ask for.
pub struct App {
    #[expect(dead_code, reason = "interface first")]
    store: Arc<dyn Store>,
}

impl Secret {
    /// Reads `DIR/secret`, or makes it (mode 0600, synced together with its directory) if the
    /// directory has none.
    ///
    /// # Errors
    /// [`OpenError::File`]; [`OpenError::Refused`] when the file is not what this made.
    pub fn load_or_create(dir: &Path) -> Result<Self, OpenError> {
        Err(OpenError::Refused(format!("{}: not yet", dir.display())))
    }

    /// The secret with these bytes.
    #[must_use]
    pub const fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }
}

impl Future for Stopped {
    type Output = String;

    fn poll(
        mut self: Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Self::Output> {
        self.0.as_mut().poll(cx)
    }
}

impl App {
    /// Starts the executor on the store and, at the first start, creates the administrator.
    ///
    /// # Errors
    /// [`OpenError`]
    pub async fn open(
        store: Arc<dyn Store>,
        secret: Secret,
        settings: Settings,
    ) -> Result<Opened, OpenError> {
        std::future::ready((store, secret.0, settings)).await;
        Err(OpenError::Refused("not yet".into()))
    }

    /// Takes no more commands, finishes those it has, and ends the executor.
    pub async fn close(&self) {
        std::future::ready(()).await;
    }

    /// The server's time: never back, moved by [`App::advance_clock`].
    #[must_use]
    pub fn now(&self) -> Time {
        Time::ZERO
    }

    /// The rules that the application was opened with.
    #[must_use]
    pub fn rules(&self) -> &Rules {
        unreachable!("an application cannot be opened yet")
    }

    /// Looks a token up and notes the activity (written at most once in a twentieth of the idle
    /// time-out). `None` as the token: nobody.
    ///
    /// # Errors
    /// [`Refusal::Unauthenticated`] for a token that is unknown, ended, expired or a link's;
    /// [`Refusal::Stopping`].
    pub async fn authenticate(&self, token: Option<&Token>) -> Result<Access, Refusal> {
        std::future::ready(token).await;
        Err(Refusal::Stopping)
    }

    /// Looks a token up without noting activity: for introspection, live streams, health checks.
    ///
    /// # Errors
    /// As [`App::authenticate`].
    pub fn inspect(&self, _token: &Token) -> Result<Access, Refusal> {
        Err(Refusal::Stopping)
    }

    /// The fingerprint of a request for its Idempotency-Key.
    #[must_use]
    pub fn fingerprint(
        &self,
        _method: &str,
        _path: &str,
        _query: &str,
        _body: &[u8],
    ) -> Fingerprint {
        Fingerprint([0; 32])
    }

    /// Does a command, in its turn, exactly once for its Idempotency-Key. The answer comes when
    /// everything that it rests on is durable. When the future is dropped the command still
    /// happens, if it was taken.
    pub async fn execute(&self, _command: Command, envelope: Envelope) -> Answered {
        std::future::ready(()).await;
        let answer = (envelope.render)(Err(&Refusal::Stopping), Revision::ZERO);
        Answered { answer, replayed: false }
    }

    /// The data of the actor's session.
    ///
    /// # Errors
    /// [`Refusal::Unauthenticated`], [`Refusal::Stopping`].
    pub fn session_data(&self, _actor: &Actor) -> Result<Data, Refusal> {
        Err(Refusal::Stopping)
    }

    /// The live sessions of a user, newest first (at most [`Rules::SESSIONS_PER_USER_MAX`]); an
    /// anonymous actor has its own one. `username`: whose, for an administrator.
    ///
    /// # Errors
    /// [`Refusal::NotAllowed`], [`Refusal::NotFound`], [`Refusal::Stopping`].
    pub fn sessions(
        &self,
        _actor: &Actor,
        _username: Option<&Username>,
    ) -> Result<Vec<SessionView>, Refusal> {
        Err(Refusal::Stopping)
    }

    /// A live session by its id: an own one, or for an administrator any.
    ///
    /// # Errors
    /// [`Refusal::NotFound`], [`Refusal::Stopping`].
    pub fn session(&self, _actor: &Actor, _id: SessionId) -> Result<SessionView, Refusal> {
        Err(Refusal::Stopping)
    }

    /// The actor's own user.
    ///
    /// # Errors
    /// [`Refusal::NotAllowed`] for an actor that is no user, [`Refusal::Stopping`].
    pub fn own_user(&self, _actor: &Actor) -> Result<UserView, Refusal> {
        Err(Refusal::Stopping)
    }

    /// The data of the actor's own user.
    ///
    /// # Errors
    /// As [`App::own_user`].
    pub fn user_data(&self, _actor: &Actor) -> Result<Data, Refusal> {
        Err(Refusal::Stopping)
    }

    /// A user, for an administrator or an auditor.
    ///
    /// # Errors
    /// [`Refusal::NotAllowed`], [`Refusal::NotFound`], [`Refusal::Stopping`].
    pub fn user(&self, _actor: &Actor, _username: &Username) -> Result<UserView, Refusal> {
        Err(Refusal::Stopping)
    }

    /// The users, for an administrator or an auditor.
    ///
    /// # Errors
    /// [`Refusal::NotAllowed`], [`Refusal::Stopping`].
    pub fn users(
        &self,
        _actor: &Actor,
        _page: PageAsk<UserId>,
    ) -> Result<PageOf<UserView, UserId>, Refusal> {
        Err(Refusal::Stopping)
    }

    /// The API keys, for an administrator or an auditor.
    ///
    /// # Errors
    /// [`Refusal::NotAllowed`], [`Refusal::Stopping`].
    pub fn keys(
        &self,
        _actor: &Actor,
        _page: PageAsk<KeyId>,
    ) -> Result<PageOf<KeyView, KeyId>, Refusal> {
        Err(Refusal::Stopping)
    }

    /// Another framework's session, for the API key that stored it; `touch`: counts as activity.
    ///
    /// # Errors
    /// [`Refusal::NotAllowed`] for an actor that is no API key, [`Refusal::NotFound`],
    /// [`Refusal::Stopping`].
    pub async fn stored(
        &self,
        actor: &Actor,
        key: &StoredKey,
        touch: bool,
    ) -> Result<StoredView, Refusal> {
        std::future::ready((actor, key, touch)).await;
        Err(Refusal::Stopping)
    }

    /// Moves the clock forward, in `--dev` and for an administrator, and answers with the new
    /// time when all that is due by then has happened.
    ///
    /// # Errors
    /// [`Refusal::NotAllowed`], [`Refusal::Stopping`].
    pub async fn advance_clock(&self, actor: &Actor, by: Span) -> Result<Time, Refusal> {
        std::future::ready((actor, by)).await;
        Err(Refusal::Stopping)
    }

    /// Commands that wait for the executor.
    #[must_use]
    pub fn queue_depth(&self) -> usize {
        0
    }
}
