//! What the functions of a statement may ask of their session: sequences, settings, locks, sizes.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

use lodedb_sql::error::Result;
use lodedb_sql::{SqlError, SqlState};
use parking_lot::Mutex;
use tokio::runtime::{Handle, RuntimeFlavor};

use super::advisory::AdvisoryLocks;
use super::copy::CopyProgress;
use super::engine::Engine;
use super::notify::{self, Intention};
use super::refill::Progress as RefillProgress;
use super::settings::Settings;
use crate::catalog::{IndexKind, SequenceId};
use crate::commit::locks::{LockInfo, LockMode, LockTarget, Wait};
use crate::compaction::{Compaction, vacuum};
use crate::query::CancelToken;
use crate::query::functions::{
    AdvisoryAccess, AdvisoryLock, BackupInfo, BackupProgress, Hooks, IndexBuildInfo, NotifyAccess, SequenceAccess,
    ServerAccess, SessionInfo, SettingAccess, Upkeep,
};
use crate::segment::Segment;
use crate::snapshot::backup::repository::Repository;
use crate::snapshot::scrub::Pass;

/// What statements of one session left behind for it.
#[derive(Debug, Default)]
pub struct Effects {
    /// Values drawn from sequences, for the log.
    pub sequences: Vec<(SequenceId, i64)>,
    /// Settings changed by `set_config`: name, value, whether for the transaction only.
    pub settings: Vec<(String, Option<String>, bool)>,
    /// What `pg_notify` is to send.
    pub(super) intentions: Vec<Intention>,
    /// What the client is to be warned of.
    pub(super) warnings: Vec<SqlError>,
    /// How many texts were cut since the session began a statement.
    pub(super) cut_texts: usize,
    current: HashMap<SequenceId, i64>,
    last: Option<SequenceId>,
}

/// One session as its statements see it.
pub struct SessionHooks {
    pub(super) engine: Arc<Engine>,
    session: i32,
    /// What statements left behind.
    pub effects: Mutex<Effects>,
    /// The numbers the session locked.
    pub advisory: AdvisoryLocks,
}

impl std::fmt::Debug for SessionHooks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SessionHooks").finish_non_exhaustive()
    }
}

impl SessionHooks {
    /// Hooks for a new session.
    pub fn new(engine: Arc<Engine>, session: i32) -> Arc<Self> {
        let advisory = AdvisoryLocks::new(engine.clone(), session);
        Arc::new(Self { engine, session, effects: Mutex::default(), advisory })
    }

    /// As the query room takes them.
    pub fn hooks(self: &Arc<Self>) -> Hooks {
        Hooks {
            sequences: Some(self.clone()),
            settings: Some(self.clone()),
            advisory: Some(self.clone()),
            notify: Some(self.clone()),
            models: Some(self.clone()),
            server: Some(self.clone()),
        }
    }

    fn drew(&self, sequence: SequenceId, value: i64) {
        let mut effects = self.effects.lock();
        effects.sequences.retain(|(of, _)| *of != sequence);
        effects.sequences.push((sequence, value));
        effects.current.insert(sequence, value);
        effects.last = Some(sequence);
    }
}

impl SequenceAccess for SessionHooks {
    fn next(&self, sequence: SequenceId) -> Result<i64> {
        let value = self.engine.next_value(sequence)?;
        self.drew(sequence, value);
        Ok(value)
    }

    fn current(&self, sequence: SequenceId) -> Result<i64> {
        self.effects.lock().current.get(&sequence).copied().ok_or_else(|| {
            SqlError::new(
                SqlState::ObjectNotInPrerequisiteState,
                "currval of this sequence is not yet defined in this session",
            )
        })
    }

    fn last(&self) -> Result<i64> {
        let effects = self.effects.lock();
        effects.last.and_then(|sequence| effects.current.get(&sequence).copied()).ok_or_else(|| {
            SqlError::new(SqlState::ObjectNotInPrerequisiteState, "lastval is not yet defined in this session")
        })
    }

    fn set(&self, sequence: SequenceId, value: i64, called: bool) -> Result<i64> {
        let last = self.engine.set_value(sequence, value, called)?;
        self.drew(sequence, last);
        self.effects.lock().current.insert(sequence, value);
        Ok(value)
    }

    fn peek(&self, sequence: SequenceId) -> Option<(i64, bool)> {
        self.engine.peek_value(sequence)
    }
}

impl SettingAccess for SessionHooks {
    fn set(&self, name: &str, value: Option<&str>, local: bool) -> Result<String> {
        let mut checked = Settings::default();
        checked.set(name, value)?;
        self.effects.lock().settings.push((name.to_owned(), value.map(str::to_owned), local));
        checked.get(name)
    }
}

impl AdvisoryAccess for SessionHooks {
    fn lock(&self, wanted: AdvisoryLock, settings: &Settings, cancel: &CancelToken) -> Result<bool> {
        let wait = match wanted.waits {
            true => settings.lock_timeouts(self.engine.options.deadlock_timeout).into(),
            false => Wait::NoWait,
        };
        let locked = self.advisory.lock(wanted.target, wanted.mode, wanted.for_transaction, wait, cancel);
        match Handle::try_current() {
            Ok(handle) if handle.runtime_flavor() == RuntimeFlavor::MultiThread => {
                tokio::task::block_in_place(|| handle.block_on(locked))
            }
            _ => Err(SqlError::internal("advisory locks need a runtime of several threads")),
        }
    }

    fn unlock(&self, target: LockTarget, mode: LockMode) -> bool {
        let was_held = self.advisory.unlock(target, mode);
        if !was_held {
            let message = format!("you don't own a lock of type {mode}");
            self.effects.lock().warnings.push(SqlError::new(SqlState::Warning, message));
        }
        was_held
    }

    fn unlock_all(&self) {
        self.advisory.unlock_all();
    }
}

impl NotifyAccess for SessionHooks {
    fn notify(&self, channel: &str, payload: &str) -> Result<()> {
        let intention = notify::checked(channel, payload)?;
        self.effects.lock().intentions.push(intention);
        Ok(())
    }

    fn channels(&self) -> Vec<String> {
        self.engine.channels.of(self.session)
    }
}

impl ServerAccess for SessionHooks {
    fn relation_bytes(&self, relation: u32) -> Option<u64> {
        let view = self.engine.view();
        if let Some(table) = view.tables.get(&relation) {
            return Some(table.sealed_files.values().map(|files| files.bytes()).sum());
        }
        let index = view.catalog.index_by_id(relation)?;
        match index.kind {
            IndexKind::Vector { .. } => {
                let files = view.tables.get(&index.table)?.index_files.get(&relation);
                Some(files.map_or(0, |files| files.codes.iter().map(|(_, entry)| entry.len).sum()))
            }
            IndexKind::Btree { .. } | IndexKind::Exact { .. } => Some(0),
        }
    }

    fn database_bytes(&self) -> u64 {
        self.engine.store.disk_bytes().unwrap_or(0) + self.engine.log.size_bytes()
    }

    fn row_count(&self, table: u32) -> Option<u64> {
        self.engine.view().tables.get(&table).map(|table| table.live_rows)
    }

    fn start_time_us(&self) -> i64 {
        self.engine.started_us
    }

    fn sessions(&self) -> Vec<SessionInfo> {
        let shown = |presence: Arc<super::presence::Presence>| {
            let doing = presence.doing();
            SessionInfo {
                session: presence.number,
                user: presence.user.clone(),
                role: presence.role,
                encryption: presence.encryption.clone(),
                application: doing.settings.get("application_name").unwrap_or_default(),
                client: presence.client,
                state: doing.state(),
                query: doing.statement.map(|statement| statement.text.clone()).unwrap_or_default(),
                started_us: presence.started_us,
                transaction_started_us: doing.transaction_us,
                statement_started_us: doing.statement_us,
                changed_us: doing.changed_us,
            }
        };
        self.engine.sessions.all().into_iter().map(shown).collect()
    }

    fn locks(&self) -> Vec<LockInfo> {
        self.engine.locks.list()
    }

    fn blocking(&self, session: i32) -> Vec<i32> {
        self.engine.locks.blocking(session)
    }

    fn index_builds(&self) -> Vec<IndexBuildInfo> {
        let builds = self.engine.progress.lock();
        builds
            .values()
            .map(|progress| IndexBuildInfo {
                session: progress.session,
                table: progress.table,
                index: progress.index,
                command: "CREATE INDEX".into(),
                phase: progress.phase.into(),
                tuples_done: progress.done as i64,
                tuples_total: progress.total as i64,
            })
            .collect()
    }

    fn refill(&self, table: u32, column: u32) -> Option<RefillProgress> {
        self.engine.refills.lock().get(&(table, column)).cloned()
    }

    fn copies(&self) -> Vec<Arc<CopyProgress>> {
        self.engine.copies.lock().iter().filter_map(Weak::upgrade).collect()
    }

    fn backups_under_way(&self) -> Vec<BackupProgress> {
        let under_way = self.engine.backups.lock();
        let shown = |progress: &Arc<crate::snapshot::backup::Progress>| BackupProgress {
            session: progress.session,
            total: progress.total.load(Ordering::Relaxed) as i64,
            done: progress.done.load(Ordering::Relaxed) as i64,
        };
        under_way.iter().map(shown).collect()
    }

    fn backups(&self) -> Result<Vec<BackupInfo>> {
        let folder = self.engine.backup_dir();
        let backups = Repository::look(self.engine.files.fs.clone(), &folder).map_err(|error| error.to_sql())?;
        Ok(backups
            .iter()
            .map(|backup| BackupInfo {
                number: backup.number as i64,
                lsn: backup.lsn as i64,
                time_us: backup.time_us,
                files: backup.files.len() as i64,
                size_bytes: backup.size_bytes() as i64,
                copied_bytes: backup.copied_bytes as i64,
                folder: folder.display().to_string(),
            })
            .collect())
    }

    fn repairs(&self) -> Result<Vec<(i64, String, String)>> {
        let repairs = crate::snapshot::repair::repairs(&*self.engine.files.fs, &self.engine.dir)?;
        Ok(repairs.into_iter().map(|repair| (repair.time_us, repair.file, repair.done)).collect())
    }

    fn compactions(&self) -> Vec<Compaction> {
        self.engine.compactions.jobs()
    }

    fn scrubs(&self) -> Vec<Pass> {
        self.engine.scrubs.lock().clone()
    }

    fn upkeep(&self, table: u32, work: Upkeep, session: i32, stop: &AtomicBool) -> Result<()> {
        match work {
            Upkeep::Merge => vacuum::vacuum(&self.engine, table, true, session, stop),
            Upkeep::Rebuild => vacuum::rebuild(&self.engine, table, None, session, stop),
        }
    }

    fn table_status(&self, table: u32) -> Option<serde_json::Value> {
        let view = self.engine.view();
        let (definition, inside) = (view.catalog.table_by_id(table)?, view.tables.get(&table)?);
        let extent = vacuum::extent(&view, table);
        let mutable = inside.segments.iter().filter(|view| matches!(view.segment, Segment::Mutable { .. }));
        let indexes: serde_json::Map<String, serde_json::Value> = view
            .catalog
            .indexes_of(table)
            .filter_map(|index| Some((index, inside.indexes.get(&index.id)?)))
            .map(|(index, built)| {
                let trained = inside.index_files.get(&index.id).and_then(|files| files.quantizer.as_ref());
                let coded: u64 = built.segments.values().map(|codes| codes.coded()).sum();
                let status = serde_json::json!({
                    "trained_on_rows": trained.map(|files| files.rows),
                    "coded_rows": coded,
                    "calibrated": built.calibration.is_some(),
                });
                (index.name.clone(), status)
            })
            .collect();
        let under_way = self.engine.compactions.jobs().into_iter().rev();
        let job = under_way.filter(|job| job.table == table).find(|job| job.finished_us.is_none());
        Some(serde_json::json!({
            "table": definition.name,
            "rows": inside.live_rows,
            "segments": extent.segments,
            "segment_bytes": extent.bytes,
            "dead_rows": extent.dead_rows,
            "mutable_rows": mutable.map(|view| u64::from(view.live())).sum::<u64>(),
            "indexes": indexes,
            "job": job.map(|job| job.kind),
        }))
    }

    fn signal(&self, session: i32, terminate: bool) -> bool {
        let Some(presence) = self.engine.sessions.get(session) else { return false };
        if terminate {
            presence.end()
        } else {
            presence.cancel()
        }
        true
    }

    fn transaction_id(&self) -> u64 {
        self.engine.view().lsn
    }
}
