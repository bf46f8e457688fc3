//! Expressions whose result is one of several values, or made of them: CASE, COALESCE, GREATEST, LEAST, NULLIF and ARRAY.
//!
//! The values become ones of the type that PostgreSQL finds for them. DataFusion would find another (of `real` and `numeric` it makes a
//! `numeric`), and takes a CASE for what its first value is until the plan is optimised, by which time the operators around it have been
//! chosen. So each is planned as a function whose result has the right type, and becomes DataFusion's own once its arguments are typed.

use std::sync::{Arc, LazyLock};

use datafusion::arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::error::Result as DataFusionResult;
use datafusion::functions::core;
use datafusion::functions_nested::make_array::make_array_udf;
use datafusion::logical_expr::expr::{Case, Cast, ScalarFunction};
use datafusion::logical_expr::type_coercion::binary::type_union_resolution;
use datafusion::logical_expr::{
    ColumnarValue, Expr, ExprSchemable, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
    Volatility, when,
};
use lodedb_sql::resolve::{common_type, resolve_operator};
use lodedb_sql::{PgType, ScalarType, SqlError, SqlState, TypeWithModifier};

use super::keys;
use super::operators::{Typing, integer_as_decimal, operand_type};
use super::typing::{is_exact_number, is_untyped, room_for_decimals, same_form};
use crate::query::arrow::{TYPE_KEY, arrow_type, list_of, metadata, pg_type};
use crate::query::functions::KEY_FUNCTION;
use crate::query::statement_state::{broken, carry};

/// What CASE is planned as: `(condition, value, .., value)`.
pub(super) const CASE: &str = "pg_case";
/// What CASE with an operand is planned as: `(operand, compared, value, .., value)`.
pub(super) const CASE_OF: &str = "pg_case_of";

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Kind {
    Case,
    CaseOf,
    Coalesce,
    Greatest,
    Least,
    NullIf,
    Array,
}

impl Kind {
    const ALL: [Self; 7] =
        [Self::Case, Self::CaseOf, Self::Coalesce, Self::Greatest, Self::Least, Self::NullIf, Self::Array];

    fn name(self) -> &'static str {
        match self {
            Self::Case => CASE,
            Self::CaseOf => CASE_OF,
            Self::Coalesce => "coalesce",
            Self::Greatest => "greatest",
            Self::Least => "least",
            Self::NullIf => "nullif",
            Self::Array => "make_array",
        }
    }

    /// What errors call it.
    fn shown(self) -> &'static str {
        match self {
            Self::Case | Self::CaseOf => "CASE",
            Self::Coalesce => "COALESCE",
            Self::Greatest => "GREATEST",
            Self::Least => "LEAST",
            Self::NullIf => "NULLIF",
            Self::Array => "ARRAY",
        }
    }

    /// The places of the values among so many arguments, in the order in which PostgreSQL looks at their types.
    fn values(self, count: usize) -> Vec<usize> {
        match self {
            Self::Case => (count.saturating_sub(1)..count).chain((1..count).step_by(2)).collect(),
            Self::CaseOf => (count.saturating_sub(1)..count).chain((2..count).step_by(2)).collect(),
            _ => (0..count).collect(),
        }
    }

    /// Whether so many arguments are a whole one.
    fn takes(self, count: usize) -> bool {
        match self {
            Self::Case => count >= 3 && count % 2 == 1,
            Self::CaseOf => count >= 4 && count.is_multiple_of(2),
            Self::NullIf => count == 2,
            Self::Coalesce | Self::Greatest | Self::Least | Self::Array => count >= 1,
        }
    }
}

/// The function that one is planned as.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Choice {
    kind: Kind,
    signature: Signature,
}

/// The functions that they are planned as.
pub(crate) fn functions() -> &'static [Arc<ScalarUDF>] {
    static FUNCTIONS: LazyLock<Vec<Arc<ScalarUDF>>> = LazyLock::new(|| {
        let signature = || Signature::user_defined(Volatility::Immutable);
        let function = |kind| Arc::new(ScalarUDF::new_from_impl(Choice { kind, signature: signature() }));
        Kind::ALL.into_iter().map(function).collect()
    });
    &FUNCTIONS
}

impl ScalarUDFImpl for Choice {
    fn name(&self) -> &str {
        self.kind.name()
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, types: &[DataType]) -> DataFusionResult<Vec<DataType>> {
        if self.kind.takes(types.len()) {
            return Ok(types.to_vec());
        }
        let message = format!("{} does not take {} arguments", self.kind.shown(), types.len());
        carry(Err(SqlError::new(SqlState::SyntaxError, message)))
    }

    fn return_type(&self, _types: &[DataType]) -> DataFusionResult<DataType> {
        carry(Err(broken("the type of a choice was asked for without its fields")))
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs<'_>) -> DataFusionResult<FieldRef> {
        let given = |at: usize| {
            let field = &args.arg_fields[at];
            let is_text = matches!(args.scalar_arguments.get(at), Some(Some(ScalarValue::Utf8(_))));
            let untyped = is_text && !field.metadata().contains_key(TYPE_KEY);
            (!untyped && *field.data_type() != DataType::Null).then(|| (pg_type(field).ty, field.data_type().clone()))
        };
        let given: Vec<_> = self.kind.values(args.arg_fields.len()).into_iter().map(given).collect();
        let types: Vec<_> = given.iter().map(|given| given.as_ref().map(|(ty, _)| *ty)).collect();
        let common = match (self.kind, types.as_slice()) {
            (Kind::NullIf, [None, None]) => PgType::Scalar(ScalarType::Text),
            (Kind::NullIf, [value, other]) => {
                let choice = carry(resolve_operator("=", *value, *other))?;
                first_of(*value, *other).unwrap_or(choice.left)
            }
            _ => carry(common_type(self.kind.shown(), &types))?,
        };
        let data_type = settled_type(&given, common);
        let (ty, data_type) = match (self.kind, common) {
            (Kind::Array, PgType::Scalar(element)) => (PgType::Array(element), list_of(data_type)),
            (Kind::Array, nested) => (nested, list_of(data_type)),
            _ => (common, data_type),
        };
        let field = Field::new(self.name(), data_type, true).with_metadata(metadata(TypeWithModifier::plain(ty)));
        Ok(Arc::new(field))
    }

    fn invoke_with_args(&self, _args: ScalarFunctionArgs) -> DataFusionResult<ColumnarValue> {
        carry(Err(broken("a choice was to be computed before its types were settled")))
    }
}

/// The Arrow type of values of these types once they are all of the common one.
fn settled_type(given: &[Option<(PgType, DataType)>], common: PgType) -> DataType {
    if common == PgType::Scalar(ScalarType::Numeric) {
        let as_decimal = |data_type: &DataType| integer_as_decimal(data_type).unwrap_or_else(|| data_type.clone());
        let types: Vec<_> = given.iter().flatten().map(|(_, data_type)| as_decimal(data_type)).collect();
        return one_decimal(&types);
    }
    let mut known = given.iter().flatten();
    let as_given = known.find(|(ty, _)| *ty == common).map(|(_, data_type)| data_type.clone());
    as_given.unwrap_or_else(|| arrow_type(TypeWithModifier::plain(common)))
}

/// The type that has room for the values of all of these.
fn one_decimal(types: &[DataType]) -> DataType {
    let plain = || arrow_type(TypeWithModifier::plain(ScalarType::Numeric));
    if types.is_empty() {
        return plain();
    }
    let room = room_for_decimals(types.iter());
    room.or_else(|| type_union_resolution(types).filter(DataType::is_decimal)).unwrap_or_else(plain)
}

/// What a call of one of the functions is to DataFusion; `None` if it calls another. The arguments are typed already.
pub(super) fn settle(call: &ScalarFunction, schema: &DFSchema, typing: &Typing<'_>) -> DataFusionResult<Option<Expr>> {
    let Some(Choice { kind, .. }) = call.func.inner().downcast_ref::<Choice>() else { return Ok(None) };
    let args = call.args.clone();
    Ok(Some(match kind {
        Kind::Case => searched(args, schema, typing)?,
        Kind::CaseOf => compared(args, schema, typing)?,
        Kind::NullIf => null_if(args, schema, typing)?,
        Kind::Coalesce | Kind::Greatest | Kind::Least | Kind::Array => {
            let function = match kind {
                Kind::Coalesce => core::coalesce(),
                Kind::Greatest => core::greatest(),
                Kind::Least => core::least(),
                _ => make_array_udf(),
            };
            let values = of_one_type(args, kind.shown(), schema, typing)?;
            Expr::ScalarFunction(ScalarFunction::new_udf(function, values))
        }
    }))
}

/// CASE whose conditions are conditions.
fn searched(args: Vec<Expr>, schema: &DFSchema, typing: &Typing<'_>) -> DataFusionResult<Expr> {
    let (mut conditions, values) = split(args, schema, typing)?;
    let boolean = PgType::Scalar(ScalarType::Bool);
    for condition in &mut conditions {
        if is_untyped(condition) {
            *condition = carry(typing.convert(std::mem::take(condition), None, boolean))?;
        } else if let Some(ty) = operand_type(condition, schema)?.filter(|ty| ty.ty != boolean) {
            return carry(Err(SqlError::new(
                SqlState::DatatypeMismatch,
                format!("argument of CASE/WHEN must be type boolean, not type {}", ty.ty.sql_name()),
            )));
        }
    }
    Ok(case(None, conditions, values))
}

/// CASE that compares an operand.
fn compared(mut args: Vec<Expr>, schema: &DFSchema, typing: &Typing<'_>) -> DataFusionResult<Expr> {
    let mut operand = args.remove(0);
    if is_untyped(&operand) {
        operand = carry(typing.convert(operand, None, PgType::Scalar(ScalarType::Text)))?;
    }
    let (mut whens, values) = split(args, schema, typing)?;
    let Some(ty) = operand_type(&operand, schema)? else { return Ok(case(Some(operand), whens, values)) };
    let types = whens.iter().map(|when| operand_type(when, schema)).collect::<DataFusionResult<Vec<_>>>()?;
    let mut alike = true;
    for other in types.iter().map(|other| other.map(|other| other.ty)) {
        let choice = carry(resolve_operator("=", Some(ty.ty), other))?;
        let as_is = (choice.left == ty.ty && choice.right == ty.ty && other.is_none_or(|other| other == ty.ty))
            || (is_exact_number(ty.ty) && other.is_some_and(is_exact_number));
        alike &= choice.function.is_none() && as_is;
    }
    if !alike && !operand.is_volatile() {
        for (when, other) in whens.iter_mut().zip(types) {
            *when = carry(typing.binary("=", operand.clone(), Some(ty), std::mem::take(when), other))?;
        }
        return Ok(case(None, whens, values));
    }
    let mut one = vec![operand];
    one.append(&mut whens);
    let one = of_one_type(one, "CASE", schema, typing)?;
    let floats = keys::has_floats(&one[0].get_type(schema)?);
    let mut one = one.into_iter().map(|expr| match floats {
        true => carry(typing.call(KEY_FUNCTION, vec![expr])),
        false => Ok(expr),
    });
    let operand = one.next().transpose()?;
    Ok(case(operand, one.collect::<DataFusionResult<Vec<_>>>()?, values))
}

/// The conditions of a CASE, and its values, that of ELSE last.
fn split(args: Vec<Expr>, schema: &DFSchema, typing: &Typing<'_>) -> DataFusionResult<(Vec<Expr>, Vec<Expr>)> {
    let count = args.len();
    let (mut conditions, mut values) = (Vec::with_capacity(count / 2), Vec::with_capacity(count / 2 + 1));
    for (at, arg) in args.into_iter().enumerate() {
        if at % 2 == 0 && at + 1 < count { conditions.push(arg) } else { values.push(arg) }
    }
    // The type of ELSE counts first.
    values.rotate_right(1);
    let mut values = of_one_type(values, "CASE", schema, typing)?;
    values.rotate_left(1);
    Ok((conditions, values))
}

fn case(operand: Option<Expr>, conditions: Vec<Expr>, mut values: Vec<Expr>) -> Expr {
    let otherwise = values.pop().filter(|value| !matches!(value, Expr::Literal(ScalarValue::Null, _)));
    let branches = conditions.into_iter().map(Box::new).zip(values.into_iter().map(Box::new)).collect();
    Expr::Case(Case::new(operand.map(Box::new), branches, otherwise.map(Box::new)))
}

/// The type of the first of two values, where PostgreSQL has an operator that compares it with the other as it is.
fn first_of(value: Option<PgType>, other: Option<PgType>) -> Option<PgType> {
    use ScalarType::{Date, Float4, Float8, Int2, Int4, Int8, Numeric, Timestamp, Timestamptz};
    let (Some(PgType::Scalar(first)), Some(PgType::Scalar(other))) = (value, other) else { return None };
    let compared = match first {
        Int2 | Int4 | Int8 => matches!(other, Int2 | Int4 | Int8),
        Float4 | Float8 => matches!(other, Int2 | Int4 | Int8 | Numeric | Float4 | Float8),
        Date | Timestamp | Timestamptz => matches!(other, Date | Timestamp | Timestamptz),
        _ => false,
    };
    compared.then_some(PgType::Scalar(first))
}

fn null_if(args: Vec<Expr>, schema: &DFSchema, typing: &Typing<'_>) -> DataFusionResult<Expr> {
    let [value, other] = <[Expr; 2]>::try_from(args).or_else(|_| carry(Err(broken("NULLIF takes two values"))))?;
    let (ty, other_ty) = (operand_type(&value, schema)?, operand_type(&other, schema)?);
    let plain = |ty: Option<TypeWithModifier>| ty.map(|ty| ty.ty);
    let choice = carry(resolve_operator("=", plain(ty), plain(other_ty)))?;
    let result = first_of(plain(ty), plain(other_ty)).unwrap_or(choice.left);
    let converted = carry(typing.convert(value.clone(), plain(ty), result))?;
    let data_type = converted.get_type(schema)?;
    // DataFusion's own takes two values of one type.
    let alike = plain(other_ty).is_none_or(|other| other == result) && choice.right == result;
    if alike && choice.function.is_none() && !keys::has_floats(&data_type) {
        let other = carry(typing.convert(other, plain(other_ty), choice.right))?;
        return Ok(Expr::ScalarFunction(ScalarFunction::new_udf(core::nullif(), vec![converted, other])));
    }
    let equal = carry(typing.binary("=", value, ty, other, other_ty))?;
    when(equal, Expr::Literal(ScalarValue::try_from(data_type)?, None)).otherwise(converted)
}

/// Values as ones of the type that they have in common.
pub(super) fn of_one_type(
    values: Vec<Expr>,
    shown: &str,
    schema: &DFSchema,
    typing: &Typing<'_>,
) -> DataFusionResult<Vec<Expr>> {
    let types = values
        .iter()
        .map(|value| Ok(operand_type(value, schema)?.map(|ty| ty.ty)))
        .collect::<DataFusionResult<Vec<_>>>()?;
    if types.iter().all(Option::is_none) {
        return Ok(values);
    }
    let common = carry(common_type(shown, &types))?;
    let mut converted = Vec::with_capacity(values.len());
    for (value, ty) in values.into_iter().zip(types) {
        converted.push(match ty {
            None if !is_untyped(&value) => value,
            Some(ty) if same_form(ty, common) => value,
            ty => carry(typing.convert(value, ty, common))?,
        });
    }
    if common == PgType::Scalar(ScalarType::Numeric) {
        let types = converted.iter().map(|value| value.get_type(schema)).collect::<DataFusionResult<Vec<_>>>()?;
        let decimals: Vec<_> = types.iter().filter(|ty| ty.is_decimal()).cloned().collect();
        let one = one_decimal(&decimals);
        for (value, ty) in converted.iter_mut().zip(types) {
            if ty.is_decimal() && ty != one {
                *value = Expr::Cast(Cast::new(Box::new(std::mem::take(value)), one.clone()));
            }
        }
    }
    Ok(converted)
}
