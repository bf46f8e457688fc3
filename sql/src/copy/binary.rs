//! Reading COPY's binary format: a header, rows of length-prefixed values, a trailer.

use super::{CopyColumn, MAX_ROW_BYTES, bad_format, row_too_long};
use crate::binary::parse_binary;
use crate::datum::Datum;
use crate::error::{Result, SqlError};

/// What every binary COPY starts with.
pub(super) const SIGNATURE: &[u8; 11] = b"PGCOPY\n\xff\r\n\0";
/// Flags, and the length of the header's extension.
pub(super) const HEADER_BYTES: usize = SIGNATURE.len() + 8;

/// What the front of the bytes holds.
pub(super) enum Part {
    /// Not all of it has come; it is no use to look before there are this many bytes.
    Incomplete(usize),
    /// So many bytes without a row.
    Skip(usize),
    /// A row of so many bytes.
    Row(Vec<Datum>, usize),
    /// The trailer.
    End(usize),
}

/// Reads the header.
pub(super) fn header(bytes: &[u8]) -> Result<Part> {
    let known = bytes.len().min(SIGNATURE.len());
    if bytes[..known] != SIGNATURE[..known] {
        return Err(bad_format("COPY file signature not recognized"));
    }
    let Some((flags, rest)) = bytes[known..].split_first_chunk::<4>() else {
        return Ok(Part::Incomplete(HEADER_BYTES));
    };
    let Some((extension, _)) = rest.split_first_chunk::<4>() else { return Ok(Part::Incomplete(HEADER_BYTES)) };
    let flags = u32::from_be_bytes(*flags);
    if flags & (1 << 16) != 0 {
        return Err(bad_format("invalid COPY file header (WITH OIDS)"));
    }
    if flags >> 16 != 0 {
        return Err(bad_format("unrecognized critical flags in COPY file header"));
    }
    let Ok(extension) = usize::try_from(i32::from_be_bytes(*extension)) else {
        return Err(bad_format("invalid COPY file header (missing length)"));
    };
    if extension > MAX_ROW_BYTES {
        return Err(row_too_long());
    }
    let total = HEADER_BYTES + extension;
    Ok(if bytes.len() < total { Part::Incomplete(total) } else { Part::Skip(total) })
}

/// Reads a row or the trailer. The place of an error is the column it is in.
pub(super) fn row(bytes: &[u8], columns: &[CopyColumn]) -> std::result::Result<Part, (SqlError, Option<usize>)> {
    let Some((count, mut rest)) = bytes.split_first_chunk::<2>() else { return Ok(Part::Incomplete(2)) };
    let count = i16::from_be_bytes(*count);
    if count == -1 {
        return Ok(Part::End(2));
    }
    if usize::try_from(count) != Ok(columns.len()) {
        let message = format!("row field count is {count}, expected {}", columns.len());
        return Err((bad_format(message), None));
    }
    // The lengths first: a row is read only when all of it is there.
    let mut total = 2usize;
    for at in 0..columns.len() {
        let Some((length, after)) = rest.split_first_chunk::<4>() else { return Ok(Part::Incomplete(total + 4)) };
        total += 4;
        rest = after;
        let length = match i32::from_be_bytes(*length) {
            -1 => continue,
            length => usize::try_from(length).map_err(|_| (bad_format("invalid field size"), Some(at)))?,
        };
        total += length;
        if total > MAX_ROW_BYTES {
            return Err((row_too_long(), Some(at)));
        }
        let Some(after) = rest.get(length..) else { return Ok(Part::Incomplete(total)) };
        rest = after;
    }
    let mut row = Vec::with_capacity(columns.len());
    let mut rest = &bytes[2..total];
    for (at, column) in columns.iter().enumerate() {
        let Some((length, after)) = rest.split_first_chunk::<4>() else { break };
        rest = after;
        let datum = match usize::try_from(i32::from_be_bytes(*length)) {
            Err(_) => Datum::Null,
            Ok(length) => {
                let (value, after) = rest.split_at(length);
                rest = after;
                parse_binary(value, column.ty).map_err(|error| (error, Some(at)))?
            }
        };
        row.push(datum);
    }
    Ok(Part::Row(row, total))
}
