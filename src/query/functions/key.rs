//! `pg_key(value)`: one form for values that are equal, which DataFusion tells apart by their bits: 0 and -0, and every NaN.

use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, GenericListArray, OffsetSizeTrait, PrimitiveArray};
use datafusion::arrow::datatypes::{
    ArrowNativeTypeOp, ArrowPrimitiveType, DataType, FieldRef, Float16Type, Float32Type, Float64Type,
};
use datafusion::common::ScalarValue;
use datafusion::error::Result as DataFusionResult;
use datafusion::logical_expr::{
    ColumnarValue, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility,
};
use lodedb_sql::SqlError;

use super::errors::to_datafusion;
use super::naming::call_name;

/// The name of the function.
pub(crate) const KEY_FUNCTION: &str = "pg_key";

/// The function [`KEY_FUNCTION`].
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    signature: Signature,
}

impl Key {
    pub(super) fn new() -> Self {
        Self { signature: Signature::user_defined(Volatility::Immutable) }
    }
}

/// The values in the form that stands for all that are equal to them.
fn one_form(values: &ArrayRef) -> DataFusionResult<ArrayRef> {
    Ok(match values.data_type() {
        DataType::Float16 => one_zero::<Float16Type>(values.as_primitive()),
        DataType::Float32 => {
            let one = |value: f32| if value.is_nan() { f32::NAN } else { value + 0.0 };
            Arc::new(values.as_primitive::<Float32Type>().unary::<_, Float32Type>(one))
        }
        DataType::Float64 => {
            let one = |value: f64| if value.is_nan() { f64::NAN } else { value + 0.0 };
            Arc::new(values.as_primitive::<Float64Type>().unary::<_, Float64Type>(one))
        }
        DataType::List(item) => items_in_one_form(values.as_list::<i32>(), item)?,
        DataType::LargeList(item) => items_in_one_form(values.as_list::<i64>(), item)?,
        _ => values.clone(),
    })
}

fn one_zero<T: ArrowPrimitiveType>(values: &PrimitiveArray<T>) -> ArrayRef {
    let zero = T::Native::ZERO;
    Arc::new(values.unary::<_, T>(|value| if value == zero { zero } else { value }))
}

fn items_in_one_form<O: OffsetSizeTrait>(lists: &GenericListArray<O>, item: &FieldRef) -> DataFusionResult<ArrayRef> {
    let items = one_form(lists.values())?;
    let lists = GenericListArray::try_new(item.clone(), lists.offsets().clone(), items, lists.nulls().cloned())?;
    Ok(Arc::new(lists))
}

impl ScalarUDFImpl for Key {
    fn name(&self) -> &str {
        KEY_FUNCTION
    }
    fn schema_name(&self, args: &[Expr]) -> DataFusionResult<String> {
        Ok(call_name(KEY_FUNCTION, args))
    }
    fn signature(&self) -> &Signature {
        &self.signature
    }
    fn return_type(&self, types: &[DataType]) -> DataFusionResult<DataType> {
        types.first().cloned().ok_or_else(|| to_datafusion(SqlError::internal("a key of nothing")))
    }
    fn coerce_types(&self, types: &[DataType]) -> DataFusionResult<Vec<DataType>> {
        Ok(types.to_vec())
    }
    fn return_field_from_args(&self, args: ReturnFieldArgs<'_>) -> DataFusionResult<FieldRef> {
        args.arg_fields.first().cloned().ok_or_else(|| to_datafusion(SqlError::internal("a key of nothing")))
    }
    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> DataFusionResult<ColumnarValue> {
        match args.args.first() {
            Some(ColumnarValue::Array(values)) => one_form(values).map(ColumnarValue::Array),
            Some(ColumnarValue::Scalar(value)) => {
                let values = one_form(&value.to_array()?)?;
                ScalarValue::try_from_array(&values, 0).map(ColumnarValue::Scalar)
            }
            None => Err(to_datafusion(SqlError::internal("a key of nothing"))),
        }
    }
}
