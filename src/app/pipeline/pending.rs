//! A command between its admission and its response.

use std::sync::Arc;

use tokio::sync::oneshot;

use super::admission::Permit;
use super::answers::IdempotentRequest;
use super::job::CompletedJob;
use crate::app::api::{ClientInfo, CommandAnswer, Render};
use crate::engine::{Actor, Command, Preconditions};

/// A command that was admitted ([`App::admit`](crate::app::App::admit)); it is small, since many
/// wait at the same time.
pub struct PendingCommand(pub(super) PendingState);

pub(super) enum PendingState {
    /// The answer is known.
    Answered(CommandAnswer),
    /// A password must be hashed or a large input checked before the command is queued. Boxed,
    /// since it is rare and large.
    Preparing(Box<UnpreparedCommand>),
    /// The command is in the queue. `render` is set if the answer is not stored.
    Queued { result: oneshot::Receiver<CompletedJob>, render: Option<Render> },
}

pub(super) struct UnpreparedCommand {
    pub(super) command: Command,
    pub(super) actor: Actor,
    pub(super) client: ClientInfo,
    pub(super) request: Arc<str>,
    pub(super) route: &'static str,
    pub(super) key: Option<IdempotentRequest>,
    pub(super) preconditions: Option<Box<Preconditions>>,
    pub(super) render: Render,
    /// Share of the queue of a large input.
    pub(super) permit: Option<Permit>,
}
