//! The hot road: statements by key and by distance that skip planning.
//!
//! What they are is recognised on the syntax tree when they are prepared; a run binds its parameters and does it. The
//! road takes only what it answers exactly as the planned one would: a statement with anything more in it, or with a
//! parameter of another type than PostgreSQL would choose, is planned.

mod lookup;
mod nearest;
mod shape;
mod value;
mod write;

use std::sync::Arc;

use datafusion::arrow::record_batch::RecordBatch;
use lodedb_sql::error::Result;
use lodedb_sql::statement::Statement;
use lodedb_sql::{Datum, PgType, SqlError};

use super::WriteOutcome;
use super::cancel::CancelToken;
use super::plan::Planner;
use super::statement_state::Reading;
use crate::catalog::Table;
use crate::commit::Transaction;
use crate::db::outcome::{BatchStream, Field};
use crate::db::settings::Environment;
use write::Running;

/// A statement of the hot road.
#[derive(Debug)]
pub(crate) enum HotPlan {
    Lookup(lookup::Lookup),
    Nearest(nearest::Nearest),
    Insert(write::HotInsert),
    Update(write::HotUpdate),
    Delete(write::HotDelete),
}

impl HotPlan {
    /// The table it is about.
    pub(crate) fn table(&self) -> &Arc<Table> {
        match self {
            Self::Lookup(lookup) => &lookup.table,
            Self::Nearest(nearest) => &nearest.table,
            Self::Insert(insert) => &insert.table,
            Self::Update(update) => &update.table,
            Self::Delete(delete) => &delete.table,
        }
    }

    /// Whether it only reads.
    pub(crate) fn is_query(&self) -> bool {
        matches!(self, Self::Lookup(_) | Self::Nearest(_))
    }

    /// Whether it searches for neighbours.
    pub(crate) fn is_search(&self) -> bool {
        matches!(self, Self::Nearest(_))
    }

    /// Runs a query.
    pub(crate) fn query(&self, parameters: &[PgType], reading: &Reading, params: &[Datum]) -> Result<BatchStream> {
        super::plan::query::check_count(parameters, params)?;
        let batch: Option<RecordBatch> = match self {
            Self::Lookup(lookup) => lookup.run(&reading.reader, params)?,
            Self::Nearest(nearest) => Some(nearest.run(parameters, reading, params)?),
            _ => return Err(SqlError::internal("a statement that writes was run as a query")),
        };
        Ok(Box::pin(futures::stream::iter(batch.map(Ok))))
    }

    /// Runs a statement that writes.
    pub(crate) async fn write(
        &self,
        parameters: &[PgType],
        tx: &mut Transaction,
        environment: &Arc<Environment>,
        params: &[Datum],
        cancel: &CancelToken,
    ) -> Result<WriteOutcome> {
        super::plan::query::check_count(parameters, params)?;
        let running = Running { environment, parameters, params, cancel };
        match self {
            Self::Insert(insert) => insert.run(&running, tx).await,
            Self::Update(update) => update.run(&running, tx).await,
            Self::Delete(delete) => delete.run(&running, tx).await,
            Self::Lookup(_) | Self::Nearest(_) => Err(SqlError::internal("a query was run as a statement that writes")),
        }
    }
}

/// Recognises a statement of the hot road, with the columns of its result.
#[expect(clippy::type_complexity, reason = "one caller, which takes it apart at once")]
pub(crate) fn recognise(planner: &Planner, statement: &Statement) -> Result<Option<(HotPlan, Option<Arc<[Field]>>)>> {
    // What is noted of parameters on the way is what planning would note; a statement that is refused is planned with
    // the types the client gave.
    let given = planner.parameters.save();
    let found = match statement {
        Statement::Query(query) => match lookup::recognise(planner, query)? {
            Some((lookup, fields)) => Some((HotPlan::Lookup(lookup), Some(fields))),
            None => {
                planner.parameters.restore(&given);
                nearest::recognise(planner, query)?.map(|(nearest, fields)| (HotPlan::Nearest(nearest), Some(fields)))
            }
        },
        Statement::Insert(insert) => {
            write::recognise_insert(planner, insert)?.map(|(insert, fields)| (HotPlan::Insert(insert), fields))
        }
        Statement::Update(update) => {
            write::recognise_update(planner, update)?.map(|(update, fields)| (HotPlan::Update(update), fields))
        }
        Statement::Delete(delete) => {
            write::recognise_delete(planner, delete)?.map(|(delete, fields)| (HotPlan::Delete(delete), fields))
        }
        _ => None,
    };
    let found = found.filter(|_| planner.parameters.complete());
    if found.is_none() {
        planner.parameters.restore(&given);
    }
    Ok(found)
}
