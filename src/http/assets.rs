//! `/v1/assets`: what amounts are counted in; and the check that the ledger adds up.

use http::StatusCode;
use schemars::{JsonSchema, SchemaGenerator};
use serde::{Deserialize, Serialize};

use super::call::{Call, unexpected};
use super::input::Media;
use super::lists;
use super::problem::{Code, Problem};
use super::reply::Reply;
use super::route::{AnswerDoc, Body, Condition, Doc, Parameter};
use super::schemas::limit;
use crate::engine::{Asset, Command, Outcome, RecordKey, Refusal};
use crate::types::{AssetCode, Decimal, Revision};

/// An asset that is put.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewAsset {
    /// How many digits after the point its amounts have; it stays once there are accounts.
    #[schemars(range(max = 18))]
    scale: u8,
    /// For people.
    #[serde(default)]
    #[schemars(length(max = 256))]
    name: Option<String>,
}

/// An asset.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Asset")]
pub(super) struct Shown<'a> {
    /// Its code.
    code: &'a AssetCode,
    /// How many digits after the point its amounts have.
    scale: u8,
    /// For people.
    name: Option<&'a str>,
}

/// A page of assets.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Assets")]
pub(super) struct Page<'a> {
    /// By their codes.
    items: Vec<Shown<'a>>,
    /// The `cursor` of the next page; `null`: nothing is left.
    next_cursor: Option<String>,
}

impl<'a> Shown<'a> {
    fn new(asset: &'a Asset) -> Self {
        Self { code: &asset.code, scale: asset.scale, name: asset.name.as_deref() }
    }
}

const SHOWN: AnswerDoc = AnswerDoc::json(
    200,
    "The asset.",
    SchemaGenerator::subschema_for::<Shown<'_>>,
    r#"{"code":"SKU-42","scale":0,"name":"Blue chairs"}"#,
);

fn code(call: &Call) -> Result<AssetCode, Problem> {
    call.parameters.at(0).parse().map_err(|_| Refusal::NotFound("asset").into())
}

pub(super) const PUT: Doc = Doc {
    id: "putAsset",
    tag: "assets",
    summary: "Creates or changes an asset; those of ISO 4217 exist already",
    condition: Condition::IfMatch,
    idempotency: true,
    body: Some(Body {
        content: &[(Media::Json, SchemaGenerator::subschema_for::<NewAsset>)],
        example: r#"{"scale":0,"name":"Blue chairs"}"#,
    }),
    answers: &[SHOWN, AnswerDoc { status: 201, text: "There was none with this code.", ..SHOWN }],
    problems: &[Code::NotFound, Code::AssetInUse, Code::LimitReached],
    ..Doc::PLAIN
};

pub(super) async fn put(call: Call) -> Result<Reply, Problem> {
    let code = code(&call)?;
    let NewAsset { scale, name } = call.json()?;
    let asset = Asset { code, scale, name: name.map(Into::into) };
    let write = |outcome: &Outcome, _| match outcome {
        Outcome::Asset { asset, created } => {
            let status = if *created { StatusCode::CREATED } else { StatusCode::OK };
            Ok(Reply::json(&Shown::new(asset))?.status(status))
        }
        other => Err(unexpected(other)),
    };
    Ok(call.execute(Command::PutAsset { asset }, write).await)
}

pub(super) const SHOW: Doc = Doc {
    id: "getAsset",
    tag: "assets",
    summary: "An asset",
    condition: Condition::IfNoneMatch,
    answers: &[
        SHOWN.with(&["ETag"]),
        AnswerDoc::empty(304, "The caller has it already.").with(&["ETag"]),
    ],
    problems: &[Code::NotFound],
    ..Doc::PLAIN
};

pub(super) fn show(call: &Call) -> Result<Reply, Problem> {
    let code = code(call)?;
    // Those of ISO 4217 are no records, and never change.
    let revision = call.api.app.revision_of(&RecordKey::Asset(code.clone())).unwrap_or_default();
    call.shown_at(revision, Reply::json(&Shown::new(&call.api.app.asset(&code)?))?)
}

pub(super) const LIST: Doc = Doc {
    id: "listAssets",
    tag: "assets",
    summary: "All assets by code: those of ISO 4217 and those that were added",
    query: &[
        Parameter { name: "limit", text: "Maximum number of items on the page.", schema: limit },
        lists::CURSOR,
    ],
    answers: &[AnswerDoc::json(
        200,
        "A page of assets.",
        SchemaGenerator::subschema_for::<Page<'_>>,
        "",
    )],
    problems: &[Code::InvalidInput],
    ..Doc::PLAIN
};

pub(super) fn list(call: &Call) -> Result<Reply, Problem> {
    let page = call.api.app.assets(&lists::ask(call)?)?;
    let after = |asset: &Asset| asset.code.clone();
    let (items, next_cursor) = lists::bounded(call, &page.items, page.next, after, Shown::new);
    Reply::json(&Page { items, next_cursor })
}

/// What adds up over all accounts, at one revision.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "LedgerCheck")]
pub(super) struct Check<'a> {
    /// The revision.
    revision: Revision,
    /// The assets that have accounts, by their codes.
    assets: Vec<Sums<'a>>,
}

/// What adds up over all accounts of an asset.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "AssetSums")]
pub(super) struct Sums<'a> {
    /// Its code.
    asset: &'a AssetCode,
    /// The sum of what is posted: always zero.
    posted: Decimal,
    /// The sum of what is held.
    held: Decimal,
    /// How many accounts were opened.
    accounts: u64,
    /// How many transfers were posted.
    transfers: u64,
}

pub(super) const CHECK: Doc = Doc {
    id: "checkLedger",
    tag: "assets",
    summary: "The sums over all accounts, at one revision",
    text: "`posted` is the sum over all accounts: always zero. `abide verify` computes it anew \
           from the accounts. With `as_of` as it was then.",
    query: &[super::transactions::AS_OF],
    problems: &[Code::Gone, Code::InvalidParameter],
    answers: &[AnswerDoc::json(
        200,
        "The sums.",
        SchemaGenerator::subschema_for::<Check<'_>>,
        r#"{"revision":1042,"assets":[{"asset":"EUR","posted":"0.00","held":"251.25","accounts":4,"transfers":17}]}"#,
    )],
    ..Doc::PLAIN
};

pub(super) fn check(call: &Call) -> Result<Reply, Problem> {
    let check = match call.as_of()? {
        None => call.api.app.ledger_check(call.actor())?,
        Some(at) => call.api.app.ledger_check_at(call.actor(), at)?.ok_or(Code::Gone)?,
    };
    let sums = check.assets.iter().map(|(asset, totals)| Sums {
        asset: &asset.code,
        posted: Decimal::from_minor(totals.posted, asset.scale),
        held: Decimal::from_minor(totals.held, asset.scale),
        accounts: totals.accounts,
        transfers: totals.transfers,
    });
    Reply::json(&Check { revision: check.revision, assets: sums.collect() })
}
