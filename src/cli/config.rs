//! The checked configuration: when there is one, the server can be started with it.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use crate::app::CallSettings;
use crate::app::{Hook, MemoryBudget};
use crate::engine::{Profile, Rules};
use crate::http;
use crate::http::browser::{is_origin, is_origin_pattern};
use crate::http::rates::{Rate, RateSettings};
use crate::http::server::{Limits, Proxies};
use crate::outbound::EgressPolicy;
use crate::types::{Password, ProfileName, Span};

use super::log::{Format, LogConfig};
use super::settings::{Given, Settings};

/// The default database, relative to where the server is started.
pub(super) const DATA: &str = "data/db";

/// The default address: this machine only.
const LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 8080);

/// The default log filter.
const LOG: &str = "info";

/// Shortest password in development, where people type `password`.
const DEV_PASSWORD_CHARS: usize = 8;

/// Largest body that may be allowed; what is larger is no request but an upload.
const BODY_BYTES_LIMIT: usize = 16 * 1024 * 1024;

/// Bytes of one MiB.
const MIB: usize = 1024 * 1024;

/// Smallest limits of live Idempotency-Keys: some blocks of them, which are forgotten together.
const IDEMPOTENCY_KEYS_LEAST: u64 = 1000;
const IDEMPOTENCY_BYTES_LEAST: u64 = 1024 * 1024;

/// Most calls at once, or a second, that may be allowed: each is a connection.
const CALLS_LIMIT: usize = 50_000;

/// Longest drain that may be asked for, in seconds.
const DRAIN_S_LIMIT: u64 = 3600;

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
    /// Directory of the workflows that are published at the start.
    pub workflows: Option<PathBuf>,
    /// Serve https with this.
    pub tls: Option<TlsFiles>,
    /// Proxies whose `X-Forwarded-*` headers count.
    pub proxies: Proxies,
    /// Limits of connections and requests.
    pub limits: Limits,
    /// The memory that all of it may take.
    pub memory: MemoryBudget,
    /// The log.
    pub log: LogConfig,
    /// The first administrator's password, for a database that has none yet.
    pub admin_password: Option<Password>,
    /// The HTTP layer.
    pub http: http::Settings,
    /// The rules for sessions and users.
    pub rules: Rules,
    /// Where messages of other services come in.
    pub hooks: Vec<Hook>,
    /// Where calls may go.
    pub egress: EgressPolicy,
    /// Limits and secrets of calls.
    pub calls: CallSettings,
    /// Settings that are valid and probably a mistake, for people.
    pub warnings: Vec<String>,
}

impl Config {
    /// Checks the settings and fills in the defaults.
    ///
    /// # Errors
    /// A line for each wrong setting: its name, where it comes from, what is wrong and what would
    /// be right.
    pub(super) fn check(settings: &Settings) -> Result<Self, String> {
        let checker = Checker { settings, errors: RefCell::default() };
        let config = Self::checked(&checker);
        let errors = checker.errors.into_inner();
        if errors.is_empty() { Ok(config) } else { Err(errors.join("\n")) }
    }

    fn checked(settings: &Checker<'_>) -> Self {
        let listen = address(settings, "listen").unwrap_or(LISTEN);
        let dev = boolean(settings, "dev").unwrap_or(false);
        if dev && !listen.ip().to_canonical().is_loopback() {
            settings.report(format!(
                "dev is for this machine only, but listen is {listen}; \
                 listen on 127.0.0.1, or leave dev out"
            ));
        }
        let defaults = Limits::default();
        let limits = Limits {
            connections: count(settings, "connections", usize::MAX).unwrap_or(defaults.connections),
            connections_per_address: count(settings, "connections_per_address", usize::MAX)
                .unwrap_or(defaults.connections_per_address),
            drain: parse(settings, "drain_s", "a number of seconds up to 3600", |text| {
                let seconds = text.parse().ok().filter(|seconds| *seconds <= DRAIN_S_LIMIT);
                seconds.map(Duration::from_secs)
            })
            .unwrap_or(defaults.drain),
            ..defaults
        };
        let rules = rules(settings, dev);
        let egress = egress(settings, dev);
        Self {
            data: parse(settings, "data", "a directory", path).unwrap_or_else(|| DATA.into()),
            listen,
            ops_listen: address(settings, "ops_listen"),
            dev,
            workflows: parse(settings, "workflows", "a directory", path),
            tls: tls(settings),
            proxies: parse(
                settings,
                "proxies",
                "addresses or networks separated by commas, as 10.0.0.0/8,192.0.2.7",
                Proxies::parse,
            )
            .unwrap_or_default(),
            limits,
            memory: memory(settings),
            log: log(settings),
            admin_password: admin_password(settings, &rules),
            http: http(settings, egress.clone(), dev),
            rules,
            hooks: settings.settings.hooks().to_vec(),
            egress,
            calls: calls(settings, listen),
            warnings: warnings(settings),
        }
    }

    /// Every setting's value as TOML writes it; secrets are not among them.
    pub(super) fn effective(&self) -> Vec<(&'static str, Option<String>)> {
        let text =
            |text: &dyn fmt::Display| Some(toml::Value::String(text.to_string()).to_string());
        let rate = |rate: fn(&RateSettings) -> Rate| {
            let rate = rate(self.http.rates.as_ref()?);
            text(&format_args!("{}/{}s", rate.requests, rate.window.as_secs()))
        };
        let profiles = self.rules.profiles.iter();
        let profiles: Vec<_> =
            profiles.map(|(name, at)| format!("{name}={}/{}", at.idle, at.absolute)).collect();
        let tls = self.tls.as_ref();
        vec![
            ("data", text(&self.data.display())),
            ("listen", text(&self.listen)),
            ("ops_listen", self.ops_listen.as_ref().and_then(|address| text(address))),
            ("dev", Some(self.dev.to_string())),
            ("workflows", self.workflows.as_ref().and_then(|dir| text(&dir.display()))),
            ("tls_cert", tls.and_then(|tls| text(&tls.cert.display()))),
            ("tls_key", tls.and_then(|tls| text(&tls.key.display()))),
            ("proxies", text(&self.proxies)),
            ("log", text(&self.log.filter)),
            ("log_format", text(&self.log.format)),
            ("connections", Some(self.limits.connections.to_string())),
            ("connections_per_address", Some(self.limits.connections_per_address.to_string())),
            ("drain_s", Some(self.limits.drain.as_secs().to_string())),
            ("body_bytes_max", Some(self.http.body_bytes_max.to_string())),
            ("memory_max", text(&format_args!("{}MiB", self.memory.bytes() / MIB))),
            ("cors_origins", text(&self.http.cors_origins.join(","))),
            ("rate_address", rate(|rates| rates.address)),
            ("rate_actor", rate(|rates| rates.actor)),
            ("rate_login", rate(|rates| rates.login)),
            ("rate_anonymous", rate(|rates| rates.anonymous)),
            ("registration_open", Some(self.rules.registration_open.to_string())),
            ("anonymous_open", Some(self.rules.anonymous_open.to_string())),
            ("password_chars_min", Some(self.rules.password_chars_min.to_string())),
            ("sessions_per_user_max", Some(self.rules.sessions_per_user_max.to_string())),
            ("idempotency_keys_max", Some(self.rules.idempotency_keys_max.to_string())),
            ("idempotency_bytes_max", Some(self.rules.idempotency_bytes_max.to_string())),
            ("session_idle", text(&self.rules.profile.idle)),
            ("session_absolute", text(&self.rules.profile.absolute)),
            ("profiles", text(&profiles.join(","))),
            ("egress", text(&self.egress)),
            ("public_url", text(&self.calls.public_url)),
            ("calls_max", Some(self.calls.in_flight_max.to_string())),
            ("calls_per_destination", Some(self.calls.per_destination_max.to_string())),
            ("calls_per_second", self.calls.per_second.map(|rate| rate.to_string())),
        ]
    }
}

/// Settings while they are checked, and the errors so far: a wrong setting counts as one that was
/// not given, so that the others are checked too.
struct Checker<'a> {
    settings: &'a Settings,
    errors: RefCell<Vec<String>>,
}

impl<'a> Checker<'a> {
    fn get(&self, name: &str) -> Option<&'a Given> {
        self.settings.get(name)
    }

    /// Adds an error; a setting that is read twice is reported once.
    fn report(&self, error: String) {
        let mut errors = self.errors.borrow_mut();
        if !errors.contains(&error) {
            errors.push(error);
        }
    }
}

fn memory(settings: &Checker<'_>) -> MemoryBudget {
    let least = MemoryBudget::MIN / MIB;
    let expected = format!("an amount of memory of at least {least}MiB, as 512MiB or 2GiB");
    let bytes = parse(settings, "memory_max", &expected, |text| {
        bytes(text).filter(|bytes| *bytes >= MemoryBudget::MIN)
    });
    bytes.map_or_else(MemoryBudget::default, MemoryBudget::new)
}

/// A number of bytes, with or without a binary unit.
fn bytes(text: &str) -> Option<usize> {
    let units = [("KiB", 1024), ("MiB", MIB), ("GiB", 1024 * MIB)];
    let unit = units.iter().find_map(|(unit, bytes)| Some((text.strip_suffix(unit)?, *bytes)));
    let (number, unit) = unit.unwrap_or((text, 1));
    number.trim().parse::<usize>().ok()?.checked_mul(unit)
}

fn egress(settings: &Checker<'_>, dev: bool) -> EgressPolicy {
    let expected = "hosts and networks separated by commas, as https://api.example.com,10.1.0.0/16";
    let egress = parse(settings, "egress", expected, EgressPolicy::parse).unwrap_or_default();
    if dev { egress.and_loopback() } else { egress }
}

fn calls(settings: &Checker<'_>, listen: SocketAddr) -> CallSettings {
    let defaults = CallSettings::default();
    let scheme = if settings.get("tls_cert").is_some() { "https" } else { "http" };
    let public_url = public_url(settings);
    let number = |name| count(settings, name, CALLS_LIMIT);
    CallSettings {
        public_url: public_url.unwrap_or_else(|| format!("{scheme}://{listen}")),
        secrets: settings.settings.secrets(),
        in_flight_max: number("calls_max").unwrap_or(defaults.in_flight_max),
        per_destination_max: number("calls_per_destination")
            .unwrap_or(defaults.per_destination_max),
        per_second: number("calls_per_second").and_then(|rate| u32::try_from(rate).ok()),
        waiting_max: defaults.waiting_max,
    }
}

fn rules(settings: &Checker<'_>, dev: bool) -> Rules {
    let mut rules = Rules::default();
    if dev {
        rules.registration_open = true;
        rules.anonymous_open = true;
        rules.password_chars_min = DEV_PASSWORD_CHARS;
        rules.codes_shown = true;
    }
    let set = |value: &mut bool, name| *value = boolean(settings, name).unwrap_or(*value);
    set(&mut rules.registration_open, "registration_open");
    set(&mut rules.anonymous_open, "anonymous_open");
    if let Some(chars) = count(settings, "password_chars_min", Rules::PASSWORD_CHARS_MAX) {
        rules.password_chars_min = chars;
    }
    if let Some(most) = count(settings, "sessions_per_user_max", Rules::SESSIONS_PER_USER_MAX) {
        rules.sessions_per_user_max = most;
    }
    for (name, least, value) in [
        ("idempotency_keys_max", IDEMPOTENCY_KEYS_LEAST, &mut rules.idempotency_keys_max),
        ("idempotency_bytes_max", IDEMPOTENCY_BYTES_LEAST, &mut rules.idempotency_bytes_max),
    ] {
        let expected = format!("a number from {least} up");
        let number = |text: &str| text.parse().ok().filter(|number| *number >= least);
        *value = parse(settings, name, &expected, number).unwrap_or(*value);
    }
    let time = |name| parse(settings, name, "a time, as 30m or 12h", time);
    rules.profile.idle = time("session_idle").unwrap_or(rules.profile.idle);
    rules.profile.absolute = time("session_absolute").unwrap_or(rules.profile.absolute);
    let expected = "time-outs as NAME=IDLE/ABSOLUTE, separated by commas, as cart=30d/90d";
    rules.profiles = parse(settings, "profiles", expected, profiles).unwrap_or_default();
    rules
}

fn profiles(text: &str) -> Option<BTreeMap<ProfileName, Profile>> {
    let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
    let profile = |part: &str| {
        let (name, times) = part.split_once('=')?;
        let (idle, absolute) = times.split_once('/')?;
        let profile = Profile { idle: time(idle)?, absolute: time(absolute)? };
        Some((name.trim().parse().ok()?, profile))
    };
    parts.map(profile).collect()
}

fn time(text: &str) -> Option<Span> {
    text.trim().parse().ok().filter(|span: &Span| span.ms() > 0)
}

fn http(settings: &Checker<'_>, egress: EgressPolicy, dev: bool) -> http::Settings {
    let defaults = http::Settings::default();
    let mut rates = (!dev).then(RateSettings::default);
    let expected =
        "a rate as REQUESTS/TIME, as 120/60s; REQUESTS must be at least 1, TIME at least 1s";
    for (name, place) in [
        ("rate_address", (|rates| &mut rates.address) as fn(&mut RateSettings) -> &mut Rate),
        ("rate_actor", |rates| &mut rates.actor),
        ("rate_login", |rates| &mut rates.login),
        ("rate_anonymous", |rates| &mut rates.anonymous),
    ] {
        if let Some(rate) = parse(settings, name, expected, rate) {
            *place(rates.get_or_insert_default()) = rate;
        }
    }
    let origins = |text: &str| {
        let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
        parts.map(|part| is_origin_pattern(part).then(|| part.to_owned())).collect()
    };
    let expected = "origins separated by commas, as https://app.example or https://*.example.com";
    http::Settings {
        body_bytes_max: count(settings, "body_bytes_max", BODY_BYTES_LIMIT)
            .unwrap_or(defaults.body_bytes_max),
        cors_origins: parse(settings, "cors_origins", expected, origins).unwrap_or_default(),
        public_url: public_url(settings),
        rates,
        egress,
        dev,
    }
}

fn rate(text: &str) -> Option<Rate> {
    let (requests, window) = text.split_once('/')?;
    let seconds = time(window)?.ms() / 1000;
    let requests: u32 = requests.trim().parse().ok()?;
    (requests > 0 && seconds > 0).then(|| Rate::new(requests, seconds))
}

/// Where others reach this server, if that is configured.
fn public_url(settings: &Checker<'_>) -> Option<String> {
    let expected = "an address without a path, as https://abide.example.com";
    parse(settings, "public_url", expected, |text| {
        let text = text.trim_end_matches('/');
        is_origin(text).then(|| text.to_owned())
    })
}

fn admin_password(settings: &Checker<'_>, rules: &Rules) -> Option<Password> {
    let given = settings.get("admin_password")?;
    let chars = given.text.chars().count();
    let (least, most) = (rules.password_chars_min, Rules::PASSWORD_CHARS_MAX);
    if !(least..=most).contains(&chars) {
        settings.report(format!(
            "ABIDE_ADMIN_PASSWORD has {chars} characters; it must have {least} to {most}"
        ));
    }
    Some(Password::new(given.text.clone()))
}

/// Reads a setting; reports one that `read` refuses.
fn parse<T>(
    settings: &Checker<'_>,
    name: &str,
    expected: &str,
    read: impl FnOnce(&str) -> Option<T>,
) -> Option<T> {
    let given = settings.get(name)?;
    let value = read(&given.text);
    if value.is_none() {
        settings.report(wrong(name, given, expected));
    }
    value
}

fn wrong(name: &str, given: &Given, expected: &str) -> String {
    format!("{}: {given} is not {expected}", given.origin.describe(name))
}

fn boolean(settings: &Checker<'_>, name: &str) -> Option<bool> {
    parse(settings, name, "true or false", |text| match text.to_ascii_lowercase().as_str() {
        "true" | "1" | "yes" | "on" => Some(true),
        "false" | "0" | "no" | "off" => Some(false),
        _ => None,
    })
}

fn path(text: &str) -> Option<PathBuf> {
    (!text.is_empty()).then(|| text.into())
}

fn count(settings: &Checker<'_>, name: &str, most: usize) -> Option<usize> {
    let expected = match most {
        usize::MAX => "a number from 1 up".to_owned(),
        most => format!("a number from 1 to {most}"),
    };
    parse(settings, name, &expected, |text| {
        text.parse().ok().filter(|count| (1..=most).contains(count))
    })
}

/// An address with a port. Of names only `localhost` is known, so that starting never waits for a
/// name server.
fn address(settings: &Checker<'_>, name: &str) -> Option<SocketAddr> {
    let expected = "an address with a port, as 127.0.0.1:8080 or [::1]:8080";
    parse(settings, name, expected, |text| {
        let numeric = SocketAddr::from_str(text).ok();
        let local = || {
            let port = text.strip_prefix("localhost:")?.parse().ok()?;
            Some(SocketAddr::new(LISTEN.ip(), port))
        };
        numeric.or_else(local)
    })
}

fn tls(settings: &Checker<'_>) -> Option<TlsFiles> {
    let cert = parse(settings, "tls_cert", "a file", path);
    let key = parse(settings, "tls_key", "a file", path);
    let (cert, key) = match (cert, key) {
        (Some(cert), Some(key)) => (cert, key),
        (None, None) => return None,
        (cert, _) => {
            let (set, missing) =
                if cert.is_some() { ("tls_cert", "tls_key") } else { ("tls_key", "tls_cert") };
            settings.report(format!("{set} is set but {missing} is not; https needs both"));
            return None;
        }
    };
    Some(TlsFiles { cert, key })
}

fn warnings(settings: &Checker<'_>) -> Vec<String> {
    let Some(given) = settings.get("log") else { return Vec::new() };
    let unknown = LogConfig::unknown_targets(&given.text);
    let warning = |target: &str| {
        format!(
            "{}: {target:?} is no level, so it is read as a module, which logs nothing here; levels \
             are error, warn, info, debug and trace",
            given.origin.describe("log")
        )
    };
    unknown.into_iter().map(warning).collect()
}

fn log(settings: &Checker<'_>) -> LogConfig {
    let given = settings.get("log");
    let filter = given.map_or(LOG, |given| &given.text);
    if let (Some(given), false) = (given, LogConfig::is_filter(filter)) {
        settings.report(wrong("log", given, "a level or a filter, as info or warn,abide=debug"));
    }
    let format = parse(settings, "log_format", "human or json", Format::parse);
    LogConfig { filter: filter.to_owned(), format: format.unwrap_or_else(Format::for_stderr) }
}

#[cfg(test)]
#[path = "config_tests.rs"]
mod tests;
