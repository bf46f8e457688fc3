//! The tags of stored values. A tag is written to disk: its number never changes its meaning.

/// SQL NULL.
pub const NULL: u8 = 0;
/// `false`.
pub const FALSE: u8 = 1;
/// `true`.
pub const TRUE: u8 = 2;
/// `smallint`.
pub const INT2: u8 = 3;
/// `integer`.
pub const INT4: u8 = 4;
/// `bigint`.
pub const INT8: u8 = 5;
/// `real`.
pub const FLOAT4: u8 = 6;
/// `double precision`.
pub const FLOAT8: u8 = 7;
/// `numeric` whose digits fit 64 bits: digits, then the scale in 32 bits.
pub const DECIMAL64: u8 = 8;
/// `numeric` whose digits fit 128 bits: digits, then the scale in 32 bits.
pub const DECIMAL128: u8 = 9;
/// Any other `numeric`: the scale in 64 bits, then the digits as text.
pub const DECIMAL: u8 = 10;
/// `text` and its like.
pub const TEXT: u8 = 11;
/// `bytea`.
pub const BYTEA: u8 = 12;
/// `date`.
pub const DATE: u8 = 13;
/// `time`.
pub const TIME: u8 = 14;
/// `timestamp`.
pub const TIMESTAMP: u8 = 15;
/// `timestamptz`.
pub const TIMESTAMPTZ: u8 = 16;
/// `interval`: months, days, microseconds.
pub const INTERVAL: u8 = 17;
/// `uuid`.
pub const UUID: u8 = 18;
/// `jsonb`, as text.
pub const JSONB: u8 = 19;
/// `oid` and its like.
pub const OID: u8 = 20;
/// `vector`: its components.
pub const VECTOR: u8 = 21;
/// An array ([`super::array`]).
pub const ARRAY: u8 = 22;
/// `halfvec`: the bits of its components, 16 each.
pub const HALFVEC: u8 = 23;
/// `sparsevec`: its dimensions in 32 bits, then the place of each element from 0 and its value, 32 bits each.
pub const SPARSEVEC: u8 = 24;
/// `bit` and `bit varying`: the number of bits in 32 bits, then the bits, the first the highest of the first byte.
pub const BITS: u8 = 25;

/// The bytes in the slot of a long value: where it ends among the long values.
pub(super) const LONG_SLOT: usize = 4;

/// How a tag's value is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// In its slot, in as many bytes.
    Slot(usize),
    /// Among the long values.
    Long,
}

/// How this tag's value is kept; `None` for a byte that is no tag.
#[inline]
pub(super) fn form(tag: u8) -> Option<Form> {
    Some(match tag {
        NULL | FALSE | TRUE => Form::Slot(0),
        INT2 => Form::Slot(2),
        INT4 | FLOAT4 | DATE | OID => Form::Slot(4),
        INT8 | FLOAT8 | TIME | TIMESTAMP | TIMESTAMPTZ => Form::Slot(8),
        DECIMAL64 => Form::Slot(8 + 4),
        DECIMAL128 => Form::Slot(16 + 4),
        INTERVAL | UUID => Form::Slot(16),
        DECIMAL | TEXT | BYTEA | JSONB | VECTOR | ARRAY | HALFVEC | SPARSEVEC | BITS => Form::Long,
        _ => return None,
    })
}
