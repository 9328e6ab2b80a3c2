//! The front door: what turns bytes on a socket into commands, and outcomes into answers.

pub mod operations;
pub mod server;
