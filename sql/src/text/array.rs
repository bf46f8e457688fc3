//! Arrays in text: `{1,2,NULL}`, nested braces, `[0:1]={...}`; and the blank-separated `int2vector`, `oidvector`.

use chrono_tz::Tz;

use super::{invalid_syntax, is_space, number, parse_scalar, shortened, write_text};
use crate::cast::CastEnvironment;
use crate::datum::{ArrayDatum, Datum};
use crate::error::{Result, SqlError, SqlState};
use crate::types::{PgType, ScalarType};

/// The most dimensions an array may have.
pub const MAX_ARRAY_DIMENSIONS: usize = 6;

/// Reads an array of `element`; the modifier is that of the elements.
pub(super) fn parse(text: &str, element: ScalarType, modifier: i32, environment: &CastEnvironment) -> Result<Datum> {
    let mut reader = Reader { text, at: 0, lengths: Vec::new(), elements: Vec::new(), element, modifier, environment };
    let declared = reader.bounds()?;
    reader.skip_spaces();
    if reader.peek() != Some(b'{') {
        return Err(reader.malformed(if declared.is_empty() {
            "Array value must start with \"{\" or dimension information."
        } else {
            "Array contents must start with \"{\"."
        }));
    }
    reader.level(0)?;
    reader.skip_spaces();
    if reader.at < text.len() {
        return Err(reader.malformed("Junk after closing right brace."));
    }
    let lengths: Vec<u32> = reader.lengths.iter().map(|length| length.unwrap_or(0)).collect();
    if !declared.is_empty() && !declared.iter().map(|(length, _)| *length).eq(lengths.iter().copied()) {
        return Err(reader.malformed("Specified array dimensions do not match array contents."));
    }
    let dimensions = if reader.elements.is_empty() {
        Vec::new()
    } else if declared.is_empty() {
        lengths.into_iter().map(|length| (length, 1)).collect()
    } else {
        declared
    };
    Ok(Datum::Array(Box::new(ArrayDatum { element, dimensions, elements: reader.elements })))
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
    /// The length of each dimension, once its first level has closed.
    lengths: Vec<Option<u32>>,
    elements: Vec<Datum>,
    element: ScalarType,
    modifier: i32,
    environment: &'a CastEnvironment,
}

impl Reader<'_> {
    fn malformed(&self, detail: &str) -> SqlError {
        SqlError::new(
            SqlState::InvalidTextRepresentation,
            format!("malformed array literal: \"{}\"", shortened(self.text)),
        )
        .with_detail(detail)
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn skip_spaces(&mut self) {
        while self.peek().is_some_and(is_space) {
            self.at += 1;
        }
    }

    /// Reads `[lower:upper]...=`, if the text starts with it.
    fn bounds(&mut self) -> Result<Vec<(u32, i32)>> {
        let mut bounds = Vec::new();
        loop {
            self.skip_spaces();
            if self.peek() != Some(b'[') {
                break;
            }
            if bounds.len() == MAX_ARRAY_DIMENSIONS {
                return Err(too_many_dimensions(bounds.len() + 1));
            }
            self.at += 1;
            let first = self.bound()?;
            let (lower, upper) = if self.peek() == Some(b':') {
                self.at += 1;
                (first, self.bound()?)
            } else {
                (1, first)
            };
            if self.peek() != Some(b']') {
                return Err(self.malformed("Missing \"]\" after array dimensions."));
            }
            self.at += 1;
            if upper < lower {
                return Err(SqlError::new(
                    SqlState::ArraySubscriptError,
                    "upper bound cannot be less than lower bound",
                ));
            }
            let length = i64::from(upper) - i64::from(lower) + 1;
            match u32::try_from(length) {
                Ok(length) if upper < i32::MAX && length <= i32::MAX as u32 => bounds.push((length, lower)),
                _ => {
                    return Err(SqlError::new(
                        SqlState::ProgramLimitExceeded,
                        format!("array lower bound is too large: {lower}"),
                    ));
                }
            }
        }
        if !bounds.is_empty() {
            self.skip_spaces();
            if self.peek() != Some(b'=') {
                return Err(self.malformed("Missing \"=\" after array dimensions."));
            }
            self.at += 1;
        }
        Ok(bounds)
    }

    fn bound(&mut self) -> Result<i32> {
        let start = self.at;
        if matches!(self.peek(), Some(b'-' | b'+')) {
            self.at += 1;
        }
        while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
        self.text[start..self.at]
            .parse()
            .map_err(|_| self.malformed("\"[\" must introduce explicitly-specified array dimensions."))
    }

    /// Reads one brace level, `depth` levels down; the current byte is its `{`.
    fn level(&mut self, depth: usize) -> Result<()> {
        if depth == MAX_ARRAY_DIMENSIONS {
            return Err(too_many_dimensions(depth + 1));
        }
        if self.lengths.len() == depth {
            if self.elements.is_empty() {
                self.lengths.push(None);
            } else {
                // Elements were read a level higher up.
                return Err(self.malformed("Unexpected \"{\" character."));
            }
        }
        self.at += 1;
        let mut length = 0u32;
        self.skip_spaces();
        if self.peek() == Some(b'}') {
            if depth > 0 {
                return Err(self.malformed("Unexpected \"}\" character."));
            }
            self.at += 1;
            return self.close(depth, length);
        }
        loop {
            self.skip_spaces();
            match self.peek() {
                Some(b'{') => self.level(depth + 1)?,
                Some(b'}' | b',') => {
                    let detail = format!("Unexpected \"{}\" character.", char::from(self.peek().unwrap_or(b'}')));
                    return Err(self.malformed(&detail));
                }
                None => return Err(self.malformed("Unexpected end of input.")),
                Some(_) => {
                    if self.lengths.len() != depth + 1 {
                        return Err(self.malformed("Unexpected array element."));
                    }
                    self.element()?;
                }
            }
            length += 1;
            self.skip_spaces();
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b'}') => {
                    self.at += 1;
                    return self.close(depth, length);
                }
                Some(b'"') => return Err(self.malformed("Unexpected array element.")),
                Some(byte) => {
                    let detail = if byte == b'{' {
                        "Unexpected \"{\" character.".to_owned()
                    } else {
                        "Unexpected array element.".to_owned()
                    };
                    return Err(self.malformed(&detail));
                }
                None => return Err(self.malformed("Unexpected end of input.")),
            }
        }
    }

    fn close(&mut self, depth: usize, length: u32) -> Result<()> {
        match self.lengths[depth] {
            None => self.lengths[depth] = Some(length),
            Some(known) if known != length => return Err(self.ragged()),
            Some(_) => {}
        }
        Ok(())
    }

    fn ragged(&self) -> SqlError {
        self.malformed("Multidimensional arrays must have sub-arrays with matching dimensions.")
    }

    fn element(&mut self) -> Result<()> {
        let bytes = self.text.as_bytes();
        let datum = if self.peek() == Some(b'"') {
            let mut value = String::new();
            self.at += 1;
            loop {
                let start = self.at;
                while !matches!(self.peek(), Some(b'"' | b'\\') | None) {
                    self.at += 1;
                }
                value.push_str(&self.text[start..self.at]);
                match self.peek() {
                    Some(b'"') => break self.at += 1,
                    Some(_) => value.push_str(self.escaped()?),
                    None => return Err(self.malformed("Unexpected end of input.")),
                }
            }
            parse_scalar(&value, self.element, self.modifier, self.environment)?
        } else {
            let mut value = String::new();
            let mut has_escape = false;
            // Blanks at the end do not belong to an element, escaped ones do.
            let mut keep = 0;
            loop {
                match self.peek() {
                    None => return Err(self.malformed("Unexpected end of input.")),
                    Some(b',' | b'}') => break,
                    Some(b'"') => return Err(self.malformed("Unexpected array element.")),
                    Some(b'{') => return Err(self.malformed("Unexpected \"{\" character.")),
                    Some(b'\\') => {
                        has_escape = true;
                        value.push_str(self.escaped()?);
                        keep = value.len();
                    }
                    Some(_) => {
                        let start = self.at;
                        while self.at < bytes.len() && !matches!(bytes[self.at], b',' | b'}' | b'"' | b'{' | b'\\') {
                            self.at += 1;
                        }
                        let part = &self.text[start..self.at];
                        value.push_str(part);
                        let trimmed = part.trim_end_matches(|c: char| c.is_ascii() && is_space(c as u8));
                        if !trimmed.is_empty() {
                            keep = value.len() - (part.len() - trimmed.len());
                        }
                    }
                }
            }
            value.truncate(keep);
            if !has_escape && value.eq_ignore_ascii_case("null") {
                Datum::Null
            } else {
                parse_scalar(&value, self.element, self.modifier, self.environment)?
            }
        };
        self.elements.push(datum);
        Ok(())
    }

    /// The character behind a backslash.
    fn escaped(&mut self) -> Result<&str> {
        let start = self.at + 1;
        match self.text[start..].chars().next() {
            Some(character) => {
                self.at = start + character.len_utf8();
                Ok(&self.text[start..self.at])
            }
            None => Err(self.malformed("Unexpected end of input.")),
        }
    }
}

/// `54000`: more dimensions than an array may have.
pub(crate) fn too_many_dimensions(count: usize) -> SqlError {
    SqlError::new(
        SqlState::ProgramLimitExceeded,
        format!("number of array dimensions ({count}) exceeds the maximum allowed ({MAX_ARRAY_DIMENSIONS})"),
    )
}

/// Appends an array.
pub(super) fn write(array: &ArrayDatum, zone: Tz, out: &mut Vec<u8>) {
    if array.elements.is_empty() || array.dimensions.is_empty() {
        out.extend_from_slice(b"{}");
        return;
    }
    if array.dimensions.iter().any(|&(_, lower)| lower != 1) {
        for &(length, lower) in &array.dimensions {
            out.push(b'[');
            number::write_int(i64::from(lower), out);
            out.push(b':');
            number::write_int(i64::from(lower) + i64::from(length) - 1, out);
            out.push(b']');
        }
        out.push(b'=');
    }
    let mut scratch = Vec::new();
    let mut elements = array.elements.iter();
    write_level(array, 0, &mut elements, zone, &mut scratch, out);
}

fn write_level<'a>(
    array: &ArrayDatum,
    depth: usize,
    elements: &mut impl Iterator<Item = &'a Datum>,
    zone: Tz,
    scratch: &mut Vec<u8>,
    out: &mut Vec<u8>,
) {
    out.push(b'{');
    for i in 0..array.dimensions[depth].0 {
        if i > 0 {
            out.push(b',');
        }
        if depth + 1 < array.dimensions.len() {
            write_level(array, depth + 1, elements, zone, scratch, out);
            continue;
        }
        match elements.next() {
            None | Some(Datum::Null) => out.extend_from_slice(b"NULL"),
            Some(element) => {
                scratch.clear();
                write_text(element, PgType::Scalar(array.element), zone, scratch);
                write_element(scratch, out);
            }
        }
    }
    out.push(b'}');
}

fn write_element(text: &[u8], out: &mut Vec<u8>) {
    let plain = !text.is_empty()
        && !text.eq_ignore_ascii_case(b"null")
        && !text.iter().any(|&byte| matches!(byte, b'"' | b'\\' | b'{' | b'}' | b',') || is_space(byte));
    if plain {
        out.extend_from_slice(text);
        return;
    }
    out.push(b'"');
    for &byte in text {
        if matches!(byte, b'"' | b'\\') {
            out.push(b'\\');
        }
        out.push(byte);
    }
    out.push(b'"');
}

/// The element type of `int2vector` or `oidvector`.
pub(crate) fn plain_vector_element(ty: ScalarType) -> ScalarType {
    if ty == ScalarType::Int2vector { ScalarType::Int2 } else { ScalarType::Oid }
}

/// Reads `1 2 3`, the form of `int2vector` and `oidvector`.
pub(super) fn parse_plain_vector(text: &str, ty: ScalarType) -> Result<Datum> {
    let element = plain_vector_element(ty);
    let elements = text
        .split(|c: char| c.is_ascii() && is_space(c as u8))
        .filter(|word| !word.is_empty())
        .map(|word| match element {
            ScalarType::Int2 => number::parse_int(word, "smallint").map(Datum::Int2),
            _ => number::parse_oid(word, "oid").map(Datum::Oid),
        })
        .collect::<Result<Vec<_>>>()?;
    if elements.len() > i32::MAX as usize {
        return Err(invalid_syntax(ty.sql_name(), text));
    }
    Ok(Datum::Array(Box::new(plain_vector(element, elements))))
}

/// The array an `int2vector` or `oidvector` is: one dimension, counted from 0.
pub(crate) fn plain_vector(element: ScalarType, elements: Vec<Datum>) -> ArrayDatum {
    let dimensions = if elements.is_empty() { Vec::new() } else { vec![(elements.len() as u32, 0)] };
    ArrayDatum { element, dimensions, elements }
}

/// Appends `1 2 3`.
pub(super) fn write_plain_vector(array: &ArrayDatum, out: &mut Vec<u8>) {
    for (i, element) in array.elements.iter().enumerate() {
        if i > 0 {
            out.push(b' ');
        }
        match element {
            Datum::Int2(value) => number::write_int(i64::from(*value), out),
            Datum::Oid(value) => number::write_int(i64::from(*value), out),
            _ => {}
        }
    }
}
