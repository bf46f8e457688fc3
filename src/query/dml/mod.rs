//! INSERT, UPDATE and DELETE: the rows of a plan turned into changes of a transaction.
//!
//! A statement that changes rows runs in three steps: a plan finds the rows with their new values, all of them before
//! anything is changed; they are locked; then they are changed, one after the other, through the transaction, which
//! checks keys. If a row was changed by somebody else in between, the statement is run again on a fresh view, keeping
//! its locks.
//!
//! INVARIANT: what is stored went through `assign_datum` and [`RowChecks`].

pub(crate) mod conflict;
pub(crate) mod defaults;
pub(crate) mod delete;
pub(crate) mod evaluate;
pub(crate) mod generated;
pub(crate) mod insert;
mod inserter;
pub(crate) mod lock;
pub(crate) mod returning;
pub(crate) mod target;
pub(crate) mod update;

use std::sync::Arc;

use datafusion::arrow::record_batch::RecordBatch;
use datafusion::common::DFSchema;
use datafusion::common::tree_node::TreeNode;
use datafusion::logical_expr::{Expr as DataFusionExpr, Volatility};
use datafusion::sql::sqlparser::ast::Expr;
use lodedb_sql::error::Result;
use lodedb_sql::parse::Places;
use lodedb_sql::{Datum, PgType, ScalarType, SqlError, SqlState, TypeWithModifier};

use super::cancel::CancelToken;
use super::functions::CAST_FUNCTION;
use super::plan::operators::{assign_datum, operand_type};
use super::plan::parameters::Parameters;
use super::plan::{Body, Planned, Planner};
use super::statement_state::{Registry, Run, cast_environment, sql};
use super::{WriteOutcome, plan};
use crate::catalog::{ColumnId, Table};
use crate::commit::locks::LockMode;
use crate::commit::{Reader, Transaction};
use crate::db::settings::Environment;

pub(crate) use delete::DeletePlan;
pub(crate) use insert::InsertPlan;
pub use inserter::RowInserter;
pub(crate) use inserter::{InserterShape, RowChecks};
pub(crate) use lock::LockPlan;
pub(crate) use update::UpdatePlan;

/// A statement that writes, on its way.
pub(crate) struct Writing<'a> {
    pub(crate) registry: &'a Arc<Registry>,
    pub(crate) planned: &'a Planned,
    pub(crate) environment: Arc<Environment>,
    pub(crate) params: &'a [Datum],
    pub(crate) cancel: CancelToken,
}

impl Writing<'_> {
    /// A run over what the transaction reads now.
    pub(crate) fn run(&self, tx: &Transaction) -> Run {
        Run::new(self.registry, tx.reader(), self.environment.clone(), self.cancel.clone())
    }

    /// A planner for expressions that are compiled at each run.
    pub(crate) fn planner(&self, tx: &Transaction) -> Planner {
        let parameters = Parameters::new(&[], 0);
        Planner::new(self.registry, &tx.reader(), &self.environment, parameters, Places::none())
    }
}

/// Runs a statement that writes.
pub(crate) async fn write(
    registry: &Arc<Registry>,
    planned: &Planned,
    tx: &mut Transaction,
    environment: Arc<Environment>,
    params: &[Datum],
    cancel: CancelToken,
) -> Result<WriteOutcome> {
    let writing = Writing { registry, planned, environment, params, cancel };
    match &planned.body {
        Body::Insert(insert) => insert::run(&writing, insert, tx).await,
        Body::Update(update) => update::run(&writing, update, tx).await,
        Body::Delete(delete) => delete::run(&writing, delete, tx).await,
        Body::Lock(lock) => {
            let batches = lock::run(&writing, lock, tx).await?;
            let rows: usize = batches.iter().map(RecordBatch::num_rows).sum();
            Ok(WriteOutcome { tag: format!("SELECT {rows}"), returning: Some(batches) })
        }
        Body::Query(_) | Body::Hot(_) => Err(SqlError::internal("a query was run as a statement that writes")),
    }
}

/// Locks the table of a statement that changes rows; it may be gone by the time it is locked.
pub(crate) async fn lock_target(tx: &mut Transaction, table: &Arc<Table>) -> Result<()> {
    tx.lock_table(table.id, LockMode::RowExclusive).await?;
    check_definition(tx, table)
}

/// Makes sure that a table which is locked by now is the one that the statement was planned for.
fn check_definition(tx: &Transaction, table: &Arc<Table>) -> Result<()> {
    match tx.reader().catalog().table_by_id(table.id) {
        Some(now) if Arc::ptr_eq(now, table) || **now == **table => Ok(()),
        Some(_) => Err(SqlError::new(
            SqlState::SerializationFailure,
            format!("relation \"{}\" was altered while the statement waited for it", table.name),
        )),
        None => Err(SqlError::new(SqlState::UndefinedTable, format!("relation \"{}\" does not exist", table.name))),
    }
}

/// Checks the DEFAULT, CHECK and GENERATED expressions of a table.
pub(crate) fn check_expressions(
    registry: &Arc<Registry>,
    reader: &Reader,
    environment: &Arc<Environment>,
    table: &Arc<Table>,
) -> Result<()> {
    let planner = Planner::new(registry, reader, environment, Parameters::new(&[], 0), Places::none());
    for check in &table.checks {
        let ast = defaults::parse_expr(&check.condition)?;
        // A subquery would have to be asked again whenever another table changes.
        if contains_query(&ast) {
            return Err(SqlError::new(SqlState::FeatureNotSupported, "cannot use subquery in check constraint"));
        }
    }
    RowChecks::new(&planner, table)?;
    for (at, column) in table.visible_columns() {
        if let Some(text) = &column.default
            && contains_query(&defaults::parse_expr(text)?)
        {
            return Err(SqlError::new(SqlState::FeatureNotSupported, "cannot use subquery in DEFAULT expression"));
        }
        defaults::DefaultValue::of(&planner, table, at)?;
    }
    generated::Computation::new(&planner, table, |_| true)?;
    Ok(())
}

/// An expression over the rows of a table that an index is on, or goes by.
#[derive(Debug)]
pub struct IndexedExpression {
    /// What a column of it would be called, if anything.
    pub name: Option<String>,
    /// Its type.
    pub ty: TypeWithModifier,
    /// The columns it names, in order.
    pub uses: Vec<ColumnId>,
}

/// What an index of a table asks of an expression, which is an `index expression` or an `index predicate`.
pub(crate) fn index_expression(
    registry: &Arc<Registry>,
    reader: &Reader,
    environment: &Arc<Environment>,
    table: &Arc<Table>,
    (what, text): (&str, &str),
) -> Result<IndexedExpression> {
    let planner = Planner::new(registry, reader, environment, Parameters::new(&[], 0), Places::none());
    let mut ast = defaults::parse_expr(text)?;
    if contains_query(&ast) {
        return Err(SqlError::new(SqlState::FeatureNotSupported, format!("cannot use subquery in {what}")));
    }
    let schema = inserter::table_schema(table, &planner.catalog)?;
    let name = planner.preparation().column_name(&ast);
    planner.preparation().expr(&mut ast)?;
    let expr = planner.expr(&ast, &schema).map_err(|error| planner.placed(error))?;
    // What a cast depends on of the session are zones and clocks, which have no part in vectors.
    let changes = |expr: &DataFusionExpr| match expr {
        DataFusionExpr::ScalarFunction(call) => {
            call.func.signature().volatility != Volatility::Immutable && call.name() != CAST_FUNCTION
        }
        _ => false,
    };
    if expr.exists(|expr| Ok(changes(expr))).unwrap_or(true) {
        let message = format!("functions in {what} must be marked IMMUTABLE");
        return Err(SqlError::new(SqlState::InvalidObjectDefinition, message));
    }
    let ty = sql(operand_type(&expr, &schema))?.unwrap_or(TypeWithModifier::plain(ScalarType::Text));
    let uses = expr.column_refs().into_iter().filter_map(|column| table.position(&column.name));
    let mut uses: Vec<ColumnId> = uses.map(|at| table.columns[at].id).collect();
    uses.sort_unstable();
    Ok(IndexedExpression { name, ty, uses })
}

fn contains_query(expr: &Expr) -> bool {
    use datafusion::sql::sqlparser::ast::{Query, Visit, Visitor};
    use std::ops::ControlFlow;
    struct Finder;
    impl Visitor for Finder {
        type Break = ();
        fn pre_visit_query(&mut self, _: &Query) -> ControlFlow<()> {
            ControlFlow::Break(())
        }
    }
    expr.visit(&mut Finder).is_break()
}

/// The values of expressions without columns, each of the type wanted.
pub(crate) async fn evaluate(
    registry: &Arc<Registry>,
    reader: &Reader,
    environment: &Arc<Environment>,
    expressions: &[Expr],
    types: &[PgType],
) -> Result<Vec<Datum>> {
    let planner = Planner::new(registry, reader, environment, Parameters::new(&[], 0), Places::none());
    let run = Run::new(registry, reader.clone(), environment.clone(), CancelToken::new());
    let none = DFSchema::empty();
    let mut values = Vec::with_capacity(types.len());
    for (expr, &ty) in expressions.iter().zip(types) {
        let mut ast = expr.clone();
        planner.preparation().expr(&mut ast)?;
        let expr = planner.expr(&ast, &none).map_err(|error| planner.placed(error))?;
        let from = sql(operand_type(&expr, &none))?.map(|ty| ty.ty);
        let expr = planner.typing().assign(expr, from, "parameter", ty)?;
        planner.check_reads()?;
        let (datum, from) = evaluate::constant(&run, expr).await?;
        values.push(assign_datum(datum, from.ty, TypeWithModifier::plain(ty), &cast_environment(environment))?);
    }
    Ok(values)
}

/// An identifier as SQL writes it.
pub(crate) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

pub(crate) use plan::query::{bind, bind_tree, collect, param_values};
