//! Text forms against tables taken from PostgreSQL, and against themselves for values of every kind.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::sync::Arc;

use chrono_tz::Tz;
use proptest::prelude::*;

use super::*;
use crate::sparsevec::SparseVector;
use crate::types::{PgType, ScalarType, TypeWithModifier};

fn plain(scalar: ScalarType) -> TypeWithModifier {
    TypeWithModifier::plain(scalar)
}

fn with_modifier(scalar: ScalarType, modifier: i32) -> TypeWithModifier {
    TypeWithModifier { ty: PgType::Scalar(scalar), modifier }
}

fn array_of(scalar: ScalarType) -> TypeWithModifier {
    TypeWithModifier::plain(PgType::Array(scalar))
}

fn zone(name: &str) -> Tz {
    name.parse().unwrap()
}

/// What a text becomes when it is read and printed again, or its error.
fn round_trip_in(zone: Tz, ty: TypeWithModifier, text: &str) -> String {
    // 2024-07-02 10:20:30.5 UTC
    let environment = CastEnvironment { zone, now_us: 1_719_915_630_500_000 };
    match parse_text_in(text, ty, &environment) {
        Ok(datum) => to_text(&datum, ty.ty, zone),
        Err(error) => format!("{}: {}", error.state().code(), error.message()),
    }
}

#[track_caller]
fn check(ty: TypeWithModifier, cases: &[(&str, &str)]) {
    for (input, expected) in cases {
        assert_eq!(round_trip_in(Tz::UTC, ty, input), *expected, "{} from {input:?}", ty.ty.sql_name());
    }
}

#[test]
fn booleans_take_every_spelling() {
    check(
        plain(ScalarType::Bool),
        &[
            ("t", "t"),
            (" TRUE ", "t"),
            ("tr", "t"),
            ("y", "t"),
            ("on", "t"),
            ("1", "t"),
            ("of", "f"),
            ("NO", "f"),
            ("o", "22P02: invalid input syntax for type boolean: \"o\""),
            ("", "22P02: invalid input syntax for type boolean: \"\""),
            ("10", "22P02: invalid input syntax for type boolean: \"10\""),
        ],
    );
}

#[test]
fn integers_say_why_they_are_refused() {
    check(
        plain(ScalarType::Int4),
        &[
            (" +42 ", "42"),
            ("-2147483648", "-2147483648"),
            ("x", "22P02: invalid input syntax for type integer: \"x\""),
            ("1.5", "22P02: invalid input syntax for type integer: \"1.5\""),
            ("99999999999", "22003: value \"99999999999\" is out of range for type integer"),
        ],
    );
    check(plain(ScalarType::Int2), &[("32768", "22003: value \"32768\" is out of range for type smallint")]);
    check(plain(ScalarType::Int8), &[("-9223372036854775808", "-9223372036854775808")]);
    check(plain(ScalarType::Oid), &[("4294967295", "4294967295"), ("-1", "4294967295")]);
}

#[test]
fn floats_are_the_shortest_that_read_back() {
    check(
        plain(ScalarType::Float8),
        &[
            ("0.1", "0.1"),
            ("1e14", "100000000000000"),
            ("1e15", "1e+15"),
            ("1e20", "1e+20"),
            ("0.0001", "0.0001"),
            ("0.00001", "1e-05"),
            ("-0", "-0"),
            ("nan", "NaN"),
            ("-inf", "-Infinity"),
            ("1e23", "9.999999999999999e+22"),
            ("5.6843418860808015e-14", "5.684341886080802e-14"),
            ("1e400", "22003: \"1e400\" is out of range for type double precision"),
            ("1e-400", "22003: \"1e-400\" is out of range for type double precision"),
            ("x", "22P02: invalid input syntax for type double precision: \"x\""),
        ],
    );
    check(
        plain(ScalarType::Float4),
        &[
            ("100000", "100000"),
            ("1e6", "1e+06"),
            ("1234567", "1.234567e+06"),
            ("16777217", "1.6777216e+07"),
            ("1e-45", "1e-45"),
            ("1e39", "22003: \"1e39\" is out of range for type real"),
        ],
    );
}

#[test]
fn numerics_keep_their_scale() {
    check(
        plain(ScalarType::Numeric),
        &[
            ("1.50", "1.50"),
            ("1e5", "100000"),
            ("1.5e-3", "0.0015"),
            ("-0.00", "0.00"),
            (".5", "0.5"),
            ("1.2.3", "22P02: invalid input syntax for type numeric: \"1.2.3\""),
            ("NaN", "0A000: NaN in numeric is not supported"),
            ("1e76", "22003: value overflows numeric format"),
            ("1e-77", "22003: value overflows numeric format"),
            ("1e999999999999999999999", "22003: value overflows numeric format"),
        ],
    );
    check(
        with_modifier(ScalarType::Numeric, ((4 << 16) | 2) + 4),
        &[("1.005", "1.01"), ("-1.005", "-1.01"), ("99.994", "99.99"), ("99.995", "22003: numeric field overflow")],
    );
    check(with_modifier(ScalarType::Numeric, ((3 << 16) | (-2 & 0x7ff)) + 4), &[("12345", "12300")]);
    let error = parse_text("100", with_modifier(ScalarType::Numeric, ((4 << 16) | 2) + 4)).unwrap_err();
    assert_eq!(
        error.detail(),
        Some("A field with precision 4, scale 2 must round to an absolute value less than 10^2.")
    );
}

#[test]
fn strings_are_measured_in_characters() {
    check(
        with_modifier(ScalarType::Varchar, 7),
        &[("äöü", "äöü"), ("abc   ", "abc"), ("abcd", "22001: value too long for type character varying(3)")],
    );
    check(
        with_modifier(ScalarType::Bpchar, 7),
        &[("a", "a  "), ("abc  ", "abc"), ("abcd", "22001: value too long for type character(3)")],
    );
    check(plain(ScalarType::Text), &[("a\0b", "22021: invalid byte sequence for encoding \"UTF8\": 0x00")]);
    check(plain(ScalarType::Char), &[("ab", "a"), ("", "")]);
    assert_eq!(round_trip_in(Tz::UTC, plain(ScalarType::Name), &"x".repeat(70)).len(), 63);
}

#[test]
fn bytes_read_in_hex_and_escapes() {
    check(
        plain(ScalarType::Bytea),
        &[
            ("\\xDEAD be", "\\xdeadbe"),
            ("a\\\\b\\001", "\\x615c6201"),
            ("\\x1", "22023: invalid hexadecimal data: odd number of digits"),
            ("\\xzz", "22023: invalid hexadecimal digit: \"z\""),
            ("\\400", "22P02: invalid input syntax for type bytea"),
        ],
    );
}

#[test]
fn dates_read_in_many_forms() {
    check(
        plain(ScalarType::Date),
        &[
            ("2024-1-2", "2024-01-02"),
            ("1/8/1999", "1999-01-08"),
            ("19990108", "1999-01-08"),
            ("January 8, 1999", "1999-01-08"),
            ("08-Jan-1999", "1999-01-08"),
            ("J2451187", "1999-01-08"),
            ("0044-03-15 BC", "0044-03-15 BC"),
            ("5874897-12-31", "5874897-12-31"),
            ("today", "2024-07-02"),
            ("infinity", "infinity"),
            ("18/1/1999", "22008: date/time field value out of range: \"18/1/1999\""),
            ("1999-02-29", "22008: date/time field value out of range: \"1999-02-29\""),
            ("5874898-01-01", "22008: date out of range: \"5874898-01-01\""),
            ("x", "22007: invalid input syntax for type date: \"x\""),
        ],
    );
}

#[test]
fn times_and_timestamps() {
    check(
        plain(ScalarType::Time),
        &[
            ("04:05", "04:05:00"),
            ("04:05 PM", "16:05:00"),
            ("12:00 AM", "00:00:00"),
            ("24:00:00", "24:00:00"),
            ("23:59:59.9999999", "24:00:00"),
            ("25:00", "22008: date/time field value out of range: \"25:00\""),
            ("x", "22007: invalid input syntax for type time: \"x\""),
        ],
    );
    check(
        plain(ScalarType::Timestamp),
        &[
            ("2024-01-02 03:04:05.1200", "2024-01-02 03:04:05.12"),
            ("2024-01-02T03:04:05+02", "2024-01-02 03:04:05"),
            ("-infinity", "-infinity"),
            ("0001-01-01 BC", "0001-01-01 00:00:00 BC"),
            ("now", "2024-07-02 10:20:30.5"),
            ("x", "22007: invalid input syntax for type timestamp: \"x\""),
            ("300000-01-01", "22008: timestamp out of range: \"300000-01-01\""),
        ],
    );
    check(with_modifier(ScalarType::Timestamp, 0), &[("2024-01-02 03:04:05.5", "2024-01-02 03:04:06")]);
}

#[test]
fn zones_have_rules() {
    let ty = plain(ScalarType::Timestamptz);
    for (name, input, expected) in [
        ("UTC", "2024-01-02 03:04:05+02", "2024-01-02 01:04:05+00"),
        ("UTC", "2024-07-02 03:04:05 europe/berlin", "2024-07-02 01:04:05+00"),
        ("UTC", "2024-01-02 03:04:05 PST", "2024-01-02 11:04:05+00"),
        ("UTC", "2024-01-02 03:04:05 Foo/Bar", "22023: time zone \"foo/bar\" not recognized"),
        ("America/Los_Angeles", "2024-03-10 02:30", "2024-03-10 03:30:00-07"),
        ("America/Los_Angeles", "2024-11-03 01:30", "2024-11-03 01:30:00-08"),
        ("America/Los_Angeles", "1800-01-01 00:00:00", "1800-01-01 00:00:00-07:52:58"),
        ("Europe/Berlin", "2150-07-01 12:00", "2150-07-01 12:00:00+02"),
        ("Asia/Kolkata", "2024-01-02", "2024-01-02 00:00:00+05:30"),
    ] {
        assert_eq!(round_trip_in(zone(name), ty, input), expected, "{input:?} in {name}");
    }
}

#[test]
fn intervals_have_three_parts() {
    check(
        plain(ScalarType::Interval),
        &[
            ("1 year 2 mons 3 days 04:05:06.789", "1 year 2 mons 3 days 04:05:06.789"),
            ("1-2", "1 year 2 mons"),
            ("3 4:05:06", "3 days 04:05:06"),
            ("P1Y2M3DT4H5M6S", "1 year 2 mons 3 days 04:05:06"),
            ("1.5 months", "1 mon 15 days"),
            ("1.5 days", "1 day 12:00:00"),
            ("-1 mons +3 days -04:05:06", "-1 mons +3 days -04:05:06"),
            ("@ 1 minute ago", "-00:01:00"),
            ("1 foo", "22007: invalid input syntax for type interval: \"1 foo\""),
            ("2147483648 days", "22015: interval field value out of range: \"2147483648 days\""),
        ],
    );
}

#[test]
fn uuids_may_be_written_in_groups() {
    let canonical = "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11";
    check(
        plain(ScalarType::Uuid),
        &[
            ("{A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11}", canonical),
            ("a0eebc999c0b4ef8bb6d6bb9bd380a11", canonical),
            ("a0ee-bc99-9c0b-4ef8-bb6d-6bb9-bd38-0a11", canonical),
            ("x", "22P02: invalid input syntax for type uuid: \"x\""),
        ],
    );
}

#[test]
fn json_is_kept_and_jsonb_is_canonical() {
    check(
        plain(ScalarType::Json),
        &[(" {\"a\" :1}", " {\"a\" :1}"), ("{", "22P02: invalid input syntax for type json")],
    );
    check(
        plain(ScalarType::Jsonb),
        &[
            ("{\"b\":1,\"aa\":2,\"a\":[1,2.50,1e3,-0,1E-2],\"a\":3}", "{\"a\": 3, \"b\": 1, \"aa\": 2}"),
            ("[1,2.50,1e3,-0,1E-2]", "[1, 2.50, 1000, 0, 0.01]"),
            ("\"\\u00e4\\n\\/\"", "\"ä\\n/\""),
            ("\"\\ud83d\\ude00\"", "\"😀\""),
            ("\"\\u0000\"", "22P05: unsupported Unicode escape sequence"),
            ("1e99999", "22003: value overflows numeric format"),
        ],
    );
    let error = parse_text("{\"a\":1 \"b\":2}", plain(ScalarType::Jsonb)).unwrap_err();
    assert_eq!(error.detail(), Some("Expected \",\" or \"}\", but found \"\"b\"\"."));
    assert_eq!(error.context(), Some("JSON data, line 1: {\"a\":1 \"b\"..."));
    let deep = "[".repeat(100_000);
    assert_eq!(parse_text(&deep, plain(ScalarType::Json)).unwrap_err().state(), SqlState::StatementTooComplex);
}

#[test]
fn arrays_quote_what_needs_quotes() {
    check(
        array_of(ScalarType::Int4),
        &[
            ("{1,NULL,3}", "{1,NULL,3}"),
            ("{{1,2},{3,4}}", "{{1,2},{3,4}}"),
            ("[0:2]={1,2,3}", "[0:2]={1,2,3}"),
            ("[1:2]={1,2}", "{1,2}"),
            ("{}", "{}"),
            ("{1,2", "22P02: malformed array literal: \"{1,2\""),
            ("{{1,2},{3}}", "22P02: malformed array literal: \"{{1,2},{3}}\""),
            ("{a}", "22P02: invalid input syntax for type integer: \"a\""),
            ("{{{{{{{1}}}}}}}", "54000: number of array dimensions (7) exceeds the maximum allowed (6)"),
        ],
    );
    check(
        array_of(ScalarType::Text),
        &[
            (r#"{"a b","c,d","e\"f","g\\h",NULL,"NULL","",x}"#, r#"{"a b","c,d","e\"f","g\\h",NULL,"NULL","",x}"#),
            (r"{ a b , c }", r#"{"a b",c}"#),
        ],
    );
    check(array_of(ScalarType::Vector), &[(r#"{"[1,2]","[3]"}"#, r#"{"[1,2]",[3]}"#)]);
}

#[test]
fn vectors_have_pgvectors_grammar_and_errors() {
    let wide = format!("[{}]", vec!["1"; 16_001].join(","));
    check(
        plain(ScalarType::Vector),
        &[
            ("[1,2,3]", "[1,2,3]"),
            (" [ 1 , 2.50 , -3e-7 ] ", "[1,2.5,-3e-07]"),
            ("[]", "22000: vector must have at least 1 dimension"),
            ("[1,]", "22P02: invalid input syntax for type vector: \"[1,]\""),
            ("[1", "22P02: invalid input syntax for type vector: \"[1\""),
            ("1,2", "22P02: invalid input syntax for type vector: \"1,2\""),
            ("[1]x", "22P02: invalid input syntax for type vector: \"[1]x\""),
            ("[hello,1]", "22P02: invalid input syntax for type vector: \"[hello,1]\""),
            ("[NaN,1]", "22000: NaN not allowed in vector"),
            ("[Infinity,1]", "22000: infinite value not allowed in vector"),
            ("[-inf]", "22000: infinite value not allowed in vector"),
            ("[4e38,1]", "22003: \"4e38\" is out of range for type vector"),
            (&wide, "54000: vector cannot have more than 16000 dimensions"),
        ],
    );
    check(with_modifier(ScalarType::Vector, 3), &[("[1,2]", "22000: expected 3 dimensions, not 2")]);
    let error = parse_text("[1]x", plain(ScalarType::Vector)).unwrap_err();
    assert_eq!(error.detail(), Some("Junk after closing right brace."));
}

#[test]
fn vectors_of_half_precision_have_pgvectors_grammar_and_errors() {
    check(
        plain(ScalarType::Halfvec),
        &[
            (" [ 1,  2 ,    3  ] ", "[1,2,3]"),
            ("[1.23456]", "[1.234375]"),
            ("[65519,-65519]", "[65504,-65504]"),
            ("[65520,-65520]", "22003: \"65520\" is out of range for type halfvec"),
            ("[1e-8,-1e-8]", "[0,-0]"),
            ("[4e38,1]", "22003: \"4e38\" is out of range for type halfvec"),
            ("[1e-46,1]", "[0,1]"),
            ("[NaN,1]", "22000: NaN not allowed in halfvec"),
            ("[Infinity,1]", "22000: infinite value not allowed in halfvec"),
            ("[ ]", "22000: halfvec must have at least 1 dimension"),
            ("[1a]", "22P02: invalid input syntax for type halfvec: \"[1a]\""),
        ],
    );
    check(with_modifier(ScalarType::Halfvec, 3), &[("[1,2]", "22000: expected 3 dimensions, not 2")]);
}

#[test]
fn sparse_vectors_have_pgvectors_grammar_and_errors() {
    let syntax = |text: &str| format!("22P02: invalid input syntax for type sparsevec: \"{text}\"");
    for text in ["", "{", "{ ", "{:", "{,", "{}", "{}/", "{}/1a", "{:}/1", "{1,}/1", "{:1}/1", "{1:}/1", "{1a:1}/1"] {
        check(plain(ScalarType::Sparsevec), &[(text, &syntax(text))]);
    }
    check(
        plain(ScalarType::Sparsevec),
        &[
            (" { 1 : 1.5 ,  3  :  3.5  } / 5 ", "{1:1.5,3:3.5}/5"),
            ("{1:0,2:1,3:0}/3", "{2:1}/3"),
            ("{2:1,1:1}/2", "{1:1,2:1}/2"),
            ("{1:1,1:1}/2", "22000: sparsevec indices must not contain duplicates"),
            ("{1:NaN,2:1}/2", "22000: NaN not allowed in sparsevec"),
            ("{1:-Infinity}/2", "22000: infinite value not allowed in sparsevec"),
            ("{1:4e38,2:1}/2", "22003: \"4e38\" is out of range for type sparsevec"),
            ("{1:-1e-46,2:1}/2", "22003: \"-1e-46\" is out of range for type sparsevec"),
            ("{}/-2147483649", "22000: sparsevec must have at least 1 dimension"),
            ("{}/9223372036854775808", "54000: sparsevec cannot have more than 1000000000 dimensions"),
            ("{2147483648:1}/1", "22000: sparsevec index out of bounds"),
            ("{-2147483649:1}/1", "22000: sparsevec index out of bounds"),
            ("{0:1}/1", "22000: sparsevec index out of bounds"),
        ],
    );
    check(with_modifier(ScalarType::Sparsevec, 2), &[("{}/3", "22000: expected 2 dimensions, not 3")]);
    let error = parse_text("{}", plain(ScalarType::Sparsevec)).unwrap_err();
    assert_eq!(error.detail(), Some("Unexpected end of input."));
}

#[test]
fn strings_of_bits_have_postgresqls_forms_and_lengths() {
    let cases = [
        ("101", "101"),
        ("b101", "101"),
        ("X5f", "01011111"),
        ("", ""),
        ("102", "22P02: \"2\" is not a valid binary digit"),
        ("xg", "22P02: \"g\" is not a valid hexadecimal digit"),
        ("1 ", "22P02: \" \" is not a valid binary digit"),
    ];
    check(plain(ScalarType::Bit), &cases);
    check(plain(ScalarType::Varbit), &cases);
    check(
        with_modifier(ScalarType::Bit, 3),
        &[("101", "101"), ("10", "22026: bit string length 2 does not match type bit(3)")],
    );
    check(
        with_modifier(ScalarType::Varbit, 3),
        &[("10", "10"), ("1011", "22001: bit string too long for type bit varying(3)")],
    );
}

#[test]
fn registered_names_are_numbers() {
    check(
        plain(ScalarType::Regclass),
        &[("16384", "16384"), ("-", "-"), ("t", "42P01: relation \"t\" does not exist")],
    );
    check(
        plain(ScalarType::Regtype),
        &[
            ("int4", "integer"),
            ("_text", "text[]"),
            ("25", "text"),
            ("nosuch", "42704: type \"nosuch\" does not exist"),
        ],
    );
    check(plain(ScalarType::Int2vector), &[(" 1  2 ", "1 2"), ("", "")]);
}

/// Any value of a scalar type.
pub(crate) fn any_scalar(ty: ScalarType) -> BoxedStrategy<Datum> {
    let text = || proptest::string::string_regex("[ -~äß\n\t😀]{0,12}").unwrap();
    match ty {
        ScalarType::Bool => any::<bool>().prop_map(Datum::Bool).boxed(),
        ScalarType::Int2 => any::<i16>().prop_map(Datum::Int2).boxed(),
        ScalarType::Int4 => any::<i32>().prop_map(Datum::Int4).boxed(),
        ScalarType::Int8 => any::<i64>().prop_map(Datum::Int8).boxed(),
        ScalarType::Float4 => any::<u32>()
            .prop_map(f32::from_bits)
            .prop_filter("NaN differs from itself", |x| !x.is_nan())
            .prop_map(Datum::Float4)
            .boxed(),
        ScalarType::Float8 => any::<u64>()
            .prop_map(f64::from_bits)
            .prop_filter("NaN differs from itself", |x| !x.is_nan())
            .prop_map(Datum::Float8)
            .boxed(),
        ScalarType::Numeric => (any::<i128>(), 0i64..39, 0u32..127)
            .prop_map(|(digits, scale, shift)| {
                Datum::Numeric(bigdecimal::BigDecimal::new((digits >> shift).into(), scale))
            })
            .boxed(),
        ScalarType::Text | ScalarType::Varchar | ScalarType::Bpchar | ScalarType::Name | ScalarType::Unknown => {
            text().prop_map(Datum::Text).boxed()
        }
        ScalarType::Char => proptest::string::string_regex("[ -~]?").unwrap().prop_map(Datum::Text).boxed(),
        ScalarType::Bytea => proptest::collection::vec(any::<u8>(), 0..20).prop_map(Datum::Bytea).boxed(),
        ScalarType::Date => prop_oneof![
            Just(Datum::Date(i32::MAX)),
            Just(Datum::Date(i32::MIN)),
            (-2_440_588i32..2_145_042_906).prop_map(Datum::Date),
            (-100_000i32..100_000).prop_map(Datum::Date),
        ]
        .boxed(),
        ScalarType::Time => (0i64..=86_400_000_000).prop_map(Datum::Time).boxed(),
        ScalarType::Timestamp => any_moment().prop_map(Datum::Timestamp).boxed(),
        ScalarType::Timestamptz => any_moment().prop_map(Datum::Timestamptz).boxed(),
        ScalarType::Interval => (any::<i32>(), any::<i32>(), -(1i64 << 62)..1 << 62)
            .prop_map(|(months, days, microseconds)| {
                Datum::Interval(crate::datum::Interval { months, days, microseconds })
            })
            .boxed(),
        ScalarType::Uuid => any::<[u8; 16]>().prop_map(Datum::Uuid).boxed(),
        ScalarType::Json => {
            text().prop_map(|text| Datum::Text(format!("[{}, 1.50 ]", serde_json::to_string(&text).unwrap()))).boxed()
        }
        ScalarType::Jsonb => (text(), any::<i64>(), text())
            .prop_map(|(key, number, value)| {
                let json = serde_json::json!({ key: [number], "k": value }).to_string();
                Datum::Jsonb(json::canonical(&json).unwrap())
            })
            .boxed(),
        ScalarType::Oid | ScalarType::Xid | ScalarType::Regclass | ScalarType::Regproc | ScalarType::Regnamespace => {
            any::<u32>().prop_map(Datum::Oid).boxed()
        }
        ScalarType::Regtype => (0..ScalarType::ALL.len()).prop_map(|at| Datum::Oid(ScalarType::ALL[at].oid())).boxed(),
        ScalarType::Int2vector => proptest::collection::vec(any::<i16>().prop_map(Datum::Int2), 0..5)
            .prop_map(|elements| Datum::Array(Box::new(array::plain_vector(ScalarType::Int2, elements))))
            .boxed(),
        ScalarType::Oidvector => proptest::collection::vec(any::<u32>().prop_map(Datum::Oid), 0..5)
            .prop_map(|elements| Datum::Array(Box::new(array::plain_vector(ScalarType::Oid, elements))))
            .boxed(),
        ScalarType::Vector => proptest::collection::vec(
            any::<u32>().prop_map(f32::from_bits).prop_filter("finite", |x| x.is_finite()),
            1..40,
        )
        .prop_map(|components| Datum::Vector(components.into()))
        .boxed(),
        ScalarType::Halfvec => {
            proptest::collection::vec(any::<u16>().prop_filter("finite", |x| x & 0x7c00 != 0x7c00), 1..40)
                .prop_map(|components| Datum::Halfvec(components.into()))
                .boxed()
        }
        ScalarType::Sparsevec => {
            let value = any::<u32>().prop_map(f32::from_bits).prop_filter("a number", |x| x.is_finite() && *x != 0.0);
            (proptest::collection::btree_map(0u32..50, value, 0..20), 50u32..1_000_000_000)
                .prop_map(|(elements, dimensions)| {
                    let elements = elements.into_iter().map(|(index, value)| (i64::from(index), value));
                    Datum::Sparsevec(SparseVector::from_elements(dimensions, elements).unwrap().into())
                })
                .boxed()
        }
        ScalarType::Bit | ScalarType::Varbit => proptest::collection::vec(any::<bool>(), 0..40)
            .prop_map(|bits| Datum::Bits(Arc::new(bits.into_iter().collect())))
            .boxed(),
        ScalarType::Void | ScalarType::Record => Just(Datum::Null).boxed(),
    }
}

fn any_moment() -> impl Strategy<Value = i64> {
    prop_oneof![
        Just(i64::MAX),
        Just(i64::MIN),
        // A day short of either end: a zone's offset may reach over it.
        -2_440_587 * 86_400_000_000i64..106_751_990 * 86_400_000_000,
        -10_000_000_000_000_000i64..10_000_000_000_000_000,
    ]
}

/// A type and a value of it, NULL aside.
pub(crate) fn any_value() -> impl Strategy<Value = (PgType, Datum)> {
    let types: Vec<ScalarType> =
        ScalarType::ALL.iter().copied().filter(|ty| !matches!(ty, ScalarType::Void | ScalarType::Record)).collect();
    proptest::sample::select(types).prop_flat_map(|ty| {
        let scalar = any_scalar(ty).prop_map(move |datum| (PgType::Scalar(ty), datum));
        if ty.array_oid() == 0 {
            return scalar.boxed();
        }
        let elements = proptest::collection::vec(proptest::option::of(any_scalar(ty)), 1..7);
        let array = (elements, -3i32..3, any::<bool>()).prop_map(move |(elements, lower, nested)| {
            let elements: Vec<Datum> = elements.into_iter().map(|element| element.unwrap_or(Datum::Null)).collect();
            let length = elements.len() as u32;
            let dimensions = if nested { vec![(1, 1), (length, lower)] } else { vec![(length, lower)] };
            let array = crate::datum::ArrayDatum { element: ty, dimensions, elements };
            (PgType::Array(ty), Datum::Array(Box::new(array)))
        });
        prop_oneof![3 => scalar, 1 => array].boxed()
    })
}

/// Zones with whole and odd offsets, and rules that differ.
fn any_zone() -> impl Strategy<Value = Tz> {
    proptest::sample::select(vec![
        Tz::UTC,
        Tz::Europe__Berlin,
        Tz::America__Los_Angeles,
        Tz::Asia__Kathmandu,
        Tz::Australia__Lord_Howe,
        Tz::Pacific__Apia,
    ])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    #[test]
    fn every_value_reads_back((ty, datum) in any_value(), zone in any_zone()) {
        let text = to_text(&datum, ty, zone);
        let environment = CastEnvironment { zone, now_us: 0 };
        let again = parse_text_in(&text, TypeWithModifier::plain(ty), &environment);
        prop_assert_eq!(again, Ok(datum), "{} from {:?}", ty.sql_name(), text);
    }

    #[test]
    fn no_text_panics(text in "\\PC{0,30}", at in 0..ScalarType::ALL.len(), modifier in -1i32..300) {
        let scalar = ScalarType::ALL[at];
        let _ = parse_text(&text, TypeWithModifier { ty: PgType::Scalar(scalar), modifier });
        let _ = parse_text(&text, TypeWithModifier { ty: PgType::Array(scalar), modifier });
    }

    #[test]
    fn no_date_like_text_panics(
        text in "[-+0-9:./ TZJ,a-f]{0,24}|[0-9]{1,9}[-/.: ][0-9]{0,19}[-/.: ][0-9]{0,20} ?(BC|AD|PM|AM|days?|years?|ago)?",
        at in 0..ScalarType::ALL.len(),
    ) {
        let _ = parse_text(&text, TypeWithModifier::plain(ScalarType::ALL[at]));
        let _ = parse_text(&text, TypeWithModifier::plain(ScalarType::Timestamptz));
        let _ = parse_text(&text, TypeWithModifier::plain(ScalarType::Interval));
    }

    #[test]
    fn no_structured_text_panics(text in "[\\[\\]{}\":,\\\\0-9eE.+-nulatrfs ]{0,30}") {
        for scalar in [
            ScalarType::Json,
            ScalarType::Jsonb,
            ScalarType::Vector,
            ScalarType::Halfvec,
            ScalarType::Sparsevec,
            ScalarType::Numeric,
            ScalarType::Bytea,
        ] {
            let _ = parse_text(&text, plain(scalar));
            let _ = parse_text(&text, array_of(scalar));
        }
    }

    #[test]
    fn the_quick_road_to_a_float_is_exact(text in "-?[0-9]{0,20}(\\.[0-9]{0,25})?(e-?[0-9]{1,2})?") {
        let quick = number::float4_prefix(text.as_bytes()).filter(|(_, length)| *length == text.len());
        let slow: Option<f32> = text.parse().ok();
        prop_assert_eq!(quick.map(|(value, _)| value.to_bits()), slow.map(f32::to_bits));
    }
}
