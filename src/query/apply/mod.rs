//! Stand-in.
use std::sync::Arc;
use async_trait::async_trait;
use datafusion::error::Result;
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::{LogicalPlan, UserDefinedLogicalNode};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_planner::{ExtensionPlanner, PhysicalPlanner};
#[derive(Clone, Copy)]
pub(crate) enum Which { BeyondTheOptimizer, All }
pub(crate) fn is_correlated(_: &LogicalPlan) -> Result<bool> { Ok(false) }
pub(crate) fn take_out(plan: LogicalPlan, _: Which) -> Result<LogicalPlan> { Ok(plan) }
pub(crate) struct ApplyPlanner;
#[async_trait]
impl ExtensionPlanner for ApplyPlanner {
    async fn plan_extension(&self, _: &dyn PhysicalPlanner, _: &dyn UserDefinedLogicalNode, _: &[&LogicalPlan], _: &[Arc<dyn ExecutionPlan>], _: &SessionState) -> Result<Option<Arc<dyn ExecutionPlan>>> { Ok(None) }
}
