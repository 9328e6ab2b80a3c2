//! Keys in their order, values as they have always been written.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::sync::Arc;

use bytes::Bytes;
use proptest::prelude::*;

use super::answer::{
    AnswerBlockV1, AnswerCountV1, AnswerCountV2, AnswerV1, AnswerV2, ShownTxV1, ShownV1,
    StoredAnswer,
};
use super::value::ClockV1;
use super::*;
use crate::engine::{
    Account, ApiKey, AppendedRow, Asset, Attempts, Changes, Entry, Hold, HoldStatus, Holder,
    KeyRef, Link, LinkMaker, Opens, Record, RecordKey, RoleChange, RoleChanges, RoleRun, Session,
    Stored, StoredId, Timer, TimerOf, Totals, Transfer, User, UserRef,
};
use crate::store::memory::Memory;
use crate::store::{Batch, KeyRange, Order, Store, View};
use crate::types::{KeyId, Revision, SessionId, Span, Time, TokenHash, TxId, UserId};

/// The names that callers choose freely.
const FREE: &str = "[A-Za-z0-9][A-Za-z0-9:._-]{0,63}";
const ASSET: &str = "[A-Z][A-Z0-9._-]{0,31}";

fn stored_id() -> impl Strategy<Value = StoredId> {
    (any::<u128>(), any::<[u8; 32]>())
        .prop_map(|(key, digest)| StoredId { key: KeyId::new(key), digest })
}

fn scope() -> impl Strategy<Value = Scope> {
    prop_oneof![
        any::<u128>().prop_map(|id| Scope::User(UserId::new(id))),
        any::<u128>().prop_map(|id| Scope::Key(KeyId::new(id))),
        any::<u128>().prop_map(|id| Scope::Session(SessionId::new(id))),
    ]
}

fn timer() -> impl Strategy<Value = Timer> {
    let what = prop_oneof![
        any::<u128>().prop_map(|id| TimerOf::Session(SessionId::new(id))),
        stored_id().prop_map(TimerOf::Stored),
        any::<[u8; 32]>().prop_map(|hash| TimerOf::Link(TokenHash::new(hash))),
        FREE.prop_map(|id| TimerOf::Hold(id.parse().unwrap())),
    ];
    (0..=Time::MAX.ms(), what).prop_map(|(due, what)| Timer { due: Time::from_ms(due), what })
}

fn key() -> impl Strategy<Value = Key> {
    let part = any::<u8>;
    prop_oneof![
        Just(Key::Clock),
        Just(Key::KeyCount),
        Just(Key::AdministratorCount),
        Just(Key::SessionCount),
        any::<u128>().prop_map(|id| Key::User(UserId::new(id))),
        "[a-z0-9][a-z0-9._@+-]{0,63}".prop_map(|name| Key::Name(name.parse().unwrap())),
        (any::<u128>(), part()).prop_map(|(id, part)| Key::UserData(UserId::new(id), part)),
        any::<u128>().prop_map(|id| Key::UserSessions(UserId::new(id))),
        any::<u128>().prop_map(|id| Key::RoleChanges(UserId::new(id))),
        any::<u128>().prop_map(|id| Key::Session(SessionId::new(id))),
        (any::<u128>(), part()).prop_map(|(id, part)| Key::SessionData(SessionId::new(id), part)),
        any::<[u8; 32]>().prop_map(|hash| Key::Token(TokenHash::new(hash))),
        any::<u128>().prop_map(|id| Key::ApiKey(KeyId::new(id))),
        any::<u128>().prop_map(|id| Key::KeptSessions(KeyId::new(id))),
        (stored_id(), part()).prop_map(|(id, part)| Key::Stored(id, part)),
        any::<[u8; 32]>().prop_map(Key::Attempts),
        timer().prop_map(Key::Timer),
        (scope(), any::<[u8; 32]>(), part()).prop_map(|(of, key, part)| Key::Answer(of, key, part)),
        scope().prop_map(Key::AnswerCount),
        (any::<u32>(), scope(), any::<u64>()).prop_map(|(hour, of, at)| Key::AnswerBlock(
            hour,
            of,
            Revision::new(at)
        )),
        Just(Key::AssetCount),
        ASSET.prop_map(|code| Key::Asset(code.parse().unwrap())),
        ASSET.prop_map(|code| Key::Totals(code.parse().unwrap())),
        FREE.prop_map(|id| Key::Account(id.parse().unwrap())),
        (any::<u128>(), FREE)
            .prop_map(|(user, id)| Key::Owned(UserId::new(user), id.parse().unwrap())),
        ("[Aa]?[a:]{1,3}", any::<u64>(), any::<u32>()).prop_filter_map(
            "ids that are prefixes of others",
            |(id, revision, number)| {
                Some(Key::Entry(id.parse().ok()?, Revision::new(revision), number))
            }
        ),
        FREE.prop_map(|id| Key::Hold(id.parse().unwrap())),
        FREE.prop_map(|id| Key::Transfer(id.parse().unwrap())),
    ]
}

/// Two keys of a kind whose order scans rely on.
fn key_pair() -> impl Strategy<Value = (Key, Key)> {
    let entry = || {
        ("[Aa]?[a:]{1,3}", any::<u64>(), any::<u32>())
            .prop_filter_map("valid ids", |(id, at, n)| {
                Some(Key::Entry(id.parse().ok()?, Revision::new(at), n))
            })
    };
    let timer = || timer().prop_map(Key::Timer);
    let account = || FREE.prop_map(|id| Key::Account(id.parse().unwrap()));
    prop_oneof![(entry(), entry()), (timer(), timer()), (account(), account())]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn keys_are_read_as_they_were_written_and_keep_the_order_of_their_kind(
        (a, b) in prop_oneof![(key(), key()), key_pair()]
    ) {
        prop_assert_eq!(Key::decode(&a.encode()), Some(a.clone()));
        if std::mem::discriminant(&a) == std::mem::discriminant(&b) {
            prop_assert_eq!(a.encode().cmp(&b.encode()), a.cmp(&b));
        } else {
            prop_assert_ne!(a.encode()[0], b.encode()[0]);
        }
        prop_assert!(a.encode().len() <= crate::store::KEY_BYTES_MAX);
    }

    #[test]
    fn bytes_that_are_no_key_are_refused(bytes: Vec<u8>) {
        if let Some(key) = Key::decode(&bytes) {
            prop_assert_eq!(key.encode(), bytes);
        }
    }

    #[test]
    fn bytes_that_are_no_record_are_refused_and_never_read_past(bytes: Vec<u8>) {
        for (fact, _) in samples() {
            // What is accepted is what would be written, or a longer spelling of a number, or what an
            // older build wrote.
            if let Ok(record) = value::decode(&fact, &bytes) {
                let again = value::encode(&record);
                prop_assert!(again.len() <= bytes.len() || again[0] > bytes[0]);
            }
        }
    }
}

#[test]
fn a_scan_of_one_kind_finds_no_other() {
    for prefix in [Key::USERS, Key::SESSIONS, Key::API_KEYS, Key::TIMERS, Key::ANSWERS] {
        assert_eq!(prefix.len(), 1);
    }
    let session = Key::Session(SessionId::new(1)).encode();
    assert!(session.starts_with(Key::SESSIONS));
    assert!(!Key::SessionData(SessionId::new(1), 0).encode().starts_with(Key::SESSIONS));
}

fn user_ref() -> UserRef {
    UserRef { id: UserId::new(7), username: "alice".parse().unwrap() }
}

/// One record of each kind, with everything in it.
fn samples() -> Vec<(RecordKey, Record)> {
    let user = User {
        id: UserId::new(7),
        username: "alice".parse().unwrap(),
        name: Some("Alice".into()),
        password: Some("$argon2id$".into()),
        credential: 2,
        epoch: 3,
        roles: ["teller".parse().unwrap(), "abide:admin".parse().unwrap()].into(),
        attributes: r#"{"a":1}"#.into(),
        disabled: true,
        created_at: Time::from_ms(1_700_000_000_000),
        created_revision: Revision::new(9),
        link: Some(TokenHash::new([1; 32])),
    };
    let session = Session {
        id: SessionId::new(u128::MAX - 1),
        token: TokenHash::new([2; 32]),
        user: Some(user_ref()),
        began_anonymous: true,
        via: Some(KeyRef { id: KeyId::new(5), name: "shop".into() }),
        profile: Some("cart".parse().unwrap()),
        idle: Span::from_minutes(30),
        created_at: Time::from_ms(1_700_000_000_000),
        created_revision: Revision::new(300),
        last_seen_at: Time::from_ms(1_700_000_000_001),
        expires_at: Time::from_ms(1_700_000_000_002),
        elevated_until: Some(Time::from_ms(1_700_000_000_003)),
        timer_at: Time::from_ms(1_700_000_000_004),
        has_data: true,
        address: Some("192.0.2.1".into()),
        agent: Some("curl".into()),
        facts: r#"{"kyc":true}"#.into(),
    };
    let key = ApiKey {
        id: KeyId::new(5),
        token: TokenHash::new([3; 32]),
        name: "shop".into(),
        roles: ["clerk".parse().unwrap()].into(),
        on_behalf: ["*@shop".parse().unwrap()].into(),
        created_at: Time::from_ms(1_700_000_000_000),
    };
    let stored = Stored {
        data: r#"{"cart":[]}"#.into(),
        idle: Span::from_hours(1),
        user: Some((user_ref(), 4)),
        last_seen_at: Time::from_ms(1_700_000_000_000),
        timer_at: Time::from_ms(1_700_000_000_001),
    };
    let stored_id = StoredId { key: KeyId::new(5), digest: [4; 32] };
    let link = Link {
        user: Some(UserId::new(7)),
        expires_at: Time::from_ms(1_700_000_000_000),
        maker: LinkMaker::Key { id: KeyId::new(5), is_admin: true },
    };
    vec![
        (RecordKey::User(UserId::new(7)), Record::User(user)),
        (RecordKey::Name("alice".parse().unwrap()), Record::Name(Holder::User(UserId::new(7)))),
        (RecordKey::Name("gone".parse().unwrap()), Record::Name(Holder::Gone)),
        (RecordKey::UserData(UserId::new(7)), Record::Data(r#"{"a":[1,2]}"#.into())),
        (
            RecordKey::UserSessions(UserId::new(7)),
            Record::Sessions(vec![SessionId::new(1), SessionId::new(u128::MAX)]),
        ),
        (
            RecordKey::RoleChanges(UserId::new(7)),
            Record::RoleChanges(RoleChanges(vec![RoleChange {
                role: "vip".parse().unwrap(),
                base: true,
                next: 70_000,
                runs: vec![RoleRun { gives: false, first: 65_536, count: 2 }],
            }])),
        ),
        (RecordKey::Session(session.id), Record::Session(session)),
        (
            RecordKey::Token(TokenHash::new([2; 32])),
            Record::Opens(Opens::Session(SessionId::new(1))),
        ),
        (RecordKey::Token(TokenHash::new([3; 32])), Record::Opens(Opens::Key(KeyId::new(5)))),
        (RecordKey::Token(TokenHash::new([1; 32])), Record::Opens(Opens::Link(link))),
        (RecordKey::Key(KeyId::new(5)), Record::Key(key)),
        (RecordKey::KeyCount, Record::Count(300)),
        (RecordKey::Stored(stored_id), Record::Stored(stored)),
        (
            RecordKey::Attempts([5; 32]),
            Record::Attempts(Attempts::of_failures(6, Time::from_ms(1_700_000_000_000))),
        ),
    ]
    .into_iter()
    .chain(ledger_samples())
    .collect()
}

fn ledger_samples() -> [(RecordKey, Record); 6] {
    let asset = Asset { code: "GOLD".parse().unwrap(), scale: 3, name: Some("Fine gold".into()) };
    let account = Account {
        id: "alice:main".parse().unwrap(),
        asset: "EUR".parse().unwrap(),
        scale: 2,
        owner: Some(user_ref()),
        floor: Some(-50_000),
        read_anyone: true,
        frozen: true,
        closed: false,
        posted: 10_i128.pow(28),
        held: 700,
        holds: 2,
        created_at: Time::from_ms(1_700_000_000_000),
    };
    let hold = Hold {
        id: "h1".parse().unwrap(),
        tx: Some(TxId::new(8)),
        account: "alice:main".parse().unwrap(),
        asset: "EUR".parse().unwrap(),
        scale: 2,
        amount: 700,
        captured: 100,
        left: 600,
        status: HoldStatus::Expired,
        expires_at: Some(Time::from_ms(1_700_000_000_001)),
        created_at: Time::from_ms(1_700_000_000_000),
    };
    let transfer = Transfer {
        id: "t1".parse().unwrap(),
        from: "alice:main".parse().unwrap(),
        to: "bob".parse().unwrap(),
        asset: "EUR".parse().unwrap(),
        scale: 2,
        amount: 100,
        note: Some("thanks".into()),
        tx: Some(TxId::new(8)),
        hold: Some("h1".parse().unwrap()),
        reverses: Some("t0".parse().unwrap()),
        reversed_by: Some("t2".parse().unwrap()),
        at: Time::from_ms(1_700_000_000_000),
        revision: Revision::new(300),
    };
    let totals = Totals { posted: 0, held: 700, accounts: 3, transfers: 300 };
    [
        (RecordKey::Asset(asset.code.clone()), Record::Asset(asset)),
        (RecordKey::AssetCount, Record::Count(1)),
        (RecordKey::Account(account.id.clone()), Record::Account(account)),
        (RecordKey::Hold(hold.id.clone()), Record::Hold(hold)),
        (RecordKey::Transfer(transfer.id.clone()), Record::Transfer(transfer)),
        (RecordKey::Totals("EUR".parse().unwrap()), Record::Totals(totals)),
    ]
}

#[test]
fn a_statements_line_is_read_as_it_was_written() {
    let entry = Entry {
        account: "alice:main".parse().unwrap(),
        revision: Revision::new(300),
        number: 1,
        transfer: "t1".parse().unwrap(),
        counter: "bob".parse().unwrap(),
        amount: -100,
        balance: 900,
        scale: 2,
        note: Some("thanks".into()),
        tx: Some(TxId::new(8)),
        at: Time::from_ms(1_700_000_000_000),
    };
    let row = AppendedRow::Entry(Box::new(entry.clone()));
    let key = row_key(&row);
    assert!(key.encode().starts_with(&Key::entries_of(&entry.account)));
    assert!(!key.encode().starts_with(&Key::entries_of(&"alice".parse().unwrap())));
    let mut value = Vec::new();
    ledger::write_row(&mut value, &row);
    assert_eq!(hex(&value), ENTRY);
    assert_eq!(read_entry(&key, &value).unwrap().as_ref(), Some(&entry));
    let user = UserId::new(7);
    let owned = row_key(&AppendedRow::Owned(user, entry.account)).encode();
    assert!(owned.starts_with(&Key::owned_by(user)));
}

/// Version 1 of a statement's line.
const ENTRY: &str = "0102743103626f62c7fb08070201067468616e6b730108fd0068e5cf8b010000";

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |hex, byte| format!("{hex}{byte:02x}"))
}

/// The newest version of each record, as it lies in the stores of those who run this. A change here is a
/// new version, with a new struct; these bytes must be read for ever.
const GOLDEN: &[&str] = &[
    "010705616c6963650105416c696365010a246172676f6e326964240203020674656c6c65720b61626964\
     653a61646d696e077b2261223a317d01fd0068e5cf8b0100000901010101010101010101010101010101\
     0101010101010101010101010101010101",
    "010007",
    "0101",
    "010b7b2261223a5b312c325d7d",
    "010201feffffffffffffffffffffffffffffffff",
    "01010376697001fc701101000100fc0000010002",
    "01fefeffffffffffffffffffffffffffffff020202020202020202020202020202020202020202020202\
     0202020202020202010705616c6963650101050473686f70010463617274fc40771b00fd0068e5cf8b01\
     0000fb2c01fd0168e5cf8b010000fd0268e5cf8b01000001fd0368e5cf8b010000fd0468e5cf8b010000\
     0101093139322e302e322e3101046375726c0c7b226b7963223a747275657d",
    "010001",
    "010105",
    "020107fd0068e5cf8b010000010501",
    "010503030303030303030303030303030303030303030303030303030303030303030473686f70010563\
     6c65726b01062a4073686f70fd0068e5cf8b010000",
    "01fb2c01",
    "010b7b2263617274223a5b5d7dfc80ee3600010705616c69636504fd0068e5cf8b010000fd0168e5cf8b\
     010000",
    "02fcc0655200fd0068e5cf8b010000",
    "0104474f4c4403010946696e6520676f6c64",
    "0101",
    "010a616c6963653a6d61696e0345555202010705616c69636501fc9f860100010100fe00000020c2044a\
     7cbc9c9f4000000000fb780502fd0068e5cf8b010000",
    "0102683101080a616c6963653a6d61696e0345555202fb7805c8fbb0040301fd0168e5cf8b010000fd00\
     68e5cf8b010000",
    "010274310a616c6963653a6d61696e03626f620345555202c801067468616e6b73010801026831010274\
     3001027432fd0068e5cf8b010000fb2c01",
    "0100fb780503fb2c01",
];

#[test]
fn records_are_written_as_they_always_were() {
    let written: Vec<_> = samples().iter().map(|(_, record)| hex(&value::encode(record))).collect();
    assert_eq!(written, GOLDEN);
}

/// Bytes of older builds, which are read for ever.
#[test]
fn records_of_older_versions_are_read() {
    let attempts = Attempts::of_failures(6, Time::from_ms(1_700_000_000_000));
    let link = Link {
        user: Some(UserId::new(7)),
        expires_at: Time::from_ms(1_700_000_000_000),
        maker: LinkMaker::Unknown,
    };
    let older = [
        (RecordKey::Attempts([5; 32]), "0106fd0068e5cf8b010000", Record::Attempts(attempts)),
        (
            RecordKey::Token(TokenHash::new([1; 32])),
            "01020107fd0068e5cf8b010000",
            Record::Opens(Opens::Link(link)),
        ),
    ];
    for (fact, bytes, record) in older {
        assert_eq!(value::decode(&fact, &unhex(bytes)), Ok(record), "{fact:?}");
    }
}

fn unhex(text: &str) -> Vec<u8> {
    let digits: Vec<_> = text.chars().map(|digit| digit.to_digit(16).unwrap()).collect();
    digits.chunks(2).map(|pair| u8::try_from(pair[0] * 16 + pair[1]).unwrap()).collect()
}

#[test]
fn records_are_read_as_they_were_written() {
    for (fact, record) in samples() {
        let bytes = value::encode(&record);
        assert_eq!(value::decode(&fact, &bytes), Ok(record));
        for cut in 0..bytes.len() {
            assert!(value::decode(&fact, &bytes[..cut]).is_err(), "{fact:?} cut at {cut}");
        }
        let longer = [&bytes[..], &[0]].concat();
        assert!(value::decode(&fact, &longer).is_err(), "{fact:?} with a byte more");
        let newer = [&[99], &bytes[1..]].concat();
        assert!(value::decode(&fact, &newer).unwrap_err().what.contains("version 99"));
    }
}

#[test]
fn what_are_no_facts_is_written_as_it_always_was() {
    let clock = ClockV1 { high_ms: 1_700_000_000_000, advanced_ms: 60_000 };
    assert_eq!(hex(&value::write(1, &clock)), "01fd0068e5cf8b010000fb60ea");
    let answer = AnswerV1 {
        fingerprint: [6; 32],
        expires_at_ms: 1_700_000_000_000,
        status: 201,
        headers: vec![("etag".into(), "\"5\"".into())],
        body: Bytes::from_static(b"{}"),
    };
    let written = format!("01{}fd0068e5cf8b010000c901046574616703223522027b7d", "06".repeat(32));
    assert_eq!(hex(&value::write(1, &answer)), written);
    let counts = AnswerCountV1 { hours: vec![(472_222, 3)] };
    assert_eq!(hex(&value::write(1, &counts)), "0101fc9e34070003");
    let key = Key::AnswerCount(Scope::User(UserId::new(1)));
    let read = AnswerCountV2::read(&key, &value::write(1, &counts), 10).unwrap();
    assert_eq!(read.hours, [(472_222, 3, 30)]);
    let counts = AnswerCountV2 { hours: vec![(472_222, 3, 900)], adopted: vec![(7, 8)] };
    let bytes = value::write(2, &counts);
    assert_eq!(hex(&bytes), "0201fc9e34070003fb8403010708");
    assert_eq!(AnswerCountV2::read(&key, &bytes, 10), Ok(counts));
    let block = AnswerBlockV1 { answers: vec![([5; 32], 300, 1)] };
    let bytes = value::write(1, &block);
    assert_eq!(hex(&bytes), format!("0101{}fb2c0101", "05".repeat(32)));
    assert_eq!(AnswerBlockV1::read(&key, &bytes), Ok(block));
    let tx = ShownTxV1 {
        tx: 9,
        revision: 300,
        at_ms: 5,
        hidden: vec!["risk".into()],
        sees_all: true,
        allowed: vec![true, false],
    };
    let shown = [
        (ShownV1::Transaction(tx.clone(), true), "0009fb2c0105010472697 36b0102010001"),
        (ShownV1::Claimed(vec![]), "0100"),
        (ShownV1::SessionData(1, 2), "020102"),
        (ShownV1::UserData(1, 2), "030102"),
        (ShownV1::SessionFacts(1, 2), "040102"),
        (ShownV1::User(1, 2, false), "05010200"),
        (ShownV1::Stored(1, [2; 32], 3, true), "0601{02}0301"),
        (ShownV1::Value("s".into(), "k".into(), 3, true), "070173016b0301"),
        (ShownV1::Transfers(vec![("t".into(), 4)], 5, true), "08010174040501"),
    ];
    for (shown, golden) in shown {
        let answer =
            AnswerV2 { fingerprint: [6; 32], expires_at_ms: 5, hash: [7; 16], revision: 4, shown };
        let golden = golden.replace(' ', "").replace("{02}", &"02".repeat(32));
        let written = format!("02{}05{}04{golden}", "06".repeat(32), "07".repeat(16));
        let bytes = value::write(2, &answer);
        assert_eq!(hex(&bytes), written);
        assert_eq!(StoredAnswer::read(&key, &bytes), Ok(StoredAnswer::Shown(answer)));
    }
}

#[test]
fn a_log_entry_is_read_as_it_was_written_and_names_no_secret() {
    let events = [crate::engine::SessionEvent::TokenReplaced {
        session: SessionId::new(1),
        token: TokenHash::new([7; 32]),
    }];
    let changes =
        Changes { events: events.into_iter().map(Into::into).collect(), ..Changes::default() };
    let (system, facts) = (crate::engine::Actor::System, crate::engine::ReadSet::default());
    let bytes = entry::EntryToWrite::new(&system, "req-1", &changes, &facts).encode();
    let entry = entry::EntryV1::decode(&bytes).unwrap();
    assert_eq!((&*entry.actor, &*entry.request, entry.session.as_ref()), ("system", "req-1", None));
    // What is read is written the same again.
    assert_eq!(value::write(1, &entry), bytes);
    assert_eq!(entry.events[0].data, r#"{"session":"ses_00000000000000000000000001"}"#);
    let golden = "010673797374656d0000000572657131";
    assert!(hex(&bytes).starts_with(&golden[..18]));
}

proptest! {
    #[test]
    fn parts_are_put_together_as_they_were_split(length in 0..PART_BYTES * 3 + 10) {
        let value: Vec<u8> = (0..=250).cycle().take(length).collect();
        let parts = split(&value).unwrap();
        prop_assert!(parts.iter().all(|part| part.len() <= crate::store::VALUE_BYTES_MAX));
        prop_assert_eq!(join(&parts).unwrap(), Bytes::from(value));
        prop_assert!(join(&parts[..parts.len() - 1]).is_none());
    }
}

static DEFINITIONS: std::sync::LazyLock<Definitions> =
    std::sync::LazyLock::new(Definitions::default);

#[test]
fn a_record_that_shrinks_or_goes_leaves_no_part_behind() {
    let store = Memory::new();
    let fact = RecordKey::SessionData(SessionId::new(1));
    let write = |record: Option<Record>| {
        let mut reader = Reader::new(&store, View::Staged, &DEFINITIONS);
        reader.load(fact.clone()).unwrap();
        let records = [(fact.clone(), record)].into();
        let changes = Changes { records, ..Changes::default() };
        let Planned { preconditions, pack, .. } = plan(&changes, &reader).unwrap();
        let writes = pack.into_writes();
        let batch = Batch { preconditions, writes, ..Batch::default() };
        drop(store.commit(batch).unwrap());
        let rows = store.scan(View::Staged, &KeyRange::all(), Order::Ascending, 200).unwrap().rows;
        let found = read_record(&store, View::Committed, &fact).unwrap();
        (rows.len(), found.map(|(record, _)| Arc::unwrap_or_clone(record)))
    };
    let of = |length: usize| Some(Record::Data("x".repeat(length).into()));
    for (length, parts) in [(10, 1), (PART_BYTES * 2, 3), (PART_BYTES, 2), (10, 1)] {
        assert_eq!(write(of(length)), (parts, of(length)));
    }
    write(of(PART_BYTES * 3));
    assert_eq!(write(None), (0, None));
    assert!(split(&vec![0; PART_BYTES * PARTS_MAX + 1]).is_none());
}

#[test]
fn what_was_read_must_still_be_so_at_the_commit() {
    let store = Memory::new();
    let fact = RecordKey::KeyCount;
    let plan_from = |reader: &Reader<'_>, count| {
        let records = [(fact.clone(), Some(Record::Count(count)))].into();
        let changes = Changes { records, ..Changes::default() };
        let Planned { preconditions, pack, .. } = plan(&changes, reader).unwrap();
        let writes = pack.into_writes();
        store.commit(Batch { preconditions, writes, ..Batch::default() }).map(drop)
    };
    let mut stale = Reader::new(&store, View::Staged, &DEFINITIONS);
    stale.load(fact.clone()).unwrap();
    plan_from(&stale, 1).unwrap();
    assert!(plan_from(&stale, 2).is_err());
    let mut fresh = Reader::new(&store, View::Staged, &DEFINITIONS);
    fresh.load(fact.clone()).unwrap();
    plan_from(&fresh, 2).unwrap();
}

/// A document in the words of an earlier build, each of which has another name today.
const EARLIER_WORDS: &str = "abide: 1
workflow: apply
see: [owner, role:auditor]
show: { risk: [role:officer] }
one: =tx.owner
data: { risk: null, see: 1 }
first: see
steps:
  see: { by: [owner], times: 3, do: [ { set: { see: 2 } } ], next: { end: done } }
";

/// The record of a version of a workflow: version byte, source, time, publisher.
fn definition_record(version: u8, source: &str) -> Vec<u8> {
    value::write(version, &(source, 5_u64, "alice"))
}

#[test]
fn definitions_of_version_1_are_read_in_the_earlier_words_and_no_others() {
    let fact = RecordKey::Definition("apply".parse().unwrap(), 1);
    let Record::Definition(published) =
        value::decode(&fact, &definition_record(1, EARLIER_WORDS)).unwrap()
    else {
        unreachable!("a definition is read as one")
    };
    assert_eq!(&*published.source, EARLIER_WORDS);
    let definition = &published.definition;
    assert_eq!(definition.readers.len(), 2);
    assert!(definition.restricted.contains_key("risk") && definition.unique.is_some());
    assert_eq!(definition.steps[0].max_submissions, Some(3));
    assert_eq!(definition.steps[0].name.as_str(), "see");

    let error = value::decode(&fact, &definition_record(2, EARLIER_WORDS)).unwrap_err();
    assert!(error.what.contains("called `readers` now"), "{error:?}");
    let error = value::decode(&fact, &definition_record(3, EARLIER_WORDS)).unwrap_err();
    assert!(error.what.contains("version 3"), "{error:?}");
}

#[test]
fn definitions_are_written_as_version_2_in_the_words_of_today() {
    let source = "{abide: 1, workflow: apply, readers: [owner], first: a, steps: {a: {by: [owner], \
                  max_submissions: 2, next: {end: done}}}}";
    let fact = RecordKey::Definition("apply".parse().unwrap(), 1);
    let record = value::decode(&fact, &definition_record(2, source)).unwrap();
    assert_eq!(value::encode(&record), definition_record(2, source));
}
