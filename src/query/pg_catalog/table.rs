//! The rows of a system relation in the making: by the names of columns, the others at their zero or NULL.

use datafusion::arrow::datatypes::SchemaRef;
use datafusion::arrow::record_batch::RecordBatch;
use lodedb_sql::datum::ArrayDatum;
use lodedb_sql::error::Result;
use lodedb_sql::{Datum, PgType, ScalarType, SqlError, TypeWithModifier};

use super::relations::Relation;
use crate::query::arrow::BatchBuilder;

/// Rows of one relation.
pub(crate) struct Rows {
    relation: &'static Relation,
    tableoid: Option<u32>,
    defaults: Vec<Datum>,
    rows: Vec<Vec<Datum>>,
}

/// What a column that is never NULL holds if nothing is said.
fn zero(ty: TypeWithModifier) -> Datum {
    match ty.ty {
        PgType::Scalar(scalar) => match scalar {
            ScalarType::Bool => Datum::Bool(false),
            ScalarType::Int2 => Datum::Int2(0),
            ScalarType::Int4 => Datum::Int4(0),
            ScalarType::Int8 => Datum::Int8(0),
            ScalarType::Float4 => Datum::Float4(0.0),
            ScalarType::Float8 => Datum::Float8(0.0),
            ScalarType::Oid
            | ScalarType::Regclass
            | ScalarType::Regtype
            | ScalarType::Regproc
            | ScalarType::Regnamespace
            | ScalarType::Xid => Datum::Oid(0),
            ScalarType::Int2vector => list(ScalarType::Int2, 0, Vec::new()),
            ScalarType::Oidvector => list(ScalarType::Oid, 0, Vec::new()),
            ScalarType::Text | ScalarType::Varchar | ScalarType::Name | ScalarType::Char => Datum::Text(String::new()),
            _ => Datum::Null,
        },
        PgType::Array(element) => list(element, 1, Vec::new()),
    }
}

fn list(element: ScalarType, lower: i32, elements: Vec<Datum>) -> Datum {
    let dimensions = if elements.is_empty() { Vec::new() } else { vec![(elements.len() as u32, lower)] };
    Datum::Array(Box::new(ArrayDatum { element, dimensions, elements }))
}

/// An `int2vector`.
pub(crate) fn int2_vector(values: impl IntoIterator<Item = i16>) -> Datum {
    list(ScalarType::Int2, 0, values.into_iter().map(Datum::Int2).collect())
}

/// An `oidvector`.
pub(crate) fn oid_vector(values: impl IntoIterator<Item = u32>) -> Datum {
    list(ScalarType::Oid, 0, values.into_iter().map(Datum::Oid).collect())
}

/// A `smallint[]`.
pub(crate) fn int2_array(values: impl IntoIterator<Item = i16>) -> Datum {
    list(ScalarType::Int2, 1, values.into_iter().map(Datum::Int2).collect())
}

/// An `oid[]`.
pub(crate) fn oid_array(values: impl IntoIterator<Item = u32>) -> Datum {
    list(ScalarType::Oid, 1, values.into_iter().map(Datum::Oid).collect())
}

/// A `text[]`.
pub(crate) fn text_array(values: impl IntoIterator<Item = String>) -> Datum {
    list(ScalarType::Text, 1, values.into_iter().map(Datum::Text).collect())
}

/// A text or a name.
pub(crate) fn text(value: impl Into<String>) -> Datum {
    Datum::Text(value.into())
}

/// A `"char"`.
pub(crate) fn letter(value: char) -> Datum {
    Datum::Text(value.to_string())
}

/// `YES` or `NO`, as the standard's views say it.
pub(crate) fn yes_or_no(value: bool) -> Datum {
    text(if value { "YES" } else { "NO" })
}

impl Rows {
    pub(crate) fn new(relation: &'static Relation, tableoid: Option<u32>) -> Self {
        let defaults =
            relation.columns.iter().map(|column| if column.not_null { zero(column.ty) } else { Datum::Null }).collect();
        Self { relation, tableoid, defaults, rows: Vec::new() }
    }

    /// Adds a row with these values; a name that is no column is an error of ours.
    pub(crate) fn push<const N: usize>(&mut self, values: [(&str, Datum); N]) -> Result<()> {
        let mut row = self.defaults.clone();
        for (name, value) in values {
            row[self.place(name)?] = value;
        }
        self.push_row(row);
        Ok(())
    }

    fn push_row(&mut self, mut row: Vec<Datum>) {
        row.extend(self.tableoid.map(Datum::Oid));
        self.rows.push(row);
    }

    fn place(&self, name: &str) -> Result<usize> {
        self.relation
            .columns
            .iter()
            .position(|column| column.name == name)
            .ok_or_else(|| SqlError::internal(format!("{} has no column {name}", self.relation.name)))
    }

    /// Adds the rows of a table of text: names of columns in its first line, `\N` for NULL.
    pub(crate) fn push_text(&mut self, table: &str, more: &[(&str, Datum)]) -> Result<()> {
        let mut lines = table.lines();
        let Some(header) = lines.next() else { return Ok(()) };
        let places = header.split('\t').map(|name| self.place(name)).collect::<Result<Vec<_>>>()?;
        for line in lines {
            let mut row = self.defaults.clone();
            for (name, value) in more {
                row[self.place(name)?] = value.clone();
            }
            for (&place, cell) in places.iter().zip(line.split('\t')) {
                if cell != "\\N" {
                    row[place] = lodedb_sql::text::parse_text(cell, self.relation.columns[place].ty)?;
                } else {
                    row[place] = Datum::Null;
                }
            }
            self.push_row(row);
        }
        Ok(())
    }

    /// The batch of all rows.
    pub(crate) fn finish(self, schema: SchemaRef) -> Result<RecordBatch> {
        let positions = (0..schema.fields().len()).collect();
        let mut builder = BatchBuilder::new(schema, positions, self.rows.len())?;
        for row in &self.rows {
            builder.push(row)?;
        }
        builder.finish()
    }
}
