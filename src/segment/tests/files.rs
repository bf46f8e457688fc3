//! Files of sealed segments: read back as written, and refused when damaged.

use std::sync::Arc;

use datafusion::arrow::array::{Int32Array, RecordBatch, StringArray};
use datafusion::arrow::datatypes::{DataType, Field, Schema};
use lodedb_sql::error::SqlState;
use lodedb_sql::vector::Metric;
use proptest::prelude::*;

use super::*;
use crate::segment::blocks::{FrameWriter, HEADER, Kind, verify_file};

fn batch(values: std::ops::Range<i32>) -> RecordBatch {
    let schema = Schema::new(vec![Field::new("n", DataType::Int32, false), Field::new("t", DataType::Utf8, true)]);
    let texts: StringArray = values.clone().map(|n| (n % 2 == 0).then(|| format!("text {n}"))).collect();
    let numbers = Int32Array::from_iter_values(values);
    RecordBatch::try_new(Arc::new(schema), vec![Arc::new(numbers), Arc::new(texts)]).expect("batch")
}

#[test]
fn a_sealed_segment_is_read_back() {
    let dir = tempfile::tempdir().expect("folder");
    let fs = os();
    let (rows, one) = ([3u64, 9, 10, 500], [1.0f32, 2.0, 3.0]);
    let varying: [&[f32]; 4] = [&[1.0], &[], &[4.0, 5.0], &[6.0]];
    let vectors = |column: usize, at: u32| -> Result<Option<&[f32]>> {
        Ok(match (column, at) {
            (0, 2) => None,
            (0, _) => Some(&one),
            (_, 1) => None,
            (_, at) => Some(varying[at as usize]),
        })
    };
    let columns = [VectorColumn { id: 4, dims: Some(3) }, VectorColumn { id: 8, dims: None }];
    let scalars = [batch(0..3), batch(3..4)];
    let input = SealInput { rows: &rows, vectors: &vectors, scalars: &scalars };
    let path = dir.path().join("s");
    let files = write_sealed(fs.as_ref(), &path, 77, &columns, &input, &|_| {}).expect("sealed");
    let sealed = Sealed::open(&fs, &path, &files).expect("opened");

    assert_eq!((sealed.id(), sealed.len()), (77, 4));
    assert_eq!((0..4).map(|ordinal| sealed.row_id(ordinal)).collect::<Vec<_>>(), rows);
    assert_eq!((sealed.find(10), sealed.find(11)), (Some(2), None));
    assert_eq!(sealed.vector(0, 1).expect("read"), Some(&one[..]));
    assert_eq!(sealed.vector(0, 2).expect("read"), None);
    assert_eq!(sealed.vector(1, 1).expect("read"), None);
    assert_eq!(sealed.vector(1, 2).expect("read"), Some(&[4.0f32, 5.0][..]));
    assert_eq!(sealed.scalars().expect("read"), Some(&scalars[..]));
    sealed.verify().expect("whole");
    sealed.scrub().expect("whole");
}

#[test]
fn dense_row_ids_are_kept_as_their_base() {
    let dir = tempfile::tempdir().expect("folder");
    let sealed = seal(&dir.path().join("s"), 1, Some(4), &clustered(1, 300, 4, 1_000));
    assert_eq!(sealed.files().row_ids, RowIds::From(1_000));
    assert_eq!((sealed.row_id(299), sealed.find(1_299), sealed.find(1_300)), (1_299, Some(299), None));
}

#[test]
fn a_changed_byte_in_any_primary_file_is_noticed_and_named() {
    let dir = tempfile::tempdir().expect("folder");
    let path = dir.path().join("s");
    let rows: Vec<Row> = clustered(1, 200, 8, 0).into_iter().map(|(row, vector)| (row * 2, vector)).collect();
    let files = seal(&path, 1, Some(8), &rows).files().clone();
    for (entry, _) in files.entries() {
        let file = path.join(&entry.name);
        let whole = std::fs::read(&file).expect("read");
        for at in (0..whole.len()).step_by(37) {
            let mut changed = whole.clone();
            changed[at] ^= 1;
            std::fs::write(&file, &changed).expect("written");
            let error = Sealed::open(&os(), &path, &files).and_then(|sealed| sealed.verify()).expect_err("damage");
            assert_eq!(error.state(), SqlState::DataCorrupted);
            assert!(error.message().contains(&entry.name), "{} at {at}: {}", entry.name, error.message());
        }
        std::fs::write(&file, &whole[..whole.len() - 1]).expect("written");
        assert!(Sealed::open(&os(), &path, &files).is_err(), "{} cut", entry.name);
        std::fs::remove_file(&file).expect("removed");
        assert!(Sealed::open(&os(), &path, &files).is_err(), "{} gone", entry.name);
        std::fs::write(&file, &whole).expect("written");
    }
    Sealed::open(&os(), &path, &files).and_then(|sealed| sealed.verify()).expect("as it was");
}

#[test]
fn a_search_over_a_damaged_block_fails_and_does_not_answer_short() {
    let dir = tempfile::tempdir().expect("folder");
    let path = dir.path().join("s");
    let files = seal(&path, 1, Some(64), &clustered(1, 2_000, 64, 0)).files().clone();
    let file = path.join(&files.vectors[0].name);
    let mut bytes = std::fs::read(&file).expect("read");
    bytes[300_000] ^= 0x40;
    std::fs::write(&file, bytes).expect("written");
    let views = [view_of(&Sealed::open(&os(), &path, &files).expect("its header is whole"))];
    let cancelled = never();
    let request = KnnRequest {
        column: 1,
        metric: Metric::L2,
        query: &[0.0; 64],
        k: 5,
        filter: None,
        effort: Effort::Exact,
        cancelled: &cancelled,
    };
    assert_eq!(search(&views, None, &request).expect_err("damage").state(), SqlState::DataCorrupted);
}

#[test]
fn quantizers_codes_and_calibrations_survive_their_files_and_are_refused_when_damaged() {
    let dir = tempfile::tempdir().expect("folder");
    let fs = os();
    let sealed = seal(&dir.path().join("s"), 1, Some(16), &clustered(1, 3_000, 16, 0));
    let views = [view_of(&sealed)];
    for kind in [IndexKind::IvfPq, IndexKind::IvfFlat, IndexKind::Hnsw] {
        let spec = spec(kind, Metric::Cosine);
        let mut index = index_over(spec.clone(), 16, &views);
        let (quantizer_path, codes_path) = (dir.path().join("q"), dir.path().join("c"));
        let quantizer_entry = index.quantizers[0].save(fs.as_ref(), &quantizer_path).expect("saved");
        let codes_entry = index.segments[&1].save(fs.as_ref(), &codes_path).expect("saved");

        let quantizer =
            Quantizer::open(fs.as_ref(), &quantizer_path, &spec, 1, Some(&quantizer_entry)).expect("opened");
        let codes =
            SegmentIndex::open(fs.as_ref(), &codes_path, &quantizer, &sealed, Some(&codes_entry)).expect("opened");
        let query = clustered(9, 1, 16, 0)[0].1.clone().expect("vector");
        let before = ask(&views, Some(&index), Metric::Cosine, &query, 10, None, Effort::Default).0;
        index.segments.insert(1, codes);
        assert_eq!(ask(&views, Some(&index), Metric::Cosine, &query, 10, None, Effort::Default).0, before);

        for path in [&quantizer_path, &codes_path] {
            let whole = std::fs::read(path).expect("read");
            for at in (0..whole.len()).step_by(whole.len() / 40) {
                let mut changed = whole.clone();
                changed[at] ^= 1;
                std::fs::write(path, &changed).expect("written");
                let refused = if path == &quantizer_path {
                    Quantizer::open(fs.as_ref(), path, &spec, 1, Some(&quantizer_entry)).is_err()
                } else {
                    SegmentIndex::open(fs.as_ref(), path, &quantizer, &sealed, Some(&codes_entry)).is_err()
                };
                assert!(refused, "{kind:?} byte {at} of {}", path.display());
            }
            std::fs::write(path, &whole).expect("written");
        }
        assert!(Quantizer::open(fs.as_ref(), &quantizer_path, &spec, 2, None).is_err(), "another generation");

        let calibration = calibrate(&views, &index, &|_| {}, &never()).expect("measured").expect("enough rows");
        let entry = calibration.save(fs.as_ref(), &dir.path().join("k")).expect("saved");
        let read = Calibration::open(fs.as_ref(), &dir.path().join("k"), 5, Some(&entry)).expect("opened");
        assert_eq!(read, calibration);
    }
}

/// A segment with every kind of file: scattered row ids, vectors of one length and of any, columns.
fn of_every_kind(path: &Path) -> SegmentFiles {
    let rows: Vec<u64> = (0..70).map(|at| at * 3).collect();
    let floats: Vec<f32> = (0..70).map(|n| n as f32).collect();
    let vectors = |column: usize, at: u32| -> Result<Option<&[f32]>> {
        let at = at as usize;
        Ok((!at.is_multiple_of(5)).then(|| if column == 0 { &floats[at..at + 1] } else { &floats[..at % 4] }))
    };
    let columns = [VectorColumn { id: 4, dims: Some(1) }, VectorColumn { id: 8, dims: None }];
    let input = SealInput { rows: &rows, vectors: &vectors, scalars: &[batch(0..70)] };
    write_sealed(os().as_ref(), path, 77, &columns, &input, &|_| {}).expect("sealed")
}

/// Reads all there is; whether it is an error does not matter.
fn read_all(fs: &Arc<dyn FileSystem>, path: &Path, files: &SegmentFiles) {
    let Ok(sealed) = Sealed::open(fs, path, files) else { return };
    for ordinal in 0..sealed.len() {
        assert_eq!(sealed.find(sealed.row_id(ordinal)), Some(ordinal), "what was opened is in order");
        for column in 0..sealed.columns().len() {
            let _ = sealed.vector(column, ordinal);
        }
    }
    let _ = (sealed.scalars().is_ok(), sealed.verify().is_ok(), sealed.scrub().is_ok());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn no_bytes_under_sound_checksums_panic(
        seeds in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(), 0..4usize, any::<u64>()), 1..4),
        cut in prop::option::weighted(0.2, any::<prop::sample::Index>()),
    ) {
        let (dir, fs) = (tempfile::tempdir().expect("folder"), os());
        let path = dir.path().join("s");
        let files = of_every_kind(&path);
        let mut changed = files.clone();
        let entries = files.entries().count();
        for (file, at, kind, value) in seeds {
            let name = files.entries().nth(file.index(entries)).expect("one of them").0.name.clone();
            let entry = rewrite_body(&path.join(&name), |body| {
                if body.is_empty() {
                    return;
                }
                let at = at.index(body.len());
                match kind {
                    0 => body[at] ^= value as u8,
                    // Headers are at the front.
                    1 => body[at.min(at % 40)] = value as u8,
                    2 => body[at / 8 * 8..].iter_mut().zip(value.to_le_bytes()).for_each(|(byte, put)| *byte = put),
                    _ => body[at..].iter_mut().take(8).for_each(|byte| *byte = 0xff),
                }
                if let Some(cut) = cut {
                    body.truncate(cut.index(body.len()));
                }
            });
            rename(&mut changed, &name, entry);
        }
        read_all(&fs, &path, &changed);
    }

    #[test]
    fn no_bytes_of_a_file_panic(bytes in prop::collection::vec(any::<u8>(), 0..300), honest: bool) {
        let dir = tempfile::tempdir().expect("folder");
        let path = dir.path().join("f");
        let mut bytes = bytes;
        if honest && bytes.len() >= 96 {
            seal_frame(&mut bytes);
        }
        std::fs::write(&path, &bytes).expect("written");
        let entry = FileEntry { name: "f".into(), len: bytes.len() as u64, crc: 0 };
        prop_assert!(verify_file(&OsFileSystem, &path, &entry).is_err());
    }
}

fn rename(files: &mut SegmentFiles, name: &str, entry: FileEntry) {
    if let RowIds::File(known) = &mut files.row_ids
        && known.name == name
    {
        *known = entry.clone();
    }
    files
        .vectors
        .iter_mut()
        .chain(&mut files.scalars)
        .filter(|known| known.name == name)
        .for_each(|known| *known = entry.clone());
}

/// Changes the body of a framed file and makes its frame fit again.
pub(super) fn rewrite_body(path: &Path, change: impl FnOnce(&mut Vec<u8>)) -> FileEntry {
    let bytes = std::fs::read(path).expect("read");
    let number = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight"));
    let (owner, body) = (number(16), number(24) as usize);
    let kinds = [Kind::Rows, Kind::Vectors, Kind::Scalars, Kind::Quantizer, Kind::Index];
    let kind = kinds.into_iter().find(|kind| bytes[12] == *kind as u8).expect("known");
    let mut body = bytes[HEADER..HEADER + body].to_vec();
    change(&mut body);
    let fs = OsFileSystem;
    let mut writer = FrameWriter::create(&fs as &dyn FileSystem, path, kind, owner).expect("created");
    writer.put(&body).expect("written");
    writer.publish().expect("published")
}

/// Puts sound checksums where a header and a trailer have them.
fn seal_frame(bytes: &mut [u8]) {
    bytes[..12].copy_from_slice(b"LODESEG1\x01\0\0\0");
    let header = crc32fast::hash(&bytes[..60]);
    bytes[60..64].copy_from_slice(&header.to_le_bytes());
    let trailer = bytes.len() - 16;
    bytes[trailer..trailer + 4].copy_from_slice(b"LODE");
    let crc = crc32fast::hash(&bytes[trailer..trailer + 12]);
    bytes[trailer + 12..].copy_from_slice(&crc.to_le_bytes());
}
