//! The side port: how the server is, told over HTTP to whoever watches it.
//!
//! [`SidePort::start`] is called by the `lodedb` program before the database is opened, so that `/health` can say that the
//! log is being replayed; [`SidePort::opened`] tells it of the database and the server.
//!
//! - [`http`]: a request and its answer. [`health`]: `/health`. [`metrics`]: `/metrics`.
//!
//! What always holds here: a connection has one request, at most 8 KiB of it, and 10 seconds; there are at most 32 of them; and
//! nothing they ask for waits for a lock that a statement holds for long.

mod health;
mod http;
mod metrics;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use lodedb_sql::error::{Result, SqlError, SqlState};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

use super::registry::Registry;
use super::{Server, listener};
use crate::db::Db;
use http::Answer;

/// Connections at once; more wait in the system's queue.
const CONNECTIONS_MAX: usize = 32;
/// How long to wait when the system has no file descriptor or memory for another connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Where the side port listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SideOptions {
    /// The address; port 0 lets the system choose.
    pub address: SocketAddr,
    /// Allow an address that other machines can reach, although everybody is answered.
    pub any_address: bool,
}

/// How far the server is.
pub(super) enum Stage {
    /// The database is being opened.
    Recovering,
    /// The database is open and the server accepts.
    Open {
        /// The database.
        db: Db,
        /// The sessions.
        registry: Arc<Registry>,
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
        let SideOptions { address, any_address } = options;
        if !any_address && !address.ip().is_loopback() {
            let message = format!("HTTP address {address} can be reached by other machines and everybody is answered");
            return Err(
                SqlError::new(SqlState::InvalidParameterValue, message).with_hint("--http-any-address allows it.")
            );
        }
        let listener = listener::open_tcp(address).await?;
        let address = listener.local_addr().map_err(|error| listener::cannot_listen(address, error))?;
        let stage = Arc::new(ArcSwap::from_pointee(Stage::Recovering));
        let accepting = tokio::spawn(accept(listener, stage.clone()));
        Ok(Self { stage, address, accepting })
    }

    /// The address listened on.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// The database is open and the server accepts.
    pub fn opened(&self, db: &Db, server: &Server) {
        let registry = server.shared.registry.clone();
        self.stage.store(Arc::new(Stage::Open { db: db.clone(), registry }));
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

async fn accept(listener: TcpListener, stage: Arc<ArcSwap<Stage>>) {
    let started = Instant::now();
    let slots = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    while let Ok(slot) = slots.clone().acquire_owned().await {
        match listener.accept().await {
            Ok((socket, _)) => {
                let stage = stage.clone();
                tokio::spawn(async move {
                    http::serve(socket, async |path| answer(&path, stage.load_full(), started.elapsed()).await).await;
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

async fn answer(path: &str, stage: Arc<Stage>, uptime: Duration) -> Answer {
    match path {
        "/health" => health::answer(&stage, uptime),
        // It asks RocksDB, which may take a moment.
        "/metrics" => match tokio::task::spawn_blocking(move || metrics::answer(&stage, uptime)).await {
            Ok(answer) => answer,
            Err(error) => Answer::text(500, &error.to_string()),
        },
        _ => Answer::text(404, "there are /health and /metrics"),
    }
}
