//! What operators are not asked about: the types of untyped literals and parameters in IN lists, CASE and the like.

use std::sync::Arc;

use datafusion::arrow::datatypes::DataType;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, DFSchema, ScalarValue};
use datafusion::error::Result as DataFusionResult;
use datafusion::logical_expr::expr::{
    BinaryExpr, Cast, InList, InSubquery, Like, Placeholder, ScalarFunction, SetComparison,
};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, Operator, Subquery, WindowFunctionDefinition};
use lodedb_sql::resolve::{common_type, function_parameter_types, resolve_operator};
use lodedb_sql::text::parse_text;
use lodedb_sql::{PgType, ScalarType, SqlError, SqlState, TypeWithModifier};

use super::operators::{Typing, operand_type};
use crate::catalog::Catalog;
use crate::query::arrow::pg_type;
use crate::query::functions::{CAST_FUNCTION, EMBEDDING, to_datafusion, undefined_function};
use crate::query::statement_state::carry;

/// Types what is left untyped in a plan.
pub(crate) fn type_plan(plan: LogicalPlan, typing: &Typing<'_>) -> DataFusionResult<LogicalPlan> {
    let mut any = false;
    plan.transform_up_with_subqueries(|plan| {
        if plan.expressions().is_empty() {
            // What is below may have other types now.
            return if any { plan.recompute_schema().map(Transformed::yes) } else { Ok(Transformed::no(plan)) };
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
        let rewritten = rewritten.transform_data(|plan| order_intervals(plan, typing))?;
        any |= rewritten.transformed;
        if any { rewritten.map_data(LogicalPlan::recompute_schema) } else { Ok(rewritten) }
    })
    .map(|typed| typed.data)
}

/// Sorts intervals as lengths of time: Arrow's order is that of months, then days, then the rest.
fn order_intervals(plan: LogicalPlan, typing: &Typing<'_>) -> DataFusionResult<Transformed<LogicalPlan>> {
    let LogicalPlan::Sort(mut sort) = plan else { return Ok(Transformed::no(plan)) };
    let schema = sort.input.schema().clone();
    let mut any = false;
    for key in &mut sort.expr {
        let ty = operand_type(&key.expr, &schema).ok().flatten();
        if ty.is_some_and(|ty| ty.ty == PgType::Scalar(ScalarType::Interval)) {
            key.expr = carry(typing.call("pg_interval_order", vec![std::mem::take(&mut key.expr)]))?;
            any = true;
        }
    }
    Ok(Transformed::new_transformed(LogicalPlan::Sort(sort), any))
}

/// As [`type_plan`], for one expression over a schema.
pub(crate) fn type_tree(expr: Expr, schema: &DFSchema, typing: &Typing<'_>) -> DataFusionResult<Expr> {
    expr.transform_up(|expr| type_whole(expr, schema, typing)).map(|typed| typed.data)
}

fn is_untyped(expr: &Expr) -> bool {
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
    match expr {
        Expr::InList(InList { expr: value, list, negated }) => {
            let Ok(Some(ty)) = operand_type(&value, schema) else {
                return Ok(Transformed::no(Expr::InList(InList { expr: value, list, negated })));
            };
            let mut changed = false;
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
        Expr::BinaryExpr(BinaryExpr { left, op, right })
            if matches!(op, Operator::IsDistinctFrom | Operator::IsNotDistinctFrom)
                && (is_untyped(&left) || is_untyped(&right)) =>
        {
            let (Ok(left_type), Ok(right_type)) = (operand_type(&left, schema), operand_type(&right, schema)) else {
                return Ok(Transformed::no(Expr::BinaryExpr(BinaryExpr { left, op, right })));
            };
            let (left_type, right_type) = (left_type.map(|ty| ty.ty), right_type.map(|ty| ty.ty));
            let choice = carry(resolve_operator("=", left_type, right_type))?;
            let left = Box::new(carry(typing.convert(*left, left_type, choice.left))?);
            let right = Box::new(carry(typing.convert(*right, right_type, choice.right))?);
            Ok(Transformed::yes(Expr::BinaryExpr(BinaryExpr { left, op, right })))
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
        Expr::Case(mut case) => {
            let mut changed = false;
            if let Some(operand) = case.expr.take() {
                let Ok(ty) = operand_type(&operand, schema) else {
                    case.expr = Some(operand);
                    return Ok(Transformed::no(Expr::Case(case)));
                };
                for (when, _) in &mut case.when_then_expr {
                    if let (Some(ty), true) = (ty, is_untyped(when)) {
                        let choice = carry(resolve_operator("=", Some(ty.ty), None))?;
                        **when = carry(typing.convert(std::mem::take(when.as_mut()), None, choice.right))?;
                        changed = true;
                    }
                }
                case.expr = Some(operand);
            } else {
                for (when, _) in &mut case.when_then_expr {
                    let ty = operand_type(when, schema).ok().flatten().map(|ty| ty.ty);
                    let boolean = PgType::Scalar(ScalarType::Bool);
                    if is_untyped(when) {
                        **when = carry(typing.convert(std::mem::take(when.as_mut()), None, boolean))?;
                        changed = true;
                    } else if let Some(ty) = ty.filter(|ty| *ty != boolean) {
                        return carry(Err(SqlError::new(
                            SqlState::DatatypeMismatch,
                            format!("argument of CASE/WHEN must be type boolean, not type {}", ty.sql_name()),
                        )));
                    }
                }
            }
            let mut results: Vec<&mut Box<Expr>> = case.when_then_expr.iter_mut().map(|(_, then)| then).collect();
            results.extend(case.else_expr.as_mut());
            let untyped = results.iter().any(|result| is_untyped(result));
            let types: Vec<Option<PgType>> =
                results.iter().map(|result| operand_type(result, schema).ok().flatten().map(|ty| ty.ty)).collect();
            if untyped && types.iter().any(Option::is_some) {
                let common = carry(common_type("CASE", &types))?;
                for (result, _) in results.into_iter().zip(&types).filter(|(result, _)| is_untyped(result)) {
                    **result = carry(typing.convert(std::mem::take(result.as_mut()), None, common))?;
                    changed = true;
                }
            }
            Ok(if changed { Transformed::yes(Expr::Case(case)) } else { Transformed::no(Expr::Case(case)) })
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
        Expr::AggregateFunction(call) => {
            check_aggregate(call.func.name(), &call.params.args, schema)?;
            Ok(Transformed::no(Expr::AggregateFunction(call)))
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
            if let Some(common) = carry(common_argument_type(&call, schema))? {
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
    if value_type == Some(choice.left) && column_type == Some(choice.right) {
        return Ok((value, subquery, false));
    }
    let value = carry(typing.convert(value, value_type, choice.left))?;
    if column_type != Some(choice.right) {
        let column = carry(typing.convert(column, column_type.or(Some(choice.right)), choice.right))?;
        let plan = LogicalPlanBuilder::from(subquery.subquery).project([column.alias(name)])?.build()?;
        subquery.subquery = Arc::new(plan);
    }
    Ok((value, subquery, true))
}

/// The type that what is untyped among the arguments takes from those beside it.
fn common_argument_type(call: &ScalarFunction, schema: &DFSchema) -> lodedb_sql::error::Result<Option<PgType>> {
    let shown = match call.name() {
        "coalesce" => "COALESCE",
        "greatest" => "GREATEST",
        "least" => "LEAST",
        "nullif" => "NULLIF",
        "make_array" => "ARRAY",
        "contains_op" | "contained_op" | "overlap_op" => "",
        _ => return Ok(None),
    };
    let types: Vec<Option<PgType>> =
        call.args.iter().map(|arg| operand_type(arg, schema).ok().flatten().map(|ty| ty.ty)).collect();
    if types.iter().all(Option::is_none) {
        return Ok(None);
    }
    match shown {
        "" => Ok(types.into_iter().flatten().next()),
        shown => common_type(shown, &types).map(Some),
    }
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
