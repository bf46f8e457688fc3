//! `lodedb serve`.

use std::path::Path;
use std::time::Duration;

use lodedb::server::side::{SideOptions, SidePort};
use lodedb::server::{Server, ServerOptions};
use lodedb::{Db, Options, SqlError};
use sd_notify::NotifyState;
use tokio::signal::unix::{SignalKind, signal};
use tracing::Level;

use super::LogFormat;

/// How long running statements may take after SIGTERM.
const SHUTDOWN: Duration = Duration::from_secs(5);
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Serves until SIGTERM, SIGINT, or a write that failed.
pub(super) fn serve(
    runtime: &tokio::runtime::Runtime,
    data: &Path,
    options: Options,
    server: ServerOptions,
    side: Option<SideOptions>,
    log: LogFormat,
) -> Result<(), String> {
    // ORDER: before the database, so that whoever watches hears of the recovery.
    let side = match side {
        Some(side) => {
            let searches =
                if side.search.is_some() { "searches, /health and /metrics" } else { "/health and /metrics" };
            let port = runtime.block_on(SidePort::start(side)).map_err(|error| told(&error))?;
            let address = port.local_addr();
            log.say(Level::INFO, &format!("lodedb {VERSION} answers {searches} on http://{address}"));
            Some(port)
        }
        None => None,
    };
    // A session takes a file descriptor, and many systems give a program 1,024 unless it asks.
    if let Err(error) = rlimit::increase_nofile_limit(u64::MAX) {
        tracing::warn!(%error, "the limit of open files stays as it is");
    }
    tell_systemd(NotifyState::Status("opening the database and replaying its log"));
    let db = Db::open(data, options).map_err(|error| error.to_string())?;
    let result = runtime.block_on(async {
        let options = ServerOptions { socket: Some(db.engine().dir.join("socket")), ..server };
        let server = Server::start(db.clone(), options).await.map_err(|error| told(&error))?;
        // ORDER: before it is announced, so that whoever is told finds it ready, and may end it.
        let stop = |kind| signal(kind).map_err(|error| error.to_string());
        let (mut terminate, mut interrupt) = (stop(SignalKind::terminate())?, stop(SignalKind::interrupt())?);
        let mut hangup = stop(SignalKind::hangup())?;
        if let Some(side) = &side {
            side.opened(&server);
        }
        for address in server.local_addrs() {
            log.say(Level::INFO, &format!("lodedb {VERSION} serves {} on {address}", db.engine().dir.display()));
        }
        tell_systemd(NotifyState::Ready);
        tell_systemd(NotifyState::Status("serving"));
        let failed = async {
            loop {
                match db.engine().refusal() {
                    Some(refusal) if refusal.is_final => break refusal.reason,
                    _ => tokio::time::sleep(Duration::from_millis(100)).await,
                }
            }
        };
        let told_to_reload = async {
            while hangup.recv().await.is_some() {
                server.reload();
            }
            std::future::pending::<()>().await
        };
        let outcome = tokio::select! {
            _ = terminate.recv() => Ok(()),
            _ = interrupt.recv() => Ok(()),
            reason = failed => Err(reason),
            () = told_to_reload => Ok(()),
        };
        tell_systemd(NotifyState::Stopping);
        if let Some(side) = &side {
            side.closing();
        }
        server.shutdown(SHUTDOWN).await;
        outcome
    });
    db.close().map_err(|error| format!("closing: {error}"))?;
    result
}

/// For a service of `Type=notify`; nothing happens without systemd.
fn tell_systemd(state: NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(&[state]) {
        tracing::warn!(%error, "systemd could not be told");
    }
}

fn told(error: &SqlError) -> String {
    match error.hint() {
        Some(hint) => format!("{}; {hint}", error.message()),
        None => error.message().to_owned(),
    }
}
