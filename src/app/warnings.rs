//! Warnings about a definition: names of things that do not exist yet, which may be typing errors.

use std::collections::BTreeSet;

use super::application::App;
use crate::engine::workflow::Definition;
use crate::engine::{Record, RecordKey, Refusal};
use crate::records::{Key, ReadError, read_record};
use crate::store::{KeyRange, Order, PAGE_ROWS_MAX, View};
use crate::types::{AccountId, Role, WorkflowName};

/// Maximum number of users and API keys that are examined for a role; with more there is no
/// warning.
const EXAMINED_MAX: usize = 2000;

const UNKNOWN_SECRET: &str = "unknown-secret";
const UNKNOWN_HOOK: &str = "unknown-hook";

/// A warning: a definition names something that does not exist yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DefinitionWarning {
    /// `unknown-account`, `unknown-workflow`, `unknown-secret`, `unknown-hook` or `unknown-role`.
    pub code: &'static str,
    /// Text for people.
    pub message: String,
}

impl DefinitionWarning {
    /// Returns whether the configuration lacks the thing, so that it cannot appear while the server
    /// runs.
    #[must_use]
    pub fn is_of_configuration(&self) -> bool {
        matches!(self.code, UNKNOWN_SECRET | UNKNOWN_HOOK)
    }
}

impl App {
    /// Returns the accounts, workflows, secrets, hooks and roles that a definition names and that
    /// do not exist yet.
    ///
    /// # Errors
    /// [`Refusal::Stopping`]
    pub fn definition_warnings(
        &self,
        definition: &Definition,
    ) -> Result<Vec<DefinitionWarning>, Refusal> {
        let mut found = Vec::new();
        for name in definition.literal_accounts() {
            let Ok(id) = name.parse::<AccountId>() else { continue };
            if self.is_absent(&RecordKey::Account(id))? {
                let message =
                    format!("there is no account `{name}` yet; until there is, it is refused");
                found.push(DefinitionWarning { code: "unknown-account", message });
            }
        }
        for name in definition.literal_workflows() {
            let Ok(workflow) = name.parse::<WorkflowName>() else { continue };
            if workflow != definition.name && self.is_absent(&RecordKey::Workflow(workflow))? {
                let message =
                    format!("there is no workflow `{name}` yet; until there is, it is refused");
                found.push(DefinitionWarning { code: "unknown-workflow", message });
            }
        }
        found.extend(self.unknown_secrets(definition));
        for role in self.roles_of_nobody(definition)? {
            let message = format!("nobody has the role `{role}` yet");
            found.push(DefinitionWarning { code: "unknown-role", message });
        }
        Ok(found)
    }

    fn unknown_secrets(&self, definition: &Definition) -> Vec<DefinitionWarning> {
        let Some(known) = &self.secret_names else { return Vec::new() };
        let mut found = Vec::new();
        for name in definition.secrets() {
            if known.contains(&name) {
                continue;
            }
            let message = if self.hooks.iter().any(|hook| hook.secret == name) {
                format!(
                    "the secret `{name}` is a hook's, and no definition may send it; a request that names it is not sent"
                )
            } else {
                format!(
                    "there is no secret `{name}` (ABIDE_SECRET_{name}, or `{name}` in the table [secrets]); until there is, a request that names it is not sent"
                )
            };
            found.push(DefinitionWarning { code: UNKNOWN_SECRET, message });
        }
        for name in definition.hooks() {
            if !self.hooks.iter().any(|hook| hook.name == *name) {
                let message = format!(
                    "there is no hook `{name}` ([hooks.{name}] in the file of settings); until there is, it submits nothing"
                );
                found.push(DefinitionWarning { code: UNKNOWN_HOOK, message });
            }
        }
        found
    }

    fn is_absent(&self, record_key: &RecordKey) -> Result<bool, Refusal> {
        Ok(self.guard(read_record(&*self.store, View::Committed, record_key))?.is_none())
    }

    fn roles_of_nobody<'d>(
        &self,
        definition: &'d Definition,
    ) -> Result<BTreeSet<&'d Role>, Refusal> {
        let given = definition.granted_roles();
        let mut missing: BTreeSet<&Role> = definition.roles();
        missing.retain(|role| !role.is_power() && !given.contains(*role));
        let mut examined = 0;
        for prefix in [Key::USERS, Key::API_KEYS] {
            let mut range = KeyRange::prefix(prefix);
            loop {
                if missing.is_empty() {
                    return Ok(missing);
                }
                let page =
                    self.store.scan(View::Committed, &range, Order::Ascending, PAGE_ROWS_MAX);
                let page = self.guard(page.map_err(ReadError::from))?;
                for row in &page.rows {
                    let record_key = match Key::decode(&row.key) {
                        Some(Key::User(id)) => RecordKey::User(id),
                        Some(Key::ApiKey(id)) => RecordKey::Key(id),
                        _ => continue,
                    };
                    let loaded =
                        self.guard(read_record(&*self.store, View::Committed, &record_key))?;
                    let roles = match loaded.as_ref().map(|(record, _)| &**record) {
                        Some(Record::User(user)) => user.roles.clone(),
                        Some(Record::Key(key)) => key.roles.clone(),
                        _ => continue,
                    };
                    missing.retain(|role| !roles.contains(role));
                }
                examined += page.rows.len();
                if examined > EXAMINED_MAX {
                    return Ok(BTreeSet::new());
                }
                let Some(next) = page.next else { break };
                range = range.after(next);
            }
        }
        Ok(missing)
    }
}
