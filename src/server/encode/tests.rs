//! Every type in both forms, byte for byte as PostgreSQL sends it.

use datafusion::arrow::array::*;
use datafusion::arrow::buffer::{NullBuffer, OffsetBuffer};
use datafusion::arrow::datatypes::{Float32Type, Int32Type, Int64Type, IntervalMonthDayNano, UInt32Type, i256};
use lodedb_sql::TypeWithModifier;

use super::*;

fn field(ty: impl Into<PgType>, modifier: i32) -> Field {
    Field { name: "c".into(), ty: TypeWithModifier { ty: ty.into(), modifier }, table: 0, column: 0 }
}

/// The values of a one-column result; `None` is NULL.
fn write(array: ArrayRef, ty: TypeWithModifier, binary: bool, zone: Tz) -> Result<Vec<Option<Vec<u8>>>> {
    let fields = [Field { ty, ..field(ScalarType::Text, -1) }];
    let batch = RecordBatch::try_from_iter_with_nullable([("c", array, true)]).expect("a batch");
    let batch = conform(batch, &fields)?;
    let columns = Columns::bind(&batch, &fields, &Formats::All(binary), zone)?;
    (0..batch.num_rows())
        .map(|row| {
            let mut out = vec![0xee];
            columns.write_row(row, &mut out)?;
            assert_eq!(out[0], 0xee);
            let message = &out[1..];
            assert_eq!(message[0], b'D');
            assert_eq!(u32::from_be_bytes(message[1..5].try_into().expect("4")) as usize, message.len() - 1);
            assert_eq!(message[5..7], [0, 1]);
            let length = i32::from_be_bytes(message[7..11].try_into().expect("4"));
            let value = &message[11..];
            if length == -1 {
                assert!(value.is_empty());
                return Ok(None);
            }
            assert_eq!(length as usize, value.len());
            Ok(Some(value.to_vec()))
        })
        .collect()
}

#[track_caller]
fn texts(array: impl Array + 'static, ty: impl Into<PgType>, expected: &[&str]) {
    texts_with(Arc::new(array), TypeWithModifier::plain(ty), Tz::UTC, expected);
}

#[track_caller]
fn texts_with(array: ArrayRef, ty: TypeWithModifier, zone: Tz, expected: &[&str]) {
    let written = write(array, ty, false, zone).expect("is written");
    let written: Vec<String> = written
        .into_iter()
        .map(|value| value.map_or("<null>".into(), |value| String::from_utf8(value).expect("UTF-8")))
        .collect();
    assert_eq!(written, expected);
}

#[track_caller]
fn binaries(array: impl Array + 'static, ty: impl Into<PgType>, expected: &[&str]) {
    binaries_with(Arc::new(array), TypeWithModifier::plain(ty), expected);
}

/// In hexadecimal; blanks do not count.
#[track_caller]
fn binaries_with(array: ArrayRef, ty: TypeWithModifier, expected: &[&str]) {
    let written = write(array, ty, true, Tz::UTC).expect("is written");
    let hex = |bytes: Vec<u8>| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let written: Vec<String> = written.into_iter().map(|value| value.map_or("<null>".into(), hex)).collect();
    let expected: Vec<String> = expected.iter().map(|text| text.replace(' ', "")).collect();
    assert_eq!(written, expected);
}

use ScalarType as T;

#[test]
fn booleans_and_integers() {
    texts(BooleanArray::from(vec![Some(true), None, Some(false)]), T::Bool, &["t", "<null>", "f"]);
    binaries(BooleanArray::from(vec![Some(true), None, Some(false)]), T::Bool, &["01", "<null>", "00"]);
    texts(Int16Array::from(vec![-32768]), T::Int2, &["-32768"]);
    binaries(Int16Array::from(vec![-2]), T::Int2, &["fffe"]);
    texts(Int32Array::from(vec![0, i32::MIN]), T::Int4, &["0", "-2147483648"]);
    binaries(Int32Array::from(vec![258]), T::Int4, &["00000102"]);
    texts(Int64Array::from(vec![i64::MIN, i64::MAX]), T::Int8, &["-9223372036854775808", "9223372036854775807"]);
    binaries(Int64Array::from(vec![-1]), T::Int8, &["ffffffffffffffff"]);
    texts(UInt32Array::from(vec![4_000_000_000]), T::Oid, &["4000000000"]);
    binaries(UInt32Array::from(vec![16385]), T::Regtype, &["00004001"]);
}

#[test]
fn floats_are_the_shortest_that_read_back() {
    texts(
        Float64Array::from(vec![1.0, 0.1, 1e20, -0.0, f64::NAN, f64::INFINITY, f64::NEG_INFINITY]),
        T::Float8,
        &["1", "0.1", "1e+20", "-0", "NaN", "Infinity", "-Infinity"],
    );
    texts(Float32Array::from(vec![0.1, 1.5, 1e10]), T::Float4, &["0.1", "1.5", "1e+10"]);
    binaries(Float32Array::from(vec![1.5]), T::Float4, &["3fc00000"]);
    binaries(Float64Array::from(vec![-2.0]), T::Float8, &["c000000000000000"]);
}

fn decimals(values: Vec<i128>, scale: i8) -> Decimal128Array {
    Decimal128Array::from(values).with_precision_and_scale(38, scale).expect("fits")
}

#[test]
fn numeric_shows_the_scale_it_was_computed_with() {
    texts(decimals(vec![1500, -1234, 0, 5, 1000], 3), T::Numeric, &["1.500", "-1.234", "0.000", "0.005", "1.000"]);
    texts(decimals(vec![12], -2), T::Numeric, &["1200"]);
}

#[test]
fn a_quotient_shows_sixteen_digits_in_groups_of_four() {
    let units = |value: &str| i256::from_string(value).expect("a number");
    let scaled = ["62500000000000000000000", "5000000000000000000", "1234550000000000000000000", "0"];
    let quotients: Decimal256Array = scaled.iter().map(|value| Some(units(value))).collect();
    let quotients = quotients.with_precision_and_scale(75, 20).expect("fits");
    texts(
        quotients,
        T::Numeric,
        &["625.0000000000000000", "0.05000000000000000000", "12345.500000000000", "0.00000000000000000000"],
    );
}

#[test]
fn numeric_without_a_scale_shows_no_trailing_zeros() {
    let plain: Decimal256Array = [150, 0, 100].map(|value| Some(i256::from_i128(value))).into_iter().collect();
    texts(plain.with_precision_and_scale(76, 2).expect("fits"), T::Numeric, &["1.5", "0", "1"]);
    let large = Decimal256Array::from(vec![i256::from_string("-123456789012345678901234567890123456789012345")])
        .with_precision_and_scale(76, 5)
        .expect("fits");
    texts(large, T::Numeric, &["-1234567890123456789012345678901234567890.12345"]);
}

#[test]
fn numeric_with_a_scale_shows_exactly_that() {
    let modifier = ((10 << 16) | 2) + 4;
    let ty = TypeWithModifier { ty: T::Numeric.into(), modifier };
    texts_with(Arc::new(decimals(vec![150, 100, -5, 0], 2)), ty, Tz::UTC, &["1.50", "1.00", "-0.05", "0.00"]);
    // A column with fewer digits is filled up.
    texts_with(Arc::new(decimals(vec![7], 0)), ty, Tz::UTC, &["7.00"]);
    binaries_with(Arc::new(decimals(vec![150], 2)), ty, &["0002 0000 0000 0002 0001 1388"]);
}

#[test]
fn numeric_is_sent_in_groups_of_four_digits() {
    binaries(
        decimals(vec![0, 12345678, -5, 100_000_000, 1], 4),
        T::Numeric,
        &[
            "0000 0000 0000 0004",
            "0002 0000 0000 0004 04d2 162e",
            "0001 ffff 4000 0004 0005",
            "0001 0001 0000 0004 0001",
            "0001 ffff 0000 0004 0001",
        ],
    );
    binaries(decimals(vec![1], 7), T::Numeric, &["0001 fffe 0000 0007 000a"]);
}

#[test]
fn strings_come_in_three_arrow_forms() {
    let values = vec![Some("a"), None, Some("ä")];
    for array in [
        Arc::new(StringArray::from(values.clone())) as ArrayRef,
        Arc::new(LargeStringArray::from(values.clone())),
        Arc::new(StringViewArray::from(values.clone())),
        Arc::new(values.iter().copied().collect::<DictionaryArray<Int32Type>>()),
    ] {
        texts_with(array.clone(), TypeWithModifier::plain(T::Text), Tz::UTC, &["a", "<null>", "ä"]);
        binaries_with(array, TypeWithModifier::plain(T::Varchar), &["61", "<null>", "c3a4"]);
    }
    binaries(LargeStringArray::from(vec!["{\"a\": 1}"]), T::Jsonb, &["01 7b2261223a20317d"]);
    texts(LargeStringArray::from(vec!["{\"a\": 1}"]), T::Jsonb, &["{\"a\": 1}"]);
    binaries(StringArray::from(vec!["{}"]), T::Json, &["7b7d"]);
}

#[test]
fn bytes_are_hexadecimal_in_text() {
    let values: Vec<&[u8]> = vec![b"\x00\xffA", b""];
    texts(BinaryArray::from(values.clone()), T::Bytea, &["\\x00ff41", "\\x"]);
    texts(BinaryViewArray::from(values.clone()), T::Bytea, &["\\x00ff41", "\\x"]);
    binaries(LargeBinaryArray::from(values), T::Bytea, &["00ff41", ""]);
}

#[test]
fn dates_and_times_count_from_2000() {
    texts(Date32Array::from(vec![0, 10957, i32::MAX]), T::Date, &["1970-01-01", "2000-01-01", "infinity"]);
    binaries(Date32Array::from(vec![10958, 0, i32::MIN]), T::Date, &["00000001", "ffffd533", "80000000"]);
    texts(Time64MicrosecondArray::from(vec![3_723_000_001]), T::Time, &["01:02:03.000001"]);
    binaries(Time64MicrosecondArray::from(vec![1]), T::Time, &["0000000000000001"]);
    let epoch = 946_684_800_000_000;
    texts(TimestampMicrosecondArray::from(vec![epoch + 1_500_000]), T::Timestamp, &["2000-01-01 00:00:01.5"]);
    binaries(
        TimestampMicrosecondArray::from(vec![epoch + 2, i64::MAX]),
        T::Timestamp,
        &["0000000000000002", "7fffffffffffffff"],
    );
    let zoned = TimestampMicrosecondArray::from(vec![epoch]).with_timezone("UTC");
    let ty = TypeWithModifier::plain(T::Timestamptz);
    texts_with(Arc::new(zoned.clone()), ty, Tz::UTC, &["2000-01-01 00:00:00+00"]);
    texts_with(Arc::new(zoned.clone()), ty, Tz::Asia__Kolkata, &["2000-01-01 05:30:00+05:30"]);
    binaries_with(Arc::new(zoned), ty, &["0000000000000000"]);
    // Other units are cast.
    texts(TimestampNanosecondArray::from(vec![epoch * 1000]), T::Timestamp, &["2000-01-01 00:00:00"]);
    texts(TimestampSecondArray::from(vec![0]).with_timezone("UTC"), T::Timestamptz, &["1970-01-01 00:00:00+00"]);
}

#[test]
fn intervals_and_uuids() {
    let interval = IntervalMonthDayNano::new(14, 3, 4_000_001_000);
    texts(IntervalMonthDayNanoArray::from(vec![interval]), T::Interval, &["1 year 2 mons 3 days 00:00:04.000001"]);
    binaries(IntervalMonthDayNanoArray::from(vec![interval]), T::Interval, &["00000000003d0901 00000003 0000000e"]);
    let bytes: Vec<u8> = (0..16).collect();
    let uuids = FixedSizeBinaryArray::try_from_iter([bytes].into_iter()).expect("sixteen");
    texts(uuids.clone(), T::Uuid, &["00010203-0405-0607-0809-0a0b0c0d0e0f"]);
    binaries(uuids, T::Uuid, &["000102030405060708090a0b0c0d0e0f"]);
}

fn vectors() -> LargeListArray {
    LargeListArray::from_iter_primitive::<Float32Type, _, _>([
        Some(vec![Some(1.0), Some(-2.5)]),
        None,
        Some(vec![Some(0.1), Some(3e10), Some(7.0)]),
    ])
}

#[test]
fn vectors_are_pgvectors() {
    texts(vectors(), T::Vector, &["[1,-2.5]", "<null>", "[0.1,3.0000001e+10,7]"]);
    binaries(vectors(), T::Vector, &["0002 0000 3f800000 c0200000", "<null>", "0003 0000 3dcccccd 50df8476 40e00000"]);
    // Other list types are cast.
    let list = ListArray::from_iter_primitive::<Float32Type, _, _>([Some(vec![Some(1.0)])]);
    texts(list, T::Vector, &["[1]"]);
    let fixed = FixedSizeListArray::from_iter_primitive::<Float32Type, _, _>([Some(vec![Some(1.0), Some(2.0)])], 2);
    binaries(fixed, T::Vector, &["0002 0000 3f800000 40000000"]);
    // A slice begins at its own offset.
    let sliced = vectors().slice(2, 1);
    texts(sliced, T::Vector, &["[0.1,3.0000001e+10,7]"]);
}

#[test]
fn arrays_have_dimensions_and_quotes() {
    let numbers =
        ListArray::from_iter_primitive::<Int32Type, _, _>([Some(vec![Some(1), None, Some(3)]), Some(vec![]), None]);
    texts(numbers.clone(), PgType::Array(T::Int4), &["{1,NULL,3}", "{}", "<null>"]);
    binaries(
        numbers,
        PgType::Array(T::Int4),
        &[
            "00000001 00000001 00000017 00000003 00000001 00000004 00000001 ffffffff 00000004 00000003",
            "00000000 00000000 00000017",
            "<null>",
        ],
    );
    let mut words = ListBuilder::new(StringBuilder::new());
    words.append_value([Some("a"), Some(""), Some("null"), Some("b c"), Some("q\"\\"), Some("x,y"), Some("{"), None]);
    texts(words.finish(), PgType::Array(T::Text), &[r#"{a,"","null","b c","q\"\\","x,y","{",NULL}"#]);
    let large = LargeListArray::from_iter_primitive::<Int64Type, _, _>([Some(vec![Some(1)])]);
    texts(large, PgType::Array(T::Int8), &["{1}"]);
}

/// Lists of lists of integers; `None` is a NULL list inside.
fn nested(rows: &[&[Option<&[i32]>]]) -> ListArray {
    let mut builder = ListBuilder::new(ListBuilder::new(Int32Builder::new()));
    for row in rows {
        for list in *row {
            match list {
                Some(values) => builder.values().append_value(values.iter().copied().map(Some)),
                None => builder.values().append_null(),
            }
        }
        builder.append(true);
    }
    builder.finish()
}

#[test]
fn arrays_of_two_dimensions() {
    let grid = nested(&[&[Some(&[1, 2]), Some(&[3, 4])], &[], &[Some(&[5])]]);
    texts(grid.clone(), PgType::Array(T::Int4), &["{{1,2},{3,4}}", "{}", "{{5}}"]);
    let sliced = grid.slice(2, 1);
    binaries(
        sliced,
        PgType::Array(T::Int4),
        &["00000002 00000000 00000017 00000001 00000001 00000001 00000001 00000004 00000005"],
    );
    for ragged in [nested(&[&[Some(&[1]), Some(&[2, 3])]]), nested(&[&[Some(&[1]), None]])] {
        let ty = TypeWithModifier::plain(PgType::Array(T::Int4));
        let error = write(Arc::new(ragged), ty, false, Tz::UTC).expect_err("ragged");
        assert_eq!(error.state(), SqlState::ArraySubscriptError);
    }
}

#[test]
fn arrays_of_vectors_quote_their_elements() {
    let item = Arc::new(ArrowField::new("item", vectors().data_type().clone(), true));
    let array = ListArray::new(item, OffsetBuffer::from_lengths([3]), Arc::new(vectors()), None::<NullBuffer>);
    texts(array.clone(), PgType::Array(T::Vector), &[r#"{"[1,-2.5]",NULL,"[0.1,3.0000001e+10,7]"}"#]);
    let written = write(Arc::new(array), TypeWithModifier::plain(PgType::Array(T::Vector)), true, Tz::UTC);
    let written = written.expect("is written")[0].clone().expect("not NULL");
    assert_eq!(written[8..12], 16385u32.to_be_bytes());
}

#[test]
fn catalog_vectors_count_from_zero() {
    let list = || ListArray::from_iter_primitive::<UInt32Type, _, _>([Some(vec![Some(5), Some(6)])]);
    texts(list(), T::Oidvector, &["5 6"]);
    binaries(
        list(),
        T::Oidvector,
        &["00000001 00000000 0000001a 00000002 00000000 00000004 00000005 00000004 00000006"],
    );
}

#[test]
fn nulls_without_a_type_are_nulls() {
    texts(NullArray::new(2), T::Text, &["<null>", "<null>"]);
    binaries(NullArray::new(1), PgType::Array(T::Int4), &["<null>"]);
}

#[test]
fn a_wrong_array_is_an_error_that_names_its_column() {
    let list = ListArray::from_iter_primitive::<Int32Type, _, _>([Some(vec![Some(1)])]);
    let error = write(Arc::new(list), TypeWithModifier::plain(T::Numeric), false, Tz::UTC).expect_err("refused");
    assert_eq!(error.state(), SqlState::InternalError);
    assert!(error.message().starts_with("column \"c\" of type numeric came as List"), "{error}");
}

#[test]
fn rows_of_several_columns_and_of_none() {
    let fields = [field(T::Int4, -1), field(T::Text, -1)];
    let batch = RecordBatch::try_from_iter([
        ("a", Arc::new(Int32Array::from(vec![7])) as ArrayRef),
        ("b", Arc::new(StringArray::from(vec!["x"]))),
    ])
    .expect("a batch");
    let formats = Formats::Each(smallvec::SmallVec::from_slice(&[true, false]));
    let columns = Columns::bind(&batch, &fields, &formats, Tz::UTC).expect("binds");
    let mut out = Vec::new();
    columns.write_row(0, &mut out).expect("is written");
    assert_eq!(out, b"D\0\0\0\x13\0\x02\0\0\0\x04\0\0\0\x07\0\0\0\x01x");
    out.clear();
    Columns(Vec::new()).write_row(0, &mut out).expect("is written");
    assert_eq!(out, b"D\0\0\0\x06\0\0");
}

#[test]
#[ignore = "a measurement: run it alone, in release"]
fn speed_of_rows() {
    let rows = 1_000_000;
    let numbers = Int64Array::from_iter_values(0..rows);
    let words = StringArray::from_iter_values((0..rows).map(|i| format!("a value that is {i}")));
    let batch =
        RecordBatch::try_from_iter([("a", Arc::new(numbers) as ArrayRef), ("b", Arc::new(words))]).expect("a batch");
    let fields = [field(T::Int8, -1), field(T::Text, -1)];
    measure("int8, text as text", &batch, &fields, false);
    measure("int8, text as binary", &batch, &fields, true);
    let vectors = LargeListArray::from_iter_primitive::<Float32Type, _, _>(
        (0..100_000).map(|i| Some((0..100).map(move |j| Some((i * j) as f32 / 7.0)))),
    );
    let batch = RecordBatch::try_from_iter([("v", Arc::new(vectors) as ArrayRef)]).expect("a batch");
    measure("vector(100) as binary", &batch, &[field(T::Vector, 100)], true);
    measure("vector(100) as text", &batch, &[field(T::Vector, 100)], false);
}

fn measure(what: &str, batch: &RecordBatch, fields: &[Field], binary: bool) {
    let columns = Columns::bind(batch, fields, &Formats::All(binary), Tz::UTC).expect("binds");
    let mut out = Vec::with_capacity(128 << 10);
    let start = std::time::Instant::now();
    for row in 0..batch.num_rows() {
        columns.write_row(row, &mut out).expect("is written");
        if out.len() > 64 << 10 {
            out.clear();
        }
    }
    println!("{what}: {:.0} rows/s", batch.num_rows() as f64 / start.elapsed().as_secs_f64());
}
