//! Queries: planning them, finding neighbours, running them, and working out what INSERT, UPDATE and DELETE change.
//!
//! The session calls [`QueryEngine::prepare`] once for a statement and [`QueryEngine::query`] or
//! [`QueryEngine::write`] for each run. In between a statement passes, in this order:
//! 1. [`plan`]: its syntax tree is named and typed as PostgreSQL does it and becomes a plan of DataFusion's, which is
//!    kept with the statement. It holds no view, so it may be kept as long as the client likes.
//! 2. [`hot`]: what looks up, searches or writes by key or by distance is recognised here and skips the rest.
//! 3. Its parameters are bound; [`knn`] replaces an ordered scan by a search for neighbours, [`apply`] takes the
//!    subqueries that must be run for each row.
//! 4. DataFusion's optimizer and planner; [`scan`] reads tables, with [`filter`] at the bottom of both.
//! 5. [`dml`] turns the rows of a plan into changes of a [`Transaction`].
//!
//! INVARIANT 1: only this folder names DataFusion beyond its Arrow types.
//! INVARIANT 2: a plan finds what it reads in the [`Reader`] of the run, never in itself.
//! INVARIANT 3: whoever runs a plan is asked each time whether it may, before anything is read.

pub mod apply;
pub mod arrow;
pub mod cancel;
pub mod dml;
pub mod explain;
pub mod filter;
pub mod functions;
pub mod hot;
mod interrupt;
pub mod knn;
mod memory_pool;
pub mod pg_catalog;
pub mod plan;
mod registered;
pub mod scan;
mod statement_state;

#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::sync::Arc;

use datafusion::arrow::record_batch::RecordBatch;
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryPool, MemoryReservation};
use datafusion::sql::sqlparser::ast::Expr;
use lodedb_sql::error::Result;
use lodedb_sql::parse::ParsedStatement;
use lodedb_sql::statement::{ExplainOptions, Statement};
use lodedb_sql::{Datum, PgType, SqlError};

use crate::catalog::{ColumnId, Generated, Table, TableId};
use crate::commit::{Reader, Refused, Row, Transaction};
use crate::db::outcome::{BatchStream, Field};
use crate::db::settings::Environment;

pub use cancel::CancelToken;
pub use dml::{IndexedExpression, RowInserter};
pub use registered::name_objects;

use plan::Body;
use statement_state::{Reading, Registry, Run};

/// How the query room works.
#[derive(Clone, Debug)]
pub struct QueryOptions {
    /// Memory that sorts, joins and aggregates of all statements share before they spill or fail.
    pub memory_limit_bytes: usize,
    /// Threads a statement spreads over.
    pub threads: usize,
    /// Where what does not fit in memory goes meanwhile; the system's folder for temporary files where there is none.
    pub spill_dir: Option<PathBuf>,
}

impl Default for QueryOptions {
    fn default() -> Self {
        Self { memory_limit_bytes: 1 << 30, threads: 2, spill_dir: None }
    }
}

/// The query room of one database. Clones share it.
#[derive(Clone, Debug)]
pub struct QueryEngine {
    registry: Arc<Registry>,
}

/// A statement planned. It may be run any number of times, on any view whose catalog it [`is_current`] for.
///
/// [`is_current`]: PreparedPlan::is_current
#[derive(Clone, Debug)]
pub struct PreparedPlan(Arc<plan::Planned>);

impl PreparedPlan {
    /// The types of `$1`, `$2`, ...
    pub fn parameters(&self) -> Arc<[PgType]> {
        self.0.parameters.clone()
    }

    /// The columns of its result; `None` if it has none.
    pub fn fields(&self) -> Option<Arc<[Field]>> {
        self.0.fields.clone()
    }

    /// Whether it is a query that locks the rows it gives.
    pub fn locks_rows(&self) -> bool {
        matches!(self.0.body, Body::Lock(_))
    }

    /// The tables whose rows it looks at.
    pub fn tables_read(&self) -> impl Iterator<Item = TableId> {
        self.0.tables_read()
    }

    /// Whether it is the very same plan.
    pub fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// Whether the catalog is still the one it was planned for.
    pub fn is_current(&self, reader: &Reader) -> bool {
        self.0.is_current(reader)
    }
}

/// What a writing statement did.
#[derive(Clone, Debug)]
pub struct WriteOutcome {
    /// Its command tag: `INSERT 0 3`.
    pub tag: String,
    /// The rows of its RETURNING.
    pub returning: Option<Vec<RecordBatch>>,
}

/// A query that runs.
pub struct Running {
    /// Its rows.
    pub batches: BatchStream,
    /// Whether it searches for neighbours.
    pub is_search: bool,
}

impl QueryEngine {
    /// The query room of a database that was opened.
    pub fn new(options: QueryOptions) -> Self {
        Self { registry: Arc::new(Registry::new(options)) }
    }

    /// The memory that sorts, joins and groups of all statements hold, in bytes.
    pub fn memory_bytes(&self) -> usize {
        self.registry.memory().reserved()
    }

    /// Memory of queries for something that outlives a statement; nothing of it is taken yet.
    pub fn memory_for(&self, what: &str) -> MemoryReservation {
        MemoryConsumer::new(what).register(&self.registry.memory_pool())
    }

    /// From now on they may hold this many bytes together.
    pub fn set_memory_limit(&self, bytes: usize) {
        self.registry.memory().set_limit(bytes);
    }

    /// Plans a statement: a query, INSERT, UPDATE, DELETE, or EXPLAIN of one. `types`: those the client gave for
    /// `$1`, `$2`, ...
    pub async fn prepare(
        &self,
        reader: &Reader,
        environment: &Arc<Environment>,
        statement: &Arc<ParsedStatement>,
        types: &[Option<PgType>],
    ) -> Result<PreparedPlan> {
        let planned = plan::prepare(&self.registry, reader, environment, statement, types).await?;
        Ok(PreparedPlan(Arc::new(planned)))
    }

    /// Runs a query.
    pub async fn query(
        &self,
        plan: &PreparedPlan,
        reader: Reader,
        environment: Arc<Environment>,
        params: &[Datum],
        cancel: CancelToken,
    ) -> Result<Running> {
        plan.0.check_allowed(&reader.catalog(), &environment)?;
        let query = match &plan.0.body {
            Body::Query(query) => query,
            Body::Hot(hot) => {
                let reading = Reading { reader, environment, cancel, registry: self.registry.clone() };
                let batches = hot.query(&plan.0.parameters, &reading, params)?;
                return Ok(Running { batches, is_search: hot.is_search() });
            }
            _ => return Err(SqlError::internal("a statement that writes was run as a query")),
        };
        let run = Run::new(&self.registry, reader, environment, cancel);
        plan::query::run(&run, query, &plan.0, params).await
    }

    /// Runs a statement that writes.
    pub async fn write(
        &self,
        plan: &PreparedPlan,
        tx: &mut Transaction,
        environment: Arc<Environment>,
        params: &[Datum],
        cancel: CancelToken,
    ) -> Result<WriteOutcome> {
        plan.0.check_allowed(&tx.reader().catalog(), &environment)?;
        let written = match &plan.0.body {
            Body::Hot(hot) => hot.write(&plan.0.parameters, tx, &environment, params, &cancel).await,
            _ => dml::write(&self.registry, &plan.0, tx, environment.clone(), params, cancel).await,
        };
        written.map_err(|error| plan.0.shown(error, &tx.reader().catalog(), &environment))
    }

    /// What completes and checks rows that COPY brings; `positions` are the places of the columns it gives.
    pub fn row_inserter(
        &self,
        reader: &Reader,
        environment: &Arc<Environment>,
        table: &Arc<Table>,
        positions: &[usize],
    ) -> Result<RowInserter> {
        RowInserter::new(&self.registry, reader, environment, table, positions)
    }

    /// What the catalog keeps of the expression that is to compute a column; `computed` are all columns of the table that are.
    pub fn generated(
        &self,
        reader: &Reader,
        environment: &Environment,
        table: &Arc<Table>,
        computed: &[ColumnId],
        column: (ColumnId, String),
    ) -> Result<Generated> {
        dml::generated::define(&self.registry, reader, environment, table, computed, column)
    }

    /// Computes a column of rows that have the others, and checks the rows.
    pub fn compute(
        &self,
        reader: &Reader,
        environment: &Arc<Environment>,
        table: &Arc<Table>,
        column: ColumnId,
        rows: &mut [Row],
    ) -> Result<(), Refused> {
        dml::generated::compute(&self.registry, reader, environment, table, column, rows)
    }

    /// Checks the DEFAULT, CHECK and GENERATED expressions of a table before it comes to be.
    pub async fn check_expressions(
        &self,
        reader: &Reader,
        environment: &Arc<Environment>,
        table: &Arc<Table>,
    ) -> Result<()> {
        dml::check_expressions(&self.registry, reader, environment, table)
    }

    /// What an index asks of an expression over the rows of its table: `what` is `index expression` or `index predicate`.
    pub fn index_expression(
        &self,
        reader: &Reader,
        environment: &Arc<Environment>,
        table: &Arc<Table>,
        (what, text): (&str, &str),
    ) -> Result<IndexedExpression> {
        dml::index_expression(&self.registry, reader, environment, table, (what, text))
    }

    /// The lines of EXPLAIN. With ANALYZE the statement runs, in the transaction if it writes.
    #[expect(clippy::too_many_arguments, reason = "a statement's whole surroundings")]
    pub async fn explain(
        &self,
        plan: &PreparedPlan,
        options: &ExplainOptions,
        reader: Reader,
        tx: Option<&mut Transaction>,
        environment: Arc<Environment>,
        params: &[Datum],
        cancel: CancelToken,
    ) -> Result<Vec<String>> {
        plan.0.check_allowed(&reader.catalog(), &environment)?;
        explain::explain(&self.registry, &plan.0, options, reader, tx, environment, params, cancel).await
    }

    /// The values of expressions without columns, each cast as if it were stored into a column of its type.
    pub async fn evaluate(
        &self,
        reader: &Reader,
        environment: &Arc<Environment>,
        expressions: &[Expr],
        types: &[PgType],
    ) -> Result<Vec<Datum>> {
        dml::evaluate(&self.registry, reader, environment, expressions, types).await
    }
}

/// The statement that is planned: the one under an EXPLAIN, or the statement itself.
fn planned_statement(statement: &Statement) -> &Statement {
    match statement {
        Statement::Explain { statement, .. } => planned_statement(statement),
        other => other,
    }
}
