//! Forms: the structs as which values are stored, frozen with their version.
//!
//! [`record_structs!`] and [`record_enums!`] declare a form beside the domain type that it is of,
//! with the conversions of both directions. In bincode the names of fields and variants are not
//! written, only their order; in JSON the names are.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use serde_json::{Map, Value};

use crate::engine::{KeyRef, UserRef};
use crate::types::{
    AccountId, AssetCode, HoldId, JobId, KeyId, ProfileName, Revision, Role, ScheduleId, SessionId,
    Span, StepName, Time, TokenHash, TransferId, TxId, UserId, UserPattern, Username, WebhookId,
    WorkflowName,
};

/// Description of a stored value that no domain value has.
#[derive(Debug)]
pub(super) struct InvalidForm(pub(super) &'static str);

/// A form of a domain type.
pub(super) trait Form<D>: Sized {
    /// Converts a domain value into what is stored.
    fn from_domain(value: &D) -> Self;

    /// Converts what was stored into the domain value.
    fn into_domain(self) -> Result<D, InvalidForm>;
}

/// Declares structs that are forms. The members after `..` are not stored; they get a value.
macro_rules! record_structs {
    ($(
        $(#[$meta:meta])*
        struct $form:ident: $domain:ident {
            $($(#[$field_meta:meta])* $field:ident: $type:ty,)*
            $(.. $absent:ident = $value:expr)?
        }
    )*) => {$(
        #[derive(serde::Serialize, serde::Deserialize)]
        $(#[$meta])*
        pub(super) struct $form {
            $($(#[$field_meta])* pub(super) $field: $type,)*
        }

        impl $crate::records::form::Form<$domain> for $form {
            fn from_domain(value: &$domain) -> Self {
                Self { $($field: $crate::records::form::Form::from_domain(&value.$field),)* }
            }

            fn into_domain(self) -> Result<$domain, $crate::records::form::InvalidForm> {
                Ok($domain {
                    $($field: $crate::records::form::Form::into_domain(self.$field)?,)*
                    $($absent: $value,)?
                })
            }
        }
    )*};
}
pub(super) use record_structs;

/// Declares enums that are forms. The order of the variants is stored and never changes.
macro_rules! record_enums {
    ($(
        $(#[$meta:meta])*
        enum $form:ident: $domain:ident {
            $($variant:ident
                $(($($item:ident: $item_type:ty),+))?
                $({ $($field:ident: $field_type:ty),+ })?
            ),+ $(,)?
        }
    )*) => {$(
        #[derive(serde::Serialize, serde::Deserialize)]
        $(#[$meta])*
        pub(super) enum $form {
            $($variant $(($($item_type),+))? $({ $($field: $field_type),+ })?,)+
        }

        impl $crate::records::form::Form<$domain> for $form {
            fn from_domain(value: &$domain) -> Self {
                match value {
                    $($domain::$variant $(($($item),+))? $({ $($field),+ })? => {
                        Self::$variant
                            $(($($crate::records::form::Form::from_domain($item)),+))?
                            $({ $($field: $crate::records::form::Form::from_domain($field)),+ })?
                    })+
                }
            }

            fn into_domain(self) -> Result<$domain, $crate::records::form::InvalidForm> {
                Ok(match self {
                    $(Self::$variant $(($($item),+))? $({ $($field),+ })? => {
                        $domain::$variant
                            $(($($crate::records::form::Form::into_domain($item)?),+))?
                            $({ $($field: $crate::records::form::Form::into_domain($field)?),+ })?
                    })+
                })
            }
        }
    )*};
}
pub(super) use record_enums;

/// A text that shares its memory with the domain value.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Text(Arc<str>);

impl Text {
    pub(super) fn new(text: &str) -> Self {
        Self(text.into())
    }
}

impl Serialize for Text {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = Text;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Text, E> {
                Ok(Text::new(text))
            }
        }
        deserializer.deserialize_str(Visitor)
    }
}

impl Form<Arc<str>> for Text {
    fn from_domain(value: &Arc<str>) -> Self {
        Self(Arc::clone(value))
    }

    fn into_domain(self) -> Result<Arc<str>, InvalidForm> {
        Ok(self.0)
    }
}

const INVALID_NAME: InvalidForm = InvalidForm("it holds a name that is not valid");

/// Names: their text, which was valid when it was stored.
macro_rules! name_forms {
    ($($name:ident)*) => {$(
        impl Form<$name> for Text {
            fn from_domain(value: &$name) -> Self {
                Self(value.into())
            }

            fn into_domain(self) -> Result<$name, InvalidForm> {
                self.0.parse().map_err(|_| INVALID_NAME)
            }
        }
    )*};
}
name_forms! {
    AccountId AssetCode HoldId ProfileName Role StepName TransferId UserPattern Username
    WorkflowName
}

/// Values that are their text in JSON.
macro_rules! spelled_forms {
    ($($name:ident)*) => {$(
        impl Form<$name> for Text {
            fn from_domain(value: &$name) -> Self {
                Self(value.to_string().into())
            }

            fn into_domain(self) -> Result<$name, InvalidForm> {
                self.0.parse().map_err(|_| INVALID_NAME)
            }
        }
    )*};
}
spelled_forms!(JobId KeyId ScheduleId Time TxId WebhookId);

/// Newtypes of numbers and bytes.
macro_rules! newtype_forms {
    ($($form:ty: $($name:ident)+, $get:ident, $new:ident;)*) => {$($(
        impl Form<$name> for $form {
            fn from_domain(value: &$name) -> Self {
                value.$get()
            }

            fn into_domain(self) -> Result<$name, InvalidForm> {
                Ok($name::$new(self))
            }
        }
    )+)*};
}
newtype_forms! {
    u128: KeyId ScheduleId SessionId TxId UserId, bits, new;
    u64: Time Span, ms, from_ms;
    u64: Revision, get, new;
}

impl Form<TokenHash> for [u8; 32] {
    fn from_domain(value: &TokenHash) -> Self {
        *value.bytes()
    }

    fn into_domain(self) -> Result<TokenHash, InvalidForm> {
        Ok(TokenHash::new(self))
    }
}

/// Values that are stored as they are.
macro_rules! same_forms {
    ($($type:ty;)*) => {$(
        impl Form<$type> for $type {
            fn from_domain(value: &Self) -> Self {
                value.clone()
            }

            fn into_domain(self) -> Result<Self, InvalidForm> {
                Ok(self)
            }
        }
    )*};
}
same_forms!(bool; u8; u16; u32; u64; u128; i128; [u8; 32]; String; Map<String, Value>;);

/// JSON as its compact text.
#[derive(Serialize, Deserialize)]
pub(super) struct Json(pub(super) String);

impl Form<Value> for Json {
    fn from_domain(value: &Value) -> Self {
        // Writing JSON into memory does not fail.
        Self(serde_json::to_string(value).unwrap_or_default())
    }

    fn into_domain(self) -> Result<Value, InvalidForm> {
        serde_json::from_str(&self.0).map_err(|_| InvalidForm("it holds data that is no JSON"))
    }
}

impl Form<UserRef> for (u128, Text) {
    fn from_domain(value: &UserRef) -> Self {
        (Form::from_domain(&value.id), Form::from_domain(&value.username))
    }

    fn into_domain(self) -> Result<UserRef, InvalidForm> {
        Ok(UserRef { id: self.0.into_domain()?, username: self.1.into_domain()? })
    }
}

impl Form<KeyRef> for (u128, Text) {
    fn from_domain(value: &KeyRef) -> Self {
        (Form::from_domain(&value.id), Form::from_domain(&value.name))
    }

    fn into_domain(self) -> Result<KeyRef, InvalidForm> {
        Ok(KeyRef { id: self.0.into_domain()?, name: self.1.into_domain()? })
    }
}

impl<A, B, FA: Form<A>, FB: Form<B>> Form<(A, B)> for (FA, FB) {
    fn from_domain((a, b): &(A, B)) -> Self {
        (Form::from_domain(a), Form::from_domain(b))
    }

    fn into_domain(self) -> Result<(A, B), InvalidForm> {
        Ok((self.0.into_domain()?, self.1.into_domain()?))
    }
}

impl<D, F: Form<D>> Form<Option<D>> for Option<F> {
    fn from_domain(value: &Option<D>) -> Self {
        value.as_ref().map(F::from_domain)
    }

    fn into_domain(self) -> Result<Option<D>, InvalidForm> {
        self.map(F::into_domain).transpose()
    }
}

impl<D, F: Form<D>> Form<Vec<D>> for Vec<F> {
    fn from_domain(value: &Vec<D>) -> Self {
        value.iter().map(F::from_domain).collect()
    }

    fn into_domain(self) -> Result<Vec<D>, InvalidForm> {
        self.into_iter().map(F::into_domain).collect()
    }
}

impl<D, F: Form<D>> Form<Arc<[D]>> for Vec<F> {
    fn from_domain(value: &Arc<[D]>) -> Self {
        value.iter().map(F::from_domain).collect()
    }

    fn into_domain(self) -> Result<Arc<[D]>, InvalidForm> {
        self.into_iter().map(F::into_domain).collect()
    }
}

impl<K: Ord, V, FK: Form<K>, FV: Form<V>> Form<BTreeMap<K, V>> for Vec<(FK, FV)> {
    fn from_domain(value: &BTreeMap<K, V>) -> Self {
        let form = |(key, value)| (FK::from_domain(key), FV::from_domain(value));
        value.iter().map(form).collect()
    }

    fn into_domain(self) -> Result<BTreeMap<K, V>, InvalidForm> {
        let domain = |(key, value): (FK, FV)| Ok((key.into_domain()?, value.into_domain()?));
        self.into_iter().map(domain).collect()
    }
}

impl<K: Ord, V, FK: Form<K> + Ord, FV: Form<V>> Form<BTreeMap<K, V>> for BTreeMap<FK, FV> {
    fn from_domain(value: &BTreeMap<K, V>) -> Self {
        let form = |(key, value)| (FK::from_domain(key), FV::from_domain(value));
        value.iter().map(form).collect()
    }

    fn into_domain(self) -> Result<BTreeMap<K, V>, InvalidForm> {
        let domain = |(key, value): (FK, FV)| Ok((key.into_domain()?, value.into_domain()?));
        self.into_iter().map(domain).collect()
    }
}

impl<D, F: Form<D>> Form<Arc<D>> for F {
    fn from_domain(value: &Arc<D>) -> Self {
        F::from_domain(&**value)
    }

    fn into_domain(self) -> Result<Arc<D>, InvalidForm> {
        F::into_domain(self).map(Arc::new)
    }
}

impl<D, F: Form<D>> Form<Box<D>> for F {
    fn from_domain(value: &Box<D>) -> Self {
        F::from_domain(&**value)
    }

    fn into_domain(self) -> Result<Box<D>, InvalidForm> {
        F::into_domain(self).map(Box::new)
    }
}
