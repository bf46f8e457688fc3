//! The function that is not there: it says so with the types it is called with.

use datafusion::arrow::datatypes::{DataType, FieldRef};
use datafusion::common::ScalarValue;
use datafusion::error::Result as DataFusionResult;
use datafusion::logical_expr::{
    ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility,
};
use lodedb_sql::{ScalarType, SqlError, TypeWithModifier};

use super::definition::argument_type;
use super::errors::{to_datafusion, undefined_function};

/// Stands for a function of this name.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) struct NoFunction {
    name: String,
    /// Whether there is such a function for FROM.
    gives_rows: bool,
    signature: Signature,
}

impl NoFunction {
    pub(crate) fn new(name: &str, gives_rows: bool) -> Self {
        Self { name: name.to_owned(), gives_rows, signature: Signature::user_defined(Volatility::Volatile) }
    }
}

/// `42883` for a call with these arguments.
pub(super) fn no_such_call(name: &str, args: &ReturnFieldArgs<'_>) -> SqlError {
    let types: Vec<TypeWithModifier> = args
        .arg_fields
        .iter()
        .zip(args.scalar_arguments)
        .map(|(field, literal)| {
            let untyped = matches!(literal, Some(ScalarValue::Utf8(_))) && field.metadata().is_empty();
            let known = if untyped { None } else { argument_type(field) };
            known.unwrap_or(TypeWithModifier::plain(ScalarType::Unknown))
        })
        .collect();
    undefined_function(name, &types)
}

impl ScalarUDFImpl for NoFunction {
    fn name(&self) -> &str {
        &self.name
    }
    fn signature(&self) -> &Signature {
        &self.signature
    }
    fn coerce_types(&self, types: &[DataType]) -> DataFusionResult<Vec<DataType>> {
        Ok(types.to_vec())
    }
    fn return_type(&self, _: &[DataType]) -> DataFusionResult<DataType> {
        Err(to_datafusion(undefined_function(&self.name, &[])))
    }
    fn return_field_from_args(&self, args: ReturnFieldArgs<'_>) -> DataFusionResult<FieldRef> {
        Err(to_datafusion(if self.gives_rows {
            SqlError::unsupported(format!("{} outside of FROM", self.name))
        } else {
            no_such_call(&self.name, &args)
        }))
    }
    fn invoke_with_args(&self, _: ScalarFunctionArgs) -> DataFusionResult<ColumnarValue> {
        Err(to_datafusion(undefined_function(&self.name, &[])))
    }
}
