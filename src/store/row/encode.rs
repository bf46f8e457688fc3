//! Values to bytes.

use lodedb_sql::Datum;

use super::tag::{self, Form, LONG_SLOT};
use super::{FORMAT, HEADER_LEN, array};

/// A `numeric` as it is kept.
enum Decimal {
    Small(i64, i32),
    Medium(i128, i32),
    Large(i64, String),
}

/// Appends a row. Its long values must be less than 4 GiB together, and its columns fewer than 65,536: the statement
/// that made it sees to both, since a log record holds far less.
pub fn encode<'a>(version: u64, values: impl ExactSizeIterator<Item = &'a Datum> + Clone, out: &mut Vec<u8>) {
    let start = out.len();
    let count = values.len().min(usize::from(u16::MAX));
    let values = values.take(count);
    out.reserve(HEADER_LEN + count * 12);
    out.push(FORMAT);
    out.extend_from_slice(&version.to_le_bytes());
    out.extend_from_slice(&(count as u16).to_le_bytes());
    let mut slots_len = 0;
    for value in values.clone() {
        let tag = tag_of(value);
        slots_len += slot_len(tag);
        out.push(tag);
    }
    let mut slot = out.len();
    let long = slot + slots_len;
    out.resize(long, 0);
    for (column, value) in values.enumerate() {
        let tag = out[start + HEADER_LEN + column];
        match tag::form(tag) {
            Some(Form::Slot(len)) => {
                put_slot(value, &mut out[slot..slot + len]);
                slot += len;
            }
            _ => {
                put_long(value, out);
                let end = (out.len() - long) as u32;
                out[slot..slot + LONG_SLOT].copy_from_slice(&end.to_le_bytes());
                slot += LONG_SLOT;
            }
        }
    }
}

pub(super) fn slot_len(tag: u8) -> usize {
    match tag::form(tag) {
        Some(Form::Slot(len)) => len,
        _ => LONG_SLOT,
    }
}

pub(super) fn tag_of(value: &Datum) -> u8 {
    match value {
        Datum::Null => tag::NULL,
        Datum::Bool(false) => tag::FALSE,
        Datum::Bool(true) => tag::TRUE,
        Datum::Int2(_) => tag::INT2,
        Datum::Int4(_) => tag::INT4,
        Datum::Int8(_) => tag::INT8,
        Datum::Float4(_) => tag::FLOAT4,
        Datum::Float8(_) => tag::FLOAT8,
        Datum::Numeric(_) => match decimal(value) {
            Decimal::Small(..) => tag::DECIMAL64,
            Decimal::Medium(..) => tag::DECIMAL128,
            Decimal::Large(..) => tag::DECIMAL,
        },
        Datum::Text(_) => tag::TEXT,
        Datum::Bytea(_) => tag::BYTEA,
        Datum::Date(_) => tag::DATE,
        Datum::Time(_) => tag::TIME,
        Datum::Timestamp(_) => tag::TIMESTAMP,
        Datum::Timestamptz(_) => tag::TIMESTAMPTZ,
        Datum::Interval(_) => tag::INTERVAL,
        Datum::Uuid(_) => tag::UUID,
        Datum::Jsonb(_) => tag::JSONB,
        Datum::Oid(_) => tag::OID,
        Datum::Vector(_) => tag::VECTOR,
        Datum::Array(_) => tag::ARRAY,
        Datum::Halfvec(_) => tag::HALFVEC,
        Datum::Sparsevec(_) => tag::SPARSEVEC,
        Datum::Bits(_) => tag::BITS,
    }
}

fn decimal(value: &Datum) -> Decimal {
    let Datum::Numeric(number) = value else { return Decimal::Small(0, 0) };
    let (digits, scale) = number.as_bigint_and_scale();
    match (i32::try_from(scale), i64::try_from(digits.as_ref()), i128::try_from(digits.as_ref())) {
        (Ok(scale), Ok(digits), _) => Decimal::Small(digits, scale),
        (Ok(scale), _, Ok(digits)) => Decimal::Medium(digits, scale),
        _ => Decimal::Large(scale, digits.to_string()),
    }
}

/// Writes a value of fixed length.
pub(super) fn put_slot(value: &Datum, slot: &mut [u8]) {
    match value {
        Datum::Int2(value) => slot.copy_from_slice(&value.to_le_bytes()),
        Datum::Int4(value) | Datum::Date(value) => slot.copy_from_slice(&value.to_le_bytes()),
        Datum::Int8(value) | Datum::Time(value) | Datum::Timestamp(value) | Datum::Timestamptz(value) => {
            slot.copy_from_slice(&value.to_le_bytes());
        }
        Datum::Float4(value) => slot.copy_from_slice(&value.to_le_bytes()),
        Datum::Float8(value) => slot.copy_from_slice(&value.to_le_bytes()),
        Datum::Oid(value) => slot.copy_from_slice(&value.to_le_bytes()),
        Datum::Uuid(value) => slot.copy_from_slice(value),
        Datum::Interval(value) => {
            slot[..4].copy_from_slice(&value.months.to_le_bytes());
            slot[4..8].copy_from_slice(&value.days.to_le_bytes());
            slot[8..].copy_from_slice(&value.microseconds.to_le_bytes());
        }
        Datum::Numeric(_) => match decimal(value) {
            Decimal::Small(digits, scale) => {
                slot[..8].copy_from_slice(&digits.to_le_bytes());
                slot[8..].copy_from_slice(&scale.to_le_bytes());
            }
            Decimal::Medium(digits, scale) => {
                slot[..16].copy_from_slice(&digits.to_le_bytes());
                slot[16..].copy_from_slice(&scale.to_le_bytes());
            }
            Decimal::Large(..) => {}
        },
        // Told by their tags, or long.
        Datum::Null | Datum::Bool(_) | Datum::Text(_) | Datum::Bytea(_) => {}
        Datum::Jsonb(_) | Datum::Vector(_) | Datum::Array(_) => {}
        Datum::Halfvec(_) | Datum::Sparsevec(_) | Datum::Bits(_) => {}
    }
}

/// Appends a long value.
pub(super) fn put_long(value: &Datum, out: &mut Vec<u8>) {
    match value {
        Datum::Text(text) | Datum::Jsonb(text) => out.extend_from_slice(text.as_bytes()),
        Datum::Bytea(bytes) => out.extend_from_slice(bytes),
        Datum::Vector(components) => {
            out.reserve(components.len() * 4);
            components.iter().for_each(|component| out.extend_from_slice(&component.to_le_bytes()));
        }
        Datum::Array(array) => array::encode(array, out),
        Datum::Halfvec(components) => {
            out.reserve(components.len() * 2);
            components.iter().for_each(|component| out.extend_from_slice(&component.to_le_bytes()));
        }
        Datum::Sparsevec(vector) => {
            out.extend_from_slice(&vector.dimensions().to_le_bytes());
            for (index, value) in vector.elements() {
                out.extend_from_slice(&index.to_le_bytes());
                out.extend_from_slice(&value.to_le_bytes());
            }
        }
        Datum::Bits(bits) => {
            out.extend_from_slice(&(bits.len() as u32).to_le_bytes());
            out.extend_from_slice(bits.bytes());
        }
        Datum::Numeric(_) => {
            if let Decimal::Large(scale, digits) = decimal(value) {
                out.extend_from_slice(&scale.to_le_bytes());
                out.extend_from_slice(digits.as_bytes());
            }
        }
        // All others have slots.
        _ => {}
    }
}
