//! View of a transaction for one actor.

use std::sync::Arc;

use super::access::{hidden_keys, may_submit, sees_all};
use super::record::Tx;
use crate::engine::core::record::RecordKey;
use crate::engine::core::unit_of_work::{DecideError, UnitOfWork};
use crate::engine::workflow::Definition;
use crate::engine::{Actor, Rules};
use crate::types::{Revision, Time};

/// A transaction as one actor may see it.
#[derive(Clone, Debug)]
pub struct TxView {
    /// The record.
    pub tx: Arc<Tx>,
    /// The commit that last changed it.
    pub revision: Revision,
    /// Time of the view: a claim that has lapsed by then is not shown.
    pub at: Time,
    /// Definition that it runs.
    pub definition: Arc<Definition>,
    /// Top-level keys of the data that the actor may not read.
    pub hidden: Vec<String>,
    /// True if the actor may see the answers of services, as operators and auditors do.
    pub sees_all: bool,
    /// True if the actor may submit each of the open steps.
    pub allowed: Vec<bool>,
    /// The one-time codes that it waits for, where the configuration shows them.
    pub codes: Vec<(Arc<str>, String)>,
}

impl TxView {
    /// Returns the view of an actor, who was checked to be allowed to see the transaction.
    #[must_use]
    pub fn new(
        tx: Arc<Tx>,
        revision: Revision,
        definition: Arc<Definition>,
        actor: &Actor,
        rules: &Rules,
        at: Time,
    ) -> Self {
        let hidden = hidden_keys(&tx, &definition, actor).map(str::to_owned).collect();
        let allowed =
            tx.open.iter().map(|open| may_submit(&tx, &definition, open, actor)).collect();
        let sees_all = sees_all(actor);
        let codes = codes(&tx, rules, at);
        Self { tx, revision, at, definition, hidden, sees_all, allowed, codes }
    }

    /// Returns the differences of this view from the owner's view at the time of the revision: the
    /// reader's permissions, and everything that has lapsed since. Empty: none. Two views of one
    /// revision that differ have different variants.
    #[must_use]
    pub fn variant(&self) -> Vec<u8> {
        let (tx, definition) = (&self.tx, &self.definition);
        let owner = tx.owner.actor();
        let mut variant = Vec::new();
        let hidden: Vec<_> = hidden_keys(tx, definition, &owner).collect();
        if hidden != self.hidden {
            for key in &self.hidden {
                variant.extend_from_slice(key.as_bytes());
                variant.push(0);
            }
            variant.push(1);
        }
        let owns = tx.open.iter().map(|open| may_submit(tx, definition, open, &owner));
        if !owns.eq(self.allowed.iter().copied()) {
            variant.extend(self.allowed.iter().map(|allowed| 2 + u8::from(*allowed)));
            variant.push(4);
        }
        // Only actors who see everything see the answers of services.
        if self.sees_all && !tx.calls.is_empty() {
            variant.push(7);
        }
        let claims = tx.open.iter().map(|open| open.claim.as_ref().map(|claim| claim.until));
        let steps = tx.open.iter().map(|open| open.due);
        let holds = tx.holds.iter().map(|held| held.hold.expires_at);
        let codes = tx.challenges.iter().map(|challenge| Some(challenge.expires_at));
        let times = claims.chain(steps).chain(holds).chain(codes).chain([tx.deadline]);
        let lapsed =
            times.map(|time| time.is_some_and(|time| tx.updated_at < time && time <= self.at));
        let lapsed: Vec<_> = lapsed.map(|lapsed| 5 + u8::from(lapsed)).collect();
        if lapsed.contains(&6) {
            variant.extend(lapsed);
        }
        variant
    }

    /// Returns the view with the one-time codes of its record.
    #[must_use]
    pub fn with_codes(self, rules: &Rules) -> Self {
        Self { codes: codes(&self.tx, rules, self.at), ..self }
    }
}

/// Returns the one-time codes that a transaction waits for, where the configuration shows them.
fn codes(tx: &Tx, rules: &Rules, at: Time) -> Vec<(Arc<str>, String)> {
    if rules.codes_shown {
        super::challenge::open_codes(&rules.challenge_key, tx, at)
    } else {
        Vec::new()
    }
}

impl TxView {
    /// Returns whether its timer should have fired by the time of the view.
    #[must_use]
    pub fn is_overdue(&self) -> bool {
        self.tx.timer_at.is_some_and(|due| due <= self.at)
    }
}

/// Returns the view of a transaction that was read or changed.
pub(super) fn view(
    unit: &UnitOfWork<'_>,
    actor: &Actor,
    id: crate::types::TxId,
) -> Result<Box<TxView>, DecideError> {
    let none = || DecideError::Refused(crate::engine::Refusal::NotFound("transaction"));
    let tx = unit.shared_tx(id)?.ok_or_else(none)?;
    let definition = unit.definition(tx.workflow.clone(), tx.version)?;
    let revision = unit.revision(&RecordKey::Tx(id))?.unwrap_or(unit.context.revision);
    Ok(Box::new(TxView::new(tx, revision, definition, actor, unit.rules, unit.context.now)))
}
