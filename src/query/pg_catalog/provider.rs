//! The relations of the system schemas as DataFusion sees them.

use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::datatypes::{Field, Schema, SchemaRef};
use datafusion::arrow::record_batch::RecordBatch;
use datafusion::catalog::{Session, TableProvider};
use datafusion::datasource::TableType;
use datafusion::datasource::memory::MemorySourceConfig;
use datafusion::error::Result as DataFusionResult;
use datafusion::logical_expr::Expr;
use datafusion::physical_plan::ExecutionPlan;
use lodedb_sql::error::Result;
use lodedb_sql::{ScalarType, TypeWithModifier};
use parking_lot::Mutex;

use super::relations::{self, RELATIONS, Relation};
use super::rows;
use super::table::Rows;
use crate::query::arrow::arrow_field;
use crate::query::functions::{Scope, to_datafusion};

/// The name of the schema of catalogs.
pub const PG_CATALOG: &str = "pg_catalog";
/// The name of the schema of the SQL standard's views.
pub const INFORMATION_SCHEMA: &str = "information_schema";

/// The relation of this name in a system schema.
///
/// It holds no rows: they are made when it is scanned, from the [`Scope`] that the session of the scan carries.
pub fn table(schema: &str, name: &str) -> Option<Arc<dyn TableProvider>> {
    let relation = relations::by_name(schema, name)?;
    Some(Arc::new(SystemTable::new(relation)))
}

/// The names of the relations of a system schema.
pub fn relation_names(schema: &str) -> impl Iterator<Item = &'static str> {
    RELATIONS.iter().filter(move |relation| relation.schema == schema).map(|relation| relation.name)
}

/// Whether `pg_catalog` has a relation of this name; such a name without a schema means it.
pub fn is_system_relation(name: &str) -> bool {
    relations::by_name(PG_CATALOG, name).is_some()
}

/// A system relation; its rows are made when a statement first scans it.
#[derive(Debug)]
struct SystemTable {
    relation: &'static Relation,
    schema: SchemaRef,
    /// The rows of the last statement that scanned, and what they were made from: a plan may scan many times.
    rows: Mutex<Option<(Scope, RecordBatch)>>,
}

/// The fields of a relation; its OID comes last, where it has one of its own.
fn fields(relation: &Relation) -> Vec<Field> {
    let mut fields: Vec<Field> =
        relation.columns.iter().map(|column| arrow_field(column.name, column.ty, true)).collect();
    if has_tableoid(relation) {
        fields.push(arrow_field("tableoid", TypeWithModifier::plain(ScalarType::Oid), true));
    }
    fields
}

fn has_tableoid(relation: &Relation) -> bool {
    !relation.is_view && relation.schema == PG_CATALOG
}

impl SystemTable {
    fn new(relation: &'static Relation) -> Self {
        let schema = Arc::new(Schema::new(fields(relation)));
        Self { relation, schema, rows: Mutex::new(None) }
    }

    fn batch(&self, scope: &Scope) -> Result<RecordBatch> {
        let mut kept = self.rows.lock();
        if let Some((of, batch)) = &*kept
            && Arc::ptr_eq(&of.environment, &scope.environment)
            && Arc::ptr_eq(&of.catalog, &scope.catalog)
        {
            return Ok(batch.clone());
        }
        let tableoid = has_tableoid(self.relation).then_some(self.relation.oid);
        let mut rows = Rows::new(self.relation, tableoid);
        rows::fill(scope, self.relation, &mut rows)?;
        let batch = rows.finish(self.schema.clone())?;
        *kept = Some((scope.clone(), batch.clone()));
        Ok(batch)
    }
}

#[async_trait]
impl TableProvider for SystemTable {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    fn table_type(&self) -> TableType {
        if self.relation.is_view { TableType::View } else { TableType::Base }
    }

    async fn scan(
        &self,
        session: &dyn Session,
        projection: Option<&Vec<usize>>,
        _filters: &[Expr],
        _limit: Option<usize>,
    ) -> DataFusionResult<Arc<dyn ExecutionPlan>> {
        let batch = Scope::of(session.config_options()).and_then(|scope| self.batch(scope)).map_err(to_datafusion)?;
        Ok(MemorySourceConfig::try_new_exec(&[vec![batch]], self.schema.clone(), projection.cloned())?)
    }
}
