//! INSERT of rows written out, UPDATE and DELETE by key.

use std::sync::Arc;

use datafusion::arrow::record_batch::RecordBatch;
use datafusion::sql::sqlparser::ast::{BinaryOperator, Expr};
use lodedb_sql::error::Result;
use lodedb_sql::statement::{Delete, Insert, InsertSource, InsertValue, Update, is_default};
use lodedb_sql::{Datum, PgType, ScalarType, SqlError, SqlState};

use super::lookup::projection;
use super::shape::{Key, Named, key, named};
use super::value::{Source, compared};
use crate::catalog::{Identity, Table};
use crate::commit::transaction::RowsLocked;
use crate::commit::view::ScannedRow;
use crate::commit::{Row, RowId, Transaction};
use crate::db::outcome::Field;
use crate::db::settings::Environment;
use crate::query::WriteOutcome;
use crate::query::cancel::CancelToken;
use crate::query::dml::generated::is_due;
use crate::query::dml::insert::{Cell, check_generated, fit_columns, now, plain_value, target_columns};
use crate::query::dml::update::assigned_column;
use crate::query::dml::{InserterShape, RowChecks, RowInserter, lock_target, target};
use crate::query::plan::Planner;
use crate::query::plan::operators::{assign_datum, check_assignment};
use crate::query::plan::syntax::placeholder;
use crate::query::scan::rows::{Filler, Projection};
use crate::query::statement_state::cast_environment;

/// What a statement that writes runs in.
pub(crate) struct Running<'a> {
    pub(crate) environment: &'a Arc<Environment>,
    pub(crate) parameters: &'a [PgType],
    pub(crate) params: &'a [Datum],
    pub(crate) cancel: &'a CancelToken,
}

/// The columns of a RETURNING.
type Returned = Option<Projection>;

/// An INSERT of rows written out.
#[derive(Debug)]
pub(crate) struct HotInsert {
    pub(crate) table: Arc<Table>,
    positions: Vec<usize>,
    rows: Vec<Vec<Cell>>,
    shape: Arc<InserterShape>,
    returning: Returned,
}

/// How a column changes.
#[derive(Debug)]
enum Change {
    /// To a value; the type it is given in.
    To(Source, PgType),
    /// To the start of the transaction.
    ToNow,
    /// By an integer.
    By { column: usize, value: Source, negative: bool },
}

/// An UPDATE of the row with a key.
#[derive(Debug)]
pub(crate) struct HotUpdate {
    pub(crate) table: Arc<Table>,
    key: Key,
    changes: Vec<(usize, Change)>,
    checks: RowChecks,
    returning: Returned,
}

/// A DELETE of the row with a key.
#[derive(Debug)]
pub(crate) struct HotDelete {
    pub(crate) table: Arc<Table>,
    key: Key,
    returning: Returned,
}

type Recognised<T> = Result<Option<(T, Option<Arc<[Field]>>)>>;

/// The RETURNING of a statement; `None` if it is more than columns.
fn returning(
    named: &Named,
    items: &[datafusion::sql::sqlparser::ast::SelectItem],
) -> Option<(Returned, Option<Arc<[Field]>>)> {
    if items.is_empty() {
        return Some((None, None));
    }
    let (positions, fields) = named.all_columns(items)?;
    Some((Some(projection(&named.table, &positions, &fields)), Some(fields)))
}

pub(crate) fn recognise_insert(planner: &Planner, insert: &Insert) -> Recognised<HotInsert> {
    if insert.on_conflict.is_some() || insert.overriding.is_some() {
        return Ok(None);
    }
    let InsertSource::Values(rows) = &insert.source else { return Ok(None) };
    let table = target::table(planner, &insert.table)?;
    let alias = insert.alias.clone().unwrap_or_else(|| insert.table.name.clone());
    let named = Named { table: table.clone(), alias };
    let Some((returning, fields)) = returning(&named, &insert.returning) else { return Ok(None) };
    let mut positions = target_columns(&table, &insert.columns)?;
    let given = rows.first().map_or(0, Vec::len);
    if rows.iter().any(|row| row.len() != given) {
        return Ok(None);
    }
    fit_columns(&mut positions, given, !insert.columns.is_empty())?;
    // A column with DEFAULT in every row is as good as left out; in some of them, it is not.
    let mut kept = Vec::with_capacity(positions.len());
    for (place, &at) in positions.iter().enumerate() {
        let defaults = rows.iter().filter(|row| matches!(row[place], InsertValue::Default)).count();
        match defaults {
            0 => kept.push((place, at)),
            all if all == rows.len() => {}
            _ => return Ok(None),
        }
    }
    let mut cells = Vec::with_capacity(rows.len());
    for row in rows {
        let mut values = Vec::with_capacity(kept.len());
        for &(place, at) in &kept {
            let column = &table.columns[at];
            let InsertValue::Expr(expr) = &row[place] else { return Ok(None) };
            check_generated(&planner.catalog, &table, at, None)?;
            if let Some(name) = placeholder(expr) {
                planner.parameters.note_named(name, column.ty.ty);
            }
            let Some(cell) = plain_value(planner, expr, &column.name, column.ty)? else { return Ok(None) };
            if let Cell::Parameter(number) = &cell
                && let Some(from) = planner.parameters.get(number + 1)
            {
                check_assignment(from, &column.name, column.ty.ty)?;
            }
            values.push(cell);
        }
        cells.push(values);
    }
    let positions: Vec<usize> = kept.into_iter().map(|(_, at)| at).collect();
    let shape = InserterShape::new(planner, &table, &positions)?;
    if !shape.is_lasting() {
        return Ok(None);
    }
    Ok(Some((HotInsert { table, positions, rows: cells, shape: Arc::new(shape), returning }, fields)))
}

pub(crate) fn recognise_update(planner: &Planner, update: &Update) -> Recognised<HotUpdate> {
    if !update.from.is_empty() || update.with.is_some() {
        return Ok(None);
    }
    let alias = update.alias.clone().unwrap_or_else(|| update.table.name.clone());
    let Some(named) = named(planner, update.table.schema.as_deref(), &update.table.name, alias) else {
        return Ok(None);
    };
    let Some(condition) = &update.condition else { return Ok(None) };
    let Some((returning, fields)) = returning(&named, &update.returning) else { return Ok(None) };
    let mut changes: Vec<(usize, Change)> = Vec::with_capacity(update.assignments.len());
    for (name, value) in &update.assignments {
        let at = assigned_column(&named.table, name)?;
        let column = &named.table.columns[at];
        if is_default(value) || column.identity == Some(Identity::Always) || changes.iter().any(|(of, _)| *of == at) {
            return Ok(None);
        }
        let Some(change) = change(planner, &named, at, value)? else { return Ok(None) };
        changes.push((at, change));
    }
    let Some(key) = key(planner, &named, condition)? else { return Ok(None) };
    let table = named.table;
    let changed: Vec<usize> = changes.iter().map(|(at, _)| *at).collect();
    let checks = RowChecks::new(planner, &table)?;
    if !checks.is_lasting() || planner.catalog.generated_of(table.id).any(|generated| is_due(generated, &changed)) {
        return Ok(None);
    }
    Ok(Some((HotUpdate { table, key, changes, checks, returning }, fields)))
}

fn change(planner: &Planner, named: &Named, at: usize, value: &Expr) -> Result<Option<Change>> {
    let column = &named.table.columns[at];
    if let Some(name) = placeholder(value) {
        planner.parameters.note_named(name, column.ty.ty);
    }
    match plain_value(planner, value, &column.name, column.ty)? {
        Some(Cell::Value(datum)) => return Ok(Some(Change::To(Source::Constant(datum), column.ty.ty))),
        Some(Cell::Parameter(number)) => {
            let Some(from) = planner.parameters.get(number + 1) else { return Ok(None) };
            check_assignment(from, &column.name, column.ty.ty)?;
            return Ok(Some(Change::To(Source::Parameter(number, from), from)));
        }
        Some(Cell::Now) => return Ok(Some(Change::ToNow)),
        _ => {}
    }
    let Expr::BinaryOp { left, op: op @ (BinaryOperator::Plus | BinaryOperator::Minus), right } = value else {
        return Ok(None);
    };
    let Some(of) = named.column(left) else { return Ok(None) };
    let ty = named.table.columns[of].ty.ty;
    // Numbers of one size only: the result of others is for operator resolution to say.
    let integer = matches!(ty, PgType::Scalar(ScalarType::Int4 | ScalarType::Int8));
    if !integer || ty != column.ty.ty {
        return Ok(None);
    }
    let Some(source) = compared(planner, right, ty)? else { return Ok(None) };
    let fits = match &source {
        Source::Constant(Datum::Int8(value)) => ty == PgType::Scalar(ScalarType::Int8) || i32::try_from(*value).is_ok(),
        Source::Constant(_) => false,
        Source::Parameter(_, from) => *from == ty,
    };
    Ok(fits.then_some(Change::By { column: of, value: source, negative: *op == BinaryOperator::Minus }))
}

pub(crate) fn recognise_delete(planner: &Planner, delete: &Delete) -> Recognised<HotDelete> {
    if !delete.using.is_empty() || delete.with.is_some() {
        return Ok(None);
    }
    let alias = delete.alias.clone().unwrap_or_else(|| delete.table.name.clone());
    let Some(named) = named(planner, delete.table.schema.as_deref(), &delete.table.name, alias) else {
        return Ok(None);
    };
    let Some(condition) = &delete.condition else { return Ok(None) };
    let Some((returning, fields)) = returning(&named, &delete.returning) else { return Ok(None) };
    let Some(key) = key(planner, &named, condition)? else { return Ok(None) };
    Ok(Some((HotDelete { table: named.table, key, returning }, fields)))
}

/// The rows of a RETURNING.
fn returned(returning: &Returned, rows: &[Row]) -> Result<Option<Vec<RecordBatch>>> {
    let Some(projection) = returning else { return Ok(None) };
    let mut filler = Filler::new(projection.clone(), rows.len())?;
    for row in rows {
        filler.push(0, 0, row)?;
    }
    Ok(Some(vec![filler.finish()?]))
}

impl HotInsert {
    pub(crate) async fn run(&self, running: &Running<'_>, tx: &mut Transaction) -> Result<WriteOutcome> {
        lock_target(tx, &self.table).await?;
        let environment = cast_environment(running.environment);
        let mut rows = Vec::with_capacity(self.rows.len());
        for cells in &self.rows {
            let mut values = Vec::with_capacity(cells.len());
            for (cell, &at) in cells.iter().zip(&self.positions) {
                values.push(match cell {
                    Cell::Value(datum) => datum.clone(),
                    Cell::Parameter(number) => {
                        let to = self.table.columns[at].ty;
                        let from = running.parameters.get(*number).copied().unwrap_or(to.ty);
                        let datum = running.params.get(*number).cloned().unwrap_or(Datum::Null);
                        assign_datum(datum, from, to, &environment)?
                    }
                    Cell::Now => now(running.environment, self.table.columns[at].ty)?,
                    Cell::Default | Cell::Expr(_) => return Err(SqlError::internal("a value is not a plain one")),
                });
            }
            rows.push(values);
        }
        let inserter = RowInserter::of(self.shape.clone(), running.environment.clone());
        let (rows, checked) = inserter.complete(rows)?;
        let count = rows.len();
        let batches = returned(&self.returning, &rows)?;
        tx.insert_many(&self.table, rows).await?;
        checked?;
        Ok(WriteOutcome { tag: format!("INSERT 0 {count}"), returning: batches })
    }
}

/// The row with a key, locked and as it is now; `None` if there is none, or another one by now than at first.
async fn locked(
    table: &Arc<Table>,
    key: &Key,
    running: &Running<'_>,
    tx: &mut Transaction,
) -> Result<Option<(RowId, ScannedRow)>> {
    let mut first = None;
    loop {
        running.cancel.check()?;
        let reader = tx.reader();
        let Some(id) = key.find(table, &reader, running.params)? else { return Ok(None) };
        if *first.get_or_insert(id) != id {
            return Ok(None);
        }
        let Some(row) = reader.row(table, id)? else { return Ok(None) };
        drop(reader);
        match tx.lock_rows(table, &[(id, row.version)]).await? {
            RowsLocked::Unchanged => return Ok(Some((id, row))),
            RowsLocked::Changed => tx.refresh(),
        }
    }
}

impl HotUpdate {
    pub(crate) async fn run(&self, running: &Running<'_>, tx: &mut Transaction) -> Result<WriteOutcome> {
        lock_target(tx, &self.table).await?;
        let Some((id, old)) = locked(&self.table, &self.key, running, tx).await? else {
            return Ok(WriteOutcome { tag: "UPDATE 0".into(), returning: returned(&self.returning, &[])? });
        };
        let environment = cast_environment(running.environment);
        let mut values: Vec<Datum> = old.values.to_vec();
        for (at, change) in &self.changes {
            values[*at] = match change {
                Change::To(source, from) => {
                    assign_datum(source.given(running.params).clone(), *from, self.table.columns[*at].ty, &environment)?
                }
                Change::ToNow => now(running.environment, self.table.columns[*at].ty)?,
                Change::By { column, value, negative } => {
                    shifted(&old.values[*column], value.given(running.params), *negative)?
                }
            };
        }
        let new = Row::from(values);
        self.checks.check(std::slice::from_ref(&new))?;
        tx.update(&self.table, id, &old.values, new.clone()).await?;
        Ok(WriteOutcome { tag: "UPDATE 1".into(), returning: returned(&self.returning, &[new])? })
    }
}

/// An integer more or less by another.
fn shifted(datum: &Datum, by: &Datum, negative: bool) -> Result<Datum> {
    let out_of_range =
        |ty: ScalarType| SqlError::new(SqlState::NumericValueOutOfRange, format!("{} out of range", ty.sql_name()));
    let by = match by {
        Datum::Int4(value) => i64::from(*value),
        Datum::Int8(value) => *value,
        _ => return Ok(Datum::Null),
    };
    let shift = |value: i64| if negative { value.checked_sub(by) } else { value.checked_add(by) };
    match datum {
        Datum::Int4(value) => shift(i64::from(*value))
            .and_then(|value| i32::try_from(value).ok())
            .map(Datum::Int4)
            .ok_or_else(|| out_of_range(ScalarType::Int4)),
        Datum::Int8(value) => shift(*value).map(Datum::Int8).ok_or_else(|| out_of_range(ScalarType::Int8)),
        _ => Ok(Datum::Null),
    }
}

impl HotDelete {
    pub(crate) async fn run(&self, running: &Running<'_>, tx: &mut Transaction) -> Result<WriteOutcome> {
        lock_target(tx, &self.table).await?;
        let Some((id, old)) = locked(&self.table, &self.key, running, tx).await? else {
            return Ok(WriteOutcome { tag: "DELETE 0".into(), returning: returned(&self.returning, &[])? });
        };
        tx.delete(&self.table, id, &old.values)?;
        Ok(WriteOutcome { tag: "DELETE 1".into(), returning: returned(&self.returning, &[old.values])? })
    }
}
