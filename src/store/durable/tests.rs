//! The formats on the disk, held byte for byte, and what each checksum is there to catch. That the
//! whole keeps its promises is the business of `tests/store`.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use proptest::prelude::*;

use super::super::chain::ChainLink;
use super::super::{Batch, KeyRange, Order, StoreError, Write};
use super::chain_roots::{self, ChainRoots};
use super::checkpoint::{Checkpoint, CheckpointFile, Position};
use super::frame::{ALIGN, Frame, FrameBuilder, Generation, HEADER};
use super::index::Index;
use super::journal::Journal;
use super::memtable::Memtable;
use super::memtables::{KeyVersion, MemtableEntry};
use super::options::Options;
use super::segment::{FIRST_FRAME, Segment};
use super::snapshot::{Snapshot, SnapshotRow, SnapshotWriter};
use super::value_location::{self, IndexedContent, ValueFile, ValueStart};
use super::values::ValueFiles;
use crate::types::Revision;

const GENERATION: Generation = [7; 16];

fn batch(number: u8) -> Batch {
    let writes = vec![Write::put(vec![number], vec![number; 5]), Write::delete(vec![number, 1])];
    Batch { at_ms: 1_000 + u64::from(number), writes, entry: "entry".into(), ..Batch::default() }
}

fn frame(commits: u8) -> (Bytes, ChainLink) {
    let mut builder = FrameBuilder::new(Revision::new(41), ChainLink([9; 32]), vec![1; 100]);
    let mut link = ChainLink([9; 32]);
    for number in 0..commits {
        (link, _) = builder.push(link, &[number; 16], &batch(number));
    }
    (builder.finish(&GENERATION).into(), link)
}

#[test]
fn a_frame_reads_as_it_was_written() {
    let (bytes, link) = frame(3);
    assert_eq!(bytes.len() % ALIGN, 0);
    let frame = Frame::check(&bytes, &GENERATION).unwrap();
    assert_eq!(frame.header.last(), Revision::new(43));
    let (entries, after) = frame.commits().unwrap();
    assert_eq!(after, link, "the reader's chain is the writer's");
    for (number, entry) in (0_u8..).zip(entries) {
        assert_eq!(entry.revision, Revision::new(41 + u64::from(number)));
        assert_eq!(entry.at_ms, batch(number).at_ms);
        assert_eq!(entry.entry, batch(number).entry);
        assert_eq!(entry.writes, batch(number).writes);
    }
}

/// A change of these bytes is a change of the format: it needs a new `FORMAT` and a way from the
/// old one.
#[test]
fn the_format_of_a_frame_is_this_one() {
    let (bytes, link) = frame(2);
    let digest = blake3::hash(&bytes).to_hex();
    assert_eq!(&digest[..32], "2d8b67a80752ba12d348b10af46de1fc");
    assert_eq!(&link.to_string()[..32], "90e3fb695bf351615b529cf26cdb89f1");
}

#[test]
fn an_earlier_use_of_the_file_does_not_count() {
    let (bytes, _) = frame(1);
    assert!(Frame::check(&bytes, &[8; 16]).is_none());
}

proptest! {
    #[test]
    fn a_flipped_bit_in_a_frame_is_seen(bit in 0..(ALIGN * 8)) {
        let (bytes, _) = frame(3);
        let payload_bytes = Frame::check(&bytes, &GENERATION).unwrap().header.payload_bytes;
        let covered = bit / 8 < HEADER + payload_bytes;
        let mut flipped = bytes.to_vec();
        flipped[bit / 8] ^= 1 << (bit % 8);
        prop_assert_eq!(Frame::check(&flipped.into(), &GENERATION).is_none(), covered);
    }

    #[test]
    fn any_bytes_are_read_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        drop(Frame::check(&bytes.into(), &GENERATION));
    }
}

/// A number that is given out twice destroys nothing.
#[test]
fn a_segment_is_never_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let segment = Segment::prepare(dir.path(), 2, 64 * 1024, None).unwrap();
    let spare = dir.path().join("spare");
    std::fs::copy(&segment.path, &spare).unwrap();
    for spare in [None, Some(&*spare)] {
        let again = Segment::prepare(dir.path(), 2, 64 * 1024, spare);
        assert!(matches!(again, Err(StoreError::Open { .. })), "{again:?}");
        assert_eq!(Segment::open(&segment.path).unwrap().generation, segment.generation);
    }
}

fn position(revision: u64) -> Position {
    Position {
        revision: Revision::new(revision),
        link: ChainLink([3; 32]),
        segment: 2,
        offset: 8192,
    }
}

#[test]
fn a_torn_slot_leaves_the_note_before() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("note");
    let (mut file, checkpoint) = CheckpointFile::open(&path).unwrap();
    assert_eq!(checkpoint, None);
    let older = Checkpoint { index: [1; 16], position: position(10) };
    let newer = Checkpoint { index: [1; 16], position: position(20) };
    file.write(&older).unwrap();
    file.write(&newer).unwrap();
    drop(file);
    assert_eq!(CheckpointFile::open(&path).unwrap().1, Some(newer));
    // The second write went into the first slot.
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[20] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    assert_eq!(CheckpointFile::open(&path).unwrap().1, Some(older));
}

#[test]
fn roots_are_chained_and_an_edited_one_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("roots");
    let mut file = ChainRoots::open(&path).unwrap();
    for sequence in 1..=3 {
        file.append(sequence, Revision::new(sequence * 10), ChainLink([5; 32])).unwrap();
    }
    // A crash between the root and the segment's end appends it once.
    file.append(3, Revision::new(30), ChainLink([5; 32])).unwrap();
    assert_eq!(chain_roots::read(&path).unwrap().len(), 3);
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[128 + 8] ^= 1;
    std::fs::write(&path, &bytes).unwrap();
    let offset = |error: StoreError| match error {
        StoreError::Damaged { offset, .. } => offset,
        other => panic!("{other}"),
    };
    assert_eq!(offset(chain_roots::read(&path).unwrap_err()), 128);
    // The last one may be torn: its segment is there still.
    bytes[128 + 8] ^= 1;
    bytes[256 + 8] ^= 1;
    std::fs::write(&path, &bytes).unwrap();
    assert_eq!(chain_roots::read(&path).unwrap().len(), 2);
}

/// An index over a journal of one segment that values are put into one behind the other.
struct Settled {
    _dir: tempfile::TempDir,
    journal: Arc<Journal>,
    values: Arc<ValueFiles>,
    index: Index,
    snapshots: std::path::PathBuf,
    end: u64,
    expected: BTreeMap<Bytes, Bytes>,
}

impl Settled {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let segments = dir.path().join("journal");
        std::fs::create_dir(&segments).unwrap();
        let journal = Arc::new(Journal::open(segments, 1 << 20, true).unwrap());
        let values = Arc::new(ValueFiles::new(journal.clone(), Vec::new()));
        let sled = dir.path().join("sled");
        let options = Options::new(dir.path());
        let index = Index::create(&sled, &options, values.clone(), |_| Ok(Revision::ZERO)).unwrap();
        let snapshots = dir.path().join("base");
        std::fs::create_dir(&snapshots).unwrap();
        let (end, expected) = (FIRST_FRAME, BTreeMap::new());
        Self { _dir: dir, journal, values, index, snapshots, end, expected }
    }

    /// Writes a key, and merges the write into the index; with nothing, deletes it.
    fn write(&mut self, number: u32, revision: u64, value: Option<&str>) -> (Bytes, MemtableEntry) {
        let key = Bytes::copy_from_slice(&number.to_be_bytes());
        let value = value.map(|value| Bytes::copy_from_slice(value.as_bytes()));
        let start = ValueStart { file: ValueFile::Journal(1), offset: self.end };
        if let Some(value) = &value {
            self.journal.segment(1).unwrap().write(value, self.end).unwrap();
            self.end += value.len() as u64;
            self.expected.insert(key.clone(), value.clone());
        } else {
            self.expected.remove(&key);
        }
        let entry =
            MemtableEntry { slot: KeyVersion { revision: Revision::new(revision), value }, start };
        self.index.apply(&key, &entry).unwrap();
        (key, entry)
    }

    fn check(&self) {
        let rows = self.index.rows(&KeyRange::all(), Order::Ascending);
        let rows: BTreeMap<_, _> =
            rows.map(Result::unwrap).map(|row| (row.key, row.value)).collect();
        assert_eq!(rows, self.expected);
        for (key, value) in &self.expected {
            assert_eq!(self.index.get(key).unwrap().unwrap().value, value);
        }
    }
}

fn long(text: &str) -> String {
    text.repeat(40)
}

#[test]
fn an_entry_reads_as_it_was_stored() {
    for (bytes, file) in [(0, 1), (64, 1), (65, 1), (64 * 1024, u64::from(u32::MAX))] {
        for file in [ValueFile::Journal(file), ValueFile::Snapshot(file)] {
            let value = vec![7; bytes];
            let start = ValueStart { file, offset: (1 << 40) - 1 };
            let revision = Revision::new((1 << 48) - 1);
            let stored = value_location::encode(revision, &value, start).unwrap();
            let entry = value_location::decode(stored.as_ref()).unwrap();
            assert_eq!(entry.revision, revision);
            match entry.content {
                IndexedContent::Small(found) => assert!(found == value && bytes <= 64),
                IndexedContent::Located(location) => {
                    assert_eq!((location.start, location.bytes), (start, bytes));
                    assert_eq!(location.checksum, crc32c::crc32c(&value));
                }
            }
        }
    }
    let far = ValueStart { file: ValueFile::Snapshot(1), offset: 1 << 40 };
    assert!(value_location::encode(Revision::new(1), &[0; 100], far).is_err());
    assert!(
        value_location::encode(Revision::new(1 << 48), &[0; 100], ValueStart { offset: 0, ..far })
            .is_err()
    );
}

proptest! {
    #[test]
    fn any_bytes_are_decoded_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
        drop(value_location::decode(&bytes));
    }
}

#[test]
fn a_value_that_is_not_what_was_written_is_never_given() {
    let mut settled = Settled::new();
    let (key, entry) = settled.write(1, 1, Some(&long("value")));
    settled.check();
    settled.journal.segment(1).unwrap().write(b"x", entry.start.offset + 3).unwrap();
    let read = settled.index.get(&key);
    let at = entry.start.offset;
    assert!(matches!(read, Err(StoreError::Damaged { offset, .. }) if offset == at), "{read:?}");
    settled.journal.take_behind(0);
    assert!(matches!(settled.index.get(&key), Err(StoreError::Damaged { .. })), "it is gone");
}

#[test]
fn a_base_is_exact_whatever_is_merged_behind_its_walk() {
    let mut settled = Settled::new();
    for number in 0..1000 {
        let value = if number % 2 == 0 { "old".into() } else { long("old") };
        settled.write(number, 1, Some(&value));
    }
    let mut writer = SnapshotWriter::begin(&settled.snapshots, 7).unwrap();
    assert!(!writer.walk(&settled.index, 500).unwrap());
    let new = long("new");
    let merge =
        [(10, None), (20, Some(&*new)), (701, None), (801, Some("new")), (2000, Some("new"))];
    let mut memtable = Memtable::default();
    for (number, value) in merge {
        let (key, entry) = settled.write(number, 2, value);
        memtable.insert(key, entry);
    }
    writer.amend(&memtable).unwrap();
    while !writer.walk(&settled.index, 500).unwrap() {}
    let snapshot = writer.finish(position(2)).unwrap();
    let read = |snapshot: &Snapshot| {
        let mut rows = BTreeMap::new();
        snapshot
            .read(|SnapshotRow { row, deleted, .. }| {
                match deleted {
                    true => rows.remove(&row.key),
                    false => rows.insert(row.key, row.value),
                };
                Ok(())
            })
            .map(|()| rows)
    };
    let (snapshots, problem) = Snapshot::all(&settled.snapshots).unwrap();
    assert!(problem.is_none() && snapshots.len() == 1);
    assert_eq!(read(&snapshots[0]).unwrap(), settled.expected);

    // What is written while it is adopted stays where it is.
    settled.values.add(snapshot.clone());
    settled.write(30, 3, None);
    settled.write(31, 3, Some("newer"));
    let mut reader = snapshot.clone().reader().unwrap();
    while let Some(rows) = reader.next_block().unwrap() {
        for SnapshotRow { row, deleted, start } in rows {
            if !deleted {
                settled.index.adopt(&row.key, row.revision, &row.value, start).unwrap();
            }
        }
    }
    settled.check();
    settled.journal.take_behind(0);
    settled.check();

    let mut bytes = std::fs::read(&snapshot.path).unwrap();
    bytes[100] ^= 1;
    std::fs::write(&snapshot.path, bytes).unwrap();
    assert!(matches!(read(&snapshot), Err(StoreError::Damaged { offset: 8, .. })));
}
