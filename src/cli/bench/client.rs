//! The smallest HTTP/1.1 client that keeps a connection: what the load generator costs is taken
//! from the server it measures.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// Most headers of an answer.
const HEADERS_MAX: usize = 64;

/// Largest answer that is read.
const ANSWER_BYTES_MAX: usize = 4 * 1024 * 1024;

/// A connection that is kept.
pub(super) struct Client {
    stream: TcpStream,
    host: String,
    /// Headers and body of each request.
    token: Option<String>,
    request: Vec<u8>,
    answer: Vec<u8>,
}

/// An answer.
#[derive(Clone, Copy, Debug)]
pub(super) struct HttpAnswer<'a> {
    /// Its status.
    pub(super) status: u16,
    /// Its body.
    pub(super) body: &'a str,
}

impl HttpAnswer<'_> {
    /// The text after `"NAME":"` up to the next quote: enough for ids, tokens and codes.
    pub(super) fn text(&self, name: &str) -> Option<String> {
        let at = self.body.find(&format!("\"{name}\":\""))? + name.len() + 4;
        let rest = &self.body[at..];
        rest.split('"').next().map(str::to_owned)
    }
}

impl Client {
    /// Connects; `token` is sent with each request.
    pub(super) async fn connect(address: SocketAddr, token: Option<&str>) -> Result<Self, String> {
        let stream = TcpStream::connect(address).await;
        let stream = stream.map_err(|error| format!("{address}: {error}"))?;
        stream.set_nodelay(true).map_err(|error| error.to_string())?;
        Ok(Self {
            stream,
            host: address.to_string(),
            token: token.map(str::to_owned),
            request: Vec::with_capacity(1024),
            answer: Vec::with_capacity(8192),
        })
    }

    /// Sends a request and waits for its answer. `body`: its media type and the body.
    pub(super) async fn call(
        &mut self,
        method: &str,
        path: &str,
        body: Option<(&str, &str)>,
        key: Option<&str>,
    ) -> Result<HttpAnswer<'_>, String> {
        self.write_request(method, path, body, key);
        let broken = |error: std::io::Error| format!("{method} {path}: {error}");
        self.stream.write_all(&self.request).await.map_err(broken)?;
        self.answer.clear();
        loop {
            let read = self.stream.read_buf(&mut self.answer).await.map_err(broken)?;
            if read == 0 {
                return Err(format!("{method} {path}: the server closed the connection"));
            }
            if let Some((status, from, to)) = whole(&self.answer)? {
                let body = std::str::from_utf8(&self.answer[from..to]);
                let body = body.map_err(|_| format!("{method} {path}: no UTF-8"))?;
                return Ok(HttpAnswer { status, body });
            }
            if self.answer.len() > ANSWER_BYTES_MAX {
                return Err(format!("{method} {path}: an endless answer"));
            }
        }
    }

    /// The same for an answer that must be a success.
    pub(super) async fn must(
        &mut self,
        method: &str,
        path: &str,
        body: Option<(&str, &str)>,
    ) -> Result<HttpAnswer<'_>, String> {
        self.must_keyed(method, path, body, None).await
    }

    /// The same with an Idempotency-Key.
    pub(super) async fn must_keyed(
        &mut self,
        method: &str,
        path: &str,
        body: Option<(&str, &str)>,
        key: Option<&str>,
    ) -> Result<HttpAnswer<'_>, String> {
        let answer = self.call(method, path, body, key).await?;
        if (200..300).contains(&answer.status) {
            Ok(answer)
        } else {
            Err(format!("{method} {path}: {} {}", answer.status, answer.body))
        }
    }

    fn write_request(
        &mut self,
        method: &str,
        path: &str,
        body: Option<(&str, &str)>,
        key: Option<&str>,
    ) {
        let out = &mut self.request;
        out.clear();
        let mut put = |parts: &[&str]| parts.iter().for_each(|part| out.extend(part.as_bytes()));
        put(&[method, " ", path, " HTTP/1.1\r\nhost: ", &self.host, "\r\n"]);
        if let Some(token) = &self.token {
            put(&["authorization: Bearer ", token, "\r\n"]);
        }
        if let Some(key) = key {
            put(&["idempotency-key: ", key, "\r\n"]);
        }
        match body {
            None => put(&["\r\n"]),
            Some((media, body)) => {
                let length = body.len().to_string();
                put(&["content-type: ", media, "\r\ncontent-length: ", &length, "\r\n\r\n", body]);
            }
        }
    }
}

/// The status, and where the body begins and ends, if the answer is all there.
fn whole(bytes: &[u8]) -> Result<Option<(u16, usize, usize)>, String> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut head = httparse::Response::new(&mut headers);
    let from = match head.parse(bytes) {
        Ok(httparse::Status::Complete(from)) => from,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(error) => return Err(format!("the answer is no HTTP: {error}")),
    };
    let length = head
        .headers
        .iter()
        .find(|header| header.name.eq_ignore_ascii_case("content-length"))
        .and_then(|header| std::str::from_utf8(header.value).ok()?.parse::<usize>().ok());
    let to = from + length.unwrap_or(0);
    Ok((bytes.len() >= to).then_some((head.code.unwrap_or(0), from, to)))
}
