//! Finding `ORDER BY distance LIMIT k` in a plan, or the least of several distances from one column.
//!
//! It is found before the optimizer, while the plan still has the shape of the statement: a limit over a sort over
//! projections, aliases and conditions over one table. Anything else between them, a join, an aggregate, DISTINCT,
//! leaves the plan as it is, and exact.

use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, DFSchema, ScalarValue};
use datafusion::datasource::provider_as_source;
use datafusion::error::Result as DataFusionResult;
use datafusion::logical_expr::utils::split_conjunction_owned;
use datafusion::logical_expr::{Expr, Limit, LogicalPlan, Sort, TableScan};
use lodedb_sql::vector::Metric;
use lodedb_sql::{PgType, ScalarType};

use super::reader::{NeighborReader, Wanted};
use crate::query::functions::KEY_FUNCTION;
use crate::query::plan::operators::operand_type;
use crate::query::plan::relations::provider_of;
use crate::query::scan::{TableReader, is_plain};

/// More rows than this are sorted rather than searched for.
const MOST_NEIGHBORS: usize = 1 << 20;

/// Puts searches in the places of ordered scans.
pub(crate) fn recognise(plan: LogicalPlan) -> DataFusionResult<LogicalPlan> {
    plan.transform_down_with_subqueries(|plan| {
        let LogicalPlan::Limit(limit) = plan else { return Ok(Transformed::no(plan)) };
        let Some(k) = wanted(&limit) else { return Ok(Transformed::no(LogicalPlan::Limit(limit))) };
        match below_limit(&limit.input, k)? {
            Some(input) => Ok(Transformed::yes(LogicalPlan::Limit(Limit { input: Arc::new(input), ..limit }))),
            None => Ok(Transformed::no(LogicalPlan::Limit(limit))),
        }
    })
    .map(|recognised| recognised.data)
}

/// How many rows a limit looks at.
fn wanted(limit: &Limit) -> Option<usize> {
    let number = |expr: &Expr| match expr {
        Expr::Literal(ScalarValue::Int64(Some(value)), _) => usize::try_from(*value).ok(),
        Expr::Literal(ScalarValue::Int32(Some(value)), _) => usize::try_from(*value).ok(),
        _ => None,
    };
    let fetch = number(limit.fetch.as_deref()?)?;
    let skip = match limit.skip.as_deref() {
        None => 0,
        Some(skip) => number(skip)?,
    };
    fetch.checked_add(skip).filter(|&k| k <= MOST_NEIGHBORS)
}

/// What is between the limit and the sort may rename rows, not drop any.
fn below_limit(plan: &LogicalPlan, k: usize) -> DataFusionResult<Option<LogicalPlan>> {
    match plan {
        LogicalPlan::Projection(_) | LogicalPlan::SubqueryAlias(_) => {
            let Some(input) = plan.inputs().first().copied() else { return Ok(None) };
            match below_limit(input, k)? {
                Some(input) => plan.with_new_exprs(plan.expressions(), vec![input]).map(Some),
                None => Ok(None),
            }
        }
        LogicalPlan::Sort(sort) => below_sort(sort, k),
        _ => Ok(None),
    }
}

fn below_sort(sort: &Sort, k: usize) -> DataFusionResult<Option<LogicalPlan>> {
    let Some(key) = sort.expr.first().filter(|key| key.asc && !key.nulls_first) else { return Ok(None) };
    // Other keys order rows that are equally far away.
    let wanted = Wanted { k, ties: sort.expr.len() > 1 };
    let found = descend(&sort.input, key.expr.clone().unalias(), Vec::new(), wanted)?;
    Ok(found.map(|input| LogicalPlan::Sort(Sort { input: Arc::new(input), ..sort.clone() })))
}

/// Goes down to the table, with the sort key and the conditions met in terms of each plan's input.
fn descend(
    plan: &LogicalPlan,
    key: Expr,
    conditions: Vec<Expr>,
    wanted: Wanted,
) -> DataFusionResult<Option<LogicalPlan>> {
    match plan {
        LogicalPlan::Projection(projection) => {
            let through = |expr: Expr| {
                substitute(expr, &|column| {
                    let at = projection.schema.maybe_index_of_column(column)?;
                    let mut expr = projection.expr.get(at)?;
                    while let Expr::Alias(alias) = expr {
                        expr = &alias.expr;
                    }
                    Some(expr.clone())
                })
            };
            let Some(key) = through(key)? else { return Ok(None) };
            let Some(conditions) = all(conditions, through)? else { return Ok(None) };
            descend(&projection.input, key, conditions, wanted)?
                .map(|input| plan.with_new_exprs(plan.expressions(), vec![input]))
                .transpose()
        }
        LogicalPlan::SubqueryAlias(alias) => {
            let through = |expr: Expr| {
                substitute(expr, &|column| {
                    let at = alias.schema.maybe_index_of_column(column)?;
                    let (qualifier, field) = alias.input.schema().qualified_field(at);
                    Some(Expr::Column(Column::new(qualifier.cloned(), field.name())))
                })
            };
            let Some(key) = through(key)? else { return Ok(None) };
            let Some(conditions) = all(conditions, through)? else { return Ok(None) };
            descend(&alias.input, key, conditions, wanted)?
                .map(|input| plan.with_new_exprs(Vec::new(), vec![input]))
                .transpose()
        }
        LogicalPlan::Filter(filter) => {
            let mut conditions = conditions;
            conditions.extend(split_conjunction_owned(filter.predicate.clone()));
            // The condition goes with the search.
            descend(&filter.input, key, conditions, wanted)
        }
        LogicalPlan::TableScan(scan) => at_table(scan, &key, conditions, wanted),
        _ => Ok(None),
    }
}

fn all(
    exprs: Vec<Expr>,
    through: impl Fn(Expr) -> DataFusionResult<Option<Expr>>,
) -> DataFusionResult<Option<Vec<Expr>>> {
    exprs.into_iter().map(through).collect()
}

/// The expression with every column replaced; `None` if one cannot be.
fn substitute(expr: Expr, replace: &dyn Fn(&Column) -> Option<Expr>) -> DataFusionResult<Option<Expr>> {
    let mut complete = true;
    let replaced = expr.transform_down(|expr| match expr {
        Expr::Column(column) => match replace(&column) {
            // What was put in is not looked at again.
            Some(expr) => Ok(Transformed::new(expr, true, datafusion::common::tree_node::TreeNodeRecursion::Jump)),
            None => {
                complete = false;
                Ok(Transformed::no(Expr::Column(column)))
            }
        },
        other => Ok(Transformed::no(other)),
    })?;
    Ok(complete.then_some(replaced.data))
}

fn at_table(
    scan: &TableScan,
    key: &Expr,
    conditions: Vec<Expr>,
    wanted: Wanted,
) -> DataFusionResult<Option<LogicalPlan>> {
    let Some(reader) = provider_of::<TableReader>(&scan.source) else { return Ok(None) };
    if scan.projection.is_some() || !scan.filters.is_empty() || scan.fetch.is_some() {
        return Ok(None);
    }
    let Some((metric, column, queries)) = distances(reader, key) else { return Ok(None) };
    if !conditions.iter().all(is_plain) {
        return Ok(None);
    }
    let conditions = conditions
        .into_iter()
        .map(|condition| {
            let unqualified = |column: &Column| Some(Expr::Column(Column::new_unqualified(&column.name)));
            substitute(condition, &unqualified)
        })
        .collect::<DataFusionResult<Option<Vec<_>>>>()?;
    let Some(conditions) = conditions else { return Ok(None) };
    let reader = NeighborReader::new(reader, column, metric, queries, wanted, conditions);
    let source = provider_as_source(Arc::new(reader));
    Ok(Some(LogicalPlan::TableScan(TableScan { source, ..scan.clone() })))
}

/// The metric of a function that gives a distance.
pub(crate) fn metric_of(function: &str) -> Option<Metric> {
    Some(match function {
        "l2_distance" => Metric::L2,
        "cosine_distance" => Metric::Cosine,
        "l1_distance" => Metric::L1,
        "vector_negative_inner_product" => Metric::InnerProduct,
        _ => return None,
    })
}

/// The metric, the place of the vector column and the queries, if a sort key is the least of distances from constants, or one.
fn distances(reader: &TableReader, key: &Expr) -> Option<(Metric, usize, Vec<Expr>)> {
    let key = within(key)?;
    let keys = match key {
        Expr::ScalarFunction(call) if call.name() == "least" => call.args.as_slice(),
        key => std::slice::from_ref(key),
    };
    let mut found: Option<(Metric, usize, Vec<Expr>)> = None;
    for key in keys {
        let (metric, column, query) = distance(reader, key)?;
        match &mut found {
            None => found = Some((metric, column, vec![query])),
            Some((known, same, queries)) if (*known, *same) == (metric, column) => queries.push(query),
            Some(_) => return None,
        }
    }
    found
}

/// What a sort key is without its names and the form it was given for sorting.
fn within(key: &Expr) -> Option<&Expr> {
    match key {
        Expr::Alias(alias) => within(&alias.expr),
        Expr::ScalarFunction(call) if call.name() == KEY_FUNCTION => within(call.args.first()?),
        key => Some(key),
    }
}

/// The metric, the place of the vector column and the query, if a sort key is a distance from a constant.
fn distance(reader: &TableReader, key: &Expr) -> Option<(Metric, usize, Expr)> {
    let Expr::ScalarFunction(call) = within(key)? else { return None };
    let metric = metric_of(call.name())?;
    let [left, right] = call.args.as_slice() else { return None };
    let vector_column = |expr: &Expr| match expr {
        Expr::Column(column) => {
            let position = reader.table().position(&column.name)?;
            reader.table().columns[position].ty.is_vector().then_some(position)
        }
        _ => None,
    };
    let (position, query) = match (vector_column(left), vector_column(right)) {
        (Some(position), None) => (position, right),
        (None, Some(position)) => (position, left),
        _ => return None,
    };
    let correlated = query
        .exists(|expr| Ok(matches!(expr, Expr::ScalarSubquery(within) if !within.outer_ref_columns.is_empty())))
        .unwrap_or(true);
    // Beside a vector of another kind the column becomes one of that kind.
    let ty = operand_type(query, &DFSchema::empty()).ok().flatten().map(|ty| ty.ty);
    if matches!(ty, Some(PgType::Scalar(ScalarType::Halfvec | ScalarType::Sparsevec))) {
        return None;
    }
    let constant = !correlated && !query.any_column_refs() && !query.contains_outer() && !query.is_volatile();
    constant.then(|| (metric, position, query.clone()))
}
