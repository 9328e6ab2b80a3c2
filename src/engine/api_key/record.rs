//! Records of API keys.

use std::sync::Arc;

use crate::engine::{Actor, KeyActor, KeyRef};
use crate::types::{KeyId, Revision, Role, Time, TokenHash, UserPattern};

/// An API key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiKey {
    /// Its id.
    pub id: KeyId,
    /// The token that is this key.
    pub token: TokenHash,
    /// A name for people.
    pub name: Arc<str>,
    /// What it may do.
    pub roles: Arc<[Role]>,
    /// For whom it may open sessions.
    pub on_behalf: Arc<[UserPattern]>,
    /// When it was created.
    pub created_at: Time,
}

impl ApiKey {
    /// Its names.
    #[must_use]
    pub fn names(&self) -> KeyRef {
        KeyRef { id: self.id, name: self.name.clone() }
    }

    /// Its bearer.
    #[must_use]
    pub fn actor(&self) -> Actor {
        Actor::Key(KeyActor {
            key: self.names(),
            roles: self.roles.clone(),
            on_behalf: self.on_behalf.clone(),
        })
    }

    /// Without its secret.
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

/// An API key, without its secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyView {
    /// Its id.
    pub id: KeyId,
    /// The name that its maker gave it.
    pub name: Arc<str>,
    /// What it may do.
    pub roles: Arc<[Role]>,
    /// For whom it may open sessions.
    pub on_behalf: Arc<[UserPattern]>,
    /// When it was created.
    pub created_at: Time,
    /// The commit that created it.
    pub revision: Revision,
}
