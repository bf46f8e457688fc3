//! Stand-in.
use std::sync::Arc;
use lodedb_sql::Datum;
use lodedb_sql::error::Result;
use lodedb_sql::statement::Statement;
use super::plan::Planned;
use super::{CancelToken, WriteOutcome};
use crate::commit::{Reader, Transaction};
use crate::db::outcome::BatchStream;
use crate::db::settings::Environment;
#[derive(Debug)]
pub(crate) struct HotPlan;
pub(crate) fn recognise(_: &super::plan::Planner, _: &Statement) -> Result<Option<HotPlan>> { Ok(None) }
impl HotPlan {
    pub(crate) fn table(&self) -> &Arc<crate::catalog::Table> { unreachable!() }
    pub(crate) fn query(&self, _: &Planned, _: &Reader, _: &Arc<Environment>, _: &[Datum], _: &CancelToken) -> Result<Option<BatchStream>> { Ok(None) }
    pub(crate) async fn write(&self, _: &Planned, _: &mut Transaction, _: &Arc<Environment>, _: &[Datum], _: &CancelToken) -> Result<Option<WriteOutcome>> { Ok(None) }
}
