//! Stand-in while the query room is being written.
pub mod arrow;
pub mod cancel;
pub mod functions;
pub mod pg_catalog;
use crate::catalog::Table;
use crate::commit::{Reader, Row, Transaction};
use crate::db::outcome::{BatchStream, Field};
use crate::db::settings::Environment;
pub use cancel::CancelToken;
use datafusion::arrow::record_batch::RecordBatch;
use datafusion::sql::sqlparser::ast::Expr;
use lodedb_sql::error::Result;
use lodedb_sql::parse::ParsedStatement;
use lodedb_sql::statement::ExplainOptions;
use lodedb_sql::{Datum, PgType};
use std::sync::Arc;
#[derive(Clone, Copy, Debug)]
pub struct QueryOptions {
    pub memory_limit_bytes: usize,
    pub threads: usize,
}
#[derive(Debug)]
pub struct QueryEngine {}
#[derive(Clone, Debug)]
pub struct PreparedPlan(());
impl PreparedPlan {
    pub fn parameters(&self) -> Arc<[PgType]> {
        unreachable!()
    }
    pub fn fields(&self) -> Option<Arc<[Field]>> {
        unreachable!()
    }
    pub fn is_current(&self, _: &Reader) -> bool {
        true
    }
}
#[derive(Clone, Debug)]
pub struct WriteOutcome {
    pub tag: String,
    pub returning: Option<Vec<RecordBatch>>,
}
pub struct RowInserter;
impl RowInserter {
    pub fn complete(&mut self, _: Vec<Vec<Datum>>) -> Result<Vec<Row>> {
        unreachable!()
    }
}
impl QueryEngine {
    pub fn new(_: QueryOptions) -> Self {
        Self {}
    }
    pub async fn prepare(
        &self,
        _: &Reader,
        _: &Arc<Environment>,
        _: &Arc<ParsedStatement>,
        _: &[Option<PgType>],
    ) -> Result<PreparedPlan> {
        unreachable!()
    }
    pub async fn query(
        &self,
        _: &PreparedPlan,
        _: Reader,
        _: Arc<Environment>,
        _: &[Datum],
        _: CancelToken,
    ) -> Result<BatchStream> {
        unreachable!()
    }
    pub async fn write(
        &self,
        _: &PreparedPlan,
        _: &mut Transaction,
        _: Arc<Environment>,
        _: &[Datum],
        _: CancelToken,
    ) -> Result<WriteOutcome> {
        unreachable!()
    }
    pub fn row_inserter(&self, _: &Reader, _: &Arc<Environment>, _: &Arc<Table>, _: &[usize]) -> Result<RowInserter> {
        unreachable!()
    }
    pub async fn check_expressions(&self, _: &Reader, _: &Arc<Environment>, _: &Arc<Table>) -> Result<()> {
        unreachable!()
    }
    #[expect(clippy::too_many_arguments, reason = "x")]
    pub async fn explain(
        &self,
        _: &PreparedPlan,
        _: &ExplainOptions,
        _: Reader,
        _: Option<&mut Transaction>,
        _: Arc<Environment>,
        _: &[Datum],
        _: CancelToken,
    ) -> Result<Vec<String>> {
        unreachable!()
    }
    pub async fn evaluate(&self, _: &Reader, _: &Arc<Environment>, _: &[Expr], _: &[PgType]) -> Result<Vec<Datum>> {
        unreachable!()
    }
}
