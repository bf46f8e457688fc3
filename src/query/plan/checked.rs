//! Arithmetic that fails where PostgreSQL's does, instead of wrapping around or becoming infinite.

use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, Datum as ArrowDatum};
use datafusion::arrow::compute::cast;
use datafusion::arrow::compute::kernels::numeric;
use datafusion::arrow::datatypes::{DataType, Float32Type, Float64Type};
use datafusion::arrow::error::ArrowError;
use datafusion::common::{ScalarValue, exec_err};
use datafusion::error::Result as DataFusionResult;
use datafusion::logical_expr::{
    ColumnarValue, Expr, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use lodedb_sql::{PgType, ScalarType, SqlError, SqlState};

use crate::query::arrow::structural_type;
use crate::query::functions::call_name;
use crate::query::statement_state::carry;

type Kernel = fn(&dyn ArrowDatum, &dyn ArrowDatum) -> Result<ArrayRef, ArrowError>;

/// The function that an operator becomes whose operands and result are of this type.
pub(crate) fn checked_name(operator: &str, ty: PgType) -> Option<&'static str> {
    use ScalarType::{Float4, Float8, Int2, Int4, Int8};
    let PgType::Scalar(ty) = ty else { return None };
    Some(match (operator, ty) {
        ("+", Int2 | Int4 | Int8) => "integer_pl",
        ("-", Int2 | Int4 | Int8) => "integer_mi",
        ("*", Int2 | Int4 | Int8) => "integer_mul",
        ("#", Int2 | Int4 | Int8) => "integer_xor",
        ("+", Float4 | Float8) => "float_pl",
        ("-", Float4 | Float8) => "float_mi",
        ("*", Float4 | Float8) => "float_mul",
        ("/", Float4 | Float8) => "float_div",
        _ => return None,
    })
}

/// The functions of [`checked_name`] that compute with whole columns.
pub(crate) fn functions() -> Vec<Arc<ScalarUDF>> {
    let kernels: [(&'static str, Kernel, Option<Judge>); 7] = [
        ("integer_pl", numeric::add, None),
        ("integer_mi", numeric::sub, None),
        ("integer_mul", numeric::mul, None),
        ("float_pl", numeric::add, Some(overflow)),
        ("float_mi", numeric::sub, Some(overflow)),
        ("float_mul", numeric::mul, Some(product)),
        ("float_div", numeric::div, Some(quotient)),
    ];
    kernels
        .into_iter()
        .map(|(name, kernel, judge)| {
            let signature = Signature::any(2, Volatility::Immutable);
            Arc::new(ScalarUDF::new_from_impl(Checked { name, kernel, judge, signature }))
        })
        .collect()
}

/// What is wrong with the result of two floats, if anything: PostgreSQL's `float8_pl` and its like.
type Judge = fn(f64, f64, f64) -> Option<&'static str>;

const OVERFLOW: &str = "value out of range: overflow";
const UNDERFLOW: &str = "value out of range: underflow";
const ZERO_DIVIDE: &str = "division by zero";

fn overflow(a: f64, b: f64, result: f64) -> Option<&'static str> {
    (result.is_infinite() && !a.is_infinite() && !b.is_infinite()).then_some(OVERFLOW)
}

fn product(a: f64, b: f64, result: f64) -> Option<&'static str> {
    overflow(a, b, result).or((result == 0.0 && a != 0.0 && b != 0.0).then_some(UNDERFLOW))
}

fn quotient(a: f64, b: f64, result: f64) -> Option<&'static str> {
    if b == 0.0 && !a.is_nan() {
        return Some(ZERO_DIVIDE);
    }
    if result.is_infinite() && !a.is_infinite() {
        return Some(OVERFLOW);
    }
    (result == 0.0 && a != 0.0 && !b.is_infinite()).then_some(UNDERFLOW)
}

/// The values of a column of floats, or of a constant for each row of one.
fn floats(value: &ColumnarValue, rows: usize) -> DataFusionResult<Vec<Option<f64>>> {
    let array = cast(&value.to_array(rows)?, &DataType::Float64)?;
    Ok(array.as_primitive::<Float64Type>().iter().collect())
}

/// Fails for the first row that is wrong. Only results that are infinite, zero or no number can be.
fn judged(judge: Judge, args: &[ColumnarValue], result: &ArrayRef) -> DataFusionResult<()> {
    let suspicious = |value: f64| value == 0.0 || !value.is_finite();
    let any = match result.data_type() {
        DataType::Float64 => result.as_primitive::<Float64Type>().values().iter().any(|value| suspicious(*value)),
        DataType::Float32 => {
            result.as_primitive::<Float32Type>().values().iter().any(|value| suspicious(f64::from(*value)))
        }
        _ => false,
    };
    if !any {
        return Ok(());
    }
    let rows = result.len();
    let (left, right) = (floats(&args[0], rows)?, floats(&args[1], rows)?);
    let results = floats(&ColumnarValue::Array(result.clone()), rows)?;
    for row in left.into_iter().zip(right).zip(results) {
        if let ((Some(a), Some(b)), Some(result)) = row
            && let Some(message) = judge(a, b, result)
        {
            let state =
                if message == ZERO_DIVIDE { SqlState::DivisionByZero } else { SqlState::NumericValueOutOfRange };
            return carry(Err(SqlError::new(state, message)));
        }
    }
    Ok(())
}

#[derive(Debug)]
struct Checked {
    name: &'static str,
    kernel: Kernel,
    judge: Option<Judge>,
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
                if let Some(judge) = self.judge {
                    judged(judge, &args.args, &array)?;
                }
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
        let array = carry(result.map_err(|error| out_of_range(error, args.return_field.data_type())))?;
        if let Some(judge) = self.judge {
            judged(judge, &args.args, &array)?;
        }
        Ok(ColumnarValue::Array(array))
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
