//! The forms of SQL that call functions without naming them as functions: `EXTRACT(.. FROM ..)`,
//! `SUBSTRING(.. FROM ..)`, `POSITION(.. IN ..)`, `OVERLAY(.. PLACING ..)`, subscripts of arrays, and the conversions
//! around the arguments of aggregates.

use std::sync::Arc;

use datafusion::arrow::datatypes::DataType;
use datafusion::common::DFSchema;
use datafusion::error::Result;
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::planner::{
    ExprPlanner, PlannerResult, RawAggregateExpr, RawFieldAccessExpr, RawWindowExpr,
};
use datafusion::logical_expr::{Expr, ExprSchemable, GetFieldAccess, ScalarUDF, WindowFunctionDefinition};

use super::aggregate_input;

/// Plans those forms as calls of this house's functions. It must come before DataFusion's own planners.
#[derive(Debug)]
pub struct SyntaxPlanner {
    extract: Arc<ScalarUDF>,
    substring: Arc<ScalarUDF>,
    position: Arc<ScalarUDF>,
    overlay: Arc<ScalarUDF>,
    element: Arc<ScalarUDF>,
}

impl SyntaxPlanner {
    /// The planner, with functions found by name.
    pub(super) fn new(functions: &[Arc<ScalarUDF>]) -> Option<Self> {
        let find = |name: &str| functions.iter().find(|function| function.name() == name).cloned();
        Some(Self {
            extract: find("extract")?,
            substring: find("substring")?,
            position: find("position")?,
            overlay: find("overlay")?,
            element: find("pg_array_element")?,
        })
    }
}

fn call(function: &Arc<ScalarUDF>, args: Vec<Expr>) -> Expr {
    Expr::ScalarFunction(ScalarFunction::new_udf(function.clone(), args))
}

impl ExprPlanner for SyntaxPlanner {
    fn plan_extract(&self, args: Vec<Expr>) -> Result<PlannerResult<Vec<Expr>>> {
        Ok(PlannerResult::Planned(call(&self.extract, args)))
    }
    fn plan_substring(&self, args: Vec<Expr>) -> Result<PlannerResult<Vec<Expr>>> {
        Ok(PlannerResult::Planned(call(&self.substring, args)))
    }
    fn plan_position(&self, args: Vec<Expr>) -> Result<PlannerResult<Vec<Expr>>> {
        // The string comes first, unlike in `POSITION(sub IN string)`.
        Ok(PlannerResult::Planned(call(&self.position, args)))
    }
    fn plan_overlay(&self, args: Vec<Expr>) -> Result<PlannerResult<Vec<Expr>>> {
        Ok(PlannerResult::Planned(call(&self.overlay, args)))
    }
    fn plan_field_access(
        &self,
        access: RawFieldAccessExpr,
        schema: &DFSchema,
    ) -> Result<PlannerResult<RawFieldAccessExpr>> {
        let is_list = matches!(access.expr.get_type(schema)?, DataType::List(_));
        match access {
            // All subscripts together say which element; some of them say none.
            RawFieldAccessExpr {
                field_access: GetFieldAccess::ListIndex { key },
                expr: Expr::ScalarFunction(ScalarFunction { func, mut args }),
            } if func == self.element => {
                args.push(*key);
                Ok(PlannerResult::Planned(call(&self.element, args)))
            }
            RawFieldAccessExpr { field_access: GetFieldAccess::ListIndex { key }, expr } if is_list => {
                Ok(PlannerResult::Planned(call(&self.element, vec![expr, *key])))
            }
            access => Ok(PlannerResult::Original(access)),
        }
    }

    fn plan_aggregate(&self, mut expr: RawAggregateExpr) -> Result<PlannerResult<RawAggregateExpr>> {
        expr.args = aggregate_input::converted(expr.func.name(), expr.args);
        Ok(PlannerResult::Original(expr))
    }

    fn plan_window(&self, mut expr: RawWindowExpr) -> Result<PlannerResult<RawWindowExpr>> {
        if let WindowFunctionDefinition::AggregateUDF(aggregate) = &expr.func_def {
            expr.args = aggregate_input::converted(aggregate.name(), expr.args);
        }
        Ok(PlannerResult::Original(expr))
    }
}
