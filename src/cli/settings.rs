//! Every setting as text, from wherever it comes: a flag, else `ABIDE_*`, else the file.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt::{self, Write as _};
use std::path::{Path, PathBuf};

use clap::Args;

use crate::app::Hook;

/// The file that is read when no other is named, if it is there.
const DEFAULT_FILE: &str = "abide.toml";

/// Environment variables that are no setting of the file: a secret does not belong into it, and
/// the file cannot name itself.
const ENVIRONMENT_ONLY: [&str; 2] = ["admin_password", "config"];

/// What the command line gives. All text: what it means is [`super::Config`]'s to say, so that an
/// error reads the same wherever the text comes from.
#[derive(Clone, Debug, Default, Args)]
pub struct Flags {
    /// Read settings from this file instead of ./abide.toml [env: `ABIDE_CONFIG`]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Directory of the database [default: data/db]
    #[arg(long, value_name = "DIR")]
    pub data: Option<String>,
    /// Address to serve on; port 0 takes a free one [default: 127.0.0.1:8080]
    #[arg(long, value_name = "ADDR")]
    pub listen: Option<String>,
    /// Address for /livez, /readyz and /metrics without login; keep it private
    #[arg(long, value_name = "ADDR")]
    pub ops_listen: Option<String>,
    /// For development: open registration, a movable clock; only on a loopback address
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub dev: Option<String>,
    /// Directory whose workflows (*.yaml, *.yml, *.json) are published at the start; with --dev
    /// also when one changes
    #[arg(long, value_name = "DIR")]
    pub workflows: Option<String>,
    /// Certificate chain (PEM) to serve https with; read again on SIGHUP
    #[arg(long, value_name = "FILE")]
    pub tls_cert: Option<String>,
    /// Private key (PEM) of the certificate
    #[arg(long, value_name = "FILE")]
    pub tls_key: Option<String>,
    /// Proxies whose X-Forwarded-For, -Proto and -Host (or Forwarded) count: addresses or networks,
    /// separated by commas
    #[arg(long, value_name = "NETWORKS")]
    pub proxies: Option<String>,
    /// What is logged: error, warn, info, debug, trace, or a filter by module [default: info]
    #[arg(long, value_name = "FILTER")]
    pub log: Option<String>,
    /// human or json [default: human on a terminal, else json]
    #[arg(long, value_name = "FORMAT")]
    pub log_format: Option<String>,
    /// Most connections in all; more wait
    #[arg(long, value_name = "N")]
    pub connections: Option<String>,
    /// Most connections from one address; more are closed
    #[arg(long, value_name = "N")]
    pub connections_per_address: Option<String>,
    /// How long a stop waits for requests under way
    #[arg(long, value_name = "SECONDS")]
    pub drain_s: Option<String>,
    /// Most bytes of a body
    #[arg(long, value_name = "BYTES")]
    pub body_bytes_max: Option<String>,
    /// Memory of the server, as 512MiB or 2GiB: caches, queues and answers share it [default:
    /// 512MiB]
    #[arg(long, value_name = "BYTES")]
    pub memory_max: Option<String>,
    /// Origins whose pages may call with a bearer token, separated by commas;
    /// https://*.example.com stands for all below a domain
    #[arg(long, visible_alias = "cors-origin", value_name = "ORIGINS")]
    pub cors_origins: Option<String>,
    /// Requests of one address, as REQUESTS/TIME
    #[arg(long, value_name = "RATE")]
    pub rate_address: Option<String>,
    /// Requests of one user, anonymous session or API key, as REQUESTS/TIME
    #[arg(long, value_name = "RATE")]
    pub rate_actor: Option<String>,
    /// Logins and other calls that hash a password, of one address, as REQUESTS/TIME
    #[arg(long, value_name = "RATE")]
    pub rate_login: Option<String>,
    /// Anonymous sessions opened from one address, as REQUESTS/TIME
    #[arg(long, value_name = "RATE")]
    pub rate_anonymous: Option<String>,
    /// Whether anybody may register [default: only with --dev]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub registration_open: Option<String>,
    /// Whether anonymous sessions are given [default: only with --dev]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub anonymous_open: Option<String>,
    /// Least characters of a password [default: 12, with --dev 8]
    #[arg(long, value_name = "N")]
    pub password_chars_min: Option<String>,
    /// Most sessions of a user; the next one ends the oldest
    #[arg(long, value_name = "N")]
    pub sessions_per_user_max: Option<String>,
    /// A session ends after so long without use
    #[arg(long, value_name = "TIME")]
    pub session_idle: Option<String>,
    /// A session ends after so long whatever happens
    #[arg(long, value_name = "TIME")]
    pub session_absolute: Option<String>,
    /// Where calls may go: hosts and networks, separated by commas [default: nowhere; with --dev
    /// this machine]
    #[arg(long, value_name = "TARGETS")]
    pub egress: Option<String>,
    /// Where others reach this server: what callbacks' addresses begin with, and an origin of its
    /// own pages [default: where it listens]
    #[arg(long, value_name = "URL")]
    pub public_url: Option<String>,
    /// Most calls to other services at once
    #[arg(long, value_name = "N")]
    pub calls_max: Option<String>,
    /// Most calls at once to one destination
    #[arg(long, value_name = "N")]
    pub calls_per_destination: Option<String>,
    /// Most calls a second to one destination [default: no limit]
    #[arg(long, value_name = "N")]
    pub calls_per_second: Option<String>,
    /// Time-outs that a login can name, as NAME=IDLE/ABSOLUTE, separated by commas
    #[arg(long, value_name = "PROFILES")]
    pub profiles: Option<String>,
}

/// Where a setting comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    Flag,
    Environment,
    File(PathBuf),
}

/// A setting's text and where it comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Given {
    pub(super) text: String,
    pub(super) origin: Origin,
}

/// All that was given, by the settings' names.
#[derive(Debug, Default)]
pub(super) struct Settings(BTreeMap<&'static str, Given>, Vec<Hook>, Secrets);

/// Secrets by name; `Debug` shows nothing of them.
#[derive(Clone, Default)]
pub(super) struct Secrets(pub(super) BTreeMap<String, String>);

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.keys()).finish()
    }
}

/// What the variables of secrets begin with.
pub(super) const SECRET_VARIABLE: &str = "ABIDE_SECRET_";

/// The table of secrets in the file.
const SECRET_TABLE: &str = "secrets";

impl Flags {
    /// Every setting's name and what the flags say of it. This list is the one of all settings.
    fn entries(&self) -> [(&'static str, Option<&String>); 32] {
        [
            ("data", self.data.as_ref()),
            ("listen", self.listen.as_ref()),
            ("ops_listen", self.ops_listen.as_ref()),
            ("dev", self.dev.as_ref()),
            ("workflows", self.workflows.as_ref()),
            ("tls_cert", self.tls_cert.as_ref()),
            ("tls_key", self.tls_key.as_ref()),
            ("proxies", self.proxies.as_ref()),
            ("log", self.log.as_ref()),
            ("log_format", self.log_format.as_ref()),
            ("connections", self.connections.as_ref()),
            ("connections_per_address", self.connections_per_address.as_ref()),
            ("drain_s", self.drain_s.as_ref()),
            ("body_bytes_max", self.body_bytes_max.as_ref()),
            ("memory_max", self.memory_max.as_ref()),
            ("cors_origins", self.cors_origins.as_ref()),
            ("rate_address", self.rate_address.as_ref()),
            ("rate_actor", self.rate_actor.as_ref()),
            ("rate_login", self.rate_login.as_ref()),
            ("rate_anonymous", self.rate_anonymous.as_ref()),
            ("registration_open", self.registration_open.as_ref()),
            ("anonymous_open", self.anonymous_open.as_ref()),
            ("password_chars_min", self.password_chars_min.as_ref()),
            ("sessions_per_user_max", self.sessions_per_user_max.as_ref()),
            ("session_idle", self.session_idle.as_ref()),
            ("session_absolute", self.session_absolute.as_ref()),
            ("profiles", self.profiles.as_ref()),
            ("egress", self.egress.as_ref()),
            ("public_url", self.public_url.as_ref()),
            ("calls_max", self.calls_max.as_ref()),
            ("calls_per_destination", self.calls_per_destination.as_ref()),
            ("calls_per_second", self.calls_per_second.as_ref()),
        ]
    }
}

impl Settings {
    /// Gathers flags, environment and file.
    ///
    /// # Errors
    /// One line on what is wrong with the file, or with the text of a variable.
    pub(super) fn gather(
        flags: &Flags,
        environment: impl Fn(&str) -> Option<OsString>,
    ) -> Result<Self, String> {
        let variable = |name: &str| {
            let variable = variable_name(name);
            match environment(&variable).map(OsString::into_string) {
                None => Ok(None),
                Some(Ok(text)) => Ok(Some(Given { text, origin: Origin::Environment })),
                Some(Err(_)) => Err(format!("{variable} is not UTF-8 text")),
            }
        };
        let named = match &flags.config {
            Some(file) => Some(file.clone()),
            None => variable("config")?.map(|given| PathBuf::from(given.text)),
        };
        let mut settings = Self::default();
        let default = || Some(PathBuf::from(DEFAULT_FILE)).filter(|file| file.exists());
        let file = match named.or_else(default) {
            Some(file) => {
                let (given, hooks, secrets) = read_file(&file)?;
                settings.2 = secrets;
                if let Some(hooks) = hooks {
                    settings.1 = super::hooks::read(&hooks, &file, &environment)?;
                }
                given
            }
            None => BTreeMap::new(),
        };
        for (name, flag) in flags.entries() {
            let flag = flag.map(|text| Given { text: text.clone(), origin: Origin::Flag });
            let given = match flag {
                Some(given) => Some(given),
                None => variable(name)?.or_else(|| file.get(name).cloned()),
            };
            settings.0.extend(given.map(|given| (name, given)));
        }
        if let Some(given) = variable("admin_password")? {
            settings.0.insert("admin_password", given);
        }
        Ok(settings)
    }

    /// The hooks of the file.
    pub(super) fn hooks(&self) -> &[Hook] {
        &self.1
    }

    /// Takes the secrets of the environment; they count before those of the file.
    ///
    /// # Errors
    /// One line on a secret that is no text.
    pub(super) fn with_secrets(
        mut self,
        variables: impl Iterator<Item = (OsString, OsString)>,
    ) -> Result<Self, String> {
        for (name, value) in variables {
            let Some(name) = name.to_str().and_then(|name| name.strip_prefix(SECRET_VARIABLE))
            else {
                continue;
            };
            let Ok(value) = value.into_string() else {
                return Err(format!("{SECRET_VARIABLE}{name} is not UTF-8 text"));
            };
            self.2.0.insert(name.to_owned(), value);
        }
        Ok(self)
    }

    /// The secrets that definitions may name: whoever publishes one must not have a hook's secret
    /// sent anywhere, and sign its messages then.
    pub(super) fn secrets(&self) -> BTreeMap<String, String> {
        let of_hook = |name: &str| {
            let name = name.to_ascii_uppercase().replace('-', "_");
            self.1.iter().any(|hook| hook.secret == name)
        };
        let all = self.2.0.iter().filter(|(name, _)| !of_hook(name));
        all.map(|(name, secret)| (name.clone(), secret.clone())).collect()
    }

    /// What was given for `name`.
    pub(super) fn get(&self, name: &str) -> Option<&Given> {
        self.0.get(name)
    }

    /// Every setting as a line of TOML, with where it comes from.
    pub(super) fn show(&self, effective: &[(&'static str, Option<String>)]) -> String {
        let mut text = String::new();
        for (name, value) in effective {
            let origin = self
                .get(name)
                .map_or_else(|| "default".to_owned(), |given| given.origin.describe(name));
            let written = match value {
                Some(value) => writeln!(text, "{name} = {value} # {origin}"),
                None => writeln!(text, "# {name} is not set"),
            };
            debug_assert!(written.is_ok(), "writing to a String cannot fail");
        }
        text
    }
}

impl Origin {
    /// Where the setting `name` comes from, as a person would look for it.
    pub(super) fn describe(&self, name: &str) -> String {
        match self {
            Self::Flag => flag_name(name),
            Self::Environment => variable_name(name),
            Self::File(file) => file.display().to_string(),
        }
    }
}

impl fmt::Display for Given {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.text)
    }
}

fn flag_name(name: &str) -> String {
    format!("--{}", name.replace('_', "-"))
}

fn variable_name(name: &str) -> String {
    format!("ABIDE_{}", name.to_ascii_uppercase())
}

/// The settings of a file, by name, as text; what it says of hooks, and its secrets.
#[expect(clippy::type_complexity, reason = "three parts of one file")]
fn read_file(
    file: &Path,
) -> Result<(BTreeMap<String, Given>, Option<toml::Value>, Secrets), String> {
    let text = std::fs::read_to_string(file)
        .map_err(|error| format!("{}: cannot be read: {error}", file.display()))?;
    let mut table: toml::Table = text.parse().map_err(|error: toml::de::Error| {
        let line = error.span().map_or(1, |span| 1 + text[..span.start].matches('\n').count());
        format!("{}: line {line}: {}", file.display(), error.message())
    })?;
    let hooks = table.remove("hooks");
    let none = Flags::default();
    let known = none.entries();
    let mut settings = BTreeMap::new();
    let mut secrets = Secrets::default();
    for (name, value) in table {
        if name == SECRET_TABLE {
            let texts = value.as_table().map(|table| {
                let text = |(name, value): (&String, &toml::Value)| {
                    Some((name.clone(), value.as_str()?.to_owned()))
                };
                table.iter().map(text).collect::<Option<BTreeMap<_, _>>>()
            });
            let Some(Some(texts)) = texts else {
                return Err(format!("{}: secrets must be a table of texts", file.display()));
            };
            secrets = Secrets(texts);
            continue;
        }
        if !known.iter().any(|(known, _)| *known == name) {
            let hint = if ENVIRONMENT_ONLY.contains(&name.as_str()) {
                format!("it is set by {} only", variable_name(&name))
            } else {
                format!("settings are {}", known.map(|(name, _)| name).join(", "))
            };
            return Err(format!("{}: unknown setting {name:?}; {hint}", file.display()));
        }
        let Some(text) = plain(&value) else {
            let what = "must be a text, a number, true or false, or a list of texts";
            return Err(format!("{}: {name} {what}", file.display()));
        };
        settings.insert(name, Given { text, origin: Origin::File(file.to_owned()) });
    }
    Ok((settings, hooks, secrets))
}

/// A value as it would be written on the command line.
fn plain(value: &toml::Value) -> Option<String> {
    match value {
        toml::Value::String(text) => Some(text.clone()),
        toml::Value::Integer(number) => Some(number.to_string()),
        toml::Value::Boolean(flag) => Some(flag.to_string()),
        toml::Value::Array(items) => {
            let items: Option<Vec<&str>> = items.iter().map(toml::Value::as_str).collect();
            items.map(|items| items.join(","))
        }
        _ => None,
    }
}
