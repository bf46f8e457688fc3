//! The statements that look after a database: VACUUM, REINDEX, CHECKPOINT, CHECK, BACKUP.
//!
//! Each works for long on a thread for blocking work, and stops when its statement does.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use lodedb_sql::error::Result;
use lodedb_sql::statement::{LockMode, ObjectName, ReindexTarget};
use lodedb_sql::{SqlError, SqlState};

use super::authorize::Need;
use super::commands::nullable_rows;
use super::ddl::{StopOnDrop, relation_name};
use super::engine::Engine;
use super::outcome::{Field, Outcome, text_field};
use super::session::{Session, lock_mode};
use crate::catalog::rights::DATABASE;
use crate::catalog::{Change, Index, IndexKind, Table};
use crate::compaction::vacuum::{extent, rebuild, vacuum};

/// The columns of CHECK.
pub(super) fn check_fields() -> Arc<[Field]> {
    Arc::from(["relation", "file", "offset", "fault"].map(text_field))
}

impl Session {
    /// VACUUM of some tables, or of all.
    pub(super) async fn vacuum(&mut self, names: &[ObjectName], full: bool, verbose: bool) -> Result<()> {
        self.refuse_block("VACUUM")?;
        let session = self.number();
        let named = self.named_tables(names)?;
        for table in self.owned_tables(named, "vacuum") {
            let before = extent(&self.engine().view(), table.id);
            let id = table.id;
            self.work(move |engine, stop| vacuum(engine, id, full, session, stop)).await?;
            if verbose {
                let after = extent(&self.engine().view(), table.id);
                let told = format!(
                    "table \"{}\": {} segments with {} dead rows in {} bytes became {} with {} in {}",
                    table.name,
                    before.segments,
                    before.dead_rows,
                    before.bytes,
                    after.segments,
                    after.dead_rows,
                    after.bytes
                );
                self.notice("INFO", SqlError::new(SqlState::SuccessfulCompletion, told));
            }
        }
        if names.is_empty() && self.is_superuser() {
            self.settle().await?;
        }
        Ok(())
    }

    /// ANALYZE of some tables, or of all: of whoever owns one.
    pub(super) async fn analyze(&mut self, names: &[ObjectName]) -> Result<()> {
        let named = self.named_tables(names)?;
        let nothing_named = named.is_empty();
        let owned = self.owned_tables(named, "analyze");
        if !owned.is_empty() || (nothing_named && self.is_superuser()) { self.settle().await } else { Ok(()) }
    }

    /// What keeps itself up to date is brought up to date now.
    async fn settle(&mut self) -> Result<()> {
        let db = self.db.clone();
        tokio::task::spawn_blocking(move || db.settle()).await.map_err(SqlError::internal)
    }

    /// REINDEX.
    pub(super) async fn reindex(&mut self, target: &ReindexTarget) -> Result<()> {
        self.refuse_block("REINDEX")?;
        let catalog = self.reader().catalog();
        let indexes: Vec<Arc<Index>> = match target {
            ReindexTarget::Index(name) => {
                let name = relation_name(name)?;
                vec![catalog.index(name).cloned().ok_or_else(|| {
                    let message = match catalog.table(name) {
                        Some(_) => format!("\"{name}\" is not an index"),
                        None => format!("relation \"{name}\" does not exist"),
                    };
                    SqlError::new(SqlState::UndefinedTable, message)
                })?]
            }
            ReindexTarget::Table(name) => {
                let tables = self.named_tables(std::slice::from_ref(name))?;
                tables.iter().try_for_each(|table| self.check_table(table, Need::Owner))?;
                tables.iter().flat_map(|table| catalog.indexes_of(table.id).cloned()).collect()
            }
            ReindexTarget::All => {
                self.check_owner("database", DATABASE, &self.database)?;
                catalog.tables().flat_map(|table| catalog.indexes_of(table.id).cloned()).collect()
            }
        };
        if let (ReindexTarget::Index(_), Some(index)) = (target, indexes.first()) {
            self.check_owner("index", index.table, &index.name)?;
        }
        let session = self.number();
        for index in indexes {
            match index.kind {
                IndexKind::Vector { .. } => {
                    self.work(move |engine, stop| rebuild(engine, index.table, Some(index.id), session, stop)).await?;
                }
                IndexKind::Exact { .. } => {}
                IndexKind::Btree { .. } => {
                    let Some(table) = catalog.table_by_id(index.table) else { continue };
                    let mode = lock_mode(LockMode::AccessExclusive);
                    let Some(table) = self.locked_table(&table.name, mode, Need::Owner).await? else {
                        continue;
                    };
                    // Applying the two empties the index and fills it from the rows.
                    self.transaction()?.change_catalog(Change::DropIndex(index.id));
                    self.fill_btree(&table, index.as_ref().clone())?;
                }
            }
        }
        Ok(())
    }

    /// CHECKPOINT.
    pub(super) async fn checkpoint(&mut self) -> Result<()> {
        let db = self.db.clone();
        tokio::task::spawn_blocking(move || db.checkpoint())
            .await
            .map_err(SqlError::internal)?
            .map_err(|error| error.to_sql())
    }

    /// CHECK of some tables, or of the database.
    pub(super) async fn check(&mut self, tables: Option<&[ObjectName]>) -> Result<Outcome> {
        let tables = tables.map(|names| self.named_tables(names)).transpose()?;
        tables.iter().flatten().try_for_each(|table| self.check_table(table, Need::Owner))?;
        let (engine, cancel) = (self.engine().clone(), self.cancel.clone());
        let work = move || crate::snapshot::check::check(&engine, tables.as_deref(), &|| cancel.check());
        let faults = tokio::task::spawn_blocking(work).await.map_err(SqlError::internal)??;
        let offsets: Vec<_> = faults.iter().map(|fault| fault.offset.map(|at| at.to_string())).collect();
        let rows = faults.iter().zip(&offsets).map(|(fault, offset)| {
            let (relation, file) = (fault.relation.as_deref(), fault.file.as_deref());
            vec![relation, file, offset.as_deref(), Some(fault.fault.as_str())]
        });
        nullable_rows(&check_fields(), rows.collect(), "CHECK")
    }

    /// BACKUP TO.
    pub(super) async fn backup(&mut self, to: &str) -> Result<()> {
        self.refuse_block("BACKUP")?;
        let (db, to, session, cancel) = (self.db.clone(), self.file_to_write(to)?, self.number, self.cancel.clone());
        let stop = move || cancel.check().is_err();
        let backup = tokio::task::spawn_blocking(move || db.backup(&to, session, &stop))
            .await
            .map_err(SqlError::internal)?
            .map_err(|error| error.to_sql())?;
        let told = format!(
            "backup {} of {} bytes, {} of them copied",
            backup.number,
            backup.size_bytes(),
            backup.copied_bytes
        );
        self.notice("INFO", SqlError::new(SqlState::SuccessfulCompletion, told));
        Ok(())
    }

    /// The tables of these names; all of them if there is none.
    fn named_tables(&mut self, names: &[ObjectName]) -> Result<Vec<Arc<Table>>> {
        let catalog = self.reader().catalog();
        if names.is_empty() {
            return Ok(catalog.tables().cloned().collect());
        }
        let find = |name| {
            let name = relation_name(name)?;
            let missing = || SqlError::new(SqlState::UndefinedTable, format!("relation \"{name}\" does not exist"));
            catalog.table(name).cloned().ok_or_else(missing)
        };
        names.iter().map(find).collect()
    }

    fn refuse_block(&self, command: &str) -> Result<()> {
        if !self.in_block() {
            return Ok(());
        }
        let message = format!("{command} cannot run inside a transaction block");
        Err(SqlError::new(SqlState::ActiveSqlTransaction, message))
    }

    /// Does something on a thread for blocking work; it is told to stop when the statement ends before it.
    async fn work<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Arc<Engine>, &AtomicBool) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let (engine, stop) = (self.engine().clone(), Arc::new(AtomicBool::new(false)));
        let stopped = StopOnDrop(stop.clone());
        let done = tokio::task::spawn_blocking(move || work(&engine, &stop)).await.map_err(SqlError::internal)??;
        stopped.disarm();
        Ok(done)
    }
}
