//! Assets: those of ISO 4217, which always exist, and those that clients put.

use iso_currency::Currency;

use super::{ASSETS_MAX, Asset, SCALE_MAX};
use crate::engine::core::unit_of_work::{DecideError, UnitOfWork};
use crate::engine::{InputError, LedgerEvent, RecordKey, Refusal};
use crate::types::AssetCode;

/// Returns the asset of an ISO 4217 code. Codes without minor units (gold, test codes) are no
/// assets.
#[must_use]
pub fn iso_asset(code: &AssetCode) -> Option<Asset> {
    Currency::from_code(code.as_str()).and_then(of_currency)
}

/// Returns all assets of ISO 4217, sorted by code.
#[must_use]
pub fn iso_assets() -> Vec<Asset> {
    let currencies = (0..=999).filter_map(Currency::from_numeric);
    let mut assets: Vec<_> = currencies.filter_map(of_currency).collect();
    assets.sort_unstable_by(|a, b| a.code.cmp(&b.code));
    assets
}

fn of_currency(currency: Currency) -> Option<Asset> {
    let scale = u8::try_from(currency.exponent()?).ok()?;
    let code = currency.code().parse().ok()?;
    Some(Asset { code, scale, name: Some(currency.name().into()) })
}

/// Returns the number of digits after the point of an asset.
pub(in crate::engine) fn scale(unit: &UnitOfWork<'_>, code: &AssetCode) -> Result<u8, DecideError> {
    if let Some(asset) = iso_asset(code) {
        return Ok(asset.scale);
    }
    match unit.asset(code.clone())? {
        Some(asset) => Ok(asset.scale),
        None => Err(Refusal::UnknownAsset(code.clone()).into()),
    }
}

/// Puts an asset. Returns whether there was none. Its scale cannot change once it has accounts.
pub(in crate::engine) fn put_asset(
    unit: &mut UnitOfWork<'_>,
    asset: &Asset,
) -> Result<bool, DecideError> {
    if asset.scale > SCALE_MAX {
        let message = format!("must be from 0 to {SCALE_MAX}");
        let error = InputError::new("/scale", "out-of-range", message);
        return Err(Refusal::InvalidInput(vec![error]).into());
    }
    if let Some(known) = iso_asset(&asset.code) {
        if known.scale == asset.scale {
            return Ok(false);
        }
        return Err(Refusal::AssetInUse { asset: known.code, scale: known.scale }.into());
    }
    let old = unit.asset(asset.code.clone())?.cloned();
    match &old {
        Some(old) if old == asset => return Ok(false),
        Some(old) if old.scale != asset.scale => {
            if unit.totals(asset.code.clone())?.is_some_and(|totals| totals.accounts > 0) {
                let Asset { code: asset, scale, .. } = old.clone();
                return Err(Refusal::AssetInUse { asset, scale }.into());
            }
        }
        Some(_) => {}
        None => {
            let max = ASSETS_MAX;
            if unit.count(&RecordKey::AssetCount)? >= max as u64 {
                return Err(Refusal::LimitReached { what: "assets", max }.into());
            }
        }
    }
    unit.emit(LedgerEvent::AssetPut { asset: Box::new(asset.clone()) })?;
    Ok(old.is_none())
}
