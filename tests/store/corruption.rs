//! Damage: a flipped bit in each region of each file, and truncation at each boundary. The store
//! opens with everything that was acknowledged, or refuses and names the file; it never shows
//! anything else.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::os::unix::fs::{FileExt, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use abide::store::{Batch, Store, StoreError, Write};

use crate::load::Load;
use crate::model::{History, Model, check};
use crate::random::Random;
use crate::room;
use crate::subject::{open, verified};

/// Something done to one file.
#[derive(Clone, Copy, Debug)]
enum Damage {
    Flip { at: u64, bit: u64 },
    Truncate(u64),
    Remove,
}

fn files_in(dir: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { files.extend(files_in(&path)) } else { files.push(path) }
    }
    files.sort();
    files
}

/// Copies a directory; all-zero parts of files stay holes.
fn copy(from: &Path, to: &Path) {
    for file in files_in(from) {
        let target = to.join(file.strip_prefix(from).unwrap());
        fs::create_dir_all(target.parent().unwrap()).unwrap();
        crate::content::Content::read(&file).store(&target);
    }
    fs::create_dir_all(to.join("sled/blobs")).unwrap();
}

fn inflict(path: &Path, damage: Damage) {
    let file = OpenOptions::new().read(true).write(true).open(path).unwrap();
    match damage {
        Damage::Flip { at, bit } => {
            let mut byte = [0];
            file.read_exact_at(&mut byte, at).unwrap();
            byte[0] ^= 1_u8 << bit;
            file.write_all_at(&byte, at).unwrap();
        }
        Damage::Truncate(len) => file.set_len(len).unwrap(),
        Damage::Remove => fs::remove_file(path).unwrap(),
    }
}

/// Places worth damaging: every boundary and some of everywhere. `used`: where the file's last
/// byte that is not zero lies.
fn damages(path: &Path, random: &mut Random) -> Vec<Damage> {
    let bytes = fs::read(path).unwrap();
    let used = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last as u64 + 1);
    let len = bytes.len() as u64;
    let mut places: Vec<u64> =
        vec![0, 4, 8, 12, 16, 20, 24, 40, 63, 64, 80, used.saturating_sub(1)];
    places.extend((0..8).map(|_| random.below(used.max(1))));
    // Headers of pages of any kind, and what lies right behind them.
    places.extend((0..4).map(|_| random.below(used.max(1)) / 4096 * 4096 + random.below(64)));
    places.extend([4096, 4096 + 4, 4096 + 8, 4096 + 12, 4096 + 16, 4096 + 24, 4096 + 70]);
    let mut damages: Vec<Damage> = (places.into_iter())
        .filter(|at| *at < len)
        .map(|at| Damage::Flip { at, bit: random.below(8) })
        .collect();
    let cuts =
        [0, 1, 64, 4095, 4096, 8192, used / 2, used / 2 / 4096 * 4096, used.saturating_sub(1)];
    damages.extend(cuts.into_iter().filter(|cut| *cut < len).map(Damage::Truncate));
    if len > 0 {
        damages.push(Damage::Truncate(len - 1));
    }
    damages.push(Damage::Remove);
    damages
}

/// A data directory that has everything, closed; its history, and its last revision.
fn made(dir: &Path) -> (History, u64) {
    let history = History::default();
    let store = open(dir).unwrap();
    Load { producers: 3, commits: 300, seed: 11, round: 0 }.run(&store, &history, &|_| {});
    let since = Instant::now();
    while store.stats().snapshots == 0 || store.stats().checkpoints < 2 {
        assert!(since.elapsed() < Duration::from_secs(20), "no base: {:?}", store.stats());
        std::thread::yield_now();
    }
    let last = store.durable().get();
    store.close().unwrap();
    (history, last)
}

#[test]
fn damage_is_repaired_or_refused_and_never_served() {
    let room = room();
    let dir = room.path().join("data");
    let (history, last) = made(&dir);
    let mut random = Random::new(Random::seed());
    let mut model = Model::default();
    let mut wrong = Vec::new();
    let mut counts: BTreeMap<String, (u32, u32, u32)> = BTreeMap::new();
    let mut spares = 0;
    for file in files_in(&dir) {
        // One spare file of the journal is as good as another.
        spares += u32::from(file.to_str().unwrap().contains("spare"));
        if spares > 1 && file.to_str().unwrap().contains("spare") {
            continue;
        }
        let name = file.strip_prefix(&dir).unwrap().to_path_buf();
        for (number, damage) in damages(&file, &mut random).into_iter().enumerate() {
            let image = crate::room();
            let image_dir = image.path().join("data");
            copy(&dir, &image_dir);
            inflict(&image_dir.join(&name), damage);
            // Without the note sled is made anew, so that every byte of the base and of the
            // journal behind it matters.
            if number % 2 == 1 && (name.starts_with("base") || name.starts_with("journal")) {
                fs::remove_file(image_dir.join("note")).unwrap();
            }
            let count = counts.entry(name.display().to_string()).or_default();
            match open(&image_dir) {
                Ok(store) => match check(&store, &history, &mut model, last) {
                    Ok(_) => count.0 += 1,
                    // A read finds the damage: it fails, names the location and shows nothing.
                    Err(what)
                        if what.contains("damaged at byte")
                            && what.contains(image_dir.to_str().unwrap()) =>
                    {
                        count.2 += 1;
                    }
                    Err(what) => wrong.push(format!("{} {damage:?}: {what}", name.display())),
                },
                Err(StoreError::Damaged { file, .. } | StoreError::Open { path: file, .. })
                    if file.starts_with(&image_dir) =>
                {
                    count.1 += 1;
                }
                Err(error) => wrong.push(format!("{} {damage:?}: {error}", name.display())),
            }
        }
    }
    for (name, (opened, refused, failed)) in counts {
        println!("{name}: opened right {opened}, refused {refused}, failed at a read {failed}");
    }
    assert_eq!(wrong, Vec::<String>::new());
}

/// sled serves older pages where its log is damaged, and does not report it: so a store with any
/// bit different from when it was closed is not opened.
#[test]
fn an_index_that_is_not_what_was_closed_is_made_anew() {
    let room = room();
    let dir = room.path().join("data");
    let (history, last) = made(&dir);
    let mut random = Random::new(Random::seed());
    let mut model = Model::default();
    let used = fs::metadata(dir.join("sled/db")).unwrap().len();
    let flips = (0..10).map(|_| Damage::Flip { at: random.below(used), bit: random.below(8) });
    for damage in [None].into_iter().chain(flips.map(Some)) {
        let image = crate::room();
        let image_dir = image.path().join("data");
        copy(&dir, &image_dir);
        if let Some(damage) = damage {
            inflict(&image_dir.join("sled/db"), damage);
        }
        let inode = || fs::metadata(image_dir.join("sled")).unwrap().ino();
        let before = inode();
        let store = open(&image_dir).unwrap();
        assert_eq!(inode() != before, damage.is_some(), "{damage:?}: made anew or not");
        check(&store, &history, &mut model, last).unwrap();
    }
}

/// An edit that keeps every checksum right: only the chain shows it.
#[test]
fn an_edited_history_is_refused() {
    let room = room();
    let dir = room.path().join("data");
    let store = open(&dir).unwrap();
    for amount in ["100", "200", "300"] {
        let writes = vec![Write::put("account", amount)];
        store.commit(Batch { writes, ..Batch::default() }).unwrap().wait().unwrap();
    }
    store.close().unwrap();
    verified(&dir).unwrap();
    let segment = dir.join("journal/0000000000000001.seg");
    let mut bytes = fs::read(&segment).unwrap();
    let generation = bytes[24..40].to_vec();
    let frame = &mut bytes[4096..];
    let payload = u32::from_le_bytes(frame[8..12].try_into().unwrap());
    let end = 64 + usize::try_from(payload).unwrap();
    let at = frame.windows(3).position(|window| window == b"100").unwrap();
    frame[at] = b'9';
    let checksum = crc32c::crc32c_append(crc32c::crc32c(&generation), &frame[8..end]);
    frame[4..8].copy_from_slice(&checksum.to_le_bytes());
    fs::write(&segment, bytes).unwrap();
    match verified(&dir) {
        Err(StoreError::Damaged { file, .. }) => assert_eq!(file, segment),
        other => panic!("an edited history was verified: {other:?}"),
    }
}
