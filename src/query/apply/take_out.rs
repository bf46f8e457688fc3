//! Which subqueries are run for each row, and how a plan changes for it.

use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, DFSchema};
use datafusion::error::Result as DataFusionResult;
use datafusion::logical_expr::expr::{Exists, InSubquery, SetComparison, SetQuantifier};
use datafusion::logical_expr::utils::split_conjunction;
use datafusion::logical_expr::{
    Expr, Filter, Join, LogicalPlan, LogicalPlanBuilder, Operator, Projection, Sort, Subquery, SubqueryAlias,
};
use lodedb_sql::SqlError;

use super::node::{ApplyNode, Kind, lateral_kind};
use crate::query::plan::relations::{FunctionTable, provider_of};
use crate::query::statement_state::carry;

/// Which subqueries are taken out of a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Which {
    /// Those that DataFusion is known to refuse.
    BeyondTheOptimizer,
    /// Every one that refers to rows beside it, too.
    All,
}

/// Whether an expression of a plan holds a subquery.
pub(crate) fn holds_subquery(plan: &LogicalPlan) -> DataFusionResult<bool> {
    plan.exists(|plan| {
        let mut found = matches!(plan, LogicalPlan::Subquery(_));
        plan.apply_expressions(|expr| {
            found |= expr.exists(|expr| Ok(subquery_of(expr).is_some()))?;
            Ok(if found { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
        })?;
        Ok(found)
    })
}

fn subquery_of(expr: &Expr) -> Option<&Subquery> {
    match expr {
        Expr::ScalarSubquery(subquery)
        | Expr::Exists(Exists { subquery, .. })
        | Expr::InSubquery(InSubquery { subquery, .. })
        | Expr::SetComparison(SetComparison { subquery, .. }) => Some(subquery),
        _ => None,
    }
}

/// Whether a plan compares with ANY or ALL of a subquery, itself or in a subquery: DataFusion answers that wrongly.
fn compares(plan: &LogicalPlan) -> DataFusionResult<bool> {
    let mut found = false;
    plan.apply_with_subqueries(|plan| {
        plan.apply_expressions(|expr| {
            found |= expr.exists(|expr| Ok(matches!(expr, Expr::SetComparison(_))))?;
            Ok(TreeNodeRecursion::Continue)
        })?;
        Ok(if found { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    })?;
    Ok(found)
}

/// Whether a plan holds a subquery that refers to rows beside it.
pub(crate) fn is_correlated(plan: &LogicalPlan) -> DataFusionResult<bool> {
    let mut found = false;
    plan.apply_with_subqueries(|plan| {
        plan.apply_expressions(|expr| {
            found |= expr.contains_outer();
            Ok(if found { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
        })?;
        Ok(if found { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    })?;
    Ok(found)
}

/// Takes subqueries out.
pub(crate) fn take_out(plan: LogicalPlan, which: Which) -> DataFusionResult<LogicalPlan> {
    let mut taker = Taker { which, taken: 0 };
    let plan = plan.transform_up(|plan| taker.node(plan))?.data;
    if compares(&plan)? {
        return carry(Err(SqlError::unsupported("a comparison with ANY or ALL of a subquery in this place")));
    }
    Ok(plan)
}

struct Taker {
    which: Which,
    taken: usize,
}

/// The columns beside a subquery that it refers to and that `input` has.
fn references(subquery: &LogicalPlan, input: &DFSchema) -> DataFusionResult<Vec<Column>> {
    let mut found = Vec::new();
    subquery.apply_with_subqueries(|plan| {
        plan.apply_expressions(|expr| {
            expr.apply(|expr| {
                if let Expr::OuterReferenceColumn(_, column) = expr
                    && input.maybe_index_of_column(column).is_some()
                    && !found.contains(column)
                {
                    found.push(column.clone());
                }
                Ok(TreeNodeRecursion::Continue)
            })
        })?;
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(found)
}

/// Whether DataFusion cannot turn a subquery into a join, wherever it stands.
fn is_beyond(plan: &LogicalPlan) -> DataFusionResult<bool> {
    let mut beyond = false;
    plan.apply_with_subqueries(|plan| {
        beyond |= match plan {
            LogicalPlan::Limit(_) | LogicalPlan::Window(_) | LogicalPlan::Union(_) | LogicalPlan::Distinct(_) => true,
            LogicalPlan::TableScan(scan) => provider_of::<FunctionTable>(&scan.source).is_some(),
            LogicalPlan::Unnest(_) | LogicalPlan::RecursiveQuery(_) => true,
            _ => false,
        };
        Ok(if beyond { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    })?;
    Ok(beyond || compares(plan)?)
}

/// Whether a scalar subquery gives one row whatever the rows beside it are.
fn is_aggregate(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::Aggregate(aggregate) => aggregate.group_expr.is_empty(),
        LogicalPlan::Projection(Projection { input, .. }) => is_aggregate(input),
        LogicalPlan::SubqueryAlias(SubqueryAlias { input, .. }) => is_aggregate(input),
        _ => false,
    }
}

impl Taker {
    fn node(&mut self, plan: LogicalPlan) -> DataFusionResult<Transformed<LogicalPlan>> {
        match plan {
            LogicalPlan::Projection(projection) => self.projection(projection),
            LogicalPlan::Filter(filter) => self.filter(filter),
            LogicalPlan::Aggregate(aggregate) => {
                let exprs: Vec<Expr> = aggregate.group_expr.iter().chain(&aggregate.aggr_expr).cloned().collect();
                let Some((input, exprs)) = self.exprs(&aggregate.input, exprs, true)? else {
                    return Ok(Transformed::no(LogicalPlan::Aggregate(aggregate)));
                };
                let groups = aggregate.group_expr.len();
                let names: Vec<_> =
                    aggregate.schema.iter().map(|(of, field)| (of.cloned(), field.name().clone())).collect();
                let (group, aggregates) = exprs.split_at(groups);
                let plan = LogicalPlanBuilder::from(input).aggregate(group.to_vec(), aggregates.to_vec())?.build()?;
                // Whoever is above knows the columns by their old names.
                let columns = plan.schema().columns();
                let renamed = columns
                    .into_iter()
                    .zip(names)
                    .map(|(column, (of, name))| Expr::Column(column).alias_qualified(of, name));
                Ok(Transformed::yes(LogicalPlanBuilder::from(plan).project(renamed)?.build()?))
            }
            LogicalPlan::Sort(sort) => {
                let exprs = sort.expr.iter().map(|key| key.expr.clone()).collect();
                let Some((input, exprs)) = self.exprs(&sort.input, exprs, true)? else {
                    return Ok(Transformed::no(LogicalPlan::Sort(sort)));
                };
                let original = sort.input.schema().columns();
                let keys = sort.expr.iter().zip(exprs).map(|(key, expr)| key.with_expr(expr)).collect();
                let sorted = LogicalPlan::Sort(Sort { expr: keys, input: Arc::new(input), fetch: sort.fetch });
                let plan = LogicalPlanBuilder::from(sorted).project(original.into_iter().map(Expr::Column))?.build()?;
                Ok(Transformed::yes(plan))
            }
            LogicalPlan::Join(join) => self.join(join),
            other => Ok(Transformed::no(other)),
        }
    }

    fn projection(&mut self, projection: Projection) -> DataFusionResult<Transformed<LogicalPlan>> {
        let Some((input, exprs)) = self.exprs(&projection.input, projection.expr.clone(), true)? else {
            return Ok(Transformed::no(LogicalPlan::Projection(projection)));
        };
        let exprs = exprs
            .into_iter()
            .zip(projection.schema.iter())
            .map(|(expr, (of, field))| {
                let (relation, name) = expr.qualified_name();
                if relation.as_ref() == of && name == *field.name() {
                    expr
                } else {
                    expr.unalias().alias_qualified(of.cloned(), field.name())
                }
            })
            .collect();
        Projection::try_new(exprs, Arc::new(input)).map(|plan| Transformed::yes(LogicalPlan::Projection(plan)))
    }

    fn filter(&mut self, filter: Filter) -> DataFusionResult<Transformed<LogicalPlan>> {
        let exprs = split_conjunction(&filter.predicate).into_iter().cloned().collect();
        let Some((input, exprs)) = self.exprs(&filter.input, exprs, false)? else {
            return Ok(Transformed::no(LogicalPlan::Filter(filter)));
        };
        let original = filter.input.schema().columns();
        let Some(predicate) = datafusion::logical_expr::utils::conjunction(exprs) else {
            return Ok(Transformed::yes(input));
        };
        let plan = LogicalPlanBuilder::from(input)
            .filter(predicate)?
            .project(original.into_iter().map(Expr::Column))?
            .build()?;
        Ok(Transformed::yes(plan))
    }

    /// The input with a subquery applied for each that is taken out of the expressions; `None` if none is.
    fn exprs(
        &mut self,
        input: &Arc<LogicalPlan>,
        exprs: Vec<Expr>,
        values: bool,
    ) -> DataFusionResult<Option<(LogicalPlan, Vec<Expr>)>> {
        let mut plan = input.as_ref().clone();
        let mut taken = false;
        let mut rewritten = Vec::with_capacity(exprs.len());
        for expr in exprs {
            let changed = expr.transform_down(|expr| {
                let (subquery, kind, negated) = match &expr {
                    Expr::ScalarSubquery(subquery) => (subquery, Kind::Scalar, false),
                    Expr::Exists(Exists { subquery, negated }) => (subquery, Kind::Exists, *negated),
                    Expr::InSubquery(InSubquery { expr, subquery, negated }) => {
                        (subquery, Kind::Compared { value: expr.clone(), op: Operator::Eq, all: false }, *negated)
                    }
                    Expr::SetComparison(SetComparison { expr, subquery, op, quantifier }) => {
                        let all = *quantifier == SetQuantifier::All;
                        (subquery, Kind::Compared { value: expr.clone(), op: *op, all }, false)
                    }
                    _ => return Ok(Transformed::no(expr)),
                };
                let references = references(&subquery.subquery, input.schema())?;
                let forced = matches!(expr, Expr::SetComparison(_));
                if !forced && !self.is_taken(subquery, &kind, !references.is_empty(), values)? {
                    taken |= subquery.outer_ref_columns.is_empty() && holds_subquery(&subquery.subquery)?;
                    return self.within(expr);
                }
                self.taken += 1;
                let name = format!("lodedb.apply{}", self.taken);
                let mut within = subquery.subquery.clone();
                if kind == Kind::Exists {
                    within = Arc::new(LogicalPlanBuilder::from(within).limit(0, Some(1))?.build()?);
                }
                let node = ApplyNode::new(plan.clone(), within, references, kind, name.clone())?;
                plan = node.into_plan();
                taken = true;
                let value = Expr::Column(Column::new_unqualified(name));
                let value = if negated { Expr::Not(Box::new(value)) } else { value };
                Ok(Transformed::new(value, true, TreeNodeRecursion::Jump))
            })?;
            rewritten.push(changed.data);
        }
        Ok(taken.then_some((plan, rewritten)))
    }

    /// Takes subqueries out of one that stays where it is.
    fn within(&self, mut expr: Expr) -> DataFusionResult<Transformed<Expr>> {
        let subquery = match &mut expr {
            Expr::ScalarSubquery(subquery)
            | Expr::Exists(Exists { subquery, .. })
            | Expr::InSubquery(InSubquery { subquery, .. }) => subquery,
            _ => return Ok(Transformed::no(expr)),
        };
        if !subquery.outer_ref_columns.is_empty() || !holds_subquery(&subquery.subquery)? {
            return Ok(Transformed::no(expr));
        }
        subquery.subquery = Arc::new(take_out(subquery.subquery.as_ref().clone(), self.which)?);
        Ok(Transformed::yes(expr))
    }

    fn is_taken(&self, subquery: &Subquery, kind: &Kind, correlated: bool, values: bool) -> DataFusionResult<bool> {
        // EXISTS and IN are joins to DataFusion, and there is nothing to join in a list of values.
        let misplaced = values && !matches!(kind, Kind::Scalar);
        if !correlated {
            return Ok(misplaced);
        }
        Ok(self.which == Which::All
            || misplaced
            || (matches!(kind, Kind::Scalar) && !is_aggregate(&subquery.subquery))
            || is_beyond(&subquery.subquery)?)
    }

    /// A lateral subquery is the right side of a join.
    fn join(&mut self, join: Join) -> DataFusionResult<Transformed<LogicalPlan>> {
        let Some((subquery, alias)) = lateral(&join.right) else {
            return Ok(Transformed::no(LogicalPlan::Join(join)));
        };
        let references = references(&subquery.subquery, join.left.schema())?;
        if references.is_empty() || !(self.which == Which::All || is_beyond(&subquery.subquery)?) {
            return Ok(Transformed::no(LogicalPlan::Join(join)));
        }
        let Some(kind) = lateral_kind(join.join_type) else {
            return carry(Err(SqlError::unsupported(format!("a {} JOIN LATERAL", join.join_type))));
        };
        let mut within = subquery.subquery.as_ref().clone();
        if let Some(alias) = alias {
            within = LogicalPlanBuilder::from(within).alias(alias.clone())?.build()?;
        }
        let mut conditions: Vec<Expr> = join.on.iter().map(|(l, r)| l.clone().eq(r.clone())).collect();
        conditions.extend(join.filter.clone());
        let outer = kind == (Kind::Lateral { outer: true });
        if outer && !conditions.iter().all(is_true) {
            // What does not match must leave a row of NULLs: the condition belongs inside.
            let left = join.left.schema();
            for condition in &mut conditions {
                *condition = std::mem::take(condition)
                    .transform_up(|expr| {
                        Ok(match expr {
                            Expr::Column(column) if left.maybe_index_of_column(&column).is_some() => {
                                let (_, field) = left.qualified_field_from_column(&column)?;
                                Transformed::yes(Expr::OuterReferenceColumn(field.clone(), column))
                            }
                            other => Transformed::no(other),
                        })
                    })?
                    .data;
                within = LogicalPlanBuilder::from(within).filter(condition.clone())?.build()?;
            }
            conditions.clear();
        }
        let references = self::references(&within, join.left.schema())?;
        self.taken += 1;
        let name = format!("lodedb.apply{}", self.taken);
        let mut plan =
            ApplyNode::new(join.left.as_ref().clone(), Arc::new(within), references, kind, name)?.into_plan();
        conditions.retain(|condition| !is_true(condition));
        if let Some(condition) = datafusion::logical_expr::utils::conjunction(conditions) {
            plan = LogicalPlanBuilder::from(plan).filter(condition)?.build()?;
        }
        Ok(Transformed::yes(plan))
    }
}

fn is_true(expr: &Expr) -> bool {
    matches!(expr, Expr::Literal(datafusion::common::ScalarValue::Boolean(Some(true)), _))
}

/// The subquery that the right side of a join is, and the name it goes by.
fn lateral(plan: &LogicalPlan) -> Option<(&Subquery, Option<&datafusion::common::TableReference>)> {
    match plan {
        LogicalPlan::Subquery(subquery) => Some((subquery, None)),
        LogicalPlan::SubqueryAlias(alias) => match alias.input.as_ref() {
            LogicalPlan::Subquery(subquery) => Some((subquery, Some(&alias.alias))),
            _ => None,
        },
        _ => None,
    }
}
