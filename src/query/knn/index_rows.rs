//! The rows of an index, where a query is told to go by the index.
//!
//! In PostgreSQL a query in the order of a distance that goes by pgvector's index gives the rows which that index holds:
//! none whose vector is NULL, and by cosine none whose vector is zero. Here every row is found whatever the road; but
//! with `enable_seqscan` off, which asks for the index, the answer is the index's.

use std::sync::Arc;

use datafusion::common::tree_node::Transformed;
use datafusion::error::Result as DataFusionResult;
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::{Expr, Filter, LogicalPlan, Sort, lit};
use lodedb_sql::resolve::{ClassMetric, VECTOR_CLASSES};
use lodedb_sql::vector::Metric;

use super::recognise::metric_of;
use crate::catalog::{Catalog, IndexKind};
use crate::query::functions::scalar_function;
use crate::query::plan::relations::provider_of;
use crate::query::scan::TableReader;

/// Leaves out the rows that an index on the order of a sort does not hold.
pub(crate) fn only_rows_of_indexes(plan: LogicalPlan, catalog: &Catalog) -> DataFusionResult<LogicalPlan> {
    plan.transform_up_with_subqueries(|plan| {
        let LogicalPlan::Sort(sort) = plan else { return Ok(Transformed::no(plan)) };
        let Some(condition) = held(&sort, catalog) else { return Ok(Transformed::no(LogicalPlan::Sort(sort))) };
        let input = Arc::new(LogicalPlan::Filter(Filter::try_new(condition, sort.input)?));
        Ok(Transformed::yes(LogicalPlan::Sort(Sort { input, ..sort })))
    })
    .map(|changed| changed.data)
}

/// What is true of the rows that an index on the one key of a sort holds; none where there is no such index.
fn held(sort: &Sort, catalog: &Catalog) -> Option<Expr> {
    let [key] = sort.expr.as_slice() else { return None };
    if !key.asc || key.nulls_first {
        return None;
    }
    let mut expr = innermost(&key.expr);
    // A distance from what a subquery gives is a column of the input.
    if let (Expr::Column(column), LogicalPlan::Projection(projection)) = (expr, sort.input.as_ref()) {
        expr = innermost(projection.expr.get(projection.schema.maybe_index_of_column(column)?)?);
    }
    let Expr::ScalarFunction(call) = expr else { return None };
    let metric = class_metric(call.name())?;
    let [left, right] = call.args.as_slice() else { return None };
    let column = match (left, right) {
        (Expr::Column(column), other) | (other, Expr::Column(column)) if !other.any_column_refs() => column,
        _ => return None,
    };
    let reader = table_below(&sort.input).filter(|_| sort.input.schema().has_column(column))?;
    let position = reader.table().position(&column.name)?;
    let id = reader.table().columns[position].id;
    let is_on_it = |kind: &IndexKind| match kind {
        IndexKind::Vector { spec, .. } => spec.column == id && ClassMetric::Vectors(spec.metric) == metric,
        IndexKind::Exact { column, opclass: Some(opclass), predicate: None, .. } => {
            let class = VECTOR_CLASSES.iter().find(|class| class.name == opclass);
            *column == Some(id) && class.is_some_and(|class| class.metric == metric)
        }
        _ => false,
    };
    if !catalog.indexes_of(reader.table().id).any(|index| is_on_it(&index.kind)) {
        return None;
    }
    let column = Expr::Column(column.clone());
    if metric == ClassMetric::Vectors(Metric::Cosine) {
        let norm = ScalarFunction::new_udf(scalar_function("l2_norm")?, vec![column]);
        return Some(Expr::ScalarFunction(norm).gt(lit(0.0)));
    }
    Some(column.is_not_null())
}

fn innermost(mut expr: &Expr) -> &Expr {
    while let Expr::Alias(alias) = expr {
        expr = &alias.expr;
    }
    expr
}

/// The metric of a function that gives a distance between vectors of any kind.
pub(crate) fn class_metric(function: &str) -> Option<ClassMetric> {
    match function {
        "hamming_distance" => Some(ClassMetric::Hamming),
        "jaccard_distance" => Some(ClassMetric::Jaccard),
        _ => metric_of(function).map(ClassMetric::Vectors),
    }
}

/// The one table under a plan that renames and selects its rows and does nothing else.
fn table_below(plan: &LogicalPlan) -> Option<&TableReader> {
    match plan {
        LogicalPlan::TableScan(scan) => provider_of::<TableReader>(&scan.source),
        LogicalPlan::Projection(_) | LogicalPlan::SubqueryAlias(_) | LogicalPlan::Filter(_) => {
            table_below(plan.inputs().first().copied()?)
        }
        _ => None,
    }
}
