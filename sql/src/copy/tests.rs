//! COPY against PostgreSQL's readings of files, and against itself for files cut into pieces.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use chrono_tz::Tz;
use proptest::prelude::*;

use super::*;
use crate::cast::CastEnvironment;
use crate::datum::Datum;
use crate::text::tests::any_value;
use crate::text::to_text;
use crate::types::{PgType, ScalarType};

fn columns(types: &[(&str, PgType)]) -> Vec<CopyColumn> {
    types.iter().map(|(name, ty)| CopyColumn { name: (*name).to_owned(), ty: TypeWithModifier::plain(*ty) }).collect()
}

fn int_and_text() -> Vec<CopyColumn> {
    columns(&[("a", ScalarType::Int4.into()), ("b", ScalarType::Text.into())])
}

fn options(format: CopyFormat) -> CopyOptions {
    CopyOptions { format, ..CopyOptions::default() }
}

fn decode_in_pieces(
    options: &CopyOptions,
    columns: Vec<CopyColumn>,
    pieces: &[&[u8]],
) -> (Vec<Vec<Datum>>, Result<()>) {
    let environment = CastEnvironment { zone: Tz::UTC, now_us: 0 };
    let mut rows = Vec::new();
    let mut decoder = CopyDecoder::new("t", options, columns, environment).unwrap();
    let result =
        pieces.iter().try_for_each(|piece| decoder.push(piece, &mut rows)).and_then(|()| decoder.finish(&mut rows));
    (rows, result)
}

/// The rows with `|` between values and `;` between rows, or the error with its context.
fn decode(options: &CopyOptions, data: &[u8]) -> String {
    let columns = int_and_text();
    let (rows, result) = decode_in_pieces(options, columns.clone(), &[data]);
    if let Err(error) = result {
        return format!("{}: {} / {}", error.state().code(), error.message(), error.context().unwrap_or(""));
    }
    let show = |row: &Vec<Datum>| {
        let values: Vec<String> = row
            .iter()
            .zip(&columns)
            .map(|(datum, column)| if datum.is_null() { "NULL".into() } else { to_text(datum, column.ty.ty, Tz::UTC) })
            .collect();
        values.join("|")
    };
    rows.iter().map(show).collect::<Vec<_>>().join(";")
}

#[track_caller]
fn check(options: &CopyOptions, cases: &[(&str, &str)]) {
    for (data, expected) in cases {
        assert_eq!(decode(options, data.as_bytes()), *expected, "{data:?}");
    }
}

#[test]
fn text_is_read_as_postgresql_reads_it() {
    check(
        &options(CopyFormat::Text),
        &[
            ("1\tx\n2\ty\n", "1|x;2|y"),
            ("1\tx\r\n2\ty\r\n", "1|x;2|y"),
            ("1\tx\r2\ty", "1|x;2|y"),
            ("\\N\t\\N\n", "NULL|NULL"),
            ("1\t\n", "1|"),
            ("1\ta\\tb\\nc\\\\d\\x41\\101\\q\n", "1|a\tb\nc\\dAAq"),
            ("1\ta\\\nb\n", "1|a\nb"),
            ("1\ta\\\tb\n", "1|a\tb"),
            ("1\tx\n\\.\nrubbish", "1|x"),
            ("1\tx\\.\nrubbish", "1|x"),
            ("1\tx\\.y\n", "22P04: end-of-copy marker corrupt / COPY t, line 1: \"1\tx\\.y\""),
            ("1\ta\\", "1|a"),
            ("", ""),
            ("1\n", "22P04: missing data for column \"b\" / COPY t, line 1: \"1\""),
            ("1\tx\n\n", "22P02: invalid input syntax for type integer: \"\" / COPY t, line 2, column a: \"\""),
            ("1\tx\ty\n", "22P04: extra data after last expected column / COPY t, line 1: \"1\tx\ty\""),
            ("1\tx\nz\ty\n", "22P02: invalid input syntax for type integer: \"z\" / COPY t, line 2, column a: \"z\""),
            ("1\tx\n2\ty\r\n", "22P04: literal carriage return found in data / COPY t, line 2"),
            ("1\tx\r\n2\ty\n", "22P04: literal newline found in data / COPY t, line 2"),
        ],
    );
    assert_eq!(
        decode(&options(CopyFormat::Text), b"1\t\xff\n"),
        "22021: invalid byte sequence for encoding \"UTF8\": 0xff / COPY t, line 1"
    );
}

#[test]
fn csv_is_read_as_postgresql_reads_it() {
    let csv = options(CopyFormat::Csv);
    check(
        &csv,
        &[
            ("1,x\n2,y\n", "1|x;2|y"),
            ("1,\"a,\"\"b\"\"\nc\"\n", "1|a,\"b\"\nc"),
            ("1,\n2,\"\"\n", "1|NULL;2|"),
            ("1,a\"b,c\"d\n", "1|ab,cd"),
            ("1,\\N\n", "1|\\N"),
            ("1,x\n\\.\nrubbish", "1|x"),
            ("1,\"x\n", "22P04: unterminated CSV quoted field / COPY t, line 1: \"1,\"x\n\""),
            ("1\n", "22P04: missing data for column \"b\" / COPY t, line 1: \"1\""),
            ("1,2,3\n", "22P04: extra data after last expected column / COPY t, line 1: \"1,2,3\""),
            ("1,x\n2,y\r\n", "22P04: unquoted carriage return found in data / COPY t, line 2"),
            (
                "1,\"x\ny\"\nz,y\n",
                "22P02: invalid input syntax for type integer: \"z\" / COPY t, line 2, column a: \"z\"",
            ),
            (
                "1,x\n2,\"x\ny\"\nz,y\n",
                "22P02: invalid input syntax for type integer: \"z\" / COPY t, line 4, column a: \"z\"",
            ),
            ("z,1,2\n", "22P04: extra data after last expected column / COPY t, line 1: \"z,1,2\""),
        ],
    );
    let escaped = CopyOptions { escape: Some("\\".into()), ..csv.clone() };
    check(&escaped, &[("1,\"a\\\"b\\\\c\\d\"\n", "1|a\"b\\c\\d")]);
    let forced = CopyOptions { force_null: vec!["b".into()], force_not_null: vec!["a".into()], ..csv.clone() };
    check(
        &forced,
        &[
            ("1,\"\"\n", "1|NULL"),
            (",x\n", "22P02: invalid input syntax for type integer: \"\" / COPY t, line 1, column a: \"\""),
        ],
    );
    let header = CopyOptions { header: CopyHeader::Match, ..csv };
    check(
        &header,
        &[
            ("a,b\n1,x\n", "1|x"),
            (
                "a,c\n1,x\n",
                "22P04: column name mismatch in header line field 2: got \"c\", expected \"b\" / COPY t, line 1: \"a,c\"",
            ),
            ("a\n", "22P04: wrong number of fields in header line: got 1, expected 2 / COPY t, line 1: \"a\""),
        ],
    );
}

/// A binary COPY of these rows, each a field count and its bytes.
fn binary(rows: &[&[u8]]) -> Vec<u8> {
    let mut data = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0".to_vec();
    for row in rows {
        data.extend_from_slice(row);
    }
    data
}

#[test]
fn binary_is_read_as_postgresql_reads_it() {
    let options = options(CopyFormat::Binary);
    let row: &[u8] = b"\0\x02\0\0\0\x04\0\0\0\x07\0\0\0\x01x";
    for (data, expected) in [
        (binary(&[row, b"\xff\xff"]), "7|x"),
        (binary(&[row]), "7|x"),
        (binary(&[b"\0\x02\xff\xff\xff\xff\xff\xff\xff\xff"]), "NULL|NULL"),
        (b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\x02zz\xff\xff".to_vec(), ""),
        (binary(&[b"\0\x01\0\0"]), "22P04: row field count is 1, expected 2 / COPY t, line 1"),
        (binary(&[row, b"\xff\xff", row]), "22P04: received copy data after EOF marker / COPY t, line 2"),
        (binary(&[&row[..9]]), "22P04: unexpected EOF in COPY data / COPY t, line 1"),
        (binary(&[b"\0\x02\xff\xff\xff\xfe"]), "22P04: invalid field size / COPY t, line 1, column a"),
        (
            binary(&[b"\0\x02\0\0\0\x05\0\0\0\0\0\xff\xff\xff\xff"]),
            "22P03: incorrect binary data format / COPY t, line 1, column a",
        ),
        (
            binary(&[b"\0\x02\x7f\xff\xff\xff"]),
            "54000: COPY row exceeds the maximum of 268435456 bytes / COPY t, line 1, column a",
        ),
        (b"1\tx\n".to_vec(), "22P04: COPY file signature not recognized / "),
        (Vec::new(), "22P04: COPY file signature not recognized / "),
    ] {
        assert_eq!(decode(&options, &data), expected);
    }
}

#[test]
fn options_are_refused_before_a_byte_is_read() {
    let of = |format| options(format);
    let some = |text: &str| Some(text.to_owned());
    for (direction, options, expected) in [
        (
            CopyDirection::From,
            CopyOptions { delimiter: some(","), ..of(CopyFormat::Binary) },
            "42601: cannot specify DELIMITER in BINARY mode",
        ),
        (
            CopyDirection::From,
            CopyOptions { delimiter: some("ab"), ..of(CopyFormat::Text) },
            "0A000: COPY delimiter must be a single one-byte character",
        ),
        (
            CopyDirection::From,
            CopyOptions { delimiter: some("a"), ..of(CopyFormat::Text) },
            "22023: COPY delimiter cannot be \"a\"",
        ),
        (
            CopyDirection::From,
            CopyOptions { quote: some("'"), ..of(CopyFormat::Text) },
            "0A000: COPY quote available only in CSV mode",
        ),
        (
            CopyDirection::To,
            CopyOptions { force_null: vec!["a".into()], ..of(CopyFormat::Csv) },
            "0A000: COPY force null only available using COPY FROM",
        ),
        (
            CopyDirection::From,
            CopyOptions { force_null: vec!["z".into()], ..of(CopyFormat::Csv) },
            "42P10: FORCE_NULL column \"z\" not referenced by COPY",
        ),
        (
            CopyDirection::From,
            CopyOptions { encoding: some("latin1"), ..of(CopyFormat::Text) },
            "0A000: COPY encoding \"latin1\" is not supported",
        ),
        (
            CopyDirection::From,
            CopyOptions { null: some(","), ..of(CopyFormat::Csv) },
            "0A000: COPY delimiter must not appear in the NULL specification",
        ),
    ] {
        let error = options.check(direction, &int_and_text()).unwrap_err();
        assert_eq!(format!("{}: {}", error.state().code(), error.message()), expected);
    }
}

fn encode(options: &CopyOptions, columns: Vec<CopyColumn>, rows: &[Vec<Datum>]) -> Vec<u8> {
    let mut encoder = CopyEncoder::new(options, columns, Tz::UTC).unwrap();
    let mut out = Vec::new();
    encoder.header(&mut out);
    for row in rows {
        encoder.row(row, &mut out);
    }
    encoder.trailer(&mut out);
    out
}

#[test]
fn rows_are_written_as_postgresql_writes_them() {
    let rows = [
        vec![Datum::Int4(1), Datum::Text("a\tb\\c\nd".into())],
        vec![Datum::Null, Datum::Text("x,\"y\"".into())],
        vec![Datum::Int4(2), Datum::Text(String::new())],
    ];
    let text = CopyOptions { header: CopyHeader::Names, ..options(CopyFormat::Text) };
    assert_eq!(encode(&text, int_and_text(), &rows), b"a\tb\n1\ta\\tb\\\\c\\nd\n\\N\tx,\"y\"\n2\t\n");
    let csv = options(CopyFormat::Csv);
    assert_eq!(encode(&csv, int_and_text(), &rows), b"1,\"a\tb\\c\nd\"\n,\"x,\"\"y\"\"\"\n2,\"\"\n");
    let forced = CopyOptions { force_quote: ForceColumns::All, ..csv };
    assert_eq!(encode(&forced, int_and_text(), &rows[2..]), b"\"2\",\"\"\n");
    assert_eq!(
        encode(&options(CopyFormat::Binary), int_and_text(), &rows[2..]),
        binary(&[b"\0\x02\0\0\0\x04\0\0\0\x02\0\0\0\0", b"\xff\xff"])
    );
}

#[test]
fn a_row_without_end_is_refused() {
    let environment = CastEnvironment { zone: Tz::UTC, now_us: 0 };
    let mut decoder = CopyDecoder::new("t", &options(CopyFormat::Text), int_and_text(), environment).unwrap();
    let piece = vec![b'x'; 32 << 20];
    let error = (0..10).find_map(|_| decoder.push(&piece, &mut Vec::new()).err()).unwrap();
    assert_eq!(error.state(), SqlState::ProgramLimitExceeded);
}

/// Columns of any types and rows of them.
fn any_table() -> impl Strategy<Value = (Vec<CopyColumn>, Vec<Vec<Datum>>)> {
    proptest::collection::vec(any_value(), 1..4).prop_flat_map(|sample| {
        let columns: Vec<CopyColumn> = sample
            .iter()
            .enumerate()
            .map(|(i, (ty, _))| CopyColumn { name: format!("c{i}"), ty: TypeWithModifier::plain(*ty) })
            .collect();
        let values: Vec<Datum> = sample.into_iter().map(|(_, datum)| datum).collect();
        let nulls = proptest::collection::vec(proptest::collection::vec(any::<bool>(), values.len()), 0..6);
        nulls.prop_map(move |nulls| {
            let rows = nulls
                .iter()
                .map(|row| {
                    row.iter()
                        .zip(&values)
                        .map(|(null, value)| if *null { Datum::Null } else { value.clone() })
                        .collect()
                })
                .collect();
            (columns.clone(), rows)
        })
    })
}

fn any_format() -> impl Strategy<Value = CopyFormat> {
    proptest::sample::select(vec![CopyFormat::Text, CopyFormat::Csv, CopyFormat::Binary])
}

/// The data cut at these places.
fn pieces<'a>(data: &'a [u8], cuts: &[usize]) -> Vec<&'a [u8]> {
    let mut at: Vec<usize> = cuts.iter().map(|cut| cut % (data.len() + 1)).chain([0, data.len()]).collect();
    at.sort_unstable();
    at.windows(2).map(|pair| &data[pair[0]..pair[1]]).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn what_is_written_reads_back_in_any_pieces(
        (columns, rows) in any_table(),
        format in any_format(),
        cuts in proptest::collection::vec(any::<usize>(), 0..8),
    ) {
        let options = options(format);
        let data = encode(&options, columns.clone(), &rows);
        prop_assert_eq!(decode_in_pieces(&options, columns.clone(), &[&data]), (rows.clone(), Ok(())));
        prop_assert_eq!(decode_in_pieces(&options, columns.clone(), &pieces(&data, &cuts)), (rows.clone(), Ok(())));
        let bytes: Vec<&[u8]> = data.chunks(1).collect();
        prop_assert_eq!(decode_in_pieces(&options, columns, &bytes), (rows, Ok(())));
    }

    #[test]
    fn any_bytes_give_the_same_in_any_pieces(
        data in proptest::collection::vec(proptest::sample::select(b"1,\t\"\\.Nx\n\r'".to_vec()), 0..40),
        format in any_format(),
        header in any::<bool>(),
        own_escape in any::<bool>(),
        cuts in proptest::collection::vec(any::<usize>(), 0..8),
    ) {
        let csv = format == CopyFormat::Csv;
        let options = CopyOptions {
            header: if header && format != CopyFormat::Binary { CopyHeader::Names } else { CopyHeader::None },
            escape: (own_escape && csv).then(|| "\\".to_owned()),
            ..options(format)
        };
        let columns = columns(&[("a", ScalarType::Text.into()), ("b", ScalarType::Text.into())]);
        let whole = decode_in_pieces(&options, columns.clone(), &[&data]);
        prop_assert_eq!(decode_in_pieces(&options, columns.clone(), &pieces(&data, &cuts)), whole.clone());
        let bytes: Vec<&[u8]> = data.chunks(1).collect();
        prop_assert_eq!(decode_in_pieces(&options, columns, &bytes), whole);
    }

    #[test]
    fn damaged_binary_gives_the_same_in_any_pieces(
        (columns, rows) in any_table(),
        at in any::<usize>(),
        byte in any::<u8>(),
        cuts in proptest::collection::vec(any::<usize>(), 0..8),
    ) {
        let options = options(CopyFormat::Binary);
        let mut data = encode(&options, columns.clone(), &rows);
        let at = at % data.len();
        data[at] = byte;
        // NaN differs from itself, so rows are compared as they print.
        let show = |(rows, result): (Vec<Vec<Datum>>, Result<()>)| format!("{rows:?} {result:?}");
        let whole = show(decode_in_pieces(&options, columns.clone(), &[&data]));
        prop_assert_eq!(show(decode_in_pieces(&options, columns, &pieces(&data, &cuts))), whole);
    }
}
