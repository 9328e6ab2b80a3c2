//! Forms of schedules, bulk actions, webhooks and dead letters. Version 1 is the text of a JSON
//! object: the names of members and variants are stored, and members that came later have a
//! default.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::form::{Text, record_enums, record_structs};
use crate::engine::{
    BulkAction, BulkFailure, BulkFilter, CatchUp, DeadLetter, Firing, Job, Lag, Overlap, Schedule,
    ScheduleOwner, Webhook,
};

record_enums! {
    #[serde(rename_all = "lowercase")]
    enum OverlapV1: Overlap {
        Skip,
        Queue,
        Allow,
    }

    #[serde(rename_all = "lowercase")]
    enum CatchUpV1: CatchUp {
        None,
        One,
        All,
    }

    #[serde(rename_all = "lowercase")]
    enum ScheduleOwnerV1: ScheduleOwner {
        User(name: Text),
        Key(id: Text),
    }

    #[serde(tag = "type", rename_all = "lowercase")]
    enum BulkActionV1: BulkAction {
        Retry,
        Cancel { reason: Option<String> },
        Pause,
        Resume,
        Migrate { version: Option<u32>, steps: BTreeMap<Text, Text> },
    }
}

record_structs! {
    struct FiringV1: Firing {
        at: Text,
        started: Option<Text>,
        why_not: Option<String>,
    }

    struct ScheduleV1: Schedule {
        id: Text,
        workflow: Text,
        cron: String,
        zone: String,
        input: Map<String, Value>,
        owner: ScheduleOwnerV1,
        overlap: OverlapV1,
        catch_up: CatchUpV1,
        next_at: Option<Text>,
        last: Option<FiringV1>,
        current: Option<Text>,
        queued: u32,
        created_at: Text,
    }

    struct BulkFilterV1: BulkFilter {
        workflow: Option<Text>,
        version: Option<u32>,
        status: Option<String>,
        owner: Option<Text>,
        step: Option<Text>,
    }

    struct BulkFailureV1: BulkFailure {
        transaction: Text,
        code: String,
        message: String,
    }

    struct JobV1: Job {
        id: Text,
        filter: BulkFilterV1,
        action: BulkActionV1,
        dry_run: bool,
        by: String,
        after: Text,
        until: Text,
        examined: u64,
        matched: u64,
        #[serde(default)]
        skipped: u64,
        done: u64,
        failed: u64,
        failures: Vec<BulkFailureV1>,
        started_at: Text,
        ended_at: Option<Text>,
    }

    struct WebhookV1: Webhook {
        id: Text,
        url: String,
        types: Vec<String>,
        generation: u32,
        old_key_until: Option<Text>,
        after: String,
        lags: Vec<LagV1>,
        told: u64,
        error: Option<String>,
        dead: Vec<u64>,
        #[serde(default)]
        replay_to: Option<Text>,
        stopped: bool,
        created_at: Text,
    }

    struct LagV1: Lag {
        transaction: Option<Text>,
        after: String,
        #[serde(default)]
        tried: u32,
        #[serde(default)]
        again_at: Option<Text>,
    }

    struct DeadLetterV1: DeadLetter {
        number: u64,
        event: String,
        body: String,
        error: String,
        at: Text,
        replay: bool,
    }
}
