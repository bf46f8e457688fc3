//! What the functions of a statement may ask of their session: sequences, settings, sizes.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use lodedb_sql::error::Result;
use lodedb_sql::{SqlError, SqlState};
use parking_lot::Mutex;

use super::engine::Engine;
use super::settings::Settings;
use crate::catalog::{IndexKind, SequenceId};
use crate::query::functions::{
    BackupInfo, BackupProgress, Hooks, IndexBuildInfo, SequenceAccess, ServerAccess, SessionInfo, SettingAccess,
};
use crate::snapshot::backup::repository::Repository;

/// What statements of one session left behind for it.
#[derive(Debug, Default)]
pub struct Effects {
    /// Values drawn from sequences, for the log.
    pub sequences: Vec<(SequenceId, i64)>,
    /// Settings changed by `set_config`: name, value, whether for the transaction only.
    pub settings: Vec<(String, Option<String>, bool)>,
    current: HashMap<SequenceId, i64>,
    last: Option<SequenceId>,
}

/// One session as its statements see it.
pub struct SessionHooks {
    engine: Arc<Engine>,
    /// What statements left behind.
    pub effects: Mutex<Effects>,
}

impl std::fmt::Debug for SessionHooks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SessionHooks").finish_non_exhaustive()
    }
}

impl SessionHooks {
    /// Hooks for a new session.
    pub fn new(engine: Arc<Engine>) -> Arc<Self> {
        Arc::new(Self { engine, effects: Mutex::default() })
    }

    /// As the query room takes them.
    pub fn hooks(self: &Arc<Self>) -> Hooks {
        Hooks { sequences: Some(self.clone()), settings: Some(self.clone()), server: Some(self.clone()) }
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
            IndexKind::Btree { .. } => Some(0),
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
        Vec::new()
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

    fn signal(&self, _session: i32, _terminate: bool) -> bool {
        false
    }

    fn transaction_id(&self) -> u64 {
        self.engine.view().lsn
    }
}
