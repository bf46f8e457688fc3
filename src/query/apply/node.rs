//! The node of a plan that runs a subquery for each row of its input.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::datatypes::{DataType, Field};
use datafusion::common::{Column, DFSchema, DFSchemaRef, plan_err};
use datafusion::error::Result as DataFusionResult;
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::logical_expr::{
    Expr, Extension, JoinType, LogicalPlan, Operator, UserDefinedLogicalNode, UserDefinedLogicalNodeCore,
};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_planner::{ExtensionPlanner, PhysicalPlanner};

use super::operator::ApplyOperator;

/// What a subquery is for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    /// Its one value.
    Scalar,
    /// Whether it has rows.
    Exists,
    /// How a value over the row beside it compares with those of its one column.
    Compared {
        /// The value.
        value: Box<Expr>,
        /// `=`, `<>`, `<`, `<=`, `>` or `>=`.
        op: Operator,
        /// With all of them rather than any.
        all: bool,
    },
    /// Its rows, each joined to the row beside it.
    Lateral {
        /// Whether a row without any stays, with NULLs.
        outer: bool,
    },
}

/// Runs a plan for each row of its input.
#[derive(Clone)]
pub(crate) struct ApplyNode {
    pub(crate) input: LogicalPlan,
    /// The plan, with references to columns of the input where values are put in.
    pub(crate) subquery: Arc<LogicalPlan>,
    /// The columns it refers to.
    pub(crate) references: Vec<Column>,
    pub(crate) kind: Kind,
    /// The name of the column it adds, unless it is lateral.
    pub(crate) name: String,
    schema: DFSchemaRef,
}

impl ApplyNode {
    pub(crate) fn new(
        input: LogicalPlan,
        subquery: Arc<LogicalPlan>,
        references: Vec<Column>,
        kind: Kind,
        name: String,
    ) -> DataFusionResult<Self> {
        let mut fields: Vec<_> =
            input.schema().iter().map(|(qualifier, field)| (qualifier.cloned(), field.clone())).collect();
        match &kind {
            Kind::Lateral { .. } => {
                fields.extend(subquery.schema().iter().map(|(qualifier, field)| {
                    (qualifier.cloned(), Arc::new(field.as_ref().clone().with_nullable(true)))
                }))
            }
            Kind::Scalar => {
                let field = subquery.schema().field(0).as_ref().clone().with_name(&name).with_nullable(true);
                fields.push((None, Arc::new(field)));
            }
            Kind::Exists | Kind::Compared { .. } => {
                fields.push((None, Arc::new(Field::new(&name, DataType::Boolean, true))));
            }
        }
        let schema = Arc::new(DFSchema::new_with_metadata(fields, input.schema().metadata().clone())?);
        Ok(Self { input, subquery, references, kind, name, schema })
    }

    pub(crate) fn into_plan(self) -> LogicalPlan {
        LogicalPlan::Extension(Extension { node: Arc::new(self) })
    }
}

impl fmt::Debug for ApplyNode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ApplyNode").field("name", &self.name).finish_non_exhaustive()
    }
}

impl PartialEq for ApplyNode {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
            && self.kind == other.kind
            && self.references == other.references
            && self.input == other.input
            && self.subquery == other.subquery
    }
}

impl Eq for ApplyNode {}

impl Hash for ApplyNode {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.hash(state);
        self.kind.hash(state);
        self.input.hash(state);
        self.subquery.hash(state);
    }
}

impl PartialOrd for ApplyNode {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        (self == other).then_some(Ordering::Equal)
    }
}

impl UserDefinedLogicalNodeCore for ApplyNode {
    fn name(&self) -> &str {
        "Apply"
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        vec![&self.input]
    }

    fn schema(&self) -> &DFSchemaRef {
        &self.schema
    }

    fn expressions(&self) -> Vec<Expr> {
        let mut exprs: Vec<Expr> = self.references.iter().cloned().map(Expr::Column).collect();
        if let Kind::Compared { value, .. } = &self.kind {
            exprs.push((**value).clone());
        }
        exprs
    }

    fn fmt_for_explain(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Apply")
    }

    fn with_exprs_and_inputs(&self, exprs: Vec<Expr>, inputs: Vec<LogicalPlan>) -> DataFusionResult<Self> {
        let (Some(input), true) = (inputs.into_iter().next(), exprs.len() >= self.references.len()) else {
            return plan_err!("a subquery for each row lost its input");
        };
        let mut exprs = exprs.into_iter();
        let mut references = Vec::with_capacity(self.references.len());
        for (expr, before) in exprs.by_ref().take(self.references.len()).zip(&self.references) {
            references.push(match expr {
                Expr::Column(column) => column,
                _ => before.clone(),
            });
        }
        let kind = match (&self.kind, exprs.next()) {
            (Kind::Compared { op, all, .. }, Some(value)) => {
                Kind::Compared { value: Box::new(value), op: *op, all: *all }
            }
            (kind, _) => kind.clone(),
        };
        Self::new(input, self.subquery.clone(), references, kind, self.name.clone())
    }
}

/// Plans [`ApplyNode`]s.
pub(crate) struct ApplyPlanner;

#[async_trait]
impl ExtensionPlanner for ApplyPlanner {
    async fn plan_extension(
        &self,
        planner: &dyn PhysicalPlanner,
        node: &dyn UserDefinedLogicalNode,
        _logical_inputs: &[&LogicalPlan],
        physical_inputs: &[Arc<dyn ExecutionPlan>],
        session: &dyn datafusion::catalog::Session,
        planning: &PhysicalPlanningContext,
    ) -> DataFusionResult<Option<Arc<dyn ExecutionPlan>>> {
        let Some(node) = node.as_any().downcast_ref::<ApplyNode>() else { return Ok(None) };
        let [input] = physical_inputs else { return plan_err!("a subquery for each row lost its input") };
        let value = match &node.kind {
            Kind::Compared { value, .. } => {
                Some(planner.create_physical_expr(value, node.input.schema(), session, planning)?)
            }
            _ => None,
        };
        let places = node
            .references
            .iter()
            .map(|column| node.input.schema().index_of_column(column))
            .collect::<DataFusionResult<Vec<_>>>()?;
        Ok(Some(Arc::new(ApplyOperator::new(node, input.clone(), places, value)?)))
    }
}

/// How a lateral subquery is joined.
pub(crate) fn lateral_kind(join: JoinType) -> Option<Kind> {
    match join {
        JoinType::Inner => Some(Kind::Lateral { outer: false }),
        JoinType::Left => Some(Kind::Lateral { outer: true }),
        _ => None,
    }
}
