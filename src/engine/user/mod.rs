//! Users: accounts, passwords, links that set a password, and the roles that transactions change.

mod account;
mod apply;
mod commands;
mod event;
mod password;
mod record;
mod role_changes;

pub use account::FIRST_ADMIN;
pub(super) use account::{is_taken, new_user, require_fit, require_free, user_or_not_found};
pub(super) use apply::apply;
pub use commands::ATTRIBUTES_BYTES_MAX;
pub(super) use commands::{
    NewUser, change, change_data, change_password, delete, make_reset_link, make_set_up_link,
    register, use_link,
};
pub use event::UserEvent;
pub(super) use password::require_proved;
pub use record::{Holder, Link, LinkMaker, User, UserChange, UserView};
pub use role_changes::{RoleChange, RoleChanges, RoleRun};
