//! What the ledger remembers.

use std::sync::Arc;

use crate::engine::UserRef;
use crate::types::{
    AccountId, AssetCode, Decimal, HoldId, Revision, Time, TransferId, TxId, UserId,
};

/// What amounts are counted in. Those of ISO 4217 exist without a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asset {
    /// Its code.
    pub code: AssetCode,
    /// How many digits after the point its amounts have.
    pub scale: u8,
    /// For people.
    pub name: Option<Arc<str>>,
}

/// A balance in one asset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// Its id.
    pub id: AccountId,
    /// What it is counted in.
    pub asset: AssetCode,
    /// The asset's digits after the point.
    pub scale: u8,
    /// Whose it is; `None`: nobody's.
    pub owner: Option<UserRef>,
    /// The least that may be available, in minor units; `None`: no limit.
    pub floor: Option<i128>,
    /// Whether any session may read its balance.
    pub read_anyone: bool,
    /// Whether nothing more may leave it.
    pub frozen: bool,
    /// Whether nothing may enter or leave it ever again.
    pub closed: bool,
    /// The sum of all that was posted to it, in minor units.
    pub posted: i128,
    /// The sum of what its open holds reserve, in minor units.
    pub held: i128,
    /// How many open holds there are on it.
    pub holds: u32,
    /// When it was opened.
    pub created_at: Time,
}

/// How a hold stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HoldStatus {
    /// It reserves what is left of it.
    Held,
    /// All of it, or a part, was posted and the rest released.
    Captured,
    /// What was left of it was released.
    Voided,
    /// What was left of it was released at its time.
    Expired,
}

impl HoldStatus {
    /// As the API has it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Held => "held",
            Self::Captured => "captured",
            Self::Voided => "voided",
            Self::Expired => "expired",
        }
    }
}

/// An amount reserved on an account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hold {
    /// Its id.
    pub id: HoldId,
    /// The transaction that it belongs to, in whose record it lies.
    pub tx: Option<TxId>,
    /// The account.
    pub account: AccountId,
    /// The account's asset.
    pub asset: AssetCode,
    /// The asset's digits after the point.
    pub scale: u8,
    /// What was reserved at first, in minor units.
    pub amount: i128,
    /// What was posted of it.
    pub captured: i128,
    /// What it still reserves: zero once it is resolved.
    pub left: i128,
    /// How it stands.
    pub status: HoldStatus,
    /// When it is released by itself.
    pub expires_at: Option<Time>,
    /// When it was placed.
    pub created_at: Time,
}

impl Hold {
    /// Whether it can still be resolved. At the very moment of its expiry it can not. When a
    /// transaction's hold expires is for the transaction to say: past its pivot none does.
    #[must_use]
    pub fn is_open(&self, now: Time) -> bool {
        let in_time = self.tx.is_some() || self.expires_at.is_none_or(|at| now < at);
        self.status == HoldStatus::Held && in_time
    }
}

/// A movement from one account to another; nothing of it ever changes but [`Transfer::reversed_by`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transfer {
    /// Its id.
    pub id: TransferId,
    /// The account that it left.
    pub from: AccountId,
    /// The account that it went to.
    pub to: AccountId,
    /// The asset of both.
    pub asset: AssetCode,
    /// The asset's digits after the point.
    pub scale: u8,
    /// How much, in minor units; above zero.
    pub amount: i128,
    /// For the statement.
    pub note: Option<Arc<str>>,
    /// The transaction that posted it.
    pub tx: Option<TxId>,
    /// The hold that it was captured from.
    pub hold: Option<HoldId>,
    /// The transfer that it undoes.
    pub reverses: Option<TransferId>,
    /// The transfer that undid it.
    pub reversed_by: Option<TransferId>,
    /// When it was posted.
    pub at: Time,
    /// The commit that posted it.
    pub revision: Revision,
}

/// What adds up over all accounts of an asset.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// The sum of what is posted: always zero.
    pub posted: i128,
    /// The sum of what is held.
    pub held: i128,
    /// How many accounts were ever opened.
    pub accounts: u64,
    /// How many transfers were ever posted.
    pub transfers: u64,
}

/// What changes of an account; what is `None` stays.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AccountChange {
    /// The floor, in minor units; the inner `None`: no limit.
    pub floor: Option<Option<i128>>,
    /// Whether it is frozen.
    pub frozen: Option<bool>,
    /// Whether any session may read its balance.
    pub read_anyone: Option<bool>,
}

/// A row that is added and never changed, and that no decision reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Row {
    /// A line of an account's statement.
    Entry(Box<Entry>),
    /// That an account is a user's, to list them.
    Owned(UserId, AccountId),
    /// The commits that changed a transaction, oldest first and at least one: those before the
    /// ones that its record names.
    Commits(TxId, Vec<Revision>),
}

/// A line of an account's statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Whose statement.
    pub account: AccountId,
    /// The commit.
    pub revision: Revision,
    /// Its place among the rows of the commit.
    pub number: u32,
    /// The transfer.
    pub transfer: TransferId,
    /// The other account.
    pub counter: AccountId,
    /// How much came in, or below zero went out, in minor units.
    pub amount: i128,
    /// What was posted on the account with it.
    pub balance: i128,
    /// The asset's digits after the point.
    pub scale: u8,
    /// For people.
    pub note: Option<Arc<str>>,
    /// The transaction that posted it.
    pub tx: Option<TxId>,
    /// When.
    pub at: Time,
}

impl Account {
    /// What may be spent, in minor units, the floor left aside.
    #[must_use]
    pub const fn available(&self) -> i128 {
        // Both are within BALANCE_MAX.
        self.posted.saturating_sub(self.held)
    }

    /// So many minor units of its asset.
    #[must_use]
    pub const fn amount(&self, units: i128) -> Decimal {
        Decimal::from_minor(units, self.scale)
    }
}

/// A transfer that somebody asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TransferAsk {
    /// Its id; `None`: one is made.
    pub id: Option<TransferId>,
    /// Where from.
    pub from: AccountId,
    /// Where to.
    pub to: AccountId,
    /// How much.
    pub amount: Decimal,
    /// For the statement.
    pub note: Option<Arc<str>>,
}
