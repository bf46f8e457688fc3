//! Tables as DataFusion reads them: what a table offers, how a condition becomes a look-up, and the operator that
//! turns rows into batches.
//!
//! [`TableReader`] describes a table and holds nothing of a run; [`access`] chooses between the whole table and an
//! index; [`operator`] runs. Rows come from the store, or from the columns that sealed segments keep; vectors come from
//! the segments, and only where they are asked for.

pub(crate) mod access;
pub(crate) mod operator;
pub(crate) mod rows;

use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::catalog::Session;
use datafusion::common::tree_node::TreeNode;
use datafusion::common::{Constraint, Constraints};
use datafusion::datasource::{TableProvider, TableType};
use datafusion::error::Result as DataFusionResult;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown};
use datafusion::physical_plan::ExecutionPlan;

use super::arrow::arrow_field;
use super::statement_state::{Reading, carry};
use crate::catalog::{Catalog, Index, Table};
use crate::commit::Reader;
use access::Access;
use operator::ScanOperator;
use rows::{Projection, Slot};

/// The hidden column with the id of a row.
pub(crate) const ROW_ID: &str = "lodedb.row_id";
/// The hidden column with the commit that wrote a row.
pub(crate) const VERSION: &str = "lodedb.version";

/// A table as the planner knows it.
#[derive(Clone, Debug)]
pub(crate) struct TableReader {
    table: Arc<Table>,
    indexes: Vec<Arc<Index>>,
    schema: SchemaRef,
    /// Where each column of the schema comes from.
    slots: Vec<Slot>,
    constraints: Constraints,
}

impl TableReader {
    /// A table; with its hidden columns for statements that change it.
    pub(crate) fn new(table: Arc<Table>, catalog: &Catalog, hidden: bool) -> Self {
        let mut fields: Vec<Field> = Vec::new();
        let mut slots = Vec::new();
        for (position, column) in table.visible_columns() {
            fields.push(arrow_field(&column.name, column.ty, !column.not_null));
            slots.push(Slot::Column(position));
        }
        if hidden {
            fields.push(Field::new(ROW_ID, DataType::UInt64, false));
            fields.push(Field::new(VERSION, DataType::UInt64, false));
            slots.extend([Slot::RowId, Slot::Version]);
        }
        let indexes: Vec<Arc<Index>> = catalog.btree_indexes_of(table.id).cloned().collect();
        let key = indexes.iter().find(|index| index.is_primary()).and_then(|index| {
            let place = |position| slots.iter().position(|slot| *slot == Slot::Column(position));
            index.key_positions()?.map(place).collect::<Option<Vec<usize>>>()
        });
        let constraints = Constraints::new_unverified(key.map(Constraint::PrimaryKey).into_iter().collect());
        Self { table, indexes, schema: Arc::new(Schema::new(fields)), slots, constraints }
    }

    /// The table.
    pub(crate) fn table(&self) -> &Arc<Table> {
        &self.table
    }

    /// Its indexes of keys.
    pub(crate) fn indexes(&self) -> &[Arc<Index>] {
        &self.indexes
    }

    /// How many rows it has for a reader.
    pub(crate) fn row_count(&self, reader: &Reader) -> u64 {
        row_count(reader, &self.table)
    }

    /// What a scan of some of its columns gives.
    pub(crate) fn projection(&self, columns: Option<&Vec<usize>>) -> DataFusionResult<Projection> {
        let (schema, slots) = match columns {
            None => (self.schema.clone(), self.slots.clone()),
            Some(columns) => {
                (Arc::new(self.schema.project(columns)?), columns.iter().map(|&at| self.slots[at]).collect())
            }
        };
        Ok(Projection::new(&self.table, schema, slots))
    }
}

/// How many rows a table has for a reader.
pub(crate) fn row_count(reader: &Reader, table: &Table) -> u64 {
    let committed = reader.table_view(table.id).map_or(0, |view| view.live_rows);
    if !reader.overlay.touches(table.id) {
        return committed;
    }
    let deleted = reader
        .overlay
        .changed(table.id)
        .filter(|(_, change)| matches!(change, crate::commit::RowChange::Deleted))
        .count() as u64;
    committed.saturating_sub(deleted) + reader.overlay.inserted_count(table.id) as u64
}

/// Whether an expression can be judged row by row with nothing else at hand.
pub(crate) fn is_plain(expr: &Expr) -> bool {
    !expr.is_volatile()
        && !expr
            .exists(|expr| {
                Ok(matches!(
                    expr,
                    Expr::ScalarSubquery(_)
                        | Expr::InSubquery(_)
                        | Expr::Exists(_)
                        | Expr::SetComparison(_)
                        | Expr::OuterReferenceColumn(..)
                        | Expr::Placeholder(_)
                ))
            })
            .unwrap_or(true)
}

#[async_trait]
impl TableProvider for TableReader {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    fn constraints(&self) -> Option<&Constraints> {
        Some(&self.constraints)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> DataFusionResult<Vec<TableProviderFilterPushDown>> {
        // What an index may serve is handed down; the condition itself is checked above.
        Ok(filters
            .iter()
            .map(|filter| {
                if is_plain(filter) && access::may_serve(&self.table, &self.indexes, filter) {
                    TableProviderFilterPushDown::Inexact
                } else {
                    TableProviderFilterPushDown::Unsupported
                }
            })
            .collect())
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> DataFusionResult<Arc<dyn ExecutionPlan>> {
        let reading = Reading::of(state.config_options())?;
        let reader = reading.reader.clone();
        let access = carry(access::choose(&reader, &self.table, &self.indexes, filters))?;
        let projection = self.projection(projection)?;
        // Without a condition above, a limit may end the scan early.
        let limit = limit.filter(|_| filters.is_empty() || matches!(access, Access::Nothing));
        let partitions = state.config_options().execution.target_partitions;
        Ok(Arc::new(ScanOperator::new(reader, self.table.clone(), projection, access, limit, partitions)))
    }
}
