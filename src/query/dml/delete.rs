//! DELETE.

use std::sync::Arc;

use datafusion::arrow::array::ArrayRef;
use datafusion::logical_expr::LogicalPlan;
use lodedb_sql::error::Result;
use lodedb_sql::statement::Delete;

use super::returning::Returning;
use super::target::{self, Targets, find_and_lock};
use super::{Writing, lock_target};
use crate::catalog::Table;
use crate::commit::{Row, Transaction};
use crate::db::outcome::Field;
use crate::query::WriteOutcome;
use crate::query::plan::Planner;

/// A DELETE planned.
#[derive(Debug)]
pub(crate) struct DeletePlan {
    pub(crate) table: Arc<Table>,
    /// Row id, version, and with RETURNING beside other tables all columns.
    pub(crate) plan: LogicalPlan,
    returning: Option<Returning>,
    /// The place in the plan's rows of the first column beside the table.
    beside: Option<usize>,
}

pub(crate) fn plan(planner: &Planner, delete: &Delete) -> Result<(DeletePlan, Option<Arc<[Field]>>)> {
    let table = target::table(planner, &delete.table)?;
    let alias = delete.alias.as_deref().unwrap_or(&delete.table.name);
    let with_others = !delete.using.is_empty() && !delete.returning.is_empty();
    let mut query = target::query(
        delete.with.as_ref(),
        &delete.table,
        alias,
        Vec::new(),
        &delete.using,
        delete.condition.as_ref(),
        with_others,
    )?;
    planner.preparation().query(&mut query)?;
    let plan = planner.settle(|planner| planner.query(&query))?;
    // Row id and version, then the visible and the two hidden columns of the table.
    let beside = with_others.then(|| 2 + table.visible_columns().count() + 2);
    let others: Vec<_> = beside
        .map(|at| plan.schema().iter().skip(at).map(|(of, field)| (of.cloned(), field.clone())).collect())
        .unwrap_or_default();
    let returning = Returning::plan(planner, &table, alias, &delete.returning, &others)?;
    let fields = returning.as_ref().map(|returning| returning.fields.clone());
    Ok((DeletePlan { table, plan, returning, beside }, fields))
}

pub(crate) async fn run(writing: &Writing<'_>, delete: &DeletePlan, tx: &mut Transaction) -> Result<WriteOutcome> {
    lock_target(tx, &delete.table).await?;
    let targets = find_and_lock(writing, &delete.plan, &delete.table, tx).await?;
    let reader = tx.reader();
    let mut deleted: Vec<Row> = Vec::new();
    let mut places = Vec::new();
    let mut count = 0u64;
    for &(batch, row, id, _) in &targets.rows {
        let Some(old) = reader.row(&delete.table, id)? else { continue };
        tx.delete(&delete.table, id, &old.values)?;
        count += 1;
        if delete.returning.is_some() {
            deleted.push(old.values);
            places.push((batch, row));
        }
    }
    let returning = match &delete.returning {
        None => None,
        Some(returning) => {
            let beside = beside_columns(&targets, delete.beside, &places)?;
            Some(returning.rows(writing, tx, &deleted, beside)?)
        }
    };
    Ok(WriteOutcome { tag: format!("DELETE {count}"), returning })
}

/// The columns beside the table, of the rows that were changed.
pub(crate) fn beside_columns(
    targets: &Targets,
    first: Option<usize>,
    places: &[(usize, usize)],
) -> Result<Vec<ArrayRef>> {
    let (Some(first), Some(batch)) = (first, targets.batches.first()) else { return Ok(Vec::new()) };
    (first..batch.num_columns())
        .map(|column| {
            let arrays: Vec<&dyn datafusion::arrow::array::Array> =
                targets.batches.iter().map(|batch| batch.column(column).as_ref()).collect();
            datafusion::arrow::compute::interleave(&arrays, places).map_err(lodedb_sql::SqlError::internal)
        })
        .collect()
}
