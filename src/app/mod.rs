//! The shell around the rules: it owns the clock, the randomness, the threads and the store.
//!
//! The way of one request that changes something:
//!
//! 1. The HTTP layer turns bytes into a [`Command`](crate::engine::Command), the token into an
//!    [`Actor`](crate::engine::Actor) ([`App::authenticate`]), and calls [`App::execute`].

mod api;

pub use api::{
    Access, Answer, Answered, App, Client, Envelope, Fingerprint, Idempotency, OpenError, Opened,
    PageAsk, PageOf, Render, Secret, Settings, Stopped,
};
