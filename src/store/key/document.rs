//! `jsonb` in keys, in PostgreSQL's order: objects above arrays above booleans above numbers above strings above null,
//! but an empty array that stands alone below all; the longer container first compared by its length, then by its
//! members in the order PostgreSQL keeps them (the shorter key first).

use lodedb_sql::Datum;
use serde_json::Value;

use super::{VALUE, encode_column, put_bytes};

const EMPTY_ARRAY_ALONE: u8 = 1;
const NULL: u8 = 2;
const STRING: u8 = 3;
const NUMBER: u8 = 4;
const BOOLEAN: u8 = 5;
const ARRAY: u8 = 6;
const OBJECT: u8 = 7;
/// Text that is no document sorts above all: it can only come from damage, and must not be lost from an index.
const OTHER: u8 = 8;

pub(super) fn put_json(text: &str, out: &mut Vec<u8>) {
    match serde_json::from_str::<Value>(text) {
        Ok(Value::Array(elements)) if elements.is_empty() => out.push(EMPTY_ARRAY_ALONE),
        Ok(value) => put_value(&value, out),
        Err(_) => {
            out.push(OTHER);
            put_bytes(text.as_bytes(), out);
        }
    }
}

fn put_value(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::Null => out.push(NULL),
        Value::String(text) => {
            out.push(STRING);
            put_bytes(text.as_bytes(), out);
        }
        Value::Number(number) => {
            out.push(NUMBER);
            let decimal = number.to_string().parse().map(Datum::Numeric).unwrap_or(Datum::Null);
            encode_column(&decimal, out);
        }
        Value::Bool(value) => out.extend_from_slice(&[BOOLEAN, VALUE + u8::from(*value)]),
        Value::Array(elements) => {
            out.push(ARRAY);
            out.extend_from_slice(&(elements.len() as u32).to_be_bytes());
            elements.iter().for_each(|element| put_value(element, out));
        }
        Value::Object(members) => {
            out.push(OBJECT);
            out.extend_from_slice(&(members.len() as u32).to_be_bytes());
            let mut members: Vec<_> = members.iter().collect();
            members.sort_by_key(|(name, _)| (name.len(), name.as_bytes()));
            for (name, value) in members {
                put_bytes(name.as_bytes(), out);
                put_value(value, out);
            }
        }
    }
}
