//! Markers in stored requests for values that are not stored, and tokens of callback addresses. All
//! are derived from a key that lies outside of the store.

use serde_json::Value;
use subtle::ConstantTimeEq as _;

use super::challenge::ChallengeKey;
use crate::types::TxId;

/// Returns the marker in a stored request for a value that is not stored. Its delimiters are
/// control characters and it has a keyed hash, so no input of a client can become one.
pub(super) fn marker(key: &ChallengeKey, tx: TxId, what: &str) -> String {
    let mac = mac(key, b"abide marker 1", &[&tx.bits().to_be_bytes(), what.as_bytes()]);
    format!("\u{2}{what}\u{2}{}\u{3}", hex(&mac[..16]))
}

/// Replaces the markers in a text of a stored request with their values; `None`: a value is
/// unknown.
pub fn filled(
    key: &ChallengeKey,
    tx: TxId,
    text: &str,
    known: &dyn Fn(&str) -> Option<String>,
) -> Option<String> {
    let mut rest = text;
    let mut made = String::with_capacity(text.len());
    while let Some(start) = rest.find('\u{2}') {
        let (before, from) = rest.split_at(start);
        made.push_str(before);
        let end = from.find('\u{3}').map_or(from.len(), |end| end + 1);
        let (found, after) = from.split_at(end);
        let what = found[1..].split('\u{2}').next().unwrap_or_default();
        let right = marker(key, tx, what);
        if bool::from(right.as_bytes().ct_eq(found.as_bytes())) {
            made.push_str(&known(what)?);
            rest = after;
        } else {
            made.push('\u{2}');
            rest = &from[1..];
        }
    }
    made.push_str(rest);
    Some(made)
}

fn mac(key: &ChallengeKey, context: &[u8], parts: &[&[u8]]) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new_keyed(key.bytes());
    hasher.update(context);
    for part in parts {
        hasher.update(&(part.len() as u64).to_be_bytes());
        hasher.update(part);
    }
    *hasher.finalize().as_bytes()
}

fn hex(bytes: &[u8]) -> String {
    let digit = |nibble: u8| char::from_digit(u32::from(nibble), 16).unwrap_or('0');
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

/// Returns the last part of a callback's address: derived when it is needed, never stored.
pub(super) fn callback_token(key: &ChallengeKey, tx: TxId, number: u32) -> String {
    let parts: [&[u8]; 2] = [&tx.bits().to_be_bytes(), &number.to_be_bytes()];
    let mac = mac(key, b"abide callback 1", &parts);
    format!("{tx}.{number}.{}", hex(&mac[..16]))
}

/// Returns the call that a callback's address names, if this server issued the address.
pub(super) fn called_back(key: &ChallengeKey, token: &str) -> Option<(TxId, u32)> {
    let mut parts = token.split('.');
    let tx: TxId = parts.next()?.parse().ok()?;
    let number: u32 = parts.next()?.parse().ok()?;
    let right = callback_token(key, tx, number);
    bool::from(right.as_bytes().ct_eq(token.as_bytes())).then_some((tx, number))
}

/// Returns a hash of a callback's address and body, to recognise a repeated callback.
pub(super) fn called_back_with(key: &ChallengeKey, token: &str, body: &Value) -> u128 {
    let mac = mac(key, b"abide callback body 1", &[token.as_bytes(), body.to_string().as_bytes()]);
    mac.first_chunk().map_or(0, |first| u128::from_be_bytes(*first))
}
