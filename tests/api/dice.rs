//! Decisions of tests that look random: the same ones in each run, new ones with
//! `ABIDE_RANDOM_SEEDS=1`.

use std::hash::{BuildHasher as _, DefaultHasher, Hash, Hasher as _, RandomState};

/// Decides by a hash of the question.
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new() -> Self {
        let is_random = std::env::var_os("ABIDE_RANDOM_SEEDS").is_some_and(|value| value == "1");
        Self(if is_random { RandomState::new().hash_one(0) } else { 1 })
    }

    pub(crate) fn hash_one(&self, what: impl Hash) -> u64 {
        let mut hasher = DefaultHasher::new();
        (self.0, what).hash(&mut hasher);
        hasher.finish()
    }
}
