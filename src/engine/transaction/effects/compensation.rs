//! Compensation: calls the effect's own code to undo it.

use super::{challenge, hold, open, roles, start, transfer};
use crate::engine::core::unit_of_work::DecideError;
use crate::engine::transaction::interpreter::Interpreter;
use crate::engine::transaction::record::Compensation;

/// Returns the work of a compensation, in effects: cancelling another transaction takes as much as
/// a request.
pub(in crate::engine::transaction) const fn weight(compensation: &Compensation) -> usize {
    match compensation {
        Compensation::Cancel(_) => 8,
        Compensation::Void(_)
        | Compensation::Reverse(_)
        | Compensation::Withdraw(_)
        | Compensation::Close(_)
        | Compensation::Role(..)
        | Compensation::Revoke(..)
        | Compensation::Grant(..) => 1,
    }
}

impl Interpreter<'_, '_> {
    /// Undoes one effect.
    pub(in crate::engine::transaction) fn undo(
        &mut self,
        compensation: &Compensation,
    ) -> Result<(), DecideError> {
        match compensation {
            Compensation::Void(id) => hold::void(self, id),
            Compensation::Reverse(id) => transfer::reverse(self, id),
            Compensation::Withdraw(id) => challenge::withdraw(self, id),
            Compensation::Close(id) => open::close(self, id),
            Compensation::Role(user, role, number) => {
                roles::undo_change(self, *user, role, Ok(*number))
            }
            Compensation::Revoke(user, role) => roles::undo_change(self, *user, role, Err(true)),
            Compensation::Grant(user, role) => roles::undo_change(self, *user, role, Err(false)),
            Compensation::Cancel(id) => start::cancel(self, *id),
        }
    }

    /// Reads the records that undoing these effects needs, before any of them is undone: if a
    /// record must be loaded first, the decision begins again, and nothing is done twice.
    pub(in crate::engine::transaction) fn foresee(
        &self,
        compensations: &[Compensation],
    ) -> Result<(), DecideError> {
        for compensation in compensations {
            match compensation {
                Compensation::Reverse(id) => transfer::foresee_reverse(self, id)?,
                Compensation::Close(id) => drop(self.unit.account(id.clone())?),
                Compensation::Role(user, ..)
                | Compensation::Revoke(user, _)
                | Compensation::Grant(user, _) => {
                    self.unit.user(*user)?;
                    self.unit.role_changes(*user)?;
                }
                Compensation::Cancel(id) => drop(self.unit.tx(*id)?),
                Compensation::Void(_) | Compensation::Withdraw(_) => {}
            }
        }
        Ok(())
    }
}
