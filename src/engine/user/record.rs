//! Records of users and of the single-use links that set a password.

use std::sync::Arc;

use serde_json::{Map, Value};

use crate::engine::UserRef;
use crate::types::{KeyId, Revision, Role, Time, TokenHash, UserId, Username};

/// A user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// Its id.
    pub id: UserId,
    /// The name to log in with.
    pub username: Username,
    /// The name to show.
    pub name: Option<Arc<str>>,
    /// The hash of the password (PHC string); `None`: nobody can log in with one.
    pub password: Option<Arc<str>>,
    /// Counts the passwords: one that was proved against an older count proves nothing.
    pub credential: u64,
    /// Counts the times when all sessions were ended: another framework's session that was stored
    /// under an older count is dead.
    pub epoch: u64,
    /// What it may do.
    pub roles: Arc<[Role]>,
    /// What administrators note: a JSON object as compact text.
    pub attributes: Arc<str>,
    /// Whether it may not log in.
    pub disabled: bool,
    /// When it was created.
    pub created_at: Time,
    /// The commit that created it: the revision of its data until that is first written.
    pub created_revision: Revision,
    /// The link that sets its password, if there is one.
    pub link: Option<TokenHash>,
}

impl User {
    /// Its names.
    #[must_use]
    pub fn names(&self) -> UserRef {
        UserRef { id: self.id, username: self.username.clone() }
    }

    /// Whether it has one of Abide's powers.
    #[must_use]
    pub fn has_power(&self) -> bool {
        self.roles.iter().any(Role::is_power)
    }

    /// Whether it can log in and then do everything.
    #[must_use]
    pub fn is_administrator(&self) -> bool {
        !self.disabled && self.password.is_some() && self.roles.contains(&Role::admin())
    }

    /// As an administrator may see it.
    #[must_use]
    pub fn view(&self, revision: Revision) -> UserView {
        UserView {
            id: self.id,
            username: self.username.clone(),
            name: self.name.clone(),
            roles: self.roles.clone(),
            attributes: self.attributes.clone(),
            disabled: self.disabled,
            created_at: self.created_at,
            revision,
        }
    }
}

/// Who has a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holder {
    /// This user.
    User(UserId),
    /// A user who was deleted: nobody gets the name again.
    Gone,
}

/// A single-use link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    /// Whose password it sets; `None`: that of the administrator, who does not exist yet.
    pub user: Option<UserId>,
    /// From when on it is void.
    pub expires_at: Time,
    /// Who made it.
    pub maker: LinkMaker,
}

/// Who made a single-use link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkMaker {
    /// An administrator, or the server itself.
    Administrator,
    /// An API key: the link is void once the key is revoked.
    Key {
        /// The key.
        id: KeyId,
        /// Whether it had the role of an administrator.
        is_admin: bool,
    },
    /// An older build did not note it.
    Unknown,
}

impl LinkMaker {
    /// Whether its links are good for a user who has one of Abide's powers.
    #[must_use]
    pub const fn reaches_power(self) -> bool {
        match self {
            Self::Administrator => true,
            Self::Key { is_admin, .. } => is_admin,
            Self::Unknown => false,
        }
    }
}

/// A user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserView {
    /// Its id.
    pub id: UserId,
    /// The name to log in with.
    pub username: Username,
    /// The name to show.
    pub name: Option<Arc<str>>,
    /// What it may do.
    pub roles: Arc<[Role]>,
    /// What administrators note about it: a JSON object as compact text.
    pub attributes: Arc<str>,
    /// Whether it may not log in.
    pub disabled: bool,
    /// When it was created.
    pub created_at: Time,
    /// The commit that last changed it.
    pub revision: Revision,
}

/// What an administrator changes of a user; what is `None` stays.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UserChange {
    /// The name to show; the inner `None` removes it.
    pub name: Option<Option<String>>,
    /// All roles that the user has from now on.
    pub roles: Option<Vec<Role>>,
    /// A merge patch (RFC 7396) of the attributes.
    pub attributes: Option<Map<String, Value>>,
    /// Whether the user may not log in; `true` ends the sessions in the same commit.
    pub disabled: Option<bool>,
}
