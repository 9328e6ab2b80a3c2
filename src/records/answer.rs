//! Stored answers of Idempotency-Keys: whole (version 1), or as references to the records that they
//! show (version 2).

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::value;
use super::{DecodeError, Key};

/// The answer to an Idempotency-Key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AnswerV1 {
    /// The keyed hash of the request.
    pub fingerprint: [u8; 32],
    /// Time of expiry.
    pub expires_at_ms: u64,
    /// The HTTP status.
    pub status: u16,
    /// The headers.
    pub headers: Vec<(String, String)>,
    /// The body.
    #[serde(with = "raw")]
    pub body: Bytes,
}

/// An [`AnswerV1`] that is written from where its parts lie.
#[derive(Debug, Serialize)]
pub struct AnswerToWrite<'a> {
    /// The keyed hash of the request.
    pub fingerprint: &'a [u8; 32],
    /// Time of expiry.
    pub expires_at_ms: u64,
    /// The HTTP status.
    pub status: u16,
    /// The headers.
    pub headers: &'a [(String, String)],
    /// The body.
    #[serde(serialize_with = "raw::serialize")]
    pub body: &'a Bytes,
}

/// Bytes as they are, in one piece: what a list of numbers would be too, but not one by one.
mod raw {
    use bytes::Bytes;
    use serde::{Deserializer, Serializer, de};

    pub(super) fn serialize<S: Serializer>(bytes: &Bytes, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_bytes(bytes)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Bytes, D::Error> {
        struct Whole;
        impl de::Visitor<'_> for Whole {
            type Value = Bytes;

            fn expecting(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                to.write_str("bytes")
            }

            fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<Bytes, E> {
                Ok(Bytes::copy_from_slice(bytes))
            }

            fn visit_byte_buf<E: de::Error>(self, bytes: Vec<u8>) -> Result<Bytes, E> {
                Ok(bytes.into())
            }
        }
        from.deserialize_byte_buf(Whole)
    }
}

/// Live Idempotency-Keys by the hour in which they began: hours since the Unix epoch.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AnswerCountV1 {
    /// The hours, oldest first, and how many keys began in each.
    pub hours: Vec<(u32, u32)>,
}

/// An answer that is rendered again from the records that it shows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AnswerV2 {
    /// The keyed hash of the request.
    pub fingerprint: [u8; 32],
    /// Time of expiry.
    pub expires_at_ms: u64,
    /// Hash of status, headers and body: what is rendered again must have the same.
    pub hash: [u8; 16],
    /// The revision that it was rendered with.
    pub revision: u64,
    /// The records that it shows.
    pub shown: ShownV1,
}

/// Records that an answer shows, each with the commit that wrote it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ShownV1 {
    /// A transaction, and whether the command started it.
    Transaction(ShownTxV1, bool),
    /// Transactions that were claimed from a queue.
    Claimed(Vec<ShownTxV1>),
    /// The data of a session.
    SessionData(u128, u64),
    /// The data of a user.
    UserData(u128, u64),
    /// The facts of a session.
    SessionFacts(u128, u64),
    /// A user, and whether the command created it.
    User(u128, u64, bool),
    /// Another framework's session (API key, hash of its key), and whether there was none.
    Stored(u128, [u8; 32], u64, bool),
    /// A reference value (set, key), and whether there was none.
    Value(String, String, u64, bool),
    /// Transfers (id, commit), the last of their commits, and whether the command posted one.
    Transfers(Vec<(String, u64)>, u64, bool),
}

/// A transaction as one reader saw it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShownTxV1 {
    /// Its id.
    pub tx: u128,
    /// The commit that wrote it.
    pub revision: u64,
    /// When it was looked at.
    pub at_ms: u64,
    /// The keys of its data that the reader could not read.
    pub hidden: Vec<String>,
    /// Whether the reader could see all that there is, as operators do.
    pub sees_all: bool,
    /// Whether the reader could submit each open step.
    pub allowed: Vec<bool>,
}

/// A stored answer of either version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoredAnswer {
    /// As it was sent.
    Whole(AnswerV1),
    /// As what it shows.
    Shown(AnswerV2),
}

impl StoredAnswer {
    /// Reads a stored answer.
    ///
    /// # Errors
    /// [`DecodeError`] for bytes that are none.
    pub fn read(key: &Key, bytes: &[u8]) -> Result<Self, DecodeError> {
        match bytes.first() {
            Some(2) => Ok(Self::Shown(value::read_version(key, 2, bytes)?)),
            _ => Ok(Self::Whole(value::read_plain(key, bytes)?)),
        }
    }

    /// The keyed hash of the request.
    #[must_use]
    pub const fn fingerprint(&self) -> &[u8; 32] {
        match self {
            Self::Whole(answer) => &answer.fingerprint,
            Self::Shown(answer) => &answer.fingerprint,
        }
    }

    /// Time of expiry.
    #[must_use]
    pub const fn expires_at_ms(&self) -> u64 {
        match self {
            Self::Whole(answer) => answer.expires_at_ms,
            Self::Shown(answer) => answer.expires_at_ms,
        }
    }
}

/// Live Idempotency-Keys of an actor.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AnswerCountV2 {
    /// By the hour in which they began (hours since the Unix epoch), oldest first: keys and bytes.
    pub hours: Vec<(u32, u32, u64)>,
    /// Anonymous sessions whose keys are this user's, and until when they may be live.
    pub adopted: Vec<(u128, u64)>,
}

impl AnswerCountV2 {
    /// Reads a count; one of the first version has `bytes_each` for each of its keys.
    ///
    /// # Errors
    /// [`DecodeError`] for bytes that are none.
    pub fn read(key: &Key, bytes: &[u8], bytes_each: u64) -> Result<Self, DecodeError> {
        if bytes.first() == Some(&2) {
            return value::read_version(key, 2, bytes);
        }
        let old: AnswerCountV1 = value::read_plain(key, bytes)?;
        let hour = |(hour, keys): (u32, u32)| (hour, keys, u64::from(keys) * bytes_each);
        Ok(Self { hours: old.hours.into_iter().map(hour).collect(), adopted: Vec::new() })
    }
}

/// A list of answers in the order in which they were stored.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AnswerBlockV1 {
    /// Hash of the key, commit that stored the answer, parts of it.
    pub answers: Vec<([u8; 32], u64, u8)>,
}

impl AnswerBlockV1 {
    /// Reads a block.
    ///
    /// # Errors
    /// [`DecodeError`] for bytes that are none.
    pub fn read(key: &Key, bytes: &[u8]) -> Result<Self, DecodeError> {
        value::read_plain(key, bytes)
    }
}
