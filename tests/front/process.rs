//! The real binary: how it starts, stops, refuses to start, and what it prints.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::support::{LONG, status};

/// A running binary; killed when dropped.
pub(crate) struct Process {
    child: Child,
    pub(crate) first_line: String,
    pub(crate) address: SocketAddr,
    stderr: Option<std::process::ChildStderr>,
}

pub(crate) fn abide(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_abide"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("ABIDE_") {
            command.env_remove(name);
        }
    }
    command.args(args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// The command that serves the database in `dir` on a free port.
pub(crate) fn serve(dir: &Path) -> Command {
    let mut command = abide(&["serve", "--listen", "127.0.0.1:0", "--data"]);
    command.arg(dir.join("db"));
    command
}

impl Process {
    pub(crate) fn start(command: &mut Command) -> Self {
        let mut child = command.spawn().unwrap();
        let mut first_line = String::new();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        stdout.read_line(&mut first_line).unwrap();
        let stderr = child.stderr.take();
        let Some((_, address)) = first_line.trim_end().split_once("://") else {
            let output = child.wait_with_output().unwrap();
            let mut log = String::new();
            stderr.map(|mut stderr| stderr.read_to_string(&mut log));
            panic!("not started: {first_line:?} {output:?}\n{log}");
        };
        let address = address.parse().unwrap();
        Self { child, first_line, address, stderr }
    }

    pub(crate) fn signal(&self, name: &str) {
        let kill = Command::new("kill").args([name, &self.child.id().to_string()]).status();
        assert!(kill.unwrap().success());
    }

    /// Returns the exit, and all of the log.
    pub(crate) fn end(mut self) -> (ExitStatus, String) {
        let mut log = String::new();
        self.stderr.take().unwrap().read_to_string(&mut log).unwrap();
        (self.child.wait().unwrap(), log)
    }

    pub(crate) fn stop(self) -> (ExitStatus, String) {
        self.signal("-TERM");
        self.end()
    }

    pub(crate) fn connect(&self) -> TcpStream {
        let socket = TcpStream::connect(self.address).unwrap();
        socket.set_read_timeout(Some(LONG)).unwrap();
        socket
    }

    pub(crate) fn get(&self, path: &str, headers: &str) -> String {
        get(self.address, path, headers)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

pub(crate) fn get(address: SocketAddr, path: &str, headers: &str) -> String {
    let mut socket = TcpStream::connect(address).unwrap();
    socket.set_read_timeout(Some(LONG)).unwrap();
    let head = format!("GET {path} HTTP/1.1\r\nHost: a\r\n{headers}Connection: close\r\n\r\n");
    socket.write_all(head.as_bytes()).unwrap();
    let mut text = String::new();
    socket.read_to_string(&mut text).unwrap();
    text
}

fn fails(command: &mut Command) -> (i32, String) {
    let Output { status, stdout, stderr } = command.output().unwrap();
    assert_eq!(String::from_utf8_lossy(&stdout), "");
    (status.code().unwrap(), String::from_utf8(stderr).unwrap())
}

/// The first line is what scripts wait for; the port is the real one; a signal ends it with 0.
#[test]
fn it_starts_says_so_and_stops() {
    let dir = TempDir::new().unwrap();
    for signal in ["-TERM", "-INT"] {
        let process = Process::start(&mut serve(dir.path()));
        assert_ne!(process.address.port(), 0);
        let line = format!("abide listening on http://{}\n", process.address);
        assert_eq!(process.first_line, line);
        assert_eq!(status(&process.get("/livez", "")), 200);
        assert_eq!(status(&process.get("/readyz", "")), 200);
        process.signal(signal);
        let (exit, log) = process.end();
        assert_eq!(exit.code(), Some(0), "{log}");
        assert!(log.contains("stopped"), "{log}");
    }
}

/// An idle connection does not delay the stop, and the stop does not wait for half a request.
#[test]
fn open_connections_do_not_hold_the_stop() {
    let dir = TempDir::new().unwrap();
    let process = Process::start(&mut serve(dir.path()));
    let idle: Vec<_> = (0..50).map(|_| process.connect()).collect();
    let mut half = process.connect();
    half.write_all(b"GET / HTTP/1.1\r\nHost").unwrap();
    let start = Instant::now();
    let (exit, log) = process.stop();
    assert_eq!(exit.code(), Some(0), "{log}");
    assert!(start.elapsed() < Duration::from_secs(8), "{:?}\n{log}", start.elapsed());
    drop((idle, half));
}

/// Bad configuration is one clear line, and nothing is touched.
#[test]
fn bad_configuration_is_one_line() {
    let dir = TempDir::new().unwrap();
    let data = dir.path().join("db");
    let toml = dir.path().join("abide.toml");
    std::fs::write(&toml, "lisen = \"127.0.0.1:0\"\n").unwrap();
    let (data, toml) = (data.to_str().unwrap(), toml.to_str().unwrap());
    for (args, expected) in [
        (&["--listen", "nonsense"][..], "--listen: \"nonsense\" is not an address with a port"),
        (&["--dev", "--listen", "0.0.0.0:0"], "dev is for this machine only"),
        (&["--config", toml], "unknown setting \"lisen\""),
        (&["--config", "/nonexistent"], "/nonexistent: cannot be read"),
        (&["--tls-cert", "cert.pem"], "tls_key is not"),
        (&["--connections", "many"], "--connections: \"many\" is not a number from 1 up"),
        (&["--log", "a=b=c"], "--log: \"a=b=c\" is not a level or a filter"),
    ] {
        let (code, error) = fails(abide(&["serve", "--data", data]).args(args));
        assert_eq!(code, 2, "{args:?}: {error}");
        assert!(error.starts_with("abide: ") && error.contains(expected), "{args:?}: {error}");
        assert_eq!(error.lines().count(), 1, "{error}");
    }
    assert!(!Path::new(data).exists());
}

/// A directory or address that cannot be used is one line too, with another exit code.
#[test]
fn what_cannot_be_opened_or_bound_is_one_line() {
    let dir = TempDir::new().unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    let file = dir.path().join("file");
    std::fs::write(&file, "x").unwrap();
    let data = dir.path().join("db");
    let (data, file) = (data.to_str().unwrap(), file.to_str().unwrap());
    for (args, expected) in [
        (&["--data", data, "--listen", "192.0.2.1:80"][..], "cannot listen on 192.0.2.1:80"),
        (&["--data", file, "--listen", "127.0.0.1:0"], "a file is in the way"),
        (
            &["--data", data, "--listen", "127.0.0.1:0", "--tls-cert", file, "--tls-key", file],
            "there is no certificate in it",
        ),
        (&["--data", data, "--listen", "127.0.0.1:0", "--ops-listen", &taken], "cannot listen on"),
    ] {
        let (code, error) = fails(abide(&["serve"]).args(args));
        assert_eq!(code, 1, "{args:?}: {error}");
        assert!(error.contains(expected), "{args:?}: {error}");
        assert_eq!(error.lines().filter(|line| line.starts_with("abide: ")).count(), 1, "{error}");
    }
}

/// The configuration can be checked and shown, without a secret and without starting anything.
#[test]
fn the_configuration_can_be_shown() {
    let password = "correct horse battery";
    let output = abide(&["config", "show", "--listen", "127.0.0.1:7"])
        .env("ABIDE_ADMIN_PASSWORD", password)
        .env("ABIDE_CONNECTIONS", "77")
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("listen = \"127.0.0.1:7\" # --listen\n"), "{text}");
    assert!(text.contains("connections = 77 # ABIDE_CONNECTIONS\n"), "{text}");
    assert!(!text.contains(password), "{text}");
    let dir = TempDir::new().unwrap();
    let data = dir.path().join("db");
    let data = data.to_str().unwrap();
    let right = abide(&["config", "check", "--data", data, "--listen", "127.0.0.1:0"]).output();
    assert_eq!(right.unwrap().status.code(), Some(0));
    assert!(!Path::new(data).exists(), "a check makes nothing");
}

/// A check finds all faults that would make the start fail, at once and with the same words.
#[test]
fn config_check_finds_what_makes_serve_fail() {
    let dir = TempDir::new().unwrap();
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let (file, foreign, wrong) = (path("file"), path("foreign"), path("wrong"));
    std::fs::write(&file, "x").unwrap();
    std::fs::create_dir_all(Path::new(&foreign).join("photos")).unwrap();
    std::fs::create_dir_all(&wrong).unwrap();
    std::fs::write(Path::new(&wrong).join("FORMAT"), "abide data 999\n").unwrap();
    let workflows = path("workflows");
    std::fs::create_dir_all(&workflows).unwrap();
    std::fs::write(Path::new(&workflows).join("a.yaml"), "abide: 1\nnonsense: 1\n").unwrap();
    let data = path("db");
    let missing = path("no/such/db");
    let none = path("none");
    let certificate = ["--tls-cert", &file, "--tls-key", &file];
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    let both = ["--listen", "127.0.0.1:9", "--ops-listen", "127.0.0.1:9"];
    let cases: [(&[&str], &str); 9] = [
        (&certificate, "there is no certificate in it"),
        (&["--data", &file], "a file is in the way"),
        (&["--data", &foreign], "not a data directory of Abide"),
        (&["--data", &wrong], "this build reads"),
        (&["--data", &missing], "the directory above it does not exist"),
        (&["--ops-listen", &taken], "cannot listen on"),
        (&["--ops-listen", "192.0.2.1:80"], "cannot listen on 192.0.2.1:80"),
        (&["--workflows", &none], "none does not exist"),
        (&["--workflows", &workflows], "`nonsense` is no key of a workflow"),
    ];
    let plain = ["--data", data.as_str(), "--listen", "127.0.0.1:0"];
    let mut all = Vec::new();
    for (args, expected) in cases {
        // The last one of an option counts.
        let own = |name: &str| args.contains(&name);
        let rest = plain.chunks(2).filter(|option| !own(option[0])).flatten();
        let args: Vec<&str> = args.iter().chain(rest).copied().collect();
        let (code, error) = fails(abide(&["config", "check"]).args(&args));
        assert_eq!(code, 1, "{args:?}: {error}");
        assert!(error.contains(expected), "{args:?}: {error}");
        let (code, started) = fails(abide(&["serve"]).args(&args));
        assert_eq!(code, 1, "{args:?} starts: {started}");
        assert!(started.contains(expected), "{args:?}: serve says {started}");
        all.push(expected);
    }
    assert_eq!(all.len(), 9);
    let (code, error) = fails(abide(&["config", "check", "--data", &data]).args(both));
    assert!(code == 1 && error.contains("the same address"), "{error}");
    let several = ["--data", &foreign, "--workflows", &none, "--listen", "192.0.2.1:80"];
    let (_, error) = fails(abide(&["config", "check"]).args(several));
    for expected in ["not a data directory", "none does not exist", "cannot listen on 192.0.2.1:80"]
    {
        assert!(error.contains(expected), "{expected}: {error}");
    }
}

/// A secret file that others may read stops the start, and the check says so.
#[test]
fn config_check_finds_a_key_that_others_may_read() {
    use std::os::unix::fs::PermissionsExt;
    let dir = TempDir::new().unwrap();
    let data = dir.path().join("db");
    std::fs::create_dir(&data).unwrap();
    std::fs::write(data.join("FORMAT"), "abide data 3\n").unwrap();
    std::fs::write(data.join("secret"), [7; 32]).unwrap();
    std::fs::set_permissions(data.join("secret"), PermissionsExt::from_mode(0o644)).unwrap();
    let check = |expected: &str| {
        let data = data.to_str().unwrap();
        let args = ["config", "check", "--listen", "127.0.0.1:0", "--data", data];
        let (code, error) = fails(&mut abide(&args));
        assert!(code == 1 && error.contains(expected), "{error}");
    };
    check("others may read it");
    std::fs::set_permissions(data.join("secret"), PermissionsExt::from_mode(0o600)).unwrap();
    std::fs::write(data.join("secret"), [7; 31]).unwrap();
    check("it does not have 32 bytes");
}

/// `--log nonsense` would log nothing at all: a misspelt level is a warning.
#[test]
fn a_filter_without_a_known_target_is_a_warning() {
    let dir = TempDir::new().unwrap();
    let data = dir.path().join("db");
    let check = |filter: &str| {
        let args = ["config", "check", "--listen", "127.0.0.1:0", "--log", filter, "--data"];
        let output = abide(&args).arg(&data).output().unwrap();
        assert_eq!(output.status.code(), Some(0));
        String::from_utf8(output.stderr).unwrap()
    };
    for wrong in ["nonsense", "inof", "warn,abde=debug"] {
        assert!(check(wrong).contains("is no level"), "{wrong}: {}", check(wrong));
    }
    for right in ["info", "WARN", "off", "warn,abide=debug", "abide::http=trace", "abide[request]"]
    {
        assert_eq!(check(right), "", "{right}");
    }
}

/// API4: when all connections are taken the operations port still answers, without a login, and
/// counts by route and not by path.
#[test]
fn the_operations_port_is_not_under_the_cap() {
    let dir = TempDir::new().unwrap();
    let probe = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let ops = probe.local_addr().unwrap();
    drop(probe);
    let mut command = serve(dir.path());
    let process =
        Process::start(command.args(["--connections", "4", "--ops-listen", &ops.to_string()]));
    assert_eq!(status(&process.get("/v1/sessions/ses_secret", "")), 401);
    let held: Vec<_> = (0..8).map(|_| process.connect()).collect();
    for path in ["/livez", "/readyz", "/metrics"] {
        assert_eq!(status(&get(ops, path, "")), 200, "{path}");
    }
    let metrics = get(ops, "/metrics", "");
    for name in [
        "abide_http_requests_total{method=\"GET\"",
        "abide_http_request_seconds_bucket{",
        "abide_http_connections 4",
        "abide_store_commits_total",
        "abide_store_groups_total",
        "abide_store_sync_seconds_sum",
        "abide_store_overlay_bytes",
        "abide_store_journal_bytes",
        "abide_queue_depth",
    ] {
        assert!(metrics.contains(name), "{name} is not in\n{metrics}");
    }
    assert!(!metrics.contains("ses_secret"), "{metrics}");
    assert_eq!(status(&get(ops, "/v1/users", "")), 404);
    drop(held);
}

/// A directory that was used with `--dev` opens only with it.
#[test]
fn a_directory_of_dev_stays_apart() {
    let dir = TempDir::new().unwrap();
    let (exit, log) = Process::start(serve(dir.path()).arg("--dev")).stop();
    assert_eq!(exit.code(), Some(0), "{log}");
    let (code, error) = fails(&mut serve(dir.path()));
    assert!(code == 1 && error.contains("opens only with it"), "{error}");
    let other = TempDir::new().unwrap();
    Process::start(&mut serve(other.path())).stop();
    let (code, error) = fails(serve(other.path()).arg("--dev"));
    assert!(code == 1 && error.contains("it was made without --dev"), "{error}");
}
