//! What functions may know of the statement they run in, and what they may ask of the engine.
//!
//! Functions are registered once and hold no state. Each statement puts a [`Scope`] into the configuration of its
//! session state; DataFusion hands that configuration to every call, and to constant folding as well.

use std::any::Any;
use std::collections::VecDeque;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use datafusion::common::config::{ConfigEntry, ConfigExtension, ConfigOptions, ExtensionOptions};
use lodedb_sql::error::Result;
use lodedb_sql::{SqlError, SqlState};
use parking_lot::Mutex;

use crate::auth::privilege::Actor;
use crate::catalog::rights::RoleId;
use crate::catalog::{Catalog, Model, SequenceId};
use crate::commit::locks::{LockInfo, LockMode, LockTarget};
use crate::compaction::Compaction;
use crate::db::copy::CopyProgress;
pub use crate::db::refill::Progress as RefillProgress;
use crate::db::settings::{Environment, Settings};
use crate::models::{Key, NotEmbedded, Work};
use crate::query::CancelToken;
use crate::snapshot::scrub::Pass;

/// The values of sequences, as `nextval` and its like move them.
pub trait SequenceAccess: Send + Sync {
    /// Takes the next value.
    fn next(&self, sequence: SequenceId) -> Result<i64>;
    /// The value this session last took from a sequence; `55000` if it took none.
    fn current(&self, sequence: SequenceId) -> Result<i64>;
    /// The value this session last took from any sequence; `55000` if it took none.
    fn last(&self) -> Result<i64>;
    /// Sets the value; `called` says whether the next one comes after it.
    fn set(&self, sequence: SequenceId, value: i64, called: bool) -> Result<i64>;
    /// The last value given out and whether one was, for `SELECT * FROM a_sequence` and `pg_sequences`.
    fn peek(&self, sequence: SequenceId) -> Option<(i64, bool)>;
}

/// The settings of the session, as `set_config` changes them.
pub trait SettingAccess: Send + Sync {
    /// Sets a parameter, for the transaction only if `local`; returns the value as SHOW prints it.
    fn set(&self, name: &str, value: Option<&str>, local: bool) -> Result<String>;
}

/// A number that a client wants to lock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdvisoryLock {
    /// The number, or two.
    pub target: LockTarget,
    /// Exclusive or share.
    pub mode: LockMode,
    /// Whether it is held until the transaction ends; else, until it is unlocked.
    pub for_transaction: bool,
    /// Whether to wait for it.
    pub waits: bool,
}

/// The numbers that clients lock.
pub trait AdvisoryAccess: Send + Sync {
    /// Locks one; `false` if it cannot be had and is not to be waited for. Blocks its thread.
    fn lock(&self, wanted: AdvisoryLock, settings: &Settings, cancel: &CancelToken) -> Result<bool>;
    /// Unlocks one that was locked for the session; whether it was.
    fn unlock(&self, target: LockTarget, mode: LockMode) -> bool;
    /// Unlocks all that were locked for the session.
    fn unlock_all(&self);
}

/// What is sent to other sessions when the transaction commits.
pub trait NotifyAccess: Send + Sync {
    /// Sends a text to those who listen on a channel; `22023` if it is too long.
    fn notify(&self, channel: &str, payload: &str) -> Result<()>;
    /// The channels this session listens on.
    fn channels(&self) -> Vec<String>;
}

/// The models that embed.
pub trait ModelAccess: Send + Sync {
    /// The vectors of texts, each after the prompt of this name, or the model's default one. Blocks its thread.
    fn embed_texts(
        &self,
        model: &Model,
        prompt: Option<&str>,
        texts: &[&str],
        cancel: &CancelToken,
    ) -> std::result::Result<Vec<Arc<[f32]>>, NotEmbedded>;
    /// The vectors of pictures, each the bytes of a file. Blocks its thread.
    fn embed_images(
        &self,
        model: &Model,
        images: &[&[u8]],
        cancel: &CancelToken,
    ) -> std::result::Result<Vec<Arc<[f32]>>, NotEmbedded>;
    /// The pieces of a text, each of at most so many tokens, and overlapping by so many.
    fn split_text(&self, model: &Model, text: &str, max_tokens: usize, overlap: usize) -> Result<Vec<String>>;
    /// What a model did since it was opened; `None` if it is not open.
    fn work(&self, model: &Model) -> Option<Work>;
}

/// What objects take on disk, and what the server is doing.
pub trait ServerAccess: Send + Sync {
    /// Bytes a table or an index takes, its indexes not counted in; `None` if there is no such relation.
    fn relation_bytes(&self, relation: u32) -> Option<u64>;
    /// Bytes the database takes.
    fn database_bytes(&self) -> u64;
    /// The number of rows of a table, as far as it is known without counting.
    fn row_count(&self, table: u32) -> Option<u64>;
    /// Microseconds since 1970 UTC at which the server started.
    fn start_time_us(&self) -> i64;
    /// Every session.
    fn sessions(&self) -> Vec<SessionInfo>;
    /// Every lock that is held or waited for.
    fn locks(&self) -> Vec<LockInfo>;
    /// The sessions that a session waits for.
    fn blocking(&self, session: i32) -> Vec<i32>;
    /// Every index being built.
    fn index_builds(&self) -> Vec<IndexBuildInfo>;
    /// How far a column is that is being computed anew, if its turn has come.
    fn refill(&self, table: u32, column: u32) -> Option<RefillProgress>;
    /// Every COPY under way.
    fn copies(&self) -> Vec<Arc<CopyProgress>>;
    /// Every backup being taken.
    fn backups_under_way(&self) -> Vec<BackupProgress>;
    /// The backups in the folder they go to by themselves, newest first.
    fn backups(&self) -> Result<Vec<BackupInfo>>;
    /// What was mended in this database: when, the file, and how.
    fn repairs(&self) -> Result<Vec<(i64, String, String)>>;
    /// What the background does and did, oldest first.
    fn compactions(&self) -> Vec<Compaction>;
    /// Passes of the scrubber, oldest first.
    fn scrubs(&self) -> Vec<Pass>;
    /// Looks after a table now, for a session; gives up when told to stop.
    fn upkeep(&self, table: u32, work: Upkeep, session: i32, stop: &AtomicBool) -> Result<()>;
    /// How a table lies on disk, as a JSON object; `None` if there is no such table.
    fn table_status(&self, table: u32) -> Option<serde_json::Value>;
    /// Ends the statement (`pg_cancel_backend`) or the session (`pg_terminate_backend`); whether there is one.
    fn signal(&self, session: i32, terminate: bool) -> bool;
    /// The number of the current transaction.
    fn transaction_id(&self) -> u64;
}

/// What `lodedb_merge` and `lodedb_rebuild` do to a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Upkeep {
    /// Everything sealed, in one segment, dead rows left behind.
    Merge,
    /// The vector indexes trained anew.
    Rebuild,
}

/// A session, as `pg_stat_activity` shows it.
#[derive(Clone, Debug, Default)]
pub struct SessionInfo {
    /// Its number.
    pub session: i32,
    /// Who it began as.
    pub user: String,
    /// The role it began as.
    pub role: RoleId,
    /// What its connection is encrypted with, if it is: version, cipher and bits.
    pub encryption: Option<(String, String, i32)>,
    /// What the client calls itself.
    pub application: String,
    /// The address and port of the client; none if it is on the machine's own socket, or in the process.
    pub client: Option<(IpAddr, u16)>,
    /// `active`, `idle`, `idle in transaction`, `idle in transaction (aborted)`.
    pub state: &'static str,
    /// The newest statement.
    pub query: String,
    /// When it began.
    pub started_us: i64,
    /// When the transaction began.
    pub transaction_started_us: Option<i64>,
    /// When the statement began.
    pub statement_started_us: Option<i64>,
    /// When the state changed.
    pub changed_us: i64,
}

/// An index being built, as `pg_stat_progress_create_index` shows it.
#[derive(Clone, Debug, Default)]
pub struct IndexBuildInfo {
    /// The session that builds it.
    pub session: i32,
    /// Its table.
    pub table: u32,
    /// The index.
    pub index: u32,
    /// `CREATE INDEX` or `REINDEX`.
    pub command: String,
    /// `initializing`, `performing k-means`, `loading tuples`, ...
    pub phase: String,
    /// Rows done.
    pub tuples_done: i64,
    /// Rows to do.
    pub tuples_total: i64,
}

/// A backup being taken, as `pg_stat_progress_basebackup` shows it.
#[derive(Clone, Debug, Default)]
pub struct BackupProgress {
    /// The session that asked; 0 if nobody did.
    pub session: i32,
    /// Bytes there are; 0 while they are not known yet.
    pub total: i64,
    /// Bytes that are done.
    pub done: i64,
}

/// A backup, as `lodedb_backups` shows it.
#[derive(Clone, Debug, Default)]
pub struct BackupInfo {
    /// Its number.
    pub number: i64,
    /// The commit it stands for.
    pub lsn: i64,
    /// When it was taken.
    pub time_us: i64,
    /// How many files it has.
    pub files: i64,
    /// Their bytes.
    pub size_bytes: i64,
    /// Bytes that were copied for it.
    pub copied_bytes: i64,
    /// The folder.
    pub folder: String,
}

/// What the engine lends to the functions of one statement.
#[derive(Clone, Default)]
pub struct Hooks {
    /// Sequences.
    pub sequences: Option<Arc<dyn SequenceAccess>>,
    /// Settings.
    pub settings: Option<Arc<dyn SettingAccess>>,
    /// Advisory locks.
    pub advisory: Option<Arc<dyn AdvisoryAccess>>,
    /// Notifications.
    pub notify: Option<Arc<dyn NotifyAccess>>,
    /// Models.
    pub models: Option<Arc<dyn ModelAccess>>,
    /// Sizes and activity.
    pub server: Option<Arc<dyn ServerAccess>>,
}

/// Vectors that a statement asked for one at a time: a plan may hold a constant in several places.
#[derive(Default)]
pub struct KnownVectors(Mutex<VecDeque<(Key, Arc<[f32]>)>>);

impl KnownVectors {
    /// So many are remembered.
    const MOST: usize = 64;

    pub(crate) fn get(&self, key: &Key) -> Option<Arc<[f32]>> {
        self.0.lock().iter().find(|(known, _)| known == key).map(|(_, vector)| vector.clone())
    }

    pub(crate) fn put(&self, key: Key, vector: Arc<[f32]>) {
        let mut known = self.0.lock();
        known.truncate(Self::MOST - 1);
        known.push_front((key, vector));
    }
}

/// What the functions of one statement know.
#[derive(Clone)]
pub struct Scope {
    /// The session and the moment.
    pub environment: Arc<Environment>,
    /// What exists, as this statement sees it.
    pub catalog: Arc<Catalog>,
    /// What the engine lends.
    pub hooks: Hooks,
    /// What models were asked.
    pub vectors: Arc<KnownVectors>,
}

impl fmt::Debug for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scope").field("environment", &self.environment).finish_non_exhaustive()
    }
}

impl Scope {
    /// Puts this scope into the configuration of a statement.
    pub fn install(self, options: &mut ConfigOptions) {
        options.extensions.insert(self);
    }

    /// The scope of the statement a function runs in.
    pub fn of(options: &ConfigOptions) -> Result<&Self> {
        options.extensions.get::<Self>().ok_or_else(|| SqlError::internal("a statement runs without its scope"))
    }

    /// The role the statement runs as, before what exists.
    pub(crate) fn actor(&self) -> Actor<'_> {
        Actor::new(&self.catalog, self.environment.role)
    }

    /// The name of a role; of the one the session began as, the name that goes by there.
    pub(crate) fn role_name(&self, role: RoleId) -> Option<String> {
        let (login, user) = &self.environment.login;
        match role == *login {
            true => Some(user.clone()),
            false => self.catalog.rights().role(role).map(|role| role.name.clone()),
        }
    }

    /// The models, or an error where there are none to ask.
    pub(crate) fn models(&self) -> Result<&Arc<dyn ModelAccess>> {
        self.hooks.models.as_ref().ok_or_else(|| {
            SqlError::new(SqlState::ObjectNotInPrerequisiteState, "models cannot be used in this statement")
        })
    }

    /// The sequences, or an error where there are none to change.
    pub(crate) fn sequences(&self) -> Result<&Arc<dyn SequenceAccess>> {
        self.hooks.sequences.as_ref().ok_or_else(|| {
            SqlError::new(SqlState::ObjectNotInPrerequisiteState, "sequences cannot be used in this statement")
        })
    }
}

impl ConfigExtension for Scope {
    const PREFIX: &'static str = "lodedb_scope";
}

impl ExtensionOptions for Scope {
    fn as_any(&self) -> &dyn Any {
        self
    }
    fn as_any_mut(&mut self) -> &mut dyn Any {
        self
    }
    fn cloned(&self) -> Box<dyn ExtensionOptions> {
        Box::new(self.clone())
    }
    fn set(&mut self, key: &str, _value: &str) -> datafusion::error::Result<()> {
        Err(datafusion::error::DataFusionError::Configuration(format!("{key} cannot be set as text")))
    }
    fn entries(&self) -> Vec<ConfigEntry> {
        Vec::new()
    }
}
