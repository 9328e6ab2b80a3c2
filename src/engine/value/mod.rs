//! Reference values: publishers write them, and expressions of workflows read them.

mod apply;
mod commands;
mod event;
mod record;

pub(super) use apply::apply;
pub use commands::VALUE_BYTES_MAX;
pub(super) use commands::{change_set, delete, put};
pub use event::ValueEvent;
pub use record::ValueKey;
