//! Append-only list whose elements never move. A shared reference to the list is therefore enough
//! to add an element while references to other elements live.

use std::cell::{Cell, OnceCell};

/// Base-two logarithm of the length of the first chunk; each further chunk is twice as long.
const FIRST_CHUNK_LOG: u32 = 3;

/// Maximum number of chunks: together they hold more elements than a decision can add.
const CHUNKS_MAX: usize = 32;

/// An append-only list.
#[derive(Clone, Debug)]
pub(in crate::engine) struct Shelf<T> {
    chunks: [OnceCell<Box<[OnceCell<T>]>>; CHUNKS_MAX],
    len: Cell<usize>,
}

impl<T> Default for Shelf<T> {
    fn default() -> Self {
        Self { chunks: [const { OnceCell::new() }; CHUNKS_MAX], len: Cell::new(0) }
    }
}

impl<T> Shelf<T> {
    /// Number of elements.
    pub(in crate::engine) const fn len(&self) -> usize {
        self.len.get()
    }

    /// Returns the element at an index.
    pub(in crate::engine) fn get(&self, index: usize) -> Option<&T> {
        let (chunk, offset) = place(index);
        self.chunks.get(chunk)?.get()?.get(offset)?.get()
    }

    /// Adds an element and returns a reference to it.
    pub(in crate::engine) fn push(&self, element: T) -> &T {
        let index = self.len.get();
        self.len.set(index + 1);
        let (chunk, offset) = place(index);
        let length = 1 << (chunk + FIRST_CHUNK_LOG as usize);
        let cells = self.chunks[chunk]
            .get_or_init(|| std::iter::repeat_with(OnceCell::new).take(length).collect());
        cells[offset].get_or_init(|| element)
    }

    /// Returns all elements in the order of their addition.
    pub(in crate::engine) fn iter(&self) -> impl Iterator<Item = &T> {
        (0..self.len()).filter_map(|index| self.get(index))
    }
}

/// Returns the chunk of an element and its offset in the chunk.
fn place(index: usize) -> (usize, usize) {
    let shifted = index + (1 << FIRST_CHUNK_LOG);
    let log = shifted.ilog2();
    ((log - FIRST_CHUNK_LOG) as usize, shifted - (1 << log))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shelf_keeps_its_elements_where_they_are() {
        let shelf = Shelf::default();
        let first = shelf.push(0);
        let kept: Vec<&usize> = (1..1000).map(|number| shelf.push(number)).collect();
        assert_eq!(*first, 0);
        assert!(kept.iter().enumerate().all(|(at, number)| **number == at + 1));
        assert!(shelf.iter().copied().eq(0..1000));
        assert_eq!((shelf.len(), shelf.get(999), shelf.get(1000)), (1000, Some(&999), None));
    }
}
