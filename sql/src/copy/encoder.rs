//! Writing rows in COPY's three formats.

use chrono_tz::Tz;

use super::binary::SIGNATURE;
use super::{CopyColumn, CopyDirection, CopyFormat, CopyHeader, CopyOptions, Settled};
use crate::binary::write_field;
use crate::datum::Datum;
use crate::error::Result;
use crate::text::write_text;
use crate::types::{PgType, ScalarType};

/// Turns rows into the bytes of a COPY TO.
#[derive(Debug)]
pub struct CopyEncoder {
    columns: Vec<CopyColumn>,
    options: Settled,
    zone: Tz,
    /// Per column: whether its text never needs an escape.
    plain: Vec<bool>,
    scratch: Vec<u8>,
}

impl CopyEncoder {
    /// An encoder of these columns; times with a zone are written in `zone`.
    pub fn new(options: &CopyOptions, columns: Vec<CopyColumn>, zone: Tz) -> Result<Self> {
        let options = options.settle(CopyDirection::To, &columns)?;
        let plain = columns.iter().map(|column| is_plain(column.ty.ty, &options)).collect();
        Ok(Self { columns, options, zone, plain, scratch: Vec::new() })
    }

    /// Appends what comes before the rows.
    pub fn header(&mut self, out: &mut Vec<u8>) {
        match self.options.format {
            CopyFormat::Binary => {
                out.extend_from_slice(SIGNATURE);
                // No flags, no extension.
                out.extend_from_slice(&[0; 8]);
            }
            CopyFormat::Text | CopyFormat::Csv if self.options.header != CopyHeader::None => {
                for (i, column) in self.columns.iter().enumerate() {
                    if i > 0 {
                        out.push(self.options.delimiter);
                    }
                    match self.options.format {
                        CopyFormat::Csv => write_csv(column.name.as_bytes(), false, false, &self.options, out),
                        _ => write_escaped(column.name.as_bytes(), &self.options, out),
                    }
                }
                out.push(b'\n');
            }
            CopyFormat::Text | CopyFormat::Csv => {}
        }
    }

    /// Appends one row.
    pub fn row(&mut self, row: &[Datum], out: &mut Vec<u8>) {
        let options = &self.options;
        if options.format == CopyFormat::Binary {
            out.extend_from_slice(&(row.len() as i16).to_be_bytes());
            for (datum, column) in row.iter().zip(&self.columns) {
                write_field(datum, column.ty.ty, out);
            }
            return;
        }
        let only = row.len() == 1;
        for (i, (datum, column)) in row.iter().zip(&self.columns).enumerate() {
            if i > 0 {
                out.push(options.delimiter);
            }
            if datum.is_null() {
                out.extend_from_slice(&options.null);
                continue;
            }
            let csv = options.format == CopyFormat::Csv;
            if self.plain[i] && !csv {
                write_text(datum, column.ty.ty, self.zone, out);
                continue;
            }
            self.scratch.clear();
            write_text(datum, column.ty.ty, self.zone, &mut self.scratch);
            if csv {
                write_csv(&self.scratch, options.force_quote[i], only, options, out);
            } else {
                write_escaped(&self.scratch, options, out);
            }
        }
        out.push(b'\n');
    }

    /// Appends what comes after the rows.
    pub fn trailer(&mut self, out: &mut Vec<u8>) {
        if self.options.format == CopyFormat::Binary {
            out.extend_from_slice(&(-1i16).to_be_bytes());
        }
    }
}

/// Whether values of the type print without tabs, backslashes and line ends, and the delimiter is the usual one.
fn is_plain(ty: PgType, options: &Settled) -> bool {
    let usual = options.delimiter == b'\t';
    usual
        && matches!(
            ty,
            PgType::Scalar(
                ScalarType::Bool
                    | ScalarType::Int2
                    | ScalarType::Int4
                    | ScalarType::Int8
                    | ScalarType::Float4
                    | ScalarType::Float8
                    | ScalarType::Numeric
                    | ScalarType::Date
                    | ScalarType::Time
                    | ScalarType::Timestamp
                    | ScalarType::Timestamptz
                    | ScalarType::Interval
                    | ScalarType::Uuid
                    | ScalarType::Oid
                    | ScalarType::Vector
                    | ScalarType::Halfvec
                    | ScalarType::Sparsevec
                    | ScalarType::Bit
                    | ScalarType::Varbit
            )
        )
}

fn write_escaped(text: &[u8], options: &Settled, out: &mut Vec<u8>) {
    let mut start = 0;
    for (at, &byte) in text.iter().enumerate() {
        let escape = match byte {
            0x08 => b'b',
            0x0c => b'f',
            b'\n' => b'n',
            b'\r' => b'r',
            b'\t' => b't',
            0x0b => b'v',
            b'\\' => b'\\',
            byte if byte == options.delimiter => byte,
            _ => continue,
        };
        out.extend_from_slice(&text[start..at]);
        out.push(b'\\');
        out.push(escape);
        start = at + 1;
    }
    out.extend_from_slice(&text[start..]);
}

fn write_csv(text: &[u8], force: bool, only: bool, options: &Settled, out: &mut Vec<u8>) {
    let needs_quotes = force
        || text == options.null
        // Alone on its line it would end the data.
        || (only && text == b"\\.")
        || memchr::memchr2(b'\n', b'\r', text).is_some()
        || memchr::memchr2(options.delimiter, options.quote, text).is_some();
    if !needs_quotes {
        out.extend_from_slice(text);
        return;
    }
    out.push(options.quote);
    let mut rest = text;
    while let Some(found) = memchr::memchr2(options.quote, options.escape, rest) {
        out.extend_from_slice(&rest[..found]);
        out.push(options.escape);
        out.push(rest[found]);
        rest = &rest[found + 1..];
    }
    out.extend_from_slice(rest);
    out.push(options.quote);
}
