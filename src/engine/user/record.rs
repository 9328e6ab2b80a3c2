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
    /// Display name.
    pub name: Option<Arc<str>>,
    /// Hash of the password (PHC string); `None`: nobody can log in with one.
    pub password: Option<Arc<str>>,
    /// Number of passwords so far: a proof against an older number is void.
    pub credential: u64,
    /// Number of times that all sessions were ended: another framework's session that was stored
    /// under an older number is dead.
    pub epoch: u64,
    /// Roles of the user.
    pub roles: Arc<[Role]>,
    /// Notes of administrators: a JSON object as compact text.
    pub attributes: Arc<str>,
    /// True if the user may not log in.
    pub disabled: bool,
    /// Time when it was created.
    pub created_at: Time,
    /// The commit that created it: the revision of its data until that is first written.
    pub created_revision: Revision,
    /// The link that sets its password, if there is one.
    pub link: Option<TokenHash>,
}

impl User {
    /// Returns its id and user name.
    #[must_use]
    pub fn names(&self) -> UserRef {
        UserRef { id: self.id, username: self.username.clone() }
    }

    /// Returns whether it has one of Abide's powers.
    #[must_use]
    pub fn has_power(&self) -> bool {
        self.roles.iter().any(Role::is_power)
    }

    /// Returns whether it can log in and then do everything.
    #[must_use]
    pub fn is_administrator(&self) -> bool {
        !self.disabled && self.password.is_some() && self.roles.contains(&Role::admin())
    }

    /// Returns the view for an administrator.
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

/// Holder of a user name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holder {
    /// This user.
    User(UserId),
    /// A deleted user: nobody gets the name again.
    Gone,
}

/// A single-use link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    /// User whose password it sets; `None`: the first administrator, who does not exist yet.
    pub user: Option<UserId>,
    /// Time from which it is void.
    pub expires_at: Time,
    /// Maker of the link.
    pub maker: LinkMaker,
}

/// Maker of a single-use link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkMaker {
    /// An administrator, or the server itself.
    Administrator,
    /// An API key: the link is void once the key is revoked.
    Key {
        /// The key.
        id: KeyId,
        /// True if the key had the role of an administrator.
        is_admin: bool,
    },
    /// Unknown, because an older build did not record it.
    Unknown,
}

impl LinkMaker {
    /// Returns whether its links are valid for a user who has one of Abide's powers.
    #[must_use]
    pub const fn reaches_power(self) -> bool {
        match self {
            Self::Administrator => true,
            Self::Key { is_admin, .. } => is_admin,
            Self::Unknown => false,
        }
    }
}

/// View of a user for an administrator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserView {
    /// Its id.
    pub id: UserId,
    /// The name to log in with.
    pub username: Username,
    /// Display name.
    pub name: Option<Arc<str>>,
    /// Roles of the user.
    pub roles: Arc<[Role]>,
    /// Notes of administrators: a JSON object as compact text.
    pub attributes: Arc<str>,
    /// True if the user may not log in.
    pub disabled: bool,
    /// Time when it was created.
    pub created_at: Time,
    /// The commit that last changed it.
    pub revision: Revision,
}

/// Changes of a user by an administrator; a field that is `None` stays as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UserChange {
    /// Display name; the inner `None` removes it.
    pub name: Option<Option<String>>,
    /// All roles that the user has from now on.
    pub roles: Option<Vec<Role>>,
    /// A merge patch (RFC 7396) of the attributes.
    pub attributes: Option<Map<String, Value>>,
    /// True if the user may not log in from now on; this ends the user's sessions in the same
    /// commit.
    pub disabled: Option<bool>,
}
