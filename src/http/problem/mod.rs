//! The only place that maps errors to statuses: RFC 9457 problem documents.
//!
//! A refusal is a [`Problem`]; its creator chooses a [`Code`], and the code decides the status. The
//! sentences in `detail` never hold a path of the server, a secret or a panic's text.

mod codes;

use std::borrow::Cow;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::Serialize;

pub use codes::Code;

use crate::engine::{self, Refusal};
use crate::types::{Revision, StepName};

/// A restart takes about this long.
const STOPPING_RETRY_S: u32 = 2;

/// The media type of a problem document.
pub const MEDIA_TYPE: &str = "application/problem+json";

/// A refusal, before it becomes an answer.
#[derive(Clone, Debug)]
pub struct Problem {
    /// Problem code; decides the status.
    pub code: Code,
    /// Fault of this request, and what to do about it.
    pub detail: Cow<'static, str>,
    /// Each wrong field.
    pub errors: Vec<FieldError>,
    /// Current revision of the thing, if the caller did not have it.
    pub revision: Option<Revision>,
    /// Delay, in seconds, after which a retry is worthwhile.
    pub retry_after_s: Option<u32>,
    /// The methods that the path takes, for 405.
    pub allow: Option<String>,
    /// Details from a workflow or the ledger.
    pub workflow: Option<Box<OfWorkflow>>,
}

/// Details that a workflow or the ledger adds to a problem.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OfWorkflow {
    /// The code that it gives to its own refusal.
    pub code: Option<Arc<str>>,
    /// The steps that are open instead.
    pub open_steps: Option<Vec<StepName>>,
    /// The account that it is about.
    pub account: Option<Box<str>>,
}

/// One wrong field of the input.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct FieldError {
    /// Location: a JSON Pointer (RFC 6901) into the body, or into the query parameters as an
    /// object.
    pub pointer: String,
    /// Kind of the fault, in kebab case.
    #[schemars(with = "String")]
    pub code: Cow<'static, str>,
    /// The fault in words.
    pub message: String,
}

impl FieldError {
    /// A fault of the field at `pointer`.
    #[must_use]
    pub fn new(
        pointer: impl Into<String>,
        code: impl Into<Cow<'static, str>>,
        message: impl Into<String>,
    ) -> Self {
        Self { pointer: pointer.into(), code: code.into(), message: message.into() }
    }
}

/// A problem as it is sent (RFC 9457).
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Problem")]
pub struct ProblemDocument<'a> {
    /// A page that explains the code.
    #[serde(rename = "type")]
    pub kind: String,
    /// One line for a person, the same for every problem with this code.
    pub title: &'a str,
    /// The status of the answer.
    #[schemars(range(min = 400, max = 599))]
    pub status: u16,
    /// Fault of this request, and what to do about it.
    pub detail: &'a str,
    /// Names the problem for programs; one code has one status. A workflow's own codes all have
    /// the `type` `/problems/refused-by-guard`.
    pub code: &'a str,
    /// The request's id, as in `X-Request-Id` and in the server's log.
    pub instance: &'a str,
    /// Each wrong field.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    #[schemars(default)]
    pub errors: &'a [FieldError],
    /// The steps of the transaction that are open.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Vec<String>", default)]
    pub open_steps: Option<&'a [StepName]>,
    /// The account that it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", default)]
    pub account: Option<&'a str>,
    /// The current revision of the thing.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "u64", default)]
    pub revision: Option<u64>,
    /// Delay, in seconds, after which a retry is worthwhile.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "u32", default)]
    pub retry_after_s: Option<u32>,
}

impl Problem {
    /// A problem with a sentence about this case.
    #[must_use]
    pub fn new(code: Code, detail: impl Into<Cow<'static, str>>) -> Self {
        Self {
            code,
            detail: detail.into(),
            errors: Vec::new(),
            revision: None,
            retry_after_s: None,
            allow: None,
            workflow: None,
        }
    }

    /// A problem without details beyond the meaning of its code.
    #[must_use]
    pub fn plain(code: Code) -> Self {
        Self::new(code, code.meaning())
    }

    /// Wrong fields of the input ([`Code::InvalidInput`]).
    #[must_use]
    pub fn fields(errors: Vec<FieldError>) -> Self {
        let detail = match errors.as_slice() {
            [only] if only.pointer.is_empty() => Cow::Owned(only.message.clone()),
            [only] => Cow::Owned(format!("{}: {}", only.pointer, only.message)),
            many => Cow::Owned(format!("{} fields do not fit; see `errors`", many.len())),
        };
        Self { errors, ..Self::new(Code::InvalidInput, detail) }
    }

    /// One wrong field of the input ([`Code::InvalidInput`]).
    #[must_use]
    pub fn field(pointer: &str, code: &'static str, message: impl Into<String>) -> Self {
        Self::fields(vec![FieldError::new(pointer, code, message)])
    }

    /// The same, with a retry that is worthwhile after `seconds`.
    #[must_use]
    pub fn retry_after(self, seconds: u32) -> Self {
        Self { retry_after_s: Some(seconds), ..self }
    }

    /// The same, with the wrong fields.
    #[must_use]
    pub fn with_errors(self, errors: Vec<FieldError>) -> Self {
        Self { errors, ..self }
    }

    /// The same, with the current revision of the thing.
    #[must_use]
    pub fn at_revision(self, revision: Revision) -> Self {
        Self { revision: Some(revision), ..self }
    }

    /// The document for the request with this id, as bytes of JSON.
    #[must_use]
    pub fn document(&self, request_id: &str) -> Vec<u8> {
        let said = self.workflow.as_deref();
        let document = ProblemDocument {
            kind: format!("/problems/{}", self.code.as_str()),
            title: self.code.title(),
            status: self.code.status().as_u16(),
            detail: &self.detail,
            code: said.and_then(|said| said.code.as_deref()).unwrap_or(self.code.as_str()),
            instance: request_id,
            errors: &self.errors,
            open_steps: said.and_then(|said| said.open_steps.as_deref()),
            account: said.and_then(|said| said.account.as_deref()),
            revision: self.revision.map(Revision::get),
            retry_after_s: self.retry_after_s,
        };
        // Strings and numbers always serialize; an empty document would still carry its status.
        serde_json::to_vec(&document).unwrap_or_default()
    }
}

impl From<Code> for Problem {
    fn from(code: Code) -> Self {
        Self::plain(code)
    }
}

impl From<&Refusal> for Problem {
    fn from(refusal: &Refusal) -> Self {
        let code = match refusal {
            Refusal::Unauthenticated => Code::Unauthenticated,
            Refusal::InvalidCredentials => Code::InvalidCredentials,
            Refusal::InvalidSignature(_) => Code::InvalidSignature,
            Refusal::TooManyAttempts { .. } => Code::TooManyAttempts,
            Refusal::NotAllowed(_) => Code::NotAllowed,
            Refusal::ElevationNeeded => Code::ElevationNeeded,
            Refusal::NotFound(_) => Code::NotFound,
            Refusal::UsernameTaken => Code::UsernameTaken,
            Refusal::RevisionMismatch { .. } | Refusal::NothingToMatch => Code::RevisionMismatch,
            Refusal::InvalidInput(_) => Code::InvalidInput,
            Refusal::TooLarge { .. } => Code::TooLarge,
            Refusal::PatchFailed(_) => Code::PatchFailed,
            Refusal::LinkNotValid => Code::LinkNotValid,
            Refusal::Undisclosed(refusal) => Self::from(&**refusal).code,
            Refusal::InsufficientFunds(_) => Code::InsufficientFunds,
            Refusal::AssetMismatch => Code::AssetMismatch,
            Refusal::AccountClosed(_) => Code::AccountClosed,
            Refusal::AccountFrozen(_) => Code::AccountFrozen,
            Refusal::UnknownAccount(_) | Refusal::NoSuchAccount(_) => Code::UnknownAccount,
            Refusal::UnknownAsset(_) => Code::UnknownAsset,
            Refusal::HoldNotOpen(_) | Refusal::NoSuchHold(_) => Code::HoldNotOpen,
            Refusal::ExceedsHold(_) => Code::ExceedsHold,
            Refusal::AmountNotExact => Code::AmountNotExact,
            Refusal::AmountOutOfRange => Code::AmountOutOfRange,
            Refusal::NotYourAccount(_) => Code::NotYourAccount,
            Refusal::SameAccount => Code::SameAccount,
            Refusal::AccountExists(_) => Code::AccountExists,
            Refusal::AccountNotEmpty(_) => Code::AccountNotEmpty,
            Refusal::AssetInUse { .. } => Code::AssetInUse,
            Refusal::TransferIdTaken(_) => Code::TransferIdTaken,
            Refusal::HoldIdTaken(_) => Code::HoldIdTaken,
            Refusal::AlreadyReversed { .. } => Code::AlreadyReversed,
            Refusal::LimitReached { .. } => Code::LimitReached,
            Refusal::LastAdministrator => Code::LastAdministrator,
            Refusal::ExpressionFailed(_) => Code::ExpressionFailed,
            Refusal::Guard { .. } => Code::RefusedByGuard,
            Refusal::StepNotOpen { .. } => Code::StepNotOpen,
            Refusal::Claimed { .. } => Code::Claimed,
            Refusal::NotClaimable => Code::NotClaimable,
            Refusal::StepUsedUp { .. } => Code::StepUsedUp,
            Refusal::AlreadyCounted => Code::AlreadyCounted,
            Refusal::PeopleOnly => Code::PeopleOnly,
            Refusal::WrongCode { .. } => Code::WrongCode,
            Refusal::CodeExpired { .. } => Code::CodeExpired,
            Refusal::ChallengeNotOpen => Code::ChallengeNotOpen,
            Refusal::NoResendsLeft => Code::NoResendsLeft,
            Refusal::AlreadyEnded => Code::AlreadyEnded,
            Refusal::AlreadyCancelled => Code::AlreadyCancelled,
            Refusal::PastPivot => Code::PastPivot,
            Refusal::NotStuck => Code::NotStuck,
            Refusal::CallbackLate => Code::CallbackLate,
            Refusal::Paused => Code::Paused,
            Refusal::CannotMigrate(_) => Code::CannotMigrate,
            Refusal::AlreadyOpen => Code::AlreadyOpen,
            Refusal::ReferenceTaken => Code::ReferenceTaken,
            Refusal::WorkflowRetired => Code::WorkflowRetired,
            Refusal::TooManySteps { .. } => Code::TooManySteps,
            Refusal::TooManyRounds { .. } => Code::TooManyRounds,
            Refusal::LinkDepthExceeded { .. } => Code::LinkDepthExceeded,
            Refusal::IdempotencyKeyReused => Code::IdempotencyKeyReused,
            Refusal::IdempotencyKeyNotSupported => Code::IdempotencyKeyNotSupported,
            Refusal::AnswerGone => Code::AnswerGone,
            Refusal::Busy { .. } => Code::Busy,
            Refusal::NoRoom => Code::NoRoom,
            Refusal::Stopping => Code::Stopping,
        };
        let mut problem = match refusal {
            Refusal::InvalidInput(errors) => {
                let field = |error: &engine::InputError| {
                    FieldError::new(error.pointer.clone(), error.code, error.message.clone())
                };
                Self::fields(errors.iter().map(field).collect())
            }
            Refusal::RevisionMismatch { current } => {
                Self::new(code, refusal.to_string()).at_revision(*current)
            }
            Refusal::Guard { code: name, .. } => {
                let said = OfWorkflow { code: Some(name.clone()), ..OfWorkflow::default() };
                Self { workflow: Some(said.into()), ..Self::new(code, refusal.to_string()) }
            }
            Refusal::StepNotOpen { open_steps } => {
                let said =
                    OfWorkflow { open_steps: Some(open_steps.clone()), ..OfWorkflow::default() };
                Self { workflow: Some(said.into()), ..Self::new(code, refusal.to_string()) }
            }
            _ => Self::new(code, refusal.to_string()),
        };
        if let Some(account) = refusal.account() {
            let said = OfWorkflow { account: Some(account.into()), ..OfWorkflow::default() };
            problem.workflow = Some(said.into());
        }
        problem.retry_after_s = refusal
            .retry_after()
            .map(|span| u32::try_from(span.seconds_up()).unwrap_or(u32::MAX))
            .or((code == Code::Stopping).then_some(STOPPING_RETRY_S));
        problem
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        Self::from(&refusal)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panic")]

    use serde_json::{Value, json};

    use super::{Code, FieldError, Problem};
    use crate::types::Revision;

    #[test]
    fn a_document_has_the_members_of_rfc_9457_and_ours() {
        let problem = Problem::new(Code::RevisionMismatch, "it is at 7")
            .at_revision(Revision::new(7))
            .retry_after(2)
            .with_errors(vec![FieldError::new("/a", "wrong-type", "a number is due")]);
        let document: Value = serde_json::from_slice(&problem.document("r-1")).unwrap();
        assert_eq!(
            document,
            json!({
                "type": "/problems/revision-mismatch",
                "title": "It has changed meanwhile",
                "status": 412,
                "detail": "it is at 7",
                "code": "revision-mismatch",
                "instance": "r-1",
                "errors": [{"pointer": "/a", "code": "wrong-type", "message": "a number is due"}],
                "revision": 7,
                "retry_after_s": 2,
            })
        );
    }

    #[test]
    fn what_does_not_apply_is_left_out() {
        let document: Value =
            serde_json::from_slice(&Problem::plain(Code::NotFound).document("r")).unwrap();
        for absent in ["errors", "revision", "retry_after_s"] {
            assert!(document.get(absent).is_none(), "{absent}");
        }
    }
}
