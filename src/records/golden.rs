//! Golden bytes of all keys and of the records that `tests` does not have: stores of every version
//! of this program hold these bytes, so they never change.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::sync::Arc;

use serde_json::{Value, json};

use super::*;
use crate::engine::{
    ActorId, ActorRef, AppendedRow, BulkAction, BulkFailure, BulkFilter, CallAnswer, CallPurpose,
    CallState, CatchUp, Challenge, ChallengeState, Compensation, CompletedStep, DeadLetter, Firing,
    Hold, HoldStatus, HttpRequestSpec, IndexEntry, Job, KeyRef, Lag, OpenJoin, OpenStep, Overlap,
    Owner, OwnerId, PlannedEnd, Record, RecordKey, Reference, Schedule, ScheduleOwner, ServiceCall,
    StepClaim, StoredId, StuckReason, Submission, Timer, TimerOf, Tx, TxHold, TxStatus, UserRef,
    ValueKey, Webhook, WorkflowHead,
};
use crate::types::{
    JobId, KeyId, Revision, ScheduleId, SessionId, Span, Time, TokenHash, TxId, UserId, WebhookId,
};

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |hex, byte| format!("{hex}{byte:02x}"))
}

/// Shortens ids and hashes in the bytes of a key: `<5>` is the number 5 in 16 bytes, `<5*32>` the
/// byte 5 in 32.
fn short(bytes: &[u8]) -> String {
    let mut text = hex(bytes);
    for number in 1..=9 {
        text = text.replace(&format!("{number:032x}"), &format!("<{number}>"));
        text = text.replace(&format!("{number:02x}").repeat(32), &format!("<{number}*32>"));
    }
    text
}

/// The golden bytes: keys, prefixes of scans, records.
fn section(number: usize) -> Vec<&'static str> {
    include_str!("golden.txt").split("\n\n").nth(number).unwrap().lines().collect()
}

const AT: Time = Time::from_ms(1_700_000_000_000);

fn timers() -> Vec<Timer> {
    let (owner, tx) = (OwnerId::User(UserId::new(1)), TxId::new(2));
    let all = [
        TimerOf::Session(SessionId::new(1)),
        TimerOf::Stored(StoredId { key: KeyId::new(1), digest: [2; 32] }),
        TimerOf::Link(TokenHash::new([1; 32])),
        TimerOf::Hold("h:1".parse().unwrap()),
        TimerOf::Tx(tx),
        TimerOf::Orphans(owner, tx),
        TimerOf::Orphans(OwnerId::Session(SessionId::new(1)), tx),
        TimerOf::Orphans(OwnerId::Key(KeyId::new(1)), tx),
        TimerOf::Adopt(SessionId::new(1), tx),
        TimerOf::EndVia(KeyId::new(1), SessionId::new(2)),
        TimerOf::Schedule(ScheduleId::new(1)),
        TimerOf::Job(JobId::new(1)),
    ];
    all.into_iter().map(|what| Timer { due: AT, what }).collect()
}

fn index_entries() -> Vec<IndexEntry> {
    let (owner, tx) = (OwnerId::User(UserId::new(1)), TxId::new(2));
    vec![
        IndexEntry::TxOf(owner, tx),
        IndexEntry::TxOf(OwnerId::Session(SessionId::new(1)), tx),
        IndexEntry::TxOf(OwnerId::Key(KeyId::new(1)), tx),
        IndexEntry::OpenOf(owner, tx),
        IndexEntry::EndWith(SessionId::new(1), tx),
        IndexEntry::RoleInbox("teller".parse().unwrap(), tx),
        IndexEntry::UserInbox("alice".parse().unwrap(), tx),
        IndexEntry::Stuck(tx),
        IndexEntry::Queued("apply".parse().unwrap(), "check".parse().unwrap(), AT, tx),
        IndexEntry::SessionVia(KeyId::new(1), SessionId::new(2)),
        IndexEntry::CallDue(AT, tx, 300),
        IndexEntry::CallOut(tx, 300),
        IndexEntry::ActedIn(SessionId::new(1), tx),
    ]
}

/// A key of each kind.
fn keys() -> Vec<Key> {
    let (user, session, tx) = (UserId::new(1), SessionId::new(1), TxId::new(2));
    let at = Revision::new(300);
    let text = "x:1";
    let mut keys = vec![
        Key::Clock,
        Key::User(user),
        Key::Name("alice".parse().unwrap()),
        Key::UserData(user, 3),
        Key::UserSessions(user),
        Key::RoleChanges(user),
        Key::Session(session),
        Key::SessionData(session, 3),
        Key::Token(TokenHash::new([1; 32])),
        Key::ApiKey(KeyId::new(1)),
        Key::KeyCount,
        Key::AdministratorCount,
        Key::SessionCount,
        Key::KeptSessions(KeyId::new(1)),
        Key::Stored(StoredId { key: KeyId::new(1), digest: [2; 32] }, 3),
        Key::Attempts([1; 32]),
        Key::Answer(Scope::User(user), [1; 32], 3),
        Key::Answer(Scope::Key(KeyId::new(1)), [1; 32], 3),
        Key::Answer(Scope::Session(session), [1; 32], 3),
        Key::Answer(Scope::Hook(9), [1; 32], 3),
        Key::AnswerCount(Scope::User(user)),
        Key::AnswerBlock(7, Scope::User(user), at),
        Key::AssetCount,
        Key::Asset("EUR".parse().unwrap()),
        Key::Totals("EUR".parse().unwrap()),
        Key::Account(text.parse().unwrap()),
        Key::Owned(user, text.parse().unwrap()),
        Key::Entry(text.parse().unwrap(), at, 7),
        Key::Hold(text.parse().unwrap()),
        Key::Transfer(text.parse().unwrap()),
        Key::Tx(tx, 3),
        Key::TxLog(tx, at),
        Key::Reference("apply".parse().unwrap(), [1; 32]),
        Key::One("apply".parse().unwrap(), [1; 32]),
        Key::OpenCount("apply".parse().unwrap(), 7),
        Key::Workflow("apply".parse().unwrap()),
        Key::WorkflowCount,
        Key::Definition("apply".parse().unwrap(), 7, 3),
        Key::Value(ValueKey::new("limits", "eu").unwrap()),
        Key::ValueSet("limits".parse().unwrap()),
        Key::Job(JobId::new(1)),
        Key::Schedule(ScheduleId::new(1)),
        Key::ScheduleCount,
        Key::Webhook(WebhookId::new(1)),
        Key::WebhookCount,
        Key::DeadLetter(WebhookId::new(1), 300),
    ];
    keys.extend(timers().into_iter().map(Key::Timer));
    keys.extend(index_entries().into_iter().map(Key::IndexEntry));
    keys
}

#[test]
fn key_of_each_kind_has_its_golden_bytes() {
    let written: Vec<_> = keys().iter().map(|key| short(&key.encode())).collect();
    assert_eq!(written, section(0), "{}", written.join("\n"));
    for key in keys() {
        assert_eq!(Key::decode(&key.encode()), Some(key));
    }
}

#[test]
fn prefixes_of_scans_have_their_golden_bytes() {
    let user = Scope::User(UserId::new(1));
    let prefixes = [
        Key::USERS.to_vec(),
        Key::SESSIONS.to_vec(),
        Key::API_KEYS.to_vec(),
        Key::TIMERS.to_vec(),
        Key::ANSWERS.to_vec(),
        Key::ANSWER_COUNTS.to_vec(),
        Key::ANSWER_BLOCKS.to_vec(),
        Key::ATTEMPTS.to_vec(),
        Key::ASSETS.to_vec(),
        Key::TOTALS.to_vec(),
        Key::ACCOUNTS.to_vec(),
        Key::HOLDS.to_vec(),
        Key::TXS.to_vec(),
        Key::CALLS_DUE.to_vec(),
        Key::CALLS_OUT.to_vec(),
        Key::STUCK.to_vec(),
        Key::WORKFLOWS.to_vec(),
        Key::SCHEDULES.to_vec(),
        Key::WEBHOOKS.to_vec(),
        Key::blocks_of(7, user),
        Key::log_of(TxId::new(2)),
        Key::dead_letters_of(WebhookId::new(1)),
        Key::sessions_via(KeyId::new(1)),
        Key::timers_from(AT),
        Key::values_of(&"limits".parse().unwrap()),
        Key::entries_of(&"x:1".parse().unwrap()),
        Key::owned_by(UserId::new(1)),
    ];
    let written: Vec<_> = prefixes.iter().map(|prefix| short(prefix)).collect();
    assert_eq!(written, section(1), "{}", written.join("\n"));
}

fn user_ref() -> UserRef {
    UserRef { id: UserId::new(7), username: "alice".parse().unwrap() }
}

fn request() -> HttpRequestSpec {
    HttpRequestSpec {
        method: "POST".into(),
        url: "https://x.test/".into(),
        headers: vec![("a".into(), "b".into())],
        body: Some("{}".into()),
        timeout: Span::from_ms(5000),
        attempts: 3,
        first: Span::from_ms(100),
        factor: 2,
        max: Span::from_ms(1000),
        refused: vec![409, 422],
        callback: Some(Span::from_hours(1)),
    }
}

fn calls() -> Vec<ServiceCall> {
    let states = [
        (CallPurpose::Do { place: 4 }, CallState::Due(AT)),
        (CallPurpose::Undo, CallState::InFlight(AT)),
        (CallPurpose::Send, CallState::AwaitingCallback(AT)),
        (CallPurpose::Undo, CallState::AnswerHeld(Arc::new(json!({"ok": true})))),
        (CallPurpose::Undo, CallState::Done),
        (CallPurpose::Undo, CallState::Refused),
        (CallPurpose::Undo, CallState::Unknown),
        (CallPurpose::Undo, CallState::Dropped),
    ];
    let call = |(number, (purpose, state))| ServiceCall {
        number,
        step: "pay".parse().unwrap(),
        key: "k".into(),
        purpose,
        challenge: Some("c".into()),
        ask: request(),
        attempts: 1,
        unknown: true,
        state,
        last: Some("timeout".into()),
        answer: None,
    };
    (1..).zip(states).map(call).collect()
}

fn open() -> OpenStep {
    let ids = [
        ActorId::User(UserId::new(1)),
        ActorId::Session(SessionId::new(1)),
        ActorId::Key(KeyId::new(1)),
        ActorId::System,
        ActorId::Hook(9),
        ActorId::Workflow(TxId::new(1)),
    ];
    let who = |id| ActorRef { id, name: "w".into() };
    OpenStep {
        place: 1,
        step: "check".parse().unwrap(),
        group: 2,
        join: Some(3),
        opened_at: AT,
        due: Some(AT),
        reminded: 4,
        is_client: true,
        quorum: 5,
        submissions: ids
            .map(|id| Submission { by: who(id), input: Arc::new(json!({"a": 1})), at: AT })
            .into(),
        claim: Some(StepClaim { by: who(ids[0]), until: AT }),
        users: vec!["alice".parse().unwrap()],
        roles: vec!["teller".parse().unwrap()],
        queued: true,
    }
}

fn holds() -> Vec<TxHold> {
    let statuses =
        [HoldStatus::Held, HoldStatus::Captured, HoldStatus::Voided, HoldStatus::Expired];
    let hold_of = |status| Hold {
        id: "h1".parse().unwrap(),
        tx: Some(TxId::new(8)),
        account: "a".parse().unwrap(),
        asset: "EUR".parse().unwrap(),
        scale: 2,
        amount: 700,
        captured: 100,
        left: 600,
        status,
        expires_at: Some(AT),
        created_at: AT,
    };
    let tx_hold = |status| TxHold {
        name: "stake".into(),
        key: Some("k".into()),
        step: Some("pay".parse().unwrap()),
        hold: hold_of(status),
    };
    statuses.map(tx_hold).into()
}

fn challenges() -> Vec<Challenge> {
    let states = [ChallengeState::Issued, ChallengeState::Passed, ChallengeState::Withdrawn];
    let challenge = |state| Challenge {
        id: "c".into(),
        round: 1,
        digits: 6,
        binds: "[]".into(),
        expires_at: AT,
        life_ms: 1000,
        attempts_left: 3,
        resends_left: 2,
        state,
        send: Some(Box::new(("pay".parse().unwrap(), request()))),
    };
    states.map(challenge).into()
}

fn done() -> Arc<CompletedStep> {
    let (user, role) = (UserId::new(7), || "vip".parse().unwrap());
    Arc::new(CompletedStep {
        step: "pay".parse().unwrap(),
        undo: vec![
            Compensation::Void("h1".parse().unwrap()),
            Compensation::Reverse("t1".parse().unwrap()),
            Compensation::Withdraw("c".into()),
            Compensation::Close("a".parse().unwrap()),
            Compensation::Revoke(user, role()),
            Compensation::Grant(user, role()),
            Compensation::Cancel(TxId::new(9)),
            Compensation::Role(user, role(), 5),
        ],
        calls: vec![request()],
        undone: 1,
        left: true,
        key: "k".into(),
    })
}

/// A transaction with everything in it.
fn full_tx() -> Tx {
    let stuck = || StuckReason {
        step: "pay".parse().unwrap(),
        join: Some(1),
        code: "insufficient".into(),
        message: "no".into(),
    };
    Tx {
        id: TxId::new(8),
        workflow: "apply".parse().unwrap(),
        version: 2,
        reference: Some("ref-1".into()),
        owner: Owner::User(user_ref()),
        session: Some(SessionId::new(1)),
        ends_with_session: true,
        status: TxStatus::Stuck,
        outcome: Some("done".into()),
        data: Arc::new(json!({"a": [1, 2.5, "x", null]})),
        open: vec![open()],
        joins: vec![OpenJoin { id: 1, all: 2, parent: Some(3), left: 4 }],
        holds: holds(),
        challenges: challenges(),
        done: vec![done()],
        taken: [("pay".parse().unwrap(), 2)].into(),
        rounds: 9,
        pivot: true,
        unique: Some([1; 32]),
        started_at: AT,
        updated_at: AT,
        deadline: Some(AT),
        timer_at: Some(AT),
        next_place: 7,
        ending: Some(PlannedEnd { status: TxStatus::Failed, outcome: "gone".into() }),
        stuck: Some(stuck()),
        stuck_too: vec![stuck()],
        asked: vec!["alice".parse().unwrap()],
        paused: true,
        schedule: Some(ScheduleId::new(5)),
        calls: calls(),
        next_call: 9,
        heard: vec![u128::MAX],
        commits: vec![Revision::new(1), Revision::new(300)],
    }
}

/// A transaction with nothing that it may be without.
fn small_tx(owner: Owner, status: TxStatus) -> Tx {
    Tx {
        id: TxId::new(8),
        workflow: "apply".parse().unwrap(),
        version: 1,
        reference: None,
        owner,
        session: None,
        ends_with_session: false,
        status,
        outcome: None,
        data: Arc::new(json!({})),
        open: vec![],
        joins: vec![],
        holds: vec![],
        challenges: vec![],
        done: vec![],
        taken: [].into(),
        rounds: 0,
        pivot: false,
        unique: None,
        started_at: Time::ZERO,
        updated_at: Time::ZERO,
        deadline: None,
        timer_at: None,
        next_place: 0,
        ending: None,
        stuck: None,
        stuck_too: vec![],
        asked: vec![],
        paused: false,
        schedule: None,
        calls: vec![],
        next_call: 0,
        heard: vec![],
        commits: vec![],
    }
}

fn schedules() -> Vec<(RecordKey, Record)> {
    let schedule = |owner, overlap, catch_up, full: bool| {
        let last = Firing { at: AT, started: Some(TxId::new(8)), why_not: Some("skipped".into()) };
        let Value::Object(input) = json!({"b": 1, "a": [true]}) else { unreachable!() };
        let schedule = Schedule {
            id: ScheduleId::new(1),
            workflow: "apply".parse().unwrap(),
            cron: "0 9 * * *".into(),
            zone: "Europe/Berlin".into(),
            input,
            owner,
            overlap,
            catch_up,
            next_at: full.then_some(AT),
            last: full.then_some(last),
            current: full.then_some(TxId::new(8)),
            queued: 3,
            created_at: AT,
        };
        (RecordKey::Schedule(schedule.id), Record::Schedule(Box::new(schedule)))
    };
    let user = || ScheduleOwner::User("alice".parse().unwrap());
    vec![
        schedule(user(), Overlap::Skip, CatchUp::None, true),
        schedule(ScheduleOwner::Key(KeyId::new(1)), Overlap::Queue, CatchUp::One, false),
        schedule(user(), Overlap::Allow, CatchUp::All, false),
    ]
}

fn jobs() -> Vec<(RecordKey, Record)> {
    let filter = BulkFilter {
        workflow: Some("apply".parse().unwrap()),
        version: Some(2),
        status: Some("stuck".into()),
        owner: Some("alice".parse().unwrap()),
        step: Some("pay".parse().unwrap()),
    };
    let steps = [("a".parse().unwrap(), "b".parse().unwrap())].into();
    let actions = [
        BulkAction::Retry,
        BulkAction::Cancel { reason: Some("x".into()) },
        BulkAction::Cancel { reason: None },
        BulkAction::Pause,
        BulkAction::Resume,
        BulkAction::Migrate { version: Some(3), steps },
        BulkAction::Migrate { version: None, steps: [].into() },
    ];
    let failure = BulkFailure {
        transaction: TxId::new(8),
        code: "not-stuck".into(),
        message: "It is not stuck.".into(),
    };
    let job = |(number, action)| {
        let full = number == 0;
        let job = Job {
            id: JobId::new(1),
            filter: if full { filter.clone() } else { BulkFilter::default() },
            action,
            dry_run: full,
            by: "alice".into(),
            after: TxId::new(1),
            until: TxId::new(2),
            examined: 1,
            matched: 2,
            skipped: 3,
            done: 4,
            failed: 5,
            failures: if full { vec![failure.clone()] } else { vec![] },
            started_at: AT,
            ended_at: full.then_some(AT),
        };
        (RecordKey::Job(job.id), Record::Job(Box::new(job)))
    };
    (0..).zip(actions).map(job).collect()
}

fn webhooks() -> Vec<(RecordKey, Record)> {
    let webhook = |full: bool| {
        let lag = Lag {
            transaction: full.then_some(TxId::new(8)),
            after: "1-0".into(),
            tried: 2,
            again_at: full.then_some(AT),
        };
        let webhook = Webhook {
            id: WebhookId::new(1),
            url: "https://x.test/".into(),
            types: vec!["order.*".into()],
            generation: 2,
            old_key_until: full.then_some(AT),
            after: "2-0".into(),
            lags: vec![lag],
            told: 9,
            error: full.then(|| "500".into()),
            dead: vec![1, 2],
            replay_to: full.then_some(AT),
            stopped: full,
            created_at: AT,
        };
        (RecordKey::Webhook(webhook.id), Record::Webhook(Box::new(webhook)))
    };
    let letter = DeadLetter {
        number: 3,
        event: "2-1".into(),
        body: "{\"id\":\"2-1\"}".into(),
        error: "timeout".into(),
        at: AT,
        replay: true,
    };
    let letter_key = RecordKey::DeadLetter((WebhookId::new(1), 3));
    vec![webhook(true), webhook(false), (letter_key, Record::DeadLetter(letter))]
}

fn transactions() -> Vec<(RecordKey, Record)> {
    let mut answered = small_tx(Owner::User(user_ref()), TxStatus::Waiting);
    answered.calls = calls();
    answered.calls[3].answer = Some(CallAnswer { status: 200, body: "{\"ok\":true}".into() });
    let key = KeyRef { id: KeyId::new(5), name: "shop".into() };
    let all = [
        full_tx(),
        answered,
        small_tx(Owner::Anonymous(SessionId::new(3)), TxStatus::Running),
        small_tx(Owner::Key(key.clone()), TxStatus::Compensating),
        small_tx(Owner::Key(key.clone()), TxStatus::Completed),
        small_tx(Owner::Key(key.clone()), TxStatus::Cancelled),
        small_tx(Owner::Key(key), TxStatus::Expired),
    ];
    all.map(|tx| (RecordKey::Tx(tx.id), Record::Tx(Arc::new(tx)))).into()
}

fn others() -> Vec<(RecordKey, Record)> {
    let workflow = || "apply".parse().unwrap();
    let reference = Reference { tx: TxId::new(8), input: [2; 32] };
    let head = WorkflowHead { latest: 3, retired: true };
    vec![
        (RecordKey::Reference(workflow(), [1; 32]), Record::Reference(reference)),
        (RecordKey::One(workflow(), [1; 32]), Record::One(TxId::new(8))),
        (RecordKey::Workflow(workflow()), Record::Workflow(head)),
        (RecordKey::Value(ValueKey::new("limits", "eu").unwrap()), Record::Data("[1]".into())),
        (RecordKey::ValueSet("limits".parse().unwrap()), Record::Data("{}".into())),
        (RecordKey::OpenCount(workflow(), 3), Record::Count(7)),
    ]
}

/// The bytes of a record; long ones as their length and hash, JSON as its text.
fn golden(record: &Record) -> String {
    let bytes = value::encode(record);
    let json = bytes.iter().position(|byte| *byte == b'{').filter(|at| *at <= 5);
    match json {
        Some(at) => format!("{} {}", hex(&bytes[..at]), String::from_utf8_lossy(&bytes[at..])),
        None if bytes.len() > 200 => format!("{} {}", bytes.len(), blake3::hash(&bytes)),
        None => hex(&bytes),
    }
}

#[test]
fn records_of_workflows_and_tasks_have_their_golden_bytes() {
    let all = [transactions(), others(), schedules(), jobs(), webhooks()].concat();
    let written: Vec<_> = all.iter().map(|(_, record)| golden(record)).collect();
    assert_eq!(written, section(2), "{}", written.join("\n"));
    for (key, record) in all {
        let bytes = value::encode(&record);
        assert_eq!(value::decode(&key, &bytes), Ok(record), "{key:?}");
        for cut in 0..bytes.len() {
            assert!(value::decode(&key, &bytes[..cut]).is_err(), "{key:?} cut at {cut}");
        }
    }
}

#[test]
fn outline_of_a_transaction_leaves_out_what_may_be_large() {
    let bytes = value::encode(&Record::Tx(Arc::new(full_tx())));
    let mut tx = full_tx();
    tx.data = Arc::new(Value::Null);
    tx.open[0].submissions.iter_mut().for_each(|one| one.input = Arc::new(Value::Null));
    (tx.holds, tx.challenges, tx.done, tx.calls) = (vec![], vec![], vec![], vec![]);
    assert_eq!(value::decode_outline(&RecordKey::Tx(tx.id), &bytes), Ok(tx));
}

/// JSON of older builds has no member for what was added later.
#[test]
fn tasks_of_older_builds_are_read_with_the_defaults_of_later_members() {
    let mut all = [jobs(), webhooks()].concat();
    let later = ["\"skipped\":3,", "\"replay_to\":null,", ",\"tried\":2,\"again_at\":null"];
    for (key, record) in &mut all {
        let text: String = value::read(key, 1, &value::encode(record), 1 << 20).unwrap();
        let older = later.iter().fold(text, |text, member| text.replace(member, ""));
        let read = value::decode(key, &value::write(1, &older)).unwrap();
        match record {
            Record::Job(job) => job.skipped = 0,
            Record::Webhook(webhook) => {
                webhook.lags.iter_mut().filter(|lag| lag.again_at.is_none()).for_each(|lag| {
                    lag.tried = 0;
                });
            }
            _ => {}
        }
        assert_eq!(read, *record, "{older}");
        // A member that nobody knows does no harm: a later build may have written it.
        let newer = older.replacen('{', "{\"x\":1,", 1);
        assert_eq!(value::decode(key, &value::write(1, &newer)), Ok(record.clone()), "{newer}");
    }
}

#[test]
fn rows_have_their_golden_bytes() {
    let commits = [1, 2, 300].map(Revision::new);
    let row = AppendedRow::Commits(TxId::new(2), commits.into());
    let mut bytes = Vec::new();
    ledger::write_row(&mut bytes, &row);
    let key = row_key(&row);
    assert_eq!(
        (short(&key.encode()), hex(&bytes)),
        ("8f<2>000000000000012c".into(), "01020201".into())
    );
    assert_eq!(read_commits(&key, &bytes), Ok(Some(commits.into())));
    let last = vec![Revision::new(300)];
    assert_eq!(read_commits(&key, &[]), Ok(Some(last)));
}
