//! Keys: one enum for everything that the store contains. [`keys!`] declares each kind once.

use super::key_field::{KeyField as _, put_fields, take_fields};
use crate::engine::{
    Actor, ActorId, ActorRef, Digest, IndexEntry, RecordKey, StoredId, Timer, ValueKey,
};
use crate::types::{
    AccountId, AssetCode, HoldId, JobId, KeyId, Revision, ScheduleId, SessionId, Time, TokenHash,
    TransferId, TxId, UserId, Username, ValueName, WebhookId, WorkflowName,
};

/// Owner of an Idempotency-Key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scope {
    /// A user, in any session.
    User(UserId),
    /// An API key.
    Key(KeyId),
    /// An anonymous session.
    Session(SessionId),
    /// An inbound webhook, by a hash of its name.
    Hook(u128),
}

impl Scope {
    /// Returns the owner of the keys that an actor sends; `None`: the actor can send none.
    #[must_use]
    pub fn of(actor: &Actor) -> Option<Self> {
        match actor {
            Actor::Session(session) => Some(match &session.user {
                Some(user) => Self::User(user.id),
                None => Self::Session(session.session),
            }),
            Actor::Key(key) => Some(Self::Key(key.key.id)),
            Actor::Hook(_) => match ActorRef::of(actor).id {
                ActorId::Hook(id) => Some(Self::Hook(id)),
                _ => None,
            },
            Actor::Nobody | Actor::Workflow(..) | Actor::System => None,
        }
    }
}

/// Declares the kinds of keys. Each line has the first byte, which never changes its meaning, the
/// variant with its fields, the record of the engine that it holds, and the name of a constant for
/// a scan over the kind. A page is a record that is read by a scan; its key is the position from
/// which the scan starts.
macro_rules! keys {
    (
        records {$(
            $(#[$doc:meta])*
            $tag:literal $kind:ident $(($($field:ident: $type:ty),+))?
                = $record:ident $(($($pattern:tt)+))? $(, $all:ident)?;
        )+}
        records in parts ($part:ident) {$(
            $(#[$part_doc:meta])*
            $part_tag:literal $part_kind:ident($($part_field:ident: $part_type:ty),+)
                = $part_record:ident($($part_pattern:tt)+) $(, $part_all:ident)?;
        )+}
        others {$(
            $(#[$other_doc:meta])*
            $other_tag:literal $other:ident $(($($other_field:ident: $other_type:ty),+))?
                $(, $other_all:ident)?;
        )+}
        pages {$(
            $page:ident($($page_field:ident),+) = $page_key:expr;
        )+}
    ) => {
        /// Every key of the store. Keys of one kind are ordered as their bytes are, kinds that
        /// belong together have bytes in common, and no key is a prefix of another kind's.
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Key {
            $($(#[$doc])* $kind $(($($type),+))?,)+
            $($(#[$part_doc])* $part_kind($($part_type),+),)+
            $($(#[$other_doc])* $other $(($($other_type),+))?,)+
            /// Entry of an index. The value is empty.
            IndexEntry(IndexEntry),
        }

        impl Key {
            $($(#[doc = concat!("Prefix of all keys [`Self::", stringify!($kind), "`].")]
            pub const $all: &'static [u8] = &[$tag];)?)+
            $($(#[doc = concat!("Prefix of all keys [`Self::", stringify!($part_kind), "`].")]
            pub const $part_all: &'static [u8] = &[$part_tag];)?)+
            $($(#[doc = concat!("Prefix of all keys [`Self::", stringify!($other), "`].")]
            pub const $other_all: &'static [u8] = &[$other_tag];)?)+

            /// Returns the key of one part of a record.
            #[must_use]
            pub(super) fn part(record: &RecordKey, $part: u8) -> Self {
                let $part = &$part;
                match record {
                    $(RecordKey::$record $(($($pattern)+))? => {
                        Self::$kind $(($(Clone::clone($field)),+))?
                    })+
                    $(RecordKey::$part_record($($part_pattern)+) => {
                        Self::$part_kind($(Clone::clone($part_field)),+)
                    })+
                    $(RecordKey::$page($($page_field),+) => $page_key,)+
                }
            }

            /// Writes the bytes of the key behind others.
            pub fn write(&self, out: &mut Vec<u8>) {
                match self {
                    $(Self::$kind $(($($field),+))? => {
                        out.push($tag);
                        put_fields!(out; $($($field),+)?);
                    })+
                    $(Self::$part_kind($($part_field),+) => {
                        out.push($part_tag);
                        put_fields!(out; $($part_field),+);
                    })+
                    $(Self::$other $(($($other_field),+))? => {
                        out.push($other_tag);
                        put_fields!(out; $($($other_field),+)?);
                    })+
                    Self::IndexEntry(entry) => entry.put_last(out),
                }
            }

            /// Reads the bytes of a key; `None`: no key has these bytes.
            #[must_use]
            pub fn decode(bytes: &[u8]) -> Option<Self> {
                let (tag, mut rest) = bytes.split_first()?;
                let input = &mut rest;
                let key = match *tag {
                    $($tag => {
                        take_fields!(input; $($($field),+)?);
                        Self::$kind $(($($field),+))?
                    })+
                    $($part_tag => {
                        take_fields!(input; $($part_field),+);
                        Self::$part_kind($($part_field),+)
                    })+
                    $($other_tag => {
                        take_fields!(input; $($($other_field),+)?);
                        Self::$other $(($($other_field),+))?
                    })+
                    _ => {
                        *input = bytes;
                        Self::IndexEntry(IndexEntry::take_last(input)?)
                    }
                };
                input.is_empty().then_some(key)
            }
        }

        /// Whether a record may be larger than one value and is stored in parts.
        #[must_use]
        pub(super) const fn is_in_parts(record: &RecordKey) -> bool {
            match record {
                $(RecordKey::$part_record { .. })|+ => true,
                $(RecordKey::$record { .. })|+ | $(RecordKey::$page { .. })|+ => false,
            }
        }
    };
}

keys! {
    records {
        /// A user.
        0x10 User(id: UserId) = User(id), USERS;
        /// Holder of a user name.
        0x11 Name(name: Username) = Name(name);
        /// Live sessions of a user.
        0x13 UserSessions(id: UserId) = UserSessions(id);
        /// Changes that transactions made to the roles of a user.
        0x14 RoleChanges(id: UserId) = RoleChanges(id);
        /// A session.
        0x20 Session(id: SessionId) = Session(id), SESSIONS;
        /// Session, API key or link that a token opens.
        0x22 Token(hash: TokenHash) = Token(hash);
        /// An API key.
        0x30 ApiKey(id: KeyId) = Key(id), API_KEYS;
        /// Number of API keys.
        0x31 KeyCount = KeyCount;
        /// Number of administrators.
        0x32 AdministratorCount = AdministratorCount;
        /// Number of live sessions.
        0x33 SessionCount = SessionCount;
        /// Present when the sessions of a revoked API key live on.
        0x35 KeptSessions(id: KeyId) = KeptSessions(id);
        /// Failed attempts at a secret.
        0x40 Attempts(digest: Digest) = Attempts(digest), ATTEMPTS;
        /// Number of assets.
        0x70 AssetCount = AssetCount;
        /// An asset that was put.
        0x71 Asset(code: AssetCode) = Asset(code), ASSETS;
        /// Totals of an asset.
        0x72 Totals(code: AssetCode) = Totals(code), TOTALS;
        /// An account.
        0x73 Account(id: AccountId) = Account(id), ACCOUNTS;
        /// A hold of no transaction.
        0x76 Hold(id: HoldId) = Hold(id), HOLDS;
        /// A transfer.
        0x77 Transfer(id: TransferId) = Transfer(id);
        /// Transaction of a reference.
        0x87 Reference(workflow: WorkflowName, digest: Digest) = Reference(workflow, digest);
        /// Open transaction of a key that must be unique.
        0x88 One(workflow: WorkflowName, digest: Digest) = One(workflow, digest);
        /// Number of open transactions of a version.
        0x89 OpenCount(workflow: WorkflowName, version: u32) = OpenCount(workflow, version);
        /// Latest version of a workflow.
        0x90 Workflow(name: WorkflowName) = Workflow(name), WORKFLOWS;
        /// Number of workflows.
        0x91 WorkflowCount = WorkflowCount;
        /// A reference value.
        0x93 Value(key: ValueKey) = Value(key);
        /// A set of reference values.
        0x94 ValueSet(name: ValueName) = ValueSet(name);
        /// Number of schedules.
        0xb2 ScheduleCount = ScheduleCount;
        /// Number of webhooks.
        0xb4 WebhookCount = WebhookCount;
    }
    records in parts (part) {
        /// A part of the data of a user.
        0x12 UserData(id: UserId, part: u8) = UserData(id);
        /// A part of the data of a session.
        0x21 SessionData(id: SessionId, part: u8) = SessionData(id);
        /// A part of a session that is kept for another framework.
        0x38 Stored(id: StoredId, part: u8) = Stored(id);
        /// A part of a transaction.
        0x80 Tx(id: TxId, part: u8) = Tx(id), TXS;
        /// A part of a version of a workflow.
        0x92 Definition(name: WorkflowName, version: u32, part: u8) = Definition(name, version);
        /// A bulk action.
        0xb0 Job(id: JobId) = Job(id);
        /// A schedule.
        0xb1 Schedule(id: ScheduleId) = Schedule(id), SCHEDULES;
        /// A webhook.
        0xb3 Webhook(id: WebhookId) = Webhook(id), WEBHOOKS;
        /// An event that a webhook did not accept.
        0xb5 DeadLetter(id: WebhookId, number: u64) = DeadLetter((id, number));
    }
    others {
        /// Highest time of the clock, and how far it was advanced by hand.
        0x02 Clock;
        /// A timer, ordered by its due time. The value is empty.
        0x50 Timer(timer: Timer), TIMERS;
        /// A part of the stored answer to an Idempotency-Key: owner, and a keyed hash of the key.
        0x60 Answer(scope: Scope, digest: Digest, part: u8), ANSWERS;
        /// Number of live Idempotency-Keys of an owner, by hour.
        0x61 AnswerCount(scope: Scope), ANSWER_COUNTS;
        /// A list of stored answers: hour since the Unix epoch, owner, and the commit that wrote it.
        /// Those of one hour expire together.
        0x62 AnswerBlock(hour: u32, scope: Scope, at: Revision), ANSWER_BLOCKS;
        /// Index entry: accounts by owner. The value is empty.
        0x74 Owned(user: UserId, id: AccountId);
        /// A line of the statement of an account: the commit, and the number of the line in it.
        0x75 Entry(id: AccountId, revision: Revision, number: u32);
        /// Commits that changed a transaction or have an event of it, and that its record does not
        /// name: the last one is in the key, those before it are in the value.
        0x8f TxLog(id: TxId, last: Revision);
    }
    pages {
        SessionsVia(key, after) = Self::IndexEntry(IndexEntry::SessionVia(*key, *after));
        OpenOf(owner, after) = Self::IndexEntry(IndexEntry::OpenOf(*owner, *after));
        TxsOf(owner, after) = Self::IndexEntry(IndexEntry::TxOf(*owner, *after));
        EndWith(session, after) = Self::IndexEntry(IndexEntry::EndWith(*session, *after));
        ActedIn(session, after) = Self::IndexEntry(IndexEntry::ActedIn(*session, *after));
        Asked(user, id) = Self::IndexEntry(IndexEntry::UserInbox(user.clone(), *id));
        // Behind the last part of the transaction.
        Txs(after) = Self::Tx(*after, u8::MAX);
    }
}

impl Key {
    /// Prefix of the index entries of calls that are due, ordered by their time.
    pub const CALLS_DUE: &'static [u8] = &[0x8c];
    /// Prefix of the index entries of calls that are in flight.
    pub const CALLS_OUT: &'static [u8] = &[0x8d];
    /// Prefix of the index entries of transactions that are stuck.
    pub const STUCK: &'static [u8] = &[0x86];

    /// Prefix of the lists of an owner's answers of one hour; the revision follows.
    #[must_use]
    pub fn blocks_of(hour: u32, scope: Scope) -> Vec<u8> {
        Self::AnswerBlock(hour, scope, Revision::ZERO).without(size_of::<u64>())
    }

    /// Prefix of the commits of a transaction; the revision follows.
    #[must_use]
    pub fn log_of(tx: TxId) -> Vec<u8> {
        Self::TxLog(tx, Revision::ZERO).without(size_of::<u64>())
    }

    /// Prefix of the dead letters of a webhook; the number follows.
    #[must_use]
    pub fn dead_letters_of(webhook: WebhookId) -> Vec<u8> {
        Self::DeadLetter(webhook, 0).without(size_of::<u64>())
    }

    /// Prefix of the index entries of the sessions that an API key opened; the id follows.
    #[must_use]
    pub fn sessions_via(key: KeyId) -> Vec<u8> {
        let first = SessionId::new(0);
        Self::IndexEntry(IndexEntry::SessionVia(key, first)).without(size_of::<u128>())
    }

    /// Start of the timers that are due at a time or later.
    #[must_use]
    pub fn timers_from(due: Time) -> Vec<u8> {
        let mut key = Self::TIMERS.to_vec();
        due.put(&mut key);
        key
    }

    /// Prefix of the values of a set; the text of the key follows.
    #[must_use]
    pub fn values_of(set: &ValueName) -> Vec<u8> {
        let mut prefix = vec![0x93];
        set.put(&mut prefix);
        prefix
    }

    /// Prefix of the statement of an account; revision and number follow.
    #[must_use]
    pub fn entries_of(account: &AccountId) -> Vec<u8> {
        let first = Self::Entry(account.clone(), Revision::ZERO, 0);
        first.without(size_of::<u64>() + size_of::<u32>())
    }

    /// Prefix of the accounts of a user; the text of the id follows.
    #[must_use]
    pub fn owned_by(user: UserId) -> Vec<u8> {
        let mut prefix = vec![0x74];
        user.put(&mut prefix);
        prefix
    }

    /// Returns the key of a record; of one in parts, that of the first part.
    #[must_use]
    pub fn of(record: &RecordKey) -> Self {
        Self::part(record, 0)
    }

    /// Returns the bytes of the key.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(64);
        self.write(&mut out);
        out
    }

    /// Returns the bytes of the key without the last ones: the prefix of a scan.
    fn without(&self, last_bytes: usize) -> Vec<u8> {
        let mut prefix = self.encode();
        prefix.truncate(prefix.len() - last_bytes);
        prefix
    }
}
