//! Refusals: why a command was not done. Each has a name.

use std::fmt::{self, Display as _};
use std::sync::Arc;

use crate::engine::attempt::Counted;
use crate::types::{AccountId, AssetCode, HoldId, Revision, Span, StepName, Time, TransferId};

/// One thing that is wrong with an input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldError {
    /// Where in the body: a JSON Pointer (RFC 6901).
    pub pointer: String,
    /// Stable, for programs: `too-short`.
    pub code: &'static str,
    /// For people: what is expected.
    pub message: String,
}

impl FieldError {
    /// What is wrong at this place.
    #[must_use]
    pub fn new(pointer: &str, code: &'static str, message: impl Into<String>) -> Self {
        Self { pointer: pointer.to_owned(), code, message: message.into() }
    }
}

/// A refusal is kept as the answer to its Idempotency-Key: it depends on the state of things, and a
/// late duplicate must not succeed after its caller was refused.
const STORED: bool = true;

/// A refusal is not kept: the same request may succeed later.
const NOT_STORED: bool = false;

/// Makes the type, its codes, and what is stored, from the table.
macro_rules! refusals {
    ($(
        $(#[$meta:meta])*
        $name:ident
        $({ $($(#[$doc:meta])* $field:ident: $kind:ty,)* })?
        $(($($part:ty),*))?
        => $code:literal, $stored:expr;
    )*) => {
        /// Why a command or a read was not done. Each has one stable code; only the HTTP layer knows
        /// statuses.
        #[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
        pub enum Refusal {
            $(
                $(#[$meta])*
                $name $({ $($(#[$doc])* $field: $kind,)* })? $(($($part),*))?,
            )*
        }

        impl Refusal {
            /// Returns the stable code.
            #[must_use]
            pub fn code(&self) -> &'static str {
                match self.disclosed() {
                    $(Self::$name { .. } => $code,)*
                }
            }

            /// Whether it is kept as the answer to its Idempotency-Key.
            #[must_use]
            pub fn is_stored(&self) -> bool {
                match self.disclosed() {
                    $(Self::$name { .. } => $stored,)*
                }
            }
        }
    };
}

refusals! {
    /// No token, or one that opens nothing any more.
    #[error("a valid session or API key is needed; log in again")]
    Unauthenticated => "unauthenticated", NOT_STORED;
    /// Unknown user, wrong password, disabled user: one answer for all.
    #[error("the user name or the password is wrong")]
    InvalidCredentials => "invalid-credentials", NOT_STORED;
    /// A message is not signed by whom it should be.
    #[error("the signature is not valid: {0}")]
    InvalidSignature(&'static str) => "invalid-signature", NOT_STORED;
    /// Too many failed attempts at a password or a one-time code.
    #[error("too many {}; wait before the next one", counted.as_str())]
    TooManyAttempts {
        /// How long to wait.
        retry_after: Span,
        /// What was counted.
        counted: Counted,
    } => "too-many-attempts", NOT_STORED;
    /// The actor may not do this.
    #[error("not allowed: {0}")]
    NotAllowed(&'static str) => "not-allowed", NOT_STORED;
    /// The password must be proved again first.
    #[error("this needs a fresh elevation: POST /v1/sessions/current/elevate first")]
    ElevationNeeded => "elevation-needed", NOT_STORED;
    /// There is no such thing, or the actor may not know of it.
    #[error("there is no such {0}, or you may not see it")]
    NotFound(&'static str) => "not-found", NOT_STORED;
    /// The name is or was somebody's.
    #[error("the user name is taken; choose another one")]
    UsernameTaken => "username-taken", STORED;
    /// A condition of the request (`If-Match`, `If-None-Match`) does not hold for what there is.
    #[error("a condition of the request does not hold: the current revision is {current}")]
    RevisionMismatch {
        /// The current one.
        current: Revision,
    } => "revision-mismatch", NOT_STORED;
    /// `If-Match` where there is nothing.
    #[error("a condition of the request does not hold: there is nothing here yet")]
    NothingToMatch => "revision-mismatch", NOT_STORED;
    /// The input breaks rules.
    #[error("the input is not valid")]
    InvalidInput(Vec<FieldError>) => "invalid-input", NOT_STORED;
    /// What a change would make is over its limit.
    #[error("{what} may have at most {bytes_max} bytes")]
    TooLarge {
        /// What would be too large.
        what: &'static str,
        /// Its limit.
        bytes_max: usize,
    } => "too-large", NOT_STORED;
    /// A JSON patch that cannot be applied to what is there (RFC 6902, section 5).
    #[error("the patch does not apply: {0}")]
    PatchFailed(String) => "patch-failed", STORED;
    /// A single-use link that is unknown, used or too old.
    #[error("the link is not valid any more; ask for a new one")]
    LinkNotValid => "link-not-valid", STORED;
    /// As many of these exist as may.
    #[error("no more than {max} {what} may exist; use fewer, or delete one first")]
    LimitReached {
        /// Of what.
        what: &'static str,
        /// How many may exist.
        max: usize,
    } => "limit-reached", STORED;
    /// Less is available on the account than would leave it.
    #[error("the account {0} has less available than this takes")]
    InsufficientFunds(AccountId) => "insufficient-funds", STORED;
    /// A refusal that names an account which the caller may not see.
    #[error(fmt = undisclosed)]
    Undisclosed(Box<Refusal>) => "", NOT_STORED;
    /// Both sides must be of one asset.
    #[error("both accounts must be of one asset")]
    AssetMismatch => "asset-mismatch", STORED;
    /// Nothing enters or leaves a closed account.
    #[error("the account {0} is closed")]
    AccountClosed(AccountId) => "account-closed", STORED;
    /// Nothing leaves a frozen account.
    #[error("the account {0} is frozen: nothing may leave it")]
    AccountFrozen(AccountId) => "account-frozen", STORED;
    /// A request names an account that is not there.
    #[error("there is no account {0}")]
    UnknownAccount(AccountId) => "unknown-account", STORED;
    /// A request names an asset that is not there.
    #[error("there is no asset {0}; put it first with PUT /v1/assets/{0}")]
    UnknownAsset(AssetCode) => "unknown-asset", STORED;
    /// The hold was captured, voided or has expired.
    #[error("the hold {0} is not open: it was captured, voided or has expired")]
    HoldNotOpen(HoldId) => "hold-not-open", STORED;
    /// More than is left of the hold.
    #[error("the amount is more than is left of the hold {0}")]
    ExceedsHold(HoldId) => "exceeds-hold", STORED;
    /// More digits than the asset has.
    #[error("the amount has more digits after the point than its asset; send a decimal string")]
    AmountNotExact => "amount-not-exact", STORED;
    /// Not above zero, or more than an account can have.
    #[error("the amount must be above zero, and no balance may have more than 28 digits")]
    AmountOutOfRange => "amount-out-of-range", STORED;
    /// A transaction may touch its owner's accounts.
    #[error("the account {0} belongs to somebody else")]
    NotYourAccount(AccountId) => "not-your-account", STORED;
    /// From an account to itself.
    #[error("an account can send nothing to itself; choose two accounts")]
    SameAccount => "same-account", STORED;
    /// The id is another account's.
    #[error("there is an account {0} already; choose another id")]
    AccountExists(AccountId) => "account-exists", STORED;
    /// Something is posted or held on it.
    #[error("something is posted or held on the account {0}: empty it first")]
    AccountNotEmpty(AccountId) => "account-not-empty", STORED;
    /// Its scale can not change.
    #[error("the asset {asset} is in use with {scale} digits after the point, which stay")]
    AssetInUse {
        /// Which.
        asset: AssetCode,
        /// Its scale.
        scale: u8,
    } => "asset-in-use", STORED;
    /// The id is that of another transfer.
    #[error("there is another transfer {0} already; choose another id")]
    TransferIdTaken(TransferId) => "transfer-id-taken", STORED;
    /// The id is that of another hold.
    #[error("there is another hold {0} already; choose another id")]
    HoldIdTaken(HoldId) => "hold-id-taken", STORED;
    /// It was undone before.
    #[error("the transfer was reversed already, by {by}")]
    AlreadyReversed {
        /// By which transfer.
        by: TransferId,
    } => "already-reversed", STORED;
    /// Nobody would be left who can administrate.
    #[error("this is the last administrator; give another user the role abide:admin first")]
    LastAdministrator => "last-administrator", STORED;
    /// An expression could not be evaluated: what it needs is not there, or of another kind.
    #[error("an expression of the workflow failed: {0}")]
    ExpressionFailed(String) => "expression-failed", STORED;
    /// A guard of the workflow does not hold.
    #[error("{message}")]
    Guard {
        /// The definition's own code.
        code: Arc<str>,
        /// The definition's own words.
        message: Arc<str>,
    } => "refused-by-guard", STORED;
    /// The step does not wait for anybody.
    #[error("the step is not open")]
    StepNotOpen {
        /// Those that are.
        open_steps: Vec<StepName>,
    } => "step-not-open", STORED;
    /// Somebody else has claimed the step.
    #[error("{by} has claimed this step until {until}")]
    Claimed {
        /// Who.
        by: Arc<str>,
        /// Until when.
        until: Time,
    } => "claimed", STORED;
    /// The step cannot be claimed.
    #[error("this step cannot be claimed: its definition has no `claim`")]
    NotClaimable => "not-claimable", STORED;
    /// The step was submitted as often as it may be.
    #[error("the step {step} was submitted as often as it may be")]
    StepUsedUp {
        /// Which.
        step: StepName,
    } => "step-used-up", STORED;
    /// The actor's submission counts already.
    #[error("your submission of this step counts already; others must submit it too")]
    AlreadyCounted => "already-counted", STORED;
    /// The step counts people, and the actor is none.
    #[error("this step counts people: an API key, a hook or a workflow cannot submit it")]
    PeopleOnly => "people-only", NOT_STORED;
    /// A wrong one-time code.
    #[error("the code is wrong; {attempts_left} attempts are left")]
    WrongCode {
        /// The challenge.
        challenge: Arc<str>,
        /// How many wrong codes may still be given.
        attempts_left: u32,
    } => "wrong-code", STORED;
    /// A one-time code that is too old.
    #[error("the code has expired; ask for a new one ({attempts_left} attempts are left)")]
    CodeExpired {
        /// The challenge.
        challenge: Arc<str>,
        /// How many wrong codes may still be given.
        attempts_left: u32,
    } => "code-expired", STORED;
    /// No code waits to be given.
    #[error("no code is waited for: it was used, withdrawn, or never issued")]
    ChallengeNotOpen => "challenge-not-open", STORED;
    /// As many codes were sent as may be.
    #[error("no further code can be sent")]
    NoResendsLeft => "no-resends-left", STORED;
    /// It has ended.
    #[error("the transaction has ended")]
    AlreadyEnded => "already-ended", STORED;
    /// It is being undone.
    #[error("the transaction is being cancelled already")]
    AlreadyCancelled => "already-cancelled", STORED;
    /// It can only go forward.
    #[error("the transaction has passed the point from which it can only go forward")]
    PastPivot => "past-pivot", STORED;
    /// An operator has stopped it.
    #[error("the transaction is paused; an operator must resume it")]
    Paused => "paused", STORED;
    /// It does not fit into the other version.
    #[error("it cannot be moved: {0}")]
    CannotMigrate(String) => "cannot-migrate", STORED;
    /// It goes on by itself.
    #[error("the transaction is not stuck")]
    NotStuck => "not-stuck", STORED;
    /// A callback that nobody waits for any more.
    #[error("this callback was used, or its time is up")]
    CallbackLate => "callback-late", NOT_STORED;
    /// Another transaction has the same value of `unique`.
    #[error("there is an open transaction of this kind already")]
    AlreadyOpen => "already-open", STORED;
    /// The reference belongs to another transaction.
    #[error("the reference was used for another transaction of this workflow")]
    ReferenceTaken => "reference-taken", STORED;
    /// The workflow takes no new starts.
    #[error("the workflow is retired: it takes no new starts")]
    WorkflowRetired => "workflow-retired", STORED;
    /// Automatic steps run on and on.
    #[error("more than {max} automatic steps follow each other")]
    TooManySteps {
        /// How many may.
        max: u32,
    } => "too-many-steps", STORED;
    /// Transactions lead to each other further than one commit goes.
    #[error("transactions start and submit each other too far in one commit: at most {max}")]
    LinkDepthExceeded {
        /// How far they may.
        max: u32,
    } => "link-depth-exceeded", STORED;
    /// Steps were opened again and again.
    #[error("the transaction has opened as many steps as it may: {max}")]
    TooManyRounds {
        /// How many may be.
        max: u32,
    } => "too-many-rounds", STORED;
    /// The workflow names an account that cannot be one.
    #[error("there is no account {0}")]
    NoSuchAccount(String) => "unknown-account", STORED;
    /// The workflow names a hold that is not open.
    #[error("the transaction has no open hold {0}")]
    NoSuchHold(Arc<str>) => "hold-not-open", STORED;
    /// The key was used for another request.
    #[error("this Idempotency-Key was used for another request; use a new key")]
    IdempotencyKeyReused => "idempotency-key-reused", NOT_STORED;
    /// The call answers with a secret, or has no actor whose key it could be.
    #[error("this call takes no Idempotency-Key")]
    IdempotencyKeyNotSupported => "idempotency-key-not-supported", NOT_STORED;
    /// The key was answered, and that answer cannot be shown again.
    #[error(
        "the request was done and answered before, but its answer can no longer be shown: the \
         history that it shows was retired; read what it changed"
    )]
    AnswerGone => "answer-gone", NOT_STORED;
    /// A queue is full.
    #[error("the server is busy; try again in a moment")]
    Busy {
        /// How long to wait.
        retry_after: Span,
    } => "busy", NOT_STORED;
    /// The disk is nearly full.
    #[error("the server has no room for this write")]
    NoRoom => "no-room", NOT_STORED;
    /// The server is stopping. What became of the command is unknown: a retry with the same
    /// Idempotency-Key settles it.
    #[error("the server is stopping; the outcome of this request is unknown")]
    Stopping => "stopping", NOT_STORED;
}

impl Refusal {
    /// All codes, each of which has a page.
    pub const CODES: [&'static str; 64] = [
        "unauthenticated",
        "invalid-credentials",
        "invalid-signature",
        "too-many-attempts",
        "not-allowed",
        "elevation-needed",
        "not-found",
        "username-taken",
        "revision-mismatch",
        "invalid-input",
        "too-large",
        "patch-failed",
        "link-not-valid",
        "limit-reached",
        "insufficient-funds",
        "asset-mismatch",
        "account-closed",
        "account-frozen",
        "unknown-account",
        "unknown-asset",
        "hold-not-open",
        "exceeds-hold",
        "amount-not-exact",
        "amount-out-of-range",
        "not-your-account",
        "same-account",
        "account-exists",
        "account-not-empty",
        "asset-in-use",
        "transfer-id-taken",
        "hold-id-taken",
        "already-reversed",
        "last-administrator",
        "expression-failed",
        "refused-by-guard",
        "step-not-open",
        "claimed",
        "not-claimable",
        "step-used-up",
        "already-counted",
        "people-only",
        "wrong-code",
        "code-expired",
        "challenge-not-open",
        "no-resends-left",
        "already-ended",
        "already-cancelled",
        "past-pivot",
        "not-stuck",
        "callback-late",
        "paused",
        "cannot-migrate",
        "already-open",
        "reference-taken",
        "workflow-retired",
        "too-many-steps",
        "too-many-rounds",
        "link-depth-exceeded",
        "idempotency-key-reused",
        "idempotency-key-not-supported",
        "answer-gone",
        "busy",
        "no-room",
        "stopping",
    ];

    /// Whether it may rest on something that ends by itself at a time, and is not what the command
    /// names: a hold on an account, another transaction with the same value.
    #[must_use]
    pub const fn may_pass_with_time(&self) -> bool {
        matches!(self, Self::InsufficientFunds(_) | Self::AlreadyOpen | Self::AccountNotEmpty(_))
    }

    /// The refusal itself, where it names an account that the caller may not see.
    fn disclosed(&self) -> &Self {
        if let Self::Undisclosed(refusal) = self { refusal.disclosed() } else { self }
    }

    /// What it is called: its code, or for a guard the definition's own.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Guard { code, .. } => code,
            _ => self.code(),
        }
    }

    /// The account that it names.
    #[must_use]
    pub fn account(&self) -> Option<&str> {
        match self {
            Self::InsufficientFunds(id)
            | Self::AccountClosed(id)
            | Self::AccountFrozen(id)
            | Self::UnknownAccount(id)
            | Self::NotYourAccount(id)
            | Self::AccountExists(id)
            | Self::AccountNotEmpty(id) => Some(id.as_str()),
            Self::NoSuchAccount(id) => Some(id),
            _ => None,
        }
    }

    /// How long to wait before the next attempt (`Retry-After`).
    #[must_use]
    pub const fn retry_after(&self) -> Option<Span> {
        match self {
            Self::TooManyAttempts { retry_after, .. } | Self::Busy { retry_after } => {
                Some(*retry_after)
            }
            _ => None,
        }
    }
}

/// A refusal in words, without the account that it names.
fn undisclosed(refusal: &Refusal, out: &mut fmt::Formatter<'_>) -> fmt::Result {
    let what = match refusal {
        Refusal::InsufficientFunds(_) => "has less available than this takes",
        Refusal::AccountClosed(_) => "is closed",
        Refusal::AccountFrozen(_) => "is frozen: nothing may leave it",
        Refusal::UnknownAccount(_) | Refusal::NoSuchAccount(_) => "does not exist",
        Refusal::NotYourAccount(_) => "belongs to somebody else",
        Refusal::AccountExists(_) => "exists already",
        Refusal::AccountNotEmpty(_) => "still has something posted or held on it",
        other => return other.fmt(out),
    };
    write!(out, "an account that this workflow uses {what}")
}
