//! Keys: bytes whose order, byte by byte, is the order of the values in them, column by column.
//!
//! Called by whoever writes or reads an index. What always holds:
//!
//! 1. `encode_key(a) < encode_key(b)` exactly where `a` sorts before `b`, and equal exactly where they are equal as SQL
//!    sees it: 1.0 and 1.00, 0.0 and -0.0, any two NaN.
//! 2. NULL sorts last.
//! 3. A column's bytes mark their own end: none is the beginning of another's. So a key that starts with the bytes of
//!    some columns has those very columns, and what stands behind a key is not mistaken for part of it.
//! 4. Integers of all widths, and `oid`, share one form, so a `bigint` finds its `integer`.
//!
//! Keys are compared, not read back: the row holds the values.

mod document;
mod number;
mod range;
#[cfg(test)]
mod tests;

pub use range::{key_range, next_prefix, prefix_range};

use lodedb_sql::Datum;
use lodedb_sql::datum::ArrayDatum;

/// Stands before a value.
const VALUE: u8 = 1;
/// Stands for NULL.
const NULL: u8 = 2;
/// Ends a list of columns of unknown number: before any marker.
const END: u8 = 0;

/// Appends the key of these columns.
pub fn encode_key(datums: &[Datum], out: &mut Vec<u8>) {
    for datum in datums {
        encode_column(datum, out);
    }
}

/// Appends one column of a key.
pub fn encode_column(datum: &Datum, out: &mut Vec<u8>) {
    if datum.is_null() {
        out.push(NULL);
        return;
    }
    out.push(VALUE);
    match datum {
        Datum::Null => {}
        Datum::Bool(value) => out.push(u8::from(*value)),
        Datum::Int2(value) => number::put_integer(i64::from(*value), out),
        Datum::Int4(value) | Datum::Date(value) => number::put_integer(i64::from(*value), out),
        Datum::Oid(value) => number::put_integer(i64::from(*value), out),
        Datum::Int8(value) | Datum::Time(value) | Datum::Timestamp(value) | Datum::Timestamptz(value) => {
            number::put_integer(*value, out);
        }
        Datum::Float4(value) => number::put_float4(*value, out),
        Datum::Float8(value) => number::put_float8(*value, out),
        Datum::Numeric(value) => {
            let (digits, scale) = value.as_bigint_and_scale();
            match i128::try_from(digits.as_ref()) {
                Ok(digits) => number::put_decimal(digits, scale, out),
                Err(_) => number::put_long_decimal(&digits.to_string(), scale, out),
            }
        }
        Datum::Text(value) => put_bytes(value.as_bytes(), out),
        Datum::Bytea(value) => put_bytes(value, out),
        Datum::Interval(value) => number::put_interval(*value, out),
        Datum::Uuid(value) => out.extend_from_slice(value),
        Datum::Jsonb(value) => document::put_json(value, out),
        Datum::Vector(components) => {
            // By components, then the shorter first.
            for component in components.iter() {
                out.push(VALUE);
                number::put_float4(*component, out);
            }
            out.push(END);
        }
        Datum::Array(array) => put_array(array, out),
        Datum::Halfvec(components) => {
            for &component in components.iter() {
                out.push(VALUE);
                number::put_float4(lodedb_sql::halfvec::widened(component), out);
            }
            out.push(END);
        }
        Datum::Sparsevec(vector) => {
            vector.sort_words().iter().for_each(|word| out.extend_from_slice(&word.to_be_bytes()));
        }
        Datum::Bits(bits) => {
            // The bytes alone do not tell `1` from `10`.
            put_bytes(bits.bytes(), out);
            out.extend_from_slice(&(bits.len() as u32).to_be_bytes());
        }
    }
}

/// Bytes and their end: a zero is followed by 0xff, the end is two zeros.
fn put_bytes(bytes: &[u8], out: &mut Vec<u8>) {
    out.reserve(bytes.len() + 2);
    let mut rest = bytes;
    while let Some(zero) = rest.iter().position(|&byte| byte == 0) {
        out.extend_from_slice(&rest[..zero]);
        out.extend_from_slice(&[0, 0xff]);
        rest = &rest[zero + 1..];
    }
    out.extend_from_slice(rest);
    out.extend_from_slice(&[0, 0]);
}

/// As PostgreSQL: by elements, NULL last; then the shorter first; then by dimensions.
fn put_array(array: &ArrayDatum, out: &mut Vec<u8>) {
    encode_key(&array.elements, out);
    out.push(END);
    out.push(array.dimensions.len().min(usize::from(u8::MAX)) as u8);
    for (length, lower) in &array.dimensions {
        out.extend_from_slice(&length.to_be_bytes());
        out.extend_from_slice(&((*lower as u32) ^ (1 << 31)).to_be_bytes());
    }
}
