//! The names of a query's columns, as PostgreSQL gives them to expressions without one.
//!
//! The rewriting would change them, so expressions get their names before it, as aliases. DataFusion wants all names
//! of one SELECT to differ, PostgreSQL does not: the second `x` is called `x`, U+0001 and a number, and
//! [`visible_name`] takes that off again.

use std::ops::ControlFlow;

use sqlparser::ast::{
    CastKind, DataType, Distinct, Expr, Function, Ident, ObjectNamePart, OrderBy, OrderByKind, Query, Select,
    SelectItem, SetExpr, TableAlias, TableAliasColumnDef, TrimWhereField, Value, visit_expressions,
};

use crate::error::{Result, SqlError, SqlState};
use crate::type_name::{fold, resolve_type};
use crate::types::PgType;

/// What separates a name from the number that makes it differ.
const MARK: char = '\u{1}';
/// The most columns of a list or a result, as in PostgreSQL. The protocol counts them in 16 bits.
const COLUMNS_MAX: usize = 1664;

/// Refuses more columns than a list or a result may have.
pub fn check_column_count(count: usize) -> Result<()> {
    if count <= COLUMNS_MAX {
        return Ok(());
    }
    let message = format!("target lists can have at most {COLUMNS_MAX} entries");
    Err(SqlError::new(SqlState::TooManyColumns, message))
}

/// The name of a column as a client sees it.
pub fn visible_name(name: &str) -> &str {
    name.split_once(MARK).map_or(name, |(visible, _)| visible)
}

/// Gives every expression of a list without a name the one that PostgreSQL gives it.
pub(super) fn name_items(items: &mut [SelectItem]) -> Result<()> {
    check_column_count(items.len())?;
    let mut taken: Vec<String> = Vec::with_capacity(items.len());
    for n in 0..items.len() {
        let (name, aliased, column) = match &items[n] {
            SelectItem::UnnamedExpr(expr) => (output_name(expr), false, is_column(expr)),
            SelectItem::ExprWithAlias { alias, .. } => (fold(alias), true, false),
            _ => {
                taken.push(String::new());
                continue;
            }
        };
        let written = |other: &Expr| match &items[n] {
            SelectItem::UnnamedExpr(expr) => expr == other,
            _ => false,
        };
        // Plain columns of two tables may share a name: they differ by the table.
        let again = taken.contains(&name)
            && (!column
                || items[..n].iter().any(|item| match item {
                    SelectItem::UnnamedExpr(other) => written(other) || !is_column(other) && output_name(other) == name,
                    SelectItem::ExprWithAlias { alias, .. } => fold(alias) == name,
                    _ => false,
                }));
        let unique = if again { format!("{name}{MARK}{n}") } else { name.clone() };
        if again || (!aliased && !column) {
            let alias = Ident::with_quote('"', unique);
            match &mut items[n] {
                SelectItem::ExprWithAlias { alias: old, .. } => *old = alias,
                item => {
                    if let SelectItem::UnnamedExpr(expr) = item {
                        let expr = std::mem::replace(expr, Expr::Value(Value::Null.with_empty_span()));
                        *item = SelectItem::ExprWithAlias { expr, alias };
                    }
                }
            }
        }
        taken.push(name);
    }
    Ok(())
}

/// Gives expressions names that differ from those of columns which ORDER BY, DISTINCT ON and HAVING compute with, as in
/// `SELECT -a AS a .. ORDER BY abs(a)`: alone a name is that of an expression there, within an expression it is a column's.
/// Whether any was given.
pub(super) fn free_columns(select: &mut Select, order_by: Option<&mut OrderBy>) -> bool {
    let is_distinct = select.distinct.is_some();
    let mut keys: Vec<&mut Expr> = match order_by.map(|order_by| &mut order_by.kind) {
        Some(OrderByKind::Expressions(keys)) => keys.iter_mut().map(|key| &mut key.expr).collect(),
        _ => Vec::new(),
    };
    if let Some(Distinct::On(on)) = &mut select.distinct {
        keys.extend(on);
    }
    let mut computed = Vec::new();
    let mut note = |expr: &Expr| {
        let _ = visit_expressions(expr, |expr| {
            computed.extend(match expr {
                Expr::Identifier(ident) => Some(fold(ident)),
                Expr::CompoundIdentifier(idents) => idents.last().map(fold),
                _ => None,
            });
            ControlFlow::<()>::Continue(())
        });
    };
    keys.iter().filter(|key| bare_name(key).is_none()).for_each(|key| note(key));
    select.having.iter().for_each(&mut note);
    let names: Vec<Option<String>> = select.projection.iter().map(item_name).collect();
    let mut any = false;
    for (n, (item, name)) in select.projection.iter_mut().zip(&names).enumerate() {
        let (expr, Some(name)) = (item_expr(item), name) else { continue };
        let Some(expr) = expr.filter(|expr| matches!(item, SelectItem::ExprWithAlias { .. }) || !is_column(expr))
        else {
            continue;
        };
        // All that DISTINCT is ordered by is in its list.
        let is_needed = computed.contains(name) || is_distinct && keys.iter().any(|key| **key == *expr);
        if !is_needed {
            continue;
        }
        let alias = Ident::with_quote('"', format!("{name}{MARK}{n}"));
        let is_only = names.iter().flatten().filter(|other| *other == name).count() == 1;
        for key in &mut keys {
            if **key == *expr || is_only && bare_name(key).as_ref() == Some(name) {
                **key = Expr::Identifier(alias.clone());
            }
        }
        *item = SelectItem::ExprWithAlias { expr: expr.clone(), alias };
        any = true;
    }
    any
}

/// As [`free_columns`], for a query whose columns are named from outside.
pub(super) fn free_columns_within(query: &mut Query, alias: &mut TableAlias) {
    let (SetExpr::Select(select), order_by) = (query.body.as_mut(), query.order_by.as_mut()) else { return };
    let names: Option<Vec<String>> = select.projection.iter().map(item_name).collect();
    if free_columns(select, order_by)
        && alias.columns.is_empty()
        && let Some(names) = names
        && (1..names.len()).all(|n| !names[..n].contains(&names[n]))
    {
        let column = |name| TableAliasColumnDef { name: Ident::with_quote('"', name), data_type: None };
        alias.columns = names.into_iter().map(column).collect();
    }
}

/// The expression of an item that is one.
fn item_expr(item: &SelectItem) -> Option<&Expr> {
    match item {
        SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } => Some(expr),
        _ => None,
    }
}

/// The name of an item that is an expression.
pub(super) fn item_name(item: &SelectItem) -> Option<String> {
    match item {
        SelectItem::UnnamedExpr(expr) => Some(output_name(expr)),
        SelectItem::ExprWithAlias { alias, .. } => Some(visible_name(&fold(alias)).to_owned()),
        _ => None,
    }
}

/// The name that an expression is, and nothing more.
pub(super) fn bare_name(expr: &Expr) -> Option<String> {
    match expr {
        Expr::Nested(within) => bare_name(within),
        Expr::Identifier(ident) if is_column(expr) => Some(fold(ident)),
        _ => None,
    }
}

/// Whether an expression is a column; not so the words that the rewriting makes calls of.
fn is_column(expr: &Expr) -> bool {
    match expr {
        Expr::Identifier(ident) => !is_call_without_brackets(ident),
        Expr::CompoundIdentifier(_) => true,
        _ => false,
    }
}

/// The functions that are written without brackets and that the parser takes for columns.
pub(super) fn is_call_without_brackets(ident: &Ident) -> bool {
    ident.quote_style.is_none()
        && ["current_schema", "current_role"].iter().any(|name| name.eq_ignore_ascii_case(&ident.value))
}

/// The name that PostgreSQL gives a column of this expression.
fn output_name(expr: &Expr) -> String {
    strong_name(expr, 0).map_or_else(|| "?column?".to_owned(), |(name, _)| name)
}

/// A name, and whether it is better than the name of a type that it is cast to.
fn strong_name(expr: &Expr, depth: usize) -> Option<(String, bool)> {
    // Names come from the near end of a chain of casts; what lies deeper is not looked for.
    if depth > 100 {
        return None;
    }
    let strong = |name: &str| Some((name.to_owned(), true));
    match expr {
        Expr::Identifier(ident) => Some((fold(ident), true)),
        Expr::CompoundIdentifier(idents) => idents.last().map(|ident| (fold(ident), true)),
        Expr::Nested(inner) | Expr::Collate { expr: inner, .. } => strong_name(inner, depth + 1),
        Expr::CompoundFieldAccess { root, access_chain } => access_chain
            .iter()
            .rev()
            .find_map(|access| match access {
                sqlparser::ast::AccessExpr::Dot(Expr::Identifier(ident)) => Some((fold(ident), true)),
                _ => None,
            })
            .or_else(|| strong_name(root, depth + 1)),
        Expr::Function(function) => function_name(function).map(|name| (name, true)),
        Expr::Cast { kind: CastKind::Cast | CastKind::DoubleColon, expr: inner, data_type, .. } => {
            match strong_name(inner, depth + 1) {
                Some((name, true)) => Some((name, true)),
                _ => type_label(data_type).map(|name| (name, false)),
            }
        }
        Expr::TypedString(typed) => type_label(&typed.data_type).map(|name| (name, false)),
        Expr::Interval(_) => Some(("interval".into(), false)),
        Expr::Value(value) if matches!(value.value, Value::Boolean(_)) => Some(("bool".into(), false)),
        Expr::Case { else_result, .. } => match else_result.as_ref().and_then(|other| strong_name(other, depth + 1)) {
            Some((name, true)) => Some((name, true)),
            _ => Some(("case".into(), false)),
        },
        Expr::Array(_) => strong("array"),
        Expr::Tuple(_) => strong("row"),
        Expr::Exists { .. } => strong("exists"),
        Expr::Extract { .. } => strong("extract"),
        Expr::Ceil { .. } => strong("ceil"),
        Expr::Floor { .. } => strong("floor"),
        Expr::Position { .. } => strong("position"),
        Expr::Substring { shorthand, .. } => strong(if *shorthand { "substr" } else { "substring" }),
        Expr::Overlay { .. } => strong("overlay"),
        Expr::AtTimeZone { .. } => strong("timezone"),
        Expr::Trim { trim_where, .. } => strong(match trim_where {
            Some(TrimWhereField::Leading) => "ltrim",
            Some(TrimWhereField::Trailing) => "rtrim",
            _ => "btrim",
        }),
        Expr::Subquery(query) => match query.body.as_ref() {
            SetExpr::Select(select) => match select.projection.first() {
                Some(SelectItem::UnnamedExpr(expr)) => strong_name(expr, depth + 1),
                Some(SelectItem::ExprWithAlias { alias, .. }) => Some((fold(alias), true)),
                _ => None,
            },
            SetExpr::Values(_) => strong("column1"),
            _ => None,
        },
        _ => None,
    }
}

fn function_name(function: &Function) -> Option<String> {
    match function.name.0.last() {
        Some(ObjectNamePart::Identifier(ident)) => Some(fold(ident)),
        _ => None,
    }
}

/// The internal name of a type; an array is called as its elements are.
fn type_label(ty: &DataType) -> Option<String> {
    match resolve_type(ty).ok()?.ty {
        PgType::Scalar(scalar) | PgType::Array(scalar) => Some(scalar.typname().to_owned()),
    }
}
