//! `/v1/accounts`: balances and statements.

use http::StatusCode;
use http::header;
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};

use super::amounts::{self, Amount};
use super::etag::VersionTag;
use super::operation::{Operation, Parameter};
use super::pagination;
use super::problem::{Code, Problem};
use super::reply::Reply;
use super::request_context::{RequestContext, unexpected};
use super::schemas::text;
use crate::engine::{Account, Command, Entry, Outcome, Refusal};
use crate::types::{AccountId, AssetCode, Decimal, Revision, Time, TransferId, TxId, Username};

/// Readers beside the owner and those with a role for it.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum PublicReader {
    /// A balance: the bearer of any session. Reference values: everybody.
    Anyone,
}

/// Returns whether anyone may read, from the member `read` of a body: `anyone` once, or nothing.
pub(super) fn is_public(read: &[PublicReader]) -> Result<bool, Problem> {
    if read.len() > 1 {
        return Err(Problem::field("/read", "too-long", "holds `anyone` once, or nothing"));
    }
    Ok(!read.is_empty())
}

/// A new account.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct OpenAccountRequest {
    /// Its id; never given out again.
    id: AccountId,
    /// Asset that the account is counted in.
    asset: AssetCode,
    /// The owner.
    #[serde(default)]
    owner: Option<Username>,
    /// The least that may be available, default `"0"`; `null`: no limit.
    #[serde(default, deserialize_with = "given")]
    #[schemars(schema_with = "amounts::floor")]
    #[expect(clippy::option_option, reason = "absent, null and an amount are three things")]
    floor: Option<Option<Amount>>,
    /// Further readers of the balance.
    #[serde(default)]
    #[schemars(length(max = 1))]
    read: Vec<PublicReader>,
}

/// Change of an account; absent fields stay.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ChangeAccountRequest {
    /// The least that may be available; `null`: no limit.
    #[serde(default, deserialize_with = "given")]
    #[schemars(schema_with = "amounts::floor")]
    #[expect(clippy::option_option, reason = "absent, null and an amount are three things")]
    floor: Option<Option<Amount>>,
    /// True if nothing more may leave the account.
    #[serde(default)]
    frozen: Option<bool>,
    /// Further readers of the balance.
    #[serde(default)]
    #[schemars(length(max = 1))]
    read: Option<Vec<PublicReader>>,
}

/// Distinguishes `null` from an absent field.
#[expect(clippy::option_option, reason = "absent, null and an amount are three things")]
fn given<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Option<Amount>>, D::Error> {
    Option::<Amount>::deserialize(deserializer).map(Some)
}

/// An account.
#[derive(Serialize, JsonSchema)]
pub(super) struct AccountResponse<'a> {
    /// Its id.
    id: &'a AccountId,
    /// Asset that the account is counted in.
    asset: &'a AssetCode,
    /// Fields that only the owner, administrators, auditors and services see.
    #[serde(flatten)]
    inner: Option<AccountDetails<'a>>,
    /// Sum of all transfers that were posted to it.
    posted: Decimal,
    /// Sum that its open holds reserve.
    held: Decimal,
    /// Posted minus held.
    available: Decimal,
    /// True if nothing more may leave the account.
    frozen: bool,
    /// True if nothing may enter or leave the account ever again.
    closed: bool,
    /// When it was opened.
    created_at: Time,
    /// The commit that last changed it.
    revision: Revision,
}

#[derive(Serialize, JsonSchema)]
struct AccountDetails<'a> {
    /// The owner; `null`: none.
    owner: Option<&'a Username>,
    /// The least that may be available; `null`: no limit.
    floor: Option<Decimal>,
    /// Further readers of the balance.
    read: &'a [PublicReader],
}

/// A page of accounts.
#[derive(Serialize, JsonSchema)]
pub(super) struct AccountPage<'a> {
    /// By their ids.
    items: Vec<AccountResponse<'a>>,
    /// The `cursor` of the next page; `null`: nothing is left.
    next_cursor: Option<String>,
}

impl<'a> AccountResponse<'a> {
    fn new(account: &'a Account, revision: Revision, in_full: bool) -> Self {
        let inner = in_full.then(|| AccountDetails {
            owner: account.owner.as_ref().map(|owner| &owner.username),
            floor: account.floor.map(|floor| account.amount(floor)),
            read: if account.read_anyone { &[PublicReader::Anyone] } else { &[] },
        });
        Self {
            id: &account.id,
            asset: &account.asset,
            inner,
            posted: account.amount(account.posted),
            held: account.amount(account.held),
            available: account.amount(account.available()),
            frozen: account.frozen,
            closed: account.closed,
            created_at: account.created_at,
            revision,
        }
    }
}

const EXAMPLE: &str = r#"{"id":"alice:main","asset":"EUR","owner":"alice","floor":"0.00","read":[],"posted":"1000.00","held":"251.25","available":"748.75","frozen":false,"closed":false,"created_at":"2026-11-24T10:00:00.000Z","revision":1042}"#;

fn shown(account: &Account, revision: Revision, in_full: bool) -> Result<Reply, Problem> {
    Ok(Reply::json(&AccountResponse::new(account, revision, in_full))?.at(tag(revision, in_full)))
}

/// Returns the tag of an account. The balance alone, which anyone may read, has a tag of its own.
fn tag(revision: Revision, in_full: bool) -> VersionTag {
    if in_full { revision.into() } else { VersionTag::of(revision, b"balance") }
}

/// Returns the account that the path names; a text that is no id names none.
fn named(request: &RequestContext) -> Result<AccountId, Problem> {
    request.parameters.at(0).parse().map_err(|_| Refusal::NotFound("account").into())
}

fn written(outcome: &Outcome) -> Result<Reply, Problem> {
    match outcome {
        Outcome::Account { account, revision, created: false } => shown(account, *revision, true),
        Outcome::Account { account, revision, created: true } => {
            let location = format!("/v1/accounts/{}", account.id);
            let reply = shown(account, *revision, true)?.status(StatusCode::CREATED);
            Ok(reply.with_text(header::LOCATION, &location))
        }
        other => Err(unexpected(other)),
    }
}

pub(super) const OPEN: Operation = Operation::new("openAccount", "accounts", "Opens an account")
    .text(
        "`floor` is the least that may be available, by default `\"0\"`; `null` is no limit: a \
           world account, where money comes from.",
    )
    .idempotent()
    .body::<OpenAccountRequest>(r#"{"id":"alice:main","asset":"EUR","owner":"alice","floor":"0"}"#)
    .json::<AccountResponse<'_>>(201, "The account. `Location` names it.", EXAMPLE)
    .etag()
    .with(&["Location"])
    .links(&[
        ("getAccount", "id", "$response.body#/id"),
        ("changeAccount", "id", "$response.body#/id"),
        ("listEntries", "id", "$response.body#/id"),
        ("closeAccount", "id", "$response.body#/id"),
    ])
    .problems(&[
        Code::AccountExists,
        Code::UnknownAsset,
        Code::AmountNotExact,
        Code::AmountOutOfRange,
        Code::InsufficientFunds,
    ]);

pub(super) async fn open(request: RequestContext) -> Result<Reply, Problem> {
    let OpenAccountRequest { id, asset, owner, floor, read } = request.json()?;
    let floor = match floor {
        None => Some(Decimal::ZERO),
        Some(None) => None,
        Some(Some(amount)) => Some(amount.exact("/floor")?),
    };
    let read_anyone = is_public(&read)?;
    let command = Command::OpenAccount { id, asset, owner, floor, read_anyone };
    Ok(request.execute(command, |outcome, _| written(outcome)).await)
}

pub(super) const CHANGE: Operation = Operation::new(
    "changeAccount",
    "accounts",
    "Changes an account: its floor, whether it is frozen, who else reads the balance",
)
.text(
    "A floor above what is available is refused. Freezing stops new holds and transfers \
           from the account; what is held already can still be captured, and amounts come in.",
)
.if_match()
.idempotent()
.merge_patch::<ChangeAccountRequest>(r#"{"floor":"-500.00","frozen":false,"read":["anyone"]}"#)
.json::<AccountResponse<'_>>(200, "The account.", EXAMPLE)
.etag()
.problems(&[
    Code::NotFound,
    Code::AccountClosed,
    Code::InsufficientFunds,
    Code::AmountNotExact,
    Code::AmountOutOfRange,
]);

pub(super) async fn change(request: RequestContext) -> Result<Reply, Problem> {
    let (id, if_match) = (named(&request)?, request.if_match()?);
    let ChangeAccountRequest { floor, frozen, read } = request.json()?;
    let floor = match floor {
        None => None,
        Some(None) => Some(None),
        Some(Some(amount)) => Some(Some(amount.exact("/floor")?)),
    };
    let read_anyone = read.map(|read| is_public(&read)).transpose()?;
    let command = Command::ChangeAccount { id, floor, frozen, read_anyone, if_match };
    Ok(request.execute(command, |outcome, _| written(outcome)).await)
}

pub(super) const CLOSE: Operation = Operation::new(
    "closeAccount",
    "accounts",
    "Closes an account on which nothing is posted or held; its statement stays",
)
.if_match()
.idempotent()
.json::<AccountResponse<'_>>(200, "The account.", EXAMPLE)
.etag()
.problems(&[Code::NotFound, Code::AccountNotEmpty]);

pub(super) async fn close(request: RequestContext) -> Result<Reply, Problem> {
    let (id, if_match) = (named(&request)?, request.if_match()?);
    let command = Command::CloseAccount { id, if_match };
    Ok(request.execute(command, |outcome, _| written(outcome)).await)
}

pub(super) const LIST: Operation =
    Operation::new("listAccounts", "accounts", "The accounts by id; a user gets the own ones")
        .text("Administrators, auditors and services see all.")
        .query(&[
            pagination::LIMIT,
            pagination::CURSOR,
            Parameter { name: "prefix", text: "Only ids that begin so.", schema: text },
        ])
        .json::<AccountPage<'_>>(200, "A page of accounts.", "")
        .problems(&[Code::InvalidInput]);

pub(super) fn list(request: &RequestContext) -> Result<Reply, Problem> {
    let prefix = request.query.get("prefix").unwrap_or_default();
    let page = request.api.app.accounts(request.actor(), prefix, &pagination::ask(request)?)?;
    let (items, next_cursor) = pagination::bounded(
        request,
        &page.items,
        page.next,
        |(account, _)| account.id.clone(),
        |(account, revision)| AccountResponse::new(account, *revision, true),
    );
    Reply::json(&AccountPage { items, next_cursor })
}

pub(super) const SHOW: Operation = Operation::new("getAccount", "accounts", "An account")
    .text(
        "For its owner, administrators, auditors and services; with `read: [\"anyone\"]` the \
           balance for any session, without owner and floor. With `as_of` as it was then.",
    )
    .query(&[super::transactions::AS_OF])
    .if_none_match()
    .json::<AccountResponse<'_>>(200, "The account.", EXAMPLE)
    .problems(&[Code::NotFound, Code::Gone, Code::InvalidParameter]);

pub(super) fn show(request: &RequestContext) -> Result<Reply, Problem> {
    if let Some(at) = request.as_of()? {
        let found = request.api.app.account_at(request.actor(), &named(request)?, at)?;
        let (account, revision, in_full) = found.ok_or(Code::Gone)?;
        return shown(&account, revision, in_full);
    }
    let (account, revision, in_full) =
        request.api.app.account(request.actor(), &named(request)?)?;
    match request.not_modified(tag(revision, in_full))? {
        Some(reply) => Ok(reply),
        None => shown(&account, revision, in_full),
    }
}

/// A line of a statement.
#[derive(Serialize, JsonSchema)]
pub(super) struct StatementEntry<'a> {
    /// The transfer.
    transfer: &'a TransferId,
    /// The other account.
    counter: &'a AccountId,
    /// Amount that came in; below zero, went out.
    amount: Decimal,
    /// Balance of the account after it.
    balance: Decimal,
    /// A note for people.
    note: Option<&'a str>,
    /// The transaction that posted it.
    transaction: Option<TxId>,
    /// When it was posted.
    posted_at: Time,
    /// The commit that posted it.
    revision: Revision,
}

/// A page of a statement.
#[derive(Serialize, JsonSchema)]
pub(super) struct StatementPage<'a> {
    /// Newest first.
    items: Vec<StatementEntry<'a>>,
    /// The `cursor` of the next page; `null`: nothing is left.
    next_cursor: Option<String>,
}

impl<'a> StatementEntry<'a> {
    fn new(entry: &'a Entry) -> Self {
        Self {
            transfer: &entry.transfer,
            counter: &entry.counter,
            amount: Decimal::from_minor(entry.amount, entry.scale),
            balance: Decimal::from_minor(entry.balance, entry.scale),
            note: entry.note.as_deref(),
            transaction: entry.tx,
            posted_at: entry.at,
            revision: entry.revision,
        }
    }
}

pub(super) const ENTRIES: Operation = Operation::new("listEntries", "accounts", "The statement of an account: its postings with the running balance, newest first")
    .query(pagination::PARAMETERS)
    .json::<StatementPage<'_>>(200, "A page of the statement.", r#"{"items":[{"transfer":"tr_01jd9x2k7m8n4p5q6r7s8t9v0w","counter":"bob:main","amount":"-250.00","balance":"750.00","note":"rent","transaction":null,"posted_at":"2026-11-24T10:00:00.000Z","revision":1042}],"next_cursor":null}"#)
    .problems(&[Code::NotFound, Code::InvalidInput]);

pub(super) fn entries(request: &RequestContext) -> Result<Reply, Problem> {
    let page =
        request.api.app.entries(request.actor(), &named(request)?, pagination::ask(request)?)?;
    let items = page.items.iter().map(StatementEntry::new).collect();
    Reply::json(&StatementPage { items, next_cursor: pagination::cursor(request, page.next) })
}
