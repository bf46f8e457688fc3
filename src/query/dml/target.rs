//! The rows that an UPDATE or DELETE is about, found by a plan and locked.

use std::collections::HashSet;
use std::sync::Arc;

use datafusion::arrow::array::{Array, RecordBatch, UInt64Array};
use datafusion::logical_expr::LogicalPlan;
use datafusion::sql::sqlparser::ast::{
    Expr, Ident, Query, SelectItem, SetExpr, TableWithJoins, WildcardAdditionalOptions, With,
};
use lodedb_sql::error::Result;
use lodedb_sql::parse::parse;
use lodedb_sql::statement::{ObjectName, Statement};
use lodedb_sql::{SqlError, SqlState};

use super::{Writing, bind, collect, quoted};
use crate::catalog::Table;
use crate::commit::transaction::RowsLocked;
use crate::commit::{RowId, Transaction};
use crate::query::plan::Planner;
use crate::query::plan::context::TARGET_SCHEMA;
use crate::query::scan::{ROW_ID, VERSION};
use crate::query::statement_state::broken;

/// The table that a statement changes.
pub(crate) fn table(planner: &Planner, name: &ObjectName) -> Result<Arc<Table>> {
    match name.schema.as_deref() {
        None | Some("public") => planner.catalog.require_table(&name.name).cloned().map_err(|error| {
            if planner.catalog.has_relation(&name.name) {
                SqlError::new(SqlState::WrongObjectType, format!("cannot change \"{}\": it is not a table", name.name))
            } else {
                error
            }
        }),
        Some(schema) if crate::query::pg_catalog::table(schema, &name.name).is_some() => Err(SqlError::new(
            SqlState::InsufficientPrivilege,
            format!("permission denied: \"{}\" is a system catalog", name.name),
        )),
        Some(_) => Err(SqlError::new(SqlState::UndefinedTable, format!("relation \"{name}\" does not exist"))),
    }
}

/// `[WITH ..] SELECT row id, version, values.. [, *] FROM table AS alias, others.. WHERE condition`.
pub(crate) fn query(
    with: Option<&With>,
    name: &ObjectName,
    alias: &str,
    values: Vec<Expr>,
    others: &[TableWithJoins],
    condition: Option<&Expr>,
    all_columns: bool,
) -> Result<Query> {
    let text = format!("SELECT 1 FROM {}.{} AS {}", quoted(TARGET_SCHEMA), quoted(&name.name), quoted(alias));
    let Some(Statement::Query(mut query)) = parse(&text)?.pop().map(|parsed| parsed.statement) else {
        return Err(broken("a target could not be written as a query"));
    };
    let SetExpr::Select(select) = query.body.as_mut() else { return Err(broken("a target is not a SELECT")) };
    let hidden = |column: &str| SelectItem::ExprWithAlias {
        expr: Expr::CompoundIdentifier(vec![Ident::with_quote('"', alias), Ident::with_quote('"', column)]),
        // Not its own name: `*` may bring the column itself along.
        alias: Ident::with_quote('"', format!("{column}.target")),
    };
    select.projection = vec![hidden(ROW_ID), hidden(VERSION)];
    select.projection.extend(values.into_iter().enumerate().map(|(at, expr)| SelectItem::ExprWithAlias {
        expr,
        alias: Ident::with_quote('"', format!("lodedb.value{at}")),
    }));
    if all_columns {
        select.projection.push(SelectItem::Wildcard(WildcardAdditionalOptions::default()));
    }
    select.from.extend(others.iter().cloned());
    select.selection = condition.cloned();
    query.with = with.cloned();
    Ok(*query)
}

/// The target rows of one run of a plan, each once.
pub(crate) struct Targets {
    pub(crate) batches: Vec<RecordBatch>,
    /// Batch and row of each target, its id and the version read.
    pub(crate) rows: Vec<(usize, usize, RowId, u64)>,
}

/// Finds the target rows and locks them, again and again until nobody has changed one in between. What is found again and was not found at
/// first is left alone, as in PostgreSQL, which looks again at changed rows only.
pub(crate) async fn find_and_lock(
    writing: &Writing<'_>,
    plan: &LogicalPlan,
    table: &Arc<Table>,
    tx: &mut Transaction,
) -> Result<Targets> {
    let mut first: Option<HashSet<RowId>> = None;
    loop {
        writing.cancel.check()?;
        let bound = bind(plan.clone(), &writing.planned.parameters, writing.params)?;
        let run = writing.run(tx);
        let batches = collect(&run, bound).await?;
        drop(run);
        let mut seen = HashSet::new();
        let mut rows = Vec::new();
        for (number, batch) in batches.iter().enumerate() {
            let (ids, versions) = (numbers(batch, 0)?, numbers(batch, 1)?);
            for row in 0..batch.num_rows() {
                // A row that several others join with is changed once.
                let is_target = first.as_ref().is_none_or(|first| first.contains(&ids.value(row)));
                if seen.insert(ids.value(row)) && is_target {
                    rows.push((number, row, ids.value(row), versions.value(row)));
                }
            }
        }
        let locks: Vec<(RowId, u64)> = rows.iter().map(|&(_, _, id, version)| (id, version)).collect();
        match tx.lock_rows(table, &locks).await? {
            RowsLocked::Unchanged => return Ok(Targets { batches, rows }),
            RowsLocked::Changed => {
                first.get_or_insert(seen);
                tx.refresh();
            }
        }
    }
}

fn numbers(batch: &RecordBatch, column: usize) -> Result<&UInt64Array> {
    batch.column(column).as_any().downcast_ref().ok_or_else(|| broken("a hidden column is not a number"))
}
