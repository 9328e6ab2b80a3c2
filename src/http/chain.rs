//! The hash chain over all commits: its head, and proofs of one transaction's history.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{self, HeaderValue};
use schemars::{JsonSchema, SchemaGenerator, json_schema};
use serde::Serialize;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::body_stream::BodyStream;
use super::input::parameter;
use super::operation::{Operation, Parameter};
use super::problem::{Code, Problem};
use super::reply::Reply;
use super::request_context::RequestContext;
use super::send_budget::ActorSendBudget;
use crate::app::{App, ProofReader};
use crate::engine::{Actor, Refusal};
use crate::types::{Revision, Time};

/// Time limit for a reader to take a piece; then the proof ends unfinished and proves nothing.
const SLOW_TIME: Duration = Duration::from_secs(20);

/// Maximum number of pieces that wait for a reader, each of about [`PIECE_BYTES`].
const PIECES_MAX: usize = 2;

/// Bytes after which a piece goes out.
const PIECE_BYTES: usize = 64 * 1024;

const NDJSON: &str = "application/x-ndjson";

/// Head of the chain: its state after the last commit.
#[derive(Serialize, JsonSchema)]
struct ChainHeadResponse {
    /// The last durable commit.
    revision: u64,
    /// The chain's link after it: 64 hexadecimal digits.
    link: String,
    /// The time of that commit.
    time: Time,
}

pub(super) const HEAD: Operation = Operation::new("getChainHead", "operations", "The head of the hash chain over all commits")
    .text("Worth noting elsewhere: a chain proves nothing to somebody who has no head of it that \
           was noted outside. `abide verify` says the head of a data directory.")
    .json::<ChainHeadResponse>(200, "The head.", r#"{"revision":1042,"link":"6b1f0c4ad5e37f3e2c9f5a7f2f6f0d8b1a4c7e90d3b56f8812ab34cd56ef7890","time":"2026-11-24T10:05:00.000Z"}"#)
    .problems(&[Code::Gone]);

pub(super) fn head(request: &RequestContext) -> Result<Reply, Problem> {
    let head = request.api.app.chain_head()?.ok_or(Code::Gone)?;
    let shown = ChainHeadResponse {
        revision: head.revision.get(),
        link: head.link.to_string(),
        time: head.at,
    };
    let reply = Reply::json(&shown)?;
    Ok(reply.with(header::CACHE_CONTROL, HeaderValue::from_static("no-store")))
}

pub(super) const PROOF: Operation = Operation::new("proveTransaction", "operations", "A proof of one transaction's history")
    .text("Lines of JSON: the first names the transaction, the chain's link before its first \
           commit, and the head that the proof leads to; then every commit up to that head, those \
           of the transaction whole, all others as time and commitment, which say nothing of what \
           was in them. `abide verify --proof FILE --head REVISION:LINK` checks it offline against \
           a head noted before. Only for an ended transaction does the proof show that no \
           commit is missing between the last one in it and the head. The commits are unredacted, \
           as in the log. It may contain other people's data, so only administrators get it. `gone` where the log is not kept \
           back to the transaction's start, or does not reach the head yet.")
    .query(&[Parameter {
        name: "head",
        text: "The revision of the head that was noted; without it that of now.",
        schema: revision,
    }])
    .media(200, "The proof.", NDJSON)
    .problems(&[Code::NotFound, Code::Gone, Code::InvalidParameter]);

fn revision(_: &mut SchemaGenerator) -> schemars::Schema {
    json_schema!({ "type": "integer", "format": "uint64", "minimum": 1 })
}

pub(super) async fn proof(request: RequestContext) -> Result<Reply, Problem> {
    let tx = request.parameters.at(0).parse();
    let tx = tx.map_err(|_| Problem::from(Refusal::NotFound("transaction")))?;
    let head = request.query.get("head").map(|head| {
        let number = head.parse().ok().filter(|number| *number > 0);
        number.map(Revision::new).ok_or_else(|| parameter("head", "is no revision"))
    });
    let app = &request.api.app;
    let reader = app.proof(request.actor(), tx, head.transpose()?)?.ok_or(Code::Gone)?;
    let reply = Reply::empty(http::StatusCode::OK)
        .with(header::CONTENT_TYPE, HeaderValue::from_static(NDJSON))
        .with(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if request.is_head {
        return Ok(reply);
    }
    let (sender, bits) = mpsc::channel(PIECES_MAX);
    let (unread, actor) = (request.api.events.of(request.actor()), request.actor().clone());
    tokio::spawn(send(Arc::clone(app), actor, reader, sender, unread));
    Ok(Reply { stream: Some(BodyStream::new(bits)), ..reply })
}

/// Sends a proof piece by piece. A proof that cannot be completed ends before its head, so its
/// reader notices.
async fn send(
    app: Arc<App>,
    actor: Actor,
    mut reader: ProofReader,
    sender: mpsc::Sender<Bytes>,
    unread: ActorSendBudget,
) {
    loop {
        // Some hundred commits are read and hashed at once: milliseconds, on the threads for that.
        let read = app.reads().run(&actor, move || {
            let lines = reader.lines();
            (reader, lines)
        });
        let Ok((next, Ok(lines))) = read.await else { return };
        reader = next;
        if lines.is_empty() {
            return;
        }
        let mut piece = String::new();
        let last = lines.len() - 1;
        for (number, line) in lines.iter().enumerate() {
            let Ok(line) = serde_json::to_string(line) else { return };
            piece.push_str(&line);
            piece.push('\n');
            if piece.len() < PIECE_BYTES && number < last {
                continue;
            }
            let piece = unread.count(std::mem::take(&mut piece).into(), SLOW_TIME).await;
            let Ok(piece) = piece else { return };
            if !matches!(timeout(SLOW_TIME, sender.send(piece)).await, Ok(Ok(()))) {
                return;
            }
        }
    }
}
