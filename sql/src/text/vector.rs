//! The text form of `vector`: `[1,2.5,3]`.

use std::sync::Arc;

use super::{invalid_syntax, is_space, number, shortened};
use crate::error::{Result, SqlError, SqlState};
use crate::vector::{MAX_DIMENSIONS, check_components, check_dimensions, check_expected_dimensions, not_finite};

/// Reads a vector by pgvector's grammar.
pub(super) fn parse(text: &str, expected: Option<usize>) -> Result<Arc<[f32]>> {
    let bytes = text.as_bytes();
    let syntax = || invalid_syntax("vector", text);
    let skip_spaces = |mut at: usize| {
        while bytes.get(at).is_some_and(|&byte| is_space(byte)) {
            at += 1;
        }
        at
    };
    let mut at = skip_spaces(0);
    if bytes.get(at) != Some(&b'[') {
        return Err(syntax().with_detail("Vector contents must start with \"[\"."));
    }
    at = skip_spaces(at + 1);
    if bytes.get(at) == Some(&b']') {
        check_dimensions(0)?;
    }
    // Two bytes are the least a component takes, so a hostile text cannot ask for more than it sends.
    let mut components = Vec::with_capacity(expected.unwrap_or(64).min(bytes.len() / 2 + 1).min(MAX_DIMENSIONS));
    loop {
        if components.len() == MAX_DIMENSIONS {
            check_dimensions(MAX_DIMENSIONS + 1)?;
        }
        at = skip_spaces(at);
        let (component, length) = component(bytes, at).ok_or_else(syntax)?;
        if component.is_infinite() && bytes[at..at + length].iter().any(u8::is_ascii_digit) {
            return Err(out_of_range(&text[at..at + length]));
        }
        if !component.is_finite() {
            return Err(not_finite(component));
        }
        components.push(component);
        at = skip_spaces(at + length);
        match bytes.get(at) {
            Some(b',') => at += 1,
            Some(b']') => break,
            _ => return Err(syntax()),
        }
    }
    if skip_spaces(at + 1) != bytes.len() {
        return Err(syntax().with_detail("Junk after closing right brace."));
    }
    check_expected_dimensions(expected, components.len())?;
    check_components(&components)?;
    Ok(components.into())
}

/// The number at `at`, read as far as C's `strtof` would read, and its length.
fn component(bytes: &[u8], at: usize) -> Option<(f32, usize)> {
    let rest = &bytes[at..];
    if let Some(found) = number::float4_prefix(rest) {
        return Some(found);
    }
    let sign = usize::from(matches!(rest.first(), Some(b'+' | b'-')));
    let word = rest[sign..].iter().take_while(|byte| byte.is_ascii_alphabetic()).count();
    let value = match rest[sign..sign + word].to_ascii_lowercase().as_slice() {
        b"nan" => f32::NAN,
        b"inf" | b"infinity" => f32::INFINITY,
        _ => return None,
    };
    Some((value, sign + word))
}

fn out_of_range(text: &str) -> SqlError {
    SqlError::new(SqlState::NumericValueOutOfRange, format!("\"{}\" is out of range for type vector", shortened(text)))
}

/// Appends the text form.
pub(super) fn write(value: &[f32], out: &mut Vec<u8>) {
    out.reserve(2 + 12 * value.len());
    out.push(b'[');
    for (i, component) in value.iter().enumerate() {
        if i > 0 {
            out.push(b',');
        }
        number::write_float4(*component, out);
    }
    out.push(b']');
}
