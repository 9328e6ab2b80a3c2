//! Values over the store's limit, in parts: the first says how many there are.

use bytes::Bytes;

use super::{DecodeError, Key};
use crate::store::{Store, StoreError, Versioned, View};

/// Most bytes of one part: below the store's limit for a value, with room for the count.
pub const PART_BYTES: usize = 60 * 1024;

/// Most parts of one value: 960 KiB, above the largest data, the largest stored answer, and a
/// transaction with as much as it may keep of everything at once.
pub const PARTS_MAX: usize = 16;

/// A value in parts; `None`: it is longer than [`PARTS_MAX`] parts.
#[must_use]
pub fn split(value: &[u8]) -> Option<Vec<Bytes>> {
    let count = value.len().div_ceil(PART_BYTES).max(1);
    let count_byte = u8::try_from(count).ok().filter(|_| count <= PARTS_MAX)?;
    let (head, mut rest) = value.split_at(value.len().min(PART_BYTES));
    let mut first = Vec::with_capacity(head.len() + 1);
    first.push(count_byte);
    first.extend_from_slice(head);
    let mut parts = vec![Bytes::from(first)];
    while !rest.is_empty() {
        let (part, more) = rest.split_at(rest.len().min(PART_BYTES));
        parts.push(Bytes::copy_from_slice(part));
        rest = more;
    }
    Some(parts)
}

/// Returns the number of parts, which the first one holds.
fn count(first: &[u8]) -> usize {
    first.first().map_or(0, |count| usize::from(*count))
}

/// The value of these parts; `None`: they are not all there.
#[must_use]
pub fn join(parts: &[Bytes]) -> Option<Bytes> {
    let first = parts.first()?;
    if count(first) != parts.len() {
        return None;
    }
    if parts.len() == 1 {
        return Some(first.slice(1..));
    }
    let mut value = first[1..].to_vec();
    parts[1..].iter().for_each(|part| value.extend_from_slice(part));
    Some(value.into())
}

/// Reads a value in parts, all of one revision: the value, its first part's revision, and how many
/// parts it has. `key` names the part with a number.
///
/// # Errors
/// [`super::ReadError`]
pub fn read_parts(
    store: &dyn Store,
    view: View,
    key: impl Fn(u8) -> Key,
) -> Result<Option<(Versioned, u8)>, super::ReadError> {
    let first_key = key(0).encode();
    loop {
        let Some(first) = store.get(view, &first_key)? else { return Ok(None) };
        let count = count(&first.value);
        if count == 1 {
            let value = Versioned { revision: first.revision, value: first.value.slice(1..) };
            return Ok(Some((value, 1)));
        }
        let numbers = (0..PARTS_MAX.min(count)).filter_map(|part| u8::try_from(part).ok());
        let keys: Vec<_> = numbers.map(|part| key(part).encode()).collect();
        let rows = match view {
            View::Committed => {
                let keys: Vec<_> = keys.iter().map(Vec::as_slice).collect();
                store.get_many(&keys)?.1
            }
            // The one who commits is the one who reads: nothing changes in between.
            View::Staged => keys
                .iter()
                .map(|key| store.get(view, key))
                .collect::<Result<Vec<_>, StoreError>>()?,
        };
        let parts: Vec<_> = rows.iter().flatten().map(|row| row.value.clone()).collect();
        match (rows.first(), join(&parts)) {
            (Some(Some(again)), Some(value)) if again.revision == first.revision => {
                let value = Versioned { revision: first.revision, value };
                return Ok(Some((value, u8::try_from(count).unwrap_or(u8::MAX))));
            }
            // It changed between the two reads: read what it is now.
            (Some(now), _) if now.as_ref().map(|now| now.revision) != Some(first.revision) => {}
            _ => {
                let what = "a part of it is missing".to_owned();
                return Err(DecodeError { key: format!("{:?}", key(0)), what }.into());
            }
        }
    }
}
