//! The world of one scenario: the whole application on a store in memory, with a clock that stands
//! still until it is moved.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::calls::Calls;
use super::scenario::{AccountGiven, Given};
use crate::app::{App, AppSettings, Cost, Secret};
use crate::engine::workflow::Definition;
use crate::engine::{Actor, Asset, Command, Outcome, Refusal, Rules, TransferAsk, UserChange};
use crate::engine::{TxView, ValueKey};
use crate::store::memory::Memory;
use crate::store::{LogEntry, Store as _};
use crate::types::{AccountId, Password, Revision, Time, Token, TxId, Username};

/// Passwords of users that exist for milliseconds: what hashing one costs is of no use here.
const CHEAP: Cost = Cost { memory_kib: 8, passes: 1, lanes: 1 };

/// The password of every user.
const PASSWORD: &str = "a password of no importance";

/// A document that was read.
#[derive(Clone, Debug)]
pub(super) struct Document {
    pub(super) source: Arc<str>,
    pub(super) definition: Arc<Definition>,
}

/// Why a step did not do what it should.
#[derive(Debug)]
pub(super) enum Stop {
    /// The application refused it.
    Refused(Refusal),
    /// The scenario makes no sense.
    Wrong(String),
}

impl From<Refusal> for Stop {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

/// The world of one scenario.
pub(super) struct World {
    pub(super) app: Arc<App>,
    pub(super) store: Arc<Memory>,
    pub(super) begin: Time,
    users: Vec<String>,
    /// The tokens of users, visitors and services.
    tokens: BTreeMap<String, Token>,
    /// The transactions, by their names, in the order in which they were started.
    pub(super) txs: Vec<(String, TxId)>,
    /// Up to where the log was looked at.
    seen: Revision,
    /// Calls to other services.
    pub(super) calls: Calls,
}

/// Reads what a name must be.
pub(super) fn parse<T: std::str::FromStr>(text: &str) -> Result<T, Stop>
where
    T::Err: std::fmt::Display,
{
    text.parse().map_err(|error| Stop::Wrong(format!("`{text}`: {error}")))
}

/// The application on a store, at a time.
async fn open(store: &Arc<Memory>, at: Time) -> Result<Arc<App>, Stop> {
    let settings = AppSettings {
        rules: Rules { anonymous_open: true, ..Rules::default() },
        dev: true,
        password_cost: CHEAP,
        admin_password: None,
        stands_at: Some(at),
        ..AppSettings::default()
    };
    let opened = App::open(store.clone(), Secret::new([7; 32]), settings).await;
    Ok(opened.map_err(|error| Stop::Wrong(error.to_string()))?.app)
}

impl World {
    /// A world with all that is given.
    pub(super) async fn new(given: &Given, documents: &[Document]) -> Result<Self, Stop> {
        let begin = given.begin().map_err(Stop::Wrong)?;
        let store = Arc::new(Memory::new());
        let app = open(&store, begin).await?;
        let users = given.users.keys().cloned().collect();
        let mut world = Self {
            app,
            store,
            begin,
            users,
            tokens: BTreeMap::new(),
            txs: Vec::new(),
            seen: Revision::ZERO,
            calls: Calls::default(),
        };
        world.calls.answer_so(&given.answers);
        world.fill(given).await?;
        for Document { source, definition } in documents {
            let (source, definition) = (source.clone(), definition.clone());
            world.rule(Command::Publish { source, definition }).await?;
        }
        world.seen = world.store.durable();
        Ok(world)
    }

    async fn fill(&mut self, given: &Given) -> Result<(), Stop> {
        for (name, user) in &given.users {
            let username: Username = parse(name)?;
            let roles = user.roles.iter().map(|role| parse(role)).collect::<Result<_, _>>()?;
            let password = Password::new(PASSWORD.to_owned());
            let (name, roles) = (None, Some(roles));
            let register = Command::Register { username: username.clone(), password, name, roles };
            self.rule(register).await?;
            if let Some(attributes) = user.attributes.clone() {
                let change = UserChange { attributes: Some(attributes), ..UserChange::default() };
                self.rule(Command::ChangeUser { username, change, if_match: None }).await?;
            }
        }
        for visitor in &given.visitors {
            let opened = self.app.call(Command::OpenAnonymous { profile: None }, Actor::Nobody);
            let opened = opened.await?;
            self.keep_token(visitor, opened);
        }
        for (name, roles) in &given.services {
            let roles = roles.iter().map(|role| parse(role)).collect::<Result<_, _>>()?;
            let on_behalf = vec![parse("*")?];
            let key = Command::CreateKey { name: name.clone(), roles, on_behalf };
            let made = self.rule(key).await?;
            self.keep_token(name, made);
        }
        for (code, scale) in &given.assets {
            let asset = Asset { code: parse(code)?, scale: *scale, name: None };
            self.rule(Command::PutAsset { asset }).await?;
        }
        let assets: std::collections::BTreeSet<_> =
            given.accounts.values().map(|account| account.asset.clone()).collect();
        for asset in assets {
            let floor = Some("none".to_owned());
            let world = AccountGiven { asset: asset.clone(), owner: None, balance: None, floor };
            self.open(&format!("world:{asset}"), &world).await?;
        }
        for (id, account) in &given.accounts {
            self.open(id, account).await?;
        }
        self.put(&given.values).await
    }

    async fn open(&mut self, id: &str, account: &AccountGiven) -> Result<(), Stop> {
        let AccountGiven { asset, owner, balance, floor } = account;
        let floor = match floor.as_deref() {
            None => Some(crate::types::Decimal::ZERO),
            Some("none") => None,
            Some(floor) => Some(parse(floor)?),
        };
        let open = Command::OpenAccount {
            id: parse(id)?,
            asset: parse(asset)?,
            owner: owner.as_deref().map(parse).transpose()?,
            floor,
            read_anyone: false,
        };
        self.rule(open).await?;
        match balance {
            Some(amount) => self.pay(&format!("world:{asset}"), id, amount).await,
            None => Ok(()),
        }
    }

    /// Ends the application and opens another one on the same store, at the same time: whatever
    /// was only remembered is forgotten.
    #[cfg(test)]
    pub(super) async fn restart(&mut self) -> Result<(), Stop> {
        self.app.close().await;
        self.app = open(&self.store, self.app.now()).await?;
        Ok(())
    }

    /// Moves money beside all workflows.
    pub(super) async fn pay(&self, from: &str, to: &str, amount: &str) -> Result<(), Stop> {
        let (from, to, amount) = (parse(from)?, parse(to)?, parse(amount)?);
        let transfer = TransferAsk { id: None, from, to, amount, note: None };
        self.rule(Command::PostTransfers { transfers: vec![transfer] }).await.map(drop)
    }

    /// Puts reference values.
    pub(super) async fn put(
        &self,
        values: &BTreeMap<String, BTreeMap<String, serde_json::Value>>,
    ) -> Result<(), Stop> {
        for (set, keys) in values {
            for (key, value) in keys {
                let id = ValueKey::new(set, key);
                let id = id.ok_or_else(|| Stop::Wrong(format!("no value is named {set}/{key}")))?;
                let value = value.clone();
                self.rule(Command::PutValue { id, value, if_match: None }).await?;
            }
        }
        Ok(())
    }

    /// Does something as the server itself.
    pub(super) async fn rule(&self, command: Command) -> Result<Outcome, Stop> {
        Ok(self.app.call(command, Actor::System).await?)
    }

    fn keep_token(&mut self, name: &str, outcome: Outcome) {
        if let Outcome::Session { token, .. } | Outcome::KeyCreated { token, .. } = outcome {
            self.tokens.insert(name.to_owned(), token);
        }
    }

    /// The actor with this name. A user whose session has ended logs in again; a visitor's is gone.
    pub(super) async fn actor(&mut self, name: &str) -> Result<Actor, Stop> {
        let known = self.users.iter().any(|user| user == name);
        if let Some(token) = self.tokens.get(name) {
            match self.app.authenticate(Some(token)).await {
                Ok(access) => return Ok(access.actor),
                Err(Refusal::Unauthenticated) if known => {}
                Err(refusal) => return Err(refusal.into()),
            }
        } else if !known {
            let what = "is neither a user nor a visitor nor a service of this scenario";
            return Err(Stop::Wrong(format!("`{name}` {what}")));
        }
        self.log_in(name, name, Actor::Nobody).await
    }

    /// Logs `user` in: the visitor `name`, or nobody before.
    pub(super) async fn log_in(
        &mut self,
        name: &str,
        user: &str,
        before: Actor,
    ) -> Result<Actor, Stop> {
        let password = Password::new(PASSWORD.to_owned());
        let login = Command::Login { username: parse(user)?, password, profile: None };
        let outcome = self.app.call(login, before).await?;
        self.keep_token(name, outcome);
        match self.tokens.get(name) {
            Some(token) => Ok(self.app.authenticate(Some(token)).await?.actor),
            None => Err(Refusal::Unauthenticated.into()),
        }
    }

    /// The transaction with this name; without one the last that was started.
    pub(super) fn tx(&self, name: Option<&str>) -> Result<TxId, Stop> {
        let found = match name {
            Some(name) => self.txs.iter().rev().find(|(known, _)| known == name),
            None => self.txs.last(),
        };
        found.map(|(_, id)| *id).ok_or_else(|| {
            let name = name.unwrap_or("a transaction");
            Stop::Wrong(format!("{name} was not started before"))
        })
    }

    /// A transaction as the server itself sees it.
    pub(super) fn view(&self, id: TxId) -> Result<TxView, Stop> {
        Ok(self.app.transaction(&Actor::System, id)?)
    }

    /// An account as the server itself sees it; `None`: there is none.
    pub(super) fn account(&self, id: &str) -> Result<Option<crate::engine::Account>, Stop> {
        let id: AccountId = parse(id)?;
        match self.app.account(&Actor::System, &id) {
            Ok((account, ..)) => Ok(Some(account)),
            Err(Refusal::NotFound(_)) => Ok(None),
            Err(refusal) => Err(refusal.into()),
        }
    }

    /// The entries of the log since it was last asked for.
    pub(super) fn news(&mut self) -> Result<Vec<LogEntry>, Stop> {
        let news = self.store.read_log(self.seen, usize::MAX);
        self.seen = self.store.durable();
        news.map_err(|error| Stop::Wrong(error.to_string()))
    }
}
