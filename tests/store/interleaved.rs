//! Random calls in random order, with reopening in between, against the model.

use abide::store::memory::Memory;
use abide::store::{Batch, KeyRange, Order, Precondition, Receipt, StoreError, View, Write};
use abide::types::Revision;
use bytes::Bytes;
use proptest::collection::vec;
use proptest::prelude::*;

use crate::contract::{Subject, is_pending};
use crate::model::{History, Model, check, scan_all};
use crate::subject::{Held, Merged};

/// One call.
#[derive(Clone, Debug)]
enum Step {
    /// Writes (key, size or deletion), and whether a precondition is right or wrong.
    Commit(Vec<(u8, Option<u16>)>, Guard),
    Hold,
    Release,
    Reopen,
    Get(u8),
    GetMany(Vec<u8>),
    Scan {
        staged: bool,
        from: u8,
        to: u8,
        descending: bool,
        limit: usize,
    },
    Log {
        after: u8,
        limit: usize,
    },
    /// This many commits of other keys, so that everything held in memory moves on.
    Flood(u8),
}

#[derive(Clone, Copy, Debug)]
enum Guard {
    None,
    Right,
    Wrong,
}

fn step() -> impl Strategy<Value = Step> {
    let write = (0..24_u8, prop_oneof![3 => (0..3000_u16).prop_map(Some), 1 => Just(None)]);
    let guard = prop_oneof![Just(Guard::None), Just(Guard::Right), Just(Guard::Wrong)];
    prop_oneof![
        12 => (vec(write, 0..6), guard).prop_map(|(writes, guard)| Step::Commit(writes, guard)),
        2 => Just(Step::Hold),
        3 => Just(Step::Release),
        1 => Just(Step::Reopen),
        3 => (0..24_u8).prop_map(Step::Get),
        2 => vec(0..24_u8, 0..8).prop_map(Step::GetMany),
        4 => (any::<bool>(), 0..25_u8, 0..25_u8, any::<bool>(), 1..8_usize).prop_map(
            |(staged, from, to, descending, limit)| Step::Scan { staged, from, to, descending, limit }
        ),
        2 => (any::<u8>(), 0..20_usize).prop_map(|(after, limit)| Step::Log { after, limit }),
        1 => (1..40_u8).prop_map(Step::Flood),
    ]
}

fn name(key: u8) -> Bytes {
    Bytes::from(format!("key/{key:02}"))
}

/// Expected state of the store, and pending results.
struct Expected {
    history: History,
    staged: Model,
    committed: Model,
    durable: u64,
    next: u64,
    held: bool,
    waiting: Vec<Receipt>,
}

impl Expected {
    fn commit(&mut self, subject: &impl Subject, mut batch: Batch, guard: Guard) {
        batch.writes.sort_by(|a, b| a.key.cmp(&b.key));
        batch.writes.dedup_by(|a, b| a.key == b.key);
        let current = |key: &Bytes| self.staged.rows.get(key).map(|row| row.revision);
        if let Some(write) = batch.writes.first() {
            let key = write.key.clone();
            let (right, wrong) = match current(&key) {
                Some(revision) => (
                    Precondition::Unchanged(key.clone(), revision),
                    Precondition::Unchanged(key, revision.next()),
                ),
                None => (
                    Precondition::Absent(key.clone()),
                    Precondition::Unchanged(key, Revision::new(self.next)),
                ),
            };
            match guard {
                Guard::None => {}
                Guard::Right => batch.preconditions = vec![right],
                Guard::Wrong => {
                    batch.preconditions = vec![right, wrong];
                    let refused = subject.store().commit(batch).unwrap_err();
                    assert_eq!(refused, StoreError::Conflict { index: 1 });
                    return;
                }
            }
        }
        let receipt = subject.store().commit(batch.clone()).unwrap();
        assert_eq!(receipt.revision(), Revision::new(self.next));
        self.staged.apply(receipt.revision(), &batch);
        self.history.note(receipt.revision(), batch);
        self.next += 1;
        if self.held {
            self.waiting.push(receipt);
        } else {
            receipt.wait().unwrap();
            self.settle();
        }
    }

    fn settle(&mut self) {
        self.durable = self.next - 1;
        self.committed.go_to(&self.history, self.durable).unwrap();
    }

    fn release(&mut self, subject: &impl Subject) {
        assert!(self.waiting.iter_mut().all(is_pending), "acknowledged before its sync");
        subject.release();
        self.held = false;
        for receipt in self.waiting.drain(..) {
            receipt.wait().unwrap();
        }
        self.settle();
    }
}

/// Takes the steps and checks every answer.
fn take<S: Subject>(steps: Vec<Step>) {
    let mut subject = S::new();
    let mut expected = Expected {
        history: History::default(),
        staged: Model::default(),
        committed: Model::default(),
        durable: 0,
        next: 1,
        held: false,
        waiting: Vec::new(),
    };
    for (number, step) in steps.into_iter().enumerate() {
        let store = subject.store();
        match step {
            Step::Commit(writes, guard) => {
                let write = |(key, size): (u8, Option<u16>)| match size {
                    Some(size) => Write::put(
                        name(key),
                        vec![u8::try_from(number).unwrap(); usize::from(size)],
                    ),
                    None => Write::delete(name(key)),
                };
                let writes = writes.into_iter().map(write).collect();
                let batch = Batch { at_ms: number as u64, writes, ..Batch::default() };
                expected.commit(&subject, batch, guard);
            }
            Step::Flood(count) => {
                for number in 0..count {
                    let value = vec![number; 4000];
                    let write = Write::put(format!("flood/{:02}", number % 13), value);
                    let batch = Batch { writes: vec![write], ..Batch::default() };
                    expected.commit(&subject, batch, Guard::None);
                }
            }
            Step::Hold => {
                subject.hold();
                expected.held = true;
            }
            Step::Release => expected.release(&subject),
            Step::Reopen => {
                expected.release(&subject);
                subject.reopen();
            }
            Step::Get(key) => {
                let found = |view| store.get(view, &name(key)).unwrap();
                assert_eq!(found(View::Staged), expected.staged.rows.get(&name(key)).cloned());
                let committed = expected.committed.rows.get(&name(key)).cloned();
                assert_eq!(found(View::Committed), committed);
            }
            Step::GetMany(keys) => {
                let names: Vec<Bytes> = keys.into_iter().map(name).collect();
                let keys: Vec<&[u8]> = names.iter().map(AsRef::as_ref).collect();
                let (revision, rows) = store.get_many(&keys).unwrap();
                assert_eq!(revision.get(), expected.durable);
                let rows_expected = names.iter().map(|key| expected.committed.rows.get(key));
                assert!(rows.iter().map(Option::as_ref).eq(rows_expected));
            }
            Step::Scan { staged, from, to, descending, limit } => {
                let range = KeyRange {
                    from: std::ops::Bound::Included(name(from)),
                    to: std::ops::Bound::Excluded(name(to)),
                };
                let order = if descending { Order::Descending } else { Order::Ascending };
                let (view, model) = if staged {
                    (View::Staged, &expected.staged)
                } else {
                    (View::Committed, &expected.committed)
                };
                let found = scan_all(store, view, &range, order, limit).unwrap();
                assert_eq!(found, model.range(&range, order));
            }
            Step::Log { after, limit } => {
                let last = (u64::from(after) + limit as u64).min(expected.durable);
                match store.read_log(Revision::new(u64::from(after)), limit) {
                    Ok(entries) => {
                        let count = last.saturating_sub(u64::from(after));
                        assert!(entries.len() as u64 <= count);
                        assert!(!entries.is_empty() || count == 0, "the log is empty too soon");
                        let revisions = entries.iter().map(|entry| entry.revision.get());
                        assert!(revisions.eq((u64::from(after) + 1..).take(entries.len())));
                    }
                    Err(StoreError::Gone { oldest }) => assert!(oldest.get() > u64::from(after)),
                    Err(error) => panic!("{error}"),
                }
            }
        }
    }
    expected.release(&subject);
    let mut model = Model::default();
    check(subject.store(), &expected.history, &mut model, expected.durable).unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, max_shrink_iters: 200, ..ProptestConfig::default() })]

    #[test]
    fn memory_answers_as_the_model(steps in vec(step(), 1..120)) {
        take::<Memory>(steps);
    }

    #[test]
    fn durable_answers_as_the_model(steps in vec(step(), 1..80)) {
        take::<Held>(steps);
    }

    #[test]
    fn durable_merged_answers_as_the_model(steps in vec(step(), 1..80)) {
        take::<Merged>(steps);
    }
}
