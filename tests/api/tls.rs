//! Differences when the server itself speaks https.

use std::io::{Read as _, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use crate::client::password_of;
use crate::raw::{connect, status};
use crate::server::{Options, Server};

/// A certificate for `localhost` and its key, made for this test.
fn certificate(directory: &Path) {
    let made = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"])
        .args(["-subj", "/CN=localhost", "-days", "2", "-keyout", "key.pem", "-out", "cert.pem"])
        .args(["-addext", "subjectAltName=DNS:localhost"])
        .args(["-addext", "basicConstraints=critical,CA:FALSE"])
        .current_dir(directory)
        .stderr(Stdio::null())
        .status();
    assert!(made.unwrap().success());
}

struct Secured {
    server: Server,
    connector: TlsConnector,
    _files: tempfile::TempDir,
}

impl Secured {
    fn start() -> Self {
        let files = tempfile::tempdir().unwrap();
        certificate(files.path());
        let path = |name: &str| files.path().join(name).to_str().unwrap().to_owned();
        let server = Options::dev()
            .arg("--tls-cert")
            .arg(&path("cert.pem"))
            .arg("--tls-key")
            .arg(&path("key.pem"))
            .start();
        assert!(server.base().starts_with("https://"), "{}", server.base());
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(files.path().join("cert.pem")).unwrap()).unwrap();
        let config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        Self { server, connector: TlsConnector::from(Arc::new(config)), _files: files }
    }

    /// One request on a connection of its own; the whole answer as text.
    async fn ask(&self, method: &str, path: &str, headers: &str, body: &str) -> String {
        let socket = tokio::net::TcpStream::connect(self.server.address()).await.unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        let mut tls = self.connector.connect(name, socket).await.unwrap();
        let length = body.len();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{headers}\
             Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
        );
        tls.write_all((head + body).as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        // A close without TLS's own goodbye is a close.
        tls.read_to_end(&mut answer).await.ok();
        String::from_utf8(answer).unwrap()
    }
}

fn header<'a>(answer: &'a str, name: &str) -> &'a str {
    let head = answer.split("\r\n\r\n").next().unwrap();
    let lines = head.lines().filter_map(|line| line.split_once(": "));
    lines
        .into_iter()
        .find(|(given, _)| given.eq_ignore_ascii_case(name))
        .map_or("", |found| found.1)
}

/// 3.3.1, 3.3.3, 3.4.1: over https the cookie is `__Host-abide` and `Secure`, and HSTS is sent, on
/// every status.
#[tokio::test]
async fn over_tls_the_cookie_is_host_only_and_hsts_is_sent() {
    let secured = Secured::start();
    let user = json!({"username": "alice", "password": password_of("alice")}).to_string();
    assert_eq!(status(&secured.ask("POST", "/v1/users", "", &user).await), 201);
    let login = json!({"username": "alice", "password": password_of("alice"), "cookie": true});
    let same = "Sec-Fetch-Site: same-origin\r\n";
    let answer = secured.ask("POST", "/v1/sessions", same, &login.to_string()).await;
    assert_eq!(status(&answer), 201, "{answer}");
    let cookie = header(&answer, "set-cookie");
    assert!(cookie.starts_with("__Host-abide=abs_"), "{cookie}");
    for attribute in ["Secure", "HttpOnly", "Path=/", "SameSite=Lax"] {
        assert!(cookie.split("; ").any(|given| given == attribute), "{attribute} in {cookie}");
    }
    assert!(!cookie.to_ascii_lowercase().contains("domain="), "{cookie}");

    let pair = cookie.split(';').next().unwrap();
    let with = secured.ask("GET", "/v1/sessions/current", &format!("Cookie: {pair}\r\n"), "").await;
    assert_eq!(status(&with), 200, "{with}");
    // Without the prefix, which browsers hold to its rules, it is not this server's cookie.
    let bare = format!("Cookie: {}\r\n", pair.trim_start_matches("__Host-"));
    let without = secured.ask("GET", "/v1/sessions/current", &bare, "").await;
    assert_eq!(status(&without), 401, "{without}");

    for answer in [&answer, &with, &without] {
        let hsts = header(answer, "strict-transport-security");
        let seconds = hsts.split(['=', ';']).nth(1).and_then(|seconds| seconds.trim().parse().ok());
        assert!(seconds.is_some_and(|seconds: u64| seconds >= 31_536_000), "{answer}");
    }
}

/// 3.4.1: over plain http no HSTS is sent: it would be ignored, or lock a laptop out.
#[tokio::test]
async fn without_tls_no_hsts_is_sent() {
    let server = crate::server::dev();
    let answer = server.nobody().get("/livez").await;
    assert_eq!(answer.header("strict-transport-security"), "");
}

/// 12.1.1: TLS 1.2 and 1.3 only: a hello of 1.1 or 1.0 gets an alert and no handshake.
#[tokio::test]
async fn older_versions_of_tls_are_refused() {
    let secured = Secured::start();
    for minor in [1, 2] {
        // RFC 4346: record header, hello of version 3.minor, random, no session, two suites, no
        // compression, no extension.
        let mut hello = vec![3, minor];
        hello.extend([7; 32]);
        hello.extend([0, 0, 4, 0xc0, 0x13, 0, 0x2f, 1, 0]);
        let length = u8::try_from(hello.len()).unwrap();
        let mut record = vec![22, 3, 1, 0, length + 4, 1, 0, 0, length];
        record.extend(hello);
        let mut socket = connect(&secured.server.address());
        socket.write_all(&record).unwrap();
        let mut first = [0; 1];
        match socket.read(&mut first) {
            Ok(0) => {}
            Ok(_) => assert_eq!(first, [21], "not an alert"),
            Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset),
        }
    }
    // Nor is plain http taken for anything.
    let mut socket = connect(&secured.server.address());
    socket.write_all(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    let mut bytes = Vec::new();
    socket.read_to_end(&mut bytes).ok();
    assert!(!bytes.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&bytes));
}
