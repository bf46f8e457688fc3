//! Casts against a table taken from PostgreSQL, and their contexts.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use proptest::prelude::*;

use super::*;
use crate::text::tests::any_value;
use CastContext::{Assignment, Explicit, Implicit};

fn berlin() -> CastEnvironment {
    CastEnvironment { zone: Tz::Europe__Berlin, now_us: 0 }
}

fn outcome(from: PgType, text: &str, to: TypeWithModifier, context: CastContext) -> String {
    let environment = berlin();
    let datum = parse_text_in(text, TypeWithModifier::plain(from), &environment).unwrap();
    match cast(datum, from, to, context, &environment) {
        Ok(datum) => to_text(&datum, to.ty, environment.zone),
        Err(error) => format!("{}: {}", error.state().code(), error.message()),
    }
}

#[test]
fn what_zones_clocks_and_catalogs_have_no_part_in() {
    use ScalarType as T;
    for (from, to, expected) in [
        (T::Int4, T::Text, true),
        (T::Text, T::Int4, true),
        (T::Float8, T::Varchar, true),
        (T::Text, T::Jsonb, true),
        (T::Text, T::Vector, true),
        (T::Time, T::Text, true),
        (T::Text, T::Time, false),
        (T::Interval, T::Text, true),
        (T::Text, T::Interval, false),
        (T::Date, T::Text, false),
        (T::Text, T::Date, false),
        (T::Timestamp, T::Text, false),
        (T::Timestamp, T::Date, true),
        (T::Date, T::Timestamp, true),
        (T::Timestamp, T::Timestamptz, false),
        (T::Date, T::Timestamptz, false),
        (T::Timestamptz, T::Date, false),
        (T::Timestamptz, T::Timestamptz, true),
        (T::Oid, T::Regclass, true),
        (T::Text, T::Regclass, false),
        (T::Regclass, T::Text, false),
    ] {
        assert_eq!(is_immutable(PgType::Scalar(from), PgType::Scalar(to)), expected, "{from:?} to {to:?}");
    }
    let array = PgType::Array;
    assert!(is_immutable(array(T::Int4), array(T::Text)) && !is_immutable(array(T::Date), array(T::Text)));
    assert!(is_immutable(array(T::Float4), PgType::Scalar(T::Vector)));
    assert!(!is_immutable(array(T::Int4), PgType::Scalar(T::Text)));
    assert!(!is_immutable(PgType::Scalar(T::Text), array(T::Int4)));
}

#[test]
fn scalars_convert_as_in_postgresql() {
    use ScalarType as T;
    for (from, text, to, expected) in [
        (T::Float8, "2.5", T::Int4, "2"),
        (T::Float8, "3.5", T::Int4, "4"),
        (T::Float8, "-2.5", T::Int4, "-2"),
        (T::Float8, "1e10", T::Int4, "22003: integer out of range"),
        (T::Float8, "NaN", T::Int8, "22003: bigint out of range"),
        (T::Float8, "9223372036854775808", T::Int8, "22003: bigint out of range"),
        (T::Float8, "-9223372036854775808", T::Int8, "-9223372036854775808"),
        (T::Float8, "1e300", T::Float4, "22003: value out of range: overflow"),
        (T::Float8, "1e-300", T::Float4, "22003: value out of range: underflow"),
        (T::Float8, "0.1", T::Numeric, "0.1"),
        (T::Float4, "0.1", T::Numeric, "0.1"),
        (T::Float4, "0.1", T::Float8, "0.10000000149011612"),
        (T::Float8, "1e-300", T::Numeric, "0"),
        (T::Numeric, "2.5", T::Int4, "3"),
        (T::Numeric, "-2.5", T::Int4, "-3"),
        (T::Numeric, "40000", T::Int2, "22003: smallint out of range"),
        (T::Numeric, "1e30", T::Int8, "22003: bigint out of range"),
        (T::Int4, "70000", T::Int2, "22003: smallint out of range"),
        (T::Int4, "5", T::Bool, "t"),
        (T::Bool, "t", T::Int4, "1"),
        (T::Bool, "t", T::Text, "true"),
        (T::Int4, "-1", T::Oid, "4294967295"),
        (T::Text, " 12 ", T::Int4, "12"),
        (T::Text, "x", T::Int4, "22P02: invalid input syntax for type integer: \"x\""),
        (T::Date, "2024-07-02", T::Timestamptz, "2024-07-02 00:00:00+02"),
        (T::Timestamptz, "2024-07-01 23:30:00+00", T::Date, "2024-07-02"),
        (T::Timestamptz, "2024-07-01 23:30:00+00", T::Time, "01:30:00"),
        (T::Timestamp, "infinity", T::Date, "infinity"),
        (T::Date, "5874897-12-31", T::Timestamp, "22008: date out of range for timestamp"),
        (T::Interval, "1 day -01:00:00", T::Time, "23:00:00"),
        (T::Jsonb, "1.5", T::Int4, "2"),
        (T::Jsonb, "\"x\"", T::Int4, "22023: cannot cast jsonb string to type integer"),
        (T::Json, "{\"b\":1}", T::Jsonb, "{\"b\": 1}"),
        (T::Date, "2024-07-02", T::Int4, "42846: cannot cast type date to integer"),
        (T::Regtype, "int4", T::Text, "integer"),
    ] {
        let found = outcome(from.into(), text, TypeWithModifier::plain(to), Explicit);
        assert_eq!(found, expected, "{text} from {} to {}", from.sql_name(), to.sql_name());
    }
}

#[test]
fn an_explicit_cast_cuts_and_an_assignment_refuses() {
    let three = TypeWithModifier { ty: ScalarType::Varchar.into(), modifier: 7 };
    let text = PgType::from(ScalarType::Text);
    assert_eq!(outcome(text, "abcd", three, Explicit), "abc");
    assert_eq!(outcome(text, "abcd", three, Assignment), "22001: value too long for type character varying(3)");
    assert_eq!(outcome(text, "abc  ", three, Assignment), "abc");
    assert_eq!(outcome(ScalarType::Int4.into(), "1234", three, Explicit), "123");
    let padded = TypeWithModifier { ty: ScalarType::Bpchar.into(), modifier: 9 };
    assert_eq!(outcome(text, "ab", padded, Assignment), "ab   ");
    assert_eq!(outcome(ScalarType::Bpchar.into(), "ab   ", TypeWithModifier::plain(text), Implicit), "ab");
}

#[test]
fn arrays_and_vectors_become_each_other() {
    let vector = TypeWithModifier::plain(ScalarType::Vector);
    let two = TypeWithModifier { ty: ScalarType::Vector.into(), modifier: 2 };
    for (element, text, to, expected) in [
        (ScalarType::Int4, "{1,2}", vector, "[1,2]"),
        (ScalarType::Float8, "{1.5,2}", two, "[1.5,2]"),
        (ScalarType::Numeric, "{1.5,2}", vector, "[1.5,2]"),
        (ScalarType::Float4, "{1,2,3}", two, "22000: expected 2 dimensions, not 3"),
        (ScalarType::Float4, "{}", vector, "22000: vector must have at least 1 dimension"),
        (ScalarType::Float4, "{{1,2}}", vector, "22000: array must be 1-D"),
        (ScalarType::Float4, "{1,NULL}", vector, "22004: array must not contain nulls"),
        (ScalarType::Float8, "{NaN}", vector, "22000: NaN not allowed in vector"),
        (ScalarType::Float8, "{1e300}", vector, "22000: infinite value not allowed in vector"),
        (ScalarType::Int8, "{1}", vector, "42804: cannot convert type bigint[] to vector"),
    ] {
        assert_eq!(outcome(PgType::Array(element), text, to, Assignment), expected, "{text}");
    }
    let reals = TypeWithModifier::plain(PgType::Array(ScalarType::Float4));
    assert_eq!(outcome(ScalarType::Vector.into(), "[1,2.5]", reals, Implicit), "{1,2.5}");
    assert_eq!(outcome(ScalarType::Vector.into(), "[1,2,3]", two, Implicit), "22000: expected 2 dimensions, not 3");
    assert_eq!(outcome(ScalarType::Unknown.into(), "[1,2,3]", two, Implicit), "22000: expected 2 dimensions, not 3");
    let integers = TypeWithModifier::plain(PgType::Array(ScalarType::Int4));
    assert_eq!(outcome(PgType::Array(ScalarType::Text), "{1,NULL,3}", integers, Explicit), "{1,NULL,3}");
    assert_eq!(outcome(ScalarType::Int2vector.into(), "1 2", integers, Explicit), "[0:1]={1,2}");
}

#[test]
fn vectors_of_every_kind_become_each_other() {
    use ScalarType as T;
    let five = |scalar: T| TypeWithModifier { ty: scalar.into(), modifier: 5 };
    let plain = |scalar: T| TypeWithModifier::plain(scalar);
    for (from, text, to, context, expected) in [
        (T::Vector, "[0,1.5,0,3.5,0]", five(T::Sparsevec), Implicit, "{2:1.5,4:3.5}/5"),
        (T::Vector, "[0,1.5]", five(T::Sparsevec), Implicit, "22000: expected 5 dimensions, not 2"),
        (T::Vector, "[1e-8]", plain(T::Halfvec), Implicit, "[0]"),
        (T::Vector, "[65520]", plain(T::Halfvec), Implicit, "22003: \"65520\" is out of range for type halfvec"),
        (T::Halfvec, "[0,1.5]", plain(T::Vector), Assignment, "[0,1.5]"),
        (T::Halfvec, "[0,1.5]", plain(T::Vector), Implicit, "42804: cannot convert type halfvec to vector"),
        (T::Halfvec, "[0,1.5]", plain(T::Sparsevec), Implicit, "{2:1.5}/2"),
        (T::Sparsevec, "{2:1.5}/5", five(T::Vector), Assignment, "[0,1.5,0,0,0]"),
        (
            T::Sparsevec,
            "{}/16001",
            plain(T::Vector),
            Assignment,
            "54000: vector cannot have more than 16000 dimensions",
        ),
        (
            T::Sparsevec,
            "{}/1000000000",
            plain(T::Halfvec),
            Assignment,
            "54000: halfvec cannot have more than 16000 dimensions",
        ),
        (T::Bit, "101", plain(T::Varbit), Implicit, "101"),
        (T::Bit, "101", five(T::Bit), Explicit, "10100"),
        (T::Bit, "101", five(T::Bit), Assignment, "22026: bit string length 3 does not match type bit(5)"),
        (T::Varbit, "1010101", five(T::Varbit), Explicit, "10101"),
        (T::Unknown, "1010101", five(T::Bit), Explicit, "10101"),
        (T::Int4, "-44", five(T::Bit), Explicit, "10100"),
        (T::Int8, "5", plain(T::Bit), Explicit, "1"),
        (T::Bit, "1110", plain(T::Int4), Explicit, "14"),
        (T::Bit, "1110", plain(T::Int4), Assignment, "42804: cannot convert type bit to integer"),
    ] {
        assert_eq!(outcome(from.into(), text, to, context), expected, "{text} from {}", from.sql_name());
    }
    let reals = TypeWithModifier::plain(PgType::Array(T::Float4));
    assert_eq!(outcome(T::Halfvec.into(), "[1,2.5]", reals, Assignment), "{1,2.5}");
    let numbers = PgType::Array(T::Float8);
    assert_eq!(outcome(numbers, "{1e-46,-1e-46}", plain(T::Sparsevec), Assignment), "{}/2");
    assert_eq!(
        outcome(numbers, "{4e38}", plain(T::Halfvec), Assignment),
        "22000: infinite value not allowed in halfvec"
    );
}

#[test]
fn contexts_allow_what_pg_cast_allows() {
    use ScalarType as T;
    for (from, to, least) in [
        (T::Int4, T::Int8, Some(Implicit)),
        (T::Int8, T::Int4, Some(Assignment)),
        (T::Int4, T::Bool, Some(Explicit)),
        (T::Int4, T::Text, Some(Assignment)),
        (T::Text, T::Int4, Some(Explicit)),
        (T::Unknown, T::Vector, Some(Implicit)),
        (T::Vector, T::Text, Some(Assignment)),
        (T::Text, T::Vector, Some(Explicit)),
        (T::Float8, T::Float4, Some(Assignment)),
        (T::Numeric, T::Float8, Some(Implicit)),
        (T::Float8, T::Numeric, Some(Assignment)),
        (T::Date, T::Timestamp, Some(Implicit)),
        (T::Timestamptz, T::Date, Some(Assignment)),
        (T::Uuid, T::Int4, None),
        (T::Date, T::Int4, None),
        (T::Json, T::Jsonb, Some(Assignment)),
        (T::Text, T::Jsonb, Some(Explicit)),
    ] {
        for context in [Implicit, Assignment, Explicit] {
            let expected = least.is_some_and(|least| context >= least);
            assert_eq!(can_cast(from, to, context), expected, "{from:?} to {to:?} in {context:?}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    #[test]
    fn no_cast_panics_or_finds_a_value_of_another_type(
        (from, datum) in any_value(),
        at in 0..ScalarType::ALL.len(),
        array in any::<bool>(),
        modifier in -1i32..40,
    ) {
        let scalar = ScalarType::ALL[at];
        let ty = if array { PgType::Array(scalar) } else { PgType::Scalar(scalar) };
        for context in [Implicit, Assignment, Explicit] {
            let to = TypeWithModifier { ty, modifier };
            match cast(datum.clone(), from, to, context, &berlin()) {
                Ok(_) => prop_assert!(can_cast(from, ty, context)),
                Err(error) => prop_assert_ne!(error.state(), SqlState::InternalError, "{:?}", error),
            }
        }
    }
}
