//! API keys: the credentials of services.

mod access;
mod apply;
mod commands;
mod event;
mod record;

pub(super) use apply::apply;
pub(super) use commands::{create, end_sessions_via, revoke};
pub use event::ApiKeyEvent;
pub use record::{ApiKey, KeyView};
