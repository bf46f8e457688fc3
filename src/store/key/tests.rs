//! Keys sort as values do.

use std::cmp::Ordering;
use std::ops::Bound;
use std::sync::Arc;

use lodedb_sql::compare::compare as order;
use lodedb_sql::datum::{ArrayDatum, Interval};
use lodedb_sql::sparsevec::SparseVector;
use lodedb_sql::{Datum, ScalarType};
use proptest::prelude::*;

use super::{encode_key, key_range, prefix_range};

fn key(datums: &[Datum]) -> Vec<u8> {
    let mut out = Vec::new();
    encode_key(datums, &mut out);
    out
}

fn numeric(text: &str) -> Datum {
    Datum::Numeric(text.parse().expect("a number"))
}

/// Numbers near one another and near powers of two as well as far apart.
fn integers() -> impl Strategy<Value = i64> {
    prop_oneof![any::<i64>(), -300i64..300, (0u32..63, -2i64..3).prop_map(|(bit, near)| (1i64 << bit) + near)]
}

fn texts() -> impl Strategy<Value = String> {
    prop_oneof!["[a-b\u{0}\u{1}]{0,4}", ".{0,6}"]
}

fn vectors() -> impl Strategy<Value = Datum> {
    let component = prop_oneof![Just(0.0f32), Just(-0.0), Just(1.0), -1e9f32..1e9];
    prop::collection::vec(component, 1..4).prop_map(|components| Datum::Vector(Arc::from(components)))
}

fn halfvecs() -> impl Strategy<Value = Datum> {
    let component = prop_oneof![Just(0u16), Just(0x8000), Just(0x3c00), 0u16..0x7c00, 0x8000u16..0xfc00];
    prop::collection::vec(component, 1..4).prop_map(|components| Datum::Halfvec(Arc::from(components)))
}

fn sparse_vectors() -> impl Strategy<Value = Datum> {
    let value = prop_oneof![Just(1.0f32), Just(-1.0), 1.0f32..9.0, -9.0f32..-1.0];
    (prop::collection::btree_map(0i64..4, value, 0..3), 4u32..6).prop_map(|(elements, dimensions)| {
        Datum::Sparsevec(SparseVector::from_elements(dimensions, elements).expect("a sparse vector").into())
    })
}

fn bits() -> impl Strategy<Value = Datum> {
    prop::collection::vec(prop_oneof![4 => Just(false), 1 => Just(true)], 0..20)
        .prop_map(|bits| Datum::Bits(Arc::new(bits.into_iter().collect())))
}

fn arrays() -> impl Strategy<Value = Datum> {
    let element = prop_oneof![Just(Datum::Null), (0i32..3).prop_map(Datum::Int4), Just(Datum::Int4(i32::MIN))];
    (prop::collection::vec(element, 0..4), -1i32..3).prop_map(|(elements, lower)| {
        let dimensions = if elements.is_empty() { Vec::new() } else { vec![(elements.len() as u32, lower)] };
        Datum::Array(Box::new(ArrayDatum { element: ScalarType::Int4, dimensions, elements }))
    })
}

/// Documents in canonical form: names and numbers few, so that many are equal in part.
fn documents() -> impl Strategy<Value = Datum> {
    let leaf = prop_oneof![
        Just("null".to_owned()),
        any::<bool>().prop_map(|value| value.to_string()),
        (-20i32..20).prop_map(|number| number.to_string()),
        (-300i32..300).prop_map(|number| format!("{:.2}", f64::from(number) / 100.0)),
        "[0-9]{77,80}".prop_map(|digits| format!("1{digits}")),
        "[ab]{0,3}".prop_map(|text| format!("\"{text}\"")),
        Just("\"a\\n\\u0001\\\"\"".to_owned()),
    ];
    let documents = leaf.prop_recursive(3, 12, 3, |inner| {
        let members = prop::collection::btree_map("[ab]{1,2}", inner.clone(), 0..3).prop_map(|members| {
            let mut members: Vec<_> = members.into_iter().collect();
            members.sort_by_key(|(name, _)| (name.len(), name.clone()));
            let members: Vec<_> = members.iter().map(|(name, value)| format!("\"{name}\": {value}")).collect();
            format!("{{{}}}", members.join(", "))
        });
        let elements = prop::collection::vec(inner, 0..3).prop_map(|elements| format!("[{}]", elements.join(", ")));
        prop_oneof![elements, members]
    });
    documents.prop_map(Datum::Jsonb)
}

/// Two values of one type, NULL among them.
fn pairs() -> impl Strategy<Value = (Datum, Datum)> {
    fn two<T: std::fmt::Debug + 'static>(
        values: impl Strategy<Value = T> + Clone + 'static,
        wrap: fn(T) -> Datum,
    ) -> BoxedStrategy<(Datum, Datum)> {
        let one = prop_oneof![9 => values.prop_map(wrap), 1 => Just(Datum::Null)].boxed();
        (one.clone(), one).boxed()
    }
    let digits = prop_oneof!["-?[0-9]{1,3}", "-?[0-9]{30,60}"];
    let decimals = (digits, -5i32..40).prop_map(|(digits, scale)| numeric(&format!("{digits}e{}", -scale)));
    let intervals = (-3i32..3, -70i32..70, -200_000_000_000i64..200_000_000_000);
    let intervals = intervals.prop_map(|(months, days, microseconds)| Interval { months, days, microseconds });
    let floats4 = prop_oneof![any::<f32>(), Just(0.0), Just(-0.0), Just(f32::NAN), Just(-f32::NAN)];
    let floats8 = prop_oneof![any::<f64>(), Just(0.0), Just(-0.0), Just(f64::NAN), Just(f64::INFINITY)];
    prop_oneof![
        two(any::<bool>(), Datum::Bool),
        two(any::<i16>(), Datum::Int2),
        two(any::<i32>(), Datum::Int4),
        two(integers().boxed(), Datum::Int8),
        two(any::<i32>(), Datum::Date),
        two(integers().boxed(), Datum::Timestamp),
        two(any::<u32>(), Datum::Oid),
        two(floats4.boxed(), Datum::Float4),
        two(floats8.boxed(), Datum::Float8),
        two(decimals.boxed(), |decimal| decimal),
        two(texts().boxed(), Datum::Text),
        two(prop::collection::vec(prop_oneof![Just(0u8), Just(255), any::<u8>()], 0..5), Datum::Bytea),
        two(intervals.boxed(), Datum::Interval),
        two(any::<[u8; 16]>(), Datum::Uuid),
        two(documents().boxed(), |document| document),
        two(vectors().boxed(), |vector| vector),
        two(halfvecs().boxed(), |vector| vector),
        two(sparse_vectors().boxed(), |vector| vector),
        two(bits().boxed(), |bits| bits),
        two(arrays().boxed(), |array| array),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn bytes_sort_as_values(first in pairs(), second in pairs()) {
        let (left, right) = ([first.0, second.0], [first.1, second.1]);
        let wanted = order(&left[0], &right[0]).then_with(|| order(&left[1], &right[1]));
        prop_assert_eq!(key(&left).cmp(&key(&right)), wanted);
    }

    #[test]
    fn no_column_is_the_start_of_another((left, right) in pairs()) {
        let (left, right) = (key(&[left]), key(&[right]));
        prop_assert!(left == right || !left.starts_with(&right));
    }

    #[test]
    fn ranges_select_what_comparisons_do(first in pairs(), second in pairs(), included: (bool, bool)) {
        // Of two columns the first is given and the second lies between bounds.
        let (equal, value) = (first.0.clone(), second.0.clone());
        let (mut low, mut high) = second;
        if order(&low, &high) == Ordering::Greater {
            std::mem::swap(&mut low, &mut high);
        }
        let bound = |datum, included| if included { Bound::Included(datum) } else { Bound::Excluded(datum) };
        let (from, to) = key_range(std::slice::from_ref(&equal), bound(&low, included.0), bound(&high, included.1));
        let inside = |key: &Vec<u8>| {
            let above = match &from {
                Bound::Included(from) => key >= from,
                Bound::Excluded(from) => key > from,
                Bound::Unbounded => true,
            };
            let below = match &to {
                Bound::Included(to) => key <= to,
                Bound::Excluded(to) => key < to,
                Bound::Unbounded => true,
            };
            above && below
        };
        let known = !value.is_null() && !low.is_null() && !high.is_null();
        let above = order(&value, &low).is_gt() || included.0 && order(&value, &low).is_eq();
        let below = order(&value, &high).is_lt() || included.1 && order(&value, &high).is_eq();
        prop_assert_eq!(inside(&key(&[equal.clone(), value.clone(), Datum::Int4(7)])), known && above && below);
        let other = order(&first.1, &equal).is_eq();
        prop_assert_eq!(inside(&key(&[first.1, value, Datum::Null])), other && known && above && below);
    }
}

#[test]
fn equal_values_have_equal_keys() {
    assert_eq!(key(&[numeric("1.50")]), key(&[numeric("1.5")]));
    assert_eq!(key(&[numeric("100")]), key(&[numeric("1e2")]));
    assert_eq!(key(&[numeric("0.000")]), key(&[numeric("0")]));
    assert_eq!(key(&[Datum::Float8(-0.0)]), key(&[Datum::Float8(0.0)]));
    assert_eq!(key(&[Datum::Int2(-7)]), key(&[Datum::Int8(-7)]));
    let (month, days) =
        (Interval { months: 1, days: 0, microseconds: 0 }, Interval { months: 0, days: 30, microseconds: 0 });
    assert_eq!(key(&[Datum::Interval(month)]), key(&[Datum::Interval(days)]));
    assert_eq!(key(&[Datum::Jsonb("{\"a\": 1, \"b\": 2}".into())]), key(&[Datum::Jsonb("{\"b\":2,\"a\":1.0}".into())]));
}

#[test]
fn documents_sort_as_in_postgresql() {
    let ascending = [
        "[]",
        "null",
        "\"\"",
        "\"a\"",
        "\"b\"",
        "-1",
        "2",
        "10",
        "1e3",
        "false",
        "true",
        "[5]",
        "[6]",
        "[1, 2]",
        "{}",
        "{\"a\": 1}",
        "{\"b\": 0}",
        "{\"aa\": 0}",
        "{\"a\": 1, \"b\": 1}",
    ];
    let keys: Vec<_> = ascending.iter().map(|text| key(&[Datum::Jsonb((*text).into())])).collect();
    for (place, pair) in keys.windows(2).enumerate() {
        assert!(pair[0] < pair[1], "{} before {}", ascending[place], ascending[place + 1]);
    }
}

#[test]
fn null_can_be_looked_for() {
    let (from, to) = key_range(&[Datum::Null], Bound::Unbounded, Bound::Unbounded);
    let null = key(&[Datum::Null, Datum::Int4(1)]);
    assert_eq!(prefix_range(&key(&[Datum::Null])), (from.clone(), to.clone()));
    assert!(matches!(from, Bound::Included(from) if from <= null));
    assert!(matches!(to, Bound::Excluded(to) if null < to));
}
