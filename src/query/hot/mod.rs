//! The hot road: statements by key and by distance that skip planning.

use std::sync::Arc;

use lodedb_sql::Datum;
use lodedb_sql::error::Result;
use lodedb_sql::statement::Statement;

use super::WriteOutcome;
use super::cancel::CancelToken;
use super::plan::{Planned, Planner};
use crate::catalog::Table;
use crate::commit::{Reader, Transaction};
use crate::db::outcome::BatchStream;
use crate::db::settings::Environment;

/// A statement of the hot road.
#[derive(Debug)]
pub(crate) struct HotPlan {
    table: Arc<Table>,
}

impl HotPlan {
    pub(crate) fn table(&self) -> &Arc<Table> {
        &self.table
    }

    pub(crate) fn query(
        &self,
        _planned: &Planned,
        _reader: &Reader,
        _environment: &Arc<Environment>,
        _params: &[Datum],
        _cancel: &CancelToken,
    ) -> Result<Option<BatchStream>> {
        Ok(None)
    }

    pub(crate) async fn write(
        &self,
        _planned: &Planned,
        _tx: &mut Transaction,
        _environment: &Arc<Environment>,
        _params: &[Datum],
        _cancel: &CancelToken,
    ) -> Result<Option<WriteOutcome>> {
        Ok(None)
    }
}

/// Recognises a statement of the hot road.
pub(crate) fn recognise(_planner: &Planner, _statement: &Statement) -> Result<Option<HotPlan>> {
    Ok(None)
}
