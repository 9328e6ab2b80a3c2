//! Inputs of a decision that only the world has: randomness, hashes, the origin of the request.

use std::sync::Arc;

use super::digest::Digest;
use crate::engine::transaction::CheckedInput;
use crate::engine::{Counted, Counter, Preconditions, Refusal};
use crate::types::{KeyId, SessionId, Token, UserId};

/// Whether a password was proved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PasswordCheck {
    /// Whose hash it was checked against; `None`: there was none, and a hash that nobody has was
    /// checked, for the same work.
    pub user: Option<UserId>,
    /// That user's [`User::credential`].
    pub credential: u64,
    /// Whether it matched.
    pub matched: bool,
}

/// Evidence for the password that a command proves.
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

/// What a command needs that only the world has: randomness, hashes, where it came from.
#[derive(Clone, Debug)]
pub struct CommandInputs {
    /// Evidence for the password that the command proves.
    pub password: PasswordEvidence,
    /// Hash of the command's new password, or of the proved one under stronger parameters.
    pub password_hash: Option<Arc<str>>,
    /// A new session's id.
    pub session: SessionId,
    /// A new user's id.
    pub user: UserId,
    /// A new key's id.
    pub key: KeyId,
    /// For [`DecisionContext::seed`].
    pub seed: u128,
    /// A new token, of the kind that the command hands out ([`Command::hands_out`]).
    pub token: Option<Token>,
    /// Key of the counter of wrong passwords: the account's for a login, the session's otherwise.
    pub account: Digest,
    /// Network from which the command comes, where failures may count for it.
    pub origin: Option<Digest>,
    /// The hash of the command's [`StoredKey`](crate::engine::StoredKey).
    pub stored: Digest,
    /// The address.
    pub address: Option<Arc<str>>,
    /// The `User-Agent`.
    pub agent: Option<Arc<str>>,
    /// The command's input, if it was checked before its turn because that takes long.
    pub checked: Option<Arc<CheckedInput>>,
    /// On which conditions the command is done.
    pub preconditions: Option<Box<Preconditions>>,
}

impl CommandInputs {
    /// The new token. It is there for each command that hands one out.
    pub(in crate::engine) fn token(&self) -> Result<&Token, Refusal> {
        self.token.as_ref().ok_or(Refusal::Stopping)
    }

    /// The counters of a login.
    pub(in crate::engine) fn login_counters(&self) -> Vec<Counter> {
        let account = Counter { digest: self.account, counted: Counted::Logins };
        let from = |digest| Counter { digest, counted: Counted::LoginsFrom };
        std::iter::once(account).chain(self.origin.map(from)).collect()
    }

    /// The counter of a password that is proved in a session: of nothing else, so that whoever
    /// guesses elsewhere keeps nobody out of a session that is open.
    pub(in crate::engine) fn session_counters(&self) -> Vec<Counter> {
        vec![Counter { digest: self.account, counted: Counted::InSession }]
    }
}
