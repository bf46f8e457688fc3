//! What can be set about the server.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use lodedb_sql::error::{Result, SqlError, SqlState};

/// How the server listens and what it bears. Plain data; [`ServerOptions::validate`] checks it.
#[derive(Clone, Debug)]
pub struct ServerOptions {
    /// Addresses to listen on; port 0 lets the system choose.
    pub listen: Vec<SocketAddr>,
    /// Where to listen on a Unix socket, if anywhere.
    pub socket: Option<PathBuf>,
    /// The name of the database, beside `postgres` and the user's own name the only one a client may ask for.
    pub database: String,
    /// Sessions at once; the next one is told `53300`.
    pub max_connections: usize,
    /// Connections at once that have not finished their start-up; more wait in the system's queue.
    pub max_starting: usize,
    /// The longest message a session accepts.
    pub max_message_bytes: usize,
    /// How long a connection may take from its first byte to its session.
    pub startup_ms_max: u64,
    /// How long a client may take no byte of what it asked for; 0 for ever.
    pub write_stall_ms_max: u64,
    /// The certificate and the key that connections are encrypted with, if they are.
    pub tls: Option<TlsFiles>,
    /// The file of rules that say who may come from where; those of [`Rules::built_in`](crate::auth::rules::Rules::built_in)
    /// without one.
    pub hba: Option<PathBuf>,
    /// Let other machines' clients in without encryption, and without passwords where a rule says so.
    pub insecure: bool,
}

/// Where a certificate and its key are; they are read again when they change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificate, followed by those that lead up to one that clients know: PEM.
    pub certificate: PathBuf,
    /// Its private key, which only its owner may read: PEM.
    pub key: PathBuf,
}

impl Default for ServerOptions {
    fn default() -> Self {
        Self {
            listen: vec![SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 5432)],
            socket: None,
            database: "lodedb".to_owned(),
            max_connections: 100,
            max_starting: 128,
            max_message_bytes: 64 << 20,
            startup_ms_max: 10_000,
            write_stall_ms_max: 300_000,
            tls: None,
            hba: None,
            insecure: false,
        }
    }
}

impl ServerOptions {
    /// Reports every setting that cannot stand, in one error.
    pub fn validate(&self) -> Result<()> {
        let mut wrong = Vec::new();
        if self.database.is_empty() {
            wrong.push("database must have a name".to_owned());
        }
        if self.max_connections == 0 {
            wrong.push("max_connections must be at least 1".to_owned());
        }
        if self.max_starting == 0 {
            wrong.push("max_starting must be at least 1".to_owned());
        }
        if !(8192..=super::wire::MESSAGE_BYTES_MAX).contains(&self.max_message_bytes) {
            wrong.push(format!(
                "max_message_bytes must be between 8192 and {}, not {}",
                super::wire::MESSAGE_BYTES_MAX,
                self.max_message_bytes
            ));
        }
        if self.startup_ms_max == 0 {
            wrong.push("startup_ms_max must be at least 1".to_owned());
        }
        if self.tls.is_none() && !self.insecure {
            for address in self.listen.iter().filter(|address| !address.ip().to_canonical().is_loopback()) {
                wrong.push(format!(
                    "listen address {address} can be reached by other machines, and connections are not encrypted; \
                     give --tls-cert and --tls-key, or --insecure to allow it"
                ));
            }
        }
        if wrong.is_empty() {
            return Ok(());
        }
        Err(SqlError::new(SqlState::InvalidParameterValue, wrong.join("; ")))
    }
}
