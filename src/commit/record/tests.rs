//! The records of a commit, cut and put together again.
#![expect(clippy::unwrap_used, reason = "a test ends at the first thing that is wrong")]

use std::str::FromStr;
use std::sync::Arc;

use bigdecimal::BigDecimal;
use lodedb_sql::Datum;
use lodedb_sql::datum::{ArrayDatum, Interval};
use lodedb_sql::types::ScalarType;
use proptest::prelude::*;

use super::*;

fn every_datum() -> Row {
    vec![
        Datum::Null,
        Datum::Bool(true),
        Datum::Int2(-2),
        Datum::Int4(4),
        Datum::Int8(i64::MIN),
        Datum::Float4(1.5),
        Datum::Float8(f64::INFINITY),
        Datum::Numeric(BigDecimal::from_str("-123456789012345678901234567890.120").unwrap()),
        Datum::Text("grün".into()),
        Datum::Bytea(vec![0, 255]),
        Datum::Date(-1),
        Datum::Time(1),
        Datum::Timestamp(i64::MAX),
        Datum::Timestamptz(0),
        Datum::Interval(Interval { months: 1, days: -2, microseconds: 3 }),
        Datum::Uuid([7; 16]),
        Datum::Jsonb("{\"a\": 1}".into()),
        Datum::Oid(16385),
        Datum::Vector(Arc::from([1.0f32, -2.5])),
        Datum::Array(Box::new(ArrayDatum {
            element: ScalarType::Int4,
            dimensions: vec![(2, 1)],
            elements: vec![Datum::Int4(1), Datum::Null],
        })),
    ]
    .into()
}

fn read_back(ops: &[Op], header: &Header) -> Vec<CommitRecord> {
    let mut assembler = Assembler::default();
    EncodedOps::encode(ops)
        .records(7, header)
        .iter()
        .enumerate()
        .filter_map(|(at, record)| assembler.push(at as u64 + 7, record).unwrap())
        .collect()
}

#[test]
fn every_value_survives_the_log() {
    let ops = vec![
        Op::Insert { table: 1, rows: vec![every_datum()] },
        Op::Update { table: 1, row: 9, values: every_datum(), moved: true },
        Op::Delete { table: 1, row: 3 },
        Op::Sequence { id: 5, value: Some(-1) },
    ];
    let header = Header { bases: vec![(1, 42)], time_us: 1 };
    assert_eq!(read_back(&ops, &header), vec![CommitRecord { lsn: 7, header, ops }]);
}

#[test]
fn a_large_commit_is_cut_into_parts_and_put_together() {
    let rows: Vec<Row> = (0..60_000).map(|i| vec![Datum::Int8(i), Datum::Text("x".repeat(100))].into()).collect();
    let ops: Vec<Op> = rows.chunks(1000).map(|rows| Op::Insert { table: 1, rows: rows.to_vec() }).collect();
    let header = Header { bases: vec![(1, 0)], time_us: 1 };
    let records = EncodedOps::encode(&ops).records(1, &header);
    assert!(records.len() > 5, "{} records", records.len());
    assert!(records.iter().all(|record| record.len() <= PART_BYTES + 64));
    let commits = read_back(&ops, &header);
    assert_eq!(commits.len(), 1);
    assert_eq!(commits[0].lsn, 7 + records.len() as u64 - 1);
    assert_eq!(commits[0].ops, ops);
}

#[test]
fn parts_without_an_end_are_skipped() {
    let big = vec![Op::Insert { table: 1, rows: vec![vec![Datum::Text("y".repeat(3 << 20))].into()] }];
    let header = Header::default();
    let cut = EncodedOps::encode(&big).records(1, &header);
    let small = vec![Op::Delete { table: 1, row: 1 }];
    let mut assembler = Assembler::default();
    for (at, record) in cut[..2].iter().enumerate() {
        assert_eq!(assembler.push(at as u64 + 1, record).unwrap(), None);
    }
    let whole = EncodedOps::encode(&small).records(3, &header);
    let commit = assembler.push(3, &whole[0]).unwrap().unwrap();
    assert_eq!(commit.ops, small);
    // An end without its parts is no commit of anybody.
    assert!(assembler.push(4, &cut[cut.len() - 1]).is_err());
}

#[test]
fn what_makes_no_sense_is_an_error_that_names_the_record() {
    let good = EncodedOps::encode(&[Op::Delete { table: 1, row: 1 }]).records(1, &Header::default()).remove(0);
    for cut in 0..good.len() {
        assert!(Assembler::default().push(5, &good[..cut]).is_err() || cut > 10, "cut at {cut}");
    }
    let mut newer = good.clone();
    newer[0] = 99;
    assert_eq!(Assembler::default().push(5, &newer).unwrap_err().lsn, 5);
    let mut strange = good;
    strange[1] = 77;
    assert!(Assembler::default().push(5, &strange).is_err());
}

fn read(records: &[Vec<u8>]) {
    let mut assembler = Assembler::default();
    for (at, record) in records.iter().enumerate() {
        let _ = assembler.push(at as u64 + 1, record);
    }
}

fn every_kind_of_op() -> Vec<Op> {
    let file = |name: &str| FileEntry { name: name.into(), len: 9, crc: 7 };
    vec![
        Op::Insert { table: 1, rows: vec![every_datum(), every_datum()] },
        Op::Update { table: 1, row: 9, values: every_datum(), moved: true },
        Op::Delete { table: 1, row: 3 },
        Op::Seal { table: 1, inputs: vec![1, 2], output: None, codes: vec![(4, file("codes"))] },
        Op::Encode { table: 1, segment: 5, codes: vec![(4, file("codes"))] },
        Op::Sequence { id: 5, value: Some(-1) },
        Op::Truncate { table: 2 },
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    #[test]
    fn any_bytes_are_read_or_refused(
        records in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..120), 1..4),
        kinds in prop::collection::vec(1..=3u8, 3),
        honest: bool,
    ) {
        let framed = records.into_iter().zip(kinds).map(|(record, kind)| {
            if honest { [&[FORMAT, kind][..], &record].concat() } else { record }
        });
        read(&framed.collect::<Vec<_>>());
    }

    #[test]
    fn a_changed_record_is_read_or_refused(
        at: prop::sample::Index,
        taken in 0..9usize,
        put in prop_oneof![
            prop::collection::vec(any::<u8>(), 0..9),
            // A number of eight bytes, where a length may be.
            (1u64 << 28..).prop_map(|length| [&[253][..], &length.to_le_bytes()].concat()),
        ],
    ) {
        let header = Header { bases: vec![(1, 42)], time_us: 1 };
        let mut record = EncodedOps::encode(&every_kind_of_op()).records(1, &header).remove(0);
        let at = at.index(record.len());
        let end = (at + taken).min(record.len());
        record.splice(at..end, put);
        read(&[record]);
    }
}

#[test]
fn a_text_longer_than_memory_is_refused() {
    let op = Op::Insert { table: 1, rows: vec![vec![Datum::Text("0123456789".into())].into()] };
    let record = EncodedOps::encode(&[op]).records(1, &Header::default()).remove(0);
    let length = record.windows(11).position(|window| window == b"\x0a0123456789").unwrap();
    for enormous in [1u64 << 33, 1 << 60, u64::MAX] {
        let mut record = record.clone();
        record.splice(length..=length, [&[253][..], &enormous.to_le_bytes()].concat());
        assert!(Assembler::default().push(5, &record).is_err(), "{enormous}");
    }
}
