//! Syntax that DataFusion's planner does not take, or takes otherwise than PostgreSQL, turned into calls of functions.
//!
//! What it emits, all of it plain calls by name:
//!
//! | written | becomes |
//! | --- | --- |
//! | `CAST(x AS t)`, `x::t`, `t 'text'`, `INTERVAL '1 day'` | `pg_cast(x, oid, modifier)` |
//! | `<->` `<#>` `<=>` `<+>` | `l2_distance`, `vector_negative_inner_product`, `cosine_distance`, `l1_distance` |
//! | `<~>` `<%>` | `hamming_distance`, `jaccard_distance` |
//! | `->` `->>` `#>` `#>>` | `json_get`, `json_get_text`, `json_get_path`, `json_get_path_text` |
//! | `@>` `<@` `&&` | `contains_op`, `contained_op`, `overlap_op` |
//! | `?` `?\|` `?&` `#-` `@?` `@@` | `json_exists`, `json_exists_any`, `json_exists_all`, `json_delete_path`, `json_path_exists_op`, `match_op` |
//! | `x op ANY (array)`, `x op ALL (array)` | `pg_any_eq(x, array)`, `pg_all_ne(x, array)`; see [`quantified_name`] |
//! | `x = ANY (query)`, `x <> ALL (query)` | `x IN (query)`, `x NOT IN (query)` |
//! | `ARRAY(query)` | `(SELECT pg_array_or_empty(array_agg(..)) ..)` |
//! | `x AT TIME ZONE z` | `timezone(z, x)` |
//! | `^@`, `^`, prefix `@`, `\|/`, `\|\|/`, `~` | `starts_with`, `power`, `abs`, `sqrt`, `cbrt`, `pg_bitwise_not` |
//! | `array[from:to]` | `pg_array_slice(array, from, to)` |
//! | `make_interval(days => 3)` | `make_interval(0, 0, 0, 3, 0, 0, 0)` |
//! | `SELECT (f(a)).x` | `SELECT r.x FROM .., LATERAL f(a) AS r`; see [`records`] |
//! | `FETCH FIRST n ROWS ONLY` | `LIMIT n` |
//! | `current_schema`, `current_role` | `current_schema()`, `current_role()` |
//!
//! `OPERATOR(pg_catalog.~)` becomes `~`, `pg_catalog.f(..)` becomes `f(..)`, the collations `"default"` and `"C"` are
//! dropped, every form of string becomes a plain one, and expressions without a name get PostgreSQL's as an alias (see
//! [`visible_name`]).

mod columns;
mod expressions;
mod names;
mod operators;
mod queries;
mod records;

#[cfg(test)]
mod tests;

use std::ops::ControlFlow;

use sqlparser::ast::{
    Expr, Function, FunctionArg, FunctionArgExpr, FunctionArgumentList, FunctionArguments, Ident, NonBlock, ObjectName,
    ObjectNamePart, Query, SelectItem, TableWithJoins, UnaryOperator, Value, ValueWithSpan, VisitMut,
};
use sqlparser::tokenizer::Span;

use crate::error::{Result, SqlError, SqlState};
use crate::parse::Source;
use crate::types::{PgType, TypeWithModifier};

pub use columns::{columns_named, rename_column, rename_table};
pub(crate) use expressions::is_byte_order;
pub use names::{check_column_count, visible_name};
pub use operators::{operator_of, quantified_name};

/// Walks a syntax tree and rewrites it in place.
pub(crate) struct Rewriter<'a> {
    source: Source<'a>,
}

impl<'a> Rewriter<'a> {
    pub(crate) fn new(source: Source<'a>) -> Self {
        Self { source }
    }

    /// Rewrites an expression.
    pub(crate) fn expr(&mut self, expr: &mut Expr) -> Result<()> {
        // Most values of an INSERT are literals.
        if let Expr::Value(value) = expr
            && matches!(
                value.value,
                Value::Number(..)
                    | Value::SingleQuotedString(_)
                    | Value::Placeholder(_)
                    | Value::Null
                    | Value::Boolean(_)
            )
        {
            return Ok(());
        }
        self.walk(expr)
    }

    /// Rewrites a query. Only the whole of it may lock rows.
    pub(crate) fn query(&mut self, query: &mut Query) -> Result<()> {
        let locks = std::mem::take(&mut query.locks);
        let walked = self.walk(query);
        query.locks = locks;
        walked.and_then(|()| records::check_result(query))
    }

    /// Rewrites the items of a RETURNING.
    pub(crate) fn items(&mut self, items: &mut Vec<SelectItem>) -> Result<()> {
        self.check_aliases(items)?;
        names::name_items(items)?;
        self.walk(items)
    }

    /// Rewrites the tables of a FROM.
    pub(crate) fn tables(&mut self, tables: &mut Vec<TableWithJoins>) -> Result<()> {
        self.walk(tables)
    }

    /// A string is no alias.
    fn check_aliases(&self, items: &[SelectItem]) -> Result<()> {
        for item in items {
            if let SelectItem::ExprWithAlias { alias, .. } = item
                && alias.quote_style == Some('\'')
            {
                let message = format!("syntax error at or near \"'{}'\"", alias.value);
                return Err(self.place(SqlError::new(SqlState::SyntaxError, message), alias.span));
            }
        }
        Ok(())
    }

    fn walk(&mut self, node: &mut impl VisitMut) -> Result<()> {
        match node.visit(self) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(error) => Err(error),
        }
    }

    /// Adds the position of a span to an error, where the span is known.
    fn place(&self, error: SqlError, span: Span) -> SqlError {
        if span.start.line == 0 || error.position().is_some() {
            return error;
        }
        error.with_position(self.source.offsets(span.start).1 + 1)
    }
}

/// A lock that a query asks for on the rows it reads.
#[derive(Clone, Debug, PartialEq)]
pub struct RowLock {
    /// `FOR UPDATE` rather than `FOR SHARE`.
    pub exclusive: bool,
    /// `NOWAIT`.
    pub no_wait: bool,
    /// `SKIP LOCKED`.
    pub skip_locked: bool,
    /// `OF table`.
    pub of: Option<String>,
}

/// The locks that a query asks for, taken out of it: what plans it afterwards would pass over them in silence.
pub fn take_row_locks(query: &mut Query) -> Vec<RowLock> {
    std::mem::take(&mut query.locks)
        .into_iter()
        .map(|lock| RowLock {
            exclusive: lock.lock_type == sqlparser::ast::LockType::Update,
            no_wait: lock.nonblock == Some(NonBlock::Nowait),
            skip_locked: lock.nonblock == Some(NonBlock::SkipLocked),
            of: lock.of.map(|name| name.to_string()),
        })
        .collect()
}

/// A call of a function by name; the span is where the client wrote what it stands for.
pub fn call(name: &str, args: Vec<Expr>, span: Span) -> Expr {
    let args = args.into_iter().map(|arg| FunctionArg::Unnamed(FunctionArgExpr::Expr(arg))).collect();
    Expr::Function(Function {
        name: ObjectName(vec![ObjectNamePart::Identifier(Ident::with_span(span, name))]),
        uses_odbc_syntax: false,
        parameters: FunctionArguments::None,
        args: FunctionArguments::List(FunctionArgumentList { duplicate_treatment: None, args, clauses: Vec::new() }),
        filter: None,
        null_treatment: None,
        over: None,
        within_group: Vec::new(),
    })
}

/// `pg_cast(expr, oid, modifier)`.
pub fn cast(expr: Expr, to: TypeWithModifier, span: Span) -> Expr {
    let number = |value: i64| Expr::Value(Value::Number(value.to_string(), false).with_empty_span());
    call("pg_cast", vec![expr, number(i64::from(to.ty.oid())), number(i64::from(to.modifier))], span)
}

/// What a `pg_cast` casts, and to what; none where the expression is something else.
pub fn as_cast(expr: &Expr) -> Option<(&Expr, TypeWithModifier)> {
    let Expr::Function(function) = expr else { return None };
    let [ObjectNamePart::Identifier(name)] = function.name.0.as_slice() else { return None };
    let FunctionArguments::List(list) = &function.args else { return None };
    if name.value != "pg_cast" {
        return None;
    }
    let [value, oid, modifier] = list.args.as_slice() else { return None };
    let FunctionArg::Unnamed(FunctionArgExpr::Expr(value)) = value else { return None };
    let ty = PgType::from_oid(u32::try_from(integer(oid)?).ok()?)?;
    Some((value, TypeWithModifier { ty, modifier: i32::try_from(integer(modifier)?).ok()? }))
}

fn integer(arg: &FunctionArg) -> Option<i64> {
    let FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) = arg else { return None };
    match expr {
        Expr::Value(ValueWithSpan { value: Value::Number(digits, _), .. }) => digits.parse().ok(),
        Expr::UnaryOp { op: UnaryOperator::Minus, expr } => match expr.as_ref() {
            Expr::Value(ValueWithSpan { value: Value::Number(digits, _), .. }) => {
                digits.parse::<i64>().ok().map(|value| -value)
            }
            _ => None,
        },
        _ => None,
    }
}
