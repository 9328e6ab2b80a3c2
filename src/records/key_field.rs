//! Fields of keys as bytes whose order is that of the fields.

use std::str::FromStr;

use crate::engine::{IndexEntry, OwnerId, StoredId, Timer, TimerOf, ValueKey};
use crate::types::{
    AccountId, AssetCode, HoldId, JobId, KeyId, Revision, Role, ScheduleId, SessionId, StepName,
    Time, TokenHash, TransferId, TxId, UserId, Username, ValueName, WebhookId, WorkflowName,
};

use super::Scope;

/// A field of a key.
pub(super) trait KeyField: Sized {
    /// Writes the field where another one follows.
    fn put(&self, out: &mut Vec<u8>);

    /// Reads what [`Self::put`] wrote; `None`: the bytes are no such field.
    fn take(input: &mut &[u8]) -> Option<Self>;

    /// Writes the field at the end of a key.
    fn put_last(&self, out: &mut Vec<u8>) {
        self.put(out);
    }

    /// Reads what [`Self::put_last`] wrote.
    fn take_last(input: &mut &[u8]) -> Option<Self> {
        Self::take(input)
    }
}

/// Writes fields, the last one as the end of the key.
macro_rules! put_fields {
    ($out:ident;) => {};
    ($out:ident; $last:ident) => { $crate::records::key_field::KeyField::put_last($last, $out) };
    ($out:ident; $first:ident, $($rest:ident),+) => {
        $crate::records::key_field::KeyField::put($first, $out);
        $crate::records::key_field::put_fields!($out; $($rest),+);
    };
}
pub(super) use put_fields;

/// Declares variables with the fields that [`put_fields`] wrote.
macro_rules! take_fields {
    ($input:ident;) => {};
    ($input:ident; $last:ident) => {
        let $last = $crate::records::key_field::KeyField::take_last($input)?;
    };
    ($input:ident; $first:ident, $($rest:ident),+) => {
        let $first = $crate::records::key_field::KeyField::take($input)?;
        $crate::records::key_field::take_fields!($input; $($rest),+);
    };
}
pub(super) use take_fields;

/// Bytes of a fixed length.
fn array<const N: usize>(input: &mut &[u8]) -> Option<[u8; N]> {
    let (array, rest) = input.split_first_chunk()?;
    *input = rest;
    Some(*array)
}

fn text<T: FromStr>(bytes: &[u8]) -> Option<T> {
    std::str::from_utf8(bytes).ok()?.parse().ok()
}

impl KeyField for [u8; 32] {
    fn put(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self);
    }

    fn take(input: &mut &[u8]) -> Option<Self> {
        array(input)
    }
}

/// Numbers in big endian.
macro_rules! number_fields {
    ($($number:ident)*) => {$(
        impl KeyField for $number {
            fn put(&self, out: &mut Vec<u8>) {
                out.extend_from_slice(&self.to_be_bytes());
            }

            fn take(input: &mut &[u8]) -> Option<Self> {
                array(input).map(Self::from_be_bytes)
            }
        }
    )*};
}
number_fields!(u8 u32 u64 u128);

/// Newtypes: how their value is found, and how they are made of it.
macro_rules! newtype_fields {
    ($($newtype:ident: $get:expr, $new:expr;)*) => {$(
        impl KeyField for $newtype {
            fn put(&self, out: &mut Vec<u8>) {
                $get(self).put(out);
            }

            fn take(input: &mut &[u8]) -> Option<Self> {
                KeyField::take(input).and_then($new)
            }
        }
    )*};
}
newtype_fields! {
    UserId: |id: &Self| id.bits(), |bits| Some(Self::new(bits));
    SessionId: |id: &Self| id.bits(), |bits| Some(Self::new(bits));
    KeyId: |id: &Self| id.bits(), |bits| Some(Self::new(bits));
    TxId: |id: &Self| id.bits(), |bits| Some(Self::new(bits));
    JobId: |id: &Self| id.bits(), |bits| Some(Self::new(bits));
    ScheduleId: |id: &Self| id.bits(), |bits| Some(Self::new(bits));
    WebhookId: |id: &Self| id.bits(), |bits| Some(Self::new(bits));
    Revision: |revision: &Self| revision.get(), |number| Some(Self::new(number));
    TokenHash: |hash: &Self| *hash.bytes(), |bytes| Some(Self::new(bytes));
    // No time beyond the last one is ever written.
    Time: |time: &Self| time.ms(), |ms| Some(Self::from_ms(ms)).filter(|time| time.ms() == ms);
}

/// Names: at the end of a key as they are, before another field closed by a byte that is smaller
/// than any in a name, so that the order is that of the names.
macro_rules! name_fields {
    ($($name:ident)*) => {$(
        impl KeyField for $name {
            fn put(&self, out: &mut Vec<u8>) {
                self.put_last(out);
                out.push(0);
            }

            fn take(input: &mut &[u8]) -> Option<Self> {
                let end = input.iter().position(|byte| *byte == 0)?;
                let (name, rest) = input.split_at(end);
                *input = &rest[1..];
                text(name)
            }

            fn put_last(&self, out: &mut Vec<u8>) {
                out.extend_from_slice(self.as_str().as_bytes());
            }

            fn take_last(input: &mut &[u8]) -> Option<Self> {
                text(std::mem::take(input))
            }
        }
    )*};
}
name_fields!(AccountId AssetCode HoldId Role StepName TransferId Username ValueName WorkflowName);

/// Structs, by the order of their fields.
macro_rules! struct_fields {
    ($($name:ident { $($field:ident),+ })*) => {$(
        impl KeyField for $name {
            fn put(&self, out: &mut Vec<u8>) {
                let Self { $($field),+ } = self;
                $($field.put(out);)+
            }

            fn take(input: &mut &[u8]) -> Option<Self> {
                Some(Self { $($field: KeyField::take(input)?),+ })
            }

            fn put_last(&self, out: &mut Vec<u8>) {
                let Self { $($field),+ } = self;
                put_fields!(out; $($field),+);
            }

            fn take_last(input: &mut &[u8]) -> Option<Self> {
                take_fields!(input; $($field),+);
                Some(Self { $($field),+ })
            }
        }
    )*};
}
struct_fields! {
    StoredId { key, digest }
    ValueKey { set, key }
    Timer { due, what }
}

/// Enums, by a byte for each variant that never changes its meaning.
macro_rules! enum_fields {
    ($($name:ident { $($tag:literal $variant:ident($($field:ident),+),)+ })*) => {$(
        impl KeyField for $name {
            fn put(&self, out: &mut Vec<u8>) {
                match self {
                    $(Self::$variant($($field),+) => {
                        out.push($tag);
                        $($field.put(out);)+
                    })+
                }
            }

            fn take(input: &mut &[u8]) -> Option<Self> {
                Some(match u8::take(input)? {
                    $($tag => {
                        $(let $field = KeyField::take(input)?;)+
                        Self::$variant($($field),+)
                    })+
                    _ => return None,
                })
            }

            fn put_last(&self, out: &mut Vec<u8>) {
                match self {
                    $(Self::$variant($($field),+) => {
                        out.push($tag);
                        put_fields!(out; $($field),+);
                    })+
                }
            }

            fn take_last(input: &mut &[u8]) -> Option<Self> {
                Some(match u8::take(input)? {
                    $($tag => {
                        take_fields!(input; $($field),+);
                        Self::$variant($($field),+)
                    })+
                    _ => return None,
                })
            }
        }
    )*};
}
enum_fields! {
    Scope {
        1 User(id),
        2 Key(id),
        3 Session(id),
        4 Hook(id),
    }
    OwnerId {
        1 User(id),
        2 Session(id),
        3 Key(id),
    }
    TimerOf {
        1 Session(id),
        2 Stored(id),
        3 Link(hash),
        4 Hold(id),
        5 Tx(id),
        6 Orphans(owner, after),
        7 Adopt(session, after),
        8 EndVia(key, after),
        20 Schedule(id),
        21 Job(id),
    }
    // The transaction comes last in each list of transactions, so that a list has the order of
    // their starts. The bytes are families of keys, as those in `keys!`.
    IndexEntry {
        0x81 TxOf(owner, id),
        0x82 OpenOf(owner, id),
        0x83 EndWith(session, id),
        0x84 RoleInbox(role, id),
        0x85 UserInbox(user, id),
        0x86 Stuck(id),
        0x8a Queued(workflow, step, at, id),
        0x8b SessionVia(key, session),
        0x8c CallDue(due, id, number),
        0x8d CallOut(id, number),
        0x8e ActedIn(session, id),
    }
}
