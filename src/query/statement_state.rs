//! What DataFusion needs to know for one statement: shared registries, and a cheap state for each run.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use datafusion::common::config::{ConfigEntry, ConfigExtension, ConfigOptions, ExtensionOptions};
use datafusion::error::{DataFusionError, Result as DataFusionResult};
use datafusion::execution::context::QueryPlanner;
use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::memory_pool::MemoryPool;
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};
use datafusion::execution::session_state::{SessionState, SessionStateBuilder};
use datafusion::execution::{SessionStateDefaults, TaskContext};
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_optimizer::optimizer::PhysicalOptimizer;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_planner::{DefaultPhysicalPlanner, PhysicalPlanner};
use datafusion::prelude::SessionConfig;
use lodedb_sql::SqlError;
use lodedb_sql::cast::CastEnvironment;
use lodedb_sql::error::Result;

use super::apply::ApplyPlanner;
use super::cancel::CancelToken;
use super::filter::DecodedChunks;
use super::functions::Scope;
use super::memory_pool::LimitedPool;
use super::{QueryOptions, functions};
use crate::commit::Reader;
use crate::db::settings::Environment;

/// Rows of one batch.
pub(crate) const BATCH_ROWS: usize = 8192;

/// What all statements of a database share.
#[derive(Debug)]
pub(crate) struct Registry {
    template: SessionState,
    memory: Arc<LimitedPool>,
    /// Columns of growing segments, decoded for filters.
    pub(crate) chunks: DecodedChunks,
}

impl Registry {
    pub(crate) fn new(options: QueryOptions) -> Self {
        let memory = Arc::new(LimitedPool::new(options.memory_limit_bytes));
        let runtime = runtime(&options, memory.clone());
        let mut config = SessionConfig::new()
            .with_target_partitions(options.threads.clamp(1, 4))
            .with_batch_size(BATCH_ROWS)
            .with_information_schema(false)
            .with_create_default_catalog_and_schema(false);
        adjust(config.options_mut());
        let state = SessionStateBuilder::new()
            .with_config(config)
            .with_runtime_env(runtime)
            .with_expr_planners(
                functions::syntax_planner().into_iter().chain(SessionStateDefaults::default_expr_planners()).collect(),
            )
            .with_scalar_functions(SessionStateDefaults::default_scalar_functions())
            .with_aggregate_functions(SessionStateDefaults::default_aggregate_functions())
            .with_window_functions(SessionStateDefaults::default_window_functions())
            .with_query_planner(Arc::new(StatementPlanner))
            .with_physical_optimizer_rules(physical_rules())
            .build();
        let mut template = state;
        for function in super::plan::checked::functions() {
            register(&mut template, function);
        }
        for function in super::plan::choice::functions() {
            register(&mut template, function.clone());
        }
        for name in WITHOUT_BOUNDS {
            remove(&mut template, name);
        }
        if let Err(error) = functions::register(&mut template) {
            // Without them no statement would mean what it says.
            tracing::error!(%error, "functions could not be registered");
        }
        Self { template, memory, chunks: DecodedChunks::default() }
    }

    /// The memory that operators share.
    pub(crate) fn memory(&self) -> &LimitedPool {
        &self.memory
    }

    /// The same, to take from.
    pub(crate) fn memory_pool(&self) -> Arc<dyn MemoryPool> {
        self.memory.clone()
    }

    /// A state to plan with that reads nothing: names and functions only.
    pub(crate) fn planning_state(&self, reader: &Reader, environment: &Arc<Environment>) -> SessionState {
        let mut state = self.template.clone();
        let scope = Scope {
            environment: environment.clone(),
            catalog: reader.catalog(),
            hooks: environment.hooks.clone(),
            vectors: Arc::default(),
        };
        scope.install(state.config_mut().options_mut());
        state.execution_props_mut().query_execution_start_time =
            DateTime::<Utc>::from_timestamp_micros(environment.transaction_time_us);
        settle_options(&mut state);
        state
    }
}

/// Expressions find the configuration in the execution properties: functions read the scope there.
fn settle_options(state: &mut SessionState) {
    let options = state.config_options().clone();
    state.execution_props_mut().config_options = Some(options);
}

/// DataFusion's rules for physical plans but one: what filters can be pushed has been by then, and that one takes columns by their names
/// where a join was turned round, so that a filter may end at the other side's column of the same name.
fn physical_rules() -> Vec<Arc<dyn PhysicalOptimizerRule + Send + Sync>> {
    let rules = PhysicalOptimizer::new().rules.into_iter();
    rules.filter(|rule| !rule.name().starts_with("FilterPushdown")).collect()
}

/// Functions of DataFusion's that PostgreSQL has not, or not there, and whose result is as large as a number says.
const WITHOUT_BOUNDS: &[&str] =
    &["array_repeat", "list_repeat", "array_resize", "list_resize", "range", "gen_series", "generate_series"];

fn remove(state: &mut SessionState, name: &str) {
    use datafusion::execution::FunctionRegistry;
    if state.deregister_udf(name).is_err() {
        tracing::debug!(name, "there was no such function");
    }
}

fn register(state: &mut SessionState, function: Arc<datafusion::logical_expr::ScalarUDF>) {
    use datafusion::execution::FunctionRegistry;
    // Nothing is replaced: the names are ours.
    let _ = state.register_udf(function);
}

fn runtime(options: &QueryOptions, pool: Arc<LimitedPool>) -> Arc<RuntimeEnv> {
    let builder = RuntimeEnvBuilder::new().with_memory_pool(pool);
    let spilling = match &options.spill_dir {
        Some(dir) => DiskManagerMode::Directories(vec![dir.clone()]),
        None => DiskManagerMode::OsTmpDirectory,
    };
    let with =
        |mode| builder.clone().with_disk_manager_builder(DiskManagerBuilder::default().with_mode(mode)).build_arc();
    with(spilling)
        .or_else(|error| {
            tracing::warn!(%error, "queries cannot spill to disk: what does not fit in memory fails");
            with(DiskManagerMode::Disabled)
        })
        // Nothing else can be missing.
        .unwrap_or_default()
}

/// DataFusion's settings where its defaults are not PostgreSQL's, or cost planning time for nothing.
fn adjust(options: &mut ConfigOptions) {
    options.sql_parser.parse_float_as_decimal = true;
    options.sql_parser.enable_ident_normalization = true;
    options.sql_parser.map_string_types_to_utf8view = false;
    options.sql_parser.collect_spans = true;
    options.sql_parser.default_null_ordering = "nulls_max".into();
    // The order a subquery asks for reaches aggregates such as array_agg in PostgreSQL.
    options.sql_parser.enable_subquery_sort_elimination = false;
    options.optimizer.enable_dynamic_filter_pushdown = false;
    options.optimizer.expand_views_at_output = false;
    options.optimizer.max_passes = 2;
    options.execution.collect_statistics = false;
    // Simplifying an expression may find that it is never null, which is no reason to fail.
    options.execution.skip_physical_aggregate_schema_check = true;
}

/// What providers and operators find in the configuration of a run.
#[derive(Clone)]
pub(crate) struct Reading {
    pub(crate) reader: Reader,
    pub(crate) environment: Arc<Environment>,
    pub(crate) cancel: CancelToken,
    pub(crate) registry: Arc<Registry>,
}

impl Reading {
    /// That of the run a plan is made for or runs in.
    pub(crate) fn of(options: &ConfigOptions) -> DataFusionResult<&Self> {
        options
            .extensions
            .get::<Self>()
            .ok_or_else(|| DataFusionError::Internal("a plan runs without anything to read".into()))
    }

    /// As [`Self::of`], in the middle of a run.
    pub(crate) fn of_task(context: &TaskContext) -> DataFusionResult<&Self> {
        Self::of(context.session_config().options())
    }
}

impl fmt::Debug for Reading {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reading").finish_non_exhaustive()
    }
}

impl ConfigExtension for Reading {
    const PREFIX: &'static str = "lodedb_reading";
}

impl ExtensionOptions for Reading {
    fn as_any(&self) -> &dyn Any {
        self
    }
    fn as_any_mut(&mut self) -> &mut dyn Any {
        self
    }
    fn cloned(&self) -> Box<dyn ExtensionOptions> {
        Box::new(self.clone())
    }
    fn set(&mut self, key: &str, _value: &str) -> DataFusionResult<()> {
        Err(DataFusionError::Configuration(format!("{key} cannot be set as text")))
    }
    fn entries(&self) -> Vec<ConfigEntry> {
        Vec::new()
    }
}

/// One run of a statement.
pub(crate) struct Run {
    pub(crate) state: SessionState,
    pub(crate) reading: Reading,
}

impl Run {
    pub(crate) fn new(
        registry: &Arc<Registry>,
        reader: Reader,
        environment: Arc<Environment>,
        cancel: CancelToken,
    ) -> Self {
        let mut state = registry.planning_state(&reader, &environment);
        let reading = Reading { reader, environment, cancel, registry: registry.clone() };
        state.config_mut().options_mut().extensions.insert(reading.clone());
        settle_options(&mut state);
        Self { state, reading }
    }

    pub(crate) fn reader(&self) -> &Reader {
        &self.reading.reader
    }
}

/// The zone and clock of a statement, for casts.
pub(crate) fn cast_environment(environment: &Environment) -> CastEnvironment {
    CastEnvironment { zone: environment.zone, now_us: environment.transaction_time_us }
}

/// DataFusion's planner, with our operators.
#[derive(Debug)]
struct StatementPlanner;

#[async_trait]
impl QueryPlanner for StatementPlanner {
    async fn create_physical_plan(
        &self,
        plan: &LogicalPlan,
        session: &dyn datafusion::catalog::Session,
    ) -> DataFusionResult<Arc<dyn ExecutionPlan>> {
        DefaultPhysicalPlanner::with_extension_planners(vec![Arc::new(ApplyPlanner)])
            .create_physical_plan(plan, session)
            .await
    }
}

/// The error of DataFusion as a client sees it.
pub(crate) fn sql<T>(result: DataFusionResult<T>) -> Result<T> {
    result.map_err(functions::sql_error)
}

/// An error of ours on its way through DataFusion.
pub(crate) fn carry<T>(result: Result<T>) -> DataFusionResult<T> {
    result.map_err(functions::to_datafusion)
}

/// An error that should not happen, named.
pub(crate) fn broken(what: &str) -> SqlError {
    SqlError::internal(what)
}
