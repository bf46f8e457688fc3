//! What stands in FROM: queries whose columns get their types before they are named, and functions, called when the plan runs, once the
//! values of their arguments are known.

use std::any::Any;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use datafusion::arrow::datatypes::{DataType, SchemaRef};
use datafusion::catalog::{Session, TableFunctionArgs};
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, DFSchema, ScalarValue, TableReference};
use datafusion::datasource::{TableProvider, TableType, provider_as_source};
use datafusion::error::Result as DataFusionResult;
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::expr::{Placeholder, ScalarFunction, WindowFunction};
use datafusion::logical_expr::planner::{PlannedRelation, RelationPlanner, RelationPlannerContext, RelationPlanning};
use datafusion::logical_expr::simplify::SimplifyContext;
use datafusion::logical_expr::{
    ColumnarValue, Expr, ExprSchemable, LogicalPlan, LogicalPlanBuilder, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl,
    Signature, TableSource, Volatility, WindowFunctionDefinition, cast,
};
use datafusion::optimizer::simplify_expressions::ExprSimplifier;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::sql::sqlparser::ast::{
    FunctionArg, FunctionArgExpr, Ident, ObjectName, ObjectNamePart, TableAlias, TableAliasColumnDef, TableFactor,
};
use lodedb_sql::{SqlError, SqlState};

use super::operators::SharedTyping;
use super::typing::{type_plan, type_tree};
use super::{check_size, sets};
use crate::query::functions::to_datafusion;

/// Plans queries in FROM, and those of WITH where they are named, as DataFusion does, and types them: operators around them are chosen by
/// the types of their columns.
#[derive(Debug)]
pub(crate) struct TypedRelations {
    typing: SharedTyping,
    /// Whether the next relation that is asked for is one that this planner itself has DataFusion plan.
    passes: AtomicBool,
}

impl TypedRelations {
    pub(crate) fn new(typing: SharedTyping) -> Self {
        Self { typing, passes: AtomicBool::new(false) }
    }
}

impl RelationPlanner for TypedRelations {
    fn plan_relation(
        &self,
        relation: TableFactor,
        context: &mut dyn RelationPlannerContext,
    ) -> DataFusionResult<RelationPlanning> {
        let is_query = matches!(relation, TableFactor::Derived { .. } | TableFactor::Table { args: None, .. });
        if !is_query || self.passes.swap(false, Ordering::Relaxed) {
            return Ok(RelationPlanning::Original(Box::new(relation)));
        }
        self.passes.store(true, Ordering::Relaxed);
        let plan = context.plan(relation)?;
        // The alias of the relation, and that of a query of WITH.
        let mut query = &plan;
        while let LogicalPlan::SubqueryAlias(alias) = query {
            query = &alias.input;
        }
        let plan = if sets::is_unsettled(query) {
            check_size(&plan)?;
            type_plan(plan, &self.typing.typing())?
        } else {
            plan
        };
        Ok(RelationPlanning::Planned(Box::new(PlannedRelation::new(plan, None))))
    }
}

/// Plans functions in FROM.
#[derive(Debug)]
pub(crate) struct FunctionTables {
    pub(crate) typing: SharedTyping,
}

impl RelationPlanner for FunctionTables {
    fn plan_relation(
        &self,
        relation: TableFactor,
        context: &mut dyn RelationPlannerContext,
    ) -> DataFusionResult<RelationPlanning> {
        let (name, args, ordinality, alias) = match relation {
            TableFactor::Table { name, args: Some(args), with_ordinality, alias, .. } => {
                (last_name(&name), expressions(args.args)?, with_ordinality, alias)
            }
            TableFactor::Function { name, args, with_ordinality, alias, .. } => {
                (last_name(&name), expressions(args)?, with_ordinality, alias)
            }
            TableFactor::UNNEST { alias, array_exprs, with_ordinality, .. } => {
                ("unnest".to_owned(), array_exprs, with_ordinality, alias)
            }
            other => return Ok(RelationPlanning::Original(Box::new(other))),
        };
        let none = DFSchema::empty();
        let typing = self.typing.typing();
        let args = args
            .into_iter()
            .map(|arg| type_tree(context.sql_expr_to_logical_expr(arg, &none)?, &none, &typing))
            .collect::<DataFusionResult<Vec<_>>>()?;
        let table = FunctionTable::new(typing.state, name, args)?;
        let plan = table.plan(typing.state, ordinality)?;
        let alias = Some(complete_alias(alias, &table.name, &plan));
        Ok(RelationPlanning::Planned(Box::new(PlannedRelation::new(plan, alias))))
    }
}

fn last_name(name: &ObjectName) -> String {
    match name.0.last() {
        Some(ObjectNamePart::Identifier(ident)) if ident.quote_style.is_some() => ident.value.clone(),
        Some(ObjectNamePart::Identifier(ident)) => ident.value.to_ascii_lowercase(),
        _ => String::new(),
    }
}

fn expressions(args: Vec<FunctionArg>) -> DataFusionResult<Vec<datafusion::sql::sqlparser::ast::Expr>> {
    args.into_iter()
        .map(|arg| match arg {
            FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => Ok(expr),
            other => Err(to_datafusion(SqlError::unsupported(format!("the argument \"{other}\"")))),
        })
        .collect()
}

/// The alias with a name for every column: a function of one nameless column lends the alias to it.
fn complete_alias(alias: Option<TableAlias>, function: &str, plan: &LogicalPlan) -> TableAlias {
    let mut alias = alias.unwrap_or_else(|| TableAlias {
        explicit: true,
        name: Ident::with_quote('"', function),
        columns: Vec::new(),
        at: None,
    });
    let fields = plan.schema().fields();
    for (at, field) in fields.iter().enumerate().skip(alias.columns.len()) {
        let name =
            if at == 0 && field.name() == function { alias.name.clone() } else { Ident::with_quote('"', field.name()) };
        alias.columns.push(TableAliasColumnDef { name, data_type: None });
    }
    alias
}

/// A function in FROM with its arguments, which may refer to parameters and to rows beside it.
#[derive(Clone)]
pub(crate) struct FunctionTable {
    name: String,
    args: Vec<Expr>,
    schema: SchemaRef,
}

impl fmt::Debug for FunctionTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FunctionTable").field("name", &self.name).finish_non_exhaustive()
    }
}

impl FunctionTable {
    fn new(state: &SessionState, name: String, args: Vec<Expr>) -> DataFusionResult<Self> {
        // Its columns depend on the types of its arguments alone.
        let none = DFSchema::empty();
        let typed = args
            .iter()
            .map(|arg| {
                if depends(arg) || arg.is_volatile() {
                    let (_, field) = arg.to_field(&none)?;
                    let metadata = (!field.metadata().is_empty()).then(|| field.metadata().clone().into());
                    Ok(Expr::Literal(ScalarValue::try_from(field.data_type())?, metadata))
                } else {
                    Ok(arg.clone())
                }
            })
            .collect::<DataFusionResult<Vec<_>>>()?;
        let schema = provider(state, &name, &typed)?.schema();
        Ok(Self { name, args, schema })
    }

    /// The same with its arguments rewritten; `None` if none changed.
    pub(crate) fn rewritten(
        &self,
        mut rewrite: impl FnMut(Expr) -> DataFusionResult<Transformed<Expr>>,
    ) -> DataFusionResult<Option<Arc<dyn TableSource>>> {
        let mut changed = false;
        let mut args = Vec::with_capacity(self.args.len());
        for arg in &self.args {
            let rewritten = arg.clone().transform_up(&mut rewrite)?;
            changed |= rewritten.transformed;
            args.push(rewritten.data);
        }
        Ok(changed.then(|| {
            let table = Self { args, ..self.clone() };
            provider_as_source(Arc::new(table))
        }))
    }

    fn plan(&self, state: &SessionState, ordinality: bool) -> DataFusionResult<LogicalPlan> {
        let source = provider_as_source(Arc::new(self.clone()));
        let mut plan = LogicalPlanBuilder::scan(TableReference::bare(self.name.clone()), source, None)?;
        let dependent: Vec<Expr> = self.args.iter().filter(|arg| depends(arg)).cloned().collect();
        if !dependent.is_empty() {
            // The planner looks for references to other rows, and for parameters, in expressions only.
            let mention = Arc::new(ScalarUDF::new_from_impl(Mention::default()));
            plan = plan.filter(Expr::ScalarFunction(ScalarFunction::new_udf(mention, dependent)))?;
        }
        if ordinality {
            let number = state
                .window_functions()
                .get("row_number")
                .cloned()
                .ok_or_else(|| to_datafusion(SqlError::internal("the function row_number is not there")))?;
            let columns: Vec<Column> = plan.schema().columns();
            let call = WindowFunction::new(WindowFunctionDefinition::WindowUDF(number), Vec::new());
            let call = Expr::WindowFunction(Box::new(call));
            let numbered = Expr::Column(Column::new_unqualified(call.schema_name().to_string()));
            let mut items: Vec<Expr> = columns.into_iter().map(Expr::Column).collect();
            items.push(cast(numbered, DataType::Int64).alias("ordinality"));
            plan = plan.window([call])?.project(items)?;
        }
        plan.build()
    }
}

/// Whether an argument is known only when the plan runs.
fn depends(arg: &Expr) -> bool {
    arg.exists(|expr| Ok(matches!(expr, Expr::Placeholder(Placeholder { .. }) | Expr::OuterReferenceColumn(..))))
        .unwrap_or(false)
}

/// A function in FROM, called with arguments whose values are known.
pub(super) fn provider(state: &dyn Session, name: &str, args: &[Expr]) -> DataFusionResult<Arc<dyn TableProvider>> {
    let registered = state.as_any().downcast_ref::<SessionState>().and_then(|state| state.table_functions().get(name));
    let Some(function) = registered else {
        return Err(to_datafusion(SqlError::new(
            SqlState::UndefinedFunction,
            format!("function {name} does not exist"),
        )));
    };
    let context = SimplifyContext::builder().with_config_options(Arc::new(state.config_options().clone())).build();
    let simplifier = ExprSimplifier::new(context);
    let none = DFSchema::empty();
    let simplified = |arg: &Expr| simplifier.coerce(arg.clone(), &none).and_then(|arg| simplifier.simplify(arg));
    let args = args.iter().map(simplified).collect::<DataFusionResult<Vec<_>>>()?;
    function.create_table_provider_with_args(TableFunctionArgs::new(&args, state))
}

#[async_trait]
impl TableProvider for FunctionTable {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }
    fn table_type(&self) -> TableType {
        TableType::Temporary
    }
    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        _filters: &[Expr],
        limit: Option<usize>,
    ) -> DataFusionResult<Arc<dyn ExecutionPlan>> {
        provider(state, &self.name, &self.args)?.scan(state, projection, &[], limit).await
    }
}

/// A condition that always holds and mentions expressions.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Mention {
    signature: Signature,
}

impl Default for Mention {
    fn default() -> Self {
        // Volatile, so that it stays where it was put.
        Self { signature: Signature::variadic_any(Volatility::Volatile) }
    }
}

impl ScalarUDFImpl for Mention {
    fn name(&self) -> &str {
        "lodedb_mention"
    }
    fn signature(&self) -> &Signature {
        &self.signature
    }
    fn return_type(&self, _types: &[DataType]) -> DataFusionResult<DataType> {
        Ok(DataType::Boolean)
    }
    fn invoke_with_args(&self, _args: ScalarFunctionArgs) -> DataFusionResult<ColumnarValue> {
        Ok(ColumnarValue::Scalar(ScalarValue::Boolean(Some(true))))
    }
}

/// Downcasts the source of a scan.
pub(crate) fn provider_of<T: TableProvider>(source: &Arc<dyn TableSource>) -> Option<&T> {
    let default = source.downcast_ref::<datafusion::datasource::DefaultTableSource>()?;
    (default.table_provider.as_ref() as &dyn Any).downcast_ref::<T>()
}
