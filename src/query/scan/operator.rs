//! The operator that reads a table.
//!
//! A short scan reads within its poll: rows in the block cache cost a microsecond each, less than handing them to
//! another thread. A long one reads on threads meant to block, a few batches ahead.

use std::fmt;
use std::sync::Arc;

use datafusion::common::stats::Precision;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{ColumnStatistics, Statistics};
use datafusion::error::Result as DataFusionResult;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::EquivalenceProperties;
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::metrics::{BaselineMetrics, ExecutionPlanMetricsSet, MetricsSet};
use datafusion::physical_plan::stream::{RecordBatchReceiverStreamBuilder, RecordBatchStreamAdapter};
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, Partitioning, PhysicalExpr, PlanProperties,
};

use super::access::Access;
use super::rows::{Projection, RowBatches, Wanted};
use crate::catalog::Table;
use crate::commit::{FIRST_PROVISIONAL_ROW, Reader};
use crate::query::statement_state::{Reading, carry};

/// Scans of more rows read on threads meant to block.
const LONG_SCAN_ROWS: u64 = 30_000;
/// Batches such a thread reads ahead.
const BATCHES_AHEAD: usize = 2;

/// Reads rows of a table.
pub(crate) struct ScanOperator {
    reader: Reader,
    pub(crate) table: Arc<Table>,
    projection: Projection,
    pub(crate) access: Access,
    parts: Vec<Wanted>,
    limit: Option<usize>,
    rows: u64,
    properties: Arc<PlanProperties>,
    metrics: ExecutionPlanMetricsSet,
}

impl fmt::Debug for ScanOperator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScanOperator").field("table", &self.table.name).finish_non_exhaustive()
    }
}

impl ScanOperator {
    pub(crate) fn new(
        reader: Reader,
        table: Arc<Table>,
        projection: Projection,
        access: Access,
        limit: Option<usize>,
        partitions: usize,
    ) -> Self {
        let total = super::row_count(&reader, &table);
        let (rows, parts) = match &access {
            Access::Nothing => (0, vec![Wanted::Ids(Arc::from([]))]),
            Access::Index { rows, .. } => (rows.len() as u64, vec![Wanted::Ids(rows.clone())]),
            Access::Everything => (total, ranges(&reader, &table, total, if limit.is_some() { 1 } else { partitions })),
        };
        let properties = PlanProperties::new(
            EquivalenceProperties::new(projection.schema.clone()),
            Partitioning::UnknownPartitioning(parts.len()),
            EmissionType::Incremental,
            Boundedness::Bounded,
        );
        Self {
            reader,
            table,
            projection,
            access,
            parts,
            limit,
            rows,
            properties: Arc::new(properties),
            metrics: ExecutionPlanMetricsSet::new(),
        }
    }
}

/// The parts of a table that are read beside each other.
fn ranges(reader: &Reader, table: &Table, rows: u64, partitions: usize) -> Vec<Wanted> {
    let end = reader.table_view(table.id).map_or(FIRST_PROVISIONAL_ROW, |view| view.next_row.max(1)) - 1;
    if rows < LONG_SCAN_ROWS || partitions < 2 || end == FIRST_PROVISIONAL_ROW - 1 {
        return vec![Wanted::Range { ids: 0..=FIRST_PROVISIONAL_ROW - 1, own: true }];
    }
    let parts = partitions.min(8) as u64;
    let step = (end / parts).max(1);
    (0..parts)
        .map(|part| {
            let last = part + 1 == parts;
            let to = if last { FIRST_PROVISIONAL_ROW - 1 } else { (part + 1) * step - 1 };
            Wanted::Range { ids: part * step..=to, own: last }
        })
        .collect()
}

impl DisplayAs for ScanOperator {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.access {
            Access::Index { index, .. } => write!(f, "Index Scan using {} on {}", index.name, self.table.name),
            _ => write!(f, "Seq Scan on {}", self.table.name),
        }
    }
}

impl ExecutionPlan for ScanOperator {
    fn name(&self) -> &str {
        "ScanOperator"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
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
        let wanted = self.parts.get(partition).cloned().unwrap_or(Wanted::Ids(Arc::from([])));
        let mut batches = carry(RowBatches::new(
            self.reader.clone(),
            self.table.clone(),
            self.projection.clone(),
            wanted,
            self.limit,
        ))?;
        let cancel = Reading::of_task(&context)?.cancel.clone();
        let long = self.rows / self.parts.len().max(1) as u64 > LONG_SCAN_ROWS / 2
            && self.limit.is_none_or(|limit| limit > 4096);
        if !long {
            let next = move || {
                let timer = metrics.elapsed_compute().timer();
                let batch = carry(batches.advance());
                timer.done();
                if let Ok(Some(batch)) = &batch {
                    metrics.record_output(batch.num_rows());
                }
                batch.transpose()
            };
            let stream = futures::stream::iter(std::iter::from_fn(next));
            return Ok(Box::pin(RecordBatchStreamAdapter::new(schema, stream)));
        }
        let mut builder = RecordBatchReceiverStreamBuilder::new(schema, BATCHES_AHEAD);
        let sender = builder.tx();
        builder.spawn_blocking(move || {
            loop {
                carry(cancel.check())?;
                let timer = metrics.elapsed_compute().timer();
                let batch = carry(batches.advance())?;
                timer.done();
                let Some(batch) = batch else { return Ok(()) };
                metrics.record_output(batch.num_rows());
                if sender.blocking_send(Ok(batch)).is_err() {
                    // Nobody wants more.
                    return Ok(());
                }
            }
        });
        Ok(builder.build())
    }

    fn metrics(&self) -> Option<MetricsSet> {
        Some(self.metrics.clone_inner())
    }

    fn partition_statistics(&self, partition: Option<usize>) -> DataFusionResult<Arc<Statistics>> {
        let exact = partition.is_none() && matches!(self.access, Access::Everything | Access::Nothing);
        let rows = self.limit.map_or(self.rows, |limit| self.rows.min(limit as u64)) as usize;
        let num_rows = match partition {
            None if exact => Precision::Exact(rows),
            None => Precision::Inexact(rows),
            Some(_) => Precision::Inexact(rows / self.parts.len().max(1)),
        };
        Ok(Arc::new(Statistics {
            num_rows,
            total_byte_size: Precision::Absent,
            column_statistics: vec![ColumnStatistics::new_unknown(); self.projection.schema.fields().len()],
        }))
    }
}
