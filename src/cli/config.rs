//! The checked configuration: when there is one, the server can be started with it.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use crate::http::server::{Limits, Proxies};

use super::log::{Format, LogConfig};
use super::settings::{Given, Settings};

/// The default database, relative to where the server is started.
const DATA: &str = "data/db";

/// The default address: this machine only.
const LISTEN: &str = "127.0.0.1:8080";

/// The default log filter.
const LOG: &str = "info";

/// A text that is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

/// Where the certificate is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// The chain, PEM, the server's own certificate first.
    pub cert: PathBuf,
    /// Its private key, PEM.
    pub key: PathBuf,
}

/// Everything that a server is started with.
#[derive(Clone, Debug)]
pub struct Config {
    /// Directory of the database.
    pub data: PathBuf,
    /// Where the API is served.
    pub listen: SocketAddr,
    /// Where health and metrics are served without login.
    pub ops_listen: Option<SocketAddr>,
    /// For development: what makes trying things out easy, and nothing safe.
    pub dev: bool,
    /// Serve https with this.
    pub tls: Option<TlsFiles>,
    /// Whose `X-Forwarded-*` headers count.
    pub proxies: Proxies,
    /// What connections and requests may cost.
    pub limits: Limits,
    /// The log.
    pub log: LogConfig,
    /// The first administrator's password, for a database that has none yet.
    pub admin_password: Option<Secret>,
}

impl Config {
    /// Checks what was given and fills in the rest.
    ///
    /// # Errors
    /// One line: the setting, where it comes from, what is wrong and what would be right.
    pub(super) fn check(settings: &Settings) -> Result<Self, String> {
        let listen = address(settings, "listen")?.map_or_else(
            || LISTEN.parse().map_err(|_| "the default address is none".to_owned()),
            Ok,
        )?;
        let dev = parse(settings, "dev", "true or false", boolean)?.unwrap_or(false);
        if dev && !listen.ip().to_canonical().is_loopback() {
            return Err(format!(
                "dev is for this machine only, but listen is {listen}; listen on 127.0.0.1, or leave dev out"
            ));
        }
        let defaults = Limits::default();
        let limits = Limits {
            connections: count(settings, "connections")?.unwrap_or(defaults.connections),
            connections_per_address: count(settings, "connections_per_address")?
                .unwrap_or(defaults.connections_per_address),
            drain: parse(settings, "drain_s", "a number of seconds up to 3600", seconds)?
                .unwrap_or(defaults.drain),
            ..defaults
        };
        Ok(Self {
            data: parse(settings, "data", "a directory", path)?.unwrap_or_else(|| DATA.into()),
            listen,
            ops_listen: address(settings, "ops_listen")?,
            dev,
            tls: tls(settings)?,
            proxies: parse(
                settings,
                "proxies",
                "addresses or networks separated by commas, as 10.0.0.0/8,192.0.2.7",
                Proxies::parse,
            )?
            .unwrap_or_default(),
            limits,
            log: log(settings)?,
            admin_password: settings.get("admin_password").map(|given| Secret(given.text.clone())),
        })
    }

    /// Every setting's value as TOML writes it; secrets are not among them.
    pub(super) fn effective(&self) -> Vec<(&'static str, Option<String>)> {
        let text =
            |text: &dyn fmt::Display| Some(toml::Value::String(text.to_string()).to_string());
        let tls = self.tls.as_ref();
        vec![
            ("data", text(&self.data.display())),
            ("listen", text(&self.listen)),
            ("ops_listen", self.ops_listen.as_ref().and_then(|address| text(address))),
            ("dev", Some(self.dev.to_string())),
            ("tls_cert", tls.and_then(|tls| text(&tls.cert.display()))),
            ("tls_key", tls.and_then(|tls| text(&tls.key.display()))),
            ("proxies", text(&self.proxies)),
            ("log", text(&self.log.filter)),
            ("log_format", text(&self.log.format)),
            ("connections", Some(self.limits.connections.to_string())),
            ("connections_per_address", Some(self.limits.connections_per_address.to_string())),
            ("drain_s", Some(self.limits.drain.as_secs().to_string())),
        ]
    }
}

impl Secret {
    /// The text; for the one place that needs it.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(secret)")
    }
}

/// What `name` was given, as `read` understands it.
fn parse<T>(
    settings: &Settings,
    name: &str,
    expected: &str,
    read: impl FnOnce(&str) -> Option<T>,
) -> Result<Option<T>, String> {
    let Some(given) = settings.get(name) else { return Ok(None) };
    match read(&given.text) {
        Some(value) => Ok(Some(value)),
        None => Err(wrong(name, given, expected)),
    }
}

fn wrong(name: &str, given: &Given, expected: &str) -> String {
    format!("{}: {given} is not {expected}", given.origin.describe(name))
}

fn boolean(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "1" | "yes" | "on" => Some(true),
        "false" | "0" | "no" | "off" => Some(false),
        _ => None,
    }
}

fn path(text: &str) -> Option<PathBuf> {
    (!text.is_empty()).then(|| text.into())
}

fn seconds(text: &str) -> Option<Duration> {
    const MOST: u64 = 3600;
    text.parse().ok().filter(|seconds| *seconds <= MOST).map(Duration::from_secs)
}

fn count(settings: &Settings, name: &str) -> Result<Option<usize>, String> {
    parse(settings, name, "a number from 1 up", |text| text.parse().ok().filter(|count| *count > 0))
}

/// An address with a port. Of names only `localhost` is known, so that starting never waits for a
/// name server.
fn address(settings: &Settings, name: &str) -> Result<Option<SocketAddr>, String> {
    parse(settings, name, "an address with a port, as 127.0.0.1:8080 or [::1]:8080", |text| {
        let numeric = SocketAddr::from_str(text).ok();
        let local = || {
            let port = text.strip_prefix("localhost:")?.parse().ok()?;
            Some(SocketAddr::new(IpAddr::from([127, 0, 0, 1]), port))
        };
        numeric.or_else(local)
    })
}

fn tls(settings: &Settings) -> Result<Option<TlsFiles>, String> {
    let cert = parse(settings, "tls_cert", "a file", path)?;
    let key = parse(settings, "tls_key", "a file", path)?;
    match (cert, key) {
        (Some(cert), Some(key)) => Ok(Some(TlsFiles { cert, key })),
        (None, None) => Ok(None),
        (Some(_), None) => Err("tls_cert is set but tls_key is not; https needs both".to_owned()),
        (None, Some(_)) => Err("tls_key is set but tls_cert is not; https needs both".to_owned()),
    }
}

fn log(settings: &Settings) -> Result<LogConfig, String> {
    let filter = settings.get("log").map_or(LOG, |given| &given.text);
    if let (Some(given), false) = (settings.get("log"), LogConfig::is_filter(filter)) {
        return Err(wrong("log", given, "a level or a filter, as info or warn,abide=debug"));
    }
    let format = parse(settings, "log_format", "human or json", Format::parse)?;
    Ok(LogConfig { filter: filter.to_owned(), format: format.unwrap_or_else(Format::for_stderr) })
}
