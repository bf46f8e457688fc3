//! Functions on text and bytes where PostgreSQL and DataFusion differ, or only PostgreSQL has them.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fmt::Write as _;

use base64::engine::{GeneralPurpose, GeneralPurposeConfig};
use base64::{DecodeError, Engine as _, alphabet};
use lodedb_sql::error::Result;
use lodedb_sql::{Datum, PgType, ScalarType, SqlError, SqlState};
use regex::{Regex, RegexBuilder};

use super::array::array_of;
use super::definition::{Call, Definition, function};
use super::growing::push_padded;
use super::types::*;
use crate::query::pg_catalog::names::{quote_identifier, quote_literal};

pub(super) fn string(args: &[Datum], place: usize) -> &str {
    match args.get(place) {
        Some(Datum::Text(text)) => text,
        _ => "",
    }
}

fn bytes(args: &[Datum], place: usize) -> &[u8] {
    match args.get(place) {
        Some(Datum::Bytea(bytes)) => bytes,
        _ => &[],
    }
}

pub(super) fn int(args: &[Datum], place: usize) -> i32 {
    match args.get(place) {
        Some(Datum::Int4(value)) => *value,
        _ => 0,
    }
}

fn count(count: usize) -> Datum {
    Datum::Int4(i32::try_from(count).unwrap_or(i32::MAX))
}

thread_local! {
    static PATTERNS: RefCell<HashMap<(String, String), Regex>> = RefCell::new(HashMap::new());
}

/// How many compiled patterns a thread keeps.
const PATTERNS_KEPT: usize = 64;

/// A POSIX regular expression of PostgreSQL's with its flags, compiled.
pub(crate) fn regex(pattern: &str, flags: &str) -> Result<Regex> {
    let key = (pattern.to_owned(), flags.to_owned());
    if let Some(found) = PATTERNS.with_borrow(|patterns| patterns.get(&key).cloned()) {
        return Ok(found);
    }
    let (mut source, mut insensitive) = (pattern.to_owned(), flags.contains('i'));
    if let Some(literal) = pattern.strip_prefix("***=") {
        source = regex::escape(literal);
    } else if let Some(rest) = pattern.strip_prefix("***:") {
        source = rest.to_owned();
    } else if let Some((options, rest)) = pattern.strip_prefix("(?").and_then(|rest| rest.split_once(')'))
        && options.bytes().all(|byte| byte.is_ascii_lowercase())
    {
        insensitive |= options.contains('i');
        source = rest.to_owned();
    }
    // PostgreSQL's word boundaries.
    let source = source.replace("\\m", "\\b{start}").replace("\\M", "\\b{end}").replace("\\y", "\\b");
    let lines = flags.contains('n') || flags.contains('m');
    let compiled = RegexBuilder::new(&source)
        .case_insensitive(insensitive)
        .multi_line(lines)
        .dot_matches_new_line(!lines)
        .ignore_whitespace(flags.contains('x'))
        .size_limit(1 << 22)
        .build()
        .map_err(|error| {
            let reason = error.to_string();
            let reason = reason.lines().last().unwrap_or("").trim_start_matches("error: ").to_owned();
            SqlError::new(SqlState::InvalidRegularExpression, format!("invalid regular expression: {reason}"))
        })?;
    PATTERNS.with_borrow_mut(|patterns| {
        if patterns.len() >= PATTERNS_KEPT {
            patterns.clear();
        }
        patterns.insert(key, compiled.clone());
    });
    Ok(compiled)
}

/// LIKE: `%` any characters, `_` one, `\` takes the next as it is.
pub(crate) fn like(value: &str, pattern: &str, insensitive: bool) -> Result<bool> {
    if insensitive {
        return like(&value.to_lowercase(), &pattern.to_lowercase(), false);
    }
    let (value, pattern): (Vec<char>, Vec<char>) = (value.chars().collect(), pattern.chars().collect());
    let (mut v, mut p) = (0, 0);
    // Where to go on after the last `%`, and how much of the value it took.
    let mut retry: Option<(usize, usize)> = None;
    while v < value.len() || p < pattern.len() {
        let matched = match pattern.get(p) {
            Some('%') => {
                retry = Some((p + 1, v));
                p += 1;
                continue;
            }
            Some('\\') => {
                let Some(literal) = pattern.get(p + 1) else {
                    return Err(SqlError::new(
                        SqlState::DataException,
                        "LIKE pattern must not end with escape character",
                    ));
                };
                (value.get(v) == Some(literal)).then_some(2)
            }
            Some('_') => (v < value.len()).then_some(1),
            Some(c) => (value.get(v) == Some(c)).then_some(1),
            None => None,
        };
        match (matched, retry) {
            (Some(step), _) => {
                v += 1;
                p += step;
            }
            (None, Some((after, taken))) if taken < value.len() => {
                retry = Some((after, taken + 1));
                v = taken + 1;
                p = after;
            }
            _ => return Ok(false),
        }
    }
    Ok(true)
}

/// `substring(text, start, length)`: counted in characters from 1; what lies before the start is lost.
fn substring_range(start: i32, length: Option<i32>, available: usize) -> Result<std::ops::Range<usize>> {
    let start = i64::from(start);
    let end = match length {
        Some(length) if length < 0 => {
            return Err(SqlError::new(SqlState::SubstringError, "negative substring length not allowed"));
        }
        Some(length) => start + i64::from(length),
        None => i64::MAX,
    };
    let from = (start - 1).clamp(0, available as i64) as usize;
    let to = (end - 1).clamp(from as i64, available as i64) as usize;
    Ok(from..to)
}

fn substring(_: &Call<'_>, args: &[Datum]) -> Result<Datum> {
    let text = string(args, 0);
    let length = (args.len() > 2).then(|| int(args, 2));
    let range = substring_range(int(args, 1), length, text.chars().count())?;
    Ok(Datum::Text(text.chars().skip(range.start).take(range.len()).collect()))
}

fn substring_bytes(_: &Call<'_>, args: &[Datum]) -> Result<Datum> {
    let bytes = bytes(args, 0);
    let length = (args.len() > 2).then(|| int(args, 2));
    Ok(Datum::Bytea(bytes[substring_range(int(args, 1), length, bytes.len())?].to_vec()))
}

fn substring_regex(_: &Call<'_>, args: &[Datum]) -> Result<Datum> {
    let regex = regex(string(args, 1), "")?;
    let found = regex.captures(string(args, 0)).and_then(|captures| captures.get(1).or_else(|| captures.get(0)));
    Ok(found.map_or(Datum::Null, |found| Datum::Text(found.as_str().to_owned())))
}

fn position(_: &Call<'_>, args: &[Datum]) -> Result<Datum> {
    let text = string(args, 0);
    Ok(text.find(string(args, 1)).map_or(Datum::Int4(0), |at| count(text[..at].chars().count() + 1)))
}

fn trim_with(args: &[Datum], start: bool, end: bool) -> Datum {
    let set: Vec<char> = if args.len() > 1 { string(args, 1).chars().collect() } else { vec![' '] };
    let mut text = string(args, 0);
    if start {
        text = text.trim_start_matches(|c| set.contains(&c));
    }
    if end {
        text = text.trim_end_matches(|c| set.contains(&c));
    }
    Datum::Text(text.to_owned())
}

fn concat(call: &Call<'_>, args: &[Datum]) -> Result<Datum> {
    let mut out = String::new();
    for (place, datum) in args.iter().enumerate() {
        out.push_str(&call.text(place, datum));
    }
    Ok(Datum::Text(out))
}

fn concat_ws(call: &Call<'_>, args: &[Datum]) -> Result<Datum> {
    let Datum::Text(separator) = &args[0] else { return Ok(Datum::Null) };
    let parts: Vec<String> = args
        .iter()
        .enumerate()
        .skip(1)
        .filter(|(_, datum)| !datum.is_null())
        .map(|(place, datum)| call.text(place, datum))
        .collect();
    Ok(Datum::Text(parts.join(separator)))
}

/// `format('%s %I %L %2$s')`.
fn format(call: &Call<'_>, args: &[Datum]) -> Result<Datum> {
    let Datum::Text(format) = &args[0] else { return Ok(Datum::Null) };
    let invalid = |text: &str| SqlError::new(SqlState::InvalidParameterValue, text.to_owned());
    let mut out = String::new();
    let mut next = 1;
    let mut chars = format.chars().peekable();
    while let Some(c) = chars.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        let mut left = false;
        let mut number = String::new();
        let mut position = None;
        let conversion = loop {
            match chars.next() {
                Some('-') => left = true,
                Some('$') => position = number.parse::<usize>().ok().inspect(|_| number.clear()),
                Some(c) if c.is_ascii_digit() => number.push(c),
                Some(c) => break c,
                None => return Err(invalid("unterminated format() type specifier")),
            }
        };
        if conversion == '%' {
            out.push('%');
            continue;
        }
        let place = position.unwrap_or(next);
        next = place + 1;
        let Some(datum) = args.get(place).filter(|_| place > 0) else {
            return Err(invalid("too few arguments for format()"));
        };
        let text = match conversion {
            's' => call.text(place, datum),
            'I' if datum.is_null() => {
                return Err(SqlError::new(
                    SqlState::NullValueNotAllowed,
                    "null values cannot be formatted as an SQL identifier",
                ));
            }
            'I' => quote_identifier(&call.text(place, datum)),
            'L' if datum.is_null() => "NULL".to_owned(),
            'L' => quote_literal(&call.text(place, datum)),
            other => return Err(invalid(&format!("unrecognized format() type specifier \"{other}\""))),
        };
        let width = match number.as_str() {
            "" => 0,
            digits => digits
                .parse::<i32>()
                .map_err(|_| SqlError::new(SqlState::NumericValueOutOfRange, "number is out of range"))?,
        };
        push_padded(&mut out, &text, width.unsigned_abs() as usize, left)?;
    }
    Ok(Datum::Text(out))
}

fn encode(_: &Call<'_>, args: &[Datum]) -> Result<Datum> {
    let bytes = bytes(args, 0);
    let mut out = String::new();
    match string(args, 1).to_ascii_lowercase().as_str() {
        "hex" => {
            for byte in bytes {
                let _ = write!(out, "{byte:02x}");
            }
        }
        "escape" => {
            for &byte in bytes {
                match byte {
                    b'\\' => out.push_str("\\\\"),
                    0 | 0x80.. => {
                        let _ = write!(out, "\\{byte:03o}");
                    }
                    byte => out.push(byte as char),
                }
            }
        }
        "base64" => out = base64(bytes),
        other => {
            return Err(SqlError::new(SqlState::InvalidParameterValue, format!("unrecognized encoding: \"{other}\"")));
        }
    }
    Ok(Datum::Text(out))
}

/// Base64 whose last digit may have bits that say nothing, as PostgreSQL reads it.
const BASE64: GeneralPurpose =
    GeneralPurpose::new(&alphabet::STANDARD, GeneralPurposeConfig::new().with_decode_allow_trailing_bits(true));
/// The bytes that a line of 76 digits is of.
const BASE64_LINE: usize = 57;

/// Base64 with a line break after 76 characters, as PostgreSQL writes it.
fn base64(bytes: &[u8]) -> String {
    let lines: Vec<String> = bytes.chunks(BASE64_LINE).map(|line| BASE64.encode(line)).collect();
    lines.join("\n")
}

/// The character of a code.
fn character(_: &Call<'_>, args: &[Datum]) -> Result<Datum> {
    let code = int(args, 0);
    let limit = |what: String| SqlError::new(SqlState::ProgramLimitExceeded, what);
    match u32::try_from(code).map(|code| (code, char::from_u32(code))) {
        Err(_) => Err(SqlError::new(SqlState::InvalidParameterValue, "character number must be positive")),
        Ok((0, _)) => Err(limit("null character not permitted".to_owned())),
        Ok((_, Some(character))) => Ok(Datum::Text(character.to_string())),
        Ok((0x11_0000.., None)) => Err(limit(format!("requested character too large for encoding: {code}"))),
        Ok((_, None)) => Err(limit(format!("requested character not valid for encoding: {code}"))),
    }
}

fn decode(_: &Call<'_>, args: &[Datum]) -> Result<Datum> {
    let text = string(args, 0);
    let invalid = |what: String| SqlError::new(SqlState::InvalidParameterValue, what);
    match string(args, 1).to_ascii_lowercase().as_str() {
        "hex" => {
            let digits: Vec<u8> = text.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
            if digits.len() % 2 == 1 {
                return Err(invalid("invalid hexadecimal data: odd number of digits".to_owned()));
            }
            let digit = |byte: u8| {
                (byte as char)
                    .to_digit(16)
                    .ok_or_else(|| invalid(format!("invalid hexadecimal digit: \"{}\"", byte as char)))
            };
            let bytes: Result<Vec<u8>> =
                digits.chunks(2).map(|pair| Ok((digit(pair[0])? << 4 | digit(pair[1])?) as u8)).collect();
            Ok(Datum::Bytea(bytes?))
        }
        "base64" => {
            let digits: Vec<u8> = text.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
            BASE64.decode(digits).map(Datum::Bytea).map_err(|error| match error {
                DecodeError::InvalidByte(_, b'=') => {
                    invalid("unexpected \"=\" while decoding base64 sequence".to_owned())
                }
                DecodeError::InvalidByte(_, byte) => {
                    invalid(format!("invalid symbol \"{}\" found while decoding base64 sequence", byte as char))
                }
                _ => invalid("invalid base64 end sequence".to_owned()),
            })
        }
        "escape" => {
            let ty = lodedb_sql::TypeWithModifier::plain(ScalarType::Bytea);
            lodedb_sql::text::parse_text(text, ty)
        }
        other => Err(invalid(format!("unrecognized encoding: \"{other}\""))),
    }
}

fn regexp_match(_: &Call<'_>, args: &[Datum]) -> Result<Datum> {
    let regex = regex(string(args, 1), string(args, 2))?;
    Ok(regex.captures(string(args, 0)).map_or(Datum::Null, |captures| groups(&captures)))
}

/// The groups of a match, or the whole of it if there are none.
fn groups(captures: &regex::Captures<'_>) -> Datum {
    let skip = usize::from(captures.len() > 1);
    let groups = captures
        .iter()
        .skip(skip)
        .map(|group| group.map_or(Datum::Null, |group| Datum::Text(group.as_str().to_owned())));
    array_of(ScalarType::Text, groups.collect())
}

/// The rows of `regexp_matches`.
pub(crate) fn regexp_matches(args: &[Datum]) -> Result<Vec<Datum>> {
    let flags = string(args, 2);
    let regex = regex(string(args, 1), flags)?;
    let all = regex.captures_iter(string(args, 0)).map(|captures| groups(&captures));
    Ok(if flags.contains('g') { all.collect() } else { all.take(1).collect() })
}

/// The parts between matches, for the array and for the rows.
pub(crate) fn regexp_split(args: &[Datum]) -> Result<Vec<Datum>> {
    let regex = regex(string(args, 1), string(args, 2))?;
    Ok(regex.split(string(args, 0)).map(|part| Datum::Text(part.to_owned())).collect())
}

fn split_part(_: &Call<'_>, args: &[Datum]) -> Result<Datum> {
    let (text, separator, place) = (string(args, 0), string(args, 1), int(args, 2));
    let parts: Vec<&str> = if separator.is_empty() { vec![text] } else { text.split(separator).collect() };
    let at = match place {
        0 => return Err(SqlError::new(SqlState::InvalidParameterValue, "field position must not be zero")),
        1.. => Some(place as usize - 1),
        _ => parts.len().checked_sub(place.unsigned_abs() as usize),
    };
    Ok(Datum::Text(at.and_then(|at| parts.get(at)).map_or_else(String::new, |part| (*part).to_owned())))
}

fn overlay(_: &Call<'_>, args: &[Datum]) -> Result<Datum> {
    let text: Vec<char> = string(args, 0).chars().collect();
    let new = string(args, 1);
    let start = int(args, 2);
    if start < 1 {
        return Err(SqlError::new(SqlState::SubstringError, "negative substring length not allowed"));
    }
    let from = (start as usize - 1).min(text.len());
    let length = if args.len() > 3 { int(args, 3) } else { new.chars().count() as i32 };
    let to = (i64::from(start) - 1 + i64::from(length)).clamp(0, text.len() as i64) as usize;
    Ok(Datum::Text(text[..from].iter().copied().chain(new.chars()).chain(text[to..].iter().copied()).collect()))
}

/// The functions of this file.
pub(super) const FUNCTIONS: &[Definition] = &[
    function("length", &[TEXT], TO_INT4, |call, args| {
        let text = string(args, 0);
        // The padding of `char(n)` is no part of it.
        let padded = call.ty(0) == PgType::Scalar(ScalarType::Bpchar);
        Ok(count(if padded { text.trim_end_matches(' ') } else { text }.chars().count()))
    }),
    function("length", &[BYTEA], TO_INT4, |_, args| Ok(count(bytes(args, 0).len()))),
    function("char_length", &[TEXT], TO_INT4, |_, args| Ok(count(string(args, 0).chars().count()))),
    function("character_length", &[TEXT], TO_INT4, |_, args| Ok(count(string(args, 0).chars().count()))),
    function("octet_length", &[TEXT], TO_INT4, |_, args| Ok(count(string(args, 0).len()))),
    function("octet_length", &[BPCHAR], TO_INT4, |_, args| Ok(count(string(args, 0).len()))),
    function("octet_length", &[BYTEA], TO_INT4, |_, args| Ok(count(bytes(args, 0).len()))),
    function("bit_length", &[TEXT], TO_INT4, |_, args| Ok(count(string(args, 0).len() * 8))),
    function("bit_length", &[BYTEA], TO_INT4, |_, args| Ok(count(bytes(args, 0).len() * 8))),
    function("substring", &[TEXT, INT4, INT4], TO_TEXT, substring).optional(1),
    function("substring", &[BYTEA, INT4, INT4], TO_BYTEA, substring_bytes).optional(1),
    function("substring", &[TEXT, TEXT], TO_TEXT, substring_regex),
    function("substr", &[TEXT, INT4, INT4], TO_TEXT, substring).optional(1),
    function("substr", &[BYTEA, INT4, INT4], TO_BYTEA, substring_bytes).optional(1),
    function("strpos", &[TEXT, TEXT], TO_INT4, position),
    function("position", &[TEXT, TEXT], TO_INT4, position),
    function("btrim", &[TEXT, TEXT], TO_TEXT, |_, args| Ok(trim_with(args, true, true))).optional(1),
    function("trim", &[TEXT, TEXT], TO_TEXT, |_, args| Ok(trim_with(args, true, true))).optional(1),
    function("ltrim", &[TEXT, TEXT], TO_TEXT, |_, args| Ok(trim_with(args, true, false))).optional(1),
    function("rtrim", &[TEXT, TEXT], TO_TEXT, |_, args| Ok(trim_with(args, false, true))).optional(1),
    function("concat", &[ANY], TO_TEXT, concat).variadic().null_allowed().stable(),
    function("concat_ws", &[TEXT, ANY], TO_TEXT, concat_ws).variadic().null_allowed().stable(),
    function("format", &[TEXT, ANY], TO_TEXT, format).variadic().null_allowed().stable(),
    function("encode", &[BYTEA, TEXT], TO_TEXT, encode),
    function("decode", &[TEXT, TEXT], TO_BYTEA, decode),
    function("chr", &[INT4], TO_TEXT, character),
    function("bit_count", &[BYTEA], TO_INT8, |_, args| {
        Ok(Datum::Int8(bytes(args, 0).iter().map(|byte| i64::from(byte.count_ones())).sum()))
    }),
    function("bytea_concat", &[BYTEA, BYTEA], TO_BYTEA, |_, args| {
        Ok(Datum::Bytea([bytes(args, 0), bytes(args, 1)].concat()))
    }),
    function("regexp_match", &[TEXT, TEXT, TEXT], TO_TEXT_ARRAY, regexp_match).optional(1),
    function("regexp_like", &[TEXT, TEXT, TEXT], TO_BOOL, |_, args| {
        Ok(Datum::Bool(regex(string(args, 1), string(args, 2))?.is_match(string(args, 0))))
    })
    .optional(1),
    function("regexp_split_to_array", &[TEXT, TEXT, TEXT], TO_TEXT_ARRAY, |_, args| {
        Ok(array_of(ScalarType::Text, regexp_split(args)?))
    })
    .optional(1),
    function("split_part", &[TEXT, TEXT, INT4], TO_TEXT, split_part),
    function("overlay", &[TEXT, TEXT, INT4, INT4], TO_TEXT, overlay).optional(1),
    function("to_hex", &[INT4], TO_TEXT, |_, args| Ok(Datum::Text(format!("{:x}", int(args, 0))))),
    function("to_hex", &[INT8], TO_TEXT, |_, args| {
        Ok(Datum::Text(if let Datum::Int8(value) = args[0] { format!("{value:x}") } else { String::new() }))
    }),
    function("like", &[TEXT, TEXT], TO_BOOL, |_, args| like(string(args, 0), string(args, 1), false).map(Datum::Bool)),
    function("text_concat", &[ANY, ANY], TO_TEXT, |call, args| {
        Ok(Datum::Text(call.text(0, &args[0]) + &call.text(1, &args[1])))
    })
    .stable(),
];
