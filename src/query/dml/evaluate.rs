//! Expressions evaluated outside a plan: over one row, or over a handful.

use std::sync::{Arc, LazyLock};

use datafusion::arrow::array::{ArrayRef, NullArray, RecordBatch, RecordBatchOptions};
use datafusion::arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef};
use datafusion::common::tree_node::TreeNode;
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::{ColumnarValue, Expr, ExprSchemable, LogicalPlanBuilder};
use datafusion::physical_plan::PhysicalExpr;
use lodedb_sql::error::Result;
use lodedb_sql::{Datum, SqlError, SqlState, TypeWithModifier};

use crate::query::arrow::{datum_at, pg_type, scalar_datum};
use crate::query::filter::physical_expr;
use crate::query::plan::query::collect;
use crate::query::statement_state::{Run, sql};

static ONE_ROW: LazyLock<Option<RecordBatch>> = LazyLock::new(|| {
    let schema = Schema::new(vec![Field::new("none", DataType::Null, true)]);
    RecordBatch::try_new(Arc::new(schema), vec![Arc::new(NullArray::new(1)) as ArrayRef]).ok()
});

/// A row that holds nothing.
pub(crate) fn one_row() -> RecordBatch {
    ONE_ROW.clone().unwrap_or_else(|| RecordBatch::new_empty(Arc::new(Schema::empty())))
}

/// The value of an expression on a batch of one row.
pub(crate) fn value_of(expr: &dyn PhysicalExpr, row: &RecordBatch) -> Result<Datum> {
    let field = sql(expr.return_field(row.schema_ref()))?;
    let ty = pg_type(&field);
    match sql(expr.evaluate(row))? {
        ColumnarValue::Scalar(ScalarValue::Null) => Ok(Datum::Null),
        ColumnarValue::Scalar(scalar) => scalar_datum(&scalar, ty),
        ColumnarValue::Array(array) => datum_at(array.as_ref(), 0, ty),
    }
}

/// Whether an expression holds a subquery, so that only a plan can give its value.
pub(crate) fn has_subquery(expr: &Expr) -> bool {
    expr.exists(|expr| {
        Ok(matches!(expr, Expr::ScalarSubquery(_) | Expr::Exists(_) | Expr::InSubquery(_) | Expr::SetComparison(_)))
    })
    .unwrap_or(false)
}

/// The value of an expression without columns or parameters, and its type.
pub(crate) async fn constant(run: &Run, expr: Expr) -> Result<(Datum, TypeWithModifier)> {
    let none = DFSchema::empty();
    if !has_subquery(&expr) {
        let physical = sql(physical_expr(&run.state, expr, &none))?;
        let row = one_row();
        let field = sql(physical.return_field(row.schema_ref()))?;
        return Ok((value_of(physical.as_ref(), &row)?, pg_type(&field)));
    }
    let plan = sql(LogicalPlanBuilder::empty(true).project([expr.alias("value")]).and_then(LogicalPlanBuilder::build))?;
    let ty = pg_type(plan.schema().field(0));
    let batches = collect(run, plan).await?;
    let Some(batch) = batches.iter().find(|batch| batch.num_rows() > 0) else { return Ok((Datum::Null, ty)) };
    Ok((datum_at(batch.column(0), 0, ty)?, ty))
}

/// Expressions over rows of one schema, made ready.
#[derive(Debug)]
pub(crate) struct RowExpressions {
    schema: SchemaRef,
    compiled: Vec<(Arc<dyn PhysicalExpr>, TypeWithModifier)>,
}

impl RowExpressions {
    /// The expressions must hold neither parameters nor subqueries.
    pub(crate) fn new(state: &SessionState, schema: &DFSchema, exprs: impl IntoIterator<Item = Expr>) -> Result<Self> {
        let compiled = exprs
            .into_iter()
            .map(|expr| {
                if has_subquery(&expr) {
                    return Err(SqlError::unsupported("a subquery in this place"));
                }
                let (_, field) = sql(expr.to_field(schema))?;
                Ok((sql(physical_expr(state, expr, schema))?, pg_type(&field)))
            })
            .collect::<Result<Vec<_>>>()?;
        Ok(Self { schema: schema.inner().clone(), compiled })
    }

    /// The columns they are read from.
    pub(crate) fn fields(&self) -> &Fields {
        self.schema.fields()
    }

    /// The type of each.
    pub(crate) fn types(&self) -> impl Iterator<Item = TypeWithModifier> + '_ {
        self.compiled.iter().map(|(_, ty)| *ty)
    }

    /// A batch of rows of the schema.
    pub(crate) fn batch(&self, columns: Vec<ArrayRef>, rows: usize) -> Result<RecordBatch> {
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        RecordBatch::try_new_with_options(self.schema.clone(), columns, &options).map_err(SqlError::internal)
    }

    /// Each expression's values, as arrays.
    pub(crate) fn arrays(&self, batch: &RecordBatch) -> Result<Vec<ArrayRef>> {
        self.compiled
            .iter()
            .map(|(expr, _)| sql(expr.evaluate(batch).and_then(|value| value.into_array(batch.num_rows()))))
            .collect()
    }

    /// Each expression's value on the first row, with its type.
    pub(crate) fn values(&self, batch: &RecordBatch) -> Result<Vec<(Datum, TypeWithModifier)>> {
        self.compiled.iter().map(|(expr, ty)| Ok((value_of(expr.as_ref(), batch)?, *ty))).collect()
    }
}

/// An error for a reference to a column where none may be.
pub(crate) fn column_in_default() -> SqlError {
    SqlError::new(SqlState::FeatureNotSupported, "cannot use column reference in DEFAULT expression")
}
