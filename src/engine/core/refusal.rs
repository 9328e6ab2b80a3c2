//! Refusals: named reasons for which a command or read was not done.

use std::fmt::{self, Display as _};
use std::sync::Arc;

use crate::engine::attempt::Counted;
use crate::types::{AccountId, AssetCode, HoldId, Revision, Span, StepName, Time, TransferId};

/// One error in an input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InputError {
    /// Place in the body: a JSON Pointer (RFC 6901).
    pub pointer: String,
    /// Stable code, for programs: `too-short`.
    pub code: &'static str,
    /// Description of the expected value, for people.
    pub message: String,
}

impl InputError {
    /// Returns an error at a place.
    #[must_use]
    pub fn new(pointer: &str, code: &'static str, message: impl Into<String>) -> Self {
        Self { pointer: pointer.to_owned(), code, message: message.into() }
    }
}

/// The server stores the refusal as the answer to its Idempotency-Key: it depends on stored state,
/// and a late duplicate must not succeed after its caller was refused.
const STORED: bool = true;

/// The server does not store the refusal: the same request may succeed later.
const NOT_STORED: bool = false;

/// Generates the type, its codes, and whether each is stored, from the table.
macro_rules! refusals {
    ($(
        $(#[$meta:meta])*
        $name:ident
        $({ $($(#[$doc:meta])* $field:ident: $kind:ty,)* })?
        $(($($part:ty),*))?
        => $code:literal, $stored:expr;
    )*) => {
        /// Reason for which a command or a read was not done. Each has one stable code; only the
        /// HTTP layer knows statuses.
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

            /// Returns whether the server stores the refusal as the answer to its Idempotency-Key.
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
    /// The signature of a message is not valid.
    #[error("the signature is not valid: {0}")]
    InvalidSignature(&'static str) => "invalid-signature", NOT_STORED;
    /// Too many failed attempts at a password or a one-time code.
    #[error("too many {}; wait before the next one", counted.as_str())]
    TooManyAttempts {
        /// Time until the next attempt.
        retry_after: Span,
        /// Counted kind of attempts.
        counted: Counted,
    } => "too-many-attempts", NOT_STORED;
    /// The actor may not do this.
    #[error("not allowed: {0}")]
    NotAllowed(&'static str) => "not-allowed", NOT_STORED;
    /// The password must be proved again first.
    #[error("this needs a fresh elevation: POST /v1/sessions/current/elevate first")]
    ElevationNeeded => "elevation-needed", NOT_STORED;
    /// The thing does not exist, or the actor may not know of it.
    #[error("there is no such {0}, or you may not see it")]
    NotFound(&'static str) => "not-found", NOT_STORED;
    /// The name belongs, or once belonged, to another user.
    #[error("the user name is taken; choose another one")]
    UsernameTaken => "username-taken", STORED;
    /// A condition of the request (`If-Match`, `If-None-Match`) does not hold.
    #[error("a condition of the request does not hold: the current revision is {current}")]
    RevisionMismatch {
        /// The current revision.
        current: Revision,
    } => "revision-mismatch", NOT_STORED;
    /// `If-Match` names a thing that does not exist.
    #[error("a condition of the request does not hold: there is nothing here yet")]
    NothingToMatch => "revision-mismatch", NOT_STORED;
    /// The input breaks rules.
    #[error("the input is not valid")]
    InvalidInput(Vec<InputError>) => "invalid-input", NOT_STORED;
    /// The result of a change would exceed its size limit.
    #[error("{what} may have at most {bytes_max} bytes")]
    TooLarge {
        /// Name of the thing that would be too large.
        what: &'static str,
        /// Its limit, in bytes.
        bytes_max: usize,
    } => "too-large", NOT_STORED;
    /// A JSON patch that cannot be applied to the stored object (RFC 6902, section 5).
    #[error("the patch does not apply: {0}")]
    PatchFailed(String) => "patch-failed", STORED;
    /// A single-use link that is unknown, used or expired.
    #[error("the link is not valid any more; ask for a new one")]
    LinkNotValid => "link-not-valid", STORED;
    /// The maximum number of these things exists already.
    #[error("no more than {max} {what} may exist; use fewer, or delete one first")]
    LimitReached {
        /// Name of the things.
        what: &'static str,
        /// Maximum number.
        max: usize,
    } => "limit-reached", STORED;
    /// The account has less available than the amount.
    #[error("the account {0} has less available than this takes")]
    InsufficientFunds(AccountId) => "insufficient-funds", STORED;
    /// Refusal that names an account which the caller may not see.
    #[error(fmt = undisclosed)]
    Undisclosed(Box<Refusal>) => "", NOT_STORED;
    /// Both accounts must have the same asset.
    #[error("both accounts must be of one asset")]
    AssetMismatch => "asset-mismatch", STORED;
    /// No amount enters or leaves a closed account.
    #[error("the account {0} is closed")]
    AccountClosed(AccountId) => "account-closed", STORED;
    /// No amount leaves a frozen account.
    #[error("the account {0} is frozen: nothing may leave it")]
    AccountFrozen(AccountId) => "account-frozen", STORED;
    /// A request names an account that does not exist.
    #[error("there is no account {0}")]
    UnknownAccount(AccountId) => "unknown-account", STORED;
    /// A request names an asset that does not exist.
    #[error("there is no asset {0}; put it first with PUT /v1/assets/{0}")]
    UnknownAsset(AssetCode) => "unknown-asset", STORED;
    /// The hold was captured, voided or has expired.
    #[error("the hold {0} is not open: it was captured, voided or has expired")]
    HoldNotOpen(HoldId) => "hold-not-open", STORED;
    /// The amount exceeds what is left of the hold.
    #[error("the amount is more than is left of the hold {0}")]
    ExceedsHold(HoldId) => "exceeds-hold", STORED;
    /// The amount has more digits than its asset.
    #[error("the amount has more digits after the point than its asset; send a decimal string")]
    AmountNotExact => "amount-not-exact", STORED;
    /// The amount is not above zero, or exceeds the largest balance.
    #[error("the amount must be above zero, and no balance may have more than 28 digits")]
    AmountOutOfRange => "amount-out-of-range", STORED;
    /// A transaction may only touch accounts of its owner.
    #[error("the account {0} belongs to somebody else")]
    NotYourAccount(AccountId) => "not-your-account", STORED;
    /// A transfer from an account to itself.
    #[error("an account can send nothing to itself; choose two accounts")]
    SameAccount => "same-account", STORED;
    /// Another account has the id.
    #[error("there is an account {0} already; choose another id")]
    AccountExists(AccountId) => "account-exists", STORED;
    /// The account has a balance or holds.
    #[error("something is posted or held on the account {0}: empty it first")]
    AccountNotEmpty(AccountId) => "account-not-empty", STORED;
    /// The scale of an asset in use cannot change.
    #[error("the asset {asset} is in use with {scale} digits after the point, which stay")]
    AssetInUse {
        /// The asset.
        asset: AssetCode,
        /// Its scale.
        scale: u8,
    } => "asset-in-use", STORED;
    /// Another transfer has the id.
    #[error("there is another transfer {0} already; choose another id")]
    TransferIdTaken(TransferId) => "transfer-id-taken", STORED;
    /// Another hold has the id.
    #[error("there is another hold {0} already; choose another id")]
    HoldIdTaken(HoldId) => "hold-id-taken", STORED;
    /// The transfer was reversed before.
    #[error("the transfer was reversed already, by {by}")]
    AlreadyReversed {
        /// The reversing transfer.
        by: TransferId,
    } => "already-reversed", STORED;
    /// The change would leave no administrator.
    #[error("this is the last administrator; give another user the role abide:admin first")]
    LastAdministrator => "last-administrator", STORED;
    /// An expression could not be evaluated: a value is missing or has another type.
    #[error("an expression of the workflow failed: {0}")]
    ExpressionFailed(String) => "expression-failed", STORED;
    /// A guard of the workflow does not hold.
    #[error("{message}")]
    Guard {
        /// Code from the definition.
        code: Arc<str>,
        /// Message from the definition.
        message: Arc<str>,
    } => "refused-by-guard", STORED;
    /// The step is not open.
    #[error("the step is not open")]
    StepNotOpen {
        /// The open steps.
        open_steps: Vec<StepName>,
    } => "step-not-open", STORED;
    /// Another actor has claimed the step.
    #[error("{by} has claimed this step until {until}")]
    Claimed {
        /// The claimant.
        by: Arc<str>,
        /// End of the claim.
        until: Time,
    } => "claimed", STORED;
    /// The step cannot be claimed.
    #[error("this step cannot be claimed: its definition has no `claim`")]
    NotClaimable => "not-claimable", STORED;
    /// The step has reached its maximum number of submissions.
    #[error("the step {step} was submitted as often as it may be")]
    StepUsedUp {
        /// The step.
        step: StepName,
    } => "step-used-up", STORED;
    /// The actor's submission counts already.
    #[error("your submission of this step counts already; others must submit it too")]
    AlreadyCounted => "already-counted", STORED;
    /// The step counts people, and the actor is not a person.
    #[error("this step counts people: an API key, a hook or a workflow cannot submit it")]
    PeopleOnly => "people-only", NOT_STORED;
    /// A wrong one-time code.
    #[error("the code is wrong; {attempts_left} attempts are left")]
    WrongCode {
        /// The challenge.
        challenge: Arc<str>,
        /// Number of further wrong codes that are allowed.
        attempts_left: u32,
    } => "wrong-code", STORED;
    /// An expired one-time code.
    #[error("the code has expired; ask for a new one ({attempts_left} attempts are left)")]
    CodeExpired {
        /// The challenge.
        challenge: Arc<str>,
        /// Number of further wrong codes that are allowed.
        attempts_left: u32,
    } => "code-expired", STORED;
    /// The transaction waits for no code.
    #[error("no code is waited for: it was used, withdrawn, or never issued")]
    ChallengeNotOpen => "challenge-not-open", STORED;
    /// The maximum number of codes was sent.
    #[error("no further code can be sent")]
    NoResendsLeft => "no-resends-left", STORED;
    /// The transaction has ended.
    #[error("the transaction has ended")]
    AlreadyEnded => "already-ended", STORED;
    /// The transaction is being compensated.
    #[error("the transaction is being cancelled already")]
    AlreadyCancelled => "already-cancelled", STORED;
    /// The transaction has passed its pivot and can only go forward.
    #[error("the transaction has passed the point from which it can only go forward")]
    PastPivot => "past-pivot", STORED;
    /// An operator has paused the transaction.
    #[error("the transaction is paused; an operator must resume it")]
    Paused => "paused", STORED;
    /// The transaction does not fit the other version.
    #[error("it cannot be moved: {0}")]
    CannotMigrate(String) => "cannot-migrate", STORED;
    /// The transaction continues by itself.
    #[error("the transaction is not stuck")]
    NotStuck => "not-stuck", STORED;
    /// A callback that no call waits for any more.
    #[error("this callback was used, or its time is up")]
    CallbackLate => "callback-late", NOT_STORED;
    /// Another open transaction has the same value of `unique`.
    #[error("there is an open transaction of this kind already")]
    AlreadyOpen => "already-open", STORED;
    /// The reference belongs to another transaction.
    #[error("the reference was used for another transaction of this workflow")]
    ReferenceTaken => "reference-taken", STORED;
    /// The workflow takes no new starts.
    #[error("the workflow is retired: it takes no new starts")]
    WorkflowRetired => "workflow-retired", STORED;
    /// The automatic steps would not end.
    #[error("more than {max} automatic steps follow each other")]
    TooManySteps {
        /// Maximum number of automatic steps.
        max: u32,
    } => "too-many-steps", STORED;
    /// Transactions start and submit each other beyond the limit of one commit.
    #[error("transactions start and submit each other too far in one commit: at most {max}")]
    LinkDepthExceeded {
        /// The limit.
        max: u32,
    } => "link-depth-exceeded", STORED;
    /// The transaction has opened steps too often.
    #[error("the transaction has opened as many steps as it may: {max}")]
    TooManyRounds {
        /// Maximum number.
        max: u32,
    } => "too-many-rounds", STORED;
    /// The workflow names an account whose name is not valid.
    #[error("there is no account {0}")]
    NoSuchAccount(String) => "unknown-account", STORED;
    /// The workflow names a hold that is not open.
    #[error("the transaction has no open hold {0}")]
    NoSuchHold(Arc<str>) => "hold-not-open", STORED;
    /// The Idempotency-Key was used for another request.
    #[error("this Idempotency-Key was used for another request; use a new key")]
    IdempotencyKeyReused => "idempotency-key-reused", NOT_STORED;
    /// The call answers with a secret, or has no actor to own the Idempotency-Key.
    #[error("this call takes no Idempotency-Key")]
    IdempotencyKeyNotSupported => "idempotency-key-not-supported", NOT_STORED;
    /// The request was answered before, and that answer cannot be shown again.
    #[error(
        "the request was done and answered before, but its answer can no longer be shown: the \
         history that it shows was retired; read what it changed"
    )]
    AnswerGone => "answer-gone", NOT_STORED;
    /// A queue is full.
    #[error("the server is busy; try again in a moment")]
    Busy {
        /// Time until the next attempt.
        retry_after: Span,
    } => "busy", NOT_STORED;
    /// The disk is nearly full.
    #[error("the server has no room for this write")]
    NoRoom => "no-room", NOT_STORED;
    /// The server is stopping. The outcome of the command is unknown: a retry with the same
    /// Idempotency-Key settles it.
    #[error("the server is stopping; the outcome of this request is unknown")]
    Stopping => "stopping", NOT_STORED;
}

impl Refusal {
    /// All codes. Each has a page in the documentation.
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

    /// Returns whether the refusal may be due to something that ends at a set time and that the
    /// command does not name: a hold on an account, another transaction with the same value.
    #[must_use]
    pub const fn may_pass_with_time(&self) -> bool {
        matches!(self, Self::InsufficientFunds(_) | Self::AlreadyOpen | Self::AccountNotEmpty(_))
    }

    /// Returns the refusal itself if it names an account that the caller may not see.
    fn disclosed(&self) -> &Self {
        if let Self::Undisclosed(refusal) = self { refusal.disclosed() } else { self }
    }

    /// Returns the refusal's name: its code, or for a guard the code from the definition.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Guard { code, .. } => code,
            _ => self.code(),
        }
    }

    /// Returns the account that the refusal names.
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

    /// Returns the time until the next attempt (`Retry-After`).
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

/// Writes a refusal in words, without the account that it names.
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
