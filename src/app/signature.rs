//! Signatures of messages between services: Standard Webhooks 1.0, and the header with `sha256=`
//! that many services send.

use std::fmt;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

use crate::types::{Span, Time};

/// Largest difference between the time in a message and the server's: an older message may be a
/// replay.
pub const TOLERANCE: Span = Span::from_minutes(5);

/// Maximum number of signatures of one message that are checked: one for each key while keys
/// change.
const SIGNATURES_MAX: usize = 10;

/// Prefix of a secret of Standard Webhooks.
const PREFIX: &str = "whsec_";

/// Key with which messages are signed. `Debug` hides it.
#[derive(Clone, PartialEq, Eq)]
pub struct SigningKey(Arc<[u8]>);

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SigningKey")
    }
}

impl SigningKey {
    /// Returns the key with these bytes.
    #[must_use]
    pub fn new(bytes: &[u8]) -> Self {
        Self(bytes.into())
    }

    /// Parses a secret of Standard Webhooks: `whsec_` and base64.
    #[must_use]
    pub fn standard(secret: &str) -> Option<Self> {
        let bytes = STANDARD.decode(secret.strip_prefix(PREFIX)?).ok()?;
        (!bytes.is_empty()).then(|| Self::new(&bytes))
    }

    /// Returns the key as a secret of Standard Webhooks.
    #[must_use]
    pub fn to_standard(&self) -> String {
        format!("{PREFIX}{}", STANDARD.encode(&self.0))
    }

    fn mac(&self, parts: &[&[u8]]) -> Option<Hmac<Sha256>> {
        // HMAC accepts a key of any length. If it did not, nothing would be signed.
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0).ok()?;
        for part in parts {
            mac.update(part);
        }
        Some(mac)
    }

    fn is_of(&self, parts: &[&[u8]], tag: &[u8]) -> bool {
        // The comparison takes constant time.
        self.mac(parts).is_some_and(|mac| mac.verify_slice(tag).is_ok())
    }
}

/// Returns the `webhook-signature` of a message: one signature for each key, newest first.
#[must_use]
pub fn sign_standard(keys: &[SigningKey], id: &str, seconds: u64, body: &[u8]) -> String {
    let seconds = seconds.to_string();
    let parts = [id.as_bytes(), b".", seconds.as_bytes(), b".", body];
    let signed = keys.iter().filter_map(|key| key.mac(&parts));
    let signed: Vec<_> =
        signed.map(|mac| format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))).collect();
    signed.join(" ")
}

/// Returns whether a `webhook-signature` contains a signature of this message with this key.
#[must_use]
pub fn is_standard(key: &SigningKey, id: &str, seconds: &str, body: &[u8], header: &str) -> bool {
    let parts = [id.as_bytes(), b".", seconds.as_bytes(), b".", body];
    header
        .split_ascii_whitespace()
        .take(SIGNATURES_MAX)
        .filter_map(|signature| signature.strip_prefix("v1,"))
        .filter_map(|text| STANDARD.decode(text).ok())
        .any(|tag| key.is_of(&parts, &tag))
}

/// Returns whether a `webhook-timestamp` is close enough to the present time.
#[must_use]
pub fn is_timely(seconds: &str, now: Time) -> bool {
    let at = seconds.parse().ok().and_then(|seconds: u64| seconds.checked_mul(1000));
    at.map(Time::from_ms).is_some_and(|at| at.since(now) <= TOLERANCE && now.since(at) <= TOLERANCE)
}

/// Returns the header with `sha256=` of a body.
#[must_use]
pub fn sign_hex(key: &SigningKey, body: &[u8]) -> String {
    use std::fmt::Write as _;
    let mut text = "sha256=".to_owned();
    for byte in key.mac(&[body]).map(|mac| mac.finalize().into_bytes()).unwrap_or_default() {
        // Writing to a text never fails.
        write!(text, "{byte:02x}").ok();
    }
    text
}

/// Returns whether a header with `sha256=` is the signature of this body with this key.
#[must_use]
pub fn is_hex(key: &SigningKey, body: &[u8], header: &str) -> bool {
    let Some(hex) = header.strip_prefix("sha256=") else { return false };
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let (pairs, rest) = hex.as_bytes().as_chunks::<2>();
    let tag: Option<Vec<u8>> =
        pairs.iter().map(|[high, low]| Some(digit(*high)? << 4 | digit(*low)?)).collect();
    rest.is_empty() && tag.is_some_and(|tag| key.is_of(&[body], &tag))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    /// The example of the specification.
    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    const BODY: &[u8] = br#"{"test": 2432232314}"#;
    const ID: &str = "msg_p5jXN8AQM9LWM0D4loKWxJek";

    #[test]
    fn it_signs_as_the_specification_says() {
        let key = SigningKey::standard(SECRET).unwrap();
        let signature = sign_standard(std::slice::from_ref(&key), ID, 1_614_265_330, BODY);
        assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
        assert_eq!(key.to_standard(), SECRET);
        assert!(is_standard(&key, ID, "1614265330", BODY, &format!("v1,AAAA {signature}")));
        for (id, seconds, body) in
            [("msg_q", "1614265330", BODY), (ID, "1614265331", BODY), (ID, "1614265330", b"{}")]
        {
            assert!(!is_standard(&key, id, seconds, body, &signature));
        }
        assert!(!is_standard(&SigningKey::new(b"other"), ID, "1614265330", BODY, &signature));
    }

    #[test]
    fn each_of_several_keys_is_good() {
        let keys = [SigningKey::new(b"new"), SigningKey::new(b"old")];
        let header = sign_standard(&keys, ID, 1, BODY);
        assert!(keys.iter().all(|key| is_standard(key, ID, "1", BODY, &header)));
    }

    #[test]
    fn a_message_is_good_for_minutes() {
        let now = Time::from_ms(1_614_265_330_000);
        assert!(is_timely("1614265330", now) && is_timely("1614265030", now));
        for late in ["1614265029", "1614265631", "", "-1", "99999999999999999999"] {
            assert!(!is_timely(late, now), "{late}");
        }
    }

    /// RFC 4231, test case 2.
    #[test]
    fn the_plain_header_is_hmac_sha256() {
        let key = SigningKey::new(b"Jefe");
        let body = b"what do ya want for nothing?";
        let header = "sha256=5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";
        assert_eq!(sign_hex(&key, body), header);
        assert!(is_hex(&key, body, header));
        for wrong in [&header[7..], &header[..70], &header.replace("5b", "5c"), "sha256=", ""] {
            assert!(!is_hex(&key, body, wrong), "{wrong}");
        }
    }
}
