//! COPY's three formats, in pieces of any size.

use arbitrary::{Result, Unstructured};

use super::{any_column_type, any_environment};
use crate::cast::CastEnvironment;
use crate::copy::{CopyColumn, CopyDecoder, CopyEncoder, CopyFormat, CopyHeader, CopyOptions};
use crate::datum::Datum;
use crate::error::SqlError;
use crate::text::to_text;

/// However the bytes are cut, the rows, their lines and the error are the same; what was read can be written and read again.
pub fn copying(data: &[u8]) {
    let _ = copy(&mut Unstructured::new(data));
}

fn copy(u: &mut Unstructured<'_>) -> Result<()> {
    let environment = any_environment(u)?;
    let options = any_options(u)?;
    let mut columns = Vec::new();
    for at in 0..u.int_in_range(1..=3)? {
        columns.push(CopyColumn { name: format!("c{at}"), ty: any_column_type(u)? });
    }
    let mut cuts = Vec::new();
    for _ in 0..u.int_in_range(0..=6)? {
        cuts.push(usize::from(u.arbitrary::<u8>()?));
    }
    let data = u.bytes(u.len())?;
    let Ok(whole) = decode(&options, &columns, &environment, &[data]) else { return Ok(()) };
    let mut pieces = Vec::new();
    let mut rest = data;
    // Short pieces first; the cuts then go round.
    for cut in cuts.iter().cycle().take(if cuts.is_empty() { 0 } else { 64 }) {
        let (piece, after) = rest.split_at(rest.len().min(*cut));
        pieces.push(piece);
        rest = after;
    }
    pieces.push(rest);
    let in_pieces = decode(&options, &columns, &environment, &pieces).unwrap();
    assert_eq!(show(&in_pieces, &columns, &environment), show(&whole, &columns, &environment));
    if whole.error.is_none() {
        write_and_read(&options, &columns, &environment, &whole);
    }
    Ok(())
}

fn any_options(u: &mut Unstructured<'_>) -> Result<CopyOptions> {
    let format = *u.choose(&[CopyFormat::Text, CopyFormat::Csv, CopyFormat::Binary])?;
    let header = match (format, u.int_in_range(0..=5)?) {
        (CopyFormat::Text | CopyFormat::Csv, 0) => CopyHeader::Names,
        (CopyFormat::Text | CopyFormat::Csv, 1) => CopyHeader::Match,
        _ => CopyHeader::None,
    };
    let mut options = CopyOptions { format, header, ..CopyOptions::default() };
    if format != CopyFormat::Binary && u.ratio(1, 4)? {
        let character =
            |u: &mut Unstructured<'_>| -> Result<String> { Ok(char::from(u.int_in_range(b' '..=b'~')?).to_string()) };
        options.delimiter = Some(character(u)?);
        if format == CopyFormat::Csv {
            (options.quote, options.escape) = (Some(character(u)?), Some(character(u)?));
            options.force_null = if u.arbitrary()? { vec!["c0".into()] } else { Vec::new() };
            options.force_not_null = if u.arbitrary()? { vec!["c0".into()] } else { Vec::new() };
        }
        if u.ratio(1, 4)? {
            options.null = Some(u.choose(&["", "NULL", "\\N", "-"])?.to_string());
        }
    }
    Ok(options)
}

struct Decoded {
    rows: Vec<Vec<Datum>>,
    lines: Vec<u64>,
    error: Option<SqlError>,
}

fn decode(
    options: &CopyOptions,
    columns: &[CopyColumn],
    environment: &CastEnvironment,
    pieces: &[&[u8]],
) -> std::result::Result<Decoded, SqlError> {
    let mut decoder = CopyDecoder::new("t", options, columns.to_vec(), *environment)?;
    let mut rows = Vec::new();
    let pushed = pieces.iter().try_for_each(|piece| decoder.push(piece, &mut rows));
    let error = pushed.and_then(|()| decoder.finish(&mut rows)).err();
    Ok(Decoded { rows, lines: decoder.take_lines(), error })
}

/// Everything that a client would see. NaN is not equal to itself; its text is.
fn show(decoded: &Decoded, columns: &[CopyColumn], environment: &CastEnvironment) -> String {
    let value = |(datum, column): (&Datum, &CopyColumn)| match datum {
        Datum::Null => None,
        datum => Some(to_text(datum, column.ty.ty, environment.zone)),
    };
    let row = |row: &Vec<Datum>| row.iter().zip(columns).map(value).collect::<Vec<_>>();
    let rows: Vec<_> = decoded.rows.iter().map(row).collect();
    let error = decoded.error.as_ref().map(|error| (error.state().code(), error.message(), error.context()));
    format!("{rows:?} {:?} {error:?}", decoded.lines)
}

fn write_and_read(options: &CopyOptions, columns: &[CopyColumn], environment: &CastEnvironment, read: &Decoded) {
    // In text nothing tells a value from the NULL that is written the same, as in PostgreSQL.
    if options.format == CopyFormat::Text && options.null.is_some() {
        return;
    }
    let plain =
        CopyOptions { header: CopyHeader::None, force_null: Vec::new(), force_not_null: Vec::new(), ..options.clone() };
    let mut encoder = CopyEncoder::new(&plain, columns.to_vec(), environment.zone).unwrap();
    let mut bytes = Vec::new();
    encoder.header(&mut bytes);
    read.rows.iter().for_each(|row| encoder.row(row, &mut bytes));
    encoder.trailer(&mut bytes);
    let again = decode(&plain, columns, environment, &[&bytes]).unwrap();
    let numbered = |rows: &Vec<Vec<Datum>>| Decoded { rows: rows.clone(), lines: Vec::new(), error: None };
    assert_eq!(again.error, None, "{:?}", String::from_utf8_lossy(&bytes));
    let (again, read) = (numbered(&again.rows), numbered(&read.rows));
    assert_eq!(show(&again, columns, environment), show(&read, columns, environment));
}
