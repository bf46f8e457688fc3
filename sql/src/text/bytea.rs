//! The text forms of `bytea`: hex both ways, the older escape form on input.

use super::{HEX_DIGITS, hex_digit};
use crate::error::{Result, SqlError, SqlState};

/// Reads `\xDEADBEEF` or the escape form.
pub(super) fn parse(text: &str) -> Result<Vec<u8>> {
    match text.strip_prefix("\\x") {
        Some(digits) => parse_hex(digits),
        None => parse_escaped(text.as_bytes()),
    }
}

fn parse_hex(text: &str) -> Result<Vec<u8>> {
    let bad_digit = |at: usize| {
        let found = text[at..].chars().next().map(String::from).unwrap_or_default();
        SqlError::new(SqlState::InvalidParameterValue, format!("invalid hexadecimal digit: \"{found}\""))
    };
    let bytes = text.as_bytes();
    let mut result = Vec::with_capacity(bytes.len() / 2);
    let mut at = 0;
    while at < bytes.len() {
        // Blanks may stand between bytes, not between the digits of one.
        if matches!(bytes[at], b' ' | b'\n' | b'\t' | b'\r') {
            at += 1;
            continue;
        }
        let high = hex_digit(bytes[at]).ok_or_else(|| bad_digit(at))?;
        let Some(&second) = bytes.get(at + 1) else {
            return Err(SqlError::new(
                SqlState::InvalidParameterValue,
                "invalid hexadecimal data: odd number of digits",
            ));
        };
        let low = hex_digit(second).ok_or_else(|| bad_digit(at + 1))?;
        result.push((high << 4) | low);
        at += 2;
    }
    Ok(result)
}

fn parse_escaped(bytes: &[u8]) -> Result<Vec<u8>> {
    let mut result = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some((&first, after)) = rest.split_first() {
        match (first, after) {
            (b'\\', [b'\\', after @ ..]) => {
                result.push(b'\\');
                rest = after;
            }
            (b'\\', [a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', after @ ..]) => {
                result.push(((a - b'0') << 6) | ((b - b'0') << 3) | (c - b'0'));
                rest = after;
            }
            (b'\\', _) => {
                return Err(SqlError::new(SqlState::InvalidTextRepresentation, "invalid input syntax for type bytea"));
            }
            _ => {
                result.push(first);
                rest = after;
            }
        }
    }
    Ok(result)
}

/// Appends the hex form.
pub(super) fn write(value: &[u8], out: &mut Vec<u8>) {
    out.reserve(2 + 2 * value.len());
    out.extend_from_slice(b"\\x");
    for byte in value {
        out.push(HEX_DIGITS[usize::from(byte >> 4)]);
        out.push(HEX_DIGITS[usize::from(byte & 15)]);
    }
}
