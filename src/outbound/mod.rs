//! Requests to other servers: which may be sent, and how they are.
//!
//! Nothing here knows the purpose of a request. [`EgressPolicy`] says where requests may go; a
//! [`HttpClient`] sends one request at a time over a connection of its own, to an address that was
//! checked after the name was resolved, so that no name can point somewhere else afterwards.
//! Redirects are answers like any other. Time and size are bounded.

mod client;
mod dns;
mod egress;

#[cfg(test)]
mod tests;

pub use client::{ANSWER_BYTES_MAX, HttpClient, HttpRequest, HttpResponse, SendError};
pub use egress::{EgressError, EgressPolicy, ServerAddress};
