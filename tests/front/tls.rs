//! https: TLS 1.2 and 1.3 only, HTTP/2 by ALPN, a certificate that is changed by SIGHUP.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use abide::http::server::{Limits, ServeOptions, Tls};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::version::{TLS12, TLS13};
use tokio_rustls::rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};

use crate::process::{Process, serve};
use crate::support::{LONG, Server, rest};

const PAIRS: [(&str, &str); 2] = [
    (include_str!("certificates/one.cert.pem"), include_str!("certificates/one.key.pem")),
    (include_str!("certificates/two.cert.pem"), include_str!("certificates/two.key.pem")),
];

fn write_pair(dir: &Path, (cert, key): (&str, &str)) {
    std::fs::write(dir.join("cert.pem"), cert).unwrap();
    std::fs::write(dir.join("key.pem"), key).unwrap();
}

/// A connection that trusts this certificate only; `None`: there is no handshake.
async fn connect(
    address: std::net::SocketAddr,
    trusted: &str,
    version: &'static SupportedProtocolVersion,
    alpn: &[u8],
) -> Option<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(trusted.as_bytes()).unwrap()).unwrap();
    let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(&[version])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![alpn.to_vec()];
    let socket = TcpStream::connect(address).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    TlsConnector::from(Arc::new(config)).connect(name, socket).await.ok()
}

async fn ask(mut stream: TlsStream<TcpStream>, path: &str) -> String {
    let head = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut text = String::new();
    timeout(LONG, stream.read_to_string(&mut text)).await.unwrap().unwrap();
    text
}

#[tokio::test]
async fn both_versions_and_both_protocols_are_spoken() {
    let dir = TempDir::new().unwrap();
    write_pair(dir.path(), PAIRS[0]);
    let tls = Tls::load(&dir.path().join("cert.pem"), &dir.path().join("key.pem")).unwrap();
    let server =
        Server::start_with(ServeOptions { tls: Some(tls), ..ServeOptions::default() }).await;
    for version in [&TLS12, &TLS13] {
        let stream = connect(server.address, PAIRS[0].0, version, b"http/1.1").await.unwrap();
        assert!(ask(stream, "/who").await.ends_with("127.0.0.1 Https"));
    }
    let stream = connect(server.address, PAIRS[0].0, &TLS13, b"h2").await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    // TLS 1.1 and plain HTTP get no answer of HTTP.
    for hello in [
        &b"\x16\x03\x01\x00\x2d\x01\x00\x00\x29\x03\x02aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\x00\x00\x02\x00\x2f\x01\x00"[..],
        b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    ] {
        let mut socket = server.connect().await;
        socket.write_all(hello).await.unwrap();
        assert!(!rest(&mut socket).await.contains("HTTP/"));
    }
}

#[tokio::test]
async fn a_handshake_that_does_not_come_is_given_up() {
    let dir = TempDir::new().unwrap();
    write_pair(dir.path(), PAIRS[0]);
    let tls = Tls::load(&dir.path().join("cert.pem"), &dir.path().join("key.pem")).unwrap();
    let limits = Limits { handshake_time: Duration::from_millis(200), ..Limits::default() };
    let entrance = ServeOptions { limits, tls: Some(tls), ..ServeOptions::default() };
    let server = Server::start_with(entrance).await;
    let mut silent = server.connect().await;
    assert_eq!(rest(&mut silent).await, "");
}

/// A new certificate is taken on SIGHUP without losing a connection; a bad one is not.
#[tokio::test]
async fn the_certificate_is_read_again_on_sighup() {
    let dir = TempDir::new().unwrap();
    write_pair(dir.path(), PAIRS[0]);
    let mut command = serve(dir.path());
    command.arg("--tls-cert").arg(dir.path().join("cert.pem"));
    command.arg("--tls-key").arg(dir.path().join("key.pem"));
    let process = Process::start(&mut command);
    assert!(process.first_line.starts_with("abide listening on https://"));
    let (one, two) = (PAIRS[0].0, PAIRS[1].0);
    let before = connect(process.address, one, &TLS13, b"http/1.1").await.unwrap();
    assert!(connect(process.address, two, &TLS13, b"http/1.1").await.is_none());

    write_pair(dir.path(), PAIRS[1]);
    process.signal("-HUP");
    let began = std::time::Instant::now();
    let after = loop {
        assert!(began.elapsed() < LONG, "the new certificate is not served");
        if let Some(stream) = connect(process.address, two, &TLS13, b"http/1.1").await {
            break stream;
        }
    };
    for stream in [before, after] {
        let text = ask(stream, "/livez").await;
        assert!(text.starts_with("HTTP/1.1 200"), "{text}");
        assert!(text.contains("strict-transport-security: "), "{text}");
    }

    write_pair(dir.path(), (PAIRS[0].0, PAIRS[1].1));
    process.signal("-HUP");
    // The next signal is handled after this one.
    let (exit, log) = process.stop();
    assert_eq!(exit.code(), Some(0), "{log}");
}

/// The certificate stays as it was where the new one does not fit its key.
#[test]
fn a_bad_pair_changes_nothing() {
    let dir = TempDir::new().unwrap();
    write_pair(dir.path(), PAIRS[0]);
    let (cert, key) = (dir.path().join("cert.pem"), dir.path().join("key.pem"));
    let tls = Tls::load(&cert, &key).unwrap();
    write_pair(dir.path(), (PAIRS[0].0, PAIRS[1].1));
    let error = tls.reload().unwrap_err().to_string();
    assert!(error.contains("key.pem"), "{error}");
    write_pair(dir.path(), ("", PAIRS[1].1));
    let error = tls.reload().unwrap_err().to_string();
    assert!(error.contains("there is no certificate in it"), "{error}");
    write_pair(dir.path(), PAIRS[1]);
    tls.reload().unwrap();
}
