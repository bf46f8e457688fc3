//! The server: PostgreSQL's wire protocol, version 3.0, over TCP and a Unix socket.
//!
//! [`Server::start`] is called by the `lodedb` program with an open [`Db`]; each connection becomes one
//! task that owns one [`Session`](crate::db::Session) and talks to the engine through nothing else.
//!
//! - [`options`]: what can be set. [`listener`]: sockets, and how many connections there may be.
//! - [`registry`]: the living sessions, their cancel keys, and how they are told to end.
//! - [`wire`]: bytes to frames and back, bounded. [`frontend`]: frames to messages; [`backend`]: messages to bytes.
//! - [`startup`]: from the first byte to a session; in it [`login`], where a client shows who it is, and [`tls`], by which its
//!   connection is encrypted. [`watched`]: files that are read again when they change. [`connection`]: the loop of a session; [`simple`], [`extended`]
//!   and [`copy`]: its three protocols. [`rows`]: a result on its way out; [`encode`]: Arrow columns to PostgreSQL's forms.
//! - [`side`]: another port, which tells over HTTP how the server is, and searches.
//!
//! What always holds here:
//!
//! 1. No byte of a client is believed: every count and length is checked against what has arrived, memory is reserved
//!    only as bytes arrive, and nothing a client sends ends more than its own connection.
//! 2. A command tag that ends an implicit transaction is sent after the commit it reports.
//! 3. Nothing is spawned for a statement: it runs on its connection's task, and a pipelined group up to its Sync is
//!    answered with one write if it fits 64 KiB.
//! 4. A socket that does not take its bytes stops the statement that makes them; nothing queues behind it.
//! 5. A panic or a lost client ends one session, and its statement with it.
#![forbid(unsafe_code)]

mod backend;
mod connection;
mod copy;
mod encode;
mod extended;
mod frontend;
mod listener;
mod login;
mod options;
mod registry;
mod rows;
pub mod side;
mod simple;
mod startup;
mod tls;
mod watched;
mod wire;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use lodedb_sql::error::Result;

pub use options::{ServerOptions, TlsFiles};

use crate::db::Db;
use listener::Shared;

/// How long a statement cancelled by a shutdown has to notice, and after it a session that did not.
const CANCEL_GRACE: Duration = Duration::from_secs(1);

/// A running server. Dropping it leaves the connections running; [`Server::shutdown`] ends them.
pub struct Server {
    shared: Arc<Shared>,
    addresses: Vec<SocketAddr>,
    socket: Option<PathBuf>,
}

impl Server {
    /// Opens the listening sockets and starts to accept; returns when connections are possible.
    pub async fn start(db: Db, options: ServerOptions) -> Result<Self> {
        options.validate()?;
        let listen = options.listen.clone();
        let socket = options.socket.clone();
        let shared = Arc::new(Shared::new(db, options)?);
        let mut addresses = Vec::with_capacity(listen.len());
        let mut listeners = Vec::with_capacity(listen.len());
        for address in listen {
            let listener = listener::open_tcp(address).await?;
            addresses.push(listener.local_addr().map_err(|error| listener::cannot_listen(address, error))?);
            listeners.push(listener);
        }
        let unix = match &socket {
            Some(path) => listener::open_unix(path)?,
            None => None,
        };
        for listener in listeners {
            tokio::spawn(listener::accept_tcp(shared.clone(), listener));
        }
        let socket = match unix {
            Some(listener) => {
                tokio::spawn(listener::accept_unix(shared.clone(), listener));
                socket
            }
            None => None,
        };
        Ok(Self { shared, addresses, socket })
    }

    /// The addresses listened on, with the ports the system chose for port 0.
    pub fn local_addrs(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Looks at the files of certificates and rules now, and reads again those that have changed; each new connection does.
    pub fn reload(&self) {
        self.shared.rules.current();
        if let Some(tls) = &self.shared.tls {
            tls.current();
        }
    }

    /// Stops accepting, ends idle sessions with `57P01`, and lets running statements finish until `deadline` has
    /// passed; those left are cancelled, and what does not even notice that is dropped.
    pub async fn shutdown(self, deadline: Duration) {
        let registry = &self.shared.registry;
        registry.drain();
        if tokio::time::timeout(deadline, registry.ended()).await.is_err() {
            registry.cancel_all();
            if tokio::time::timeout(CANCEL_GRACE, registry.ended()).await.is_err() {
                registry.kill();
                let _ = tokio::time::timeout(CANCEL_GRACE, registry.ended()).await;
            }
        }
        if let Some(path) = &self.socket
            && let Err(error) = std::fs::remove_file(path)
        {
            tracing::debug!(path = %path.display(), %error, "the socket file was gone already");
        }
    }
}
