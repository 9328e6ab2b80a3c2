//! Every setting as text, from wherever it comes: a flag, else `ABIDE_*`, else the file.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt::{self, Write as _};
use std::path::{Path, PathBuf};

use clap::Args;

use crate::app::Hook;
use crate::types::secret_name;

/// The file that is read when no other is named, if it is there.
const DEFAULT_FILE: &str = "abide.toml";

/// Environment variables that are no setting of the file: a secret does not belong into it, and
/// the file cannot name itself.
const ENVIRONMENT_ONLY: [&str; 2] = ["admin_password", "config"];

/// Flags of the command line. All are texts, which [`super::Config`] reads, so that an error reads
/// the same for every source of a setting.
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
    /// Address for /livez, /readyz and /metrics without login; keep it private [default: none]
    #[arg(long, value_name = "ADDR")]
    pub ops_listen: Option<String>,
    /// For development: open registration, a movable clock; only on a loopback address [default: false]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub dev: Option<String>,
    /// Directory whose workflows (*.yaml, *.yml, *.json) are published at the start; with --dev
    /// also when one changes [default: none]
    #[arg(long, value_name = "DIR")]
    pub workflows: Option<String>,
    /// Certificate chain (PEM) to serve https with; read again on SIGHUP [default: none, plain http]
    #[arg(long, value_name = "FILE")]
    pub tls_cert: Option<String>,
    /// Private key (PEM) of the certificate [default: none]
    #[arg(long, value_name = "FILE")]
    pub tls_key: Option<String>,
    /// Proxies whose X-Forwarded-For, -Proto and -Host (or Forwarded) count: addresses or networks,
    /// separated by commas [default: none]
    #[arg(long, value_name = "NETWORKS")]
    pub proxies: Option<String>,
    /// Lines to log: error, warn, info, debug, trace, or a filter by module [default: info]
    #[arg(long, value_name = "FILTER")]
    pub log: Option<String>,
    /// human or json [default: human on a terminal, else json]
    #[arg(long, value_name = "FORMAT")]
    pub log_format: Option<String>,
    /// Maximum number of connections; more wait [default: 8192]
    #[arg(long, value_name = "N")]
    pub connections: Option<String>,
    /// Maximum number of connections from one address; more are closed [default: 4096]
    #[arg(long, value_name = "N")]
    pub connections_per_address: Option<String>,
    /// Maximum time that a stop waits for requests in progress [default: 10]
    #[arg(long, value_name = "SECONDS")]
    pub drain_s: Option<String>,
    /// Maximum number of bytes of a body [default: 262144]
    #[arg(long, value_name = "BYTES")]
    pub body_bytes_max: Option<String>,
    /// Memory of the server, as 512MiB or 2GiB: caches, queues and answers share it [default:
    /// 512MiB]
    #[arg(long, value_name = "BYTES")]
    pub memory_max: Option<String>,
    /// Origins whose pages may call with a bearer token, separated by commas;
    /// https://*.example.com stands for all below a domain [default: none]
    #[arg(long, visible_alias = "cors-origin", value_name = "ORIGINS")]
    pub cors_origins: Option<String>,
    /// Requests of one address, as REQUESTS/TIME [default: 1000000/10s; none with --dev]
    #[arg(long, value_name = "RATE")]
    pub rate_address: Option<String>,
    /// Requests of one user, anonymous session or API key, as REQUESTS/TIME [default: 1000000/10s;
    /// none with --dev]
    #[arg(long, value_name = "RATE")]
    pub rate_actor: Option<String>,
    /// Logins and other calls that hash a password, of one address, as REQUESTS/TIME [default:
    /// 120/60s; none with --dev]
    #[arg(long, value_name = "RATE")]
    pub rate_login: Option<String>,
    /// Anonymous sessions opened from one address, as REQUESTS/TIME [default: 1200/60s; none with
    /// --dev]
    #[arg(long, value_name = "RATE")]
    pub rate_anonymous: Option<String>,
    /// Whether anybody may register [default: only with --dev]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub registration_open: Option<String>,
    /// Whether anonymous sessions are given [default: only with --dev]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub anonymous_open: Option<String>,
    /// Minimum number of characters of a password [default: 12, with --dev 8]
    #[arg(long, value_name = "N")]
    pub password_chars_min: Option<String>,
    /// Maximum number of sessions of a user; the next one ends the oldest [default: 20]
    #[arg(long, value_name = "N")]
    pub sessions_per_user_max: Option<String>,
    /// Maximum number of live Idempotency-Keys of one actor, from 1000 up; beyond it the oldest are
    /// forgotten [default: 20000000]
    #[arg(long, value_name = "N")]
    pub idempotency_keys_max: Option<String>,
    /// Maximum number of bytes that the live Idempotency-Keys of one actor take, with their answers
    /// [default: 8589934592]
    #[arg(long, value_name = "BYTES")]
    pub idempotency_bytes_max: Option<String>,
    /// Maximum time that a session lives without a request [default: 30m]
    #[arg(long, value_name = "TIME")]
    pub session_idle: Option<String>,
    /// Maximum session lifetime [default: 12h]
    #[arg(long, value_name = "TIME")]
    pub session_absolute: Option<String>,
    /// Allowed targets of calls: hosts and networks, separated by commas [default: none; with --dev
    /// this machine]
    #[arg(long, value_name = "TARGETS")]
    pub egress: Option<String>,
    /// Public address of this server, for callbacks and as an origin of its own pages [default: the
    /// address of --listen]
    #[arg(long, value_name = "URL")]
    pub public_url: Option<String>,
    /// Maximum number of concurrent calls to other services [default: 2048]
    #[arg(long, value_name = "N")]
    pub calls_max: Option<String>,
    /// Maximum number of concurrent calls to one destination [default: 256]
    #[arg(long, value_name = "N")]
    pub calls_per_destination: Option<String>,
    /// Maximum number of calls per second to one destination [default: no limit]
    #[arg(long, value_name = "N")]
    pub calls_per_second: Option<String>,
    /// Time-outs that a login can name, as NAME=IDLE/ABSOLUTE, separated by commas [default: none]
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

/// Secrets by their names as [`secret_name`] writes them; `Debug` shows the names only.
#[derive(Clone, Default)]
pub(super) struct Secrets(BTreeMap<String, Secret>);

/// A secret, and where it comes from.
#[derive(Clone)]
struct Secret {
    text: String,
    origin: Origin,
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.keys()).finish()
    }
}

impl Secrets {
    /// Reads the table `[secrets]` of a file.
    ///
    /// # Errors
    /// One line on a table that holds something else than texts, or a name twice.
    fn of_file(file: &Path, value: &toml::Value) -> Result<Self, String> {
        let fail = |what: &str| Err(format!("{}: {what}", file.display()));
        let Some(table) = value.as_table() else { return fail("secrets must be a table of texts") };
        let mut secrets = BTreeMap::new();
        for (given, value) in table {
            let Some(text) = value.as_str() else {
                return fail("secrets must be a table of texts");
            };
            let name = secret_name(given);
            if !is_secret_name(&name) {
                return fail(&format!("secrets.{given}: {SECRET_NAMES}"));
            }
            let secret = Secret { text: text.to_owned(), origin: Origin::File(file.to_owned()) };
            if secrets.insert(name.clone(), secret).is_some() {
                return fail(&format!(
                    "the secret {name} is there twice; case and - or _ make no difference"
                ));
            }
        }
        Ok(Self(secrets))
    }

    /// Takes the secrets of the environment, which count before those of the file.
    ///
    /// # Errors
    /// One line on a variable that is no text or names no secret.
    fn take_variables(
        &mut self,
        variables: impl Iterator<Item = (OsString, OsString)>,
    ) -> Result<(), String> {
        for (variable, value) in variables {
            let Some(variable) = variable.to_str() else { continue };
            let Some(given) = variable.strip_prefix(SECRET_VARIABLE) else { continue };
            let name = secret_name(given);
            if !is_secret_name(&name) {
                return Err(format!("{variable}: {SECRET_NAMES}"));
            }
            let Ok(text) = value.into_string() else {
                return Err(format!("{variable} is not UTF-8 text"));
            };
            self.0.insert(name, Secret { text, origin: Origin::Environment });
        }
        Ok(())
    }

    /// The secret that a hook or a call names, however it is spelt there.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(&secret_name(name)).map(|secret| secret.text.as_str())
    }
}

/// Rule for the name of a secret, for error texts.
const SECRET_NAMES: &str = "the name of a secret has 1 to 64 characters of A-Z, 0-9 and _";

fn is_secret_name(name: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_';
    (1..=64).contains(&name.len()) && name.bytes().all(fits)
}

/// Prefix of the variables of secrets.
const SECRET_VARIABLE: &str = "ABIDE_SECRET_";

/// The table of secrets in the file.
const SECRET_TABLE: &str = "secrets";

impl Flags {
    /// Every setting's name and what the flags say of it. This list is the one of all settings.
    fn entries(&self) -> [(&'static str, Option<&String>); 34] {
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
            ("idempotency_keys_max", self.idempotency_keys_max.as_ref()),
            ("idempotency_bytes_max", self.idempotency_bytes_max.as_ref()),
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
    /// Gathers flags, environment and file. `variables` are all of the environment: the secrets
    /// among them have names that only definitions and hooks know.
    ///
    /// # Errors
    /// One line on what is wrong with the file, or with the text of a variable.
    pub(super) fn gather(
        flags: &Flags,
        environment: impl Fn(&str) -> Option<OsString>,
        variables: impl Iterator<Item = (OsString, OsString)>,
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
        let named = named.or_else(default);
        let FileContent { settings: file, hooks, secrets } = match &named {
            Some(file) => read_file(file)?,
            None => FileContent::default(),
        };
        settings.2 = secrets;
        settings.2.take_variables(variables)?;
        if let Some((hooks, file)) = hooks.as_ref().zip(named.as_ref()) {
            settings.1 = super::hooks::read(hooks, file, &settings.2)?;
        }
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

    /// Secrets that definitions may name: not those of inbound webhooks, or a publisher could have
    /// one sent to another server and sign messages with it.
    pub(super) fn secrets(&self) -> BTreeMap<String, String> {
        let all = self.2.0.iter().filter(|(name, _)| self.hook_of(name).is_none());
        all.map(|(name, secret)| (name.clone(), secret.text.clone())).collect()
    }

    /// The hook whose secret this is.
    fn hook_of(&self, secret: &str) -> Option<&Hook> {
        self.1.iter().find(|hook| hook.secret == secret)
    }

    /// Returns a setting.
    pub(super) fn get(&self, name: &str) -> Option<&Given> {
        self.0.get(name)
    }

    /// Every setting as a line of TOML, with where it comes from; hooks and secrets as comments by
    /// their names, never with a value.
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
        let mut put = |line: String| {
            text.push_str(&line);
            text.push('\n');
        };
        for hook in &self.1 {
            put(format!("# hook {}: secret {}", hook.name, hook.secret));
        }
        for (name, secret) in &self.2.0 {
            let origin = match &secret.origin {
                Origin::File(file) => format!("[secrets] of {}", file.display()),
                _ => format!("{SECRET_VARIABLE}{name}"),
            };
            let used = self
                .hook_of(name)
                .map_or_else(|| "for calls".to_owned(), |hook| format!("of hook {}", hook.name));
            put(format!("# secret {name} {used}, from {origin}; its value is not shown"));
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

/// Content of a file of settings.
#[derive(Default)]
struct FileContent {
    /// Settings by name, as text.
    settings: BTreeMap<String, Given>,
    /// The tables `[hooks.NAME]`.
    hooks: Option<toml::Value>,
    /// The table `[secrets]`.
    secrets: Secrets,
}

fn read_file(file: &Path) -> Result<FileContent, String> {
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
            secrets = Secrets::of_file(file, &value)?;
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
    Ok(FileContent { settings, hooks, secrets })
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
