//! pgvector's functions on `halfvec`.

use std::cmp::Ordering;
use std::sync::Arc;

use datafusion::arrow::array::{Array, AsArray, Float64Builder};
use datafusion::arrow::datatypes::Float16Type;
use datafusion::logical_expr::ColumnarValue;
use lodedb_sql::error::Result;
use lodedb_sql::halfvec::{self, widen};
use lodedb_sql::vector::{self, Metric};
use lodedb_sql::{Datum, ScalarType, SqlError, TypeWithModifier};

use super::definition::{Definition, function};
use super::types::{HALFVEC, INT4, TO_BIT, TO_BOOL, TO_FLOAT8, TO_HALFVEC, TO_INT4};
use super::vector::int;
use crate::query::arrow::scalar_datum;

fn at(args: &[Datum], place: usize) -> Result<&Arc<[u16]>> {
    match args.get(place) {
        Some(Datum::Halfvec(vector)) => Ok(vector),
        other => Err(SqlError::internal(format!("expected a halfvec, not {other:?}"))),
    }
}

/// Two vectors of one length, widened.
fn two(args: &[Datum]) -> Result<(Vec<f32>, Vec<f32>)> {
    let (a, b) = (at(args, 0)?, at(args, 1)?);
    halfvec::check_same_dimensions(a, b)?;
    Ok((widen(a), widen(b)))
}

fn distance(args: &[Datum], metric: Metric, sign: f64) -> Result<Datum> {
    two(args).map(|(a, b)| Datum::Float8(sign * metric.distance(&a, &b)))
}

type Combine = fn(&[u16], &[u16]) -> Result<Arc<[u16]>>;

fn combined(args: &[Datum], combine: Combine) -> Result<Datum> {
    combine(at(args, 0)?, at(args, 1)?).map(Datum::Halfvec)
}

fn order(args: &[Datum]) -> Result<Ordering> {
    Ok(halfvec::compare(at(args, 0)?, at(args, 1)?))
}

fn compared(args: &[Datum], test: fn(Ordering) -> bool) -> Result<Datum> {
    order(args).map(|order| Datum::Bool(test(order)))
}

/// The functions of this file.
pub(super) const FUNCTIONS: &[Definition] = &[
    function("l2_distance", &[HALFVEC, HALFVEC], TO_FLOAT8, |_, args| distance(args, Metric::L2, 1.0))
        .with_kernel(|_, args, rows| distances(args, rows, Metric::L2, 1.0)),
    function("cosine_distance", &[HALFVEC, HALFVEC], TO_FLOAT8, |_, args| distance(args, Metric::Cosine, 1.0))
        .with_kernel(|_, args, rows| distances(args, rows, Metric::Cosine, 1.0)),
    function("l1_distance", &[HALFVEC, HALFVEC], TO_FLOAT8, |_, args| distance(args, Metric::L1, 1.0))
        .with_kernel(|_, args, rows| distances(args, rows, Metric::L1, 1.0)),
    function("inner_product", &[HALFVEC, HALFVEC], TO_FLOAT8, |_, args| distance(args, Metric::InnerProduct, -1.0))
        .with_kernel(|_, args, rows| distances(args, rows, Metric::InnerProduct, -1.0)),
    // The operator `<#>` is planned as this function for every kind of vector.
    function("vector_negative_inner_product", &[HALFVEC, HALFVEC], TO_FLOAT8, |_, args| {
        distance(args, Metric::InnerProduct, 1.0)
    })
    .with_kernel(|_, args, rows| distances(args, rows, Metric::InnerProduct, 1.0)),
    function("halfvec_negative_inner_product", &[HALFVEC, HALFVEC], TO_FLOAT8, |_, args| {
        distance(args, Metric::InnerProduct, 1.0)
    }),
    function("halfvec_l2_squared_distance", &[HALFVEC, HALFVEC], TO_FLOAT8, |_, args| {
        two(args).map(|(a, b)| Datum::Float8(f64::from(vector::l2_squared(&a, &b))))
    }),
    function("halfvec_spherical_distance", &[HALFVEC, HALFVEC], TO_FLOAT8, |_, args| {
        two(args).map(|(a, b)| Datum::Float8(vector::spherical_distance(&a, &b)))
    }),
    function("vector_dims", &[HALFVEC], TO_INT4, |_, args| Ok(Datum::Int4(at(args, 0)?.len() as i32))),
    function("l2_norm", &[HALFVEC], TO_FLOAT8, |_, args| Ok(Datum::Float8(vector::norm(&widen(at(args, 0)?))))),
    function("l2_normalize", &[HALFVEC], TO_HALFVEC, |_, args| halfvec::l2_normalize(at(args, 0)?).map(Datum::Halfvec)),
    function("binary_quantize", &[HALFVEC], TO_BIT, |_, args| {
        Ok(Datum::Bits(vector::binary_quantize(&widen(at(args, 0)?)).into()))
    }),
    function("subvector", &[HALFVEC, INT4, INT4], TO_HALFVEC, |_, args| {
        halfvec::subvector(at(args, 0)?, int(args, 1), int(args, 2)).map(Datum::Halfvec)
    }),
    function("halfvec_add", &[HALFVEC, HALFVEC], TO_HALFVEC, |_, args| combined(args, halfvec::add)),
    function("halfvec_sub", &[HALFVEC, HALFVEC], TO_HALFVEC, |_, args| combined(args, halfvec::subtract)),
    function("halfvec_mul", &[HALFVEC, HALFVEC], TO_HALFVEC, |_, args| combined(args, halfvec::multiply)),
    function("halfvec_concat", &[HALFVEC, HALFVEC], TO_HALFVEC, |_, args| combined(args, halfvec::concat)),
    function("halfvec_lt", &[HALFVEC, HALFVEC], TO_BOOL, |_, args| compared(args, Ordering::is_lt)),
    function("halfvec_le", &[HALFVEC, HALFVEC], TO_BOOL, |_, args| compared(args, Ordering::is_le)),
    function("halfvec_eq", &[HALFVEC, HALFVEC], TO_BOOL, |_, args| compared(args, Ordering::is_eq)),
    function("halfvec_ne", &[HALFVEC, HALFVEC], TO_BOOL, |_, args| compared(args, Ordering::is_ne)),
    function("halfvec_ge", &[HALFVEC, HALFVEC], TO_BOOL, |_, args| compared(args, Ordering::is_ge)),
    function("halfvec_gt", &[HALFVEC, HALFVEC], TO_BOOL, |_, args| compared(args, Ordering::is_gt)),
    function("halfvec_cmp", &[HALFVEC, HALFVEC], TO_INT4, |_, args| Ok(Datum::Int4(order(args)? as i32))),
];

/// The distances of a column and one vector, which is widened once.
fn distances(args: &[ColumnarValue], rows: usize, metric: Metric, sign: f64) -> Result<Option<ColumnarValue>> {
    let (column, constant) = match args {
        [ColumnarValue::Array(column), ColumnarValue::Scalar(constant)]
        | [ColumnarValue::Scalar(constant), ColumnarValue::Array(column)] => (column, constant),
        _ => return Ok(None),
    };
    let Some(list) = column.as_list_opt::<i64>() else { return Ok(None) };
    let Some(values) = list.values().as_primitive_opt::<Float16Type>() else { return Ok(None) };
    let Datum::Halfvec(query) = scalar_datum(constant, TypeWithModifier::plain(ScalarType::Halfvec))? else {
        return Ok(None);
    };
    let query = widen(&query);
    let prepared = metric.prepare(&query);
    let offsets = list.value_offsets();
    let mut widened = Vec::with_capacity(query.len());
    let mut result = Float64Builder::with_capacity(rows);
    for row in 0..list.len() {
        if list.is_null(row) {
            result.append_null();
            continue;
        }
        let components = &values.values()[offsets[row] as usize..offsets[row + 1] as usize];
        if components.len() != query.len() {
            // The operands in the order they are written in.
            return Ok(None);
        }
        widened.clear();
        widened.extend(components.iter().map(|half| half.to_f32()));
        result.append_value(sign * prepared.distance(&widened));
    }
    Ok(Some(ColumnarValue::Array(Arc::new(result.finish()))))
}
