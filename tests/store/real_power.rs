//! Power loss for real: a small ext4 whose power is cut right after an acknowledgement.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use abide::types::Revision;

use crate::load::Load;
use crate::model::{History, Model, check};
use crate::mount::Mount;
use crate::random::Random;
use crate::subject::open;

const CUTS: u64 = 30;

#[test]
fn a_real_power_cut_right_after_an_acknowledgement_loses_nothing() {
    let mut mount = match Mount::new(256) {
        Ok(mount) => mount,
        Err(reason) => return println!("skipped: no loop-mounted ext4 here: {reason}"),
    };
    let history = History::default();
    let mut model = Model::default();
    let seed = Random::seed();
    let mut random = Random::new(seed);
    let mut promised = 0;
    for round in 0..=CUTS {
        let store = open(&mount.path().join("data")).unwrap();
        let durable = check(&store, &history, &mut model, promised)
            .unwrap_or_else(|what| panic!("seed {seed}, round {round}: {what}"));
        history.lock().retain(|revision, _| *revision <= durable);
        if round == CUTS {
            println!("{CUTS} cuts, {durable} commits");
            return;
        }
        let acknowledged = AtomicU64::new(durable);
        let fatal = durable + 1 + random.below(400);
        let cut: OnceLock<Result<(), String>> = OnceLock::new();
        let note = |revision: Revision| {
            acknowledged.fetch_max(revision.get(), Ordering::SeqCst);
            if revision.get() >= fatal {
                cut.get_or_init(|| Mount::cut(&mount.path()));
            }
        };
        let load = Load { producers: 4, commits: 400, seed: seed ^ round, round };
        load.run(&store, &history, &note);
        drop(store);
        promised = acknowledged.into_inner();
        match cut.into_inner() {
            Some(Ok(())) => {}
            Some(Err(reason)) if round == 0 => {
                return println!("skipped: this machine cannot cut the power: {reason}");
            }
            other => panic!("seed {seed}, round {round}: not cut: {other:?}"),
        }
        mount.restart().unwrap();
    }
}
