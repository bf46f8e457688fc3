//! Half precision as pgvector has it.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use super::*;

fn half(numbers: &[f32]) -> Arc<[u16]> {
    narrow(numbers).unwrap()
}

fn failed<T: std::fmt::Debug>(result: Result<T>) -> String {
    let error = result.unwrap_err();
    format!("{}: {}", error.state().code(), error.message())
}

#[test]
fn numbers_round_to_the_nearest_component_or_are_refused() {
    assert_eq!(widen(&half(&[1.23456, 65519.0, -65519.0, 1e-8])), [1.234375, 65504.0, -65504.0, 0.0]);
    assert_eq!(failed(narrow(&[65520.0])), "22003: \"65520\" is out of range for type halfvec");
    assert_eq!(failed(narrow(&[f32::NAN])), "22000: NaN not allowed in halfvec");
    assert_eq!(failed(narrow(&[f32::INFINITY])), "22000: infinite value not allowed in halfvec");
    assert_eq!(failed(narrow(&[])), "22000: halfvec must have at least 1 dimension");
    assert_eq!(failed(narrow(&[0.0; 16_001])), "54000: halfvec cannot have more than 16000 dimensions");
}

#[test]
fn arithmetic_is_that_of_single_precision_rounded() {
    let (a, b) = (half(&[1.0, 2.0, 3.0]), half(&[4.0, 5.0, 6.0]));
    assert_eq!(widen(&add(&a, &b).unwrap()), [5.0, 7.0, 9.0]);
    assert_eq!(widen(&subtract(&a, &b).unwrap()), [-3.0, -3.0, -3.0]);
    assert_eq!(widen(&multiply(&a, &b).unwrap()), [4.0, 10.0, 18.0]);
    assert_eq!(widen(&concat(&a, &half(&[9.0])).unwrap()), [1.0, 2.0, 3.0, 9.0]);
    assert_eq!(widen(&l2_normalize(&half(&[3.0, 4.0])).unwrap()), [0.600_097_66, 0.799_804_7]);
    assert_eq!(widen(&l2_normalize(&half(&[0.0])).unwrap()), [0.0]);
    let large = half(&[65504.0]);
    assert_eq!(failed(add(&large, &large)), "22003: value out of range: overflow");
    assert_eq!(failed(multiply(&half(&[1e-7]), &half(&[1e-7]))), "22003: value out of range: underflow");
    assert_eq!(failed(add(&a, &large)), "22000: different halfvec dimensions 3 and 1");
}

#[test]
fn parts_and_order_are_those_of_vectors() {
    let five = half(&[1.0, 2.0, 3.0, 4.0, 5.0]);
    assert_eq!(widen(&subvector(&five, -1, 3).unwrap()), [1.0]);
    assert_eq!(widen(&subvector(&five, 3, i32::MAX).unwrap()), [3.0, 4.0, 5.0]);
    assert_eq!(failed(subvector(&five, 1, 0)), "22000: halfvec must have at least 1 dimension");
    assert!(compare(&half(&[1.0, 2.0]), &half(&[1.0, 2.0, 3.0])).is_lt());
    assert!(compare(&half(&[-1.0]), &half(&[-2.0])).is_gt());
    assert!(compare(&half(&[0.0]), &half(&[-0.0])).is_eq());
}
