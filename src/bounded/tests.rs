//! Lengths that nobody meant.
#![expect(clippy::unwrap_used, reason = "a test ends at the first thing that is wrong")]

use bincode::config::standard;
use proptest::prelude::*;
use serde::{Deserialize, Serialize};

use super::*;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
enum Value {
    Nothing,
    Number(u64),
    Text(String),
    Bytes(Vec<u8>),
    List(Vec<Value>),
    Pair(Box<(Value, Option<i32>)>),
}

fn any_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Nothing),
        any::<u64>().prop_map(Value::Number),
        ".{0,20}".prop_map(Value::Text),
        prop::collection::vec(any::<u8>(), 0..40).prop_map(Value::Bytes),
    ];
    leaf.prop_recursive(4, 64, 8, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..8).prop_map(Value::List),
            (inner, any::<Option<i32>>()).prop_map(|pair| Value::Pair(Box::new(pair))),
        ]
    })
}

proptest! {
    #[test]
    fn what_was_written_is_read(value in any_value()) {
        let bytes = bincode::serde::encode_to_vec(&value, standard()).unwrap();
        let read: (Value, usize) = decode_front(&bytes).unwrap();
        prop_assert_eq!(read, (value, bytes.len()));
    }

    #[test]
    fn an_enormous_length_anywhere_is_an_error(value in any_value(), length in (1u64 << 30..), at: prop::sample::Index) {
        let mut bytes = bincode::serde::encode_to_vec(&value, standard()).unwrap();
        let at = at.index(bytes.len());
        // How bincode writes a number of eight bytes.
        bytes.splice(at..=at, std::iter::once(253).chain(length.to_le_bytes()));
        let _: Result<(Value, usize), _> = decode_front(&bytes);
    }
}

#[test]
fn many_small_values_are_within_the_limit() {
    for count in [1_000, 100_000, 3_000_000] {
        let value: Vec<u64> = vec![1; count];
        let bytes = bincode::serde::encode_to_vec(&value, standard()).unwrap();
        let read: (Vec<u64>, usize) = decode_front(&bytes).unwrap();
        assert_eq!(read, (value, bytes.len()));
    }
}

#[test]
fn a_string_longer_than_memory_is_an_error() {
    for length in [1u64 << 31, 1 << 40, 1 << 60, u64::MAX] {
        let mut bytes = vec![253];
        bytes.extend(length.to_le_bytes());
        bytes.extend(b"text");
        assert!(decode_front::<String>(&bytes).is_err());
        assert!(decode_front::<Vec<u8>>(&bytes).is_err());
        assert!(decode_front::<Vec<u64>>(&bytes).is_err());
    }
}
