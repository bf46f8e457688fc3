//! The keys that rows are ordered, grouped and told apart by.
//!
//! DataFusion takes values for the same whose bits are, and orders some by their bits. Keys are brought to a form in which
//! that is PostgreSQL's order: floating-point numbers, and vectors and arrays of them, to [`KEY_FUNCTION`]'s, intervals to
//! their length. And it takes no input for ordered by an expression that compares what a function gives: such a key becomes a
//! column of the input.

use std::sync::Arc;

use datafusion::arrow::datatypes::DataType;
use datafusion::common::Column;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::error::Result as DataFusionResult;
use datafusion::logical_expr::expr::{AggregateFunction, BinaryExpr, Sort as SortExpr, WindowFunction};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::{
    Distinct, Expr, ExprSchemable, JoinConstraint, LogicalPlan, LogicalPlanBuilder, Operator, Sort, WindowFrame,
    WindowFrameBound, WindowFrameUnits,
};
use lodedb_sql::{PgType, ScalarType};

use super::operators::{Typing, operand_type};
use crate::query::functions::KEY_FUNCTION;
use crate::query::knn::class_metric;
use crate::query::statement_state::carry;

/// The function that gives how long an interval is.
pub(super) const INTERVAL_ORDER: &str = "pg_interval_order";

/// Settles the keys of a plan whose expressions are typed.
pub(super) fn settle(plan: LogicalPlan, typing: &Typing<'_>) -> DataFusionResult<Transformed<LogicalPlan>> {
    match plan {
        LogicalPlan::Sort(mut sort) => {
            let mut keys = Keys::of(&sort.input, typing);
            keys.order(&mut sort.expr)?;
            if !keys.changed {
                return Ok(Transformed::no(LogicalPlan::Sort(sort)));
            }
            let columns = keys.computed.is_empty().then(Vec::new).unwrap_or_else(|| columns(&sort.input));
            sort.input = keys.input()?;
            let plan = LogicalPlanBuilder::from(LogicalPlan::Sort(sort));
            Ok(Transformed::yes(if columns.is_empty() { plan.build()? } else { plan.project(columns)?.build()? }))
        }
        LogicalPlan::Window(mut window) => {
            let preserver = NamePreserver::new_for_projection();
            let mut keys = Keys::of(&window.input, typing);
            for expr in &mut window.window_expr {
                let name = preserver.save(expr);
                let Expr::WindowFunction(call) = innermost(expr) else { continue };
                keys.window(call)?;
                *expr = name.restore(std::mem::take(expr));
            }
            if !keys.changed {
                return Ok(Transformed::no(LogicalPlan::Window(window)));
            }
            window.input = keys.input()?;
            LogicalPlan::Window(window).recompute_schema().map(Transformed::yes)
        }
        LogicalPlan::Aggregate(mut aggregate) => {
            let preserver = NamePreserver::new_for_projection();
            let mut keys = Keys::of(&aggregate.input, typing);
            let takes_order = aggregate.aggr_expr.iter_mut().any(|expr| is_ordered_by_input(innermost(expr)));
            let mut order = Vec::new();
            if takes_order && let Some((input, keys_of_input)) = ordered(&aggregate.input)? {
                keys.input = Arc::new(input);
                keys.changed = true;
                order = keys_of_input;
            }
            for expr in &mut aggregate.group_expr {
                if !matches!(expr, Expr::GroupingSet(_)) {
                    let name = preserver.save(expr);
                    keys.group(innermost(expr))?;
                    *expr = name.restore(std::mem::take(expr));
                }
            }
            for expr in &mut aggregate.aggr_expr {
                let name = preserver.save(expr);
                let takes_order = is_ordered_by_input(innermost(expr));
                let Expr::AggregateFunction(call) = innermost(expr) else { continue };
                if takes_order {
                    call.params.order_by.clone_from(&order);
                }
                keys.aggregate(call)?;
                *expr = name.restore(std::mem::take(expr));
            }
            if !keys.changed {
                return Ok(Transformed::no(LogicalPlan::Aggregate(aggregate)));
            }
            aggregate.input = keys.input()?;
            LogicalPlan::Aggregate(aggregate).recompute_schema().map(Transformed::yes)
        }
        LogicalPlan::Distinct(Distinct::All(input)) => {
            let preserver = NamePreserver::new_for_projection();
            let mut keys = Keys::of(&input, typing);
            let mut exprs = columns(&input);
            for expr in &mut exprs {
                let name = preserver.save(expr);
                keys.group(expr)?;
                *expr = name.restore(std::mem::take(expr));
            }
            if !keys.changed {
                return Ok(Transformed::no(LogicalPlan::Distinct(Distinct::All(input))));
            }
            LogicalPlanBuilder::from(input).project(exprs)?.distinct()?.build().map(Transformed::yes)
        }
        LogicalPlan::Distinct(Distinct::On(mut distinct)) => {
            let mut keys = Keys::of(&distinct.input, typing);
            distinct.on_expr.iter_mut().try_for_each(|key| keys.in_one_form(key))?;
            let order = distinct.sort_expr.iter_mut().flatten();
            order.map(|key| &mut key.expr).try_for_each(|key| keys.in_one_form(key))?;
            Ok(Transformed::new_transformed(LogicalPlan::Distinct(Distinct::On(distinct)), keys.changed))
        }
        LogicalPlan::Join(mut join) => {
            let (mut left, mut right) = (Keys::of(&join.left, typing), Keys::of(&join.right, typing));
            for (one, other) in &mut join.on {
                left.group(one)?;
                right.group(other)?;
            }
            let changed = left.changed || right.changed;
            if changed {
                // USING is one of columns.
                join.join_constraint = JoinConstraint::On;
            }
            Ok(Transformed::new_transformed(LogicalPlan::Join(join), changed))
        }
        other => Ok(Transformed::no(other)),
    }
}

/// Whether this is an aggregate whose result depends on the order of its rows, and that is given none.
fn is_ordered_by_input(expr: &Expr) -> bool {
    let Expr::AggregateFunction(call) = expr else { return false };
    matches!(call.func.name(), "array_agg" | "string_agg" | "json_agg" | "jsonb_agg")
        && call.params.order_by.is_empty()
        && !call.params.distinct
}

/// A plan that a subquery orders, and the columns of it that say how: aggregates take its rows in that order.
fn ordered(plan: &LogicalPlan) -> DataFusionResult<Option<(LogicalPlan, Vec<SortExpr>)>> {
    match plan {
        LogicalPlan::Sort(sort) => {
            let mut exprs = columns(&sort.input);
            let mut keys = sort.expr.clone();
            for key in keys.iter_mut().filter(|key| !matches!(key.expr, Expr::Column(_))) {
                let name = column_name(exprs.len());
                let computed = std::mem::replace(&mut key.expr, Expr::Column(Column::new_unqualified(&name)));
                exprs.push(computed.alias(name));
            }
            let input = Arc::new(LogicalPlanBuilder::from(sort.input.clone()).project(exprs)?.build()?);
            Ok(Some((LogicalPlan::Sort(Sort { expr: keys.clone(), input, fetch: sort.fetch }), keys)))
        }
        LogicalPlan::Projection(projection) => {
            let Some((input, mut keys)) = ordered(&projection.input)? else { return Ok(None) };
            let mut exprs = projection.expr.clone();
            for key in &mut keys {
                let name = column_name(exprs.len());
                let column = std::mem::replace(&mut key.expr, Expr::Column(Column::new_unqualified(&name)));
                exprs.push(column.alias(name));
            }
            LogicalPlanBuilder::from(input).project(exprs)?.build().map(|plan| Some((plan, keys)))
        }
        LogicalPlan::SubqueryAlias(alias) => {
            let Some((input, mut keys)) = ordered(&alias.input)? else { return Ok(None) };
            for key in &mut keys {
                if let Expr::Column(column) = &mut key.expr {
                    column.relation = Some(alias.alias.clone());
                }
            }
            LogicalPlanBuilder::from(input).alias(alias.alias.clone())?.build().map(|plan| Some((plan, keys)))
        }
        LogicalPlan::Limit(_) => {
            let Some(input) = plan.inputs().first().copied() else { return Ok(None) };
            let Some((input, keys)) = ordered(input)? else { return Ok(None) };
            plan.with_new_exprs(plan.expressions(), vec![input]).map(|plan| Some((plan, keys)))
        }
        _ => Ok(None),
    }
}

/// The columns of a plan as expressions.
fn columns(plan: &LogicalPlan) -> Vec<Expr> {
    plan.schema().columns().into_iter().map(Expr::Column).collect()
}

/// An expression without its aliases.
fn innermost(expr: &mut Expr) -> &mut Expr {
    match expr {
        Expr::Alias(alias) => innermost(&mut alias.expr),
        other => other,
    }
}

/// The keys over an input.
struct Keys<'a> {
    input: Arc<LogicalPlan>,
    typing: &'a Typing<'a>,
    /// Keys that become columns of the input.
    computed: Vec<Expr>,
    changed: bool,
}

impl<'a> Keys<'a> {
    fn of(input: &Arc<LogicalPlan>, typing: &'a Typing<'a>) -> Self {
        Self { input: input.clone(), typing, computed: Vec::new(), changed: false }
    }

    /// The input with the columns that are computed for it.
    fn input(self) -> DataFusionResult<Arc<LogicalPlan>> {
        if self.computed.is_empty() {
            return Ok(self.input);
        }
        let mut exprs = columns(&self.input);
        let width = exprs.len();
        exprs.extend(self.computed.into_iter().enumerate().map(|(n, key)| key.alias(column_name(width + n))));
        LogicalPlanBuilder::from(self.input).project(exprs)?.build().map(Arc::new)
    }

    /// What rows are ordered by.
    fn order(&mut self, keys: &mut Vec<SortExpr>) -> DataFusionResult<()> {
        for mut key in std::mem::take(keys) {
            self.in_one_form(&mut key.expr)?;
            let is_array = matches!(key.expr.get_type(self.input.schema())?, DataType::List(_));
            self.as_column(&mut key.expr)?;
            // Where NULL is not where it usually is, DataFusion takes the NULLs within arrays there as well.
            if is_array && key.asc == key.nulls_first {
                keys.push(SortExpr::new(key.expr.clone().is_null(), !key.nulls_first, false));
                key.nulls_first = !key.asc;
                self.changed = true;
            }
            keys.push(key);
        }
        Ok(())
    }

    /// What a window function takes rows together by, and in which order.
    fn window(&mut self, call: &mut WindowFunction) -> DataFusionResult<()> {
        let params = &mut call.params;
        // How far rows are from each other is told in the type of the key.
        if has_distance(&params.window_frame) {
            params.order_by.iter_mut().try_for_each(|key| self.as_column(&mut key.expr))?;
        } else {
            self.order(&mut params.order_by)?;
        }
        params.partition_by.iter_mut().try_for_each(|key| {
            self.in_one_form(key)?;
            self.as_column(key)
        })
    }

    /// In which order an aggregate takes rows, and which it tells apart.
    fn aggregate(&mut self, call: &mut AggregateFunction) -> DataFusionResult<()> {
        let params = &mut call.params;
        if !params.distinct {
            return self.order(&mut params.order_by);
        }
        // What it is ordered by is to stay the argument.
        params.args.iter_mut().chain(params.order_by.iter_mut().map(|key| &mut key.expr)).try_for_each(|expr| {
            if has_floats(&expr.get_type(self.input.schema())?) {
                self.in_one_form(expr)?;
            }
            self.as_column(expr)
        })
    }

    /// A key of which rows with equal values are one; DataFusion itself knows that 0 and -0 are.
    fn group(&mut self, key: &mut Expr) -> DataFusionResult<()> {
        let data_type = key.get_type(self.input.schema())?;
        if data_type.is_nested() { self.in_one_form(key) } else { Ok(()) }
    }

    fn in_one_form(&mut self, key: &mut Expr) -> DataFusionResult<()> {
        let schema = self.input.schema();
        let function = match operand_type(key, schema)? {
            Some(ty) if ty.ty == PgType::Scalar(ScalarType::Interval) => INTERVAL_ORDER,
            Some(_) if has_floats(&key.get_type(schema)?) && !is_distance(key) => KEY_FUNCTION,
            _ => return Ok(()),
        };
        *key = carry(self.typing.call(function, vec![std::mem::take(key)]))?;
        self.changed = true;
        Ok(())
    }

    fn as_column(&mut self, key: &mut Expr) -> DataFusionResult<()> {
        if !key.exists(|expr| Ok(hides_order(expr)))? {
            return Ok(());
        }
        let n = self.computed.iter().position(|known| known == key).unwrap_or(self.computed.len());
        let name = column_name(self.input.schema().fields().len() + n);
        let key = std::mem::replace(key, Expr::Column(Column::new_unqualified(name)));
        if n == self.computed.len() {
            self.computed.push(key);
        }
        self.changed = true;
        Ok(())
    }
}

/// The name of the nth column of an input, if it is a key.
fn column_name(n: usize) -> String {
    format!("key\u{1}{n}")
}

/// Whether equal values of a type may have several forms.
pub(super) fn has_floats(data_type: &DataType) -> bool {
    match data_type {
        DataType::List(item) | DataType::LargeList(item) => has_floats(item.data_type()),
        other => other.is_floating(),
    }
}

/// Whether this is a distance, or the least of some: it has one zero and one NaN.
fn is_distance(expr: &Expr) -> bool {
    match expr {
        Expr::Alias(alias) => is_distance(&alias.expr),
        Expr::ScalarFunction(call) if call.name() == "least" => call.args.iter().all(is_distance),
        Expr::ScalarFunction(call) => class_metric(call.name()).is_some(),
        _ => false,
    }
}

/// Whether DataFusion may not see of an expression with this in it that rows are ordered by it.
fn hides_order(expr: &Expr) -> bool {
    match expr {
        Expr::BinaryExpr(BinaryExpr { op, .. }) => {
            matches!(op, Operator::Lt | Operator::LtEq | Operator::Gt | Operator::GtEq)
        }
        Expr::Not(_) | Expr::Negative(_) | Expr::ScalarSubquery(_) | Expr::Exists(_) | Expr::InSubquery(_) => true,
        _ => false,
    }
}

/// Whether a frame reaches as far as values are from each other.
fn has_distance(frame: &WindowFrame) -> bool {
    let is_distance = |bound: &WindowFrameBound| !bound.is_unbounded() && *bound != WindowFrameBound::CurrentRow;
    frame.units == WindowFrameUnits::Range && (is_distance(&frame.start_bound) || is_distance(&frame.end_bound))
}
