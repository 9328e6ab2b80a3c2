//! `/v1/transfers`: movements between two accounts.

use http::StatusCode;
use http::header;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use super::amounts::Amount;
use super::input::Media;
use super::operation::Operation;
use super::problem::{Code, Problem};
use super::reply::Reply;
use super::request_context::{RequestContext, unexpected};
use super::strict_json;
use crate::engine::{Command, Outcome, Refusal, TRANSFERS_MAX, Transfer, TransferAsk};
use crate::types::{AccountId, AssetCode, Decimal, HoldId, Revision, Time, TransferId, TxId};

/// A new transfer.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct TransferRequest {
    /// Its id; absent: one is made.
    #[serde(default)]
    id: Option<TransferId>,
    /// The account that the amount is taken from.
    from: AccountId,
    /// The account that receives the amount.
    to: AccountId,
    /// Amount.
    amount: Amount,
    /// For the statements of both accounts.
    #[serde(default)]
    #[schemars(length(max = 512))]
    note: Option<String>,
}

/// New transfers, all or none.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct TransfersRequest {
    /// 1 to 100, posted in this order in one commit.
    #[schemars(length(min = 1, max = 100))]
    transfers: Vec<TransferRequest>,
}

fn one_or_many(generator: &mut SchemaGenerator) -> Schema {
    let one = generator.subschema_for::<TransferRequest>();
    let many = generator.subschema_for::<TransfersRequest>();
    json_schema!({ "anyOf": [one, many] })
}

impl TransferRequest {
    fn ask(self, within: &str) -> Result<TransferAsk, Problem> {
        let Self { id, from, to, amount, note } = self;
        let amount = amount.exact(&format!("{within}/amount"))?;
        Ok(TransferAsk { id, from, to, amount, note: note.map(Into::into) })
    }
}

/// A transfer.
#[derive(Serialize, JsonSchema)]
pub(super) struct TransferResponse<'a> {
    /// Its id.
    id: &'a TransferId,
    /// The account that it left.
    from: &'a AccountId,
    /// The account that it went to.
    to: &'a AccountId,
    /// The asset of both.
    asset: &'a AssetCode,
    /// Amount.
    amount: Decimal,
    /// For the statements of both accounts.
    note: Option<&'a str>,
    /// The transaction that posted it.
    transaction: Option<TxId>,
    /// The hold that it was captured from.
    hold: Option<&'a HoldId>,
    /// The transfer that it undoes.
    reverses: Option<&'a TransferId>,
    /// The transfer that undid it.
    reversed_by: Option<&'a TransferId>,
    /// When it was posted.
    posted_at: Time,
    /// The commit that posted it.
    revision: Revision,
}

/// Transfers that were posted together.
#[derive(Serialize, JsonSchema)]
pub(super) struct TransfersResponse<'a> {
    /// In the order of the request.
    transfers: Vec<TransferResponse<'a>>,
}

impl<'a> TransferResponse<'a> {
    pub(super) fn new(transfer: &'a Transfer) -> Self {
        Self {
            id: &transfer.id,
            from: &transfer.from,
            to: &transfer.to,
            asset: &transfer.asset,
            amount: Decimal::from_minor(transfer.amount, transfer.scale),
            note: transfer.note.as_deref(),
            transaction: transfer.tx,
            hold: transfer.hold.as_ref(),
            reverses: transfer.reverses.as_ref(),
            reversed_by: transfer.reversed_by.as_ref(),
            posted_at: transfer.at,
            revision: transfer.revision,
        }
    }
}

fn shown_or_all(generator: &mut SchemaGenerator) -> Schema {
    let one = generator.subschema_for::<TransferResponse<'_>>();
    let many = generator.subschema_for::<TransfersResponse<'_>>();
    json_schema!({ "anyOf": [one, many] })
}

const EXAMPLE: &str = r#"{"id":"tr_01jd9x2k7m8n4p5q6r7s8t9v0w","from":"alice:main","to":"bob:main","asset":"EUR","amount":"250.00","note":"rent","transaction":null,"hold":null,"reverses":null,"reversed_by":null,"posted_at":"2026-11-24T10:00:00.000Z","revision":1042}"#;

fn named(request: &RequestContext) -> Result<TransferId, Problem> {
    request.parameters.at(0).parse().map_err(|_| Refusal::NotFound("transfer").into())
}

fn written(outcome: &Outcome, in_list: bool) -> Result<Reply, Problem> {
    let Outcome::Transfers { transfers, revision, created } = outcome else {
        return Err(unexpected(outcome));
    };
    let status = if *created { StatusCode::CREATED } else { StatusCode::OK };
    match transfers.as_slice() {
        [only] if !in_list => {
            let location = format!("/v1/transfers/{}", only.id);
            let reply = Reply::json(&TransferResponse::new(only))?.at(*revision).status(status);
            Ok(reply.with_text(header::LOCATION, &location))
        }
        all => {
            let transfers = all.iter().map(TransferResponse::new).collect();
            Ok(Reply::json(&TransfersResponse { transfers })?.status(status))
        }
    }
}

pub(super) const POST: Operation = Operation::new(
    "postTransfers",
    "transfers",
    "Posts a transfer, or several, all or none",
)
.text(
    "An id with the same content as before answers 200 with the transfer that was posted \
           then; with other content `transfer-id-taken`.",
)
.idempotent()
.body_of(
    Media::Json,
    one_or_many,
    r#"{"id":"rent-2026-11","from":"alice:main","to":"bob:main","amount":"250.00","note":"rent"}"#,
)
.json_of(200, "All of them were posted before.", shown_or_all, EXAMPLE)
.json_of(201, "The transfer, with `ETag` and `Location`; or all.", shown_or_all, EXAMPLE)
.links(&[
    ("getTransfer", "id", "$response.body#/id"),
    ("reverseTransfer", "id", "$response.body#/id"),
])
.problems(&[
    Code::InsufficientFunds,
    Code::AssetMismatch,
    Code::AccountClosed,
    Code::AccountFrozen,
    Code::UnknownAccount,
    Code::AmountNotExact,
    Code::AmountOutOfRange,
    Code::SameAccount,
    Code::TransferIdTaken,
]);

pub(super) async fn post(request: RequestContext) -> Result<Reply, Problem> {
    let body = request.json_value()?;
    let in_list = body.get("transfers").is_some();
    let mut transfers = Vec::new();
    if in_list {
        let TransfersRequest { transfers: many } = strict_json::read(body)?;
        if many.is_empty() || many.len() > TRANSFERS_MAX {
            let message = format!("must have 1 to {TRANSFERS_MAX} entries");
            return Err(Problem::field("/transfers", "out-of-range", message));
        }
        for (number, one) in many.into_iter().enumerate() {
            transfers.push(one.ask(&format!("/transfers/{number}"))?);
        }
    } else {
        transfers.push(strict_json::read::<TransferRequest>(body)?.ask("")?);
    }
    let command = Command::PostTransfers { transfers };
    Ok(request.execute(command, move |outcome, _| written(outcome, in_list)).await)
}

pub(super) const SHOW: Operation = Operation::new("getTransfer", "transfers", "A transfer")
    .text("For the owners of its accounts, administrators, auditors and services.")
    .if_none_match()
    .json::<TransferResponse<'_>>(200, "The transfer.", EXAMPLE)
    .problems(&[Code::NotFound]);

pub(super) fn show(request: &RequestContext) -> Result<Reply, Problem> {
    let (transfer, revision) = request.api.app.transfer(request.actor(), &named(request)?)?;
    match request.not_modified(revision)? {
        Some(reply) => Ok(reply),
        None => Ok(Reply::json(&TransferResponse::new(&transfer))?.at(revision)),
    }
}

const REVERSE_PROBLEMS: &[Code] = &[
    Code::NotFound,
    Code::AlreadyReversed,
    Code::InsufficientFunds,
    Code::AccountClosed,
    Code::AccountFrozen,
    Code::AmountOutOfRange,
];

pub(super) const REVERSE: Operation =
    Operation::new("reverseTransfer", "transfers", "Posts the opposite of a transfer, once")
        .text("It must be possible like any transfer: what was received must still be there.")
        .if_match()
        .idempotent()
        .json::<TransferResponse<'_>>(201, "The opposite transfer.", EXAMPLE)
        .etag()
        .with(&["Location"])
        .problems(REVERSE_PROBLEMS);

/// Transfers to undo, all or none.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ReverseTransfersRequest {
    /// The ids of 1 to 100 transfers, undone in this order in one commit.
    #[schemars(length(min = 1, max = 100))]
    transfers: Vec<TransferId>,
}

pub(super) const REVERSE_ALL: Operation = Operation::new(
    "reverseTransfers",
    "transfers",
    "Posts the opposites of several transfers, all or none",
)
.text(
    "They are undone in the order in which they are named: the last first, where one gave \
           what another took. If one cannot be undone, none is. Under an Idempotency-Key a \
           repetition is answered as the first one was; without one it is refused with \
           `already-reversed`.",
)
.idempotent()
.body::<ReverseTransfersRequest>(r#"{"transfers":["rent-2026-11","deposit-2026-11"]}"#)
.json::<TransfersResponse<'_>>(201, "The opposite transfers, in this order.", "")
.problems(REVERSE_PROBLEMS);

pub(super) async fn reverse_all(request: RequestContext) -> Result<Reply, Problem> {
    let ReverseTransfersRequest { transfers: ids } = request.json()?;
    let command = Command::ReverseTransfers { ids };
    Ok(request.execute(command, |outcome, _| written(outcome, true)).await)
}

pub(super) async fn reverse(request: RequestContext) -> Result<Reply, Problem> {
    let id = named(&request)?;
    Ok(request.execute(Command::ReverseTransfer { id }, |outcome, _| written(outcome, false)).await)
}
