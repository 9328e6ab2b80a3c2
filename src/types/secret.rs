//! Tokens and passwords, and the hashes that the store keeps of tokens.

use std::fmt;
use std::str::FromStr;

use sha2::{Digest as _, Sha256};

use super::ParseError;

/// Returns the one spelling of a secret's name: upper case, `_` for `-`. A call's `secret("NAME")`,
/// a hook's `secret`, the table `[secrets]` and the variables `ABIDE_SECRET_NAME` all use it.
#[must_use]
pub fn secret_name(text: &str) -> String {
    text.to_ascii_uppercase().replace('-', "_")
}

/// Number of base62 characters that hold 256 bits: 62^43 > 2^256.
const DIGITS: usize = 43;

const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// Kind of thing that a token gives access to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenKind {
    /// `abs_`: a session.
    Session,
    /// `abk_`: an API key.
    Key,
    /// `abl_`: a single-use link that sets a password.
    Link,
}

impl TokenKind {
    const ALL: [Self; 3] = [Self::Session, Self::Key, Self::Link];

    /// Returns the prefix of the token's text.
    #[must_use]
    pub const fn prefix(self) -> &'static str {
        match self {
            Self::Session => "abs_",
            Self::Key => "abk_",
            Self::Link => "abl_",
        }
    }
}

/// A secret that identifies its bearer: a prefix and 256 random bits in base62. `Debug` shows only
/// its kind; only [`Token::reveal`] returns the text.
#[derive(Clone, PartialEq, Eq)]
pub struct Token {
    kind: TokenKind,
    text: String,
}

/// SHA-256 of a token's text. The store keeps only this.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TokenHash([u8; 32]);

impl Token {
    /// Makes a token of 32 random bytes.
    #[must_use]
    pub fn new(kind: TokenKind, random: &[u8; 32]) -> Self {
        let mut limbs = [0_u32; 8];
        for (limb, bytes) in limbs.iter_mut().zip(random.as_chunks::<4>().0) {
            *limb = u32::from_be_bytes(*bytes);
        }
        let mut digits = [0; DIGITS];
        for digit in digits.iter_mut().rev() {
            let mut remainder = 0;
            for limb in &mut limbs {
                let value = remainder << 32 | u64::from(*limb);
                // The remainder is below 62, so the quotient is below 2^32 and fits.
                *limb = u32::try_from(value / 62).unwrap_or(u32::MAX);
                remainder = value % 62;
            }
            *digit = ALPHABET[usize::try_from(remainder).unwrap_or(0)];
        }
        let mut text = String::with_capacity(4 + DIGITS);
        text.push_str(kind.prefix());
        text.extend(digits.into_iter().map(char::from));
        Self { kind, text }
    }

    /// Returns its kind.
    #[must_use]
    pub const fn kind(&self) -> TokenKind {
        self.kind
    }

    /// Returns the text, for the one response that contains it.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.text
    }

    /// Returns the hash that the store keeps.
    #[must_use]
    pub fn hash(&self) -> TokenHash {
        TokenHash(Sha256::digest(self.text.as_bytes()).into())
    }
}

impl FromStr for Token {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let kind = TokenKind::ALL.into_iter().find(|kind| {
            text.strip_prefix(kind.prefix()).is_some_and(|digits| {
                digits.len() == DIGITS && digits.bytes().all(|byte| byte.is_ascii_alphanumeric())
            })
        });
        match kind {
            Some(kind) => Ok(Self { kind, text: text.to_owned() }),
            None => Err(ParseError::new("is not a token")),
        }
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Token({:?})", self.kind)
    }
}

impl TokenHash {
    /// Returns the hash with these bytes.
    #[must_use]
    pub const fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Returns its bytes.
    #[must_use]
    pub const fn bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for TokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenHash")
    }
}

/// A password as a person typed it. `Debug` shows nothing of it, not even its length.
#[derive(Clone, PartialEq, Eq)]
pub struct Password(String);

impl Password {
    /// Returns the password with this text, whatever its length: the code that sets it checks the
    /// rules.
    #[must_use]
    pub const fn new(text: String) -> Self {
        Self(text)
    }

    /// Returns the text, for the one function that hashes it.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password")
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_token_is_read_as_it_was_made_and_each_bit_counts(random: [u8; 32], bit in 0..256_usize) {
            let token = Token::new(TokenKind::Session, &random);
            let read: Token = token.reveal().parse().unwrap();
            prop_assert_eq!(read.hash(), token.hash());
            let mut other = random;
            other[bit / 8] ^= 1 << (bit % 8);
            prop_assert_ne!(Token::new(TokenKind::Session, &other), token);
        }
    }

    #[test]
    fn the_largest_token_fits() {
        let token = Token::new(TokenKind::Key, &[u8::MAX; 32]);
        assert_eq!(token.reveal().len(), 47);
        assert!(token.reveal().starts_with("abk_"));
        assert_eq!(token.kind(), TokenKind::Key);
    }

    #[test]
    fn nothing_of_a_secret_shows() {
        let token = Token::new(TokenKind::Session, &[7; 32]);
        assert_eq!(format!("{token:?} {:?}", token.hash()), "Token(Session) TokenHash");
        assert_eq!(format!("{:?}", Password::new("hunter22".into())), "Password");
    }

    #[test]
    fn what_is_no_token_is_refused() {
        let good = Token::new(TokenKind::Session, &[7; 32]);
        for wrong in ["", "abs_", &good.reveal()[..46], &format!("{}0", good.reveal()), "abx_"] {
            assert!(wrong.parse::<Token>().is_err(), "{wrong}");
        }
        assert!(good.reveal().replace("abs_", "abx_").parse::<Token>().is_err());
    }
}
