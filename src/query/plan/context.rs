//! What DataFusion's planner asks about names: tables, functions, settings.

use std::collections::HashMap;
use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, SchemaRef};
use datafusion::common::TableReference;
use datafusion::config::ConfigOptions;
use datafusion::datasource::cte_worktable::CteWorkTable;
use datafusion::datasource::provider_as_source;
use datafusion::error::Result as DataFusionResult;
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::planner::{ContextProvider, ExprPlanner, RelationPlanner};
use datafusion::logical_expr::{AggregateUDF, Expr, HigherOrderUDF, ScalarUDF, TableSource, WindowUDF};
use lodedb_sql::parse::Places;
use lodedb_sql::{SqlError, SqlState};
use parking_lot::Mutex;

use super::operators::{OperatorPlanner, SharedTyping};
use super::parameters::Parameters;
use super::{recursive, relations};
use crate::catalog::{Catalog, Table};
use crate::db::settings::Environment;
use crate::query::functions::{NoFunction, to_datafusion};
use crate::query::pg_catalog;
use crate::query::scan::TableReader;
use crate::query::statement_state::cast_environment;

/// The schema under which the planner finds a table together with its hidden columns.
pub(crate) const TARGET_SCHEMA: &str = "lodedb_target";

/// The names one statement may use.
pub(crate) struct Names {
    state: Arc<SessionState>,
    catalog: Arc<Catalog>,
    database: String,
    planners: Vec<Arc<dyn ExprPlanner>>,
    relation_planners: Vec<Arc<dyn RelationPlanner>>,
    /// Tables that exist for this statement alone.
    pub(crate) local: HashMap<String, Arc<dyn TableSource>>,
    /// The tables found, for the plan to remember.
    found: Mutex<Vec<Found>>,
}

/// A table that a statement names.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    pub(crate) table: Arc<Table>,
    /// Whether it was named as what is read, and not only as the target of a change.
    pub(crate) is_read: bool,
}

impl Names {
    pub(crate) fn new(
        state: Arc<SessionState>,
        catalog: Arc<Catalog>,
        environment: &Environment,
        parameters: Arc<Parameters>,
        places: Places,
    ) -> Self {
        let typing = SharedTyping {
            state: state.clone(),
            parameters,
            environment: cast_environment(environment),
            catalog: catalog.clone(),
        };
        let operators = OperatorPlanner { typing: typing.clone(), places };
        let mut planners: Vec<Arc<dyn ExprPlanner>> = vec![Arc::new(operators)];
        planners.extend(state.expr_planners().iter().cloned());
        Self {
            relation_planners: vec![
                Arc::new(relations::TypedRelations::new(typing.clone())),
                Arc::new(relations::FunctionTables { typing }),
            ],
            state,
            catalog,
            database: environment.database.clone(),
            planners,
            local: HashMap::new(),
            found: Mutex::default(),
        }
    }

    /// The tables that were found so far.
    pub(crate) fn found(&self) -> Vec<Found> {
        std::mem::take(&mut *self.found.lock())
    }

    fn user_table(&self, name: &str, hidden: bool) -> Option<Arc<dyn TableSource>> {
        let table = self.catalog.table(name)?;
        let mut found = self.found.lock();
        match found.iter_mut().find(|known| known.table.id == table.id) {
            Some(known) => known.is_read |= !hidden,
            None => found.push(Found { table: table.clone(), is_read: !hidden }),
        }
        let reader = TableReader::new(table.clone(), &self.catalog, hidden);
        Some(provider_as_source(Arc::new(reader)))
    }

    fn table(&self, schema: Option<&str>, name: &str) -> Option<Arc<dyn TableSource>> {
        match schema {
            None => self
                .local
                .get(name)
                .cloned()
                .or_else(|| pg_catalog::table("pg_catalog", name).map(provider_as_source))
                .or_else(|| self.user_table(name, false)),
            Some("public") => self.user_table(name, false),
            Some(TARGET_SCHEMA) => self.user_table(name, true),
            Some(schema) => pg_catalog::table(schema, name).map(provider_as_source),
        }
    }
}

impl ContextProvider for Names {
    fn get_table_source(&self, name: TableReference) -> DataFusionResult<Arc<dyn TableSource>> {
        let (catalog, schema, table) = match &name {
            TableReference::Bare { table } => (None, None, table),
            TableReference::Partial { schema, table } => (None, Some(schema), table),
            TableReference::Full { catalog, schema, table } => (Some(catalog), Some(schema), table),
        };
        if let Some(catalog) = catalog
            && catalog.as_ref() != self.database
        {
            return Err(to_datafusion(SqlError::new(
                SqlState::FeatureNotSupported,
                format!(
                    "cross-database references are not implemented: \"{catalog}.{}.{table}\"",
                    schema.map_or("", |s| s)
                ),
            )));
        }
        let schema = schema.map(|schema| schema.as_ref());
        self.table(schema, table).ok_or_else(|| {
            let shown = match schema {
                Some(schema) if schema != TARGET_SCHEMA => format!("{schema}.{table}"),
                _ => table.to_string(),
            };
            to_datafusion(SqlError::new(SqlState::UndefinedTable, format!("relation \"{shown}\" does not exist")))
        })
    }

    fn get_table_function_source(&self, name: &str, args: Vec<Expr>) -> DataFusionResult<Arc<dyn TableSource>> {
        relations::provider(self.state.as_ref(), name, &args).map(provider_as_source)
    }

    fn create_cte_work_table(&self, name: &str, schema: SchemaRef) -> DataFusionResult<Arc<dyn TableSource>> {
        Ok(provider_as_source(Arc::new(CteWorkTable::new(name, recursive::work_table(&schema)))))
    }

    fn get_expr_planners(&self) -> &[Arc<dyn ExprPlanner>] {
        &self.planners
    }

    fn get_relation_planners(&self) -> &[Arc<dyn RelationPlanner>] {
        &self.relation_planners
    }

    fn get_function_meta(&self, name: &str) -> Option<Arc<ScalarUDF>> {
        if let Some(function) = self.state.scalar_functions().get(name) {
            return Some(function.clone());
        }
        let is_other = name == "unnest"
            || self.state.aggregate_functions().contains_key(name)
            || self.state.window_functions().contains_key(name);
        // It says so with the types of its arguments, which are not known here.
        (!is_other).then(|| {
            let gives_rows = self.state.table_functions().contains_key(name);
            Arc::new(ScalarUDF::new_from_impl(NoFunction::new(name, gives_rows)))
        })
    }

    fn get_higher_order_meta(&self, _name: &str) -> Option<Arc<HigherOrderUDF>> {
        None
    }

    fn get_aggregate_meta(&self, name: &str) -> Option<Arc<AggregateUDF>> {
        self.state.aggregate_functions().get(name).cloned()
    }

    fn get_window_meta(&self, name: &str) -> Option<Arc<WindowUDF>> {
        self.state.window_functions().get(name).cloned()
    }

    fn get_variable_type(&self, _names: &[String]) -> Option<DataType> {
        None
    }

    fn options(&self) -> &ConfigOptions {
        self.state.config_options()
    }

    fn udf_names(&self) -> Vec<String> {
        // Asked only for a suggestion when there is no such function, and not to be empty then.
        self.state.scalar_functions().keys().cloned().collect()
    }

    fn higher_order_function_names(&self) -> Vec<String> {
        Vec::new()
    }

    fn udaf_names(&self) -> Vec<String> {
        self.state.aggregate_functions().keys().cloned().collect()
    }

    fn udwf_names(&self) -> Vec<String> {
        self.state.window_functions().keys().cloned().collect()
    }
}
