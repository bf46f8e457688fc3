//! Forms of a query that DataFusion's planner does not take, turned into ones that it does: VALUES of mixed types,
//! functions in FROM over the tables beside them, rows looked for in a subquery.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    BinaryOperator, Expr, Ident, ObjectNamePart, Parens, Query, Select, SelectItem, SetExpr, TableAlias, TableFactor,
    Value, ValueWithSpan, Values, Visit, Visitor,
};
use datafusion::sql::sqlparser::tokenizer::Span;
use lodedb_sql::error::Result;
use lodedb_sql::parse::parse;
use lodedb_sql::resolve::common_type;
use lodedb_sql::rewrite::{as_cast, cast};
use lodedb_sql::statement::Statement;
use lodedb_sql::{PgType, ScalarType, TypeWithModifier};

use super::syntax::{compare_rows, null, unnested};
use crate::query::statement_state::broken;

/// A query from text of our own, to put parts into.
fn query_of(text: &str) -> Result<Query> {
    match parse(text)?.pop().map(|parsed| parsed.statement) {
        Some(Statement::Query(query)) => Ok(*query),
        _ => Err(broken("a form of a query is none")),
    }
}

fn select_of(query: &mut Query) -> Result<&mut Select> {
    match query.body.as_mut() {
        SetExpr::Select(select) => Ok(select),
        _ => Err(broken("a form of a query is no SELECT")),
    }
}

/// Gives the untyped strings of a column of VALUES the type that another row casts to, and all of it one modifier.
pub(super) fn type_values(values: &mut Values) {
    let width = values.rows.iter().map(|row| row.content.len()).max().unwrap_or(0);
    for column in 0..width {
        let ty = values.rows.iter().find_map(|row| row.content.get(column).and_then(as_cast).map(|(_, to)| to));
        let Some(ty) = ty else { continue };
        for cell in values.rows.iter_mut().filter_map(|row| row.content.get_mut(column)) {
            if let Expr::Value(ValueWithSpan { value: Value::SingleQuotedString(_), span }) = cell {
                let span = *span;
                *cell = cast(std::mem::replace(cell, null()), ty, span);
            }
        }
        one_text(values.rows.iter_mut().filter_map(|row| row.content.get_mut(column)).collect());
        // A modifier is the column's where all its values have it.
        let of_column = |row: &Parens<Vec<Expr>>| row.content.get(column).and_then(as_cast).map(|(_, to)| to);
        if values.rows.iter().all(|row| of_column(row) == Some(ty)) {
            continue;
        }
        for cell in values.rows.iter_mut().filter_map(|row| row.content.get_mut(column)) {
            if let Some((_, to)) = as_cast(cell).filter(|(_, to)| to.modifier >= 0) {
                let plain = TypeWithModifier::plain(to.ty);
                *cell = cast(std::mem::replace(cell, null()), plain, Span::empty());
            }
        }
    }
}

/// Casts the values of a column that are cast to one type of text and another to the one of them that is the column's.
fn one_text(cells: Vec<&mut Expr>) {
    let types: Vec<Option<PgType>> = cells.iter().map(|cell| as_cast(cell).map(|(_, to)| to.ty)).collect();
    let is_text = |ty: &PgType| matches!(ty, PgType::Scalar(ScalarType::Text | ScalarType::Varchar | ScalarType::Name));
    let Ok(common) = common_type("VALUES", &types) else { return };
    for (cell, ty) in cells.into_iter().zip(types) {
        if ty.is_some_and(|ty| ty != common && is_text(&ty) && is_text(&common)) {
            let plain = TypeWithModifier::plain(common);
            *cell = cast(std::mem::replace(cell, null()), plain, Span::empty());
        }
    }
}

/// Makes the functions of a FROM that take columns of the tables before them LATERAL.
pub(super) fn make_lateral(select: &mut Select) -> Result<()> {
    for (place, table) in select.from.iter_mut().enumerate() {
        if place > 0 {
            lateral(&mut table.relation)?;
        }
        table.joins.iter_mut().try_for_each(|join| lateral(&mut join.relation))?;
    }
    Ok(())
}

fn lateral(factor: &mut TableFactor) -> Result<()> {
    let (name, alias) = match factor {
        TableFactor::Table { name, args: Some(_), alias, .. } | TableFactor::Function { name, alias, .. } => {
            let name = match name.0.last() {
                Some(ObjectNamePart::Identifier(name)) => name.clone(),
                _ => return Ok(()),
            };
            (name, alias)
        }
        TableFactor::UNNEST { alias, .. } => (Ident::new("unnest"), alias),
        _ => return Ok(()),
    };
    let name = alias.as_ref().map_or(name, |alias| alias.name.clone());
    if !names_a_column(factor) {
        return Ok(());
    }
    let mut query = query_of("SELECT * FROM t")?;
    let select = select_of(&mut query)?;
    let Some(table) = select.from.first_mut() else { return Err(broken("a form of a query has no FROM")) };
    std::mem::swap(&mut table.relation, factor);
    let alias = TableAlias { explicit: true, name, columns: Vec::new(), at: None };
    *factor = TableFactor::Derived { lateral: true, subquery: Box::new(query), alias: Some(alias), sample: None };
    Ok(())
}

fn names_a_column(factor: &TableFactor) -> bool {
    struct Finder;
    impl Visitor for Finder {
        type Break = ();
        fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
            match expr {
                Expr::Identifier(_) | Expr::CompoundIdentifier(_) => ControlFlow::Break(()),
                _ => ControlFlow::Continue(()),
            }
        }
    }
    factor.visit(&mut Finder).is_break()
}

/// `(a, b) IN (query)` among the conditions of a WHERE, which need not tell false from unknown.
pub(super) fn rows_in_condition(condition: &mut Expr) -> Result<()> {
    match condition {
        Expr::Nested(within) => rows_in_condition(within),
        Expr::BinaryOp { left, op: BinaryOperator::And, right } => {
            rows_in_condition(left)?;
            rows_in_condition(right)
        }
        Expr::InSubquery { expr, subquery, negated: false } => {
            if let Expr::Tuple(fields) = unnested(expr) {
                *condition = exists(fields, subquery, |equal| equal)?;
            }
            Ok(())
        }
        _ => Ok(()),
    }
}

/// `row IN (query)`: true where a row equals, unknown where one might, else false.
pub(super) fn row_in_query(fields: &[Expr], query: &Query, negated: bool) -> Result<Expr> {
    let mut form = query_of("SELECT CASE WHEN true THEN true WHEN true THEN NULL ELSE false END")?;
    let item = select_of(&mut form)?.projection.pop();
    let Some(SelectItem::ExprWithAlias { expr: mut case, .. } | SelectItem::UnnamedExpr(mut case)) = item else {
        return Err(broken("a form of a query has no CASE"));
    };
    if let Expr::Case { conditions, else_result, .. } = &mut case
        && let [found, unknown] = conditions.as_mut_slice()
    {
        found.condition = exists(fields, query, |equal| equal)?;
        found.result = truth(!negated);
        unknown.condition = exists(fields, query, |equal| Expr::IsNull(Box::new(equal)))?;
        *else_result = Some(Box::new(truth(negated)));
    }
    Ok(Expr::Nested(Box::new(case)))
}

fn truth(value: bool) -> Expr {
    Expr::Value(Value::Boolean(value).with_empty_span())
}

/// `EXISTS (SELECT 1 FROM (query) AS rows WHERE test(fields = rows))`.
fn exists(fields: &[Expr], query: &Query, test: impl Fn(Expr) -> Expr) -> Result<Expr> {
    let name = |place| Ident::with_quote('"', format!("lodedb.field{place}"));
    let columns: Vec<Expr> = (0..fields.len()).map(|place| Expr::Identifier(name(place))).collect();
    let names: Vec<String> = columns.iter().map(ToString::to_string).collect();
    let mut form = query_of(&format!("SELECT 1 FROM (SELECT 1) AS \"lodedb.rows\"({})", names.join(", ")))?;
    let select = select_of(&mut form)?;
    if let Some(TableFactor::Derived { subquery, .. }) = select.from.first_mut().map(|table| &mut table.relation) {
        **subquery = query.clone();
    }
    let equal = compare_rows(fields, &BinaryOperator::Eq, &columns).ok_or_else(|| broken("an empty row"))?;
    select.selection = Some(test(equal));
    Ok(Expr::Exists { subquery: Box::new(form), negated: false })
}
