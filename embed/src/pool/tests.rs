//! Pooling and normalising, by hand.

use super::{Shape, normalize, pool};
use crate::Pooling;

fn pooled(shape: Shape, values: &[f32], seen: usize) -> [f32; 2] {
    let mut out = [f32::NAN; 2];
    pool(shape, values, seen, &mut out);
    out
}

#[test]
fn padding_does_not_count() {
    let tokens = [1.0, 2.0, 3.0, 6.0, 100.0, 100.0];
    assert_eq!(pooled(Shape::Tokens(Pooling::Mean), &tokens, 2), [2.0, 4.0]);
    assert_eq!(pooled(Shape::Tokens(Pooling::Last), &tokens, 2), [3.0, 6.0]);
    assert_eq!(pooled(Shape::Tokens(Pooling::Cls), &tokens, 2), [1.0, 2.0]);
}

#[test]
fn maps_give_their_means() {
    assert_eq!(pooled(Shape::Maps, &[1.0, 3.0, 10.0, 20.0], 0), [2.0, 15.0]);
    assert_eq!(pooled(Shape::Maps, &[7.0, 8.0], 0), [7.0, 8.0]);
}

#[test]
fn large_numbers_normalize_and_none_stays_none() {
    let mut large = [3e38, 3e38];
    normalize(&mut large);
    assert!((large[0] - 0.5f32.sqrt()).abs() < 1e-6);
    let mut none = [0.0, 0.0];
    normalize(&mut none);
    assert_eq!(none, [0.0, 0.0]);
}
