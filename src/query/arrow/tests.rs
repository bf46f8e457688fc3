//! Tests of the Arrow forms: every type there and back.
#![expect(clippy::unwrap_used, reason = "a test ends at the first thing that is wrong")]

use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, Int64Array, StringViewArray, UInt64Array};
use datafusion::arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use lodedb_sql::text::parse_text;
use lodedb_sql::{Datum, PgType, ScalarType, SqlState, TypeWithModifier};

use super::*;

/// A few values of each type, as text.
const VALUES: &[(&str, i32, &[&str])] = &[
    ("bool", -1, &["t", "f"]),
    ("int2", -1, &["-32768", "7"]),
    ("int4", -1, &["-2147483648", "7"]),
    ("int8", -1, &["-9223372036854775808", "7"]),
    ("oid", -1, &["0", "4294967295"]),
    ("float4", -1, &["1.5", "-Infinity"]),
    ("float8", -1, &["0.1", "Infinity"]),
    ("numeric", -1, &["0", "1.5", "-12345678901234567890123456789012345678901234567890.25"]),
    ("numeric", ((10 << 16) | 2) + 4, &["1.50", "-0.07", "99999999.99"]),
    ("numeric", ((50 << 16) | 10) + 4, &["1.5000000000"]),
    ("text", -1, &["", "a", "héllo"]),
    ("varchar", 14, &["0123456789"]),
    ("bpchar", 9, &["abc  "]),
    ("name", -1, &["pg_class"]),
    ("char", -1, &["r"]),
    ("bytea", -1, &["\\x", "\\x00ff"]),
    ("date", -1, &["2024-02-29", "infinity"]),
    ("time", -1, &["23:59:59.999999"]),
    ("timestamp", -1, &["2024-02-29 12:34:56.789", "-infinity"]),
    ("timestamptz", 3, &["2024-02-29 12:34:56.789+00"]),
    ("interval", -1, &["1 year 2 mons 3 days 04:05:06.000007"]),
    ("uuid", -1, &["550e8400-e29b-41d4-a716-446655440000"]),
    ("json", -1, &["{ \"a\" : 1 }"]),
    ("jsonb", -1, &["{\"a\": 1}"]),
    ("regclass", -1, &["1259"]),
    ("int2vector", -1, &["1 2 3", ""]),
    ("oidvector", -1, &["23 25"]),
    ("vector", -1, &["[1,2,3]", "[0.5]"]),
    ("vector", 3, &["[1,2,3]"]),
    ("halfvec", -1, &["[1,2,3]", "[65504,-0]"]),
    ("sparsevec", -1, &["{1:1,3:-2.5}/5", "{}/1000000000"]),
    ("bit", 3, &["101"]),
    ("varbit", -1, &["", "101010101"]),
    ("_halfvec", -1, &["{\"[1,2]\",NULL}"]),
    ("_bit", -1, &["{101,NULL,0}"]),
    ("_int4", -1, &["{1,NULL,3}", "{}"]),
    ("_text", -1, &["{a,\"b c\"}"]),
    ("_vector", -1, &["{\"[1,2]\",\"[3,4]\"}"]),
    ("_varchar", -1, &["{x}"]),
];

fn types() -> impl Iterator<Item = (TypeWithModifier, Vec<Datum>)> {
    VALUES.iter().map(|(name, modifier, texts)| {
        let ty = TypeWithModifier { ty: type_of_typname(name).unwrap(), modifier: *modifier };
        let mut datums: Vec<Datum> = texts.iter().map(|text| parse_text(text, ty).unwrap()).collect();
        datums.push(Datum::Null);
        (ty, datums)
    })
}

#[test]
fn every_type_survives_its_field() {
    for (ty, _) in types() {
        assert_eq!(pg_type(&arrow_field("c", ty, true)), ty, "{ty:?}");
    }
    for scalar in ScalarType::ALL {
        let plain = TypeWithModifier::plain(*scalar);
        assert_eq!(pg_type(&arrow_field("c", plain, true)), plain, "{scalar:?}");
        if scalar.array_oid() != 0 {
            let array = TypeWithModifier::plain(PgType::Array(*scalar));
            assert_eq!(pg_type(&arrow_field("c", array, true)), array, "{scalar:?}[]");
        }
    }
}

#[test]
fn every_value_survives_its_array() {
    for (ty, datums) in types() {
        let array = datums_to_array(&datums, ty).unwrap();
        assert_eq!(*array.data_type(), arrow_type(ty));
        for (row, datum) in datums.iter().enumerate() {
            assert_eq!(datum_at(&array, row, ty).unwrap(), *datum, "{ty:?}");
            let scalar = scalar_value(datum, ty).unwrap();
            assert_eq!(scalar_datum(&scalar, ty).unwrap(), *datum, "{ty:?} as a literal");
        }
    }
}

#[test]
fn metadata_that_does_not_fit_is_ignored() {
    let renamed = arrow_field("c", TypeWithModifier::plain(ScalarType::Varchar), true).with_data_type(DataType::Int64);
    assert_eq!(pg_type(&renamed).ty, PgType::Scalar(ScalarType::Int8));
    let widened = arrow_field("c", TypeWithModifier { ty: ScalarType::Numeric.into(), modifier: 655_366 }, true)
        .with_data_type(DataType::Decimal128(20, 4));
    assert_eq!(pg_type(&widened), TypeWithModifier::plain(ScalarType::Numeric));
}

#[test]
fn types_of_datafusion_find_their_places() {
    let ty = |data_type: DataType| structural_type(&data_type);
    assert_eq!(ty(DataType::Utf8View), PgType::Scalar(ScalarType::Text));
    assert_eq!(ty(DataType::UInt64), PgType::Scalar(ScalarType::Int8));
    assert_eq!(ty(DataType::Timestamp(TimeUnit::Nanosecond, None)), PgType::Scalar(ScalarType::Timestamp));
    assert_eq!(ty(DataType::Null), PgType::Scalar(ScalarType::Text));
    assert_eq!(ty(list_of(vector_type())), PgType::Array(ScalarType::Vector));
    assert_eq!(ty(list_of(halfvec_type())), PgType::Array(ScalarType::Halfvec));
    assert_eq!(ty(list_of(list_of(DataType::Int32))), PgType::Array(ScalarType::Int4));

    let text: ArrayRef = Arc::new(StringViewArray::from(vec!["a"]));
    assert_eq!(datum_at(&text, 0, TypeWithModifier::plain(ScalarType::Text)).unwrap(), Datum::Text("a".into()));
    let large: ArrayRef = Arc::new(UInt64Array::from(vec![u64::MAX]));
    let error = datum_at(&large, 0, TypeWithModifier::plain(ScalarType::Int8)).unwrap_err();
    assert_eq!(error.state(), SqlState::NumericValueOutOfRange);
}

#[test]
fn an_array_of_two_dimensions_is_a_list_of_lists() {
    let ty = TypeWithModifier::plain(PgType::Array(ScalarType::Int4));
    let matrix = parse_text("{{1,2},{3,4}}", ty).unwrap();
    let scalar = scalar_value(&matrix, ty).unwrap();
    assert_eq!(scalar.data_type(), list_of(list_of(DataType::Int32)));
    assert_eq!(scalar_datum(&scalar, ty).unwrap(), matrix);
    assert_eq!(datums_to_array([&matrix], ty).unwrap_err().state(), SqlState::FeatureNotSupported);
}

#[test]
fn a_number_too_large_for_its_column_is_refused() {
    let ty = TypeWithModifier { ty: ScalarType::Numeric.into(), modifier: ((4 << 16) | 2) + 4 };
    let wide = parse_text("100", TypeWithModifier::plain(ScalarType::Numeric)).unwrap();
    assert_eq!(datums_to_array([&wide], ty).unwrap_err().state(), SqlState::NumericValueOutOfRange);
}

#[test]
fn a_batch_takes_the_columns_asked_for() {
    let int = TypeWithModifier::plain(ScalarType::Int4);
    let text = TypeWithModifier::plain(ScalarType::Text);
    let schema = Arc::new(Schema::new(vec![arrow_field("b", text, true), arrow_field("a", int, true)]));
    let mut builder = BatchBuilder::new(schema, vec![2, 0], 4).unwrap();
    builder.push(&[Datum::Int4(1), Datum::Null, Datum::Text("x".into())]).unwrap();
    // Written before the third column was added.
    builder.push(&[Datum::Int4(2)]).unwrap();
    let batch = builder.finish().unwrap();
    assert!(builder.is_empty());
    let rows = batches_to_rows(&[batch]).unwrap();
    assert_eq!(rows, [[Datum::Text("x".into()), Datum::Int4(1)], [Datum::Null, Datum::Int4(2)]]);
}

#[test]
fn a_batch_without_columns_counts_its_rows() {
    let mut builder = BatchBuilder::new(Arc::new(Schema::empty()), vec![], 0).unwrap();
    builder.push(&[]).unwrap();
    builder.push(&[]).unwrap();
    assert_eq!(builder.finish().unwrap().num_rows(), 2);
}

#[test]
fn a_value_of_another_kind_is_an_error_not_a_panic() {
    let error = datums_to_array([&Datum::Text("x".into())], TypeWithModifier::plain(ScalarType::Int4)).unwrap_err();
    assert_eq!(error.state(), SqlState::InternalError);
    let int: ArrayRef = Arc::new(Int64Array::from(vec![1]));
    assert_eq!(
        datum_at(&int, 0, TypeWithModifier::plain(ScalarType::Text)).unwrap(),
        Datum::Int8(1),
        "an array says itself what it holds"
    );
}

#[test]
fn a_struct_reads_as_a_record() {
    let fields = vec![Field::new("a", DataType::Int64, true), Field::new("b", DataType::Utf8, true)];
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from(vec![Some(1), None])),
        Arc::new(datafusion::arrow::array::StringArray::from(vec!["x y", ""])),
    ];
    let record = datafusion::arrow::array::StructArray::new(fields.into(), columns, None);
    let ty = TypeWithModifier::plain(ScalarType::Record);
    assert_eq!(datum_at(&record, 0, ty).unwrap(), Datum::Text("(1,\"x y\")".into()));
    assert_eq!(datum_at(&record, 1, ty).unwrap(), Datum::Text("(,\"\")".into()));
}
