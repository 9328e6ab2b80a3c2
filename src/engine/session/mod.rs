//! Sessions: those of users and anonymous visitors, and those that other frameworks store.

mod apply;
mod commands;
mod data;
mod event;
pub(super) mod external;
mod lifecycle;
mod record;

pub(super) use apply::apply;
pub(super) use commands::{
    elevate, end_all, end_one, login, logout, open_anonymous, open_on_behalf, rotate, touch,
};
pub(super) use data::{change_data, change_facts, merge_data, merge_facts};
pub use event::{EndReason, OpenedBy, SessionEvent};
pub(super) use lifecycle::{elevate_session, end_sessions_of, with_token};
pub use record::{Session, SessionView, Stored, StoredId, StoredKey, StoredView};
