//! Records of the ledger.

use std::sync::Arc;

use crate::engine::UserRef;
use crate::types::{
    AccountId, AssetCode, Decimal, HoldId, Revision, Time, TransferId, TxId, UserId,
};

/// Unit that amounts are counted in. The assets of ISO 4217 exist without a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asset {
    /// Its code.
    pub code: AssetCode,
    /// Number of digits after the point of its amounts.
    pub scale: u8,
    /// Name for people.
    pub name: Option<Arc<str>>,
}

/// A balance in one asset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// Its id.
    pub id: AccountId,
    /// Asset that it is counted in.
    pub asset: AssetCode,
    /// The asset's digits after the point.
    pub scale: u8,
    /// Owner; `None`: nobody.
    pub owner: Option<UserRef>,
    /// Minimum available balance, in minor units; `None`: no limit.
    pub floor: Option<i128>,
    /// True if any session may read its balance.
    pub read_anyone: bool,
    /// True if nothing more may leave it.
    pub frozen: bool,
    /// True if nothing may enter or leave it ever again.
    pub closed: bool,
    /// Sum of all that was posted to it, in minor units.
    pub posted: i128,
    /// Sum of all that its open holds reserve, in minor units.
    pub held: i128,
    /// Number of its open holds.
    pub holds: u32,
    /// Time when it was opened.
    pub created_at: Time,
}

/// State of a hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HoldStatus {
    /// It reserves its rest.
    Held,
    /// All of it, or a part, was posted and the rest released.
    Captured,
    /// Its rest was released.
    Voided,
    /// Its rest was released because it expired.
    Expired,
}

impl HoldStatus {
    /// Returns the name in the API.
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
    /// The transaction that it belongs to; that transaction's record holds it.
    pub tx: Option<TxId>,
    /// The account.
    pub account: AccountId,
    /// The account's asset.
    pub asset: AssetCode,
    /// The asset's digits after the point.
    pub scale: u8,
    /// Amount reserved at first, in minor units.
    pub amount: i128,
    /// Amount posted of it, in minor units.
    pub captured: i128,
    /// Amount that it still reserves, in minor units: zero once it is resolved.
    pub left: i128,
    /// Its state.
    pub status: HoldStatus,
    /// Time when it is released by itself.
    pub expires_at: Option<Time>,
    /// Time when it was placed.
    pub created_at: Time,
}

impl Hold {
    /// Returns whether it can still be resolved; at the time of its expiry it cannot. The
    /// transaction decides when its own hold expires: past the pivot none does.
    #[must_use]
    pub fn is_open(&self, now: Time) -> bool {
        let in_time = self.tx.is_some() || self.expires_at.is_none_or(|at| now < at);
        self.status == HoldStatus::Held && in_time
    }
}

/// A movement from one account to another. Only [`Transfer::reversed_by`] ever changes.
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
    /// Amount in minor units; above zero.
    pub amount: i128,
    /// Note on the statement.
    pub note: Option<Arc<str>>,
    /// The transaction that posted it.
    pub tx: Option<TxId>,
    /// The hold that it was captured from.
    pub hold: Option<HoldId>,
    /// The transfer that it undoes.
    pub reverses: Option<TransferId>,
    /// The transfer that undid it.
    pub reversed_by: Option<TransferId>,
    /// Time when it was posted.
    pub at: Time,
    /// The commit that posted it.
    pub revision: Revision,
}

/// Sums over all accounts of an asset.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Sum of all posted amounts, in minor units: always zero.
    pub posted: i128,
    /// Sum of all held amounts, in minor units.
    pub held: i128,
    /// Number of accounts ever opened.
    pub accounts: u64,
    /// Number of transfers ever posted.
    pub transfers: u64,
}

/// Changes of an account; a field that is `None` stays as it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AccountChange {
    /// The floor, in minor units; the inner `None`: no limit.
    pub floor: Option<Option<i128>>,
    /// True if the account is frozen now.
    pub frozen: Option<bool>,
    /// True if any session may read its balance now.
    pub read_anyone: Option<bool>,
}

/// A row that is added once and never changes, and that no decision reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AppendedRow {
    /// A line of an account's statement.
    Entry(Box<Entry>),
    /// Index entry: accounts by owner.
    Owned(UserId, AccountId),
    /// Commits that changed a transaction, oldest first and at least one. They precede the ones
    /// that its record names.
    Commits(TxId, Vec<Revision>),
}

/// A line of an account's statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Account of the statement.
    pub account: AccountId,
    /// The commit.
    pub revision: Revision,
    /// Position among the rows of the commit.
    pub number: u32,
    /// The transfer.
    pub transfer: TransferId,
    /// The other account.
    pub counter: AccountId,
    /// Amount in minor units: above zero it came in, below zero it went out.
    pub amount: i128,
    /// Posted balance of the account after the transfer.
    pub balance: i128,
    /// The asset's digits after the point.
    pub scale: u8,
    /// Note for people.
    pub note: Option<Arc<str>>,
    /// The transaction that posted it.
    pub tx: Option<TxId>,
    /// Time of the posting.
    pub at: Time,
}

impl Account {
    /// Returns the available balance in minor units, without regard to the floor.
    #[must_use]
    pub const fn available(&self) -> i128 {
        // Both are within BALANCE_MAX.
        self.posted.saturating_sub(self.held)
    }

    /// Converts minor units of its asset to a decimal number.
    #[must_use]
    pub const fn amount(&self, units: i128) -> Decimal {
        Decimal::from_minor(units, self.scale)
    }
}

/// A transfer that a client requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TransferAsk {
    /// Its id; `None`: the server makes one.
    pub id: Option<TransferId>,
    /// Account that the amount leaves.
    pub from: AccountId,
    /// Account that receives the amount.
    pub to: AccountId,
    /// Amount to transfer.
    pub amount: Decimal,
    /// Note on the statement.
    pub note: Option<Arc<str>>,
}
