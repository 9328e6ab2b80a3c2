//! Power loss by model: a load is recorded, the disk is cut at many moments in many ways, and
//! each image must open with everything that was promised.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use abide::store::Store;
use abide::store::durable::Durable;

use crate::disk::Disk;
use crate::load::{Load, Producer, watch};
use crate::model::{History, Model, check};
use crate::random::Random;
use crate::recorder::Recording;
use crate::subject::open;
use crate::tape::Op;
use crate::{assert_complete, room};

/// A recorded load: what happened to the files, and what was accepted.
struct Recorded {
    recording: Recording,
    history: History,
    seed: u64,
}

/// How a recorded load goes.
#[derive(Clone, Copy, Debug)]
struct Plan {
    /// How often the store is opened, loaded, and left...
    rounds: u64,
    /// ... with so many commits of each of its producers.
    commits: u64,
    /// Whether the store is closed between the rounds, or left as by a kill.
    closes: bool,
    /// Syncs of these files do nothing.
    sabotage: Option<&'static str>,
}

/// Loads a store in `root` while it is recorded.
fn record(root: &Path, plan: Plan) -> Recorded {
    let seed = Random::seed();
    let recording = Recording::start(root);
    if let Some(path) = plan.sabotage {
        recording.tape.ignore_syncs(path);
    }
    let history = History::default();
    let dir = root.join("data");
    let promise = |revision: abide::types::Revision| recording.tape.promise(revision.get());
    for round in 0..plan.rounds {
        let store = open(&dir).unwrap();
        // What was accepted and not acknowledged before a kill may be gone, with its revision.
        let durable = store.durable();
        history.lock().retain(|revision, _| *revision <= durable.get());
        promise(durable);
        let over = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| watch(&store, &over, &promise));
            let load = Load { producers: 4, commits: plan.commits, seed, round };
            load.run(&store, &history, &promise);
            over.store(true, Ordering::Release);
        });
        if plan.closes || round + 1 == plan.rounds {
            let stats = store.stats();
            println!(
                "round {round}: {} commits in {} groups, {} checkpoints, {} bases, journal {} KiB, sled {} KiB",
                stats.commits,
                stats.groups,
                stats.checkpoints,
                stats.bases,
                stats.journal_bytes / 1024,
                stats.sled_bytes / 1024
            );
        }
        if plan.closes { store.close().unwrap() } else { drop(store) }
    }
    Recorded { recording, history, seed }
}

/// What one cut showed.
fn cut(
    image: &Path,
    history: &History,
    model: &mut Model,
    promised: u64,
    random: &mut Random,
) -> Result<(), String> {
    let again = random.below(3) == 0;
    let recording = again.then(|| Recording::start(image));
    let dir = image.join("data");
    if !dir.exists() && promised == 0 {
        return Ok(());
    }
    let store = open(&dir).map_err(|error| format!("does not open: {error}"))?;
    // What it serves now is promised too.
    let durable = store.durable().get();
    if let Some(recording) = &recording {
        recording.tape.promise(durable);
    }
    check(&store, history, model, promised)?;
    let grown = history.up_to(durable);
    let mut model = model.clone();
    go_on(&store, &grown, random, recording.as_ref())?;
    let Some(recording) = recording else {
        let last = grown.lock().last_key_value().map_or(0, |(revision, _)| *revision);
        store.close().map_err(|error| format!("does not close: {error}"))?;
        let store = open(&dir).map_err(|error| format!("does not open once more: {error}"))?;
        check(&store, &grown, &mut model, last)?;
        return Ok(());
    };
    drop(store);
    // The power fails again, while it was being opened or soon after.
    let state = recording.tape.lock();
    let mut disk = Disk::new(&recording.tape.start, &state.ops);
    let mut at = random.index(state.ops.len() + 1);
    for _ in 0..3 {
        disk.advance(at);
        let out = room();
        disk.image(random, out.path());
        let store = open(&out.path().join("data"));
        let store = store.map_err(|error| format!("second cut: does not open: {error}"))?;
        let promised = promised.max(disk.promised());
        check(&store, &grown, &mut model, promised)
            .map_err(|what| format!("second cut at {at} of {}: {what}", state.ops.len()))?;
        drop(store);
        at += random.index(state.ops.len() + 1 - at);
    }
    Ok(())
}

/// Commits a little more and waits for it.
fn go_on(
    store: &Durable,
    history: &History,
    random: &mut Random,
    recording: Option<&Recording>,
) -> Result<(), String> {
    // Of a round of its own: its keys meet those of the load.
    let mut producer = Producer::new(9, 1, random.next());
    for _ in 0..random.below(12) {
        let batch = producer.batch();
        let receipt = store.commit(batch.clone()).map_err(|error| format!("refuses: {error}"))?;
        history.note(receipt.revision(), batch);
        let revision = receipt.wait().map_err(|error| format!("goes not on: {error}"))?;
        if let Some(recording) = recording {
            recording.tape.promise(revision.get());
        }
    }
    Ok(())
}

/// A moment to cut at: anywhere, or close to where something other than a plain write happens.
fn moment(ops: &[Op], special: &[usize], random: &mut Random) -> usize {
    if special.is_empty() || random.below(2) == 0 {
        return random.index(ops.len() + 1);
    }
    let near = special[random.index(special.len())] + random.index(4);
    near.min(ops.len())
}

/// Cuts a recorded load in `images` ways; answers with what was wrong.
fn cut_all(recorded: &Recorded, images: usize) -> Vec<String> {
    let state = recorded.recording.tape.lock();
    let mut random = Random::new(recorded.seed ^ 1);
    let special: Vec<usize> = (state.ops.iter().enumerate())
        .filter(|(_, op)| {
            matches!(
                op,
                Op::Link { .. } | Op::Unlink { .. } | Op::Rename { .. } | Op::Resize { .. }
            )
        })
        .map(|(at, _)| at)
        .collect();
    let mut cuts: Vec<usize> =
        (0..images).map(|_| moment(&state.ops, &special, &mut random)).collect();
    cuts.sort_unstable();
    let mut disk = Disk::new(&recorded.recording.tape.start, &state.ops);
    let mut model = Model::default();
    let mut wrong = Vec::new();
    for at in cuts {
        disk.advance(at);
        let image = room();
        disk.image(&mut random, image.path());
        let promised = disk.promised();
        if let Err(what) = cut(image.path(), &recorded.history, &mut model, promised, &mut random) {
            let seed = recorded.seed;
            wrong.push(format!("seed {seed}, cut at {at} of {}: {what}", state.ops.len()));
            if std::env::var_os("ABIDE_TEST_KEEP").is_some() {
                println!("{}: kept in {}", wrong.last().unwrap(), image.keep().display());
            }
        }
    }
    wrong
}

fn survives(plan: Plan, images: usize) {
    let root = room();
    let root_path = root.path().canonicalize().unwrap();
    let recorded = record(&root_path, plan);
    assert_complete(&recorded.recording, &root_path, room().path());
    assert_eq!(cut_all(&recorded, images), Vec::<String>::new());
}

#[test]
fn no_cut_of_a_mixed_load_loses_anything() {
    survives(Plan { rounds: 1, commits: 1200, closes: false, sabotage: None }, 150);
}

#[test]
fn no_cut_of_opening_and_closing_loses_anything() {
    survives(Plan { rounds: 12, commits: 60, closes: true, sabotage: None }, 100);
}

#[test]
fn no_cut_after_kills_loses_anything() {
    survives(Plan { rounds: 12, commits: 60, closes: false, sabotage: None }, 100);
}

/// The checker must be able to see a loss: a journal whose syncs do nothing loses.
#[test]
fn a_journal_without_its_sync_is_found_out() {
    let root = room();
    let plan = Plan { rounds: 1, commits: 100, closes: false, sabotage: Some(".seg") };
    let recorded = record(&root.path().canonicalize().unwrap(), plan);
    let wrong = cut_all(&recorded, 30);
    assert!(wrong.iter().any(|what| what.contains("lost")), "{wrong:?}");
}

/// A sled whose syncs do nothing is never believed: the base and the journal have it all.
#[test]
fn a_sled_without_its_sync_is_made_anew_or_found_out() {
    let root = room();
    let plan = Plan { rounds: 1, commits: 400, closes: false, sabotage: Some("/sled") };
    let recorded = record(&root.path().canonicalize().unwrap(), plan);
    let wrong = cut_all(&recorded, 40);
    println!("{} of 40: {:?}", wrong.len(), wrong.first());
}
