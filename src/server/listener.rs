//! Listening sockets: what is accepted becomes a task of its own.

use std::fmt::Display;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use lodedb_sql::error::{Result, SqlError, SqlState};
use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpListener, TcpStream, UnixListener};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use super::ServerOptions;
use super::connection;
use super::registry::{Phase, Registry};
use super::tls::{self, Tls};
use super::watched::Watched;
use super::wire::Socket;
use crate::auth::delay::Failures;
use crate::auth::rules::Rules;
use crate::db::Db;

/// The longest path a Unix socket may have on Linux, its closing zero aside.
const SOCKET_PATH_BYTES_MAX: usize = 107;
/// How long to wait when the system has no file descriptor or memory for another connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What every task of a server shares.
pub(super) struct Shared {
    pub(super) db: Db,
    pub(super) options: ServerOptions,
    pub(super) registry: Arc<Registry>,
    /// What connections are encrypted with, if they may be.
    pub(super) tls: Option<Watched<Tls>>,
    /// Who may come from where.
    pub(super) rules: Watched<Rules>,
    /// Who failed to show who they are.
    pub(super) failures: Failures,
    starting: Arc<Semaphore>,
}

impl Shared {
    pub(super) fn new(db: Db, options: ServerOptions) -> Result<Self> {
        let unusable = |error: String| SqlError::new(SqlState::InvalidParameterValue, error);
        let tls = options.tls.clone().map(|files| {
            let paths = vec![files.certificate.clone(), files.key.clone()];
            Watched::open(paths, move || tls::load(&files.certificate, &files.key)).map_err(unusable)
        });
        let insecure = options.insecure;
        let rules = match options.hba.clone() {
            None => Watched::open(Vec::new(), move || Ok(Rules::built_in(insecure))),
            Some(path) => Watched::open(vec![path.clone()], move || {
                let at = |error: String| format!("{}: {error}", path.display());
                let text = std::fs::read_to_string(&path).map_err(|error| at(error.to_string()))?;
                Rules::parse(&text, insecure).map_err(at)
            }),
        };
        Ok(Self {
            registry: Arc::new(Registry::new(options.max_connections)),
            tls: tls.transpose()?,
            rules: rules.map_err(unusable)?,
            failures: Failures::default(),
            starting: Arc::new(Semaphore::new(options.max_starting)),
            db,
            options,
        })
    }
}

/// `58030`: the address or path cannot be listened on.
pub(super) fn cannot_listen(place: impl Display, error: io::Error) -> SqlError {
    SqlError::new(SqlState::IoError, format!("could not listen on {place}: {error}"))
}

/// Listens on an address.
pub(super) async fn open_tcp(address: SocketAddr) -> Result<TcpListener> {
    TcpListener::bind(address).await.map_err(|error| cannot_listen(address, error))
}

/// Listens on a path, for the owner of the process alone; `None` if the path is too long for a socket.
///
/// A socket file left by a dead process is removed: whoever starts a server on a directory owns its lock.
pub(super) fn open_unix(path: &Path) -> Result<Option<UnixListener>> {
    if path.as_os_str().len() > SOCKET_PATH_BYTES_MAX {
        tracing::warn!(path = %path.display(), "the path is too long for a socket; listening without it");
        return Ok(None);
    }
    let failed = |error| cannot_listen(path.display(), error);
    match std::fs::symlink_metadata(path) {
        Ok(metadata) if metadata.file_type().is_socket() => std::fs::remove_file(path).map_err(failed)?,
        _ => {}
    }
    let listener = UnixListener::bind(path).map_err(failed)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).map_err(failed)?;
    Ok(Some(listener))
}

/// Accepts TCP connections until the server drains.
pub(super) async fn accept_tcp(shared: Arc<Shared>, listener: TcpListener) {
    let mut phase = shared.registry.watch();
    while let Some(slot) = starting_slot(&shared, &mut phase).await {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = phase.wait_for(|&phase| phase > Phase::Serving) => return,
        };
        match accepted {
            Ok((stream, client)) => {
                set_options(&stream);
                begin(&shared, Box::new(stream), Some(client), slot);
            }
            Err(error) => pause(error).await,
        }
    }
}

/// Accepts connections to the Unix socket until the server drains.
pub(super) async fn accept_unix(shared: Arc<Shared>, listener: UnixListener) {
    let mut phase = shared.registry.watch();
    while let Some(slot) = starting_slot(&shared, &mut phase).await {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = phase.wait_for(|&phase| phase > Phase::Serving) => return,
        };
        match accepted {
            Ok((stream, _)) => begin(&shared, Box::new(stream), None, slot),
            Err(error) => pause(error).await,
        }
    }
}

/// A place among the connections in their start-up; `None` when the server drains.
async fn starting_slot(shared: &Arc<Shared>, phase: &mut watch::Receiver<Phase>) -> Option<OwnedSemaphorePermit> {
    tokio::select! {
        slot = shared.starting.clone().acquire_owned() => slot.ok(),
        _ = phase.wait_for(|&phase| phase > Phase::Serving) => None,
    }
}

fn begin(shared: &Arc<Shared>, socket: Box<dyn Socket>, client: Option<SocketAddr>, slot: OwnedSemaphorePermit) {
    // Taken before the task starts: a drain that comes between would miss it.
    let phase = shared.registry.watch();
    tokio::spawn(connection::serve(shared.clone(), socket, client, slot, phase));
}

/// Small answers leave at once; a peer that vanished is noticed in a minute and a half.
fn set_options(stream: &TcpStream) {
    let keepalive =
        TcpKeepalive::new().with_time(Duration::from_secs(60)).with_interval(Duration::from_secs(10)).with_retries(3);
    let set = stream.set_nodelay(true).and_then(|()| SockRef::from(stream).set_tcp_keepalive(&keepalive));
    if let Err(error) = set {
        tracing::debug!(%error, "the socket takes no options");
    }
}

async fn pause(error: io::Error) {
    tracing::warn!(%error, "could not accept a connection");
    tokio::time::sleep(ACCEPT_PAUSE).await;
}
