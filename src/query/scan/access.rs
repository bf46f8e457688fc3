//! How a condition becomes a look-up: which index serves it, and which of its keys are wanted.

use std::ops::Bound;
use std::sync::Arc;

use datafusion::logical_expr::expr::{BinaryExpr, InList};
use datafusion::logical_expr::utils::split_conjunction;
use datafusion::logical_expr::{Cast, Expr, Operator};
use lodedb_sql::error::Result;
use lodedb_sql::{Datum, PgType, ScalarType, TypeWithModifier};

use crate::catalog::{Index, Table};
use crate::commit::{Reader, RowId};
use crate::query::arrow::{arrow_type, scalar_datum, structural_type};
use crate::store::key::{encode_key, key_range};

/// How the rows of a table are reached.
#[derive(Clone, Debug)]
pub(crate) enum Access {
    /// All of them are read.
    Everything,
    /// There is none that could match.
    Nothing,
    /// Those that an index names.
    Index {
        /// The index.
        index: Arc<Index>,
        /// The rows it names.
        rows: Arc<[RowId]>,
        /// The condition as EXPLAIN shows it.
        condition: String,
    },
}

/// What a condition says of one column.
#[derive(Clone, Debug)]
enum Restriction {
    /// It is one of these.
    OneOf(Vec<Datum>),
    /// It is NULL.
    IsNull,
    /// It lies between.
    Between { lower: Bound<Datum>, upper: Bound<Datum> },
}

/// A table is read whole rather than by an index that names more than this part of it.
const LARGEST_SHARE: u64 = 4;

/// Whether some index may serve a condition.
pub(crate) fn may_serve(table: &Table, indexes: &[Arc<Index>], filter: &Expr) -> bool {
    restriction(table, filter).is_some_and(|(position, _)| {
        indexes
            .iter()
            .any(|index| index.key_positions().is_some_and(|mut positions| positions.any(|at| at == position)))
    })
}

/// Chooses how to reach the rows that may pass all filters.
pub(crate) fn choose(reader: &Reader, table: &Table, indexes: &[Arc<Index>], filters: &[Expr]) -> Result<Access> {
    let restrictions: Vec<(usize, Restriction)> =
        filters.iter().flat_map(split_conjunction).filter_map(|filter| restriction(table, filter)).collect();
    if restrictions.is_empty() {
        return Ok(Access::Everything);
    }
    if restrictions
        .iter()
        .any(|(_, restriction)| matches!(restriction, Restriction::OneOf(values) if values.is_empty()))
    {
        return Ok(Access::Nothing);
    }
    let best = indexes
        .iter()
        .filter_map(|index| Some((Keys::of(index, &restrictions)?, index)))
        .max_by_key(|(keys, index)| keys.score(index));
    let Some((keys, index)) = best else { return Ok(Access::Everything) };
    let rows = keys.rows(reader, table, index)?;
    let total = super::row_count(reader, table);
    if rows.len() as u64 > 256 && rows.len() as u64 > total / LARGEST_SHARE {
        return Ok(Access::Everything);
    }
    let condition = filters.iter().map(ToString::to_string).collect::<Vec<_>>().join(" AND ");
    Ok(Access::Index { index: index.clone(), rows: rows.into(), condition })
}

/// The keys of an index that restrictions leave.
struct Keys {
    /// Values of the first columns, one list for each combination.
    equal: Vec<Vec<Datum>>,
    width: usize,
    columns: usize,
    range: Option<(Bound<Datum>, Bound<Datum>)>,
    has_null: bool,
}

/// More combinations of listed values than this are not looked up one by one.
const MOST_COMBINATIONS: usize = 10_000;

impl Keys {
    fn of(index: &Index, restrictions: &[(usize, Restriction)]) -> Option<Self> {
        let positions: Vec<usize> = index.key_positions()?.collect();
        let mut keys =
            Self { equal: vec![Vec::new()], width: 0, columns: positions.len(), range: None, has_null: false };
        for position in positions {
            let mut of_column = restrictions.iter().filter(|(at, _)| *at == position).map(|(_, found)| found);
            let exact = of_column.clone().find(|found| !matches!(found, Restriction::Between { .. }));
            match exact {
                Some(Restriction::OneOf(values)) => {
                    if keys.equal.len() * values.len() > MOST_COMBINATIONS {
                        break;
                    }
                    keys.extend(values);
                }
                Some(_) => {
                    keys.has_null = true;
                    keys.extend(&[Datum::Null]);
                }
                None => {
                    let Some(Restriction::Between { lower, upper }) = of_column.next() else { break };
                    let (mut lower, mut upper) = (lower.clone(), upper.clone());
                    for found in of_column {
                        if let Restriction::Between { lower: other_lower, upper: other_upper } = found {
                            if matches!(lower, Bound::Unbounded) {
                                lower = other_lower.clone();
                            }
                            if matches!(upper, Bound::Unbounded) {
                                upper = other_upper.clone();
                            }
                        }
                    }
                    keys.range = Some((lower, upper));
                    break;
                }
            }
        }
        (keys.width > 0 || keys.range.is_some()).then_some(keys)
    }

    fn extend(&mut self, values: &[Datum]) {
        self.equal = self
            .equal
            .iter()
            .flat_map(|prefix| {
                values.iter().map(move |value| {
                    let mut key = prefix.clone();
                    key.push(value.clone());
                    key
                })
            })
            .collect();
        self.width += 1;
    }

    fn is_whole(&self) -> bool {
        self.width == self.columns && !self.has_null
    }

    /// The better the higher.
    fn score(&self, index: &Index) -> (bool, usize, bool, std::cmp::Reverse<usize>) {
        (self.is_whole() && index.is_unique(), self.width, self.range.is_some(), std::cmp::Reverse(self.equal.len()))
    }

    fn rows(&self, reader: &Reader, table: &Table, index: &Index) -> Result<Vec<RowId>> {
        let mut rows = Vec::new();
        for values in &self.equal {
            if self.is_whole() && index.is_unique() {
                let mut key = Vec::new();
                encode_key(values, &mut key);
                rows.extend(reader.unique(table.id, index.id, &key)?);
                continue;
            }
            let (lower, upper) = match &self.range {
                None => key_range(values, Bound::Unbounded, Bound::Unbounded),
                Some((lower, upper)) => key_range(values, as_ref(lower), as_ref(upper)),
            };
            let found = reader.scan_index(table.id, index.id, lower, upper, false)?;
            rows.extend(found.into_iter().map(|(_, row)| row));
        }
        // Values may have been listed twice; ascending ids are read fastest.
        rows.sort_unstable();
        rows.dedup();
        Ok(rows)
    }
}

fn as_ref(bound: &Bound<Datum>) -> Bound<&Datum> {
    match bound {
        Bound::Included(datum) => Bound::Included(datum),
        Bound::Excluded(datum) => Bound::Excluded(datum),
        Bound::Unbounded => Bound::Unbounded,
    }
}

/// What a condition says of one column, if it says something an index can use.
fn restriction(table: &Table, filter: &Expr) -> Option<(usize, Restriction)> {
    match filter {
        Expr::IsNull(expr) => Some((column(table, expr)?, Restriction::IsNull)),
        Expr::InList(InList { expr, list, negated: false }) => {
            let position = column(table, expr)?;
            let mut values = Vec::with_capacity(list.len());
            for item in list {
                match literal(item, table, position)? {
                    Datum::Null => {}
                    value => values.push(value),
                }
            }
            Some((position, Restriction::OneOf(values)))
        }
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::Or, right }) => {
            let (position, Restriction::OneOf(mut values)) = restriction(table, left)? else { return None };
            let (other, Restriction::OneOf(more)) = restriction(table, right)? else { return None };
            values.extend(more);
            (position == other).then_some((position, Restriction::OneOf(values)))
        }
        Expr::BinaryExpr(BinaryExpr { left, op, right }) => {
            let (position, op, value) = match column(table, left) {
                Some(position) => (position, *op, right),
                None => (column(table, right)?, op.swap()?, left),
            };
            let value = literal(value, table, position)?;
            if value.is_null() {
                return matches!(op, Operator::Eq | Operator::Lt | Operator::LtEq | Operator::Gt | Operator::GtEq)
                    .then_some((position, Restriction::OneOf(Vec::new())));
            }
            let (lower, upper) = match op {
                Operator::Eq => return Some((position, Restriction::OneOf(vec![value]))),
                Operator::Lt => (Bound::Unbounded, Bound::Excluded(value)),
                Operator::LtEq => (Bound::Unbounded, Bound::Included(value)),
                Operator::Gt => (Bound::Excluded(value), Bound::Unbounded),
                Operator::GtEq => (Bound::Included(value), Bound::Unbounded),
                _ => return None,
            };
            Some((position, Restriction::Between { lower, upper }))
        }
        _ => None,
    }
}

/// The place of the column an expression is; integers may be widened.
fn column(table: &Table, expr: &Expr) -> Option<usize> {
    match expr {
        Expr::Column(column) => table.position(&column.name).filter(|&at| is_searchable(table.columns[at].ty.ty)),
        Expr::Cast(Cast { expr, field }) if field.data_type().is_integer() => {
            let position = column(table, expr)?;
            arrow_type(table.columns[position].ty).is_integer().then_some(position)
        }
        _ => None,
    }
}

/// Whether the order of keys is that of comparisons.
pub(crate) fn is_searchable(ty: PgType) -> bool {
    use ScalarType::{
        Bool, Bytea, Char, Date, Int2, Int4, Int8, Name, Numeric, Oid, Text, Time, Timestamp, Timestamptz, Uuid,
        Varchar,
    };
    matches!(
        ty,
        PgType::Scalar(
            Bool | Int2
                | Int4
                | Int8
                | Oid
                | Numeric
                | Text
                | Varchar
                | Name
                | Char
                | Bytea
                | Date
                | Time
                | Timestamp
                | Timestamptz
                | Uuid
        )
    )
}

/// A literal as a value of a column's type; `None` if it is none, or could not be compared as one.
fn literal(expr: &Expr, table: &Table, position: usize) -> Option<Datum> {
    let value = match expr {
        Expr::Literal(value, _) => value,
        _ => return None,
    };
    let wanted = table.columns[position].ty;
    if value.is_null() {
        return Some(Datum::Null);
    }
    let ty = structural_type(&value.data_type());
    let datum = scalar_datum(value, TypeWithModifier::plain(ty)).ok()?;
    as_type(datum, wanted.ty)
}

/// The same value in another type that compares alike; `None` if it has none.
pub(crate) fn as_type(datum: Datum, ty: PgType) -> Option<Datum> {
    let PgType::Scalar(scalar) = ty else { return None };
    let integer = match &datum {
        Datum::Int2(value) => Some(i64::from(*value)),
        Datum::Int4(value) => Some(i64::from(*value)),
        Datum::Int8(value) => Some(*value),
        Datum::Oid(value) => Some(i64::from(*value)),
        _ => None,
    };
    match (scalar, integer) {
        (ScalarType::Int2, Some(value)) => i16::try_from(value).ok().map(Datum::Int2),
        (ScalarType::Int4, Some(value)) => i32::try_from(value).ok().map(Datum::Int4),
        (ScalarType::Int8, Some(value)) => Some(Datum::Int8(value)),
        (ScalarType::Oid, Some(value)) => u32::try_from(value).ok().map(Datum::Oid),
        (_, Some(_)) => None,
        (ScalarType::Text | ScalarType::Varchar | ScalarType::Name | ScalarType::Char, None) => {
            matches!(datum, Datum::Text(_)).then_some(datum)
        }
        (ScalarType::Bool, None) => matches!(datum, Datum::Bool(_)).then_some(datum),
        (ScalarType::Numeric, None) => matches!(datum, Datum::Numeric(_)).then_some(datum),
        (ScalarType::Bytea, None) => matches!(datum, Datum::Bytea(_)).then_some(datum),
        (ScalarType::Date, None) => matches!(datum, Datum::Date(_)).then_some(datum),
        (ScalarType::Time, None) => matches!(datum, Datum::Time(_)).then_some(datum),
        (ScalarType::Timestamp, None) => matches!(datum, Datum::Timestamp(_)).then_some(datum),
        (ScalarType::Timestamptz, None) => matches!(datum, Datum::Timestamptz(_)).then_some(datum),
        (ScalarType::Uuid, None) => matches!(datum, Datum::Uuid(_)).then_some(datum),
        _ => None,
    }
}
