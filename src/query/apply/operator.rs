//! The operator that runs a subquery for each row of its input.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, RecordBatch, RecordBatchOptions, UInt32Array, new_null_array};
use datafusion::arrow::compute::{cast, concat, take};
use datafusion::arrow::datatypes::{DataType, SchemaRef};
use datafusion::common::metadata::FieldMetadata;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, ScalarValue};
use datafusion::error::{DataFusionError, Result as DataFusionResult};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::type_coercion::binary::comparison_coercion;
use datafusion::logical_expr::{Expr, LogicalPlan, Operator, Subquery};
use datafusion::physical_expr::EquivalenceProperties;
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::metrics::{BaselineMetrics, ExecutionPlanMetricsSet, MetricsSet};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties, PhysicalExpr, PlanProperties,
};
use futures::{StreamExt, TryStreamExt};
use lodedb_sql::{SqlError, SqlState};
use parking_lot::Mutex;

use super::node::{ApplyNode, Kind};
use crate::query::plan::query::{collect, physical, rewrite_function_tables};
use crate::query::statement_state::{BATCH_ROWS, Reading, Run, carry};

/// Results of the subquery that are kept for rows to come with the same values.
const MOST_KEPT: usize = 10_000;

/// Runs a subquery for each row of its input.
pub(crate) struct ApplyOperator {
    pub(crate) input: Arc<dyn ExecutionPlan>,
    plan: Arc<Applied>,
    schema: SchemaRef,
    properties: Arc<PlanProperties>,
    metrics: ExecutionPlanMetricsSet,
}

/// The subquery, and what of a row goes into it.
struct Applied {
    subquery: Arc<LogicalPlan>,
    references: Vec<Column>,
    places: Vec<usize>,
    metadata: Vec<Option<FieldMetadata>>,
    kind: Kind,
    value: Option<Arc<dyn PhysicalExpr>>,
    kept: Mutex<HashMap<Vec<ScalarValue>, Answer>>,
}

/// What the subquery gave for some values.
#[derive(Clone)]
enum Answer {
    Value(ScalarValue),
    Rows(Arc<Vec<RecordBatch>>),
}

impl fmt::Debug for ApplyOperator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ApplyOperator").field("kind", &self.plan.kind).finish_non_exhaustive()
    }
}

impl ApplyOperator {
    pub(crate) fn new(
        node: &ApplyNode,
        input: Arc<dyn ExecutionPlan>,
        places: Vec<usize>,
        value: Option<Arc<dyn PhysicalExpr>>,
    ) -> DataFusionResult<Self> {
        use datafusion::logical_expr::UserDefinedLogicalNodeCore;
        let schema = node.schema().inner().clone();
        let metadata = places
            .iter()
            .map(|&at| {
                let metadata = node.input.schema().field(at).metadata();
                (!metadata.is_empty()).then(|| FieldMetadata::from(metadata))
            })
            .collect();
        let plan = Applied {
            subquery: node.subquery.clone(),
            references: node.references.clone(),
            places,
            metadata,
            kind: node.kind.clone(),
            value,
            kept: Mutex::default(),
        };
        Ok(Self::with_input(input, Arc::new(plan), schema))
    }

    /// The plan of the subquery for some row, as EXPLAIN shows it: each row has its own.
    pub(crate) async fn example(&self, run: &Run) -> Option<Arc<dyn ExecutionPlan>> {
        let row = self.plan.places.iter().map(|&at| {
            let data_type = self.schema.field(at).data_type();
            // A vector of no components is none.
            if data_type.is_nested() { ScalarValue::try_from(data_type) } else { ScalarValue::new_default(data_type) }
        });
        let row = row.collect::<DataFusionResult<Vec<_>>>().ok()?;
        physical(run, self.plan.bound(&row).ok()?).await.ok()
    }

    fn with_input(input: Arc<dyn ExecutionPlan>, plan: Arc<Applied>, schema: SchemaRef) -> Self {
        let properties = PlanProperties::new(
            EquivalenceProperties::new(schema.clone()),
            input.output_partitioning().clone(),
            EmissionType::Incremental,
            Boundedness::Bounded,
        );
        Self { input, plan, schema, properties: Arc::new(properties), metrics: ExecutionPlanMetricsSet::new() }
    }
}

impl Applied {
    /// The subquery with the values of one row put in.
    fn bound(&self, values: &[ScalarValue]) -> DataFusionResult<LogicalPlan> {
        let mut put_in = |expr: Expr| {
            Ok(match expr {
                Expr::OuterReferenceColumn(field, column) => {
                    match self.references.iter().position(|reference| *reference == column) {
                        Some(at) => Transformed::yes(Expr::Literal(values[at].clone(), self.metadata[at].clone())),
                        None => Transformed::no(Expr::OuterReferenceColumn(field, column)),
                    }
                }
                other => Transformed::no(other),
            })
        };
        let plan = substitute(self.subquery.as_ref().clone(), &mut put_in)?;
        rewrite_function_tables(plan, &mut put_in)
    }

    async fn answer(&self, reading: &Reading, values: &[ScalarValue]) -> DataFusionResult<Answer> {
        if let Some(answer) = self.kept.lock().get(values) {
            return Ok(answer.clone());
        }
        let run =
            Run::new(&reading.registry, reading.reader.clone(), reading.environment.clone(), reading.cancel.clone());
        let plan = self.bound(values)?;
        // A plan within a plan: the future would contain itself.
        let batches = carry(Box::pin(collect(&run, plan)).await)?;
        let rows: usize = batches.iter().map(RecordBatch::num_rows).sum();
        let answer = match &self.kind {
            Kind::Scalar if rows > 1 => {
                return carry(Err(SqlError::new(
                    SqlState::CardinalityViolation,
                    "more than one row returned by a subquery used as an expression",
                )));
            }
            Kind::Scalar => match batches.iter().find(|batch| batch.num_rows() > 0) {
                Some(batch) => Answer::Value(ScalarValue::try_from_array(batch.column(0), 0)?),
                None => Answer::Value(ScalarValue::try_from(self.subquery.schema().field(0).data_type())?),
            },
            Kind::Exists => Answer::Value(ScalarValue::Boolean(Some(rows > 0))),
            Kind::Compared { .. } | Kind::Lateral { .. } => Answer::Rows(Arc::new(batches)),
        };
        let mut kept = self.kept.lock();
        if kept.len() >= MOST_KEPT {
            kept.clear();
        }
        kept.insert(values.to_vec(), answer.clone());
        Ok(answer)
    }

    /// The batch with what the subquery adds to each of its rows.
    async fn apply(&self, reading: &Reading, batch: RecordBatch, schema: &SchemaRef) -> DataFusionResult<RecordBatch> {
        let mut answers = Vec::with_capacity(batch.num_rows());
        for row in 0..batch.num_rows() {
            carry(reading.cancel.check())?;
            let values = self
                .places
                .iter()
                .map(|&at| ScalarValue::try_from_array(batch.column(at), row))
                .collect::<DataFusionResult<Vec<_>>>()?;
            answers.push(self.answer(reading, &values).await?);
        }
        match &self.kind {
            Kind::Lateral { outer } => join(&batch, &answers, *outer, schema),
            Kind::Compared { op, all, .. } => {
                let Some(value) = &self.value else {
                    return Err(DataFusionError::Internal("a comparison without a value".into()));
                };
                let value = value.evaluate(&batch)?.into_array(batch.num_rows())?;
                let found = answers
                    .iter()
                    .enumerate()
                    .map(|(row, answer)| compared(&ScalarValue::try_from_array(&value, row)?, *op, *all, answer))
                    .collect::<DataFusionResult<Vec<_>>>()?;
                let column = match found.is_empty() {
                    true => new_null_array(&DataType::Boolean, 0),
                    false => ScalarValue::iter_to_array(found)?,
                };
                with_column(&batch, column, schema)
            }
            Kind::Scalar | Kind::Exists => {
                let wanted = schema.field(schema.fields().len() - 1).data_type();
                let values: Vec<ScalarValue> = answers
                    .into_iter()
                    .filter_map(|answer| match answer {
                        Answer::Value(value) => Some(value),
                        Answer::Rows(_) => None,
                    })
                    .collect();
                let column = if values.is_empty() {
                    new_null_array(wanted, 0)
                } else {
                    cast(&ScalarValue::iter_to_array(values)?, wanted)?
                };
                with_column(&batch, column, schema)
            }
        }
    }
}

/// Puts values in the places of references, in subqueries within subqueries too.
fn substitute(
    plan: LogicalPlan,
    put_in: &mut dyn FnMut(Expr) -> DataFusionResult<Transformed<Expr>>,
) -> DataFusionResult<LogicalPlan> {
    let plan = plan.transform_up_with_subqueries(|plan| {
        let preserver = datafusion::logical_expr::expr_rewriter::NamePreserver::new(&plan);
        let mut changed = false;
        let rewritten = plan.map_expressions(|expr| {
            let name = preserver.save(&expr);
            let bound = expr.transform_up(&mut *put_in)?;
            changed |= bound.transformed;
            Ok(if bound.transformed { bound.update_data(|expr| name.restore(expr)) } else { bound })
        })?;
        if changed { rewritten.map_data(LogicalPlan::recompute_schema) } else { Ok(rewritten) }
    })?;
    // What is put in is referred to no more.
    let settled = plan.data.transform_up_with_subqueries(|plan| {
        plan.map_expressions(|expr| {
            expr.transform_up(|expr| {
                Ok(match expr {
                    Expr::ScalarSubquery(subquery) => Transformed::yes(Expr::ScalarSubquery(renewed(subquery))),
                    Expr::Exists(mut exists) => {
                        exists.subquery = renewed(exists.subquery);
                        Transformed::yes(Expr::Exists(exists))
                    }
                    Expr::InSubquery(mut within) => {
                        within.subquery = renewed(within.subquery);
                        Transformed::yes(Expr::InSubquery(within))
                    }
                    Expr::SetComparison(mut within) => {
                        within.subquery = renewed(within.subquery);
                        Transformed::yes(Expr::SetComparison(within))
                    }
                    other => Transformed::no(other),
                })
            })
        })?
        .transform_data(|plan| {
            // A subquery of an expression stays one; a lateral one that refers to nothing more is a plain input.
            plan.map_children(|input| {
                Ok(match input {
                    LogicalPlan::Subquery(subquery) => match renewed(subquery) {
                        Subquery { subquery, outer_ref_columns, .. } if outer_ref_columns.is_empty() => {
                            Transformed::yes(Arc::unwrap_or_clone(subquery))
                        }
                        subquery => Transformed::yes(LogicalPlan::Subquery(subquery)),
                    },
                    other => Transformed::no(other),
                })
            })
        })
    })?;
    Ok(settled.data)
}

fn renewed(subquery: Subquery) -> Subquery {
    let outer_ref_columns = subquery.subquery.all_out_ref_exprs();
    Subquery { outer_ref_columns, ..subquery }
}

fn with_column(batch: &RecordBatch, column: ArrayRef, schema: &SchemaRef) -> DataFusionResult<RecordBatch> {
    let mut columns = batch.columns().to_vec();
    columns.push(column);
    Ok(RecordBatch::try_new(schema.clone(), columns)?)
}

/// What `value op ANY (rows)` or ALL gives: NULL where nothing decides but something is unknown.
fn compared(value: &ScalarValue, op: Operator, all: bool, answer: &Answer) -> DataFusionResult<ScalarValue> {
    let Answer::Rows(batches) = answer else {
        return Err(DataFusionError::Internal("a comparison with something else than rows".into()));
    };
    let mut unknown = false;
    for batch in batches.iter().filter(|batch| batch.num_rows() > 0) {
        let column = batch.column(0);
        let common = match column.data_type() == &value.data_type() {
            true => value.data_type(),
            false => comparison_coercion(&value.data_type(), column.data_type())
                .ok_or_else(|| DataFusionError::Internal("a comparison of two types that have none".into()))?,
        };
        let (value, column) = (value.cast_to(&common)?, cast(column, &common)?);
        for row in 0..column.len() {
            if value.is_null() || column.is_null(row) {
                unknown = true;
                continue;
            }
            let order = value.partial_cmp(&ScalarValue::try_from_array(&column, row)?);
            let order = order.ok_or_else(|| DataFusionError::Internal("two values without an order".into()))?;
            let holds = match op {
                Operator::Eq => order.is_eq(),
                Operator::NotEq => order.is_ne(),
                Operator::Lt => order.is_lt(),
                Operator::LtEq => order.is_le(),
                Operator::Gt => order.is_gt(),
                Operator::GtEq => order.is_ge(),
                other => return carry(Err(SqlError::unsupported(format!("{other} ANY or ALL (subquery)")))),
            };
            if holds != all {
                return Ok(ScalarValue::Boolean(Some(holds)));
            }
        }
    }
    Ok(ScalarValue::Boolean((!unknown).then_some(all)))
}

/// Each row beside the rows the subquery gave for it.
fn join(batch: &RecordBatch, answers: &[Answer], outer: bool, schema: &SchemaRef) -> DataFusionResult<RecordBatch> {
    let width = batch.num_columns();
    let added = &schema.fields()[width..];
    let mut places: Vec<u32> = Vec::new();
    let mut parts: Vec<Vec<ArrayRef>> = vec![Vec::new(); added.len()];
    for (row, answer) in answers.iter().enumerate() {
        let Answer::Rows(batches) = answer else { continue };
        let rows: usize = batches.iter().map(RecordBatch::num_rows).sum();
        if rows == 0 && outer {
            places.push(row as u32);
            for (part, field) in parts.iter_mut().zip(added) {
                part.push(new_null_array(field.data_type(), 1));
            }
        }
        places.extend(std::iter::repeat_n(row as u32, rows));
        for batch in batches.iter().filter(|batch| batch.num_rows() > 0) {
            for ((part, field), column) in parts.iter_mut().zip(added).zip(batch.columns()) {
                part.push(if column.data_type() == field.data_type() {
                    column.clone()
                } else {
                    cast(column, field.data_type())?
                });
            }
        }
    }
    let total = places.len();
    let places = UInt32Array::from(places);
    let mut columns =
        batch.columns().iter().map(|column| take(column, &places, None)).collect::<Result<Vec<_>, _>>()?;
    for (part, field) in parts.iter().zip(added) {
        let arrays: Vec<&dyn Array> = part.iter().map(AsRef::as_ref).collect();
        columns.push(if arrays.is_empty() { new_null_array(field.data_type(), 0) } else { concat(&arrays)? });
    }
    let options = RecordBatchOptions::new().with_row_count(Some(total));
    Ok(RecordBatch::try_new_with_options(schema.clone(), columns, &options)?)
}

impl DisplayAs for ApplyOperator {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.plan.kind {
            Kind::Lateral { outer: true } => write!(f, "Nested Loop Left Join (subquery for each row)"),
            Kind::Lateral { outer: false } => write!(f, "Nested Loop (subquery for each row)"),
            _ => write!(f, "SubPlan for each row"),
        }
    }
}

impl ExecutionPlan for ApplyOperator {
    fn name(&self) -> &str {
        "ApplyOperator"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn with_new_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> DataFusionResult<Arc<dyn ExecutionPlan>> {
        let Some(input) = children.into_iter().next() else { return Ok(self) };
        Ok(Arc::new(Self::with_input(input, self.plan.clone(), self.schema.clone())))
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        vec![true]
    }

    fn apply_expressions(
        &self,
        f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> DataFusionResult<TreeNodeRecursion>,
    ) -> DataFusionResult<TreeNodeRecursion> {
        match &self.plan.value {
            Some(value) => f(value),
            None => Ok(TreeNodeRecursion::Continue),
        }
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> DataFusionResult<SendableRecordBatchStream> {
        let input = self.input.execute(partition, context.clone())?;
        let reading = Reading::of_task(&context)?.clone();
        let (plan, schema) = (self.plan.clone(), self.schema.clone());
        let metrics = BaselineMetrics::new(&self.metrics, partition);
        let output = schema.clone();
        let batches = input.map_ok(|batch| {
            // A subquery may give many rows for one: the pieces are kept small.
            let step = BATCH_ROWS / 8;
            let pieces: Vec<RecordBatch> = (0..batch.num_rows())
                .step_by(step)
                .map(|at| batch.slice(at, step.min(batch.num_rows() - at)))
                .collect();
            futures::stream::iter(pieces.into_iter().map(Ok::<_, DataFusionError>))
        });
        let applied = batches.try_flatten().then(move |batch| {
            let (plan, reading, schema, metrics) = (plan.clone(), reading.clone(), schema.clone(), metrics.clone());
            async move {
                let batch = plan.apply(&reading, batch?, &schema).await?;
                metrics.record_output(batch.num_rows());
                Ok(batch)
            }
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(output, applied)))
    }

    fn metrics(&self) -> Option<MetricsSet> {
        Some(self.metrics.clone_inner())
    }
}
