//! Objects of the catalog in a result (`regclass` and its kin), which a client reads as names.

use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, AsArray, StringArray};
use datafusion::arrow::datatypes::{DataType, Field as ArrowField, Schema, UInt32Type};
use datafusion::arrow::record_batch::RecordBatch;
use futures::StreamExt;
use lodedb_sql::error::Result;
use lodedb_sql::{Datum, PgType, ScalarType, SqlError};

use super::functions::text_of;
use crate::catalog::Catalog;
use crate::db::outcome::{BatchStream, Field};

/// The batches with names in the columns of objects that are read as text.
pub fn name_objects(
    batches: BatchStream,
    fields: &[Field],
    catalog: Arc<Catalog>,
    is_text: impl Fn(usize) -> bool,
) -> BatchStream {
    let is_registered =
        |ty| matches!(ty, PgType::Scalar(ScalarType::Regclass | ScalarType::Regproc | ScalarType::Regnamespace));
    let named: Vec<Option<PgType>> = fields
        .iter()
        .enumerate()
        .map(|(at, field)| Some(field.ty.ty).filter(|ty| is_registered(*ty) && is_text(at)))
        .collect();
    if named.iter().all(Option::is_none) {
        return batches;
    }
    Box::pin(batches.map(move |batch| with_names(&batch?, &named, &catalog)))
}

fn with_names(batch: &RecordBatch, named: &[Option<PgType>], catalog: &Catalog) -> Result<RecordBatch> {
    let columns: Vec<ArrayRef> = batch
        .columns()
        .iter()
        .zip(named)
        .map(|(column, named)| match (named, column.as_primitive_opt::<UInt32Type>()) {
            (Some(ty), Some(oids)) => {
                let name = |oid| text_of(Some(catalog), &Datum::Oid(oid), *ty, chrono_tz::UTC);
                Arc::new(oids.iter().map(|oid| oid.map(name)).collect::<StringArray>()) as ArrayRef
            }
            _ => column.clone(),
        })
        .collect();
    let schema = batch.schema();
    let fields = schema.fields().iter().zip(&columns).map(|(field, column)| match column.data_type() {
        DataType::Utf8 => ArrowField::clone(field).with_data_type(DataType::Utf8),
        _ => ArrowField::clone(field),
    });
    let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
    RecordBatch::try_new(schema, columns).map_err(SqlError::internal)
}
