//! One connection: its task, the loop over its messages, and what is common to its protocols.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use lodedb_sql::error::{SqlError, SqlState};
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::time::Instant;

use super::extended::Portal;
use super::frontend::decode_empty;
use super::listener::Shared;
use super::registry::{Phase, Seat};
use super::startup::{self, Started};
use super::wire::{Frame, Socket, Stop, Wire, shutting_down};
use super::{backend, rows};
use crate::db::{Prepared, Session, TransactionStatus};
use crate::query::CancelToken;

/// A session and its client.
pub(super) struct Connection<'w> {
    pub(super) wire: &'w mut Wire,
    pub(super) session: Session,
    pub(super) cancel: CancelToken,
    /// What Parse last made of a text without a name; the inner `None` is an empty text. The named statements are
    /// the session's, so that EXECUTE and DEALLOCATE know them.
    pub(super) unnamed: Option<Option<Prepared>>,
    /// The names of statements whose text is empty.
    pub(super) empty: HashSet<String>,
    pub(super) portals: HashMap<String, Portal>,
    /// After an error in the extended protocol, until the client's Sync.
    skipping: bool,
    /// Whether the client was told that the next message may come, and has sent none since.
    at_rest: bool,
    /// Gives the place among `max_connections` back when the connection ends.
    _seat: Seat,
}

/// Serves a connection from its first byte to its end.
pub(super) async fn serve(
    shared: Arc<Shared>,
    socket: Box<dyn Socket>,
    client: Option<SocketAddr>,
    slot: OwnedSemaphorePermit,
    phase: watch::Receiver<Phase>,
) {
    let mut killed = phase.clone();
    let stall = match shared.options.write_stall_ms_max {
        0 => None,
        ms => Some(Duration::from_millis(ms)),
    };
    let mut wire = Wire::new(socket, phase, shared.options.max_message_bytes, stall);
    let serving = async {
        let stop = match begin(&mut wire, &shared, client).await {
            Ok(None) => Stop::Gone,
            Ok(Some(started)) => {
                drop(slot);
                contained(Connection::new(&mut wire, started).run()).await
            }
            Err(stop) => stop,
        };
        if let Stop::Fatal(error) | Stop::Statement(error) = stop {
            backend::error(&mut wire.out, "FATAL", &error);
            wire.close().await;
        }
    };
    tokio::select! {
        () = serving => {}
        _ = killed.wait_for(|&phase| phase == Phase::Killing) => {}
    }
}

/// The start-up, within its time.
async fn begin(wire: &mut Wire, shared: &Arc<Shared>, client: Option<SocketAddr>) -> Result<Option<Started>, Stop> {
    let limit = Duration::from_millis(shared.options.startup_ms_max);
    let started = AssertUnwindSafe(startup::start(wire, shared, client)).catch_unwind();
    match tokio::time::timeout(limit, started).await {
        Ok(Ok(started)) => started,
        Ok(Err(_)) => Err(Stop::Fatal(panicked())),
        Err(_) => {
            let message = "canceling authentication due to timeout";
            Err(Stop::Fatal(SqlError::new(SqlState::QueryCanceled, message)))
        }
    }
}

/// Runs a session so that a panic in it ends nothing else.
pub(super) async fn contained(session: impl Future<Output = Stop>) -> Stop {
    AssertUnwindSafe(session).catch_unwind().await.unwrap_or_else(|_| Stop::Fatal(panicked()))
}

fn panicked() -> SqlError {
    // The panic's own words are in the server's log, by its hook.
    SqlError::internal("internal error: the session has been ended")
}

impl<'w> Connection<'w> {
    fn new(wire: &'w mut Wire, started: Started) -> Self {
        Self {
            wire,
            session: started.session,
            cancel: started.cancel,
            unnamed: None,
            empty: HashSet::new(),
            portals: HashMap::new(),
            skipping: false,
            at_rest: true,
            _seat: started.seat,
        }
    }

    async fn run(mut self) -> Stop {
        loop {
            if let Err(stop) = self.step().await {
                return stop;
            }
        }
    }

    /// Waits for the client's next message, and tells it meanwhile what others send.
    async fn rest(&mut self) -> Result<(), Stop> {
        let presence = self.session.presence().clone();
        let limit = if self.at_rest { self.session.rest_limit() } else { None };
        let until = limit.map(|(limit, error)| (Instant::now() + limit, error));
        loop {
            if presence.is_ended() {
                return Err(Stop::Fatal(shutting_down()));
            }
            if self.wire.has_input() {
                self.at_rest = false;
                return Ok(());
            }
            let too_long = async {
                match &until {
                    Some((until, error)) => {
                        tokio::time::sleep_until(*until).await;
                        error.clone()
                    }
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                begun = self.wire.begun() => begun?,
                () = presence.called() => if self.at_rest && self.tell() {
                    self.wire.flush().await?;
                },
                error = too_long => return Err(Stop::Fatal(error)),
            }
        }
    }

    /// Tells the client what others have sent; whether there was anything.
    fn tell(&mut self) -> bool {
        let sent = self.session.take_notifications();
        sent.iter().for_each(|notification| backend::notification(&mut self.wire.out, notification));
        !sent.is_empty()
    }

    /// Answers one message.
    async fn step(&mut self) -> Result<(), Stop> {
        // A client that asks for nothing more before it has seen the error must see it.
        if self.skipping && !self.wire.has_next() {
            self.wire.flush().await?;
        }
        self.rest().await?;
        let (tag, answered) = match self.wire.next().await? {
            Frame::Message(b'X', _) => return Err(Stop::Gone),
            Frame::Message(b'S', body) => {
                self.skipping = false;
                (b'S', self.sync(&body).await)
            }
            _ if self.skipping => return Ok(()),
            // What a client still sends of a COPY that has failed.
            Frame::Message(b'd' | b'c' | b'f', _) | Frame::TooLong(b'd', _) => return Ok(()),
            Frame::TooLong(tag, length) => {
                let message = format!("a message of {length} bytes is too long");
                (tag, Err(SqlError::new(SqlState::ProgramLimitExceeded, message).into()))
            }
            Frame::Message(tag, body) => {
                let answered = match tag {
                    b'Q' => self.query(&body).await,
                    b'P' => self.parse(&body).await,
                    b'B' => self.bind(&body),
                    b'D' => self.describe(&body),
                    b'E' => self.execute(&body).await,
                    b'C' => self.close(&body),
                    b'H' => match decode_empty(&body) {
                        Ok(()) => self.wire.flush().await,
                        Err(error) => Err(error.into()),
                    },
                    b'F' => Err(SqlError::unsupported("the function call message").into()),
                    _ => Err(Stop::Fatal(super::wire::violation(format!("invalid frontend message type {tag}")))),
                };
                (tag, answered)
            }
        };
        match answered {
            Err(Stop::Statement(_)) if self.session.presence().is_ended() => return Err(Stop::Fatal(shutting_down())),
            Err(Stop::Statement(error)) => self.fail(&error),
            Err(stop) => return Err(stop),
            Ok(()) => {}
        }
        if matches!(tag, b'Q' | b'F' | b'S') {
            self.skipping = false;
            self.ready().await?;
        } else {
            self.wire.flush_if_full().await?;
        }
        // The client has its answer, or waits for more of them.
        self.session.log_slow().await;
        Ok(())
    }

    /// Reports an error and ends what it ends.
    fn fail(&mut self, error: &SqlError) {
        self.skipping = true;
        self.session.statement_failed();
        self.session.abort_implicit();
        self.forget_portals();
        rows::notices(&mut self.session, &mut self.wire.out);
        backend::error(&mut self.wire.out, "ERROR", error);
    }

    /// Portals live as long as their transaction.
    pub(super) fn forget_portals(&mut self) {
        if self.session.status() == TransactionStatus::Idle {
            self.portals.clear();
        }
    }

    /// Says what has changed and that the next message may come.
    async fn ready(&mut self) -> Result<(), Stop> {
        for (name, value) in self.session.take_parameter_changes() {
            backend::parameter_status(&mut self.wire.out, name, value);
        }
        rows::notices(&mut self.session, &mut self.wire.out);
        self.tell();
        backend::ready_for_query(&mut self.wire.out, self.session.status());
        self.at_rest = true;
        self.wire.flush().await
    }

    /// What a statement's tag means for the session's statements and portals.
    pub(super) fn note_tag(&mut self, tag: &str) {
        if matches!(tag, "DEALLOCATE ALL" | "DISCARD ALL") {
            self.empty.clear();
        }
        if matches!(tag, "DISCARD ALL" | "CLOSE CURSOR ALL") {
            self.portals.clear();
        }
    }
}
