//! Inputs of a decision that only the shell can provide: randomness, hashes, the origin of the
//! request.

use std::sync::Arc;

use super::digest::Digest;
use crate::engine::transaction::CheckedInput;
use crate::engine::{Counted, Counter, Preconditions, Refusal};
use crate::types::{KeyId, SessionId, Token, UserId};

/// Result of a password check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PasswordCheck {
    /// Owner of the hash that the password was checked against; `None`: there is no such user, and
    /// a dummy hash was checked to take the same time.
    pub user: Option<UserId>,
    /// [`User::credential`] of that user at the time of the check.
    pub credential: u64,
    /// True if the password matched.
    pub matched: bool,
}

/// State of the check of the password that a command proves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PasswordEvidence {
    /// The command proves no password, or it was not checked.
    Unchecked,
    /// The password was checked.
    Checked(PasswordCheck),
    /// The password counts as right, and a new one as hashed. Only [`precheck`](super::precheck)
    /// decides with it, and its decision is discarded.
    Assumed,
}

/// Inputs that the shell gathers before the decision of a command: randomness, hashes, origin.
#[derive(Clone, Debug)]
pub struct CommandInputs {
    /// State of the check of the password that the command proves.
    pub password: PasswordEvidence,
    /// Hash of the command's new password, or of the proved one under stronger parameters.
    pub password_hash: Option<Arc<str>>,
    /// Id for a new session.
    pub session: SessionId,
    /// Id for a new user.
    pub user: UserId,
    /// Id for a new API key.
    pub key: KeyId,
    /// Value of [`DecisionContext::seed`].
    pub seed: u128,
    /// A new token, of the kind that the command hands out ([`Command::hands_out`]).
    pub token: Option<Token>,
    /// Key of the counter of wrong passwords: the account's for a login, the session's otherwise.
    pub account: Digest,
    /// Network from which the command comes, where failures may count for it.
    pub origin: Option<Digest>,
    /// Hash of the command's [`StoredKey`](crate::engine::StoredKey).
    pub stored: Digest,
    /// IP address of the client.
    pub address: Option<Arc<str>>,
    /// `User-Agent` of the client.
    pub agent: Option<Arc<str>>,
    /// The command's input, if the shell checked it before the command's turn because the check is
    /// slow.
    pub checked: Option<Arc<CheckedInput>>,
    /// Conditions of the request (`If-Match`, `If-None-Match`).
    pub preconditions: Option<Box<Preconditions>>,
}

impl CommandInputs {
    /// Returns the new token. The shell provides one for each command that answers with one.
    pub(in crate::engine) fn token(&self) -> Result<&Token, Refusal> {
        self.token.as_ref().ok_or(Refusal::Stopping)
    }

    /// Returns the counters of a login.
    pub(in crate::engine) fn login_counters(&self) -> Vec<Counter> {
        let account = Counter { digest: self.account, counted: Counted::Logins };
        let from = |digest| Counter { digest, counted: Counted::LoginsFrom };
        std::iter::once(account).chain(self.origin.map(from)).collect()
    }

    /// Returns the counters of a password check in an open session. They are separate from those of
    /// the login, so that failed logins from elsewhere do not lock the session out.
    pub(in crate::engine) fn session_counters(&self) -> Vec<Counter> {
        vec![Counter { digest: self.account, counted: Counted::InSession }]
    }
}
