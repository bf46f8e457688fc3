//! pgvector's functions on `sparsevec`.

use std::cmp::Ordering;

use lodedb_sql::error::Result;
use lodedb_sql::sparsevec::{self, SparseVector};
use lodedb_sql::vector::Metric;
use lodedb_sql::{Datum, SqlError};

use super::definition::{Definition, function};
use super::types::{SPARSEVEC, TO_BOOL, TO_FLOAT8, TO_INT4, TO_SPARSEVEC};

fn at(args: &[Datum], place: usize) -> Result<&SparseVector> {
    match args.get(place) {
        Some(Datum::Sparsevec(vector)) => Ok(vector),
        other => Err(SqlError::internal(format!("expected a sparsevec, not {other:?}"))),
    }
}

fn two(args: &[Datum]) -> Result<(&SparseVector, &SparseVector)> {
    let (a, b) = (at(args, 0)?, at(args, 1)?);
    sparsevec::check_same_dimensions(a, b)?;
    Ok((a, b))
}

fn distance(args: &[Datum], metric: Metric, sign: f64) -> Result<Datum> {
    two(args).map(|(a, b)| Datum::Float8(sign * a.distance(b, metric)))
}

fn order(args: &[Datum]) -> Result<Ordering> {
    Ok(sparsevec::compare(at(args, 0)?, at(args, 1)?))
}

fn compared(args: &[Datum], test: fn(Ordering) -> bool) -> Result<Datum> {
    order(args).map(|order| Datum::Bool(test(order)))
}

const TWO: &[super::definition::Parameter] = &[SPARSEVEC, SPARSEVEC];

/// The functions of this file.
pub(super) const FUNCTIONS: &[Definition] = &[
    function("l2_distance", TWO, TO_FLOAT8, |_, args| distance(args, Metric::L2, 1.0)),
    function("cosine_distance", TWO, TO_FLOAT8, |_, args| distance(args, Metric::Cosine, 1.0)),
    function("l1_distance", TWO, TO_FLOAT8, |_, args| distance(args, Metric::L1, 1.0)),
    function("inner_product", TWO, TO_FLOAT8, |_, args| distance(args, Metric::InnerProduct, -1.0)),
    // The operator `<#>` is planned as this function for every kind of vector.
    function("vector_negative_inner_product", TWO, TO_FLOAT8, |_, args| distance(args, Metric::InnerProduct, 1.0)),
    function("sparsevec_negative_inner_product", TWO, TO_FLOAT8, |_, args| distance(args, Metric::InnerProduct, 1.0)),
    function("sparsevec_l2_squared_distance", TWO, TO_FLOAT8, |_, args| {
        two(args).map(|(a, b)| Datum::Float8(f64::from(a.l2_squared(b))))
    }),
    function("l2_norm", &[SPARSEVEC], TO_FLOAT8, |_, args| Ok(Datum::Float8(at(args, 0)?.norm()))),
    function("l2_normalize", &[SPARSEVEC], TO_SPARSEVEC, |_, args| {
        Ok(Datum::Sparsevec(at(args, 0)?.l2_normalize()?.into()))
    }),
    function("sparsevec_lt", TWO, TO_BOOL, |_, args| compared(args, Ordering::is_lt)),
    function("sparsevec_le", TWO, TO_BOOL, |_, args| compared(args, Ordering::is_le)),
    function("sparsevec_eq", TWO, TO_BOOL, |_, args| compared(args, Ordering::is_eq)),
    function("sparsevec_ne", TWO, TO_BOOL, |_, args| compared(args, Ordering::is_ne)),
    function("sparsevec_ge", TWO, TO_BOOL, |_, args| compared(args, Ordering::is_ge)),
    function("sparsevec_gt", TWO, TO_BOOL, |_, args| compared(args, Ordering::is_gt)),
    function("sparsevec_cmp", TWO, TO_INT4, |_, args| Ok(Datum::Int4(order(args)? as i32))),
];
