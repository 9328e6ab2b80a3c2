//! `/v1/holds`: amounts that are reserved first and posted or released later, without a workflow.

use http::StatusCode;
use http::header;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use super::amounts::Amount;
use super::operation::Operation;
use super::problem::{Code, Problem};
use super::reply::Reply;
use super::request_context::{RequestContext, unexpected};
use super::transfers;
use crate::engine::{Command, Hold, Outcome, Refusal, Transfer};
use crate::types::{AccountId, AssetCode, Decimal, HoldId, Span, Time};

/// A new hold.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct PlaceHoldRequest {
    /// Its id; absent: one is made.
    #[serde(default)]
    id: Option<HoldId>,
    /// The account.
    from: AccountId,
    /// Amount.
    amount: Amount,
    /// Time after which it is released by itself, up to ten years; absent: never.
    #[serde(default)]
    #[schemars(schema_with = "life")]
    expires: Option<Span>,
}

fn life(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": ["string", "null"],
        "pattern": "^([1-9][0-9]{0,4}(ms|s|m|h)|[1-9][0-9]{0,2}d)$",
        "description": "After how long it is released by itself; absent: never.",
    })
}

/// Capture of a hold.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct CaptureHoldRequest {
    /// The account that receives the amount.
    to: AccountId,
    /// Amount; absent: all that is left.
    #[serde(default)]
    amount: Option<Amount>,
    /// `rest`: what is not posted stays held; absent: it is released.
    #[serde(default)]
    keep: Option<CaptureRemainder>,
    /// For the statements of both accounts.
    #[serde(default)]
    #[schemars(length(max = 512))]
    note: Option<String>,
}

/// Part of a hold that stays held after a capture.
#[derive(Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum CaptureRemainder {
    /// The part that is not posted.
    Rest,
}

/// A hold.
#[derive(Serialize, JsonSchema)]
pub(super) struct HoldResponse<'a> {
    /// Its id.
    id: &'a HoldId,
    /// The account.
    account: &'a AccountId,
    /// The account's asset.
    asset: &'a AssetCode,
    /// Amount reserved at first.
    amount: Decimal,
    /// Amount posted so far.
    captured: Decimal,
    /// Amount still reserved.
    left: Decimal,
    /// `held`, `captured`, `voided` or `expired`.
    status: &'static str,
    /// When it is released by itself; `null`: never.
    expires_at: Option<Time>,
    /// When it was placed.
    created_at: Time,
    /// The posted transfer; only in the answer to a capture.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "transfers::TransferResponse<'_>", default)]
    transfer: Option<transfers::TransferResponse<'a>>,
}

impl<'a> HoldResponse<'a> {
    fn new(hold: &'a Hold, transfer: Option<&'a Transfer>) -> Self {
        let amount = |units| Decimal::from_minor(units, hold.scale);
        Self {
            id: &hold.id,
            account: &hold.account,
            asset: &hold.asset,
            amount: amount(hold.amount),
            captured: amount(hold.captured),
            left: amount(hold.left),
            status: hold.status.as_str(),
            expires_at: hold.expires_at,
            created_at: hold.created_at,
            transfer: transfer.map(transfers::TransferResponse::new),
        }
    }
}

const EXAMPLE: &str = r#"{"id":"hold_01jd9x2k7m8n4p5q6r7s8t9v0w","account":"alice:main","asset":"EUR","amount":"251.25","captured":"0.00","left":"251.25","status":"held","expires_at":"2026-11-24T10:15:00.000Z","created_at":"2026-11-24T10:00:00.000Z"}"#;

fn named(request: &RequestContext) -> Result<HoldId, Problem> {
    request.parameters.at(0).parse().map_err(|_| Refusal::NotFound("hold").into())
}

fn written(outcome: &Outcome) -> Result<Reply, Problem> {
    let Outcome::Hold { hold, revision, created, transfer } = outcome else {
        return Err(unexpected(outcome));
    };
    let reply = Reply::json(&HoldResponse::new(hold, transfer.as_deref()))?.at(*revision);
    if !created {
        return Ok(reply);
    }
    let location = format!("/v1/holds/{}", hold.id);
    Ok(reply.status(StatusCode::CREATED).with_text(header::LOCATION, &location))
}

pub(super) const PLACE: Operation =
    Operation::new("placeHold", "holds", "Reserves an amount on an account")
        .text(
            "An id with the same account and amount as before answers 200 with that hold as it is \
           now; with others `hold-id-taken`.",
        )
        .idempotent()
        .body::<PlaceHoldRequest>(r#"{"from":"alice:main","amount":"251.25","expires":"15m"}"#)
        .json::<HoldResponse<'_>>(200, "The hold.", EXAMPLE)
        .etag()
        .json::<HoldResponse<'_>>(201, "The hold. `Location` names it.", EXAMPLE)
        .etag()
        .with(&["Location"])
        .links(&[
            ("getHold", "id", "$response.body#/id"),
            ("captureHold", "id", "$response.body#/id"),
            ("voidHold", "id", "$response.body#/id"),
        ])
        .problems(&[
            Code::InsufficientFunds,
            Code::AccountClosed,
            Code::AccountFrozen,
            Code::UnknownAccount,
            Code::AmountNotExact,
            Code::AmountOutOfRange,
            Code::HoldIdTaken,
        ]);

pub(super) async fn place(request: RequestContext) -> Result<Reply, Problem> {
    let PlaceHoldRequest { id, from, amount, expires } = request.json()?;
    let amount = amount.exact("/amount")?;
    let command = Command::PlaceHold { id, from, amount, expires };
    Ok(request.execute(command, |outcome, _| written(outcome)).await)
}

pub(super) const SHOW: Operation =
    Operation::new("getHold", "holds", "A hold that was placed without a workflow")
        .text(
            "For the owner of its account, administrators, auditors and services. Those of \
           transactions are shown with them.",
        )
        .if_none_match()
        .json::<HoldResponse<'_>>(200, "The hold.", EXAMPLE)
        .problems(&[Code::NotFound]);

pub(super) fn show(request: &RequestContext) -> Result<Reply, Problem> {
    let (hold, revision) = request.api.app.hold(request.actor(), &named(request)?)?;
    match request.not_modified(revision)? {
        Some(reply) => Ok(reply),
        None => Ok(Reply::json(&HoldResponse::new(&hold, None))?.at(revision)),
    }
}

pub(super) const CAPTURE: Operation =
    Operation::new("captureHold", "holds", "Posts what a hold reserves, or a part of it")
        .text("What is not posted is released, or with `keep: rest` stays held.")
        .if_match()
        .idempotent()
        .body::<CaptureHoldRequest>(r#"{"to":"bob:main","amount":"250.00","keep":"rest"}"#)
        .json::<HoldResponse<'_>>(200, "The hold as it is now, with its transfer.", EXAMPLE)
        .etag()
        .problems(&[
            Code::NotFound,
            Code::HoldNotOpen,
            Code::ExceedsHold,
            Code::AssetMismatch,
            Code::AccountClosed,
            Code::UnknownAccount,
            Code::AmountNotExact,
            Code::AmountOutOfRange,
            Code::SameAccount,
        ]);

pub(super) async fn capture(request: RequestContext) -> Result<Reply, Problem> {
    let id = named(&request)?;
    let CaptureHoldRequest { to, amount, keep, note } = request.json()?;
    let amount = amount.map(|amount| amount.exact("/amount")).transpose()?;
    let keep_rest = matches!(keep, Some(CaptureRemainder::Rest));
    let note = note.map(Into::into);
    let command = Command::CaptureHold { id, to, amount, keep_rest, note };
    Ok(request.execute(command, |outcome, _| written(outcome)).await)
}

pub(super) const VOID: Operation =
    Operation::new("voidHold", "holds", "Releases what is left of a hold")
        .if_match()
        .idempotent()
        .json::<HoldResponse<'_>>(200, "The hold.", EXAMPLE)
        .etag()
        .problems(&[Code::NotFound, Code::HoldNotOpen]);

pub(super) async fn void(request: RequestContext) -> Result<Reply, Problem> {
    let id = named(&request)?;
    Ok(request.execute(Command::VoidHold { id }, |outcome, _| written(outcome)).await)
}
