//! What stands around the argument of an aggregate: its conversion to the type that the aggregate adds up.
//!
//! The type of `sum(x)` depends on the type of `x` as it was written: `bigint` for an `integer`, `numeric` for a
//! `bigint`. DataFusion converts arguments wherever it looks at them, also ones it has converted before, and would take
//! the converted integer for a `bigint`. So the conversion is made once, by a function, when the call is planned.

use std::sync::{Arc, LazyLock};

use datafusion::arrow::compute::{CastOptions, cast_with_options};
use datafusion::arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::error::Result as DataFusionResult;
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::{
    ColumnarValue, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use lodedb_sql::{PgType, ScalarType, SqlError};

use super::errors::{to_datafusion, undefined_function};
use crate::query::arrow::pg_type;

/// The names of the functions, and of the aggregates that they are for.
const NAMES: [(&str, &str); 8] = [
    ("pg_sum_input", "sum"),
    ("pg_avg_input", "avg"),
    ("pg_stddev_input", "stddev"),
    ("pg_stddev_samp_input", "stddev_samp"),
    ("pg_stddev_pop_input", "stddev_pop"),
    ("pg_variance_input", "variance"),
    ("pg_var_samp_input", "var_samp"),
    ("pg_var_pop_input", "var_pop"),
];

static FUNCTIONS: LazyLock<Vec<Arc<ScalarUDF>>> = LazyLock::new(|| {
    NAMES
        .iter()
        .map(|&(name, aggregate)| {
            let signature = Signature::user_defined(Volatility::Immutable);
            Arc::new(ScalarUDF::new_from_impl(AggregateInput { name, aggregate, signature }))
        })
        .collect()
});

/// The functions of this file.
pub(super) fn functions() -> impl Iterator<Item = Arc<ScalarUDF>> {
    FUNCTIONS.iter().cloned()
}

/// The arguments of a call of an aggregate, converted where it needs that.
pub(super) fn converted(aggregate: &str, mut args: Vec<Expr>) -> Vec<Expr> {
    let place = NAMES.iter().position(|&(_, name)| name == aggregate);
    if let (Some(place), [arg]) = (place, args.as_mut_slice()) {
        let call = ScalarFunction::new_udf(FUNCTIONS[place].clone(), vec![std::mem::take(arg)]);
        *arg = Expr::ScalarFunction(call);
    }
    args
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct AggregateInput {
    name: &'static str,
    aggregate: &'static str,
    signature: Signature,
}

impl AggregateInput {
    /// What a value of this type is added up as.
    fn target(&self, field: &Field) -> DataFusionResult<DataType> {
        use ScalarType as T;
        let ty = pg_type(field);
        let own = field.data_type().clone();
        let PgType::Scalar(scalar) = ty.ty else {
            return Err(to_datafusion(undefined_function(self.aggregate, &[ty])));
        };
        Ok(match (self.aggregate, scalar) {
            _ if own == DataType::Null => DataType::Float64,
            (_, T::Float4 | T::Float8) => DataType::Float64,
            ("sum", T::Int2 | T::Int4) => DataType::Int64,
            ("sum", T::Interval | T::Vector | T::Halfvec) | ("avg", T::Vector | T::Halfvec) => own,
            ("avg", T::Interval) => return Err(to_datafusion(SqlError::unsupported("avg of intervals"))),
            (_, T::Int2 | T::Int4 | T::Int8) => DataType::Decimal128(20, 0),
            ("sum", T::Numeric) => match own {
                // Ten digits more are room for the sum of any table.
                DataType::Decimal128(precision, scale) if precision > 28 => DataType::Decimal256(precision, scale),
                own => own,
            },
            (_, T::Numeric) => own,
            _ => return Err(to_datafusion(undefined_function(self.aggregate, &[ty]))),
        })
    }
}

impl ScalarUDFImpl for AggregateInput {
    fn name(&self) -> &str {
        self.name
    }
    fn signature(&self) -> &Signature {
        &self.signature
    }
    fn return_type(&self, _: &[DataType]) -> DataFusionResult<DataType> {
        Err(to_datafusion(SqlError::internal("the input of an aggregate depends on more than a type")))
    }
    fn coerce_types(&self, types: &[DataType]) -> DataFusionResult<Vec<DataType>> {
        Ok(types.to_vec())
    }
    fn return_field_from_args(&self, args: ReturnFieldArgs<'_>) -> DataFusionResult<FieldRef> {
        let Some(field) = args.arg_fields.first() else {
            return Err(to_datafusion(SqlError::internal("an aggregate of nothing")));
        };
        Ok(Arc::new(Field::new(self.name, self.target(field)?, true)))
    }
    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> DataFusionResult<ColumnarValue> {
        let target = args.return_field.data_type();
        let options = CastOptions { safe: false, ..CastOptions::default() };
        Ok(match args.args.into_iter().next() {
            Some(ColumnarValue::Array(array)) if array.data_type() != target => {
                ColumnarValue::Array(cast_with_options(&array, target, &options)?)
            }
            Some(ColumnarValue::Scalar(scalar)) => {
                ColumnarValue::Scalar(scalar.cast_to_with_options(target, &options)?)
            }
            Some(same) => same,
            None => return Err(to_datafusion(SqlError::internal("an aggregate of nothing"))),
        })
    }
}
