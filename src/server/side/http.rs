//! One request and one answer of HTTP/1.1 on a connection that then closes, both bounded.

use std::time::Duration;

use httparse::{EMPTY_HEADER, Status};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// The longest head of a request: its first line and its headers.
const HEAD_BYTES_MAX: usize = 8 << 10;
/// The most headers of a request.
const HEADERS_MAX: usize = 64;
/// How long a connection lives: its request, its answer, and reading on.
const CONNECTION_TIME: Duration = Duration::from_secs(10);
/// How long a connection reads on after its answer, so that the answer is not lost to a reset.
const LINGER: Duration = Duration::from_secs(1);

/// What is asked for.
#[derive(Debug, PartialEq)]
pub(super) struct Request {
    /// The path, without a query.
    pub(super) path: String,
    /// HEAD: as GET, and only the head of the answer is sent.
    pub(super) head_only: bool,
}

/// What is answered.
#[derive(Debug, PartialEq)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) content_type: &'static str,
    pub(super) body: String,
}

impl Answer {
    /// A status with a line of text.
    pub(super) fn text(status: u16, line: &str) -> Self {
        Self { status, content_type: "text/plain; charset=utf-8", body: format!("{line}\n") }
    }

    fn encode(&self, head_only: bool) -> Vec<u8> {
        let allow = if self.status == 405 { "allow: GET, HEAD\r\n" } else { "" };
        let mut bytes = format!(
            "HTTP/1.1 {} {}\r\ncontent-type: {}\r\ncontent-length: {}\r\ncache-control: no-store\r\n{allow}connection: close\r\n\r\n",
            self.status,
            reason(self.status),
            self.content_type,
            self.body.len(),
        )
        .into_bytes();
        if !head_only {
            bytes.extend_from_slice(self.body.as_bytes());
        }
        bytes
    }
}

fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        400 => "Bad Request",
        404 => "Not Found",
        405 => "Method Not Allowed",
        431 => "Request Header Fields Too Large",
        503 => "Service Unavailable",
        _ => "Internal Server Error",
    }
}

/// Answers the one request of a connection and closes it.
pub(super) async fn serve<S, A>(mut socket: S, answer: impl FnOnce(String) -> A)
where
    S: AsyncRead + AsyncWrite + Unpin,
    A: Future<Output = Answer>,
{
    let work = async {
        let bytes = match read_head(&mut socket).await? {
            None => return Ok(()),
            Some(Ok(Request { path, head_only })) => answer(path).await.encode(head_only),
            Some(Err(refused)) => refused.encode(false),
        };
        socket.write_all(&bytes).await?;
        socket.shutdown().await?;
        let rest = async {
            let mut ignored = [0; 1024];
            while socket.read(&mut ignored).await.is_ok_and(|count| count > 0) {}
        };
        // A peer that goes on sending is not waited for.
        let _ = tokio::time::timeout(LINGER, rest).await;
        Ok::<(), std::io::Error>(())
    };
    match tokio::time::timeout(CONNECTION_TIME, work).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "a client of the side port went away"),
        Err(_) => tracing::debug!("a client of the side port took too long"),
    }
}

/// Reads up to the end of the headers; `None` if the peer closes before.
async fn read_head(socket: &mut (impl AsyncRead + Unpin)) -> std::io::Result<Option<Result<Request, Answer>>> {
    let mut head = Vec::with_capacity(1024);
    loop {
        let room = (HEAD_BYTES_MAX - head.len()) as u64;
        if room == 0 {
            return Ok(Some(Err(Answer::text(431, "the head of the request is too long"))));
        }
        if (&mut *socket).take(room).read_buf(&mut head).await? == 0 {
            return Ok(None);
        }
        match decode_head(&head) {
            Ok(None) => {}
            Ok(Some(request)) => return Ok(Some(Ok(request))),
            Err(refused) => return Ok(Some(Err(refused))),
        }
    }
}

/// The request that `head` is; `None` if more of it must come.
fn decode_head(head: &[u8]) -> Result<Option<Request>, Answer> {
    let mut headers = [EMPTY_HEADER; HEADERS_MAX];
    let mut request = httparse::Request::new(&mut headers);
    match request.parse(head) {
        Ok(Status::Complete(_)) => {}
        Ok(Status::Partial) => return Ok(None),
        Err(httparse::Error::TooManyHeaders) => return Err(Answer::text(431, "too many headers")),
        Err(error) => return Err(Answer::text(400, &error.to_string())),
    }
    let head_only = match request.method {
        Some("GET") => false,
        Some("HEAD") => true,
        _ => return Err(Answer::text(405, "only GET and HEAD are answered")),
    };
    let target = request.path.unwrap_or("/");
    let path = target.split_once('?').map_or(target, |(path, _)| path).to_owned();
    Ok(Some(Request { path, head_only }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(path: &str, head_only: bool) -> Result<Option<Request>, Answer> {
        Ok(Some(Request { path: path.into(), head_only }))
    }

    #[test]
    fn heads_are_read_whatever_they_are_cut_into() {
        let head = b"GET /metrics?name=x HTTP/1.1\r\nHost: a\r\nAccept: */*\r\n\r\n";
        for cut in 0..head.len() {
            assert_eq!(decode_head(&head[..cut]), Ok(None), "{cut}");
        }
        assert_eq!(decode_head(head), request("/metrics", false));
        assert_eq!(decode_head(b"HEAD /health HTTP/1.0\r\n\r\nmore"), request("/health", true));
        let status = |head: &[u8]| decode_head(head).map_err(|refused| refused.status);
        assert_eq!(status(b"POST / HTTP/1.1\r\n\r\n"), Err(405));
        assert_eq!(status(b"GET / HTTP/9.9\r\n\r\n"), Err(400));
        assert_eq!(status(b"\x16\x03\x01\x02\x00\x01\x00"), Err(400), "TLS");
        assert_eq!(status(&[b"GET / HTTP/1.1\r\n", &b"a: b\r\n".repeat(65)[..], b"\r\n"].concat()), Err(431));
    }

    #[test]
    fn answers_say_how_long_they_are() {
        let answer = Answer::text(405, "no");
        let whole = String::from_utf8(answer.encode(false)).expect("text");
        assert!(whole.starts_with("HTTP/1.1 405 Method Not Allowed\r\n") && whole.ends_with("\r\n\r\nno\n"), "{whole}");
        assert!(whole.contains("content-length: 3\r\n") && whole.contains("allow: GET, HEAD\r\n"), "{whole}");
        let head = String::from_utf8(answer.encode(true)).expect("text");
        assert!(head.contains("content-length: 3\r\n") && head.ends_with("\r\n\r\n"), "{head}");
    }
}
