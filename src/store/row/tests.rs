//! Rows come back as they were, and damage is reported.

use std::sync::Arc;

use lodedb_sql::datum::{ArrayDatum, Interval};
use lodedb_sql::sparsevec::SparseVector;
use lodedb_sql::{Datum, ScalarType};
use proptest::prelude::*;

use super::{Layout, ValueRef, decode, encode, view};
use crate::store::StoreError;

fn encoded(version: u64, values: &[Datum]) -> Vec<u8> {
    let mut out = Vec::new();
    encode(version, values.iter(), &mut out);
    out
}

fn scalars() -> BoxedStrategy<Datum> {
    let numerics = ("-?[0-9]{1,70}", -20i64..20);
    let intervals = any::<(i32, i32, i64)>();
    prop_oneof![
        Just(Datum::Null),
        any::<bool>().prop_map(Datum::Bool),
        any::<i16>().prop_map(Datum::Int2),
        any::<i32>().prop_map(Datum::Int4),
        any::<i64>().prop_map(Datum::Int8),
        (-1e9f32..1e9).prop_map(Datum::Float4),
        (-1e9f64..1e9).prop_map(Datum::Float8),
        numerics.prop_map(|(digits, e)| Datum::Numeric(format!("{digits}e{e}").parse().expect("a number"))),
        ".{0,12}".prop_map(Datum::Text),
        prop::collection::vec(any::<u8>(), 0..12).prop_map(Datum::Bytea),
        any::<i32>().prop_map(Datum::Date),
        any::<i64>().prop_map(Datum::Time),
        any::<i64>().prop_map(Datum::Timestamp),
        any::<i64>().prop_map(Datum::Timestamptz),
        intervals.prop_map(|(months, days, microseconds)| Datum::Interval(Interval { months, days, microseconds })),
        any::<[u8; 16]>().prop_map(Datum::Uuid),
        ".{0,12}".prop_map(Datum::Jsonb),
        any::<u32>().prop_map(Datum::Oid),
        prop::collection::vec(-1f32..1.0, 1..5).prop_map(|components| Datum::Vector(Arc::from(components))),
        prop::collection::vec(any::<u16>(), 1..5).prop_map(|components| Datum::Halfvec(Arc::from(components))),
        prop::collection::btree_map(0i64..9, 1f32..2.0, 0..4).prop_map(|elements| {
            Datum::Sparsevec(SparseVector::from_elements(9, elements).expect("a sparse vector").into())
        }),
        prop::collection::vec(any::<bool>(), 0..20).prop_map(|bits| Datum::Bits(Arc::new(bits.into_iter().collect()))),
    ]
    .boxed()
}

fn values() -> BoxedStrategy<Datum> {
    let array = prop::collection::vec(scalars(), 0..5).prop_map(|elements| {
        let dimensions = if elements.is_empty() { Vec::new() } else { vec![(elements.len() as u32, 1)] };
        Datum::Array(Box::new(ArrayDatum { element: ScalarType::Text, dimensions, elements }))
    });
    prop_oneof![8 => scalars(), 1 => array].boxed()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn rows_come_back(version: u64, values in prop::collection::vec(values(), 0..12)) {
        let row = decode(&encoded(version, &values)).expect("decodes");
        prop_assert_eq!(row.version, version);
        prop_assert_eq!(row.values, values);
    }

    #[test]
    fn a_shared_layout_reads_every_row_right(rows in prop::collection::vec(prop::collection::vec(values(), 0..4), 1..8)) {
        let mut layout = Layout::default();
        for values in rows {
            let bytes = encoded(1, &values);
            let view = view(&bytes, &mut layout).expect("a row");
            prop_assert_eq!(view.len(), values.len());
            for (column, value) in values.iter().enumerate().rev() {
                let stored = view.column(column).expect("a value").map(ValueRef::into_datum);
                prop_assert_eq!(stored.as_ref(), Some(value));
            }
            prop_assert_eq!(view.column(values.len()).expect("no error"), None);
        }
    }

    #[test]
    fn any_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
        let _ = decode(&bytes);
    }

    #[test]
    fn a_damaged_row_is_survived(
        values in prop::collection::vec(values(), 0..8),
        place: prop::sample::Index,
        byte: u8,
        cut: prop::sample::Index,
    ) {
        let mut bytes = encoded(9, &values);
        let place = place.index(bytes.len());
        bytes[place] = byte;
        let _ = decode(&bytes);
        bytes.truncate(cut.index(bytes.len()));
        let _ = decode(&bytes);
    }
}

#[test]
fn a_layout_survives_a_row_of_unknown_kind() {
    let mut layout = Layout::default();
    let mut bytes = encoded(1, &[Datum::Int4(1), Datum::Text("x".into())]);
    assert!(view(&bytes, &mut layout).is_ok());
    bytes[super::HEADER_LEN] = 200;
    assert!(matches!(view(&bytes, &mut layout), Err(StoreError::Damaged(_))));
    let empty = encoded(1, &[]);
    assert_eq!(view(&empty, &mut layout).expect("a row").len(), 0);
}

#[test]
fn a_newer_format_is_refused() {
    let mut bytes = encoded(1, &[Datum::Int4(1)]);
    bytes[0] = 2;
    assert!(matches!(decode(&bytes), Err(StoreError::Damaged(_))));
}

#[test]
fn the_bytes_of_a_row_stay_what_they_are() {
    let bytes = encoded(258, &[Datum::Int4(7), Datum::Null, Datum::Text("ab".into()), Datum::Bool(true)]);
    let wanted = [1, 2, 1, 0, 0, 0, 0, 0, 0, 4, 0, 4, 0, 11, 2, 7, 0, 0, 0, 2, 0, 0, 0, b'a', b'b'];
    assert_eq!(bytes, wanted);
}
