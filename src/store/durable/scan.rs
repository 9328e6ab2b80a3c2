//! One page over stage, memtables and sled, as if they were one.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::iter::Peekable;
use std::ops::RangeBounds;

use bytes::Bytes;

use super::super::{KeyRange, Order, Page, Row, StoreError, View};
use super::memtable::Memtable;
use super::memtables::{KeyVersion, bounds};
use super::shared::Shared;
use crate::types::Revision;

/// A page of at most `limit` rows, full unless nothing is left.
///
/// The gate keeps the memtables from being frozen, so what is merged into sled while this reads is
/// hidden by the frozen table.
pub(super) fn scan(
    shared: &Shared,
    view: View,
    range: &KeyRange,
    order: Order,
    limit: usize,
) -> Result<Page, StoreError> {
    if super::super::memory::is_empty(range) {
        let revision = shared.memory.read().position.revision;
        return Ok(Page { revision, rows: Vec::new(), next: None });
    }
    let _still = shared.memory.still();
    // Deletions that are not merged yet may hide all that was read: then it is read anew, in a
    // moment of its own and twice as far, so that in all it is a small multiple of what is needed.
    let mut reach = limit + 1;
    loop {
        let (revision, mut rows, is_all) = read(shared, view, range, order, limit, reach)?;
        if rows.len() > limit {
            rows.truncate(limit);
            let next = rows.last().map(|row| row.key.clone());
            return Ok(Page { revision, rows, next });
        }
        if is_all {
            return Ok(Page { revision, rows, next: None });
        }
        reach = reach.saturating_mul(2);
    }
}

/// At most `limit` rows and one more, of those that `reach` rows of the settled part and what is
/// newer make; and whether that is all of the range.
///
/// sled and the frozen table are read first; the active table is looked at last, in one moment,
/// over just the keys that were read: that moment is the page's revision.
fn read(
    shared: &Shared,
    view: View,
    range: &KeyRange,
    order: Order,
    limit: usize,
    reach: usize,
) -> Result<(Revision, Vec<Row>, bool), StoreError> {
    let frozen = shared.memory.read().frozen();
    let empty = Memtable::default();
    let memtable = frozen.as_deref().unwrap_or(&empty);
    let below = shared.index.rows(range, order);
    let mut settled = Merged::new(memtable.ordered(range, order), below, order);
    let rows = settled.by_ref().take(reach).collect::<Result<Vec<Row>, _>>()?;
    let is_all = rows.len() < reach;
    // What was read covers the range up to here; with nothing left behind, all of it.
    let covered = match rows.last() {
        Some(last) if !is_all => up_to(range, order, last.key.clone()),
        _ => range.clone(),
    };
    let (newer, revision) = {
        let mut newer: BTreeMap<Bytes, KeyVersion> = BTreeMap::new();
        // With the pending commits held, no group moves from it to the memtables between the two looks.
        let pending = (view == View::Staged).then(|| shared.pending());
        let memtables = shared.memory.read();
        newer.extend(memtables.active_range(&covered));
        if let Some(pending) = &pending {
            let inside = |key: &Bytes| RangeBounds::<Bytes>::contains(&bounds(&covered), key);
            let pending = pending.pending().filter(|(key, _)| inside(key));
            newer.extend(pending.map(|(key, slot)| (key.clone(), slot.clone())));
        }
        let staged = pending.as_ref().map(|pending| pending.last());
        (newer, staged.unwrap_or(memtables.position.revision))
    };
    let entries: Box<dyn Iterator<Item = (&Bytes, &KeyVersion)>> = match order {
        Order::Ascending => Box::new(newer.iter()),
        Order::Descending => Box::new(newer.iter().rev()),
    };
    let merged = Merged::new(entries, rows.into_iter().map(Ok), order);
    let rows = merged.take(limit + 1).collect::<Result<Vec<Row>, _>>()?;
    Ok((revision, rows, is_all))
}

fn up_to(range: &KeyRange, order: Order, last: Bytes) -> KeyRange {
    use std::ops::Bound::Included;
    match order {
        Order::Ascending => KeyRange { from: range.from.clone(), to: Included(last) },
        Order::Descending => KeyRange { from: Included(last), to: range.to.clone() },
    }
}

/// Rows of two sorted sources, where the upper one wins and its deletions hide rows of the lower.
struct Merged<
    'a,
    U: Iterator<Item = (&'a Bytes, &'a KeyVersion)>,
    L: Iterator<Item = Result<Row, StoreError>>,
> {
    upper: Peekable<U>,
    lower: Peekable<L>,
    order: Order,
}

impl<'a, U, L> Merged<'a, U, L>
where
    U: Iterator<Item = (&'a Bytes, &'a KeyVersion)>,
    L: Iterator<Item = Result<Row, StoreError>>,
{
    fn new(upper: U, lower: L, order: Order) -> Self {
        Self { upper: upper.peekable(), lower: lower.peekable(), order }
    }

    fn upper_row(&mut self) -> Option<Row> {
        let (key, slot) = self.upper.next()?;
        let value = slot.value.clone()?;
        Some(Row { key: key.clone(), revision: slot.revision, value })
    }
}

impl<'a, U, L> Iterator for Merged<'a, U, L>
where
    U: Iterator<Item = (&'a Bytes, &'a KeyVersion)>,
    L: Iterator<Item = Result<Row, StoreError>>,
{
    type Item = Result<Row, StoreError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let order = match (self.upper.peek(), self.lower.peek()) {
                (None, _) | (Some(_), Some(Err(_))) => return self.lower.next(),
                (Some(_), None) => Ordering::Less,
                (Some((upper, _)), Some(Ok(lower))) => match self.order {
                    Order::Ascending => (*upper).cmp(&lower.key),
                    Order::Descending => lower.key.cmp(upper),
                },
            };
            if order == Ordering::Greater {
                return self.lower.next();
            }
            if order == Ordering::Equal {
                self.lower.next();
            }
            if let Some(row) = self.upper_row() {
                return Some(Ok(row));
            }
        }
    }
}
