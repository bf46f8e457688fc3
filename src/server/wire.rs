//! A socket, the bytes that came over it and the bytes to go: frames in, buffers out, both bounded.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use lodedb_sql::error::{SqlError, SqlState};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;

use super::registry::Phase;
use crate::query::CancelToken;

/// The longest message the protocol's own peers send.
pub(super) const MESSAGE_BYTES_MAX: usize = 0x3fff_ffff;
/// The longest packet before there is a session.
pub(super) const STARTUP_BYTES_MAX: usize = 10_000;
/// The longest message of a client that shows who it is, as in PostgreSQL.
pub(super) const PROOF_BYTES_MAX: usize = 1024;
/// Output is written to the socket when it has grown to this.
pub(super) const FLUSH_BYTES: usize = 64 << 10;
/// What is reserved for a read while no long message is on its way, and while one is.
const READ_BYTES: usize = 16 << 10;
const LONG_READ_BYTES: usize = 256 << 10;
/// Buffers that one long message has made larger than this are given back after it.
const KEPT_BYTES: usize = 1 << 20;
/// How far to read ahead while a statement runs.
const AHEAD_BYTES_MAX: usize = 256 << 10;
/// A statement that runs longer than this is watched: its client may be gone.
const WATCH_AFTER: Duration = Duration::from_millis(250);
/// How long a closing connection goes on reading, so that its last words are not lost to a reset.
const LINGER: Duration = Duration::from_secs(1);

/// What a connection runs over.
pub(super) trait Socket: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Socket for S {}

/// Why something on a connection stopped.
#[derive(Debug)]
pub(super) enum Stop {
    /// The statement failed; the session goes on.
    Statement(SqlError),
    /// The session ends, and the client is told why.
    Fatal(SqlError),
    /// The client has gone.
    Gone,
}

impl From<SqlError> for Stop {
    fn from(error: SqlError) -> Self {
        Self::Statement(error)
    }
}

impl From<io::Error> for Stop {
    fn from(_: io::Error) -> Self {
        Self::Gone
    }
}

/// One message as it came.
#[derive(Debug, PartialEq)]
pub(super) enum Frame {
    /// Its type and its body.
    Message(u8, Bytes),
    /// It was longer than allowed and has been passed over without being kept: its type and its length.
    TooLong(u8, usize),
}

/// The two directions of a connection.
pub(super) struct Wire {
    socket: Box<dyn Socket>,
    input: BytesMut,
    /// Bytes to be written at the next flush.
    pub(super) out: Vec<u8>,
    phase: watch::Receiver<Phase>,
    message_bytes_max: usize,
    write_stall_max: Option<Duration>,
}

/// `08P01`: the client broke the protocol.
pub(super) fn violation(message: impl Into<String>) -> SqlError {
    SqlError::new(SqlState::ProtocolViolation, message)
}

/// What a session's connection is encrypted with, for those who ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Encryption {
    pub(super) version: String,
    pub(super) cipher: String,
    pub(super) bits: i32,
}

/// `57P01`: the server ends.
pub(super) fn shutting_down() -> SqlError {
    SqlError::new(SqlState::AdminShutdown, "terminating connection due to administrator command")
}

/// The type and the body's length of the message that begins `input`, if that much is there.
///
/// The type is looked at first: one that no client sends is refused before anything is waited for.
pub(super) fn decode_header(input: &[u8]) -> Result<Option<(u8, usize)>, SqlError> {
    let Some(&tag) = input.first() else { return Ok(None) };
    if !b"QPBDECHSFXdcfp".contains(&tag) {
        return Err(violation(format!("invalid frontend message type {tag}")));
    }
    let Some(length) = input.get(1..5) else { return Ok(None) };
    let length = length.iter().fold(0usize, |length, &byte| length << 8 | usize::from(byte));
    if !(4..=MESSAGE_BYTES_MAX).contains(&length) {
        return Err(violation("invalid message length"));
    }
    Ok(Some((tag, length - 4)))
}

impl Wire {
    pub(super) fn new(
        socket: Box<dyn Socket>,
        phase: watch::Receiver<Phase>,
        message_bytes_max: usize,
        write_stall_max: Option<Duration>,
    ) -> Self {
        Self {
            socket,
            input: BytesMut::with_capacity(READ_BYTES),
            out: Vec::with_capacity(4096),
            phase,
            message_bytes_max,
            write_stall_max,
        }
    }

    /// Whether the next message has begun to come.
    pub(super) fn has_input(&self) -> bool {
        !self.input.is_empty()
    }

    /// Comes back when the next message has begun to come. It can be dropped before that, and nothing is lost.
    pub(super) async fn begun(&mut self) -> Result<(), Stop> {
        while self.input.is_empty() {
            self.fill(READ_BYTES).await?;
        }
        Ok(())
    }

    /// The next message of a session.
    pub(super) async fn next(&mut self) -> Result<Frame, Stop> {
        loop {
            let Some((tag, length)) = decode_header(&self.input).map_err(Stop::Fatal)? else {
                self.fill(READ_BYTES).await?;
                continue;
            };
            if length > self.message_bytes_max {
                self.input.advance(5);
                self.skip(length).await?;
                return Ok(Frame::TooLong(tag, length));
            }
            let missing = (length + 5).saturating_sub(self.input.len());
            if missing > 0 {
                self.fill(missing.clamp(READ_BYTES, LONG_READ_BYTES)).await?;
                continue;
            }
            self.input.advance(5);
            let body = self.input.split_to(length).freeze();
            if self.input.is_empty() && length > KEPT_BYTES {
                self.input = BytesMut::with_capacity(READ_BYTES);
            }
            return Ok(Frame::Message(tag, body));
        }
    }

    /// The next packet before there is a session: its code and what follows the code.
    pub(super) async fn next_startup(&mut self) -> Result<(u32, Bytes), Stop> {
        // Judged as soon as it is there: a client that speaks out of turn may say less than a whole packet, and then wait.
        while self.input.len() < 4 {
            self.fill(READ_BYTES).await?;
        }
        let length = self.input.get_u32() as usize;
        if !(8..=STARTUP_BYTES_MAX).contains(&length) {
            return Err(Stop::Fatal(violation("invalid length of startup packet")));
        }
        while self.input.len() < length - 4 {
            self.fill(READ_BYTES).await?;
        }
        let mut body = self.input.split_to(length - 4).freeze();
        Ok((body.get_u32(), body))
    }

    /// The next message of a client that shows who it is: its body. Any other message ends the connection.
    pub(super) async fn next_proof(&mut self) -> Result<Bytes, Stop> {
        while self.input.len() < 5 {
            if let Some(&tag) = self.input.first()
                && tag != b'p'
            {
                let message = format!("expected SASL response, got message type {tag}");
                return Err(Stop::Fatal(violation(message)));
            }
            self.fill(READ_BYTES).await?;
        }
        if self.input[0] != b'p' {
            let message = format!("expected SASL response, got message type {}", self.input[0]);
            return Err(Stop::Fatal(violation(message)));
        }
        self.input.advance(1);
        let length = self.input.get_u32() as usize;
        if !(4..=PROOF_BYTES_MAX + 4).contains(&length) {
            return Err(Stop::Fatal(violation("invalid message length")));
        }
        while self.input.len() < length - 4 {
            self.fill(READ_BYTES).await?;
        }
        Ok(self.input.split_to(length - 4).freeze())
    }

    /// Encrypts the connection from here on. Nothing may have come before that: it could be anybody's, and would be taken for
    /// the client's.
    pub(super) async fn encrypt(&mut self, config: Arc<ServerConfig>) -> Result<Encryption, Stop> {
        if self.has_input() {
            return Err(Stop::Fatal(violation("received unencrypted data after SSL request").with_detail(
                "This could be either a client-software bug or evidence of an attempted man-in-the-middle attack.",
            )));
        }
        let socket = std::mem::replace(&mut self.socket, Box::new(tokio::io::empty()));
        let shaking = TlsAcceptor::from(config).accept(socket);
        let stream = tokio::select! {
            biased;
            stream = shaking => stream.map_err(|error| {
                tracing::debug!(%error, "no encryption came about");
                Stop::Gone
            })?,
            _ = self.phase.wait_for(|&phase| phase > Phase::Serving) => return Err(Stop::Gone),
        };
        let (_, session) = stream.get_ref();
        let suite = session.negotiated_cipher_suite().map(|suite| format!("{:?}", suite.suite())).unwrap_or_default();
        let encryption = Encryption {
            version: session
                .protocol_version()
                .map(|version| format!("{version:?}").replace('_', "."))
                .unwrap_or_default(),
            bits: if suite.contains("AES_128") { 128 } else { 256 },
            cipher: suite,
        };
        self.socket = Box::new(stream);
        Ok(encryption)
    }

    /// Whether the next message is here already, whole.
    pub(super) fn has_next(&self) -> bool {
        matches!(decode_header(&self.input), Ok(Some((_, length))) if self.input.len() >= length + 5)
    }

    /// Reads some bytes, or learns that the client or the server ends.
    async fn fill(&mut self, reserve: usize) -> Result<(), Stop> {
        if *self.phase.borrow() > Phase::Serving {
            return Err(Stop::Fatal(shutting_down()));
        }
        if self.input.capacity() - self.input.len() < reserve {
            self.input.reserve(reserve);
        }
        tokio::select! {
            biased;
            read = self.socket.read_buf(&mut self.input) => match read? {
                0 => Err(Stop::Gone),
                _ => Ok(()),
            },
            _ = self.phase.wait_for(|&phase| phase > Phase::Serving) => Err(Stop::Fatal(shutting_down())),
        }
    }

    /// Reads `length` bytes and keeps none of them.
    async fn skip(&mut self, mut length: usize) -> Result<(), Stop> {
        loop {
            let here = length.min(self.input.len());
            self.input.advance(here);
            length -= here;
            if length == 0 {
                return Ok(());
            }
            self.fill(LONG_READ_BYTES.min(length).max(READ_BYTES)).await?;
        }
    }

    /// Writes what is waiting to go.
    pub(super) async fn flush(&mut self) -> Result<(), Stop> {
        if self.out.is_empty() {
            return Ok(());
        }
        let mut written = 0;
        while written < self.out.len() {
            let write = self.socket.write(&self.out[written..]);
            let count = match self.write_stall_max {
                Some(stall) => tokio::time::timeout(stall, write).await.map_err(|_| Stop::Gone)??,
                None => write.await?,
            };
            if count == 0 {
                return Err(Stop::Gone);
            }
            written += count;
        }
        // What is encrypted may not have left yet.
        match self.write_stall_max {
            Some(stall) => tokio::time::timeout(stall, self.socket.flush()).await.map_err(|_| Stop::Gone)??,
            None => self.socket.flush().await?,
        }
        self.out.clear();
        if self.out.capacity() > KEPT_BYTES {
            self.out = Vec::with_capacity(FLUSH_BYTES);
        }
        Ok(())
    }

    /// Writes what is waiting to go if there is enough of it.
    pub(super) async fn flush_if_full(&mut self) -> Result<(), Stop> {
        if self.out.len() >= FLUSH_BYTES { self.flush().await } else { Ok(()) }
    }

    /// Runs `future`; if it takes its time and the client goes away meanwhile, cancels it.
    pub(super) async fn watching<F: Future>(&mut self, cancel: &CancelToken, future: F) -> F::Output {
        let mut future = std::pin::pin!(future);
        tokio::select! {
            biased;
            output = &mut future => return output,
            () = self.client_gone() => {}
        }
        cancel.cancel();
        future.await
    }

    /// Returns when the client has closed its side; what it sends until then is kept, as far as there is room.
    async fn client_gone(&mut self) {
        tokio::time::sleep(WATCH_AFTER).await;
        while self.input.len() < AHEAD_BYTES_MAX {
            self.input.reserve(READ_BYTES);
            match self.socket.read_buf(&mut self.input).await {
                Ok(0) | Err(_) => return,
                Ok(_) => {}
            }
        }
        std::future::pending().await
    }

    /// Writes what is left and closes; reads on for a moment, so that the peer gets to see it.
    pub(super) async fn close(&mut self) {
        let close = async {
            self.flush().await?;
            self.socket.shutdown().await?;
            loop {
                self.input.clear();
                self.input.reserve(READ_BYTES);
                if self.socket.read_buf(&mut self.input).await? == 0 {
                    return Ok::<(), Stop>(());
                }
            }
        };
        let _ = tokio::time::timeout(LINGER, close).await;
    }
}
