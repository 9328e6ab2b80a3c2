//! Forms of users, sessions, API keys, and of what belongs to them.

use super::form::{Form as _, InvalidForm, Text, record_enums, record_structs};
use crate::engine::{
    ApiKey, Attempts, Holder, Link, LinkMaker, Opens, RoleChange, RoleRun, Session, Stored, User,
};

record_structs! {
    struct UserV1: User {
        id: u128,
        username: Text,
        name: Option<Text>,
        password: Option<Text>,
        credential: u64,
        epoch: u64,
        roles: Vec<Text>,
        attributes: Text,
        disabled: bool,
        created_at: u64,
        created_revision: u64,
        link: Option<[u8; 32]>,
    }

    struct RoleChangeV1: RoleChange {
        role: Text,
        base: bool,
        next: u64,
        runs: Vec<RoleRunV1>,
    }

    struct RoleRunV1: RoleRun {
        gives: bool,
        first: u64,
        count: u64,
    }

    struct SessionV1: Session {
        id: u128,
        token: [u8; 32],
        user: Option<(u128, Text)>,
        began_anonymous: bool,
        via: Option<(u128, Text)>,
        profile: Option<Text>,
        idle: u64,
        created_at: u64,
        created_revision: u64,
        last_seen_at: u64,
        expires_at: u64,
        elevated_until: Option<u64>,
        timer_at: u64,
        has_data: bool,
        address: Option<Text>,
        agent: Option<Text>,
        facts: Text,
    }

    struct ApiKeyV1: ApiKey {
        id: u128,
        token: [u8; 32],
        name: Text,
        roles: Vec<Text>,
        on_behalf: Vec<Text>,
        created_at: u64,
    }

    struct StoredV1: Stored {
        data: Text,
        idle: u64,
        user: Option<((u128, Text), u64)>,
        last_seen_at: u64,
        timer_at: u64,
    }

    struct LinkV2: Link {
        user: Option<u128>,
        expires_at: u64,
        maker: LinkMakerV2,
    }

    struct AttemptsV2: Attempts {
        level: u64,
        last_at: u64,
    }
}

record_enums! {
    enum HolderV1: Holder {
        User(id: u128),
        Gone,
    }

    enum LinkMakerV2: LinkMaker {
        Administrator,
        Key { id: u128, is_admin: bool },
        Unknown,
    }
}

/// Version 1 of what a token opens. A link is stored as [`LinkV2`] today.
#[derive(serde::Serialize, serde::Deserialize)]
pub(super) enum OpensV1 {
    Session(u128),
    Key(u128),
    Link { user: Option<u128>, expires_at: u64 },
}

impl OpensV1 {
    pub(super) fn into_domain(self) -> Result<Opens, InvalidForm> {
        Ok(match self {
            Self::Session(id) => Opens::Session(id.into_domain()?),
            Self::Key(id) => Opens::Key(id.into_domain()?),
            Self::Link { user, expires_at } => Opens::Link(Link {
                user: user.into_domain()?,
                expires_at: expires_at.into_domain()?,
                maker: LinkMaker::Unknown,
            }),
        })
    }
}

/// Version 1 of failed attempts: a number of failures that were all forgotten at once.
#[derive(serde::Serialize, serde::Deserialize)]
pub(super) struct AttemptsV1 {
    failures: u32,
    last_at: u64,
}

impl AttemptsV1 {
    pub(super) fn into_domain(self) -> Result<Attempts, InvalidForm> {
        Ok(Attempts::of_failures(self.failures, self.last_at.into_domain()?))
    }
}
