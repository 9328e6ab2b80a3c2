//! The one table of all problem codes: the codes that the server sends, that `/problems/CODE`
//! explains and that the OpenAPI document lists are this table. A code has one status.

use http::StatusCode;

macro_rules! codes {
    ($($name:ident $code:literal $status:literal $title:literal, $meaning:literal, $remedy:literal;)+) => {
        /// A problem code. A code that is not in this table cannot be sent.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Code {
            $(#[doc = $title] $name,)+
        }

        impl Code {
            /// Every code, in the order of the table.
            pub const ALL: &[Self] = &[$(Self::$name,)+];

            const fn row(self) -> Row {
                match self {
                    $(Self::$name => Row {
                        code: $code,
                        status: $status,
                        title: $title,
                        meaning: $meaning,
                        remedy: $remedy,
                    },)+
                }
            }
        }
    };
}

struct Row {
    code: &'static str,
    status: u16,
    title: &'static str,
    meaning: &'static str,
    remedy: &'static str,
}

codes! {
    BadRequest "bad-request" 400 "The request is not valid HTTP for this server",
        "A header, the path or the framing of the request cannot be understood: a missing or doubled Host, a Content-Length beside a Transfer-Encoding, a malformed If-Match, a path with escapes that are no UTF-8, a body where none belongs.",
        "Correct what `detail` names. HTTP libraries send well-formed requests by themselves; check what writes raw headers.";
    InvalidJson "invalid-json" 400 "The body is not strict JSON",
        "The body cannot be read as one JSON value: a syntax error, bytes after the value, a key given twice, a lone surrogate, NaN or Infinity, or nesting deeper than 64.",
        "Send RFC 8259 JSON in UTF-8 with each key once. `errors` says where the reading stopped.";
    InvalidParameter "invalid-parameter" 400 "A query parameter is not accepted",
        "A query parameter is unknown on this route, is given twice, or has a value that cannot be read.",
        "Send only the parameters that the route documents, each once.";
    ConditionNotSupported "condition-not-supported" 400 "No conditions on this call",
        "The request has If-Match or If-None-Match, and what this call changes has no revision: it makes something new, or is about several things at once.",
        "Leave the header out. Where the call takes an id or a `reference` of the caller's own, that makes a repetition safe.";
    InvalidIdempotencyKey "invalid-idempotency-key" 400 "The Idempotency-Key is malformed",
        "The header is not 1 to 255 visible ASCII characters, quoted or bare, or is given more than once.",
        "Send one short unique value, a UUID for example.";
    IdempotencyKeyNotSupported "idempotency-key-not-supported" 400 "No Idempotency-Key here",
        "The answer of this call carries a secret, or the call has no actor, so its answer cannot be stored and given again.",
        "Leave the header out.";
    Unauthenticated "unauthenticated" 401 "A live session or API key is needed",
        "There is no token, or the session or key that it names is unknown, expired or ended.",
        "Log in with POST /v1/sessions and send `Authorization: Bearer TOKEN` or the cookie.";
    InvalidSignature "invalid-signature" 401 "The message is not signed as it should be",
        "The signature is missing, or made with another secret or for another body, or `webhook-timestamp` is missing or more than 5 minutes off the server's clock. `detail` says which.",
        "Sign the bytes that are sent with the secret of this hook, and look at the clock.";
    InvalidCredentials "invalid-credentials" 401 "The name or the password is wrong",
        "The user is unknown or disabled, or the password is not the user's. Which of them is not told.",
        "Correct them and try again; repeated failures make further attempts wait.";
    NotAllowed "not-allowed" 403 "The actor may not do this",
        "The actor is known, but does not have the role, or is not of the kind, that this call needs; or the server is configured not to allow it (open registration, anonymous sessions).",
        "Ask an administrator for the role, or use the kind of credential that the route names.";
    CrossSite "cross-site" 403 "A change by cookie must come from the same origin",
        "The request was authenticated by the cookie, or is a login, and its Sec-Fetch-Site or Origin header does not say that it comes from this server's own pages.",
        "Call from a page of the same origin, or send the token as `Authorization: Bearer`.";
    ElevationNeeded "elevation-needed" 403 "The password must be confirmed again",
        "The call needs a session that was elevated a short time ago.",
        "POST /v1/sessions/current/elevate with the password and repeat the call.";
    NotFound "not-found" 404 "There is nothing here",
        "No route has this path, or the thing that it names does not exist or may not be seen by the actor.",
        "Check the path against /openapi.json and the id.";
    MethodNotAllowed "method-not-allowed" 405 "The path does not take this method",
        "The path exists; the `Allow` header lists its methods.",
        "Use one of the methods in `Allow`.";
    RequestTimeout "request-timeout" 408 "The request came too slowly",
        "The head or the body of the request was not complete in time.",
        "Send it again without pauses.";
    UsernameTaken "username-taken" 409 "The user name is taken",
        "A user has, or once had, this name. Names are never given out again.",
        "Choose another name.";
    PatchFailed "patch-failed" 409 "The patch does not fit the data",
        "A JSON Patch operation names a place that does not exist, or its `test` does not hold.",
        "Read the current data and make a patch for it.";
    LimitReached "limit-reached" 409 "A configured number is reached",
        "The thing would be one more than the configuration allows.",
        "Remove one that is no longer needed, or have the limit raised.";
    HoldNotOpen "hold-not-open" 409 "The hold is not open any more",
        "The hold was captured, voided or has expired; a hold is resolved at most once.",
        "Read it with GET /v1/holds/{id}; place a new one if the amount is still needed.";
    AccountExists "account-exists" 409 "The account exists already",
        "Another account, or a closed one, has this id. Ids are never given out again.",
        "Choose another id, or use the account that is there.";
    AccountNotEmpty "account-not-empty" 409 "The account is not empty",
        "An account can be closed only when nothing is posted or held on it.",
        "Transfer the balance away and resolve the open holds first.";
    AssetInUse "asset-in-use" 409 "The digits of an asset in use stay",
        "The asset has accounts, or is one of ISO 4217; all their amounts are counted in its digits after the point.",
        "Put the asset with the scale that it has, or under another code.";
    TransferIdTaken "transfer-id-taken" 409 "The id is that of another transfer",
        "There is a transfer with this id and other content. With the same content the answer would be that transfer.",
        "Choose a new id for a new transfer.";
    HoldIdTaken "hold-id-taken" 409 "The id is that of another hold",
        "There is a hold with this id and other content. With the same content the answer would be that hold.",
        "Choose a new id for a new hold.";
    AlreadyReversed "already-reversed" 409 "The transfer was reversed already",
        "A transfer is reversed at most once; `detail` names the transfer that did it.",
        "Nothing is left to do. Post a new transfer if more is to be moved.";
    LastAdministrator "last-administrator" 409 "Nobody would be left who can administrate",
        "The user is the only one who has the role abide:admin, a password and is not disabled, so it stays as it is.",
        "Give another user the role abide:admin first.";
    LinkNotValid "link-not-valid" 410 "The link is not valid any more",
        "The single-use link is unknown, was used, was replaced by a newer one, or is too old.",
        "Ask for a new link.";
    Gone "gone" 410 "It is kept no more",
        "The log does not reach back to what was asked for: it keeps a bounded part of the past.",
        "Ask for a later revision, or leave as_of out for what is.";
    AnswerGone "answer-gone" 410 "The stored answer can no longer be shown",
        "The request was done and answered before under this Idempotency-Key. Its answer was too large to be stored, and the history that it shows was retired meanwhile. Nothing was done again.",
        "Read what the request changed; a new request takes a new key.";
    RevisionMismatch "revision-mismatch" 412 "It has changed meanwhile",
        "If-Match names another revision than the current one, which `revision` gives.",
        "Read it again, decide anew, and send the change with the current ETag.";
    BodyTooLarge "body-too-large" 413 "The body is too large",
        "The body has more bytes than the configuration allows.",
        "Send less; large files do not belong here.";
    TooLarge "too-large" 413 "The data would be too large",
        "Session data, user data or attributes would have more bytes than the configuration allows.",
        "Keep large things elsewhere and a reference here.";
    TargetTooLong "target-too-long" 414 "The address is too long",
        "The path and query have more bytes than the server reads.",
        "Shorten the query.";
    UnsupportedMediaType "unsupported-media-type" 415 "The body's media type is not taken here",
        "The Content-Type is missing or is not one that the route takes.",
        "Send `Content-Type: application/json`, or what the route documents.";
    InsufficientFunds "insufficient-funds" 422 "Less is available than this takes",
        "Available is what is posted minus what is held; it may not fall below the account's floor. What is on its way to an account cannot be spent yet.",
        "Send a smaller amount, or wait until more is posted or a hold is released.";
    AssetMismatch "asset-mismatch" 422 "The accounts are of different assets",
        "Both sides of a transfer, and the target of a capture, must be of one asset.",
        "Choose accounts of the same asset; exchange by two transfers through accounts of your own.";
    AccountClosed "account-closed" 422 "The account is closed",
        "Nothing enters or leaves a closed account ever again.",
        "Choose another account.";
    AccountFrozen "account-frozen" 422 "The account is frozen",
        "Nothing more may be held on, or leave, a frozen account. What was held before can still be captured, and amounts may come in.",
        "Have an administrator lift it: PATCH /v1/accounts/{id} with `frozen` false.";
    UnknownAccount "unknown-account" 422 "There is no such account",
        "The request names an account that was never opened.",
        "Correct the id, or open the account with POST /v1/accounts.";
    UnknownAsset "unknown-asset" 422 "There is no such asset",
        "The code is none of ISO 4217 and was never put.",
        "Correct the code, or put the asset with PUT /v1/assets/{code}.";
    ExceedsHold "exceeds-hold" 422 "More than is left of the hold",
        "A capture may post at most what the hold still reserves.",
        "Capture at most `left`, or leave `amount` out to capture all of it.";
    AmountNotExact "amount-not-exact" 422 "The amount is not exact",
        "The amount is a JSON number with a fraction or an exponent, or has more digits after the point than its asset.",
        "Send a decimal string with at most the asset's digits, like \"12.50\" for EUR.";
    AmountOutOfRange "amount-out-of-range" 422 "The amount is out of range",
        "An amount must be above zero, and no amount or balance may have more than 28 digits in minor units.",
        "Send an amount above zero and within the bounds.";
    NotYourAccount "not-your-account" 422 "The account belongs to somebody else",
        "A transaction takes money only from accounts of its owner, unless its workflow says `authority: workflow`.",
        "Use an account of the transaction's owner.";
    SameAccount "same-account" 422 "Both accounts are the same",
        "A transfer from an account to itself says nothing.",
        "Choose two different accounts.";
    InvalidInput "invalid-input" 422 "The input does not fit",
        "The body or a parameter is well-formed, but a field is missing, unknown, of the wrong type or out of its bounds. `errors` lists the faults, each with a JSON Pointer. A field that is unknown, missing or of the wrong type is reported first, alone; values out of their bounds are reported together.",
        "Correct the fields in `errors`.";
    AlreadyCounted "already-counted" 409 "The submission counts already",
        "The step needs submissions by several users, and the actor has made one.",
        "Somebody else must submit it too.";
    PeopleOnly "people-only" 403 "The step counts people",
        "The step has a quorum: so many different people must submit it. An API key is a service and no person, and neither is a hook or another workflow, whatever roles it has.",
        "Have a person submit it. A service that has authenticated its user submits in a session that it opened on behalf of that user.";
    AlreadyCancelled "already-cancelled" 409 "The transaction is being cancelled",
        "It is being undone, or waits for an operator to undo it.",
        "Wait for its end, or look at `stuck`.";
    AlreadyEnded "already-ended" 409 "The transaction has ended",
        "Nothing more can happen to it.",
        "Start a new one.";
    AlreadyOpen "already-open" 409 "One is open already",
        "The workflow allows one open transaction with this value, and there is one.",
        "Finish or cancel that one first.";
    ChallengeNotOpen "challenge-not-open" 409 "No code is waited for",
        "The one-time code was used or withdrawn, or none was issued.",
        "Take the step that issues a code.";
    Claimed "claimed" 409 "Somebody else has claimed the step",
        "The step and its siblings are claimed until the time that `detail` names.",
        "Wait, or ask for the claim to be given up.";
    NoResendsLeft "no-resends-left" 409 "No further code can be sent",
        "As many codes were sent as the workflow allows.",
        "Use the last one, or start again.";
    NotClaimable "not-claimable" 409 "The step cannot be claimed",
        "The definition gives the step no `claim`.",
        "Submit it without a claim, or add `claim: 1h` to the step in the definition.";
    NotStuck "not-stuck" 409 "The transaction is not stuck",
        "It goes on by itself.",
        "There is nothing to repair.";
    CallbackLate "callback-late" 410 "Nobody waits for this callback any more",
        "The callback was used already, its time is up, or the transaction went another way.",
        "Nothing needs to be done; the transaction goes on without it.";
    Paused "paused" 409 "The transaction is paused",
        "An operator has paused it: no step can be submitted and no timer fires until it is resumed.",
        "Wait until an operator resumes it.";
    CannotMigrate "cannot-migrate" 409 "The transaction does not fit into the version",
        "A step that waits in it is missing there, or waits for something else, or its open branches are others. `detail` says which.",
        "Map its steps with `steps`, or leave it in its version.";
    PastPivot "past-pivot" 409 "The transaction can only go forward",
        "It has passed the step after which nothing is undone.",
        "Go on with it; what went wrong is made good by another one.";
    ReferenceTaken "reference-taken" 409 "The reference was used",
        "A transaction of this workflow was started with this reference and another input, or may not be seen by the actor.",
        "Take a new reference, or find that transaction.";
    StepNotOpen "step-not-open" 409 "The step is not open",
        "The transaction does not wait for this step now: it was taken, is not yet reached, or the time is up. `open_steps` names those that are open.",
        "Read the transaction and submit one of its open steps.";
    StepUsedUp "step-used-up" 409 "The step was submitted as often as it may be",
        "The workflow limits how often it may be submitted.",
        "Take another way, or start again.";
    TooManyRounds "too-many-rounds" 409 "The transaction has gone on for too long",
        "As many steps were opened in it as may be.",
        "Cancel it and start a new one.";
    TooManySteps "too-many-steps" 409 "Automatic steps run on and on",
        "More automatic steps follow each other than one commit takes.",
        "Correct the workflow: a loop must pass a step that waits.";
    LinkDepthExceeded "link-depth-exceeded" 409 "Transactions lead to each other too far",
        "A step starts or submits other transactions, which do the same, further than one commit goes, or in a circle.",
        "Correct the workflows: let a step that waits stand between them.";
    WorkflowRetired "workflow-retired" 409 "The workflow is retired",
        "It takes no new starts; open transactions go on.",
        "Use the workflow that took its place.";
    CodeExpired "code-expired" 422 "The code has expired",
        "The one-time code was given after its time. The attempt counts.",
        "Have a new one sent: POST .../challenges/{id}/resend.";
    WrongCode "wrong-code" 422 "The code is wrong",
        "The one-time code is not the one that was issued. The attempt counts, and after the last one the transaction goes another way.",
        "Give the code that was sent last.";
    ExpressionFailed "expression-failed" 422 "An expression of the workflow failed",
        "Something that the workflow reads is not there or is of another kind: a missing reference value, a text where a number is due. Or it is more work than one request may be: too many elements, records or effects. Nothing was changed.",
        "Correct the input; if that is right, the workflow or its reference values need a correction.";
    RefusedByGuard "refused-by-guard" 422 "A guard of the workflow refuses this",
        "The workflow has a rule of its own for this step, and it does not hold. `code` is the one that the workflow gives, `detail` its words.",
        "Do what `detail` says.";
    InvalidWorkflow "invalid-workflow" 422 "The definition is not valid",
        "The document is no workflow in version 1 of the language. `errors` lists everything that is wrong, each with a JSON Pointer, line and column.",
        "Correct what `errors` lists; `abide workflow check FILE` prints the same.";
    IdempotencyKeyReused "idempotency-key-reused" 422 "The Idempotency-Key belongs to another request",
        "The key was used with another method, path, query or body; where the path or query says `current`, with another session. Keys are the user's, in all sessions, and live for 24 hours. Of one actor 20 000 000 keys or 8 GiB are live at a time, unless the configuration says otherwise (`idempotency_keys_max`, `idempotency_bytes_max`); beyond that no request is refused, but the oldest keys are forgotten early.",
        "Take a new key for a new request.";
    RateLimited "rate-limited" 429 "Too many requests",
        "More requests were made than the limit that RateLimit-Policy gives. `detail` says what is counted and for whom: requests of an address or an actor, logins from an address, passwords proved in sessions of a user, or anonymous sessions from an address; streams, sockets and waits of an actor that are open, reads of an actor that wait, or answers that an actor has not read.",
        "Wait `Retry-After` seconds, read the answers that are on their way, and close streams that nobody reads.";
    TooManyAttempts "too-many-attempts" 429 "Too many failed attempts",
        "A password or a one-time code was wrong repeatedly; `detail` says what was counted. Wrong passwords count for the account and the address of a login, and in a session that is open for that session alone. Wrong one-time codes count over all transactions: for the user (for an anonymous session also for its address), and for the values that the code is bound to. Each further failure doubles the wait, up to 15 minutes; one failure is forgotten every 15 minutes, and a success forgets those before it. While there is a wait nothing is checked and nothing counts, also where the secret is right.",
        "Wait `Retry-After` seconds. Sessions that are open already go on.";
    UpgradeRequired "upgrade-required" 426 "Another protocol is needed",
        "This call opens a WebSocket of version 13 (RFC 6455), and the handshake names another version or none.",
        "Send `Sec-WebSocket-Version: 13`, as the answer says. WebSocket libraries of today do.";
    HeadersTooLarge "headers-too-large" 431 "The headers are too large",
        "The head of the request has more bytes or lines than the server reads.",
        "Send fewer or shorter headers.";
    Internal "internal" 500 "The server failed",
        "A fault of the server; nothing of the request was committed. The log has the cause under the request id.",
        "Try again; report it with the request id if it stays.";
    MethodNotImplemented "method-not-implemented" 501 "No such method",
        "The server does not know this method.",
        "Use one of GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS.";
    Busy "busy" 503 "Too much to do at the moment",
        "A queue is full, or the actor has too many requests waiting (512, or a quarter of the queue's memory). The request was refused before any of it was done.",
        "Send fewer requests at a time. Try again after `Retry-After` seconds, with the same Idempotency-Key.";
    Stopping "stopping" 503 "The server is not serving",
        "The server is stopping, or its store has stopped after a failed write. Whether a change that was under way has happened is settled by a retry with its Idempotency-Key.",
        "Try again after `Retry-After` seconds, with the same Idempotency-Key.";
    NotReady "not-ready" 503 "The server is not ready",
        "The server is starting or stopping, it cannot write, or it has done nothing for 5 s although something waits. `detail` says which.",
        "Send traffic elsewhere until `/readyz` answers 200.";
    NoRoom "no-room" 507 "The disk is nearly full",
        "The data directory's disk has no room for ordinary writes. Reads and logouts work.",
        "Free some room on the server; writes come back by themselves.";
}

impl Code {
    /// The code as it is sent, in kebab case.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        self.row().code
    }

    /// The status that every answer with this code has.
    #[must_use]
    pub fn status(self) -> StatusCode {
        StatusCode::from_u16(self.row().status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    /// One line for a person.
    #[must_use]
    pub const fn title(self) -> &'static str {
        self.row().title
    }

    /// When the server sends it.
    #[must_use]
    pub const fn meaning(self) -> &'static str {
        self.row().meaning
    }

    /// Advice for the caller.
    #[must_use]
    pub const fn remedy(self) -> &'static str {
        self.row().remedy
    }

    /// The code with this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|code| code.as_str() == name)
    }
}

#[cfg(test)]
mod tests {
    use super::Code;

    #[test]
    fn names_are_unique_kebab_case_and_statuses_are_errors() {
        for (at, code) in Code::ALL.iter().enumerate() {
            let name = code.as_str();
            assert!(name.bytes().all(|b| b.is_ascii_lowercase() || b == b'-'), "{name}");
            assert!(code.status().is_client_error() || code.status().is_server_error(), "{name}");
            assert_eq!(Code::ALL.iter().position(|other| other.as_str() == name), Some(at));
            assert_eq!(Code::named(name), Some(*code));
            assert!(!code.meaning().is_empty() && !code.remedy().is_empty());
        }
    }
}
