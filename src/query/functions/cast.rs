//! `pg_cast(value, oid, modifier)`: every cast of SQL, as the rewriting of statements writes it.
//!
//! What a cast does to a value is [`lodedb_sql::cast`]'s business, except where names of objects are read or printed
//! (`regclass` and its kin), which takes the catalog. Where Arrow's own cast means the same, whole columns go through it.

use std::any::Any;
use std::sync::Arc;

use datafusion::arrow::compute::{CastOptions, cast_with_options};
use datafusion::arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::ScalarValue;
use datafusion::error::Result as DataFusionResult;
use datafusion::logical_expr::{
    ColumnarValue, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility,
};
use lodedb_sql::cast::{CastContext, CastEnvironment, cast, is_immutable};
use lodedb_sql::error::Result;
use lodedb_sql::text::{MAX_ARRAY_DIMENSIONS, parse_text_in};
use lodedb_sql::{Datum, PgType, ScalarType, SqlError, SqlState, TypeWithModifier};

use super::definition::{argument_type, cast_environment, scalar_of};
use super::errors::to_datafusion;
use super::naming::call_name;
use super::scope::Scope;
use super::system;
use crate::query::arrow::{ColumnBuilder, ColumnReader, arrow_field, arrow_type, list_of, scalar_datum};

/// The name under which casts are called.
pub const CAST_FUNCTION: &str = "pg_cast";

/// The function [`CAST_FUNCTION`].
#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) struct PgCast {
    signature: Signature,
}

impl PgCast {
    pub(crate) fn new() -> Self {
        // Stable: text becomes a moment by the session's zone, and an object by the catalog.
        Self { signature: Signature::user_defined(Volatility::Stable) }
    }
}

/// The type that the literals after the value name.
fn target(arguments: &[Option<&ScalarValue>]) -> Result<TypeWithModifier> {
    let number = |place: usize| -> Option<i64> {
        let scalar = (*arguments.get(place)?)?;
        match scalar_datum(scalar, TypeWithModifier::plain(ScalarType::Int8)).ok()? {
            Datum::Int8(value) => Some(value),
            Datum::Int4(value) => Some(i64::from(value)),
            Datum::Oid(value) => Some(i64::from(value)),
            _ => None,
        }
    };
    let oid = number(1).and_then(|oid| u32::try_from(oid).ok());
    let oid = oid.ok_or_else(|| SqlError::internal("a cast without the OID of its type"))?;
    let ty = PgType::from_oid(oid)
        .ok_or_else(|| SqlError::new(SqlState::UndefinedObject, format!("type with OID {oid} does not exist")))?;
    let modifier = number(2).and_then(|modifier| i32::try_from(modifier).ok()).unwrap_or(-1);
    Ok(TypeWithModifier { ty, modifier })
}

/// The Arrow type of the result: that of its type, but decimals keep digits they are known to have, and arrays the
/// number of their dimensions.
fn result_type(source: &Field, literal: Option<&ScalarValue>, to: TypeWithModifier) -> DataType {
    let plain = arrow_type(to);
    match to.ty {
        PgType::Scalar(ScalarType::Numeric) if to.modifier < 0 => match source.data_type() {
            DataType::Decimal128(..) | DataType::Decimal256(..) => source.data_type().clone(),
            DataType::Int16 => DataType::Decimal128(5, 0),
            DataType::Int32 => DataType::Decimal128(10, 0),
            DataType::Int64 => DataType::Decimal128(19, 0),
            _ => literal.and_then(|literal| literal.try_as_str().flatten()).and_then(decimal_of_text).unwrap_or(plain),
        },
        PgType::Array(_) => {
            let depth = match literal.and_then(|literal| literal.try_as_str().flatten()) {
                Some(text) => {
                    let braces = text.chars().take_while(|c| *c == '{' || c.is_whitespace()).filter(|c| *c == '{');
                    // Reading the text refuses what is deeper.
                    braces.take(MAX_ARRAY_DIMENSIONS).count()
                }
                None => list_depth(source.data_type()),
            };
            (1..depth).fold(plain, |list, _| list_of(list))
        }
        _ => plain,
    }
}

/// How many lists there are within each other.
fn list_depth(data_type: &DataType) -> usize {
    match data_type {
        DataType::List(item) => 1 + list_depth(item.data_type()),
        _ => 0,
    }
}

/// The decimal that holds a plain number in text exactly.
fn decimal_of_text(text: &str) -> Option<DataType> {
    let digits = text.trim().trim_start_matches(['-', '+']);
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let is_plain = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    let precision = whole.len() + fraction.len();
    let (digits, scale) = (precision as u8, fraction.len() as i8);
    match precision {
        _ if !is_plain(whole) || !is_plain(fraction) => None,
        1..=38 => Some(DataType::Decimal128(digits, scale)),
        39..=74 => Some(DataType::Decimal256(digits, scale)),
        _ => None,
    }
}

/// Whether a value of one type is one of the other as it stands.
pub(super) fn is_same_value(from: PgType, to: TypeWithModifier) -> bool {
    use ScalarType as T;
    if to.modifier >= 0 {
        return false;
    }
    let registered = |ty| matches!(ty, T::Oid | T::Regclass | T::Regtype | T::Regproc | T::Regnamespace | T::Xid);
    match (from, to.ty) {
        (
            PgType::Scalar(T::Text | T::Varchar | T::Json | T::Name | T::Unknown),
            PgType::Scalar(T::Text | T::Varchar),
        ) => true,
        (PgType::Scalar(from), PgType::Scalar(to)) if registered(from) && registered(to) => true,
        (from, to) => from == to,
    }
}

/// Whether Arrow's cast between these types means what PostgreSQL's does.
fn is_arrow_cast(from: &DataType, to: &DataType) -> bool {
    use DataType as D;
    matches!(
        (from, to),
        (D::Int16, D::Int32 | D::Int64 | D::Float32 | D::Float64 | D::Decimal128(..))
            | (D::Int32, D::Int64 | D::Float64 | D::Decimal128(..))
            | (D::Int64, D::Float64 | D::Decimal128(..))
            | (D::Float32, D::Float64)
    )
}

/// Converts one value; names of objects are looked up in the catalog of the statement.
pub(crate) fn cast_value(
    datum: Datum,
    from: PgType,
    to: TypeWithModifier,
    context: CastContext,
    environment: &CastEnvironment,
    scope: Option<&Scope>,
) -> Result<Datum> {
    if datum.is_null() {
        return Ok(Datum::Null);
    }
    let registered = |ty| {
        matches!(
            ty,
            PgType::Scalar(ScalarType::Regclass | ScalarType::Regtype | ScalarType::Regproc | ScalarType::Regnamespace)
        )
    };
    let is_text = |ty| {
        matches!(
            ty,
            PgType::Scalar(
                ScalarType::Text | ScalarType::Varchar | ScalarType::Bpchar | ScalarType::Name | ScalarType::Unknown
            )
        )
    };
    if let (PgType::Scalar(kind), Datum::Text(name)) = (to.ty, &datum)
        && registered(to.ty)
        && is_text(from)
    {
        return system::object_named(scope.map(|scope| scope.catalog.as_ref()), name, kind).map(Datum::Oid);
    }
    if registered(from) && is_text(to.ty) {
        let text = system::text_of(scope.map(|scope| scope.catalog.as_ref()), &datum, from, environment.zone);
        return cast(Datum::Text(text), PgType::Scalar(ScalarType::Text), to, context, environment);
    }
    if let (Datum::Array(array), PgType::Array(element), PgType::Array(wanted)) = (&datum, from, to.ty)
        && (registered(PgType::Scalar(element)) || registered(PgType::Scalar(wanted)))
    {
        let target = TypeWithModifier { ty: PgType::Scalar(wanted), modifier: to.modifier };
        let elements = array
            .elements
            .iter()
            .map(|datum| cast_value(datum.clone(), PgType::Scalar(element), target, context, environment, scope))
            .collect::<Result<_>>()?;
        let dimensions = array.dimensions.clone();
        return Ok(Datum::Array(Box::new(lodedb_sql::datum::ArrayDatum { element: wanted, dimensions, elements })));
    }
    cast(datum, from, to, context, environment)
}

impl PgCast {
    fn invoke(args: &ScalarFunctionArgs) -> Result<ColumnarValue> {
        let literals: Vec<Option<&ScalarValue>> = args
            .args
            .iter()
            .map(|arg| match arg {
                ColumnarValue::Scalar(scalar) => Some(scalar),
                ColumnarValue::Array(_) => None,
            })
            .collect();
        let to = target(&literals)?;
        let result_type = args.return_field.data_type();
        let Some(from) = args.arg_fields.first().and_then(|field| argument_type(field)) else {
            return ScalarValue::try_from(result_type).map(ColumnarValue::Scalar).map_err(SqlError::internal);
        };
        let value = &args.args[0];
        if is_same_value(from.ty, to) && value.data_type() == *result_type {
            return Ok(value.clone());
        }
        let scope = Scope::of(&args.config_options).ok();
        let environment = cast_environment(scope);
        let convert = |datum| cast_value(datum, from.ty, to, CastContext::Explicit, &environment, scope);
        match value {
            ColumnarValue::Scalar(scalar) => {
                let datum = convert(scalar_datum(scalar, from)?)?;
                Ok(ColumnarValue::Scalar(scalar_of(&datum, result_type)?))
            }
            ColumnarValue::Array(array) if is_arrow_cast(array.data_type(), result_type) && to.modifier < 0 => {
                let options = CastOptions { safe: false, ..CastOptions::default() };
                let array = cast_with_options(array, result_type, &options).map_err(SqlError::internal)?;
                Ok(ColumnarValue::Array(array))
            }
            ColumnarValue::Array(array) => {
                let reader = ColumnReader::new(array, from)?;
                let mut builder = ColumnBuilder::new(result_type, array.len())?;
                for row in 0..array.len() {
                    builder.push(&convert(reader.datum(row)?)?)?;
                }
                Ok(ColumnarValue::Array(builder.finish()?))
            }
        }
    }
}

impl ScalarUDFImpl for PgCast {
    fn name(&self) -> &str {
        CAST_FUNCTION
    }
    fn schema_name(&self, args: &[Expr]) -> DataFusionResult<String> {
        Ok(call_name(CAST_FUNCTION, args))
    }
    fn signature(&self) -> &Signature {
        &self.signature
    }
    fn return_type(&self, _arg_types: &[DataType]) -> DataFusionResult<DataType> {
        Err(to_datafusion(SqlError::internal("the type of a cast is one of its arguments")))
    }
    fn coerce_types(&self, arg_types: &[DataType]) -> DataFusionResult<Vec<DataType>> {
        Ok(arg_types.to_vec())
    }
    fn return_field_from_args(&self, args: ReturnFieldArgs<'_>) -> DataFusionResult<FieldRef> {
        let to = target(args.scalar_arguments).map_err(to_datafusion)?;
        let Some(source) = args.arg_fields.first() else {
            return Err(to_datafusion(SqlError::internal("a cast of nothing")));
        };
        let literal = args.scalar_arguments.first().copied().flatten();
        let data_type = result_type(source, literal, to);
        let nullable = source.is_nullable() || *source.data_type() == DataType::Null;
        Ok(Arc::new(arrow_field(CAST_FUNCTION, to, nullable).with_data_type(data_type)))
    }
    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> DataFusionResult<ColumnarValue> {
        Self::invoke(&args).map_err(to_datafusion)
    }
}

/// Two sessions as unlike as can be: a text that means the same in both does so in all.
pub(crate) const SESSIONS: [CastEnvironment; 2] = [
    CastEnvironment { zone: chrono_tz::UTC, now_us: 0 },
    CastEnvironment { zone: chrono_tz::Asia::Kolkata, now_us: 1_000_000_007_000_000 },
];

/// Whether a value becomes one of another type alike in every session and at any time.
pub(super) fn is_lasting_cast(value: &Expr, from: PgType, to: TypeWithModifier) -> bool {
    match value {
        Expr::Literal(ScalarValue::Utf8(Some(text)), None) => {
            let [one, other] = SESSIONS.map(|session| parse_text_in(text, to, &session).ok());
            one.is_some() && one == other
        }
        Expr::Literal(value, _) if value.is_null() => true,
        _ => is_immutable(from, to.ty),
    }
}

/// How lasting the result of a cast with these arguments is, the first of which is of this type.
pub(super) fn volatility(args: &[Expr], from: Option<TypeWithModifier>) -> Volatility {
    let literals: Vec<_> = args
        .iter()
        .map(|arg| match arg {
            Expr::Literal(value, _) => Some(value),
            _ => None,
        })
        .collect();
    match (args.first(), from, target(&literals)) {
        (Some(value), Some(from), Ok(to)) if !is_lasting_cast(value, from.ty, to) => Volatility::Stable,
        _ => Volatility::Immutable,
    }
}

/// Whether a function of DataFusion's is the cast, for those who look through casts in a plan.
pub fn is_cast(function: &dyn Any) -> bool {
    function.is::<PgCast>()
}
