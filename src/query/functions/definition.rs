//! How a function is described, and the one implementation DataFusion sees of all that are described so.
//!
//! A function is a row of a table: its name, what it takes, what it gives, and a plain Rust function from datums to a
//! datum. Rows of one name are overloads. The overload is chosen as PostgreSQL chooses: by exact types, then by the
//! fewest conversions that happen unasked; a string fits everything its text can be read as, since a literal has no
//! type of its own by the time it comes here.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::ScalarValue;
use datafusion::error::Result as DataFusionResult;
use datafusion::logical_expr::{
    ColumnarValue, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use lodedb_sql::cast::{CastContext, CastEnvironment, can_cast};
use lodedb_sql::error::Result;
use lodedb_sql::{Datum, PgType, ScalarType, SqlError, TypeWithModifier};

use super::cast::{cast_value, is_lasting_cast, is_same_value};
use super::errors::{to_datafusion, undefined_function};
use super::missing::no_such_call;
use super::naming::call_name;
use super::scope::Scope;
use crate::query::arrow::{self, ColumnBuilder, ColumnReader, pg_type, scalar_datum, scalar_value};
use crate::query::cancel::CancelToken;
use crate::query::statement_state::Reading;

/// A statement that is to end is noticed once in so many rows.
const ROWS_PER_CHECK: usize = 64;

/// What a function takes in one place.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Parameter {
    /// A value of this type.
    Is(PgType),
    /// A value of any type, as it is.
    Any,
    /// An array of any type.
    AnyArray,
}

/// What a function gives.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Returns {
    /// A value of this type.
    Is(PgType),
    /// The type of an argument.
    SameAs(usize),
    /// The element of an argument that is an array.
    ElementOf(usize),
    /// The array of the type of an argument.
    ArrayOf(usize),
    /// A number with as many digits after the point as the second argument says, or none.
    Rounded,
    /// A number with the digits after the point that a quotient has.
    Quotient,
    /// A number with the digits after the point that the field has which the first argument names.
    Field,
}

/// A call in progress.
pub(crate) struct Call<'a> {
    /// The types of the arguments, converted to what the parameters say.
    pub types: &'a [TypeWithModifier],
    scope: Option<&'a Scope>,
    environment: CastEnvironment,
    cancel: Option<&'a CancelToken>,
}

/// The Rust function behind a row.
pub(crate) type Evaluate = fn(&Call<'_>, &[Datum]) -> Result<Datum>;
/// A whole column at a time, where that pays; `None` says that the arguments have no form it knows.
pub(crate) type Kernel = fn(&Call<'_>, &[ColumnarValue], usize) -> Result<Option<ColumnarValue>>;

/// One overload of a function.
#[derive(Clone)]
pub(crate) struct Definition {
    pub name: &'static str,
    pub parameters: &'static [Parameter],
    /// How many of the last parameters may be left out.
    pub optional: usize,
    /// Whether the last parameter may be repeated.
    pub variadic: bool,
    pub returns: Returns,
    pub volatility: Volatility,
    /// Whether NULL in any place gives NULL.
    pub strict: bool,
    pub evaluate: Evaluate,
    pub kernel: Option<Kernel>,
}

/// An immutable function that is NULL where an argument is.
pub(crate) const fn function(
    name: &'static str,
    parameters: &'static [Parameter],
    returns: Returns,
    evaluate: Evaluate,
) -> Definition {
    Definition {
        name,
        parameters,
        optional: 0,
        variadic: false,
        returns,
        volatility: Volatility::Immutable,
        strict: true,
        evaluate,
        kernel: None,
    }
}

impl Definition {
    /// The last `count` parameters may be left out.
    pub(crate) const fn optional(mut self, count: usize) -> Self {
        self.optional = count;
        self
    }
    /// The last parameter may be repeated, or left out.
    pub(crate) const fn variadic(mut self) -> Self {
        self.variadic = true;
        self
    }
    /// Its result may differ between statements.
    pub(crate) const fn stable(mut self) -> Self {
        self.volatility = Volatility::Stable;
        self
    }
    /// Its result may differ between rows.
    pub(crate) const fn volatile(mut self) -> Self {
        self.volatility = Volatility::Volatile;
        self
    }
    /// It is called for NULLs.
    pub(crate) const fn null_allowed(mut self) -> Self {
        self.strict = false;
        self
    }
    /// It has a faster form.
    pub(crate) const fn with_kernel(mut self, kernel: Kernel) -> Self {
        self.kernel = Some(kernel);
        self
    }

    fn parameter(&self, place: usize) -> Option<Parameter> {
        match self.parameters.get(place) {
            Some(parameter) => Some(*parameter),
            None if self.variadic => self.parameters.last().copied(),
            None => None,
        }
    }

    /// How far the arguments are from the parameters; `None` if they do not fit.
    fn distance(&self, types: &[Option<TypeWithModifier>]) -> Option<u32> {
        let least = self.parameters.len() - self.optional - usize::from(self.variadic);
        if types.len() < least {
            return None;
        }
        types.iter().enumerate().try_fold(0, |sum, (place, ty)| {
            let parameter = self.parameter(place)?;
            let step = match (parameter, ty) {
                (_, None) => 0,
                (Parameter::Any, Some(_)) => 1,
                (Parameter::AnyArray, Some(ty)) => {
                    let is_array = matches!(
                        ty.ty,
                        PgType::Array(_) | PgType::Scalar(ScalarType::Int2vector | ScalarType::Oidvector)
                    );
                    is_array.then_some(1)?
                }
                (Parameter::Is(wanted), Some(ty)) => conversion_distance(ty.ty, wanted)?,
            };
            Some(sum + step)
        })
    }

    /// The types the arguments are converted to.
    fn argument_types(&self, types: &[Option<TypeWithModifier>]) -> Vec<TypeWithModifier> {
        types
            .iter()
            .enumerate()
            .map(|(place, ty)| match (self.parameter(place), ty) {
                (Some(Parameter::Is(wanted)), Some(ty)) if ty.ty == wanted => *ty,
                (Some(Parameter::Is(wanted)), _) => TypeWithModifier::plain(wanted),
                (_, Some(ty)) => *ty,
                (_, None) => TypeWithModifier::plain(ScalarType::Text),
            })
            .collect()
    }

    fn return_type(&self, types: &[TypeWithModifier]) -> TypeWithModifier {
        let of = |place: usize| types.get(place).map_or(PgType::Scalar(ScalarType::Text), |ty| ty.ty);
        let ty = match self.returns {
            Returns::Is(ty) => ty,
            Returns::SameAs(place) => of(place),
            Returns::ElementOf(place) => match of(place) {
                PgType::Array(element) | PgType::Scalar(element) => PgType::Scalar(match element {
                    ScalarType::Int2vector => ScalarType::Int2,
                    ScalarType::Oidvector => ScalarType::Oid,
                    element => element,
                }),
            },
            Returns::ArrayOf(place) => match of(place) {
                PgType::Scalar(element) | PgType::Array(element) => PgType::Array(element),
            },
            Returns::Rounded | Returns::Quotient | Returns::Field => PgType::Scalar(ScalarType::Numeric),
        };
        TypeWithModifier::plain(ty)
    }
}

/// How far a type is from another that it becomes unasked.
fn conversion_distance(from: PgType, to: PgType) -> Option<u32> {
    use ScalarType as T;
    if from == to {
        return Some(0);
    }
    let is_text =
        |ty| matches!(ty, PgType::Scalar(T::Text | T::Varchar | T::Bpchar | T::Name | T::Char | T::Unknown | T::Json));
    let integer_rank = |ty| match ty {
        PgType::Scalar(T::Int2) => Some(1),
        PgType::Scalar(T::Int4) => Some(2),
        PgType::Scalar(T::Int8) => Some(3),
        _ => None,
    };
    match (integer_rank(from), integer_rank(to), to) {
        (Some(a), Some(b), _) if a < b => return Some(b - a),
        // PostgreSQL's preferred type among numbers.
        (Some(_), _, PgType::Scalar(T::Float8)) => return Some(3),
        (Some(_), _, PgType::Scalar(T::Numeric)) => return Some(4),
        (Some(_), _, PgType::Scalar(T::Float4)) => return Some(5),
        _ => {}
    }
    // An integer literal is a bigint by the time it is here; a narrower parameter takes it if it fits.
    if matches!((from, to), (PgType::Scalar(T::Int8 | T::Int4), PgType::Scalar(T::Int4 | T::Int2 | T::Oid))) {
        return Some(8);
    }
    if is_text(from) && is_text(to) {
        return Some(if matches!(to, PgType::Scalar(T::Text)) { 1 } else { 2 });
    }
    // The text of a literal is read as whatever is wanted.
    if is_text(from) {
        return Some(if matches!(to, PgType::Scalar(T::Float8 | T::Timestamptz)) { 20 } else { 21 });
    }
    if let (PgType::Array(_), PgType::Scalar(T::Vector | T::Halfvec | T::Sparsevec)) = (from, to) {
        return Some(9);
    }
    if let (PgType::Array(a), PgType::Array(b)) = (from, to) {
        return conversion_distance(PgType::Scalar(a), PgType::Scalar(b)).filter(|distance| *distance < 20);
    }
    if can_cast(from, to, CastContext::Implicit) {
        return Some(match to {
            PgType::Scalar(T::Timestamptz) => 3,
            _ => 4,
        });
    }
    None
}

impl Call<'static> {
    /// A call outside of any statement, for values that need none.
    pub(crate) fn detached(zone: chrono_tz::Tz) -> Self {
        Call { types: &[], scope: None, environment: CastEnvironment { zone, now_us: 0 }, cancel: None }
    }
}

impl Call<'_> {
    /// The statement this call is part of.
    pub(crate) fn scope(&self) -> Result<&Scope> {
        self.scope.ok_or_else(|| SqlError::internal("a statement runs without its scope"))
    }
    /// The session's zone and clock.
    pub(crate) fn environment(&self) -> &CastEnvironment {
        &self.environment
    }
    /// What ends the statement.
    pub(crate) fn cancel(&self) -> CancelToken {
        self.cancel.cloned().unwrap_or_default()
    }
    /// `57014` if the statement is to end.
    pub(crate) fn check_cancelled(&self) -> Result<()> {
        self.cancel.map_or(Ok(()), CancelToken::check)
    }
    /// The type of an argument.
    pub(crate) fn ty(&self, place: usize) -> PgType {
        self.types.get(place).map_or(PgType::Scalar(ScalarType::Text), |ty| ty.ty)
    }
    /// The text form of a value of the type of an argument.
    pub(crate) fn text(&self, place: usize, datum: &Datum) -> String {
        super::system::text_of(
            self.scope.map(|scope| scope.catalog.as_ref()),
            datum,
            self.ty(place),
            self.environment.zone,
        )
    }
}

/// The zone and clock of a statement for casts; UTC where there is no statement.
pub(crate) fn cast_environment(scope: Option<&Scope>) -> CastEnvironment {
    match scope {
        Some(scope) => CastEnvironment { zone: scope.environment.zone, now_us: scope.environment.transaction_time_us },
        None => CastEnvironment { zone: chrono_tz::UTC, now_us: 0 },
    }
}

/// All overloads of a name, as DataFusion sees them.
pub(crate) struct SqlFunction {
    name: &'static str,
    overloads: Vec<Definition>,
    signature: Signature,
}

impl fmt::Debug for SqlFunction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqlFunction").field("name", &self.name).finish_non_exhaustive()
    }
}

impl PartialEq for SqlFunction {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for SqlFunction {}

impl Hash for SqlFunction {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}

/// One function for each name, in the order of first appearance.
pub(crate) fn group(definitions: impl IntoIterator<Item = Definition>) -> Vec<Arc<ScalarUDF>> {
    let mut functions: Vec<(&'static str, Vec<Definition>)> = Vec::new();
    let mut places = std::collections::HashMap::new();
    for definition in definitions {
        let place = *places.entry(definition.name).or_insert_with(|| {
            functions.push((definition.name, Vec::new()));
            functions.len() - 1
        });
        functions[place].1.push(definition);
    }
    functions
        .into_iter()
        .map(|(name, overloads)| Arc::new(ScalarUDF::new_from_impl(SqlFunction::new(name, overloads))))
        .collect()
}

impl SqlFunction {
    fn new(name: &'static str, overloads: Vec<Definition>) -> Self {
        let rank = |volatility: &Volatility| match volatility {
            Volatility::Immutable => 0,
            Volatility::Stable => 1,
            Volatility::Volatile => 2,
        };
        let volatility =
            overloads.iter().map(|overload| overload.volatility).max_by_key(rank).unwrap_or(Volatility::Immutable);
        // Arguments come as they are: the conversions are PostgreSQL's, not DataFusion's.
        Self { name, overloads, signature: Signature::user_defined(volatility) }
    }

    fn choose(&self, types: &[Option<TypeWithModifier>]) -> Result<&Definition> {
        self.overloads
            .iter()
            .filter_map(|overload| overload.distance(types).map(|distance| (distance, overload)))
            .min_by_key(|(distance, _)| *distance)
            .map(|(_, overload)| overload)
            .ok_or_else(|| {
                let shown: Vec<_> =
                    types.iter().map(|ty| ty.unwrap_or(TypeWithModifier::plain(ScalarType::Unknown))).collect();
                undefined_function(self.name, &shown)
            })
    }

    /// How lasting the result of a call is: that of the overload it means, and of what its arguments go through before.
    pub(super) fn volatility(&self, args: &[Expr], given: &[Option<TypeWithModifier>]) -> Volatility {
        let Ok(overload) = self.choose(given) else { return self.signature.volatility };
        let wanted = overload.argument_types(given);
        let lasting = args.iter().zip(given.iter().zip(&wanted)).all(|(arg, (given, wanted))| {
            given.is_none_or(|given| given.ty == wanted.ty || is_lasting_cast(arg, given.ty, *wanted))
        });
        match overload.volatility {
            Volatility::Immutable if !lasting => Volatility::Stable,
            volatility => volatility,
        }
    }

    fn invoke(&self, args: &ScalarFunctionArgs) -> Result<ColumnarValue> {
        let given: Vec<_> = args.arg_fields.iter().map(|field| argument_type(field)).collect();
        let overload = self.choose(&given)?;
        let types = overload.argument_types(&given);
        let scope = Scope::of(&args.config_options).ok();
        let cancel = Reading::of(&args.config_options).ok().map(|reading| &reading.cancel);
        let call = Call { types: &types, scope, environment: cast_environment(scope), cancel };
        let rows = args.number_rows;
        if let Some(kernel) = overload.kernel
            && let Some(straight) = straightened(args, &given, &types, &call)?
            && let Some(result) = kernel(&call, &straight, rows)?
        {
            return Ok(result);
        }
        let all_scalar = args.args.iter().all(|arg| matches!(arg, ColumnarValue::Scalar(_)));
        let arguments = args
            .args
            .iter()
            .zip(given.iter().zip(&types))
            .map(|(arg, (given, ty))| Argument::new(arg, *given, *ty, &call))
            .collect::<Result<Vec<_>>>()?;
        let return_type = args.return_field.data_type();
        let mut values = vec![Datum::Null; arguments.len()];
        if all_scalar && overload.volatility != Volatility::Volatile {
            let result = evaluate(overload, &call, &arguments, &mut values, 0)?;
            return Ok(ColumnarValue::Scalar(scalar_of(&result, return_type)?));
        }
        let mut builder = ColumnBuilder::new(return_type, rows)?;
        for row in 0..rows {
            if row % ROWS_PER_CHECK == 0 {
                call.check_cancelled()?;
            }
            builder.push(&evaluate(overload, &call, &arguments, &mut values, row)?)?;
        }
        Ok(ColumnarValue::Array(builder.finish()?))
    }
}

/// The arguments with constants converted to the types of the parameters; `None` if a column would have to be.
fn straightened(
    args: &ScalarFunctionArgs,
    given: &[Option<TypeWithModifier>],
    types: &[TypeWithModifier],
    call: &Call<'_>,
) -> Result<Option<Vec<ColumnarValue>>> {
    let mut straight = Vec::with_capacity(args.args.len());
    for ((arg, given), wanted) in args.args.iter().zip(given).zip(types) {
        match (arg, given) {
            (arg, Some(given)) if given.ty == wanted.ty || is_same_value(given.ty, *wanted) => {
                straight.push(arg.clone())
            }
            (ColumnarValue::Scalar(scalar), given) => {
                let given = given.unwrap_or(*wanted);
                let datum = convert(scalar_datum(scalar, given)?, Some((given.ty, *wanted)), call)?;
                straight.push(ColumnarValue::Scalar(scalar_value(&datum, *wanted)?));
            }
            (ColumnarValue::Array(_), _) => return Ok(None),
        }
    }
    Ok(Some(straight))
}

fn evaluate(
    overload: &Definition,
    call: &Call<'_>,
    arguments: &[Argument<'_>],
    values: &mut [Datum],
    row: usize,
) -> Result<Datum> {
    for (value, argument) in values.iter_mut().zip(arguments) {
        *value = argument.value(row, call)?;
        if overload.strict && value.is_null() {
            return Ok(Datum::Null);
        }
    }
    (overload.evaluate)(call, values)
}

/// The type of an argument; `None` for a bare NULL.
pub(crate) fn argument_type(field: &Field) -> Option<TypeWithModifier> {
    (*field.data_type() != DataType::Null).then(|| pg_type(field))
}

/// A literal of exactly this Arrow type.
pub(crate) fn scalar_of(datum: &Datum, data_type: &DataType) -> Result<ScalarValue> {
    let array = arrow::array_of([datum], data_type)?;
    ScalarValue::try_from_array(&array, 0).map_err(SqlError::internal)
}

/// An argument of a call: a constant converted once, or a column.
enum Argument<'a> {
    Constant(Datum),
    Column { reader: ColumnReader<'a>, conversion: Option<(PgType, TypeWithModifier)> },
}

impl<'a> Argument<'a> {
    fn new(
        arg: &'a ColumnarValue,
        given: Option<TypeWithModifier>,
        wanted: TypeWithModifier,
        call: &Call<'_>,
    ) -> Result<Self> {
        let given = given.unwrap_or(wanted);
        let conversion = (given.ty != wanted.ty).then_some((given.ty, wanted));
        match arg {
            ColumnarValue::Scalar(scalar) => {
                let datum = scalar_datum(scalar, given)?;
                Ok(Self::Constant(convert(datum, conversion, call)?))
            }
            ColumnarValue::Array(array) => Ok(Self::Column { reader: ColumnReader::new(array, given)?, conversion }),
        }
    }

    fn value(&self, row: usize, call: &Call<'_>) -> Result<Datum> {
        match self {
            Self::Constant(datum) => Ok(datum.clone()),
            Self::Column { reader, conversion } => convert(reader.datum(row)?, *conversion, call),
        }
    }
}

/// Converts a value to the type of its parameter; names of objects are looked up in the catalog.
fn convert(datum: Datum, conversion: Option<(PgType, TypeWithModifier)>, call: &Call<'_>) -> Result<Datum> {
    match conversion {
        Some((from, to)) if from != to.ty => {
            cast_value(datum, from, to, CastContext::Explicit, &call.environment, call.scope)
        }
        _ => Ok(datum),
    }
}

impl ScalarUDFImpl for SqlFunction {
    fn name(&self) -> &str {
        self.name
    }
    fn schema_name(&self, args: &[Expr]) -> DataFusionResult<String> {
        Ok(call_name(self.name, args))
    }
    fn signature(&self) -> &Signature {
        &self.signature
    }
    fn return_type(&self, _arg_types: &[DataType]) -> DataFusionResult<DataType> {
        Err(to_datafusion(SqlError::internal("the result depends on more than the types of the arguments")))
    }
    fn coerce_types(&self, arg_types: &[DataType]) -> DataFusionResult<Vec<DataType>> {
        Ok(arg_types.to_vec())
    }
    fn return_field_from_args(&self, args: ReturnFieldArgs<'_>) -> DataFusionResult<FieldRef> {
        let given: Vec<_> = args.arg_fields.iter().map(|field| argument_type(field)).collect();
        let overload = self.choose(&given).map_err(|_| to_datafusion(no_such_call(self.name, &args)))?;
        let ty = overload.return_type(&overload.argument_types(&given));
        let mut field = arrow::arrow_field(self.name, ty, true);
        if let Returns::SameAs(place) = overload.returns
            && let Some(given) = args.arg_fields.get(place)
            && structural_numeric(given.data_type())
        {
            // A decimal keeps its own precision and scale.
            field = field.with_data_type(given.data_type().clone());
        }
        let digits = match overload.returns {
            Returns::Rounded => rounded_type(&args),
            Returns::Quotient => Some(arrow::QUOTIENT),
            Returns::Field => field_type(&args),
            _ => None,
        };
        if let Some(data_type) = digits {
            field = field.with_data_type(data_type);
        }
        Ok(Arc::new(field))
    }
    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> DataFusionResult<ColumnarValue> {
        self.invoke(&args).map_err(to_datafusion)
    }
}

/// The decimal of a rounded number, where the number of its digits is known.
fn rounded_type(args: &ReturnFieldArgs<'_>) -> Option<DataType> {
    let (precision, scale) = match args.arg_fields.first()?.data_type() {
        DataType::Decimal128(precision, scale) | DataType::Decimal256(precision, scale) => (*precision, *scale),
        _ => return None,
    };
    let digits = match args.scalar_arguments.get(1) {
        None => 0,
        Some(literal) => match scalar_datum((*literal)?, TypeWithModifier::plain(ScalarType::Int8)).ok()? {
            Datum::Int8(digits) => i16::try_from(digits).ok()?,
            Datum::Int4(digits) => i16::try_from(digits).ok()?,
            _ => return None,
        },
    };
    let digits = digits.clamp(0, 60);
    // One more before the point, for what rounds up into it.
    let width = i16::from(precision) - i16::from(scale) + 1 + digits;
    let width = width.clamp(1, 74) as u8;
    Some(if width <= 38 {
        DataType::Decimal128(width, digits as i8)
    } else {
        DataType::Decimal256(width, digits as i8)
    })
}

/// The decimal of a field of a moment, where it is known which.
fn field_type(args: &ReturnFieldArgs<'_>) -> Option<DataType> {
    let unit = (*args.scalar_arguments.first()?)?.try_as_str()??;
    Some(DataType::Decimal128(25, super::datetime::digits_of_field(unit) as i8))
}

fn structural_numeric(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Decimal128(..) | DataType::Decimal256(..))
}
