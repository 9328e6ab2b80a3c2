//! Answers kept under Idempotency-Keys: they are part of the commit that they answer.

use std::collections::HashMap;

use ahash::RandomState;

use super::Answer;
use crate::engine::{Digest, Refusal};
use crate::records::value::{self, AnswerCountV1, AnswerToWrite, AnswerV1};
use crate::records::{DecodeError, Key, Pack, ReadError, Scope, read_parts};
use crate::store::{Store, Versioned, View};
use crate::types::{Revision, Span, Time, TxId};

/// How long an answer is kept. A message of a hook that is sent again later is no second one: its
/// time is too old by then ([`TOLERANCE`](super::signature::TOLERANCE)), or it bears none and its
/// transaction knows it.
pub(super) const KEPT: Span = Span::from_hours(24);

/// Most live keys of one actor. At a few hundred bytes each this bounds what one actor can make
/// the server keep to some ten megabytes; a load generator at full speed stays below it for
/// minutes.
pub(super) const LIVE_MAX: u32 = 100_000;

/// Most keys that are counted ahead of their use: then one commit of so many writes the count.
const AHEAD_MAX: u32 = 64;

/// Most actors whose count is at hand, at about 100 bytes each; beyond it all are forgotten.
const SCOPES_MAX: usize = 30_000;

/// Most transactions whose keys are at hand, and most keys of one: some megabytes.
const TXS_MAX: usize = 30_000;
const KEYS_PER_TX_MAX: usize = 64;

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
        let answer = Answer { status, headers, body };
        return Ok(Ok(Known::Answered(answer, found.revision)));
    }
    Ok(Ok(Known::New { stale_parts }))
}

/// The live keys of those who used one lately. A count is written ahead, by at most as many keys
/// as the hour has had: not every commit writes it, and what a restart or the hour's end forgets
/// of it was counted too often, never too seldom.
#[derive(Default)]
pub(super) struct Counts {
    ahead: HashMap<Scope, Ahead, RandomState>,
}

/// A count as it is written, and how much of it is not used yet.
#[derive(Clone, Debug)]
struct Ahead {
    counts: AnswerCountV1,
    left: u32,
}

/// One more live key, for the commit that keeps its answer.
#[derive(Debug)]
pub(super) struct Counted {
    scope: Scope,
    /// What the commit writes of it.
    ahead: Option<Ahead>,
}

impl Counted {
    /// Writes what the commit writes of it.
    pub(super) fn put(&self, pack: &mut Pack) {
        if let Some(ahead) = &self.ahead {
            let key = Key::AnswerCount(self.scope);
            pack.put(&key, |out| value::write_into(out, 1, &ahead.counts));
        }
    }
}

impl Counts {
    /// Counts one more live key; [`Counts::took`] when its commit is made.
    ///
    /// # Errors
    /// [`Refusal::TooManyIdempotencyKeys`] as the inner one.
    pub(super) fn next(
        &self,
        store: &dyn Store,
        scope: Scope,
        now: Time,
    ) -> Result<Result<Counted, Refusal>, ReadError> {
        let hour = hour_of(now);
        let known = self.ahead.get(&scope);
        if let Some(Ahead { counts, left: 1.. }) = known
            && counts.hours.last().is_some_and(|(begun, _)| *begun == hour)
        {
            return Ok(Ok(Counted { scope, ahead: None }));
        }
        let key = Key::AnswerCount(scope);
        let mut counts = match known {
            Some(known) => known.counts.clone(),
            None => match store.get(View::Staged, &key.encode())? {
                Some(Versioned { value, .. }) => value::read_plain(&key, &value)?,
                None => AnswerCountV1::default(),
            },
        };
        counts.hours.retain(|(begun, _)| !is_over(*begun, now));
        let live: u32 = counts.hours.iter().map(|(_, count)| count).sum();
        if live >= LIVE_MAX {
            let oldest = counts.hours.first().map_or(hour, |(begun, _)| *begun);
            let free_at = Time::from_ms(u64::from(oldest + 1) * HOUR_MS).plus(KEPT);
            return Ok(Err(Refusal::TooManyIdempotencyKeys { retry_after: free_at.since(now) }));
        }
        let block = match counts.hours.last_mut() {
            Some((begun, count)) if *begun == hour => {
                let block = (*count).clamp(1, AHEAD_MAX).min(LIVE_MAX - live);
                *count += block;
                block
            }
            _ => {
                counts.hours.push((hour, 1));
                1
            }
        };
        Ok(Ok(Counted { scope, ahead: Some(Ahead { counts, left: block - 1 }) }))
    }

    /// The commit of a key is made.
    pub(super) fn took(&mut self, Counted { scope, ahead }: Counted) {
        match ahead {
            Some(ahead) => {
                if self.ahead.len() >= SCOPES_MAX {
                    self.ahead.clear();
                }
                self.ahead.insert(scope, ahead);
            }
            None => {
                if let Some(ahead) = self.ahead.get_mut(&scope) {
                    ahead.left = ahead.left.saturating_sub(1);
                }
            }
        }
    }
}

/// Which keys were used under transactions that began before the executor's eyes: what is not
/// among them was never used, and needs not be looked for.
#[derive(Default)]
pub(super) struct Used {
    /// The beginnings of the keys' hashes; another key with the same is looked for, and not found.
    under: HashMap<TxId, Vec<u64>, RandomState>,
}

impl Used {
    /// A transaction began: its id is new, so no key was used under it.
    pub(super) fn begin(&mut self, tx: TxId) {
        if self.under.len() >= TXS_MAX {
            self.under.clear();
        }
        self.under.insert(tx, Vec::new());
    }

    /// Nothing more is remembered of it.
    pub(super) fn end(&mut self, tx: TxId) {
        self.under.remove(&tx);
    }

    /// A key was used.
    pub(super) fn note(&mut self, tx: TxId, digest: &Digest) {
        match self.under.get_mut(&tx) {
            Some(used) if used.len() < KEYS_PER_TX_MAX => used.push(beginning(digest)),
            Some(_) => self.end(tx),
            None => {}
        }
    }

    /// Whether a key was certainly never used.
    pub(super) fn is_new(&self, tx: TxId, digest: &Digest) -> bool {
        self.under.get(&tx).is_some_and(|used| !used.contains(&beginning(digest)))
    }
}

fn beginning(digest: &Digest) -> u64 {
    digest.first_chunk().map_or(0, |bytes| u64::from_ne_bytes(*bytes))
}

/// Writes what keeps an answer; `false`: it is larger than any that can be kept. One that says
/// when to ask again (`Retry-After`) is kept by nothing: who asks again then is not told the same.
pub(super) fn keep(
    pack: &mut Pack,
    keyed: &Keyed,
    answer: &Answer,
    now: Time,
    stale_parts: u8,
) -> bool {
    if answer.headers.iter().any(|(name, _)| name == "retry-after") {
        return true;
    }
    let stored = AnswerToWrite {
        fingerprint: &keyed.fingerprint,
        expires_at_ms: now.plus(KEPT).ms(),
        status: answer.status,
        headers: &answer.headers,
        body: &answer.body,
    };
    let key = |part| Key::Answer(keyed.scope, keyed.digest, part);
    pack.put_parts(key, stale_parts, |out| value::write_into(out, 1, &stored)).is_some()
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
    use crate::store::memory::Memory;
    use crate::store::{Batch, Write};
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
            let mut pack = Pack::default();
            assert!(keep(&mut pack, &keyed(), &answer, now, 8));
            let writes = pack.into_writes();
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
    fn a_key_is_new_only_under_what_began_here() {
        let (mut used, tx, digest) = (Used::default(), TxId::new(1), [1; 32]);
        assert!(!used.is_new(tx, &digest));
        used.begin(tx);
        assert!(used.is_new(tx, &digest));
        used.note(tx, &digest);
        assert!(!used.is_new(tx, &digest) && used.is_new(tx, &[2; 32]));
        for number in 0..=KEYS_PER_TX_MAX {
            used.note(tx, &[u8::try_from(number).unwrap(); 32]);
        }
        assert!(!used.is_new(tx, &[200; 32]), "of too many keys some are not remembered");
        used.begin(tx);
        used.end(tx);
        assert!(!used.is_new(tx, &digest));
    }

    #[test]
    fn live_keys_are_counted_ahead_and_bounded() {
        let (store, mut counts) = (Memory::new(), Counts::default());
        let scope = keyed().scope;
        let now = Time::from_ms(1_700_000_000_000);
        let full = AnswerCountV1 { hours: vec![(hour_of(now), LIVE_MAX - AHEAD_MAX - 2)] };
        let key = Key::AnswerCount(scope);
        let writes = vec![Write::put(key.encode(), value::write(1, &full))];
        drop(store.commit(Batch { writes, ..Batch::default() }).unwrap());
        let mut written = 0;
        for _ in 0..AHEAD_MAX + 2 {
            // What was not committed is counted again.
            drop(counts.next(&store, scope, now).unwrap().unwrap());
            let counted = counts.next(&store, scope, now).unwrap().unwrap();
            let mut pack = Pack::default();
            counted.put(&mut pack);
            let writes = pack.into_writes();
            if !writes.is_empty() {
                drop(store.commit(Batch { writes, ..Batch::default() }).unwrap());
                written += 1;
            }
            counts.took(counted);
        }
        assert_eq!(written, 2);
        let refused = counts.next(&store, scope, now).unwrap().unwrap_err();
        assert_eq!(refused.code(), "too-many-idempotency-keys");
        let later = now.plus(refused.retry_after().unwrap());
        assert!(counts.next(&store, scope, later).unwrap().is_ok());
        // Whoever starts anew reads what was written.
        assert!(Counts::default().next(&store, scope, now).unwrap().is_err());
        let row = store.get(View::Staged, &key.encode()).unwrap().unwrap().value;
        assert!(!is_count_over(&key, &row, now).unwrap());
        assert!(is_count_over(&key, &row, later).unwrap());
    }
}
