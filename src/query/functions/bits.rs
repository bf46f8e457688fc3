//! The functions on `bit` and `bit varying`, PostgreSQL's and pgvector's.

use std::cmp::Ordering;

use lodedb_sql::bits::{self, Bits};
use lodedb_sql::error::Result;
use lodedb_sql::{Datum, SqlError, SqlState};

use super::definition::{Definition, Parameter, function};
use super::types::{BIT, INT4, TO_BIT, TO_BOOL, TO_FLOAT8, TO_INT4, TO_INT8, TO_VARBIT, VARBIT};
use super::vector::int;

fn at(args: &[Datum], place: usize) -> Result<&Bits> {
    match args.get(place) {
        Some(Datum::Bits(bits)) => Ok(bits),
        other => Err(SqlError::internal(format!("expected a string of bits, not {other:?}"))),
    }
}

fn datum(bits: Bits) -> Datum {
    Datum::Bits(bits.into())
}

fn combined(args: &[Datum], operation: &str, f: fn(u8, u8) -> u8) -> Result<Datum> {
    at(args, 0)?.combined(at(args, 1)?, operation, f).map(datum)
}

fn order(args: &[Datum]) -> Result<Ordering> {
    Ok(bits::compare(at(args, 0)?, at(args, 1)?))
}

fn compared(args: &[Datum], test: fn(Ordering) -> bool) -> Result<Datum> {
    order(args).map(|order| Datum::Bool(test(order)))
}

/// The place that the second argument names, from 0: `2202E` outside of the string.
fn place(args: &[Datum]) -> Result<usize> {
    let (bits, wanted) = (at(args, 0)?, int(args, 1));
    usize::try_from(wanted).ok().filter(|&place| place < bits.len()).ok_or_else(|| {
        let message = format!("bit index {wanted} out of valid range (0..{})", bits.len() as i64 - 1);
        SqlError::new(SqlState::ArraySubscriptError, message)
    })
}

fn get_bit(args: &[Datum]) -> Result<Datum> {
    let set = at(args, 0)?.get(place(args)?).unwrap_or(false);
    Ok(Datum::Int4(i32::from(set)))
}

fn set_bit(args: &[Datum]) -> Result<Datum> {
    let (bits, changed, value) = (at(args, 0)?, place(args)?, int(args, 2));
    if !(0..=1).contains(&value) {
        return Err(SqlError::new(SqlState::InvalidParameterValue, "new bit must be 0 or 1"));
    }
    Ok(datum(bits.iter().enumerate().map(|(place, bit)| if place == changed { value == 1 } else { bit }).collect()))
}

fn substring(args: &[Datum]) -> Result<Datum> {
    let count = (args.len() > 2).then(|| int(args, 2));
    at(args, 0)?.substring(int(args, 1), count).map(datum)
}

/// Where the second string begins in the first, from 1; 0 if it does not.
fn position(args: &[Datum]) -> Result<Datum> {
    let (bits, wanted): (Vec<bool>, Vec<bool>) = (at(args, 0)?.iter().collect(), at(args, 1)?.iter().collect());
    let found = match wanted.len() {
        0 => Some(0),
        length => bits.windows(length).position(|window| window == wanted),
    };
    Ok(Datum::Int4(found.map_or(0, |place| place as i32 + 1)))
}

const TWO: &[Parameter] = &[BIT, BIT];
const TWO_VARYING: &[Parameter] = &[VARBIT, VARBIT];

/// The functions of this file.
pub(super) const FUNCTIONS: &[Definition] = &[
    function("hamming_distance", TWO, TO_FLOAT8, |_, args| {
        at(args, 0)?.hamming_distance(at(args, 1)?).map(Datum::Float8)
    }),
    function("jaccard_distance", TWO, TO_FLOAT8, |_, args| {
        at(args, 0)?.jaccard_distance(at(args, 1)?).map(Datum::Float8)
    }),
    function("bitand", TWO, TO_BIT, |_, args| combined(args, "AND", |a, b| a & b)),
    function("bitor", TWO, TO_BIT, |_, args| combined(args, "OR", |a, b| a | b)),
    function("bitxor", TWO, TO_BIT, |_, args| combined(args, "XOR", |a, b| a ^ b)),
    function("pg_bitwise_not", &[BIT], TO_BIT, |_, args| Ok(datum(at(args, 0)?.inverted()))),
    function("bitnot", &[BIT], TO_BIT, |_, args| Ok(datum(at(args, 0)?.inverted()))),
    function("bitshiftleft", &[BIT, INT4], TO_BIT, |_, args| {
        Ok(datum(at(args, 0)?.shifted_left(i64::from(int(args, 1)))))
    }),
    function("bitshiftright", &[BIT, INT4], TO_BIT, |_, args| {
        Ok(datum(at(args, 0)?.shifted_left(-i64::from(int(args, 1)))))
    }),
    function("bitcat", TWO_VARYING, TO_VARBIT, |_, args| at(args, 0)?.concat(at(args, 1)?).map(datum)),
    function("length", &[BIT], TO_INT4, |_, args| Ok(Datum::Int4(at(args, 0)?.len() as i32))),
    function("bit_length", &[BIT], TO_INT4, |_, args| Ok(Datum::Int4(at(args, 0)?.len() as i32))),
    function("octet_length", &[BIT], TO_INT4, |_, args| Ok(Datum::Int4(at(args, 0)?.bytes().len() as i32))),
    function("bit_count", &[BIT], TO_INT8, |_, args| Ok(Datum::Int8(at(args, 0)?.count_ones() as i64))),
    function("get_bit", &[BIT, INT4], TO_INT4, |_, args| get_bit(args)),
    function("set_bit", &[BIT, INT4, INT4], TO_BIT, |_, args| set_bit(args)),
    function("substring", &[BIT, INT4, INT4], TO_BIT, |_, args| substring(args)).optional(1),
    function("position", TWO, TO_INT4, |_, args| position(args)),
    function("biteq", TWO, TO_BOOL, |_, args| compared(args, Ordering::is_eq)),
    function("bitne", TWO, TO_BOOL, |_, args| compared(args, Ordering::is_ne)),
    function("bitlt", TWO, TO_BOOL, |_, args| compared(args, Ordering::is_lt)),
    function("bitle", TWO, TO_BOOL, |_, args| compared(args, Ordering::is_le)),
    function("bitgt", TWO, TO_BOOL, |_, args| compared(args, Ordering::is_gt)),
    function("bitge", TWO, TO_BOOL, |_, args| compared(args, Ordering::is_ge)),
    function("bitcmp", TWO, TO_INT4, |_, args| Ok(Datum::Int4(order(args)? as i32))),
    function("varbiteq", TWO_VARYING, TO_BOOL, |_, args| compared(args, Ordering::is_eq)),
    function("varbitne", TWO_VARYING, TO_BOOL, |_, args| compared(args, Ordering::is_ne)),
    function("varbitlt", TWO_VARYING, TO_BOOL, |_, args| compared(args, Ordering::is_lt)),
    function("varbitle", TWO_VARYING, TO_BOOL, |_, args| compared(args, Ordering::is_le)),
    function("varbitgt", TWO_VARYING, TO_BOOL, |_, args| compared(args, Ordering::is_gt)),
    function("varbitge", TWO_VARYING, TO_BOOL, |_, args| compared(args, Ordering::is_ge)),
    function("varbitcmp", TWO_VARYING, TO_INT4, |_, args| Ok(Datum::Int4(order(args)? as i32))),
];
