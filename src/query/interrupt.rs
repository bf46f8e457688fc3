//! Ending a plan that runs: between its batches, and within joins, which may work for minutes without giving one.
//!
//! DataFusion's operators give way only where they read their leaves. What makes more rows than it reads, or holds them
//! all back, is therefore wrapped: it looks whether its statement is to end, and lets other tasks run.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll, ready};

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::{DataType, Schema, SchemaRef};
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::error::Result as DataFusionResult;
use datafusion::execution::{RecordBatchStream, SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::ColumnarValue;
use datafusion::physical_plan::execution_plan::{CardinalityEffect, EmissionType, SchedulingType};
use datafusion::physical_plan::joins::utils::JoinFilter;
use datafusion::physical_plan::joins::{HashJoinExec, NestedLoopJoinExec, NestedLoopJoinExecBuilder};
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties, PhysicalExpr, PlanProperties,
};
use futures::{Stream, StreamExt};
use tokio::runtime::{Handle, RuntimeFlavor};

use super::cancel::CancelToken;
use super::statement_state::carry;

/// What [`Interruptible`] is called in a plan.
pub(crate) const NAME: &str = "Interruptible";

/// Once in so many batches a join lets another thread take over the tasks that wait behind it.
const BATCHES_PER_STEP: u32 = 32;

/// The plan with a look at `cancel` wherever it may work long.
pub(crate) fn interruptible(
    plan: Arc<dyn ExecutionPlan>,
    cancel: &CancelToken,
) -> DataFusionResult<Arc<dyn ExecutionPlan>> {
    plan.transform_up(|plan| {
        let plan = guarded(plan, cancel)?;
        let passes_on = plan.children().len() == 1
            && plan.pipeline_behavior() == EmissionType::Incremental
            && matches!(plan.cardinality_effect(), CardinalityEffect::Equal | CardinalityEffect::LowerEqual);
        Ok(if passes_on {
            Transformed::yes(plan)
        } else {
            Transformed::yes(Arc::new(Interruptible::new(plan, cancel.clone())))
        })
    })
    .map(|wrapped| wrapped.data)
}

/// A join with a filter drops the rows it refuses without giving way: there the filter itself looks.
fn guarded(plan: Arc<dyn ExecutionPlan>, cancel: &CancelToken) -> DataFusionResult<Arc<dyn ExecutionPlan>> {
    let filter = |filter: &JoinFilter| {
        let guard = Guard { filter: filter.expression().clone(), cancel: cancel.clone(), batches: Arc::default() };
        Some(JoinFilter::new(Arc::new(guard), filter.column_indices().to_vec(), filter.schema().clone()))
    };
    if let Some(join) = plan.downcast_ref::<NestedLoopJoinExec>() {
        return Ok(match join.filter() {
            Some(condition) => Arc::new(NestedLoopJoinExecBuilder::from(join).with_filter(filter(condition)).build()?),
            None => plan,
        });
    }
    if let Some(join) = plan.downcast_ref::<HashJoinExec>()
        && let Some(condition) = join.filter()
    {
        return join.builder().with_filter(filter(condition)).build_exec();
    }
    Ok(plan)
}

/// An operator whose batches end, with the error of its statement, when the statement is to end.
#[derive(Debug)]
struct Interruptible {
    input: Arc<dyn ExecutionPlan>,
    cancel: CancelToken,
    properties: Arc<PlanProperties>,
}

impl Interruptible {
    fn new(input: Arc<dyn ExecutionPlan>, cancel: CancelToken) -> Self {
        let properties =
            PlanProperties::clone(input.properties()).with_scheduling_type(SchedulingType::Cooperative).into();
        Self { input, cancel, properties }
    }
}

impl DisplayAs for Interruptible {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(NAME)
    }
}

impl ExecutionPlan for Interruptible {
    fn name(&self) -> &str {
        NAME
    }

    fn downcast_delegate(&self) -> Option<&dyn ExecutionPlan> {
        Some(self.input.as_ref())
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        vec![true]
    }

    fn with_new_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> DataFusionResult<Arc<dyn ExecutionPlan>> {
        let Some(input) = children.into_iter().next() else { return Ok(self) };
        Ok(Arc::new(Self::new(input, self.cancel.clone())))
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> DataFusionResult<TreeNodeRecursion>,
    ) -> DataFusionResult<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> DataFusionResult<SendableRecordBatchStream> {
        let batches = self.input.execute(partition, context)?;
        Ok(Box::pin(Batches { batches, cancel: self.cancel.clone() }))
    }
}

struct Batches {
    batches: SendableRecordBatchStream,
    cancel: CancelToken,
}

impl Stream for Batches {
    type Item = DataFusionResult<RecordBatch>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if let Err(error) = carry(self.cancel.check()) {
            return Poll::Ready(Some(Err(error)));
        }
        let turn = ready!(tokio::task::coop::poll_proceed(context));
        let next = self.batches.poll_next_unpin(context);
        if next.is_ready() {
            turn.made_progress();
        }
        next
    }
}

impl RecordBatchStream for Batches {
    fn schema(&self) -> SchemaRef {
        self.batches.schema()
    }
}

/// The filter of a join, which fails when the statement is to end.
#[derive(Debug)]
struct Guard {
    filter: Arc<dyn PhysicalExpr>,
    cancel: CancelToken,
    batches: Arc<AtomicU32>,
}

impl PartialEq for Guard {
    fn eq(&self, other: &Self) -> bool {
        self.filter.eq(&other.filter)
    }
}

impl Eq for Guard {}

impl Hash for Guard {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.filter.hash(state);
    }
}

impl fmt::Display for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.filter.fmt(f)
    }
}

impl PhysicalExpr for Guard {
    fn data_type(&self, schema: &Schema) -> DataFusionResult<DataType> {
        self.filter.data_type(schema)
    }

    fn nullable(&self, schema: &Schema) -> DataFusionResult<bool> {
        self.filter.nullable(schema)
    }

    fn evaluate(&self, batch: &RecordBatch) -> DataFusionResult<ColumnarValue> {
        carry(self.cancel.check())?;
        if self.batches.fetch_add(1, Ordering::Relaxed) % BATCHES_PER_STEP == BATCHES_PER_STEP - 1 {
            return giving_way(|| self.filter.evaluate(batch));
        }
        self.filter.evaluate(batch)
    }

    fn children(&self) -> Vec<&Arc<dyn PhysicalExpr>> {
        vec![&self.filter]
    }

    fn with_new_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn PhysicalExpr>>,
    ) -> DataFusionResult<Arc<dyn PhysicalExpr>> {
        let Some(filter) = children.into_iter().next() else { return Ok(self) };
        Ok(Arc::new(Self { filter, cancel: self.cancel.clone(), batches: self.batches.clone() }))
    }

    fn fmt_sql(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.filter.fmt_sql(f)
    }
}

/// Runs `work`, and lets another thread take over the tasks that wait for this one: the request to cancel may be
/// among them.
pub(crate) fn giving_way<T>(work: impl FnOnce() -> T) -> T {
    match Handle::try_current().map(|handle| handle.runtime_flavor()) {
        Ok(RuntimeFlavor::MultiThread) => tokio::task::block_in_place(work),
        _ => work(),
    }
}
