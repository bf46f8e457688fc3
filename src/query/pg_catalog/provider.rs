//! The system schemas as DataFusion sees them.

use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use datafusion::arrow::datatypes::{Field, Schema, SchemaRef};
use datafusion::arrow::record_batch::RecordBatch;
use datafusion::catalog::{SchemaProvider, Session, TableProvider};
use datafusion::datasource::TableType;
use datafusion::datasource::memory::MemorySourceConfig;
use datafusion::error::Result as DataFusionResult;
use datafusion::logical_expr::Expr;
use datafusion::physical_plan::ExecutionPlan;
use lodedb_sql::{ScalarType, TypeWithModifier};

use super::relations::{self, RELATIONS, Relation};
use super::rows;
use super::table::Rows;
use crate::query::arrow::arrow_field;
use crate::query::functions::{Scope, to_datafusion};

/// The name of the schema of catalogs.
pub const PG_CATALOG: &str = "pg_catalog";
/// The name of the schema of the SQL standard's views.
pub const INFORMATION_SCHEMA: &str = "information_schema";

/// A system schema as one statement sees it: [`PG_CATALOG`] or [`INFORMATION_SCHEMA`].
pub fn schema(name: &'static str, scope: &Scope) -> Arc<dyn SchemaProvider> {
    Arc::new(SystemSchema { name, scope: scope.clone() })
}

/// Whether `pg_catalog` has a relation of this name; such a name without a schema means it.
pub fn is_system_relation(name: &str) -> bool {
    relations::by_name(PG_CATALOG, name).is_some()
}

#[derive(Debug)]
struct SystemSchema {
    name: &'static str,
    scope: Scope,
}

#[async_trait]
impl SchemaProvider for SystemSchema {
    fn table_names(&self) -> Vec<String> {
        RELATIONS
            .iter()
            .filter(|relation| relation.schema == self.name)
            .map(|relation| relation.name.to_owned())
            .collect()
    }

    async fn table(&self, name: &str) -> DataFusionResult<Option<Arc<dyn TableProvider>>> {
        let table = relations::by_name(self.name, name).map(|relation| {
            let table: Arc<dyn TableProvider> = Arc::new(SystemTable::new(relation, self.scope.clone()));
            table
        });
        Ok(table)
    }

    fn table_exist(&self, name: &str) -> bool {
        relations::by_name(self.name, name).is_some()
    }
}

/// A system relation; its rows are made when it is first scanned.
#[derive(Debug)]
struct SystemTable {
    relation: &'static Relation,
    scope: Scope,
    schema: SchemaRef,
    rows: OnceLock<RecordBatch>,
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
    fn new(relation: &'static Relation, scope: Scope) -> Self {
        let schema = Arc::new(Schema::new(fields(relation)));
        Self { relation, scope, schema, rows: OnceLock::new() }
    }

    fn batch(&self) -> lodedb_sql::error::Result<RecordBatch> {
        if let Some(batch) = self.rows.get() {
            return Ok(batch.clone());
        }
        let tableoid = has_tableoid(self.relation).then_some(self.relation.oid);
        let mut rows = Rows::new(self.relation, tableoid);
        rows::fill(&self.scope, self.relation, &mut rows)?;
        let batch = rows.finish(self.schema.clone())?;
        Ok(self.rows.get_or_init(|| batch).clone())
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
        _: &dyn Session,
        projection: Option<&Vec<usize>>,
        _filters: &[Expr],
        _limit: Option<usize>,
    ) -> DataFusionResult<Arc<dyn ExecutionPlan>> {
        let batch = self.batch().map_err(to_datafusion)?;
        Ok(MemorySourceConfig::try_new_exec(&[vec![batch]], self.schema.clone(), projection.cloned())?)
    }
}
