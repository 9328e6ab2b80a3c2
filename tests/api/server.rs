//! Starts, stops and kills the real binary on a data directory of its own.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, RwLock, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::client::{Role, password_of};

/// The administrator's password, set by the environment at the first start.
pub(crate) const ADMIN_PASSWORD: &str = "the-administrator-of-these-tests";

/// A start must be over within this, on a machine that builds something else meanwhile.
const START_MAX: Duration = Duration::from_mins(1);

/// Options to start the server; `Options::dev()` suits most tests.
#[derive(Clone)]
pub(crate) struct Options {
    dev: bool,
    args: Vec<String>,
    env: Vec<(String, String)>,
    config: Option<String>,
}

impl Options {
    /// `--dev`: the clock can be moved, anyone may register, no rate limits.
    pub(crate) fn dev() -> Self {
        Self {
            dev: true,
            args: Vec::new(),
            env: vec![("ABIDE_ADMIN_PASSWORD".into(), ADMIN_PASSWORD.into())],
            config: None,
        }
    }

    /// As a deployment runs it.
    pub(crate) fn production() -> Self {
        Self { dev: false, ..Self::dev() }
    }

    pub(crate) fn arg(mut self, arg: &str) -> Self {
        self.args.push(arg.into());
        self
    }

    pub(crate) fn env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.into(), value.into()));
        self
    }

    /// No `ABIDE_ADMIN_PASSWORD`.
    pub(crate) fn without_admin(mut self) -> Self {
        self.env.clear();
        self
    }

    /// The text of an `abide.toml`.
    pub(crate) fn config(mut self, text: &str) -> Self {
        self.config = Some(text.into());
        self
    }

    pub(crate) fn start(self) -> Server {
        Server::start(self)
    }
}

/// A running server. Dropped, it is killed and its data are removed.
pub(crate) struct Server {
    options: Options,
    data: TempDir,
    base: Arc<RwLock<String>>,
    http: reqwest::Client,
    running: Option<Running>,
    /// Standard error of earlier runs on the same data.
    earlier_log: String,
}

struct Running {
    child: Child,
    stderr: Arc<Mutex<Vec<u8>>>,
    stdout: Mutex<mpsc::Receiver<String>>,
    readers: Vec<JoinHandle<()>>,
}

/// A server with `--dev`.
pub(crate) fn dev() -> Server {
    Options::dev().start()
}

/// The program with the given arguments, none of the environment's `ABIDE_*`.
pub(crate) fn program<S: AsRef<OsStr>>(args: impl IntoIterator<Item = S>) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_abide"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("ABIDE_") {
            command.env_remove(name);
        }
    }
    command.args(args);
    command
}

impl Server {
    fn start(options: Options) -> Self {
        let data = tempfile::Builder::new().prefix("abide-api-").tempdir().unwrap();
        let http = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .timeout(Duration::from_mins(2))
            .build()
            .unwrap();
        let mut server = Self {
            options,
            data,
            base: Arc::default(),
            http,
            running: None,
            earlier_log: String::new(),
        };
        server.run();
        server
    }

    fn run(&mut self) {
        let mut command = program(["serve", "--listen", "127.0.0.1:0", "--data"]);
        command.arg(self.data_dir());
        if self.options.dev {
            command.arg("--dev");
        }
        if let Some(text) = &self.options.config {
            let path = self.data.path().join("abide.toml");
            std::fs::write(&path, text).unwrap();
            command.arg("--config").arg(path);
        }
        command.args(&self.options.args).envs(self.options.env.iter().cloned());
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let stderr = Arc::new(Mutex::new(Vec::new()));
        let log = {
            let (mut pipe, stderr) = (child.stderr.take().unwrap(), Arc::clone(&stderr));
            std::thread::spawn(move || {
                let mut chunk = [0; 4096];
                while let Ok(n @ 1..) = pipe.read(&mut chunk) {
                    stderr.lock().unwrap().extend_from_slice(&chunk[..n]);
                }
            })
        };
        let (sender, lines) = mpsc::sync_channel(16);
        let out = {
            let pipe = BufReader::new(child.stdout.take().unwrap());
            std::thread::spawn(move || {
                for line in pipe.lines().map_while(Result::ok) {
                    if sender.send(line).is_err() {
                        break;
                    }
                }
            })
        };
        let began = Instant::now();
        let address = loop {
            let line = lines.recv_timeout(START_MAX.saturating_sub(began.elapsed()));
            let Ok(line) = line else {
                child.kill().ok();
                child.wait().ok();
                log.join().ok();
                let log = String::from_utf8_lossy(&stderr.lock().unwrap()).into_owned();
                panic!("the server did not start; its standard error:\n{log}");
            };
            if let Some(address) = line.strip_prefix("abide listening on ") {
                break address.to_owned();
            }
        };
        *self.base.write().unwrap() = address;
        self.running =
            Some(Running { child, stderr, stdout: Mutex::new(lines), readers: vec![log, out] });
    }

    /// The directory given to `--data`.
    pub(crate) fn data_dir(&self) -> PathBuf {
        self.data.path().join("db")
    }

    /// `http://ADDR`
    pub(crate) fn base(&self) -> String {
        self.base.read().unwrap().clone()
    }

    /// `IP:PORT`
    pub(crate) fn address(&self) -> String {
        let base = self.base();
        base.split_once("://").unwrap().1.to_owned()
    }

    /// Everything written to standard error, over all starts.
    pub(crate) fn log(&self) -> String {
        let mut log = self.earlier_log.clone();
        if let Some(running) = &self.running {
            log.push_str(&String::from_utf8_lossy(&running.stderr.lock().unwrap()));
        }
        log
    }

    pub(crate) fn process_id(&self) -> u32 {
        self.running.as_ref().unwrap().child.id()
    }

    fn ended(&mut self) -> ExitStatus {
        let Running { mut child, stderr, stdout, readers } = self.running.take().unwrap();
        let status = child.wait().unwrap();
        drop(stdout);
        for reader in readers {
            reader.join().unwrap();
        }
        self.earlier_log.push_str(&String::from_utf8_lossy(&stderr.lock().unwrap()));
        status
    }

    /// Returns the next line on standard output after the one with the server's address.
    pub(crate) fn next_line(&self) -> String {
        self.running.as_ref().unwrap().stdout.lock().unwrap().recv_timeout(START_MAX).unwrap()
    }

    /// SIGKILL, at once.
    pub(crate) fn kill_9(&mut self) {
        self.running.as_mut().unwrap().child.kill().unwrap();
        self.ended();
    }

    /// SIGTERM, and waits until the process has ended.
    pub(crate) fn terminate(&mut self) -> ExitStatus {
        let id = self.process_id().to_string();
        assert!(Command::new("kill").args(["-TERM", &id]).status().unwrap().success());
        self.ended()
    }

    /// Starts again on the same data; roles go on with what they have.
    pub(crate) fn start_again(&mut self) {
        self.run();
    }

    /// Starts again on the same data in another way.
    pub(crate) fn start_again_with(&mut self, options: Options) {
        self.options = options;
        self.run();
    }

    /// kill -9 and a start on the same data.
    pub(crate) fn crash_and_restart(&mut self) {
        self.kill_9();
        self.start_again();
    }

    /// A client without credentials.
    pub(crate) fn nobody(&self) -> Role {
        Role::new(self.http.clone(), Arc::clone(&self.base), None)
    }

    /// A client with a token, valid or not.
    pub(crate) fn bearer(&self, token: &str) -> Role {
        Role::new(self.http.clone(), Arc::clone(&self.base), Some(token.into()))
    }

    /// Logs in.
    pub(crate) async fn login(&self, username: &str, password: &str) -> Role {
        let answer = self
            .nobody()
            .post("/v1/sessions", json!({"username": username, "password": password}))
            .await
            .is(201);
        self.bearer(answer.json()["token"].as_str().unwrap())
    }

    /// Registers a user with `password_of` the name, and logs in.
    pub(crate) async fn user(&self, username: &str) -> Role {
        let password = password_of(username);
        self.nobody()
            .post("/v1/users", json!({"username": username, "password": password}))
            .await
            .is(201);
        self.login(username, &password).await
    }

    /// Another session of a user of `Server::user`.
    pub(crate) async fn again(&self, username: &str) -> Role {
        self.login(username, &password_of(username)).await
    }

    /// The administrator.
    pub(crate) async fn admin(&self) -> Role {
        self.login("admin", ADMIN_PASSWORD).await
    }

    /// An anonymous session.
    pub(crate) async fn anonymous(&self) -> Role {
        let answer = self.nobody().post("/v1/sessions", json!({})).await.is(201);
        self.bearer(answer.json()["token"].as_str().unwrap())
    }

    /// A service with an API key. `more` is merged into the key's request.
    pub(crate) async fn service(&self, name: &str, more: Value) -> Role {
        self.bearer(&self.api_key(name, more).await.1)
    }

    /// An API key's id and secret.
    pub(crate) async fn api_key(&self, name: &str, more: Value) -> (String, String) {
        let mut body = json!({"name": name});
        for (field, value) in more.as_object().unwrap() {
            body[field] = value.clone();
        }
        let key = self.admin().await.post("/v1/api-keys", body).await.is(201).json();
        (key["id"].as_str().unwrap().into(), key["key"].as_str().unwrap().into())
    }

    /// A service that may act for everyone.
    pub(crate) async fn gateway(&self) -> Role {
        self.service("gateway", json!({"on_behalf": ["*"]})).await
    }

    /// Moves the clock forward; all due timers have fired when this returns.
    pub(crate) async fn advance(&self, by: &str) {
        self.admin().await.post("/v1/dev/clock", json!({"advance": by})).await.ok();
    }

    /// Every file under the data directory that holds the bytes.
    pub(crate) fn files_with(&self, needle: &[u8]) -> Vec<PathBuf> {
        let mut found = Vec::new();
        search(&self.data_dir(), needle, &mut found);
        found
    }
}

fn search(dir: &Path, needle: &[u8], found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_dir() {
            search(&entry.path(), needle, found);
        } else if contains(&std::fs::read(entry.path()).unwrap_or_default(), needle) {
            found.push(entry.path());
        }
    }
}

/// Returns whether the bytes occur.
pub(crate) fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    let Some((&first, rest)) = needle.split_first() else { return true };
    let mut from = 0;
    while let Some(at) = haystack[from..].iter().position(|&byte| byte == first) {
        let after = &haystack[from + at + 1..];
        if after.starts_with(rest) {
            return true;
        }
        from += at + 1;
    }
    false
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(mut running) = self.running.take() {
            running.child.kill().ok();
            running.child.wait().ok();
            self.earlier_log.push_str(&String::from_utf8_lossy(&running.stderr.lock().unwrap()));
        }
        if std::thread::panicking() {
            let log = self.log();
            let from = log.len().saturating_sub(4000);
            let from = (from..log.len()).find(|&at| log.is_char_boundary(at)).unwrap_or(from);
            eprintln!("the server's log ended so:\n{}", &log[from..]);
        }
    }
}
