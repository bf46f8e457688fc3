//! The growing segment: what it keeps, what it refuses, and that readers never see half a row.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use lodedb_sql::error::SqlState;

use crate::segment::{Mutable, VectorColumn};

fn two_columns() -> Arc<Mutable> {
    Mutable::new(1, vec![VectorColumn { id: 1, dims: Some(2) }, VectorColumn { id: 2, dims: None }])
}

#[test]
fn rows_are_read_back_across_chunks() {
    let segment = two_columns();
    for row in 0..1_000u64 {
        let (fixed, varying) = ([row as f32, 1.0], vec![row as f32; (row % 5) as usize + 1]);
        let fixed = (row % 3 != 0).then_some(&fixed[..]);
        let ordinal = segment.append(row + 10, &[fixed, Some(&varying)]).expect("appended");
        assert_eq!(u64::from(ordinal), row);
    }
    for ordinal in 0..1_000u32 {
        assert_eq!(segment.row_id(ordinal), u64::from(ordinal) + 10);
        let expected = [ordinal as f32, 1.0];
        assert_eq!(segment.vector(0, ordinal), (ordinal % 3 != 0).then_some(&expected[..]));
        assert_eq!(segment.vector(1, ordinal).map(<[f32]>::len), Some(ordinal as usize % 5 + 1));
        assert_eq!(segment.find(u64::from(ordinal) + 10, 1_000), Some(ordinal));
    }
    assert_eq!(segment.vector(0, 1_000), None);
    assert_eq!(segment.find(9, 1_000), None);
}

#[test]
fn find_gives_the_latest_version_a_view_sees() {
    let segment = two_columns();
    for row in [7, 8, 7, 7] {
        segment.append(row, &[None, None]).expect("appended");
    }
    assert_eq!(segment.find(7, 4), Some(3));
    assert_eq!(segment.find(7, 3), Some(2));
    assert_eq!(segment.find(7, 1), Some(0));
    assert_eq!(segment.find(7, 0), None);
    assert_eq!(segment.find(8, 1), None);
}

#[test]
fn a_refused_row_leaves_nothing() {
    let segment = two_columns();
    let error = segment.append(1, &[Some(&[1.0, 2.0, 3.0]), None]).expect_err("three for two");
    assert_eq!(error.state(), SqlState::DataException);
    assert_eq!(error.message(), "expected 2 dimensions, not 3");
    assert_eq!(segment.len(), 0);
}

#[test]
fn readers_see_whole_rows_while_the_writer_appends() {
    let segment = Mutable::new(1, vec![VectorColumn { id: 1, dims: Some(16) }]);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !done.load(Ordering::Acquire) {
                    let len = segment.len();
                    for ordinal in len.saturating_sub(200)..len {
                        let vector = segment.vector(0, ordinal).expect("published");
                        assert!(vector.iter().all(|&x| x == ordinal as f32), "row {ordinal} of {len} is torn");
                        assert_eq!(segment.find(u64::from(ordinal) * 3, len), Some(ordinal));
                    }
                }
            });
        }
        for row in 0..20_000u64 {
            segment.append(row * 3, &[Some(&[row as f32; 16])]).expect("appended");
        }
        done.store(true, Ordering::Release);
    });
}
