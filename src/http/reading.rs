//! Reads that may take milliseconds: on the threads for that, in the actor's turn, and their answers
//! counted until they are sent.

use std::sync::Arc;

use super::Api;
use super::problem::Problem;
use super::reply::Reply;
use super::unread::ROOM_TIME;
use crate::app::App;
use crate::engine::Actor;

/// Answers with what is read.
///
/// # Errors
/// Those of the read; where too many reads of the actor wait or too much of what it was answered
/// has not been taken, `rate-limited`; where that is so of all together, `busy`.
pub(super) async fn answer(
    api: &Arc<Api>,
    actor: &Actor,
    read: impl FnOnce(&Arc<App>) -> Result<Reply, Problem> + Send + 'static,
) -> Result<Reply, Problem> {
    let app = Arc::clone(&api.app);
    let reply = api.app.reads().run(actor, move || read(&app)).await??;
    counted(api, actor, reply).await
}

/// Counts an answer until it is sent.
///
/// # Errors
/// As [`answer`].
pub(super) async fn counted(api: &Arc<Api>, actor: &Actor, reply: Reply) -> Result<Reply, Problem> {
    let body = api.answers.of(actor).count(reply.body, ROOM_TIME).await?;
    Ok(Reply { body, ..reply })
}
