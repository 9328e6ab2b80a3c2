//! Answers stored under Idempotency-Keys, in the commits that they answer.

use std::collections::HashMap;

use ahash::RandomState;

use super::replay::{WHOLE_ANSWER_BYTES_MAX, hash_of};
use crate::app::Answer;
use crate::engine::Digest;
use crate::records::answer::{AnswerToWrite, AnswerV1, AnswerV2, ShownV1, StoredAnswer};
use crate::records::value;
use crate::records::{Key, Pack, ReadError, Scope, read_parts};
use crate::store::{Store, View};
use crate::types::{Revision, Span, Time, TxId};

/// Time for which an answer is stored. A message of a hook that is sent again later is not taken
/// for a new one: its time is too old ([`TOLERANCE`](crate::app::signature::TOLERANCE)), or its
/// transaction has its name.
pub(super) const ANSWER_LIFETIME: Span = Span::from_hours(24);

/// Maximum number of transactions whose keys are remembered, and of keys of one: some megabytes.
const TXS_MAX: usize = 30_000;
const KEYS_PER_TX_MAX: usize = 64;

/// A request with an Idempotency-Key, as hashes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::app) struct IdempotentRequest {
    /// Owner of the key.
    pub(in crate::app) scope: Scope,
    /// Hash of the key.
    pub(in crate::app) digest: Digest,
    /// Hash of the request.
    pub(in crate::app) fingerprint: Digest,
}

/// Result of the lookup of a key.
pub(in crate::app) enum AnswerLookup {
    /// The key is new. `stale_parts` of an expired answer lie where its answer will.
    New { stale_parts: u8 },
    /// The request was answered by the commit of this revision.
    Found(ReplayedAnswer, Revision),
    /// The key was used for another request.
    Reused,
}

/// A stored answer.
pub(in crate::app) enum ReplayedAnswer {
    /// The answer as it was sent.
    Whole(Answer),
    /// The records that it shows ([`super::replay`]).
    Shown(Box<AnswerV2>),
}

/// Looks a key up: under its actor, and under the anonymous sessions that became this user's
/// ([`super::live_keys`]). If a key was used under several of them, the request decides which one
/// is meant.
pub(super) fn find_answer(
    store: &dyn Store,
    view: View,
    request: &IdempotentRequest,
    adopted: Vec<Scope>,
    now: Time,
) -> Result<AnswerLookup, ReadError> {
    let mut stale_parts = 0;
    let mut is_reused = false;
    for scope in std::iter::once(request.scope).chain(adopted) {
        let key = |part| Key::Answer(scope, request.digest, part);
        let Some((found, parts)) = read_parts(store, view, key)? else { continue };
        let stored = StoredAnswer::read(&key(0), &found.value)?;
        if stored.expires_at_ms() <= now.ms() {
            if scope == request.scope {
                stale_parts = parts;
            }
            continue;
        }
        if *stored.fingerprint() != request.fingerprint {
            is_reused = true;
            continue;
        }
        let answer = match stored {
            StoredAnswer::Whole(AnswerV1 { status, headers, body, .. }) => {
                ReplayedAnswer::Whole(Answer { status, headers, body })
            }
            StoredAnswer::Shown(answer) => ReplayedAnswer::Shown(Box::new(answer)),
        };
        return Ok(AnswerLookup::Found(answer, found.revision));
    }
    Ok(if is_reused { AnswerLookup::Reused } else { AnswerLookup::New { stale_parts } })
}

/// Keys that were used under transactions which started since the start of the server. A key of
/// such a transaction that is not among them was never used, so it need not be looked up.
#[derive(Default)]
pub(in crate::app) struct UsedKeys {
    /// First bytes of the keys' hashes. Another key with the same ones is looked up, and not found.
    under: HashMap<TxId, Vec<u64>, RandomState>,
}

impl UsedKeys {
    /// Notes that a transaction started: its id is new, so no key was used under it.
    pub(in crate::app) fn begin(&mut self, tx: TxId) {
        if self.under.len() >= TXS_MAX {
            self.under.clear();
        }
        self.under.insert(tx, Vec::new());
    }

    /// Forgets a transaction.
    pub(in crate::app) fn end(&mut self, tx: TxId) {
        self.under.remove(&tx);
    }

    /// Notes that a key was used.
    pub(in crate::app) fn note(&mut self, tx: TxId, digest: &Digest) {
        match self.under.get_mut(&tx) {
            Some(used) if used.len() < KEYS_PER_TX_MAX => used.push(beginning(digest)),
            Some(_) => self.end(tx),
            None => {}
        }
    }

    /// Returns whether a key was certainly never used.
    pub(in crate::app) fn is_new(&self, tx: TxId, digest: &Digest) -> bool {
        self.under.get(&tx).is_some_and(|used| !used.contains(&beginning(digest)))
    }
}

fn beginning(digest: &Digest) -> u64 {
    digest.first_chunk().map_or(0, |bytes| u64::from_ne_bytes(*bytes))
}

/// An answer to store.
pub(in crate::app) struct AnswerToStore<'a> {
    pub(in crate::app) answer: &'a Answer,
    /// Revision that the answer was rendered with.
    pub(in crate::app) revision: Revision,
    /// Records that a large answer shows, if it can be rendered again from them.
    pub(in crate::app) shown: Option<ShownV1>,
}

/// Size of a stored answer. An answer without parts was not stored.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct StoredSize {
    pub(super) bytes: u64,
    pub(super) parts: u8,
}

/// Writes an answer into a commit. Returns `None` if it is too large to be stored. An answer with
/// `Retry-After` is not stored, since a later request shall get another one.
pub(super) fn store_answer(
    pack: &mut Pack,
    request: &IdempotentRequest,
    AnswerToStore { answer, revision, shown }: AnswerToStore<'_>,
    now: Time,
    stale_parts: u8,
) -> Option<StoredSize> {
    if answer.headers.iter().any(|(name, _)| name == "retry-after") {
        return Some(StoredSize::default());
    }
    let before = pack.bytes();
    let key = |part| Key::Answer(request.scope, request.digest, part);
    let expires_at_ms = now.plus(ANSWER_LIFETIME).ms();
    let parts = if let Some(shown) = shown {
        let stored = AnswerV2 {
            fingerprint: request.fingerprint,
            expires_at_ms,
            hash: hash_of(answer),
            revision: revision.get(),
            shown,
        };
        pack.put_parts(key, stale_parts, |out| value::write_into(out, 2, &stored))?
    } else {
        let stored = AnswerToWrite {
            fingerprint: &request.fingerprint,
            expires_at_ms,
            status: answer.status,
            headers: &answer.headers,
            body: &answer.body,
        };
        pack.put_parts(key, stale_parts, |out| value::write_into(out, 1, &stored))?
    };
    Some(StoredSize { bytes: (pack.bytes() - before) as u64, parts })
}

/// Returns whether an answer is so large that only a reference to what it shows is stored, if
/// possible.
pub(in crate::app) fn is_large(answer: &Answer) -> bool {
    answer.body.len() > WHOLE_ANSWER_BYTES_MAX
}

/// Returns whether an answer has expired. `first_part` is the row of its first part, whose first
/// bytes suffice.
pub(in crate::app) fn is_expired(first_part: &[u8], now: Time) -> bool {
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
    use crate::types::UserId;

    fn request() -> IdempotentRequest {
        let scope = Scope::User(UserId::new(1));
        IdempotentRequest { scope, digest: [1; 32], fingerprint: [2; 32] }
    }

    #[test]
    fn an_answer_comes_back_byte_for_byte_until_it_is_expired() {
        let store = Memory::new();
        let now = Time::from_ms(1_700_000_000_000);
        for body in [Vec::new(), b"{}".to_vec(), vec![7; 200_000]] {
            let headers = vec![("etag".to_owned(), "\"5\"".to_owned())];
            let answer = Answer { status: 201, headers, body: body.into() };
            let mut pack = Pack::default();
            let kept = AnswerToStore { answer: &answer, revision: Revision::ZERO, shown: None };
            let parts = store_answer(&mut pack, &request(), kept, now, 8).unwrap().parts;
            assert_eq!(usize::from(parts), answer.body.len() / 60_000 + 1);
            let writes = pack.into_writes();
            let first_part = writes[0].value.clone().unwrap();
            let batch = Batch { writes, ..Batch::default() };
            let revision = store.commit(batch).unwrap().revision();
            let found = find_answer(&store, View::Staged, &request(), Vec::new(), now).unwrap();
            let AnswerLookup::Found(ReplayedAnswer::Whole(again), at) = found else {
                unreachable!("it was kept whole")
            };
            assert_eq!((again, at), (answer, revision));
            let other = IdempotentRequest { fingerprint: [3; 32], ..request() };
            let refused = find_answer(&store, View::Staged, &other, Vec::new(), now).unwrap();
            assert!(matches!(refused, AnswerLookup::Reused));
            assert!(!is_expired(&first_part, now.plus(Span::from_ms(ANSWER_LIFETIME.ms() - 1))));
            assert!(is_expired(&first_part, now.plus(ANSWER_LIFETIME)));
            let late = find_answer(
                &store,
                View::Staged,
                &request(),
                Vec::new(),
                now.plus(ANSWER_LIFETIME),
            )
            .unwrap();
            assert!(matches!(late, AnswerLookup::New { stale_parts: 1.. }));
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
