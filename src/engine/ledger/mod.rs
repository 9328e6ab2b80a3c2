//! The ledger: accounts, holds and transfers, in double entry.
//!
//! - [`record`]: the records;
//! - [`assets`], [`accounts`], [`holds`], [`transfers`]: the rules, each a function that checks
//!   everything before its first event, for commands and for the effects of transactions alike;
//! - [`commands`]: permissions and results of the commands;
//! - [`apply`]: changes of the records by events;
//! - [`conserve`]: invariants of every commit that moves money, whatever caused it.
//!
//! Amounts are integers of an asset's minor units. `available = posted - held`, and an account
//! never has less available than its floor. The engine checks this when an amount is held and when
//! one is posted without a hold, so posting a held amount can never break it. An account cannot
//! spend an incoming amount before it is posted.

mod accounts;
mod apply;
mod assets;
pub(super) mod commands;
mod conserve;
mod event;
mod holds;

mod record;
mod transfers;

#[cfg(test)]
mod tests;

#[allow(unused_imports, reason = "what the effects of transactions ask of the ledger")]
pub(super) use accounts::{
    Change, Open, change_account, close_account, open_account, require_belong_to,
};
pub(super) use apply::apply;
pub use assets::{iso_asset, iso_assets};
pub(super) use assets::{put_asset, scale};
pub use conserve::{Imbalance, check};
pub use event::LedgerEvent;
pub(super) use holds::{Capture, Place, capture, hold_of, place, release_expired, void};
pub use record::{
    Account, AccountChange, AppendedRow, Asset, Entry, Hold, HoldStatus, Totals, Transfer,
    TransferAsk,
};
pub(super) use transfers::{Post, post, reverse, standing};

/// Maximum balance in minor units, on either side of zero, and so the largest amount: the sum over
/// ten thousand million accounts still fits.
pub const BALANCE_MAX: i128 = 10_i128.pow(28);

/// Maximum number of digits after the point of an asset.
pub const SCALE_MAX: u8 = 18;

/// Maximum number of assets besides those of ISO 4217.
pub const ASSETS_MAX: usize = 1000;

/// Maximum length of a transfer's note, in bytes.
pub const NOTE_BYTES_MAX: usize = 512;

/// Maximum number of transfers in one request: one commit holds all of them and their statement
/// entries.
pub const TRANSFERS_MAX: usize = 100;
