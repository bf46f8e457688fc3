//! How an array lies in its bytes: the element's OID in 4 bytes, the number of dimensions in 1, length and lower bound
//! of each in 4 and 4, the number of elements in 4, then for each element its tag, the length of it where the tag does
//! not tell, and the value.

use lodedb_sql::PgType;
use lodedb_sql::datum::ArrayDatum;

use super::super::{Result, StoreError};
use super::tag::{self, Form};
use super::{encode as row, value};

/// Arrays do not hold arrays; damaged bytes may say they do.
const DEPTH_MAX: u8 = 4;

pub(super) fn encode(array: &ArrayDatum, out: &mut Vec<u8>) {
    out.extend_from_slice(&array.element.oid().to_le_bytes());
    out.push(array.dimensions.len().min(usize::from(u8::MAX)) as u8);
    for (length, lower) in array.dimensions.iter().take(usize::from(u8::MAX)) {
        out.extend_from_slice(&length.to_le_bytes());
        out.extend_from_slice(&lower.to_le_bytes());
    }
    out.extend_from_slice(&(array.elements.len() as u32).to_le_bytes());
    for element in &array.elements {
        let tag = row::tag_of(element);
        out.push(tag);
        let start = out.len();
        match tag::form(tag) {
            Some(Form::Slot(len)) => {
                out.resize(start + len, 0);
                row::put_slot(element, &mut out[start..]);
            }
            _ => {
                out.extend_from_slice(&[0; 4]);
                row::put_long(element, out);
                let len = (out.len() - start - 4) as u32;
                out[start..start + 4].copy_from_slice(&len.to_le_bytes());
            }
        }
    }
}

pub(super) fn decode(bytes: &[u8], depth: u8) -> Result<ArrayDatum> {
    let damaged = || StoreError::damaged("a row's array has a wrong form");
    if depth >= DEPTH_MAX {
        return Err(damaged());
    }
    let (oid, rest) = value::split(bytes)?;
    let Some(PgType::Scalar(element)) = PgType::from_oid(u32::from_le_bytes(oid)) else { return Err(damaged()) };
    let ([count], mut rest) = value::split(rest)?;
    let mut dimensions = Vec::with_capacity(usize::from(count).min(8));
    for _ in 0..count {
        let (length, after) = value::split(rest)?;
        let (lower, after) = value::split(after)?;
        dimensions.push((u32::from_le_bytes(length), i32::from_le_bytes(lower)));
        rest = after;
    }
    let (count, mut rest) = value::split(rest)?;
    let count = u32::from_le_bytes(count) as usize;
    // Every element takes a byte at the least, so a damaged count cannot ask for more memory than the row has.
    if count > rest.len() {
        return Err(damaged());
    }
    let mut elements = Vec::with_capacity(count);
    for _ in 0..count {
        let ([tag], after) = value::split(rest)?;
        let (len, after) = match tag::form(tag).ok_or_else(damaged)? {
            Form::Slot(len) => (len, after),
            Form::Long => {
                let (len, after) = value::split(after)?;
                (u32::from_le_bytes(len) as usize, after)
            }
        };
        let (content, after) = after.split_at_checked(len).ok_or_else(damaged)?;
        elements.push(value::decode(tag, content, depth + 1)?.into_datum());
        rest = after;
    }
    if !rest.is_empty() {
        return Err(damaged());
    }
    Ok(ArrayDatum { element, dimensions, elements })
}
