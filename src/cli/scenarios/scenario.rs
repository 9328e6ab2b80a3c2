//! Scenario files: what is given, what is done, what is expected.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;
use serde_saphyr::Spanned;

use super::calls::Answers;
use crate::types::{Span, Time};

/// When scenarios begin that do not say when: a Monday.
const BEGIN: &str = "2030-01-07T09:00:00Z";

/// A file of scenarios.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct File {
    /// The documents that are published, beside the file. Default: `NAME.yaml` for
    /// `NAME.scenarios.yaml`, or none if there is a `definition`.
    pub(super) workflows: Option<Vec<String>>,
    /// A document, right here.
    pub(super) definition: Option<String>,
    /// Documents, right here, that belong together.
    #[serde(default)]
    pub(super) definitions: Vec<String>,
    /// Setup of every scenario.
    #[serde(default)]
    pub(super) given: Given,
    /// The scenarios.
    pub(super) scenarios: Vec<Spanned<Scenario>>,
}

/// One scenario.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Scenario {
    /// Name, printed when the scenario fails.
    pub(super) name: String,
    /// Setup in addition to that of the file; an entry of the same name replaces that one.
    #[serde(default)]
    pub(super) given: Given,
    /// Steps, in order.
    pub(super) steps: Vec<Spanned<Step>>,
}

/// Setup of a scenario.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Given {
    /// When it begins.
    pub(super) now: Option<String>,
    /// Users, with their roles or more.
    #[serde(default)]
    pub(super) users: BTreeMap<String, UserGiven>,
    /// Names for anonymous sessions.
    #[serde(default)]
    pub(super) visitors: Vec<String>,
    /// API keys, with their roles.
    #[serde(default)]
    pub(super) services: BTreeMap<String, Vec<String>>,
    /// Assets, with their digits after the point; those of ISO 4217 are there.
    #[serde(default)]
    pub(super) assets: BTreeMap<String, u8>,
    /// Accounts.
    #[serde(default)]
    pub(super) accounts: BTreeMap<String, AccountGiven>,
    /// Reference values: sets of keys and values.
    #[serde(default)]
    pub(super) values: BTreeMap<String, BTreeMap<String, Value>>,
    /// Answers of other services.
    #[serde(default)]
    pub(super) answers: Answers,
}

/// A user that is given.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct UserGiven {
    /// Roles of the user.
    #[serde(default)]
    pub(super) roles: Vec<String>,
    /// Attributes of the user.
    pub(super) attributes: Option<serde_json::Map<String, Value>>,
}

/// An account that is given.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AccountGiven {
    /// The asset.
    pub(super) asset: String,
    /// The owner; absent: none.
    pub(super) owner: Option<String>,
    /// Balance, posted from the account `world:ASSET`.
    pub(super) balance: Option<String>,
    /// The least that may be available, or `none`.
    pub(super) floor: Option<String>,
}

/// Money that moves beside all workflows.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Payment {
    pub(super) from: String,
    pub(super) to: String,
    pub(super) amount: String,
}

/// One thing that happens, and what is expected then. At most one of the actions is there.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct Step {
    /// Starts a transaction of this workflow.
    pub(super) start: Option<String>,
    /// Submits this step.
    pub(super) submit: Option<String>,
    /// Claims this step.
    pub(super) claim: Option<String>,
    /// Gives up the claim of this step.
    pub(super) release: Option<String>,
    /// Asks for a new code of this challenge.
    pub(super) resend: Option<String>,
    /// Cancels this transaction.
    pub(super) cancel: Option<String>,
    /// Reads this transaction.
    pub(super) read: Option<String>,
    /// Finds the transaction of this workflow with the `reference`, of any owner.
    pub(super) find: Option<String>,
    /// An operator has this stuck transaction try again.
    pub(super) retry: Option<String>,
    /// An operator has this stuck transaction leave the step out.
    pub(super) skip: Option<String>,
    /// The visitor `by` logs in as this user.
    pub(super) login: Option<String>,
    /// The session of this user or visitor ends.
    pub(super) logout: Option<String>,
    /// Advances the clock by this time.
    pub(super) time_passes: Option<String>,
    /// The clock moves to this time: `+3d` after the beginning, or a time.
    pub(super) at: Option<String>,
    /// Nothing may leave this account from now on.
    pub(super) freeze: Option<String>,
    /// It may again.
    pub(super) thaw: Option<String>,
    /// This account is closed.
    pub(super) close: Option<String>,
    /// Money moves beside all workflows.
    pub(super) pay: Option<Payment>,
    /// Reference values change.
    pub(super) put: Option<BTreeMap<String, BTreeMap<String, Value>>>,
    /// Roles of users change.
    pub(super) roles: Option<BTreeMap<String, Vec<String>>>,
    /// The attempt at this call that hangs is answered.
    pub(super) answer: Option<String>,
    /// The service that this step called answers at the callback, with `input`.
    pub(super) callback: Option<String>,
    /// Answers of other services from now on.
    pub(super) answers: Option<Answers>,
    /// This user may not log in from now on.
    pub(super) disable: Option<String>,
    /// This user is deleted.
    pub(super) delete: Option<String>,

    /// The actor.
    pub(super) by: Option<String>,
    /// The transaction that it is done to, and that is looked at. Default: the last one that was
    /// started.
    pub(super) of: Option<String>,
    /// The name of the transaction that is started. Default: the workflow's.
    #[serde(rename = "as")]
    pub(super) named: Option<String>,
    /// Input of the request.
    pub(super) input: Option<Value>,
    /// The caller's own key of a start.
    pub(super) reference: Option<String>,
    /// `input.code` is the right code of this challenge.
    pub(super) code: Option<String>,
    /// `input.code` is a wrong code of this challenge.
    pub(super) wrong_code: Option<String>,
    /// Why: of `cancel` and `skip`.
    pub(super) reason: Option<String>,

    /// The code with which it is refused.
    pub(super) refused: Option<String>,
    /// The HTTP status of the refusal.
    pub(super) http_status: Option<u16>,
    /// Expected state afterwards.
    pub(super) expect: Option<Expect>,
}

/// Expected state.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct Expect {
    /// The transaction's status.
    pub(super) status: Option<String>,
    /// Its outcome.
    pub(super) outcome: Option<String>,
    /// Its open steps, in any order.
    pub(super) open: Option<Vec<String>>,
    /// A part of its data.
    pub(super) data: Option<Value>,
    /// The keys of the data that users may not read.
    pub(super) hidden: Option<BTreeMap<String, Vec<String>>>,
    /// The open steps that users may submit.
    pub(super) allowed: Option<BTreeMap<String, Vec<String>>>,
    /// The owner.
    pub(super) owner: Option<String>,
    /// Claimants of open steps, or `nobody`.
    pub(super) claimed: Option<BTreeMap<String, String>>,
    /// Its open holds by name: all of them, with what they still reserve.
    pub(super) holds: Option<BTreeMap<String, String>>,
    /// Balances: what is posted, or `{ posted, held, available }`; `closed`, or `absent`.
    pub(super) balances: Option<BTreeMap<String, Value>>,
    /// Events of this step, in this order; others may be among them.
    pub(super) events: Option<Vec<String>>,
    /// Events that must not be among those of this step.
    pub(super) no_events: Option<Vec<String>>,
    /// The transactions that wait for users.
    pub(super) inbox: Option<BTreeMap<String, Vec<String>>>,
    /// Roles of users.
    pub(super) roles: Option<BTreeMap<String, Vec<String>>>,
    /// The keys that services were asked with in this step, in order: `do pay/1`.
    pub(super) asked: Option<Vec<String>>,
    /// Time from the beginning to the transaction's next timer, or `none`.
    pub(super) timer: Option<String>,
}

impl Given {
    /// Merges the setup of the file with that of the scenario.
    pub(super) fn and(&self, more: &Self) -> Self {
        fn join<T: Clone>(
            one: &BTreeMap<String, T>,
            other: &BTreeMap<String, T>,
        ) -> BTreeMap<String, T> {
            one.iter().chain(other).map(|(key, value)| (key.clone(), value.clone())).collect()
        }
        let mut values = self.values.clone();
        for (set, more) in &more.values {
            values.entry(set.clone()).or_default().extend(more.clone());
        }
        Self {
            now: more.now.clone().or_else(|| self.now.clone()),
            users: join(&self.users, &more.users),
            visitors: self.visitors.iter().chain(&more.visitors).cloned().collect(),
            services: join(&self.services, &more.services),
            assets: join(&self.assets, &more.assets),
            accounts: join(&self.accounts, &more.accounts),
            values,
            answers: join(&self.answers, &more.answers),
        }
    }

    /// When it begins.
    ///
    /// # Errors
    /// What is wrong with `now`.
    pub(super) fn begin(&self) -> Result<Time, String> {
        let text = self.now.as_deref().unwrap_or(BEGIN);
        text.parse().map_err(|error| format!("`given.now`, {text}: {error}"))
    }
}

/// Reads a file.
///
/// # Errors
/// What is wrong with it, with its place.
pub(super) fn read(text: &str) -> Result<File, String> {
    serde_saphyr::from_str(text).map_err(|error| error.to_string())
}

/// A span of time as it is written.
///
/// # Errors
/// What is wrong with it.
pub(super) fn span(text: &str) -> Result<Span, String> {
    text.parse().map_err(|error| format!("`{text}`: {error}"))
}
