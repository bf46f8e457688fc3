//! The shapes of statements that the hot road takes: one table, plain columns, a key.

use std::sync::Arc;

use datafusion::sql::sqlparser::ast::{
    BinaryOperator, Expr, GroupByExpr, Ident, ObjectNamePart, Query, Select, SelectItem,
    SelectItemQualifiedWildcardKind, SetExpr, TableFactor,
};
use lodedb_sql::error::Result;

use super::value::{Source, compared};
use crate::catalog::{Index, Table};
use crate::db::outcome::Field;
use crate::query::pg_catalog::is_system_relation;
use crate::query::plan::Planner;
use crate::query::plan::syntax::shown_name;

/// A table and the name it goes by.
pub(crate) struct Named {
    pub(crate) table: Arc<Table>,
    pub(crate) alias: String,
}

pub(crate) fn folded(ident: &Ident) -> String {
    if ident.quote_style.is_some() { ident.value.clone() } else { ident.value.to_ascii_lowercase() }
}

/// The SELECT that a query is and nothing around it but ORDER BY and LIMIT, over one table.
pub(crate) fn single_select<'a>(planner: &Planner, query: &'a Query) -> Option<(&'a Select, Named)> {
    if query.with.is_some() || !query.locks.is_empty() || query.fetch.is_some() {
        return None;
    }
    let SetExpr::Select(select) = query.body.as_ref() else { return None };
    let plain = select.distinct.is_none()
        && select.having.is_none()
        && select.named_window.is_empty()
        && matches!(&select.group_by, GroupByExpr::Expressions(keys, with) if keys.is_empty() && with.is_empty());
    let [from] = select.from.as_slice() else { return None };
    if !plain || !from.joins.is_empty() {
        return None;
    }
    let TableFactor::Table { name, alias, args: None, with_ordinality: false, .. } = &from.relation else {
        return None;
    };
    let (schema, table) = match name.0.as_slice() {
        [ObjectNamePart::Identifier(table)] => (None, folded(table)),
        [ObjectNamePart::Identifier(schema), ObjectNamePart::Identifier(table)] => {
            (Some(folded(schema)), folded(table))
        }
        _ => return None,
    };
    let alias = match alias {
        Some(alias) if alias.columns.is_empty() => folded(&alias.name),
        Some(_) => return None,
        None => table.clone(),
    };
    named(planner, schema.as_deref(), &table, alias).map(|named| (select.as_ref(), named))
}

/// A table of the user's.
pub(crate) fn named(planner: &Planner, schema: Option<&str>, table: &str, alias: String) -> Option<Named> {
    match schema {
        None if is_system_relation(table) => return None,
        None | Some("public") => {}
        Some(_) => return None,
    }
    Some(Named { table: planner.catalog.table(table)?.clone(), alias })
}

impl Named {
    /// The place of the column that an expression is.
    pub(crate) fn column(&self, expr: &Expr) -> Option<usize> {
        match expr {
            Expr::Identifier(name) => self.table.position(&folded(name)),
            Expr::CompoundIdentifier(names) => match names.as_slice() {
                [alias, name] if folded(alias) == self.alias => self.table.position(&folded(name)),
                _ => None,
            },
            Expr::Nested(within) => self.column(within),
            _ => None,
        }
    }

    /// The columns that an item of a list is, with their names; `None` if it is something else.
    pub(crate) fn columns(&self, item: &SelectItem) -> Option<Vec<(usize, String)>> {
        let all = || self.table.visible_columns().map(|(at, column)| (at, column.name.clone())).collect();
        match item {
            SelectItem::Wildcard(options) if is_bare(options) => Some(all()),
            SelectItem::QualifiedWildcard(SelectItemQualifiedWildcardKind::ObjectName(name), options)
                if is_bare(options) =>
            {
                match name.0.as_slice() {
                    [ObjectNamePart::Identifier(name)] if folded(name) == self.alias => Some(all()),
                    _ => None,
                }
            }
            SelectItem::UnnamedExpr(expr) => {
                let at = self.column(expr)?;
                Some(vec![(at, self.table.columns[at].name.clone())])
            }
            SelectItem::ExprWithAlias { expr, alias } => {
                Some(vec![(self.column(expr)?, shown_name(&folded(alias)).to_owned())])
            }
            _ => None,
        }
    }

    /// The field of a column under a name.
    pub(crate) fn field(&self, at: usize, name: String) -> Field {
        let column = &self.table.columns[at];
        let number = i16::try_from(self.table.number(column.id)).unwrap_or(0);
        Field { name, ty: column.ty, table: self.table.id, column: number }
    }

    /// The columns of a whole list; `None` if there is anything else in it.
    pub(crate) fn all_columns(&self, items: &[SelectItem]) -> Option<(Vec<usize>, Arc<[Field]>)> {
        let mut positions = Vec::new();
        let mut fields = Vec::new();
        for item in items {
            for (at, name) in self.columns(item)? {
                positions.push(at);
                fields.push(self.field(at, name));
            }
        }
        Some((positions, fields.into()))
    }
}

fn is_bare(options: &datafusion::sql::sqlparser::ast::WildcardAdditionalOptions) -> bool {
    options.opt_ilike.is_none()
        && options.opt_exclude.is_none()
        && options.opt_except.is_none()
        && options.opt_replace.is_none()
        && options.opt_rename.is_none()
        && options.opt_alias.is_none()
}

/// A unique key that a condition names in full, and nothing besides.
#[derive(Debug)]
pub(crate) struct Key {
    pub(crate) index: Arc<Index>,
    /// The value of each column of the key.
    pub(crate) values: Vec<(usize, Source)>,
}

/// The key that a condition names; `None` if it says anything else.
pub(crate) fn key(planner: &Planner, named: &Named, condition: &Expr) -> Result<Option<Key>> {
    let mut equal: Vec<(usize, Source)> = Vec::new();
    if !equalities(planner, named, condition, &mut equal)? {
        return Ok(None);
    }
    let index = planner.catalog.indexes_of(named.table.id).find(|index| {
        index.is_unique()
            && index.key_positions().is_some_and(|positions| {
                let positions: Vec<usize> = positions.collect();
                positions.len() == equal.len() && positions.iter().all(|at| equal.iter().any(|(of, _)| of == at))
            })
    });
    let Some(index) = index.cloned() else { return Ok(None) };
    let ordered = index
        .key_positions()
        .into_iter()
        .flatten()
        .filter_map(|at| equal.iter().find(|(of, _)| *of == at).cloned())
        .collect();
    Ok(Some(Key { index, values: ordered }))
}

/// Gathers `column = value AND ..`; whether that is all there is.
fn equalities(planner: &Planner, named: &Named, condition: &Expr, found: &mut Vec<(usize, Source)>) -> Result<bool> {
    match condition {
        Expr::Nested(within) => equalities(planner, named, within, found),
        Expr::BinaryOp { left, op: BinaryOperator::And, right } => {
            Ok(equalities(planner, named, left, found)? && equalities(planner, named, right, found)?)
        }
        Expr::BinaryOp { left, op: BinaryOperator::Eq, right } => {
            let (at, value) = match (named.column(left), named.column(right)) {
                (Some(at), None) => (at, right),
                (None, Some(at)) => (at, left),
                _ => return Ok(false),
            };
            let ty = named.table.columns[at].ty.ty;
            if !crate::query::scan::access::is_searchable(ty) || found.iter().any(|(of, _)| *of == at) {
                return Ok(false);
            }
            match compared(planner, value, ty)? {
                Some(source) => {
                    found.push((at, source));
                    Ok(true)
                }
                None => Ok(false),
            }
        }
        _ => Ok(false),
    }
}
