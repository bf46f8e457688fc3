//! The text form of `bit` and `bit varying`: `101`; read also as `b101` and, in hexadecimal digits, as `x5`.

use super::hex_digit;
use crate::bits::{Bits, MAX_LENGTH};
use crate::error::{Result, SqlError, SqlState};
use crate::types::ScalarType;

/// Reads a string of bits; `modifier` is the length that the type demands or allows.
pub(super) fn parse(text: &str, ty: ScalarType, modifier: i32) -> Result<Bits> {
    let (digits, width) = match text.as_bytes().first() {
        Some(b'b' | b'B') => (&text[1..], 1),
        Some(b'x' | b'X') => (&text[1..], 4),
        _ => (text, 1),
    };
    if digits.len() > MAX_LENGTH / width {
        let message = format!("bit string length exceeds the maximum allowed ({MAX_LENGTH})");
        return Err(SqlError::new(SqlState::ProgramLimitExceeded, message));
    }
    let mut bits = Bits::default();
    for digit in digits.chars() {
        let value = u8::try_from(digit).ok().and_then(hex_digit).filter(|&value| value < 1 << width);
        let Some(value) = value else {
            let kind = if width == 1 { "binary" } else { "hexadecimal" };
            let message = format!("\"{digit}\" is not a valid {kind} digit");
            return Err(SqlError::new(SqlState::InvalidTextRepresentation, message));
        };
        (0..width).rev().for_each(|place| bits.push(value >> place & 1 == 1));
    }
    check_length(bits, ty, modifier)
}

/// Refuses a string that a `bit(n)` or `bit varying(n)` does not take: `22026` and `22001`.
pub(crate) fn check_length(bits: Bits, ty: ScalarType, modifier: i32) -> Result<Bits> {
    let Some(wanted) = usize::try_from(modifier).ok().filter(|&wanted| wanted > 0) else { return Ok(bits) };
    if ty == ScalarType::Bit && bits.len() != wanted {
        let message = format!("bit string length {} does not match type bit({wanted})", bits.len());
        return Err(SqlError::new(SqlState::StringDataLengthMismatch, message));
    }
    if ty == ScalarType::Varbit && bits.len() > wanted {
        let message = format!("bit string too long for type bit varying({wanted})");
        return Err(SqlError::new(SqlState::StringDataRightTruncation, message));
    }
    Ok(bits)
}

/// What an explicit cast makes of a string: cut, and for `bit(n)` filled up with zeros.
pub(crate) fn fitted(bits: Bits, ty: ScalarType, modifier: i32) -> Bits {
    match usize::try_from(modifier) {
        Ok(wanted) if wanted > 0 && (ty == ScalarType::Bit || bits.len() > wanted) => bits.resized(wanted),
        _ => bits,
    }
}

/// Appends the digits.
pub(super) fn write(bits: &Bits, out: &mut Vec<u8>) {
    out.extend(bits.iter().map(|bit| if bit { b'1' } else { b'0' }));
}
