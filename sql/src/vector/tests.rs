//! Vector arithmetic against plain loops and pgvector's expected results.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use proptest::prelude::*;

use super::*;

const METRICS: [Metric; 4] = [Metric::L2, Metric::InnerProduct, Metric::Cosine, Metric::L1];

#[track_caller]
fn fails<T: std::fmt::Debug>(result: Result<T>, expected: &str) {
    let error = result.unwrap_err();
    assert_eq!(format!("{}: {}", error.state().code(), error.message()), expected);
}

#[test]
fn distances_are_pgvectors() {
    assert_eq!(Metric::L2.distance(&[0.0, 0.0], &[3.0, 4.0]), 5.0);
    assert_eq!(Metric::InnerProduct.distance(&[1.0, 2.0], &[3.0, 4.0]), -11.0);
    assert_eq!(Metric::Cosine.distance(&[1.0, 2.0], &[2.0, 4.0]), 0.0);
    assert_eq!(Metric::Cosine.distance(&[1.0, 1.0], &[-1.0, -1.0]), 2.0);
    assert!(Metric::Cosine.distance(&[1.0, 2.0], &[0.0, 0.0]).is_nan());
    assert_eq!(Metric::L1.distance(&[0.0, 0.0], &[3.0, 4.0]), 7.0);
    assert_eq!(Metric::L2.distance(&[3e38], &[-3e38]), f64::INFINITY);
    assert_eq!(spherical_distance(&[1.0, 0.0], &[0.0, 1.0]), 0.5);
}

#[test]
fn arithmetic_refuses_what_pgvector_refuses() {
    assert_eq!(&*add(&[1.0, 2.0], &[3.0, 4.0]).unwrap(), &[4.0, 6.0]);
    assert_eq!(&*subtract(&[1.0, 2.0], &[3.0, 5.0]).unwrap(), &[-2.0, -3.0]);
    assert_eq!(&*multiply(&[1.0, 0.0], &[3.0, 5.0]).unwrap(), &[3.0, 0.0]);
    assert_eq!(&*concat(&[1.0], &[2.0]).unwrap(), &[1.0, 2.0]);
    fails(add(&[1.0, 2.0], &[3.0]), "22000: different vector dimensions 2 and 1");
    fails(add(&[3e38], &[3e38]), "22003: value out of range: overflow");
    fails(subtract(&[-3e38], &[3e38]), "22003: value out of range: overflow");
    fails(multiply(&[1e37], &[1e37]), "22003: value out of range: overflow");
    fails(multiply(&[1e-37], &[1e-37]), "22003: value out of range: underflow");
    fails(concat(&[0.0; 16_000], &[0.0]), "54000: vector cannot have more than 16000 dimensions");
}

#[test]
fn norms_and_parts() {
    assert_eq!(norm(&[3.0, 4.0]), 5.0);
    assert_eq!(norm(&[3e37, 4e37]), f64::from(3e37f32).hypot(f64::from(4e37f32)));
    assert_eq!(&*l2_normalize(&[3.0, 4.0]).unwrap(), &[0.6, 0.8]);
    assert_eq!(&*l2_normalize(&[0.0, 0.0]).unwrap(), &[0.0, 0.0]);
    let five = [1.0, 2.0, 3.0, 4.0, 5.0];
    assert_eq!(&*subvector(&five, 1, 3).unwrap(), &five[..3]);
    assert_eq!(&*subvector(&five, 3, 9).unwrap(), &five[2..]);
    assert_eq!(&*subvector(&five, -1, 3).unwrap(), &five[..1]);
    assert_eq!(&*subvector(&five, 3, i32::MAX).unwrap(), &five[2..]);
    for (start, count) in [(1, 0), (1, -1), (6, 1), (-1, 2), (i32::MIN, i32::MAX)] {
        fails(subvector(&five, start, count), "22000: vector must have at least 1 dimension");
    }
}

#[test]
fn averages_sum_in_double_precision() {
    let mut average = VectorAverage::default();
    assert_eq!(average.finish().unwrap(), None);
    average.add(&[1.0, 2.0]).unwrap();
    let mut other = VectorAverage::default();
    other.add(&[3.0, 6.0]).unwrap();
    average.merge(&other).unwrap();
    assert_eq!(&*average.finish().unwrap().unwrap(), &[2.0, 4.0]);
    fails(average.add(&[1.0]), "22000: expected 2 dimensions, not 1");
    let mut large = VectorAverage::default();
    large.add(&[3e38]).unwrap();
    large.add(&[3e38]).unwrap();
    assert_eq!(&*large.finish().unwrap().unwrap(), &[3e38]);
}

#[test]
fn components_are_finite() {
    for bad in [f32::NAN, -f32::NAN] {
        fails(check_components(&[1.0, bad]), "22000: NaN not allowed in vector");
    }
    for bad in [f32::INFINITY, f32::NEG_INFINITY] {
        fails(check_components(&[1.0, bad]), "22000: infinite value not allowed in vector");
    }
    check_components(&[f32::MAX, f32::MIN, -0.0, f32::MIN_POSITIVE]).unwrap();
}

#[test]
fn vectors_order_by_component_then_length() {
    assert_eq!(compare(&[1.0, 2.0], &[1.0, 3.0]), Ordering::Less);
    assert_eq!(compare(&[1.0, 2.0], &[1.0]), Ordering::Greater);
    assert_eq!(compare(&[2.0], &[1.0, 9.0]), Ordering::Greater);
    assert_eq!(compare(&[0.0], &[-0.0]), Ordering::Equal);
}

fn pair() -> impl Strategy<Value = (Vec<f32>, Vec<f32>)> {
    (1usize..300).prop_flat_map(|length| {
        let components = || proptest::collection::vec(-10.0f32..10.0, length);
        (components(), components())
    })
}

proptest! {
    #[test]
    fn a_prepared_query_gives_the_same_bits((a, b) in pair()) {
        for metric in METRICS {
            let prepared = metric.prepare(&a);
            prop_assert_eq!(prepared.distance(&b).to_bits(), metric.distance(&a, &b).to_bits());
            prop_assert_eq!(metric.distance(&a, &b).to_bits(), metric.distance(&b, &a).to_bits());
            let key = prepared.order_key(&b);
            prop_assert_eq!(metric.distance_of_key(key).to_bits(), prepared.distance(&b).to_bits());
        }
    }

    #[test]
    fn kernels_agree_with_plain_loops((a, b) in pair()) {
        let pairs = || a.iter().zip(&b).map(|(&x, &y)| (f64::from(x), f64::from(y)));
        let scale: f64 = pairs().map(|(x, y)| x.abs().max(y.abs()).powi(2)).sum::<f64>() + 1.0;
        let close = |fast: f32, slow: f64| (f64::from(fast) - slow).abs() < 4e-6 * scale;
        prop_assert!(close(dot(&a, &b), pairs().map(|(x, y)| x * y).sum()));
        prop_assert!(close(l2_squared(&a, &b), pairs().map(|(x, y)| (x - y) * (x - y)).sum()));
        prop_assert!(close(l1(&a, &b), pairs().map(|(x, y)| (x - y).abs()).sum()));
    }

    #[test]
    fn order_keys_order_as_distances_do((a, b) in pair(), shift in 0usize..3) {
        // A neighbour of `b` by one component's last bit, where the key must not tie or swap.
        let mut c = b.clone();
        c[0] = f32::from_bits(c[0].to_bits() + shift as u32);
        for metric in METRICS {
            let prepared = metric.prepare(&a);
            let by_key = prepared.order_key(&b).partial_cmp(&prepared.order_key(&c));
            prop_assert_eq!(by_key, prepared.distance(&b).partial_cmp(&prepared.distance(&c)));
        }
    }
}
