//! Users for whom an API key may act.

use crate::engine::{ApiKey, Refusal, User};
use crate::types::Username;

impl ApiKey {
    /// Refuses when this key may not act for a user: no pattern of the key covers the user, or the
    /// user has one of Abide's powers.
    pub(in crate::engine) fn require_reach(&self, user: &User) -> Result<(), Refusal> {
        if user.has_power() {
            return Err(Refusal::NotAllowed("a user with an abide role is never acted for"));
        }
        self.require_cover(&user.username)
    }

    /// Refuses when no pattern covers the name.
    pub(in crate::engine) fn require_cover(&self, name: &Username) -> Result<(), Refusal> {
        if self.on_behalf.iter().any(|pattern| pattern.matches(name)) {
            Ok(())
        } else {
            Err(Refusal::NotAllowed("the API key may not act for this user"))
        }
    }
}
