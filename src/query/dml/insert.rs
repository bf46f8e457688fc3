//! INSERT.

use std::sync::Arc;

use datafusion::common::DFSchema;
use datafusion::logical_expr::{Expr, LogicalPlan};
use datafusion::sql::sqlparser::ast::{self, FunctionArguments, Value, ValueWithSpan};
use futures::StreamExt;
use lodedb_sql::error::Result;
use lodedb_sql::rewrite::as_cast;
use lodedb_sql::statement::{Insert, InsertSource, InsertValue, Overriding};
use lodedb_sql::text::parse_text_in;
use lodedb_sql::{Datum, PgType, ScalarType, SqlError, SqlState, TypeWithModifier};

use super::conflict::{self, ConflictPlan, Settled};
use super::defaults::DefaultValue;
use super::evaluate::constant;
use super::generated::check_insertable;
use super::returning::Returning;
use super::update::{assign_projection, assigned_column};
use super::{RowInserter, Writing, bind, bind_tree, lock_target, param_values, target};
use crate::catalog::{Catalog, Identity, Table};
use crate::commit::{Row, Transaction};
use crate::db::outcome::Field;
use crate::db::settings::Environment;
use crate::query::WriteOutcome;
use crate::query::arrow::{batch_rows, pg_type};
use crate::query::plan::operators::{assign_datum, check_assignment, operand_type};
use crate::query::plan::syntax::placeholder;
use crate::query::plan::{Planner, position, query};
use crate::query::statement_state::{carry, cast_environment, sql};

/// An INSERT planned.
#[derive(Debug)]
pub(crate) struct InsertPlan {
    pub(crate) table: Arc<Table>,
    /// The places of the columns that are given.
    pub(crate) positions: Vec<usize>,
    source: Source,
    conflict: Option<ConflictPlan>,
    returning: Option<Returning>,
}

/// Where the rows come from.
#[derive(Debug)]
enum Source {
    Rows(Vec<Vec<Cell>>),
    Query(LogicalPlan),
}

/// One value of a row written out.
#[derive(Clone, Debug)]
pub(crate) enum Cell {
    /// The column's default.
    Default,
    /// A value of the column's type.
    Value(Datum),
    /// The parameter at this place.
    Parameter(usize),
    /// The start of the transaction.
    Now,
    /// Anything else.
    Expr(Expr),
}

/// A value that is written plainly, as one of a column's type; `None` if it takes more to know it.
pub(crate) fn plain_value(
    planner: &Planner,
    expr: &ast::Expr,
    column: &str,
    to: TypeWithModifier,
) -> Result<Option<Cell>> {
    let environment = cast_environment(&planner.environment);
    Ok(match expr {
        ast::Expr::Nested(within) => return plain_value(planner, within, column, to),
        ast::Expr::Value(ValueWithSpan { value, .. }) => match value {
            Value::Null => Some(Cell::Value(Datum::Null)),
            Value::SingleQuotedString(text) => {
                let datum =
                    parse_text_in(text, to, &environment).map_err(|error| position::mark_literal(error, text))?;
                // A column's own refusal comes with the modifier: parse_text_in may have cut it already.
                Some(Cell::Value(datum))
            }
            Value::Boolean(value) => {
                check_assignment(PgType::Scalar(ScalarType::Bool), column, to.ty)?;
                let from = PgType::Scalar(ScalarType::Bool);
                Some(Cell::Value(assign_datum(Datum::Bool(*value), from, to, &environment)?))
            }
            Value::Number(digits, _) => number(digits, false, column, to, planner)?,
            Value::Placeholder(name) => parameter(name),
            _ => None,
        },
        ast::Expr::UnaryOp { op: ast::UnaryOperator::Minus, expr } => match expr.as_ref() {
            ast::Expr::Value(ValueWithSpan { value: Value::Number(digits, _), .. }) => {
                number(digits, true, column, to, planner)?
            }
            _ => None,
        },
        other => match as_cast(other) {
            // A literal cast to the column's own type, as drivers write it.
            Some((ast::Expr::Value(ValueWithSpan { value: Value::SingleQuotedString(text), .. }), cast))
                if cast.ty == to.ty && cast.modifier < 0 =>
            {
                let datum =
                    parse_text_in(text, cast, &environment).map_err(|error| position::mark_literal(error, text))?;
                Some(Cell::Value(assign_datum(datum, cast.ty, to, &environment)?))
            }
            _ => (is_now(other) && takes_moment(to.ty)).then_some(Cell::Now),
        },
    })
}

/// The name of a call that is given nothing and asks for nothing more.
pub(super) fn bare_call(expr: &ast::Expr) -> Option<String> {
    let ast::Expr::Function(function) = expr else { return None };
    let is_given = match &function.args {
        FunctionArguments::None => false,
        FunctionArguments::List(list) => !list.args.is_empty(),
        FunctionArguments::Subquery(_) => true,
    };
    let is_bare = !is_given && function.over.is_none() && function.filter.is_none() && function.within_group.is_empty();
    is_bare.then(|| function.name.to_string().to_ascii_lowercase())
}

/// Whether it is the start of the transaction, by one of its names.
fn is_now(expr: &ast::Expr) -> bool {
    matches!(bare_call(expr).as_deref(), Some("now" | "current_timestamp" | "transaction_timestamp"))
}

fn takes_moment(ty: PgType) -> bool {
    matches!(ty, PgType::Scalar(ScalarType::Timestamptz | ScalarType::Timestamp | ScalarType::Date))
}

/// The start of the transaction as a value of a column's type.
pub(crate) fn now(environment: &Environment, to: TypeWithModifier) -> Result<Datum> {
    let moment = Datum::Timestamptz(environment.transaction_time_us);
    assign_datum(moment, PgType::Scalar(ScalarType::Timestamptz), to, &cast_environment(environment))
}

fn parameter(name: &str) -> Option<Cell> {
    let number: usize = name.strip_prefix('$')?.parse().ok()?;
    number.checked_sub(1).map(Cell::Parameter)
}

fn number(digits: &str, negative: bool, column: &str, to: TypeWithModifier, planner: &Planner) -> Result<Option<Cell>> {
    let text = if negative { format!("-{digits}") } else { digits.to_owned() };
    let (datum, from) = if let Ok(value) = text.parse::<i32>() {
        (Datum::Int4(value), ScalarType::Int4)
    } else if let Ok(value) = text.parse::<i64>() {
        (Datum::Int8(value), ScalarType::Int8)
    } else {
        let numeric = TypeWithModifier::plain(ScalarType::Numeric);
        (parse_text_in(&text, numeric, &cast_environment(&planner.environment))?, ScalarType::Numeric)
    };
    let from = PgType::Scalar(from);
    check_assignment(from, column, to.ty)?;
    assign_datum(datum, from, to, &cast_environment(&planner.environment)).map(|datum| Some(Cell::Value(datum)))
}

/// The places of the columns an INSERT names; all visible ones in order where it names none.
pub(crate) fn target_columns(table: &Table, names: &[String]) -> Result<Vec<usize>> {
    if names.is_empty() {
        return Ok(table.visible_columns().map(|(at, _)| at).collect());
    }
    let mut positions = Vec::with_capacity(names.len());
    for name in names {
        let at = assigned_column(table, name)?;
        if positions.contains(&at) {
            return Err(SqlError::new(
                SqlState::DuplicateColumn,
                format!("column \"{name}\" specified more than once"),
            ));
        }
        positions.push(at);
    }
    Ok(positions)
}

/// Cuts the target columns to as many as are given, and refuses what does not fit.
pub(crate) fn fit_columns(positions: &mut Vec<usize>, given: usize, named: bool) -> Result<()> {
    if given > positions.len() {
        return Err(SqlError::new(SqlState::SyntaxError, "INSERT has more expressions than target columns"));
    }
    if given < positions.len() {
        if named {
            return Err(SqlError::new(SqlState::SyntaxError, "INSERT has more target columns than expressions"));
        }
        positions.truncate(given);
    }
    Ok(())
}

/// `428C9` for a value given to a column that is always generated.
pub(crate) fn check_generated(
    catalog: &Catalog,
    table: &Table,
    at: usize,
    overriding: Option<Overriding>,
) -> Result<()> {
    let column = &table.columns[at];
    check_insertable(catalog, table, column)?;
    if column.identity == Some(Identity::Always) && overriding.is_none() {
        return Err(SqlError::new(
            SqlState::GeneratedAlways,
            format!("cannot insert a non-DEFAULT value into column \"{}\"", column.name),
        )
        .with_detail(format!("Column \"{}\" is an identity column defined as GENERATED ALWAYS.", column.name))
        .with_hint("Use OVERRIDING SYSTEM VALUE to override."));
    }
    Ok(())
}

pub(crate) fn plan(planner: &Planner, insert: &Insert) -> Result<(InsertPlan, Option<Arc<[Field]>>)> {
    let table = target::table(planner, &insert.table)?;
    let alias = insert.alias.as_deref().unwrap_or(&insert.table.name);
    let mut positions = target_columns(&table, &insert.columns)?;
    let named = !insert.columns.is_empty();
    let source = match &insert.source {
        InsertSource::DefaultValues => {
            positions.clear();
            Source::Rows(vec![Vec::new()])
        }
        InsertSource::Values(rows) => {
            let given = rows.first().map_or(0, Vec::len);
            if rows.iter().any(|row| row.len() != given) {
                return Err(SqlError::new(SqlState::SyntaxError, "VALUES lists must all be the same length"));
            }
            fit_columns(&mut positions, given, named)?;
            Source::Rows(plan_rows(planner, &table, &positions, rows, insert.overriding)?)
        }
        InsertSource::Query(query) => {
            let mut query = query.as_ref().clone();
            planner.preparation().query(&mut query)?;
            let width = planner.settle(|planner| planner.query(&query))?.schema().fields().len();
            fit_columns(&mut positions, width, named)?;
            for &at in &positions {
                check_generated(&planner.catalog, &table, at, insert.overriding)?;
            }
            let plan = planner.settle(|planner| {
                let plan = planner.query(&query)?;
                assign_projection(planner, plan, &table, 0, &positions)
            })?;
            Source::Query(plan)
        }
    };
    let conflict = match &insert.on_conflict {
        Some(on_conflict) => Some(conflict::plan(planner, &table, alias, on_conflict)?),
        None => None,
    };
    let returning = Returning::plan(planner, &table, alias, &insert.returning, &[])?;
    let fields = returning.as_ref().map(|returning| returning.fields.clone());
    Ok((InsertPlan { table, positions, source, conflict, returning }, fields))
}

fn plan_rows(
    planner: &Planner,
    table: &Table,
    positions: &[usize],
    rows: &[Vec<InsertValue>],
    overriding: Option<Overriding>,
) -> Result<Vec<Vec<Cell>>> {
    let mut prepared: Vec<Vec<InsertValue>> = Vec::with_capacity(rows.len());
    for row in rows {
        let mut values = Vec::with_capacity(row.len());
        for (value, &at) in row.iter().zip(positions) {
            let column = &table.columns[at];
            if let InsertValue::Expr(expr) = value {
                check_generated(&planner.catalog, table, at, overriding)?;
                if let Some(name) = placeholder(expr) {
                    planner.parameters.note_named(name, column.ty.ty);
                }
            }
            values.push(value.clone());
        }
        prepared.push(values);
    }
    let none = DFSchema::empty();
    let user_value = |at: usize| overriding == Some(Overriding::UserValue) && table.columns[at].identity.is_some();
    let build = |planner: &Planner| -> Result<Vec<Vec<Cell>>> {
        prepared
            .iter()
            .map(|row| {
                row.iter()
                    .zip(positions)
                    .map(|(value, &at)| {
                        let column = &table.columns[at];
                        let InsertValue::Expr(expr) = value else { return Ok(Cell::Default) };
                        if user_value(at) {
                            return Ok(Cell::Default);
                        }
                        if let Some(cell) = plain_value(planner, expr, &column.name, column.ty)? {
                            return Ok(cell);
                        }
                        let mut ast = expr.clone();
                        planner.preparation().expr(&mut ast)?;
                        let expr = planner.expr(&ast, &none).map_err(|error| planner.placed(error))?;
                        if expr.any_column_refs() {
                            return Err(planner
                                .placed(datafusion::error::DataFusionError::Plan(format!("No field named {expr}."))));
                        }
                        let from = sql(operand_type(&expr, &none))?.map(|ty| ty.ty);
                        planner.typing().assign(expr, from, &column.name, column.ty.ty).map(Cell::Expr)
                    })
                    .collect()
            })
            .collect()
    };
    planner.settle(|planner| carry(build(planner)))
}

pub(crate) async fn run(writing: &Writing<'_>, insert: &InsertPlan, tx: &mut Transaction) -> Result<WriteOutcome> {
    lock_target(tx, &insert.table).await?;
    let planner = writing.planner(tx);
    let inserter = RowInserter::with_planner(&planner, &insert.table, &insert.positions)?;
    let mut kept: Vec<Row> = Vec::new();
    let mut count = 0u64;
    let mut conflict_run = match &insert.conflict {
        Some(conflict) => conflict.start(writing, &insert.table, &planner, inserter.checks())?,
        None => None,
    };
    let keep = insert.returning.is_some();
    match &insert.source {
        Source::Rows(cells) => {
            let rows = values(writing, insert, cells, tx, &planner).await?;
            drop(planner);
            let (rows, checked) = inserter.complete(rows)?;
            count += store(writing, insert, conflict_run.as_mut(), rows, tx, keep.then_some(&mut kept)).await?;
            checked?;
        }
        Source::Query(plan) => {
            drop(planner);
            let types: Vec<TypeWithModifier> = plan.schema().fields().iter().map(|field| pg_type(field)).collect();
            let bound = bind(plan.clone(), &writing.planned.parameters, writing.params)?;
            let run = writing.run(tx);
            let physical = sql(query::physical(&run, bound).await)?;
            let stream = sql(datafusion::physical_plan::execute_stream(physical, run.state.task_ctx()))?;
            let mut batches = query::cancellable(stream, writing.cancel.clone());
            let environment = cast_environment(&writing.environment);
            while let Some(batch) = batches.next().await {
                let mut rows = batch_rows(&batch?, &types)?;
                for row in &mut rows {
                    for ((value, from), &at) in row.iter_mut().zip(&types).zip(&insert.positions) {
                        let to = insert.table.columns[at].ty;
                        if from.ty != to.ty || to.modifier >= 0 {
                            *value = assign_datum(std::mem::replace(value, Datum::Null), from.ty, to, &environment)?;
                        }
                    }
                }
                let (rows, checked) = inserter.complete(rows)?;
                count += store(writing, insert, conflict_run.as_mut(), rows, tx, keep.then_some(&mut kept)).await?;
                checked?;
            }
        }
    }
    let returning = match &insert.returning {
        Some(returning) => Some(returning.rows(writing, tx, &kept, Vec::new())?),
        None => None,
    };
    Ok(WriteOutcome { tag: format!("INSERT 0 {count}"), returning })
}

/// The values of rows written out.
async fn values(
    writing: &Writing<'_>,
    insert: &InsertPlan,
    cells: &[Vec<Cell>],
    tx: &Transaction,
    planner: &Planner,
) -> Result<Vec<Vec<Datum>>> {
    let environment = cast_environment(&writing.environment);
    let mut defaults: Vec<Option<DefaultValue>> = vec![None; insert.positions.len()];
    let mut run = None;
    let mut bound = None;
    let mut rows = Vec::with_capacity(cells.len());
    for row in cells {
        let mut values = Vec::with_capacity(row.len());
        for (place, (cell, &at)) in row.iter().zip(&insert.positions).enumerate() {
            let to = insert.table.columns[at].ty;
            values.push(match cell {
                Cell::Value(datum) => datum.clone(),
                Cell::Parameter(number) => {
                    let datum = writing.params.get(*number).cloned().unwrap_or(Datum::Null);
                    let from = writing.planned.parameters.get(*number).copied().unwrap_or(to.ty);
                    check_assignment(from, &insert.table.columns[at].name, to.ty)?;
                    assign_datum(datum, from, to, &environment)?
                }
                Cell::Now => now(&writing.environment, to)?,
                Cell::Default => {
                    let default = match &mut defaults[place] {
                        Some(default) => default,
                        empty => empty.insert(DefaultValue::of(planner, &insert.table, at)?),
                    };
                    default.value(&insert.table, &writing.environment)?
                }
                Cell::Expr(expr) => {
                    let run = run.get_or_insert_with(|| writing.run(tx));
                    let params = match &bound {
                        Some(bound) => bound,
                        None => bound.insert(param_values(&writing.planned.parameters, writing.params)?),
                    };
                    let expr = bind_expr(expr, params)?;
                    let (datum, from) = constant(run, expr).await?;
                    assign_datum(datum, from.ty, to, &environment)?
                }
            });
        }
        rows.push(values);
    }
    Ok(rows)
}

fn bind_expr(expr: &Expr, params: &datafusion::common::ParamValues) -> Result<Expr> {
    bind_tree(expr.clone(), params)
}

/// Puts rows into the transaction; gives how many were inserted or changed.
async fn store(
    writing: &Writing<'_>,
    insert: &InsertPlan,
    conflict_run: Option<&mut conflict::ConflictRun>,
    rows: Vec<Row>,
    tx: &mut Transaction,
    kept: Option<&mut Vec<Row>>,
) -> Result<u64> {
    let Some(conflict) = &insert.conflict else {
        let count = rows.len() as u64;
        if let Some(kept) = kept {
            kept.extend(rows.iter().cloned());
        }
        tx.insert_many(&insert.table, rows).await?;
        return Ok(count);
    };
    let (mut count, mut conflict_run, mut kept) = (0, conflict_run, kept);
    for row in rows {
        match conflict.settle(writing, conflict_run.as_deref_mut(), &insert.table, row, tx).await? {
            Settled::Nothing => {}
            Settled::Row(row) => {
                count += 1;
                if let Some(kept) = &mut kept {
                    kept.push(row);
                }
            }
        }
    }
    Ok(count)
}

impl InsertPlan {
    /// The query that gives the rows, if it is one.
    pub(crate) fn query(&self) -> Option<&LogicalPlan> {
        match &self.source {
            Source::Query(plan) => Some(plan),
            Source::Rows(_) => None,
        }
    }
}
