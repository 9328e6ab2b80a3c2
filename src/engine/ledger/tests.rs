//! Random histories of money: whatever the commands, in whatever order, repeated and late, the
//! accounts add up, no floor is broken, and no hold is resolved twice.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::engine::{
    Actor, Changes, Command, CommandInputs, DecideError, Decision, DecisionContext, Outcome,
    PasswordEvidence, ReadSet, Record, RecordKey, Refusal, Rules, Timer, TransferAsk, UnitOfWork,
    decide, decide_timers,
};
use crate::types::{
    AccountId, AssetCode, Decimal, HoldId, KeyId, Revision, SessionId, Span, Time, TransferId,
    UserId,
};

/// Accounts that take part; the first two may go below zero.
const ACCOUNTS: [(&str, &str, Option<i64>); 7] = [
    ("world", "EUR", None),
    ("mine", "GOLD", None),
    ("alice", "EUR", Some(0)),
    ("bob", "EUR", Some(0)),
    ("credit", "EUR", Some(-5)),
    ("gold:a", "GOLD", Some(0)),
    ("gold:b", "GOLD", Some(0)),
];

#[derive(Clone, Debug)]
enum Deed {
    Ask(Command),
    /// Repeats the command from this many deeds ago.
    Again(u8),
    Wait(u32),
}

fn id<T: std::str::FromStr>(text: &str) -> T {
    text.parse().unwrap_or_else(|_| panic!("{text}"))
}

fn account() -> impl Strategy<Value = AccountId> {
    (0..ACCOUNTS.len()).prop_map(|n| id(ACCOUNTS[n].0))
}

fn amount() -> impl Strategy<Value = Decimal> {
    prop_oneof![
        6 => (1..1500_i128).prop_map(|units| Decimal::from_minor(units, 2)),
        1 => (-1..1_i128).prop_map(|units| Decimal::from_minor(units, 2)),
        1 => Just(Decimal::from_minor(12_345, 3)),
        1 => Just(Decimal::from_minor(10_i128.pow(28), 2)),
    ]
}

fn transfer() -> impl Strategy<Value = TransferAsk> {
    (proptest::option::of(0..8_u8), account(), account(), amount()).prop_map(
        |(name, from, to, amount)| TransferAsk {
            id: name.map(|name| id(&format!("t{name}"))),
            from,
            to,
            amount,
            note: None,
        },
    )
}

fn hold_id() -> impl Strategy<Value = HoldId> {
    (0..6_u8).prop_map(|n| id(&format!("h{n}")))
}

fn deed() -> impl Strategy<Value = Deed> {
    let ask = prop_oneof![
        6 => proptest::collection::vec(transfer(), 1..4)
            .prop_map(|transfers| Command::PostTransfers { transfers }),
        2 => (0..8_u8).prop_map(|n| Command::ReverseTransfer { id: id(&format!("t{n}")) }),
        6 => (hold_id(), account(), amount(), proptest::option::of(1..5000_u64)).prop_map(
            |(hold, from, amount, life)| Command::PlaceHold {
                id: Some(hold), from, amount, expires: life.map(Span::from_ms),
            }
        ),
        5 => (hold_id(), account(), proptest::option::of(amount()), any::<bool>()).prop_map(
            |(id, to, amount, keep_rest)| Command::CaptureHold {
                id, to, amount, keep_rest, note: None,
            }
        ),
        3 => hold_id().prop_map(|id| Command::VoidHold { id }),
        2 => (account(), -1000..500_i128, any::<bool>()).prop_map(|(id, floor, none)| {
            let floor = (!none).then(|| Decimal::from_minor(floor, 2));
            let (frozen, read_anyone, if_match) = (None, None, None);
            Command::ChangeAccount { id, floor: Some(floor), frozen, read_anyone, if_match }
        }),
        1 => (account(), proptest::option::of(any::<bool>())).prop_map(|(id, frozen)| {
            let (floor, read_anyone, if_match) = (None, None, None);
            Command::ChangeAccount { id, floor, frozen, read_anyone, if_match }
        }),
        1 => account().prop_map(|id| Command::CloseAccount { id, if_match: None }),
        1 => (0..4_u8).prop_map(|scale| Command::PutAsset {
            asset: Asset { code: id("GOLD"), scale, name: None },
        }),
    ];
    prop_oneof![
        8 => ask.prop_map(Deed::Ask),
        2 => (1..6_u8).prop_map(Deed::Again),
        1 => (0..3000_u32).prop_map(Deed::Wait),
    ]
}

/// All records, timers and rows.
#[derive(Clone, Default, Debug, PartialEq)]
struct World {
    records: BTreeMap<RecordKey, (Arc<Record>, Revision)>,
    timers: BTreeSet<Timer>,
    rows: Vec<AppendedRow>,
}

impl World {
    fn load(&self, facts: &mut ReadSet, fact: RecordKey) {
        let record = self.records.get(&fact).cloned();
        facts.add(fact, record);
    }

    fn take(&mut self, changes: &Changes, revision: Revision) {
        for (fact, record) in &changes.records {
            let record = record.clone().unwrap_or_else(|| panic!("{fact:?} was deleted"));
            self.records.insert(fact.clone(), (Arc::new(record), revision));
        }
        for (timer, armed) in &changes.timers {
            if *armed {
                self.timers.insert(timer.clone());
            } else {
                self.timers.remove(timer);
            }
        }
        self.rows.extend(changes.rows.iter().cloned());
    }

    fn accounts(&self) -> impl Iterator<Item = &Account> {
        self.records.values().filter_map(|(record, _)| match &**record {
            Record::Account(account) => Some(account),
            _ => None,
        })
    }

    fn holds(&self) -> impl Iterator<Item = &Hold> {
        self.records.values().filter_map(|(record, _)| match &**record {
            Record::Hold(hold) => Some(hold),
            _ => None,
        })
    }

    fn account(&self, name: &str) -> &Account {
        self.accounts().find(|account| account.id.as_str() == name).unwrap()
    }

    fn hold(&self, name: &str) -> &Hold {
        self.holds().find(|hold| hold.id.as_str() == name).unwrap()
    }

    /// Checks the invariants, whatever commands ran before.
    fn require_add_up(&self) {
        let mut sums = BTreeMap::<AssetCode, Totals>::new();
        for account in self.accounts() {
            let sum = sums.entry(account.asset.clone()).or_default();
            sum.posted += account.posted;
            sum.held += account.held;
            sum.accounts += 1;
            assert!(account.floor.is_none_or(|floor| account.available() >= floor), "{account:?}");
            let open = || {
                let holds = self.holds().filter(|hold| hold.account == account.id);
                holds.filter(|hold| hold.status == HoldStatus::Held)
            };
            assert_eq!(open().map(|hold| hold.left).sum::<i128>(), account.held, "{account:?}");
            assert_eq!(open().count(), account.holds as usize, "{account:?}");
            let mut balance = 0;
            for row in &self.rows {
                if let AppendedRow::Entry(entry) = row
                    && entry.account == account.id
                {
                    balance += entry.amount;
                    assert_eq!(entry.balance, balance, "{entry:?}");
                }
            }
            assert_eq!(balance, account.posted, "{account:?}");
        }
        for (record, _) in self.records.values() {
            if let Record::Transfer(transfer) = &**record {
                sums.get_mut(&transfer.asset).unwrap().transfers += 1;
            }
        }
        for (asset, sum) in sums {
            assert_eq!(sum.posted, 0, "{asset}");
            let (record, _) = &self.records[&RecordKey::Totals(asset)];
            assert_eq!(**record, Record::Totals(sum));
        }
        let armed = self.holds().filter(|hold| hold.status == HoldStatus::Held);
        let armed: BTreeSet<_> =
            armed.filter_map(|hold| Some((hold.expires_at?, &hold.id))).collect();
        let timers: BTreeSet<_> = self
            .timers
            .iter()
            .map(|timer| match &timer.what {
                crate::engine::TimerOf::Hold(id) => (timer.due, id),
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(timers, armed);
        for hold in self.holds() {
            let open = hold.status == HoldStatus::Held;
            assert_eq!(open, hold.left > 0, "{hold:?}");
            assert!(hold.captured + hold.left <= hold.amount, "{hold:?}");
        }
    }
}

/// A world in which time passes.
struct Life {
    world: World,
    replayed: World,
    rules: Rules,
    now: Time,
    revision: Revision,
    asked: Vec<Command>,
}

impl Life {
    fn new() -> Self {
        let mut life = Self {
            world: World::default(),
            replayed: World::default(),
            rules: Rules::default(),
            now: Time::from_ms(1_700_000_000_000),
            revision: Revision::ZERO,
            asked: Vec::new(),
        };
        life.ask(&Command::PutAsset { asset: Asset { code: id("GOLD"), scale: 2, name: None } })
            .unwrap();
        for (name, asset, floor) in ACCOUNTS {
            life.ask(&Command::OpenAccount {
                id: id(name),
                asset: id(asset),
                owner: None,
                floor: floor.map(Decimal::whole),
                read_anyone: false,
            })
            .unwrap();
        }
        life
    }

    fn context(&self) -> DecisionContext {
        let seed = u128::from(self.revision.get() + 1) << 40;
        DecisionContext { now: self.now, revision: self.revision.next(), seed, split_factor: 1 }
    }

    fn take(&mut self, facts: &ReadSet, changes: &Changes) {
        check(facts, changes).unwrap();
        if changes.events.is_empty() {
            assert!(changes.records.is_empty() && changes.rows.is_empty());
            return;
        }
        let context = self.context();
        for (fact, record) in &changes.records {
            let old = self.world.records.get(fact).map(|(old, _)| &**old);
            match (old, record) {
                (Some(Record::Hold(old)), Some(Record::Hold(new))) => {
                    assert_eq!(old.status, HoldStatus::Held, "resolved twice: {old:?} {new:?}");
                    assert!(new.captured >= old.captured && new.left < old.left);
                }
                (Some(Record::Transfer(old)), Some(Record::Transfer(new))) => {
                    assert_eq!(old.reversed_by, None, "reversed twice");
                    let linked = Transfer { reversed_by: new.reversed_by.clone(), ..old.clone() };
                    assert_eq!(*new, linked, "a transfer was changed");
                }
                _ => {}
            }
        }
        self.world.take(changes, context.revision);
        let mut facts = ReadSet::default();
        let again = loop {
            let mut unit = UnitOfWork::new(&facts, &self.rules, context);
            match changes.events.iter().try_for_each(|event| unit.emit(event.clone())) {
                Ok(()) => break unit.into_changes(),
                Err(DecideError::MissingRecord(fact)) => self.replayed.load(&mut facts, fact),
                Err(DecideError::Refused(refusal)) => panic!("an event was refused: {refusal}"),
            }
        };
        self.replayed.take(&again, context.revision);
        // Only the timers that fired are taken away by themselves.
        self.replayed.timers.retain(|timer| self.world.timers.contains(timer));
        self.revision = context.revision;
    }

    fn ask(&mut self, command: &Command) -> Result<Outcome, Refusal> {
        let mut facts = ReadSet::default();
        let Decision { changes, result } = loop {
            let (actor, inputs) = (Actor::System, inputs());
            match decide(&facts, &self.rules, self.context(), &actor, command, &inputs) {
                Ok(decision) => break decision,
                Err(fact) => self.world.load(&mut facts, fact),
            }
        };
        if result.is_err() {
            assert!(changes.records.is_empty(), "a refusal changed something");
        } else {
            self.take(&facts, &changes);
        }
        result
    }

    fn wait(&mut self, by: Span) {
        self.now = self.now.plus(by);
        let due: Vec<Timer> =
            self.world.timers.iter().take_while(|timer| timer.due <= self.now).cloned().collect();
        let mut facts = ReadSet::default();
        let changes = loop {
            match decide_timers(&facts, &self.rules, self.context(), &due, self.now) {
                Ok(changes) => break changes,
                Err(needs) => {
                    for fact in needs {
                        self.world.load(&mut facts, fact);
                    }
                }
            }
        };
        self.take(&facts, &changes);
    }

    fn live(&mut self, deed: Deed) {
        match deed {
            Deed::Wait(by) => self.wait(Span::from_ms(by.into())),
            Deed::Ask(command) => {
                drop(self.ask(&command));
                self.asked.push(command);
            }
            Deed::Again(back) => {
                let Some(at) = self.asked.len().checked_sub(back.into()) else { return };
                let before = self.revision;
                let command = self.asked[at].clone();
                let result = self.ask(&command);
                if let Command::PostTransfers { transfers } = &command
                    && transfers.iter().all(|transfer| transfer.id.is_some())
                    && let Ok(Outcome::Transfers { created: false, .. }) = result
                {
                    assert_eq!(self.revision, before, "a duplicate changed something");
                }
            }
        }
    }
}

fn inputs() -> CommandInputs {
    CommandInputs {
        password: PasswordEvidence::Unchecked,
        password_hash: None,
        session: SessionId::new(1),
        user: UserId::new(1),
        key: KeyId::new(1),
        seed: 0,
        token: None,
        account: [0; 32],
        origin: None,
        stored: [0; 32],
        address: None,
        agent: None,
        checked: None,
        preconditions: None,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn money_is_conserved_whatever_is_asked_for(
        deeds in proptest::collection::vec(deed(), 1..60)
    ) {
        let mut life = Life::new();
        let gift = TransferAsk { from: id("world"), to: id("alice"), ..ask("gift", 30) };
        life.ask(&Command::PostTransfers { transfers: vec![gift] }).unwrap();
        for deed in deeds {
            life.live(deed);
            life.world.require_add_up();
        }
        prop_assert_eq!(life.world, life.replayed);
    }
}

/// Returns a request for a transfer of this many whole units from alice to bob.
fn ask(name: &str, whole: i64) -> TransferAsk {
    let (from, to) = (id("alice"), id("bob"));
    TransferAsk { id: Some(id(name)), from, to, amount: Decimal::whole(whole), note: None }
}

fn post(life: &mut Life, transfers: &[TransferAsk]) -> Result<Outcome, Refusal> {
    life.ask(&Command::PostTransfers { transfers: transfers.to_vec() })
}

fn hold(
    life: &mut Life,
    name: &str,
    whole: i64,
    expires: Option<Span>,
) -> Result<Outcome, Refusal> {
    let (id, from, amount) = (Some(id(name)), id("alice"), Decimal::whole(whole));
    life.ask(&Command::PlaceHold { id, from, amount, expires })
}

fn capture(
    life: &mut Life,
    name: &str,
    whole: Option<i64>,
    keep_rest: bool,
) -> Result<Outcome, Refusal> {
    let (id, to, amount) = (id(name), id("bob"), whole.map(Decimal::whole));
    life.ask(&Command::CaptureHold { id, to, amount, keep_rest, note: None })
}

/// Returns a life in which alice has 30.
fn rich() -> Life {
    let mut life = Life::new();
    let gift = TransferAsk { from: id("world"), to: id("alice"), ..ask("gift", 30) };
    post(&mut life, &[gift]).unwrap();
    life
}

fn code(result: Result<Outcome, Refusal>) -> &'static str {
    let refusal = result.unwrap_err();
    assert!(refusal.is_stored(), "{refusal:?} is by the state");
    refusal.code()
}

#[test]
fn a_hold_is_spent_once_and_what_is_on_its_way_cannot_be_spent() {
    let mut life = rich();
    hold(&mut life, "h", 20, None).unwrap();
    assert_eq!(code(post(&mut life, &[ask("t", 11)])), "insufficient-funds");
    assert_eq!(code(hold(&mut life, "h2", 11, None)), "insufficient-funds");
    let bob = TransferAsk { from: id("bob"), to: id("alice"), ..ask("t", 1) };
    assert_eq!(code(post(&mut life, &[bob])), "insufficient-funds");
    assert_eq!(code(capture(&mut life, "h", Some(21), false)), "exceeds-hold");
    capture(&mut life, "h", Some(5), true).unwrap();
    assert_eq!(life.world.account("alice").held, 1500);
    assert_eq!(life.world.account("alice").posted, 2500);
    capture(&mut life, "h", Some(5), false).unwrap();
    let alice = life.world.account("alice");
    assert_eq!((alice.posted, alice.held, alice.holds), (2000, 0, 0));
    let h = life.world.hold("h");
    assert_eq!((h.captured, h.left, h.status), (1000, 0, HoldStatus::Captured));
    assert_eq!(code(capture(&mut life, "h", None, false)), "hold-not-open");
    assert_eq!(code(life.ask(&Command::VoidHold { id: id("h") })), "hold-not-open");
    assert_eq!(life.world.account("bob").posted, 1000);
}

#[test]
fn a_hold_expires_at_its_very_moment_and_not_before() {
    let mut life = rich();
    hold(&mut life, "h", 20, Some(Span::from_ms(1000))).unwrap();
    life.wait(Span::from_ms(999));
    assert_eq!(life.world.hold("h").status, HoldStatus::Held);
    // The clock has reached it and the timer has not fired yet.
    life.now = life.now.plus(Span::from_ms(1));
    assert_eq!(code(capture(&mut life, "h", None, false)), "hold-not-open");
    assert_eq!(code(life.ask(&Command::VoidHold { id: id("h") })), "hold-not-open");
    life.wait(Span::ZERO);
    assert_eq!(life.world.hold("h").status, HoldStatus::Expired);
    assert_eq!(life.world.account("alice").held, 0);
    life.world.require_add_up();
}

#[test]
fn what_leaves_a_frozen_account_was_held_before() {
    let mut life = rich();
    hold(&mut life, "h", 20, None).unwrap();
    let freeze = Command::ChangeAccount {
        id: id("alice"),
        floor: None,
        frozen: Some(true),
        read_anyone: None,
        if_match: None,
    };
    life.ask(&freeze).unwrap();
    assert_eq!(code(post(&mut life, &[ask("t", 1)])), "account-frozen");
    assert_eq!(code(hold(&mut life, "h2", 1, None)), "account-frozen");
    capture(&mut life, "h", None, false).unwrap();
    let back = TransferAsk { from: id("bob"), to: id("alice"), ..ask("t", 1) };
    post(&mut life, &[back]).unwrap();
}

#[test]
fn a_closed_account_is_empty_and_stays_so() {
    let mut life = rich();
    let close = |name: &str| Command::CloseAccount { id: id(name), if_match: None };
    assert_eq!(code(life.ask(&close("alice"))), "account-not-empty");
    life.ask(&close("bob")).unwrap();
    assert_eq!(code(post(&mut life, &[ask("t", 1)])), "account-closed");
    hold(&mut life, "h", 1, None).unwrap();
    assert_eq!(code(capture(&mut life, "h", None, false)), "account-closed");
    let reopened = Command::OpenAccount {
        id: id("bob"),
        asset: id("EUR"),
        owner: None,
        floor: None,
        read_anyone: false,
    };
    assert_eq!(code(life.ask(&reopened)), "account-exists");
}

#[test]
fn several_transfers_are_posted_all_or_none() {
    let mut life = rich();
    let before = life.world.clone();
    assert_eq!(code(post(&mut life, &[ask("a", 20), ask("b", 20)])), "insufficient-funds");
    assert_eq!(life.world, before);
    // The second transfer may spend the amount that the first brings.
    let on = TransferAsk { from: id("bob"), to: id("credit"), ..ask("b", 20) };
    post(&mut life, &[ask("a", 20), on]).unwrap();
    assert_eq!(life.world.account("credit").posted, 2000);
}

#[test]
fn the_same_id_is_the_same_transfer_however_late() {
    let mut life = rich();
    post(&mut life, &[ask("a", 30)]).unwrap();
    let revision = life.revision;
    let again = TransferAsk { amount: id("30.00"), ..ask("a", 30) };
    let result = post(&mut life, &[again]).unwrap();
    assert!(matches!(result, Outcome::Transfers { created: false, .. }));
    assert_eq!(life.revision, revision);
    assert_eq!(code(post(&mut life, &[ask("a", 1)])), "transfer-id-taken");
    let noted = TransferAsk { note: Some("x".into()), ..ask("a", 30) };
    assert_eq!(code(post(&mut life, &[noted])), "transfer-id-taken");
    hold(&mut life, "h", 1, None).unwrap_err();
}

#[test]
fn a_transfer_is_reversed_once_and_only_if_it_can_be() {
    let mut life = rich();
    post(&mut life, &[ask("a", 30)]).unwrap();
    let reverse = |name: &str| Command::ReverseTransfer { id: id::<TransferId>(name) };
    let spent = TransferAsk { from: id("bob"), to: id("credit"), ..ask("b", 1) };
    post(&mut life, &[spent]).unwrap();
    assert_eq!(code(life.ask(&reverse("a"))), "insufficient-funds");
    life.ask(&reverse("b")).unwrap();
    life.ask(&reverse("a")).unwrap();
    assert_eq!(code(life.ask(&reverse("a"))), "already-reversed");
    assert_eq!(life.world.account("alice").posted, 3000);
    assert_eq!(life.world.account("bob").posted, 0);
}

#[test]
fn amounts_are_above_zero_exact_and_of_one_asset() {
    let mut life = rich();
    let with = |amount: &str| TransferAsk { amount: id(amount), ..ask("a", 1) };
    assert_eq!(code(post(&mut life, &[with("0")])), "amount-out-of-range");
    assert_eq!(code(post(&mut life, &[with("-1")])), "amount-out-of-range");
    assert_eq!(code(post(&mut life, &[with("0.001")])), "amount-not-exact");
    let other = TransferAsk { to: id("gold:a"), ..ask("a", 1) };
    assert_eq!(code(post(&mut life, &[other])), "asset-mismatch");
    let own = TransferAsk { to: id("alice"), ..ask("a", 1) };
    assert_eq!(code(post(&mut life, &[own])), "same-account");
    let nobody = TransferAsk { to: id("nobody"), ..ask("a", 1) };
    assert_eq!(code(post(&mut life, &[nobody])), "unknown-account");
    let huge = TransferAsk {
        from: id("world"),
        to: id("alice"),
        amount: Decimal::from_minor(10_i128.pow(28), 2),
        ..ask("a", 1)
    };
    assert_eq!(code(post(&mut life, &[huge])), "amount-out-of-range");
}

/// An account without a floor that has a balance could hold more than any balance may be.
#[test]
fn what_is_held_stays_in_range_too() {
    let mut life = rich();
    let open = |name: &str| Command::OpenAccount {
        id: id(name),
        asset: id("EUR"),
        owner: None,
        floor: None,
        read_anyone: false,
    };
    life.ask(&open("other")).unwrap();
    let filled = TransferAsk { to: id("other"), ..ask("a", 30) };
    post(&mut life, &[filled]).unwrap();
    let mut place = |name: &str, units| {
        let (from, amount) = (id("other"), Decimal::from_minor(units, 2));
        life.ask(&Command::PlaceHold { id: Some(id(name)), from, amount, expires: None })
    };
    place("h1", BALANCE_MAX).unwrap();
    assert_eq!(code(place("h2", 1)), "amount-out-of-range");
}

#[test]
fn the_digits_of_an_asset_in_use_stay() {
    let mut life = Life::new();
    let put = |code: &str, scale| Command::PutAsset {
        asset: Asset { code: id(code), scale, name: None },
    };
    assert_eq!(code(life.ask(&put("GOLD", 3))), "asset-in-use");
    assert_eq!(code(life.ask(&put("EUR", 3))), "asset-in-use");
    assert!(matches!(life.ask(&put("EUR", 2)), Ok(Outcome::Asset { created: false, .. })));
    life.ask(&put("SKU-1", 0)).unwrap();
    life.ask(&put("SKU-1", 1)).unwrap();
    assert_eq!(iso_asset(&id("JPY")).map(|asset| asset.scale), Some(0));
    assert!(iso_asset(&id("XAU")).is_none());
    assert!(iso_assets().len() > 150);
}

/// The check finds a commit that would make money out of nothing by its records alone.
#[test]
fn a_commit_that_does_not_add_up_is_never_made() {
    let life = rich();
    let mut facts = ReadSet::default();
    let alice = RecordKey::Account(id("alice"));
    let bob = RecordKey::Account(id("bob"));
    let totals = RecordKey::Totals(id("EUR"));
    for fact in [&alice, &bob, &totals] {
        life.world.load(&mut facts, fact.clone());
    }
    let account = |name: &str, change: fn(&mut Account)| {
        let mut account = life.world.account(name).clone();
        change(&mut account);
        Some(Record::Account(account))
    };
    let sums = |change: fn(&mut Totals)| {
        let Record::Totals(mut sums) = *life.world.records[&totals].0 else { panic!("totals") };
        change(&mut sums);
        Some(Record::Totals(sums))
    };
    let checked = |records: &[(&RecordKey, Option<Record>)]| {
        let records = records.iter().map(|(fact, record)| ((*fact).clone(), record.clone()));
        check(&facts, &Changes { records: records.collect(), ..Changes::default() })
    };
    let more = || account("alice", |account| account.posted += 1);
    let less = || account("bob", |account| account.posted += -1);
    // Money out of nothing, in the accounts, and in both.
    checked(&[(&alice, more())]).unwrap_err();
    checked(&[(&alice, more()), (&totals, sums(|sums| sums.posted += 1))]).unwrap_err();
    // A broken floor, though the sums add up.
    checked(&[(&alice, more()), (&bob, less())]).unwrap_err();
    // A held amount without the totals, or the reverse.
    checked(&[(&alice, account("alice", |account| account.held += 1))]).unwrap_err();
    checked(&[(&totals, sums(|sums| sums.held += 1))]).unwrap_err();
    // An account that vanishes, changes its asset, is closed with something on it.
    checked(&[(&alice, None)]).unwrap_err();
    checked(&[(&alice, account("alice", |account| account.scale = 0))]).unwrap_err();
    checked(&[(&alice, account("alice", |account| account.closed = true))]).unwrap_err();
    // A record that was changed unread.
    let unread = RecordKey::Account(id("world"));
    checked(&[(&unread, account("world", |_| ()))]).unwrap_err();
    // A commit that adds up passes.
    let moved = [
        (&alice, account("alice", |account| account.posted -= 1)),
        (&bob, account("bob", |account| account.posted += 1)),
        (&totals, sums(|sums| sums.transfers += 1)),
    ];
    checked(&moved).unwrap();
}
