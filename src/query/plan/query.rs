//! Running a plan: parameters bound, neighbours and subqueries taken out, then DataFusion.

use std::sync::Arc;

use datafusion::arrow::record_batch::RecordBatch;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{ParamValues, metadata::ScalarAndMetadata};
use datafusion::error::Result as DataFusionResult;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::logical_expr::expr::Placeholder;
use datafusion::logical_expr::{Expr, LogicalPlan, TableScan};
use datafusion::physical_plan::{ExecutionPlan, execute_stream};
use futures::StreamExt;
use lodedb_sql::error::Result;
use lodedb_sql::{Datum, PgType, SqlError, SqlState, TypeWithModifier};

use super::Planned;
use super::operators::literal_metadata;
use super::relations::{FunctionTable, provider_of};
use crate::db::outcome::BatchStream;
use crate::query::arrow::scalar_value;
use crate::query::cancel::CancelToken;
use crate::query::functions::sql_error;
use crate::query::interrupt::interruptible;
use crate::query::scan::TableReader;
use crate::query::statement_state::{Run, sql};
use crate::query::{Running, apply, knn};

/// Tables up to this many rows are read by one thread: spreading them costs more than it gains.
const SMALL_TABLE_ROWS: u64 = 50_000;

/// Runs a query.
pub(crate) async fn run(run: &Run, plan: &LogicalPlan, planned: &Planned, params: &[Datum]) -> Result<Running> {
    let plan = bind(plan.clone(), &planned.parameters, params)?;
    let physical = sql(physical(run, plan).await)?;
    let is_search = knn::is_search(physical.as_ref());
    let stream = sql(execute_stream(physical, run.state.task_ctx()))?;
    Ok(Running { batches: cancellable(stream, run.reading.cancel.clone()), is_search })
}

/// Runs a plan whose parameters are bound, to its end.
pub(crate) async fn collect(run: &Run, plan: LogicalPlan) -> Result<Vec<RecordBatch>> {
    let physical = sql(physical(run, plan).await)?;
    let stream = sql(execute_stream(physical, run.state.task_ctx()))?;
    let mut stream = cancellable(stream, run.reading.cancel.clone());
    let mut batches = Vec::new();
    while let Some(batch) = stream.next().await {
        batches.push(batch?);
    }
    Ok(batches)
}

/// `08P01` if there are more or fewer values than parameters.
pub(crate) fn check_count(types: &[PgType], params: &[Datum]) -> Result<()> {
    if types.len() == params.len() {
        return Ok(());
    }
    Err(SqlError::new(
        SqlState::ProtocolViolation,
        format!("bind message supplies {} parameters, but prepared statement requires {}", params.len(), types.len()),
    ))
}

/// The values of parameters as DataFusion takes them.
pub(crate) fn param_values(types: &[PgType], params: &[Datum]) -> Result<ParamValues> {
    check_count(types, params)?;
    let values = types
        .iter()
        .zip(params)
        .map(|(&ty, datum)| {
            let ty = TypeWithModifier::plain(ty);
            Ok(ScalarAndMetadata::new(scalar_value(datum, ty)?, literal_metadata(ty)))
        })
        .collect::<Result<Vec<_>>>()?;
    Ok(ParamValues::List(values))
}

/// A plan with values for its parameters.
pub(crate) fn bind(plan: LogicalPlan, types: &[PgType], params: &[Datum]) -> Result<LogicalPlan> {
    let values = param_values(types, params)?;
    if types.is_empty() {
        return Ok(plan);
    }
    let plan = sql(plan.replace_params_with_values(&values))?;
    sql(rewrite_function_tables(plan, &mut |expr| bind_expr(expr, &values)))
}

/// One expression with values for its parameters.
pub(crate) fn bind_tree(expr: Expr, values: &ParamValues) -> Result<Expr> {
    sql(expr.transform_up(|expr| bind_expr(expr, values)).map(|bound| bound.data))
}

fn bind_expr(expr: Expr, values: &ParamValues) -> DataFusionResult<Transformed<Expr>> {
    match expr {
        Expr::Placeholder(Placeholder { id, .. }) => {
            let (value, metadata) = values.get_placeholders_with_values(&id)?.into_inner();
            Ok(Transformed::yes(Expr::Literal(value, metadata)))
        }
        other => Ok(Transformed::no(other)),
    }
}

/// Rewrites the arguments of functions in FROM, which are not among the expressions of a plan.
pub(crate) fn rewrite_function_tables(
    plan: LogicalPlan,
    rewrite: &mut dyn FnMut(Expr) -> DataFusionResult<Transformed<Expr>>,
) -> DataFusionResult<LogicalPlan> {
    plan.transform_up_with_subqueries(|plan| match plan {
        LogicalPlan::TableScan(scan) => {
            let rewritten = match provider_of::<FunctionTable>(&scan.source) {
                Some(table) => table.rewritten(&mut *rewrite)?,
                None => None,
            };
            Ok(match rewritten {
                Some(source) => Transformed::yes(LogicalPlan::TableScan(TableScan { source, ..scan })),
                None => Transformed::no(LogicalPlan::TableScan(scan)),
            })
        }
        other => Ok(Transformed::no(other)),
    })
    .map(|rewritten| rewritten.data)
}

/// From a bound plan to what runs.
pub(crate) async fn physical(run: &Run, plan: LogicalPlan) -> DataFusionResult<Arc<dyn ExecutionPlan>> {
    let mut state = run.state.clone();
    if is_small(run, &plan)? {
        state.config_mut().options_mut().execution.target_partitions = 1;
    }
    let plan = match run.reading.environment.settings.is_on("enable_seqscan") {
        true => plan,
        false => knn::only_rows_of_indexes(plan, &run.reading.reader.catalog())?,
    };
    let plan = knn::recognise(plan)?;
    let physical = if apply::holds_subquery(&plan)? {
        let easier = apply::take_out(plan.clone(), apply::Which::BeyondTheOptimizer)?;
        match state.create_physical_plan(&easier).await {
            // An error of the statement itself will come again.
            Err(_) if apply::is_correlated(&plan)? => {
                let plan = apply::take_out(plan, apply::Which::All)?;
                state.create_physical_plan(&plan).await
            }
            done => done,
        }
    } else {
        state.create_physical_plan(&plan).await
    };
    interruptible(physical?, &run.reading.cancel)
}

fn is_small(run: &Run, plan: &LogicalPlan) -> DataFusionResult<bool> {
    let mut rows = 0;
    plan.apply_with_subqueries(|plan| {
        if let LogicalPlan::TableScan(scan) = plan
            && let Some(reader) = provider_of::<TableReader>(&scan.source)
        {
            rows += reader.row_count(run.reader());
        }
        Ok(datafusion::common::tree_node::TreeNodeRecursion::Continue)
    })?;
    Ok(rows < SMALL_TABLE_ROWS)
}

/// A stream that ends with `57014` soon after it is cancelled.
pub(crate) fn cancellable(stream: SendableRecordBatchStream, cancel: CancelToken) -> BatchStream {
    let steps = futures::stream::unfold(Some((stream, cancel)), |running| async move {
        let (mut stream, cancel) = running?;
        if let Err(error) = cancel.check() {
            return Some((Err(error), None));
        }
        let next = tokio::select! {
            biased;
            next = stream.next() => next,
            () = cancel.cancelled() => return Some((Err(cancel.error()), None)),
        };
        match next? {
            Ok(batch) => Some((Ok(batch), Some((stream, cancel)))),
            Err(error) => Some((Err(sql_error(error)), None)),
        }
    });
    Box::pin(steps)
}
