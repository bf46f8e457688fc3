//! The functions of SQL as PostgreSQL has them: casts, vectors, JSON, text, numbers, time, arrays, the session, the
//! catalog; the aggregates and the functions in FROM whose types differ from DataFusion's.
//!
//! The planner registers them once, over DataFusion's of the same names, with [`register`]. What a statement lends its
//! functions (its [`Environment`](crate::db::settings::Environment), its catalog, the engine's [`Hooks`]) goes with
//! the configuration of its session state: [`Scope::install`]. Functions that read it are `Stable` at least, so
//! DataFusion folds them while it plans: a plan that is kept for later must be kept from before the optimizer.
//!
//! INVARIANT 1: an error leaves DataFusion as it entered it ([`to_datafusion`], [`sql_error`]).
//! INVARIANT 2: no function keeps state between calls, a cache of compiled patterns aside.

mod advisory;
mod aggregate_input;
mod aggregates;
mod array;
mod average;
mod bits;
mod cast;
mod datetime;
mod definition;
mod deviation;
mod embed;
pub mod errors;
pub(crate) mod growing;
mod halfvec;
mod json;
mod json_text;
mod key;
mod missing;
mod naming;
mod numbers;
mod privileges;
mod quantified;
mod quotient;
pub mod scope;
mod series;
mod session;
mod sparsevec;
mod strings;
mod syntax;
mod system;
mod templates;
mod types;
mod vector;
mod vector_aggregates;
mod vector_casts;
mod vector_states;

#[cfg(test)]
pub(crate) mod tests;

use std::any::Any;
use std::sync::{Arc, LazyLock};

use datafusion::common::DFSchema;
use datafusion::execution::FunctionRegistry;
use datafusion::execution::session_state::SessionState;
use datafusion::functions_aggregate::bool_and_or::bool_and_udaf;
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::planner::ExprPlanner;
use datafusion::logical_expr::{AggregateUDF, ExprSchemable, ScalarUDF, Volatility};

pub(crate) use cast::SESSIONS;
pub use cast::{CAST_FUNCTION, is_cast};
pub(crate) use embed::{EMBEDDING, model_named};
pub(crate) use errors::undefined_function;
pub use errors::{sql_error, to_datafusion};
pub(crate) use key::KEY_FUNCTION;
pub(crate) use missing::NoFunction;
pub(crate) use naming::call_name;
pub use scope::{
    AdvisoryAccess, AdvisoryLock, BackupInfo, BackupProgress, Hooks, IndexBuildInfo, ModelAccess, NotifyAccess,
    RefillProgress, Scope, SequenceAccess, ServerAccess, SessionInfo, SettingAccess, Upkeep,
};
pub use series::shifted;
pub use session::version;
pub use syntax::SyntaxPlanner;
pub(crate) use system::text_of;

static SCALARS: LazyLock<Vec<Arc<ScalarUDF>>> = LazyLock::new(|| {
    let tables = [
        vector::FUNCTIONS,
        halfvec::FUNCTIONS,
        sparsevec::FUNCTIONS,
        vector_casts::FUNCTIONS,
        vector_states::FUNCTIONS,
        array::FUNCTIONS,
        strings::FUNCTIONS,
        bits::FUNCTIONS,
        growing::FUNCTIONS,
        numbers::FUNCTIONS,
        datetime::FUNCTIONS,
        templates::FUNCTIONS,
        session::FUNCTIONS,
        embed::FUNCTIONS,
    ];
    let definitions = tables
        .into_iter()
        .flatten()
        .cloned()
        .chain(advisory::functions())
        .chain(json::functions())
        .chain(quantified::functions())
        .chain(system::functions());
    let mut functions = definition::group(definitions);
    functions.push(Arc::new(ScalarUDF::new_from_impl(cast::PgCast::new())));
    functions.push(Arc::new(ScalarUDF::new_from_impl(key::Key::new())));
    functions.extend(aggregate_input::functions());
    functions
});

/// Every scalar function of this house.
pub fn scalar_functions() -> &'static [Arc<ScalarUDF>] {
    &SCALARS
}

/// Every aggregate of this house.
pub fn aggregate_functions() -> Vec<Arc<AggregateUDF>> {
    let every = bool_and_udaf().as_ref().clone().with_aliases(["every"]);
    aggregates::aggregates().into_iter().chain(deviation::aggregates()).chain([Arc::new(every)]).collect()
}

/// The planner of forms like `EXTRACT(.. FROM ..)`; to be put before DataFusion's own.
pub fn syntax_planner() -> Option<Arc<dyn ExprPlanner>> {
    Some(Arc::new(SyntaxPlanner::new(scalar_functions())?))
}

/// The scalar function of this name, for those who build expressions themselves.
pub fn scalar_function(name: &str) -> Option<Arc<ScalarUDF>> {
    scalar_functions().iter().find(|function| function.name() == name).cloned()
}

/// How lasting the result of a call over rows of this schema is.
pub(crate) fn volatility(call: &ScalarFunction, schema: &DFSchema) -> datafusion::error::Result<Volatility> {
    let types = call.args.iter().map(|arg| Ok(definition::argument_type(&arg.to_field(schema)?.1)));
    let types = types.collect::<datafusion::error::Result<Vec<_>>>()?;
    let function: &dyn Any = call.func.inner().as_ref();
    Ok(match function.downcast_ref::<definition::SqlFunction>() {
        Some(function) => function.volatility(&call.args, &types),
        None if is_cast(function) => cast::volatility(&call.args, types.first().copied().flatten()),
        None => call.func.signature().volatility,
    })
}

/// Puts all functions into a session state, over DataFusion's of the same names.
pub fn register(state: &mut SessionState) -> datafusion::error::Result<()> {
    for function in scalar_functions() {
        state.register_udf(function.clone())?;
    }
    for aggregate in aggregate_functions() {
        state.register_udaf(aggregate)?;
    }
    for (name, function) in series::functions() {
        state.register_udtf(name, function);
    }
    Ok(())
}
