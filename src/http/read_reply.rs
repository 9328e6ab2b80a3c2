//! Reads that may take milliseconds: on the threads for reads, in the actor's turn, with answers
//! that are counted until they are sent.

use std::sync::Arc;

use super::Api;
use super::problem::Problem;
use super::reply::Reply;
use super::send_budget::ROOM_TIME;
use crate::app::App;
use crate::engine::{Actor, OwnerId};

/// Answers with the result of a read.
///
/// # Errors
/// Those of the read; `rate-limited` if too many reads of the actor wait or it has left too many
/// bytes of earlier answers unread; `busy` if that is true of all actors together.
pub(super) async fn read(
    api: &Arc<Api>,
    actor: &Actor,
    make: impl FnOnce(&Arc<App>) -> Result<Reply, Problem> + Send + 'static,
) -> Result<Reply, Problem> {
    let app = Arc::clone(&api.app);
    let reply = api.app.reads().run(actor, move || make(&app)).await??;
    count(api, actor, reply).await
}

/// Maximum size in bytes of an answer that is not counted: a connection and its buffers take as
/// much.
const COUNTED_BYTES_MIN: usize = 16 * 1024;

/// Counts an answer until it is sent.
///
/// # Errors
/// As [`read`].
pub(super) async fn count(api: &Arc<Api>, actor: &Actor, reply: Reply) -> Result<Reply, Problem> {
    if reply.body.len() < COUNTED_BYTES_MIN {
        return Ok(reply);
    }
    let body = api.answers.of(actor).count(reply.body, ROOM_TIME).await?;
    Ok(Reply { body, ..reply })
}

/// Counts the answer to a change, if the budget has room: it is sent in any case.
pub(super) fn count_now(api: &Api, owner: Option<OwnerId>, reply: Reply) -> Reply {
    if reply.body.len() < COUNTED_BYTES_MIN {
        return reply;
    }
    let body = api.answers.of_owner(owner).count_now(reply.body);
    Reply { body, ..reply }
}
