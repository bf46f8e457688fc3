//! Merging: the live rows and nothing else, and codes that were moved nominate as codes made anew.

use lodedb_sql::vector::Metric;

use super::*;

/// Three segments whose row ids interleave, with dead rows.
fn interleaved(dir: &Path, metric: Metric) -> (Vec<SegmentView>, IndexView) {
    let mut views = Vec::new();
    for id in 1..=3u64 {
        let rows: Vec<Row> =
            clustered(id, 900, 12, 0).into_iter().map(|(row, vector)| (row * 3 + id, vector)).collect();
        views.push(view_of(&seal(&dir.join(id.to_string()), id, Some(12), &rows)));
    }
    let index = index_over(spec(IndexKind::IvfPq, metric), 12, &views);
    for view in &mut views {
        view.dead = (0..900).step_by(7).collect();
    }
    (views, index)
}

#[test]
fn a_merged_segment_holds_the_live_rows_and_moved_codes_equal_new_ones() {
    let dir = tempfile::tempdir().expect("folder");
    let (fs, stop) = (os(), never());
    for metric in [Metric::L2, Metric::InnerProduct, Metric::Cosine] {
        let folder = dir.path().join(metric.operator().replace(['<', '>'], "_"));
        std::fs::create_dir(&folder).expect("folder");
        let (views, index) = interleaved(&folder, metric);
        let rows = MergedRows::plan(&views).expect("planned");
        let columns = [VectorColumn { id: 1, dims: Some(12) }];
        let path = folder.join("merged");
        let none = Merging::WithoutScalars;
        let files =
            merge_sealed(fs.as_ref(), &path, 9, &columns, &views, &rows, &none, &|_| {}, &|_| Ok(())).expect("merged");
        let merged = Sealed::open(&fs, &path, &files).expect("opened");

        let live: u32 = views.iter().map(SegmentView::live).sum();
        assert_eq!(merged.len(), live);
        for (input, view) in views.iter().enumerate() {
            for ordinal in 0..view.segment.len() {
                let place = rows.place(input, ordinal);
                assert_eq!(place.is_none(), view.dead.contains(ordinal));
                if let Some(place) = place {
                    assert_eq!(merged.row_id(place), view.segment.row_id(ordinal));
                    assert_eq!(merged.vector(0, place).expect("read"), view.segment.vector(0, ordinal).expect("read"));
                }
            }
        }

        let quantizer = &index.quantizers[0];
        let inputs: Vec<_> = (1..=3u64).map(|id| index.segments.get(&id).cloned()).collect();
        let moved = merge_index(quantizer, &inputs, &rows, &merged, 0, &|_| {}, &stop).expect("moved");
        let anew = SegmentIndex::build(quantizer, &merged, 0, &|_| {}, &stop).expect("built");
        assert_eq!(moved.coded(), anew.coded());
        let after = [view_of(&merged)];
        let with = |codes: &Arc<SegmentIndex>| IndexView {
            segments: HashMap::from([(9, Arc::clone(codes))]),
            ..index.clone()
        };
        // Few candidates, so that a code in a wrong place would change the answer.
        let effort = Effort::Explicit { probes: 4, candidates: 40 };
        for (_, query) in clustered(50, 20, 12, 0) {
            let query = query.expect("vector");
            let by_moved = ask(&after, Some(&with(&moved)), metric, &query, 10, None, effort).0;
            let by_new = ask(&after, Some(&with(&anew)), metric, &query, 10, None, effort).0;
            let shared = rows_of(&by_moved).iter().filter(|row| rows_of(&by_new).contains(row)).count();
            // Codes of equal estimate may be cut off differently.
            assert!(shared >= 9, "{metric:?}: {shared} of 10");
        }

        let codes_path = folder.join("codes");
        let entry = moved.save(fs.as_ref(), &codes_path).expect("saved");
        SegmentIndex::open(fs.as_ref(), &codes_path, quantizer, &merged, Some(&entry)).expect("opened");
    }
}

#[test]
fn a_growing_segment_is_sealed_by_merging_it() {
    let dir = tempfile::tempdir().expect("folder");
    let fs = os();
    let mut view = growing(1, Some(2), &[]);
    if let Segment::Mutable { segment, len } = &mut view.segment {
        for (row, x) in [(5u64, 1.0f32), (3, 2.0), (5, 3.0)] {
            segment.append(row, &[Some(&[x, x])]).expect("appended");
        }
        *len = 3;
    }
    // The older version of row 5.
    view.dead.insert(0);
    let views = [view];
    let rows = MergedRows::plan(&views).expect("planned");
    assert_eq!(rows.rows(), [3, 5]);
    let columns = [VectorColumn { id: 1, dims: Some(2) }, VectorColumn { id: 2, dims: Some(4) }];
    let path = dir.path().join("s");
    let none = Merging::WithoutScalars;
    let files =
        merge_sealed(fs.as_ref(), &path, 2, &columns, &views, &rows, &none, &|_| {}, &|_| Ok(())).expect("merged");
    let sealed = Sealed::open(&fs, &path, &files).expect("opened");
    assert_eq!(sealed.vector(0, 1).expect("read"), Some(&[3.0f32, 3.0][..]));
    assert_eq!(sealed.vector(1, 0).expect("read"), None);
}
