//! `/v1/assets`: the units of amounts; and the check that the ledger adds up.

use http::StatusCode;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::operation::Operation;
use super::pagination;
use super::problem::{Code, Problem};
use super::reply::Reply;
use super::request_context::{RequestContext, unexpected};
use crate::engine::{Asset, Command, Outcome, RecordKey, Refusal};
use crate::types::{AssetCode, Decimal, Revision};

/// An asset that is put.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct PutAssetRequest {
    /// Number of digits after the point of its amounts; fixed once there are accounts.
    #[schemars(range(max = 18))]
    scale: u8,
    /// For people.
    #[serde(default)]
    #[schemars(length(max = 256))]
    name: Option<String>,
}

/// An asset.
#[derive(Serialize, JsonSchema)]
pub(super) struct AssetResponse<'a> {
    /// Its code.
    code: &'a AssetCode,
    /// Number of digits after the point of its amounts.
    scale: u8,
    /// For people.
    name: Option<&'a str>,
}

/// A page of assets.
#[derive(Serialize, JsonSchema)]
pub(super) struct AssetPage<'a> {
    /// By their codes.
    items: Vec<AssetResponse<'a>>,
    /// The `cursor` of the next page; `null`: nothing is left.
    next_cursor: Option<String>,
}

impl<'a> AssetResponse<'a> {
    fn new(asset: &'a Asset) -> Self {
        Self { code: &asset.code, scale: asset.scale, name: asset.name.as_deref() }
    }
}

fn code(request: &RequestContext) -> Result<AssetCode, Problem> {
    request.parameters.at(0).parse().map_err(|_| Refusal::NotFound("asset").into())
}

pub(super) const PUT: Operation = Operation::new(
    "putAsset",
    "assets",
    "Creates or changes an asset; those of ISO 4217 exist already",
)
.if_match()
.idempotent()
.body::<PutAssetRequest>(r#"{"scale":0,"name":"Blue chairs"}"#)
.json::<AssetResponse<'_>>(200, "The asset.", r#"{"code":"SKU-42","scale":0,"name":"Blue chairs"}"#)
.json::<AssetResponse<'_>>(
    201,
    "There was none with this code.",
    r#"{"code":"SKU-42","scale":0,"name":"Blue chairs"}"#,
)
.problems(&[Code::NotFound, Code::AssetInUse, Code::LimitReached]);

pub(super) async fn put(request: RequestContext) -> Result<Reply, Problem> {
    let code = code(&request)?;
    let PutAssetRequest { scale, name } = request.json()?;
    let asset = Asset { code, scale, name: name.map(Into::into) };
    let write = |outcome: &Outcome, _| match outcome {
        Outcome::Asset { asset, created } => {
            let status = if *created { StatusCode::CREATED } else { StatusCode::OK };
            Ok(Reply::json(&AssetResponse::new(asset))?.status(status))
        }
        other => Err(unexpected(other)),
    };
    Ok(request.execute(Command::PutAsset { asset }, write).await)
}

pub(super) const SHOW: Operation = Operation::new("getAsset", "assets", "An asset")
    .if_none_match()
    .json::<AssetResponse<'_>>(
        200,
        "The asset.",
        r#"{"code":"SKU-42","scale":0,"name":"Blue chairs"}"#,
    )
    .problems(&[Code::NotFound]);

pub(super) fn show(request: &RequestContext) -> Result<Reply, Problem> {
    let code = code(request)?;
    // Those of ISO 4217 are no records, and never change.
    let revision = request.api.app.revision_of(&RecordKey::Asset(code.clone())).unwrap_or_default();
    request.shown_at(revision, Reply::json(&AssetResponse::new(&request.api.app.asset(&code)?))?)
}

pub(super) const LIST: Operation = Operation::new(
    "listAssets",
    "assets",
    "All assets by code: those of ISO 4217 and those that were added",
)
.query(pagination::PARAMETERS)
.json::<AssetPage<'_>>(200, "A page of assets.", "")
.problems(&[Code::InvalidInput]);

pub(super) fn list(request: &RequestContext) -> Result<Reply, Problem> {
    let page = request.api.app.assets(&pagination::ask(request)?)?;
    let after = |asset: &Asset| asset.code.clone();
    let (items, next_cursor) =
        pagination::bounded(request, &page.items, page.next, after, AssetResponse::new);
    Reply::json(&AssetPage { items, next_cursor })
}

/// Sums over all accounts, at one revision.
#[derive(Serialize, JsonSchema)]
pub(super) struct LedgerCheckResponse<'a> {
    /// The revision.
    revision: Revision,
    /// The assets that have accounts, by their codes.
    assets: Vec<AssetSums<'a>>,
}

/// Sums over all accounts of an asset.
#[derive(Serialize, JsonSchema)]
pub(super) struct AssetSums<'a> {
    /// Its code.
    asset: &'a AssetCode,
    /// The sum of what is posted: always zero.
    posted: Decimal,
    /// The sum of what is held.
    held: Decimal,
    /// Number of accounts that were opened.
    accounts: u64,
    /// Number of transfers that were posted.
    transfers: u64,
}

pub(super) const CHECK: Operation = Operation::new("checkLedger", "assets", "The sums over all accounts, at one revision")
    .text("`posted` is the sum over all accounts: always zero. `abide verify` computes it anew \
           from the accounts. With `as_of` as it was then.")
    .query(&[super::transactions::AS_OF])
    .json::<LedgerCheckResponse<'_>>(200, "The sums.", r#"{"revision":1042,"assets":[{"asset":"EUR","posted":"0.00","held":"251.25","accounts":4,"transfers":17}]}"#)
    .problems(&[Code::Gone, Code::InvalidParameter]);

pub(super) fn check(request: &RequestContext) -> Result<Reply, Problem> {
    let check = match request.as_of()? {
        None => request.api.app.ledger_check(request.actor())?,
        Some(at) => request.api.app.ledger_check_at(request.actor(), at)?.ok_or(Code::Gone)?,
    };
    let sums = check.assets.iter().map(|(asset, totals)| AssetSums {
        asset: &asset.code,
        posted: Decimal::from_minor(totals.posted, asset.scale),
        held: Decimal::from_minor(totals.held, asset.scale),
        accounts: totals.accounts,
        transfers: totals.transfers,
    });
    Reply::json(&LedgerCheckResponse { revision: check.revision, assets: sums.collect() })
}
