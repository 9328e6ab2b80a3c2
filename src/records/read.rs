//! From the store to the facts of a decision.

use std::collections::HashMap;
use std::sync::Arc;

use super::{DecodeError, Key, read_parts, value};
use crate::engine::{Fact, Facts, Loaded};
use crate::store::{Store, StoreError, View};

/// Why a record could not be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// The store could not.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// What it read makes no sense.
    #[error(transparent)]
    Decode(#[from] DecodeError),
}

/// Loads facts for one decision, and remembers in how many parts they lie.
pub struct Reader<'a> {
    store: &'a dyn Store,
    view: View,
    /// What was loaded.
    pub facts: Facts,
    pub(super) parts: HashMap<Fact, u8>,
}

impl<'a> Reader<'a> {
    /// Nothing loaded yet.
    #[must_use]
    pub fn new(store: &'a dyn Store, view: View) -> Self {
        Self { store, view, facts: Facts::default(), parts: HashMap::new() }
    }

    /// Loads a fact.
    ///
    /// # Errors
    /// [`ReadError`]
    pub fn load(&mut self, fact: Fact) -> Result<(), ReadError> {
        let (loaded, parts) = read(self.store, self.view, &fact)?;
        if parts > 1 {
            self.parts.insert(fact.clone(), parts);
        }
        self.facts.add(fact, loaded);
        Ok(())
    }
}

/// Reads one fact.
///
/// # Errors
/// [`ReadError`]
pub fn read_fact(store: &dyn Store, view: View, fact: &Fact) -> Result<Loaded, ReadError> {
    Ok(read(store, view, fact)?.0)
}

fn read(store: &dyn Store, view: View, fact: &Fact) -> Result<(Loaded, u8), ReadError> {
    let (found, parts) = if value::is_in_parts(fact) {
        match read_parts(store, view, |part| Key::part(fact, part))? {
            Some((found, parts)) => (Some(found), parts),
            None => (None, 0),
        }
    } else {
        (store.get(view, &Key::of(fact).encode())?, 1)
    };
    let Some(found) = found else { return Ok((None, 0)) };
    let record = value::decode(fact, &found.value)?;
    Ok((Some((Arc::new(record), found.revision)), parts))
}
