//! Records of API keys.

use std::sync::Arc;

use crate::engine::{Actor, KeyActor, KeyRef};
use crate::types::{KeyId, Revision, Role, Time, TokenHash, UserPattern};

/// An API key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiKey {
    /// Its id.
    pub id: KeyId,
    /// Hash of the key's token.
    pub token: TokenHash,
    /// Name, for people.
    pub name: Arc<str>,
    /// Its roles.
    pub roles: Arc<[Role]>,
    /// Patterns of the users for whom it may open sessions.
    pub on_behalf: Arc<[UserPattern]>,
    /// Time of its creation.
    pub created_at: Time,
}

impl ApiKey {
    /// Returns its id and name.
    #[must_use]
    pub fn names(&self) -> KeyRef {
        KeyRef { id: self.id, name: self.name.clone() }
    }

    /// Returns the actor that bears the key.
    #[must_use]
    pub fn actor(&self) -> Actor {
        Actor::Key(KeyActor {
            key: self.names(),
            roles: self.roles.clone(),
            on_behalf: self.on_behalf.clone(),
        })
    }

    /// Returns the key without its secret.
    #[must_use]
    pub fn view(&self, revision: Revision) -> KeyView {
        KeyView {
            id: self.id,
            name: self.name.clone(),
            roles: self.roles.clone(),
            on_behalf: self.on_behalf.clone(),
            created_at: self.created_at,
            revision,
        }
    }
}

/// API key without its secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyView {
    /// Its id.
    pub id: KeyId,
    /// Name that its creator gave it.
    pub name: Arc<str>,
    /// Its roles.
    pub roles: Arc<[Role]>,
    /// Patterns of the users for whom it may open sessions.
    pub on_behalf: Arc<[UserPattern]>,
    /// Time of its creation.
    pub created_at: Time,
    /// The commit that created it.
    pub revision: Revision,
}
