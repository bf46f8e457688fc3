//! The columns of set operations and of VALUES, which come from several places: they get the type that PostgreSQL finds for them all.

use std::sync::Arc;

use datafusion::arrow::datatypes::DataType;
use datafusion::common::tree_node::Transformed;
use datafusion::common::{Column, NullEquality};
use datafusion::error::Result as DataFusionResult;
use datafusion::logical_expr::expr::Cast;
use datafusion::logical_expr::logical_plan::{Join, Values};
use datafusion::logical_expr::{Distinct, Expr, JoinType, LogicalPlan, LogicalPlanBuilder, Union};
use lodedb_sql::resolve::common_type;
use lodedb_sql::{PgType, TypeWithModifier};

use super::choice::of_one_type;
use super::operators::{Typing, operand_type};
use super::recursive::uncast_expr;
use super::typing::{is_untyped, room_for_decimals, same_form, type_plan};
use crate::query::arrow::pg_type;
use crate::query::statement_state::carry;

/// Gives the columns of a set operation, or of VALUES, their types; below, all are typed.
pub(super) fn settle(plan: LogicalPlan, typing: &Typing<'_>) -> DataFusionResult<Transformed<LogicalPlan>> {
    match plan {
        LogicalPlan::Union(union) => settle_union(union, typing),
        LogicalPlan::Join(join) if is_set_operation(&join) => settle_join(join, typing),
        LogicalPlan::Values(values) => settle_values(values, typing),
        other => Ok(Transformed::no(other)),
    }
}

/// Whether the columns of a relation may get other types than DataFusion's planner gave them. What is below an alias has been settled.
pub(super) fn is_unsettled(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::Union(_) | LogicalPlan::Values(_) | LogicalPlan::RecursiveQuery(_) => true,
        LogicalPlan::Join(join) if is_set_operation(join) => true,
        LogicalPlan::SubqueryAlias(_) | LogicalPlan::TableScan(_) => false,
        other => other.inputs().into_iter().any(is_unsettled),
    }
}

/// Gives the column of a subquery its type, if that is not settled: what stands around it is planned with it.
pub(super) fn settle_subquery(expr: Expr, typing: &Typing<'_>) -> DataFusionResult<Expr> {
    match expr {
        Expr::ScalarSubquery(mut query) if is_unsettled(&query.subquery) => {
            query.subquery = Arc::new(type_plan(Arc::unwrap_or_clone(query.subquery), typing)?);
            Ok(Expr::ScalarSubquery(query))
        }
        other => Ok(other),
    }
}

/// Whether a join is what INTERSECT or EXCEPT became.
fn is_set_operation(join: &Join) -> bool {
    matches!(join.join_type, JoinType::LeftSemi | JoinType::LeftAnti)
        && join.null_equality == NullEquality::NullEqualsNull
}

fn settle_union(mut union: Union, typing: &Typing<'_>) -> DataFusionResult<Transformed<LogicalPlan>> {
    let types: Vec<_> = union.inputs.iter().map(|input| column_types(input)).collect();
    let common = common_types("UNION", &types)?;
    let room: Vec<_> = (0..common.len())
        .map(|at| room_for_decimals(union.inputs.iter().map(|input| input.schema().field(at).data_type())))
        .collect();
    let mut any = false;
    for (input, types) in union.inputs.iter_mut().zip(&types) {
        let converted = converted(input, types, &common, &room, typing)?;
        any |= converted.is_some();
        if let Some(plan) = converted {
            *input = Arc::new(plan);
        }
    }
    if !any {
        return Ok(Transformed::no(LogicalPlan::Union(union)));
    }
    Union::try_new_with_loose_types(union.inputs).map(LogicalPlan::Union).map(Transformed::yes)
}

/// INTERSECT and EXCEPT: a join whose left side is without duplicates.
fn settle_join(mut join: Join, typing: &Typing<'_>) -> DataFusionResult<Transformed<LogicalPlan>> {
    let (left, is_distinct) = match join.left.as_ref() {
        LogicalPlan::Distinct(Distinct::All(input)) => (input.as_ref(), true),
        other => (other, false),
    };
    let types = [column_types(left), column_types(&join.right)];
    let shown = if join.join_type == JoinType::LeftSemi { "INTERSECT" } else { "EXCEPT" };
    let common = common_types(shown, &types)?;
    let room = vec![None; common.len()];
    let left = converted(left, &types[0], &common, &room, typing)?.map(Arc::new);
    let right = converted(&join.right, &types[1], &common, &room, typing)?;
    if left.is_none() && right.is_none() {
        return Ok(Transformed::no(LogicalPlan::Join(join)));
    }
    if let Some(left) = left {
        join.left = if is_distinct { Arc::new(LogicalPlan::Distinct(Distinct::All(left))) } else { left };
    }
    if let Some(right) = right {
        join.right = Arc::new(right);
    }
    LogicalPlan::Join(join).recompute_schema().map(Transformed::yes)
}

/// The types that the columns have in common, none where all are untyped; `42804` where there is none.
fn common_types(shown: &str, types: &[Vec<Option<PgType>>]) -> DataFusionResult<Vec<Option<PgType>>> {
    let width = types.iter().map(Vec::len).min().unwrap_or(0);
    let common = (0..width).map(|at| {
        let column: Vec<_> = types.iter().map(|types| types[at]).collect();
        column.iter().any(Option::is_some).then(|| carry(common_type(shown, &column))).transpose()
    });
    common.collect()
}

/// A side of a set operation with its columns of these types, or with room for these decimals; `None` if all are.
fn converted(
    plan: &LogicalPlan,
    types: &[Option<PgType>],
    common: &[Option<PgType>],
    room: &[Option<DataType>],
    typing: &Typing<'_>,
) -> DataFusionResult<Option<LogicalPlan>> {
    let mut changed = false;
    let mut exprs = Vec::with_capacity(types.len());
    for (at, (column, ty)) in plan.schema().columns().into_iter().zip(types).enumerate() {
        let Column { relation, name, .. } = column.clone();
        let column = Expr::Column(column);
        let other = match (ty, common[at], &room[at]) {
            (Some(ty), Some(common), _) if *ty != common => Some(match same_form(*ty, common) {
                true => carry(typing.cast_call(column.clone(), TypeWithModifier::plain(common)))?,
                false => carry(typing.convert(column.clone(), Some(*ty), common))?,
            }),
            (None, Some(common), _) if let Some(literal) = untyped_at(plan, at) => {
                Some(carry(typing.convert(literal, None, common))?)
            }
            (_, _, Some(room)) => Some(Expr::Cast(Cast::new(Box::new(column.clone()), room.clone()))),
            _ => None,
        };
        changed |= other.is_some();
        exprs.push(other.map_or(column, |other| other.alias_qualified(relation, name)));
    }
    if !changed {
        return Ok(None);
    }
    LogicalPlanBuilder::from(plan.clone()).project(exprs)?.build().map(Some)
}

/// VALUES: DataFusion has cast its cells to types of its own.
fn settle_values(values: Values, typing: &Typing<'_>) -> DataFusionResult<Transformed<LogicalPlan>> {
    let is_cast = |expr: &Expr| matches!(expr, Expr::Cast(_)) && uncast_expr(expr.clone()) != *expr;
    if !values.values.iter().flatten().any(is_cast) {
        return Ok(Transformed::no(LogicalPlan::Values(values)));
    }
    let schema = values.schema.clone();
    let mut rows: Vec<Vec<Expr>> = values.values.iter().map(|row| Vec::with_capacity(row.len())).collect();
    for at in 0..schema.fields().len() {
        let cells = values.values.iter().map(|row| uncast_expr(row[at].clone())).collect();
        for (row, cell) in rows.iter_mut().zip(of_one_type(cells, "VALUES", &schema, typing)?) {
            row.push(cell);
        }
    }
    let types = |rows: &[Vec<Expr>]| {
        rows.iter().flatten().map(|cell| operand_type(cell, &schema)).collect::<DataFusionResult<Vec<_>>>()
    };
    if types(&rows)? == types(&values.values)? {
        return Ok(Transformed::no(LogicalPlan::Values(values)));
    }
    LogicalPlanBuilder::values(rows)?.build().map(Transformed::yes)
}

/// The types of the columns of a plan; none for what is untyped.
fn column_types(plan: &LogicalPlan) -> Vec<Option<PgType>> {
    let types = plan.schema().fields().iter().enumerate().map(|(at, field)| match field.data_type() {
        DataType::Null => None,
        _ => untyped_at(plan, at).is_none().then(|| pg_type(field).ty),
    });
    types.collect()
}

/// The literal, or the parameter, without a type that a column of a plan is.
fn untyped_at(plan: &LogicalPlan, at: usize) -> Option<Expr> {
    let LogicalPlan::Projection(projection) = plan else { return None };
    let expr = projection.expr.get(at)?.clone().unalias_nested().data;
    is_untyped(&expr).then_some(expr)
}
