//! Answers kept under Idempotency-Keys: they are part of the commit that they answer.

use std::collections::HashMap;

use ahash::RandomState;

use super::live_keys::KEPT;
use super::replay::{ANSWER_BYTES_KEPT_MAX, hash_of};
use crate::app::Answer;
use crate::engine::{Digest, Refusal};
use crate::records::answer::{AnswerToWrite, AnswerV1, AnswerV2, ShownV1, StoredAnswer};
use crate::records::value;
use crate::records::{Key, Pack, ReadError, Scope, read_parts};
use crate::store::{Store, View};
use crate::types::{Revision, Time, TxId};

/// Most transactions whose keys are at hand, and most keys of one: some megabytes.
const TXS_MAX: usize = 30_000;
const KEYS_PER_TX_MAX: usize = 64;

/// An Idempotency-Key, as the executor knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::app) struct IdempotentRequest {
    /// Whose it is.
    pub(in crate::app) scope: Scope,
    /// The hash of the key.
    pub(in crate::app) digest: Digest,
    /// The hash of the request.
    pub(in crate::app) fingerprint: Digest,
}

/// What is known about a key.
pub(in crate::app) enum AnswerLookup {
    /// Nothing: it is new. So many parts of a forgotten answer lie where its answer will.
    New { stale_parts: u8 },
    /// The answer, and the commit that it is of.
    CommandAnswer(ReplayedAnswer, Revision),
}

/// A stored answer.
pub(in crate::app) enum ReplayedAnswer {
    /// As it was sent.
    Whole(Answer),
    /// As what it shows ([`super::replay`]).
    Shown(Box<AnswerV2>),
}

/// Looks a key up: under its actor, and under the anonymous sessions that became this user's
/// ([`super::live_keys`]). Where a key was used under several of them, the request tells which is
/// meant.
///
/// # Errors
/// [`Refusal::IdempotencyKeyReused`] as the inner one.
pub(in crate::app) fn find_answer(
    store: &dyn Store,
    view: View,
    keyed: &IdempotentRequest,
    adopted: Vec<Scope>,
    now: Time,
) -> Result<Result<AnswerLookup, Refusal>, ReadError> {
    let mut stale_parts = 0;
    let mut is_reused = false;
    for scope in std::iter::once(keyed.scope).chain(adopted) {
        let key = |part| Key::Answer(scope, keyed.digest, part);
        let Some((found, parts)) = read_parts(store, view, key)? else { continue };
        let stored = StoredAnswer::read(&key(0), &found.value)?;
        if stored.expires_at_ms() <= now.ms() {
            if scope == keyed.scope {
                stale_parts = parts;
            }
            continue;
        }
        if *stored.fingerprint() != keyed.fingerprint {
            is_reused = true;
            continue;
        }
        let kept = match stored {
            StoredAnswer::Whole(AnswerV1 { status, headers, body, .. }) => {
                ReplayedAnswer::Whole(Answer { status, headers, body })
            }
            StoredAnswer::Shown(answer) => ReplayedAnswer::Shown(Box::new(answer)),
        };
        return Ok(Ok(AnswerLookup::CommandAnswer(kept, found.revision)));
    }
    Ok(if is_reused {
        Err(Refusal::IdempotencyKeyReused)
    } else {
        Ok(AnswerLookup::New { stale_parts })
    })
}

/// Which keys were used under transactions that began before the executor's eyes: what is not
/// among them was never used, and needs not be looked for.
#[derive(Default)]
pub(in crate::app) struct UsedKeys {
    /// The beginnings of the keys' hashes; another key with the same is looked for, and not found.
    under: HashMap<TxId, Vec<u64>, RandomState>,
}

impl UsedKeys {
    /// A transaction began: its id is new, so no key was used under it.
    pub(in crate::app) fn begin(&mut self, tx: TxId) {
        if self.under.len() >= TXS_MAX {
            self.under.clear();
        }
        self.under.insert(tx, Vec::new());
    }

    /// Nothing more is remembered of it.
    pub(in crate::app) fn end(&mut self, tx: TxId) {
        self.under.remove(&tx);
    }

    /// A key was used.
    pub(in crate::app) fn note(&mut self, tx: TxId, digest: &Digest) {
        match self.under.get_mut(&tx) {
            Some(used) if used.len() < KEYS_PER_TX_MAX => used.push(beginning(digest)),
            Some(_) => self.end(tx),
            None => {}
        }
    }

    /// Whether a key was certainly never used.
    pub(in crate::app) fn is_new(&self, tx: TxId, digest: &Digest) -> bool {
        self.under.get(&tx).is_some_and(|used| !used.contains(&beginning(digest)))
    }
}

fn beginning(digest: &Digest) -> u64 {
    digest.first_chunk().map_or(0, |bytes| u64::from_ne_bytes(*bytes))
}

/// An answer to be stored.
pub(in crate::app) struct AnswerToStore<'a> {
    /// The answer.
    pub(in crate::app) answer: &'a Answer,
    /// The revision that it was rendered with.
    pub(in crate::app) revision: Revision,
    /// The records that a large answer shows, from which it can be rendered again.
    pub(in crate::app) shown: Option<ShownV1>,
}

/// Writes what keeps an answer; its bytes and parts, or `None`: it is larger than any that can be
/// kept. One that says when to ask again (`Retry-After`) is not kept, and has no parts: who asks
/// again then is not told the same.
pub(in crate::app) fn store_answer(
    pack: &mut Pack,
    keyed: &IdempotentRequest,
    AnswerToStore { answer, revision, shown }: AnswerToStore<'_>,
    now: Time,
    stale_parts: u8,
) -> Option<(u64, u8)> {
    if answer.headers.iter().any(|(name, _)| name == "retry-after") {
        return Some((0, 0));
    }
    let before = pack.bytes();
    let key = |part| Key::Answer(keyed.scope, keyed.digest, part);
    if let Some(shown) = shown {
        let stored = AnswerV2 {
            fingerprint: keyed.fingerprint,
            expires_at_ms: now.plus(KEPT).ms(),
            hash: hash_of(answer),
            revision: revision.get(),
            shown,
        };
        let parts = pack.put_parts(key, stale_parts, |out| value::write_into(out, 2, &stored))?;
        return Some(((pack.bytes() - before) as u64, parts));
    }
    let stored = AnswerToWrite {
        fingerprint: &keyed.fingerprint,
        expires_at_ms: now.plus(KEPT).ms(),
        status: answer.status,
        headers: &answer.headers,
        body: &answer.body,
    };
    let parts = pack.put_parts(key, stale_parts, |out| value::write_into(out, 1, &stored))?;
    Some(((pack.bytes() - before) as u64, parts))
}

/// Whether an answer is so large that it is stored as what it shows, where that can be.
pub(in crate::app) fn is_large(answer: &Answer) -> bool {
    answer.body.len() > ANSWER_BYTES_KEPT_MAX
}

/// Whether an answer is forgotten. `first_part` is the row of its first part, which may not hold
/// all of it: the beginning is enough.
pub(in crate::app) fn is_forgotten(first_part: &[u8], now: Time) -> bool {
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;
    use crate::store::Batch;
    use crate::store::memory::Memory;
    use crate::types::{Span, UserId};

    fn keyed() -> IdempotentRequest {
        let scope = Scope::User(UserId::new(1));
        IdempotentRequest { scope, digest: [1; 32], fingerprint: [2; 32] }
    }

    #[test]
    fn an_answer_comes_back_byte_for_byte_until_it_is_forgotten() {
        let store = Memory::new();
        let now = Time::from_ms(1_700_000_000_000);
        for body in [Vec::new(), b"{}".to_vec(), vec![7; 200_000]] {
            let headers = vec![("etag".to_owned(), "\"5\"".to_owned())];
            let answer = Answer { status: 201, headers, body: body.into() };
            let mut pack = Pack::default();
            let kept = AnswerToStore { answer: &answer, revision: Revision::ZERO, shown: None };
            let parts = store_answer(&mut pack, &keyed(), kept, now, 8).unwrap().1;
            assert_eq!(usize::from(parts), answer.body.len() / 60_000 + 1);
            let writes = pack.into_writes();
            let first_part = writes[0].value.clone().unwrap();
            let batch = Batch { writes, ..Batch::default() };
            let revision = store.commit(batch).unwrap().revision();
            let found =
                find_answer(&store, View::Staged, &keyed(), Vec::new(), now).unwrap().unwrap();
            let AnswerLookup::CommandAnswer(ReplayedAnswer::Whole(again), at) = found else {
                unreachable!("it was kept whole")
            };
            assert_eq!((again, at), (answer, revision));
            let other = IdempotentRequest { fingerprint: [3; 32], ..keyed() };
            let refused = find_answer(&store, View::Staged, &other, Vec::new(), now).unwrap();
            assert_eq!(refused.err(), Some(Refusal::IdempotencyKeyReused));
            assert!(!is_forgotten(&first_part, now.plus(Span::from_ms(KEPT.ms() - 1))));
            assert!(is_forgotten(&first_part, now.plus(KEPT)));
            let late =
                find_answer(&store, View::Staged, &keyed(), Vec::new(), now.plus(KEPT)).unwrap();
            assert!(matches!(late, Ok(AnswerLookup::New { stale_parts: 1.. })));
        }
    }

    #[test]
    fn a_key_is_new_only_under_what_began_here() {
        let (mut used, tx, digest) = (UsedKeys::default(), TxId::new(1), [1; 32]);
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
}
