//! Finding the ends of lines in COPY's text and CSV formats, and cutting lines into values.

use std::borrow::Cow;

use super::{Settled, bad_format};
use crate::error::Result;
use crate::text::hex_digit;

/// How lines end, settled by the first one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    LineFeed,
    CarriageReturn,
    Both,
}

/// Where a line ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Line {
    /// The bytes of the line itself.
    pub(super) length: usize,
    /// Those and the ending.
    pub(super) consumed: usize,
}

impl Ending {
    /// How many line ends stand inside the quotes of a CSV line, where lines are known to end so before it. Until that
    /// is known PostgreSQL looks for carriage returns.
    pub(super) fn count_embedded(before: Option<Self>, line: &[u8]) -> u64 {
        let end = if before == Some(Self::LineFeed) { b'\n' } else { b'\r' };
        memchr::memchr_iter(end, line).count() as u64
    }
}

/// Looks for the end of the line at the front of a buffer that may still grow; what it has seen it does not look at
/// again.
#[derive(Debug, Default)]
pub(super) struct LineScanner {
    /// How lines end, once one has.
    pub(super) ending: Option<Ending>,
    /// The bytes of the current line already looked at.
    seen: usize,
    in_quotes: bool,
    /// CSV: the byte before `seen` was an escape inside quotes.
    escaped: bool,
}

impl LineScanner {
    /// The line at the front of `bytes`, or `None` while its end has not come; with `last` nothing more comes.
    pub(super) fn next(&mut self, bytes: &[u8], options: &Settled, csv: bool, last: bool) -> Result<Option<Line>> {
        let found = if csv { self.scan_csv(bytes, options, last)? } else { self.scan_text(bytes, last)? };
        if found.is_some() {
            self.seen = 0;
            self.in_quotes = false;
            self.escaped = false;
        }
        Ok(found)
    }

    /// Whether a quote is still open.
    pub(super) fn is_quoted(&self) -> bool {
        self.in_quotes
    }

    fn scan_text(&mut self, bytes: &[u8], last: bool) -> Result<Option<Line>> {
        loop {
            let Some(found) = memchr::memchr3(b'\n', b'\r', b'\\', &bytes[self.seen..]) else {
                self.seen = bytes.len();
                return Ok(None);
            };
            let at = self.seen + found;
            if bytes[at] == b'\\' {
                // Whatever follows is data, a line end too.
                if at + 1 >= bytes.len() {
                    self.seen = at;
                    return Ok(None);
                }
                self.seen = at + 2;
                continue;
            }
            match self.line_end(bytes, at, false, last)? {
                LineEnd::Wait => {
                    self.seen = at;
                    return Ok(None);
                }
                LineEnd::Found(line) => return Ok(Some(line)),
            }
        }
    }

    fn scan_csv(&mut self, bytes: &[u8], options: &Settled, last: bool) -> Result<Option<Line>> {
        let (quote, escape) = (options.quote, options.escape);
        loop {
            if self.in_quotes {
                let rest = &bytes[self.seen..];
                let found = match quote == escape {
                    true => memchr::memchr(quote, rest),
                    false if self.escaped => (!rest.is_empty()).then_some(0),
                    false => memchr::memchr2(quote, escape, rest),
                };
                let Some(found) = found else {
                    self.seen = bytes.len();
                    return Ok(None);
                };
                let byte = bytes[self.seen + found];
                self.seen += found + 1;
                if quote == escape || (byte == quote && !self.escaped) {
                    // A doubled quote closes and opens again.
                    self.in_quotes = false;
                } else {
                    self.escaped = byte == escape && !self.escaped;
                }
                continue;
            }
            let Some(found) = memchr::memchr3(b'\n', b'\r', quote, &bytes[self.seen..]) else {
                self.seen = bytes.len();
                return Ok(None);
            };
            let at = self.seen + found;
            if bytes[at] == quote {
                self.in_quotes = true;
                self.escaped = false;
                self.seen = at + 1;
                continue;
            }
            match self.line_end(bytes, at, true, last)? {
                LineEnd::Wait => {
                    self.seen = at;
                    return Ok(None);
                }
                LineEnd::Found(line) => return Ok(Some(line)),
            }
        }
    }

    /// The line that ends with the line feed or carriage return at `at`.
    fn line_end(&mut self, bytes: &[u8], at: usize, csv: bool, last: bool) -> Result<LineEnd> {
        let hint = |what: &str| match csv {
            true => format!("Use quoted CSV field to represent {what}."),
            false => {
                let escape = if what == "newline" { "\\n" } else { "\\r" };
                format!("Use \"{escape}\" to represent {what}.")
            }
        };
        let kind = if csv { "unquoted" } else { "literal" };
        let found = |consumed: usize| Ok(LineEnd::Found(Line { length: at, consumed }));
        if bytes[at] == b'\n' {
            return match self.ending {
                None | Some(Ending::LineFeed) => {
                    self.ending = Some(Ending::LineFeed);
                    found(at + 1)
                }
                Some(_) => Err(bad_format(format!("{kind} newline found in data")).with_hint(hint("newline"))),
            };
        }
        let next = bytes.get(at + 1);
        if next.is_none() && !last && self.ending != Some(Ending::CarriageReturn) {
            return Ok(LineEnd::Wait);
        }
        match (self.ending, next) {
            (None | Some(Ending::Both), Some(b'\n')) => {
                self.ending = Some(Ending::Both);
                found(at + 2)
            }
            (None | Some(Ending::CarriageReturn), _) => {
                self.ending = Some(Ending::CarriageReturn);
                found(at + 1)
            }
            _ => Err(bad_format(format!("{kind} carriage return found in data")).with_hint(hint("carriage return"))),
        }
    }
}

enum LineEnd {
    Wait,
    Found(Line),
}

/// One value of a line: `None` is NULL.
pub(super) type Field<'a> = Option<Cow<'a, [u8]>>;

/// The next value of a text line from `at` on, and where the one after it starts, if there is one.
pub(super) fn text_field<'a>(line: &'a [u8], at: usize, options: &Settled) -> Result<(Field<'a>, Option<usize>)> {
    let rest = &line[at..];
    let mut end = 0;
    let mut has_escape = false;
    loop {
        match memchr::memchr2(options.delimiter, b'\\', &rest[end..]) {
            None => {
                end = rest.len();
                break;
            }
            Some(found) if rest[end + found] == b'\\' => {
                has_escape = true;
                end = (end + found + 2).min(rest.len());
            }
            Some(found) => {
                end += found;
                break;
            }
        }
    }
    let next = (end < rest.len()).then_some(at + end + 1);
    let raw = &rest[..end];
    let field = if raw == options.null {
        None
    } else if has_escape {
        Some(Cow::Owned(unescape(raw)?))
    } else {
        Some(Cow::Borrowed(raw))
    };
    Ok((field, next))
}

/// The text line before the end marker `\\.` it ends with, if it does.
pub(super) fn before_end_marker(line: &[u8]) -> Option<&[u8]> {
    let before = line.strip_suffix(b"\\.")?;
    let backslashes = before.iter().rev().take_while(|&&byte| byte == b'\\').count();
    (backslashes % 2 == 0).then_some(before)
}

/// Undoes the backslash escapes of the text format.
fn unescape(raw: &[u8]) -> Result<Vec<u8>> {
    let mut out = Vec::with_capacity(raw.len());
    let mut at = 0;
    while at < raw.len() {
        let byte = raw[at];
        at += 1;
        if byte != b'\\' {
            out.push(byte);
            continue;
        }
        // A backslash that ends the data stands for nothing.
        if at == raw.len() {
            break;
        }
        let escaped = raw[at];
        at += 1;
        match escaped {
            b'0'..=b'7' => {
                let mut value = u32::from(escaped - b'0');
                for _ in 0..2 {
                    match raw.get(at) {
                        Some(&digit @ b'0'..=b'7') => {
                            value = value * 8 + u32::from(digit - b'0');
                            at += 1;
                        }
                        _ => break,
                    }
                }
                out.push(value as u8);
            }
            b'x' => match raw.get(at).copied().and_then(hex_digit) {
                None => out.push(b'x'),
                Some(high) => {
                    at += 1;
                    match raw.get(at).copied().and_then(hex_digit) {
                        None => out.push(high),
                        Some(low) => {
                            at += 1;
                            out.push((high << 4) | low);
                        }
                    }
                }
            },
            b'.' => return Err(bad_format("end-of-copy marker corrupt")),
            b'b' => out.push(0x08),
            b'f' => out.push(0x0c),
            b'n' => out.push(b'\n'),
            b'r' => out.push(b'\r'),
            b't' => out.push(b'\t'),
            b'v' => out.push(0x0b),
            other => out.push(other),
        }
    }
    Ok(out)
}

/// The next value of a CSV line from `at` on, whether it was quoted, and where the one after it starts.
pub(super) fn csv_field<'a>(
    line: &'a [u8],
    at: usize,
    options: &Settled,
) -> Result<(Cow<'a, [u8]>, bool, Option<usize>)> {
    let rest = &line[at..];
    let (delimiter, quote, escape) = (options.delimiter, options.quote, options.escape);
    let plain = memchr::memchr2(delimiter, quote, rest).unwrap_or(rest.len());
    if plain == rest.len() || rest[plain] == delimiter {
        let next = (plain < rest.len()).then_some(at + plain + 1);
        return Ok((Cow::Borrowed(&rest[..plain]), false, next));
    }
    let mut out = rest[..plain].to_vec();
    let mut i = plain;
    // Quoted and plain stretches may follow each other within one value.
    loop {
        if i >= rest.len() {
            return Ok((Cow::Owned(out), true, None));
        }
        if rest[i] == delimiter {
            return Ok((Cow::Owned(out), true, Some(at + i + 1)));
        }
        if rest[i] != quote {
            let end = memchr::memchr2(delimiter, quote, &rest[i..]).map_or(rest.len(), |found| i + found);
            out.extend_from_slice(&rest[i..end]);
            i = end;
            continue;
        }
        i += 1;
        loop {
            let Some(found) = memchr::memchr2(quote, escape, &rest[i.min(rest.len())..]) else {
                return Err(bad_format("unterminated CSV quoted field"));
            };
            out.extend_from_slice(&rest[i..i + found]);
            i += found;
            if rest[i] == escape
                && let Some(&next) = rest.get(i + 1)
                && (next == escape || next == quote)
            {
                out.push(next);
                i += 2;
            } else if rest[i] == quote {
                i += 1;
                break;
            } else {
                out.push(rest[i]);
                i += 1;
            }
        }
    }
}
