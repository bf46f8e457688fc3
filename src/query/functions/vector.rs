//! pgvector's functions on `vector`.

use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, Float32Array, Float64Builder, LargeListArray};
use datafusion::arrow::datatypes::{DataType, Float32Type};
use datafusion::common::ScalarValue;
use datafusion::logical_expr::ColumnarValue;
use lodedb_sql::error::Result;
use lodedb_sql::vector::{self, Metric};
use lodedb_sql::{Datum, SqlError};

use super::definition::{Definition, function};
use super::types::{INT4, TO_BIT, TO_BOOL, TO_FLOAT8, TO_INT4, TO_VECTOR, VECTOR};

fn one(args: &[Datum]) -> Result<&Arc<[f32]>> {
    at(args, 0)
}

fn at(args: &[Datum], place: usize) -> Result<&Arc<[f32]>> {
    match args.get(place) {
        Some(Datum::Vector(vector)) => Ok(vector),
        other => Err(SqlError::internal(format!("expected a vector, not {other:?}"))),
    }
}

fn two(args: &[Datum]) -> Result<(&[f32], &[f32])> {
    let (a, b) = (at(args, 0)?, at(args, 1)?);
    vector::check_same_dimensions(a, b)?;
    Ok((a, b))
}

/// An integer among the arguments.
pub(super) fn int(args: &[Datum], place: usize) -> i32 {
    match args.get(place) {
        Some(Datum::Int4(value)) => *value,
        _ => -1,
    }
}

fn compared(args: &[Datum], test: fn(std::cmp::Ordering) -> bool) -> Result<Datum> {
    Ok(Datum::Bool(test(vector::compare(at(args, 0)?, at(args, 1)?))))
}

/// The functions of this file.
pub(super) const FUNCTIONS: &[Definition] = &[
    function("l2_distance", &[VECTOR, VECTOR], TO_FLOAT8, |_, args| {
        two(args).map(|(a, b)| Datum::Float8(Metric::L2.distance(a, b)))
    })
    .with_kernel(|_, args, rows| distances(args, rows, Metric::L2, 1.0)),
    function("cosine_distance", &[VECTOR, VECTOR], TO_FLOAT8, |_, args| {
        two(args).map(|(a, b)| Datum::Float8(Metric::Cosine.distance(a, b)))
    })
    .with_kernel(|_, args, rows| distances(args, rows, Metric::Cosine, 1.0)),
    function("l1_distance", &[VECTOR, VECTOR], TO_FLOAT8, |_, args| {
        two(args).map(|(a, b)| Datum::Float8(Metric::L1.distance(a, b)))
    })
    .with_kernel(|_, args, rows| distances(args, rows, Metric::L1, 1.0)),
    function("vector_negative_inner_product", &[VECTOR, VECTOR], TO_FLOAT8, |_, args| {
        two(args).map(|(a, b)| Datum::Float8(Metric::InnerProduct.distance(a, b)))
    })
    .with_kernel(|_, args, rows| distances(args, rows, Metric::InnerProduct, 1.0)),
    function("inner_product", &[VECTOR, VECTOR], TO_FLOAT8, |_, args| {
        two(args).map(|(a, b)| Datum::Float8(-Metric::InnerProduct.distance(a, b)))
    })
    .with_kernel(|_, args, rows| distances(args, rows, Metric::InnerProduct, -1.0)),
    function("vector_l2_squared_distance", &[VECTOR, VECTOR], TO_FLOAT8, |_, args| {
        two(args).map(|(a, b)| Datum::Float8(f64::from(vector::l2_squared(a, b))))
    }),
    function("vector_spherical_distance", &[VECTOR, VECTOR], TO_FLOAT8, |_, args| {
        two(args).map(|(a, b)| Datum::Float8(vector::spherical_distance(a, b)))
    }),
    function("vector_dims", &[VECTOR], TO_INT4, |_, args| Ok(Datum::Int4(one(args)?.len() as i32))),
    function("vector_norm", &[VECTOR], TO_FLOAT8, |_, args| Ok(Datum::Float8(vector::norm(one(args)?)))),
    function("l2_norm", &[VECTOR], TO_FLOAT8, |_, args| Ok(Datum::Float8(vector::norm(one(args)?)))),
    function("l2_normalize", &[VECTOR], TO_VECTOR, |_, args| vector::l2_normalize(one(args)?).map(Datum::Vector)),
    function("binary_quantize", &[VECTOR], TO_BIT, |_, args| {
        Ok(Datum::Bits(vector::binary_quantize(one(args)?).into()))
    }),
    function("subvector", &[VECTOR, INT4, INT4], TO_VECTOR, |_, args| {
        vector::subvector(one(args)?, int(args, 1), int(args, 2)).map(Datum::Vector)
    }),
    function("vector_add", &[VECTOR, VECTOR], TO_VECTOR, |_, args| {
        two(args).and_then(|(a, b)| vector::add(a, b)).map(Datum::Vector)
    }),
    function("vector_sub", &[VECTOR, VECTOR], TO_VECTOR, |_, args| {
        two(args).and_then(|(a, b)| vector::subtract(a, b)).map(Datum::Vector)
    }),
    function("vector_mul", &[VECTOR, VECTOR], TO_VECTOR, |_, args| {
        two(args).and_then(|(a, b)| vector::multiply(a, b)).map(Datum::Vector)
    }),
    function("vector_concat", &[VECTOR, VECTOR], TO_VECTOR, |_, args| {
        vector::concat(at(args, 0)?, at(args, 1)?).map(Datum::Vector)
    }),
    function("vector_lt", &[VECTOR, VECTOR], TO_BOOL, |_, args| compared(args, |order| order.is_lt())),
    function("vector_le", &[VECTOR, VECTOR], TO_BOOL, |_, args| compared(args, |order| order.is_le())),
    function("vector_eq", &[VECTOR, VECTOR], TO_BOOL, |_, args| compared(args, |order| order.is_eq())),
    function("vector_ne", &[VECTOR, VECTOR], TO_BOOL, |_, args| compared(args, |order| order.is_ne())),
    function("vector_ge", &[VECTOR, VECTOR], TO_BOOL, |_, args| compared(args, |order| order.is_ge())),
    function("vector_gt", &[VECTOR, VECTOR], TO_BOOL, |_, args| compared(args, |order| order.is_gt())),
    function("vector_cmp", &[VECTOR, VECTOR], TO_INT4, |_, args| {
        Ok(Datum::Int4(vector::compare(at(args, 0)?, at(args, 1)?) as i32))
    }),
];

/// The vectors of an argument: one for all rows, or a column.
enum Vectors<'a> {
    One(Option<ArrayRef>),
    Column(&'a LargeListArray, &'a Float32Array),
}

impl<'a> Vectors<'a> {
    fn new(arg: &'a ColumnarValue) -> Option<Self> {
        match arg {
            ColumnarValue::Scalar(ScalarValue::LargeList(list)) if *list.values().data_type() == DataType::Float32 => {
                Some(Self::One((!list.is_null(0)).then(|| list.value(0))))
            }
            ColumnarValue::Array(array) => {
                let list = array.as_list_opt::<i64>()?;
                Some(Self::Column(list, list.values().as_primitive_opt::<Float32Type>()?))
            }
            ColumnarValue::Scalar(_) => None,
        }
    }

    fn get(&self, row: usize) -> Option<&[f32]> {
        match self {
            Self::One(vector) => vector.as_ref().map(|vector| vector.as_primitive::<Float32Type>().values().as_ref()),
            Self::Column(list, values) => (!list.is_null(row)).then(|| {
                let offsets = list.value_offsets();
                &values.values()[offsets[row] as usize..offsets[row + 1] as usize]
            }),
        }
    }
}

/// The distances of two columns, or of a column and one vector.
fn distances(args: &[ColumnarValue], rows: usize, metric: Metric, sign: f64) -> Result<Option<ColumnarValue>> {
    let [a, b] = args else { return Ok(None) };
    let (Some(a), Some(b)) = (Vectors::new(a), Vectors::new(b)) else { return Ok(None) };
    if let (Vectors::One(_), Vectors::One(_)) = (&a, &b) {
        return Ok(None);
    }
    let mut result = Float64Builder::with_capacity(rows);
    let check = |a: &[f32], b: &[f32]| {
        if a.len() == b.len() { Ok(()) } else { vector::check_same_dimensions(a, b) }
    };
    if let Vectors::One(None) = &b {
        return Ok(Some(ColumnarValue::Scalar(ScalarValue::Float64(None))));
    }
    match &b {
        Vectors::One(Some(query)) => {
            let query: &[f32] = query.as_primitive::<Float32Type>().values();
            let prepared = metric.prepare(query);
            for row in 0..rows {
                match a.get(row) {
                    Some(vector) => {
                        check(vector, query)?;
                        result.append_value(sign * prepared.distance(vector));
                    }
                    None => result.append_null(),
                }
            }
        }
        _ => {
            for row in 0..rows {
                match (a.get(row), b.get(row)) {
                    (Some(a), Some(b)) => {
                        check(a, b)?;
                        result.append_value(sign * metric.distance(a, b));
                    }
                    _ => result.append_null(),
                }
            }
        }
    }
    Ok(Some(ColumnarValue::Array(Arc::new(result.finish()))))
}
