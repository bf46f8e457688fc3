//! The engine: what one open directory consists of, and [`Db`], the handle to it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Instant;

use arc_swap::ArcSwap;
use lodedb_sql::error::Result;
use lodedb_sql::{SqlError, SqlState};
use lodedb_wal::Log;
use lodedb_wal::fs::{FileSystem, Lock, OsFileSystem};
use parking_lot::Mutex;

use super::admission::Admission;
use super::copy::CopyProgress;
use super::counters::Counters;
use super::error::OpenError;
use super::memory::Budget;
use super::notify::Channels;
use super::options::Options;
use super::presence::Sessions;
use super::refill::{self, Progress as RefillProgress};
use super::session::{Session, SessionOptions};
use super::settings::Settings;
use crate::catalog::{ColumnId, Sequence, SequenceId, TableId};
use crate::commit::ReadView;
use crate::commit::committer::Committer;
use crate::commit::locks::LockManager;
use crate::commit::serializable::Serializable;
use crate::compaction::{History, Worker};
use crate::models::Models;
use crate::query::QueryEngine;
use crate::segment::SegmentId;
use crate::snapshot::backup::{self, Backup, BackupError, DatabaseId};
use crate::snapshot::checkpoint::{CheckpointError, checkpoint, checkpoint_after};
use crate::snapshot::files::SegmentStore;
use crate::snapshot::recovery;
use crate::snapshot::scrub::{self, Pass};
use crate::store::Store;

/// What one open directory consists of.
#[derive(Debug)]
pub struct Engine {
    /// The directory.
    pub dir: PathBuf,
    /// Which database it is.
    pub id: DatabaseId,
    /// How it was opened.
    pub options: Options,
    /// The rows.
    pub store: Arc<Store>,
    /// The log.
    pub log: Arc<Log>,
    /// The files of segments.
    pub files: Arc<SegmentStore>,
    /// The models that embed.
    pub models: Models,
    /// The locks of transactions.
    pub locks: LockManager,
    /// The transactions at SERIALIZABLE.
    pub serializable: Serializable,
    /// The way to commit.
    pub committer: Committer,
    /// What sessions are shown of how it was opened.
    pub shown: Settings,
    /// Planning and running.
    pub query: QueryEngine,
    /// Ids of segments and quantizers.
    pub segment_ids: SegmentIds,
    /// The last checkpoint; held while one is taken.
    pub checkpoint: Mutex<LastCheckpoint>,
    /// Held by the one job that changes segments.
    pub maintenance: Mutex<()>,
    /// Progress of index builds under way.
    pub progress: Mutex<BTreeMap<u64, crate::compaction::Progress>>,
    /// Columns that are being computed anew.
    pub refills: Mutex<BTreeMap<(TableId, ColumnId), RefillProgress>>,
    /// COPYs under way.
    pub copies: Mutex<Vec<Weak<CopyProgress>>>,
    /// What is being done in the background, and what was.
    pub compactions: History,
    /// Passes of the scrubber, oldest first.
    pub scrubs: Mutex<Vec<Pass>>,
    /// Backups under way.
    pub backups: Mutex<Vec<Arc<backup::Progress>>>,
    /// The last commit that was archived, as far as is known; 0 after a start.
    pub archived: AtomicU64,
    /// How much memory is held, and may be.
    pub memory: Budget,
    /// How many statements run.
    pub admission: Admission,
    /// What has happened so far.
    pub counters: Counters,
    /// The sessions there are.
    pub sessions: Sessions,
    /// Who listens to whom.
    pub channels: Channels,
    pub(crate) view: Arc<ArcSwap<ReadView>>,
    /// When it was opened: microseconds since 1970 UTC.
    pub started_us: i64,
    sequences: Mutex<BTreeMap<SequenceId, SequenceState>>,
    next_oid: AtomicU32,
    next_session: AtomicI32,
    closed: AtomicBool,
    _lock: Lock,
}

/// A sequence and the last value it gave out.
#[derive(Debug)]
struct SequenceState {
    definition: Sequence,
    last: Option<i64>,
}

/// The last checkpoint.
#[derive(Debug)]
pub struct LastCheckpoint {
    /// Its generation.
    pub generation: u64,
    /// The commit it stands at.
    pub lsn: u64,
    /// When it was taken: microseconds since 1970 UTC.
    pub time_us: i64,
    /// The size of the log right after it.
    pub log_bytes: u64,
    /// When it was taken, or was last tried.
    pub at: Instant,
    /// The manifests that are kept, newest first.
    pub kept: Vec<Kept>,
}

/// What a kept manifest holds on to.
#[derive(Debug)]
pub struct Kept {
    /// The commit it stands at; the log after it is kept.
    pub lsn: u64,
    /// Its sealed segments, and those seen while it was the newest, with their bytes: the log after it names them.
    pub segments: BTreeMap<(TableId, SegmentId), u64>,
}

/// Why no write is taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// In words, with what to do about it.
    pub reason: String,
    /// Whether it stays so until the process ends, which it should.
    pub is_final: bool,
}

/// Gives ids to segments and quantizers, and knows which of them no commit has named yet.
#[derive(Debug)]
pub struct SegmentIds(Mutex<(SegmentId, BTreeSet<SegmentId>)>);

impl SegmentIds {
    /// Starts after the ids in use.
    pub fn starting_at(next: SegmentId) -> Self {
        Self(Mutex::new((next, BTreeSet::new())))
    }
    /// A new id, its files not yet named by any commit.
    pub fn take(&self) -> SegmentId {
        let mut ids = self.0.lock();
        let id = ids.0;
        ids.0 += 1;
        ids.1.insert(id);
        id
    }
    /// The commit that names it is applied, or its files were given up.
    pub fn settle(&self, id: SegmentId) {
        self.0.lock().1.remove(&id);
    }
    /// The id that is given next.
    pub fn next(&self) -> SegmentId {
        self.0.lock().0
    }
    /// Every id below this one is settled.
    pub fn first_not_settled(&self) -> SegmentId {
        let ids = self.0.lock();
        ids.1.first().copied().unwrap_or(ids.0)
    }
}

impl Engine {
    /// The newest view.
    pub fn view(&self) -> Arc<ReadView> {
        self.view.load_full()
    }

    /// An OID for a new object.
    pub fn next_oid(&self) -> u32 {
        self.next_oid.fetch_add(1, Ordering::Relaxed)
    }

    /// An id for a new mutable segment; it has no files.
    pub fn next_segment(&self) -> SegmentId {
        let id = self.segment_ids.take();
        self.segment_ids.settle(id);
        id
    }

    /// The next value of a sequence. It never comes back, whatever becomes of the transaction.
    pub fn next_value(&self, sequence: SequenceId) -> Result<i64> {
        let mut values = self.sequences.lock();
        let Some(state) = values.get_mut(&sequence) else {
            return Err(SqlError::new(SqlState::UndefinedTable, "the sequence does not exist"));
        };
        let definition = &state.definition;
        let next = match state.last {
            None => definition.start,
            Some(last) => last
                .checked_add(definition.increment)
                .filter(|next| (definition.min..=definition.max).contains(next))
                .ok_or_else(|| {
                    let (end, bound) = if definition.increment > 0 {
                        ("maximum", definition.max)
                    } else {
                        ("minimum", definition.min)
                    };
                    SqlError::new(
                        SqlState::SequenceLimitExceeded,
                        format!("nextval: reached {end} value of sequence \"{}\" ({bound})", definition.name),
                    )
                })?,
        };
        state.last = Some(next);
        Ok(next)
    }

    /// Sets a sequence; gives the value to log as the last one given out.
    pub fn set_value(&self, sequence: SequenceId, value: i64, called: bool) -> Result<i64> {
        let mut values = self.sequences.lock();
        let Some(state) = values.get_mut(&sequence) else {
            return Err(SqlError::new(SqlState::UndefinedTable, "the sequence does not exist"));
        };
        let definition = &state.definition;
        if !(definition.min..=definition.max).contains(&value) {
            return Err(SqlError::new(
                SqlState::NumericValueOutOfRange,
                format!(
                    "setval: value {value} is out of bounds for sequence \"{}\" ({}..{})",
                    definition.name, definition.min, definition.max
                ),
            ));
        }
        // Not called: the next value is this one, as if the one before it had been given out.
        let last = if called { value } else { value.wrapping_sub(definition.increment) };
        state.last = Some(last);
        Ok(last)
    }

    /// The last value given out and whether one was.
    pub fn peek_value(&self, sequence: SequenceId) -> Option<(i64, bool)> {
        let values = self.sequences.lock();
        let state = values.get(&sequence)?;
        Some(state.last.map_or((state.definition.start, false), |last| (last, true)))
    }

    /// A sequence exists from now on, at its start or after `last`.
    pub fn add_sequence(&self, definition: Sequence, last: Option<i64>) {
        self.sequences.lock().insert(definition.id, SequenceState { definition, last });
    }

    /// A sequence starts over.
    pub fn restart_sequence(&self, sequence: SequenceId) {
        if let Some(state) = self.sequences.lock().get_mut(&sequence) {
            state.last = None;
        }
    }

    /// Why no write is taken, if none is: the one place that says so, for `/health` and `/metrics`.
    pub fn refusal(&self) -> Option<Refusal> {
        let failed = "a write failed; restart to come back with every commit that reached the disk";
        if self.has_failed() {
            return Some(Refusal { reason: failed.to_owned(), is_final: true });
        }
        let full = self.check_room().err()?;
        Some(Refusal { reason: full.message().to_owned(), is_final: false })
    }

    /// Whether a write failed and the process should end.
    pub fn has_failed(&self) -> bool {
        self.committer.has_failed()
    }

    /// The folder that backups go to by themselves.
    pub fn backup_dir(&self) -> PathBuf {
        self.options.backup_dir.clone().unwrap_or_else(|| self.dir.join("backups"))
    }
}

/// An open database. Clones share it; it closes with the last one, or by [`Db::close`].
#[derive(Clone, Debug)]
pub struct Db {
    engine: Arc<Engine>,
    worker: Arc<Worker>,
    /// Threads that take backups and look for rot.
    guards: Arc<Vec<Worker>>,
}

impl Db {
    /// Opens the database in a directory, and makes one where there is none.
    ///
    /// # Errors
    /// The directory is another process's, holds something else, or is damaged beyond what the log can mend.
    pub fn open(dir: impl AsRef<Path>, options: Options) -> Result<Self, OpenError> {
        Self::open_on(Arc::new(OsFileSystem), dir.as_ref(), options)
    }

    /// As [`Db::open`], on any file system.
    pub(crate) fn open_on(fs: Arc<dyn FileSystem>, dir: &Path, options: Options) -> Result<Self, OpenError> {
        options.validate()?;
        super::processor::check().map_err(OpenError::Processor)?;
        crate::segment::check_version()?;
        let opened = recovery::open(fs, dir, &options)?;
        let query = QueryEngine::new(crate::query::QueryOptions {
            memory_limit_bytes: options.query_memory_bytes.min(options.memory_limit()),
            spill_dir: Some(opened.dir.join("spill")),
            threads: std::thread::available_parallelism().map_or(2, usize::from),
        });
        Self::start(opened, options, query)
    }

    /// Starts what was opened.
    pub(crate) fn start(opened: recovery::Opened, options: Options, query: QueryEngine) -> Result<Self, OpenError> {
        let view = Arc::new(ArcSwap::from_pointee(opened.state.view(&opened.store)));
        let (next_oid, next_segment) = (opened.state.catalog.next_oid(), opened.state.next_segment);
        let sequences = opened
            .state
            .catalog
            .sequences()
            .map(|definition| {
                let last = opened.state.sequences.get(&definition.id).copied();
                (definition.id, SequenceState { definition: definition.as_ref().clone(), last })
            })
            .collect();
        let (store, log, files) = (Arc::new(opened.store), Arc::new(opened.log), Arc::new(opened.files));
        let committer = Committer::start(crate::commit::committer::CommitParts {
            state: opened.state,
            log: log.clone(),
            store: store.clone(),
            files: files.clone(),
            view: view.clone(),
        })
        .map_err(|error| OpenError::Io { path: opened.dir.clone(), error })?;
        let counters = Counters::default();
        counters.last_checkpoint.set(opened.last_checkpoint.lsn, opened.last_checkpoint.time_us);
        let admission = Admission::new(options.load);
        let memory = Budget::new(options.memory_limit());
        let shown = Settings::showing(&options);
        let models = Models::new(
            files.fs.clone(),
            &opened.dir,
            lodedb_embed::Options {
                runtime: options.onnx_runtime.clone(),
                intra_threads: options.model_threads,
                gpu: options.model_gpu,
                ..lodedb_embed::Options::default()
            },
            options.embedding_cache_bytes,
        );
        let engine = Arc::new(Engine {
            dir: opened.dir,
            id: opened.id,
            options,
            store,
            log,
            files,
            models,
            locks: LockManager::new(),
            serializable: Serializable::default(),
            committer,
            shown,
            query,
            segment_ids: SegmentIds::starting_at(next_segment),
            checkpoint: Mutex::new(opened.last_checkpoint),
            maintenance: Mutex::new(()),
            progress: Mutex::default(),
            refills: Mutex::default(),
            copies: Mutex::default(),
            compactions: History::default(),
            scrubs: Mutex::default(),
            backups: Mutex::default(),
            archived: AtomicU64::new(0),
            memory,
            admission,
            counters,
            sessions: Sessions::default(),
            channels: Channels::default(),
            view,
            started_us: super::clock::now_us(),
            sequences: Mutex::new(sequences),
            next_oid: AtomicU32::new(next_oid),
            next_session: AtomicI32::new(1),
            closed: AtomicBool::new(false),
            _lock: opened.lock,
        });
        let worker = Arc::new(Worker::start(&engine));
        let guards =
            backup::schedule::start(&engine).into_iter().chain(scrub::start(&engine)).chain(refill::start(&engine));
        let guards = Arc::new(guards.collect());
        Ok(Self { engine, worker, guards })
    }

    /// A session. Each runs one statement at a time.
    pub fn session(&self, options: SessionOptions) -> Result<Session> {
        let number = self.engine.next_session.fetch_add(1, Ordering::Relaxed);
        Session::new(self.clone(), number, options)
    }

    /// The engine behind it.
    pub fn engine(&self) -> &Arc<Engine> {
        &self.engine
    }

    /// Takes a checkpoint now.
    pub fn checkpoint(&self) -> Result<(), CheckpointError> {
        checkpoint(&self.engine)
    }

    /// Takes a backup into a folder, which is made if it is not there; writers go on meanwhile. `session` is shown as its owner, and
    /// `stop` is asked now and then whether to give up.
    pub fn backup(&self, into: &Path, session: i32, stop: &dyn Fn() -> bool) -> Result<Backup, BackupError> {
        let engine = &self.engine;
        let stop = || stop() || engine.closed.load(Ordering::Acquire);
        backup::take::backup(engine, into, session, &stop)
    }

    /// Waits until no background work is left: everything sealed, trained and merged that should be.
    pub fn settle(&self) {
        self.worker.settle(&self.engine);
    }

    /// Whether a write failed: every further one is refused, and the process should end.
    pub fn has_failed(&self) -> bool {
        self.engine.has_failed()
    }

    /// Closes cleanly: background work stops, commits under way finish, a checkpoint is taken.
    pub fn close(&self) -> Result<(), CheckpointError> {
        if self.engine.closed.swap(true, Ordering::AcqRel) {
            return Ok(());
        }
        self.worker.stop();
        self.guards.iter().for_each(Worker::stop);
        self.engine.committer.stop();
        if !self.engine.has_failed() {
            match checkpoint_after(&self.engine, &mut self.engine.checkpoint.lock()) {
                Err(CheckpointError::Lost(error)) => tracing::error!(%error, "closed without a checkpoint"),
                other => other?,
            }
            self.engine.log.close()?;
        }
        Ok(())
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.committer.stop();
    }
}
