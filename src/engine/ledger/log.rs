//! What the log keeps of the ledger's events: amounts as the API writes them.

use super::{AccountChange, Hold};
use crate::engine::Event;
use crate::engine::core::json_text::{Told, told};
use crate::types::Decimal;

/// The data of an event of the ledger; of others nothing.
pub(in crate::engine) fn data(event: &Event) -> Told {
    match event {
        Event::AssetPut { asset } => told!({
            "asset": asset.code, "scale": asset.scale, "name": asset.name.as_deref(),
        }),
        Event::AccountOpened { account } => told!({
            "account": account.id,
            "asset": account.asset,
            "owner": account.owner.as_ref().map(|owner| &owner.username),
            "floor": account.floor.map(|floor| account.amount(floor)),
        }),
        Event::AccountChanged { account, scale, change } => {
            let AccountChange { floor, frozen, read_anyone } = **change;
            let mut data = told!({ "account": account });
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
        Event::AccountClosed { account } => told!({ "account": account }),
        Event::TransferPosted { transfer } => told!({
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
        Event::HoldPlaced { hold } => hold_data(hold, &[]),
        Event::HoldCaptured { hold, amount, released } => {
            hold_data(hold, &[("captured", *amount), ("released", *released)])
        }
        Event::HoldVoided { hold, released } | Event::HoldExpired { hold, released } => {
            hold_data(hold, &[("released", *released)])
        }
        _ => told!({}),
    }
}

/// What the log keeps of a hold, with amounts that moved.
fn hold_data(hold: &Hold, amounts: &[(&str, i128)]) -> Told {
    let mut data = told!({
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
