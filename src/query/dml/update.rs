//! UPDATE.

use std::sync::Arc;

use datafusion::common::DFSchema;
use datafusion::logical_expr::{Expr, LogicalPlan, Projection};
use datafusion::sql::sqlparser::ast;
use lodedb_sql::error::Result;
use lodedb_sql::statement::{Update, is_default};
use lodedb_sql::{Datum, PgType, SqlError, SqlState};

use super::defaults::DefaultValue;
use super::delete::beside_columns;
use super::generated::{self, Computation, check_updatable};
use super::returning::Returning;
use super::target::{self, find_and_lock};
use super::{RowChecks, Writing, lock_target};
use crate::catalog::{Identity, Table};
use crate::commit::{Row, RowId, Transaction};
use crate::db::outcome::Field;
use crate::query::WriteOutcome;
use crate::query::arrow::{ColumnReader, pg_type};
use crate::query::plan::Planner;
use crate::query::plan::operators::{assign_datum, operand_type};
use crate::query::plan::syntax::placeholder;
use crate::query::statement_state::{carry, cast_environment};

/// Where the new value of a column comes from.
#[derive(Clone, Debug)]
pub(crate) enum NewValue {
    /// This column of the plan, which has this type.
    Planned(usize, PgType),
    /// The default.
    Default,
}

/// An UPDATE planned.
#[derive(Debug)]
pub(crate) struct UpdatePlan {
    pub(crate) table: Arc<Table>,
    /// Row id, version, new values, and with RETURNING beside other tables all columns.
    pub(crate) plan: LogicalPlan,
    assignments: Vec<(usize, NewValue)>,
    returning: Option<Returning>,
    beside: Option<usize>,
}

/// The place of a column that a statement assigns to.
pub(crate) fn assigned_column(table: &Table, name: &str) -> Result<usize> {
    table.position(name).ok_or_else(|| {
        SqlError::new(
            SqlState::UndefinedColumn,
            format!("column \"{name}\" of relation \"{}\" does not exist", table.name),
        )
    })
}

/// Checks the columns a statement assigns to, and gives parameters that stand alone the types of theirs.
pub(crate) fn assigned_columns(
    planner: &Planner,
    table: &Table,
    assignments: &[(String, ast::Expr)],
) -> Result<Vec<usize>> {
    let mut positions = Vec::with_capacity(assignments.len());
    for (name, value) in assignments {
        let at = assigned_column(table, name)?;
        if positions.contains(&at) {
            return Err(SqlError::new(
                SqlState::SyntaxError,
                format!("multiple assignments to same column \"{name}\""),
            ));
        }
        if !is_default(value) {
            check_updatable(&planner.catalog, table, &table.columns[at])?;
        }
        if table.columns[at].identity == Some(Identity::Always) && !is_default(value) {
            return Err(SqlError::new(
                SqlState::GeneratedAlways,
                format!("column \"{name}\" can only be updated to DEFAULT"),
            )
            .with_detail(format!("Column \"{name}\" is an identity column defined as GENERATED ALWAYS.")));
        }
        if let Some(parameter) = placeholder(value) {
            planner.parameters.note_named(parameter, table.columns[at].ty.ty);
        }
        positions.push(at);
    }
    Ok(positions)
}

pub(crate) fn plan(planner: &Planner, update: &Update) -> Result<(UpdatePlan, Option<Arc<[Field]>>)> {
    let table = target::table(planner, &update.table)?;
    let alias = update.alias.as_deref().unwrap_or(&update.table.name);
    let positions = assigned_columns(planner, &table, &update.assignments)?;
    let values: Vec<ast::Expr> =
        update.assignments.iter().filter(|(_, value)| !is_default(value)).map(|(_, value)| value.clone()).collect();
    let columns: Vec<usize> = update
        .assignments
        .iter()
        .zip(&positions)
        .filter(|((_, value), _)| !is_default(value))
        .map(|(_, &at)| at)
        .collect();
    let with_others = !update.from.is_empty() && !update.returning.is_empty();
    let mut query = target::query(
        update.with.as_ref(),
        &update.table,
        alias,
        values,
        &update.from,
        update.condition.as_ref(),
        with_others,
    )?;
    planner.preparation().query(&mut query)?;
    let plan = planner.settle(|planner| {
        let plan = planner.query(&query)?;
        assign_projection(planner, plan, &table, 2, &columns)
    })?;
    let mut planned = 0;
    let assignments = positions
        .iter()
        .zip(&update.assignments)
        .map(|(&at, (_, value))| {
            if is_default(value) {
                return (at, NewValue::Default);
            }
            planned += 1;
            (at, NewValue::Planned(1 + planned, pg_type(plan.schema().field(1 + planned)).ty))
        })
        .collect();
    let beside = with_others.then(|| 2 + columns.len() + table.visible_columns().count() + 2);
    let others: Vec<_> = beside
        .map(|at| plan.schema().iter().skip(at).map(|(of, field)| (of.cloned(), field.clone())).collect())
        .unwrap_or_default();
    let returning = Returning::plan(planner, &table, alias, &update.returning, &others)?;
    let fields = returning.as_ref().map(|returning| returning.fields.clone());
    Ok((UpdatePlan { table, plan, assignments, returning, beside }, fields))
}

/// Makes the columns of a plan, from one on, ready to be stored into columns of a table: untyped literals take their
/// types, and a type that storing does not convert is an error.
pub(crate) fn assign_projection(
    planner: &Planner,
    plan: LogicalPlan,
    table: &Table,
    first: usize,
    columns: &[usize],
) -> datafusion::error::Result<LogicalPlan> {
    let assign = |expr: Expr, schema: &DFSchema, at: usize| {
        let Some(&position) = at.checked_sub(first).and_then(|at| columns.get(at)) else { return Ok(expr) };
        let column = &table.columns[position];
        let (relation, name) = expr.qualified_name();
        let (inner, alias) = match expr {
            Expr::Alias(alias) => (*alias.expr, Some((alias.relation, alias.name))),
            other => (other, None),
        };
        let from = operand_type(&inner, schema)?.map(|ty| ty.ty);
        let changed = from.is_none();
        let assigned = carry(planner.typing().assign(inner, from, &column.name, column.ty.ty))?;
        Ok::<_, datafusion::error::DataFusionError>(match alias {
            Some((relation, name)) => assigned.alias_qualified(relation, name),
            None if changed => assigned.alias_qualified(relation, name),
            None => assigned,
        })
    };
    match plan {
        LogicalPlan::Projection(projection) => {
            let schema = projection.input.schema().clone();
            let exprs = projection
                .expr
                .into_iter()
                .enumerate()
                .map(|(at, expr)| assign(expr, &schema, at))
                .collect::<datafusion::error::Result<Vec<_>>>()?;
            Projection::try_new(exprs, projection.input).map(LogicalPlan::Projection)
        }
        LogicalPlan::Sort(_) | LogicalPlan::Limit(_) => {
            let input = plan.inputs().first().map(|input| (*input).clone());
            match input {
                Some(input) => {
                    let input = assign_projection(planner, input, table, first, columns)?;
                    plan.with_new_exprs(plan.expressions(), vec![input])
                }
                None => Ok(plan),
            }
        }
        LogicalPlan::Values(values) => {
            let none = DFSchema::empty();
            let rows = values
                .values
                .into_iter()
                .map(|row| {
                    row.into_iter()
                        .enumerate()
                        .map(|(at, expr)| {
                            assign_value(
                                planner,
                                expr,
                                &none,
                                table,
                                at.checked_sub(first).and_then(|at| columns.get(at)),
                            )
                        })
                        .collect()
                })
                .collect::<datafusion::error::Result<Vec<Vec<Expr>>>>()?;
            datafusion::logical_expr::LogicalPlanBuilder::values(rows)?.build()
        }
        other => {
            for (at, &position) in columns.iter().enumerate() {
                let field = other.schema().field(first + at);
                if !field.data_type().is_null() {
                    let column = &table.columns[position];
                    carry(crate::query::plan::operators::check_assignment(
                        pg_type(field).ty,
                        &column.name,
                        column.ty.ty,
                    ))?;
                }
            }
            Ok(other)
        }
    }
}

fn assign_value(
    planner: &Planner,
    expr: Expr,
    schema: &DFSchema,
    table: &Table,
    position: Option<&usize>,
) -> datafusion::error::Result<Expr> {
    let Some(&position) = position else { return Ok(expr) };
    let column = &table.columns[position];
    let from = operand_type(&expr, schema)?.map(|ty| ty.ty);
    carry(planner.typing().assign(expr, from, &column.name, column.ty.ty))
}

pub(crate) async fn run(writing: &Writing<'_>, update: &UpdatePlan, tx: &mut Transaction) -> Result<WriteOutcome> {
    let table = &update.table;
    lock_target(tx, table).await?;
    let targets = find_and_lock(writing, &update.plan, table, tx).await?;
    let planner = writing.planner(tx);
    let checks = RowChecks::new(&planner, table)?;
    let assigned: Vec<usize> = update.assignments.iter().map(|(at, _)| *at).collect();
    let computation = Computation::due(&planner, table, &assigned)?;
    let defaults = update
        .assignments
        .iter()
        .filter(|(_, value)| matches!(value, NewValue::Default))
        .map(|(at, _)| Ok((*at, DefaultValue::of(&planner, table, *at)?)))
        .collect::<Result<Vec<_>>>()?;
    let environment = cast_environment(&writing.environment);
    let reader = tx.reader();
    let mut readers = Vec::with_capacity(targets.batches.len());
    for batch in &targets.batches {
        let columns = update
            .assignments
            .iter()
            .map(|(_, value)| match value {
                NewValue::Planned(column, _) => {
                    let ty = pg_type(batch.schema_ref().field(*column));
                    ColumnReader::new(batch.column(*column).as_ref(), ty).map(Some)
                }
                NewValue::Default => Ok(None),
            })
            .collect::<Result<Vec<_>>>()?;
        readers.push(columns);
    }
    let mut changes: Vec<(RowId, Row)> = Vec::with_capacity(targets.rows.len());
    let mut rows: Vec<Row> = Vec::with_capacity(targets.rows.len());
    let mut places = Vec::new();
    for &(batch, row, id, _) in &targets.rows {
        writing.cancel.check()?;
        let Some(old) = reader.row(table, id)? else { continue };
        let mut values: Vec<Datum> = old.values.to_vec();
        for ((at, value), reader) in update.assignments.iter().zip(&readers[batch]) {
            values[*at] = match (value, reader) {
                (NewValue::Planned(_, from), Some(reader)) => {
                    assign_datum(reader.datum(row)?, *from, table.columns[*at].ty, &environment)?
                }
                _ => match defaults.iter().find(|(of, _)| of == at) {
                    Some((_, default)) => default.value(table, &writing.environment)?,
                    None => Datum::Null,
                },
            };
        }
        changes.push((id, old.values));
        rows.push(Row::from(values));
        places.push((batch, row));
    }
    drop(readers);
    let checked = generated::complete(computation.as_ref(), &checks, &mut rows, &writing.environment);
    // A row before the one refused may have a key that is taken.
    rows.truncate(checked.as_ref().map_or_else(|refused| refused.row, |()| changes.len()));
    let count = changes.len();
    for ((id, old), new) in changes.into_iter().zip(&rows) {
        writing.cancel.check()?;
        tx.update(table, id, &old, new.clone()).await?;
    }
    checked?;
    let returning = match &update.returning {
        None => None,
        Some(returning) => {
            let beside = beside_columns(&targets, update.beside, &places)?;
            Some(returning.rows(writing, tx, &rows, beside)?)
        }
    };
    Ok(WriteOutcome { tag: format!("UPDATE {count}"), returning })
}
