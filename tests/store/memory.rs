//! The store in memory under the contract.

use abide::store::Store;
use abide::store::memory::Memory;

use crate::contract::{Subject, contract};

impl Subject for Memory {
    fn new() -> Self {
        Self::new()
    }
    fn store(&self) -> &dyn Store {
        self
    }
    fn hold(&self) {
        Self::hold(self);
    }
    /// Nothing is under way: it waits where it is.
    fn await_held(&self) {}
    fn release(&self) {
        Self::release(self);
    }
    /// It has nothing to open; the held commits stay staged.
    fn reopen(&mut self) {
        Self::release(self);
    }
}

contract!(memory, Memory);
