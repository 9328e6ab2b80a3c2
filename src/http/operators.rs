//! What operators do to transactions: repair, stop and move them.

use std::collections::BTreeMap;

use schemars::{JsonSchema, SchemaGenerator};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::call::Call;
use super::input::Media;
use super::problem::{Code, Problem};
use super::reply::Reply;
use super::route::{Body, Doc};
use super::transactions::{CLAIM, execute, id};
use crate::engine::{Command, MigrateAsk, Repair};
use crate::types::StepName;

/// The data of a stuck transaction.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ReplaceBody {
    /// All of the data from now on.
    data: Map<String, Value>,
}

/// To where a transaction is moved.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct MigrateBody {
    /// The version; `null`: the latest.
    #[serde(default)]
    version: Option<u32>,
    /// Steps that are called otherwise there, by what they are called now.
    #[serde(default)]
    steps: BTreeMap<StepName, StepName>,
    /// Whether only to look whether it could be: the answer is what it would be.
    #[serde(default)]
    dry_run: bool,
}

pub(super) const REPLACE: Doc = Doc {
    id: "replaceData",
    summary: "Gives a stuck transaction other data and has it try its step again",
    body: Some(Body {
        content: &[(Media::Json, SchemaGenerator::subschema_for::<ReplaceBody>)],
        example: r#"{"data":{"to":"bob:main","amount":"25.00"}}"#,
    }),
    problems: &[
        Code::NotFound,
        Code::NotAllowed,
        Code::NotStuck,
        Code::Paused,
        Code::TooLarge,
        Code::InvalidInput,
    ],
    ..CLAIM
};

pub(super) async fn replace(call: Call) -> Result<Reply, Problem> {
    let tx = id(&call)?;
    let ReplaceBody { data } = call.json()?;
    Ok(execute(call, Command::Repair { tx, repair: Repair::Replace { data } }).await)
}

pub(super) const PAUSE: Doc = Doc {
    id: "pauseTransaction",
    summary: "Stops a transaction: nobody takes a step of it, and no time is due in it",
    problems: &[Code::NotFound, Code::NotAllowed, Code::AlreadyEnded, Code::AlreadyCancelled],
    ..CLAIM
};

pub(super) async fn pause(call: Call) -> Result<Reply, Problem> {
    let tx = id(&call)?;
    Ok(execute(call, Command::Pause { tx, pause: true }).await)
}

pub(super) const RESUME: Doc = Doc {
    id: "resumeTransaction",
    summary: "Has a paused transaction go on; what has become due meanwhile happens now",
    problems: &[Code::NotFound, Code::NotAllowed, Code::AlreadyEnded],
    ..CLAIM
};

pub(super) async fn resume(call: Call) -> Result<Reply, Problem> {
    let tx = id(&call)?;
    Ok(execute(call, Command::Pause { tx, pause: false }).await)
}

pub(super) const MIGRATE: Doc = Doc {
    id: "migrateTransaction",
    summary: "Moves an open transaction to another version of its workflow",
    text: "The steps that wait go on waiting there, under other names where `steps` says so; their \
           times stay. Keys that the data has at the start in that version are added.",
    body: Some(Body {
        content: &[(Media::Json, SchemaGenerator::subschema_for::<MigrateBody>)],
        example: r#"{"version":4,"steps":{"approve":"review"},"dry_run":true}"#,
    }),
    body_optional: true,
    problems: &[
        Code::NotFound,
        Code::NotAllowed,
        Code::AlreadyEnded,
        Code::AlreadyCancelled,
        Code::CannotMigrate,
        Code::InvalidInput,
    ],
    ..CLAIM
};

pub(super) async fn migrate(call: Call) -> Result<Reply, Problem> {
    let tx = id(&call)?;
    let MigrateBody { version, steps, dry_run } = call.json()?;
    Ok(execute(call, Command::Migrate { tx, ask: MigrateAsk { version, steps, dry_run } }).await)
}
