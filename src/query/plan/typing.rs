//! What operators are not asked about: the types of untyped literals and parameters in IN lists, CASE and the like.

use std::sync::Arc;

use datafusion::arrow::datatypes::{DECIMAL256_MAX_PRECISION, DataType};
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, DFSchema, ScalarValue};
use datafusion::error::Result as DataFusionResult;
use datafusion::functions_aggregate::first_last::first_value_udaf;
use datafusion::logical_expr::expr::{Cast, InList, InSubquery, Like, Placeholder, ScalarFunction, SetComparison};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::utils::{disjunction, merge_schema};
use datafusion::logical_expr::{
    Expr, ExprSchemable, LogicalPlan, LogicalPlanBuilder, Operator, Subquery, WindowFunctionDefinition,
};
use lodedb_sql::resolve::{common_type, function_parameter_types, resolve_operator};
use lodedb_sql::text::parse_text;
use lodedb_sql::{PgType, ScalarType, SqlError, TypeWithModifier};

use super::choice;
use super::keys;
use super::operators::{Typing, operand_type};
use super::recursive;
use super::sets;
use crate::catalog::Catalog;
use crate::query::arrow::{QUOTIENT_PRECISION, arrow_type, pg_type};
use crate::query::functions::{CAST_FUNCTION, EMBEDDING, KEY_FUNCTION, to_datafusion, undefined_function};
use crate::query::statement_state::carry;

/// Types what is left untyped in a plan.
pub(crate) fn type_plan(plan: LogicalPlan, typing: &Typing<'_>) -> DataFusionResult<LogicalPlan> {
    let mut any = false;
    plan.transform_up_with_subqueries(|plan| {
        if plan.expressions().is_empty() {
            // What is below may have other types now.
            let plan = if any { Transformed::yes(plan.recompute_schema()?) } else { Transformed::no(plan) };
            let plan = plan.transform_data(|plan| sets::settle(plan, typing))?;
            let plan = plan.transform_data(recursive::settle)?;
            let plan = plan.transform_data(|plan| keys::settle(plan, typing))?;
            any |= plan.transformed;
            return Ok(plan);
        }
        let schema = match plan.inputs().as_slice() {
            [] => plan.schema().clone(),
            [input] => input.schema().clone(),
            inputs => Arc::new(merge_schema(inputs)),
        };
        let preserver = NamePreserver::new(&plan);
        let rewritten = plan.map_expressions(|expr| {
            let name = preserver.save(&expr);
            let typed = expr.transform_up(|expr| type_whole(expr, &schema, typing))?;
            Ok(if typed.transformed { typed.update_data(|expr| name.restore(expr)) } else { typed })
        })?;
        let rewritten = rewritten.transform_data(|plan| sets::settle(plan, typing))?;
        let rewritten = rewritten.transform_data(|plan| keys::settle(plan, typing))?;
        any |= rewritten.transformed;
        if any { rewritten.map_data(LogicalPlan::recompute_schema) } else { Ok(rewritten) }
    })
    .map(|typed| typed.data)
}

/// As [`type_plan`], for one expression over a schema.
pub(crate) fn type_tree(expr: Expr, schema: &DFSchema, typing: &Typing<'_>) -> DataFusionResult<Expr> {
    expr.transform_up(|expr| type_whole(expr, schema, typing)).map(|typed| typed.data)
}

pub(super) fn is_untyped(expr: &Expr) -> bool {
    matches!(expr, Expr::Literal(ScalarValue::Utf8(_), None) | Expr::Placeholder(Placeholder { field: None, .. }))
}

fn is_unknown(expr: &Expr) -> bool {
    matches!(expr, Expr::Literal(value, None) if matches!(value.data_type(), DataType::Utf8 | DataType::Null))
}

/// `42883` for arguments that DataFusion's aggregates take and PostgreSQL's do not.
fn check_aggregate(name: &str, args: &[Expr], schema: &DFSchema) -> DataFusionResult<()> {
    use ScalarType::{Bit, Bool, Bytea, Halfvec, Json, Jsonb, Sparsevec, Uuid, Varbit, Vector};
    let types: Vec<_> = args.iter().map(|arg| operand_type(arg, schema).ok().flatten()).collect();
    let first = types.first().copied().flatten().map(|ty| ty.ty);
    let refused = match name {
        "count" => args.len() > 1,
        "min" | "max" => matches!(
            first,
            Some(PgType::Scalar(Bool | Bytea | Json | Jsonb | Uuid | Vector | Halfvec | Sparsevec | Bit | Varbit))
        ),
        "bool_and" | "bool_or" => first.is_some_and(|ty| ty != PgType::Scalar(Bool)),
        _ => false,
    };
    if refused {
        let unknown = TypeWithModifier::plain(ScalarType::Unknown);
        let types: Vec<_> = types.into_iter().map(|ty| ty.unwrap_or(unknown)).collect();
        return Err(to_datafusion(undefined_function(name, &types)));
    }
    Ok(())
}

/// As [`type_expr`], and what a model gives has as many dimensions as the model's vectors.
fn type_whole(expr: Expr, schema: &DFSchema, typing: &Typing<'_>) -> DataFusionResult<Transformed<Expr>> {
    let typed = type_expr(expr, schema, typing)?;
    match &typed.data {
        Expr::ScalarFunction(call) if let Some(dims) = embedded_dims(call, schema, typing.catalog) => {
            let vector = TypeWithModifier { ty: ScalarType::Vector.into(), modifier: dims };
            Ok(Transformed::yes(carry(typing.cast_call(typed.data, vector))?))
        }
        _ => Ok(typed),
    }
}

/// The dimensions of the vector that a call has a model make, if it names the model.
fn embedded_dims(call: &ScalarFunction, schema: &DFSchema, catalog: &Catalog) -> Option<i32> {
    let [Expr::Literal(name, _), content, ..] = call.args.as_slice() else { return None };
    if !EMBEDDING.contains(&call.name()) {
        return None;
    }
    // Of several texts there are several vectors.
    let ty = operand_type(content, schema).ok()?;
    if ty.is_some_and(|ty| matches!(ty.ty, PgType::Array(_))) {
        return None;
    }
    let model = catalog.model(name.try_as_str().flatten()?)?;
    i32::try_from(model.dims).ok()
}

fn type_expr(expr: Expr, schema: &DFSchema, typing: &Typing<'_>) -> DataFusionResult<Transformed<Expr>> {
    type_operands(expr, schema, typing)?.transform_data(|expr| name_type(expr, schema, typing))
}

/// Names the type of an expression for which DataFusion knows the Arrow type alone: `varchar` is no other than `text` there.
fn name_type(expr: Expr, schema: &DFSchema, typing: &Typing<'_>) -> DataFusionResult<Transformed<Expr>> {
    let type_of = |expr: &Expr| operand_type(expr, schema).ok().flatten().map(|ty| ty.ty);
    let ty = match &expr {
        Expr::Case(case) => {
            let results = case.when_then_expr.iter().map(|(_, then)| then);
            let types: Vec<_> = case.else_expr.iter().chain(results).map(|result| type_of(result)).collect();
            common_type("CASE", &types).ok()
        }
        Expr::ScalarFunction(call) if matches!(call.name(), "coalesce" | "greatest" | "least" | "make_array") => {
            let types: Vec<_> = call.args.iter().map(type_of).collect();
            match (call.name(), common_type(call.name(), &types).ok()) {
                ("make_array", Some(PgType::Scalar(element))) => Some(PgType::Array(element)),
                (_, common) => common,
            }
        }
        Expr::ScalarSubquery(subquery) => subquery.subquery.schema().fields().first().map(|field| pg_type(field).ty),
        _ => None,
    };
    // The type of a whole chain of conditions is dear to find out, and asked for at each of them.
    let Some(ty) = ty else { return Ok(Transformed::no(expr)) };
    match type_of(&expr) {
        Some(known) if known != ty && same_form(known, ty) => {
            carry(typing.cast_call(expr, TypeWithModifier::plain(ty))).map(Transformed::yes)
        }
        _ => Ok(Transformed::no(expr)),
    }
}

/// The type for decimals of which some have so many digits before the point and others so many after it that DataFusion finds no common
/// type: nearly all the digits that there can be (those with more are shown without zeros at their end), as many after the point as any has.
pub(super) fn room_for_decimals<'a>(types: impl Iterator<Item = &'a DataType>) -> Option<DataType> {
    let (mut whole, mut scale) = (0, 0);
    for data_type in types {
        match data_type {
            DataType::Decimal128(precision, digits) | DataType::Decimal256(precision, digits) => {
                whole = whole.max(i16::from(*precision) - i16::from(*digits));
                scale = scale.max(*digits);
            }
            ty if ty.is_integer() => whole = whole.max(19),
            DataType::Null => {}
            _ => return None,
        }
    }
    (whole + i16::from(scale) > i16::from(DECIMAL256_MAX_PRECISION))
        .then_some(DataType::Decimal256(QUOTIENT_PRECISION - 1, scale))
}

/// Whether values of the one type are those of the other to DataFusion.
pub(super) fn same_form(one: PgType, other: PgType) -> bool {
    arrow_type(TypeWithModifier::plain(one)) == arrow_type(TypeWithModifier::plain(other))
}

/// Whether this is a number of which DataFusion finds the common type with another as PostgreSQL does.
pub(super) fn is_exact_number(ty: PgType) -> bool {
    use ScalarType::{Int2, Int4, Int8, Numeric};
    matches!(ty, PgType::Scalar(Int2 | Int4 | Int8 | Numeric))
}

/// The type in which a number or a moment is compared with the elements of an array of others, if DataFusion and our functions would find
/// another.
fn compared_in(ty: PgType, element: ScalarType) -> Option<ScalarType> {
    use ScalarType::{Date, Float4, Float8, Timestamp, Timestamptz};
    let element = PgType::Scalar(element);
    if ty == element
        || !(is_exact_number(ty) || matches!(ty, PgType::Scalar(Float4 | Float8 | Date | Timestamp | Timestamptz)))
    {
        return None;
    }
    // An array of texts is read as what it is compared with.
    let choice = resolve_operator("=", Some(ty), Some(element)).ok()?;
    match choice.left {
        PgType::Scalar(one) if choice.left == choice.right && !is_exact_number(choice.left) => Some(one),
        _ => None,
    }
}

/// As many items of an IN list, compared one by one, cost no more than looking for one among them.
const FEW_ITEMS: usize = 8;

fn type_operands(expr: Expr, schema: &DFSchema, typing: &Typing<'_>) -> DataFusionResult<Transformed<Expr>> {
    if let Expr::ScalarFunction(call) = &expr {
        if let Some(settled) = choice::settle(call, schema, typing)? {
            return Ok(Transformed::yes(settled));
        }
        if let Some(converted) = elements_as_one(call, schema, typing)? {
            return Ok(Transformed::yes(converted));
        }
    }
    match expr {
        Expr::InList(InList { expr: value, list, negated }) => {
            let Ok(Some(ty)) = operand_type(&value, schema) else {
                return Ok(Transformed::no(Expr::InList(InList { expr: value, list, negated })));
            };
            let (list, mut changed) = constants_as_one(ty.ty, list, schema, typing)?;
            let floats = has_floats(&value, schema);
            if !value.is_volatile()
                && (floats && list.len() <= FEW_ITEMS
                    || list.iter().any(seems_constant)
                    || list.iter().any(|item| is_compared_as_another(ty.ty, item, schema)))
                && let Some(found) = compared_with_each(&value, ty, &list, schema, typing)?
            {
                return Ok(Transformed::yes(if negated { Expr::Not(Box::new(found)) } else { found }));
            }
            let list = list
                .into_iter()
                .map(|item| {
                    let Ok(item_type) = operand_type(&item, schema) else { return Ok(item) };
                    let choice = carry(resolve_operator("=", Some(ty.ty), item_type.map(|ty| ty.ty)))?;
                    if item_type.is_none() || (choice.left == ty.ty && item_type.map(|ty| ty.ty) != Some(choice.right))
                    {
                        changed = true;
                        return carry(typing.convert(item, item_type.map(|ty| ty.ty), choice.right));
                    }
                    Ok(item)
                })
                .collect::<DataFusionResult<Vec<_>>>()?;
            let is_key = matches!(value.as_ref(), Expr::ScalarFunction(call) if call.name() == KEY_FUNCTION);
            if floats && !is_key {
                // DataFusion looks for one among many by its bits.
                let key = |expr| carry(typing.call(KEY_FUNCTION, vec![expr]));
                let list = list.into_iter().map(key).collect::<DataFusionResult<Vec<_>>>()?;
                return Ok(Transformed::yes(Expr::InList(InList { expr: Box::new(key(*value)?), list, negated })));
            }
            let expr = Expr::InList(InList { expr: value, list, negated });
            Ok(if changed { Transformed::yes(expr) } else { Transformed::no(expr) })
        }
        Expr::InSubquery(InSubquery { expr: value, subquery, negated }) => {
            let (value, subquery, changed) = compared(*value, Operator::Eq, subquery, schema, typing)?;
            let expr = Expr::InSubquery(InSubquery { expr: Box::new(value), subquery, negated });
            Ok(if changed { Transformed::yes(expr) } else { Transformed::no(expr) })
        }
        Expr::SetComparison(SetComparison { expr: value, subquery, op, quantifier }) => {
            let (value, subquery, changed) = compared(*value, op, subquery, schema, typing)?;
            let expr = Expr::SetComparison(SetComparison { expr: Box::new(value), subquery, op, quantifier });
            Ok(if changed { Transformed::yes(expr) } else { Transformed::no(expr) })
        }
        Expr::Like(Like { negated, expr: value, pattern, escape_char, case_insensitive })
            if matches!(*pattern, Expr::Placeholder(Placeholder { field: None, .. }))
                || matches!(*value, Expr::Placeholder(Placeholder { field: None, .. })) =>
        {
            let text = PgType::Scalar(ScalarType::Text);
            let typed = |expr: Box<Expr>| -> DataFusionResult<Box<Expr>> {
                if matches!(*expr, Expr::Placeholder(_)) {
                    Ok(Box::new(carry(typing.convert(*expr, None, text))?))
                } else {
                    Ok(expr)
                }
            };
            let (value, pattern) = (typed(value)?, typed(pattern)?);
            Ok(Transformed::yes(Expr::Like(Like { negated, expr: value, pattern, escape_char, case_insensitive })))
        }
        Expr::ScalarFunction(mut call) if call.name().starts_with("pg_any_") || call.name().starts_with("pg_all_") => {
            if let [value, array] = call.args.as_mut_slice() {
                let (Ok(value_type), Ok(array_type)) = (operand_type(value, schema), operand_type(array, schema))
                else {
                    return Ok(Transformed::no(Expr::ScalarFunction(call)));
                };
                match (value_type.map(|ty| ty.ty), array_type.map(|ty| ty.ty)) {
                    (Some(PgType::Scalar(element)), None) => {
                        *array = carry(typing.convert(std::mem::take(array), None, PgType::Array(element)))?;
                        return Ok(Transformed::yes(Expr::ScalarFunction(call)));
                    }
                    (None, Some(PgType::Array(element))) => {
                        *value = carry(typing.convert(std::mem::take(value), None, PgType::Scalar(element)))?;
                        return Ok(Transformed::yes(Expr::ScalarFunction(call)));
                    }
                    (Some(ty), Some(PgType::Array(element))) if let Some(one) = compared_in(ty, element) => {
                        *value = carry(typing.convert(std::mem::take(value), Some(ty), PgType::Scalar(one)))?;
                        let of = Some(PgType::Array(element));
                        *array = carry(typing.convert(std::mem::take(array), of, PgType::Array(one)))?;
                        return Ok(Transformed::yes(Expr::ScalarFunction(call)));
                    }
                    _ => {}
                }
            }
            Ok(Transformed::no(Expr::ScalarFunction(call)))
        }
        Expr::ScalarFunction(call) if call.name() == "pg_typeof" && call.args.iter().all(is_unknown) => {
            let unknown = Expr::Literal(ScalarValue::from("unknown"), None);
            let regtype = TypeWithModifier::plain(ScalarType::Regtype);
            Ok(Transformed::yes(carry(typing.cast_call(unknown, regtype))?))
        }
        Expr::AggregateFunction(mut call) => {
            check_aggregate(call.func.name(), &call.params.args, schema)?;
            let ascending = match call.func.name() {
                "min" => true,
                "max" => false,
                _ => return Ok(Transformed::no(Expr::AggregateFunction(call))),
            };
            let interval = Some(PgType::Scalar(ScalarType::Interval));
            match call.params.args.as_slice() {
                // DataFusion compares intervals part by part; sorted by, they are as long as they are.
                [value] if operand_type(value, schema)?.map(|ty| ty.ty) == interval => {
                    call.params.order_by = vec![value.clone().sort(ascending, false)];
                    call.params.distinct = false;
                    call.func = first_value_udaf();
                    Ok(Transformed::yes(Expr::AggregateFunction(call)))
                }
                _ => Ok(Transformed::no(Expr::AggregateFunction(call))),
            }
        }
        Expr::WindowFunction(call) => {
            if let WindowFunctionDefinition::AggregateUDF(function) = &call.fun {
                check_aggregate(function.name(), &call.params.args, schema)?;
            }
            Ok(Transformed::no(Expr::WindowFunction(call)))
        }
        Expr::ScalarFunction(call)
            if OF_TEXT.contains(&call.name()) && call.args.iter().any(|arg| is_padded(arg, schema)) =>
        {
            let ScalarFunction { func, args } = call;
            let stripped = args.into_iter().map(|arg| match is_padded(&arg, schema) {
                true => typing.cast_call(arg, TypeWithModifier::plain(ScalarType::Text)),
                false => Ok(arg),
            });
            let call = ScalarFunction { func, args: carry(stripped.collect())? };
            Ok(Transformed::yes(Expr::ScalarFunction(call)))
        }
        Expr::ScalarFunction(mut call) if call.args.iter().any(is_untyped) => {
            if let Some(literal) = carry(literal_cast(&call, typing))? {
                return Ok(Transformed::yes(literal));
            }
            if let Some(common) = common_argument_type(&call, schema) {
                for arg in call.args.iter_mut().filter(|arg| is_untyped(arg)) {
                    *arg = carry(typing.convert(std::mem::take(arg), None, common))?;
                }
                return Ok(Transformed::yes(Expr::ScalarFunction(call)));
            }
            let types = function_parameter_types(call.name(), call.args.len()).unwrap_or_default();
            // What has no type of its own beside a vector of another kind is one of that kind.
            let beside = call.args.iter().filter_map(|arg| operand_type(arg, schema).ok().flatten()).map(|ty| ty.ty);
            let beside = beside.into_iter().find(|ty| ty.has_distances());
            let mut changed = false;
            for (arg, ty) in call.args.iter_mut().zip(types) {
                if let Some(ty) = ty.filter(|ty| ty.has_distances() && is_untyped(arg)) {
                    *arg = carry(typing.convert(std::mem::take(arg), None, beside.unwrap_or(ty)))?;
                    changed = true;
                }
            }
            let expr = Expr::ScalarFunction(call);
            Ok(if changed { Transformed::yes(expr) } else { Transformed::no(expr) })
        }
        // DataFusion takes the minus for a NOT of bits, and `a & -a` for zero.
        Expr::Negative(within) if !matches!(within.as_ref(), Expr::Literal(..) | Expr::Cast(_)) => {
            let zero = match operand_type(&within, schema).ok().flatten().map(|ty| ty.ty) {
                Some(PgType::Scalar(ScalarType::Int2)) => ScalarValue::Int16(Some(0)),
                Some(PgType::Scalar(ScalarType::Int4)) => ScalarValue::Int32(Some(0)),
                Some(PgType::Scalar(ScalarType::Int8)) => ScalarValue::Int64(Some(0)),
                _ => return Ok(Transformed::no(Expr::Negative(within))),
            };
            let difference = typing.call("integer_mi", vec![Expr::Literal(zero, None), *within]);
            Ok(Transformed::yes(carry(difference)?))
        }
        Expr::Cast(cast) => Ok(match integer_literal(&cast) {
            Some(literal) => Transformed::yes(literal),
            None => Transformed::no(Expr::Cast(cast)),
        }),
        other => Ok(Transformed::no(other)),
    }
}

/// Functions that take text, of which the blanks that fill a `char(n)` are no part.
const OF_TEXT: &[&str] = &[
    "ascii",
    "bit_length",
    "btrim",
    "char_length",
    "character_length",
    "decode",
    "initcap",
    "left",
    "lower",
    "lpad",
    "ltrim",
    "md5",
    "overlay",
    "position",
    "quote_ident",
    "quote_literal",
    "regexp_like",
    "regexp_match",
    "regexp_replace",
    "regexp_split_to_array",
    "repeat",
    "replace",
    "reverse",
    "right",
    "rpad",
    "rtrim",
    "split_part",
    "starts_with",
    "string_to_array",
    "strpos",
    "substr",
    "substring",
    "translate",
    "upper",
];

/// Whether values of an expression may be equal and yet have several forms.
fn has_floats(expr: &Expr, schema: &DFSchema) -> bool {
    expr.get_type(schema).is_ok_and(|data_type| keys::has_floats(&data_type))
}

/// Whether an expression is a `char(n)`.
fn is_padded(expr: &Expr, schema: &DFSchema) -> bool {
    let ty = operand_type(expr, schema).ok().flatten();
    ty.is_some_and(|ty| ty.ty == PgType::Scalar(ScalarType::Bpchar))
}

/// A value and the column of a subquery that it is compared with, both of the types that are compared.
fn compared(
    value: Expr,
    op: Operator,
    mut subquery: Subquery,
    schema: &DFSchema,
    typing: &Typing<'_>,
) -> DataFusionResult<(Expr, Subquery, bool)> {
    // A column that is not there is for the planner to report.
    let Ok(value_type) = operand_type(&value, schema) else { return Ok((value, subquery, false)) };
    let (column, field) = subquery.subquery.schema().qualified_field(0);
    let (name, column) = (field.name().clone(), Expr::Column(Column::from((column, field))));
    let column_type = (*field.data_type() != DataType::Null).then(|| pg_type(field).ty);
    let value_type = value_type.map(|ty| ty.ty);
    let choice = carry(resolve_operator(&op.to_string(), value_type, column_type))?;
    let orders = matches!(op, Operator::NotEq | Operator::Lt | Operator::LtEq | Operator::Gt | Operator::GtEq);
    if op != Operator::Eq && (!orders || choice.function.is_some()) {
        return carry(Err(SqlError::unsupported(format!("{op} ANY or ALL (subquery) of these types"))));
    }
    let has_floats = keys::has_floats(&arrow_type(TypeWithModifier::plain(choice.left)));
    if value_type == Some(choice.left) && column_type == Some(choice.right) && !has_floats {
        return Ok((value, subquery, false));
    }
    let key = |expr| if has_floats { typing.call(KEY_FUNCTION, vec![expr]) } else { Ok(expr) };
    let value = carry(typing.convert(value, value_type, choice.left).and_then(key))?;
    if column_type != Some(choice.right) || has_floats {
        let column = typing.convert(column, column_type.or(Some(choice.right)), choice.right);
        let column = carry(column.and_then(key))?;
        let plan = LogicalPlanBuilder::from(subquery.subquery).project([column.alias(name)])?.build()?;
        subquery.subquery = Arc::new(plan);
    }
    Ok((value, subquery, true))
}

/// Whether an item of an IN list is computed from a row: DataFusion takes some that give one value for no rows for constants.
fn seems_constant(item: &Expr) -> bool {
    !matches!(item, Expr::Column(_)) && (item.any_column_refs() || item.contains_outer() || item.is_volatile())
}

/// The items of an IN list, those that are no columns as ones of the type that they have in common with the value, as PostgreSQL makes an
/// array of them; and whether any was another.
fn constants_as_one(
    ty: PgType,
    mut list: Vec<Expr>,
    schema: &DFSchema,
    typing: &Typing<'_>,
) -> DataFusionResult<(Vec<Expr>, bool)> {
    let constants: Vec<usize> = (0..list.len()).filter(|&at| !list[at].any_column_refs()).collect();
    let types: Vec<_> = constants
        .iter()
        .map(|&at| operand_type(&list[at], schema).map(|ty| ty.map(|ty| ty.ty)))
        .collect::<DataFusionResult<_>>()?;
    if constants.len() < 2 || types.iter().flatten().all(|other| *other == ty) {
        return Ok((list, false));
    }
    let all: Vec<_> = [Some(ty)].into_iter().chain(types.iter().copied()).collect();
    let common = common_type("IN", &all).ok().filter(|common| !is_exact_number(*common));
    let Some(common) = common else { return Ok((list, false)) };
    let mut changed = false;
    for (at, ty) in constants.into_iter().zip(types) {
        if let Some(ty) = ty.filter(|ty| !same_form(*ty, common)) {
            list[at] = carry(typing.convert(std::mem::take(&mut list[at]), Some(ty), common))?;
            changed = true;
        }
    }
    Ok((list, changed))
}

/// Whether a value of a type becomes one of another to be compared with an item.
fn is_compared_as_another(ty: PgType, item: &Expr, schema: &DFSchema) -> bool {
    let Some(item) = operand_type(item, schema).ok().flatten() else { return false };
    // Lists may be long, and most are of the value's own type.
    if item.ty == ty {
        return false;
    }
    let choice = resolve_operator("=", Some(ty), Some(item.ty));
    choice.is_ok_and(|choice| !(same_form(choice.left, ty) || is_exact_number(choice.left) && is_exact_number(ty)))
}

/// `value = item OR ..`.
fn compared_with_each(
    value: &Expr,
    ty: TypeWithModifier,
    list: &[Expr],
    schema: &DFSchema,
    typing: &Typing<'_>,
) -> DataFusionResult<Option<Expr>> {
    let compared = list.iter().map(|item| {
        let item_type = operand_type(item, schema)?;
        carry(typing.binary("=", value.clone(), Some(ty), item.clone(), item_type))
    });
    Ok(disjunction(compared.collect::<DataFusionResult<Vec<_>>>()?))
}

/// The type that what is untyped among the arguments takes from those beside it.
fn common_argument_type(call: &ScalarFunction, schema: &DFSchema) -> Option<PgType> {
    if !matches!(call.name(), "contains_op" | "contained_op" | "overlap_op") {
        return None;
    }
    let types: Vec<Option<PgType>> =
        call.args.iter().map(|arg| operand_type(arg, schema).ok().flatten().map(|ty| ty.ty)).collect();
    types.into_iter().flatten().next()
}

/// Functions of arrays that take elements, or arrays, of one type with the array that is their first argument.
const OF_ELEMENTS: &[&str] = &[
    "array_append",
    "array_cat",
    "array_position",
    "array_positions",
    "array_prepend",
    "array_remove",
    "array_replace",
];

/// A call of one of [`OF_ELEMENTS`] with arrays and elements of the type that they have in common; `None` if they are of one already.
fn elements_as_one(call: &ScalarFunction, schema: &DFSchema, typing: &Typing<'_>) -> DataFusionResult<Option<Expr>> {
    if !OF_ELEMENTS.contains(&call.name()) {
        return Ok(None);
    }
    let given = call
        .args
        .iter()
        // Where array_position begins to look is no element.
        .take(if call.name() == "array_position" { 2 } else { usize::MAX })
        .map(|arg| Ok(operand_type(arg, schema)?.map(|ty| ty.ty)))
        .collect::<DataFusionResult<Vec<_>>>()?;
    let element = |ty: &Option<PgType>| {
        ty.map(|ty| match ty {
            PgType::Scalar(element) | PgType::Array(element) => PgType::Scalar(element),
        })
    };
    let elements: Vec<_> = given.iter().map(element).collect();
    let mut known = elements.iter().flatten();
    let first = known.next();
    if known.all(|ty| Some(ty) == first) {
        return Ok(None);
    }
    let Ok(PgType::Scalar(common)) = common_type("ARRAY", &elements) else { return Ok(None) };
    let mut args = call.args.clone();
    for (arg, ty) in args.iter_mut().zip(given) {
        let Some(ty) = ty else { continue };
        let to = if matches!(ty, PgType::Array(_)) { PgType::Array(common) } else { PgType::Scalar(common) };
        if !same_form(ty, to) {
            *arg = carry(typing.convert(std::mem::take(arg), Some(ty), to))?;
        }
    }
    Ok(Some(Expr::ScalarFunction(ScalarFunction { func: call.func.clone(), args })))
}

/// The literal that an integer in the text of a statement is, once its type is known.
fn integer_literal(cast: &Cast) -> Option<Expr> {
    match (cast.expr.as_ref(), cast.field.data_type()) {
        (Expr::Literal(ScalarValue::Int64(Some(value)), None), DataType::Int32) => {
            let value = i32::try_from(*value).ok()?;
            Some(Expr::Literal(ScalarValue::Int32(Some(value)), None))
        }
        _ => None,
    }
}

/// The literal that the cast of an untyped one is, for types whose text says all.
fn literal_cast(call: &ScalarFunction, typing: &Typing<'_>) -> lodedb_sql::error::Result<Option<Expr>> {
    use ScalarType::{
        Bit, Bool, Date, Float4, Float8, Halfvec, Int2, Int4, Int8, Interval, Json, Jsonb, Numeric, Sparsevec, Time,
        Timestamp, Uuid, Varbit, Vector,
    };
    let number = |expr: &Expr| match expr {
        Expr::Literal(ScalarValue::Int64(Some(value)), _) => Some(*value),
        _ => None,
    };
    let [value @ Expr::Literal(ScalarValue::Utf8(Some(_)), None), oid, modifier] = call.args.as_slice() else {
        return Ok(None);
    };
    let ty = number(oid).and_then(|oid| u32::try_from(oid).ok()).and_then(PgType::from_oid);
    match ty {
        Some(
            ty @ PgType::Scalar(
                Bool | Date | Float4 | Float8 | Int2 | Int4 | Int8 | Uuid | Vector | Halfvec | Sparsevec | Bit | Varbit,
            ),
        ) if call.name() == CAST_FUNCTION && number(modifier) == Some(-1) => {
            typing.convert(value.clone(), None, ty).map(Some)
        }
        // It stays a cast, and is refused here all the same if it is none: what is multiplied by 0 may never be computed.
        Some(ty @ PgType::Scalar(Numeric | Time | Timestamp | Interval | Json | Jsonb))
            if call.name() == CAST_FUNCTION =>
        {
            let Expr::Literal(ScalarValue::Utf8(Some(text)), _) = value else { return Ok(None) };
            parse_text(text, TypeWithModifier::plain(ty)).map(|_| None)
        }
        _ => Ok(None),
    }
}
