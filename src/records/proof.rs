//! The proof of one transaction's history: its form, and how it is checked without the store.
//!
//! A proof is text of lines, each a JSON object. The first names the transaction, the link of the
//! chain before its first commit, and the head that it leads to. Then follows every commit up to
//! that head, in order: those that concern the transaction whole (`commit`), all others as no more
//! than time and commitment (`others`). A reader who has noted the head elsewhere computes the
//! chain anew and sees whether it ends there.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::entry::{About, EntryV1, EventV1};
use super::{DecodeError, Key};
use crate::store::chain::{self, ChainEntry, ChainLink, Commitment};
use crate::types::{Revision, Time, TxId};

/// Bytes of a commit among `others`: its time, in milliseconds since the Unix epoch, as 8 bytes
/// little-endian, and its commitment.
const OTHER_BYTES: usize = 8 + 32;

/// Most commits that one line of others stands for: so a line is read at once.
pub const OTHERS_MAX: usize = 512;

/// Longest line, in bytes: a commit at the store's limit in base64, and its frame.
pub const LINE_BYTES_MAX: usize = 8 * 1024 * 1024;

/// A place in the chain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProofPosition {
    /// The commit.
    pub revision: u64,
    /// The link after it.
    pub link: String,
}

impl ProofPosition {
    /// The link after this commit.
    #[must_use]
    pub fn new(revision: Revision, link: ChainLink) -> Self {
        Self { revision: revision.get(), link: link.to_string() }
    }
}

/// A line of a proof.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum ProofLine {
    /// The first: of what it is a proof, where it begins and where it ends.
    Proof {
        /// The transaction, as text.
        transaction: String,
        /// The link before its first commit.
        after: ProofPosition,
        /// The last commit.
        head: ProofPosition,
    },
    /// A commit that concerns the transaction.
    Commit {
        /// Its revision.
        revision: u64,
        /// Its time, in milliseconds since the Unix epoch.
        at_ms: u64,
        /// Its salt, in base64.
        salt: String,
        /// Its body, in base64.
        body: String,
        /// The link after it.
        link: String,
    },
    /// Commits that follow each other and do not.
    Others {
        /// The first of them.
        revision: u64,
        /// Times and commitments, in base64.
        commits: String,
        /// The link after the last.
        link: String,
    },
}

impl ProofLine {
    /// A commit that concerns the transaction.
    #[must_use]
    pub fn commit(entry: &ChainEntry) -> Self {
        Self::Commit {
            revision: entry.revision.get(),
            at_ms: entry.at_ms,
            salt: BASE64.encode(entry.salt),
            body: BASE64.encode(&entry.body),
            link: entry.link().to_string(),
        }
    }

    /// Commits that do not; `None`: there are none.
    #[must_use]
    pub fn others(entries: &[ChainEntry]) -> Option<Self> {
        let (first, last) = (entries.first()?, entries.last()?);
        let mut bytes = Vec::with_capacity(entries.len() * OTHER_BYTES);
        for entry in entries {
            bytes.extend_from_slice(&entry.at_ms.to_le_bytes());
            bytes.extend_from_slice(&entry.commitment());
        }
        Some(Self::Others {
            revision: first.revision.get(),
            commits: BASE64.encode(bytes),
            link: last.link().to_string(),
        })
    }
}

/// Why a proof proves nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    /// A line is none of a proof's.
    #[error("it is no line of a proof: {0}")]
    ProofLine(String),
    /// The chain does not go on so.
    #[error("revision {revision}: {what}")]
    Broken {
        /// The commit.
        revision: u64,
        /// Description of what does not fit.
        what: String,
    },
    /// It leads elsewhere.
    #[error("{0}")]
    Head(String),
}

/// An event that is proven.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proven {
    /// The commit.
    pub revision: Revision,
    /// When.
    pub at: Time,
    /// The actor: its kind and, where there is one, its name.
    pub actor: String,
    /// Its type.
    pub kind: String,
    /// Its data, as JSON text.
    pub data: String,
}

/// Checks a proof line by line against a head that was noted.
#[derive(Debug)]
pub struct Verifier {
    noted: (Revision, ChainLink),
    /// The transaction, and the link after the commits so far; `None`: nothing was read yet.
    at: Option<(TxId, Revision, ChainLink)>,
    /// The last commit that wrote the transaction's record.
    wrote: u64,
    /// Commits of the transaction, and of others.
    counts: (u64, u64),
}

impl Verifier {
    /// Against the head that was noted: the link after this commit.
    #[must_use]
    pub const fn new(revision: Revision, link: ChainLink) -> Self {
        Self { noted: (revision, link), at: None, wrote: 0, counts: (0, 0) }
    }

    /// Takes the next line; answers with the events of the transaction in it. What it says is
    /// proven only when [`Verifier::finish`] says so.
    ///
    /// # Errors
    /// [`ProofError`] for the first place that does not fit.
    pub fn line(&mut self, text: &str) -> Result<Vec<Proven>, ProofError> {
        let read: ProofLine =
            serde_json::from_str(text).map_err(|error| ProofError::ProofLine(error.to_string()))?;
        let Some((tx, last, link)) = self.at else {
            self.at = Some(self.begin(read)?);
            return Ok(Vec::new());
        };
        let first = last.next();
        let (proven, claimed, reached) = match read {
            ProofLine::Proof { .. } => {
                return Err(ProofError::ProofLine("a proof begins once".to_owned()));
            }
            ProofLine::Commit { revision, at_ms, salt, body, link: claimed } => {
                self.follows(revision, first)?;
                let salt: [u8; 16] = decode(&salt)?
                    .try_into()
                    .map_err(|_| ProofError::ProofLine("a salt has 16 bytes".to_owned()))?;
                let body = Bytes::from(decode(&body)?);
                let link = link.after(first, at_ms, &chain::commitment(&salt, &body));
                // Before it is looked into: what is not of the chain needs no other reason.
                fits(first, link, &claimed)?;
                (self.commit(tx, first, at_ms, &body)?, claimed, (first, link))
            }
            ProofLine::Others { revision, commits, link: claimed } => {
                self.follows(revision, first)?;
                let reached = self.others(&decode(&commits)?, last, link)?;
                (Vec::new(), claimed, reached)
            }
        };
        fits(reached.0, reached.1, &claimed)?;
        self.at = Some((tx, reached.0, reached.1));
        Ok(proven)
    }

    /// Whether the chain ended at the head that was noted. Answers with how many commits were the
    /// transaction's and how many others'.
    ///
    /// # Errors
    /// [`ProofError::Head`]
    pub fn finish(self) -> Result<(u64, u64), ProofError> {
        let (revision, link) = self.noted;
        let head = |what: String| Err(ProofError::Head(what));
        match self.at {
            None => head("it is empty".to_owned()),
            Some((_, last, _)) if last != revision => {
                head(format!("it ends at revision {last}, the head that was noted is {revision}"))
            }
            Some((_, _, last)) if last != link => head(format!(
                "at revision {revision} its chain is at {last}, the head that was noted says \
                 {link}: what it tells is not what was there"
            )),
            Some(_) if self.counts.0 == 0 => {
                head("no commit of the transaction is in it".to_owned())
            }
            Some(_) => Ok(self.counts),
        }
    }

    fn begin(&self, read: ProofLine) -> Result<(TxId, Revision, ChainLink), ProofError> {
        let wrong = |what: &str| ProofError::ProofLine(what.to_owned());
        let ProofLine::Proof { transaction, after, head } = read else {
            return Err(wrong("it must begin with `proof`"));
        };
        let tx = transaction.parse().map_err(|_| wrong("`transaction` names none"))?;
        let link = after.link.parse().map_err(|_| wrong("`after.link` is no link"))?;
        let (revision, noted) = self.noted;
        if head.revision != revision.get() {
            return Err(ProofError::Head(format!(
                "it leads to revision {}, the head that was noted is {revision}: ask for one with \
                 ?head={revision}",
                head.revision
            )));
        }
        if head.link != noted.to_string() {
            return Err(ProofError::Head(format!(
                "it leads to {} at revision {revision}, the head that was noted says {noted}",
                head.link
            )));
        }
        Ok((tx, Revision::new(after.revision), link))
    }

    fn follows(&self, revision: u64, expected: Revision) -> Result<(), ProofError> {
        let what = if revision != expected.get() {
            format!("revision {revision} comes where it is due")
        } else if expected > self.noted.0 {
            "it comes after the head".to_owned()
        } else {
            return Ok(());
        };
        Err(ProofError::Broken { revision: expected.get(), what })
    }

    fn others(
        &mut self,
        bytes: &[u8],
        mut last: Revision,
        mut link: ChainLink,
    ) -> Result<(Revision, ChainLink), ProofError> {
        let (commits, rest) = bytes.as_chunks::<OTHER_BYTES>();
        if !rest.is_empty() || commits.is_empty() {
            return Err(ProofError::ProofLine("`commits` holds no commits".to_owned()));
        }
        for commit in commits {
            let (at, commitment) = commit.split_at(8);
            let at_ms = at.try_into().map_or(0, u64::from_le_bytes);
            let commitment: Commitment = commitment.try_into().unwrap_or_default();
            last = last.next();
            link = link.after(last, at_ms, &commitment);
            self.counts.1 += 1;
        }
        Ok((last, link))
    }

    fn commit(
        &mut self,
        tx: TxId,
        revision: Revision,
        at_ms: u64,
        body: &Bytes,
    ) -> Result<Vec<Proven>, ProofError> {
        let broken = |what: &str| {
            Err(ProofError::Broken { revision: revision.get(), what: what.to_owned() })
        };
        let Some((entry, writes)) = chain::read_body(body) else {
            return broken("its body is none");
        };
        let entry = match EntryV1::decode(&entry) {
            Ok(entry) => entry,
            Err(DecodeError { what, .. }) => return broken(&what),
        };
        let Some(place) = entry.txs.iter().position(|mark| mark.id() == tx) else {
            return broken("it does not concern the transaction");
        };
        if entry.txs[place].before != self.wrote {
            let (before, wrote) = (entry.txs[place].before, self.wrote);
            return broken(&format!(
                "a commit of the transaction was left out: the one before this was {before}, the \
                 proof's is {wrote}"
            ));
        }
        let wrote =
            |key: &Bytes| matches!(Key::decode(key), Some(Key::Tx(written, _)) if written == tx);
        if writes.iter().any(|write| wrote(&write.key)) {
            self.wrote = revision.get();
        }
        self.counts.0 += 1;
        let actor = if entry.who.is_empty() {
            entry.actor
        } else {
            format!("{} {}", entry.actor, entry.who)
        };
        let is_of = |event: &EventV1| match event.about() {
            About::Tx(at) | About::Accounts(_, Some(at)) => at == place,
            _ => false,
        };
        let of = entry.events.into_iter().filter(is_of);
        Ok(of
            .map(|event| Proven {
                revision,
                at: Time::from_ms(at_ms),
                actor: actor.clone(),
                kind: event.kind,
                data: event.data,
            })
            .collect())
    }
}

fn fits(revision: Revision, link: ChainLink, claimed: &str) -> Result<(), ProofError> {
    if claimed == link.to_string() {
        return Ok(());
    }
    let what = format!("the chain comes to {link}, the proof says {claimed}");
    Err(ProofError::Broken { revision: revision.get(), what })
}

fn decode(text: &str) -> Result<Vec<u8>, ProofError> {
    BASE64.decode(text).map_err(|_| ProofError::ProofLine("it is not in base64".to_owned()))
}
