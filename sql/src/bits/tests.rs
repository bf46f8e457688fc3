//! Strings of bits as PostgreSQL has them.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use proptest::prelude::*;

use super::*;

fn bits(digits: &str) -> Bits {
    digits.chars().map(|digit| digit == '1').collect()
}

fn digits(bits: &Bits) -> String {
    bits.iter().map(|bit| if bit { '1' } else { '0' }).collect()
}

#[test]
fn integers_are_taken_from_their_last_bits() {
    assert_eq!(digits(&Bits::from_integer(44, 10)), "0000101100");
    assert_eq!(digits(&Bits::from_integer(44, 3)), "100");
    assert_eq!(digits(&Bits::from_integer(-44, 12)), "111111010100");
    assert_eq!(digits(&Bits::from_integer(-1, 70)), "1".repeat(70));
    assert_eq!(bits("1110").to_integer(32), Some(14));
    assert_eq!(bits(&"1".repeat(32)).to_integer(32), Some(-1));
    assert_eq!(bits(&"1".repeat(33)).to_integer(32), None);
    assert_eq!(bits(&"1".repeat(33)).to_integer(64), Some(0x1_ffff_ffff));
}

#[test]
fn strings_are_shifted_cut_and_joined() {
    assert_eq!(digits(&bits("10001").shifted_left(3)), "01000");
    assert_eq!(digits(&bits("10001").shifted_left(-2)), "00100");
    assert_eq!(digits(&bits("10001").shifted_left(99)), "00000");
    assert_eq!(digits(&bits("10001").inverted()), "01110");
    assert_eq!(digits(&bits("10001").concat(&bits("011")).unwrap()), "10001011");
    assert_eq!(digits(&bits("110010111100").substring(5, Some(4)).unwrap()), "1011");
    assert_eq!(digits(&bits("1100").substring(-1, Some(3)).unwrap()), "1");
    assert_eq!(digits(&bits("1100").substring(3, None).unwrap()), "00");
    assert_eq!(bits("1100").substring(3, Some(-1)).unwrap_err().state(), SqlState::SubstringError);
    assert_eq!(digits(&bits("111").resized(2).resized(4)), "1100");
    let error = bits("1").combined(&bits("11"), "AND", |a, b| a & b).unwrap_err();
    assert_eq!(error.message(), "cannot AND bit strings of different sizes");
}

#[test]
fn distances_are_pgvectors() {
    assert_eq!(bits("111").hamming_distance(&bits("100")), Ok(2.0));
    assert_eq!(bits("").hamming_distance(&bits("")), Ok(0.0));
    assert_eq!(bits("1111").jaccard_distance(&bits("1110")), Ok(0.25));
    assert_eq!(bits("1100").jaccard_distance(&bits("1000")), Ok(0.5));
    assert_eq!(bits("").jaccard_distance(&bits("")), Ok(1.0));
    assert_eq!(bits("111").hamming_distance(&bits("00")).unwrap_err().message(), "different bit lengths 3 and 2");
}

proptest! {
    #[test]
    fn order_is_that_of_the_digits(a in "[01]{0,20}", b in "[01]{0,20}") {
        prop_assert_eq!(compare(&bits(&a), &bits(&b)), a.cmp(&b));
        prop_assert_eq!(Bits::from_bytes(a.len(), bits(&a).bytes()), Some(bits(&a)));
    }
}
