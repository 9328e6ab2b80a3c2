//! Types that every layer shares: newtypes with checked arithmetic, without side effects.

mod decimal;
mod id;
mod name;
mod revision;
mod secret;
mod time;
mod trace;

pub use decimal::{Decimal, DecimalError, Rounding};
pub use id::{JobId, KeyId, ScheduleId, SessionId, TxId, UserId, WebhookId};
pub use name::{
    AccountId, AssetCode, HoldId, HookName, ProfileName, Role, StepName, TransferId, UserPattern,
    Username, ValueName, WorkflowName,
};
pub use revision::Revision;
pub use secret::{Password, Token, TokenHash, TokenKind, secret_name};
pub use time::{Span, Time};
pub use trace::TraceContext;

/// Reason why a text is not a valid value of one of these types.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ParseError(&'static str);

impl ParseError {
    pub(crate) const fn new(expected: &'static str) -> Self {
        Self(expected)
    }
}

/// Returns ASCII characters that this module made as text.
fn ascii(text: &[u8]) -> &str {
    std::str::from_utf8(text).unwrap_or_default()
}

/// Implements serde by `Display` and `FromStr`: the same text form in JSON and in the store.
macro_rules! serde_as_text {
    ($($name:ident)*) => {$(
        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }
        $crate::types::serde_from_text!($name);
    )*};
}
pub(crate) use serde_as_text;

/// Implements serde by `FromStr`, for types that have a faster way to their text than `Display`.
macro_rules! serde_from_text {
    ($($name:ident)*) => {$(
        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    )*};
}
pub(crate) use serde_from_text;
