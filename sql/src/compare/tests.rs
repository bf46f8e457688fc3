//! The order of values, checked for PostgreSQL's special cases and for being an order.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use proptest::prelude::*;

use super::*;
use crate::text::parse_text;
use crate::text::tests::any_scalar;
use crate::types::{PgType, ScalarType, TypeWithModifier};

/// Checks that the texts, read as values of the type, are in ascending order.
#[track_caller]
fn ascending(ty: impl Into<PgType>, texts: &[&str]) {
    let ty = TypeWithModifier::plain(ty);
    let mut values: Vec<Datum> = texts.iter().map(|text| parse_text(text, ty).unwrap()).collect();
    values.push(Datum::Null);
    for (i, a) in values.iter().enumerate() {
        for (j, b) in values.iter().enumerate() {
            assert_eq!(compare(a, b), i.cmp(&j), "{a:?} and {b:?}");
        }
    }
}

#[test]
fn special_values_have_their_places() {
    ascending(ScalarType::Float8, &["-inf", "-1", "0", "1e300", "inf", "NaN"]);
    ascending(ScalarType::Numeric, &["-1.5", "0", "1.49", "1.5"]);
    ascending(ScalarType::Text, &["", "B", "a", "ab", "ä"]);
    ascending(ScalarType::Date, &["-infinity", "0001-01-01", "2024-01-01", "infinity"]);
    ascending(ScalarType::Interval, &["-1 day", "1 hour", "29 days 25:00:00", "1 mon 02:00:00", "1 year"]);
    ascending(ScalarType::Bool, &["f", "t"]);
    ascending(ScalarType::Bytea, &["\\x", "\\x00", "\\x01", "\\xff"]);
    ascending(ScalarType::Vector, &["[1]", "[1,2]", "[1,3]", "[2]"]);
    ascending(PgType::Array(ScalarType::Int4), &["{}", "{1}", "{1,2}", "{{1,2}}", "{1,NULL}", "{2}"]);
    ascending(
        ScalarType::Jsonb,
        &["[]", "null", "\"a\"", "\"b\"", "-1", "1.5", "10", "false", "true", "[1]", "[1, 2]", "{}", "{\"a\": 1}"],
    );
}

#[test]
fn equal_values_may_look_different() {
    for (ty, a, b) in [
        (ScalarType::Float4, "0", "-0"),
        (ScalarType::Numeric, "1.5", "1.500"),
        (ScalarType::Interval, "1 mon", "30 days"),
        (ScalarType::Jsonb, "1.0", "1"),
        (ScalarType::Vector, "[0]", "[-0]"),
    ] {
        let ty = TypeWithModifier::plain(ty);
        assert_eq!(compare(&parse_text(a, ty).unwrap(), &parse_text(b, ty).unwrap()), Ordering::Equal, "{a} and {b}");
    }
}

fn three_of_a_type() -> impl Strategy<Value = (Datum, Datum, Datum)> {
    proptest::sample::select(ScalarType::ALL.to_vec())
        .prop_flat_map(|ty| (any_scalar(ty), any_scalar(ty), any_scalar(ty)))
}

proptest! {
    #[test]
    fn the_order_is_total((a, b, c) in three_of_a_type()) {
        prop_assert_eq!(compare(&a, &a), Ordering::Equal);
        prop_assert_eq!(compare(&a, &b), compare(&b, &a).reverse());
        if compare(&a, &b).is_le() && compare(&b, &c).is_le() {
            prop_assert!(compare(&a, &c).is_le());
        }
    }
}
