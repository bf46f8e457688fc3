//! The search against its definition: every metric, every kind, filters, deletes, NULLs, several segments.

use lodedb_sql::error::SqlState;
use lodedb_sql::vector::Metric;

use super::*;

const METRICS: [Metric; 4] = [Metric::L2, Metric::InnerProduct, Metric::Cosine, Metric::L1];
const KINDS: [IndexKind; 3] = [IndexKind::IvfPq, IndexKind::IvfFlat, IndexKind::Hnsw];

/// Two sealed segments and a growing one, some rows NULL, some dead.
fn mixed(dir: &Path, dims: usize) -> Vec<SegmentView> {
    let mut views = Vec::new();
    for (id, rows) in [(1, 1_500), (2, 700)] {
        let mut data = clustered(id, rows, dims, id * 10_000);
        data.iter_mut().step_by(13).for_each(|row| row.1 = None);
        views.push(view_of(&seal(&dir.join(id.to_string()), id, Some(dims as u32), &data)));
    }
    views.push(growing(3, Some(dims as u32), &clustered(3, 150, dims, 30_000)));
    for view in &mut views {
        (0..view.segment.len()).step_by(17).for_each(|ordinal| {
            view.dead.insert(ordinal);
        });
    }
    views
}

fn queries(count: usize, dims: usize) -> Vec<Vec<f32>> {
    clustered(99, count, dims, 0).into_iter().filter_map(|(_, vector)| vector).collect()
}

fn recall(found: &[RowId], truth: &[RowId]) -> f64 {
    found.iter().filter(|row| truth.contains(row)).count() as f64 / truth.len() as f64
}

#[test]
fn without_an_index_the_answer_is_the_definition() {
    let dir = tempfile::tempdir().expect("folder");
    let views = mixed(dir.path(), 9);
    for metric in METRICS {
        for query in queries(5, 9) {
            let found = ask(&views, None, metric, &query, 20, None, Effort::Default).0;
            assert_eq!(rows_of(&found), by_definition(&views, metric, &query, 20, |_| true), "{metric:?}");
            for neighbor in found {
                let view = &views[neighbor.segment as usize];
                let vector = view.segment.vector(0, neighbor.ordinal).expect("read").expect("vector");
                assert_eq!(neighbor.distance, metric.distance(&query, vector));
            }
        }
    }
}

#[test]
fn with_everything_visited_lists_give_the_definition() {
    let dir = tempfile::tempdir().expect("folder");
    let views = mixed(dir.path(), 9);
    for kind in [IndexKind::IvfPq, IndexKind::IvfFlat] {
        for metric in METRICS {
            let index = index_over(spec(kind, metric), 9, &views);
            for query in queries(5, 9) {
                let found = ask(&views, Some(&index), metric, &query, 10, None, ALL).0;
                assert_eq!(rows_of(&found), by_definition(&views, metric, &query, 10, |_| true), "{kind:?} {metric:?}");
            }
        }
    }
}

#[test]
fn default_effort_recalls_enough_with_and_without_a_filter() {
    let dir = tempfile::tempdir().expect("folder");
    let views = mixed(dir.path(), 16);
    let third = Passing(|row: RowId| row.is_multiple_of(3));
    for kind in KINDS {
        for metric in [Metric::L2, Metric::Cosine, Metric::L1] {
            let mut index = index_over(spec(kind, metric), 16, &views);
            index.calibration = calibrate(&views, &index, &|_| {}, &never()).expect("measured").map(Arc::new);
            let (mut all, mut filtered) = (0.0, 0.0);
            for query in queries(40, 16) {
                let found = ask(&views, Some(&index), metric, &query, 10, None, Effort::Default).0;
                all += recall(&rows_of(&found), &by_definition(&views, metric, &query, 10, |_| true)) / 40.0;
                let found = ask(&views, Some(&index), metric, &query, 10, Some(&third), Effort::Default).0;
                let truth = by_definition(&views, metric, &query, 10, |row| row.is_multiple_of(3));
                filtered += recall(&rows_of(&found), &truth) / 40.0;
            }
            assert!(all >= 0.93 && filtered >= 0.93, "{kind:?} {metric:?}: {all} and {filtered}");
        }
    }
}

#[test]
fn k_rows_come_back_whenever_k_match() {
    let dir = tempfile::tempdir().expect("folder");
    let views = mixed(dir.path(), 8);
    let least = Effort::Explicit { probes: 1, candidates: 1 };
    for kind in KINDS {
        let index = index_over(spec(kind, Metric::L2), 8, &views);
        for (k, modulus) in [(10, 1), (10, 2), (30, 40), (5, 300), (100, 900), (5_000, 1)] {
            let filter = Passing(move |row: RowId| row.is_multiple_of(modulus));
            for query in queries(3, 8) {
                let truth = by_definition(&views, Metric::L2, &query, k, |row| row.is_multiple_of(modulus));
                let found = ask(&views, Some(&index), Metric::L2, &query, k, Some(&filter), least).0;
                assert_eq!(found.len(), truth.len(), "{kind:?} k {k} of every {modulus}th");
                assert!(found.iter().all(|neighbor| neighbor.row.is_multiple_of(modulus)));
            }
        }
    }
}

#[test]
fn dead_rows_never_come_back_even_when_most_are_dead() {
    let dir = tempfile::tempdir().expect("folder");
    let sealed = seal(&dir.path().join("s"), 1, Some(8), &clustered(1, 2_000, 8, 0));
    let whole = [view_of(&sealed)];
    let index = index_over(spec(IndexKind::IvfPq, Metric::L2), 8, &whole);
    for keep in [2u32, 10, 400, 2_000] {
        let mut views = whole.to_vec();
        views[0].dead = (0..2_000).filter(|ordinal| ordinal % keep != 0).collect();
        for query in queries(4, 8) {
            let found = ask(&views, Some(&index), Metric::L2, &query, 10, None, Effort::Default).0;
            assert_eq!(found.len(), (2_000 / keep as usize).clamp(1, 10), "one of {keep} lives");
            assert!(found.iter().all(|neighbor| neighbor.row % u64::from(keep) == 0));
        }
    }
}

#[test]
fn zero_vectors_come_last_under_cosine_and_only_to_fill_up() {
    let dir = tempfile::tempdir().expect("folder");
    let mut rows = clustered(1, 1_200, 8, 0);
    rows[5].1 = Some(vec![0.0; 8]);
    rows[700].1 = Some(vec![0.0; 8]);
    let views = [view_of(&seal(&dir.path().join("s"), 1, Some(8), &rows))];
    let query = &queries(1, 8)[0];
    for kind in KINDS {
        let index = index_over(spec(kind, Metric::Cosine), 8, &views);
        for index in [None, Some(&index)] {
            let found = ask(&views, index, Metric::Cosine, query, 1_200, None, Effort::Default).0;
            assert_eq!(found.len(), 1_200, "{kind:?}");
            assert!(found[1_198..].iter().all(|neighbor| neighbor.distance.is_nan()));
            assert_eq!(rows_of(&found[1_198..]), [5, 700]);
            let found = ask(&views, index, Metric::Cosine, query, 10, None, Effort::Default).0;
            assert!(found.iter().all(|neighbor| !neighbor.distance.is_nan()));
            // To a zero query nothing has a distance, so row ids decide.
            let found = ask(&views, index, Metric::Cosine, &[0.0; 8], 3, None, Effort::Default).0;
            assert_eq!(rows_of(&found), [0, 1, 2]);
        }
    }
}

#[test]
fn equal_distances_are_ordered_by_row() {
    let dir = tempfile::tempdir().expect("folder");
    let same: Vec<Row> = (0..50).map(|row| (row, Some(vec![1.0, 2.0]))).collect();
    let views =
        [growing(2, Some(2), &[(900, Some(vec![1.0, 2.0]))]), view_of(&seal(&dir.path().join("s"), 1, Some(2), &same))];
    let found = ask(&views, None, Metric::L2, &[1.0, 2.0], 5, None, Effort::Default).0;
    assert_eq!(rows_of(&found), [0, 1, 2, 3, 4]);
}

#[test]
fn dimensions_that_differ_are_refused() {
    let cancelled = never();
    let asking = |views: &[SegmentView], query: &[f32]| {
        let request = KnnRequest {
            column: 1,
            metric: Metric::L2,
            query,
            k: 1,
            filter: None,
            effort: Effort::Default,
            cancelled: &cancelled,
        };
        search(views, None, &request).map(|(found, _)| rows_of(&found))
    };
    let free = [growing(1, None, &[(1, Some(vec![1.0, 2.0])), (2, Some(vec![1.0, 2.0, 3.0]))])];
    let error = asking(&free, &[1.0, 2.0]).expect_err("one row has three");
    assert_eq!((error.state(), error.message()), (SqlState::DataException, "different vector dimensions 3 and 2"));
    let fixed = [growing(1, Some(3), &[])];
    assert_eq!(asking(&fixed, &[1.0, 2.0]).expect_err("two for three").state(), SqlState::DataException);
    assert_eq!(asking(&[growing(1, None, &[(4, Some(vec![1.0, 2.0]))])], &[1.0, 2.0]).expect("fits"), [4]);
}

#[test]
fn a_column_that_a_segment_lacks_is_null_in_it() {
    let views = [growing(1, Some(2), &[(1, Some(vec![1.0, 2.0]))])];
    let cancelled = never();
    let request = KnnRequest {
        column: 77,
        metric: Metric::L2,
        query: &[1.0],
        k: 3,
        filter: None,
        effort: Effort::Default,
        cancelled: &cancelled,
    };
    assert!(search(&views, None, &request).expect("searched").0.is_empty());
}

#[test]
fn a_raised_flag_stops_a_search() {
    let views = [growing(1, Some(4), &clustered(1, 5_000, 4, 0))];
    let cancelled = AtomicBool::new(true);
    let request = KnnRequest {
        column: 1,
        metric: Metric::L2,
        query: &[0.0; 4],
        k: 3,
        filter: None,
        effort: Effort::Exact,
        cancelled: &cancelled,
    };
    assert_eq!(search(&views, None, &request).expect_err("stopped").state(), SqlState::QueryCanceled);
}

#[test]
fn tuning_words_are_checked_as_pgvector_checks_them() {
    let check = |kind: IndexKind, dims: Option<u32>, options: &[(&str, &str)]| {
        let options: Vec<_> = options.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
        IndexSpec::validate(kind, lodedb_sql::ScalarType::Vector, dims, &options)
            .map_err(|e| (e.state(), e.message().to_owned()))
    };
    assert!(check(IndexKind::IvfPq, Some(16_000), &[]).is_ok());
    assert!(check(IndexKind::Hnsw, Some(3), &[("m", "16"), ("EF_construction", "64")]).is_ok());
    let refused = [
        (check(IndexKind::IvfFlat, None, &[]), SqlState::InvalidParameterValue, "column does not have dimensions"),
        (
            check(IndexKind::Hnsw, Some(2_001), &[]),
            SqlState::ProgramLimitExceeded,
            "column cannot have more than 2000 dimensions for hnsw index",
        ),
        (
            check(IndexKind::IvfFlat, Some(3), &[("lists", "0")]),
            SqlState::InvalidParameterValue,
            "value 0 out of bounds for option \"lists\"",
        ),
        (
            check(IndexKind::Hnsw, Some(3), &[("m", "16"), ("ef_construction", "31")]),
            SqlState::InvalidParameterValue,
            "ef_construction must be greater than or equal to 2 * m",
        ),
        (
            check(IndexKind::Flat, Some(3), &[("lists", "4")]),
            SqlState::InvalidParameterValue,
            "unrecognized parameter \"lists\"",
        ),
    ];
    for (result, state, message) in refused {
        assert_eq!(result.expect_err(message), (state, message.to_owned()));
    }
}
