//! The writes of one batch in one piece of memory: keys and values are slices of it. They are made
//! by one thread and dropped by others, and so cost one allocation, not two for each write. They
//! grow in memory that their thread uses again and again, and are then copied to a piece that is
//! just as large as they are: it is kept until the index has them.

use std::cell::RefCell;
use std::ops::Range;

use bytes::Bytes;

use super::{Key, PART_BYTES, split};
use crate::store::Write;

/// Largest memory that a thread keeps to be used again: few commits are larger.
const SPARE_BYTES_MAX: usize = 64 * 1024;
const SPARE_CUTS_MAX: usize = 256;

thread_local! {
    static SPARE: RefCell<(Vec<u8>, Vec<Cut>)> = RefCell::default();
}

/// Writes on their way into a batch.
#[derive(Debug)]
pub struct Pack {
    bytes: Vec<u8>,
    cuts: Vec<Cut>,
}

#[derive(Debug)]
struct Cut {
    key: Range<usize>,
    /// `None`: it is deleted.
    value: Option<Range<usize>>,
}

impl Default for Pack {
    fn default() -> Self {
        let (bytes, cuts) = SPARE.take();
        Self { bytes, cuts }
    }
}

impl Pack {
    /// Bytes of all keys and values so far.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Gives a key the value that is written here.
    pub fn put(&mut self, key: &Key, write: impl FnOnce(&mut Vec<u8>)) {
        let key = self.key(key);
        let begun = self.bytes.len();
        write(&mut self.bytes);
        self.cuts.push(Cut { key, value: Some(begun..self.bytes.len()) });
    }

    /// Deletes a key.
    pub fn delete(&mut self, key: &Key) {
        let key = self.key(key);
        self.cuts.push(Cut { key, value: None });
    }

    /// Gives a key a value that may lie in parts, of which there were so many before; how many
    /// there are now, or `None`: it is longer than all parts. `key` names the part with a number.
    pub fn put_parts(
        &mut self,
        key: impl Fn(u8) -> Key,
        before: u8,
        write: impl FnOnce(&mut Vec<u8>),
    ) -> Option<u8> {
        let first = self.key(&key(0));
        let begun = self.bytes.len();
        // How many parts there are.
        self.bytes.push(1);
        write(&mut self.bytes);
        let mut number = 1;
        if self.bytes.len() - begun > PART_BYTES {
            let whole = self.bytes.split_off(begun);
            let parts = split(&whole[1..])?;
            self.bytes.truncate(first.start);
            number = 0;
            for part in parts {
                self.put(&key(number), |out| out.extend_from_slice(&part));
                number += 1;
            }
        } else {
            self.cuts.push(Cut { key: first, value: Some(begun..self.bytes.len()) });
        }
        self.delete_parts(key, number..before);
        Some(number)
    }

    /// Deletes parts.
    pub fn delete_parts(&mut self, key: impl Fn(u8) -> Key, parts: Range<u8>) {
        parts.for_each(|part| self.delete(&key(part)));
    }

    /// The writes, in the order in which they were put in.
    #[must_use]
    pub fn into_writes(self) -> Vec<Write> {
        let Self { bytes: mut grown, mut cuts } = self;
        let bytes = Bytes::copy_from_slice(&grown);
        let write = |Cut { key, value }: Cut| Write {
            key: bytes.slice(key),
            value: value.map(|value| bytes.slice(value)),
        };
        let writes = cuts.drain(..).map(write).collect();
        if grown.capacity() <= SPARE_BYTES_MAX && cuts.capacity() <= SPARE_CUTS_MAX {
            grown.clear();
            SPARE.set((grown, cuts));
        }
        writes
    }

    fn key(&mut self, key: &Key) -> Range<usize> {
        let begun = self.bytes.len();
        key.write(&mut self.bytes);
        begun..self.bytes.len()
    }
}
