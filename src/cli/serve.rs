//! `lodedb serve`.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use lodedb::server::{Server, ServerOptions};
use lodedb::{Db, Options};
use tokio::signal::unix::{SignalKind, signal};

/// How long running statements may take after SIGTERM.
const SHUTDOWN: Duration = Duration::from_secs(5);

/// Serves until SIGTERM, SIGINT, or a write that failed.
pub(super) fn serve(
    runtime: &tokio::runtime::Runtime,
    data: &Path,
    listen: Vec<SocketAddr>,
    max_connections: usize,
    options: Options,
) -> Result<(), String> {
    let db = Db::open(data, options).map_err(|error| error.to_string())?;
    let result = runtime.block_on(async {
        let options = ServerOptions {
            listen,
            max_connections,
            socket: Some(db.engine().dir.join("socket")),
            ..ServerOptions::default()
        };
        let server = Server::start(db.clone(), options).await.map_err(|error| error.message().to_owned())?;
        for address in server.local_addrs() {
            eprintln!("lodedb {} serves {} on {address}", env!("CARGO_PKG_VERSION"), db.engine().dir.display());
        }
        let stop = |kind| signal(kind).map_err(|error| error.to_string());
        let (mut terminate, mut interrupt) = (stop(SignalKind::terminate())?, stop(SignalKind::interrupt())?);
        let failed = async {
            while !db.has_failed() {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        let outcome = tokio::select! {
            _ = terminate.recv() => Ok(()),
            _ = interrupt.recv() => Ok(()),
            () = failed => Err("a write failed; restart to come back with every commit that reached the disk".to_owned()),
        };
        server.shutdown(SHUTDOWN).await;
        outcome
    });
    db.close().map_err(|error| format!("closing: {error}"))?;
    result
}
