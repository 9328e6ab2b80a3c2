//! API keys: the credentials of services.

mod access;
mod commands;

pub(super) use commands::{create, end_sessions_via, revoke};
