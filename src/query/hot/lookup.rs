//! `SELECT columns FROM table WHERE key = value`.

use std::sync::Arc;

use datafusion::arrow::datatypes::{Schema, SchemaRef};
use datafusion::arrow::record_batch::RecordBatch;
use datafusion::sql::sqlparser::ast::Query;
use lodedb_sql::Datum;
use lodedb_sql::error::Result;

use super::shape::{Key, Named, key, single_select};
use crate::catalog::Table;
use crate::commit::{Reader, RowId};
use crate::db::outcome::Field;
use crate::query::arrow::arrow_field;
use crate::query::plan::Planner;
use crate::query::scan::rows::{Projection, RowBatches, Slot, Wanted};
use crate::store::key::encode_key;

/// A look-up by key.
#[derive(Debug)]
pub(crate) struct Lookup {
    pub(crate) table: Arc<Table>,
    key: Key,
    projection: Projection,
}

/// The schema of a result.
pub(crate) fn schema_of(fields: &[Field]) -> SchemaRef {
    Arc::new(Schema::new(fields.iter().map(|field| arrow_field(&field.name, field.ty, true)).collect::<Vec<_>>()))
}

/// The projection to columns at places in a table's rows.
pub(crate) fn projection(table: &Table, positions: &[usize], fields: &[Field]) -> Projection {
    Projection::new(table, schema_of(fields), positions.iter().map(|&at| Slot::Column(at)).collect())
}

pub(crate) fn recognise(planner: &Planner, query: &Query) -> Result<Option<(Lookup, Arc<[Field]>)>> {
    if query.order_by.is_some() || query.limit_clause.is_some() {
        return Ok(None);
    }
    let Some((select, named)) = single_select(planner, query) else { return Ok(None) };
    let Some(condition) = &select.selection else { return Ok(None) };
    let Some((positions, fields)) = named.all_columns(&select.projection) else { return Ok(None) };
    let Some(key) = key(planner, &named, condition)? else { return Ok(None) };
    let projection = projection(&named.table, &positions, &fields);
    let Named { table, .. } = named;
    Ok(Some((Lookup { table, key, projection }, fields)))
}

impl Key {
    /// The row that has the key, for a reader.
    pub(crate) fn find(&self, table: &Table, reader: &Reader, params: &[Datum]) -> Result<Option<RowId>> {
        let mut values: smallvec::SmallVec<[Datum; 4]> = smallvec::SmallVec::new();
        for (at, source) in &self.values {
            // NULL equals nothing, and nothing equals a number beyond the column's.
            let Some(value) = source.comparable(params, table.columns[*at].ty.ty) else { return Ok(None) };
            values.push(value);
        }
        let mut encoded = Vec::with_capacity(16);
        encode_key(&values, &mut encoded);
        reader.unique(table.id, self.index.id, &encoded)
    }
}

impl Lookup {
    pub(crate) fn run(&self, reader: &Reader, params: &[Datum]) -> Result<Option<RecordBatch>> {
        let Some(row) = self.key.find(&self.table, reader, params)? else { return Ok(None) };
        let wanted = Wanted::Ids(Arc::from([row]));
        RowBatches::new(reader.clone(), self.table.clone(), self.projection.clone(), wanted, None)?.advance()
    }
}
