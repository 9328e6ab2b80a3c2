//! The head of the hash chain, and the proof of a transaction's history against a head that was
//! recorded elsewhere.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::app::App;
use crate::engine::{Actor, Refusal};
use crate::records::proof::{OTHERS_MAX, ProofLine, ProofPosition};
use crate::store::{ChainEntry, ChainLink, StoreError};
use crate::types::{Revision, Time, TxId};

/// Head of the chain: its state after the last commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChainHead {
    /// Revision of the last durable commit.
    pub revision: Revision,
    /// Link after that commit.
    pub link: ChainLink,
    /// Time of that commit.
    pub at: Time,
}

/// A proof that is read while it is sent. It ends at the head with which it began, so the log
/// bounds it.
pub struct ProofReader {
    app: Arc<App>,
    tx: TxId,
    head: ProofPosition,
    /// Commits of the transaction that were found and not read yet, and whether these are all.
    found: VecDeque<Revision>,
    found_all: bool,
    /// Last commit that was read; `None`: the first line comes next.
    at: Option<Revision>,
    first: Revision,
}

impl App {
    /// Returns the head of the chain, which should be recorded elsewhere.
    ///
    /// # Errors
    /// [`Refusal::Stopping`]
    pub fn chain_head(&self) -> Result<Option<ChainHead>, Refusal> {
        self.head_at(self.store.durable())
    }

    fn head_at(&self, revision: Revision) -> Result<Option<ChainHead>, Refusal> {
        if revision == Revision::ZERO {
            return Ok(Some(ChainHead { revision, link: ChainLink::START, at: Time::ZERO }));
        }
        let before = Revision::new(revision.get() - 1);
        let entry = self.chain_after(before, 1)?.and_then(|read| read.into_iter().next());
        Ok(entry.map(|entry| ChainHead {
            revision: entry.revision,
            link: entry.link(),
            at: Time::from_ms(entry.at_ms),
        }))
    }

    /// Returns a proof of a transaction's history up to the link after a commit, or after the last
    /// one. Returns `None` if the log does not reach back to the transaction's start, or there is
    /// no such commit yet.
    ///
    /// # Errors
    /// [`Refusal::NotFound`], also if the actor may not see it, and if it had not started by then;
    /// [`Refusal::Stopping`].
    pub fn proof(
        self: &Arc<Self>,
        actor: &Actor,
        tx: TxId,
        head: Option<Revision>,
    ) -> Result<Option<ProofReader>, Refusal> {
        self.transaction(actor, tx)?;
        let Some(head) = self.head_at(head.unwrap_or_else(|| self.store.durable()))? else {
            return Ok(None);
        };
        let (found, more) = self.guard(self.commits_of(tx, Revision::ZERO))?;
        let first = found.first().copied().filter(|first| *first <= head.revision);
        let first = first.ok_or(Refusal::NotFound("transaction at that revision"))?;
        let before = Revision::new(first.get().saturating_sub(1));
        if self.chain_after(before, 1)?.is_none() {
            return Ok(None);
        }
        Ok(Some(ProofReader {
            app: Arc::clone(self),
            tx,
            head: ProofPosition::new(head.revision, head.link),
            found: found.into(),
            found_all: !more,
            at: None,
            first,
        }))
    }

    fn chain_after(
        &self,
        after: Revision,
        limit: usize,
    ) -> Result<Option<Vec<ChainEntry>>, Refusal> {
        match self.store.read_chain(after, limit) {
            Ok(read) => Ok(Some(read)),
            Err(StoreError::Gone { .. }) => Ok(None),
            Err(error) => self.guard(Err(error.into())),
        }
    }
}

impl ProofReader {
    /// Returns the next lines; none if the proof is complete.
    ///
    /// # Errors
    /// [`Refusal::Stopping`]; [`Refusal::NotFound`] if the log was cut meanwhile.
    pub fn lines(&mut self) -> Result<Vec<ProofLine>, Refusal> {
        let after = self.at.unwrap_or(Revision::new(self.first.get().saturating_sub(1)));
        let left = self.head.revision.saturating_sub(after.get());
        let limit = usize::try_from(left).unwrap_or(usize::MAX).min(OTHERS_MAX);
        if limit == 0 {
            return Ok(Vec::new());
        }
        let read = self.app.chain_after(after, limit)?;
        let cut = Refusal::NotFound("part of the log");
        let read = read.filter(|read| !read.is_empty()).ok_or(cut)?;
        let mut lines = Vec::new();
        if self.at.is_none() {
            lines.extend(read.first().map(|first| ProofLine::Proof {
                transaction: self.tx.to_string(),
                after: ProofPosition::new(after, first.before),
                head: self.head.clone(),
            }));
        }
        let mut others = Vec::new();
        for entry in read {
            self.at = Some(entry.revision);
            if self.concerns(entry.revision)? {
                lines.extend(ProofLine::others(&std::mem::take(&mut others)));
                lines.push(ProofLine::commit(&entry));
            } else {
                others.push(entry);
            }
        }
        lines.extend(ProofLine::others(&others));
        Ok(lines)
    }

    /// Returns whether a commit concerns the transaction. Called in the order of commits.
    fn concerns(&mut self, revision: Revision) -> Result<bool, Refusal> {
        loop {
            match self.found.front().copied() {
                Some(found) if found > revision => return Ok(false),
                Some(found) => {
                    self.found.pop_front();
                    if self.found.is_empty() && !self.found_all {
                        let (more, is_more) =
                            self.app.guard(self.app.commits_of(self.tx, found))?;
                        self.found = more.into();
                        self.found_all = !is_more;
                    }
                    if found == revision {
                        return Ok(true);
                    }
                }
                None => return Ok(false),
            }
        }
    }
}
