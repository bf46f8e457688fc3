//! The binary form of a column's values.

use lodedb_sql::binary::write_binary as write_value;
use lodedb_sql::error::{Result, SqlError};
use lodedb_sql::{PgType, ScalarType};

use super::column::{Column, Values, bits, components, sparse};

/// From 1970-01-01, where we count from, to 2000-01-01, where PostgreSQL does.
const EPOCH_DAYS: i32 = 10_957;
const EPOCH_MICROSECONDS: i64 = EPOCH_DAYS as i64 * 86_400_000_000;

impl Column<'_> {
    /// Appends the binary form of a row's value, which is not NULL.
    pub(super) fn write_binary(&self, row: usize, out: &mut Vec<u8>) -> Result<()> {
        match &self.values {
            Values::Null => {}
            Values::Bool(array) => out.push(u8::from(array.value(row))),
            Values::Int2(values) => out.extend_from_slice(&values[row].to_be_bytes()),
            Values::Int4(values) => out.extend_from_slice(&values[row].to_be_bytes()),
            Values::Int8(values) => out.extend_from_slice(&values[row].to_be_bytes()),
            Values::Oid(values) => out.extend_from_slice(&values[row].to_be_bytes()),
            Values::Float4(values) => out.extend_from_slice(&values[row].to_be_bytes()),
            Values::Float8(values) => out.extend_from_slice(&values[row].to_be_bytes()),
            Values::Date(values) => {
                let days = values[row];
                let infinite = days == i32::MAX || days == i32::MIN;
                let days = if infinite { days } else { days.saturating_sub(EPOCH_DAYS) };
                out.extend_from_slice(&days.to_be_bytes());
            }
            Values::Time(values) => out.extend_from_slice(&values[row].to_be_bytes()),
            Values::Timestamp(values) | Values::Timestamptz(values) => {
                let time = values[row];
                let infinite = time == i64::MAX || time == i64::MIN;
                let time = if infinite { time } else { time.saturating_sub(EPOCH_MICROSECONDS) };
                out.extend_from_slice(&time.to_be_bytes());
            }
            Values::Interval(values) => {
                let interval = values[row];
                out.extend_from_slice(&(interval.nanoseconds / 1_000).to_be_bytes());
                out.extend_from_slice(&interval.days.to_be_bytes());
                out.extend_from_slice(&interval.months.to_be_bytes());
            }
            Values::Decimal128(values, scale) => {
                scale.write_binary(values[row] < 0, &values[row].unsigned_abs().to_string(), out);
            }
            Values::Decimal256(values, scale) => {
                let digits = values[row].to_string();
                let (negative, digits) = digits.strip_prefix('-').map_or((false, &digits[..]), |digits| (true, digits));
                scale.write_binary(negative, digits, out);
            }
            Values::Text(_) | Values::LargeText(_) | Values::TextView(_) => {
                match self.ty {
                    PgType::Scalar(ScalarType::Jsonb) => out.push(1),
                    PgType::Scalar(
                        ScalarType::Record
                        | ScalarType::Int2vector
                        | ScalarType::Oidvector
                        | ScalarType::Regclass
                        | ScalarType::Regtype
                        | ScalarType::Regproc
                        | ScalarType::Regnamespace,
                    ) => {
                        return Err(SqlError::unsupported(format!("binary output of type {}", self.ty.sql_name())));
                    }
                    _ => {}
                }
                out.extend_from_slice(self.bytes(row).unwrap_or_default());
            }
            Values::Bytes(_) | Values::LargeBytes(_) | Values::BytesView(_) | Values::Uuid(_) => {
                out.extend_from_slice(self.bytes(row).unwrap_or_default());
            }
            Values::Vector(offsets, values) => write_vector(components(offsets, values, row), out),
            Values::Halfvec(offsets, values) => {
                let components = components(offsets, values, row);
                out.extend_from_slice(&(components.len() as u16).to_be_bytes());
                out.extend_from_slice(&[0; 2]);
                components.iter().for_each(|half| out.extend_from_slice(&half.to_bits().to_be_bytes()));
            }
            Values::Sparsevec(offsets, words) => write_value(&sparse(offsets, words, row)?, self.ty, out),
            Values::Bits(offsets, items) => write_value(&bits(offsets, items, row), self.ty, out),
            Values::Array(array) => array.write_binary(row, out)?,
        }
        Ok(())
    }
}

fn write_vector(components: &[f32], out: &mut Vec<u8>) {
    out.extend_from_slice(&(components.len() as u16).to_be_bytes());
    out.extend_from_slice(&[0; 2]);
    let at = out.len();
    out.resize(at + 4 * components.len(), 0);
    // Room first, then one pass the compiler turns into vector shuffles.
    for (place, component) in out[at..].chunks_exact_mut(4).zip(components) {
        place.copy_from_slice(&component.to_be_bytes());
    }
}
