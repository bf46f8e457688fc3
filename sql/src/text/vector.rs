//! The text forms of `vector` and `halfvec`, `[1,2.5,3]`, and of `sparsevec`, `{1:1,3:2.5}/5`.

use std::sync::Arc;

use super::{invalid_syntax, is_space, number};
use crate::error::Result;
use crate::halfvec;
use crate::sparsevec::{self, SparseVector};
use crate::vector::{
    MAX_DIMENSIONS, check_components, check_dimensions_of, check_expected_dimensions, not_finite, out_of_range,
};

/// Reads a vector by pgvector's grammar.
pub(super) fn parse(text: &str, expected: Option<usize>) -> Result<Arc<[f32]>> {
    let components = components(text, "vector", expected, f32::is_infinite)?;
    check_components(&components)?;
    Ok(components.into())
}

/// Reads a vector of half precision.
pub(super) fn parse_half(text: &str, expected: Option<usize>) -> Result<Arc<[u16]>> {
    let components = components(text, "halfvec", expected, |component| halfvec::bits_of(component) & 0x7fff == 0x7c00)?;
    Ok(components.into_iter().map(halfvec::bits_of).collect())
}

/// The finite components of a text of a type; `is_infinite` says which numbers have no finite form in it.
fn components(
    text: &str,
    type_name: &str,
    expected: Option<usize>,
    is_infinite: impl Fn(f32) -> bool,
) -> Result<Vec<f32>> {
    let bytes = text.as_bytes();
    let syntax = || invalid_syntax(type_name, text);
    let mut at = skip_spaces(bytes, 0);
    if bytes.get(at) != Some(&b'[') {
        return Err(syntax().with_detail("Vector contents must start with \"[\"."));
    }
    at = skip_spaces(bytes, at + 1);
    if bytes.get(at) == Some(&b']') {
        check_dimensions_of(type_name, 0, MAX_DIMENSIONS)?;
    }
    // Two bytes are the least a component takes, so a hostile text cannot ask for more than it sends.
    let mut components = Vec::with_capacity(expected.unwrap_or(64).min(bytes.len() / 2 + 1).min(MAX_DIMENSIONS));
    loop {
        if components.len() == MAX_DIMENSIONS {
            check_dimensions_of(type_name, MAX_DIMENSIONS + 1, MAX_DIMENSIONS)?;
        }
        at = skip_spaces(bytes, at);
        let (component, length) = component(bytes, at).ok_or_else(syntax)?;
        if is_infinite(component) && bytes[at..at + length].iter().any(u8::is_ascii_digit) {
            return Err(out_of_range(type_name, &text[at..at + length]));
        }
        if !component.is_finite() {
            return Err(not_finite(type_name, component));
        }
        components.push(component);
        at = skip_spaces(bytes, at + length);
        match bytes.get(at) {
            Some(b',') => at += 1,
            Some(b']') => break,
            _ => return Err(syntax()),
        }
    }
    if skip_spaces(bytes, at + 1) != bytes.len() {
        return Err(syntax().with_detail("Junk after closing right brace."));
    }
    check_expected_dimensions(expected, components.len())?;
    Ok(components)
}

/// Reads a sparse vector: elements in any order, counted from 1, zeros among them dropped.
pub(super) fn parse_sparse(text: &str, expected: Option<usize>) -> Result<SparseVector> {
    let bytes = text.as_bytes();
    let syntax = || invalid_syntax("sparsevec", text);
    sparsevec::check_elements(1 + bytes.iter().filter(|&&byte| byte == b',').count())?;
    let mut at = skip_spaces(bytes, 0);
    if bytes.get(at) != Some(&b'{') {
        return Err(syntax().with_detail("Vector contents must start with \"{\"."));
    }
    at = skip_spaces(bytes, at + 1);
    let mut elements: Vec<(i64, f32)> = Vec::new();
    if bytes.get(at) == Some(&b'}') {
        at += 1;
    } else {
        loop {
            let (index, end) = integer(bytes, at).ok_or_else(syntax)?;
            at = skip_spaces(bytes, end);
            if bytes.get(at) != Some(&b':') {
                return Err(syntax());
            }
            at = skip_spaces(bytes, at + 1);
            let (value, length) = component(bytes, at).ok_or_else(syntax)?;
            let written = &bytes[at..at + length];
            let lost = value.is_infinite() && written.iter().any(u8::is_ascii_digit)
                || value == 0.0 && mantissa(written).any(|byte| matches!(byte, b'1'..=b'9'));
            if lost {
                return Err(out_of_range("sparsevec", &text[at..at + length]));
            }
            if !value.is_finite() {
                return Err(not_finite("sparsevec", value));
            }
            if value != 0.0 {
                elements.push((index - 1, value));
            }
            at = skip_spaces(bytes, at + length);
            match bytes.get(at) {
                Some(b',') => at = skip_spaces(bytes, at + 1),
                Some(b'}') => break at += 1,
                _ => return Err(syntax()),
            }
        }
    }
    at = skip_spaces(bytes, at);
    if bytes.get(at) != Some(&b'/') {
        return Err(syntax().with_detail("Unexpected end of input."));
    }
    let (dimensions, end) = integer(bytes, skip_spaces(bytes, at + 1)).ok_or_else(syntax)?;
    if skip_spaces(bytes, end) != bytes.len() {
        return Err(syntax().with_detail("Junk after closing."));
    }
    let dimensions = sparsevec::check_dimensions(dimensions)?;
    check_expected_dimensions(expected, dimensions as usize)?;
    elements.sort_by_key(|(index, _)| *index);
    SparseVector::from_elements(dimensions, elements)
}

fn skip_spaces(bytes: &[u8], mut at: usize) -> usize {
    while bytes.get(at).is_some_and(|&byte| is_space(byte)) {
        at += 1;
    }
    at
}

/// The digits of a number before its exponent.
fn mantissa(bytes: &[u8]) -> impl Iterator<Item = &u8> {
    bytes.iter().take_while(|byte| !byte.is_ascii_alphabetic())
}

/// The integer at `at` as C's `strtol` would read it, too large ones cut to the ends of `i32`, and where it ends.
fn integer(bytes: &[u8], at: usize) -> Option<(i64, usize)> {
    let negative = bytes.get(at) == Some(&b'-');
    let first = at + usize::from(matches!(bytes.get(at), Some(b'+' | b'-')));
    let digits = bytes[first.min(bytes.len())..].iter().take_while(|byte| byte.is_ascii_digit());
    let (mut value, mut end) = (0i64, first);
    for digit in digits {
        value = (value * 10 + i64::from(digit - b'0')).min(1 << 32);
        end += 1;
    }
    let value = if negative { -value } else { value };
    (end > first).then_some((value.clamp(i64::from(i32::MIN) + 1, i64::from(i32::MAX)), end))
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

/// Appends the text form of a vector.
pub(super) fn write(value: impl ExactSizeIterator<Item = f32>, out: &mut Vec<u8>) {
    out.reserve(2 + 12 * value.len());
    out.push(b'[');
    for (i, component) in value.enumerate() {
        if i > 0 {
            out.push(b',');
        }
        number::write_float4(component, out);
    }
    out.push(b']');
}

/// Appends the text form of a sparse vector.
pub(super) fn write_sparse(value: &SparseVector, out: &mut Vec<u8>) {
    out.push(b'{');
    for (i, (index, component)) in value.elements().enumerate() {
        if i > 0 {
            out.push(b',');
        }
        number::write_int(i64::from(index) + 1, out);
        out.push(b':');
        number::write_float4(component, out);
    }
    out.extend_from_slice(b"}/");
    number::write_int(i64::from(value.dimensions()), out);
}
