//! Binary forms against bytes taken from PostgreSQL, and against themselves for values of every kind.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use proptest::prelude::*;

use super::*;
use crate::text::parse_text;
use crate::text::tests::any_value;

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn from_hex(text: &str) -> Vec<u8> {
    (0..text.len() / 2).map(|at| u8::from_str_radix(&text[2 * at..2 * at + 2], 16).unwrap()).collect()
}

#[test]
fn bytes_are_postgresqls() {
    for (ty, text, bytes) in [
        (ScalarType::Int4, "-2", "fffffffe"),
        (ScalarType::Float8, "1.5", "3ff8000000000000"),
        (ScalarType::Numeric, "0", "0000000000000000"),
        (ScalarType::Numeric, "1.50", "000200000000000200011388"),
        (ScalarType::Numeric, "-12345678.9", "000300014000000104d2162e2328"),
        (ScalarType::Numeric, "0.00001234", "0001fffe0000000804d2"),
        (ScalarType::Numeric, "100000000", "00010002000000000001"),
        (ScalarType::Date, "2000-01-02", "00000001"),
        (ScalarType::Timestamp, "2000-01-01 00:00:01", "00000000000f4240"),
        (ScalarType::Timestamptz, "infinity", "7fffffffffffffff"),
        (ScalarType::Interval, "1 mon 2 days 00:00:03", "00000000002dc6c00000000200000001"),
        (ScalarType::Jsonb, "{\"a\":1}", "017b2261223a20317d"),
        (ScalarType::Vector, "[1,-2]", "000200003f800000c0000000"),
        (ScalarType::Bool, "t", "01"),
    ] {
        let ty = TypeWithModifier::plain(ty);
        let mut out = Vec::new();
        write_binary(&parse_text(text, ty).unwrap(), ty.ty, &mut out);
        assert_eq!(hex(&out), bytes, "{text}");
    }
    let ty = TypeWithModifier::plain(PgType::Array(ScalarType::Int4));
    let mut out = Vec::new();
    write_binary(&parse_text("{1,NULL}", ty).unwrap(), ty.ty, &mut out);
    assert_eq!(hex(&out), "00000001000000010000001700000002000000010000000400000001ffffffff");
}

#[test]
fn bad_bytes_name_their_fault() {
    for (ty, bytes, expected) in [
        (ScalarType::Int4, "0000", "08P01: insufficient data left in message"),
        (ScalarType::Int4, "0000000000", "22P03: incorrect binary data format"),
        (ScalarType::Numeric, "0001000012340000", "22P03: invalid sign in external \"numeric\" value"),
        (ScalarType::Numeric, "00010000000000002710", "22P03: invalid digit in external \"numeric\" value"),
        (ScalarType::Numeric, "00010000c0000000", "0A000: NaN in numeric is not supported"),
        (ScalarType::Numeric, "00017fff000000000001", "22003: value overflows numeric format"),
        (ScalarType::Vector, "00000000", "22000: vector must have at least 1 dimension"),
        (ScalarType::Vector, "ffff0000", "22000: vector must have at least 1 dimension"),
        (ScalarType::Vector, "7fff0000", "54000: vector cannot have more than 16000 dimensions"),
        (ScalarType::Vector, "000100017fc00000", "22000: expected unused to be 0, not 1"),
        (ScalarType::Vector, "000100007fc00000", "22000: NaN not allowed in vector"),
        (ScalarType::Vector, "000100007f800000", "22000: infinite value not allowed in vector"),
        (ScalarType::Vector, "000200003f800000", "08P01: insufficient data left in message"),
        (ScalarType::Text, "61ff", "22021: invalid byte sequence for encoding \"UTF8\": 0xff"),
        (ScalarType::Time, "7fffffffffffffff", "22008: time out of range"),
    ] {
        let error = parse_binary(&from_hex(bytes), TypeWithModifier::plain(ty)).unwrap_err();
        assert_eq!(format!("{}: {}", error.state().code(), error.message()), expected, "{bytes}");
    }
    let three = TypeWithModifier { ty: ScalarType::Vector.into(), modifier: 3 };
    let error = parse_binary(&from_hex("000200003f8000003f800000"), three).unwrap_err();
    assert_eq!(error.message(), "expected 3 dimensions, not 2");
    // Six dimensions that multiply to more than memory, in a few bytes.
    let ty = TypeWithModifier::plain(PgType::Array(ScalarType::Int4));
    let bytes = from_hex(&format!("{}{}", "000000060000000000000017", "0000ffff00000001".repeat(6)));
    assert_eq!(parse_binary(&bytes, ty).unwrap_err().state(), SqlState::ProgramLimitExceeded);
    let bytes = from_hex("00000001000000000000001707ffffff00000001");
    assert_eq!(parse_binary(&bytes, ty).unwrap_err().state(), SqlState::ProtocolViolation);
}

#[test]
fn numerics_are_cut_at_their_display_scale() {
    let numeric = TypeWithModifier::plain(ScalarType::Numeric);
    let datum = parse_binary(&from_hex("00020000000000010001162e"), numeric).unwrap();
    assert_eq!(datum, parse_text("1.5", numeric).unwrap());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    #[test]
    fn every_value_reads_back((ty, datum) in any_value()) {
        let mut bytes = Vec::new();
        write_binary(&datum, ty, &mut bytes);
        prop_assert_eq!(parse_binary(&bytes, TypeWithModifier::plain(ty)), Ok(datum), "{}", ty.sql_name());
    }

    #[test]
    fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..80), at in 0..ScalarType::ALL.len(), modifier in -1i32..300) {
        let scalar = ScalarType::ALL[at];
        let _ = parse_binary(&bytes, TypeWithModifier { ty: PgType::Scalar(scalar), modifier });
        let _ = parse_binary(&bytes, TypeWithModifier { ty: PgType::Array(scalar), modifier });
    }

    #[test]
    fn no_damaged_value_panics((ty, datum) in any_value(), at in any::<usize>(), byte in any::<u8>(), cut in any::<usize>()) {
        let mut bytes = Vec::new();
        write_binary(&datum, ty, &mut bytes);
        if !bytes.is_empty() {
            let at = at % bytes.len();
            bytes[at] = byte;
            bytes.truncate(bytes.len() - cut % 4 % bytes.len());
        }
        let _ = parse_binary(&bytes, TypeWithModifier::plain(ty));
    }
}
