//! The order of values of one type, as PostgreSQL's btree operator classes have it.

use std::cmp::Ordering;

use crate::datum::{ArrayDatum, Datum, Interval};
use crate::text::json::{self, Json};
use crate::text::number;
use crate::{bits, halfvec, sparsevec, vector};

#[cfg(test)]
mod tests;

/// Orders two values of one type: NaN after every number, NULL after everything, text by its bytes (the C collation).
///
/// Values of two types compare by the kind of value they are, so the order is total; no statement asks for that.
pub fn compare(a: &Datum, b: &Datum) -> Ordering {
    match (a, b) {
        (Datum::Null, Datum::Null) => Ordering::Equal,
        (Datum::Null, _) => Ordering::Greater,
        (_, Datum::Null) => Ordering::Less,
        (Datum::Bool(a), Datum::Bool(b)) => a.cmp(b),
        (Datum::Int2(a), Datum::Int2(b)) => a.cmp(b),
        (Datum::Int4(a), Datum::Int4(b)) => a.cmp(b),
        (Datum::Int8(a), Datum::Int8(b)) => a.cmp(b),
        (Datum::Float4(a), Datum::Float4(b)) => compare_floats(f64::from(*a), f64::from(*b)),
        (Datum::Float8(a), Datum::Float8(b)) => compare_floats(*a, *b),
        (Datum::Numeric(a), Datum::Numeric(b)) => a.cmp(b),
        (Datum::Text(a), Datum::Text(b)) => a.as_bytes().cmp(b.as_bytes()),
        (Datum::Bytea(a), Datum::Bytea(b)) => a.cmp(b),
        (Datum::Date(a), Datum::Date(b)) => a.cmp(b),
        (Datum::Time(a), Datum::Time(b))
        | (Datum::Timestamp(a), Datum::Timestamp(b))
        | (Datum::Timestamptz(a), Datum::Timestamptz(b)) => a.cmp(b),
        (Datum::Interval(a), Datum::Interval(b)) => interval_key(*a).cmp(&interval_key(*b)),
        (Datum::Uuid(a), Datum::Uuid(b)) => a.cmp(b),
        (Datum::Jsonb(a), Datum::Jsonb(b)) => compare_jsonb(a, b),
        (Datum::Oid(a), Datum::Oid(b)) => a.cmp(b),
        (Datum::Vector(a), Datum::Vector(b)) => vector::compare(a, b),
        (Datum::Array(a), Datum::Array(b)) => compare_arrays(a, b),
        (Datum::Halfvec(a), Datum::Halfvec(b)) => halfvec::compare(a, b),
        (Datum::Sparsevec(a), Datum::Sparsevec(b)) => sparsevec::compare(a, b),
        (Datum::Bits(a), Datum::Bits(b)) => bits::compare(a, b),
        _ => kind(a).cmp(&kind(b)),
    }
}

/// The order of floats: -0 equals 0, NaN equals NaN and comes last.
pub fn compare_floats(a: f64, b: f64) -> Ordering {
    a.partial_cmp(&b).unwrap_or_else(|| a.is_nan().cmp(&b.is_nan()))
}

/// An interval as microseconds, with months of 30 days and days of 24 hours.
pub(crate) fn interval_key(value: Interval) -> i128 {
    (i128::from(value.months) * 30 + i128::from(value.days)) * 86_400_000_000 + i128::from(value.microseconds)
}

/// Elements in turn, then the number of elements, then the shape.
fn compare_arrays(a: &ArrayDatum, b: &ArrayDatum) -> Ordering {
    a.elements
        .iter()
        .zip(&b.elements)
        .map(|(x, y)| compare(x, y))
        .find(|order| order.is_ne())
        .unwrap_or_else(|| a.elements.len().cmp(&b.elements.len()))
        .then_with(|| a.dimensions.len().cmp(&b.dimensions.len()))
        .then_with(|| a.dimensions.cmp(&b.dimensions))
}

fn compare_jsonb(a: &str, b: &str) -> Ordering {
    if a == b {
        return Ordering::Equal;
    }
    match (json::parse(a), json::parse(b)) {
        (Ok(a), Ok(b)) => {
            // An empty array at the top comes before everything, as it always has in PostgreSQL.
            let empty = |json: &Json| matches!(json, Json::Array(elements) if elements.is_empty());
            empty(&b).cmp(&empty(&a)).then_with(|| compare_json(&a, &b))
        }
        _ => a.cmp(b),
    }
}

fn compare_json(a: &Json, b: &Json) -> Ordering {
    match (a, b) {
        (Json::Bool(a), Json::Bool(b)) => a.cmp(b),
        (Json::Number(a), Json::Number(b)) => compare_json_numbers(a, b),
        (Json::String(a), Json::String(b)) => a.as_bytes().cmp(b.as_bytes()),
        (Json::Array(a), Json::Array(b)) => a.len().cmp(&b.len()).then_with(|| {
            a.iter().zip(b).map(|(x, y)| compare_json(x, y)).find(|order| order.is_ne()).unwrap_or(Ordering::Equal)
        }),
        (Json::Object(a), Json::Object(b)) => a.len().cmp(&b.len()).then_with(|| {
            a.iter()
                .zip(b)
                .map(|((k, x), (l, y))| (k.len(), k).cmp(&(l.len(), l)).then_with(|| compare_json(x, y)))
                .find(|order| order.is_ne())
                .unwrap_or(Ordering::Equal)
        }),
        _ => json_rank(a).cmp(&json_rank(b)),
    }
}

fn json_rank(json: &Json) -> u8 {
    match json {
        Json::Null => 0,
        Json::String(_) => 1,
        Json::Number(_) => 2,
        Json::Bool(_) => 3,
        Json::Array(_) => 4,
        Json::Object(_) => 5,
    }
}

/// Numbers of any length, compared by their digits.
fn compare_json_numbers(a: &str, b: &str) -> Ordering {
    if let (Ok(a), Ok(b)) = (number::parse_numeric(a), number::parse_numeric(b)) {
        return a.cmp(&b);
    }
    let split = |text: &str| {
        let negative = text.starts_with('-');
        let (whole, fraction) = text.trim_start_matches('-').split_once('.').map_or_else(
            || (text.trim_start_matches('-').to_owned(), String::new()),
            |(whole, fraction)| (whole.to_owned(), fraction.trim_end_matches('0').to_owned()),
        );
        (negative, whole, fraction)
    };
    let ((a_negative, a_whole, a_fraction), (b_negative, b_whole, b_fraction)) = (split(a), split(b));
    if a_negative != b_negative {
        return b_negative.cmp(&a_negative);
    }
    let order =
        a_whole.len().cmp(&b_whole.len()).then_with(|| a_whole.cmp(&b_whole)).then_with(|| a_fraction.cmp(&b_fraction));
    if a_negative { order.reverse() } else { order }
}

fn kind(datum: &Datum) -> u8 {
    match datum {
        Datum::Bool(_) => 0,
        Datum::Int2(_) => 1,
        Datum::Int4(_) => 2,
        Datum::Int8(_) => 3,
        Datum::Float4(_) => 4,
        Datum::Float8(_) => 5,
        Datum::Numeric(_) => 6,
        Datum::Text(_) => 7,
        Datum::Bytea(_) => 8,
        Datum::Date(_) => 9,
        Datum::Time(_) => 10,
        Datum::Timestamp(_) => 11,
        Datum::Timestamptz(_) => 12,
        Datum::Interval(_) => 13,
        Datum::Uuid(_) => 14,
        Datum::Jsonb(_) => 15,
        Datum::Oid(_) => 16,
        Datum::Vector(_) => 17,
        Datum::Array(_) => 18,
        Datum::Halfvec(_) => 19,
        Datum::Sparsevec(_) => 20,
        Datum::Bits(_) => 21,
        Datum::Null => 22,
    }
}
