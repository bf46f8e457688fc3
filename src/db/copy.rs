//! COPY: rows from the client into a table, and rows to the client.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use datafusion::arrow::record_batch::RecordBatch;
use lodedb_sql::cast::CastEnvironment;
use lodedb_sql::copy::{
    CopyColumn, CopyDecoder, CopyDirection, CopyEncoder, CopyFormat, CopyHeader, CopyOptions, ForceColumns,
};
use lodedb_sql::error::Result;
use lodedb_sql::parse::{ParsedStatement, Places};
use lodedb_sql::statement::{Copy, CopyClause, CopyDirection as Direction, CopyRelation, Privilege, Statement};
use lodedb_sql::{Datum, SqlError, SqlState, TypeWithModifier};

use super::authorize::Need;
use super::ddl::relation_name;
use super::outcome::{BatchStream, Field, Outcome};
use super::session::{Session, or_cancelled};
use crate::catalog::rights::Privileges;
use crate::catalog::{Catalog, Column, Table, TableId};
use crate::commit::Refused;
use crate::commit::locks::LockMode;
use crate::query::RowInserter;
use crate::query::arrow::batch_rows;
use crate::query::dml::quoted;

/// Rows gathered before they are checked and put into the transaction.
const BATCH_ROWS: usize = 4096;

/// How far a COPY is, as `pg_stat_progress_copy` shows it. It is under way as long as this lives.
#[derive(Debug)]
pub struct CopyProgress {
    /// The session.
    pub session: i32,
    /// The table; 0 for a query.
    pub table: TableId,
    /// `COPY FROM` or `COPY TO`.
    pub command: &'static str,
    /// Bytes that came, or were given to the client.
    pub bytes: AtomicU64,
    /// Rows that came, or were given to the client.
    pub rows: AtomicU64,
}

impl CopyProgress {
    fn begin(session: &Session, table: TableId, command: &'static str) -> Arc<Self> {
        let (bytes, rows) = (AtomicU64::new(0), AtomicU64::new(0));
        let progress = Arc::new(Self { session: session.number(), table, command, bytes, rows });
        let mut copies = session.engine().copies.lock();
        copies.retain(|copy| copy.strong_count() > 0);
        copies.push(Arc::downgrade(&progress));
        progress
    }

    fn add(&self, bytes: usize, rows: usize) {
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        self.rows.fetch_add(rows as u64, Ordering::Relaxed);
    }
}

/// Rows on their way into a table.
pub struct CopyIn {
    table: Arc<Table>,
    decoder: CopyDecoder,
    inserter: RowInserter,
    pending: Vec<Vec<Datum>>,
    /// The line of each of them.
    lines: Vec<u64>,
    rows: u64,
    columns: usize,
    binary: bool,
    progress: Arc<CopyProgress>,
}

impl std::fmt::Debug for CopyIn {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CopyIn").field("table", &self.table.name).field("rows", &self.rows).finish_non_exhaustive()
    }
}

impl CopyIn {
    /// Whether the client is to send the binary format.
    pub fn format_is_binary(&self) -> bool {
        self.binary
    }

    /// How many columns it is to send.
    pub fn column_count(&self) -> usize {
        self.columns
    }

    /// Takes the next bytes.
    pub async fn write(&mut self, session: &mut Session, chunk: Bytes) -> Result<()> {
        let before = self.pending.len();
        let read = self.decoder.push(&chunk, &mut self.pending);
        self.progress.add(chunk.len(), self.pending.len() - before);
        self.after_read(read)?;
        if self.pending.len() >= BATCH_ROWS {
            self.insert(session).await?;
        }
        Ok(())
    }

    /// Ends the copy; gives the command tag.
    pub async fn finish(mut self, session: &mut Session) -> Result<String> {
        let read = self.decoder.finish(&mut self.pending);
        self.after_read(read)?;
        self.insert(session).await?;
        session.transaction()?.finish_statement().await?;
        Ok(format!("COPY {}", self.rows))
    }

    /// Rows before a line that cannot be read may be wrong by themselves; then they are what the client hears of.
    fn after_read(&mut self, read: Result<()>) -> Result<()> {
        self.lines.extend(self.decoder.take_lines());
        let Err(error) = read else { return Ok(()) };
        let mut rows = self.inserter.fill(std::mem::take(&mut self.pending))?;
        self.inserter.finish(&mut rows).map_err(|refused| self.in_context(refused))?;
        Err(error)
    }

    /// The client gave up.
    pub fn fail(self, session: &mut Session, message: &str) -> SqlError {
        session.statement_failed();
        SqlError::new(SqlState::QueryCanceled, format!("COPY from stdin failed: {message}")).with_context(format!(
            "COPY {}, line {}",
            self.table.name,
            self.rows + self.pending.len() as u64 + 1
        ))
    }

    async fn insert(&mut self, session: &mut Session) -> Result<()> {
        let rows = std::mem::take(&mut self.pending);
        self.rows += rows.len() as u64;
        let (rows, checked) = self.inserter.complete(rows)?;
        let cancel = session.cancel.clone();
        let tx = session.transaction()?;
        let inserted =
            or_cancelled(&cancel, async { Ok::<_, SqlError>(tx.insert_many(&self.table, rows).await) }).await?;
        inserted.and(checked).map_err(|refused| self.in_context(refused))?;
        self.lines.clear();
        Ok(())
    }

    fn in_context(&self, refused: Refused) -> SqlError {
        match self.lines.get(refused.row) {
            Some(line) => refused.error.with_context(format!("COPY {}, line {line}", self.table.name)),
            None => refused.error,
        }
    }
}

/// Rows on their way to the client.
pub struct CopyOut {
    pub(crate) batches: BatchStream,
    pub(crate) fields: Arc<[Field]>,
    /// Writes headers and trailers, and the rows of the formats that are text.
    pub(crate) encoder: CopyEncoder,
    types: Vec<TypeWithModifier>,
    binary: bool,
    progress: Arc<CopyProgress>,
}

impl std::fmt::Debug for CopyOut {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CopyOut").field("fields", &self.fields).finish_non_exhaustive()
    }
}

impl CopyOut {
    /// Whether it is the binary format.
    pub fn format_is_binary(&self) -> bool {
        self.binary
    }

    /// So many bytes and rows more are with the client.
    pub(crate) fn gave(&self, bytes: usize, rows: usize) {
        self.progress.add(bytes, rows);
    }

    /// The rows of a batch, as [`CopyEncoder::row`] takes them.
    pub(crate) fn values(&self, batch: &RecordBatch) -> Result<Vec<Vec<Datum>>> {
        batch_rows(batch, &self.types)
    }
}

fn options(clause: &CopyClause) -> Result<CopyOptions> {
    let format = match clause.format.as_deref() {
        None | Some("text") => CopyFormat::Text,
        Some("csv") => CopyFormat::Csv,
        Some("binary") => CopyFormat::Binary,
        Some(other) => {
            return Err(SqlError::new(
                SqlState::InvalidParameterValue,
                format!("COPY format \"{other}\" not recognized"),
            ));
        }
    };
    let header = match clause.header.as_deref() {
        None | Some("false") => CopyHeader::None,
        Some("match") => CopyHeader::Match,
        Some(_) => CopyHeader::Names,
    };
    Ok(CopyOptions {
        format,
        header,
        delimiter: clause.delimiter.clone(),
        null: clause.null.clone(),
        quote: clause.quote.clone(),
        escape: clause.escape.clone(),
        force_quote: match &clause.force_quote {
            None => ForceColumns::None,
            Some(columns) if columns.is_empty() => ForceColumns::All,
            Some(columns) => ForceColumns::Named(columns.clone()),
        },
        force_not_null: clause.force_not_null.clone().unwrap_or_default(),
        force_null: clause.force_null.clone().unwrap_or_default(),
        encoding: clause.encoding.clone(),
    })
}

/// The places in a row of the columns a statement names; where it names none, all visible ones that are not computed.
fn positions(catalog: &Catalog, table: &Table, names: &[String]) -> Result<Vec<usize>> {
    if names.is_empty() {
        let given = |column: &Column| catalog.generated(table.id, column.id).is_none();
        return Ok(table.visible_columns().filter(|(_, column)| given(column)).map(|(at, _)| at).collect());
    }
    let mut positions = Vec::new();
    for name in names {
        let at = table.position(name).ok_or_else(|| {
            SqlError::new(
                SqlState::UndefinedColumn,
                format!("column \"{name}\" of relation \"{}\" does not exist", table.name),
            )
        })?;
        if positions.contains(&at) {
            return Err(SqlError::new(
                SqlState::DuplicateColumn,
                format!("column \"{name}\" specified more than once"),
            ));
        }
        positions.push(at);
    }
    Ok(positions)
}

/// `42P10` for a column that is computed.
fn check_copied(catalog: &Catalog, table: &Table, positions: &[usize]) -> Result<()> {
    let mut columns = positions.iter().map(|&at| &table.columns[at]);
    let Some(column) = columns.find(|column| catalog.generated(table.id, column.id).is_some()) else { return Ok(()) };
    let message = format!("column \"{}\" is a generated column", column.name);
    Err(SqlError::new(SqlState::InvalidColumnReference, message)
        .with_detail("Generated columns cannot be used in COPY."))
}

/// A table that rows are about to be put into.
pub(super) struct Writing {
    pub(super) table: Arc<Table>,
    /// The places of the columns that are given.
    pub(super) positions: Vec<usize>,
    pub(super) inserter: RowInserter,
}

impl Session {
    /// Starts a statement that puts rows into a table.
    pub(super) async fn start_writing(&mut self, name: &str, columns: &[String]) -> Result<Writing> {
        self.transaction()?.start_statement();
        let need = Need::All(Privileges::of(&[Privilege::Insert]));
        let table = self
            .locked_table(name, LockMode::RowExclusive, need)
            .await?
            .ok_or_else(|| SqlError::new(SqlState::UndefinedTable, format!("relation \"{name}\" does not exist")))?;
        let (engine, environment) = (self.db.engine().clone(), self.environment());
        let reader = self.transaction()?.reader();
        let positions = positions(&reader.catalog(), &table, columns)?;
        let inserter = engine.query.row_inserter(&reader, &environment, &table, &positions)?;
        Ok(Writing { table, positions, inserter })
    }

    /// COPY.
    pub(super) async fn copy(&mut self, copy: &Copy, places: &Places) -> Result<Outcome> {
        match copy.direction {
            Direction::FromStdin => self.copy_in(copy).await,
            Direction::ToStdout => self.copy_out(copy, places).await,
        }
    }

    async fn copy_in(&mut self, copy: &Copy) -> Result<Outcome> {
        let CopyRelation::Table { name, columns } = &copy.relation else {
            return Err(SqlError::new(SqlState::SyntaxError, "COPY FROM needs a table"));
        };
        if copy.condition.is_some() {
            return Err(SqlError::unsupported("COPY ... WHERE"));
        }
        let Writing { table, positions, inserter } = self.start_writing(relation_name(name)?, columns).await?;
        check_copied(&self.catalog(), &table, &positions)?;
        let copied: Vec<CopyColumn> = positions
            .iter()
            .map(|&at| CopyColumn { name: table.columns[at].name.clone(), ty: table.columns[at].ty })
            .collect();
        let options = options(&copy.options)?;
        options.check(CopyDirection::From, &copied)?;
        let environment = self.environment();
        let cast = CastEnvironment { zone: environment.zone, now_us: environment.transaction_time_us };
        let count = copied.len();
        let decoder = CopyDecoder::new(table.name.clone(), &options, copied, cast)?;
        let progress = CopyProgress::begin(self, table.id, "COPY FROM");
        Ok(Outcome::CopyIn(Box::new(CopyIn {
            table,
            decoder,
            inserter,
            pending: Vec::new(),
            lines: Vec::new(),
            rows: 0,
            columns: count,
            binary: options.format == CopyFormat::Binary,
            progress,
        })))
    }

    async fn copy_out(&mut self, copy: &Copy, places: &Places) -> Result<Outcome> {
        let mut relation = 0;
        let statement = match &copy.relation {
            CopyRelation::Query(query) => ParsedStatement {
                places: places.clone(),
                ..ParsedStatement::unwritten(Statement::Query(query.clone()))
            },
            CopyRelation::Table { name, columns } => {
                let catalog = self.reader().catalog();
                let table = catalog.require_table(relation_name(name)?)?;
                let positions = positions(&catalog, table, columns)?;
                check_copied(&catalog, table, &positions)?;
                relation = table.id;
                let names: Vec<String> = positions.into_iter().map(|at| quoted(&table.columns[at].name)).collect();
                let text = format!("SELECT {} FROM {}", names.join(", "), quoted(&table.name));
                self.parse(&text)?.remove(0)
            }
        };
        let prepared = Box::pin(self.make_ready(statement, &[])).await?;
        let options = options(&copy.options)?;
        let fields = prepared.fields.clone().unwrap_or_default();
        let columns: Vec<CopyColumn> =
            fields.iter().map(|field| CopyColumn { name: field.name.clone(), ty: field.ty }).collect();
        options.check(CopyDirection::To, &columns)?;
        let Some(plan) = &prepared.plan else { return Err(SqlError::internal("a query was not planned")) };
        if plan.locks_rows() {
            return Err(SqlError::unsupported("COPY of a query that locks rows"));
        }
        self.note_reads(plan)?;
        let (reader, environment) = (self.reader(), self.environment());
        let cancel = self.cancel.clone();
        let batches = self.db.engine().query.query(plan, reader, environment, &[], cancel).await?.batches;
        Ok(Outcome::CopyOut(Box::new(CopyOut {
            batches,
            fields,
            types: columns.iter().map(|column| column.ty).collect(),
            encoder: CopyEncoder::new(&options, columns, self.zone())?,
            binary: options.format == CopyFormat::Binary,
            progress: CopyProgress::begin(self, relation, "COPY TO"),
        })))
    }
}
