//! Integer arithmetic that fails where PostgreSQL's does, instead of wrapping around.

use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, Datum as ArrowDatum};
use datafusion::arrow::compute::kernels::numeric;
use datafusion::arrow::datatypes::DataType;
use datafusion::arrow::error::ArrowError;
use datafusion::common::{ScalarValue, exec_err};
use datafusion::error::Result as DataFusionResult;
use datafusion::logical_expr::{
    ColumnarValue, Expr, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use lodedb_sql::{SqlError, SqlState};

use crate::query::arrow::structural_type;
use crate::query::functions::call_name;
use crate::query::statement_state::carry;

type Kernel = fn(&dyn ArrowDatum, &dyn ArrowDatum) -> Result<ArrayRef, ArrowError>;

/// The function that an operator on integers becomes.
pub(crate) fn checked_name(operator: &str) -> Option<&'static str> {
    Some(match operator {
        "+" => "integer_pl",
        "-" => "integer_mi",
        "*" => "integer_mul",
        _ => return None,
    })
}

/// The functions of [`checked_name`].
pub(crate) fn functions() -> Vec<Arc<ScalarUDF>> {
    let kernels: [(&'static str, Kernel); 3] =
        [("integer_pl", numeric::add), ("integer_mi", numeric::sub), ("integer_mul", numeric::mul)];
    kernels
        .into_iter()
        .map(|(name, kernel)| {
            let signature = Signature::any(2, Volatility::Immutable);
            Arc::new(ScalarUDF::new_from_impl(Checked { name, kernel, signature }))
        })
        .collect()
}

#[derive(Debug)]
struct Checked {
    name: &'static str,
    kernel: Kernel,
    signature: Signature,
}

impl PartialEq for Checked {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for Checked {}

impl std::hash::Hash for Checked {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}

impl ScalarUDFImpl for Checked {
    fn name(&self) -> &str {
        self.name
    }
    fn schema_name(&self, args: &[Expr]) -> DataFusionResult<String> {
        Ok(call_name(self.name, args))
    }
    fn signature(&self) -> &Signature {
        &self.signature
    }
    fn return_type(&self, types: &[DataType]) -> DataFusionResult<DataType> {
        Ok(types.iter().find(|ty| **ty != DataType::Null).cloned().unwrap_or(DataType::Int32))
    }
    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> DataFusionResult<ColumnarValue> {
        let [left, right] = args.args.as_slice() else { return exec_err!("{} takes two arguments", self.name) };
        let result = match (left, right) {
            (ColumnarValue::Scalar(left), ColumnarValue::Scalar(right)) => {
                if left.is_null() || right.is_null() {
                    return Ok(ColumnarValue::Scalar(ScalarValue::try_from(args.return_field.data_type())?));
                }
                let result = (self.kernel)(&left.to_scalar()?, &right.to_scalar()?);
                let array = carry(result.map_err(|error| out_of_range(error, args.return_field.data_type())))?;
                return ScalarValue::try_from_array(&array, 0).map(ColumnarValue::Scalar);
            }
            (ColumnarValue::Array(left), ColumnarValue::Scalar(right)) => {
                (self.kernel)(&left.as_ref(), &right.to_scalar()?)
            }
            (ColumnarValue::Scalar(left), ColumnarValue::Array(right)) => {
                (self.kernel)(&left.to_scalar()?, &right.as_ref())
            }
            (ColumnarValue::Array(left), ColumnarValue::Array(right)) => (self.kernel)(&left.as_ref(), &right.as_ref()),
        };
        carry(result.map_err(|error| out_of_range(error, args.return_field.data_type()))).map(ColumnarValue::Array)
    }
}

fn out_of_range(error: ArrowError, ty: &DataType) -> SqlError {
    match error {
        ArrowError::ArithmeticOverflow(_) => {
            SqlError::new(SqlState::NumericValueOutOfRange, format!("{} out of range", structural_type(ty).sql_name()))
        }
        other => SqlError::internal(other),
    }
}
