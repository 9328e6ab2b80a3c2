//! Events of the ledger, in the past tense.

use super::record::{Account, AccountChange, Asset, Hold, Transfer};
use crate::engine::core::json_text::{ObjectText, object_text};
use crate::types::{AccountId, Decimal};

/// Something that happened in the ledger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LedgerEvent {
    /// An asset was created or changed.
    AssetPut {
        /// The asset.
        asset: Box<Asset>,
    },
    /// An account was opened.
    AccountOpened {
        /// The account.
        account: Box<Account>,
    },
    /// An account was changed.
    AccountChanged {
        /// The account.
        account: AccountId,
        /// Its asset's digits after the point.
        scale: u8,
        /// The change.
        change: Box<AccountChange>,
    },
    /// An account was closed.
    AccountClosed {
        /// The account.
        account: AccountId,
    },
    /// A transfer was posted.
    TransferPosted {
        /// The transfer.
        transfer: Box<Transfer>,
    },
    /// An amount was reserved.
    HoldPlaced {
        /// The hold.
        hold: Box<Hold>,
    },
    /// An amount that was reserved leaves the account: a [`LedgerEvent::TransferPosted`] follows.
    HoldCaptured {
        /// The hold, as it is now.
        hold: Box<Hold>,
        /// Posted amount, in minor units.
        amount: i128,
        /// Released amount, in minor units.
        released: i128,
    },
    /// The rest of a hold was released.
    HoldVoided {
        /// The hold, as it is now.
        hold: Box<Hold>,
        /// Released amount, in minor units.
        released: i128,
    },
    /// The rest of a hold was released because it expired.
    HoldExpired {
        /// The hold, as it is now.
        hold: Box<Hold>,
        /// Released amount, in minor units.
        released: i128,
    },
}

impl LedgerEvent {
    /// Returns its type in the log and the feed.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::AssetPut { .. } => "abide.asset.put",
            Self::AccountOpened { .. } => "abide.account.opened",
            Self::AccountChanged { .. } => "abide.account.changed",
            Self::AccountClosed { .. } => "abide.account.closed",
            Self::TransferPosted { .. } => "abide.transfer.posted",
            Self::HoldPlaced { .. } => "abide.hold.placed",
            Self::HoldCaptured { .. } => "abide.hold.captured",
            Self::HoldVoided { .. } => "abide.hold.voided",
            Self::HoldExpired { .. } => "abide.hold.expired",
        }
    }

    /// Returns its data for the log.
    pub(in crate::engine) fn log_data(&self) -> ObjectText {
        match self {
            Self::AssetPut { asset } => object_text!({
                "asset": asset.code, "scale": asset.scale, "name": asset.name.as_deref(),
            }),
            Self::AccountOpened { account } => object_text!({
                "account": account.id,
                "asset": account.asset,
                "owner": account.owner.as_ref().map(|owner| &owner.username),
                "floor": account.floor.map(|floor| account.amount(floor)),
            }),
            Self::AccountChanged { account, scale, change } => {
                let AccountChange { floor, frozen, read_anyone } = **change;
                let mut data = object_text!({ "account": account });
                if let Some(floor) = floor {
                    data.put("floor", &floor.map(|floor| Decimal::from_minor(floor, *scale)));
                }
                if let Some(frozen) = frozen {
                    data.put("frozen", &frozen);
                }
                if let Some(anyone) = read_anyone {
                    data.put("read", if anyone { &["anyone"][..] } else { &[] });
                }
                data
            }
            Self::AccountClosed { account } => object_text!({ "account": account }),
            Self::TransferPosted { transfer } => object_text!({
                "transfer": transfer.id,
                "from": transfer.from,
                "to": transfer.to,
                "asset": transfer.asset,
                "amount": Decimal::from_minor(transfer.amount, transfer.scale),
                "note": transfer.note.as_deref(),
                "transaction": transfer.tx,
                "hold": transfer.hold,
                "reverses": transfer.reverses,
            }),
            Self::HoldPlaced { hold } => hold_data(hold, &[]),
            Self::HoldCaptured { hold, amount, released } => {
                hold_data(hold, &[("captured", *amount), ("released", *released)])
            }
            Self::HoldVoided { hold, released } | Self::HoldExpired { hold, released } => {
                hold_data(hold, &[("released", *released)])
            }
        }
    }
}

/// Returns the log data of a hold, with amounts that moved.
fn hold_data(hold: &Hold, amounts: &[(&str, i128)]) -> ObjectText {
    let mut data = object_text!({
        "hold": hold.id,
        "account": hold.account,
        "asset": hold.asset,
        "amount": Decimal::from_minor(hold.amount, hold.scale),
        "transaction": hold.tx,
    });
    for (name, units) in amounts {
        data.put(name, &Decimal::from_minor(*units, hold.scale));
    }
    data
}
