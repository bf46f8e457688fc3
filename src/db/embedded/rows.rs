//! The answer to a statement: rows of values, or Arrow batches.

use std::sync::Arc;

use chrono_tz::Tz;
use datafusion::arrow::record_batch::RecordBatch;
use lodedb_sql::error::Result;
use lodedb_sql::text::to_text;
use lodedb_sql::{Datum, SqlError, SqlState, TypeWithModifier};

use super::value::{FromSql, cannot_read};
use crate::db::outcome::Field;
use crate::query::arrow::datum_at;

/// All rows of an answer.
#[derive(Clone, Debug)]
pub struct Rows {
    fields: Arc<[Field]>,
    batches: Vec<RecordBatch>,
    affected: u64,
    zone: Tz,
}

impl Rows {
    pub(super) fn new(fields: Arc<[Field]>, batches: Vec<RecordBatch>, affected: u64, zone: Tz) -> Self {
        Self { fields, batches, affected, zone }
    }

    /// The answer of a statement that returns no rows.
    pub(super) fn without(affected: u64) -> Self {
        Self::new(Arc::from([]), Vec::new(), affected, Tz::UTC)
    }

    /// The columns: their names and types.
    pub fn fields(&self) -> &[Field] {
        &self.fields
    }

    /// The rows as Arrow batches of one schema; the array types are those of [`crate::query::arrow`]. None for no rows.
    pub fn batches(&self) -> &[RecordBatch] {
        &self.batches
    }

    /// As [`Rows::batches`], for keeps.
    pub fn into_batches(self) -> Vec<RecordBatch> {
        self.batches
    }

    /// How many rows there are.
    pub fn len(&self) -> usize {
        self.batches.iter().map(RecordBatch::num_rows).sum()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many rows the statement changed, or returned if it changes none.
    pub fn affected(&self) -> u64 {
        self.affected
    }

    /// The rows, one by one.
    pub fn iter(&self) -> impl Iterator<Item = Row<'_>> {
        let in_batch = move |batch| (0..RecordBatch::num_rows(batch)).map(move |at| Row { rows: self, batch, at });
        self.batches.iter().flat_map(in_batch)
    }

    /// The first row.
    pub fn first(&self) -> Option<Row<'_>> {
        self.iter().next()
    }
}

/// One row.
#[derive(Clone, Copy, Debug)]
pub struct Row<'r> {
    rows: &'r Rows,
    batch: &'r RecordBatch,
    at: usize,
}

/// A column, by its place from 0 or by its name; of two with the same name the first.
pub trait Column {
    /// Its place among the fields.
    fn place(&self, fields: &[Field]) -> Option<usize>;
    /// As an error names it.
    fn shown(&self) -> String;
}

impl Column for usize {
    fn place(&self, fields: &[Field]) -> Option<usize> {
        (*self < fields.len()).then_some(*self)
    }
    fn shown(&self) -> String {
        format!("column {self}")
    }
}

impl Column for &str {
    fn place(&self, fields: &[Field]) -> Option<usize> {
        fields.iter().position(|field| field.name == *self)
    }
    fn shown(&self) -> String {
        format!("column \"{self}\"")
    }
}

impl Row<'_> {
    /// The value of a column as a Rust type; a column that may be NULL is read as an `Option`.
    ///
    /// # Errors
    /// `42703` where there is no such column, `42804` where its type is another, `22004` where it is NULL.
    pub fn get<T: FromSql>(&self, column: impl Column) -> Result<T> {
        let (name, ty, datum) = self.datum(&column)?;
        let is_null = datum.is_null();
        T::from_sql(datum).ok_or_else(|| cannot_read::<T>(name, ty, is_null))
    }

    /// The value of a column of any type as PostgreSQL prints it; `None` for NULL.
    ///
    /// # Errors
    /// `42703` where there is no such column.
    pub fn text(&self, column: impl Column) -> Result<Option<String>> {
        let (_, ty, datum) = self.datum(&column)?;
        Ok((!datum.is_null()).then(|| to_text(&datum, ty.ty, self.rows.zone)))
    }

    fn datum(&self, column: &impl Column) -> Result<(&str, TypeWithModifier, Datum)> {
        let found =
            column.place(&self.rows.fields).and_then(|at| Some((&self.rows.fields[at], self.batch.columns().get(at)?)));
        let Some((field, array)) = found else {
            return Err(SqlError::new(SqlState::UndefinedColumn, format!("{} does not exist", column.shown())));
        };
        Ok((&field.name, field.ty, datum_at(array, self.at, field.ty)?))
    }
}
