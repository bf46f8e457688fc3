//! Sparse vectors against dense ones.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use proptest::prelude::*;

use super::*;

fn sparse(dimensions: u32, elements: &[(i64, f32)]) -> SparseVector {
    SparseVector::from_elements(dimensions, elements.iter().copied()).unwrap()
}

fn failed(elements: &[(i64, f32)]) -> String {
    let error = SparseVector::from_elements(3, elements.iter().copied()).unwrap_err();
    format!("{}: {}", error.state().code(), error.message())
}

#[test]
fn elements_are_in_bounds_in_order_finite_and_not_zero() {
    assert_eq!(failed(&[(3, 1.0)]), "22000: sparsevec index out of bounds");
    assert_eq!(failed(&[(-1, 1.0)]), "22000: sparsevec index out of bounds");
    assert_eq!(failed(&[(1, 1.0), (0, 1.0)]), "22000: sparsevec indices must be in ascending order");
    assert_eq!(failed(&[(1, 1.0), (1, 1.0)]), "22000: sparsevec indices must not contain duplicates");
    assert_eq!(failed(&[(1, f32::NAN)]), "22000: NaN not allowed in sparsevec");
    assert_eq!(failed(&[(1, 0.0)]), "22000: binary representation of sparsevec cannot contain zero values");
    let error = SparseVector::from_dense(&[1.0; 16_001]).unwrap_err();
    assert_eq!(error.message(), "sparsevec cannot have more than 16000 non-zero elements");
    assert_eq!(check_dimensions(-1).unwrap_err().message(), "sparsevec must have at least 1 dimension");
    let error = check_dimensions(1_000_000_001).unwrap_err();
    assert_eq!(error.message(), "sparsevec cannot have more than 1000000000 dimensions");
}

#[test]
fn a_vector_of_length_one_drops_what_became_zero() {
    assert_eq!(sparse(2, &[(0, 3.0), (1, 4.0)]).l2_normalize().unwrap(), sparse(2, &[(0, 0.6), (1, 0.8)]));
    assert_eq!(sparse(2, &[(0, 3e38), (1, 1e-37)]).l2_normalize().unwrap(), sparse(2, &[(0, 1.0)]));
    assert_eq!(sparse(2, &[]).l2_normalize().unwrap(), sparse(2, &[]));
}

#[test]
fn distances_may_be_infinite_or_nothing() {
    let large = sparse(1, &[(0, 3e38)]);
    assert_eq!(large.distance(&large, Metric::InnerProduct), f64::NEG_INFINITY);
    assert!(large.distance(&large, Metric::Cosine).is_nan());
    assert!(sparse(1, &[]).distance(&sparse(1, &[]), Metric::Cosine).is_nan());
    assert_eq!(large.distance(&sparse(1, &[(0, -3e38)]), Metric::L1), f64::INFINITY);
}

fn any_dense() -> impl Strategy<Value = Vec<f32>> {
    proptest::collection::vec(prop_oneof![Just(0.0), (-3i8..=3).prop_map(f32::from)], 6)
}

proptest! {
    #[test]
    fn all_is_as_with_the_dense_vectors(a in any_dense(), b in any_dense()) {
        let (x, y) = (SparseVector::from_dense(&a).unwrap(), SparseVector::from_dense(&b).unwrap());
        prop_assert_eq!(&x.to_dense(), &a);
        for metric in [Metric::L2, Metric::InnerProduct, Metric::Cosine, Metric::L1] {
            let (sparse, dense) = (x.distance(&y, metric), metric.distance(&a, &b));
            prop_assert!(sparse == dense || sparse.is_nan() && dense.is_nan(), "{metric:?}: {sparse} and {dense}");
        }
        prop_assert_eq!(compare(&x, &y), crate::vector::compare(&a, &b));
        prop_assert_eq!(SparseVector::from_sort_words(&x.sort_words()), Some(x));
    }
}
