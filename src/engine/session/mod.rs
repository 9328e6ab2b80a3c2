//! Sessions: those of users and anonymous visitors, and those that other frameworks keep here.

mod commands;
mod data;
pub(super) mod external;
mod lifecycle;

pub(super) use commands::{
    elevate, end_all, end_one, login, logout, open_anonymous, open_on_behalf, rotate, touch,
};
pub(super) use data::{change_data, change_facts, merge_data, merge_facts};
pub(super) use lifecycle::{elevate_session, end_sessions_of, with_token};
