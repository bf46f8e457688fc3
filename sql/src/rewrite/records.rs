//! Records: a function of FROM used as a value, `f(..)`, and a field of it, `(f(..)).x`.
//!
//! There is no type of records here. In a list of columns such a call moves into FROM, and the record becomes the columns that it has
//! there: `SELECT f(a) AS k FROM t` is `SELECT r.x, r.n FROM t, LATERAL f(a) AS r`, whose columns are called `k` and the field; a query
//! around it names them by `(k).x`. The outermost query may not have one in its result.

use sqlparser::ast::{
    AccessExpr, Expr, Function, FunctionArguments, Ident, ObjectNamePart, Query, Select, SelectItem, SetExpr,
    TableAlias, TableAliasColumnDef, TableFactor, TableWithJoins,
};

use crate::error::{Result, SqlError};
use crate::type_name::fold;

/// The functions that are known to give records, with the fields.
const FUNCTIONS: &[(&str, &[&str])] = &[("_pg_expandarray", &["x", "n"])];

/// What separates the name of a record from that of a field in the name of a column.
const MARK: char = '\u{2}';

/// The fields that a call has.
fn fields_of(expr: &Expr) -> Option<(&Function, &'static [&'static str])> {
    match expr {
        Expr::Nested(within) => fields_of(within),
        Expr::Function(function) => {
            let ObjectNamePart::Identifier(name) = function.name.0.last()? else { return None };
            let (_, fields) = FUNCTIONS.iter().find(|(of, _)| *of == fold(name))?;
            Some((function, fields))
        }
        _ => None,
    }
}

/// The record and the name of the field, if an expression is `(record).field`.
fn access(expr: &Expr) -> Option<(&Expr, String)> {
    match expr {
        Expr::CompoundFieldAccess { root, access_chain } => match access_chain.as_slice() {
            [AccessExpr::Dot(Expr::Identifier(field))] => Some((root, fold(field))),
            _ => None,
        },
        _ => None,
    }
}

/// Moves the calls of a list of columns into FROM.
pub(super) fn spread(select: &mut Select) -> Result<()> {
    let mut calls: Vec<Function> = Vec::new();
    let mut items = Vec::with_capacity(select.projection.len());
    for item in std::mem::take(&mut select.projection) {
        let (expr, alias) = match &item {
            SelectItem::UnnamedExpr(expr) => (expr, None),
            SelectItem::ExprWithAlias { expr, alias } => (expr, Some(alias.clone())),
            _ => {
                items.push(item);
                continue;
            }
        };
        let (record, field) = match access(expr) {
            Some((record, field)) => (record, Some(field)),
            None => (expr, None),
        };
        let Some((function, fields)) = fields_of(record) else {
            items.push(item);
            continue;
        };
        let table = calls.iter().position(|call| call == function).unwrap_or_else(|| {
            calls.push(function.clone());
            calls.len() - 1
        });
        let column = |field: &str| Expr::CompoundIdentifier(vec![record_name(table), Ident::new(field)]);
        match field {
            Some(field) if fields.contains(&field.as_str()) => {
                let alias = alias.unwrap_or_else(|| Ident::new(&field));
                items.push(SelectItem::ExprWithAlias { expr: column(&field), alias });
            }
            Some(field) => return Err(SqlError::unsupported(format!("the field {field} of this record"))),
            None => {
                let function = function.name.0.last().map(ToString::to_string).unwrap_or_default();
                let name = alias.map_or(function, |alias| fold(&alias));
                items.extend(fields.iter().map(|field| SelectItem::ExprWithAlias {
                    expr: column(field),
                    alias: Ident::with_quote('"', format!("{name}{MARK}{field}")),
                }));
            }
        }
    }
    select.projection = items;
    for (table, call) in calls.into_iter().enumerate() {
        let fields = fields_of(&Expr::Function(call.clone())).map_or(&[][..], |(_, fields)| fields);
        let FunctionArguments::List(list) = call.args else { return Err(SqlError::unsupported("a record of a query")) };
        let columns = fields.iter().map(|field| TableAliasColumnDef { name: Ident::new(*field), data_type: None });
        let alias = TableAlias { explicit: true, name: record_name(table), columns: columns.collect(), at: None };
        let (name, args) = (call.name, list.args);
        let relation = TableFactor::Function { lateral: true, name, args, with_ordinality: false, alias: Some(alias) };
        select.from.push(TableWithJoins { relation, joins: Vec::new() });
    }
    Ok(())
}

/// The table that a record's columns are in.
fn record_name(table: usize) -> Ident {
    Ident::with_quote('"', format!("record{MARK}{table}"))
}

/// The column that `(record).field` is of, where the record is one of a query within.
pub(super) fn field_of_column(expr: &Expr) -> Option<Expr> {
    let (mut record, field) = access(expr)?;
    if !FUNCTIONS.iter().any(|(_, fields)| fields.contains(&field.as_str())) {
        return None;
    }
    while let Expr::Nested(within) = record {
        record = within;
    }
    let mut names = match record {
        Expr::Identifier(name) => vec![name.clone()],
        Expr::CompoundIdentifier(names) => names.clone(),
        _ => return None,
    };
    let last = names.pop()?;
    names.push(Ident::with_quote('"', format!("{}{MARK}{field}", fold(&last))));
    Some(Expr::CompoundIdentifier(names))
}

/// Refuses a record among the columns of a result.
pub(super) fn check_result(query: &Query) -> Result<()> {
    let SetExpr::Select(select) = query.body.as_ref() else { return Ok(()) };
    let is_record =
        |item: &SelectItem| matches!(item, SelectItem::ExprWithAlias { alias, .. } if alias.value.contains(MARK));
    if select.projection.iter().any(is_record) {
        return Err(SqlError::unsupported("a record in a result"));
    }
    Ok(())
}
