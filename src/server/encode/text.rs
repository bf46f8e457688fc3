//! The text form of a column's values.

use lodedb_sql::datum::{Datum, Interval};
use lodedb_sql::error::Result;
use lodedb_sql::text::write_text;
use lodedb_sql::{PgType, ScalarType};

use super::column::{Column, Values, bits, components, sparse};

impl Column<'_> {
    /// Appends the text form of a row's value, which is not NULL.
    pub(super) fn write_text(&self, row: usize, out: &mut Vec<u8>) -> Result<()> {
        // None of the values built here allocates.
        let datum = match &self.values {
            Values::Null => return Ok(()),
            Values::Bool(array) => Datum::Bool(array.value(row)),
            Values::Int2(values) => Datum::Int2(values[row]),
            Values::Int4(values) => Datum::Int4(values[row]),
            Values::Int8(values) => Datum::Int8(values[row]),
            Values::Oid(values) => Datum::Oid(values[row]),
            Values::Float4(values) => Datum::Float4(values[row]),
            Values::Float8(values) => Datum::Float8(values[row]),
            Values::Date(values) => Datum::Date(values[row]),
            Values::Time(values) => Datum::Time(values[row]),
            Values::Timestamp(values) => Datum::Timestamp(values[row]),
            Values::Timestamptz(values) => Datum::Timestamptz(values[row]),
            Values::Interval(values) => Datum::Interval(Interval {
                months: values[row].months,
                days: values[row].days,
                microseconds: values[row].nanoseconds / 1_000,
            }),
            Values::Uuid(array) => match array.value(row).try_into() {
                Ok(bytes) => Datum::Uuid(bytes),
                Err(_) => return Ok(()),
            },
            Values::Decimal128(values, scale) => {
                scale.write_text(values[row] < 0, &values[row].unsigned_abs().to_string(), out);
                return Ok(());
            }
            Values::Decimal256(values, scale) => {
                let digits = values[row].to_string();
                let (negative, digits) = digits.strip_prefix('-').map_or((false, &digits[..]), |digits| (true, digits));
                scale.write_text(negative, digits, out);
                return Ok(());
            }
            Values::Text(_) | Values::LargeText(_) | Values::TextView(_) => {
                out.extend_from_slice(self.bytes(row).unwrap_or_default());
                return Ok(());
            }
            Values::Bytes(_) | Values::LargeBytes(_) | Values::BytesView(_) => {
                write_hex(self.bytes(row).unwrap_or_default(), out);
                return Ok(());
            }
            Values::Vector(offsets, values) => {
                write_vector(components(offsets, values, row).iter().copied(), self.zone, out);
                return Ok(());
            }
            Values::Halfvec(offsets, values) => {
                write_vector(components(offsets, values, row).iter().map(|half| half.to_f32()), self.zone, out);
                return Ok(());
            }
            Values::Sparsevec(offsets, words) => sparse(offsets, words, row)?,
            Values::Bits(offsets, items) => bits(offsets, items, row),
            Values::Array(array) => return array.write_text(row, out),
        };
        write_text(&datum, self.ty, self.zone, out);
        Ok(())
    }
}

fn write_hex(bytes: &[u8], out: &mut Vec<u8>) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    out.reserve(2 + 2 * bytes.len());
    out.extend_from_slice(b"\\x");
    out.extend(bytes.iter().flat_map(|byte| [DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]));
}

fn write_vector(components: impl Iterator<Item = f32>, zone: chrono_tz::Tz, out: &mut Vec<u8>) {
    out.push(b'[');
    for (index, component) in components.enumerate() {
        if index > 0 {
            out.push(b',');
        }
        write_text(&Datum::Float4(component), PgType::Scalar(ScalarType::Float4), zone, out);
    }
    out.push(b']');
}
