//! Limits on commands that wait for the executor: their number and memory are counted in all and
//! for each actor, so that one actor can neither fill the queue nor the memory behind it.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ahash::RandomState;
use serde_json::{Map, Value};

use crate::engine::{Actor, CallResult, Command, DataChange, Repair};

/// Maximum number of commands that wait for the executor. At some ten microseconds each, the last
/// one waits for some hundredths of a second; beyond it a caller gets 503 and retries.
pub(super) const QUEUE_MAX: usize = 4096;

/// Maximum number of commands of one actor that wait: an eighth of the queue.
const ACTOR_COMMANDS_MAX: usize = QUEUE_MAX / 8;

/// Percentage of the memory of the queue for clients; the rest is for the server's own commands.
const CLIENTS_PERCENT: usize = 75;

/// Percentage of that memory for one actor. A single command is always accepted: the largest body
/// of the smallest objects takes 22 MiB.
const ACTOR_PERCENT: usize = 25;

/// Memory of a command without its input, in bytes.
const COMMAND_BYTES: usize = 2 * 1024;

/// Memory of a JSON value itself, in bytes.
const VALUE_BYTES: usize = size_of::<Value>();

/// Memory of a node of an object's tree, in bytes, and the minimum number of entries that share
/// one.
const NODE_BYTES: usize = 640;
const NODE_ENTRIES: usize = 6;

/// Memory of an operation of a JSON patch without its value, in bytes.
const OPERATION_BYTES: usize = 256;

/// Memory of a compiled definition as a multiple of its source.
const DEFINITION_TIMES: usize = 16;

/// Owner of a quota: commands of one owner are counted together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(in crate::app) enum QuotaOwner {
    User(u128),
    Session(u128),
    Key(u128),
    /// A client without a token, by address.
    Address(u64),
    Hook(u64),
}

/// Waiting commands of one owner, and their memory.
#[derive(Clone, Copy, Debug, Default)]
struct Share {
    commands: usize,
    bytes: usize,
}

/// Counts the commands that wait, and limits them.
#[derive(Debug)]
pub(in crate::app) struct AdmissionControl {
    hasher: RandomState,
    /// Maximum memory of all commands that wait, in bytes.
    bytes_max: usize,
    commands: AtomicUsize,
    bytes: AtomicUsize,
    shares: Mutex<HashMap<QuotaOwner, Share, RandomState>>,
}

/// A command's share of the queue, until it is dropped.
#[derive(Debug)]
pub(in crate::app) struct Permit {
    admission: Arc<AdmissionControl>,
    quota_owner: Option<QuotaOwner>,
    bytes: usize,
}

impl AdmissionControl {
    /// Returns an admission control with a limit on the memory of all commands.
    pub(in crate::app) fn new(bytes_max: usize) -> Self {
        let hasher = RandomState::new();
        let (commands, bytes) = (AtomicUsize::new(0), AtomicUsize::new(0));
        Self { hasher, bytes_max, commands, bytes, shares: Mutex::default() }
    }

    /// Returns the memory of the commands that wait, in bytes.
    pub(in crate::app) fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Admits a command. Returns `None` if too much waits, of its owner or in all.
    pub(in crate::app) fn admit(
        self: &Arc<Self>,
        actor: &Actor,
        address: Option<&str>,
        command: &Command,
    ) -> Option<Permit> {
        let bytes = weight(command);
        let quota_owner = self.quota_owner(actor, address);
        let percent = if quota_owner.is_some() { CLIENTS_PERCENT } else { 100 };
        let most = self.bytes_max / 100 * percent;
        let most_of_one = self.bytes_max / 100 * ACTOR_PERCENT;
        let commands = self.commands.fetch_add(1, Ordering::Relaxed);
        let before = self.bytes.fetch_add(bytes, Ordering::Relaxed);
        // Its drop gives the share back if the command is refused.
        let mut permit = Permit { admission: Arc::clone(self), quota_owner: None, bytes };
        if commands >= QUEUE_MAX || before > 0 && before.saturating_add(bytes) > most {
            return None;
        }
        if let Some(quota_owner) = quota_owner {
            let mut shares = self.shares();
            let share = shares.entry(quota_owner).or_default();
            let is_too_much = share.commands >= ACTOR_COMMANDS_MAX
                || share.commands > 0 && share.bytes.saturating_add(bytes) > most_of_one;
            if is_too_much {
                return None;
            }
            share.commands += 1;
            share.bytes += bytes;
            permit.quota_owner = Some(quota_owner);
        }
        Some(permit)
    }

    fn shares(&self) -> MutexGuard<'_, HashMap<QuotaOwner, Share, RandomState>> {
        self.shares.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn quota_owner(&self, actor: &Actor, address: Option<&str>) -> Option<QuotaOwner> {
        match actor {
            Actor::System | Actor::Workflow(..) => None,
            Actor::Nobody => Some(QuotaOwner::Address(self.hasher.hash_one(address))),
            Actor::Hook(hook) => Some(QuotaOwner::Hook(self.hasher.hash_one(hook))),
            Actor::Key(key) => Some(QuotaOwner::Key(key.key.id.bits())),
            Actor::Session(session) => Some(match &session.user {
                Some(user) => QuotaOwner::User(user.id.bits()),
                None => QuotaOwner::Session(session.session.bits()),
            }),
        }
    }
}

impl Permit {
    /// Returns the owner of the quota; `None` for the server's own commands.
    pub(in crate::app) const fn quota_owner(&self) -> Option<QuotaOwner> {
        self.quota_owner
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.admission.commands.fetch_sub(1, Ordering::Relaxed);
        self.admission.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
        let Some(quota_owner) = self.quota_owner else { return };
        let mut shares = self.admission.shares();
        if let Some(share) = shares.get_mut(&quota_owner) {
            share.commands = share.commands.saturating_sub(1);
            share.bytes = share.bytes.saturating_sub(self.bytes);
            if share.commands == 0 {
                shares.remove(&quota_owner);
            }
        }
    }
}

/// Returns the memory of a command, in bytes, that depends on its input.
pub(in crate::app) fn weight(command: &Command) -> usize {
    let sent = match command {
        Command::Start(ask) => object(&ask.input),
        Command::Submit { input, .. } | Command::Deliver { input, .. } => value(input),
        Command::CallBack { body, .. } => value(body),
        Command::PutValue { value: put, .. } => value(put),
        Command::ChangeFacts { patch, .. } => object(patch),
        Command::ChangeSessionData { change, .. } | Command::ChangeUserData { change, .. } => {
            data_change(change)
        }
        Command::EndCall { result, .. } => match &**result {
            CallResult::Answered { headers, body, .. } => value(headers) + value(body),
            _ => 0,
        },
        Command::PutStored { data, .. }
        | Command::Repair { repair: Repair::Replace { data }, .. } => object(data),
        Command::CreateSchedule(ask) => object(&ask.input),
        Command::Publish { source, .. } => source.len() * DEFINITION_TIMES,
        Command::PostTransfers { transfers } => transfers.len() * COMMAND_BYTES,
        _ => 0,
    };
    COMMAND_BYTES + sent
}

fn data_change(change: &DataChange) -> usize {
    match change {
        DataChange::Replace(data) => object(data),
        DataChange::Merge(patch) => value(patch),
        DataChange::Patch(patch) => {
            let of = |operation: &json_patch::PatchOperation| match operation {
                json_patch::PatchOperation::Add(add) => value(&add.value),
                json_patch::PatchOperation::Replace(replace) => value(&replace.value),
                json_patch::PatchOperation::Test(test) => value(&test.value),
                _ => 0,
            };
            patch.0.iter().map(|operation| OPERATION_BYTES + of(operation)).sum()
        }
    }
}

fn object(entries: &Map<String, Value>) -> usize {
    let texts = entries.iter().map(|(key, of)| key.len() + value(of));
    entries.len().div_ceil(NODE_ENTRIES) * NODE_BYTES + texts.sum::<usize>()
}

fn value(json: &Value) -> usize {
    VALUE_BYTES
        + match json {
            Value::String(text) => text.len(),
            Value::Array(elements) => elements.iter().map(value).sum(),
            Value::Object(entries) => object(entries),
            _ => 0,
        }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use serde_json::json;

    use super::*;
    use crate::engine::StoredKey;

    const BYTES_MAX: usize = 64 * 1024 * 1024;

    fn put(data: Value) -> Command {
        let Value::Object(data) = data else { unreachable!("an object is put") };
        let key = StoredKey::new("k").unwrap();
        Command::PutStored { key, data, idle: None, user: None }
    }

    #[test]
    fn command_weighs_what_it_is_decoded() {
        let ones = put(json!({ "list": vec![1; 32_000] }));
        let weight = weight(&ones);
        assert!((1_000_000..1_100_000).contains(&weight), "64 KB of text are 1 MB: {weight}");
    }

    #[test]
    fn actor_that_has_its_share_waiting_is_refused_and_others_are_not() {
        let admission = Arc::new(AdmissionControl::new(BYTES_MAX));
        let command = put(json!({}));
        let admit = |address| admission.admit(&Actor::Nobody, Some(address), &command);
        let held: Vec<_> = std::iter::from_fn(|| admit("192.0.2.1")).collect();
        assert_eq!(held.len(), ACTOR_COMMANDS_MAX);
        assert!(admit("192.0.2.2").is_some());
        drop(held);
        assert!(admit("192.0.2.1").is_some());
        assert_eq!(admission.bytes(), 0);
        assert!(admission.shares().is_empty());
    }

    #[test]
    fn waiting_commands_are_bounded_by_bytes_for_an_actor_and_for_all() {
        let admission = Arc::new(AdmissionControl::new(BYTES_MAX));
        let large = put(json!({ "text": "x".repeat(1024 * 1024) }));
        let mut held = Vec::new();
        let fill = |address: &str, held: &mut Vec<Permit>| {
            let before = held.len();
            let admit = || admission.admit(&Actor::Nobody, Some(address), &large);
            held.extend(std::iter::from_fn(admit));
            held.len() - before
        };
        assert_eq!(fill("192.0.2.1", &mut held), 15);
        for other in 2..100 {
            fill(&format!("192.0.2.{other}"), &mut held);
        }
        assert!(admission.bytes() <= BYTES_MAX / 100 * CLIENTS_PERCENT);
        assert_eq!(fill("192.0.2.200", &mut held), 0);
        // The server's own commands are admitted.
        assert!(admission.admit(&Actor::System, None, &large).is_some());
        drop(held);
        assert_eq!(fill("192.0.2.200", &mut Vec::new()), 15);
    }
}
