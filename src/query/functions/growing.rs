//! Functions whose result may be far longer than what they are given: its length is known before it is built.

use std::fmt::Write as _;

use lodedb_sql::error::Result;
use lodedb_sql::{Datum, SqlError, SqlState};

use super::definition::{Call, Definition, function};
use super::strings::{int, regex, string};
use super::types::*;

/// The longest value, in bytes, as in PostgreSQL.
pub(crate) const VALUE_BYTES_MAX: usize = 0x3fff_ffff;
/// The most bytes of a character.
const CHARACTER_BYTES_MAX: usize = 4;

/// `54000` for a value that would be longer than any may be.
fn check_length(bytes: Option<usize>) -> Result<usize> {
    bytes
        .filter(|bytes| *bytes <= VALUE_BYTES_MAX)
        .ok_or_else(|| SqlError::new(SqlState::ProgramLimitExceeded, "requested length too large"))
}

fn repeat(_: &Call<'_>, args: &[Datum]) -> Result<Datum> {
    let (text, times) = (string(args, 0), usize::try_from(int(args, 1)).unwrap_or(0));
    check_length(text.len().checked_mul(times))?;
    Ok(Datum::Text(text.repeat(times)))
}

fn replace(_: &Call<'_>, args: &[Datum]) -> Result<Datum> {
    let (text, from, to) = (string(args, 0), string(args, 1), string(args, 2));
    if from.is_empty() {
        return Ok(Datum::Text(text.to_owned()));
    }
    let found = text.matches(from).count();
    check_length(found.checked_mul(to.len()).and_then(|added| added.checked_add(text.len() - found * from.len())))?;
    Ok(Datum::Text(text.replace(from, to)))
}

fn pad(args: &[Datum], left: bool) -> Result<Datum> {
    let width = usize::try_from(int(args, 1)).unwrap_or(0);
    check_length(width.checked_mul(CHARACTER_BYTES_MAX))?;
    let (text, fill) = (string(args, 0), if args.len() > 2 { string(args, 2) } else { " " });
    let length = text.chars().count();
    if length >= width || fill.is_empty() {
        return Ok(Datum::Text(text.chars().take(width).collect()));
    }
    let filler = fill.chars().cycle().take(width - length);
    Ok(Datum::Text(if left { filler.chain(text.chars()).collect() } else { text.chars().chain(filler).collect() }))
}

/// Appends `text`, filled with blanks to `width` characters.
pub(super) fn push_padded(out: &mut String, text: &str, width: usize, left: bool) -> Result<()> {
    let blanks = width.saturating_sub(text.chars().count());
    check_length(out.len().checked_add(text.len()).and_then(|bytes| bytes.checked_add(blanks)))?;
    if left {
        out.push_str(text);
    }
    out.extend(std::iter::repeat_n(' ', blanks));
    if !left {
        out.push_str(text);
    }
    Ok(())
}

fn regexp_replace(_: &Call<'_>, args: &[Datum]) -> Result<Datum> {
    let (text, flags) = (string(args, 0), string(args, 3));
    let regex = regex(string(args, 1), flags)?;
    // `\1` and `\&` are PostgreSQL's names for groups; a dollar means nothing to it.
    let mut replacement = String::new();
    let mut chars = string(args, 2).chars();
    while let Some(c) = chars.next() {
        match c {
            '$' => replacement.push_str("$$"),
            '\\' => match chars.next() {
                Some('&') => replacement.push_str("${0}"),
                Some(digit @ '1'..='9') => {
                    let _ = write!(replacement, "${{{digit}}}");
                }
                Some('\\') | None => replacement.push('\\'),
                Some(other) => {
                    replacement.push('\\');
                    replacement.push(other);
                }
            },
            c => replacement.push(c),
        }
    }
    let limit = if flags.contains('g') { usize::MAX } else { 1 };
    let (mut out, mut end) = (String::new(), 0);
    for captures in regex.captures_iter(text).take(limit) {
        let Some(whole) = captures.get(0) else { continue };
        out.push_str(&text[end..whole.start()]);
        captures.expand(&replacement, &mut out);
        end = whole.end();
        check_length(Some(out.len()))?;
    }
    out.push_str(&text[end..]);
    Ok(Datum::Text(out))
}

/// The functions of this file.
pub(super) const FUNCTIONS: &[Definition] = &[
    function("repeat", &[TEXT, INT4], TO_TEXT, repeat),
    function("replace", &[TEXT, TEXT, TEXT], TO_TEXT, replace),
    function("lpad", &[TEXT, INT4, TEXT], TO_TEXT, |_, args| pad(args, true)).optional(1),
    function("rpad", &[TEXT, INT4, TEXT], TO_TEXT, |_, args| pad(args, false)).optional(1),
    function("regexp_replace", &[TEXT, TEXT, TEXT, TEXT], TO_TEXT, regexp_replace).optional(1),
];
