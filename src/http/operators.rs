//! Operators' commands on transactions: repair, pause, resume, migrate.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::operation::Operation;
use super::problem::{Code, Problem};
use super::request_context::{PreparedCommand, RequestContext};
use super::transactions::{act, command_operation, id};
use crate::engine::{Command, MigrateAsk, Repair};
use crate::types::StepName;

/// The data of a stuck transaction.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ReplaceDataRequest {
    /// All of the data from now on.
    data: Map<String, Value>,
}

/// Target of a transaction's migration.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct MigrateRequest {
    /// The version; `null`: the latest.
    #[serde(default)]
    version: Option<u32>,
    /// Steps that are called otherwise there, by what they are called now.
    #[serde(default)]
    steps: BTreeMap<StepName, StepName>,
    /// True for a dry run: nothing changes, and the answer is the one that the change would get.
    #[serde(default)]
    dry_run: bool,
}

pub(super) const REPLACE: Operation = command_operation(
    "replaceData",
    "Replaces the data of a stuck transaction and retries its step",
)
.body::<ReplaceDataRequest>(r#"{"data":{"to":"bob:main","amount":"25.00"}}"#)
.problems(&[
    Code::NotFound,
    Code::NotAllowed,
    Code::NotStuck,
    Code::Paused,
    Code::TooLarge,
    Code::InvalidInput,
]);

pub(super) fn replace(request: &RequestContext) -> Result<PreparedCommand, Problem> {
    let tx = id(request)?;
    let ReplaceDataRequest { data } = request.json()?;
    Ok(act(Command::Repair { tx, repair: Repair::Replace { data } }))
}

pub(super) const PAUSE: Operation = command_operation(
    "pauseTransaction",
    "Pauses a transaction: no step can be submitted and no timer fires until it is resumed",
)
.problems(&[Code::NotFound, Code::NotAllowed, Code::AlreadyEnded, Code::AlreadyCancelled]);

pub(super) fn pause(request: &RequestContext) -> Result<PreparedCommand, Problem> {
    let tx = id(request)?;
    Ok(act(Command::Pause { tx, pause: true }))
}

pub(super) const RESUME: Operation = command_operation(
    "resumeTransaction",
    "Resumes a paused transaction; timers that came due meanwhile fire now",
)
.problems(&[Code::NotFound, Code::NotAllowed, Code::AlreadyEnded]);

pub(super) fn resume(request: &RequestContext) -> Result<PreparedCommand, Problem> {
    let tx = id(request)?;
    Ok(act(Command::Pause { tx, pause: false }))
}

pub(super) const MIGRATE: Operation = command_operation("migrateTransaction", "Moves an open transaction to another version of its workflow")
    .text("The steps that wait go on waiting there, under other names where `steps` says so; times \
           that both versions have stay, new ones begin now, and others are dropped. Reminders that were \
           sent are not sent again. Keys that the data has at the start in that version are added, and \
           `unique` is checked.")
    .body::<MigrateRequest>(r#"{"version":4,"steps":{"approve":"review"},"dry_run":true}"#)
    .body_optional()
    .problems(&[
        Code::NotFound,
        Code::NotAllowed,
        Code::AlreadyEnded,
        Code::AlreadyCancelled,
        Code::CannotMigrate,
        Code::AlreadyOpen,
        Code::InvalidInput,
    ]);

pub(super) fn migrate(request: &RequestContext) -> Result<PreparedCommand, Problem> {
    let tx = id(request)?;
    let MigrateRequest { version, steps, dry_run } = request.json()?;
    Ok(act(Command::Migrate { tx, ask: MigrateAsk { version, steps, dry_run } }))
}
