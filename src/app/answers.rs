//! Answers kept under Idempotency-Keys: they are part of the commit that they answer.

use bytes::Bytes;

use super::Answer;
use crate::engine::{Digest, Refusal};
use crate::records::value::{self, AnswerCountV1, AnswerV1};
use crate::records::{DecodeError, Key, ReadError, Scope, read_parts, split};
use crate::store::{Store, Versioned, View, Write};
use crate::types::{Revision, Span, Time};

/// How long an answer is kept.
pub(super) const KEPT: Span = Span::from_hours(24);

/// Most live keys of one actor. At a few hundred bytes each this bounds what one actor can make
/// the server keep to some ten megabytes; a load generator at full speed stays below it for
/// minutes.
pub(super) const LIVE_MAX: u32 = 100_000;

const HOUR_MS: u64 = 60 * 60 * 1000;

/// An Idempotency-Key, as the executor knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Keyed {
    /// Whose it is.
    pub(super) scope: Scope,
    /// Where it would be, had its actor been anonymous then.
    pub(super) before: Option<Scope>,
    /// The hash of the key.
    pub(super) digest: Digest,
    /// The hash of the request.
    pub(super) fingerprint: Digest,
}

/// What is known about a key.
pub(super) enum Known {
    /// Nothing: it is new. So many parts of a forgotten answer lie where its answer will.
    New { stale_parts: u8 },
    /// The answer, and the commit that it is of.
    Answered(Answer, Revision),
}

/// Looks a key up.
///
/// # Errors
/// [`Refusal::IdempotencyKeyReused`] as the inner one.
pub(super) fn look_up(
    store: &dyn Store,
    view: View,
    keyed: &Keyed,
    now: Time,
) -> Result<Result<Known, Refusal>, ReadError> {
    let mut stale_parts = 0;
    for scope in std::iter::once(keyed.scope).chain(keyed.before) {
        let key = |part| Key::Answer(scope, keyed.digest, part);
        let Some((found, parts)) = read_parts(store, view, key)? else { continue };
        let stored: AnswerV1 = value::read_plain(&key(0), &found.value)?;
        if stored.expires_at_ms <= now.ms() {
            if scope == keyed.scope {
                stale_parts = parts;
            }
            continue;
        }
        if stored.fingerprint != keyed.fingerprint {
            return Ok(Err(Refusal::IdempotencyKeyReused));
        }
        let AnswerV1 { status, headers, body, .. } = stored;
        let answer = Answer { status, headers, body: Bytes::from(body) };
        return Ok(Ok(Known::Answered(answer, found.revision)));
    }
    Ok(Ok(Known::New { stale_parts }))
}

/// Counts one more live key.
///
/// # Errors
/// [`Refusal::TooManyIdempotencyKeys`] as the inner one.
pub(super) fn count(
    store: &dyn Store,
    scope: Scope,
    now: Time,
) -> Result<Result<Write, Refusal>, ReadError> {
    let key = Key::AnswerCount(scope);
    let mut counts = match store.get(View::Staged, &key.encode())? {
        Some(Versioned { value, .. }) => value::read_plain::<AnswerCountV1>(&key, &value)?,
        None => AnswerCountV1::default(),
    };
    let hour = hour_of(now);
    counts.hours.retain(|(begun, _)| !is_over(*begun, now));
    let live: u32 = counts.hours.iter().map(|(_, count)| count).sum();
    if live >= LIVE_MAX {
        let oldest = counts.hours.first().map_or(hour, |(begun, _)| *begun);
        let free_at = Time::from_ms(u64::from(oldest + 1) * HOUR_MS).plus(KEPT);
        return Ok(Err(Refusal::TooManyIdempotencyKeys { retry_after: free_at.since(now) }));
    }
    match counts.hours.last_mut() {
        Some((begun, count)) if *begun == hour => *count += 1,
        _ => counts.hours.push((hour, 1)),
    }
    Ok(Ok(Write::put(key.encode(), value::write(1, &counts))))
}

/// The writes that keep an answer; `None`: it is larger than any that can be kept.
pub(super) fn keep(
    keyed: &Keyed,
    answer: &Answer,
    now: Time,
    stale_parts: u8,
) -> Option<Vec<Write>> {
    let stored = AnswerV1 {
        fingerprint: keyed.fingerprint,
        expires_at_ms: now.plus(KEPT).ms(),
        status: answer.status,
        headers: answer.headers.clone(),
        body: answer.body.to_vec(),
    };
    let mut writes = Vec::new();
    let mut number = 0;
    for part in split(&value::write(1, &stored))? {
        writes.push(Write::put(Key::Answer(keyed.scope, keyed.digest, number).encode(), part));
        number += 1;
    }
    for stale in number..stale_parts {
        writes.push(Write::delete(Key::Answer(keyed.scope, keyed.digest, stale).encode()));
    }
    Some(writes)
}

/// Whether an answer count says nothing any more.
pub(super) fn is_count_over(key: &Key, bytes: &[u8], now: Time) -> Result<bool, DecodeError> {
    let counts: AnswerCountV1 = value::read_plain(key, bytes)?;
    Ok(counts.hours.iter().all(|(begun, _)| is_over(*begun, now)))
}

/// Whether an answer is forgotten. `first_part` is the row of its first part, which may not hold
/// all of it: the beginning is enough.
pub(super) fn is_forgotten(first_part: &[u8], now: Time) -> bool {
    // Count of parts, version, fingerprint, then the time as bincode's variable integer.
    let Some(after) = first_part.get(34..) else { return false };
    let expires_at_ms = match after {
        [253, bytes @ ..] => bytes.first_chunk().map(|bytes| u64::from_le_bytes(*bytes)),
        [252, bytes @ ..] => bytes.first_chunk().map(|bytes| u64::from(u32::from_le_bytes(*bytes))),
        [251, bytes @ ..] => bytes.first_chunk().map(|bytes| u64::from(u16::from_le_bytes(*bytes))),
        [small, ..] => Some(u64::from(*small)),
        [] => None,
    };
    expires_at_ms.is_some_and(|ms| ms <= now.ms())
}

fn hour_of(now: Time) -> u32 {
    u32::try_from(now.ms() / HOUR_MS).unwrap_or(u32::MAX)
}

/// Whether all keys that began in this hour are forgotten.
fn is_over(hour: u32, now: Time) -> bool {
    Time::from_ms((u64::from(hour) + 1) * HOUR_MS).plus(KEPT) <= now
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;
    use crate::store::Batch;
    use crate::store::memory::Memory;
    use crate::types::UserId;

    fn keyed() -> Keyed {
        let scope = Scope::User(UserId::new(1));
        Keyed { scope, before: None, digest: [1; 32], fingerprint: [2; 32] }
    }

    #[test]
    fn an_answer_comes_back_byte_for_byte_until_it_is_forgotten() {
        let store = Memory::new();
        let now = Time::from_ms(1_700_000_000_000);
        for body in [Vec::new(), b"{}".to_vec(), vec![7; 200_000]] {
            let headers = vec![("etag".to_owned(), "\"5\"".to_owned())];
            let answer = Answer { status: 201, headers, body: body.into() };
            let writes = keep(&keyed(), &answer, now, 8).unwrap();
            let first_part = writes[0].value.clone().unwrap();
            let batch = Batch { writes, ..Batch::default() };
            let revision = store.commit(batch).unwrap().revision();
            let found = look_up(&store, View::Staged, &keyed(), now).unwrap().unwrap();
            let Known::Answered(again, at) = found else { unreachable!("it was kept") };
            assert_eq!((again, at), (answer, revision));
            let other = Keyed { fingerprint: [3; 32], ..keyed() };
            let refused = look_up(&store, View::Staged, &other, now).unwrap();
            assert_eq!(refused.err(), Some(Refusal::IdempotencyKeyReused));
            assert!(!is_forgotten(&first_part, now.plus(Span::from_ms(KEPT.ms() - 1))));
            assert!(is_forgotten(&first_part, now.plus(KEPT)));
            let late = look_up(&store, View::Staged, &keyed(), now.plus(KEPT)).unwrap();
            assert!(matches!(late, Ok(Known::New { stale_parts: 1.. })));
        }
    }

    #[test]
    fn live_keys_are_counted_and_bounded() {
        let store = Memory::new();
        let scope = keyed().scope;
        let now = Time::from_ms(1_700_000_000_000);
        let full = AnswerCountV1 { hours: vec![(hour_of(now), LIVE_MAX - 1)] };
        let key = Key::AnswerCount(scope);
        let writes = vec![Write::put(key.encode(), value::write(1, &full))];
        drop(store.commit(Batch { writes, ..Batch::default() }).unwrap());
        let write = count(&store, scope, now).unwrap().unwrap();
        drop(store.commit(Batch { writes: vec![write], ..Batch::default() }).unwrap());
        let refused = count(&store, scope, now).unwrap().unwrap_err();
        assert_eq!(refused.code(), "too-many-idempotency-keys");
        let later = now.plus(refused.retry_after().unwrap());
        assert!(count(&store, scope, later).unwrap().is_ok());
        let row = store.get(View::Staged, &key.encode()).unwrap().unwrap().value;
        assert!(!is_count_over(&key, &row, now).unwrap());
        assert!(is_count_over(&key, &row, later).unwrap());
    }
}
