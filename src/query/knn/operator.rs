//! The operator that gives the nearest rows.
//!
//! A search is a fraction of a millisecond to a few, so it runs within its poll; only a large exact one goes to a thread
//! meant to block.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use datafusion::arrow::record_batch::RecordBatch;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::error::{DataFusionError, Result as DataFusionResult};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::EquivalenceProperties;
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::metrics::{BaselineMetrics, ExecutionPlanMetricsSet, MetricsSet};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, Partitioning, PhysicalExpr, PlanProperties, collect,
};
use lodedb_sql::error::Result;
use lodedb_sql::{SqlError, SqlState};
use parking_lot::Mutex;

use super::reader::vector_of;
use super::search::Ask;
use crate::query::arrow::{datum_at, pg_type};
use crate::query::scan::rows::{Projection, RowBatches, Wanted};
use crate::query::statement_state::carry;
use crate::segment::{Effort, SearchStats};

/// An exact search over more rows than this blocks too long for a thread that serves others.
const LONG_SEARCH_ROWS: u64 = 500_000;

/// Where the query comes from.
#[derive(Clone, Debug)]
pub(crate) enum Query {
    /// It is known; `None` is NULL.
    Constant(Option<Arc<[f32]>>),
    /// A plan of one row and one column.
    Plan(Arc<dyn ExecutionPlan>),
}

/// What a search did, for EXPLAIN ANALYZE.
#[derive(Clone, Debug)]
pub(crate) struct Searched {
    pub(crate) stats: SearchStats,
    pub(crate) elapsed: Duration,
}

/// Whether a plan searches for neighbours anywhere.
pub(crate) fn is_search(plan: &dyn ExecutionPlan) -> bool {
    (plan as &dyn std::any::Any).is::<NeighborOperator>()
        || plan.children().into_iter().any(|input| is_search(input.as_ref()))
}

/// Gives the nearest rows.
pub(crate) struct NeighborOperator {
    pub(crate) ask: Ask,
    queries: Vec<Query>,
    /// The queries as EXPLAIN shows them.
    pub(crate) query_texts: Vec<String>,
    pub(crate) conditions: Vec<String>,
    projection: Projection,
    properties: Arc<PlanProperties>,
    metrics: ExecutionPlanMetricsSet,
    pub(crate) searched: Arc<Mutex<Option<Searched>>>,
}

impl fmt::Debug for NeighborOperator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NeighborOperator").field("table", &self.ask.table.name).finish_non_exhaustive()
    }
}

impl NeighborOperator {
    pub(crate) fn new(
        ask: Ask,
        queries: Vec<Query>,
        query_texts: Vec<String>,
        conditions: Vec<String>,
        projection: Projection,
    ) -> Self {
        let properties = PlanProperties::new(
            EquivalenceProperties::new(projection.schema.clone()),
            Partitioning::UnknownPartitioning(1),
            EmissionType::Final,
            Boundedness::Bounded,
        );
        Self {
            ask,
            queries,
            query_texts,
            conditions,
            projection,
            properties: Arc::new(properties),
            metrics: ExecutionPlanMetricsSet::new(),
            searched: Arc::default(),
        }
    }
}

/// Searches, and reads the columns wanted of what was found.
fn rows(
    ask: &Ask,
    queries: &[Option<Arc<[f32]>>],
    projection: Projection,
    searched: &Mutex<Option<Searched>>,
) -> Result<RecordBatch> {
    let started = Instant::now();
    let (found, stats) = ask.run_each(queries)?;
    let ids: Vec<u64> = found.iter().map(|found| found.row).collect();
    *searched.lock() = Some(Searched { stats, elapsed: started.elapsed() });
    let schema = projection.schema.clone();
    let mut batches =
        RowBatches::new(ask.reader.clone(), ask.table.clone(), projection, Wanted::Ids(ids.into()), None)?;
    let mut all = Vec::new();
    while let Some(batch) = batches.advance()? {
        all.push(batch);
    }
    match all.len() {
        1 => all.pop().ok_or_else(|| SqlError::internal("a batch went missing")),
        0 => Ok(RecordBatch::new_empty(schema)),
        _ => datafusion::arrow::compute::concat_batches(&schema, &all).map_err(SqlError::internal),
    }
}

/// The vector in the one row of a plan's result.
async fn evaluate(plan: Arc<dyn ExecutionPlan>, context: Arc<TaskContext>) -> DataFusionResult<Option<Arc<[f32]>>> {
    let schema = plan.schema();
    let batches = collect(plan, context).await?;
    let total: usize = batches.iter().map(RecordBatch::num_rows).sum();
    if total > 1 {
        return carry(Err(SqlError::new(
            SqlState::CardinalityViolation,
            "more than one row returned by a subquery used as an expression",
        )));
    }
    let Some(batch) = batches.iter().find(|batch| batch.num_rows() == 1) else { return Ok(None) };
    let datum = carry(datum_at(batch.column(0), 0, pg_type(schema.field(0))))?;
    carry(vector_of(datum))
}

impl DisplayAs for NeighborOperator {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Nearest {} of {}", self.ask.k, self.ask.table.name)
    }
}

impl ExecutionPlan for NeighborOperator {
    fn name(&self) -> &str {
        "NeighborOperator"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        // The plans of queries run as a whole before anything here: they are nobody's inputs.
        Vec::new()
    }

    fn with_new_children(
        self: Arc<Self>,
        _children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> DataFusionResult<Arc<dyn ExecutionPlan>> {
        Ok(self)
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> DataFusionResult<TreeNodeRecursion>,
    ) -> DataFusionResult<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> DataFusionResult<SendableRecordBatchStream> {
        let schema = self.projection.schema.clone();
        let metrics = BaselineMetrics::new(&self.metrics, partition);
        let (ask, queries, projection) = (self.ask.clone(), self.queries.clone(), self.projection.clone());
        let searched = self.searched.clone();
        let batch = async move {
            let mut vectors = Vec::with_capacity(queries.len());
            for query in queries {
                vectors.push(match query {
                    Query::Constant(query) => query,
                    Query::Plan(plan) => evaluate(plan, context.clone()).await?,
                });
            }
            let timer = metrics.elapsed_compute().timer();
            let total = crate::query::scan::row_count(&ask.reader, &ask.table);
            let exact = ask.index.is_none() || ask.effort == Effort::Exact;
            let batch = if exact && ask.named.is_none() && total > LONG_SEARCH_ROWS {
                tokio::task::spawn_blocking(move || rows(&ask, &vectors, projection, &searched))
                    .await
                    .map_err(|error| DataFusionError::External(Box::new(error)))?
            } else {
                rows(&ask, &vectors, projection, &searched)
            };
            let batch = carry(batch)?;
            timer.done();
            metrics.record_output(batch.num_rows());
            Ok(batch)
        };
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, futures::stream::once(batch))))
    }

    fn metrics(&self) -> Option<MetricsSet> {
        Some(self.metrics.clone_inner())
    }
}
