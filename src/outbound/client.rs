//! One request over one connection.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::{Bytes, BytesMut};
use http::header::{HOST, HeaderValue, USER_AGENT};
use http::{HeaderMap, Method, Uri};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::version::{TLS12, TLS13};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use crate::types::{Span, Time};

use super::dns::{DnsResolver, resolve};
use super::egress::{EgressError, EgressPolicy, ServerAddress};

/// Most bytes of an answer's body that are read: an answer becomes part of a commit. Of a longer
/// one the rest is left out, whatever its status.
pub const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// Most bytes of an answer's head.
const HEAD_BYTES_MAX: usize = 32 * 1024;

/// Most headers of an answer.
const HEADERS_MAX: usize = 100;

/// Longest wait for one address of several.
const CONNECT: Duration = Duration::from_secs(5);

/// Most addresses of a name that are tried.
const ADDRESSES_MAX: usize = 4;

/// A request.
#[derive(Clone, Debug)]
pub struct HttpRequest {
    /// The method.
    pub method: Method,
    /// Absolute address of the request.
    pub uri: Uri,
    /// The headers; `Host` and `Content-Length` are added.
    pub headers: HeaderMap,
    /// The body; empty: none.
    pub body: Bytes,
    /// Time from the look-up of the name to the last byte of the answer.
    pub timeout: Duration,
}

/// An answer, whatever its status.
#[derive(Clone, Debug)]
pub struct HttpResponse {
    /// The status.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    /// The body, or the first [`ANSWER_BYTES_MAX`] bytes of it.
    pub body: Bytes,
    /// True if the body is longer than that.
    pub truncated: bool,
}

impl HttpResponse {
    /// Returns the delay that the server asks for: `Retry-After` in seconds, or until a date in one
    /// of the three forms of RFC 9110, 5.6.7. Anything else is ignored; of several the longest
    /// counts. `wall`: the time by the wall clock, which the server compares with, too.
    #[must_use]
    pub fn retry_after(&self, wall: Time) -> Option<Span> {
        let sent = self.headers.get_all(http::header::RETRY_AFTER).iter();
        sent.filter_map(|value| wait_of(value.to_str().ok()?.trim(), wall)).max()
    }
}

fn wait_of(text: &str, wall: Time) -> Option<Span> {
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        // A number with too many digits is a long time all the same.
        return Some(Span::from_seconds(text.parse().unwrap_or(u64::MAX)));
    }
    let date = httpdate::parse_http_date(text).ok()?;
    let at = date.duration_since(SystemTime::UNIX_EPOCH).ok()?.as_millis();
    Some(Time::from_ms(u64::try_from(at).unwrap_or(u64::MAX)).since(wall))
}

/// Reason for which there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// It was not sent.
    #[error(transparent)]
    Egress(#[from] EgressError),
    /// Nobody was reached; it was not sent.
    #[error("{target} cannot be reached: {what}")]
    Unreachable {
        /// Server of the request.
        target: String,
        /// The failure.
        what: String,
    },
    /// The connection broke; whether the request was executed is not known.
    #[error("the connection to {target} broke: {what}")]
    Broken {
        /// Server of the request.
        target: String,
        /// The failure.
        what: String,
    },
    /// The time is up; whether the request was executed is not known.
    #[error("no whole answer within {0:?}")]
    TimedOut(Duration),
}

impl SendError {
    /// Returns whether the request certainly did not reach anybody.
    #[must_use]
    pub const fn is_unsent(&self) -> bool {
        matches!(self, Self::Egress(_) | Self::Unreachable { .. })
    }
}

/// Addresses of names in tests.
#[cfg(test)]
type Names = Arc<dyn Fn(&str) -> Vec<IpAddr> + Send + Sync>;

/// Sends requests.
#[derive(Clone)]
pub struct HttpClient {
    egress: Arc<EgressPolicy>,
    tls: TlsConnector,
    resolver: DnsResolver,
    #[cfg(test)]
    names: Option<Names>,
}

impl std::fmt::Debug for HttpClient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HttpClient").field("egress", &self.egress).finish_non_exhaustive()
    }
}

impl HttpClient {
    /// Returns a client that sends to the addresses that the policy allows, and trusts the
    /// authorities that browsers do.
    ///
    /// # Errors
    /// The error of the TLS library about its own versions; none in practice.
    pub fn new(egress: EgressPolicy) -> Result<Self, String> {
        let mut roots = RootCertStore::empty();
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
        Self::trusting(egress, roots)
    }

    /// As [`HttpClient::new`], trusting these authorities.
    ///
    /// # Errors
    /// As [`HttpClient::new`].
    pub fn trusting(egress: EgressPolicy, roots: RootCertStore) -> Result<Self, String> {
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(&[&TLS13, &TLS12])
            .map_err(|error| error.to_string())?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self {
            egress: Arc::new(egress),
            tls: TlsConnector::from(Arc::new(config)),
            resolver: DnsResolver::default(),
            #[cfg(test)]
            names: None,
        })
    }

    /// The same, with these addresses for names.
    #[cfg(test)]
    pub(crate) fn with_names(
        self,
        names: impl Fn(&str) -> Vec<IpAddr> + Send + Sync + 'static,
    ) -> Self {
        Self { names: Some(Arc::new(names)), ..self }
    }

    /// Returns the policy for the addresses that it may send to.
    #[must_use]
    pub fn egress(&self) -> &EgressPolicy {
        &self.egress
    }

    /// Sends a request and waits for its answer.
    ///
    /// # Errors
    /// [`SendError`]
    pub async fn send(&self, request: HttpRequest) -> Result<HttpResponse, SendError> {
        let timeout = request.timeout;
        let sent = tokio::time::timeout(timeout, self.exchange(request)).await;
        sent.unwrap_or(Err(SendError::TimedOut(timeout)))
    }

    async fn exchange(&self, request: HttpRequest) -> Result<HttpResponse, SendError> {
        let target = ServerAddress::of(&request.uri)?;
        self.egress.must_allow(&target)?;
        let stream = self.connect(&target).await?;
        if !target.is_tls {
            return exchange_on(stream, request, &target).await;
        }
        let unreachable =
            |what: String| SendError::Unreachable { target: target.to_string(), what };
        let name = ServerName::try_from(target.host.clone())
            .map_err(|error| unreachable(error.to_string()))?;
        let stream = self.tls.connect(name, stream).await;
        let stream = stream.map_err(|error| unreachable(error.to_string()))?;
        exchange_on(stream, request, &target).await
    }

    async fn look_up(&self, target: &ServerAddress) -> std::io::Result<Vec<SocketAddr>> {
        #[cfg(test)]
        if let Some(names) = &self.names {
            let addresses = names(&target.host);
            return Ok(addresses.into_iter().map(|ip| SocketAddr::new(ip, target.port)).collect());
        }
        let found = self.resolver.find(&target.host, resolve).await?;
        Ok(found.into_iter().map(|ip| SocketAddr::new(ip, target.port)).collect())
    }

    /// Connects to an address that was checked, not to a name that could change.
    async fn connect(&self, target: &ServerAddress) -> Result<TcpStream, SendError> {
        let unreachable =
            |what: String| SendError::Unreachable { target: target.to_string(), what };
        let literal = target.host.parse::<IpAddr>().ok();
        let addresses: Vec<SocketAddr> = match literal {
            Some(address) => vec![SocketAddr::new(address, target.port)],
            None => self.look_up(target).await.map_err(|error| unreachable(error.to_string()))?,
        };
        let (mut allowed, mut refused) = (Vec::new(), None);
        for address in addresses {
            match self.egress.must_allow_address(target, address.ip(), literal.is_some()) {
                Ok(()) => allowed.push(address),
                Err(error) => refused = Some(error),
            }
        }
        // An allowed address that does not answer now may answer later, whatever the other
        // addresses are.
        let mut failure = match refused {
            Some(error) if allowed.is_empty() => error.into(),
            _ => unreachable("its name has no address".to_owned()),
        };
        for address in allowed.into_iter().take(ADDRESSES_MAX) {
            match tokio::time::timeout(CONNECT, TcpStream::connect(address)).await {
                Ok(Ok(stream)) => {
                    // A small request must not wait for another to fill its packet.
                    if let Err(error) = stream.set_nodelay(true) {
                        tracing::debug!(%error, "a connection's packets may wait");
                    }
                    return Ok(stream);
                }
                Ok(Err(error)) => failure = unreachable(error.to_string()),
                Err(_) => failure = unreachable(format!("{address} does not answer")),
            }
        }
        Err(failure)
    }
}

async fn exchange_on(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    request: HttpRequest,
    target: &ServerAddress,
) -> Result<HttpResponse, SendError> {
    let broken = |error: hyper::Error| SendError::Broken {
        target: target.to_string(),
        what: std::error::Error::source(&error)
            .map_or_else(|| error.to_string(), |source| format!("{error}: {source}")),
    };
    let mut builder = http1::Builder::new();
    builder.max_buf_size(HEAD_BYTES_MAX).max_headers(HEADERS_MAX);
    let (mut sender, connection) = builder.handshake(TokioIo::new(stream)).await.map_err(broken)?;
    let message = message(request)
        .map_err(|_| SendError::Egress(EgressError::NotAnAddress(target.to_string())))?;
    let exchange = async {
        let answer = sender.send_request(message).await.map_err(broken)?;
        let (head, mut body) = answer.into_parts();
        let mut bytes = BytesMut::new();
        let mut truncated = false;
        while let Some(frame) = body.frame().await {
            let Ok(data) = frame.map_err(broken)?.into_data() else { continue };
            let room = ANSWER_BYTES_MAX - bytes.len();
            truncated = data.len() > room;
            bytes.extend_from_slice(&data[..data.len().min(room)]);
            if truncated {
                break;
            }
        }
        let (status, body) = (head.status.as_u16(), bytes.freeze());
        Ok(HttpResponse { status, headers: head.headers, body, truncated })
    };
    let mut exchange = std::pin::pin!(exchange);
    let mut connection = std::pin::pin!(connection);
    // The connection is driven here and not in a task: with the future it is gone.
    tokio::select! {
        biased;
        reply = &mut exchange => reply,
        ended = &mut connection => {
            if let Err(error) = ended {
                return Err(broken(error));
            }
            exchange.await
        }
    }
}

fn message(request: HttpRequest) -> Result<http::Request<Full<Bytes>>, http::Error> {
    let HttpRequest { method, uri, mut headers, body, .. } = request;
    let authority = uri.authority().map(|authority| authority.as_str().to_owned());
    let path = uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str).to_owned();
    headers.insert(HOST, HeaderValue::try_from(authority.unwrap_or_default())?);
    headers.entry(USER_AGENT).or_insert(HeaderValue::from_static("abide"));
    let mut message = http::Request::builder().method(method).uri(path).body(Full::new(body))?;
    *message.headers_mut() = headers;
    Ok(message)
}
