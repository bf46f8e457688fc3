//! Stand-in.
use std::sync::Arc;
use lodedb_sql::Datum;
use lodedb_sql::error::Result;
use lodedb_sql::statement::ExplainOptions;
use super::CancelToken;
use super::plan::Planned;
use super::statement_state::Registry;
use crate::commit::{Reader, Transaction};
use crate::db::settings::Environment;
#[expect(clippy::too_many_arguments, reason = "x")]
pub(crate) async fn explain(_: &Arc<Registry>, _: &Planned, _: &ExplainOptions, _: Reader, _: Option<&mut Transaction>, _: Arc<Environment>, _: &[Datum], _: CancelToken) -> Result<Vec<String>> { Ok(vec![]) }
