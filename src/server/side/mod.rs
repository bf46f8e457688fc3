//! The side port: how the server is, told over HTTP to whoever watches it; and searching, if that is asked for.
//!
//! [`SidePort::start`] is called by the `lodedb` program before the database is opened, so that `/health` can say that the
//! log is being replayed; [`SidePort::opened`] tells it of the database and the server.
//!
//! - [`http`]: a request and its answer. [`health`]: `/health`. [`metrics`]: `/metrics`. [`search`]: the page and what it asks.
//!
//! What always holds here: a connection has one request, at most 8 KiB of it before its body, and 10 seconds for it; there are at most 32 of
//! them; and nothing that `/health` and `/metrics` ask for waits for a lock that a statement holds for long.

mod health;
mod http;
mod metrics;
mod search;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use lodedb_sql::error::{Result, SqlError, SqlState};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

use super::listener::Shared;
use super::{Server, listener};
use http::{Answer, Connection, Request};
pub use search::SearchOptions;
use search::Turns;

/// Connections at once; more wait in the system's queue.
const CONNECTIONS_MAX: usize = 32;
/// How long to wait when the system has no file descriptor or memory for another connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Where the side port listens, and what it answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SideOptions {
    /// The address; port 0 lets the system choose.
    pub address: SocketAddr,
    /// Allow an address that other machines can reach, although everybody is answered.
    pub any_address: bool,
    /// Answer searches too, for those that the rules for clients let in.
    pub search: Option<SearchOptions>,
}

/// How far the server is.
pub(super) enum Stage {
    /// The database is being opened.
    Recovering,
    /// The database is open and the server accepts.
    Open {
        /// The database, the sessions and the rules.
        shared: Arc<Shared>,
    },
    /// The server ends.
    Closing,
}

/// The port, open. Dropping it closes it.
pub struct SidePort {
    stage: Arc<ArcSwap<Stage>>,
    address: SocketAddr,
    accepting: JoinHandle<()>,
}

impl SidePort {
    /// Listens, and answers that the database is being opened.
    ///
    /// # Errors
    /// `22023` for an address that other machines can reach, `58030` for one that cannot be listened on.
    pub async fn start(options: SideOptions) -> Result<Self> {
        let SideOptions { address, any_address, search } = options;
        if !any_address && !address.ip().is_loopback() {
            let message = format!("HTTP address {address} can be reached by other machines and everybody is answered");
            return Err(
                SqlError::new(SqlState::InvalidParameterValue, message).with_hint("--http-any-address allows it.")
            );
        }
        let listener = listener::open_tcp(address).await?;
        let address = listener.local_addr().map_err(|error| listener::cannot_listen(address, error))?;
        let stage = Arc::new(ArcSwap::from_pointee(Stage::Recovering));
        let accepting = tokio::spawn(accept(listener, stage.clone(), search));
        Ok(Self { stage, address, accepting })
    }

    /// The address listened on.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// The database is open and the server accepts.
    pub fn opened(&self, server: &Server) {
        self.stage.store(Arc::new(Stage::Open { shared: server.shared.clone() }));
    }

    /// The server ends.
    pub fn closing(&self) {
        self.stage.store(Arc::new(Stage::Closing));
    }
}

impl Drop for SidePort {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// What every connection shares.
struct Side {
    started: Instant,
    search: Option<SearchOptions>,
    turns: Turns,
}

async fn accept(listener: TcpListener, stage: Arc<ArcSwap<Stage>>, search: Option<SearchOptions>) {
    let side = Arc::new(Side { started: Instant::now(), search, turns: Turns::default() });
    let slots = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    while let Ok(slot) = slots.clone().acquire_owned().await {
        match listener.accept().await {
            Ok((socket, client)) => {
                let (side, stage) = (side.clone(), stage.clone());
                tokio::spawn(async move {
                    serve(&side, socket, client, &stage).await;
                    drop(slot);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "the side port could not accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Answers the one request of a connection and closes it.
async fn serve(side: &Side, socket: TcpStream, client: SocketAddr, stage: &ArcSwap<Stage>) {
    let mut connection = Connection::new(socket);
    let (answer, head_only) = match connection.request().await {
        None => return,
        Some(Err(refused)) => (refused.into(), false),
        Some(Ok(request)) => match answer(side, &request, &mut connection, client, stage.load_full()).await {
            None => return,
            Some(answer) => (answer, request.is_head()),
        },
    };
    connection.send(&answer, head_only).await;
}

/// The answer to a request; `None` if its client went away.
async fn answer(
    side: &Side,
    request: &Request,
    connection: &mut Connection<TcpStream>,
    client: SocketAddr,
    stage: Arc<Stage>,
) -> Option<Answer> {
    let uptime = side.started.elapsed();
    let is_read = matches!(request.method.as_str(), "GET" | "HEAD");
    match (request.path.as_str(), &side.search) {
        ("/health" | "/metrics", _) if !is_read => {
            Some(Answer::text(405, "only GET and HEAD are answered").with("allow", "GET, HEAD"))
        }
        ("/health", _) => Some(health::answer(&stage, uptime)),
        // It asks RocksDB, which may take a moment.
        ("/metrics", _) => Some(match tokio::task::spawn_blocking(move || metrics::answer(&stage, uptime)).await {
            Ok(answer) => answer,
            Err(error) => Answer::text(500, &error.to_string()),
        }),
        (path, Some(options)) if search::has(path) => {
            search::answer(request, connection, client, &stage, options, &side.turns).await
        }
        (path, None) if search::has(path) => {
            Some(Answer::text(404, "there are /health and /metrics; --search-page answers searches"))
        }
        _ => Some(Answer::text(404, "there are /health and /metrics")),
    }
}
