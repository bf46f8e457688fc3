//! Searching over HTTP, for programs and on a page: words or a picture in, rows and pictures out, by ordinary SQL.
//!
//! [`answer`] is called by the side port for the paths of [`ROUTES`], if the server was started with `--search-page`.
//!
//! - [`door`]: who may ask, and as whom. [`failure`]: what it is told otherwise.
//! - [`target`]: which columns of a table are what. [`nearest`]: `/search`. [`pictures`]: `/picture` and `/pictures`.
//! - [`page`]: the page. [`tables`]: what that offers.
//!
//! What always holds here:
//!
//! 1. Nothing is done but by a session's statements, as the role that the rules let in, with values as parameters.
//! 2. Who asks is known before a body is read, and few bodies are held at a time.
//! 3. What goes when its client goes: the statement, the session, the place among the connections.

mod door;
mod failure;
mod nearest;
mod page;
mod pictures;
mod tables;
mod target;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use lodedb_sql::error::Result;
use lodedb_sql::{SqlError, SqlState};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{Semaphore, watch};

use super::Stage;
use super::http::{Answer, Connection, Request};
use crate::catalog::Catalog;
use crate::db::{Session, SessionOptions};
use crate::query::CancelToken;
use crate::server::listener::Shared;
use crate::server::registry::{Phase, Seat};
use failure::Failure;

/// The longest body: a picture of 24 MiB as base64.
const BODY_BYTES_MAX: usize = 32 << 20;
/// Requests that are read and worked on at a time.
const VISITS_MAX: usize = 8;
/// How long a request waits for its turn, and how long all that it asks for may take.
const TURN_TIME: Duration = Duration::from_secs(10);
const WORK_TIME: Duration = Duration::from_secs(60);

const CLOSING: &str = "the database system is shutting down";

/// Who may search by HTTP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SearchOptions {
    /// The role of those that name none.
    pub role: String,
    /// Names under which the port may be asked for, beside addresses and `localhost`.
    pub hosts: Vec<String>,
}

/// What there is to ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wish {
    Page,
    Tables,
    Search,
    Give,
    Add,
    Remove,
}

/// Each path with its methods.
const ROUTES: [(&str, &[(&str, Wish)]); 5] = [
    ("/", &[("GET", Wish::Page), ("HEAD", Wish::Page)]),
    ("/tables", &[("GET", Wish::Tables), ("HEAD", Wish::Tables)]),
    ("/search", &[("POST", Wish::Search)]),
    ("/picture", &[("GET", Wish::Give), ("HEAD", Wish::Give)]),
    ("/pictures", &[("POST", Wish::Add), ("DELETE", Wish::Remove)]),
];

/// A client that was let in.
struct Visit {
    session: Session,
    shared: Arc<Shared>,
    cancel: CancelToken,
    _seat: Seat,
}

impl Drop for Visit {
    /// What it asked for may still be under way, in a thread of its own.
    fn drop(&mut self) {
        self.cancel.cancel();
    }
}

impl Visit {
    fn begin(shared: &Arc<Shared>, options: SessionOptions) -> Result<Self> {
        let mut seat = shared.registry.admit()?;
        let session = shared.db.session(options)?;
        let cancel = session.cancel_token();
        // Nobody is told the key: what ends it is its client's going, or the server's.
        seat.enter(session.number(), cancel.clone())?;
        Ok(Self { session, shared: shared.clone(), cancel, _seat: seat })
    }

    /// What exists now.
    fn catalog(&self) -> Arc<Catalog> {
        self.shared.db.engine().view().catalog.clone()
    }

    async fn embed_text(&mut self, model: &str, text: &str, prompt: Option<&str>) -> Result<Vec<f32>> {
        let rows = match prompt {
            None => self.session.query("SELECT embed($1::text, $2::text)", &[&model, &text]).await?,
            Some(prompt) => {
                self.session.query("SELECT embed($1::text, $2::text, $3::text)", &[&model, &text, &prompt]).await?
            }
        };
        rows.first().ok_or_else(|| SqlError::internal("a text gave no vector"))?.get(0)
    }

    async fn embed_image(&mut self, model: &str, image: &[u8]) -> Result<Vec<f32>> {
        let rows = self.session.query("SELECT embed_image($1::text, $2::bytea)", &[&model, &image]).await?;
        rows.first().ok_or_else(|| SqlError::internal("a picture gave no vector"))?.get(0)
    }
}

/// Whether a path is answered here.
pub(super) fn has(path: &str) -> bool {
    ROUTES.iter().any(|(known, _)| *known == path)
}

/// The places of requests that are worked on.
pub(super) struct Turns(Semaphore);

impl Default for Turns {
    fn default() -> Self {
        Self(Semaphore::new(VISITS_MAX))
    }
}

/// Answers a request for one of the paths here; `None` if its client goes away before.
pub(super) async fn answer<S: AsyncRead + AsyncWrite + Unpin>(
    request: &Request,
    connection: &mut Connection<S>,
    client: SocketAddr,
    stage: &Stage,
    options: &SearchOptions,
    turns: &Turns,
) -> Option<Answer> {
    let answer = match answered(request, connection, client, stage, options, turns).await {
        Ok(answer) => answer?,
        Err(failure) => failure.answer(),
    };
    let policy = "default-src 'none'; frame-ancestors 'none'; sandbox".to_owned();
    let has_policy = answer.headers.iter().any(|(name, _)| *name == "content-security-policy");
    let answer = if has_policy { answer } else { answer.with("content-security-policy", policy) };
    Some(
        answer
            .with("x-content-type-options", "nosniff")
            .with("cross-origin-resource-policy", "same-origin")
            .with("cross-origin-opener-policy", "same-origin")
            .with("referrer-policy", "no-referrer"),
    )
}

async fn answered<S: AsyncRead + AsyncWrite + Unpin>(
    request: &Request,
    connection: &mut Connection<S>,
    client: SocketAddr,
    stage: &Stage,
    options: &SearchOptions,
    turns: &Turns,
) -> Result<Option<Answer>, Failure> {
    let wish = match choose_wish(request) {
        Ok(wish) => wish,
        Err(refused) => return Ok(Some(refused)),
    };
    door::check_origin(request, options, wish == Wish::Page)?;
    let has_body = matches!(wish, Wish::Search | Wish::Add);
    if has_body && !is_json(request) {
        let error = SqlError::new(SqlState::ProtocolViolation, "the content-type must be application/json");
        return Err(Failure::with_status(415, error));
    }
    let unable = |message: &str| Err(SqlError::new(SqlState::CannotConnectNow, message).into());
    let shared = match stage {
        Stage::Recovering => return unable("the database system is starting up"),
        Stage::Closing => return unable(CLOSING),
        Stage::Open { shared } => shared,
    };
    let entered = connection.while_there(door::enter(shared, request, client, options)).await;
    let Some(session) = entered.transpose()? else { return Ok(None) };
    if wish == Wish::Page {
        return Ok(Some(page::answer()));
    }
    let too_many = || SqlError::new(SqlState::TooManyConnections, "too many requests at once");
    let turn = tokio::time::timeout(TURN_TIME, turns.0.acquire()).await;
    let _turn = turn.map_err(|_| too_many())?.map_err(|_| too_many())?;
    let body = if has_body { connection.body(request, BODY_BYTES_MAX).await? } else { Vec::new() };
    // Held for as long as there is work: a server that ends waits for it.
    let phase = shared.registry.watch();
    if *phase.borrow() > Phase::Serving {
        return unable(CLOSING);
    }
    let work = async {
        let mut visit = Visit::begin(shared, session)?;
        match wish {
            Wish::Page => Ok(page::answer()),
            Wish::Tables => tables::answer(&visit),
            Wish::Search => nearest::answer(&mut visit, &body).await,
            Wish::Give => pictures::give(&mut visit, request).await,
            Wish::Add => pictures::add(&mut visit, &body).await,
            Wish::Remove => pictures::remove(&mut visit, request).await,
        }
    };
    match connection.while_there(tokio::time::timeout(WORK_TIME, unless_killed(phase, work))).await {
        None => Ok(None),
        Some(Ok(answer)) => answer.map(Some),
        Some(Err(_)) => Err(SqlError::new(SqlState::QueryCanceled, "the request took too long").into()),
    }
}

/// What `work` gives, unless the server ends before.
async fn unless_killed(
    mut phase: watch::Receiver<Phase>,
    work: impl Future<Output = Result<Answer, Failure>>,
) -> Result<Answer, Failure> {
    tokio::select! {
        done = work => done,
        _ = phase.wait_for(|&phase| phase == Phase::Killing) => {
            Err(SqlError::new(SqlState::AdminShutdown, CLOSING).into())
        }
    }
}

/// What a request wishes, or the refusal of its path or method.
fn choose_wish(request: &Request) -> Result<Wish, Answer> {
    let Some((_, methods)) = ROUTES.iter().find(|(path, _)| *path == request.path) else {
        return Err(Answer::text(404, "there is nothing here"));
    };
    let wish = methods.iter().find(|(method, _)| *method == request.method);
    wish.map(|(_, wish)| *wish).ok_or_else(|| {
        let allowed: Vec<&str> = methods.iter().map(|(method, _)| *method).collect();
        Answer::text(405, "this method is not answered here").with("allow", allowed.join(", "))
    })
}

fn is_json(request: &Request) -> bool {
    let content_type = request.header("content-type").and_then(|content_type| content_type.split(';').next());
    content_type.is_some_and(|content_type| content_type.trim().eq_ignore_ascii_case("application/json"))
}

/// What a body says.
fn read_json<T: DeserializeOwned>(body: &[u8]) -> Result<T> {
    serde_json::from_slice(body).map_err(|error| {
        let state = match error.is_data() {
            true => SqlState::InvalidParameterValue,
            false => SqlState::InvalidTextRepresentation,
        };
        SqlError::new(state, format!("the body is not what is read here: {error}"))
    })
}

/// An answer of JSON.
fn to_json(status: u16, value: &impl Serialize) -> Result<Answer> {
    let body = serde_json::to_string(value).map_err(SqlError::internal)?;
    Ok(Answer::new(status, "application/json", body + "\n"))
}

/// In milliseconds, to the microsecond.
fn ms(time: Duration) -> f64 {
    time.as_micros() as f64 / 1e3
}
