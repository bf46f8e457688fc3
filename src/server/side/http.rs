//! One request and one answer of HTTP/1.1 on a connection that then closes, both bounded.

use std::time::Duration;

use httparse::{EMPTY_HEADER, Status};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::Instant;

/// The longest head of a request: its first line and its headers.
const HEAD_BYTES_MAX: usize = 8 << 10;
/// The most headers of a request.
const HEADERS_MAX: usize = 64;
/// How long a request may take to arrive.
const REQUEST_TIME: Duration = Duration::from_secs(10);
/// How long an answer may take to be sent.
const SENDING_TIME: Duration = Duration::from_secs(30);
/// How long a connection reads on after its answer, so that the answer is not lost to a reset.
const LINGER: Duration = Duration::from_secs(1);
/// What is read of a body at once.
const PIECE_BYTES: usize = 64 << 10;
/// Headers that a request may have once.
const ONCE: [&str; 5] = ["authorization", "content-length", "content-type", "host", "origin"];

/// What is asked for.
#[derive(Debug, PartialEq)]
pub(super) struct Request {
    /// In capitals, as it came.
    pub(super) method: String,
    /// The path, as it came.
    pub(super) path: String,
    /// What is behind its question mark.
    pub(super) query: String,
    /// Names in lower case.
    headers: Vec<(String, String)>,
}

/// Why a request is not answered as it wishes.
#[derive(Debug, PartialEq)]
pub(super) struct Refused {
    pub(super) status: u16,
    pub(super) message: &'static str,
}

/// What is answered.
#[derive(Debug, PartialEq)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) content_type: &'static str,
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) body: Vec<u8>,
}

/// A connection, for its one request.
pub(super) struct Connection<S> {
    socket: S,
    /// What came behind the head of the request.
    arrived: Vec<u8>,
    /// When the request must have arrived.
    deadline: Instant,
}

impl Request {
    /// Whether only the head of the answer is asked for.
    pub(super) fn is_head(&self) -> bool {
        self.method == "HEAD"
    }

    /// The value of a header, whose name is given in lower case.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// The value of a parameter of the query.
    pub(super) fn parameter(&self, name: &str) -> Option<String> {
        self.query.split('&').find_map(|pair| {
            let (known, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decode_parameter(known) == name).then(|| decode_parameter(value))
        })
    }

    /// How long the body says it is.
    fn length(&self, bytes_max: usize) -> Result<usize, Refused> {
        let refused = |status, message| Err(Refused { status, message });
        if self.header("transfer-encoding").is_some() {
            return refused(411, "a body in chunks is not taken: content-length must say how long it is");
        }
        match self.header("content-length") {
            None => refused(411, "content-length must say how long the body is"),
            Some(text) if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) => {
                refused(400, "content-length is not a number")
            }
            // What is no `usize` is too long as well.
            Some(text) => match text.parse() {
                Ok(length) if length <= bytes_max => Ok(length),
                _ => refused(413, "the body is too long"),
            },
        }
    }
}

/// Undoes `%41` and `+`; what is neither stays as it is, and what is no UTF-8 after that is replaced.
fn decode_parameter(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let digit = |byte: u8| char::from(byte).to_digit(16).map(|digit| digit as u8);
        let escaped = match (first, after) {
            (b'%', &[high, low, ..]) => digit(high).zip(digit(low)),
            _ => None,
        };
        (rest, _) = match escaped {
            Some((high, low)) => (&after[2..], bytes.push(high << 4 | low)),
            None => (after, bytes.push(if first == b'+' { b' ' } else { first })),
        };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

impl Answer {
    /// A status with a line of text.
    pub(super) fn text(status: u16, line: &str) -> Self {
        Self::new(status, "text/plain; charset=utf-8", format!("{line}\n"))
    }

    /// A status with a body.
    pub(super) fn new(status: u16, content_type: &'static str, body: impl Into<Vec<u8>>) -> Self {
        Self { status, content_type, headers: Vec::new(), body: body.into() }
    }

    /// The same with a header more.
    pub(super) fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    fn encode(&self, head_only: bool) -> Vec<u8> {
        let mut head = format!(
            "HTTP/1.1 {} {}\r\ncontent-type: {}\r\ncontent-length: {}\r\ncache-control: no-store\r\nconnection: close\r\n",
            self.status,
            reason(self.status),
            self.content_type,
            self.body.len(),
        );
        for (name, value) in &self.headers {
            head.extend([name, ": ", value, "\r\n"]);
        }
        head.push_str("\r\n");
        let mut bytes = head.into_bytes();
        if !head_only {
            bytes.extend_from_slice(&self.body);
        }
        bytes
    }
}

impl From<Refused> for Answer {
    fn from(refused: Refused) -> Self {
        Self::text(refused.status, refused.message)
    }
}

fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        201 => "Created",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        409 => "Conflict",
        411 => "Length Required",
        413 => "Content Too Large",
        415 => "Unsupported Media Type",
        431 => "Request Header Fields Too Large",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        _ => "Internal Server Error",
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    pub(super) fn new(socket: S) -> Self {
        Self { socket, arrived: Vec::with_capacity(1024), deadline: Instant::now() + REQUEST_TIME }
    }

    /// The request up to the end of its headers; `None` if the client goes away before, or takes too long.
    pub(super) async fn request(&mut self) -> Option<Result<Request, Refused>> {
        match tokio::time::timeout_at(self.deadline, self.read_head()).await {
            Ok(Ok(request)) => request,
            Ok(Err(error)) => {
                tracing::debug!(%error, "a client of the side port went away");
                None
            }
            Err(_) => {
                tracing::debug!("a client of the side port took too long");
                None
            }
        }
    }

    async fn read_head(&mut self) -> std::io::Result<Option<Result<Request, Refused>>> {
        loop {
            let room = HEAD_BYTES_MAX - self.arrived.len();
            if room == 0 {
                return Ok(Some(Err(Refused { status: 431, message: "the head of the request is too long" })));
            }
            if (&mut self.socket).take(room as u64).read_buf(&mut self.arrived).await? == 0 {
                return Ok(None);
            }
            match decode_head(&self.arrived) {
                Ok(None) => {}
                Ok(Some((request, length))) => {
                    self.arrived.drain(..length);
                    return Ok(Some(Ok(request)));
                }
                Err(refused) => return Ok(Some(Err(refused))),
            }
        }
    }

    /// The body of the request, of at most so many bytes. Memory is taken as it arrives.
    pub(super) async fn body(&mut self, request: &Request, bytes_max: usize) -> Result<Vec<u8>, Refused> {
        let length = request.length(bytes_max)?;
        let mut body = std::mem::take(&mut self.arrived);
        let socket = &mut self.socket;
        let reading = async {
            // Clients that send much ask first.
            if body.is_empty() && request.header("expect").is_some() {
                socket.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await?;
            }
            while body.len() < length {
                let left = length - body.len();
                body.reserve(left.min(PIECE_BYTES));
                if (&mut *socket).take(left as u64).read_buf(&mut body).await? == 0 {
                    return Err(std::io::ErrorKind::UnexpectedEof.into());
                }
            }
            Ok::<(), std::io::Error>(())
        };
        match tokio::time::timeout_at(self.deadline, reading).await {
            Ok(Ok(())) => {
                body.truncate(length);
                Ok(body)
            }
            Ok(Err(_)) => Err(Refused { status: 400, message: "the body ends early" }),
            Err(_) => Err(Refused { status: 408, message: "the body took too long to arrive" }),
        }
    }

    /// What `work` gives, unless the client goes away meanwhile, as far as can be seen without reading much of what it sends.
    pub(super) async fn while_there<T>(&mut self, work: impl Future<Output = T>) -> Option<T> {
        let gone = async {
            match self.socket.read_buf(&mut self.arrived).await {
                Ok(0) | Err(_) => {}
                Ok(_) => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            done = work => Some(done),
            () = gone => None,
        }
    }

    /// Sends the answer and closes.
    pub(super) async fn send(mut self, answer: &Answer, head_only: bool) {
        let sending = async {
            self.socket.write_all(&answer.encode(head_only)).await?;
            self.socket.shutdown().await
        };
        match tokio::time::timeout(SENDING_TIME, sending).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return tracing::debug!(%error, "a client of the side port went away"),
            Err(_) => return tracing::debug!("a client of the side port took too long"),
        }
        let rest = async {
            let mut ignored = vec![0; PIECE_BYTES];
            while self.socket.read(&mut ignored).await.is_ok_and(|count| count > 0) {}
        };
        // A peer that goes on sending is not waited for.
        let _ = tokio::time::timeout(LINGER, rest).await;
    }
}

/// The request that `head` is, and how long its head is; `None` if more of it must come.
fn decode_head(head: &[u8]) -> Result<Option<(Request, usize)>, Refused> {
    let mut headers = [EMPTY_HEADER; HEADERS_MAX];
    let mut request = httparse::Request::new(&mut headers);
    let refused = |status, message| Err(Refused { status, message });
    let length = match request.parse(head) {
        Ok(Status::Complete(length)) => length,
        Ok(Status::Partial) => return Ok(None),
        Err(httparse::Error::TooManyHeaders) => return refused(431, "too many headers"),
        Err(_) => return refused(400, "this is no request of HTTP/1.1"),
    };
    let target = request.path.unwrap_or("/");
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let mut headers: Vec<(String, String)> = Vec::with_capacity(request.headers.len());
    for header in request.headers.iter() {
        let name = header.name.to_ascii_lowercase();
        if ONCE.contains(&name.as_str()) && headers.iter().any(|(known, _)| *known == name) {
            return refused(400, "a header is there twice");
        }
        headers.push((name, String::from_utf8_lossy(header.value).into_owned()));
    }
    let method = request.method.unwrap_or_default().to_owned();
    Ok(Some((Request { method, path: path.to_owned(), query: query.to_owned(), headers }, length)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(head: &[u8]) -> Request {
        decode_head(head).expect("a request").expect("a whole one").0
    }

    #[test]
    fn heads_are_read_whatever_they_are_cut_into() {
        let head = b"GET /metrics?name=x HTTP/1.1\r\nHost: a\r\nAccept: */*\r\n\r\n";
        for cut in 0..head.len() {
            assert_eq!(decode_head(&head[..cut]), Ok(None), "{cut}");
        }
        let request = decoded(head);
        assert_eq!(
            (request.method.as_str(), request.path.as_str(), request.query.as_str()),
            ("GET", "/metrics", "name=x")
        );
        assert_eq!((request.header("host"), request.header("cookie")), (Some("a"), None));
        let (request, length) = decode_head(b"HEAD /health HTTP/1.0\r\n\r\nmore").expect("a request").expect("whole");
        assert_eq!((request.is_head(), request.path.as_str(), length), (true, "/health", 25));
        let status = |head: &[u8]| decode_head(head).map_err(|refused| refused.status);
        assert_eq!(status(b"GET / HTTP/9.9\r\n\r\n"), Err(400));
        assert_eq!(status(b"\x16\x03\x01\x02\x00\x01\x00"), Err(400), "TLS");
        assert_eq!(status(b"GET / HTTP/1.1\r\nHost: a\r\nhost: b\r\n\r\n"), Err(400), "two hosts");
        assert_eq!(status(&[b"GET / HTTP/1.1\r\n", &b"a: b\r\n".repeat(65)[..], b"\r\n"].concat()), Err(431));
    }

    #[test]
    fn parameters_are_decoded() {
        let request = decoded("GET /picture?table=a%20b+c&id=%C3%A4%zz%4&none HTTP/1.1\r\n\r\n".as_bytes());
        assert_eq!(request.parameter("table").as_deref(), Some("a b c"));
        assert_eq!(request.parameter("id").as_deref(), Some("ä%zz%4"));
        assert_eq!((request.parameter("none").as_deref(), request.parameter("other")), (Some(""), None));
    }

    #[test]
    fn bodies_say_how_long_they_are() {
        let length = |headers: &str| {
            let request = decoded(format!("POST / HTTP/1.1\r\n{headers}\r\n").as_bytes());
            request.length(100).map_err(|refused| refused.status)
        };
        assert_eq!(length("Content-Length: 100\r\n"), Ok(100));
        assert_eq!(length(""), Err(411));
        assert_eq!(length("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n"), Err(411));
        for wrong in ["-1", "+1", "1, 1", "0x1", ""] {
            assert_eq!(length(&format!("Content-Length: {wrong}\r\n")), Err(400), "{wrong}");
        }
        assert_eq!(length("Content-Length: 101\r\n"), Err(413));
        assert_eq!(length("Content-Length: 99999999999999999999999999\r\n"), Err(413));
    }

    #[tokio::test]
    async fn bodies_come_in_pieces_or_too_late() {
        let asked = b"POST / HTTP/1.1\r\nContent-Length: 6\r\nExpect: 100-continue\r\n\r\n";
        let (mut client, server) = tokio::io::duplex(1024);
        client.write_all(asked).await.expect("sent");
        let mut connection = Connection::new(server);
        let request = connection.request().await.expect("there").expect("a request");
        let sending = async {
            let mut told = [0; 25];
            client.read_exact(&mut told).await.expect("it may go on");
            assert!(told.starts_with(b"HTTP/1.1 100 "));
            client.write_all(b"abc").await.expect("sent");
            client.write_all(b"defgh").await.expect("sent");
        };
        let (body, ()) = tokio::join!(connection.body(&request, 10), sending);
        assert_eq!(body.as_deref(), Ok(&b"abcdef"[..]));

        // Work before the body, meanwhile it arrives.
        let (mut client, server) = tokio::io::duplex(1024);
        client.write_all(asked).await.expect("sent");
        let mut connection = Connection::new(server);
        let request = connection.request().await.expect("there").expect("a request");
        let sending = async { client.write_all(b"abcdef").await };
        assert!(connection.while_there(sending).await.expect("it stays").is_ok());
        assert_eq!(connection.while_there(tokio::time::sleep(Duration::from_millis(20))).await, Some(()));
        assert_eq!(connection.body(&request, 10).await.as_deref(), Ok(&b"abcdef"[..]));

        let (mut client, server) = tokio::io::duplex(1024);
        client.write_all(&[&asked[..], b"abc"].concat()).await.expect("sent");
        let mut connection = Connection::new(server);
        let request = connection.request().await.expect("there").expect("a request");
        connection.deadline = Instant::now() + Duration::from_millis(50);
        let late = connection.body(&request, 10).await;
        assert_eq!(late.map_err(|refused| refused.status), Err(408));
        drop(client);
        let early = connection.body(&request, 10).await;
        assert_eq!(early.map_err(|refused| refused.status), Err(400));
        assert_eq!(connection.while_there(std::future::pending::<()>()).await, None);
    }

    #[test]
    fn answers_say_how_long_they_are() {
        let answer = Answer::text(405, "no").with("allow", "GET, HEAD");
        let whole = String::from_utf8(answer.encode(false)).expect("text");
        assert!(whole.starts_with("HTTP/1.1 405 Method Not Allowed\r\n") && whole.ends_with("\r\n\r\nno\n"), "{whole}");
        assert!(whole.contains("content-length: 3\r\n") && whole.contains("allow: GET, HEAD\r\n"), "{whole}");
        let head = String::from_utf8(answer.encode(true)).expect("text");
        assert!(head.contains("content-length: 3\r\n") && head.ends_with("\r\n\r\n"), "{head}");
    }
}
